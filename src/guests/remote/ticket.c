/* SPDX-License-Identifier: MIT
 *
 * ticket: requests between callers and the runner of the link, without a lock.
 *
 * PICTURE    free list -> caller -> inbox (newest first) -> runner: queue -> sent -> end
 * INVARIANTS A ticket is in one list, or its caller holds it. A caller leaves a ticket only by
 *            QUEUED -> LEFT or SENT -> LEFT. So the runner reads neither bytes nor frame of a
 *            caller that has returned: it does that in SENDING and TAKING.
 *            The runner wakes the callers of ended tickets before it waits or sends: after each
 *            read and at the end of remote_end_all.
 * LOCKING    The free list has a change count against reuse between load and exchange. The inbox
 *            is only pushed, and taken as a whole.
 * LIMITS     REMOTE_TICKETS requests of callers, REMOTE_TICKETS_OWN of the link. */
#include "remote/reason.h"

CELLAR_PRIVATE remote_ticket *remote_ticket_at(remote_link *l, uint32_t number)
{
    return number != REMOTE_TICKET_NONE ? &l->tickets[number - 1] : NULL;
}

CELLAR_PRIVATE uint32_t remote_ticket_number(const remote_link *l, const remote_ticket *t)
{
    return (uint32_t)(t - l->tickets) + 1;
}

CELLAR_PRIVATE void remote_tickets_open(remote_link *l)
{
    for (uint32_t i = 0; i + 1 < REMOTE_TICKETS_ALL; i++) {
        atomic_init(&l->tickets[i].next, i + 2);
    }
    atomic_init(&l->free_list, 1);
}

CELLAR_PRIVATE remote_ticket *remote_ticket_new(remote_link *l, const remote_request *q, bool own)
{
    if (!own && atomic_fetch_add(&l->under_way, 1) >= REMOTE_TICKETS) {
        (void)atomic_fetch_sub(&l->under_way, 1);
        remote_count(l, REMOTE_LINK_FULL, 1);
        return NULL;
    }
    uint64_t seen = atomic_load(&l->free_list);
    remote_ticket *t;
    do {
        t = remote_ticket_at(l, (uint32_t)seen);
        if (t == NULL) { return NULL; } /* too many of the link itself */
    } while (!atomic_compare_exchange_weak(&l->free_list, &seen,
                                           ((seen >> 32) + 1) << 32 | atomic_load(&t->next)));
    atomic_store(&t->state, REMOTE_T_QUEUED);
    t->q = *q;
    t->taken = 0;
    t->own = own;
    t->posted = t->repeated = false;
    t->fate = REMOTE_NOT_SENT;
    t->err = CELLAR_OK;
    return t;
}

CELLAR_PRIVATE void remote_ticket_free(remote_link *l, remote_ticket *t)
{
    const bool own = t->own;
    const remote_memory *m = t->q.memory;
    uint64_t seen = atomic_load(&l->free_list);
    if (m != NULL) { m->free(m->ctx, (void *)(uintptr_t)t->q.bytes, t->q.bytes_cap); }
    do {
        atomic_store(&t->next, (uint32_t)seen);
    } while (!atomic_compare_exchange_weak(&l->free_list, &seen, ((seen >> 32) + 1) << 32 |
                                                                     remote_ticket_number(l, t)));
    if (!own) { (void)atomic_fetch_sub(&l->under_way, 1); }
}

CELLAR_PRIVATE void remote_ticket_post(remote_link *l, remote_ticket *t)
{
    uint32_t seen = atomic_load(&l->inbox);
    do {
        atomic_store(&t->next, seen);
    } while (!atomic_compare_exchange_weak(&l->inbox, &seen, remote_ticket_number(l, t)));
}

CELLAR_PRIVATE void remote_tickets_collect(remote_link *l, remote_tickets *to)
{
    uint32_t newest = atomic_exchange(&l->inbox, REMOTE_TICKET_NONE), oldest = REMOTE_TICKET_NONE;
    while (newest != REMOTE_TICKET_NONE) { /* turn the list around */
        remote_ticket *t = remote_ticket_at(l, newest);
        const uint32_t older = atomic_load(&t->next);
        atomic_store(&t->next, oldest);
        oldest = newest;
        newest = older;
    }
    while (oldest != REMOTE_TICKET_NONE) {
        remote_ticket *t = remote_ticket_at(l, oldest);
        oldest = atomic_load(&t->next);
        remote_tickets_add(l, to, t);
    }
}

CELLAR_PRIVATE void remote_tickets_add(remote_link *l, remote_tickets *list, remote_ticket *t)
{
    const uint32_t number = remote_ticket_number(l, t);
    atomic_store(&t->next, REMOTE_TICKET_NONE);
    if (list->last != REMOTE_TICKET_NONE) {
        atomic_store(&remote_ticket_at(l, list->last)->next, number);
    } else {
        list->first = number;
    }
    list->last = number;
}

CELLAR_PRIVATE remote_ticket *remote_tickets_first(remote_link *l, const remote_tickets *list)
{
    return remote_ticket_at(l, list->first);
}

CELLAR_PRIVATE remote_ticket *remote_ticket_after(remote_link *l, const remote_ticket *t)
{
    return remote_ticket_at(l, atomic_load(&t->next));
}

CELLAR_PRIVATE void remote_tickets_pop(remote_link *l, remote_tickets *list)
{
    list->first = atomic_load(&remote_ticket_at(l, list->first)->next);
    if (list->first == REMOTE_TICKET_NONE) { list->last = REMOTE_TICKET_NONE; }
}

CELLAR_PRIVATE bool remote_ticket_move(remote_ticket *t, uint32_t from, uint32_t to)
{
    return atomic_compare_exchange_strong(&t->state, &from, to);
}

static remote_group *remote_ticket_group(remote_link *l, const remote_ticket *t, uint32_t *bit)
{
    const size_t i = (size_t)(t - l->tickets);
    *bit = UINT32_C(1) << (i % REMOTE_GROUP);
    return &l->groups[i / REMOTE_GROUP];
}

CELLAR_PRIVATE _Atomic uint32_t *remote_ticket_word(remote_link *l, const remote_ticket *t,
                                                    uint32_t *bit)
{
    return &remote_ticket_group(l, t, bit)->ends;
}

CELLAR_PRIVATE void remote_ticket_ended(remote_link *l, const remote_ticket *t)
{
    uint32_t bit;
    remote_group *g = remote_ticket_group(l, t, &bit);
    const uint32_t groups = (uint32_t)(g - l->groups) + 1;
    if (remote_ticket_number(l, t) == l->alone) { return; }
    g->ended |= bit;
    if (groups > l->ended_groups) { l->ended_groups = groups; }
}

CELLAR_PRIVATE void remote_tickets_wake(remote_link *l)
{
    for (remote_group *g = l->groups; g < l->groups + l->ended_groups; g++) {
        if (g->ended == 0) { continue; }
        (void)atomic_fetch_add(&g->ends, 1);
        remote_futex_wake(&g->ends, g->ended);
        g->ended = 0;
    }
    l->ended_groups = 0;
}

CELLAR_PRIVATE void remote_ticket_end(remote_link *l, remote_ticket *t, cellar_err err,
                                      remote_fate fate)
{
    if (t->posted || t->own) {
        const bool left = atomic_load(&t->state) == REMOTE_T_LEFT;
        const remote_request q = t->q;
        remote_ticket_free(l, t); /* first: `done` may post */
        if (!left && q.done != NULL) { q.done(q.ctx, err, fate); }
        return;
    }
    t->err = err;
    t->fate = fate;
    uint32_t seen = atomic_load(&t->state);
    while (seen != REMOTE_T_LEFT) {
        if (atomic_compare_exchange_weak(&t->state, &seen, REMOTE_T_DONE)) {
            remote_ticket_ended(l, t);
            return;
        }
    }
    remote_ticket_free(l, t);
}
