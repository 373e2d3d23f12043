/* SPDX-License-Identifier: MIT
 *
 * stat: statistics, texts and checks of a whole store.
 *
 * INVARIANTS gets is the sum of its outcomes: there is no counter for it. Causes have the same
 *            order as STATS_EVICT_...
 * LOCKING    None for counters. dump and metrics take NAMESPACE for one name at a time.
 * SEE ALSO   src/stats: counting, names of metrics. */
#include "base/text.h"
#include "cache/cache_int.h"
#include "load/flight.h"

BASE_SIZE_BEGIN

/* ---- names and texts of codes ---- */

typedef struct cache_code {
    int number;
    const char *name;
} cache_code;

static const cache_code cache_codes[] = {
#define CACHE_X(name, number, text) { number, #name },
    CELLAR_CODES(CACHE_X)
#undef CACHE_X
};

CELLAR_API const char *cellar_code_name(cellar_err code)
{
    for (size_t i = 0; i < sizeof cache_codes / sizeof cache_codes[0]; i++) {
        if (cache_codes[i].number == (int)code) { return cache_codes[i].name; }
    }
    return "?";
}

CELLAR_API const char *cellar_cause_name(cellar_cause cause)
{
    static const char *const name[CELLAR_CAUSE_COUNT] = {
        [CELLAR_CAUSE_EXPIRED] = "expired", [CELLAR_CAUSE_EVICTED] = "evicted",
        [CELLAR_CAUSE_REPLACED] = "replaced", [CELLAR_CAUSE_DELETED] = "deleted",
        [CELLAR_CAUSE_CLEARED] = "cleared", [CELLAR_CAUSE_VERSION] = "version",
        [CELLAR_CAUSE_TAG] = "tag", [CELLAR_CAUSE_PATTERN] = "pattern",
        [CELLAR_CAUSE_REJECTED] = "rejected", [CELLAR_CAUSE_NEGATIVE] = "negative",
        [CELLAR_CAUSE_LOAD_FAILED] = "load_failed", [CELLAR_CAUSE_INVALIDATED] = "invalidated",
        [CELLAR_CAUSE_DEPENDENCY] = "dependency",
    };
    const unsigned at = (unsigned)cause;
    return at < CELLAR_CAUSE_COUNT && name[at] != NULL ? name[at] : "?";
}

/* ---- counters ---- */

static void cache_stats_store(const cache_store *s, cellar_stats *out)
{
    l1_stats l;
    l1_stats_get(s->l1, &l);
    out->events_skipped = stats_read_store(s->stats, STATS_LISTENER_SKIPPED);
    out->entries = l.entries;
    out->used_bytes = base_load_rlx(&s->account.used);
    out->budget_bytes = base_load_rlx(&s->account.limit);
    out->index_bytes = l.index_bytes;
    out->log_bytes = l.arena_bytes;
}

/* What reads without misses would have cost as loads: ns and units of cost. */
typedef struct cache_saved { double ns, cost; } cache_saved;

static cache_saved cache_saved_of(const uint64_t v[STATS_NAMESPACE_COUNT])
{
    const double hits = (double)(stats_gets(v) - v[STATS_MISS]), n = (double)v[STATS_LOAD];
    if (v[STATS_LOAD] == 0) { return (cache_saved){ 0, 0 }; }
    return (cache_saved){ hits * (double)v[STATS_LOAD_NS] / n,
                          hits * (double)v[STATS_LOAD_COST] / n };
}

static void cache_stats_quota(const cellar *c, cellar_stats *out)
{
    l1_share q;
    l1_quota_get(c->store->l1, c->quota, &q);
    out->quota_entries = q.entries;
    out->quota_bytes = q.bytes;
    out->quota_min_bytes = q.floor;
    out->quota_max_bytes = q.ceiling != UINT64_MAX ? q.ceiling : 0;
    out->quota_borrowed_bytes = q.bytes > q.floor ? q.bytes - q.floor : 0;
    out->quota_breaches = q.breached;
}

CELLAR_API cellar_err cellar_stats_get(cellar *c, cellar_scope scope, cellar_stats *out)
{
    if (c == NULL || out == NULL || (scope != CELLAR_SCOPE_NAMESPACE &&
                                     scope != CELLAR_SCOPE_STORE)) {
        return cache_fail(c, CELLAR_E_INVAL, 0,
                          "cellar_stats_get: scope is unknown, or out is NULL");
    }
    if (cache_is_closed(c)) { return cache_closed(c); }
    const cache_store *s = c->store;
    uint64_t v[STATS_NAMESPACE_COUNT];
    if (scope == CELLAR_SCOPE_NAMESPACE) {
        stats_read_slot(s->stats, c->slot, v);
    } else {
        stats_read_all(s->stats, v);
    }
    cellar_stats full = cellar_stats_default();
    full.hits_l1 = v[STATS_HIT_L1];
    full.hits_l2 = v[STATS_HIT_L2];
    full.stale_hits = v[STATS_STALE];
    full.negative_hits = v[STATS_NEGATIVE];
    full.misses = v[STATS_MISS];
    full.gets = stats_gets(v);
    full.sets = v[STATS_SET];
    full.deletes = v[STATS_DELETE];
    full.write_errors = v[STATS_STORE_ERROR];
    for (unsigned cause = CELLAR_CAUSE_EXPIRED; cause <= CELLAR_CAUSE_NEGATIVE; cause++) {
        full.ended[cause] = v[STATS_EVICT_EXPIRED + cause - CELLAR_CAUSE_EXPIRED];
    }
    full.ended[CELLAR_CAUSE_DEPENDENCY] = v[STATS_EVICT_DEPENDENCY];
    full.ttl_class_fallbacks = v[STATS_CLASS_FALLBACK];
    full.clears = v[STATS_CLEAR];
    full.version_changes = v[STATS_BUMP];
    full.loads = v[STATS_LOAD];
    full.loads_failed = v[STATS_LOAD_FAILED];
    full.loads_joined = v[STATS_LOAD_JOINED];
    full.loads_not_stored = v[STATS_LOAD_NOT_STORED];
    full.load_takeovers = v[STATS_LOAD_TAKEOVER];
    full.load_timeouts = v[STATS_LOAD_TIMEOUT];
    full.load_deadlocks = v[STATS_LOAD_CYCLE];
    full.refreshes = v[STATS_REFRESH];
    full.refreshes_dropped = v[STATS_REFRESH_DROPPED];
    full.load_ns = v[STATS_LOAD_NS];
    const flight_table *flights = base_load_sc(&s->flights);
    full.loads_running = flights != NULL ? flight_count(flights) : 0;
    full.load_waiters = flights != NULL ? flight_waiting(flights) : 0;
    full.load_bytes = base_load_rlx(&s->account.by_module[BASE_MOD_FLIGHT]);
    full.load_fallbacks = v[STATS_LOAD_INSTEAD];
    const cache_saved saved = cache_saved_of(v);
    full.saved_seconds = saved.ns * 1e-9;
    full.saved_cost = saved.cost * 1e-6;
    full.hit_ratio = full.gets != 0 ? (double)(full.gets - full.misses) / (double)full.gets : 0.0;
    cache_stats_store(s, &full);
    if (scope == CELLAR_SCOPE_NAMESPACE) { cache_stats_quota(c, &full); }
    const cellar_err err = cache_opts_out(out, &full, sizeof full);
    return err == CELLAR_OK
               ? err : cache_fail(c, err, 0, "cellar_stats_get: start from cellar_stats_default()");
}

/* ---- advice ---- */

/* Advise for a slot or STATS_STORE_SLOT, based on the counted hit ratio in *now. */
static cellar_err cache_advise(const cache_store *s, uint32_t slot, double *now, l1_advice *out)
{
    uint64_t v[STATS_NAMESPACE_COUNT];
    const bool store = slot == STATS_STORE_SLOT;
    if (store) {
        stats_read_all(s->stats, v);
    } else {
        stats_read_slot(s->stats, slot, v);
    }
    const uint64_t gets = stats_gets(v);
    *now = gets != 0 ? (double)(gets - v[STATS_MISS]) / (double)gets : 0;
    return l1_advise(s->l1, store ? L1_NO_NAMESPACE : slot, gets != 0 ? *now : -1, out);
}

CELLAR_API cellar_err cellar_advice_get(cellar *c, cellar_scope scope, cellar_advice *out)
{
    static const uint32_t pct[L1_ADVICE] = L1_ADVICE_PCT;
    _Static_assert(L1_ADVICE == CELLAR_ADVICE_COUNT, "one place for each size");
    if (c == NULL || out == NULL || (scope != CELLAR_SCOPE_NAMESPACE &&
                                     scope != CELLAR_SCOPE_STORE)) {
        return cache_fail(c, CELLAR_E_INVAL, 0,
                          "cellar_advice_get: scope is unknown, or out is NULL");
    }
    if (cache_is_closed(c)) { return cache_closed(c); }
    cellar_advice full = cellar_advice_default();
    l1_advice a;
    const cellar_err said =
        cache_advise(c->store, scope == CELLAR_SCOPE_NAMESPACE ? c->slot : STATS_STORE_SLOT,
                     &full.hit_ratio_now, &a);
    full.requests = a.requests;
    for (unsigned i = 0; i < L1_ADVICE; i++) {
        full.budget_pct[i] = pct[i];
        full.hit_ratio[i] = a.ratio[i];
    }
    const cellar_err err = cache_opts_out(out, &full, sizeof full);
    if (err != CELLAR_OK) {
        return cache_fail(c, err, 0, "cellar_advice_get: start from cellar_advice_default()");
    }
    return said == CELLAR_E_UNSUPPORTED
               ? cache_fail(c, said, 0, "cellar_advice_get: tuning.no_advisor is set") : said;
}

CELLAR_API cellar_err cellar_latency_get(cellar *c, cellar_op op, cellar_latency *out)
{
    static const stats_op of[] = { STATS_OP_GET_HIT, STATS_OP_GET_MISS, STATS_OP_SET,
                                   STATS_OP_DELETE, STATS_OP_TICK };
    if (c == NULL || out == NULL || (unsigned)op > CELLAR_OP_TICK) {
        return cache_fail(c, CELLAR_E_INVAL, 0,
                          "cellar_latency_get: op is unknown, or out is NULL");
    }
    if (cache_is_closed(c)) { return cache_closed(c); }
    stats_times t;
    stats_read_times(c->store->stats, of[op], &t);
    const cellar_latency full = { sizeof full, t.count, t.p50_ns, t.p90_ns, t.p99_ns, t.p999_ns,
                                  t.max_ns };
    const cellar_err err = cache_opts_out(out, &full, sizeof full);
    return err == CELLAR_OK
               ? err : cache_fail(c, err, 0, "cellar_latency_get: out needs its default function");
}

/* ---- integrity check ---- */

static const char *cache_audit_namespaces(cache_store *s) SYNC_HOLDS(NAMESPACE);
static const char *cache_audit_namespaces(cache_store *s)
{
    uint32_t count = 0, named = 0;
    for (uint32_t slot = 0; slot < CACHE_NAMESPACES_MAX; slot++) {
        const cellar *v = cache_namespace_at(s, slot);
        if (v == NULL) { continue; }
        count++;
        if (v->slot != slot) { return "namespaces: one is in a slot of another"; }
        if (base_load_rlx(&v->refs) < v->handles) {
            return "namespaces: one has fewer refs than handles";
        }
        if (!v->dropped && cache_namespace_is_named(v) &&
            !cache_generation_alive(s, base_load_rlx(&v->generation))) {
            return "namespaces: the generation of an open one is dead";
        }
        const bloom *b = base_load_acq(&v->bloom);
        const char *why = b != NULL ? bloom_audit(b) : NULL;
        if (why != NULL) { return why; }
        if (slot != 0 && !v->dropped) { named++; }
    }
    if (count != s->namespace_count) {
        return "namespaces: their number differs from the used slots";
    }
    if (named < HASH_COUNT(s->names)) { return "namespaces: a name has no slot"; }
    return NULL;
}

CELLAR_API cellar_err cellar_integrity_check(cellar *c)
{
    if (c == NULL) { return CELLAR_E_INVAL; }
    if (cache_is_closed(c)) { return cache_closed(c); }
    cache_store *s = c->store;
    const char *wrong = NULL;
    if (base_load_rlx(&s->renumbering) == 0) {
        sync_take(NAMESPACE, &s->namespace_lock);
        wrong = cache_audit_namespaces(s);
        sync_drop(NAMESPACE, &s->namespace_lock);
    }
    if (wrong == NULL) { wrong = cache_deps_audit(s); }
    if (wrong == NULL) {
        cache_tick_pause(s); /* the maintenance thread writes, too */
        wrong = cache_load_audit(s) ? l1_audit(s->l1) : "loads: the flights disagree";
        cache_tick_resume(s);
    }
    return wrong == NULL ? CELLAR_OK : cache_fail(c, CELLAR_E_CORRUPT, 0, wrong);
}

/* ---- texts ---- */
#ifndef CELLAR_OMIT_TEXT

CELLAR_API const char *cellar_strerror(cellar_err code)
{
    static const struct { int number; const char *text; } of[] = {
#define CACHE_X(name, number, text) { number, text },
        CELLAR_CODES(CACHE_X)
#undef CACHE_X
    };
    for (size_t i = 0; i < sizeof of / sizeof of[0]; i++) {
        if (of[i].number == (int)code) { return of[i].text; }
    }
    return "unknown code";
}

/* The writer borrows a name while it runs. A namespace may be dropped meanwhile, so the source
 * copies one name at a time. */
typedef struct cache_names {
    cache_store *store;
    char name[CELLAR_NAME_MAX + 1];
} cache_names;

static bool cache_metric_name(void *ctx, uint32_t slot, stats_namespace_name *out)
{
    cache_names *n = ctx;
    cache_store *s = n->store;
    bool there = false;
    sync_take(NAMESPACE, &s->namespace_lock);
    const cellar *v = cache_namespace_at(s, slot);
    if (v != NULL && !v->dropped) {
        memcpy(n->name, v->name, v->name_len);
        out->bytes = n->name;
        out->len = v->name_len;
        there = true;
    }
    sync_drop(NAMESPACE, &s->namespace_lock);
    return there;
}

static uint64_t cache_ppm(double share) { return (uint64_t)(share * 1e6 + .5); } /* 0..1 */

/* Fill the figures of the advisor in first..last - 1. */
static uint32_t cache_given_advice(const cache_store *s, uint32_t slot, int first, int last,
                                   uint64_t *out)
{
    l1_advice a;
    double now;
    uint32_t known = 0;
    if (first != STATS_NAMESPACE_ADVICE_025 || cache_advise(s, slot, &now, &a) != CELLAR_OK) {
        return 0;
    }
    for (int i = 0; i < last - first; i++) {
        out[i] = cache_ppm(a.ratio[i]);
        known |= 1u << i;
    }
    return known;
}

static uint32_t cache_given_quota(const l1_share *q, int id, uint64_t *out)
{
    switch (id) {
    case STATS_NAMESPACE_QUOTA_ENTRIES: *out = q->entries; return 1;
    case STATS_NAMESPACE_QUOTA_BYTES: *out = q->bytes; return 1;
    case STATS_NAMESPACE_QUOTA_FLOOR: *out = q->floor; return 1;
    case STATS_NAMESPACE_QUOTA_CEILING: *out = q->ceiling; return q->ceiling != UINT64_MAX;
    case STATS_NAMESPACE_QUOTA_BORROWED:
        *out = q->bytes > q->floor ? q->bytes - q->floor : 0;
        return 1;
    case STATS_NAMESPACE_QUOTA_BREACHES: *out = q->breached; return 1;
    default: return 0;
    }
}

/* Compute what a namespace saved. Return 0 if it never loaded. */
static uint32_t cache_given_saved(const cache_store *s, uint32_t slot, int id, uint64_t *out)
{
    uint64_t v[STATS_NAMESPACE_COUNT];
    stats_read_slot(s->stats, slot, v);
    if (v[STATS_LOAD] == 0) { return 0; }
    const cache_saved saved = cache_saved_of(v);
    const double figure = id == STATS_NAMESPACE_SAVED_NS ? saved.ns : saved.cost;
    *out = figure < 0x1p63 ? (uint64_t)figure : UINT64_MAX;
    return 1;
}

static uint32_t cache_metric_given(void *ctx, uint32_t slot, int first, int last, uint64_t *out)
{
    const cache_names *n = ctx;
    cache_store *s = n->store;
    if (first >= STATS_NAMESPACE_ADVICE_025) {
        return cache_given_advice(s, slot, first, last, out);
    }
    BASE_ASSERT(last == first + 1);
    if (first >= STATS_NAMESPACE_SAVED_NS) { return cache_given_saved(s, slot, first, out); }
    sync_take(NAMESPACE, &s->namespace_lock);
    const cellar *v = cache_namespace_at(s, slot);
    const bool there = v != NULL && !v->dropped;
    const unsigned quota = there ? v->quota : 0;
    const int state = there ? cache_breaker_state(v) : -1;
    sync_drop(NAMESPACE, &s->namespace_lock);
    if (first == STATS_NAMESPACE_BREAKER) {
        *out = (uint64_t)BASE_MAX(state, 0);
        return state >= 0;
    }
    if (quota == 0) { return 0; }
    l1_share q;
    l1_quota_get(s->l1, quota, &q);
    return q.least_pct != 0 || q.most_pct != 0 ? cache_given_quota(&q, first, out) : 0;
}

static void cache_metrics_given(cache_store *s, stats_source *from)
{
    l1_stats l;
    l1_stats_get(s->l1, &l);
    sync_take(NAMESPACE, &s->namespace_lock);
    from->given[STATS_GIVEN_NAMESPACES] = s->namespace_count;
    sync_drop(NAMESPACE, &s->namespace_lock);
    from->given[STATS_GIVEN_DEPS_EDGES] = cache_deps_watched(s);
    from->given[STATS_GIVEN_ENTRIES] = l.entries;
    from->given[STATS_GIVEN_SEGMENTS] = l.segments;
    from->given[STATS_GIVEN_SEGMENTS_FREE] = l.segments_free;
    from->given[STATS_GIVEN_SEGMENTS_PARKED] = l.segments_parked;
    from->given[STATS_GIVEN_BUCKETS] = l.buckets;
    from->given[STATS_GIVEN_OVERFLOW] = l.overflow_buckets;
    from->given[STATS_GIVEN_BIG_BLOCKS] = l.big_blocks;
    from->given[STATS_GIVEN_RETIRED] = l.retired_bytes;
    from->given[STATS_GIVEN_INSERTED] = l.inserts;
    from->given[STATS_GIVEN_EVICTED] = l.evicted;
    from->given[STATS_GIVEN_EXPIRED] = l.expired;
    from->given[STATS_GIVEN_CLEARED] = l.cleared;
    from->given[STATS_GIVEN_KEPT] = l.kept;
    from->given[STATS_GIVEN_FORCED] = l.forced;
    from->given[STATS_GIVEN_RULE] = l.rule;
    from->given[STATS_GIVEN_RULE_SWITCHES] = l.rule_switches;
    from->given[STATS_GIVEN_SHADOW_DROPPED] = l.sample_dropped;
    from->given[STATS_GIVEN_GHOST_HITS] = l.ghost_hits;
    from->given[STATS_GIVEN_SPLITS] = l.splits;
    from->given[STATS_GIVEN_MERGES] = l.merges;
    from->given[STATS_GIVEN_NO_SPACE] = l.no_space;
    from->given[STATS_GIVEN_CHAIN_FULL] = l.chain_full;
    from->given[STATS_GIVEN_PIN_LIMIT] = l.pin_limit;
    from->given[STATS_GIVEN_LOCKED_READS] = l.fallback_reads;
    from->given[STATS_GIVEN_PARKED] = l.parked_total;
    from->given[STATS_GIVEN_ABSENT] = l.absent;
    from->given[STATS_GIVEN_ABSENT_BYTES] = l.absent_bytes;
    from->given[STATS_GIVEN_ABSENT_REFUSED] = l.absent_refused;
    cache_disk_given(s, from->given);
}

CELLAR_API cellar_err cellar_metrics_write(cellar *c, char *buf, size_t cap, size_t *len)
{
    if (len != NULL) { *len = 0; }
    if (c == NULL || (buf == NULL && cap != 0)) {
        return cache_fail(c, CELLAR_E_INVAL, 0, "cellar_metrics_write: buf must not be NULL");
    }
    if (cache_is_closed(c)) { return cache_closed(c); }
    cache_store *s = c->store;
    cache_names names = { .store = s };
    stats_source from;
    memset(&from, 0, sizeof from);
    from.namespace_name = cache_metric_name;
    from.namespace_given = cache_metric_given;
    from.ctx = &names;
    cache_metrics_given(s, &from);
    const size_t full = stats_write_prometheus(s->stats, &from, buf, cap);
    if (len != NULL) { *len = full; }
    return full < cap ? CELLAR_OK : CELLAR_E_BUFFER;
}

static void cache_dump_memory(const cache_store *s, base_text *t)
{
    static const char *const module[] = {
#define CACHE_X(name, text) text,
        BASE_MODULES(CACHE_X)
#undef CACHE_X
    };
    base_text_add(t, "memory: %llu of %llu bytes, peak %llu, %llu charges refused\n",
                  (unsigned long long)base_load_rlx(&s->account.used),
                  (unsigned long long)base_load_rlx(&s->account.limit),
                  (unsigned long long)base_load_rlx(&s->account.peak),
                  (unsigned long long)base_load_rlx(&s->account.refused));
    for (unsigned i = 0; i < BASE_MOD_COUNT; i++) {
        const unsigned long long bytes = base_load_rlx(&s->account.by_module[i]);
        if (bytes != 0) { base_text_add(t, "  %-10s %llu\n", module[i], bytes); }
    }
}

/* Write what other budgets would give a namespace, or with STATS_STORE_SLOT the store. */
static void cache_dump_advice(const cache_store *s, uint32_t slot, base_text *t)
{
    static const char *const scale[L1_ADVICE] = { "0.25", "0.5", "0.71", "1", "1.41", "2", "4",
                                                  "8" };
    uint64_t v[STATS_NAMESPACE_COUNT];
    l1_advice a;
    double now;
    if (cache_advise(s, slot, &now, &a) != CELLAR_OK) { return; }
    if (slot == STATS_STORE_SLOT) {
        stats_read_all(s->stats, v);
    } else {
        stats_read_slot(s->stats, slot, v);
    }
    const double load_ms =
        v[STATS_LOAD] != 0 ? (double)v[STATS_LOAD_NS] * 1e-6 / (double)v[STATS_LOAD] : 0;
    for (unsigned i = 0; i < L1_ADVICE; i++) {
        if (scale[i][1] == '\0' && scale[i][0] == '1') { continue; }
        base_text_add(t, "  at %sx the budget the hit ratio would be %.1f %% (now %.1f %%)",
                      scale[i], a.ratio[i] * 100, now * 100);
        if (load_ms > 0) {
            const double less = (a.ratio[i] - now) * 1000 * load_ms;
            base_text_add(t, ", loading %.3f ms %s in 1,000 gets", less < 0 ? -less : less,
                          less < 0 ? "more" : "less");
        }
        base_text_add(t, "\n");
    }
}

static void cache_dump_l1(const cache_store *s, base_text *t)
{
    l1_stats l;
    l1_stats_get(s->l1, &l);
    base_text_add(t, "l1: %u stripes, segments of %u bytes, granule %u\n", (unsigned)l.stripes,
                  (unsigned)l.seg_bytes, (unsigned)l.granule);
    base_text_add(t, "  entries %llu, segments %llu (%llu free, %llu parked), big values %llu\n",
                  (unsigned long long)l.entries, (unsigned long long)l.segments,
                  (unsigned long long)l.segments_free, (unsigned long long)l.segments_parked,
                  (unsigned long long)l.big_blocks);
    base_text_add(t, "  buckets %llu and %llu overflow, splits %llu, merges %llu\n",
                  (unsigned long long)l.buckets, (unsigned long long)l.overflow_buckets,
                  (unsigned long long)l.splits, (unsigned long long)l.merges);
    base_text_add(t, "  inserted %llu, evicted %llu, expired %llu, cleared %llu\n",
                  (unsigned long long)l.inserts,
                  (unsigned long long)l.evicted, (unsigned long long)l.expired,
                  (unsigned long long)l.cleared);
}

/* Write the breaker state and end the line. -1: no breaker. */
static void cache_dump_breaker(int state, base_text *t)
{
    static const char *const name[] = { [CELLAR_BREAKER_CLOSED] = "closed",
                                        [CELLAR_BREAKER_OPEN] = "open",
                                        [CELLAR_BREAKER_HALF_OPEN] = "half-open" };
    if (state >= 0) {
        base_text_add(t, ", breaker %s\n", name[state]);
    } else {
        base_text_add(t, "\n");
    }
}

static void cache_dump_l2(const cache_store *s, base_text *t)
{
    uint64_t given[STATS_GIVEN_COUNT];
    memset(given, 0, sizeof given);
    cache_disk_given(s, given);
    if (given[STATS_GIVEN_L2_BYTES] == 0) { return; }
    base_text_add(t, "l2: entries %llu, %llu bytes, errors %llu%s",
                  (unsigned long long)given[STATS_GIVEN_L2_ENTRIES],
                  (unsigned long long)given[STATS_GIVEN_L2_BYTES],
                  (unsigned long long)given[STATS_GIVEN_L2_ERRORS],
                  given[STATS_GIVEN_L2_OFF] == 2 ? ", off until the next open" : "");
    cache_dump_breaker((int)given[STATS_GIVEN_L2_BREAKER], t);
}

/* Write a name as text, bytes that are not printable as \xHH. */
static void cache_dump_name(base_text *t, const char *name, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++) {
        const unsigned char byte = (unsigned char)name[i];
        if (byte >= 0x20 && byte < 0x7f && byte != '\\') {
            base_text_add(t, "%c", byte);
        } else {
            base_text_add(t, "\\x%02x", byte);
        }
    }
}

static void cache_dump_namespaces(cache_store *s, base_text *t)
{
    for (uint32_t slot = 0; slot < CACHE_NAMESPACES_MAX; slot++) {
        uint64_t v[STATS_NAMESPACE_COUNT];
        sync_take(NAMESPACE, &s->namespace_lock);
        const cellar *at = cache_namespace_at(s, slot);
        const bool there = at != NULL && !at->dropped;
        if (there) {
            base_text_add(t, "namespace %u \"", (unsigned)at->id);
            cache_dump_name(t, at->name, at->name_len);
            base_text_add(t, "\": generation %u, version %u, handles %u%s",
                          (unsigned)base_load_rlx(&at->generation), (unsigned)at->version,
                          (unsigned)at->handles, cache_is_off(at) ? ", off" : "");
            cache_dump_breaker(cache_breaker_state(at), t);
        }
        sync_drop(NAMESPACE, &s->namespace_lock);
        if (!there) { continue; }
        stats_read_slot(s->stats, slot, v);
        base_text_add(t, "  gets %llu, misses %llu, sets %llu, deletes %llu\n",
                      (unsigned long long)stats_gets(v), (unsigned long long)v[STATS_MISS],
                      (unsigned long long)v[STATS_SET], (unsigned long long)v[STATS_DELETE]);
        cache_dump_advice(s, slot, t);
    }
}

CELLAR_API cellar_err cellar_dump_write(cellar *c, char *buf, size_t cap, size_t *len)
{
    if (len != NULL) { *len = 0; }
    if (c == NULL || (buf == NULL && cap != 0)) {
        return cache_fail(c, CELLAR_E_INVAL, 0, "cellar_dump_write: buf must not be NULL");
    }
    if (cache_is_closed(c)) { return cache_closed(c); }
    cache_store *s = c->store;
    base_text t = { buf, cap, 0 };
    base_text_add(&t, "cellar %s\n", cellar_source_id());
    base_text_add(&t, "thread: %s, observers: %u%s\n",
                  base_load_rlx(&s->thread_state) == CACHE_THREAD_ON ? "on" : "off",
                  (unsigned)base_load_rlx(&s->observers), s->forked ? ", forked" : "");
    cache_dump_memory(s, &t);
    cache_dump_l1(s, &t);
    cache_dump_l2(s, &t);
    cache_dump_advice(s, STATS_STORE_SLOT, &t);
    cache_dump_namespaces(s, &t);
    if (len != NULL) { *len = t.len; }
    return t.len < cap ? CELLAR_OK : CELLAR_E_BUFFER;
}

#endif

BASE_SIZE_END
