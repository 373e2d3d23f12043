/* SPDX-License-Identifier: MIT
 *
 * control: the control keys of the shared store.
 *
 * PICTURE    two parts, the numbers of tags and all other keys. A part is a uthash table: key -> an
 *            allocation with key, value and end. The list of a table has the oldest key first, in
 *            the part of the tags that which was longest not asked for; `sweep` walks along it.
 * INVARIANTS Each part has half of an eighth of shared_bytes; a function that has written goes
 *            beyond it (resp_shared_begin), and so does the array of a table.
 *            Nothing but its end, a delete or a clear removes a key that is no tag.
 * TAGS       A new tag in a full part forgets the oldest ones, silently: what workers know of them
 *            stays right. The next number of such a tag is at or above the epoch, which has risen
 *            with each end of a tag. So older entries are misses, and its making is announced.
 * LOCKING    None: the thread of the round.
 * LIMITS     RESP_SWEEP keys of a part are looked at in a tick. All of them when the part is full,
 *            but not again within RESP_FULL_MS: a walk through 50,000 keys takes milliseconds. */
#include "base/num.h"
#include "base/table.h"
#include "resp/control.h"
#include "resp/track.h"

#include <string.h>

BASE_SIZE_BEGIN

#define RESP_SWEEP 1024u
#define RESP_FULL_MS 50 /* between two walks through a full part */
#define RESP_TAGS_LOG_MS 3600000 /* between two lines of the log about forgotten tags */
#define RESP_CONTROL_STEP ((size_t)32) /* bytes of a value are rounded up to it */

struct resp_control {
    UT_hash_handle hh;
    int64_t ends_ms;       /* port clock; INT64_MAX: no end */
    uint64_t version;      /* another one after each change */
    int64_t writer;        /* `process` of the client of the last plain write; 0: not known */
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

/* Return the part of a key. The numbers of tags are PREFIX:~t:TAG and PREFIX:~s:TAG. */
static resp_part *resp_part_of(cellar_resp *r, cellar_bytes key)
{
    const char *text = key.data, *colon = memchr(text, ':', key.len);
    const bool tag = text[0] != '~' && colon != NULL && text + key.len - colon > 3 &&
                     colon[1] == '~' && (colon[2] == 't' || colon[2] == 's') && colon[3] == ':';
    return &r->shared.part[tag ? RESP_PART_TAGS : RESP_PART_KEYS];
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

/* Take a key out of the table of its part. */
static void resp_part_remove(resp_part *p, resp_control *k)
{
    BASE_TABLE_CHARGE(&p->account, BASE_MOD_STORE);
    if (p->sweep == k) { p->sweep = k->hh.next; }
    BASE_TABLE_REMOVE(hh, p->first, k);
}

/* Put it in as the newest one. False: no memory, and the key is freed. */
static bool resp_part_enter(cellar_resp *r, resp_part *p, resp_control *k)
{
    const cellar_bytes key = { k->bytes, k->key_len };
    BASE_TABLE_CHARGE(&p->account, BASE_MOD_STORE);
    base_account_limit(&p->account, UINT64_MAX); /* of the array of the table */
    BASE_TABLE_ADD(hh, p->first, key.data, key.len, resp_control_hash(r, key), k);
    if (k->hh.tbl != NULL) { return true; }
    base_free(&p->account, BASE_MOD_STORE, k, resp_control_bytes(k));
    return false;
}

CELLAR_PRIVATE void resp_control_delete(cellar_resp *r, resp_control *k)
{
    resp_part *p = resp_part_of(r, (cellar_bytes){ k->bytes, k->key_len });
    resp_part_remove(p, k);
    base_free(&p->account, BASE_MOD_STORE, k, resp_control_bytes(k));
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
    resp_part *p = resp_part_of(r, key);
    resp_control *k = BASE_TABLE_FIND(hh, p->first, key.data, key.len, resp_control_hash(r, key));
    if (k != NULL && k->ends_ms != INT64_MAX && resp_control_expire(r, k, resp_control_now(r))) {
        return NULL;
    }
    if (k == NULL || k->hh.next == NULL || p == &r->shared.part[RESP_PART_KEYS]) { return k; }
    resp_part_remove(p, k);
    return resp_part_enter(r, p, k) ? k : NULL; /* a tag that is lost is one that is forgotten */
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

/* Forget the tag that was longest not asked for. */
static void resp_tag_forget(cellar_resp *r)
{
    resp_shared *s = &r->shared;
    const int64_t now_ms = resp_control_now(r);
    resp_control_delete(r, s->part[RESP_PART_TAGS].first);
    (void)base_add_rlx(&s->tags_forgotten, 1u);
    if (now_ms < s->tags_log_ms) { return; }
    s->tags_log_ms = now_ms + RESP_TAGS_LOG_MS;
    base_log(&r->obj.log, BASE_LOG_WARNING, "resp", (int)CELLAR_E_SPACE,
             "tags are forgotten, and their entries end: raise shared_bytes (cellar serve "
             "--shared), or use fewer tags");
}

/* Allocate. If the part is full, forget tags, or delete the keys that have expired. NULL: no
 * room. A function that has written may exceed the room. */
static void *resp_control_alloc(cellar_resp *r, resp_part *p, size_t bytes)
{
    resp_shared *s = &r->shared;
    const bool beyond = s->in_function && s->wrote;
    const int64_t now_ms = resp_control_now(r);
    base_account_limit(&p->account, beyond ? UINT64_MAX
                                           : base_load_rlx(&s->most_bytes) / RESP_PARTS);
    void *b = base_alloc(&p->account, BASE_MOD_STORE, bytes, NULL);
    while (b == NULL && p == &s->part[RESP_PART_TAGS] && p->first != NULL) {
        resp_tag_forget(r);
        b = base_alloc(&p->account, BASE_MOD_STORE, bytes, NULL);
    }
    if (b != NULL || now_ms < s->full_ms) { return b; }
    s->full_ms = now_ms + RESP_FULL_MS;
    for (resp_control *k = p->first, *next; k != NULL; k = next) {
        next = k->hh.next;
        (void)resp_control_expire(r, k, now_ms);
    }
    return base_alloc(&p->account, BASE_MOD_STORE, bytes, NULL);
}

/* Put a new allocation for a key and its value into the table, in place of that which the key has.
 * NULL: no room, and nothing has changed. */
static resp_control *resp_control_new(cellar_resp *r, cellar_bytes key, cellar_bytes value)
{
    const size_t cap = (size_t)base_round_up(value.len, RESP_CONTROL_STEP);
    resp_part *p = resp_part_of(r, key);
    resp_control *k = resp_control_alloc(r, p, sizeof *k + key.len + cap);
    if (k == NULL) { return NULL; }
    k->key_len = key.len;
    k->value_cap = cap;
    memcpy(k->bytes, key.data, key.len);
    if (value.len > 0) { memcpy(k->bytes + key.len, value.data, value.len); }
    resp_control *old = resp_control_find(r, key); /* it may have expired */
    if (!resp_part_enter(r, p, k)) { return NULL; }
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
    for (resp_part *p = r->shared.part; p < r->shared.part + RESP_PARTS; p++) {
        while (p->first != NULL) { resp_control_delete(r, p->first); }
    }
}

CELLAR_PRIVATE void resp_control_sweep(cellar_resp *r)
{
    const int64_t now_ms = r->now_ms;
    for (resp_part *p = r->shared.part; p < r->shared.part + RESP_PARTS; p++) {
        resp_control *k = p->sweep != NULL ? p->sweep : p->first;
        for (uint32_t i = 0; i < RESP_SWEEP && k != NULL; i++) {
            resp_control *next = k->hh.next;
            (void)resp_control_expire(r, k, now_ms);
            k = next;
        }
        p->sweep = k;
    }
}

CELLAR_PRIVATE uint64_t resp_control_count(const cellar_resp *r)
{
    uint64_t count = 0;
    for (const resp_part *p = r->shared.part; p < r->shared.part + RESP_PARTS; p++) {
        count += p->first != NULL ? HASH_CNT(hh, p->first) : 0;
    }
    return count;
}

CELLAR_PRIVATE uint64_t resp_control_used(const cellar_resp *r)
{
    return base_load_rlx(&r->shared.part[RESP_PART_KEYS].account.used) +
           base_load_rlx(&r->shared.part[RESP_PART_TAGS].account.used);
}

BASE_SIZE_END
