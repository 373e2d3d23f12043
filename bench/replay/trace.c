/* SPDX-License-Identifier: MIT
 *
 * trace: read the requests of a trace file in pieces; eight formats, packed or not.
 *
 * PICTURE    file [-> zstd -dc | gzip -dc -> pipe] -> 1 MiB buffer -> all fixed records in it, or
 *            one line at a time
 * FORMAT     ctr      16 B little-endian: u64 id, u32 size, u32 seconds; no header
 *            oracle   24 B packed little-endian (libCacheSim oracleGeneral): u32 seconds, u64 id,
 *                     u32 size, i64 next use (ignored)
 *            vscsi    libCacheSim: 32 B {u32 number, length, segments, u16 command, version, u64
 *                     block, us}, or 40 B {u16 command, version, u32 number, length, segments, u64
 *                     block, us, response}; version: high byte 1 or 2
 *            lis      text, blanks between: start count ignored request; one line is count ids
 *            twitter  time,key,key size,value size,client,operation,ttl
 *            csv      columns of --columns, or of a first line of names: time, key, size, ttl, op,
 *                     op_count; ",", ";", a tab or blanks between; fields may be in quotes; a time
 *                     is a number or 2026-01-31T12:00:00.5+01:00. Several columns may be the key
 *            json     an object a line, with the same names; other members, and null, are ignored;
 *                     a key is the text between its quotes
 *            txt      one key a line
 *            With --block the key of csv and json, or its last column, is an offset: a line is a
 *            request for each block that it touches.
 *            Text keys become ids by a 64-bit hash. Every id is mixed once more: dense numbers
 *            would make any index look better than it is.
 *            Without --format the name decides; then the first line: "{" is json, 7 columns are
 *            twitter, else the file must have one word a line, or it is refused.
 * INVARIANTS Memory does not grow with the file. An error names the first wrong line or record,
 *            counted from 1, and the expected form. A time earlier than the one before is replaced
 *            by that one, and counted.
 * LIMITS     Lines of 64 KiB: no line ends in a quoted field. The installed zstd and gzip unpack. */
#include "bench/replay/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"

#define TRACE_BUFFER ((size_t)1 << 20)
#define TRACE_LINE ((size_t)1 << 16)

extern char **environ;

struct cli_trace {
    const char *path;      /* owned by the caller */
    cli_trace_how how;
    int fd;                /* the file or the pipe that is read */
    int file;              /* the compressed file, for its position; -1: fd is the file */
    pid_t child;           /* decompressor; 0: none */
    const char *tool;      /* name of the decompressor; NULL: none */
    bool words;            /* format guessed: a line is one word */
    bool second;           /* vscsi: of version 2 */
    char by;               /* what separates columns */
    unsigned char *buf;    /* TRACE_BUFFER + 1 */
    size_t at, end;        /* unread bytes of buf */
    bool eof;
    const unsigned char *line; /* in buf: the line being read; NULL: none */
    size_t line_len;
    uint64_t record;       /* number of the record or line being read */
    uint64_t bytes;        /* length of the file, 0 unknown */
    uint64_t backwards;
    int64_t first, last_ms; /* time of the first request, in its unit; last time returned */
    bool begun;
    uint64_t run_id, run_left; /* lis, --block: the rest of a line */
    uint64_t offset, count; /* csv, json: of the line, --block and op_count */
    uint64_t again, blocks; /* csv, json: times that the line is left; requests of each */
    cli_request same;      /* csv, json: the request of the line */
};

static const struct trace_name {
    const char *name;
    cli_trace_format format;
    const char *form; /* for errors: expected FORM */
} trace_names[] = {
    { "auto", CLI_TRACE_AUTO, "one word a line; for other files give --format, or --columns" },
    { "ctr", CLI_TRACE_CTR, "ctr records of 16 bytes: u64 id, u32 size, u32 seconds" },
    { "oracle", CLI_TRACE_ORACLE,
      "oracle records of 24 bytes: u32 seconds, u64 id, u32 size, i64 next use" },
    { "vscsi", CLI_TRACE_VSCSI,
      "vscsi records of libCacheSim: 32 bytes of version 1, or 40 of version 2" },
    { "lis", CLI_TRACE_LIS, "4 numbers a line: start count ignored request" },
    { "twitter", CLI_TRACE_TWITTER,
      "7 columns a line: time,key,key size,value size,client,operation,ttl" },
    { "csv", CLI_TRACE_CSV,
      "the columns of --columns, with numbers as time, size and ttl, get, set or delete as op" },
    { "json", CLI_TRACE_JSON,
      "an object a line, such as {\"key\":\"a\",\"time\":1,\"size\":9,\"op\":\"get\",\"ttl\":60}" },
    { "txt", CLI_TRACE_TXT, "one key a line" },
};
#define TRACE_NAMES (sizeof trace_names / sizeof trace_names[0])

bool cli_trace_format_of(const char *name, cli_trace_format *out)
{
    for (size_t i = 0; i < TRACE_NAMES; i++) {
        if (strcmp(name, trace_names[i].name) != 0) { continue; }
        *out = trace_names[i].format;
        return true;
    }
    return false;
}

const char *cli_trace_form(const cli_trace *t)
{
    size_t i = 0;
    while (!t->words && i < TRACE_NAMES - 1 && trace_names[i].format != t->how.format) { i++; }
    return trace_names[i].form; /* of a guess: the first one */
}

/* Return the column of a word of --columns; CLI_COLUMN_OFFSET: there is none. */
static cli_trace_column trace_column_of(const char *word, size_t n)
{
    static const char *const name[] = { "-", "time", "key", "size", "ttl", "op", "count" };
    unsigned c = 0;
    while (c < CLI_COLUMN_OFFSET && (strlen(name[c]) != n || memcmp(word, name[c], n) != 0)) {
        c++;
    }
    return (cli_trace_column)c;
}

bool cli_trace_columns_of(const char *text, cli_trace_how *how)
{
    bool has[CLI_COLUMN_OFFSET] = { false };
    const size_t bytes = strlen(text) + 1;
    if (bytes > sizeof how->text) { return false; }
    memcpy(how->text, text, bytes);
    text = how->text;
    how->column_count = how->name_count = 0;
    for (;;) {
        const size_t n = strcspn(text, "=,");
        const cli_trace_column c = trace_column_of(text, n);
        if (c == CLI_COLUMN_OFFSET || (has[c] && c != CLI_COLUMN_SKIP && c != CLI_COLUMN_KEY)) {
            return false;
        }
        has[c] = true;
        text += n;
        if (*text != '=') {
            if (how->column_count == CLI_COLUMNS_MAX) { return false; }
            how->column[how->column_count++] = c;
        }
        while (*text == '=' || *text == '+') {
            const size_t part = strcspn(++text, "+,");
            if (part == 0 || c == CLI_COLUMN_SKIP || how->name_count == CLI_COLUMNS_MAX ||
                (text[part] == '+' && c != CLI_COLUMN_KEY)) {
                return false;
            }
            how->name[how->name_count++] = (cli_trace_name){ (size_t)(text - how->text), part, c };
            text += part;
        }
        if (*text++ == '\0') {
            return how->name_count != 0 ? how->column_count == 0 : has[CLI_COLUMN_KEY];
        }
    }
}

/* ---- bytes ---- */

static bool trace_is_fixed(cli_trace_format f)
{
    return f == CLI_TRACE_CTR || f == CLI_TRACE_ORACLE || f == CLI_TRACE_VSCSI;
}

/* Write "FILE: line N: REASON in "LINE"; expected FORM" into `why`. */
static void trace_reason(const cli_trace *t, char *why, const char *reason)
{
    const cli_trace_format f = t->how.format;
    const bool binary = trace_is_fixed(f);
    const int shown = t->line_len < 40 ? (int)t->line_len : 40;
    snprintf(why, CLI_TRACE_WHY, "%.250s: %s %" PRIu64 ": %s%s%.*s%s; expected %s", t->path,
             binary ? "record" : "line", t->record, reason, t->line != NULL ? " in \"" : "", shown,
             t->line != NULL ? (const char *)t->line : "", t->line != NULL ? "\"" : "",
             cli_trace_form(t));
}

/* Wait for the decompressor. Return whether it unpacked the whole file: an end of the pipe alone
 * does not say so. */
static bool trace_child_fine(cli_trace *t)
{
    if (t->child == 0) { return true; }
    int status = 0;
    pid_t got;
    do { got = waitpid(t->child, &status, 0); } while (got < 0 && errno == EINTR);
    t->child = 0;
    return got > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Read until the buffer has `want` unread bytes or the file ends. Return false on an error. */
static bool trace_fill(cli_trace *t, size_t want, char *why)
{
    if (t->end - t->at >= want || t->eof) { return true; }
    memmove(t->buf, t->buf + t->at, t->end - t->at);
    t->end -= t->at;
    t->at = 0;
    while (t->end < want && !t->eof) {
        const ssize_t n = read(t->fd, t->buf + t->end, TRACE_BUFFER - t->end);
        if (n < 0 && errno == EINTR) { continue; }
        if (n < 0) {
            t->record++;
            trace_reason(t, why, cli_errno_text(errno));
            return false;
        }
        t->end += (size_t)n;
        t->eof = n == 0;
    }
    if (t->eof && !trace_child_fine(t)) {
        char reason[96];
        t->record++;
        snprintf(reason, sizeof reason, "%s cannot unpack it: damaged or cut short", t->tool);
        trace_reason(t, why, reason);
        return false;
    }
    return true;
}

/* Read little-endian numbers; a compiler makes one load of each. */
static uint32_t trace_u32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static uint64_t trace_u64(const unsigned char *p)
{
    return (uint64_t)trace_u32(p) | (uint64_t)trace_u32(p + 4) << 32;
}

/* Mix the bits of an id. This is a bijection: different ids stay different. */
static uint64_t trace_mix(uint64_t x)
{
    x ^= x >> 32;
    x *= UINT64_C(0xd6e8feb86659fd93);
    x ^= x >> 32;
    x *= UINT64_C(0xd6e8feb86659fd93);
    return x ^ x >> 32;
}

static uint64_t trace_key(const unsigned char *p, size_t n)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325) ^ n;
    for (size_t i = 0; i < n; i++) { h = (h ^ p[i]) * UINT64_C(0x100000001b3); }
    return trace_mix(h);
}

/* Add a part to an id; 0: none yet. */
static uint64_t trace_join(uint64_t id, uint64_t part)
{
    return id == 0 ? part : trace_mix(id * 3 + part);
}

/* ---- times ---- */

static void trace_time(cli_trace *t, int64_t time, cli_request *r)
{
    const int64_t unit = t->how.per_second;
    if (!t->begun) {
        t->begun = true;
        t->first = time;
    }
    /* Both times come from the file: a signed difference can overflow. */
    const uint64_t since = time >= t->first ? (uint64_t)time - (uint64_t)t->first : 0;
    const uint64_t most = (uint64_t)INT64_MAX / 2; /* a time to live of as much may be added */
    const uint64_t part = unit >= 1000 ? since / (uint64_t)(unit / 1000) : since;
    const uint64_t times = unit >= 1000 ? 1 : 1000;
    int64_t ms = (int64_t)((part < most / times ? part : most / times) * times);
    if (ms < t->last_ms || time < t->first) {
        t->backwards++;
        ms = t->last_ms;
    }
    t->last_ms = r->time_ms = ms;
}

/* ---- lines ---- */

typedef struct trace_field {
    const unsigned char *p;
    size_t n;
} trace_field;

static int trace_bad(const cli_trace *t, char *why, const char *reason)
{
    trace_reason(t, why, reason);
    return -1;
}

/* Check one line of a file without a known format. Return NULL, or why it is no key. */
static const char *trace_no_word(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] == ' ') { return "a blank"; }
        if (p[i] == ',' || p[i] == '\t') { return "several columns"; }
        if (p[i] < 0x20 || p[i] == 0x7f) { return "a control character"; }
    }
    return NULL;
}

/* Read the next line that is not empty, without its end, into *out. Return 1; 0 at the end of the
 * file; -1 on an error. */
static int trace_line(cli_trace *t, trace_field *out, char *why)
{
    t->line = NULL;
    t->line_len = 0;
    for (;;) {
        if (!trace_fill(t, TRACE_LINE, why)) { return -1; }
        if (t->at == t->end) { return 0; }
        t->record++;
        const size_t have = t->end - t->at < TRACE_LINE ? t->end - t->at : TRACE_LINE;
        const unsigned char *p = t->buf + t->at, *nl = memchr(p, '\n', have);
        if (nl == NULL && have == TRACE_LINE) {
            return trace_bad(t, why, "longer than 65,535 bytes");
        }
        size_t n = nl != NULL ? (size_t)(nl - p) : have;
        t->at += nl != NULL ? n + 1 : n;
        if (t->record == 1 && n >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0) { /* a mark of UTF-8 */
            p += 3;
            n -= 3;
        }
        if (memchr(p, '\0', n) != NULL) {
            return trace_bad(t, why, "a zero byte, so this is no text");
        }
        if (n != 0 && p[n - 1] == '\r') { n--; }
        if (n == 0) { continue; }
        *out = (trace_field){ p, n };
        t->line = p;
        t->line_len = n;
        const char *wrong = t->words ? trace_no_word(p, n) : NULL;
        return wrong == NULL ? 1 : trace_bad(t, why, wrong);
    }
}

/* Parse a signed number. With `fraction` digits after a point are read and dropped. */
static bool trace_number(trace_field f, int64_t *out, bool fraction)
{
    size_t i = 0;
    bool minus = false;
    uint64_t v = 0;
    if (f.n != 0 && f.p[0] == '-') { minus = i++ == 0; }
    const size_t from = i;
    for (; i < f.n && f.p[i] >= '0' && f.p[i] <= '9'; i++) {
        if (v > (uint64_t)INT64_MAX / 10 - 1) { return false; }
        v = v * 10 + (uint64_t)(f.p[i] - '0');
    }
    if (i == from) { return false; }
    if (fraction && i < f.n && f.p[i] == '.') {
        for (i++; i < f.n && f.p[i] >= '0' && f.p[i] <= '9'; i++) { }
    }
    *out = minus ? -(int64_t)v : (int64_t)v;
    return i == f.n;
}

/* Return the length of a field in quotes, with them; 0: not closed. Two quotes in it are text. */
static size_t trace_quoted(trace_field f)
{
    for (size_t n = 1; n < f.n; n++) {
        if (f.p[n] != '"') { continue; }
        if (n + 1 == f.n || f.p[n + 1] != '"') { return n + 1; }
        n++;
    }
    return 0;
}

/* Split a line into at most `most` fields, without blanks and quotes around them. Return their
 * number; most + 1: more; 0: a quote is not closed. */
static unsigned trace_split(trace_field line, char by, trace_field *out, unsigned most)
{
    for (unsigned n = 0; n < most;) {
        while (line.n != 0 && line.p[0] == ' ') { line = (trace_field){ line.p + 1, line.n - 1 }; }
        const bool quotes = line.n != 0 && line.p[0] == '"';
        const size_t quoted = quotes ? trace_quoted(line) : 0;
        if (quotes && quoted == 0) { return 0; }
        const unsigned char *cut = memchr(line.p + quoted, by, line.n - quoted);
        const size_t len = cut != NULL ? (size_t)(cut - line.p) : line.n;
        trace_field f = { line.p, len };
        while (f.n != 0 && f.p[f.n - 1] == ' ') { f.n--; }
        out[n++] = quotes ? (trace_field){ line.p + 1, quoted - 2 } : f;
        if (cut == NULL) { return n; }
        line = (trace_field){ cut + 1, line.n - len - 1 };
    }
    return most + 1;
}

static bool trace_is(trace_field f, const char *word)
{
    return strlen(word) == f.n && memcmp(f.p, word, f.n) == 0;
}

static int trace_count(const cli_trace *t, trace_field f, const char *what, uint64_t *out,
                       char *why)
{
    int64_t n;
    char reason[40];
    const bool number = trace_number(f, &n, false);
    if (number && n >= 0) {
        *out = (uint64_t)n;
        return 1;
    }
    snprintf(reason, sizeof reason, number ? "a negative %s" : "the %s is not a number", what);
    return trace_bad(t, why, reason);
}

/* ---- records; each returns 1 for a request, 0 at the end, -1 on an error, 2 to skip ---- */

/* Read all records in the buffer, up to `most`. (One at a time costs as much as its request.)
 * Return their number; 0 at the end, or on an error (*wrong). */
static size_t trace_fixed(cli_trace *t, cli_request *out, size_t most, bool *wrong, char *why)
{
    const bool ctr = t->how.format == CLI_TRACE_CTR, vscsi = t->how.format == CLI_TRACE_VSCSI;
    *wrong = !trace_fill(t, 40, why);
    if (*wrong) { return 0; }
    if (vscsi && t->record == 0 && t->end - t->at >= 40) {
        const unsigned char *p = t->buf + t->at; /* a number of version 1 may look like version 2 */
        t->second = p[3] == 2 && (t->end - t->at < 80 || p[43] == 2);
    }
    const size_t each = ctr ? 16 : vscsi ? (t->second ? 40 : 32) : 24;
    const size_t have = (t->end - t->at) / each, n = have < most ? have : most;
    if (n == 0 && t->at != t->end) {
        t->record++;
        char reason[64];
        snprintf(reason, sizeof reason, "cut short: the length is no multiple of %zu", each);
        trace_reason(t, why, reason);
        *wrong = true;
    }
    const unsigned char *p = t->buf + t->at;
    for (cli_request *r = out; r < out + n; r++, p += each) {
        if (vscsi) {
            const unsigned char *at = p + 16, *version = t->second ? p + 2 : p + 14;
            if (version[1] != (t->second ? 2 : 1)) {
                t->record += (uint64_t)(r - out) + 1;
                trace_reason(t, why, "the version is neither 1 nor 2");
                *wrong = true;
                return 0;
            }
            *r = (cli_request){ .id = trace_mix(trace_u64(at)),
                                .size = trace_u32(t->second ? p + 8 : p + 4) };
            trace_time(t, (int64_t)(trace_u64(at + 8) / 1000), r);
            continue;
        }
        *r = (cli_request){ .id = trace_mix(trace_u64(ctr ? p : p + 4)),
                             .size = trace_u32(ctr ? p + 8 : p + 12) };
        trace_time(t, (int64_t)trace_u32(ctr ? p + 12 : p), r);
    }
    t->at += n * each;
    t->record += n;
    return n;
}

static int trace_lis(cli_trace *t, cli_request *r, char *why)
{
    if (t->run_left == 0) {
        trace_field line, f[5];
        const int got = trace_line(t, &line, why);
        if (got != 1) { return got; }
        while (line.n != 0 && line.p[line.n - 1] == ' ') { line.n--; }
        int64_t start, count;
        if (trace_split(line, ' ', f, 4) != 4 || !trace_number(f[0], &start, false) ||
            !trace_number(f[1], &count, false)) {
            return trace_bad(t, why, "not 4 numbers");
        }
        if (start < 0 || count < 0 || start > INT64_MAX - count) {
            return trace_bad(t, why, "a negative or too large start or count");
        }
        if (count == 0) { return 2; }
        t->run_id = (uint64_t)start;
        t->run_left = (uint64_t)count;
    }
    r->id = trace_mix(t->run_id++);
    t->run_left--;
    return 1;
}

/* Parse a time of ISO 8601, in `unit`s a second since 1970. Without a zone it is UTC. */
static bool trace_iso(trace_field f, int64_t unit, int64_t *out)
{
    char text[48], sign[2] = "Z";
    int y, mo, d, h, mi, zh = 0, zm = 0, n = 0;
    double s;
    if (f.n >= sizeof text) { return false; }
    memcpy(text, f.p, f.n);
    text[f.n] = '\0';
    if (sscanf(text, "%4d-%2d-%2d%*1[T ]%2d:%2d:%lf%n", &y, &mo, &d, &h, &mi, &s, &n) != 6 ||
        n == 0 || !(y >= 1900 && y < 2200 && mo >= 1 && mo <= 12 && d >= 1 && d <= 31 && h >= 0 &&
                    h < 24 && mi >= 0 && mi < 60 && s >= 0 && s < 61)) {
        return false;
    }
    const char *const zone = text + n; /* none, Z, +hh, +hh:mm or +hhmm */
    int end = *zone == 'Z';
    if (sscanf(zone, "%1[+-]%2d%n:%2d%n", sign, &zh, &end, &zm, &end) == 2 && zone[end] != '\0' &&
        sscanf(zone, "%*1[+-]%2d%2d%n", &zh, &zm, &end) != 2) {
        return false;
    }
    if (zone[end] != '\0' || zh < 0 || zh > 23 || zm < 0 || zm > 59) { return false; }
    const int leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    if (d > (mo == 2 ? 28 + leap : 30 + (mo + mo / 8) % 2)) { return false; }
    const int64_t a = mo <= 2 ? y - 1 : y, day = (153 * ((mo + 9) % 12) + 2) / 5 + d - 1;
    const int64_t days = a * 365 + a / 4 - a / 100 + a / 400 + day - 719468;
    const int64_t ahead = (zh * 60 + zm) * 60 * (sign[0] == '-' ? -1 : sign[0] == '+');
    const int64_t whole = days * 86400 + h * 3600 + mi * 60 + (int64_t)s - ahead;
    *out = whole * unit + (int64_t)((s - (double)(int64_t)s) * (double)unit);
    return true;
}

static int trace_op(const cli_trace *t, trace_field f, cli_op *op, char *why)
{
    static const char *const names[][13] = {
        [CLI_GET] = { "get", "gets", "read", "r", "head" },
        [CLI_SET] = { "set", "add", "replace", "cas", "append", "prepend", "incr", "decr", "put",
                      "write", "w", "update" },
        [CLI_DELETE] = { "delete", "del", "remove" },
    };
    for (unsigned i = CLI_GET; i <= CLI_DELETE; i++) {
        for (unsigned k = 0; names[i][k] != NULL; k++) {
            if (strlen(names[i][k]) != f.n ||
                strncasecmp(names[i][k], (const char *)f.p, f.n) != 0) {
                continue;
            }
            *op = (cli_op)i;
            return 1;
        }
    }
    return trace_bad(t, why, "the operation is unknown");
}

/* Read one column, or one member of JSON, into the request. */
static int trace_take(cli_trace *t, cli_trace_column column, trace_field f, cli_request *r,
                      char *why)
{
    int64_t time;
    uint64_t ttl;
    switch (column) {
    case CLI_COLUMN_SKIP: break;
    case CLI_COLUMN_TIME:
        if (!trace_number(f, &time, true) && !trace_iso(f, t->how.per_second, &time)) {
            return trace_bad(t, why, "the time is not a number, nor of ISO 8601");
        }
        trace_time(t, time, r);
        break;
    case CLI_COLUMN_KEY:
        if (f.n == 0) { return trace_bad(t, why, "no key"); }
        r->id = trace_join(r->id, trace_key(f.p, f.n));
        break;
    case CLI_COLUMN_OFFSET: return trace_count(t, f, "offset", &t->offset, why);
    case CLI_COLUMN_COUNT: return trace_count(t, f, "count", &t->count, why);
    case CLI_COLUMN_SIZE: return trace_count(t, f, "size", &r->size, why);
    case CLI_COLUMN_TTL:
        if (trace_count(t, f, "ttl", &ttl, why) < 0) { return -1; }
        r->ttl_ms = ttl < INT64_MAX / 2000 ? (int64_t)ttl * 1000 : INT64_MAX / 2;
        break;
    case CLI_COLUMN_OP: return trace_op(t, f, &r->op, why);
    }
    return 1;
}

/* Read a line of csv or of twitter: there the size is that of key and value. */
static int trace_csv(cli_trace *t, cli_request *r, char *why)
{
    trace_field line, f[CLI_COLUMNS_MAX + 1];
    uint64_t key_size = 0;
    const int got = trace_line(t, &line, why);
    if (got != 1) { return got; }
    while (t->by == ' ' && line.n != 0 && line.p[line.n - 1] == ' ') { line.n--; }
    const unsigned n = t->how.column_count, found = trace_split(line, t->by, f, n);
    if (found != n) {
        char reason[64];
        snprintf(reason, sizeof reason, found == 0 ? "a quote is not closed" : "not %u columns", n);
        return trace_bad(t, why, reason);
    }
    for (unsigned i = 0; i < n; i++) {
        if (trace_take(t, t->how.column[i], f[i], r, why) < 0) { return -1; }
    }
    const bool twitter = t->how.format == CLI_TRACE_TWITTER;
    if (twitter && trace_count(t, f[2], "size", &key_size, why) < 0) { return -1; }
    r->size = r->size <= UINT64_MAX - key_size ? r->size + key_size : r->size;
    return 1;
}

/* ---- JSON lines ---- */

static void trace_blanks(trace_field *f)
{
    while (f->n != 0 && (f->p[0] == ' ' || f->p[0] == '\t')) {
        *f = (trace_field){ f->p + 1, f->n - 1 };
    }
}

/* Take one character, with blanks before and behind it. */
static bool trace_json_mark(trace_field *f, unsigned char mark)
{
    trace_blanks(f);
    if (f->n == 0 || f->p[0] != mark) { return false; }
    *f = (trace_field){ f->p + 1, f->n - 1 };
    trace_blanks(f);
    return true;
}

/* Take a value: of a string the text between its quotes, of an object or an array all of it. Return
 * false if there is none. */
static bool trace_json_value(trace_field *f, trace_field *out)
{
    const unsigned char *const p = f->p;
    size_t n = 0, depth = 0;
    bool quoted = false;
    const bool string = f->n != 0 && p[0] == '"';
    const bool nested = f->n != 0 && (p[0] == '{' || p[0] == '[');
    if (!string && !nested) {
        while (n < f->n && strchr("-+.0123456789Eaeflnrstu", p[n]) != NULL) { n++; }
        *out = (trace_field){ p, n };
        *f = (trace_field){ p + n, f->n - n };
        return n != 0;
    }
    do {
        if (n == f->n) { return false; }
        if (quoted && p[n] == '\\') { n++; } else if (p[n] == '"') { quoted = !quoted; }
        if (!quoted && (p[n] == '{' || p[n] == '[')) { depth++; }
        if (!quoted && (p[n] == '}' || p[n] == ']')) { depth--; }
        n++;
    } while (n < f->n && (quoted || depth != 0));
    if (n > f->n || quoted || depth != 0) { return false; }
    *out = string ? (trace_field){ p + 1, n - 2 } : (trace_field){ p, n };
    *f = (trace_field){ p + n, f->n - n };
    return true;
}

/* Return the column of a name; *rank: the lower, the better the name. */
static cli_trace_column trace_named(trace_field f, unsigned *rank)
{
    static const char *const names[][6] = {
        [CLI_COLUMN_TIME] = { "time", "timestamp", "ts", "clock_time" },
        [CLI_COLUMN_KEY] = { "key", "id", "obj_id", "object", "url" },
        [CLI_COLUMN_SIZE] = { "size", "bytes", "obj_size", "value_size" },
        [CLI_COLUMN_TTL] = { "ttl" },
        [CLI_COLUMN_OP] = { "op", "operation", "command", "cmd", "method" },
        [CLI_COLUMN_COUNT] = { "op_count" },
    };
    for (unsigned c = CLI_COLUMN_TIME; c <= CLI_COLUMN_COUNT; c++) {
        for (*rank = 0; names[c][*rank] != NULL; ++*rank) {
            const char *name = names[c][*rank];
            if (strlen(name) == f.n && strncasecmp(name, (const char *)f.p, f.n) == 0) {
                return (cli_trace_column)c;
            }
        }
    }
    return CLI_COLUMN_SKIP;
}

static int trace_json(cli_trace *t, cli_request *r, char *why)
{
    trace_field rest, name = { NULL, 0 }, value = name, found[CLI_COLUMN_OFFSET] = { { NULL, 0 } };
    unsigned rank, best[CLI_COLUMN_OFFSET] = { 0 };
    const int got = trace_line(t, &rest, why);
    if (got != 1) { return got; }
    bool ok = trace_json_mark(&rest, '{'), more = ok && !trace_json_mark(&rest, '}');
    while (ok && more) {
        ok = rest.n != 0 && rest.p[0] == '"' && trace_json_value(&rest, &name) &&
             trace_json_mark(&rest, ':') && trace_json_value(&rest, &value);
        if (!ok) { break; }
        const cli_trace_column c = trace_named(name, &rank);
        const bool none = trace_is(value, "null") && value.p[-1] != '"';
        if (!none && (found[c].p == NULL || rank < best[c])) {
            found[c] = value;
            best[c] = rank;
        }
        more = trace_json_mark(&rest, ',');
        ok = more || trace_json_mark(&rest, '}');
    }
    if (!ok || rest.n != 0) { return trace_bad(t, why, "not one object of JSON"); }
    if (found[CLI_COLUMN_KEY].p == NULL) { return trace_bad(t, why, "no key"); }
    for (unsigned c = CLI_COLUMN_TIME; c <= CLI_COLUMN_COUNT; c++) {
        const cli_trace_column column =
            c == CLI_COLUMN_KEY && t->how.block != 0 ? CLI_COLUMN_OFFSET : (cli_trace_column)c;
        if (found[c].p == NULL) { continue; }
        t->line = found[c].p; /* what an error shows */
        t->line_len = found[c].n;
        if (trace_take(t, column, found[c], r, why) < 0) { return -1; }
    }
    return 1;
}

/* Return the next request of the last line, which may be several blocks, and several requests of
 * each. */
static bool trace_more(cli_trace *t, cli_request *r)
{
    const uint64_t block = t->how.block;
    if (t->run_left == 0 && t->again == 0) { return false; }
    if (t->run_left == 0) {
        t->again--;
        t->run_id = block != 0 ? t->offset / block : 0;
        t->run_left = t->blocks;
    }
    *r = t->same;
    if (block != 0) { r->id = trace_join(r->id, trace_mix(t->run_id++ + 1)); }
    t->run_left--;
    return true;
}

static int trace_row(cli_trace *t, cli_request *r, char *why)
{
    if (trace_more(t, r)) { return 1; }
    t->count = 1;
    const int got = t->how.format == CLI_TRACE_JSON ? trace_json(t, r, why) : trace_csv(t, r, why);
    if (got != 1) { return got; }
    const uint64_t block = t->how.block;
    t->blocks = block == 0 || r->size == 0
                    ? 1 : (t->offset + r->size - 1) / block - t->offset / block + 1;
    if (block != 0) { r->size = block; }
    t->same = *r;
    t->again = t->count;
    return trace_more(t, r) ? 1 : 2;
}

static int trace_txt(cli_trace *t, cli_request *r, char *why)
{
    trace_field line;
    const int got = trace_line(t, &line, why);
    if (got == 1) { r->id = trace_key(line.p, line.n); }
    return got;
}

size_t cli_trace_read(cli_trace *t, cli_request *out, size_t most, bool *wrong, char *why)
{
    size_t n = 0;
    *wrong = false;
    while (n < most) {
        if (trace_is_fixed(t->how.format)) {
            const size_t more = trace_fixed(t, out + n, most - n, wrong, why);
            if (more == 0) { break; }
            n += more;
            continue;
        }
        int got = 0;
        cli_request *r = &out[n];
        *r = (cli_request){ .size = 1, .time_ms = t->last_ms };
        switch (t->how.format) {
        case CLI_TRACE_AUTO:
        case CLI_TRACE_CTR:
        case CLI_TRACE_ORACLE:
        case CLI_TRACE_VSCSI: break; /* above */
        case CLI_TRACE_LIS: got = trace_lis(t, r, why); break;
        case CLI_TRACE_TWITTER:
        case CLI_TRACE_CSV:
        case CLI_TRACE_JSON: got = trace_row(t, r, why); break;
        case CLI_TRACE_TXT: got = trace_txt(t, r, why); break;
        }
        if (got == 2) { continue; }
        if (got == 0) { break; }
        *wrong = got < 0;
        if (*wrong) { break; }
        n++;
    }
    return *wrong ? 0 : n;
}

/* ---- opening ---- */

static bool trace_ends(const char *path, size_t n, const char *end)
{
    const size_t e = strlen(end);
    return n > e && memcmp(path + n - e, end, e) == 0;
}

/* Return the program that unpacks a file, by its name or its first bytes; NULL: none. */
static const char *trace_tool(const cli_trace *t, size_t *n)
{
    unsigned char mark[4] = { 0 };
    const bool zst = trace_ends(t->path, *n, ".zst"), gz = trace_ends(t->path, *n, ".gz");
    *n -= zst ? 4 : gz ? 3 : 0;
    if (pread(t->fd, mark, sizeof mark, 0) != sizeof mark) { return zst ? "zstd" : gz ? "gzip" : NULL; }
    return zst || memcmp(mark, "\x28\xb5\x2f\xfd", 4) == 0 ? "zstd"
           : gz || (memcmp(mark, "\x1f\x8b\x08", 3) == 0 && mark[3] < 32) ? "gzip" : NULL;
}

/* Start the decompressor and read its output instead of the file. */
static bool trace_unpack(cli_trace *t, char *why)
{
    int ends[2];
    posix_spawn_file_actions_t act;
    char *const argv[] = { (char *)(uintptr_t)t->tool, (char *)(uintptr_t)"-dc", NULL };
    if (pipe2(ends, O_CLOEXEC) != 0) {
        snprintf(why, CLI_TRACE_WHY, "cannot start %s: %s", t->tool, cli_errno_text(errno));
        return false;
    }
    int err = posix_spawn_file_actions_init(&act);
    if (err == 0) {
        err = posix_spawn_file_actions_adddup2(&act, t->fd, 0);
        if (err == 0) { err = posix_spawn_file_actions_adddup2(&act, ends[1], 1); }
        if (err == 0) {
            err = posix_spawn_file_actions_addopen(&act, 2, "/dev/null", O_WRONLY, 0);
        }
        if (err == 0) { err = posix_spawnp(&t->child, t->tool, &act, NULL, argv, environ); }
        posix_spawn_file_actions_destroy(&act);
    }
    close(ends[1]);
    if (err != 0) {
        close(ends[0]);
        t->child = 0;
        if (err == ENOENT) {
            snprintf(why, CLI_TRACE_WHY,
                     "%.250s: needs the program %s, which is not installed; "
                     "install it, or unpack the file",
                     t->path, t->tool);
        } else {
            snprintf(why, CLI_TRACE_WHY, "cannot start %s: %s", t->tool, cli_errno_text(err));
        }
        return false;
    }
    t->file = t->fd;
    t->fd = ends[0];
    return true;
}

static bool trace_has_digit(trace_field f)
{
    for (size_t i = 0; i < f.n; i++) {
        if (f.p[i] >= '0' && f.p[i] <= '9') { return true; }
    }
    return false;
}

/* Return what separates the columns of a csv: the first of , ; tab and blank in its first line. */
static char trace_separator(trace_field line)
{
    const char *by = ",;\t ";
    while (*by != '\0' && memchr(line.p, *by, line.n) == NULL) { by++; }
    return *by != '\0' ? *by : ',';
}

/* Return the index of a field in --columns=COLUMN=NAME,..; name_count: it is none of them. */
static unsigned trace_given(const cli_trace_how *how, trace_field f)
{
    for (unsigned i = 0; i < how->name_count; i++) {
        const char *name = how->text + how->name[i].at;
        if (how->name[i].n == f.n && strncasecmp(name, (const char *)f.p, f.n) == 0) { return i; }
    }
    return how->name_count;
}

/* Look at the first line of a csv: what separates columns, and whether it has names. Without a list
 * of --columns the names tell the columns, the best of several. Return 1; 0: no line, or no key
 * among them; -1: an error. */
static int trace_names_read(cli_trace *t, char *why)
{
    trace_field line, f[CLI_COLUMNS_MAX + 1];
    cli_trace_column found[CLI_COLUMNS_MAX] = { CLI_COLUMN_SKIP };
    cli_trace_how *const how = &t->how;
    bool named = false;
    unsigned given = 0, at[CLI_COLUMN_OFFSET] = { 0 };
    unsigned best[CLI_COLUMN_OFFSET]; /* by column: 1 + rank of its name; 0: --columns gives it */
    memset(best, 0xff, sizeof best);
    for (unsigned i = 0; i < how->name_count; i++) {
        best[how->name[i].column == CLI_COLUMN_OFFSET ? CLI_COLUMN_KEY : how->name[i].column] = 0;
    }
    t->by = ',';
    const int got = trace_line(t, &line, why);
    if (got != 1) { return got == 0 ? how->column_count != 0 : got; }
    t->by = trace_separator(line);
    const unsigned n = trace_split(line, t->by, f, CLI_COLUMNS_MAX);
    for (unsigned i = 0; i < n && i < CLI_COLUMNS_MAX; i++) {
        unsigned rank;
        const unsigned name = trace_given(how, f[i]);
        const cli_trace_column c = trace_named(f[i], &rank);
        named = named || (how->column_count > i && how->column[i] > CLI_COLUMN_SKIP &&
                          how->column[i] != CLI_COLUMN_KEY && how->column[i] != CLI_COLUMN_OP &&
                          !trace_has_digit(f[i]));
        if (name < how->name_count) {
            found[i] = how->name[name].column;
            given++;
        } else if (c != CLI_COLUMN_SKIP && rank + 1 < best[c]) {
            if (best[c] != UINT_MAX) { found[at[c]] = CLI_COLUMN_SKIP; }
            best[c] = rank + 1;
            found[i] = c;
            at[c] = i;
        }
    }
    if (given != how->name_count) {
        return trace_bad(t, why, "a name of --columns is missing, or there twice");
    }
    const bool key = best[CLI_COLUMN_KEY] != UINT_MAX;
    if (how->column_count == 0 && key && n <= CLI_COLUMNS_MAX) {
        memcpy(how->column, found, sizeof found);
        how->column_count = n;
        return 1;
    }
    if (named || (key && how->column_count != 0)) { return 1; } /* the first line is read */
    t->at = t->record = 0;
    return how->column_count != 0;
}

/* Choose the format by the name, else by the first line. Return CLI_TRACE_AUTO on an error. */
static cli_trace_format trace_guess(cli_trace *t, const char *name, size_t n, char *why)
{
    if (trace_ends(name, n, ".ctr")) { return CLI_TRACE_CTR; }
    if (trace_ends(name, n, ".oracleGeneral") || trace_ends(name, n, ".og") ||
        trace_ends(name, n, ".oracleGeneral.bin")) {
        return CLI_TRACE_ORACLE;
    }
    if (trace_ends(name, n, ".vscsi") || trace_ends(name, n, ".vscsitrace")) {
        return CLI_TRACE_VSCSI;
    }
    if (trace_ends(name, n, ".lis")) { return CLI_TRACE_LIS; }
    if (trace_ends(name, n, ".jsonl") || trace_ends(name, n, ".ndjson")) { return CLI_TRACE_JSON; }
    if (t->how.column_count != 0 || t->how.name_count != 0) { return CLI_TRACE_CSV; }
    trace_field line, f[8];
    const int got = trace_line(t, &line, why);
    if (got < 0) { return CLI_TRACE_AUTO; }
    const bool seven = got == 1 && trace_split(line, ',', f, 7) == 7 && trace_has_digit(f[0]);
    const char by = got == 1 ? trace_separator(line) : ' '; /* blanks: only by --columns */
    const bool columns = by != ' ' && memchr(line.p, by, line.n) != NULL;
    t->at = t->record = 0; /* the buffer has not moved: the first fill reads all that a line needs */
    if (got == 1 && line.p[0] == '{') { return CLI_TRACE_JSON; }
    if (columns && !seven && trace_names_read(t, why) == 1) { return CLI_TRACE_CSV; }
    t->words = !seven;
    return seven ? CLI_TRACE_TWITTER : CLI_TRACE_TXT;
}

/* Refuse a binary format if the first 4 KiB are text: a record has zero bytes, in its size. */
static bool trace_is_binary(cli_trace *t, char *why)
{
    if (!trace_fill(t, 4096, why)) { return false; }
    const unsigned char *p = t->buf + t->at;
    const size_t n = t->end - t->at < 4096 ? t->end - t->at : 4096;
    for (size_t i = 0; i < n; i++) {
        if (p[i] < 0x20 && p[i] != '\t' && p[i] != '\n' && p[i] != '\r') { return true; }
    }
    if (n == 0) { return true; } /* the end is found by the first read */
    t->record = 1;
    t->line = p;
    t->line_len = strcspn((const char *)p, "\r\n");
    trace_reason(t, why, "text");
    return false;
}

cli_trace *cli_trace_open(const char *path, const cli_trace_how *how, bool *wrong, char *why)
{
    cli_trace *t = calloc(1, sizeof *t);
    struct stat st;
    *wrong = false;
    if (t == NULL || (t->buf = calloc(1, TRACE_BUFFER + 1)) == NULL) {
        free(t);
        snprintf(why, CLI_TRACE_WHY, "out of memory for %.250s; end other programs", path);
        return NULL;
    }
    t->path = path;
    t->how = *how;
    for (unsigned i = how->name_count; how->block != 0 && i-- > 0;) {
        if (how->name[i].column != CLI_COLUMN_KEY) { continue; }
        t->how.name[i].column = CLI_COLUMN_OFFSET;
        break;
    }
    t->file = -1;
    t->fd = how->spooled != 0 ? fcntl(how->spooled, F_DUPFD_CLOEXEC, 3)
            : strcmp(path, "-") == 0 ? fcntl(0, F_DUPFD_CLOEXEC, 3)
                                     : open(path, O_RDONLY | O_CLOEXEC);
    if (t->fd < 0 || fstat(t->fd, &st) != 0) {
        snprintf(why, CLI_TRACE_WHY, "cannot read %.250s: %s; name a file that can be read", path,
                 cli_errno_text(errno));
        goto fail;
    }
    if (S_ISDIR(st.st_mode)) {
        snprintf(why, CLI_TRACE_WHY, "%.250s is a folder; name the trace files in it", path);
        goto fail;
    }
    (void)lseek(t->fd, 0, SEEK_SET); /* a duplicate continues where the last pass ended */
    t->bytes = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
    size_t n = strlen(path);
    t->tool = trace_tool(t, &n);
    if (t->tool != NULL && !trace_unpack(t, why)) { goto fail; }
    if (t->how.format == CLI_TRACE_AUTO) {
        t->how.format = trace_guess(t, path, n, why);
        *wrong = t->how.format == CLI_TRACE_AUTO;
    }
    if (trace_is_fixed(t->how.format)) {
        *wrong = !trace_is_binary(t, why);
    }
    if (*wrong) { goto fail; }
    if (t->how.format == CLI_TRACE_TWITTER) {
        static const cli_trace_column column[] = { CLI_COLUMN_TIME, CLI_COLUMN_KEY, CLI_COLUMN_SKIP,
            CLI_COLUMN_SIZE, CLI_COLUMN_SKIP, CLI_COLUMN_OP, CLI_COLUMN_TTL };
        t->by = ',';
        t->how.column_count = 7;
        memcpy(t->how.column, column, sizeof column);
    }
    /* Only csv and json have a unit to choose. */
    if (t->how.format != CLI_TRACE_CSV && t->how.format != CLI_TRACE_JSON) {
        t->how.per_second = t->how.format == CLI_TRACE_VSCSI ? 1000 : 1;
    }
    const bool names = t->how.format == CLI_TRACE_CSV && t->record == 0;
    const int got = names ? trace_names_read(t, why) : 1;
    *wrong = got < 0;
    if (got == 0) {
        snprintf(why, CLI_TRACE_WHY,
                 "%.250s: csv needs a first line of names (time, key, size, ttl, op), or "
                 "--columns, such as --columns=time,key,size",
                 path);
    }
    const bool csv = t->how.format == CLI_TRACE_CSV, json = t->how.format == CLI_TRACE_JSON;
    if (got == 1 && !csv && ((how->block != 0 && !json) || how->name_count != 0)) {
        snprintf(why, CLI_TRACE_WHY, "%.250s: %s", path, how->name_count != 0
                 ? "--columns=COLUMN=NAME needs csv with a first line of names"
                 : "--block needs csv or JSON lines, with an offset as the key");
        goto fail;
    }
    bool offset = how->block == 0 || json;
    for (unsigned i = t->how.column_count; i-- > 0;) { /* of a list: the last one of the key */
        offset = offset || t->how.column[i] == CLI_COLUMN_OFFSET;
        if (offset || t->how.column[i] != CLI_COLUMN_KEY) { continue; }
        t->how.column[i] = CLI_COLUMN_OFFSET;
        offset = true;
    }
    if (got == 1) { return t; }
fail:
    cli_trace_close(t);
    return NULL;
}

void cli_trace_close(cli_trace *t)
{
    if (t == NULL) { return; }
    if (t->fd >= 0) { close(t->fd); }
    if (t->file >= 0) { close(t->file); }
    (void)trace_child_fine(t); /* its pipe is closed, so it ends */
    free(t->buf);
    free(t);
}

uint64_t cli_trace_backwards(const cli_trace *t) { return t->backwards; }

void cli_trace_place(const cli_trace *t, uint64_t *at, uint64_t *of)
{
    const off_t here = lseek(t->file >= 0 ? t->file : t->fd, 0, SEEK_CUR);
    *of = t->bytes;
    *at = here > 0 && (uint64_t)here <= t->bytes ? (uint64_t)here : 0;
}
