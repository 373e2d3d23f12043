/* SPDX-License-Identifier: MIT
 *
 * Aim:    a worker that takes several tasks under one lock shows it to no caller: states, order,
 *         figures, waits, drains and cancels are those of a worker that takes one.
 * Method: the queue is paused until all tasks are in it, so that the worker takes them together.
 *         The payload of a task says what its function does. Semaphores decide the order. Where
 *         time matters, the clock is a variable. */
#include "cellar_limit.h"
#include "tests/support/threads_kit.h"

#define TASKS 16

static char ran[1024];
static cellar_task_id id[TASKS + 1];
static atomic_int seen;
static _Atomic int64_t now_ms;
static cellar_pool_order order;
static uint32_t cap;

static cellar_verdict act(const cellar_task *t, void *ctx)
{
    const char what = *(const char *)t->payload;
    cellar_verdict v = cellar_verdict_ok();
    (void)ctx;
    ran[atomic_fetch_add(&runs, 1)] = what;
    if (what == 'H') {
        sem_post(&began);
        wait_for(&go_on);
    } else if (what == 'R' && t->attempt == 1) {
        v = cellar_verdict_retry_after(0);
    } else if (what == 'F') {
        T_EQ_I64(cellar_task_error(t, "text"), CELLAR_OK);
        v = cellar_verdict_fail();
    } else if (what == 'X' && t->attempt == 1) {
        pthread_exit(NULL);
    } else if (what == 'L' || what == 'M') { /* a long one */
        atomic_fetch_add(&now_ms, 900);
    } else if (what == 'C') { /* until it is cancelled */
        sem_post(&began);
        while (!cellar_task_cancelled(t)) { sched_yield(); }
    } else if (what == 'W') { /* for the last task */
        atomic_store(&seen, cellar_task_wait(p, id[TASKS - 1], 60000, NULL));
    }
    return v;
}

static atomic_bool stalls; /* the next reading of a worker */

static int64_t read_now(void *ctx)
{
    const int64_t ms = atomic_load(&now_ms);
    char name[16];
    (void)ctx;
    if (atomic_load(&stalls) && pthread_getname_np(pthread_self(), name, sizeof name) == 0 &&
        strcmp(name, "cellar-task") == 0 && atomic_exchange(&stalls, false)) {
        sem_post(&began);
        wait_for(&go_on);
    }
    return ms;
}

static void open_acting(uint32_t workers)
{
    static cellar_host_config host;
    host = cellar_host_config_default();
    host.clock = atomic_load(&now_ms) != 0 ? read_now : NULL;
    open_with(workers);
    config.host = &host;
    config.order = order;
    config.queue_cap = cap;
    memset(ran, 0, sizeof ran);
    open_it();
    name_it("t", act, NULL);
}

static cellar_task_id put(const char *name, const char *payload, const cellar_submit_opts *o)
{
    cellar_task_id of = { 0, 0 };
    T_REQUIRE(cellar_task_submit(p, name, payload, 1, o, &of) == CELLAR_OK);
    return of;
}

/* Let a worker take the tasks of a name together. */
static void start_of(const char *name, const char *payloads)
{
    T_EQ_I64(cellar_pool_set(p, CELLAR_POOL_SET_PAUSE, "default", 3600000), CELLAR_OK);
    for (size_t i = 0; payloads[i] != '\0'; i++) {
        id[i] = put(name, &payloads[i], NULL);
    }
    T_EQ_I64(cellar_pool_set(p, CELLAR_POOL_SET_PAUSE, "default", 0), CELLAR_OK);
}

static void start(const char *payloads) { start_of("t", payloads); }

static int state_of(cellar_task_id of)
{
    cellar_task_status st = cellar_task_status_default();
    const cellar_err err = task_status(p, of, &st);
    return err == CELLAR_OK ? (int)st.state : (int)err;
}

/* Wait until nothing is left, and close. */
static void finish(void)
{
    cellar_drain_report r = cellar_drain_report_default();
    T_EQ_I64(cellar_pool_drain(p, CELLAR_DRAIN_ALL, 60000, &r), CELLAR_OK);
    T_EQ_U64(r.abandoned + r.still_running, 0);
    T_EQ_U64(figures().live, 0);
    close_it();
    atomic_store(&now_ms, 0);
}

/* Fault: tasks of a burst that had ended filled the pool. */
T_CASE(requeue_has_the_room_of_ended_tasks)
{
    cap = TASKS;
    open_acting(1);
    cap = 0;
    const cellar_task_id dead = put("t", "F", NULL);
    T_EQ_I64(cellar_task_wait(p, dead, 60000, NULL), CELLAR_OK);
    start("ooooooooooooooo" "H");
    wait_for(&began);
    T_EQ_I64(cellar_task_requeue(p, dead), CELLAR_OK);
    sem_post(&go_on);
    finish();
}

static void open_on_clock(void)
{
    atomic_store(&now_ms, 1000000);
    open_acting(1);
}

/* Let one worker take the tasks together, until one of them holds it. */
static void hold(const char *payloads)
{
    open_acting(1);
    start(payloads);
    wait_for(&began);
}

static void let_go(void)
{
    sem_post(&go_on);
    finish();
}

static bool count_queued(const cellar_task_status *st, void *ctx)
{
    *(uint32_t *)ctx += st->state == CELLAR_TASK_QUEUED;
    return true;
}

T_CASE(taken_tasks_show_their_real_state_and_may_be_cancelled)
{
    uint32_t queued = 0;
    hold("abHdefghijklmnop");
    T_EQ_I64(state_of(id[1]), CELLAR_E_NOT_FOUND); /* ended */
    T_EQ_I64(state_of(id[2]), CELLAR_TASK_RUNNING);
    T_EQ_I64(state_of(id[3]), CELLAR_TASK_QUEUED);
    T_FIELDS(figures(), running, 1, started, 3, ok, 2, live, 14);
    T_EQ_I64(cellar_task_list(p, NULL, NULL, count_queued, &queued), CELLAR_OK);
    T_EQ_U64(queued, TASKS - 3);
    T_EQ_I64(cellar_task_cancel(p, id[3]), CELLAR_OK);
    T_EQ_I64(cellar_task_cancel(p, id[2]), CELLAR_PENDING);
    T_EQ_I64(cellar_task_cancel(p, id[9]), CELLAR_OK);
    T_AFTER_STR(let_go(), ran, "abHefghiklmnop");
}

T_CASE(paused_queue_begins_no_task_of_a_burst_and_higher_priority_goes_before_it)
{
    cellar_submit_opts o = { .struct_size = sizeof o, .priority = 9 };
    hold("Hbcdefghijklmnop");
    T_EQ_I64(cellar_pool_set(p, CELLAR_POOL_SET_PAUSE, "default", 3600000), CELLAR_OK);
    (void)put("t", "!", &o);
    sem_post(&go_on);
    while (figures().ok == 0) { sched_yield(); }
    T_EQ_U64(figures().started, 1);
    T_EQ_I64(cellar_pool_set(p, CELLAR_POOL_SET_PAUSE, "default", 0), CELLAR_OK);
    finish();
    T_EQ_STR(ran, "H!bcdefghijklmnop");
    hold("Hbcdefghijklmnop");
    (void)put("t", "!", &o);
    T_AFTER_STR(let_go(), ran, "H!bcdefghijklmnop");
}

T_CASE(other_queue_gets_its_share_in_spite_of_a_burst)
{
    cellar_task_opts o = { .struct_size = sizeof o, .queue = "other" };
    open_acting(1);
    name_it("o", act, &o);
    start("Hbcdefghijklmnop");
    wait_for(&began);
    (void)put("o", "!", NULL);
    let_go();
    T_CHECK(ran[1] == '!' || ran[2] == '!'); /* equal weights: they take turns */
}

T_CASE(idle_worker_takes_the_rest_of_a_burst)
{
    open_acting(2);
    start("Hbcdefghijklmnop");
    wait_for(&began);
    while (figures().ok != TASKS - 1) { sched_yield(); }
    let_go();
}

T_CASE(task_waits_for_another_one_of_its_burst)
{
    open_acting(2);
    start("Wbcdefghijklmnop");
    finish();
    T_CHECK(atomic_load(&seen) == CELLAR_OK || atomic_load(&seen) == CELLAR_E_NOT_FOUND);
    open_acting(1);
    start("Wbcdefghijklmnop");
    finish();
    T_EQ_I64(atomic_load(&seen), CELLAR_E_DEADLOCK);
}

T_CASE(other_verdicts_end_a_burst)
{
    open_acting(1);
    start("aRcFefghXjklmnop");
    while (figures().live != 0) { sched_yield(); }
    T_FIELDS(figures(), retried, 2, failed, 1, thread_ends, 1, ok, TASKS - 1, started, TASKS + 2);
    finish();
}

T_CASE(drain_abandons_what_a_burst_has_not_begun)
{
    cellar_drain_report r = cellar_drain_report_default();
    hold("abHdefghijklmnop");
    T_EQ_I64(cellar_pool_drain(p, CELLAR_DRAIN_RUNNING, 1, &r), CELLAR_E_BUSY);
    T_FIELDS(r, abandoned, TASKS - 3, still_running, 1, finished, 0);
    sem_post(&go_on);
    T_AFTER_STR(close_it(), ran, "abH");
}

/* ---- time-outs ---- */

T_CASE(time_out_of_a_burst_begins_with_each_function)
{
    cellar_task_opts o = { .struct_size = sizeof o, .timeout_ms = 1000, .hard_timeout_ms = 5000,
                           .queue = "default" };
    int64_t wait_ms;
    open_on_clock();
    name_it("timed", act, &o);
    start_of("timed", "aLCdefghijklmnop");
    wait_for(&began); /* 900 ms after the burst */
    atomic_fetch_add(&now_ms, 999);
    T_EQ_I64(cellar_tick(p, 0, &wait_ms), CELLAR_OK);
    T_EQ_I64(wait_ms, 1); /* the task that runs has 1 ms left */
    T_FIELDS(figures(), started, 3, ok, 2);
    atomic_fetch_add(&now_ms, 1);
    T_EQ_I64(cellar_tick(p, 0, &wait_ms), CELLAR_OK);
    finish();
    T_EQ_U64(atomic_load(&runs), TASKS);
}

T_CASE(tasks_of_a_burst_that_ended_time_out_no_other_one)
{
    cellar_task_opts o = { .struct_size = sizeof o, .timeout_ms = 1000, .queue = "default" };
    open_on_clock();
    name_it("timed", act, &o);
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < TASKS; i++) {
            (void)put("timed", "a", NULL);
        }
        while (figures().live != 0) { sched_yield(); }
        atomic_fetch_add(&now_ms, 5000);
        T_EQ_I64(cellar_tick(p, 0, NULL), CELLAR_OK);
    }
    T_FIELDS(figures(), ok, 20 * TASKS, timed_out, 0);
    finish();
}

T_CASE(time_out_of_a_task_begins_after_its_submit)
{
    cellar_task_opts o = { .struct_size = sizeof o, .timeout_ms = 1000, .queue = "default" };
    open_on_clock();
    name_it("timed", act, &o);
    atomic_store(&stalls, true);
    id[0] = put("t", "a", NULL);
    wait_for(&began); /* the worker has read the clock, and has no task */
    T_EQ_I64(cellar_task_cancel(p, id[0]), CELLAR_OK);
    atomic_fetch_add(&now_ms, 5000);
    (void)put("timed", "H", NULL);
    sem_post(&go_on);
    wait_for(&began);
    T_EQ_I64(cellar_tick(p, 0, NULL), CELLAR_OK);
    T_EQ_U64(figures().timed_out, 0);
    T_AFTER_U64(let_go(), atomic_load(&runs), 1);
}

static void count_free(void *payload, size_t len, void *ctx)
{
    (void)len, (void)ctx;
    free(payload);
    atomic_fetch_add(&freed, 1);
}

/* Return from the first attempt after the second one has ended the task. */
static cellar_verdict outlives(const cellar_task *t, void *ctx)
{
    if (*(const char *)t->payload != 'T' || t->attempt != 1) { return act(t, ctx); }
    sem_post(&began);
    wait_for(&go_on);
    T_EQ_U64(atomic_load(&freed), 0);
    T_EQ_MEM(t->payload, "T", 1);
    return cellar_verdict_ok();
}

T_CASE(payload_outlives_the_time_out_of_a_later_task)
{
    const cellar_task_opts o = { .struct_size = sizeof o, .hard_timeout_ms = 10, .base_ms = 1,
                                 .queue = "default" };
    const cellar_submit_opts owned = { .struct_size = sizeof owned, .free_fn = count_free };
    char *payload = malloc(1);
    T_REQUIRE(payload != NULL);
    *payload = 'T';
    open_on_clock();
    name_it("timed", outlives, &o);
    T_EQ_I64(cellar_pool_set(p, CELLAR_POOL_SET_PAUSE, "default", 3600000), CELLAR_OK);
    (void)put("timed", "a", NULL);
    (void)put("timed", payload, &owned);
    T_EQ_I64(cellar_pool_set(p, CELLAR_POOL_SET_PAUSE, "default", 0), CELLAR_OK);
    wait_for(&began);
    atomic_fetch_add(&now_ms, 10);
    while (figures().timed_out == 0) { T_EQ_I64(cellar_tick(p, 0, NULL), CELLAR_OK); }
    atomic_fetch_add(&now_ms, 1000); /* the delay of the second attempt */
    while (figures().ok != 2) { T_EQ_I64(cellar_tick(p, 0, NULL), CELLAR_OK); }
    T_EQ_U64(figures().timed_out, 1);
    (void)put("t", "H", NULL);
    wait_for(&began); /* the other worker has left its last task */
    post_many(&go_on, 2);
    finish();
    T_EQ_U64(atomic_load(&freed), 1);
}

/* ---- several queues ---- */

/* Let the one worker run 'H', and queue `n` tasks in each queue of the names meanwhile. Their
 * payload is the name. A name in upper case has a tag, so no burst takes its tasks. */
static void fill_queues(const char *names, int n)
{
    cellar_submit_opts tagged = { .struct_size = sizeof tagged, .tag = "tag" };
    (void)put("t", "H", NULL);
    wait_for(&began);
    for (size_t i = 0; names[i] != '\0'; i++) {
        const char name[2] = { names[i], '\0' };
        cellar_task_opts o = { .struct_size = sizeof o, .queue = name };
        name_it(name, act, &o);
        for (int k = 0; k < n; k++) {
            const cellar_submit_opts *opts = *name < 'a' ? &tagged : NULL;
            (void)put(name, name, opts);
        }
    }
}

/* Go on and wait for `n` more tasks. A drain would end the bursts. */
static void run_more(uint32_t n)
{
    const uint32_t until = atomic_load(&runs) + n;
    sem_post(&go_on);
    while (atomic_load(&runs) < until) { sched_yield(); }
    finish();
}

static uint32_t ran_of(char what, size_t from, size_t to)
{
    uint32_t n = 0;
    for (size_t i = from; i < to; i++) { n += ran[i] == what; }
    return n;
}

T_CASE(bursts_of_several_queues_keep_weights)
{
    open_acting(1);
    fill_queues("xyB", 200);
    T_EQ_I64(cellar_pool_set(p, CELLAR_POOL_SET_WEIGHT, "x", 2), CELLAR_OK);
    run_more(600);
    uint32_t longest = 0;
    for (size_t to = 1, from = 1; to < 401; to++) { /* all have tasks */
        const int64_t turns = (int64_t)to - 1; /* 2 : 1 : 1 */
        if (ran[to] != ran[from]) { from = to; }
        longest = to - from + 1 > longest ? (uint32_t)(to - from + 1) : longest;
        T_CHECK(llabs((int64_t)ran_of('x', 1, to) - turns / 2) <= 2 * TASKS);
        T_CHECK(llabs((int64_t)ran_of('y', 1, to) - turns / 4) <= 2 * TASKS);
        T_CHECK(llabs((int64_t)ran_of('B', 1, to) - turns / 4) <= 2 * TASKS);
    }
    T_CHECK(longest >= TASKS); /* they were taken in bursts */
}

T_CASE(heavier_queue_goes_before_bursts_of_strict_order)
{
    order = CELLAR_POOL_STRICT;
    open_acting(1);
    cellar_task_opts o = { .struct_size = sizeof o, .queue = "first" };
    name_it("f", act, &o);
    T_EQ_I64(cellar_pool_set(p, CELLAR_POOL_SET_WEIGHT, "first", 2), CELLAR_OK);
    fill_queues("xy", 20);
    (void)put("x", "H", NULL);
    for (int i = 0; i < 200; i++) {
        (void)put(i % 2 == 0 ? "x" : "y", "z", NULL);
    }
    sem_post(&go_on);
    wait_for(&began); /* in a burst; y has tasks */
    const uint32_t before = atomic_load(&runs);
    (void)put("f", "!", NULL);
    T_AFTER_I64(let_go(), ran[before], '!'); /* the next one */
    order = CELLAR_POOL_WEIGHTED;
}

T_CASE(long_functions_of_two_queues_take_turns)
{
    open_on_clock();
    fill_queues("LM", 0);
    for (int i = 0; i < 128; i++) {
        const char *name = i % 2 == 0 ? "L" : "M";
        (void)put(name, name, NULL);
    }
    run_more(128);
    T_EQ_U64(atomic_load(&runs), 129);
    for (size_t at = 2 * TASKS + 1; at < 128; at++) { /* the first ones may have been bursts */
        T_CHECK(ran[at] != ran[at + 1]);
    }
}

/* A task of a burst asks no limiter. */
T_CASE(name_with_a_rate_joins_no_burst)
{
    const cellar_rule rule = cellar_rule_token_bucket(3, CELLAR_HOUR_NS, 3);
    cellar_task_opts o = { .struct_size = sizeof o };
    T_REQUIRE(cellar_limiter_open(NULL, &rule, 1, &o.rate) == CELLAR_OK);
    open_acting(1);
    name_it("rated", act, &o);
    T_EQ_I64(cellar_pool_set(p, CELLAR_POOL_SET_PAUSE, "default", 3600000), CELLAR_OK);
    (void)put("t", "p", NULL);
    for (int i = 0; i < TASKS; i++) { (void)put("rated", "r", NULL); }
    T_EQ_I64(cellar_pool_set(p, CELLAR_POOL_SET_PAUSE, "default", 0), CELLAR_OK);
    while (figures().parked_rate == 0 && figures().live != 0) { sched_yield(); }
    T_EQ_I64(cellar_pool_drain(p, CELLAR_DRAIN_RUNNING, 60000, NULL), CELLAR_OK);
    T_AFTER_STR(close_it(), ran, "prrr");
    cellar_limiter_close(o.rate);
}

T_MAIN("work_burst")
