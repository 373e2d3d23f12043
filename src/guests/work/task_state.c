/* SPDX-License-Identifier: MIT
 *
 * task_state: the changes of state of a task, each in one function under the lock.
 *
 * PICTURE    WAITING -> QUEUED -> RUNNING -> SUCCEEDED
 *            SCHEDULED, RETRY -> QUEUED     RUNNING -> RETRY, SCHEDULED, QUEUED (parked), FAILED
 *            FAILED -> QUEUED (requeue)     all live states -> CANCELLED
 * INVARIANTS task_move is the only writer of `state`, and asserts that the edge is legal. The
 *            unique key of a task is free in the step that ends it.
 * WALK       end -> key, counters -> group: a bit for the member; the last one, or the first that
 *            decides, queues or cancels `then` -> ring of dead letters, or task_after
 * LIMITS     Ends of a chain are a loop, not a recursion.
 * SEE ALSO   README.md in this folder: the table of states. */
#include "work/bus.h"

BASE_SIZE_BEGIN

#define TASK_AGES_MS (INT64_C(36500) * 86400000) /* in place of the life in a shared body */

CELLAR_PRIVATE work_time task_near(const cellar_pool *p)
{
    const int64_t mono_ms = BASE_MAX(base_now_ms(&p->obj.clock), 0);
    const int64_t wall_ms = mono_ms + base_load_rlx(&p->offset_ms);
    return (work_time){ mono_ms, BASE_MAX(wall_ms, 0) };
}

CELLAR_PRIVATE int64_t task_time_add(int64_t a, int64_t b)
{
    return BASE_MIN(base_add_sat(a, b), BASE_NEVER_MS - 1);
}

CELLAR_PRIVATE void task_look_at(cellar_pool *p, int64_t due_ms, task_after *a)
{
    if (due_ms >= p->look_ms) { return; }
    p->look_ms = due_ms;
    a->timer = true;
}

/* ---- notes for the journal ----
 *
 * A row is in `dirty` once, however often its task changed: task_commit.c writes what the task is
 * then. A task with a final state keeps its slot until its row is gone or final on the disk. */

CELLAR_PRIVATE void task_row_list(task_journal *j, task_row *r, task *t)
{
    BASE_ASSERT((r->flags & (TASK_ROW_LISTED | TASK_ROW_WRITING)) == 0);
    r->flags |= TASK_ROW_LISTED;
    r->next = NULL;
    if (j->dirty == NULL) {
        j->dirty = t;
    } else {
        j->row[j->dirty_last->index / TASK_CHUNK][j->dirty_last->index % TASK_CHUNK].next = t;
    }
    j->dirty_last = t;
    j->dirty_count++;
}

CELLAR_PRIVATE void task_mark(cellar_pool *p, task *t, task_after *a)
{
    task_journal *j = p->journal;
    if (j == NULL || (t->flags & TASK_RECURS) != 0) { return; }
    task_row *r = task_row_of(p, t);
    if ((r->flags & TASK_ROW_WRITING) != 0) {
        r->flags |= TASK_ROW_AGAIN;
        j->again = true;
    } else if ((r->flags & TASK_ROW_LISTED) == 0) {
        task_row_list(j, r, t);
        if (j->asleep) {
            j->asleep = false;
            a->journal = true;
        }
    }
}

CELLAR_PRIVATE void task_mark_payload(cellar_pool *p, task *t, task_after *a)
{
    if (p->journal == NULL) { return; }
    task_row_of(p, t)->flags |= TASK_ROW_PAYLOAD;
    task_mark(p, t, a);
}

/* Note that a task has ended: callers see the state `before` until the commit. */
static void task_mark_end(cellar_pool *p, task *t, cellar_task_state before, task_after *a)
    SYNC_HOLDS(QUEUE)
{
    if (p->journal == NULL) { return; }
    task_row *r = task_row_of(p, t);
    BASE_ASSERT(r->result == NULL);
    t->flags |= TASK_UNCOMMITTED;
    t->order = before;
    r->started_wall_ms = t == a->run_of ? a->started_wall_ms : 0;
    r->result = t == a->run_of ? task_body_hold(a->result) : NULL;
    task_mark(p, t, a);
}

CELLAR_PRIVATE void task_mark_begin(cellar_pool *p, const task *t, cellar_task_id id)
{
    if (p->journal == NULL || (t->flags & TASK_RECURS) != 0) { return; }
    journal_board_set(p->journal->board, t->index, id, ++task_row_of(p, t)->begun, t->attempt);
}

/* ---- moves ---- */

#define TASK_BIT(state) (1u << CELLAR_TASK_##state)

static void task_move(task *t, cellar_task_state to)
{
    static const uint16_t legal[] = {
        [TASK_FREE] = TASK_BIT(WAITING) | TASK_BIT(SCHEDULED) | TASK_BIT(QUEUED) |
                      TASK_BIT(RETRY) | TASK_BIT(FAILED), /* both from the journal */
        [CELLAR_TASK_WAITING] = TASK_BIT(SCHEDULED) | TASK_BIT(QUEUED) | TASK_BIT(CANCELLED),
        /* FAILED, here and below: from the journal, its last attempt ended the process. */
        [CELLAR_TASK_SCHEDULED] = TASK_BIT(SCHEDULED) | TASK_BIT(QUEUED) | TASK_BIT(CANCELLED) |
                                  TASK_BIT(EXPIRED) | TASK_BIT(FAILED),
        [CELLAR_TASK_QUEUED] = TASK_BIT(SCHEDULED) | TASK_BIT(QUEUED) | TASK_BIT(RUNNING) |
                               TASK_BIT(CANCELLED) | TASK_BIT(EXPIRED) | TASK_BIT(FAILED),
        [CELLAR_TASK_RUNNING] = TASK_BIT(SCHEDULED) | TASK_BIT(QUEUED) | TASK_BIT(RETRY) |
                                TASK_BIT(SUCCEEDED) | TASK_BIT(FAILED) | TASK_BIT(CANCELLED),
        [CELLAR_TASK_RETRY] = TASK_BIT(SCHEDULED) | TASK_BIT(QUEUED) | TASK_BIT(CANCELLED) |
                              TASK_BIT(EXPIRED) | TASK_BIT(FAILED),
        [CELLAR_TASK_FAILED] = TASK_BIT(QUEUED),
        [CELLAR_TASK_EXPIRED] = 0,
    };
    BASE_REQUIRE((legal[t->state] >> to & 1) != 0);
    t->state = (uint8_t)to;
}

CELLAR_PRIVATE void task_to_queue(cellar_pool *p, task *t, int64_t now_ms, task_after *a)
{
    /* The due time, or the attempt, of a task that waited for it is on the disk. */
    if (t->state == CELLAR_TASK_WAITING || t->state == CELLAR_TASK_RUNNING) { task_mark(p, t, a); }
    task_move(t, CELLAR_TASK_QUEUED);
    t->order = ++p->order;
    t->timer.due_ms = now_ms;
    task_queue_add(p, t, a);
}

CELLAR_PRIVATE void task_to_wheel(cellar_pool *p, task *t, cellar_task_state state, int64_t due_ms,
                                  task_after *a)
{
    if (t->state != TASK_FREE) { task_mark(p, t, a); }
    task_move(t, state);
    task_look_at(p, due_ms, a);
    wheel_add(&p->mono, &t->timer, due_ms);
}

CELLAR_PRIVATE void task_to_wall(cellar_pool *p, task *t, int64_t wall_ms, task_after *a)
{
    if (t->state != TASK_FREE) { task_mark(p, t, a); }
    task_move(t, CELLAR_TASK_SCHEDULED);
    t->flags |= TASK_ETA;
    task_look_at(p, base_add_sat(wall_ms, -base_load_rlx(&p->offset_ms)), a);
    wheel_add(&p->wall, &t->timer, wall_ms);
}

CELLAR_PRIVATE void task_to_waiting(task *t) { task_move(t, CELLAR_TASK_WAITING); }

CELLAR_PRIVATE void task_to_running(cellar_pool *p, task *t)
{
    task_move(t, CELLAR_TASK_RUNNING);
    p->names[t->name]->running++;
}

CELLAR_PRIVATE void task_to_parked(cellar_pool *p, task *t)
{
    BASE_ASSERT(t->state == CELLAR_TASK_RUNNING);
    task_move(t, CELLAR_TASK_QUEUED);
    task_queue_park(p, t);
}

CELLAR_PRIVATE void task_to_front(cellar_pool *p, task *t, task_after *a)
{
    task_move(t, CELLAR_TASK_QUEUED);
    task_queue_return(p, t, a);
}

CELLAR_PRIVATE void task_detach(cellar_pool *p, task *t, task_after *a)
{
    BASE_ASSERT(task_is_live(t) && t->state != CELLAR_TASK_RUNNING);
    if (t->state == CELLAR_TASK_QUEUED) {
        task_queue_remove(p, t, a);
    } else if (t->state == CELLAR_TASK_WAITING) {
        t->ext->before->then = NULL;
    } else {
        wheel_cancel((t->flags & TASK_ETA) != 0 ? &p->wall : &p->mono, &t->timer);
        t->flags &= (uint8_t)~TASK_ETA;
    }
}

CELLAR_PRIVATE int64_t task_expires_ms(const task *t)
{
    const int64_t own_ms = t->ext != NULL ? t->ext->expires_ms : BASE_NEVER_MS;
    /* A dead letter does not expire. */
    const bool shared = t->body->message && own_ms == BASE_NEVER_MS && *task_tag_of(t) == '\0';
    return shared ? bus_extra_of(t->body)->until_ms : own_ms;
}

/* ---- dead letters ---- */

CELLAR_PRIVATE void task_to_free(cellar_pool *p, task *t, task_after *a)
{
    BASE_ASSERT(!task_is_live(t));
    task_body *body = t->body;
    if (t->ext != NULL) {
        task_id_drop(p, t->ext);
        task_ext_leave(t->ext, a);
    }
    task_slot_free(p, t);
    if (!task_body_leave(p, body)) {
        (void)base_sub_ar(&body->refs, 1u); /* not the last one */
        return;
    }
    body->next = a->body; /* the id of the task needed its time */
    a->body = body;
}

/* Move a slot with a final state to `a`: to record and to free. With a journal the commit comes
 * first. */
static SYNC_HOLDS(QUEUE) void task_to_after(cellar_pool *p, task *t, task_after *a)
{
    if (p->journal != NULL) {
        task_mark(p, t, a);
    } else if ((p->cfg.results == NULL || t->body->message) && t->waiters != 0) {
        t->flags |= TASK_RECORDED;
    } else if (p->cfg.results == NULL || t->body->message) {
        task_to_free(p, t, a);
    } else {
        t->timer.next = a->done != NULL ? &a->done->timer : NULL;
        a->done = t;
    }
}

static void task_dead_add(cellar_pool *p, task *t, int64_t ended_ms)
{
    t->timer.due_ms = ended_ms;
    wheel_ring_add(&p->dead, &t->timer);
    p->dead_count++;
    p->dead_bytes += t->body->len;
}

CELLAR_PRIVATE void task_to_dead(cellar_pool *p, task *t, int64_t ended_ms)
{
    task_move(t, CELLAR_TASK_FAILED);
    task_dead_add(p, t, ended_ms);
}

static void task_dead_unlink(cellar_pool *p, task *t)
{
    wheel_ring_remove(&t->timer);
    p->dead_count--;
    p->dead_bytes -= t->body->len;
}

CELLAR_PRIVATE void task_dead_drop(cellar_pool *p, task *t, task_after *a)
{
    BASE_ASSERT(t->state == CELLAR_TASK_FAILED);
    task_dead_unlink(p, t);
    task_to_after(p, t, a);
}

CELLAR_PRIVATE int64_t task_dead_expire(cellar_pool *p, int64_t now_ms, task_after *a)
{
    for (;;) {
        if (wheel_ring_empty(&p->dead)) { return BASE_NEVER_MS; }
        task *t = task_of_timer(p->dead.next);
        const int64_t ends_ms = task_time_add(t->timer.due_ms, p->cfg.dead_ttl_ms);
        const bool full = p->dead_count > p->cfg.dead_cap || p->dead_bytes > p->cfg.queue_bytes;
        if (!full && ends_ms > now_ms) { return ends_ms; }
        p->names[t->name]->count[STATS_TASK_DEAD_DROPPED]++;
        task_dead_drop(p, t, a);
    }
}

CELLAR_PRIVATE void task_revive(cellar_pool *p, task *t, int64_t now_ms, task_ext **spare,
                                task_after *a)
{
    const bool message = t->body->message;
    if (message && t->ext == NULL) {
        t->ext = *spare;
        *spare = NULL;
        t->ext->of = t;
    }
    task_dead_unlink(p, t);
    task_live_add(p, p->names[t->name], t->body->len);
    p->names[t->name]->count[STATS_TASK_REQUEUED]++;
    t->attempt = 0;
    if (t->ext != NULL) {
        t->ext->expires_ms = message ? task_time_add(now_ms, TASK_AGES_MS) : BASE_NEVER_MS;
    }
    task_mark(p, t, a);
    task_to_queue(p, t, now_ms, a);
}

/* ---- groups ---- */

static void task_group_give(task_group *g, uint32_t i, task_body *result)
{
    if ((g->done[i / 64] >> i % 64 & 1) != 0) { return; }
    BASE_ASSERT(g->result[i] == NULL);
    g->result[i] = task_body_hold(result);
}

CELLAR_PRIVATE void task_give_result(task *t, task_body *result)
{
    if (t->ext == NULL || result == NULL) { return; }
    if (t->ext->member_of != NULL) { task_group_give(t->ext->member_of, t->ext->member, result); }
    for (task_group *g = t->ext->after; g != NULL; g = g->after) { task_group_give(g, 0, result); }
}

CELLAR_PRIVATE task *task_group_decide(cellar_pool *p, task_group *g, int64_t now_ms,
                                       task_after *a)
{
    task *then = g->then;
    const bool early = g->run_on == CELLAR_TASK_ON_SUCCESS && g->failed;
    if (then == NULL || (g->left != 0 && !early)) { return NULL; }
    task_detach(p, then, a);
    if (early || (g->run_on == CELLAR_TASK_ON_FAILURE && !g->failed)) { return then; }
    if (then->ext->delay_ms != 0) {
        task_to_wheel(p, then, CELLAR_TASK_SCHEDULED, task_time_add(now_ms, then->ext->delay_ms),
                      a);
    } else {
        task_to_queue(p, then, now_ms, a);
    }
    return NULL;
}

/* Count the end of member i. Return the task to cancel; NULL: none. */
static SYNC_HOLDS(QUEUE) task *task_group_count(cellar_pool *p, task_group *g, uint32_t i,
                                                cellar_task_state state, int64_t now_ms,
                                                task_after *a)
{
    if ((g->done[i / 64] >> i % 64 & 1) != 0) { return NULL; }
    g->done[i / 64] |= (uint64_t)1 << i % 64;
    g->left--;
    if (state != CELLAR_TASK_SUCCEEDED) { g->failed = true; }
    return task_group_decide(p, g, now_ms, a);
}

/* ---- rows that recur ---- */

CELLAR_PRIVATE void task_recur_enter(task_recurs *l, task_recur *r)
{
    wheel_ring_add(&l->ring, &r->link);
    r->id = ++l->last_id;
    r->refs = 1;
    r->present = true;
}

CELLAR_PRIVATE void task_recur_unref(task_recur *r, task_after *a)
{
    if (--r->refs != 0) { return; }
    wheel_ring_remove(&r->link);
    r->task.timer.next = a->gone != NULL ? &a->gone->timer : NULL;
    a->gone = &r->task;
}

CELLAR_PRIVATE task_recur *task_recur_next(task_recurs *l, const task_recur *last,
                                           uint64_t last_id)
{
    for (wheel_timer *at = last != NULL ? last->link.next : l->ring.next; at != &l->ring;
         at = at->next) {
        task_recur *r = task_recur_of(at);
        if (r->id > last_id) { break; }
        if (!r->present) { continue; }
        r->refs++;
        return r;
    }
    return NULL;
}

/* ---- the end ---- */

static void task_count_end(task_name *n, cellar_task_state state)
{
    static const uint8_t counter[] = { [CELLAR_TASK_SUCCEEDED] = STATS_TASK_OK,
                                       [CELLAR_TASK_FAILED] = STATS_TASK_FAILED,
                                       [CELLAR_TASK_CANCELLED] = STATS_TASK_CANCELLED,
                                       [CELLAR_TASK_EXPIRED] = STATS_TASK_EXPIRED };
    BASE_ASSERT(state >= CELLAR_TASK_SUCCEEDED);
    n->count[counter[state]]++;
}

/* Put a task that is in no list in front of a chain. NULL: nothing to do. */
static task *task_push(task *t, task *chain)
{
    if (t == NULL) { return chain; }
    t->timer.next = chain != NULL ? &chain->timer : NULL;
    return t;
}

/* Count the end of a task in its groups. Return `chain` with the tasks to cancel in front. */
static SYNC_HOLDS(QUEUE) task *task_member_ended(cellar_pool *p, const task *t, task *chain,
                                                 int64_t now_ms, task_after *a)
{
    const task_ext *e = t->ext;
    const cellar_task_state state = (cellar_task_state)t->state;
    if (e == NULL) { return chain; }
    if (e->member_of != NULL) {
        chain = task_push(task_group_count(p, e->member_of, e->member, state, now_ms, a), chain);
    }
    for (task_group *g = e->after; g != NULL; g = g->after) {
        chain = task_push(task_group_count(p, g, 0, state, now_ms, a), chain);
    }
    return chain;
}

CELLAR_PRIVATE void task_end(cellar_pool *p, task *t, cellar_task_state state, int64_t now_ms,
                             task_after *a)
{
    task *chain = NULL;
    while (t != NULL) {
        BASE_ASSERT(!wheel_is_armed(&t->timer) && p->live > 0);
        const cellar_task_state before = task_state_of(t);
        task_lane_leave(p, t, a);
        task_move(t, state);
        t->flags = 0;
        task_mark_end(p, t, before, a);
        task_live_drop(p, p->names[t->name], t->body->len);
        p->live_ended++;
        task_count_end(p->names[t->name], state);
        if (t->ext != NULL) { task_key_drop(p, t->ext); }
        a->ended = a->ended || p->watching != 0;
        chain = task_member_ended(p, t, chain, now_ms, a);
        if (state == CELLAR_TASK_FAILED) {
            task_dead_add(p, t, now_ms);
            (void)task_dead_expire(p, now_ms, a);
        } else if (p->journal == NULL) {
            task_to_after(p, t, a);
        }
        t = chain;
        if (t != NULL) {
            chain = (task *)(void *)t->timer.next; /* its first field */
            t->timer.next = NULL;
        }
        state = CELLAR_TASK_CANCELLED;
    }
}

CELLAR_PRIVATE bool task_die(cellar_pool *p, task *t, int64_t now_ms, task_after *a)
{
    task_name *n = p->names[t->name];
    const bus_group *g = t->body->message ? n->group : NULL;
    if (g == NULL || g->dead_queue[0] == '\0' || *task_tag_of(t) != '\0') { return false; }
    const bus_queue *q = bus_queue_find(p, g->dead_queue, strlen(g->dead_queue));
    if (q == NULL) { return false; }
    task_name *to = q->groups->name;
    task_lane_leave(p, t, a);
    task_live_drop(p, n, t->body->len);
    n->slots--;
    n->count[STATS_TASK_FAILED]++;
    n->count[STATS_TASK_DEAD_PURGED]++; /* no dead letter of the pool */
    if (t->ext == NULL) {
        t->ext = a->dead_ext;
        a->dead_ext = NULL;
        if (t->ext != NULL) { t->ext->of = t; }
    }
    /* Without memory nothing says where it died, and it may die again. */
    if (t->ext != NULL) {
        t->ext->died_in = g->queue->name;
        t->ext->expires_ms = BASE_NEVER_MS; /* a row of the journal has it */
    }
    t->name = to->number;
    t->flags = 0;
    t->attempt = 0;
    t->max_attempts = (uint8_t)to->opts.max_attempts;
    task_live_add(p, to, t->body->len);
    to->slots++;
    to->count[STATS_TASK_SUBMITTED]++;
    a->ended = a->ended || p->watching != 0; /* its group has room */
    task_mark_payload(p, t, a); /* and its name */
    task_to_queue(p, t, now_ms, a);
    return true;
}

CELLAR_PRIVATE int64_t task_backoff_ms(cellar_pool *p, const task_name *n, uint32_t attempt)
{
    const cellar_task_opts *o = &n->opts;
    const int64_t delay_ms = work_backoff_ms(o->base_ms, o->cap_ms, attempt);
    const int64_t least_ms = o->jitter == CELLAR_TASK_JITTER_FULL    ? 1
                             : o->jitter == CELLAR_TASK_JITTER_EQUAL ? delay_ms - delay_ms / 2
                                                                     : delay_ms;
    return least_ms + (int64_t)base_rng_below(&p->rng, (uint64_t)(delay_ms - least_ms) + 1);
}

BASE_SIZE_END
