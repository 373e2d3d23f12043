/* SPDX-License-Identifier: MIT
 *
 * delete: delete one key.
 *
 * INVARIANTS A delete invalidates a running load of its key, also if it finds nothing.
 * SEE ALSO   change.c, loading/delete_with.c, delete_pattern.c, many.c. */
#include "cache/call.h"
#include "cache/change.h"
#include "cache/error.h"

CELLAR_API cellar_err cellar_delete(cellar *c, const void *key, size_t key_len)
{
    if (BASE_UNLIKELY(c == NULL || cache_key_bad(key, key_len))) {
        return cache_fail_key(c, "cellar_delete", key, key_len, "");
    }
    if (BASE_UNLIKELY((base_load_acq(&c->state) & CACHE_CLOSED) != 0)) {
        return cache_closed(c, __func__);
    }
    l1_key k;
    cache_key(c, &k, key, key_len);
    const bool sampled = stats_sample(base_thread_self());
    const uint64_t since_ns = BASE_UNLIKELY(sampled) ? base_now_ns() : 0;
    const cellar_err err = cache_delete(c, &k, false);
    if (BASE_UNLIKELY(sampled)) {
        stats_time(c->stats, STATS_OP_DELETE, base_now_ns() - since_ns);
    }
    return err;
}
