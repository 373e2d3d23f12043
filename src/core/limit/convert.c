/* SPDX-License-Identifier: MIT
 *
 * convert: new rules and a new origin for all keys, or other rules for one.
 *
 * PICTURE    one slot:  word 0 := BUSY by compare-exchange, fp, words with the next colour
 *            new rules: state (g, all) -> write set (g + 1) & 1 -> state (g + 1, 0)
 *                       -> for each region: lock, rewrite every word, state (g + 1, r + 1)
 * INVARIANTS A charge computed on the old word fails on the colour and is computed again.
 *            Checks of the region at `converted` take its lock. Below it the new set holds, above
 *            it the old one, and each word lies in exactly one region. Of two sets the unused one
 *            is written; a call that still reads it checks the state again and starts over.
 * ORIGIN     Times are 62 bits of 1/64 ns: 2.28 years. From 1.14 years on (LIMIT_LATE) the next
 *            call moves the origin, by the same walk, to one second before now, or before the
 *            oldest stamp that a log still needs. Debt from before the new origin is paid.
 * LOCKING    change (RESIZE) for a walk; region; bucket. */
#include "limit/convert.h"

#include <string.h>

#include "base/open_error.h"
#include "limit/calendar.h"
#include "limit/overrides.h"
#include "limit/slots.h"

BASE_SIZE_BEGIN

typedef struct limit_change {
    const _Atomic uint64_t *set; /* the words are written by its origin */
    const _Atomic uint64_t *to_set; /* its bases may stay; NULL: none may */
    uint64_t shift;         /* the origin moves up by so many units */
    const limit_rule *from, *to;
} limit_change;

/* Convert the counts of a window, unless the rule can still read their base. */
static uint64_t limit_change_counts(const cellar_limiter *l, uint32_t i, uint64_t v,
                                    const limit_change *c)
{
    const limit_rule *to = &c->to[i];
    const uint32_t base = limit_value_base(l->algorithm[i], v);
    const bool plan = base == LIMIT_BASE_PLAN;
    const uint64_t units = plan ? c->from[i].reach : base_load_rlx(&limit_bases(c->set, i)[base]);
    const bool same = base == limit_base(to) && units == to->reach;
    if (same || (!plan && c->to_set != NULL &&
                 base_load_rlx(&limit_bases(c->to_set, i)[base]) == units)) {
        return v;
    }
    return plan || c->to_set == NULL ? limit_convert_counts(to, units, v)
                                     : limit_convert_shares(to, units, v);
}

/* Convert one value. The clock is read now, later than that of every charge on the word: with an
 * earlier reading, a debt that shrinks with the bucket would lose unpaid units. */
static uint64_t limit_change_value(cellar_limiter *l, limit_slot *s, uint32_t i, uint64_t v,
                                   void *ctx)
{
    const limit_change *c = ctx;
    limit_at at;
    if (i == l->rule_count) { return v > c->shift ? v - c->shift : 0; } /* "banned until" */
    if (l->algorithm[i] == CELLAR_RULE_CONCURRENCY) { return v; }
    if (l->algorithm[i] == CELLAR_RULE_SLIDING_LOG) {
        if (c->shift != 0) { limit_ring_shift(limit_ring_of(l, s, i), v, c->shift); }
        return v;
    }
    if (limit_counts_units(l->algorithm[i])) { return limit_change_counts(l, i, v, c); }
    const uint64_t now_ns = limit_since(c->set, limit_now(l));
    limit_at_of(l, c->set, &c->from[i], now_ns, limit_units_at(c->set, now_ns), &at);
    return limit_convert(&c->from[i], &c->to[i], &at, v, c->shift);
}

CELLAR_PRIVATE void limit_slot_convert(cellar_limiter *l, const _Atomic uint64_t *set,
                                       const _Atomic uint64_t *to_set, limit_slot *s, uint64_t f,
                                       const limit_rule *from, const limit_rule *to)
{
    limit_change c = { set, to_set, 0, from, to };
    limit_rewrite(l, s, f, limit_change_value, &c);
}

/* Convert a slot. The rules of a key with a plan do not change. */
static void limit_change_slot(cellar_limiter *l, limit_slot *s, void *ctx)
{
    limit_change c = *(limit_change *)ctx;
    limit_rule plan[LIMIT_RULES];
    const uint64_t f = base_load_rlx(&s->fp);
    if ((f & 1) != 0 && limit_plan_of(l, f & ~(uint64_t)1, plan)) { c.from = c.to = plan; }
    limit_rewrite(l, s, f, limit_change_value, &c);
}

CELLAR_PRIVATE void limit_set_write(_Atomic uint64_t *set, uint64_t origin, const limit_rule *rules,
                                    uint32_t count)
{
    base_store_rlx(&set[0], origin);
    for (uint32_t i = 0; i < count; i++) {
        if (limit_counts_units(limit_algo(&rules[i]))) {
            _Atomic uint64_t *base = set + LIMIT_SET_BASES + (size_t)i * LIMIT_BASES;
            base_store_rlx(&base[limit_base(&rules[i])], rules[i].limit);
            base_store_rlx(&base[LIMIT_BASE_SHARE], limit_shares(limit_algo(&rules[i])));
        }
        const uint64_t v[LIMIT_RULE_WORDS] = { rules[i].kind, rules[i].limit, rules[i].step,
                                               rules[i].burst, rules[i].reach, rules[i].ban };
        for (uint32_t k = 0; k < LIMIT_RULE_WORDS; k++) {
            base_store_rlx(&set[1 + i * LIMIT_RULE_WORDS + k], v[k]);
        }
    }
}

/* Give the windows of new rules their bases: the present one for the same limit, else the other. */
static void limit_bases_choose(const cellar_limiter *l, const limit_rule *from, limit_rule *to)
{
    for (uint32_t i = 0; i < l->rule_count; i++) {
        const uint32_t base = limit_base(&from[i]) ^ (from[i].limit != to[i].limit);
        limit_base_set(&to[i], base, to[i].limit);
    }
}

/* Tell whether a token bucket has other numbers: takes of before cannot be given back. */
static bool limit_buckets_differ(const cellar_limiter *l, const limit_rule *from,
                                 const limit_rule *to)
{
    for (uint32_t i = 0; i < l->rule_count; i++) {
        if (l->algorithm[i] == CELLAR_RULE_TOKEN_BUCKET &&
            (from[i].reach != to[i].reach || from[i].step != to[i].step)) {
            return true;
        }
    }
    return false;
}

/* Convert every region to the rules `to` and the new origin. Caller holds `change`. */
static void limit_switch(cellar_limiter *l, limit_rule *to, uint64_t origin) SYNC_HOLDS(RESIZE)
{
    limit_rule from[LIMIT_RULES] = { { 0 } };
    const uint64_t generation = (base_load_acq(&l->state) >> 32) + 1;
    const _Atomic uint64_t *old = l->set[(generation - 1) & 1];
    _Atomic uint64_t *set = l->set[generation & 1];
    limit_rules_load(l, old, from);
    limit_bases_choose(l, from, to);
    if (origin == base_load_rlx(&old[0]) && memcmp(from, to, l->rule_count * sizeof *to) == 0) {
        return; /* each word is right as it is */
    }
    const uint64_t moved_ns = origin - base_load_rlx(&old[0]);
    const uint64_t shift = moved_ns > UINT64_MAX / LIMIT_UNITS_NS ? UINT64_MAX
                                                                  : moved_ns * LIMIT_UNITS_NS;
    limit_change c = { old, set, shift, from, to };
    for (uint32_t i = LIMIT_SET_BASES; i < LIMIT_SET_WORDS; i++) {
        base_store_rlx(&set[i], base_load_rlx(&old[i]));
    }
    limit_set_write(set, origin, to, l->rule_count);
    base_store_rel(&l->state, generation << 32);
    for (uint32_t r = 0; r < l->regions; r++) {
        sync_take(LIMIT, &l->head[r].lock);
        limit_region_each(l, r, limit_change_slot, &c);
        if (limit_buckets_differ(l, from, to)) { limit_lost_all(l, &l->head[r], false); }
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
    if (BASE_LIKELY(limit_units_at(limit_set_now(l), now_ns) < LIMIT_LATE)) { return; }
    limit_rule rules[LIMIT_RULES] = { { 0 } };
    sync_take(RESIZE, &l->change);
    const _Atomic uint64_t *set = limit_set_now(l);
    if (limit_units_at(set, now_ns) >= LIMIT_LATE) {
        limit_rules_load(l, set, rules);
        limit_switch(l, rules, now_ns - limit_lead(l, rules));
    }
    sync_drop(RESIZE, &l->change);
}

/* ---- rules of calls ---- */

/* Compile rule `i` of a call. A refusal sets *why. */
static cellar_err limit_own_rule(cellar_limiter *l, const cellar_rule *in, uint32_t i,
                                 limit_rule *out, const char **why)
{
    limit_rule now;
    const uint32_t algo = l->algorithm[i];
    const cellar_err err = limit_compile(in, i, out, why);
    if (err != CELLAR_OK) { return err; }
    limit_rule_load(limit_set_now(l), i, &now);
    if (base_broken(in->algorithm != algo || in->calendar != l->calendar_of[i],
                    "algorithm and calendar must be those of the open", why) ||
        base_broken(algo == CELLAR_RULE_SLIDING_WINDOW && out->step != now.step,
                    "period_ns of a sliding window must be that of the open", why)) {
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

CELLAR_PRIVATE void limit_rules_replace(cellar_limiter *l, const cellar_rule *rules,
                                        limit_rule *to)
{
    const uint64_t now = limit_now(l);
    limit_calendar_look(l, now);
    limit_rebase(l, now);
    sync_take(RESIZE, &l->change);
    const uint64_t origin = base_load_rlx(&limit_set_now(l)[0]);
    limit_switch(l, to, origin);
    for (uint32_t i = 0; i < l->rule_count; i++) {
        const char *name = l->rule[i].name; /* names stay: they are labels of metrics */
        l->rule[i] = rules[i];
        l->rule[i].name = name;
    }
    sync_drop(RESIZE, &l->change);
}

CELLAR_PRIVATE void limit_key_convert(cellar_limiter *l, uint64_t fp, bool side,
                                      const limit_rule *from, const limit_rule *to)
{
    limit_place p;
    uint32_t bucket;
    uint64_t f;
    limit_place_of(l, fp, &p);
    limit_slot *s = limit_find(l, &p, fp, &f, &bucket);
    if (s == NULL) { return; }
    const _Atomic uint64_t *set = limit_set_of(l, base_load_acq(&l->state), p.region);
    limit_bucket_take(l, bucket);
    limit_slot_convert(l, set, set, s, fp | side, from, to);
    if (limit_buckets_differ(l, from, to)) { limit_lost(&l->head[p.region], fp); }
    limit_bucket_drop(l, bucket);
}

/* ---- plans and bans of a key ---- */

/* Load the present rules of a key: those of its plan, or those of the limiter. */
static void limit_rules_of(cellar_limiter *l, uint64_t fp, uint32_t region, limit_rule *out)
{
    if (limit_plan_of(l, fp, out)) { return; }
    limit_rules_load(l, limit_set_of(l, base_load_acq(&l->state), region), out);
}

CELLAR_PRIVATE cellar_err limit_assign(cellar_limiter *l, uint64_t fp, uint32_t plan,
                                       uint64_t ban_ns)
{
    limit_rule from[LIMIT_RULES], to[LIMIT_RULES];
    limit_place p;
    limit_place_of(l, fp, &p);
    limit_head *h = &l->head[p.region];
    const uint64_t now = limit_now(l);
    limit_calendar_look(l, now);
    limit_rebase(l, now);
    const uint64_t until = ban_ns != 0 ? now + limit_min_u64(ban_ns, CELLAR_PERIOD_MAX_NS) : 0;
    sync_take(LIMIT, &h->lock);
    limit_rules_of(l, fp, p.region, from);
    const cellar_err err = limit_over_set(l, fp, now, plan, until);
    if (err == CELLAR_OK) {
        limit_rules_of(l, fp, p.region, to);
        limit_key_convert(l, fp, !limit_over_trim(l, fp, now, NULL), from, to);
    }
    sync_drop(LIMIT, &h->lock);
    return err;
}

BASE_SIZE_END
