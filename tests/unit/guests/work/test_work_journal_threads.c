/* SPDX-License-Identifier: MIT
 *
 * Aim:    with threads a task that ends, a name that goes and a drain lose no task. The thread of
 *         the journal tries again after an error. A change beside a commit waits for the next one. A
 *         key of a submit that fails refuses none. Rows of schedules follow adds and removes that
 *         wait. test_work_kill counts the calls of many threads.
 * Method: real threads and the clock of the system. For calls beside a commit, a clock or a log
 *         function of the host starts the other thread. The next open counts what is left. */
#include "cellar_bus.h"
#include "cellar_schedule.h"
#include "work/task_types.h" /* before the variables of the kit */
#include "tests/support/file_limit.h"
#include "tests/support/folder.h"
#include "tests/support/threads_kit.h"

#define THREADS 6u

static char folder[T_FOLDER_MAX], path[T_FOLDER_MAX + 8];
static _Atomic uint32_t ran, waited;
static _Atomic int opened;
static cellar_journal_level next_level; /* of the next pool */

static cellar_verdict acts(const cellar_task *t, void *ctx)
{
    (void)ctx;
    atomic_fetch_add(&ran, 1);
    if (t->payload_len == 1) { /* waits for the test */
        while (atomic_load(&opened) == 0 && !cellar_task_cancelled(t)) { usleep(200); }
    }
    return cellar_verdict_ok();
}

static void open_t(void)
{
    open_it();
    name_it("t", acts, NULL);
}

static bool begin(void)
{
#ifndef CELLAR_WITH_SQLITE
    T_SKIP("this build has no SQLite");
    return false;
#endif
    open_with(0);
    config.grace_ms = 60000;
    t_folder(folder);
    snprintf(path, sizeof path, "%s/tasks", folder);
    config.journal_path = path;
    config.journal_level = next_level;
    config.restore_rate = 1000000;
    ran = waited = 0;
    opened = 1;
    open_t();
    return true;
}

static void end(void)
{
    close_it();
    t_wipe(folder);
}

static void frees(void *payload, size_t len, void *ctx)
{
    (void)payload, (void)len;
    const bool more = atomic_fetch_add(&waited, 1) == 0;
    cellar_submit_opts o = { .struct_size = sizeof o, .free_fn = more ? frees : NULL,
                             .free_ctx = ctx };
    T_EQ_I64(cellar_task_submit(p, "t", ctx, 4, &o, NULL), CELLAR_OK);
}

T_CASE(a_free_fn_of_the_journal_thread_may_submit)
{
    if (!begin()) { return; }
    static char bytes[] = "abcd";
    cellar_submit_opts o = { .struct_size = sizeof o, .free_fn = frees, .free_ctx = bytes };
    T_EQ_I64(cellar_task_submit(p, "t", bytes, 4, &o, NULL), CELLAR_OK);
    while (atomic_load(&ran) < 3) { usleep(200); }
    T_EQ_I64(cellar_pool_drain(p, CELLAR_DRAIN_ALL, 60000, NULL), CELLAR_OK);
    T_EQ_U64(figures().journal_pending, 0);
    end();
}

T_CASE(cancel_wakes_the_thread_of_the_journal)
{
    const cellar_submit_opts later = { .struct_size = sizeof later, .delay_ms = 1000000 };
    cellar_task_status st = cellar_task_status_default();
    cellar_task_id id;
    if (!begin()) { return; }
    for (int i = 0; i < 20; i++) {
        T_EQ_I64(cellar_task_submit(p, "t", "x", 1, &later, &id), CELLAR_OK);
        T_EQ_I64(cellar_task_cancel(p, id), CELLAR_OK);
        T_EQ_I64(task_status(p, id, &st), CELLAR_E_NOT_FOUND);
    }
    end();
}

T_CASE(close_leaves_what_waits_to_the_next_open)
{
    if (!begin()) { return; }
    opened = 0;
    for (uint32_t i = 0; i < 100; i++) {
        T_EQ_I64(cellar_task_submit(p, "t", "x", 1, NULL, NULL), CELLAR_OK);
    }
    while (atomic_load(&ran) < 4) { usleep(200); } /* all workers have one */
    cellar_drain_report report = cellar_drain_report_default();
    T_EQ_I64(cellar_pool_drain(p, CELLAR_DRAIN_RUNNING, 0, &report), CELLAR_OK);
    T_FIELDS(report, finished, 4, journaled, 96);
    T_EQ_U64(report.abandoned + report.still_running, 0);
    close_it();
    opened = 1;
    open_t();
    T_EQ_U64(figures().restored, 96);
    T_EQ_I64(cellar_pool_drain(p, CELLAR_DRAIN_ALL, 60000, NULL), CELLAR_OK);
    T_EQ_U64(ran, 100);
    end();
}

static _Atomic uint32_t attached;

static void *attaches(void *arg)
{
    const cellar_task_item item = { "t", "abcd", 4, NULL };
    cellar_task_id id;
    for (uint32_t i = 0; i < (uint32_t)(uintptr_t)arg; i++) {
        T_EQ_I64(cellar_task_submit(p, "t", "abcd", 4, NULL, &id), CELLAR_OK);
        for (uint32_t k = 0; k < 3; k++) {
            const cellar_err err =
                submit_after(p, id, &item, CELLAR_TASK_ON_SUCCESS, k == 1 ? &id : NULL);
            if (err == CELLAR_E_NOT_FOUND) { break; } /* it ended, and was forgotten */
            T_EQ_I64(err, CELLAR_OK);
            atomic_fetch_add(&attached, 1);
        }
    }
    return NULL;
}

/* Calls share commits at both levels. */
T_CASE(a_task_that_ends_meanwhile_decides)
{
    for (uint32_t sync = 0; sync < 2; sync++) {
        next_level = sync != 0 ? CELLAR_JOURNAL_SYNC : CELLAR_JOURNAL_PROCESS;
        if (!begin()) { return; }
        pthread_t t[THREADS];
        const uint32_t rounds = (sync != 0 ? 12 : 60) / (T_COST > 1 ? 6 : 1);
        attached = 0;
        start_threads(t, THREADS, attaches, (void *)(uintptr_t)rounds);
        join_threads(t, THREADS);
        T_EQ_I64(cellar_pool_drain(p, CELLAR_DRAIN_ALL, 60000, NULL), CELLAR_OK);
        T_FIELDS(figures(), ok, THREADS * rounds + attached, live, 0);
        close_it();
        open_t();
        T_EQ_U64(figures().restored, 0);
        end();
    }
    next_level = CELLAR_JOURNAL_PROCESS;
}

T_CASE(a_drain_does_not_wait_for_unknown_names)
{
    if (!begin()) { return; }
    opened = 0;
    for (uint32_t i = 0; i < 10; i++) {
        T_EQ_I64(cellar_task_submit(p, "t", "x", 1, NULL, NULL), CELLAR_OK);
    }
    T_EQ_I64(cellar_pool_drain(p, CELLAR_DRAIN_RUNNING, 0, NULL), CELLAR_OK);
    close_it();
    open_it();
    name_it("other", acts, NULL);
    T_EQ_I64(cellar_task_submit(p, "other", "ab", 2, NULL, NULL), CELLAR_OK);
    const uint64_t live = figures().live;
    cellar_drain_report report = cellar_drain_report_default();
    T_EQ_I64(cellar_pool_drain(p, CELLAR_DRAIN_ALL, INT64_MAX, &report), CELLAR_OK);
    T_EQ_U64(report.journaled, figures().unregistered);
    T_CHECK(report.finished <= 1); /* "other" may have ended before the drain */
    T_CHECK(report.journaled <= live && report.journaled + 1 >= live);
    T_EQ_U64(report.abandoned + report.still_running, 0);
    T_EQ_U64(figures().ok, 1);
    end();
}

T_CASE(ends_are_written_when_the_disk_has_room_again)
{
    if (!begin()) { return; }
    cellar_task_id id;
    opened = 0;
    T_EQ_I64(cellar_task_submit(p, "t", "x", 1, NULL, &id), CELLAR_OK);
    while (atomic_load(&ran) == 0) { usleep(200); }
    limit_files(4096);
    opened = 1;
    const cellar_err err = cellar_task_submit(p, "t", "y", 1, NULL, NULL);
    T_CHECK(is_disk_error(err));
    while (figures().ok == 0) { usleep(200); }
    T_EQ_I64(cellar_task_wait(p, id, 1, NULL), CELLAR_E_TIMEOUT);
    T_EQ_I64(figures().journal_pending, 1);
    limit_files(0);
    T_EQ_I64(cellar_task_wait(p, id, 20000, NULL), CELLAR_OK);
    T_EQ_U64(figures().journal_pending, 0);
    end();
}

/* ---- removal of a name ---- */

static void *submits_on(void *over)
{
    cellar_task_id id;
    while (atomic_load((_Atomic int *)over) == 0) {
        const cellar_err err = cellar_task_submit(p, "gone", "abcd", 4, NULL, &id);
        T_CHECK(err == CELLAR_OK || err == CELLAR_E_NOT_FOUND);
    }
    return NULL;
}

T_CASE(submit_beside_the_removal_of_its_name_leaves_no_task)
{
    _Atomic int over = 0;
    pthread_t other[THREADS];
    cellar_err err;
    if (!begin()) { return; }
    start_threads(other, THREADS, submits_on, &over);
    for (uint32_t i = 0; i < 40; i++) {
        const uint64_t before = figures().submitted;
        T_EQ_I64(cellar_task_register(p, "gone", acts, NULL, NULL), CELLAR_OK);
        while (figures().submitted == before) { sched_yield(); }
        while ((err = cellar_task_unregister(p, "gone")) == CELLAR_E_BUSY) { sched_yield(); }
        T_EQ_I64(err, CELLAR_OK);
    }
    atomic_store(&over, 1);
    for (uint32_t i = 0; i < THREADS; i++) { T_EQ_I64(pthread_join(other[i], NULL), 0); }
    T_EQ_U64(figures().live, 0);
    end();
}

/* ---- a pool without threads ---- */

static void *submits(void *arg)
{
    cellar_task_id id;
    (void)arg;
    const cellar_submit_opts key = { .struct_size = sizeof key, .unique_key = "k" };
    T_EQ_I64(cellar_task_submit(p, "t", "abcd", 4, &key, &id), CELLAR_OK);
    return NULL;
}

/* Runs inside a commit: returns when the call of another thread waits for the next one. A submit
 * with the key of that call does not wait. */
static void frees_beside_a_submit(void *payload, size_t len, void *other)
{
    (void)payload, (void)len;
    bool waits = false;
    T_REQUIRE(pthread_create(other, NULL, submits, NULL) == 0);
    while (!waits) {
        sync_take(QUEUE, &p->lock);
        waits = p->journal->waiting[0] + p->journal->waiting[1] != 0;
        sync_drop(QUEUE, &p->lock);
        base_yield();
    }
    const cellar_submit_opts key = { .struct_size = sizeof key, .unique_key = "k" };
    T_EQ_I64(cellar_task_submit(p, "t", "abcd", 4, &key, NULL), CELLAR_EXISTS);
}

T_CASE(a_submit_beside_a_commit_ends_without_threads)
{
    if (!begin()) { return; }
    cellar_host_config host = { .struct_size = sizeof host, .no_threads = 1 };
    config.host = &host;
    close_it();
    open_t();
    pthread_t other;
    cellar_task_id id;
    int64_t wait;
    cellar_submit_opts o = { .struct_size = sizeof o, .free_fn = frees_beside_a_submit,
                             .free_ctx = &other };
    T_EQ_I64(cellar_task_submit(p, "t", "abcd", 4, &o, &id), CELLAR_OK);
    while (cellar_tick(p, 0, &wait) == CELLAR_PENDING) {}
    T_EQ_I64(pthread_join(other, NULL), 0);
    while (cellar_tick(p, 0, &wait) == CELLAR_PENDING) {}
    T_EQ_U64(ran, 2);
    T_EQ_U64(figures().live, 0);
    end();
}

/* ---- calls beside a commit ---- */

static void *(*beside)(void *arg); /* call of another thread; NULL: not yet, or it has begun */
static pthread_t beside_thread;
static _Atomic cellar_err beside_err; /* PENDING: the call runs */
static cellar_task_id beside_id;

/* Begin the call of the other thread, and return when it waits or has ended. */
static void begin_beside(void)
{
    bool waits = false;
    void *(*call)(void *arg) = beside;
    beside = NULL;
    beside_err = CELLAR_PENDING;
    T_REQUIRE(pthread_create(&beside_thread, NULL, call, NULL) == 0);
    while (!waits) {
        sync_take(QUEUE, &p->lock);
        waits = p->journal->waiting[0] + p->journal->waiting[1] + p->watching != 0 ||
                beside_err != CELLAR_PENDING;
        sync_drop(QUEUE, &p->lock);
        base_yield();
    }
}

/* host.clock: between the commit of a changed row and the end of its round. */
static int64_t reads_beside(void *ctx)
{
    (void)ctx;
    if (beside != NULL && (p->journal->row[0][0].flags & TASK_ROW_WRITING) != 0) { begin_beside(); }
    return 1000000;
}

static bool begin_with(cellar_host_config *host)
{
    if (!begin()) { return false; }
    T_EQ_I64(cellar_pool_close(p), CELLAR_OK);
    signal(SIGXFSZ, SIG_IGN);
    host->struct_size = sizeof *host;
    host->no_threads = 1;
    config.host = host;
    open_t();
    return true;
}

static void *cancels(void *arg)
{
    beside_err = cellar_task_cancel(p, beside_id);
    return arg;
}

/* The commit has the state before the cancel. No write succeeds after the cancel. */
T_CASE(cancel_of_a_row_that_is_written_waits_for_the_next_commit)
{
    cellar_host_config host = { .clock = reads_beside };
    cellar_submit_opts o = { .struct_size = sizeof o, .delay_ms = 1000000, .unique_key = "k",
                             .on_conflict = CELLAR_TASK_CONFLICT_DEBOUNCE };
    if (!begin_with(&host)) { return; }
    T_EQ_I64(cellar_task_submit(p, "t", "abcd", 4, &o, &beside_id), CELLAR_OK);
    beside = cancels;
    T_EQ_I64(cellar_task_submit(p, "t", "abcde", 5, &o, NULL), CELLAR_OK);
    T_REQUIRE(beside == NULL);
    T_EQ_I64(pthread_join(beside_thread, NULL), 0);
    T_EQ_I64(beside_err, CELLAR_OK);
    limit_files(4096);
    T_EQ_I64(cellar_pool_close(p), CELLAR_OK);
    limit_files(0);
    open_t();
    T_EQ_U64(figures().restored, 0);
    end();
}

static void *removes_the_group(void *arg)
{
    beside_err = cellar_bus_group_remove(p, "g");
    return arg;
}

T_CASE(group_that_two_threads_remove_leaves_once)
{
    cellar_host_config host = { .clock = reads_beside };
    if (!begin_with(&host)) { return; }
    T_EQ_I64(cellar_bus_group_add(p, "g", NULL, acts, NULL, NULL), CELLAR_OK);
    cellar_bus_publish_opts o = cellar_bus_publish_opts_default();
    o.direct = 1;
    T_EQ_I64(cellar_bus_publish(p, "g", "abcd", 4, &o), CELLAR_OK);
    beside = removes_the_group;
    T_EQ_I64(cellar_bus_group_remove(p, "g"), CELLAR_OK);
    T_REQUIRE(beside == NULL);
    T_EQ_I64(pthread_join(beside_thread, NULL), 0);
    T_EQ_I64(beside_err, CELLAR_OK);
    T_EQ_I64(cellar_bus_group_remove(p, "g"), CELLAR_E_NOT_FOUND);
    end();
}

/* host.log: a commit has failed, and its submits do not know yet. The disk has room again. */
static void logs_beside(cellar_log_level level, const char *module, cellar_err code,
                        const char *text, void *ctx)
{
    (void)level, (void)module, (void)code, (void)text, (void)ctx;
    if (beside == NULL) { return; }
    begin_beside();
    limit_files(0);
}

static cellar_submit_opts beside_opts;

static void *submits_the_same(void *arg)
{
    beside_err = cellar_task_submit(p, "t", "abcd", 4, &beside_opts, &beside_id);
    return arg;
}

static void *submits_many(void *arg)
{
    const cellar_task_item items[] = { { "t", "abcd", 4, NULL }, { "t", "abcd", 4, &beside_opts } };
    beside_err = cellar_task_submit_many(p, items, 2, CELLAR_LINKS_NONE, NULL);
    return arg;
}

T_CASE(a_key_of_a_submit_that_fails_refuses_no_other_submit)
{
    static const cellar_task_id own = { UINT64_C(1) << 60, 1 };
    const cellar_submit_opts of[] = { { .unique_key = "k" }, { .id_in = &own },
                                      { .unique_key = "k", .unique_ttl_ms = 5000,
                                        .on_conflict = CELLAR_TASK_CONFLICT_THROTTLE },
                                      { .unique_key = "k" } };
    cellar_host_config host = { .log = logs_beside };
    for (int i = 0; i < 4; i++) {
        if (!begin_with(&host)) { return; }
        beside_opts = of[i];
        beside_opts.struct_size = sizeof beside_opts;
        beside = i == 3 ? submits_many : submits_the_same;
        limit_files(4096);
        const cellar_err err = cellar_task_submit(p, "t", "abcd", 4, &beside_opts, NULL);
        T_CHECK(err == CELLAR_E_SPACE || err == CELLAR_E_IO);
        T_REQUIRE(beside == NULL);
        T_EQ_I64(pthread_join(beside_thread, NULL), 0);
        T_EQ_I64(beside_err, CELLAR_OK);
        T_EQ_U64(figures().live, i == 3 ? 2 : 1);
        end();
    }
}

#ifdef CELLAR_WITH_SQLITE
#include <sqlite3.h>

/* ---- rows of schedules ---- */

static bool in_vain;        /* an add that fails begins */
static pthread_t changer[2];
static int instants;        /* runs of the instant so far */

static cellar_err add_instant(int64_t at_wall_ms)
{
    const cellar_schedule_spec o = { .struct_size = sizeof o, .catch_up_on_start = 1, .task = "i",
                                     .at_wall_ms = at_wall_ms };
    return cellar_schedule_add(p, "s", &o);
}

static void *removes_it(void *arg)
{
    T_EQ_I64(cellar_schedule_remove(p, "s"), CELLAR_OK);
    return arg;
}

static void *adds_it(void *arg)
{
    T_EQ_I64(add_instant(1), CELLAR_OK);
    return arg;
}

/* Begin a call of another thread, and return when it waits in the next round as number `n`. */
static void queue_beside(void *(*call)(void *arg), uint32_t n)
{
    T_REQUIRE(pthread_create(&changer[n - 1], NULL, call, NULL) == 0);
    for (bool waits = false; !waits; base_yield()) {
        sync_take(QUEUE, &p->lock);
        waits = p->journal->ticket_count == n;
        sync_drop(QUEUE, &p->lock);
    }
}

static cellar_verdict runs_instant(const cellar_task *t, void *ctx)
{
    (void)t, (void)ctx;
    if (instants++ == 0) {
        queue_beside(removes_it, 1);
        queue_beside(adds_it, 2);
    } else {
        T_EQ_I64(add_instant(1), CELLAR_OK); /* NEVER: the row says that this run has ended */
    }
    return cellar_verdict_ok();
}

static void tick_all(void)
{
    int64_t wait;
    while (cellar_tick(p, 0, &wait) == CELLAR_PENDING) { }
}

/* Call a function inside a commit. */
static void call_in_round(cellar_payload_free_fn fn)
{
    const cellar_submit_opts o = { .struct_size = sizeof o, .free_fn = fn };
    static char bytes[] = "abcd";
    name_it("i", runs_instant, NULL);
    T_EQ_I64(cellar_task_submit(p, "t", bytes, 4, &o, NULL), CELLAR_OK);
    tick_all();
}

static void ends_behind_changes(void *payload, size_t len, void *ctx)
{
    (void)payload, (void)len, (void)ctx;
    T_EQ_I64(add_instant(1), CELLAR_OK);
    tick_all();
}

/* Fault: a run that ended while a remove and an add of its instant waited for their commit settled
 * the new schedule: a crash lost its run. */
T_CASE(end_of_a_run_behind_changes_settles_no_later_schedule)
{
    cellar_host_config host = { .clock = NULL };
    if (!begin_with(&host)) { return; }
    instants = 0;
    call_in_round(ends_behind_changes);
    for (int i = 0; i < 2; i++) { T_EQ_I64(pthread_join(changer[i], NULL), 0); }
    tick_all();
    T_EQ_I64(instants, 2);
    end();
}

/* host.clock: between the commit of an add and its change of memory. A drain begins. */
static int64_t reads_in_add(void *ctx)
{
    (void)ctx;
    if (in_vain && p->journal->submitting == 1 && p->journal->ticket_count == 0) {
        in_vain = false;
        queue_beside(removes_it, 1);
        p->intake = TASK_INTAKE_CLOSED;
    }
    return 1000000;
}

static void adds_in_vain(void *payload, size_t len, void *ctx)
{
    (void)payload, (void)len, (void)ctx;
    T_EQ_I64(add_instant(INT64_C(1) << 47), CELLAR_OK);
    in_vain = true;
    T_EQ_I64(add_instant((INT64_C(1) << 47) + 1), CELLAR_E_CLOSED);
    p->intake = TASK_INTAKE_OPEN;
}

/* Fault: an add that fails gave a schedule its row back behind the remove of that schedule. */
T_CASE(row_of_a_removed_schedule_does_not_come_back)
{
    cellar_host_config host = { .clock = reads_in_add };
    sqlite3 *db;
    sqlite3_stmt *s;
    if (!begin_with(&host)) { return; }
    call_in_round(adds_in_vain);
    T_EQ_I64(pthread_join(changer[0], NULL), 0);
    close_it();
    T_REQUIRE(sqlite3_open(path, &db) == SQLITE_OK);
    T_REQUIRE(sqlite3_prepare_v2(db, "SELECT name FROM schedule", -1, &s, NULL) == SQLITE_OK);
    T_EQ_I64(sqlite3_step(s), SQLITE_DONE);
    T_REQUIRE(sqlite3_finalize(s) == SQLITE_OK && sqlite3_close(db) == SQLITE_OK);
    t_wipe(folder);
}
#endif

T_MAIN("work_journal_threads")
