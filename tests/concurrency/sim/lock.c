/* SPDX-License-Identifier: MIT
 *
 * Aim:    Keyed locks hold in every interleaving. One owner at any hold time, rising fences, no
 *         call hangs, a lock handed over is never lost, a late owner takes nothing from the next
 *         one. Records that change keys under a fast taker change nothing. Scenarios here catch the
 *         mistakes that can be switched on in src/core/lock ("lock.*").
 * Method: Fibers acquire, try, extend and release a few keys in one table on the driver's clock. An
 *         owner notes itself in a plain variable. It fails if it finds another owner there with a
 *         running hold. Every fence is compared with the last one of its key. At the end the
 *         structure is walked, no thread waits, and the tick leaves nothing. */
#include "tests/concurrency/sim/scenarios.h"

#include <string.h>

#include "base/check.h"
#include "lock/record.h"
#include "tests/support/lock_audit.h"

enum { SIM_LOCK_KEYS = 70 };

static struct {
    cellar_locks *t;
    struct {
        uint64_t owner;     /* fence of the owner; 0: none */
        int64_t until_ms;   /* its hold */
        int32_t bound_tid;  /* THREAD_BOUND: its thread; 0 not */
        uint64_t last;      /* highest fence seen */
    } key[SIM_LOCK_KEYS];
    uint32_t told;          /* calls of the watcher */
    uint32_t order_next, order[4], left; /* left: fibers of lock_queue that got it, or gave up */
} locks;

static int64_t lock_now(void)
{
    const base_clock system = { .precise_ms = NULL };
    return base_now_ms(&system);
}

static void lock_watched(const void *key, size_t key_len, uint64_t fence, int64_t held_ms,
                         cellar_lock_lost cause, void *ctx)
{
    (void)ctx;
    (void)held_ms;
    BASE_SIM_CHECK(key_len == 1 && *(const unsigned char *)key < SIM_LOCK_KEYS && fence != 0);
    BASE_SIM_CHECK(cause == CELLAR_LOCK_LOST_EXPIRED || cause == CELLAR_LOCK_LOST_OWNER_DIED);
    locks.told++;
}

static void lock_open(uint64_t max_locks, uint32_t barging)
{
    memset(&locks, 0, sizeof locks);
    cellar_locks_config cfg = { .struct_size = sizeof cfg, .max_locks = max_locks,
                                .fence_start = 1000, .barging = barging };
    base_sim_calm(true);
    BASE_SIM_CHECK(cellar_locks_open(&cfg, &locks.t) == CELLAR_OK);
    BASE_SIM_CHECK(cellar_locks_watch(locks.t, lock_watched, NULL) == CELLAR_OK);
    base_sim_calm(false);
}

static void lock_shut(void)
{
    base_sim_calm(true);
    cellar_locks_stats s = cellar_locks_stats_default();
    BASE_SIM_CHECK(lock_audit(locks.t));
    base_sim_advance_ms(1000000); /* holds without a release */
    BASE_SIM_CHECK(cellar_tick(locks.t, 0, NULL) == CELLAR_OK);
    BASE_SIM_CHECK(cellar_tick(locks.t, 0, NULL) == CELLAR_OK);
    BASE_SIM_CHECK(lock_audit(locks.t));
    BASE_SIM_CHECK(cellar_locks_stats_get(locks.t, &s) == CELLAR_OK);
    BASE_SIM_CHECK(s.records == 0 && s.held == 0 && s.waiting == 0);
    BASE_SIM_CHECK(locks.told == s.expired + s.owner_died);
    cellar_locks_close(locks.t);
    base_sim_calm(false);
}

/* Return the hold in the table, if this fiber still owns it. */
static void lock_note_end(unsigned char k, const cellar_lock *lk)
{
    lock_record *r = lock_at(locks.t, lock_handle_record(lk));
    lock_stripe *stripe = &locks.t->stripe[lock_handle_stripe(lk)];
    sync_take(LOCK, &stripe->lock); /* the next owner writes its hold under it */
    const int64_t end_ms = base_load_rlx(&r->hold_end);
    const bool ours = lock_fence(base_load_rlx(&r->word)) == lk->fence;
    sync_drop(LOCK, &stripe->lock);
    if (ours && locks.key[k].owner == lk->fence) { locks.key[k].until_ms = end_ms; }
}

/* Extend a hold, which may shorten it: during the call the hold is unknown. */
static cellar_err lock_prolong(unsigned char k, const cellar_lock *lk, int64_t hold_ms)
{
    const bool mine = locks.key[k].owner == lk->fence;
    const int64_t was_ms = locks.key[k].until_ms;
    const bool late = locks.key[k].last > lk->fence || (mine && was_ms <= lock_now());
    if (mine) { locks.key[k].until_ms = INT64_MIN; }
    const cellar_err err = cellar_lock_extend(locks.t, lk, hold_ms);
    base_sim_note("prolong %u: %d, fence %u", k, (int)err, (unsigned)lk->fence);
    if (late) { BASE_SIM_CHECK(err == CELLAR_E_LOST); } /* nothing revives it */
    if (mine && locks.key[k].owner == lk->fence) {
        if (err != CELLAR_OK) { locks.key[k].until_ms = was_ms; }
        else { lock_note_end(k, lk); }
    }
    return err;
}

/* Check after a take that the time of the owner noted before was over. Other fibers run meanwhile
 * and may note theirs. */
static void lock_judge_last(unsigned char k, uint64_t fence)
{
    uint64_t owner;
    do {
        owner = locks.key[k].owner;
        if (owner == 0 || owner > fence) { return; }
        const int64_t until_ms = locks.key[k].until_ms;
        const int32_t tid = locks.key[k].bound_tid;
        const bool over = until_ms <= lock_now() || (tid != 0 && base_thread_gone(tid));
        BASE_SIM_CHECK(over || owner != locks.key[k].owner);
    } while (owner != locks.key[k].owner);
}

/* wait_timeout_ms 0: try. */
static cellar_err lock_take(unsigned char k, int64_t wait_timeout_ms, int64_t hold_ms,
                            uint32_t flags, cellar_lock *lk)
{
    cellar_lock_opts o = { .struct_size = sizeof o, .wait_timeout_ms = wait_timeout_ms,
                           .hold_ms = hold_ms,
                           .flags = flags | (wait_timeout_ms == 0 ? CELLAR_LOCK_NO_WAIT : 0) };
    const cellar_err err = cellar_lock_acquire(locks.t, &k, 1, &o, lk);
    base_sim_note("take %u: %d, fence %u", k, (int)err, (unsigned)lk->fence);
    if (err != CELLAR_OK) {
        BASE_SIM_CHECK(lk->fence == 0);
        return err;
    }
    if (hold_ms == INT64_MAX) { BASE_SIM_CHECK(cellar_lock_check(locks.t, lk) == CELLAR_OK); }
    const int32_t bound_tid = flags != 0 ? base_thread_id() : 0;
    lock_judge_last(k, lk->fence);
    BASE_SIM_CHECK(lk->fence != locks.key[k].last);
    if (lk->fence < locks.key[k].last) { /* lost again before it could be noted */
        BASE_SIM_CHECK(cellar_lock_check(locks.t, lk) == CELLAR_E_LOST);
        return CELLAR_OK;
    }
    locks.key[k].last = lk->fence; /* no other fiber runs from the judgement to the owner */
    locks.key[k].bound_tid = bound_tid;
    locks.key[k].owner = lk->fence;
    locks.key[k].until_ms = INT64_MIN; /* unless this fiber still owns it */
    lock_note_end(k, lk);
    return CELLAR_OK;
}

static cellar_err lock_give(unsigned char k, cellar_lock *lk)
{
    const uint64_t fence = lk->fence;
    const bool mine = locks.key[k].owner == fence;
    const int64_t until_ms = locks.key[k].until_ms;
    if (mine) { locks.key[k].owner = 0; } /* from the first step on another fiber may have it */
    const cellar_err err = cellar_lock_release(locks.t, lk);
    base_sim_note("give %u: %d, fence %u", k, (int)err, (unsigned)fence);
    BASE_SIM_CHECK(err == CELLAR_OK || err == CELLAR_E_LOST);
    if (err == CELLAR_OK) { BASE_SIM_CHECK(mine); } /* no fiber could take over before */
    if (err == CELLAR_E_LOST) { BASE_SIM_CHECK(!mine || until_ms <= lock_now()); }
    return err;
}

/* ---- lock_schedules: no holds: no owner may ever lose ---- */

static void lock_owner(void *arg)
{
    const uint32_t keys = *(const uint32_t *)arg;
    for (int i = 0; i < 4; i++) {
        const unsigned char k = (unsigned char)base_sim_below(keys);
        cellar_lock lk;
        const int64_t wait_timeout_ms = base_sim_below(4) == 0 ? 0 : INT64_MAX;
        const cellar_err err = lock_take(k, wait_timeout_ms, INT64_MAX, 0, &lk);
        BASE_SIM_CHECK(err == CELLAR_OK || (err == CELLAR_E_BUSY && wait_timeout_ms == 0));
        if (err != CELLAR_OK) { continue; }
        base_sim_point("owner");
        BASE_SIM_CHECK(locks.key[k].owner == lk.fence);
        if (base_sim_below(3) == 0) {
            BASE_SIM_CHECK(lock_prolong(k, &lk, INT64_MAX) == CELLAR_OK);
        }
        BASE_SIM_CHECK(cellar_lock_check(locks.t, &lk) == CELLAR_OK);
        BASE_SIM_CHECK(locks.key[k].owner == lk.fence);
        BASE_SIM_CHECK(lock_give(k, &lk) == CELLAR_OK);
        if (base_sim_below(4) == 0) {
            BASE_SIM_CHECK(cellar_tick(locks.t, 0, NULL) == CELLAR_OK);
        }
    }
}

SIM_SCENARIO(lock_schedules, "one owner, no call hangs")
{
    static const uint32_t keys[] = { 1, 2 };
    lock_open(0, base_sim_below(4) == 0);
    const uint32_t *n = &keys[base_sim_below(2)];
    for (int i = 0; i < 4; i++) { base_sim_spawn("owner", lock_owner, (void *)(uintptr_t)n); }
    base_sim_join_all();
    cellar_locks_stats s = cellar_locks_stats_default();
    BASE_SIM_CHECK(cellar_locks_stats_get(locks.t, &s) == CELLAR_OK);
    BASE_SIM_CHECK(s.expired == 0 && s.lost == 0 && s.held == 0);
    lock_shut();
}

/* ---- lock_hold: holds that expire, deadlines that pass, threads that leave without a release
 * ---- */

SIM_FIBER(lock_late)
{
    for (int i = 0; i < 3; i++) {
        const unsigned char k = (unsigned char)base_sim_below(2);
        cellar_lock lk;
        const int64_t wait_timeout_ms = base_sim_below(2) == 0 ? (int64_t)base_sim_below(30) :
            INT64_MAX;
        const int64_t hold_ms = 1 + (int64_t)base_sim_below(20);
        const bool bound = base_sim_below(4) == 0;
        cellar_err err = lock_take(k, wait_timeout_ms, hold_ms, bound ? CELLAR_LOCK_THREAD_BOUND :
                                   0, &lk);
        BASE_SIM_CHECK(err == CELLAR_OK || err == CELLAR_E_TIMEOUT || err == CELLAR_E_BUSY ||
                       err == CELLAR_E_DEADLOCK);
        if (err != CELLAR_OK) { continue; }
        if (base_sim_below(3) == 0) { base_sleep_ns(base_sim_below(30) * 1000000); }
        if (base_sim_below(3) == 0) {
            const int64_t more_ms = 1 + (int64_t)base_sim_below(20);
            err = lock_prolong(k, &lk, more_ms);
            BASE_SIM_CHECK(err == CELLAR_OK || err == CELLAR_E_LOST);
        }
        if (base_sim_below(4) == 0) { continue; } /* forgotten: the hold ends it */
        (void)lock_give(k, &lk);
    }
}

SIM_FIBER(lock_ticker)
{
    for (int i = 0; i < 3; i++) {
        base_sleep_ns(base_sim_below(20) * 1000000);
        BASE_SIM_CHECK(cellar_tick(locks.t, 0, NULL) == CELLAR_OK);
    }
}

SIM_SCENARIO(lock_hold, "holds expire, owners exit, waits end")
{
    lock_open(0, base_sim_below(4) == 0);
    base_sim_spawn_many(3, "late", lock_late, NULL);
    base_sim_spawn("ticker", lock_ticker, NULL);
    base_sim_join_all();
    lock_shut();
}

/* ---- lock_queue: first come, first served; the head of the queue watches the hold ---- */

static void lock_in_line(void *arg)
{
    const uint32_t me = (uint32_t)(uintptr_t)arg;
    cellar_lock lk;
    /* The first may give up before the lock is free; all others wait without limit. */
    const int64_t wait_timeout_ms = me == 0 && base_sim_below(2) == 0 ? 5 : INT64_MAX;
    const cellar_err err = lock_take(0, wait_timeout_ms, INT64_MAX, 0, &lk);
    BASE_SIM_CHECK(err == CELLAR_OK || (err == CELLAR_E_TIMEOUT && wait_timeout_ms == 5));
    locks.left++;
    if (err != CELLAR_OK) { return; }
    locks.order[locks.order_next++] = me;
    BASE_SIM_CHECK(lock_give(0, &lk) == CELLAR_OK);
}

SIM_SCENARIO(lock_queue, "first come, first served; none is left")
{
    cellar_locks_stats s = cellar_locks_stats_default();
    cellar_lock lk;
    lock_open(0, 0);
    BASE_SIM_CHECK(lock_take(0, 0, base_sim_below(2) == 0 ? 10 : INT64_MAX, 0, &lk) == CELLAR_OK);
    uint64_t waits = 0;
    for (uintptr_t i = 0; i < 3; i++) {
        base_sim_spawn("in line", lock_in_line, (void *)i);
        /* it waits in the queue before the next one comes */
        while (s.waits <= waits && locks.left <= i) {
            base_yield();
            BASE_SIM_CHECK(cellar_locks_stats_get(locks.t, &s) == CELLAR_OK);
        }
        /* A fiber that is through may have waited since the last look. */
        BASE_SIM_CHECK(cellar_locks_stats_get(locks.t, &s) == CELLAR_OK);
        waits = s.waits;
    }
    if (base_sim_below(3) != 0) { (void)lock_give(0, &lk); } /* else only the end of the hold...  */
    else { (void)lock_prolong(0, &lk, 7); } /* ...which is shorter now */
    base_sim_join_all();
    for (uint32_t i = 1; i < locks.order_next; i++) {
        BASE_SIM_CHECK(locks.order[i] > locks.order[i - 1]);
    }
    lock_shut();
}

/* ---- lock_records: more keys than the table keeps: records change keys under fast takers ---- */

SIM_FIBER(lock_fleeting)
{
    for (int i = 0; i < 6; i++) {
        const unsigned char k = (unsigned char)base_sim_below(3);
        cellar_lock lk;
        const cellar_err err = lock_take(k, INT64_MAX, INT64_MAX, 0, &lk);
        if (err == CELLAR_E_LIMIT) { continue; }
        BASE_SIM_CHECK(err == CELLAR_OK);
        BASE_SIM_CHECK(lock_give(k, &lk) == CELLAR_OK);
        if (base_sim_below(2) == 0) {
            BASE_SIM_CHECK(cellar_tick(locks.t, 0, NULL) == CELLAR_OK);
        }
    }
}

SIM_SCENARIO(lock_records, "records change keys under takers")
{
    lock_open(2, 0);
    base_sim_spawn_many(3, "fleeting", lock_fleeting, NULL);
    base_sim_join_all();
    lock_shut();
}

/* ---- lock_copies: copies of one handle in several fibers, while others wait for the key ---- */

static struct { cellar_lock lk; uint32_t given; } shared_lock;

SIM_FIBER(lock_copy)
{
    cellar_lock mine = shared_lock.lk;
    const uint64_t fence = mine.fence;
    for (int i = 0; i < 2; i++) {
        cellar_err err;
        if (base_sim_below(3) == 0) {
            err = cellar_lock_extend(locks.t, &mine, INT64_MAX);
            BASE_SIM_CHECK(err == CELLAR_OK || err == CELLAR_E_LOST || err == CELLAR_E_NOT_OWNER);
            continue;
        }
        if (locks.key[0].owner == fence) { locks.key[0].owner = 0; }
        err = cellar_lock_release(locks.t, &mine);
        base_sim_note("copy gives: %d", (int)err);
        BASE_SIM_CHECK(err == CELLAR_OK || err == CELLAR_E_LOST || err == CELLAR_E_NOT_OWNER);
        shared_lock.given += err == CELLAR_OK;
        if (err == CELLAR_OK) { return; }
    }
}

SIM_SCENARIO(lock_copies, "of many copies one gives the lock back")
{
    static const uint32_t keys = 1;
    memset(&shared_lock, 0, sizeof shared_lock);
    lock_open(0, base_sim_below(4) == 0);
    BASE_SIM_CHECK(lock_take(0, 0, INT64_MAX, 0, &shared_lock.lk) == CELLAR_OK);
    base_sim_spawn_many(3, "copy", lock_copy, NULL);
    base_sim_spawn("owner", lock_owner, (void *)(uintptr_t)&keys);
    lock_copy(NULL);
    cellar_lock last = shared_lock.lk; /* all may have extended only */
    if (locks.key[0].owner == last.fence) { locks.key[0].owner = 0; }
    shared_lock.given += cellar_lock_release(locks.t, &last) == CELLAR_OK;
    base_sim_join_all();
    BASE_SIM_CHECK(shared_lock.given == 1);
    lock_shut();
}
