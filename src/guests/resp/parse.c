/* SPDX-License-Identifier: MIT
 *
 * parse: arrays of bulk texts and inline lines, byte by byte as Redis 7.0 reads them.
 *
 * PICTURE    *2 CRLF $3 CRLF GET CRLF $1 CRLF k CRLF      or      GET "k" LF
 *                                         ^ scan: arguments before it are complete
 * WALK       The first pass over a request fills `argv`. A request that came in pieces is scanned
 *            piece by piece without `argv`, and passed once more when it is complete: a client that
 *            sends slowly costs neither time nor memory for each argument.
 * PLACE      A value of SET, SETNX, SETEX or PSETEX, from RESP_PLACE_MIN on, gets a place in the
 *            store if it is incomplete. The bytes that have arrived move there. The caller drops
 *            them from the request, and reads the others into the place.
 * LIMITS     RESP_ARGS_MAX arguments; a bulk and a whole request of max_request_bytes; lines of
 *            RESP_INLINE_MAX; before AUTH 10 arguments and bulks of 16 KiB.
 * FOREIGN    Lines inside another protocol must not run: a control byte, Host:, and a first line of
 *            HTTP close the connection. serve.c: so does a first line that is no command.
 * DIFFERS    Redis does not look at the two bytes behind a bulk; here they must be CR LF. */
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "base/text.h"
#include "resp/command.h"
#include "resp/parse.h"
#include "resp/room.h"

#define RESP_ARGV_USUAL 256u
#define RESP_PLACE_MIN ((int64_t)256 << 10) /* shorter values may lie in the log */
#define RESP_NO_AUTH_ARGS 10
#define RESP_NO_AUTH_BULK 16384

/* ---- arguments ---- */

/* Make room for argument number `count`. False: no memory. */
static bool resp_argv_room(cellar_resp *r, uint32_t count)
{
    if (BASE_LIKELY(count <= r->argv_cap)) { return true; }
    const uint32_t cap = (uint32_t)base_pow2_ceil(BASE_MAX(count, RESP_ARGV_USUAL));
    cellar_bytes *argv = base_alloc(&r->obj.account, BASE_MOD_STORE, cap * sizeof *argv, NULL);
    if (argv == NULL) { return false; }
    if (r->argv != NULL) { memcpy(argv, r->argv, r->argv_cap * sizeof *argv); }
    base_free(&r->obj.account, BASE_MOD_STORE, r->argv, r->argv_cap * sizeof *argv);
    r->argv = argv;
    r->argv_cap = cap;
    return true;
}

CELLAR_PRIVATE void resp_argv_trim(cellar_resp *r)
{
    if (r->argv_cap > RESP_ARGV_USUAL) {
        base_free(&r->obj.account, BASE_MOD_STORE, r->argv, r->argv_cap * sizeof *r->argv);
        r->argv = NULL;
        r->argv_cap = 0;
    }
}

static resp_parsed resp_bad(resp_client *c, const char *what)
{
    (void)snprintf(c->of->refusal, sizeof c->of->refusal, "ERR Protocol error: %s", what);
    resp_add(c->of, RESP_COUNT_protocol_errors, 1);
    return RESP_PARSE_BAD;
}

static resp_parsed resp_foreign_line(resp_client *c, const char *what)
{
    (void)snprintf(c->of->refusal, sizeof c->of->refusal, "ERR Protocol error: %s", what);
    return RESP_PARSE_FOREIGN;
}

static resp_parsed resp_no_room(resp_client *c)
{
    (void)snprintf(c->of->refusal, sizeof c->of->refusal, "%s", RESP_OOM);
    resp_add(c->of, RESP_COUNT_memory_closed, 1);
    return RESP_PARSE_BAD;
}

/* ---- arrays ---- */

/* Read the line at `scan`, a kind and a number, and go on behind it. MORE: it is not complete. */
static resp_parsed resp_number_line(resp_client *c, const unsigned char *p, size_t n, bool *ok,
                                    int64_t *value, const char *too_big)
{
    const size_t at = c->scan;
    const unsigned char *cr = at < n ? memchr(p + at, '\r', n - at) : NULL;
    if (cr == NULL || (size_t)(cr - p) + 1 >= n) {
        return n - at > RESP_INLINE_MAX ? resp_bad(c, too_big) : RESP_PARSE_MORE;
    }
    if (cr[1] != '\n') { return resp_bad(c, "expected CR LF"); }
    const cellar_bytes digits = { p + at + 1, (size_t)(cr - p) - at - 1 };
    *ok = resp_to_int(&digits, value);
    c->scan = (size_t)(cr - p) + 2;
    return RESP_PARSE_OK;
}

/* Read the length line of the argument at `scan`. */
static resp_parsed resp_bulk_line(resp_client *c, const unsigned char *p, size_t n)
{
    int64_t len = 0;
    bool ok = false;
    const size_t at = c->scan;
    const resp_parsed got = resp_number_line(c, p, n, &ok, &len, "too big bulk count string");
    if (got != RESP_PARSE_OK) { return got; }
    if (p[at] != '$') {
        char what[] = "expected '$', got ' '";
        what[sizeof what - 3] = (char)p[at];
        return resp_bad(c, what);
    }
    if (!ok || len < 0 || (uint64_t)len > c->of->opts.max_request_bytes) {
        return resp_bad(c, "invalid bulk length");
    }
    if (len > RESP_NO_AUTH_BULK && !(c->flags & RESP_C_AUTH)) {
        return resp_bad(c, "unauthenticated bulk length");
    }
    if (c->scan + (uint64_t)len + 2 > c->of->opts.max_request_bytes) {
        return resp_bad(c, "too big request");
    }
    c->bulk_len = len;
    return RESP_PARSE_OK;
}

/* Read the first line of a request. */
static resp_parsed resp_array_line(resp_client *c, const unsigned char *p, size_t n, size_t *used)
{
    int64_t count = 0;
    bool ok = false;
    const resp_parsed got = resp_number_line(c, p, n, &ok, &count, "too big mbulk count string");
    if (got != RESP_PARSE_OK) { return got; }
    if (!ok || count > (int64_t)RESP_ARGS_MAX) { return resp_bad(c, "invalid multibulk length"); }
    if (count > RESP_NO_AUTH_ARGS && !(c->flags & RESP_C_AUTH)) {
        return resp_bad(c, "unauthenticated multibulk length");
    }
    if (count <= 0) {
        *used = c->scan;
        c->scan = 0;
        return RESP_PARSE_EMPTY;
    }
    c->args_all = c->args_left = (uint32_t)count;
    c->bulk_len = -1;
    return RESP_PARSE_OK;
}

/* Return whether argument `i` is a value that a plain set will store. The request begins at `p`;
 * its name is complete. */
static bool resp_is_value(const resp_client *c, const unsigned char *p, uint32_t i)
{
    static const struct { const char *name; uint32_t value; } rows[] = {
        { "set", 2 }, { "setnx", 2 }, { "setex", 3 }, { "psetex", 3 },
    };
    if (i < 2 || (c->flags & RESP_C_MULTI) || c->of->opts.writable == 0) { return false; }
    const unsigned char *line = (const unsigned char *)memchr(p, '\n', c->scan) + 1;
    const unsigned char *name = (const unsigned char *)memchr(line, '\n', c->scan) + 1;
    const unsigned char *end = memchr(name, '\r', c->scan);
    const cellar_bytes word = { name, (size_t)(end - name) };
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        if (i == rows[k].value && resp_is(&word, rows[k].name)) { return true; }
    }
    return false;
}

/* Give the argument at `scan` a place in the store if it is a long value. BAD: no room. */
static resp_parsed resp_value_place(resp_client *c, const unsigned char *p, size_t n)
{
    const size_t have = n - c->scan;
    if (c->bulk_len < RESP_PLACE_MIN || have >= (size_t)c->bulk_len || c->place_at != 0 ||
        !(c->flags & RESP_C_AUTH) || !resp_is_value(c, p, c->args_all - c->args_left)) {
        return RESP_PARSE_MORE;
    }
    const cellar_err err = resp_place_take(c, (size_t)c->bulk_len);
    if (err == CELLAR_E_TOOBIG) { return RESP_PARSE_MORE; } /* the set says so */
    if (err != CELLAR_OK) { return resp_no_room(c); }
    c->place_at = c->scan;
    c->place_len = c->place_moved = have;
    memcpy((unsigned char *)(uintptr_t)c->place.value, p + c->scan, have);
    return RESP_PARSE_MORE;
}

/* Pass arguments from `scan` on; note them in `argv` if `note`. */
static resp_parsed resp_array_args(resp_client *c, const unsigned char *p, size_t n, bool note)
{
    cellar_resp *r = c->of;
    while (c->args_left > 0) {
        if (c->bulk_len < 0) {
            const resp_parsed got = resp_bulk_line(c, p, n);
            if (got != RESP_PARSE_OK) { return got; }
        }
        const bool placed = c->place_at != 0 && c->place_at == c->scan;
        const size_t len = placed ? 0 : (size_t)c->bulk_len;
        if (n - c->scan < len + 2) { return resp_value_place(c, p, n); }
        if (p[c->scan + len] != '\r' || p[c->scan + len + 1] != '\n') {
            return resp_bad(c, "expected CR LF");
        }
        if (note) {
            const uint32_t i = c->args_all - c->args_left;
            if (!resp_argv_room(r, i + 1)) { return resp_no_room(c); }
            r->argv[i] = placed ? (cellar_bytes){ c->place.value, c->place.value_len }
                                : (cellar_bytes){ p + c->scan, len };
        }
        c->scan += len + 2;
        c->bulk_len = -1;
        c->args_left--;
    }
    return RESP_PARSE_OK;
}

static resp_parsed resp_array_parse(resp_client *c, const unsigned char *p, size_t n,
                                    uint32_t *argc, size_t *used)
{
    bool whole = false; /* this pass began at the start: it fills argv */
    resp_parsed got = RESP_PARSE_OK;
    do {
        whole = c->scan == 0;
        if (whole) { got = resp_array_line(c, p, n, used); }
        if (got == RESP_PARSE_OK) { got = resp_array_args(c, p, n, whole); }
        if (got != RESP_PARSE_OK) { return got; }
        *used = c->scan;
        *argc = c->args_all;
        c->scan = 0;
    } while (!whole);
    return RESP_PARSE_OK;
}

/* ---- lines ---- */

static bool resp_space(unsigned char b) { return b == ' ' || b == '\t' || b == '\r'; }

/* Return whether a byte is in no line that a client of Redis sends. */
static bool resp_strange(unsigned char b)
{
    return b < ' ' ? b != '\t' && b != '\r' : b == 0x7f;
}

/* Read one byte inside double quotes at p[*i], which is before `n`. */
static unsigned char resp_escaped(const unsigned char *p, size_t n, size_t *i)
{
    static const char from[] = "nrtba", to[] = "\n\r\t\b\a";
    const size_t at = *i;
    if (p[at] != '\\' || at + 1 >= n) {
        *i = at + 1;
        return p[at];
    }
    if (p[at + 1] == 'x' && at + 3 < n && base_hex_byte(p + at + 2) >= 0) {
        *i = at + 4;
        return (unsigned char)base_hex_byte(p + at + 2);
    }
    const char *letter = p[at + 1] != '\0' ? strchr(from, p[at + 1]) : NULL;
    *i = at + 2;
    return letter != NULL ? (unsigned char)to[letter - from] : p[at + 1];
}

/* Unquote one argument in place from p[*i] on; *len bytes from *i as it was. False: the quotes are
 * unbalanced. */
static bool resp_word(unsigned char *p, size_t n, size_t *i, size_t *len)
{
    const size_t start = *i;
    size_t at = start, to = start;
    unsigned char quote = 0;
    for (;;) {
        if (at >= n) {
            if (quote != 0) { return false; }
            break;
        }
        if (quote == 0 && resp_space(p[at])) { break; }
        if (quote == 0 && (p[at] == '"' || p[at] == '\'')) {
            quote = p[at++];
        } else if (quote != 0 && p[at] == quote) {
            at++; /* a blank or the end follows a closing quote */
            if (at < n && !resp_space(p[at])) { return false; }
            break;
        } else if (quote == '\'' && p[at] == '\\' && at + 1 < n && p[at + 1] == '\'') {
            p[to++] = '\'';
            at += 2;
        } else if (quote == '"') {
            p[to++] = resp_escaped(p, n, &at);
        } else {
            p[to++] = p[at++];
        }
    }
    *len = to - start;
    *i = at;
    return true;
}

static bool resp_begins(const unsigned char *p, size_t n, const char *word)
{
    const cellar_bytes start = { p, strlen(word) };
    return n >= start.len && resp_is(&start, word);
}

/* Return whether the line ends as a request line of HTTP, RTSP and SIP: " HTTP/1.1". */
static bool resp_ends_as_http(const unsigned char *p, size_t n)
{
    size_t i = n - BASE_MIN(n, (size_t)4); /* of "/1.1" */
    const size_t slash = i;
    if (n < 6 || p[i] != '/' || p[i + 2] != '.') { return false; }
    while (i > 0 && p[i - 1] >= 'A' && p[i - 1] <= 'Z') { i--; }
    return i > 0 && i < slash && p[i - 1] == ' ';
}

/* Return whether the line comes from a program that speaks HTTP: a web page, a forged request. */
static bool resp_is_http(const resp_client *c, const unsigned char *p, size_t n)
{
    return resp_begins(p, n, "host:") ||
           ((c->flags & RESP_C_FIRST) != 0 &&
            (resp_begins(p, n, "get /") || resp_begins(p, n, "get http") ||
             resp_ends_as_http(p, n)));
}

static resp_parsed resp_inline_parse(resp_client *c, unsigned char *p, size_t n, uint32_t *argc,
                                     size_t *used)
{
    size_t len = c->scan, i = 0;
    while (len < n && p[len] != '\n') {
        if (resp_strange(p[len])) { return resp_foreign_line(c, "control byte in inline request"); }
        len++;
    }
    if (len == n) {
        c->scan = n;
        return n > RESP_INLINE_MAX ? resp_bad(c, "too big inline request") : RESP_PARSE_MORE;
    }
    c->scan = 0;
    *used = len + 1;
    *argc = 0;
    if (len > 0 && p[len - 1] == '\r') { len--; }
    if (resp_is_http(c, p, len)) { return resp_foreign_line(c, "HTTP request"); }
    for (;;) {
        while (i < len && resp_space(p[i])) { i++; }
        if (i >= len) { return *argc == 0 ? RESP_PARSE_EMPTY : RESP_PARSE_OK; }
        if (!resp_argv_room(c->of, *argc + 1)) { return resp_no_room(c); }
        cellar_bytes *arg = &c->of->argv[*argc];
        arg->data = p + i;
        if (!resp_word(p, len, &i, &arg->len)) {
            return resp_bad(c, "unbalanced quotes in request");
        }
        (*argc)++;
    }
}

CELLAR_PRIVATE resp_parsed resp_parse(resp_client *c, unsigned char *p, size_t n, uint32_t *argc,
                                      size_t *used)
{
    BASE_ASSERT(c->scan <= n);
    if (n == 0) { return RESP_PARSE_MORE; }
    if (p[0] != '*') { return resp_inline_parse(c, p, n, argc, used); }
    c->flags &= ~RESP_C_FIRST;
    return resp_array_parse(c, p, n, argc, used);
}
