/* SPDX-License-Identifier: MIT
 *
 * Aim:    a message is one row for each group of its queues, all or none; fields, limits, filters,
 *         lanes, dead letters and signals do what cellar_bus.h says; no message is lost.
 * Method: both clocks are variables; the test calls cellar_tick, which runs the functions. */
#include "work/bus_types.h" /* before the variables of the kit */
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

T_CASE_ON(messages_of_a_key_follow_one_another, MESSAGES)
{
    const cellar_task *t[8];
    uint32_t n;
    group_opts.ordered = 1;
    group("q", NULL, NULL);
    route("#", "q");
    for (int i = 0; i < 3; i++) { T_EQ_I64(publish("one", "abc" + i), CELLAR_OK); }
    T_EQ_I64(publish("another.key", "x"), CELLAR_OK);
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

T_MAIN("work_message")
