/* SPDX-License-Identifier: MIT
 *
 * index: match and lock buckets; find, add and remove the slots of a chain.
 *
 * PICTURE    stripe: primary buckets 0 .. 2^level + split - 1 (linear hashing, index_grow.c), each
 *            with a chain of at most 15 halves of overflow buckets from the area of its group.
 *                h -> b = h mod 2^level; b < split ? h mod 2^(level+1) : b
 * INVARIANTS Half an overflow bucket is in exactly one chain or on the free list of its group. Only
 *            its chain reads or writes its slots; the two halves share the word of their counters.
 * LOCKING    types.h. No thread waits for a stripe lock while it holds a bucket.
 * LIMITS     A set that needs a 16th half gets CELLAR_E_SPACE. A reader stopped for exactly 2^31
 *            changes of one bucket would accept a changed version. */
#include "l1/index.h"
#include "l1/quota_count.h"
#include "l1/record.h"
#include "l1/segment.h"

BASE_SIZE_BEGIN

/* ---- overflow buckets ------------------------------------------------------------------------ */
CELLAR_PRIVATE bool l1_area_charge(l1 *c, base_module m, uint64_t more)
{
    return base_charge(c->account, m, more) ||
           (l1_give_back(c, more, 0) && base_charge(c->account, m, more));
}

/* Return the bytes of an overflow area with the halves 1..n. */
static uint64_t l1_ovf_bytes(uint32_t n) { return ((uint64_t)n / 2 + 1) * sizeof(l1_bucket); }

CELLAR_PRIVATE bool l1_ovf_ready(l1 *c, l1_stripe *s, uint64_t number)
{
    const uint64_t first = number >> L1_GROUP_SHIFT << L1_GROUP_SHIFT;
    l1_group *g = &s->group[number >> L1_GROUP_SHIFT];
    if (g->free != 0) { return true; }
    if (g->high >= c->overflow_limit) { return false; }
    const uint64_t need = base_round_up(l1_ovf_bytes(g->high + 1), BASE_PAGE);
    if (need > g->charged_bytes) {
        const uint64_t most = l1_ovf_bytes(c->overflow_limit);
        sync_assert_not(SYNC_RANK_L1_BUCKET); /* no reader waits for the kernel */
        if (need > most) { return false; }
        if (need > g->writable_bytes) { /* the writable part grows ahead in larger steps */
            const uint64_t step = need <= L1_INDEX_STEP ? BASE_PAGE : L1_INDEX_STEP;
            const uint64_t to = BASE_MIN(base_round_up(need, step), most);
            const size_t at = s->index_number * c->stripe_stride +
                              (size_t)first * sizeof(l1_bucket) + g->writable_bytes;
            if (!base_region_commit(&c->overflow_region, at, (size_t)(to - g->writable_bytes))) {
                return false;
            }
            g->writable_bytes = (uint32_t)to;
        }
        if (!l1_area_charge(c, BASE_MOD_OVERFLOW, need - g->charged_bytes)) { return false; }
        g->charged_bytes = (uint32_t)need;
    }
    const l1_part half = l1_half(s, number, (uint16_t)(g->high + 1));
    base_store_rlx(&half.b->off[__builtin_ctz(half.slots)], 0u);
    return true;
}

/* Take the half that l1_ovf_ready found or made; 0: none. */
CELLAR_PRIVATE uint16_t l1_ovf_take(l1_stripe *s, uint64_t number)
{
    l1_group *g = &s->group[number >> L1_GROUP_SHIFT];
    const bool used_before = g->free != 0;
    const uint32_t n = used_before ? g->free : g->high + 1;
    if (!used_before && (n > UINT16_MAX || l1_ovf_bytes(n) > g->charged_bytes)) { return 0; }
    const l1_part half = l1_half(s, number, (uint16_t)n);
    const unsigned first = (unsigned)__builtin_ctz(half.slots);
    if (used_before) {
        g->free = base_load_rlx(&half.b->off[first]);
    } else {
        g->high = n;
        base_add_rlx(&s->overflow_high, 1u);
    }
    for (unsigned i = 0; i < L1_HALF; i++) { base_store_rlx(&half.b->tag[first + i], (uint16_t)0); }
    base_store_rlx(l1_part_ovf(half), (uint16_t)0);
    base_add_rlx(&s->overflow_count, 1u);
    return (uint16_t)n;
}

CELLAR_PRIVATE void l1_ovf_give(l1_stripe *s, uint64_t number, uint16_t n)
{
    l1_group *g = &s->group[number >> L1_GROUP_SHIFT];
    const l1_part half = l1_half(s, number, n);
    base_store_rlx(&half.b->off[__builtin_ctz(half.slots)], g->free);
    g->free = n;
    base_sub_rlx(&s->overflow_count, 1u);
}

/* Give back the pages of the overflow buckets when all of the stripe are free. */
CELLAR_PRIVATE void l1_overflow_rest(l1 *c, l1_stripe *s)
{
    if (base_load_rlx(&s->overflow_count) != 0) { return; }
    for (uint32_t i = 0; i < c->group_count; i++) {
        l1_group *g = &s->group[i];
        if (g->charged_bytes == 0) { continue; }
        base_region_discard(&c->overflow_region, s->index_number * c->stripe_stride +
                            ((size_t)i << L1_GROUP_SHIFT) * sizeof(l1_bucket), g->charged_bytes);
        base_uncharge(c->account, BASE_MOD_OVERFLOW, g->charged_bytes);
        g->charged_bytes = g->high = g->free = 0;
    }
    base_store_rlx(&s->overflow_high, 0u);
}

BASE_SIZE_END

/* ---- the version word ------------------------------------------------------------------------ */
CELLAR_PRIVATE void l1_backoff(unsigned *spins)
{
    unsigned n = (*spins)++;
    if (n < 64) {
        base_pause();
    } else if (n < 128) {
        base_yield();
    } else {
        base_sleep_ns(50000);
    }
}

CELLAR_PRIVATE void l1_lock_key(l1 *c, uint64_t hash, l1_hold *h, bool have_stripe)
{
    l1_stripe *s = l1_stripe_of(c, hash);
    unsigned spins = 0;
    for (;;) {
        const uint64_t ls = base_load_acq(&s->ls), number = l1_number(ls, hash);
        l1_bucket *b = l1_bucket_at(s, number);
        uint32_t v = base_load_rlx(&b->ver);
        if ((v & 1u) != 0 || v == 0) {
            l1_backoff(&spins);
            continue;
        }
        BASE_POINT("l1.lock");
        if (!l1_lock_at(s, b, number, v, h)) {
            l1_backoff(&spins);
            continue;
        }
        if (have_stripe) { return; }
        /* Without the stripe lock a split may have moved the key during the wait. */
        const uint64_t again = base_load_acq(&s->ls);
        if (again == ls || l1_number(again, hash) == number) { return; }
        l1_unlock(c, h);
    }
}

CELLAR_PRIVATE uint32_t l1_lock_number(l1_stripe *s, uint64_t number)
{
    l1_bucket *b = l1_bucket_at(s, number);
    l1_hold h;
    unsigned spins = 0;
    for (;;) {
        const uint32_t v = base_load_rlx(&b->ver);
        if ((v & 1u) == 0 && l1_lock_at(s, b, number, v, &h)) { return v; }
        l1_backoff(&spins);
    }
}

CELLAR_PRIVATE void l1_unlock(l1 *c, l1_hold *h)
{
    (void)c;
    l1_unlock_at(h->b, h->ver);
    if (BASE_UNLIKELY(h->took)) { sync_drop(L1_STRIPE, &h->s->lock); }
}

/* ---- under the lock -------------------------------------------------------------------------- */
/* Find a record of this key that has only key and value, as most have. Gives the result of
 * l1_decode and l1_rec_is in half of their steps. False proves nothing. */
static bool l1_find_plain(const l1 *c, uint64_t pos, const l1_key *k, l1_rec *r)
{
    const unsigned char *at = l1_at(c, pos);
    const uint32_t key_off = k->generation != 0 ? 12u : 8u, w0 = base_seq_u32(at);
    const uint32_t want = k->len | L1_W0_ALWAYS | (k->generation != 0 ? L1_W0_GENERATION : 0u);
    if ((w0 & ~(L1_VLEN_LIMIT << 8)) != want) { return false; }
    if (k->generation != 0 && base_seq_u32(at + 8) != k->generation) { return false; }
    if (!base_seq_equal(at + key_off, k->bytes, k->len)) { return false; }
    const uint32_t value_off = key_off + k->len, vlen = L1_W0_VLEN(w0);
    *r = (l1_rec){ .w0 = w0, .due = base_seq_u32(at + 4), .generation = k->generation,
                   .klen = k->len, .vlen = vlen, .field_off = key_off, .key_off = key_off,
                   .value_off = value_off,
                   .size = (uint32_t)base_round_up(value_off + vlen, 1u << c->gshift) };
    return true;
}

CELLAR_PRIVATE bool l1_find(const l1 *c, const l1_hold *h, const l1_key *k, l1_slot *out)
{
    const uint16_t tag = l1_tag_of(k->hash);
    l1_part p = l1_whole(h->b);
    do {
        for (uint32_t m = l1_part_match(p, tag); m != 0; m &= m - 1) {
            out->i = (unsigned)__builtin_ctz(m);
            out->pos = l1_pos(c, base_load_rlx(&p.b->off[out->i]));
            bool ok = l1_find_plain(c, out->pos, k, &out->rec);
            if (!ok) {
                ok = l1_decode(c, out->pos, &out->rec);
                BASE_ASSERT(ok);
                ok = ok && l1_rec_is(c, out->pos, &out->rec, k);
            }
            if (ok) {
                out->b = p.b;
                return true;
            }
        }
        p = l1_chain_next(h->s, h->number, p);
    } while (p.b != NULL);
    out->b = NULL;
    return false;
}

CELLAR_PRIVATE bool l1_find_pos(const l1 *c, const l1_hold *h, uint16_t tag, uint64_t pos,
                                l1_slot *out)
{
    const uint32_t off = (uint32_t)(pos >> c->gshift);
    l1_part p = l1_whole(h->b);
    for (unsigned hop = 0; p.b != NULL && hop <= L1_CHAIN_MAX; hop++) {
        for (uint32_t m = l1_part_match(p, tag); m != 0; m &= m - 1) {
            unsigned i = (unsigned)__builtin_ctz(m);
            if (base_load_rlx(&p.b->off[i]) == off) {
                out->b = p.b;
                out->i = i;
                out->pos = pos;
                return true;
            }
        }
        p = l1_chain_next(h->s, h->number, p);
    }
    return false;
}

/* Return whether the chain of a key has an empty slot. Without its lock a hint. */
static bool l1_chain_has_room(const l1_stripe *s, uint64_t number)
{
    l1_part p = l1_whole(l1_bucket_at(s, number));
    for (unsigned hop = 0; p.b != NULL && hop <= L1_CHAIN_MAX; hop++) {
        if (l1_part_match(p, 0) != 0) { return true; }
        p = l1_chain_next(s, number, p);
    }
    return false;
}

CELLAR_PRIVATE void l1_lock_grow(l1 *c, uint64_t hash, l1_hold *h)
{
    l1_stripe *s = l1_stripe_of(c, hash);
    if (BASE_LIKELY(l1_chain_has_room(s, l1_number(base_load_acq(&s->ls), hash)))) {
        l1_lock_key(c, hash, h, false);
        return;
    }
    sync_take(L1_STRIPE, &s->lock);
    (void)l1_ovf_ready(c, s, l1_number(base_load_rlx(&s->ls), hash));
    l1_lock_key(c, hash, h, true);
    h->took = true;
}

CELLAR_PRIVATE bool l1_slot_empty(l1 *c, l1_hold *h, l1_slot *out)
{
    l1_part p = l1_whole(h->b);
    for (unsigned hop = 0;; hop++) {
        uint32_t m = l1_part_match(p, 0);
        if (m != 0) {
            out->b = p.b;
            out->i = (unsigned)__builtin_ctz(m);
            return true;
        }
        uint16_t n = base_load_rlx(l1_part_ovf(p));
        if (n == 0) {
            if (!h->took) { return false; } /* other sets took the empty slots */
            if (hop == L1_CHAIN_MAX) { break; }
            n = l1_ovf_take(h->s, h->number);
            if (n == 0) { break; }
            if (hop >= L1_CHAIN_LONG) {
                h->s->crowded = L1_CHAIN_LONG;
                base_store_rlx(&h->s->room, (uint64_t)0);
            }
            base_store_rlx(l1_part_ovf(p), n);
        }
        p = l1_half(h->s, h->number, n);
    }
    base_add_rlx(&c->chain_full, 1u);
    return false;
}

CELLAR_PRIVATE void l1_chain_trim(l1_hold *h)
{
    if (BASE_LIKELY(base_load_rlx(&h->b->ovf) == 0)) { return; }
    l1_part last = l1_whole(h->b), before = last;
    l1_slot hole = {.b = NULL};
    uint16_t number = base_load_rlx(&h->b->ovf);
    for (uint16_t n = number; n != 0; n = base_load_rlx(l1_part_ovf(last))) {
        uint32_t m = hole.b == NULL ? l1_part_match(last, 0) : 0;
        if (m != 0) { hole = (l1_slot){.b = last.b, .i = (unsigned)__builtin_ctz(m)}; }
        before = last;
        number = n;
        last = l1_half(h->s, h->number, n);
    }
    uint32_t used = l1_part_used(last);
    if (used != 0 && hole.b != NULL) {
        unsigned i = (unsigned)__builtin_ctz(used);
        l1_slot_set(&hole, base_load_rlx(&last.b->tag[i]), base_load_rlx(&last.b->off[i]),
                    l1_freq(last.b, i));
        base_store_rlx(&last.b->tag[i], (uint16_t)0);
        used &= used - 1;
    }
    if (used == 0) {
        base_store_rlx(l1_part_ovf(before), (uint16_t)0);
        l1_ovf_give(h->s, h->number, number);
    }
}
