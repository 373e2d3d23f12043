/* SPDX-License-Identifier: MIT
 *
 * increment: count in a value of 8 bytes.
 *
 * WALK       cellar_increment -> cache_change_run: an existing counter -> L1; else from the tier ->
 *            L1; else a new counter with the options of the namespace
 * SEE ALSO   change.c. */
#include "cache/call.h"
#include "cache/change_shared.h"
#include "cache/error.h"

/* Note why the increment failed. Return its code. */
BASE_COLD static cellar_err cache_incr_failed(cellar *c, cellar_err err)
{
    switch ((int)err) {
    case CELLAR_E_TYPE:
        return cache_fail(c, err, 0, "cellar_increment: the value is not an 8-byte counter");
    case CELLAR_E_RANGE: return cache_fail(c, err, 0,
                                           "cellar_increment: the sum does not fit int64");
    case CELLAR_E_SPACE:
    case CELLAR_E_NOMEM:
        return cache_fail(c, err, 0, "cellar_increment: no memory: raise memory_bytes");
    default: return err;
    }
}

/* Let the shared tier count. */
BASE_COLD static cellar_err cache_incr_shared(cellar *c, const void *key, size_t key_len,
                                              int64_t delta, int64_t init, int64_t ttl_ms,
                                              uint32_t flags, int64_t *now_value)
{
    l1_key k;
    int64_t now = 0;
    cache_key(c, &k, key, key_len);
    cellar_set_opts o = cellar_set_opts_default();
    o.ttl_ms = ttl_ms;
    const bool exists = (flags & CELLAR_ONLY_IF_PRESENT) != 0;
    const cellar_err err = cache_increment_shared(c, &k, delta, init, exists ? NULL : &o, &now);
    if (now_value != NULL && (err == CELLAR_OK || err == CELLAR_E_RANGE)) { *now_value = now; }
    return err >= 0 || err == CELLAR_E_SPACE ? err : cache_incr_failed(c, err); /* of the tier */
}

CELLAR_API cellar_err cellar_increment(cellar *c, const void *key, size_t key_len, int64_t delta,
                                       int64_t init, int64_t ttl_if_new_ms, uint32_t flags,
                                       int64_t *now_value)
{
    if (c == NULL || cache_key_bad(key, key_len)) {
        return cache_fail_key(c, "cellar_increment", key, key_len, "");
    }
    if ((flags & ~CELLAR_ONLY_IF_PRESENT) != 0) {
        return cache_fail(c, CELLAR_E_UNSUPPORTED, 0,
                          "cellar_increment: flags must be 0 or CELLAR_ONLY_IF_PRESENT");
    }
    if (ttl_if_new_ms < 0) {
        return cache_fail_number(c, "cellar_increment: ttl_if_new_ms must be 0 or more",
                                 ttl_if_new_ms);
    }
    if (cache_is_closed(c)) { return cache_closed(c); }
    if (BASE_UNLIKELY((base_load_rlx(&c->state) & (CACHE_OFF | CACHE_PROOF)) != 0)) {
        if (cache_is_off(c)) { return CELLAR_DISABLED; }
        if (cache_shared_of(c) != NULL) {
            return cache_incr_shared(c, key, key_len, delta, init, ttl_if_new_ms, flags,
                                     now_value);
        }
    }
    l1_key k;
    cache_key(c, &k, key, key_len);
    cellar_set_opts o = cellar_set_opts_default();
    o.ttl_ms = ttl_if_new_ms;
    int64_t now;
    const cellar_err err =
        cache_increment_key(c, &k, delta, init,
                            (flags & CELLAR_ONLY_IF_PRESENT) != 0 ? NULL : &o, &now);
    if (now_value != NULL &&
        (err == CELLAR_OK || err == CELLAR_E_RANGE || err == CELLAR_E_IO)) {
        *now_value = now;
    }
    return BASE_LIKELY(err >= 0) ? err : cache_incr_failed(c, err);
}
