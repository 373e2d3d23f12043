/* SPDX-License-Identifier: MIT
 *
 * clear: end all entries of a namespace in O(1): clear, version change, drop.
 *
 * WALK       [shared tier: loads end, it clears] -> number drawn (under NAMESPACE) -> the disk has
 *            it -> the number begins, L1 and thread learn that the old one ended -> committed
 * INVARIANTS No change is made under a number that the next open would not find: a kill would undo
 *            it. A kill before the number begins makes the clear take effect.
 *            The newest number on the disk begins last: if another change began meanwhile, a clear
 *            draws again.
 * SEE ALSO   generation.c, tier_calls.c; l2/namespaces.c: the end outlives the process. */
#include "cache/clear.h"

#include "cache/call.h"
#include "cache/error.h"
#include "cache/generation.h"
#include "cache/handle.h"
#include "cache/shared.h"
#include "cache/tier_calls.h"
#include "cache/write_order.h"
#include "flight/flight.h"

BASE_SIZE_BEGIN

/* Draw what the namespace is next. generation 0: the numbers of the half are used up. The disk
 * keeps the newest number: its version goes on from the number before, begun or not. */
SYNC_HOLDS(NAMESPACE) static l2_namespace cache_next(cellar *c, uint64_t version)
{
    const uint64_t is = c->drawn != 0 ? c->drawn_version : c->version;
    const uint64_t raised = BASE_MIN(is + 1, UINT32_MAX);
    const uint64_t then = version > UINT32_MAX ? raised : version != 0 ? version : is;
    const uint64_t drawn = cache_generation_draw(c->store);
    if (drawn != 0) {
        c->drawn = drawn;
        c->drawn_version = (uint32_t)then;
    }
    return (l2_namespace){ c->id, drawn, (uint32_t)then };
}

/* Start a new generation. version 0: unchanged; UINT32_MAX + 1: one more; else the new version. */
static cellar_err cache_generation(cellar *c, cellar_cause cause, uint64_t version, uint32_t *now)
{
    cache_store *s = c->store;
    const bool logs = s->tier != NULL && !c->no_disk;
    l2_namespace next = { 0, 0, 0 };
    uint32_t old = 0;
    for (bool begins = false, told = false; !begins; told = logs && next.generation != 0) {
        sync_take(NAMESPACE, &s->namespace_lock);
        /* a change elsewhere also ends what a namespace without open handles has */
        const bool any = told || cause == CELLAR_CAUSE_REMOTE;
        const bool closed = any ? base_load_rlx(&c->dropped) : cache_is_closed(c);
        const bool over = !told && version > UINT32_MAX && c->version == UINT32_MAX;
        /* The logged number may begin: no other began since, and its cell is free. */
        const bool stands = told && base_load_rlx(&c->generation) == old &&
                            cache_generation_is_free(s, next.generation);
        if (!closed && !over && !stands) {
            next = cache_next(c, version);
            /* raised once: what is drawn again goes on from it */
            if (next.generation != 0 && version > UINT32_MAX) { version = 0; }
            old = base_load_rlx(&c->generation);
        }
        const bool drawn = !closed && !over && next.generation != 0;
        begins = drawn && (stands || !logs);
        if (begins) {
            cache_generation_begin(c, next.generation, cause);
            c->version = next.version;
            if (c->drawn == next.generation) { c->drawn = 0; }
        }
        if (drawn && !begins) { c->unreported++; }
        sync_drop(NAMESPACE, &s->namespace_lock);
        if (closed) {
            return cache_closed(c, cause == CELLAR_CAUSE_VERSION ? "cellar_version_set"
                                                                 : "cellar_clear");
        }
        if (over) {
            return cache_fail(c, CELLAR_E_RANGE, 0,
                              "cellar_version_set: version is at its maximum 2^32 - 1");
        }
        if (!drawn && base_thread_self()->depth > 0) {
            return cache_fail(c, CELLAR_E_BUSY, 0,
                              "2^31 clears are used up: retry outside the listener");
        }
        if (!drawn) { cache_numbers_end(s); }
        if (drawn && !begins) { cache_tier_namespace_tell(c, &next); }
    }
    if (now != NULL) { *now = next.version; }
    cache_thread_ring(s);
    if (cause != CELLAR_CAUSE_REMOTE) {
        stats_add(cache_mine(c), cause == CELLAR_CAUSE_VERSION ? STATS_BUMP : STATS_CLEAR, 1);
    }
    return cache_acked(c, CELLAR_OK);
}

CELLAR_PRIVATE cellar_err cache_clear_here(cellar *c, cellar_cause cause)
{
    return cache_generation(c, cause, 0, NULL);
}

static bool cache_every_key(void *ctx, const void *key, size_t len)
{
    (void)ctx;
    (void)key;
    (void)len;
    return true;
}

/* End all loads of the namespace, and wait for their fills: a tier that does not compare leases
 * deletes key by key. Other writes are not passed: if the clear fails, they have to reach it. */
static void cache_blind_fills_end(const cellar *c)
{
    const cache_store *s = c->store;
    const cache_shared *h = cache_shared_of(c);
    flight_table *t = base_load_sc(&s->flights);
    const uint32_t generation = base_load_acq(&c->generation);
    if (h == NULL || h->t.blind_fill == 0 || t == NULL) { return; }
    flight_invalidate_match(t, generation, cache_every_key, NULL);
    cache_write_order_match(s, generation, NULL, NULL);
}

/* Clear the shared tier of the namespace first. Return the code of the call: a failed clear of the
 * tier still clears memory. The version stays then: a call with it must clear the tier again. */
static cellar_err cache_generation_shared(cellar *c, cellar_cause cause, uint64_t version,
                                          uint32_t *now)
{
    cache_blind_fills_end(c);
    const cellar_err said = cache_shared_clear(c);
    const cellar_err err = cache_generation(c, cause, said < 0 ? 0 : version, now);
    return err == CELLAR_OK ? cache_tier_code(c, __func__, said) : err;
}

CELLAR_API cellar_err cellar_clear(cellar *c)
{
    if (c == NULL) { return CELLAR_E_INVAL; }
    if (cache_is_closed(c)) { return cache_closed(c, __func__); }
    return cache_generation_shared(c, CELLAR_CAUSE_CLEARED, 0, NULL);
}

CELLAR_API cellar_err cellar_version_set(cellar *c, uint32_t version, uint32_t *now)
{
    if (c == NULL) { return CELLAR_E_INVAL; }
    if (cache_is_closed(c)) { return cache_closed(c, __func__); }
    return cache_generation_shared(c, CELLAR_CAUSE_VERSION,
                                   version != 0 ? version : (uint64_t)UINT32_MAX + 1, now);
}

BASE_SIZE_END
