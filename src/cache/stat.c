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
    full.hit_ratio = stats_hit_ratio(v);
    cache_stats_store(s, &full);
    if (scope == CELLAR_SCOPE_NAMESPACE) { cache_stats_quota(c, &full); }
    const cellar_err err = cache_opts_out(out, &full, sizeof full);
    return err == CELLAR_OK
               ? err : cache_fail(c, err, 0, "cellar_stats_get: start from cellar_stats_default()");
}

/* ---- advice ---- */

#define CACHE_WHOLE_STORE UINT32_MAX /* slot number for the whole store */

static void cache_read_counters(const cache_store *s, uint32_t slot,
                                uint64_t out[STATS_NAMESPACE_COUNT])
{
    if (slot == CACHE_WHOLE_STORE) {
        stats_read_all(s->stats, out);
    } else {
        stats_read_slot(s->stats, slot, out);
    }
}

/* Advise for a slot or CACHE_WHOLE_STORE, based on the hit ratio of the counters `v`. */
static cellar_err cache_advise(const cache_store *s, uint32_t slot,
                               const uint64_t v[STATS_NAMESPACE_COUNT], l1_advice *out)
{
    return l1_advise(s->l1, slot == CACHE_WHOLE_STORE ? L1_NO_NAMESPACE : slot,
                     stats_gets(v) != 0 ? stats_hit_ratio(v) : -1, out);
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
    const uint32_t slot = scope == CELLAR_SCOPE_NAMESPACE ? c->slot : CACHE_WHOLE_STORE;
    uint64_t v[STATS_NAMESPACE_COUNT];
    l1_advice a;
    cache_read_counters(c->store, slot, v);
    const cellar_err said = cache_advise(c->store, slot, v, &a);
    full.hit_ratio_now = stats_hit_ratio(v);
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

static bool cache_given_quota(const l1_share *q, stats_namespace_given id, uint64_t *out)
{
    switch (id) {
    case STATS_NAMESPACE_QUOTA_ENTRIES: *out = q->entries; return true;
    case STATS_NAMESPACE_QUOTA_BYTES: *out = q->bytes; return true;
    case STATS_NAMESPACE_QUOTA_FLOOR: *out = q->floor; return true;
    case STATS_NAMESPACE_QUOTA_CEILING: *out = q->ceiling; return q->ceiling != UINT64_MAX;
    case STATS_NAMESPACE_QUOTA_BORROWED:
        *out = q->bytes > q->floor ? q->bytes - q->floor : 0;
        return true;
    case STATS_NAMESPACE_QUOTA_BREACHES: *out = q->breached; return true;
    default: return false;
    }
}

/* Compute what a namespace saved. Return false if it never loaded. */
static bool cache_given_saved(const cache_store *s, uint32_t slot, bool cost, uint64_t *out)
{
    uint64_t v[STATS_NAMESPACE_COUNT];
    stats_read_slot(s->stats, slot, v);
    if (v[STATS_LOAD] == 0) { return false; }
    const cache_saved saved = cache_saved_of(v);
    const double figure = cost ? saved.cost : saved.ns;
    *out = figure < 0x1p63 ? (uint64_t)figure : UINT64_MAX;
    return true;
}

static bool cache_metric_given(void *ctx, uint32_t slot, stats_namespace_given id, uint64_t *out)
{
    const cache_names *n = ctx;
    cache_store *s = n->store;
    if (id >= STATS_NAMESPACE_SAVED_NS) {
        return cache_given_saved(s, slot, id == STATS_NAMESPACE_SAVED_COST, out);
    }
    sync_take(NAMESPACE, &s->namespace_lock);
    const cellar *v = cache_namespace_at(s, slot);
    const bool there = v != NULL && !v->dropped;
    const unsigned quota = there ? v->quota : 0;
    const int state = there ? cache_breaker_state(v) : -1;
    sync_drop(NAMESPACE, &s->namespace_lock);
    if (id == STATS_NAMESPACE_BREAKER) {
        *out = (uint64_t)BASE_MAX(state, 0);
        return state >= 0;
    }
    if (quota == 0) { return false; }
    l1_share q;
    l1_quota_get(s->l1, quota, &q);
    return (q.least_pct != 0 || q.most_pct != 0) && cache_given_quota(&q, id, out);
}

/* Collect the figures of a store for the writers of src/stats. `names` lives as long as the
 * result. */
static stats_source cache_source(cache_store *s, cache_names *names)
{
    stats_source from = { .namespace_name = cache_metric_name,
                          .namespace_given = cache_metric_given, .ctx = names };
    l1_stats l;
    names->store = s;
    l1_stats_get(s->l1, &l);
#define CACHE_X(field, family, label, shown) \
    from.given[STATS_GIVEN_L1_##field] = (uint64_t)l.field;
    STATS_GIVEN_L1(CACHE_X)
#undef CACHE_X
    from.given[STATS_GIVEN_BYTES] = base_load_rlx(&s->account.used);
    from.given[STATS_GIVEN_BUDGET] = base_load_rlx(&s->account.limit);
    sync_take(NAMESPACE, &s->namespace_lock);
    from.given[STATS_GIVEN_NAMESPACES] = s->namespace_count;
    sync_drop(NAMESPACE, &s->namespace_lock);
    cache_deps_given(s, from.given);
    cache_disk_given(s, from.given);
    return from;
}

CELLAR_API cellar_err cellar_metrics_write(cellar *c, char *buf, size_t cap, size_t *len)
{
    if (len != NULL) { *len = 0; }
    if (c == NULL || (buf == NULL && cap != 0)) {
        return cache_fail(c, CELLAR_E_INVAL, 0, "cellar_metrics_write: buf must not be NULL");
    }
    if (cache_is_closed(c)) { return cache_closed(c); }
    cache_store *s = c->store;
    cache_names names;
    const stats_source from = cache_source(s, &names);
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

/* Write what other budgets would give a namespace, or with CACHE_WHOLE_STORE the store. */
static void cache_dump_advice(const cache_store *s, uint32_t slot, base_text *t)
{
    static const char *const scale[L1_ADVICE] = { "0.25", "0.5", "0.71", "1", "1.41", "2", "4",
                                                  "8" };
    uint64_t v[STATS_NAMESPACE_COUNT];
    l1_advice a;
    cache_read_counters(s, slot, v);
    if (cache_advise(s, slot, v, &a) != CELLAR_OK) { return; }
    const double now = stats_hit_ratio(v);
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
    base_text_add(t, "l1: %llu entries, %u stripes, segments of %u bytes, granule %u\n",
                  (unsigned long long)l.entries, (unsigned)l.stripes, (unsigned)l.seg_bytes,
                  (unsigned)l.granule);
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

static void cache_dump_l2(const stats_source *from, base_text *t)
{
    const uint64_t *given = from->given;
    if (given[STATS_GIVEN_L2_file_bytes] == 0) { return; }
    base_text_add(t, "l2: entries %llu, %llu bytes, errors %llu%s",
                  (unsigned long long)given[STATS_GIVEN_L2_entries],
                  (unsigned long long)given[STATS_GIVEN_L2_file_bytes],
                  (unsigned long long)given[STATS_GIVEN_L2_io_errors],
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
        base_text_add(t, "  gets %llu, hit ratio %.1f %%, misses %llu, sets %llu, deletes %llu\n",
                      (unsigned long long)stats_gets(v), stats_hit_ratio(v) * 100,
                      (unsigned long long)v[STATS_MISS],
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
    cache_names names;
    const stats_source from = cache_source(s, &names);
    base_text t = { buf, cap, 0 };
    base_text_add(&t, "cellar %s\n", cellar_source_id());
    base_text_add(&t, "thread: %s, observers: %u%s\n",
                  base_load_rlx(&s->thread_state) == CACHE_THREAD_ON ? "on" : "off",
                  (unsigned)base_load_rlx(&s->observers), s->forked ? ", forked" : "");
    cache_dump_memory(s, &t);
    cache_dump_l1(s, &t);
    cache_dump_l2(&from, &t);
    cache_dump_advice(s, CACHE_WHOLE_STORE, &t);
    cache_dump_namespaces(s, &t);
    const size_t used = BASE_MIN(t.len, cap);
    t.len += stats_write_rest(s->stats, &from, buf + used, cap - used);
    if (len != NULL) { *len = t.len; }
    return t.len < cap ? CELLAR_OK : CELLAR_E_BUFFER;
}

#endif

BASE_SIZE_END
