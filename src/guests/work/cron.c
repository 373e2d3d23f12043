/* SPDX-License-Identifier: MIT
 *
 * cron: parse cron expressions and find the next instant at which one fires.
 *
 * PICTURE    zone: stretches of constant offset  [u0 .. u1)[u1 .. u2)..   from base/timezone
 *            in each stretch: months -> days as a mask of 32 bits -> hour, minute, second by
 *            bit scan
 * GRAMMAR    cellar_schedule.h.
 * DST        A fixed time that falls into a gap fires once, where the gap ends. Of a time that
 *            occurs twice the first one counts. A job with a minute or hour that begins with '*'
 *            follows the clock. Changes above CRON_SHIFT_MAX_S are corrections: no job is made up
 *            for, no job is left out.
 * INVARIANTS cron_next is a pure function of expression, zone and instant. Its result is above the
 *            instant. Every value of a parsed expression lies in the range of its field.
 * LIMITS     CELLAR_CRON_MAX bytes, CRON_ITEMS_MAX items a field, 100 years ahead.
 * SOURCE     Rules: cron of ISC (Vixie) for days and DST, Quartz and Jenkins for L W # and H. Own
 *            code. */
#include "work/cron.h"

#include <string.h>

#include "base/hash.h"
#include "base/num.h"
#include "base/opts.h"

BASE_SIZE_BEGIN

#define CRON_ITEMS_MAX 64
#define CRON_DAY_S 86400
#define CRON_YEARS 100
#define CRON_SHIFT_MAX_S (3 * 3600)
#define CRON_EVERY_MAX_MS (INT64_C(366) * 86400000)

/* ---- parser ---- */

static const struct cron_range {
    uint8_t low, high;
    uint8_t end;       /* of '*' and "a/n": 7 is another 0 */
    uint8_t hash_high; /* H chooses up to it: a day that every month has */
    const char *rule;
} cron_ranges[] = { { 0, 59, 59, 59, "a second must be 0..59" },
                    { 0, 59, 59, 59, "a minute must be 0..59" },
                    { 0, 23, 23, 23, "an hour must be 0..23" },
                    { 1, 31, 31, 28, "a day must be 1..31" },
                    { 1, 12, 12, 12, "a month must be 1..12 or jan..dec" },
                    { 0, 7, 6, 6, "a weekday must be 0..7 or sun..sat" } };

typedef struct cron_text {
    const char *start, *at;
    uint64_t hash;    /* of the name; mixed for each field */
    const char *rule; /* range that a number at `at` broke; NULL: none */
} cron_text;

static char cron_lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c | 32) : c; }

static bool cron_take(cron_text *t, char c)
{
    if (cron_lower(*t->at) != c) { return false; }
    t->at++;
    return true;
}

static bool cron_letter(char c) { return cron_lower(c) >= 'a' && cron_lower(c) <= 'z'; }

/* Take a word if it stands here and no letter follows, but for the L of a last weekday. */
static bool cron_word(cron_text *t, const char *word)
{
    const size_t len = strlen(word);
    for (size_t i = 0; i < len; i++) {
        if (cron_lower(t->at[i]) != word[i]) { return false; }
    }
    const bool last = len == 3 && cron_lower(t->at[len]) == 'l' && !cron_letter(t->at[len + 1]);
    if (cron_letter(t->at[len]) && !last) { return false; }
    t->at += len;
    return true;
}

/* Parse a number of at most `most`; 9 digits always fit. */
static bool cron_number(cron_text *t, uint32_t most, uint32_t *out)
{
    const char *start = t->at;
    uint32_t n = 0;
    for (; *t->at >= '0' && *t->at <= '9' && t->at - start < 9; t->at++) {
        n = n * 10 + (uint32_t)(*t->at - '0');
    }
    *out = n;
    if (t->at > start && n <= most) { return true; }
    t->at = start;
    return false;
}

/* Return the number of the three-letter name that stands here, from 0; -1: none. */
static int cron_name(cron_text *t, const char *names)
{
    for (int i = 0; names[3 * i] != '\0'; i++) {
        const char word[] = { names[3 * i], names[3 * i + 1], names[3 * i + 2], '\0' };
        if (cron_word(t, word)) { return i; }
    }
    return -1;
}

/* Parse a value of a field: a number in its range, or a name of a month or weekday. */
static bool cron_value(cron_text *t, int field, uint32_t *out)
{
    const char *start = t->at;
    int name = -1;
    if (field == CRON_MONTH) { name = cron_name(t, "janfebmaraprmayjunjulaugsepoctnovdec"); }
    if (field == CRON_DOW) { name = cron_name(t, "sunmontuewedthufrisat"); }
    if (name >= 0) {
        *out = (uint32_t)name + (field == CRON_MONTH);
        return true;
    }
    if (cron_number(t, cron_ranges[field].high, out) && *out >= cron_ranges[field].low) {
        return true;
    }
    t->at = start;
    if (*start >= '0' && *start <= '9') { t->rule = cron_ranges[field].rule; }
    return false;
}

/* Parse a number of 1..most. */
static bool cron_positive(cron_text *t, uint32_t most, uint32_t *out)
{
    if (!cron_number(t, most, out)) { return false; }
    if (*out == 0) { t->at--; }
    return *out != 0;
}

/* Parse the end of a range that begins at `from`. */
static bool cron_to(cron_text *t, int field, uint32_t from, uint32_t *to)
{
    const char *start = t->at;
    if (!cron_value(t, field, to)) { return false; }
    if (*to < from) { t->at = start; }
    return *to >= from;
}

/* Parse an item that only a day of the month has: L, L-n, LW, nW. False: it is no such item, or
 * wrong; then *wrong. */
static bool cron_dom_special(cron_text *t, cron *c, bool *wrong)
{
    uint32_t n = 0;
    const char *start = t->at;
    if (cron_word(t, "lw")) {
        c->near |= 1;
        return true;
    }
    if (cron_word(t, "l")) {
        *wrong = cron_take(t, '-') && !cron_number(t, 30, &n);
        if (!*wrong) { c->before_last |= (uint32_t)1 << n; }
        return !*wrong;
    }
    if (cron_value(t, CRON_DOM, &n) && cron_word(t, "w")) {
        c->near |= (uint32_t)1 << n;
        return true;
    }
    t->at = start;
    return false;
}

/* Parse what follows a weekday: L, #n. */
static bool cron_dow_special(cron_text *t, cron *c, uint32_t day, bool *wrong)
{
    uint32_t n = 0;
    if (cron_word(t, "l")) {
        c->last = (uint8_t)(c->last | 1u << day % 7);
        return true;
    }
    if (!cron_take(t, '#')) { return false; }
    *wrong = !cron_positive(t, 5, &n);
    if (!*wrong) { c->nth |= (uint64_t)1 << (7 * (n - 1) + day % 7); }
    return !*wrong;
}

/* Parse an item: a value, a range, '*', '?' or 'H', and a step behind it. */
static bool cron_item(cron_text *t, int field, cron *c, uint64_t *bits)
{
    const struct cron_range *r = &cron_ranges[field];
    uint32_t from = r->low, to = r->end, step = 0;
    bool one = false, wrong = false;
    const bool all = cron_take(t, '*');
    const bool any = !all && (field == CRON_DOM || field == CRON_DOW) && cron_take(t, '?');
    const bool hashed = !all && !any && cron_take(t, 'h');
    if (hashed) {
        to = r->hash_high;
        if (cron_take(t, '(') && !(cron_value(t, field, &from) && cron_take(t, '-') &&
                                   cron_to(t, field, from, &to) && cron_take(t, ')'))) {
            return false;
        }
    } else if (!all && !any) {
        if (field == CRON_DOM && cron_dom_special(t, c, &wrong)) { return true; }
        if (wrong || !cron_value(t, field, &from)) { return false; }
        if (field == CRON_DOW && cron_dow_special(t, c, from, &wrong)) { return true; }
        if (wrong) { return false; }
        one = !cron_take(t, '-');
        to = from;
        if (!one && !cron_to(t, field, from, &to)) { return false; }
    }
    const uint32_t end = one ? BASE_MAX(r->end, from) : to;
    const bool steps = !any && cron_take(t, '/');
    if (steps && !cron_positive(t, end - from + 1, &step)) { return false; }
    if (hashed) {
        const uint64_t hash = base_mix64(t->hash + (uint64_t)field);
        from += (uint32_t)(hash % (steps ? step : end - from + 1));
    }
    if (steps) { to = end; } else if (hashed) { to = from; }
    for (; from <= to; from += steps ? step : 1) { *bits |= (uint64_t)1 << from; }
    return true;
}

static bool cron_field(cron_text *t, int field, cron *c)
{
    const bool star = *t->at == '*' || *t->at == '?';
    uint64_t bits = 0;
    int items = 0;
    do {
        if (++items > CRON_ITEMS_MAX || !cron_item(t, field, c, &bits)) { return false; }
    } while (cron_take(t, ','));
    c->field[field] = field == CRON_DOW ? (bits | bits >> 7) & 127 : bits; /* 7 is Sunday */
    if (star && field == CRON_DOM) { c->flags |= CRON_DOM_STAR; }
    if (star && field == CRON_DOW) { c->flags |= CRON_DOW_STAR; }
    if (star && (field == CRON_MINUTE || field == CRON_HOUR)) { c->flags |= CRON_WILDCARD; }
    return true;
}

static bool cron_blank(cron_text *t)
{
    const char *start = t->at;
    while (*t->at == ' ' || *t->at == '\t') { t->at++; }
    return t->at > start;
}

/* Count the fields from here on. */
static int cron_field_count(cron_text t)
{
    int n = 0;
    for (; *t.at != '\0'; n++) {
        while (*t.at != '\0' && *t.at != ' ' && *t.at != '\t') { t.at++; }
        (void)cron_blank(&t);
    }
    return n;
}

/* Parse a duration: 90s, 1h30m, 2d. */
static bool cron_duration(cron_text *t, int64_t *ms)
{
    static const struct { char unit; int32_t ms; } units[] = {
        { 'd', 86400000 }, { 'h', 3600000 }, { 'm', 60000 }, { 's', 1000 }
    };
    size_t next = 0; /* units fall: each at most once */
    *ms = 0;
    do {
        uint32_t n;
        if (!cron_number(t, 999999999, &n)) { return false; }
        while (next < 4 && units[next].unit != cron_lower(*t->at)) { next++; }
        if (next == 4) { return false; }
        *ms += (int64_t)n * units[next++].ms;
        t->at++;
    } while (*t->at >= '0' && *t->at <= '9');
    return *ms >= 1000 && *ms <= CRON_EVERY_MAX_MS;
}

/* Return the fields that a word after '@' stands for; NULL: none. */
static const char *cron_alias(cron_text *t)
{
    static const struct { const char *word, *fields; } aliases[] = {
        { "yearly", "0 0 1 1 *" }, { "annually", "0 0 1 1 *" }, { "monthly", "0 0 1 * *" },
        { "weekly", "0 0 * * 0" }, { "daily", "0 0 * * *" }, { "midnight", "0 0 * * *" },
        { "hourly", "0 * * * *" }
    };
    for (size_t i = 0; i < sizeof aliases / sizeof aliases[0]; i++) {
        if (cron_word(t, aliases[i].word)) { return aliases[i].fields; }
    }
    return NULL;
}

static bool cron_fields_in(cron_text *t, cron *c)
{
    const int first = cron_field_count(*t) == 6 ? CRON_SECOND : CRON_MINUTE;
    c->field[CRON_SECOND] = 1;
    for (int field = first; field <= CRON_DOW; field++) {
        if ((field > first && !cron_blank(t)) || !cron_field(t, field, c)) { return false; }
    }
    return true;
}

/* Parse the fields, or a word that stands for them. */
static bool cron_times_in(cron_text *t, cron *c)
{
    if (!cron_take(t, '@')) { return cron_fields_in(t, c); }
    if (cron_word(t, "every")) { return cron_blank(t) && cron_duration(t, &c->every_ms); }
    cron_text fields = { .at = cron_alias(t) };
    return fields.at != NULL && cron_fields_in(&fields, c);
}

/* Take "CRON_TZ=zone " at the start. */
static bool cron_zone(cron_text *t, char zone[CRON_ZONE_MAX + 1])
{
    zone[0] = '\0';
    if (strncmp(t->at, "CRON_TZ=", 8) != 0) { return true; }
    t->at += 8;
    const size_t len = strcspn(t->at, " \t");
    if (len == 0 || len > CRON_ZONE_MAX) { return false; }
    memcpy(zone, t->at, len);
    zone[len] = '\0';
    t->at += len;
    return cron_blank(t);
}

/* ---- dates ---- */

static int cron_month_days(int64_t year, int month)
{
    const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 ? 28 + leap : 30 + ((month + (month > 7)) & 1);
}

/* Return the weekday, Monday to Friday, nearest to day `d` in the same month. `first`: weekday of
 * day 1. */
static int cron_nearest(int d, int days, int first)
{
    const int weekday = (first + d - 1) % 7;
    if (weekday == 6) { return d > 1 ? d - 1 : d + 2; }
    if (weekday == 0) { return d < days ? d + 1 : d - 2; }
    return d;
}

/* Return the days of a month that match, as bits 1..31. */
static uint32_t cron_days(const cron *c, int64_t year, int month)
{
    const int days = cron_month_days(year, month);
    const int64_t number = base_days_of(year, month, 1) + 4; /* 1970-01-01 was a Thursday */
    const int first = (int)(number - base_floor_div(number, 7) * 7);
    const uint32_t all = (uint32_t)((((uint64_t)1 << days) - 1) << 1);
    uint32_t dom = (uint32_t)c->field[CRON_DOM] & all, dow = 0;
    for (int n = 0; n < days; n++) {
        if ((c->before_last >> n & 1) != 0) { dom |= (uint32_t)1 << (days - n); }
    }
    for (int n = 0; n <= days && c->near != 0; n++) {
        if ((c->near >> n & 1) != 0) {
            dom |= (uint32_t)1 << cron_nearest(n != 0 ? n : days, days, first);
        }
    }
    for (int d = 1; d <= days; d++) {
        const int weekday = (first + d - 1) % 7;
        const bool hit = (c->field[CRON_DOW] >> weekday & 1) != 0 ||
                         (c->nth >> (7 * ((d - 1) / 7) + weekday) & 1) != 0 ||
                         ((c->last >> weekday & 1) != 0 && d + 7 > days);
        dow |= (uint32_t)hit << d;
    }
    const bool both = (c->flags & (CRON_DOM_STAR | CRON_DOW_STAR | CRON_DAY_AND)) != 0;
    return both ? dom & dow : dom | dow;
}

/* Return whether some month of 100 years has a day that matches. */
static bool cron_ever(const cron *c)
{
    for (int month = 0; month < 12 * CRON_YEARS; month++) {
        if ((c->field[CRON_MONTH] >> (month % 12 + 1) & 1) != 0 &&
            cron_days(c, 2000 + month / 12, month % 12 + 1) != 0) {
            return true;
        }
    }
    return false;
}

CELLAR_PRIVATE cellar_err cron_parse(const char *expr, uint64_t hash, uint32_t flags, cron *out,
                                     char zone[CRON_ZONE_MAX + 1], cron_fault *fault)
{
    cron_text t = { expr, expr, hash, NULL };
    *fault = (cron_fault){ 0, NULL };
    *out = (cron){ .flags = flags };
    zone[0] = '\0';
    if (strnlen(expr, CELLAR_CRON_MAX + 1) > CELLAR_CRON_MAX) {
        fault->column = CELLAR_CRON_MAX + 1;
        return CELLAR_E_TOOBIG;
    }
    (void)cron_blank(&t);
    if (cron_zone(&t, zone) && cron_times_in(&t, out)) {
        (void)cron_blank(&t);
        if (*t.at == '\0') {
            return out->every_ms != 0 || cron_ever(out) ? CELLAR_OK : CELLAR_E_NEVER;
        }
    }
    fault->column = (uint32_t)(t.at - t.start) + 1;
    fault->rule = t.rule != NULL ? t.rule : "five or six fields, or @daily and the like";
    return CELLAR_E_INVAL;
}

BASE_SIZE_END

/* ---- next ---- */

/* Return the lowest bit of `bits` from `from` on; -1: none. */
static int cron_bit_from(uint64_t bits, int from)
{
    bits = from < 64 ? bits >> from << from : 0;
    return bits != 0 ? __builtin_ctzll(bits) : -1;
}

/* Return the first second of a day that matches, from `from` on; -1: none. */
static int cron_time_from(const cron *c, int from)
{
    const uint64_t *f = c->field;
    int hour = from / 3600, minute = from / 60 % 60, second = from % 60;
    const int h = cron_bit_from(f[CRON_HOUR], hour);
    if (h < 0) { return -1; }
    if (h > hour) { minute = second = 0; }
    int m = cron_bit_from(f[CRON_MINUTE], minute);
    if (m > minute) { second = 0; }
    int s = m >= 0 ? cron_bit_from(f[CRON_SECOND], second) : -1;
    if (m >= 0 && s < 0) { /* the next minute of this hour */
        m = cron_bit_from(f[CRON_MINUTE], m + 1);
        s = cron_bit_from(f[CRON_SECOND], 0);
    }
    if (m >= 0) { return h * 3600 + m * 60 + s; }
    hour = cron_bit_from(f[CRON_HOUR], h + 1);
    if (hour < 0) { return -1; }
    return hour * 3600 + cron_bit_from(f[CRON_MINUTE], 0) * 60 + cron_bit_from(f[CRON_SECOND], 0);
}

/* Return the first civil second of [from, to) that matches; INT64_MAX: none. */
static int64_t cron_first(const cron *c, int64_t from, int64_t to)
{
    int64_t year, day = base_floor_div(from, CRON_DAY_S);
    int month, d;
    int time = cron_time_from(c, (int)(from - day * CRON_DAY_S));
    if (time < 0) { /* not on this day any more */
        time = cron_time_from(c, 0);
        day++;
    }
    base_date_of(day, &year, &month, &d);
    for (int64_t first = day - d + 1; first * CRON_DAY_S < to; d = 1) {
        const bool in = (c->field[CRON_MONTH] >> month & 1) != 0;
        const uint32_t days = in ? cron_days(c, year, month) : 0;
        const int hit = cron_bit_from(days, d);
        if (hit >= 0) {
            if (first + hit - 1 != day) { time = cron_time_from(c, 0); }
            const int64_t at = (first + hit - 1) * CRON_DAY_S + time;
            return at < to ? at : INT64_MAX;
        }
        first += cron_month_days(year, month);
        month = month % 12 + 1;
        year += month == 1;
    }
    return INT64_MAX;
}

/* Return the first instant in the stretch `s`, from `from_s` on. `before` ends where `s` begins;
 * `offset_after` holds after it. s->to_s is finite. */
static int64_t cron_in_stretch(const cron *c, const base_tz_stretch *before,
                               const base_tz_stretch *s, int32_t offset_after, int64_t from_s)
{
    int64_t from = from_s + s->offset_s, to = s->to_s + s->offset_s;
    if ((c->flags & CRON_WILDCARD) == 0) {
        const int32_t moved = s->offset_s - before->offset_s; /* > 0: a gap; < 0: a fold */
        const int64_t civil = s->from_s != INT64_MIN ? s->from_s + s->offset_s : 0;
        if (moved > 0 && moved <= CRON_SHIFT_MAX_S && from_s == s->from_s &&
            (c->flags & CRON_GAP_SKIP) == 0 &&
            cron_first(c, civil - moved, civil) != INT64_MAX) {
            return s->from_s;
        }
        if (moved < 0 && moved >= -CRON_SHIFT_MAX_S &&
            (c->flags & (CRON_FOLD_SECOND | CRON_FOLD_BOTH)) == 0) {
            from = BASE_MAX(from, civil - moved);
        }
        const int32_t back = s->offset_s - offset_after;
        if (back > 0 && back <= CRON_SHIFT_MAX_S && (c->flags & CRON_FOLD_SECOND) != 0) {
            to -= back;
        }
    }
    const int64_t at = cron_first(c, from, to);
    return at != INT64_MAX ? at - s->offset_s : at;
}

CELLAR_PRIVATE int64_t cron_next(const cron *c, const base_tz *zone, int64_t after_s)
{
    const int64_t end_s = after_s + (int64_t)CRON_YEARS * 36525 / 100 * CRON_DAY_S;
    base_tz_stretch before, s, after;
    int64_t from_s = after_s + 1;
    base_tz_at(zone, from_s, &s);
    before = s;
    if (s.from_s != INT64_MIN) { base_tz_at(zone, s.from_s - 1, &before); }
    while (from_s < end_s) {
        after = s;
        if (s.to_s != INT64_MAX) { base_tz_at(zone, s.to_s, &after); }
        base_tz_stretch most = s;
        most.to_s = BASE_MIN(s.to_s, end_s);
        const int64_t at = cron_in_stretch(c, &before, &most, after.offset_s, from_s);
        if (at != INT64_MAX) { return at; }
        if (s.to_s == INT64_MAX) { break; }
        from_s = s.to_s;
        before = s;
        s = after;
    }
    return INT64_MAX;
}

/* ---- calls ---- */

BASE_SIZE_BEGIN

CELLAR_PRIVATE uint64_t cron_hash(const char *name, size_t len)
{
    static const unsigned char secret[32] = { 0 };
    base_hash_key key;
    base_hash_key_init(&key, BASE_HASH_FOLD, secret);
    return base_hash(&key, 0, name, len);
}

CELLAR_PRIVATE cellar_err cron_opts_in(const cellar_cron_opts *o, cellar_cron_opts *full,
                                       uint32_t *flags)
{
    *full = cellar_cron_opts_default();
    const cellar_err err = o != NULL ? base_opts_in(full, sizeof *full, o) : CELLAR_OK;
    if (err != CELLAR_OK) { return err; }
    if ((unsigned)full->gap > CELLAR_CRON_GAP_SKIP ||
        (unsigned)full->fold > CELLAR_CRON_FOLD_BOTH || full->day_and > 1) {
        return CELLAR_E_INVAL;
    }
    if (full->reserved0 != 0) { return CELLAR_E_UNSUPPORTED; }
    *flags = (full->gap == CELLAR_CRON_GAP_SKIP ? CRON_GAP_SKIP : 0u) |
             (full->fold == CELLAR_CRON_FOLD_SECOND ? CRON_FOLD_SECOND : 0u) |
             (full->fold == CELLAR_CRON_FOLD_BOTH ? CRON_FOLD_BOTH : 0u) |
             (full->day_and != 0 ? CRON_DAY_AND : 0u);
    return CELLAR_OK;
}

CELLAR_PRIVATE int64_t cron_next_ms(const cron *c, const base_tz *zone, int64_t after_ms)
{
    if (c->every_ms != 0) { return base_add_sat(after_ms, c->every_ms); }
    const int64_t at = cron_next(c, zone, base_floor_div(after_ms, 1000));
    return at != INT64_MAX ? at * 1000 : INT64_MAX;
}

CELLAR_API cellar_err cellar_cron_next(const char *expr, const char *zone,
                                       const cellar_cron_opts *o, int64_t after_wall_ms,
                                       int64_t *out, size_t count, size_t *found)
{
    cron c;
    cellar_cron_opts full;
    char own[CRON_ZONE_MAX + 1];
    uint32_t flags;
    cron_fault fault;
    base_tz *z;
    if (found != NULL) { *found = 0; }
    if (expr == NULL || found == NULL || (out == NULL && count != 0)) { return CELLAR_E_INVAL; }
    if (after_wall_ms < 0 || after_wall_ms > CRON_WALL_MAX_MS) { return CELLAR_E_RANGE; }
    cellar_err err = cron_opts_in(o, &full, &flags);
    if (err != CELLAR_OK) { return err; }
    const char *name = full.hash_name != NULL ? full.hash_name : "";
    err = cron_parse(expr, cron_hash(name, strlen(name)), flags, &c, own, &fault);
    if (err != CELLAR_OK) {
        if (err == CELLAR_E_INVAL) { *found = fault.column; }
        return err;
    }
    err = base_tz_open(NULL, own[0] != '\0' ? own : zone, &z);
    if (err != CELLAR_OK) { return err; }
    int64_t at = after_wall_ms;
    while (*found < count && (at = cron_next_ms(&c, z, at)) != INT64_MAX) { out[(*found)++] = at; }
    base_tz_close(z);
    return *found != 0 || count == 0 ? CELLAR_OK : CELLAR_E_NEVER;
}

BASE_SIZE_END
