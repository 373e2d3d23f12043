/* SPDX-License-Identifier: MIT
 *
 * stat: figures of a namespace and of a store.
 *
 * INVARIANTS gets is the sum of its outcomes: there is no counter for it. Causes have the same
 *            order as STATS_EVICT_...
 * LOCKING    None for counters. dump and metrics take NAMESPACE for one name at a time.
 * SEE ALSO   src/stats: counting, names of metrics. */
#include "base/text.h"
#include "cache/stat.h"

#include "cache/call.h"
#include "cache/error.h"
#include "load/flight.h"

BASE_SIZE_BEGIN

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

CELLAR_PRIVATE cache_saved cache_saved_of(const uint64_t v[STATS_NAMESPACE_COUNT])
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
        return cache_refuse(c, "cellar_stats_get: scope is unknown, or out is NULL");
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
    const cellar_err err = base_opts_out(out, &full, sizeof full);
    return err == CELLAR_OK
               ? err : cache_fail(c, err, 0, "cellar_stats_get: start from cellar_stats_default()");
}

CELLAR_PRIVATE void cache_read_counters(const cache_store *s, uint32_t slot,
                                        uint64_t out[STATS_NAMESPACE_COUNT])
{
    if (slot == CACHE_WHOLE_STORE) {
        stats_read_all(s->stats, out);
    } else {
        stats_read_slot(s->stats, slot, out);
    }
}

CELLAR_PRIVATE cellar_err cache_advise(const cache_store *s, uint32_t slot,
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
        return cache_refuse(c, "cellar_advice_get: scope is unknown, or out is NULL");
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
    const cellar_err err = base_opts_out(out, &full, sizeof full);
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
        return cache_refuse(c, "cellar_latency_get: op is unknown, or out is NULL");
    }
    if (cache_is_closed(c)) { return cache_closed(c); }
    stats_times t;
    stats_read_times(c->store->stats, of[op], &t);
    const cellar_latency full = { sizeof full, t.count, t.p50_ns, t.p90_ns, t.p99_ns, t.p999_ns,
                                  t.max_ns };
    const cellar_err err = base_opts_out(out, &full, sizeof full);
    return err == CELLAR_OK
               ? err : cache_fail(c, err, 0, "cellar_latency_get: out needs its default function");
}

BASE_SIZE_END
