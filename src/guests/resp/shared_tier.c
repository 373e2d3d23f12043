/* SPDX-License-Identifier: MIT
 *
 * shared_tier: CELLAR.TIER, the requests of the remote tier as functions on the shared store.
 *
 * PICTURE    CELLAR.TIER name n key.. argument.. -> row of tier_rows -> a function of this file ->
 *            `out`, the reply. A function that returns false has written an error or another reply.
 * INVARIANTS A function does what Redis 7 does with the text of the same name in remote/script.c:
 *            the same reads, writes, replies, and the same first word of an error. Limiters differ,
 *            and a client with NOLOOP does not hear of the value of its own load.
 *            Numbers are whole ones below 2^53, as in the texts.
 *            A full store refuses the first write of a function if that write needs memory, and
 *            none behind it. If the process has no memory, a later write may fail: the reply is
 *            -OOM, and the first key is as before; an epoch or a marker may have risen or be gone.
 *            An argument that must be a number, or a time above 0, and is none is refused before
 *            any write, where Redis may have written; the remote tier sends none.
 * LOCKING    None: the thread of the port. */
#include "base/num.h"
#include "base/text.h"
#include "resp/data.h"
#include "resp/entry.h"
#include "resp/shared.h"
#include "resp/shared_limit.h"
#include "resp/shared_wait.h"

#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

BASE_SIZE_BEGIN

#define TIER_BAD_TIME "ERR invalid expire time in 'set' command"
#define TIER_EXACT (INT64_C(1) << 53)

/* One request. */
typedef struct tier_call {
    resp_client *c;
    const cellar_bytes *key, *arg;
    uint32_t keys, args;
    int64_t us;         /* time of the port, read once */
    int64_t out[4];     /* the reply; 0 where the function writes nothing */
    resp_value text;    /* a value that is written; freed behind the call */
} tier_call;

/* Write an error. Return false, for the caller to return. */
static bool tier_error(const tier_call *x, const char *text)
{
    resp_error(x->c, "%s", text);
    return false;
}

/* ---- Reads and writes ------------------------------------------------------------------------ */

/* Read a time in ms that is an argument. False: an error was written. */
static bool tier_time(const tier_call *x, const cellar_bytes *px, int64_t *ms)
{
    if (!resp_need_int(x->c, px, ms)) { return false; }
    return (*ms > 0 && *ms <= INT64_MAX - x->us / 1000) || tier_error(x, TIER_BAD_TIME);
}

/* Set a key for a time in ms that is an argument. */
static bool tier_set_px(const tier_call *x, const cellar_bytes *key, const cellar_bytes *value,
                          const cellar_bytes *px)
{
    int64_t ms;
    return tier_time(x, px, &ms) && resp_shared_set(x->c, *key, *value, ms);
}

/* Set a key to a number, without an end or, of a tag, for `px`. */
static bool tier_set_number(const tier_call *x, const cellar_bytes *key, int64_t n,
                              const cellar_bytes *px)
{
    char text[24];
    const int len = snprintf(text, sizeof text, "%" PRId64, n);
    const cellar_bytes value = { text, (size_t)len };
    return px != NULL ? tier_set_px(x, key, &value, px) : resp_shared_set(x->c, *key, value, 0);
}

/* Make room in x->text. False: an error was written. */
static bool tier_room(tier_call *x, size_t bytes)
{
    resp_value *const v = &x->text;
    v->cap = bytes;
    v->bytes = base_alloc(v->account, BASE_MOD_STORE, v->cap, NULL);
    if (v->bytes != NULL) { return true; }
    v->cap = 0;
    return tier_error(x, RESP_OOM);
}

static void tier_append(tier_call *x, const void *bytes, size_t len)
{
    BASE_ASSERT(len <= x->text.cap - x->text.len);
    if (len > 0) { memcpy(x->text.bytes + x->text.len, bytes, len); }
    x->text.len += len;
}

static bool tier_same(const cellar_bytes *a, const cellar_bytes *b)
{
    return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

/* Return whether the check of an envelope is this one. */
static bool tier_check_is(const cellar_bytes *value, const cellar_bytes *check)
{
    const size_t from = BASE_MIN(value->len, RESP_CHECK_AT);
    const cellar_bytes part = { (const char *)value->data + from,
                                BASE_MIN(value->len - from, RESP_CHECK_LEN) };
    return tier_same(&part, check);
}

/* ---- Control keys ---------------------------------------------------------------------------- */

/* Read a number of the tier. False: the text is none. */
static bool tier_number(const cellar_bytes *v, int64_t *n)
{
    return resp_to_int(v, n) && *n >= 0 && *n < TIER_EXACT;
}

/* Read an argument that is a number. False: an error was written. */
static bool tier_known(const tier_call *x, uint32_t i, int64_t *n)
{
    return tier_number(&x->arg[i], n) || tier_error(x, "ERR an argument must be a number");
}

/* Read a control key, 0: absent. False: an error was written, the key is of another program. */
static bool tier_control(const tier_call *x, const cellar_bytes *key, int64_t *n)
{
    cellar_bytes v;
    *n = 0;
    return !resp_shared_get(x->c, *key, &v) || tier_number(&v, n) ||
           tier_error(x, "WRONGTYPE no control key of cellar");
}

/* Return whether a key is the number of a tag. */
static bool tier_is_tag(const tier_call *x, uint32_t i)
{
    const size_t kind = x->key[0].len - 1;
    const char *name = x->key[i].data;
    const char ch = kind < x->key[i].len ? name[kind] : '\0';
    return ch == 't' || ch == 's';
}

static bool tier_end(tier_call *x)
{
    int64_t known, epoch, own, ms;
    if (!tier_known(x, 0, &known) || !tier_time(x, &x->arg[1], &ms) ||
        !tier_control(x, &x->key[0], &epoch) || !tier_control(x, &x->key[1], &own)) {
        return false;
    }
    const int64_t e = BASE_MAX(BASE_MAX(BASE_MAX(epoch, own), known) + 1, x->us);
    (void)resp_shared_unlink(x->c, x->key[1]);
    if (tier_set_number(x, &x->key[0], e, NULL) &&
        tier_set_number(x, &x->key[1], e, tier_is_tag(x, 1) ? &x->arg[1] : NULL)) {
        resp_bulk_int(x->c, e);
    }
    return false;
}

/* Write a number of KNOW. A full store takes no new tag. */
static bool tier_know_write(const tier_call *x, uint32_t i, int64_t v)
{
    const bool tag = tier_is_tag(x, i);
    if (!resp_is(&x->arg[i], "0") || !tag) { (void)resp_shared_unlink(x->c, x->key[i]); }
    return tier_set_number(x, &x->key[i], v, tag ? &x->arg[x->keys] : NULL);
}

/* Raise each key to what the caller knows. */
static bool tier_know(tier_call *x)
{
    if (x->args != x->keys + 1) {
        return tier_error(x, "ERR the request takes an argument for each key, and a time");
    }
    if (!tier_room(x, 2 * x->keys * sizeof(int64_t))) { return false; }
    int64_t *const now = (void *)x->text.bytes; /* what the keys have, then what is returned */
    int64_t *const known = now + x->keys;
    int64_t k = 0, ms;
    for (uint32_t i = 0; i < x->keys; i++) {
        if (!tier_known(x, i, &known[i])) { return false; }
    }
    if (!tier_time(x, &x->arg[x->keys], &ms)) { return false; }
    for (uint32_t i = 0; i < x->keys; i++) {
        if (!tier_control(x, &x->key[i], &now[i])) { return false; }
        k = BASE_MAX(BASE_MAX(k, now[i]), known[i]);
    }
    if (now[0] == 0) { k = BASE_MAX(k + 1, x->us); }
    if (k != now[0] && !tier_know_write(x, 0, k)) { return false; }
    now[0] = k;
    for (uint32_t i = 1; i < x->keys; i++) {
        const int64_t v = now[i] == 0 ? k : BASE_MAX(now[i], known[i]);
        if (v != now[i] && !tier_know_write(x, i, v)) { return false; }
        now[i] = v;
    }
    resp_array(x->c, x->keys);
    for (uint32_t i = 0; i < x->keys; i++) { resp_bulk_int(x->c, now[i]); }
    return false;
}

/* ---- Values ---------------------------------------------------------------------------------- */

/* Return whether the key that must be absent is there: a beat, for a release. */
static bool tier_barred(const tier_call *x, bool release)
{
    cellar_bytes v;
    return x->keys > 1 && resp_shared_get(x->c, x->key[1], &v) &&
           !(release && !resp_wait_note(x->c, x->key[1], x->key[0], x->arg[0]));
}

/* Set the first key, or delete it, and reply 1. */
static bool tier_put(tier_call *x, bool drop, const cellar_bytes *value,
                       const cellar_bytes *px)
{
    x->out[0] = 1;
    if (drop) { (void)resp_shared_unlink(x->c, x->key[0]); }
    return drop || tier_set_px(x, &x->key[0], value, px);
}

/* Return the kind of an envelope; -1: too short. */
static int tier_kind(const cellar_bytes *envelope)
{
    return envelope->len > 4 ? ((const unsigned char *)envelope->data)[4] : -1;
}

static bool tier_change(tier_call *x)
{
    cellar_bytes v;
    const bool there = resp_shared_get(x->c, x->key[0], &v), drop = x->arg[1].len == 0;
    const bool same = x->arg[0].len == 0 ? !there : there && tier_check_is(&v, &x->arg[0]);
    const int kind = tier_kind(&v);
    if (!same || tier_barred(x, drop) || (drop && x->args < 3 && kind == RESP_KIND_COUNTER)) {
        return true;
    }
    if (!drop && x->args < 3) { return tier_error(x, "ERR the request takes a time"); }
    x->c->of->shared.fills = kind == RESP_KIND_LEASE && tier_kind(&x->arg[1]) != kind;
    return tier_put(x, drop, &x->arg[1], &x->arg[2]);
}

static bool tier_swap(tier_call *x)
{
    cellar_bytes v;
    const bool there = resp_shared_get(x->c, x->key[0], &v);
    if (there != (x->args > 2) || (there && !tier_same(&v, &x->arg[2]))) { return true; }
    return tier_put(x, resp_is(&x->arg[1], "0"), &x->arg[0], &x->arg[1]);
}

static bool tier_sum(tier_call *x)
{
    cellar_bytes v;
    int64_t n, delta, limit;
    char text[24];
    const bool there = resp_shared_get(x->c, x->key[0], &v);
    if (!there && resp_is(&x->arg[3], "0")) {
        resp_null(x->c);
        return false;
    }
    if (!resp_to_int(&x->arg[0], &delta) || !resp_to_int(&x->arg[1], &limit) ||
        !resp_to_int(there ? &v : &x->arg[2], &n)) {
        return tier_error(x, RESP_ERR_INTEGER);
    }
    if (!there && !tier_set_px(x, &x->key[0], &x->arg[2], &x->arg[3])) { return false; }
    const bool over = __builtin_add_overflow(n, delta, &n);
    const int len = snprintf(text, sizeof text, "%" PRId64, n);
    const cellar_bytes sum = over ? x->arg[1] : (cellar_bytes){ text, (size_t)len };
    if (!resp_shared_set(x->c, x->key[0], sum, RESP_TTL_KEEP)) { return false; }
    if (over) { return tier_error(x, "ERR increment or decrement would overflow"); }
    resp_bulk(x->c, text, (size_t)len);
    return false;
}

/* Read and write a number of an envelope. */
static uint64_t tier_word(const void *bytes, size_t at)
{
    uint64_t v;
    memcpy(&v, (const unsigned char *)bytes + at, sizeof v);
    return le64toh(v);
}

static void tier_word_put(unsigned char *at, uint64_t v)
{
    v = htole64(v);
    memcpy(at, &v, sizeof v);
}

/* Reply with what became of a counter, and its envelope. */
static bool tier_counted(const tier_call *x, int64_t what, const cellar_bytes *v)
{
    resp_array(x->c, 2);
    resp_int(x->c, what);
    resp_bulk(x->c, v->data, v->len);
    return false;
}

static bool tier_count(tier_call *x)
{
    static const cellar_bytes none = { "", 0 };
    const cellar_bytes made = x->arg[2];
    cellar_bytes v;
    int64_t n;
    if (x->arg[0].len != 8) { return tier_error(x, "ERR a delta has 8 bytes"); }
    if (!resp_shared_get(x->c, x->key[0], &v)) {
        if (made.len == 0) {
            resp_null(x->c);
            return false;
        }
        return tier_set_px(x, &x->key[0], &made, &x->arg[3]) && tier_counted(x, 3, &made);
    }
    const unsigned char *const p = v.data;
    if (v.len < 4 || memcmp(p, "\316cl\1", 4) != 0) { return tier_counted(x, -1, &none); }
    const uint64_t ends_ms = v.len < RESP_COUNTER_LEN ? 0 : tier_word(p, 24);
    if (v.len < RESP_COUNTER_LEN || p[4] != RESP_KIND_COUNTER || x->arg[1].len != 8 ||
        memcmp(p + 8, x->arg[1].data, 8) != 0 ||
        (ends_ms != 0 && ends_ms <= (uint64_t)x->us / 1000)) {
        return tier_counted(x, 0, &none);
    }
    const int64_t old = (int64_t)tier_word(p, v.len - 8);
    const int64_t delta = (int64_t)tier_word(x->arg[0].data, 0);
    const bool over = __builtin_add_overflow(old, delta, &n);
    if (over) { n = delta < 0 ? INT64_MIN : INT64_MAX; }
    if (!tier_room(x, v.len)) { return false; }
    tier_append(x, p, v.len);
    unsigned char *const to = (unsigned char *)x->text.bytes;
    const uint64_t check = tier_word(p, RESP_CHECK_AT) + (uint64_t)n - (uint64_t)old;
    tier_word_put(to + RESP_CHECK_AT, check);
    tier_word_put(to + v.len - 8, (uint64_t)n);
    const cellar_bytes sum = { to, v.len };
    return resp_shared_set(x->c, x->key[0], sum, RESP_TTL_KEEP) &&
           tier_counted(x, over ? 2 : 1, &sum);
}

static bool tier_drop(tier_call *x)
{
    (void)resp_shared_unlink(x->c, x->key[0]);
    if (!resp_shared_set(x->c, x->key[0], (cellar_bytes){ "", 0 }, 1000)) { return false; }
    x->out[0] = resp_shared_unlink(x->c, x->key[0]);
    return true;
}

static bool tier_marker(tier_call *x)
{
    if (x->args > 0) {
        (void)resp_shared_unlink(x->c, x->key[0]);
        if (!resp_shared_set(x->c, x->key[0], (cellar_bytes){ "", 0 }, 0)) { return false; }
    }
    const bool there = resp_shared_pexpire(x->c, x->key[0], 60000);
    resp_array(x->c, 3);
    resp_int(x->c, there);
    resp_bulk_int(x->c, x->us / 1000000);
    resp_bulk_int(x->c, x->us % 1000000);
    return false;
}

/* ---- Limiters -------------------------------------------------------------------------------- */

/* Take units of a limiter. Its name is the second key, its state lies in a table of the port. */
static bool tier_limit(tier_call *x, resp_limit_kind kind)
{
    resp_limit_ask q = { .kind = kind, .name = x->key[1], .key = x->key[0], .id = x->arg[0] };
    int64_t *const number[] = { &q.want, &q.least, &q.rule[0], &q.rule[1], &q.more };
    for (uint32_t i = 0; i < x->args - 1 && i < 5; i++) {
        if (!resp_need_int(x->c, &x->arg[i + 1], number[i])) { return false; }
    }
    return resp_limit_take(x->c, &q, x->out);
}

static bool tier_bucket(tier_call *x) { return tier_limit(x, RESP_LIMIT_BUCKET); }
static bool tier_window(tier_call *x) { return tier_limit(x, RESP_LIMIT_WINDOW); }
static bool tier_log(tier_call *x) { return tier_limit(x, RESP_LIMIT_LOG); }

/* ---- Locks and leases ------------------------------------------------------------------------ */

/* Read the lease time of a lock: a token in hexadecimal digits, a blank, the time. */
static bool tier_lease(const cellar_bytes *v, int64_t *ms)
{
    const unsigned char *p = v->data;
    size_t i = 0;
    while (i < v->len && base_hex_digit(p[i]) >= 0) { i++; }
    return i > 0 && i < v->len && p[i] == ' ' &&
           resp_to_int(&(cellar_bytes){ p + i + 1, v->len - i - 1 }, ms) && *ms >= 0;
}

/* Set a key to "token ms" for that time. */
static bool tier_hold(tier_call *x, const cellar_bytes *token, const cellar_bytes *px)
{
    if (!tier_room(x, token->len + px->len + 1)) { return false; }
    tier_append(x, token->data, token->len);
    tier_append(x, " ", 1);
    tier_append(x, px->data, px->len);
    return tier_set_px(x, &x->key[0], &(cellar_bytes){ x->text.bytes, x->text.len }, px);
}

static bool tier_lock(tier_call *x)
{
    cellar_bytes v;
    int64_t last, lease;
    if (resp_shared_get(x->c, x->key[0], &v)) {
        const bool known = tier_lease(&v, &lease); /* first: `v` ends with the key */
        x->out[1] = resp_shared_pttl(x->c, x->key[0]);
        if (known && x->out[1] > lease) {
            x->out[1] = lease;
            (void)resp_shared_pexpire(x->c, x->key[0], lease);
        }
        if (x->out[1] != -2) { return true; } /* else it has expired since */
    }
    (void)resp_shared_get(x->c, x->key[1], &v);
    if (!tier_number(&v, &last)) { last = 0; }
    x->out[0] = 1;
    x->out[1] = BASE_MAX(last + 1, x->us);
    if (!tier_hold(x, &x->arg[0], &x->arg[1])) { return false; } /* first: it needs room */
    if (tier_set_number(x, &x->key[1], x->out[1], NULL)) { return true; }
    (void)resp_shared_unlink(x->c, x->key[0]);
    return false;
}

static bool tier_keep(tier_call *x)
{
    cellar_bytes v;
    int64_t ms;
    (void)resp_shared_get(x->c, x->key[0], &v);
    const unsigned char *const blank = v.len > 0 ? memchr(v.data, ' ', v.len) : NULL;
    if (blank != NULL) { v.len = (size_t)(blank - (const unsigned char *)v.data); }
    const bool release = resp_is(&x->arg[1], "0");
    if (!tier_same(&v, &x->arg[0]) || tier_barred(x, release)) { return true; }
    if (release) { return tier_put(x, true, NULL, NULL); }
    if (!tier_time(x, &x->arg[1], &ms)) { return false; }
    x->out[0] = 1;
    (void)resp_shared_pexpire(x->c, x->key[0], ms);
    return tier_hold(x, &x->arg[0], &x->arg[1]);
}

static bool tier_beside(tier_call *x)
{
    cellar_bytes v;
    int64_t ms;
    if (!resp_shared_get(x->c, x->key[0], &v) || !tier_same(&v, &x->arg[0])) { return true; }
    if (!tier_time(x, &x->arg[3], &ms)) { return false; }
    (void)resp_shared_unlink(x->c, x->key[0]);
    (void)resp_shared_get(x->c, x->key[1], &v);
    if (x->arg[1].len > 1 && !tier_check_is(&v, &x->arg[1])) { return true; }
    x->out[0] = 1;
    x->c->of->shared.fills = true;
    return resp_shared_set(x->c, x->key[1], x->arg[2], ms);
}

/* ---- The table ------------------------------------------------------------------------------- */

/* A request. */
static const struct tier_row {
    const char *name;    /* that of the text in remote/script.c */
    uint32_t keys, args; /* at least so many */
    bool (*run)(tier_call *x); /* false: the reply was written */
    uint32_t table;      /* the reply is a table of so many numbers; 0: one number */
} tier_rows[] = {
    { "end", 2, 2, tier_end, 0 },
    { "know", 1, 2, tier_know, 0 },
    { "change", 1, 2, tier_change, 0 },
    { "drop", 1, 0, tier_drop, 0 },
    { "swap", 1, 2, tier_swap, 0 },
    { "add", 1, 4, tier_sum, 0 },
    { "count", 1, 4, tier_count, 0 },
    { "bucket", 2, 6, tier_bucket, 4 },
    { "window", 2, 6, tier_window, 4 },
    { "log", 2, 6, tier_log, 4 },
    { "lock", 2, 2, tier_lock, 2 },
    { "keep", 1, 2, tier_keep, 1 },
    { "beside", 2, 4, tier_beside, 1 },
    { "marker", 1, 0, tier_marker, 0 },
};
#define TIER_ROWS (sizeof tier_rows / sizeof tier_rows[0])

/* Return the request of a name. NULL: an error was written, a key or argument is missing, too. */
static const struct tier_row *tier_find(resp_client *c, const cellar_bytes *argv,
                                            uint32_t argc, int64_t *keys)
{
    const struct tier_row *s = tier_rows;
    while (s < tier_rows + TIER_ROWS && !resp_is(&argv[1], s->name)) { s++; }
    if (s == tier_rows + TIER_ROWS) {
        resp_unknown_sub(c, argv, "CELLAR.TIER");
        return NULL;
    }
    if (!resp_need_int(c, &argv[2], keys)) { return NULL; }
    if (*keys < s->keys || *keys > (int64_t)argc - 3 - s->args) {
        resp_error(c, "ERR this request takes %u keys and %u arguments", s->keys, s->args);
        return NULL;
    }
    for (int64_t i = 0; i < *keys; i++) {
        if (argv[3 + i].len == 0 || argv[3 + i].len > CELLAR_KEY_MAX) {
            resp_error(c, "ERR invalid key");
            return NULL;
        }
    }
    return s;
}

RESP_CALL(resp_cmd_tier)
{
    int64_t keys;
    if (!resp_is_shared(c)) {
        resp_error(c, "ERR CELLAR.TIER runs on database 0 of a port with shared_bytes");
        return;
    }
    const struct tier_row *s = tier_find(c, argv, argc, &keys);
    if (s == NULL) { return; }
    tier_call x = { .c = c, .key = argv + 3, .arg = argv + 3 + keys, .keys = (uint32_t)keys,
                      .args = argc - 3 - (uint32_t)keys, .us = c->of->wall_us(),
                      .text.account = &c->of->obj.account };
    resp_shared_begin(c);
    if (s->run(&x)) {
        if (s->table > 0) { resp_array(c, s->table); }
        for (uint32_t i = 0; i == 0 || i < s->table; i++) { resp_int(c, x.out[i]); }
    }
    resp_value_free(&x.text);
    resp_shared_end(c);
}

BASE_SIZE_END
