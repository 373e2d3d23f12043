/* SPDX-License-Identifier: MIT
 *
 * transaction: MULTI, EXEC, DISCARD, WATCH, UNWATCH.
 *
 * INVARIANTS The requests of a transaction run one after the other in the thread of the step: no
 *            other client of the port comes between. Other threads of the process may.
 * WATCH      Notes the version of the entry, 0 if there is none, and its deadline. EXEC compares:
 *            each write of the key gives another version, EXPIRE and PERSIST another deadline.
 *            A key that was missing, set and deleted again has not changed for the port; for
 *            Redis it has. */
#include <string.h>

#include "resp/calls.h"
#include "resp/control.h"
#include "resp/entry.h"
#include "resp/queue.h"
#include "resp/room.h"

#define RESP_WATCH_SLACK_MS 10 /* between the clocks of the port and the store */

BASE_SIZE_BEGIN

RESP_CALL(resp_multi)
{
    (void)argv, (void)argc;
    if (c->flags & RESP_C_MULTI) {
        resp_error(c, "ERR MULTI calls can not be nested");
        return;
    }
    c->flags |= RESP_C_MULTI;
    resp_ok(c);
}

RESP_CALL(resp_discard)
{
    (void)argv, (void)argc;
    if (!(c->flags & RESP_C_MULTI)) {
        resp_error(c, "ERR DISCARD without MULTI");
        return;
    }
    resp_queue_drop(c);
    resp_ok(c);
}

/* Return the deadline of an entry. A deadline that reads move (idle time) counts as none. */
static int64_t resp_ends_ms(const cellar_resp *r, const cellar_entry_info *info)
{
    const bool fixed = info->ttl_left_ms != CELLAR_TTL_NONE && info->idle_ms == 0;
    return fixed ? base_now_ms(&r->obj.clock) + info->ttl_left_ms : INT64_MAX;
}

/* Read version and deadline of an entry; version 0: there is none. */
static cellar_err resp_watched_read(resp_client *c, uint32_t db, cellar_bytes key,
                                    uint64_t *version, int64_t *ends_ms)
{
    cellar_resp *r = c->of;
    cellar_entry_info info;
    cellar_err err;
    cellar *ns = resp_ns_of(r, db, &err);
    *version = 0;
    *ends_ms = INT64_MAX;
    if (ns == NULL) { return err; }
    if (ns == r->shared.store && resp_is_control(key)) {
        const resp_control *k = resp_control_find(r, key);
        if (k != NULL) { *version = resp_control_version(k); }
        return CELLAR_OK;
    }
    err = resp_look(c, ns, key, CELLAR_GET_WANT_VERSION, &info);
    if (err == CELLAR_OK) {
        *version = info.version;
        *ends_ms = resp_ends_ms(r, &info);
    }
    return err < CELLAR_OK ? err : CELLAR_OK;
}

RESP_CALL(resp_watch)
{
    cellar_resp *r = c->of;
    if (c->flags & RESP_C_MULTI) {
        resp_error(c, "ERR WATCH inside MULTI is not allowed");
        return;
    }
    for (uint32_t i = 1; i < argc; i++) {
        const size_t len = argv[i].len;
        uint64_t version;
        int64_t ends_ms;
        if (len == 0 || len > CELLAR_KEY_MAX) {
            resp_error(c, "ERR invalid key");
            return;
        }
        const cellar_err err = resp_watched_read(c, c->db, argv[i], &version, &ends_ms);
        resp_watched *w = err == CELLAR_OK && resp_room_in(r, sizeof *w + len)
            ? base_alloc(&r->obj.account, BASE_MOD_STORE, sizeof *w + len, NULL) : NULL;
        if (w == NULL) {
            resp_fail(c, err == CELLAR_OK ? CELLAR_E_NOMEM : err);
            return;
        }
        c->watched_bytes += sizeof *w + len;
        w->next = c->watched;
        w->version = version;
        w->ends_ms = ends_ms;
        w->db = c->db;
        w->key_len = len;
        memcpy(w->key, argv[i].data, len);
        c->watched = w;
    }
    resp_ok(c);
}

RESP_CALL(resp_unwatch)
{
    (void)argv, (void)argc;
    resp_watched_drop(c);
    resp_ok(c);
}

/* Return whether a watched key has changed, or may have. */
static bool resp_watched_changed(resp_client *c)
{
    uint64_t version;
    int64_t ends_ms;
    for (const resp_watched *w = c->watched; w != NULL; w = w->next) {
        const cellar_bytes key = { w->key, w->key_len };
        if (resp_watched_read(c, w->db, key, &version, &ends_ms) != CELLAR_OK ||
            version != w->version || ends_ms - RESP_WATCH_SLACK_MS > w->ends_ms ||
            w->ends_ms - RESP_WATCH_SLACK_MS > ends_ms) {
            return true;
        }
    }
    return false;
}

RESP_CALL(resp_exec)
{
    (void)argv, (void)argc;
    if (!(c->flags & RESP_C_MULTI)) {
        resp_error(c, "ERR EXEC without MULTI");
        return;
    }
    if (c->flags & RESP_C_DIRTY) {
        resp_queue_drop(c);
        resp_error(c, "EXECABORT Transaction discarded because of previous errors.");
        return;
    }
    if (resp_watched_changed(c)) {
        resp_queue_drop(c);
        resp_null_array(c);
        return;
    }
    resp_array(c, c->queue_count);
    resp_queued *q = resp_queue_take(c);
    resp_watched_drop(c);
    c->flags |= RESP_C_IN_EXEC;
    for (resp_queued *next; q != NULL; q = next) {
        next = q->next;
        resp_call(c, q->cmd, q->argv, q->argc);
        resp_queued_free(c->of, q);
    }
    c->flags &= ~RESP_C_IN_EXEC;
    resp_out_add(c, c->of->behind);
    c->of->behind = (resp_out){ .first = NULL };
}

BASE_SIZE_END
