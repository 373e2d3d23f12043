/* SPDX-License-Identifier: MIT
 *
 * metrics: what a store adds to the table of metrics.
 *
 * LOCKING    None for counters; NAMESPACE for one name at a time.
 * SEE ALSO   stats/: counting, names of metrics. */
#include <stdio.h>

#include "cache/call.h"
#include "cache/error.h"
#include "cache/handle.h"
#include "cache/talk.h"
#include "flight/flight.h"
#include "loading/breaker_calls.h"
#include "store/l2_tier.h"
#include "store/metrics.h"
#include "store/stat.h"

BASE_SIZE_BEGIN

#ifndef CELLAR_OMIT_TEXT

static bool cache_metric_name(void *ctx, uint32_t slot, stats_namespace_name *out)
{
    cache_names *n = ctx;
    cache_store *s = n->store;
    bool there = false;
    sync_take(NAMESPACE, &s->namespace_lock);
    const cellar *v = cache_namespace_at(s, slot);
    if (v != NULL && !base_load_rlx(&v->dropped)) {
        memcpy(n->name, v->name, v->name_len);
        out->bytes = n->name;
        out->len = v->name_len;
        there = true;
    }
    sync_drop(NAMESPACE, &s->namespace_lock);
    return there;
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
    const bool there = v != NULL && !base_load_rlx(&v->dropped);
    const unsigned quota = there ? v->quota : 0;
    const int state = there ? cache_breaker_state(v) : -1;
    sync_drop(NAMESPACE, &s->namespace_lock);
    if (id == STATS_NAMESPACE_BREAKER) {
        *out = (uint64_t)BASE_MAX(state, 0);
        return state >= 0;
    }
    if (quota == 0 || id < STATS_NAMESPACE_QUOTA_ENTRIES) { return false; }
    uint64_t figures[CACHE_QUOTA_FIGURES];
    const bool bounded = cache_quota_read(s, quota, figures);
    *out = figures[id - STATS_NAMESPACE_QUOTA_ENTRIES];
    return bounded;
}

CELLAR_PRIVATE stats_source cache_source(cache_store *s, cache_names *names)
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
    cache_disk_given(s, from.given);
    return from;
}

#define CACHE_HOT_SHOWN 10u

typedef struct cache_hot { /* hot keys with their names */
    cellar_hot_key key[CACHE_HOT_SHOWN];
    char name[CACHE_HOT_SHOWN][CELLAR_HOT_KEY_BYTES + 4];
    stats_hot_line line[CACHE_HOT_SHOWN];
} cache_hot;

/* Name a key as host.log_keys says: by its hash, or by its first bytes. Return the length. */
static size_t cache_hot_name(const cellar_hot_key *k, uint32_t asked, char *out, size_t cap)
{
    const size_t most = asked == CELLAR_LOG_KEYS_FULL ? CELLAR_HOT_KEY_BYTES : CACHE_KEY_PREFIX;
    if (k->key_len == 0 || (asked != CELLAR_LOG_KEYS_PREFIX && asked != CELLAR_LOG_KEYS_FULL)) {
        return (size_t)snprintf(out, cap, "#%016llx", (unsigned long long)k->hash);
    }
    size_t n = BASE_MIN((size_t)k->key_len, most);
    const bool cut = n < k->key_len;
    while (cut && n > 0 && (k->key[n] & 0xc0) == 0x80) { n--; } /* not inside a letter of UTF-8 */
    memcpy(out, k->key, n);
    if (cut) {
        memcpy(out + n, "...", 3);
        n += 3;
    }
    return n;
}

/* Find the keys with the most gets. */
static void cache_hot_find(cellar *c, cache_hot *h, stats_source *from)
{
    const uint32_t asked = c->store->log_keys;
    from->hot = h->line;
    if (asked == CELLAR_LOG_KEYS_NONE) { return; }
    (void)cellar_hot_keys(c, CELLAR_SCOPE_STORE, h->key, CACHE_HOT_SHOWN, &from->hot_count);
    for (size_t i = 0; i < from->hot_count; i++) {
        const cellar_hot_key *k = &h->key[i];
        h->line[i] = (stats_hot_line){
            .namespace_name = k->namespace_name,
            .key = h->name[i],
            .key_len = cache_hot_name(k, asked, h->name[i], sizeof h->name[i]),
            .gets_per_s = (uint64_t)k->gets_per_s,
            .share_ppm = (uint64_t)(k->share * 1e6),
        };
    }
}

CELLAR_PRIVATE cellar_err cache_text(void *object, bool json, char *buf, size_t cap, size_t *full)
{
    cellar *c = object;
    if (cache_is_closed(c)) {
        return cache_closed(c, json ? "cellar_stats_json" : "cellar_metrics_write");
    }
    cache_store *s = c->store;
    cache_names names;
    stats_source from = cache_source(s, &names);
    cache_hot hot;
    if (json) { cache_hot_find(c, &hot, &from); }
    *full = stats_write(s->stats, &from, json ? STATS_JSON : STATS_PROMETHEUS, buf, cap);
    return CELLAR_OK;
}

#endif

BASE_SIZE_END
