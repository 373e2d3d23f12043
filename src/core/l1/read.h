/* SPDX-License-Identifier: MIT
 *
 * read: the steps of optimistic reads that get and pin share (read.c). cache/get.c includes it for
 * l1_hit: a call would add a seventh to the instructions of a hit. */
#ifndef L1_READ_H
#define L1_READ_H

#include "l1/index.h"
#include "l1/policy.h"

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

/* A plain hit, a plain record at the first match, in three steps, for get, get_many and pin.
 * get_many runs the steps of other keys between them. Step 3 validates the record against the
 * version that step 2 read. On any doubt a step returns false; the caller starts over in
 * l1_read_any. Each instruction here delays a get that the processor overlaps. */
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

/* Compare the key of a record. near_key: it has 8..16 bytes. */
BASE_ALWAYS_INLINE bool l1_key_is(const unsigned char *at, const void *key, uint32_t klen,
                                  bool near_key)
{
    return near_key           ? base_seq_equal_16(at, key, klen)
           : klen - 4u <= 28u ? base_seq_equal_near(at, key, klen)
                              : base_seq_equal(at, key, klen);
}

/* Continue step 3: return where the value of a plain record of this key begins; 0: no such record,
 * or not inside its segment. */
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
    if (BASE_UNLIKELY(!l1_key_is(p + key_at, key, klen, near_key))) { return 0; }
    if (own != 0 && BASE_UNLIKELY(base_seq_u32(p + 8) != generation)) { return 0; }
    return value_at;
}

/* Step 3: read the record and validate it against the version that step 2 read. near_key: the key
 * has 8..16 bytes. sure_ms: deadlines beyond *sure_ms have not passed; NULL: none known. end_ms:
 * no entry is a hit then or later, whatever its deadline. life: NULL: not wanted. */
BASE_ALWAYS_INLINE bool l1_take(l1 *c, const l1_aim *a, const void *key, uint32_t klen,
                                bool near_key, uint32_t generation, void *buf, size_t buf_cap,
                                size_t *value_len, unsigned flags, const base_thread_record *self,
                                int64_t *sure_ms, int64_t end_ms, l1_life *life)
{
    const unsigned char *const p = l1_at(c, a->pos);
    BASE_POINT("l1.probe.matched");
    /* A slot only ever held offsets of records. A record has at least a header and one key byte,
     * padded. So the first 12 bytes always lie inside the segment. */
    const uint64_t head = base_seq_u64(p);
    const uint32_t due = (uint32_t)(head >> 32), vlen = L1_W0_VLEN((uint32_t)head);
    const uint32_t value_at = l1_plain_at(c, a, head, key, klen, near_key, generation);
    if (value_at == 0 || BASE_UNLIKELY(vlen > buf_cap)) { return false; }
    if (life != NULL) {
        life->born_ms = (int64_t)base_load_rlx(&c->seg_base_ms[l1_seg_of(c, a->pos)]);
        life->deadline_ms = due != 0 ? life->born_ms + due - 1 : BASE_NEVER_MS;
    }
    if (due != 0 || end_ms != BASE_NEVER_MS) {
        int64_t at = BASE_NEVER_MS;
        if (due != 0) {
            at = (int64_t)(base_load_rlx(&c->seg_base_ms[l1_seg_of(c, a->pos)]) + due - 1);
        }
        if (end_ms < at) { at = end_ms; }
        if (sure_ms != NULL ? at <= *sure_ms : BASE_UNLIKELY(!base_clock_far(c->clock, self, at))) {
            if (sure_ms != NULL) { *sure_ms = base_clock_sure(c->clock); }
            if (base_clock_look(c->clock, at)) { return false; }
        }
    }
    if (BASE_UNLIKELY(vlen - 65 >= 64 && vlen > BASE_SEQ_NEAR)) {
        base_seq_load(buf, p + value_at, vlen);
    } else {
        base_seq_load_near(buf, p + value_at, vlen);
    }
    BASE_POINT("l1.probe.copied");
    if (BASE_UNLIKELY(!l1_unchanged(a->primary, a->ver))) { return false; }
    BASE_POINT("l1.probe.validated");
    *value_len = vlen;
    if (BASE_LIKELY((flags & L1_PEEK) == 0)) {
        l1_freq_hit(a->b, a->i);
    }
    return true;
}

/* Read a plain hit. Set *at if the key is none; NULL: not wanted. */
BASE_ALWAYS_INLINE bool l1_get_at(l1 *c, const base_thread_record *self, const void *key,
                                  uint32_t klen, bool near_key, uint32_t generation, uint64_t hash,
                                  void *buf, size_t buf_cap, size_t *value_len, unsigned flags,
                                  int64_t end_ms, l1_life *life, l1_found *at)
{
    l1_aim a;
    l1_aim_at(c, hash, &a);
    if (BASE_UNLIKELY(!l1_spot(c, hash, &a))) {
        if (at != NULL) { at->b = NULL; }
        return false;
    }
    BASE_PREFETCH(l1_at(c, a.pos) + 64);
    if (BASE_UNLIKELY(!l1_take(c, &a, key, klen, near_key, generation, buf, buf_cap, value_len,
                               flags, self, NULL, end_ms, life))) {
        if (at != NULL) { *at = (l1_found){ a.primary, a.b, a.ver, a.i }; }
        return false;
    }
    if (BASE_UNLIKELY(hash < base_load_rlx(&c->sample_limit))) { l1_sampled(c, hash, generation); }
    return true;
}

/* Read a plain hit only, for a key of 8..16 bytes: true means CELLAR_OK of l1_get. False proves
 * nothing, and sets *at: call l1_hit_marked. For the one caller that needs the shortest path. */
BASE_ALWAYS_INLINE bool l1_hit(l1 *c, const base_thread_record *self, const void *key,
                               uint32_t klen, uint32_t generation, uint64_t hash, void *buf,
                               size_t buf_cap, size_t *value_len, l1_found *at)
{
    return l1_get_at(c, self, key, klen, true, generation, hash, buf, buf_cap, value_len, 0,
                     BASE_NEVER_MS, NULL, at);
}

#endif
