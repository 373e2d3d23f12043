/* SPDX-License-Identifier: MIT
 *
 * Aim:    a message is one row for each group of its queues, all or none; fields, limits, filters,
 *         lanes, dead letters and signals do what cellar_bus.h says; no message is lost. Each limit
 *         is a code and a counter. Wrong arguments or missing memory change nothing.
 * Method: both clocks are variables; the test calls cellar_tick, which runs the functions. Every
 *         allocation fails once. After each step: submitted + requeued == ended + live, of the pool
 *         and of each group. */
#include <pthread.h>
#include <sched.h>

#include "base/clock.h"
#include "cellar_observe.h"
#include "work/bus_types.h" /* before the variables of the kit */
#include "tests/support/each_allocation.h"
#include "tests/support/refusals.h"
#include "tests/support/struct_sizes.h" /* before the variables of the kit */
#include "tests/support/message_kit.h"

T_CASE_ON(message_enters_each_matching_queue_once, MESSAGES)
{
    group("a", NULL, note);
    group("a", "a2", note);
    group("b", NULL, note);
    group("c", NULL, note);
    route("x.#", "a");
    route("x.*", "a");
    route("x.1", "b");
    T_EQ_I64(publish("x.1", "m"), CELLAR_OK);
    T_EQ_U64(figures().live, 3);
    T_EQ_I64(publish("y", "n"), CELLAR_UNROUTED);
    T_AFTER_STR(tick(), ran, "mmm");
    T_EQ_U64(of_group("a").ok + of_group("a2").ok + of_group("b").ok, 3);
    T_EQ_U64(of_group("c").submitted, 0);
    T_EQ_I64(cellar_bus_route(p, "x.1", "b", CELLAR_BUS_AMQP, false), CELLAR_OK);
    T_EQ_I64(cellar_bus_group_remove(p, "a2"), CELLAR_OK);
    T_EQ_I64(cellar_bus_group_remove(p, "a2"), CELLAR_E_NOT_FOUND);
    T_EQ_I64(cellar_bus_group_remove(p, "t"), CELLAR_E_NOT_FOUND); /* a name of tasks */
    T_EQ_I64(publish("x.1", "o"), CELLAR_OK);
    T_AFTER_STR(tick(), ran, "mmmo");
}

static cellar_verdict reads_fields(const cellar_task *t, void *ctx)
{
    (void)ctx;
    cellar_bus_message m = cellar_bus_message_default();
    T_EQ_I64(cellar_bus_message_of(t, &m), CELLAR_OK);
    T_EQ_STR(m.key, "k.1");
    T_EQ_STR(m.queue, "q");
    T_CHECK(m.body_len == 4 && memcmp(m.body, "body", 4) == 0);
    T_CHECK(t->payload_len == 4 && t->payload == m.body);
    T_EQ_STR(t->content_type, "");
    T_EQ_U64(m.header_count, 2);
    T_EQ_STR(m.headers[0].name, "h1");
    T_EQ_STR(m.headers[1].value, "");
    T_EQ_U64(m.priority, 7);
    T_EQ_U64(m.trace[31], 9);
    T_EQ_I64(m.published_wall_ms, wall_ms);
    T_CHECK(m.id != 0 && m.died_in == NULL);
    ran_count++;
    return cellar_verdict_ok();
}

T_CASE_ON(message_keeps_its_fields, MESSAGES)
{
    const cellar_bus_header h[] = { { "h1", "v1" }, { "h2", "" } };
    cellar_bus_publish_opts o = { .struct_size = sizeof o, .headers = h, .header_count = 2,
                                  .priority = 7, .trace = { [31] = 9 } };
    group("q", NULL, reads_fields);
    group("q", "q2", reads_fields);
    route("k.*", "q");
    T_EQ_I64(cellar_bus_publish(p, "k.1", "body", 4, &o), CELLAR_OK);
    T_AFTER_U64(tick(), ran_count, 2);
}

/* Find a key that has another lane than "one". */
static void find_other_lane(char key[16])
{
    for (uint32_t i = 0, n = 0; n != 2; i++) {
        const cellar_task *t[2];
        (void)snprintf(key, 16, "another.%u", i);
        T_EQ_I64(publish("one", "a"), CELLAR_OK);
        T_EQ_I64(publish(key, "x"), CELLAR_OK);
        for (uint32_t done = 0; done < 2; done += n) {
            T_REQUIRE(cellar_task_take(p, "q", 1000, 0, t, 2, &n) == CELLAR_OK && n > 0);
            for (uint32_t j = 0; j < n; j++) { settle(t[j], cellar_verdict_ok()); }
        }
    }
}

T_CASE_ON(messages_of_a_key_follow_one_another, MESSAGES)
{
    const cellar_task *t[8];
    uint32_t n;
    char other[16];
    group_opts.ordered = 1;
    group("q", NULL, NULL);
    route("#", "q");
    find_other_lane(other);
    for (int i = 0; i < 3; i++) { T_EQ_I64(publish("one", "abc" + i), CELLAR_OK); }
    T_EQ_I64(publish(other, "x"), CELLAR_OK);
    T_EQ_I64(cellar_task_take(p, "q", 1000, 0, t, 8, &n), CELLAR_OK);
    T_EQ_U64(n, 2);
    settle(t[1], cellar_verdict_ok());
    settle(t[0], cellar_verdict_retry_after(100));
    take_none("q"); /* "b" waits for the retry of "a" */
    T_FIELDS(of_group("q"), parked, 0, live, 3);
    (void)pass(100);
    for (int i = 0; i < 3; i++) {
        T_EQ_I64(cellar_task_take(p, "q", 1000, 0, t, 8, &n), CELLAR_OK);
        T_EQ_U64(n, 1);
        T_CHECK(n == 1 && *(const char *)t[0]->payload == "abc"[i]);
        settle(t[0], cellar_verdict_ok());
    }
    for (int i = 0; i < 3; i++) { T_EQ_I64(publish("one", "def" + i), CELLAR_OK); }
    T_EQ_I64(cellar_bus_group_remove(p, "q"), CELLAR_OK);
}

T_CASE_ON(dead_letter_is_a_row_of_the_dead_queue, MESSAGES)
{
    cellar_bus_message m = cellar_bus_message_default();
    group("dead", NULL, NULL);
    group_opts.dead_queue = "dead";
    group_opts.max_deliver = 2;
    group("q", NULL, note);
    answer = cellar_verdict_retry();
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    T_AFTER_STR(tick(), ran, "aa"); /* the retry is at the front, now */
    T_EQ_U64(of_group("q").failed, 1);
    const cellar_task *t = take("dead", "a");
    T_EQ_I64(cellar_bus_message_of(t, &m), CELLAR_OK);
    T_EQ_STR(m.died_in, "q");
    T_EQ_U64(t->attempt, 1);
    settle(t, cellar_verdict_fail()); /* for good */
    T_EQ_U64(figures().dead, 1);
}

/* ---- verdicts ---- */

static uint64_t id_of(const cellar_task *t)
{
    cellar_bus_message m = cellar_bus_message_default();
    T_EQ_I64(cellar_bus_message_of(t, &m), CELLAR_OK);
    return m.id;
}

T_CASE_ON(nack_returns_now_or_after_its_delay, MESSAGES)
{
    group("q", NULL, NULL);
    send_all("q", "ab");
    settle(take("q", "a"), cellar_verdict_retry());
    (void)pass(5);
    const cellar_task *again = take("q", "a"); /* at the front */
    T_EQ_U64(again->attempt, 2);
    T_EQ_I64(again->late_ms, 5);
    settle(again, cellar_verdict_retry_after(5000));
    take_and_end("q", "b");
    take_none("q");
    (void)pass(4999);
    take_none("q");
    (void)pass(1);
    const cellar_task *third = take("q", "a");
    T_EQ_U64(third->attempt, 3);
    settle(third, cellar_verdict_ok());
    T_EQ_U64(of_group("q").retried, 2);
}

/* The first message of three returns: by its verdict, or because its hold passes. */
static void check_return(uint32_t parallel, bool passes, int64_t delay_ms)
{
    start();
    group_opts.parallel = parallel;
    group_opts.retry_ms = delay_ms;
    group("q", NULL, NULL);
    send_all("q", "abc");
    const cellar_task *a = take("q", "a");
    if (parallel != 0) { take_none("q"); } /* parks the others */
    if (passes) {
        T_AFTER_I64(pass(30000), cellar_task_settle(a, cellar_verdict_ok()), CELLAR_E_LOST);
    } else {
        settle(a, cellar_verdict_retry());
    }
    if (delay_ms == 0) { take_and_end("q", "a"); }
    take_all("q", "bc");
    take_none("q");
    (void)pass(delay_ms);
    if (delay_ms != 0) { take_and_end("q", "a"); }
    T_EQ_U64(of_group("q").ok, 3);
    close_it();
}

T_CASE(returned_message_goes_to_the_front_unless_it_has_a_delay)
{
    for (int i = 0; i < 8; i++) { check_return(i & 1, (i & 2) != 0, (i & 4) != 0 ? 100 : 0); }
}

T_CASE_ON(take_releases_the_next_parked_message, MESSAGES)
{
    group_opts.parallel = 2;
    group("q", NULL, NULL);
    send_all("q", "abcd");
    const cellar_task *a = take("q", "a"), *b = take("q", "b");
    take_none("q"); /* parks the others */
    settle(a, cellar_verdict_ok());
    settle(b, cellar_verdict_ok());
    const cellar_task *c = take("q", "c");
    take_and_end("q", "d");
    settle(c, cellar_verdict_ok());
}

T_CASE_ON(verdicts_of_functions_decide, MESSAGES)
{
    group_opts.max_deliver = 3;
    group_opts.retry_ms = 100;
    group("q", NULL, note);
    answer = cellar_verdict_retry();
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    (void)tick();
    T_AFTER_STR(pass(99), ran, "a");
    T_AFTER_STR(pass(1), ran, "aa");
    T_AFTER_STR(pass(100), ran, "aaa");
    T_EQ_U64(figures().dead, 1);
    answer = cellar_verdict_fail();
    T_EQ_I64(send("q", "b"), CELLAR_OK);
    T_AFTER_U64(tick(), figures().dead, 2);
    T_EQ_U64(figures().live, 0);
}

T_CASE_ON(bus_groups_exactly_once_each, MESSAGES)
{
    group("q", "one", NULL);
    group("q", "two", NULL);
    send_all("q", "ab");
    const cellar_task *a = take("one", "a"), *b = take("one", "b");
    take_none("one");
    T_EQ_U64(of_group("one").running, 2);
    T_EQ_U64(of_group("two").running, 0);
    const cellar_task *a2 = take("two", "a");
    T_CHECK(a2->payload == a->payload); /* the groups share the bytes */
    T_EQ_U64(id_of(a2), id_of(a));
    T_CHECK(id_of(b) > id_of(a));
    settle(a, cellar_verdict_ok());
    settle(b, cellar_verdict_ok());
    T_EQ_MEM(a2->payload, "a", 1);
    settle(a2, cellar_verdict_ok());
    take_and_end("two", "b");
    T_EQ_U64(of_group("one").ok, 2);
    T_EQ_U64(of_group("two").ok, 2);
    group("q", "late", NULL); /* sees what is published from now on */
    T_EQ_U64(of_group("late").live, 0);
}

static uint64_t unrouted(void) { return p->bus.count[STATS_BUS_UNROUTED]; }

T_CASE(seed_route_unrouted_is_counted)
{
    start();
    group("mail", NULL, NULL);
    route("user.*.mail", "mail");
    T_EQ_I64(publish("usr.7.mail", "lost"), CELLAR_UNROUTED);
    T_EQ_U64(unrouted(), 1);
    T_EQ_U64(figures().live, 0);
    close_it();
    defaults();
    config.default_queue = "rest";
    open_empty();
    group("mail", NULL, NULL);
    route("user.*.mail", "mail");
    T_EQ_I64(publish("usr.7.mail", "lost"), CELLAR_UNROUTED); /* there is no such queue yet */
    group("rest", NULL, NULL);
    T_EQ_I64(publish("usr.7.mail", "kept"), CELLAR_OK);
    T_EQ_U64(unrouted(), 2);
    T_EQ_U64(of_group("rest").live, 1);
    T_EQ_I64(publish("user.7.mail", "routed"), CELLAR_OK);
    T_EQ_U64(unrouted(), 2);
    T_EQ_I64(cellar_bus_group_remove(p, "mail"), CELLAR_OK); /* a route without a queue */
    T_EQ_I64(publish("user.7.mail", "kept"), CELLAR_OK);
    T_EQ_U64(unrouted(), 3);
    close_it();
}

static bool wants_even(const cellar_bus_message *m, void *calls)
{
    ++*(unsigned *)calls;
    return m->body_len % 2 == 0;
}

T_CASE_ON(filters_combine_by_all_or_any, MESSAGES)
{
    static const char *const types[] = { "gold", "silver" };
    unsigned calls = 0;
    const cellar_task *t[8];
    uint32_t n;
    group_opts.filter_priority = 5;
    group_opts.filter_header = "type";
    group_opts.filter_values = types;
    group_opts.filter_value_count = 2;
    group_opts.filter_fn = wants_even;
    group_opts.filter_ctx = &calls;
    group("q", "all", NULL);
    group_opts.filter_any = 1;
    group("q", "any", NULL);
    route("#", "q");
    for (int i = 0; i < 8; i++) { /* bit 0: priority, bit 1: header, bit 2: even */
        const cellar_bus_header header = { "type", (i & 2) != 0 ? "silver" : "bronze" };
        const cellar_bus_publish_opts o = { .struct_size = sizeof o, .headers = &header,
                                            .header_count = 1, .priority = (i & 1) != 0 ? 5 : 4 };
        T_EQ_I64(cellar_bus_publish(p, "k", "xxx", (i & 4) != 0 ? 2 : 1, &o), CELLAR_OK);
    }
    T_EQ_I64(cellar_task_take(p, "all", 30000, 0, t, 8, &n), CELLAR_OK);
    T_EQ_U64(n, 1);
    T_EQ_U64(calls, 2); /* the built-in ones come first */
    T_EQ_U64(of_group("all").filtered, 7);
    settle(t[0], cellar_verdict_ok());
    T_EQ_I64(cellar_task_take(p, "any", 30000, 0, t, 8, &n), CELLAR_OK);
    T_EQ_U64(n, 7);
    T_EQ_U64(calls, 4);
    T_EQ_U64(of_group("any").filtered, 1);
    for (uint32_t i = 0; i < n; i++) { settle(t[i], cellar_verdict_ok()); }
}

static bool drains(const cellar_bus_message *m, void *ctx)
{
    (void)m, (void)ctx;
    if (T_EQ_I64(cellar_pool_drain(p, CELLAR_DRAIN_ALL, 0, NULL), CELLAR_E_DEADLOCK)) {
        T_EQ_I64(cellar_pool_close(p), CELLAR_E_DEADLOCK);
    }
    return true;
}

T_CASE_ON(drain_in_a_filter_of_a_take_is_refused, MESSAGES)
{
    group_opts.filter_fn = drains;
    group("q", NULL, NULL);
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    const cellar_task *t = take("q", "a");
    T_EQ_I64(cellar_pool_drain(p, CELLAR_DRAIN_RUNNING, 0, NULL), CELLAR_E_BUSY); /* outside */
    settle(t, cellar_verdict_ok());
}

T_CASE_ON(functions_see_what_passes_the_filters, MESSAGES)
{
    const cellar_bus_publish_opts o = { .struct_size = sizeof o, .priority = 3 };
    group_opts.filter_priority = 3;
    group("q", NULL, note);
    T_EQ_I64(send("q", "l"), CELLAR_OK);
    T_EQ_I64(bus_send(p, "q", "h", 1, &o), CELLAR_OK);
    T_AFTER_STR(tick(), ran, "h");
    T_EQ_U64(of_group("q").filtered, 1);
}

/* ---- signals ---- */

static size_t heard_calls;
static void hears(const char *topic, const void *data, size_t len, void *ctx)
{
    (void)topic, (void)data, (void)len, (void)ctx;
    heard_calls++;
    T_EQ_I64(cellar_pool_drain(p, CELLAR_DRAIN_ALL, 0, NULL), CELLAR_E_DEADLOCK);
}

T_CASE_ON(signals_call_their_subscribers, MESSAGES)
{
    uint64_t id;
    size_t called;
    T_EQ_I64(cellar_signal_subscribe(p, "a.*", CELLAR_BUS_AMQP, hears, NULL, NULL, &id), CELLAR_OK);
    T_EQ_I64(cellar_signal_emit(p, "a.b", "x", 1, &called), CELLAR_OK);
    T_CHECK(called == 1 && heard_calls == 1);
    T_EQ_I64(cellar_signal_unsubscribe(p, id), CELLAR_OK);
}

static bool see_payload(const cellar_task_status *st, void *ctx)
{
    T_EQ_U64(st->payload_len, 4);
    T_EQ_MEM(st->payload, "body", 4);
    if (*(int *)ctx == 0) { /* the payload outlives its task */
        T_EQ_I64(cellar_task_cancel(p, st->id), CELLAR_OK);
        T_EQ_MEM(st->payload, "body", 4);
    }
    return ++*(int *)ctx != 2;
}

T_CASE(list_shows_payloads_and_bodies)
{
    uint64_t cursor = 0;
    int seen = 0;
    cellar_task_id id;
    cellar_task_status st = cellar_task_status_default();
    start();
    group("q", NULL, NULL);
    T_EQ_I64(cellar_task_submit(p, "t", "body", 4, NULL, &id), CELLAR_OK);
    for (int i = 0; i < 3; i++) { T_EQ_I64(send("q", "body"), CELLAR_OK); }
    T_EQ_I64(cellar_task_wait(p, id, 0, &st), CELLAR_PENDING);
    T_CHECK(st.payload == NULL);
    T_EQ_U64(st.payload_len, 0);
    T_EQ_I64(cellar_task_list(p, NULL, &cursor, see_payload, &seen), CELLAR_OK);
    T_EQ_I64(seen, 2);
    T_EQ_I64(cellar_task_list(p, NULL, &cursor, see_payload, &seen), CELLAR_OK);
    T_EQ_I64(seen, 4);
    close_it();
}

/* ---- limits ---- */

T_CASE_ON(message_limits_refuse_drop_or_block, POOL)
{
    static const struct {
        const char *queue;
        cellar_bus_on_full on_full;
        cellar_err third; /* of the third message */
        uint64_t rejected, dropped;
    } row[] = { { "error", CELLAR_BUS_FULL_ERROR, CELLAR_E_BUSY, 1, 0 },
                { "new", CELLAR_BUS_FULL_DROP_NEW, CELLAR_OK, 0, 1 },
                { "oldest", CELLAR_BUS_FULL_DROP_OLDEST, CELLAR_OK, 0, 1 },
                { "block", CELLAR_BUS_FULL_BLOCK, CELLAR_E_TIMEOUT, 1, 0 } };
    config.block_timeout_ms = 1;
    open_empty();
    group_opts.max_messages = 2;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        group_opts.on_full = row[i].on_full;
        group(row[i].queue, NULL, NULL);
        send_all(row[i].queue, "ab");
        if (!T_EQ_I64(send(row[i].queue, "c"), row[i].third) ||
            !T_EQ_U64(of_group(row[i].queue).rejected_full, row[i].rejected) ||
            !T_EQ_U64(of_group(row[i].queue).dropped, row[i].dropped)) {
            printf("# queue %s\n", row[i].queue);
        }
    }
    const cellar_task *b = take("oldest", "b"), *c = take("oldest", "c");
    T_EQ_I64(send("oldest", "d"), CELLAR_E_BUSY); /* all are in hand */
    settle(b, cellar_verdict_ok());
    T_EQ_I64(send("oldest", "d"), CELLAR_OK);
    settle(c, cellar_verdict_ok());
    take_all("new", "ab");
}

static _Atomic bool changes, gave_up;

/* Change routes until the publish of the test returns, for 100 of its waits at most. */
static void *change_routes(void *in_time)
{
    const uint64_t until_ns = base_until_ns(5000);
    while (!gave_up && base_now_ns() < until_ns) {
        T_EQ_I64(cellar_bus_route(p, "k", "q", CELLAR_BUS_AMQP, true), CELLAR_OK);
        T_EQ_I64(cellar_bus_route(p, "k", "q", CELLAR_BUS_AMQP, false), CELLAR_OK);
        changes = true;
        (void)sched_yield(); /* a look and its put meet no change now and then */
    }
    *(bool *)in_time = gave_up;
    return NULL;
}

T_CASE_ON(blocked_publish_times_out_while_routes_change, POOL)
{
    pthread_t t;
    bool in_time = false;
    config.block_timeout_ms = 50;
    open_empty();
    group_opts.max_messages = 1;
    group_opts.on_full = CELLAR_BUS_FULL_BLOCK;
    group("q", NULL, NULL);
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    T_REQUIRE(pthread_create(&t, NULL, change_routes, &in_time) == 0);
    while (!changes) { (void)sched_yield(); }
    T_EQ_I64(send("q", "b"), CELLAR_E_TIMEOUT);
    gave_up = true;
    T_REQUIRE(pthread_join(t, NULL) == 0);
    T_CHECK(in_time);
    take_and_end("q", "a");
}

/* A full group with ERROR keeps the message from all groups; one that drops does not. */
T_CASE_ON(publish_reaches_all_groups_or_none, MESSAGES)
{
    group("q", "wide", NULL);
    group_opts.max_messages = 1;
    group_opts.on_full = CELLAR_BUS_FULL_DROP_NEW;
    group("q", "drops", NULL);
    group_opts.on_full = CELLAR_BUS_FULL_DROP_OLDEST; /* each full group answers for itself */
    group("q", "oldest", NULL);
    send_all("q", "ab");
    T_EQ_U64(of_group("wide").live, 2);
    T_FIELDS(of_group("drops"), live, 1, rejected_full, 0);
    T_EQ_U64(of_group("oldest").dropped, 1);
    take_and_end("oldest", "b");
    group_opts.on_full = CELLAR_BUS_FULL_ERROR;
    group("q", "tight", NULL);
    T_EQ_I64(send("q", "c"), CELLAR_OK);
    T_EQ_I64(send("q", "d"), CELLAR_E_BUSY);
    T_EQ_U64(of_group("wide").live, 3);
    T_EQ_U64(of_group("drops").submitted, 3); /* "d" reached no group: it was not dropped */
    T_EQ_U64(of_group("drops").dropped, 2);
}

/* A drained pool takes no message, also where its groups would drop it. */
T_CASE_ON(drained_pool_refuses_what_full_groups_drop, MESSAGES)
{
    group_opts.max_messages = 1;
    group_opts.on_full = CELLAR_BUS_FULL_DROP_NEW;
    group("q", NULL, NULL);
    send_all("q", "ab");
    const cellar_task *t = take("q", "a");
    T_EQ_I64(cellar_pool_drain(p, CELLAR_DRAIN_RUNNING, 0, NULL), CELLAR_E_BUSY);
    T_EQ_I64(send("q", "c"), CELLAR_E_CLOSED);
    T_EQ_U64(of_group("q").dropped, 1);
    settle(t, cellar_verdict_ok());
}

/* A group that drops its oldest message does so only if the publish then succeeds. */
T_CASE_ON(failed_publish_drops_no_message, POOL)
{
    config.queue_cap = 4;
    config.on_full = CELLAR_POOL_DROP_OLDEST;
    open_empty();
    group_opts.max_messages = 1;
    group_opts.on_full = CELLAR_BUS_FULL_DROP_OLDEST;
    group("q", "first", NULL);
    group("q", "second", NULL);
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    const cellar_task *a = take("second", "a");
    T_EQ_I64(send("q", "b"), CELLAR_E_BUSY); /* "second" has no message to drop */
    T_EQ_U64(of_group("first").dropped, 0);
    settle(a, cellar_verdict_ok());
    T_EQ_I64(send("q", "c"), CELLAR_OK);
    T_EQ_U64(of_group("first").dropped, 1);
    group_opts.on_full = CELLAR_BUS_FULL_ERROR;
    group("q", "error", NULL);
    group("r", NULL, NULL);
    T_EQ_I64(cellar_bus_route(p, "k", "r", CELLAR_BUS_AMQP, true), CELLAR_OK);
    T_EQ_I64(send("r", "d"), CELLAR_OK);
    T_EQ_I64(cellar_bus_route(p, "k", "q", CELLAR_BUS_AMQP, true), CELLAR_OK);
    T_EQ_I64(publish("k", "e"), CELLAR_E_BUSY); /* "r" is full, and so is the pool for four rows */
    T_EQ_U64(figures().dropped, 1);
    take_and_end("first", "c");
    take_and_end("second", "c");
}

/* Fault: a full pool refused a publish while messages waited behind one of their key. */
T_CASE_ON(full_pool_drops_messages_behind_one_of_their_key, POOL)
{
    config.queue_cap = 3;
    config.on_full = CELLAR_POOL_DROP_OLDEST;
    open_empty();
    group_opts.ordered = 1;
    group("q", NULL, NULL);
    send_all("q", "abc");
    const cellar_task *a = take("q", "a");
    send_all("q", "d");
    T_EQ_U64(figures().dropped, 1);
    settle(a, cellar_verdict_ok());
    take_all("q", "cd");
}

T_CASE_ON(bytes_of_a_group_are_a_limit, MESSAGES)
{
    static char body[2 << 20];
    group_opts.max_bytes = 164; /* 64 of the message, "q" with its 0 */
    group("q", NULL, NULL);
    group_opts.on_full = CELLAR_BUS_FULL_DROP_OLDEST;
    group("d", NULL, NULL);
    T_EQ_I64(bus_send(p, "q", body, 98, NULL), CELLAR_OK);
    T_EQ_I64(bus_send(p, "q", body, 0, NULL), CELLAR_E_BUSY);
    T_EQ_I64(bus_send(p, "q", body, 99, NULL), CELLAR_E_TOOBIG);
    T_EQ_I64(bus_send(p, "d", body, 16, NULL), CELLAR_OK);
    T_EQ_I64(bus_send(p, "d", body, 16, NULL), CELLAR_OK);
    T_EQ_I64(bus_send(p, "d", body, 98, NULL), CELLAR_OK); /* in place of both */
    T_EQ_U64(of_group("d").dropped, 2);
    T_EQ_I64(bus_send(p, "d", body, 99, NULL), CELLAR_E_TOOBIG);
    T_EQ_U64(of_group("d").live, 1);
    T_EQ_I64(bus_send(p, "q", body, sizeof body, NULL), CELLAR_E_TOOBIG);
}

static void ignores(const char *topic, const void *data, size_t len, void *ctx)
{
    (void)topic, (void)data, (void)len, (void)ctx;
}

T_CASE_ON(groups_routes_and_subscribers_have_limits, POOL)
{
    config.max_names = 1;
    config.max_groups = 8;
    config.max_routes = 80;
    config.max_subscribers = 2;
    open_empty(); /* a name of tasks is no group */
    for (unsigned i = 0; i < 9; i++) {
        T_EQ_I64(cellar_bus_group_add(p, t_numbered("q", i), NULL, NULL, NULL, NULL),
                 i < 8 ? CELLAR_OK : CELLAR_E_LIMIT);
    }
    T_EQ_I64(cellar_bus_group_add(p, "q0", NULL, NULL, NULL, NULL), CELLAR_EXISTS);
    T_EQ_I64(cellar_task_register(p, "u", note, NULL, NULL), CELLAR_E_LIMIT);
    for (unsigned i = 0; i < 81; i++) {
        T_EQ_I64(cellar_bus_route(p, t_numbered("k.", i), "q0", CELLAR_BUS_AMQP, true),
                 i < 80 ? CELLAR_OK : CELLAR_E_LIMIT);
    }
    for (int i = 0; i < 3; i++) {
        T_EQ_I64(cellar_signal_subscribe(p, "a", CELLAR_BUS_AMQP, ignores, NULL, NULL, NULL),
                 i < 2 ? CELLAR_OK : CELLAR_E_LIMIT);
    }
    for (int i = 0; i < 20; i++) { /* a place that was given free is used again */
        T_EQ_I64(cellar_bus_group_remove(p, "q7"), CELLAR_OK);
        T_EQ_I64(cellar_bus_group_add(p, "q7", NULL, NULL, NULL, NULL), CELLAR_OK);
    }
}

T_CASE_ON(queues_have_a_limit_and_a_refused_group_makes_none, MESSAGES)
{
    group("q", NULL, NULL);
    const uint64_t bytes = figures().bytes;
    for (unsigned i = 0; i < 100; i++) {
        T_EQ_I64(cellar_bus_group_add(p, t_numbered("q", i), "t", NULL, NULL, NULL), CELLAR_EXISTS);
    }
    T_EQ_U64(figures().bytes, bytes);
    for (unsigned i = 0; i < 65536; i++) {
        T_EQ_I64(cellar_bus_group_add(p, t_numbered("q", i), "g", NULL, NULL, NULL),
                 i < 65535 ? CELLAR_OK : CELLAR_E_LIMIT);
        T_EQ_I64(cellar_bus_group_remove(p, "g"), i < 65535 ? CELLAR_OK : CELLAR_E_NOT_FOUND);
    }
    T_EQ_U64(figures().rejected_limit, 1);
    group("q7", "g", NULL); /* an old queue is used again */
    T_EQ_I64(send("q7", "a"), CELLAR_OK);
    take_and_end("g", "a");
}

T_CASE_ON(message_reaches_at_most_64_queues, MESSAGES)
{
    for (unsigned i = 0; i < 65; i++) {
        const char *name = t_numbered("q", i);
        group(name, NULL, NULL);
        T_EQ_I64(cellar_bus_route(p, "#", name, CELLAR_BUS_AMQP, true), CELLAR_OK);
        T_EQ_I64(publish("k", "x"), i < 64 ? CELLAR_OK : CELLAR_E_LIMIT);
    }
    T_EQ_U64(figures().submitted, 64 * 65 / 2);
}

/* ---- groups and names of tasks ---- */

static bool never(const cellar_bus_message *m, void *ctx)
{
    (void)m, (void)ctx;
    return false;
}

static cellar_verdict is_no_message(const cellar_task *t, void *ctx)
{
    cellar_bus_message m = cellar_bus_message_default();
    T_EQ_I64(cellar_bus_message_of(t, &m), CELLAR_E_INVAL);
    return note(t, ctx);
}

T_CASE_ON(group_is_a_name_of_the_pool, MESSAGES)
{
    const cellar_task_opts pulled = { .struct_size = sizeof pulled, .queue = "pulled" };
    T_EQ_I64(cellar_bus_group_add(p, "q", "t", note, NULL, NULL), CELLAR_EXISTS);
    group("q", NULL, is_no_message);
    T_EQ_I64(cellar_task_register(p, "q", note, NULL, NULL), CELLAR_EXISTS);
    name_it("name", NULL, &pulled);
    T_EQ_I64(cellar_bus_group_add(p, "pulled", NULL, note, NULL, NULL), CELLAR_E_BUSY);
    T_EQ_I64(cellar_task_submit(p, "q", "a", 1, NULL, NULL), CELLAR_OK);
    T_AFTER_STR(tick(), ran, "a");
    group_opts.filter_fn = never;
    group_opts.ordered = 1;
    group("r", NULL, is_no_message);
    T_EQ_I64(cellar_task_submit(p, "r", "b", 1, NULL, NULL), CELLAR_OK); /* no filter, no lane */
    T_AFTER_STR(tick(), ran, "ab");
    T_EQ_U64(of_group("r").filtered, 0);
    T_EQ_I64(cellar_task_unregister(p, "q"), CELLAR_OK);
    T_EQ_I64(send("q", "c"), CELLAR_E_NOT_FOUND);
    T_EQ_I64(cellar_bus_group_add(p, "x", "q", note, NULL, NULL), CELLAR_OK);
    T_EQ_I64(send("x", "c"), CELLAR_OK);
    T_AFTER_STR(tick(), ran, "abc");
}

/* ---- dead letters ---- */

static cellar_verdict says_why(const cellar_task *t, void *ctx)
{
    (void)note(t, ctx);
    T_EQ_I64(cellar_task_error(t, "no"), CELLAR_OK);
    return cellar_verdict_fail();
}

T_CASE_ON(message_is_described_after_its_row_has_gone, MESSAGES)
{
    cellar_bus_message m = cellar_bus_message_default();
    group_opts.max_deliver = 1;
    group("q", NULL, NULL);
    const int64_t published_ms = wall_ms;
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    const cellar_task *t = take("q", "a");
    (void)pass(30000); /* its hold is over: a dead letter */
    T_EQ_I64(cellar_task_purge(p, t->id), CELLAR_OK);
    T_EQ_I64(cellar_bus_message_of(t, &m), CELLAR_OK);
    T_EQ_I64(m.published_wall_ms, published_ms);
    T_EQ_STR(m.key, "q");
    T_EQ_I64(cellar_task_settle(t, cellar_verdict_ok()), CELLAR_E_LOST);
}

T_CASE_ON(messages_with_lost_holds_each_die_once, MESSAGES)
{
    const cellar_task *t[2];
    cellar_bus_message m = cellar_bus_message_default();
    uint32_t n;
    group_opts.dead_queue = "q";
    group_opts.max_deliver = 2;
    group("q", NULL, NULL);
    send_all("q", "ab");
    for (uint32_t round = 0; round < 4; round++) {
        T_EQ_I64(cellar_task_take(p, "q", 1000, 0, t, 2, &n), CELLAR_OK);
        T_REQUIRE(n == 2);
        for (uint32_t i = 0; i < n; i++) {
            T_EQ_U64(t[i]->attempt, 1 + round % 2);
            T_EQ_I64(cellar_bus_message_of(t[i], &m), CELLAR_OK);
            T_CHECK((m.died_in != NULL) == (round >= 2));
        }
        (void)pass(1000); /* the holds end together */
        for (uint32_t i = 0; i < n; i++) {
            T_EQ_I64(cellar_task_settle(t[i], cellar_verdict_ok()), CELLAR_E_LOST);
        }
    }
    T_FIELDS(of_group("q"), dead, 2, live, 0);
}

T_CASE_ON(dead_letter_without_a_dead_queue_is_one_of_the_pool, MESSAGES)
{
    cellar_bus_publish_opts o = { .struct_size = sizeof o, .expires_ms = 10 };
    group_opts.dead_queue = "none"; /* has no group */
    group("q", NULL, says_why);
    T_EQ_I64(bus_send(p, "q", "a", 1, &o), CELLAR_OK);
    T_AFTER_U64(tick(), of_group("q").dead, 1);
    T_AFTER_I64(pass(20), cellar_task_requeue(p, last_id), CELLAR_OK); /* it does not expire */
    T_AFTER_STR(tick(), ran, "aa");
    group_opts.dead_queue = "dead";
    group("dead", NULL, NULL);
    group("r", NULL, says_why);
    T_EQ_I64(bus_send(p, "r", "b", 1, &o), CELLAR_OK);
    (void)tick();
    (void)pass(20); /* a dead letter does not expire */
    take_and_end("dead", "b");
}

/* ---- bad input, faults, figures ---- */

T_CASE_ON(bad_arguments_of_messages_are_refused, MESSAGES)
{
    static const char *const no_text[] = { "a", NULL };
    static const char words[] = "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q";
    const cellar_bus_header no_value = { "h", NULL };
    const cellar_bus_syntax amqp = CELLAR_BUS_AMQP;
    char longer[CELLAR_NAME_MAX + 2] = "";
    cellar_bus_message m = cellar_bus_message_default();
    memset(longer, 'n', CELLAR_NAME_MAX + 1);
    cellar_bus_group_config bad_group[] = {
        { .visibility_ms = INT64_MIN }, { .visibility_ms = CELLAR_POOL_DELAY_MAX_MS + 1 },
        { .retry_ms = -1 }, { .dead_queue = longer }, { .filter_header = "h" },
        { .filter_value_count = 1 }, { .filter_priority = 10 }, { .filter_any = 2 },
        { .max_messages = 1048577 }, { .max_deliver = 256 }, { .ordered = 2 },
        { .on_full = (cellar_bus_on_full)4 },
        { .filter_header = "h", .filter_values = no_text, .filter_value_count = 2 },
        { .ordered = 1, .on_full = CELLAR_BUS_FULL_DROP_OLDEST },
    };
    cellar_bus_publish_opts bad_publish[] = {
        { .direct = 2 }, { .priority = 10 }, { .expires_ms = -1 }, { .header_count = 1 },
        { .reserved0 = 1 }, { .headers = &no_value, .header_count = 1 },
        { .headers = &no_value, .header_count = CELLAR_BUS_HEADERS_MAX + 1 },
    };
    group("q", NULL, NULL);
    for (size_t i = 0; i < sizeof bad_group / sizeof *bad_group; i++) {
        bad_group[i].struct_size = sizeof *bad_group;
        const cellar_err err = cellar_bus_group_add(p, "r", NULL, NULL, NULL, &bad_group[i]);
        if (!T_EQ_I64(err, CELLAR_E_INVAL)) { printf("# options %zu of a group\n", i); }
    }
    for (size_t i = 0; i < sizeof bad_publish / sizeof *bad_publish; i++) {
        bad_publish[i].struct_size = sizeof *bad_publish;
        const cellar_err err = cellar_bus_publish(p, "q", "x", 1, &bad_publish[i]);
        if (!T_EQ_I64(err, CELLAR_E_INVAL)) { printf("# options %zu of a publish\n", i); }
    }
    REFUSALS("messages", INVAL(cellar_bus_group_add(NULL, "q", NULL, NULL, NULL, NULL)),
             INVAL(cellar_bus_group_add(p, NULL, NULL, NULL, NULL, NULL)),
             INVAL(cellar_bus_group_add(p, "", NULL, NULL, NULL, NULL)),
             INVAL(cellar_bus_group_add(p, longer, NULL, NULL, NULL, NULL)),
             INVAL(cellar_bus_group_add(p, "q", "", NULL, NULL, NULL)),
             INVAL(cellar_bus_group_remove(p, NULL)),
             { CELLAR_E_NOT_FOUND, cellar_bus_group_remove(p, "x") },
             INVAL(cellar_bus_route(p, "a", "", amqp, true)),
             INVAL(cellar_bus_route(p, "", "q", amqp, true)),
             { CELLAR_E_LIMIT, cellar_bus_route(p, words, "q", amqp, true) },
             INVAL(cellar_bus_route(p, "a", "q", (cellar_bus_syntax)-1, true)),
             { CELLAR_E_NOT_FOUND, cellar_bus_route(p, "a", "none", amqp, true) },
             INVAL(cellar_bus_publish(p, "", "x", 1, NULL)),
             INVAL(cellar_bus_publish(p, NULL, "x", 1, NULL)),
             INVAL(cellar_bus_publish(p, "k", NULL, 1, NULL)),
             { CELLAR_E_TOOBIG, cellar_bus_publish(p, "k", "x", SIZE_MAX, NULL) },
             INVAL(bus_send(p, longer, "x", 1, NULL)), INVAL(bus_send(p, "", "x", 1, NULL)),
             INVAL(bus_send(p, NULL, "x", 1, NULL)),
             { CELLAR_E_NOT_FOUND, bus_send(p, "none", "x", 1, NULL) },
             INVAL(cellar_bus_message_of(NULL, &m)),
             INVAL(cellar_signal_subscribe(p, "a", amqp, NULL, NULL, NULL, NULL)),
             INVAL(cellar_signal_subscribe(p, "", amqp, ignores, NULL, NULL, NULL)),
             INVAL(cellar_signal_emit(p, "", NULL, 0, NULL)),
             INVAL(cellar_signal_emit(p, "a", NULL, 1, NULL)),
             { CELLAR_E_NOT_FOUND, cellar_signal_unsubscribe(p, 99) });
    T_EQ_I64(send("q", "x"), CELLAR_OK);
    const cellar_task *t = take("q", "x");
    T_EQ_I64(cellar_bus_message_of(t, NULL), CELLAR_E_INVAL);
    settle(t, cellar_verdict_ok());
    T_EQ_U64(figures().submitted, 1);
}

T_CASE(open_refuses_limits_of_messages_and_rows_with_a_reason)
{
    cellar_error_info e = cellar_error_info_default();
#define BAD(field, value) \
    do { \
        defaults(); \
        config.field = (value); \
        T_EQ_I64(cellar_pool_open(&config, &p), CELLAR_E_INVAL); \
        T_CHECK(p == NULL); \
        T_EQ_I64(cellar_last_error(NULL, &e), CELLAR_OK); \
        T_CHECK(strstr(e.text, "cellar_pool_open: " #field) == e.text); \
    } while (0)
    BAD(max_groups, 32769);
    BAD(max_routes, UINT32_MAX);
    BAD(max_subscribers, 65537);
    BAD(max_rows, 1048577);
    BAD(max_parallel, 65);
    BAD(max_message_bytes, (UINT64_C(1) << 30) + 1);
    BAD(default_queue, "");
}

static unsigned freed_contexts;

static void count_free(void *ctx)
{
    (void)ctx;
    freed_contexts++;
}

T_CASE(every_missing_memory_of_messages_is_a_code)
{
    static const char *const values[] = { "v" };
    const cellar_bus_syntax amqp = CELLAR_BUS_AMQP;
    const cellar_bus_group_config o = { .struct_size = sizeof o, .filter_header = "h",
                                        .filter_values = values, .filter_value_count = 1,
                                        .ordered = 1 };
    cellar_err err;
    unsigned failed = 0;
    defaults();
    freed_contexts = 0;
    EACH_ALLOCATION_FAILS(err, cellar_pool_open(&config, &p)) { failed++; }
    EACH_ALLOCATION_FAILS(err, cellar_bus_group_add(p, "q", NULL, NULL, NULL, &o)) { failed++; }
    EACH_ALLOCATION_FAILS(err, cellar_bus_group_add(p, "p", NULL, NULL, NULL, NULL)) { failed++; }
    EACH_ALLOCATION_FAILS(err, cellar_bus_route(p, "#", "p", amqp, true)) { failed++; }
    EACH_ALLOCATION_FAILS(err, cellar_signal_subscribe(p, "#", amqp, ignores, NULL, count_free,
                                                       NULL)) { failed++; }
    EACH_ALLOCATION_FAILS(err, publish("k", "x")) {
        T_EQ_U64(figures().submitted, 0);
        failed++;
    }
    T_EQ_U64(figures().submitted, 1);
    T_EQ_U64(freed_contexts, 0);
    T_AFTER_U64(close_it(), freed_contexts, 1);
    T_CHECK(failed >= 10);
}

T_CASE_ON(figures_of_messages_are_on_the_page, MESSAGES)
{
    static char text[32768];
    size_t len;
    T_EQ_I64(cellar_metrics_write(p, text, sizeof text, &len), CELLAR_OK);
    T_CHECK(strstr(text, "cellar_bus_") == NULL); /* a pool without messages */
    group("q", NULL, NULL);
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    T_EQ_I64(publish("k", "a"), CELLAR_UNROUTED);
    T_EQ_I64(cellar_metrics_write(p, text, sizeof text, &len), CELLAR_OK);
    T_EQ_U64(len, strlen(text));
    T_CHECK(strstr(text, "\ncellar_bus_published_total{pool=\"pool\"} 1\n") != NULL);
    T_CHECK(strstr(text, "\ncellar_bus_unrouted_total{pool=\"pool\"} 1\n") != NULL);
    T_EQ_I64(cellar_stats_json(p, text, sizeof text, &len), CELLAR_OK);
    T_CHECK(strstr(text, "{\"name\":\"cellar_bus_routes\",\"labels\":{\"pool\":\"pool\"},"
                         "\"value\":0}") != NULL);
}

static const cellar_task *taken;

static cellar_err use_group(void *o)
{
    const cellar_err err = cellar_bus_group_add(p, "sizes", NULL, NULL, NULL, o);
    return err == CELLAR_OK ? cellar_bus_group_remove(p, "sizes") : err;
}
static cellar_err use_publish(void *o) { return cellar_bus_publish(p, "k", "x", 1, o); }
static cellar_err fill_message(void *out) { return cellar_bus_message_of(taken, out); }

T_CASE_ON(message_structs_of_every_size, MESSAGES)
{
    group_opts.on_full = CELLAR_BUS_FULL_DROP_NEW;
    group("q", NULL, NULL);
    T_EQ_I64(cellar_bus_route(p, "k", "q", CELLAR_BUS_AMQP, true), CELLAR_OK);
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    taken = take("q", "a");
    CHECK_IN(cellar_bus_group_config, cellar_bus_group_config_default(), use_group);
    CHECK_IN(cellar_bus_publish_opts, cellar_bus_publish_opts_default(), use_publish);
    check_out("cellar_bus_message", sizeof(cellar_bus_message), fill_message);
    settle(taken, cellar_verdict_ok());
}

T_MAIN("work_message")
