/* SPDX-License-Identifier: MIT
 *
 * bus_copy: the states of a message in a group: enter, wait, deliver, return, die, end.
 *
 * WALK       enter -> WAITING at the end of its strand -> claim: HELD for a time -> ack: ended;
 *            retry: WAITING at the front, or DELAYED and then WAITING; max_deliver: dead
 *            dead -> first group of the dead queue, as the same copy: no allocation, cannot fail
 * INVARIANTS types: bus_types.h. A member with a function becomes idle only under the lock and
 *            only when no strand is ready: no message waits beside an idle member.
 * ORDER      A copy that returns now goes to its place by id, from the front, within BUS_WALK
 *            copies. So messages of one publisher keep their order when several return.
 * LOCKING    All under the lock of the bus. bus_settle does the rest after it.
 * LIMITS     BUS_SLICE timers for each call of bus_fire. */
#include "work/bus.h"
#include "work/bus_message.h"

BASE_SIZE_BEGIN

#define BUS_SLICE 1024u
#define BUS_WALK 1024u

CELLAR_PRIVATE int64_t bus_now(const cellar_bus *b)
{
    return BASE_MAX(base_now_ms(&b->obj.clock), 0);
}

CELLAR_PRIVATE void bus_after_init(bus_after *a)
{
    *a = (bus_after){ .first = NULL };
    a->end = &a->first;
}

CELLAR_PRIVATE void bus_ring(cellar_bus *b)
{
    work_ticker_ring(&b->ticker);
}

CELLAR_PRIVATE void bus_member_free(cellar_bus_member *m)
{
    const cellar_bus_free_fn free_fn = m->free_fn;
    void *ctx = m->ctx;
    base_free(&m->bus->obj.account, BASE_MOD_STORE, m,
              sizeof *m + m->prefetch * sizeof m->claim[0]);
    sync_assert_none();
    if (free_fn != NULL) { free_fn(ctx); }
}

/* Make a member idle again: the pool of a bus that closes takes no job. */
static void bus_push_failed(cellar_bus *b, base_job *j)
{
    cellar_bus_member *m = (cellar_bus_member *)(void *)j; /* its first field */
    bus_after a;
    bus_after_init(&a);
    sync_take(BUS, &b->lock);
    m->queued = false;
    m->group->idle_count++;
    if (m->leaving) { bus_unjoin(m, &a); }
    sync_drop(BUS, &b->lock);
    if (a.left != NULL) { bus_member_free(a.left); }
}

CELLAR_PRIVATE void bus_settle(cellar_bus *b, bus_after *a)
{
    while (a->first != NULL) {
        base_job *j = a->first;
        a->first = j->next;
        if (!base_pool_push(&b->ticker.pool, j)) { bus_push_failed(b, j); }
    }
    while (a->ended != NULL) {
        bus_message *m = a->ended;
        a->ended = m->next;
        base_free(&b->obj.account, BASE_MOD_STORE, m, m->block_bytes);
    }
    while (a->left != NULL) {
        cellar_bus_member *m = a->left;
        a->left = m->next;
        bus_member_free(m);
    }
    if (a->wake_takes) { sync_wake(&b->arrived, INT32_MAX); }
    if (a->wake_ends) { sync_wake(&b->ended, INT32_MAX); }
    if (a->ring) { bus_ring(b); }
    if (a->dead != 0) {
        base_log(&b->obj.log, BASE_LOG_WARNING, "bus", CELLAR_E_CANCELLED, "%lu dead letters",
                 (unsigned long)a->dead);
    }
    if (a->dropped != 0) {
        base_log(&b->obj.log, BASE_LOG_WARNING, "bus", CELLAR_DROPPED,
                 "%lu messages dropped: a group is full", (unsigned long)a->dropped);
    }
}

CELLAR_PRIVATE bus_queue *bus_queue_find(cellar_bus *b, const char *name, size_t len)
{
    const unsigned hash = (unsigned)base_hash(&b->hash_key, 0, name, len);
    bus_queue *q = BASE_TABLE_FIND(hh, b->queues, name, len, hash);
    return q != NULL && q->groups != NULL ? q : NULL;
}

/* ---- scopes, sleep ---- */

CELLAR_PRIVATE void bus_scope_enter(cellar_bus *b, bus_scope *f)
{
    f->tid = base_thread_id();
    f->next = b->scopes;
    b->scopes = f;
    (void)base_add_ar(&b->running, 1u);
}

CELLAR_PRIVATE void bus_scope_leave(cellar_bus *b, bus_scope *f)
{
    bus_scope **at = &b->scopes;
    while (*at != f) { at = &(*at)->next; }
    *at = f->next;
    (void)base_sub_ar(&b->running, 1u);
}

CELLAR_PRIVATE bool bus_is_mine(const void *bus)
{
    const cellar_bus *b = bus;
    const int32_t tid = base_thread_id();
    for (const bus_scope *f = b->scopes; f != NULL; f = f->next) {
        if (f->tid == tid) { return true; }
    }
    return false;
}

CELLAR_PRIVATE void bus_sleep(cellar_bus *b, _Atomic uint32_t *word, uint32_t *waiters,
                              uint64_t until_ns)
{
    const uint32_t seen = base_load_rlx(word);
    ++*waiters;
    sync_drop(BUS, &b->lock);
    (void)sync_wait(word, seen, until_ns);
    sync_take(BUS, &b->lock);
    --*waiters;
}

/* ---- strands ---- */

static void bus_link(bus_copy **first, bus_copy *c)
{
    if (*first == NULL) {
        c->next = c->prev = c;
        *first = c;
        return;
    }
    c->next = *first;
    c->prev = c->next->prev;
    c->prev->next = c->next->prev = c;
}

static void bus_unlink(bus_copy **first, bus_copy *c)
{
    c->next->prev = c->prev;
    c->prev->next = c->next;
    if (*first == c) { *first = c->next != c ? c->next : NULL; }
}

/* Link a strand with copies that is not busy into `ready`, or take any other one out. */
static void bus_strand_update(bus_group *g, bus_strand *l)
{
    const bool ready = !l->busy && l->first != NULL;
    if (ready == (l->next != NULL)) { return; }
    if (ready) {
        bus_strand *at = g->ready != NULL ? g->ready : l;
        l->next = at;
        l->prev = at != l ? at->prev : l;
        l->prev->next = l;
        at->prev = l;
        g->ready = at;
    } else {
        l->prev->next = l->next;
        l->next->prev = l->prev;
        if (g->ready == l) { g->ready = l->next != l ? l->next : NULL; }
        l->next = l->prev = NULL;
    }
}

static void bus_arm(bus_copy *c, int64_t due_ms, bus_after *a) SYNC_HOLDS(BUS)
{
    cellar_bus *b = c->group->bus;
    wheel_add(&b->wheel, &c->timer, due_ms);
    if (due_ms < b->wake_ms) {
        b->wake_ms = due_ms;
        a->ring = true;
    }
}

static int64_t bus_expires(const bus_copy *c)
{
    return c->dead == CELLAR_BUS_DEAD_NONE ? c->of->expires_ms : BASE_NEVER_MS;
}

/* Wake one member for a copy that can be delivered. */
static void bus_offer(bus_group *g, bus_after *a) SYNC_HOLDS(BUS)
{
    cellar_bus *b = g->bus;
    if (b->take_waiters != 0) {
        (void)base_add_rlx(&b->arrived, 1u);
        a->wake_takes = true;
    }
    if (g->idle_count == 0) { return; }
    cellar_bus_member *m = g->members;
    while (m->fn == NULL || m->queued) { m = m->next; }
    g->members = m->next;
    m->queued = true;
    g->idle_count--;
    m->job.next = NULL;
    *a->end = &m->job;
    a->end = &m->job.next;
}

CELLAR_PRIVATE void bus_offer_all(bus_group *g, bus_after *a)
{
    while (g->ready != NULL && g->idle_count != 0) { bus_offer(g, a); }
}

CELLAR_PRIVATE void bus_idle(cellar_bus_member *m, bus_after *a)
{
    bus_group *g = m->group;
    m->queued = false;
    g->idle_count++;
    if (m->leaving) { bus_unjoin(m, a); }
    if (g->ready != NULL && !g->bus->closing) { bus_offer(g, a); }
}

CELLAR_PRIVATE void bus_unjoin(cellar_bus_member *m, bus_after *a)
{
    bus_group *g = m->group;
    if (m->fn != NULL) { g->idle_count--; }
    g->member_count--;
    g->bus->member_count--;
    m->next->prev = m->prev;
    m->prev->next = m->next;
    if (g->members == m) { g->members = m->next != m ? m->next : NULL; }
    m->next = a->left;
    a->left = m;
}

/* Let a copy wait: at the end of its strand, or at its place by id near the front. */
static void bus_wait(bus_copy *c, bool front, bus_after *a) SYNC_HOLDS(BUS)
{
    bus_group *g = c->group;
    bus_strand *l = &g->strand[c->strand];
    c->state = BUS_WAITING;
    if (!front || l->first == NULL) {
        bus_link(&l->first, c);
    } else {
        bus_copy *at = l->first;
        uint32_t steps = 0;
        while (at->of->id < c->of->id && steps < BUS_WALK && (at != l->first || steps == 0)) {
            at = at->next;
            steps++;
        }
        const bool first = steps == 0;
        bus_link(&at, c);
        if (first) { l->first = c; }
    }
    if (bus_expires(c) != BASE_NEVER_MS) { bus_arm(c, bus_expires(c), a); }
    bus_strand_update(g, l);
    if (!l->busy) { bus_offer(g, a); }
}

/* Take a waiting copy out of its strand. */
static void bus_unwait(bus_copy *c) SYNC_HOLDS(BUS)
{
    bus_strand *l = &c->group->strand[c->strand];
    bus_unlink(&l->first, c);
    wheel_cancel(&c->group->bus->wheel, &c->timer);
    bus_strand_update(c->group, l);
}

/* Let the strand of a copy of an ordered group go on. */
static void bus_strand_free(bus_copy *c, bus_after *a) SYNC_HOLDS(BUS)
{
    bus_strand *l = &c->group->strand[c->strand];
    if (!l->busy) { return; }
    l->busy = false;
    bus_strand_update(c->group, l);
    if (l->first != NULL) { bus_offer(c->group, a); }
}

/* ---- ends ---- */

CELLAR_PRIVATE void bus_unref(cellar_bus *b, bus_message *m, bus_after *a)
{
    if (--m->refs != 0) { return; }
    m->next->prev = m->prev;
    m->prev->next = m->next;
    if (b->messages == m) { b->messages = m->next != m ? m->next : NULL; }
    m->next = a->ended;
    a->ended = m;
}

/* End a copy that is in no place. */
static void bus_end(bus_copy *c, stats_bus figure, bus_after *a) SYNC_HOLDS(BUS)
{
    bus_group *g = c->group;
    cellar_bus *b = g->bus;
    g->count[figure]++;
    g->live--;
    g->bytes -= c->of->bytes;
    if (b->end_waiters != 0) {
        (void)base_add_rlx(&b->ended, 1u);
        a->wake_ends = true;
    }
    if (b->drained && b->take_waiters != 0) {
        (void)base_add_rlx(&b->arrived, 1u);
        a->wake_takes = true;
    }
    c->group = NULL;
    bus_note_copy(b, c);
    bus_unref(b, c->of, a);
}

CELLAR_PRIVATE bool bus_has_room(const bus_group *g, size_t bytes)
{
    return g->live + g->reserved < g->o.max_messages && bytes <= g->o.max_bytes &&
           g->bytes + g->reserved_bytes <= g->o.max_bytes - bytes;
}

CELLAR_PRIVATE bool bus_make_room(bus_group *g, size_t bytes, bus_after *a)
{
    while (!bus_has_room(g, bytes)) {
        bus_copy *c = g->strand[0].first;
        if (g->o.ordered != 0 || c == NULL || bytes > g->o.max_bytes) { return false; }
        bus_unwait(c);
        bus_end(c, STATS_BUS_DROPPED_OLDEST, a);
        a->dropped++;
    }
    return true;
}

CELLAR_PRIVATE void bus_enter(bus_group *g, bus_copy *c, bus_after *a)
{
    c->group = g;
    c->strand = (uint32_t)(c->of->hash % g->strand_count);
    c->attempt = 0;
    c->of->refs++;
    g->count[STATS_BUS_COPIES]++;
    g->live++;
    g->bytes += c->of->bytes;
    bus_wait(c, false, a);
}

CELLAR_PRIVATE void bus_drop_new(bus_group *g, bus_after *a)
{
    g->count[STATS_BUS_COPIES]++;
    g->count[STATS_BUS_DROPPED_NEW]++;
    a->dropped++;
}

/* Make a copy that is in no place a dead letter. One that dies in its second queue ends. */
static void bus_die(bus_copy *c, cellar_bus_dead why, bus_after *a) SYNC_HOLDS(BUS)
{
    bus_group *g = c->group;
    bus_message *of = c->of;
    const bool first = c->dead == CELLAR_BUS_DEAD_NONE;
    const bus_queue *q =
        first ? bus_queue_find(g->bus, g->dead_queue, strlen(g->dead_queue)) : NULL;
    of->refs++;
    a->dead++;
    bus_end(c, STATS_BUS_DEAD, a);
    if (q != NULL) {
        c->dead = why;
        c->from = g->queue->name;
        if (bus_make_room(q->groups, of->bytes, a)) {
            bus_enter(q->groups, c, a);
        } else {
            bus_drop_new(q->groups, a);
        }
    }
    bus_unref(g->bus, of, a);
}

/* ---- delivery ---- */

CELLAR_PRIVATE void bus_describe(const bus_group *g, const bus_copy *c, cellar_bus_message *out)
{
    const bus_message *of = c->of;
    *out = cellar_bus_message_default();
    out->body = of->body;
    out->body_len = of->body_len;
    out->key = of->key;
    out->queue = g->queue->name;
    out->group = g->name;
    out->headers = of->headers;
    out->header_count = of->header_count;
    out->id = of->id;
    out->published_ms = of->published_ms;
    out->dead = c->dead;
    out->dead_queue = c->dead != CELLAR_BUS_DEAD_NONE ? c->from : NULL;
    out->attempt = c->attempt;
    out->priority = of->priority;
    memcpy(out->trace, of->trace, sizeof out->trace);
}

CELLAR_PRIVATE void bus_hold(bus_copy *c, int64_t due_ms, bus_after *a)
{
    BASE_ASSERT(c->state == BUS_HELD);
    wheel_cancel(&c->group->bus->wheel, &c->timer);
    bus_arm(c, due_ms, a);
}

CELLAR_PRIVATE bus_claim *bus_claim_next(cellar_bus_member *m, int64_t now, bus_after *a)
{
    bus_group *g = m->group;
    bus_copy *c = NULL;
    while (g->ready != NULL) {
        c = g->ready->first;
        bus_unwait(c);
        if (bus_expires(c) <= now) {
            bus_end(c, STATS_BUS_EXPIRED, a);
        } else if (c->attempt >= g->o.max_deliver) { /* the process ended during the last one */
            bus_die(c, CELLAR_BUS_DEAD_DELIVERIES, a);
        } else {
            break;
        }
        c = NULL;
    }
    if (c == NULL) { return NULL; }
    bus_claim *claim = m->claim;
    while (claim->of != NULL) { claim++; }
    BASE_ASSERT(claim < m->claim + m->prefetch);
    claim->of = c->of;
    claim->copy = c;
    claim->delivery = ++g->bus->last_delivery * BUS_PREFETCH_MAX + (uint64_t)(claim - m->claim);
    c->of->refs++;
    c->claim = claim;
    c->state = BUS_HELD;
    c->attempt++;
    bus_note_copy(g->bus, c);
    m->held++;
    g->held++;
    g->count[STATS_BUS_DELIVERED]++;
    if (g->o.ordered != 0) {
        g->strand[c->strand].busy = true;
        bus_strand_update(g, &g->strand[c->strand]);
    }
    bus_arm(c, base_add_sat(now, g->o.visibility_ms), a);
    return claim;
}

/* Take a copy out of the hands of its member. */
static void bus_unhold(bus_copy *c) SYNC_HOLDS(BUS)
{
    wheel_cancel(&c->group->bus->wheel, &c->timer);
    c->group->held--;
    c->claim->copy = NULL;
    c->claim = NULL;
}

/* Return a copy that was held, after delay_ms. */
static void bus_return(bus_copy *c, int64_t delay_ms, int64_t now, bus_after *a) SYNC_HOLDS(BUS)
{
    bus_group *g = c->group;
    g->count[STATS_BUS_REQUEUED]++;
    if (delay_ms == 0) {
        bus_wait(c, true, a);
        bus_strand_free(c, a);
        return;
    }
    c->state = BUS_DELAYED;
    g->delayed++;
    bus_link(&g->delays, c);
    bus_arm(c, BASE_MIN(base_add_sat(now, delay_ms), bus_expires(c)), a);
}

/* Apply a fate to a copy that was held. */
static void bus_apply(bus_copy *c, bus_fate fate, int64_t delay_ms, int64_t now, bus_after *a)
    SYNC_HOLDS(BUS)
{
    const bool spent = fate == BUS_RETRY && c->attempt >= c->group->o.max_deliver;
    if (fate == BUS_RETURN) {
        c->attempt--;
        bus_note_copy(c->group->bus, c);
    }
    if (fate == BUS_RETURN || (fate == BUS_RETRY && !spent)) {
        bus_return(c, delay_ms, now, a);
        return;
    }
    bus_strand_free(c, a);
    switch (fate) {
    case BUS_ACK: bus_end(c, STATS_BUS_ACKED, a); break;
    case BUS_FILTER: bus_end(c, STATS_BUS_FILTERED, a); break;
    case BUS_REJECT: bus_die(c, CELLAR_BUS_DEAD_REJECTED, a); break;
    case BUS_RETRY: bus_die(c, CELLAR_BUS_DEAD_DELIVERIES, a); break;
    case BUS_RETURN: break;
    }
}

CELLAR_PRIVATE bus_claim *bus_claim_of(cellar_bus_member *m, uint64_t delivery)
{
    const uint64_t place = delivery % BUS_PREFETCH_MAX;
    bus_claim *claim = place < m->prefetch ? &m->claim[place] : NULL;
    return claim != NULL && claim->of != NULL && claim->delivery == delivery ? claim : NULL;
}

CELLAR_PRIVATE bool bus_unclaim(cellar_bus_member *m, bus_claim *claim, bus_fate fate,
                                int64_t delay_ms, int64_t now, bus_after *a)
{
    bus_message *of = claim->of;
    bus_copy *c = claim->copy;
    if (c != NULL) {
        bus_unhold(c);
        bus_apply(c, fate, delay_ms, now, a);
    } else if (fate != BUS_RETURN) {
        m->group->count[STATS_BUS_LATE]++;
    }
    claim->of = NULL;
    m->held--;
    bus_unref(m->bus, of, a);
    return c != NULL;
}

CELLAR_PRIVATE void bus_clear(bus_group *g, bus_after *a)
{
    for (uint32_t i = 0; i < g->strand_count; i++) {
        for (bus_copy *c; (c = g->strand[i].first) != NULL;) {
            bus_unwait(c);
            bus_end(c, STATS_BUS_DROPPED_REMOVED, a);
        }
    }
    for (bus_copy *c; (c = g->delays) != NULL;) {
        bus_unlink(&g->delays, c);
        wheel_cancel(&g->bus->wheel, &c->timer);
        bus_end(c, STATS_BUS_DROPPED_REMOVED, a);
    }
    g->delayed = 0;
}

/* ---- timers ---- */

/* Let a copy that is delayed wait for a member. */
static void bus_undelay(bus_copy *c, bus_after *a) SYNC_HOLDS(BUS)
{
    bus_group *g = c->group;
    wheel_cancel(&g->bus->wheel, &c->timer);
    bus_unlink(&g->delays, c);
    g->delayed--;
    bus_wait(c, g->o.ordered != 0, a); /* its expiry is the next timer, if it has passed */
    bus_strand_free(c, a);
}

/* Apply the timer of a copy. */
static void bus_due(bus_copy *c, int64_t now, bus_after *a) SYNC_HOLDS(BUS)
{
    bus_group *g = c->group;
    switch (c->state) {
    case BUS_WAITING:
        bus_unwait(c);
        bus_end(c, STATS_BUS_EXPIRED, a);
        break;
    case BUS_DELAYED:
        bus_undelay(c, a);
        break;
    case BUS_HELD:
        g->count[STATS_BUS_HOLDS_LOST]++;
        bus_unhold(c);
        bus_apply(c, BUS_RETRY, 0, now, a);
        break;
    }
}

CELLAR_PRIVATE void bus_fire(cellar_bus *b, int64_t *next_ms)
{
    const int64_t now = bus_now(b);
    uint32_t budget = BUS_SLICE;
    wheel_timer *t;
    bus_after a;
    bus_after_init(&a);
    sync_take(BUS, &b->lock);
    while ((t = wheel_pop(&b->wheel, now, &budget)) != NULL) {
        bus_due((bus_copy *)(void *)t, now, &a); /* its first field */
    }
    b->wake_ms = wheel_next_ms(&b->wheel);
    *next_ms = budget == 0 ? 0
               : b->wake_ms != BASE_NEVER_MS ? BASE_MAX(b->wake_ms - now, 1) : BASE_NEVER_MS;
    sync_drop(BUS, &b->lock);
    bus_settle(b, &a);
}

BASE_SIZE_END
