/* SPDX-License-Identifier: MIT
 *
 * trace: lines of MONITOR and entries of the slow log. */
#ifndef RESP_TRACE_H
#define RESP_TRACE_H

#include "resp/reply.h"

/* Send a request to every client with MONITOR. */
CELLAR_PRIVATE void resp_monitor_show(const resp_client *c, const cellar_bytes *argv,
                                      uint32_t argc);
/* Keep a slow request. Without memory it is not kept. */
CELLAR_PRIVATE void resp_slow_note(const resp_client *c, const cellar_bytes *argv, uint32_t argc,
                                   uint64_t took_us);
CELLAR_PRIVATE void resp_slow_drop(cellar_resp *r);

#endif
