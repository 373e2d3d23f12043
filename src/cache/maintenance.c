/* SPDX-License-Identifier: MIT
 *
 * maintenance: background work, by a call of the host or by one thread; options that change at run
 * time.
 *
 * WALK       thread: tick of L1 and tier -> time until the next entry is due -> sleep that long, at
 *            most 0.5 s, or until the bell (a namespace was cleared)
 * INVARIANTS thread_state: OFF -> MOVING -> ON -> MOVING -> OFF, moved by compare-exchange. Only
 *            the thread that moved it starts or joins, so a store has at most one thread.
 * LOCKING    None of its own: L1 allows one tick at a time.
 * LIMITS     The thread works in pieces of 2 ms. If the host supplies the clock, the thread notices
 *            a jump within 0.5 s. */
#include "cache/cache_int.h"

BASE_SIZE_BEGIN

#define CACHE_PIECE_US 2000u
#define CACHE_SLEEP_MOST_MS 500
#define CACHE_SLEEP_BARREN_MS 20 /* work is due but freed nothing: perhaps another tick runs */

/* Run one piece of work. *removed: entries that ended. Return OK: nothing due is left; PENDING:
 * more is left; E_BUSY: another tick or a check runs, nothing was done. */
static cellar_err cache_tick_piece(cache_store *s, uint64_t budget_us, uint64_t *removed)
{
    *removed = 0;
    (void)base_add_sc(&s->ticking, 1u); /* store, then load: the piece or the pause sees the
                                         * other */
    if (base_load_sc(&s->paused) != 0) {
        (void)base_sub_ar(&s->ticking, 1u);
        return CELLAR_E_BUSY;
    }
    const uint64_t since_ns = base_now_ns();
    const cellar_err err = l1_upkeep(s->l1, budget_us, removed);
    const bool more = s->tier != NULL && s->tier->tick != NULL &&
                      s->tier->tick(s->tier->ctx, budget_us);
    const uint64_t took_ns = base_now_ns() - since_ns;
    stats_count(s->stats, STATS_TICK, 1);
    stats_count(s->stats, STATS_TICK_NS, took_ns);
    stats_time(s->stats, STATS_OP_TICK, took_ns);
    (void)base_sub_ar(&s->ticking, 1u);
    return err == CELLAR_OK && more ? CELLAR_PENDING : err;
}

CELLAR_PRIVATE void cache_tick_pause(cache_store *s)
{
    (void)base_add_sc(&s->paused, 1u);
    while (base_load_sc(&s->ticking) != 0 && base_thread_self()->depth == 0) { base_yield(); }
}

CELLAR_PRIVATE void cache_tick_resume(cache_store *s) { (void)base_sub_ar(&s->paused, 1u); }

CELLAR_API cellar_err cellar_tick(cellar *c, uint64_t budget_us, uint64_t *expired)
{
    if (expired != NULL) { *expired = 0; }
    if (c == NULL) { return CELLAR_E_INVAL; }
    if (cache_is_closed(c)) { return cache_closed(c); }
    cache_store *s = c->store;
    uint64_t removed;
    const cellar_err err = cache_tick_piece(s, budget_us, &removed);
    if (expired != NULL) { *expired = removed; }
    const bool jobs = cache_load_tick(s, budget_us); /* outside the piece: loaders are code of
                                                      * the host */
    /* Inside a listener the running tick may belong to this thread: it would wait for itself. */
    if (err == CELLAR_E_BUSY && base_thread_self()->depth > 0) { return CELLAR_OK; }
    if (err == CELLAR_E_BUSY) { base_yield(); } /* repeated calls wait instead of spinning */
    return err == CELLAR_OK && !jobs ? CELLAR_OK : CELLAR_PENDING;
}

/* ---- the thread ---- */

static int64_t cache_sleep_ms(const cache_store *s, cellar_err err, bool got_on)
{
    if (err != CELLAR_OK) { return got_on ? 0 : CACHE_SLEEP_BARREN_MS; }
    const int64_t next = l1_next_due_ms(s->l1);
    if (next == BASE_NEVER_MS) { return CACHE_SLEEP_MOST_MS; }
    const int64_t wait = next - base_now_ms(&s->clock);
    return BASE_MIN(BASE_MAX(wait, 1), CACHE_SLEEP_MOST_MS);
}

static void cache_thread_main(void *arg)
{
    cache_store *s = arg;
    while (base_load_acq(&s->thread_stop) == 0) {
        const uint32_t bell = base_load_acq(&s->thread_bell);
        const uint64_t used = base_load_rlx(&s->account.used);
        uint64_t removed;
        const cellar_err err = cache_tick_piece(s, CACHE_PIECE_US, &removed);
        const bool got_on = removed != 0 || base_load_rlx(&s->account.used) < used;
        (void)cache_load_tick(s, CACHE_PIECE_US);
        const int64_t wait_ms = cache_sleep_ms(s, err, got_on);
        if (wait_ms <= 0) {
            base_yield();
        } else if (base_load_acq(&s->thread_stop) == 0) {
            (void)sync_wait(&s->thread_bell, bell, base_now_ns() +
                            (uint64_t)wait_ms * 1000000u);
        }
    }
}

CELLAR_PRIVATE void cache_thread_ring(cache_store *s)
{
    if (base_load_rlx(&s->thread_state) == CACHE_THREAD_OFF) { return; }
    (void)base_add_ar(&s->thread_bell, 1u);
    sync_wake(&s->thread_bell, 1);
}

CELLAR_PRIVATE cellar_err cache_thread_start(cache_store *s)
{
    if (base_load_acq(&s->thread_state) == CACHE_THREAD_ON) { return CELLAR_OK; }
    if (!base_cas_ar(&s->thread_state, (uint32_t)CACHE_THREAD_OFF,
                     (uint32_t)CACHE_THREAD_MOVING)) {
        return CELLAR_E_BUSY;
    }
    base_store_rel(&s->thread_stop, 0u);
    const int error = base_thread_start(&s->thread, cache_thread_main, s, "cellar-upkeep");
    base_store_rel(&s->thread_state, error == 0 ? (uint32_t)CACHE_THREAD_ON
                                                : (uint32_t)CACHE_THREAD_OFF);
    return error == 0 ? CELLAR_OK : CELLAR_E_NOMEM;
}

static cellar_err cache_thread_end(cache_store *s)
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

/* ---- options at run time ---- */

static cellar_err cache_set_thread(cellar *c, int64_t on)
{
    cache_store *s = c->store;
    if (s->forked && on != 0) {
        return cache_fail(c, CELLAR_E_FORKED, 0,
                          "cellar_option_set: a forked child cannot have a maintenance thread");
    }
    if (base_thread_self()->depth > 0) { /* this thread may run the listener */
        return cache_fail(c, CELLAR_E_BUSY, 0,
                          "cellar_option_set: set the maintenance thread outside listeners");
    }
    const cellar_err err = on != 0 ? cache_thread_start(s) : cache_thread_end(s);
    if (err != CELLAR_OK) {
        return cache_fail(c, err, 0,
                          "cellar_option_set: the maintenance thread was not changed: retry");
    }
    return err;
}

static cellar_err cache_set_log_level(cellar *c, int64_t level)
{
    static const base_log_level of[] = { BASE_LOG_WARNING, BASE_LOG_ERROR, BASE_LOG_WARNING,
                                         BASE_LOG_INFO, BASE_LOG_DEBUG, BASE_LOG_OFF };
    cache_store *s = c->store;
    const base_log_level inner = of[level];
    base_store_rlx(&s->quiet_level, (uint32_t)inner);
    base_store_rlx(&s->log.level, s->log.fn != NULL ? (int)inner : (int)BASE_LOG_OFF);
    cache_namespaces_talk(s, inner >= BASE_LOG_INFO);
    return CELLAR_OK;
}

static cellar_err cache_set_memory(cellar *c, int64_t bytes)
{
    if (bytes < (int64_t)CELLAR_MEMORY_MIN) {
        return cache_fail_number(c, "cellar_option_set: memory_bytes must be at least 1 MiB",
                                 bytes);
    }
    if ((uint64_t)bytes < base_load_rlx(&c->store->account.limit) &&
        (uint64_t)bytes < l1_least_budget(c->l1)) {
        return cache_fail(c, CELLAR_E_RANGE, 0,
                          "cellar_option_set: memory_bytes must hold the tables of the store");
    }
    const cellar_err err = l1_resize(c->l1, (uint64_t)bytes);
    if (err == CELLAR_OK) { return err; }
    const char *why = "cellar_option_set: memory_bytes: another resize is running";
    if (err == CELLAR_E_SPACE) {
        why = "cellar_option_set: memory_bytes: pinned entries prevent shrinking";
    } else if (err == CELLAR_E_RANGE) {
        why = "cellar_option_set: memory_bytes is beyond the address space reserved at open";
    }
    return cache_fail(c, err == CELLAR_E_SPACE ? CELLAR_E_BUSY : err, 0, why);
}

static cellar_err cache_set_eviction(cellar *c, int64_t rule)
{
    if (rule < CELLAR_EVICT_DEFAULT || rule > CELLAR_EVICT_FIFO) {
        return cache_fail_number(c, "cellar_option_set: eviction must be a cellar_eviction", rule);
    }
    const uint32_t to = rule == CELLAR_EVICT_DEFAULT ? (uint32_t)CELLAR_EVICT_ADAPTIVE
                                                     : (uint32_t)rule;
    l1_set_policy(c->l1, cache_policy(to));
    base_store_rlx(&c->store->eviction, to);
    return CELLAR_OK;
}

static cellar_err cache_set_disk_bytes(cellar *c, int64_t bytes)
{
    cache_store *s = c->store;
    if (bytes < (int64_t)CELLAR_L2_BYTES_MIN) {
        return cache_fail_number(c, "cellar_option_set: l2_bytes must be at least 16 MiB", bytes);
    }
    if (s->tier == NULL || s->tier->resize == NULL) {
        return cache_fail(c, CELLAR_E_UNSUPPORTED, 0,
                          "cellar_option_set: l2_bytes: no disk tier works");
    }
    const cellar_err err = s->tier->resize(s->tier->ctx, (uint64_t)bytes);
    return err == CELLAR_OK ? err : cache_fail(c, err, 0, err == CELLAR_E_SPACE
        ? "cellar_option_set: l2_bytes: the disk is full" : err == CELLAR_E_RANGE
        ? "cellar_option_set: l2_bytes is too small for its segments, or too large"
        : "cellar_option_set: l2_bytes: resizing failed");
}

static cellar_err cache_set_default(cellar *c, unsigned which, int64_t value)
{
    const bool window = which == CACHE_IDLE || which == CACHE_STALE;
    if (window && value > CACHE_WINDOW_MAX && !(which == CACHE_IDLE && value == CELLAR_TTL_NONE)) {
        return cache_fail(c, CELLAR_E_INVAL, 0,
                          "cellar_option_set: idle_ms and stale_ms must be at most 2^32 - 1");
    }
    cache_default_set(c, which, value);
    return CELLAR_OK;
}

static cellar_err cache_set_max_entries(cellar *c, int64_t entries)
{
    const cellar_err err = l1_set_max_entries(c->l1, (uint64_t)entries);
    if (err != CELLAR_OK) {
        return cache_fail(c, err, 0,
                          "cellar_option_set: max_entries: pinned entries prevent shrinking");
    }
    base_store_rlx(&c->store->max_entries, (uint64_t)entries);
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_option_set(cellar *c, cellar_option option, int64_t value)
{
    if (c == NULL) { return CELLAR_E_INVAL; }
    if (cache_is_closed(c)) { return cache_closed(c); }
    if (value < 0) {
        return cache_fail_number(c, "cellar_option_set: value must be 0 or more", value);
    }
    switch (option) {
    case CELLAR_OPT_MEMORY_BYTES: return cache_set_memory(c, value);
    case CELLAR_OPT_MAX_ENTRIES: return cache_set_max_entries(c, value);
    case CELLAR_OPT_EVICTION: return cache_set_eviction(c, value);
    case CELLAR_OPT_LOG_LEVEL:
        if (value > CELLAR_LOG_OFF) { break; }
        return cache_set_log_level(c, value);
    case CELLAR_OPT_MAINTENANCE_THREAD:
        if (value > 1) { break; }
        return cache_set_thread(c, value);
    case CELLAR_OPT_DEFAULT_TTL_MS: return cache_set_default(c, CACHE_TTL, value);
    case CELLAR_OPT_NEGATIVE_TTL_MS: return cache_set_default(c, CACHE_NEGATIVE_TTL, value);
    case CELLAR_OPT_IDLE_MS: return cache_set_default(c, CACHE_IDLE, value);
    case CELLAR_OPT_MAX_AGE_MS: return cache_set_default(c, CACHE_MAX_AGE, value);
    case CELLAR_OPT_STALE_MS: return cache_set_default(c, CACHE_STALE, value);
    case CELLAR_OPT_L2_BYTES: return cache_set_disk_bytes(c, value);
    }
    return cache_fail(c, CELLAR_E_INVAL, 0,
                      "cellar_option_set: unknown option, or value out of range");
}

static int64_t cache_log_level_public(uint32_t level)
{
    static const int64_t of[] = { CELLAR_LOG_OFF, CELLAR_LOG_ERROR, CELLAR_LOG_WARNING,
                                  CELLAR_LOG_INFO, CELLAR_LOG_DEBUG };
    BASE_ASSERT(level < sizeof of / sizeof of[0]);
    return of[level];
}

CELLAR_API cellar_err cellar_option_get(cellar *c, cellar_option option, int64_t *value)
{
    if (c == NULL || value == NULL) {
        return cache_fail(c, CELLAR_E_INVAL, 0, "cellar_option_get: c and value must not be NULL");
    }
    if (cache_is_closed(c)) { return cache_closed(c); }
    const cache_store *s = c->store;
    switch (option) {
    case CELLAR_OPT_MEMORY_BYTES: *value = (int64_t)base_load_rlx(&s->account.limit); break;
    case CELLAR_OPT_MAX_ENTRIES: *value = (int64_t)base_load_rlx(&s->max_entries); break;
    case CELLAR_OPT_EVICTION: *value = base_load_rlx(&s->eviction); break;
    case CELLAR_OPT_LOG_LEVEL:
        *value = cache_log_level_public(base_load_rlx(&s->quiet_level));
        break;
    case CELLAR_OPT_MAINTENANCE_THREAD:
        *value = base_load_rlx(&s->thread_state) == CACHE_THREAD_ON;
        break;
    case CELLAR_OPT_DEFAULT_TTL_MS: *value = cache_default(c, CACHE_TTL); break;
    case CELLAR_OPT_NEGATIVE_TTL_MS: *value = cache_default(c, CACHE_NEGATIVE_TTL); break;
    case CELLAR_OPT_IDLE_MS: *value = cache_default(c, CACHE_IDLE); break;
    case CELLAR_OPT_MAX_AGE_MS: *value = cache_default(c, CACHE_MAX_AGE); break;
    case CELLAR_OPT_STALE_MS: *value = cache_default(c, CACHE_STALE); break;
    case CELLAR_OPT_L2_BYTES:
        *value = s->tier != NULL ? (int64_t)base_load_rlx(&s->disk_bytes) : 0;
        break;
    default: return cache_fail(c, CELLAR_E_INVAL, 0, "cellar_option_get: unknown option");
    }
    return CELLAR_OK;
}

BASE_SIZE_END
