/* SPDX-License-Identifier: MIT
 *
 * invalidate: invalidate flights by key and by pattern, report figures.
 *
 * INVARIANTS A change of a key unlinks inside its own window.
 *            A pattern visits each flight of its generation once: a batch continues where the last
 *            one ended, so the cost is linear in the number of flights.
 * LOCKING    One shard lock at a time; patterns are matched without a lock.
 * SEE ALSO   flight/README.md: proof of publishing. */
#include "flight/types.h"

/* ---- inside windows ---- */

CELLAR_PRIVATE void flight_invalidate(flight_table *t, const flight_key *key, const flight *but)
{
    flight_shard *s = flight_shard_of(t, key->hash);
    sync_take(FLIGHT, &s->lock);
    for (flight *f = flight_find(s, key, true, NULL), *next; f != NULL; f = next) {
        next = flight_find(s, key, true, f);
        if (f != but) { flight_unlink(s, f); }
    }
    sync_drop(FLIGHT, &s->lock);
}

#define FLIGHT_BATCH 16u

/* Collect up to FLIGHT_BATCH attached flights of the shard, one ref each for the caller, and one
 * for the new *from. Start at *from (NULL: the newest), or below number `below` if *from was
 * unlinked meanwhile. The list of a shard is in the order of gen, because flight_init runs under
 * the lock. */
SYNC_HOLDS(FLIGHT)
static unsigned flight_batch(flight_shard *s, uint32_t generation, uint64_t below, flight **from,
                             flight *out[FLIGHT_BATCH])
{
    unsigned n = 0;
    flight *f = *from != NULL && (*from)->attached ? *from : s->attached;
    for (; f != NULL && n < FLIGHT_BATCH; f = f->next) {
        if (f->generation != generation || f->gen >= below) { continue; }
        (void)base_add_rlx(&f->refs, 1u);
        out[n++] = f;
    }
    *from = f;
    if (f != NULL) { (void)base_add_rlx(&f->refs, 1u); }
    return n;
}

static void flight_invalidate_one(flight_table *t, flight *f,
                                bool (*match)(void *ctx, const void *key, size_t len), void *ctx)
{
    if (match(ctx, f->key, f->key_len)) {
        flight_shard *s = flight_shard_of(t, f->hash);
        sync_take(FLIGHT, &s->lock);
        if (f->attached) { flight_unlink(s, f); }
        sync_drop(FLIGHT, &s->lock);
    }
    flight_unref(t, f);
}

CELLAR_PRIVATE void flight_invalidate_match(flight_table *t, uint32_t generation,
                                          bool (*match)(void *ctx, const void *key, size_t len),
                                          void *ctx)
{
    const uint64_t end = base_load_sc(&t->next_gen) + 1;
    for (uint32_t i = 0; i <= t->mask; i++) {
        flight_shard *s = &t->shard[i];
        flight *found[FLIGHT_BATCH], *from = NULL;
        uint64_t below = end;
        do {
            flight *begun = from;
            sync_take(FLIGHT, &s->lock);
            const unsigned n = flight_batch(s, generation, below, &from, found);
            sync_drop(FLIGHT, &s->lock);
            if (begun != NULL) { flight_unref(t, begun); }
            if (n != 0) { below = found[n - 1]->gen; }
            for (unsigned j = 0; j < n; j++) { flight_invalidate_one(t, found[j], match, ctx); }
        } while (from != NULL);
    }
}

CELLAR_PRIVATE bool flight_since(flight_table *t, const flight_key *key, int64_t *start_ms)
{
    flight_shard *s = flight_shard_of(t, key->hash);
    sync_take(FLIGHT, &s->lock);
    const flight *f = flight_find(s, key, true, NULL);
    if (f != NULL) { *start_ms = f->start_ms; }
    sync_drop(FLIGHT, &s->lock);
    return f != NULL;
}

BASE_SIZE_BEGIN

/* ---- figures ---- */

CELLAR_PRIVATE bool flight_is_detached(flight_table *t, flight *f, bool *alone)
{
    flight_shard *s = flight_shard_of(t, f->hash);
    sync_take(FLIGHT, &s->lock);
    const bool detached = !f->attached;
    *alone = base_load_rlx(&f->refs) == 1 && f->subs == NULL;
    sync_drop(FLIGHT, &s->lock);
    return detached;
}

SYNC_HOLDS(FLIGHT) static bool flight_audit_shard(flight_shard *s, uint32_t *records)
{
    uint32_t attached = 0, spares = 0;
    bool ok = true;
    for (flight *f = s->attached; f != NULL; f = f->next) {
        attached++;
        ok = ok && f->attached && base_load_rlx(&f->refs) > 0;
        ok = ok && (f->next == NULL || (f->next->prev == f && f->next->gen < f->gen));
        ok = ok && FLIGHT_PHASE(base_load_rlx(&f->state)) <= FLIGHT_LOADING;
        const flight_key k = flight_key_of(f);
        ok = ok && (f->kind == FLIGHT_SIDE || flight_find(s, &k, false, NULL) == f);
    }
    for (const flight *f = s->detached; f != NULL; f = f->next) {
        ok = ok && !f->attached && base_load_rlx(&f->refs) > 0;
        ok = ok && (f->next == NULL || f->next->prev == f);
        (*records)++;
    }
    for (const flight *f = s->spare; f != NULL; f = f->next) {
        ok = ok && base_load_rlx(&f->refs) == 0 && f->resident;
        spares++;
    }
    *records += attached;
    return ok && attached == base_load_rlx(&s->count) && spares == s->spare_count;
}

CELLAR_PRIVATE bool flight_audit(flight_table *t)
{
    bool ok = true;
    uint32_t records = 0;
    for (uint32_t i = 0; i <= t->mask; i++) {
        flight_shard *s = &t->shard[i];
        sync_take(FLIGHT, &s->lock);
        ok = flight_audit_shard(s, &records) && ok;
        sync_drop(FLIGHT, &s->lock);
    }
    return ok && records == base_load_rlx(&t->open);
}

BASE_SIZE_END
