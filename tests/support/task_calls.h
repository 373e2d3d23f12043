/* SPDX-License-Identifier: MIT
 *
 * task_calls: submit tasks that wait for others, with run_on as an argument; describe a task. */
#ifndef TESTS_TASK_CALLS_H
#define TESTS_TASK_CALLS_H

#include <stdlib.h>

#include "cellar_task.h"

static inline cellar_submit_opts submit_opts_of(const cellar_task_item *item,
                                                cellar_task_run_on run_on)
{
    cellar_submit_opts o = item->opts != NULL ? *item->opts : cellar_submit_opts_default();
    o.run_on = run_on;
    return o;
}

/* Submit items, each with this run_on. */
static inline cellar_err submit_linked(cellar_pool *pool, const cellar_task_item *items,
                                       uint32_t count, cellar_task_links links,
                                       cellar_task_run_on run_on, cellar_task_id *ids)
{
    cellar_task_item *item = calloc(count, sizeof *item);
    cellar_submit_opts *o = calloc(count, sizeof *o);
    if (item == NULL || o == NULL) { abort(); }
    for (uint32_t i = 0; i < count; i++) {
        o[i] = submit_opts_of(&items[i], run_on);
        item[i] = items[i];
        item[i].opts = &o[i];
    }
    const cellar_err err = cellar_task_submit_many(pool, item, count, links, ids);
    free(item);
    free(o);
    return err;
}

/* Submit an item that waits for the task `before`. */
static inline cellar_err submit_after(cellar_pool *pool, cellar_task_id before,
                                      const cellar_task_item *item, cellar_task_run_on run_on,
                                      cellar_task_id *id)
{
    cellar_submit_opts o = submit_opts_of(item, run_on);
    o.after = &before;
    return cellar_task_submit(pool, item->name, item->payload, item->payload_len, &o, id);
}

/* Describe a task. OK: live or finished. */
static inline cellar_err task_status(cellar_pool *pool, cellar_task_id id, cellar_task_status *out)
{
    const cellar_err err = cellar_task_wait(pool, id, 0, out);
    return err == CELLAR_PENDING ? CELLAR_OK : err;
}

#endif
