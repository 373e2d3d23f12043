/* SPDX-License-Identifier: MIT
 *
 * redact: texts for logs, without their secrets.
 *
 * PICTURE    listed name, ":" or "=" -> its value is masked; "sk-..", "Bearer .." -> masked;
 *            "//user:password@" of a URL -> masked
 * FORMAT     A mask is the first three bytes of the secret and "***"; of a secret below eight
 *            bytes "***" alone. */
#include "cellar_kit.h"

#include "base/port.h"

#include <string.h>

BASE_SIZE_BEGIN

typedef struct kit_text {
    const char *in;
    size_t len;
    char *out;
    size_t cap, used; /* used counts what does not fit, too */
} kit_text;

static void kit_text_put(kit_text *t, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++, t->used++) {
        if (t->used < t->cap) { t->out[t->used] = p[i]; }
    }
}

static void kit_text_mask(kit_text *t, size_t from, size_t to)
{
    if (to - from >= 8) { kit_text_put(t, t->in + from, 3); }
    kit_text_put(t, "***", 3);
}

static char kit_lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c; }

/* Return whether a name goes on over this byte: "token" is no name in "tokens". */
static bool kit_name_byte(char c)
{
    return (kit_lower(c) >= 'a' && kit_lower(c) <= 'z') || (c >= '0' && c <= '9');
}

static bool kit_text_has(const kit_text *t, size_t at, const char *word)
{
    const size_t n = strlen(word);
    if (t->len - at < n) { return false; }
    for (size_t i = 0; i < n; i++) {
        if (kit_lower(t->in[at + i]) != word[i]) { return false; }
    }
    return true;
}

static bool kit_space(char c) { return c == ' ' || c == '\t'; }

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
    while (at < t->len && kit_space(t->in[at])) { at++; }
    if (at >= t->len || (t->in[at] != ':' && t->in[at] != '=')) { return 0; }
    at++;
    while (at < t->len && kit_space(t->in[at])) { at++; }
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

/* Copy a name and mask its value. Return the end, or `at` if no secret's name stands here. */
static size_t kit_redact_named(kit_text *t, size_t at)
{
    bool line = false;
    const size_t n = kit_secret_name(t, at, &line);
    size_t from = n != 0 ? kit_value_start(t, at + n) : 0;
    if (from == 0) { return at; }
    char quote = '\0';
    if (from < t->len && (t->in[from] == '"' || t->in[from] == '\'')) { quote = t->in[from++]; }
    size_t to = kit_secret_end(t, from, quote);
    if (line && quote == '\0') {
        for (to = from; to < t->len && t->in[to] != '\r' && t->in[to] != '\n';) { to++; }
    }
    kit_text_put(t, t->in + at, from - at);
    if (to > from) { kit_text_mask(t, from, to); }
    return to;
}

/* Mask what is a secret by its form. Return the end, or `at`. */
static size_t kit_redact_formed(kit_text *t, size_t at)
{
    const bool starts = at == 0 || !kit_name_byte(t->in[at - 1]);
    size_t from = at;
    if (starts && kit_text_has(t, at, "bearer ")) {
        from = at + 7;
        kit_text_put(t, t->in + at, 7);
        while (from < t->len && kit_space(t->in[from])) { kit_text_put(t, &t->in[from++], 1); }
    } else if (kit_text_has(t, at, "//")) {
        size_t end = at + 2; /* user and password, if '@' stands before the path */
        while (end < t->len && (unsigned char)t->in[end] > ' ' &&
               strchr("/?#\"'<>", t->in[end]) == NULL) {
            end++;
        }
        while (end > at + 2 && t->in[end - 1] != '@') { end--; }
        if (end == at + 2) { return at; }
        kit_text_put(t, "//***", 5);
        return end - 1;
    } else if (!(starts && kit_text_has(t, at, "sk-"))) {
        return at;
    }
    const size_t to = kit_secret_end(t, from, '\0');
    if (to > from) { kit_text_mask(t, from, to); }
    return to;
}

CELLAR_API size_t cellar_redact(const char *text, size_t len, char *out, size_t out_cap)
{
    if ((text == NULL && len != 0) || (out == NULL && out_cap != 0)) { return 0; }
    kit_text t = { text, len, out, out_cap != 0 ? out_cap - 1 : 0, 0 };
    for (size_t at = 0; at < len;) {
        size_t next = kit_redact_named(&t, at);
        if (next == at) { next = kit_redact_formed(&t, at); }
        if (next == at) { kit_text_put(&t, &text[next++], 1); }
        at = next;
    }
    if (out_cap != 0) { out[t.used < t.cap ? t.used : t.cap] = '\0'; }
    return t.used;
}

BASE_SIZE_END
