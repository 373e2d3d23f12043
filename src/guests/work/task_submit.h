/* SPDX-License-Identifier: MIT
 *
 * task_submit: submit a task, and follow it. */
#ifndef WORK_TASK_SUBMIT_H
#define WORK_TASK_SUBMIT_H

#include "work/task_types.h"

/* Submit a task as cellar_task_submit. OK: `told`, unless it is NULL, is called once, possibly
 * before the return. Else it is not called. */
CELLAR_PRIVATE cellar_err task_submit(cellar_pool *p, const cellar_task_item *item,
                                      task_told *told, cellar_task_id *id);

#endif
