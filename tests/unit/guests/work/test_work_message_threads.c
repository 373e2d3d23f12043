/* SPDX-License-Identifier: MIT
 *
 * Aim:    with threads each group handles each message once, an ordered group one message of a key
 *         at a time; a full group stops its publishers; subscribers may end their thread.
 * Method: functions wait for the test, and the test for functions, by semaphores: no sleep decides
 *         anything. Load tests count each message by its number. */
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

/* ---- load ---- */

#define LOAD_MOST 20000u
#define PUBLISHERS 2u
static atomic_uint handled[3][LOAD_MOST]; /* by group and number */
static atomic_uint inside[16];            /* handlers that run, by key of the ordered group */
static uint32_t last_of[16];              /* written by one handler at a time */
static uint32_t each;

typedef struct number {
    uint32_t id, key, order;
} number;

static cellar_verdict count(const cellar_task *t, void *ctx)
{
    number n;
    memcpy(&n, t->payload, sizeof n);
    atomic_fetch_add(&handled[*(const int *)ctx][n.id], 1);
    return cellar_verdict_ok();
}

static cellar_verdict count_ordered(const cellar_task *t, void *ctx)
{
    number n;
    memcpy(&n, t->payload, sizeof n);
    T_EQ_U64(atomic_fetch_add(&inside[n.key], 1), 0);
    const bool again = n.id % 7 == 0 && t->attempt == 1; /* keeps its place */
    if (!again) {
        T_EQ_U64(n.order, last_of[n.key] + 1);
        last_of[n.key] = n.order;
        atomic_fetch_add(&handled[*(const int *)ctx][n.id], 1);
    }
    atomic_fetch_sub(&inside[n.key], 1);
    if (!again) { return cellar_verdict_ok(); }
    return n.id % 2 == 0 ? cellar_verdict_retry() : cellar_verdict_retry_after(1);
}

static void *publish_share(void *arg)
{
    const uint32_t share = *(const uint32_t *)arg;
    for (uint32_t i = 0; i < each; i++) {
        const number n = { share * each + i, share * 8 + i % 8, i / 8 + 1 };
        T_EQ_I64(cellar_bus_publish(p, t_numbered("k.", n.key), &n, sizeof n, NULL), CELLAR_OK);
    }
    return NULL;
}

static void *take_all(void *arg)
{
    static int third = 2;
    const cellar_task *t[4];
    uint32_t n;
    cellar_err err;
    (void)arg;
    while ((err = cellar_task_take(p, "pulled", 3600000, 3600000, t, 4, &n)) == CELLAR_OK) {
        for (uint32_t i = 0; i < n; i++) {
            T_EQ_I64(cellar_task_settle(t[i], count(t[i], &third)), CELLAR_OK);
        }
    }
    T_EQ_I64(err, CELLAR_E_CLOSED); /* drained */
    return NULL;
}

T_CASE(groups_under_load_handle_each_message_once)
{
    static int which[] = { 0, 1 };
    pthread_t publisher[PUBLISHERS], taker[2];
    uint32_t share[PUBLISHERS];
    each = (uint32_t)t_share(LOAD_MOST / PUBLISHERS) / (T_COST > 1 ? 5 : 1);
    memset(handled, 0, sizeof handled);
    memset(inside, 0, sizeof inside);
    memset(last_of, 0, sizeof last_of);
    open_pool(3);
    cellar_bus_group_config o = { .struct_size = sizeof o, .max_messages = 50,
                                  .on_full = CELLAR_BUS_FULL_BLOCK, .max_deliver = 100 };
    group("q", "plain", count, &which[0], &o);
    group("q", "pulled", NULL, NULL, &o);
    o.ordered = 1;
    group("q", "ordered", count_ordered, &which[1], &o);
    T_EQ_I64(cellar_bus_route(p, "k.*", "q", CELLAR_BUS_AMQP, true), CELLAR_OK);
    start_threads(taker, 2, take_all, NULL);
    for (uint32_t i = 0; i < PUBLISHERS; i++) {
        share[i] = i;
        T_REQUIRE(pthread_create(&publisher[i], NULL, publish_share, &share[i]) == 0);
    }
    join_threads(publisher, PUBLISHERS);
    T_EQ_I64(cellar_pool_drain(p, CELLAR_DRAIN_ALL, 3600000, NULL), CELLAR_OK);
    T_EQ_U64(figures().ok, 3 * PUBLISHERS * each);
    for (uint32_t i = 0; i < PUBLISHERS * each; i++) {
        for (int g = 0; g < 3; g++) {
            if (!T_EQ_U64(atomic_load(&handled[g][i]), 1)) { break; }
        }
    }
    join_threads(taker, 2);
    close_it();
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

/* Publishes and removals of a group at the same time: no message is lost or counted twice. */
static void *publish_many(void *arg)
{
    const uint32_t n = (uint32_t)t_share(4000);
    for (uint32_t i = 0; i < n; i++) { T_EQ_I64(send("q"), CELLAR_OK); }
    atomic_store((atomic_bool *)arg, true);
    return NULL;
}

T_CASE(group_is_removed_beside_publishes)
{
    atomic_bool over = false;
    pthread_t t;
    cellar_bus_group_config o = { .struct_size = sizeof o, .on_full = CELLAR_BUS_FULL_DROP_NEW };
    open_pool(2);
    group("q", "stays", quick, NULL, &o);
    T_REQUIRE(pthread_create(&t, NULL, publish_many, &over) == 0);
    while (!atomic_load(&over)) {
        cellar_err err;
        group("q", "goes", quick, NULL, &o);
        while ((err = cellar_bus_group_remove(p, "goes")) == CELLAR_E_BUSY) { sched_yield(); }
        T_EQ_I64(err, CELLAR_OK);
    }
    pthread_join(t, NULL);
    T_EQ_U64(of_name("stays").submitted, t_share(4000));
    drain_and_close();
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
