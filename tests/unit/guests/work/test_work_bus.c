/* SPDX-License-Identifier: MIT
 *
 * Aim:    each message reaches each group once, within the limits; every message that a group does
 *         not handle is counted.
 * Method: the clock is a variable; the test calls cellar_tick, which runs the functions, or
 *         takes messages. After each step: copies == ended + live, of the bus and of each group. */
#include "tests/support/bus_kit.h"
#include "tests/support/draw.h"

/* ---- routes ---- */

T_CASE(message_enters_each_matching_queue_once)
{
    open_default(NULL);
    group("a", NULL, NULL);
    group("a", "second", NULL);
    group("b", NULL, NULL);
    T_EQ_I64(cellar_bus_route(b, "user.#", "a", CELLAR_BUS_AMQP, true), CELLAR_OK);
    T_EQ_I64(cellar_bus_route(b, "user.*", "a", CELLAR_BUS_AMQP, true), CELLAR_OK);
    T_EQ_I64(cellar_bus_route(b, "user.[0-9]*", "b", CELLAR_BUS_GLOB, true), CELLAR_OK);
    T_EQ_I64(cellar_bus_route(b, "user.#", "a", CELLAR_BUS_AMQP, true), CELLAR_EXISTS);
    T_EQ_I64(cellar_bus_route(b, "user.#", "c", CELLAR_BUS_AMQP, true), CELLAR_E_NOT_FOUND);
    T_EQ_I64(publish("user.7", "x"), CELLAR_OK);
    T_EQ_I64(publish("user.x", "y"), CELLAR_OK);
    T_EQ_U64(figures_of("a", NULL).live, 2);
    T_EQ_U64(figures_of("a", "second").live, 2);
    T_EQ_U64(figures_of("b", NULL).live, 1);
    T_EQ_U64(figures().copies, 5);
    T_EQ_U64(figures().published, 2);
    T_EQ_I64(cellar_bus_route(b, "user.[0-9]*", "b", CELLAR_BUS_GLOB, false), CELLAR_OK);
    T_EQ_I64(cellar_bus_route(b, "user.[0-9]*", "b", CELLAR_BUS_GLOB, false), CELLAR_E_NOT_FOUND);
    T_EQ_I64(publish("user.7", "z"), CELLAR_OK);
    T_EQ_U64(figures_of("b", NULL).live, 1);
    T_EQ_I64(send("b", "direct"), CELLAR_OK);
    T_EQ_I64(send("c", "direct"), CELLAR_E_NOT_FOUND);
    T_EQ_U64(figures_of("b", NULL).live, 2);
    close_it();
}

/* The fault: a routing key with a typing error ends silently in the default queue. */
T_CASE(seed_route_unrouted_is_counted)
{
    open_default(NULL);
    group("mail", NULL, NULL);
    T_EQ_I64(cellar_bus_route(b, "user.*.mail", "mail", CELLAR_BUS_AMQP, true), CELLAR_OK);
    T_EQ_I64(publish("usr.7.mail", "lost"), CELLAR_UNROUTED);
    T_EQ_U64(figures().unrouted, 1);
    T_EQ_U64(figures().copies, 0);
    close_it();
    open_default("rest");
    group("mail", NULL, NULL);
    T_EQ_I64(cellar_bus_route(b, "user.*.mail", "mail", CELLAR_BUS_AMQP, true), CELLAR_OK);
    T_EQ_I64(publish("usr.7.mail", "lost"), CELLAR_UNROUTED); /* there is no such queue yet */
    group("rest", NULL, NULL);
    T_EQ_I64(publish("usr.7.mail", "kept"), CELLAR_OK);
    T_EQ_U64(figures().unrouted, 2);
    T_EQ_U64(figures_of("rest", NULL).live, 1);
    T_EQ_I64(publish("user.7.mail", "routed"), CELLAR_OK);
    T_EQ_U64(figures().unrouted, 2);
    T_EQ_I64(cellar_bus_group_remove(b, "mail", NULL), CELLAR_OK); /* a route without a queue */
    T_EQ_U64(figures().dropped_removed, 1);
    T_EQ_I64(publish("user.7.mail", "kept"), CELLAR_OK);
    T_EQ_U64(figures().unrouted, 3);
    close_it();
}

T_CASE(message_keeps_its_fields)
{
    const cellar_bus_header headers[] = { { "tenant", "7" }, { "", "" } };
    cellar_bus_publish_opts o = { .struct_size = sizeof o, .headers = headers, .header_count = 2,
                                  .priority = 9 };
    for (size_t i = 0; i < sizeof o.trace; i++) { o.trace[i] = (uint8_t)(i + 1); }
    open_default(NULL);
    group("q", "g", NULL);
    T_EQ_I64(cellar_bus_route(b, "k.#", "q", CELLAR_BUS_AMQP, true), CELLAR_OK);
    cellar_bus_member *m = member("q", "g", 2);
    T_EQ_I64(cellar_bus_publish(b, "k.1", "a\0b", 3, &o), CELLAR_OK);
    T_EQ_I64(cellar_bus_publish(b, "k.2", NULL, 0, NULL), CELLAR_OK);
    cellar_bus_message got = cellar_bus_message_default();
    T_EQ_I64(cellar_bus_take(m, 0, &got), CELLAR_OK);
    T_EQ_U64(got.body_len, 3);
    T_EQ_MEM(got.body, "a\0b", 3);
    T_EQ_STR(got.key, "k.1");
    T_EQ_STR(got.queue, "q");
    T_EQ_STR(got.group, "g");
    T_EQ_U64(got.header_count, 2);
    T_EQ_STR(got.headers[0].name, "tenant");
    T_EQ_STR(got.headers[0].value, "7");
    T_EQ_STR(got.headers[1].value, "");
    T_EQ_U64(got.priority, 9);
    T_EQ_MEM(got.trace, o.trace, sizeof got.trace);
    T_EQ_I64(got.published_ms, now_ms);
    T_EQ_U64(got.attempt, 1);
    T_CHECK(got.dead_queue == NULL && got.dead == CELLAR_BUS_DEAD_NONE);
    const uint64_t id = got.id;
    T_EQ_I64(cellar_bus_take(m, 0, &got), CELLAR_OK);
    T_EQ_U64(got.body_len, 0);
    T_CHECK(got.id > id);
    close_it(); /* with both in hand */
}

/* ---- groups ---- */

T_CASE(bus_groups_exactly_once_each)
{
    open_default(NULL);
    group("q", "one", NULL);
    group("q", "two", NULL);
    cellar_bus_member *m1 = member("q", "one", 4), *m2 = member("q", "one", 4);
    cellar_bus_member *other = member("q", "two", 4);
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    T_EQ_I64(send("q", "b"), CELLAR_OK);
    T_EQ_I64(send("q", "c"), CELLAR_OK);
    const cellar_bus_message a = take(m1, "a"), x = take(m2, "b"), c = take(m1, "c");
    take_none(m1);
    take_none(m2);
    T_EQ_U64(figures_of("q", "one").held, 3);
    T_EQ_U64(figures_of("q", "two").waiting, 3);
    const cellar_bus_message a2 = take(other, "a");
    T_CHECK(a2.body == a.body); /* the groups share the bytes */
    T_EQ_U64(a2.id, a.id);
    T_EQ_I64(cellar_bus_settle(m2, a.delivery, CELLAR_BUS_ACK, 0), CELLAR_E_NOT_FOUND);
    T_EQ_I64(cellar_bus_settle(m1, a.delivery, CELLAR_BUS_ACK, 0), CELLAR_OK);
    T_EQ_I64(cellar_bus_settle(m1, a.delivery, CELLAR_BUS_ACK, 0), CELLAR_E_NOT_FOUND);
    T_EQ_I64(cellar_bus_settle(m2, x.delivery, CELLAR_BUS_ACK, 0), CELLAR_OK);
    T_EQ_I64(cellar_bus_settle(m1, c.delivery, CELLAR_BUS_ACK, 0), CELLAR_OK);
    T_EQ_MEM(a2.body, "a", 1);
    T_EQ_I64(cellar_bus_settle(other, a2.delivery, CELLAR_BUS_ACK, 0), CELLAR_OK);
    T_EQ_I64(cellar_bus_settle(other, take(other, "b").delivery, CELLAR_BUS_ACK, 0), CELLAR_OK);
    T_EQ_I64(cellar_bus_settle(other, take(other, "c").delivery, CELLAR_BUS_ACK, 0), CELLAR_OK);
    T_EQ_U64(figures_of("q", "one").acked, 3);
    T_EQ_U64(figures_of("q", "two").acked, 3);
    group("q", "late", NULL); /* sees what is published from now on */
    T_EQ_U64(figures_of("q", "late").live, 0);
    close_it();
}

T_CASE(functions_run_in_tick_in_order)
{
    open_default(NULL);
    group("q", NULL, NULL);
    T_EQ_I64(send("q", "before"), CELLAR_OK);
    join_note("q", NULL);
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    T_EQ_I64(send("q", "b"), CELLAR_OK);
    T_EQ_STR(seen, "");
    tick();
    T_EQ_STR(seen, "before a b ");
    for (int i = 0; i < 200; i++) { T_EQ_I64(send("q", "."), CELLAR_OK); }
    tick();
    T_EQ_U64(strlen(seen), 11 + 400);
    T_EQ_U64(figures().acked, 203);
    close_it();
    T_EQ_U64(freed, 1);
}

T_CASE(prefetch_bounds_what_a_member_has_in_hand)
{
    open_default(NULL);
    group("q", NULL, NULL);
    cellar_bus_member *m = member("q", NULL, 2);
    cellar_bus_message got = cellar_bus_message_default();
    for (int i = 0; i < 3; i++) { T_EQ_I64(send("q", "x"), CELLAR_OK); }
    const uint64_t first = take(m, "x").delivery;
    (void)take(m, "x");
    T_EQ_I64(cellar_bus_take(m, 0, &got), CELLAR_E_LIMIT);
    T_EQ_U64(figures().rejected_limit, 1);
    T_EQ_I64(cellar_bus_settle(m, first, CELLAR_BUS_ACK, 0), CELLAR_OK);
    (void)take(m, "x");
    close_it();
}

/* ---- ordered, filters ---- */

T_CASE(ordered_group_has_one_message_of_a_key_in_hand)
{
    cellar_bus_group_config o = { .struct_size = sizeof o, .ordered = 1, .visibility_ms = 100 };
    open_default(NULL);
    group("q", NULL, &o);
    T_EQ_I64(cellar_bus_route(b, "#", "q", CELLAR_BUS_AMQP, true), CELLAR_OK);
    cellar_bus_member *m1 = member("q", NULL, 8), *m2 = member("q", NULL, 8);
    T_EQ_I64(publish("k", "a"), CELLAR_OK);
    T_EQ_I64(publish("k", "b"), CELLAR_OK);
    T_EQ_I64(publish("k", "c"), CELLAR_OK);
    uint64_t d = take(m1, "a").delivery;
    take_none(m1);
    take_none(m2);
    /* delayed: the key waits */
    T_EQ_I64(cellar_bus_settle(m1, d, CELLAR_BUS_RETRY, 50), CELLAR_OK);
    take_none(m2);
    pass(50);
    d = take(m2, "a").delivery;
    take_none(m1);
    pass(100); /* the hold ends: again first */
    const uint64_t again = take(m1, "a").delivery;
    T_EQ_I64(cellar_bus_settle(m2, d, CELLAR_BUS_ACK, 0), CELLAR_E_LOST);
    take_none(m2);
    T_EQ_I64(cellar_bus_settle(m1, again, CELLAR_BUS_ACK, 0), CELLAR_OK);
    T_EQ_I64(cellar_bus_settle(m2, take(m2, "b").delivery, CELLAR_BUS_REJECT, 0), CELLAR_OK);
    (void)take(m2, "c");
    T_EQ_I64(cellar_bus_leave(m2), CELLAR_OK);
    (void)take(m1, "c");
    close_it();
    o.on_full = CELLAR_BUS_FULL_DROP_OLDEST;
    open_default(NULL);
    T_EQ_I64(cellar_bus_group_add(b, "q", NULL, &o), CELLAR_E_INVAL);
    close_it();
}

T_CASE(end_of_a_message_offers_the_next_one_of_its_key)
{
    cellar_bus_group_config o = { .struct_size = sizeof o, .ordered = 1 };
    open_default(NULL);
    group("q", NULL, &o);
    T_EQ_I64(cellar_bus_route(b, "#", "q", CELLAR_BUS_AMQP, true), CELLAR_OK);
    cellar_bus_member *m = member("q", NULL, 8);
    T_EQ_I64(publish("k", "a"), CELLAR_OK);
    const uint64_t d = take(m, "a").delivery;
    join_note("q", NULL);
    T_EQ_I64(publish("k", "b"), CELLAR_OK);
    tick();
    T_EQ_STR(seen, "");
    T_EQ_I64(cellar_bus_settle(m, d, CELLAR_BUS_ACK, 0), CELLAR_OK);
    tick();
    T_EQ_STR(seen, "b ");
    close_it();
}

T_CASE(ordered_keys_run_beside_each_other)
{
    char key[16];
    unsigned in_hand = 0;
    cellar_bus_group_config o = { .struct_size = sizeof o, .ordered = 1 };
    open_default(NULL);
    group("q", NULL, &o);
    T_EQ_I64(cellar_bus_route(b, "#", "q", CELLAR_BUS_AMQP, true), CELLAR_OK);
    cellar_bus_member *m = member("q", NULL, 1024);
    for (int i = 0; i < 200; i++) {
        snprintf(key, sizeof key, "k%d", i % 100);
        T_EQ_I64(publish(key, "x"), CELLAR_OK);
    }
    cellar_bus_message got = cellar_bus_message_default();
    while (cellar_bus_take(m, 0, &got) == CELLAR_OK) { in_hand++; }
    T_CHECK(in_hand > 50 && in_hand <= 100); /* 100 keys in 256 strands */
    close_it();
}

static bool wants_even(const cellar_bus_message *m, void *ctx)
{
    ++*(unsigned *)ctx;
    return m->body_len % 2 == 0;
}

/* S2:479: a consumer with a priority filter and a user-type filter; both must pass. */
T_CASE(filters_combine_by_all_or_any)
{
    static const char *const types[] = { "gold", "silver" };
    unsigned calls = 0;
    cellar_bus_group_config o = { .struct_size = sizeof o, .filter_priority = 5,
                                  .filter_header = "type", .filter_values = types,
                                  .filter_value_count = 2, .filter_fn = wants_even,
                                  .filter_ctx = &calls };
    open_default(NULL);
    group("q", "all", &o);
    o.filter_any = 1;
    group("q", "any", &o);
    cellar_bus_member *all = member("q", "all", 100), *any = member("q", "any", 100);
    for (int i = 0; i < 8; i++) { /* bit 0: priority, bit 1: header, bit 2: even */
        const cellar_bus_header header = { "type", (i & 2) != 0 ? "silver" : "bronze" };
        cellar_bus_publish_opts p = { .struct_size = sizeof p, .headers = &header,
                                      .header_count = 1, .priority = (i & 1) != 0 ? 5 : 4 };
        T_EQ_I64(bus_send(b, "q", "xxx", (i & 4) != 0 ? 2 : 1, &p), CELLAR_OK);
    }
    cellar_bus_message got = cellar_bus_message_default();
    unsigned n = 0;
    while (cellar_bus_take(all, 0, &got) == CELLAR_OK) { n++; }
    T_EQ_U64(n, 1);
    T_EQ_U64(calls, 2); /* the built-in ones come first */
    T_EQ_U64(figures_of("q", "all").filtered, 7);
    for (n = 0; cellar_bus_take(any, 0, &got) == CELLAR_OK; n++) { }
    T_EQ_U64(n, 7);
    T_EQ_U64(calls, 4);
    T_EQ_U64(figures_of("q", "any").filtered, 1);
    close_it();
}

T_CASE(functions_see_what_passes_the_filters)
{
    cellar_bus_group_config o = { .struct_size = sizeof o, .filter_priority = 3 };
    open_default(NULL);
    group("q", NULL, &o);
    join_note("q", NULL);
    T_EQ_I64(send("q", "low"), CELLAR_OK);
    cellar_bus_publish_opts p = { .struct_size = sizeof p, .priority = 3 };
    T_EQ_I64(bus_send(b, "q", "high", 4, &p), CELLAR_OK);
    tick();
    T_EQ_STR(seen, "high ");
    T_EQ_U64(figures().filtered, 1);
    close_it();
}

/* ---- functions that call the bus ---- */

static cellar_err inner;

static cellar_bus_verdict publishes_into_its_queue(const cellar_bus_message *m, void *ctx)
{
    (void)m, (void)ctx;
    inner = send("q", "more");
    return CELLAR_BUS_ACK;
}

T_CASE(only_consumer_never_blocks_on_its_own_queue)
{
    cellar_bus_group_config o = { .struct_size = sizeof o, .max_messages = 1,
                                  .on_full = CELLAR_BUS_FULL_BLOCK }; /* without a time limit */
    cellar_bus_member_config mo = { .struct_size = sizeof mo, .fn = publishes_into_its_queue };
    open_default(NULL);
    group("q", NULL, &o);
    T_EQ_I64(cellar_bus_join(b, "q", NULL, &mo, NULL), CELLAR_OK);
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    tick();
    T_EQ_I64(inner, CELLAR_E_DEADLOCK);
    T_EQ_U64(figures().rejected_full, 1);
    group("p", NULL, &o); /* the same with takes */
    cellar_bus_member *m = member("p", NULL, 1);
    T_EQ_I64(send("p", "a"), CELLAR_OK);
    const uint64_t d = take(m, "a").delivery;
    T_EQ_I64(send("p", "b"), CELLAR_E_DEADLOCK);
    T_EQ_I64(cellar_bus_settle(m, d, CELLAR_BUS_ACK, 0), CELLAR_OK);
    T_EQ_I64(send("p", "b"), CELLAR_OK);
    close_it();
}

static cellar_bus_member *myself;

static cellar_bus_verdict leaves(const cellar_bus_message *m, void *ctx)
{
    (void)ctx;
    T_EQ_I64(cellar_bus_leave(myself), CELLAR_OK);
    T_EQ_U64(freed, 0);
    T_EQ_MEM(m->body, "a", 1);
    T_EQ_I64(cellar_bus_close(b), CELLAR_E_DEADLOCK);
    T_EQ_I64(cellar_bus_drain(b, 0, NULL), CELLAR_E_DEADLOCK);
    return CELLAR_BUS_ACK;
}

T_CASE(member_may_leave_inside_its_function)
{
    cellar_bus_member_config o = { .struct_size = sizeof o, .fn = leaves, .free_fn = count_free };
    open_default(NULL);
    group("q", NULL, NULL);
    T_EQ_I64(cellar_bus_join(b, "q", NULL, &o, &myself), CELLAR_OK);
    cellar_bus_message got = cellar_bus_message_default();
    T_EQ_I64(cellar_bus_take(myself, 0, &got), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_settle(myself, 1, CELLAR_BUS_ACK, 0), CELLAR_E_INVAL);
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    T_EQ_I64(send("q", "b"), CELLAR_OK);
    tick();
    T_EQ_U64(freed, 1);
    T_EQ_U64(figures().acked, 1);
    T_EQ_U64(figures().waiting, 1);
    T_EQ_U64(figures().members, 0);
    close_it();
}

/* ---- signals ---- */

static uint64_t ids[4];

static void drop_two(const char *topic, const void *data, size_t len, void *ctx)
{
    hear(topic, data, len, ctx);
    T_EQ_I64(cellar_signal_unsubscribe(b, ids[0]), CELLAR_OK); /* itself */
    T_EQ_I64(cellar_signal_unsubscribe(b, ids[2]), CELLAR_OK); /* a later one */
    T_EQ_I64(cellar_signal_unsubscribe(b, ids[2]), CELLAR_E_NOT_FOUND);
    T_EQ_I64(cellar_signal_subscribe(b, "#", CELLAR_BUS_AMQP, hear, (void *)(uintptr_t)"new", NULL,
                                     NULL), CELLAR_OK);
    T_EQ_I64(cellar_bus_close(b), CELLAR_E_DEADLOCK);
}

T_CASE(signals_call_in_order_of_subscription)
{
    static char one[] = "one", two[] = "two", three[] = "three", other[] = "other";
    size_t called;
    open_default(NULL);
    heard[0] = '\0';
    T_EQ_I64(cellar_signal_emit(b, "cache.x", NULL, 0, &called), CELLAR_OK);
    T_EQ_U64(called, 0);
    T_EQ_I64(cellar_signal_subscribe(b, "cache.#", CELLAR_BUS_AMQP, drop_two, one, count_free,
                                     &ids[0]), CELLAR_OK);
    T_EQ_I64(cellar_signal_subscribe(b, "cache*", CELLAR_BUS_GLOB, hear, two, count_free,
                                     &ids[1]), CELLAR_OK);
    T_EQ_I64(cellar_signal_subscribe(b, "cache.*", CELLAR_BUS_AMQP, hear, three, count_free,
                                     &ids[2]), CELLAR_OK);
    T_EQ_I64(cellar_signal_subscribe(b, "other", CELLAR_BUS_AMQP, hear, other, NULL, NULL),
             CELLAR_OK);
    T_EQ_I64(cellar_signal_emit(b, "cache.x", "!", 1, &called), CELLAR_OK);
    T_EQ_STR(heard, "one! two! ");
    T_EQ_U64(called, 2);
    T_EQ_U64(freed, 2);
    heard[0] = '\0';
    T_EQ_I64(cellar_signal_emit(b, "cache.x", "?", 1, NULL), CELLAR_OK);
    T_EQ_STR(heard, "two? new? ");
    T_EQ_U64(figures().signals, 3);
    T_EQ_U64(figures().signal_calls, 4);
    T_EQ_U64(figures().subscribers, 3);
    for (int i = 0; i < 6; i++) {
        T_EQ_I64(cellar_signal_subscribe(b, "x", CELLAR_BUS_AMQP, hear, NULL, count_free, NULL),
                 i < 5 ? CELLAR_OK : CELLAR_E_LIMIT);
    }
    T_EQ_U64(freed, 2); /* what was refused stays with the caller */
    close_it();
    T_EQ_U64(freed, 8);
}

/* ---- drain ---- */

T_CASE(drain_reports_what_became_of_each_message)
{
    cellar_bus_report r = cellar_bus_report_default();
    cellar_bus_group_config o = { .struct_size = sizeof o, .dead_queue = "dead", .max_deliver = 1,
                                  .filter_priority = 1 };
    open_default(NULL);
    group("q", NULL, &o);
    group("dead", NULL, NULL);
    cellar_bus_publish_opts p = { .struct_size = sizeof p, .priority = 1 };
    T_EQ_I64(send("q", "filtered"), CELLAR_OK);
    T_EQ_I64(bus_send(b, "q", "dies", 4, &p), CELLAR_OK);
    T_EQ_I64(bus_send(b, "dead", "waits", 5, &p), CELLAR_OK);
    p.expires_ms = 1;
    T_EQ_I64(bus_send(b, "q", "expires", 7, &p), CELLAR_OK);
    now_ms++;
    join_note("q", NULL);
    answer = CELLAR_BUS_RETRY;
    T_EQ_I64(cellar_bus_drain(b, 1, &r), CELLAR_E_TIMEOUT);
    if (figures().live != 2) { /* a slow machine: the millisecond was over */
        tick();
        T_EQ_I64(cellar_bus_drain(b, 1, NULL), CELLAR_E_TIMEOUT);
    } else {
        T_EQ_U64(r.filtered, 1);
        T_EQ_U64(r.expired, 1);
        T_EQ_U64(r.left, 2);
    }
    T_EQ_U64(r.live, 4);
    T_EQ_U64(r.live, r.acked + r.dropped + r.dead + r.expired + r.filtered + r.left);
    T_EQ_U64(r.dead, 0); /* it lies in its dead queue */
    T_EQ_I64(send("q", "late"), CELLAR_E_CLOSED);
    T_EQ_I64(publish("k", "late"), CELLAR_UNROUTED);
    join_note("dead", NULL);
    T_EQ_I64(cellar_bus_drain(b, 60000, &r), CELLAR_OK);
    T_EQ_U64(r.live, 2);
    T_EQ_U64(r.acked, 2);
    T_EQ_I64(cellar_bus_drain(b, 0, &r), CELLAR_OK);
    T_EQ_U64(r.live, 0);
    close_it();
}

/* ---- the model ---- */

typedef struct hand {
    cellar_bus_member *m;
    uint64_t delivery[8];
    unsigned count;
} hand;

static void random_group(int i)
{
    cellar_bus_group_config o = cellar_bus_group_config_default();
    char name[16];
    o.max_messages = (uint32_t)(1 + draw(20));
    o.max_bytes = 1 + draw(600);
    o.max_deliver = (uint32_t)(1 + draw(4));
    o.visibility_ms = (int64_t)(1 + draw(200));
    o.ordered = i % 2 != 0;
    o.on_full = i % 2 != 0 ? CELLAR_BUS_FULL_ERROR : CELLAR_BUS_FULL_DROP_OLDEST;
    o.filter_priority = (uint32_t)draw(3);
    o.dead_queue = i < 3 ? "q3" : NULL;
    snprintf(name, sizeof name, "q%d", i);
    group(name, NULL, &o);
    snprintf(name, sizeof name, "q%d", i / 2);
    (void)cellar_bus_group_add(b, name, "second", &o);
}

/* Random calls: the figures fit after each one, and each delivery is settled once. */
T_CASE(work_counters_invariant)
{
    draw_state = t_seed() + 5;
    for (uint64_t round = 0; round < t_share(40) / T_COST + 1 && !t_failed(); round++) {
        hand hands[4];
        char name[16];
        open_default("q0");
        for (int i = 0; i < 4; i++) { random_group(i); }
        for (int i = 0; i < 4; i++) {
            snprintf(name, sizeof name, "q%d", i);
            hands[i] = (hand){ .m = member(name, NULL, 8) };
        }
        (void)cellar_bus_route(b, "a.#", "q1", CELLAR_BUS_AMQP, true);
        (void)cellar_bus_route(b, "#.b", "q2", CELLAR_BUS_AMQP, true);
        for (int step = 0; step < 600 && !t_failed(); step++) {
            static const char *const keys[] = { "a", "a.b", "b", "c", "a.c" };
            cellar_bus_publish_opts p = cellar_bus_publish_opts_default();
            cellar_bus_message got = cellar_bus_message_default();
            hand *h = &hands[draw(4)];
            switch (draw(6)) {
            case 0:
            case 1:
                p.priority = (uint32_t)draw(4);
                p.expires_ms = draw(3) == 0 ? (int64_t)draw(100) : 0;
                (void)cellar_bus_publish(b, keys[draw(5)], hands, (size_t)draw(100), &p);
                break;
            case 2:
                if (cellar_bus_take(h->m, 0, &got) == CELLAR_OK) {
                    T_REQUIRE(h->count < 8);
                    h->delivery[h->count++] = got.delivery;
                }
                break;
            case 3:
                if (h->count != 0) {
                    const uint64_t d = h->delivery[--h->count];
                    const uint64_t how = draw(4);
                    const cellar_bus_verdict verdict = how == 0   ? CELLAR_BUS_REJECT
                                                       : how == 1 ? CELLAR_BUS_RETRY
                                                                  : CELLAR_BUS_ACK;
                    const int64_t ms = how == 1 ? (int64_t)draw(3) * 30 : 0;
                    const cellar_err err = cellar_bus_settle(h->m, d, verdict, ms);
                    T_CHECK(err == CELLAR_OK || err == CELLAR_E_LOST);
                }
                break;
            case 4: pass((int64_t)draw(40)); break;
            case 5:
                if (draw(20) == 0) {
                    T_EQ_I64(cellar_bus_leave(h->m), CELLAR_OK);
                    snprintf(name, sizeof name, "q%d", (int)(h - hands));
                    *h = (hand){ .m = member(name, NULL, 8) };
                }
                break;
            }
            (void)figures();
        }
        for (int i = 0; i < 4; i++) {
            snprintf(name, sizeof name, "q%d", i);
            (void)figures_of(name, NULL);
        }
        close_it();
    }
}

T_MAIN("work_bus")
