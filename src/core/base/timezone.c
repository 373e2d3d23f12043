/* SPDX-License-Identifier: MIT
 *
 * timezone: read time zones (TZif, RFC 9636) and return the offset that holds at an instant.
 *
 * FORMAT     file: version 1 block (skipped) | header, times, types of the 64-bit block | footer
 * PICTURE    zone: at[0] < at[1] < ... < at[n-1]; offset[i] holds from at[i] to at[i+1]; before
 *            at[0] the first type; after at[n-1] the rule of the footer, year by year
 *            base_tz_at: binary search; after the last time compute and scan the switches of the
 *            years around
 * INVARIANTS Times ascend; offsets are within 26 hours of UTC; counts fit the file. Every field is
 *            checked before use, because a zone file is untrusted input.
 * LIMITS     Files up to 256 KiB. Leap seconds ("right/" zones) are ignored. Version 1 files, which
 *            end in 2038, are refused.
 * SOURCE     RFC 9636; POSIX, "TZ". Days from dates by 400-year eras. Own code. */
#include "base/timezone.h"

#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/num.h"

BASE_SIZE_BEGIN

#define BASE_TZ_FILE_MAX ((size_t)256 << 10)
#define BASE_TZ_OFFSET_MAX (26 * 3600)
#define BASE_TZ_DAY 86400

/* One of the two switches of a footer: day of the year, and local second of that day. */
typedef struct base_tz_switch {
    char form;             /* 'M' month.week.day, 'J' day without February 29, 'N' day from 0 */
    int month, week, day;  /* forms J and N use only day */
    int32_t second;        /* local, -167 h .. 167 h */
} base_tz_switch;

struct base_tz {
    base_alloc_hooks hooks;
    size_t bytes;          /* of this block */
    uint32_t count;        /* of times */
    int32_t before;        /* offset before the first time */
    bool has_rule, has_dst; /* the zone has a footer; the footer has daylight saving */
    int32_t standard, daylight; /* offsets of the footer */
    base_tz_switch begin, end;  /* of daylight saving */
    int64_t *at;           /* follows this struct in its block */
    int32_t *offset;
};

/* ---- dates ---- */

CELLAR_PRIVATE int64_t base_days_of(int64_t year, int month, int day)
{
    const int64_t y = month > 2 ? year : year - 1; /* years begin in March */
    const int64_t era = base_floor_div(y, 400);
    const int64_t in_era = y - era * 400;
    const int64_t m = month > 2 ? month - 3 : month + 9;
    return era * 146097 + in_era * 365 + in_era / 4 - in_era / 100 + (153 * m + 2) / 5 +
           (day - 1) - 719468;
}

CELLAR_PRIVATE void base_date_of(int64_t days, int64_t *year, int *month, int *day)
{
    const int64_t z = days + 719468;
    const int64_t era = base_floor_div(z, 146097);
    const int64_t d = z - era * 146097; /* 0..146096 */
    const int64_t y = (d - d / 1460 + d / 36524 - d / 146096) / 365;
    const int64_t in_year = d - (365 * y + y / 4 - y / 100);
    const int64_t m = (5 * in_year + 2) / 153;
    *day = (int)(in_year - (153 * m + 2) / 5 + 1);
    *month = (int)(m < 10 ? m + 3 : m - 9);
    *year = y + era * 400 + (*month <= 2);
}

static bool base_leap_year(int64_t y) { return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0; }

/* ---- the footer: std offset [dst [offset] , begin [/time] , end [/time]] ---- */

typedef struct base_tz_text {
    const char *at, *end;
} base_tz_text;

static bool base_tz_take(base_tz_text *t, char c)
{
    if (t->at == t->end || *t->at != c) { return false; }
    t->at++;
    return true;
}

static bool base_tz_number(base_tz_text *t, int most, int *out)
{
    int n = 0, digits = 0;
    for (; t->at < t->end && *t->at >= '0' && *t->at <= '9' && digits < 4; t->at++, digits++) {
        n = n * 10 + (*t->at - '0');
    }
    *out = n;
    return digits > 0 && n <= most;
}

static bool base_tz_word(base_tz_text *t)
{
    const char *start = t->at;
    if (base_tz_take(t, '<')) {
        while (t->at < t->end && *t->at != '>') { t->at++; }
        return base_tz_take(t, '>');
    }
    while (t->at < t->end && ((*t->at | 32) >= 'a' && (*t->at | 32) <= 'z')) { t->at++; }
    return t->at - start >= 3;
}

/* Parse [+-]h[:m[:s]] into seconds. */
static bool base_tz_clock(base_tz_text *t, int most_hours, int32_t *out)
{
    int h = 0, m = 0, s = 0;
    const bool minus = base_tz_take(t, '-');
    if (!minus) { (void)base_tz_take(t, '+'); }
    if (!base_tz_number(t, most_hours, &h)) { return false; }
    if (base_tz_take(t, ':') && !base_tz_number(t, 59, &m)) { return false; }
    if (base_tz_take(t, ':') && !base_tz_number(t, 59, &s)) { return false; }
    *out = h * 3600 + m * 60 + s;
    if (minus) { *out = -*out; }
    return true;
}

static bool base_tz_when(base_tz_text *t, base_tz_switch *w)
{
    memset(w, 0, sizeof *w);
    if (!base_tz_take(t, ',')) { return false; }
    if (base_tz_take(t, 'M')) {
        w->form = 'M';
        if (!base_tz_number(t, 12, &w->month) || w->month < 1 || !base_tz_take(t, '.') ||
            !base_tz_number(t, 5, &w->week) || w->week < 1 || !base_tz_take(t, '.') ||
            !base_tz_number(t, 6, &w->day)) {
            return false;
        }
    } else {
        w->form = base_tz_take(t, 'J') ? 'J' : 'N';
        if (!base_tz_number(t, 365, &w->day) || (w->form == 'J' && w->day < 1)) { return false; }
    }
    w->second = 7200;
    return !base_tz_take(t, '/') || base_tz_clock(t, 167, &w->second);
}

static bool base_tz_footer(base_tz *z, const char *text, size_t len)
{
    base_tz_text t = { text, text + len };
    int32_t west = 0;
    z->has_rule = len > 0;
    if (len == 0) { return true; }
    if (!base_tz_word(&t) || !base_tz_clock(&t, 24, &west)) { return false; }
    z->standard = -west;
    if (t.at == t.end) { return true; }
    if (!base_tz_word(&t)) { return false; }
    z->has_dst = true;
    z->daylight = z->standard + 3600;
    if (t.at < t.end && *t.at != ',') {
        if (!base_tz_clock(&t, 24, &west)) { return false; }
        z->daylight = -west;
    }
    return base_tz_when(&t, &z->begin) && base_tz_when(&t, &z->end) && t.at == t.end;
}

/* Return the instant of a switch in `year`. `offset` holds before it. */
static int64_t base_tz_instant(const base_tz_switch *w, int64_t year, int32_t offset)
{
    int64_t day;
    if (w->form == 'M') {
        const int64_t first = base_days_of(year, w->month, 1);
        const int64_t weekday = base_floor_div(first + 4, 7) * 7; /* Sunday up to the first */
        int64_t d = weekday - 4 + w->day;
        if (d < first) { d += 7; }
        d += (int64_t)(w->week - 1) * 7;
        const int64_t next = w->month == 12 ? base_days_of(year + 1, 1, 1)
                                            : base_days_of(year, w->month + 1, 1);
        while (d >= next) { d -= 7; }
        day = d;
    } else if (w->form == 'J') {
        day = base_days_of(year, 1, 1) + w->day - 1 + (base_leap_year(year) && w->day >= 60);
    } else {
        day = base_days_of(year, 1, 1) + w->day;
    }
    return day * BASE_TZ_DAY + w->second - offset;
}

/* ---- reading a file ---- */

static uint32_t base_tz_be4(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int64_t base_tz_be8(const unsigned char *p)
{
    return (int64_t)((uint64_t)base_tz_be4(p) << 32 | base_tz_be4(p + 4));
}

typedef struct base_tz_head {
    uint32_t isut, isstd, leap, time, type, chars;
} base_tz_head;

static bool base_tz_head_read(const unsigned char *p, size_t len, base_tz_head *h)
{
    if (len < 44 || memcmp(p, "TZif", 4) != 0 || p[4] < '2') { return false; }
    h->isut = base_tz_be4(p + 20);
    h->isstd = base_tz_be4(p + 24);
    h->leap = base_tz_be4(p + 28);
    h->time = base_tz_be4(p + 32);
    h->type = base_tz_be4(p + 36);
    h->chars = base_tz_be4(p + 40);
    const uint32_t most = (uint32_t)BASE_TZ_FILE_MAX;
    return h->isut <= most && h->isstd <= most && h->leap <= most && h->time <= most &&
           h->type >= 1 && h->type <= 256 && h->chars <= most;
}

/* Return the bytes of a block without its header. Each factor is at most 2^18, so no sum overflows
 * 64 bits. */
static uint64_t base_tz_block(const base_tz_head *h, unsigned time_bytes)
{
    return (uint64_t)h->time * (time_bytes + 1) + (uint64_t)h->type * 6 + h->chars +
           (uint64_t)h->leap * (time_bytes + 4) + h->isstd + h->isut;
}

static base_tz *base_tz_new(const base_alloc_hooks *h, uint32_t count)
{
    const size_t bytes = sizeof(base_tz) + (size_t)count * (sizeof(int64_t) + sizeof(int32_t));
    base_tz *z = base_alloc_raw(h, bytes);
    if (z == NULL) { return NULL; }
    memset(z, 0, bytes);
    if (h != NULL) { z->hooks = *h; }
    z->bytes = bytes;
    z->count = count;
    z->at = (int64_t *)(void *)(z + 1);
    z->offset = (int32_t *)(void *)(z->at + count);
    return z;
}

static bool base_tz_fill(base_tz *z, const base_tz_head *h, const unsigned char *p)
{
    const unsigned char *kind = p + (size_t)h->time * 8, *type = kind + h->time;
    for (uint32_t i = 0; i < h->type; i++) {
        const int32_t offset = (int32_t)base_tz_be4(type + (size_t)i * 6);
        if (offset < -BASE_TZ_OFFSET_MAX || offset > BASE_TZ_OFFSET_MAX) { return false; }
    }
    z->before = (int32_t)base_tz_be4(type);
    for (uint32_t i = 0; i < h->time; i++) {
        z->at[i] = base_tz_be8(p + (size_t)i * 8);
        if (kind[i] >= h->type || (i > 0 && z->at[i] <= z->at[i - 1])) { return false; }
        z->offset[i] = (int32_t)base_tz_be4(type + (size_t)kind[i] * 6);
    }
    return true;
}

CELLAR_PRIVATE cellar_err base_tz_parse(const base_alloc_hooks *hooks, const unsigned char *bytes,
                                        size_t len, base_tz **out)
{
    base_tz_head h;
    *out = NULL;
    if (!base_tz_head_read(bytes, len, &h)) { return CELLAR_E_CORRUPT; }
    const uint64_t first = 44 + base_tz_block(&h, 4);
    if (first > len || !base_tz_head_read(bytes + first, len - (size_t)first, &h)) {
        return CELLAR_E_CORRUPT;
    }
    const uint64_t foot = first + 44 + base_tz_block(&h, 8);
    if (foot + 2 > len || bytes[foot] != '\n') { return CELLAR_E_CORRUPT; }
    const char *text = (const char *)bytes + foot + 1;
    const char *end = memchr(text, '\n', len - (size_t)foot - 1);
    if (end == NULL) { return CELLAR_E_CORRUPT; }
    base_tz *z = base_tz_new(hooks, h.time);
    if (z == NULL) { return CELLAR_E_NOMEM; }
    if (!base_tz_fill(z, &h, bytes + first + 44) ||
        !base_tz_footer(z, text, (size_t)(end - text))) {
        base_tz_close(z);
        return CELLAR_E_CORRUPT;
    }
    *out = z;
    return CELLAR_OK;
}

static bool base_tz_name_ok(const char *name)
{
    if (*name == '/' || strlen(name) > 128 || strstr(name, "..") != NULL) { return false; }
    for (const char *p = name; *p != '\0'; p++) {
        const bool letter = (*p | 32) >= 'a' && (*p | 32) <= 'z';
        if (!letter && !(*p >= '0' && *p <= '9') && strchr("_+-/", *p) == NULL) { return false; }
    }
    return true;
}

static cellar_err base_tz_file(const base_alloc_hooks *h, const char *name, base_tz **out)
{
    const char *dir = getenv("TZDIR");
    if (dir == NULL || *dir != '/') { dir = "/usr/share/zoneinfo"; }
    const int folder = base_fault_io("open") != 0
                           ? -1 : base_fd_open(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY);
    if (folder < 0) { return CELLAR_E_NOT_FOUND; }
    cellar_err result = CELLAR_E_NOMEM;
    unsigned char *bytes = base_alloc_raw(h, BASE_TZ_FILE_MAX);
    if (bytes != NULL) {
        size_t len;
        const int failed = base_fd_read_file(folder, name, bytes, BASE_TZ_FILE_MAX, &len);
        result = failed != 0 ? CELLAR_E_NOT_FOUND : base_tz_parse(h, bytes, len, out);
    }
    base_fd_close(folder);
    base_free_raw(h, bytes, BASE_TZ_FILE_MAX);
    return result;
}

CELLAR_PRIVATE cellar_err base_tz_open(const base_alloc_hooks *h, const char *name, base_tz **out)
{
    *out = NULL;
    const bool fixed = name != NULL && (*name == '+' || *name == '-');
    if (name == NULL || *name == '\0' || fixed || strcmp(name, "UTC") == 0) {
        int32_t offset = 0;
        if (fixed) {
            base_tz_text t = { name, name + strlen(name) };
            if (!base_tz_clock(&t, 26, &offset) || t.at != t.end) { return CELLAR_E_NOT_FOUND; }
        }
        base_tz *z = base_tz_new(h, 0);
        if (z == NULL) { return CELLAR_E_NOMEM; }
        z->before = offset;
        *out = z;
        return CELLAR_OK;
    }
    return base_tz_name_ok(name) ? base_tz_file(h, name, out) : CELLAR_E_NOT_FOUND;
}

CELLAR_PRIVATE void base_tz_close(base_tz *z)
{
    if (z == NULL) { return; }
    const base_alloc_hooks hooks = z->hooks;
    base_free_raw(hooks.alloc != NULL ? &hooks : NULL, z, z->bytes);
}

CELLAR_PRIVATE size_t base_tz_bytes(const base_tz *z) { return z != NULL ? z->bytes : 0; }

/* ---- queries ---- */

/* Narrow the stretch after the last time by the switches of the years around, in order. A rule may
 * put a switch up to a week outside its year. Of two switches at one instant (permanent daylight
 * saving) the later one holds. */
static void base_tz_ruled(const base_tz *z, int64_t utc_s, base_tz_stretch *out)
{
    int64_t year, at[6];
    int32_t offset[6];
    int month, day, n = 0;
    base_date_of(base_floor_div(utc_s, BASE_TZ_DAY), &year, &month, &day);
    for (int64_t y = year - 1; y <= year + 1; y++) {
        const int64_t on = base_tz_instant(&z->begin, y, z->standard);
        const int64_t off = base_tz_instant(&z->end, y, z->daylight);
        for (int i = 0; i < 2; i++) {
            const bool begins = (on <= off) == (i == 0);
            const int64_t t = begins ? on : off;
            int k = n++;
            for (; k > 0 && at[k - 1] > t; k--) {
                at[k] = at[k - 1];
                offset[k] = offset[k - 1];
            }
            at[k] = t;
            offset[k] = begins ? z->daylight : z->standard;
        }
    }
    for (int k = 0; k < n; k++) {
        if (at[k] > utc_s) {
            out->to_s = BASE_MIN(out->to_s, at[k]);
            return;
        }
        if (at[k] >= out->from_s) {
            out->from_s = at[k];
            out->offset_s = offset[k];
        }
    }
}

CELLAR_PRIVATE void base_tz_at(const base_tz *z, int64_t utc_s, base_tz_stretch *out)
{
    uint32_t lo = 0, hi = z->count; /* at[lo - 1] <= utc_s < at[hi] */
    while (lo < hi) {
        const uint32_t mid = lo + (hi - lo) / 2;
        if (z->at[mid] <= utc_s) { lo = mid + 1; } else { hi = mid; }
    }
    out->from_s = lo > 0 ? z->at[lo - 1] : INT64_MIN;
    out->to_s = lo < z->count ? z->at[lo] : INT64_MAX;
    out->offset_s = lo > 0 ? z->offset[lo - 1] : z->before;
    if (lo < z->count || !z->has_rule) { return; }
    if (!z->has_dst) {
        if (z->count == 0) { out->offset_s = z->standard; }
        return;
    }
    base_tz_ruled(z, utc_s, out);
}

CELLAR_PRIVATE int64_t base_tz_first(const base_tz *z, int64_t local_s)
{
    base_tz_stretch s;
    int64_t at = local_s - 2 * BASE_TZ_OFFSET_MAX; /* certainly earlier */
    for (;;) {
        base_tz_at(z, at, &s);
        int64_t u = local_s - s.offset_s;
        if (u < s.from_s) { u = s.from_s; }
        if (u < s.to_s) { return u; }
        at = s.to_s;
    }
}

CELLAR_PRIVATE int64_t base_tz_daily(const base_tz *z, uint32_t minutes, int64_t after_ms)
{
    base_tz_stretch here;
    int64_t next_ms;
    const int64_t s = base_floor_div(after_ms, 1000);
    base_tz_at(z, s, &here);
    int64_t local_s = base_floor_div(s + here.offset_s, 86400) * 86400 + (int64_t)minutes * 60;
    do {
        next_ms = base_tz_first(z, local_s) * 1000;
        local_s += 86400;
    } while (next_ms <= after_ms);
    return next_ms;
}

/* Read two digits up to `most`; -1: others. */
static int base_tz_two_digits(const char *p, int most)
{
    const int high = p[0] - '0', low = p[1] - '0';
    if (high < 0 || high > 9 || low < 0 || low > 9) { return -1; }
    return high * 10 + low <= most ? high * 10 + low : -1;
}

CELLAR_PRIVATE int base_tz_minutes(const char *text, size_t len)
{
    if (len < 6 || text[2] != ':' || text[5] != '@') { return -1; }
    const int hour = base_tz_two_digits(text, 23), minute = base_tz_two_digits(text + 3, 59);
    return hour >= 0 && minute >= 0 ? hour * 60 + minute : -1;
}

BASE_SIZE_END
