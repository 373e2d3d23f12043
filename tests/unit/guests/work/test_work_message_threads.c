/* SPDX-License-Identifier: MIT
 *
 * Aim:    with threads a full group stops its publishers, a burst has no expired message, and
 *         subscribers may end their thread. Scenarios bus_* of the simulation count each message.
 * Method: functions wait for the test, and the test for functions, by semaphores: no sleep decides
 *         anything. */
#include "base/mem.h"
#include "cellar_bus.h"
#include "tests/support/bus_send.h"
#include "tests/support/child.h"
#include "tests/support/threads_kit.h"

static void count_free(void *ctx)
{
    (void)ctx;
    atomic_fetch_add(&freed, 1);
}

static void group(const char *queue, const char *name, cellar_task_fn fn, void *ctx,
                  const cellar_bus_group_config *o)
{
    T_REQUIRE(cellar_bus_group_add(p, queue, name, fn, ctx, o) == CELLAR_OK);
}

static cellar_err send(const char *queue) { return bus_send(p, queue, "x", 1, NULL); }

static void drain_and_close(void)
{
    T_EQ_I64(cellar_pool_drain(p, CELLAR_DRAIN_ALL, 3600000, NULL), CELLAR_OK);
    (void)figures();
    close_it();
}

/* Take one message and acknowledge it. */
static void take_one(const char *name)
{
    const cellar_task *t;
    uint32_t n = 0;
    T_EQ_I64(cellar_task_take(p, name, 3600000, 3600000, &t, 1, &n), CELLAR_OK);
    T_REQUIRE(n == 1);
    T_EQ_I64(cellar_task_settle(t, cellar_verdict_ok()), CELLAR_OK);
}

/* ---- back-pressure ---- */

static _Atomic int32_t blocked_code;

static void *send_one(void *arg)
{
    atomic_store(&blocked_code, (int32_t)send(arg));
    sem_post(&began);
    return NULL;
}

static cellar_bus_group_config one_that_blocks(void)
{
    cellar_bus_group_config o = { .struct_size = sizeof o, .max_messages = 1,
                                  .on_full = CELLAR_BUS_FULL_BLOCK };
    return o;
}

/* Whether the publisher sleeps before the second group comes, or looks after it: both groups get
 * the message. Whether it sleeps before its own group goes, or looks after it: it returns. */
T_CASE(blocked_publisher_sees_groups_come_and_go)
{
    static char q[] = "q";
    const cellar_bus_group_config o = one_that_blocks();
    open_pool(1);
    for (int i = 0; i < 20; i++) {
        pthread_t t;
        group(q, "old", NULL, NULL, &o);
        T_EQ_I64(send(q), CELLAR_OK);
        T_REQUIRE(pthread_create(&t, NULL, send_one, q) == 0);
        for (int n = 0; n < i * 10; n++) { sched_yield(); }
        group(q, "new", NULL, NULL, NULL);
        if (i % 2 == 0) {
            take_one("old");
        } else {
            T_EQ_I64(cellar_bus_group_remove(p, "old"), CELLAR_OK);
        }
        pthread_join(t, NULL);
        wait_for(&began);
        T_EQ_I64(atomic_load(&blocked_code), CELLAR_OK);
        T_EQ_U64(of_name("new").live, 1);
        if (i % 2 == 0) {
            T_EQ_U64(of_name("old").live, 1);
            T_EQ_I64(cellar_bus_group_remove(p, "old"), CELLAR_OK);
        }
        T_EQ_I64(cellar_bus_group_remove(p, "new"), CELLAR_OK);
        (void)figures();
    }
    close_it();
}

/* ---- functions ---- */

static _Atomic int64_t now_ms;

static int64_t read_clock(void *ctx)
{
    (void)ctx;
    return atomic_load(&now_ms);
}

T_CASE(expired_message_runs_in_no_burst)
{
    const cellar_host_config host = { .struct_size = sizeof host, .clock = read_clock };
    const cellar_bus_publish_opts o = { .struct_size = sizeof o, .expires_ms = 10 };
    atomic_store(&now_ms, 1000000);
    open_with(1);
    config.host = &host;
    open_it();
    group("h", NULL, held, NULL, NULL);
    group("q", NULL, quick, NULL, NULL);
    T_EQ_I64(send("h"), CELLAR_OK);
    wait_for(&began);
    for (int i = 0; i < 4; i++) {
        T_EQ_I64(bus_send(p, "q", "x", 1, i % 2 == 0 ? NULL : &o), CELLAR_OK);
    }
    atomic_fetch_add(&now_ms, 20);
    sem_post(&go_on);
    wait_for_many(&began, 2); /* a drain allows no bursts */
    drain_and_close();
    T_EQ_U64(atomic_load(&runs), 3);
}

/* ---- signals ---- */

static void hear(const char *topic, const void *data, size_t len, void *ctx)
{
    (void)topic, (void)data, (void)len, (void)ctx;
    atomic_fetch_add(&runs, 1);
    sem_post(&began);
    wait_for(&go_on);
}

static void *emit(void *arg)
{
    size_t called;
    T_EQ_I64(cellar_signal_emit(p, "a.b", NULL, 0, &called), CELLAR_OK);
    T_EQ_U64(called, 1);
    return arg;
}

T_CASE(subscriber_is_freed_after_its_last_call)
{
    uint64_t id;
    pthread_t t;
    open_with(1);
    config.close_timeout_ms = config.grace_ms = 1;
    open_it();
    T_EQ_I64(cellar_signal_subscribe(p, "a.#", CELLAR_BUS_AMQP, hear, NULL, count_free, &id),
             CELLAR_OK);
    T_REQUIRE(pthread_create(&t, NULL, emit, NULL) == 0);
    wait_for(&began);
    T_EQ_I64(cellar_pool_drain(p, CELLAR_DRAIN_RUNNING, 1, NULL), CELLAR_E_BUSY);
    T_EQ_I64(cellar_signal_unsubscribe(p, id), CELLAR_OK);
    T_EQ_U64(atomic_load(&freed), 0);
    sem_post(&go_on);
    pthread_join(t, NULL);
    T_EQ_U64(atomic_load(&freed), 1);
    close_it();
}

static void ends_thread(const char *topic, const void *data, size_t len, void *ctx)
{
    (void)topic, (void)data, (void)len, (void)ctx;
    pthread_exit(NULL);
}

T_CASE(subscriber_may_end_its_thread)
{
    pthread_t t;
    open_pool(1);
    T_EQ_I64(cellar_signal_subscribe(p, "#", CELLAR_BUS_AMQP, ends_thread, NULL, count_free, NULL),
             CELLAR_OK);
    T_REQUIRE(pthread_create(&t, NULL, emit, NULL) == 0);
    pthread_join(t, NULL);
    T_AFTER_U64(close_it(), atomic_load(&freed), 1); /* no call of it runs */
}

/* ---- fork ---- */

static const cellar_task *in_hand;

static int child_of(void)
{
    const cellar_task *more;
    uint32_t n;
    if (cellar_bus_group_add(p, "n", NULL, NULL, NULL, NULL) != CELLAR_E_FORKED ||
        cellar_bus_group_remove(p, "q") != CELLAR_E_FORKED ||
        cellar_bus_route(p, "#", "q", CELLAR_BUS_AMQP, true) != CELLAR_E_FORKED ||
        cellar_bus_route(p, "#", "q", CELLAR_BUS_AMQP, false) != CELLAR_E_FORKED ||
        cellar_bus_publish(p, "k", NULL, 0, NULL) != CELLAR_E_FORKED ||
        send("q") != CELLAR_E_FORKED ||
        cellar_task_take(p, "p", 1, 0, &more, 1, &n) != CELLAR_E_FORKED ||
        cellar_signal_emit(p, "k", NULL, 0, NULL) != CELLAR_E_FORKED ||
        cellar_signal_subscribe(p, "k", CELLAR_BUS_AMQP, hear, NULL, NULL, NULL) !=
            CELLAR_E_FORKED ||
        cellar_signal_unsubscribe(p, 1) != CELLAR_E_FORKED) {
        return 1;
    }
    if (cellar_task_settle(in_hand, cellar_verdict_ok()) != CELLAR_E_FORKED) { return 2; }
    if (cellar_pool_close(p) != CELLAR_OK) { return 3; }
    return atomic_load(&freed) == 0 ? 0 : 4;
}

T_CASE(forked_child_cannot_publish)
{
    uint32_t n;
    open_pool(1);
    group("q", NULL, held, NULL, NULL);
    group("p", NULL, NULL, NULL, NULL);
    T_EQ_I64(cellar_signal_subscribe(p, "#", CELLAR_BUS_AMQP, hear, NULL, count_free, NULL),
             CELLAR_OK);
    T_EQ_I64(send("q"), CELLAR_OK);
    T_EQ_I64(send("q"), CELLAR_OK);
    T_EQ_I64(send("p"), CELLAR_OK);
    T_EQ_I64(cellar_task_take(p, "p", 3600000, 0, &in_hand, 1, &n), CELLAR_OK);
    T_REQUIRE(n == 1);
    wait_for(&began);
    T_EQ_I64(in_child(fork(), child_of), 0); /* one runs, one waits, one is in hand */
    T_EQ_I64(cellar_task_settle(in_hand, cellar_verdict_ok()), CELLAR_OK);
    post_many(&go_on, 2);
    drain_and_close();
    T_EQ_U64(atomic_load(&runs), 2);
    T_EQ_U64(atomic_load(&freed), 1);
}

T_MAIN("work_message_threads")
