/* SPDX-License-Identifier: MIT
 *
 * touch: set a new time to live.
 *
 * SEE ALSO   change.c. */
#include "cache/call.h"
#include "cache/change.h"
#include "cache/error.h"

CELLAR_API cellar_err cellar_touch(cellar *c, const void *key, size_t key_len, int64_t ttl_ms)
{
    if (c == NULL || cache_key_bad(key, key_len)) {
        return cache_fail_key(c, "cellar_touch", key, key_len, "");
    }
    if (ttl_ms < 0) {
        return cache_fail_number(c, "cellar_touch: ttl_ms must be 0 or more", ttl_ms);
    }
    if (cache_is_closed(c)) { return cache_closed(c, __func__); }
    if (cache_is_off(c)) { return CELLAR_DISABLED; }
    const int64_t ttl = ttl_ms != 0 ? ttl_ms : cache_default(c, CACHE_TTL);
    const int64_t deadline = ttl == CELLAR_TTL_NONE
                                 ? BASE_NEVER_MS
                                 : base_add_sat(base_now_ms(&c->store->clock), ttl);
    l1_key k;
    cache_key(c, &k, key, key_len);
    cache_change ch = { .c = c, .k = &k, .kind = CACHE_TOUCH, .deadline_ms = deadline };
    const cache_tier *t = cache_tier_of(c);
    if (t != NULL && t->touch != NULL) { return t->touch(c, &k, deadline); }
    const cellar_err err = cache_change_run(&ch);
    if (err < 0 && err != CELLAR_E_IO && err != CELLAR_E_TIMEOUT) {
        return cache_fail(c, err, 0, "cellar_touch: no memory for a deadline");
    }
    return err;
}
