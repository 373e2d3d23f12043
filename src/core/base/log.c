/* SPDX-License-Identifier: MIT
 *
 * log: pass log lines to the host's callback, equal lines at most once a second.
 *
 * PICTURE    base_log (level, one branch) -> base_log_line -> slot of (module, code) -> callback
 *            slot: pass the first line; count equal lines within 1 s; pass the next one after that
 *            second with "and n more"
 * INVARIANTS Each line is passed or counted in exactly one slot. If another pair takes the slot,
 *            its count is lost, never a first line.
 * LOCKING    `lock`, rank LOG, guards the slots and is dropped before the callback runs. The caller
 *            holds no ranked lock (asserted), so the callback may use the cache.
 * LIMITS     32 slots, 512 bytes per line; longer text is cut. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

BASE_SIZE_BEGIN

#define BASE_LOG_TEXT 512
#define BASE_LOG_QUIET_MS 1000

CELLAR_PRIVATE base_log_level base_log_level_of(uint32_t level)
{
    static const base_log_level of[] = { BASE_LOG_WARNING, BASE_LOG_ERROR, BASE_LOG_WARNING,
                                         BASE_LOG_INFO, BASE_LOG_DEBUG, BASE_LOG_OFF };
    return of[level];
}

CELLAR_PRIVATE void base_log_init(base_log *l, const base_clock *clock,
                                  cellar_log_fn fn, void *ctx, int level)
{
    *l = (base_log){ .fn = fn, .ctx = ctx, .clock = clock };
    base_store_rlx(&l->level, fn != NULL ? level : (int)BASE_LOG_OFF);
}

/* Find the slot of the pair, else a free slot, else free the slot that was silent longest. */
static struct base_log_slot *base_log_find(base_log *l, const char *module, int code)
{
    struct base_log_slot *oldest = &l->slot[0];
    for (int i = 0; i < BASE_LOG_SLOTS; i++) {
        struct base_log_slot *s = &l->slot[i];
        if (s->module == NULL) { return s; }
        if (s->code == code && strcmp(s->module, module) == 0) { return s; }
        if (s->last_ms < oldest->last_ms) { oldest = s; }
    }
    oldest->module = NULL;
    return oldest;
}

/* Return whether the line passes now. *held_back: equal lines held back since the last line that
 * passed. */
static bool base_log_admit(base_log *l, const char *module, int code, uint32_t *held_back)
{
    int64_t now = base_coarse_ms(l->clock);
    sync_take(LOG, &l->lock);
    struct base_log_slot *s = base_log_find(l, module, code);
    bool admit = s->module == NULL || now - s->last_ms >= BASE_LOG_QUIET_MS;
    *held_back = 0;
    if (admit) {
        if (s->module != NULL) { *held_back = s->held_back; }
        *s = (struct base_log_slot){ .module = module, .code = code, .last_ms = now };
    } else {
        s->held_back++;
    }
    sync_drop(LOG, &l->lock);
    return admit;
}

CELLAR_PRIVATE void base_log_line(base_log *l, int level, const char *module, int code,
                                  const char *format, ...)
{
    sync_assert_none();
    BASE_ASSERT(module != NULL && level > BASE_LOG_OFF);
    if (l->fn == NULL) { return; }
    uint32_t held_back;
    if (!base_log_admit(l, module, code, &held_back)) { return; }
    char text[BASE_LOG_TEXT];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n < 0) { n = 0; }
    if (held_back > 0) {
        size_t room = sizeof " (and 4294967295 more)";
        size_t at = (size_t)n < sizeof text - room ? (size_t)n : sizeof text - room;
        snprintf(text + at, sizeof text - at, " (and %u more)", (unsigned)held_back);
    }
    l->fn((cellar_log_level)level, module, (cellar_err)code, text, l->ctx);
}

BASE_SIZE_END
