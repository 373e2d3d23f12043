/* SPDX-License-Identifier: MIT
 *
 * Aim:    Waiters of a load return in time: hard timeouts hand the load to one waiter, soft
 *         timeouts serve stale values, and failures reach the waiters after their retries.
 * Method: Real threads. A gate in the loader replaces sleeps, and the test turns the clock. A
 *         watchdog with a wide margin ends a hung run. */
#include "tests/support/load_callers.h"
#include "tests/support/many_threads.h"
#include "tests/support/settings.h"

#define STORE(fn) T_WITH(fn, cellar *c, c, kit_open(4 << 20), kit_close(c))

/* ---- timeouts ---- */

/* Past hard_timeout_ms exactly one waiter loads again. The late result reaches its own caller and
 * is not stored. */
T_CASE_ON(hard_timeout_hands_load_to_one_waiter, STORE)
{
    source stuck = SOURCE_INIT, next = SOURCE_INIT;
    static caller k[9];
    char text[64];
    cellar_load_opts o = { .struct_size = sizeof o, .hard_timeout_ms = 1000,
                           .wait_timeout_ms = 100000 };
    stuck.text = "late";
    next.text = "new";
    atomic_store(&stuck.gate, 1);
    start(&k[0], c, &stuck, &o, "k");
    wait_for(&stuck.inside, 1);
    for (int i = 1; i < 9; i++) { start(&k[i], c, &next, &o, "k"); }
    wait_for_waiters(c, 8);
    T_EQ_I64(atomic_load(&next.calls), 0);
    atomic_fetch_add(&kit_now_ms, 1000);
    for (int i = 1; i < 9; i++) {
        join(&k[i]);
        T_EQ_I64(k[i].err, CELLAR_OK);
        T_EQ_STR(k[i].text, "new");
    }
    T_EQ_I64(atomic_load(&next.calls), 1);
    atomic_store(&stuck.gate, 0);
    join(&k[0]);
    T_EQ_I64(k[0].err, CELLAR_OK);
    T_EQ_STR(k[0].text, "late");
    T_EQ_U64(k[0].r.flags, CELLAR_RESULT_NOT_STORED | CELLAR_RESULT_INVALIDATED);
    T_EQ_I64(kit_load(c, "k", NULL, &stuck, text, NULL), CELLAR_OK);
    T_EQ_STR(text, "new");
}

/* A leader past its timeout without a takeover stores its value. */
T_CASE_ON(late_load_without_takeover_is_stored, STORE)
{
    source s = SOURCE_INIT;
    caller k;
    cellar_load_opts o = { .struct_size = sizeof o, .hard_timeout_ms = 1000 };
    atomic_store(&s.gate, 1);
    start(&k, c, &s, &o, "k");
    wait_for(&s.inside, 1);
    atomic_fetch_add(&kit_now_ms, 5000);
    atomic_store(&s.gate, 0);
    join(&k);
    T_EQ_U64(k.r.flags, 0);
    T_EQ_I64(cellar_contains(c, "k", 1), CELLAR_OK);
}

/* Each stuck loader costs a thread: after leader_retries takeovers no further load begins. */
T_CASE_ON(takeovers_are_bounded_by_leader_retries, STORE)
{
    source s = SOURCE_INIT;
    static caller k[4];
    char text[64];
    cellar_load_opts o = { .struct_size = sizeof o, .hard_timeout_ms = 1000, .leader_retries = 2 };
    atomic_store(&s.gate, 1);
    for (int i = 0; i < 3; i++) {
        start(&k[i], c, &s, &o, "k");
        wait_for(&s.inside, i + 1);
        atomic_fetch_add(&kit_now_ms, 1000);
    }
    T_EQ_I64(kit_load(c, "k", &o, &s, text, NULL), CELLAR_E_TIMEOUT);
    atomic_fetch_add(&kit_now_ms, 9999);
    T_EQ_I64(kit_load(c, "k", &o, &s, text, NULL), CELLAR_E_TIMEOUT);
    T_EQ_I64(atomic_load(&s.calls), 3);
    atomic_fetch_add(&kit_now_ms, 1); /* one more for every ten hard timeouts */
    start(&k[3], c, &s, &o, "k");
    wait_for(&s.inside, 4);
    atomic_store(&s.gate, 0);
    for (int i = 0; i < 4; i++) { join(&k[i]); }
}

T_CASE_ON(soft_timeout_serves_stale, STORE)
{
    source s = SOURCE_INIT;
    caller k, w;
    char text[64];
    cellar_load_opts o = { .struct_size = sizeof o, .ttl_ms = 1000, .stale_ms = 60000,
                           .soft_timeout_ms = 200, .jitter_pct = CELLAR_OFF };
    T_EQ_I64(kit_load(c, "k", &o, &s, text, NULL), CELLAR_OK);
    atomic_fetch_add(&kit_now_ms, 1000);
    atomic_store(&s.gate, 1);
    start(&k, c, &s, &o, "k"); /* no context for a background load: this call leads */
    wait_for(&s.inside, 1);
    start(&w, c, &s, &o, "k");
    wait_for_waiters(c, 1);
    atomic_fetch_add(&kit_now_ms, 200);
    join(&w);
    T_EQ_I64(w.err, CELLAR_STALE);
    T_EQ_STR(w.text, "1");
    T_EQ_U64(w.r.source, CELLAR_SOURCE_STALE_SOFT_TIMEOUT);
    /* soft_timeout_ms 0: immediately */
    o.soft_timeout_ms = CELLAR_TTL_NONE;
    T_EQ_I64(kit_load(c, "k", &o, &s, text, NULL), CELLAR_STALE);
    atomic_store(&s.gate, 0);
    join(&k);
    T_EQ_I64(k.err, CELLAR_OK);
    T_EQ_I64(atomic_load(&s.calls), 2);
}

/* A background refresh that ends within soft_timeout_ms gives waiters the fresh value. */
T_CASE(soft_timeout_waits_for_background_refresh)
{
    source s = SOURCE_INIT;
    char text[64];
    cellar_result r;
    cellar *c = STORE_OF(.host.clock = kit_clock, .config.memory_bytes = 4 << 20);
    cellar_load_opts o = { .struct_size = sizeof o, .ttl_ms = 1000, .stale_ms = 60000,
                           .soft_timeout_ms = 30000, .hard_timeout_ms = 60000,
                           .jitter_pct = CELLAR_OFF, .flags = CELLAR_LOAD_CTX_STATIC };
    T_EQ_I64(kit_load(c, "k", &o, &s, text, NULL), CELLAR_OK);
    atomic_fetch_add(&kit_now_ms, 1000);
    T_EQ_I64(kit_load(c, "k", &o, &s, text, &r), CELLAR_OK);
    T_EQ_STR(text, "2");
    T_EQ_I64(atomic_load(&s.calls), 2);
    kit_close(c);
}

/* By the system clock: 99 of 100 waits end within 10 ms of their deadline (idle machine). */
T_CASE(waiter_returns_within_10_ms_of_deadline)
{
    source s = SOURCE_INIT;
    cellar_load_opts o = cellar_load_opts_default();
    caller k, w;
    cellar *c = STORE_OF(.host.no_threads = 1, .config.memory_bytes = 4 << 20);
    atomic_store(&s.gate, 1);
    start(&k, c, &s, NULL, "k");
    wait_for(&s.inside, 1);
    unsigned late = 0, trials = 0;
    while (trials < 30 || (late == trials && trials < 1000)) {
        o.wait_timeout_ms = 5;
        start(&w, c, &s, &o, "k");
        join(&w);
        T_EQ_I64(w.err, CELLAR_E_TIMEOUT);
        T_CHECK(w.took_ms >= 4.0); /* a millisecond clock: at most one early */
        late += w.took_ms > 15.0;
        trials++;
    }
    printf("# %u of %u waits of 5 ms took more than 15 ms\n", late, trials);
    /* a busy machine is sometimes late; a waiter that ignores the time, always */
    T_CHECK(late < trials);
    T_EQ_I64(atomic_load(&s.calls), 1); /* no waiter loaded by itself */
    atomic_store(&s.gate, 0);
    join(&k);
    kit_close(c);
}

T_CASE_ON(timed_out_waiters_start_no_stampede, STORE)
{
    source s = SOURCE_INIT;
    static caller k[33];
    cellar_load_opts o = { .struct_size = sizeof o, .wait_timeout_ms = 100 };
    atomic_store(&s.gate, 1);
    start(&k[0], c, &s, &o, "k");
    wait_for(&s.inside, 1);
    for (int i = 1; i < 33; i++) { start(&k[i], c, &s, &o, "k"); }
    wait_for_waiters(c, 32);
    atomic_fetch_add(&kit_now_ms, 100);
    for (int i = 1; i < 33; i++) { join(&k[i]); }
    atomic_fetch_add(&kit_now_ms, 100);
    for (int i = 1; i < 33; i++) {
        T_CHECK(k[i].err == CELLAR_E_TIMEOUT);
        T_EQ_STR(k[i].text, "");
    }
    T_EQ_I64(atomic_load(&s.calls), 1);
    atomic_store(&s.gate, 0);
    join(&k[0]);
    T_EQ_I64(k[0].err, CELLAR_OK);
}

/* ---- failures shared ---- */

/* Joiners of a failing source take part in 1 + join_retries loads. */
T_CASE(failure_is_shared_after_join_retries)
{
    for (uint32_t hand = 0; hand < 3; hand++) {
        cellar *c = kit_open(4 << 20);
        source s = SOURCE_INIT;
        cellar_load_opts o = cellar_load_opts_default();
        static caller k[17];
        o.join_retries = hand == 0 ? CELLAR_OFF : hand;
        atomic_store(&s.say, SAY_FAIL);
        atomic_store(&s.gate, 1);
        for (int i = 0; i < 17; i++) { start(&k[i], c, &s, &o, "k"); }
        wait_for(&s.inside, 1);
        wait_for_waiters(c, 16);
        atomic_store(&s.gate, 0);
        for (int i = 0; i < 17; i++) {
            join(&k[i]);
            T_EQ_I64(k[i].err, CELLAR_E_LOADER);
            T_EQ_I64(k[i].r.loader_err, CELLAR_E_IO);
        }
        /* more only for threads that came after the end of a retry */
        T_CHECK(atomic_load(&s.calls) >= (int)(1 + hand));
        T_CHECK(atomic_load(&s.calls) <= (hand == 0 ? 1 : 17));
        kit_close(c);
    }
}

T_CASE_ON(final_failure_is_shared_immediately, STORE)
{
    source s = SOURCE_INIT;
    caller k[2];
    cellar_load_opts o = { .struct_size = sizeof o, .join_retries = 8 };
    s.said_err = 42;
    s.fail_flags = CELLAR_FAIL_FINAL;
    atomic_store(&s.say, SAY_FAIL);
    atomic_store(&s.gate, 1);
    start(&k[0], c, &s, &o, "k");
    wait_for(&s.inside, 1);
    start(&k[1], c, &s, &o, "k");
    wait_for_waiters(c, 1);
    atomic_store(&s.gate, 0);
    join(&k[0]);
    join(&k[1]);
    T_EQ_I64(k[1].err, CELLAR_E_LOADER);
    T_EQ_I64(k[1].r.loader_err, 42);
    T_EQ_I64(atomic_load(&s.calls), 1);
}

/* ---- limits ---- */

/* Callers with a stale value wait for jobs that a worker is just starting. */
static cellar_err soft_load(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    (void)ctx;
    return cellar_load_value(ld, key, key_len);
}

static void *soft_main(void *arg)
{
    cellar_load_opts o = { .struct_size = sizeof o, .ttl_ms = 1000, .stale_ms = 10000000,
                           .soft_timeout_ms = 50, .flags = CELLAR_LOAD_CTX_STATIC };
    for (uint32_t i = 0; i < 8000 / KIT_SLOW; i++) {
        const uint32_t key = i % 20;
        cellar_result r = cellar_result_default();
        const cellar_err err = cellar_get_or_load(arg, &key, sizeof key, &o, soft_load, NULL, &r);
        T_CHECK(err == CELLAR_OK || err == CELLAR_STALE);
        T_EQ_U64(r.value_len, sizeof key);
        cellar_result_free(&r);
        atomic_fetch_add(&kit_now_ms, 500);
    }
    return NULL;
}

T_CASE(soft_waiters_race_with_starting_workers)
{
    pthread_t t[3];
    atomic_store(&kit_now_ms, 1000000);
    cellar *c = STORE_OF(.config.memory_bytes = 4 << 20, .host.clock = kit_clock);
    start_threads(t, 3, soft_main, c);
    join_threads(t, 3);
    T_CHECK(figures(c).refreshes > 0);
    kit_close(c);
}

T_MAIN("load_timeouts")
