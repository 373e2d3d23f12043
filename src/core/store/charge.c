/* SPDX-License-Identifier: MIT
 *
 * charge: memory of the host in the budget of the store.
 *
 * INVARIANTS host_bytes == what the host has charged and not given back == its part of the account.
 * SEE ALSO   base/mem.c: the account, which evicts for a charge. */
#include "cache/call.h"
#include "cache/error.h"
#include "store/charge.h"

BASE_SIZE_BEGIN

static cellar_err cache_uncharge(cellar *c, uint64_t bytes)
{
    cache_store *s = c->store;
    for (bool done = false; !done;) {
        const uint64_t have = base_load_rlx(&s->host_bytes);
        if (bytes > have) {
            return cache_refuse(c, "cellar_memory_charge: less than 0 bytes would be charged");
        }
        done = base_cas_ar(&s->host_bytes, have, have - bytes);
    }
    base_uncharge(&s->account, BASE_MOD_HOST, bytes);
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_memory_charge(cellar *c, int64_t bytes)
{
    if (c == NULL) { return CELLAR_E_INVAL; }
    if (cache_is_closed(c)) { return cache_closed(c, __func__); }
    cache_store *s = c->store;
    if (bytes < 0) { return cache_uncharge(c, 0 - (uint64_t)bytes); }
    if (!base_charge_room(&s->account, BASE_MOD_HOST, (uint64_t)bytes)) {
        cache_broken b;
        return cache_fail_broken(c, cache_breaks_by(&b, CELLAR_E_SPACE, "bytes does not fit: "
                                 "raise memory_bytes", bytes), __func__, &b);
    }
    (void)base_add_rlx(&s->host_bytes, (uint64_t)bytes);
    return CELLAR_OK;
}

CELLAR_PRIVATE void cache_charge_end(cache_store *s)
{
    base_uncharge(&s->account, BASE_MOD_HOST, base_load_rlx(&s->host_bytes));
    base_store_rlx(&s->host_bytes, (uint64_t)0);
}

BASE_SIZE_END
