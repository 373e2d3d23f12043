/* SPDX-License-Identifier: MIT
 *
 * options: options of a namespace: check, keep, and the quota that they ask for.
 *
 * INVARIANTS Checked before anything is allocated; memory is allocated before NAMESPACE is taken. A
 *            quota has its number before the first generation of its namespace or never: entries
 *            stored without a number were not counted.
 * LOCKING    NAMESPACE for writes. Calls read the options as single atomic words. */
#include "cache/options.h"

#include "cache/breaker_calls.h"
#include "cache/generation.h"
#include "cache/load_plan.h"

#include "base/pack.h"

BASE_SIZE_BEGIN

static const char *cache_namespace_opts_range(const cellar_namespace_opts *o)
{
    const int64_t times[] = { o->default_ttl_ms, o->negative_ttl_ms, o->idle_ms, o->max_age_ms,
                              o->stale_ms };
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        if (times[i] < 0) { return "namespace: a duration is negative: use 0 or more"; }
    }
    if (o->idle_ms > CACHE_WINDOW_MAX && o->idle_ms != CELLAR_TTL_NONE) {
        return "namespace: idle_ms must be at most 2^32 - 1";
    }
    if (o->stale_ms > CACHE_WINDOW_MAX) { return "namespace: stale_ms must be at most 2^32 - 1"; }
    if ((unsigned)o->tier > CELLAR_TIER_L2) { return "namespace: tier must be a cellar_tier"; }
    if (o->hidden > 1) { return "namespace: hidden must be 0 or 1"; }
    if ((unsigned)o->l2_write > CELLAR_L2_WRITE_THROUGH) {
        return "namespace: l2_write must be a cellar_l2_write";
    }
    if (o->l2_lz4 > 1) { return "namespace: l2_lz4 must be 0 or 1"; }
    if (o->track_dependencies > 1) { return "namespace: track_dependencies must be 0 or 1"; }
    if (o->exact_age > 1) { return "namespace: exact_age must be 0 or 1"; }
    if (o->quota_min_pct > 100 || o->quota_max_pct > 100) {
        return "namespace: a quota must be 0..100 percent";
    }
    if (o->quota_max_pct != 0 && o->quota_min_pct > o->quota_max_pct) {
        return "namespace: quota_min_pct must be at most quota_max_pct";
    }
    if ((unsigned)o->bloom > CELLAR_BLOOM_OBSERVING) { return "namespace: bloom must be 0 or 1"; }
    if (o->ttl_class_count > CELLAR_TTL_CLASSES_MAX) {
        return "namespace: ttl_class_count must be at most 16";
    }
    if (o->ttl_class_count > 0 && o->ttl_classes == NULL) {
        return "namespace: ttl_classes must not be NULL";
    }
    if (o->ttl_class_fallback > o->ttl_class_count) {
        return "namespace: ttl_class_fallback must be 0..ttl_class_count";
    }
    for (uint32_t i = 0; i < o->ttl_class_count; i++) {
        const cellar_ttl_class *t = &o->ttl_classes[i];
        if (t->name == NULL || t->name[0] == '\0' || t->ttl_ms < 1) {
            return "namespace: a TTL class needs a name and ttl_ms >= 1";
        }
        if (strlen(t->name) > CELLAR_TTL_CLASS_NAME_MAX) {
            return "namespace: the name of a TTL class is too long";
        }
        for (uint32_t k = 0; k < i; k++) {
            if (strcmp(o->ttl_classes[k].name, t->name) == 0) {
                return "namespace: two TTL classes have the same name";
            }
        }
    }
    return NULL;
}

CELLAR_PRIVATE cellar_err cache_namespace_opts_check(const cellar_namespace_opts *o,
                                                     const char **why)
{
    cellar_namespace_opts full;
    cellar_err err = base_opts_in(&full, sizeof full, o);
    if (err == CELLAR_E_INVAL || err == CELLAR_E_ABI) {
        *why = "namespace: start from cellar_namespace_opts_default()";
    } else if (err != CELLAR_OK) {
        *why = "namespace: options have a field that this library does not know";
    } else if ((err = cache_load_namespace_check(&full, why)) != CELLAR_OK) {
        return err;
    } else if ((*why = cache_namespace_opts_range(&full)) != NULL) {
        err = CELLAR_E_INVAL;
    } else if (full.l2_lz4 != 0 && !base_pack_there()) {
        *why = "namespace: l2_lz4 must be 0: this library was built without liblz4";
        err = CELLAR_E_UNSUPPORTED;
    } else {
        err = cache_breaker_check(full.breaker, why);
    }
    return err;
}

CELLAR_PRIVATE void cache_default_set(cellar *c, unsigned which, int64_t own)
{
    base_store_rlx(&c->def[which], own != 0 ? own : c->store->defaults[which]);
}

CELLAR_PRIVATE bool cache_namespace_opts_room(cache_store *s, const cellar_namespace_opts *o,
                                              cache_class_name **names)
{
    *names = NULL;
    const cache_tier *t = s->tier;
    if (o != NULL && o->l2_lz4 != 0 && t != NULL && t->pack_ready != NULL &&
        !t->pack_ready(t->ctx)) {
        return false;
    }
    if (o == NULL || o->ttl_class_count == 0) { return true; }
    *names = base_alloc(&s->account, BASE_MOD_NAMESPACE,
                        sizeof **names * CELLAR_TTL_CLASSES_MAX, NULL);
    return *names != NULL;
}

CELLAR_PRIVATE void cache_class_names_free(cache_store *s, cache_class_name *names)
{
    base_free(&s->account, BASE_MOD_NAMESPACE, names, sizeof *names * CELLAR_TTL_CLASSES_MAX);
}

CELLAR_PRIVATE void cache_namespace_opts_apply(cellar *v, const cellar_namespace_opts *o,
                                               cache_class_name **names)
{
    const int64_t own[CACHE_DEFAULTS] = { o->default_ttl_ms, o->negative_ttl_ms, o->idle_ms,
                                          o->max_age_ms, o->stale_ms };
    for (unsigned i = 0; i < CACHE_DEFAULTS; i++) { cache_default_set(v, i, own[i]); }
    base_store_rlx(&v->carries, o->exact_age != 0 ? CACHE_CARRIES_BIRTH : 0u);
    base_store_rlx(&v->deps, o->track_dependencies);
    cache_load_namespace_apply(v, o);
    if (o->ttl_class_count > 0 && v->class_name == NULL) {
        v->class_name = *names;
        *names = NULL;
    }
    for (uint32_t i = 0; i < o->ttl_class_count; i++) {
        memcpy(v->class_name[i], o->ttl_classes[i].name, strlen(o->ttl_classes[i].name) + 1);
        base_store_rlx(&v->class_ttl_ms[i], o->ttl_classes[i].ttl_ms);
    }
    base_store_rlx(&v->ttl_class_fallback,
                   o->ttl_class_fallback == 0 ? 1u : o->ttl_class_fallback);
    base_store_rel(&v->class_count, o->ttl_class_count); /* acquire in cache_plan_make */
}

CELLAR_PRIVATE void cache_namespace_fix(cellar *v, const cellar_namespace_opts *o)
{
    v->no_disk = o->tier == CELLAR_TIER_L1 || o->hidden != 0;
    v->secret = o->hidden != 0;
    v->disk_mode = (uint8_t)o->l2_write;
    v->disk_pack = o->l2_lz4 != 0;
}

/* ---- quotas ---- */

CELLAR_PRIVATE bool cache_quota_room(cache_store *s, const cellar_namespace_opts *o)
{
    return o == NULL || (o->quota_min_pct | o->quota_max_pct) == 0 || l1_quotas_open(s->l1);
}

CELLAR_PRIVATE cellar_err cache_quota_take(cache_store *s, cellar *v,
                                           const cellar_namespace_opts *o)
{
    const bool any = (o->quota_min_pct | o->quota_max_pct) != 0;
    if (v->quota == 0 && !any) { return CELLAR_OK; }
    if (v->quota == 0 && v->first_generation != UINT32_MAX) { return CELLAR_E_INVAL; }
    const uint32_t bit = v->quota != 0 ? 0 : (uint32_t)__builtin_ctzll(~s->quotas_used);
    if (bit >= L1_QUOTAS) { return CELLAR_E_LIMIT; }
    l1_share now;
    l1_quota_get(s->l1, v->quota, &now);
    if (l1_quota_least(s->l1) - now.least_pct + o->quota_min_pct > 100) { return CELLAR_E_INVAL; }
    if (v->quota == 0) {
        v->quota = (uint8_t)(bit + 1);
        s->quotas_used |= (uint64_t)1 << bit;
    }
    l1_quota_set(s->l1, v->quota, o->quota_min_pct, o->quota_max_pct);
    return CELLAR_OK;
}

CELLAR_PRIVATE bool cache_quota_root(cache_store *s, const cache_settings *cfg)
{
    if (!cache_quota_room(s, &cfg->root)) { return false; }
    sync_take(NAMESPACE, &s->namespace_lock);
    cellar *v = s->root;
    const uint32_t first = v->first_generation;
    v->first_generation = UINT32_MAX;
    (void)cache_quota_take(s, v, &cfg->root); /* the first one: there is room */
    v->first_generation = first;
    cache_generation_take(v, base_load_rlx(&v->generation));
    sync_drop(NAMESPACE, &s->namespace_lock);
    return true;
}

CELLAR_PRIVATE void cache_quota_give(cache_store *s, const cellar *v)
{
    if (v->quota == 0) { return; }
    l1_quota_set(s->l1, v->quota, 0, 0);
    s->quotas_used &= ~((uint64_t)1 << (v->quota - 1));
}

BASE_SIZE_END
