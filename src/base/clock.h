/* SPDX-License-Identifier: MIT
 *
 * clock: int64 milliseconds on the boot-time scale (CLOCK_BOOTTIME: suspend counts as time passed).
 *
 * A store owns one base_clock. `coarse` may lag behind `precise` by up to BASE_COARSE_LAG_MS and
 * costs 2.5 ns against 20; both never run backwards. A test installs its own functions, and may let
 * the coarse one lag. Wall time exists only for the disk and cron. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include "base/port.h"

#define BASE_COARSE_LAG_MS 20

typedef struct base_clock {
    int64_t (*precise_ms)(void *ctx); /* NULL: the system's */
    int64_t (*coarse_ms)(void *ctx);  /* NULL: the system's; set together with precise_ms */
    void *ctx;                        /* handed to both; lives as long as the store */
} base_clock;

CELLAR_PRIVATE int64_t base_now_ms(const base_clock *c);    /* exact to 1 ms */
CELLAR_PRIVATE int64_t base_coarse_ms(const base_clock *c); /* lags <= BASE_COARSE_LAG_MS */
/* The deadline is at most BASE_COARSE_LAG_MS after `coarse_ms`: ask precisely. */
CELLAR_PRIVATE bool base_clock_near(const base_clock *c, int64_t deadline_ms, int64_t coarse_ms);
/* Is `deadline_ms` reached (deadline <= now)? At most one precise reading, none when the coarse
 * clock decides; exact to 1 ms. BASE_NEVER_MS: false without any reading. */
BASE_INLINE bool base_clock_reached(const base_clock *c, int64_t deadline_ms)
{
    if (deadline_ms == INT64_MAX) { return false; }
    const int64_t coarse = base_coarse_ms(c);
    if (BASE_LIKELY(deadline_ms > 0 && deadline_ms - BASE_COARSE_LAG_MS > coarse)) { return false; }
    return base_clock_near(c, deadline_ms, coarse);
}
CELLAR_PRIVATE uint64_t base_now_ns(void); /* monotonic, for durations; virtual in simulation */
BASE_SPARE CELLAR_PRIVATE uint64_t base_thread_cpu_ns(void);
BASE_SPARE CELLAR_PRIVATE int64_t base_wall_ms(void);   /* UNIX epoch */

#endif
