/* SPDX-License-Identifier: MIT
 *
 * entry: what the commands of one key have in common.
 *
 * INVARIANTS Entries of the disk tier count as present everywhere. A negative entry counts as
 *            absent.
 * LOCKING    None; calls of include/ only. */
#include "resp/control.h"
#include "resp/entry.h"
#include "resp/track.h"

#include <string.h>

CELLAR_PRIVATE cellar_err resp_value_keep(resp_value *v, const void *bytes, size_t len)
{
    if (len > v->cap) {
        base_free(v->account, BASE_MOD_STORE, v->bytes, v->cap);
        v->cap = 0;
        v->bytes = base_alloc(v->account, BASE_MOD_STORE, len, NULL);
        if (v->bytes == NULL) { return CELLAR_E_SPACE; }
        v->cap = len;
    }
    if (len > 0) { memcpy(v->bytes, bytes, len); }
    v->len = len;
    return CELLAR_OK;
}

CELLAR_PRIVATE void resp_value_free(resp_value *v)
{
    base_free(v->account, BASE_MOD_STORE, v->bytes, v->cap);
    *v = (resp_value){ .account = v->account };
}

CELLAR_PRIVATE cellar_set_opts resp_write_opts(int64_t ttl_ms)
{
    cellar_set_opts o = cellar_set_opts_default();
    o.ttl_ms = ttl_ms;
    o.flags = CELLAR_KEEP_OLD_VALUE;
    return o;
}

CELLAR_PRIVATE cellar_set_opts resp_keep_opts(void)
{
    cellar_set_opts o = resp_write_opts(0);
    o.flags |= CELLAR_KEEP_TTL;
    return o;
}

/* ---- the shared store ---- */

/* Return whether a key lies in the table of control keys. */
static bool resp_in_table(const resp_client *c, const cellar *ns, cellar_bytes key)
{
    return ns == c->of->shared.store && resp_is_control(key);
}

/* Note a change of a key, if the namespace is the shared store. */
static void resp_note(resp_client *c, const cellar *ns, cellar_bytes key)
{
    resp_shared *s = &c->of->shared;
    if (ns != s->store) { return; }
    s->wrote = true;
    resp_changed(c->of, s->in_function && !s->fills ? NULL : c, key);
}

/* Store a control key. */
static cellar_err resp_store_control(resp_client *c, cellar_bytes key, cellar_bytes value,
                                     const cellar_set_opts *o)
{
    cellar_resp *r = c->of;
    const resp_control *k = resp_control_find(r, key);
    int64_t ttl_ms = o->ttl_ms != 0 ? o->ttl_ms : CELLAR_TTL_NONE;
    if (k != NULL && (o->flags & CELLAR_ONLY_IF_ABSENT) != 0) { return CELLAR_EXISTS; }
    if (k == NULL && (o->flags & CELLAR_ONLY_IF_PRESENT) != 0) { return CELLAR_MISS; }
    if (k != NULL && (o->flags & CELLAR_KEEP_TTL) != 0) { ttl_ms = resp_control_ttl(r, k); }
    return resp_control_set(r, key, value, ttl_ms, r->shared.in_function ? 0 : c->process);
}

/* An update of a control key. */
typedef struct resp_control_update {
    cellar_bytes old; /* data NULL: none */
    cellar_update_fn fn;
    void *ctx;
    cellar_err err; /* of fn */
} resp_control_update;

static cellar_err resp_update_one(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    resp_control_update *u = ctx;
    (void)old, (void)old_len;
    u->err = u->fn(u->old.data, u->old.len, out, u->ctx);
    return u->err;
}

/* Update a control key: `fn` writes to a key "~" of the store, which no client can reach. */
static cellar_err resp_update_control(resp_client *c, cellar *ns, cellar_bytes key,
                                      const cellar_set_opts *o, cellar_update_fn fn, void *ctx)
{
    cellar_resp *r = c->of;
    resp_control *k = resp_control_find(r, key);
    resp_control_update u = { .fn = fn, .ctx = ctx, .err = CELLAR_OK };
    cellar_pinned made;
    cellar_set_opts own = *o;
    if (k == NULL && (o->flags & CELLAR_ONLY_IF_PRESENT) != 0) { return CELLAR_MISS; }
    if (k != NULL) { u.old = resp_control_value(k); }
    if (k != NULL && (o->flags & CELLAR_KEEP_TTL) != 0) { /* the key may end meanwhile */
        own.flags &= ~(uint32_t)CELLAR_KEEP_TTL;
        own.ttl_ms = resp_control_ttl(r, k);
    }
    cellar_err err = cellar_update(ns, "~", 1, NULL, resp_update_one, &u);
    if (u.err == CELLAR_REMOVED) {
        if (k != NULL) { resp_control_delete(r, k); }
        return k != NULL ? CELLAR_REMOVED : CELLAR_MISS;
    }
    if (err == CELLAR_OK) { err = cellar_pin(ns, "~", 1, &made); }
    if (err != CELLAR_OK) { return u.err != CELLAR_OK ? u.err : err; }
    err = resp_store_control(c, key, (cellar_bytes){ made.value, made.value_len }, &own);
    cellar_unpin(&made);
    (void)cellar_delete(ns, "~", 1);
    return err;
}

/* ---- one key ---- */

CELLAR_PRIVATE cellar_err resp_store(resp_client *c, cellar *ns, cellar_bytes key,
                                     cellar_bytes value, const cellar_set_opts *o)
{
    cellar_err err = CELLAR_E_BUSY;
    if (resp_in_table(c, ns, key)) { err = resp_store_control(c, key, value, o); }
    for (uint32_t n = 0; n < RESP_BUSY_ROUNDS && err == CELLAR_E_BUSY; n++) {
        err = cellar_set(ns, key.data, key.len, value.data, value.len, o);
    }
    if (err == CELLAR_OK) { resp_note(c, ns, key); }
    return err;
}

CELLAR_PRIVATE cellar_err resp_update(resp_client *c, cellar *ns, cellar_bytes key,
                                      const cellar_set_opts *o, cellar_update_fn fn, void *ctx)
{
    cellar_err err = CELLAR_E_BUSY;
    if (resp_in_table(c, ns, key)) { err = resp_update_control(c, ns, key, o, fn, ctx); }
    for (uint32_t n = 0; n < RESP_BUSY_ROUNDS && err == CELLAR_E_BUSY; n++) {
        err = cellar_update(ns, key.data, key.len, o, fn, ctx);
    }
    if (err == CELLAR_OK || err == CELLAR_REMOVED) { resp_note(c, ns, key); }
    return err;
}

CELLAR_PRIVATE cellar_err resp_change_nothing(const void *old, size_t old_len, cellar_buf *out,
                                              void *ctx)
{
    (void)old_len, (void)out, (void)ctx;
    return old != NULL ? CELLAR_CONFLICT : CELLAR_MISS;
}

static cellar_err resp_describe(resp_client *c, cellar *ns, cellar_bytes key, uint32_t flags,
                                cellar_entry_info *info)
{
    *info = cellar_entry_info_default();
    if (resp_in_table(c, ns, key)) {
        const resp_control *k = resp_control_find(c->of, key);
        if (k == NULL) { return CELLAR_MISS; }
        info->value_len = resp_control_value(k).len;
        info->ttl_left_ms = resp_control_ttl(c->of, k);
        return CELLAR_OK;
    }
    const cellar_err err = cellar_entry_info_get(ns, key.data, key.len, flags, info);
    return err == CELLAR_STALE ? CELLAR_MISS : err;
}

CELLAR_PRIVATE cellar_err resp_info(resp_client *c, cellar *ns, cellar_bytes key,
                                    cellar_entry_info *info)
{
    return resp_describe(c, ns, key, 0, info);
}

CELLAR_PRIVATE cellar_err resp_look(resp_client *c, cellar *ns, cellar_bytes key, uint32_t flags,
                                    cellar_entry_info *info)
{
    cellar_err err = CELLAR_CONFLICT; /* the entry is there, and memory may evict it again */
    cellar_set_opts o = resp_write_opts(0);
    /* It ends a load of no key, but for WATCH: what the load stores is another version. */
    if ((flags & CELLAR_GET_WANT_VERSION) == 0) { o.flags |= CELLAR_ONLY_IF_PRESENT; }
    for (uint32_t n = 0; n < RESP_BUSY_ROUNDS && err == CELLAR_CONFLICT; n++) {
        err = resp_describe(c, ns, key, flags, info);
        if (err == CELLAR_OK || err < 0 || resp_in_table(c, ns, key)) { return err; }
        err = resp_update(c, ns, key, &o, resp_change_nothing, NULL);
    }
    if (err == CELLAR_E_TYPE && cellar_get(ns, key.data, key.len, NULL, 0, NULL) == err) {
        return CELLAR_MISS; /* objects are in memory alone */
    }
    return err == CELLAR_CONFLICT ? CELLAR_E_BUSY : err;
}

CELLAR_PRIVATE cellar_err resp_hold(resp_client *c, cellar *ns, cellar_bytes key, resp_held *h)
{
    size_t len = 0;
    *h = (resp_held){ .own.account = &c->of->obj.account };
    if (resp_in_table(c, ns, key)) {
        const resp_control *k = resp_control_find(c->of, key);
        if (k == NULL) { return CELLAR_MISS; }
        const cellar_bytes v = resp_control_value(k);
        const cellar_err err = resp_value_keep(&h->own, v.data, v.len);
        h->value = (cellar_bytes){ h->own.bytes, h->own.len };
        return err;
    }
    cellar_err err = cellar_pin(ns, key.data, key.len, &h->pin);
    h->value = (cellar_bytes){ h->pin.value, h->pin.value_len };
    if (err == CELLAR_E_LIMIT) { /* no free pin slot */
        err = cellar_get_alloc(ns, key.data, key.len, &h->copy, &len);
        h->value = (cellar_bytes){ h->copy, len };
    }
    return err;
}

CELLAR_PRIVATE void resp_held_free(resp_held *h)
{
    cellar_unpin(&h->pin);
    cellar_free(h->copy);
    resp_value_free(&h->own);
}

CELLAR_PRIVATE cellar_err resp_delete(resp_client *c, cellar *ns, cellar_bytes key, bool *gone)
{
    cellar_err err = CELLAR_MISS;
    if (resp_in_table(c, ns, key)) {
        resp_control *k = resp_control_find(c->of, key);
        *gone = k != NULL;
        if (k != NULL) { resp_control_delete(c->of, k); }
    } else {
        /* cellar_delete does not report an entry that is only on disk. */
        int64_t disk_bytes = 0;
        (void)cellar_option_get(ns, CELLAR_OPT_L2_BYTES, &disk_bytes);
        const bool below = disk_bytes != 0 && cellar_contains(ns, key.data, key.len) == CELLAR_OK;
        err = cellar_delete(ns, key.data, key.len);
        *gone = err == CELLAR_OK || (err == CELLAR_MISS && below);
    }
    if (*gone) { resp_note(c, ns, key); }
    return err == CELLAR_MISS ? CELLAR_OK : err;
}

CELLAR_PRIVATE cellar_err resp_touch(resp_client *c, cellar *ns, cellar_bytes key, int64_t ttl_ms)
{
    cellar_err err = CELLAR_MISS;
    if (resp_in_table(c, ns, key)) {
        resp_control *k = resp_control_find(c->of, key);
        if (k != NULL) {
            resp_control_touch(c->of, k, ttl_ms);
            err = CELLAR_OK;
        }
    } else {
        err = cellar_touch(ns, key.data, key.len, ttl_ms);
    }
    if (err == CELLAR_OK) { resp_note(c, ns, key); }
    return err;
}

CELLAR_PRIVATE bool resp_need_ttl(resp_client *c, const char *name, cellar_bytes text,
                                  resp_unit unit, int64_t *ttl_ms)
{
    const int64_t now_ms = base_wall_ms();
    int64_t at_ms = 0;
    switch (resp_expire_read(text, unit, now_ms, true, &at_ms)) {
    case RESP_EXPIRE_NOT_INTEGER: resp_error(c, RESP_ERR_INTEGER); return false;
    case RESP_EXPIRE_INVALID:
        resp_error(c, "ERR invalid expire time in '%s' command", name);
        return false;
    case RESP_EXPIRE_OK: break;
    }
    *ttl_ms = resp_expire_ttl(at_ms, now_ms);
    return true;
}
