/* SPDX-License-Identifier: MIT
 *
 * calls: the commands of connections and transactions, and those that describe the port. Each has
 * the form of resp_fn. */
#ifndef RESP_CALLS_H
#define RESP_CALLS_H

#include "resp/command.h"

#define RESP_CALL(name) \
    CELLAR_PRIVATE void name(resp_client *c, const cellar_bytes *argv, uint32_t argc)

/* session.c */
RESP_CALL(resp_auth);
RESP_CALL(resp_echo);
RESP_CALL(resp_hello);
RESP_CALL(resp_ping);
RESP_CALL(resp_quit);
RESP_CALL(resp_reset);
RESP_CALL(resp_select);
RESP_CALL(resp_wait);
/* transaction.c */
RESP_CALL(resp_discard);
RESP_CALL(resp_exec);
RESP_CALL(resp_multi);
RESP_CALL(resp_unwatch);
RESP_CALL(resp_watch);
/* describe.c */
RESP_CALL(resp_client_call);
RESP_CALL(resp_command_call);
RESP_CALL(resp_monitor);
RESP_CALL(resp_slowlog);

#endif
