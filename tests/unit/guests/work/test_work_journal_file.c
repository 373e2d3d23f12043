/* SPDX-License-Identifier: MIT
 *
 * Aim:    The file of a journal has one owner and one schema. Damage, foreign files and bad
 *         paths are refused with a reason. Errors of the disk refuse a submit and lose nothing.
 * Method: Both clocks are variables; the test calls cellar_tick. Bytes and rows of the file
 *         are changed by hand; limits of the process make writes and allocations fail. */
#include "tests/support/child.h"
#include "tests/support/each_allocation.h"
#include "tests/support/journal_kit.h"

T_ONE_THREAD;

/* ---- the file ---- */

static int opens_in_child(void)
{
    cellar_pool *q;
    host.no_threads = 0;
    return cellar_pool_open(&config, &q) == CELLAR_E_BUSY ? 0 : 1;
}

/* Fault: the attempts that had begun were in a file beside the link. */
T_CASE(link_to_a_journal_is_the_journal)
{
    char link[T_FOLDER_MAX + 8];
    cellar_pool *q;
    if (without_sqlite()) { return; }
    for (unsigned by_link = 0; by_link < 2; by_link++) {
        clear();
        begin();
        snprintf(link, sizeof link, "%s/link", folder);
        T_REQUIRE(symlink("tasks", link) == 0);
        config.journal_path = by_link != 0 ? link : path;
        open_it();
        names();
        T_EQ_I64(cellar_pool_open(&config, &q), CELLAR_E_BUSY);
        T_CHECK(q == NULL);
        config.journal_path = by_link != 0 ? path : link;
        T_EQ_I64(cellar_pool_open(&config, &q), CELLAR_E_BUSY);
        T_EQ_I64(in_child(fork(), opens_in_child), 0);
        config.journal_path = path;
        (void)submit("a", NULL);
        copies = true;
        (void)tick();
        next_process();
        T_AFTER_STR(tick(), ran, "aa");
        T_EQ_U64(last_attempt, 2);
        end();
    }
}

static int submits_in_child(void)
{
    if (cellar_task_submit(p, "t", "b", 1, NULL, NULL) != CELLAR_E_FORKED) { return 1; }
    return cellar_pool_close(p) == CELLAR_OK ? 0 : 2;
}

T_CASE_ON(a_child_has_no_journal, JOURNAL)
{
    (void)submit("a", NULL);
    T_EQ_I64(in_child(fork(), submits_in_child), 0);
    crash_and_restart();
    T_AFTER_STR(tick(), ran, "a");
}

static size_t bytes_of(char *to, size_t cap)
{
    FILE *f = fopen(path, "r");
    T_REQUIRE(f != NULL);
    const size_t n = fread(to, 1, cap, f);
    T_CHECK(n > 0 && n < cap);
    T_EQ_I64(fclose(f), 0);
    return n;
}

/* Refuse the file of `config`, which is not damaged, with the code, and leave its bytes. */
static void refused_untouched(cellar_err want)
{
    static char was[65536], is[sizeof was];
    for (unsigned i = 0; i < 2; i++) {
        const size_t n = bytes_of(was, sizeof was);
        said[0] = '\0';
        T_EQ_I64(cellar_pool_open(&config, &p), want);
        T_CHECK(p == NULL && strstr(said, path) != NULL);
        T_EQ_U64(bytes_of(is, sizeof is), n);
        T_EQ_MEM(is, was, n);
        config.on_bad_journal = CELLAR_JOURNAL_SET_ASIDE;
    }
}

T_CASE(a_journal_of_another_schema_is_refused_untouched)
{
    if (without_sqlite()) { return; }
    static const char *const change[] = { "PRAGMA user_version=99", "PRAGMA user_version=3",
                                          "PRAGMA journal_mode=DELETE; PRAGMA user_version=1" };
    for (size_t i = 0; i < sizeof change / sizeof *change; i++) {
        start();
        close_it();
        sql(change[i]);
        refused_untouched(CELLAR_E_NEWER_FORMAT);
        T_CHECK(strstr(said, "another version of the library") != NULL);
        end();
    }
}

T_CASE(a_foreign_database_is_refused)
{
    if (without_sqlite()) { return; }
    clear();
    begin();
    sql("CREATE TABLE mine(a); INSERT INTO mine VALUES(1)");
    refused_untouched(CELLAR_E_FOREIGN);
    sql("INSERT INTO mine VALUES(2)");
    end();
}

static void write_at(off_t at, const char *text)
{
    const int fd = open(path, O_WRONLY | O_CREAT, 0600);
    T_REQUIRE(fd >= 0 && pwrite(fd, text, strlen(text), at) == (ssize_t)strlen(text));
    T_REQUIRE(close(fd) == 0);
}

T_CASE(journal_damaged)
{
    if (without_sqlite()) { return; }
    static const off_t at[] = { 0, 100, 4096 + 3, 8192 + 1 };
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        start();
        for (int k = 0; k < 50; k++) { (void)submit("payload of some bytes", NULL); }
        close_it();
        write_at(at[i], "this is no page of a database at all: this is no page of a database");
        said[0] = '\0';
        T_EQ_I64(cellar_pool_open(&config, &p), CELLAR_E_CORRUPT);
        T_CHECK(p == NULL && strstr(said, path) != NULL);
        T_EQ_I64(cellar_pool_open(&config, &p), CELLAR_E_CORRUPT);
        config.on_bad_journal = CELLAR_JOURNAL_SET_ASIDE;
        open_it();
        char bad[T_FOLDER_MAX + 16];
        snprintf(bad, sizeof bad, "%s.bad.1", path);
        T_CHECK(strstr(said, bad) != NULL);
        names();
        (void)submit("a", NULL);
        T_EQ_I64(access(bad, F_OK), 0);
        close_it();
        open_it();
        T_EQ_U64(figures().restored, 1);
        end();
    }
}

T_CASE(a_row_out_of_range_is_damage)
{
    if (without_sqlite()) { return; }
    static const char *const change[] = {
        "UPDATE task SET state=4", "UPDATE task SET priority=10", "UPDATE task SET attempt=-1",
        "UPDATE task SET id=x'00'", "UPDATE task SET name=''", "UPDATE task SET inputs=70000",
        "UPDATE task SET then_id=x'01', member=0", "INSERT INTO input VALUES(x'02',0,7,NULL)",
        "UPDATE task SET error=hex(zeroblob(200))", "DROP TABLE input",
    };
    for (size_t i = 0; i < sizeof change / sizeof *change; i++) {
        start();
        (void)submit("a", NULL);
        close_it();
        sql(change[i]);
        const cellar_err err = cellar_pool_open(&config, &p);
        if (err == CELLAR_OK) { /* an input of no task is cleaned up */
            T_EQ_U64(i, 7);
        } else {
            T_EQ_I64(err, CELLAR_E_CORRUPT);
        }
        end();
    }
}

static uint32_t freed;

/* Submit from inside the thread that commits. */
static void frees(void *payload, size_t len, void *ctx)
{
    (void)payload, (void)len, (void)ctx;
    cellar_submit_opts o = { .struct_size = sizeof o, .free_fn = ++freed < 5 ? frees : NULL };
    cellar_task_id id;
    T_EQ_I64(cellar_task_submit(p, "t", "n", 1, &o, &id), CELLAR_OK);
    if (freed == 3) { T_EQ_I64(cellar_task_cancel(p, id), CELLAR_OK); }
}

T_CASE_ON(a_free_fn_may_submit, JOURNAL)
{
    freed = 0;
    cellar_submit_opts o = { .struct_size = sizeof o, .free_fn = frees };
    const cellar_task_id a = submit("a", &o);
    T_AFTER_U64(pass(1), freed, 5);
    T_EQ_STR(ran, "annnn");
    T_EQ_I64(state_of(a), CELLAR_E_NOT_FOUND);
    T_AFTER_U64(crash(), figures().restored, 0);
}

/* Check that the journal at `where` is refused for a reason. */
static void refused_for(const char *where, const char *reason)
{
    char text[200];
    cellar_error_info e = cellar_error_info_default();
    config.journal_path = where;
    T_EQ_I64(cellar_pool_open(&config, &p), CELLAR_E_IO);
    T_EQ_I64(cellar_last_error(NULL, &e), CELLAR_OK);
    (void)snprintf(text, sizeof text, "cellar_pool_open: journal: %s: %s", reason, where);
    T_EQ_STR(e.text, text);
}

T_CASE(bad_paths_are_refused)
{
    if (without_sqlite()) { return; }
    clear();
    begin();
    config.journal_path = "";
    T_EQ_I64(cellar_pool_open(&config, &p), CELLAR_E_INVAL);
    config.journal_path = ":memory:";
    T_EQ_I64(cellar_pool_open(&config, &p), CELLAR_E_INVAL);
    refused_for("/nowhere/at/all/tasks", "no such file or folder");
    refused_for(folder, "this is a folder");
    config.journal_path = path;
    config.on_full = CELLAR_POOL_DROP_OLDEST;
    T_EQ_I64(cellar_pool_open(&config, &p), CELLAR_E_INVAL);
    end();
}

/* ---- errors of the disk ---- */

T_CASE_ON(journal_full, JOURNAL)
{
    const cellar_task_id a = submit("a", NULL);
    limit_files(4096);
    cellar_task_id id = { 1, 1 };
    T_CHECK(is_disk_error(cellar_task_submit(p, "t", "b", 1, NULL, &id)));
    const cellar_task_item items[] = { { "t", "c", 1, NULL }, { "t", "d", 1, NULL } };
    T_CHECK(is_disk_error(cellar_task_submit_many(p, items, 2, CELLAR_LINKS_NONE, NULL)));
    T_CHECK(is_disk_error(cellar_task_submit_many(p, items, 2, CELLAR_LINKS_GROUP, NULL)));
    T_EQ_U64(figures().live, 1);
    tick(); /* a runs; its end cannot be written */
    T_EQ_STR(ran, "a");
    T_EQ_I64(state_of(a), CELLAR_TASK_RUNNING);
    T_EQ_I64(cellar_task_wait(p, a, 0, NULL), CELLAR_PENDING);
    T_EQ_U64(figures().journal_pending, 1);
    T_CHECK(figures().journal_errors >= 3);
    T_CHECK(strstr(said, "a commit failed") != NULL);
    pass(10);
    const uint64_t errors = figures().journal_errors;
    limit_files(0);
    T_AFTER_U64(pass(1), figures().journal_errors, errors); /* not before the next try */
    T_EQ_U64(figures().journal_pending, 1);
    T_AFTER_U64(pass(1000), figures().journal_pending, 0);
    T_EQ_I64(state_of(a), CELLAR_E_NOT_FOUND);
    (void)submit("e", NULL);
    T_AFTER_U64(crash(), figures().restored, 1);
    names();
    T_AFTER_STR(tick(), ran, "ae");
}

T_CASE_ON(close_without_a_disk_runs_the_task_again, JOURNAL)
{
    (void)submit("a", NULL);
    limit_files(4096);
    tick();
    close_it();
    T_CHECK(strstr(said, "closed without the last 1 changes") != NULL);
    limit_files(0);
    open_it();
    names();
    T_AFTER_STR(pass(1), ran, "aa");
    T_EQ_U64(last_attempt, 2); /* the attempt that ended is counted */
}

T_CASE_ON(each_allocation_may_fail, JOURNAL)
{
    const cellar_task_item items[] = { { "give", "x", 1, NULL }, { "give", "y", 1, NULL },
                                       { "join", NULL, 0, NULL } };
    T_EQ_I64(submit_linked(p, items, 3, CELLAR_LINKS_GROUP, CELLAR_TASK_ALWAYS, NULL), CELLAR_OK);
    T_EQ_I64(cellar_tick(p, 0, NULL), CELLAR_PENDING);
    (void)submit("a", NULL);
    close_it();
    for (uint64_t nth = 1;; nth++) {
        (void)base_fault_alloc_arm(nth, false);
        const cellar_err err = cellar_pool_open(&config, &p);
        const uint64_t calls = base_fault_alloc_arm(0, false);
        if (err == CELLAR_OK) {
            T_CHECK(calls < nth || nth > 1); /* some are optional */
            T_EQ_U64(figures().restored, 3);
            if (calls < nth) { break; }
            close_it();
        } else {
            T_EQ_I64(err, CELLAR_E_NOMEM);
            T_CHECK(p == NULL);
        }
    }
    names();
    cellar_submit_opts o = { .struct_size = sizeof o, .unique_key = "k" };
    cellar_err err;
    EACH_ALLOCATION_FAILS(err, cellar_task_submit(p, "t", "b", 1, &o, NULL)) { }
    T_AFTER_U64(pass(1), figures().ok, 5 - 1);
}

T_CASE_ON(a_restored_task_has_no_room_for_an_error, JOURNAL)
{
    for (int i = 0; i < 1000; i++) { (void)submit("a", NULL); }
    close_it();
    open_it();
    const uint64_t plain = figures().bytes;
    close_it();
    sql("UPDATE task SET error='no connection'");
    open_it();
    const uint64_t with_errors = figures().bytes;
    T_CHECK(with_errors - plain >= 1000 * (CELLAR_TASK_TEXT_MAX + 1)); /* and the allocator */
}

T_CASE_ON(throttle_keys_survive_a_crash, JOURNAL)
{
    cellar_task_id id, other;
    cellar_submit_opts o = { .struct_size = sizeof o, .unique_key = "k", .unique_ttl_ms = 5000,
                             .on_conflict = CELLAR_TASK_CONFLICT_THROTTLE };
    const cellar_task_id a = submit("a", &o);
    tick();
    pass(2000);
    crash(); /* a has ended: only its key is left */
    names();
    T_EQ_U64(figures().restored, 0);
    T_EQ_I64(cellar_task_submit(p, "t", "b", 1, &o, &id), CELLAR_EXISTS);
    T_CHECK(memcmp(&id, &a, sizeof a) == 0);
    T_AFTER_I64(pass(2999), cellar_task_submit(p, "t", "b", 1, &o, &id), CELLAR_EXISTS);
    pass(1);
    const cellar_task_id c = submit("c", &o);
    crash(); /* the key has a new time and a live task */
    names();
    T_EQ_I64(cellar_task_submit(p, "t", "d", 1, &o, &other), CELLAR_EXISTS);
    T_CHECK(memcmp(&other, &c, sizeof c) == 0);
    pass(5000);
    for (char key[] = "a"; *key <= 'j'; ++*key) { /* each takes one that is over with it */
        o.unique_key = key;
        o.unique_ttl_ms = 1;
        (void)submit("e", &o);
        pass(1);
    }
    close_it();
    sql("CREATE TABLE seen(n INTEGER CHECK(n <= 3));"
        "INSERT INTO seen SELECT count(*) FROM throttle; DROP TABLE seen;");
    T_EQ_STR(ran, "aceeeeeeeeee");
}

T_CASE_ON(a_refused_throttle_key_is_not_in_force, JOURNAL)
{
    cellar_submit_opts o = { .struct_size = sizeof o, .unique_key = "k", .unique_ttl_ms = 5000,
                             .on_conflict = CELLAR_TASK_CONFLICT_THROTTLE };
    limit_files(4096);
    T_CHECK(is_disk_error(cellar_task_submit(p, "t", "b", 1, &o, NULL)));
    limit_files(0);
    crash_and_restart();
    (void)submit("c", &o);
    close_it();
    cellar_err err;
    EACH_ALLOCATION_FAILS(err, cellar_pool_open(&config, &p)) { }
    names();
    T_EQ_I64(cellar_task_submit(p, "t", "b", 1, &o, NULL), CELLAR_EXISTS);
    close_it();
    sql("UPDATE throttle SET key=''");
    T_EQ_I64(cellar_pool_open(&config, &p), CELLAR_E_CORRUPT);
}

T_MAIN("work_journal_file")
