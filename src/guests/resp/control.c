/* SPDX-License-Identifier: MIT
 *
 * control: the control keys of the shared store.
 *
 * PICTURE    uthash table: key -> one allocation with key, value and end. The list of the table
 *            has the oldest key first; `sweep` walks along it.
 * INVARIANTS The account has the bytes of all keys and of the table. Its limit is an eighth of
 *            shared_bytes; a function that has written goes beyond it (resp_shared_begin).
 *            Nothing but its end, a delete or a clear removes a key.
 * LOCKING    None: the thread of the round.
 * LIMITS     RESP_SWEEP keys are looked at in a tick. All of them when the table is full, but not
 *            again within RESP_FULL_MS: a walk through 50,000 keys takes milliseconds. */
#include "base/num.h"
#include "base/table.h"
#include "resp/control.h"
#include "resp/track.h"

#include <string.h>

BASE_SIZE_BEGIN

#define RESP_SWEEP 1024u
#define RESP_FULL_MS 50 /* between two walks through a full table */
#define RESP_CONTROL_STEP ((size_t)32) /* bytes of a value are rounded up to it */

struct resp_control {
    UT_hash_handle hh;
    int64_t ends_ms;       /* port clock; INT64_MAX: no end */
    uint64_t version;      /* another one after each change */
    int64_t writer;        /* process of the last write by a plain command; 0: not known */
    size_t key_len, value_len, value_cap;
    unsigned char bytes[]; /* key, value */
};

CELLAR_PRIVATE bool resp_is_control(cellar_bytes key)
{
    const char *text = key.data;
    if (key.len > 0 && text[0] == '~') { return true; }
    const char *colon = memchr(text, ':', key.len);
    return colon != NULL && colon + 1 < text + key.len && colon[1] == '~';
}

static int64_t resp_control_now(const cellar_resp *r) { return base_quick_ms(&r->obj.clock); }

static size_t resp_control_bytes(const resp_control *k)
{
    return sizeof *k + k->key_len + k->value_cap;
}

static uint32_t resp_control_hash(const cellar_resp *r, cellar_bytes key)
{
    return (uint32_t)base_hash_long(&r->hash_key, 2, key.data, key.len);
}

CELLAR_PRIVATE void resp_control_delete(cellar_resp *r, resp_control *k)
{
    BASE_TABLE_CHARGE(&r->shared.account, BASE_MOD_STORE);
    if (r->shared.sweep == k) { r->shared.sweep = k->hh.next; }
    BASE_TABLE_REMOVE(hh, r->shared.first, k);
    base_free(&r->shared.account, BASE_MOD_STORE, k, resp_control_bytes(k));
}

/* Delete a key that has expired, and announce it. False: it has not. */
static bool resp_control_expire(cellar_resp *r, resp_control *k, int64_t now_ms)
{
    if (k->ends_ms > now_ms) { return false; }
    resp_changed(r, NULL, (cellar_bytes){ k->bytes, k->key_len });
    resp_control_delete(r, k);
    return true;
}

CELLAR_PRIVATE resp_control *resp_control_find(cellar_resp *r, cellar_bytes key)
{
    resp_control *k = BASE_TABLE_FIND(hh, r->shared.first, key.data, key.len,
                                      resp_control_hash(r, key));
    if (k == NULL || k->ends_ms == INT64_MAX) { return k; }
    return resp_control_expire(r, k, resp_control_now(r)) ? NULL : k;
}

CELLAR_PRIVATE cellar_bytes resp_control_value(const resp_control *k)
{
    return (cellar_bytes){ k->bytes + k->key_len, k->value_len };
}

CELLAR_PRIVATE uint64_t resp_control_version(const resp_control *k) { return k->version; }

CELLAR_PRIVATE int64_t resp_control_writer(const resp_control *k) { return k->writer; }

CELLAR_PRIVATE int64_t resp_control_ttl(const cellar_resp *r, const resp_control *k)
{
    if (k->ends_ms == INT64_MAX) { return CELLAR_TTL_NONE; }
    return BASE_MAX(k->ends_ms - resp_control_now(r), 1);
}

CELLAR_PRIVATE void resp_control_touch(cellar_resp *r, resp_control *k, int64_t ttl_ms)
{
    k->version = ++r->shared.last_version;
    k->ends_ms = base_add_sat(resp_control_now(r), ttl_ms); /* TTL_NONE: INT64_MAX */
}

/* ---- room ---- */

/* Allocate. If the table is full, delete the keys that have expired first. NULL: no room. */
static void *resp_control_alloc(cellar_resp *r, size_t bytes)
{
    void *p = base_alloc(&r->shared.account, BASE_MOD_STORE, bytes, NULL);
    const int64_t now_ms = p == NULL ? resp_control_now(r) : 0;
    if (p != NULL || now_ms < r->shared.full_ms) { return p; }
    r->shared.full_ms = now_ms + RESP_FULL_MS;
    for (resp_control *k = r->shared.first, *next; k != NULL; k = next) {
        next = k->hh.next;
        (void)resp_control_expire(r, k, now_ms);
    }
    return base_alloc(&r->shared.account, BASE_MOD_STORE, bytes, NULL);
}

/* Put a new allocation for a key and its value into the table, in place of that which the key has.
 * NULL: no room, and nothing has changed. */
static resp_control *resp_control_new(cellar_resp *r, cellar_bytes key, cellar_bytes value)
{
    const size_t cap = (size_t)base_round_up(value.len, RESP_CONTROL_STEP);
    resp_control *k = resp_control_alloc(r, sizeof *k + key.len + cap);
    if (k == NULL) { return NULL; }
    k->key_len = key.len;
    k->value_cap = cap;
    memcpy(k->bytes, key.data, key.len);
    if (value.len > 0) { memcpy(k->bytes + key.len, value.data, value.len); }
    resp_control *old = resp_control_find(r, key); /* it may have expired */
    BASE_TABLE_CHARGE(&r->shared.account, BASE_MOD_STORE);
    BASE_TABLE_ADD(hh, r->shared.first, k->bytes, key.len, resp_control_hash(r, key), k);
    if (k->hh.tbl == NULL) {
        base_free(&r->shared.account, BASE_MOD_STORE, k, resp_control_bytes(k));
        return NULL;
    }
    if (old != NULL) { resp_control_delete(r, old); } /* the table ends with its last key */
    return k;
}

CELLAR_PRIVATE cellar_err resp_control_set(cellar_resp *r, cellar_bytes key, cellar_bytes value,
                                           int64_t ttl_ms, int64_t writer)
{
    resp_control *k = resp_control_find(r, key);
    if (k == NULL || (size_t)base_round_up(value.len, RESP_CONTROL_STEP) != k->value_cap) {
        k = resp_control_new(r, key, value);
        if (k == NULL) { return CELLAR_E_SPACE; }
    } else if (value.len > 0) {
        memmove(k->bytes + k->key_len, value.data, value.len);
    }
    k->value_len = value.len;
    k->writer = writer;
    resp_control_touch(r, k, ttl_ms);
    return CELLAR_OK;
}

CELLAR_PRIVATE void resp_control_clear(cellar_resp *r)
{
    while (r->shared.first != NULL) { resp_control_delete(r, r->shared.first); }
}

CELLAR_PRIVATE void resp_control_sweep(cellar_resp *r)
{
    const int64_t now_ms = r->now_ms;
    resp_control *k = r->shared.sweep != NULL ? r->shared.sweep : r->shared.first;
    for (uint32_t i = 0; i < RESP_SWEEP && k != NULL; i++) {
        resp_control *next = k->hh.next;
        (void)resp_control_expire(r, k, now_ms);
        k = next;
    }
    r->shared.sweep = k;
}

CELLAR_PRIVATE uint64_t resp_control_count(const cellar_resp *r)
{
    return r->shared.first != NULL ? HASH_CNT(hh, r->shared.first) : 0;
}

BASE_SIZE_END
