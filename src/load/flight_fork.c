/* SPDX-License-Identifier: MIT
 *
 * flight_fork: what becomes of flights in a forked child.
 *
 * INVARIANTS the child has none that others lead: they are unlinked, nobody is woken. Their records
 *            are freed at the next call, because a fork handler may not free. What the forking
 *            thread leads itself, or has claimed to end it, goes on in the child, detached.
 * LOCKING    all shards are held over the fork, in ascending order. */
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

/* Led by the thread that forked, from inside a loader, or claimed by it: it goes on in the child,
 * detached. One that was taken over has another leader, but stays ours until its loader ends. */
static bool flight_is_ours(const flight *f)
{
    const base_self_t *self = base_self();
    if (self->index != 0 && base_load_rlx(&f->leader) == self) { return true; }
    for (const flight *at = self->index != 0 ? self->leads : NULL; at != NULL; at = at->outer) {
        if (at == f) { return true; }
    }
    return false;
}

CELLAR_PRIVATE void flight_fork_child(flight_table *t) SYNC_UNCHECKED
{
    flight_graph_reset();
    base_self()->waits_for = NULL;
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
                base_store_rlx(&f->refs, 1u); /* the leader's; waiters are not there */
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
        if (f->notes != NULL) { t->notes_free(f->notes); }
        f->notes = NULL;
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
