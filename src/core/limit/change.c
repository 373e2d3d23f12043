/* SPDX-License-Identifier: MIT
 *
 * change: reset keys; give keys plans, rules and bans.
 *
 * INVARIANTS A charge computed on the old word fails on the colour and is computed again.
 * LOCKING    region, bucket. Slots of one word are charged at the same time:
 *            limit_rewrite. */
#include <string.h>

#include "base/open_error.h"
#include "limit/convert.h"
#include "limit/overrides.h"
#include "limit/run.h"
#include "limit/slots.h"

BASE_SIZE_BEGIN

/* ---- reset ---- */

/* Zero a word; set *was if it held anything. */
static uint64_t limit_zero(cellar_limiter *l, limit_slot *s, uint32_t i, uint64_t v, void *was)
{
    const uint32_t algo = i < l->rule_count ? l->algorithm[i] : 0;
    const uint64_t state = algo == CELLAR_RULE_SLIDING_LOG ? limit_ring_count(v) : v;
    (void)s;
    if (state != 0) { *(bool *)was = true; }
    if (algo == CELLAR_RULE_CONCURRENCY) { limit_permit_drop(l, &v, limit_permits_out(v)); }
    /* A log keeps counting its stamps: no two of its states have one word. */
    return algo == CELLAR_RULE_SLIDING_LOG ? v - state : 0;
}

static bool limit_reset_held(cellar_limiter *l, limit_head *h, const limit_place *p, uint64_t fp)
    SYNC_HOLDS(LIMIT)
{
    uint32_t bucket;
    uint64_t f;
    bool was = false;
    limit_slot *s = limit_find(l, p, fp, &f, &bucket);
    const bool plan = base_load_acq(&l->over_count) != 0 && !limit_over_trim(l, fp, 0, &was);
    if (s == NULL) { return was; }
    limit_bucket_take(l, bucket);
    limit_rewrite(l, s, fp | plan, limit_zero, &was);
    limit_lost(h, fp);
    limit_bucket_drop(l, bucket);
    return was;
}

static bool limit_reset_key(cellar_limiter *l, uint64_t fp)
{
    limit_place p;
    limit_place_of(l, fp, &p);
    limit_head *h = &l->head[p.region];
    sync_take(LIMIT, &h->lock);
    const bool was = limit_reset_held(l, h, &p, fp);
    sync_drop(LIMIT, &h->lock);
    return was;
}

static void limit_clear_slot(cellar_limiter *l, limit_slot *s, void *was)
{
    limit_rewrite(l, s, 0, limit_zero, was);
}

static bool limit_reset_all(cellar_limiter *l)
{
    bool was = limit_side_clear_bans(l);
    for (uint32_t r = 0; r < l->regions; r++) {
        limit_head *h = &l->head[r];
        sync_take(LIMIT, &h->lock);
        limit_region_each(l, r, limit_clear_slot, &was);
        limit_lost_all(l, h, true);
        sync_drop(LIMIT, &h->lock);
    }
    return was;
}

CELLAR_API cellar_err cellar_limiter_reset(cellar_limiter *l, const void *key, size_t key_len,
                                           bool *existed)
{
    if (l == NULL || (key == NULL ? key_len != 0 : !limit_key_ok(l, key, key_len))) {
        return CELLAR_E_INVAL;
    }
    if (l->obj.forked) { return CELLAR_E_FORKED; }
    const bool was = key == NULL ? limit_reset_all(l)
                                 : limit_reset_key(l, limit_fp(l, key, key_len));
    if (existed != NULL) { *existed = was; }
    return CELLAR_OK;
}

/* ---- plans and bans ---- */

/* Write what an ended ban left into the word of a key, before its record changes. */
static void limit_ban_settle(cellar_limiter *l, uint64_t fp)
{
    limit_op op = { .kind = LIMIT_REFUND };
    if (!l->bucket_alone || base_load_acq(&l->over_count) == 0) { return; }
    (void)limit_run(l, fp, limit_now(l), &op);
    limit_bans_room(l);
}

/* Give a key the plan `name`, or the rules `own`. */
static cellar_err limit_key_plan(cellar_limiter *l, uint64_t fp, const char *name,
                                 const limit_rule *own)
{
    uint32_t plan;
    cellar_err err = limit_plan_make(l, name, own, &plan);
    if (err != CELLAR_OK) { return err; }
    err = limit_assign(l, fp, plan, 0);
    limit_plan_drop(l, plan);
    return err;
}

static cellar_err limit_define_plan(cellar_limiter *l, const char *name, const limit_rule *own)
{
    uint32_t plan;
    const cellar_err err = limit_plan_make(l, name, own, &plan);
    if (err == CELLAR_OK) { limit_plan_drop(l, plan); }
    return err;
}

CELLAR_API cellar_err cellar_limiter_rules_set(cellar_limiter *l, const void *key, size_t key_len,
                                               const char *plan, const cellar_rule *rules,
                                               uint32_t rule_count)
{
    static const char call[] = "cellar_limiter_rules_set";
    limit_rule own[LIMIT_RULES];
    if (l == NULL || (key == NULL ? key_len != 0 : !limit_key_ok(l, key, key_len))) {
        return CELLAR_E_INVAL;
    }
    if (l->obj.forked) { return CELLAR_E_FORKED; }
    if (plan != NULL && (*plan == '\0' || strlen(plan) > CELLAR_LIMITER_NAME_MAX)) {
        return base_open_fail(CELLAR_E_INVAL, 0, "%s: plan must have 1..63 characters", call);
    }
    if (key != NULL && plan != NULL && rules != NULL) {
        return base_open_fail(CELLAR_E_INVAL, 0, "%s: rules must be NULL to give a key a plan",
                              call);
    }
    if (key == NULL || rules != NULL) {
        const cellar_err err = limit_own_rules(l, call, rules, rule_count, own);
        if (err != CELLAR_OK) { return err; }
    }
    for (uint32_t i = 0; (key != NULL || plan != NULL) && rules != NULL && i < rule_count; i++) {
        limit_base_set(&own[i], LIMIT_BASE_PLAN, own[i].limit);
    }
    if (key == NULL && plan == NULL) {
        limit_rules_replace(l, rules, own);
        return CELLAR_OK;
    }
    if (key == NULL) { return limit_define_plan(l, plan, own); }
    const uint64_t fp = limit_fp(l, key, key_len);
    limit_ban_settle(l, fp);
    if (plan != NULL) { return limit_key_plan(l, fp, plan, NULL); }
    return rules != NULL ? limit_key_plan(l, fp, "", own) : limit_assign(l, fp, 0, 0);
}

CELLAR_API cellar_err cellar_limiter_ban(cellar_limiter *l, const void *key, size_t key_len,
                                         uint64_t ban_ns)
{
    if (!limit_key_ok(l, key, key_len)) { return CELLAR_E_INVAL; }
    if (l->obj.forked) { return CELLAR_E_FORKED; }
    if (ban_ns == 0) { return CELLAR_OK; }
    const uint64_t fp = limit_fp(l, key, key_len);
    limit_ban_settle(l, fp);
    if (!l->multi) { return limit_assign(l, fp, LIMIT_PLAN_SAME, ban_ns); }
    limit_op op = { .kind = LIMIT_BAN, .arg = ban_ns };
    return limit_run(l, fp, limit_now(l), &op);
}

BASE_SIZE_END
