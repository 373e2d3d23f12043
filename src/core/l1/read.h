/* SPDX-License-Identifier: MIT
 *
 * read: the steps of optimistic reads that get and pin share (read.c). */
#ifndef L1_READ_H
#define L1_READ_H

#include "l1/index.h"

typedef enum l1_look { L1_LOOK_FOUND, L1_LOOK_NONE, L1_LOOK_AGAIN } l1_look;

typedef struct l1_probe { /* an optimistic look at one key */
    l1_bucket *primary;
    uint32_t ver; /* of `primary` when the look began */
    l1_slot at;
} l1_probe;

/* End a look: return whether what was read since version `ver` belongs to it. */
BASE_INLINE bool l1_unchanged(const l1_bucket *primary, uint32_t ver)
{
    base_fence_acq();
    return base_load_rlx(&primary->ver) == ver;
}

/* Find the record of a key: locked, under the lock of its bucket, which `h` then holds, so that
 * p->ver is odd; else under version p->ver of the bucket, and AGAIN is possible. */
CELLAR_PRIVATE l1_look l1_look_round(l1 *c, const l1_key *k, bool locked, l1_hold *h, l1_probe *p)
    SYNC_UNCHECKED;
/* Renew last_use of an entry with an idle time: a read or a pin used it. */
CELLAR_PRIVATE void l1_idle_used(l1 *c, const l1_key *k);

/* A plain hit in three steps, for get, get_many and pin. get_many runs the steps of other keys
 * between them. The caller reads the record in step 3, and validates it against the version that
 * step 2 read. */
typedef struct l1_aim {
    const l1_stripe *s;
    l1_bucket *primary, *b;
    uint64_t number, pos;
    uint32_t ver;
    unsigned i;
} l1_aim;

/* Step 1: choose the bucket; read nothing of it. */
BASE_ALWAYS_INLINE void l1_aim_at(const l1 *c, uint64_t hash, l1_aim *a)
{
    a->s = l1_stripe_of(c, hash);
    a->number = l1_number(base_load_acq(&a->s->ls), hash);
    a->primary = l1_bucket_at(a->s, a->number);
}

/* Return the first half of a chain, from half n on, with the fingerprint of this hash, and its
 * slots with it; slots 0: none. */
CELLAR_PRIVATE l1_part l1_spot_half(const l1_stripe *s, uint64_t number, uint16_t n, uint64_t hash);
/* Step 2: read version and slot; read nothing of the record. */
BASE_ALWAYS_INLINE bool l1_spot(const l1 *c, uint64_t hash, l1_aim *a)
{
    a->b = a->primary;
    a->ver = base_load_acq(&a->primary->ver);
    uint32_t m = l1_match(a->b, l1_tag_of(hash));
    if (BASE_UNLIKELY(m == 0)) { /* one key in twenty lies in an overflow bucket */
        const uint16_t n = base_load_rlx(&a->b->ovf);
        if (n == 0) { return false; }
        l1_part half = l1_half(a->s, a->number, n);
        m = l1_half_match(half, l1_tag_of(hash));
        if (m == 0) {
            const uint16_t next = base_load_rlx(l1_part_ovf(half));
            if (next == 0) { return false; }
            half = l1_spot_half(a->s, a->number, next, hash);
            m = half.slots;
            if (m == 0) { return false; }
        }
        a->b = half.b;
    }
    if (BASE_UNLIKELY((a->ver & 1u) != 0)) { return false; }
    a->i = (unsigned)__builtin_ctz(m);
    a->pos = l1_pos(c, base_load_rlx(&a->b->off[a->i]));
    return true;
}
/* Begin step 3: return whether it is a plain record of such a key. own: 1 if `generation` is
 * stored. */
BASE_ALWAYS_INLINE bool l1_head_is(uint32_t w0, uint32_t klen, uint32_t own)
{
    return (w0 & ~((L1_VLEN_LIMIT << 8) | L1_W0_PINNED)) ==
           (klen | L1_W0_ALWAYS | own * L1_W0_GENERATION);
}

/* Continue step 3: return where the value of a plain record of this key begins; 0: no such record,
 * or not inside its segment. near_key: the key has 8..16 bytes; else one above 32 is refused. */
BASE_ALWAYS_INLINE uint32_t l1_plain_at(const l1 *c, const l1_aim *a, uint64_t head,
                                        const void *key, uint32_t klen, bool near_key,
                                        uint32_t generation)
{
    const unsigned char *const p = l1_at(c, a->pos);
    const uint32_t w0 = (uint32_t)head, own = generation != 0, key_at = 8u + 4u * own;
    if (BASE_UNLIKELY(!l1_head_is(w0, klen, own))) { return 0; }
    const uint32_t value_at = key_at + klen, seg_mask = c->seg_bytes - 1;
    const bool inside = ((uint32_t)a->pos & seg_mask) + value_at + L1_W0_VLEN(w0) - 1 <= seg_mask;
    if (BASE_UNLIKELY(!inside)) { return 0; }
    if (near_key) {
        if (BASE_UNLIKELY(!base_seq_equal_16(p + key_at, key, klen))) { return 0; }
    } else if (klen - 4u > 28u || !base_seq_equal_near(p + key_at, key, klen)) {
        return 0;
    }
    if (own != 0 && BASE_UNLIKELY(base_seq_u32(p + 8) != generation)) { return 0; }
    return value_at;
}

#endif
