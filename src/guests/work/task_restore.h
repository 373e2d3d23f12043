/* SPDX-License-Identifier: MIT
 *
 * task_restore: the tasks of a journal become tasks of a pool that opens. */
#ifndef WORK_TASK_RESTORE_H
#define WORK_TASK_RESTORE_H

#include "work/task_types.h"

/* Open the journal of cfg.journal_path, if there is one, and set p->journal, chunk_max and name_max
 * for its rows. *why: what is wrong. */
CELLAR_PRIVATE cellar_err task_journal_open(cellar_pool *p, const char **why);
/* Make tasks of all rows, count the attempts that the last process did not end, and commit that.
 * No other thread uses the pool. */
CELLAR_PRIVATE cellar_err task_restore(cellar_pool *p, const char **why);

#endif
