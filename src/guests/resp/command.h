/* SPDX-License-Identifier: MIT
 *
 * command: the table of commands, the checks before a command runs, and what commands share.
 *
 * NEW        A command is a function in a file of its family, declared in the header of that file,
 *            and a row in table.c. It gets at least the arguments of its arity; argv[0] is its
 *            name as the client wrote it. It writes exactly one reply (reply.h).
 * CHECKS     Arity, password, READONLY, danger, transaction, subscriptions: resp_run makes them
 *            before the function runs. */
#ifndef RESP_COMMAND_H
#define RESP_COMMAND_H

#include "resp/reply.h"

/* Bits of resp_command.flags. */
#define RESP_READ       0x0001u /* reads keys */
#define RESP_WRITE      0x0002u /* refused unless the port is writable */
#define RESP_ADMIN      0x0004u
#define RESP_DANGER     0x0008u /* refused without the option `danger` */
#define RESP_FAST       0x0010u
#define RESP_NO_MULTI   0x0020u /* refused inside MULTI */
#define RESP_NO_AUTH    0x0040u /* runs without the password */
#define RESP_IN_MULTI   0x0080u /* runs inside MULTI instead of being queued */
#define RESP_NO_MONITOR 0x0100u /* not shown by MONITOR and SLOWLOG: it may hold a password */
#define RESP_PUBSUB     0x0200u
#define RESP_GET        0x0400u /* GET key: the loop looks several of a client up together */
#define RESP_EXEC       0x0800u /* a refusal ends the transaction */
#define RESP_SUBSCRIBED 0x1000u /* runs for a client of RESP2 with subscriptions */

typedef void (*resp_fn)(resp_client *c, const cellar_bytes *argv, uint32_t argc);

struct resp_command {
    const char *name;          /* lower case */
    int8_t arity;              /* with the name; -n: at least n */
    int8_t first, last, step;  /* places of the keys as COMMAND tells them; 0: none */
    uint16_t flags;            /* RESP_... */
    resp_fn run;
};

/* Build the index of a table. False: two rows have one name, or the index is full. */
CELLAR_PRIVATE bool resp_table_init(cellar_resp *r, const resp_command *table, uint32_t count);
/* Return the row of a name in any case; NULL: unknown. */
CELLAR_PRIVATE const resp_command *resp_find(const cellar_resp *r, const void *name, size_t len);
CELLAR_PRIVATE bool resp_arity_ok(const resp_command *cmd, uint32_t argc);
/* Check a request, then run or queue it. cmd: from resp_find, NULL: unknown. */
CELLAR_PRIVATE void resp_run(resp_client *c, const resp_command *cmd, const cellar_bytes *argv,
                             uint32_t argc);
/* Run a checked request: count it, show it to monitors, time it. */
CELLAR_PRIVATE void resp_call(resp_client *c, const resp_command *cmd, const cellar_bytes *argv,
                              uint32_t argc);

/* Return the namespace of a database, opened now if it is not open; NULL: *err has the reason. */
CELLAR_PRIVATE cellar *resp_ns_of(cellar_resp *r, uint32_t db, cellar_err *err);
/* Return the namespace of the selected database. NULL: an error was written. */
BASE_SPARE CELLAR_PRIVATE cellar *resp_ns(resp_client *c);

/* Return whether an argument is this word, in any case. `word` is in lower case. */
CELLAR_PRIVATE bool resp_is(const cellar_bytes *arg, const char *word);
/* Read an integer as Redis does: no blanks, no leading zeros, no plus. False: it is none. */
CELLAR_PRIVATE bool resp_to_int(const cellar_bytes *arg, int64_t *n);
/* Read an integer, or write "ERR value is not an integer or out of range". */
CELLAR_PRIVATE bool resp_need_int(resp_client *c, const cellar_bytes *arg, int64_t *n);
/* Write "ERR syntax error". */
CELLAR_PRIVATE void resp_syntax(resp_client *c);
/* Write the error of a wrong number of arguments, for a command or "client|kill". */
CELLAR_PRIVATE void resp_wrong_arity(resp_client *c, const char *name);
/* Write the error of an unknown subcommand. */
CELLAR_PRIVATE void resp_unknown_sub(resp_client *c, const cellar_bytes *argv, const char *command);

#endif
