/* SPDX-License-Identifier: MIT
 *
 * large_list: lists and sums of the blocks that no slot links.
 *
 * PICTURE    made -> HAND -> linked -> HAND (noted by a victim) -> retire list -> SWEPT -> free
 *            reserved: HAND -> RESERVED -> HAND -> linked, or free
 *            New blocks enter the retire list at the front; blocks found pinned stand behind them.
 * INVARIANTS big_bytes + retired_bytes == units in use. A block is linked or in one of two lists:
 *            it enters a list before its slot is cleared, and leaves it after its slot is set.
 * LOCKING    L1_BIG, taken inside bucket windows and under L1_PAGES. */
#include "l1/large.h"

BASE_SIZE_BEGIN

CELLAR_PRIVATE void l1_bigs_open(l1 *c)
{
    c->retired.last = &c->retired.first;
    c->hand.last = &c->hand.first;
}

static l1_bigs *l1_bigs_of(l1 *c, l1_where where)
{
    if (where == L1_NOWHERE || where == L1_LINKED) { return NULL; }
    const bool hand = where == L1_IN_HAND || where == L1_SWEPT || where == L1_RESERVED;
    return hand ? &c->hand : &c->retired;
}

/* Return the sum that counts a block there; NULL: none. */
static _Atomic uint64_t *l1_bigs_sum(l1 *c, l1_where where)
{
    if (where == L1_NOWHERE) { return NULL; }
    const bool retired = where == L1_SWEPT || where == L1_RETIRED || where == L1_STUCK;
    return retired ? &c->retired_bytes : &c->big_bytes;
}

CELLAR_PRIVATE void l1_bigs_move(l1 *c, l1_big *b, l1_where where)
{
    const l1_where was = (l1_where)b->where;
    _Atomic uint64_t *const from = l1_bigs_sum(c, was), *const to = l1_bigs_sum(c, where);
    if (from != to) {
        if (from != NULL) { base_sub_rlx(from, (uint64_t)b->bytes); }
        if (to != NULL) { base_add_rlx(to, (uint64_t)b->bytes); }
        if (from == &c->big_bytes) { base_sub_rlx(&c->big_blocks, (uint64_t)1); }
        if (to == &c->big_bytes) { base_add_rlx(&c->big_blocks, (uint64_t)1); }
    }
    if (was == L1_RETIRED) { base_sub_rlx(&c->retired_fresh, (uint64_t)b->bytes); }
    if (where == L1_RETIRED) { base_add_rlx(&c->retired_fresh, (uint64_t)b->bytes); }
    l1_bigs *list = l1_bigs_of(c, was);
    if (list != NULL) {
        *b->link = b->next;
        if (b->next != NULL) { b->next->link = b->link; } else { list->last = b->link; }
        list->count--;
    }
    b->where = (uint32_t)where;
    list = l1_bigs_of(c, where);
    if (list != NULL) {
        b->link = where == L1_RETIRED ? &list->first : list->last;
        b->next = *b->link;
        *b->link = b;
        if (b->next != NULL) { b->next->link = &b->next; } else { list->last = &b->next; }
        list->count++;
    }
}

CELLAR_PRIVATE void l1_big_to(l1 *c, l1_big *b, l1_where where)
{
    sync_take(L1_BIG, &c->big_lock);
    l1_bigs_move(c, b, where);
    sync_drop(L1_BIG, &c->big_lock);
}

BASE_SIZE_END
