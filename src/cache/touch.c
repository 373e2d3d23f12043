/* SPDX-License-Identifier: MIT
 *
 * touch: set a new time to live.
 *
 * INVARIANTS An entry ends with its dependencies at the latest, and its dependants with it. */
#include "cache/call.h"
#include "cache/change.h"
#include "cache/dependency_table.h"
#include "cache/error.h"
#include "cache/lookup.h"
#include "cache/tier_calls.h"
#include "cache/tier_store.h"

/* Touch an observed entry. It ends with its dependencies at the latest, and its dependants with
 * it. */
static cellar_err cache_touch_reported(cellar *c, const l1_key *k, int64_t deadline_ms)
{
    const bool deps = c->store->deps != NULL;
    cellar_err err, below = CELLAR_OK;
    do { /* again if a load with an earlier deadline was stored meanwhile */
        int64_t was_ms = 0;
        cache_frame f;
        const cache_urge urge = cache_urge_of(c, false);
        if (deps) { deadline_ms = BASE_MIN(deadline_ms, cache_deps_until(c->store, k)); }
        cache_change_begin(&f, false, false);
        f.below = urge != CACHE_LATER;
        err = l1_touch_reported(c->l1, k, deadline_ms, -1, NULL, &was_ms);
        if (err == CELLAR_OK && urge != CACHE_LATER) {
            below = cache_change_stored(c, &f, k, NULL, urge);
        } else {
            cache_change_end(c, &f, k);
        }
        if (deps && err == CELLAR_OK && deadline_ms < was_ms) {
            cache_deps_changed(c->store, k->hash, k->generation);
        }
    } while (deps && err == CELLAR_OK && cache_deps_until(c->store, k) < deadline_ms);
    return err == CELLAR_OK ? cache_through(c, below) : err;
}

CELLAR_API cellar_err cellar_touch(cellar *c, const void *key, size_t key_len, int64_t ttl_ms)
{
    if (c == NULL || cache_key_bad(key, key_len)) {
        return cache_fail_key(c, "cellar_touch", key, key_len, "");
    }
    if (ttl_ms < 0) {
        return cache_fail_number(c, "cellar_touch: ttl_ms must be 0 or more", ttl_ms);
    }
    if (cache_is_closed(c)) { return cache_closed(c); }
    if (cache_is_off(c)) { return CELLAR_DISABLED; }
    const int64_t ttl = ttl_ms != 0 ? ttl_ms : cache_default(c, CACHE_TTL);
    const int64_t deadline = ttl == CELLAR_TTL_NONE
                                 ? BASE_NEVER_MS
                                 : base_add_sat(base_now_ms(&c->store->clock), ttl);
    l1_key k;
    cache_key(c, &k, key, key_len);
    cellar_err err = !cache_is_observed(c->store) ? l1_touch(c->l1, &k, deadline, -1, NULL)
                                           : cache_touch_reported(c, &k, deadline);
    if (err == CELLAR_MISS && cache_brought(c, &k)) { err = cache_touch_reported(c, &k, deadline); }
    if (err < 0 && err != CELLAR_E_IO) {
        return cache_fail(c, err, 0, "cellar_touch: no memory for a deadline");
    }
    return cache_acked(c, err);
}
