/* SPDX-License-Identifier: MIT
 *
 * redact: texts for logs, without their secrets.
 *
 * PICTURE    listed name, ":" or "=" -> its value is masked; "sk-..", "Bearer .." -> masked;
 *            "//user:password@" of a URL -> masked
 * FORMAT     A mask is the first three bytes of the secret and "***"; of a secret below eight
 *            bytes, and of a URL, "***" alone.
 * JSON       A string of JSON may hold JSON: each string around a quote doubles its backslashes and
 *            adds one. A value ends with its quote, or with the quote of a string around the value.
 * INVARIANTS A secret that begins inside another one and ends behind it is masked with it. Linear:
 *            the end of an inner one is looked for behind the end found so far. */
#include "cellar_kit.h"

#include "base/num.h"
#include "base/text.h"
#include "kit/ascii.h"

#include <string.h>

BASE_SIZE_BEGIN

typedef struct kit_text {
    const char *in;
    size_t len;
    base_text out;
} kit_text;

static void kit_text_mask(kit_text *t, size_t from, size_t to, bool bare)
{
    if (to - from >= 8 && !bare) { base_text_put(&t->out, t->in + from, 3); }
    base_text_put(&t->out, "***", 3);
}

/* Return whether a name goes on over this byte: "token" is no name in "tokens". */
static bool kit_name_byte(char c) { return kit_letter(c) || kit_digit(c); }

static bool kit_text_has(const kit_text *t, size_t at, const char *word)
{
    const size_t n = strlen(word);
    if (t->len - at < n) { return false; }
    for (size_t i = 0; i < n; i++) {
        if (kit_lower(t->in[at + i]) != word[i]) { return false; }
    }
    return true;
}

/* A quote that opens a text. */
typedef struct kit_quote {
    char c;         /* 0: no quote */
    size_t escapes; /* backslashes of the quote: 0, in a string of JSON 1, in two 3, in three 7 */
} kit_quote;

/* Return how many of the backslashes in front of a quote are its own: 2^n - 1, where the binary
 * number ends with n ones. The others stand for backslashes of the text. */
static size_t kit_escapes(size_t count) { return (count ^ (count + 1)) >> 1; }

/* Find a quote at `at`, and return the place behind the quote; without a quote return `at`.
 * A quote written as \u0022 opens a text that ends with the outermost string. */
static size_t kit_quote_open(const kit_text *t, size_t at, kit_quote *q)
{
    size_t i = at;
    while (i < t->len && t->in[i] == '\\') { i++; }
    const bool is_hex = i > at && kit_text_has(t, i, "u0022");
    const bool is_quote = is_hex || (i < t->len && (t->in[i] == '"' || t->in[i] == '\''));
    *q = (kit_quote){ !is_quote ? '\0' : is_hex ? '"' : t->in[i],
                      is_hex ? 0 : kit_escapes(i - at) };
    return !is_quote ? at : i + (is_hex ? 5 : 1);
}

/* Return the end of a secret: a quoted text with its escapes, or a word. A word is rather too long
 * than too short. A quoted text ends with any string around it. */
static size_t kit_secret_end(const kit_text *t, size_t at, kit_quote q)
{
    for (size_t run = 0; at < t->len; at++) { /* backslashes in front of `at` */
        const char c = t->in[at];
        const bool is_quote = c == '"' || c == '\'';
        if (q.c == '\0' && ((unsigned char)c <= ' ' || c == '&' || is_quote)) { break; }
        if (q.c == c && kit_escapes(run) <= q.escapes) { return at - kit_escapes(run); }
        run = c == '\\' ? run + 1 : 0;
    }
    return at;
}

/* Return the start of the value of a name that ends at `at`, or 0 if no ':' or '=' follows. */
static size_t kit_value_start(const kit_text *t, size_t at, kit_quote *q)
{
    at = kit_quote_open(t, at, q);
    while (at < t->len && kit_is_blank(t->in[at])) { at++; }
    if (at >= t->len || (t->in[at] != ':' && t->in[at] != '=')) { return 0; }
    at++;
    while (at < t->len && kit_is_blank(t->in[at])) { at++; }
    return kit_quote_open(t, at, q);
}

/* Return whether no name goes on at `at`. In a string of JSON the letter of an escape, as \n, is
 * part of no name. */
static bool kit_word_begins(const kit_text *t, size_t at)
{
    return at == 0 || !kit_name_byte(t->in[at - 1]) || (at > 1 && t->in[at - 2] == '\\') ||
        (at > 5 && t->in[at - 6] == '\\' && t->in[at - 5] == 'u');
}

/* Return the length of the secret's name at `at`; 0: none. *line: its value ends with the line. */
static size_t kit_secret_name(const kit_text *t, size_t at, bool *line)
{
    static const char *const names[] = {
        "authorization", "proxy-authorization", "cookie", "set-cookie", /* whole lines */
        "x-api-key", "api-key", "api_key", "apikey", "access_token", "token", "secret", "password"
    };
    if (!kit_word_begins(t, at)) { return 0; }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const size_t n = strlen(names[i]);
        if (kit_text_has(t, at, names[i]) && (at + n == t->len || !kit_name_byte(t->in[at + n]))) {
            *line = i < 4;
            return n;
        }
    }
    return 0;
}

typedef struct kit_secret { /* its bytes are in[from..to) */
    size_t from, to;
    bool bare; /* show no byte of it */
} kit_secret;

static size_t kit_line_end(const kit_text *t, size_t at)
{
    while (at < t->len && t->in[at] != '\r' && t->in[at] != '\n') { at++; }
    return at;
}

/* Find the value of a secret's name at `at`. Look for its end from `past` on. */
static bool kit_secret_named(const kit_text *t, size_t at, size_t past, kit_secret *out)
{
    bool line = false;
    kit_quote q;
    const size_t n = kit_secret_name(t, at, &line);
    const size_t from = n != 0 ? kit_value_start(t, at + n, &q) : 0;
    if (from == 0) { return false; }
    if (q.c != '\0' && from < past && t->in[from - 1] == q.c) {
        return false; /* inside of another quoted text; a word may hold \u0022 */
    }
    past = BASE_MAX(from, past);
    out->from = from;
    out->to = line && q.c == '\0' ? kit_line_end(t, past) : kit_secret_end(t, past, q);
    out->bare = false;
    return true;
}

/* Find user and password of a URL behind "//" at `at`: '@' stands before the path. */
static bool kit_secret_url(const kit_text *t, size_t at, kit_secret *out)
{
    size_t end = at + 2;
    while (end < t->len && (unsigned char)t->in[end] > ' ' &&
           strchr("/?#\"'<>", t->in[end]) == NULL) {
        end++;
    }
    while (end > at + 2 && t->in[end - 1] != '@') { end--; }
    *out = (kit_secret){ at + 2, end - 1, true };
    return end > at + 2;
}

/* Find the secret that begins at `at`: by its name or by its form. */
static bool kit_secret_at(const kit_text *t, size_t at, size_t past, kit_secret *out)
{
    if (kit_secret_named(t, at, past, out)) { return true; }
    if (kit_text_has(t, at, "//")) { return kit_secret_url(t, at, out); }
    if (!kit_word_begins(t, at)) { return false; }
    size_t from = at;
    if (kit_text_has(t, at, "bearer ")) {
        from = at + 7;
        while (from < t->len && kit_is_blank(t->in[from])) { from++; }
    } else if (!kit_text_has(t, at, "sk-")) {
        return false;
    }
    *out = (kit_secret){ from, kit_secret_end(t, BASE_MAX(from, past), (kit_quote){ 0 }), false };
    return true;
}

/* Return the end of a secret, and of those that begin inside it: in "token: Bearer x" x is part of
 * no value of token. */
static size_t kit_secret_reach(const kit_text *t, const kit_secret *s)
{
    size_t to = s->to;
    kit_secret inner;
    for (size_t at = s->from; at < to; at++) {
        if (kit_secret_at(t, at, to, &inner)) { to = BASE_MAX(to, inner.to); }
    }
    return to;
}

CELLAR_API size_t cellar_redact(const char *text, size_t len, char *out, size_t out_cap)
{
    if ((text == NULL && len != 0) || (out == NULL && out_cap != 0)) { return 0; }
    kit_text t = { text, len, { out, out_cap, 0 } };
    base_text_put(&t.out, "", 0);
    for (size_t at = 0; at < len;) {
        kit_secret s;
        if (!kit_secret_at(&t, at, 0, &s)) {
            base_text_put(&t.out, &text[at++], 1);
            continue;
        }
        const size_t to = kit_secret_reach(&t, &s);
        base_text_put(&t.out, text + at, s.from - at);
        if (to > s.from) { kit_text_mask(&t, s.from, to, s.bare); }
        at = to;
    }
    return t.out.len;
}

BASE_SIZE_END
