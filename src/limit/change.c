/* SPDX-License-Identifier: MIT
 *
 * change: rewrites of words other than charges: reset, plans, bans, new rules, a new origin, scan.
 *
 * PICTURE    one slot:  word := BUSY by compare-exchange, fp, word with the next colour
 *            new rules: state (g, all) -> write set (g + 1) & 1 -> state (g + 1, 0)
 *                       -> for each region: lock, rewrite every word, state (g + 1, r + 1)
 * INVARIANTS A charge computed on the old word fails on the colour and is computed again.
 *            Checks of the region at `converted` take its lock. Below it the new set holds, above
 *            it the old one, and each word lies in exactly one region. Of two sets the unused one
 *            is written; a call that still reads it checks the state again and starts over.
 * ORIGIN     Times are 62 bits of 1/64 ns: 2.28 years. From 1.14 years on (LIMIT_LATE) the next
 *            call moves the origin, by the same walk, to one second before now, or before the
 *            oldest stamp that a log still needs. Debt from before the new origin is paid.
 * LOCKING    change (RESIZE) for a walk; region; for wide slots also the bucket. Narrow slots are
 *            charged at the same time: claim them by compare-exchange. */
#include <string.h>

#include "base/open_error.h"
#include "limit/table_multi_int.h"

BASE_SIZE_BEGIN

#define LIMIT_TICK_PERMITS 16384u /* records of permits a tick looks at */

/* ---- one slot ---- */

/* Claim a narrow slot while other calls charge it; return its former word. */
static uint64_t limit_seize(limit_slot *s)
{
    uint64_t w;
    do {
        BASE_POINT("limit.seize");
        w = base_load_acq(&s->word);
        if (BASE_MUTANT("limit.seize_by_store")) { break; }
    } while (!base_cas_ar(&s->word, w, LIMIT_BUSY));
    return w;
}

static limit_slot *limit_find(const cellar_limiter *l, const limit_place *p, uint64_t fp,
                              uint32_t *bucket)
{
    for (uint32_t i = 0; i < 2 * LIMIT_WAYS; i++) {
        *bucket = p->bucket[i / LIMIT_WAYS];
        limit_slot *s = limit_slot_at(l, *bucket, i % LIMIT_WAYS);
        if ((base_load_acq(&s->fp) ^ fp) <= 1) { return s; }
    }
    return NULL;
}

/* Zero every word of a wide slot; return true if the key had any state. Caller holds the bucket
 * lock. */
static bool limit_wide_zero(cellar_limiter *l, limit_slot *s)
{
    const uint64_t blocked = base_load_rlx(&s->word);
    const uint64_t colour = limit_next_colour(blocked);
    bool was = blocked >> 2 != 0;
    base_store_rel(&s->word, LIMIT_BUSY);
    for (uint32_t i = 0; i < l->rule_count; i++) {
        uint64_t v = base_load_rlx(limit_word_at(s, i)) >> 2;
        was = was || (l->algorithm[i] == CELLAR_RULE_SLIDING_LOG
                      ? limit_ring_count(v) != 0 : v != 0);
        if (l->algorithm[i] == CELLAR_RULE_CONCURRENCY) { limit_permit_drop_all(l, &v); }
        /* A log keeps counting its stamps: no two of its states have one word. */
        v = l->algorithm[i] == CELLAR_RULE_SLIDING_LOG ? v - limit_ring_count(v) : 0;
        base_store_rel(limit_word_at(s, i), limit_word(v, colour));
    }
    base_store_rel(&s->word, limit_word(0, colour));
    return was;
}

static bool limit_reset_held(cellar_limiter *l, limit_head *h, const limit_place *p, uint64_t fp)
    SYNC_HOLDS(LIMIT)
{
    uint32_t bucket;
    limit_slot *s = limit_find(l, p, fp, &bucket);
    const bool plan = base_load_acq(&l->over_count) != 0 && !limit_over_trim(l, fp, 0, true);
    if (s == NULL) { return false; }
    limit_lost(h);
    if (l->wide) {
        sync_take(LIMIT_BUCKET, &l->bucket_lock[bucket]);
        const bool was = limit_wide_zero(l, s);
        base_store_rel(&s->fp, fp | plan);
        sync_drop(LIMIT_BUCKET, &l->bucket_lock[bucket]);
        return was;
    }
    const uint64_t w = limit_seize(s);
    BASE_POINT("limit.reset.fp");
    base_store_rel(&s->fp, fp | plan);
    BASE_POINT("limit.reset.word");
    base_store_rel(&s->word, limit_word(0, limit_next_colour(w)));
    return w >> 2 != 0;
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
            if (base_load_rlx(&s->fp) == 0) { continue; }
            if (l->wide) {
                (void)limit_wide_zero(l, s);
                base_store_rel(&s->fp, (uint64_t)0);
                continue;
            }
            const uint64_t w = limit_seize(s);
            base_store_rel(&s->fp, (uint64_t)0);
            base_store_rel(&s->word, limit_word(0, limit_next_colour(w)));
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

/* ---- conversion ---- */

typedef struct limit_change {
    const _Atomic uint64_t *set; /* the words are written by its origin */
    uint64_t shift;         /* the origin moves up by so many units */
    const limit_rule *from, *to;
} limit_change;

/* Convert one value. The word is claimed, so the clock read here is later than that of every charge
 * on it: with an earlier reading, a debt that shrinks with the bucket would lose unpaid units. */
static uint64_t limit_change_value(cellar_limiter *l, const limit_change *c, uint32_t i,
                                   limit_slot *s, uint64_t v, bool own)
{
    limit_at at;
    if (l->algorithm[i] == CELLAR_RULE_CONCURRENCY) { return v; }
    if (l->algorithm[i] == CELLAR_RULE_SLIDING_LOG) {
        const limit_ring g = { limit_ring_at(l, s, i), l->ring[i] };
        if (c->shift != 0) { limit_ring_shift(g, v, c->shift); }
        return v;
    }
    const uint64_t now_ns = limit_since(c->set, limit_now(l));
    limit_at_of(l, &c->from[i], now_ns, limit_units_at(c->set, now_ns), &at);
    return limit_convert(&c->from[i], own ? &c->from[i] : &c->to[i], &at, v, c->shift);
}

/* Convert the words of a slot. `own`: the key has a plan, and its rules do not change. */
static void limit_change_slot(cellar_limiter *l, const limit_change *c, limit_slot *s, bool own)
{
    const uint64_t w = l->wide ? base_load_rlx(&s->word) : limit_seize(s);
    const uint64_t colour = limit_next_colour(w);
    if (!l->wide) {
        BASE_POINT("limit.change.word");
        base_store_rel(&s->word,
                       limit_word(limit_change_value(l, c, 0, s, w >> 2, own), colour));
        return;
    }
    base_store_rel(&s->word, LIMIT_BUSY);
    for (uint32_t i = 0; i < l->rule_count; i++) {
        const uint64_t v = base_load_rlx(limit_word_at(s, i)) >> 2;
        base_store_rel(limit_word_at(s, i), LIMIT_BUSY);
        base_fence_rel();
        base_store_rel(limit_word_at(s, i),
                       limit_word(limit_change_value(l, c, i, s, v, own), colour));
    }
    const uint64_t blocked = w >> 2;
    base_store_rel(&s->word, limit_word(blocked > c->shift ? blocked - c->shift : 0, colour));
}

static bool limit_has_plan(cellar_limiter *l, uint64_t fp)
{
    bool has_plan = false;
    uint64_t until_ns;
    limit_rule rules[LIMIT_RULES];
    return base_load_acq(&l->over_count) != 0 &&
           limit_over_get(l, fp & ~(uint64_t)1, rules, &has_plan, &until_ns) && has_plan;
}

static void limit_change_region(cellar_limiter *l, const limit_change *c, uint32_t region)
    SYNC_HOLDS(LIMIT)
{
    for (uint32_t b = 0; b < l->region_buckets; b++) {
        const uint32_t bucket = region * l->region_buckets + b;
        limit_bucket_take(l, bucket);
        for (uint32_t way = 0; way < LIMIT_WAYS; way++) {
            limit_slot *s = limit_slot_at(l, bucket, way);
            const uint64_t f = base_load_rlx(&s->fp);
            if (f != 0) { limit_change_slot(l, c, s, (f & 1) != 0 && limit_has_plan(l, f)); }
        }
        limit_bucket_drop(l, bucket);
    }
}

static void limit_set_write(_Atomic uint64_t *set, uint64_t origin, const limit_rule *rules,
                            uint32_t count)
{
    base_store_rlx(&set[0], origin);
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t v[LIMIT_RULE_WORDS] = { rules[i].kind, rules[i].limit, rules[i].step,
                                               rules[i].burst, rules[i].reach, rules[i].ban };
        for (uint32_t k = 0; k < LIMIT_RULE_WORDS; k++) {
            base_store_rlx(&set[1 + i * LIMIT_RULE_WORDS + k], v[k]);
        }
    }
}

/* Convert every region to the rules `to` and the new origin. Caller holds `change`. */
static void limit_switch(cellar_limiter *l, const limit_rule *to, uint64_t origin)
    SYNC_HOLDS(RESIZE)
{
    limit_rule from[LIMIT_RULES];
    const uint64_t generation = (base_load_acq(&l->state) >> 32) + 1;
    const _Atomic uint64_t *old = l->set[(generation - 1) & 1];
    for (uint32_t i = 0; i < l->rule_count; i++) { limit_rule_load(old, i, &from[i]); }
    const uint64_t moved_ns = origin - base_load_rlx(&old[0]);
    const uint64_t shift = moved_ns > UINT64_MAX / LIMIT_UNITS_NS ? UINT64_MAX
                                                                  : moved_ns * LIMIT_UNITS_NS;
    const limit_change c = { old, shift, from, to };
    limit_set_write(l->set[generation & 1], origin, to, l->rule_count);
    base_store_rel(&l->state, generation << 32);
    for (uint32_t r = 0; r < l->regions; r++) {
        sync_take(LIMIT, &l->head[r].lock);
        limit_change_region(l, &c, r);
        BASE_POINT("limit.change.next");
        base_store_rel(&l->state, generation << 32 | (r + 1));
        sync_drop(LIMIT, &l->head[r].lock);
    }
}

CELLAR_PRIVATE uint64_t limit_lead(const cellar_limiter *l, const limit_rule *rules)
{
    uint64_t units = 0;
    for (uint32_t i = 0; i < l->rule_count; i++) {
        if (l->algorithm[i] != CELLAR_RULE_SLIDING_LOG) { continue; }
        units = limit_max_u64(units, limit_window_of(l, &rules[i], i));
    }
    return CELLAR_SECOND_NS + limit_ns_of(units);
}

CELLAR_PRIVATE void limit_rebase(cellar_limiter *l, uint64_t now_ns)
{
    const uint64_t state = base_load_acq(&l->state);
    if (BASE_LIKELY(limit_units_at(l->set[state >> 32 & 1], now_ns) < LIMIT_LATE)) { return; }
    limit_rule rules[LIMIT_RULES] = { { 0 } };
    sync_take(RESIZE, &l->change);
    const _Atomic uint64_t *set = l->set[base_load_acq(&l->state) >> 32 & 1];
    if (limit_units_at(set, now_ns) >= LIMIT_LATE) {
        for (uint32_t i = 0; i < l->rule_count; i++) { limit_rule_load(set, i, &rules[i]); }
        limit_switch(l, rules, now_ns - limit_lead(l, rules));
    }
    sync_drop(RESIZE, &l->change);
}

/* Compile rule `i` of a call. A refusal sets *why. */
static cellar_err limit_own_rule(cellar_limiter *l, const cellar_rule *in, uint32_t i,
                                 limit_rule *out, const char **why)
{
    limit_rule now;
    const uint32_t algo = l->algorithm[i];
    const cellar_err err = limit_compile(in, i, out, why);
    if (err != CELLAR_OK) { return err; }
    limit_rule_load(l->set[base_load_acq(&l->state) >> 32 & 1], i, &now);
    if (base_broken(in->algorithm != algo || in->calendar != l->calendar_of[i],
                    "algorithm and calendar must be those of the open", why) ||
        base_broken(algo == CELLAR_RULE_SLIDING_WINDOW && out->step != now.step,
                    "period_ns of a sliding window must be that of the open", why) ||
        base_broken(!l->wide && out->ban != 0 && algo != CELLAR_RULE_TOKEN_BUCKET,
                    "ban_ns of a window must be 0, as at the open", why)) {
        return CELLAR_E_INVAL;
    }
    if (algo != CELLAR_RULE_SLIDING_LOG) { return CELLAR_OK; }
    if (base_broken(in->limit > l->ring[i],
                    "limit of a sliding log must be at most that of the open", why)) {
        return CELLAR_E_RANGE;
    }
    _Atomic uint64_t *longest = &l->longest[i];
    for (uint64_t seen = base_load_acq(longest); seen < out->step;) {
        if (base_cas_ar(longest, seen, out->step)) { break; }
        seen = base_load_acq(longest);
    }
    return CELLAR_OK;
}

CELLAR_PRIVATE cellar_err limit_own_rules(cellar_limiter *l, const char *call,
                                          const cellar_rule *rules, uint32_t count,
                                          limit_rule *out)
{
    if (rules == NULL || count != l->rule_count) {
        return base_open_fail(CELLAR_E_INVAL, 0,
                              "%s: rule_count must be %u, as at the open (got %u)", call,
                              l->rule_count, rules != NULL ? count : 0);
    }
    for (uint32_t i = 0; i < count; i++) {
        const char *why = NULL;
        const cellar_err err = limit_own_rule(l, &rules[i], i, &out[i], &why);
        if (err != CELLAR_OK) { return base_open_fail(err, 0, "%s: rule %u: %s", call, i, why); }
    }
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_limiter_rules_set(cellar_limiter *l, const cellar_rule *rules,
                                               uint32_t rule_count)
{
    limit_rule to[LIMIT_RULES];
    if (l == NULL) { return CELLAR_E_INVAL; }
    cellar_err err = limit_own_rules(l, "cellar_limiter_rules_set", rules, rule_count, to);
    if (err != CELLAR_OK) { return err; }
    for (uint32_t i = 0; i < rule_count; i++) {
        const bool writes = to[i].ban != 0 || limit_flag(&to[i], CELLAR_RULE_CHARGE_DENIED);
        if (writes && l->wide && !l->locked_only) {
            return base_open_fail(CELLAR_E_INVAL, 0, "cellar_limiter_rules_set: rule %u: "
                                  "no rule of the open had ban_ns or CHARGE_DENIED", i);
        }
    }
    const uint64_t now = limit_now(l);
    limit_calendar_look(l, now);
    limit_rebase(l, now);
    sync_take(RESIZE, &l->change);
    const uint64_t origin = base_load_rlx(&l->set[base_load_acq(&l->state) >> 32 & 1][0]);
    limit_switch(l, to, origin);
    for (uint32_t i = 0; i < rule_count; i++) {
        const char *name = l->rule[i].name; /* names stay: they are labels of metrics */
        l->rule[i] = rules[i];
        l->rule[i].name = name;
    }
    sync_drop(RESIZE, &l->change);
    return CELLAR_OK;
}

/* ---- plans and bans ---- */

/* Update the slot of a key, if it has one: bit 0, words under other rules, next colour. */
static void limit_mark_held(cellar_limiter *l, uint64_t fp, bool side, const limit_rule *from,
                            const limit_rule *to) SYNC_HOLDS(LIMIT)
{
    limit_place p;
    limit_place_of(l, fp, &p);
    uint32_t bucket;
    limit_slot *s = limit_find(l, &p, fp, &bucket);
    if (s == NULL) { return; }
    limit_lost(&l->head[p.region]);
    const _Atomic uint64_t *set;
    (void)limit_set_of(l, base_load_acq(&l->state), p.region, true, &set);
    const limit_change c = { set, 0, from, to };
    limit_bucket_take(l, bucket);
    if (!l->wide) {
        const uint64_t w = limit_seize(s);
        base_store_rel(&s->fp, fp | side);
        base_store_rel(&s->word, limit_word(limit_change_value(l, &c, 0, s, w >> 2, false),
                                            limit_next_colour(w)));
    } else {
        base_store_rel(&s->fp, fp | side);
        limit_change_slot(l, &c, s, false);
    }
    limit_bucket_drop(l, bucket);
}

/* Load the present rules of a key: those of its plan, or those of the limiter. */
static void limit_rules_of(cellar_limiter *l, uint64_t fp, uint32_t region, limit_rule *out)
{
    bool has_plan = false;
    uint64_t until_ns;
    const _Atomic uint64_t *set;
    if (limit_over_get(l, fp, out, &has_plan, &until_ns) && has_plan) { return; }
    (void)limit_set_of(l, base_load_acq(&l->state), region, true, &set);
    for (uint32_t i = 0; i < l->rule_count; i++) { limit_rule_load(set, i, &out[i]); }
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
        limit_mark_held(l, fp, !limit_over_trim(l, fp, now, false), from, to);
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

/* Ban a key of a narrow sliding or fixed window: its word has no room, so the side table holds the
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
        limit_mark_held(l, fp, true, same, same);
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
    if (!l->wide && l->algorithm[0] != CELLAR_RULE_TOKEN_BUCKET) {
        return limit_ban_in_side(l, fp, ban_ns);
    }
    limit_op op = { .kind = LIMIT_BAN, .cost = 1, .arg = ban_ns };
    return limit_run(l, fp, now, &op);
}

/* ---- maintenance ---- */

/* Drop the keys of a narrow sliding window that have no counts: their window number would wrap. */
static void limit_sweep(cellar_limiter *l, uint32_t region, uint64_t now_ns)
{
    const _Atomic uint64_t *set;
    limit_rule r;
    limit_at at;
    limit_head *h = &l->head[region];
    sync_take(LIMIT, &h->lock);
    (void)limit_set_of(l, base_load_acq(&l->state), region, true, &set);
    now_ns = limit_since(set, limit_max_u64(now_ns, h->high_water));
    limit_rule_load(set, 0, &r);
    limit_at_of(l, &r, now_ns, limit_units_at(set, now_ns), &at);
    for (uint32_t i = 0; i < l->region_buckets * LIMIT_WAYS; i++) {
        limit_slot *s = limit_slot_at(l, region * l->region_buckets + i / LIMIT_WAYS,
                                      i % LIMIT_WAYS);
        const uint64_t w = base_load_acq(&s->word);
        if (base_load_acq(&s->fp) == 0 || !limit_dead(&r, &at, w >> 2) ||
            !base_cas_ar(&s->word, w, LIMIT_BUSY)) {
            continue;
        }
        h->high_water = limit_max_u64(h->high_water, now_ns);
        base_store_rel(&s->fp, (uint64_t)0);
        base_store_rel(&s->word, limit_word(0, limit_next_colour(w)));
    }
    sync_drop(LIMIT, &h->lock);
}

/* Zero the counts of sliding windows in a region of wide slots. The words keep their window: an
 * older reading that comes later must not meet an unused key. */
static void limit_sweep_wide(cellar_limiter *l, uint32_t region, uint64_t now_ns)
{
    const _Atomic uint64_t *set;
    limit_head *h = &l->head[region];
    sync_take(LIMIT, &h->lock);
    (void)limit_set_of(l, base_load_acq(&l->state), region, true, &set);
    now_ns = limit_since(set, limit_max_u64(now_ns, h->high_water));
    for (uint32_t i = 0; i < l->region_buckets * LIMIT_WAYS; i++) {
        const uint32_t bucket = region * l->region_buckets + i / LIMIT_WAYS;
        limit_slot *s = limit_slot_at(l, bucket, i % LIMIT_WAYS);
        if (base_load_acq(&s->fp) == 0) { continue; }
        sync_take(LIMIT_BUCKET, &l->bucket_lock[bucket]);
        for (uint32_t k = 0; k < l->rule_count; k++) {
            limit_rule r;
            limit_at at;
            limit_rule_load(set, k, &r);
            if (l->algorithm[k] != CELLAR_RULE_SLIDING_WINDOW) { continue; }
            const uint64_t w = base_load_rlx(limit_word_at(s, k));
            limit_at_of(l, &r, now_ns, limit_units_at(set, now_ns), &at);
            const uint64_t none = limit_count_none(&r, &at, w >> 2);
            if (none != 0 && limit_dead(&r, &at, w >> 2)) {
                base_store_rel(limit_word_at(s, k), limit_word(none, w));
            }
        }
        sync_drop(LIMIT_BUCKET, &l->bucket_lock[bucket]);
    }
    h->high_water = limit_max_u64(h->high_water, now_ns);
    sync_drop(LIMIT, &h->lock);
}

CELLAR_API cellar_err cellar_limiter_tick(cellar_limiter *l)
{
    if (l == NULL) { return CELLAR_E_INVAL; }
    const uint64_t now = limit_now(l);
    bool counts = false;
    limit_calendar_look(l, now);
    limit_rebase(l, now);
    for (uint32_t i = 0; i < l->rule_count; i++) {
        counts = counts || l->algorithm[i] == CELLAR_RULE_SLIDING_WINDOW;
    }
    const uint32_t many = BASE_MIN(16u, l->regions);
    const uint32_t first = counts ? base_add_rlx(&l->sweep_next, many) : 0;
    for (uint32_t i = 0; counts && i < many; i++) {
        const uint32_t region = (first + i) % l->regions;
        if (l->wide) { limit_sweep_wide(l, region, now); } else { limit_sweep(l, region, now); }
    }
    if (l->conc >= 0) { limit_permits_reclaim(l, now, LIMIT_TICK_PERMITS); }
    return limit_persist_tick(l, now);
}

/* ---- scan ---- */

static void limit_entry_of(cellar_limiter *l, const _Atomic uint64_t *set, limit_slot *s,
                           uint64_t now_ns, cellar_limiter_entry *out)
{
    limit_rule rules[LIMIT_RULES];
    const uint64_t fp = base_load_rlx(&s->fp) & ~(uint64_t)1, units = limit_units_at(set, now_ns);
    bool has_plan = false;
    uint64_t until_ns = 0;
    memset(out, 0, sizeof *out);
    for (uint32_t i = 0; i < l->rule_count; i++) { limit_rule_load(set, i, &rules[i]); }
    if (base_load_acq(&l->over_count) != 0) {
        out->overridden = limit_over_get(l, fp, rules, &has_plan, &until_ns);
    }
    out->fingerprint = fp >> 1;
    out->rule_count = l->rule_count;
    out->banned_ns = until_ns > now_ns ? until_ns - now_ns : 0;
    if (l->wide) {
        const uint64_t blocked = base_load_rlx(&s->word) >> 2;
        if (blocked > units) { out->banned_ns = limit_ns_of(blocked - units); }
    }
    for (uint32_t i = 0; i < l->rule_count; i++) {
        const uint64_t w = base_load_acq(l->wide ? limit_word_at(s, i) : &s->word);
        limit_says says = { .next = w };
        limit_at at;
        limit_at_of(l, &rules[i], now_ns, units, &at);
        if (l->algorithm[i] == CELLAR_RULE_SLIDING_LOG) {
            const limit_ring g = { limit_ring_at(l, s, i), l->ring[i] };
            limit_ring_show(&rules[i], &at, g, w >> 2, &says);
        } else if (l->algorithm[i] == CELLAR_RULE_CONCURRENCY) {
            says.remaining = rules[i].limit - limit_min_u64(rules[i].limit,
                                                            limit_permits_out(w >> 2));
        } else {
            limit_show(&rules[i], &at, w >> 2, &says);
        }
        out->remaining[i] = says.remaining;
        out->reset_after_ns[i] = says.reset_ns;
    }
}

CELLAR_API cellar_err cellar_limiter_scan(cellar_limiter *l, cellar_limiter_scan_fn fn, void *ctx)
{
    if (l == NULL || fn == NULL) { return CELLAR_E_INVAL; }
    const uint64_t now = limit_now(l);
    limit_calendar_look(l, now);
    limit_rebase(l, now);
    for (uint32_t b = 0; b < l->regions * l->region_buckets; b++) {
        cellar_limiter_entry e[LIMIT_WAYS];
        uint32_t n = 0;
        const _Atomic uint64_t *set;
        limit_head *h = &l->head[b / l->region_buckets];
        sync_take(LIMIT, &h->lock);
        limit_bucket_take(l, b);
        (void)limit_set_of(l, base_load_acq(&l->state), b / l->region_buckets, true, &set);
        for (uint32_t way = 0; way < LIMIT_WAYS; way++) {
            limit_slot *s = limit_slot_at(l, b, way);
            if (base_load_rlx(&s->fp) == 0) { continue; }
            limit_entry_of(l, set, s, limit_since(set, now), &e[n++]);
        }
        limit_bucket_drop(l, b);
        sync_drop(LIMIT, &h->lock);
        for (uint32_t i = 0; i < n; i++) { /* code of the host: no lock held */
            if (!fn(&e[i], ctx)) { return CELLAR_OK; }
        }
    }
    return CELLAR_OK;
}

BASE_SIZE_END
