/* SPDX-License-Identifier: MIT
 *
 * pin: read one key in place, or a range of it; fill a large value in place.
 *
 * SEE ALSO   l1/pin.c. */
#include "cache/pin.h"

#include "cache/call.h"
#include "cache/error.h"
#include "cache/lookup.h"
#include "cache/proof.h"
#include "cache/talk.h"

BASE_SIZE_BEGIN

#define CACHE_RESERVED (UINT64_C(1) << 32) /* in opaque[1], above the slot */

/* Pin in all cases except the plain hit. */
BASE_NOINLINE static cellar_err cache_pin_rest(cellar *c, const void *key, size_t key_len,
                                               cellar_pinned *out)
{
    if (out != NULL) { memset(out, 0, sizeof *out); }
    if (c == NULL || cache_key_bad(key, key_len) || out == NULL) {
        return cache_fail_key(c, "cellar_pin", key, key_len, "out must not be NULL");
    }
    if (cache_no_bytes(c)) { return cache_closed(c, "cellar_pin"); }
    cellar_err err = CELLAR_MISS;
    bool below = false;
    l1_pin_ref ref;
    l1_key k;
    cache_key(c, &k, key, key_len);
    if (!cache_is_off(c)) {
        err = cache_is_unproven(c) ? CELLAR_MISS : l1_pin(c->l1, &k, &ref, 0);
        below = err == CELLAR_MISS && cache_brought(c, &k);
        if (below && !cache_is_unproven(c)) { err = l1_pin(c->l1, &k, &ref, 0); }
    }
    stats_add(cache_mine(c), below && err == CELLAR_OK ? STATS_HIT_L2 : cache_outcome(err), 1);
    if (cache_talks(c)) { cache_read_tell(c, "get", &k, err); }
    if (err == CELLAR_OK) {
        cache_pin_out(c, &ref, out);
    } else if (err == CELLAR_E_LIMIT) {
        stats_count(c->stats, STATS_LIMIT_PINS, 1);
        return cache_fail(c, err, 0, "cellar_pin: all pins of the store are in use: unpin values, "
                                     "also those of ended threads");
    }
    return err;
}

/* Copy a range of the value that memory has. */
static cellar_err cache_range_here(cellar *c, const l1_key *k, uint64_t offset, void *buf,
                                   size_t buf_cap, size_t *total)
{
    l1_pin_ref ref;
    if (cache_is_unproven(c)) { return CELLAR_MISS; }
    const cellar_err err = l1_pin(c->l1, k, &ref, 0);
    if (err != CELLAR_OK) { return err; }
    *total = ref.value_len;
    if (offset < ref.value_len && buf_cap != 0) {
        const size_t n = BASE_MIN(buf_cap, ref.value_len - (size_t)offset);
        memcpy(buf, (const char *)ref.value + offset, n);
    }
    l1_unpin_slot(c->l1, ref.slot);
    return CELLAR_OK;
}

/* Copy a range of the value that the tier has. CONFLICT: memory may have it now. */
static cellar_err cache_range_below(cellar *c, const l1_key *k, uint64_t offset, void *buf,
                                    size_t buf_cap, size_t *total)
{
    if (!cache_may_lie_below(c, k)) { return CELLAR_MISS; }
    const cache_tier *t = cache_tier_of(c);
    l2 *d = t != NULL ? cache_tier_disk(t) : NULL;
    if (d != NULL) { return cache_disk_range(c, d, k, offset, buf, buf_cap, total); }
    return cache_brought(c, k) ? CELLAR_CONFLICT : CELLAR_MISS;
}

CELLAR_API cellar_err cellar_get_range(cellar *c, const void *key, size_t key_len, uint64_t offset,
                                       void *buf, size_t buf_cap, size_t *total)
{
    if (total != NULL) { *total = 0; }
    if (c == NULL || cache_key_bad(key, key_len) || total == NULL ||
        (buf == NULL && buf_cap != 0)) {
        return cache_fail_key(c, "cellar_get_range", key, key_len,
                              "total must not be NULL, nor buf with buf_cap > 0");
    }
    if (cache_no_bytes(c)) { return cache_closed(c, __func__); }
    bool below = false;
    l1_key k;
    cache_key(c, &k, key, key_len);
    cellar_err err = cache_is_off(c) ? CELLAR_MISS : CELLAR_CONFLICT;
    for (unsigned look = 0; err == CELLAR_CONFLICT && look < CACHE_LOOKS; look++) {
        err = cache_range_here(c, &k, offset, buf, buf_cap, total);
        if (err != CELLAR_MISS) { break; }
        err = cache_range_below(c, &k, offset, buf, buf_cap, total);
        below = err != CELLAR_MISS;
    }
    if (err == CELLAR_CONFLICT) { err = CELLAR_MISS; }
    stats_add(cache_mine(c), below && err == CELLAR_OK ? STATS_HIT_L2 : cache_outcome(err), 1);
    if (cache_talks(c)) { cache_read_tell(c, "get", &k, err); }
    if (err != CELLAR_E_LIMIT) { return err; }
    stats_count(c->stats, STATS_LIMIT_PINS, 1);
    return cache_fail(c, err, 0, "cellar_get_range: all pin slots are in use: unpin values");
}

CELLAR_API cellar_err cellar_reserve(cellar *c, size_t value_len, cellar_pinned *out)
{
    if (out != NULL) { memset(out, 0, sizeof *out); }
    if (c == NULL || out == NULL || value_len == 0) {
        return cache_refuse(c, "cellar_reserve: c and out must not be NULL, value_len not 0");
    }
    if (cache_no_bytes(c)) { return cache_closed(c, __func__); }
    if (value_len > l1_max_value(c->l1)) {
        return cache_fail_long(c, "cellar_reserve", value_len);
    }
    l1_pin_ref ref;
    const cellar_err err = l1_reserve(c->l1, value_len, &ref);
    if (err != CELLAR_OK) {
        return cache_fail(c, err, 0,
                          "cellar_reserve: no room, or all pin slots are in use: unpin values");
    }
    *out = (cellar_pinned){ ref.value, ref.value_len,
                            { (uint64_t)(uintptr_t)c->l1, ref.slot | CACHE_RESERVED } };
    return CELLAR_OK;
}

BASE_SIZE_END

CELLAR_API cellar_err cellar_pin(cellar *c, const void *key, size_t key_len, cellar_pinned *out)
{
    if (BASE_UNLIKELY(c == NULL || cache_key_bad(key, key_len) || out == NULL) ||
        BASE_UNLIKELY(base_load_acq(&c->state) != 0)) {
        return cache_pin_rest(c, key, key_len, out);
    }
    const base_thread_record *self = base_thread_self();
    /* release in cache_generation_take */
    const uint32_t generation = base_load_acq(&c->generation);
    const uint64_t hash = base_hash(c->hash_key, generation, key, key_len);
    l1_pin_ref ref;
    if (BASE_UNLIKELY(!l1_pin_hit(c->l1, self, key, (uint32_t)key_len, generation, hash, &ref))) {
        return cache_pin_rest(c, key, key_len, out);
    }
    cache_pin_out(c, &ref, out);
    stats_add_mine(c->stats, c->stats_tag, self, STATS_HIT_L1, 1);
    return CELLAR_OK;
}

CELLAR_API void cellar_unpin(cellar_pinned *p)
{
    if (p == NULL || p->opaque[0] == 0) { return; }
    l1 *const level = (l1 *)(uintptr_t)p->opaque[0];
    if (BASE_UNLIKELY((p->opaque[1] & CACHE_RESERVED) != 0)) {
        l1_reserve_end(level, p->value, (uint32_t)p->opaque[1]);
    } else {
        base_borrow_end(level, p->value);
        l1_unpin_slot(level, (uint32_t)p->opaque[1]);
    }
    memset(p, 0, sizeof *p);
}
