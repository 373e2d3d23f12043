/* SPDX-License-Identifier: MIT
 *
 * redact: texts for logs, without their secrets.
 *
 * PICTURE    listed name, ":" or "=" -> its value is masked; "sk-..", "Bearer .." -> masked;
 *            "//user:password@" of a URL -> masked
 * FORMAT     A mask is the first three bytes of the secret and "***"; of a secret below eight
 *            bytes, and of a URL, "***" alone.
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

/* Return the end of a secret: a quoted text with its escapes, or a word. A word is rather too long
 * than too short. */
static size_t kit_secret_end(const kit_text *t, size_t at, char quote)
{
    for (; at < t->len; at++) {
        const char c = t->in[at];
        if (quote != '\0') {
            if (c == quote) { break; }
            if (c == '\\' && at + 1 < t->len) { at++; }
        } else if ((unsigned char)c <= ' ' || c == '&' || c == '"' || c == '\'') {
            break;
        }
    }
    return at;
}

/* Return the start of the value of a name that ends at `at`, or 0 if no ':' or '=' follows. */
static size_t kit_value_start(const kit_text *t, size_t at)
{
    if (at < t->len && (t->in[at] == '"' || t->in[at] == '\'')) { at++; }
    while (at < t->len && kit_is_blank(t->in[at])) { at++; }
    if (at >= t->len || (t->in[at] != ':' && t->in[at] != '=')) { return 0; }
    at++;
    while (at < t->len && kit_is_blank(t->in[at])) { at++; }
    return at;
}

/* Return the length of the secret's name at `at`; 0: none. *line: its value ends with the line. */
static size_t kit_secret_name(const kit_text *t, size_t at, bool *line)
{
    static const char *const names[] = {
        "authorization", "proxy-authorization", "cookie", "set-cookie", /* whole lines */
        "x-api-key", "api-key", "api_key", "apikey", "access_token", "token", "secret", "password"
    };
    if (at > 0 && kit_name_byte(t->in[at - 1])) { return 0; }
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
    const size_t n = kit_secret_name(t, at, &line);
    size_t from = n != 0 ? kit_value_start(t, at + n) : 0;
    if (from == 0) { return false; }
    char quote = '\0';
    if (from < t->len && (t->in[from] == '"' || t->in[from] == '\'')) { quote = t->in[from++]; }
    if (quote != '\0' && from < past) { return false; } /* inside of another quoted text */
    past = BASE_MAX(from, past);
    out->from = from;
    out->to = line && quote == '\0' ? kit_line_end(t, past) : kit_secret_end(t, past, quote);
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
    if (at > 0 && kit_name_byte(t->in[at - 1])) { return false; }
    size_t from = at;
    if (kit_text_has(t, at, "bearer ")) {
        from = at + 7;
        while (from < t->len && kit_is_blank(t->in[from])) { from++; }
    } else if (!kit_text_has(t, at, "sk-")) {
        return false;
    }
    *out = (kit_secret){ from, kit_secret_end(t, BASE_MAX(from, past), '\0'), false };
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
