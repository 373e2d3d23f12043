/* SPDX-License-Identifier: MIT
 *
 * large_alloc: allocate runs of units for blocks; each page is charged while one of its units is
 * in use.
 *
 * PICTURE    map   |##|..|####|.|###|......   1 bit per unit: 128 or 512 B below 64 MiB, else 2 KiB
 *            tree  over groups of 4,096 units: free units at the start, longest run, at the end
 *                        [0..5]              take: left if its longest run suffices, else across
 *                   [0..3]    [4..5]         the middle, else right; then the 64 words of a group
 * INVARIANTS Charge of BIG == 4096 x pages with a bit set.
 *            The tree agrees with the map whenever the lock is free.
 *            A take uses the first run that is long enough, so that used units stay together at the
 *            bottom of the region.
 * LOCKING    L1_PAGES, never inside a bucket window. Pages are discarded without the lock: a give
 *            first claims the other free units of these pages, so that no take uses them.
 * LIMITS     A take looks at 64 words and two nodes per level, for a region of any size.
 * SEE ALSO   README.md: rejected allocators. */
#include <string.h>

#include "l1/large.h"

BASE_SIZE_BEGIN

#define L1_RUNS_STEP ((uint64_t)2 << 20)
#define L1_LEAF_WORDS 64u
#define L1_LEAF_UNITS (L1_LEAF_WORDS * 64u)

static uint32_t l1_unit_shift(uint64_t budget)
{
    if (budget < (uint64_t)64 << 20) { return l1_is_small(budget) ? 7 : 9; }
    return budget <= (uint64_t)64 << 30 ? 11 : base_log2_floor(BASE_PAGE);
}

/* ---- the tree -------------------------------------------------------------------------------- */
static l1_span l1_span_join(l1_span a, l1_span b, uint32_t each)
{
    return (l1_span){.first = a.first == each ? each + b.first : a.first,
                     .last = b.last == each ? each + a.last : b.last,
                     .best = BASE_MAX(BASE_MAX(a.best, b.best), a.last + b.first)};
}

/* Return how many units from `at` on, up to the end of its word, are all used or all free. */
static uint32_t l1_units_alike(const uint64_t *map, uint64_t at, bool used)
{
    const uint64_t others = (used ? ~map[at / 64] : map[at / 64]) >> (at % 64);
    return others != 0 ? (uint32_t)__builtin_ctzll(others) : (uint32_t)(64 - at % 64);
}

static l1_span l1_leaf_look(const uint64_t *word)
{
    l1_span s = {0, 0, 0};
    for (uint32_t at = 0; at < L1_LEAF_UNITS;) {
        const uint32_t free = l1_units_alike(word, at, false);
        s.last += free;
        s.best = BASE_MAX(s.best, s.last);
        if (s.last == at + free) { s.first = s.last; } /* no used unit before */
        at += free;
        if (free != 0 && at % 64 == 0) { continue; } /* the next word may go on with it */
        s.last = 0;
        at += l1_units_alike(word, at, true);
    }
    return s;
}

static void l1_tree_update(l1_pages *p, uint64_t from, uint64_t n)
{
    uint32_t lo = (uint32_t)(from / L1_LEAF_UNITS), hi = (uint32_t)((from + n - 1) / L1_LEAF_UNITS);
    for (uint32_t i = lo; i <= hi; i++) {
        p->tree[p->leaves + i] = l1_leaf_look(p->map + (size_t)i * L1_LEAF_WORDS);
    }
    lo += p->leaves;
    hi += p->leaves;
    for (uint32_t each = L1_LEAF_UNITS; lo > 1; each *= 2) {
        lo /= 2;
        hi /= 2;
        for (uint32_t i = lo; i <= hi; i++) {
            p->tree[i] = l1_span_join(p->tree[2 * i], p->tree[2 * i + 1], each);
        }
    }
}

/* Return the first free run of n units in a group that has one. */
static uint64_t l1_leaf_find(l1_pages *p, uint64_t from, uint64_t n)
{
    uint64_t run = 0;
    for (uint64_t at = from;;) {
        BASE_REQUIRE(at < from + L1_LEAF_UNITS);
        if (BASE_DEBUG && at % 64 == 0) { p->looked++; }
        const uint32_t free = l1_units_alike(p->map, at, false);
        run += free;
        at += free;
        if (run >= n) { return at - run; }
        if (free != 0 && at % 64 == 0) { continue; } /* the next word may go on with it */
        run = 0;
        at += l1_units_alike(p->map, at, true);
    }
}

/* Return the first free run of n units; UINT64_MAX: none. */
static uint64_t l1_run_find(l1_pages *p, uint64_t n)
{
    if (p->tree[1].best < n) { return UINT64_MAX; }
    uint32_t node = 1, each = p->leaves * L1_LEAF_UNITS;
    uint64_t from = 0;
    if (BASE_DEBUG) { p->looked = 1; }
    while (node < p->leaves) {
        if (BASE_DEBUG) { p->looked += 2; }
        const l1_span *a = &p->tree[2 * node], *b = a + 1;
        each /= 2;
        if (a->best >= n) {
            node = 2 * node;
        } else if (a->last + b->first >= n) {
            return from + each - a->last;
        } else {
            node = 2 * node + 1;
            from += each;
        }
    }
    return l1_leaf_find(p, from, n);
}

/* ---- the map --------------------------------------------------------------------------------- */
static void l1_run_mark(l1_pages *p, uint64_t from, uint64_t n, bool used)
{
    for (uint64_t at = from; at < from + n;) {
        const uint64_t count = BASE_MIN(64 - at % 64, from + n - at);
        const uint64_t mask = (count == 64 ? UINT64_MAX : ((uint64_t)1 << count) - 1) << (at % 64);
        p->map[at / 64] = used ? p->map[at / 64] | mask : p->map[at / 64] & ~mask;
        at += count;
    }
}

/* Return the used units of one page as bits. */
static uint64_t l1_page_units(const l1_pages *p, uint64_t page)
{
    const uint64_t from = page * p->page_units;
    return p->map[from / 64] >> (from % 64) & (((uint64_t)1 << p->page_units) - 1);
}

CELLAR_PRIVATE uint64_t l1_run_bytes(const l1 *c, uint64_t bytes)
{
    return base_round_up(bytes, (uint64_t)1 << c->pages.unit_shift);
}

/* Make the region writable up to `end` bytes. */
static bool l1_pages_reach(l1_pages *p, uint64_t end)
{
    if (end <= p->writable_bytes) { return true; }
    end = BASE_MIN(base_round_up(end, L1_RUNS_STEP), (uint64_t)p->region.reserved_bytes);
    const size_t more = (size_t)(end - p->writable_bytes);
    if (!base_region_commit(&p->region, (size_t)p->writable_bytes, more)) { return false; }
    p->writable_bytes = end;
    return true;
}

CELLAR_PRIVATE l1_run l1_run_take(l1 *c, uint64_t bytes, l1_big **out, uint64_t *need)
{
    l1_pages *p = &c->pages;
    const uint64_t n = bytes >> p->unit_shift;
    l1_run got = L1_RUN_NONE;
    sync_take(L1_PAGES, &p->lock);
    const uint64_t at = l1_run_find(p, n);
    if (at != UINT64_MAX) {
        const uint64_t first = at / p->page_units, last = (at + n - 1) / p->page_units;
        const uint64_t end = (last + 1) * BASE_PAGE;
        uint64_t fresh = last - first + 1;
        if (l1_page_units(p, first) != 0) { fresh--; }
        if (last != first && l1_page_units(p, last) != 0) { fresh--; }
        *need = fresh * BASE_PAGE;
        if (!base_charge(c->account, BASE_MOD_BIG, *need)) {
            got = L1_RUN_CHARGE;
        } else if (!l1_pages_reach(p, end)) {
            base_uncharge(c->account, BASE_MOD_BIG, *need);
        } else {
            got = L1_RUN_OK;
            l1_run_mark(p, at, n, true);
            l1_tree_update(p, at, n);
            p->page_count += fresh;
            l1_big *b = (l1_big *)(void *)(p->region.base + (at << p->unit_shift));
            *b = (l1_big){.bytes = (uint32_t)bytes};
            l1_big_to(c, b, L1_IN_HAND);
            *out = b;
        }
    }
    sync_drop(L1_PAGES, &p->lock);
    return got;
}

/* Free the units [at, at + n). Claim the pages that are now wholly free, and return them. */
static l1_giving l1_units_free(l1_pages *p, uint64_t at, uint64_t n)
{
    const uint64_t per = p->page_units, first = at / per, end = (at + n - 1) / per + 1;
    l1_giving g = {first, end};
    l1_run_mark(p, at, n, false);
    if (l1_page_units(p, g.from) != 0) { g.from++; }
    if (g.from < g.to && l1_page_units(p, g.to - 1) != 0) { g.to--; }
    if (g.from < g.to) {
        l1_run_mark(p, g.from * per, (g.to - g.from) * per, true);
        p->giving++;
    }
    l1_tree_update(p, first * per, (end - first) * per);
    return g;
}

/* Overwrite what a give leaves of the bytes [from, to) of the region: parts of pages. */
static void l1_ends_wipe(const l1_pages *p, uint64_t from, uint64_t to)
{
    const uint64_t first = BASE_MIN(base_round_up(from, BASE_PAGE), to);
    const uint64_t last = BASE_MAX(to & ~(uint64_t)(BASE_PAGE - 1), first);
    base_wipe(p->region.base + from, (size_t)(first - from));
    base_wipe(p->region.base + last, (size_t)(to - last));
}

/* Free the bytes [keep, had) of a block and drop the lock. Give the claimed pages back to the
 * kernel without it. */
static SYNC_DROPS(L1_PAGES) void l1_run_shorten(l1 *c, const l1_big *b, uint64_t had, uint64_t keep)
{
    l1_pages *p = &c->pages;
    const uint64_t at = (uint64_t)((const unsigned char *)b - p->region.base) + keep;
    l1_giving g = {0, 0};
    BASE_ASSERT(keep <= had);
    if (base_load_rlx(&c->wipes) != 0) { l1_ends_wipe(p, at, at + had - keep); }
    if (keep < had) { g = l1_units_free(p, at >> p->unit_shift, (had - keep) >> p->unit_shift); }
    sync_drop(L1_PAGES, &p->lock);
    if (g.from >= g.to) { return; }
    const uint64_t pages = g.to - g.from, units = pages * p->page_units;
    BASE_POINT("l1.big.giving");
    base_region_discard(&p->region, (size_t)(g.from * BASE_PAGE), (size_t)(pages * BASE_PAGE));
    sync_take(L1_PAGES, &p->lock);
    l1_run_mark(p, g.from * p->page_units, units, false);
    l1_tree_update(p, g.from * p->page_units, units);
    p->giving--;
    p->page_count -= pages;
    base_uncharge(c->account, BASE_MOD_BIG, pages * BASE_PAGE);
    sync_drop(L1_PAGES, &p->lock);
}

CELLAR_PRIVATE void l1_run_give(l1 *c, l1_big *b)
{
    sync_take(L1_PAGES, &c->pages.lock);
    l1_big_to(c, b, L1_NOWHERE);
    l1_run_shorten(c, b, b->bytes, 0);
}

CELLAR_PRIVATE void l1_run_reuse(l1 *c, l1_big *b, uint64_t bytes)
{
    sync_take(L1_PAGES, &c->pages.lock);
    const uint64_t had = b->bytes;
    l1_big_to(c, b, L1_NOWHERE);
    *b = (l1_big){.bytes = (uint32_t)bytes};
    l1_big_to(c, b, L1_IN_HAND);
    l1_run_shorten(c, b, had, bytes);
}

/* ---- opening --------------------------------------------------------------------------------- */
CELLAR_PRIVATE bool l1_runs_reserve(l1 *c, uint64_t budget, uint64_t factor)
{
    const uint64_t want =
        base_round_up(BASE_MIN(budget * factor, l1_reserve_most(budget)), BASE_PAGE * 64);
    return base_region_reserve(&c->pages.region, (size_t)want, (size_t)want);
}

CELLAR_PRIVATE bool l1_runs_open(l1 *c, uint64_t budget)
{
    l1_pages *p = &c->pages;
    p->unit_shift = l1_unit_shift(budget);
    p->page_units = (uint32_t)BASE_PAGE >> p->unit_shift;
    const uint64_t units = BASE_MIN((uint64_t)p->region.reserved_bytes / BASE_PAGE * p->page_units,
                                    (uint64_t)1 << 31);
    const uint64_t all = base_round_up(units, L1_LEAF_UNITS);
    /* Leaves past the end of the map stay 0: nothing free. */
    p->leaves = (uint32_t)base_pow2_ceil(all / L1_LEAF_UNITS);
    p->map_bytes = (size_t)(all / 8);
    p->tree_bytes = (size_t)p->leaves * 2 * sizeof(l1_span);
    p->map = base_alloc(c->account, BASE_MOD_STORE, p->map_bytes, NULL);
    p->tree = base_alloc(c->account, BASE_MOD_STORE, p->tree_bytes, NULL);
    if (p->map == NULL || p->tree == NULL) { return false; }
    if (all != units) { l1_run_mark(p, units, all - units, true); } /* past the region's end */
    l1_tree_update(p, 0, all);
    return true;
}

CELLAR_PRIVATE void l1_runs_close(l1 *c)
{
    l1_pages *p = &c->pages;
    base_uncharge(c->account, BASE_MOD_BIG, p->page_count * BASE_PAGE);
    base_free(c->account, BASE_MOD_STORE, p->map, p->map_bytes);
    base_free(c->account, BASE_MOD_STORE, p->tree, p->tree_bytes);
}

CELLAR_PRIVATE const char *l1_runs_audit(l1 *c)
{
    l1_pages *p = &c->pages;
    const char *wrong = NULL;
    uint64_t pages = 0, units = 0;
    sync_take(L1_PAGES, &p->lock);
    for (uint64_t page = 0; page < p->writable_bytes / BASE_PAGE; page++) {
        const uint64_t used = l1_page_units(p, page);
        pages += used != 0;
        units += (uint64_t)__builtin_popcountll(used);
    }
    for (uint32_t i = 0; i < p->map_bytes * 8 / L1_LEAF_UNITS && wrong == NULL; i++) {
        const l1_span s = l1_leaf_look(p->map + (size_t)i * L1_LEAF_WORDS);
        if (memcmp(&s, &p->tree[p->leaves + i], sizeof s) != 0) { wrong = "group runs differ"; }
    }
    const uint64_t blocks = base_load_rlx(&c->big_bytes) + base_load_rlx(&c->retired_bytes);
    if (pages != p->page_count ||
        base_load_rlx(&c->account->by_module[BASE_MOD_BIG]) != pages * BASE_PAGE ||
        (p->giving == 0 && units << p->unit_shift != blocks)) {
        wrong = "block charge differs";
    }
    sync_drop(L1_PAGES, &p->lock);
    return wrong;
}

BASE_SIZE_END
