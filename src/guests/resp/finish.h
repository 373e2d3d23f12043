/* SPDX-License-Identifier: MIT
 *
 * finish: the end of the thread of a port. */
#ifndef RESP_FINISH_H
#define RESP_FINISH_H

#include "resp/types.h"

/* Stop the thread of cellar_resp_start after its round, if there is one. */
CELLAR_PRIVATE void resp_thread_stop(cellar_resp *r);

#endif
