/* SPDX-License-Identifier: MIT
 *
 * bus_publish: find the queues of a key, make the message, put a copy into each group.
 *
 * WALK       look: queues and number of copies, under the lock -> make the message without it ->
 *            put: all groups are asked first, then all get their copies. Full with ERROR: no
 *            group gets it. Full with BLOCK: sleep, ask all again. Groups or routes changed: look
 *            again. With a journal the room is reserved, and the message is written before.
 * INVARIANTS A message enters all groups of its queues in one hold of the lock, or none.
 * DEADLOCK   A publisher that waits is noted with its thread. It is refused if no member of the
 *            full group can take a message before it returns: each one runs on, or took on, a
 *            thread that waits as well, or has a function and all workers wait.
 * LIMITS     CELLAR_BUS_QUEUES_MAX queues a message.
 * LOCKING    bus_types.h. */
#include <string.h>

#include "work/bus.h"
#include "work/bus_journal.h"
#include "work/bus_message.h"

BASE_SIZE_BEGIN

#define BUS_PENDING CELLAR_PENDING /* full and blocking, or changed: not decided yet */

/* ---- look ---- */

static cellar_err bus_add_queue(bus_publication *l, bus_queue *q)
{
    for (uint32_t i = 0; i < l->queue_count; i++) {
        if (l->queue[i] == q) { return CELLAR_OK; }
    }
    if (l->queue_count == CELLAR_BUS_QUEUES_MAX) { return CELLAR_E_LIMIT; }
    l->queue[l->queue_count++] = q;
    for (const bus_group *g = q->groups; g != NULL; g = g->next) { l->copy_count++; }
    return CELLAR_OK;
}

/* Find the queues of a publication. */
static cellar_err bus_look(cellar_bus *b, bus_publication *l) SYNC_HOLDS(BUS)
{
    l->queue_count = l->copy_count = 0;
    l->generation = b->generation;
    if (l->o.direct != 0) {
        bus_queue *q = bus_queue_find(b, l->key, l->key_len);
        return q != NULL ? bus_add_queue(l, q) : CELLAR_E_NOT_FOUND;
    }
    for (const bus_route *r = b->routes; r != NULL; r = r->next) {
        if (r->queue->groups != NULL && bus_topic_match(&r->topic, &l->words)) {
            const cellar_err err = bus_add_queue(l, r->queue);
            if (err != CELLAR_OK) { return err; }
        }
    }
    l->unrouted = l->copy_count == 0;
    if (!l->unrouted) { return CELLAR_OK; }
    bus_queue *q = bus_queue_find(b, b->default_queue, strlen(b->default_queue));
    return q != NULL ? bus_add_queue(l, q) : CELLAR_UNROUTED;
}

/* ---- put ---- */

/* Ask all groups for room. PENDING: *full blocks. */
static cellar_err bus_admit(const bus_publication *l, const bus_group **full) SYNC_HOLDS(BUS)
{
    cellar_err err = CELLAR_OK;
    for (uint32_t i = 0; i < l->queue_count; i++) {
        for (const bus_group *g = l->queue[i]->groups; g != NULL; g = g->next) {
            const bool blocks = g->o.on_full == CELLAR_BUS_FULL_BLOCK;
            if (bus_has_room(g, l->bytes) ||
                (!blocks && g->o.on_full != CELLAR_BUS_FULL_ERROR)) {
                continue;
            }
            if (l->bytes > g->o.max_bytes) { return CELLAR_E_TOOBIG; }
            if (!blocks) { return CELLAR_E_LIMIT; }
            *full = g;
            err = BUS_PENDING;
        }
    }
    return err;
}

/* Return whether a thread is this one, or waits for room. */
static bool bus_thread_waits(const cellar_bus *b, int32_t tid)
{
    const bus_waiter *w = b->waiters;
    while (w != NULL && w->tid != tid) { w = w->next; }
    return w != NULL || tid == base_thread_id();
}

/* Return the number of functions that run on threads that wait for room. */
static uint32_t bus_stuck_workers(const cellar_bus *b) SYNC_HOLDS(BUS)
{
    uint32_t n = 0;
    for (const bus_queue *q = b->queues; q != NULL; q = q->hh.next) {
        for (const bus_group *g = q->groups; g != NULL; g = g->next) {
            const cellar_bus_member *m = g->members;
            for (uint32_t i = 0; i < g->member_count; i++, m = m->next) {
                n += m->fn != NULL && m->tid != 0 && bus_thread_waits(b, m->tid);
            }
        }
    }
    return n;
}

/* Return whether no member of a full group can take a message while this thread waits. */
static bool bus_is_stuck(const bus_group *g) SYNC_HOLDS(BUS)
{
    const cellar_bus *b = g->bus;
    const bool workers_stuck = bus_stuck_workers(b) >= BASE_MAX(b->ticker.pool.max_workers, 1u);
    const cellar_bus_member *m = g->members;
    for (uint32_t i = 0; i < g->member_count; i++, m = m->next) {
        const bool idle = m->fn != NULL && m->tid == 0;
        if (idle ? !workers_stuck : m->tid == 0 || !bus_thread_waits(b, m->tid)) { return false; }
    }
    return g->member_count != 0;
}

/* Wait until a copy ends somewhere. Return PENDING, or why there is no point in waiting. */
static cellar_err bus_wait_room(cellar_bus *b, const bus_group *full, uint64_t since_ns)
    SYNC_HOLDS(BUS)
{
    uint64_t until_ns = UINT64_MAX;
    if (bus_is_stuck(full)) { return CELLAR_E_DEADLOCK; }
    if (full->o.block_ms != 0) {
        until_ns = since_ns + (uint64_t)BASE_MIN(full->o.block_ms, INT64_MAX / 4000000) * 1000000u;
        if (base_now_ns() >= until_ns) { return CELLAR_E_TIMEOUT; }
    }
    bus_waiter w = { .next = b->waiters, .tid = base_thread_id() };
    b->waiters = &w;
    bus_sleep(b, &b->ended, &b->end_waiters, until_ns);
    bus_waiter **at = &b->waiters;
    while (*at != &w) { at = &(*at)->next; }
    *at = w.next;
    return BUS_PENDING;
}

/* Give the copies of a message their groups. */
static void bus_address(cellar_bus *b, const bus_publication *l, bus_message *m) SYNC_HOLDS(BUS)
{
    bus_copy *c = m->copy;
    m->id = ++b->last_id;
    m->refs = 1;
    for (uint32_t i = 0; i < l->queue_count; i++) {
        for (bus_group *g = l->queue[i]->groups; g != NULL; g = g->next) { (c++)->group = g; }
    }
    BASE_ASSERT(c == m->copy + m->copy_count);
}

/* Return whether a group promises room to a publish that it admits. */
static bool bus_promises(const bus_group *g)
{
    return g->o.on_full == CELLAR_BUS_FULL_ERROR || g->o.on_full == CELLAR_BUS_FULL_BLOCK;
}

/* Write a message into the journal. Its groups stay, and so does their room. Drops the lock
 * meanwhile. */
static cellar_err bus_write(cellar_bus *b, bus_message *m, bus_after *a) SYNC_HOLDS(BUS)
{
    b->pending++;
    for (const bus_copy *c = m->copy; c < m->copy + m->copy_count; c++) {
        c->group->pending++;
        c->group->reserved += bus_promises(c->group);
        c->group->reserved_bytes += bus_promises(c->group) ? m->bytes : 0;
    }
    sync_drop(BUS, &b->lock);
    const cellar_err err = bus_commit_message(b, m);
    sync_take(BUS, &b->lock);
    b->pending--;
    for (const bus_copy *c = m->copy; c < m->copy + m->copy_count; c++) {
        c->group->pending--;
        c->group->reserved -= bus_promises(c->group);
        c->group->reserved_bytes -= bus_promises(c->group) ? m->bytes : 0;
    }
    if (b->end_waiters != 0) {
        (void)base_add_rlx(&b->ended, 1u);
        a->wake_ends = true;
    }
    return err;
}

/* Put the copies of a message into their groups. */
static void bus_deliver(cellar_bus *b, const bus_publication *l, bus_message *m, bus_after *a)
    SYNC_HOLDS(BUS)
{
    bus_message_link(b, m, NULL);
    for (bus_copy *c = m->copy; c < m->copy + m->copy_count; c++) {
        bus_group *g = c->group;
        const bool drops = g->o.on_full == CELLAR_BUS_FULL_DROP_OLDEST;
        if (bus_promises(g) || bus_has_room(g, m->bytes) ||
            (drops && bus_make_room(g, m->bytes, a))) {
            bus_enter(g, c, a);
        } else {
            c->group = NULL;
            bus_drop_new(g, a);
            bus_note_copy(b, c);
        }
    }
    b->count[STATS_BUS_PUBLISHED]++;
    b->count[STATS_BUS_UNROUTED] += l->unrouted;
    bus_unref(b, m, a);
}

/* Put a message into all its groups, or into none. PENDING: groups or routes changed. */
static cellar_err bus_put(cellar_bus *b, const bus_publication *l, bus_message *m,
                          uint64_t since_ns, bus_after *a) SYNC_HOLDS(BUS)
{
    for (;;) {
        const bus_group *full = NULL;
        if (b->drained || b->closing) { return CELLAR_E_CLOSED; }
        if (l->generation != b->generation) { return BUS_PENDING; }
        cellar_err err = bus_admit(l, &full);
        if (err == BUS_PENDING) { err = bus_wait_room(b, full, since_ns); }
        if (err == BUS_PENDING) { continue; }
        if (err != CELLAR_OK) {
            b->count[STATS_BUS_REJECTED_FULL]++;
            return err;
        }
        bus_address(b, l, m);
        if (b->tasks != NULL) { err = bus_write(b, m, a); }
        if (err == CELLAR_OK) { bus_deliver(b, l, m, a); }
        return err;
    }
}

static cellar_err bus_post(cellar_bus *b, bus_publication *l)
{
    const uint64_t since_ns = base_now_ns();
    for (;;) {
        bus_after a;
        bus_after_init(&a);
        sync_take(BUS, &b->lock);
        cellar_err err = bus_look(b, l);
        b->count[STATS_BUS_UNROUTED] += err == CELLAR_UNROUTED;
        b->count[STATS_BUS_REJECTED_LIMIT] += err == CELLAR_E_LIMIT;
        sync_drop(BUS, &b->lock);
        if (err == CELLAR_UNROUTED) {
            base_log(&b->obj.log, BASE_LOG_WARNING, "bus", (int)err, "no route matches \"%s\"",
                     l->key);
        }
        if (err != CELLAR_OK) { return err; }
        bus_message *m = bus_message_make(b, l, bus_now(b));
        if (m == NULL) { return CELLAR_E_NOMEM; }
        sync_take(BUS, &b->lock);
        err = bus_put(b, l, m, since_ns, &a);
        sync_drop(BUS, &b->lock);
        bus_settle(b, &a);
        if (err != CELLAR_OK) { base_free(&b->obj.account, BASE_MOD_STORE, m, m->block_bytes); }
        if (err != BUS_PENDING) { return err; }
    }
}

CELLAR_API cellar_err cellar_bus_publish(cellar_bus *b, const char *key, const void *body,
                                         size_t len, const cellar_bus_publish_opts *o)
{
    if (b == NULL || (body == NULL && len != 0)) { return CELLAR_E_INVAL; }
    if (b->obj.forked) { return CELLAR_E_FORKED; }
    bus_publication l = { .key = key, .body = body, .body_len = len };
    const cellar_err err = bus_publication_opts(b, &l, o);
    return err == CELLAR_OK ? bus_post(b, &l) : err;
}

BASE_SIZE_END
