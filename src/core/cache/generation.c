/* SPDX-License-Identifier: MIT
 *
 * generation: the numbers that make clear and version changes O(1).
 *
 * PICTURE    table: cell[generation & mask] = {generation, slot, cause, alive}; read without a lock
 *                    |0 root|.. |65 "session"|.. |131 dead: CLEARED|..
 *            clear: draw the next generation -> old cell dead -> new cell
 *            alive -> set it in the namespace
 * INVARIANTS The generation of an open namespace is alive, but for moments under NAMESPACE.
 *            Cells of living generations never collide: the counter skips numbers with a taken
 *            cell, and at most half of the cells are taken. A larger table keeps that: numbers that
 *            differ mod n differ mod 2n.
 *            A draw leaves out numbers that are equal to a stored one of the disk, mod the cells of
 *            the largest table. The table grows until the number that an open adopts has its cell,
 *            if it takes 1/64 of the budget at most.
 *            The counter has 64 bits, entries have its low 32. Numbers go in halves of 2^31: at the
 *            end of a half every namespace gets a number of the other half, so no living number
 *            and no call that began before has one that is drawn next. Entries of that half ended
 *            2^31 numbers ago; a pass over L1 and a FLOOR of the disk remove what is left of them.
 * LOCKING    NAMESPACE, except for reads. Memory is allocated before the lock and freed after it.
 * LIMITS     The cause of a generation's end is kept for as many draws as the table has cells (64
 *            or more). Listeners of the root get older ones as CLEARED, without a namespace; they
 *            are counted at the root. A listener of one namespace misses them (counted).
 *            A call or a lease that outlasts 2^31 numbers may meet its own number again.
 * SEE ALSO   README.md, "Namespaces and generations": rejected designs. */
#include "cache/generation.h"

#include "cache/call.h"
#include "cache/explain_record.h"
#include "cache/handle.h"
#include "cache/tier_calls.h"

#define CACHE_HALF UINT64_C(0x7fffffff) /* bits of a number within its half */
/* twice the namespaces of a store, and twice the names of a disk */
#define CACHE_CELLS_MOST 16384u

BASE_SIZE_BEGIN

/* ---- table ---- */

CELLAR_PRIVATE cache_generations *cache_generations_new(cache_store *s, uint32_t cells)
{
    const size_t bytes = sizeof(cache_generations) + (size_t)cells * sizeof(uint64_t);
    cache_generations *t = base_alloc(&s->account, BASE_MOD_NAMESPACE, bytes, NULL);
    if (t == NULL) { return NULL; }
    t->mask = cells - 1;
    t->bytes = (uint32_t)bytes; /* <= CACHE_CELLS_MOST cells */
    return t;
}

SYNC_HOLDS(NAMESPACE) static void cache_generations_install(cache_store *s, cache_generations *t)
{
    cache_generations *old = base_load_rlx(&s->generations);
    BASE_ASSERT(t->mask > old->mask);
    for (uint32_t i = 0; i <= old->mask; i++) {
        const uint64_t w = base_load_rlx(&old->cell[i]);
        if (w == 0) { continue; } /* would look like generation 0, the root */
        base_store_rlx(&t->cell[CACHE_CELL_GENERATION(w) & t->mask], w);
    }
    t->older = old;
    base_store_rel(&s->generations, t); /* acquire in cache_generation_alive */
}

BASE_SIZE_END

CELLAR_PRIVATE bool cache_generation_alive(const cache_store *s, uint32_t generation)
{
    const cache_generations *t = base_load_acq(&s->generations);
    const uint64_t w = base_load_acq(&t->cell[generation & t->mask]);
    return CACHE_CELL_GENERATION(w) == generation && (w & CACHE_CELL_ALIVE) != 0;
}

CELLAR_PRIVATE cellar_cause cache_generation_cause(const cache_store *s, uint32_t generation)
{
    const cache_generations *t = base_load_acq(&s->generations);
    const uint64_t w = base_load_acq(&t->cell[generation & t->mask]);
    const bool known = CACHE_CELL_GENERATION(w) == generation && CACHE_CELL_CAUSE(w) != 0;
    return known ? (cellar_cause)CACHE_CELL_CAUSE(w) : CELLAR_CAUSE_CLEARED;
}

BASE_SIZE_BEGIN

CELLAR_PRIVATE void cache_generation_end(cache_store *s, uint32_t generation, cellar_cause cause)
{
    uint32_t slot = STATS_SLOTS_MAX;
    for (cache_generations *t = base_load_rlx(&s->generations); t != NULL; t = t->older) {
        const uint64_t w = base_load_rlx(&t->cell[generation & t->mask]);
        if (CACHE_CELL_GENERATION(w) == generation) {
            slot = CACHE_CELL_SLOT(w);
            base_store_sc(&t->cell[generation & t->mask],
                          CACHE_CELL(generation, CACHE_CELL_SLOT(w), (uint32_t)cause, 0u));
        }
    }
    if (s->l1 == NULL || slot == STATS_SLOTS_MAX) { return; }
    l1_generation_died(s->l1, generation, stats_entries(s->stats, slot));
}

CELLAR_PRIVATE void cache_generation_take(cellar *v, uint32_t generation)
{
    cache_store *s = v->store;
    stats_entries_begin(s->stats, v->slot, generation);
    cache_generations *t = base_load_rlx(&s->generations);
    base_store_rel(&t->cell[generation & t->mask],
                   CACHE_CELL(generation, v->slot, 0u, CACHE_CELL_LIVES(v->quota)));
    if (v->quota != 0) { l1_quota_generation(s->l1, v->quota, generation); }
    if (s->l1 != NULL) { l1_cap_generation(s->l1, v->slot, generation); } /* NULL: root, at open */
    base_store_rel(&v->generation, generation); /* acquire in cache_key */
}

CELLAR_PRIVATE bool cache_numbers_left(const cache_store *s)
{
    return (s->next_generation & CACHE_HALF) != CACHE_HALF;
}

CELLAR_PRIVATE bool cache_generation_is_near(const cache_store *s, uint64_t whole)
{
    const uint64_t half = L2_GENERATION_MOST & ~CACHE_HALF;
    return whole != 0 && ((whole ^ (s->next_generation - 1)) & half) == 0;
}

CELLAR_PRIVATE bool cache_generation_is_free(const cache_store *s, uint64_t whole)
{
    const cache_generations *t = base_load_rlx(&s->generations);
    return (base_load_rlx(&t->cell[whole & t->mask]) & CACHE_CELL_ALIVE) == 0;
}

CELLAR_PRIVATE uint64_t cache_generation_draw(cache_store *s)
{
    uint64_t stored[CACHE_CELLS_MOST / 64] = { 0 }; /* a bit for each cell */
    uint64_t spare = 0; /* where each free cell is shared */
    l2 *d = cache_disk(s);
    if (d != NULL) { l2_generations_mark(d, stored, CACHE_CELLS_MOST); }
    for (uint32_t rounds = 0; rounds < CACHE_CELLS_MOST || spare == 0; rounds++) {
        if (!cache_numbers_left(s)) { break; }
        const uint64_t whole = s->next_generation++ & L2_GENERATION_MOST;
        const uint32_t cell = (uint32_t)whole % CACHE_CELLS_MOST;
        if (!cache_generation_is_free(s, whole)) { continue; }
        spare = whole;
        if ((stored[cell / 64] >> cell % 64 & 1u) == 0) { break; }
    }
    return spare;
}

CELLAR_PRIVATE void cache_generation_begin(cellar *v, uint64_t whole, cellar_cause cause)
{
    cache_store *s = v->store;
    const uint32_t old = base_load_rlx(&v->generation), generation = (uint32_t)whole;
    /* The end first: when a change under the new number returns, the old one is dead. */
    if (old != generation) { cache_generation_end(s, old, cause); }
    BASE_POINT("generation.ended");
    cache_generation_take(v, generation);
    if (old != generation) { cache_why_generation(s, v, old, cause); }
}

CELLAR_PRIVATE bool cache_namespace_is_named(const cellar *v) { return v->slot == 0 || v->id != 0; }

/* Give every namespace a number of the next half. */
SYNC_HOLDS(NAMESPACE) static void cache_numbers_turn(cache_store *s)
{
    s->next_generation += 2;
    cellar *v;
    for (uint32_t slot = 0; (v = cache_namespace_next(s, &slot)) != NULL; slot++) {
        if (base_load_rlx(&v->dropped) || !cache_namespace_is_named(v)) { continue; }
        const uint64_t whole = cache_generation_draw(s);
        BASE_ASSERT(whole != 0);
        cache_generation_begin(v, whole, CELLAR_CAUSE_CLEARED);
        v->unreported += s->tier != NULL;
    }
}

/* Tell the tier the new number of every namespace. */
SYNC_UNCHECKED static void cache_numbers_tell(cache_store *s)
{
    sync_take(NAMESPACE, &s->namespace_lock);
    cellar *v;
    for (uint32_t slot = 0; (v = cache_namespace_next(s, &slot)) != NULL; slot++) {
        if (v->unreported == 0 || !cache_namespace_hold(v)) { continue; }
        sync_drop(NAMESPACE, &s->namespace_lock);
        cache_tier_namespace_tell(v, NULL);
        cache_namespace_release(v);
        sync_take(NAMESPACE, &s->namespace_lock);
    }
    sync_drop(NAMESPACE, &s->namespace_lock);
}

CELLAR_PRIVATE void cache_numbers_end(cache_store *s)
{
    uint64_t removed, lsn = 0;
    while (s->l1 != NULL && l1_upkeep(s->l1, UINT64_MAX, &removed) == CELLAR_E_BUSY) {
        base_yield();
    }
    l2 *d = cache_disk(s);
    sync_take(NAMESPACE, &s->namespace_lock);
    const bool mine = !cache_numbers_left(s);
    if (mine) {
        if (d != NULL) { lsn = l2_floor_begin(d); } /* before a record has one of the numbers */
        cache_numbers_turn(s);
    }
    sync_drop(NAMESPACE, &s->namespace_lock);
    if (!mine) { return; }
    if (d != NULL) { l2_floor_log(d, lsn, L2_LOST_numbers); }
    if (s->tier != NULL) { cache_numbers_tell(s); }
    cache_thread_ring(s);
    if (d != NULL) { return; } /* the disk has said so */
    base_log(&s->log, BASE_LOG_WARNING, "cache", 0,
             "2^31 clears and opens of namespaces are used up: all entries ended");
}

CELLAR_PRIVATE void cache_rekey(cellar *c, l1_key *k)
{
    cache_store *s = c->store;
    if (!cache_generation_alive(s, k->generation)) { /* a clear may be about to store the next */
        sync_take(NAMESPACE, &s->namespace_lock);
        sync_drop(NAMESPACE, &s->namespace_lock);
    }
    BASE_POINT("cache.rekey");
    cache_key(c, k, k->bytes, k->len);
}

CELLAR_PRIVATE cellar *cache_generation_namespace(cache_store *s, uint32_t generation,
                                                  cache_generation_info *info)
{
    *info = (cache_generation_info){ .dead_by = CELLAR_CAUSE_CLEARED };
    cellar *found = NULL;
    sync_take(NAMESPACE, &s->namespace_lock);
    const cache_generations *t = base_load_rlx(&s->generations);
    const uint64_t w = base_load_rlx(&t->cell[generation & t->mask]);
    if (CACHE_CELL_GENERATION(w) == generation && w != 0) {
        const uint32_t cause = CACHE_CELL_CAUSE(w);
        info->known = true;
        if (cause != CELLAR_CAUSE_NONE) { info->dead_by = (cellar_cause)cause; }
        const uint32_t slot = CACHE_CELL_SLOT(w);
        cellar *v = slot != CACHE_CELL_NO_SLOT ? cache_namespace_at(s, slot) : NULL;
        if (v != NULL && cache_namespace_hold(v)) { found = v; }
        info->dropped = found != NULL && base_load_rlx(&found->dropped);
    }
    sync_drop(NAMESPACE, &s->namespace_lock);
    return found;
}

/* Return how many cells the table needs so that the number that the disk has stored has its own;
 * 0: it has, or they are too many. */
SYNC_HOLDS(NAMESPACE) static uint32_t cache_cells_wanted(const cellar *fresh)
{
    l2_namespace t = { 0, 0, 0 };
    const cache_generations *g = base_load_rlx(&fresh->store->generations);
    if (fresh->no_disk || !cache_tier_namespace_find(fresh, &t) ||
        !cache_generation_is_near(fresh->store, t.generation)) {
        return 0;
    }
    const uint64_t w = base_load_rlx(&g->cell[t.generation & g->mask]);
    const uint64_t differ = CACHE_CELL_GENERATION(w) ^ (uint32_t)t.generation;
    const uint64_t most = base_load_rlx(&fresh->store->account.limit) / 64 / sizeof g->cell[0];
    const uint64_t cells = 2 * (differ & (0 - differ)); /* its lowest bit tells them apart */
    const bool taken = (w & CACHE_CELL_ALIVE) != 0 && cells <= BASE_MIN(most, CACHE_CELLS_MOST);
    return taken ? (uint32_t)cells : 0;
}

CELLAR_PRIVATE bool cache_namespace_ready(const cellar *fresh)
{
    cache_store *s = fresh->store;
    cache_generations *bigger = NULL;
    bool tight = false;
    for (;;) {
        sync_take(NAMESPACE, &s->namespace_lock);
        uint32_t cells = base_load_rlx(&s->generations)->mask + 1;
        if (bigger != NULL && bigger->mask >= cells) {
            cache_generations_install(s, bigger);
            cells = bigger->mask + 1;
            bigger = NULL;
        }
        const bool used_up = !cache_numbers_left(s);
        const bool small = cells < 2 * (s->namespace_count + 1); /* half stay free: a draw ends */
        const uint32_t more = small ? 2 * cells : tight ? 0 : cache_cells_wanted(fresh);
        if (!used_up && more == 0) { break; }
        sync_drop(NAMESPACE, &s->namespace_lock);
        if (bigger != NULL) { base_free(&s->account, BASE_MOD_NAMESPACE, bigger, bigger->bytes); }
        bigger = NULL; /* another thread has installed one */
        if (used_up && base_thread_self()->depth > 0) { return false; }
        if (used_up) { cache_numbers_end(s); }
        if (more != 0) { bigger = cache_generations_new(s, more); }
        if (small && bigger == NULL) { return false; }
        tight = more != 0 && bigger == NULL;
    }
    if (bigger != NULL) { base_free(&s->account, BASE_MOD_NAMESPACE, bigger, bigger->bytes); }
    return true;
}

BASE_SIZE_END
