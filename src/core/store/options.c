/* SPDX-License-Identifier: MIT
 *
 * options: options of a namespace: check, keep, and the quota that they ask for.
 *
 * INVARIANTS Checked before anything is allocated; memory is allocated before NAMESPACE is taken. A
 *            quota has its number before the first generation of its namespace or never: entries
 *            stored without a number were not counted.
 * LOCKING    NAMESPACE for writes. Calls read the options as single atomic words. */
#include "store/options.h"

#include "cache/generation.h"
#include "cache/talk.h"
#include "loading/breaker_calls.h"
#include "loading/load_plan.h"
#include "policy/policy_table.h"

#include "base/pack.h"

BASE_SIZE_BEGIN

#define CACHE_NAMESPACE(field, max, text) \
    BASE_NUMBER(cellar_namespace_config, field, 0, 0, max, text)

static const base_number cache_namespace_numbers[] = {
    CACHE_NAMESPACE(stale_ms, CACHE_WINDOW_MAX, "stale_ms must be at most 2^32 - 1"),
    CACHE_NAMESPACE(tier, CELLAR_TIER_L2, "tier must be 0..2, a cellar_tier"),
    CACHE_NAMESPACE(hidden, 1, "hidden must be 0 or 1"),
    CACHE_NAMESPACE(l2_write, CELLAR_L2_WRITE_THROUGH, "l2_write must be 0..3, a cellar_l2_write"),
    CACHE_NAMESPACE(l2_lz4, 1, "l2_lz4 must be 0 or 1"),
    CACHE_NAMESPACE(exact_age, 1, "exact_age must be 0 or 1"),
    CACHE_NAMESPACE(quota_max_pct, 100, "quota_max_pct must be 0..100"),
    CACHE_NAMESPACE(bloom_keys, BLOOM_KEYS_MAX, "bloom_keys must be at most 2^40"),
    BASE_NUMBER(cellar_namespace_config, bloom_fpr_ppm, 0, 100, 500000,
                "bloom_fpr_ppm must be 100..500,000"),
    CACHE_NAMESPACE(log_level, CELLAR_LOG_OFF, "log_level must be 0..5, a cellar_log_level"),
    CACHE_NAMESPACE(ttl_class_count, CELLAR_TTL_CLASSES_MAX, "ttl_class_count must be at most 16"),
};

/* Check the TTL classes. */
static cellar_err cache_classes_check(const cellar_namespace_config *o, cache_broken *why)
{
    const cellar_err err = CELLAR_E_INVAL;
    if (o->ttl_class_count > 0 && o->ttl_classes == NULL) {
        return cache_breaks_by(why, err, "ttl_classes must not be NULL with ttl_class_count",
                               o->ttl_class_count);
    }
    if (o->ttl_class_fallback > o->ttl_class_count) {
        return cache_breaks_by(why, err, "ttl_class_fallback must be 0..ttl_class_count",
                               o->ttl_class_fallback);
    }
    for (uint32_t i = 0; i < o->ttl_class_count; i++) {
        const cellar_ttl_class *t = &o->ttl_classes[i];
        const size_t len = t->name != NULL ? strlen(t->name) : 0;
        if (len == 0 || len > CELLAR_TTL_CLASS_NAME_MAX) {
            return cache_breaks_by(why, err, "the name of a TTL class must have 1..31 bytes",
                                   (int64_t)len);
        }
        if (t->ttl_ms < 1) {
            return cache_breaks_by(why, err, "ttl_ms of a TTL class must be at least 1", t->ttl_ms);
        }
        for (uint32_t k = 0; k < i; k++) {
            if (strcmp(o->ttl_classes[k].name, t->name) == 0) {
                return cache_breaks_by(why, err, "two of ttl_classes have one name: rename the "
                                                 "second", i);
            }
        }
    }
    return CELLAR_OK;
}

static cellar_err cache_namespace_opts_range(cellar_namespace_config *o, cache_broken *why)
{
    static const char *const names[CACHE_DEFAULTS] = {
        [CACHE_TTL] = "default_ttl_ms must be 0 or more",
        [CACHE_NEGATIVE_TTL] = "negative_ttl_ms must be 0 or more",
        [CACHE_IDLE] = "idle_ms must be 0 or more",
        [CACHE_MAX_AGE] = "max_age_ms must be 0 or more",
        [CACHE_STALE] = "stale_ms must be 0 or more" };
    const int64_t times[CACHE_DEFAULTS] = CACHE_TIMES(o);
    for (size_t i = 0; i < CACHE_DEFAULTS; i++) {
        if (times[i] < 0) { return cache_breaks_by(why, CELLAR_E_INVAL, names[i], times[i]); }
    }
    uint64_t got;
    const base_number *r = base_numbers_in(o, BASE_NUMBERS(cache_namespace_numbers), &got);
    if (r != NULL) { return cache_breaks_size(why, CELLAR_E_INVAL, r->why, got); }
    if (o->idle_ms > CACHE_WINDOW_MAX && o->idle_ms != CELLAR_TTL_NONE) {
        return cache_breaks_by(why, CELLAR_E_INVAL, "idle_ms must be at most 2^32 - 1", o->idle_ms);
    }
    if (o->policy_section != NULL && strlen(o->policy_section) > CELLAR_NAME_MAX) {
        return cache_breaks_by(why, CELLAR_E_INVAL, "policy_section must have at most 64 bytes",
                               (int64_t)strlen(o->policy_section));
    }
    return cache_classes_check(o, why);
}

/* Check the options of a namespace of objects. */
static cellar_err cache_object_check(const cellar_namespace_config *o, cache_broken *why)
{
    cellar_object_config of;
    cellar_err err = base_opts_in(&of, sizeof of, o->object);
    if (err != CELLAR_OK) {
        return cache_breaks(why, err, "object: start from cellar_object_config_default()");
    }
    if (of.free_fn == NULL) {
        return cache_breaks(why, CELLAR_E_INVAL,
                            "object.free_fn must not be NULL: it frees an object");
    }
    const bool below = o->tier == CELLAR_TIER_L2 || o->l2_write != 0 || o->l2_lz4 != 0;
    if (!below && (o->load == NULL || o->load->default_value == NULL)) { return CELLAR_OK; }
    return cache_breaks(why, CELLAR_E_UNSUPPORTED,
                        "objects are in memory only: no tier L2, l2_write, l2_lz4, default_value");
}

/* Refuse THROUGH where no entry can reach a disk. */
static cellar_err cache_through_check(const cellar_namespace_config *o, bool disk,
                                      cache_broken *why)
{
    if (o->l2_write != CELLAR_L2_WRITE_THROUGH) { return CELLAR_OK; }
    if (o->hidden != 0 || o->tier == CELLAR_TIER_L1) {
        return cache_breaks(why, CELLAR_E_UNSUPPORTED,
                            "l2_write THROUGH needs the disk: leave out hidden and tier L1");
    }
    return disk ? CELLAR_OK
                : cache_breaks(why, CELLAR_E_UNSUPPORTED,
                               "l2_write THROUGH needs a disk: open the store with l2_path");
}

CELLAR_PRIVATE cellar_err cache_namespace_opts_read(cellar_namespace_config *full,
                                                    const cellar_namespace_config *o, bool disk,
                                                    cache_broken *why)
{
    cellar_err err = base_opts_in(full, sizeof *full, o);
    if (err != CELLAR_OK) {
        return cache_breaks(why, err, err == CELLAR_E_UNSUPPORTED
                   ? "options have a field that this library does not know: use its header"
                   : "struct_size is wrong: start from cellar_namespace_config_default()");
    }
    err = cache_load_namespace_check(full, why);
    if (err == CELLAR_OK) { err = cache_namespace_opts_range(full, why); }
    if (err == CELLAR_OK && full->l2_lz4 != 0 && !base_pack_there()) {
        err = cache_breaks(why, CELLAR_E_UNSUPPORTED,
                           "l2_lz4 must be 0: this library was built without LZ4 (make LZ4=1)");
    }
    if (err == CELLAR_OK) { err = cache_breaker_check(full->breaker, why); }
    if (err == CELLAR_OK && full->object != NULL) { err = cache_object_check(full, why); }
    return err == CELLAR_OK ? cache_through_check(full, disk, why) : err;
}

CELLAR_PRIVATE void cache_default_set(cellar *c, unsigned which, int64_t own)
{
    base_store_rlx(&c->def[which], own != 0 ? own : c->store->defaults[which]);
}

CELLAR_PRIVATE bool cache_namespace_opts_room(const cache_store *s,
                                              const cellar_namespace_config *o)
{
    l2 *d = cache_disk(s);
    return o->l2_lz4 == 0 || d == NULL || l2_pack_ready(d);
}

CELLAR_PRIVATE void cache_namespace_opts_apply(cellar *v, const cellar_namespace_config *o)
{
    const int64_t own[CACHE_DEFAULTS] = CACHE_TIMES(o);
    for (unsigned i = 0; i < CACHE_DEFAULTS; i++) { cache_default_set(v, i, own[i]); }
    base_store_rlx(&v->carries, (base_load_rlx(&v->carries) & ~CACHE_CARRIES_BIRTH) |
                                    (o->exact_age != 0 ? CACHE_CARRIES_BIRTH : 0u));
    base_store_rlx(&v->log_own, o->log_level != 0 ? base_log_level_of(o->log_level) + 1u : 0u);
    cache_load_namespace_apply(v, o);
    const char *section = o->policy_section != NULL ? o->policy_section : "";
    memcpy(v->rules_name, section, strlen(section) + 1);
    for (uint32_t i = 0; i < o->ttl_class_count; i++) {
        const char *name = o->ttl_classes[i].name;
        memcpy(v->class_name[i], name, strlen(name) + 1);
        base_store_rlx(&v->class_hash[i], policy_class_hash(name, strlen(name)));
        base_store_rlx(&v->class_ttl_ms[i], o->ttl_classes[i].ttl_ms);
    }
    base_store_rlx(&v->ttl_class_fallback,
                   o->ttl_class_fallback == 0 ? 1u : o->ttl_class_fallback);
    base_store_rel(&v->class_count, o->ttl_class_count); /* acquire in cache_plan_make */
}

CELLAR_PRIVATE void cache_namespace_fix(cellar *v, const cellar_namespace_config *o)
{
    v->no_disk = o->tier == CELLAR_TIER_L1 || o->hidden != 0 || o->object != NULL;
    base_store_rlx(&v->tier, v->no_disk ? NULL : v->store->tier);
    v->secret = o->hidden != 0;
    v->disk_mode = o->l2_write != CELLAR_L2_WRITE_DEFAULT ? (uint8_t)o->l2_write
                                                         : v->store->disk_mode;
    v->disk_pack = o->l2_lz4 != 0;
    cache_carries_write(v);
}

CELLAR_PRIVATE void cache_hide(cache_store *s)
{
    if (base_xchg_ar(&s->hides, 1u) != 0 || l1_hide(s->l1)) { return; }
    base_log(&s->log, BASE_LOG_WARNING, "cache", 0,
             "values of hidden namespaces may be in core dumps: the kernel refused");
}

/* ---- quotas ---- */

CELLAR_PRIVATE bool cache_quota_room(cache_store *s, const cellar_namespace_config *o)
{
    return o->quota_max_pct == 0 || l1_quotas_open(s->l1);
}

SYNC_HOLDS(NAMESPACE)
static cellar_err cache_share_take(cache_store *s, cellar *v, uint32_t most_pct)
{
    if (v->quota == 0 && most_pct == 0) { return CELLAR_OK; }
    if (v->quota == 0 && v->settled) { return CELLAR_E_INVAL; }
    const uint32_t bit = v->quota != 0 ? 0 : (uint32_t)__builtin_ctzll(~s->quotas_used);
    if (bit >= L1_QUOTAS) { return CELLAR_E_LIMIT; }
    if (v->quota == 0) {
        v->quota = (uint8_t)(bit + 1);
        s->quotas_used |= (uint64_t)1 << bit;
    }
    l1_quota_set(s->l1, v->quota, most_pct);
    return CELLAR_OK;
}

CELLAR_PRIVATE cellar_err cache_quota_take(cache_store *s, cellar *v,
                                           const cellar_namespace_config *o, uint32_t ruled,
                                           bool *missed)
{
    const uint32_t own = o != NULL ? o->quota_max_pct : v->quota_own;
    const bool given = ruled != 0 && cache_share_take(s, v, ruled) == CELLAR_OK;
    const cellar_err err = given ? CELLAR_OK : cache_share_take(s, v, own);
    *missed = ruled != 0 && !given;
    if (err == CELLAR_OK) { v->quota_own = own; }
    return err;
}

CELLAR_PRIVATE bool cache_quota_root(cache_store *s, const cellar_namespace_config *o,
                                     uint32_t ruled, bool *missed)
{
    cellar *v = s->root;
    if (o != NULL && (!cache_quota_room(s, o) || !cache_max_entries_begin(v, o))) { return false; }
    sync_take(NAMESPACE, &s->namespace_lock);
    v->settled = false;
    (void)cache_quota_take(s, v, o, ruled, missed); /* the first one: there is room */
    v->settled = true;
    cache_generation_take(v, base_load_rlx(&v->generation));
    sync_drop(NAMESPACE, &s->namespace_lock);
    return true;
}

/* ---- bound of entries ---- */

CELLAR_PRIVATE cellar_err cache_max_entries_set(cellar *v, uint32_t max)
{
    cache_store *s = v->store;
    l1_cap_start_result done = L1_CAP_UNREADY;
    uint32_t generation = 0;
    cellar_err err = CELLAR_OK;
    while (max != 0 && done == L1_CAP_UNREADY) {
        err = l1_cap_open(s->l1, v->slot);
        if (err != CELLAR_OK) { return err; }
        sync_take(NAMESPACE, &s->namespace_lock);
        generation = base_load_rlx(&v->generation);
        const bool there = !base_load_rlx(&v->dropped);
        if (there) { done = l1_cap_start(s->l1, v->slot, generation, max); }
        sync_drop(NAMESPACE, &s->namespace_lock);
        if (!there) { return CELLAR_OK; } /* it has no entries */
    }
    if (done == L1_CAP_STARTED) { err = l1_cap_fill(s->l1, v->slot, generation); }
    if (done == L1_CAP_CHANGED) { l1_cap_trim(s->l1, v->slot, generation); }
    if (max == 0 || err != CELLAR_OK) { l1_cap_stop(s->l1, v->slot); }
    return err;
}

CELLAR_PRIVATE bool cache_max_entries_begin(cellar *v, const cellar_namespace_config *o)
{
    if (o->max_entries == 0) { return true; }
    if (l1_cap_open(v->store->l1, v->slot) != CELLAR_OK) { return false; }
    /* No other call knows the slot: nothing can make it unready. Its list is whole from its first
     * generation on. */
    (void)l1_cap_start(v->store->l1, v->slot, base_load_rlx(&v->generation), o->max_entries);
    return true;
}

CELLAR_PRIVATE void cache_quota_give(cache_store *s, const cellar *v)
{
    if (v->quota == 0) { return; }
    l1_quota_set(s->l1, v->quota, 0);
    s->quotas_used &= ~((uint64_t)1 << (v->quota - 1));
}

BASE_SIZE_END
