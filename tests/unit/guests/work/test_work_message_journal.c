/* SPDX-License-Identifier: MIT
 *
 * Aim:    with a journal a message is one body and a row for each group. Each row that has not
 *         ended is delivered after a crash; a body leaves with its last row.
 * Method: as journal_kit.h: a crash is a copy of the files, opened by the next pool. */
#include <pthread.h>
#include <signal.h>

#include "base/fault.h"
#include "cellar_bus.h"
#include "tests/support/bus_send.h"
#include "tests/support/held_kit.h"
#include "tests/support/journal_kit.h"

static cellar_bus_group_config group_opts;

static void groups(void)
{
    T_EQ_I64(cellar_bus_group_add(p, "q", "one", note, NULL, &group_opts), CELLAR_OK);
    T_EQ_I64(cellar_bus_group_add(p, "q", "two", NULL, NULL, &group_opts), CELLAR_OK);
    T_EQ_I64(cellar_bus_route(p, "#", "q", CELLAR_BUS_AMQP, true), CELLAR_OK);
}

static void open_groups(void)
{
    group_opts = cellar_bus_group_config_default();
    start();
    groups();
}

#define MESSAGES(fn) JOURNAL_FROM(fn, open_groups())

T_CASE_ON(rows_of_a_message_return_until_they_end, MESSAGES)
{
    const cellar_bus_header h[] = { { "h", "v" } };
    cellar_bus_publish_opts o = { .struct_size = sizeof o, .headers = h, .header_count = 1 };
    cellar_bus_message m = cellar_bus_message_default();
    const cellar_task *t[2];
    uint32_t n;
    T_EQ_I64(cellar_bus_publish(p, "k", "a", 1, &o), CELLAR_OK);
    T_EQ_I64(cellar_bus_publish(p, "k", "b", 1, NULL), CELLAR_OK);
    crash();
    T_EQ_U64(figures().restored, 4);
    T_EQ_U64(figures().unregistered, 4);
    groups();
    tick();
    T_EQ_STR(ran, "ab");
    crash(); /* the rows of "two" are left */
    T_EQ_U64(figures().restored, 2);
    groups();
    tick();
    T_EQ_STR(ran, "ab");
    T_EQ_I64(cellar_task_take(p, "two", 1000, 0, t, 2, &n), CELLAR_OK);
    T_REQUIRE(n == 2);
    T_EQ_I64(cellar_bus_message_of(t[0], &m), CELLAR_OK);
    T_EQ_STR(m.key, "k");
    T_EQ_U64(m.header_count, 1);
    T_EQ_STR(m.headers[0].value, "v");
    T_EQ_I64(cellar_task_settle(t[0], cellar_verdict_ok()), CELLAR_OK);
    T_EQ_I64(cellar_task_settle(t[1], cellar_verdict_ok()), CELLAR_OK);
    tick();
    crash();
    T_EQ_U64(figures().restored, 0);
}

T_CASE_ON(dead_letter_keeps_its_place_over_a_crash, MESSAGES)
{
    const cellar_task *t;
    cellar_bus_message m = cellar_bus_message_default();
    uint32_t n;
    group_opts.dead_queue = "dead";
    group_opts.max_deliver = 1;
    T_EQ_I64(cellar_bus_group_add(p, "dead", NULL, NULL, NULL, NULL), CELLAR_OK);
    T_EQ_I64(cellar_bus_group_add(p, "d", NULL, note, NULL, &group_opts), CELLAR_OK);
    answer = cellar_verdict_fail();
    cellar_bus_publish_opts o = { .struct_size = sizeof o, .direct = 1 };
    T_EQ_I64(cellar_bus_publish(p, "d", "x", 1, &o), CELLAR_OK);
    tick();
    crash();
    T_EQ_U64(figures().restored, 1);
    T_EQ_I64(cellar_bus_group_add(p, "dead", NULL, NULL, NULL, NULL), CELLAR_OK);
    tick();
    T_EQ_I64(cellar_task_take(p, "dead", 1000, 0, &t, 1, &n), CELLAR_OK);
    T_REQUIRE(n == 1);
    T_EQ_I64(cellar_bus_message_of(t, &m), CELLAR_OK);
    T_EQ_STR(m.died_in, "d");
    T_EQ_I64(cellar_task_settle(t, cellar_verdict_ok()), CELLAR_OK);
}

/* ---- bodies and rows ---- */

#ifdef CELLAR_WITH_SQLITE
static int number_of(void *out, int n, char **text, char **name)
{
    (void)n, (void)name;
    *(int64_t *)out = strtoll(text[0], NULL, 10);
    return 0;
}

/* Return bodies * 1000 + rows in the file of a closed pool. */
static int64_t rows(void)
{
    sqlite3 *db;
    int64_t n = -1;
    T_REQUIRE(sqlite3_open(path, &db) == SQLITE_OK);
    T_EQ_I64(sqlite3_exec(db, "SELECT (SELECT count(*) FROM body) * 1000 +"
                          " (SELECT count(*) FROM task)", number_of, &n, NULL), SQLITE_OK);
    T_EQ_I64(sqlite3_close(db), SQLITE_OK);
    return n;
}
#else
static int64_t rows(void) { return -1; }
#endif

static void add(const char *queue, const char *group, cellar_task_fn fn)
{
    T_REQUIRE(cellar_bus_group_add(p, queue, group, fn, NULL, &group_opts) == CELLAR_OK);
}

static cellar_err send(const char *queue, const char *body)
{
    return bus_send(p, queue, body, 1, NULL);
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

static void take_and_end(const char *group, const char *body)
{
    const cellar_task *t = take(group, body);
    T_REQUIRE(t != NULL);
    T_EQ_I64(cellar_task_settle(t, cellar_verdict_ok()), CELLAR_OK);
}

static void open_empty(void)
{
    group_opts = cellar_bus_group_config_default();
    start();
}

T_CASE(body_leaves_with_its_last_row)
{
    if (without_sqlite()) { return; }
    open_empty();
    add("q", "one", NULL);
    add("q", "two", NULL);
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    T_EQ_I64(send("q", "b"), CELLAR_OK);
    take_and_end("one", "a");
    close_it();
    T_EQ_I64(rows(), 2003);
    open_it();
    add("q", "one", NULL);
    add("q", "two", NULL);
    tick();
    take_and_end("one", "b");
    T_CHECK(take("one", NULL) == NULL);
    take_and_end("two", "a");
    close_it();
    T_EQ_I64(rows(), 1001);
    open_it();
    add("q", "two", NULL);
    tick();
    take_and_end("two", "b");
    close_it();
    T_EQ_I64(rows(), 0);
    open_it();
    end();
}

T_CASE(ids_rise_also_when_the_file_held_no_message)
{
    cellar_bus_message m = cellar_bus_message_default();
    uint64_t last = 0;
    if (without_sqlite()) { return; }
    open_empty();
    for (uint32_t i = 0; i < 3; i++) {
        add("q", NULL, NULL);
        T_EQ_I64(send("q", "a"), CELLAR_OK);
        const cellar_task *t = take("q", "a");
        T_REQUIRE(t != NULL);
        T_EQ_I64(cellar_bus_message_of(t, &m), CELLAR_OK);
        T_CHECK(m.id > last);
        last = m.id;
        T_EQ_I64(cellar_task_settle(t, cellar_verdict_ok()), CELLAR_OK);
        pass(1);
        close_it();
        T_EQ_I64(rows(), 0);
        open_it();
    }
    end();
}

static bool refuses(const cellar_bus_message *m, void *ctx)
{
    (void)m, (void)ctx;
    return false;
}

T_CASE(ends_without_a_delivery_delete_rows)
{
    if (without_sqlite()) { return; }
    open_empty();
    group_opts.filter_fn = refuses;
    add("q", "filter", NULL);
    group_opts.filter_fn = NULL;
    group_opts.max_messages = 1;
    group_opts.on_full = CELLAR_BUS_FULL_DROP_NEW;
    add("q", "new", NULL);
    group_opts.on_full = CELLAR_BUS_FULL_DROP_OLDEST;
    add("q", "oldest", NULL);
    add("q", "removed", NULL);
    T_EQ_I64(send("q", "1"), CELLAR_OK);
    T_EQ_I64(send("q", "2"), CELLAR_OK);
    T_CHECK(take("filter", NULL) == NULL);
    T_EQ_I64(cellar_bus_group_remove(p, "removed"), CELLAR_OK);
    tick();
    close_it();
    T_EQ_I64(rows(), 2002); /* 1 in "new", 2 in "oldest" */
    open_it();
    add("q", "new", NULL);
    add("q", "oldest", NULL);
    tick();
    take_and_end("new", "1");
    take_and_end("oldest", "2");
    end();
}

T_CASE(group_that_is_not_added_keeps_its_messages)
{
    if (without_sqlite()) { return; }
    open_empty();
    add("q", "one", NULL);
    add("q", "two", NULL);
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    close_it();
    open_it();
    add("q", "one", NULL);
    T_EQ_I64(cellar_bus_group_remove(p, "one"), CELLAR_OK);
    close_it();
    T_EQ_I64(rows(), 1001);
    open_it();
    T_EQ_U64(figures().unregistered, 1);
    add("q", "two", NULL);
    tick();
    T_EQ_U64(figures().live, 1);
    T_EQ_I64(send("q", "b"), CELLAR_OK); /* ids go on */
    take_and_end("two", "a");
    take_and_end("two", "b");
    end();
}

static cellar_verdict is_no_message(const cellar_task *t, void *ctx)
{
    cellar_bus_message m = cellar_bus_message_default();
    T_EQ_I64(cellar_bus_message_of(t, &m), CELLAR_E_INVAL);
    return note(t, ctx);
}

T_CASE(name_of_tasks_gets_the_bodies_of_its_messages)
{
    if (without_sqlite()) { return; }
    open_empty();
    add("q", NULL, NULL);
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    crash();
    T_EQ_I64(cellar_task_register(p, "q", is_no_message, NULL, NULL), CELLAR_OK);
    tick();
    T_EQ_STR(ran, "a");
    end();
}

/* ---- deliveries ---- */

T_CASE(message_that_ends_the_process_goes_to_its_dead_queue)
{
    cellar_bus_message m = cellar_bus_message_default();
    if (without_sqlite()) { return; }
    open_empty();
    group_opts.max_deliver = 2;
    group_opts.dead_queue = "dead";
    add("dead", NULL, NULL);
    add("q", NULL, note);
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    for (uint32_t i = 1; i <= 2; i++) {
        copies = true;
        pass(1);
        T_EQ_U64(last_attempt, i);
        after_crash();
        add("dead", NULL, NULL);
        add("q", NULL, note);
    }
    pass(1);
    T_EQ_U64(ran_count, 2);
    const cellar_task *t = take("dead", "a");
    T_REQUIRE(t != NULL);
    T_EQ_I64(cellar_bus_message_of(t, &m), CELLAR_OK);
    T_EQ_STR(m.died_in, "q");
    T_EQ_U64(t->attempt, 1);
    T_EQ_I64(cellar_task_settle(t, cellar_verdict_ok()), CELLAR_OK);
    T_EQ_U64(figures().dead, 0);
    end();
}

T_CASE(message_dies_once_also_after_a_crash)
{
    cellar_bus_message m = cellar_bus_message_default();
    if (without_sqlite()) { return; }
    open_empty();
    group_opts.max_deliver = 1;
    group_opts.dead_queue = "q";
    add("q", NULL, NULL);
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    crash(); /* a restored row */
    add("q", NULL, NULL);
    tick();
    const cellar_task *t = take("q", "a");
    T_REQUIRE(t != NULL);
    T_EQ_I64(cellar_task_settle(t, cellar_verdict_retry()), CELLAR_OK);
    tick();
    crash(); /* a dead letter in its dead queue */
    add("q", NULL, NULL);
    tick();
    t = take("q", "a");
    T_REQUIRE(t != NULL);
    T_EQ_U64(t->attempt, 1);
    T_EQ_I64(cellar_bus_message_of(t, &m), CELLAR_OK);
    T_EQ_STR(m.died_in, "q");
    T_EQ_I64(cellar_task_settle(t, cellar_verdict_retry()), CELLAR_OK);
    T_EQ_U64(figures().live, 0);
    T_EQ_U64(figures().dead, 1);
    end();
}

T_CASE(expiry_of_a_message_goes_on_while_the_process_is_down)
{
    cellar_bus_publish_opts o = { .struct_size = sizeof o, .expires_ms = 4000 };
    if (without_sqlite()) { return; }
    open_empty();
    add("q", NULL, NULL);
    T_EQ_I64(bus_send(p, "q", "a", 1, &o), CELLAR_OK);
    o.expires_ms = 6000;
    T_EQ_I64(bus_send(p, "q", "b", 1, &o), CELLAR_OK);
    close_it();
    mono_ms += 5000;
    wall_ms += 5000;
    open_it();
    add("q", NULL, NULL);
    tick();
    const cellar_task *t = take("q", "b");
    T_EQ_U64(figures().expired, 1);
    T_REQUIRE(t != NULL);
    T_EQ_I64(cellar_task_settle(t, cellar_verdict_retry()), CELLAR_OK);
    pass(1000);
    T_CHECK(take("q", NULL) == NULL);
    T_EQ_U64(figures().expired, 2);
    close_it();
    T_EQ_I64(rows(), 0);
    open_it();
    end();
}

T_CASE(ordered_group_goes_on_in_order)
{
    if (without_sqlite()) { return; }
    open_empty();
    group_opts.ordered = 1;
    add("q", NULL, NULL);
    T_EQ_I64(send("q", "1"), CELLAR_OK);
    T_EQ_I64(send("q", "2"), CELLAR_OK);
    const cellar_task *first = take("q", "1");
    T_REQUIRE(first != NULL);
    crash_copy();
    T_EQ_I64(cellar_task_settle(first, cellar_verdict_ok()), CELLAR_OK);
    after_crash();
    tick(); /* the rows are due before their group is added */
    add("q", NULL, NULL);
    tick();
    first = take("q", "1");
    T_REQUIRE(first != NULL);
    T_EQ_U64(first->attempt, 2);
    T_CHECK(take("q", NULL) == NULL);
    T_EQ_I64(cellar_task_settle(first, cellar_verdict_ok()), CELLAR_OK);
    take_and_end("q", "2");
    end();
}

T_CASE(messages_of_one_moment_return_in_their_order)
{
    if (without_sqlite()) { return; }
    open_empty();
    group_opts.ordered = 1;
    add("q", NULL, NULL);
    for (int i = 0; i < 3; i++) { T_EQ_I64(send("q", "x"), CELLAR_OK); }
    for (int i = 0; i < 3; i++) { /* the slot of the last one is used first */
        take_and_end("q", "x");
        tick();
    }
    for (const char *body = "abc"; *body != '\0'; body++) { /* in slots that were used */
        T_EQ_I64(send("q", body), CELLAR_OK);
    }
    crash();
    add("q", NULL, NULL);
    tick();
    for (const char *body = "abc"; *body != '\0'; body++) { take_and_end("q", body); }
    end();
}

T_CASE(row_that_waits_for_a_delivery_has_its_lane_after_a_crash)
{
    if (without_sqlite()) { return; }
    open_empty();
    group_opts.ordered = 1;
    add("q", NULL, NULL);
    T_EQ_I64(send("q", "1"), CELLAR_OK);
    T_EQ_I64(send("q", "2"), CELLAR_OK);
    const cellar_task *first = take("q", "1");
    T_REQUIRE(first != NULL);
    T_EQ_I64(cellar_task_settle(first, cellar_verdict_retry_after(1000)), CELLAR_OK);
    tick();
    crash();
    tick();
    add("q", NULL, NULL);
    T_CHECK(take("q", NULL) == NULL);
    (void)pass(1000);
    take_and_end("q", "1");
    take_and_end("q", "2");
    end();
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
    close_it();
    T_EQ_I64(rows(), 0);
    open_it();
    end();
}

T_CASE(errors_of_the_disk_refuse_a_publish_and_repeat_an_end)
{
    if (without_sqlite()) { return; }
    open_empty();
    group_opts.max_messages = 2;
    add("q", NULL, NULL);
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    const cellar_task *t = take("q", "a");
    T_REQUIRE(t != NULL);
    (void)signal(SIGXFSZ, SIG_IGN);
    limit_files(4096);
    for (int i = 0; i < 3; i++) { T_CHECK(is_disk_error(send("q", "b"))); } /* keeps no room */
    T_EQ_I64(cellar_task_settle(t, cellar_verdict_ok()), CELLAR_OK);
    tick();
    T_CHECK(figures().journal_errors >= 3);
    limit_files(0);
    pass(1000); /* tries again */
    T_EQ_U64(figures().journal_pending, 0);
    T_EQ_U64(figures().live, 0);
    T_EQ_I64(send("q", "c"), CELLAR_OK);
    close_it();
    T_EQ_I64(rows(), 1);
    open_it();
    add("q", NULL, NULL);
    tick();
    take_and_end("q", "c");
    end();
}

T_CASE(each_allocation_of_messages_may_fail)
{
    if (without_sqlite()) { return; }
    open_empty();
    add("q", "one", NULL);
    add("q", "two", NULL);
    for (uint64_t nth = 1;; nth++) {
        (void)base_fault_alloc_arm(nth, false);
        const cellar_err err = send("q", "a");
        const uint64_t calls = base_fault_alloc_arm(0, false);
        if (err == CELLAR_OK && calls < nth) { break; }
        T_CHECK(err == CELLAR_OK || err == CELLAR_E_NOMEM);
        if (err == CELLAR_OK) {
            take_and_end("one", "a");
            take_and_end("two", "a");
        }
        tick();
        T_EQ_U64(figures().live, 0);
    }
    close_it();
    for (uint64_t nth = 1;; nth++) {
        (void)base_fault_alloc_arm(nth, false);
        const cellar_err err = cellar_pool_open(&config, &p);
        const uint64_t calls = base_fault_alloc_arm(0, false);
        if (err == CELLAR_OK) {
            T_EQ_U64(figures().restored, 2);
            if (calls < nth) { break; }
            close_it();
        } else {
            T_EQ_I64(err, CELLAR_E_NOMEM); /* no damage */
        }
    }
    add("q", "one", NULL);
    add("q", "two", NULL);
    tick();
    take_and_end("one", "a");
    take_and_end("two", "a");
    end();
}

/* ---- threads ---- */

#define SENDERS 3
#define EACH 60

static _Atomic uint32_t handled, refused;

static cellar_verdict handles(const cellar_task *t, void *ctx)
{
    cellar_bus_message m = cellar_bus_message_default();
    (void)ctx;
    T_EQ_I64(cellar_bus_message_of(t, &m), CELLAR_OK);
    if (m.id % 16 == 0 && t->attempt == 1) { return cellar_verdict_retry(); }
    (void)atomic_fetch_add(&handled, 1);
    return cellar_verdict_ok();
}

static void *sender(void *ctx)
{
    for (int i = 0; i < EACH; i++) {
        if (send("q", "x") != CELLAR_OK) { (void)atomic_fetch_add(&refused, 1); }
    }
    return ctx;
}

T_CASE(publishers_share_commits)
{
    pthread_t thread[SENDERS];
    if (without_sqlite()) { return; }
    group_opts = cellar_bus_group_config_default();
    handled = refused = 0;
    clear();
    begin();
    host.no_threads = 0;
    host.clock = NULL;
    config.wall_clock = NULL;
    config.close_timeout_ms = config.grace_ms = 0;
    open_it();
    add("q", "one", handles);
    add("q", "two", handles);
    start_threads(thread, SENDERS, sender, NULL);
    join_threads(thread, SENDERS);
    T_EQ_I64(cellar_pool_drain(p, CELLAR_DRAIN_ALL, 60000, NULL), CELLAR_OK);
    T_EQ_U64(handled, 2 * SENDERS * EACH);
    T_EQ_U64(refused, 0);
    close_it();
    T_EQ_I64(rows(), 0);
    t_wipe(folder);
}

T_MAIN("work_message_journal")
