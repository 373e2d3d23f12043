/* SPDX-License-Identifier: MIT
 *
 * read: read entries without locks: one key, many keys, all fields of one entry.
 *
 * PICTURE    ls -> bucket version (even) -> fingerprints -> record header -> bounds -> generation
 *            and key -> deadline -> copy -> version unchanged? -> use counter
 *              l1_take       a plain record (no EXT, no BIG, short key), in line, three steps
 *              l1_get_walk   misses, chains, second matches; l1_read_any: every other record
 *              l1_get_many   step 1 for all keys (prefetches buckets), then step 2 (prefetches
 *                            records), then step 3; step 3 validates the version read in step 2
 *              l1_none       a plain miss: one bucket, no record
 * INVARIANTS A reader decides nothing but "try again" before it has validated the version.
 *            A reader stores the use counter after the validation, and only in the bucket. A late
 *            store into a record could change the value of another entry.
 * LOCKING    None. After 8 failed rounds a reader locks the bucket like a writer. For values above
 *            1 KiB this reader publishes the segment in a pin slot, unlocks, copies, clears.
 * SEE ALSO   l1_int.h, MEMORY ORDER; README.md: measurements of the read path. */
#include <string.h>

#include "l1/l1_int.h"

typedef struct l1_probe { /* an optimistic look at one key */
    l1_stripe *s;
    l1_bucket *primary, *b;
    uint32_t ver;
    unsigned i;
    uint64_t pos;
    l1_rec rec;
} l1_probe;

BASE_INLINE bool l1_unchanged(const l1_bucket *primary, uint32_t ver)
{
    if (BASE_MUTANT("l1.no_recheck")) { return true; }
    base_fence_acq();
    return base_load_rlx(&primary->ver) == ver;
}

/* Wait while the bucket of `hash` is odd. In a forked child a writer of the parent may have left it
 * odd: taking the lock repairs the bucket. */
static BASE_COLD void l1_meet_odd(l1 *c, uint64_t hash, unsigned round)
{
    if (c->forked) {
        l1_hold h;
        l1_lock_key(c, hash, &h, false);
        l1_unlock(c, &h);
        return;
    }
    if (round < 64) { base_pause(); } else { base_yield(); }
}

static l1_look l1_look_up(l1 *c, const l1_key *k, l1_probe *p)
{
    l1_stripe *s = l1_stripe_of(c, k->hash);
    const uint64_t ls = base_load_acq(&s->ls);
    const uint64_t number = l1_number(ls, k->hash);
    p->s = s;
    p->primary = l1_bucket_at(s, number);
    p->ver = base_load_acq(&p->primary->ver);
    if ((p->ver & 1u) != 0 || p->ver == 0) {
        l1_meet_odd(c, k->hash, 0);
        return L1_LOOK_AGAIN;
    }
    const uint16_t tag = l1_tag_of(k->hash);
    p->b = p->primary;
    for (unsigned hop = 0;; hop++) {
        for (uint32_t m = l1_match(p->b, tag); m != 0; m &= m - 1) {
            p->i = (unsigned)__builtin_ctz(m);
            p->pos = l1_pos(c, base_load_rlx(&p->b->off[p->i]));
            BASE_POINT("l1.probe.matched");
            if (!l1_decode(c, p->pos, &p->rec)) { continue; }
            const l1_look look = l1_rec_look(c, p->primary, p->ver, p->pos, &p->rec, k);
            if (look != L1_LOOK_NONE) { return look; }
        }
        uint16_t n = base_load_rlx(&p->b->ovf);
        if (n == 0 || hop == L1_CHAIN_MAX) { break; }
        p->b = l1_next(s, number, n);
    }
    if (!l1_unchanged(p->primary, p->ver)) { return L1_LOOK_AGAIN; }
    /* A split since then may have moved the key before this look. */
    if (!BASE_MUTANT("l1.miss_no_ls_reload") && base_load_acq(&s->ls) != ls) {
        return L1_LOOK_AGAIN;
    }
    return L1_LOOK_NONE;
}

/* Return what a reader may do with this record now. MISS: the reader treats the record as
 * absent. */
CELLAR_PRIVATE cellar_err l1_judge(l1 *c, uint64_t pos, const l1_rec *r, unsigned flags)
{
    int64_t keep;
    bool stale = false;
    if (r->due != 0 || (r->mask & (L1_X_IDLE | L1_X_STALE)) != 0) {
        int64_t at = l1_expires(c, pos, r, &keep);
        if (base_clock_reached(c->clock, at)) {
            if ((flags & L1_STALE_OK) == 0 || base_clock_reached(c->clock, keep)) {
                return CELLAR_MISS;
            }
            stale = true;
        }
    }
    if ((r->mask & L1_X_TAGS) != 0) {
        const int verdict = l1_tags_judge(c, pos, r);
        if (verdict >= 2 || (verdict == 1 && (flags & L1_STALE_OK) == 0)) { return CELLAR_MISS; }
        stale = stale || verdict == 1;
    }
    if ((r->mask & L1_X_KIND) != 0) {
        uint32_t kind = base_seq_u32(l1_at(c, pos) + l1_field(r, L1_X_KIND)) & 255u;
        const bool unseen = kind == L1_ERROR && (flags & L1_SEE_ERRORS) == 0;
        if (kind != L1_VALUE) { return stale || unseen ? CELLAR_MISS : CELLAR_ABSENT; }
    }
    return stale ? CELLAR_STALE : CELLAR_OK;
}

/* Copy an oversized value into `buf`. The reader publishes the block before it reads the version
 * again, so no thread frees the block during the copy. */
static l1_look l1_copy_big(l1 *c, const l1_probe *p, void *buf, size_t n, cellar_err *err)
{
    l1_big *block;
    uint32_t len;
    l1_descriptor(c, p->pos, &p->rec, &block, &len);
    if (!l1_unchanged(p->primary, p->ver)) { return L1_LOOK_AGAIN; }
    _Atomic uint64_t *slot = l1_pin_take(c, (uint64_t)(uintptr_t)block | L1_BIG_BIT, true);
    if (slot == NULL) {
        *err = CELLAR_E_LIMIT;
        return L1_LOOK_FOUND;
    }
    bool same = base_load_sc(&p->primary->ver) == p->ver;
    if (same) { memcpy(buf, l1_big_bytes(block), n); }
    base_store_rel(slot, (uint64_t)0);
    return same ? L1_LOOK_FOUND : L1_LOOK_AGAIN;
}

/* Renew last_use under the bucket lock, taken from the version that validated the hit. A store
 * without the lock could write into recycled memory. Return false when another writer was first. */
static bool l1_renew_idle(l1 *c, const l1_key *k, l1_probe *p)
{
    unsigned char *f = l1_at(c, p->pos) + l1_field(&p->rec, L1_X_IDLE) + 4;
    uint64_t now = (uint64_t)base_now_ms(c->clock);
    if (now <= base_seq_u64(f)) { return true; }
    if (BASE_MUTANT("l1.idle_bare_store")) {
        base_seq_store_u64(f, now);
        return true;
    }
    l1_hold h;
    if (BASE_UNLIKELY(c->forked)) {
        l1_slot slot;
        l1_lock_key(c, k->hash, &h, false);
        if (l1_find(c, &h, k, &slot) && (slot.rec.mask & L1_X_IDLE) != 0) {
            base_seq_store_u64(l1_at(c, slot.pos) + l1_field(&slot.rec, L1_X_IDLE) + 4, now);
        }
        l1_unlock(c, &h);
        return true;
    }
    if (!l1_lock_from(c, k->hash, p->primary, p->ver, &h, false)) { return false; }
    base_seq_store_u64(f, now);
    l1_unlock(c, &h);
    return true;
}

static cellar_err l1_read_locked(l1 *c, const l1_key *k, void *buf, size_t buf_cap, l1_info *info,
                                 unsigned flags);

/* Read any record: fields, oversized values, long keys. */
static BASE_NOINLINE cellar_err l1_read_any(l1 *c, const l1_key *k, void *buf, size_t buf_cap,
                                            l1_info *info, unsigned flags)
{
    l1_probe p;
    for (unsigned round = 0; round < L1_RETRIES; round++) {
        l1_look look = l1_look_up(c, k, &p);
        if (look == L1_LOOK_AGAIN) { continue; }
        if (look == L1_LOOK_NONE) {
            const bool lost = round != 0 && !BASE_MUTANT("l1.inspect_remembers");
            if (lost) { memset(info, 0, sizeof *info); } /* an earlier round may have filled it */
            return CELLAR_MISS;
        }
        cellar_err err = l1_judge(c, p.pos, &p.rec, flags);
        l1_info_of(c, p.pos, &p.rec, info);
        info->uses = (uint8_t)l1_freq(p.b, p.i);
        info->stale = err == CELLAR_STALE;
        bool hit = err == CELLAR_OK || err == CELLAR_STALE;
        if (hit && buf != NULL && info->value_len > buf_cap) { err = CELLAR_E_BUFFER; }
        if (hit && buf != NULL && err != CELLAR_E_BUFFER && info->value_len != 0) {
            if ((p.rec.w0 & L1_W0_BIG) != 0) {
                if (l1_copy_big(c, &p, buf, info->value_len, &err) == L1_LOOK_AGAIN) { continue; }
            } else {
                base_seq_load(buf, l1_at(c, p.pos) + p.rec.value_off, info->value_len);
            }
        }
        BASE_POINT("l1.probe.copied");
        if (!l1_unchanged(p.primary, p.ver)) { continue; }
        BASE_POINT("l1.probe.validated");
        if (hit && (flags & L1_PEEK) == 0) {
            if ((p.rec.mask & L1_X_IDLE) != 0 && !info->stale && !l1_renew_idle(c, k, &p)) {
                continue;
            }
            l1_freq_hit(p.b, p.i);
        }
        return err;
    }
    memset(info, 0, sizeof *info);
    return l1_read_locked(c, k, buf, buf_cap, info, flags);
}

/* Read one key under the bucket lock, so that a busy bucket cannot starve a reader. Copy long
 * values outside the window, from a segment or block that the pin slot holds. */
static BASE_COLD cellar_err l1_read_locked(l1 *c, const l1_key *k, void *buf, size_t buf_cap,
                                           l1_info *info, unsigned flags)
{
    l1_hold h;
    l1_slot slot;
    _Atomic uint64_t *pin = NULL;
    const unsigned char *from = NULL;
    base_add_rlx(&c->fallback_reads, 1u);
    l1_lock_key(c, k->hash, &h, false);
    cellar_err err = CELLAR_MISS;
    if (l1_find(c, &h, k, &slot)) {
        err = l1_judge(c, slot.pos, &slot.rec, flags);
        l1_info_of(c, slot.pos, &slot.rec, info);
        info->uses = (uint8_t)l1_freq(slot.b, slot.i);
        info->stale = err == CELLAR_STALE;
    }
    if (err == CELLAR_OK || err == CELLAR_STALE) {
        size_t n = info->value_len;
        if (buf != NULL && n > buf_cap) {
            err = CELLAR_E_BUFFER;
        } else if (buf != NULL && n != 0) {
            bool big = (slot.rec.w0 & L1_W0_BIG) != 0;
            l1_big *block = NULL;
            uint32_t len;
            if (big) { l1_descriptor(c, slot.pos, &slot.rec, &block, &len); }
            from = big ? l1_big_bytes(block) : l1_at(c, slot.pos) + slot.rec.value_off;
            if (big || n > L1_SMALL_COPY) {
                pin = l1_pin_take(c, big ? (uint64_t)(uintptr_t)block | L1_BIG_BIT
                                         : (uint64_t)l1_seg_of(c, slot.pos) + 1, true);
                if (pin == NULL) { err = CELLAR_E_LIMIT; }
            } else {
                base_seq_load(buf, from, n);
            }
        }
        if ((flags & L1_PEEK) == 0 && err != CELLAR_E_LIMIT) {
            if ((slot.rec.mask & L1_X_IDLE) != 0 && !info->stale) {
                base_seq_store_u64(l1_at(c, slot.pos) + l1_field(&slot.rec, L1_X_IDLE) + 4,
                                   (uint64_t)base_now_ms(c->clock));
            }
            l1_freq_hit(slot.b, slot.i);
        }
    }
    l1_unlock(c, &h);
    if (pin != NULL) {
        base_seq_load(buf, from, info->value_len);
        base_store_rel(pin, (uint64_t)0);
    }
    return err;
}

CELLAR_PRIVATE uint32_t l1_tags_of(l1 *c, const l1_key *k, uint64_t *fps, uint64_t *born)
{
    l1_hold h;
    l1_slot slot;
    uint32_t count = 0;
    l1_lock_key(c, k->hash, &h, false);
    if (l1_find(c, &h, k, &slot) && (slot.rec.mask & L1_X_TAGS) != 0) {
        const unsigned char *tags = l1_at(c, slot.pos) + slot.rec.tag_off;
        count = slot.rec.tag_count;
        *born = base_seq_u64(tags + 8);
        base_seq_load(fps, tags + 16, 8u * (size_t)count);
    }
    l1_unlock(c, &h);
    return count;
}

static BASE_NOINLINE cellar_err l1_get_any(l1 *c, const l1_key *k, void *buf, size_t buf_cap,
                                           size_t *value_len, unsigned flags)
{
    l1_info info;
    /* A NULL buffer asks for the length: the capacity 0 is too small for any non-empty value. */
    unsigned char none[1];
    info.value_len = 0;
    cellar_err err =
        l1_read_any(c, k, buf != NULL ? buf : none, buf != NULL ? buf_cap : 0, &info, flags);
    *value_len = err == CELLAR_MISS || err == CELLAR_ABSENT ? 0 : info.value_len;
    return err;
}

/* Read misses, second matches, chains, and plain records in a bucket that changes. */
static BASE_NOINLINE cellar_err l1_get_walk(l1 *c, const l1_key *k, void *buf, size_t buf_cap,
                                            size_t *value_len, unsigned flags)
{
    l1_stripe *s = l1_stripe_of(c, k->hash);
    const uint16_t tag = l1_tag_of(k->hash);
    for (unsigned round = 0; round < L1_RETRIES; round++) {
        const uint64_t ls = base_load_acq(&s->ls);
        const uint64_t number = l1_number(ls, k->hash);
        l1_bucket *const primary = l1_bucket_at(s, number), *b = primary;
        const uint32_t ver = base_load_acq(&primary->ver);
        if (BASE_UNLIKELY((ver & 1u) != 0 || ver == 0)) {
            l1_meet_odd(c, k->hash, round);
            continue;
        }
        for (unsigned hop = 0;; hop++) {
            for (uint32_t m = l1_match(b, tag); m != 0; m &= m - 1) {
                const unsigned i = (unsigned)__builtin_ctz(m);
                const uint64_t pos = l1_pos(c, base_load_rlx(&b->off[i]));
                const uint32_t w0 = base_seq_u32(l1_at(c, pos));
                if ((w0 & (L1_W0_EXT | L1_W0_BIG)) != 0) { goto any; }
                BASE_POINT("l1.probe.matched");
                l1_rec r;
                /* The slot now holds another record if it has fields; the version check finds
                 * that. */
                if (!l1_decode(c, pos, &r) || r.mask != 0 || !l1_rec_is(c, pos, &r, k)) {
                    continue;
                }
                if (r.due != 0 && base_clock_reached(c->clock, l1_deadline(c, pos, &r))) {
                    continue;
                }
                if (r.vlen <= buf_cap && r.vlen != 0) {
                    base_seq_load(buf, l1_at(c, pos) + r.value_off, r.vlen);
                }
                BASE_POINT("l1.probe.copied");
                if (BASE_UNLIKELY(!l1_unchanged(primary, ver))) { goto again; }
                BASE_POINT("l1.probe.validated");
                *value_len = r.vlen;
                if ((flags & L1_PEEK) == 0) { l1_freq_hit(b, i); }
                return r.vlen <= buf_cap ? CELLAR_OK : CELLAR_E_BUFFER;
            }
            const uint16_t n = base_load_rlx(&b->ovf);
            if (BASE_LIKELY(n == 0) || hop == L1_CHAIN_MAX) { break; }
            b = l1_next(s, number, n);
        }
        if (BASE_UNLIKELY(!l1_unchanged(primary, ver))) { continue; }
        if (BASE_LIKELY(BASE_MUTANT("l1.miss_no_ls_reload") || base_load_acq(&s->ls) == ls)) {
            return CELLAR_MISS;
        }
    again:;
    }
any:
    return l1_get_any(c, k, buf, buf_cap, value_len, flags);
}

/* The common case: a plain record at the first match, in three steps. Steps 1 and 2 are l1_aim_at
 * and l1_spot in l1_int.h. On any doubt a step returns false; the caller starts over in
 * l1_get_walk. Each instruction here delays the next get in flight. */

/* Step 3: read the record and validate it against the version that step 2 read. near_key: the key
 * has 8..16 bytes. sure_ms: deadlines beyond *sure_ms have not passed; NULL: none known. */
BASE_ALWAYS_INLINE bool l1_take(l1 *c, const l1_aim *a, const void *key, uint32_t klen,
                                bool near_key, uint32_t generation, void *buf, size_t buf_cap,
                                size_t *value_len, unsigned flags, const base_thread_record *self,
                                int64_t *sure_ms)
{
    const unsigned char *const p = l1_at(c, a->pos);
    BASE_POINT("l1.probe.matched");
    /* A slot only ever held offsets of records. A record has at least a header and one key byte,
     * padded. So the first 12 bytes always lie inside the segment. */
    const uint64_t head = base_seq_u64(p);
    const uint32_t w0 = (uint32_t)head, due = (uint32_t)(head >> 32), vlen = L1_W0_VLEN(w0);
    const uint32_t own = generation != 0, key_at = 8u + 4u * own;
    if (BASE_UNLIKELY(!l1_head_is(w0, klen, own))) { return false; }
    if (BASE_UNLIKELY(vlen > buf_cap)) { return false; }
    const uint32_t value_at = key_at + klen, seg_mask = c->seg_bytes - 1;
    const bool inside = ((uint32_t)a->pos & seg_mask) + value_at + vlen - 1 <= seg_mask;
    if (!BASE_MUTANT("l1.bounds_after_compare") && BASE_UNLIKELY(!inside)) { return false; }
    if (near_key) {
        if (BASE_UNLIKELY(!base_seq_equal_16(p + key_at, key, klen))) { return false; }
    } else if (klen - 4u > 28u || !base_seq_equal_near(p + key_at, key, klen)) {
        return false;
    }
    if (own != 0 && BASE_UNLIKELY(base_seq_u32(p + 8) != generation)) { return false; }
    if (BASE_MUTANT("l1.bounds_after_compare")) { BASE_REQUIRE(inside); }
    if (due != 0) {
        const int64_t at =
            (int64_t)(base_load_rlx(&c->seg_base_ms[l1_seg_of(c, a->pos)]) + due - 1);
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
        if (BASE_MUTANT("l1.counter_in_record")) { base_seq_store_u64((void *)(uintptr_t)p, head); }
        l1_freq_hit(a->b, a->i);
    }
    return true;
}

BASE_ALWAYS_INLINE bool l1_get_fast(l1 *c, const base_thread_record *self, const void *key,
                                    uint32_t klen, bool near_key, uint32_t generation,
                                    uint64_t hash, void *buf, size_t buf_cap, size_t *value_len,
                                    unsigned flags)
{
    l1_aim a;
    l1_aim_at(c, hash, &a);
    if (BASE_UNLIKELY(!l1_spot(c, hash, &a))) { return false; }
    BASE_PREFETCH(l1_at(c, a.pos) + 64);
    if (BASE_UNLIKELY(!l1_take(c, &a, key, klen, near_key, generation, buf, buf_cap, value_len,
                               flags, self, NULL))) {
        return false;
    }
    if (BASE_UNLIKELY(hash < base_load_rlx(&c->sample_limit))) { l1_sampled(c, hash, generation); }
    return true;
}

/* Serve the one caller that needs the shortest path: compilers that see both inline it there. */
CELLAR_PRIVATE bool l1_hit(l1 *c, const base_thread_record *self, const void *key, uint32_t klen,
                           uint32_t generation, uint64_t hash, void *buf, size_t buf_cap,
                           size_t *value_len)
{
    return l1_get_fast(c, self, key, klen, true, generation, hash, buf, buf_cap, value_len, 0);
}

CELLAR_PRIVATE cellar_err l1_get(l1 *c, const l1_key *k, void *buf, size_t buf_cap,
                                 size_t *value_len, unsigned flags)
{
    if (BASE_LIKELY(l1_get_fast(c, base_thread_self(), k->bytes, k->len, false, k->generation,
                                k->hash, buf, buf_cap, value_len, flags))) {
        return CELLAR_OK;
    }
    return l1_get_rest(c, k, buf, buf_cap, value_len, flags);
}

/* Report a miss as l1_get_walk would, for a bucket without a chain and without this fingerprint. */
CELLAR_PRIVATE BASE_NOINLINE bool l1_none(l1 *c, uint64_t hash)
{
    const l1_stripe *const s = l1_stripe_of(c, hash);
    const uint64_t ls = base_load_acq(&s->ls);
    const l1_bucket *const b = l1_bucket_at(s, l1_number(ls, hash));
    const uint32_t ver = base_load_acq(&b->ver);
    if (BASE_UNLIKELY((ver & 1u) != 0 || ver == 0 || l1_match(b, l1_tag_of(hash)) != 0 ||
                      base_load_rlx(&b->ovf) != 0 || hash < base_load_rlx(&c->sample_limit))) {
        return false;
    }
    BASE_POINT("l1.none.looked");
    return l1_unchanged(b, ver) &&
           (BASE_MUTANT("l1.none_no_ls_reload") || base_load_acq(&s->ls) == ls);
}

CELLAR_PRIVATE cellar_err l1_get_rest(l1 *c, const l1_key *k, void *buf, size_t buf_cap,
                                      size_t *value_len, unsigned flags)
{
    if (BASE_UNLIKELY(k->hash < base_load_rlx(&c->sample_limit))) {
        l1_sampled(c, k->hash, k->generation);
    }
    return l1_get_walk(c, k, buf, buf_cap, value_len, flags);
}

CELLAR_PRIVATE cellar_err l1_inspect(l1 *c, const l1_key *k, void *buf, size_t buf_cap,
                                     l1_info *out, unsigned flags)
{
    memset(out, 0, sizeof *out);
    return l1_read_any(c, k, buf, buf_cap, out, flags);
}

/* ---- many keys ---- */

/* Read one item of the group for which the three steps did not suffice. */
static BASE_NOINLINE void l1_get_one(l1 *c, uint32_t generation, uint64_t hash, cellar_get_item *it,
                                     unsigned flags)
{
    const l1_key k = {it->key, (uint32_t)it->key_len, generation, hash};
    size_t len = 0;
    it->status = l1_none(c, hash) ? CELLAR_MISS
                                  : l1_get_rest(c, &k, it->buf, it->buf_cap, &len, flags);
    it->value_len = len;
}

CELLAR_PRIVATE uint32_t l1_get_many(l1 *c, uint32_t generation, cellar_get_item *items, uint32_t n,
                                    uint32_t which, unsigned flags)
{
    l1_aim aim[32];
    uint64_t hash[32], least = UINT64_MAX; /* lowest hash: tells whether any key is sampled */
    const base_thread_record *self = base_thread_self();
    int64_t sure_ms = BASE_NEVER_MS; /* the first deadline reads the clock for all items */
    BASE_ASSERT(n <= 32);
    for (uint32_t i = 0; i < n; i++) {
        if (BASE_UNLIKELY((which >> i & 1u) == 0)) { continue; }
        hash[i] = base_hash(c->hash_key, generation, items[i].key, items[i].key_len);
        least = BASE_MIN(least, hash[i]);
        l1_aim_at(c, hash[i], &aim[i]);
        BASE_PREFETCH(aim[i].primary);
    }
    uint32_t seen = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (BASE_UNLIKELY((which >> i & 1u) == 0)) { continue; }
        if (BASE_UNLIKELY(!l1_spot(c, hash[i], &aim[i]))) { continue; }
        const unsigned char *p = l1_at(c, aim[i].pos);
        BASE_PREFETCH(p);
        BASE_PREFETCH(p + 64);
        BASE_PREFETCH(p + 127); /* last line of a record that begins in mid-line */
        seen |= 1u << i;
    }
    uint32_t hits = 0;
    for (uint32_t i = 0; i < n; i++) {
        cellar_get_item *it = &items[i];
        const uint32_t klen = (uint32_t)it->key_len; /* at most CELLAR_KEY_MAX */
        if (BASE_LIKELY((seen >> i & 1u) != 0 &&
                        l1_take(c, &aim[i], it->key, klen, klen - 8 <= 8, generation, it->buf,
                                it->buf_cap, &it->value_len, flags, self, &sure_ms))) {
            it->status = CELLAR_OK;
            hits |= 1u << i;
        } else if ((which >> i & 1u) != 0) {
            l1_get_one(c, generation, hash[i], it, flags);
        }
    }
    const uint64_t limit = base_load_rlx(&c->sample_limit);
    for (uint32_t i = 0; BASE_UNLIKELY(least < limit) && i < n; i++) {
        if (hash[i] < limit && (hits >> i & 1u) != 0) { l1_sampled(c, hash[i], generation); }
    }
    return hits;
}

/* Prefetch the record that the fingerprint points to. Nothing is validated: it is a hint. */
BASE_INLINE void l1_prefetch_record(l1 *c, const l1_stripe *s, uint64_t hash)
{
    const uint64_t number = l1_number(base_load_rlx(&s->ls), hash);
    const l1_bucket *b = l1_bucket_at(s, number);
    uint32_t m = l1_match(b, l1_tag_of(hash));
    if (BASE_LIKELY(m != 0)) {
        const unsigned char *p = l1_at(c, l1_pos(c, base_load_rlx(&b->off[__builtin_ctz(m)])));
        BASE_PREFETCH(p);
        BASE_PREFETCH(p + 64);
        BASE_PREFETCH(p + 128);
    } else {
        uint16_t n = base_load_rlx(&b->ovf);
        if (n != 0) { BASE_PREFETCH(l1_next(s, number, n)); }
    }
}

CELLAR_PRIVATE void l1_prefetch_many(l1 *c, const l1_key *keys, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const l1_stripe *s = l1_stripe_of(c, keys[i].hash);
        BASE_PREFETCH_W(l1_bucket_at(s, l1_number(base_load_rlx(&s->ls), keys[i].hash)));
    }
    for (size_t i = 0; i < n; i++) {
        l1_prefetch_record(c, l1_stripe_of(c, keys[i].hash), keys[i].hash);
    }
}
