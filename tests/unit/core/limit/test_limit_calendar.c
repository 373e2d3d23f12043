/* SPDX-License-Identifier: MIT
 *
 * Aim:    calendar quotas begin and end where their zone says, whatever the wall clock does; zone
 *         files are input like any other.
 * Method: instants worked out by hand and from the zones' published rules; a turned wall clock;
 *         every byte of a zone file changed. Zones that the machine lacks are skips. */
#include "base/mem.h"
#include "base/timezone.h"
#include "limit/calendar.h"
#include "tests/support/limit_kit.h"

static base_tz *zone_open(const char *name)
{
    base_tz *z = NULL;
    if (base_tz_open(NULL, name, &z) != CELLAR_OK) { T_SKIP("no zone files"); }
    return z;
}
static int64_t utc(int64_t y, int mo, int d, int h, int mi)
{
    return base_days_of(y, mo, d) * 86400 + h * 3600 + mi * 60;
}
static void period_is(const base_tz *z, uint32_t calendar, int64_t at, int64_t start, int64_t next)
{
    int64_t s, n;
    limit_period(z, calendar, at, &s, &n);
    T_EQ_I64(s, start);
    T_EQ_I64(n, next);
    limit_period(z, calendar, start, &s, &n); /* its first and last second belong to it */
    T_CHECK(s == start && n == next);
    limit_period(z, calendar, next - 1, &s, &n);
    T_CHECK(s == start && n == next);
}

T_CASE(dates_round_trip)
{
    for (int64_t day = -800000; day < 800000; day += 37) {
        int64_t y;
        int m, d;
        base_date_of(day, &y, &m, &d);
        T_CHECK(m >= 1 && m <= 12 && d >= 1 && d <= 31);
        T_EQ_I64(base_days_of(y, m, d), day);
    }
    T_EQ_I64(base_days_of(1970, 1, 1), 0);
    T_EQ_I64(base_days_of(2000, 3, 1), 11017);
}

T_CASE(limit_calendar_month_ends)
{
    base_tz *z = zone_open("UTC");
    period_is(z, CELLAR_PER_MONTH, utc(2024, 2, 29, 12, 0), utc(2024, 2, 1, 0, 0),
              utc(2024, 3, 1, 0, 0));
    period_is(z, CELLAR_PER_MONTH, utc(2025, 2, 28, 23, 59), utc(2025, 2, 1, 0, 0),
              utc(2025, 3, 1, 0, 0));
    period_is(z, CELLAR_PER_MONTH, utc(2025, 12, 31, 23, 59), utc(2025, 12, 1, 0, 0),
              utc(2026, 1, 1, 0, 0));
    period_is(z, CELLAR_PER_WEEK, utc(2026, 1, 1, 5, 0), utc(2025, 12, 29, 0, 0),
              utc(2026, 1, 5, 0, 0));
    period_is(z, CELLAR_PER_MINUTE, utc(2026, 1, 1, 5, 3) + 59, utc(2026, 1, 1, 5, 3),
              utc(2026, 1, 1, 5, 4));
    base_tz_close(z);
    z = zone_open("+05:45"); /* a fixed offset */
    period_is(z, CELLAR_PER_DAY, utc(2026, 1, 1, 20, 0), utc(2026, 1, 1, 18, 15),
              utc(2026, 1, 2, 18, 15));
    base_tz_close(z);
}

T_CASE(limit_calendar_kathmandu)
{
    base_tz *z = zone_open("Asia/Kathmandu");
    if (z == NULL) { return; }
    period_is(z, CELLAR_PER_DAY, utc(2026, 5, 1, 0, 0), utc(2026, 4, 30, 18, 15),
              utc(2026, 5, 1, 18, 15));
    period_is(z, CELLAR_PER_HOUR, utc(2026, 5, 1, 0, 0), utc(2026, 4, 30, 23, 15),
              utc(2026, 5, 1, 0, 15));
    base_tz_close(z);
}

T_CASE(limit_calendar_lord_howe)
{
    /* Half an hour: +11 to +10:30 on 2026-04-05 at 02:00 local = 2026-04-04T15:00Z. */
    base_tz *z = zone_open("Australia/Lord_Howe");
    if (z == NULL) { return; }
    period_is(z, CELLAR_PER_HOUR, utc(2026, 4, 4, 14, 30), utc(2026, 4, 4, 14, 0),
              utc(2026, 4, 4, 15, 30)); /* 01:30 comes twice: one period of 90 minutes */
    period_is(z, CELLAR_PER_DAY, utc(2026, 4, 4, 20, 0), utc(2026, 4, 4, 13, 0),
              utc(2026, 4, 5, 13, 30)); /* a day of 24.5 hours */
    base_tz_close(z);
}

T_CASE(autumns_second_two_oclock_is_an_hour_of_its_own)
{
    base_tz *z = zone_open("Europe/Berlin"); /* 2026-10-25T01:00Z: 03:00 becomes 02:00 */
    if (z == NULL) { return; }
    period_is(z, CELLAR_PER_HOUR, utc(2026, 10, 25, 0, 30), utc(2026, 10, 25, 0, 0),
              utc(2026, 10, 25, 1, 0));
    period_is(z, CELLAR_PER_HOUR, utc(2026, 10, 25, 1, 30), utc(2026, 10, 25, 1, 0),
              utc(2026, 10, 25, 2, 0));
    period_is(z, CELLAR_PER_DAY, utc(2026, 10, 25, 12, 0), utc(2026, 10, 24, 22, 0),
              utc(2026, 10, 25, 23, 0));
    period_is(z, CELLAR_PER_MONTH, utc(2060, 7, 15, 0, 0), utc(2060, 6, 30, 22, 0),
              utc(2060, 7, 31, 22, 0)); /* behind the file's last time: its footer's rule */
    base_tz_close(z);
}

T_CASE(limit_calendar_without_midnight)
{
    /* Santiago leaps from 24:00 to 01:00 on 2026-09-06: that day begins at 01:00 local = 04:00Z. */
    base_tz *z = zone_open("America/Santiago");
    if (z == NULL) { return; }
    period_is(z, CELLAR_PER_DAY, utc(2026, 9, 6, 12, 0), utc(2026, 9, 6, 4, 0),
              utc(2026, 9, 7, 3, 0));
    base_tz_close(z);
    z = zone_open("Pacific/Apia"); /* 2011-12-30 did not take place */
    if (z == NULL) { return; }
    period_is(z, CELLAR_PER_DAY, utc(2011, 12, 30, 9, 0), utc(2011, 12, 29, 10, 0),
              utc(2011, 12, 30, 10, 0));
    base_tz_close(z);
}

T_CASE(limit_calendar_wall_steps)
{
    cellar_limiter *l = kit_open1(cellar_rule_fixed_window(5, CELLAR_PER_DAY));
    const uint64_t day_ms = 86400000, start = UINT64_C(1767225600000); /* 2026-01-01T00:00Z */
    atomic_store(&kit.wall_ms, start + 1000);
    kit_pass(2 * KIT_S); /* looked at once a second */
    T_EQ_U64(kit_admit(l, "k", 9), 5);
    atomic_store(&kit.wall_ms, start + day_ms + 1000); /* forward: a new period, once */
    atomic_fetch_add(&kit.now_ns, 2 * KIT_S);
    T_EQ_U64(kit_admit(l, "k", 9), 5);
    atomic_store(&kit.wall_ms, start + 5000); /* back: the later period is kept */
    atomic_fetch_add(&kit.now_ns, 2 * KIT_S);
    T_EQ_U64(kit_admit(l, "k", 9), 0);
    atomic_store(&kit.wall_ms, start + day_ms + 9000);
    atomic_fetch_add(&kit.now_ns, 2 * KIT_S);
    T_EQ_U64(kit_admit(l, "k", 9), 0);
    cellar_limiter_result r;
    T_CHECK(kit_look(l, "k", 1, 1, &r) == CELLAR_LIMITED);
    T_CHECK(r.retry_after_ns <= CELLAR_DAY_NS && r.reset_after_ns <= CELLAR_DAY_NS);
    T_CHECK(r.retry_after_ns > CELLAR_DAY_NS - 20 * KIT_S);
    atomic_store(&kit.wall_ms, start + 2 * day_ms);
    atomic_fetch_add(&kit.now_ns, 2 * KIT_S);
    T_EQ_U64(kit_admit(l, "k", 9), 5);
    kit_close(l);
}

/* Clocks that were never set, or set to anything: no period admits more than its limit. */
T_CASE(limit_calendar_at_the_ends_of_time)
{
    static const uint64_t walls[] = { 0, 1, 600000, 86400000, UINT64_C(4102444800000),
                                      UINT64_C(16106127300000), UINT64_C(16106127360000),
                                      UINT64_C(32503680000000), UINT64_C(253402300799999),
                                      UINT64_MAX / 1000000, INT64_MAX, UINT64_MAX };
    static const char *const zones[] = { "UTC", "+14", "-12", "+05:45" };
    for (size_t z = 0; z < sizeof zones / sizeof zones[0]; z++) {
        for (uint32_t c = CELLAR_PER_MINUTE; c <= CELLAR_PER_MONTH; c++) {
            for (size_t i = 0; i < sizeof walls / sizeof walls[0]; i++) {
                cellar_limiter_config cfg = kit_config();
                const cellar_rule rule = cellar_rule_fixed_window(5, c);
                cellar_limiter_result r;
                cellar_limiter *l = NULL;
                cfg.zone = zones[z];
                atomic_store(&kit.wall_ms, walls[i]);
                T_REQUIRE(cellar_limiter_open(&cfg, &rule, 1, &l) == CELLAR_OK);
                if (!T_EQ_U64(kit_admit(l, "k", 9), 5)) {
                    printf("# %s calendar %u wall %" PRIu64 "\n", zones[z], c, walls[i]);
                }
                T_EQ_I64(kit_look(l, "k", 1, 1, &r), CELLAR_LIMITED);
                T_CHECK(r.retry_after_ns > 0 && r.retry_after_ns <= 32 * CELLAR_DAY_NS);
                kit_close(l);
            }
        }
    }
    atomic_store(&kit.wall_ms, UINT64_C(1767225600000));
}

/* The wall clock is looked at once a second of the limiter's clock, whatever readings callers
 * bring along. */
T_CASE(a_callers_reading_cannot_stop_the_calendar)
{
    const uint64_t start = UINT64_C(1767225600000);
    cellar_limiter *l = kit_open1(cellar_rule_fixed_window(5, CELLAR_PER_MINUTE));
    atomic_store(&kit.wall_ms, start);
    T_EQ_U64(kit_admit(l, "k", 9), 5);
    (void)kit_check_at(l, "k", 1, 1, kit_clock(NULL) + CELLAR_DAY_NS, NULL);
    (void)kit_check_at(l, "other", 5, 1, kit_clock(NULL) + CELLAR_DAY_NS, NULL);
    (void)kit_check_at(l, "k", 1, 1, UINT64_MAX, NULL);
    for (int minute = 0; minute < 3; minute++) {
        kit_pass(60 * KIT_S);
        T_EQ_U64(kit_admit(l, "k", 9), 5);
    }
    kit_close(l);
}

T_CASE(unknown_zones_are_refused)
{
    static const char *const bad[] = { "Nowhere/Land", "../etc/passwd", "/etc/passwd", "a b", "+99",
                                       "+08:61", "-", "Europe", "x/../UTC" };
    cellar_limiter_config c = kit_config();
    const cellar_rule rule = cellar_rule_fixed_window(5, CELLAR_PER_DAY);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cellar_limiter *l = NULL;
        c.zone = bad[i];
        const cellar_err e = cellar_limiter_open(&c, &rule, 1, &l);
        if (!T_CHECK(e == CELLAR_E_NOT_FOUND && l == NULL)) { printf("# %s: %d\n", bad[i], e); }
    }
}

T_CASE(damaged_zone_files_are_refused_or_sane)
{
    static unsigned char file[65536], copy[65536];
    FILE *f = fopen("/usr/share/zoneinfo/Europe/Berlin", "rb");
    if (f == NULL) { T_SKIP("no zone files"); return; }
    const size_t n = fread(file, 1, sizeof file, f);
    fclose(f);
    uint64_t rng = t_seed();
    for (uint64_t i = 0; i < 20000; i++) {
        memcpy(copy, file, n);
        const size_t len = i % 3 == 0 ? (size_t)kit_below(&rng, n) : n;
        for (int k = 0; k < 3; k++) { copy[kit_below(&rng, n)] = (unsigned char)kit_random(&rng); }
        base_tz *z = NULL;
        if (base_tz_parse(NULL, copy, len, &z) != CELLAR_OK) {
            T_CHECK(z == NULL);
            continue;
        }
        for (int k = 0; k < 20; k++) { /* whatever it says, answers are in order */
            base_tz_stretch s;
            const int64_t at = (int64_t)kit_below(&rng, UINT64_C(8000000000)) - 2000000000;
            base_tz_at(z, at, &s);
            T_CHECK(s.from_s <= at && at < s.to_s);
        }
        base_tz_close(z);
    }
}

T_ONE_THREAD;
T_MAIN("cellar_limit_calendar")
