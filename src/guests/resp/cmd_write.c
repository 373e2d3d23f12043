/* SPDX-License-Identifier: MIT
 *
 * cmd_write: SET SETEX PSETEX SETNX GETSET GETDEL GETEX MSET MSETNX DEL UNLINK.
 *
 * INVARIANTS SET with NX, XX or GET, SETNX, GETSET, GETDEL and GETEX are one cellar_set,
 *            cellar_update: atomic against every thread of the process. Its old value lies in the
 *            reply before it changes: without memory for the reply the command changes nothing.
 *            MSETNX and GETEX with PERSIST are atomic against other clients of the port only.
 * LOCKING    None. */
#include "resp/data.h"
#include "resp/entry.h"
#include "resp/track.h"
#include "resp/value.h"

#include <string.h>

/* ---- SET ------------------------------------------------------------------------------------- */

/* A SET that needs the old value. */
typedef struct resp_set_plan {
    resp_client *client;
    resp_block *last; /* of its replies, before this one */
    cellar_bytes value;
    uint32_t flags;   /* RESP_OPT_NX, _XX, _GET */
    bool passed;      /* its time has passed: what it stores is gone */
    bool same;        /* GETEX: the value stays */
    bool found;       /* there was a value; with _GET it is reserved in the reply */
    size_t old_len;
} resp_set_plan;

/* Put the old value into the reply, which is not written yet. */
static cellar_err resp_set_keep(resp_set_plan *s, const void *old)
{
    resp_client *c = s->client;
    if (c->flags & (RESP_C_MUTED | RESP_C_BROKEN)) { return CELLAR_OK; }
    resp_bulk_cancel(c, s->last); /* of an update that another one overtook */
    void *to = resp_bulk_reserve(c, s->old_len);
    if (to == NULL) { return CELLAR_E_SPACE; }
    memcpy(to, old, s->old_len);
    return CELLAR_OK;
}

static cellar_err resp_set_one(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    resp_set_plan *s = ctx;
    s->found = old != NULL;
    s->old_len = old_len;
    if ((s->flags & RESP_OPT_GET) != 0 && old != NULL) {
        const cellar_err err = resp_set_keep(s, old);
        if (err != CELLAR_OK) { return err; }
    }
    if ((s->flags & RESP_OPT_NX) != 0 && old != NULL) { return CELLAR_EXISTS; }
    if (s->passed) { return CELLAR_REMOVED; }
    return s->same ? cellar_buf_append(out, old, old_len)
                   : cellar_buf_append(out, s->value.data, s->value.len);
}

/* Send the outcome of a SET. stored: the reply of a SET that stored. */
static void resp_put_set(resp_client *c, cellar_err err, const resp_set_plan *s, const char *stored)
{
    const bool done = err == CELLAR_OK || err == CELLAR_REMOVED ||
                      (err == CELLAR_MISS && s->passed && (s->flags & RESP_OPT_XX) == 0);
    if (!done && err != CELLAR_EXISTS && err != CELLAR_MISS) {
        resp_bulk_cancel(c, s->last);
        resp_fail(c, err);
    } else if ((s->flags & RESP_OPT_GET) == 0) {
        if (done) { resp_simple(c, stored); } else { resp_null(c); }
    } else if (s->found && err != CELLAR_MISS) { /* MISS: another call removed it since */
        resp_bulk_commit(c, s->old_len);
    } else {
        resp_null(c);
    }
}

/* Run SET key value with options that were read. ttl_ms 0: the client gave none; passed: its time
 * has passed. */
static void resp_set_key(resp_client *c, cellar_bytes key, cellar_bytes value, uint32_t flags,
                         int64_t ttl_ms, bool passed)
{
    cellar *ns = resp_ns(c);
    if (ns == NULL) { return; }
    cellar_set_opts o =
        (flags & RESP_OPT_KEEPTTL) != 0 ? resp_keep_opts() : resp_write_opts(ttl_ms);
    resp_set_plan s = { .client = c, .last = c->out_last, .value = value, .flags = flags,
                   .passed = passed };
    cellar_err err;
    if ((flags & RESP_OPT_XX) != 0) { o.flags |= CELLAR_ONLY_IF_PRESENT; }
    if ((flags & RESP_OPT_GET) != 0 || passed) {
        o.flags |= CELLAR_REPLACE; /* as cellar_set does */
        err = resp_update(c, ns, key, &o, resp_set_one, &s);
        if (passed && !s.found && (flags & RESP_OPT_XX) == 0 && ns == c->of->shared.store) {
            resp_changed(c->of, c, key); /* it was stored, and has expired */
        }
    } else {
        if ((flags & RESP_OPT_NX) != 0) { o.flags |= CELLAR_ONLY_IF_ABSENT; }
        err = resp_store(c, ns, key, value, &o);
    }
    resp_put_set(c, err, &s, "OK");
}

RESP_CALL(resp_cmd_set)
{
    resp_options o;
    const char *error = resp_options_set(argv + 3, argc - 3, &o);
    if (error != NULL) {
        resp_error(c, "%s", error);
        return;
    }
    int64_t ttl_ms = 0;
    if (o.unit != RESP_UNIT_NONE && !resp_need_ttl(c, "set", o.expire, o.unit, &ttl_ms)) { return; }
    resp_set_key(c, argv[1], argv[2], o.flags, ttl_ms, o.unit != RESP_UNIT_NONE && ttl_ms == 0);
}

RESP_CALL(resp_cmd_setex)
{
    (void)argc;
    int64_t ttl_ms;
    if (resp_need_ttl(c, "setex", argv[2], RESP_UNIT_EX, &ttl_ms)) {
        resp_set_key(c, argv[1], argv[3], 0, ttl_ms, false);
    }
}

RESP_CALL(resp_cmd_psetex)
{
    (void)argc;
    int64_t ttl_ms;
    if (resp_need_ttl(c, "psetex", argv[2], RESP_UNIT_PX, &ttl_ms)) {
        resp_set_key(c, argv[1], argv[3], 0, ttl_ms, false);
    }
}

RESP_CALL(resp_cmd_getset)
{
    (void)argc;
    resp_set_key(c, argv[1], argv[2], RESP_OPT_GET, 0, false);
}

RESP_CALL(resp_cmd_setnx)
{
    (void)argc;
    cellar *ns = resp_ns(c);
    if (ns == NULL) { return; }
    cellar_set_opts o = resp_write_opts(0);
    o.flags |= CELLAR_ONLY_IF_ABSENT;
    const cellar_err err = resp_store(c, ns, argv[1], argv[2], &o);
    if (err == CELLAR_OK || err == CELLAR_EXISTS) {
        resp_int(c, err == CELLAR_OK);
    } else {
        resp_fail(c, err);
    }
}

/* ---- GETDEL, GETEX --------------------------------------------------------------------------- */

static void resp_take_key(resp_client *c, cellar *ns, cellar_bytes key)
{
    if (ns == c->of->shared.store) { /* no other thread comes between */
        bool gone;
        const cellar_err err = resp_bulk_value(c, ns, key.data, key.len);
        if (err == CELLAR_OK) { (void)resp_delete(c, ns, key, &gone); }
        return;
    }
    cellar_set_opts o = resp_write_opts(0);
    o.flags |= CELLAR_ONLY_IF_PRESENT;
    resp_set_plan s = { .client = c, .last = c->out_last, .flags = RESP_OPT_GET | RESP_OPT_XX,
                   .passed = true };
    resp_put_set(c, resp_update(c, ns, key, &o, resp_set_one, &s), &s, "");
}

RESP_CALL(resp_cmd_getdel)
{
    (void)argc;
    cellar *ns = resp_ns(c);
    if (ns != NULL) { resp_take_key(c, ns, argv[1]); }
}

RESP_CALL(resp_cmd_getex)
{
    resp_options o;
    const char *error = resp_options_getex(argv + 2, argc - 2, &o);
    if (error != NULL) {
        resp_error(c, "%s", error);
        return;
    }
    cellar *ns = resp_ns(c);
    if (ns == NULL) { return; }
    const bool timed = o.unit != RESP_UNIT_NONE;
    int64_t ttl_ms = 0;
    cellar_entry_info info;
    /* The server does not look at the time for a key that does not exist. */
    const cellar_err err = argc > 2 ? resp_look(c, ns, argv[1], 0, &info) : CELLAR_OK;
    if (err != CELLAR_OK) {
        if (err < 0) { resp_fail(c, err); } else { resp_null(c); }
        return;
    }
    if (timed && !resp_need_ttl(c, "getex", o.expire, o.unit, &ttl_ms)) { return; }
    if (timed && ttl_ms == 0) {
        resp_take_key(c, ns, argv[1]);
    } else if (argc == 2 || (!timed && info.ttl_left_ms == CELLAR_TTL_NONE)) {
        (void)resp_bulk_value(c, ns, argv[1].data, argv[1].len); /* EXEC sees no change */
    } else {
        cellar_set_opts with = resp_write_opts(timed ? ttl_ms : CELLAR_TTL_NONE);
        with.flags |= CELLAR_ONLY_IF_PRESENT;
        resp_set_plan s = { .client = c, .last = c->out_last, .same = true, .flags = RESP_OPT_GET };
        resp_put_set(c, resp_update(c, ns, argv[1], &with, resp_set_one, &s), &s, "");
    }
}

/* ---- Several keys ---------------------------------------------------------------------------- */

/* Store the pairs from argv[1] on. Return the first error. */
static cellar_err resp_set_pairs(resp_client *c, cellar *ns, const cellar_bytes *argv,
                                 uint32_t argc)
{
    const cellar_set_opts o = resp_write_opts(0);
    cellar_err first = CELLAR_OK;
    uint32_t at = 1;
    for (; ns == c->of->shared.store && at < argc; at += 2) { /* each change is noted */
        const cellar_err err = resp_store(c, ns, argv[at], argv[at + 1], &o);
        if (first == CELLAR_OK) { first = err; }
    }
    while (at < argc) {
        cellar_set_item item[32];
        size_t n = 0;
        for (; n < 32 && at < argc; n++, at += 2) {
            item[n] = (cellar_set_item){ argv[at].data, argv[at].len, argv[at + 1].data,
                                         argv[at + 1].len, CELLAR_OK, 0 };
        }
        const cellar_err err = cellar_set_many(ns, item, n, &o, NULL);
        if (err != CELLAR_OK && first == CELLAR_OK) { first = err; }
        for (size_t i = 0; i < n && first == CELLAR_OK; i++) { first = item[i].status; }
    }
    return first;
}

RESP_CALL(resp_cmd_mset)
{
    if (argc % 2 == 0) {
        resp_wrong_arity(c, "mset");
        return;
    }
    cellar *ns = resp_ns(c);
    if (ns == NULL) { return; }
    const cellar_err err = resp_set_pairs(c, ns, argv, argc);
    if (err != CELLAR_OK) { resp_fail(c, err); } else { resp_ok(c); }
}

RESP_CALL(resp_cmd_msetnx)
{
    if (argc % 2 == 0) {
        resp_wrong_arity(c, "msetnx");
        return;
    }
    cellar *ns = resp_ns(c);
    if (ns == NULL) { return; }
    cellar_entry_info info;
    cellar_err err = CELLAR_MISS;
    for (uint32_t i = 1; i < argc && err == CELLAR_MISS; i += 2) {
        err = resp_look(c, ns, argv[i], 0, &info);
    }
    if (err == CELLAR_OK) {
        resp_int(c, 0);
        return;
    }
    if (err == CELLAR_MISS) { err = resp_set_pairs(c, ns, argv, argc); }
    if (err != CELLAR_OK) { resp_fail(c, err); } else { resp_int(c, 1); }
}

RESP_CALL(resp_cmd_del)
{
    cellar *ns = resp_ns(c);
    if (ns == NULL) { return; }
    int64_t count = 0;
    cellar_err first = CELLAR_OK;
    for (uint32_t i = 1; i < argc; i++) {
        bool gone;
        const cellar_err err = resp_delete(c, ns, argv[i], &gone);
        count += gone;
        if (first == CELLAR_OK) { first = err; }
    }
    if (first != CELLAR_OK) { resp_fail(c, first); } else { resp_int(c, count); }
}
