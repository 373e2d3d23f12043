/* SPDX-License-Identifier: MIT
 *
 * describe: CLIENT, COMMAND, MONITOR, SLOWLOG. */
#include <inttypes.h>
#include <string.h>

#include "base/num.h"
#include "base/text.h"
#include "resp/calls.h"
#include "resp/client.h"
#include "resp/trace.h"
#include "resp/tracking.h"

BASE_SIZE_BEGIN

#define RESP_LINE_MAX 768u /* bytes of a line of CLIENT LIST */

/* ---- CLIENT ---- */

/* Write the letters that Redis has for the state of a client. */
static void resp_client_letters(base_text *t, const resp_client *c)
{
    static const struct { uint32_t flag; const char *letter; } row[] = {
        { RESP_C_MONITOR, "O" }, { RESP_C_SUBSCRIBED, "P" }, { RESP_C_MULTI, "x" },
        { RESP_C_TRACKING, "t" }, { RESP_C_REDIRECT, "R" }, { RESP_C_TRACKING, "B" },
        { RESP_C_UNIX, "U" }, { RESP_C_NO_EVICT, "e" },
    };
    uint32_t flags = c->flags, seen = 0;
    if (c->redirect != NULL) { flags &= ~RESP_C_REDIRECT; } /* R: its target is gone */
    base_text_add(t, " flags=");
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        seen |= flags & row[i].flag;
        if (flags & row[i].flag) { base_text_add(t, "%s", row[i].letter); }
    }
    if (seen == 0) { base_text_add(t, "N"); }
}

static void resp_client_line(base_text *t, const resp_client *c)
{
    const int64_t now_ms = c->of->now_ms;
    unsigned blocks = 0;
    for (const resp_block *b = c->out_first; b != NULL; b = b->next) { blocks++; }
    base_text_add(t, "id=%" PRIu64 " addr=%s fd=%d name=%s", c->id, c->address, c->fd, c->name);
    base_text_add(t, " age=%" PRId64 " idle=%" PRId64, (now_ms - c->born_ms) / 1000,
                  (now_ms - c->active_ms) / 1000);
    resp_client_letters(t, c);
    base_text_add(t, " db=%u sub=%u psub=%u ssub=0", (unsigned)c->db,
                  (unsigned)c->sub_count[RESP_CHANNEL], (unsigned)c->sub_count[RESP_PATTERN]);
    base_text_add(t, " multi=%d qbuf=%zu qbuf-free=%zu argv-mem=0 multi-mem=%zu rbs=0 rbp=0",
                  c->flags & RESP_C_MULTI ? (int)c->queue_count : -1, c->in_len,
                  c->in_cap - c->in_len, c->queue_bytes);
    base_text_add(t, " obl=0 oll=%u omem=%zu tot-mem=%zu", blocks, c->out_bytes,
                  sizeof *c + c->in_cap + c->queue_bytes + c->watched_bytes + c->sub_bytes +
                      c->out_bytes);
    const int64_t target = c->redirect != NULL ? (int64_t)c->redirect->id : 0;
    base_text_add(t, " events=%s cmd=%s user=default redir=%" PRId64 " resp=%u lib-name=%s"
                  " lib-ver=%s\n", c->events & EPOLLOUT ? "rw" : "r", c->last,
                  c->flags & RESP_C_TRACKING ? target : -1, (unsigned)c->protocol, c->lib_name,
                  c->lib_version);
}

static void resp_client_info(resp_client *c)
{
    char line[RESP_LINE_MAX];
    base_text t = { line, sizeof line, 0 };
    resp_client_line(&t, c);
    resp_verbatim(c, "txt", line, BASE_MIN(t.len, sizeof line - 1));
}

/* Return whether a client is of a type of Redis. */
static bool resp_client_type_is(const resp_client *c, const cellar_bytes *type)
{
    return resp_is(type, c->flags & RESP_C_SUBSCRIBED ? "pubsub" : "normal");
}

/* Check the name of a type. False: an error was written. */
static bool resp_need_type(resp_client *c, const cellar_bytes *type)
{
    static const char *const types[] = { "normal", "pubsub", "master", "replica", "slave" };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (resp_is(type, types[i])) { return true; }
    }
    resp_error(c, "ERR Unknown client type '%.*s'", (int)BASE_MIN(type->len, 128),
               (const char *)type->data);
    return false;
}

/* CLIENT LIST [TYPE type] [ID id ...] */
static void resp_client_list(resp_client *c, const cellar_bytes *argv, uint32_t argc)
{
    cellar_resp *r = c->of;
    const bool by_id = argc > 3 && resp_is(&argv[2], "id");
    const bool by_type = argc == 4 && resp_is(&argv[2], "type");
    int64_t id;
    if (argc > 2 && !by_id && !by_type) {
        resp_syntax(c);
        return;
    }
    if (by_type && !resp_need_type(c, &argv[3])) { return; }
    for (uint32_t i = 3; by_id && i < argc; i++) {
        if (!resp_to_int(&argv[i], &id) || id <= 0) {
            resp_error(c, "ERR Invalid client ID");
            return;
        }
    }
    const uint32_t count = by_id ? argc - 3 : base_load_rlx(&r->client_count);
    const size_t bytes = count * (size_t)RESP_LINE_MAX;
    char *lines = base_alloc(&r->obj.account, BASE_MOD_STORE, bytes, NULL);
    if (lines == NULL) {
        resp_fail(c, CELLAR_E_NOMEM);
        return;
    }
    base_text t = { lines, bytes, 0 };
    for (uint32_t i = 3; by_id && i < argc; i++) {
        const resp_client *one = resp_to_int(&argv[i], &id) ? resp_client_by_id(r, id) : NULL;
        if (one != NULL) { resp_client_line(&t, one); }
    }
    for (const resp_client *one = by_id ? NULL : r->first; one != NULL; one = one->next) {
        if (!by_type || resp_client_type_is(one, &argv[3])) { resp_client_line(&t, one); }
    }
    resp_verbatim(c, "txt", lines, t.len);
    base_free(&r->obj.account, BASE_MOD_STORE, lines, bytes);
}

/* End a client. The one that asks gets its reply first. */
static void resp_client_end(resp_client *c, resp_client *other)
{
    other->flags |= other == c ? RESP_C_CLOSE : RESP_C_BROKEN;
    resp_wake(other);
}

static bool resp_client_at(const resp_client *c, const cellar_bytes *address)
{
    return address->len == strlen(c->address) &&
           memcmp(address->data, c->address, address->len) == 0;
}

/* CLIENT KILL address, or ID id, ADDR address, TYPE type, SKIPME yes/no in pairs. */
static void resp_client_kill(resp_client *c, const cellar_bytes *argv, uint32_t argc)
{
    cellar_resp *r = c->of;
    const cellar_bytes *address = argc == 3 ? &argv[2] : NULL, *type = NULL;
    int64_t id = 0, killed = 0;
    bool skip_me = argc != 3;
    for (uint32_t i = 2; argc > 3 && i < argc; i += 2) {
        if (i + 1 == argc) {
            resp_syntax(c);
            return;
        } else if (resp_is(&argv[i], "id")) {
            if (!resp_to_int(&argv[i + 1], &id) || id <= 0) {
                resp_error(c, "ERR client-id should be greater than 0");
                return;
            }
        } else if (resp_is(&argv[i], "addr")) {
            address = &argv[i + 1];
        } else if (resp_is(&argv[i], "type")) {
            type = &argv[i + 1];
            if (!resp_need_type(c, type)) { return; }
        } else if (resp_is(&argv[i], "skipme") &&
                   (resp_is(&argv[i + 1], "yes") || resp_is(&argv[i + 1], "no"))) {
            skip_me = resp_is(&argv[i + 1], "yes");
        } else {
            resp_syntax(c);
            return;
        }
    }
    for (resp_client *one = r->first; one != NULL; one = one->next) {
        if ((address != NULL && !resp_client_at(one, address)) ||
            (type != NULL && !resp_client_type_is(one, type)) ||
            (id != 0 && (int64_t)one->id != id) || (skip_me && one == c)) {
            continue;
        }
        resp_client_end(c, one);
        killed++;
    }
    if (argc > 3) {
        resp_int(c, killed);
    } else if (killed == 0) {
        resp_error(c, "ERR No such client");
    } else {
        resp_ok(c);
    }
    if (c->flags & RESP_C_CLOSE) { c->flags |= RESP_C_MUTED; } /* the rest of an EXEC */
}

/* CLIENT REPLY ON|OFF|SKIP: the loop drops the replies. */
static void resp_client_reply(resp_client *c, const cellar_bytes *how)
{
    if (resp_is(how, "on")) {
        c->flags &= ~(RESP_C_REPLY_OFF | RESP_C_MUTED);
        resp_ok(c);
    } else if (resp_is(how, "off")) {
        c->flags |= RESP_C_REPLY_OFF | RESP_C_MUTED; /* muted: what EXEC still replies */
    } else if (resp_is(how, "skip")) {
        c->flags |= RESP_C_SKIP;
    } else {
        resp_syntax(c);
    }
}

static void resp_client_setinfo(resp_client *c, const cellar_bytes *what, const cellar_bytes *text)
{
    const bool name = resp_is(what, "lib-name");
    if (!name && !resp_is(what, "lib-ver")) {
        resp_error(c, "ERR Unrecognized option '%.*s'", (int)BASE_MIN(what->len, 128),
                   (const char *)what->data);
    } else if (!(name ? resp_client_text(c->lib_name, sizeof c->lib_name, text)
                      : resp_client_text(c->lib_version, sizeof c->lib_version, text))) {
        resp_error(c, "ERR %s cannot contain spaces, newlines or special characters.",
                   name ? "lib-name" : "lib-ver");
    } else {
        resp_ok(c);
    }
}

static void resp_client_switch(resp_client *c, const cellar_bytes *how, uint32_t flag)
{
    if (!resp_is(how, "on") && !resp_is(how, "off")) {
        resp_syntax(c);
        return;
    }
    c->flags = resp_is(how, "on") ? c->flags | flag : c->flags & ~flag;
    resp_ok(c);
}

static void resp_client_setname(resp_client *c, const cellar_bytes *name)
{
    if (resp_client_name(c, name)) {
        resp_ok(c);
    } else {
        resp_error(c, "ERR Client names cannot contain spaces, newlines or special characters.");
    }
}

RESP_CALL(resp_client_call)
{
    static const struct {
        const char *name, *full;
        int8_t arity;
    } subs[] = {
        { "getname", "client|getname", 2 }, { "id", "client|id", 2 }, { "info", "client|info", 2 },
        { "kill", "client|kill", -3 }, { "list", "client|list", -2 },
        { "no-evict", "client|no-evict", 3 }, { "no-touch", "client|no-touch", 3 },
        { "reply", "client|reply", 3 }, { "setinfo", "client|setinfo", 4 },
        { "setname", "client|setname", 3 }, { "tracking", "client|tracking", -3 }
    };
    size_t i = 0;
    while (i < sizeof subs / sizeof *subs && !resp_is(&argv[1], subs[i].name)) { i++; }
    if (i == sizeof subs / sizeof *subs) {
        resp_unknown_sub(c, argv, "CLIENT");
        return;
    }
    if (subs[i].arity >= 0 ? argc != (uint32_t)subs[i].arity : argc < (uint32_t)-subs[i].arity) {
        resp_wrong_arity(c, subs[i].full);
        return;
    }
    switch (i) {
    case 0: c->name[0] != '\0' ? resp_bulk_text(c, c->name) : resp_null(c); break;
    case 1: resp_int(c, (int64_t)c->id); break;
    case 2: resp_client_info(c); break;
    case 3: resp_client_kill(c, argv, argc); break;
    case 4: resp_client_list(c, argv, argc); break;
    case 5: resp_client_switch(c, &argv[2], RESP_C_NO_EVICT); break;
    case 6: resp_client_switch(c, &argv[2], RESP_C_NO_TOUCH); break;
    case 7: resp_client_reply(c, &argv[2]); break;
    case 8: resp_client_setinfo(c, &argv[2], &argv[3]); break;
    case 9: resp_client_setname(c, &argv[2]); break;
    default: resp_tracking_call(c, argv, argc); break;
    }
}

/* ---- COMMAND ---- */

static void resp_command_flags(resp_client *c, uint16_t flags)
{
    static const struct { uint16_t flag; const char *name; } names[] = {
        { RESP_READ, "readonly" }, { RESP_WRITE, "write" }, { RESP_ADMIN, "admin" },
        { RESP_DANGER, "dangerous" }, { RESP_FAST, "fast" }, { RESP_NO_MULTI, "no_multi" },
        { RESP_NO_AUTH, "no_auth" }, { RESP_NO_MONITOR, "skip_monitor" }, { RESP_PUBSUB, "pubsub" }
    };
    uint64_t n = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) { n += (flags & names[i].flag) != 0; }
    resp_set(c, n);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (flags & names[i].flag) { resp_simple(c, names[i].name); }
    }
}

static void resp_command_info(resp_client *c, const resp_command *cmd)
{
    if (cmd == NULL) {
        resp_null(c);
        return;
    }
    resp_array(c, 10);
    resp_bulk_text(c, cmd->name);
    resp_int(c, cmd->arity);
    resp_command_flags(c, cmd->flags);
    resp_int(c, cmd->first);
    resp_int(c, cmd->last);
    resp_int(c, cmd->step);
    resp_set(c, 0);   /* categories of access */
    resp_array(c, 0); /* hints */
    resp_array(c, 0); /* places of the keys, long form */
    resp_array(c, 0); /* subcommands */
}

RESP_CALL(resp_command_call)
{
    const cellar_resp *r = c->of;
    if (argc == 1 || (argc == 2 && resp_is(&argv[1], "info"))) {
        resp_array(c, r->command_count);
        for (uint32_t i = 0; i < r->command_count; i++) { resp_command_info(c, &r->table[i]); }
    } else if (resp_is(&argv[1], "info")) {
        resp_array(c, argc - 2);
        for (uint32_t i = 2; i < argc; i++) {
            resp_command_info(c, resp_find(r, argv[i].data, argv[i].len));
        }
    } else if (resp_is(&argv[1], "count")) {
        argc == 2 ? resp_int(c, r->command_count) : resp_wrong_arity(c, "command|count");
    } else if (resp_is(&argv[1], "list") && argc == 2) {
        resp_array(c, r->command_count);
        for (uint32_t i = 0; i < r->command_count; i++) { resp_bulk_text(c, r->table[i].name); }
    } else {
        resp_unknown_sub(c, argv, "COMMAND");
    }
}

/* ---- MONITOR and SLOWLOG ---- */

RESP_CALL(resp_monitor)
{
    (void)argv, (void)argc;
    if (!(c->flags & RESP_C_MONITOR)) { c->of->monitors++; }
    c->flags |= RESP_C_MONITOR;
    resp_ok(c);
}

/* Return the entry before `id` that is `back` places back; NULL: there is none. */
static const resp_slow *resp_slow_at(const cellar_resp *r, uint64_t back)
{
    if (back >= RESP_SLOW_MAX || back >= r->slow_next) { return NULL; }
    return r->slow[(r->slow_next - 1 - back) % RESP_SLOW_MAX];
}

static uint32_t resp_slow_count(const cellar_resp *r)
{
    uint32_t n = 0;
    while (resp_slow_at(r, n) != NULL) { n++; }
    return n;
}

static void resp_slow_get(resp_client *c, int64_t most)
{
    const uint32_t all = resp_slow_count(c->of);
    const uint32_t n = most < 0 || most > all ? all : (uint32_t)most;
    resp_array(c, n);
    for (uint32_t i = 0; i < n; i++) {
        const resp_slow *s = resp_slow_at(c->of, i);
        resp_array(c, 6);
        resp_int(c, (int64_t)s->id);
        resp_int(c, s->wall_ms / 1000);
        resp_int(c, (int64_t)s->took_us);
        resp_array(c, s->argc);
        for (uint32_t k = 0; k < s->argc; k++) { resp_bulk(c, s->argv[k].data, s->argv[k].len); }
        resp_bulk_text(c, s->address);
        resp_bulk_text(c, s->name);
    }
}

RESP_CALL(resp_slowlog)
{
    int64_t most = 10;
    if (resp_is(&argv[1], "reset") && argc == 2) {
        resp_slow_drop(c->of);
        resp_ok(c);
    } else if (resp_is(&argv[1], "len") && argc == 2) {
        resp_int(c, resp_slow_count(c->of));
    } else if (resp_is(&argv[1], "get") && argc <= 3) {
        if (argc == 3 && (!resp_to_int(&argv[2], &most) || most < -1)) {
            resp_error(c, "ERR count should be greater than or equal to -1");
            return;
        }
        resp_slow_get(c, most);
    } else {
        resp_unknown_sub(c, argv, "SLOWLOG");
    }
}

BASE_SIZE_END
