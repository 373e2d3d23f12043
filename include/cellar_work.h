/* SPDX-License-Identifier: MIT
 *
 * guest: may change until 1.0.
 *
 * cellar_work: jobs in the background of one process. This header collects the parts:
 *     cellar_schedule.h    tasks at intervals, at times of cron expressions, at instants
 *     cellar_batch.h       items collected into batches
 *     cellar_bus.h         messages as tasks of groups, signals
 *     cellar_task.h        tasks with retries on a pool of threads
 *     cellar_refresh.h     entries that are refreshed on a schedule
 *
 * What every part promises:
 * CODE    Functions of the program run on threads of the part, or inside a call of its tick with
 *         host option no_threads. No lock of the library is held. A function may call the part and
 *         take any time. A function may end its thread by pthread_exit, unless its contract
 *         forbids that.
 * ONCE    Without a journal, work lives in memory and ends with the process. A firing runs at most
 *         once, but for the retries of its task. A message may be delivered again: see LOSS of
 *         cellar_bus.h.
 * LIMITS  Each limit is an option with a default. A call that reaches one returns a code, and a
 *         counter rises.
 * LOSS    Work that does not run is counted, with its reason.
 * CLOCK   Times of a call are in milliseconds. Durations follow the monotonic clock; instants
 *         follow the wall clock.
 * CLOSE   A close returns when no function runs any more, or E_BUSY after its time limit. Then
 *         nothing is freed; try again.
 * FORK    In the child every call returns E_FORKED, except the close, which does nothing. */
#ifndef CELLAR_WORK_H
#define CELLAR_WORK_H

#include "cellar_batch.h"
#include "cellar_bus.h"
#include "cellar_refresh.h"
#include "cellar_schedule.h"
#include "cellar_task.h"

#endif
