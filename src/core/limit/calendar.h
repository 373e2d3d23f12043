/* SPDX-License-Identifier: MIT
 *
 * calendar: periods of fixed windows; the rules of a limiter at one reading of the clock. */
#ifndef LIMIT_CALENDAR_H
#define LIMIT_CALENDAR_H

#include "limit/table.h"

CELLAR_PRIVATE uint64_t limit_wall_ms(const cellar_limiter *l);
/* Read the wall clock if that is due. Caller holds no lock: the clock may be the host's. */
CELLAR_PRIVATE void limit_calendar_look(cellar_limiter *l, uint64_t now_ns);
/* Compute the period of a calendar that contains `wall_s`: [start, next), UTC seconds. */
CELLAR_PRIVATE void limit_period(const base_tz *zone, uint32_t calendar, int64_t wall_s,
                                 int64_t *start_s, int64_t *next_s);
CELLAR_PRIVATE void limit_at_of(cellar_limiter *l, const _Atomic uint64_t *set,
                                const limit_rule *r, uint64_t now_ns, uint64_t units,
                                limit_at *out);
/* Load the rules of a set, or those of `own`, at a reading of the clock. NULL: no own rules. */
CELLAR_PRIVATE void limit_moment_of(cellar_limiter *l, const _Atomic uint64_t *set,
                                    const limit_rule *own, uint64_t now_ns, limit_moment *out);

#endif
