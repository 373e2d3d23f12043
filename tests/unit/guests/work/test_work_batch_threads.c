/* SPDX-License-Identifier: MIT
 *
 * Aim:    flush and done functions run on threads of the batcher with no lock held; an add waits for
 *         room; each item ends once, also if functions end their thread or the process forks.
 *         Scenarios batch_* of the simulation drain beside adds.
 * Method: functions wait for the test, and the test for them, by semaphores: no sleep decides
 *         anything. The clock of the system drives the batcher. */
#include "cellar_batch.h"
#include "tests/support/child.h"
#include "tests/support/each_allocation.h"
#include "tests/support/held_kit.h"

static cellar_batcher *b;
static atomic_uint calls, ends, abandoned, failed;

static cellar_batcher_config config_of(void)
{
    cellar_batcher_config c = { .struct_size = sizeof c, .linger_ms = 1,
                                .close_timeout_ms = 60000 };
    return c;
}

static void open_with(const cellar_batcher_config *c, cellar_batch_flush_fn flush)
{
    init_gates();
    atomic_store(&calls, 0);
    atomic_store(&ends, 0);
    atomic_store(&abandoned, 0);
    atomic_store(&failed, 0);
    T_REQUIRE(cellar_batcher_open(c, flush, NULL, &b) == CELLAR_OK);
}

static cellar_err quick(const cellar_batch *batch, void *ctx)
{
    (void)batch, (void)ctx;
    atomic_fetch_add(&calls, 1);
    sem_post(&began);
    return CELLAR_OK;
}

static cellar_err held(const cellar_batch *batch, void *ctx)
{
    (void)quick(batch, ctx);
    wait_for(&go_on);
    return CELLAR_OK;
}

static void count_end(const cellar_batch_result *r, void *ctx)
{
    (void)ctx;
    atomic_fetch_add(&ends, 1);
    atomic_fetch_add(&abandoned, r->verdict == CELLAR_BATCH_ABANDONED);
    atomic_fetch_add(&failed, r->verdict == CELLAR_BATCH_FAILED);
}

static cellar_err add(const char *group)
{
    cellar_batch_add_opts o = { .struct_size = sizeof o, .done = count_end };
    return cellar_batch_add(b, group, "x", 1, &o);
}

static cellar_batcher_stats figures(void)
{
    cellar_batcher_stats st = cellar_batcher_stats_default();
    T_EQ_I64(cellar_batcher_stats_get(b, &st), CELLAR_OK);
    T_EQ_U64(st.added, st.ok + st.failed + st.replaced + st.abandoned + st.items);
    return st;
}

T_CASE(group_has_one_call_at_a_time_and_groups_run_in_parallel)
{
    cellar_batcher_config c = config_of();
    c.workers = 3;
    c.max_items = 1;
    open_with(&c, held);
    for (int i = 0; i < 3; i++) { T_EQ_I64(add("a"), CELLAR_OK); }
    T_EQ_I64(add("b"), CELLAR_OK);
    wait_for(&began);
    wait_for(&began); /* one of each group */
    T_EQ_I64(sem_trywait(&began), -1);
    T_EQ_U64(figures().items, 4);
    post_many(&go_on, 4);
    T_EQ_I64(cellar_batcher_close(b, NULL), CELLAR_OK);
    T_EQ_U64(atomic_load(&calls), 4);
    T_EQ_U64(atomic_load(&ends), 4);
}

/* Four items in two calls at a time: when two calls have ended, in any order, all four have begun.
 * An item that waits behind one call passes to the track that is free. */
T_CASE(parallel_calls_of_one_group)
{
    cellar_batcher_config c = config_of();
    c.workers = 3;
    c.max_items = 1;
    c.parallel = 2;
    for (int round = 0; round < 20; round++) {
        open_with(&c, held);
        for (int i = 0; i < 4; i++) { T_EQ_I64(add("a"), CELLAR_OK); }
        wait_for_many(&began, 2);
        T_EQ_I64(sem_trywait(&began), -1);
        T_EQ_U64(figures().groups, 2);
        for (int i = 0; i < 2; i++) {
            sem_post(&go_on);
            wait_for(&began);
        }
        T_EQ_I64(sem_trywait(&began), -1);
        post_many(&go_on, 2);
        T_EQ_I64(cellar_batcher_close(b, NULL), CELLAR_OK);
        T_EQ_U64(atomic_load(&ends), 4);
    }
}

/* ---- full ---- */

static void *add_blocked(void *result)
{
    *(cellar_err *)result = add("g");
    return NULL;
}

T_CASE(add_waits_for_room)
{
    cellar_batcher_config c = config_of();
    cellar_err err = CELLAR_E_INVAL;
    pthread_t t;
    c.queue_items = 1;
    c.block_timeout_ms = 3600000;
    open_with(&c, held);
    T_EQ_I64(add("g"), CELLAR_OK);
    wait_for(&began);
    T_REQUIRE(pthread_create(&t, NULL, add_blocked, &err) == 0);
    while (figures().blocked == 0) { }
    post_many(&go_on, 2);
    T_REQUIRE(pthread_join(t, NULL) == 0);
    T_EQ_I64(err, CELLAR_OK);
    T_EQ_I64(cellar_batcher_close(b, NULL), CELLAR_OK);
    T_EQ_U64(atomic_load(&ends), 2);

    open_with(&c, held); /* a drain ends the wait */
    T_EQ_I64(add("g"), CELLAR_OK);
    wait_for(&began);
    T_REQUIRE(pthread_create(&t, NULL, add_blocked, &err) == 0);
    while (figures().blocked == 0) { }
    cellar_batch_report r = cellar_batch_report_default();
    T_EQ_I64(cellar_batcher_drain(b, 1, &r), CELLAR_E_BUSY);
    T_FIELDS(r, live, 1, still_running, 1);
    T_REQUIRE(pthread_join(t, NULL) == 0);
    T_EQ_I64(err, CELLAR_E_CLOSED);
    sem_post(&go_on);
    T_EQ_I64(cellar_batcher_close(b, NULL), CELLAR_OK);
    T_EQ_U64(atomic_load(&ends), 1);

    c.block_timeout_ms = 1;
    open_with(&c, held);
    T_EQ_I64(add("g"), CELLAR_OK);
    T_EQ_I64(add("g"), CELLAR_E_TIMEOUT);
    T_EQ_U64(figures().rejected, 1);
    sem_post(&go_on);
    T_EQ_I64(cellar_batcher_close(b, NULL), CELLAR_OK);
}

static cellar_err waits_for_itself(const cellar_batch *batch, void *ctx)
{
    T_EQ_I64(add("other"), CELLAR_E_DEADLOCK); /* the batcher is full */
    T_EQ_I64(cellar_batcher_drain(b, 0, NULL), CELLAR_E_DEADLOCK);
    T_EQ_I64(cellar_batcher_close(b, NULL), CELLAR_E_DEADLOCK);
    T_EQ_I64(cellar_batcher_flush(b, NULL), CELLAR_OK);
    return quick(batch, ctx);
}

T_CASE(function_that_would_wait_for_itself_is_refused)
{
    cellar_batcher_config c = config_of();
    c.queue_items = 1;
    c.block_timeout_ms = 3600000;
    open_with(&c, waits_for_itself);
    T_EQ_I64(add("g"), CELLAR_OK);
    wait_for(&began);
    T_EQ_I64(cellar_batcher_close(b, NULL), CELLAR_OK);
    T_EQ_U64(atomic_load(&ends), 1);
}

/* ---- close ---- */

T_CASE(close_waits_for_a_running_flush)
{
    cellar_batcher_config c = config_of();
    c.close_timeout_ms = 1;
    c.workers = 1;
    open_with(&c, held);
    T_EQ_I64(add("g"), CELLAR_OK);
    wait_for(&began);
    T_EQ_I64(add("g"), CELLAR_OK);
    T_EQ_I64(add("h"), CELLAR_OK);
    cellar_batch_report r = cellar_batch_report_default();
    T_EQ_I64(cellar_batcher_close(b, &r), CELLAR_E_BUSY);
    T_FIELDS(r, live, 3, live, r.abandoned + r.still_running);
    sem_post(&go_on);
    cellar_err err;
    while ((err = cellar_batcher_close(b, &r)) == CELLAR_E_BUSY) { }
    T_EQ_I64(err, CELLAR_OK);
    T_EQ_U64(atomic_load(&ends), 3);
    T_EQ_U64(atomic_load(&abandoned), 2); /* no call had taken them */
    T_EQ_U64(atomic_load(&calls), 1);
}

/* ---- threads that end ---- */

static atomic_uint exits_count, single_exits;
static _Atomic cellar_err last_err;

/* Ends its thread in a batch, and in the first single item. */
static cellar_err exits(const cellar_batch *batch, void *ctx)
{
    (void)quick(batch, ctx);
    if (batch->item_count > 1 || atomic_fetch_add(&single_exits, 1) == 0) {
        atomic_fetch_add(&exits_count, 1);
        pthread_exit(NULL);
    }
    return CELLAR_OK;
}

static void exit_in_done(const cellar_batch_result *r, void *ctx)
{
    count_end(r, ctx);
    if (r->verdict == CELLAR_BATCH_FAILED) { atomic_store(&last_err, (cellar_err)r->err); }
    atomic_fetch_add(&exits_count, 1);
    pthread_exit(NULL);
}

T_CASE(function_that_ends_its_thread_loses_nothing)
{
    cellar_batcher_config c = config_of();
    c.workers = 2;
    c.max_items = 4;
    const cellar_batch_add_opts o = { .struct_size = sizeof o, .done = exit_in_done };
    open_with(&c, exits);
    for (int i = 0; i < 40; i++) {
        T_EQ_I64(cellar_batch_add(b, i % 2 == 0 ? "g" : "h", "x", 1, &o), CELLAR_OK);
    }
    T_EQ_I64(cellar_batcher_drain(b, 600000, NULL), CELLAR_OK);
    T_EQ_U64(atomic_load(&ends), 40);
    T_EQ_U64(atomic_load(&failed), 1);
    T_EQ_I64(atomic_load(&last_err), CELLAR_E_CANCELLED);
    while (figures().thread_ends != atomic_load(&exits_count)) { sched_yield(); }
    T_EQ_I64(cellar_batcher_close(b, NULL), CELLAR_OK);
}

/* ---- fork ---- */

static int child_of(void)
{
    if (add("g") != CELLAR_E_FORKED || cellar_batcher_flush(b, NULL) != CELLAR_E_FORKED ||
        cellar_tick(b, 0, NULL) != CELLAR_E_FORKED ||
        cellar_batcher_drain(b, 0, NULL) != CELLAR_E_FORKED) {
        return 1;
    }
    if (cellar_batcher_close(b, NULL) != CELLAR_OK) { return 2; }
    return atomic_load(&ends) == 0 ? 0 : 3; /* done functions do not run in the child */
}

static cellar_err forks(const cellar_batch *batch, void *ctx)
{
    T_EQ_I64(in_child(fork(), child_of), 0);
    return quick(batch, ctx);
}

T_CASE(forked_child_is_refused_by_the_batcher)
{
    cellar_batcher_config c = config_of();
    open_with(&c, held);
    T_EQ_I64(add("g"), CELLAR_OK);
    wait_for(&began);
    T_EQ_I64(add("g"), CELLAR_OK); /* one in a call, one waits */
    T_EQ_I64(in_child(fork(), child_of), 0);
    post_many(&go_on, 2);
    T_EQ_I64(cellar_batcher_close(b, NULL), CELLAR_OK); /* the parent goes on */
    T_EQ_U64(atomic_load(&ends), 2);

    open_with(&c, forks);
    T_EQ_I64(add("g"), CELLAR_OK);
    wait_for(&began);
    T_EQ_I64(cellar_batcher_close(b, NULL), CELLAR_OK);
}

T_CASE(open_without_threads_to_start_is_refused)
{
    cellar_err err;
    unsigned refused = 0;
    EACH_ALLOCATION_FAILS(err, cellar_batcher_open(NULL, quick, NULL, &b)) { refused++; }
    T_CHECK(refused >= 3); /* batcher, workers, thread */
    T_EQ_I64(cellar_batcher_close(b, NULL), CELLAR_OK);
}

T_MAIN("work_batch_threads")
