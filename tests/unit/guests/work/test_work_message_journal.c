/* SPDX-License-Identifier: MIT
 *
 * Aim:    with a journal a message is one body and a row for each group. Each row that has not
 *         ended is delivered after a crash; a body leaves with its last row.
 * Method: as journal_kit.h: a crash is a copy of the files, opened by the next pool. */
#include "cellar_bus.h"
#include "tests/support/bus_send.h"
#include "tests/support/each_allocation.h"
#include "tests/support/journal_kit.h"

static cellar_bus_group_config group_opts;

/* Return bodies * 1000 + rows in the file of a closed pool. */
static int64_t rows(void)
{
    return sql_number("SELECT (SELECT count(*) FROM body) * 1000 + (SELECT count(*) FROM task)");
}

static void add(const char *queue, const char *group, cellar_task_fn fn)
{
    T_REQUIRE(cellar_bus_group_add(p, queue, group, fn, NULL, &group_opts) == CELLAR_OK);
}

static cellar_err send(const char *queue, const char *body)
{
    return bus_send(p, queue, body, 1, NULL);
}

static void send_all(const char *queue, const char *bodies)
{
    for (; *bodies != '\0'; bodies++) { T_EQ_I64(send(queue, bodies), CELLAR_OK); }
}

/* Take a message with this body; NULL: there is none. */
static const cellar_task *take(const char *group, const char *body)
{
    const cellar_task *t = NULL;
    uint32_t n = 0;
    T_EQ_I64(cellar_task_take(p, group, 60000, 0, &t, 1, &n), CELLAR_OK);
    T_EQ_U64(n, body != NULL);
    T_CHECK(n == 0 || body == NULL || *(const char *)t->payload == *body);
    return t;
}

static void end_with(const cellar_task *t, cellar_verdict v)
{
    T_REQUIRE(t != NULL);
    T_EQ_I64(cellar_task_settle(t, v), CELLAR_OK);
}

static void take_and_end(const char *group, const char *body)
{
    end_with(take(group, body), cellar_verdict_ok());
}

static void take_all(const char *group, const char *bodies)
{
    for (; *bodies != '\0'; bodies++) { take_and_end(group, bodies); }
}

static cellar_bus_message message_of(const cellar_task *t)
{
    cellar_bus_message m = cellar_bus_message_default();
    T_REQUIRE(t != NULL);
    T_EQ_I64(cellar_bus_message_of(t, &m), CELLAR_OK);
    return m;
}

static void open_empty(void)
{
    group_opts = cellar_bus_group_config_default();
    start();
}

#define MESSAGES(fn) JOURNAL_FROM(fn, open_empty())

/* Close the pool: its file has so many bodies and rows. Go on in the next process. */
static void reopen_with_rows(int64_t bodies, int64_t count)
{
    T_AFTER_I64(close_it(), rows(), bodies * 1000 + count);
    open_it();
}

static void add_two(void)
{
    add("q", "one", NULL);
    add("q", "two", NULL);
}

static void groups(void)
{
    add("q", "one", note);
    add("q", "two", NULL);
}

T_CASE_ON(rows_of_a_message_return_until_they_end, MESSAGES)
{
    const cellar_bus_header h[] = { { "h", "v" } };
    cellar_bus_publish_opts o = { .struct_size = sizeof o, .headers = h, .header_count = 1 };
    groups();
    T_EQ_I64(cellar_bus_route(p, "#", "q", CELLAR_BUS_AMQP, true), CELLAR_OK);
    T_EQ_I64(cellar_bus_publish(p, "k", "a", 1, &o), CELLAR_OK);
    T_EQ_I64(cellar_bus_publish(p, "k", "b", 1, NULL), CELLAR_OK);
    T_AFTER_U64(crash(), figures().restored, 4);
    T_EQ_U64(figures().unregistered, 4);
    groups();
    T_AFTER_STR(tick(), ran, "ab");
    T_AFTER_U64(crash(), figures().restored, 2); /* the rows of "two" are left */
    groups();
    T_AFTER_STR(tick(), ran, "ab");
    const cellar_task *t = take("two", "a");
    const cellar_bus_message m = message_of(t);
    T_EQ_STR(m.key, "k");
    T_EQ_U64(m.header_count, 1);
    T_EQ_STR(m.headers[0].value, "v");
    end_with(t, cellar_verdict_ok());
    take_and_end("two", "b");
    tick();
    T_AFTER_U64(crash(), figures().restored, 0);
}

/* ---- bodies and rows ---- */

/* Add the group of the last process. */
static void add_again(void)
{
    add("q", NULL, NULL);
    tick();
}

T_CASE_ON(ids_rise_also_when_the_file_held_no_message, MESSAGES)
{
    uint64_t last = 0;
    for (uint32_t i = 0; i < 3; i++) {
        add("q", NULL, NULL);
        T_EQ_I64(send("q", "a"), CELLAR_OK);
        const cellar_task *t = take("q", "a");
        const uint64_t id = message_of(t).id;
        T_CHECK(id > last);
        last = id;
        end_with(t, cellar_verdict_ok());
        pass(1);
        reopen_with_rows(0, 0);
    }
}

static bool refuses(const cellar_bus_message *m, void *ctx)
{
    (void)m, (void)ctx;
    return false;
}

T_CASE_ON(ends_without_a_delivery_delete_rows, MESSAGES)
{
    group_opts.filter_fn = refuses;
    add("q", "filter", NULL);
    group_opts.filter_fn = NULL;
    group_opts.max_messages = 1;
    group_opts.on_full = CELLAR_BUS_FULL_DROP_NEW;
    add("q", "new", NULL);
    group_opts.on_full = CELLAR_BUS_FULL_DROP_OLDEST;
    add("q", "oldest", NULL);
    add("q", "removed", NULL);
    send_all("q", "12");
    T_CHECK(take("filter", NULL) == NULL);
    T_EQ_I64(cellar_bus_group_remove(p, "removed"), CELLAR_OK);
    tick();
    reopen_with_rows(2, 2); /* 1 in "new", 2 in "oldest" */
    add("q", "new", NULL);
    add("q", "oldest", NULL);
    tick();
    take_and_end("new", "1");
    take_and_end("oldest", "2");
}

/* ---- deliveries ---- */

T_CASE_ON(message_that_ends_the_process_goes_to_its_dead_queue, MESSAGES)
{
    group_opts.max_deliver = 2;
    group_opts.dead_queue = "dead";
    add("dead", NULL, NULL);
    add("q", NULL, note);
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    for (uint32_t i = 1; i <= 2; i++) {
        copies = true;
        T_AFTER_U64(pass(1), last_attempt, i);
        after_crash();
        add("dead", NULL, NULL);
        add("q", NULL, note);
    }
    T_AFTER_U64(pass(1), ran_count, 2);
    const cellar_task *t = take("dead", "a");
    T_EQ_STR(message_of(t).died_in, "q");
    T_EQ_U64(t->attempt, 1);
    end_with(t, cellar_verdict_ok());
    T_EQ_U64(figures().dead, 0);
}

T_CASE_ON(message_dies_once_also_after_a_crash, MESSAGES)
{
    group_opts.max_deliver = 1;
    group_opts.dead_queue = "q";
    add("q", NULL, NULL);
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    crash(); /* a restored row */
    add_again();
    end_with(take("q", "a"), cellar_verdict_retry());
    tick();
    crash(); /* a dead letter in its dead queue */
    add_again();
    const cellar_task *t = take("q", "a");
    T_EQ_U64(t->attempt, 1);
    T_EQ_STR(message_of(t).died_in, "q");
    end_with(t, cellar_verdict_retry());
    T_FIELDS(figures(), live, 0, dead, 1);
}

T_CASE_ON(dead_letter_outlives_the_life_of_its_message, MESSAGES)
{
    const cellar_bus_publish_opts o = { .struct_size = sizeof o, .expires_ms = 4000 };
    group_opts.dead_queue = "q";
    add("q", NULL, NULL);
    T_EQ_I64(bus_send(p, "q", "a", 1, &o), CELLAR_OK);
    end_with(take("q", "a"), cellar_verdict_retry());
    tick(); /* its row has the end of its life */
    crash();
    add_again();
    end_with(take("q", "a"), cellar_verdict_fail());
    (void)pass(5000);
    crash();
    add_again();
    take_and_end("q", "a");
}

/* Fault: a message past its life at the close was delivered if the wall clock went back. */
T_CASE(life_of_a_message_ends_also_if_the_clock_goes_back)
{
    enum { BEFORE, AFTER, NOT, WAYS }; /* the clock goes back before the close, or after it */
    for (int back = 0; back < WAYS && !without_sqlite(); back++) {
        cellar_bus_publish_opts o = { .struct_size = sizeof o, .expires_ms = 4000 };
        open_empty();
        add_two();
        T_EQ_I64(bus_send(p, "q", "a", 1, &o), CELLAR_OK);
        o.expires_ms = 6000;
        T_EQ_I64(bus_send(p, "q", "b", 1, &o), CELLAR_OK);
        if (back == BEFORE) { wall_ms -= 86400000; }
        if (back == NOT) { close_it(); } /* the life ends while the process is down */
        mono_ms += 5000;
        wall_ms += 5000;
        if (back != NOT) { close_it(); }
        if (back == AFTER) { wall_ms -= 86400000; }
        open_it();
        add_two();
        tick();
        end_with(take("one", "b"), cellar_verdict_ok());
        T_EQ_U64(figures().expired, 2);
        pass(back == AFTER ? 6000 : 1000); /* the rest of its life, if the row is of this clock */
        T_CHECK(take("two", NULL) == NULL);
        T_EQ_U64(figures().expired, 3);
        reopen_with_rows(0, 0);
        end();
    }
}

T_CASE_ON(ordered_group_goes_on_in_order, MESSAGES)
{
    group_opts.ordered = 1;
    add("q", NULL, NULL);
    send_all("q", "12");
    const cellar_task *first = take("q", "1");
    crash_copy();
    end_with(first, cellar_verdict_ok());
    after_crash();
    tick(); /* the rows are due before their group is added */
    add_again();
    first = take("q", "1");
    T_EQ_U64(first->attempt, 2);
    T_CHECK(take("q", NULL) == NULL);
    end_with(first, cellar_verdict_ok());
    take_and_end("q", "2");
}

T_CASE_ON(messages_of_one_moment_return_in_their_order, MESSAGES)
{
    group_opts.ordered = 1;
    add("q", NULL, NULL);
    send_all("q", "xxx");
    for (int i = 0; i < 3; i++) { /* the slot of the last one is used first */
        take_and_end("q", "x");
        tick();
    }
    send_all("q", "abc"); /* in slots that were used */
    crash();
    add_again();
    take_all("q", "abc");
}

T_CASE_ON(row_that_waits_for_a_delivery_has_its_lane_after_a_crash, MESSAGES)
{
    group_opts.ordered = 1;
    add("q", NULL, NULL);
    send_all("q", "12");
    end_with(take("q", "1"), cellar_verdict_retry_after(1000));
    tick();
    crash();
    tick();
    add("q", NULL, NULL);
    T_CHECK(take("q", NULL) == NULL);
    (void)pass(1000);
    take_all("q", "12");
}

/* ---- damage and errors ---- */

T_CASE(damaged_message_is_refused)
{
    static const char *const change[] = {
        "UPDATE body SET bytes=x''", "UPDATE body SET bytes=zeroblob(64)",
        "UPDATE body SET bytes=substr(bytes, 1, length(bytes) - 1)",
        "UPDATE body SET id=-5; UPDATE task SET body=-5", "DROP TABLE body",
        /* of one group: the bytes are in its row */
        "UPDATE task SET payload=x''", "UPDATE task SET payload=zeroblob(64)",
        "UPDATE task SET payload=substr(payload, 1, length(payload) - 1)",
    };
    if (without_sqlite()) { return; }
    for (size_t i = 0; i < sizeof change / sizeof *change; i++) {
        open_empty();
        add("q", NULL, NULL);
        if (i < 5) { add("q", "other", NULL); }
        T_EQ_I64(send("q", "a"), CELLAR_OK);
        close_it();
        sql(change[i]);
        const cellar_err err = cellar_pool_open(&config, &p);
        if (!T_EQ_I64(err, CELLAR_E_CORRUPT)) { printf("# change %zu\n", i); }
        end();
    }
    open_empty(); /* what the last changes of a process may leave is cleaned up */
    add("q", NULL, NULL);
    add("q", "other", NULL);
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    close_it();
    sql("DELETE FROM body; INSERT INTO body VALUES(9, x'00')");
    open_it();
    T_EQ_U64(figures().restored, 0);
    reopen_with_rows(0, 0);
    end();
}

T_CASE_ON(errors_of_the_disk_refuse_a_publish_and_repeat_an_end, MESSAGES)
{
    group_opts.max_messages = 2;
    add("q", NULL, NULL);
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    const cellar_task *t = take("q", "a");
    limit_files(4096);
    for (int i = 0; i < 3; i++) { T_CHECK(is_disk_error(send("q", "b"))); } /* keeps no room */
    end_with(t, cellar_verdict_ok());
    tick();
    T_CHECK(figures().journal_errors >= 3);
    limit_files(0);
    T_AFTER_U64(pass(1000), figures().journal_pending, 0); /* tries again */
    T_EQ_U64(figures().live, 0);
    T_EQ_I64(send("q", "c"), CELLAR_OK);
    reopen_with_rows(0, 1);
    add_again();
    take_and_end("q", "c");
}

T_CASE_ON(each_allocation_of_messages_may_fail, MESSAGES)
{
    cellar_err err;
    unsigned failed = 0;
    add_two();
    EACH_ALLOCATION_FAILS(err, send("q", "a")) {
        T_AFTER_U64(tick(), figures().live, 0);
        failed++;
    }
    T_CHECK(failed >= 3);
    close_it();
    for (uint64_t nth = 1;; nth++) {
        (void)base_fault_alloc_arm(nth, false);
        err = cellar_pool_open(&config, &p);
        const uint64_t calls = base_fault_alloc_arm(0, false);
        if (err == CELLAR_OK) {
            T_EQ_U64(figures().restored, 2);
            if (calls < nth) { break; }
            close_it();
        } else {
            T_EQ_I64(err, CELLAR_E_NOMEM); /* no damage */
        }
    }
    add_two();
    tick();
    take_and_end("one", "a");
    take_and_end("two", "a");
}

T_MAIN("work_message_journal")
