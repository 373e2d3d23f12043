/* SPDX-License-Identifier: MIT
 *
 * index: match, lock, grow, shrink and scan the buckets of the hash table.
 *
 * PICTURE    stripe: primary buckets 0 .. 2^level + split - 1 (linear hashing), each with a chain
 *            of at most 7 overflow buckets from the area of its group.
 *                h -> b = h mod 2^level; b < split ? h mod 2^(level+1) : b
 *            Pages of 64 primary buckets alternate between the stripes:
 *                |s0 0-63|s1 0-63|..|s0 64-127|s1 64-127|..|   split, charged, given back by page
 *            Stripes grow alike, so one region grows at one end and all before the end is in use.
 *            Ticks turn that part into huge pages where it takes no byte beyond the charge.
 * INVARIANTS An overflow bucket is in exactly one chain or on the free list of its group.
 *            The version of a bucket below the current ls is never 0. A merged bucket stays odd
 *            until its page is given back (reads 0) or a split makes it again. ver_base is above
 *            every version of a merged bucket.
 * LOCKING    l1_int.h. Only here a thread locks two buckets: source before target (ascending),
 *            under the stripe lock. No thread waits for a stripe lock while it holds a bucket.
 *            Split: note offsets and hashes of the chain without the bucket lock -> lock both ->
 *            read the slots again -> place -> publish ls inside the windows -> unlock. A merge is
 *            the mirror image. README.md has the proof for readers.
 * LIMITS     A set that needs an eighth overflow bucket gets CELLAR_E_SPACE. A reader stopped for
 *            exactly 2^31 changes of one bucket would accept a changed version.
 * SEE ALSO   README.md: proof, rejected loads and layouts. Litwin 1980, linear hashing; Redis SCAN
 *            (cursor in reversed-bit order). */
#include <string.h>

#include "l1/l1_int.h"

#define L1_LEVEL_MIN 4u
#define L1_CHAIN_SLOTS (L1_SLOTS * (L1_CHAIN_MAX + 1))
#define L1_LOAD_PCT 64u      /* split above this share of the primary slots */
/* Milliseconds without growth before the index gets a huge page. Every set looks at some bucket. A
 * thread that touches what the kernel just moved waits for milliseconds. */
#define L1_INDEX_REST_MS 2000

static uint64_t l1_ls(uint64_t changes, unsigned level, uint32_t split)
{
    return changes << 40 | (uint64_t)level << 32 | ((1u << level) + split);
}

/* ---- memory ---------------------------------------------------------------------------------- */
static bool l1_area_charge(l1 *c, base_module m, uint64_t more)
{
    return base_charge(c->account, m, more) ||
           (l1_give_back(c, more, 0) && base_charge(c->account, m, more));
}

/* Charge and commit [charged, need) of the overflow buckets of a group. The writable part grows
 * ahead in larger steps. */
static bool l1_area_reach(l1 *c, size_t area, size_t area_bytes, uint64_t need, uint64_t *writable,
                          uint64_t *charged)
{
    need = base_round_up(need, BASE_PAGE);
    if (need <= *charged) { return true; }
    if (need > area_bytes) { return false; }
    sync_assert_not(SYNC_RANK_L1_BUCKET); /* no reader waits for the kernel */
    if (need > *writable) {
        uint64_t to =
            BASE_MIN(base_round_up(need, need <= L1_INDEX_STEP ? BASE_PAGE : L1_INDEX_STEP),
                     (uint64_t)area_bytes);
        if (!base_region_commit(&c->overflow_region, area + (size_t)*writable,
                                (size_t)(to - *writable))) {
            return false;
        }
        *writable = to;
    }
    if (!l1_area_charge(c, BASE_MOD_OVERFLOW, need - *charged)) { return false; }
    *charged = need;
    return true;
}

/* Make rows of pages writable up to `end` bytes; a row has one page of each stripe. Two threads may
 * commit the same rows: each commits from the old end on, and `index_writable` only rises. */
static bool l1_rows_reach(l1 *c, uint64_t end)
{
    uint64_t have = base_load_acq(&c->index_writable);
    if (BASE_LIKELY(end <= have)) { return true; }
    if (end > L1_INDEX_STEP) { end = base_round_up(end, L1_INDEX_STEP); }
    if (end > c->index_step) { end = base_round_up(end, c->index_step); }
    end = BASE_MIN(end, (uint64_t)c->index_region.reserved_bytes);
    if (!base_region_commit(&c->index_region, (size_t)have, (size_t)(end - have))) {
        return false;
    }
    while (have < end && !base_cas_ar(&c->index_writable, have, end)) {
        have = base_load_acq(&c->index_writable);
    }
    return true;
}

/* Return the place of the page that begins with byte `at` of the buckets of a stripe. */
static size_t l1_index_page(const l1 *c, const l1_stripe *s, uint64_t at)
{
    return (size_t)(at * c->stripe_count + (uint64_t)s->index_number * BASE_PAGE);
}

/* Return the start of the aligned huge page that contains byte `at`, else of the first one. */
static size_t l1_huge_of(const l1 *c, size_t at)
{
    const uintptr_t base = (uintptr_t)c->index_region.base;
    const size_t first = (size_t)(base_round_up(base, BASE_HUGE) - base);
    return at <= first ? first : at - (size_t)((base + at) % BASE_HUGE);
}

static bool l1_buckets_reach(l1 *c, l1_stripe *s, uint32_t count)
{
    const uint64_t need = base_round_up((uint64_t)count * sizeof(l1_bucket), BASE_PAGE);
    if (need <= s->charged_bytes) { return true; }
    if (need > c->stripe_stride) { return false; }
    sync_assert_not(SYNC_RANK_L1_BUCKET); /* no reader waits for the kernel */
    if (!l1_rows_reach(c, need * c->stripe_count) ||
        !l1_area_charge(c, BASE_MOD_INDEX, need - s->charged_bytes)) {
        return false;
    }
    s->charged_bytes = need;
    return true;
}

CELLAR_PRIVATE bool l1_index_open(l1 *c)
{
    c->index_collapsed = l1_huge_of(c, 0);
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        l1_stripe *s = &c->stripe[i];
        s->index_number = i;
        /* A key of a cleared namespace moves to another stripe: no two stripes give the same
         * version. */
        base_store_rlx(&s->next_version, (uint64_t)i << 48);
        s->others = c->stripe_count - 1;
        s->bucket = (l1_bucket *)(void *)(c->index_region.base + l1_index_page(c, s, 0));
        s->overflow = (l1_bucket *)(void *)(c->overflow_region.base + i * c->overflow_stride);
        s->queue[0].head = s->queue[0].tail = s->queue[1].head = s->queue[1].tail = L1_NONE;
        s->bucket_count = 1u << L1_LEVEL_MIN;
        if (!l1_buckets_reach(c, s, s->bucket_count)) { return false; }
        for (uint32_t b = 0; b < s->bucket_count; b++) {
            base_store_rlx(&l1_bucket_at(s, b)->ver, 2u);
        }
        base_store_rel(&s->ls, l1_ls(0, L1_LEVEL_MIN, 0));
    }
    return true;
}

/* Charge, commit and touch one overflow bucket of the group. Then a take inside a window needs
 * neither a charge nor the kernel. Stripe lock, no bucket lock. */
static bool l1_ovf_ready(l1 *c, l1_stripe *s, uint64_t number)
{
    const uint64_t gi = number >> L1_GROUP_SHIFT;
    l1_group *g = &s->group[gi];
    if (g->free != 0) { return true; }
    if (g->high >= c->overflow_limit) { return false; }
    uint64_t writable = g->writable_bytes, charged = g->charged_bytes;
    size_t group_bytes = (size_t)(c->overflow_limit + 1) * sizeof(l1_bucket);
    size_t at = s->index_number * c->overflow_stride + ((size_t)gi << 16) * sizeof(l1_bucket);
    bool ok = l1_area_reach(c, at, group_bytes, ((uint64_t)g->high + 2) * sizeof(l1_bucket),
                            &writable, &charged);
    g->writable_bytes = (uint32_t)writable;
    g->charged_bytes = (uint32_t)charged;
    if (ok) { base_store_rlx(&s->overflow[(gi << 16) + g->high + 1].freq, 0u); }
    return ok;
}

/* Take the bucket that l1_ovf_ready found or made; 0: none. */
static uint16_t l1_ovf_take(l1_stripe *s, uint64_t number)
{
    uint64_t gi = number >> L1_GROUP_SHIFT;
    l1_group *g = &s->group[gi];
    l1_bucket *area = &s->overflow[gi << 16];
    uint32_t n = g->free;
    if (n != 0) {
        g->free = base_load_rlx(&area[n].off[0]);
    } else {
        if (((uint64_t)g->high + 2) * sizeof(l1_bucket) > g->charged_bytes) { return 0; }
        n = ++g->high;
    }
    l1_bucket *b = &area[n];
    for (unsigned i = 0; i < L1_SLOTS; i++) { base_store_rlx(&b->tag[i], (uint16_t)0); }
    base_store_rlx(&b->freq, 0u);
    base_store_rlx(&b->ovf, (uint16_t)0);
    s->overflow_count++;
    return (uint16_t)n;
}

static void l1_ovf_give(l1_stripe *s, uint64_t number, uint16_t n)
{
    l1_group *g = &s->group[number >> L1_GROUP_SHIFT];
    l1_bucket *b = l1_next(s, number, n);
    base_store_rlx(&b->off[0], g->free);
    g->free = n;
    s->overflow_count--;
}

/* Give back the pages of the overflow buckets when all of the stripe are free. */
CELLAR_PRIVATE void l1_overflow_rest(l1 *c, l1_stripe *s)
{
    if (s->overflow_count != 0) { return; }
    for (uint32_t i = 0; i < c->group_count; i++) {
        l1_group *g = &s->group[i];
        if (g->charged_bytes == 0) { continue; }
        base_region_discard(&c->overflow_region, s->index_number * c->overflow_stride +
                            ((size_t)i << 16) * sizeof(l1_bucket), g->charged_bytes);
        base_uncharge(c->account, BASE_MOD_OVERFLOW, g->charged_bytes);
        g->charged_bytes = g->high = g->free = 0;
    }
}

/* ---- matching -------------------------------------------------------------------------------- */
/* Return the hash of the key of a record. The caller holds the stripe lock. Keys of linked records
 * never change, and writers wrote them under the stripe lock. */
CELLAR_PRIVATE uint64_t l1_hash_of(const l1 *c, uint64_t pos, const l1_rec *r)
{
    if (BASE_UNLIKELY((r->mask & L1_X_APART) != 0)) {
        return base_seq_u64(l1_at(c, pos) + l1_field(r, L1_X_APART) + 8);
    }
    return base_hash(c->hash_key, r->generation, l1_at(c, pos) + r->key_off, r->klen);
}

/* ---- the version word ------------------------------------------------------------------------ */
static void l1_backoff(unsigned *spins)
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

static uint32_t l1_ver_after(uint32_t even) { return even + 2 != 0 ? even + 2 : 2u; }

/* Discard the chain of a bucket that a writer of the parent held at the fork. The chain cannot be
 * trusted. Stripe lock held, so no other thread is here. */
static BASE_COLD void l1_mend(l1 *c, l1_stripe *s, l1_bucket *b, uint64_t number, uint32_t odd)
{
    l1_bucket *at = b;
    for (;;) {
        for (unsigned i = 0; i < L1_SLOTS; i++) {
            l1_rec r;
            uint64_t pos = l1_pos(c, base_load_rlx(&at->off[i]));
            if (base_load_rlx(&at->tag[i]) == 0) { continue; }
            base_store_rlx(&at->tag[i], (uint16_t)0);
            if (!l1_decode(c, pos, &r)) { continue; }
            l1_live_sub(c, s, pos, l1_weight(c, pos, &r));
            l1_quota_sub(c, s, r.generation, l1_weight(c, pos, &r));
            if (l1_is_absent(c, pos, &r)) {
                l1_absent_count(s, -(int64_t)l1_weight(c, pos, &r), -1);
            }
            l1_big *const block = l1_block_of(c, pos, &r);
            /* l1_bigs_child handles a block in hand. */
            if (block != NULL && block->where == L1_LINKED) { l1_large_retire(c, block); }
        }
        uint16_t n = base_load_rlx(&at->ovf);
        if (at != b) { base_store_rlx(&at->freq, 0u); }
        if (n == 0) { break; }
        at = l1_next(s, number, n);
    }
    /* The lost writer may have changed only one of the two counts. */
    for (unsigned q = 0; q < 2; q++) {
        uint64_t sum = 0;
        for (uint32_t seg = s->queue[q].tail; seg != L1_NONE; seg = c->seg[seg].next) {
            sum += L1_LIVE_LINKED(base_load_rlx(&c->seg[seg].live));
        }
        base_store_rlx(&s->queue[q].live, sum);
    }
    base_store_rel(&b->ver, l1_ver_after(odd - 1));
}

CELLAR_PRIVATE void l1_mend_stripe(l1 *c, l1_stripe *s)
{
    for (uint64_t n = 0; n < s->bucket_count; n++) {
        const uint32_t v = base_load_rlx(&l1_bucket_at(s, n)->ver);
        if ((v & 1u) != 0) { l1_mend(c, s, l1_bucket_at(s, n), n, v); }
    }
}

CELLAR_PRIVATE void l1_mend_key(l1 *c, uint64_t hash)
{
    l1_stripe *s = l1_stripe_of(c, hash);
    const uint64_t n = l1_number(base_load_rlx(&s->ls), hash);
    const uint32_t v = base_load_rlx(&l1_bucket_at(s, n)->ver);
    if ((v & 1u) != 0) { l1_mend(c, s, l1_bucket_at(s, n), n, v); }
}

CELLAR_PRIVATE void l1_lock_key(l1 *c, uint64_t hash, l1_hold *h, bool have_stripe)
{
    l1_stripe *s = l1_stripe_of(c, hash);
    h->s = s;
    h->took_stripe = false;
    if (BASE_UNLIKELY(c->forked) && !have_stripe) {
        sync_take(L1_STRIPE, &s->lock);
        h->took_stripe = have_stripe = true;
    }
    unsigned spins = 0;
    for (;;) {
        uint64_t ls = base_load_acq(&s->ls);
        uint64_t number = l1_number(ls, hash);
        l1_bucket *b = l1_bucket_at(s, number);
        uint32_t v = base_load_rlx(&b->ver);
        if ((v & 1u) != 0 || v == 0) {
            if (c->forked && v != 0) { l1_mend(c, s, b, number, v); } else { l1_backoff(&spins); }
            continue;
        }
        BASE_POINT("l1.lock");
        if (!base_cas_sc(&b->ver, v, v + 1)) {
            l1_backoff(&spins);
            continue;
        }
        base_fence_rel();
        /* Without the stripe lock a split may have moved the key during the wait. */
        if (!have_stripe && !BASE_MUTANT("l1.lock_no_ls_reload")) {
            uint64_t again = base_load_acq(&s->ls);
            if (again != ls && l1_number(again, hash) != number) {
                base_store_rel(&b->ver, l1_ver_after(v));
                continue;
            }
        }
        SYNC_PUSH(SYNC_RANK_L1_BUCKET, b, false);
        h->b = b;
        h->number = number;
        h->ver = v;
        return;
    }
}

CELLAR_PRIVATE bool l1_lock_from(l1 *c, uint64_t hash, l1_bucket *b, uint32_t ver, l1_hold *h,
                                 bool have_stripe)
{
    l1_stripe *s = l1_stripe_of(c, hash);
    if (BASE_UNLIKELY(c->forked) && !have_stripe) { return false; }
    if (!base_cas_sc(&b->ver, ver, ver + 1)) { return false; }
    base_fence_rel();
    uint64_t number = l1_number(base_load_acq(&s->ls), hash);
    if (l1_bucket_at(s, number) != b) {
        base_store_rel(&b->ver, l1_ver_after(ver));
        return false;
    }
    SYNC_PUSH(SYNC_RANK_L1_BUCKET, b, false);
    h->s = s;
    h->b = b;
    h->number = number;
    h->ver = ver;
    h->took_stripe = false;
    return true;
}

CELLAR_PRIVATE void l1_unlock(l1 *c, l1_hold *h)
{
    (void)c;
    SYNC_POP(SYNC_RANK_L1_BUCKET, h->b);
    base_store_rel(&h->b->ver, l1_ver_after(h->ver));
    if (BASE_UNLIKELY(h->took_stripe)) { sync_drop(L1_STRIPE, &h->s->lock); }
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
                   .klen = k->len,
                   .vlen = vlen, .field_off = key_off, .key_off = key_off,
                   .value_off = value_off,
                   .size = (uint32_t)base_round_up(value_off + vlen, 1u << c->gshift) };
    return true;
}

CELLAR_PRIVATE bool l1_find(const l1 *c, const l1_hold *h, const l1_key *k, l1_slot *out)
{
    const uint16_t tag = l1_tag_of(k->hash);
    l1_bucket *b = h->b;
    for (;;) {
        for (uint32_t m = l1_match(b, tag); m != 0; m &= m - 1) {
            out->i = (unsigned)__builtin_ctz(m);
            out->pos = l1_pos(c, base_load_rlx(&b->off[out->i]));
            bool ok = l1_find_plain(c, out->pos, k, &out->rec);
            if (!ok) {
                ok = l1_decode(c, out->pos, &out->rec);
                BASE_ASSERT(ok);
                ok = ok && l1_rec_is(c, out->pos, &out->rec, k);
            }
            if (ok) {
                out->b = b;
                return true;
            }
        }
        uint16_t n = base_load_rlx(&b->ovf);
        if (n == 0) {
            out->b = NULL;
            return false;
        }
        b = l1_next(h->s, h->number, n);
    }
}

CELLAR_PRIVATE bool l1_find_pos(const l1 *c, const l1_hold *h, uint16_t tag, uint64_t pos,
                                l1_slot *out)
{
    const uint32_t off = (uint32_t)(pos >> c->gshift);
    l1_bucket *b = h->b;
    for (;;) {
        for (uint32_t m = l1_match(b, tag); m != 0; m &= m - 1) {
            unsigned i = (unsigned)__builtin_ctz(m);
            if (base_load_rlx(&b->off[i]) == off) {
                out->b = b;
                out->i = i;
                out->pos = pos;
                return true;
            }
        }
        uint16_t n = base_load_rlx(&b->ovf);
        if (n == 0) { return false; }
        b = l1_next(h->s, h->number, n);
    }
}

CELLAR_PRIVATE void l1_slot_prepare(l1 *c, l1_stripe *s, uint64_t hash)
{
    const uint64_t number = l1_number(base_load_rlx(&s->ls), hash);
    const l1_bucket *b = l1_bucket_at(s, number);
    /* Only a holder of the stripe lock adds slots: a slot that is empty now stays empty. */
    while (l1_match(b, 0) == 0) {
        const uint16_t n = base_load_rlx(&b->ovf);
        if (n == 0) {
            (void)l1_ovf_ready(c, s, number);
            return;
        }
        b = l1_next(s, number, n);
    }
}

CELLAR_PRIVATE bool l1_slot_empty(l1 *c, l1_hold *h, l1_slot *out)
{
    l1_bucket *b = h->b;
    for (unsigned hop = 0;; hop++) {
        uint32_t m = l1_match(b, 0);
        if (m != 0) {
            out->b = b;
            out->i = (unsigned)__builtin_ctz(m);
            return true;
        }
        uint16_t n = base_load_rlx(&b->ovf);
        if (n == 0) {
            if (hop == L1_CHAIN_MAX) { break; }
            n = l1_ovf_take(h->s, h->number);
            if (n == 0) { break; }
            base_store_rlx(&b->ovf, n);
        }
        b = l1_next(h->s, h->number, n);
    }
    base_add_rlx(&c->chain_full, 1u);
    return false;
}

CELLAR_PRIVATE void l1_chain_trim(l1 *c, l1_hold *h)
{
    (void)c;
    l1_bucket *before = NULL, *last = h->b, *hole = NULL;
    if (BASE_LIKELY(base_load_rlx(&last->ovf) == 0)) { return; }
    unsigned hole_slot = 0;
    uint16_t number = 0;
    for (uint16_t n; (n = base_load_rlx(&last->ovf)) != 0;) {
        uint32_t m = hole == NULL ? l1_match(last, 0) : 0;
        if (m != 0) {
            hole = last;
            hole_slot = (unsigned)__builtin_ctz(m);
        }
        before = last;
        number = n;
        last = l1_next(h->s, h->number, n);
    }
    uint32_t used = ~l1_match(last, 0) & ((1u << L1_SLOTS) - 1);
    if (used != 0 && hole != NULL) {
        unsigned i = (unsigned)__builtin_ctz(used);
        l1_slot to = {.b = hole, .i = hole_slot};
        l1_slot_set(&to, base_load_rlx(&last->tag[i]), base_load_rlx(&last->off[i]),
                    l1_freq(last, i));
        base_store_rlx(&last->tag[i], (uint16_t)0);
        used &= used - 1;
    }
    if (used == 0) {
        base_store_rlx(&before->ovf, (uint16_t)0);
        l1_ovf_give(h->s, h->number, number);
    }
}

CELLAR_PRIVATE void l1_slot_set(l1_slot *s, uint16_t tag, uint32_t off, unsigned freq)
{
    base_store_rlx(&s->b->off[s->i], off);
    base_store_rlx(&s->b->tag[s->i], tag);
    l1_freq_set(s->b, s->i, freq);
}

CELLAR_PRIVATE void l1_slot_clear(l1_slot *s) { base_store_rlx(&s->b->tag[s->i], (uint16_t)0); }

/* ---- growth and contraction ------------------------------------------------------------------ */
typedef struct l1_note { /* a slot of a chain that is taken apart */
    uint64_t hash;
    uint32_t off;
    uint16_t tag;
    uint8_t freq;
} l1_note;

/* Note the slots of the chain at `number` with the hashes of their keys. Return the count. *ovf
 * gets the number of overflow buckets. The stripe lock keeps writers from adding slots. */
static unsigned l1_note_chain(l1 *c, const l1_stripe *s, uint64_t number, l1_note *out,
                              unsigned *ovf)
{
    unsigned n = 0;
    *ovf = 0;
    for (const l1_bucket *b = l1_bucket_at(s, number);;) {
        for (unsigned i = 0; i < L1_SLOTS; i++) {
            uint16_t tag = base_load_rlx(&b->tag[i]);
            if (tag == 0) { continue; }
            out[n].tag = tag;
            out[n].off = base_load_rlx(&b->off[i]);
            BASE_PREFETCH(l1_at(c, l1_pos(c, out[n].off)));
            n++;
        }
        uint16_t next = base_load_rlx(&b->ovf);
        if (next == 0) { break; }
        (*ovf)++;
        b = l1_next(s, number, next);
    }
    unsigned kept = 0;
    for (unsigned i = 0; i < n; i++) {
        l1_rec r;
        uint64_t pos = l1_pos(c, out[i].off);
        /* A delete emptied this slot a moment ago and its bytes may be anything: nothing to
         * place. */
        if (!l1_decode(c, pos, &r)) { continue; }
        out[kept] = out[i];
        out[kept++].hash = l1_hash_of(c, pos, &r);
    }
    return kept;
}

/* Take a locked chain apart and give back its overflow buckets. Write the slots that are still set
 * to `out`, with the noted hashes. */
static unsigned l1_strip_chain(l1 *c, l1_stripe *s, uint64_t number, const l1_note *notes,
                               unsigned note_count, l1_note *out)
{
    (void)c;
    unsigned n = 0;
    l1_bucket *b = l1_bucket_at(s, number);
    for (bool first = true;; first = false) {
        for (unsigned i = 0; i < L1_SLOTS; i++) {
            uint16_t tag = base_load_rlx(&b->tag[i]);
            uint32_t off = base_load_rlx(&b->off[i]);
            if (tag == 0) { continue; }
            base_store_rlx(&b->tag[i], (uint16_t)0);
            for (unsigned j = 0; j < note_count; j++) {
                if (notes[j].off == off && notes[j].tag == tag) {
                    out[n] = notes[j];
                    out[n++].freq = (uint8_t)l1_freq(b, i);
                    break;
                }
            }
        }
        uint16_t next = base_load_rlx(&b->ovf);
        base_store_rlx(&b->ovf, (uint16_t)0);
        base_store_rlx(&b->freq, 0u);
        if (!first) { l1_ovf_give(s, number, (uint16_t)(b - l1_next(s, number, 0))); }
        if (next == 0) { return n; }
        b = l1_next(s, number, next);
    }
}

/* Put a slot into a locked chain. `spare` holds overflow numbers of its group, taken before. */
static void l1_place(l1_stripe *s, uint64_t number, const l1_note *note, uint16_t *spare,
                     unsigned *spare_count)
{
    l1_bucket *b = l1_bucket_at(s, number);
    for (;;) {
        uint32_t m = l1_match(b, 0);
        if (m != 0) {
            l1_slot slot = {.b = b, .i = (unsigned)__builtin_ctz(m)};
            l1_slot_set(&slot, note->tag, note->off, note->freq);
            return;
        }
        uint16_t n = base_load_rlx(&b->ovf);
        if (n == 0) {
            n = *spare_count != 0 ? spare[--*spare_count] : l1_ovf_take(s, number);
            BASE_REQUIRE(n != 0); /* counted before the locks were taken */
            base_store_rlx(&b->ovf, n);
        }
        b = l1_next(s, number, n);
    }
}

/* Return the number of overflow buckets that a chain of n entries needs. */
static unsigned l1_ovf_need(unsigned n) { return n <= L1_SLOTS ? 0 : (n - 1) / L1_SLOTS; }

static bool l1_spare_take(l1 *c, l1_stripe *s, uint64_t number, unsigned need, uint16_t *spare)
{
    for (unsigned i = 0; i < need; i++) {
        spare[i] = l1_ovf_ready(c, s, number) ? l1_ovf_take(s, number) : (uint16_t)0;
        if (spare[i] == 0) {
            while (i-- > 0) { l1_ovf_give(s, number, spare[i]); }
            return false;
        }
    }
    return true;
}

/* Lock a bucket by number under the stripe lock. In a forked child repair it first if needed. */
static uint32_t l1_lock_number(l1 *c, l1_stripe *s, uint64_t number)
{
    _Atomic uint32_t *ver = &l1_bucket_at(s, number)->ver;
    unsigned spins = 0;
    for (;;) {
        uint32_t v = base_load_rlx(ver);
        if ((v & 1u) != 0 && BASE_UNLIKELY(c->forked)) {
            l1_mend(c, s, l1_bucket_at(s, number), number, v);
            continue;
        }
        if ((v & 1u) == 0 && base_cas_sc(ver, v, v + 1)) {
            base_fence_rel();
            SYNC_PUSH(SYNC_RANK_L1_BUCKET, l1_bucket_at(s, number), false);
            return v;
        }
        l1_backoff(&spins);
    }
}

static void l1_split(l1 *c, l1_stripe *s)
{
    const uint64_t ls = base_load_rlx(&s->ls);
    const unsigned level = (unsigned)(ls >> 32) & 255u;
    const uint32_t target = (uint32_t)ls, source = target - (1u << level);
    BASE_ASSERT(target == s->bucket_count);
    if (target >= c->bucket_limit || !l1_buckets_reach(c, s, target + 1)) { return; }
    l1_bucket *to = l1_bucket_at(s, target);
    base_store_rlx(&to->freq, 0u); /* touch its page before the window begins */

    l1_note notes[L1_CHAIN_SLOTS], live[L1_CHAIN_SLOTS];
    unsigned ovf, to_count = 0, spare_count = 0;
    unsigned count = l1_note_chain(c, s, source, notes, &ovf);
    for (unsigned i = 0; i < count; i++) { to_count += (unsigned)(notes[i].hash >> level) & 1u; }
    uint16_t spare[L1_CHAIN_MAX + 1];
    /* Within one group the overflow buckets of the source always suffice for both halves. */
    if (source >> L1_GROUP_SHIFT != target >> L1_GROUP_SHIFT) {
        spare_count = l1_ovf_need(to_count);
        if (!l1_spare_take(c, s, target, spare_count, spare)) { return; }
    }

    uint32_t v = l1_lock_number(c, s, source);
    const uint32_t made = BASE_MUTANT("l1.version_restarts") ? 0u : s->ver_base;
    base_store_sc(&to->ver, made + 1);
    base_fence_rel();
    unsigned n = BASE_MUTANT("l1.split_places_noted")
                     ? (l1_strip_chain(c, s, source, notes, count, live),
                        memcpy(live, notes, sizeof live), count)
                     : l1_strip_chain(c, s, source, notes, count, live);
    for (unsigned i = 0; i < L1_SLOTS; i++) { base_store_rlx(&to->tag[i], (uint16_t)0); }
    base_store_rlx(&to->freq, 0u);
    base_store_rlx(&to->ovf, (uint16_t)0);
    BASE_POINT("l1.split.cleared");
    unsigned none = 0;
    for (unsigned i = 0; i < n; i++) {
        bool upper = ((live[i].hash >> level) & 1u) != 0;
        l1_place(s, upper ? target : source, &live[i], spare, upper ? &spare_count : &none);
    }
    const uint64_t next = source + 1 == 1u << level ? l1_ls((ls >> 40) + 1, level + 1, 0)
                                                    : l1_ls((ls >> 40) + 1, level, source + 1);
    if (!BASE_MUTANT("l1.ls_outside_window")) { base_store_rel(&s->ls, next); }
    BASE_POINT("l1.split.published");
    base_store_rel(&to->ver, l1_ver_after(made));
    SYNC_POP(SYNC_RANK_L1_BUCKET, l1_bucket_at(s, source));
    base_store_rel(&l1_bucket_at(s, source)->ver, l1_ver_after(v));
    if (BASE_MUTANT("l1.ls_outside_window")) {
        BASE_POINT("l1.split.late");
        base_store_rel(&s->ls, next);
    }
    while (spare_count > 0) { l1_ovf_give(s, target, spare[--spare_count]); }
    s->bucket_count++;
    s->splits++;
}

static uint64_t l1_stripe_count(const l1_stripe *s)
{
    return L1_LIVE_COUNT(base_load_rlx(&s->queue[0].live)) +
           L1_LIVE_COUNT(base_load_rlx(&s->queue[1].live));
}

CELLAR_PRIVATE void l1_split_if_due(l1 *c, l1_stripe *s)
{
    if (BASE_LIKELY(l1_stripe_count(s) * 100 <=
                    (uint64_t)s->bucket_count * L1_SLOTS * L1_LOAD_PCT)) {
        return;
    }
    l1_split(c, s);
}

CELLAR_PRIVATE bool l1_contract_due(const l1_stripe *s, unsigned pct)
{
    return s->bucket_count > 1u << L1_LEVEL_MIN &&
           l1_stripe_count(s) * 100 < (uint64_t)s->bucket_count * L1_SLOTS * pct;
}

CELLAR_PRIVATE bool l1_contract_one(l1 *c, l1_stripe *s, unsigned pct)
{
    if (!l1_contract_due(s, pct)) { return false; }
    const uint64_t ls = base_load_rlx(&s->ls);
    unsigned level = (unsigned)(ls >> 32) & 255u;
    uint32_t split = (uint32_t)ls - (1u << level);
    if (split == 0) {
        BASE_ASSERT(level > L1_LEVEL_MIN); /* else the stripe has its minimum */
        level--;
        split = 1u << level;
    }
    const uint32_t target = split - 1, source = target + (1u << level);
    BASE_ASSERT(source == s->bucket_count - 1);

    l1_note notes[2][L1_CHAIN_SLOTS], live[2 * L1_CHAIN_SLOTS];
    unsigned ovf[2], n[2];
    n[0] = l1_note_chain(c, s, target, notes[0], &ovf[0]);
    n[1] = l1_note_chain(c, s, source, notes[1], &ovf[1]);
    unsigned need = l1_ovf_need(n[0] + n[1]);
    if (need > L1_CHAIN_MAX) { return false; }
    uint16_t spare[L1_CHAIN_MAX + 1];
    unsigned spare_count = need > ovf[0] ? need - ovf[0] : 0;
    if (!l1_spare_take(c, s, target, spare_count, spare)) { return false; }

    uint32_t vt = l1_lock_number(c, s, target), vs = l1_lock_number(c, s, source);
    unsigned total = l1_strip_chain(c, s, target, notes[0], n[0], live);
    total += l1_strip_chain(c, s, source, notes[1], n[1], live + total);
    for (unsigned i = 0; i < total; i++) { l1_place(s, target, &live[i], spare, &spare_count); }
    base_store_rel(&s->ls, l1_ls((ls >> 40) + 1, level, split - 1));
    BASE_POINT("l1.split.published");
    SYNC_POP(SYNC_RANK_L1_BUCKET, l1_bucket_at(s, source)); /* stays odd: no bucket any more */
    SYNC_POP(SYNC_RANK_L1_BUCKET, l1_bucket_at(s, target));
    base_store_rel(&l1_bucket_at(s, target)->ver, l1_ver_after(vt));
    s->ver_base = BASE_MAX(s->ver_base, l1_ver_after(vs));
    while (spare_count > 0) { l1_ovf_give(s, target, spare[--spare_count]); }
    s->bucket_count--;
    s->merges++;

    uint64_t keep = base_round_up((uint64_t)s->bucket_count * sizeof(l1_bucket), BASE_PAGE);
    if (keep < s->charged_bytes) {
        for (uint64_t at = keep; at < s->charged_bytes; at += BASE_PAGE) {
            base_region_discard(&c->index_region, l1_index_page(c, s, at), BASE_PAGE);
        }
        sync_take(L1_SEG, &c->seg_lock);
        c->index_collapsed = BASE_MIN(c->index_collapsed, l1_huge_of(c, l1_index_page(c, s, keep)));
        sync_drop(L1_SEG, &c->seg_lock);
        base_uncharge(c->account, BASE_MOD_INDEX, s->charged_bytes - keep);
        s->charged_bytes = keep;
    }
    return true;
}

/* ---- huge pages ---- */

/* Return whether all stripes use their part of the next huge page, and since when the index rests.
 * Unused pages are not charged, and a huge page would back them. */
static bool l1_index_full(l1 *c, uint64_t *from, int64_t *due_ms)
{
    const uint64_t size = base_load_acq(&c->index_writable);
    const int64_t now = base_coarse_ms(c->clock);
    sync_take(L1_SEG, &c->seg_lock);
    const bool off = c->collapse_off;
    if (size != c->index_seen) {
        c->index_seen = size;
        c->index_grew_ms = now;
    }
    *due_ms = base_add_sat(c->index_grew_ms, L1_INDEX_REST_MS);
    *from = c->index_collapsed;
    sync_drop(L1_SEG, &c->seg_lock);
    if (off) { return false; }
    const uint64_t rows = (*from + BASE_HUGE) / c->stripe_count + BASE_PAGE;
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        l1_stripe *s = &c->stripe[i];
        sync_take(L1_STRIPE, &s->lock);
        const bool full = s->charged_bytes >= rows;
        sync_drop(L1_STRIPE, &s->lock);
        if (!full) { return false; }
    }
    return true;
}

CELLAR_PRIVATE int64_t l1_index_collapse_due_ms(l1 *c)
{
    uint64_t from;
    int64_t due;
    return l1_index_full(c, &from, &due) ? due : BASE_NEVER_MS;
}

/* Make one more huge page of the index. Note it first: a stripe that gives pages back meanwhile
 * lowers the note again. */
CELLAR_PRIVATE bool l1_index_collapse(l1 *c)
{
    uint64_t from;
    int64_t due;
    if (!l1_index_full(c, &from, &due) || due > base_coarse_ms(c->clock)) { return false; }
    sync_take(L1_SEG, &c->seg_lock);
    if (c->index_collapsed == from) { c->index_collapsed = from + BASE_HUGE; }
    sync_drop(L1_SEG, &c->seg_lock);
    bool never;
    (void)base_region_collapse(&c->index_region, (size_t)from, &never);
    if (never) {
        sync_take(L1_SEG, &c->seg_lock);
        c->collapse_off = true;
        sync_drop(L1_SEG, &c->seg_lock);
    }
    return true;
}

/* ---- scan ------------------------------------------------------------------------------------ */
typedef enum l1_scan_what { L1_SCAN_KEYS, L1_SCAN_VALUES, L1_SCAN_STORED } l1_scan_what;

typedef struct l1_scan_buf {
    unsigned char *bytes;
    size_t cap, used;
    unsigned count;
} l1_scan_buf;

typedef struct l1_scan_item { /* in the buffer; key and value follow, padded to 8 */
    l1_info info;
    uint32_t key_len, value_len;
    bool has_value;
} l1_scan_item;

/* Append the live entries of one chain that belong to `generation`. Return false when the buffer is
 * too small (*need is set). Bytes may be torn; the caller validates. apart: NULL when the bucket is
 * locked. Else a key in a block sets *apart; only a holder of the lock may read that key. */
static bool l1_scan_copy(l1 *c, const l1_stripe *s, uint64_t number, uint32_t generation,
                         l1_scan_what what, l1_scan_buf *out, size_t *need, bool *apart)
{
    unsigned hops = 0;
    for (const l1_bucket *b = l1_bucket_at(s, number);; hops++) {
        for (unsigned i = 0; i < L1_SLOTS; i++) {
            l1_rec r;
            uint64_t pos = l1_pos(c, base_load_rlx(&b->off[i]));
            if (base_load_rlx(&b->tag[i]) == 0 || !l1_decode(c, pos, &r) ||
                r.generation != generation) {
                continue;
            }
            if (r.mask != 0 && what != L1_SCAN_STORED &&
                l1_judge(c, pos, &r, 0) == CELLAR_MISS) {
                continue;
            }
            if ((r.mask & L1_X_APART) != 0 && apart != NULL) {
                *apart = true;
                return true;
            }
            bool value = what == L1_SCAN_VALUES && (r.w0 & L1_W0_BIG) == 0;
            size_t bytes =
                (size_t)base_round_up(sizeof(l1_scan_item) + r.klen + (value ? r.vlen : 0u), 8);
            if (out->cap - out->used < bytes) {
                *need = out->used + bytes;
                return false;
            }
            l1_scan_item *item = (l1_scan_item *)(void *)(out->bytes + out->used);
            l1_info_of(c, pos, &r, &item->info);
            item->info.uses = (uint8_t)l1_freq(b, i);
            item->key_len = r.klen;
            item->value_len = r.vlen;
            item->has_value = value;
            unsigned char *to = (unsigned char *)(item + 1);
            base_seq_load(to, l1_key_at(c, pos, &r), r.klen);
            if (value) { base_seq_load(to + r.klen, l1_at(c, pos) + r.value_off, r.vlen); }
            out->used += bytes;
            out->count++;
        }
        uint16_t next = base_load_rlx(&b->ovf);
        if (next == 0 || hops == L1_CHAIN_MAX) { return true; }
        b = l1_next(s, number, next);
    }
}

/* Copy both chains with an address that ends in the low bits `low`, under validation. After some
 * failed rounds copy them under the bucket locks, so that a busy bucket cannot starve the scan.
 * Unchecked: only those rounds hold the stripe lock. */
static bool l1_scan_step(l1 *c, l1_stripe *s, uint32_t low, uint32_t generation, l1_scan_what what,
                         l1_scan_buf *out, size_t *need, unsigned *level) SYNC_UNCHECKED;
static bool l1_scan_step(l1 *c, l1_stripe *s, uint32_t low, uint32_t generation, l1_scan_what what,
                         l1_scan_buf *out, size_t *need, unsigned *level)
{
    bool apart = false;
    for (unsigned round = 0;; round++) {
        const bool locked = round >= L1_RETRIES || c->forked || apart;
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
            v[i] = locked ? l1_lock_number(c, s, number[i]) : base_load_acq(ver);
            even = even && (v[i] & 1u) == 0 && v[i] != 0;
        }
        for (unsigned i = 0; i < n && even && fits; i++) {
            fits =
                l1_scan_copy(c, s, number[i], generation, what, out, need, locked ? NULL : &apart);
        }
        base_fence_acq();
        for (unsigned i = n; i-- > 0;) {
            if (locked) {
                SYNC_POP(SYNC_RANK_L1_BUCKET, l1_bucket_at(s, number[i]));
                base_store_rel(&l1_bucket_at(s, number[i])->ver, l1_ver_after(v[i]));
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
        const l1_scan_item *item = (const l1_scan_item *)(const void *)(buf->bytes + at);
        const unsigned char *key = (const unsigned char *)(item + 1);
        const size_t value_len = item->has_value ? item->value_len : 0u;
        at += (size_t)base_round_up(sizeof *item + item->key_len + value_len, 8);
        if (what != L1_SCAN_STORED && base_clock_reached(c->clock, item->info.expires_ms)) {
            continue;
        }
        l1_seen seen = {.key = key, .key_len = item->key_len, .info = item->info,
                        .value = item->has_value ? key + item->key_len : NULL,
                        .value_len = item->info.value_len};
        go_on = fn(ctx, &seen);
    }
    return go_on;
}

static cellar_err l1_scan_what_is(l1 *c, uint64_t *cursor, size_t buckets, uint32_t generation,
                                  l1_scan_what what, bool (*fn)(void *ctx, const l1_seen *e),
                                  void *ctx)
{
    uint32_t stripe = (uint32_t)(*cursor >> 32), low = (uint32_t)*cursor;
    l1_scan_buf buf = {.cap = (size_t)16 << 10};
    buf.bytes = base_alloc_raw(&c->account->hooks, buf.cap);
    if (buf.bytes == NULL) { return CELLAR_E_NOMEM; }
    cellar_err err = CELLAR_OK;
    bool go_on = true;
    while (go_on && buckets > 0 && stripe < c->stripe_count) {
        size_t need = 0;
        unsigned level;
        if (!l1_scan_step(c, &c->stripe[stripe], low, generation, what, &buf, &need, &level)) {
            base_free_raw(&c->account->hooks, buf.bytes, buf.cap);
            buf.cap = (size_t)base_pow2_ceil(need + 1);
            buf.bytes = base_alloc_raw(&c->account->hooks, buf.cap);
            if (buf.bytes == NULL) { return CELLAR_E_NOMEM; }
            continue;
        }
        uint32_t mask = (1u << level) - 1;
        low = l1_reverse(l1_reverse(low | ~mask) + 1);
        if (low == 0) { stripe++; }
        buckets--;
        go_on = l1_scan_tell(c, &buf, what, fn, ctx);
    }
    *cursor = stripe >= c->stripe_count ? 0 : (uint64_t)stripe << 32 | low;
    base_free_raw(&c->account->hooks, buf.bytes, buf.cap);
    return err;
}

CELLAR_PRIVATE cellar_err l1_scan(l1 *c, uint64_t *cursor, size_t buckets, uint32_t generation,
                                  bool want_values, bool (*fn)(void *ctx, const l1_seen *e),
                                  void *ctx)
{
    return l1_scan_what_is(c, cursor, buckets, generation,
                           want_values ? L1_SCAN_VALUES : L1_SCAN_KEYS, fn, ctx);
}

CELLAR_PRIVATE cellar_err l1_scan_stored(l1 *c, uint64_t *cursor, size_t buckets,
                                         uint32_t generation,
                                         bool (*fn)(void *ctx, const l1_seen *e), void *ctx)
{
    return l1_scan_what_is(c, cursor, buckets, generation, L1_SCAN_STORED, fn, ctx);
}
