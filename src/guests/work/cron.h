/* SPDX-License-Identifier: MIT
 *
 * cron: cron expressions, and the instants at which they fire in a time zone. */
#ifndef WORK_CRON_H
#define WORK_CRON_H

#include "base/timezone.h"
#include "cellar_schedule.h"

#define CRON_ZONE_MAX 128 /* bytes of the zone of CRON_TZ= */
#define CRON_WALL_MAX_MS INT64_C(253402300799999) /* end of the year 9999 */

typedef enum cron_flag {
    CRON_DOM_STAR = 1, /* day of month begins with '*' or '?': not restricted */
    CRON_DOW_STAR = 2,
    CRON_WILDCARD = 4, /* minute or hour begins with '*': follows the clock over its changes */
    CRON_DAY_AND = 8,  /* both days must match, also if both are restricted */
    CRON_GAP_SKIP = 16,
    CRON_FOLD_SECOND = 32,
    CRON_FOLD_BOTH = 64
} cron_flag;

enum { CRON_SECOND, CRON_MINUTE, CRON_HOUR, CRON_DOM, CRON_MONTH, CRON_DOW, CRON_FIELDS };

typedef struct cron {
    uint64_t field[CRON_FIELDS]; /* bit n: value n; weekday 0: Sunday */
    uint64_t nth;            /* bit 7 * (n - 1) + weekday: nth weekday of the month, d#n */
    int64_t every_ms;        /* not 0: @every, and no field counts */
    uint32_t before_last;    /* bit n: L-n, n days before the last day of the month */
    uint32_t near;           /* bit n: nW, weekday nearest to day n; bit 0: LW */
    uint8_t last;            /* bit n: last weekday n of the month, dL */
    uint32_t flags;          /* cron_flag */
} cron;

typedef struct cron_fault {
    uint32_t column;  /* of the first error, from 1; 0: none */
    const char *rule; /* that it broke; with E_INVAL alone */
} cron_fault;

/* Parse an expression of at most CELLAR_CRON_MAX bytes. `hash` chooses the values of H. zone[]
 * receives the zone of CRON_TZ=, or "". Return OK, E_TOOBIG, E_INVAL, or E_NEVER: the expression
 * matches no date. */
CELLAR_PRIVATE cellar_err cron_parse(const char *expr, uint64_t hash, uint32_t flags, cron *out,
                                     char zone[CRON_ZONE_MAX + 1], cron_fault *fault);
/* Return the first instant after `after_s`, in UTC seconds; INT64_MAX: none in 100 years. */
CELLAR_PRIVATE int64_t cron_next(const cron *c, const base_tz *zone, int64_t after_s);
/* Return the same in milliseconds, for @every as well. */
CELLAR_PRIVATE int64_t cron_next_ms(const cron *c, const base_tz *zone, int64_t after_ms);
/* Copy the caller's options and turn them into flags. */
CELLAR_PRIVATE cellar_err cron_opts_in(const cellar_cron_opts *o, cellar_cron_opts *full,
                                       uint32_t *flags);
/* Hash a name or a key: the same value in every process. */
CELLAR_PRIVATE uint64_t cron_hash(const char *name, size_t len);

#endif
