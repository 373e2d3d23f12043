/* SPDX-License-Identifier: MIT
 *
 * check: walk all structures of a store and compare them.
 *
 * LOCKING    Background work stands still; calls go on. */
#include "cache/call.h"
#include "cache/error.h"
#include "cache/generation.h"
#include "cache/handle.h"
#include "flight/flight.h"
#include "loading/refresh.h"
#include "store/maintenance.h"

BASE_SIZE_BEGIN

SYNC_HOLDS(NAMESPACE) static const char *cache_audit_namespaces(cache_store *s)
{
    uint32_t count = 0, named = 0;
    for (uint32_t slot = 0; slot < CACHE_NAMESPACES_MAX; slot++) {
        const cellar *v = cache_namespace_at(s, slot);
        if (v == NULL) { continue; }
        count++;
        if (v->slot != slot) { return "namespaces: one is in a slot of another"; }
        if (base_load_rlx(&v->refs) < v->handles) {
            return "namespaces: one has fewer refs than handles";
        }
        if (!base_load_rlx(&v->dropped) && cache_namespace_is_named(v) &&
            !cache_generation_alive(s, base_load_rlx(&v->generation))) {
            return "namespaces: the generation of an open one is dead";
        }
        const bloom *b = base_load_acq(&v->bloom);
        const char *why = b != NULL ? bloom_audit(b) : NULL;
        if (why != NULL) { return why; }
        if (slot != 0 && !base_load_rlx(&v->dropped)) { named++; }
    }
    if (count != s->namespace_count) {
        return "namespaces: their number differs from the used slots";
    }
    if (named < HASH_COUNT(s->names)) { return "namespaces: a name has no slot"; }
    return NULL;
}

CELLAR_API cellar_err cellar_integrity_check(cellar *c)
{
    if (c == NULL) { return CELLAR_E_INVAL; }
    if (cache_is_closed(c)) { return cache_closed(c, __func__); }
    cache_store *s = c->store;
    sync_take(NAMESPACE, &s->namespace_lock);
    const char *wrong = cache_audit_namespaces(s);
    sync_drop(NAMESPACE, &s->namespace_lock);
    if (wrong == NULL) {
        cache_tick_pause(s); /* the maintenance thread writes, too */
        wrong = cache_load_audit(s) ? l1_audit(s->l1) : "loads: the flights disagree";
        cache_tick_resume(s);
    }
    return wrong == NULL ? CELLAR_OK : cache_fail(c, CELLAR_E_CORRUPT, 0, wrong);
}

BASE_SIZE_END
