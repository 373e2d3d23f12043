/* SPDX-License-Identifier: MIT
 *
 * Aim:    A message that a member does not handle comes back, in order, until it is a dead
 *         publication, and the lists show where each message is.
 * Method: The clock is a variable; the test takes messages, returns them and lets holds end.
 *         After each step: copies == ended + live, of the bus and of each group. */
#include "tests/support/bus_kit.h"

/* ---- return ---- */

T_CASE(nack_returns_now_or_after_its_delay)
{
    open_default(NULL);
    group("q", NULL, NULL);
    cellar_bus_member *m = member("q", NULL, 4);
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    T_EQ_I64(send("q", "b"), CELLAR_OK);
    T_EQ_I64(cellar_bus_settle(m, take(m, "a").delivery, CELLAR_BUS_RETRY, 0), CELLAR_OK);
    const cellar_bus_message again = take(m, "a"); /* at the front */
    T_EQ_U64(again.attempt, 2);
    T_EQ_I64(cellar_bus_settle(m, again.delivery, CELLAR_BUS_RETRY, 5000), CELLAR_OK);
    T_EQ_U64(figures().delayed, 1);
    T_EQ_I64(cellar_bus_settle(m, take(m, "b").delivery, CELLAR_BUS_ACK, 0), CELLAR_OK);
    take_none(m);
    int64_t wait_ms;
    T_EQ_I64(cellar_tick(b, 0, &wait_ms), CELLAR_OK);
    T_CHECK(wait_ms >= 1 && wait_ms <= 5000);
    pass(4999);
    take_none(m);
    pass(1);
    T_EQ_U64(take(m, "a").attempt, 3);
    T_EQ_U64(figures().requeued, 2);
    close_it();
}

T_CASE(hold_that_ends_delivers_again)
{
    cellar_bus_group_config o = { .struct_size = sizeof o, .visibility_ms = 1000 };
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
    T_EQ_I64(cellar_bus_settle(m, again.delivery, CELLAR_BUS_ACK, 0), CELLAR_OK);
    T_EQ_MEM(got.body, "a", 1); /* valid until the slow member settles it */
    cellar_bus_message more = cellar_bus_message_default();
    T_EQ_I64(cellar_bus_take(slow, 0, &more), CELLAR_E_LIMIT);
    T_EQ_I64(cellar_bus_settle(slow, got.delivery, CELLAR_BUS_ACK, 0), CELLAR_E_LOST);
    T_EQ_I64(cellar_bus_settle(slow, got.delivery, CELLAR_BUS_ACK, 0), CELLAR_E_NOT_FOUND);
    T_EQ_U64(figures().late, 1);
    T_EQ_U64(figures().holds_lost, 1);
    T_EQ_U64(figures().acked, 1);
    close_it();
}

T_CASE(extended_hold_ends_later)
{
    cellar_bus_group_config o = { .struct_size = sizeof o, .visibility_ms = 100 };
    open_default(NULL);
    group("q", NULL, &o);
    cellar_bus_member *m = member("q", NULL, 2);
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    cellar_bus_message got = take(m, "a");
    pass(90);
    T_EQ_I64(cellar_bus_settle(m, got.delivery, CELLAR_BUS_EXTEND, 500), CELLAR_OK);
    pass(499);
    take_none(m);
    /* of the group */
    T_EQ_I64(cellar_bus_settle(m, got.delivery, CELLAR_BUS_EXTEND, 0), CELLAR_OK);
    pass(99);
    take_none(m);
    T_EQ_I64(cellar_bus_settle(m, got.delivery, CELLAR_BUS_EXTEND, 1), CELLAR_OK); /* earlier */
    T_EQ_I64(cellar_bus_settle(m, got.delivery + 1, CELLAR_BUS_EXTEND, 1), CELLAR_E_NOT_FOUND);
    pass(1);
    T_EQ_U64(figures().holds_lost, 1);
    T_EQ_I64(cellar_bus_settle(m, got.delivery, CELLAR_BUS_EXTEND, 100), CELLAR_E_LOST);
    T_EQ_I64(cellar_bus_settle(m, got.delivery, CELLAR_BUS_ACK, 0), CELLAR_E_LOST);
    T_EQ_I64(cellar_bus_settle(m, got.delivery, CELLAR_BUS_EXTEND, 100), CELLAR_E_NOT_FOUND);
    got = take(m, "a");
    const int64_t most_ms = INT64_C(366) * 86400000;
    T_EQ_I64(cellar_bus_settle(m, got.delivery, CELLAR_BUS_EXTEND, most_ms), CELLAR_OK);
    pass(INT64_C(365) * 86400000);
    T_EQ_I64(cellar_bus_settle(m, got.delivery, CELLAR_BUS_ACK, 0), CELLAR_OK);
    T_EQ_I64(cellar_bus_settle(m, 0, CELLAR_BUS_EXTEND, -1), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_settle(m, 0, CELLAR_BUS_EXTEND, most_ms + 1), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_settle(NULL, 0, CELLAR_BUS_EXTEND, 0), CELLAR_E_INVAL);
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

T_CASE(messages_of_a_group_are_listed)
{
    uint64_t cursor = 0;
    char want[4096] = "";
    cellar_bus_group_config o = { .struct_size = sizeof o, .dead_queue = "dead" };
    open_default(NULL);
    group("q", NULL, &o);
    group("q", "other", NULL);
    group("dead", NULL, NULL);
    cellar_bus_member *m = member("q", NULL, 3);
    T_EQ_STR(list_of("q", NULL, 9), "");
    for (int i = 0; i < 5; i++) { T_EQ_I64(send("q", (const char[]){ (char)('a' + i), 0 }), 0); }
    T_EQ_I64(cellar_bus_settle(m, take(m, "a").delivery, CELLAR_BUS_REJECT, 0), CELLAR_OK);
    (void)take(m, "b");
    T_EQ_I64(cellar_bus_settle(m, take(m, "c").delivery, CELLAR_BUS_RETRY, 500), CELLAR_OK);
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

T_CASE(groups_are_listed_with_depth_and_age)
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

T_CASE(holds_that_end_together_keep_the_order)
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

T_CASE(bus_member_dies)
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

T_CASE(bus_dead_letter)
{
    cellar_bus_group_config o = { .struct_size = sizeof o, .max_deliver = 2, .dead_queue = "dead" };
    open_default(NULL);
    group("q", "g", &o);
    o.max_messages = 2;
    group("dead", NULL, &o);
    cellar_bus_member *m = member("q", "g", 4), *undertaker = member("dead", NULL, 4);
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    T_EQ_I64(cellar_bus_settle(m, take(m, "a").delivery, CELLAR_BUS_RETRY, 0), CELLAR_OK);
    T_EQ_I64(cellar_bus_settle(m, take(m, "a").delivery, CELLAR_BUS_RETRY, 0), CELLAR_OK);
    take_none(m);
    cellar_bus_message got = take(undertaker, "a");
    T_EQ_I64(got.dead, CELLAR_BUS_DEAD_DELIVERIES);
    T_EQ_STR(got.dead_queue, "q");
    T_EQ_STR(got.queue, "dead");
    T_EQ_U64(got.attempt, 1);
    T_EQ_U64(figures_of("q", "g").dead, 1);
    T_EQ_U64(figures_of("dead", NULL).copies, 1);
    /* ends: no circle */
    T_EQ_I64(cellar_bus_settle(undertaker, got.delivery, CELLAR_BUS_REJECT, 0), CELLAR_OK);
    T_EQ_U64(figures_of("dead", NULL).dead, 1);
    T_EQ_U64(figures().live, 0);
    T_EQ_I64(send("q", "b"), CELLAR_OK);
    T_EQ_I64(cellar_bus_settle(m, take(m, "b").delivery, CELLAR_BUS_REJECT, 0), CELLAR_OK);
    got = take(undertaker, "b");
    T_EQ_I64(got.dead, CELLAR_BUS_DEAD_REJECTED);
    /* A full dead queue loses its oldest waiting publication; with all in hand, the new one. */
    const char *const bodies[] = { "c", "d", "e" };
    for (int i = 0; i < 3; i++) {
        T_EQ_I64(send("q", bodies[i]), CELLAR_OK);
        T_EQ_I64(cellar_bus_settle(m, take(m, bodies[i]).delivery, CELLAR_BUS_REJECT, 0),
                 CELLAR_OK);
    }
    T_EQ_U64(figures_of("dead", NULL).dropped_oldest, 2);
    (void)take(undertaker, "e");
    T_EQ_I64(send("q", "f"), CELLAR_OK);
    T_EQ_I64(cellar_bus_settle(m, take(m, "f").delivery, CELLAR_BUS_REJECT, 0), CELLAR_OK);
    T_EQ_U64(figures_of("dead", NULL).dropped_new, 1);
    T_EQ_U64(figures().dead, 7);
    close_it();
}

T_CASE(dead_letters_do_not_expire)
{
    cellar_bus_group_config o = { .struct_size = sizeof o, .dead_queue = "dead" };
    cellar_bus_publish_opts p = { .struct_size = sizeof p, .expires_ms = 100 };
    open_default(NULL);
    group("q", NULL, &o);
    group("dead", NULL, NULL);
    cellar_bus_member *m = member("q", NULL, 1), *undertaker = member("dead", NULL, 1);
    T_EQ_I64(bus_send(b, "q", "a", 1, &p), CELLAR_OK);
    T_EQ_I64(cellar_bus_settle(m, take(m, "a").delivery, CELLAR_BUS_REJECT, 0), CELLAR_OK);
    pass(1000);
    (void)take(undertaker, "a");
    close_it();
}

T_CASE(dead_letters_without_a_dead_queue_are_freed)
{
    cellar_bus_group_config o = { .struct_size = sizeof o, .dead_queue = "nowhere",
                                  .visibility_ms = 10, .max_deliver = 1 };
    open_default(NULL);
    group("q", NULL, &o);
    cellar_bus_member *m = member("q", NULL, 4);
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    const uint64_t lost = take(m, "a").delivery;
    pass(10);
    T_EQ_U64(figures().dead, 1);
    T_EQ_U64(figures().live, 0);
    T_EQ_I64(cellar_bus_settle(m, lost, CELLAR_BUS_RETRY, 0), CELLAR_E_LOST);
    close_it();
}

T_CASE(verdicts_of_functions_decide)
{
    cellar_bus_group_config o = { .struct_size = sizeof o, .max_deliver = 3, .retry_ms = 100 };
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

T_CASE(expired_messages_are_counted)
{
    open_default(NULL);
    group("q", NULL, NULL);
    cellar_bus_member *m = member("q", NULL, 4);
    cellar_bus_publish_opts o = { .struct_size = sizeof o, .expires_ms = 100 };
    T_EQ_I64(bus_send(b, "q", "a", 1, &o), CELLAR_OK);
    pass(99);
    T_EQ_U64(figures().live, 1);
    pass(1);
    T_EQ_U64(figures().expired, 1); /* without a take */
    T_EQ_I64(bus_send(b, "q", "b", 1, &o), CELLAR_OK);
    now_ms += 100;
    take_none(m); /* before the timer */
    T_EQ_U64(figures().expired, 2);
    T_EQ_I64(bus_send(b, "q", "c", 1, &o), CELLAR_OK);
    const uint64_t in_hand = take(m, "c").delivery;
    pass(1000); /* in hand: no expiry */
    T_EQ_I64(cellar_bus_settle(m, in_hand, CELLAR_BUS_RETRY, 0), CELLAR_OK);
    tick();
    T_EQ_U64(figures().expired, 3);
    T_EQ_I64(bus_send(b, "q", "d", 1, &o), CELLAR_OK);
    T_EQ_I64(cellar_bus_settle(m, take(m, "d").delivery, CELLAR_BUS_RETRY, 1000), CELLAR_OK);
    pass(100);
    T_EQ_U64(figures().expired, 4); /* while delayed */
    o.expires_ms = INT64_MAX;
    T_EQ_I64(bus_send(b, "q", "e", 1, &o), CELLAR_OK);
    pass(INT32_MAX);
    T_EQ_U64(figures().live, 1);
    close_it();
}

T_MAIN("work_bus_return")
