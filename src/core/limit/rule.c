/* SPDX-License-Identifier: MIT
 *
 * rule: the algorithms of one word, as pure functions of (rule, moment, value).
 *
 * PICTURE    cellar_rule --compile--> limit_rule {N, T or W, b, b * T}   value --take--> value'
 * BUCKET     token bucket: t = max(TAT, now). t - now + cost * T > b * T: denied; else
 *            TAT' = t + cost * T. T = ceil(W / N) is rounded up, which lowers the rate.
 *            Strict: T = ceil(W / (N - b + 1)), so that b + ceil(W / T) - 1 <= N.
 * WINDOW     sliding window: est = ceil(previous * (W - e) / W) + current, e into the window;
 *            est + cost > N: denied. An older reading counts as the start of the stored window,
 *            which a word keeps when its counts are 0. Only the value 0 has no window. Window
 *            numbers wrap after 2^20: a word unswept for 2^19 windows looks ahead: stricter.
 * QUOTA      fixed window: a word of a later period than the present one keeps that period: the
 *            wall clock was set back.
 * TICKETS    A token bucket gives back at most (TAT after the take) - (units others gave back out
 *            of order since) - now. README.md proves that this mints nothing.
 * INVARIANTS No value is negative, no sum overflows: a cost is at most `burst` before it is
 *            multiplied, and times are at most now + 400 days < 2^62.
 * LIMITS     Sliding windows count in whole ns, all others in 1/64 ns. A ticket above 2^54 units
 *            counts as 2^54 for other tickets.
 * SEE ALSO   decide.c (several rules), ring.c (logs), overrides.c (permits). */
#include "base/open_error.h"
#include "limit/rule.h"

BASE_SIZE_BEGIN

#define LIMIT_WIN_BITS 20u
#define LIMIT_WIN_MASK (((uint64_t)1 << LIMIT_WIN_BITS) - 1)
#define LIMIT_COUNT_BITS 20u
#define LIMIT_FIXED_BITS 34u
/* Round limits divide them. Counts of 1.4 and 2.3 limits have room. */
#define LIMIT_SHARES_SLIDING UINT64_C(720000)
#define LIMIT_SHARES_FIXED   UINT64_C(7200000000)

CELLAR_PRIVATE uint64_t limit_units_of(uint64_t ns)
{
    return ns > CELLAR_PERIOD_MAX_NS ? LIMIT_DEBT_MAX : ns * LIMIT_UNITS_NS;
}

/* Return a * b / c, rounded down, or up by `up`; saturating; c > 0. */
static uint64_t limit_muldiv(uint64_t a, uint64_t b, uint64_t c, bool up)
{
    uint64_t r = a, hi = b, q = 0;
    base_hash_mul(&r, &hi);
    if (hi >= c) { return UINT64_MAX; }
    if (hi == 0) {
        q = r / c;
    } else {
        const uint64_t lo = r;
        r = hi;
        for (int i = 63; i >= 0; i--) {
            const bool carry = r >> 63 != 0;
            r = r << 1 | (lo >> i & 1);
            q <<= 1;
            if (carry || r >= c) { r -= c; q |= 1; }
        }
    }
    /* The rest is below c: wrapping tells it. */
    return q + (up && q != UINT64_MAX && q * c != a * b);
}

/* ---- compiling ---- */

CELLAR_PRIVATE bool limit_name_ok(const char *name, size_t most)
{
    size_t n = 0;
    for (; name[n] != '\0'; n++) {
        if (name[n] < ' ' || name[n] > '~' || n >= most) { return false; }
    }
    return true;
}

static cellar_err limit_compile_token_bucket(const cellar_rule *in, limit_rule *out,
                                             const char **why)
{
    const bool strict = (in->flags & CELLAR_RULE_STRICT) != 0 && in->limit > 0;
    if (base_broken(in->burst == 0, "burst must be at least 1", why) ||
        base_broken(strict && in->burst > in->limit,
                    "burst of a strict token bucket must be at most limit", why)) {
        return CELLAR_E_INVAL;
    }
    const uint64_t n = strict ? in->limit - in->burst + 1 : in->limit;
    const uint64_t w = in->period_ns * LIMIT_UNITS_NS;
    if (base_broken(n > w, "limit must be at most 64e9 a second: lower it", why)) {
        return CELLAR_E_RANGE;
    }
    out->step = n == 0 ? 0 : (w - 1) / n + 1;
    out->burst = in->burst;
    if (base_broken(out->step != 0 && in->burst > LIMIT_DEBT_MAX / out->step,
                    "burst must refill within 400 days: lower it", why)) {
        return CELLAR_E_RANGE;
    }
    out->reach = out->burst * out->step;
    return CELLAR_OK;
}

/* Tell whether the fields of a rule contradict its algorithm. */
static bool limit_rule_invalid(const cellar_rule *in, const char **why)
{
    const uint32_t bucket_only = CELLAR_RULE_CHARGE_DENIED | CELLAR_RULE_STRICT;
    const bool bucket = in->algorithm == CELLAR_RULE_TOKEN_BUCKET;
    const bool fixed = in->algorithm == CELLAR_RULE_FIXED_WINDOW;
    const bool timed = bucket || in->algorithm == CELLAR_RULE_SLIDING_LOG ||
                       in->algorithm == CELLAR_RULE_SLIDING_WINDOW;
    return base_broken((uint32_t)in->algorithm - 1 >= CELLAR_RULE_CONCURRENCY,
                       "algorithm is unknown: start from a cellar_rule_... function", why) ||
           base_broken((in->flags & ~(CELLAR_RULE_DRY_RUN | bucket_only)) != 0 ||
                           in->reserved0 != 0 || in->reserved1 != 0,
                       "flags and reserved fields must be those of this library", why) ||
           base_broken(!bucket && (in->flags & bucket_only) != 0,
                       "CHARGE_DENIED and STRICT need a token bucket", why) ||
           base_broken(!bucket && in->burst != 0, "burst needs a token bucket", why) ||
           base_broken(timed && in->period_ns == 0, "period_ns must be at least 1", why) ||
           base_broken(!timed && in->period_ns != 0,
                       "period_ns must be 0 for a fixed window or concurrency", why) ||
           base_broken(in->name != NULL && (*in->name == '\0' ||
                                           !limit_name_ok(in->name, CELLAR_LIMITER_NAME_MAX)),
                       "name must have 1..63 printable ASCII characters", why) ||
           base_broken(fixed != (in->calendar != 0) || in->calendar > CELLAR_PER_MONTH,
                       "calendar must be 1..5 for a fixed window, else 0", why);
}

/* Tell whether a number of a rule is too large for its algorithm. */
static bool limit_rule_too_large(const cellar_rule *in, const char **why)
{
    const cellar_algorithm a = in->algorithm;
    return base_broken(in->period_ns > CELLAR_PERIOD_MAX_NS || in->ban_ns > CELLAR_PERIOD_MAX_NS,
                       "period_ns and ban_ns must be at most 400 days", why) ||
           base_broken(a == CELLAR_RULE_SLIDING_LOG && in->limit > CELLAR_SLIDING_LOG_MAX,
                       "limit of a sliding log must be at most 4096: use a token bucket", why) ||
           base_broken((a == CELLAR_RULE_SLIDING_WINDOW || a == CELLAR_RULE_CONCURRENCY) &&
                           in->limit > LIMIT_COUNT_MAX,
                       "limit must be at most 2^20 - 1 for this algorithm", why) ||
           base_broken(a == CELLAR_RULE_FIXED_WINDOW && in->limit > LIMIT_FIXED_MAX,
                       "limit of a fixed window must be at most 2^34 - 1", why);
}

CELLAR_PRIVATE cellar_err limit_compile(const cellar_rule *in, uint32_t number, limit_rule *out,
                                        const char **why)
{
    if (limit_rule_invalid(in, why)) { return CELLAR_E_INVAL; }
    if (limit_rule_too_large(in, why)) { return CELLAR_E_RANGE; }

    out->kind = (uint32_t)in->algorithm | (uint64_t)in->flags << 8 | (uint64_t)in->calendar << 16 |
                (uint64_t)number << 24;
    out->limit = out->burst = in->limit;
    out->step = out->reach = 0;
    out->ban = limit_units_of(in->ban_ns);
    if (in->algorithm == CELLAR_RULE_TOKEN_BUCKET) {
        return limit_compile_token_bucket(in, out, why);
    }
    if (in->algorithm == CELLAR_RULE_SLIDING_LOG) { out->step = in->period_ns * LIMIT_UNITS_NS; }
    if (in->algorithm == CELLAR_RULE_SLIDING_WINDOW) { out->step = in->period_ns; }
    limit_base_set(out, 0, in->limit);
    return CELLAR_OK;
}

BASE_SIZE_END

/* ---- sliding and fixed windows: the value at this moment ---- */

typedef struct limit_counts { /* a fixed window has no previous one, and is named by its start */
    uint64_t window, previous, current;
    uint64_t into;  /* sliding window: ns into the window */
    uint64_t ahead; /* ns from the reading to the start of the stored window, if that is later */
    uint32_t base;  /* of the counts */
    bool sliding;
} limit_counts;

static uint64_t limit_counts_max(const limit_counts *c)
{
    return c->sliding ? LIMIT_COUNT_MAX : LIMIT_FIXED_MAX;
}

static uint32_t limit_base_bit(bool sliding)
{
    return sliding ? 2 * LIMIT_COUNT_BITS : LIMIT_FIXED_BITS;
}

/* Split a value. */
static void limit_counts_split(uint32_t algo, uint64_t v, limit_counts *c)
{
    c->sliding = algo == CELLAR_RULE_SLIDING_WINDOW;
    const uint64_t high = v >> limit_base_bit(c->sliding);
    c->window = high >> 2;
    c->base = (uint32_t)(high & 3);
    c->previous = c->sliding ? v >> LIMIT_COUNT_BITS & LIMIT_COUNT_MAX : 0;
    c->current = v & limit_counts_max(c);
}

/* Convert counts to units of another limit, rounded up. A limit of 0 has no shares: the used units
 * stay until a rule has another limit, and shares become one unit. */
static BASE_NOINLINE void limit_counts_scale(limit_counts *c, uint64_t from, uint64_t to)
{
    const uint64_t most = limit_counts_max(c);
    if (to == 0 && c->base == LIMIT_BASE_SHARE) { to = 1; }
    if (from == to || from == 0 || to == 0) { return; }
    c->previous = limit_min_u64(limit_muldiv(c->previous, to, from, true), most);
    c->current = limit_min_u64(limit_muldiv(c->current, to, from, true), most);
}

/* Split a value, with counts in the units of the rule. */
static void limit_counts_of(const limit_rule *r, const limit_at *at, uint64_t v, limit_counts *c)
{
    limit_counts_split(limit_algo(r), v, c);
    if (BASE_LIKELY(c->base == limit_base(r))) { return; }
    if (c->base != LIMIT_BASE_PLAN) {
        limit_counts_scale(c, base_load_rlx(&at->base[c->base]), r->reach);
    }
    c->base = limit_base(r);
}

static void limit_counts_at(const limit_rule *r, const limit_at *at, uint64_t v, limit_counts *c)
{
    limit_counts_of(r, at, v, c);
    c->into = c->ahead = 0;
    if (!c->sliding) {
        const uint64_t start_ns = c->window * CELLAR_MINUTE_NS, wall_ns = at->end_ns - at->left_ns;
        if (c->window < at->start) {
            c->window = at->start;
            c->current = 0;
        } else if (c->window > at->start && start_ns > wall_ns) {
            c->ahead = start_ns - wall_ns; /* the wall clock was set back */
        }
        return;
    }
    const uint64_t n = at->ns / r->step, passed = (n - c->window) & LIMIT_WIN_MASK;
    if (v != 0 && passed >> (LIMIT_WIN_BITS - 1) != 0) { /* older: the start of the stored window */
        c->ahead = (n + ((0 - passed) & LIMIT_WIN_MASK)) * r->step - at->ns;
        return;
    }
    c->window = n & LIMIT_WIN_MASK;
    c->into = at->ns - n * r->step;
    if (passed == 0 || v == 0) { return; } /* a window with counts of 0 is the newest one */
    c->previous = passed == 1 ? c->current : 0;
    c->current = 0;
}

static uint64_t limit_counts_value(const limit_counts *c)
{
    return (c->window << 2 | c->base) << limit_base_bit(c->sliding) |
           c->previous << LIMIT_COUNT_BITS | c->current;
}

static uint64_t limit_counts_used(const limit_rule *r, const limit_counts *c)
{
    return c->previous == 0 ? c->current
           : c->current + limit_muldiv(c->previous, r->step - c->into, r->step, true);
}

/* Return the age of a window, ns, at which a count of the previous one has decayed to `room`; 0:
 * immediately. */
static uint64_t limit_decay_ns(const limit_rule *r, uint64_t count, uint64_t room)
{
    /* ceil(count * (W - e) / W) <= room  <=>  W - e <= room * W / count. W < 2^55, room < 2^20. */
    return count > room ? r->step - limit_muldiv(r->step, room, count, false) : 0;
}

static uint64_t limit_counts_retry(const limit_rule *r, const limit_counts *c, uint64_t cost)
{
    if (c->current + cost <= r->limit) {
        const uint64_t e = limit_decay_ns(r, c->previous, r->limit - c->current - cost);
        return e > c->into ? e - c->into : 0;
    }
    return r->step - c->into + limit_decay_ns(r, c->current, r->limit - cost);
}

/* Move the counts to the present window of the other clock, or to the next one if the present one
 * ends earlier: counts never decay sooner than on the first clock. */
CELLAR_PRIVATE uint64_t limit_count_carry(const limit_rule *r, uint64_t from_ns, uint64_t to_ns,
                                          uint64_t v)
{
    const limit_at then = { 0, from_ns, 0, 0, 0, NULL };
    limit_counts c;
    limit_counts_at(r, &then, v, &c);
    const uint64_t ahead = (c.window - from_ns / r->step) & LIMIT_WIN_MASK;
    c.window = (to_ns / r->step + ahead + (to_ns % r->step > c.into)) & LIMIT_WIN_MASK;
    return limit_counts_value(&c);
}

CELLAR_PRIVATE uint64_t limit_count_none(const limit_rule *r, const limit_at *at, uint64_t v)
{
    limit_counts c;
    limit_counts_at(r, at, v, &c);
    c.previous = c.current = 0;
    return limit_counts_value(&c);
}

/* ---- decisions ---- */

CELLAR_PRIVATE void limit_take_value(const limit_rule *r, const limit_at *at, uint64_t v,
                                     uint64_t cost, limit_verdict *out)
{
    out->next = v;
    out->now_ns = at->ns;
    out->retry_ns = 0;
    out->never = r->limit == 0 || cost > r->burst;
    out->deny = out->never;
    if (out->never) {
        out->retry_ns = CELLAR_NEVER_NS;
        return;
    }
    if (limit_algo(r) == CELLAR_RULE_TOKEN_BUCKET) {
        const uint64_t t = limit_max_u64(v, at->u);
        const uint64_t debt = t - at->u + cost * r->step;
        out->deny = debt > r->reach;
        if (out->deny) {
            out->retry_ns = limit_ns_of(debt - r->reach);
        } else if (cost != 0) {
            out->next = t + cost * r->step;
        }
    } else {
        limit_counts c;
        limit_counts_at(r, at, v, &c);
        out->now_ns = at->ns + c.ahead;
        out->deny = limit_counts_used(r, &c) + cost > r->limit;
        if (out->deny) {
            out->retry_ns = c.sliding ? c.ahead + limit_counts_retry(r, &c, cost) : at->left_ns;
        } else if (cost != 0) {
            c.current += cost;
            out->next = limit_counts_value(&c);
        }
    }
}

CELLAR_PRIVATE void limit_show(const limit_rule *r, const limit_at *at, uint64_t v,
                               limit_verdict *out)
{
    if (limit_algo(r) == CELLAR_RULE_TOKEN_BUCKET) {
        const uint64_t debt = v > at->u ? v - at->u : 0;
        out->remaining = r->step != 0 && debt < r->reach ? (r->reach - debt) / r->step : 0;
        out->reset_ns = limit_ns_of(debt);
    } else {
        limit_counts c;
        limit_counts_at(r, at, v, &c);
        const uint64_t used = limit_counts_used(r, &c);
        out->remaining = used < r->limit ? r->limit - used : 0;
        out->reset_ns = c.current + c.previous == 0 ? 0 : !c.sliding ? at->left_ns
                        : (c.current > 0 ? 2 : 1) * r->step - c.into + c.ahead;
    }
    if (r->limit == 0) { out->remaining = 0; }
}

BASE_SIZE_BEGIN

/* ---- changes without a decision ---- */

CELLAR_PRIVATE uint64_t limit_charge_value(const limit_rule *r, const limit_at *at, uint64_t v,
                                           uint64_t cost)
{
    if (cost == 0) { return v; }
    if (limit_algo(r) == CELLAR_RULE_TOKEN_BUCKET) {
        const uint64_t t = limit_max_u64(v, at->u), most = at->u + LIMIT_DEBT_MAX;
        if (r->step != 0 && cost > LIMIT_DEBT_MAX / r->step) { return limit_max_u64(t, most); }
        return limit_max_u64(v, limit_min_u64(t + cost * r->step, most));
    }
    limit_counts c;
    limit_counts_at(r, at, v, &c);
    c.current = c.current + limit_min_u64(cost, limit_counts_max(&c) - c.current);
    return limit_counts_value(&c);
}

CELLAR_PRIVATE uint64_t limit_refund_value(const limit_rule *r, const limit_at *at, uint64_t v,
                                           uint64_t cost)
{
    if (cost == 0) { return v; }
    if (limit_algo(r) == CELLAR_RULE_TOKEN_BUCKET) {
        if (v <= at->u) { return v; }
        const uint64_t debt = v - at->u;
        if (r->step == 0) { return v; }
        return cost > debt / r->step ? at->u : v - cost * r->step;
    }
    limit_counts c;
    limit_counts_at(r, at, v, &c);
    const uint64_t from_current = limit_min_u64(cost, c.current);
    c.current -= from_current;
    c.previous -= limit_min_u64(cost - from_current, c.previous);
    return limit_counts_value(&c);
}

CELLAR_PRIVATE uint64_t limit_stamp(const limit_rule *r, uint64_t v)
{
    limit_counts c;
    if (!limit_counts_units(limit_algo(r))) { return v; }
    limit_counts_split(limit_algo(r), v, &c);
    return c.window << LIMIT_FIXED_BITS | r->reach;
}

CELLAR_PRIVATE uint64_t limit_give_value(const limit_rule *r, const limit_at *at, uint64_t v,
                                         uint64_t units, uint64_t then, uint64_t given)
{
    if (then == 0) { return v; } /* a dry run that was denied was not charged */
    if (limit_algo(r) == CELLAR_RULE_TOKEN_BUCKET) {
        /* The history without the take differs by no more than this now. */
        const uint64_t back = limit_muldiv(given, r->step, LIMIT_PARTS, true);
        const uint64_t end = limit_min_u64(then > back ? then - back : 0, v);
        const uint64_t left = end > at->u ? end - at->u : 0;
        uint64_t give = r->step != 0 && units > LIMIT_DEBT_MAX / r->step ? LIMIT_DEBT_MAX
                                                                         : units * r->step;
        give = limit_min_u64(give, left);
        return v > give ? v - give : 0;
    }
    limit_counts c;
    limit_counts_split(limit_algo(r), v, &c);
    const uint64_t window = then >> LIMIT_FIXED_BITS, took = then & LIMIT_FIXED_MAX;
    const bool own = c.base == limit_base(r) || c.base == LIMIT_BASE_PLAN;
    const uint64_t unit = own ? r->reach : base_load_rlx(&at->base[c.base]);
    if (unit != took && unit != 0 && took != 0) { units = limit_muldiv(units, unit, took, false); }
    uint64_t *count = c.window == window ? &c.current : &c.previous;
    if (count == &c.previous && ((c.window - window) & LIMIT_WIN_MASK) != 1) { return v; }
    *count -= limit_min_u64(units, *count);
    return limit_counts_value(&c);
}

CELLAR_PRIVATE uint64_t limit_parts_back(const limit_rule *r, uint64_t v, uint64_t next)
{
    if (limit_algo(r) != CELLAR_RULE_TOKEN_BUCKET || r->step == 0 || next >= v) { return 0; }
    const uint64_t units = (v - next) / r->step;
    return limit_min_u64(units, UINT64_MAX / LIMIT_PARTS / 4) * LIMIT_PARTS +
           limit_muldiv((v - next) % r->step, LIMIT_PARTS, r->step, true);
}

CELLAR_PRIVATE uint64_t limit_denied_value(const limit_rule *r, const limit_at *at, uint64_t v,
                                           uint64_t cost)
{
    if (cost > r->burst) { return v; }
    const uint64_t t = limit_max_u64(v, at->u);
    const uint64_t most = at->u + limit_min_u64(2 * r->reach, LIMIT_DEBT_MAX);
    return limit_max_u64(v, limit_min_u64(t + cost * r->step, most));
}

CELLAR_PRIVATE uint64_t limit_after_ban(const limit_rule *r, uint64_t end, uint64_t v)
{
    return limit_max_u64(v, end + r->reach - r->step);
}

/* ---- the loss of dropping a value; conversion to another rule ---- */

CELLAR_PRIVATE uint64_t limit_debt(const limit_rule *r, const limit_at *at, uint64_t v)
{
    if (limit_algo(r) == CELLAR_RULE_TOKEN_BUCKET) { return v > at->u ? v - at->u : 0; }
    limit_counts c;
    limit_counts_at(r, at, v, &c);
    const uint64_t used = limit_counts_used(r, &c);
    return c.sliding ? used << LIMIT_COUNT_BITS | c.current
                     : used == 0 ? 0 : c.window << LIMIT_FIXED_BITS | used;
}

CELLAR_PRIVATE uint64_t limit_convert(const limit_rule *from, const limit_rule *to,
                                      const limit_at *at, uint64_t v, uint64_t shift)
{
    uint64_t debt = v > at->u ? v - at->u : 0;
    if (from->reach != to->reach && from->reach != 0 && debt != 0) {
        debt = limit_min_u64(limit_muldiv(debt, to->reach, from->reach, true), LIMIT_DEBT_MAX);
    }
    const uint64_t tat = debt != 0 ? at->u + debt : v;
    return tat > shift ? tat - shift : 0;
}

CELLAR_PRIVATE uint32_t limit_value_base(uint32_t algo, uint64_t v)
{
    limit_counts c;
    limit_counts_split(algo, v, &c);
    return c.base;
}

CELLAR_PRIVATE uint64_t limit_convert_counts(const limit_rule *to, uint64_t units, uint64_t v)
{
    limit_counts c;
    limit_counts_split(limit_algo(to), v, &c);
    limit_counts_scale(&c, units, to->reach);
    c.base = limit_base(to);
    return limit_counts_value(&c);
}

CELLAR_PRIVATE uint64_t limit_shares(uint32_t algo)
{
    return algo == CELLAR_RULE_SLIDING_WINDOW ? LIMIT_SHARES_SLIDING : LIMIT_SHARES_FIXED;
}

CELLAR_PRIVATE uint64_t limit_convert_shares(const limit_rule *to, uint64_t units, uint64_t v)
{
    limit_counts c;
    const uint64_t shares = limit_shares(limit_algo(to));
    limit_counts_split(limit_algo(to), v, &c);
    const uint64_t most = limit_counts_max(&c), high = limit_max_u64(c.previous, c.current);
    if (units == 0 || limit_muldiv(high, shares, units, true) > most) {
        return limit_convert_counts(to, units, v);
    }
    limit_counts_scale(&c, units, shares);
    c.base = LIMIT_BASE_SHARE;
    return limit_counts_value(&c);
}

BASE_SIZE_END
