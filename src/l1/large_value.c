/* SPDX-License-Identifier: MIT
 *
 * large_value: store oversized values and keys in blocks, charged to the budget until they are
 * freed.
 *
 * PICTURE    The log holds header, key and a 16-byte descriptor {block, length}. For a key too long
 *            for the log (APART) the record holds block and hash. The bytes lie in a run of units
 *            (large_alloc.c) and never change in place.
 *                block |header|value, if BIG|key, if APART|
 *                made -> HAND -> linked -> HAND (noted by a victim) -> retire list -> SWEPT -> free
 *            A replaced or evicted block waits on the retire list until no pin slot names it. New
 *            blocks enter at the front; blocks found pinned stand behind them.
 * INVARIANTS big_bytes + retired_bytes == units in use. A block is linked or in one of two lists:
 * it
 *            enters a list before its slot is cleared, and leaves it after its slot is set.
 * LOCKING    Lists and sums under L1_BIG, taken inside bucket windows and under L1_PAGES.
 *            Fork: blocks in the hands of lost threads go to the retire list of the child. A lost
 *            delete may hold a block with its slot still set: the odd bucket is emptied first.
 * LIMITS     An allocation evicts in rounds without a lock between them; then E_SPACE. One call
 *            frees retired memory in proportion to its need, and at least 64 of the shortest
 *            blocks. One call looks at 64 pinned blocks, the next call at others. A long block is
 *            freed piece by piece from its end.
 * SEE ALSO   README.md: rejected allocators, measurements. */
#include <string.h>

#include "l1/l1_int.h"

/* ---- lists ----------------------------------------------------------------------------------- */
CELLAR_PRIVATE void l1_bigs_open(l1 *c)
{
    c->retired.last = &c->retired.first;
    c->hand.last = &c->hand.first;
}

static l1_bigs *l1_bigs_of(l1 *c, unsigned where)
{
    return where == L1_RETIRED || where == L1_STUCK ? &c->retired : &c->hand;
}

static void l1_bigs_add(l1 *c, l1_big *b, l1_where where) SYNC_HOLDS(L1_BIG);
static void l1_bigs_add(l1 *c, l1_big *b, l1_where where)
{
    l1_bigs *list = l1_bigs_of(c, where);
    const bool fresh = where == L1_RETIRED;
    b->where = (uint16_t)where;
    b->who = (uint16_t)base_thread_self()->index;
    b->link = fresh ? &list->first : list->last;
    b->next = *b->link;
    *b->link = b;
    if (b->next != NULL) { b->next->link = &b->next; } else { list->last = &b->next; }
    list->count++;
    if (fresh) { base_add_rlx(&c->retired_fresh, (uint64_t)b->bytes); }
}

static void l1_bigs_remove(l1 *c, l1_big *b) SYNC_HOLDS(L1_BIG);
static void l1_bigs_remove(l1 *c, l1_big *b)
{
    if (b->where == L1_LINKED) { return; }
    l1_bigs *list = l1_bigs_of(c, b->where);
    if (b->where == L1_RETIRED) { base_sub_rlx(&c->retired_fresh, (uint64_t)b->bytes); }
    *b->link = b->next;
    if (b->next != NULL) { b->next->link = b->link; } else { list->last = b->link; }
    list->count--;
    b->where = L1_LINKED;
}

CELLAR_PRIVATE void l1_big_begin(l1 *c, l1_big *b)
{
    sync_take(L1_BIG, &c->big_lock);
    l1_bigs_add(c, b, L1_IN_HAND);
    base_add_rlx(&c->big_bytes, (uint64_t)b->bytes);
    base_add_rlx(&c->big_blocks, (uint64_t)1);
    sync_drop(L1_BIG, &c->big_lock);
}

CELLAR_PRIVATE void l1_big_end(l1 *c, l1_big *b)
{
    sync_take(L1_BIG, &c->big_lock);
    if (b->where == L1_SWEPT) {
        base_sub_rlx(&c->retired_bytes, (uint64_t)b->bytes);
    } else {
        base_sub_rlx(&c->big_bytes, (uint64_t)b->bytes);
        base_sub_rlx(&c->big_blocks, (uint64_t)1);
    }
    l1_bigs_remove(c, b);
    sync_drop(L1_BIG, &c->big_lock);
}

CELLAR_PRIVATE void l1_big_cut(l1 *c, l1_big *b, uint64_t bytes)
{
    BASE_ASSERT(b->where == L1_SWEPT && b->bytes > bytes);
    sync_take(L1_BIG, &c->big_lock);
    base_sub_rlx(&c->retired_bytes, b->bytes - bytes);
    b->bytes = (uint32_t)bytes;
    sync_drop(L1_BIG, &c->big_lock);
}

CELLAR_PRIVATE void l1_big_linked(l1 *c, l1_big *b)
{
    sync_take(L1_BIG, &c->big_lock);
    l1_bigs_remove(c, b);
    sync_drop(L1_BIG, &c->big_lock);
}

CELLAR_PRIVATE void l1_big_unlinked(l1 *c, l1_big *b)
{
    if (BASE_MUTANT("l1.hand_not_noted")) { return; }
    sync_take(L1_BIG, &c->big_lock);
    l1_bigs_add(c, b, L1_IN_HAND);
    sync_drop(L1_BIG, &c->big_lock);
}

static void l1_retired_add(l1 *c, l1_big *b) SYNC_HOLDS(L1_BIG);
static void l1_retired_add(l1 *c, l1_big *b)
{
    l1_bigs_remove(c, b);
    l1_bigs_add(c, b, L1_RETIRED);
    base_add_rlx(&c->retired_bytes, (uint64_t)b->bytes);
    base_sub_rlx(&c->big_bytes, (uint64_t)b->bytes);
    base_sub_rlx(&c->big_blocks, (uint64_t)1);
}

CELLAR_PRIVATE void l1_large_retire(l1 *c, l1_big *b)
{
    BASE_POINT("l1.big.retired");
    if (BASE_MUTANT("l1.retired_freed_early")) {
        l1_big_drop(c, b);
        return;
    }
    sync_take(L1_BIG, &c->big_lock);
    l1_retired_add(c, b);
    sync_drop(L1_BIG, &c->big_lock);
}

/* Put the blocks of lost threads on the retire list. Threads above BASE_THREAD_MAX share an index,
 * so the forking thread is unknown. Blocks of that index stay in hand. */
CELLAR_PRIVATE void l1_bigs_child(l1 *c)
{
    const uint32_t own = base_thread_self()->index;
    for (l1_big *b = c->hand.first, *next; b != NULL; b = next) {
        next = b->next;
        if (b->who == own) { continue; }
        if (!BASE_MUTANT("l1.hand_before_mend")) { l1_mend_key(c, b->hash); }
        sync_take(L1_BIG, &c->big_lock);
        if (b->where == L1_SWEPT) {
            l1_bigs_remove(c, b);
            l1_bigs_add(c, b, L1_RETIRED);
        } else {
            l1_retired_add(c, b);
        }
        sync_drop(L1_BIG, &c->big_lock);
    }
}

/* ---- reclaiming ------------------------------------------------------------------------------ */
static bool l1_on_its_way(l1 *c)
{
    if (base_load_acq(&c->sweepers) != 0) { return true; }
    sync_take(L1_SEG, &c->seg_lock);
    const bool back = c->returning != 0;
    sync_drop(L1_SEG, &c->seg_lock);
    return back;
}

CELLAR_PRIVATE void l1_retired_wait(l1 *c)
{
    for (unsigned i = 0; l1_on_its_way(c) && i < 1000; i++) {
        if (i < 128) {
            base_yield();
        } else {
            base_sleep_ns(50000);
        }
    }
}

/* Free a block off the retire list that no reader uses: all of it, or a piece of `most` bytes at
 * its end. A piece is at least as long as a segment. */
static uint64_t l1_retired_free(l1 *c, l1_big *b, uint64_t most)
{
    const uint64_t had = b->bytes, least = BASE_MAX(most, (uint64_t)c->seg_bytes);
    const uint64_t piece = base_round_up(BASE_MIN(least, had), BASE_PAGE);
    if (had <= piece + BASE_PAGE) {
        l1_run_give(c, b);
        return had;
    }
    l1_run_cut(c, b, had - piece);
    sync_take(L1_BIG, &c->big_lock);
    l1_bigs_remove(c, b);
    l1_bigs_add(c, b, L1_RETIRED);
    sync_drop(L1_BIG, &c->big_lock);
    return piece;
}

typedef struct l1_sweep {
    uint32_t looks; /* in: blocks to look at; out: looks left */
    uint64_t bytes; /* the pass ends when so many bytes are free */
    bool keep;      /* keep the first block of want..want + bytes bytes */
    uint64_t want;
    l1_big *kept;   /* the block kept in the hands of this thread; NULL: none */
} l1_sweep;

/* Reclaim blocks from the front of the retire list, none of them twice. Return the freed bytes. */
static uint64_t l1_retired_pass(l1 *c, l1_sweep *w)
{
    if (base_load_rlx(&c->retired_bytes) == 0) {
        w->looks = 0;
        return 0;
    }
    uint64_t freed = 0;
    sync_take(L1_BIG, &c->big_lock);
    base_add_rlx(&c->sweepers, 1u);
    w->looks = BASE_MIN(w->looks, c->retired.count);
    while (w->looks > 0 && freed < w->bytes) {
        l1_big *b = c->retired.first;
        /* The next set with a block may choose among the others, unless sets already free room. */
        const bool enough = w->kept != NULL && base_load_rlx(&c->low) == 0;
        if (b == NULL || enough) {
            w->looks = 0;
            break;
        }
        w->looks--;
        l1_bigs_remove(c, b);
        l1_bigs_add(c, b, L1_SWEPT);
        sync_drop(L1_BIG, &c->big_lock);
        const bool pinned = l1_pinned(c, (uint64_t)(uintptr_t)b | L1_BIG_BIT);
        const bool fits = b->bytes >= w->want && b->bytes - w->want <= w->bytes;
        if (!pinned && w->keep && w->kept == NULL && fits) {
            w->kept = b;
        } else if (!pinned) {
            const uint64_t had = b->bytes, gone = l1_retired_free(c, b, w->bytes - freed);
            if (gone != had) { w->looks++; } /* the rest of it is first in the list again */
            freed += gone;
        }
        sync_take(L1_BIG, &c->big_lock);
        if (pinned) {
            l1_bigs_remove(c, b);
            l1_bigs_add(c, b, L1_STUCK);
        }
    }
    sync_drop(L1_BIG, &c->big_lock);
    base_sub_ar(&c->sweepers, 1u); /* release here, acquire in l1_retired_wait */
    /* Judge `low` again: sets must not evict for a shortage that is over. */
    if (freed != 0) { (void)l1_unpark(c, 0); }
    return freed;
}

/* Return the bytes that any set may reclaim: at most some hundred microseconds in the kernel. */
static uint64_t l1_retired_share(const l1 *c) { return (uint64_t)L1_SWEEP_LOOKS * c->record_max; }

static l1_sweep l1_sweep_for(const l1 *c, uint64_t bytes)
{
    const uint64_t blocks = L1_SWEEP_LOOKS + bytes / c->record_max;
    return (l1_sweep){.looks = (uint32_t)BASE_MIN(blocks, (uint64_t)UINT32_MAX), .bytes = bytes};
}

CELLAR_PRIVATE uint64_t l1_retired_sweep(l1 *c, uint64_t bytes)
{
    l1_sweep w = {.looks = UINT32_MAX, .bytes = bytes};
    return l1_retired_pass(c, &w);
}

CELLAR_PRIVATE void l1_retired_for(l1 *c, uint64_t bytes)
{
    for (uint64_t lack; (lack = l1_lack(c, bytes)) != 0 && l1_retired_sweep(c, lack) != 0;) { }
}

CELLAR_PRIVATE void l1_retired_some(l1 *c)
{
    l1_sweep w = l1_sweep_for(c, l1_retired_share(c));
    (void)l1_retired_pass(c, &w);
}

CELLAR_PRIVATE bool l1_retired_turn(l1 *c, uint64_t end_ns)
{
    sync_take(L1_BIG, &c->big_lock);
    uint32_t left = c->retired.count;
    sync_drop(L1_BIG, &c->big_lock);
    while (left != 0) {
        const uint32_t looks = BASE_MIN(left, L1_SWEEP_LOOKS);
        l1_sweep w = {.looks = looks, .bytes = l1_retired_share(c)};
        (void)l1_retired_pass(c, &w);
        left -= looks - w.looks;
        if (left != 0 && base_now_ns() >= end_ns) { return false; }
    }
    return true;
}

static l1_big *l1_retired_keep(l1 *c, uint64_t want)
{
    l1_sweep w = l1_sweep_for(c, BASE_MAX(want, l1_retired_share(c)));
    w.keep = true;
    w.want = want;
    (void)l1_retired_pass(c, &w);
    return w.kept;
}

/* ---- blocks ---------------------------------------------------------------------------------- */
/* Restore the segments that blocks leave to the log. Without them the evictor drops records that it
 * should keep. When the last of them is used up, each set with a block frees two. It does so in a
 * few rounds, until all are back. To free all in one call would evict thousands of entries. */
static void l1_log_refill(l1 *c)
{
    const uint64_t all = (uint64_t)base_load_rlx(&c->reserve) * c->seg_bytes;
    const uint64_t used = base_load_rlx(&c->account->used);
    const uint64_t limit = base_load_rlx(&c->account->limit);
    const uint64_t room = limit > used ? limit - used : 0;
    const uint64_t next = BASE_MIN(all, room + 2 * (uint64_t)c->seg_bytes);
    bool there = false, more = true;
    l1_round at = {0};
    for (unsigned round = 0; round < 4 && more && !there; round++) {
        l1_retired_for(c, next);
        there = l1_give_back(c, next, 0);
        more = there || (l1_may_fit(c, next) && l1_evict_round(c, c->seg_bytes, &at) != 0);
    }
    if (!more || (there && next == all)) { base_store_rlx(&c->refill, 0u); }
}

CELLAR_PRIVATE cellar_err l1_big_make(l1 *c, const l1_key *k, const void *value, uint64_t len,
                                      bool apart, l1_big **out)
{
    const uint64_t bytes = l1_run_bytes(c, L1_BIG_HEADER + len + (apart ? k->len : 0));
    uint64_t need = 0;
    if (base_fault_alloc("l1.big")) { return CELLAR_E_NOMEM; }
    l1_run got = L1_RUN_OK;
    l1_round at = {0};
    *out = l1_retired_keep(c, bytes);
    if (*out != NULL) { l1_run_reuse(c, *out, bytes, k->hash); } else {
        got = l1_run_take(c, bytes, k->hash, out, &need);
    }
    for (unsigned round = 0; round < 16 && got == L1_RUN_CHARGE; round++) {
        /* First take free segments beyond the reserve of the log. That evicts nothing, and blocks
         * that only replace blocks would never ask for them. */
        if (l1_give_back(c, need, base_load_rlx(&c->reserve))) {
            got = l1_run_take(c, bytes, k->hash, out, &need);
            continue;
        }
        /* Reuse the pages of a victim before the kernel gets them. Do not evict for a block that
         * cannot fit. */
        if (l1_may_fit(c, need)) { (void)l1_evict_round(c, c->seg_bytes, &at); }
        *out = l1_retired_keep(c, bytes);
        if (*out != NULL) {
            l1_run_reuse(c, *out, bytes, k->hash);
            got = L1_RUN_OK;
            break;
        }
        /* Another thread may take the room between the eviction and the charge: try again. */
        if (!l1_make_room(c, need)) { break; }
        base_store_rlx(&c->refill, 1u);
        got = l1_run_take(c, bytes, k->hash, out, &need);
    }
    if (got != L1_RUN_OK) { return got == L1_RUN_CHARGE ? CELLAR_E_SPACE : CELLAR_E_NOMEM; }
    /* A longer block cut to size frees room without the release of a segment, so `low` is out of
     * date. Without this the record would evict one more entry, and each later set the next. */
    if (base_load_rlx(&c->low) != 0) { (void)l1_unpark(c, 0); }
    if (base_load_rlx(&c->refill) != 0) { l1_log_refill(c); }
    unsigned char *to = l1_big_bytes(*out);
    if (len != 0) { memcpy(to, value, (size_t)len); }
    if (apart) { memcpy(to + len, k->bytes, k->len); }
    return CELLAR_OK;
}

CELLAR_PRIVATE l1_look l1_big_look(l1 *c, const l1_bucket *primary, uint32_t ver, uint64_t pos,
                                   const l1_rec *r, const l1_key *k)
{
    const l1_big *block = l1_block_of(c, pos, r);
    const unsigned char *key = l1_key_at(c, pos, r); /* not read yet: it may point anywhere */
    base_fence_acq();
    if (base_load_rlx(&primary->ver) != ver) { return L1_LOOK_AGAIN; }
    /* Without a free pin slot the reader comes back with the lock after some rounds. */
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

CELLAR_PRIVATE void l1_big_drop(l1 *c, l1_big *b) { l1_run_give(c, b); }
