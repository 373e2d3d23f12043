/* SPDX-License-Identifier: MIT
 *
 * task_queue: which queued task runs next.
 *
 * PICTURE    weights (smooth weighted round robin) -> ring of the queues of a weight that offer
 *            tasks (turns) -> 10 levels (the oldest of the highest level, with ageing) -> name
 *            free? run : park
 *            name: parked levels --release--> front of the queue
 * INVARIANTS Parked tasks of one name and level are older than those in its queue, except for the
 *            released one at the front: so they begin in their order. A name with parked tasks has
 *            a closed gate, max_running runs, or a released task: the end of each releases the
 *            next one.
 * LIMITS     A call moves at most `budget` tasks, and passes TASK_TURNS queues with a debt.
 * SEE ALSO   task_types.h */
#include "work/bus.h"

BASE_SIZE_BEGIN

#define TASK_TURNS 16u

CELLAR_PRIVATE void task_levels_init(task_levels *l)
{
    for (uint32_t i = 0; i < TASK_LEVELS; i++) { wheel_ring_init(&l->ring[i]); }
    l->used = l->count = 0;
    l->bytes = 0;
}

/* Add a task before one of its level; NULL: at the end. */
static void task_levels_add(task_levels *l, task *t, wheel_timer *before)
{
    BASE_ASSERT(!wheel_is_armed(&t->timer));
    wheel_ring_add(before != NULL ? before : &l->ring[t->priority], &t->timer);
    l->used |= 1u << t->priority;
    l->count++;
    l->bytes += t->body->len;
}

static void task_levels_remove(task_levels *l, task *t)
{
    BASE_ASSERT(l->count > 0);
    wheel_ring_remove(&t->timer);
    l->count--;
    l->bytes -= t->body->len;
    if (wheel_ring_empty(&l->ring[t->priority])) { l->used &= ~(1u << t->priority); }
}

/* Return the task that goes first. age_ms: a level is gained for each; BASE_NEVER_MS: none. */
static task *task_levels_first(task_levels *l, int64_t now_ms, int64_t age_ms)
{
    task *best = NULL;
    int64_t best_level = -1;
    for (uint32_t used = l->used; used != 0;) {
        const uint32_t level = base_log2_floor(used);
        used &= ~(1u << level);
        task *t = task_of_timer(l->ring[level].next);
        const int64_t aged = (int64_t)level + BASE_MAX(now_ms - t->timer.due_ms, 0) / age_ms;
        const int64_t counts = BASE_MIN(aged, (int64_t)CELLAR_TASK_PRIORITY_MAX);
        if (counts > best_level || (counts == best_level && t->order < best->order)) {
            best = t;
            best_level = counts;
        }
    }
    return best;
}

/* Return the one of two tasks that a full pool drops first; `best` may be NULL. */
static task *task_first_out(task *best, task *t)
{
    const bool first = best == NULL || t->priority < best->priority ||
                       (t->priority == best->priority && t->order < best->order);
    return first ? t : best;
}

/* Return `best`, or the oldest task of the lowest level if it is to leave before `best`. Runs of
 * schedules are left out, and other names than `of`, unless that is NULL. */
static task *task_levels_oldest(task_levels *l, const task_name *of, task *best)
{
    for (uint32_t used = l->used; used != 0; used &= used - 1) {
        wheel_timer *head = &l->ring[__builtin_ctz(used)];
        for (wheel_timer *at = head->next; at != head; at = at->next) {
            task *t = task_of_timer(at);
            if ((t->flags & TASK_RECURS) != 0 || (of != NULL && t->name != of->number)) {
                continue;
            }
            return task_first_out(best, t);
        }
    }
    return best;
}

/* ---- queues with tasks ---- */

/* Return whether a queue has tasks and is not paused. */
static bool task_queue_offers(const task_queue *q)
{
    return q->levels.count != 0 && !wheel_is_armed(&q->gate.timer);
}

/* Keep the queue in the ring of its weight while it offers tasks to workers. */
static void task_queue_sort(cellar_pool *p, task_queue *q)
{
    const bool offers = !q->pull && task_queue_offers(q);
    if (offers == wheel_is_armed(&q->turn)) { return; }
    task_weight *w = &p->weight[q->weight - 1];
    if (offers) {
        if (w->count++ == 0) {
            wheel_ring_init(&w->ring);
            wheel_ring_add(&p->weights, &w->link);
        }
        wheel_ring_add(&w->ring, &q->turn);
        p->offered += q->weight;
    } else {
        wheel_ring_remove(&q->turn);
        if (--w->count == 0) { wheel_ring_remove(&w->link); }
        p->offered -= q->weight;
    }
}

static void task_queue_put(cellar_pool *p, task_queue *q, task *t, bool front)
{
    task_levels_add(&q->levels, t, front ? q->levels.ring[t->priority].next : NULL);
    task_queue_sort(p, q);
}

static void task_queue_drop(cellar_pool *p, task_queue *q, task *t)
{
    task_levels_remove(&q->levels, t);
    task_queue_sort(p, q);
}

/* Give each weight the credit of `turns` turns. Return the one with the largest; NULL: no queue
 * offers tasks. The bounds end what is left of a time with more queues. */
static task_weight *task_weights_turn(cellar_pool *p, int64_t turns)
{
    const int64_t most = (int64_t)p->offered * TASK_BURST_MAX;
    task_weight *best = NULL;
    for (wheel_timer *at = p->weights.next; at != &p->weights; at = at->next) {
        task_weight *w = (task_weight *)(void *)at; /* its first field */
        const int64_t share = (w - p->weight + 1) * (int64_t)w->count;
        w->credit = BASE_MIN(w->credit + share * turns, most);
        if (best == NULL || (p->cfg.order == CELLAR_POOL_STRICT ? w > best
                                                                 : w->credit > best->credit)) {
            best = w;
        }
    }
    return best;
}

static void task_weight_pay(const cellar_pool *p, task_weight *w, int64_t turns)
{
    const int64_t offered = (int64_t)p->offered;
    w->credit = BASE_MAX(w->credit - offered * turns, -offered * TASK_BURST_MAX);
}

/* Return the queue that has its turn; NULL: none offers tasks. */
static task_queue *task_queue_turn(cellar_pool *p)
{
    task_weight *w = task_weights_turn(p, 1);
    if (w == NULL) { return NULL; }
    task_weight_pay(p, w, 1);
    for (uint32_t n = 0;; n++) {
        task_queue *q = (task_queue *)(void *)w->ring.next; /* its first field */
        wheel_ring_remove(&q->turn);
        wheel_ring_add(&w->ring, &q->turn);
        if (q->debt == 0 || n == TASK_TURNS) { return q; }
        q->debt--;
    }
}

CELLAR_PRIVATE void task_queue_charge(cellar_pool *p, task_queue *q, uint32_t tasks)
{
    (void)task_weights_turn(p, tasks);
    task_weight_pay(p, &p->weight[q->weight - 1], tasks);
    q->debt = tasks;
}

CELLAR_PRIVATE void task_queue_weigh(cellar_pool *p, task_queue *q, uint32_t weight)
{
    const bool pull = q->pull;
    q->pull = true; /* out of its ring meanwhile */
    task_queue_sort(p, q);
    q->weight = weight;
    q->pull = pull;
    task_queue_sort(p, q);
}

/* ---- names ---- */

/* Wake one worker after the lock, if one sleeps. */
static void task_wake(cellar_pool *p, task_after *a)
{
    if (p->sleeping == 0) { return; }
    p->sleeping--;
    p->woken++;
    a->work++;
}

static void task_wake_takers(const cellar_pool *p, task_after *a)
{
    a->arrived = a->arrived || p->takers != 0;
}

static void task_wake_all(cellar_pool *p, task_after *a)
{
    while (p->sleeping != 0) { task_wake(p, a); }
    task_wake_takers(p, a);
}

/* Wake a thread that may begin a task of a queue. */
static void task_wake_for(cellar_pool *p, const task_queue *q, task_after *a)
{
    if (q->pull) {
        task_wake_takers(p, a);
    } else {
        task_wake(p, a);
    }
}

static bool task_name_waits(const task_name *n)
{
    /* The name was paused, and no attempt has succeeded since. */
    const bool broken = n->opts.break_after != 0 && n->failures >= n->opts.break_after;
    return n->missing || wheel_is_armed(&n->gate.timer) || (broken && n->running != 0) ||
           (n->opts.max_running != 0 && n->running >= n->opts.max_running);
}

static void task_park(cellar_pool *p, task_name *n, task *t)
{
    t->flags |= TASK_PARKED;
    p->parked++;
    if (n->missing) { return; }
    n->count[wheel_is_armed(&n->gate.timer) ? STATS_TASK_PARKED_RATE
                                            : STATS_TASK_PARKED_RUNNING]++;
}

static void task_enter(cellar_pool *p, task_name *n, task *t, bool released, task_after *a)
{
    task_queue *q = n->queue;
    if (p->bursts != 0 && !q->pull &&
        (released || (p->burst_queue != NULL && q != p->burst_queue) ||
         q->weight > p->burst_weight || t->priority > p->burst_priority)) {
        a->recall = true; /* the task may go before those in bursts */
    }
    task_queue_put(p, q, t, released);
    if (released) {
        t->flags |= TASK_RELEASED;
        n->released++;
    } else {
        n->queued++;
    }
    task_wake_for(p, q, a);
}

/* Take a task out of its queue. */
static void task_leave(cellar_pool *p, task_name *n, task *t)
{
    task_queue_drop(p, n->queue, t);
    if ((t->flags & TASK_RELEASED) != 0) {
        t->flags &= (uint8_t)~TASK_RELEASED;
        n->released--;
    } else {
        n->queued--;
    }
}

CELLAR_PRIVATE void task_queue_leave(cellar_pool *p, task *t)
{
    task_leave(p, p->names[t->name], t);
}

CELLAR_PRIVATE void task_queue_return(cellar_pool *p, task *t, task_after *a)
{
    task_name *n = p->names[t->name];
    task_queue_put(p, n->queue, t, true);
    n->queued++;
    task_wake_for(p, n->queue, a);
}

static void task_unpark(cellar_pool *p, task_name *n, task *t)
{
    task_levels_remove(&n->parked, t);
    t->flags &= (uint8_t)~TASK_PARKED;
    p->parked--;
}

/* Return whether a parked task of the name goes before a task of `level` and `order`. */
static task *task_parked_before(task_name *n, uint32_t level, uint64_t order)
{
    if (n->parked.used >> level == 0) { return NULL; }
    task *first = task_levels_first(&n->parked, 0, BASE_NEVER_MS);
    return first->priority > level || first->order < order ? first : NULL;
}

CELLAR_PRIVATE void task_queue_add(cellar_pool *p, task *t, task_after *a)
{
    task_name *n = p->names[t->name];
    bus_lane *l = bus_lane_of(p, t);
    if (l != NULL && l->holder != NULL && l->holder != t) {
        wheel_ring_add(&l->wait, &t->timer);
        p->parked++;
        return;
    }
    if (l != NULL) { l->holder = t; }
    const bool parks = n->queued == 0 &&
                       (task_name_waits(n) || n->parked.used >> t->priority != 0);
    if (parks) {
        task_levels_add(&n->parked, t, NULL);
        task_park(p, n, t);
        task_queue_release(p, n, a);
    } else {
        task_enter(p, n, t, false, a);
    }
}

CELLAR_PRIVATE void task_lane_leave(cellar_pool *p, task *t, task_after *a)
{
    bus_lane *l = bus_lane_of(p, t);
    if (l == NULL || l->holder != t) { return; }
    l->holder = NULL;
    if (wheel_ring_empty(&l->wait)) { return; }
    task *next = task_of_timer(l->wait.next);
    wheel_ring_remove(&next->timer);
    p->parked--;
    task_queue_add(p, next, a);
}

CELLAR_PRIVATE void task_lanes_enter(cellar_pool *p, task_name *n, task_after *a)
{
    wheel_timer all;
    wheel_ring_init(&all);
    /* Rows of the journal: the oldest of a lane may wait for another delivery. */
    for (uint32_t i = 0; n->live != 0 && i < p->chunk_count * TASK_CHUNK; i++) {
        task *t = task_slot_at(p, i);
        const bool of_it = t != NULL && t->name == n->number && task_is_live(t);
        bus_lane *l = of_it ? bus_lane_of(p, t) : NULL;
        if (l != NULL && (l->holder == NULL ||
                          bus_head_of(t->body)->id < bus_head_of(l->holder->body)->id)) {
            l->holder = t;
        }
    }
    while (n->parked.used != 0) {
        task *t = task_levels_first(&n->parked, 0, BASE_NEVER_MS);
        task_unpark(p, n, t);
        wheel_ring_add(&all, &t->timer);
    }
    while (!wheel_ring_empty(&all)) {
        task *t = task_of_timer(all.next);
        wheel_ring_remove(&t->timer);
        task_queue_add(p, t, a);
    }
}

CELLAR_PRIVATE void task_queue_park(cellar_pool *p, task *t)
{
    task_name *n = p->names[t->name];
    wheel_timer *at = n->parked.ring[t->priority].next;
    /* Only tasks that were taken at the same time as this one are before it. */
    while (at != &n->parked.ring[t->priority] && task_of_timer(at)->order < t->order) {
        at = at->next;
    }
    task_levels_add(&n->parked, t, at);
    task_park(p, n, t);
}

CELLAR_PRIVATE void task_queue_release(cellar_pool *p, task_name *n, task_after *a)
{
    if (n->parked.count == 0 || n->released != 0 || task_name_waits(n)) { return; }
    task *t = task_levels_first(&n->parked, 0, BASE_NEVER_MS);
    task_unpark(p, n, t);
    task_enter(p, n, t, true, a);
}

CELLAR_PRIVATE void task_queue_remove(cellar_pool *p, task *t, task_after *a)
{
    task_name *n = p->names[t->name];
    const bus_lane *l = bus_lane_of(p, t);
    if (l != NULL && l->holder != t) {
        wheel_ring_remove(&t->timer);
        p->parked--;
    } else if ((t->flags & TASK_PARKED) != 0) {
        task_unpark(p, n, t);
    } else {
        task_leave(p, n, t);
        task_queue_release(p, n, a);
    }
}

/* ---- queues ---- */

CELLAR_PRIVATE task_queue *task_queue_find(cellar_pool *p, const char *name)
{
    const size_t len = strlen(name);
    return BASE_TABLE_FIND(hh, p->queues, name, len, task_hash(p, name, len));
}

CELLAR_PRIVATE cellar_err task_queue_enter(cellar_pool *p, task_queue *q)
{
    BASE_TABLE_CHARGE(&p->obj.account, BASE_MOD_STORE);
    const size_t len = strlen(q->name);
    if (p->queue_count == TASK_QUEUES_MAX) {
        p->count[STATS_TASK_REJECTED_LIMIT]++;
        return CELLAR_E_LIMIT;
    }
    BASE_TABLE_ADD(hh, p->queues, q->name, len, task_hash(p, q->name, len), q);
    if (q->hh.tbl == NULL) { return CELLAR_E_NOMEM; }
    p->queue_count++;
    return CELLAR_OK;
}

CELLAR_PRIVATE void task_queue_init(task_queue *q)
{
    q->weight = 1;
    q->gate.queue = q;
    task_levels_init(&q->levels);
}

CELLAR_PRIVATE task_queue *task_queue_make(cellar_pool *p, const char *name, bool pull)
{
    task_queue *q = base_alloc(&p->obj.account, BASE_MOD_STORE, sizeof *q, NULL);
    if (q == NULL) { return NULL; }
    memcpy(q->name, name, strlen(name));
    task_queue_init(q);
    q->pull = pull;
    return q;
}

CELLAR_PRIVATE task *task_queue_next(cellar_pool *p, task_queue *from, int64_t now_ms,
                                     uint32_t *budget)
{
    while (*budget != 0) {
        task_queue *q = from == NULL ? task_queue_turn(p) : task_queue_offers(from) ? from : NULL;
        if (q == NULL) { return NULL; }
        task *t = task_levels_first(&q->levels, now_ms, p->cfg.age_ms);
        task_name *n = p->names[t->name];
        const bool released = (t->flags & TASK_RELEASED) != 0;
        --*budget;
        task_leave(p, n, t);
        task *before = task_parked_before(n, t->priority, t->order);
        if (before == NULL && !task_name_waits(n)) { return t; }
        if (released) {
            task_queue_park(p, t);
        } else { /* all parked tasks of its level are older */
            task_levels_add(&n->parked, t, NULL);
            task_park(p, n, t);
        }
        if (!task_name_waits(n)) {
            task_unpark(p, n, before);
            return before;
        }
    }
    return NULL;
}

CELLAR_PRIVATE int64_t task_queue_age(const task_queue *q, int64_t now_ms)
{
    int64_t age_ms = 0;
    for (uint32_t used = q->levels.used; used != 0; used &= used - 1) {
        const wheel_timer *t = q->levels.ring[base_log2_floor(used & ~(used - 1))].next;
        age_ms = BASE_MAX(age_ms, now_ms - t->due_ms);
    }
    return age_ms;
}

CELLAR_PRIVATE bool task_queue_ready(const cellar_pool *p)
{
    return p->offered != 0 && !p->hold;
}

/* Return `best`, or the task of a name outside its queue that is to leave before `best`. */
static task *task_parked_oldest(task_name *n, task *best)
{
    best = task_levels_oldest(&n->parked, NULL, best);
    for (uint32_t i = 0; n->group != NULL && i < n->group->lane_count; i++) {
        wheel_timer *wait = &n->group->lane[i].wait; /* of one level, the oldest first */
        if (!wheel_ring_empty(wait)) { best = task_first_out(best, task_of_timer(wait->next)); }
    }
    return best;
}

CELLAR_PRIVATE task *task_queue_oldest(cellar_pool *p, task_name *of)
{
    task *best = of != NULL ? task_parked_oldest(of, NULL) : NULL;
    if (of != NULL) { return task_levels_oldest(&of->queue->levels, of, best); }
    for (uint32_t i = 0; p->parked != 0 && i < p->name_count; i++) {
        best = task_parked_oldest(p->names[i], best);
    }
    for (task_queue *q = p->queues; q != NULL; q = q->hh.next) {
        best = task_levels_oldest(&q->levels, NULL, best);
    }
    return best;
}

CELLAR_PRIVATE void task_queue_move(cellar_pool *p, task_name *n, task_queue *to, task_after *a)
{
    task_queue *from = n->queue;
    for (uint32_t level = 0; level < TASK_LEVELS && from != to; level++) {
        const wheel_timer *head = &from->levels.ring[level];
        for (wheel_timer *at = head->next, *next; at != head; at = next) {
            task *t = task_of_timer(at);
            next = at->next;
            if (p->names[t->name] != n) { continue; }
            task_queue_drop(p, from, t);
            task_queue_put(p, to, t, false);
        }
    }
    n->queue = to;
    task_wake_all(p, a);
}

/* ---- gates ---- */

CELLAR_PRIVATE void task_gate_close(cellar_pool *p, task_gate *g, int64_t until_ms)
{
    if (wheel_is_armed(&g->timer)) { wheel_ring_remove(&g->timer); }
    g->timer.due_ms = until_ms;
    wheel_ring_add(&p->gates, &g->timer);
    if (g->queue != NULL) { task_queue_sort(p, g->queue); }
}

CELLAR_PRIVATE void task_gate_open(cellar_pool *p, task_gate *g, task_after *a)
{
    if (!wheel_is_armed(&g->timer)) { return; }
    a->recall = a->recall || p->bursts != 0;
    wheel_ring_remove(&g->timer);
    if (g->name != NULL) { task_queue_release(p, g->name, a); }
    if (g->queue != NULL) { task_queue_sort(p, g->queue); }
    task_wake_all(p, a);
}

CELLAR_PRIVATE int64_t task_gates_open(cellar_pool *p, int64_t now_ms, task_after *a)
{
    int64_t next_ms = BASE_NEVER_MS;
    for (wheel_timer *t = p->gates.next, *next; t != &p->gates; t = next) {
        next = t->next;
        if (t->due_ms <= now_ms) {
            task_gate_open(p, (task_gate *)(void *)t, a); /* its first field */
        } else {
            next_ms = BASE_MIN(next_ms, t->due_ms);
        }
    }
    return next_ms;
}

BASE_SIZE_END
