/* SPDX-License-Identifier: MIT
 *
 * change: reset keys; give keys plans, rules and bans.
 *
 * INVARIANTS A charge computed on the old word fails on the colour and is computed again.
 * LOCKING    region, bucket. Slots of one word are charged at the same time: limit_seize. */
#include <string.h>

#include "base/open_error.h"
#include "limit/calendar.h"
#include "limit/convert.h"
#include "limit/overrides.h"
#include "limit/run.h"
#include "limit/slots.h"

BASE_SIZE_BEGIN

/* ---- reset ---- */

/* Zero every word of a slot and write its fp `f`; return true if the key had any state. Caller
 * holds the region and the bucket lock. */
static bool limit_zero(cellar_limiter *l, limit_slot *s, uint64_t f)
{
    const uint64_t first = limit_seize(s), colour = limit_next_colour(first);
    bool was = false;
    BASE_POINT("limit.reset.fp");
    base_store_rel(&s->fp, f);
    for (uint32_t i = l->words; i-- > 0;) {
        const bool is_rule = i < l->rule_count;
        const bool is_log = is_rule && l->algorithm[i] == CELLAR_RULE_SLIDING_LOG;
        uint64_t v = (i == 0 ? first : base_load_rlx(limit_word_at(s, i))) >> 2;
        was = was || (is_log ? limit_ring_count(v) : v) != 0;
        if (is_rule && l->algorithm[i] == CELLAR_RULE_CONCURRENCY) { limit_permit_drop_all(l, &v); }
        /* A log keeps counting its stamps: no two of its states have one word. */
        v = is_log ? v - limit_ring_count(v) : 0;
        BASE_POINT("limit.reset.word");
        base_store_rel(limit_word_at(s, i), limit_word(v, colour));
    }
    return was;
}

static bool limit_reset_held(cellar_limiter *l, limit_head *h, const limit_place *p, uint64_t fp)
    SYNC_HOLDS(LIMIT)
{
    uint32_t bucket;
    uint64_t f;
    limit_slot *s = limit_find(l, p, fp, &f, &bucket);
    const bool plan = base_load_acq(&l->over_count) != 0 && !limit_over_trim(l, fp, 0, true);
    if (s == NULL) { return false; }
    limit_lost(h);
    limit_bucket_take(l, bucket);
    const bool was = limit_zero(l, s, fp | plan);
    limit_bucket_drop(l, bucket);
    return was;
}

CELLAR_API cellar_err cellar_limiter_reset(cellar_limiter *l, const void *key, size_t key_len,
                                           bool *existed)
{
    if (!limit_key_ok(l, key, key_len)) { return CELLAR_E_INVAL; }
    const uint64_t fp = limit_fp(l, key, key_len);
    limit_place p;
    limit_place_of(l, fp, &p);
    limit_head *h = &l->head[p.region];
    sync_take(LIMIT, &h->lock);
    const bool was = limit_reset_held(l, h, &p, fp);
    sync_drop(LIMIT, &h->lock);
    if (existed != NULL) { *existed = was; }
    return CELLAR_OK;
}

static void limit_clear_region(cellar_limiter *l, uint32_t region) SYNC_HOLDS(LIMIT)
{
    limit_head *h = &l->head[region];
    base_store_rel(&h->losses, base_load_rlx(&h->losses) + 4); /* ends every ticket */
    for (uint32_t b = 0; b < l->region_buckets; b++) {
        const uint32_t bucket = region * l->region_buckets + b;
        limit_bucket_take(l, bucket);
        for (uint32_t way = 0; way < LIMIT_WAYS; way++) {
            limit_slot *s = limit_slot_at(l, bucket, way);
            if (base_load_rlx(&s->fp) != 0) { (void)limit_zero(l, s, 0); }
        }
        limit_bucket_drop(l, bucket);
    }
}

CELLAR_API cellar_err cellar_limiter_reset_all(cellar_limiter *l)
{
    if (l == NULL) { return CELLAR_E_INVAL; }
    limit_side_clear_bans(l);
    for (uint32_t r = 0; r < l->regions; r++) {
        sync_take(LIMIT, &l->head[r].lock);
        limit_clear_region(l, r);
        sync_drop(LIMIT, &l->head[r].lock);
    }
    return CELLAR_OK;
}

/* ---- plans and bans ---- */

/* Load the present rules of a key: those of its plan, or those of the limiter. */
static void limit_rules_of(cellar_limiter *l, uint64_t fp, uint32_t region, limit_rule *out)
{
    if (limit_plan_of(l, fp, out)) { return; }
    limit_rules_load(l, limit_set_of(l, base_load_acq(&l->state), region), out);
}

/* Give a key a plan (0: none). The caller is counted as a user of the plan. */
static cellar_err limit_assign(cellar_limiter *l, uint64_t fp, uint32_t plan)
{
    limit_rule from[LIMIT_RULES], to[LIMIT_RULES];
    limit_place p;
    limit_place_of(l, fp, &p);
    limit_head *h = &l->head[p.region];
    const uint64_t now = limit_now(l);
    limit_calendar_look(l, now);
    limit_rebase(l, now);
    sync_take(LIMIT, &h->lock);
    limit_rules_of(l, fp, p.region, from);
    const cellar_err err = limit_over_plan(l, fp, now, plan);
    if (err == CELLAR_OK) {
        limit_rules_of(l, fp, p.region, to);
        limit_key_convert(l, fp, !limit_over_trim(l, fp, now, false), from, to);
    }
    sync_drop(LIMIT, &h->lock);
    return err;
}

CELLAR_API cellar_err cellar_limiter_plan_set(cellar_limiter *l, const char *plan,
                                              const cellar_rule *rules, uint32_t rule_count)
{
    limit_rule own[LIMIT_RULES];
    uint32_t number;
    if (l == NULL) { return CELLAR_E_INVAL; }
    if (plan == NULL || *plan == '\0' || strlen(plan) > CELLAR_LIMITER_NAME_MAX) {
        return base_open_fail(CELLAR_E_INVAL, 0,
                              "cellar_limiter_plan_set: plan must have 1..63 characters");
    }
    cellar_err err = limit_own_rules(l, "cellar_limiter_plan_set", rules, rule_count, own);
    if (err != CELLAR_OK) { return err; }
    err = limit_plan_make(l, plan, own, &number);
    if (err == CELLAR_OK) { limit_plan_drop(l, number); }
    return err;
}

CELLAR_API cellar_err cellar_limiter_key_plan_set(cellar_limiter *l, const void *key,
                                                  size_t key_len, const char *plan)
{
    if (!limit_key_ok(l, key, key_len)) { return CELLAR_E_INVAL; }
    const uint64_t fp = limit_fp(l, key, key_len);
    if (plan == NULL) { return limit_assign(l, fp, 0); }
    const uint32_t number = limit_plan_named(l, plan);
    if (number == 0) { return CELLAR_E_NOT_FOUND; }
    const cellar_err err = limit_assign(l, fp, number);
    limit_plan_drop(l, number);
    return err;
}

CELLAR_API cellar_err cellar_limiter_key_rules_set(cellar_limiter *l, const void *key,
                                                   size_t key_len, const cellar_rule *rules,
                                                   uint32_t rule_count)
{
    limit_rule own[LIMIT_RULES];
    uint32_t plan;
    if (!limit_key_ok(l, key, key_len)) { return CELLAR_E_INVAL; }
    const uint64_t fp = limit_fp(l, key, key_len);
    if (rules == NULL) { return limit_assign(l, fp, 0); }
    cellar_err err = limit_own_rules(l, "cellar_limiter_key_rules_set", rules, rule_count, own);
    if (err != CELLAR_OK) { return err; }
    err = limit_plan_make(l, "", own, &plan);
    if (err != CELLAR_OK) { return err; }
    err = limit_assign(l, fp, plan);
    limit_plan_drop(l, plan);
    return err;
}

/* Ban a key of a single sliding or fixed window: its word has no room, so the side table holds the
 * ban. */
static cellar_err limit_ban_in_side(cellar_limiter *l, uint64_t fp, uint64_t ns)
{
    limit_rule same[LIMIT_RULES];
    limit_place p;
    limit_place_of(l, fp, &p);
    limit_head *h = &l->head[p.region];
    const uint64_t now = limit_now(l);
    sync_take(LIMIT, &h->lock);
    const uint64_t until = now + limit_min_u64(ns, CELLAR_PERIOD_MAX_NS);
    const cellar_err err = limit_over_ban(l, fp, now, until);
    if (err == CELLAR_OK) {
        limit_rules_of(l, fp, p.region, same);
        limit_key_convert(l, fp, true, same, same);
    }
    sync_drop(LIMIT, &h->lock);
    return err;
}

CELLAR_API cellar_err cellar_limiter_ban(cellar_limiter *l, const void *key, size_t key_len,
                                         uint64_t ban_ns)
{
    if (!limit_key_ok(l, key, key_len)) { return CELLAR_E_INVAL; }
    const uint64_t fp = limit_fp(l, key, key_len), now = limit_now(l);
    limit_calendar_look(l, now);
    if (!l->multi && l->algorithm[0] != CELLAR_RULE_TOKEN_BUCKET) {
        return limit_ban_in_side(l, fp, ban_ns);
    }
    limit_op op = { .kind = LIMIT_BAN, .cost = 1, .arg = ban_ns };
    return limit_run(l, fp, now, &op);
}

BASE_SIZE_END
