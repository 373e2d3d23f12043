/* SPDX-License-Identifier: MIT
 *
 * table: words of a slot, place of a key, clock, present rules, counters. */
#ifndef LIMIT_TABLE_H
#define LIMIT_TABLE_H

#include "limit/rule.h"

/* ---- words ---- */

BASE_INLINE uint64_t limit_word(uint64_t value, uint64_t colour)
{
    return value << 2 | (colour & LIMIT_COLOUR);
}
BASE_INLINE uint64_t limit_next_colour(uint64_t word)
{
    return (word + 1) & LIMIT_COLOUR;
}

/* Return word `i` of a slot: that of rule i, or "banned until" for i == rule_count. */
BASE_INLINE _Atomic uint64_t *limit_word_at(limit_slot *s, uint32_t i)
{
    return (_Atomic uint64_t *)(void *)s + 1 + i;
}

/* ---- places ---- */

CELLAR_PRIVATE uint64_t limit_fp(const cellar_limiter *l, const void *key, size_t len);
BASE_INLINE bool limit_key_ok(const cellar_limiter *l, const void *key, size_t len)
{
    return l != NULL && key != NULL && len >= 1 && len <= CELLAR_KEY_MAX;
}
/* Keep why `call` is refused: an argument, the key, a check by a limiter of permits, or a permit by
 * another one. Return E_INVAL. */
BASE_COLD CELLAR_PRIVATE cellar_err limit_call_refuse(const char *call, const cellar_limiter *l,
                                                      const void *key, size_t key_len);
BASE_INLINE uint32_t limit_scale(uint64_t bits32, uint32_t n)
{
    return (uint32_t)((bits32 * n) >> 32);
}
BASE_INLINE void limit_place_of(const cellar_limiter *l, uint64_t fp, limit_place *p)
{
    const uint64_t mix = (fp >> 1) * UINT64_C(0x9e3779b97f4a7c15);
    const uint32_t n = l->region_buckets;
    const uint32_t a = limit_scale(fp & 0xffffffffu, n);
    uint32_t b = limit_scale(mix >> 32, n);
    if (b == a) { b = a + 1 < n ? a + 1 : 0; }
    p->region = limit_scale(fp >> 32, l->regions);
    p->bucket[0] = p->region * n + a;
    p->bucket[1] = p->region * n + b;
}
BASE_INLINE limit_slot *limit_slot_at(const cellar_limiter *l, uint32_t bucket, uint32_t way)
{
    return (limit_slot *)(void *)(l->table +
                                  ((size_t)bucket * LIMIT_WAYS + way) * l->slot_bytes);
}
BASE_INLINE limit_slot *limit_slot_next(const cellar_limiter *l, limit_slot *s)
{
    return (limit_slot *)(void *)((unsigned char *)s + l->slot_bytes);
}
/* Prefetch both buckets of a key while the caller reads the clock. */
BASE_INLINE void limit_prefetch(const cellar_limiter *l, uint64_t fp)
{
    limit_place p;
    limit_place_of(l, fp, &p);
    BASE_PREFETCH(limit_slot_at(l, p.bucket[0], 0));
    BASE_PREFETCH(limit_slot_at(l, p.bucket[1], 0));
}
CELLAR_PRIVATE uint64_t limit_now(const cellar_limiter *l);

/* Return the present rules. */
BASE_INLINE const _Atomic uint64_t *limit_set_now(const cellar_limiter *l)
{
    return l->set[base_load_acq(&l->state) >> 32 & 1];
}
/* Return the rules for the words of `region`, as of `state`. While a conversion rewrites the region
 * (limit_converts), only a holder of the region lock may use them. */
BASE_INLINE const _Atomic uint64_t *limit_set_of(const cellar_limiter *l, uint64_t state,
                                                 uint32_t region)
{
    return l->set[(state >> 32 & 1) ^ (region >= (uint32_t)state)];
}
BASE_INLINE bool limit_converts(uint64_t state, uint32_t region)
{
    return BASE_UNLIKELY(region == (uint32_t)state);
}
BASE_INLINE void limit_rule_load(const _Atomic uint64_t *set, uint32_t i, limit_rule *out)
{
    const _Atomic uint64_t *w = set + 1 + (size_t)i * LIMIT_RULE_WORDS;
    out->kind = base_load_rlx(&w[0]);
    out->limit = base_load_rlx(&w[1]);
    out->step = base_load_rlx(&w[2]);
    out->burst = base_load_rlx(&w[3]);
    out->reach = base_load_rlx(&w[4]);
    out->ban = base_load_rlx(&w[5]);
}
/* Return the limits that may give the unit of the counts of rule `i`. */
BASE_INLINE const _Atomic uint64_t *limit_bases(const _Atomic uint64_t *set, uint32_t i)
{
    return set + LIMIT_SET_BASES + (size_t)i * LIMIT_BASES;
}
BASE_INLINE void limit_rules_load(const cellar_limiter *l, const _Atomic uint64_t *set,
                                  limit_rule *out)
{
    for (uint32_t i = 0; i < l->rule_count; i++) { limit_rule_load(set, i, &out[i]); }
}
/* Return units since the origin of the set, 0 for readings before it. Logs of a snapshot can put
 * the origin before the start of the clock. It is then above 2^63, like the origin of a clock that
 * has run for 292 years. */
BASE_INLINE uint64_t limit_units_at(const _Atomic uint64_t *set, uint64_t now_ns)
{
    const uint64_t origin = base_load_rlx(&set[0]), d = now_ns - origin;
    if (BASE_LIKELY(d <= UINT64_MAX / LIMIT_UNITS_NS)) { return d * LIMIT_UNITS_NS; }
    const bool before = origin >> 63 == 0 ? now_ns < origin : d >> 63 != 0;
    return before ? 0 : UINT64_MAX;
}
/* Return the reading, or the set's origin where the reading lies before it. */
BASE_INLINE uint64_t limit_since(const _Atomic uint64_t *set, uint64_t now_ns)
{
    const uint64_t origin = base_load_rlx(&set[0]);
    return origin >> 63 == 0 && now_ns < origin ? origin : now_ns;
}
/* Return the longest window that any call named for a sliding log, units. */
BASE_INLINE uint64_t limit_window_of(const cellar_limiter *l, const limit_rule *r, uint32_t i)
{
    return limit_max_u64(r->step, base_load_acq(&l->longest[i]));
}

/* ---- counters ---- */

/* Return the sum of units that the tickets of some keys gave back. A ticket gives back less by what
 * was added to it (README.md, "Tickets"). Keys share a sum, which only makes tickets stricter. */
BASE_INLINE _Atomic uint64_t *limit_given(limit_head *h, uint64_t fp)
{
    return &h->given[(fp >> 1) % LIMIT_GIVEN];
}

BASE_INLINE limit_row *limit_my_row(cellar_limiter *l, bool *shared)
{
    const uint32_t index = base_thread_self()->index;
    *shared = index == 0 || index >= l->rows;
    return &l->row[*shared ? 0 : index];
}

BASE_INLINE void limit_add(_Atomic uint64_t *cell, bool shared, uint64_t n)
{
    if (BASE_UNLIKELY(shared)) {
        (void)base_add_rlx(cell, n);
    } else {
        base_store_rlx(cell, base_load_rlx(cell) + n);
    }
}

BASE_INLINE void limit_count_allowed(cellar_limiter *l)
{
    bool shared;
    limit_row *row = limit_my_row(l, &shared);
    limit_add(&row->cell[STATS_LIMITER_ALLOWED], shared, 1);
}
CELLAR_PRIVATE void limit_count(cellar_limiter *l, stats_limiter c, uint64_t n);
CELLAR_PRIVATE void limit_count_denial(cellar_limiter *l, uint32_t rule);

/* Take the lock of a bucket. Slots of one word have none. */
BASE_INLINE void limit_bucket_take(cellar_limiter *l, uint32_t bucket)
    SYNC_TAKES(LIMIT_BUCKET) SYNC_UNCHECKED;
BASE_INLINE void limit_bucket_take(cellar_limiter *l, uint32_t bucket)
{
    if (l->multi) { sync_take(LIMIT_BUCKET, &l->bucket_lock[bucket]); }
}
BASE_INLINE void limit_bucket_drop(cellar_limiter *l, uint32_t bucket)
    SYNC_DROPS(LIMIT_BUCKET) SYNC_UNCHECKED;
BASE_INLINE void limit_bucket_drop(cellar_limiter *l, uint32_t bucket)
{
    if (l->multi) { sync_drop(LIMIT_BUCKET, &l->bucket_lock[bucket]); }
}

#endif
