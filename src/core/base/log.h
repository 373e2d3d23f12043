/* SPDX-License-Identifier: MIT
 *
 * log: log lines for the host's callback. Without a callback the library writes nothing, not even
 * to stderr. Equal lines (module + code) pass once a second with "and n more". The caller holds no
 * ranked lock (asserted). */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/clock.h"
#include "base/port.h"
#include "base/sync.h"
#include "cellar_admin.h"

typedef enum base_log_level {
    BASE_LOG_OFF = 0,
    BASE_LOG_ERROR = 1,
    BASE_LOG_WARNING = 2,
    BASE_LOG_INFO = 3,
    BASE_LOG_DEBUG = 4
} base_log_level;

#define BASE_LOG_SLOTS 32

typedef struct base_log {
    cellar_log_fn fn; /* or NULL */
    void *ctx;
    const base_clock *clock;
    _Atomic int level; /* lines above it are dropped; read relaxed anywhere */
    sync_lock lock;    /* rank LOG; guards slot */
    struct base_log_slot {
        const char *module; /* static text */
        int code;
        int64_t last_ms;    /* store clock of the last line that passed */
        uint32_t held_back; /* equal lines since then */
    } slot[BASE_LOG_SLOTS];
} base_log;

CELLAR_PRIVATE base_log_level base_log_level_of(uint32_t level); /* CELLAR_LOG_..., checked */
CELLAR_PRIVATE void base_log_init(base_log *l, const base_clock *clock,
                                  cellar_log_fn fn, void *ctx, int level);
/* Log one line. Costs one predicted branch when the level is off. */
#define base_log(l, lvl, module, code, ...) \
    (BASE_UNLIKELY((lvl) <= base_load_rlx(&(l)->level)) \
         ? base_log_line((l), (lvl), (module), (code), __VA_ARGS__) : (void)0)
CELLAR_PRIVATE void base_log_line(base_log *l, int level, const char *module, int code,
                                  const char *format, ...) BASE_PRINTF(5, 6);

#endif
