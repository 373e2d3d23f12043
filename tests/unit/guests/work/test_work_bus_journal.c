/* SPDX-License-Identifier: MIT
 *
 * Aim:    a message that a publish accepted is delivered at least once to each group, also after
 *         kill -9, and never after its acknowledgement returned OK. Deliveries are counted over
 *         restarts: a message that ends the process becomes a dead letter. Errors of the disk
 *         refuse a publish and lose nothing.
 * Method: both clocks are variables; the test calls cellar_tick. The end of the process is
 *         SIGKILL of a child, or a close with messages in the groups. */
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/fault.h"
#include "cellar_bus.h"
#include "cellar_task.h"
#include "tests/support/bus_send.h"
#include "tests/support/folder.h"
#include "tests/support/t.h"
#include "tests/support/two_clocks.h"

#ifdef CELLAR_WITH_SQLITE
#include <sqlite3.h>

static cellar_pool *p;
static cellar_bus *b;
static char folder[T_FOLDER_MAX], path[T_FOLDER_MAX + 8];

static cellar_err open_pool(const char *journal, uint32_t no_threads)
{
    cellar_host_config h = { .struct_size = sizeof h, .clock = read_mono, .no_threads = no_threads,
                             .log = hear_nothing };
    cellar_pool_config c = { .struct_size = sizeof c, .host = &h, .wall_clock = read_wall,
                             .journal_path = journal };
    c.close_timeout_ms = c.grace_ms = 1;
    return cellar_pool_open(&c, &p);
}

static cellar_err open_bus(cellar_bus **out, uint32_t no_threads)
{
    cellar_host_config h = { .struct_size = sizeof h, .clock = read_mono, .no_threads = no_threads,
                             .log = hear_nothing };
    cellar_bus_config c = { .struct_size = sizeof c, .host = &h, .pool = p };
    return cellar_bus_open(&c, out);
}

static cellar_bus_group_config group_opts;

static cellar_err add(const char *queue, const char *group)
{
    return cellar_bus_group_add(b, queue, group, &group_opts);
}

static void open_both(void)
{
    T_REQUIRE(open_pool(path, 1) == CELLAR_OK);
    T_REQUIRE(open_bus(&b, 1) == CELLAR_OK);
}

static cellar_bus_stats figures(void)
{
    cellar_bus_stats st = cellar_bus_stats_default();
    T_EQ_I64(cellar_bus_stats_get(b, &st), CELLAR_OK);
    T_EQ_U64(st.copies, st.acked + st.dropped_new + st.dropped_oldest + st.dropped_removed +
                            st.dead + st.expired + st.filtered + st.live);
    return st;
}

static void close_both(void)
{
    (void)figures();
    T_EQ_I64(cellar_bus_close(b), CELLAR_OK);
    T_EQ_I64(cellar_pool_close(p), CELLAR_OK);
}

static void start(void)
{
    mono_ms = 1000000;
    wall_ms = INT64_C(1700000000000);
    group_opts = cellar_bus_group_config_default();
    t_folder(folder);
    snprintf(path, sizeof path, "%s/tasks", folder);
    open_both();
}

static void end(void)
{
    close_both();
    t_wipe(folder);
}

static void restart(void)
{
    close_both();
    mono_ms += 5000;
    wall_ms += 5000;
    open_both();
}

static void tick(void)
{
    while (cellar_tick(b, 1000, NULL) == CELLAR_PENDING) { }
}

static cellar_err send_one(const char *text)
{
    return bus_send(b, "q", text, strlen(text), NULL);
}

static void sends(const char *text) { T_EQ_I64(send_one(text), CELLAR_OK); }

static cellar_bus_member *join(const char *queue, const char *group)
{
    cellar_bus_member *m;
    T_REQUIRE(cellar_bus_join(b, queue, group, NULL, &m) == CELLAR_OK);
    return m;
}

/* Take one message and compare its body; NULL: there is none. */
static uint64_t takes(cellar_bus_member *m, const char *text, uint32_t attempt)
{
    cellar_bus_message got = cellar_bus_message_default();
    const cellar_err err = cellar_bus_take(m, 0, &got);
    T_EQ_I64(err, text != NULL ? CELLAR_OK : CELLAR_MISS);
    if (err != CELLAR_OK || text == NULL) { return 0; }
    T_EQ_U64(got.body_len, strlen(text));
    T_CHECK(memcmp(got.body, text, got.body_len) == 0);
    T_EQ_U64(got.attempt, attempt);
    return got.delivery;
}

static int number_of(void *out, int n, char **text, char **name)
{
    (void)n, (void)name;
    *(int64_t *)out = strtoll(text[0], NULL, 10);
    return 0;
}

/* Run SQL on the closed journal, and return its last number. */
static int64_t sql(const char *text)
{
    sqlite3 *db;
    int64_t n = -1;
    T_REQUIRE(sqlite3_open(path, &db) == SQLITE_OK);
    T_EQ_I64(sqlite3_exec(db, text, number_of, &n, NULL), SQLITE_OK);
    T_EQ_I64(sqlite3_close(db), SQLITE_OK);
    return n;
}

#define ROWS "SELECT (SELECT count(*) FROM message) * 1000 + (SELECT count(*) FROM copy)"

/* Close, count messages * 1000 + copies in the file, and open again. */
static int64_t rows(void)
{
    close_both();
    const int64_t n = sql(ROWS);
    open_both();
    return n;
}

/* ---- what survives ---- */

static bool same(const char *a, const char *c) { return strcmp(a, c) == 0; }

T_CASE(published_messages_survive_a_kill)
{
    start();
    close_both();
    const pid_t child = fork();
    if (child == 0) {
        const cellar_bus_header headers[] = { { "kind", "mail" }, { "empty", "" } };
        open_both();
        (void)add("q", NULL);
        (void)cellar_bus_route(b, "user.#", "q", CELLAR_BUS_AMQP, true);
        cellar_bus_publish_opts o = { .struct_size = sizeof o, .headers = headers,
                                      .header_count = 2, .priority = 7, .trace[5] = 9 };
        if (cellar_bus_publish(b, "user.7", "one", 3, &o) == CELLAR_OK &&
            send_one("") == CELLAR_OK) {
            (void)kill(getpid(), SIGKILL);
        }
        _exit(1);
    }
    int status = 0;
    T_EQ_I64(waitpid(child, &status, 0), child);
    T_CHECK(WIFSIGNALED(status));
    mono_ms = 77; /* another boot */
    wall_ms += 30;
    open_both();
    T_EQ_I64(add("q", NULL), CELLAR_OK);
    T_EQ_U64(figures().restored, 2);
    cellar_bus_member *m = join("q", NULL);
    cellar_bus_message got = cellar_bus_message_default();
    T_EQ_I64(cellar_bus_take(m, 0, &got), CELLAR_OK);
    T_EQ_STR(got.key, "user.7");
    T_CHECK(got.body_len == 3 && memcmp(got.body, "one", 3) == 0);
    T_EQ_U64(got.header_count, 2);
    T_CHECK(same(got.headers[0].name, "kind") && same(got.headers[0].value, "mail"));
    T_CHECK(same(got.headers[1].name, "empty") && same(got.headers[1].value, ""));
    T_EQ_U64(got.priority, 7);
    T_EQ_U64(got.trace[5], 9);
    T_EQ_I64(got.published_ms, 77 - 30);
    T_EQ_U64(got.id, 1);
    T_EQ_I64(cellar_bus_settle(m, got.delivery, CELLAR_BUS_ACK, 0), CELLAR_OK);
    T_EQ_I64(cellar_bus_settle(m, takes(m, "", 1), CELLAR_BUS_ACK, 0), CELLAR_OK);
    sends("three");
    T_EQ_I64(cellar_bus_take(m, 0, &got), CELLAR_OK);
    T_EQ_U64(got.id, 3); /* ids go on */
    T_EQ_I64(cellar_bus_settle(m, got.delivery, CELLAR_BUS_ACK, 0), CELLAR_OK);
    T_EQ_I64(rows(), 0);
    end();
}

T_CASE(each_group_has_its_own_acknowledgement)
{
    start();
    T_EQ_I64(add("q", "a"), CELLAR_OK);
    T_EQ_I64(add("q", "c"), CELLAR_OK);
    sends("1");
    sends("2");
    cellar_bus_member *m = join("q", "a");
    T_EQ_I64(cellar_bus_settle(m, takes(m, "1", 1), CELLAR_BUS_ACK, 0), CELLAR_OK);
    T_EQ_I64(rows(), 2003);
    T_EQ_I64(add("q", "a"), CELLAR_OK);
    T_EQ_I64(add("q", "c"), CELLAR_OK);
    T_EQ_U64(figures().restored, 3);
    m = join("q", "a");
    T_EQ_I64(cellar_bus_settle(m, takes(m, "2", 1), CELLAR_BUS_ACK, 0), CELLAR_OK);
    (void)takes(m, NULL, 0);
    m = join("q", "c");
    T_EQ_I64(cellar_bus_settle(m, takes(m, "1", 1), CELLAR_BUS_ACK, 0), CELLAR_OK);
    T_EQ_I64(cellar_bus_settle(m, takes(m, "2", 1), CELLAR_BUS_ACK, 0), CELLAR_OK);
    T_EQ_I64(rows(), 0);
    end();
}

T_CASE(deliveries_are_counted_over_restarts)
{
    start();
    T_EQ_I64(add("q", NULL), CELLAR_OK);
    sends("x");
    cellar_bus_member *m = join("q", NULL);
    /* its delay ends here */
    T_EQ_I64(cellar_bus_settle(m, takes(m, "x", 1), CELLAR_BUS_RETRY, 60000), CELLAR_OK);
    restart();
    T_EQ_I64(add("q", NULL), CELLAR_OK);
    m = join("q", NULL);
    (void)takes(m, "x", 2);
    T_EQ_I64(cellar_bus_leave(m), CELLAR_OK); /* this delivery does not count */
    restart();
    T_EQ_I64(add("q", NULL), CELLAR_OK);
    m = join("q", NULL);
    (void)takes(m, "x", 2);
    restart(); /* this one does: the process ended with the message in hand */
    T_EQ_I64(add("q", NULL), CELLAR_OK);
    T_EQ_I64(cellar_bus_settle(join("q", NULL), 1, CELLAR_BUS_ACK, 0), CELLAR_E_NOT_FOUND);
    m = join("q", NULL);
    (void)takes(m, "x", 3);
    end();
}

static cellar_bus_verdict kills(const cellar_bus_message *m, void *ctx)
{
    (void)m, (void)ctx;
    (void)kill(getpid(), SIGKILL);
    return CELLAR_BUS_ACK;
}

T_CASE(a_message_that_kills_the_process_becomes_a_dead_letter)
{
    int lives = 0, status;
    start();
    group_opts.dead_queue = "dead";
    group_opts.max_deliver = 2;
    T_EQ_I64(add("dead", NULL), CELLAR_OK);
    T_EQ_I64(add("q", NULL), CELLAR_OK);
    sends("poison");
    close_both();
    do { /* a member with a function, until it gets no message */
        const pid_t child = fork();
        if (child == 0) {
            cellar_bus_member_config o = { .struct_size = sizeof o, .fn = kills };
            open_both();
            (void)add("q", NULL);
            (void)add("dead", NULL);
            (void)cellar_bus_join(b, "q", NULL, &o, NULL);
            tick();
            close_both();
            _exit(0);
        }
        T_EQ_I64(waitpid(child, &status, 0), child);
        lives++;
    } while (WIFSIGNALED(status) && lives < 10);
    T_EQ_I64(lives, 3);
    open_both();
    T_EQ_I64(add("q", NULL), CELLAR_OK);
    T_EQ_I64(add("dead", NULL), CELLAR_OK);
    cellar_bus_member *m = join("q", NULL);
    (void)takes(m, NULL, 0);
    m = join("dead", NULL);
    cellar_bus_message got = cellar_bus_message_default();
    T_EQ_I64(cellar_bus_take(m, 0, &got), CELLAR_OK);
    T_EQ_I64(got.dead, CELLAR_BUS_DEAD_DELIVERIES);
    T_EQ_STR(got.dead_queue, "q");
    T_EQ_U64(got.attempt, 1);
    T_EQ_I64(cellar_bus_settle(m, got.delivery, CELLAR_BUS_ACK, 0), CELLAR_OK);
    T_EQ_I64(rows(), 0);
    end();
}

T_CASE(dead_letters_of_two_groups_are_two_rows)
{
    start();
    group_opts.dead_queue = "dead";
    T_EQ_I64(add("dead", NULL), CELLAR_OK);
    T_EQ_I64(add("q", "a"), CELLAR_OK);
    T_EQ_I64(add("q", "c"), CELLAR_OK);
    sends("x");
    cellar_bus_member *m = join("q", "a");
    T_EQ_I64(cellar_bus_settle(m, takes(m, "x", 1), CELLAR_BUS_REJECT, 0), CELLAR_OK);
    m = join("q", "c");
    T_EQ_I64(cellar_bus_settle(m, takes(m, "x", 1), CELLAR_BUS_REJECT, 0), CELLAR_OK);
    T_EQ_I64(rows(), 1002);
    T_EQ_I64(add("dead", NULL), CELLAR_OK);
    m = join("dead", NULL);
    T_EQ_I64(cellar_bus_settle(m, takes(m, "x", 1), CELLAR_BUS_ACK, 0), CELLAR_OK);
    /* its second death ends it */
    T_EQ_I64(cellar_bus_settle(m, takes(m, "x", 1), CELLAR_BUS_REJECT, 0), CELLAR_OK);
    T_EQ_I64(rows(), 0);
    end();
}

T_CASE(expiry_goes_on_while_the_process_is_down)
{
    start();
    T_EQ_I64(add("q", NULL), CELLAR_OK);
    cellar_bus_publish_opts o = { .struct_size = sizeof o, .expires_ms = 4000 };
    T_EQ_I64(bus_send(b, "q", "a", 1, &o), CELLAR_OK);
    o.expires_ms = 6000;
    T_EQ_I64(bus_send(b, "q", "b", 1, &o), CELLAR_OK);
    restart(); /* 5 s */
    T_EQ_I64(add("q", NULL), CELLAR_OK);
    tick();
    T_EQ_U64(figures().expired, 1);
    mono_ms += 1000;
    tick();
    T_EQ_U64(figures().expired, 2);
    T_EQ_I64(rows(), 0);
    end();
}

static bool refuses(const cellar_bus_message *m, void *ctx)
{
    (void)m, (void)ctx;
    return false;
}

T_CASE(ends_without_an_acknowledgement_delete_rows)
{
    start();
    group_opts.filter_fn = refuses;
    T_EQ_I64(add("q", "filter"), CELLAR_OK);
    group_opts.filter_fn = NULL;
    group_opts.max_messages = 1;
    group_opts.on_full = CELLAR_BUS_FULL_DROP_NEW;
    T_EQ_I64(add("q", "new"), CELLAR_OK);
    group_opts.on_full = CELLAR_BUS_FULL_DROP_OLDEST;
    T_EQ_I64(add("q", "oldest"), CELLAR_OK);
    T_EQ_I64(add("q", "removed"), CELLAR_OK);
    sends("1");
    sends("2");
    cellar_bus_member *m = join("q", "filter");
    (void)takes(m, NULL, 0);
    T_EQ_I64(cellar_bus_group_remove(b, "q", "removed"), CELLAR_OK);
    tick();
    T_EQ_I64(rows(), 2002); /* 1 in "new", 2 in "oldest" */
    group_opts = cellar_bus_group_config_default();
    T_EQ_I64(add("q", "removed"), CELLAR_OK);
    T_EQ_U64(figures().restored, 0);
    T_EQ_I64(add("q", "new"), CELLAR_OK);
    T_EQ_I64(add("q", "oldest"), CELLAR_OK);
    (void)takes(join("q", "new"), "1", 1);
    (void)takes(join("q", "oldest"), "2", 1);
    end();
}

T_CASE(groups_that_are_not_added_keep_their_messages)
{
    start();
    T_EQ_I64(add("q", "a"), CELLAR_OK);
    T_EQ_I64(add("q", "c"), CELLAR_OK);
    sends("x");
    restart();
    T_EQ_I64(add("q", "a"), CELLAR_OK);
    T_EQ_I64(cellar_bus_group_remove(b, "q", "a"), CELLAR_OK);
    T_EQ_I64(rows(), 1001);
    T_EQ_I64(add("q", "c"), CELLAR_OK);
    T_EQ_I64(add("q", "c"), CELLAR_EXISTS); /* restores nothing twice */
    T_EQ_U64(figures().live, 1);
    end();
}

static char listed[64];

static bool list_id(const cellar_bus_message *m, cellar_bus_place place, void *ctx)
{
    const size_t n = strlen(listed);
    (void)place, (void)ctx;
    listed[n] = (char)('0' + m->id);
    listed[n + 1] = '\0';
    return true;
}

T_CASE(restored_messages_are_listed_by_id)
{
    start();
    T_EQ_I64(add("q", NULL), CELLAR_OK);
    T_EQ_I64(add("r", NULL), CELLAR_OK);
    for (int i = 0; i < 6; i++) {
        T_EQ_I64(bus_send(b, i % 2 == 0 ? "q" : "r", "x", 1, NULL), CELLAR_OK);
    }
    restart();
    T_EQ_I64(add("r", NULL), CELLAR_OK);
    T_EQ_I64(bus_send(b, "r", "x", 1, NULL), CELLAR_OK);
    T_EQ_I64(add("q", NULL), CELLAR_OK); /* older ones come behind younger ones */
    T_EQ_I64(bus_send(b, "q", "x", 1, NULL), CELLAR_OK);
    listed[0] = '\0';
    T_EQ_I64(cellar_bus_message_list(b, "q", NULL, NULL, list_id, NULL), CELLAR_OK);
    T_EQ_STR(listed, "1358");
    listed[0] = '\0';
    uint64_t cursor = 4;
    T_EQ_I64(cellar_bus_message_list(b, "r", NULL, &cursor, list_id, NULL), CELLAR_OK);
    T_EQ_STR(listed, "467");
    end();
}

static void hear_signal(const char *topic, const void *data, size_t len, void *ctx)
{
    (void)topic, (void)data, (void)len, (void)ctx;
}

T_CASE(signals_are_not_journaled)
{
    start();
    T_EQ_I64(cellar_signal_subscribe(b, "#", CELLAR_BUS_AMQP, hear_signal, NULL, NULL, NULL),
             CELLAR_OK);
    T_EQ_I64(cellar_signal_emit(b, "a.b", "x", 1, NULL), CELLAR_OK);
    T_EQ_I64(rows(), 0);
    end();
}

T_CASE(an_ordered_group_goes_on_in_order)
{
    start();
    group_opts.ordered = 1;
    T_EQ_I64(add("q", NULL), CELLAR_OK);
    sends("1");
    sends("2");
    (void)takes(join("q", NULL), "1", 1);
    restart();
    T_EQ_I64(add("q", NULL), CELLAR_OK);
    cellar_bus_member *m = join("q", NULL);
    const uint64_t first = takes(m, "1", 2);
    (void)takes(m, NULL, 0);
    T_EQ_I64(cellar_bus_settle(m, first, CELLAR_BUS_ACK, 0), CELLAR_OK);
    (void)takes(m, "2", 1);
    end();
}

/* ---- the file ---- */

T_CASE(one_bus_owns_a_journal)
{
    cellar_bus *other;
    start();
    T_EQ_I64(open_bus(&other, 1), CELLAR_E_BUSY);
    T_CHECK(other == NULL);
    T_EQ_I64(open_bus(&other, 0), CELLAR_E_BUSY);
    T_EQ_I64(cellar_bus_close(b), CELLAR_OK);
    T_EQ_I64(open_bus(&b, 1), CELLAR_OK);
    close_both();
    T_REQUIRE(open_pool(NULL, 1) == CELLAR_OK);
    T_EQ_I64(open_bus(&b, 1), CELLAR_E_UNSUPPORTED);
    T_EQ_I64(cellar_pool_close(p), CELLAR_OK);
    t_wipe(folder);
}

T_CASE(damaged_rows_are_refused)
{
    static const char *const change[] = {
        "UPDATE message SET key=''", "UPDATE message SET priority=10",
        "UPDATE message SET headers=x'6100'", "UPDATE message SET headers=x'61'",
        "UPDATE message SET headers=zeroblob(1000)", "UPDATE copy SET attempt=-1",
        "UPDATE copy SET dead=3", "UPDATE copy SET dead=1", "UPDATE copy SET died_in='q'",
        "UPDATE message SET key=hex(zeroblob(200))",
        "UPDATE message SET id=-5; UPDATE copy SET message=-5",
    };
    for (size_t i = 0; i < sizeof change / sizeof *change; i++) {
        start();
        T_EQ_I64(add("q", NULL), CELLAR_OK);
        sends("x");
        close_both();
        (void)sql(change[i]);
        open_both();
        T_EQ_I64(add("q", NULL), CELLAR_E_CORRUPT);
        T_EQ_I64(add("other", NULL), CELLAR_OK); /* the journal goes on */
        T_EQ_I64(bus_send(b, "other", "x", 1, NULL), CELLAR_OK);
        end();
    }
    start();
    close_both();
    (void)sql("DROP TABLE copy");
    T_EQ_I64(open_pool(path, 1), CELLAR_E_CORRUPT);
    t_wipe(folder);
}

/* ---- errors ---- */

static void limit_files(rlim_t bytes)
{
    struct rlimit l;
    T_REQUIRE(getrlimit(RLIMIT_FSIZE, &l) == 0);
    l.rlim_cur = bytes != 0 ? bytes : l.rlim_max;
    T_REQUIRE(setrlimit(RLIMIT_FSIZE, &l) == 0);
}

static bool is_disk_error(cellar_err err) { return err == CELLAR_E_SPACE || err == CELLAR_E_IO; }

T_CASE(errors_of_the_disk_refuse_a_publish_and_repeat_an_end)
{
    start();
    group_opts.max_messages = 2;
    T_EQ_I64(add("q", NULL), CELLAR_OK);
    sends("a");
    cellar_bus_member *m = join("q", NULL);
    const uint64_t a = takes(m, "a", 1);
    (void)signal(SIGXFSZ, SIG_IGN);
    limit_files(4096);
    for (int i = 0; i < 3; i++) { T_CHECK(is_disk_error(send_one("b"))); } /* keeps no room */
    T_CHECK(is_disk_error(cellar_bus_settle(m, a, CELLAR_BUS_ACK, 0)));
    T_EQ_U64(figures().live, 0);
    T_EQ_U64(figures().published, 1);
    T_EQ_U64(figures().journal_errors, 4);
    T_CHECK(is_disk_error(add("r", NULL)));
    T_EQ_I64(bus_send(b, "r", "x", 1, NULL), CELLAR_E_NOT_FOUND);
    tick();
    limit_files(0);
    tick(); /* tries again */
    sends("c");
    T_EQ_I64(rows(), 1001);
    T_EQ_I64(add("q", NULL), CELLAR_OK);
    m = join("q", NULL);
    T_EQ_I64(cellar_bus_settle(m, takes(m, "c", 1), CELLAR_BUS_ACK, 0), CELLAR_OK);
    limit_files(4096);
    T_CHECK(is_disk_error(send_one("d")));
    close_both();
    limit_files(0);
    T_EQ_I64(sql(ROWS), 0);
    open_both();
    end();
}

T_CASE(each_allocation_may_fail)
{
    start();
    T_EQ_I64(add("q", NULL), CELLAR_OK);
    for (uint64_t nth = 1;; nth++) {
        (void)base_fault_alloc_arm(nth, false);
        const cellar_err err = send_one("x");
        const uint64_t calls = base_fault_alloc_arm(0, false);
        if (err == CELLAR_OK && calls < nth) { break; }
        T_EQ_I64(err, CELLAR_E_NOMEM);
    }
    sends("y");
    close_both();
    T_REQUIRE(open_pool(path, 1) == CELLAR_OK);
    for (uint64_t nth = 1;; nth++) {
        (void)base_fault_alloc_arm(nth, false);
        const cellar_err err = open_bus(&b, 1);
        const uint64_t calls = base_fault_alloc_arm(0, false);
        if (err == CELLAR_OK && calls < nth) { break; }
        if (err == CELLAR_OK) {
            T_EQ_I64(cellar_bus_close(b), CELLAR_OK);
        } else {
            T_EQ_I64(err, CELLAR_E_NOMEM);
        }
    }
    for (uint64_t nth = 1;; nth++) {
        (void)base_fault_alloc_arm(nth, false);
        const cellar_err err = add("q", NULL);
        const uint64_t calls = base_fault_alloc_arm(0, false);
        if (calls < nth) {
            T_EQ_I64(err, CELLAR_OK);
            break;
        }
        T_EQ_I64(err, CELLAR_E_NOMEM);
        T_EQ_U64(figures().live, 0);
    }
    T_EQ_U64(figures().live, 2);
    end();
}

/* ---- threads ---- */

#define SENDERS 3
#define EACH 60

static _Atomic uint32_t handled, refused;

static cellar_bus_verdict handles(const cellar_bus_message *m, void *ctx)
{
    (void)ctx;
    if (m->id % 16 == 0 && m->attempt == 1) { return CELLAR_BUS_RETRY; }
    (void)atomic_fetch_add(&handled, 1);
    return CELLAR_BUS_ACK;
}

static void *sender(void *ctx)
{
    (void)ctx;
    for (int i = 0; i < EACH; i++) {
        if (send_one("x") != CELLAR_OK) { (void)atomic_fetch_add(&refused, 1); }
    }
    return NULL;
}

T_CASE(threads_share_commits)
{
    cellar_bus_report r = cellar_bus_report_default();
    pthread_t thread[SENDERS];
    start();
    close_both();
    handled = refused = 0;
    T_REQUIRE(open_pool(path, 0) == CELLAR_OK && open_bus(&b, 0) == CELLAR_OK);
    T_EQ_I64(add("q", "a"), CELLAR_OK);
    T_EQ_I64(add("q", "c"), CELLAR_OK);
    cellar_bus_member_config o = { .struct_size = sizeof o, .fn = handles };
    T_EQ_I64(cellar_bus_join(b, "q", "a", &o, NULL), CELLAR_OK);
    T_EQ_I64(cellar_bus_join(b, "q", "a", &o, NULL), CELLAR_OK);
    T_EQ_I64(cellar_bus_join(b, "q", "c", &o, NULL), CELLAR_OK);
    for (int i = 0; i < SENDERS; i++) {
        T_REQUIRE(pthread_create(&thread[i], NULL, sender, NULL) == 0);
    }
    for (int i = 0; i < SENDERS; i++) { T_REQUIRE(pthread_join(thread[i], NULL) == 0); }
    T_EQ_I64(cellar_bus_drain(b, 60000, &r), CELLAR_OK);
    T_EQ_U64(r.live, r.acked + r.dropped + r.dead + r.expired + r.filtered + r.left);
    T_EQ_U64(handled, 2 * SENDERS * EACH);
    T_EQ_U64(refused, 0);
    close_both();
    T_EQ_I64(sql(ROWS), 0);
    t_wipe(folder);
}

T_MAIN("work_bus_journal")
#else
T_CASE(bus_journal) { T_SKIP("this build has no SQLite"); }

T_MAIN("work_bus_journal")
#endif
