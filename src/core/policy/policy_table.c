/* SPDX-License-Identifier: MIT
 *
 * policy_table: check rules given as structs, and copy them into a table.
 *
 * WALK       pass 1 checks and counts; pass 2 fills one block of the counted size.
 * INVARIANTS Both passes accept the same rules. The table has no pointer into the structs.
 * LIMITS     4,096 rules, 1,024 bytes a pattern. The first wrong rule is named. */
#include "policy/policy_table.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/opts.h"

BASE_SIZE_BEGIN

/* ---- one option ---- */

#define POLICY_IN_SET 1u
#define POLICY_IN_RULE 2u
#define POLICY_ANYWHERE 3u
#define POLICY_TIME_MAX ((int64_t)1 << 52) /* 142,000 years, ms */

typedef struct policy_number_field { /* a number of a struct; 0: not set */
    const char *name;
    uint16_t offset;
    uint8_t option, where;
    bool wide;   /* 8 bytes, else 4 */
    bool endless; /* CELLAR_TTL_NONE is a value */
    int64_t most;
} policy_number_field;
#define POLICY_NUMBER(field, option, where, endless, most)                      \
    { #field, (uint16_t)offsetof(cellar_policy_rule, field), option, where,     \
      CELLAR_SIZEOF_FIELD(cellar_policy_rule, field) == 8, endless, most }

static const policy_number_field policy_numbers[] = {
    POLICY_NUMBER(ttl_ms, POLICY_TTL, POLICY_ANYWHERE, true, POLICY_TIME_MAX),
    POLICY_NUMBER(ttl_max_ms, POLICY_TTL_MAX, POLICY_IN_RULE, false, POLICY_TIME_MAX),
    POLICY_NUMBER(idle_ms, POLICY_IDLE, POLICY_ANYWHERE, true, UINT32_MAX),
    POLICY_NUMBER(max_age_ms, POLICY_MAX_AGE, POLICY_ANYWHERE, true, POLICY_TIME_MAX),
    POLICY_NUMBER(negative_ttl_ms, POLICY_NEGATIVE, POLICY_ANYWHERE, true, POLICY_TIME_MAX),
    POLICY_NUMBER(stale_ms, POLICY_STALE, POLICY_ANYWHERE, true, UINT32_MAX),
    POLICY_NUMBER(refresh_ms, POLICY_REFRESH, POLICY_ANYWHERE, false, POLICY_TIME_MAX),
    POLICY_NUMBER(priority, POLICY_PRIORITY, POLICY_IN_RULE, false, 3),
    POLICY_NUMBER(no_l2, POLICY_DISK_OFF, POLICY_ANYWHERE, false, 1),
};

typedef struct policy_text_field { /* a text of a struct; NULL: not set */
    const char *name;
    uint16_t offset;
    uint8_t option, where;
    uint32_t most; /* bytes */
    const char *length; /* said of another length */
} policy_text_field;
#define POLICY_TEXT(field, option, where, most, length) \
    { #field, (uint16_t)offsetof(cellar_policy_rule, field), option, where, most, length }

static const policy_text_field policy_texts[] = {
    POLICY_TEXT(ttl_class, POLICY_CLASS, POLICY_IN_RULE, CELLAR_TTL_CLASS_NAME_MAX,
                "must have 1..31 bytes"),
    POLICY_TEXT(tags, POLICY_TAGS, POLICY_IN_RULE, CELLAR_TAGS_MAX * (CELLAR_TAG_MAX + 1),
                "an entry has at most 16 tags of 1..128 bytes"),
    POLICY_TEXT(at, POLICY_AT, POLICY_IN_RULE, POLICY_ZONE_MAX + 6,
                "no time of day: write 00:00@Asia/Shanghai"),
    POLICY_TEXT(loader, POLICY_LOADER, POLICY_IN_RULE, POLICY_WORD_MAX,
                "must have 1..64 bytes"),
    POLICY_TEXT(prefix, POLICY_PREFIX, POLICY_IN_SET, CELLAR_PATTERN_MAX,
                "must have 1..1,024 bytes"),
};
#define POLICY_COUNT(list) (sizeof(list) / sizeof(list)[0])

typedef struct policy_builder { /* one pass over the structs */
    policy_table *t;     /* pass 2; NULL: pass 1 */
    char *pool;          /* pass 2: next free byte of the table */
    uint32_t sections, rules, parts, tags; /* so far */
    size_t bytes;        /* pass 1: bytes of all texts */
    uint32_t section;    /* pass 2: number of the section in force */
    policy_bytes named;  /* the section of the last rule; at NULL: none */
    bool no_memory;      /* a time zone got none */
    policy_place place;  /* of this rule */
    uint32_t line_tags, minutes; /* of this rule, and its zone */
    base_tz *zone;
    policy_values v;     /* options of this rule */
    const char *said;    /* the rule that it breaks; NULL: none */
    const char *field;   /* the field that breaks it */
} policy_builder;

/* Refuse this rule. */
static bool policy_wrong(policy_builder *r, const char *field, const char *said)
{
    r->field = field;
    r->said = said;
    return false;
}

static void policy_give(policy_builder *r, unsigned option, int64_t number)
{
    r->v.given |= 1u << option;
    r->v.number[option] = number;
}

static bool policy_number_take(policy_builder *r, const policy_number_field *f,
                               const cellar_policy_rule *rule, unsigned where)
{
    int64_t n = 0;
    uint32_t half;
    memcpy(&half, (const char *)rule + f->offset, sizeof half);
    memcpy(&n, (const char *)rule + f->offset, f->wide ? sizeof n : 0);
    if (!f->wide) { n = half; }
    if (n == 0) { return true; }
    if ((f->where & where) == 0) {
        return policy_wrong(r, f->name, "belongs to another kind of rule");
    }
    if (n < 0 || (n > f->most && !(f->endless && n == CELLAR_TTL_NONE))) {
        return policy_wrong(r, f->name, n == CELLAR_TTL_NONE ? "must have an end"
                                        : f->most == UINT32_MAX ? "must be at most 2^32 - 1 ms"
                                                                : "is out of range");
    }
    policy_give(r, f->option, f->option == POLICY_STALE && n == CELLAR_TTL_NONE ? 0 : n);
    return true;
}

static bool policy_jitter_take(policy_builder *r, const cellar_policy_rule *rule)
{
    const uint32_t pct = rule->jitter_pct;
    if (pct == 0) { return true; }
    if (pct > 100 && pct != CELLAR_OFF) {
        return policy_wrong(r, "jitter_pct", "must be 1..100, or CELLAR_OFF");
    }
    if ((unsigned)rule->jitter_mode > (unsigned)CELLAR_JITTER_PLUSMINUS) {
        return policy_wrong(r, "jitter_mode", "must be a cellar_jitter");
    }
    policy_give(r, POLICY_JITTER, (pct == CELLAR_OFF ? 0 : pct) |
                POLICY_JITTER_MODE * (int64_t)rule->jitter_mode);
    return true;
}

/* Take the quota. whole: the rule holds for all keys of its section. */
static bool policy_quota_take(policy_builder *r, const cellar_policy_rule *rule, bool whole)
{
    const uint32_t most = rule->quota_max_pct;
    if (most == 0) { return true; }
    if (!whole) {
        return policy_wrong(r, "quota_max_pct", "belongs to a set rule, or to the glob *");
    }
    if (most > 100) { return policy_wrong(r, "quota_max_pct", "must be 1..100"); }
    policy_give(r, POLICY_QUOTA, most);
    return true;
}

/* Check a list of tags, as "a,b", and count them. Return what is wrong; NULL: nothing. */
static const char *policy_tags_check(policy_builder *r, const char *list, size_t len)
{
    size_t tag = 0;
    r->line_tags = 1;
    for (size_t i = 0; i <= len; i++) {
        if (i < len && list[i] != ',') {
            tag++;
            continue;
        }
        if (tag == 0 || tag > CELLAR_TAG_MAX) { return "a tag has 1..128 bytes"; }
        r->line_tags += i < len;
        tag = 0;
    }
    return r->line_tags > CELLAR_TAGS_MAX ? "an entry has at most 16 tags" : NULL;
}

/* Read a time of day, as "00:00@Europe/Paris", and open its zone. Return what is wrong; NULL:
 * nothing. */
static const char *policy_at_read(policy_builder *r, const char *p, size_t len)
{
    char name[POLICY_ZONE_MAX + 1];
    const int minutes = len > 6 ? base_tz_minutes(p, len) : -1;
    if (minutes < 0) { return "no time of day: write 00:00@Asia/Shanghai"; }
    memcpy(name, p + 6, len - 6);
    name[len - 6] = '\0';
    r->minutes = (uint32_t)minutes;
    const cellar_err err = base_tz_open(NULL, name, &r->zone);
    if (err == CELLAR_E_NOMEM) { r->no_memory = true; }
    return err == CELLAR_OK            ? NULL
           : err == CELLAR_E_NOT_FOUND ? "unknown time zone"
           : err == CELLAR_E_CORRUPT   ? "the file of the time zone is damaged"
                                       : "no memory for the time zone";
}

static bool policy_text_take(policy_builder *r, const policy_text_field *f,
                             const cellar_policy_rule *rule, unsigned where)
{
    const char *text, *said = NULL;
    memcpy(&text, (const char *)rule + f->offset, sizeof text);
    if (text == NULL) { return true; }
    if ((f->where & where) == 0) {
        return policy_wrong(r, f->name, "belongs to another kind of rule");
    }
    const size_t len = strnlen(text, (size_t)f->most + 1);
    if (len == 0 || len > f->most) { return policy_wrong(r, f->name, f->length); }
    if (f->option == POLICY_TAGS) { said = policy_tags_check(r, text, len); }
    if (f->option == POLICY_AT) { said = policy_at_read(r, text, len); }
    if (said != NULL) { return policy_wrong(r, f->name, said); }
    r->v.given |= 1u << f->option;
    r->v.text[f->option - POLICY_LOADER] = (policy_bytes){ text, (uint32_t)len };
    return true;
}

static bool policy_separator_take(policy_builder *r, const cellar_policy_rule *rule, bool set)
{
    const char *s = rule->separator;
    if (s == NULL) { return true; }
    if (!set) { return policy_wrong(r, "separator", "belongs to another kind of rule"); }
    if (s[0] == '\0' || s[1] != '\0' || s[0] == '{' || s[0] == '}') {
        return policy_wrong(r, "separator", "must be one byte, and no brace");
    }
    policy_give(r, POLICY_SEPARATOR, (unsigned char)s[0]);
    return true;
}

/* Read the options of a rule. */
static bool policy_options_take(policy_builder *r, const cellar_policy_rule *rule,
                                policy_bytes pattern)
{
    const bool set = rule->kind == CELLAR_POLICY_SET;
    const bool star = rule->kind == CELLAR_POLICY_GLOB && pattern.len == 1 && *pattern.at == '*';
    const unsigned where = set ? POLICY_IN_SET : POLICY_IN_RULE;
    for (size_t i = 0; i < POLICY_COUNT(policy_numbers); i++) {
        if (!policy_number_take(r, &policy_numbers[i], rule, where)) { return false; }
    }
    for (size_t i = 0; i < POLICY_COUNT(policy_texts); i++) {
        if (!policy_text_take(r, &policy_texts[i], rule, where)) { return false; }
    }
    if (!policy_jitter_take(r, rule) || !policy_quota_take(r, rule, set || star) ||
        !policy_separator_take(r, rule, set)) {
        return false;
    }
    const bool guards = rule->kind == CELLAR_POLICY_DENY || rule->kind == CELLAR_POLICY_NO_L2;
    return !guards || r->v.given == 0 ||
           policy_wrong(r, "kind", "a deny or no_l2 rule has no options");
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

/* Check a `key` pattern. *places: its placeholders. Return what is wrong; NULL: nothing. */
static const char *policy_key_check(const char *p, size_t len, uint32_t *places)
{
    size_t from = 0, end = 0, last = SIZE_MAX;
    *places = 0;
    for (;;) {
        const size_t at = policy_placeholder(p, len, from, &end);
        if (memchr(p + from, '}', at - from) != NULL) { return "} without {"; }
        if (at == len) { return NULL; }
        if (p[end - 1] != '}') { return "{ without }"; }
        if (end - at < 3) { return "a placeholder needs a name"; }
        if (memchr(p + at + 1, '{', end - at - 1) != NULL) { return "{ inside a placeholder"; }
        if (at == last) { return "two placeholders need text between them"; }
        (*places)++;
        from = last = end;
    }
}

/* ---- pass 2 ---- */

/* Copy a text, with a NUL behind it. */
static policy_bytes policy_keep(policy_builder *r, policy_bytes b)
{
    const policy_bytes kept = { r->pool, b.len };
    if (b.len > 0) { memcpy(r->pool, b.at, b.len); }
    r->pool[b.len] = '\0';
    r->pool += b.len + 1;
    return kept;
}

static void policy_keep_values(policy_builder *r, policy_values *to)
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

static void policy_keep_section(policy_builder *r, policy_bytes name)
{
    policy_table *t = r->t;
    policy_section *s = policy_section_find(t, name.at, name.len);
    if (s == NULL) {
        s = &t->section[t->section_count++];
        s->name = policy_keep(r, name);
        s->table = t;
    }
    r->section = (uint32_t)(s - t->section);
}

static void policy_keep_tags(policy_builder *r, policy_rule *rule)
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

static void policy_keep_rule(policy_builder *r, policy_kind kind, policy_bytes pattern)
{
    policy_table *t = r->t;
    policy_rule *rule = &t->rule[t->rule_count++];
    rule->kind = (uint8_t)kind;
    rule->section = r->section;
    rule->place = r->place;
    char *bytes = r->pool;
    rule->pattern = policy_keep(r, pattern);
    for (uint32_t i = 0; kind >= POLICY_DENY && i < pattern.len; i++) {
        if (bytes[i] >= 'A' && bytes[i] <= 'Z') { bytes[i] = (char)(bytes[i] + ('a' - 'A')); }
    }
    policy_keep_values(r, &rule->v);
    policy_keep_tags(r, rule);
    rule->zone = r->zone; /* base_tz_bytes is charged by policy_table_make */
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

static bool policy_keep_set(policy_builder *r)
{
    policy_section *s = &r->t->section[r->section];
    if ((s->v.given & r->v.given) != 0) {
        return policy_wrong(r, "section", "an option of the section is set twice");
    }
    if (policy_has(&r->v, POLICY_QUOTA)) { s->quota_place = r->place; }
    policy_keep_values(r, &s->v);
    return true;
}

/* ---- passes ---- */

static void policy_count_texts(policy_builder *r)
{
    for (unsigned i = 0; i < POLICY_TEXTS; i++) {
        if (policy_has(&r->v, POLICY_LOADER + i)) { r->bytes += r->v.text[i].len + 1; }
    }
}

/* Begin the section of a rule, unless the rule before it has the same. */
static bool policy_section_take(policy_builder *r, const char *name)
{
    const policy_bytes b = { name, (uint32_t)strnlen(name, CELLAR_NAME_MAX + 1) };
    if (b.len == 0 || b.len > CELLAR_NAME_MAX) {
        return policy_wrong(r, "section", "must have 1..64 bytes");
    }
    if (r->named.at != NULL && r->named.len == b.len && memcmp(r->named.at, name, b.len) == 0) {
        return true;
    }
    r->named = b;
    r->sections++;
    r->bytes += b.len + 1;
    if (r->t != NULL) { policy_keep_section(r, b); }
    return true;
}

static bool policy_rule_take(policy_builder *r, const cellar_policy_rule *rule)
{
    const bool set = rule->kind == CELLAR_POLICY_SET;
    policy_bytes pattern = { "", 0 };
    uint32_t places = 0;
    r->place.line = rule->line;
    r->line_tags = 0;
    r->zone = NULL;
    memset(&r->v, 0, sizeof r->v);
    if ((unsigned)rule->kind > (unsigned)CELLAR_POLICY_SET) {
        return policy_wrong(r, "kind", "must be a cellar_policy_kind");
    }
    if ((rule->pattern == NULL) != set) {
        return policy_wrong(r, "pattern", set ? "must be NULL in a CELLAR_POLICY_SET"
                                              : "must not be NULL");
    }
    if (!policy_section_take(r, rule->section != NULL ? rule->section : "*")) { return false; }
    if (!set) {
        pattern.at = rule->pattern;
        pattern.len = (uint32_t)strnlen(rule->pattern, CELLAR_PATTERN_MAX + 1);
        const char *said = pattern.len == 0 || pattern.len > CELLAR_PATTERN_MAX
                               ? "must have 1..1,024 bytes"
                           : rule->kind == CELLAR_POLICY_KEY
                               ? policy_key_check(pattern.at, pattern.len, &places) : NULL;
        if (said != NULL) { return policy_wrong(r, "pattern", said); }
    }
    if (!policy_options_take(r, rule, pattern)) { return false; }
    policy_count_texts(r);
    if (set) { return r->t == NULL || policy_keep_set(r); }
    r->rules++;
    r->bytes += pattern.len + 1;
    r->parts += rule->kind == CELLAR_POLICY_KEY ? places + 1 : 0;
    r->tags += r->line_tags;
    if (r->t != NULL) { policy_keep_rule(r, (policy_kind)rule->kind, pattern); }
    return true;
}

CELLAR_PRIVATE const char *policy_rule_check(const cellar_policy_rule *rule, bool *no_memory)
{
    policy_builder r = { .rules = 0 };
    (void)policy_rule_take(&r, rule);
    base_tz_close(r.zone);
    *no_memory |= r.no_memory;
    return r.said;
}

/* Read all structs, in pass 2 into the table. */
static cellar_err policy_pass(policy_builder *r, const cellar_policy_rule *rules, size_t count)
{
    size_t stride = 0;
    cellar_err err = CELLAR_OK;
    for (size_t i = 0; i < count && err == CELLAR_OK; i++) {
        cellar_policy_rule rule;
        const char *at = (const char *)rules + i * stride;
        size_t size = 0;
        r->place.index = (uint32_t)i;
        r->field = "struct_size";
        r->said = "start from cellar_policy_rule_default()";
        err = base_opts_size(at, &size);
        if (i == 0) { stride = size; }
        if (err == CELLAR_OK && size != stride) { err = CELLAR_E_INVAL; }
        if (err == CELLAR_OK) { err = base_opts_in(&rule, sizeof rule, at); }
        if (err == CELLAR_E_UNSUPPORTED) { r->said = "a field that this library does not know"; }
        if (err != CELLAR_OK) { break; }
        if (!policy_rule_take(r, &rule)) {
            err = r->no_memory ? CELLAR_E_NOMEM : CELLAR_E_CONFIG;
        }
        base_tz_close(r->zone);
    }
    return err;
}

static policy_table *policy_table_new(const policy_builder *r, base_account *a, bool *refused)
{
    size_t bytes = sizeof(policy_table) + sizeof(policy_section) * r->sections +
                   sizeof(policy_rule) * r->rules + sizeof(policy_bytes) * (r->parts + r->tags) +
                   sizeof(uint64_t) * r->tags + POLICY_INDEX_BYTES(r->rules, r->sections) +
                   r->bytes;
    policy_table *t = base_alloc(a, BASE_MOD_POLICY, bytes, refused);
    if (t == NULL) { return NULL; }
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
    base_uncharge(t->account, BASE_MOD_POLICY, t->zone_bytes);
    base_free(t->account, BASE_MOD_POLICY, t, t->bytes);
}

CELLAR_PRIVATE cellar_err policy_table_make(const cellar_policy_rule *rules, size_t count,
                                            base_account *a, char said[POLICY_SAID],
                                            policy_table **out)
{
    policy_builder r = { .rules = 0 };
    bool refused = false;
    policy_table *t = NULL;
    *out = NULL;
    if (count > POLICY_RULES_MAX) {
        (void)snprintf(said, POLICY_SAID, "rule_count: at most 4,096 rules (got %zu)", count);
        return CELLAR_E_CONFIG;
    }
    cellar_err err = policy_pass(&r, rules, count);
    if (err == CELLAR_OK) {
        t = policy_table_new(&r, a, &refused);
        if (t == NULL) { return refused ? CELLAR_E_SPACE : CELLAR_E_NOMEM; }
        policy_builder fill = { .t = t, .pool = (char *)(t->tag + r.tags) };
        err = policy_pass(&fill, rules, count);
        r = fill;
    }
    if (err != CELLAR_OK) {
        (void)snprintf(said, POLICY_SAID, "rules[%u]: %s: %s", (unsigned)r.place.index, r.field,
                       r.said);
        policy_table_free(t);
        return err;
    }
    BASE_ASSERT(r.pool <= (char *)t + t->bytes);
    size_t zones = 0;
    for (uint32_t i = 0; i < t->rule_count; i++) { zones += base_tz_bytes(t->rule[i].zone); }
    if (zones > 0 && !base_charge_room(a, BASE_MOD_POLICY, zones)) {
        policy_table_free(t);
        return CELLAR_E_SPACE;
    }
    t->zone_bytes = zones;
    const policy_section *all = policy_section_find(t, "*", 1);
    for (uint32_t i = 0; i < t->section_count; i++) {
        t->section[i].all = &t->section[i] != all ? all : NULL;
    }
    *out = t;
    return CELLAR_OK;
}

CELLAR_PRIVATE void policy_where(policy_place p, char out[POLICY_WHERE_BYTES])
{
    (void)snprintf(out, POLICY_WHERE_BYTES, p.line != 0 ? "line %u of the policy file"
                                                        : "rules[%u] of the policy",
                   (unsigned)(p.line != 0 ? p.line : p.index));
}

BASE_SIZE_END
