/* SPDX-License-Identifier: MIT
 *
 * flight_fork: flights in the child of a fork.
 *
 * INVARIANTS The child keeps no flight that another thread leads. It unlinks them and wakes no
 *            thread.
 *            The next call frees their records, because a fork handler may not free memory.
 *            A flight that the forking thread leads or has claimed continues in the child,
 *            detached.
 * LOCKING    All shard locks are held over the fork, taken in ascending order. */
#include "load/flight_int.h"

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
        for (flight *f = s->table, *next; f != NULL; f = next) {
            next = f->hh.next;
            if (f != &s->sentinel) { flight_unlink(s, f); }
        }
        for (flight *f = s->detached, *next; f != NULL; f = next) {
            next = f->next;
            if (flight_is_ours(f)) {
                base_store_rlx(&f->refs, 1u); /* the ref of the leader; the child has no waiters */
                continue;
            }
            flight_list_cut(s, f);
            f->next = base_load_rlx(&t->lost); /* freed at the next call, not in a fork handler */
            base_store_rlx(&t->lost, f);
        }
    }
    base_store_rlx(&t->waiters, 0u);
}

CELLAR_PRIVATE void flight_free_lost(flight_table *t)
{
    for (flight *f = base_xchg_ar(&t->lost, (flight *)NULL), *after; f != NULL; f = after) {
        after = f->next;
        base_store_rlx(&f->refs, 0u);
        for (flight_sub *sub = f->subs; sub != NULL;) {
            flight_sub *next = sub->next;
            flight_sub_free(t, sub);
            sub = next;
        }
        f->subs = NULL;
        flight_bytes_drop(f->result.value);
        flight_bytes_drop(f->draft);
        f->result.value = f->draft = NULL;
        if (base_load_rlx(&f->notes) != NULL) { t->notes_free(base_load_rlx(&f->notes)); }
        base_store_rlx(&f->notes, (void *)NULL);
        (void)base_sub_ar(&t->open, 1u);
        if (f->resident) {
            flight_shard *s = flight_shard_of(t, f->hash);
            sync_take(FLIGHT, &s->lock);
            f->next = s->spare;
            s->spare = f;
            s->spare_count++;
            sync_drop(FLIGHT, &s->lock);
        } else {
            flight_record_free(t, f);
        }
    }
}

BASE_SIZE_END
