/* SPDX-License-Identifier: MIT
 *
 * process: the number of this process, its end on request, and the end of another one. */
#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

#include "base/port.h"

BASE_SPARE CELLAR_PRIVATE int64_t base_process_id(void);
/* Return whether a process has ended, also if its parent has not waited for it. False: it lives, or
 * the system does not say. */
BASE_SPARE CELLAR_PRIVATE bool base_process_ended(int64_t id);
/* Send SIGTERM to this process: the handler of the program decides what follows. */
BASE_SPARE CELLAR_PRIVATE void base_process_terminate(void);

#endif
