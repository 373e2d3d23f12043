/* SPDX-License-Identifier: MIT
 *
 * policy: find the rule of a key and apply it to the plan of a write.
 *
 * PICTURE    namespace -> section -> guards (deny, no_l2)
 *                                 -> groups: {separators, first segment, last segment or any}
 *                                    -> rules in file order
 *                                 -> loose: rules without a literal first segment
 *            section "*" the same; of all matches the first one in the file rules.
 *            entry: first and last 8 bytes of a match, with masks: most rules cost one compare
 * ORDER      option of the call, rule, `set` of the section, `set` of "*", namespace, store.
 *            ttl_max bounds the result.
 * REFRESH    The plan stores a time with the value: loading/load_look.c compares it, no rule is
 *            looked up.
 * INVARIANTS Reads never come here. A table does not change while a namespace points into it.
 * LOCKING    None. A call counts itself into a stripe while it uses a table. cellar_policy_set
 *            gives the namespaces their new sections, then waits until both turns of all stripes
 *            were zero: a later call finds the new section.
 * SEE ALSO   policy_table.c (table of structs), store/policy_set.c, README.md. */
#include "policy/policy.h"

#include "base/futex.h"
#include "base/glob.h"
#include "cache/call.h"
#include "cache/error.h"
#include "cache/tier_store.h"

#include <stdio.h>

typedef struct policy_entry {
    uint64_t head, head_mask, tail, tail_mask;
    uint32_t rule, least; /* least: bytes of the shortest match */
    uint64_t spare;
} policy_entry;

typedef struct policy_group {
    uint64_t hash;
    uint32_t first, count; /* entries; 0: free */
} policy_group;

_Static_assert(sizeof(policy_entry) == POLICY_ENTRY_BYTES, "room of the index");
_Static_assert(sizeof(policy_group) == POLICY_GROUP_BYTES, "room of the index");

static policy_entry *policy_entries(const policy_table *t) { return t->index; }
static policy_group *policy_groups(const policy_table *t)
{
    return (policy_group *)(void *)(policy_entries(t) + t->rule_count);
}

/* ---- keys ---- */

typedef struct policy_key { /* a key as a section sees it */
    const char *at;
    size_t len;
    uint64_t head, tail; /* first and last 8 bytes; zeros where the key is shorter */
} policy_key;

BASE_INLINE uint64_t policy_head(const char *p, size_t len)
{
    uint64_t w = 0;
    if (BASE_LIKELY(len >= 8)) {
        memcpy(&w, p, 8);
        return w;
    }
    for (size_t i = len; i-- > 0;) { w = w << 8 | (unsigned char)p[i]; }
    return w;
}

BASE_INLINE uint64_t policy_tail(const char *p, size_t len)
{
    uint64_t w = 0;
    if (BASE_LIKELY(len >= 8)) {
        memcpy(&w, p + len - 8, 8);
        return w;
    }
    return len == 0 ? 0 : policy_head(p, len) << (64 - 8 * len);
}

BASE_INLINE uint64_t policy_head_mask(size_t len)
{
    return len >= 8 ? UINT64_MAX : ((uint64_t)1 << (8 * len)) - 1;
}

BASE_INLINE uint64_t policy_tail_mask(size_t len)
{
    return len >= 8 ? UINT64_MAX : len == 0 ? 0 : UINT64_MAX << (64 - 8 * len);
}

/* Take the prefix of the section off, with one separator. */
static policy_key policy_see(const policy_section *s, const void *key, size_t len)
{
    policy_key k = { key, len, 0, 0 };
    if (policy_has(&s->v, POLICY_PREFIX)) {
        const policy_bytes p = s->v.text[POLICY_PREFIX - POLICY_LOADER];
        const char sep = policy_separator(s);
        if (p.len < k.len && memcmp(k.at, p.at, p.len) == 0) {
            const bool ends = p.at[p.len - 1] == sep;
            if (ends || k.at[p.len] == sep) {
                const size_t off = p.len + (ends ? 0 : 1);
                k.at += off;
                k.len -= off;
            }
        }
    }
    k.head = policy_head(k.at, k.len);
    k.tail = policy_tail(k.at, k.len);
    return k;
}

/* Count the bytes `c`, eight at a time. */
static uint32_t policy_count_byte(const char *p, size_t len, char c)
{
    const uint64_t low = UINT64_C(0x7f7f7f7f7f7f7f7f);
    const uint64_t all = UINT64_C(0x0101010101010101) * (unsigned char)c;
    uint32_t n = 0;
    size_t i = 0;
    for (; i + 8 <= len; i += 8) {
        uint64_t w;
        memcpy(&w, p + i, 8);
        w ^= all;
        n += (uint32_t)((((~(((w & low) + low) | w | low)) >> 7) *
                         UINT64_C(0x0101010101010101)) >> 56);
    }
    for (; i < len; i++) { n += p[i] == c; }
    return n;
}

/* Hash the first segment and the number of separators. */
BASE_INLINE uint64_t policy_group_hash(uint64_t head, size_t segment, uint32_t separators)
{
    const uint64_t x = (head & policy_head_mask(segment)) ^ (uint64_t)segment << 56;
    return base_mix64(x + separators * UINT64_C(0x9e3779b97f4a7c15));
}

/* Add a literal last segment to the hash. */
BASE_INLINE uint64_t policy_last_hash(uint64_t hash, uint64_t tail, size_t segment)
{
    return hash ^ base_mix64((tail & policy_tail_mask(segment)) + segment + 1);
}

/* Return the length of the text behind the last separator. */
BASE_INLINE size_t policy_last_segment(const char *p, size_t len, char sep)
{
    size_t n = 0;
    while (n < len && p[len - 1 - n] != sep) { n++; }
    return n;
}

/* ---- patterns ---- */

static bool policy_lacks(const char *p, size_t len, char sep)
{
    return memchr(p, sep, len) == NULL;
}

/* Find the literal behind at least one byte that is no separator. Return its place; len: none. */
static size_t policy_seek(const policy_key *k, size_t from, policy_bytes lit, char sep)
{
    for (size_t at = from; at < k->len && k->at[at] != sep;) {
        at++;
        if (k->len - at < lit.len) { break; }
        if (memcmp(k->at + at, lit.at, lit.len) == 0) { return at; }
    }
    return k->len;
}

/* Match the literals in order; the entry has compared 8 bytes at both ends. The earliest place of
 * each leaves the most for the rest; a literal with a separator has only one place, because no
 * placeholder takes a separator. */
static bool policy_parts_match(const policy_table *t, const policy_rule *r, const policy_key *k,
                               char sep)
{
    const policy_bytes *part = &t->part[r->part_first];
    const policy_bytes first = part[0], last = part[r->part_count - 1];
    if (first.len > 8 && memcmp(k->at, first.at, first.len) != 0) { return false; }
    if (r->part_count == 1) { return k->len == first.len; }
    size_t at = first.len;
    for (uint32_t i = 1; i + 1 < r->part_count; i++) {
        at = policy_seek(k, at, part[i], sep);
        if (at == k->len) { return false; }
        at += part[i].len;
    }
    if (k->len < at + 1 + last.len) { return false; }
    const size_t gap = k->len - last.len - at;
    return (last.len <= 8 || memcmp(k->at + k->len - last.len, last.at, last.len) == 0) &&
           policy_lacks(k->at + at, gap, sep);
}

/* Return whether the pattern is "*literal*". */
static bool policy_is_inner(policy_bytes p)
{
    if (p.len < 3 || p.at[0] != '*' || p.at[p.len - 1] != '*') { return false; }
    bool literal;
    return base_glob_prefix(p.at + 1, p.len - 2, &literal) == p.len - 2;
}

static bool policy_contains(const char *p, size_t len, const char *lit, size_t lit_len)
{
    while (len >= lit_len) {
        const char *at = memchr(p, lit[0], len - lit_len + 1);
        if (at == NULL) { return false; }
        if (memcmp(at, lit, lit_len) == 0) { return true; }
        len -= (size_t)(at - p) + 1;
        p = at + 1;
    }
    return false;
}

#define POLICY_LOWERED 256u

typedef struct policy_lower_key { /* a key in lower case, while it is short enough */
    char bytes[POLICY_LOWERED];
    bool there;
} policy_lower_key;

/* Put the ASCII capitals of 8 bytes into lower case. */
static uint64_t policy_lower_word(uint64_t w)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), low = w & (ones * 0x7f);
    const uint64_t from_a = low + ones * (0x80 - 'A'), past_z = low + ones * (0x7f - 'Z');
    return w | ((from_a ^ past_z) & ~w & (ones * 0x80)) >> 2;
}

static void policy_make_lower(policy_lower_key *l, const policy_key *k)
{
    size_t i = 0;
    l->there = k->len <= sizeof l->bytes;
    if (!l->there) { return; }
    for (uint64_t w; i + 8 <= k->len; i += 8) {
        memcpy(&w, k->at + i, 8);
        w = policy_lower_word(w);
        memcpy(l->bytes + i, &w, 8);
    }
    for (; i < k->len; i++) {
        const char c = k->at[i];
        l->bytes[i] = (char)(c + ((unsigned char)(c - 'A') < 26 ? 'a' - 'A' : 0));
    }
}

static bool policy_guard_match(const policy_entry *e, policy_bytes p, const policy_key *k,
                               const policy_lower_key *l)
{
    if (!l->there) { return base_glob_match_lower(p.at, p.len, k->at, k->len); }
    if (e->spare != 0) { return policy_contains(l->bytes, k->len, p.at + 1, p.len - 2); }
    return base_glob_match(p.at, p.len, l->bytes, k->len);
}

/* ---- find ---- */

/* Find a deny rule of the section; note a no_l2 rule. */
static const policy_rule *policy_guarded(const policy_section *s, const policy_key *k,
                                         bool *disk_off)
{
    const policy_table *t = s->table;
    const policy_entry *e = policy_entries(t) + s->guard_first;
    policy_lower_key lower;
    policy_make_lower(&lower, k);
    for (uint32_t i = 0; i < s->guard_count; i++, e++) {
        const policy_rule *r = &t->rule[e->rule];
        if (k->len < e->least || !policy_guard_match(e, r->pattern, k, &lower)) { continue; }
        if (r->kind == POLICY_DENY) { return r; }
        *disk_off = true;
    }
    return NULL;
}

/* Search entries for the first match before rule number `best`. Return its number, else `best`. */
static uint32_t policy_search(const policy_section *s, const policy_entry *e, uint32_t count,
                              const policy_key *k, uint32_t best)
{
    const policy_table *t = s->table;
    const char sep = policy_separator(s);
    for (const policy_entry *end = e + count; e < end; e++) {
        if (BASE_LIKELY((((k->head ^ e->head) & e->head_mask) |
                         ((k->tail ^ e->tail) & e->tail_mask)) != 0) || k->len < e->least) {
            continue;
        }
        if (e->rule >= best) { break; }
        const policy_rule *r = &t->rule[e->rule];
        if (r->kind == POLICY_KEY ? policy_parts_match(t, r, k, sep)
                                  : base_glob_match(r->pattern.at, r->pattern.len, k->at, k->len)) {
            return e->rule;
        }
    }
    return best;
}

static uint32_t policy_search_group(const policy_section *s, const policy_key *k, uint64_t hash,
                                    uint32_t best)
{
    const policy_group *g = policy_groups(s->table) + s->group_first;
    for (uint64_t i = hash;; i++) {
        const policy_group *at = &g[i & s->group_mask];
        if (at->count == 0) { return best; }
        if (at->hash == hash) {
            return policy_search(s, policy_entries(s->table) + at->first, at->count, k, best);
        }
    }
}

static uint32_t policy_search_groups(const policy_section *s, const policy_key *k, uint32_t best)
{
    const char sep = policy_separator(s);
    const char *first = memchr(k->at, sep, k->len);
    const size_t segment = first != NULL ? (size_t)(first - k->at) : k->len;
    const uint32_t seps = first == NULL ? 0
                          : 1 + policy_count_byte(first + 1, k->len - segment - 1, sep);
    const size_t last = policy_last_segment(k->at, k->len, sep);
    const uint64_t hash = policy_group_hash(k->head, segment, seps);
    best = policy_search_group(s, k, policy_last_hash(hash, k->tail, last), best);
    return policy_search_group(s, k, hash, best);
}

CELLAR_PRIVATE const policy_rule *policy_find(const policy_section *s, const void *key, size_t len,
                                              bool *disk_off)
{
    const policy_section *sections[2] = { s, s->all };
    policy_key k[2];
    *disk_off = false;
    for (unsigned i = 0; i < 2; i++) {
        if (sections[i] == NULL || sections[i]->rule_count == 0) { continue; }
        k[i] = policy_see(sections[i], key, len);
        if (sections[i]->guard_count == 0) { continue; }
        const policy_rule *r = policy_guarded(sections[i], &k[i], disk_off);
        if (r != NULL) { return r; }
    }
    uint32_t best = UINT32_MAX;
    for (unsigned i = 0; i < 2; i++) {
        const policy_section *in = sections[i];
        if (in == NULL || in->rule_count == 0) { continue; }
        best = policy_search(in, policy_entries(in->table) + in->loose_first, in->loose_count,
                             &k[i], best);
        best = policy_search_groups(in, &k[i], best);
    }
    return best != UINT32_MAX ? &s->table->rule[best] : NULL;
}

/* ---- apply ---- */

/* Return the moment at which entries of the rule end, as a time from now, ms. */
BASE_COLD static int64_t policy_until(const policy_rule *r)
{
    const int64_t now = base_wall_ms();
    policy_rule *own = (policy_rule *)(uintptr_t)r; /* only `next_ms`, which is atomic */
    int64_t next = base_load_rlx(&own->next_ms);
    /* passed, or the clock was set back; the shortest day of a zone has 22 hours */
    if (next <= now || next - now > INT64_C(79200000)) {
        next = base_tz_daily(r->zone, r->at_minutes, now);
        base_store_rlx(&own->next_ms, next);
    }
    return next - now;
}

typedef struct policy_match { /* what applies to a write */
    const policy_rule *rule; /* NULL: none */
    const policy_section *section;
    uint32_t given; /* bit n: the rule or a section sets option n */
} policy_match;

/* Read a number that the rule or a section sets. */
BASE_NOINLINE static int64_t policy_number_read(const policy_match *m, unsigned option)
{
    const policy_section *s = m->section;
    const policy_values *v = m->rule != NULL && policy_has(&m->rule->v, option) ? &m->rule->v
                             : policy_has(&s->v, option) ? &s->v : &s->all->v;
    return v->number[option];
}

/* Read a number of the rule, else of the sections. Return false if none sets it. */
BASE_ALWAYS_INLINE bool policy_number(const policy_match *m, unsigned option, int64_t *out)
{
    if (BASE_LIKELY((m->given >> option & 1u) == 0)) { return false; }
    *out = policy_number_read(m, option);
    return true;
}

/* Find the TTL of a class of the namespace, for an unknown name of its ttl_class_fallback. Return
 * false if the namespace has no classes. */
static bool policy_class_ttl(const cellar *c, const policy_rule *r, int64_t *ttl)
{
    const policy_bytes name = r->v.text[POLICY_CLASS - POLICY_LOADER];
    const uint64_t hash = policy_class_hash(name.at, name.len);
    const uint32_t count = base_load_acq(&c->class_count);
    for (uint32_t i = 0; i < count; i++) {
        if (base_load_rlx(&c->class_hash[i]) == hash) {
            *ttl = base_load_rlx(&c->class_ttl_ms[i]);
            return true;
        }
    }
    const uint32_t fallback = base_load_rlx(&c->ttl_class_fallback); /* 0: opened without options */
    if (fallback - 1 >= count) { return false; }
    *ttl = base_load_rlx(&c->class_ttl_ms[fallback - 1]);
    return true;
}

static void policy_apply_ttl(const cellar *c, const policy_match *m, cache_plan *plan)
{
    const policy_rule *r = m->rule;
    int64_t ttl;
    if ((plan->given & CACHE_GIVEN_TTL) != 0) { return; }
    if (plan->spec.kind == (uint8_t)L1_NEGATIVE) {
        if (policy_number(m, POLICY_NEGATIVE, &ttl)) { plan->ttl_ms = ttl; }
        return;
    }
    if (r != NULL && !policy_has(&r->v, POLICY_TTL) && policy_has(&r->v, POLICY_CLASS) &&
        policy_class_ttl(c, r, &ttl)) {
        plan->ttl_ms = ttl;
    } else if (policy_number(m, POLICY_TTL, &ttl)) {
        plan->ttl_ms = ttl;
    }
}

static void policy_apply_times(const cellar *c, const policy_match *m, cache_plan *plan)
{
    const policy_rule *r = m->rule;
    const bool negative = plan->spec.kind == (uint8_t)L1_NEGATIVE;
    const int64_t until_ms = r != NULL && r->zone != NULL ? policy_until(r) : BASE_NEVER_MS;
    int64_t n;
    plan->ttl_ms = plan->asked_ms; /* another maximum age may hold */
    policy_apply_ttl(c, m, plan);
    if ((plan->given & CACHE_GIVEN_IDLE) == 0 && policy_number(m, POLICY_IDLE, &n)) {
        plan->spec.idle_ms = n == CELLAR_TTL_NONE || negative ? 0 : n;
        if ((plan->given & CACHE_GIVEN_AGE) == 0) { plan->most_ms = BASE_NEVER_MS; }
    }
    if (plan->spec.idle_ms != 0 && (plan->given & CACHE_GIVEN_AGE) == 0) {
        if (!policy_number(m, POLICY_MAX_AGE, &n)) { n = cache_default(c, CACHE_MAX_AGE); }
        if (n != 0) { plan->most_ms = n; }
    }
    if (policy_number(m, POLICY_TTL_MAX, &n)) { plan->most_ms = BASE_MIN(plan->most_ms, n); }
    plan->most_ms = BASE_MIN(plan->most_ms, until_ms);
    plan->ttl_ms = BASE_MIN(plan->ttl_ms, plan->most_ms);
    if ((plan->given & CACHE_GIVEN_JITTER) == 0 && policy_number(m, POLICY_JITTER, &n)) {
        plan->jitter_pct = (uint32_t)n % POLICY_JITTER_MODE;
        plan->jitter_mode = (uint32_t)n / POLICY_JITTER_MODE;
    }
    if ((plan->given & CACHE_GIVEN_STALE) != 0) {
        n = plan->stale_ms;
    } else if (!policy_number(m, POLICY_STALE, &n)) {
        n = cache_default(c, CACHE_STALE);
    }
    if (until_ms != BASE_NEVER_MS) { /* the window ends there, too */
        const bool longer = plan->jitter_pct != 0 && plan->jitter_mode != CELLAR_JITTER_MINUS;
        const int64_t more_ms = longer ? plan->ttl_ms * (int64_t)plan->jitter_pct / 100 : 0;
        n = BASE_MIN(n, until_ms - BASE_MIN(plan->ttl_ms + more_ms, plan->most_ms));
    }
    plan->spec.stale_ms = plan->ttl_ms == CELLAR_TTL_NONE || negative ? 0 : n;
    if (plan->ttl_ms != CELLAR_TTL_NONE && plan->now_ms == 0) {
        plan->now_ms = base_now_ms(&c->store->clock);
    }
}

/* Store when a load refreshes the value. An object without room has its error in these fields. */
static void policy_apply_refresh(const policy_match *m, cache_plan *plan)
{
    int64_t age;
    const bool keeps = (plan->spec.flags & L1_KEEP_TTL) != 0; /* the TTL of the old value */
    const bool fails = (plan->spec.flags & L1_OBJECT) != 0 && plan->spec.value == NULL;
    if (fails || !policy_number(m, POLICY_REFRESH, &age) || (age >= plan->ttl_ms && !keeps) ||
        plan->spec.kind != (uint8_t)L1_VALUE || (plan->given & CACHE_GIVEN_REFRESH) != 0) {
        return;
    }
    const int64_t at = base_add_sat(plan->now_ms, age);
    plan->spec.fails = (uint8_t)L1_REFRESH_AT;
    plan->spec.retry_at = (uint32_t)at;
    plan->spec.loader_code = (uint32_t)((uint64_t)at >> 32);
}

/* Copy the texts of the tags for the tier: cellar_policy_set may free those of the rule before the
 * put. The first `count` tags are of the call. */
static const cellar_bytes *policy_tag_texts(const policy_bytes *tag, const uint64_t *fp,
                                            const policy_rule *r, uint32_t count, cache_plan *plan)
{
    char *to = plan->text_bytes;
    if (count != 0 && plan->spec.tag_text == NULL) { return NULL; } /* not known */
    if (count != 0) { memcpy(plan->text, plan->spec.tag_text, count * sizeof plan->text[0]); }
    for (uint32_t i = 0; i < r->tag_count; i++) {
        uint32_t at = 0;
        while (plan->fps[at] != fp[i]) { at++; }
        if (at < count) { continue; }
        memcpy(to, tag[i].at, tag[i].len);
        plan->text[at] = (cellar_bytes){ to, tag[i].len };
        to += tag[i].len;
    }
    return plan->text;
}

/* Add the tags of the rule to those of the call. Return false if they are too many. */
static bool policy_apply_tags(const cellar *c, const policy_table *t, const policy_rule *r,
                              cache_plan *plan)
{
    l1_put_spec *p = &plan->spec;
    const uint32_t of_call = p->tag_count;
    uint32_t count = of_call;
    if (count == 0) {
        p->tag_born = plan->tag_born;
    } else if ((const void *)p->tag_fps != (const void *)plan->fps) {
        memcpy(plan->fps, p->tag_fps, count * sizeof plan->fps[0]);
    }
    for (uint32_t i = 0; i < r->tag_count; i++) {
        const uint64_t fp = t->tag_fp[r->tag_first + i];
        uint32_t at = 0;
        while (at < count && plan->fps[at] != fp) { at++; }
        if (at == CELLAR_TAGS_MAX) { return false; }
        plan->fps[at] = fp;
        count = BASE_MAX(count, at + 1);
    }
    p->tag_fps = plan->fps;
    p->tag_text = cache_tier_of(c) == NULL
                      ? NULL : policy_tag_texts(&t->tag[r->tag_first], &t->tag_fp[r->tag_first], r,
                                                of_call, plan);
    p->tag_count = count;
    return true;
}

/* Apply a rule and the settings of the sections. */
static cellar_err policy_apply(const cellar *c, const policy_match *m, bool disk_off,
                               cache_plan *plan)
{
    const policy_rule *r = m->rule;
    policy_apply_times(c, m, plan);
    policy_apply_refresh(m, plan);
    if (r != NULL && r->tag_count != 0 && !policy_apply_tags(c, m->section->table, r, plan)) {
        return CELLAR_E_LIMIT;
    }
    if (disk_off || (m->given >> POLICY_DISK_OFF & 1u) != 0) {
        if (plan->durable) { return CELLAR_E_UNSUPPORTED; }
        if (cache_tier_of(c) != NULL) { plan->spec.l2_addr = CACHE_NOT_ON_DISK; }
    }
    return CELLAR_OK;
}

BASE_COLD static cellar_err policy_refuse(cellar *c, cellar_err err, policy_place place)
{
    if (err == CELLAR_E_DENIED) {
        stats_add(cache_mine(c), STATS_DENIED, 1);
        char where[POLICY_WHERE_BYTES], text[CACHE_ERROR_TEXT];
        policy_where(place, where);
        (void)snprintf(text, sizeof text, "denied by %s", where);
        return cache_fail(c, err, 0, text);
    }
    return cache_fail(c, err, 0, err == CELLAR_E_LIMIT
                                     ? "the tags of the call and of the policy are more than 16"
                                     : "CELLAR_DURABLE: a no_l2 rule keeps the key off the disk");
}

/* Keep the rules of the namespace until policy_leave. *s NULL: it has none. */
BASE_INLINE _Atomic uint32_t *policy_enter(cache_policies *p, const cellar *c,
                                           const policy_section **s)
{
    policy_stripe *mine = &p->stripe[base_thread_self()->index % POLICY_STRIPES];
    _Atomic uint32_t *inside = &mine->inside[base_load_rlx(&p->turn) & 1u];
    (void)base_add_sc(inside, 1u); /* before the load of the section: policy_wait */
    *s = base_load_sc(&c->rules);
    return inside;
}

BASE_INLINE void policy_leave(_Atomic uint32_t *inside)
{
    (void)base_sub_ar(inside, 1u); /* acquire in policy_wait */
}

CELLAR_PRIVATE cellar_err policy_write(cellar *c, const void *key, size_t key_len,
                                       cache_plan *plan)
{
    cache_policies *p = policy_of(c->store);
    if (p == NULL || !plan->policed) { return CELLAR_OK; }
    plan->policed = false;
    const policy_section *s;
    _Atomic uint32_t *inside = policy_enter(p, c, &s);
    cellar_err err = CELLAR_OK;
    policy_place place = { 0, 0 };
    if (s != NULL) {
        bool disk_off;
        const policy_rule *r = policy_find(s, key, key_len, &disk_off);
        if (r != NULL && r->kind == POLICY_DENY) {
            err = CELLAR_E_DENIED;
            place = r->place;
        } else {
            const policy_match m = { r, s, s->given_all | (r != NULL ? r->v.given : 0) };
            err = policy_apply(c, &m, disk_off, plan);
        }
    }
    policy_leave(inside);
    return BASE_LIKELY(err == CELLAR_OK) ? err : policy_refuse(c, err, place);
}

BASE_SIZE_BEGIN

static const char *policy_text(const policy_values *v, unsigned option)
{
    return policy_has(v, option) ? v->text[option - POLICY_LOADER].at : NULL;
}

static int64_t policy_said(const policy_match *m, unsigned option)
{
    int64_t n;
    return policy_number(m, option, &n) ? n : 0;
}

/* Write a rule as a struct, with the options that its section and section "*" set for it. */
static void policy_describe(const policy_section *s, const policy_rule *r, const char *separator,
                            cellar_policy_rule *out)
{
    const policy_match m = { r, s, s->given_all | r->v.given };
    int64_t jitter;
    *out = (cellar_policy_rule){
        .struct_size = sizeof *out, .kind = (cellar_policy_kind)r->kind, .section = s->name.at,
        .pattern = r->pattern.at, .ttl_ms = policy_said(&m, POLICY_TTL),
        .ttl_max_ms = policy_said(&m, POLICY_TTL_MAX), .idle_ms = policy_said(&m, POLICY_IDLE),
        .max_age_ms = policy_said(&m, POLICY_MAX_AGE),
        .negative_ttl_ms = policy_said(&m, POLICY_NEGATIVE),
        .stale_ms = policy_said(&m, POLICY_STALE), .refresh_ms = policy_said(&m, POLICY_REFRESH),
        .priority = (uint32_t)policy_said(&m, POLICY_PRIORITY),
        .quota_max_pct = (uint32_t)policy_said(&m, POLICY_QUOTA),
        .no_l2 = (uint32_t)policy_said(&m, POLICY_DISK_OFF), .line = r->place.line,
        .ttl_class = policy_text(&r->v, POLICY_CLASS), .tags = policy_text(&r->v, POLICY_TAGS),
        .at = policy_text(&r->v, POLICY_AT), .loader = policy_text(&r->v, POLICY_LOADER),
        .prefix = policy_text(&s->v, POLICY_PREFIX), .separator = separator,
    };
    if (policy_number(&m, POLICY_JITTER, &jitter)) {
        const uint32_t pct = (uint32_t)jitter % POLICY_JITTER_MODE;
        out->jitter_pct = pct != 0 ? pct : CELLAR_OFF;
        out->jitter_mode = (cellar_jitter)(jitter / POLICY_JITTER_MODE);
    }
}

CELLAR_API cellar_err cellar_policy_list(cellar *c, cellar_policy_list_fn fn, void *ctx)
{
    if (c == NULL || fn == NULL) {
        return cache_refuse(c, "cellar_policy_list: fn must not be NULL");
    }
    if (cache_is_closed(c)) { return cache_closed(c, __func__); }
    cache_policies *p = policy_of(c->store);
    const policy_section *own;
    if (p == NULL) { return CELLAR_OK; }
    _Atomic uint32_t *inside = policy_enter(p, c, &own);
    for (uint32_t i = 0; own != NULL && i < own->table->rule_count; i++) {
        const policy_rule *r = &own->table->rule[i];
        const policy_section *s = &own->table->section[r->section];
        const char separator[2] = { policy_separator(s), '\0' };
        cellar_policy_rule rule;
        if (s != own && s != own->all) { continue; }
        policy_describe(s, r, separator, &rule);
        if (!fn(&rule, ctx)) { break; }
    }
    policy_leave(inside);
    return CELLAR_OK;
}

CELLAR_PRIVATE void policy_count(cellar *c, cellar_err err)
{
    if (cache_is_closed(c)) { return; }
    stats_count(c->store->stats, err == CELLAR_OK ? STATS_POLICY_LOADED : STATS_POLICY_REJECTED, 1);
}

CELLAR_PRIVATE void policy_wait(cache_policies *p)
{
    for (unsigned round = 0; round < 2; round++) {
        const uint32_t old = base_load_rlx(&p->turn) & 1u;
        base_store_sc(&p->turn, old ^ 1u);
        for (unsigned i = 0; i < POLICY_STRIPES; i++) {
            while (base_load_sc(&p->stripe[i].inside[old]) != 0) { base_yield(); }
        }
    }
}

/* ---- index ---- */

/* Find what groups a rule: its separators, its first and its last segment. Return false: it is
 * loose. */
static bool policy_rule_group(const policy_table *t, const policy_rule *r, char sep,
                              uint64_t *hash)
{
    if (r->kind != POLICY_KEY) { return false; }
    const policy_bytes *part = &t->part[r->part_first];
    const char *end = memchr(part[0].at, sep, part[0].len);
    if (end == NULL && r->part_count > 1) { return false; }
    const size_t segment = end != NULL ? (size_t)(end - part[0].at) : part[0].len;
    uint32_t seps = 0;
    for (uint32_t i = 0; i < r->part_count; i++) {
        seps += policy_count_byte(part[i].at, part[i].len, sep);
    }
    *hash = policy_group_hash(policy_head(part[0].at, part[0].len), segment, seps);
    const policy_bytes end_part = part[r->part_count - 1];
    const size_t last = policy_last_segment(end_part.at, end_part.len, sep);
    if (last < end_part.len || r->part_count == 1) {
        *hash = policy_last_hash(*hash, policy_tail(end_part.at, end_part.len), last);
    }
    return true;
}

/* Return the literal end of a pattern of literals, '?' and '*'; empty for patterns with classes or
 * escapes. */
static policy_bytes policy_glob_tail(policy_bytes p)
{
    uint32_t n = 0;
    if (memchr(p.at, '[', p.len) != NULL || memchr(p.at, '\\', p.len) != NULL) {
        return (policy_bytes){ "", 0 };
    }
    while (n < p.len && p.at[p.len - 1 - n] != '*' && p.at[p.len - 1 - n] != '?') { n++; }
    return (policy_bytes){ p.at + p.len - n, n };
}

static void policy_entry_make(const policy_table *t, uint32_t number, policy_entry *e)
{
    const policy_rule *r = &t->rule[number];
    policy_bytes head = r->pattern, tail = { "", 0 };
    *e = (policy_entry){ .rule = number };
    if (r->kind == POLICY_KEY) {
        head = t->part[r->part_first];
        tail = t->part[r->part_first + r->part_count - 1];
        for (uint32_t i = 0; i < r->part_count; i++) {
            e->least += t->part[r->part_first + i].len + (i > 0);
        }
    } else {
        bool literal;
        head.len = (uint32_t)base_glob_prefix(head.at, head.len, &literal);
        e->least = head.len;
        if (r->kind == POLICY_GLOB) { tail = policy_glob_tail(r->pattern); }
        e->spare = policy_is_inner(r->pattern);
    }
    e->head_mask = policy_head_mask(head.len);
    e->head = policy_head(head.at, head.len) & e->head_mask;
    e->tail_mask = policy_tail_mask(tail.len);
    e->tail = policy_tail(tail.at, tail.len) & e->tail_mask;
}

/* Find the quota of a section: of its rule "glob *", or of that of section "*", whichever comes
 * first; else of `set`. */
static void policy_section_share(policy_section *s)
{
    const policy_table *t = s->table;
    const policy_section *from[2] = { s, s->all };
    for (uint32_t i = 0; i < t->rule_count; i++) {
        const policy_rule *r = &t->rule[i];
        const policy_section *in = &t->section[r->section];
        if ((in != s && in != s->all) || !policy_has(&r->v, POLICY_QUOTA)) { continue; }
        s->share = (uint32_t)r->v.number[POLICY_QUOTA];
        s->share_place = r->place;
        return;
    }
    for (unsigned i = 0; i < 2 && s->share == 0; i++) {
        if (from[i] == NULL || !policy_has(&from[i]->v, POLICY_QUOTA)) { continue; }
        s->share = (uint32_t)from[i]->v.number[POLICY_QUOTA];
        s->share_place = from[i]->quota_place;
    }
}

static policy_group *policy_group_at(const policy_section *s, policy_group *g, uint64_t hash)
{
    for (uint64_t i = hash;; i++) {
        policy_group *at = &g[i & s->group_mask];
        if (at->count == 0 || at->hash == hash) { return at; }
    }
}

/* Make the index of a section from `entry` on. Return the entries used. */
static uint32_t policy_index_section(policy_table *t, policy_section *s, uint32_t entry,
                                     uint32_t *group)
{
    const uint32_t number = (uint32_t)(s - t->section);
    const char sep = policy_separator(s);
    policy_entry *to = policy_entries(t);
    policy_group *g = policy_groups(t) + *group;
    const uint32_t from = entry;
    uint32_t grouped = 0;
    s->given_all = s->v.given | (s->all != NULL ? s->all->v.given : 0);
    uint64_t hash;
    s->guard_first = entry;
    for (uint32_t i = 0; i < t->rule_count; i++) {
        if (t->rule[i].section != number) { continue; }
        s->rule_count++;
        if (t->rule[i].kind >= POLICY_DENY) { policy_entry_make(t, i, &to[entry++]); }
        grouped += policy_rule_group(t, &t->rule[i], sep, &hash);
    }
    s->guard_count = entry - s->guard_first;
    s->loose_first = entry;
    for (uint32_t i = 0; i < t->rule_count; i++) {
        const policy_rule *r = &t->rule[i];
        if (r->section != number || r->kind >= POLICY_DENY) { continue; }
        if (!policy_rule_group(t, r, sep, &hash)) { policy_entry_make(t, i, &to[entry++]); }
    }
    s->loose_count = entry - s->loose_first;
    s->group_first = *group;
    s->group_mask = (uint32_t)base_pow2_ceil(grouped == 0 ? 1 : (uint64_t)grouped * 2) - 1;
    *group += s->group_mask + 1;
    if (grouped == 0) { return entry - from; }
    for (uint32_t i = 0; i < t->rule_count; i++) { /* sizes of the groups */
        if (t->rule[i].section != number || !policy_rule_group(t, &t->rule[i], sep, &hash)) {
            continue;
        }
        policy_group *at = policy_group_at(s, g, hash);
        at->hash = hash;
        at->count++;
    }
    for (uint32_t i = 0; i <= s->group_mask; i++) {
        g[i].first = entry;
        entry += g[i].count;
    }
    for (uint32_t i = 0; i < t->rule_count; i++) {
        if (t->rule[i].section != number || !policy_rule_group(t, &t->rule[i], sep, &hash)) {
            continue;
        }
        policy_entry_make(t, i, &to[policy_group_at(s, g, hash)->first++]);
    }
    for (uint32_t i = 0; i <= s->group_mask; i++) { g[i].first -= g[i].count; }
    return entry - from;
}

CELLAR_PRIVATE void policy_index(policy_table *t, const base_hash_key *key)
{
    uint32_t entry = 0, group = 0;
    for (uint32_t i = 0; i < t->section_count; i++) {
        entry += policy_index_section(t, &t->section[i], entry, &group);
        policy_section_share(&t->section[i]);
    }
    BASE_ASSERT(entry == t->rule_count);
    for (uint32_t i = 0; i < t->tag_count; i++) {
        t->tag_fp[i] = base_hash(key, CACHE_SALT_TAG, t->tag[i].at, t->tag[i].len);
    }
}

BASE_SIZE_END
