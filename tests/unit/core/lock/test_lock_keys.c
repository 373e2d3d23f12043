/* SPDX-License-Identifier: MIT
 *
 * Aim:    keyed locks do what include/cellar_lock.h says, one thread at a time: owners, holds,
 *         fences, handles, codes, limits, figures; and the two lock defects of the documents'
 *         programs are not there. A refused call leaves a text that names argument, rule and
 *         remedy.
 * Method: a table on a clock the test turns; after each case its structure is walked and every byte
 *         and key must be gone again. One wrong argument at a time; the text and the code are those
 *         of cellar_last_error. */
#include "tests/support/lock_audit.h"
#include "tests/support/no_wait.h"
#include "tests/support/refusals.h"
#include "tests/support/t.h"

#include <pthread.h>

#include "base/mem.h"
#include "base/open_error.h"
#include "cellar_admin.h"
#include "cellar_lock.h"
#include "cellar_observe.h"
#include "lock/record.h"

static _Atomic int64_t now_ms;

static int64_t read_clock(void *ctx) { (void)ctx; return atomic_load(&now_ms); }

static cellar_locks_config turnable(void)
{
    static cellar_host_config host;
    host = cellar_host_config_default();
    host.clock = read_clock;
    atomic_store(&now_ms, 1000000);
    cellar_locks_config cfg = { .struct_size = sizeof cfg, .host = &host };
    return cfg;
}

static cellar_locks *open_with(const cellar_locks_config *cfg)
{
    cellar_locks *t = NULL;
    T_REQUIRE(cellar_locks_open(cfg, &t) == CELLAR_OK);
    return t;
}

static cellar_locks *open_table(void)
{
    const cellar_locks_config cfg = turnable();
    return open_with(&cfg);
}

static cellar_locks_stats figures(cellar_locks *t)
{
    cellar_locks_stats s = cellar_locks_stats_default();
    T_EQ_I64(cellar_locks_stats_get(t, &s), CELLAR_OK);
    return s;
}

/* Nothing is held any more: the tick leaves no key, and the structure is whole. */
static void shut(cellar_locks *t)
{
    T_CHECK(lock_audit(t));
    T_EQ_I64(cellar_tick(t, 0, NULL), CELLAR_OK);
    T_CHECK(lock_audit(t));
    const cellar_locks_stats s = figures(t);
    T_EQ_U64(s.records, s.held);
    cellar_locks_close(t);
}

static cellar_lock_opts opts(int64_t wait_timeout_ms, int64_t hold_ms, uint32_t flags)
{
    cellar_lock_opts o = { .struct_size = sizeof o, .wait_timeout_ms = wait_timeout_ms,
                           .hold_ms = hold_ms, .flags = flags };
    return o;
}

static cellar_err take(cellar_locks *t, const char *key, int64_t hold_ms, cellar_lock *lk)
{
    const cellar_lock_opts o = opts(0, hold_ms, CELLAR_LOCK_NO_WAIT);
    return cellar_lock_acquire(t, key, strlen(key), &o, lk);
}

#define LOCKS(fn) T_WITH(fn, cellar_locks *t, t, open_table(), shut(t))

/* ---- owners ---- */

T_CASE_ON(one_owner_at_a_time, LOCKS)
{
    cellar_lock a, b, c;
    T_EQ_I64(take(t, "k", 1000, &a), CELLAR_OK);
    T_EQ_I64(take(t, "k", 1000, &b), CELLAR_E_BUSY);
    T_EQ_U64(b.fence, 0);
    T_EQ_I64(cellar_lock_acquire(t, "k", 1, NO_WAIT, &b), CELLAR_E_BUSY);
    T_EQ_I64(take(t, "k2", 1000, &c), CELLAR_OK); /* another key is another lock */
    T_EQ_I64(cellar_lock_check(t, &a), CELLAR_OK);
    T_EQ_I64(cellar_lock_release(t, &a), CELLAR_OK);
    T_EQ_U64(a.fence, 0);
    T_EQ_I64(cellar_lock_release(t, &a), CELLAR_E_NOT_OWNER);
    T_EQ_I64(take(t, "k", 1000, &b), CELLAR_OK);
    T_EQ_I64(cellar_lock_release(t, &b), CELLAR_OK);
    T_EQ_I64(cellar_lock_release(t, &c), CELLAR_OK);
}

/* S2:341: release() stands in `finally`, though the acquire before it failed: what was dropped was
 * the lock of another owner. */
T_CASE_ON(seed_lock_release_without_acquire_refused, LOCKS)
{
    cellar_lock owner, loser, copy;
    T_EQ_I64(take(t, "task:1", 30000, &owner), CELLAR_OK);
    copy = owner;
    T_EQ_I64(take(t, "task:1", 30000, &loser), CELLAR_E_BUSY);
    T_EQ_I64(cellar_lock_release(t, &loser), CELLAR_E_NOT_OWNER); /* the `finally` */
    const uint32_t stripe = lock_handle_stripe(&owner), record = lock_handle_record(&owner);
    const cellar_lock forged[] = {
        { owner.opaque, owner.fence + 1 }, { owner.opaque, owner.fence - 1 },
        { lock_opaque(stripe, record + 1), owner.fence },
        { lock_opaque(stripe + 1, record), owner.fence + (1u << 20) },
        { lock_opaque(UINT32_MAX, record), owner.fence },
        { lock_opaque(stripe, record | 31), owner.fence }, /* a page has 31 records */
        { lock_opaque(stripe, UINT32_MAX), owner.fence } };
    for (size_t i = 0; i < sizeof forged / sizeof forged[0]; i++) {
        cellar_lock lk = forged[i];
        const cellar_err err = cellar_lock_release(t, &lk);
        T_CHECK(err == CELLAR_E_NOT_OWNER || err == CELLAR_E_LOST);
        T_CHECK(cellar_lock_extend(t, &forged[i], 1000) != CELLAR_OK);
        T_CHECK(cellar_lock_check(t, &forged[i]) != CELLAR_OK);
        T_EQ_I64(cellar_lock_check(t, &owner), CELLAR_OK);
    }
    T_EQ_I64(cellar_lock_release(t, &owner), CELLAR_OK);
    T_EQ_I64(cellar_lock_release(t, &copy), CELLAR_E_NOT_OWNER); /* a copy gives nothing twice */
    T_CHECK(figures(t).not_owner >= 2);
}

/* S2:318: no thread renews the lock; the work may outlive the hold without notice. */
T_CASE_ON(seed_lock_hold_lost_is_seen, LOCKS)
{
    cellar_lock slow, next, copy;
    T_EQ_I64(take(t, "job", 30000, &slow), CELLAR_OK);
    atomic_fetch_add(&now_ms, 29999);
    T_EQ_I64(cellar_lock_check(t, &slow), CELLAR_OK);
    T_EQ_I64(take(t, "job", 30000, &next), CELLAR_E_BUSY);
    atomic_fetch_add(&now_ms, 1);
    T_EQ_I64(cellar_lock_check(t, &slow), CELLAR_E_LOST);
    T_EQ_I64(cellar_lock_extend(t, &slow, 30000), CELLAR_E_LOST); /* nothing revives it */
    T_EQ_I64(cellar_lock_check(t, &slow), CELLAR_E_LOST);
    T_EQ_I64(take(t, "job", 30000, &next), CELLAR_OK);
    T_CHECK(next.fence > slow.fence);
    T_EQ_I64(cellar_lock_extend(t, &slow, 30000), CELLAR_E_LOST);
    T_EQ_I64(cellar_lock_release(t, &slow), CELLAR_E_LOST);
    T_EQ_I64(cellar_lock_check(t, &next), CELLAR_OK); /* and takes nothing from the present owner */
    T_EQ_U64(figures(t).expired, 1);
    T_EQ_I64(cellar_lock_release(t, &next), CELLAR_OK);
    /* Lost without a waiter: the late release reports it, once. */
    T_EQ_I64(take(t, "job", 100, &slow), CELLAR_OK);
    copy = slow;
    atomic_fetch_add(&now_ms, 100);
    T_EQ_I64(cellar_lock_release(t, &slow), CELLAR_E_LOST);
    T_EQ_I64(cellar_lock_release(t, &copy), CELLAR_E_LOST);
    T_EQ_U64(figures(t).expired, 2);
    /* Renewed in time it is not lost. */
    T_EQ_I64(take(t, "job", 100, &slow), CELLAR_OK);
    for (int i = 0; i < 10; i++) {
        atomic_fetch_add(&now_ms, 99);
        T_EQ_I64(cellar_lock_extend(t, &slow, 100), CELLAR_OK);
    }
    T_EQ_I64(cellar_lock_release(t, &slow), CELLAR_OK);
    T_EQ_U64(figures(t).expired, 2);
}

T_CASE_ON(seed_lock_fence_rises, LOCKS)
{
    char key[24];
    uint64_t last[40] = { 0 };
    for (int round = 0; round < 300; round++) {
        for (int k = 0; k < 40; k++) {
            cellar_lock lk;
            snprintf(key, sizeof key, "fence:%d", k);
            T_EQ_I64(take(t, key, 50, &lk), CELLAR_OK);
            T_CHECK(lk.fence > last[k]);
            last[k] = lk.fence;
            if ((round + k) % 7 == 0) {
                atomic_fetch_add(&now_ms, 50); /* all that is held is lost */
            } else {
                T_EQ_I64(cellar_lock_release(t, &lk), CELLAR_OK);
            }
        }
        /* Keys leave the table and come back; pages go back to the system and come back. */
        if (round % 10 == 0) { T_EQ_I64(cellar_tick(t, 0, NULL), CELLAR_OK); }
        if (round % 30 == 0) {
            atomic_fetch_add(&now_ms, 50);
            T_EQ_I64(cellar_tick(t, 0, NULL), CELLAR_OK);
            T_EQ_I64(cellar_tick(t, 0, NULL), CELLAR_OK);
            T_EQ_U64(figures(t).records, 0);
        }
    }
    uint64_t highest = 0;
    for (int k = 0; k < 40; k++) { highest = BASE_MAX(highest, last[k]); }
    T_CHECK(figures(t).fence_max >= highest);
    /* A table opened with that number goes on above it. */
    cellar_locks_config cfg = turnable();
    cfg.fence_start = figures(t).fence_max;
    cellar_locks *u = open_with(&cfg);
    cellar_lock lk;
    T_EQ_I64(take(u, "fence:0", 50, &lk), CELLAR_OK);
    T_CHECK(lk.fence > highest);
    cellar_locks_close(u); /* with a lock held: forgotten */
    atomic_fetch_add(&now_ms, 50);
}

/* The faulty sequence: open, acquire some, close, open in the same millisecond, acquire one. Later
 * tables begin at a later wall clock. */
T_CASE(fences_rise_over_tables_of_one_millisecond)
{
    uint64_t last = 0;
    int64_t wall_ms = 0;
    for (int life = 0; life <= 200; life++) {
        while (life == 200 && base_wall_ms() == wall_ms) {}
        cellar_locks *t = open_table();
        for (int i = 0; i < 3; i++) {
            cellar_lock lk;
            T_EQ_I64(take(t, "k", 50, &lk), CELLAR_OK);
            T_CHECK(lk.fence > last);
            last = lk.fence;
            T_EQ_I64(cellar_lock_release(t, &lk), CELLAR_OK);
        }
        cellar_locks_close(t);
        if (life < 200) { wall_ms = base_wall_ms(); }
    }
    T_CHECK(last >= (uint64_t)wall_ms << 20);
    /* Fences of a number of the program leave the floor alone. */
    cellar_locks_config cfg = turnable();
    cfg.fence_start = (UINT64_C(1) << 61) - 2;
    cellar_locks_close(open_with(&cfg));
    cellar_locks *t = open_table();
    T_CHECK(figures(t).fence_max < cfg.fence_start);
    shut(t);
}

/* ---- holds ---- */

T_CASE_ON(holds_end_to_the_millisecond, LOCKS)
{
    const int64_t holds[] = { 1, 2, 999, 1000, 1001, 30000, INT64_C(86400000) };
    for (size_t i = 0; i < sizeof holds / sizeof holds[0]; i++) {
        cellar_lock lk, other;
        T_EQ_I64(take(t, "hold", holds[i], &lk), CELLAR_OK);
        atomic_fetch_add(&now_ms, holds[i] - 1);
        T_EQ_I64(cellar_lock_check(t, &lk), CELLAR_OK);
        T_EQ_I64(take(t, "hold", 1000, &other), CELLAR_E_BUSY);
        atomic_fetch_add(&now_ms, 1);
        T_EQ_I64(cellar_lock_check(t, &lk), CELLAR_E_LOST);
        T_EQ_I64(take(t, "hold", 1000, &other), CELLAR_OK);
        T_EQ_I64(cellar_lock_release(t, &other), CELLAR_OK);
    }
    cellar_lock lk;
    T_EQ_I64(take(t, "hold", INT64_MAX, &lk), CELLAR_OK);  /* saturates: no end */
    atomic_fetch_add(&now_ms, INT64_C(1) << 50);
    T_EQ_I64(cellar_lock_check(t, &lk), CELLAR_OK);
    T_EQ_I64(cellar_lock_extend(t, &lk, 10), CELLAR_OK); /* extend may also shorten */
    atomic_fetch_add(&now_ms, 10);
    T_EQ_I64(cellar_lock_release(t, &lk), CELLAR_E_LOST);
}

static void *take_and_end(void *t)
{
    cellar_lock lk;
    const cellar_lock_opts o = opts(0, 1000, CELLAR_LOCK_THREAD_BOUND);
    T_EQ_I64(cellar_lock_acquire(t, "back", 4, &o, &lk), CELLAR_OK);
    return NULL;
}
static int64_t held_for;
static void note_held(const void *key, size_t key_len, uint64_t fence, int64_t held_ms,
                      cellar_lock_lost cause, void *ctx)
{
    (void)ctx, (void)key, (void)key_len, (void)fence;
    T_EQ_I64(cause, CELLAR_LOCK_LOST_OWNER_DIED);
    held_for = held_ms;
}
T_CASE_ON(lock_is_never_held_for_less_than_nothing, LOCKS)
{
    cellar_lock lk;
    held_for = -1;
    T_EQ_I64(cellar_locks_watch(t, note_held, NULL), CELLAR_OK);
    t_live_and_end(take_and_end, t);
    atomic_fetch_sub(&now_ms, 500); /* the clock goes back */
    T_EQ_I64(take(t, "back", 1000, &lk), CELLAR_OK);
    T_EQ_I64(held_for, 0);
    T_EQ_I64(cellar_lock_release(t, &lk), CELLAR_OK);
}

/* On the system's clock a hold of a second or more starts from a bound of the time: never
 * short. */
T_CASE(holds_on_the_system_clock_are_never_short)
{
    cellar_locks *t = open_with(NULL);
    for (int i = 0; i < 2000; i++) {
        cellar_lock lk;
        const base_clock system = { .precise_ms = NULL };
        const cellar_lock_opts o = opts(0, i % 2 == 0 ? 5000 : 900, 0);
        const int64_t before_ms = base_now_ms(&system);
        T_EQ_I64(cellar_lock_acquire(t, "k", 1, &o, &lk), CELLAR_OK);
        const int64_t after_ms = base_now_ms(&system);
        const int64_t end_ms = lock_at(t, lock_handle_record(&lk))->hold_end;
        const int64_t late_ms = i % 2 == 0 ? BASE_FAR_MS : 0;
        T_CHECK(end_ms >= before_ms + o.hold_ms);
        T_CHECK(end_ms <= after_ms + o.hold_ms + late_ms);
        T_EQ_I64(cellar_lock_release(t, &lk), CELLAR_OK);
    }
    shut(t);
}

T_CASE_ON(thread_bound_may_go_without_hold, LOCKS)
{
    const cellar_lock_opts o = opts(0, 0, CELLAR_LOCK_THREAD_BOUND | CELLAR_LOCK_NO_END);
    cellar_lock lk, other;
    T_EQ_I64(cellar_lock_acquire(t, "k", 1, &o, &lk), CELLAR_OK);
    atomic_fetch_add(&now_ms, INT64_C(1) << 55);
    T_EQ_I64(cellar_lock_check(t, &lk), CELLAR_OK);
    cellar_lock_info info = cellar_lock_info_default();
    T_EQ_I64(cellar_lock_info_get(t, "k", 1, &info), CELLAR_OK);
    T_EQ_I64(info.hold_left_ms, INT64_MAX);
    T_EQ_U64(info.flags, CELLAR_LOCK_THREAD_BOUND | CELLAR_LOCK_NO_END);
    /* The same thread would wait for itself. */
    cellar_lock_opts wait = opts(1000, 1000, 0);
    T_EQ_I64(cellar_lock_acquire(t, "k", 1, &wait, &other), CELLAR_E_DEADLOCK);
    wait.flags = CELLAR_LOCK_NO_WAIT;
    T_EQ_I64(cellar_lock_acquire(t, "k", 1, &wait, &other), CELLAR_E_BUSY);
    T_EQ_U64(figures(t).deadlocks, 1);
    T_EQ_I64(cellar_lock_release(t, &lk), CELLAR_OK);
    T_CHECK(lk.fence == 0 && lk.opaque == 0); /* the handle owns nothing */
}

static void *release_in_another_thread(void *arg)
{
    void **a = arg;
    cellar_lock *lk = a[1];
    const cellar_err err = cellar_lock_release(a[0], lk);
    return (void *)(intptr_t)err;
}

T_CASE_ON(tokens_travel_bound_ones_do_not, LOCKS)
{
    cellar_lock lk;
    for (uint32_t bound = 0; bound < 2; bound++) {
        const cellar_lock_opts o = opts(0, 1000, bound != 0 ? CELLAR_LOCK_THREAD_BOUND : 0);
        T_EQ_I64(cellar_lock_acquire(t, "k", 1, &o, &lk), CELLAR_OK);
        void *args[2] = { t, &lk }, *result = NULL;
        pthread_t other;
        T_REQUIRE(pthread_create(&other, NULL, release_in_another_thread, args) == 0);
        T_REQUIRE(pthread_join(other, &result) == 0);
        T_EQ_I64((intptr_t)result, bound != 0 ? CELLAR_E_NOT_OWNER : CELLAR_OK);
        if (bound != 0) { T_EQ_I64(cellar_lock_release(t, &lk), CELLAR_OK); }
    }
}

/* ---- info, watcher ---- */

T_CASE_ON(info_get_describes_the_owner, LOCKS)
{
    cellar_lock lk;
    cellar_lock_info info = cellar_lock_info_default();
    T_EQ_I64(cellar_lock_info_get(t, "k", 1, &info), CELLAR_MISS);
    cellar_lock_opts o = opts(0, 5000, 0);
    o.note = "import of 12:00, page 7"; /* 23 bytes: the most */
    T_EQ_I64(cellar_lock_acquire(t, "k", 1, &o, &lk), CELLAR_OK);
    atomic_fetch_add(&now_ms, 1200);
    T_EQ_I64(cellar_lock_info_get(t, "k", 1, &info), CELLAR_OK);
    T_EQ_U64(info.fence, lk.fence);
    T_EQ_I64(info.held_ms, 1200);
    T_EQ_I64(info.hold_left_ms, 3800);
    T_EQ_U64(info.waiters, 0);
    T_EQ_I64(info.owner_tid, base_thread_id());
    T_EQ_STR(info.note, o.note);
    T_EQ_I64(cellar_lock_release(t, &lk), CELLAR_OK);
    T_EQ_I64(cellar_lock_info_get(t, "k", 1, &info), CELLAR_MISS);
    const cellar_lock unused = { lock_opaque(lock_handle_stripe(&lk), 30 << 5), 1 };
    T_EQ_I64(cellar_lock_check(t, &unused), CELLAR_E_LOST); /* below each fence of the stripe */
    /* The next owner's note is its own. */
    T_EQ_I64(take(t, "k", 5000, &lk), CELLAR_OK);
    T_EQ_I64(cellar_lock_info_get(t, "k", 1, &info), CELLAR_OK);
    T_EQ_STR(info.note, "");
    atomic_fetch_add(&now_ms, 5001); /* over, and not yet noticed */
    T_EQ_I64(cellar_lock_info_get(t, "k", 1, &info), CELLAR_OK);
    T_EQ_I64(info.hold_left_ms, 0);
    atomic_fetch_sub(&now_ms, 5001);
    T_EQ_I64(cellar_lock_release(t, &lk), CELLAR_OK);
}

typedef struct heard {
    cellar_locks *t;
    unsigned calls;
    uint64_t fence;
    int64_t held_ms;
    cellar_lock_lost cause;
    char key[80];
    cellar_err inner; /* what an acquire inside the watcher said */
} heard;

static void on_lost(const void *key, size_t key_len, uint64_t fence, int64_t held_ms,
                    cellar_lock_lost cause, void *ctx)
{
    heard *h = ctx;
    h->calls++;
    h->fence = fence;
    h->held_ms = held_ms;
    h->cause = cause;
    memcpy(h->key, key, BASE_MIN(key_len, sizeof h->key - 1));
    h->key[BASE_MIN(key_len, sizeof h->key - 1)] = '\0';
    cellar_lock lk;
    /* no lock is held: calls work */
    h->inner = cellar_lock_acquire(h->t, "inner", 5, NO_WAIT, &lk);
    if (h->inner == CELLAR_OK) { h->inner = cellar_lock_release(h->t, &lk); }
}

T_CASE_ON(losses_are_told_exactly_once, LOCKS)
{
    heard h = { .t = t };
    T_EQ_I64(cellar_locks_watch(t, on_lost, &h), CELLAR_OK);
    const char *const keys[] = { "short", "a key longer than the forty-eight bytes of the record" };
    for (unsigned i = 0; i < 2; i++) {
        cellar_lock a, b;
        /* found by the next owner */
        T_EQ_I64(take(t, keys[i], 100, &a), CELLAR_OK);
        atomic_fetch_add(&now_ms, 130);
        T_EQ_I64(take(t, keys[i], 100, &b), CELLAR_OK);
        T_EQ_U64(h.calls, 3 * i + 1);
        T_EQ_U64(h.fence, a.fence);
        T_EQ_I64(h.held_ms, 130);
        T_EQ_I64(h.cause, CELLAR_LOCK_LOST_EXPIRED);
        T_EQ_STR(h.key, keys[i]);
        T_EQ_I64(h.inner, CELLAR_OK);
        T_EQ_I64(cellar_lock_release(t, &a), CELLAR_E_LOST);
        T_EQ_U64(h.calls, 3 * i + 1);
        T_EQ_I64(cellar_lock_release(t, &b), CELLAR_OK);
        /* found by the late owner */
        T_EQ_I64(take(t, keys[i], 100, &a), CELLAR_OK);
        atomic_fetch_add(&now_ms, 100);
        T_EQ_I64(cellar_lock_release(t, &a), CELLAR_E_LOST);
        T_EQ_U64(h.calls, 3 * i + 2);
        /* found by the tick */
        T_EQ_I64(take(t, keys[i], 100, &a), CELLAR_OK);
        T_EQ_I64(cellar_tick(t, 0, NULL), CELLAR_OK);
        T_EQ_U64(h.calls, 3 * i + 2);
        atomic_fetch_add(&now_ms, 100);
        T_EQ_I64(cellar_tick(t, 0, NULL), CELLAR_OK);
        T_EQ_U64(h.calls, 3 * i + 3);
        T_EQ_U64(h.fence, a.fence);
        T_EQ_I64(cellar_tick(t, 0, NULL), CELLAR_OK);
        T_EQ_U64(h.calls, 3 * i + 3);
        T_EQ_I64(cellar_lock_release(t, &a), CELLAR_E_LOST);
        T_EQ_U64(h.calls, 3 * i + 3);
    }
    T_EQ_I64(cellar_locks_watch(t, NULL, NULL), CELLAR_OK);
    cellar_lock a;
    T_EQ_I64(take(t, "short", 100, &a), CELLAR_OK);
    atomic_fetch_add(&now_ms, 100);
    T_EQ_I64(cellar_tick(t, 0, NULL), CELLAR_OK);
    T_EQ_U64(h.calls, 6);
    T_FIELDS(figures(t), acquired, 15, expired, 7); /* 6 inside the watcher */
}

/* ---- many ---- */

T_CASE(many_are_all_or_none)
{
    cellar_locks *t = NULL;
    const cellar_lock_opts o = opts(1, 60000, 0);
    T_REQUIRE(cellar_locks_open(NULL, &t) == CELLAR_OK); /* on the clock of the system */
    const cellar_bytes keys[5] = { { "e", 1 }, { "aa", 2 }, { "a", 1 }, { "c", 1 }, { "b", 1 } };
    cellar_lock lk[5], other;
    T_EQ_I64(cellar_lock_acquire_many(t, keys, 5, &o, lk), CELLAR_OK);
    for (unsigned i = 0; i < 5; i++) {
        cellar_lock_info info = cellar_lock_info_default();
        T_EQ_I64(cellar_lock_info_get(t, keys[i].data, keys[i].len, &info), CELLAR_OK);
        T_EQ_U64(info.fence, lk[i].fence); /* in the caller's order */
    }
    T_EQ_I64(cellar_lock_release_many(t, lk, 5), CELLAR_OK);
    T_EQ_U64(figures(t).held, 0);
    for (unsigned busy = 0; busy < 5; busy++) {
        T_EQ_I64(take(t, keys[busy].data, 60000, &other), CELLAR_OK);
        T_EQ_I64(cellar_lock_acquire_many(t, keys, 5, &o, lk), CELLAR_E_TIMEOUT);
        for (unsigned i = 0; i < 5; i++) { T_EQ_U64(lk[i].fence, 0); }
        T_EQ_U64(figures(t).held, 1);
        T_EQ_I64(cellar_lock_release(t, &other), CELLAR_OK);
    }
    const cellar_bytes twice[3] = { { "x", 1 }, { "y", 1 }, { "x", 1 } };
    const cellar_bytes empty[2] = { { "x", 1 }, { "y", 0 } };
    REFUSALS("many", INVAL(cellar_lock_acquire_many(t, twice, 3, &o, lk)),
             INVAL(cellar_lock_acquire_many(t, empty, 2, &o, lk)),
             INVAL(cellar_lock_acquire_many(t, twice, 0, &o, lk)),
             INVAL(cellar_lock_acquire_many(t, twice, 65, &o, lk)),
             INVAL(cellar_lock_release_many(t, lk, 0)));
    const cellar_bytes absent[2] = { { "x", 1 }, { NULL, 1 } };
    const cellar_bytes longer[2] = { { "x", 1 }, { &keys, CELLAR_KEY_MAX + 1 } };
    REFUSALS("wrong pointers", INVAL(cellar_lock_acquire_many(t, absent, 2, &o, lk)),
             INVAL(cellar_lock_acquire_many(t, longer, 2, &o, lk)),
             INVAL(cellar_lock_acquire_many(NULL, keys, 2, &o, lk)),
             INVAL(cellar_lock_acquire_many(t, NULL, 2, &o, lk)),
             INVAL(cellar_lock_acquire_many(t, keys, 2, &o, NULL)),
             INVAL(cellar_lock_release_many(NULL, lk, 2)),
             INVAL(cellar_lock_release_many(t, NULL, 2)),
             INVAL(cellar_lock_release_many(t, lk, CELLAR_LOCK_MANY_MAX + 1)),
             { CELLAR_E_NOT_OWNER, cellar_lock_release_many(t, lk, 2) });
    T_EQ_U64(figures(t).held, 0);
    shut(t);
}

static void pass_a_second(const void *key, size_t key_len, uint64_t fence, int64_t held_ms,
                          cellar_lock_lost cause, void *ctx)
{
    (void)key, (void)key_len, (void)fence, (void)held_ms, (void)cause, (void)ctx;
    atomic_fetch_add(&now_ms, 1000);
}

T_CASE_ON(keys_behind_the_deadline_of_many_are_not_waited_for, LOCKS)
{
    const cellar_bytes keys[2] = { { "a", 1 }, { "aa", 2 } };
    cellar_lock lk[2], lost, other;
    cellar_lock_opts o = opts(500, 60000, 0);
    T_EQ_I64(take(t, "a", 10, &lost), CELLAR_OK);
    T_EQ_I64(take(t, "aa", 60000, &other), CELLAR_OK);
    T_EQ_I64(cellar_locks_watch(t, pass_a_second, NULL), CELLAR_OK);
    atomic_fetch_add(&now_ms, 10);
    T_EQ_I64(cellar_lock_acquire_many(t, keys, 2, &o, lk), CELLAR_E_TIMEOUT);
    T_FIELDS(figures(t), held, 1, waits, 0, busy, 1, expired, 1);
    T_CHECK(lk[0].fence == 0 && lk[1].fence == 0);
    T_EQ_I64(cellar_lock_release(t, &other), CELLAR_OK);
    o.wait_timeout_ms = INT64_MAX;
    T_EQ_I64(cellar_lock_acquire_many(t, keys, 2, &o, lk), CELLAR_OK);
    T_EQ_I64(cellar_lock_release_many(t, lk, 2), CELLAR_OK);
}

/* NO_WAIT is a word of the call: it is no flag of the lock. */
T_CASE_ON(many_without_a_wait_are_busy, LOCKS)
{
    const cellar_lock_opts o = opts(0, 60000, CELLAR_LOCK_NO_WAIT);
    const cellar_bytes keys[2] = { { "a", 1 }, { "b", 1 } };
    cellar_lock lk[2], other;
    cellar_lock_info info = cellar_lock_info_default();
    T_EQ_I64(take(t, "b", 60000, &other), CELLAR_OK);
    T_EQ_I64(cellar_lock_acquire_many(t, keys, 2, &o, lk), CELLAR_E_BUSY);
    T_CHECK(lk[0].fence == 0 && lk[1].fence == 0);
    T_EQ_U64(figures(t).held, 1);
    T_EQ_U64(figures(t).busy, 1);
    T_EQ_U64(figures(t).waits, 0);
    T_EQ_I64(cellar_lock_release(t, &other), CELLAR_OK);
    T_EQ_I64(cellar_lock_acquire_many(t, keys, 2, &o, lk), CELLAR_OK);
    T_EQ_I64(cellar_lock_info_get(t, "b", 1, &info), CELLAR_OK);
    T_EQ_U64(info.flags, 0);
    T_EQ_I64(cellar_lock_release_many(t, lk, 2), CELLAR_OK);
}

/* ---- defaults ---- */

static void *wait_by_default(void *t)
{
    cellar_lock lk;
    const cellar_lock_opts o = cellar_lock_opts_default();
    T_EQ_I64(cellar_lock_acquire(t, "k", 1, &o, &lk), CELLAR_E_TIMEOUT);
    return NULL;
}

T_CASE_ON(hold_of_zero_is_thirty_seconds, LOCKS)
{
    const cellar_lock_opts o = cellar_lock_opts_default();
    cellar_lock lk;
    cellar_lock_info info = cellar_lock_info_default();
    T_EQ_I64(cellar_lock_acquire(t, "k", 1, &o, &lk), CELLAR_OK);
    T_EQ_I64(cellar_lock_info_get(t, "k", 1, &info), CELLAR_OK);
    T_EQ_I64(info.hold_left_ms, 30000);
    T_EQ_I64(cellar_lock_release(t, &lk), CELLAR_OK);
}

T_CASE_ON(wait_of_zero_is_thirty_seconds, LOCKS)
{
    pthread_t waiter;
    cellar_lock lk;
    T_EQ_I64(take(t, "k", 1000000, &lk), CELLAR_OK);
    T_REQUIRE(pthread_create(&waiter, NULL, wait_by_default, t) == 0);
    while (figures(t).waiting != 1) { base_sleep_ns(200000); }
    atomic_fetch_add(&now_ms, 29999);
    base_sleep_ns(30000000); /* the waiter looks at this clock every 10 ms */
    T_EQ_U64(figures(t).waiting, 1);
    atomic_fetch_add(&now_ms, 1);
    pthread_join(waiter, NULL);
    T_EQ_U64(figures(t).timeouts, 1);
    T_EQ_I64(cellar_lock_release(t, &lk), CELLAR_OK);
}

/* ---- waiters ---- */

typedef struct patient { cellar_locks *t; int64_t wait_ms; cellar_err err; } patient;

static void *wait_for_k(void *arg)
{
    patient *p = arg;
    cellar_lock lk;
    const cellar_lock_opts o = opts(p->wait_ms, 60000, 0);
    p->err = cellar_lock_acquire(p->t, "k", 1, &o, &lk);
    if (p->err == CELLAR_OK) { p->err = cellar_lock_release(p->t, &lk); }
    return NULL;
}

/* Start a waiter, and wait until it sleeps in the queue. */
static pthread_t sleeper(patient *p, const cellar_lock *held, uint64_t waiting)
{
    pthread_t w;
    lock_stripe *s = &p->t->stripe[lock_handle_stripe(held)];
    const lock_record *r = lock_at(p->t, lock_handle_record(held));
    T_REQUIRE(pthread_create(&w, NULL, wait_for_k, p) == 0);
    for (bool asleep = false; !asleep; base_yield()) {
        const bool there = figures(p->t).waiting == waiting;
        sync_take(LOCK, &s->lock);
        asleep = there && (base_load_rlx(&r->first->prev->event) & LOCK_SLEEPS) != 0;
        sync_drop(LOCK, &s->lock);
    }
    return w;
}

T_CASE_ON(second_waiter_leaves_the_queue_and_the_first_stays, LOCKS)
{
    cellar_lock lk;
    cellar_lock_info info = cellar_lock_info_default();
    patient p[2] = { { t, 60000, 0 }, { t, 1000, 0 } };
    T_EQ_I64(take(t, "k", INT64_MAX, &lk), CELLAR_OK);
    const pthread_t first = sleeper(&p[0], &lk, 1), second = sleeper(&p[1], &lk, 2);
    T_EQ_I64(cellar_lock_info_get(t, "k", 1, &info), CELLAR_OK);
    T_EQ_U64(info.waiters, 2);
    atomic_fetch_add(&now_ms, 1000);
    pthread_join(second, NULL);
    T_EQ_I64(p[1].err, CELLAR_E_TIMEOUT);
    T_FIELDS(figures(t), waiting, 1, timeouts, 1, handed_over, 0);
    T_EQ_I64(cellar_lock_release(t, &lk), CELLAR_OK);
    pthread_join(first, NULL);
    T_EQ_I64(p[0].err, CELLAR_OK);
    T_EQ_U64(figures(t).handed_over, 1);
}

/* On the clock of the system: no look at another one ends the sleep. */
T_CASE(wait_without_an_end_for_a_hold_without_one_ends_with_the_release)
{
    cellar_locks *t = open_with(NULL);
    cellar_lock lk;
    patient p = { t, INT64_MAX, CELLAR_E_IO };
    T_EQ_I64(take(t, "k", INT64_MAX, &lk), CELLAR_OK);
    const pthread_t w = sleeper(&p, &lk, 1);
    T_EQ_I64(cellar_lock_release(t, &lk), CELLAR_OK);
    pthread_join(w, NULL);
    T_EQ_I64(p.err, CELLAR_OK);
    shut(t);
}

/* An owner between its exchange and its last store: its lock is held, and has no hold to judge. */
T_CASE(lock_that_is_not_announced_is_held_without_a_description)
{
    cellar_locks *t = open_with(NULL);
    cellar_lock lk, other;
    cellar_lock_info info = cellar_lock_info_default();
    const cellar_lock_opts o = opts(5, 1000, 0);
    T_EQ_I64(take(t, "k", 1000000, &lk), CELLAR_OK);
    lock_record *r = lock_at(t, lock_handle_record(&lk));
    base_store_rlx(&r->hold_of, UINT64_C(0));
    T_EQ_I64(cellar_lock_info_get(t, "k", 1, &info), CELLAR_OK);
    T_EQ_U64(info.fence, lk.fence);
    T_EQ_I64(info.owner_tid, 0);
    T_EQ_I64(cellar_lock_acquire(t, "k", 1, &o, &other), CELLAR_E_TIMEOUT);
    base_store_rel(&r->hold_of, lk.fence);
    T_EQ_I64(cellar_lock_release(t, &lk), CELLAR_OK);
    shut(t);
}

enum { KEEPERS = 512 };
static struct { _Atomic uint32_t there, go; } keepers;

static void keep_a_record(void *unused)
{
    (void)unused, (void)base_thread_self();
    (void)base_add_ar(&keepers.there, 1u);
    while (base_load_acq(&keepers.go) == 0) { (void)sync_wait(&keepers.go, 0, UINT64_MAX); }
}

static void bind_without_a_record(void *t)
{
    cellar_lock lk;
    cellar_lock_info info = cellar_lock_info_default();
    const cellar_lock_opts o = opts(0, 1000, CELLAR_LOCK_THREAD_BOUND);
    (void)base_fault_alloc_arm(1, false);
    T_EQ_U64(base_thread_self()->index, 0);
    (void)base_fault_alloc_arm(0, false);
    T_EQ_I64(cellar_lock_acquire(t, "k", 1, &o, &lk), CELLAR_OK);
    T_EQ_I64(cellar_lock_info_get(t, "k", 1, &info), CELLAR_OK);
    T_EQ_I64(info.owner_tid, (int64_t)syscall(SYS_gettid));
    T_EQ_I64(cellar_lock_release(t, &lk), CELLAR_OK);
}

/* As a thread beyond BASE_THREAD_MAX: others keep all records of the pages that there are. */
T_CASE_ON(thread_without_a_record_owns_by_its_number, LOCKS)
{
    static base_thread keeper[KEEPERS], without;
    uint32_t live = 0;
    (void)base_thread_self();
    while (base_thread_count() % 64 != 0 || base_thread_count() != live + 2) { /* main, shared */
        T_REQUIRE(live < KEEPERS);
        T_REQUIRE(base_thread_start(&keeper[live], keep_a_record, NULL, "keeper", 0) == 0);
        while (base_load_acq(&keepers.there) <= live) { base_yield(); }
        live++;
    }
    T_REQUIRE(base_thread_start(&without, bind_without_a_record, t, "without", 0) == 0);
    base_thread_join(&without);
    base_store_sc(&keepers.go, 1u);
    sync_wake(&keepers.go, INT32_MAX);
    while (live-- > 0) { base_thread_join(&keeper[live]); }
    T_EQ_U64(figures(t).acquired, 1);
}

/* ---- limits, memory ---- */

T_CASE_ON(lock_table_shrinks_to_nothing, LOCKS)
{
    const uint64_t bytes = figures(t).bytes;
    const uint64_t keys = t_env_u64("LOCK_KEYS", t_share(300000));
    char key[100];
    memset(key, 'x', sizeof key);
    for (uint64_t i = 0; i < keys; i++) { /* distinct keys, one at a time */
        cellar_lock lk;
        memcpy(key, &i, sizeof i);
        const size_t len = i % 16 == 0 ? sizeof key : 8 + i % 40;
        T_EQ_I64(cellar_lock_acquire(t, key, len, NULL, &lk), CELLAR_OK);
        T_EQ_I64(cellar_lock_release(t, &lk), CELLAR_OK);
        if (i % 50000 == 0) { T_CHECK(figures(t).records <= t->stripe_count * LOCK_IDLE_MAX); }
    }
    T_EQ_U64(figures(t).acquired, keys);
    T_CHECK(figures(t).records <= t->stripe_count * LOCK_IDLE_MAX);
    T_EQ_I64(cellar_tick(t, 0, NULL), CELLAR_OK);
    T_EQ_U64(figures(t).records, 0);
    T_EQ_U64(figures(t).bytes, bytes); /* the baseline, to the byte */
    /* All at once, then released: the same. */
    static cellar_lock held[20000];
    for (uint64_t i = 0; i < 20000; i++) {
        T_EQ_I64(cellar_lock_acquire(t, &i, sizeof i, NULL, &held[i]), CELLAR_OK);
    }
    T_EQ_U64(figures(t).held, 20000);
    T_CHECK(lock_audit(t));
    T_EQ_I64(cellar_tick(t, 0, NULL), CELLAR_OK); /* what is held stays */
    T_EQ_U64(figures(t).held, 20000);
    for (uint64_t i = 0; i < 20000; i++) { T_EQ_I64(cellar_lock_release(t, &held[i]), CELLAR_OK); }
    T_CHECK(figures(t).records <= t->stripe_count * LOCK_IDLE_MAX);
    T_EQ_I64(cellar_tick(t, 0, NULL), CELLAR_OK);
    T_EQ_U64(figures(t).bytes, bytes);
}

T_CASE(limits_are_codes_and_counters)
{
    cellar_locks_config cfg = turnable();
    cfg.max_locks = 500;
    cellar_locks *t = open_with(&cfg);
    static cellar_lock held[8192];
    /* One thread gets all of them: credits of other stripes come back before a call is refused. The
     * idle keys of the first round are no reason to refuse. */
    for (uint64_t round = 0; round < 2; round++) {
        for (uint64_t i = 0; i < 500; i++) {
            const uint64_t key_of_round = i + round * 1000;
            T_EQ_I64(cellar_lock_acquire(t, &key_of_round, sizeof key_of_round, NULL, &held[i]),
                     CELLAR_OK);
        }
        T_EQ_I64(take(t, "one more", 1000, &held[500]), CELLAR_E_LIMIT);
        T_EQ_U64(figures(t).rejected_limit, round + 1);
        for (uint64_t i = 0; i < 500; i++) {
            T_EQ_I64(cellar_lock_release(t, &held[i]), CELLAR_OK);
        }
    }
    shut(t);
    cfg = turnable();
    cfg.max_bytes = 256u << 10;
    t = open_with(&cfg);
    static char key[60000];
    uint64_t n = 0;
    cellar_err err = CELLAR_OK;
    while (n < 8192 && err == CELLAR_OK) {
        memcpy(key, &n, sizeof n);
        err = cellar_lock_acquire(t, key, n % 10 == 0 ? sizeof key : 8, NULL, &held[n]);
        n += err == CELLAR_OK;
        T_CHECK(figures(t).bytes <= cfg.max_bytes);
    }
    T_EQ_I64(err, CELLAR_E_SPACE);
    T_EQ_U64(figures(t).rejected_memory, 1);
    T_CHECK(lock_audit(t));
    while (n-- > 0) { T_EQ_I64(cellar_lock_release(t, &held[n]), CELLAR_OK); }
    for (n = 0; (err = cellar_lock_acquire(t, &n, 8, NO_WAIT, &held[n])) == CELLAR_OK; n++) {}
    T_EQ_I64(err, CELLAR_E_SPACE); /* no page */
    T_EQ_U64(figures(t).rejected_memory, 2);
    while (n-- > 0) { T_EQ_I64(cellar_lock_release(t, &held[n]), CELLAR_OK); }
    shut(t);
    cfg = turnable();
    cfg.max_locks = 1u << 20;
    t = open_with(&cfg);
    T_EQ_U64(t->stripe_count, LOCK_STRIPES_MAX);
    shut(t);
}

/* Copies of all memory of a table: its struct with stripes and chains, its records. */
typedef struct table_copy {
    unsigned char *of_table, *of_records;
} table_copy;

/* Count the lines that differ from their copy, and take a new copy of them. */
static unsigned lines_changed(const void *memory, unsigned char *copy, size_t bytes, size_t *last)
{
    unsigned n = 0;
    for (size_t at = 0; at < bytes; at += BASE_LINE) {
        const size_t len = BASE_MIN(bytes - at, (size_t)BASE_LINE);
        if (memcmp((const unsigned char *)memory + at, copy + at, len) == 0) { continue; }
        memcpy(copy + at, (const unsigned char *)memory + at, len);
        last[n++ % 8] = at;
    }
    return n;
}

/* Lines that calls on a key of stripe `own` have written: all are lines of that stripe. */
static unsigned lines_of_one_stripe(const cellar_locks *t, const table_copy *c, size_t own)
{
    size_t at[8], stripes = offsetof(cellar_locks, stripe);
    const size_t heads = (size_t)((const char *)t->heads - (const char *)t);
    const size_t all = heads + ((t->stripe_count * sizeof(uint32_t)) << t->head_bits);
    const unsigned n = lines_changed(t, c->of_table, all, at);
    T_REQUIRE(n <= 8);
    for (unsigned i = 0; i < n; i++) {
        T_EQ_U64(at[i] < heads ? (at[i] - stripes) / sizeof(lock_stripe)
                               : (at[i] - heads) / sizeof(uint32_t) >> t->head_bits, own);
        const size_t in = (at[i] - stripes) % sizeof(lock_stripe);
        T_CHECK(at[i] >= heads || in == 0 || in >= offsetof(lock_stripe, near));
    }
    const unsigned records =
        lines_changed(t->records, c->of_records, (size_t)t->chunk_top * BASE_PAGE, at);
    T_REQUIRE(records <= 8);
    for (unsigned i = 0; i < records; i++) {
        T_EQ_U64(((const lock_chunk *)(const void *)(t->records + at[i] / BASE_PAGE * BASE_PAGE))
                     ->stripe, own + 1);
    }
    return n + records;
}

/* A pair of a new key writes a line of its stripe, the head of its chain and that of the record's
 * last key (one line), two lines of the record; the second pair of a key a hint; others one. The
 * count of the table stands still. */
T_CASE(a_pair_writes_lines_of_its_stripe_only)
{
    cellar_locks_config cfg = turnable();
    cfg.max_locks = 8192;
    cellar_locks *t = open_with(&cfg);
    const uint64_t warm = (uint64_t)t->stripe_count * LOCK_IDLE_MAX * 4, pairs = 150;
    const size_t bytes = (size_t)t->chunk_max * BASE_PAGE;
    const table_copy c = { calloc(1, t->obj.bytes), calloc(1, bytes) };
    T_REQUIRE(c.of_table != NULL && c.of_records != NULL);
    uint64_t lines = 0, count = 0;
    for (uint64_t i = 0; i < warm + 2 * pairs; i++) {
        for (unsigned call = 0; call < (i < warm + pairs ? 1 : 3); call++) {
            cellar_lock lk;
            T_EQ_I64(cellar_lock_acquire(t, &i, sizeof i, NULL, &lk), CELLAR_OK);
            if (i == warm) { count = atomic_load(&t->count); }
            if (i > warm) { T_EQ_U64(atomic_load(&t->count), count); }
            const size_t own = lock_handle_stripe(&lk);
            T_EQ_I64(cellar_lock_release(t, &lk), CELLAR_OK);
            if (i > warm) { T_EQ_U64(atomic_load(&t->count), count); }
            if (i < warm) { continue; }
            if (i == warm) { /* the first copy */
                (void)lines_changed(t, c.of_table, t->obj.bytes, (size_t[8]){ 0 });
                (void)lines_changed(t->records, c.of_records, bytes, (size_t[8]){ 0 });
                continue;
            }
            const unsigned n = lines_of_one_stripe(t, &c, own);
            if (i < warm + pairs) { lines += n; }
            if (call == 2) { T_EQ_U64(n, 1); }
        }
    }
    T_CHECK(lines <= (pairs - 1) * 4);
    free(c.of_table);
    free(c.of_records);
    shut(t);
}

/* Two keys with equal 64-bit hashes: the hint leads to the wrong one, which is released. */
T_CASE(equal_hashes_are_two_locks)
{
    cellar_locks *t = open_table();
    cellar_lock a, b;
    T_EQ_I64(take(t, "first", 1000, &a), CELLAR_OK);
    lock_record *r = lock_at(t, lock_handle_record(&a));
    const uint32_t number = lock_handle_record(&a), stripe = lock_handle_stripe(&a);
    T_EQ_I64(cellar_lock_release(t, &a), CELLAR_OK);
    /* A key of the same stripe; the idle record of "first" is dressed up as what its hash finds. */
    char second[24];
    uint64_t want = 0;
    for (unsigned i = 0; i == 0 || lock_stripe_of(t, want) != &t->stripe[stripe]; i++) {
        snprintf(second, sizeof second, "second:%u", i);
        want = base_hash(&t->hash_key, 0, second, strlen(second));
    }
    const uint64_t was = r->hash;
    atomic_store(&r->hash, want);
    atomic_store(lock_near(&t->stripe[stripe], want), lock_hint(want, number));
    T_EQ_I64(take(t, second, 1000, &b), CELLAR_OK);
    T_CHECK(lock_handle_record(&b) != number);
    atomic_store(&r->hash, was);
    T_EQ_I64(take(t, "first", 1000, &a), CELLAR_OK); /* was not kept by the wrong taker */
    T_EQ_U64(lock_handle_record(&a), number);
    T_EQ_U64(figures(t).acquired, 3);
    T_EQ_I64(cellar_lock_release(t, &a), CELLAR_OK);
    T_EQ_I64(cellar_lock_release(t, &b), CELLAR_OK);
    shut(t);
}

/* ---- bad input, structs, figures ---- */

T_CASE_ON(bad_input_is_refused, LOCKS)
{
    cellar_lock lk = { 0, 0 };
    cellar_lock_info info = cellar_lock_info_default();
    cellar_locks *u = t;
    cellar_lock_opts o = opts(0, 1000, 0);
    REFUSALS("calls", INVAL(cellar_lock_acquire(NULL, "k", 1, NULL, &lk)),
             INVAL(cellar_lock_acquire(t, "k", CELLAR_KEY_MAX + 1, NULL, &lk)),
             INVAL(cellar_lock_acquire(t, "k", 1, NULL, NULL)),
             INVAL(cellar_lock_release(t, NULL)), INVAL(cellar_lock_release(NULL, &lk)),
             INVAL(cellar_lock_check(t, NULL)),
             { CELLAR_E_NOT_OWNER, cellar_lock_extend(t, &lk, 1) },
             INVAL(cellar_lock_info_get(t, "k", 1, NULL)),
             INVAL(cellar_lock_info_get(NULL, "k", 1, &info)),
             INVAL(cellar_lock_info_get(t, NULL, 1, &info)),
             INVAL(cellar_lock_info_get(t, "k", 0, &info)),
             INVAL(cellar_lock_info_get(t, "k", CELLAR_KEY_MAX + 1, &info)),
             INVAL(cellar_locks_watch(NULL, NULL, NULL)), INVAL(cellar_tick(NULL, 0, NULL)),
             INVAL(cellar_locks_stats_get(t, NULL)), INVAL(cellar_metrics_write(t, NULL, 1, NULL)));
    const struct { cellar_lock_opts o; cellar_err want; } bad[] = {
        { opts(0, -1, 0), CELLAR_E_INVAL },
        { opts(-1, 1000, 0), CELLAR_E_INVAL },
        { opts(0, 1000, CELLAR_LOCK_NO_END), CELLAR_E_INVAL },
        { opts(0, 1000, 8), CELLAR_E_UNSUPPORTED },
        { { .struct_size = 0, .hold_ms = 1000 }, CELLAR_E_INVAL },
        { { .struct_size = sizeof o, .hold_ms = 1000, .reserved0 = 1 }, CELLAR_E_UNSUPPORTED },
        { { .struct_size = sizeof o, .hold_ms = 1000, .note = "a note of twenty-four by" },
          CELLAR_E_INVAL }, /* one too many */
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const cellar_err one = cellar_lock_acquire(t, "k", 1, &bad[i].o, &lk);
        const cellar_err many =
            cellar_lock_acquire_many(t, &(cellar_bytes){ "k", 1 }, 1, &bad[i].o, &lk);
        if (!T_CHECK(one == bad[i].want && many == bad[i].want)) { printf("# options %zu\n", i); }
    }
    T_EQ_U64(figures(t).records, 0);
    cellar_locks_close(NULL);
    cellar_locks_config cfg = cellar_locks_config_default();
    cfg.max_bytes = (256u << 10) - 1;
    T_EQ_I64(cellar_locks_open(&cfg, &u), CELLAR_E_INVAL);
    T_CHECK(u == NULL);
}

T_CASE(figures_add_up)
{
    cellar_locks_config cfg = turnable();
    cellar_host_config host = *cfg.host;
    host.name = "jobs \"of\" today";
    cfg.host = &host;
    cellar_locks *t = open_with(&cfg);
    cellar_lock lk, other;
    for (int i = 0; i < 7; i++) {
        T_EQ_I64(take(t, "k", 1000, &lk), CELLAR_OK);
        T_EQ_I64(take(t, "k", 1000, &other), CELLAR_E_BUSY);
        T_EQ_I64(cellar_lock_release(t, &lk), CELLAR_OK);
    }
    T_EQ_I64(take(t, "k", 1000, &lk), CELLAR_OK);
    T_FIELDS(figures(t), acquired, 8, busy, 7, held, 1, records, 1, waiting, 0);
    static char text[16384];
    size_t len = 0, again = 0;
    T_EQ_I64(cellar_metrics_write(t, NULL, 0, &len), CELLAR_E_BUFFER);
    T_EQ_I64(cellar_metrics_write(t, text, sizeof text, &again), CELLAR_OK);
    T_EQ_U64(strlen(text), len);
    T_EQ_U64(again, len);
    T_CHECK(strstr(text, "\ncellar_locks_acquired_total{table=\"jobs \\\"of\\\" today\"} 8\n") !=
            NULL);
    T_CHECK(strstr(text, ",reason=\"busy\"} 7\n") != NULL);
    T_CHECK(strstr(text, "# TYPE cellar_locks_held gauge\n") != NULL);
    T_EQ_I64(cellar_lock_release(t, &lk), CELLAR_OK);
    shut(t);
}

/* The table copies what it needs: the options may be gone after the open. */
T_CASE(host_options_are_read_by_the_size_rule)
{
    struct { size_t struct_size; const char *name; } prefix = { sizeof prefix, "" };
    cellar_locks_config cfg = cellar_locks_config_default();
    cellar_locks *t = NULL;
    char text[8192];
    cfg.host = (const cellar_host_config *)(const void *)&prefix;
    T_REQUIRE(cellar_locks_open(&cfg, &t) == CELLAR_OK);
    memset(&prefix, 0xA5, sizeof prefix);
    T_EQ_I64(cellar_metrics_write(t, text, sizeof text, NULL), CELLAR_OK);
    T_CHECK(strstr(text, "{table=\"locks\"} ") != NULL);
    shut(t);
}

/* ---- texts of refusals ---- */

static void call_refused(cellar_err got, cellar_err want, const char *text)
{
    cellar_error_info e = cellar_error_info_default();
    T_EQ_I64(got, want);
    base_open_error_get(&e);
    T_EQ_I64(e.code, want);
    T_EQ_I64(e.sys_errno, 0); /* no system call failed */
    T_EQ_STR(e.text, text);
}

static void refused(const cellar_locks_config *c, cellar_err want, const char *part)
{
    cellar_locks *t = NULL;
    cellar_error_info e = cellar_error_info_default();
    T_EQ_I64(cellar_locks_open(c, &t), want);
    T_CHECK(t == NULL);
    base_open_error_get(&e);
    T_EQ_I64(e.code, want);
    T_EQ_I64(e.sys_errno, 0); /* no system call failed */
    if (!T_CHECK(strncmp(e.text, "cellar_locks_open: ", 19) == 0 &&
                 strstr(e.text, part) != NULL)) {
        printf("# wanted \"%s\", got \"%s\"\n", part, e.text);
    }
}

T_CASE(each_broken_option_is_named)
{
#define BROKEN(code, part, change) \
    do { \
        cellar_locks_config c = cellar_locks_config_default(); \
        change; \
        refused(&c, code, part); \
    } while (0)
    BROKEN(CELLAR_E_INVAL, "cellar_locks_config_default()", c.struct_size = 0);
    BROKEN(CELLAR_E_INVAL, "max_locks must be at most 2^24", c.max_locks = (1u << 24) + 1);
    BROKEN(CELLAR_E_INVAL, "max_bytes must be at least 256 KiB", c.max_bytes = 1);
    BROKEN(CELLAR_E_INVAL, "(got 18446744073709551615)", c.fence_start = UINT64_MAX);
    BROKEN(CELLAR_E_INVAL, "fence_start must be below 2^61",
           c.fence_start = UINT64_C(1) << 61);
    BROKEN(CELLAR_E_INVAL, "barging must be 0 or 1", c.barging = 2);
    BROKEN(CELLAR_E_UNSUPPORTED, "reserved0 must be 0", c.reserved0 = 1);
    BROKEN(CELLAR_E_SPACE, "max_bytes is too small for max_locks", c.max_bytes = 256 << 10;
           c.max_locks = 1u << 24);
    cellar_host_config h = cellar_host_config_default();
    h.name = "a name of more than sixty-four bytes is more than a label can hold";
    BROKEN(CELLAR_E_INVAL, "host.name must have at most 64 bytes", c.host = &h);
    h = cellar_host_config_default();
    h.struct_size = 1;
    BROKEN(CELLAR_E_INVAL, "cellar_host_config_default()", c.host = &h);
#undef BROKEN
    struct { cellar_locks_config c; uint64_t later; } newer = { cellar_locks_config_default(), 1 };
    newer.c.struct_size = sizeof newer;
    refused(&newer.c, CELLAR_E_UNSUPPORTED, "a field that this library does not know");
}

T_CASE(refused_acquire_and_extend_name_their_arguments)
{
    cellar_locks *t;
    cellar_lock lk;
    const cellar_lock_opts past = { .struct_size = sizeof past, .hold_ms = -4 };
    const cellar_lock_opts flag = { .struct_size = sizeof flag, .flags = 64 };
    const cellar_lock_opts end = { .struct_size = sizeof end, .flags = CELLAR_LOCK_NO_END };
    T_EQ_I64(cellar_locks_open(NULL, &t), CELLAR_OK);
    call_refused(cellar_lock_acquire(t, NULL, 3, NULL, &lk), CELLAR_E_INVAL,
                 "cellar_lock_acquire: t, key and out must not be NULL");
    call_refused(cellar_lock_acquire(t, "k", 0, NULL, &lk), CELLAR_E_INVAL,
                 "cellar_lock_acquire: key must have 1..65,535 bytes (got 0)");
    call_refused(cellar_lock_acquire(t, "k", 1, &past, &lk), CELLAR_E_INVAL,
                 "cellar_lock_acquire: hold_ms must be 0 or more (got -4)");
    call_refused(cellar_lock_acquire(t, "k", 1, &flag, &lk), CELLAR_E_UNSUPPORTED,
                 "cellar_lock_acquire: flags 0x40 or reserved0 are unknown: this library and its "
                 "header do not have them");
    call_refused(cellar_lock_acquire(t, "k", 1, &end, &lk), CELLAR_E_INVAL,
                 "cellar_lock_acquire: CELLAR_LOCK_NO_END needs CELLAR_LOCK_THREAD_BOUND");
    T_EQ_I64(cellar_lock_acquire(t, "k", 1, NULL, &lk), CELLAR_OK);
    call_refused(cellar_lock_extend(t, &lk, 0), CELLAR_E_INVAL,
                 "cellar_lock_extend: hold_ms must be at least 1 (got 0)");
    call_refused(cellar_lock_extend(t, NULL, 1), CELLAR_E_INVAL,
                 "cellar_lock_extend: t and lk must not be NULL");
    const cellar_bytes keys[] = { { "a", 1 }, { "a", 1 } };
    cellar_lock two[2];
    call_refused(cellar_locks_open(NULL, NULL), CELLAR_E_INVAL,
                 "cellar_locks_open: out must not be NULL");
    call_refused(cellar_lock_acquire_many(t, keys, 2, NULL, two), CELLAR_E_INVAL,
                 "cellar_lock_acquire_many: t, keys and out must not be NULL, count 1..64, and the "
                 "keys different, of 1..65,535 bytes");
    call_refused(cellar_lock_acquire_many(t, keys, 1, &past, two), CELLAR_E_INVAL,
                 "cellar_lock_acquire_many: hold_ms must be 0 or more (got -4)");
    cellar_locks_close(t);
}

/* Each allocation of an open fails once: the text names what is missing. */
T_CASE(each_missing_memory_is_named)
{
    unsigned failed = 0;
    for (uint64_t nth = 1;; nth++) {
        cellar_locks *t = NULL;
        cellar_error_info e = cellar_error_info_default();
        (void)base_fault_alloc_arm(nth, false);
        const cellar_err err = cellar_locks_open(NULL, &t);
        const bool armed = base_fault_alloc_arm(0, false) >= nth;
        if (err == CELLAR_OK) {
            cellar_locks_close(t);
            if (!armed) { break; }
            continue;
        }
        failed++;
        base_open_error_get(&e);
        T_EQ_I64(err, CELLAR_E_NOMEM);
        T_EQ_I64(e.code, err);
        T_CHECK(strncmp(e.text, "cellar_locks_open: no ", 22) == 0);
    }
    T_CHECK(failed >= 4); /* table, page numbers, mapping, fork */
}

T_MAIN("cellar_lock_keys")
