/* SPDX-License-Identifier: MIT
 *
 * read: read entries without locks: one key, many keys, all fields of one entry.
 *
 * PICTURE    ls -> bucket version (even) -> fingerprints -> record header -> bounds -> generation
 *            and key -> deadline -> copy -> version unchanged? -> use counter
 *              l1_get_at     a plain record (no EXT, no BIG, a key up to 254 bytes), in line:
 *                            read.h
 *              l1_get_marked a record with tags, user flags or a place on disk alone, the same
 *                            steps
 *              l1_read_any   misses, chains, second matches, every other record
 *              l1_get_many   step 1 for all keys (prefetches buckets), then step 2 (prefetches
 *                            records), then step 3; step 3 validates the version read in step 2
 *              l1_none       a plain miss: buckets, no record
 * INVARIANTS A reader decides nothing but "try again" before it has validated the version.
 *            A reader stores the use counter after the validation, and only in the bucket. A late
 *            store into a record could change the value of another entry.
 * LOCKING    None. After 8 failed rounds a reader locks the bucket like a writer. For values above
 *            1 KiB this reader publishes the segment in a pin slot, unlocks, copies, clears.
 * SEE ALSO   types.h, MEMORY ORDER; README.md: measurements of the read path. */
#include <string.h>

#include "l1/index.h"
#include "l1/pin_slots.h"
#include "l1/policy.h"
#include "l1/read.h"
#include "l1/record.h"

BASE_SIZE_BEGIN

/* Compare an APART key of a record found under version `ver`. Publish the block before the version
 * is read again, so that no thread frees it meanwhile. */
static l1_look l1_big_look(l1 *c, const l1_bucket *primary, uint32_t ver, uint64_t pos,
                                   const l1_rec *r, const l1_key *k)
{
    const l1_big *block = l1_block_of(c, pos, r);
    const unsigned char *key = l1_key_at(c, pos, r); /* not read yet: it may point anywhere */
    if (!l1_unchanged(primary, ver)) { return L1_LOOK_AGAIN; }
    /* Without a free pin slot the reader comes back with the lock after some rounds. */
    _Atomic uint64_t *slot = l1_pin_take(c, (uint64_t)(uintptr_t)block | L1_BIG_BIT, true);
    if (slot == NULL) { return L1_LOOK_AGAIN; }
    BASE_POINT("l1.apart.published");
    l1_look look = L1_LOOK_AGAIN;
    if (base_load_sc(&primary->ver) == ver) {
        look = memcmp(key, k->bytes, k->len) == 0 ? L1_LOOK_FOUND : L1_LOOK_NONE;
    }
    base_store_rel(slot, (uint64_t)0);
    return look;
}

BASE_SIZE_END

/* Compare the key without a lock, under version `ver` of the bucket that held the slot. */
static l1_look l1_rec_look(l1 *c, const l1_bucket *primary, uint32_t ver, uint64_t pos,
                                   const l1_rec *r, const l1_key *k)
{
    if (r->klen != k->len || r->generation != k->generation) { return L1_LOOK_NONE; }
    if (BASE_LIKELY((r->mask & L1_X_APART) == 0)) {
        return base_seq_equal(l1_at(c, pos) + r->key_off, k->bytes, k->len) ? L1_LOOK_FOUND
                                                                             : L1_LOOK_NONE;
    }
    if (l1_hash_of(c, pos, r) != k->hash) { return L1_LOOK_NONE; }
    return l1_big_look(c, primary, ver, pos, r, k);
}

/* Find the record of a key without a lock, under version p->ver of its bucket. */
static l1_look l1_look_up(l1 *c, const l1_key *k, l1_probe *p)
{
    l1_stripe *s = l1_stripe_of(c, k->hash);
    const uint64_t ls = base_load_acq(&s->ls);
    const uint64_t number = l1_number(ls, k->hash);
    p->primary = l1_bucket_at(s, number);
    p->ver = base_load_acq(&p->primary->ver);
    if ((p->ver & 1u) != 0 || p->ver == 0) {
        base_pause();
        return L1_LOOK_AGAIN;
    }
    const uint16_t tag = l1_tag_of(k->hash);
    l1_part part = l1_whole(p->primary);
    for (unsigned hop = 0; part.b != NULL && hop <= L1_CHAIN_MAX;
         part = l1_chain_next(s, number, part), hop++) {
        p->at.b = part.b;
        for (uint32_t m = l1_part_match(part, tag); m != 0; m &= m - 1) {
            p->at.i = (unsigned)__builtin_ctz(m);
            p->at.pos = l1_pos(c, base_load_rlx(&p->at.b->off[p->at.i]));
            BASE_POINT("l1.probe.matched");
            if (!l1_decode(c, p->at.pos, &p->at.rec)) { continue; }
            const l1_look look = l1_rec_look(c, p->primary, p->ver, p->at.pos, &p->at.rec, k);
            if (look != L1_LOOK_NONE) { return look; }
        }
    }
    if (!l1_unchanged(p->primary, p->ver)) { return L1_LOOK_AGAIN; }
    /* A split since then may have moved the key before this look. */
    if (base_load_acq(&s->ls) != ls) { return L1_LOOK_AGAIN; }
    return L1_LOOK_NONE;
}

CELLAR_PRIVATE l1_look l1_look_round(l1 *c, const l1_key *k, bool locked, l1_hold *h, l1_probe *p)
{
    if (!locked) { return l1_look_up(c, k, p); }
    l1_lock_key(c, k->hash, h, false);
    p->primary = h->b;
    p->ver = base_load_rlx(&h->b->ver); /* odd */
    return l1_find(c, h, k, &p->at) ? L1_LOOK_FOUND : L1_LOOK_NONE;
}

BASE_SIZE_BEGIN

/* Lock the bucket first: a store without the lock could write into recycled memory. */
CELLAR_PRIVATE void l1_idle_used(l1 *c, const l1_key *k)
{
    l1_hold h;
    l1_slot slot;
    const int64_t now = base_now_ms(c->clock);
    l1_lock_key(c, k->hash, &h, false);
    if (l1_find(c, &h, k, &slot) && (slot.rec.mask & L1_X_IDLE) != 0 &&
        l1_judge(c, slot.pos, &slot.rec, 0) == CELLAR_OK) { /* else it ended since */
        unsigned char *f = l1_at(c, slot.pos) + l1_field(&slot.rec, L1_X_IDLE) + 4;
        base_seq_store_u64(f, (uint64_t)BASE_MAX(now, (int64_t)base_seq_u64(f)));
    }
    l1_unlock(c, &h);
}

CELLAR_PRIVATE unsigned l1_uses_take(l1 *c, const l1_key *k)
{
    l1_hold h;
    l1_slot slot;
    unsigned uses = 0;
    l1_lock_key(c, k->hash, &h, false);
    if (l1_find(c, &h, k, &slot)) {
        uses = l1_freq(slot.b, slot.i);
        l1_freq_set(slot.b, slot.i, 0);
    }
    l1_unlock(c, &h);
    return uses;
}

BASE_SIZE_END

/* Read any record. After some rounds read under the bucket lock, so that a busy bucket cannot
 * starve a reader. Publish the memory of a block, and of a long value under the lock, and copy it
 * last. user_flags, info NULL: not wanted. With info a NULL buf copies nothing. */
static BASE_NOINLINE cellar_err l1_read_any(l1 *c, const l1_key *k, void *buf, size_t buf_cap,
                                            size_t *value_len, uint32_t *user_flags, l1_info *info,
                                            unsigned flags)
{
    for (unsigned round = 0;; round++) {
        const bool locked = round == L1_RETRIES;
        l1_hold h;
        l1_probe p;
        if (locked) { base_add_rlx(&c->fallback_reads, 1u); }
        const l1_look look = l1_look_round(c, k, locked, &h, &p);
        if (look == L1_LOOK_AGAIN) { continue; }
        if (info != NULL && round != 0) { memset(info, 0, sizeof *info); } /* of an earlier round */
        *value_len = 0;
        if (user_flags != NULL) { *user_flags = 0; }
        if (look == L1_LOOK_NONE) {
            if (locked) { l1_unlock(c, &h); }
            return CELLAR_MISS;
        }
        const l1_rec *const r = &p.at.rec;
        uint64_t len;
        const unsigned char *const from = l1_value_at(c, p.at.pos, r, &len);
        cellar_err err = l1_judge(c, p.at.pos, r, flags);
        const bool hit = err == CELLAR_OK || err == CELLAR_STALE;
        if (info != NULL) {
            l1_info_of(c, p.at.pos, r, info);
            info->uses = (uint8_t)l1_freq(p.at.b, p.at.i);
            info->stale = err == CELLAR_STALE;
        }
        const bool uses = hit && (flags & L1_PEEK) == 0;
        const bool renews = uses && err == CELLAR_OK && (r->mask & L1_X_IDLE) != 0;
        _Atomic uint64_t *pin = NULL;
        if (hit) { *value_len = (size_t)len; }
        if (hit && user_flags != NULL) {
            *user_flags = l1_get_u32(c, p.at.pos, r, L1_X_FLAGS, 0);
        }
        if (!hit || len == 0 || (buf == NULL && info != NULL)) {
            len = 0;
        } else if (from == NULL) { /* an object, or a torn record: the version decides */
            err = CELLAR_E_TYPE;
        } else if (len > buf_cap || buf == NULL) {
            err = CELLAR_E_BUFFER;
        } else if ((r->w0 & L1_W0_BIG) != 0 || (locked && len > L1_SMALL_COPY)) {
            const uint64_t memory = l1_memory_of(c, p.at.pos, r); /* perhaps torn */
            if (!locked && !l1_unchanged(p.primary, p.ver)) { continue; }
            pin = l1_pin_take(c, memory, true);
            if (pin == NULL) { err = CELLAR_E_LIMIT; }
        } else {
            base_seq_load(buf, from, (size_t)len);
        }
        BASE_POINT("l1.probe.copied");
        if (!locked && (pin != NULL ? base_load_sc(&p.primary->ver) != p.ver
                                    : !l1_unchanged(p.primary, p.ver))) {
            if (pin != NULL) { base_store_rel(pin, (uint64_t)0); }
            continue;
        }
        BASE_POINT("l1.probe.validated");
        if (uses) { l1_freq_hit(p.at.b, p.at.i); }
        if (locked) { l1_unlock(c, &h); }
        if (pin != NULL) {
            base_seq_load(buf, from, (size_t)len);
            base_store_rel(pin, (uint64_t)0);
        }
        if (renews) { l1_idle_used(c, k); }
        return err;
    }
}

BASE_SIZE_BEGIN

CELLAR_PRIVATE uint32_t l1_tags_of(l1 *c, const l1_key *k, uint64_t *fps, uint64_t *born)
{
    l1_hold h;
    l1_slot slot;
    uint32_t count = 0;
    l1_lock_key(c, k->hash, &h, false);
    if (l1_find(c, &h, k, &slot) && (slot.rec.mask & L1_X_TAGS) != 0) {
        count = slot.rec.tag_count;
        *born = l1_tags_load(c, slot.pos, &slot.rec, fps);
    }
    l1_unlock(c, &h);
    return count;
}

BASE_SIZE_END

BASE_ALWAYS_INLINE bool l1_get_fast(l1 *c, const base_thread_record *self, const void *key,
                                    uint32_t klen, bool near_key, uint32_t generation,
                                    uint64_t hash, void *buf, size_t buf_cap, size_t *value_len,
                                    unsigned flags, int64_t end_ms, l1_life *life)
{
    return l1_get_at(c, self, key, klen, near_key, generation, hash, buf, buf_cap, value_len,
                     flags, end_ms, life, NULL);
}

BASE_ALWAYS_INLINE bool l1_take_marked(l1 *c, const l1_key *k, bool near_key, const l1_found *a,
                                       void *buf, size_t buf_cap, size_t *value_len,
                                       uint32_t *user_flags, unsigned flags)
{
    const uint64_t pos = l1_pos(c, base_load_rlx(&a->b->off[a->i]));
    const unsigned char *const p = l1_at(c, pos);
    BASE_POINT("l1.probe.matched");
    const uint32_t w0 = base_seq_u32(p), vlen = L1_W0_VLEN(w0), own = k->generation != 0;
    const uint32_t mask_at = 8u + 4u * own;
    const uint32_t room = c->seg_bytes - ((uint32_t)pos & (c->seg_bytes - 1));
    /* A record has at least 16 bytes, so the mask lies inside the segment. */
    const uint32_t due = base_seq_u32(p + 4), mask = base_seq_u32(p + mask_at);
    const uint32_t tags = mask & L1_X_TAGS, marks = mask & L1_X_FLAGS, disk = mask & L1_X_L2;
    const uint32_t key_at = mask_at + 4u + (marks != 0 ? 4u : 0u) + (disk != 0 ? 8u : 0u);
    const uint32_t value_at = key_at + k->len;
    if (mask != (tags | marks | disk) || vlen > buf_cap ||
        !l1_head_is(w0 ^ (L1_W0_EXT | (tags != 0 ? L1_W0_SPECIAL : 0u)), k->len, own) ||
        value_at + vlen > room || (own != 0 && base_seq_u32(p + 8) != k->generation) ||
        !l1_key_is(p + key_at, k->bytes, k->len, near_key)) {
        return false;
    }
    if (tags != 0) {
        const uint32_t tag_off = (uint32_t)base_round_up(value_at + vlen, 4);
        if (tag_off + L1_TAG_BLOCK(0) > room) { return false; }
        const _Atomic uint64_t *const epoch = c->hooks.tag_epoch;
        if (epoch == NULL || base_seq_u64(p + tag_off + 8) < base_load_acq(epoch)) {
            const l1_rec r = { .mask = mask, .tag_off = tag_off, /* a tag was deleted since */
                               .tag_count = base_seq_u32(p + tag_off) & 255u };
            if (r.tag_count > L1_TAG_MAX || tag_off + L1_TAG_BLOCK(r.tag_count) > room ||
                l1_tags_judge(c, pos, &r) != 0) {
                return false;
            }
        }
    }
    if (due != 0) {
        const l1_rec r = { .due = due, .mask = mask };
        if (base_clock_reached(c->clock, l1_deadline(c, pos, &r))) { return false; }
    }
    const uint32_t marked = marks != 0 ? base_seq_u32(p + mask_at + 4) : 0;
    if (BASE_UNLIKELY(vlen > BASE_SEQ_NEAR)) {
        base_seq_load(buf, p + value_at, vlen);
    } else {
        base_seq_load_near(buf, p + value_at, vlen);
    }
    BASE_POINT("l1.probe.copied");
    if (!l1_unchanged(a->primary, a->ver)) { return false; }
    BASE_POINT("l1.probe.validated");
    *value_len = vlen;
    if (user_flags != NULL) { *user_flags = marked; }
    if ((flags & L1_PEEK) == 0) { l1_freq_hit(a->b, a->i); }
    if (BASE_UNLIKELY(k->hash < base_load_rlx(&c->sample_limit))) {
        l1_sampled(c, k->hash, k->generation);
    }
    return true;
}

CELLAR_PRIVATE bool l1_get_marked(l1 *c, const l1_key *k, void *buf, size_t buf_cap,
                                  size_t *value_len, uint32_t *user_flags, unsigned flags)
{
    l1_aim a;
    l1_aim_at(c, k->hash, &a);
    if (!l1_spot(c, k->hash, &a)) { return false; }
    const l1_found at = { a.primary, a.b, a.ver, a.i };
    return l1_take_marked(c, k, false, &at, buf, buf_cap, value_len, user_flags, flags);
}

CELLAR_PRIVATE bool l1_hit_marked(l1 *c, const l1_key *k, const l1_found *at, void *buf,
                                  size_t buf_cap, size_t *value_len)
{
    return l1_take_marked(c, k, true, at, buf, buf_cap, value_len, NULL, 0);
}

CELLAR_PRIVATE bool l1_hit_before(l1 *c, const base_thread_record *self, const void *key,
                                  uint32_t klen, uint32_t generation, uint64_t hash, void *buf,
                                  size_t buf_cap, size_t *value_len, int64_t end_ms)
{
    return l1_get_fast(c, self, key, klen, true, generation, hash, buf, buf_cap, value_len, 0,
                       end_ms, NULL);
}

static cellar_err l1_get_general(l1 *c, const l1_key *k, void *buf, size_t buf_cap,
                                 size_t *value_len, uint32_t *user_flags, unsigned flags)
{
    if (BASE_UNLIKELY(k->hash < base_load_rlx(&c->sample_limit))) {
        l1_sampled(c, k->hash, k->generation);
    }
    return l1_read_any(c, k, buf, buf_cap, value_len, user_flags, NULL, flags);
}

CELLAR_PRIVATE bool l1_inspect_hit(l1 *c, const l1_key *k, void *buf, size_t buf_cap, l1_info *out)
{
    l1_aim a;
    l1_aim_at(c, k->hash, &a);
    out->at = UINT64_MAX; /* its bytes identify it */
    return l1_spot(c, k->hash, &a) &&
           l1_take(c, &a, k->bytes, k->len, false, k->generation, buf,
                   BASE_MIN(buf_cap, (size_t)L1_SMALL_COPY), &out->value_len, 0,
                   base_thread_self(), NULL, BASE_NEVER_MS, NULL);
}

CELLAR_PRIVATE bool l1_hit_life(l1 *c, const l1_key *k, void *buf, size_t buf_cap,
                                size_t *value_len, l1_life *life)
{
    if (l1_get_fast(c, base_thread_self(), k->bytes, k->len, false, k->generation, k->hash, buf,
                    buf_cap, value_len, 0, BASE_NEVER_MS, life)) {
        return true;
    }
    if (BASE_UNLIKELY(k->hash < base_load_rlx(&c->sample_limit))) {
        l1_sampled(c, k->hash, k->generation);
    }
    return false;
}

CELLAR_PRIVATE cellar_err l1_get(l1 *c, const l1_key *k, void *buf, size_t buf_cap,
                                 size_t *value_len, unsigned flags)
{
    if (BASE_LIKELY(l1_get_fast(c, base_thread_self(), k->bytes, k->len, false, k->generation,
                                k->hash, buf, buf_cap, value_len, flags, BASE_NEVER_MS, NULL))) {
        return CELLAR_OK;
    }
    return l1_get_rest(c, k, buf, buf_cap, value_len, NULL, flags);
}

CELLAR_PRIVATE bool l1_get_plain(l1 *c, const l1_key *k, void *buf, size_t buf_cap,
                                 size_t *value_len)
{
    l1_found at;
    if (l1_get_at(c, base_thread_self(), k->bytes, k->len, false, k->generation, k->hash, buf,
                  buf_cap, value_len, 0, BASE_NEVER_MS, NULL, &at)) {
        return true;
    }
    *value_len = at.b != NULL;
    return false;
}

CELLAR_PRIVATE BASE_NOINLINE l1_part l1_spot_half(const l1_stripe *s, uint64_t number, uint16_t n,
                                                  uint64_t hash)
{
    const uint16_t tag = l1_tag_of(hash);
    for (unsigned hop = 0; n != 0 && hop < L1_CHAIN_MAX; hop++) { /* a torn chain may have no end */
        const l1_part half = l1_half(s, number, n);
        const uint32_t m = l1_half_match(half, tag);
        if (m != 0) { return (l1_part){ half.b, m }; }
        n = base_load_rlx(l1_part_ovf(half));
    }
    return (l1_part){ NULL, 0 };
}

/* Report a miss as l1_read_any would, for a chain without this fingerprint. */
CELLAR_PRIVATE BASE_NOINLINE bool l1_none(l1 *c, uint64_t hash)
{
    const l1_stripe *const s = l1_stripe_of(c, hash);
    const uint64_t ls = base_load_acq(&s->ls), number = l1_number(ls, hash);
    const l1_bucket *const primary = l1_bucket_at(s, number);
    const uint32_t ver = base_load_acq(&primary->ver);
    const uint16_t tag = l1_tag_of(hash);
    if (BASE_UNLIKELY((ver & 1u) != 0 || ver == 0 || hash < base_load_rlx(&c->sample_limit))) {
        return false;
    }
    if (BASE_UNLIKELY(l1_match(primary, tag) != 0)) { return false; }
    uint16_t n = base_load_rlx(&primary->ovf);
    for (unsigned hop = 0; BASE_UNLIKELY(n != 0); hop++) {
        const l1_part half = l1_half(s, number, n);
        if (BASE_UNLIKELY(l1_half_match(half, tag) != 0 || hop == L1_CHAIN_MAX)) { return false; }
        n = base_load_rlx(l1_part_ovf(half));
    }
    BASE_POINT("l1.none.looked");
    return l1_unchanged(primary, ver) && base_load_acq(&s->ls) == ls;
}

CELLAR_PRIVATE cellar_err l1_get_load(l1 *c, const l1_key *k, size_t seen, void *buf,
                                      size_t buf_cap, size_t *value_len, uint32_t *user_flags)
{
    if (seen == 0 && l1_none(c, k->hash)) { return CELLAR_MISS; }
    return l1_get_marked(c, k, buf, buf_cap, value_len, user_flags, 0)
               ? CELLAR_OK
               : l1_get_general(c, k, buf, buf_cap, value_len, user_flags, L1_NOT_DUE);
}

CELLAR_PRIVATE cellar_err l1_get_rest(l1 *c, const l1_key *k, void *buf, size_t buf_cap,
                                      size_t *value_len, uint32_t *user_flags, unsigned flags)
{
    return l1_get_marked(c, k, buf, buf_cap, value_len, user_flags, flags)
               ? CELLAR_OK : l1_get_general(c, k, buf, buf_cap, value_len, user_flags, flags);
}

CELLAR_PRIVATE cellar_err l1_inspect(l1 *c, const l1_key *k, void *buf, size_t buf_cap,
                                     l1_info *out, unsigned flags)
{
    size_t value_len;
    memset(out, 0, sizeof *out);
    return l1_read_any(c, k, buf, buf_cap, &value_len, NULL, out, flags);
}

/* ---- many keys ------------------------------------------------------------------------------- */

/* Read one item of the group for which the three steps did not suffice. Return true for a plain
 * miss. */
static BASE_NOINLINE bool l1_get_one(l1 *c, uint32_t generation, uint64_t hash, cellar_get_item *it,
                                     unsigned flags)
{
    const l1_key k = {it->key, (uint32_t)it->key_len, generation, hash};
    it->value_len = 0;
    it->user_flags = 0;
    it->status = CELLAR_MISS;
    if (l1_none(c, hash)) { return true; }
    it->status = l1_get_rest(c, &k, it->buf, it->buf_cap, &it->value_len, &it->user_flags, flags);
    return false;
}

CELLAR_PRIVATE uint32_t l1_get_few(l1 *c, uint32_t generation, cellar_get_item *items, uint32_t n,
                                   uint32_t *none)
{
    const base_thread_record *self = base_thread_self();
    uint32_t hits = 0, missed = 0;
    for (uint32_t i = 0; i < n; i++) {
        cellar_get_item *it = &items[i];
        const uint32_t klen = (uint32_t)it->key_len; /* at most CELLAR_KEY_MAX */
        const uint64_t hash = base_hash(c->hash_key, generation, it->key, klen);
        if (BASE_LIKELY(l1_get_fast(c, self, it->key, klen, klen - 8 <= 8, generation, hash,
                                    it->buf, it->buf_cap, &it->value_len, 0, BASE_NEVER_MS,
                                    NULL))) {
            it->status = CELLAR_OK;
            it->user_flags = 0; /* a plain record has none */
            hits |= 1u << i;
        } else {
            missed |= (uint32_t)l1_get_one(c, generation, hash, it, 0) << i;
        }
    }
    *none = missed;
    return hits;
}

CELLAR_PRIVATE uint32_t l1_get_many(l1 *c, uint32_t generation, cellar_get_item *items, uint32_t n,
                                    uint32_t which, unsigned flags, uint32_t *none)
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
    uint32_t hits = 0, missed = 0;
    for (uint32_t i = 0; i < n; i++) {
        cellar_get_item *it = &items[i];
        const uint32_t klen = (uint32_t)it->key_len; /* at most CELLAR_KEY_MAX */
        if (BASE_LIKELY((seen >> i & 1u) != 0 &&
                        l1_take(c, &aim[i], it->key, klen, klen - 8 <= 8, generation, it->buf,
                                it->buf_cap, &it->value_len, flags, self, &sure_ms,
                                BASE_NEVER_MS, NULL))) {
            it->status = CELLAR_OK;
            it->user_flags = 0; /* a plain record has none */
            hits |= 1u << i;
        } else if ((which >> i & 1u) != 0) {
            missed |= (uint32_t)l1_get_one(c, generation, hash[i], it, flags) << i;
        }
    }
    const uint64_t limit = base_load_rlx(&c->sample_limit);
    for (uint32_t i = 0; BASE_UNLIKELY(least < limit) && i < n; i++) {
        if (hash[i] < limit && (hits >> i & 1u) != 0) { l1_sampled(c, hash[i], generation); }
    }
    *none = missed;
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
        if (n != 0) { BASE_PREFETCH(l1_half(s, number, n).b); }
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
