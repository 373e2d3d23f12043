/* SPDX-License-Identifier: MIT
 *
 * maintenance: background work, by a call of the host or by one thread.
 *
 * WALK       thread: tick of L1 and tier -> time until the next entry is due -> sleep that long, at
 *            most 0.5 s, or until the bell (a namespace was cleared)
 * INVARIANTS thread_state: OFF -> MOVING -> ON -> MOVING -> OFF, moved by compare-exchange. Only
 *            the thread that moved it starts or joins, so a store has at most one thread.
 * LOCKING    None of its own: L1 allows one tick at a time.
 * LIMITS     The thread works in pieces of 2 ms. If the host supplies the clock, the thread notices
 *            a jump within 0.5 s. */
#include "store/maintenance.h"

#include "cache/call.h"
#include "cache/error.h"
#include "cache/tier_calls.h"
#include "loading/refresh.h"
#include "store/l2_tier.h"

BASE_SIZE_BEGIN

#define CACHE_PIECE_US 2000u
#define CACHE_SLEEP_MOST_MS 500
#define CACHE_SLEEP_BARREN_MS 20 /* work is due but freed nothing: perhaps another tick runs */

/* Run one piece of work. *removed: entries that ended; *offers: the disk may take more entries.
 * Return OK: nothing due is left; PENDING: more is left; E_BUSY: another tick or a check runs, and
 * nothing that was due was done. */
static cellar_err cache_tick_piece(cache_store *s, uint64_t budget_us, uint64_t *removed,
                                   bool *offers)
{
    *removed = 0;
    *offers = false;
    (void)base_add_sc(&s->ticking, 1u); /* store, then load: the piece or the pause sees the
                                         * other */
    if (base_load_sc(&s->paused) != 0) {
        (void)base_sub_ar(&s->ticking, 1u);
        return CELLAR_E_BUSY;
    }
    const uint64_t since_ns = base_now_ns();
    const cellar_err err = l1_upkeep(s->l1, budget_us, removed);
    const bool more = cache_tiers_tick(s, budget_us);
    const uint64_t took_ns = base_now_ns() - since_ns;
    stats_count(s->stats, STATS_TICK, 1);
    stats_count(s->stats, STATS_TICK_NS, took_ns);
    stats_time(s->stats, STATS_OP_TICK, took_ns);
    *offers = cache_disk_offer(s, budget_us);
    (void)base_sub_ar(&s->ticking, 1u);
    return err == CELLAR_OK && more ? CELLAR_PENDING : err;
}

CELLAR_PRIVATE void cache_tick_pause(cache_store *s)
{
    (void)base_add_sc(&s->paused, 1u);
    while (base_load_sc(&s->ticking) != 0 && base_thread_self()->depth == 0) { base_yield(); }
}

CELLAR_PRIVATE void cache_tick_resume(cache_store *s) { (void)base_sub_ar(&s->paused, 1u); }

static int64_t cache_sleep_ms(const cache_store *s, cellar_err err, bool got_on)
{
    if (err != CELLAR_OK) { return got_on ? 0 : CACHE_SLEEP_BARREN_MS; }
    const bool waits = base_load_rlx(&s->owes) != CACHE_OWES_NOTHING ||
                       base_load_rlx(&s->demoted_count) != 0;
    const int64_t most = waits ? CACHE_SLEEP_BARREN_MS : CACHE_SLEEP_MOST_MS;
    const int64_t next = l1_next_due_ms(s->l1);
    if (next == BASE_NEVER_MS) { return most; }
    const int64_t wait = next - base_now_ms(&s->clock);
    return BASE_MIN(BASE_MAX(wait, 1), most);
}

/* Run one piece of everything. *wait_ms: time until the next one. Return as cache_tick_piece. */
static cellar_err cache_tick_all(cache_store *s, uint64_t budget_us, int64_t *wait_ms)
{
    const uint64_t used = base_load_rlx(&s->account.used);
    uint64_t removed;
    bool offers;
    const cellar_err err = cache_tick_piece(s, budget_us, &removed, &offers);
    const bool got_on = removed != 0 || base_load_rlx(&s->account.used) < used;
    const bool jobs = cache_load_tick(s, budget_us); /* outside the piece: loaders are code of
                                                      * the host */
    *wait_ms = offers ? 0 : cache_sleep_ms(s, err, got_on);
    return err == CELLAR_OK && (jobs || offers) ? CELLAR_PENDING : err;
}

CELLAR_PRIVATE cellar_err cache_tick(void *object, uint64_t budget_us, int64_t *wait_ms)
{
    cellar *c = object;
    if (cache_is_closed(c)) { return cache_closed(c, "cellar_tick"); }
    const cellar_err err = cache_tick_all(c->store, budget_us, wait_ms);
    /* Tiers and loads have deadlines of their own. */
    flight_table *t = base_load_acq(&c->store->flights);
    if (base_load_acq(&c->store->tier_count) != 0 || (t != NULL && flight_count(t) != 0)) {
        *wait_ms = BASE_MIN(*wait_ms, CACHE_SLEEP_BARREN_MS);
    }
    /* Inside a listener the running tick may belong to this thread: it would wait for itself. */
    if (err == CELLAR_OK || (err == CELLAR_E_BUSY && base_thread_self()->depth > 0)) {
        return CELLAR_OK;
    }
    if (err == CELLAR_E_BUSY) { base_yield(); } /* repeated calls wait instead of spinning */
    *wait_ms = 0;
    return CELLAR_PENDING;
}

/* ---- a save ---- */

CELLAR_API cellar_err cellar_save(cellar *c, uint64_t *missed)
{
    uint64_t none;
    if (missed == NULL) { missed = &none; }
    *missed = 0;
    if (c == NULL) { return CELLAR_E_INVAL; }
    if (cache_is_closed(c)) { return cache_closed(c, __func__); }
    const cellar_err err = cache_disk_save(c->store, missed);
    if (err >= 0) { return err; }
    return cache_fail(c, err, 0, err == CELLAR_E_NOMEM ? "cellar_save: no memory for the walk"
                                                       : "cellar_save: the disk failed");
}

/* ---- the thread ---- */

static void cache_thread_main(void *arg)
{
    cache_store *s = arg;
    base_store_rlx(&s->thread_self, base_thread_self());
    while (base_load_acq(&s->thread_stop) == 0) {
        const uint32_t bell = base_load_acq(&s->thread_bell);
        int64_t wait_ms;
        (void)cache_tick_all(s, CACHE_PIECE_US, &wait_ms);
        if (wait_ms <= 0) {
            base_yield();
        } else if (base_load_acq(&s->thread_stop) == 0) {
            (void)sync_wait(&s->thread_bell, bell, base_now_ns() +
                            (uint64_t)wait_ms * 1000000u);
        }
    }
    base_store_rlx(&s->thread_self, (base_thread_record *)NULL);
}

CELLAR_PRIVATE bool cache_thread_is_mine(const cache_store *s)
{
    return base_load_rlx(&s->thread_self) == base_thread_self();
}

CELLAR_PRIVATE cellar_err cache_thread_start(cache_store *s)
{
    if (base_load_acq(&s->thread_state) == CACHE_THREAD_ON) { return CELLAR_OK; }
    if (!base_cas_ar(&s->thread_state, (uint32_t)CACHE_THREAD_OFF,
                     (uint32_t)CACHE_THREAD_MOVING)) {
        return CELLAR_E_BUSY;
    }
    base_store_rel(&s->thread_stop, 0u);
    const int error = base_thread_start(&s->thread, cache_thread_main, s, "cellar-upkeep",
                                        s->jobs.stack_bytes);
    base_store_rel(&s->thread_state, error == 0 ? (uint32_t)CACHE_THREAD_ON
                                                : (uint32_t)CACHE_THREAD_OFF);
    return error == 0 ? CELLAR_OK : CELLAR_E_NOMEM;
}

CELLAR_PRIVATE cellar_err cache_thread_end(cache_store *s)
{
    if (base_load_acq(&s->thread_state) == CACHE_THREAD_OFF) { return CELLAR_OK; }
    if (!base_cas_ar(&s->thread_state, (uint32_t)CACHE_THREAD_ON, (uint32_t)CACHE_THREAD_MOVING)) {
        return CELLAR_E_BUSY;
    }
    base_store_rel(&s->thread_stop, 1u);
    (void)base_add_ar(&s->thread_bell, 1u);
    sync_wake(&s->thread_bell, INT32_MAX);
    base_thread_join(&s->thread);
    base_store_rel(&s->thread_state, (uint32_t)CACHE_THREAD_OFF);
    return CELLAR_OK;
}

CELLAR_PRIVATE void cache_thread_stop(cache_store *s)
{
    /* the moving thread finishes soon */
    while (cache_thread_end(s) == CELLAR_E_BUSY) { base_yield(); }
}

BASE_SIZE_END
