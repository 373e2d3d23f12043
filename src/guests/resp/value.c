/* SPDX-License-Identifier: MIT
 *
 * value: a value of the store as a reply: copied into a block, or sent from a pin.
 *
 * WALK       A value up to the room of a block is copied there. A value from RESP_PIN_MIN on, or
 *            without room, stays in the store: a block with a pin. Blocks that send the same value
 *            share its pin.
 * LIMITS     RESP_PINS pins, and one share of pinned bytes, or one value that is longer. */
#include <stdio.h>
#include <string.h>

#include "resp/control.h"
#include "resp/value.h"

#define RESP_HEAD_MAX 13u   /* "$" and at most 10 digits and CR LF */
#define RESP_ROOM_MIN 1024u /* with less in the last block a value goes to a new one */
#define RESP_TRIES 8        /* reads of a value that grows each time */
#define RESP_PIN_MIN ((size_t)256 << 10) /* a pin of a shorter value may keep a segment of 1 MiB */

static bool resp_has_pin(const resp_client *c) { return c->out_pinned != 0; }

/* Return the pin of a value, with one more use; NULL: no room for it, `v` is not pinned. */
static resp_pin *resp_pin_take(cellar_resp *r, cellar_pinned *v)
{
    resp_pin *place = NULL;
    bool room = false;
    do {
        for (resp_pin *p = r->pin; p < r->pin + RESP_PINS; p++) {
            if (p->refs == 0) {
                place = p;
            } else if (p->value.value == v->value && p->value.value_len == v->value_len) {
                cellar_unpin(v);
                p->refs++;
                return p;
            }
        }
        room = place != NULL && (r->pinned_bytes == 0 ||
                                 r->pinned_bytes + v->value_len <= base_load_rlx(&r->share));
    } while (!room && resp_cut_silent(r, resp_has_pin));
    if (!room) {
        cellar_unpin(v);
        return NULL;
    }
    *place = (resp_pin){ .value = *v, .refs = 1 };
    r->pinned_bytes += v->value_len;
    return place;
}

/* Write the value of a key from a pin. E_NOMEM: no room for one. */
static cellar_err resp_bulk_pinned(resp_client *c, cellar *ns, const void *key, size_t key_len)
{
    cellar_resp *r = c->of;
    cellar_pinned v;
    const cellar_err err = cellar_pin(ns, key, key_len, &v);
    if (err != CELLAR_OK) { return err == CELLAR_E_LIMIT ? CELLAR_E_NOMEM : err; }
    resp_pin *pin = resp_pin_take(r, &v);
    if (pin == NULL) { return CELLAR_E_NOMEM; }
    resp_block *b = base_alloc(&r->obj.account, BASE_MOD_STORE, sizeof *b + RESP_PIN_TEXT, NULL);
    if (b == NULL) {
        resp_pin_free(r, pin);
        return CELLAR_E_NOMEM;
    }
    const size_t len = pin->value.value_len;
    char text[RESP_PIN_TEXT + 1];
    const size_t count = (size_t)snprintf(text, sizeof text, "$%zu\r\n\r\n", len);
    *b = (resp_block){ .pin = pin, .cap = count + len, .used = count + len };
    memcpy(b->bytes, text, count);
    resp_block_link(c, b);
    c->out_bytes += b->used;
    c->out_pinned += b->used;
    return CELLAR_OK;
}

static cellar_err resp_bulk_control(resp_client *c, cellar_bytes key)
{
    const resp_control *k = resp_control_find(c->of, key);
    if (k == NULL) {
        resp_null(c);
        return CELLAR_MISS;
    }
    const cellar_bytes value = resp_control_value(k);
    void *to = resp_bulk_reserve(c, value.len);
    if (to == NULL) {
        resp_fail(c, CELLAR_E_NOMEM);
        return CELLAR_E_NOMEM;
    }
    if (value.len > 0) { memcpy(to, value.data, value.len); }
    resp_bulk_commit(c, value.len);
    return CELLAR_OK;
}

CELLAR_PRIVATE cellar_err resp_bulk_value(resp_client *c, cellar *ns, const void *key,
                                          size_t key_len)
{
    const cellar_bytes name = { key, key_len };
    if (ns == c->of->shared.store && resp_is_control(name)) { return resp_bulk_control(c, name); }
    if (c->flags & (RESP_C_MUTED | RESP_C_BROKEN)) { /* the lookup alone, without memory */
        const cellar_err got = cellar_get(ns, key, key_len, NULL, 0, NULL);
        if (got < 0 && got != CELLAR_E_BUFFER) { resp_fail(c, got); }
        return got == CELLAR_E_BUFFER ? CELLAR_OK : got;
    }
    resp_block *const last = c->out_last;
    const size_t room = last != NULL && last->pin == NULL ? last->cap - last->used : 0;
    size_t cap = (room >= RESP_ROOM_MIN ? room : RESP_BLOCK_BYTES) - RESP_HEAD_MAX - 2, len = 0;
    cellar_err err = CELLAR_E_BUFFER;
    for (int i = 0; i < RESP_TRIES && err == CELLAR_E_BUFFER; i++) {
        void *to = i > 0 && cap >= RESP_PIN_MIN ? NULL : resp_bulk_reserve(c, cap);
        if (to == NULL && i > 0) {
            err = resp_bulk_pinned(c, ns, key, key_len);
            if (err == CELLAR_OK) { return err; }
            if (err != CELLAR_E_NOMEM) { break; }
            if (cap >= RESP_PIN_MIN) { to = resp_bulk_reserve(c, cap); }
        }
        err = to != NULL ? cellar_get(ns, key, key_len, to, cap, &len) : CELLAR_E_NOMEM;
        if (err == CELLAR_E_BUFFER) {
            resp_bulk_cancel(c, last);
            cap = len;
        }
    }
    if (err == CELLAR_OK) {
        resp_bulk_commit(c, len);
    } else if (err == CELLAR_MISS || err == CELLAR_ABSENT) {
        resp_null(c);
    } else {
        resp_fail(c, err);
    }
    return err;
}
