/* SPDX-License-Identifier: MIT
 *
 * policy_lint: find rules that probably do not do what their author wants.
 *
 * WALK       Times are compared within a rule and its section. Patterns are compared in pairs: an
 *            earlier pattern hides a later one if it matches the text of the later one, where a
 *            wildcard of the later one is matched only by a wildcard that is at least as wide.
 * LIMITS     4,096 rules: 8.4 million pairs, most of which differ in the first byte.
 * SEE ALSO   store/policy_reload.c: findings that need a store. */
#include "policy/policy_lint.h"

#include <string.h>

BASE_SIZE_BEGIN

/* ---- patterns ---- */

typedef enum policy_token_type {
    POLICY_BYTE,  /* one byte */
    POLICY_CLASS_OF, /* [abc] */
    POLICY_ANY_BYTE, /* ? */
    POLICY_PLACE, /* {name} */
    POLICY_ANY    /* * */
} policy_token_type;

typedef struct policy_token {
    policy_token_type type;
    char byte;
    size_t len; /* bytes of the pattern */
} policy_token;

/* Return the length of the class at p[0] == '[', by the rules of base/glob.c. */
static size_t policy_class_len(const char *p, size_t len)
{
    size_t i = len > 1 && p[1] == '^' ? 2 : 1;
    while (i < len && p[i] != ']') {
        i += p[i] == '\\' && i + 1 < len ? 2 : i + 2 < len && p[i + 1] == '-' ? 3 : 1;
    }
    return i < len ? i + 1 : len;
}

static policy_token policy_token_at(const policy_rule *r, size_t at)
{
    const char *p = r->pattern.at + at;
    const size_t left = r->pattern.len - at;
    if (r->kind == POLICY_KEY) {
        size_t end = 0;
        if (p[0] != '{') { return (policy_token){ POLICY_BYTE, p[0], 1 }; }
        (void)policy_placeholder(p, left, 0, &end);
        return (policy_token){ POLICY_PLACE, 0, end };
    }
    if (p[0] == '*') { return (policy_token){ POLICY_ANY, 0, 1 }; }
    if (p[0] == '?') { return (policy_token){ POLICY_ANY_BYTE, 0, 1 }; }
    if (p[0] == '[') { return (policy_token){ POLICY_CLASS_OF, 0, policy_class_len(p, left) }; }
    if (p[0] == '\\' && left > 1) { return (policy_token){ POLICY_BYTE, p[1], 2 }; }
    return (policy_token){ POLICY_BYTE, p[0], 1 };
}

typedef struct policy_pair {
    const policy_rule *earlier, *later;
    char separator; /* of the earlier rule */
    bool lower;     /* the earlier rule ignores case */
} policy_pair;

static char policy_folded(char c, bool lower)
{
    return lower && c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* Return whether a placeholder of the earlier rule takes this token. */
static bool policy_place_takes(const policy_pair *p, const policy_token *t)
{
    return t->type == POLICY_PLACE || (t->type == POLICY_BYTE && t->byte != p->separator);
}

static bool policy_token_covers(const policy_pair *p, const policy_token *a, size_t a_at,
                                const policy_token *b, size_t b_at)
{
    switch (a->type) {
    case POLICY_BYTE:
        return b->type == POLICY_BYTE && a->byte == policy_folded(b->byte, p->lower);
    case POLICY_ANY_BYTE: return b->type <= POLICY_ANY_BYTE;
    case POLICY_CLASS_OF:
        return b->type == POLICY_CLASS_OF && a->len == b->len &&
               memcmp(p->earlier->pattern.at + a_at, p->later->pattern.at + b_at, a->len) == 0;
    case POLICY_PLACE:
    case POLICY_ANY: break;
    }
    return false;
}

CELLAR_PRIVATE bool policy_covers(const policy_table *t, const policy_rule *earlier,
                                  const policy_rule *later)
{
    const policy_pair p = { earlier, later, policy_separator(&t->section[earlier->section]),
                            earlier->kind >= POLICY_DENY };
    const size_t a_len = earlier->pattern.len, b_len = later->pattern.len;
    size_t a = 0, b = 0, star_a = SIZE_MAX, star_b = 0;
    bool place = false; /* the last wildcard is a placeholder */
    while (b < b_len) {
        const policy_token of_b = policy_token_at(later, b);
        if (a < a_len) {
            const policy_token of_a = policy_token_at(earlier, a);
            if (of_a.type == POLICY_ANY ||
                (of_a.type == POLICY_PLACE && policy_place_takes(&p, &of_b))) {
                place = of_a.type == POLICY_PLACE;
                a = star_a = a + of_a.len;
                b = star_b = place ? b + of_b.len : b;
                continue;
            }
            if (policy_token_covers(&p, &of_a, a, &of_b, b)) {
                a += of_a.len;
                b += of_b.len;
                continue;
            }
        }
        if (star_a == SIZE_MAX) { return false; }
        const policy_token taken = policy_token_at(later, star_b);
        if (place && !policy_place_takes(&p, &taken)) { return false; }
        star_b += taken.len;
        a = star_a;
        b = star_b;
    }
    while (a < a_len && earlier->kind != POLICY_KEY && earlier->pattern.at[a] == '*') { a++; }
    return a == a_len;
}

static void policy_lint_pairs(const policy_table *t, const policy_rule *later, policy_diag *d)
{
    for (const policy_rule *r = t->rule; r < t->rule + t->rule_count; r++) {
        const policy_bytes name = t->section[r->section].name;
        const bool all = name.len == 1 && name.at[0] == '*';
        const bool guards = r->kind >= POLICY_DENY, guarded = later->kind >= POLICY_DENY;
        if (r == later || (r->section != later->section && !all)) { continue; }
        if (r->kind == POLICY_DENY && !guarded && policy_covers(t, r, later)) {
            policy_note(d, true, later->line, 1, "the deny rule of line %u matches every key of "
                        "this rule", (unsigned)r->line);
            return;
        }
        if (r < later && guards == guarded && (!guards || r->kind == later->kind) &&
            policy_covers(t, r, later)) {
            policy_note(d, true, later->line, 1, "the rule of line %u matches every key of this "
                        "rule first", (unsigned)r->line);
            return;
        }
    }
}

/* ---- times ---- */

/* Return the number of the rule, else of its section; -1: none. */
static int64_t policy_lint_number(const policy_values *v, const policy_values *section,
                                  policy_option o)
{
    return policy_has(v, o) ? v->number[o] : policy_has(section, o) ? section->number[o] : -1;
}

static void policy_lint_values(const policy_values *v, const policy_values *section, uint32_t line,
                               policy_diag *d)
{
    const int64_t ttl = policy_lint_number(v, section, POLICY_TTL);
    const int64_t refresh = policy_lint_number(v, section, POLICY_REFRESH);
    const int64_t negative = policy_lint_number(v, section, POLICY_NEGATIVE);
    const int64_t age = policy_lint_number(v, section, POLICY_MAX_AGE);
    const int64_t most = policy_lint_number(v, section, POLICY_TTL_MAX);
    if (ttl > 0 && refresh > 0 && ttl / 2 < refresh) {
        policy_note(d, true, line, 1, "ttl is less than twice refresh: a late refresh is a gap");
    }
    if (ttl > 0 && most > 0 && ttl > most) {
        policy_note(d, true, line, 1, "ttl is longer than ttl_max");
    }
    if (ttl > 0 && age > 0 && ttl > age) {
        policy_note(d, true, line, 1, "ttl is longer than max_age");
    }
    if (ttl > 0 && negative > ttl) {
        policy_note(d, true, line, 1, "negative is longer than ttl");
    }
}

static void policy_lint_rule(const policy_table *t, const policy_rule *r, policy_diag *d)
{
    const policy_section *s = &t->section[r->section];
    if (r->kind >= POLICY_DENY) { return; }
    policy_lint_values(&r->v, &s->v, r->line, d);
    if (policy_has(&r->v, POLICY_REFRESH) && !policy_has(&r->v, POLICY_LOADER)) {
        policy_note(d, true, r->line, 1, "refresh without loader: only loads refresh these keys");
    }
    if (r->zone != NULL && policy_lint_number(&r->v, &s->v, POLICY_JITTER) > 0) {
        policy_note(d, true, r->line, 1, "jitter would pass the time of `at`, which wins");
    }
    if (policy_has(&r->v, POLICY_MAX_ITEMS) && r->kind == POLICY_GLOB) {
        policy_note(d, true, r->line, 1, "max_items on a glob: a bounded value needs a key rule");
    }
}

CELLAR_PRIVATE void policy_lint(const policy_table *t, policy_diag *d)
{
    static const policy_values none = { .given = 0 };
    for (uint32_t i = 0; i < t->section_count; i++) {
        policy_lint_values(&t->section[i].v, &none, t->section[i].line, d);
    }
    for (uint32_t i = 0; i < t->rule_count; i++) {
        policy_lint_rule(t, &t->rule[i], d);
        policy_lint_pairs(t, &t->rule[i], d);
    }
}

BASE_SIZE_END
