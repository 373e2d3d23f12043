/* SPDX-License-Identifier: MIT
 *
 * bus: functions of the files of messages for the files of tasks and for each other. */
#ifndef WORK_BUS_H
#define WORK_BUS_H

#include "work/bus_types.h"
#include "work/task.h"

/* ---- bus_row.c ---- */

/* Make the body of a message of a row of the journal. *out: to drop without the lock, also with
 * CORRUPT; NULL: none. */
CELLAR_PRIVATE cellar_err bus_body_restore(cellar_pool *p, const journal_row *row, work_time now,
                                           task_body **out) SYNC_HOLDS(QUEUE);
/* Make the block of a message with room for `len` bytes from its head on. NULL: no memory. */
CELLAR_PRIVATE task_body *bus_body_make(cellar_pool *p, size_t len, uint32_t header_count);
/* Let the pointers of a body point to its headers, and note its times and its lane. False: the
 * bytes are no message. */
CELLAR_PRIVATE bool bus_body_index(cellar_pool *p, task_body *b, int64_t wall_ms,
                                   int64_t until_ms);
/* Return whether the filters of a group pass a message: it has one. Hold no lock. */
CELLAR_PRIVATE bool bus_wants(const bus_group *g, const cellar_task *t);
/* Return the lane of a row; NULL: it has none. */
CELLAR_PRIVATE bus_lane *bus_lane_of(cellar_pool *p, const task *t) SYNC_HOLDS(QUEUE);
/* ---- bus_set.c ---- */

/* Copy a name of the caller with 1..CELLAR_NAME_MAX bytes. */
CELLAR_PRIVATE bool bus_name(const char *name, char out[CELLAR_NAME_MAX + 1]);
/* Return the queue of a name; NULL: unknown. */
CELLAR_PRIVATE bus_queue *bus_queue_find(cellar_pool *p, const char *name, size_t len)
    SYNC_HOLDS(QUEUE);
CELLAR_PRIVATE void bus_group_free(cellar_pool *p, bus_group *g);
/* Find the queue of a group, or enter *fresh of it, which is NULL then. It stays, also if the name
 * of the group gets no memory. */
CELLAR_PRIVATE cellar_err bus_queue_get(cellar_pool *p, bus_group *g) SYNC_HOLDS(QUEUE);
/* Take the group of a name that is removed out of its queue. NULL: it has none. */
CELLAR_PRIVATE bus_group *bus_group_leave(cellar_pool *p, task_name *n) SYNC_HOLDS(QUEUE);
/* Free groups, queues, routes and subscribers. */
CELLAR_PRIVATE void bus_free_all(cellar_pool *p);

CELLAR_PRIVATE void bus_subscriber_free(cellar_pool *p, bus_subscriber *s);

#endif
