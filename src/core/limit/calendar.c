/* SPDX-License-Identifier: MIT
 *
 * calendar: periods of fixed windows: minutes, hours, days, weeks, months of a time zone.
 *
 * PICTURE    wall clock --zone--> [start, next) in UTC seconds, cached until a monotonic time: the
 *            next start, at most one second ahead
 * PERIODS    A day, week or month starts at the first instant with a local time of 00:00 of that
 *            day or later. So a zone that skips midnight starts late, and a day that has begun
 *            stays begun when the clock goes back over midnight. Minutes and hours start where
 *            local seconds or minutes are zero: the second 02:00 in autumn is an hour of its own.
 *            Starts are UTC instants, hence unique and rising in every zone.
 * READINGS   Readings of callers are not used: a period belongs to the wall clock. The wall clock
 *            is read again when its ms may be the last of the period, and when the limiter's clock
 *            went back.
 * STEPS      Wall clock set back: keys keep their later period (rule.c). Set forward: a new period,
 *            once. Times before 1970 count as 1970, after 2097 as 2097.
 * LOCKING    The cache is written under `side` and read by its sequence number. The wall clock may
 *            be a function of the host: no lock is held when it is read. */
#include "limit/calendar.h"

BASE_SIZE_BEGIN

#define LIMIT_DAY_S 86400
#define LIMIT_LOOKS_MOST 8 /* each one but the last met a period that another call had just set */
/* A start has 26 bits of minutes: the latest one is in 2097. */
#define LIMIT_WALL_MAX_MS ((((uint64_t)1 << 26) - 65536) * 60000)

/* Compute the local start of the period that contains local second `s`, and that of the next
 * one. */
static void limit_local_period(uint32_t calendar, int64_t s, int64_t *start, int64_t *next)
{
    const int64_t day = base_floor_div(s, LIMIT_DAY_S);
    if (calendar == CELLAR_PER_MONTH) {
        int64_t year;
        int month, d;
        base_date_of(day, &year, &month, &d);
        const int64_t y1 = month == 12 ? year + 1 : year;
        *start = base_days_of(year, month, 1) * LIMIT_DAY_S;
        *next = base_days_of(y1, month == 12 ? 1 : month + 1, 1) * LIMIT_DAY_S;
        return;
    }
    const int64_t days = calendar == CELLAR_PER_WEEK ? 7 : 1;
    /* 1970-01-01 was a Thursday: Monday is day -3. */
    const int64_t first = calendar == CELLAR_PER_WEEK ? base_floor_div(day + 3, 7) * 7 - 3 : day;
    *start = first * LIMIT_DAY_S;
    *next = (first + days) * LIMIT_DAY_S;
}

/* Compute a minute or hour: it starts where the local second is a multiple of `unit`. Walk over the
 * stretches of constant offset. */
static void limit_short_period(const base_tz *zone, int64_t unit, int64_t wall_s, int64_t *start_s,
                               int64_t *next_s)
{
    base_tz_stretch now, s;
    base_tz_at(zone, wall_s, &now);
    int64_t local = wall_s + now.offset_s;
    *start_s = base_floor_div(local, unit) * unit - now.offset_s;
    *next_s = *start_s + unit;
    s = now;
    while (*start_s < s.from_s) { /* it began under an earlier offset */
        const int64_t end = s.from_s;
        base_tz_at(zone, end - 1, &s);
        *start_s = base_floor_div(end - 1 + s.offset_s, unit) * unit - s.offset_s;
    }
    s = now;
    while (*next_s >= s.to_s) {
        const int64_t from = s.to_s;
        base_tz_at(zone, from, &s);
        *next_s = -base_floor_div(-(from + s.offset_s), unit) * unit - s.offset_s;
    }
}

CELLAR_PRIVATE void limit_period(const base_tz *zone, uint32_t calendar, int64_t wall_s,
                                 int64_t *start_s, int64_t *next_s)
{
    if (calendar == CELLAR_PER_MINUTE || calendar == CELLAR_PER_HOUR) {
        limit_short_period(zone, calendar == CELLAR_PER_MINUTE ? 60 : 3600, wall_s, start_s,
                           next_s);
        return;
    }
    base_tz_stretch s;
    int64_t start, next;
    base_tz_at(zone, wall_s, &s);
    limit_local_period(calendar, wall_s + s.offset_s, &start, &next);
    *start_s = base_tz_first(zone, start);
    for (;;) { /* no zone goes back by more than two days */
        *next_s = base_tz_first(zone, next);
        if (*next_s > wall_s) { return; }
        *start_s = *next_s; /* the clock went back over midnight: the later day has begun */
        limit_local_period(calendar, next, &start, &next);
    }
}

/* Publish the period of `wall_ms`, unless another call published since `seq`, which the caller
 * loaded before it read the wall clock. A former period must not return: its keys may be dropped
 * already. */
static void limit_calendar_set(cellar_limiter *l, limit_calendar *c, uint32_t calendar,
                               uint32_t seq, uint64_t now_ns, uint64_t wall_ms)
{
    int64_t start_s, next_s;
    wall_ms = limit_min_u64(wall_ms, LIMIT_WALL_MAX_MS);
    limit_period(l->zone, calendar, (int64_t)(wall_ms / 1000), &start_s, &next_s);
    const uint64_t next_ms = (uint64_t)next_s * 1000;
    /* The present ms of the wall clock may be almost over: the period must not outlast it. */
    const uint64_t left_ns = limit_min_u64((next_ms - wall_ms - 1) * 1000000u + 1,
                                           CELLAR_SECOND_NS);
    sync_take(LIMIT_SIDE, &l->side);
    if (base_load_rlx(&c->seq) != seq) {
        sync_drop(LIMIT_SIDE, &l->side);
        return;
    }
    base_store_rlx(&c->seq, base_load_rlx(&c->seq) + 1);
    base_fence_rel();
    /* A week, or a day east of Greenwich, may begin before 1970. */
    base_store_rel(&c->start_min, start_s > 0 ? (uint64_t)(start_s / 60) : 0);
    base_store_rel(&c->next_ms, next_ms);
    base_store_rel(&c->wall_ms, wall_ms);
    base_store_rel(&c->seen_ns, now_ns);
    base_store_rel(&c->again_ns, now_ns + left_ns);
    base_store_rel(&c->seq, base_load_rlx(&c->seq) + 1);
    sync_drop(LIMIT_SIDE, &l->side);
}

CELLAR_PRIVATE uint64_t limit_wall_ms(const cellar_limiter *l)
{
    if (l->wall_ms != NULL) { return l->wall_ms(l->clock_ctx); }
    const int64_t ms = base_wall_ms();
    return ms > 0 ? (uint64_t)ms : 0;
}

/* Tell whether the wall clock must be read: its last reading is too old, or the clock went back. */
static bool limit_calendar_is_old(limit_calendar *c, uint64_t now_ns)
{
    const uint64_t seen_ns = base_load_acq(&c->seen_ns), again_ns = base_load_acq(&c->again_ns);
    return now_ns < seen_ns || now_ns >= again_ns;
}

/* Renew the cached period. Repeat if another call published a period that is over already. */
static void limit_calendar_renew(cellar_limiter *l, limit_calendar *c, uint32_t calendar)
{
    for (int tries = 0; tries < LIMIT_LOOKS_MOST; tries++) {
        /* A reading of the caller may lie ahead, and would delay the next look by as much. */
        const uint64_t clock = limit_now(l);
        const uint32_t seq = base_load_acq(&c->seq);
        if (!limit_calendar_is_old(c, clock)) { return; }
        BASE_POINT("limit.calendar.wall");
        const uint64_t wall_ms = limit_wall_ms(l);
        BASE_POINT("limit.calendar.set");
        limit_calendar_set(l, c, calendar, seq, clock, wall_ms);
    }
}

BASE_SIZE_END

CELLAR_PRIVATE void limit_calendar_look(cellar_limiter *l, uint64_t now_ns)
{
    for (uint32_t i = 0; i < l->rule_count; i++) {
        limit_calendar *c = &l->calendar[i];
        if (l->algorithm[i] == CELLAR_RULE_FIXED_WINDOW && limit_calendar_is_old(c, now_ns)) {
            limit_calendar_renew(l, c, l->calendar_of[i]);
        }
    }
}

static void limit_calendar_at(cellar_limiter *l, const limit_rule *r, uint64_t now_ns,
                              limit_at *out)
{
    limit_calendar *c = &l->calendar[r->kind >> 24 & 0xff];
    const uint32_t seq = base_load_acq(&c->seq);
    uint64_t start = base_load_acq(&c->start_min), next_ms = base_load_acq(&c->next_ms);
    uint64_t wall_ms = base_load_acq(&c->wall_ms), seen_ns = base_load_acq(&c->seen_ns);
    base_fence_acq();
    if ((seq & 1) != 0 || base_load_rlx(&c->seq) != seq) {
        sync_take(LIMIT_SIDE, &l->side);
        start = base_load_rlx(&c->start_min);
        next_ms = base_load_rlx(&c->next_ms);
        wall_ms = base_load_rlx(&c->wall_ms);
        seen_ns = base_load_rlx(&c->seen_ns);
        sync_drop(LIMIT_SIDE, &l->side);
    }
    const uint64_t left_ns = (next_ms - wall_ms) * 1000000u;
    const uint64_t gone_ns = now_ns > seen_ns ? now_ns - seen_ns : 0;
    out->start = start;
    out->left_ns = left_ns > gone_ns ? left_ns - gone_ns : 1;
    out->end_ns = next_ms * 1000000u;
}

CELLAR_PRIVATE void limit_at_of(cellar_limiter *l, const _Atomic uint64_t *set,
                                const limit_rule *r, uint64_t now_ns, uint64_t units,
                                limit_at *out)
{
    out->u = units;
    out->ns = now_ns;
    out->base = limit_bases(set, (uint32_t)(r->kind >> 24 & 0xff));
    if (BASE_UNLIKELY(limit_algo(r) == CELLAR_RULE_FIXED_WINDOW)) {
        limit_calendar_at(l, r, now_ns, out);
    } else {
        out->start = out->left_ns = out->end_ns = 0;
    }
}

CELLAR_PRIVATE void limit_moment_of(cellar_limiter *l, const _Atomic uint64_t *set,
                                    const limit_rule *own, uint64_t now_ns, limit_moment *out)
{
    out->now_ns = limit_since(set, now_ns);
    out->units = limit_units_at(set, out->now_ns);
    out->origin = base_load_rlx(&set[0]);
    BASE_ASSERT(l->rule_count >= 1); /* the analysers ask */
    for (uint32_t i = 0; i < l->rule_count; i++) {
        limit_rule *r = &out->rule[i];
        limit_rule_load(set, i, r);
        if (own != NULL) { limit_rule_own(r, &own[i]); }
        limit_at_of(l, set, &out->rule[i], out->now_ns, out->units, &out->at[i]);
    }
}
