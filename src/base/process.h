/* SPDX-License-Identifier: MIT
 *
 * process: the number of this process, and its end on request. */
#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

#include "base/port.h"

BASE_SPARE CELLAR_PRIVATE int64_t base_process_id(void);
/* Send SIGTERM to this process: the handler of the program decides what follows. */
BASE_SPARE CELLAR_PRIVATE void base_process_terminate(void);

#endif
