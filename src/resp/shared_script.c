/* SPDX-License-Identifier: MIT
 *
 * shared_script: the scripts of the remote tier as functions on the shared store.
 *
 * PICTURE    text or its SHA-1 -> row of resp_shared_scripts -> a function of this file
 * INVARIANTS A function does what Redis 7 does with the text of the same name in remote/script.c:
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
#include "resp/data.h"
#include "resp/entry.h"
#include "resp/shared.h"
#include "resp/shared_script.h"
#include "resp/shared_wait.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

BASE_SIZE_BEGIN

#define SCRIPT_DIGITS 320u       /* of a double without an exponent, final zero included */
#define SCRIPT_MEMBER_MS 10000   /* for so long a process counts as a user of a limiter */
#define SCRIPT_MEMBERS 1024u
#define SCRIPT_BAD_TIME "ERR invalid expire time in 'set' command"
#define SCRIPT_EXACT 9007199254740992.0 /* 2^53 */

/* One call of a script. */
typedef struct script_call {
    resp_client *c;
    const cellar_bytes *key, *arg;
    uint32_t keys, args;
    double us; /* time of the port, read once */
} script_call;

/* ---- Numbers of Lua -------------------------------------------------------------------------- */

static double script_max(double a, double b) { return b > a ? b : a; } /* a: also for NaN */
static double script_min(double a, double b) { return b < a ? b : a; }

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

static double script_ceil(double v) { return -script_floor(-v); }

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

/* Read "%d+ %d+" of the whole text. */
static bool script_pair(const cellar_bytes *b, double *first, double *second)
{
    const unsigned char *p = b->data;
    const size_t blank = script_digits(b, 0);
    if (blank == 0 || blank == b->len || p[blank] != ' ' || blank + 1 == b->len ||
        script_digits(b, blank + 1) != b->len) {
        return false;
    }
    *first = script_number(p, blank);
    *second = script_number(p + blank + 1, b->len - blank - 1);
    return true;
}

/* ---- Reads and writes ------------------------------------------------------------------------ */

/* Read a key. False: it is absent, *value is empty. Valid until the next write. */
static bool script_get(const script_call *x, const cellar_bytes *key, cellar_bytes *value)
{
    *value = (cellar_bytes){ "", 0 };
    return resp_shared_get(x->c, *key, value);
}

/* Set a key. False: an error was written. */
static bool script_set(const script_call *x, const cellar_bytes *key, const void *value,
                       size_t len, int64_t ttl_ms)
{
    const cellar_err err = resp_shared_set(x->c, *key, (cellar_bytes){ value, len }, ttl_ms);
    if (err < 0) { resp_fail(x->c, err); }
    return err >= 0;
}

/* Set a key for a time in ms that a script counts. */
static bool script_set_for(const script_call *x, const cellar_bytes *key, const void *value,
                           size_t len, double ttl_ms)
{
    if (!(ttl_ms < 1e17)) { /* a text of Lua with an exponent */
        resp_error(x->c, RESP_ERR_INTEGER);
    } else if (ttl_ms < 1) {
        resp_error(x->c, SCRIPT_BAD_TIME);
    } else {
        return script_set(x, key, value, len, (int64_t)ttl_ms);
    }
    return false;
}

/* Set a key for a time in ms that is an argument. */
static bool script_set_px(const script_call *x, const cellar_bytes *key, const cellar_bytes *value,
                          const cellar_bytes *px)
{
    int64_t ttl_ms;
    if (!resp_need_int(x->c, px, &ttl_ms)) { return false; }
    if (ttl_ms <= 0 || ttl_ms > INT64_MAX - (int64_t)x->us / 1000) {
        resp_error(x->c, SCRIPT_BAD_TIME);
        return false;
    }
    return script_set(x, key, value->data, value->len, ttl_ms);
}

/* Delete a key. Return whether it was there. */
static bool script_unlink(const script_call *x, const cellar_bytes *key)
{
    return resp_shared_unlink(x->c, *key);
}

/* Set a key to a whole number without an end. */
static bool script_set_number(const script_call *x, const cellar_bytes *key, double v)
{
    char text[SCRIPT_DIGITS];
    const int len = snprintf(text, sizeof text, "%.0f", v);
    return script_set(x, key, text, (size_t)len, 0);
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
            resp_error(x->c, "ERR an argument of the script must be a number");
            return false;
        }
    }
    return true;
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
    if (!script_get(x, key, &v)) { return true; }
    if (v.len > 0 && v.len <= 16 && script_digits(&v, 0) == v.len) {
        *n = script_number(v.data, v.len);
    } else {
        *n = SCRIPT_EXACT;
    }
    if (*n >= SCRIPT_EXACT) { resp_error(x->c, "WRONGTYPE no control key of cellar"); }
    return *n < SCRIPT_EXACT;
}

static void script_end(const script_call *x)
{
    double known, epoch, own;
    if (!script_numbers(x, 0, 1, &known) || !script_control(x, &x->key[0], &epoch) ||
        !script_control(x, &x->key[1], &own)) {
        return;
    }
    const double e = script_max(script_max(script_max(epoch, own), known) + 1, x->us);
    (void)script_unlink(x, &x->key[1]);
    if (script_set_number(x, &x->key[0], e) && script_set_number(x, &x->key[1], e)) {
        script_bulk_number(x, e);
    }
}

/* Write a number of KNOW. A full store takes no new tag. */
static bool script_know_write(const script_call *x, uint32_t i, double v)
{
    const size_t kind = x->key[0].len - 1;
    const char *name = x->key[i].data;
    const char ch = kind < x->key[i].len ? name[kind] : '\0';
    if (!resp_is(&x->arg[i], "0") || (ch != 't' && ch != 's')) {
        (void)script_unlink(x, &x->key[i]);
    }
    return script_set_number(x, &x->key[i], v);
}

/* Raise each key to what the caller knows. `now` has what the keys have, then what is returned. */
static void script_know_all(const script_call *x, double *now, double *known)
{
    double k;
    if (!script_numbers(x, 0, x->keys, known) || !script_control(x, &x->key[0], &now[0])) {
        return;
    }
    k = script_max(known[0], now[0]);
    for (uint32_t i = 1; i < x->keys; i++) {
        if (!script_control(x, &x->key[i], &now[i])) { return; }
        k = script_max(script_max(k, now[i]), known[i]);
    }
    if (now[0] == 0) { k = script_max(k + 1, x->us); }
    if (k != now[0] && !script_know_write(x, 0, k)) { return; }
    now[0] = k;
    for (uint32_t i = 1; i < x->keys; i++) {
        const double v = now[i] == 0 ? k : script_max(now[i], known[i]);
        if (v != now[i] && !script_know_write(x, i, v)) { return; }
        now[i] = v;
    }
    resp_array(x->c, x->keys);
    for (uint32_t i = 0; i < x->keys; i++) { script_bulk_number(x, now[i]); }
}

static void script_know(const script_call *x)
{
    base_account *const account = &x->c->of->obj.account;
    const size_t bytes = 2 * x->keys * sizeof(double);
    if (x->args != x->keys) {
        resp_error(x->c, "ERR the script takes an argument for each key");
        return;
    }
    double *const numbers = base_alloc(account, BASE_MOD_STORE, bytes, NULL);
    if (numbers == NULL) {
        resp_error(x->c, RESP_OOM);
        return;
    }
    script_know_all(x, numbers, numbers + x->keys);
    base_free(account, BASE_MOD_STORE, numbers, bytes);
}

/* ---- Values ---------------------------------------------------------------------------------- */

/* Return whether the key that must be absent is there: a beat, for a release. */
static bool script_barred(const script_call *x, bool release)
{
    cellar_bytes v;
    return x->keys > 1 && script_get(x, &x->key[1], &v) &&
           !(release && !resp_wait_note(x->c, x->key[1], x->key[0], x->arg[0]));
}

static void script_change(const script_call *x)
{
    cellar_bytes v;
    const bool there = script_get(x, &x->key[0], &v);
    const bool same = x->arg[0].len == 0 ? !there : there && script_check_is(&v, &x->arg[0]);
    if (!same || script_barred(x, x->arg[1].len == 0)) {
        resp_int(x->c, 0);
    } else if (x->arg[1].len == 0) {
        (void)script_unlink(x, &x->key[0]);
        resp_int(x->c, 1);
    } else if (x->args < 3) {
        resp_error(x->c, "ERR the script takes a time");
    } else if (script_set_px(x, &x->key[0], &x->arg[1], &x->arg[2])) {
        resp_int(x->c, 1);
    }
}

static void script_swap(const script_call *x)
{
    cellar_bytes v;
    const bool there = script_get(x, &x->key[0], &v);
    if (there != (x->args > 2) || (there && !script_same(&v, &x->arg[2]))) {
        resp_int(x->c, 0);
    } else if (resp_is(&x->arg[1], "0")) {
        (void)script_unlink(x, &x->key[0]);
        resp_int(x->c, 1);
    } else if (script_set_px(x, &x->key[0], &x->arg[0], &x->arg[1])) {
        resp_int(x->c, 1);
    }
}

static void script_sum(const script_call *x)
{
    cellar_bytes v;
    int64_t n, delta;
    char text[24];
    if (!script_get(x, &x->key[0], &v)) {
        if (resp_is(&x->arg[3], "0")) {
            resp_null(x->c);
            return;
        }
        if (!script_set_px(x, &x->key[0], &x->arg[2], &x->arg[3])) { return; }
        v = x->arg[2];
    }
    if (!resp_to_int(&x->arg[0], &delta) || !resp_to_int(&v, &n)) {
        resp_error(x->c, RESP_ERR_INTEGER);
    } else if (__builtin_add_overflow(n, delta, &n)) {
        if (script_set(x, &x->key[0], x->arg[1].data, x->arg[1].len, RESP_TTL_KEEP)) {
            resp_error(x->c, "ERR increment or decrement would overflow");
        }
    } else {
        const int len = snprintf(text, sizeof text, "%" PRId64, n);
        if (script_set(x, &x->key[0], text, (size_t)len, RESP_TTL_KEEP)) {
            resp_bulk(x->c, text, (size_t)len);
        }
    }
}

static void script_drop(const script_call *x)
{
    (void)script_unlink(x, &x->key[0]);
    if (script_set(x, &x->key[0], "", 0, 1000)) { resp_int(x->c, script_unlink(x, &x->key[0])); }
}

static void script_marker(const script_call *x)
{
    if (x->args > 0) {
        (void)script_unlink(x, &x->key[0]);
        if (!script_set(x, &x->key[0], "", 0, 0)) { return; }
    }
    const bool there = resp_shared_pexpire(x->c, x->key[0], 60000);
    resp_array(x->c, 3);
    resp_int(x->c, there);
    resp_bulk_int(x->c, (int64_t)x->us / 1000000);
    resp_bulk_int(x->c, (int64_t)x->us % 1000000);
}

/* ---- Limiters -------------------------------------------------------------------------------- */

/* What all scripts of limiters have: MEMBERS of remote/script.c. */
typedef struct script_limit {
    double live;    /* processes that use the limiter; 0: not asked */
    double n, least; /* units wanted */
    double more[3]; /* the other arguments */
    cellar_bytes state;
    resp_value text; /* a value that is written */
} script_limit;

static bool script_append(resp_value *v, const void *bytes, size_t len)
{
    if (len > v->cap - v->len) {
        resp_value grown = { .account = v->account, .cap = v->cap + BASE_MAX(len, v->cap) + 64 };
        grown.bytes = base_alloc(v->account, BASE_MOD_STORE, grown.cap, NULL);
        if (grown.bytes == NULL) { return false; }
        if (v->len > 0) { memcpy(grown.bytes, v->bytes, v->len); }
        grown.len = v->len;
        resp_value_free(v);
        *v = grown;
    }
    if (len > 0) { memcpy(v->bytes + v->len, bytes, len); }
    v->len += len;
    return true;
}

static bool script_is_word(unsigned char ch)
{
    return script_is_digit(ch) || (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z');
}

/* Find the next "(%w+):(%d+);" from *at on, and move *at behind it. */
static bool script_member(const cellar_bytes *list, size_t *at, cellar_bytes *id,
                          cellar_bytes *since)
{
    const unsigned char *const p = list->data;
    size_t i = *at;
    while (i < list->len) {
        if (!script_is_word(p[i])) {
            i++;
            continue;
        }
        const size_t from = i;
        while (i < list->len && script_is_word(p[i])) { i++; }
        if (i == list->len || p[i] != ':') { continue; }
        const size_t end = script_digits(list, i + 1);
        if (end > i + 1 && end < list->len && p[end] == ';') {
            *id = (cellar_bytes){ p + from, i - from };
            *since = (cellar_bytes){ p + i + 1, end - i - 1 };
            *at = end + 1;
            return true;
        }
    }
    return false;
}

/* Write the list of the processes of a limiter, with the own one, to l->text. */
static bool script_list(const script_call *x, script_limit *l)
{
    cellar_bytes list, id, since;
    char own[32];
    const double ms = script_floor(x->us / 1000);
    const int len = snprintf(own, sizeof own, ":%.0f;", ms);
    bool ok = script_append(&l->text, x->arg[0].data, x->arg[0].len) &&
              script_append(&l->text, own, (size_t)len);
    (void)script_get(x, &x->key[1], &list);
    l->live = 1;
    for (size_t at = 0; ok && script_member(&list, &at, &id, &since);) {
        const double age = script_number(since.data, since.len) - ms;
        if (script_same(&id, &x->arg[0]) || l->live >= SCRIPT_MEMBERS ||
            !(age < SCRIPT_MEMBER_MS && -age < SCRIPT_MEMBER_MS)) {
            continue;
        }
        l->live++;
        ok = script_append(&l->text, id.data, id.len) && script_append(&l->text, ":", 1) &&
             script_append(&l->text, since.data, since.len) && script_append(&l->text, ";", 1);
    }
    return ok;
}

/* Begin a script of a limiter with `more` further arguments. False: an error was written. */
static bool script_limit_begin(const script_call *x, script_limit *l, uint32_t more)
{
    *l = (script_limit){ .text.account = &x->c->of->obj.account };
    if (!script_numbers(x, 1, 1, &l->n) || !script_numbers(x, 2, 1, &l->least) ||
        !script_numbers(x, 3, more, l->more)) {
        return false;
    }
    if (x->arg[0].len > 0) {
        const bool listed = script_list(x, l);
        if (!listed) { resp_fail(x->c, CELLAR_E_SPACE); }
        const bool set = listed && script_set(x, &x->key[1], l->text.bytes, l->text.len,
                                              SCRIPT_MEMBER_MS);
        resp_value_free(&l->text);
        if (!set) { return false; }
    }
    (void)script_get(x, &x->key[0], &l->state);
    return true;
}

/* Reply with a table of four numbers. */
static void script_four(const script_call *x, double a, double b, double live, double d)
{
    const double four[] = { a, b, live, d };
    resp_array(x->c, 4);
    for (size_t i = 0; i < 4; i++) { resp_int(x->c, script_int(four[i])); }
}

/* Write the state of a limiter, two numbers. */
static bool script_set_pair(const script_call *x, double first, double second, double ttl_ms)
{
    char text[2 * SCRIPT_DIGITS];
    const int len = snprintf(text, sizeof text, "%.0f %.0f", first, second);
    return script_set_for(x, &x->key[0], text, (size_t)len, ttl_ms);
}

static bool script_set_debt(const script_call *x, double debt)
{
    return script_set_pair(x, x->us, debt, script_ceil(debt / 128000) + 1);
}

/* Return the debt of a bucket now. */
static double script_debt(const script_call *x, double at, double debt)
{
    return script_max(0, debt - script_max(0, x->us - at) * 128);
}

static void script_bucket(const script_call *x)
{
    script_limit l;
    double at = 0, debt = 0;
    if (!script_limit_begin(x, &l, 3)) { return; }
    const double unit = l.more[0], top = l.more[1], ahead = l.more[2];
    const bool found = script_pair(&l.state, &at, &debt);
    if (found) { debt = script_debt(x, at, debt); }
    double m = script_min(l.n, script_floor((top - debt) / unit));
    if (m < l.least) { m = script_min(l.n, script_floor((top + ahead * 128 - debt) / unit)); }
    if (m < l.least) {
        if (!found || !(x->us < at) || script_set_debt(x, debt)) {
            script_four(x, 0, script_ceil((debt + l.least * unit - top) / 128), l.live, 0);
        }
        return;
    }
    debt += m * unit;
    if (script_set_debt(x, debt)) {
        script_four(x, m, script_max(0, script_ceil((debt - top) / 128)), l.live,
                    x->us + script_floor(debt / 128));
    }
}

static void script_give(const script_call *x)
{
    script_limit l;
    double at, debt;
    if (!script_limit_begin(x, &l, 2)) { return; }
    if (!script_pair(&l.state, &at, &debt)) {
        script_four(x, 0, 0, 0, 0);
        return;
    }
    debt = script_debt(x, at, debt);
    const double back = script_min(script_min(l.n * l.more[0],
                                              script_max(0, l.more[1] - x->us) * 128), debt);
    if (script_set_debt(x, debt - back)) {
        script_four(x, script_floor(back / l.more[0]), 0, 0, 0);
    }
}

/* Return the day on which the month of `day` begins, in days since 1970. */
static double script_month(double day)
{
    const double z = day + 719468, era = script_floor(z / 146097), doe = z - era * 146097;
    const double yoe = script_floor((doe - script_floor(doe / 1460) + script_floor(doe / 36524) -
                                     script_floor(doe / 146096)) / 365);
    const double doy = doe - (365 * yoe + script_floor(yoe / 4) - script_floor(yoe / 100));
    const double mp = script_floor((5 * doy + 2) / 153);
    return day - (doy - script_floor((153 * mp + 2) / 5));
}

static void script_window(const script_call *x)
{
    script_limit l;
    double from, to, at, count, used = 0;
    if (!script_limit_begin(x, &l, 3)) { return; }
    const double s = script_floor(x->us / 1000000), period = l.more[0], shift = l.more[2];
    if (period == 0) {
        const double month = script_month(script_floor(s / 86400));
        from = month * 86400;
        to = script_month(month + 32) * 86400;
    } else {
        from = script_floor((s + shift) / period) * period - shift;
        to = from + period;
    }
    if (script_pair(&l.state, &at, &count) && at >= from && at <= s + to - from) {
        to = to + at - from;
        from = at;
        used = count;
    }
    const double n = script_min(l.n, l.more[1] - used), left = to * 1000000 - x->us;
    if (n < l.least) {
        script_four(x, 0, left, l.live, 0);
    } else if (script_set_pair(x, from, used + n, script_ceil(left / 1000) + 1)) {
        script_four(x, n, 0, l.live, 0);
    }
}

/* Return the time of a unit of a log. */
static double script_at(const cellar_bytes *log, double i)
{
    const unsigned char *p = (const unsigned char *)log->data + (size_t)i * 8;
    uint64_t bits = 0;
    double v;
    for (size_t b = 0; b < 8; b++) { bits = bits << 8 | p[b]; }
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* Write the units from `old` to `count` and n of now. */
static void script_log_add(const script_call *x, script_limit *l, double old, double count,
                           double n, double us)
{
    unsigned char now[8];
    uint64_t bits;
    memcpy(&bits, &us, sizeof bits);
    for (size_t b = 0; b < 8; b++) { now[b] = (unsigned char)(bits >> (56 - 8 * b)); }
    bool ok = script_append(&l->text, (const char *)l->state.data + (size_t)old * 8,
                            (size_t)(count - old) * 8);
    for (double i = 0; ok && i < n; i++) { ok = script_append(&l->text, now, sizeof now); }
    if (!ok) {
        resp_fail(x->c, CELLAR_E_SPACE);
    } else if (script_set_for(x, &x->key[0], l->text.bytes, l->text.len,
                              script_ceil(l->more[0] / 1000) + 1)) {
        script_four(x, n, 0, l->live, 0);
    }
    resp_value_free(&l->text);
}

static void script_log(const script_call *x)
{
    script_limit l;
    double us = x->us, old = 0;
    if (!script_limit_begin(x, &l, 2)) { return; }
    const double w = l.more[0], top = l.more[1], all = (double)(l.state.len / 8);
    double count = all;
    while (count > 0 && script_at(&l.state, count - 1) > us + w) { count--; }
    if (count > 0) { us = script_max(us, script_at(&l.state, count - 1)); }
    while (old < count && script_at(&l.state, old) <= us - w) { old++; }
    const double n = script_min(l.n, top - (count - old));
    if (n < l.least) {
        const double i = count - top + l.least - 1;
        if (i >= 0 && i < all) {
            script_four(x, 0, script_at(&l.state, i) + w - us, l.live, 0);
        } else {
            resp_error(x->c, "ERR the log of the limiter is too short");
        }
        return;
    }
    script_log_add(x, &l, old, count, n, us);
}

/* ---- Locks and leases ------------------------------------------------------------------------ */

/* Return the lease of a lock, "%x+ (%d+)"; without one `other`. */
static double script_lease(const cellar_bytes *v, double other)
{
    const unsigned char *p = v->data;
    size_t i = 0;
    while (i < v->len && (script_is_digit(p[i]) || (p[i] >= 'a' && p[i] <= 'f') ||
                          (p[i] >= 'A' && p[i] <= 'F'))) {
        i++;
    }
    if (i == 0 || i + 1 >= v->len || p[i] != ' ' || script_digits(v, i + 1) != v->len) {
        return other;
    }
    return script_number(p + i + 1, v->len - i - 1);
}

/* Set a key to "token ms" for that time. */
static bool script_hold(const script_call *x, const cellar_bytes *token, const cellar_bytes *px)
{
    resp_value v = { .account = &x->c->of->obj.account };
    bool ok = script_append(&v, token->data, token->len) && script_append(&v, " ", 1) &&
              script_append(&v, px->data, px->len);
    if (ok) {
        ok = script_set_px(x, &x->key[0], &(cellar_bytes){ v.bytes, v.len }, px);
    } else {
        resp_fail(x->c, CELLAR_E_SPACE);
    }
    resp_value_free(&v);
    return ok;
}

static void script_lock(const script_call *x)
{
    cellar_bytes v;
    double last;
    if (script_get(x, &x->key[0], &v)) {
        double left = (double)resp_shared_pttl(x->c, x->key[0]);
        const double lease = script_lease(&v, left);
        if (left > lease) {
            left = lease;
            (void)resp_shared_pexpire(x->c, x->key[0], (int64_t)lease);
        }
        resp_array(x->c, 2);
        resp_int(x->c, 0);
        resp_int(x->c, script_int(left));
        return;
    }
    if (!script_get(x, &x->key[1], &v) || !base_double_read(v.data, v.len, &last)) { last = 0; }
    const double fence = script_max(last + 1, x->us);
    if (script_set_number(x, &x->key[1], fence) && script_hold(x, &x->arg[0], &x->arg[1])) {
        resp_array(x->c, 2);
        resp_int(x->c, 1);
        resp_int(x->c, script_int(fence));
    }
}

/* Reply with a table of one number. */
static void script_one(const script_call *x, int64_t n)
{
    resp_array(x->c, 1);
    resp_int(x->c, n);
}

static void script_keep(const script_call *x)
{
    cellar_bytes v;
    int64_t ms;
    (void)script_get(x, &x->key[0], &v);
    const unsigned char *const blank = v.len > 0 ? memchr(v.data, ' ', v.len) : NULL;
    if (blank != NULL) { v.len = (size_t)(blank - (const unsigned char *)v.data); }
    const bool release = resp_is(&x->arg[1], "0");
    if (!script_same(&v, &x->arg[0]) || script_barred(x, release)) {
        script_one(x, 0);
    } else if (release) {
        (void)script_unlink(x, &x->key[0]);
        script_one(x, 1);
    } else if (resp_need_int(x->c, &x->arg[1], &ms)) {
        (void)resp_shared_pexpire(x->c, x->key[0], ms);
        if (script_hold(x, &x->arg[0], &x->arg[1])) { script_one(x, 1); }
    }
}

static void script_beside(const script_call *x)
{
    cellar_bytes v;
    if (!script_get(x, &x->key[0], &v) || !script_same(&v, &x->arg[0])) {
        script_one(x, 0);
        return;
    }
    (void)script_unlink(x, &x->key[0]);
    (void)script_get(x, &x->key[1], &v);
    if (x->arg[1].len > 1 && !script_check_is(&v, &x->arg[1])) {
        script_one(x, 0);
    } else if (script_set_px(x, &x->key[1], &x->arg[2], &x->arg[3])) {
        script_one(x, 1);
    }
}

/* ---- The table ------------------------------------------------------------------------------- */

struct resp_shared_script {
    const char *sha1, *sha256; /* of the text, hexadecimal */
    uint32_t keys, args;       /* at least so many */
    void (*run)(const script_call *x);
};

static const resp_shared_script resp_shared_scripts[] = {
    { "f710b23c6b1929013c9212c8f00017c12a84216e",
      "0fa4bfe075647f59a61bce26c2d64f2707cb4ec6cd048c07a8f946a0463e8a7d",
      2, 1, script_end },
    { "f4e0e57e5b774f513d40ee92733c45ab90798bf2",
      "a17427579faa10c021aca7aacefa5884a665a6d32e5c76f9cb405042ea8e5744",
      1, 1, script_know },
    { "abf97b31edb03fd334af5d61313859c5de0c8827",
      "439e74f00500dab287456d53d186e932940dd729fefa9ac36a316288633df40e",
      1, 2, script_change },
    { "7fc6655d118776e2b5ca946a4d387c79611366b0",
      "8711e513d885d4eb8b84c1fbcbfdd6dfe6bd49ebf13e3111b0d019cb0f4148cc",
      1, 0, script_drop },
    { "fba732120703c0c3b455680d78ae892b36d37a74",
      "5579b158a11ffbb82fb6ba3033c778095833d016eb59246fe61f193db43f734d",
      1, 2, script_swap },
    { "bfeb69aafd6983d1107fdc3316a819027331a896",
      "ff6522d32970f0c74dec68b451fcb2ecfc934652982bfa95102236aca1a7e63c",
      1, 4, script_sum },
    { "f4ea41c4e68cbacd48e9814ef8a50e11d36f7e94",
      "2689fd87111c04f7322f08f51c4ed4b44d9009b06fe7d77469de66733142fdc1",
      2, 6, script_bucket },
    { "f5d3146a73531eea94e63d9f66a6e8b099789e77",
      "3d5733ef1477e44d4faf3ecffe8098c33bd49b1082d2db8d3d445898d55bee6f",
      2, 6, script_window },
    { "cf5b6833499f59f70a06e45a695eb9274762a15c",
      "d16c24d3650fa033876d20061c74caaa6d55eb0bdc2b98c70f71923a50116a6f",
      2, 6, script_log },
    { "f14d45ea02cac6dbc2eca1df54db0fa6f341c5e2",
      "3a542a0e22d25032984deedcc3da0feece52190d3cd8b202a44fa0e8f98c5f96",
      2, 5, script_give },
    { "dd2e63dbabdb421e6fe84294c11c54c788f00fb7",
      "451bf3787600d8b56a7bd64c0713cdc404f0bb9f0f7bf4bb84f39d411f0f315f",
      2, 2, script_lock },
    { "e39c3970eaa1e5f4712c69c2c39f9089f682ff43",
      "d6777237ab1271af8f252f387cd3bcb68d4b0eb3500cac0fdc4f7f54da3d6e23",
      1, 2, script_keep },
    { "0a3479eb8348d817be7bdaf1f962c80f462d41e7",
      "14ed52c997cfd5af34f45f8daf139a73ed9e43fd3bf76a65a7dfac20876e7f34",
      2, 4, script_beside },
    { "392abbd9b0580d593d32fffdba9f43c7d73ce0d6",
      "94d29e7e6391051992889aed103482b6b972dc7d1cfa7e52591e2d7549799400",
      1, 0, script_marker },
};
#define RESP_SHARED_SCRIPTS (sizeof resp_shared_scripts / sizeof resp_shared_scripts[0])

CELLAR_PRIVATE const char *resp_shared_script_name(const resp_shared_script *s) { return s->sha1; }

CELLAR_PRIVATE const resp_shared_script *resp_shared_script_named(const cellar_bytes *name)
{
    for (size_t i = 0; i < RESP_SHARED_SCRIPTS; i++) {
        if (resp_is(name, resp_shared_scripts[i].sha1)) { return &resp_shared_scripts[i]; }
    }
    return NULL;
}

CELLAR_PRIVATE const resp_shared_script *resp_shared_script_of(const unsigned char sha256[32])
{
    char text[65];
    for (size_t i = 0; i < 32; i++) { (void)snprintf(text + 2 * i, 3, "%02x", sha256[i]); }
    for (size_t i = 0; i < RESP_SHARED_SCRIPTS; i++) {
        if (strcmp(text, resp_shared_scripts[i].sha256) == 0) { return &resp_shared_scripts[i]; }
    }
    return NULL;
}

CELLAR_PRIVATE void resp_shared_script_run(resp_client *c, const resp_shared_script *s,
                                           const cellar_bytes *argv, uint32_t keys, uint32_t args)
{
    const script_call x = { .c = c, .key = argv, .arg = argv + keys, .keys = keys, .args = args,
                            .us = (double)resp_shared_now_us(c) };
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
    s->run(&x);
    resp_shared_end(c);
}

BASE_SIZE_END
