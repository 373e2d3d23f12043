/* SPDX-License-Identifier: MIT
 *
 * lease: leases, subscriptions, and flights that end without a leading thread.
 *
 * INVARIANTS A lease is {gen, nonce, shard}, a ticket {number, 0, shard}: cellar_lease_held reads
 *            the nonce, which is never 0. A lease is open from flight_lease_open until it is
 *            claimed, taken over, expired or closed, or until its namespace is dropped; each of
 *            these takes its ref.
 *            A subscription hangs on a flight, or was called, or was removed: exactly one of these.
 * LOCKING    The lock of the shard. Subscribers are called without a lock. */
#include "flight/types.h"

BASE_SIZE_BEGIN

/* ---- leases ---- */

CELLAR_PRIVATE bool flight_lease_open(flight_table *t, flight *f, flight_lease *out)
{
    flight_shard *s = flight_shard_of(t, f->hash);
    sync_take(FLIGHT, &s->lock);
    f->lease_open = FLIGHT_PHASE(base_load_rlx(&f->state)) <= FLIGHT_LOADING;
    const bool open = f->lease_open;
    if (open) { flight_lead_take(f, NULL); }
    f->nonce = (uint32_t)base_mix64(f->hash ^ base_mix64(f->gen)) | 1u;
    out->id = f->gen;
    out->check = (uint64_t)f->nonce << 32 | ((uint32_t)base_mix64(f->hash) & t->mask);
    sync_drop(FLIGHT, &s->lock);
    return open;
}

/* Find the flight with number `gen` in the shard, attached or detached. */
SYNC_HOLDS(FLIGHT) static flight *flight_by_gen(flight_shard *s, uint64_t gen)
{
    flight *f = flight_after(s, NULL);
    while (f != NULL && f->gen != gen) { f = flight_after(s, f); }
    return f;
}

CELLAR_PRIVATE flight *flight_claim(flight_table *t, const flight_lease *l, uint32_t namespace_id)
{
    if (l->id == 0 || (uint32_t)l->check > t->mask) { return NULL; }
    flight_shard *s = &t->shard[(uint32_t)l->check];
    sync_take(FLIGHT, &s->lock);
    flight *f = flight_by_gen(s, l->id);
    if (f != NULL && f->lease_open && f->namespace_id == namespace_id &&
        f->nonce == l->check >> 32) {
        f->lease_open = false;
        flight_lead_take(f, base_thread_self());
    } else {
        f = NULL;
    }
    sync_drop(FLIGHT, &s->lock);
    return f;
}

CELLAR_PRIVATE void flight_ticket_of(const flight_table *t, uint64_t hash, uint64_t sub_id,
                                     flight_lease *out)
{
    out->id = sub_id;
    out->check = (uint32_t)base_mix64(hash) & t->mask;
}

static flight_sub *flight_sub_cut(flight *f, uint64_t id)
{
    for (flight_sub **at = &f->subs; *at != NULL; at = &(*at)->next) {
        if ((*at)->id == id) {
            flight_sub *found = *at;
            *at = found->next;
            return found;
        }
    }
    return NULL;
}

CELLAR_PRIVATE bool flight_withdraw(flight_table *t, const flight_lease *ticket)
{
    if (ticket->id == 0 || ticket->check > t->mask) { return false; }
    flight_shard *s = &t->shard[(uint32_t)ticket->check];
    flight_sub *sub = NULL;
    sync_take(FLIGHT, &s->lock);
    for (flight *f = NULL; sub == NULL && (f = flight_after(s, f)) != NULL;) {
        sub = flight_sub_cut(f, ticket->id);
    }
    sync_drop(FLIGHT, &s->lock);
    if (sub == NULL) { return false; }
    flight_sub_free(t, sub);
    (void)base_sub_ar(&t->waiters, 1u);
    return true;
}

typedef struct flight_pick { /* which flights end */
    /* DUE and NAMESPACE end leases only */
    enum { FLIGHT_PICK_ALL, FLIGHT_PICK_DUE, FLIGHT_PICK_NAMESPACE } which;
    int64_t now_ms;
    uint32_t namespace_id;
} flight_pick;

static bool flight_picked(const flight *f, const flight_pick *p)
{
    if (FLIGHT_PHASE(base_load_rlx(&f->state)) > FLIGHT_LOADING) { return false; }
    if (p->which == FLIGHT_PICK_ALL) { return true; }
    if (f->kind != FLIGHT_LEASE) { return false; }
    return p->which == FLIGHT_PICK_DUE ? p->now_ms >= f->hard_at_ms
                                       : f->namespace_id == p->namespace_id;
}

/* End one open flight of the shard that matches `pick`. Return false if there is none. */
static bool flight_end_one(flight_table *t, flight_shard *s, const flight_pick *pick)
{
    flight_ended ended;
    sync_take(FLIGHT, &s->lock);
    flight *f = flight_after(s, NULL);
    while (f != NULL && !flight_picked(f, pick)) { f = flight_after(s, f); }
    if (f != NULL) { flight_cancel(s, f, &ended); }
    sync_drop(FLIGHT, &s->lock);
    if (f != NULL) { flight_cancelled(t, &ended, pick->which == FLIGHT_PICK_DUE); }
    return f != NULL;
}

static uint32_t flight_end_picked(flight_table *t, const flight_pick *pick)
{
    uint32_t ended = 0;
    for (uint32_t i = 0; i <= t->mask; i++) {
        while (flight_end_one(t, &t->shard[i], pick)) { ended++; }
    }
    return ended;
}

CELLAR_PRIVATE uint32_t flight_expire(flight_table *t, int64_t now_ms)
{
    if (flight_count(t) == 0) { return 0; }
    return flight_end_picked(t, &(flight_pick){ .which = FLIGHT_PICK_DUE, .now_ms = now_ms });
}

CELLAR_PRIVATE void flight_end_leases(flight_table *t, uint32_t namespace_id)
{
    (void)flight_end_picked(t, &(flight_pick){ .which = FLIGHT_PICK_NAMESPACE,
                                               .namespace_id = namespace_id });
}

CELLAR_PRIVATE void flight_close(flight_table *t)
{
    (void)flight_end_picked(t, &(flight_pick){ .which = FLIGHT_PICK_ALL });
}

BASE_SIZE_END
