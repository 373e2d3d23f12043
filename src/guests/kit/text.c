/* SPDX-License-Identifier: MIT
 *
 * text: notes, files, lines, quotes and numbers of the texts that people write. */
#include "kit/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/text.h"

#define KIT_NOTE_BYTES 512u
#define KIT_SOURCE_BYTES 200 /* of the file name in a note */

BASE_SIZE_BEGIN

/* ---- notes ---- */

/* Replace control characters. */
static void kit_printable(char *p)
{
    for (; *p != '\0'; p++) {
        if ((unsigned char)*p < ' ' || *p == 0x7f) { *p = '?'; }
    }
}

CELLAR_PRIVATE void kit_note(kit_notes *n, cellar_log_level level, size_t at, const char *name,
                             const char *format, ...)
{
    uint32_t *count = level == CELLAR_LOG_ERROR ? &n->errors
                      : level == CELLAR_LOG_WARNING ? &n->warnings : &n->infos;
    if (++*count > KIT_NOTES_MAX) { return; }
    char message[KIT_NOTE_BYTES / 2], text[KIT_NOTE_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args);
    va_end(args);
    const char *kind = level == CELLAR_LOG_ERROR ? "error"
                       : level == CELLAR_LOG_WARNING ? "warning" : "note";
    const uint32_t column = (uint32_t)at + 1;
    base_text t = { text, sizeof text, 0 };
    if (n->source == NULL) {
        base_text_add(&t, "%s:%u: %s: %s", name, column, kind, message);
    } else if (n->line == 0) {
        base_text_add(&t, "%.*s: %s: %s", KIT_SOURCE_BYTES, n->source, kind, message);
    } else {
        base_text_add(&t, "%.*s:%u:%u: %s: %s%s%s", KIT_SOURCE_BYTES, n->source, n->line,
                      column, kind, name, name[0] != '\0' ? ": " : "", message);
    }
    kit_printable(text);
    if (level == CELLAR_LOG_ERROR && n->errors == 1 && n->source != NULL) {
        t = (base_text){ n->first, sizeof n->first, 0 }; /* the path may be cut, not the reason */
        base_text_add(&t, n->line == 0 ? "%s: %s" : "%s: %s:%u:%u", message, n->source, n->line,
                      column);
        kit_printable(n->first);
    }
    const cellar_settings_note note = { level, n->line, column, name, text };
    if (n->fn != NULL) { n->fn(&note, n->ctx); }
}

/* ---- files and lines ---- */

CELLAR_PRIVATE cellar_err kit_file_read(kit_notes *n, const char *path, size_t most, char **text,
                                        size_t *len)
{
    *text = base_alloc_raw(NULL, most + 1);
    if (*text == NULL) { return CELLAR_E_NOMEM; }
    const int failed = base_fd_read_file(AT_FDCWD, path, *text, most + 1, len);
    if (failed == 0) { return CELLAR_OK; }
    kit_note(n, CELLAR_LOG_ERROR, 0, "", "cannot be read: %s",
             failed == ENOENT ? "no such file" : failed == EISDIR ? "a directory"
             : base_errno_text(failed));
    base_free_raw(NULL, *text, most + 1);
    *text = NULL;
    return CELLAR_E_IO;
}

/* Return the place of the first control byte but the tab; len: none. */
static size_t kit_control(const char *line, size_t len)
{
    size_t i = 0;
    while (i < len && (line[i] == '\t' || ((unsigned char)line[i] >= ' ' && line[i] != 0x7f))) {
        i++;
    }
    return i;
}

CELLAR_PRIVATE void kit_lines(kit_notes *n, const char *text, size_t len,
                              void (*fn)(void *ctx, const char *line, size_t len), void *ctx)
{
    size_t at = len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    while (at < len) {
        const char *line = text + at, *end = memchr(line, '\n', len - at);
        const size_t bytes = end != NULL ? (size_t)(end - line) : len - at;
        const size_t used = bytes > 0 && line[bytes - 1] == '\r' ? bytes - 1 : bytes;
        const size_t control = kit_control(line, used);
        n->line++;
        if (control < used) {
            kit_note(n, CELLAR_LOG_ERROR, control, "", "a control byte");
        } else {
            fn(ctx, line, used);
        }
        at += bytes + 1;
    }
}

/* ---- values ---- */

CELLAR_PRIVATE bool kit_word_is(const char *p, size_t len, const char *word)
{
    return strlen(word) == len && memcmp(p, word, len) == 0;
}

/* Decode the escape at the cursor, which is a backslash. Return its byte; -1: there is no such
 * escape. */
static int kit_quoted_escape(kit_value *v, bool hex)
{
    const char *p = v->p + v->at;
    const size_t left = v->len - v->at;
    if (left >= 2 && (p[1] == '"' || p[1] == '\\' || (hex && p[1] == 'n'))) {
        v->at += 2;
        return p[1] == 'n' ? '\n' : (unsigned char)p[1];
    }
    if (!hex || left < 4 || p[1] != 'x' || base_hex_byte(p + 2) < 0) { return -1; }
    v->at += 4;
    return base_hex_byte(p + 2);
}

CELLAR_PRIVATE const char *kit_quoted(kit_value *v, bool hex, char *out, size_t cap,
                                      size_t *out_len)
{
    const size_t from = v->at;
    const char quote = v->p[v->at++];
    size_t n = 0;
    while (v->at < v->len && v->p[v->at] != quote) {
        const size_t at = v->at;
        int c = (unsigned char)v->p[at];
        if (quote == '"' && c == '\\') { c = kit_quoted_escape(v, hex); } else { v->at++; }
        if (c > 0 && n < cap) {
            out[n++] = (char)c;
            continue;
        }
        v->at = at;
        return c == 0 ? "a text has no NUL byte"
               : c > 0 ? "the value is longer than 1,023 bytes"
               : hex ? "unknown escape: write \\\" \\\\ \\n or \\xHH"
                     : "only \\\" and \\\\ are escapes";
    }
    if (v->at == v->len) {
        v->at = from;
        return "the quote has no end";
    }
    v->at++;
    *out_len = n;
    return NULL;
}

CELLAR_PRIVATE const char *kit_digits(kit_value *v, uint64_t *n)
{
    if (v->at == v->len || !kit_digit(v->p[v->at])) { return "needs a number"; }
    for (*n = 0; v->at < v->len && kit_digit(v->p[v->at]); v->at++) {
        const uint64_t digit = (uint64_t)(v->p[v->at] - '0');
        *n = *n > (UINT64_MAX - digit) / 10 ? UINT64_MAX : *n * 10 + digit;
    }
    return NULL;
}

CELLAR_PRIVATE uint64_t kit_times(uint64_t a, uint64_t b)
{
    return a != 0 && b > UINT64_MAX / a ? UINT64_MAX : a * b;
}

CELLAR_PRIVATE const char *kit_time(kit_value *v, uint64_t *n)
{
    static const struct { const char *name; uint64_t ms; } units[] = {
        { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 },
        { "w", 604800000 }
    };
    enum { KIT_UNITS = sizeof units / sizeof units[0] };
    for (*n = 0; v->at < v->len;) {
        uint64_t part;
        const char *why = kit_digits(v, &part);
        if (why != NULL) { return why; }
        const size_t from = v->at;
        while (v->at < v->len && kit_letter(v->p[v->at])) { v->at++; }
        const size_t len = v->at - from;
        size_t u = 0;
        while (u < KIT_UNITS && !kit_word_is(v->p + from, len, units[u].name)) { u++; }
        if (u == KIT_UNITS) {
            const bool bare = len == 0 && v->at == v->len;
            if (!bare || !v->seconds) {
                v->at = from;
                return "a time needs a unit: ms s m h d w";
            }
            u = 1;
        }
        const uint64_t ms = kit_times(part, units[u].ms);
        *n = ms > UINT64_MAX - *n ? UINT64_MAX : *n + ms;
    }
    return NULL;
}

CELLAR_PRIVATE const char *kit_jitter(kit_value *v, uint32_t *pct, cellar_jitter *mode)
{
    uint64_t n;
    const bool plus = v->len > 0 && v->p[0] == '+';
    const bool both = plus && v->len > 1 && v->p[1] == '-';
    v->at = (size_t)plus + both;
    const char *why = kit_digits(v, &n);
    if (why != NULL) { return why; }
    if (v->at + 1 != v->len || v->p[v->at] != '%') { return "a jitter is a number with %"; }
    if (n > 100) { return ""; }
    *pct = n == 0 ? CELLAR_OFF : (uint32_t)n;
    *mode = both ? CELLAR_JITTER_PLUSMINUS : plus ? CELLAR_JITTER_PLUS : CELLAR_JITTER_MINUS;
    return NULL;
}

BASE_SIZE_END
