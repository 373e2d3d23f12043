/* SPDX-License-Identifier: MIT
 *
 * Aim:    a shared lock has one owner at a time, fences that grow, waiters that a release anywhere
 *         wakes, and no promise that the server cannot keep.
 * Method: members in one process, on a server of the test. Owners of many processes exclude each
 *         other: test_remote_attack. */
#include "tests/support/share_kit.h"

static cellar_lock_opts times(int64_t wait_ms, int64_t hold_ms)
{
    cellar_lock_opts o = { .struct_size = sizeof o, .wait_timeout_ms = wait_ms,
                           .hold_ms = hold_ms };
    return o;
}

T_CASE_ON(one_owner_over_processes, TWO_SHARES)
{
    cellar_remote_lock a, b;
    T_EQ_I64(cellar_remote_lock_acquire(&one.r, "k", 1, NULL, &a), CELLAR_OK);
    T_CHECK(a.fence > 0);
    T_EQ_I64(cellar_remote_lock_acquire(&two.r, "k", 1, NO_WAIT, &b), CELLAR_E_BUSY);
    T_EQ_U64(b.fence | b.opaque[0] | b.opaque[1], 0);
    const cellar_lock_opts o = times(30, 1000);
    T_EQ_I64(cellar_remote_lock_acquire(&two.r, "k", 1, &o, &b), CELLAR_E_TIMEOUT);
    T_EQ_I64(cellar_remote_lock_check(&one.r, &a), CELLAR_OK);
    cellar_remote_lock copy = a;
    T_EQ_I64(cellar_remote_lock_release(&one.r, "k", 1, &a), CELLAR_OK);
    T_EQ_I64(cellar_remote_lock_release(&one.r, "k", 1, &a), CELLAR_E_NOT_OWNER);
    T_EQ_I64(cellar_remote_lock_check(&one.r, &a), CELLAR_E_NOT_OWNER);
    T_EQ_I64(cellar_remote_lock_release(&one.r, "k", 1, &copy), CELLAR_E_LOST);
    T_EQ_I64(cellar_remote_lock_extend(&one.r, "k", 1, &copy, 1000), CELLAR_E_LOST);
    T_EQ_I64(cellar_remote_lock_acquire(&two.r, "k", 1, NO_WAIT, &b), CELLAR_OK);
    T_EQ_I64(cellar_remote_lock_acquire(&one.r, "other", 5, NO_WAIT, &a), CELLAR_OK);
    T_CHECK(a.fence > b.fence);
}

T_CASE_ON(fence_grows_after_the_server_lost_it, TWO_SHARES)
{
    cellar_remote_lock lk;
    uint64_t last = 0;
    for (int i = 0; i < 6; i++) {
        T_EQ_I64(cellar_remote_lock_acquire(&one.r, "k", 1, NO_WAIT, &lk), CELLAR_OK);
        T_CHECK(lk.fence > last);
        last = lk.fence;
        T_EQ_I64(cellar_remote_lock_release(&one.r, "k", 1, &lk), CELLAR_OK);
        if (i == 1) { engine_ask(&server, "DEL ~app:fence"); }
        if (i == 2) { engine_ask(&server, "FLUSHALL"); }
        if (i == 3) { /* a clock that was set back: the last fence lies in the future */
            last += 1000000000;
            char text[32];
            snprintf(text, sizeof text, "%" PRIu64, last);
            engine_ask(&server, "SET ~app:fence %s", text);
        }
    }
}

/* A clock that was set back: the key of a lock lives for longer than its hold. */
T_CASE_ON(ended_lock_is_free_after_a_hold_when_the_clock_was_set_back, TWO_SHARES)
{
    cellar_remote_lock a, b;
    const cellar_lock_opts rest = times(60000, 60000);
    int64_t hold_ms = 150;
    bool longer = false; /* in time, before the key ends */
    while (!longer && hold_ms < 20000) {
        hold_ms *= 2;
        const cellar_lock_opts o = times(60000, hold_ms);
        T_EQ_I64(cellar_remote_lock_acquire(&one.r, "k", 1, &o, &a), CELLAR_OK);
        longer = engine_number(engine_ask(&server, "PEXPIRE app:~k:k 600000")) == 1;
    }
    T_REQUIRE(longer);
    T_EQ_I64(cellar_remote_lock_acquire(&two.r, "k", 1, NO_WAIT, &b), CELLAR_E_BUSY);
    T_CHECK(engine_number(engine_ask(&server, "PTTL app:~k:k")) <= hold_ms);
    T_EQ_I64(cellar_remote_lock_acquire(&two.r, "k", 1, &rest, &b), CELLAR_OK);
    T_CHECK(b.fence > a.fence);
    T_CHECK(remote_share_now() >= a.until_ms); /* one owner at a time */
}

T_CASE_ON(extended_hold_is_the_one_that_counts, TWO_SHARES)
{
    cellar_remote_lock a, b;
    const cellar_lock_opts o = times(60000, 10000);
    T_EQ_I64(cellar_remote_lock_acquire(&one.r, "k", 1, &o, &a), CELLAR_OK);
    engine_ask(&server, "CONFIG SET maxmemory 1");
    T_EQ_I64(cellar_remote_lock_extend(&one.r, "k", 1, &a, 60000), CELLAR_OK);
    T_EQ_I64(cellar_remote_lock_acquire(&two.r, "k", 1, NO_WAIT, &b), CELLAR_E_BUSY);
    T_CHECK(engine_number(engine_ask(&server, "PTTL app:~k:k")) > 10000);
    engine_ask(&server, "CONFIG SET maxmemory 0");
    T_EQ_I64(cellar_remote_lock_release(&one.r, "k", 1, &a), CELLAR_OK);
    T_EQ_I64(cellar_remote_lock_acquire(&two.r, "k", 1, NO_WAIT, &b), CELLAR_OK);
}

/* The answer comes behind the end of the new hold. */
T_CASE_ON(hold_that_ends_before_its_answer_is_lost, TWO_SHARES)
{
    cellar_remote_lock lk;
    const cellar_lock_opts o = times(60000, 10);
    T_EQ_I64(cellar_remote_lock_acquire(&one.r, "k", 1, NO_WAIT, &lk), CELLAR_OK);
    one.link.delay_ms = 20;
    T_EQ_I64(cellar_remote_lock_extend(&one.r, "k", 1, &lk, 10), CELLAR_E_LOST);
    T_EQ_I64(cellar_remote_lock_check(&one.r, &lk), CELLAR_E_LOST);
    T_EQ_I64(cellar_remote_lock_acquire(&one.r, "other", 5, &o, &lk), CELLAR_E_TIMEOUT);
}

T_CASE_ON(owner_that_heard_of_the_loss_has_no_time_left, TWO_SHARES)
{
    cellar_remote_lock lk;
    T_EQ_I64(cellar_remote_lock_acquire(&one.r, "k", 1, NO_WAIT, &lk), CELLAR_OK);
    engine_ask(&server, "FLUSHALL");
    T_EQ_I64(cellar_remote_lock_check(&one.r, &lk), CELLAR_OK); /* the server is not asked */
    T_EQ_I64(cellar_remote_lock_extend(&one.r, "k", 1, &lk, 30000), CELLAR_E_LOST);
    T_EQ_I64(cellar_remote_lock_check(&one.r, &lk), CELLAR_E_LOST);
}

typedef struct waiter {
    share *s;
    cellar_err err;
    cellar_remote_lock lk;
    atomic_int started;
} waiter;
static void *wait_for_lock(void *arg)
{
    waiter *w = arg;
    const cellar_lock_opts o = times(INT64_MAX, 60000);
    atomic_store(&w->started, 1);
    w->err = cellar_remote_lock_acquire(&w->s->r, "k", 1, &o, &w->lk);
    return NULL;
}
static void await_waiters(share *s, uint64_t count)
{
    while (atomic_load(&s->r.share->lock_waits) != count) { sched_yield(); }
}

T_CASE_ON(foreign_delete_ends_the_lock, TWO_SHARES)
{
    cellar_remote_lock a;
    waiter w = { .s = &two };
    pthread_t t;
    T_EQ_I64(cellar_remote_lock_acquire(&one.r, "k", 1, NO_WAIT, &a), CELLAR_OK);
    T_REQUIRE(pthread_create(&t, NULL, wait_for_lock, &w) == 0);
    await_waiters(&two, 1);
    T_EQ_I64(engine_number(engine_ask(&server, "DEL app:~k:k")), 1);
    pthread_join(t, NULL);
    T_EQ_I64(w.err, CELLAR_OK);
    T_CHECK(w.lk.fence > a.fence);
    T_EQ_I64(cellar_remote_lock_extend(&one.r, "k", 1, &a, 1000), CELLAR_E_LOST);
    T_EQ_I64(cellar_remote_lock_release(&one.r, "k", 1, &a), CELLAR_E_LOST);
    T_EQ_I64(cellar_remote_lock_extend(&two.r, "k", 1, &w.lk, 90000), CELLAR_OK);
    T_CHECK(engine_number(engine_ask(&server, "PTTL app:~k:k")) > 60000);
    T_EQ_I64(cellar_remote_lock_release(&two.r, "k", 1, &w.lk), CELLAR_OK);
}

/* Return how many scripts the server has run. */
static uint64_t scripts_run(void)
{
    return engine_told(&server, "commandstats", "cmdstat_evalsha:calls=");
}

/* One request finds the key, one takes the lock; the link has no other scripts here. A waiter that
 * asks again and again is found by the pause. */
T_CASE_ON(key_without_a_ttl_is_waited_for_without_requests, TWO_SHARES)
{
    waiter w = { .s = &two };
    pthread_t t;
    T_CHECK(engine_ask(&server, "SET app:~k:k x") != NULL);
    T_REQUIRE(pthread_create(&t, NULL, wait_for_lock, &w) == 0);
    while (scripts_run() == 0) { sched_yield(); }
    engine_pause_ms(50);
    T_EQ_I64(engine_number(engine_ask(&server, "DEL app:~k:k")), 1);
    pthread_join(t, NULL);
    T_EQ_I64(w.err, CELLAR_OK);
    T_CHECK(w.lk.fence > 0);
    T_CHECK(scripts_run() <= 3); /* the own SET may have been heard behind the first request */
    const cellar_lock_opts o = times(20, 1000);
    T_CHECK(engine_ask(&server, "SET app:~k:k x") != NULL);
    T_EQ_I64(cellar_remote_lock_acquire(&two.r, "k", 1, &o, &w.lk), CELLAR_E_TIMEOUT);
}

T_CASE_ON(hold_ends_by_itself, TWO_SHARES)
{
    cellar_remote_lock a, b;
    const cellar_lock_opts o = times(10000, 40), rest = times(10000, 30000);
    cellar_err err = CELLAR_E_TIMEOUT; /* on a busy machine the answer may come after the hold  */
    for (int i = 0; i < 20 && err == CELLAR_E_TIMEOUT; i++) {
        err = cellar_remote_lock_acquire(&one.r, "k", 1, &o, &a);
    }
    T_EQ_I64(err, CELLAR_OK);
    T_EQ_I64(cellar_remote_lock_acquire(&two.r, "k", 1, &rest, &b), CELLAR_OK);
    T_EQ_I64(cellar_remote_lock_check(&one.r, &a), CELLAR_E_LOST); /* before the server's end */
    T_CHECK(b.fence > a.fence);
    T_EQ_I64(cellar_remote_lock_extend(&one.r, "k", 1, &a, 1000), CELLAR_E_LOST);
    T_EQ_I64(cellar_remote_lock_release(&one.r, "k", 1, &a), CELLAR_E_LOST);
    T_EQ_I64(cellar_remote_lock_check(&two.r, &b), CELLAR_OK);
}

/* Two steps at most begin in one ms: before a wait of 1 ms and behind it. */
T_CASE_ON(waiter_sleeps_while_another_thread_runs_the_link, TWO_SHARES)
{
    cellar_remote_lock a, b;
    const cellar_lock_opts o = times(50, 60000);
    T_EQ_I64(cellar_remote_lock_acquire(&one.r, "k", 1, NULL, &a), CELLAR_OK);
    two.r.cfg.no_thread = true;
    atomic_store(&share_busy, true);
    atomic_store(&share_steps, 0);
    T_EQ_I64(cellar_remote_lock_acquire(&two.r, "k", 1, &o, &b), CELLAR_E_TIMEOUT);
    T_CHECK(atomic_load(&share_steps) <= 100);
    atomic_store(&share_busy, false);
}

/* The answer does not come, and the server takes the lock later: it is released, not left. */
T_CASE_ON(lock_of_a_lost_answer_is_released, TWO_SHARES)
{
    cellar_remote_lock a;
    one.r.cfg.io_ms = 30;
    engine_signal(&server, SIGSTOP);
    const int64_t from = share_now_ns();
    T_EQ_I64(cellar_remote_lock_acquire(&one.r, "k", 1, NO_WAIT, &a), CELLAR_E_TIMEOUT);
    T_CHECK(share_now_ns() - from < 5 * INT64_C(1000000000) * (int64_t)t_patience());
    T_EQ_U64(a.fence | a.opaque[0], 0);
    engine_signal(&server, SIGCONT);
    while (engine_number(engine_ask(&server, "EXISTS app:~k:k")) != 0) { sched_yield(); }
    T_EQ_I64(cellar_remote_lock_acquire(&two.r, "k", 1, NO_WAIT, &a), CELLAR_OK);
}

typedef struct line {
    atomic_uint_least64_t next;   /* order of arrival of the waiters in one process */
    uint64_t order[8];
    atomic_uint_least64_t done;
} line;
static line queue;
static void *stand_in_line(void *arg)
{
    cellar_remote_lock lk;
    const cellar_lock_opts o = times(INT64_MAX, 60000);
    T_EQ_I64(cellar_remote_lock_acquire(&two.r, "k", 1, &o, &lk), CELLAR_OK);
    queue.order[atomic_fetch_add(&queue.done, 1)] = (uint64_t)(uintptr_t)arg;
    T_EQ_I64(cellar_remote_lock_release(&two.r, "k", 1, &lk), CELLAR_OK);
    return NULL;
}
T_CASE_ON(waiters_of_one_process_are_served_in_order, TWO_SHARES)
{
    cellar_remote_lock a;
    pthread_t t[8];
    T_EQ_I64(cellar_remote_lock_acquire(&one.r, "k", 1, NO_WAIT, &a), CELLAR_OK);
    for (uintptr_t i = 0; i < 8; i++) {
        T_REQUIRE(pthread_create(&t[i], NULL, stand_in_line, (void *)i) == 0);
        await_waiters(&two, i + 1);
    }
    T_EQ_I64(cellar_remote_lock_release(&one.r, "k", 1, &a), CELLAR_OK);
    for (size_t i = 0; i < 8; i++) { pthread_join(t[i], NULL); }
    for (uint64_t i = 0; i < 8; i++) { T_EQ_U64(queue.order[i], i); }
}

T_CASE_ON(bad_input_is_refused, TWO_SHARES)
{
    cellar_remote_lock lk;
    cellar_lock_opts o = times(-1, 0);
    T_EQ_I64(cellar_remote_lock_acquire(NULL, "k", 1, NO_WAIT, &lk), CELLAR_E_INVAL);
    T_EQ_I64(cellar_remote_lock_acquire(&one.r, NULL, 1, NO_WAIT, &lk), CELLAR_E_INVAL);
    T_EQ_I64(cellar_remote_lock_acquire(&one.r, "k", 0, NO_WAIT, &lk), CELLAR_E_INVAL);
    T_EQ_I64(cellar_remote_lock_acquire(&one.r, "k", 1, NO_WAIT, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_remote_lock_acquire(&one.r, "k", 1, &o, &lk), CELLAR_E_INVAL);
    o = times(0, 86400001);
    T_EQ_I64(cellar_remote_lock_acquire(&one.r, "k", 1, &o, &lk), CELLAR_E_INVAL);
    o = times(0, 0);
    o.flags = CELLAR_LOCK_THREAD_BOUND;
    T_EQ_I64(cellar_remote_lock_acquire(&one.r, "k", 1, &o, &lk), CELLAR_E_UNSUPPORTED);
    T_EQ_I64(cellar_remote_lock_acquire(&one.r, "k", 1, NO_WAIT, &lk), CELLAR_OK);
    T_EQ_I64(cellar_remote_lock_extend(&one.r, "k", 1, &lk, 0), CELLAR_E_INVAL);
    T_EQ_I64(cellar_remote_lock_release(&one.r, "k", 1, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_remote_lock_release(&one.r, "q", 1, &lk), CELLAR_E_LOST); /* another key */
    T_EQ_I64(cellar_remote_lock_release(&one.r, "k", 1, &lk), CELLAR_OK);
}

T_CASE_ON(failed_allocation_is_a_code, TWO_SHARES)
{
    cellar_remote_lock lk;
    atomic_store(&share_fail_alloc, 1);
    T_EQ_I64(cellar_remote_lock_acquire(&one.r, "k", 1, NO_WAIT, &lk), CELLAR_E_NOMEM);
    T_EQ_I64(cellar_remote_lock_acquire(&one.r, "k", 1, NO_WAIT, &lk), CELLAR_OK);
    atomic_store(&share_fail_alloc, 1);
    T_EQ_I64(cellar_remote_lock_release(&one.r, "k", 1, &lk), CELLAR_E_NOMEM);
    T_EQ_I64(cellar_remote_lock_release(&one.r, "k", 1, &lk), CELLAR_OK);
}

T_MAIN("remote_lock")
