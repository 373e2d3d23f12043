/* SPDX-License-Identifier: MIT
 *
 * task_data: functions of task_slab.c and task_state.c. */
#ifndef WORK_TASK_DATA_H
#define WORK_TASK_DATA_H

#include <string.h>

#include "work/task_types.h"

/* Check the pool of a caller. */
BASE_INLINE cellar_err task_check(const cellar_pool *p)
{
    return p == NULL ? CELLAR_E_INVAL : p->obj.forked ? CELLAR_E_FORKED : CELLAR_OK;
}
/* Return whether a text is a name: it has 1..CELLAR_NAME_MAX bytes. */
BASE_INLINE bool task_is_name(const char *name)
{
    return name != NULL && *name != '\0' &&
           strnlen(name, CELLAR_NAME_MAX + 1) <= CELLAR_NAME_MAX;
}

/* ---- task_slab.c: tasks in chunks, their ids, and the memory around them ---- */

/* Make a body: copy the bytes, or take them over with free_fn. NULL: no memory. */
CELLAR_PRIVATE task_body *task_body_make(cellar_pool *p, const void *data, size_t len,
                                         const char *type, cellar_payload_free_fn free_fn,
                                         void *free_ctx);
/* Return the size of its block. */
CELLAR_PRIVATE size_t task_body_bytes(const task_body *b);
/* Count a task that has the body. */
CELLAR_PRIVATE void task_body_enter(cellar_pool *p, task_body *b) SYNC_HOLDS(QUEUE);
/* Count a task that has it no more. False: others have it. */
CELLAR_PRIVATE bool task_body_leave(cellar_pool *p, task_body *b) SYNC_HOLDS(QUEUE);
/* Give a reference back. `tell`: the last one calls free_fn. Hold no lock. NULL is accepted. */
CELLAR_PRIVATE void task_body_drop(cellar_pool *p, task_body *b, bool tell);
/* Return the most bytes of a payload or a result. */
BASE_INLINE uint64_t task_most_bytes(const cellar_pool *p)
{
    return p->journal == NULL ? p->cfg.queue_bytes
                              : BASE_MIN(p->cfg.queue_bytes, JOURNAL_BYTES_MAX);
}
BASE_INLINE const char *task_body_type(const task_body *b)
{
    return (const char *)(b + 1) + (b->free_fn == NULL ? b->len : 0);
}
BASE_INLINE task_body *task_body_hold(task_body *b)
{
    if (b != NULL) { (void)base_add_rlx(&b->refs, 1u); }
    return b;
}
/* Make the rare parts of a task. key and tag may be NULL. */
CELLAR_PRIVATE task_ext *task_ext_make(cellar_pool *p, const char *key, const char *tag);
CELLAR_PRIVATE void task_ext_free(cellar_pool *p, task_ext *e);
/* Make the room for an error text. NULL: no memory. */
CELLAR_PRIVATE char *task_room_make(cellar_pool *p, const char *text);
CELLAR_PRIVATE void task_room_free(cellar_pool *p, char *room);
CELLAR_PRIVATE task_group *task_group_make(cellar_pool *p, uint32_t members,
                                           cellar_task_run_on run_on);
/* Free a group and its results. Hold no lock. */
CELLAR_PRIVATE void task_group_free(cellar_pool *p, task_group *g);
/* Give a reference back; the last one moves the group to `a`. */
CELLAR_PRIVATE void task_group_unref(task_group *g, task_after *a) SYNC_HOLDS(QUEUE);
/* Move rare parts to `a`, and give their references to groups back. */
CELLAR_PRIVATE void task_ext_leave(task_ext *e, task_after *a) SYNC_HOLDS(QUEUE);

/* Hash a name, a key or an id with the secret of the pool. */
CELLAR_PRIVATE unsigned task_hash(const cellar_pool *p, const void *bytes, size_t len);

/* Allocate until `n` slots are free. May drop the lock meanwhile. False: no memory. */
CELLAR_PRIVATE bool task_slab_reserve(cellar_pool *p, uint32_t n) SYNC_HOLDS(QUEUE);
/* Take a free slot for a task of a name; there is one. */
CELLAR_PRIVATE task *task_slot_take(cellar_pool *p, task_name *n) SYNC_HOLDS(QUEUE);
/* Free a slot that is in no list. The caller keeps body and rare parts. */
CELLAR_PRIVATE void task_slot_free(cellar_pool *p, task *t) SYNC_HOLDS(QUEUE);
/* Return the task of a slot number; NULL: there is no such slot, or it is free. */
CELLAR_PRIVATE task *task_slot_at(cellar_pool *p, uint64_t index) SYNC_HOLDS(QUEUE);

/* Return a name, also one that is not registered yet; NULL: there is none. */
CELLAR_PRIVATE task_name *task_name_find(cellar_pool *p, const char *name) SYNC_HOLDS(QUEUE);
/* Count a live task of a name, or its end. */
BASE_INLINE void task_live_add(cellar_pool *p, task_name *n, size_t len)
{
    p->live++;
    n->live++;
    p->live_bytes += len;
    n->live_bytes += len;
}
BASE_INLINE void task_live_drop(cellar_pool *p, task_name *n, size_t len)
{
    p->live--;
    n->live--;
    p->live_bytes -= len;
    n->live_bytes -= len;
}
/* Enter a name that is not there. False: no memory. */
CELLAR_PRIVATE bool task_name_enter(cellar_pool *p, task_name *n, size_t len) SYNC_HOLDS(QUEUE);
/* Give the place of a removed name free, if it has no task. */
CELLAR_PRIVATE void task_name_leave(cellar_pool *p, task_name *n) SYNC_HOLDS(QUEUE);
/* Return the id of a task. Hold the lock, or run the task. */
CELLAR_PRIVATE cellar_task_id task_id_of(const cellar_pool *p, const task *t);
/* Return the task of an id; NULL: none. It may have a final state. */
CELLAR_PRIVATE task *task_find(cellar_pool *p, cellar_task_id id) SYNC_HOLDS(QUEUE);
/* Return the task of an id, also of a submit that is not committed yet. */
CELLAR_PRIVATE task *task_find_any(cellar_pool *p, cellar_task_id id) SYNC_HOLDS(QUEUE);
/* Return the count of ids like this one that left their slots. */
BASE_INLINE uint64_t *task_ids_left(cellar_pool *p, cellar_task_id id)
{
    return &p->ids_left[(id.hi ^ id.lo) % 64];
}
/* Return the task that has a unique key, also of such a submit; NULL: none. */
CELLAR_PRIVATE task *task_find_key(cellar_pool *p, const char *key, size_t len) SYNC_HOLDS(QUEUE);
/* Enter key and id into the tables. False: no memory, nothing is entered. */
CELLAR_PRIVATE bool task_tables_add(cellar_pool *p, task_ext *e) SYNC_HOLDS(QUEUE);
/* Enter the unique key. False: no memory. */
CELLAR_PRIVATE bool task_key_add(cellar_pool *p, task_ext *e) SYNC_HOLDS(QUEUE);
/* Make a key of THROTTLE. NULL: no memory. */
CELLAR_PRIVATE task_throttle *task_throttle_make(cellar_pool *p, const char *key, size_t len);
CELLAR_PRIVATE void task_throttle_free(cellar_pool *p, task_throttle *h);
CELLAR_PRIVATE task_throttle *task_throttle_find(cellar_pool *p, const char *key, size_t len)
    SYNC_HOLDS(QUEUE);
/* Enter a key. False: no memory. */
CELLAR_PRIVATE bool task_throttle_add(cellar_pool *p, task_throttle *h) SYNC_HOLDS(QUEUE);
/* Look at the next `count` keys, and move those that are over to `a`. */
CELLAR_PRIVATE void task_throttle_sweep(cellar_pool *p, int64_t now_ms, uint32_t count,
                                        task_after *a) SYNC_HOLDS(QUEUE);
CELLAR_PRIVATE void task_key_drop(cellar_pool *p, task_ext *e) SYNC_HOLDS(QUEUE);
CELLAR_PRIVATE void task_id_drop(cellar_pool *p, task_ext *e) SYNC_HOLDS(QUEUE);
/* Return the state that callers see: a parked task is SCHEDULED. */
BASE_INLINE cellar_task_state task_state_of(const task *t)
{
    return (t->flags & TASK_UNCOMMITTED) != 0 ? (cellar_task_state)t->order
           : (t->flags & TASK_PARKED) != 0    ? CELLAR_TASK_SCHEDULED
                                              : (cellar_task_state)t->state;
}
/* Return the live tasks of counters. */
BASE_INLINE uint64_t task_live_of(const uint64_t v[STATS_TASK_COUNT])
{
    return v[STATS_TASK_SUBMITTED] + v[STATS_TASK_REQUEUED] + v[STATS_TASK_RESTORED] -
           v[STATS_TASK_OK] - v[STATS_TASK_FAILED] - v[STATS_TASK_CANCELLED] -
           v[STATS_TASK_EXPIRED];
}
BASE_INLINE bool task_is_live(const task *t)
{
    return t->state >= CELLAR_TASK_WAITING && t->state <= CELLAR_TASK_RETRY;
}
/* Return whether a task is a dead letter, also in the journal. */
BASE_INLINE bool task_is_dead(const task *t)
{
    return t->state == CELLAR_TASK_FAILED && t->timer.prev != NULL &&
           (t->flags & TASK_UNCOMMITTED) == 0;
}
/* Return whether callers see a state that is not final. */
BASE_INLINE bool task_looks_live(const task *t)
{
    return task_is_live(t) || (t->flags & TASK_UNCOMMITTED) != 0;
}
BASE_INLINE const char *task_tag_of(const task *t)
{
    const task_ext *e = t->ext;
    return e == NULL ? "" : e->died_in != NULL ? e->died_in : e->text + e->tag_at;
}

/* ---- task_state.c: the changes of state of a task ---- */

/* Read the monotonic clock; the wall clock with the offset of the last look. Hold no lock. */
CELLAR_PRIVATE work_time task_near(const cellar_pool *p);
/* Return the sum of two times, 0 to BASE_NEVER_MS - 1. */
CELLAR_PRIVATE int64_t task_time_add(int64_t a, int64_t b);
/* Wake the thread of the timers, unless it looks again at `due_ms` or before. */
CELLAR_PRIVATE void task_look_at(cellar_pool *p, int64_t due_ms, task_after *a) SYNC_HOLDS(QUEUE);
/* Add the wait of a task that begins to the histogram. */
BASE_INLINE void task_note_wait(cellar_pool *p, const task *t, int64_t now_ms)
{
    const int64_t ms = BASE_MAX(now_ms - t->timer.due_ms, 0);
    if ((t->flags & TASK_RECURS) != 0) { return; }
    stats_waits_add(&p->waits[STATS_TASK_WAIT_WAIT], (uint64_t)ms, 1);
}
/* Queue a task that is in no list. */
CELLAR_PRIVATE void task_to_queue(cellar_pool *p, task *t, int64_t now_ms, task_after *a)
    SYNC_HOLDS(QUEUE);
/* Let a task that is in no list wait until a time: SCHEDULED or RETRY. */
CELLAR_PRIVATE void task_to_wheel(cellar_pool *p, task *t, cellar_task_state state, int64_t due_ms,
                                  task_after *a) SYNC_HOLDS(QUEUE);
/* Let a task that is in no list wait until a time of the wall clock. */
CELLAR_PRIVATE void task_to_wall(cellar_pool *p, task *t, int64_t wall_ms, task_after *a)
    SYNC_HOLDS(QUEUE);
/* Let a new task wait for the tasks before it. */
CELLAR_PRIVATE void task_to_waiting(task *t) SYNC_HOLDS(QUEUE);
CELLAR_PRIVATE void task_to_running(cellar_pool *p, task *t) SYNC_HOLDS(QUEUE);
/* Park a running task before its attempt began: it keeps its place. */
CELLAR_PRIVATE void task_to_parked(cellar_pool *p, task *t) SYNC_HOLDS(QUEUE);
/* Queue a task again that was taken, but did not begin, in front of all. */
CELLAR_PRIVATE void task_to_front(cellar_pool *p, task *t, task_after *a) SYNC_HOLDS(QUEUE);
/* Take a live task that does not run out of its list. */
CELLAR_PRIVATE void task_detach(cellar_pool *p, task *t, task_after *a) SYNC_HOLDS(QUEUE);
/* Give a live task, which is in no list, its final state. Cancel the tasks that wait for it, or
 * queue them. */
CELLAR_PRIVATE void task_end(cellar_pool *p, task *t, cellar_task_state state, int64_t now_ms,
                             task_after *a) SYNC_HOLDS(QUEUE);
/* Queue the task that waits for a group, if all its members ended. Return that task if the caller
 * must cancel it; else NULL. */
CELLAR_PRIVATE task *task_group_decide(cellar_pool *p, task_group *g, int64_t now_ms, task_after *a)
    SYNC_HOLDS(QUEUE);
/* Note the result of a member for its group. */
CELLAR_PRIVATE void task_give_result(task *t, task_body *result) SYNC_HOLDS(QUEUE);
/* Move a row that failed for good to the dead queue of its group. False: it has none. */
CELLAR_PRIVATE bool task_die(cellar_pool *p, task *t, int64_t now_ms, task_after *a)
    SYNC_HOLDS(QUEUE);
/* Make a dead letter a live task again, without an attempt. `spare`: rare parts for a message
 * without. */
CELLAR_PRIVATE void task_revive(cellar_pool *p, task *t, int64_t now_ms, task_ext **spare,
                                task_after *a) SYNC_HOLDS(QUEUE);
/* Make a dead letter of the journal one of the pool. */
CELLAR_PRIVATE void task_to_dead(cellar_pool *p, task *t, int64_t ended_ms) SYNC_HOLDS(QUEUE);
/* Remove a dead letter. */
CELLAR_PRIVATE void task_dead_drop(cellar_pool *p, task *t, task_after *a) SYNC_HOLDS(QUEUE);
/* Remove dead letters that are too old. Return when the next one is; BASE_NEVER_MS: none. */
CELLAR_PRIVATE int64_t task_dead_expire(cellar_pool *p, int64_t now_ms, task_after *a)
    SYNC_HOLDS(QUEUE);
/* Free a slot with a final state that is in no list, and move its parts to `a`. */
CELLAR_PRIVATE void task_to_free(cellar_pool *p, task *t, task_after *a) SYNC_HOLDS(QUEUE);
/* Return the end of the life of a task; BASE_NEVER_MS: none. */
CELLAR_PRIVATE int64_t task_expires_ms(const task *t);
/* Return the first time-out of an attempt; 0: none. */
BASE_INLINE int64_t task_first_timeout_ms(const task_name *n)
{
    return n->opts.timeout_ms != 0 ? n->opts.timeout_ms : n->opts.hard_timeout_ms;
}
/* Return the delay before the attempt after `attempt`. */
CELLAR_PRIVATE int64_t task_backoff_ms(cellar_pool *p, const task_name *n, uint32_t attempt)
    SYNC_HOLDS(QUEUE);

/* Put a row that recurs at the end of its list, with one reference. */
CELLAR_PRIVATE void task_recur_enter(task_recurs *l, task_recur *r) SYNC_HOLDS(QUEUE);
/* Give a reference back. */
CELLAR_PRIVATE void task_recur_unref(task_recur *r, task_after *a) SYNC_HOLDS(QUEUE);
/* Hold the row after `last`, of those up to `last_id`, or the first one. NULL: there is none. */
CELLAR_PRIVATE task_recur *task_recur_next(task_recurs *l, const task_recur *last,
                                           uint64_t last_id) SYNC_HOLDS(QUEUE);

/* ---- notes for the journal: rows that changed, attempts that began ---- */

BASE_INLINE task_row *task_row_of(const cellar_pool *p, const task *t)
{
    return &p->journal->row[t->index / TASK_CHUNK][t->index % TASK_CHUNK];
}
/* Note that the row of a task has changed. Without a journal: nothing. */
CELLAR_PRIVATE void task_mark(cellar_pool *p, task *t, task_after *a) SYNC_HOLDS(QUEUE);
/* Note that the payload of a task has changed. */
CELLAR_PRIVATE void task_mark_payload(cellar_pool *p, task *t, task_after *a) SYNC_HOLDS(QUEUE);
/* Note that an attempt begins: it counts even if it ends the process. */
CELLAR_PRIVATE void task_mark_begin(cellar_pool *p, const task *t, cellar_task_id id)
    SYNC_HOLDS(QUEUE);
/* Add a row to those that wait for the next transaction. */
CELLAR_PRIVATE void task_row_list(task_journal *j, task_row *r, task *t);

#endif
