/* SPDX-License-Identifier: MIT
 *
 * policy_table: the rules of a store as a table, made from structs.
 *
 * PICTURE    table -> sections (one per name, in order) -> rules (in order) -> parts of the
 *            pattern of a `key` rule: part {name} part {name} part
 *            One allocation: header, sections, rules, parts, tags, index of policy.c, bytes. */
#ifndef POLICY_POLICY_TABLE_H
#define POLICY_POLICY_TABLE_H

#include "base/atomic.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/timezone.h"
#include "cellar_admin.h"

#define POLICY_RULES_MAX 4096u
#define POLICY_SAID 200u       /* bytes of a refusal */
#define POLICY_WORD_MAX 64u    /* bytes of the name of a loader */
#define POLICY_ZONE_MAX 64u    /* bytes of the name of a time zone */
#define POLICY_WHERE_BYTES 40u /* of policy_where */

/* Kinds of rules that have a pattern: those of cellar_policy_kind. */
typedef enum policy_kind {
    POLICY_KEY = CELLAR_POLICY_KEY, POLICY_GLOB = CELLAR_POLICY_GLOB,
    POLICY_DENY = CELLAR_POLICY_DENY, POLICY_NO_L2 = CELLAR_POLICY_NO_L2
} policy_kind;

typedef struct policy_bytes {
    const char *at; /* with a NUL behind it, but for a part and a tag */
    uint32_t len;
} policy_bytes;

typedef struct policy_place { /* of a rule */
    uint32_t index, line; /* in the structs; of the text that it comes from, 0: none */
} policy_place;

/* Options. From LOADER on the value is a text. */
typedef enum policy_option {
    POLICY_TTL, POLICY_TTL_MAX, POLICY_IDLE, POLICY_MAX_AGE, POLICY_NEGATIVE, POLICY_STALE,
    POLICY_REFRESH,   /* this down from TTL: ms, CELLAR_TTL_NONE: no limit */
    POLICY_JITTER,    /* percent, + mode * POLICY_JITTER_MODE */
    POLICY_PRIORITY,  /* 1 low, 2 mid, 3 high */
    POLICY_QUOTA,     /* percent */
    POLICY_DISK_OFF,  /* no_l2: 1 */
    POLICY_SEPARATOR, /* a byte */
    POLICY_LOADER, POLICY_CLASS, POLICY_TAGS, POLICY_PREFIX,
    POLICY_AT,        /* "HH:MM@zone" */
    POLICY_OPTIONS
} policy_option;
#define POLICY_TEXTS (POLICY_OPTIONS - POLICY_LOADER)
#define POLICY_NUMBERS POLICY_LOADER
#define POLICY_JITTER_MODE 256

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
    uint32_t section;
    policy_place place;
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
    policy_place quota_place; /* of its CELLAR_POLICY_SET with a quota */
    policy_values v;      /* of its CELLAR_POLICY_SET */
    uint32_t given_all;   /* options that it or section "*" sets: policy.c */
    const struct policy_section *all; /* section "*"; NULL: none, or this one */
    const struct policy_table *table;
    uint32_t rule_count, guard_first, guard_count;
    uint32_t group_first, group_mask; /* see policy.c */
    uint32_t loose_first, loose_count;
    uint32_t share;       /* quota of its namespaces, percent; 0: none */
    policy_place share_place; /* of the rule that gives it */
    bool share_missed;    /* a namespace cannot have it; NAMESPACE, while the table is loaded */
} policy_section;

typedef struct policy_table {
    size_t bytes, zone_bytes; /* of this block; of its time zones */
    uint32_t section_count, rule_count, part_count, tag_count;
    policy_section *section;
    policy_rule *rule;
    policy_bytes *part;
    policy_bytes *tag;
    uint64_t *tag_fp;  /* fingerprint of each tag */
    void *index;       /* POLICY_INDEX_BYTES(rule_count, section_count) bytes: policy.c */
    base_account *account;
} policy_table;

#define POLICY_ENTRY_BYTES 48u
#define POLICY_GROUP_BYTES 16u
#define POLICY_INDEX_BYTES(rules, sections) \
    ((size_t)(rules) * (POLICY_ENTRY_BYTES + 4u * POLICY_GROUP_BYTES) + \
     (size_t)(sections) * 2u * POLICY_GROUP_BYTES)

/* Make a table of structs. The structs are one struct_size apart. E_CONFIG, E_INVAL, E_ABI,
 * E_UNSUPPORTED: `said` names the rule. E_NOMEM, E_SPACE. */
CELLAR_PRIVATE cellar_err policy_table_make(const cellar_policy_rule *rules, size_t count,
                                            base_account *a, char said[POLICY_SAID],
                                            policy_table **out);
/* Check one struct of this struct_size. Return what is wrong, as "a tag has 1..128 bytes"; NULL:
 * nothing. *no_memory: set if a time zone got none. */
CELLAR_PRIVATE const char *policy_rule_check(const cellar_policy_rule *rule, bool *no_memory);
/* Find the next placeholder of a `key` pattern at or behind `from`. Return its place, or len: none.
 * *end: behind it. */
CELLAR_PRIVATE size_t policy_placeholder(const char *p, size_t len, size_t from, size_t *end);
CELLAR_PRIVATE void policy_table_free(policy_table *t); /* NULL accepted */
/* Write the place of a rule: "rules[3] of the policy", or the line that it comes from. */
CELLAR_PRIVATE void policy_where(policy_place p, char out[POLICY_WHERE_BYTES]);
/* Find a section; NULL: none. */
CELLAR_PRIVATE policy_section *policy_section_find(const policy_table *t, const char *name,
                                                   size_t len);
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
