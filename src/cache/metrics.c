/* SPDX-License-Identifier: MIT
 *
 * metrics: what a store adds to the table of metrics.
 *
 * LOCKING    None for counters; NAMESPACE for one name at a time.
 * SEE ALSO   src/stats: counting, names of metrics. */
#include "cache/breaker_calls.h"
#include "cache/call.h"
#include "cache/dependencies.h"
#include "cache/error.h"
#include "cache/handle.h"
#include "cache/l2_tier.h"
#include "cache/stat.h"
#include "load/flight.h"

BASE_SIZE_BEGIN

#ifndef CELLAR_OMIT_TEXT

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
    cache_deps_given(s, from->given);
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
        return cache_refuse(c, "cellar_metrics_write: buf must not be NULL");
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

#endif

BASE_SIZE_END
