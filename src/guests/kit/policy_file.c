/* SPDX-License-Identifier: MIT
 *
 * policy_file: rules of keys from a text or a file.
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
 * WALK       text -> lines (text.c) -> words -> one cellar_policy_rule a line, and its texts behind
 *            the rules, in one block of cellar_free.
 * INVARIANTS A block has room for a rule of each line and for the text: a text of a rule is not
 *            longer than its word, which has a byte before it that is not copied.
 * LIMITS     1 MiB, 4,096 rules, 1,024 bytes a pattern, 100 errors. */
#include "cellar_kit.h"

#include <stddef.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/opts.h"
#include "kit/policy_lint.h"
#include "policy/policy.h"

BASE_SIZE_BEGIN

#define KIT_POLICY_FILE_MAX ((size_t)1 << 20)

/* ---- words of the language ---- */

typedef enum kit_policy_type {
    KIT_IS_TIME, KIT_IS_JITTER, KIT_IS_PRIORITY, KIT_IS_QUOTA, KIT_IS_FLAG, KIT_IS_TEXT
} kit_policy_type;

typedef struct kit_policy_word {
    const char *name;
    uint16_t offset; /* of its field */
    uint8_t type;
} kit_policy_word;
#define KIT_WORD(name, field, type) { name, (uint16_t)offsetof(cellar_policy_rule, field), type }

static const kit_policy_word kit_policy_words[] = {
    KIT_WORD("default_ttl", ttl_ms, KIT_IS_TIME), /* in place of ttl in a `set` line */
    KIT_WORD("ttl", ttl_ms, KIT_IS_TIME),
    KIT_WORD("ttl_max", ttl_max_ms, KIT_IS_TIME),
    KIT_WORD("idle", idle_ms, KIT_IS_TIME),
    KIT_WORD("max_age", max_age_ms, KIT_IS_TIME),
    KIT_WORD("negative", negative_ttl_ms, KIT_IS_TIME),
    KIT_WORD("stale", stale_ms, KIT_IS_TIME),
    KIT_WORD("refresh", refresh_ms, KIT_IS_TIME),
    KIT_WORD("jitter", jitter_pct, KIT_IS_JITTER),
    KIT_WORD("priority", priority, KIT_IS_PRIORITY),
    KIT_WORD("quota_max", quota_max_pct, KIT_IS_QUOTA),
    KIT_WORD("no_l2", no_l2, KIT_IS_FLAG),
    KIT_WORD("separator", separator, KIT_IS_TEXT),
    KIT_WORD("loader", loader, KIT_IS_TEXT),
    KIT_WORD("class", ttl_class, KIT_IS_TEXT),
    KIT_WORD("tags", tags, KIT_IS_TEXT),
    KIT_WORD("prefix", prefix, KIT_IS_TEXT),
    KIT_WORD("at", at, KIT_IS_TEXT),
};
#define KIT_POLICY_WORDS (sizeof kit_policy_words / sizeof kit_policy_words[0])

/* Return whether the option is set. */
static bool kit_policy_has(const cellar_policy_rule *r, const kit_policy_word *w)
{
    const char *field = (const char *)r + w->offset;
    int64_t ms = 0;
    uint32_t n = 0;
    const char *text = NULL;
    if (w->type == KIT_IS_TIME) { memcpy(&ms, field, sizeof ms); }
    else if (w->type == KIT_IS_TEXT) { memcpy(&text, field, sizeof text); }
    else { memcpy(&n, field, sizeof n); }
    return ms != 0 || n != 0 || text != NULL;
}

/* ---- one line ---- */

typedef struct kit_policy_reader {
    kit_notes notes;
    cellar_policy_rule *rules;
    size_t count;
    char *pool;            /* next free byte of the texts */
    const char *section;   /* in force; NULL: none so far */
    bool no_memory;        /* a time zone got none */
    bool full;             /* the error about too many rules is reported */
    kit_value line;        /* the line, with the cursor */
    bool broken;           /* the line has an error */
    cellar_policy_rule rule; /* of the line */
} kit_policy_reader;

static void kit_policy_wrong(kit_policy_reader *r, size_t at, const char *what)
{
    r->broken = true;
    kit_note(&r->notes, CELLAR_LOG_ERROR, at, "", "%s", what);
}

/* Refuse a part of the line. name: its kind. */
static void kit_policy_refuse(kit_policy_reader *r, size_t at, const char *name, const char *p,
                              size_t len, const char *what)
{
    r->broken = true;
    kit_note(&r->notes, CELLAR_LOG_ERROR, at, "", "%s \"%.*s\": %s", name,
             (int)BASE_MIN(len, (size_t)40), p, what);
}

/* Skip blanks. Return whether the rest of the line is nothing or a comment. */
static bool kit_line_ends(kit_policy_reader *r)
{
    kit_skip_blanks(&r->line);
    return r->line.at >= r->line.len || r->line.p[r->line.at] == '#';
}

/* Copy a text behind the rules, terminated. */
static const char *kit_policy_keep(kit_policy_reader *r, const char *p, size_t len)
{
    char *kept = r->pool;
    memcpy(kept, p, len);
    kept[len] = '\0';
    r->pool += len + 1;
    return kept;
}

/* Read a word or a string into the pool. Return false if it is a damaged string. */
static bool kit_policy_text(kit_policy_reader *r, const char **out, size_t *len)
{
    kit_value *v = &r->line;
    const size_t from = v->at;
    *len = 0;
    if (from == v->len || v->p[from] != '"') {
        while (v->at < v->len && !kit_is_blank(v->p[v->at])) { v->at++; }
        *len = v->at - from;
        *out = kit_policy_keep(r, v->p + from, *len);
        return true;
    }
    const char *wrong = kit_quoted(v, true, r->pool, v->len, len);
    if (wrong == NULL && v->at < v->len && !kit_is_blank(v->p[v->at])) {
        wrong = "a string ends with a blank or the line";
    }
    if (wrong != NULL) {
        kit_policy_wrong(r, v->at, wrong);
        v->at = v->len;
        return false;
    }
    *out = r->pool;
    r->pool[*len] = '\0';
    r->pool += *len + 1;
    return true;
}

/* ---- values: each returns the error, NULL for none; the engine checks the rest ---- */

static const char *kit_policy_time(kit_value *v, int64_t *out)
{
    uint64_t n;
    *out = CELLAR_TTL_NONE;
    if (kit_word_is(v->p, v->len, "never")) { return NULL; }
    const char *why = kit_time(v, &n);
    if (why != NULL) { return why; }
    *out = (int64_t)BASE_MIN(n, (uint64_t)CELLAR_TTL_NONE - 1);
    return n == 0 ? "must be at least 1ms" : NULL;
}

/* Store the value of an option. */
static const char *kit_policy_put(kit_policy_reader *r, const kit_policy_word *w, kit_value *v)
{
    static const char *const low_mid_high[] = { "low", "mid", "high" };
    char *field = (char *)&r->rule + w->offset;
    int64_t ms;
    uint32_t n = 1; /* of a flag */
    uint64_t share;
    const char *why = NULL;
    switch ((kit_policy_type)w->type) {
    case KIT_IS_TIME:
        why = kit_policy_time(v, &ms);
        memcpy(field, &ms, sizeof ms);
        return why;
    case KIT_IS_TEXT: memcpy(field, &v->p, sizeof v->p); return NULL;
    case KIT_IS_JITTER:
        why = kit_jitter(v, &n, &r->rule.jitter_mode);
        why = why != NULL ? "must be 0%..100%, with + for longer times, with +- for both" : NULL;
        break;
    case KIT_IS_QUOTA:
        why = kit_digits(v, &share) != NULL || share == 0 || share > 100 ||
              !kit_word_is(v->p + v->at, v->len - v->at, "%") ? "must be 1%..100%" : NULL;
        n = (uint32_t)share;
        break;
    case KIT_IS_PRIORITY:
        while (n <= 3 && !kit_word_is(v->p, v->len, low_mid_high[n - 1])) { n++; }
        why = n > 3 ? "must be low, mid or high" : NULL;
        break;
    case KIT_IS_FLAG: break;
    }
    memcpy(field, &n, sizeof n);
    return why;
}

/* Take an option of this line. */
static void kit_policy_option(kit_policy_reader *r, const char *name, size_t len, kit_value *v,
                              bool valued)
{
    const size_t hidden = r->rule.kind == CELLAR_POLICY_SET ? 1 : 0; /* ttl, or default_ttl */
    const cellar_policy_rule before = r->rule;
    const kit_policy_word *w = NULL;
    const size_t at = (size_t)(name - r->line.p);
    for (size_t i = 0; i < KIT_POLICY_WORDS; i++) {
        if (i != hidden && kit_word_is(name, len, kit_policy_words[i].name)) {
            w = &kit_policy_words[i];
        }
    }
    if (w == NULL) {
        kit_policy_refuse(r, at, "option", name, len, kit_word_is(name, len, "quota")
                          ? "write quota_max=40%, the greatest share; there is no least share"
                          : "there is no such option");
        return;
    }
    const bool flag = w->type == KIT_IS_FLAG;
    const char *wrong = kit_policy_has(&before, w) ? "the option is given twice"
                        : flag && valued ? "the option takes no value"
                        : !flag && v->len == 0 ? "the option needs a value"
                                               : kit_policy_put(r, w, v);
    if (wrong == NULL) { wrong = policy_rule_check(&r->rule, &r->no_memory); }
    if (wrong == NULL) { return; }
    r->rule = before; /* the next option is checked without this one */
    kit_policy_refuse(r, at, w->name, v->p, v->len, wrong);
}

static void kit_policy_options(kit_policy_reader *r)
{
    kit_value *l = &r->line;
    while (!kit_line_ends(r)) {
        const size_t from = l->at;
        kit_value v = { "", 0, 0, false };
        while (l->at < l->len && l->p[l->at] != '=' && !kit_is_blank(l->p[l->at])) { l->at++; }
        const size_t len = l->at - from;
        const bool valued = l->at < l->len && l->p[l->at] == '=';
        l->at += valued;
        if (valued && !kit_policy_text(r, &v.p, &v.len)) { return; }
        kit_policy_option(r, l->p + from, len, &v, valued);
    }
}

/* ---- lines ---- */

static void kit_policy_section(kit_policy_reader *r)
{
    kit_value *l = &r->line;
    const size_t from = l->at + 1;
    const char *close = memchr(l->p + from, ']', l->len - from);
    if (r->section == NULL) { r->section = "*"; } /* rules behind a damaged name are checked */
    if (close == NULL) {
        kit_policy_wrong(r, l->at, "the section has no ]");
        return;
    }
    const size_t len = (size_t)(close - l->p) - from;
    l->at = from + len + 1;
    if (len == 0 || len > CELLAR_NAME_MAX) {
        kit_policy_wrong(r, from, "the name of a section must have 1..64 bytes");
    } else if (!kit_line_ends(r)) {
        kit_policy_wrong(r, l->at, "only a comment may follow here");
    } else {
        r->section = kit_policy_keep(r, l->p + from, len);
    }
}

static void kit_policy_pattern(kit_policy_reader *r)
{
    size_t len;
    if (kit_line_ends(r)) {
        kit_policy_wrong(r, r->line.at, "the rule has no pattern");
        return;
    }
    const size_t at = r->line.at;
    if (!kit_policy_text(r, &r->rule.pattern, &len)) { return; }
    const char *wrong = policy_rule_check(&r->rule, &r->no_memory);
    if (wrong == NULL) { return; }
    kit_policy_refuse(r, at, "pattern", r->rule.pattern, len, wrong);
    r->rule.pattern = "*"; /* options are checked without this pattern */
}

/* Return whether an earlier `set` line of the section has an option of this one. */
static bool kit_policy_set_twice(const kit_policy_reader *r)
{
    for (size_t i = 0; i < r->count; i++) {
        const cellar_policy_rule *s = &r->rules[i];
        if (s->kind != CELLAR_POLICY_SET || strcmp(s->section, r->section) != 0) { continue; }
        for (size_t k = 0; k < KIT_POLICY_WORDS; k++) {
            if (kit_policy_has(s, &kit_policy_words[k]) &&
                kit_policy_has(&r->rule, &kit_policy_words[k])) {
                return true;
            }
        }
    }
    return false;
}

static void kit_policy_line(void *ctx, const char *line, size_t len)
{
    static const char *const kinds[] = { "key", "glob", "deny", "no_l2", "set" };
    kit_policy_reader *r = ctx;
    r->line = (kit_value){ line, len, 0, false };
    r->broken = false;
    if (kit_line_ends(r)) { return; }
    const size_t at = r->line.at;
    if (line[at] == '[') {
        kit_policy_section(r);
        return;
    }
    unsigned kind = 0;
    while (r->line.at < len && !kit_is_blank(line[r->line.at])) { r->line.at++; }
    const size_t word = r->line.at - at;
    while (kind < 5 && !kit_word_is(line + at, word, kinds[kind])) { kind++; }
    if (kind == 5) {
        kit_policy_refuse(r, at, "word", line + at, word,
                          "must be [name], set, key, glob, deny or no_l2");
        return;
    }
    if (r->section == NULL) {
        kit_policy_wrong(r, at, "write [name] or [*] before the first rule");
        r->section = "*";
    }
    r->rule = cellar_policy_rule_default();
    r->rule.kind = (cellar_policy_kind)kind;
    r->rule.section = r->section;
    r->rule.line = r->notes.line;
    if (kind != CELLAR_POLICY_SET) { kit_policy_pattern(r); }
    kit_policy_options(r);
    if (r->broken) { return; }
    if (kind == CELLAR_POLICY_SET && kit_policy_set_twice(r)) {
        kit_policy_wrong(r, at, "an option of the section is set twice");
    } else if (r->count == POLICY_RULES_MAX) {
        if (!r->full) { kit_policy_wrong(r, 0, "more than 4,096 rules"); }
        r->full = true;
    } else {
        r->rules[r->count++] = r->rule;
    }
}

/* ---- texts ---- */

/* Parse a text into a new block. */
static cellar_err kit_policy_parse(kit_policy_reader *r, const char *text, size_t len)
{
    if (len > KIT_POLICY_FILE_MAX) {
        r->notes.line = 1;
        kit_note(&r->notes, CELLAR_LOG_ERROR, 0, "", "larger than 1 MiB");
        return CELLAR_E_CONFIG;
    }
    size_t lines = 1;
    for (size_t i = 0; i < len && lines < POLICY_RULES_MAX; i++) { lines += text[i] == '\n'; }
    const size_t room = lines * sizeof *r->rules;
    unsigned char *block = base_block_new(NULL, room + len + 1);
    if (block == NULL) { return CELLAR_E_NOMEM; }
    r->rules = (cellar_policy_rule *)(void *)block;
    r->pool = (char *)block + room;
    kit_lines(&r->notes, text, len, kit_policy_line, r);
    if (r->notes.errors == 0) { return CELLAR_OK; }
    base_block_free(block);
    return r->no_memory ? CELLAR_E_NOMEM : CELLAR_E_CONFIG;
}

/* Parse the text of the options, else the file. */
static cellar_err kit_policy_source(kit_policy_reader *r, const char *path,
                                    const cellar_policy_opts *o)
{
    char *text;
    size_t len;
    if (o->text != NULL) { return kit_policy_parse(r, o->text, o->text_len); }
    cellar_err err = kit_file_read(&r->notes, path, KIT_POLICY_FILE_MAX, &text, &len);
    if (err != CELLAR_OK) { return err; }
    err = kit_policy_parse(r, text, len);
    base_free_raw(NULL, text, KIT_POLICY_FILE_MAX + 1);
    return err;
}

CELLAR_API cellar_err cellar_policy_read(const char *path, const cellar_policy_opts *o,
                                         cellar_settings_note_fn fn, void *ctx,
                                         cellar_policy_rule **rules, size_t *rule_count)
{
    cellar_policy_opts full = cellar_policy_opts_default();
    kit_policy_reader r = { .notes = { .source = path, .fn = fn, .ctx = ctx } };
    if (rules != NULL) { *rules = NULL; }
    if (rule_count != NULL) { *rule_count = 0; }
    if (path == NULL || rules == NULL || rule_count == NULL) { return CELLAR_E_INVAL; }
    cellar_err err = o != NULL ? base_opts_in(&full, sizeof full, o) : CELLAR_OK;
    if (err != CELLAR_OK) { return err; }
    if (full.lint > 1 || (full.text == NULL && full.text_len != 0) ||
        (full.spaces == NULL && full.space_count != 0)) {
        return CELLAR_E_INVAL;
    }
    err = kit_policy_source(&r, path, &full);
    if (err != CELLAR_OK) {
        return base_refuse(err, "cellar_policy_read",
                           r.notes.errors != 0 ? r.notes.first : "no memory for the rules");
    }
    const kit_policy p = { r.rules, r.count };
    if (full.lint != 0) { kit_policy_lint(&p, &r.notes); }
    if (full.spaces != NULL) {
        kit_policy_compare(&p, full.spaces, full.space_count, &r.notes);
    }
    *rules = r.rules;
    *rule_count = r.count;
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_policy_reload(cellar *c, const char *path, cellar_settings_note_fn fn,
                                           void *ctx)
{
    cellar_policy_rule *rules;
    size_t count;
    if (c == NULL) { return CELLAR_E_INVAL; }
    cellar_err err = cellar_policy_read(path, NULL, fn, ctx, &rules, &count);
    if (err != CELLAR_OK) {
        policy_count(c, err);
        return err;
    }
    err = cellar_policy_set(c, rules, count);
    cellar_free(rules);
    return err;
}

BASE_SIZE_END
