/* SPDX-License-Identifier: MIT
 *
 * policy_fields: give the options of a struct the form that they have in a policy file.
 *
 * PICTURE    {.ttl_ms = 5000, .jitter_pct = 10} -> "ttl" "5000ms", "jitter" "10%" -> policy_text.c
 * INVARIANTS Nothing is checked here: the parser checks a struct as it checks a line. A number that
 *            no file can say becomes a text that the parser refuses. */
#include "policy/policy_fields.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

BASE_SIZE_BEGIN

typedef enum policy_field_type {
    POLICY_F_TIME, POLICY_F_COUNT, POLICY_F_FLAG, POLICY_F_TEXT, POLICY_F_PRIORITY,
    POLICY_F_JITTER, POLICY_F_QUOTA
} policy_field_type;

#define POLICY_F_MAX 4096u /* longer texts are refused as these bytes */

#define POLICY_F(word, field, type) { word, (uint16_t)offsetof(cellar_policy_rule, field), type }

static const struct { const char *word; uint16_t offset; uint8_t type; } policy_fields[] = {
    POLICY_F("ttl", ttl_ms, POLICY_F_TIME),
    POLICY_F("ttl_max", ttl_max_ms, POLICY_F_TIME),
    POLICY_F("idle", idle_ms, POLICY_F_TIME),
    POLICY_F("max_age", max_age_ms, POLICY_F_TIME),
    POLICY_F("negative", negative_ttl_ms, POLICY_F_TIME),
    POLICY_F("stale", stale_ms, POLICY_F_TIME),
    POLICY_F("refresh", refresh_ms, POLICY_F_TIME),
    POLICY_F("jitter", jitter_pct, POLICY_F_JITTER),
    POLICY_F("priority", priority, POLICY_F_PRIORITY),
    POLICY_F("max_items", max_items, POLICY_F_COUNT),
    POLICY_F("quota", quota_min_pct, POLICY_F_QUOTA),
    POLICY_F("no_l2", no_l2, POLICY_F_FLAG),
    POLICY_F("class", ttl_class, POLICY_F_TEXT),
    POLICY_F("tags", tags, POLICY_F_TEXT),
    POLICY_F("at", at, POLICY_F_TEXT),
    POLICY_F("loader", loader, POLICY_F_TEXT),
    POLICY_F("prefix", prefix, POLICY_F_TEXT),
    POLICY_F("separator", separator, POLICY_F_TEXT),
};
_Static_assert(sizeof policy_fields / sizeof policy_fields[0] == POLICY_FIELDS, "all options");

/* Write a number with what surrounds it. */
static policy_bytes policy_field_print(policy_field *f, const char *before, int64_t n,
                                       const char *behind)
{
    const int len = snprintf(f->room, sizeof f->room, "%s%lld%s", before, (long long)n, behind);
    return (policy_bytes){ f->room, (uint32_t)len };
}

static policy_bytes policy_field_quota(policy_field *f, const cellar_policy_rule *rule)
{
    const int len = rule->quota_max_pct == 0
                        ? snprintf(f->room, sizeof f->room, "%u%%", (unsigned)rule->quota_min_pct)
                        : snprintf(f->room, sizeof f->room, "%u%%-%u%%",
                                   (unsigned)rule->quota_min_pct, (unsigned)rule->quota_max_pct);
    return (policy_bytes){ f->room, (uint32_t)len };
}

static policy_bytes policy_field_jitter(policy_field *f, const cellar_policy_rule *rule)
{
    const char *const sign = rule->jitter_mode == CELLAR_JITTER_PLUSMINUS ? ""
                             : rule->jitter_mode == CELLAR_JITTER_PLUS ? "+" : "jitter_mode ";
    return policy_field_print(f, sign, rule->jitter_pct == CELLAR_OFF ? 0 : rule->jitter_pct, "%");
}

static policy_bytes policy_field_word(const char *text)
{
    return (policy_bytes){ text, (uint32_t)strlen(text) };
}

CELLAR_PRIVATE bool policy_field_read(const cellar_policy_rule *rule, unsigned i, policy_field *f)
{
    static const char *const priorities[] = { "low", "mid", "high" };
    const char *at = (const char *)rule + policy_fields[i].offset;
    const bool set = rule->kind == CELLAR_POLICY_SET;
    int64_t time_ms;
    uint32_t n;
    const char *text;
    memcpy(&n, at, sizeof n); /* the first bytes of each type */
    f->word = policy_field_word(i == 0 && set ? "default_ttl" : policy_fields[i].word);
    f->valued = true;
    switch ((policy_field_type)policy_fields[i].type) {
    case POLICY_F_TIME:
        memcpy(&time_ms, at, sizeof time_ms);
        f->value = time_ms == CELLAR_TTL_NONE ? policy_field_word("never")
                                              : policy_field_print(f, "", time_ms, "ms");
        return time_ms != 0;
    case POLICY_F_COUNT: f->value = policy_field_print(f, "", n, ""); break;
    case POLICY_F_FLAG:
        f->valued = n > 1; /* which the parser refuses */
        f->value = policy_field_print(f, "", n, "");
        break;
    case POLICY_F_TEXT:
        memcpy(&text, at, sizeof text);
        if (text == NULL) { return false; }
        f->value = (policy_bytes){ text, (uint32_t)strnlen(text, POLICY_F_MAX) };
        return true;
    case POLICY_F_PRIORITY:
        f->value = n - 1 < 3 ? policy_field_word(priorities[n - 1])
                             : policy_field_print(f, "", n, "");
        break;
    case POLICY_F_JITTER: f->value = policy_field_jitter(f, rule); break;
    case POLICY_F_QUOTA:
        f->value = policy_field_quota(f, rule);
        return (rule->quota_min_pct | rule->quota_max_pct) != 0;
    }
    return n != 0;
}

BASE_SIZE_END
