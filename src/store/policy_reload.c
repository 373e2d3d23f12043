/* SPDX-License-Identifier: MIT
 *
 * policy_reload: load a policy file into a store, replace it while it is in use, check it.
 *
 * WALK       read -> parse -> index -> NAMESPACE: sections of all namespaces -> policy_wait ->
 *            free the old table
 * INVARIANTS Errors leave the rules in force. Stored entries keep their deadlines.
 * LOCKING    `reloading` lets one thread load at a time; no lock is held while it reads, allocates
 *            and reports. NAMESPACE for the change.
 * SEE ALSO   policy/policy.c (use of the rules), policy/policy_text.c (parser),
 *            policy/policy_lint.c. */
#include "store/policy_reload.h"

#include "cache/call.h"
#include "cache/error.h"
#include "cache/generation.h"
#include "cache/handle.h"
#include "policy/policy.h"
#include "policy/policy_lint.h"
#include "store/options.h"

#include <stdio.h>

BASE_SIZE_BEGIN

/* ---- sections of namespaces ---- */

/* Return the section of a namespace with the option policy_section, else "*", else NULL. */
static policy_section *cache_policy_section_by(const cellar *v, const char *option,
                                               const policy_table *t)
{
    if (t == NULL) { return NULL; }
    const char *name = option[0] != '\0' ? option : v->name;
    const size_t len = option[0] != '\0' ? strlen(name) : v->name_len;
    policy_section *s = policy_section_find(t, name, len);
    return s != NULL ? s : policy_section_find(t, "*", 1);
}

static policy_section *cache_policy_section(const cellar *v, const policy_table *t)
{
    return cache_policy_section_by(v, v->rules_name, t);
}

CELLAR_PRIVATE void cache_policy_bind(cellar *v)
{
    const cache_policies *p = base_load_rlx(&v->store->policies);
    const policy_section *s = cache_policy_section(v, p != NULL ? p->table : NULL);
    const bool ours = v->policy == policy_write; /* else another hook was set */
    const uint32_t rest = base_load_rlx(&v->carries) & ~CACHE_CARRIES_POLICY;
    base_store_sc(&v->rules, s); /* before policy_wait of the reload */
    if (ours) { base_store_rel(&v->carries, rest | (s != NULL ? CACHE_CARRIES_POLICY : 0u)); }
}

/* ---- quotas ---- */

CELLAR_PRIVATE uint32_t cache_policy_share(const cellar *v, const cellar_namespace_opts *o)
{
    const cache_policies *p = base_load_rlx(&v->store->policies);
    const char *option = o == NULL ? v->rules_name : o->policy_section != NULL ? o->policy_section
                                                                                : "";
    const policy_section *s = cache_policy_section_by(v, option, p != NULL ? p->table : NULL);
    return s != NULL ? s->share : 0;
}

static const char cache_share_text[] =
    "the quota of the policy is not in force: the least shares exceed 100 percent, or the "
    "namespace was created without a quota";

CELLAR_PRIVATE void cache_policy_share_missed(cache_store *s)
{
    base_log(&s->log, BASE_LOG_WARNING, "policy", 0, "%s", cache_share_text);
}

/* Give all namespaces their quotas. The second round finds the shares that the first one took from
 * others. A namespace that is being created takes its own quota when it gets its name. */
SYNC_HOLDS(NAMESPACE) static void cache_policy_shares(cache_store *s, const policy_table *t)
{
    for (unsigned round = 0; round < 2; round++) {
        cellar *v;
        for (uint32_t slot = 0; (v = cache_namespace_next(s, &slot)) != NULL; slot++) {
            policy_section *in = cache_policy_section(v, t);
            bool missed;
            if (v->dropped || !cache_namespace_is_named(v)) { continue; }
            (void)cache_quota_take(s, v, NULL, in != NULL ? in->share : 0, &missed);
            if (missed && round > 0) { in->share_missed = true; }
        }
    }
}

/* Report the quotas that are not in force. */
static void cache_policy_shares_told(cache_store *s, const policy_table *t, policy_diag *d)
{
    for (uint32_t i = 0; t != NULL && i < t->section_count; i++) {
        const policy_section *in = &t->section[i];
        if (!in->share_missed) { continue; }
        policy_note(d, true, in->share_line, 1, "%s", cache_share_text);
        cache_policy_share_missed(s);
    }
}

static bool cache_policy_has_share(const policy_table *t)
{
    for (uint32_t i = 0; t != NULL && i < t->section_count; i++) {
        if (t->section[i].share != 0) { return true; }
    }
    return false;
}

/* ---- load ---- */

static cache_policies *cache_policies_make(cache_store *s)
{
    cache_policies *p = base_load_rlx(&s->policies);
    if (p != NULL) { return p; }
    void *raw = base_alloc(&s->account, BASE_MOD_POLICY, sizeof *p + BASE_PAD, NULL);
    if (raw == NULL) { return NULL; }
    p = (cache_policies *)(void *)(((uintptr_t)raw + BASE_PAD - 1) & ~(uintptr_t)(BASE_PAD - 1));
    p->raw = raw;
    base_store_rel(&s->policies, p); /* acquire in policy_write */
    return p;
}

/* Put the table into force, and free the old one when no call uses it. */
static void cache_policy_replace(cache_store *s, cache_policies *p, policy_table *t, bool opening)
{
    cellar *v;
    sync_take(NAMESPACE, &s->namespace_lock);
    policy_table *old = p->table;
    p->table = t;
    for (uint32_t slot = 0; (v = cache_namespace_next(s, &slot)) != NULL; slot++) {
        cache_policy_bind(v);
    }
    if (!opening) { cache_policy_shares(s, t); }
    sync_drop(NAMESPACE, &s->namespace_lock);
    policy_wait(p);
    policy_table_free(old);
}

/* Keep the path of the file for the next reload. Return false if no memory is left. */
static bool cache_policy_keep_path(cache_store *s, cache_policies *p, const char *path)
{
    if (p->path != NULL && strcmp(p->path, path) == 0) { return true; }
    const size_t bytes = strlen(path) + 1;
    char *copy = base_alloc(&s->account, BASE_MOD_POLICY, bytes, NULL);
    if (copy == NULL) { return false; }
    memcpy(copy, path, bytes);
    base_free(&s->account, BASE_MOD_POLICY, p->path, p->path_bytes);
    p->path = copy;
    p->path_bytes = bytes;
    return true;
}

typedef struct cache_policy_load { /* one load of rules */
    const char *path; /* NULL: `given`, or the file of the last load */
    policy_source given; /* neither text nor structs: a file */
    size_t cap;
    policy_diag d;
    int sys_errno;
    bool opening; /* the store opens: nothing is stored */
} cache_policy_load;

static cellar_err cache_policy_load_run(cache_store *s, cache_policy_load *l)
{
    char *text = NULL;
    cellar_err err = CELLAR_OK;
    policy_table *t = NULL;
    cache_policies *p = cache_policies_make(s);
    if (p == NULL) { return CELLAR_E_NOMEM; }
    if (l->given.text == NULL && l->given.structs == NULL) {
        if (l->path == NULL && p->path == NULL) { return CELLAR_E_INVAL; }
        const char *path = l->path != NULL ? l->path : p->path;
        l->d.name = path;
        err = policy_file_read(path, &l->d, &text, &l->given.len, &l->cap, &l->sys_errno);
        if (err != CELLAR_OK) { return err; }
        l->given.text = text;
    }
    if (l->given.len > 0) { err = policy_parse(&l->given, &s->account, &l->d, &t); }
    base_free_raw(NULL, text, l->cap);
    if (err != CELLAR_OK) { return err; }
    if (t != NULL) { policy_index(t, &s->hash_key); }
    /* the path last: a load that fails keeps that of the rules in force */
    if ((cache_policy_has_share(t) && !l1_quotas_open(s->l1)) ||
        (l->path != NULL && !cache_policy_keep_path(s, p, l->path))) {
        policy_table_free(t);
        return CELLAR_E_NOMEM;
    }
    cache_policy_replace(s, p, t, l->opening);
    if (l->opening) {
        policy_section *in = cache_policy_section(s->root, t);
        bool missed = false;
        (void)cache_quota_root(s, NULL, in != NULL ? in->share : 0, &missed);
        if (missed) { in->share_missed = true; }
    }
    cache_policy_shares_told(s, t, &l->d);
    return CELLAR_OK;
}

static const char *cache_policy_said(const cache_policy_load *l, cellar_err err)
{
    switch ((int)err) {
    case CELLAR_E_CONFIG: return l->d.first;
    case CELLAR_E_IO: return "policy file: cannot be read";
    case CELLAR_E_INVAL: return "cellar_policy_reload: no path is given, and none was before";
    case CELLAR_E_SPACE: return "policy file: does not fit: raise memory_bytes";
    default: return "policy file: no memory";
    }
}

static cellar_err cache_policy_load_text(cellar *c, cache_policy_load *l)
{
    cache_store *s = c->store;
    if (s->forked) {
        return cache_fail(c, CELLAR_E_FORKED, 0, "policies do not change in a forked child");
    }
    sync_role_take(&s->reloading);
    const cellar_err err = cache_policy_load_run(s, l);
    sync_role_drop(&s->reloading);
    stats_count(s->stats, err == CELLAR_OK ? STATS_POLICY_LOADED : STATS_POLICY_REJECTED, 1);
    if (err == CELLAR_OK) { return err; }
    base_log(&s->log, BASE_LOG_WARNING, "policy", (int)err, "%s", cache_policy_said(l, err));
    return cache_fail(c, err, l->sys_errno, cache_policy_said(l, err));
}

CELLAR_API cellar_err cellar_policy_reload(cellar *c, const char *path, cellar_policy_note_fn fn,
                                           void *ctx)
{
    if (c == NULL) { return CELLAR_E_INVAL; }
    if (cache_is_closed(c)) { return cache_closed(c); }
    cache_policy_load l = { .path = path, .d = { .fn = fn, .ctx = ctx } };
    return cache_policy_load_text(c, &l);
}

CELLAR_API cellar_err cellar_policy_set(cellar *c, const char *text, size_t text_len,
                                        cellar_policy_note_fn fn, void *ctx)
{
    if (c == NULL || (text == NULL && text_len != 0)) {
        return cache_refuse(c, "cellar_policy_set: text must not be NULL");
    }
    if (cache_is_closed(c)) { return cache_closed(c); }
    cache_policy_load l = { .given = { .text = text != NULL ? text : "", .len = text_len },
                            .d = { .name = "policy", .fn = fn, .ctx = ctx } };
    return cache_policy_load_text(c, &l);
}

/* Check the sizes of the structs: they are one size apart. */
static cellar_err cache_policy_rules_check(cellar *c, const policy_source *src)
{
    for (size_t i = 0; i < src->len; i++) {
        cellar_policy_rule rule;
        const char *at = src->structs + i * src->stride;
        size_t size = 0;
        cellar_err err = base_opts_size(at, &size);
        if (err == CELLAR_OK && size != src->stride) { err = CELLAR_E_INVAL; }
        if (err == CELLAR_OK) { err = base_opts_in(&rule, sizeof rule, at); }
        if (err == CELLAR_OK) { continue; }
        char text[CACHE_ERROR_TEXT];
        (void)snprintf(text, sizeof text, "cellar_policy_set_rules: rules[%zu]: %s", i,
                       err == CELLAR_E_UNSUPPORTED
                           ? "it has a field that this library does not know"
                           : "start from cellar_policy_rule_default()");
        return cache_fail(c, err, 0, text);
    }
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_policy_set_rules(cellar *c, const cellar_policy_rule *rules,
                                              size_t rule_count, cellar_policy_note_fn fn,
                                              void *ctx)
{
    if (c == NULL || (rules == NULL && rule_count != 0)) {
        return cache_refuse(c, "cellar_policy_set_rules: rules must not be NULL");
    }
    if (cache_is_closed(c)) { return cache_closed(c); }
    cache_policy_load l = { .given = { .len = rule_count, .structs = (const char *)rules },
                            .d = { .name = "rules", .fn = fn, .ctx = ctx } };
    if (rule_count == 0) {
        l.given.structs = "";
    } else {
        memcpy(&l.given.stride, rules, sizeof l.given.stride);
        const cellar_err err = cache_policy_rules_check(c, &l.given);
        if (err != CELLAR_OK) { return err; }
    }
    return cache_policy_load_text(c, &l);
}

/* ---- open and close ---- */

CELLAR_PRIVATE cellar_err cache_policies_open(cellar *root, const char *path)
{
    cache_policy_load l = { .path = path, .opening = true };
    const cellar_err err = cache_policy_load_run(root->store, &l);
    if (err != CELLAR_OK) { cache_fail_open(err, l.sys_errno, cache_policy_said(&l, err)); }
    return err;
}

CELLAR_PRIVATE void cache_policies_close(cache_store *s)
{
    cache_policies *p = base_load_acq(&s->policies);
    if (p == NULL) { return; }
    base_store_rlx(&s->policies, NULL);
    policy_table_free(p->table);
    base_free(&s->account, BASE_MOD_POLICY, p->path, p->path_bytes);
    base_free(&s->account, BASE_MOD_POLICY, p->raw, sizeof *p + BASE_PAD);
}

/* ---- check ---- */

typedef struct cache_policy_user { /* the namespace of a section, as the linter needs it */
    bool there, loads;
    uint32_t class_count;
    uint64_t class_hash[CELLAR_TTL_CLASSES_MAX];
    bool class_used[CELLAR_TTL_CLASSES_MAX];
} cache_policy_user;

static void cache_policy_look(cache_store *s, const policy_table *t, const policy_section *section,
                              cache_policy_user *u)
{
    cellar *v;
    memset(u, 0, sizeof *u);
    sync_take(NAMESPACE, &s->namespace_lock);
    for (uint32_t slot = 0; (v = cache_namespace_next(s, &slot)) != NULL; slot++) {
        if (v->dropped || cache_policy_section(v, t) != section) { continue; }
        u->there = true;
        u->loads = u->loads || v->loader != NULL || v->loader_many != NULL;
        u->class_count = base_load_rlx(&v->class_count);
        for (uint32_t i = 0; i < u->class_count; i++) {
            u->class_hash[i] = base_load_rlx(&v->class_hash[i]);
        }
    }
    sync_drop(NAMESPACE, &s->namespace_lock);
}

static void cache_policy_check_rule(const policy_rule *r, cache_policy_user *u, policy_diag *d)
{
    if (policy_has(&r->v, POLICY_LOADER) && !u->loads) {
        policy_note(d, true, r->line, 1, "loader: the namespace has no loader");
    }
    if (!policy_has(&r->v, POLICY_CLASS)) { return; }
    const policy_bytes name = r->v.text[POLICY_CLASS - POLICY_LOADER];
    const uint64_t hash = policy_class_hash(name.at, name.len);
    bool found = false;
    for (uint32_t i = 0; i < u->class_count; i++) {
        if (u->class_hash[i] == hash) { found = u->class_used[i] = true; }
    }
    if (!found) {
        policy_note(d, true, r->line, 1, "the namespace has no TTL class \"%.*s\"", (int)name.len,
                    name.at);
    }
}

static void cache_policy_check(cache_store *s, const policy_table *t, policy_diag *d)
{
    for (const policy_section *in = t->section; in < t->section + t->section_count; in++) {
        cache_policy_user u;
        const bool all = in->name.len == 1 && in->name.at[0] == '*';
        bool classes = false;
        cache_policy_look(s, t, in, &u);
        if (all) { continue; }
        if (!u.there) {
            policy_note(d, true, in->line, 1, "no namespace \"%.*s\" is open", (int)in->name.len,
                        in->name.at);
            continue;
        }
        for (const policy_rule *r = t->rule; r < t->rule + t->rule_count; r++) {
            if (&t->section[r->section] != in) { continue; }
            classes = classes || policy_has(&r->v, POLICY_CLASS);
            cache_policy_check_rule(r, &u, d);
        }
        for (uint32_t i = 0; classes && i < u.class_count; i++) {
            if (!u.class_used[i]) {
                policy_note(d, true, in->line, 1, "no rule uses TTL class %u of the namespace",
                            (unsigned)(i + 1));
            }
        }
    }
}

CELLAR_API cellar_err cellar_policy_lint(cellar *c, const char *path, cellar_policy_note_fn fn,
                                         void *ctx)
{
    if (path == NULL) { return cache_refuse(c, "cellar_policy_lint: path must not be NULL"); }
    if (c != NULL && cache_is_closed(c)) { return cache_closed(c); }
    cache_policy_load l = { .path = path, .d = { .name = path, .fn = fn, .ctx = ctx } };
    char *text;
    policy_table *t = NULL;
    cellar_err err = policy_file_read(path, &l.d, &text, &l.given.len, &l.cap, &l.sys_errno);
    if (err == CELLAR_OK) {
        l.given.text = text;
        err = policy_parse(&l.given, NULL, &l.d, &t);
        base_free_raw(NULL, text, l.cap);
    }
    if (err != CELLAR_OK) {
        if (c == NULL) { cache_fail_open(err, l.sys_errno, cache_policy_said(&l, err)); }
        return cache_fail(c, err, l.sys_errno, cache_policy_said(&l, err));
    }
    policy_lint(t, &l.d);
    if (c != NULL) { cache_policy_check(c->store, t, &l.d); }
    policy_table_free(t);
    return CELLAR_OK;
}

BASE_SIZE_END
