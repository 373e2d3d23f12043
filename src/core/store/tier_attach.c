/* SPDX-License-Identifier: MIT
 *
 * tier_attach: connect a tier to the store and to one of its namespaces.
 *
 * PICTURE    stamps, order of changes -> list of tiers -> tier of the namespace
 * INVARIANTS A key of the new generation is changed and read with the new tier, because the tier is
 *            stored before the generation. Changes that began before have the old generation:
 *            their stores are vetoed, and their writes to the tier end with that generation.
 * LOCKING    `attaching` lets one thread attach at a time. No lock is held while memory is
 *            allocated.
 * SEE ALSO   cache/tier.h, cache/stamp.c, cache/change.c. */
#include "store/tier_attach.h"

#include "cache/call.h"
#include "cache/change.h"
#include "cache/generation.h"
#include "cache/handle.h"
#include "cache/stamp.h"
#include "cache/tier_calls.h"
#include "cache/write_order.h"

BASE_SIZE_BEGIN

CELLAR_PRIVATE void cache_tier_changed(cache_store *s, uint32_t generation, const void *key,
                                       size_t len)
{
    cache_generation_info info;
    if (cache_key_bad(key, len)) { return; }
    cellar *c = cache_generation_namespace(s, generation, &info);
    if (c == NULL) { return; } /* its entries are dead */
    l1_key k = { key, (uint32_t)len, generation, base_hash(c->hash_key, generation, key, len) };
    cache_change ch = { .c = c, .k = &k, .kind = CACHE_DELETE,
                        .flags = CACHE_OUTSIDE | CACHE_BATCH };
    (void)cache_change_run(&ch);
    cache_namespace_release(c);
}

CELLAR_PRIVATE bool cache_tier_ready(cache_store *s)
{
    if (cache_has_stamps(s)) { return true; }
    if (s->write_order == NULL && !cache_write_order_open(s)) { return false; }
    return cache_stamps_open(s);
}

CELLAR_PRIVATE void cache_tier_set(cellar *c, const cache_tier *t)
{
    cache_tiers_add(c->store, t);
    base_store_rlx(&c->tier, t);
    cache_carries_write(c);
}

BASE_SIZE_END
