/* SPDX-License-Identifier: MIT
 *
 * tier_calls: what a tier is told beside gets and changes: namespaces, commit, sync.
 *
 * PICTURE    namespace opened -> its generation from the tier, or a new one that is logged
 *            level ALWAYS, or durable set -> commit, then the call returns
 * INVARIANTS A namespace without the tier (tier L1, hidden) has a generation that no record has:
 *            its changes need no log, and nothing of it is logged, not even its name.
 *            A namespace is `unreported` while the tier does not know its begin, new generation or
 *            end. Its name is not looked up then: a dropped generation could be adopted.
 * LOCKING    None of its own. Generations are logged after NAMESPACE is dropped. They only grow, so
 *            the order in which two of them arrive does not matter. */
#include "cache/tier_calls.h"

#include "cache/call.h"
#include "cache/error.h"

/* ---- namespaces ---- */

/* Find the row of a namespace. The root has an empty name here, because a namespace may have its
 * label. */
static bool cache_tier_namespace_row(const cellar *v, cache_tier_namespace *out)
{
    const cache_tier *t = v->store->tier;
    return t->namespace_find(t->ctx, v->slot != 0 ? v->name : "", v->slot != 0 ? v->name_len : 0,
                             out);
}

/* Find the row of the root under its label, as older versions stored it. */
static bool cache_tier_root_row(const cellar *v, cache_tier_namespace *out)
{
    const cache_tier *t = v->store->tier;
    return v->slot == 0 && v->name_len != 0 &&
           t->namespace_find(t->ctx, v->name, v->name_len, out) && out->id == 0;
}

CELLAR_PRIVATE bool cache_tier_namespace_find(const cellar *v, cache_tier_namespace *out)
{
    return cache_tier_namespace_row(v, out) || cache_tier_root_row(v, out);
}

static void cache_tier_namespace_say(const cellar *v, const cache_tier_namespace *now)
{
    const cache_tier *t = v->store->tier;
    cache_tier_namespace known;
    const bool there = cache_tier_namespace_row(v, &known);
    if ((!there && cache_tier_root_row(v, &known)) || (there && v->no_disk &&
        (known.id == v->id || v->slot == 0))) {
        const cache_tier_namespace gone = { known.id, 0, 0 };
        t->namespace_set(t->ctx, &gone, NULL, 0);
    }
    if (v->no_disk) { return; }
    if (now->generation == 0) {
        t->namespace_set(t->ctx, now, NULL, 0);
    } else if (!there || memcmp(&known, now, sizeof known) != 0) {
        t->namespace_set(t->ctx, now, v->slot != 0 ? v->name : "", v->slot != 0 ? v->name_len : 0);
    }
}

/* Tell the tier the present state. The call holds no lock, so the namespace may be dropped
 * meanwhile, and that may be told first: then tell again. */
CELLAR_PRIVATE void cache_tier_namespace_tell(cellar *v)
{
    cache_store *s = v->store;
    bool gone;
    sync_take(NAMESPACE, &s->namespace_lock);
    do {
        gone = v->dropped;
        const cache_tier_namespace now = { v->id, gone ? 0 : base_load_rlx(&v->generation),
                                           v->version };
        sync_drop(NAMESPACE, &s->namespace_lock);
        if (s->tier != NULL && s->tier->namespace_set != NULL) {
            cache_tier_namespace_say(v, &now);
        }
        sync_take(NAMESPACE, &s->namespace_lock);
    } while (v->dropped && !gone);
    BASE_ASSERT(v->unreported > 0);
    v->unreported--;
    sync_drop(NAMESPACE, &s->namespace_lock);
}

CELLAR_PRIVATE void cache_tier_namespace_died(cellar *v, uint32_t generation)
{
    const cache_store *s = v->store;
    if (s->tier->bump != NULL) { s->tier->bump(s->tier->ctx, v->id, generation); }
    cache_tier_namespace_tell(v);
}

/* ---- durability ---- */

CELLAR_PRIVATE cellar_err cache_through(cellar *c, cellar_err below)
{
    if (BASE_LIKELY(below == CELLAR_OK)) { return below; }
    return cache_fail(c, below, 0,
                      "the entry is in memory only: it is over half a disk segment, a write limit "
                      "is used up, or the disk tier is off (cellar_dump)");
}

CELLAR_PRIVATE cellar_err cache_tier_commit(cellar *c, cellar_err err)
{
    const cache_tier *t = c->store->tier;
    if (t == NULL) { return err; } /* forked since the change: the child has memory only */
    if (t->commit(t->ctx) == CELLAR_OK || err < 0) { return err; }
    return cache_fail(c, CELLAR_E_IO, 0,
                      "the change is in memory only and not durable: the disk failed");
}

CELLAR_API cellar_err cellar_sync(cellar *c)
{
    if (c == NULL) { return CELLAR_E_INVAL; }
    if (cache_is_closed(c)) { return cache_closed(c); }
    const cache_store *s = c->store;
    if (s->tier == NULL || s->tier->sync == NULL) { return CELLAR_DISABLED; }
    const cellar_err err = s->tier->sync(s->tier->ctx, 0);
    if (err != CELLAR_OK) { return cache_fail(c, err, 0, "cellar_sync: the disk failed"); }
    return CELLAR_OK;
}
