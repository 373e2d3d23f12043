/* SPDX-License-Identifier: MIT
 *
 * load_run: run a loader, and keep the record of its reads.
 *
 * INVARIANTS What the load owns beside its flight is freed exactly once, also if the thread ends
 *            inside the loader (left) or leaves it by longjmp (lost).
 * LOCKING    The loader runs without a lock, with the cancel state of the caller. */
#include "base/user_callback.h"
#include "cache/load_run.h"

#include "cache/breaker_calls.h"
#include "cache/call.h"
#include "cache/dependencies.h"
#include "cache/load_guard.h"

CELLAR_PRIVATE void cache_record_begin(struct cellar_load *ld, flight *f)
{
    cellar *c = ld->call->c;
    const uint32_t no = CELLAR_LOAD_BYPASS | CELLAR_LOAD_NO_STORE;
    if (c->store->deps == NULL || base_load_rlx(&c->deps) == 0) { return; }
    if (ld->run == NULL && !ld->unrecorded && (ld->call->p.flags & no) == 0) {
        ld->run = cache_run_begin(c);
        ld->unrecorded = ld->run == NULL;
        if (ld->unrecorded) { stats_count(c->stats, STATS_LIMIT_DEPS, 1); }
    }
    if (ld->run != NULL) { flight_notes_set(f, cache_run_share(ld->run)); }
    if (ld->unrecorded) { flight_detach(ld->t, f); } /* no later caller joins it */
}

static void cache_loader_body(void *arg)
{
    struct cellar_load *ld = arg;
    const cache_call *call = ld->call;
    sync_assert_none();
    if (ld->many != NULL) {
        ld->returned = ld->many(ld, ld->keys, ld->item_count, ld->many_ctx);
    } else {
        ld->returned = call->fn(ld, call->k.bytes, call->k.len, call->ctx);
    }
}

static void cache_loader_left(void *arg)
{
    struct cellar_load *ld = arg;
    stats_add(cache_mine(ld->call->c), STATS_LOAD_TAKEOVER, 1);
    cache_guard_report(ld, CELLAR_E_CANCELLED);
    ld->left(ld);
}

/* Free what the lost frames owned beside the flight, after a longjmp. */
static void cache_loader_lost(flight_will *w)
{
    flight_bytes_drop(w->a);
    flight_bytes_drop(w->b);
    if (w->c != NULL) { cache_breaker_report(w->c, w->n, BREAKER_SAID_NOTHING); }
}

CELLAR_PRIVATE void cache_run_loader(struct cellar_load *ld)
{
    cache_call *call = ld->call;
    const uint64_t since_ns = base_now_ns();
    const flight_will will = { ld->lost != NULL ? ld->lost : cache_loader_lost, ld->host, call->old,
                               ld->breaker, ld->pass };
    flight *holder = ld->f != NULL ? ld->f : ld->noted; /* innermost flight led here */
    flight_will_set(holder, &will);
    if (ld->run != NULL) { cache_run_reads(ld->run, true); }
    BASE_POINT("flight.load");
    base_run_callback(cache_loader_body, cache_loader_left, ld, call->cancel);
    flight_will_set(holder, NULL);
    if (ld->run != NULL) { cache_run_reads(ld->run, false); }
    ld->ns = base_now_ns() - since_ns;
    call->load_us = ld->ns / 1000;
    call->now_ms = base_now_ms(&call->c->store->clock);
    stats_block *mine = cache_mine(call->c);
    stats_add(mine, STATS_LOAD, 1);
    stats_add(mine, STATS_LOAD_NS, ld->ns);
}
