/* SPDX-License-Identifier: MIT
 *
 * tier_calls: what a tier is told beside gets and changes: namespaces, commit, sync, wait.
 *
 * PICTURE    namespace opened -> its generation from the tier, or a new one that is logged
 *            level ALWAYS, or durable set -> commit, then the call returns
 * INVARIANTS A namespace without the tier (tier L1, hidden) has a generation that no record has:
 *            its changes need no log, and nothing of it is logged, not even its name.
 *            A namespace is `unreported` while the tier does not know its begin, new generation or
 *            end. Its name is not looked up then: a dropped generation could be adopted.
 * LOCKING    None of its own. Controls are logged without NAMESPACE. A clear logs its number before
 *            the number begins. The table of the disk keeps the largest number, whichever control
 *            is logged last, and nothing behind an end (l2/namespaces.c). */
#include "cache/tier_calls.h"

#include <stdio.h>

#include "cache/call.h"
#include "cache/error.h"
#include "cache/handle.h"

BASE_SIZE_BEGIN

/* ---- namespaces ---- */

CELLAR_PRIVATE bool cache_tier_namespace_find(const cellar *v, l2_namespace *out)
{
    l2 *d = cache_disk(v->store); /* the root has no name there: a namespace may have its label */
    return d != NULL && l2_namespace_find(d, v->slot != 0 ? v->name : "",
                                          v->slot != 0 ? v->name_len : 0, out);
}

static void cache_tier_namespace_set(cache_store *s, const l2_namespace *v, const char *name,
                                     size_t len, const _Atomic bool *over)
{
    l2 *d = cache_disk(s);
    const cellar_err err = d != NULL ? l2_namespace_set(d, v, name, len, over) : CELLAR_OK;
    if (err == CELLAR_OK) { return; }
    /* Unknown after a restart: then the namespace gets a new generation and loses its entries. */
    base_log(&s->log, BASE_LOG_WARNING, "l2", (int)err,
             "generation of a namespace not stored: it is empty after a restart");
}

/* Log the ends of dropped namespaces with this name. Their drops may not have logged them yet, and
 * no control of a namespace without the tier follows. */
static void cache_tier_ends_say(const cellar *v)
{
    cache_store *s = v->store;
    cellar *o;
    sync_take(NAMESPACE, &s->namespace_lock);
    for (uint32_t slot = 1; (o = cache_namespace_next(s, &slot)) != NULL; slot++) {
        const bool ends = base_load_rlx(&o->dropped) && o->unreported != 0 && !o->no_disk &&
                          o->name_len == v->name_len &&
                          memcmp(o->name, v->name, v->name_len) == 0;
        if (!ends || !cache_namespace_hold(o)) { continue; }
        const l2_namespace over = { o->id, 0, 0 };
        sync_drop(NAMESPACE, &s->namespace_lock);
        cache_tier_namespace_set(s, &over, NULL, 0, NULL);
        cache_namespace_release(o);
        sync_take(NAMESPACE, &s->namespace_lock);
    }
    sync_drop(NAMESPACE, &s->namespace_lock);
}

static void cache_tier_namespace_say(const cellar *v, const l2_namespace *now)
{
    if (v->no_disk) {
        l2_namespace known;
        cache_tier_ends_say(v);
        if (cache_tier_namespace_find(v, &known) && (known.id == v->id || v->slot == 0)) {
            const l2_namespace gone = { known.id, 0, 0 };
            cache_tier_namespace_set(v->store, &gone, NULL, 0, NULL);
        }
        return;
    }
    const bool named = now->generation != 0 && v->slot != 0;
    const char *const name = now->generation == 0 ? NULL : named ? v->name : "";
    cache_tier_namespace_set(v->store, now, name, named ? v->name_len : 0,
                             now->generation != 0 ? &v->dropped : NULL);
}

/* Return the whole number of the generation of a namespace; entries have its low 32 bits. */
SYNC_HOLDS(NAMESPACE) static uint64_t cache_generation_whole(const cellar *v)
{
    const uint64_t next = v->store->next_generation;
    return (next - (uint32_t)((uint32_t)next - base_load_rlx(&v->generation))) &
           L2_GENERATION_MOST;
}

/* Log the numbers of the namespace, or its end, with no lock held. */
CELLAR_PRIVATE void cache_tier_namespace_tell(cellar *v, const l2_namespace *next)
{
    cache_store *s = v->store;
    sync_take(NAMESPACE, &s->namespace_lock);
    l2_namespace now = { v->id, cache_generation_whole(v), v->version };
    if (next != NULL) { now = *next; }
    if (base_load_rlx(&v->dropped)) { now.generation = 0; }
    sync_drop(NAMESPACE, &s->namespace_lock);
    if (cache_disk(s) != NULL) { cache_tier_namespace_say(v, &now); }
    sync_take(NAMESPACE, &s->namespace_lock);
    BASE_ASSERT(v->unreported > 0);
    v->unreported--;
    sync_drop(NAMESPACE, &s->namespace_lock);
}

/* ---- all tiers of a store ---- */

CELLAR_PRIVATE bool cache_tier_tick(const cache_tier *t, uint64_t budget_us)
{
    l2 *d = cache_tier_disk(t);
    return d != NULL ? t->ticks && l2_tick(d, budget_us)
                     : t->tick != NULL && t->tick(t->ctx, budget_us);
}

CELLAR_PRIVATE bool cache_tiers_tick(cache_store *s, uint64_t budget_us)
{
    bool more = false;
    for (uint32_t i = 0; i < base_load_acq(&s->tier_count); i++) {
        more = cache_tier_tick(s->tiers[i], budget_us) || more;
    }
    return more;
}

CELLAR_PRIVATE void cache_tiers_close(cache_store *s, int64_t deadline_ms)
{
    for (uint32_t i = 0; i < base_load_acq(&s->tier_count); i++) {
        const cache_tier *t = s->tiers[i];
        if (t->close != NULL) { t->close(t->ctx, deadline_ms); }
    }
}

CELLAR_PRIVATE void cache_tiers_add(cache_store *s, const cache_tier *t)
{
    const uint32_t count = base_load_rlx(&s->tier_count);
    bool plain = true;
    s->tiers[count] = t;
    for (uint32_t i = 0; i <= count; i++) { plain = plain && !s->tiers[i]->commit_each; }
    if (cache_tier_disk(t) != NULL) { l1_want_evicted(s->l1, true); }
    (void)base_add_rlx(&s->observers_base, 1u);
    base_store_rlx(&s->observers_tier_only, plain ? count + 1 : 0);
    (void)base_add_rlx(&s->observers, 1u);
    base_fork_settle(); /* a child that sees the count sees the tier */
    base_store_rel(&s->tier_count, count + 1);
}

CELLAR_PRIVATE void cache_tiers_forked(cache_store *s)
{
    for (uint32_t i = 0; i < base_load_rlx(&s->tier_count); i++) {
        const cache_tier *t = s->tiers[i];
        l2 *d = cache_tier_disk(t);
        if (d != NULL) {
            l2_forked(d);
        } else if (t->forked != NULL) {
            t->forked(t->ctx);
        }
    }
}

/* ---- durability ---- */

CELLAR_PRIVATE cellar_err cache_server_code(cellar *c, cellar_err said)
{
    if (said >= 0) { return said; }
    return cache_fail(c, said, 0, said == CELLAR_E_SPACE
                          ? "the shared server is out of memory: raise its maxmemory, shared_bytes"
                          : "the shared server did not confirm the change: retry");
}

CELLAR_PRIVATE cellar_err cache_tier_code(cellar *c, const char *call, cellar_err below)
{
    if (BASE_LIKELY(below == CELLAR_OK)) { return below; }
    const cache_tier *t = cache_tier_of(c);
    if (t != NULL && cache_tier_is_shared(t)) { return cache_server_code(c, below); }
    if (t != NULL && cache_tier_is_behind(t)) {
        return cache_fail(c, below, 0, "the write found no room in its queue for 1 s and did not "
                                       "happen: raise queue_items or queue_bytes of the batcher");
    }
    static const char *const why[CACHE_LACK_COUNT] = {
#define CACHE_LACK_TEXT(name, text) text,
#define CACHE_LACK_FITS(name, text) \
    _Static_assert(sizeof "cellar_increment: the change is in memory only: " text <= \
                   CACHE_ERROR_TEXT, "the text would be cut");
        CACHE_LACKS(CACHE_LACK_TEXT)
#undef CACHE_LACK_TEXT
    };
    CACHE_LACKS(CACHE_LACK_FITS)
    const unsigned lack = (unsigned)((int)CACHE_LACKING(0) - (int)below);
    char text[CACHE_ERROR_TEXT];
    (void)snprintf(text, sizeof text, "%s: the change is in memory only: %s", call,
                   why[lack < CACHE_LACK_COUNT ? lack : CACHE_LACK_OTHER]);
    return cache_fail(c, CELLAR_E_IO, 0, text);
}

CELLAR_PRIVATE cellar_err cache_tier_commit(cellar *c, const cache_tier *t, cellar_err err)
{
    l2 *d = t != NULL ? cache_tier_disk(t) : NULL;
    if (d == NULL) { return err; }
    if (l2_commit(d) == CELLAR_OK || err < 0) { return err; }
    return cache_fail(c, CELLAR_E_IO, 0, l2_stands_still(d)
                          ? "the change is in memory only and not durable: " CACHE_DISK_STANDS
                          : "the change is in memory only and not durable: the disk failed");
}

CELLAR_API cellar_err cellar_sync(cellar *c)
{
    if (c == NULL) { return CELLAR_E_INVAL; }
    if (cache_is_closed(c)) { return cache_closed(c, __func__); }
    l2 *d = cache_disk(c->store);
    if (d == NULL) { return CELLAR_DISABLED; }
    l2_images_save(d, false);
    const cellar_err err = l2_sync(d);
    return err >= 0 ? err : cache_fail(c, err, 0, "cellar_sync: the disk failed");
}

BASE_SIZE_END
