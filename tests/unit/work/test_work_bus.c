/* SPDX-License-Identifier: MIT
 *
 * Aim:    each message reaches each group once, within the limits; every message that a group does
 *         not handle is counted.
 * Method: the clock is a variable; the test calls cellar_bus_tick, which runs the functions, or
 *         takes messages. After each step: copies == ended + live, of the bus and of each group. */
#include "base/fault.h"
#include "base/mem.h"
#include "base/open_error.h"
#include "cellar_bus.h"
#include "tests/support/same_metrics.h"
#include "tests/support/struct_sizes.h"

#include <limits.h>

static cellar_bus *b;
static int64_t now_ms;
static unsigned freed;

static int64_t read_clock(void *ctx)
{
    (void)ctx;
    return now_ms;
}

static cellar_host_opts host_of_test(void)
{
    cellar_host_opts h = cellar_host_opts_default();
    h.clock = read_clock;
    h.no_threads = 1;
    return h;
}

static void open_default(const char *default_queue)
{
    const cellar_host_opts h = host_of_test();
    cellar_bus_config c = cellar_bus_config_default();
    c.host = &h;
    c.default_queue = default_queue;
    c.max_groups = 8;
    c.max_routes = 80;
    c.max_members = 8;
    c.max_subscribers = 8;
    now_ms = 1000000;
    freed = 0;
    T_REQUIRE(cellar_bus_open(&c, &b) == CELLAR_OK);
}

static cellar_bus_stats figures(void)
{
    cellar_bus_stats st = cellar_bus_stats_default();
    T_EQ_I64(cellar_bus_stats_get(b, &st), CELLAR_OK);
    T_EQ_U64(st.copies, st.acked + st.dropped_new + st.dropped_oldest + st.dropped_removed +
                            st.dead + st.expired + st.filtered + st.live);
    T_EQ_U64(st.live, st.waiting + st.delayed + st.held);
    return st;
}

static cellar_bus_group_stats figures_of(const char *queue, const char *group)
{
    cellar_bus_group_stats st = cellar_bus_group_stats_default();
    T_EQ_I64(cellar_bus_group_stats_get(b, queue, group, &st), CELLAR_OK);
    T_EQ_U64(st.copies, st.acked + st.dropped_new + st.dropped_oldest + st.dead + st.expired +
                            st.filtered + st.live);
    T_EQ_U64(st.live, st.waiting + st.delayed + st.held);
    T_CHECK(st.live != 0 || st.bytes == 0);
    return st;
}

static void close_it(void)
{
    (void)figures();
    T_EQ_I64(cellar_bus_close(b), CELLAR_OK);
    b = NULL;
}

static void tick(void)
{
    while (cellar_bus_tick(b, 1000000, NULL) == CELLAR_PENDING) { }
}

static void pass(int64_t ms)
{
    now_ms += ms;
    tick();
}

static void group(const char *queue, const char *name, const cellar_bus_group_opts *o)
{
    T_REQUIRE(cellar_bus_group_add(b, queue, name, o) == CELLAR_OK);
}

static cellar_bus_member *member(const char *queue, const char *name, uint32_t prefetch)
{
    cellar_bus_member_opts o = cellar_bus_member_opts_default();
    cellar_bus_member *m;
    o.prefetch = prefetch;
    T_REQUIRE(cellar_bus_join(b, queue, name, &o, &m) == CELLAR_OK);
    return m;
}

static cellar_err send(const char *queue, const char *body)
{
    return cellar_bus_send(b, queue, body, strlen(body), NULL);
}

static cellar_err publish(const char *key, const char *body)
{
    return cellar_bus_publish(b, key, body, strlen(body), NULL);
}

/* Take a message that must have this body. Return its delivery. */
static cellar_bus_message take(cellar_bus_member *m, const char *body)
{
    cellar_bus_message got = cellar_bus_message_default();
    T_REQUIRE(cellar_bus_take(m, 0, &got) == CELLAR_OK);
    T_EQ_U64(got.body_len, strlen(body));
    T_EQ_MEM(got.body, body, strlen(body));
    return got;
}

static void take_none(cellar_bus_member *m)
{
    cellar_bus_message got = cellar_bus_message_default();
    T_EQ_I64(cellar_bus_take(m, 0, &got), CELLAR_MISS);
}

static void count_free(void *ctx)
{
    (void)ctx;
    freed++;
}

/* A member function that writes down bodies, and answers what it is told. */
static char seen[4096];
static cellar_bus_verdict answer;
static cellar_bus_message last;

static cellar_bus_verdict note(const cellar_bus_message *m, void *ctx)
{
    (void)ctx;
    T_EQ_U64(m->struct_size, sizeof *m);
    const size_t at = strlen(seen);
    T_REQUIRE(at + m->body_len + 2 < sizeof seen);
    memcpy(seen + at, m->body, m->body_len);
    memcpy(seen + at + m->body_len, " ", 2);
    last = *m;
    return answer;
}

static void join_note(const char *queue, const char *name)
{
    cellar_bus_member_opts o = cellar_bus_member_opts_default();
    o.fn = note;
    o.free_fn = count_free;
    seen[0] = '\0';
    answer = CELLAR_BUS_ACK;
    T_REQUIRE(cellar_bus_join(b, queue, name, &o, NULL) == CELLAR_OK);
}

/* ---- routes ---- */

static void message_enters_each_matching_queue_once(void)
{
    open_default(NULL);
    group("a", NULL, NULL);
    group("a", "second", NULL);
    group("b", NULL, NULL);
    T_EQ_I64(cellar_bus_route(b, "user.#", "a", CELLAR_BUS_AMQP), CELLAR_OK);
    T_EQ_I64(cellar_bus_route(b, "user.*", "a", CELLAR_BUS_AMQP), CELLAR_OK);
    T_EQ_I64(cellar_bus_route(b, "user.[0-9]*", "b", CELLAR_BUS_GLOB), CELLAR_OK);
    T_EQ_I64(cellar_bus_route(b, "user.#", "a", CELLAR_BUS_AMQP), CELLAR_EXISTS);
    T_EQ_I64(cellar_bus_route(b, "user.#", "c", CELLAR_BUS_AMQP), CELLAR_E_NOT_FOUND);
    T_EQ_I64(publish("user.7", "x"), CELLAR_OK);
    T_EQ_I64(publish("user.x", "y"), CELLAR_OK);
    T_EQ_U64(figures_of("a", NULL).live, 2);
    T_EQ_U64(figures_of("a", "second").live, 2);
    T_EQ_U64(figures_of("b", NULL).live, 1);
    T_EQ_U64(figures().copies, 5);
    T_EQ_U64(figures().published, 2);
    T_EQ_I64(cellar_bus_unroute(b, "user.[0-9]*", "b", CELLAR_BUS_GLOB), CELLAR_OK);
    T_EQ_I64(cellar_bus_unroute(b, "user.[0-9]*", "b", CELLAR_BUS_GLOB), CELLAR_E_NOT_FOUND);
    T_EQ_I64(publish("user.7", "z"), CELLAR_OK);
    T_EQ_U64(figures_of("b", NULL).live, 1);
    T_EQ_I64(send("b", "direct"), CELLAR_OK);
    T_EQ_I64(send("c", "direct"), CELLAR_E_NOT_FOUND);
    T_EQ_U64(figures_of("b", NULL).live, 2);
    close_it();
}

/* The fault: a routing key with a typing error ends silently in the default queue. */
static void seed_route_unrouted_is_counted(void)
{
    open_default(NULL);
    group("mail", NULL, NULL);
    T_EQ_I64(cellar_bus_route(b, "user.*.mail", "mail", CELLAR_BUS_AMQP), CELLAR_OK);
    T_EQ_I64(publish("usr.7.mail", "lost"), CELLAR_UNROUTED);
    T_EQ_U64(figures().unrouted, 1);
    T_EQ_U64(figures().copies, 0);
    close_it();
    open_default("rest");
    group("mail", NULL, NULL);
    T_EQ_I64(cellar_bus_route(b, "user.*.mail", "mail", CELLAR_BUS_AMQP), CELLAR_OK);
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

static void message_keeps_its_fields(void)
{
    const cellar_bus_header headers[] = { { "tenant", "7" }, { "", "" } };
    cellar_bus_publish_opts o = cellar_bus_publish_opts_default();
    o.headers = headers;
    o.header_count = 2;
    o.priority = 9;
    for (size_t i = 0; i < sizeof o.trace; i++) { o.trace[i] = (uint8_t)(i + 1); }
    open_default(NULL);
    group("q", "g", NULL);
    T_EQ_I64(cellar_bus_route(b, "k.#", "q", CELLAR_BUS_AMQP), CELLAR_OK);
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

static void bus_groups_exactly_once_each(void)
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
    T_EQ_I64(cellar_bus_ack(m2, a.delivery), CELLAR_E_NOT_FOUND);
    T_EQ_I64(cellar_bus_ack(m1, a.delivery), CELLAR_OK);
    T_EQ_I64(cellar_bus_ack(m1, a.delivery), CELLAR_E_NOT_FOUND);
    T_EQ_I64(cellar_bus_ack(m2, x.delivery), CELLAR_OK);
    T_EQ_I64(cellar_bus_ack(m1, c.delivery), CELLAR_OK);
    T_EQ_MEM(a2.body, "a", 1);
    T_EQ_I64(cellar_bus_ack(other, a2.delivery), CELLAR_OK);
    T_EQ_I64(cellar_bus_ack(other, take(other, "b").delivery), CELLAR_OK);
    T_EQ_I64(cellar_bus_ack(other, take(other, "c").delivery), CELLAR_OK);
    T_EQ_U64(figures_of("q", "one").acked, 3);
    T_EQ_U64(figures_of("q", "two").acked, 3);
    group("q", "late", NULL); /* sees what is published from now on */
    T_EQ_U64(figures_of("q", "late").live, 0);
    close_it();
}

static void functions_run_in_tick_in_order(void)
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

static void prefetch_bounds_what_a_member_has_in_hand(void)
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
    T_EQ_I64(cellar_bus_ack(m, first), CELLAR_OK);
    (void)take(m, "x");
    close_it();
}

/* ---- return ---- */

static void nack_returns_now_or_after_its_delay(void)
{
    open_default(NULL);
    group("q", NULL, NULL);
    cellar_bus_member *m = member("q", NULL, 4);
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    T_EQ_I64(send("q", "b"), CELLAR_OK);
    T_EQ_I64(cellar_bus_nack(m, take(m, "a").delivery, 0), CELLAR_OK);
    const cellar_bus_message again = take(m, "a"); /* at the front */
    T_EQ_U64(again.attempt, 2);
    T_EQ_I64(cellar_bus_nack(m, again.delivery, 5000), CELLAR_OK);
    T_EQ_U64(figures().delayed, 1);
    T_EQ_I64(cellar_bus_ack(m, take(m, "b").delivery), CELLAR_OK);
    take_none(m);
    int64_t wait_ms;
    T_EQ_I64(cellar_bus_tick(b, 0, &wait_ms), CELLAR_OK);
    T_CHECK(wait_ms >= 1 && wait_ms <= 5000);
    pass(4999);
    take_none(m);
    pass(1);
    T_EQ_U64(take(m, "a").attempt, 3);
    T_EQ_U64(figures().requeued, 2);
    close_it();
}

static void lease_that_ends_delivers_again(void)
{
    cellar_bus_group_opts o = cellar_bus_group_opts_default();
    o.visibility_ms = 1000;
    open_default(NULL);
    group("q", NULL, &o);
    cellar_bus_member *slow = member("q", NULL, 1), *m = member("q", NULL, 4);
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    const cellar_bus_message got = take(slow, "a");
    pass(999);
    take_none(m);
    pass(1);
    const cellar_bus_message again = take(m, "a");
    T_EQ_U64(again.attempt, 2);
    T_EQ_I64(cellar_bus_ack(m, again.delivery), CELLAR_OK);
    T_EQ_MEM(got.body, "a", 1); /* valid until the slow member settles it */
    cellar_bus_message more = cellar_bus_message_default();
    T_EQ_I64(cellar_bus_take(slow, 0, &more), CELLAR_E_LIMIT);
    T_EQ_I64(cellar_bus_ack(slow, got.delivery), CELLAR_E_LOST);
    T_EQ_I64(cellar_bus_ack(slow, got.delivery), CELLAR_E_NOT_FOUND);
    T_EQ_U64(figures().late, 1);
    T_EQ_U64(figures().leases_lost, 1);
    T_EQ_U64(figures().acked, 1);
    close_it();
}

static void extended_lease_ends_later(void)
{
    cellar_bus_group_opts o = cellar_bus_group_opts_default();
    o.visibility_ms = 100;
    open_default(NULL);
    group("q", NULL, &o);
    cellar_bus_member *m = member("q", NULL, 2);
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    cellar_bus_message got = take(m, "a");
    pass(90);
    T_EQ_I64(cellar_bus_extend(m, got.delivery, 500), CELLAR_OK);
    pass(499);
    take_none(m);
    T_EQ_I64(cellar_bus_extend(m, got.delivery, 0), CELLAR_OK); /* as the group */
    pass(99);
    take_none(m);
    T_EQ_I64(cellar_bus_extend(m, got.delivery, 1), CELLAR_OK); /* earlier */
    T_EQ_I64(cellar_bus_extend(m, got.delivery + 1, 1), CELLAR_E_NOT_FOUND);
    pass(1);
    T_EQ_U64(figures().leases_lost, 1);
    T_EQ_I64(cellar_bus_extend(m, got.delivery, 100), CELLAR_E_LOST);
    T_EQ_I64(cellar_bus_ack(m, got.delivery), CELLAR_E_LOST);
    T_EQ_I64(cellar_bus_extend(m, got.delivery, 100), CELLAR_E_NOT_FOUND);
    got = take(m, "a");
    T_EQ_I64(cellar_bus_extend(m, got.delivery, INT64_C(366) * 86400000), CELLAR_OK);
    pass(INT64_C(365) * 86400000);
    T_EQ_I64(cellar_bus_ack(m, got.delivery), CELLAR_OK);
    T_EQ_I64(cellar_bus_extend(m, 0, -1), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_extend(m, 0, INT64_C(366) * 86400000 + 1), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_extend(NULL, 0, 0), CELLAR_E_INVAL);
    close_it();
}

/* ---- lists ---- */

static char listed[4096];
static unsigned list_left;

static bool list_message(const cellar_bus_message *m, cellar_bus_place place, void *ctx)
{
    char text[64];
    snprintf(text, sizeof text, "%.*s%s%s ", (int)m->body_len, (const char *)m->body,
             place == CELLAR_BUS_HELD ? "/held" : place == CELLAR_BUS_DELAYED ? "/delayed" : "",
             m->dead_queue != NULL ? m->dead_queue : "");
    if (strlen(listed) + sizeof text < sizeof listed) { strcat(listed, text); }
    T_EQ_U64(m->delivery, 0);
    T_EQ_STR(m->group, "default");
    (void)ctx;
    return --list_left != 0;
}

/* Remove the group in the first call. */
static bool list_message_once(const cellar_bus_message *m, cellar_bus_place place, void *ctx)
{
    unsigned *once = ctx;
    if (*once != 0) { T_EQ_I64(cellar_bus_group_remove(b, "q", NULL), CELLAR_OK); }
    *once = 0;
    return list_message(m, place, NULL);
}

/* Return the messages of a group as text: at most `most`, from *cursor on. */
static const char *list_of(const char *queue, uint64_t *cursor, unsigned most)
{
    listed[0] = '\0';
    list_left = most;
    T_EQ_I64(cellar_bus_message_list(b, queue, NULL, cursor, list_message, NULL), CELLAR_OK);
    return listed;
}

static void messages_of_a_group_are_listed(void)
{
    cellar_bus_group_opts o = cellar_bus_group_opts_default();
    uint64_t cursor = 0;
    char want[4096] = "";
    o.dead_queue = "dead";
    open_default(NULL);
    group("q", NULL, &o);
    group("q", "other", NULL);
    group("dead", NULL, NULL);
    cellar_bus_member *m = member("q", NULL, 3);
    T_EQ_STR(list_of("q", NULL, 9), "");
    for (int i = 0; i < 5; i++) { T_EQ_I64(send("q", (const char[]){ (char)('a' + i), 0 }), 0); }
    T_EQ_I64(cellar_bus_reject(m, take(m, "a").delivery), CELLAR_OK);
    (void)take(m, "b");
    T_EQ_I64(cellar_bus_nack(m, take(m, "c").delivery, 500), CELLAR_OK);
    T_EQ_STR(list_of("q", NULL, 9), "b/held c/delayed d e ");
    T_EQ_STR(list_of("dead", NULL, 9), "aq ");
    T_EQ_STR(list_of("q", &cursor, 2), "b/held c/delayed ");
    T_EQ_STR(list_of("q", &cursor, 1), "d ");
    T_EQ_STR(list_of("q", &cursor, 9), "e ");
    T_EQ_U64(cursor, 0);
    for (int i = 0; i < 100; i++) { /* more than a page */
        char body[8];
        snprintf(body, sizeof body, "%d", i);
        T_EQ_I64(send("dead", body), CELLAR_OK);
        T_EQ_I64(send("q", "x"), CELLAR_OK);
        snprintf(want + strlen(want), 8, "%d ", i);
    }
    T_EQ_STR(list_of("dead", NULL, 0) + 3, want);
    T_EQ_I64(cellar_bus_message_list(b, "none", NULL, NULL, list_message, NULL),
             CELLAR_E_NOT_FOUND);
    T_EQ_I64(cellar_bus_message_list(b, "q", NULL, NULL, NULL, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_leave(m), CELLAR_OK);
    list_left = 0; /* a function that removes the group: the messages in the page stay valid */
    listed[0] = '\0';
    unsigned once = 1;
    T_EQ_I64(cellar_bus_message_list(b, "q", NULL, &cursor, list_message_once, &once),
             CELLAR_E_NOT_FOUND);
    T_EQ_I64(cellar_bus_group_remove(b, "q", "other"), CELLAR_OK);
    T_EQ_U64(figures().live, 101);
    close_it();
}

static bool list_group(const char *queue, const char *name, const cellar_bus_group_stats *st,
                       void *ctx)
{
    char text[64];
    (void)ctx;
    snprintf(text, sizeof text, "%s.%s:%u/%u/%u/%u ", queue, name, (unsigned)st->live,
             (unsigned)st->held, (unsigned)st->members, (unsigned)st->oldest_ms);
    if (strlen(listed) + sizeof text < sizeof listed) { strcat(listed, text); }
    return --list_left != 0;
}

static void groups_are_listed_with_depth_and_age(void)
{
    open_default(NULL);
    listed[0] = '\0';
    list_left = 9;
    T_EQ_I64(cellar_bus_group_list(b, list_group, NULL), CELLAR_OK);
    T_EQ_STR(listed, "");
    group("q", NULL, NULL);
    group("q", "two", NULL);
    group("r", NULL, NULL);
    cellar_bus_member *m = member("q", NULL, 1);
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    pass(20);
    T_EQ_I64(send("q", "b"), CELLAR_OK);
    (void)take(m, "a");
    pass(5);
    T_EQ_I64(cellar_bus_group_list(b, list_group, NULL), CELLAR_OK);
    T_EQ_STR(listed, "q.default:2/1/1/5 q.two:2/0/0/25 r.default:0/0/0/0 ");
    T_EQ_U64(figures_of("q", "two").oldest_ms, 25);
    listed[0] = '\0';
    list_left = 1;
    T_EQ_I64(cellar_bus_group_list(b, list_group, NULL), CELLAR_OK);
    T_EQ_STR(listed, "q.default:2/1/1/5 ");
    T_EQ_I64(cellar_bus_group_list(b, NULL, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_group_list(NULL, list_group, NULL), CELLAR_E_INVAL);
    close_it();
}

static void leases_that_end_together_keep_the_order(void)
{
    open_default(NULL);
    group("q", NULL, NULL);
    cellar_bus_member *slow = member("q", NULL, 4), *m = member("q", NULL, 4);
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    T_EQ_I64(send("q", "b"), CELLAR_OK);
    T_EQ_I64(send("q", "c"), CELLAR_OK);
    T_EQ_I64(send("q", "d"), CELLAR_OK);
    (void)take(slow, "a");
    (void)take(slow, "b");
    (void)take(slow, "c");
    pass(30000);
    (void)take(m, "a");
    (void)take(m, "b");
    (void)take(m, "c");
    (void)take(m, "d");
    close_it();
}

static void bus_member_dies(void)
{
    open_default(NULL);
    group("q", NULL, NULL);
    cellar_bus_member *dies = member("q", NULL, 8), *m = member("q", NULL, 8);
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    T_EQ_I64(send("q", "b"), CELLAR_OK);
    T_EQ_I64(send("q", "c"), CELLAR_OK);
    T_EQ_I64(send("q", "d"), CELLAR_OK);
    (void)take(dies, "a");
    (void)take(dies, "b");
    (void)take(dies, "c");
    T_EQ_I64(cellar_bus_group_remove(b, "q", NULL), CELLAR_E_BUSY);
    T_EQ_I64(cellar_bus_leave(dies), CELLAR_OK);
    T_EQ_U64(take(m, "a").attempt, 1); /* in order, and not counted */
    (void)take(m, "b");
    (void)take(m, "c");
    (void)take(m, "d");
    T_EQ_U64(figures().requeued, 3);
    T_EQ_U64(figures().members, 1);
    T_EQ_I64(cellar_bus_leave(m), CELLAR_OK);
    T_EQ_I64(cellar_bus_leave(NULL), CELLAR_OK);
    T_EQ_I64(cellar_bus_group_remove(b, "q", NULL), CELLAR_OK);
    T_EQ_U64(figures().dropped_removed, 4);
    T_EQ_U64(figures().groups, 0);
    close_it();
}

static void bus_dead_letter(void)
{
    cellar_bus_group_opts o = cellar_bus_group_opts_default();
    o.max_deliver = 2;
    o.dead_queue = "dead";
    open_default(NULL);
    group("q", "g", &o);
    o.max_messages = 2;
    group("dead", NULL, &o);
    cellar_bus_member *m = member("q", "g", 4), *undertaker = member("dead", NULL, 4);
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    T_EQ_I64(cellar_bus_nack(m, take(m, "a").delivery, 0), CELLAR_OK);
    T_EQ_I64(cellar_bus_nack(m, take(m, "a").delivery, 0), CELLAR_OK);
    take_none(m);
    cellar_bus_message got = take(undertaker, "a");
    T_EQ_I64(got.dead, CELLAR_BUS_DEAD_DELIVERIES);
    T_EQ_STR(got.dead_queue, "q");
    T_EQ_STR(got.queue, "dead");
    T_EQ_U64(got.attempt, 1);
    T_EQ_U64(figures_of("q", "g").dead, 1);
    T_EQ_U64(figures_of("dead", NULL).copies, 1);
    T_EQ_I64(cellar_bus_reject(undertaker, got.delivery), CELLAR_OK); /* ends: no circle */
    T_EQ_U64(figures_of("dead", NULL).dead, 1);
    T_EQ_U64(figures().live, 0);
    T_EQ_I64(send("q", "b"), CELLAR_OK);
    T_EQ_I64(cellar_bus_reject(m, take(m, "b").delivery), CELLAR_OK);
    got = take(undertaker, "b");
    T_EQ_I64(got.dead, CELLAR_BUS_DEAD_REJECTED);
    /* A full dead queue loses its oldest waiting letter; with all in hand, the new one. */
    const char *const bodies[] = { "c", "d", "e" };
    for (int i = 0; i < 3; i++) {
        T_EQ_I64(send("q", bodies[i]), CELLAR_OK);
        T_EQ_I64(cellar_bus_reject(m, take(m, bodies[i]).delivery), CELLAR_OK);
    }
    T_EQ_U64(figures_of("dead", NULL).dropped_oldest, 2);
    (void)take(undertaker, "e");
    T_EQ_I64(send("q", "f"), CELLAR_OK);
    T_EQ_I64(cellar_bus_reject(m, take(m, "f").delivery), CELLAR_OK);
    T_EQ_U64(figures_of("dead", NULL).dropped_new, 1);
    T_EQ_U64(figures().dead, 7);
    close_it();
}

static void dead_letters_do_not_expire(void)
{
    cellar_bus_group_opts o = cellar_bus_group_opts_default();
    cellar_bus_publish_opts p = cellar_bus_publish_opts_default();
    o.dead_queue = "dead";
    p.expires_ms = 100;
    open_default(NULL);
    group("q", NULL, &o);
    group("dead", NULL, NULL);
    cellar_bus_member *m = member("q", NULL, 1), *undertaker = member("dead", NULL, 1);
    T_EQ_I64(cellar_bus_send(b, "q", "a", 1, &p), CELLAR_OK);
    T_EQ_I64(cellar_bus_reject(m, take(m, "a").delivery), CELLAR_OK);
    pass(1000);
    (void)take(undertaker, "a");
    close_it();
}

static void letters_without_a_dead_queue_are_freed(void)
{
    cellar_bus_group_opts o = cellar_bus_group_opts_default();
    o.dead_queue = "nowhere";
    o.visibility_ms = 10;
    o.max_deliver = 1;
    open_default(NULL);
    group("q", NULL, &o);
    cellar_bus_member *m = member("q", NULL, 4);
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    const uint64_t lost = take(m, "a").delivery;
    pass(10);
    T_EQ_U64(figures().dead, 1);
    T_EQ_U64(figures().live, 0);
    T_EQ_I64(cellar_bus_nack(m, lost, 0), CELLAR_E_LOST);
    close_it();
}

static void verdicts_of_functions_decide(void)
{
    cellar_bus_group_opts o = cellar_bus_group_opts_default();
    o.max_deliver = 3;
    o.retry_ms = 100;
    open_default(NULL);
    group("q", NULL, &o);
    join_note("q", NULL);
    answer = CELLAR_BUS_RETRY;
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    tick();
    T_EQ_U64(figures().delayed, 1);
    pass(99);
    T_EQ_STR(seen, "a ");
    pass(1);
    T_EQ_STR(seen, "a a ");
    T_EQ_U64(last.attempt, 2);
    answer = (cellar_bus_verdict)77; /* counts as RETRY */
    pass(100);
    T_EQ_STR(seen, "a a a ");
    T_EQ_U64(figures().dead, 1);
    answer = CELLAR_BUS_REJECT;
    T_EQ_I64(send("q", "b"), CELLAR_OK);
    tick();
    T_EQ_U64(figures().dead, 2);
    T_EQ_U64(figures().live, 0);
    close_it();
}

static void expired_messages_are_counted(void)
{
    cellar_bus_publish_opts o = cellar_bus_publish_opts_default();
    open_default(NULL);
    group("q", NULL, NULL);
    cellar_bus_member *m = member("q", NULL, 4);
    o.expires_ms = 100;
    T_EQ_I64(cellar_bus_send(b, "q", "a", 1, &o), CELLAR_OK);
    pass(99);
    T_EQ_U64(figures().live, 1);
    pass(1);
    T_EQ_U64(figures().expired, 1); /* without a take */
    T_EQ_I64(cellar_bus_send(b, "q", "b", 1, &o), CELLAR_OK);
    now_ms += 100;
    take_none(m); /* before the timer */
    T_EQ_U64(figures().expired, 2);
    T_EQ_I64(cellar_bus_send(b, "q", "c", 1, &o), CELLAR_OK);
    const uint64_t in_hand = take(m, "c").delivery;
    pass(1000); /* in hand: no expiry */
    T_EQ_I64(cellar_bus_nack(m, in_hand, 0), CELLAR_OK);
    tick();
    T_EQ_U64(figures().expired, 3);
    T_EQ_I64(cellar_bus_send(b, "q", "d", 1, &o), CELLAR_OK);
    T_EQ_I64(cellar_bus_nack(m, take(m, "d").delivery, 1000), CELLAR_OK);
    pass(100);
    T_EQ_U64(figures().expired, 4); /* while delayed */
    o.expires_ms = INT64_MAX;
    T_EQ_I64(cellar_bus_send(b, "q", "e", 1, &o), CELLAR_OK);
    pass(INT32_MAX);
    T_EQ_U64(figures().live, 1);
    close_it();
}

/* ---- limits ---- */

static void bus_backpressure(void)
{
    cellar_bus_group_opts o = cellar_bus_group_opts_default();
    o.max_messages = 2;
    open_default(NULL);
    group("error", NULL, &o);
    o.on_full = CELLAR_BUS_FULL_DROP_NEW;
    group("new", NULL, &o);
    o.on_full = CELLAR_BUS_FULL_DROP_OLDEST;
    group("oldest", NULL, &o);
    o.on_full = CELLAR_BUS_FULL_BLOCK;
    o.block_ms = 1;
    group("block", NULL, &o);
    for (int i = 0; i < 2; i++) {
        const char *body = i == 0 ? "a" : "b";
        T_EQ_I64(send("error", body), CELLAR_OK);
        T_EQ_I64(send("new", body), CELLAR_OK);
        T_EQ_I64(send("oldest", body), CELLAR_OK);
        T_EQ_I64(send("block", body), CELLAR_OK);
    }
    T_EQ_I64(send("error", "c"), CELLAR_E_LIMIT);
    T_EQ_I64(send("new", "c"), CELLAR_OK);
    T_EQ_I64(send("oldest", "c"), CELLAR_OK);
    T_EQ_I64(send("block", "c"), CELLAR_E_TIMEOUT);
    T_EQ_U64(figures().rejected_full, 2);
    T_EQ_U64(figures_of("new", NULL).dropped_new, 1);
    T_EQ_U64(figures_of("oldest", NULL).dropped_oldest, 1);
    cellar_bus_member *m = member("oldest", NULL, 4);
    (void)take(m, "b");
    (void)take(m, "c");
    T_EQ_I64(send("oldest", "d"), CELLAR_OK); /* all in hand: the new one is dropped */
    T_EQ_U64(figures_of("oldest", NULL).dropped_new, 1);
    cellar_bus_member *n = member("new", NULL, 4);
    (void)take(n, "a");
    (void)take(n, "b");
    close_it();
}

/* A full group with ERROR keeps the message from all groups; one that drops does not. */
static void publish_reaches_all_groups_or_none(void)
{
    cellar_bus_group_opts o = cellar_bus_group_opts_default();
    o.max_messages = 1;
    open_default(NULL);
    group("q", "wide", NULL);
    o.on_full = CELLAR_BUS_FULL_DROP_NEW;
    group("q", "drops", &o);
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    T_EQ_I64(send("q", "b"), CELLAR_OK);
    T_EQ_U64(figures_of("q", "wide").live, 2);
    T_EQ_U64(figures_of("q", "drops").live, 1);
    o.on_full = CELLAR_BUS_FULL_ERROR;
    group("q", "tight", &o);
    T_EQ_I64(send("q", "c"), CELLAR_OK);
    T_EQ_I64(send("q", "d"), CELLAR_E_LIMIT);
    T_EQ_U64(figures_of("q", "wide").live, 3);
    T_EQ_U64(figures_of("q", "drops").copies, 3);
    close_it();
}

static void bytes_are_a_limit_too(void)
{
    static char body[2 << 20];
    cellar_bus_group_opts o = cellar_bus_group_opts_default();
    o.max_bytes = 100;
    open_default(NULL);
    group("q", NULL, &o);
    o.on_full = CELLAR_BUS_FULL_DROP_OLDEST;
    group("d", NULL, &o);
    T_EQ_I64(cellar_bus_send(b, "q", body, 98, NULL), CELLAR_OK); /* and "q" with its 0 */
    T_EQ_U64(figures_of("q", NULL).bytes, 100);
    T_EQ_I64(cellar_bus_send(b, "q", body, 0, NULL), CELLAR_E_LIMIT);
    T_EQ_I64(cellar_bus_send(b, "q", body, 99, NULL), CELLAR_E_TOOBIG);
    T_EQ_I64(cellar_bus_send(b, "d", body, 40, NULL), CELLAR_OK);
    T_EQ_I64(cellar_bus_send(b, "d", body, 40, NULL), CELLAR_OK);
    T_EQ_I64(cellar_bus_send(b, "d", body, 98, NULL), CELLAR_OK); /* in place of both */
    T_EQ_U64(figures_of("d", NULL).dropped_oldest, 2);
    T_EQ_I64(cellar_bus_send(b, "d", body, 99, NULL), CELLAR_OK); /* never fits: dropped */
    T_EQ_U64(figures_of("d", NULL).dropped_new, 1);
    T_EQ_U64(figures_of("d", NULL).live, 1);
    T_EQ_I64(cellar_bus_send(b, "q", body, sizeof body, NULL), CELLAR_E_TOOBIG);
    close_it();
}

static void tables_have_limits(void)
{
    char name[32];
    open_default(NULL);
    for (int i = 0; i < 9; i++) {
        snprintf(name, sizeof name, "q%d", i);
        T_EQ_I64(cellar_bus_group_add(b, name, NULL, NULL), i < 8 ? CELLAR_OK : CELLAR_E_LIMIT);
    }
    T_EQ_I64(cellar_bus_group_add(b, "q0", NULL, NULL), CELLAR_EXISTS);
    for (int i = 0; i < 81; i++) {
        snprintf(name, sizeof name, "k.%d", i);
        T_EQ_I64(cellar_bus_route(b, name, "q0", CELLAR_BUS_AMQP),
                 i < 80 ? CELLAR_OK : CELLAR_E_LIMIT);
    }
    cellar_bus_member *m;
    for (int i = 0; i < 9; i++) {
        T_EQ_I64(cellar_bus_join(b, "q0", NULL, NULL, &m), i < 8 ? CELLAR_OK : CELLAR_E_LIMIT);
    }
    T_CHECK(m == NULL);
    T_EQ_U64(figures().rejected_limit, 3);
    close_it();
}

static void message_reaches_at_most_64_queues(void)
{
    const cellar_host_opts h = host_of_test();
    cellar_bus_config c = cellar_bus_config_default();
    char name[32];
    c.host = &h;
    T_REQUIRE(cellar_bus_open(&c, &b) == CELLAR_OK);
    for (int i = 0; i < 65; i++) {
        snprintf(name, sizeof name, "q%d", i);
        group(name, NULL, NULL);
        T_EQ_I64(cellar_bus_route(b, "#", name, CELLAR_BUS_AMQP), CELLAR_OK);
        T_EQ_I64(publish("k", "x"), i < 64 ? CELLAR_OK : CELLAR_E_LIMIT);
    }
    T_EQ_U64(figures().copies, 64 * 65 / 2);
    close_it();
}

/* ---- ordered, filters ---- */

static void ordered_group_has_one_message_of_a_key_in_hand(void)
{
    cellar_bus_group_opts o = cellar_bus_group_opts_default();
    o.ordered = 1;
    o.visibility_ms = 100;
    open_default(NULL);
    group("q", NULL, &o);
    T_EQ_I64(cellar_bus_route(b, "#", "q", CELLAR_BUS_AMQP), CELLAR_OK);
    cellar_bus_member *m1 = member("q", NULL, 8), *m2 = member("q", NULL, 8);
    T_EQ_I64(publish("k", "a"), CELLAR_OK);
    T_EQ_I64(publish("k", "b"), CELLAR_OK);
    T_EQ_I64(publish("k", "c"), CELLAR_OK);
    uint64_t d = take(m1, "a").delivery;
    take_none(m1);
    take_none(m2);
    T_EQ_I64(cellar_bus_nack(m1, d, 50), CELLAR_OK); /* delayed: the key waits */
    take_none(m2);
    pass(50);
    d = take(m2, "a").delivery;
    take_none(m1);
    pass(100); /* the lease ends: again first */
    const uint64_t again = take(m1, "a").delivery;
    T_EQ_I64(cellar_bus_ack(m2, d), CELLAR_E_LOST);
    take_none(m2);
    T_EQ_I64(cellar_bus_ack(m1, again), CELLAR_OK);
    T_EQ_I64(cellar_bus_reject(m2, take(m2, "b").delivery), CELLAR_OK);
    (void)take(m2, "c");
    T_EQ_I64(cellar_bus_leave(m2), CELLAR_OK);
    (void)take(m1, "c");
    close_it();
    o.on_full = CELLAR_BUS_FULL_DROP_OLDEST;
    open_default(NULL);
    T_EQ_I64(cellar_bus_group_add(b, "q", NULL, &o), CELLAR_E_INVAL);
    close_it();
}

static void end_of_a_message_offers_the_next_one_of_its_key(void)
{
    cellar_bus_group_opts o = cellar_bus_group_opts_default();
    o.ordered = 1;
    open_default(NULL);
    group("q", NULL, &o);
    T_EQ_I64(cellar_bus_route(b, "#", "q", CELLAR_BUS_AMQP), CELLAR_OK);
    cellar_bus_member *m = member("q", NULL, 8);
    T_EQ_I64(publish("k", "a"), CELLAR_OK);
    const uint64_t d = take(m, "a").delivery;
    join_note("q", NULL);
    T_EQ_I64(publish("k", "b"), CELLAR_OK);
    tick();
    T_EQ_STR(seen, "");
    T_EQ_I64(cellar_bus_ack(m, d), CELLAR_OK);
    tick();
    T_EQ_STR(seen, "b ");
    close_it();
}

static void ordered_keys_run_beside_each_other(void)
{
    cellar_bus_group_opts o = cellar_bus_group_opts_default();
    char key[16];
    unsigned in_hand = 0;
    o.ordered = 1;
    open_default(NULL);
    group("q", NULL, &o);
    T_EQ_I64(cellar_bus_route(b, "#", "q", CELLAR_BUS_AMQP), CELLAR_OK);
    cellar_bus_member *m = member("q", NULL, 1024);
    for (int i = 0; i < 200; i++) {
        snprintf(key, sizeof key, "k%d", i % 100);
        T_EQ_I64(publish(key, "x"), CELLAR_OK);
    }
    cellar_bus_message got = cellar_bus_message_default();
    while (cellar_bus_take(m, 0, &got) == CELLAR_OK) { in_hand++; }
    T_CHECK(in_hand > 50 && in_hand <= 100); /* 100 keys in 256 lanes */
    close_it();
}

static bool wants_even(const cellar_bus_message *m, void *ctx)
{
    ++*(unsigned *)ctx;
    return m->body_len % 2 == 0;
}

/* S2:479: a consumer with a priority filter and a user-type filter; both must pass. */
static void filters_combine_by_all_or_any(void)
{
    static const char *const types[] = { "gold", "silver" };
    unsigned calls = 0;
    cellar_bus_group_opts o = cellar_bus_group_opts_default();
    o.filter_priority = 5;
    o.filter_header = "type";
    o.filter_values = types;
    o.filter_value_count = 2;
    o.filter_fn = wants_even;
    o.filter_ctx = &calls;
    open_default(NULL);
    group("q", "all", &o);
    o.filter_any = 1;
    group("q", "any", &o);
    cellar_bus_member *all = member("q", "all", 100), *any = member("q", "any", 100);
    for (int i = 0; i < 8; i++) { /* bit 0: priority, bit 1: header, bit 2: even */
        const cellar_bus_header header = { "type", (i & 2) != 0 ? "silver" : "bronze" };
        cellar_bus_publish_opts p = cellar_bus_publish_opts_default();
        p.headers = &header;
        p.header_count = 1;
        p.priority = (i & 1) != 0 ? 5 : 4;
        T_EQ_I64(cellar_bus_send(b, "q", "xxx", (i & 4) != 0 ? 2 : 1, &p), CELLAR_OK);
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

static void functions_see_what_passes_the_filters(void)
{
    cellar_bus_group_opts o = cellar_bus_group_opts_default();
    cellar_bus_publish_opts p = cellar_bus_publish_opts_default();
    o.filter_priority = 3;
    open_default(NULL);
    group("q", NULL, &o);
    join_note("q", NULL);
    T_EQ_I64(send("q", "low"), CELLAR_OK);
    p.priority = 3;
    T_EQ_I64(cellar_bus_send(b, "q", "high", 4, &p), CELLAR_OK);
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

static void only_consumer_never_blocks_on_its_own_queue(void)
{
    cellar_bus_group_opts o = cellar_bus_group_opts_default();
    cellar_bus_member_opts mo = cellar_bus_member_opts_default();
    o.max_messages = 1;
    o.on_full = CELLAR_BUS_FULL_BLOCK; /* without a time limit */
    mo.fn = publishes_into_its_queue;
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
    T_EQ_I64(cellar_bus_ack(m, d), CELLAR_OK);
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

static void member_may_leave_inside_its_function(void)
{
    cellar_bus_member_opts o = cellar_bus_member_opts_default();
    o.fn = leaves;
    o.free_fn = count_free;
    open_default(NULL);
    group("q", NULL, NULL);
    T_EQ_I64(cellar_bus_join(b, "q", NULL, &o, &myself), CELLAR_OK);
    cellar_bus_message got = cellar_bus_message_default();
    T_EQ_I64(cellar_bus_take(myself, 0, &got), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_ack(myself, 1), CELLAR_E_INVAL);
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

static char heard[256];
static uint64_t ids[4];

static void hear(const char *topic, const void *data, size_t len, void *ctx)
{
    (void)topic;
    const size_t at = strlen(heard);
    snprintf(heard + at, sizeof heard - at, "%s%.*s ", (const char *)ctx, (int)len,
             (const char *)data);
}

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

static void signals_call_in_order_of_subscription(void)
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

static void drain_reports_what_became_of_each_message(void)
{
    cellar_bus_publish_opts p = cellar_bus_publish_opts_default();
    cellar_bus_group_opts o = cellar_bus_group_opts_default();
    cellar_bus_report r = cellar_bus_report_default();
    o.dead_queue = "dead";
    o.max_deliver = 1;
    o.filter_priority = 1;
    open_default(NULL);
    group("q", NULL, &o);
    group("dead", NULL, NULL);
    p.priority = 1;
    T_EQ_I64(send("q", "filtered"), CELLAR_OK);
    T_EQ_I64(cellar_bus_send(b, "q", "dies", 4, &p), CELLAR_OK);
    T_EQ_I64(cellar_bus_send(b, "dead", "waits", 5, &p), CELLAR_OK);
    p.expires_ms = 1;
    T_EQ_I64(cellar_bus_send(b, "q", "expires", 7, &p), CELLAR_OK);
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

static uint64_t state;

static uint64_t draw(uint64_t n)
{
    state += UINT64_C(0x9E3779B97F4A7C15);
    uint64_t x = state;
    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    return (x ^ x >> 31) % n;
}

typedef struct hand {
    cellar_bus_member *m;
    uint64_t delivery[8];
    unsigned count;
} hand;

static void random_group(int i)
{
    cellar_bus_group_opts o = cellar_bus_group_opts_default();
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
static void work_counters_invariant(void)
{
    state = t_seed() + 5;
    for (uint64_t round = 0; round < t_share(40) / T_COST + 1 && !t_failed(); round++) {
        hand hands[4];
        char name[16];
        open_default("q0");
        for (int i = 0; i < 4; i++) { random_group(i); }
        for (int i = 0; i < 4; i++) {
            snprintf(name, sizeof name, "q%d", i);
            hands[i] = (hand){ .m = member(name, NULL, 8) };
        }
        (void)cellar_bus_route(b, "a.#", "q1", CELLAR_BUS_AMQP);
        (void)cellar_bus_route(b, "#.b", "q2", CELLAR_BUS_AMQP);
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
                    const cellar_err err =
                        how == 0 ? cellar_bus_reject(h->m, d)
                        : how == 1 ? cellar_bus_nack(h->m, d, (int64_t)draw(3) * 30)
                                   : cellar_bus_ack(h->m, d);
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

/* ---- bad input, faults, figures ---- */

static void bad_arguments_are_refused(void)
{
    char longer[80];
    cellar_bus_member *m;
    cellar_bus_message got = cellar_bus_message_default();
    cellar_bus_group_opts o = cellar_bus_group_opts_default();
    cellar_bus_member_opts mo = cellar_bus_member_opts_default();
    cellar_bus_publish_opts p = cellar_bus_publish_opts_default();
    memset(longer, 'n', sizeof longer);
    longer[CELLAR_NAME_MAX + 1] = '\0';
    open_default(NULL);
    T_EQ_I64(cellar_bus_group_add(NULL, "q", NULL, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_group_add(b, NULL, NULL, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_group_add(b, "", NULL, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_group_add(b, longer, NULL, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_group_add(b, "q", "", NULL), CELLAR_E_INVAL);
#define REFUSED(field, value) \
    do { \
        o = cellar_bus_group_opts_default(); \
        o.field = (value); \
        T_EQ_I64(cellar_bus_group_add(b, "q", NULL, &o), CELLAR_E_INVAL); \
    } while (0)
    REFUSED(block_ms, -1);
    REFUSED(visibility_ms, INT64_MIN);
    REFUSED(retry_ms, -1);
    REFUSED(dead_queue, longer);
    REFUSED(filter_header, "h");
    REFUSED(filter_value_count, 1);
    REFUSED(filter_priority, 10);
    REFUSED(filter_any, 2);
    REFUSED(max_messages, 1048577);
    REFUSED(max_deliver, 1000001);
    REFUSED(ordered, 2);
    REFUSED(on_full, (cellar_bus_on_full)4);
    REFUSED(reserved0, 1);
    const char *const none[] = { "a", NULL };
    o = cellar_bus_group_opts_default();
    o.filter_header = "h";
    o.filter_values = none;
    o.filter_value_count = 2;
    T_EQ_I64(cellar_bus_group_add(b, "q", NULL, &o), CELLAR_E_INVAL);
    group("q", NULL, NULL);
    T_EQ_I64(cellar_bus_group_remove(b, "q", "x"), CELLAR_E_NOT_FOUND);
    T_EQ_I64(cellar_bus_group_remove(b, "x", NULL), CELLAR_E_NOT_FOUND);
    T_EQ_I64(cellar_bus_route(b, "a", "", CELLAR_BUS_AMQP), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_route(b, "", "q", CELLAR_BUS_AMQP), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_route(b, "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q", "q", CELLAR_BUS_AMQP),
             CELLAR_E_LIMIT);
    T_EQ_I64(cellar_bus_route(b, "a", "q", (cellar_bus_syntax)-1), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_publish(b, "", "x", 1, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_publish(b, NULL, "x", 1, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_publish(b, "k", NULL, 1, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_publish(b, "k", "x", SIZE_MAX, NULL), CELLAR_E_TOOBIG);
    T_EQ_I64(cellar_bus_send(b, longer, "x", 1, NULL), CELLAR_E_INVAL);
    p.priority = 10;
    T_EQ_I64(cellar_bus_send(b, "q", "x", 1, &p), CELLAR_E_INVAL);
    p = cellar_bus_publish_opts_default();
    p.expires_ms = -1;
    T_EQ_I64(cellar_bus_send(b, "q", "x", 1, &p), CELLAR_E_INVAL);
    p = cellar_bus_publish_opts_default();
    p.header_count = 1;
    T_EQ_I64(cellar_bus_send(b, "q", "x", 1, &p), CELLAR_E_INVAL);
    const cellar_bus_header no_value = { "h", NULL };
    p.headers = &no_value;
    T_EQ_I64(cellar_bus_send(b, "q", "x", 1, &p), CELLAR_E_INVAL);
    p.header_count = CELLAR_BUS_HEADERS_MAX + 1;
    T_EQ_I64(cellar_bus_send(b, "q", "x", 1, &p), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_join(b, "q", "x", NULL, &m), CELLAR_E_NOT_FOUND);
    T_EQ_I64(cellar_bus_join(b, "q", NULL, NULL, NULL), CELLAR_E_INVAL);
    mo.prefetch = 1025;
    T_EQ_I64(cellar_bus_join(b, "q", NULL, &mo, &m), CELLAR_E_INVAL);
    m = member("q", NULL, 1);
    T_EQ_I64(cellar_bus_take(NULL, 0, &got), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_take(m, -1, &got), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_take(m, 0, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_ack(m, UINT64_MAX), CELLAR_E_NOT_FOUND);
    T_EQ_I64(cellar_bus_nack(m, 0, -1), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_nack(m, 0, INT64_MAX), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_ack(NULL, 0), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_drain(b, -1, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_drain(NULL, 0, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_tick(NULL, 0, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_close(NULL), CELLAR_OK);
    T_EQ_I64(cellar_bus_stats_get(b, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_group_stats_get(b, "q", NULL, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_signal_subscribe(b, "a", CELLAR_BUS_AMQP, NULL, NULL, NULL, NULL),
             CELLAR_E_INVAL);
    T_EQ_I64(cellar_signal_subscribe(b, "", CELLAR_BUS_AMQP, hear, NULL, NULL, NULL),
             CELLAR_E_INVAL);
    T_EQ_I64(cellar_signal_emit(b, "", NULL, 0, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_signal_emit(b, "a", NULL, 1, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_signal_unsubscribe(b, 99), CELLAR_E_NOT_FOUND);
    T_EQ_U64(figures().copies, 0);
    close_it();
}

static void open_is_refused_with_a_reason(void)
{
    cellar_host_opts h = cellar_host_opts_default();
    cellar_error_info e = cellar_error_info_default();
    cellar_bus_config c;
    T_EQ_I64(cellar_bus_open(NULL, NULL), CELLAR_E_INVAL);
#define BAD(field, value) \
    do { \
        c = cellar_bus_config_default(); \
        c.host = &h; \
        c.field = (value); \
        T_EQ_I64(cellar_bus_open(&c, &b), CELLAR_E_INVAL); \
        T_CHECK(b == NULL); \
        T_EQ_I64(cellar_last_error(NULL, &e), CELLAR_OK); \
        T_CHECK(strstr(e.text, "cellar_bus_open: " #field) == e.text); \
    } while (0)
    BAD(max_groups, 65537);
    BAD(max_routes, UINT32_MAX);
    BAD(max_members, 65537);
    BAD(max_subscribers, 65537);
    BAD(workers, 65);
    BAD(max_message_bytes, (UINT64_C(1) << 30) + 1);
    BAD(close_timeout_ms, -1);
    BAD(reserved0, 1);
    BAD(default_queue, "");
}

static void every_missing_memory_is_a_code(void)
{
    uint64_t failed = 0;
    static const char *const values[] = { "v" };
    for (uint64_t nth = 1;; nth++) {
        const cellar_host_opts h = host_of_test();
        cellar_bus_config c = cellar_bus_config_default();
        cellar_bus_group_opts o = cellar_bus_group_opts_default();
        cellar_bus_member_opts mo = cellar_bus_member_opts_default();
        cellar_err err[7] = { CELLAR_OK };
        cellar_bus_member *m = NULL;
        o.filter_header = "h";
        o.filter_values = values;
        o.filter_value_count = 1;
        o.ordered = 1;
        mo.free_fn = count_free;
        c.host = &h;
        freed = 0;
        (void)base_fault_alloc_arm(nth, false);
        err[0] = cellar_bus_open(&c, &b);
        if (err[0] == CELLAR_OK) {
            err[1] = cellar_bus_group_add(b, "q", NULL, &o);
            err[2] = cellar_bus_group_add(b, "p", NULL, NULL);
            if (err[2] == CELLAR_OK) {
                err[3] = cellar_bus_join(b, "p", NULL, &mo, &m);
                err[4] = cellar_bus_route(b, "#", "p", CELLAR_BUS_AMQP);
            }
            err[5] = cellar_signal_subscribe(b, "#", CELLAR_BUS_AMQP, hear, NULL, count_free,
                                             NULL);
            if (err[2] == CELLAR_OK && err[4] == CELLAR_OK) { err[6] = publish("k", "x"); }
        }
        const bool armed = base_fault_alloc_arm(0, false) >= nth;
        unsigned codes = 0;
        for (int i = 0; i < 7; i++) {
            T_CHECK(err[i] == CELLAR_OK || err[i] == CELLAR_E_NOMEM);
            codes += err[i] != CELLAR_OK;
        }
        if (err[0] == CELLAR_OK) {
            T_EQ_U64(freed, 0);
            T_CHECK(err[3] == CELLAR_OK || m == NULL);
            T_EQ_U64(figures().copies,
                     err[2] == CELLAR_OK && err[4] == CELLAR_OK && err[6] == CELLAR_OK);
            T_EQ_U64(figures().published, figures().copies);
            close_it();
            T_EQ_U64(freed, (m != NULL) + (err[5] == CELLAR_OK));
        }
        T_CHECK(codes <= 1);
        failed += codes;
        if (codes == 0 && !armed) { break; }
        T_REQUIRE(nth < 100);
    }
    T_CHECK(failed >= 12);
}

static void metrics_are_those_of_the_registry(void)
{
    char text[8192];
    static char json[16384];
    size_t len;
    open_default(NULL);
    group("q", NULL, NULL);
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    T_EQ_I64(cellar_bus_metrics_write(b, text, sizeof text, &len), CELLAR_OK);
    T_EQ_U64(len, strlen(text));
    T_CHECK(strstr(text, "\ncellar_bus_copies_total{bus=\"bus\"} 1\n") != NULL);
    T_CHECK(strstr(text, "cellar_bus_dropped_total{bus=\"bus\",reason=\"oldest\"} 0\n") != NULL);
    T_CHECK(strstr(text, "cellar_bus_messages{bus=\"bus\",state=\"waiting\"} 1\n") != NULL);
    size_t json_len;
    T_EQ_I64(cellar_bus_stats_json(b, json, sizeof json, &json_len), CELLAR_OK);
    T_EQ_U64(json_len, strlen(json));
    metrics_are_the_same(text, json);
    T_EQ_I64(cellar_bus_stats_json(b, json, 10, &json_len), CELLAR_E_BUFFER);
    T_EQ_I64(cellar_bus_stats_json(NULL, json, 10, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_metrics_write(b, text, 10, NULL), CELLAR_E_BUFFER);
    T_EQ_I64(cellar_bus_metrics_write(b, NULL, 0, &len), CELLAR_E_BUFFER);
    T_EQ_U64(len > 1000, 1);
    T_EQ_I64(cellar_bus_metrics_write(b, NULL, 1, &len), CELLAR_E_INVAL);
    close_it();
}

static cellar_err use_config(void *c)
{
    cellar_bus *opened;
    const cellar_err err = cellar_bus_open(c, &opened);
    return err == CELLAR_OK ? cellar_bus_close(opened) : err;
}
static cellar_err use_group(void *o)
{
    const cellar_err err = cellar_bus_group_add(b, "sizes", NULL, o);
    return err == CELLAR_OK ? cellar_bus_group_remove(b, "sizes", NULL) : err;
}
static cellar_err use_member(void *o)
{
    cellar_bus_member *m;
    const cellar_err err = cellar_bus_join(b, "q", NULL, o, &m);
    return err == CELLAR_OK ? cellar_bus_leave(m) : err;
}
static cellar_err use_publish(void *o) { return cellar_bus_send(b, "q", "x", 1, o); }
static cellar_err fill_stats(void *out) { return cellar_bus_stats_get(b, out); }
static cellar_err fill_group(void *out) { return cellar_bus_group_stats_get(b, "q", NULL, out); }

static void struct_sizes_of_other_versions(void)
{
    const cellar_host_opts h = host_of_test();
    cellar_bus_config c = cellar_bus_config_default();
    c.host = &h;
    open_default(NULL);
    group("q", NULL, NULL);
    check_in("cellar_bus_config", &c, sizeof c, FIRST, use_config);
    CHECK_IN(cellar_bus_group_opts, cellar_bus_group_opts_default(), use_group);
    CHECK_IN(cellar_bus_member_opts, cellar_bus_member_opts_default(), use_member);
    CHECK_IN(cellar_bus_publish_opts, cellar_bus_publish_opts_default(), use_publish);
    check_out("cellar_bus_stats", sizeof(cellar_bus_stats), fill_stats);
    check_out("cellar_bus_group_stats", sizeof(cellar_bus_group_stats), fill_group);
    close_it();
}

T_MAIN("work_bus", T_CASE(message_enters_each_matching_queue_once),
       T_CASE(seed_route_unrouted_is_counted), T_CASE(message_keeps_its_fields),
       T_CASE(bus_groups_exactly_once_each), T_CASE(functions_run_in_tick_in_order),
       T_CASE(prefetch_bounds_what_a_member_has_in_hand),
       T_CASE(nack_returns_now_or_after_its_delay), T_CASE(lease_that_ends_delivers_again),
       T_CASE(extended_lease_ends_later),
       T_CASE(messages_of_a_group_are_listed), T_CASE(groups_are_listed_with_depth_and_age),
       T_CASE(leases_that_end_together_keep_the_order), T_CASE(bus_member_dies),
       T_CASE(bus_dead_letter), T_CASE(dead_letters_do_not_expire),
       T_CASE(letters_without_a_dead_queue_are_freed), T_CASE(verdicts_of_functions_decide),
       T_CASE(expired_messages_are_counted), T_CASE(bus_backpressure),
       T_CASE(publish_reaches_all_groups_or_none), T_CASE(bytes_are_a_limit_too),
       T_CASE(tables_have_limits), T_CASE(message_reaches_at_most_64_queues),
       T_CASE(ordered_group_has_one_message_of_a_key_in_hand),
       T_CASE(end_of_a_message_offers_the_next_one_of_its_key),
       T_CASE(ordered_keys_run_beside_each_other), T_CASE(filters_combine_by_all_or_any),
       T_CASE(functions_see_what_passes_the_filters),
       T_CASE(only_consumer_never_blocks_on_its_own_queue),
       T_CASE(member_may_leave_inside_its_function),
       T_CASE(signals_call_in_order_of_subscription),
       T_CASE(drain_reports_what_became_of_each_message), T_CASE(work_counters_invariant),
       T_CASE(bad_arguments_are_refused), T_CASE(open_is_refused_with_a_reason),
       T_CASE(every_missing_memory_is_a_code), T_CASE(metrics_are_those_of_the_registry),
       T_CASE(struct_sizes_of_other_versions))
