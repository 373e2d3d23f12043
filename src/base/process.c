/* SPDX-License-Identifier: MIT
 *
 * process: the number of this process, and its end on request. */
#include <signal.h>
#include <unistd.h>

#include "base/process.h"

CELLAR_PRIVATE int64_t base_process_id(void) { return getpid(); }

CELLAR_PRIVATE void base_process_terminate(void) { (void)kill(getpid(), SIGTERM); }
