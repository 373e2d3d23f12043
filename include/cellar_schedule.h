/* SPDX-License-Identifier: MIT
 *
 * cellar_schedule: cron expressions and their instants in any time zone.
 *
 * CALL PATTERN
 *     #include "cellar_schedule.h"    (drop-in: part of its "cellar.h")
 *     int64_t next[5];
 *     size_t n;
 *     cellar_cron_next("0 9 * * MON-FRI", "Asia/Shanghai", NULL, now_wall_ms, next, 5, &n);
 *
 * TIMES   UNIX milliseconds; the resolution is 1 s. The environment variable TZ plays no role.
 * MORE    CRON EXPRESSIONS and CLOCK CHANGES stand at the end of this file. */
#ifndef CELLAR_SCHEDULE_H
#define CELLAR_SCHEDULE_H

#include "cellar.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Cron expressions ----------------------------------------------------------------------- */

#define CELLAR_CRON_MAX 255u /* bytes of an expression */

/* What happens to a fixed time that the zone skips in spring. */
typedef enum cellar_cron_gap {
    CELLAR_CRON_GAP_RUN = 0, /* fires once, at the first instant after the gap */
    CELLAR_CRON_GAP_SKIP = 1
} cellar_cron_gap;

/* What happens to a fixed time that occurs twice in autumn. */
typedef enum cellar_cron_fold {
    CELLAR_CRON_FOLD_FIRST = 0,
    CELLAR_CRON_FOLD_SECOND = 1,
    CELLAR_CRON_FOLD_BOTH = 2
} cellar_cron_fold;

/* Options of a cron expression. Start from cellar_cron_opts_default(). */
typedef struct cellar_cron_opts {
    size_t   struct_size;
    const char *hash_name;   /* chooses the values of H. Default: name of the schedule, or ""     */
    cellar_cron_gap  gap;    /* Default GAP_RUN                                                   */
    cellar_cron_fold fold;   /* Default FOLD_FIRST                                                */
    uint32_t day_and;        /* 1: day of month and weekday must both match. Default 0: either    */
    uint32_t reserved0;      /* must be 0                                                         */
} cellar_cron_opts;
CELLAR_STRUCT(cellar_cron_opts, reserved0);

/* Check a cron expression.
 * in:      expr to CELLAR_CRON_MAX bytes
 * out:     *column: of the first error, from 1; 0 without one; NULL is allowed
 * returns: OK; E_INVAL (*column has the place), E_TOOBIG (over CELLAR_CRON_MAX bytes), E_NEVER (the
 *          expression matches no date)
 * thread:  any
 * cost:    O(length)
 * example:
 *     uint32_t column;
 *     if (cellar_cron_parse("0 2 * * 1", &column) != CELLAR_OK) printf("column %u", column);     */
CELLAR_API cellar_err cellar_cron_parse(const char *expr, uint32_t *column);

/* Compute the next instants of a cron expression.
 * in:      expr as cellar_cron_parse; zone: NULL or "UTC", "+08:00", or a name of the zone
 *          database such as "Europe/Berlin" (CRON_TZ= in the expression wins); o NULL = defaults;
 *          after_wall_ms in the years 1970..9999; out has room for `count`
 * out:     out[0] < out[1] < ..: instants after after_wall_ms, in ms; *found of them
 * returns: OK (also with fewer than count); E_NEVER (none within 100 years), E_INVAL, E_TOOBIG,
 *          E_RANGE (after_wall_ms), E_NOT_FOUND (unknown zone), E_CORRUPT (damaged zone file),
 *          E_NOMEM, E_UNSUPPORTED
 * thread:  any
 * cost:    reads the zone file; under 1 us for each instant
 * example:
 *     int64_t next;
 *     size_t n;
 *     cellar_cron_next("30 2 * * *", "Europe/Berlin", NULL, now_wall_ms, &next, 1, &n);          */
CELLAR_API cellar_err cellar_cron_next(const char *expr, const char *zone,
                                       const cellar_cron_opts *o, int64_t after_wall_ms,
                                       int64_t *out, size_t count, size_t *found);

/* CRON EXPRESSIONS
 *     expr  = ["CRON_TZ=" zone] ( 5 fields | 6 fields, seconds first ) | @yearly @annually @monthly
 *             @weekly @daily @midnight @hourly | @every DUR        DUR: 90s, 1h30m, 2d; from 1s
 *     field = item {"," item}, at most 64
 *     item  = "*" ["/" n] | "?" | a ["-" b] ["/" n] | "H" ["(" a "-" b ")"] ["/" n]
 *     seconds, minutes 0-59   hours 0-23   day of month 1-31, L, L-n, nW, LW   month 1-12, JAN-DEC
 *     weekday 0-7 (0 and 7: Sunday), SUN-SAT, d#1 to d#5, dL
 *   Letters have no case. a/n counts from a to the end of the field. ? is * in the two day fields.
 *   L: last day; L-n: n days before it; nW: weekday (Monday to Friday) nearest to day n in the same
 *   month; LW: the last one; d#n: nth weekday d of the month; dL: the last one. H: a value, or with
 *   /n an offset, that the name chooses: the same in every process.
 *   Day rule: a day field that begins with * or ? does not restrict. If both restrict, a day
 *   matches by either of them (option day_and: by both).
 *
 * CLOCK CHANGES
 *   Daylight saving, for changes up to 3 hours. A job with a minute or hour field that begins with
 *   * follows the clock: an hour that occurs twice counts twice, a skipped hour not at all. Any
 *   other job has fixed times: option gap says what a skipped time does, option fold what a time
 *   does that occurs twice. A larger change of the zone is a correction: the expression continues
 *   on the new clock.
 */

#ifdef __cplusplus
}
#endif

#endif
