/* SPDX-License-Identifier: MIT
 *
 * generation: the numbers that make clear and version changes O(1).
 *
 * PICTURE    table: cell[generation & mask] = {generation, slot, cause, alive}; read without a lock
 *                    |0 root|.. |65 "session"|.. |131 dead: CLEARED|..
 *            clear: draw the next generation -> old cell dead -> new cell
 *            alive -> set it in the namespace
 * INVARIANTS The generation of an open namespace is alive, but for moments under NAMESPACE and
 *            while the numbers restart: cache_rekey waits. Cells of living generations never
 *            collide: the counter skips numbers with a taken cell, and at most half of the cells
 *            are taken. A larger table keeps that: numbers that differ mod n differ mod 2n.
 *            A generation is not reused while an entry has it. When all 32 bits are used, all
 *            generations end, L1 is emptied, and every namespace gets a new number from 1 on.
 * LOCKING    NAMESPACE, except for reads. Memory is allocated before the lock and freed after it.
 * LIMITS     The cause of a generation's end is kept for as many draws as the table has cells (64
 *            or more). Listeners of the root get older ones as CLEARED, without a namespace; they
 *            are counted at the root. A listener of one namespace misses them (counted).
 * SEE ALSO   README.md, "Namespaces and generations": rejected designs. */
#include "cache/generation.h"

#include "cache/call.h"
#include "cache/explain_record.h"
#include "cache/handle.h"

BASE_SIZE_BEGIN

/* ---- table ---- */

CELLAR_PRIVATE cache_generations *cache_generations_new(cache_store *s, uint32_t cells)
{
    const size_t bytes = sizeof(cache_generations) + (size_t)cells * sizeof(uint64_t);
    cache_generations *t = base_alloc(&s->account, BASE_MOD_NAMESPACE, bytes, NULL);
    if (t == NULL) { return NULL; }
    t->mask = cells - 1;
    t->bytes = (uint32_t)bytes; /* <= 16,384 cells */
    return t;
}

SYNC_HOLDS(NAMESPACE) static void cache_generations_install(cache_store *s, cache_generations *t)
{
    cache_generations *old = base_load_rlx(&s->generations);
    BASE_ASSERT(t->mask == 2 * old->mask + 1);
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
    for (cache_generations *t = base_load_rlx(&s->generations); t != NULL; t = t->older) {
        const uint64_t w = base_load_rlx(&t->cell[generation & t->mask]);
        if (CACHE_CELL_GENERATION(w) == generation) {
            base_store_sc(&t->cell[generation & t->mask],
                          CACHE_CELL(generation, CACHE_CELL_SLOT(w), (uint32_t)cause, 0u));
        }
    }
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

CELLAR_PRIVATE bool cache_generation_next(cellar *v, cellar_cause cause)
{
    cache_store *s = v->store;
    cache_generations *t = base_load_rlx(&s->generations);
    const uint32_t old = base_load_rlx(&v->generation);
    uint32_t generation = 0;
    do {
        generation = s->next_generation;
        if (generation == 0) { return false; }
        s->next_generation = generation + 1; /* 0 after the last one */
    } while ((base_load_rlx(&t->cell[generation & t->mask]) & CACHE_CELL_ALIVE) != 0);
    /* The end first: when a change under the new number returns, the old one is dead. */
    if (old != generation) { cache_generation_end(s, old, cause); }
    BASE_POINT("generation.ended");
    cache_generation_take(v, generation);
    if (old != generation) { cache_why_generation(s, v, old, cause); }
    return true;
}

/* Wait until L1 is empty and numbers are available. Do not wait inside a listener: the thread that
 * empties L1 may have called it. */
static void cache_renumber_wait(cache_store *s)
{
    while (base_load_acq(&s->renumbering) != 0 && base_thread_self()->depth == 0) {
        (void)sync_wait(&s->renumbering, 1u, UINT64_MAX);
    }
}

CELLAR_PRIVATE bool cache_namespace_is_named(const cellar *v) { return v->slot == 0 || v->id != 0; }

SYNC_HOLDS(NAMESPACE) static void cache_renumber_namespaces(cache_store *s)
{
    for (cache_generations *t = base_load_rlx(&s->generations); t != NULL; t = t->older) {
        for (uint32_t i = 0; i <= t->mask; i++) { base_store_rlx(&t->cell[i], (uint64_t)0); }
    }
    s->next_generation = 1;
    cellar *v;
    for (uint32_t slot = 0; (v = cache_namespace_next(s, &slot)) != NULL; slot++) {
        if (v->dropped || !cache_namespace_is_named(v)) { continue; }
        /* Its old number may now belong to another namespace: do not kill it. */
        base_store_rlx(&v->generation, s->next_generation);
        const bool ok = cache_generation_next(v, CELLAR_CAUSE_CLEARED);
        BASE_ASSERT(ok);
        (void)ok;
        v->first_generation = base_load_rlx(&v->generation);
    }
}

CELLAR_PRIVATE void cache_renumber(cache_store *s)
{
    if (!base_cas_ar(&s->renumbering, 0u, 1u)) {
        cache_renumber_wait(s);
        return;
    }
    sync_take(NAMESPACE, &s->namespace_lock);
    cellar *v;
    for (uint32_t slot = 0; (v = cache_namespace_next(s, &slot)) != NULL; slot++) {
        cache_generation_end(s, base_load_rlx(&v->generation), CELLAR_CAUSE_CLEARED);
    }
    sync_drop(NAMESPACE, &s->namespace_lock);
    l1_stats now;
    uint64_t removed;
    do { /* every put is vetoed now, so the count only falls */
        l1_generation_died(s->l1);
        (void)l1_upkeep(s->l1, 20000, &removed);
        l1_stats_get(s->l1, &now);
        base_yield();
    } while (now.entries != 0);
    l2 *d = cache_disk(s);
    if (d != NULL) { l2_retire(d); } /* all stored records are dead */
    sync_take(NAMESPACE, &s->namespace_lock);
    cache_renumber_namespaces(s);
    sync_drop(NAMESPACE, &s->namespace_lock);
    base_store_rel(&s->renumbering, 0u);
    sync_wake(&s->renumbering, INT32_MAX);
    base_log(&s->log, BASE_LOG_WARNING, "cache", 0,
             "all generations are used: L1 was emptied, numbers restart at 1");
}

CELLAR_PRIVATE void cache_rekey(cellar *c, l1_key *k)
{
    cache_store *s = c->store;
    if (!cache_generation_alive(s, k->generation)) { /* a clear may be about to store the next */
        sync_take(NAMESPACE, &s->namespace_lock);
        sync_drop(NAMESPACE, &s->namespace_lock);
    }
    const uint32_t generation = base_load_acq(&c->generation);
    if (generation == k->generation && !cache_generation_alive(s, generation) &&
        !cache_is_closed(c)) {
        if (base_load_acq(&s->renumbering) != 0 || base_thread_self()->depth > 0) {
            cache_renumber_wait(s);
        } else {
            cache_renumber(s); /* forked child: the parent was in the middle of it */
        }
    }
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
        cellar *v = cache_namespace_at(s, CACHE_CELL_SLOT(w));
        if (v != NULL && v->first_generation <= generation && cache_namespace_hold(v)) {
            found = v;
        }
        info->dropped = found != NULL && found->dropped;
    }
    sync_drop(NAMESPACE, &s->namespace_lock);
    return found;
}

CELLAR_PRIVATE bool cache_namespace_ready(cache_store *s)
{
    cache_generations *bigger = NULL;
    for (;;) {
        sync_take(NAMESPACE, &s->namespace_lock);
        uint32_t cells = base_load_rlx(&s->generations)->mask + 1;
        if (bigger != NULL && bigger->mask == 2 * cells - 1) {
            cache_generations_install(s, bigger);
            bigger = NULL;
            cells *= 2;
        }
        const bool used_up = s->next_generation == 0;
        const bool small = cells < 2 * (s->namespace_count + 1); /* half stay free: a draw ends */
        if (!used_up && !small) { break; }
        sync_drop(NAMESPACE, &s->namespace_lock);
        if (bigger != NULL) { base_free(&s->account, BASE_MOD_NAMESPACE, bigger, bigger->bytes); }
        bigger = NULL; /* another thread has installed one */
        if (used_up && base_thread_self()->depth > 0) { return false; }
        if (used_up) { cache_renumber(s); }
        if (small && (bigger = cache_generations_new(s, 2 * cells)) == NULL) { return false; }
    }
    if (bigger != NULL) { base_free(&s->account, BASE_MOD_NAMESPACE, bigger, bigger->bytes); }
    return true;
}

BASE_SIZE_END
