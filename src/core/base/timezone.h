/* SPDX-License-Identifier: MIT
 *
 * timezone: time zones as stretches of constant offset, read from TZif files; civil dates.
 *
 * INVARIANTS Never reads the environment variable TZ or the local time of the C library. */
#ifndef BASE_TIMEZONE_H
#define BASE_TIMEZONE_H

#include "base/mem.h"
#include "base/port.h"
#include "cellar.h"

typedef struct base_tz base_tz;

/* Open the zone `name`: NULL, "" or "UTC"; "+08:00", "-03:30", "+5"; or a file below TZDIR or
 * /usr/share/zoneinfo. E_NOT_FOUND: no such zone, or not a valid name; E_CORRUPT: its file is
 * damaged; E_NOMEM. */
CELLAR_PRIVATE cellar_err base_tz_open(const base_alloc_hooks *h, const char *name, base_tz **out);
/* Make a zone from the bytes of a TZif file. */
CELLAR_PRIVATE cellar_err base_tz_parse(const base_alloc_hooks *h, const unsigned char *bytes,
                                        size_t len, base_tz **out);
CELLAR_PRIVATE void base_tz_close(base_tz *z); /* NULL accepted */
CELLAR_PRIVATE size_t base_tz_bytes(const base_tz *z); /* 0 for NULL */

typedef struct base_tz_stretch {
    int64_t from_s, to_s; /* UTC seconds since 1970, [from, to); INT64_MIN and INT64_MAX: open */
    int32_t offset_s;     /* local = UTC + offset */
} base_tz_stretch;

/* Find the stretch that contains `utc_s`. */
CELLAR_PRIVATE void base_tz_at(const base_tz *z, int64_t utc_s, base_tz_stretch *out);
/* Return the first instant of the zone with a local time of `local_s` or later. */
CELLAR_PRIVATE int64_t base_tz_first(const base_tz *z, int64_t local_s);
/* Return the first instant after `after_ms` at a time of day of the zone, both UNIX ms. */
CELLAR_PRIVATE int64_t base_tz_daily(const base_tz *z, uint32_t minutes, int64_t after_ms);
/* Read the time of day of "HH:MM@zone", in minutes; the zone begins at text + 6. -1: it is none. */
CELLAR_PRIVATE int base_tz_minutes(const char *text, size_t len);

/* Return the days from 1970-01-01 to a Gregorian date. month 1..12; day may be any number. */
CELLAR_PRIVATE int64_t base_days_of(int64_t year, int month, int day);
CELLAR_PRIVATE void base_date_of(int64_t days, int64_t *year, int *month, int *day);
BASE_INLINE int64_t base_floor_div(int64_t a, int64_t b) /* b > 0 */
{
    return a / b - (a % b < 0);
}

#endif
