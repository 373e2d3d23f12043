/* SPDX-License-Identifier: MIT
 *
 * index: buckets, chains and slots (index.c); growth of the table (index_grow.c). */
#ifndef L1_INDEX_H
#define L1_INDEX_H

#include "l1/types.h"

/* Return the slots of one bucket with this fingerprint, as bits 0..8. */
BASE_INLINE uint32_t l1_match(const l1_bucket *b, uint16_t tag)
{
    return base_seq_match8(b->tag, tag) | (uint32_t)(base_load_rlx(&b->tag[8]) == tag) << 8;
}
BASE_INLINE unsigned l1_freq(const l1_bucket *b, unsigned i)
{
    return (base_load_rlx(&b->freq) >> (2 * i)) & 3u;
}
BASE_INLINE void l1_freq_set(l1_bucket *b, unsigned i, unsigned f)
{
    uint32_t old = base_load_rlx(&b->freq);
    base_store_rlx(&b->freq, (old & ~(3u << (2 * i))) | (f << (2 * i)));
}
BASE_INLINE void l1_freq_hit(l1_bucket *b, unsigned i)
{
    uint32_t f = base_load_rlx(&b->freq);
    if (((f >> (2 * i)) & 3u) < 3u) { base_store_rlx(&b->freq, f + (1u << (2 * i))); }
}
/* Return the slots of one part of a chain with this fingerprint; those in use. */
BASE_INLINE uint32_t l1_part_match(l1_part p, uint16_t tag)
{
    return l1_match(p.b, tag) & p.slots;
}
BASE_INLINE uint32_t l1_half_match(l1_part half, uint16_t tag)
{
    return base_seq_match8(half.b->tag, tag) & half.slots;
}
BASE_INLINE uint32_t l1_part_used(l1_part p) { return ~l1_match(p.b, 0) & p.slots; }
/* Return where a part keeps the number of the next half. */
BASE_INLINE _Atomic uint16_t *l1_part_ovf(l1_part p)
{
    return p.slots == L1_HALF_BITS << L1_HALF ? &p.b->tag[8] : &p.b->ovf;
}
/* Return the next part of the chain of a primary bucket; .b is NULL: none. */
BASE_INLINE l1_part l1_chain_next(const l1_stripe *s, uint64_t number, l1_part p)
{
    const uint16_t n = base_load_rlx(l1_part_ovf(p));
    return n != 0 ? l1_half(s, number, n) : (l1_part){ NULL, 0 };
}
BASE_INLINE uint32_t l1_ver_after(uint32_t even) { return even + 2 != 0 ? even + 2 : 2u; }

/* ---- index.c ---- */
/* Charge index memory; give back free segments for it. */
CELLAR_PRIVATE bool l1_area_charge(l1 *c, base_module m, uint64_t more);
/* Charge, commit and touch half an overflow bucket of the group. Then a take inside a window needs
 * neither a charge nor the kernel. Stripe lock, no bucket lock. */
CELLAR_PRIVATE bool l1_ovf_ready(l1 *c, l1_stripe *s, uint64_t number);
/* Take the half that l1_ovf_ready found or made; 0: none. */
CELLAR_PRIVATE uint16_t l1_ovf_take(l1_stripe *s, uint64_t number);
CELLAR_PRIVATE void l1_ovf_give(l1_stripe *s, uint64_t number, uint16_t n);
CELLAR_PRIVATE void l1_overflow_rest(l1 *c, l1_stripe *s) SYNC_HOLDS(L1_STRIPE);
/* Lock a bucket by number under the stripe lock. */
CELLAR_PRIVATE uint32_t l1_lock_number(l1_stripe *s, uint64_t number);
/* Wait longer with each call. */
CELLAR_PRIVATE void l1_backoff(unsigned *spins);
CELLAR_PRIVATE void l1_lock_key(l1 *c, uint64_t hash, l1_hold *h, bool have_stripe) SYNC_UNCHECKED;
/* Lock bucket `number` if its version is still `ver` (even). */
BASE_ALWAYS_INLINE SYNC_UNCHECKED bool l1_lock_at(l1_stripe *s, l1_bucket *b, uint64_t number,
                                                  uint32_t ver, l1_hold *h)
{
    if (!base_cas_sc(&b->ver, ver, ver + 1)) { return false; }
    base_fence_rel();
    SYNC_PUSH(SYNC_RANK_L1_BUCKET, b, false);
    *h = (l1_hold){ .s = s, .b = b, .number = number, .ver = ver };
    return true;
}
/* Lock a bucket if its version is still `ver`: then the key that it had still belongs to it. */
BASE_ALWAYS_INLINE SYNC_UNCHECKED bool l1_lock_here(l1_stripe *s, l1_bucket *b, uint32_t ver,
                                                    l1_hold *h)
{
    return l1_lock_at(s, b, l1_bucket_number(s, b), ver, h);
}
CELLAR_PRIVATE void l1_unlock(l1 *c, l1_hold *h) SYNC_UNCHECKED;
/* Unlock a bucket that l1_lock_at took. */
BASE_ALWAYS_INLINE SYNC_UNCHECKED void l1_unlock_at(l1_bucket *b, uint32_t ver)
{
    SYNC_POP(SYNC_RANK_L1_BUCKET, b);
    base_store_rel(&b->ver, l1_ver_after(ver));
}
/* Unlock a bucket, and its stripe if that was locked with it, in line. */
BASE_ALWAYS_INLINE SYNC_UNCHECKED void l1_unlock_now(l1 *c, l1_hold *h)
{
    if (BASE_LIKELY(!h->took)) { l1_unlock_at(h->b, h->ver); } else { l1_unlock(c, h); }
}
/* Find the record of exactly this key, live or expired. Under the bucket lock. */
CELLAR_PRIVATE bool l1_find(const l1 *c, const l1_hold *h, const l1_key *k, l1_slot *out);
/* Find the slot that points to `pos`. Without the bucket lock a hint. */
CELLAR_PRIVATE bool l1_find_pos(const l1 *c, const l1_hold *h, uint16_t tag, uint64_t pos,
                                l1_slot *out);
/* Lock the bucket of a key for a new slot; with the lock of its stripe if the chain has none. */
CELLAR_PRIVATE void l1_lock_grow(l1 *c, uint64_t hash, l1_hold *h) SYNC_UNCHECKED;
/* Find an empty slot; lengthen the chain if needed and the stripe is locked. Under bucket lock. */
CELLAR_PRIVATE bool l1_slot_empty(l1 *c, l1_hold *h, l1_slot *out);
BASE_INLINE void l1_slot_set(l1_slot *s, uint16_t tag, uint32_t off, unsigned freq)
{
    base_store_rlx(&s->b->off[s->i], off);
    base_store_rlx(&s->b->tag[s->i], tag);
    l1_freq_set(s->b, s->i, freq);
}
BASE_INLINE void l1_slot_clear(l1_slot *s) { base_store_rlx(&s->b->tag[s->i], (uint16_t)0); }
/* Close one hole from the end of the chain after an unlink. Give back the last half when it is
 * empty. Under stripe and bucket lock. Without it, inserts and deletes would lengthen every chain
 * for good. */
CELLAR_PRIVATE void l1_chain_trim(l1_hold *h);

/* ---- index_grow.c ---- */
CELLAR_PRIVATE bool l1_index_open(l1 *c);
CELLAR_PRIVATE void l1_split_due(l1 *c, l1_stripe *s);
BASE_INLINE void l1_split_if_due(l1 *c, l1_stripe *s)
{
    if (BASE_UNLIKELY(base_load_rlx(&c->entries) > base_load_rlx(&s->room))) { l1_split_due(c, s); }
}
/* Merge buckets of a stripe while less than `pct` percent of the primary slots are taken, until
 * end_ns. */
#define L1_CONTRACT_PCT 25u /* from tick */
#define L1_SHRINK_PCT 55u   /* when the budget shrinks; splits begin above 62 */
CELLAR_PRIVATE void l1_contract(l1 *c, l1_stripe *s, unsigned pct, uint64_t end_ns);
/* Make one more huge page of the index; false: nothing to do. */
CELLAR_PRIVATE bool l1_index_collapse(l1 *c);
CELLAR_PRIVATE int64_t l1_index_collapse_due_ms(l1 *c); /* BASE_NEVER_MS: nothing to do */

#endif
