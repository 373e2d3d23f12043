/* SPDX-License-Identifier: MIT
 *
 * Aim:    The base of every protocol holds in every interleaving: lock, event, account,
 *         sequence-locked bytes, threads. The driver itself detects planted mistakes.
 * Method: Small fibers with mistakes that can be switched on (BASE_MUTANT). "sim.*" are planted
 *         here to test the driver, "sync.*" are in src/core/base/sync.c. */
#include "tests/concurrency/sim/scenarios.h"

#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/seqlock.h"
#include "base/sync.h"

/* ---- litmus: two stores, two loads; a store buffer shows two loads of 0 ---- */

static struct { _Atomic uint32_t x, y; uint32_t seen_x, seen_y; } litmus;

SIM_FIBER(litmus_left)
{
    base_store_rlx(&litmus.x, 1u);
    if (!BASE_MUTANT("sim.no_fence")) { base_fence_sc(); }
    litmus.seen_y = base_load_rlx(&litmus.y);
}

SIM_FIBER(litmus_right)
{
    base_store_rlx(&litmus.y, 1u);
    base_fence_sc();
    litmus.seen_x = base_load_rlx(&litmus.x);
}

SIM_SCENARIO(litmus, "store buffers are shown, fences hold")
{
    memset(&litmus, 0, sizeof litmus);
    base_sim_spawn("left", litmus_left, NULL);
    base_sim_spawn("right", litmus_right, NULL);
    base_sim_join_all();
    BASE_SIM_CHECK(litmus.seen_x + litmus.seen_y >= 1);
}

/* ---- lock: mutual exclusion, no lost wake-up, ranks ---- */

static struct {
    sync_lock lock, upper;
    uint32_t inside, count;
} locks;

SIM_FIBER(lock_fiber)
{
    for (int i = 0; i < 4; i++) {
        bool try = base_sim_below(4) == 0;
        if (try) {
            if (!sync_try(L1_BUCKET, &locks.lock)) { continue; }
        } else if (!BASE_MUTANT("sim.no_lock")) {
            sync_take(L1_BUCKET, &locks.lock);
        }
        BASE_SIM_CHECK(locks.inside == 0);
        locks.inside = 1;
        uint32_t n = locks.count;
        base_sim_point("lock.inside");
        locks.count = n + 1;
        locks.inside = 0;
        if (base_sim_below(2) == 0) {
            sync_take(STATS, &locks.upper);
            sync_drop(STATS, &locks.upper);
        }
        if (try || !BASE_MUTANT("sim.no_lock")) { sync_drop(L1_BUCKET, &locks.lock); }
    }
}

SIM_SCENARIO(lock, "mutual exclusion, no lost wake-up")
{
    memset(&locks, 0, sizeof locks);
    base_sim_spawn_many(3, "locker", lock_fiber, NULL);
    base_sim_join_all();
    BASE_SIM_CHECK(locks.lock.word == 0 && locks.upper.word == 0);
}

/* ---- event: a queue of one, two producers, two consumers; timed waits end ---- */

static struct { _Atomic uint32_t full; uint32_t sum, taken; } event;
enum { EVENT_ITEMS = 3 };
#define EVENT_END UINT32_MAX

SIM_FIBER(event_producer)
{
    for (uint32_t i = 1; i <= EVENT_ITEMS; i++) {
        while (!base_cas_ar(&event.full, 0u, i)) {
            uint32_t v = base_load_acq(&event.full);
            if (v != 0) { (void)sync_wait(&event.full, v, UINT64_MAX); }
        }
        if (!BASE_MUTANT("sim.no_wake")) { sync_wake(&event.full, INT32_MAX); }
    }
}

SIM_FIBER(event_consumer)
{
    for (;;) {
        uint32_t v = base_load_acq(&event.full);
        if (v == EVENT_END) { return; }
        if (v == 0) {
            uint64_t until = base_sim_below(2) == 0 ? UINT64_MAX : base_now_ns() + 5000000;
            bool woken = sync_wait(&event.full, 0, until);
            if (!woken) { BASE_SIM_CHECK(base_now_ns() >= until); }
        } else if (base_cas_ar(&event.full, v, 0u)) {
            event.sum += v; /* no yield point in between: fibers are exact here */
            if (++event.taken == 2 * EVENT_ITEMS) { base_store_sc(&event.full, EVENT_END); }
            sync_wake(&event.full, INT32_MAX);
        }
    }
}

SIM_SCENARIO(event, "no lost wake-up, time-outs end")
{
    memset(&event, 0, sizeof event);
    base_sim_spawn_many(2, "producer", event_producer, NULL);
    base_sim_spawn_many(2, "consumer", event_consumer, NULL);
    base_sim_join_all();
    BASE_SIM_CHECK(event.sum == 2 * (1 + 2 + 3));
}

/* ---- a waiter without timeout: a forgotten wake-up is a deadlock ---- */

static struct { _Atomic uint32_t done[3]; } threads;

static void threads_main(void *arg)
{
    _Atomic uint32_t *word = arg;
    base_sleep_ns(1 + base_thread_self()->index * 1000u);
    base_store_sc(word, 1u);
    if (BASE_MUTANT("sim.forgotten_wake")) { return; }
    if (BASE_MUTANT("sim.endless")) {
        for (;;) { base_yield(); }
    }
    sync_wake(word, 1);
}

SIM_SCENARIO_OF(threads, "start, sleep, wake, join, failed start", 20000)
{
    memset(&threads, 0, sizeof threads);
    base_thread t[3];
    int started = 0;
    uint64_t nth = base_sim_below(5);
    (void)base_fault_alloc_arm(nth, false);
    for (int i = 0; i < 3; i++) {
        if (base_thread_start(&t[started], threads_main, &threads.done[i], "worker", 0) == 0) {
            started++;
        } else {
            BASE_SIM_CHECK(nth == (uint64_t)i + 1);
            base_store_sc(&threads.done[i], 1u);
        }
    }
    for (int i = 0; i < 3; i++) {
        while (base_load_acq(&threads.done[i]) == 0) {
            (void)sync_wait(&threads.done[i], 0, UINT64_MAX);
        }
    }
    for (int i = 0; i < started; i++) { base_thread_join(&t[i]); }
    BASE_SIM_CHECK(started == (nth >= 1 && nth <= 3 ? 2 : 3));
    if (BASE_MUTANT("sim.leak")) { BASE_SIM_CHECK(base_alloc_raw(NULL, 8) != NULL); }
}

/* ---- account: never above the limit, in any order of charges ---- */

static base_account account;
enum { ACCOUNT_LIMIT = 1000 };

static void account_check(void)
{
    uint64_t used = account.used, limit = account.limit;
    BASE_SIM_CHECK(used <= limit || limit < ACCOUNT_LIMIT);
    BASE_SIM_CHECK(account.peak <= ACCOUNT_LIMIT);
}

SIM_FIBER(account_fiber)
{
    for (int i = 0; i < 4; i++) {
        uint64_t bytes = 1 + base_sim_below(600);
        base_module m = (base_module)base_sim_below(BASE_MOD_COUNT);
        if (base_charge(&account, m, bytes)) {
            account_check();
            base_sim_point("account.charged");
            account_check();
            base_uncharge(&account, m, bytes);
        }
        account_check();
    }
}

SIM_FIBER(account_block)
{
    for (int i = 0; i < 2; i++) {
        bool refused;
        void *p = base_alloc(&account, BASE_MOD_TAG, 100, &refused);
        account_check();
        BASE_SIM_CHECK((p == NULL) == refused);
        base_free(&account, BASE_MOD_TAG, p, 100);
    }
    /* Lowered during charges: once it is under the limit, it stays under. */
    base_account_limit(&account, 300);
    while (base_load_rlx(&account.used) > 300) { base_yield(); }
    for (int i = 0; i < 6; i++) {
        base_sim_point("account.lowered");
        BASE_SIM_CHECK(account.used <= 300);
    }
}

SIM_SCENARIO(account, "used <= limit at every step")
{
    base_account_init(&account, ACCOUNT_LIMIT, NULL);
    base_sim_spawn_many(3, "charger", account_fiber, NULL);
    base_sim_spawn("allocator", account_block, NULL);
    base_sim_join_all();
    BASE_SIM_CHECK(account.used == 0);
    for (int m = 0; m < BASE_MOD_COUNT; m++) { BASE_SIM_CHECK(account.by_module[m] == 0); }
}

/* ---- seq: a version word around bytes at odd offsets; a reader never accepts a mix ---- */

static struct { _Atomic uint32_t ver; unsigned char bytes[64]; } seq;

SIM_FIBER(seq_writer)
{
    unsigned char image[37];
    for (unsigned char v = 1; v <= 3; v++) {
        memset(image, v, sizeof image);
        uint32_t ver = base_load_rlx(&seq.ver);
        BASE_SIM_CHECK(base_cas_sc(&seq.ver, ver, ver + 1));
        base_fence_rel();
        base_seq_store(seq.bytes + 3, image, sizeof image);
        base_store_rel(&seq.ver, ver + 2);
    }
}

SIM_FIBER(seq_reader)
{
    unsigned char copy[37];
    for (int i = 0; i < 4; i++) {
        uint32_t ver = base_load_acq(&seq.ver);
        if ((ver & 1) != 0) {
            base_pause();
            continue;
        }
        base_seq_load(copy, seq.bytes + 3, sizeof copy);
        base_fence_acq();
        if (base_load_rlx(&seq.ver) != ver && !BASE_MUTANT("sim.no_recheck")) { continue; }
        for (size_t b = 1; b < sizeof copy; b++) { BASE_SIM_CHECK(copy[b] == copy[0]); }
        BASE_SIM_CHECK(copy[0] == ver / 2);
    }
}

SIM_SCENARIO(seq, "version-checked bytes are never a mix")
{
    memset(&seq, 0, sizeof seq);
    base_sim_spawn("writer", seq_writer, NULL);
    base_sim_spawn_many(2, "reader", seq_reader, NULL);
    base_sim_join_all();
    BASE_SIM_CHECK(seq.bytes[2] == 0 && seq.bytes[3] == 3 && seq.bytes[39] == 3);
    BASE_SIM_CHECK(seq.bytes[40] == 0);
}
