/* SPDX-License-Identifier: MIT
 *
 * table: one row for each command, in alphabetical order. */
#include "resp/calls.h"
#include "resp/table.h"

/* name, arity, first key, last key, step, flags, function */
static const resp_command resp_rows[] = {
    { "auth", -2, 0, 0, 0, RESP_NO_AUTH | RESP_NO_MONITOR | RESP_FAST, resp_auth },
    { "client", -2, 0, 0, 0, RESP_ADMIN, resp_client_call },
    { "command", -1, 0, 0, 0, 0, resp_command_call },
    { "discard", 1, 0, 0, 0, RESP_IN_MULTI | RESP_FAST, resp_discard },
    { "echo", 2, 0, 0, 0, RESP_FAST, resp_echo },
    { "exec", 1, 0, 0, 0, RESP_IN_MULTI | RESP_NO_MONITOR, resp_exec },
    { "hello", -1, 0, 0, 0, RESP_NO_AUTH | RESP_NO_MONITOR | RESP_FAST, resp_hello },
    { "monitor", 1, 0, 0, 0, RESP_ADMIN | RESP_NO_MULTI, resp_monitor },
    { "multi", 1, 0, 0, 0, RESP_IN_MULTI | RESP_FAST, resp_multi },
    { "ping", -1, 0, 0, 0, RESP_FAST, resp_ping },
    { "quit", -1, 0, 0, 0, RESP_NO_AUTH | RESP_IN_MULTI | RESP_FAST, resp_quit },
    { "reset", 1, 0, 0, 0, RESP_NO_AUTH | RESP_IN_MULTI | RESP_FAST, resp_reset },
    { "select", 2, 0, 0, 0, RESP_FAST, resp_select },
    { "slowlog", -2, 0, 0, 0, RESP_ADMIN, resp_slowlog },
    { "unwatch", 1, 0, 0, 0, RESP_FAST, resp_unwatch },
    { "watch", -2, 1, -1, 1, RESP_IN_MULTI | RESP_FAST, resp_watch },
};

CELLAR_PRIVATE const resp_command *resp_table(uint32_t *count)
{
    *count = sizeof resp_rows / sizeof *resp_rows;
    return resp_rows;
}
