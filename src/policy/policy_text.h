/* SPDX-License-Identifier: MIT
 *
 * policy_text: the rules of a policy file as a table, and the parser that makes it.
 *
 * PICTURE    table -> sections (one per name, file order) -> rules (file order) -> parts of the
 *            pattern of a `key` rule: part {name} part {name} part
 *            One allocation: header, sections, rules, parts, tags, index of policy.c, bytes. */
#ifndef POLICY_POLICY_TEXT_H
#define POLICY_POLICY_TEXT_H

#include "base/atomic.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/timezone.h"
#include "policy/policy_fields.h"

#define POLICY_FILE_MAX ((size_t)1 << 20)
#define POLICY_RULES_MAX 4096u
#define POLICY_NOTES_MAX 100u
#define POLICY_NOTE_BYTES 512u
#define POLICY_NAME_BYTES 200u /* of the file name in a note */
#define POLICY_WORD_MAX 64u    /* bytes of the name of a loader or a time zone */

typedef enum policy_kind {
    POLICY_SECTION, POLICY_SET, POLICY_KEY, POLICY_GLOB, POLICY_DENY, POLICY_NO_L2
} policy_kind;

/* Options. From LOADER on the value is a text. */
typedef enum policy_option {
    POLICY_TTL, POLICY_TTL_MAX, POLICY_IDLE, POLICY_MAX_AGE, POLICY_NEGATIVE, POLICY_STALE,
    POLICY_REFRESH,   /* this down from TTL: ms, CELLAR_TTL_NONE for "never" */
    POLICY_JITTER,    /* percent, + POLICY_JITTER_PLUS */
    POLICY_PRIORITY,  /* 1 low, 2 mid, 3 high */
    POLICY_MAX_ITEMS,
    POLICY_QUOTA,     /* least percent + most percent << 8 */
    POLICY_DISK_OFF,  /* no_l2: 1 */
    POLICY_SEPARATOR, /* a byte */
    POLICY_LOADER, POLICY_CLASS, POLICY_TAGS, POLICY_PREFIX,
    POLICY_AT,        /* "HH:MM@zone" */
    POLICY_OPTIONS
} policy_option;
#define POLICY_TEXTS (POLICY_OPTIONS - POLICY_LOADER)
#define POLICY_NUMBERS POLICY_LOADER
#define POLICY_JITTER_PLUS 256

typedef struct policy_values {
    uint32_t given; /* bit n: option n is set */
    int64_t number[POLICY_NUMBERS];
    policy_bytes text[POLICY_TEXTS]; /* of option POLICY_LOADER + n */
} policy_values;

BASE_INLINE bool policy_has(const policy_values *v, unsigned option)
{
    return (v->given >> option & 1u) != 0;
}

typedef struct policy_rule {
    uint8_t kind;
    uint32_t section, line;
    uint32_t part_first, part_count; /* KEY: literals around its placeholders */
    uint32_t tag_first, tag_count;
    policy_bytes pattern;            /* DENY, NO_L2: in lower case */
    policy_values v;
    base_tz *zone;                   /* AT; NULL: no such option */
    uint32_t at_minutes;             /* AT: time of day */
    _Atomic int64_t next_ms;         /* AT: the next such moment, wall clock; 0: not known */
} policy_rule;

typedef struct policy_section {
    policy_bytes name;    /* "*": all namespaces */
    uint32_t line;
    policy_values v;      /* of its `set` lines */
    uint32_t given_all;   /* options that it or section "*" sets: policy.c */
    const struct policy_section *all; /* section "*"; NULL: none, or this one */
    const struct policy_table *table;
    uint32_t rule_count, guard_first, guard_count;
    uint32_t group_first, group_mask; /* see policy.c */
    uint32_t loose_first, loose_count;
    uint32_t share;       /* quota of its namespaces: 0, or POLICY_SHARE and as POLICY_QUOTA */
    uint32_t share_line;
    bool share_missed;    /* a namespace cannot have it; NAMESPACE, while the table is loaded */
} policy_section;
#define POLICY_SHARE (1u << 16)

typedef struct policy_table {
    size_t bytes, zone_bytes; /* of this block; of its time zones */
    uint32_t section_count, rule_count, part_count, tag_count;
    policy_section *section;
    policy_rule *rule;
    policy_bytes *part;
    policy_bytes *tag;
    uint64_t *tag_fp;  /* fingerprint of each tag */
    void *index;       /* POLICY_INDEX_BYTES(rule_count, section_count) bytes: policy.c */
    base_account *account; /* NULL: not charged */
    bool structs;      /* `line` of its rules is an index */
} policy_table;

typedef struct policy_source { /* a text, or an array of structs */
    const char *text;
    size_t len;            /* bytes, or structs */
    const char *structs;   /* NULL: text */
    size_t stride;         /* bytes of a struct of the caller, checked */
} policy_source;

#define POLICY_ENTRY_BYTES 48u
#define POLICY_GROUP_BYTES 16u
#define POLICY_INDEX_BYTES(rules, sections) \
    ((size_t)(rules) * (POLICY_ENTRY_BYTES + 4u * POLICY_GROUP_BYTES) + \
     (size_t)(sections) * 2u * POLICY_GROUP_BYTES)

typedef struct policy_diag { /* receiver of notes, and their number so far */
    const char *name; /* of the file */
    cellar_policy_note_fn fn; /* NULL: only counted */
    void *ctx;
    bool structs; /* lines are indexes of structs */
    uint32_t errors, warnings;
    char first[POLICY_NOTE_BYTES]; /* the first error */
} policy_diag;

/* Report an error or a warning. At most POLICY_NOTES_MAX of each are reported. */
CELLAR_PRIVATE void policy_note(policy_diag *d, bool warning, uint32_t line, uint32_t column,
                                const char *format, ...) BASE_PRINTF(5, 6);
/* Read a file of at most POLICY_FILE_MAX bytes into new memory: free with base_free_raw and *cap.
 * E_IO: with errno in *sys_errno. E_CONFIG: a longer file, noted. E_NOMEM. */
CELLAR_PRIVATE cellar_err policy_file_read(const char *path, policy_diag *d, char **text,
                                           size_t *len, size_t *cap, int *sys_errno);
/* Parse a text or structs. E_CONFIG: with errors, all are noted. E_NOMEM, or E_SPACE with an
 * account. */
CELLAR_PRIVATE cellar_err policy_parse(const policy_source *src, base_account *a,
                                       policy_diag *d, policy_table **out);
CELLAR_PRIVATE void policy_table_free(policy_table *t); /* NULL accepted */
/* Find a section; NULL: none. */
CELLAR_PRIVATE policy_section *policy_section_find(const policy_table *t, const char *name,
                                                   size_t len);
/* Find the next placeholder of a `key` pattern at or behind `from`. Return its place, or len: none.
 * *end: behind it. */
CELLAR_PRIVATE size_t policy_placeholder(const char *p, size_t len, size_t from, size_t *end);
/* Hash the name of a TTL class. */
BASE_INLINE uint64_t policy_class_hash(const char *name, size_t len)
{
    uint64_t h = len;
    for (size_t i = 0; i < len; i++) { h = base_mix64(h ^ (unsigned char)name[i]); }
    return h;
}
BASE_INLINE char policy_separator(const policy_section *s)
{
    return policy_has(&s->v, POLICY_SEPARATOR) ? (char)s->v.number[POLICY_SEPARATOR] : ':';
}

#endif
