/* SPDX-License-Identifier: MIT
 *
 * scan: visit the entries of a namespace, or of all, bucket by bucket.
 *
 * PICTURE    cursor = stripe << 32 | low bits of a bucket number, counted in reversed-bit order
 *            both chains with these low bits -> copy to a buffer, under validation -> callbacks
 * INVARIANTS An entry that exists during the whole scan is passed at least once, also when buckets
 *            split or merge meanwhile.
 * LOCKING    None; after some failed rounds, or for a key in a block, the bucket locks. Callbacks
 *            run without a lock.
 * SEE ALSO   Redis SCAN: cursor in reversed-bit order. */
#include "l1/index.h"
#include "l1/record.h"

typedef struct l1_scan_buf { /* of l1_seen, each before its key and value, padded to 8 */
    unsigned char *bytes;
    size_t cap, used;
    unsigned count;
} l1_scan_buf;

/* Prefetch the records of a bucket. Slots may be torn: a prefetch of any address is no fault. */
static void l1_scan_prefetch(const l1 *c, const l1_bucket *b)
{
    for (unsigned i = 0; i < L1_SLOTS; i++) {
        if (base_load_rlx(&b->tag[i]) == 0) { continue; }
        const unsigned char *record = l1_at(c, l1_pos(c, base_load_rlx(&b->off[i])));
        BASE_PREFETCH(record);
        BASE_PREFETCH(record + BASE_LINE / 2); /* its key */
    }
}

/* Append the live entries of one chain that belong to `generation`, or all. Return false when the
 * buffer is too small (*need is set). Bytes may be torn; the caller validates. apart: NULL when the
 * bucket is locked. Else a key in a block sets *apart; only a holder of the lock may read that
 * key. */
static bool l1_scan_copy(l1 *c, const l1_stripe *s, uint64_t number, uint32_t generation,
                         l1_scan_what what, l1_scan_buf *out, size_t *need, bool *apart)
{
    l1_part p = l1_whole(l1_bucket_at(s, number));
    for (unsigned hop = 0; p.b != NULL && hop <= L1_CHAIN_MAX;
         p = l1_chain_next(s, number, p), hop++) {
        for (uint32_t m = l1_part_used(p); m != 0; m &= m - 1) {
            l1_rec r;
            const unsigned i = (unsigned)__builtin_ctz(m);
            uint64_t pos = l1_pos(c, base_load_rlx(&p.b->off[i]));
            if (!l1_decode(c, pos, &r)) { continue; }
            if (r.generation != generation && what != L1_SCAN_EVERY) { continue; }
            if (r.mask != 0 && what != L1_SCAN_STORED && l1_judge(c, pos, &r, 0) == CELLAR_MISS) {
                continue;
            }
            if ((r.mask & L1_X_APART) != 0 && apart != NULL) {
                *apart = true;
                return true;
            }
            bool value = what == L1_SCAN_VALUES && (r.w0 & L1_W0_BIG) == 0;
            size_t bytes =
                (size_t)base_round_up(sizeof(l1_seen) + r.klen + (value ? r.vlen : 0u), 8);
            if (out->cap - out->used < bytes) {
                *need = out->used + bytes;
                return false;
            }
            l1_seen *item = (l1_seen *)(void *)(out->bytes + out->used);
            unsigned char *to = (unsigned char *)(item + 1);
            l1_info_of(c, pos, &r, &item->info);
            item->info.uses = (uint8_t)l1_freq(p.b, i);
            item->key = to;
            item->key_len = r.klen;
            item->value = value ? to + r.klen : NULL;
            item->value_len = item->info.value_len;
            base_seq_load(to, l1_key_at(c, pos, &r), r.klen);
            if (value) { base_seq_load(to + r.klen, l1_at(c, pos) + r.value_off, r.vlen); }
            out->used += bytes;
            out->count++;
        }
    }
    return true;
}

/* Copy both chains with an address that ends in the low bits `low`, under validation. After some
 * failed rounds copy them under the bucket locks, so that a busy bucket cannot starve the scan.
 * Unchecked: only those rounds hold the stripe lock. */
static SYNC_UNCHECKED bool l1_scan_step(l1 *c, l1_stripe *s, uint32_t low, uint32_t generation,
                                        l1_scan_what what, l1_scan_buf *out, size_t *need,
                                        unsigned *level)
{
    bool apart = false;
    for (unsigned round = 0;; round++) {
        const bool locked = round >= L1_RETRIES || apart;
        if (locked) { sync_take(L1_STRIPE, &s->lock); }
        const uint64_t ls = base_load_acq(&s->ls);
        *level = (unsigned)(ls >> 32) & 255u;
        uint64_t number[2] = {low & ((1u << *level) - 1), 0};
        number[1] = number[0] + (1u << *level);
        const unsigned n = number[1] < (uint32_t)ls ? 2 : 1;
        uint32_t v[2] = {0, 0};
        bool even = true, fits = true, same = true;
        out->used = out->count = 0;
        for (unsigned i = 0; i < n; i++) {
            _Atomic uint32_t *ver = &l1_bucket_at(s, number[i])->ver;
            v[i] = locked ? l1_lock_number(s, number[i]) : base_load_acq(ver);
            even = even && (v[i] & 1u) == 0 && v[i] != 0;
        }
        for (unsigned i = 0; i < n && even && fits; i++) {
            fits =
                l1_scan_copy(c, s, number[i], generation, what, out, need, locked ? NULL : &apart);
        }
        base_fence_acq();
        for (unsigned i = n; i-- > 0;) {
            if (locked) {
                l1_unlock_at(l1_bucket_at(s, number[i]), v[i]);
            } else {
                same = same && base_load_rlx(&l1_bucket_at(s, number[i])->ver) == v[i];
            }
        }
        same = same && base_load_acq(&s->ls) == ls;
        if (locked) { sync_drop(L1_STRIPE, &s->lock); }
        if (locked || (even && same && !apart)) { return fits; }
        unsigned spins = round * 16;
        l1_backoff(&spins);
    }
}

static uint32_t l1_reverse(uint32_t v)
{
    v = ((v >> 1) & 0x55555555u) | ((v & 0x55555555u) << 1);
    v = ((v >> 2) & 0x33333333u) | ((v & 0x33333333u) << 2);
    v = ((v >> 4) & 0x0f0f0f0fu) | ((v & 0x0f0f0f0fu) << 4);
    return __builtin_bswap32(v);
}

/* Pass the buffered entries to `fn`, except expired ones unless stored ones are asked for. */
static bool l1_scan_tell(l1 *c, const l1_scan_buf *buf, l1_scan_what what,
                         bool (*fn)(void *, const l1_seen *), void *ctx)
{
    bool go_on = true;
    size_t at = 0;
    for (unsigned i = 0; i < buf->count && go_on; i++) {
        const l1_seen *e = (const l1_seen *)(const void *)(buf->bytes + at);
        const size_t value_len = e->value != NULL ? e->value_len : 0u;
        at += (size_t)base_round_up(sizeof *e + e->key_len + value_len, 8);
        const bool over = base_clock_reached(c->clock, e->info.expires_ms);
        if (!over || what == L1_SCAN_STORED) { go_on = fn(ctx, e); }
    }
    return go_on;
}

/* Return the low bits that follow `low`. */
static uint32_t l1_scan_next(uint32_t low, unsigned level)
{
    return l1_reverse(l1_reverse(low | ~((1u << level) - 1)) + 1);
}

/* Prefetch for the steps after `low`: the records of the next one, the buckets of the second. */
static void l1_scan_ahead(const l1 *c, l1_stripe *s, uint32_t low)
{
    const uint64_t ls = base_load_acq(&s->ls);
    const unsigned level = (unsigned)(ls >> 32) & 255u;
    const uint32_t half = 1u << level, next = l1_scan_next(low, level),
                   later = l1_scan_next(next, level);
    for (uint32_t n = next & (half - 1); n < (uint32_t)ls; n += half) {
        l1_scan_prefetch(c, l1_bucket_at(s, n));
    }
    for (uint32_t n = later & (half - 1); n < (uint32_t)ls; n += half) {
        BASE_PREFETCH(l1_bucket_at(s, n));
    }
}

CELLAR_PRIVATE cellar_err l1_scan(l1 *c, uint64_t *cursor, size_t buckets, uint32_t generation,
                                  l1_scan_what what, bool (*fn)(void *ctx, const l1_seen *e),
                                  void *ctx)
{
    uint32_t stripe = (uint32_t)(*cursor >> 32), low = (uint32_t)*cursor;
    l1_scan_buf buf = {.bytes = NULL};
    size_t need = ((size_t)16 << 10) - 1;
    bool go_on = true;
    while (go_on && buckets > 0 && stripe < c->stripe_count) {
        unsigned level;
        if (buf.cap <= need) {
            base_free_raw(&c->account->hooks, buf.bytes, buf.cap);
            buf.cap = (size_t)base_pow2_ceil(need + 1);
            buf.bytes = base_alloc_raw(&c->account->hooks, buf.cap);
            if (buf.bytes == NULL) { return CELLAR_E_NOMEM; }
        }
        if (!l1_scan_step(c, &c->stripe[stripe], low, generation, what, &buf, &need, &level)) {
            continue;
        }
        low = l1_scan_next(low, level);
        buckets--;
        if (low == 0) {
            stripe++;
        } else if (buckets > 0) {
            l1_scan_ahead(c, &c->stripe[stripe], low);
        }
        go_on = l1_scan_tell(c, &buf, what, fn, ctx);
    }
    *cursor = stripe >= c->stripe_count ? 0 : (uint64_t)stripe << 32 | low;
    base_free_raw(&c->account->hooks, buf.bytes, buf.cap);
    return CELLAR_OK;
}
