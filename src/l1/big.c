/* SPDX-License-Identifier: MIT
 *
 * big: oversized values and keys, a run of pages each, charged until they are really freed.
 *
 * PICTURE    the log holds header, key and a 16-byte descriptor {block, length}; of a key too long
 *            for it (APART) its block and hash. The bytes lie in whole pages of a region of their
 *            own, never changed in place. Replaced or evicted (after its hand-over) a block waits
 *            in limbo until no pin slot names it.
 *                block |header|value, if BIG|key, if APART|
 *                pages  |##|..|####|.|###|......   next-fit over a bitmap; freed pages are
 *                discarded
 * INVARIANTS charge of BIG == big_bytes + limbo_bytes == 4096 x bits set; a block is linked, or in
 *            exactly one victim note, or in limbo.
 * LOCKING    limbo under L1_BIG (taken inside bucket windows); the bitmap under L1_PAGES, never in
 *            a window. Pages are discarded before their bits are cleared.
 * LIMITS     an allocation evicts in rounds with no lock between them, and gives up with E_SPACE.
 *            Holes between runs cost address space, not memory: the region is 8 x the budget.
 * TRIED      one block of the host's malloc each: with sizes that change, glibc's per-thread arenas
 *            held 1.9 x what was in use (make bench SUITE=churn, 16-64 KiB values).
 *            One mapping each: as exact, but the kernel allows 65,530 of them a process. */
#include <string.h>

#include "l1/l1_int.h"

#define L1_PAGES_STEP ((uint64_t)2 << 20)

CELLAR_PRIVATE bool l1_bigs_open(l1 *c, uint64_t budget)
{
    l1_pages *p = &c->pages;
    const uint64_t want =
        BASE_MIN(base_round_up(budget * 8, BASE_PAGE * 64), (uint64_t)(SIZE_MAX / 8));
    if (!base_region_reserve(&p->region, (size_t)want, (size_t)BASE_MIN(budget, want))) {
        return false;
    }
    p->page_count = p->region.reserved_bytes / (BASE_PAGE * 64) * 64;
    p->map_bytes = (size_t)(p->page_count / 8);
    p->map = base_alloc(c->account, BASE_MOD_STORE, p->map_bytes, NULL);
    return p->map != NULL;
}

CELLAR_PRIVATE void l1_bigs_close(l1 *c)
{
    base_uncharge(c->account, BASE_MOD_BIG,
                  base_load_rlx(&c->big_bytes) + base_load_rlx(&c->limbo_bytes));
    base_free(c->account, BASE_MOD_STORE, c->pages.map, c->pages.map_bytes);
    base_region_release(&c->pages.region);
}

/* First free run of n pages in [from, to); page_count if there is none. */
static uint64_t l1_run_find(const l1_pages *p, uint64_t from, uint64_t to, uint64_t n)
{
    uint64_t run = 0;
    for (uint64_t at = from; at < to;) {
        const uint64_t word = p->map[at / 64] >> (at % 64);
        const uint64_t left = BASE_MIN(64 - at % 64, to - at);
        uint64_t free = word == 0 ? left : BASE_MIN((uint64_t)__builtin_ctzll(word), left);
        run += free;
        if (run >= n) { return at + free - run; }
        at += free;
        if (free == left) { continue; }
        run = 0;
        const uint64_t used = ~word >> free;
        at += used == 0 ? 64 - at % 64 : BASE_MIN((uint64_t)__builtin_ctzll(used), to - at);
    }
    return p->page_count;
}

static void l1_run_mark(l1_pages *p, uint64_t from, uint64_t n, bool used)
{
    for (uint64_t at = from; at < from + n;) {
        const uint64_t count = BASE_MIN(64 - at % 64, from + n - at);
        const uint64_t mask = (count == 64 ? UINT64_MAX : ((uint64_t)1 << count) - 1) << (at % 64);
        BASE_ASSERT(((p->map[at / 64] & mask) == 0) == used);
        p->map[at / 64] = used ? p->map[at / 64] | mask : p->map[at / 64] & ~mask;
        at += count;
    }
}

/* Already charged. NULL: no run of that length, or the pages cannot be made writable. */
static l1_big *l1_pages_take(l1 *c, uint64_t bytes)
{
    l1_pages *p = &c->pages;
    const uint64_t n = bytes / BASE_PAGE;
    l1_big *b = NULL;
    sync_take(L1_PAGES, &p->lock);
    uint64_t at = l1_run_find(p, p->hint, p->page_count, n);
    if (at == p->page_count) { at = l1_run_find(p, 0, p->page_count, n); }
    const uint64_t end = (at + n) * BASE_PAGE;
    bool ok = at != p->page_count;
    if (ok && end > p->writable_bytes) {
        const uint64_t to = BASE_MIN(base_round_up(end, L1_PAGES_STEP), p->page_count * BASE_PAGE);
        ok = base_region_commit(&p->region, (size_t)p->writable_bytes,
                                (size_t)(to - p->writable_bytes));
        if (ok) { p->writable_bytes = to; }
    }
    if (ok) {
        l1_run_mark(p, at, n, true);
        p->hint = at + n;
        b = (l1_big *)(void *)(p->region.base + at * BASE_PAGE);
    }
    sync_drop(L1_PAGES, &p->lock);
    return b;
}

static void l1_pages_give(l1 *c, l1_big *b)
{
    l1_pages *p = &c->pages;
    const uint64_t bytes = b->bytes;
    const uint64_t at = (uint64_t)((unsigned char *)b - p->region.base);
    base_region_discard(&p->region, (size_t)at, (size_t)bytes);
    sync_take(L1_PAGES, &p->lock);
    l1_run_mark(p, at / BASE_PAGE, bytes / BASE_PAGE, false);
    sync_drop(L1_PAGES, &p->lock);
    base_uncharge(c->account, BASE_MOD_BIG, bytes);
}

CELLAR_PRIVATE cellar_err l1_big_make(l1 *c, const void *value, uint64_t len, const void *key,
                                      uint32_t key_len, l1_big **out)
{
    const uint64_t bytes = base_round_up(L1_BIG_HEADER + len + key_len, BASE_PAGE);
    bool charged = base_charge(c->account, BASE_MOD_BIG, bytes);
    (void)l1_limbo_sweep(c);
    for (unsigned round = 0; round < 16 && !charged; round++) {
        /* Somebody else may take the room between our eviction and our charge: try again. */
        if (!l1_make_room(c, bytes)) { break; }
        charged = base_charge(c->account, BASE_MOD_BIG, bytes);
    }
    if (!charged) { return CELLAR_E_SPACE; }
    l1_big *b = base_fault_alloc("l1.big") ? NULL : l1_pages_take(c, bytes);
    if (b == NULL) {
        base_uncharge(c->account, BASE_MOD_BIG, bytes);
        return CELLAR_E_NOMEM;
    }
    b->next = NULL;
    b->bytes = bytes;
    if (len != 0) { memcpy(l1_big_bytes(b), value, (size_t)len); }
    if (key_len != 0) { memcpy(l1_big_bytes(b) + len, key, key_len); }
    base_add_rlx(&c->big_bytes, bytes);
    base_add_rlx(&c->big_blocks, (uint64_t)1);
    *out = b;
    return CELLAR_OK;
}

CELLAR_PRIVATE l1_look l1_big_look(l1 *c, const l1_bucket *primary, uint32_t ver, uint64_t pos,
                                   const l1_rec *r, const l1_key *k)
{
    const l1_big *block = l1_block_of(c, pos, r);
    const unsigned char *key = l1_key_at(c, pos, r); /* not looked at yet: it may be anywhere */
    base_fence_acq();
    if (base_load_rlx(&primary->ver) != ver) { return L1_LOOK_AGAIN; }
    /* No slot: the reader comes back with the lock after some rounds. */
    _Atomic uint64_t *slot = l1_pin_take(c, (uint64_t)(uintptr_t)block | L1_BIG_BIT, true);
    if (slot == NULL) { return L1_LOOK_AGAIN; }
    BASE_POINT("l1.apart.published");
    l1_look look = L1_LOOK_AGAIN;
    if (base_load_sc(&primary->ver) == ver) {
        look = BASE_MUTANT("l1.apart_by_hash") || memcmp(key, k->bytes, k->len) == 0
                   ? L1_LOOK_FOUND : L1_LOOK_NONE;
    }
    base_store_rel(slot, (uint64_t)0);
    return look;
}

CELLAR_PRIVATE void l1_big_drop(l1 *c, l1_big *b)
{
    base_sub_rlx(&c->big_bytes, b->bytes);
    base_sub_rlx(&c->big_blocks, (uint64_t)1);
    l1_pages_give(c, b);
}

CELLAR_PRIVATE void l1_big_limbo(l1 *c, l1_big *b)
{
    BASE_POINT("l1.big.limbo");
    if (BASE_MUTANT("l1.limbo_freed_early")) {
        l1_big_drop(c, b);
        return;
    }
    base_add_rlx(&c->limbo_bytes, b->bytes);
    base_sub_rlx(&c->big_bytes, b->bytes);
    base_sub_rlx(&c->big_blocks, (uint64_t)1);
    sync_take(L1_BIG, &c->big_lock);
    b->next = c->limbo;
    c->limbo = b;
    sync_drop(L1_BIG, &c->big_lock);
}

CELLAR_PRIVATE uint64_t l1_limbo_sweep(l1 *c)
{
    if (base_load_rlx(&c->limbo_bytes) == 0) { return 0; }
    sync_take(L1_BIG, &c->big_lock);
    l1_big *list = c->limbo, *keep = NULL;
    c->limbo = NULL;
    sync_drop(L1_BIG, &c->big_lock);
    uint64_t freed = 0;
    while (list != NULL) {
        l1_big *next = list->next;
        if (l1_pinned(c, (uint64_t)(uintptr_t)list | L1_BIG_BIT)) {
            list->next = keep;
            keep = list;
        } else {
            freed += list->bytes;
            base_sub_rlx(&c->limbo_bytes, list->bytes);
            l1_pages_give(c, list);
        }
        list = next;
    }
    while (keep != NULL) {
        l1_big *next = keep->next;
        sync_take(L1_BIG, &c->big_lock);
        keep->next = c->limbo;
        c->limbo = keep;
        sync_drop(L1_BIG, &c->big_lock);
        keep = next;
    }
    /* Sets must not go on paying for a shortage that is over. */
    if (freed != 0) { (void)l1_unpark(c, 0); }
    return freed;
}
