/* SPDX-License-Identifier: MIT
 *
 * Aim:    with threads each group handles each message once, an ordered group one message of a key
 *         at a time; a full queue stops its publishers; functions may end their thread, close their
 *         bus or fork.
 * Method: functions wait for the test, and the test for functions, by semaphores: no sleep decides
 *         anything. Load tests count each message by its number. */
#include <semaphore.h>
#include <sys/wait.h>

#include "base/fault.h"
#include "base/mem.h"
#include "base/thread_record.h"
#include "cellar_bus.h"
#include "tests/support/bus_send.h"
#include "tests/support/t.h"

static cellar_bus *b;
static sem_t began, go_on;
static atomic_uint runs, freed;

static void open_with(uint32_t workers, int64_t close_timeout_ms)
{
    cellar_bus_config c = { .struct_size = sizeof c, .workers = workers,
                            .close_timeout_ms = close_timeout_ms };
    T_REQUIRE(sem_init(&began, 0, 0) == 0 && sem_init(&go_on, 0, 0) == 0);
    atomic_store(&runs, 0);
    atomic_store(&freed, 0);
    T_REQUIRE(cellar_bus_open(&c, &b) == CELLAR_OK);
}

static cellar_bus_stats figures(void)
{
    cellar_bus_stats st = cellar_bus_stats_default();
    T_EQ_I64(cellar_bus_stats_get(b, &st), CELLAR_OK);
    T_EQ_U64(st.copies, st.acked + st.dropped_new + st.dropped_oldest + st.dropped_removed +
                            st.dead + st.expired + st.filtered + st.live);
    return st;
}

static void wait_for(sem_t *sem)
{
    while (sem_wait(sem) != 0) { }
}

static void count_free(void *ctx)
{
    (void)ctx;
    atomic_fetch_add(&freed, 1);
}

static void group(const char *queue, const char *name, const cellar_bus_group_config *o)
{
    T_REQUIRE(cellar_bus_group_add(b, queue, name, o) == CELLAR_OK);
}

static cellar_bus_member *join(const char *queue, const char *name, cellar_bus_fn fn, void *ctx)
{
    cellar_bus_member *m;
    cellar_bus_member_config o = { .struct_size = sizeof o, .fn = fn, .ctx = ctx,
                                   .free_fn = count_free };
    T_REQUIRE(cellar_bus_join(b, queue, name, &o, &m) == CELLAR_OK);
    return m;
}

static cellar_err send(const char *queue) { return bus_send(b, queue, "x", 1, NULL); }

static cellar_bus_verdict quick(const cellar_bus_message *m, void *ctx)
{
    (void)m, (void)ctx;
    atomic_fetch_add(&runs, 1);
    sem_post(&began);
    return CELLAR_BUS_ACK;
}

static cellar_bus_verdict held(const cellar_bus_message *m, void *ctx)
{
    const cellar_bus_verdict v = quick(m, ctx);
    wait_for(&go_on);
    return v;
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

static cellar_bus_verdict count(const cellar_bus_message *m, void *ctx)
{
    number n;
    memcpy(&n, m->body, sizeof n);
    atomic_fetch_add(&handled[*(const int *)ctx][n.id], 1);
    return CELLAR_BUS_ACK;
}

static cellar_bus_verdict count_ordered(const cellar_bus_message *m, void *ctx)
{
    number n;
    memcpy(&n, m->body, sizeof n);
    T_EQ_U64(atomic_fetch_add(&inside[n.key], 1), 0);
    const bool again = n.id % 7 == 0 && m->attempt == 1; /* keeps its place */
    if (!again) {
        T_EQ_U64(n.order, last_of[n.key] + 1);
        last_of[n.key] = n.order;
        atomic_fetch_add(&handled[*(const int *)ctx][n.id], 1);
    }
    atomic_fetch_sub(&inside[n.key], 1);
    return again ? CELLAR_BUS_RETRY : CELLAR_BUS_ACK;
}

static void *publish_share(void *arg)
{
    const uint32_t who = *(const uint32_t *)arg;
    for (uint32_t i = 0; i < each; i++) {
        char key[16];
        const number n = { who * each + i, who * 8 + i % 8, i / 8 + 1 };
        snprintf(key, sizeof key, "k.%u", n.key);
        T_EQ_I64(cellar_bus_publish(b, key, &n, sizeof n, NULL), CELLAR_OK);
    }
    return NULL;
}

static void *take_all(void *arg)
{
    cellar_bus_member *m = arg;
    cellar_bus_message got = cellar_bus_message_default();
    static int third = 2;
    cellar_err err;
    while ((err = cellar_bus_take(m, 3600000, &got)) == CELLAR_OK) {
        (void)count(&got, &third);
        T_EQ_I64(cellar_bus_settle(m, got.delivery, CELLAR_BUS_ACK, 0), CELLAR_OK);
    }
    T_EQ_I64(err, CELLAR_E_CLOSED); /* drained */
    T_EQ_I64(cellar_bus_leave(m), CELLAR_OK);
    return NULL;
}

T_CASE(groups_under_load_handle_each_message_once)
{
    static int which[] = { 0, 1 };
    pthread_t publisher[PUBLISHERS], taker[2];
    uint32_t who[PUBLISHERS];
    cellar_bus_member_config pulls = cellar_bus_member_config_default();
    cellar_bus_member *m;
    each = (uint32_t)t_share(LOAD_MOST / PUBLISHERS) / (T_COST > 1 ? 5 : 1);
    memset(handled, 0, sizeof handled);
    memset(inside, 0, sizeof inside);
    memset(last_of, 0, sizeof last_of);
    open_with(3, 0);
    cellar_bus_group_config o = { .struct_size = sizeof o, .max_messages = 50,
                                  .on_full = CELLAR_BUS_FULL_BLOCK, .max_deliver = 100 };
    group("q", "plain", &o);
    group("q", "pulled", &o);
    o.ordered = 1;
    group("q", "ordered", &o);
    T_EQ_I64(cellar_bus_route(b, "k.*", "q", CELLAR_BUS_AMQP, true), CELLAR_OK);
    for (int i = 0; i < 3; i++) {
        (void)join("q", "plain", count, &which[0]);
        (void)join("q", "ordered", count_ordered, &which[1]);
    }
    for (int i = 0; i < 2; i++) {
        T_REQUIRE(cellar_bus_join(b, "q", "pulled", &pulls, &m) == CELLAR_OK);
        T_REQUIRE(pthread_create(&taker[i], NULL, take_all, m) == 0);
    }
    for (uint32_t i = 0; i < PUBLISHERS; i++) {
        who[i] = i;
        T_REQUIRE(pthread_create(&publisher[i], NULL, publish_share, &who[i]) == 0);
    }
    for (uint32_t i = 0; i < PUBLISHERS; i++) { pthread_join(publisher[i], NULL); }
    T_EQ_I64(cellar_bus_drain(b, 3600000, NULL), CELLAR_OK);
    T_EQ_U64(figures().published, PUBLISHERS * each);
    T_EQ_U64(figures().acked, 3 * PUBLISHERS * each);
    for (uint32_t i = 0; i < PUBLISHERS * each; i++) {
        for (int g = 0; g < 3; g++) {
            if (!T_EQ_U64(atomic_load(&handled[g][i]), 1)) { break; }
        }
    }
    for (int i = 0; i < 2; i++) { pthread_join(taker[i], NULL); }
    T_EQ_I64(cellar_bus_close(b), CELLAR_OK);
    T_EQ_U64(atomic_load(&freed), 6);
}

/* ---- back-pressure ---- */

static _Atomic int32_t blocked_code;

static void *send_one(void *arg)
{
    atomic_store(&blocked_code, (int32_t)send(arg));
    sem_post(&began);
    return NULL;
}

T_CASE(blocked_publisher_goes_on_with_room_or_drain)
{
    static char q[] = "q";
    cellar_bus_message got = cellar_bus_message_default();
    cellar_bus_member *m;
    pthread_t t;
    cellar_bus_group_config o = { .struct_size = sizeof o, .max_messages = 1,
                                  .on_full = CELLAR_BUS_FULL_BLOCK };
    open_with(1, 0);
    group(q, NULL, &o);
    T_REQUIRE(cellar_bus_join(b, q, NULL, NULL, &m) == CELLAR_OK);
    T_EQ_I64(send(q), CELLAR_OK);
    T_REQUIRE(pthread_create(&t, NULL, send_one, q) == 0); /* whether it sleeps before .. */
    T_EQ_I64(cellar_bus_take(m, 0, &got), CELLAR_OK);
    /* .. or comes after: it gets in */
    T_EQ_I64(cellar_bus_settle(m, got.delivery, CELLAR_BUS_ACK, 0), CELLAR_OK);
    wait_for(&began);
    T_EQ_I64(atomic_load(&blocked_code), CELLAR_OK);
    pthread_join(t, NULL);
    T_REQUIRE(pthread_create(&t, NULL, send_one, q) == 0);
    T_EQ_I64(cellar_bus_drain(b, 0, NULL), CELLAR_E_TIMEOUT);
    wait_for(&began);
    T_EQ_I64(atomic_load(&blocked_code), CELLAR_E_CLOSED);
    pthread_join(t, NULL);
    T_EQ_I64(cellar_bus_close(b), CELLAR_OK);
}

/* Whether the publisher sleeps before the second group comes, or looks after it: both groups get
 * the message. */
T_CASE(blocked_publisher_sees_new_groups)
{
    static char q[] = "q";
    cellar_bus_group_config o = { .struct_size = sizeof o, .max_messages = 1,
                                  .on_full = CELLAR_BUS_FULL_BLOCK };
    open_with(1, 0);
    for (int i = 0; i < 20; i++) {
        cellar_bus_message got = cellar_bus_message_default();
        cellar_bus_group_stats st = cellar_bus_group_stats_default();
        cellar_bus_member *m;
        pthread_t t;
        group(q, NULL, &o);
        T_REQUIRE(cellar_bus_join(b, q, NULL, NULL, &m) == CELLAR_OK);
        T_EQ_I64(send(q), CELLAR_OK);
        const uint64_t bytes = figures().bytes;
        T_REQUIRE(pthread_create(&t, NULL, send_one, q) == 0);
        while (i % 2 == 0 && figures().bytes == bytes) { sched_yield(); } /* it has looked */
        group(q, "new", NULL);
        T_EQ_I64(cellar_bus_take(m, 0, &got), CELLAR_OK);
        T_EQ_I64(cellar_bus_settle(m, got.delivery, CELLAR_BUS_ACK, 0), CELLAR_OK);
        pthread_join(t, NULL);
        wait_for(&began);
        T_EQ_I64(atomic_load(&blocked_code), CELLAR_OK);
        T_EQ_I64(cellar_bus_group_stats_get(b, q, "new", &st), CELLAR_OK);
        T_EQ_U64(st.live, 1);
        T_EQ_I64(cellar_bus_leave(m), CELLAR_OK);
        T_EQ_I64(cellar_bus_group_remove(b, q, NULL), CELLAR_OK);
        T_EQ_I64(cellar_bus_group_remove(b, q, "new"), CELLAR_OK);
        (void)figures();
    }
    T_EQ_I64(cellar_bus_close(b), CELLAR_OK);
}

static _Atomic int32_t inner;

static cellar_bus_verdict waits_and_sends(const cellar_bus_message *m, void *ctx)
{
    (void)held(m, NULL);
    atomic_store(&inner, (int32_t)send(ctx));
    return CELLAR_BUS_ACK;
}

T_CASE(publisher_on_the_last_worker_never_blocks)
{
    static char next[] = "next";
    open_with(1, 0);
    group("first", NULL, NULL);
    cellar_bus_group_config o = { .struct_size = sizeof o, .max_messages = 1,
                                  .on_full = CELLAR_BUS_FULL_BLOCK };
    group(next, NULL, &o);
    (void)join("first", NULL, waits_and_sends, next);
    (void)join(next, NULL, quick, NULL);
    T_EQ_I64(send("first"), CELLAR_OK);
    wait_for(&began);
    T_EQ_I64(send(next), CELLAR_OK); /* full: its function waits for the one worker */
    sem_post(&go_on);
    wait_for(&began);
    T_EQ_I64(atomic_load(&inner), CELLAR_E_DEADLOCK);
    T_EQ_I64(cellar_bus_drain(b, 3600000, NULL), CELLAR_OK);
    T_EQ_I64(cellar_bus_close(b), CELLAR_OK);
}

static void *take_one(void *arg)
{
    cellar_bus_message got = cellar_bus_message_default();
    T_EQ_I64(cellar_bus_take(arg, 3600000, &got), CELLAR_OK);
    T_EQ_I64(cellar_bus_settle(arg, got.delivery, CELLAR_BUS_ACK, 0), CELLAR_OK);
    return NULL;
}

T_CASE(take_waits_for_a_message)
{
    cellar_bus_member *m;
    pthread_t t[2];
    open_with(1, 0);
    group("q", NULL, NULL);
    T_REQUIRE(cellar_bus_join(b, "q", NULL, NULL, &m) == CELLAR_OK);
    for (int i = 0; i < 2; i++) { T_REQUIRE(pthread_create(&t[i], NULL, take_one, m) == 0); }
    T_EQ_I64(send("q"), CELLAR_OK);
    T_EQ_I64(send("q"), CELLAR_OK);
    for (int i = 0; i < 2; i++) { pthread_join(t[i], NULL); }
    T_EQ_U64(figures().acked, 2);
    T_EQ_I64(cellar_bus_close(b), CELLAR_OK);
}

static void *take_closed(void *arg)
{
    cellar_bus_message got = cellar_bus_message_default();
    T_EQ_I64(cellar_bus_take(arg, 3600000, &got), CELLAR_E_CLOSED);
    return NULL;
}

/* Whether the take sleeps before the last ack or comes after it, it returns. */
T_CASE(take_returns_when_a_drained_bus_is_empty)
{
    for (int i = 0; i < 20; i++) {
        cellar_bus_message got = cellar_bus_message_default();
        cellar_bus_member *last, *m;
        pthread_t t;
        open_with(1, 0);
        group("q", NULL, NULL);
        T_REQUIRE(cellar_bus_join(b, "q", NULL, NULL, &last) == CELLAR_OK);
        T_REQUIRE(cellar_bus_join(b, "q", NULL, NULL, &m) == CELLAR_OK);
        T_EQ_I64(send("q"), CELLAR_OK);
        T_EQ_I64(cellar_bus_take(last, 0, &got), CELLAR_OK);
        T_EQ_I64(cellar_bus_drain(b, 0, NULL), CELLAR_E_TIMEOUT);
        T_REQUIRE(pthread_create(&t, NULL, take_closed, m) == 0);
        for (int n = 0; n < i * 10; n++) { sched_yield(); }
        T_EQ_I64(cellar_bus_settle(last, got.delivery, CELLAR_BUS_ACK, 0), CELLAR_OK);
        pthread_join(t, NULL);
        T_EQ_I64(cellar_bus_close(b), CELLAR_OK);
    }
}

/* ---- functions ---- */

T_CASE(hold_ends_while_the_function_runs)
{
    cellar_bus_group_config o = { .struct_size = sizeof o, .visibility_ms = 1 };
    open_with(2, 0);
    group("q", NULL, &o);
    (void)join("q", NULL, held, NULL);
    T_EQ_I64(send("q"), CELLAR_OK);
    wait_for(&began);
    (void)join("q", NULL, held, NULL);
    wait_for(&began); /* the hold of the first one ended */
    T_CHECK(figures().holds_lost >= 1);
    for (int i = 0; i < 8; i++) { sem_post(&go_on); }
    T_CHECK(cellar_bus_drain(b, 3600000, NULL) == CELLAR_OK);
    T_EQ_I64(cellar_bus_close(b), CELLAR_OK);
}

static cellar_bus_verdict exits(const cellar_bus_message *m, void *ctx)
{
    if (m->attempt < 3) { pthread_exit(NULL); }
    return quick(m, ctx);
}

T_CASE(function_may_end_its_thread)
{
    open_with(1, 0);
    group("q", NULL, NULL);
    (void)join("q", NULL, exits, NULL);
    T_EQ_I64(send("q"), CELLAR_OK);
    wait_for(&began);
    T_EQ_I64(cellar_bus_drain(b, 3600000, NULL), CELLAR_OK);
    T_EQ_U64(figures().thread_ends, 2);
    T_EQ_U64(figures().requeued, 2);
    T_EQ_I64(cellar_bus_close(b), CELLAR_OK);
    T_EQ_U64(atomic_load(&freed), 1);
}

static cellar_bus_verdict closes(const cellar_bus_message *m, void *ctx)
{
    T_EQ_I64(cellar_bus_close(b), CELLAR_E_DEADLOCK);
    T_EQ_I64(cellar_bus_drain(b, 1000, NULL), CELLAR_E_DEADLOCK);
    return quick(m, ctx);
}

T_CASE(close_waits_for_functions_or_is_busy)
{
    open_with(2, 1);
    group("q", NULL, NULL);
    group("c", NULL, NULL);
    (void)join("c", NULL, closes, NULL);
    T_EQ_I64(send("c"), CELLAR_OK);
    wait_for(&began);
    (void)join("q", NULL, held, NULL);
    T_EQ_I64(send("q"), CELLAR_OK);
    T_EQ_I64(send("q"), CELLAR_OK);
    wait_for(&began);
    T_EQ_I64(cellar_bus_close(b), CELLAR_E_BUSY);
    T_EQ_I64(send("c"), CELLAR_OK); /* the bus goes on */
    wait_for(&began);
    sem_post(&go_on);
    sem_post(&go_on);
    wait_for(&began);
    T_EQ_I64(cellar_bus_drain(b, 3600000, NULL), CELLAR_OK);
    T_EQ_I64(cellar_bus_close(b), CELLAR_OK);
    T_EQ_U64(atomic_load(&runs), 4);
    T_EQ_U64(atomic_load(&freed), 2);
}

static atomic_bool close_returned;

static cellar_bus_verdict ends_during_the_close(const cellar_bus_message *m, void *ctx)
{
    sem_post(&began);
    while (send("sink") != CELLAR_E_CLOSED && !atomic_load(&close_returned)) { sched_yield(); }
    return quick(m, ctx);
}

T_CASE(close_that_fails_delivers_what_it_held_back)
{
    cellar_bus_group_config o = { .struct_size = sizeof o, .on_full = CELLAR_BUS_FULL_DROP_NEW,
                                  .max_messages = 1 };
    atomic_store(&close_returned, false);
    open_with(2, 100);
    group("q", NULL, NULL);
    group("h", NULL, NULL);
    group("sink", NULL, &o);
    (void)join("q", NULL, ends_during_the_close, NULL);
    (void)join("h", NULL, held, NULL);
    T_EQ_I64(send("h"), CELLAR_OK);
    wait_for(&began);
    T_EQ_I64(send("q"), CELLAR_OK);
    T_EQ_I64(send("q"), CELLAR_OK);
    wait_for(&began);
    T_EQ_I64(cellar_bus_close(b), CELLAR_E_BUSY);
    atomic_store(&close_returned, true);
    for (int i = 0; i < 3; i++) { wait_for(&began); } /* both messages of q */
    sem_post(&go_on);
    T_EQ_I64(cellar_bus_close(b), CELLAR_OK);
    T_EQ_U64(atomic_load(&runs), 3);
}

T_CASE(member_that_leaves_ends_its_function_first)
{
    open_with(1, 0);
    group("q", NULL, NULL);
    cellar_bus_member *m = join("q", NULL, held, NULL);
    T_EQ_I64(send("q"), CELLAR_OK);
    T_EQ_I64(send("q"), CELLAR_OK);
    wait_for(&began);
    T_EQ_I64(cellar_bus_leave(m), CELLAR_OK);
    T_EQ_U64(atomic_load(&freed), 0);
    T_EQ_I64(cellar_bus_group_remove(b, "q", NULL), CELLAR_E_BUSY);
    (void)join("q", NULL, quick, NULL);
    sem_post(&go_on);
    wait_for(&began); /* the second message: by the second member */
    T_EQ_I64(cellar_bus_drain(b, 3600000, NULL), CELLAR_OK);
    T_EQ_I64(cellar_bus_close(b), CELLAR_OK);
    T_EQ_U64(atomic_load(&freed), 2);
    T_EQ_U64(atomic_load(&runs), 2);
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
    T_EQ_I64(cellar_signal_emit(b, "a.b", NULL, 0, &called), CELLAR_OK);
    T_EQ_U64(called, 1);
    return arg;
}

T_CASE(subscriber_is_freed_after_its_last_call)
{
    uint64_t id;
    pthread_t t;
    open_with(1, 1);
    T_EQ_I64(cellar_signal_subscribe(b, "a.#", CELLAR_BUS_AMQP, hear, NULL, count_free, &id),
             CELLAR_OK);
    T_REQUIRE(pthread_create(&t, NULL, emit, NULL) == 0);
    wait_for(&began);
    T_EQ_I64(cellar_bus_close(b), CELLAR_E_BUSY);
    T_EQ_I64(cellar_signal_unsubscribe(b, id), CELLAR_OK);
    T_EQ_U64(atomic_load(&freed), 0);
    sem_post(&go_on);
    pthread_join(t, NULL);
    T_EQ_U64(atomic_load(&freed), 1);
    T_EQ_I64(cellar_bus_close(b), CELLAR_OK);
}

static void ends_thread(const char *topic, const void *data, size_t len, void *ctx)
{
    (void)topic, (void)data, (void)len, (void)ctx;
    pthread_exit(NULL);
}

T_CASE(subscriber_may_end_its_thread)
{
    pthread_t t;
    open_with(1, 0);
    T_EQ_I64(cellar_signal_subscribe(b, "#", CELLAR_BUS_AMQP, ends_thread, NULL, count_free, NULL),
             CELLAR_OK);
    T_REQUIRE(pthread_create(&t, NULL, emit, NULL) == 0);
    pthread_join(t, NULL);
    T_EQ_U64(figures().thread_ends, 1);
    T_EQ_I64(cellar_bus_close(b), CELLAR_OK);
    T_EQ_U64(atomic_load(&freed), 1);
}

/* ---- fork ---- */

static int child_of(cellar_bus_member *m)
{
    cellar_bus_message got = cellar_bus_message_default();
    cellar_bus_member *joined;
    cellar_bus_group_stats st = cellar_bus_group_stats_default();
    if (cellar_bus_group_add(b, "n", NULL, NULL) != CELLAR_E_FORKED ||
        cellar_bus_group_remove(b, "q", NULL) != CELLAR_E_FORKED ||
        cellar_bus_route(b, "#", "q", CELLAR_BUS_AMQP, true) != CELLAR_E_FORKED ||
        cellar_bus_route(b, "#", "q", CELLAR_BUS_AMQP, false) != CELLAR_E_FORKED ||
        cellar_bus_publish(b, "k", NULL, 0, NULL) != CELLAR_E_FORKED ||
        send("q") != CELLAR_E_FORKED ||
        cellar_bus_join(b, "q", NULL, NULL, &joined) != CELLAR_E_FORKED ||
        cellar_bus_group_stats_get(b, "q", NULL, &st) != CELLAR_E_FORKED ||
        cellar_bus_drain(b, 0, NULL) != CELLAR_E_FORKED ||
        cellar_signal_emit(b, "k", NULL, 0, NULL) != CELLAR_E_FORKED ||
        cellar_signal_subscribe(b, "k", CELLAR_BUS_AMQP, hear, NULL, NULL, NULL) !=
            CELLAR_E_FORKED ||
        cellar_signal_unsubscribe(b, 1) != CELLAR_E_FORKED ||
        cellar_tick(b, 0, NULL) != CELLAR_E_FORKED) {
        return 1;
    }
    if (m != NULL && (cellar_bus_take(m, 0, &got) != CELLAR_E_FORKED ||
                      cellar_bus_settle(m, 1, CELLAR_BUS_ACK, 0) != CELLAR_E_FORKED ||
                      cellar_bus_leave(m) != CELLAR_E_FORKED)) {
        return 2;
    }
    if (cellar_bus_close(b) != CELLAR_OK) { return 3; }
    return atomic_load(&freed) == 0 ? 0 : 4;
}

static int end_of(pid_t child)
{
    int status = -1;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) { }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

T_CASE(forked_child_is_refused_by_the_bus)
{
    cellar_bus_member *m;
    cellar_bus_message got = cellar_bus_message_default();
    open_with(1, 0);
    group("q", NULL, NULL);
    group("p", NULL, NULL);
    (void)join("q", NULL, held, NULL);
    T_REQUIRE(cellar_bus_join(b, "p", NULL, NULL, &m) == CELLAR_OK);
    T_EQ_I64(send("q"), CELLAR_OK);
    T_EQ_I64(send("q"), CELLAR_OK);
    T_EQ_I64(send("p"), CELLAR_OK);
    T_EQ_I64(cellar_bus_take(m, 0, &got), CELLAR_OK);
    wait_for(&began);
    const pid_t child = fork(); /* one function runs, one message waits, one is in hand */
    if (child == 0) { _exit(child_of(m)); }
    T_EQ_I64(end_of(child), 0);
    T_EQ_I64(cellar_bus_settle(m, got.delivery, CELLAR_BUS_ACK, 0), CELLAR_OK);
    sem_post(&go_on);
    sem_post(&go_on);
    T_EQ_I64(cellar_bus_drain(b, 3600000, NULL), CELLAR_OK);
    T_EQ_I64(cellar_bus_close(b), CELLAR_OK);
    T_EQ_U64(atomic_load(&runs), 2);
}

static cellar_bus_verdict forks(const cellar_bus_message *m, void *ctx)
{
    const pid_t child = fork();
    if (child == 0) { _exit(child_of(NULL)); }
    T_EQ_I64(end_of(child), 0);
    return quick(m, ctx);
}

T_CASE(fork_inside_a_function)
{
    open_with(1, 0);
    group("q", NULL, NULL);
    (void)join("q", NULL, forks, NULL);
    T_EQ_I64(send("q"), CELLAR_OK);
    wait_for(&began);
    T_EQ_I64(cellar_bus_close(b), CELLAR_OK);
}

/* ---- memory and threads ---- */

T_CASE(open_without_memory_is_a_code)
{
    cellar_err err = CELLAR_E_NOMEM;
    for (uint64_t nth = 1; err == CELLAR_E_NOMEM && nth < 20; nth++) {
        (void)base_fault_alloc_arm(nth, false);
        err = cellar_bus_open(NULL, &b);
        const bool armed = base_fault_alloc_arm(0, false) >= nth;
        if (err == CELLAR_OK) { T_EQ_I64(cellar_bus_close(b), CELLAR_OK); }
        if (armed) { T_EQ_I64(err, CELLAR_E_NOMEM); }
    }
    T_EQ_I64(err, CELLAR_OK);
}

T_MAIN("work_bus_threads")
