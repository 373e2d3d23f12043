/* SPDX-License-Identifier: MIT
 *
 * retire: free the blocks that no slot links, once no reader uses them.
 *
 * PICTURE    retire list: newest block first, then those found pinned
 *            pass: first of the list -> SWEPT -> pinned? behind the others : free, reuse, or free a
 *            piece at its end
 * LOCKING    L1_BIG for the list; none while the pages go back to the kernel. `sweepers` counts the
 *            calls that may hold a block.
 * LIMITS     One call frees retired memory in proportion to its need, and at least 64 of the
 *            shortest blocks. One call looks at 64 pinned blocks, the next call at others. A long
 *            block is freed piece by piece from its end. */
#include "l1/large.h"
#include "l1/pin_slots.h"
#include "l1/segment.h"

BASE_SIZE_BEGIN

CELLAR_PRIVATE void l1_large_retire(l1 *c, l1_big *b)
{
    BASE_POINT("l1.big.retired");
    l1_big_to(c, b, L1_RETIRED);
}

CELLAR_PRIVATE void l1_retired_wait(l1 *c)
{
    for (unsigned i = 0; i < 1000; i++) {
        const bool swept = base_load_acq(&c->sweepers) == 0;
        sync_take(L1_SEG, &c->seg_lock);
        const bool returned = c->returning == 0;
        sync_drop(L1_SEG, &c->seg_lock);
        if (swept && returned) { return; }
        if (i < 128) { base_yield(); } else { base_sleep_ns(50000); }
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
    l1_run_reuse(c, b, had - piece);
    l1_big_to(c, b, L1_RETIRED);
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
        l1_bigs_move(c, b, L1_SWEPT);
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
        if (pinned) { l1_bigs_move(c, b, L1_STUCK); }
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

CELLAR_PRIVATE l1_big *l1_retired_keep(l1 *c, uint64_t want)
{
    if (BASE_UNLIKELY(l1_is_above_limit(c))) { return NULL; }
    l1_sweep w = l1_sweep_for(c, BASE_MAX(want, l1_retired_share(c)));
    w.keep = true;
    w.want = want;
    (void)l1_retired_pass(c, &w);
    return w.kept;
}

BASE_SIZE_END
