/* SPDX-License-Identifier: MIT
 *
 * wait: waiters of a flight sleep on its word; a wait that would close a cycle is refused.
 *
 * LOCKING    GRAPH guards the edges thread -> flight of the process. It is taken alone.
 * SEE ALSO   flight/README.md: proof of cycles. */
#include "flight/types.h"

#define FLIGHT_SLICE_NS UINT64_C(10000000) /* longest sleep when the host supplies the clock */

BASE_SIZE_BEGIN

static sync_lock flight_graph;   /* rank GRAPH; guards waits_for of every base_thread_self */

/* Record that this thread waits for `f`. Return true, without an edge, if that closes a cycle. The
 * caller drops the edge with flight_edge_drop. */
static bool flight_cycle(base_thread_record *self, flight *f)
{
    bool cycle = false;
    sync_take(GRAPH, &flight_graph);
    self->waits_for = f;
    for (const flight *at = f; at != NULL;) {
        if (FLIGHT_PHASE(base_load_acq(&at->state)) > FLIGHT_LOADING) { break; }
        const base_thread_record *leader = base_load_acq(&at->leader);
        if (leader == NULL) { break; }
        cycle = leader == self;
        if (cycle) { break; }
        at = leader->waits_for;
    }
    if (cycle) { self->waits_for = NULL; }
    sync_drop(GRAPH, &flight_graph);
    return cycle;
}

CELLAR_PRIVATE void flight_graph_reset(void) { sync_reset(&flight_graph); }

static void flight_edge_drop(base_thread_record *self)
{
    sync_take(GRAPH, &flight_graph);
    self->waits_for = NULL;
    sync_drop(GRAPH, &flight_graph);
}

/* Return the end of the wait on the clock of the kernel. With a clock of the host the wait is cut
 * into slices. */
static uint64_t flight_until_ns(const flight_table *t, int64_t now_ms, int64_t until_ms)
{
    const uint64_t now_ns = base_now_ns();
    if (until_ms == BASE_NEVER_MS) { return UINT64_MAX; }
    const uint64_t left_ms = (uint64_t)BASE_MAX(until_ms - now_ms, 0);
    uint64_t left_ns = left_ms > UINT64_MAX / 4000000 ? UINT64_MAX / 4 : left_ms * 1000000;
    if (t->clock->precise_ms != NULL) { left_ns = BASE_MIN(left_ns, FLIGHT_SLICE_NS); }
    return now_ns + left_ns;
}

static flight_waited flight_sleep(const flight_table *t, flight *f, int64_t deadline_ms)
{
    for (;;) {
        const uint32_t state = base_load_acq(&f->state); /* release in flight_settle */
        if (FLIGHT_PHASE(state) > FLIGHT_LOADING) { return FLIGHT_DONE; }
        const int64_t now_ms = base_now_ms(t->clock);
        const int64_t hard_timeout_ms = FLIGHT_PHASE(state) == FLIGHT_QUEUED ? BASE_NEVER_MS
                                                                     : f->hard_at_ms;
        if (now_ms >= deadline_ms) { return FLIGHT_LATE; }
        if (now_ms >= hard_timeout_ms) { return FLIGHT_HARD; }
        const uint64_t until = flight_until_ns(t, now_ms, BASE_MIN(deadline_ms, hard_timeout_ms));
        (void)sync_wait(&f->state, state, until);
    }
}

CELLAR_PRIVATE flight_waited flight_wait(flight_table *t, flight *f, int64_t deadline_ms,
                                         flight_outcome *out)
{
    base_thread_record *self = base_thread_self();
    /* A bulk load publishes its keys one after the other: its listeners run in a leader of keys
     * that are not in `leads` any more. */
    const bool edge = (self->leads != NULL || self->depth != 0) && self->index != 0;
    flight_waited how = FLIGHT_CYCLE;
    if (!edge || !flight_cycle(self, f)) {
        how = flight_sleep(t, f, deadline_ms);
        if (edge) { flight_edge_drop(self); }
    }
    if (FLIGHT_PHASE(base_load_acq(&f->state)) > FLIGHT_LOADING) { /* perhaps meanwhile */
        how = FLIGHT_DONE; /* the outcome is constant now and needs no lock */
        *out = f->result;
        (void)flight_bytes_ref(out->value);
    }
    flight_leave(t, f);
    return how;
}

CELLAR_PRIVATE void flight_leave(flight_table *t, flight *f)
{
    flight_unref(t, f);
    (void)base_sub_ar(&t->waiters, 1u);
}

BASE_SIZE_END
