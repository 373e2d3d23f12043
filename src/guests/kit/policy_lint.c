/* SPDX-License-Identifier: MIT
 *
 * policy_lint: find rules that probably do not do what their author wants.
 *
 * WALK       Times are compared within a rule and its section. Patterns are compared in pairs: an
 *            earlier pattern hides a later one if it matches the text of the later one, where a
 *            wildcard of the later one is matched only by a wildcard that is at least as wide.
 * LIMITS     4,096 rules: 8.4 million pairs, most of which differ in the first byte. */
#include "kit/policy_lint.h"

#include <stddef.h>
#include <string.h>

#include "policy/policy_table.h"

BASE_SIZE_BEGIN

/* ---- sections ---- */

static bool kit_policy_together(const cellar_policy_rule *a, const cellar_policy_rule *b)
{
    return a->section == b->section || strcmp(a->section, b->section) == 0;
}

static bool kit_policy_guards(const cellar_policy_rule *r)
{
    return r->kind == CELLAR_POLICY_DENY || r->kind == CELLAR_POLICY_NO_L2;
}

static char kit_policy_separator(const kit_policy *p, const cellar_policy_rule *r)
{
    for (const cellar_policy_rule *s = p->rule; s < p->rule + p->count; s++) {
        if (s->kind == CELLAR_POLICY_SET && s->separator != NULL && kit_policy_together(s, r)) {
            return s->separator[0];
        }
    }
    return ':';
}

/* ---- patterns ---- */

typedef enum kit_token_type {
    KIT_BYTE,  /* one byte */
    KIT_CLASS_OF, /* [abc] */
    KIT_ANY_BYTE, /* ? */
    KIT_PLACE, /* {name} */
    KIT_ANY    /* * */
} kit_token_type;

typedef struct kit_token {
    kit_token_type type;
    char byte;
    size_t len; /* bytes of the pattern */
} kit_token;

/* Return the length of the class at p[0] == '[', by the rules of base/glob.c. */
static size_t kit_class_len(const char *p, size_t len)
{
    size_t i = len > 1 && p[1] == '^' ? 2 : 1;
    while (i < len && p[i] != ']') {
        i += p[i] == '\\' && i + 1 < len ? 2 : i + 2 < len && p[i + 1] == '-' ? 3 : 1;
    }
    return i < len ? i + 1 : len;
}

static kit_token kit_token_at(const cellar_policy_rule *r, size_t at)
{
    const char *p = r->pattern + at;
    const size_t left = strlen(p);
    if (r->kind == CELLAR_POLICY_KEY) {
        size_t end = 0;
        if (p[0] != '{') { return (kit_token){ KIT_BYTE, p[0], 1 }; }
        (void)policy_placeholder(p, left, 0, &end);
        return (kit_token){ KIT_PLACE, 0, end };
    }
    if (p[0] == '*') { return (kit_token){ KIT_ANY, 0, 1 }; }
    if (p[0] == '?') { return (kit_token){ KIT_ANY_BYTE, 0, 1 }; }
    if (p[0] == '[') { return (kit_token){ KIT_CLASS_OF, 0, kit_class_len(p, left) }; }
    if (p[0] == '\\' && left > 1) { return (kit_token){ KIT_BYTE, p[1], 2 }; }
    return (kit_token){ KIT_BYTE, p[0], 1 };
}

typedef struct kit_pair {
    const cellar_policy_rule *earlier, *later;
    char separator; /* of the earlier rule */
    bool lower;     /* the earlier rule ignores case */
} kit_pair;

static char kit_folded(char c, bool lower) { return lower ? kit_lower(c) : c; }

/* Return whether a placeholder of the earlier rule takes this token. */
static bool kit_place_takes(const kit_pair *p, const kit_token *t)
{
    return t->type == KIT_PLACE || (t->type == KIT_BYTE && t->byte != p->separator);
}

static bool kit_token_covers(const kit_pair *p, const kit_token *a, size_t a_at,
                                const kit_token *b, size_t b_at)
{
    switch (a->type) {
    case KIT_BYTE:
        return b->type == KIT_BYTE &&
               kit_folded(a->byte, p->lower) == kit_folded(b->byte, p->lower);
    case KIT_ANY_BYTE: return b->type <= KIT_ANY_BYTE;
    case KIT_CLASS_OF:
        return b->type == KIT_CLASS_OF && a->len == b->len &&
               memcmp(p->earlier->pattern + a_at, p->later->pattern + b_at, a->len) == 0;
    case KIT_PLACE:
    case KIT_ANY: break;
    }
    return false;
}

CELLAR_PRIVATE bool kit_policy_covers(const kit_policy *p, const cellar_policy_rule *earlier,
                                      const cellar_policy_rule *later)
{
    const kit_pair pair = { earlier, later, kit_policy_separator(p, earlier),
                            kit_policy_guards(earlier) };
    const size_t a_len = strlen(earlier->pattern), b_len = strlen(later->pattern);
    size_t a = 0, b = 0, star_a = SIZE_MAX, star_b = 0;
    bool place = false; /* the last wildcard is a placeholder */
    while (b < b_len) {
        const kit_token of_b = kit_token_at(later, b);
        if (a < a_len) {
            const kit_token of_a = kit_token_at(earlier, a);
            if (of_a.type == KIT_ANY ||
                (of_a.type == KIT_PLACE && kit_place_takes(&pair, &of_b))) {
                place = of_a.type == KIT_PLACE;
                a = star_a = a + of_a.len;
                b = star_b = place ? b + of_b.len : b;
                continue;
            }
            if (kit_token_covers(&pair, &of_a, a, &of_b, b)) {
                a += of_a.len;
                b += of_b.len;
                continue;
            }
        }
        if (star_a == SIZE_MAX) { return false; }
        const kit_token taken = kit_token_at(later, star_b);
        if (place && !kit_place_takes(&pair, &taken)) { return false; }
        star_b += taken.len;
        a = star_a;
        b = star_b;
    }
    while (a < a_len && earlier->kind != CELLAR_POLICY_KEY && earlier->pattern[a] == '*') { a++; }
    return a == a_len;
}

static void kit_lint_pairs(const kit_policy *p, const cellar_policy_rule *later, kit_notes *n)
{
    const bool guarded = kit_policy_guards(later);
    if (later->kind == CELLAR_POLICY_SET) { return; }
    for (const cellar_policy_rule *r = p->rule; r < p->rule + p->count; r++) {
        const bool guards = kit_policy_guards(r), denies = r->kind == CELLAR_POLICY_DENY;
        const bool hides = denies && !guarded;
        if (r == later || r->kind == CELLAR_POLICY_SET ||
            (!hides && (r > later || guards != guarded || (guards && r->kind != later->kind))) ||
            (!kit_policy_together(r, later) && strcmp(r->section, "*") != 0) ||
            !kit_policy_covers(p, r, later)) {
            continue;
        }
        kit_note(n, CELLAR_LOG_WARNING, 0, "",
                 hides ? "the deny rule of line %u matches every key of this rule"
                       : "the rule of line %u matches every key of this rule first",
                 (unsigned)r->line);
        return;
    }
}

/* ---- times ---- */

/* Read the number at `offset` of a rule, else of its section; 0: none. */
static int64_t kit_lint_number(const kit_policy *p, const cellar_policy_rule *r, size_t offset,
                               size_t bytes)
{
    int64_t n = 0;
    memcpy(&n, (const char *)r + offset, bytes);
    for (const cellar_policy_rule *s = p->rule; n == 0 && s < p->rule + p->count; s++) {
        if (s->kind == CELLAR_POLICY_SET && kit_policy_together(s, r)) {
            memcpy(&n, (const char *)s + offset, bytes);
        }
    }
    return n;
}
#define KIT_LINT(field) kit_lint_number(p, r, offsetof(cellar_policy_rule, field), sizeof r->field)

static void kit_lint_times(const kit_policy *p, const cellar_policy_rule *r, kit_notes *n)
{
    const int64_t ttl = KIT_LINT(ttl_ms), refresh = KIT_LINT(refresh_ms);
    const int64_t negative = KIT_LINT(negative_ttl_ms), age = KIT_LINT(max_age_ms);
    const int64_t most = KIT_LINT(ttl_max_ms);
    if (ttl > 0 && refresh > 0 && ttl / 2 < refresh) {
        kit_note(n, CELLAR_LOG_WARNING, 0, "",
                 "ttl is less than twice refresh: a late refresh is a gap");
    }
    if (ttl > 0 && most > 0 && ttl > most) {
        kit_note(n, CELLAR_LOG_WARNING, 0, "", "ttl is longer than ttl_max");
    }
    if (ttl > 0 && age > 0 && ttl > age) {
        kit_note(n, CELLAR_LOG_WARNING, 0, "", "ttl is longer than max_age");
    }
    if (ttl > 0 && negative > ttl) {
        kit_note(n, CELLAR_LOG_WARNING, 0, "", "negative is longer than ttl");
    }
}

/* Return whether the jitter of a rule, else of its section, makes times longer. */
static bool kit_lint_lengthens(const kit_policy *p, const cellar_policy_rule *r)
{
    for (const cellar_policy_rule *s = p->rule; r->jitter_pct == 0 && s < p->rule + p->count; s++) {
        if (s->kind == CELLAR_POLICY_SET && kit_policy_together(s, r)) { r = s; }
    }
    return r->jitter_pct != 0 && r->jitter_pct != CELLAR_OFF &&
           r->jitter_mode != CELLAR_JITTER_MINUS;
}

static void kit_lint_rule(const kit_policy *p, const cellar_policy_rule *r, kit_notes *n)
{
    if (kit_policy_guards(r)) { return; }
    for (const cellar_policy_rule *s = p->rule; r->kind == CELLAR_POLICY_SET && s < r; s++) {
        /* all `set` lines of a section are compared at the first one */
        if (s->kind == CELLAR_POLICY_SET && kit_policy_together(s, r)) { return; }
    }
    kit_lint_times(p, r, n);
    if (r->kind == CELLAR_POLICY_SET) { return; }
    if (r->refresh_ms != 0 && r->loader == NULL) {
        kit_note(n, CELLAR_LOG_WARNING, 0, "",
                 "refresh without loader: only loads refresh these keys");
    }
    if (r->at != NULL && kit_lint_lengthens(p, r)) {
        kit_note(n, CELLAR_LOG_WARNING, 0, "", "jitter would pass the time of `at`, which wins");
    }
}

CELLAR_PRIVATE void kit_policy_lint(const kit_policy *p, kit_notes *n)
{
    for (size_t i = 0; i < p->count; i++) {
        n->line = p->rule[i].line;
        kit_lint_rule(p, &p->rule[i], n);
        kit_lint_pairs(p, &p->rule[i], n);
    }
}

/* ---- namespaces ---- */

/* Return whether the namespace uses the section. */
static bool kit_space_uses(const cellar_policy_space *s, const char *section)
{
    const char *option = s->config != NULL ? s->config->policy_section : NULL;
    return strcmp(option != NULL ? option : s->name, section) == 0;
}

typedef struct kit_user { /* what the namespaces of a section have */
    bool there, loads, classed; /* classed: the TTL class of the rule */
} kit_user;

static kit_user kit_user_of(const cellar_policy_rule *r, const cellar_policy_space *spaces,
                            size_t count)
{
    kit_user u = { false, false, false };
    for (size_t i = 0; i < count; i++) {
        const cellar_namespace_config *o = spaces[i].config;
        if (!kit_space_uses(&spaces[i], r->section)) { continue; }
        u.there = true;
        u.loads |= o != NULL && (o->loader != NULL || o->loader_many != NULL);
        for (uint32_t k = 0; r->ttl_class != NULL && o != NULL && k < o->ttl_class_count; k++) {
            u.classed |= strcmp(o->ttl_classes[k].name, r->ttl_class) == 0;
        }
    }
    return u;
}

/* Return whether a rule of the section names a class; name NULL: any. */
static bool kit_policy_names_class(const kit_policy *p, const char *section, const char *name)
{
    for (const cellar_policy_rule *r = p->rule; r < p->rule + p->count; r++) {
        if (r->ttl_class != NULL && strcmp(r->section, section) == 0 &&
            (name == NULL || strcmp(r->ttl_class, name) == 0)) {
            return true;
        }
    }
    return false;
}

/* Report the classes of the namespaces that no rule uses, if one uses any. */
static void kit_compare_classes(const kit_policy *p, const char *section,
                                const cellar_policy_space *spaces, size_t count, kit_notes *n)
{
    if (!kit_policy_names_class(p, section, NULL)) { return; }
    for (size_t i = 0; i < count; i++) {
        const cellar_namespace_config *o = spaces[i].config;
        if (!kit_space_uses(&spaces[i], section) || o == NULL) { continue; }
        for (uint32_t k = 0; k < o->ttl_class_count; k++) {
            if (kit_policy_names_class(p, section, o->ttl_classes[k].name)) { continue; }
            kit_note(n, CELLAR_LOG_WARNING, 0, "", "no rule uses TTL class %u of the namespace",
                     (unsigned)(k + 1));
        }
    }
}

CELLAR_PRIVATE void kit_policy_compare(const kit_policy *p, const cellar_policy_space *spaces,
                                       size_t count, kit_notes *n)
{
    for (const cellar_policy_rule *r = p->rule; r < p->rule + p->count; r++) {
        const kit_user u = kit_user_of(r, spaces, count);
        bool first = true;
        if (strcmp(r->section, "*") == 0) { continue; }
        for (const cellar_policy_rule *s = p->rule; first && s < r; s++) {
            first = !kit_policy_together(s, r);
        }
        n->line = r->line;
        if (first && u.there) { kit_compare_classes(p, r->section, spaces, count, n); }
        if (first && !u.there) {
            kit_note(n, CELLAR_LOG_WARNING, 0, "", "no namespace has section \"%s\"", r->section);
        }
        if (u.there && r->loader != NULL && !u.loads) {
            kit_note(n, CELLAR_LOG_WARNING, 0, "", "loader: the namespace has no loader");
        }
        if (u.there && r->ttl_class != NULL && !u.classed) {
            kit_note(n, CELLAR_LOG_WARNING, 0, "", "the namespace has no TTL class \"%s\"",
                     r->ttl_class);
        }
    }
}

BASE_SIZE_END
