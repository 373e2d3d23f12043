/* SPDX-License-Identifier: MIT
 *
 * delete_pattern: delete all keys that match a pattern, without stopping other threads.
 *
 * WALK       pattern without wildcards -> a plain delete. Else: the tier learns the pattern ->
 *            glob_epoch + 1 -> invalidate loads of matching keys, shard by shard -> walk L1, some
 *            buckets per step: copy keys out, match without a lock, delete each as a call would ->
 *            glob_epoch + 1 -> the tier learns the end
 * INVARIANTS Loads are invalidated BEFORE the walk. A load that is missed began after the call; an
 *            invalidated load stores nothing. In the other order a load could store into a part
 *            already walked. The same holds for a shared tier, which deletes key by key.
 *            Entries that exist from before the call until the walk reaches them are removed, with
 *            stale values and remembered errors.
 *            glob_epoch orders the walk against stores in the tier and back-fills: README.md,
 *            "Patterns".
 * LOCKING    No lock while matching. A namespace that is cleared meanwhile has nothing left to
 *            walk.
 * LIMITS     Entries set during the call may be removed or stay. Keys that are only on disk are not
 *            counted. A tier without patterns refuses the call.
 * SEE ALSO   l2/invalidations.c: keys that are only on disk. */
#include "cache/call.h"
#include "cache/change.h"
#include "cache/error.h"
#include "cache/explain_record.h"
#include "cache/handle.h"
#include "cache/shared.h"
#include "cache/tier_calls.h"
#include "cache/write_order.h"

#include "base/glob.h"
#include "flight/flight.h"

BASE_SIZE_BEGIN

#define CACHE_MATCH_BUCKETS 64u

typedef struct cache_match {
    cellar *namespace;
    const char *pattern;
    size_t pattern_len;
    uint32_t generation;
    uint32_t by;          /* number of cache_why_act */
    bool shared;          /* its tier is shared, and knows the pattern */
    uint64_t removed;
} cache_match;

static bool cache_match_key(void *ctx, const void *key, size_t key_len)
{
    const cache_match *m = ctx;
    return base_glob_match(m->pattern, m->pattern_len, key, key_len);
}

/* Delete a key that matches, and count a live value. outside: the tier knows the pattern. */
static cellar_err cache_match_delete(cellar *c, l1_key *k, uint32_t by, bool outside,
                                     uint64_t *removed)
{
    cache_change ch = { .c = c, .k = k, .kind = CACHE_DELETE, .by = by,
                        .flags = CACHE_MATCHED | CACHE_BATCH | (outside ? CACHE_OUTSIDE : 0u) };
    const cellar_err err = cache_change_run(&ch);
    *removed += err == CELLAR_OK || ch.gone == L1_GONE_VALUE; /* or the code of the tier */
    return err == CELLAR_MISS ? CELLAR_OK : err;
}

static bool cache_match_one(void *ctx, const l1_seen *e)
{
    cache_match *m = ctx;
    if (cache_is_closed(m->namespace) ||
        base_load_acq(&m->namespace->generation) != m->generation) {
        return false;
    }
    if (!cache_match_key(m, e->key, e->key_len)) { return true; }
    l1_key k;
    cache_key(m->namespace, &k, e->key, e->key_len);
    if (k.generation != m->generation) { return false; } /* the clear ended the entry */
    (void)cache_match_delete(m->namespace, &k, m->by, m->shared, &m->removed);
    return true;
}

static cellar_err cache_match_walk(cache_match *m)
{
    uint64_t cursor = 0;
    cellar_err err = CELLAR_OK;
    do {
        BASE_POINT("flight.glob");
        err = l1_scan(m->namespace->l1, &cursor, CACHE_MATCH_BUCKETS, m->generation,
                      L1_SCAN_STORED, cache_match_one, m);
    } while (err == CELLAR_OK && cursor != 0 && !cache_is_closed(m->namespace) &&
             base_load_acq(&m->namespace->generation) == m->generation);
    return err;
}

static void cache_match_loads(cache_match *m)
{
    flight_table *t = base_load_sc(&m->namespace->store->flights);
    BASE_POINT("flight.glob");
    if (t != NULL) { flight_invalidate_match(t, m->generation, cache_match_key, m); }
}

/* Tell the tier the pattern. A queue of writes keeps those that wait. */
static cellar_err cache_match_begin(const cache_tier *t, const cache_match *m, uint64_t *walk)
{
    l2 *d = cache_tier_disk(t);
    if (d != NULL) {
        return l2_glob_begin(d, m->generation, m->pattern, m->pattern_len, walk);
    }
    if (!m->shared) { return CELLAR_OK; }
    const cache_shared *h = t->ctx;
    return h->t.pattern(h->t.ctx, m->pattern, m->pattern_len);
}

static cellar_err cache_match_all(cellar *c, const char *pattern, size_t len, uint64_t *removed)
{
    cache_store *s = c->store;
    cache_match m = { c, pattern, len, base_load_acq(&c->generation), 0, false, 0 };
    const cache_tier *t = cache_tier_of(c);
    const cache_shared *h = cache_shared_of(c);
    m.shared = h != NULL;
    const bool below = t != NULL;
    uint64_t walk = 0;
    cellar_err begun = CELLAR_OK;
    if (m.shared && h->t.pattern == NULL) {
        return cache_fail(c, CELLAR_E_UNSUPPORTED, 0,
                          "cellar_delete_by_pattern: the tier of this namespace knows no patterns");
    }
    if (m.shared) { cache_match_loads(&m); } /* a fill may follow the deletes of the tier */
    if (below) {
        begun = cache_match_begin(t, &m, &walk);
        if (begun < 0 && !m.shared) { /* an error of a server ends the entries in memory, too */
            return cache_fail(c, begun, 0,
                              "cellar_delete_by_pattern: no memory, or too many patterns on disk");
        }
        (void)base_add_sc(&s->glob_epoch, (uint64_t)1);
        /* Another process may have ended all entries meanwhile, and a get have filled memory again
         * before the tier deleted. Entries of a later generation come from a tier that has none. */
        if (m.shared) { m.generation = base_load_acq(&c->generation); }
        /* After an error of the server a running write still has to reach it. */
        if (begun >= CELLAR_OK && !cache_tier_is_behind(t)) {
            cache_write_order_match(s, m.generation, cache_match_key, &m);
        }
        BASE_POINT("tier.glob_told");
    }
    m.by = cache_why_act(c, CELLAR_CAUSE_PATTERN, 0, 0, pattern, len);
    cache_match_loads(&m);
    const cellar_err err = cache_match_walk(&m);
    if (below) {
        BASE_POINT("tier.glob_walked");
        (void)base_add_sc(&s->glob_epoch, (uint64_t)1);
        l2 *d = cache_tier_disk(t);
        if (d != NULL) { l2_glob_end(d, walk); }
    }
    *removed = m.removed;
    if (err != CELLAR_OK) { return cache_fail(c, err, 0, "cellar_delete_by_pattern: no memory"); }
    return cache_server_code(c, begun);
}

CELLAR_API cellar_err cellar_delete_by_pattern(cellar *c, const char *pattern, size_t pattern_len,
                                               uint64_t *removed)
{
    uint64_t count = 0;
    bool literal;
    if (removed != NULL) { *removed = 0; }
    if (c == NULL || pattern == NULL) {
        return cache_refuse(c, "cellar_delete_by_pattern: c and pattern must not be NULL");
    }
    if (pattern_len == 0 || pattern_len > CELLAR_PATTERN_MAX) {
        return cache_fail_size(c, "cellar_delete_by_pattern: pattern must have 1..1,024 bytes",
                               pattern_len);
    }
    if (cache_is_closed(c)) { return cache_closed(c, __func__); }
    (void)base_add_rlx(&c->refs, 1u); /* the handle of the caller is open: refs >= 1 */
    cellar_err err = CELLAR_OK;
    (void)base_glob_prefix(pattern, pattern_len, &literal);
    if (literal) {
        l1_key k;
        cache_key(c, &k, pattern, pattern_len);
        const uint32_t by = cache_why_act(c, CELLAR_CAUSE_PATTERN, 0, 0, pattern, pattern_len);
        err = cache_match_delete(c, &k, by, false, &count);
    } else {
        err = cache_match_all(c, pattern, pattern_len, &count);
    }
    stats_add(cache_mine(c), STATS_GLOB_DELETE, 1);
    if (removed != NULL) { *removed = count; }
    err = cache_acked(c, err);
    cache_namespace_release(c);
    return err;
}

BASE_SIZE_END
