/* SPDX-License-Identifier: MIT
 *
 * command: find the row of a request, check it, run or queue it.
 *
 * WALK       resp_run: row -> arity -> password -> danger -> READONLY -> MULTI: queue, else
 *            resp_call: count, monitors, run, slow log.
 * LIMITS     A transaction holds at most max_request_bytes. */
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "resp/command.h"
#include "resp/room.h"
#include "resp/trace.h"

#define RESP_WORD_MAX 32u /* longest name of a command */

BASE_INLINE unsigned char resp_lower(unsigned char b)
{
    return b >= 'A' && b <= 'Z' ? (unsigned char)(b + 32) : b;
}

/* ---- table ---- */

static uint32_t resp_hash(const unsigned char *name, size_t len)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < len; i++) { h = (h ^ resp_lower(name[i])) * 16777619u; }
    return (h ^ h >> 15) % RESP_INDEX;
}

static bool resp_same(const unsigned char *a, size_t len, const char *word)
{
    size_t i = 0;
    while (i < len && word[i] != '\0' && resp_lower(a[i]) == (unsigned char)word[i]) { i++; }
    return i == len && word[i] == '\0';
}

CELLAR_PRIVATE bool resp_table_init(cellar_resp *r, const resp_command *table, uint32_t count)
{
    if (count >= RESP_INDEX / 2) { return false; }
    r->table = table;
    r->command_count = count;
    for (uint32_t i = 0; i < count; i++) {
        const unsigned char *name = (const unsigned char *)table[i].name;
        const size_t len = strlen(table[i].name);
        if (len > RESP_WORD_MAX || resp_find(r, name, len) != NULL) { return false; }
        uint32_t at = resp_hash(name, len);
        while (r->index[at] != 0) { at = (at + 1) % RESP_INDEX; }
        r->index[at] = (uint16_t)(i + 1);
    }
    return true;
}

CELLAR_PRIVATE const resp_command *resp_find(const cellar_resp *r, const void *name, size_t len)
{
    if (len > RESP_WORD_MAX) { return NULL; }
    for (uint32_t at = resp_hash(name, len); r->index[at] != 0; at = (at + 1) % RESP_INDEX) {
        const resp_command *cmd = &r->table[r->index[at] - 1];
        if (resp_same(name, len, cmd->name)) { return cmd; }
    }
    return NULL;
}

CELLAR_PRIVATE bool resp_arity_ok(const resp_command *cmd, uint32_t argc)
{
    return cmd->arity >= 0 ? argc == (uint32_t)cmd->arity : argc >= (uint32_t)-cmd->arity;
}

/* ---- namespaces ---- */

/* Open the namespaces of all databases again: one of them was dropped. */
static void resp_reopen(cellar_resp *r)
{
    r->dropped = false;
    for (resp_db *d = r->db; d < r->db + RESP_DBS; d++) {
        if (d->handle == NULL || d->handle == r->store || d->handle == r->shared.store) {
            continue;
        }
        (void)cellar_namespace_close(d->handle);
        (void)cellar_namespace_open(r->store, d->name, NULL, &d->handle); /* or the next command */
    }
}

CELLAR_PRIVATE cellar *resp_ns_of(cellar_resp *r, uint32_t db, cellar_err *err)
{
    resp_db *d = &r->db[db];
    *err = CELLAR_OK;
    if (BASE_UNLIKELY(r->dropped)) { resp_reopen(r); }
    if (d->handle == NULL && d->name[0] == '\0') { d->handle = r->store; }
    if (d->handle == NULL) { *err = cellar_namespace_open(r->store, d->name, NULL, &d->handle); }
    return d->handle;
}

CELLAR_PRIVATE cellar *resp_ns(resp_client *c)
{
    cellar_err err;
    cellar *ns = resp_ns_of(c->of, c->db, &err);
    if (ns == NULL) { resp_fail(c, err); }
    return ns;
}

/* ---- arguments ---- */

CELLAR_PRIVATE bool resp_is(const cellar_bytes *arg, const char *word)
{
    return resp_same(arg->data, arg->len, word);
}

CELLAR_PRIVATE bool resp_to_int(const cellar_bytes *arg, int64_t *n)
{
    const unsigned char *p = arg->data;
    const bool minus = arg->len > 0 && p[0] == '-';
    size_t i = minus;
    uint64_t v = 0;
    if (arg->len == i || arg->len - i > 19) { return false; } /* more are no int64 */
    if (p[i] == '0' && (minus || arg->len > 1)) { return false; }
    for (; i < arg->len; i++) {
        const unsigned digit = (unsigned)p[i] - '0';
        if (digit > 9) { return false; }
        v = v * 10 + digit;
    }
    if (v > (uint64_t)INT64_MAX + minus) { return false; }
    *n = minus ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

CELLAR_PRIVATE bool resp_need_int(resp_client *c, const cellar_bytes *arg, int64_t *n)
{
    if (resp_to_int(arg, n)) { return true; }
    resp_error(c, "ERR value is not an integer or out of range");
    return false;
}

CELLAR_PRIVATE void resp_syntax(resp_client *c) { resp_error(c, "ERR syntax error"); }

CELLAR_PRIVATE void resp_wrong_arity(resp_client *c, const char *name)
{
    resp_error(c, "ERR wrong number of arguments for '%s' command", name);
}

CELLAR_PRIVATE void resp_unknown_sub(resp_client *c, const cellar_bytes *argv, const char *command)
{
    resp_error(c, "ERR unknown subcommand '%.*s'. Try %s HELP.", (int)BASE_MIN(argv[1].len, 128),
               (const char *)argv[1].data, command);
}

/* ---- checks ---- */

static void resp_unknown(resp_client *c, const cellar_bytes *argv, uint32_t argc)
{
    char args[160];
    size_t len = 0;
    args[0] = '\0';
    for (uint32_t i = 1; i < argc && len < 128; i++) {
        const int room = (int)(128 - len), part = (int)BASE_MIN(argv[i].len, 128);
        const int put = snprintf(args + len, sizeof args - len, "'%.*s' ", BASE_MIN(part, room),
                                 (const char *)argv[i].data);
        len += (size_t)BASE_MAX(put, 0);
    }
    resp_refuse(c, "ERR unknown command '%.*s', with args beginning with: %s",
                (int)BASE_MIN(argv[0].len, 128), (const char *)argv[0].data, args);
}

/* Return whether each key of a request has 1..CELLAR_KEY_MAX bytes. */
static bool resp_keys_ok(const resp_command *cmd, const cellar_bytes *argv, uint32_t argc)
{
    if (cmd->first == 0) { return true; }
    /* places are small and not negative, but for last */
    const uint32_t end = cmd->last < 0 ? argc : BASE_MIN((uint32_t)cmd->last + 1u, argc);
    const uint32_t step = (uint32_t)cmd->step; /* from 1 */
    for (uint32_t i = (uint32_t)cmd->first; i < end; i += step) {
        if (argv[i].len == 0 || argv[i].len > CELLAR_KEY_MAX) { return false; }
    }
    return true;
}

/* Refuse a request for a reason with the name of its command in it. */
static void resp_refuse_for(resp_client *c, const resp_command *cmd, const char *before,
                            const char *after)
{
    const bool exec = (cmd->flags & RESP_EXEC) != 0;
    resp_refuse(c, "%s %s '%s'%s", exec ? "EXECABORT Transaction discarded because of:" : "ERR",
                before, cmd->name, after);
    if (exec) { resp_queue_drop(c); }
}

/* Return whether a client may change something: without `writable` the shared store alone. */
static bool resp_may_write(const resp_client *c, const resp_command *cmd)
{
    const uint32_t wide = RESP_ADMIN | RESP_DANGER | RESP_PUBSUB;
    return c->of->opts.writable != 0 || (resp_is_shared(c) && (cmd->flags & wide) == 0);
}

/* Refuse a request that must not run. False: an error was written. */
static bool resp_allowed(resp_client *c, const resp_command *cmd, const cellar_bytes *argv,
                         uint32_t argc)
{
    const cellar_resp *r = c->of;
    if (!resp_arity_ok(cmd, argc)) {
        resp_refuse_for(c, cmd, "wrong number of arguments for", " command");
    } else if (!(c->flags & RESP_C_AUTH) && !(cmd->flags & RESP_NO_AUTH)) {
        resp_refuse(c, "NOAUTH Authentication required.");
    } else if ((cmd->flags & RESP_DANGER) && r->opts.danger == 0) {
        resp_refuse(c, "ERR command '%s' is disabled. It needs the option danger.", cmd->name);
    } else if ((cmd->flags & RESP_WRITE) && !resp_may_write(c, cmd)) {
        resp_refuse(c, "READONLY You can't write against a port without the option writable.");
    } else if ((cmd->flags & RESP_NO_MULTI) && (c->flags & RESP_C_MULTI)) {
        resp_refuse(c, "ERR Command not allowed inside a transaction");
    } else if ((c->flags & RESP_C_SUBSCRIBED) && c->protocol < 3 &&
               !(cmd->flags & RESP_SUBSCRIBED)) {
        resp_refuse_for(c, cmd, "Can't execute", ": only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING "
                                                 "/ QUIT / RESET are allowed in this context");
    } else if (!resp_keys_ok(cmd, argv, argc)) {
        resp_refuse(c, "ERR invalid key");
    } else {
        return true;
    }
    return false;
}

CELLAR_PRIVATE void resp_run(resp_client *c, const resp_command *cmd, const cellar_bytes *argv,
                             uint32_t argc)
{
    if (cmd == NULL) {
        resp_unknown(c, argv, argc);
    } else if (resp_allowed(c, cmd, argv, argc)) {
        if (!(c->flags & RESP_C_MULTI) || (cmd->flags & RESP_IN_MULTI)) {
            resp_call(c, cmd, argv, argc);
        } else if (!resp_room_in(c->of, 0)) {
            resp_refuse(c, "%s", RESP_OOM);
        } else {
            resp_queue_add(c, cmd, argv, argc);
        }
    }
}

CELLAR_PRIVATE void resp_call(resp_client *c, const resp_command *cmd, const cellar_bytes *argv,
                              uint32_t argc)
{
    cellar_resp *r = c->of;
    const uint64_t since_ns = base_tsc_ns();
    resp_add(r, RESP_COUNT_commands, 1);
    c->last = cmd->name;
    if (BASE_UNLIKELY(r->monitors != 0) && !(cmd->flags & (RESP_NO_MONITOR | RESP_ADMIN))) {
        resp_monitor_show(c, argv, argc);
    }
    base_thread_record *const self = base_thread_self();
    self->hurries = self->index != 0; /* one thread serves all clients */
    cmd->run(c, argv, argc);
    self->hurries = false;
    const uint64_t took_us = (base_tsc_ns() - since_ns) / 1000;
    if (BASE_UNLIKELY(took_us > r->opts.slow_us) && !(cmd->flags & RESP_NO_MONITOR) &&
        c->walk == NULL) {
        resp_slow_note(c, argv, argc, took_us);
    }
}
