/* SPDX-License-Identifier: MIT
 *
 * task_slab: tasks in chunks, their ids, and the memory around them. */
#ifndef WORK_TASK_SLAB_H
#define WORK_TASK_SLAB_H

#include "work/task_types.h"

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
/* Give a reference to each group of a chain back. */
CELLAR_PRIVATE void task_groups_unref(task_group *g, task_after *a) SYNC_HOLDS(QUEUE);

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

#endif
