/* SPDX-License-Identifier: MIT
 *
 * Aim:    a cron expression fires at the instants of the documented rules, in any zone, over every
 *         change of the clock; a wrong expression is refused with its column.
 * Method: an oracle walks over all minutes and applies the rules one by one; it shares no code with
 *         the search of cron.c but the offsets of a zone. A table of instants worked out by hand.
 *         python3-croniter where it is installed. Zones: tests/data/zoneinfo, and those of the
 *         system. */
#include "base/fault.h"
#include "base/num.h"
#include "tests/support/draw.h"
#include "tests/support/folder.h"
#include "tests/support/refusals.h"
#include "tests/support/zones.h"
#include "work/cron.h"

#define MINUTE 60
#define HOUR 3600
#define DAY 86400

static int64_t utc(int year, int month, int day, int hour, int minute)
{
    return base_days_of(year, month, day) * DAY + hour * HOUR + minute * MINUTE;
}

/* ---- the parser ---- */

/* Check an expression: its code; *column: of the first error. */
static cellar_err check(const char *expr, size_t *column)
{
    return cellar_cron_next(expr, NULL, NULL, 0, NULL, 0, column);
}

T_CASE(expression_is_refused_at_its_column)
{
    static const struct { const char *expr; uint32_t column; } bad[] = {
        { "", 1 }, { "x * * * *", 1 }, { "60 * * * *", 1 }, { "* 24 * * *", 3 },
        { "* * 0 * *", 5 }, { "* * 32 * *", 5 }, { "* * * 13 *", 7 }, { "* * * 0 *", 7 },
        { "* * * * 8", 9 }, { "* * * *", 8 }, { "* * * * * * *", 11 }, { "60 * * * * *", 1 },
        { "* 60 * * * *", 3 }, { "*/0 * * * *", 3 }, { "*/61 * * * *", 3 }, { "5-3 * * * *", 3 },
        { "1,,2 * * * *", 3 }, { "1, * * * *", 3 }, { "1-/2 * * * *", 3 }, { "? * * * *", 1 },
        { "* ? * * *", 3 }, { "* * * ? *", 7 }, { "* * L-31 * *", 7 }, { "* * 32W * *", 5 },
        { "* * W * *", 5 }, { "* * 1-5W * *", 8 }, { "* * * JAM *", 7 }, { "* * * JANU *", 7 },
        { "* * * * MON#6", 13 }, { "* * * * 1#0", 11 }, { "* * * * L", 9 }, { "H(5-3) * * * *", 5 },
        { "H(5 * * * *", 4 }, { "H(1-5 * * * *", 6 }, { "H/0 * * * *", 3 }, { "@fortnightly", 2 },
        { "@every", 7 }, { "@every 5", 9 }, { "@every 0s", 10 }, { "@every 1s1h", 11 },
        { "@daily x", 8 }, { "CRON_TZ= 0 0 * * *", 9 }, { "* * * * * x", 11 }, { "1 2 3 4 5x", 10 },
        { "99999999999 * * * *", 1 }, { "* * * * *\n", 10 }, { "L * * * *", 1 }, { "1#2 * * * *", 2 },
        { "@hourly @daily", 9 }, { "@every 367d", 12 },
        { "0 0 30 2 *", 0 }, { "0 0 31 4,6,9,11 *", 0 }, /* dates that do not exist */
        { "0 0 30W 2 *", 0 }, { "0 0 31 2 ?", 0 },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        size_t column = 99;
        const cellar_err want = bad[i].column != 0 ? CELLAR_E_INVAL : CELLAR_E_NEVER;
        if (!T_EQ_I64(check(bad[i].expr, &column), want) ||
            !T_EQ_U64(column, bad[i].column)) {
            printf("# %s\n", bad[i].expr);
        }
    }
    size_t column;
    T_EQ_I64(check(NULL, &column), CELLAR_E_INVAL);
    T_EQ_I64(check("* * * * *", &column), CELLAR_OK);
    T_EQ_I64(check("0 0 30 2 1", &column), CELLAR_OK); /* either day: Mondays */
}

T_CASE(long_expression_is_refused)
{
    char text[CELLAR_CRON_MAX + 2];
    size_t column;
    memset(text, ' ', sizeof text);
    memcpy(text, "* * * * *", 9);
    text[CELLAR_CRON_MAX] = '\0';
    T_EQ_I64(check(text, &column), CELLAR_OK);
    text[CELLAR_CRON_MAX] = ' ';
    text[CELLAR_CRON_MAX + 1] = '\0';
    T_EQ_I64(check(text, &column), CELLAR_E_TOOBIG);
    T_EQ_U64(column, 0); /* not instants behind the array of the caller */
    char many[CELLAR_CRON_MAX + 1] = "0";
    for (int i = 1; i < 64; i++) { strcat(many, ",0"); }
    const size_t len = strlen(many);
    strcpy(many + len, " * * * *");
    T_EQ_I64(check(many, &column), CELLAR_OK);
    strcpy(many + len, ",0 * * * *");
    T_EQ_I64(check(many, &column), CELLAR_E_INVAL);
}

/* ---- instants worked out by hand ---- */

static int64_t next(const char *expr, const char *zone, const cellar_cron_opts *o, int64_t after_s)
{
    int64_t at;
    size_t found;
    const cellar_err err = cellar_cron_next(expr, zone, o, after_s * 1000, &at, 1, &found);
    if (err != CELLAR_OK) { return err; }
    T_EQ_U64(found, 1);
    T_EQ_I64(at % 1000, 0);
    return at / 1000;
}

T_CASE(instants_of_the_grammar)
{
    const int64_t from = utc(2024, 1, 31, 12, 0); /* a Wednesday */
    static const struct { const char *expr; int y, mo, d, h, mi; } rows[] = {
        { "* * * * *", 2024, 1, 31, 12, 1 }, { "0 0 * * *", 2024, 2, 1, 0, 0 },
        { "30 * * * *", 2024, 1, 31, 12, 30 }, { "0 9 * * MON", 2024, 2, 5, 9, 0 },
        { "0 9 * * 1", 2024, 2, 5, 9, 0 }, { "0 0 * * 7", 2024, 2, 4, 0, 0 },
        { "0 0 * * sun", 2024, 2, 4, 0, 0 }, { "0 0 29 2 *", 2024, 2, 29, 0, 0 },
        { "0 0 30 * *", 2024, 3, 30, 0, 0 }, { "0 0 L * *", 2024, 2, 29, 0, 0 },
        { "0 13 L * *", 2024, 1, 31, 13, 0 }, { "0 0 L-1 * *", 2024, 2, 28, 0, 0 },
        { "0 0 LW * *", 2024, 2, 29, 0, 0 }, { "0 0 LW 3 *", 2024, 3, 29, 0, 0 },
        { "0 0 3W 2 *", 2024, 2, 2, 0, 0 }, { "0 0 4w 2 *", 2024, 2, 5, 0, 0 },
        { "0 0 1W 6 *", 2024, 6, 3, 0, 0 }, { "0 0 30W 6 *", 2024, 6, 28, 0, 0 },
        { "0 0 * * FRI#2", 2024, 2, 9, 0, 0 }, { "0 0 * * 5#5", 2024, 3, 29, 0, 0 },
        { "0 0 * * 5L", 2024, 2, 23, 0, 0 }, { "0 0 * * FRIL", 2024, 2, 23, 0, 0 }, { "0 0 13 * FRI", 2024, 2, 2, 0, 0 },
        { "0 0 */2 * MON", 2024, 2, 5, 0, 0 }, { "0 0 ? * MON", 2024, 2, 5, 0, 0 },
        { "10-20/5,40 12 * * *", 2024, 1, 31, 12, 10 }, { "50/4 12 * * *", 2024, 1, 31, 12, 50 },
        { "0 0 * * 5/1", 2024, 2, 2, 0, 0 }, { "0 0 1 jan-mar/2 *", 2024, 3, 1, 0, 0 },
        { "@yearly", 2025, 1, 1, 0, 0 }, { "@monthly", 2024, 2, 1, 0, 0 },
        { "@weekly", 2024, 2, 4, 0, 0 }, { "@HOURLY", 2024, 1, 31, 13, 0 },
        { "@every 1h30m", 2024, 1, 31, 13, 30 }, { "@every 120s", 2024, 1, 31, 12, 2 },
        { "0 30 12 * * *", 2024, 1, 31, 12, 30 }, { "CRON_TZ=+02:00 0 15 * * *", 2024, 1, 31, 13, 0 },
        { "  0\t14 * * *  ", 2024, 1, 31, 14, 0 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (!T_EQ_I64(next(rows[i].expr, NULL, NULL, from),
                      utc(rows[i].y, rows[i].mo, rows[i].d, rows[i].h, rows[i].mi))) {
            printf("# %s\n", rows[i].expr);
        }
    }
    T_EQ_I64(next("*/15 * * * * *", NULL, NULL, from), from + 15);
    T_EQ_I64(next("59 59 23 31 12 *", NULL, NULL, from), utc(2025, 1, 1, 0, 0) - 1);
}

T_CASE(day_and_needs_both_days)
{
    cellar_cron_opts o = { .struct_size = sizeof o, .day_and = 1 };
    T_EQ_I64(next("0 0 13 * FRI", NULL, &o, utc(2024, 1, 31, 0, 0)), utc(2024, 9, 13, 0, 0));
    T_EQ_I64(next("0 0 29 2 MON", NULL, &o, utc(2024, 3, 1, 0, 0)), utc(2044, 2, 29, 0, 0));
    T_EQ_I64(next("0 0 30 2 MON", NULL, &o, utc(2024, 3, 1, 0, 0)), CELLAR_E_NEVER);
}

T_CASE(hashed_values_follow_the_name_alone)
{
    cellar_cron_opts o = cellar_cron_opts_default();
    uint64_t minutes = 0;
    for (unsigned i = 0; i < 200; i++) {
        o.hash_name = t_numbered("n", i);
        const int64_t at = next("H 0 * * *", NULL, &o, 0);
        T_EQ_I64(next("H 0 * * *", NULL, &o, 0), at);
        T_CHECK(at % DAY < HOUR);
        minutes |= (uint64_t)1 << (at - 1) / MINUTE % 60;
        const int64_t in = next("H(10-12) 0 H H H", NULL, &o, 0);
        T_CHECK(in % HOUR >= 10 * MINUTE && in % HOUR <= 12 * MINUTE);
        const int64_t step = next("H/20 * * * *", NULL, &o, 0);
        T_EQ_I64(next("H/20 * * * *", NULL, &o, step), step + 20 * MINUTE);
    }
    T_CHECK(__builtin_popcountll(minutes) > 40);
    o.hash_name = "report"; /* the value is part of the interface: it outlives the process */
    const int64_t report = next("H H * * *", NULL, &o, 0);
    T_EQ_I64(report / HOUR * 100 + report % HOUR / MINUTE, 1037);
}

/* ---- clock changes: one case for each row of the table ---- */

static int64_t of(const char *expr, const char *zone, cellar_cron_gap gap, cellar_cron_fold fold,
                  int64_t after)
{
    cellar_cron_opts o = { .struct_size = sizeof o, .gap = gap, .fold = fold };
    return next(expr, zone, &o, after);
}

T_CASE(cron_dst_table)
{
    const char *berlin = "Europe/Berlin", *howe = "Australia/Lord_Howe";
    const int64_t gap = utc(2024, 3, 31, 1, 0), fold = utc(2024, 10, 27, 1, 0);
    const int64_t eve = utc(2024, 3, 30, 12, 0), autumn = utc(2024, 10, 26, 12, 0);
    zones_of_the_tree();
    /* fixed time in the gap: once, where the gap ends; several times in it are one firing */
    T_EQ_I64(of("30 2 * * *", berlin, CELLAR_CRON_GAP_RUN, 0, eve), gap);
    T_EQ_I64(of("30 2 * * *", berlin, CELLAR_CRON_GAP_RUN, 0, gap), utc(2024, 4, 1, 0, 30));
    T_EQ_I64(of("0,30 2 * * *", berlin, CELLAR_CRON_GAP_RUN, 0, gap), utc(2024, 4, 1, 0, 0));
    T_EQ_I64(of("0 3 * * *", berlin, CELLAR_CRON_GAP_RUN, 0, eve), gap);
    T_EQ_I64(of("30 2 * * *", berlin, CELLAR_CRON_GAP_SKIP, 0, eve), utc(2024, 4, 1, 0, 30));
    /* fixed time in the fold: first, second or both */
    T_EQ_I64(of("30 2 * * *", berlin, 0, CELLAR_CRON_FOLD_FIRST, autumn), fold - 30 * MINUTE);
    T_EQ_I64(of("30 2 * * *", berlin, 0, CELLAR_CRON_FOLD_FIRST, fold - 30 * MINUTE),
             utc(2024, 10, 28, 1, 30));
    T_EQ_I64(of("30 2 * * *", berlin, 0, CELLAR_CRON_FOLD_SECOND, autumn), fold + 30 * MINUTE);
    T_EQ_I64(of("30 2 * * *", berlin, 0, CELLAR_CRON_FOLD_BOTH, autumn), fold - 30 * MINUTE);
    T_EQ_I64(of("30 2 * * *", berlin, 0, CELLAR_CRON_FOLD_BOTH, fold - 30 * MINUTE),
             fold + 30 * MINUTE);
    /* minute or hour begins with '*': follows the clock */
    T_EQ_I64(of("30 * * * *", berlin, 0, 0, gap - 30 * MINUTE), gap + 30 * MINUTE);
    T_EQ_I64(of("*/30 2 * * *", berlin, 0, 0, eve), utc(2024, 4, 1, 0, 0));
    T_EQ_I64(of("30 * * * *", berlin, 0, 0, fold - 30 * MINUTE), fold + 30 * MINUTE);
    /* a change of over 3 hours is a correction: the day that Samoa left out is not made up for */
    T_EQ_I64(next("0 0 30 12 *", "-10:00", NULL, utc(2011, 12, 1, 0, 0)), utc(2011, 12, 30, 10, 0));
    T_REQUIRE(setenv("TZDIR", "/usr/share/zoneinfo", 1) == 0);
    const int64_t samoa = next("0 0 30 12 *", "Pacific/Apia", NULL, utc(2011, 12, 1, 0, 0));
    T_CHECK(samoa == CELLAR_E_NOT_FOUND || samoa == utc(2012, 12, 29, 10, 0));
    zones_of_the_tree();
    /* half an hour of daylight saving */
    T_EQ_I64(of("15 2 * * *", howe, 0, 0, utc(2024, 10, 5, 12, 0)), utc(2024, 10, 5, 15, 30));
    T_EQ_I64(of("45 1 * * *", howe, 0, 0, utc(2024, 4, 6, 12, 0)), utc(2024, 4, 6, 14, 45));
    T_EQ_I64(of("45 1 * * *", howe, 0, 0, utc(2024, 4, 6, 14, 45)), utc(2024, 4, 7, 15, 15));
}

/* ---- the oracle ---- */

typedef struct plan { /* an expression as sets; its text is made from them */
    bool minute[60], hour[24], dom[32], month[13], dow[7];
    bool dom_star, dow_star, wild;
    bool one; /* a range of one value */
    cron c;
    char text[CELLAR_CRON_MAX + 1];
} plan;

/* Add a field to the text, and its values to the set. Return whether it begins with '*'. */
static bool plan_field(plan *p, bool *set, int low, int high, bool thin)
{
    char *to = p->text + strlen(p->text);
    const int span = high - low + 1;
    const uint64_t kind = draw(thin ? 3 : 5);
    int a = low + (int)draw((uint64_t)span), b = low + (int)draw((uint64_t)span), n = 1;
    if (a > b) {
        const int t = a;
        a = b;
        b = t;
    }
    p->one = p->one || (kind == 2 && a == b);
    switch (kind) {
    case 0: sprintf(to, "%d ", a); b = a; break;
    case 1: sprintf(to, "%d,%d ", a, b); set[a] = true; a = b; break;
    case 2: sprintf(to, "%d-%d/%d ", a, b, n = 1 + (int)draw((uint64_t)(b - a + 1))); break;
    case 3: sprintf(to, "*/%d ", n = 1 + (int)draw((uint64_t)span)); a = low; b = high; break;
    default: sprintf(to, "* "); a = low; b = high;
    }
    for (int v = a; v <= b; v += n) { set[v] = true; }
    return kind > 2;
}

static void plan_make(plan *p, uint32_t flags)
{
    char zone[CRON_ZONE_MAX + 1];
    cron_fault fault;
    do {
        memset(p, 0, sizeof *p);
        const bool minute = plan_field(p, p->minute, 0, 59, false);
        const bool hour = plan_field(p, p->hour, 0, draw(2) == 0 ? 3 : 23, true);
        p->wild = minute || hour;
        p->dom_star = plan_field(p, p->dom, 1, 31, draw(2) == 0);
        (void)plan_field(p, p->month, 1, 12, false);
        p->dow_star = plan_field(p, p->dow, 0, 6, draw(2) == 0);
    } while (cron_parse(p->text, 0, flags, &p->c, zone, &fault) == CELLAR_E_NEVER);
    T_EQ_U64(fault.column, 0);
}

static bool plan_match(const plan *p, int64_t civil)
{
    int64_t year;
    int month, day;
    const int64_t days = base_floor_div(civil, DAY);
    const int s = (int)(civil - days * DAY);
    if (!p->minute[s / 60 % 60] || !p->hour[s / 3600]) { return false; }
    base_date_of(days, &year, &month, &day);
    const bool dom = p->dom[day], dow = p->dow[((days + 4) % 7 + 7) % 7];
    return p->month[month] && (p->dom_star || p->dow_star ? dom && dow : dom || dow);
}

/* Walk over the minutes after `from` and return the first one at which the rules fire. `flags`: as
 * of cron. */
static int64_t oracle(const plan *p, const base_tz *z, uint32_t flags, int64_t from, int64_t to)
{
    for (int64_t u = from; u < to; u += MINUTE) {
        base_tz_stretch s, before, after;
        base_tz_at(z, u, &s);
        const int64_t civil = u + s.offset_s;
        bool fires = plan_match(p, civil);
        if (!p->wild) {
            base_tz_at(z, s.from_s - 1, &before);
            base_tz_at(z, s.to_s, &after);
            const int64_t moved = s.offset_s - before.offset_s;
            const int64_t back = s.offset_s - after.offset_s;
            if (moved > 0 && moved <= 3 * HOUR && u == s.from_s && (flags & CRON_GAP_SKIP) == 0) {
                for (int64_t c = civil - moved; c < civil; c += MINUTE) {
                    fires = fires || plan_match(p, c);
                }
            }
            if (moved < 0 && moved >= -3 * HOUR && civil < s.from_s + before.offset_s) {
                fires = fires && (flags & (CRON_FOLD_SECOND | CRON_FOLD_BOTH)) != 0;
            }
            if (back > 0 && back <= 3 * HOUR && civil >= s.to_s + after.offset_s) {
                fires = fires && (flags & CRON_FOLD_SECOND) == 0;
            }
        }
        if (fires) { return u; }
    }
    return INT64_MAX;
}

/* Compare all firings of two days around each change of three years. */
static void bruteforce_zone(const char *name, int year, uint64_t plans)
{
    base_tz *z;
    T_REQUIRE(base_tz_open(NULL, name, &z) == CELLAR_OK);
    const int64_t end = utc(year + 3, 1, 1, 0, 0);
    for (uint64_t k = 0; k < plans && !t_failed(); k++) {
        static const uint32_t flags[] = { 0, 0, 0, CRON_GAP_SKIP, CRON_FOLD_SECOND, CRON_FOLD_BOTH };
        const uint32_t f = flags[draw(6)];
        plan p;
        plan_make(&p, f);
        base_tz_stretch s;
        for (int64_t at = utc(year, 1, 1, 0, 0); at < end && !t_failed(); at = s.to_s) {
            base_tz_at(z, at, &s);
            const int64_t around = s.to_s < end ? s.to_s : at + (int64_t)draw(900) * DAY;
            const int64_t stop = around + DAY;
            for (int64_t u = around - DAY; u < stop;) {
                const int64_t want = oracle(&p, z, f, u + MINUTE, stop);
                const int64_t got = cron_next(&p.c, z, u);
                if (want == INT64_MAX ? !T_CHECK(got >= stop) : !T_EQ_I64(got, want)) {
                    printf("# %s, %s, flags %u, after %lld\n", p.text, name, f, (long long)u);
                    break;
                }
                u = got;
            }
            if (s.to_s == INT64_MAX) { break; }
        }
    }
    base_tz_close(z);
}

T_CASE(cron_next_bruteforce)
{
    static const struct { const char *name; int year; } zones[] = {
        { "Europe/Berlin", 2023 }, { "America/New_York", 2036 }, /* beyond the table: by the rule */
        { "Australia/Lord_Howe", 2024 },
        /* of the system, if it has them */
        { "Pacific/Apia", 2010 }, { "Asia/Shanghai", 1989 }, { "America/Sao_Paulo", 2017 },
        { "Africa/Casablanca", 2022 }, { "Antarctica/Troll", 2023 }, { "Europe/London", 1970 },
        { "Asia/Tehran", 2020 }, { "America/St_Johns", 2009 }, { "Pacific/Kiritimati", 1993 }
    };
    draw_state = t_seed();
    zones_of_the_tree();
    for (size_t i = 0; i < sizeof zones / sizeof zones[0]; i++) {
        if (i == 3 && access("/usr/share/zoneinfo/Pacific/Kiritimati", R_OK) != 0) {
            printf("# no zone database\n");
            break;
        }
        if (i == 3) { T_REQUIRE(setenv("TZDIR", "/usr/share/zoneinfo", 1) == 0); }
        bruteforce_zone(zones[i].name, zones[i].year, t_share(680) / T_COST + 1);
    }
}

/* Return whether croniter defines the same: it takes a range of one value for all values, and only
 * a bare '*' for a day field without a restriction. From a day that the month lacks it counts on
 * into the next month, and skips the first days of that. */
static bool plan_is_common(const plan *p)
{
    char dom[64], dow[64];
    const bool late = p->dom[29] || p->dom[30] || p->dom[31];
    return !p->one && sscanf(p->text, "%*s %*s %63s %*s %63s", dom, dow) == 2 &&
           (strcmp(dom, "*") == 0 || (strcmp(dow, "*") == 0 && !late));
}

/* Compare two instants of each expression, in UTC. */
T_CASE(cron_next_agrees_with_croniter)
{
    enum { MOST = 4000 };
    static plan p[MOST];
    const int count = (int)t_share(MOST);
    char in[] = "/tmp/cellar-cron-XXXXXX", command[400];
    /* Debian's package belongs to Debian's Python, which need not be the first one. */
    const char *python = "python3";
    if (system("python3 -c 'import croniter' >/dev/null 2>&1") != 0) {
        python = "/usr/bin/python3";
        if (system("/usr/bin/python3 -c 'import croniter' >/dev/null 2>&1") != 0) {
            T_SKIP("no python3-croniter");
            return;
        }
    }
    const int fd = mkstemp(in);
    T_REQUIRE(fd >= 0);
    FILE *f = fdopen(fd, "w");
    draw_state = t_seed() + 2;
    base_tz *z;
    T_REQUIRE(base_tz_open(NULL, NULL, &z) == CELLAR_OK);
    const int64_t from = utc(2024, 2, 27, 22, 17);
    for (int i = 0; i < count; i++) {
        do { plan_make(&p[i], 0); } while (!plan_is_common(&p[i]));
        fprintf(f, "%s\n", p[i].text);
    }
    fclose(f);
    snprintf(command, sizeof command,
             "%s -c 'import sys, croniter\nfor l in open(\"%s\"):\n"
             " c = croniter.croniter(l.strip(), %lld)\n"
             " print(int(c.get_next(float)), int(c.get_next(float)))'",
             python, in, (long long)from);
    FILE *out = popen(command, "r");
    T_REQUIRE(out != NULL);
    for (int i = 0; i < count && !t_failed(); i++) {
        long long first, second;
        T_REQUIRE(fscanf(out, "%lld %lld", &first, &second) == 2);
        if (!T_EQ_I64(cron_next(&p[i].c, z, from), first) ||
            !T_EQ_I64(cron_next(&p[i].c, z, first), second)) {
            printf("# %s\n", p[i].text);
        }
    }
    pclose(out);
    unlink(in);
    base_tz_close(z);
}

/* ---- calls ---- */

T_CASE(next_refuses_bad_arguments_damage_and_missing_memory)
{
    char dir[T_FOLDER_MAX], path[T_FOLDER_MAX + 8];
    const cellar_cron_opts o = { .struct_size = sizeof o, .fold = (cellar_cron_fold)3 };
    const char *all = "* * * * *";
    int64_t out[3];
    size_t found = 9;
    zones_of_the_tree();
    T_EQ_I64(cellar_cron_next(all, "Nowhere/Else", NULL, 0, out, 1, &found), CELLAR_E_NOT_FOUND);
    T_EQ_U64(found, 0);
    REFUSALS("cron", { CELLAR_E_NOT_FOUND,
                       cellar_cron_next(all, "../../etc/passwd", NULL, 0, out, 1, &found) },
             { CELLAR_E_NOT_FOUND,
               cellar_cron_next("CRON_TZ=Nowhere * * * * *", NULL, NULL, 0, out, 1, &found) },
             { CELLAR_E_RANGE, cellar_cron_next(all, NULL, NULL, -1, out, 1, &found) },
             { CELLAR_E_RANGE, cellar_cron_next(all, NULL, NULL, INT64_MAX, out, 1, &found) },
             INVAL(cellar_cron_next("* * * *", NULL, NULL, 0, out, 1, &found)),
             INVAL(cellar_cron_next(NULL, NULL, NULL, 0, out, 1, &found)),
             INVAL(cellar_cron_next(all, NULL, NULL, 0, NULL, 1, &found)),
             INVAL(cellar_cron_next(all, NULL, NULL, 0, out, 1, NULL)),
             INVAL(cellar_cron_next(all, NULL, &o, 0, out, 1, &found)));
    T_EQ_I64(cellar_cron_next(all, NULL, NULL, 253402300799999, out, 3, &found), CELLAR_OK);
    T_CHECK(found == 3 && out[0] == INT64_C(253402300800000));
    T_EQ_I64(cellar_cron_next(all, NULL, NULL, 59999, out, 2, &found), CELLAR_OK);
    T_CHECK(out[0] == 60000 && out[1] == 120000);
    (void)base_fault_alloc_arm(1, false);
    T_EQ_I64(cellar_cron_next(all, "Europe/Berlin", NULL, 0, out, 1, &found), CELLAR_E_NOMEM);
    (void)base_fault_alloc_arm(0, false);
    t_folder(dir);
    snprintf(path, sizeof path, "%s/Bad", dir);
    FILE *f = fopen(path, "w");
    T_REQUIRE(f != NULL && fputs("TZif2 and no more", f) >= 0 && fclose(f) == 0);
    T_REQUIRE(setenv("TZDIR", dir, 1) == 0);
    T_EQ_I64(cellar_cron_next(all, "Bad", NULL, 0, out, 1, &found), CELLAR_E_CORRUPT);
    t_wipe(dir);
}

T_CASE(variable_tz_plays_no_role)
{
    const int64_t before = next("0 2 * * *", NULL, NULL, utc(2024, 5, 1, 0, 0));
    T_REQUIRE(setenv("TZ", "America/New_York", 1) == 0);
    T_EQ_I64(next("0 2 * * *", NULL, NULL, utc(2024, 5, 1, 0, 0)), before);
    T_EQ_STR(getenv("TZ"), "America/New_York");
    unsetenv("TZ");
}

T_ONE_THREAD;
T_MAIN("work_cron")
