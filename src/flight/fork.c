/* SPDX-License-Identifier: MIT
 *
 * fork: flights in the child of a fork.
 *
 * INVARIANTS The child keeps no flight that another thread leads. It unlinks them and wakes no
 *            thread.
 *            The next call frees their records, because a fork handler may not free memory.
 *            A flight that the forking thread leads or has claimed continues in the child,
 *            detached.
 * LOCKING    All shard locks are held over the fork, taken in ascending order. */
#include "flight/types.h"

BASE_SIZE_BEGIN

/* ---- fork ---- */

CELLAR_PRIVATE void flight_fork_prepare(flight_table *t) SYNC_UNCHECKED
{
    for (uint32_t i = 0; i <= t->mask; i++) { sync_take(FLIGHT, &t->shard[i].lock); }
}

CELLAR_PRIVATE void flight_fork_parent(flight_table *t) SYNC_UNCHECKED
{
    for (uint32_t i = t->mask + 1; i-- > 0;) { sync_drop(FLIGHT, &t->shard[i].lock); }
}

/* Return whether the forking thread leads `f` from a loader, or has claimed it. Such a flight
 * continues in the child, detached. A flight that was taken over has another leader, but stays ours
 * until its loader ends. */
static bool flight_is_ours(const flight *f)
{
    const base_thread_record *self = base_thread_self();
    if (self->index != 0 && base_load_rlx(&f->leader) == self) { return true; }
    for (const flight *at = self->index != 0 ? self->leads : NULL; at != NULL; at = at->outer) {
        if (at == f) { return true; }
    }
    return false;
}

CELLAR_PRIVATE void flight_fork_child(flight_table *t) SYNC_UNCHECKED
{
    flight_graph_reset();
    base_thread_self()->waits_for = NULL;
    for (uint32_t i = 0; i <= t->mask; i++) {
        flight_shard *s = &t->shard[i];
        sync_reset(&s->lock);
        while (s->attached != NULL) { flight_unlink(s, s->attached); }
        for (flight *f = s->detached, *next; f != NULL; f = next) {
            next = f->next;
            if (flight_is_ours(f)) {
                base_store_rlx(&f->refs, 1u); /* the ref of the leader; the child has no waiters */
                continue;
            }
            flight_list_cut(&s->detached, f);
            f->next = base_load_rlx(&t->lost); /* freed at the next call, not in a fork handler */
            base_store_rlx(&t->lost, f);
        }
    }
    base_store_rlx(&t->waiters, 0u);
    base_store_rlx(&t->forks, base_load_rlx(&t->forks) + 1);
}

BASE_SIZE_END
