/* SPDX-License-Identifier: MIT
 *
 * shared_script: the scripts of the remote tier as functions on the shared store.
 *
 * PICTURE    text or its SHA-1 -> row of resp_shared_scripts -> a function of this file -> `out`,
 *            the reply. A function that returns false has written an error or another reply.
 * INVARIANTS A function does what Redis 7 does with the text of the same name in remote/script.c,
 *            but limiters, and a client with NOLOOP does not hear of the value of its own load:
 *            the same reads, writes, replies, and the same first word of an error. Numbers are
 *            doubles as in Lua 5.1, replies are cut to integers. A text that changes there needs a
 *            new row here: the test of the table prints it.
 *            A full store refuses the first write of a function if that write needs memory, and
 *            none behind it. If the process has no memory, a later write may fail: the reply is
 *            -OOM, and the first key is as before; an epoch or a marker may have risen or be gone.
 *            All arguments that are numbers are read first. One that is none is refused before any
 *            write; the remote tier sends none.
 * LOCKING    None: the thread of the port.
 * SEE ALSO   cmd_script.c: scripts of other clients. */
#include "base/float_text.h"
#include "base/num.h"
#include "base/text.h"
#include "resp/entry.h"
#include "resp/shared.h"
#include "resp/shared_limit.h"
#include "resp/shared_script.h"
#include "resp/shared_wait.h"

#include <endian.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

BASE_SIZE_BEGIN

#define SCRIPT_DIGITS 320u       /* of a double without an exponent, final zero included */
#define SCRIPT_BAD_TIME "ERR invalid expire time in 'set' command"
#define SCRIPT_EXACT 9007199254740992.0 /* 2^53 */

/* One call of a script. */
typedef struct script_call {
    resp_client *c;
    const cellar_bytes *key, *arg;
    uint32_t keys, args;
    double us;          /* time of the port, read once */
    double out[4];      /* the reply; 0 where the function writes nothing */
    resp_value text;    /* a value that is written; freed behind the call */
} script_call;

/* Write an error. Return false, for the caller to return. */
static bool script_error(const script_call *x, const char *text)
{
    resp_error(x->c, "%s", text);
    return false;
}

/* ---- Numbers of Lua -------------------------------------------------------------------------- */

static double script_max(double a, double b) { return b > a ? b : a; } /* a: also for NaN */

/* Return the integer that Redis makes of a number of Lua. */
static int64_t script_int(double v)
{
    return v >= -9223372036854775808.0 && v < 9223372036854775808.0 ? (int64_t)v : INT64_MIN;
}

static double script_floor(double v)
{
    if (!(v > -SCRIPT_EXACT && v < SCRIPT_EXACT)) { return v; }
    const double whole = (double)(int64_t)v;
    return whole > v ? whole - 1 : whole;
}

static bool script_is_digit(unsigned char ch) { return ch >= '0' && ch <= '9'; }

/* Return the end of the digits that begin at `at`. */
static size_t script_digits(const cellar_bytes *b, size_t at)
{
    const unsigned char *p = b->data;
    while (at < b->len && script_is_digit(p[at])) { at++; }
    return at;
}

/* Read digits of any length. */
static double script_number(const void *digits, size_t len)
{
    const unsigned char *p = digits;
    double v = 0;
    while (len > 0 && *p == '0') { p++, len--; }
    return len >= SCRIPT_DIGITS ? (double)INFINITY
         : len > 0 && !base_double_read(p, len, &v) ? 0 : v;
}

/* Return where the second number of "%d+ %d+" begins; hex: of "%x+ %d+". 0: another text. */
static size_t script_second(const cellar_bytes *b, bool hex)
{
    const unsigned char *p = b->data;
    size_t i = 0;
    while (i < b->len && (hex ? base_hex_digit(p[i]) >= 0 : script_is_digit(p[i]))) { i++; }
    return i > 0 && i + 1 < b->len && p[i] == ' ' && script_digits(b, i + 1) == b->len ? i + 1 : 0;
}

/* ---- Reads and writes ------------------------------------------------------------------------ */

/* Set a key for a time in ms that is an argument. */
static bool script_set_px(const script_call *x, const cellar_bytes *key, const cellar_bytes *value,
                          const cellar_bytes *px)
{
    int64_t ttl_ms;
    if (!resp_need_int(x->c, px, &ttl_ms)) { return false; }
    return ttl_ms <= 0 || ttl_ms > INT64_MAX - (int64_t)x->us / 1000
         ? script_error(x, SCRIPT_BAD_TIME) : resp_shared_set(x->c, *key, *value, ttl_ms);
}

/* Set a key to a whole number, without an end or, of a tag, for `px`. */
static bool script_set_number(const script_call *x, const cellar_bytes *key, double v,
                              const cellar_bytes *px)
{
    char text[SCRIPT_DIGITS];
    const int len = snprintf(text, sizeof text, "%.0f", v);
    const cellar_bytes value = { text, (size_t)len };
    return px != NULL ? script_set_px(x, key, &value, px) : resp_shared_set(x->c, *key, value, 0);
}

static void script_bulk_number(const script_call *x, double v)
{
    char text[SCRIPT_DIGITS];
    const int len = snprintf(text, sizeof text, "%.0f", v);
    resp_bulk(x->c, text, (size_t)len);
}

/* Read the arguments from `from` on as numbers. False: an error was written. */
static bool script_numbers(const script_call *x, uint32_t from, uint32_t count, double *out)
{
    for (uint32_t i = 0; i < count; i++) {
        const cellar_bytes *a = &x->arg[from + i];
        if (!base_double_read(a->data, a->len, &out[i])) {
            return script_error(x, "ERR an argument of the script must be a number");
        }
    }
    return true;
}

/* Make room in x->text. False: an error was written. */
static bool script_room(script_call *x, double bytes)
{
    resp_value *const v = &x->text;
    resp_value_free(v);
    if (bytes < (double)(SIZE_MAX / 4)) {
        v->cap = (size_t)bytes + 1;
        v->bytes = base_alloc(v->account, BASE_MOD_STORE, v->cap, NULL);
    }
    if (v->bytes != NULL) { return true; }
    v->cap = 0;
    return script_error(x, RESP_OOM);
}

static void script_append(script_call *x, const void *bytes, size_t len)
{
    BASE_ASSERT(len <= x->text.cap - x->text.len);
    if (len > 0) { memcpy(x->text.bytes + x->text.len, bytes, len); }
    x->text.len += len;
}

static bool script_same(const cellar_bytes *a, const cellar_bytes *b)
{
    return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

/* Return whether the check of an envelope is this one. */
static bool script_check_is(const cellar_bytes *value, const cellar_bytes *check)
{
    const size_t from = BASE_MIN(value->len, RESP_CHECK_AT);
    const cellar_bytes part = { (const char *)value->data + from,
                                BASE_MIN(value->len - from, RESP_CHECK_LEN) };
    return script_same(&part, check);
}

/* ---- Control keys ---------------------------------------------------------------------------- */

/* Read a control key, 0: absent. False: an error was written, the key is of another program. */
static bool script_control(const script_call *x, const cellar_bytes *key, double *n)
{
    cellar_bytes v;
    *n = 0;
    if (!resp_shared_get(x->c, *key, &v)) { return true; }
    if (v.len > 0 && v.len <= 16 && script_digits(&v, 0) == v.len) {
        *n = script_number(v.data, v.len);
    } else {
        *n = SCRIPT_EXACT;
    }
    return *n < SCRIPT_EXACT || script_error(x, "WRONGTYPE no control key of cellar");
}

/* Return whether a key is the number of a tag. */
static bool script_is_tag(const script_call *x, uint32_t i)
{
    const size_t kind = x->key[0].len - 1;
    const char *name = x->key[i].data;
    const char ch = kind < x->key[i].len ? name[kind] : '\0';
    return ch == 't' || ch == 's';
}

static bool script_end(script_call *x)
{
    double known, epoch, own;
    if (!script_numbers(x, 0, 1, &known) || !script_control(x, &x->key[0], &epoch) ||
        !script_control(x, &x->key[1], &own)) {
        return false;
    }
    const double e = script_max(script_max(script_max(epoch, own), known) + 1, x->us);
    (void)resp_shared_unlink(x->c, x->key[1]);
    if (script_set_number(x, &x->key[0], e, NULL) &&
        script_set_number(x, &x->key[1], e, script_is_tag(x, 1) ? &x->arg[1] : NULL)) {
        script_bulk_number(x, e);
    }
    return false;
}

/* Write a number of KNOW. A full store takes no new tag. */
static bool script_know_write(const script_call *x, uint32_t i, double v)
{
    const bool tag = script_is_tag(x, i);
    if (!resp_is(&x->arg[i], "0") || !tag) { (void)resp_shared_unlink(x->c, x->key[i]); }
    return script_set_number(x, &x->key[i], v, tag ? &x->arg[x->keys] : NULL);
}

/* Raise each key to what the caller knows. */
static bool script_know(script_call *x)
{
    if (x->args != x->keys + 1) {
        return script_error(x, "ERR the script takes an argument for each key, and a time");
    }
    if (!script_room(x, 2.0 * x->keys * sizeof(double))) { return false; }
    double *const now = (void *)x->text.bytes; /* what the keys have, then what is returned */
    double *const known = now + x->keys;
    if (!script_numbers(x, 0, x->keys, known) || !script_control(x, &x->key[0], &now[0])) {
        return false;
    }
    double k = script_max(known[0], now[0]);
    for (uint32_t i = 1; i < x->keys; i++) {
        if (!script_control(x, &x->key[i], &now[i])) { return false; }
        k = script_max(script_max(k, now[i]), known[i]);
    }
    if (now[0] == 0) { k = script_max(k + 1, x->us); }
    if (k != now[0] && !script_know_write(x, 0, k)) { return false; }
    now[0] = k;
    for (uint32_t i = 1; i < x->keys; i++) {
        const double v = now[i] == 0 ? k : script_max(now[i], known[i]);
        if (v != now[i] && !script_know_write(x, i, v)) { return false; }
        now[i] = v;
    }
    resp_array(x->c, x->keys);
    for (uint32_t i = 0; i < x->keys; i++) { script_bulk_number(x, now[i]); }
    return false;
}

/* ---- Values ---------------------------------------------------------------------------------- */

/* Return whether the key that must be absent is there: a beat, for a release. */
static bool script_barred(const script_call *x, bool release)
{
    cellar_bytes v;
    return x->keys > 1 && resp_shared_get(x->c, x->key[1], &v) &&
           !(release && !resp_wait_note(x->c, x->key[1], x->key[0], x->arg[0]));
}

/* Set the first key, or delete it, and reply 1. */
static bool script_put(script_call *x, bool drop, const cellar_bytes *value,
                       const cellar_bytes *px)
{
    x->out[0] = 1;
    if (drop) { (void)resp_shared_unlink(x->c, x->key[0]); }
    return drop || script_set_px(x, &x->key[0], value, px);
}

/* Return the kind of an envelope; -1: too short. */
static int script_kind(const cellar_bytes *envelope)
{
    return envelope->len > 4 ? ((const unsigned char *)envelope->data)[4] : -1;
}

static bool script_change(script_call *x)
{
    cellar_bytes v;
    const bool there = resp_shared_get(x->c, x->key[0], &v), drop = x->arg[1].len == 0;
    const bool same = x->arg[0].len == 0 ? !there : there && script_check_is(&v, &x->arg[0]);
    const int kind = script_kind(&v);
    if (!same || script_barred(x, drop) || (drop && x->args < 3 && kind == RESP_KIND_COUNTER)) {
        return true;
    }
    if (!drop && x->args < 3) { return script_error(x, "ERR the script takes a time"); }
    x->c->of->shared.fills = kind == RESP_KIND_LEASE && script_kind(&x->arg[1]) != kind;
    return script_put(x, drop, &x->arg[1], &x->arg[2]);
}

static bool script_swap(script_call *x)
{
    cellar_bytes v;
    const bool there = resp_shared_get(x->c, x->key[0], &v);
    if (there != (x->args > 2) || (there && !script_same(&v, &x->arg[2]))) { return true; }
    return script_put(x, resp_is(&x->arg[1], "0"), &x->arg[0], &x->arg[1]);
}

static bool script_sum(script_call *x)
{
    cellar_bytes v;
    int64_t n, delta;
    char text[24];
    if (!resp_shared_get(x->c, x->key[0], &v)) {
        if (resp_is(&x->arg[3], "0")) {
            resp_null(x->c);
            return false;
        }
        if (!script_set_px(x, &x->key[0], &x->arg[2], &x->arg[3])) { return false; }
        v = x->arg[2];
    }
    if (!resp_to_int(&x->arg[0], &delta) || !resp_to_int(&v, &n)) {
        return script_error(x, RESP_ERR_INTEGER);
    }
    const bool over = __builtin_add_overflow(n, delta, &n);
    const int len = snprintf(text, sizeof text, "%" PRId64, n);
    const cellar_bytes sum = over ? x->arg[1] : (cellar_bytes){ text, (size_t)len };
    if (!resp_shared_set(x->c, x->key[0], sum, RESP_TTL_KEEP)) { return false; }
    if (over) { return script_error(x, "ERR increment or decrement would overflow"); }
    resp_bulk(x->c, text, (size_t)len);
    return false;
}

/* Read and write a number of an envelope. */
static uint64_t script_word(const void *bytes, size_t at)
{
    uint64_t v;
    memcpy(&v, (const unsigned char *)bytes + at, sizeof v);
    return le64toh(v);
}

static void script_word_put(unsigned char *at, uint64_t v)
{
    v = htole64(v);
    memcpy(at, &v, sizeof v);
}

/* Reply with what became of a counter, and its envelope. */
static bool script_counted(const script_call *x, int64_t what, const cellar_bytes *v)
{
    resp_array(x->c, 2);
    resp_int(x->c, what);
    resp_bulk(x->c, v->data, v->len);
    return false;
}

static bool script_count(script_call *x)
{
    static const cellar_bytes none = { "", 0 };
    const cellar_bytes made = x->arg[2];
    cellar_bytes v;
    int64_t n;
    if (x->arg[0].len != 8) { return script_error(x, "ERR a delta has 8 bytes"); }
    if (!resp_shared_get(x->c, x->key[0], &v)) {
        if (made.len == 0) {
            resp_null(x->c);
            return false;
        }
        return script_set_px(x, &x->key[0], &made, &x->arg[3]) && script_counted(x, 3, &made);
    }
    const unsigned char *const p = v.data;
    if (v.len < 4 || memcmp(p, "\316cl\1", 4) != 0) { return script_counted(x, -1, &none); }
    const uint64_t ends_ms = v.len < RESP_COUNTER_LEN ? 0 : script_word(p, 24);
    if (v.len < RESP_COUNTER_LEN || p[4] != RESP_KIND_COUNTER || x->arg[1].len != 8 ||
        memcmp(p + 8, x->arg[1].data, 8) != 0 ||
        (ends_ms != 0 && (double)ends_ms <= script_floor(x->us / 1000))) {
        return script_counted(x, 0, &none);
    }
    const int64_t old = (int64_t)script_word(p, v.len - 8);
    const int64_t delta = (int64_t)script_word(x->arg[0].data, 0);
    const bool over = __builtin_add_overflow(old, delta, &n);
    if (over) { n = delta < 0 ? INT64_MIN : INT64_MAX; }
    if (!script_room(x, (double)v.len)) { return false; }
    script_append(x, p, v.len);
    unsigned char *const to = (unsigned char *)x->text.bytes;
    const uint64_t check = script_word(p, RESP_CHECK_AT) + (uint64_t)n - (uint64_t)old;
    script_word_put(to + RESP_CHECK_AT, check);
    script_word_put(to + v.len - 8, (uint64_t)n);
    const cellar_bytes sum = { to, v.len };
    return resp_shared_set(x->c, x->key[0], sum, RESP_TTL_KEEP) &&
           script_counted(x, over ? 2 : 1, &sum);
}

static bool script_drop(script_call *x)
{
    (void)resp_shared_unlink(x->c, x->key[0]);
    if (!resp_shared_set(x->c, x->key[0], (cellar_bytes){ "", 0 }, 1000)) { return false; }
    x->out[0] = resp_shared_unlink(x->c, x->key[0]);
    return true;
}

static bool script_marker(script_call *x)
{
    if (x->args > 0) {
        (void)resp_shared_unlink(x->c, x->key[0]);
        if (!resp_shared_set(x->c, x->key[0], (cellar_bytes){ "", 0 }, 0)) { return false; }
    }
    const bool there = resp_shared_pexpire(x->c, x->key[0], 60000);
    resp_array(x->c, 3);
    resp_int(x->c, there);
    resp_bulk_int(x->c, (int64_t)x->us / 1000000);
    resp_bulk_int(x->c, (int64_t)x->us % 1000000);
    return false;
}

/* ---- Limiters -------------------------------------------------------------------------------- */

/* Take units of a limiter. Its name is the second key, its state lies in a table of the port. */
static bool script_limit(script_call *x, resp_limit_kind kind)
{
    resp_limit_ask q = { .kind = kind, .name = x->key[1], .key = x->key[0], .id = x->arg[0] };
    int64_t *const number[] = { &q.want, &q.least, &q.rule[0], &q.rule[1], &q.more };
    for (uint32_t i = 0; i < x->args - 1 && i < 5; i++) {
        if (!resp_need_int(x->c, &x->arg[i + 1], number[i])) { return false; }
    }
    return resp_limit_take(x->c, &q, x->out);
}

static bool script_bucket(script_call *x) { return script_limit(x, RESP_LIMIT_BUCKET); }
static bool script_window(script_call *x) { return script_limit(x, RESP_LIMIT_WINDOW); }
static bool script_log(script_call *x) { return script_limit(x, RESP_LIMIT_LOG); }

/* Take no units back: those that a process did not spend end with its hold. */
static bool script_give(script_call *x)
{
    (void)x;
    return true;
}

/* ---- Locks and leases ------------------------------------------------------------------------ */

/* Set a key to "token ms" for that time. */
static bool script_hold(script_call *x, const cellar_bytes *token, const cellar_bytes *px)
{
    if (!script_room(x, (double)(token->len + px->len + 1))) { return false; }
    script_append(x, token->data, token->len);
    script_append(x, " ", 1);
    script_append(x, px->data, px->len);
    return script_set_px(x, &x->key[0], &(cellar_bytes){ x->text.bytes, x->text.len }, px);
}

static bool script_lock(script_call *x)
{
    cellar_bytes v;
    double last;
    if (resp_shared_get(x->c, x->key[0], &v)) {
        const size_t at = script_second(&v, true);
        x->out[1] = (double)resp_shared_pttl(x->c, x->key[0]);
        const double lease = at > 0 ? script_number((const char *)v.data + at, v.len - at)
                                    : x->out[1];
        if (x->out[1] > lease) {
            x->out[1] = lease;
            (void)resp_shared_pexpire(x->c, x->key[0], (int64_t)lease);
        }
        return true;
    }
    (void)resp_shared_get(x->c, x->key[1], &v);
    if (!base_double_read(v.data, v.len, &last)) { last = 0; }
    x->out[0] = 1;
    x->out[1] = script_max(last + 1, x->us);
    if (!script_hold(x, &x->arg[0], &x->arg[1])) { return false; } /* first: it needs room */
    if (script_set_number(x, &x->key[1], x->out[1], NULL)) { return true; }
    (void)resp_shared_unlink(x->c, x->key[0]);
    return false;
}

static bool script_keep(script_call *x)
{
    cellar_bytes v;
    int64_t ms;
    (void)resp_shared_get(x->c, x->key[0], &v);
    const unsigned char *const blank = v.len > 0 ? memchr(v.data, ' ', v.len) : NULL;
    if (blank != NULL) { v.len = (size_t)(blank - (const unsigned char *)v.data); }
    const bool release = resp_is(&x->arg[1], "0");
    if (!script_same(&v, &x->arg[0]) || script_barred(x, release)) { return true; }
    if (release) { return script_put(x, true, NULL, NULL); }
    if (!resp_need_int(x->c, &x->arg[1], &ms)) { return false; }
    x->out[0] = 1;
    (void)resp_shared_pexpire(x->c, x->key[0], ms);
    return script_hold(x, &x->arg[0], &x->arg[1]);
}

static bool script_beside(script_call *x)
{
    cellar_bytes v;
    if (!resp_shared_get(x->c, x->key[0], &v) || !script_same(&v, &x->arg[0])) { return true; }
    (void)resp_shared_unlink(x->c, x->key[0]);
    (void)resp_shared_get(x->c, x->key[1], &v);
    if (x->arg[1].len > 1 && !script_check_is(&v, &x->arg[1])) { return true; }
    x->out[0] = 1;
    x->c->of->shared.fills = true;
    return script_set_px(x, &x->key[1], &x->arg[2], &x->arg[3]);
}

/* ---- The table ------------------------------------------------------------------------------- */

static const resp_script resp_shared_scripts[] = {
    { "1ce56c22f2ff8ec108c12defbe799e12b257de94", 2, 2, NULL, script_end, 0,
      "c3915bc5ebe70d73bf69b69e56f923523578a0f66ef58a3a59bf68fb70d96a2d" },
    { "6e09c5fd5fd32cbef7c9c9cebf99d7dc367dee77", 1, 2, NULL, script_know, 0,
      "2d8d7c81330e8b610b8a0193cd5e0b98b531b6375bf700ec6d905548b8a566a4" },
    { "2795766ba31e8787588676173ee5b84249c513c4", 1, 2, NULL, script_change, 0,
      "cd3ed1f9c986ac6d0f8a535d79886e492cd6dd5d8b107fc08f3aa14b6818944b" },
    { "7fc6655d118776e2b5ca946a4d387c79611366b0", 1, 0, NULL, script_drop, 0,
      "8711e513d885d4eb8b84c1fbcbfdd6dfe6bd49ebf13e3111b0d019cb0f4148cc" },
    { "fba732120703c0c3b455680d78ae892b36d37a74", 1, 2, NULL, script_swap, 0,
      "5579b158a11ffbb82fb6ba3033c778095833d016eb59246fe61f193db43f734d" },
    { "bfeb69aafd6983d1107fdc3316a819027331a896", 1, 4, NULL, script_sum, 0,
      "ff6522d32970f0c74dec68b451fcb2ecfc934652982bfa95102236aca1a7e63c" },
    { "9b07db2fb503b7b92749d811f6fbbda618d84e24", 1, 4, NULL, script_count, 0,
      "6f33c543bdb9c42ef0127a1800e9dc4b79d7bd59060fa3c33cfd7f55d3642d16" },
    { "f4ea41c4e68cbacd48e9814ef8a50e11d36f7e94", 2, 6, NULL, script_bucket, 4,
      "2689fd87111c04f7322f08f51c4ed4b44d9009b06fe7d77469de66733142fdc1" },
    { "f5d3146a73531eea94e63d9f66a6e8b099789e77", 2, 6, NULL, script_window, 4,
      "3d5733ef1477e44d4faf3ecffe8098c33bd49b1082d2db8d3d445898d55bee6f" },
    { "cf5b6833499f59f70a06e45a695eb9274762a15c", 2, 6, NULL, script_log, 4,
      "d16c24d3650fa033876d20061c74caaa6d55eb0bdc2b98c70f71923a50116a6f" },
    { "f14d45ea02cac6dbc2eca1df54db0fa6f341c5e2", 2, 5, NULL, script_give, 4,
      "3a542a0e22d25032984deedcc3da0feece52190d3cd8b202a44fa0e8f98c5f96" },
    { "5e48a9608359f9caff2ec0349db163e9a8f0a335", 2, 2, NULL, script_lock, 2,
      "f8bd521746e9c652e1017354696915945b51f6039603855e72f76c9045cb5388" },
    { "e39c3970eaa1e5f4712c69c2c39f9089f682ff43", 1, 2, NULL, script_keep, 1,
      "d6777237ab1271af8f252f387cd3bcb68d4b0eb3500cac0fdc4f7f54da3d6e23" },
    { "0a3479eb8348d817be7bdaf1f962c80f462d41e7", 2, 4, NULL, script_beside, 1,
      "14ed52c997cfd5af34f45f8daf139a73ed9e43fd3bf76a65a7dfac20876e7f34" },
    { "392abbd9b0580d593d32fffdba9f43c7d73ce0d6", 1, 0, NULL, script_marker, 0,
      "94d29e7e6391051992889aed103482b6b972dc7d1cfa7e52591e2d7549799400" },
};
#define RESP_SHARED_SCRIPTS (sizeof resp_shared_scripts / sizeof resp_shared_scripts[0])

CELLAR_PRIVATE const resp_script *resp_script_find(const resp_script *table, size_t count,
                                                   const cellar_bytes *digest, bool sha256)
{
    for (const resp_script *s = table; s < table + count; s++) {
        if (resp_is(digest, sha256 ? s->sha256 : s->sha1)) { return s; }
    }
    return NULL;
}

CELLAR_PRIVATE const resp_script *resp_shared_script_find(const cellar_bytes *digest, bool sha256)
{
    return resp_script_find(resp_shared_scripts, RESP_SHARED_SCRIPTS, digest, sha256);
}

CELLAR_PRIVATE void resp_shared_script_run(resp_client *c, const resp_script *s,
                                           const cellar_bytes *argv, uint32_t keys, uint32_t args)
{
    script_call x = { .c = c, .key = argv, .arg = argv + keys, .keys = keys, .args = args,
                      .us = (double)c->of->wall_us(),
                      .text.account = &c->of->obj.account };
    if (keys < s->keys || args < s->args) {
        resp_error(c, "ERR this script takes %u keys and %u arguments", s->keys, s->args);
        return;
    }
    for (uint32_t i = 0; i < keys; i++) {
        if (argv[i].len == 0 || argv[i].len > CELLAR_KEY_MAX) {
            resp_error(c, "ERR invalid key");
            return;
        }
    }
    resp_shared_begin(c);
    if (s->shared(&x)) {
        if (s->table > 0) { resp_array(c, s->table); }
        for (uint32_t i = 0; i == 0 || i < s->table; i++) { resp_int(c, script_int(x.out[i])); }
    }
    resp_value_free(&x.text);
    resp_shared_end(c);
}

BASE_SIZE_END
