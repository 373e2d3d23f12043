/* SPDX-License-Identifier: MIT
 *
 * increment: count in a value of 8 bytes.
 *
 * WALK       cellar_increment -> cache_change_run: an existing counter -> L1; else from the tier ->
 *            L1; else a new counter with the options of the namespace
 * SEE ALSO   change.c. */
#include "cache/call.h"
#include "cache/change.h"
#include "cache/error.h"
#include "cache/plan.h"

/* Note why the increment failed. Return its code. */
BASE_COLD static cellar_err cache_incr_failed(cellar *c, cellar_err err)
{
    switch ((int)err) {
    case CELLAR_E_TYPE:
        return cache_fail(c, err, 0,
                          "cellar_increment: the value is no counter of 8 bytes: set it");
    case CELLAR_E_RANGE:
        return cache_fail(c, err, 0,
                          "cellar_increment: the sum does not fit int64: it has the limit");
    case CELLAR_E_SPACE:
    case CELLAR_E_NOMEM:
        return cache_fail(c, err, 0, "cellar_increment: no memory: raise memory_bytes");
    case CELLAR_E_TOOBIG:
        return cache_fail(c, err, 0, "cellar_increment: weight_bytes must be at most half of "
                                     "memory_bytes: raise memory_bytes");
    default: return err;
    }
}

CELLAR_API cellar_err cellar_increment(cellar *c, const void *key, size_t key_len, int64_t delta,
                                       int64_t init, const cellar_set_opts *o,
                                       int64_t *now_value)
{
    if (c == NULL || cache_key_bad(key, key_len)) {
        return cache_fail_key(c, "cellar_increment", key, key_len, "");
    }
    cellar_set_opts full = cellar_set_opts_default();
    if (o != NULL) {
        const cellar_err err =
            cache_set_opts_read(c, o, CACHE_FOR_INCREMENT |
                                      (CACHE_SET_FLAGS & ~CELLAR_ONLY_IF_PRESENT), &full);
        if (err != CELLAR_OK) { return err; }
        if (full.new_version != NULL) {
            return cache_refuse(c, "cellar_increment: new_version must be NULL");
        }
    }
    const cellar_set_opts *if_new = full.flags == 0 ? &full : NULL;
    if (cache_no_bytes(c)) { return cache_closed(c, __func__); }
    l1_key k;
    cache_key(c, &k, key, key_len);
    if (BASE_UNLIKELY(cache_is_off(c))) { return CELLAR_DISABLED; }
    const cache_tier *t = cache_tier_of(c);
    const bool below = BASE_UNLIKELY(t != NULL) && t->increment != NULL;
    int64_t now;
    const cellar_err err = below ? t->increment(c, &k, delta, init, if_new, &now)
                                 : cache_increment_key(c, &k, delta, init, if_new, &now);
    if (now_value != NULL &&
        (err == CELLAR_OK || err == CELLAR_E_RANGE || (err == CELLAR_E_IO && !below))) {
        *now_value = now;
    }
    /* E_SPACE of a tier is not of memory_bytes */
    const bool said = BASE_LIKELY(err >= 0) || (below && err == CELLAR_E_SPACE);
    return said ? err : cache_incr_failed(c, err);
}
