/* SPDX-License-Identifier: MIT
 *
 * many: many keys in one call, in groups of 32 with overlapping memory accesses.
 *
 * WALK       get: l1_get_many (hash and prefetch buckets, prefetch records, read), then all items
 *            that are no plain hit, one by one; counters once. A shared tier gets one request for
 *            all that missed.
 *            set, delete: hash all, l1_prefetch_many, then the single operation in the order of the
 *            caller.
 * INVARIANTS Each item gets the code of its single call. A failed item does not stop the others. Of
 *            equal keys the last set wins. */
#include "cache/call.h"
#include "cache/change.h"
#include "cache/error.h"
#include "cache/lookup.h"
#include "cache/plan.h"
#include "cache/proof.h"
#include "cache/shared.h"
#include "cache/tier_calls.h"
#include "cache/talk.h"

#define CACHE_GROUP 32u
#define CACHE_FEW 2u /* up to so many keys are read one after the other */

static cellar_err cache_many_bad(cellar *c, const char *call)
{
    static const cache_broken items = { .rule = "items must not be NULL, nor count items be more "
                                                "than memory can have" };
    return cache_fail_broken(c, CELLAR_E_INVAL, call, &items);
}

/* ---- get ---- */

typedef struct cache_tally { /* outcomes of one call, added to the counters once */
    uint64_t hits, hits_l2, negative, misses, too_long; /* too_long: of the hits, E_BUFFER */
    bool left; /* items are PENDING: to be asked for together */
} cache_tally;

static void cache_tally_note(cache_tally *t, cellar_err err, bool below)
{
    t->too_long += err == CELLAR_E_BUFFER;
    switch ((int)err) {
    case CELLAR_OK:
    case CELLAR_E_BUFFER: below ? t->hits_l2++ : t->hits++; break;
    case CELLAR_ABSENT: t->negative++; break;
    default: t->misses++; break;
    }
}

static void cache_tally_add(cellar *c, const cache_tally *t)
{
    stats_block *mine = cache_mine(c);
    if (t->hits != 0) { stats_add(mine, STATS_HIT_L1, t->hits); }
    if (t->hits_l2 != 0) { stats_add(mine, STATS_HIT_L2, t->hits_l2); }
    if (t->negative != 0) { stats_add(mine, STATS_NEGATIVE, t->negative); }
    if (t->misses != 0) { stats_add(mine, STATS_MISS, t->misses); }
}

/* Log a bulk get: one line, at INFO if a key missed, else at DEBUG. */
BASE_COLD static void cache_tally_tell(const cellar *c, const cache_tally *t)
{
    const unsigned long long hits = t->hits + t->hits_l2;
    const unsigned long long misses = t->misses + t->negative;
    cache_log(c, misses != 0 ? BASE_LOG_INFO : BASE_LOG_DEBUG, "get_many",
              (int)(misses != 0 ? CELLAR_MISS : CELLAR_OK), "%llu hits, %llu misses", hits, misses);
}

static bool cache_get_item_bad(const cellar_get_item *it)
{
    return cache_key_bad(it->key, it->key_len) || (it->buf == NULL && it->buf_cap != 0);
}

/* Complete the items of a group that are neither plain hits nor plain misses, or that a tier may
 * have. `good`: their arguments are valid. */
BASE_NOINLINE static void cache_get_others(cellar *c, cellar_get_item *items, uint32_t others,
                                           uint32_t good, uint32_t generation, cache_tally *t)
{
    for (uint32_t m = others; m != 0; m &= m - 1) {
        const uint32_t i = (uint32_t)__builtin_ctz(m);
        cellar_get_item *it = &items[i];
        if ((good >> i & 1u) == 0) {
            it->value_len = 0;
            it->user_flags = 0;
            it->status = CELLAR_E_INVAL;
            continue;
        }
        const bool below = it->status == CELLAR_MISS && cache_tier_of(c) != NULL;
        if (below && cache_shared_asks_many(c)) {
            it->value_len = 0;
            it->user_flags = 0;
            it->status = CELLAR_PENDING;
            t->left = true;
            continue;
        }
        if (below) {
            l1_key k = { it->key, (uint32_t)it->key_len, generation, 0 };
            k.hash = base_hash(c->hash_key, generation, it->key, it->key_len);
            it->status = cache_tier_read(c, &k, it->buf, it->buf_cap, &it->value_len,
                                         &it->user_flags);
        }
        cache_tally_note(t, it->status, below);
    }
}

/* Count bits: mostly those of all items, or none. */
BASE_ALWAYS_INLINE uint32_t cache_bits(uint32_t m, uint32_t all, uint32_t n)
{
    return m == 0 ? 0 : m == all ? n : (uint32_t)__builtin_popcount(m);
}

/* Return the bits of the items with valid arguments. */
BASE_ALWAYS_INLINE uint32_t cache_get_good(const cellar_get_item *items, uint32_t n)
{
    uint32_t good = 0;
    for (uint32_t i = 0; i < n; i++) {
        good |= (uint32_t)BASE_LIKELY(!cache_get_item_bad(&items[i])) << i;
    }
    return good;
}

/* Get up to 32 items; L1 does not touch the refused ones. */
static void cache_get_group(cellar *c, cellar_get_item *items, uint32_t n, cache_tally *t)
{
    const uint32_t all = UINT32_MAX >> (CACHE_GROUP - n), good = cache_get_good(items, n);
    /* release in cache_generation_take */
    const uint32_t generation = base_load_acq(&c->generation);
    uint32_t hits = 0, none = 0;
    if (BASE_LIKELY(!cache_is_unproven(c))) {
        hits = l1_get_many(c->l1, generation, items, n, good, 0, &none);
    } else {
        for (uint32_t i = 0; i < n; i++) { items[i].status = CELLAR_MISS; }
    }
    if (cache_tier_of(c) != NULL) { none = 0; }
    t->hits += cache_bits(hits, all, n);
    t->misses += cache_bits(none, all, n);
    const uint32_t others = all & ~(hits | none);
    if (BASE_UNLIKELY(others != 0)) { cache_get_others(c, items, others, good, generation, t); }
}

/* Ask a shared tier for the items that the groups left. */
BASE_COLD static void cache_get_left(cellar *c, cellar_get_item *items, size_t count,
                                     cache_tally *t)
{
    cellar_get_item *left[CACHE_ASK_MAX];
    bool answers = true;
    for (size_t i = 0; i < count;) {
        size_t n = 0;
        for (; i < count && n < CACHE_ASK_MAX; i++) {
            if (items[i].status == CELLAR_PENDING) { left[n++] = &items[i]; }
        }
        answers = answers && cache_tier_read_many(c, left, n);
        for (size_t j = 0; j < n; j++) {
            if (left[j]->status == CELLAR_PENDING) { left[j]->status = CELLAR_MISS; }
            cache_tally_note(t, left[j]->status, true);
        }
    }
}

static void cache_get_many_off(cellar_get_item *items, size_t count, cache_tally *t)
{
    for (size_t i = 0; i < count; i++) {
        const bool bad = cache_get_item_bad(&items[i]);
        items[i].value_len = 0;
        items[i].user_flags = 0;
        items[i].status = bad ? CELLAR_E_INVAL : CELLAR_MISS;
        if (!bad) { t->misses++; }
    }
}

/* Add the outcomes of a call to the counters and the log. Return its code. */
static cellar_err cache_get_many_end(cellar *c, cellar_get_item *items, size_t count,
                                     cache_tally *t, size_t *hits)
{
    if (BASE_UNLIKELY(t->left)) { cache_get_left(c, items, count, t); }
    cache_tally_add(c, t);
    if (cache_talks(c)) { cache_tally_tell(c, t); }
    if (hits != NULL) { *hits = (size_t)(t->hits + t->hits_l2 - t->too_long); }
    return CELLAR_OK;
}

BASE_NOINLINE static cellar_err cache_get_groups(cellar *c, cellar_get_item *items, size_t count,
                                                 size_t *hits)
{
    cache_tally t = { .hits = 0 };
    if (cache_no_bytes(c)) { return cache_closed(c, "cellar_get_many"); }
    if (cache_is_off(c)) {
        cache_get_many_off(items, count, &t);
    } else {
        for (size_t i = 0; i < count; i += CACHE_GROUP) {
            cache_get_group(c, items + i, (uint32_t)BASE_MIN(count - i, CACHE_GROUP), &t);
        }
    }
    return cache_get_many_end(c, items, count, &t, hits);
}

/* End a call for a few items that are not all plain hits. */
BASE_NOINLINE static cellar_err cache_get_mixed(cellar *c, cellar_get_item *items, uint32_t n,
                                                uint32_t generation, uint32_t found, uint32_t none,
                                                size_t *hits)
{
    const uint32_t all = UINT32_MAX >> (CACHE_GROUP - n);
    if (cache_tier_of(c) != NULL) { none = 0; }
    if (none == all) {
        stats_add(cache_mine(c), STATS_MISS, n);
        return CELLAR_OK;
    }
    cache_tally t = { .hits = cache_bits(found, all, n), .misses = cache_bits(none, all, n) };
    const uint32_t others = all & ~(found | none);
    if (BASE_UNLIKELY(others != 0)) { cache_get_others(c, items, others, all, generation, &t); }
    return cache_get_many_end(c, items, n, &t, hits);
}

/* Return whether the items are a few with valid arguments, of a namespace without a state. */
BASE_ALWAYS_INLINE bool cache_get_is_few(const cellar *c, const cellar_get_item *items,
                                         size_t count)
{
    if (count - 1 >= CACHE_FEW || base_load_acq(&c->state) != 0) { return false; }
    return !cache_get_item_bad(&items[0]) && !cache_get_item_bad(&items[count - 1]);
}

CELLAR_API cellar_err cellar_get_many(cellar *c, cellar_get_item *items, size_t count,
                                      size_t *hits)
{
    if (hits != NULL) { *hits = 0; }
    if (c == NULL || cache_items_bad(items, count, sizeof *items)) {
        return cache_many_bad(c, __func__);
    }
    if (!cache_get_is_few(c, items, count)) { return cache_get_groups(c, items, count, hits); }
    const uint32_t n = (uint32_t)count, generation = base_load_acq(&c->generation);
    uint32_t none;
    const uint32_t found = l1_get_few(c->l1, generation, items, n, &none);
    if (found != (1u << n) - 1) {
        return cache_get_mixed(c, items, n, generation, found, none, hits);
    }
    stats_add(cache_mine(c), STATS_HIT_L1, n);
    if (hits != NULL) { *hits = n; }
    return CELLAR_OK;
}

/* ---- set ---- */

static bool cache_set_item_bad(const cellar_set_item *it, const cache_plan *plan)
{
    const bool no_value = it->value == NULL || plan->spec.kind == (uint8_t)L1_NEGATIVE;
    return cache_key_bad(it->key, it->key_len) || it->reserved0 != 0 ||
           (no_value && it->value_len != 0);
}

static void cache_set_group(cellar *c, cellar_set_item *items, size_t n, cache_plan *plan)
{
    l1_key keys[CACHE_GROUP];
    uint8_t item_of[CACHE_GROUP];
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        const cellar_set_item *it = &items[i];
        items[i].status = CELLAR_E_INVAL;
        if (cache_set_item_bad(it, plan)) { continue; }
        cache_key(c, &keys[used], it->key, it->key_len);
        item_of[used++] = (uint8_t)i;
    }
    if (used != 0) { l1_prefetch_many(c->l1, keys, used); }
    for (size_t i = 0; i < used; i++) {
        cellar_set_item *it = &items[item_of[i]];
        cache_plan own, *p = plan;
        if (BASE_UNLIKELY(plan->policed)) {
            memcpy(&own, plan, CACHE_PLAN_COPIED); /* the policy changes it for this key */
            p = &own;
        }
        p->spec.value = it->value;
        p->spec.value_len = it->value_len;
        it->status = cache_put(c, &keys[i], p);
    }
}

CELLAR_API cellar_err cellar_set_many(cellar *c, cellar_set_item *items, size_t count,
                                      const cellar_set_opts *o, size_t *stored)
{
    if (stored != NULL) { *stored = 0; }
    if (c == NULL || cache_items_bad(items, count, sizeof *items)) {
        return cache_many_bad(c, __func__);
    }
    if (cache_no_bytes(c)) { return cache_closed(c, __func__); }
    cache_plan plan;
    cellar_err err = cache_plan_make(c, o, CACHE_FOR_SET_MANY, &plan);
    if (err != CELLAR_OK) { return err; }
    if (plan.version_out != NULL) {
        return cache_refuse(c, "cellar_set_many: new_version must be NULL");
    }
    if (count == 0) { return CELLAR_OK; }
    if (cache_is_off(c)) {
        for (size_t i = 0; i < count; i++) {
            items[i].status = cache_set_item_bad(&items[i], &plan) ? CELLAR_E_INVAL
                                                                   : CELLAR_DISABLED;
        }
        return CELLAR_OK;
    }
    plan.commit_later = true;
    for (size_t i = 0; i < count; i += CACHE_GROUP) {
        cache_set_group(c, items + i, BASE_MIN(count - i, (size_t)CACHE_GROUP), &plan);
    }
    err = plan.durable ? cache_tier_commit(c, cache_tier_of(c), CELLAR_OK)
                       : cache_acked(c, CELLAR_OK);
    for (size_t i = 0; err != CELLAR_OK && i < count; i++) {
        if (items[i].status == CELLAR_OK) { items[i].status = err; }
    }
    if (stored != NULL) {
        for (size_t i = 0; i < count; i++) { *stored += items[i].status == CELLAR_OK; }
    }
    return CELLAR_OK;
}

/* ---- delete ---- */

static void cache_del_group(cellar *c, cellar_delete_item *items, size_t n)
{
    l1_key keys[CACHE_GROUP];
    uint8_t item_of[CACHE_GROUP];
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        items[i].status = CELLAR_E_INVAL;
        if (cache_key_bad(items[i].key, items[i].key_len) || items[i].reserved0 != 0) { continue; }
        cache_key(c, &keys[used], items[i].key, items[i].key_len);
        item_of[used++] = (uint8_t)i;
    }
    if (used != 0) { l1_prefetch_many(c->l1, keys, used); }
    for (size_t i = 0; i < used; i++) {
        items[item_of[i]].status = cache_delete(c, &keys[i], true);
    }
}

CELLAR_API cellar_err cellar_delete_many(cellar *c, cellar_delete_item *items, size_t count,
                                         size_t *deleted)
{
    if (deleted != NULL) { *deleted = 0; }
    if (c == NULL || cache_items_bad(items, count, sizeof *items)) {
        return cache_many_bad(c, __func__);
    }
    if (cache_is_closed(c)) { return cache_closed(c, __func__); }
    for (size_t i = 0; i < count; i += CACHE_GROUP) {
        cache_del_group(c, items + i, BASE_MIN(count - i, (size_t)CACHE_GROUP));
    }
    const cellar_err err = cache_acked(c, CELLAR_OK);
    for (size_t i = 0; err != CELLAR_OK && i < count; i++) {
        if (items[i].status >= 0) { items[i].status = err; }
    }
    if (deleted != NULL) {
        for (size_t i = 0; i < count; i++) { *deleted += items[i].status == CELLAR_OK; }
    }
    return CELLAR_OK;
}
