/* SPDX-License-Identifier: MIT
 *
 * index_grow: grow and shrink the hash table, one bucket at a time.
 *
 * PICTURE    Pages of 64 primary buckets alternate between the stripes:
 *                |s0 0-63|s1 0-63|..|s0 64-127|s1 64-127|..|   split, charged, given back by page
 *            Stripes grow alike, so one region grows at one end and all before the end is in use.
 *            Ticks turn that part into huge pages where it takes no byte beyond the charge.
 * INVARIANTS The version of a bucket below the current ls is never 0. A merged bucket stays odd
 *            until its page is given back (reads 0) or a split makes it again. ver_base is above
 *            every version of a merged bucket.
 * LOCKING    Only here a thread locks two buckets: source before target (ascending), under the
 *            stripe lock.
 *            Split: bring the records of the chain near without the bucket lock -> lock both ->
 *            hash the keys -> place -> publish ls inside the windows -> unlock. A merge is the
 *            mirror image. README.md has the proof for readers.
 * SEE ALSO   README.md: proof, rejected loads and layouts. Litwin 1980, linear hashing. */

#include "l1/index.h"
#include "l1/record.h"

#define L1_LEVEL_MIN 4u
#define L1_MERGES 64u /* per hold of the lock of a stripe */
#define L1_CHAIN_SLOTS (L1_SLOTS + L1_HALF * L1_CHAIN_MAX)
#define L1_LOAD_PCT 62u      /* split above this share of the primary slots; */
#define L1_LOAD_MOST_PCT 68u /* above this one while overflow memory lies idle */
/* Milliseconds without growth before the index gets a huge page. Every set looks at some bucket. A
 * thread that touches what the kernel just moved waits for milliseconds. */
#define L1_INDEX_REST_MS 2000

BASE_SIZE_BEGIN

static uint64_t l1_ls(uint64_t changes, unsigned level, uint32_t split)
{
    return changes << 40 | (uint64_t)level << 32 | ((1u << level) + split);
}

/* ---- memory ---------------------------------------------------------------------------------- */
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

/* Return the primary slots of a store with stripes that are all like this one: the hash spreads
 * keys evenly, so no stripe counts its own. */
static uint64_t l1_slots_like(const l1 *c, const l1_stripe *s)
{
    return (uint64_t)(uint32_t)base_load_rlx(&s->ls) * L1_SLOTS * c->stripe_count;
}

static void l1_room_set(const l1 *c, l1_stripe *s, uint64_t least)
{
    base_store_rlx(&s->room, BASE_MAX(l1_slots_like(c, s) * L1_LOAD_PCT / 100, least));
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
        s->overflow = (l1_bucket *)(void *)(c->overflow_region.base + i * c->stripe_stride);
        s->bucket_count = 1u << L1_LEVEL_MIN;
        if (!l1_buckets_reach(c, s, s->bucket_count)) { return false; }
        for (uint32_t b = 0; b < s->bucket_count; b++) {
            base_store_rlx(&l1_bucket_at(s, b)->ver, 2u);
        }
        base_store_rel(&s->ls, l1_ls(0, L1_LEVEL_MIN, 0));
        l1_room_set(c, s, 0);
    }
    return true;
}

BASE_SIZE_END

/* ---- growth and contraction ------------------------------------------------------------------ */
typedef struct l1_note { /* a slot of a chain that is taken apart */
    uint64_t hash;
    uint32_t off;
    uint16_t tag;
    uint8_t freq;
} l1_note;

/* Prefetch the records of a primary bucket before it is locked, of its empty slots, too. Return the
 * halves of its chain. */
static unsigned l1_chain_near(l1 *c, const l1_stripe *s, uint64_t number)
{
    unsigned halves = 0;
    l1_part p = l1_whole(l1_bucket_at(s, number));
    for (unsigned i = 0; i < L1_SLOTS; i++) {
        BASE_PREFETCH(l1_at(c, l1_pos(c, base_load_rlx(&p.b->off[i]))));
    }
    while ((p = l1_chain_next(s, number, p)).b != NULL) { halves++; }
    return halves;
}

static unsigned l1_chain_count(const l1_stripe *s, uint64_t number)
{
    unsigned n = 0;
    for (l1_part p = l1_whole(l1_bucket_at(s, number)); p.b != NULL;
         p = l1_chain_next(s, number, p)) {
        n += (unsigned)__builtin_popcount(l1_part_used(p));
    }
    return n;
}

/* Take a locked chain apart and give back its halves. Write its slots to `out`, with the hashes of
 * their keys: nothing moves a linked record while its bucket is locked. */
static unsigned l1_strip_chain(l1 *c, l1_stripe *s, uint64_t number, l1_note *out)
{
    unsigned n = 0;
    l1_part p = l1_whole(l1_bucket_at(s, number));
    for (uint16_t half = 0;;) {
        for (uint32_t m = l1_part_used(p); m != 0; m &= m - 1) {
            const unsigned i = (unsigned)__builtin_ctz(m);
            l1_rec r;
            out[n] = (l1_note){ .off = base_load_rlx(&p.b->off[i]),
                                .tag = base_load_rlx(&p.b->tag[i]),
                                .freq = (uint8_t)l1_freq(p.b, i) };
            base_store_rlx(&p.b->tag[i], (uint16_t)0);
            const uint64_t pos = l1_pos(c, out[n].off);
            const bool ok = l1_decode(c, pos, &r);
            BASE_REQUIRE(ok);
            out[n++].hash = l1_hash_of(c, pos, &r);
        }
        const uint16_t next = base_load_rlx(l1_part_ovf(p));
        base_store_rlx(l1_part_ovf(p), (uint16_t)0);
        if (half != 0) { l1_ovf_give(s, number, half); }
        if (next == 0) { return n; }
        half = next;
        p = l1_half(s, number, next);
    }
}

/* Put a slot into a locked chain. `spare` holds halves of its group, taken before. */
static void l1_place(l1_stripe *s, uint64_t number, const l1_note *note, uint16_t *spare,
                     unsigned *spare_count)
{
    l1_part p = l1_whole(l1_bucket_at(s, number));
    uint32_t m = l1_match(p.b, 0);
    for (;; m = l1_half_match(p, 0)) {
        if (m != 0) {
            l1_slot slot = {.b = p.b, .i = (unsigned)__builtin_ctz(m)};
            l1_slot_set(&slot, note->tag, note->off, note->freq);
            return;
        }
        uint16_t n = base_load_rlx(l1_part_ovf(p));
        if (n == 0) {
            n = *spare_count != 0 ? spare[--*spare_count] : l1_ovf_take(s, number);
            BASE_REQUIRE(n != 0); /* counted before the locks were taken */
            base_store_rlx(l1_part_ovf(p), n);
        }
        p = l1_half(s, number, n);
    }
}

/* Return the number of halves that a chain of n entries needs. */
static unsigned l1_ovf_need(unsigned n)
{
    return n <= L1_SLOTS ? 0 : (n - L1_SLOTS + L1_HALF - 1) / L1_HALF;
}

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

static void l1_split(l1 *c, l1_stripe *s)
{
    const uint64_t ls = base_load_rlx(&s->ls);
    const unsigned level = (unsigned)(ls >> 32) & 255u;
    const uint32_t target = (uint32_t)ls, source = target - (1u << level);
    BASE_ASSERT(target == s->bucket_count);
    if (target >= c->bucket_limit || !l1_buckets_reach(c, s, target + 1)) { return; }
    l1_bucket *to = l1_bucket_at(s, target);
    base_store_rlx(&to->freq, 0u); /* touch its page before the window begins */

    l1_note live[L1_CHAIN_SLOTS];
    unsigned spare_count = 0;
    const unsigned halves = l1_chain_near(c, s, source);
    uint16_t spare[L1_CHAIN_MAX + 1];
    /* Within one group the halves of the source always suffice for both chains. */
    if (source >> L1_GROUP_SHIFT != target >> L1_GROUP_SHIFT) {
        spare_count = halves;
        if (!l1_spare_take(c, s, target, spare_count, spare)) { return; }
    }

    uint32_t v = l1_lock_number(s, source);
    const uint32_t made = s->ver_base;
    base_store_sc(&to->ver, made + 1);
    base_fence_rel();
    unsigned n = l1_strip_chain(c, s, source, live);
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
    base_store_rel(&s->ls, next);
    BASE_POINT("l1.split.published");
    base_store_rel(&to->ver, l1_ver_after(made));
    l1_unlock_at(l1_bucket_at(s, source), v);
    while (spare_count > 0) { l1_ovf_give(s, target, spare[--spare_count]); }
    s->bucket_count++;
    s->splits++;
}

CELLAR_PRIVATE void l1_split_due(l1 *c, l1_stripe *s)
{
    if (!sync_try(L1_STRIPE, &s->lock)) { return; } /* a later set splits */
    const uint64_t entries = base_load_rlx(&c->entries), load = entries * 100;
    const uint64_t slots = l1_slots_like(c, s);
    /* The second part of each doubling frees overflow memory that the first part needed. */
    const uint32_t high = base_load_rlx(&s->overflow_high);
    const bool idle = base_load_rlx(&s->overflow_count) < high - high / 8;
    if (s->crowded != 0 || load > slots * (idle ? L1_LOAD_MOST_PCT : L1_LOAD_PCT)) {
        l1_split(c, s);
        s->crowded -= s->crowded != 0;
    }
    if (s->crowded == 0) { l1_room_set(c, s, idle ? entries + slots / 256 : 0); }
    sync_drop(L1_STRIPE, &s->lock);
}

BASE_SIZE_BEGIN

/* Merge the last bucket of a stripe. Return false when it keeps its buckets. */
static SYNC_HOLDS(L1_STRIPE) bool l1_contract_one(l1 *c, l1_stripe *s, unsigned pct)
{
    const uint64_t ls = base_load_rlx(&s->ls);
    if ((uint32_t)ls <= 1u << L1_LEVEL_MIN ||
        base_load_rlx(&c->entries) * 100 >= l1_slots_like(c, s) * pct) {
        return false;
    }
    unsigned level = (unsigned)(ls >> 32) & 255u;
    uint32_t split = (uint32_t)ls - (1u << level);
    if (split == 0) {
        BASE_ASSERT(level > L1_LEVEL_MIN); /* else the stripe has its minimum */
        level--;
        split = 1u << level;
    }
    const uint32_t target = split - 1, source = target + (1u << level);
    BASE_ASSERT(source == s->bucket_count - 1);

    l1_note live[2 * L1_CHAIN_SLOTS];
    const unsigned halves = l1_chain_near(c, s, target);
    (void)l1_chain_near(c, s, source);
    const unsigned count = l1_chain_count(s, target) + l1_chain_count(s, source);
    const unsigned need = l1_ovf_need(count);
    if (need >= L1_CHAIN_LONG) { return false; }
    uint16_t spare[L1_CHAIN_MAX + 1];
    unsigned spare_count = need > halves ? need - halves : 0;
    if (!l1_spare_take(c, s, target, spare_count, spare)) { return false; }

    uint32_t vt = l1_lock_number(s, target), vs = l1_lock_number(s, source);
    if (l1_chain_count(s, target) + l1_chain_count(s, source) > count) { /* sets were faster */
        l1_unlock_at(l1_bucket_at(s, source), vs);
        l1_unlock_at(l1_bucket_at(s, target), vt);
        while (spare_count > 0) { l1_ovf_give(s, target, spare[--spare_count]); }
        return true; /* the caller tries again */
    }
    unsigned total = l1_strip_chain(c, s, target, live);
    total += l1_strip_chain(c, s, source, live + total);
    for (unsigned i = 0; i < total; i++) { l1_place(s, target, &live[i], spare, &spare_count); }
    base_store_rel(&s->ls, l1_ls((ls >> 40) + 1, level, split - 1));
    BASE_POINT("l1.split.published");
    SYNC_POP(SYNC_RANK_L1_BUCKET, l1_bucket_at(s, source)); /* stays odd: no bucket any more */
    l1_unlock_at(l1_bucket_at(s, target), vt);
    s->ver_base = BASE_MAX(s->ver_base, l1_ver_after(vs));
    while (spare_count > 0) { l1_ovf_give(s, target, spare[--spare_count]); }
    s->bucket_count--;
    s->merges++;
    l1_room_set(c, s, 0);

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

CELLAR_PRIVATE void l1_contract(l1 *c, l1_stripe *s, unsigned pct, uint64_t end_ns)
{
    for (bool more = true; more;) {
        sync_take(L1_STRIPE, &s->lock);
        for (unsigned i = 0; i < L1_MERGES && more; i++) { more = l1_contract_one(c, s, pct); }
        if (!more) { l1_overflow_rest(c, s); }
        sync_drop(L1_STRIPE, &s->lock);
        more = more && base_now_ns() < end_ns;
    }
}

/* ---- huge pages ------------------------------------------------------------------------------ */
/* Return when the next huge page may be made: the index rests, and all stripes use their part of
 * that page. Unused pages are not charged, and a huge page would back them. BASE_NEVER_MS: a part
 * is unused. */
static int64_t l1_index_huge_ms(l1 *c, uint64_t *from)
{
    const uint64_t size = base_load_acq(&c->index_writable);
    const int64_t now = base_coarse_ms(c->clock);
    sync_take(L1_SEG, &c->seg_lock);
    const bool off = c->collapse_off;
    if (size != c->index_seen) {
        c->index_seen = size;
        c->index_grew_ms = now;
    }
    const int64_t due_ms = base_add_sat(c->index_grew_ms, L1_INDEX_REST_MS);
    *from = c->index_collapsed;
    sync_drop(L1_SEG, &c->seg_lock);
    const uint64_t rows = (*from + BASE_HUGE) / c->stripe_count + BASE_PAGE;
    bool full = !off;
    for (uint32_t i = 0; i < c->stripe_count && full; i++) {
        l1_stripe *s = &c->stripe[i];
        sync_take(L1_STRIPE, &s->lock);
        full = s->charged_bytes >= rows;
        sync_drop(L1_STRIPE, &s->lock);
    }
    return full ? due_ms : BASE_NEVER_MS;
}

CELLAR_PRIVATE int64_t l1_index_collapse_due_ms(l1 *c)
{
    uint64_t from;
    return l1_index_huge_ms(c, &from);
}

/* Make one more huge page of the index. Note it first: a stripe that gives pages back meanwhile
 * lowers the note again. */
CELLAR_PRIVATE bool l1_index_collapse(l1 *c)
{
    uint64_t from;
    if (l1_index_huge_ms(c, &from) > base_coarse_ms(c->clock)) { return false; }
    sync_take(L1_SEG, &c->seg_lock);
    if (c->index_collapsed == from) { c->index_collapsed = from + BASE_HUGE; }
    sync_drop(L1_SEG, &c->seg_lock);
    bool never;
    (void)base_region_collapse(&c->index_region, (size_t)from, &never);
    sync_take(L1_SEG, &c->seg_lock);
    c->collapse_off = c->collapse_off || never;
    sync_drop(L1_SEG, &c->seg_lock);
    return true;
}

BASE_SIZE_END
