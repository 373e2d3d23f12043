/* SPDX-License-Identifier: MIT
 *
 * Aim:    calendar quotas begin and end where their zone says, whatever the wall clock does. Zone
 *         files are input like any other: whatever they say, the parser refuses it or every answer
 *         is in order, in bounded time; and what is said rightly is understood rightly.
 * Method: instants worked out by hand and from the zones' published rules; a turned wall clock.
 *         Files put together here, every bit of them flipped, every length cut, counts and times at
 *         their ends, footers right, wrong and random; each zone that parses is asked around all
 *         its times, and its calendar periods must contain the moment they are asked about. The C
 *         library judges footers and, where the machine has them, zone files. */
#include <time.h>

#include "base/timezone.h"
#include "limit/calendar.h"
#include "tests/support/folder.h"
#include "tests/support/limit_kit.h"

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

typedef struct instant { /* UTC */
    int year, month, day, hour, minute;
} instant;

static int64_t seconds_of(instant t)
{
    return base_days_of(t.year, t.month, t.day) * 86400 + t.hour * 3600 + t.minute * 60;
}

/* Zones that the machine lacks are left out. */
T_CASE(periods_begin_and_end_where_their_zone_says)
{
    static const struct { const char *zone; uint32_t calendar; instant at, start, next; } row[] = {
        { "UTC", CELLAR_PER_MONTH, { 2024, 2, 29, 12, 0 }, { 2024, 2, 1, 0, 0 },
          { 2024, 3, 1, 0, 0 } },
        { "UTC", CELLAR_PER_MONTH, { 2025, 2, 28, 23, 59 }, { 2025, 2, 1, 0, 0 },
          { 2025, 3, 1, 0, 0 } },
        { "UTC", CELLAR_PER_MONTH, { 2025, 12, 31, 23, 59 }, { 2025, 12, 1, 0, 0 },
          { 2026, 1, 1, 0, 0 } },
        { "UTC", CELLAR_PER_WEEK, { 2026, 1, 1, 5, 0 }, { 2025, 12, 29, 0, 0 },
          { 2026, 1, 5, 0, 0 } },
        { "UTC", CELLAR_PER_MINUTE, { 2026, 1, 1, 5, 3 }, { 2026, 1, 1, 5, 3 },
          { 2026, 1, 1, 5, 4 } },
        /* a fixed offset */
        { "+05:45", CELLAR_PER_DAY, { 2026, 1, 1, 20, 0 }, { 2026, 1, 1, 18, 15 },
          { 2026, 1, 2, 18, 15 } },
        { "Asia/Kathmandu", CELLAR_PER_DAY, { 2026, 5, 1, 0, 0 }, { 2026, 4, 30, 18, 15 },
          { 2026, 5, 1, 18, 15 } },
        { "Asia/Kathmandu", CELLAR_PER_HOUR, { 2026, 5, 1, 0, 0 }, { 2026, 4, 30, 23, 15 },
          { 2026, 5, 1, 0, 15 } },
        /* Half an hour: +11 to +10:30 on 2026-04-05 at 02:00 local = 2026-04-04T15:00Z. 01:30
         * comes twice: one period of 90 minutes, in a day of 24.5 hours. */
        { "Australia/Lord_Howe", CELLAR_PER_HOUR, { 2026, 4, 4, 14, 30 }, { 2026, 4, 4, 14, 0 },
          { 2026, 4, 4, 15, 30 } },
        { "Australia/Lord_Howe", CELLAR_PER_DAY, { 2026, 4, 4, 20, 0 }, { 2026, 4, 4, 13, 0 },
          { 2026, 4, 5, 13, 30 } },
        /* 2026-10-25T01:00Z: 03:00 becomes 02:00. The second 02:00 is an hour of its own. */
        { "Europe/Berlin", CELLAR_PER_HOUR, { 2026, 10, 25, 0, 30 }, { 2026, 10, 25, 0, 0 },
          { 2026, 10, 25, 1, 0 } },
        { "Europe/Berlin", CELLAR_PER_HOUR, { 2026, 10, 25, 1, 30 }, { 2026, 10, 25, 1, 0 },
          { 2026, 10, 25, 2, 0 } },
        { "Europe/Berlin", CELLAR_PER_DAY, { 2026, 10, 25, 12, 0 }, { 2026, 10, 24, 22, 0 },
          { 2026, 10, 25, 23, 0 } },
        /* behind the file's last time: its footer's rule */
        { "Europe/Berlin", CELLAR_PER_MONTH, { 2060, 7, 15, 0, 0 }, { 2060, 6, 30, 22, 0 },
          { 2060, 7, 31, 22, 0 } },
        /* It leaps from 24:00 to 01:00 on 2026-09-06: that day begins at 01:00 local = 04:00Z. */
        { "America/Santiago", CELLAR_PER_DAY, { 2026, 9, 6, 12, 0 }, { 2026, 9, 6, 4, 0 },
          { 2026, 9, 7, 3, 0 } },
        /* 2011-12-30 did not take place. */
        { "Pacific/Apia", CELLAR_PER_DAY, { 2011, 12, 30, 9, 0 }, { 2011, 12, 29, 10, 0 },
          { 2011, 12, 30, 10, 0 } },
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        base_tz *z = NULL;
        if (base_tz_open(NULL, row[i].zone, &z) != CELLAR_OK) {
            T_CHECK(strchr(row[i].zone, '/') != NULL);
            continue;
        }
        const int64_t start = seconds_of(row[i].start), next = seconds_of(row[i].next);
        const int64_t at[] = { seconds_of(row[i].at), start, next - 1 };
        for (size_t k = 0; k < 3; k++) { /* its first and last second belong to it */
            int64_t s, n;
            limit_period(z, row[i].calendar, at[k], &s, &n);
            if (!T_CHECK(s == start && n == next)) { printf("# row %zu, moment %zu\n", i, k); }
        }
        base_tz_close(z);
    }
}

static bool note_left(const cellar_limiter_entry *e, void *ctx)
{
    *(uint64_t *)ctx = e->remaining[0];
    return true;
}

T_CASE(limit_calendar_wall_steps)
{
    uint64_t left = 0;
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
    T_EQ_I64(cellar_limiter_scan(l, note_left, &left), CELLAR_OK);
    T_EQ_U64(left, 5);
    T_EQ_U64(kit_admit(l, "k", 9), 5);
    kit_close(l);
}

/* Two readings of the system clock enclose the one of the library. */
T_CASE(limit_calendar_without_a_wall_clock_has_that_of_the_system)
{
    cellar_limiter_config cfg = kit_config();
    const cellar_rule rule = cellar_rule_fixed_window(5, CELLAR_PER_MINUTE);
    cellar_limiter *l = NULL;
    cellar_limiter_result r;
    cfg.wall_ms = NULL;
    const uint64_t before_ms = (uint64_t)base_wall_ms();
    T_REQUIRE(cellar_limiter_open(&cfg, &rule, 1, &l) == CELLAR_OK);
    T_EQ_I64(kit_check_at(l, "k", 1, 1, 0, &r), CELLAR_OK);
    const uint64_t after_ms = (uint64_t)base_wall_ms(), reset_ms = r.reset_after_ns / KIT_MS;
    T_CHECK((before_ms + reset_ms - 1) / 60000 < (after_ms + reset_ms + 1) / 60000);
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

/* ---- zone files ---- */

typedef struct zone_file {
    unsigned char bytes[8192];
    size_t len;
} zone_file;

static void put(zone_file *f, uint64_t v, unsigned n)
{
    while (n-- > 0) { f->bytes[f->len++] = (unsigned char)(v >> 8 * n); }
}
static void put_head(zone_file *f, uint32_t times, uint32_t types, uint32_t chars)
{
    memcpy(f->bytes + f->len, "TZif2", 5);
    memset(f->bytes + f->len + 5, 0, 15);
    f->len += 20;
    put(f, 0, 4);
    put(f, 0, 4);
    put(f, 0, 4);
    put(f, times, 4);
    put(f, types, 4);
    put(f, chars, 4);
}
/* offsets[0] holds before times[0], offsets[i + 1] from times[i] on. */
static void build(zone_file *f, const int64_t *times, const int32_t *offsets, uint32_t count,
                  const char *footer)
{
    f->len = 0;
    put_head(f, 0, 1, 1); /* the first block is for old readers */
    put(f, 0, 6);
    put(f, 0, 1);
    put_head(f, count, count + 1, 4);
    for (uint32_t i = 0; i < count; i++) { put(f, (uint64_t)times[i], 8); }
    for (uint32_t i = 0; i < count; i++) { put(f, i + 1, 1); }
    for (uint32_t i = 0; i <= count; i++) {
        put(f, (uint32_t)offsets[i], 4);
        put(f, 0, 2);
    }
    put(f, 0x58585800, 4);
    put(f, '\n', 1);
    memcpy(f->bytes + f->len, footer, strlen(footer));
    f->len += strlen(footer);
    put(f, '\n', 1);
}

static const int64_t some_times[] = { -2000000000, 0, 500000000, 500000001, 1000000000,
                                      1700000000 };
static const int32_t some_offsets[] = { 3723, 3600, 7200, 3600, -34200, 49500, 3600 };

/* Whatever it says: each answer contains the moment asked about, and neighbours meet. */
static bool zone_is_sane(const base_tz *z, int64_t at)
{
    base_tz_stretch s, t;
    base_tz_at(z, at, &s);
    bool ok = T_CHECK(s.from_s <= at && at < s.to_s);
    ok = T_CHECK(s.offset_s >= -26 * 3600 - 59 * 60 - 59 && s.offset_s <= 26 * 3600 + 59 * 60 + 59) &&
         ok;
    const int64_t local = at + s.offset_s, first = base_tz_first(z, local);
    base_tz_at(z, first, &t);
    ok = T_CHECK(first <= at && first + t.offset_s >= local) && ok;
    for (uint32_t c = CELLAR_PER_MINUTE; c <= CELLAR_PER_MONTH; c++) {
        int64_t start, next;
        limit_period(z, c, at, &start, &next);
        ok = T_CHECK(start <= at && at < next) && ok;
        ok = T_CHECK(next - start <= (31 + 5) * INT64_C(86400)) && ok;
    }
    return ok;
}
static void ask(const base_tz *z, uint64_t *rng)
{
    for (size_t i = 0; i < sizeof some_times / sizeof some_times[0]; i++) {
        for (int64_t d = -1; d <= 1; d++) {
            if (!zone_is_sane(z, some_times[i] + d)) { return; }
        }
    }
    for (int i = 0; i < 10; i++) {
        *rng = *rng * UINT64_C(6364136223846793005) + 1442695040888963407u;
        if (!zone_is_sane(z, (int64_t)(*rng >> 31) - 600000000)) { return; }
    }
}
/* True: it parsed. */
static bool try_file(const zone_file *f, size_t len, uint64_t *rng)
{
    base_tz *z = NULL;
    unsigned char *exact = malloc(len > 0 ? len : 1); /* so that the sanitizer sees a step beyond */
    memcpy(exact, f->bytes, len);
    const cellar_err r = base_tz_parse(NULL, exact, len, &z);
    free(exact);
    T_CHECK((r == CELLAR_OK) == (z != NULL));
    if (z == NULL) { return false; }
    ask(z, rng);
    base_tz_close(z);
    return true;
}

T_CASE(every_flipped_bit_is_refused_or_sane)
{
    static const char *const footers[] = { "", "CET-1", "CET-1CEST,M3.5.0,M10.5.0/3",
                                           "<-03>3<-02>,M3.5.0/-2,M10.5.0/-1" };
    uint64_t rng = t_seed();
    for (size_t k = 0; k < sizeof footers / sizeof footers[0]; k++) {
        zone_file f, g;
        build(&f, some_times, some_offsets, 6, footers[k]);
        T_CHECK(try_file(&f, f.len, &rng));
        uint32_t parsed = 0;
        for (size_t bit = 0; bit < f.len * 8 && !t_failed(); bit++) {
            g = f;
            g.bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
            parsed += try_file(&g, g.len, &rng);
        }
        T_CHECK(parsed > 100); /* most of it is times and offsets */
        for (size_t len = 0; len < f.len; len++) {
            if (try_file(&f, len, &rng)) { T_CHECK(len == f.len - 1 && *footers[k] == '\0'); }
        }
    }
}

T_CASE(random_damage_is_refused_or_sane)
{
    zone_file f, g;
    uint64_t rng = t_seed() * 3;
    build(&f, some_times, some_offsets, 6, "CET-1CEST,M3.5.0,M10.5.0/3");
    for (int i = 0; i < 20000 && !t_failed(); i++) {
        g = f;
        for (int k = 0; k < 1 + i % 6; k++) {
            rng = rng * UINT64_C(6364136223846793005) + 1442695040888963407u;
            g.bytes[(rng >> 33) % g.len] = i % 2 == 0 ? (unsigned char)(rng >> 20) : 0xff;
        }
        (void)try_file(&g, i % 5 == 0 ? (size_t)(rng >> 33) % g.len : g.len, &rng);
    }
}

T_CASE(times_at_the_ends_of_the_scale)
{
    static const int64_t ends[] = { INT64_MIN, INT64_MIN + 1, -1, INT64_MAX - 1, INT64_MAX };
    static const int32_t offsets[] = { 93600, -93600, 93600, -93600, 93600, -93600 };
    uint64_t rng = t_seed();
    zone_file f;
    build(&f, ends, offsets, 5, "");
    T_CHECK(try_file(&f, f.len, &rng));
    const int64_t twice[2] = { 5, 5 };
    build(&f, twice, offsets, 2, "");
    T_CHECK(!try_file(&f, f.len, &rng));
    build(&f, NULL, offsets, 0, "AAA0BBB,0/0,J365/23"); /* daylight saving all year */
    T_CHECK(try_file(&f, f.len, &rng));
    build(&f, NULL, offsets, 0, "AAA24BBB-24,M1.1.0/-167,M12.5.6/167");
    T_CHECK(try_file(&f, f.len, &rng));
    int64_t dense[64];
    int32_t there_and_back[65];
    for (int i = 0; i < 65; i++) {
        if (i < 64) { dense[i] = 1700000000 + i; } /* each second another date */
        there_and_back[i] = i % 2 == 0 ? 93600 : -93600;
    }
    build(&f, dense, there_and_back, 64, "");
    base_tz *z = NULL;
    T_REQUIRE(base_tz_parse(NULL, f.bytes, f.len, &z) == CELLAR_OK);
    for (int64_t at = 1699999990; at < 1700000080; at++) { (void)zone_is_sane(z, at); }
    base_tz_close(z);
}

T_CASE(footers_are_read_as_POSIX_says)
{
    static const char *const bad[] = { "X", "CE-1", "CET", "CET-1CEST", "CET-1CEST,M3.5.0",
                                       "CET-1CEST,M13.5.0,M10.5.0", "CET-1CEST,M3.6.0,M10.5.0",
                                       "CET-1CEST,M3.5.7,M10.5.0", "CET-1CEST,J0,J300",
                                       "CET-1CEST,J366,J300", "CET-1CEST,366,1", "CET-25",
                                       "CET-1CEST,M3.5.0/168,M10.5.0", "CET-1CEST,M3.5.0,M10.5.0x",
                                       "<CET-1", "CET-1CE", "CET-1,M3.5.0,M10.5.0", "CET-1:60",
                                       "CET-1:00:60", "CET-1CEST,,", "-1" };
    uint64_t rng = t_seed();
    zone_file f;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        build(&f, some_times, some_offsets, 6, bad[i]);
        if (!T_CHECK(!try_file(&f, f.len, &rng))) { printf("# %s\n", bad[i]); }
    }
    static const char letters[] = "CETST<>+-0123456789:,.MJ/";
    for (int i = 0; i < 30000 && !t_failed(); i++) {
        char text[40] = "CET-1CEST,";
        size_t n = i % 3 == 0 ? 0 : strlen(text);
        const size_t end = n + (size_t)(rng >> 60);
        for (; n < end; n++) {
            rng = rng * UINT64_C(6364136223846793005) + 1442695040888963407u;
            text[n] = letters[(rng >> 33) % (sizeof letters - 1)];
        }
        text[n] = '\0';
        build(&f, some_times, some_offsets, 6, text);
        (void)try_file(&f, f.len, &rng);
        rng = rng * UINT64_C(6364136223846793005) + 1442695040888963407u;
    }
}

/* Compare a zone with the C library, some times a day, in a century. */
static void agrees_with_the_C_library(const base_tz *z, const char *tz)
{
    const char *before = getenv("TZ");
    char saved[128] = "";
    uint32_t wrong = 0;
    if (before != NULL) { snprintf(saved, sizeof saved, "%s", before); }
    setenv("TZ", tz, 1);
    tzset();
    for (int64_t at = 0; at < INT64_C(4200000000); at += 3600 * 7 + 11) {
        base_tz_stretch s;
        struct tm tm;
        const time_t t = (time_t)at;
        if ((int64_t)t != at) { break; } /* 32 bits */
        base_tz_at(z, at, &s);
        wrong += localtime_r(&t, &tm) == NULL || tm.tm_gmtoff != s.offset_s;
    }
    if (!T_EQ_U64(wrong, 0)) { printf("# %s\n", tz); }
    if (before != NULL) { setenv("TZ", saved, 1); } else { unsetenv("TZ"); }
    tzset();
}

T_CASE(the_C_library_agrees)
{
    static const char *const names[] = { "Europe/Berlin", "America/New_York", "America/Santiago",
                                         "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia",
                                         "Africa/Casablanca", "Asia/Gaza", "America/Nuuk",
                                         "Pacific/Chatham", "Antarctica/Troll", "Europe/Dublin" };
    uint32_t zones = 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        base_tz *z = NULL;
        if (base_tz_open(NULL, names[i], &z) != CELLAR_OK) { continue; }
        zones++;
        agrees_with_the_C_library(z, names[i]);
        base_tz_close(z);
    }
    if (zones == 0) { T_SKIP("no zone files"); }
}

T_CASE(the_C_library_agrees_about_footers)
{
    static const char *const footers[] = { "AAA0BBB,M12.1.0/1,M12.5.0", "AAA5BBB4,J60,J300/0:30:15",
                                           "<+01>-1<+02>,59/3,M11.4.6", "AAA-3BBB,M10.1.0,M2.5.4" };
    const int32_t offset = 0;
    for (size_t i = 0; i < sizeof footers / sizeof footers[0]; i++) {
        zone_file f;
        base_tz *z = NULL;
        build(&f, NULL, &offset, 0, footers[i]);
        T_REQUIRE(base_tz_parse(NULL, f.bytes, f.len, &z) == CELLAR_OK);
        agrees_with_the_C_library(z, footers[i]);
        base_tz_close(z);
    }
}

/* An empty file, which is damaged, shows that it was opened. */
T_CASE(name_with_other_characters_opens_no_file)
{
    static const char *const names[] = { "Az_09+-", "A z", "A.z", "A:z", "A@z", "A[z", "A\x7fz" };
    char dir[T_FOLDER_MAX], path[T_FOLDER_MAX + 8];
    base_tz *z;
    t_folder(dir);
    T_REQUIRE(setenv("TZDIR", dir, 1) == 0);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        FILE *f = fopen(path, "w");
        T_REQUIRE(f != NULL && fclose(f) == 0);
        const cellar_err err = base_tz_open(NULL, names[i], &z);
        T_EQ_I64(err, i == 0 ? CELLAR_E_CORRUPT : CELLAR_E_NOT_FOUND);
    }
    unsetenv("TZDIR");
    t_wipe(dir);
}

T_ONE_THREAD;
T_MAIN("cellar_limit_calendar")
