/* SPDX-License-Identifier: MIT
 *
 * stat: figures of a namespace and of a store.
 *
 * INVARIANTS gets is the sum of its outcomes: there is no counter for it. Each field of
 *            cellar_stats has a row, here or in metrics.h.
 * LOCKING    None for counters. dump and metrics take NAMESPACE for one name at a time.
 * SEE ALSO   stats/: counting, names of metrics. */
#include "base/text.h"
#include "store/stat.h"

#include "cache/call.h"
#include "cache/error.h"
#include "cache/handle.h"
#include "flight/flight.h"
#include "store/l2_tier.h"

#include <stddef.h>

BASE_SIZE_BEGIN

/* The place of a counter in cellar_stats; 0: it has none. */
#define CACHE_FIELD(field) offsetof(cellar_stats, field)
#define CACHE_NO_FIELD 0
#define CACHE_PLACE(id, field, ...) CACHE_##field,
static const uint16_t cache_places[] = { STATS_NAMESPACE_COUNTERS(CACHE_PLACE) };

/* Fields of cellar_stats that are no counters of a namespace: of `v`, `s`, `l`, `given`, `flights`,
 * `saved`, `quota`, `cells`. */
#define CACHE_STATS_READ(X)                                                                  \
    X(gets, stats_gets(v))                                                                   \
    X(hit_ratio, stats_hit_ratio(v))                                                         \
    X(saved_seconds, saved.ns * 1e-9)                                                        \
    X(saved_cost, saved.cost * 1e-6)                                                         \
    X(loads_running, flights != NULL ? flight_count(flights) : 0)                            \
    X(load_waiters, flights != NULL ? flight_waiting(flights) : 0)                           \
    X(load_bytes, base_load_rlx(&s->account.by_module[BASE_MOD_FLIGHT]))                     \
    X(events_skipped, stats_read_store(s->stats, STATS_LISTENER_SKIPPED))                    \
    X(entries, l.entries)                                                                    \
    X(used_bytes, base_load_rlx(&s->account.used))                                           \
    X(budget_bytes, base_load_rlx(&s->account.limit))                                        \
    X(index_bytes, l.index_bytes)                                                            \
    X(log_bytes, l.arena_bytes)                                                              \
    X(stripes, l.stripes)                                                                    \
    X(l2_owes, base_load_rlx(&s->owes) != CACHE_OWES_NOTHING)                                \
    X(l2_memory_bytes, cache_l2_memory(s))                                                   \
    X(l2_rejected_size, given[STATS_GIVEN_L2_refused_size])                                  \
    X(l2_rejected_ttl, given[STATS_GIVEN_L2_refused_ttl])                                    \
    X(l2_rejected_limit, given[STATS_GIVEN_L2_refused_budget])                               \
    X(quota_entries, quotas[0])                                                              \
    X(quota_bytes, quotas[1])                                                                \
    X(quota_max_bytes, quotas[2])                                                            \
    X(namespace_entries, slot != CACHE_WHOLE_STORE ? stats_entries(s->stats, slot) : 0)      \
    X(objects_held, cells != NULL ? l1_cells_held(cells) : 0)                                \
    X(release_errors, cells != NULL ? l1_cells_twice(cells) : 0)

#define CACHE_ONE_FIELD(field) 1
#define CACHE_ONE_NO_FIELD 0
#define CACHE_COUNT_FIELD(id, field, ...) + CACHE_ONE_##field
#define CACHE_COUNT_READ(field, value) + 1
enum { CACHE_CAUSES_OF_NONE = 7 }; /* numbers in `ended` by which no entry ends */
_Static_assert((sizeof(cellar_stats) + 7) / sizeof(uint64_t) == /* a size_t has 4 or 8 bytes */
                   1 + CACHE_CAUSES_OF_NONE STATS_NAMESPACE_COUNTERS(CACHE_COUNT_FIELD)
                       CACHE_STATS_READ(CACHE_COUNT_READ),
               "each field of cellar_stats has a row");

CELLAR_PRIVATE cache_saved cache_saved_of(const uint64_t v[STATS_NAMESPACE_COUNT])
{
    const double hits = (double)(stats_gets(v) - v[STATS_MISS]), n = (double)v[STATS_LOAD];
    if (v[STATS_LOAD] == 0) { return (cache_saved){ 0, 0 }; }
    return (cache_saved){ hits * (double)v[STATS_LOAD_NS] / n,
                          hits * (double)v[STATS_LOAD_COST] / n };
}

CELLAR_PRIVATE bool cache_quota_read(const cache_store *s, unsigned quota,
                                     uint64_t out[CACHE_QUOTA_FIGURES])
{
    l1_share q;
    l1_quota_get(s->l1, quota, &q);
    const uint64_t figures[CACHE_QUOTA_FIGURES] = {
        q.entries, q.bytes, q.ceiling != UINT64_MAX ? q.ceiling : 0
    };
    memcpy(out, figures, sizeof figures);
    return q.ceiling != UINT64_MAX;
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

/* Return what the disk tier takes of the budget. */
static uint64_t cache_l2_memory(const cache_store *s)
{
    const _Atomic uint64_t *of = s->account.by_module;
    return base_load_rlx(&of[BASE_MOD_L2]) + base_load_rlx(&of[BASE_MOD_L2_INDEX]) +
           base_load_rlx(&of[BASE_MOD_L2_BUFFER]);
}

/* Read the counters of a slot, or the sums of the store. */
static cellar_stats cache_stats_of(const cache_store *s, uint32_t slot, unsigned quota)
{
    uint64_t v[STATS_NAMESPACE_COUNT], given[STATS_GIVEN_COUNT] = { 0 };
    uint64_t quotas[CACHE_QUOTA_FIGURES] = { 0 };
    cellar_stats full = cellar_stats_default();
    l1_stats l;
    l1_stats_get(s->l1, &l);
    const l1_cells *const cells = base_load_acq(&s->cells);
    cache_disk_given(s, given);
    const flight_table *flights = base_load_sc(&s->flights);
    if (slot != CACHE_WHOLE_STORE) { (void)cache_quota_read(s, quota, quotas); }
    cache_read_counters(s, slot, v);
    const cache_saved saved = cache_saved_of(v);
    for (unsigned id = 0; id < STATS_NAMESPACE_COUNT; id++) {
        char *place = (char *)&full + cache_places[id];
        if (place != (char *)&full) { memcpy(place, &v[id], sizeof v[0]); }
    }
#define CACHE_READ(field, value) full.field = (value);
    CACHE_STATS_READ(CACHE_READ)
#undef CACHE_READ
    return full;
}

CELLAR_API cellar_err cellar_stats_get(cellar *c, cellar_scope scope, cellar_stats *out)
{
    if (c == NULL || out == NULL || (scope != CELLAR_SCOPE_NAMESPACE &&
                                     scope != CELLAR_SCOPE_STORE)) {
        return cache_fail_number(
            c, "cellar_stats_get: out must not be NULL, scope be a cellar_scope", scope);
    }
    if (cache_is_closed(c)) { return cache_closed(c, __func__); }
    const uint32_t slot = scope == CELLAR_SCOPE_NAMESPACE ? c->slot : CACHE_WHOLE_STORE;
    const cellar_stats full = cache_stats_of(c->store, slot, c->quota);
    return cache_fail(c, base_opts_out(out, &full, sizeof full), 0,
                      "cellar_stats_get: start from cellar_stats_default()");
}

CELLAR_API cellar_err cellar_namespace_list(cellar *c, cellar_namespace_fn fn, void *ctx)
{
    if (c == NULL || fn == NULL) {
        return cache_refuse(c, "cellar_namespace_list: fn must not be NULL");
    }
    if (cache_is_closed(c)) { return cache_closed(c, __func__); }
    cache_store *s = c->store;
    bool more = true;
    for (uint32_t slot = 0; slot < CACHE_NAMESPACES_MAX && more; slot++) {
        char name[CELLAR_NAME_MAX + 1];
        sync_take(NAMESPACE, &s->namespace_lock);
        const cellar *at = cache_namespace_at(s, slot);
        const bool there = at != NULL && !base_load_rlx(&at->dropped) && !at->secret;
        const unsigned quota = there ? at->quota : 0;
        if (there) { memcpy(name, at->name, sizeof name); }
        sync_drop(NAMESPACE, &s->namespace_lock);
        if (!there) { continue; }
        const cellar_stats full = cache_stats_of(s, slot, quota);
        more = fn(name, &full, ctx);
    }
    return CELLAR_OK;
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
        return cache_fail_number(
            c, "cellar_advice_get: out must not be NULL, scope be a cellar_scope", scope);
    }
    if (cache_is_closed(c)) { return cache_closed(c, __func__); }
    const uint32_t slot = scope == CELLAR_SCOPE_NAMESPACE ? c->slot : CACHE_WHOLE_STORE;
    uint64_t v[STATS_NAMESPACE_COUNT];
    l1_advice a;
    cache_read_counters(c->store, slot, v);
    const cellar_err said = cache_advise(c->store, slot, v, &a);
    cellar_advice full = { .struct_size = sizeof full, .hit_ratio_now = stats_hit_ratio(v),
                           .requests = a.requests };
    for (unsigned i = 0; i < L1_ADVICE; i++) {
        full.budget_pct[i] = pct[i];
        full.hit_ratio[i] = a.ratio[i];
    }
    const cellar_err err = base_opts_out(out, &full, sizeof full);
    if (err != CELLAR_OK) {
        return cache_fail(c, err, 0, "cellar_advice_get: start from cellar_advice_default()");
    }
    return said == CELLAR_E_UNSUPPORTED
               ? cache_fail(c, said, 0, "cellar_advice_get: no figures: no_advisor is set, below "
                            "16 MiB or 1,000 entries, optimize OBJECTS, or not ADAPTIVE") : said;
}

CELLAR_API cellar_err cellar_latency_get(cellar *c, cellar_op op, cellar_latency *out)
{
    static const stats_op of[] = { STATS_OP_GET_HIT, STATS_OP_GET_MISS, STATS_OP_SET,
                                   STATS_OP_DELETE, STATS_OP_TICK, STATS_OP_LOAD, STATS_OP_L2_READ,
                                   STATS_OP_L2_WRITE };
    if (c == NULL || out == NULL || (unsigned)op > CELLAR_OP_L2_WRITE) {
        return cache_fail_number(c, "cellar_latency_get: out must not be NULL, op be a cellar_op",
                                 op);
    }
    if (cache_is_closed(c)) { return cache_closed(c, __func__); }
    stats_times t;
    stats_read_times(c->store->stats, of[op], &t);
    const cellar_latency full = { sizeof full, t.count, t.p50_ns, t.p90_ns, t.p99_ns, t.p999_ns,
                                  t.max_ns };
    return cache_fail(c, base_opts_out(out, &full, sizeof full), 0,
                      "cellar_latency_get: out needs its default function");
}

BASE_SIZE_END
