/* SPDX-License-Identifier: MIT
 *
 * task_submit: what publishes share with submits. */
#ifndef WORK_TASK_SUBMIT_H
#define WORK_TASK_SUBMIT_H

#include "work/task_types.h"

/* Register a name. `full` has all defaults filled in; group NULL: of tasks. */
CELLAR_PRIVATE cellar_err task_name_make(cellar_pool *p, const char *name, cellar_task_fn fn,
                                         void *ctx, const cellar_task_opts *full,
                                         struct bus_group *group);
/* Return whether a name has room for `count` tasks of `bytes` in sum. */
CELLAR_PRIVATE bool task_name_fits(const task_name *n, uint32_t count, uint64_t bytes)
    SYNC_HOLDS(QUEUE);
/* Make tasks of all drafts, or of none. EXISTS and PENDING: only with one draft. */
CELLAR_PRIVATE cellar_err task_insert(cellar_pool *p, task_draft *d, uint32_t count, work_time now,
                                      task_after *a, cellar_task_id *ids) SYNC_HOLDS(QUEUE);

#endif
