/* SPDX-License-Identifier: MIT
 *
 * policy_text: parse the text of a policy file, or rules given as structs.
 *
 * FORMAT     file     = { line LF }       line = [ section | setting | rule ] [ "#" anything ]
 *            section  = "[" name "]"      a namespace; "*" holds for all. It may be continued later
 *            setting  = "set" { option }
 *            rule     = ("key" | "glob") pattern { option }  |  ("deny" | "no_l2") pattern
 *            pattern  = word | string     key: literals and {name}, one or more bytes without the
 *                                         separator; the others: patterns of Redis
 *            option   = name [ "=" (word | string) ]
 *            string   = '"' { byte | \" | \\ | \n | \xHH } '"'
 *            duration = 1*( digits ("ms"|"s"|"m"|"h"|"d"|"w") ) | "never"
 *            A CR before LF and a UTF-8 BOM are skipped. NUL and other CRs are errors.
 *            A struct is a line with the same words: policy_fields.c makes them.
 * WALK       pass 1 reports errors and counts; pass 2 fills one block of the counted size.
 * INVARIANTS Both passes accept the same lines. The table has no pointer into the text.
 * LIMITS     1 MiB, 4,096 rules, 4,096 sections, 1,024 bytes a pattern, 100 errors. */
#include "policy/policy_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/fd.h"
#include "base/num.h"
#include "base/opts.h"

#define POLICY_ROOM 4096u

BASE_SIZE_BEGIN

/* ---- notes ---- */

CELLAR_PRIVATE void policy_note(policy_diag *d, bool warning, uint32_t line, uint32_t column,
                                const char *format, ...)
{
    char text[POLICY_NOTE_BYTES];
    uint32_t *count = warning ? &d->warnings : &d->errors;
    if (*count >= POLICY_NOTES_MAX) { return; }
    const char *what = warning ? "warning" : "error";
    if (d->structs) { column = 0; }
    const int head =
        d->structs ? snprintf(text, sizeof text, "rules[%u]: %s: ", (unsigned)line, what)
                   : snprintf(text, sizeof text, "%.*s:%u:%u: %s: ", (int)POLICY_NAME_BYTES,
                              d->name, (unsigned)line, (unsigned)column, what);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text + head, sizeof text - (size_t)head, format, args);
    va_end(args);
    for (char *p = text; *p != '\0'; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f) { *p = '?'; }
    }
    if (!warning && *count == 0) { memcpy(d->first, text, sizeof text); }
    (*count)++;
    if (d->fn != NULL) {
        const cellar_policy_note note = { text, line, column, warning };
        d->fn(&note, d->ctx);
    }
}

/* ---- files ---- */

CELLAR_PRIVATE cellar_err policy_file_read(const char *path, policy_diag *d, char **text,
                                           size_t *len, size_t *cap, int *sys_errno)
{
    *cap = POLICY_FILE_MAX + 1;
    *len = 0;
    *sys_errno = 0;
    *text = base_alloc_raw(NULL, *cap);
    if (*text == NULL) { return CELLAR_E_NOMEM; }
    *sys_errno = base_fd_read_file(AT_FDCWD, path, *text, *cap, len);
    cellar_err err = *sys_errno != 0 ? CELLAR_E_IO : CELLAR_OK;
    if (*len > POLICY_FILE_MAX) {
        policy_note(d, false, 1, 1, "the file is larger than 1 MiB");
        err = CELLAR_E_CONFIG;
    }
    if (err != CELLAR_OK) {
        base_free_raw(NULL, *text, *cap);
        *text = NULL;
    }
    return err;
}

/* ---- words of the language ---- */

typedef enum policy_type {
    POLICY_IS_TIME, POLICY_IS_WINDOW, POLICY_IS_PERIOD, POLICY_IS_JITTER, POLICY_IS_PRIORITY,
    POLICY_IS_COUNT, POLICY_IS_SHARE, POLICY_IS_FLAG, POLICY_IS_BYTE, POLICY_IS_WORD,
    POLICY_IS_CLASS, POLICY_IS_TAGS, POLICY_IS_PREFIX, POLICY_IS_CLOCK
} policy_type;

#define POLICY_IN_SET 1u
#define POLICY_IN_RULE 2u

typedef struct policy_word {
    const char *name;
    uint8_t option, type, where;
} policy_word;

static const policy_word policy_words[] = {
    { "default_ttl", POLICY_TTL, POLICY_IS_TIME, POLICY_IN_SET },
    { "ttl", POLICY_TTL, POLICY_IS_TIME, POLICY_IN_RULE },
    { "ttl_max", POLICY_TTL_MAX, POLICY_IS_PERIOD, POLICY_IN_RULE },
    { "idle", POLICY_IDLE, POLICY_IS_WINDOW, POLICY_IN_SET | POLICY_IN_RULE },
    { "max_age", POLICY_MAX_AGE, POLICY_IS_TIME, POLICY_IN_SET | POLICY_IN_RULE },
    { "negative", POLICY_NEGATIVE, POLICY_IS_TIME, POLICY_IN_SET | POLICY_IN_RULE },
    { "stale", POLICY_STALE, POLICY_IS_WINDOW, POLICY_IN_SET | POLICY_IN_RULE },
    { "refresh", POLICY_REFRESH, POLICY_IS_PERIOD, POLICY_IN_SET | POLICY_IN_RULE },
    { "jitter", POLICY_JITTER, POLICY_IS_JITTER, POLICY_IN_SET | POLICY_IN_RULE },
    { "priority", POLICY_PRIORITY, POLICY_IS_PRIORITY, POLICY_IN_RULE },
    { "max_items", POLICY_MAX_ITEMS, POLICY_IS_COUNT, POLICY_IN_RULE },
    { "quota", POLICY_QUOTA, POLICY_IS_SHARE, POLICY_IN_SET | POLICY_IN_RULE },
    { "no_l2", POLICY_DISK_OFF, POLICY_IS_FLAG, POLICY_IN_SET | POLICY_IN_RULE },
    { "separator", POLICY_SEPARATOR, POLICY_IS_BYTE, POLICY_IN_SET },
    { "loader", POLICY_LOADER, POLICY_IS_WORD, POLICY_IN_RULE },
    { "class", POLICY_CLASS, POLICY_IS_CLASS, POLICY_IN_RULE },
    { "tags", POLICY_TAGS, POLICY_IS_TAGS, POLICY_IN_RULE },
    { "prefix", POLICY_PREFIX, POLICY_IS_PREFIX, POLICY_IN_SET },
    { "at", POLICY_AT, POLICY_IS_CLOCK, POLICY_IN_RULE },
};
#define POLICY_WORDS (sizeof policy_words / sizeof policy_words[0])

static const char *const policy_kinds[] = { "[", "set", "key", "glob", "deny", "no_l2" };

/* ---- one line ---- */

typedef struct policy_reader {
    const char *text;
    size_t len, at, end, start; /* cursor; end and start of the line */
    uint32_t line;
    policy_diag *d;
    policy_table *t;     /* pass 2; NULL: pass 1 */
    char *pool;          /* pass 2: next free byte of the table */
    uint32_t sections, rules, parts, tags; /* so far */
    size_t bytes;        /* pass 1: bytes of all texts */
    uint32_t section;    /* pass 2: number of the section in force */
    bool in_section, broken; /* broken: the line has an error */
    bool no_memory;      /* a time zone got none */
    uint32_t line_tags;
    uint32_t minutes;    /* AT of the line, and its zone */
    base_tz *zone;
    policy_bytes named;  /* structs: the section of the last one */
    policy_values v;     /* options of the line */
    size_t room_used;
    char room[POLICY_ROOM]; /* decoded strings of the line */
} policy_reader;

#define POLICY_SHOWN(b) (int)BASE_MIN((b).len, 40u), (b).at

static void policy_error_at(policy_reader *r, size_t at, const char *what, policy_bytes b)
{
    r->broken = true;
    if (b.at == NULL) {
        policy_note(r->d, false, r->line, (uint32_t)(at - r->start + 1), "%s", what);
    } else {
        policy_note(r->d, false, r->line, (uint32_t)(at - r->start + 1), what, POLICY_SHOWN(b));
    }
}

static const policy_bytes policy_nothing = { NULL, 0 };

static bool policy_blank(char c) { return c == ' ' || c == '\t'; }

static void policy_skip_blanks(policy_reader *r)
{
    while (r->at < r->end && policy_blank(r->text[r->at])) { r->at++; }
}

static bool policy_line_ends(const policy_reader *r)
{
    return r->at >= r->end || r->text[r->at] == '#';
}

static int policy_hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Decode the escape at the cursor. Return its byte; -1: there is no such escape. */
static int policy_escape(policy_reader *r)
{
    const char *p = r->text + r->at;
    const size_t left = r->end - r->at;
    if (left >= 2 && (p[1] == '"' || p[1] == '\\')) {
        r->at += 2;
        return (unsigned char)p[1];
    }
    if (left >= 2 && p[1] == 'n') {
        r->at += 2;
        return '\n';
    }
    if (left >= 4 && p[1] == 'x' && policy_hex(p[2]) >= 0 && policy_hex(p[3]) >= 0) {
        r->at += 4;
        return policy_hex(p[2]) * 16 + policy_hex(p[3]);
    }
    return -1;
}

static bool policy_string(policy_reader *r, policy_bytes *out)
{
    const size_t from = r->at++;
    const size_t first = r->room_used;
    while (r->at < r->end && r->text[r->at] != '"') {
        int c = (unsigned char)r->text[r->at];
        const size_t at = r->at;
        if (c == '\\') {
            c = policy_escape(r);
        } else {
            r->at++;
        }
        if (c < 0 || r->room_used == POLICY_ROOM) {
            policy_error_at(r, at, c < 0 ? "unknown escape: write \\\" \\\\ \\n or \\xHH"
                                         : "the strings of a line exceed 4,096 bytes",
                            policy_nothing);
            r->at = r->end;
            return false;
        }
        r->room[r->room_used++] = (char)c;
    }
    if (r->at >= r->end) {
        policy_error_at(r, from, "the string has no closing quote", policy_nothing);
        return false;
    }
    r->at++;
    if (r->at < r->end && !policy_blank(r->text[r->at])) {
        policy_error_at(r, r->at, "a string ends with a blank or the line", policy_nothing);
        while (r->at < r->end && !policy_blank(r->text[r->at])) { r->at++; }
        return false;
    }
    *out = (policy_bytes){ r->room + first, (uint32_t)(r->room_used - first) };
    return true;
}

/* Read a word or a string. Return false if it is a damaged string. */
static bool policy_value(policy_reader *r, policy_bytes *out)
{
    if (r->at < r->end && r->text[r->at] == '"') { return policy_string(r, out); }
    const size_t from = r->at;
    while (r->at < r->end && !policy_blank(r->text[r->at])) { r->at++; }
    *out = (policy_bytes){ r->text + from, (uint32_t)(r->at - from) };
    return true;
}

static bool policy_equal(policy_bytes b, const char *name)
{
    return b.len == strlen(name) && memcmp(b.at, name, b.len) == 0;
}

/* ---- values ---- */

/* Read digits. Return false if there is none, or the number exceeds `most`. */
static bool policy_digits(policy_bytes b, uint32_t *at, int64_t most, int64_t *out)
{
    const uint32_t from = *at;
    int64_t n = 0;
    while (*at < b.len && b.at[*at] >= '0' && b.at[*at] <= '9') {
        n = n * 10 + (b.at[(*at)++] - '0');
        if (n > most) { return false; }
    }
    *out = n;
    return *at > from;
}

static int64_t policy_unit(policy_bytes b, uint32_t *at)
{
    static const struct { const char *name; int64_t ms; } unit[] = {
        { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 },
        { "w", 604800000 }
    };
    for (size_t i = 0; i < sizeof unit / sizeof unit[0]; i++) {
        const size_t n = strlen(unit[i].name);
        if (b.len - *at >= n && memcmp(b.at + *at, unit[i].name, n) == 0) {
            *at += (uint32_t)n;
            return unit[i].ms;
        }
    }
    return 0;
}

#define POLICY_TIME_MAX ((int64_t)1 << 52) /* 142,000 years */

/* Return the broken rule of a duration, else NULL. */
static const char *policy_time(policy_bytes b, int64_t *out)
{
    uint32_t at = 0;
    int64_t sum = 0, n;
    if (policy_equal(b, "never")) {
        *out = CELLAR_TTL_NONE;
        return NULL;
    }
    while (at < b.len) {
        if (!policy_digits(b, &at, POLICY_TIME_MAX, &n)) {
            return "%s \"%.*s\" is no duration: write 90s, 1h30m or never";
        }
        const int64_t unit = policy_unit(b, &at);
        if (unit == 0) { return "%s \"%.*s\" has no unit (ms s m h d w)"; }
        if (n > (POLICY_TIME_MAX - sum) / unit) { return "%s \"%.*s\" is out of range"; }
        sum += n * unit;
    }
    *out = sum;
    return sum > 0 ? NULL : "%s \"%.*s\" must be at least 1ms";
}

/* Read "N%". Return false if it is not that, or N is above 100. */
static bool policy_percent(policy_bytes b, uint32_t *at, int64_t *out)
{
    if (!policy_digits(b, at, 100, out) || *at == b.len || b.at[*at] != '%') { return false; }
    (*at)++;
    return true;
}

static const char *policy_share(policy_bytes b, int64_t *out)
{
    static const char *const wrong = "%s \"%.*s\" is no share: write 10%% or 10%%-40%%";
    uint32_t at = 0;
    int64_t least, most = 0;
    if (!policy_percent(b, &at, &least)) { return wrong; }
    if (at < b.len) {
        if (b.at[at++] != '-' || !policy_percent(b, &at, &most) || at < b.len) { return wrong; }
        if (most == 0 || most < least) {
            return "%s \"%.*s\" must have a maximum that is not below the minimum";
        }
    }
    *out = least | most << 8;
    return NULL;
}

static const char *policy_jitter(policy_bytes b, int64_t *out)
{
    uint32_t at = b.len > 0 && b.at[0] == '+' ? 1 : 0;
    const int64_t plus = at;
    int64_t pct;
    if (!policy_percent(b, &at, &pct) || at < b.len) {
        return "%s \"%.*s\" must be 0%%..100%%, with + for longer times only";
    }
    *out = pct | (plus != 0 ? POLICY_JITTER_PLUS : 0);
    return NULL;
}

/* Read "HH:MM@zone". *zone: open. */
static const char *policy_clock(policy_bytes b, uint32_t *minutes, base_tz **zone,
                                bool *no_memory)
{
    uint32_t at = 0;
    int64_t h, m;
    char name[POLICY_WORD_MAX + 1];
    if (!policy_digits(b, &at, 23, &h) || at != 2 || b.len < 7 || b.at[at++] != ':' ||
        !policy_digits(b, &at, 59, &m) || at != 5 || b.at[at] != '@' ||
        b.len - 6 > POLICY_WORD_MAX) {
        return "%s \"%.*s\" is no time of day: write 00:00@Asia/Shanghai";
    }
    memcpy(name, b.at + 6, b.len - 6);
    name[b.len - 6] = '\0';
    *minutes = (uint32_t)(h * 60 + m);
    *zone = NULL;
    switch (strlen(name) == b.len - 6 ? base_tz_open(NULL, name, zone) : BASE_TZ_UNKNOWN) {
    case BASE_TZ_OK: return NULL;
    case BASE_TZ_UNKNOWN: break;
    case BASE_TZ_DAMAGED: return "%s \"%.*s\": the file of the time zone is damaged";
    case BASE_TZ_NOMEM:
        *no_memory = true;
        return "%s \"%.*s\": no memory for the time zone";
    }
    return "%s \"%.*s\": unknown time zone";
}

/* Check a list of tags, and count them. */
static const char *policy_tags(policy_bytes b, uint32_t *count)
{
    uint32_t len = 0;
    *count = 1;
    for (uint32_t i = 0; i <= b.len; i++) {
        if (i < b.len && b.at[i] != ',') {
            len++;
            continue;
        }
        if (len == 0 || len > CELLAR_TAG_MAX) { return "%s \"%.*s\": a tag has 1..128 bytes"; }
        *count += i < b.len;
        len = 0;
    }
    return *count > CELLAR_TAGS_MAX ? "%s \"%.*s\": an entry has at most 16 tags" : NULL;
}

/* Convert the value of an option into *number. Return the broken rule, else NULL. */
static const char *policy_convert(policy_reader *r, const policy_word *w, policy_bytes b,
                                  int64_t *number)
{
    static const char *const low_mid_high[] = { "low", "mid", "high" };
    uint32_t at = 0;
    const char *wrong = NULL;
    switch ((policy_type)w->type) {
    case POLICY_IS_TIME: return policy_time(b, number);
    case POLICY_IS_PERIOD:
        wrong = policy_time(b, number);
        return wrong == NULL && *number == CELLAR_TTL_NONE ? "%s \"%.*s\" must have an end" : wrong;
    case POLICY_IS_WINDOW:
        if (policy_equal(b, "never")) {
            *number = w->option == POLICY_IDLE ? CELLAR_TTL_NONE : 0;
            return NULL;
        }
        wrong = policy_time(b, number);
        return wrong == NULL && *number > (int64_t)UINT32_MAX
                   ? "%s \"%.*s\" must be at most 2^32 - 1 ms" : wrong;
    case POLICY_IS_JITTER: return policy_jitter(b, number);
    case POLICY_IS_SHARE: return policy_share(b, number);
    case POLICY_IS_PRIORITY:
        for (int i = 0; i < 3; i++) {
            if (policy_equal(b, low_mid_high[i])) {
                *number = i + 1;
                return NULL;
            }
        }
        return "%s \"%.*s\" must be low, mid or high";
    case POLICY_IS_COUNT:
        return policy_digits(b, &at, 1000000, number) && at == b.len && *number > 0
                   ? NULL : "%s \"%.*s\" must be 1..1000000";
    case POLICY_IS_BYTE:
        *number = b.len == 1 ? (unsigned char)b.at[0] : 0;
        return b.len == 1 && b.at[0] != '{' && b.at[0] != '}'
                   ? NULL : "%s \"%.*s\" must be one byte, and no brace";
    case POLICY_IS_WORD:
        return b.len <= POLICY_WORD_MAX ? NULL : "%s \"%.*s\" is longer than 64 bytes";
    case POLICY_IS_CLASS:
        return b.len <= CELLAR_TTL_CLASS_NAME_MAX ? NULL : "%s \"%.*s\" is longer than 31 bytes";
    case POLICY_IS_PREFIX:
        return b.len <= CELLAR_PATTERN_MAX ? NULL : "%s \"%.*s\" is longer than 1,024 bytes";
    case POLICY_IS_TAGS: return policy_tags(b, &r->line_tags);
    case POLICY_IS_CLOCK: return policy_clock(b, &r->minutes, &r->zone, &r->no_memory);
    case POLICY_IS_FLAG: break;
    }
    *number = 1;
    return NULL;
}

static void policy_store(policy_reader *r, const policy_word *w, size_t at, policy_bytes b,
                         bool valued)
{
    int64_t number = 0;
    const bool flag = w->type == POLICY_IS_FLAG;
    const char *wrong = NULL;
    if (policy_has(&r->v, w->option)) {
        wrong = "option %s is given twice";
    } else if (flag && valued) {
        wrong = "option %s takes no value";
    } else if (!flag && (!valued || b.len == 0)) {
        wrong = "option %s needs a value";
    } else {
        wrong = policy_convert(r, w, b, &number);
    }
    if (wrong != NULL) {
        r->broken = true;
        policy_note(r->d, false, r->line, (uint32_t)(at - r->start + 1), wrong, w->name,
                    POLICY_SHOWN(b));
        return;
    }
    r->v.given |= 1u << w->option;
    if (w->option < POLICY_NUMBERS) {
        r->v.number[w->option] = number;
    } else {
        r->v.text[w->option - POLICY_LOADER] = b;
    }
}

/* Take an option of a line of this kind; `at`: where it begins. star: the pattern is "*". */
static void policy_option_take(policy_reader *r, policy_kind kind, bool star, size_t at,
                               policy_bytes name, policy_bytes value, bool valued)
{
    const unsigned where = kind == POLICY_SET ? POLICY_IN_SET : POLICY_IN_RULE;
    const policy_word *found = NULL;
    for (size_t i = 0; i < POLICY_WORDS; i++) {
        if ((policy_words[i].where & where) != 0 && policy_equal(name, policy_words[i].name)) {
            found = &policy_words[i];
        }
    }
    if (found == NULL) {
        policy_error_at(r, at, "unknown option \"%.*s\"", name);
    } else if (kind == POLICY_DENY || kind == POLICY_NO_L2) {
        policy_error_at(r, at, "a deny or no_l2 rule has no options (got \"%.*s\")", name);
    } else if (found->option == POLICY_QUOTA && kind != POLICY_SET && !star) {
        policy_error_at(r, at, "quota belongs to a set line, or to the pattern *",
                        policy_nothing);
    } else {
        policy_store(r, found, at, value, valued);
    }
}

static void policy_option_read(policy_reader *r, policy_kind kind, bool star)
{
    const size_t from = r->at;
    while (r->at < r->end && r->text[r->at] != '=' && !policy_blank(r->text[r->at])) { r->at++; }
    const policy_bytes name = { r->text + from, (uint32_t)(r->at - from) };
    policy_bytes value = { "", 0 };
    const bool valued = r->at < r->end && r->text[r->at] == '=';
    if (valued) {
        r->at++;
        if (!policy_value(r, &value)) { return; }
    }
    policy_option_take(r, kind, star, from, name, value, valued);
}

/* ---- patterns ---- */

CELLAR_PRIVATE size_t policy_placeholder(const char *p, size_t len, size_t from, size_t *end)
{
    const char *open = from < len ? memchr(p + from, '{', len - from) : NULL;
    if (open == NULL) { return len; }
    const size_t at = (size_t)(open - p);
    const char *close = memchr(open, '}', len - at);
    *end = close == NULL ? len : (size_t)(close - p) + 1;
    return at;
}

/* Return the broken rule of a `key` pattern, else NULL. *places: placeholders. */
static const char *policy_key_check(policy_bytes p, uint32_t *places)
{
    size_t from = 0, end = 0, last = SIZE_MAX;
    *places = 0;
    for (;;) {
        const size_t at = policy_placeholder(p.at, p.len, from, &end);
        if (memchr(p.at + from, '}', at - from) != NULL) { return "pattern \"%.*s\": } without {"; }
        if (at == p.len) { return NULL; }
        if (p.at[end - 1] != '}') { return "pattern \"%.*s\": { without }"; }
        if (end - at < 3) { return "pattern \"%.*s\": a placeholder needs a name"; }
        if (memchr(p.at + at + 1, '{', end - at - 1) != NULL) {
            return "pattern \"%.*s\": { inside a placeholder";
        }
        if (at == last) { return "pattern \"%.*s\": two placeholders need text between them"; }
        (*places)++;
        from = last = end;
    }
}

static char policy_lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c; }

/* ---- pass 2 ---- */

static policy_bytes policy_keep(policy_reader *r, policy_bytes b)
{
    const policy_bytes kept = { r->pool, b.len };
    if (b.len > 0) { memcpy(r->pool, b.at, b.len); }
    r->pool += b.len;
    return kept;
}

static void policy_keep_values(policy_reader *r, policy_values *to)
{
    for (unsigned o = 0; o < POLICY_OPTIONS; o++) {
        if (!policy_has(&r->v, o)) { continue; }
        if (o < POLICY_NUMBERS) {
            to->number[o] = r->v.number[o];
        } else {
            to->text[o - POLICY_LOADER] = policy_keep(r, r->v.text[o - POLICY_LOADER]);
        }
    }
    to->given |= r->v.given;
}

CELLAR_PRIVATE policy_section *policy_section_find(const policy_table *t, const char *name,
                                                   size_t len)
{
    for (uint32_t i = 0; i < t->section_count; i++) {
        const policy_bytes n = t->section[i].name;
        if (n.len == len && memcmp(n.at, name, len) == 0) { return &t->section[i]; }
    }
    return NULL;
}

static void policy_keep_section(policy_reader *r, policy_bytes name)
{
    policy_table *t = r->t;
    policy_section *s = policy_section_find(t, name.at, name.len);
    if (s == NULL) {
        s = &t->section[t->section_count++];
        s->name = policy_keep(r, name);
        s->line = r->line;
        s->table = t;
    }
    r->section = (uint32_t)(s - t->section);
}

static void policy_keep_tags(policy_reader *r, policy_rule *rule)
{
    const policy_bytes list = rule->v.text[POLICY_TAGS - POLICY_LOADER];
    uint32_t from = 0;
    rule->tag_first = r->t->tag_count;
    rule->tag_count = r->line_tags;
    for (uint32_t i = 0; i <= list.len && r->line_tags > 0; i++) {
        if (i < list.len && list.at[i] != ',') { continue; }
        r->t->tag[r->t->tag_count++] = (policy_bytes){ list.at + from, i - from };
        from = i + 1;
    }
}

static void policy_keep_rule(policy_reader *r, policy_kind kind, policy_bytes pattern)
{
    policy_table *t = r->t;
    policy_rule *rule = &t->rule[t->rule_count++];
    rule->kind = (uint8_t)kind;
    rule->section = r->section;
    rule->line = r->line;
    char *bytes = r->pool;
    rule->pattern = policy_keep(r, pattern);
    for (uint32_t i = 0; kind >= POLICY_DENY && i < pattern.len; i++) {
        bytes[i] = policy_lower(bytes[i]);
    }
    policy_keep_values(r, &rule->v);
    policy_keep_tags(r, rule);
    rule->zone = r->zone; /* base_tz_bytes is charged by policy_parse */
    rule->at_minutes = r->minutes;
    r->zone = NULL;
    if (kind != POLICY_KEY) { return; }
    rule->part_first = t->part_count;
    const policy_bytes p = rule->pattern;
    for (size_t from = 0, end = 0, at = 0; at < p.len; from = end) {
        at = policy_placeholder(p.at, p.len, from, &end);
        t->part[t->part_count++] = (policy_bytes){ p.at + from, (uint32_t)(at - from) };
        if (at < p.len && end == p.len) { /* the pattern ends with a placeholder */
            t->part[t->part_count++] = (policy_bytes){ p.at + p.len, 0 };
            at = p.len;
        }
    }
    rule->part_count = t->part_count - rule->part_first;
}

static void policy_keep_set(policy_reader *r, size_t at)
{
    policy_section *s = &r->t->section[r->section];
    if ((s->v.given & r->v.given) != 0) {
        policy_error_at(r, at, "an option of the section is set twice", policy_nothing);
        return;
    }
    policy_keep_values(r, &s->v);
}

/* ---- lines ---- */

static void policy_count_texts(policy_reader *r)
{
    for (unsigned i = 0; i < POLICY_TEXTS; i++) {
        if (policy_has(&r->v, POLICY_LOADER + i)) { r->bytes += r->v.text[i].len; }
    }
}

/* Refuse what follows the last token of a line. */
static void policy_line_end(policy_reader *r)
{
    policy_skip_blanks(r);
    if (!policy_line_ends(r)) {
        policy_error_at(r, r->at, "only a comment may follow here", policy_nothing);
    }
}

static bool policy_name_check(policy_reader *r, size_t at, policy_bytes name)
{
    if (name.len != 0 && name.len <= CELLAR_NAME_MAX) { return true; }
    policy_error_at(r, at, "the name of a section must have 1..64 bytes", policy_nothing);
    return false;
}

static void policy_section_begin(policy_reader *r, size_t at, policy_bytes name)
{
    if (++r->sections > POLICY_RULES_MAX) {
        policy_error_at(r, at, "more than 4,096 sections", policy_nothing);
        return;
    }
    r->bytes += name.len;
    if (r->t != NULL) { policy_keep_section(r, name); }
}

static void policy_section_line(policy_reader *r)
{
    const size_t from = r->at + 1;
    const char *close = memchr(r->text + r->at, ']', r->end - r->at);
    r->in_section = true; /* rules behind a damaged name are checked as well */
    if (close == NULL) {
        policy_error_at(r, r->at, "the section has no ]", policy_nothing);
        return;
    }
    const policy_bytes name = { r->text + from, (uint32_t)(close - r->text - (ptrdiff_t)from) };
    r->at = from + name.len + 1;
    if (!policy_name_check(r, from, name)) { return; }
    policy_line_end(r);
    if (!r->broken) { policy_section_begin(r, from, name); }
}

/* Check the pattern of a rule. *places: its placeholders. */
static void policy_pattern_check(policy_reader *r, policy_kind kind, size_t at,
                                 policy_bytes pattern, uint32_t *places)
{
    const char *wrong = NULL;
    if (pattern.len == 0 || pattern.len > CELLAR_PATTERN_MAX) {
        wrong = "a pattern must have 1..1,024 bytes";
        pattern.at = NULL;
    } else if (kind == POLICY_KEY) {
        wrong = policy_key_check(pattern, places);
    }
    if (wrong != NULL) { policy_error_at(r, at, wrong, pattern); }
}

static bool policy_is_star(policy_kind kind, policy_bytes pattern)
{
    return kind == POLICY_GLOB && pattern.len == 1 && pattern.at[0] == '*';
}

/* End a rule, behind its options. */
static void policy_rule_end(policy_reader *r, policy_kind kind, policy_bytes pattern,
                            uint32_t places)
{
    if (++r->rules == POLICY_RULES_MAX + 1) {
        policy_error_at(r, r->start, "more than 4,096 rules", policy_nothing);
    }
    if (r->broken) { return; }
    r->bytes += pattern.len;
    r->parts += kind == POLICY_KEY ? places + 1 : 0;
    r->tags += r->line_tags;
    policy_count_texts(r);
    if (r->t != NULL) { policy_keep_rule(r, kind, pattern); }
}

static void policy_rule_line(policy_reader *r, policy_kind kind)
{
    policy_bytes pattern = { "", 0 };
    uint32_t places = 0;
    policy_skip_blanks(r);
    const size_t at = r->at;
    if (policy_line_ends(r)) {
        policy_error_at(r, at, "the rule has no pattern", policy_nothing);
        return;
    }
    if (policy_value(r, &pattern)) { policy_pattern_check(r, kind, at, pattern, &places); }
    const bool star = policy_is_star(kind, pattern);
    for (policy_skip_blanks(r); !policy_line_ends(r); policy_skip_blanks(r)) {
        policy_option_read(r, kind, star);
    }
    policy_rule_end(r, kind, pattern, places);
}

/* End a `set`, behind its options. */
static void policy_set_end(policy_reader *r, size_t at)
{
    if (r->broken) { return; }
    policy_count_texts(r);
    if (r->t != NULL) { policy_keep_set(r, at); }
}

static void policy_set_line(policy_reader *r, size_t at)
{
    for (policy_skip_blanks(r); !policy_line_ends(r); policy_skip_blanks(r)) {
        policy_option_read(r, POLICY_SET, false);
    }
    policy_set_end(r, at);
}

static void policy_line_begin(policy_reader *r)
{
    r->broken = false;
    r->room_used = 0;
    r->line_tags = 0;
    r->zone = NULL;
    memset(&r->v, 0, sizeof r->v);
}

static void policy_line(policy_reader *r)
{
    policy_line_begin(r);
    for (size_t i = r->at; i < r->end; i++) {
        if (r->text[i] == '\0' || r->text[i] == '\r') {
            policy_error_at(r, i, r->text[i] == '\0' ? "a NUL byte"
                                                     : "a carriage return inside a line",
                            policy_nothing);
            return;
        }
    }
    policy_skip_blanks(r);
    if (policy_line_ends(r)) { return; }
    if (r->text[r->at] == '[') {
        policy_section_line(r);
        return;
    }
    const size_t at = r->at;
    policy_bytes word;
    unsigned kind = POLICY_SET;
    while (r->at < r->end && !policy_blank(r->text[r->at])) { r->at++; }
    word = (policy_bytes){ r->text + at, (uint32_t)(r->at - at) };
    while (kind <= POLICY_NO_L2 && !policy_equal(word, policy_kinds[kind])) { kind++; }
    if (kind > POLICY_NO_L2) {
        policy_error_at(r, at, "\"%.*s\" must be [name], set, key, glob, deny or no_l2", word);
        return;
    }
    if (!r->in_section) {
        policy_error_at(r, at, "write [name] or [*] before the first rule", policy_nothing);
        r->in_section = true;
    }
    if (kind == POLICY_SET) {
        policy_set_line(r, at);
    } else {
        policy_rule_line(r, (policy_kind)kind);
    }
}

/* ---- structs ---- */

/* Begin the section of a struct, unless the one before it has the same. */
static void policy_struct_section(policy_reader *r, const char *name)
{
    const policy_bytes b = { name, (uint32_t)strnlen(name, CELLAR_NAME_MAX + 1) };
    if (r->in_section && policy_equal(r->named, name)) { return; }
    if (!policy_name_check(r, 0, b)) { return; }
    r->in_section = true;
    r->named = b;
    policy_section_begin(r, 0, b);
}

/* Read a struct as a line with the same words. */
static void policy_struct(policy_reader *r, const cellar_policy_rule *rule)
{
    static const policy_kind kinds[] = { POLICY_KEY, POLICY_GLOB, POLICY_DENY, POLICY_NO_L2,
                                         POLICY_SET };
    policy_bytes pattern = { "", 0 };
    uint32_t places = 0;
    policy_line_begin(r);
    if ((unsigned)rule->kind > (unsigned)CELLAR_POLICY_SET) {
        policy_error_at(r, 0, "kind must be a cellar_policy_kind", policy_nothing);
        return;
    }
    const policy_kind kind = kinds[rule->kind];
    if ((rule->pattern == NULL) != (kind == POLICY_SET)) {
        policy_error_at(r, 0, kind == POLICY_SET ? "pattern must be NULL in a CELLAR_POLICY_SET"
                                                 : "the rule has no pattern", policy_nothing);
        return;
    }
    policy_struct_section(r, rule->section != NULL ? rule->section : "*");
    if (kind != POLICY_SET) {
        pattern.at = rule->pattern;
        pattern.len = (uint32_t)strnlen(rule->pattern, CELLAR_PATTERN_MAX + 1);
        policy_pattern_check(r, kind, 0, pattern, &places);
    }
    for (unsigned i = 0; i < POLICY_FIELDS; i++) {
        policy_field f;
        if (!policy_field_read(rule, i, &f)) { continue; }
        policy_option_take(r, kind, policy_is_star(kind, pattern), 0, f.word, f.value, f.valued);
    }
    if (kind == POLICY_SET) {
        policy_set_end(r, 0);
    } else {
        policy_rule_end(r, kind, pattern, places);
    }
}

/* ---- passes ---- */

static void policy_lines(policy_reader *r)
{
    const char *text = r->text;
    const size_t len = r->len;
    size_t next = len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    while (next < len && r->d->errors < POLICY_NOTES_MAX) {
        const char *lf = memchr(text + next, '\n', len - next);
        r->line++;
        r->at = r->start = next;
        r->end = lf != NULL ? (size_t)(lf - text) : len;
        next = r->end + 1;
        if (lf != NULL && r->end > r->at && text[r->end - 1] == '\r') { r->end--; }
        policy_line(r);
        base_tz_close(r->zone);
    }
}

static void policy_structs(policy_reader *r, const policy_source *src)
{
    for (size_t i = 0; i < src->len && r->d->errors < POLICY_NOTES_MAX; i++) {
        cellar_policy_rule rule;
        (void)base_opts_in(&rule, sizeof rule, src->structs + i * src->stride);
        r->line = (uint32_t)i;
        policy_struct(r, &rule);
        base_tz_close(r->zone);
    }
}

/* Read all lines or structs, in pass 2 into `t`. */
static void policy_pass(policy_reader *r, const policy_source *src, policy_diag *d,
                        policy_table *t, char *pool)
{
    memset(r, 0, offsetof(policy_reader, room));
    r->text = src->text;
    r->len = src->len;
    r->d = d;
    r->t = t;
    r->pool = pool;
    if (src->structs != NULL) { policy_structs(r, src); } else { policy_lines(r); }
}

static policy_table *policy_table_new(const policy_reader *r, base_account *a, bool *refused)
{
    size_t bytes = sizeof(policy_table) + sizeof(policy_section) * r->sections +
                   sizeof(policy_rule) * r->rules + sizeof(policy_bytes) * (r->parts + r->tags) +
                   sizeof(uint64_t) * r->tags + POLICY_INDEX_BYTES(r->rules, r->sections) +
                   r->bytes + 1;
    policy_table *t = a != NULL ? base_alloc(a, BASE_MOD_POLICY, bytes, refused)
                                : base_alloc_raw(NULL, bytes);
    if (t == NULL) { return NULL; }
    memset(t, 0, bytes);
    t->bytes = bytes;
    t->account = a;
    t->section = (policy_section *)(t + 1);
    t->rule = (policy_rule *)(t->section + r->sections);
    t->index = t->rule + r->rules;
    t->tag_fp = (uint64_t *)(void *)((char *)t->index +
                                     POLICY_INDEX_BYTES(r->rules, r->sections));
    t->part = (policy_bytes *)(t->tag_fp + r->tags);
    t->tag = t->part + r->parts;
    return t;
}

CELLAR_PRIVATE void policy_table_free(policy_table *t)
{
    if (t == NULL) { return; }
    for (uint32_t i = 0; i < t->rule_count; i++) { base_tz_close(t->rule[i].zone); }
    if (t->account != NULL) {
        base_uncharge(t->account, BASE_MOD_POLICY, t->zone_bytes);
        base_free(t->account, BASE_MOD_POLICY, t, t->bytes);
    } else {
        base_free_raw(NULL, t, t->bytes);
    }
}

CELLAR_PRIVATE cellar_err policy_parse(const policy_source *src, base_account *a,
                                       policy_diag *d, policy_table **out)
{
    policy_reader r;
    bool refused = false;
    *out = NULL;
    d->structs = src->structs != NULL;
    if (src->structs == NULL && src->len > POLICY_FILE_MAX) {
        policy_note(d, false, 1, 1, "the file is larger than 1 MiB");
        return CELLAR_E_CONFIG;
    }
    policy_pass(&r, src, d, NULL, NULL);
    if (d->errors > 0) { return r.no_memory ? CELLAR_E_NOMEM : CELLAR_E_CONFIG; }
    policy_table *t = policy_table_new(&r, a, &refused);
    if (t == NULL) { return refused ? CELLAR_E_SPACE : CELLAR_E_NOMEM; }
    const size_t bytes = r.bytes;
    policy_pass(&r, src, d, t, (char *)(t->tag + r.tags));
    if (d->errors > 0) {
        policy_table_free(t);
        return r.no_memory ? CELLAR_E_NOMEM : CELLAR_E_CONFIG;
    }
    BASE_ASSERT(r.bytes == bytes && r.pool <= (char *)t + t->bytes);
    (void)bytes;
    size_t zones = 0;
    for (uint32_t i = 0; i < t->rule_count; i++) { zones += base_tz_bytes(t->rule[i].zone); }
    if (a != NULL && zones > 0 && !base_charge_room(a, BASE_MOD_POLICY, zones)) {
        policy_table_free(t);
        return CELLAR_E_SPACE;
    }
    t->zone_bytes = zones;
    t->structs = src->structs != NULL;
    const policy_section *all = policy_section_find(t, "*", 1);
    for (uint32_t i = 0; i < t->section_count; i++) {
        t->section[i].all = &t->section[i] != all ? all : NULL;
    }
    *out = t;
    return CELLAR_OK;
}

BASE_SIZE_END
