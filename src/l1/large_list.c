/* SPDX-License-Identifier: MIT
 *
 * large_list: lists and sums of the blocks that no slot links.
 *
 * PICTURE    made -> HAND -> linked -> HAND (noted by a victim) -> retire list -> SWEPT -> free
 *            New blocks enter the retire list at the front; blocks found pinned stand behind them.
 * INVARIANTS big_bytes + retired_bytes == units in use. A block is linked or in one of two lists:
 *            it enters a list before its slot is cleared, and leaves it after its slot is set.
 * LOCKING    L1_BIG, taken inside bucket windows and under L1_PAGES. */
#include "l1/large.h"

CELLAR_PRIVATE void l1_bigs_open(l1 *c)
{
    c->retired.last = &c->retired.first;
    c->hand.last = &c->hand.first;
}

static l1_bigs *l1_bigs_of(l1 *c, unsigned where)
{
    return where == L1_RETIRED || where == L1_STUCK ? &c->retired : &c->hand;
}

static SYNC_HOLDS(L1_BIG) void l1_bigs_add(l1 *c, l1_big *b, l1_where where)
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

static SYNC_HOLDS(L1_BIG) void l1_bigs_remove(l1 *c, l1_big *b)
{
    if (b->where == L1_LINKED) { return; }
    l1_bigs *list = l1_bigs_of(c, b->where);
    if (b->where == L1_RETIRED) { base_sub_rlx(&c->retired_fresh, (uint64_t)b->bytes); }
    *b->link = b->next;
    if (b->next != NULL) { b->next->link = b->link; } else { list->last = b->link; }
    list->count--;
    b->where = L1_LINKED;
}

CELLAR_PRIVATE void l1_bigs_move(l1 *c, l1_big *b, l1_where where)
{
    l1_bigs_remove(c, b);
    l1_bigs_add(c, b, where);
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
    sync_take(L1_BIG, &c->big_lock);
    l1_bigs_add(c, b, L1_IN_HAND);
    sync_drop(L1_BIG, &c->big_lock);
}

CELLAR_PRIVATE void l1_retired_add(l1 *c, l1_big *b)
{
    l1_bigs_move(c, b, L1_RETIRED);
    base_add_rlx(&c->retired_bytes, (uint64_t)b->bytes);
    base_sub_rlx(&c->big_bytes, (uint64_t)b->bytes);
    base_sub_rlx(&c->big_blocks, (uint64_t)1);
}
