/* SPDX-License-Identifier: MIT
 *
 * policy_set: give a store its rules, and replace them while they are in use.
 *
 * WALK       structs -> table -> index -> NAMESPACE: sections of all namespaces -> policy_wait ->
 *            free the old table
 * INVARIANTS Errors leave the rules in force. Stored entries keep their deadlines.
 * LOCKING    `reloading` lets one thread set rules at a time; no lock is held while it checks,
 *            allocates and reports. NAMESPACE for the change.
 * SEE ALSO   policy/policy.c (use of the rules), policy/policy_table.c (table of structs). */
#include "store/policy_set.h"

#include "cache/call.h"
#include "cache/error.h"
#include "cache/generation.h"
#include "cache/handle.h"
#include "policy/policy.h"
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
    const cache_policies *p = policy_of(v->store);
    const policy_section *s = cache_policy_section(v, p != NULL ? p->table : NULL);
    const uint32_t rest = base_load_rlx(&v->carries) & ~CACHE_CARRIES_POLICY;
    base_store_sc(&v->rules, s); /* before policy_wait of the call that replaces the rules */
    base_store_rel(&v->carries, rest | (s != NULL ? CACHE_CARRIES_POLICY : 0u));
}

/* ---- quotas ---- */

CELLAR_PRIVATE uint32_t cache_policy_share(const cellar *v, const cellar_namespace_config *o)
{
    const cache_policies *p = policy_of(v->store);
    const char *option = o == NULL ? v->rules_name : o->policy_section != NULL ? o->policy_section
                                                                                : "";
    const policy_section *s = cache_policy_section_by(v, option, p != NULL ? p->table : NULL);
    return s != NULL ? s->share : 0;
}

static void cache_share_log(cache_store *s, const char *where, unsigned more)
{
    char others[24] = "";
    if (more > 0) { (void)snprintf(others, sizeof others, " (and %u more)", more); }
    base_log(&s->log, BASE_LOG_WARNING, "policy", 0, "the quota of %s is not in force%s: the "
             "namespace was created without a quota", where, others);
}

CELLAR_PRIVATE void cache_policy_share_missed(cache_store *s) { cache_share_log(s, "a rule", 0); }

/* Give all namespaces their quotas. A namespace that is being created takes its own quota when it
 * gets its name. */
SYNC_HOLDS(NAMESPACE) static void cache_policy_shares(cache_store *s, const policy_table *t)
{
    cellar *v;
    for (uint32_t slot = 0; (v = cache_namespace_next(s, &slot)) != NULL; slot++) {
        policy_section *in = cache_policy_section(v, t);
        bool missed;
        if (base_load_rlx(&v->dropped) || !cache_namespace_is_named(v)) { continue; }
        (void)cache_quota_take(s, v, NULL, in != NULL ? in->share : 0, &missed);
        if (missed) { in->share_missed = true; }
    }
}

/* Log the quotas that are not in force: the first one, and how many more, for the log holds back
 * equal lines. */
static void cache_policy_shares_told(cache_store *s, const policy_table *t)
{
    const policy_section *first = NULL;
    unsigned missed = 0;
    char where[POLICY_WHERE_BYTES];
    for (uint32_t i = 0; t != NULL && i < t->section_count; i++) {
        if (!t->section[i].share_missed) { continue; }
        if (missed++ == 0) { first = &t->section[i]; }
    }
    if (first == NULL) { return; }
    policy_where(first->share_place, where);
    cache_share_log(s, where, missed - 1);
}

static bool cache_policy_has_share(const policy_table *t)
{
    for (uint32_t i = 0; t != NULL && i < t->section_count; i++) {
        if (t->section[i].share != 0) { return true; }
    }
    return false;
}

/* ---- set ---- */

static cache_policies *cache_policies_make(cache_store *s)
{
    cache_policies *p = policy_of(s);
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

/* Put rules into force. opening: the store opens, and nothing is stored. */
static cellar_err cache_policy_put(cache_store *s, const cellar_policy_rule *rules, size_t count,
                                   bool opening, char said[POLICY_SAID])
{
    policy_table *t = NULL;
    if (!POLICY_BUILT) {
        (void)snprintf(said, POLICY_SAID, "this library has no rules of keys");
        return count > 0 ? CELLAR_E_UNSUPPORTED : CELLAR_OK;
    }
    cache_policies *p = cache_policies_make(s);
    (void)snprintf(said, POLICY_SAID, "no memory for the rules");
    if (p == NULL) { return CELLAR_E_NOMEM; }
    if (count > 0) {
        const cellar_err err = policy_table_make(rules, count, &s->account, said, &t);
        if (err == CELLAR_E_SPACE) {
            (void)snprintf(said, POLICY_SAID, "the rules do not fit: raise memory_bytes");
        }
        if (err != CELLAR_OK) { return err; }
        policy_index(t, &s->hash_key);
    }
    if (cache_policy_has_share(t) && !l1_quotas_open(s->l1)) {
        policy_table_free(t);
        return CELLAR_E_NOMEM;
    }
    cache_policy_replace(s, p, t, opening);
    if (opening) {
        policy_section *in = cache_policy_section(s->root, t);
        bool missed = false;
        (void)cache_quota_root(s, NULL, in != NULL ? in->share : 0, &missed);
        if (missed) { in->share_missed = true; }
    }
    cache_policy_shares_told(s, t);
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_policy_set(cellar *c, const cellar_policy_rule *rules,
                                        size_t rule_count)
{
    if (c == NULL || (rules == NULL && rule_count != 0)) {
        return cache_refuse(c, "cellar_policy_set: rules must not be NULL");
    }
    if (cache_is_closed(c)) { return cache_closed(c, __func__); }
    cache_store *s = c->store;
    char said[POLICY_SAID], text[CACHE_ERROR_TEXT];
    sync_role_take(&s->reloading);
    const cellar_err err = cache_policy_put(s, rules, rule_count, false, said);
    sync_role_drop(&s->reloading);
    policy_count(c, err);
    if (err == CELLAR_OK) { return err; }
    (void)snprintf(text, sizeof text, "cellar_policy_set: %s", said);
    base_log(&s->log, BASE_LOG_WARNING, "policy", (int)err, "%s", text);
    return cache_fail(c, err, 0, text);
}

/* ---- open and close ---- */

CELLAR_PRIVATE cellar_err cache_policies_open(cellar *root, const cellar_policy_rule *rules,
                                              size_t count)
{
    char said[POLICY_SAID];
    const cellar_err err = cache_policy_put(root->store, rules, count, true, said);
    return err == CELLAR_OK ? err : cache_open_refuse(err, said);
}

CELLAR_PRIVATE void cache_policies_close(cache_store *s)
{
    cache_policies *p = policy_of(s);
    if (p == NULL) { return; }
    base_store_rlx(&s->policies, NULL);
    policy_table_free(p->table);
    base_free(&s->account, BASE_MOD_POLICY, p->raw, sizeof *p + BASE_PAD);
}

BASE_SIZE_END
