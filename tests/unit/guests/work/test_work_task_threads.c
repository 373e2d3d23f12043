/* SPDX-License-Identifier: MIT
 *
 * Aim:    tasks and runs of schedules are on threads of the pool, with no lock held; a function may
 *         end its thread, hang past its time-out, wait, submit to a full pool, close the pool or
 *         fork: each has a defined result, and no task is lost. A change of a schedule is in force
 *         when its call returns. A full group stops its publishers.
 * Method: functions wait for the test, and the test for functions, by semaphores: no sleep decides
 *         anything. The clock of the system drives the pool. */
#include <dirent.h>

#include "cellar_bus.h"
#include "tests/support/bus_send.h"
#include "tests/support/child.h"
#include "tests/support/each_allocation.h"
#include "tests/support/schedule_kit.h"
#include "work/task_types.h" /* before the variables of the kit */
#include "tests/support/threads_kit.h"

static cellar_verdict exits(const cellar_task *t, void *ctx)
{
    (void)quick(t, ctx);
    pthread_exit(NULL);
}

static cellar_task_opts fast(uint32_t attempts)
{
    cellar_task_opts o = { .struct_size = sizeof o, .base_ms = 1, .cap_ms = 1,
                           .max_attempts = attempts };
    return o;
}

static uint32_t threads_of_process(void)
{
    uint32_t n = 0;
    DIR *d = opendir("/proc/self/task");
    T_REQUIRE(d != NULL);
    for (const struct dirent *e; (e = readdir(d)) != NULL;) { n += e->d_name[0] != '.'; }
    T_EQ_I64(closedir(d), 0);
    return n;
}

static _Atomic pthread_t runner;

static cellar_verdict notes_thread(const cellar_task *t, void *ctx)
{
    atomic_store(&runner, pthread_self());
    return quick(t, ctx);
}

T_CASE(pool_starts_threads_at_its_first_name_and_runs_tasks_there)
{
    const cellar_submit_opts o = { .struct_size = sizeof o, .delay_ms = 3 };
    open_with(3);
    const uint32_t before = threads_of_process();
    open_it();
    T_EQ_U64(threads_of_process(), before);
    T_EQ_U64(figures().workers, 0);
    close_it();
    open_it();
    cellar_err err;
    unsigned refused = 0; /* a thread, memory for one, or for the name */
    EACH_ALLOCATION_FAILS(err, cellar_task_register(p, "q", notes_thread, NULL, NULL)) {
        refused++;
    }
    T_EQ_I64(err, CELLAR_OK);
    T_CHECK(refused >= 4);
    T_EQ_U64(figures().workers, 3);
    for (int i = 0; i < 5; i++) { (void)submit("q"); }
    wait_for_many(&began, 5);
    T_EQ_I64(cellar_task_submit(p, "q", NULL, 0, &o, NULL), CELLAR_OK);
    wait_for(&began);
    close_it();
    T_CHECK(!pthread_equal(atomic_load(&runner), pthread_self()));
    T_EQ_U64(atomic_load(&runs), 6);
}

/* ---- threads that end, attempts that hang ---- */

T_CASE_ON(task_pthread_exit, WORKER)
{
    const cellar_task_opts o = fast(20);
    cellar_task_status st = cellar_task_status_default();
    name_it("exits", exits, &o);
    name_it("q", quick, NULL);
    const cellar_task_id id = submit("exits");
    wait_for_many(&began, 20); /* each time on another thread */
    (void)submit("q");
    wait_for(&began);
    T_EQ_I64(cellar_task_wait(p, id, 60000, NULL), CELLAR_OK);
    T_EQ_I64(task_status(p, id, &st), CELLAR_OK);
    T_EQ_I64(st.state, CELLAR_TASK_FAILED);
    T_EQ_STR(st.error, "ended its thread");
    T_EQ_U64(figures().thread_ends, 20);
}

static void note_free(void *payload, size_t len, void *ctx)
{
    (void)ctx;
    memset(payload, 0, len); /* a later read of the old attempt would be seen */
    free(payload);
    atomic_fetch_add(&freed, 1);
}

static cellar_verdict hangs_once(const cellar_task *t, void *ctx)
{
    (void)ctx;
    sem_post(&began);
    if (t->attempt > 1) { return cellar_verdict_ok(); }
    wait_for(&go_on);
    T_CHECK(cellar_task_cancelled(t));
    T_CHECK(memcmp(t->payload, "payload", 7) == 0);
    T_EQ_STR(t->tag, "tag");
    T_EQ_I64(cellar_task_progress(t, 1, 2, NULL), CELLAR_E_LOST);
    T_EQ_I64(cellar_task_result_set(t, "late", 4), CELLAR_OK);
    return cellar_verdict_fail();
}

T_CASE(hard_timeout_ends_the_attempt_not_the_thread)
{
    cellar_task_opts o = fast(100); /* a loaded machine may hold up the second attempt as well */
    o.timeout_ms = 1;
    o.hard_timeout_ms = 20;
    open_pool(1);
    name_it("h", hangs_once, &o);
    cellar_submit_opts so = { .struct_size = sizeof so, .free_fn = note_free, .tag = "tag" };
    char *payload = malloc(7);
    T_REQUIRE(payload != NULL);
    memcpy(payload, "payload", 7);
    T_EQ_I64(cellar_task_submit(p, "h", payload, 7, &so, NULL), CELLAR_OK);
    wait_for(&began);
    wait_for(&began); /* the second attempt, on a thread in place of the stuck one */
    while (figures().ok == 0) { sched_yield(); }
    T_CHECK(figures().stuck >= 1);
    T_CHECK(figures().timed_out >= 1);
    T_EQ_U64(atomic_load(&freed), 0); /* the old attempt still reads it */
    sem_post(&go_on);
    while (figures().late == 0) { sched_yield(); }
    T_AFTER_U64(close_it(), atomic_load(&freed), 1);
}

static cellar_verdict until_cancelled(const cellar_task *t, void *ctx)
{
    (void)ctx;
    sem_post(&began);
    while (!cellar_task_cancelled(t)) { sched_yield(); }
    return cellar_verdict_retry();
}

T_CASE_ON(soft_timeout_sets_the_flag, WORKER)
{
    cellar_task_opts o = fast(2);
    o.timeout_ms = 1;
    o.hard_timeout_ms = 3600000;
    name_it("u", until_cancelled, &o);
    const cellar_task_id id = submit("u");
    T_EQ_I64(cellar_task_wait(p, id, 60000, NULL), CELLAR_OK);
    T_FIELDS(figures(), failed, 1, retried, 1, timed_out, 0);
}

T_CASE_ON(cancel_reaches_a_running_task, WORKER)
{
    name_it("u", until_cancelled, NULL);
    const cellar_task_id id = submit("u");
    wait_for(&began);
    T_EQ_I64(cellar_task_cancel(p, id), CELLAR_PENDING);
    const cellar_err err = cellar_task_wait(p, id, 60000, NULL);
    T_CHECK(err == CELLAR_OK || err == CELLAR_E_NOT_FOUND); /* it has ended, or is forgotten */
    T_EQ_U64(figures().cancelled, 1);
}

/* ---- waits ---- */

static cellar_task_id pair[2];
static atomic_uint deadlocks;
static cellar_verdict waits_for_other(const cellar_task *t, void *ctx)
{
    (void)ctx;
    sem_post(&began);
    wait_for(&go_on);
    const bool first = t->id.lo == pair[0].lo && t->id.hi == pair[0].hi;
    const cellar_err err = cellar_task_wait(p, pair[first ? 1 : 0], 60000, NULL);
    T_CHECK(err == CELLAR_OK || err == CELLAR_E_DEADLOCK || err == CELLAR_E_NOT_FOUND);
    atomic_fetch_add(&deadlocks, err == CELLAR_E_DEADLOCK);
    return cellar_verdict_ok();
}

T_CASE(tasks_that_wait_for_each_other_are_refused)
{
    atomic_store(&deadlocks, 0);
    open_pool(4);
    name_it("w", waits_for_other, NULL);
    pair[0] = submit("w");
    pair[1] = submit("w");
    wait_for_many(&began, 2);
    post_many(&go_on, 2);
    T_AFTER_U64(close_it(), atomic_load(&deadlocks), 1);
}

/* ---- a full pool ---- */

static cellar_verdict fills(const cellar_task *t, void *ctx)
{
    (void)t, (void)ctx;
    T_EQ_I64(cellar_task_submit(p, "q", NULL, 0, NULL, NULL), CELLAR_E_DEADLOCK);
    return cellar_verdict_ok();
}

static void *taker(void *taken)
{
    const cellar_task *t;
    uint32_t n;
    cellar_err err;
    while ((err = cellar_task_take(p, "pull", 60000, INT64_MAX, &t, 1, &n)) == CELLAR_OK) {
        T_EQ_U64(n, 1);
        T_EQ_I64(cellar_task_settle(t, cellar_verdict_ok()), CELLAR_OK);
        atomic_fetch_add((atomic_uint *)taken, 1);
    }
    T_EQ_I64(err, CELLAR_E_CLOSED);
    return NULL;
}

T_CASE(takes_wait_for_tasks_until_the_drain)
{
    const cellar_task_opts o = { .struct_size = sizeof o, .queue = "pull" };
    const cellar_submit_opts later = { .struct_size = sizeof later, .delay_ms = 1 };
    atomic_uint taken = 0;
    pthread_t thread[3];
    open_pool(1);
    name_it("l", NULL, &o);
    start_threads(thread, 3, taker, &taken);
    for (int i = 0; i < 300; i++) {
        T_EQ_I64(cellar_task_submit(p, "l", NULL, 0, i % 3 == 0 ? &later : NULL, NULL), CELLAR_OK);
        if (i % 50 != 0) { continue; }
        T_EQ_I64(cellar_pool_set(p, CELLAR_POOL_SET_PAUSE, "pull", 60000), CELLAR_OK);
        T_EQ_I64(cellar_pool_set(p, CELLAR_POOL_SET_PAUSE, "pull", 0), CELLAR_OK);
    }
    T_EQ_I64(cellar_pool_drain(p, CELLAR_DRAIN_ALL, 60000, NULL), CELLAR_OK);
    join_threads(thread, 3);
    T_EQ_U64(atomic_load(&taken), 300);
    close_it();
}

T_CASE(block_waits_for_room)
{
    open_with(1);
    config.on_full = CELLAR_POOL_BLOCK;
    config.queue_cap = 1;
    config.block_timeout_ms = 60000;
    open_it();
    name_it("q", quick, NULL);
    name_it("f", fills, NULL);
    for (int i = 0; i < 50; i++) { (void)submit("q"); } /* waits each time until it has ended */
    const cellar_err err = cellar_task_wait(p, submit("f"), 60000, NULL);
    T_CHECK(err == CELLAR_OK || err == CELLAR_E_NOT_FOUND); /* it has ended, or is forgotten */
    T_AFTER_U64(close_it(), atomic_load(&runs), 50);
    open_with(1);
    config.on_full = CELLAR_POOL_BLOCK;
    config.queue_cap = 1;
    config.block_timeout_ms = 1;
    open_it();
    name_it("h", held, NULL);
    (void)submit("h");
    wait_for(&began);
    T_EQ_I64(cellar_task_submit(p, "h", NULL, 0, NULL, NULL), CELLAR_E_TIMEOUT);
    T_EQ_U64(figures().rejected_full, 1);
    sem_post(&go_on);
    close_it();
}

/* ---- drain, close, resize ---- */

static cellar_verdict spawns(const cellar_task *t, void *ctx)
{
    (void)ctx;
    atomic_fetch_add(&runs, 1);
    const char depth = *(const char *)t->payload;
    const char below = (char)(depth - 1);
    for (int i = 0; i < 2 && depth > 0; i++) {
        T_EQ_I64(cellar_task_submit(p, "s", &below, 1, NULL, NULL), CELLAR_OK);
    }
    return cellar_verdict_ok();
}

static void *release_in_drain(void *arg)
{
    const cellar_task_id none = { 0, 0 };
    while (cellar_task_requeue(p, none) != CELLAR_E_CLOSED) { sched_yield(); }
    sem_post(&go_on);
    return arg;
}

T_CASE_ON(drain_report_exact_with_submits_of_tasks, WORKER)
{
    cellar_drain_report r = cellar_drain_report_default();
    pthread_t t;
    name_it("h", held, NULL);
    name_it("s", spawns, NULL);
    (void)submit("h");
    wait_for(&began);
    for (int i = 0; i < 10; i++) {
        T_EQ_I64(cellar_task_submit(p, "s", "\4", 1, NULL, NULL), CELLAR_OK);
    }
    T_REQUIRE(pthread_create(&t, NULL, release_in_drain, NULL) == 0);
    T_EQ_I64(cellar_pool_drain(p, CELLAR_DRAIN_ALL, 60000, &r), CELLAR_OK);
    pthread_join(t, NULL);
    T_EQ_U64(r.finished, 1 + 10 * 31); /* 11 live ones, and 300 of running tasks */
    T_FIELDS(r, abandoned, 0, still_running, 0);
    T_EQ_U64(figures().submitted, r.finished);
    T_EQ_U64(atomic_load(&runs), 1 + 10 * 31);
}

enum { PRODUCERS = 3 };
static atomic_uint accepted;

static void *produce(void *arg)
{
    const uint64_t rounds = t_share(20000) / T_COST + 10;
    for (uint64_t i = 0; i < rounds; i++) {
        cellar_err err;
        while ((err = cellar_task_submit(p, "q", NULL, 0, NULL, NULL)) == CELLAR_E_BUSY) {
            sched_yield();
        }
        T_EQ_I64(err, CELLAR_OK);
        atomic_fetch_add(&accepted, 1);
    }
    return arg;
}

T_CASE(pool_resize_under_load)
{
    pthread_t t[PRODUCERS];
    static const uint32_t sizes_of[] = { 1, 8, 3, 5, 2 };
    atomic_store(&accepted, 0);
    open_with(2);
    config.queue_cap = 500;
    open_it();
    name_it("q", quick, NULL);
    start_threads(t, PRODUCERS, produce, NULL);
    for (int i = 0; i < 10; i++) {
        const uint32_t n = sizes_of[i % 5];
        T_EQ_I64(cellar_pool_set(p, CELLAR_POOL_SET_WORKERS, NULL, n), CELLAR_OK);
        while (figures().workers != n) { sched_yield(); }
    }
    join_threads(t, PRODUCERS);
    cellar_drain_report r = cellar_drain_report_default();
    T_EQ_I64(cellar_pool_drain(p, CELLAR_DRAIN_ALL, 600000, &r), CELLAR_OK);
    T_EQ_U64(atomic_load(&runs), atomic_load(&accepted)); /* each once */
    T_EQ_U64(figures().ok, atomic_load(&accepted));
    close_it();
}

/* ---- many threads ---- */

static cellar_verdict varies(const cellar_task *t, void *ctx)
{
    (void)ctx;
    atomic_fetch_add(&runs, 1);
    switch ((t->id.lo >> 32) % 5) {
    case 0: return cellar_verdict_fail();
    case 1: return cellar_verdict_retry_after(1);
    case 2: (void)cellar_task_progress(t, 1, 2, "half"); break;
    case 3: (void)cellar_task_error(t, "tries again"); return cellar_verdict_retry();
    default: break;
    }
    return cellar_verdict_ok();
}

static bool look(const cellar_task_status *st, void *ctx)
{
    cellar_task_id *id = ctx;
    T_CHECK(st->state >= CELLAR_TASK_WAITING && st->state <= CELLAR_TASK_EXPIRED);
    *id = st->id;
    return true;
}

static void *meddle(void *arg)
{
    const unsigned me = (unsigned)(uintptr_t)arg;
    const uint64_t rounds = t_share(4000) / T_COST + 10;
    cellar_task_item items[3];
    for (int k = 0; k < 3; k++) { items[k] = (cellar_task_item){ "v", "p", 1, NULL }; }
    for (uint64_t i = 0; i < rounds; i++) {
        cellar_submit_opts o = cellar_submit_opts_default();
        cellar_task_id id = { 0, 0 }, other = { 0, 0 };
        cellar_task_status st = cellar_task_status_default();
        if (i % 3 == 0) { o.unique_key = t_numbered("", i % 4); }
        if (i % 4 == me) { o.delay_ms = (int64_t)(i % 3); }
        if (i % 7 == 0) { o.on_conflict = CELLAR_TASK_CONFLICT_REPLACE; }
        if (i % 11 == 0) { o.on_conflict = CELLAR_TASK_CONFLICT_DEBOUNCE; }
        (void)cellar_task_submit(p, "v", "p", 1, &o, &id);
        (void)task_status(p, id, &st);
        if (i % 5 == 0) { (void)cellar_task_cancel(p, id); }
        if (i % 16 == 0) {
            (void)cellar_task_list(p, NULL, NULL, look, &other);
            (void)cellar_task_requeue(p, other);
            (void)cellar_task_purge(p, other);
        }
        if (i % 16 == 1) {
            (void)submit_linked(p, items, 3, CELLAR_LINKS_GROUP, CELLAR_TASK_ALWAYS, NULL);
        }
        if (i % 64 == 2) { (void)cellar_task_wait(p, id, 5, NULL); }
    }
    return NULL;
}

T_CASE(calls_from_many_threads_keep_every_count)
{
    const cellar_task_opts o = fast(2);
    pthread_t t[PRODUCERS];
    open_with(3);
    config.queue_cap = 200;
    config.dead_cap = 20;
    open_it();
    name_it("v", varies, &o);
    for (uintptr_t i = 0; i < PRODUCERS; i++) {
        T_REQUIRE(pthread_create(&t[i], NULL, meddle, (void *)i) == 0);
    }
    for (int i = 0; i < 100; i++) { (void)figures(); }
    join_threads(t, PRODUCERS);
    cellar_drain_report r = cellar_drain_report_default();
    T_EQ_I64(cellar_pool_drain(p, CELLAR_DRAIN_ALL, 600000, &r), CELLAR_OK);
    T_FIELDS(figures(), live, 0, started, atomic_load(&runs));
    close_it();
}

T_CASE(results_are_there_when_the_wait_returns)
{
    cellar *store, *results;
    open_with(2);
    T_REQUIRE(cellar_open(NULL, &store) == CELLAR_OK);
    T_REQUIRE(cellar_namespace_open(store, "results", NULL, &results) == CELLAR_OK);
    config.results = results;
    open_it();
    name_it("q", quick, NULL);
    for (uint64_t i = 0; i < t_share(2000) / T_COST + 10; i++) {
        cellar_task_status st = cellar_task_status_default();
        const cellar_task_id id = submit("q");
        T_EQ_I64(cellar_task_wait(p, id, 60000, &st), CELLAR_OK);
        T_EQ_I64(st.state, CELLAR_TASK_SUCCEEDED);
        T_EQ_I64(task_status(p, id, &st), CELLAR_OK); /* at no moment unknown */
        T_EQ_I64(st.state, CELLAR_TASK_SUCCEEDED);
    }
    T_AFTER_I64(close_it(), cellar_namespace_close(results), CELLAR_OK);
    T_EQ_I64(cellar_close(store), CELLAR_OK);
}

static atomic_bool slow;

/* Clock of the store of results: stops the first thread of the pool that reads it. */
static int64_t clock_that_stops(void *ctx)
{
    if (!pthread_equal(pthread_self(), *(pthread_t *)ctx) && atomic_exchange(&slow, false)) {
        sem_post(&began);
        wait_for(&go_on);
    }
    return 1000000;
}

static cellar_verdict answers(const cellar_task *t, void *ctx)
{
    (void)ctx;
    T_EQ_I64(cellar_task_result_set(t, "42", 2), CELLAR_OK);
    return cellar_verdict_ok();
}

T_CASE(wait_lasts_until_the_result_is_stored)
{
    pthread_t self = pthread_self();
    cellar_config cfg = cellar_config_default();
    cellar *store;
    char buf[4];
    size_t len;
    open_with(1);
    cellar_host_config host = { .struct_size = sizeof host, .clock = clock_that_stops,
                                .clock_ctx = &self, .no_threads = 1 };
    cfg.host = &host;
    T_REQUIRE(cellar_open(&cfg, &store) == CELLAR_OK);
    config.results = store;
    open_it();
    name_it("a", answers, NULL);
    atomic_store(&slow, true);
    const cellar_task_id id = submit("a");
    wait_for(&began);
    T_EQ_I64(cellar_task_wait(p, id, 0, NULL), CELLAR_PENDING);
    T_EQ_I64(cellar_task_wait(p, id, 1, NULL), CELLAR_E_TIMEOUT);
    T_EQ_I64(cellar_task_result_get(p, id, buf, sizeof buf, &len), CELLAR_PENDING);
    sem_post(&go_on);
    T_EQ_I64(cellar_task_wait(p, id, 60000, NULL), CELLAR_OK);
    T_EQ_I64(cellar_task_result_get(p, id, buf, sizeof buf, &len), CELLAR_OK);
    T_EQ_U64(len, 2);
    T_AFTER_I64(close_it(), cellar_close(store), CELLAR_OK);
}

T_CASE_ON(attempts_that_end_in_time_wake_the_timers_once, WORKER)
{
    cellar_task_opts o = { .struct_size = sizeof o, .timeout_ms = 3600000 };
    name_it("quick", quick, &o);
    const uint32_t before = atomic_load(&p->ticker.bell);
    for (int i = 0; i < 100; i++) {
        (void)submit("quick");
        wait_for(&began);
    }
    T_CHECK(atomic_load(&p->ticker.bell) - before <= 1);
}

T_CASE_ON(each_delay_after_an_idle_time_wakes_the_timers, WORKER)
{
    const cellar_submit_opts o = { .struct_size = sizeof o, .delay_ms = 2 };
    name_it("quick", quick, NULL);
    for (uint32_t i = 0; i < 3; i++) {
        const uint32_t before = atomic_load(&p->ticker.bell);
        T_EQ_I64(cellar_task_submit(p, "quick", NULL, 0, &o, NULL), CELLAR_OK);
        /* The first look of the thread may find the first one. */
        if (i != 0) { T_EQ_U64(atomic_load(&p->ticker.bell) - before, 1); }
        wait_for(&began);
    }
}

static bool list_exits(const cellar_task_status *st, void *ctx)
{
    (void)st, (void)ctx;
    pthread_exit(NULL);
}

static void *list_main(void *arg)
{
    (void)cellar_task_list(arg, NULL, NULL, list_exits, NULL);
    return arg;
}

/* The kit finds what a list left behind. */
T_CASE_ON(list_function_may_end_its_thread, WORKER)
{
    const cellar_submit_opts o = { .struct_size = sizeof o, .delay_ms = 3600000 };
    pthread_t thread;
    void *returned = p;
    name_it("quick", quick, NULL);
    for (int i = 0; i < 3; i++) { T_EQ_I64(cellar_task_submit(p, "quick", "x", 1, &o, NULL), 0); }
    T_REQUIRE(pthread_create(&thread, NULL, list_main, p) == 0);
    T_REQUIRE(pthread_join(thread, &returned) == 0);
    T_CHECK(returned == NULL);
}

T_CASE(open_without_memory_is_refused)
{
    cellar_err err;
    unsigned failed = 0;
    open_with(2);
    EACH_ALLOCATION_FAILS(err, cellar_pool_open(&config, &p)) { failed++; }
    T_CHECK(failed >= 5); /* pool, tables, workers, threads */
    close_it();
}

/* ---- schedules ---- */

static void job(const cellar_task *f, void *ctx) { (void)quick(f, ctx); }
static void held_job(const cellar_task *f, void *ctx) { (void)held(f, ctx); }

static void count_payload(void *payload, size_t len, void *ctx)
{
    (void)payload, (void)len, (void)ctx;
    atomic_fetch_add(&freed, 1);
}

#define IN_2044 "0 0 29 2 MON" /* with opts_now: the next Monday that is a 29 February */

static cellar_schedule_spec opts_now(void)
{
    static const cellar_cron_opts both_days = { .struct_size = sizeof both_days, .day_and = 1 };
    cellar_schedule_spec o = { .struct_size = sizeof o, .phase = CELLAR_PHASE_NOW,
                               .free_fn = count_payload, .cron_opts = &both_days };
    return o;
}

static schedule_figures schedules(void) { return schedule_figures_of(p); }

T_CASE(close_waits_for_a_running_job)
{
    const cellar_schedule_spec o = opts_now();
    open_with(1);
    config.close_timeout_ms = config.grace_ms = 1;
    open_it();
    T_EQ_I64(schedule_every(p, "held", 1, held_job, NULL, &o), CELLAR_OK);
    wait_for(&began);
    T_EQ_I64(cellar_pool_close(p), CELLAR_E_BUSY);
    T_EQ_U64(schedules().running, 1);
    T_EQ_I64(cellar_schedule_trigger(p, "held"), CELLAR_E_CLOSED); /* no run begins any more */
    T_EQ_I64(schedule_every(p, "late", 1, job, NULL, NULL), CELLAR_E_CLOSED);
    T_EQ_I64(cellar_schedule_remove(p, "held"), CELLAR_OK);
    T_EQ_U64(atomic_load(&freed), 0); /* the run still uses ctx */
    sem_post(&go_on);
    cellar_err err;
    while ((err = cellar_pool_close(p)) == CELLAR_E_BUSY) { }
    T_EQ_I64(err, CELLAR_OK);
    T_EQ_U64(atomic_load(&runs), 1);
    T_EQ_U64(atomic_load(&freed), 1);
}

T_CASE(run_that_waits_moves_to_the_schedule_added_again)
{
    const cellar_schedule_spec o = opts_now();
    open_pool(1);
    T_EQ_I64(schedule_cron(p, "held", IN_2044, NULL, held_job, NULL, &o), CELLAR_OK);
    T_EQ_I64(cellar_schedule_trigger(p, "held"), CELLAR_OK);
    wait_for(&began);
    T_EQ_I64(schedule_every(p, "hourly", 3600000, job, NULL, &o), CELLAR_OK);
    T_EQ_I64(schedule_cron(p, "waits", IN_2044, NULL, job, NULL, &o), CELLAR_OK);
    T_EQ_I64(cellar_schedule_trigger(p, "waits"), CELLAR_OK);
    while (schedules().waiting < 2) { sched_yield(); } /* the one worker is busy */
    T_EQ_I64(schedule_every(p, "hourly", 3600000, job, NULL, &o), CELLAR_OK);
    T_EQ_I64(schedule_cron(p, "waits", IN_2044, NULL, job, NULL, &o), CELLAR_OK);
    T_EQ_U64(schedules().skipped_change, 0);
    sem_post(&go_on);
    wait_for_many(&began, 2);
    T_AFTER_U64(close_it(), atomic_load(&runs), 3);
    T_EQ_U64(atomic_load(&freed), 5);
}

T_CASE(runs_of_a_schedule_added_again_count_for_max_running)
{
    cellar_schedule_spec o = opts_now();
    o.overlap = CELLAR_OVERLAP_QUEUE;
    open_pool(2);
    T_EQ_I64(schedule_every(p, "held", 1, held_job, NULL, &o), CELLAR_OK);
    for (unsigned i = 1; i <= 3; i++) {
        wait_for(&began);
        T_EQ_I64(schedule_every(p, "held", 1, held_job, NULL, &o), CELLAR_OK);
        T_EQ_I64(schedule_every(p, "held", 1, held_job, NULL, &o), CELLAR_OK);
        T_EQ_I64(cellar_schedule_trigger(p, "held"), CELLAR_E_BUSY);
        T_EQ_U64(atomic_load(&runs), i);
        sem_post(&go_on); /* the firing that waits for this end begins */
    }
    wait_for(&began);
    T_EQ_I64(cellar_schedule_remove(p, "held"), CELLAR_OK);
    sem_post(&go_on);
    T_AFTER_U64(close_it(), atomic_load(&runs), 4);
    T_EQ_U64(atomic_load(&freed), 7);
}

/* After remove returns no run begins: the flag is lowered then, and a run that had begun before is
 * waited for by free_fn. */
static sem_t gone;
static void tell_gone(void *payload, size_t len, void *ctx)
{
    (void)payload, (void)len, (void)ctx;
    sem_post(&gone);
}

static void late_look(const cellar_task *f, void *ctx)
{
    (void)f;
    T_EQ_U64(atomic_load((atomic_uint *)ctx), 1);
    atomic_fetch_add(&runs, 1);
    sem_post(&began);
}

T_CASE(no_run_begins_after_remove_returned)
{
    cellar_schedule_spec o = opts_now();
    atomic_uint flag;
    o.free_fn = tell_gone;
    o.max_running = 4;
    open_pool(4);
    T_REQUIRE(sem_init(&gone, 0, 0) == 0);
    for (uint64_t i = 0; i < t_share(400) / T_COST + 1; i++) {
        atomic_init(&flag, 1);
        T_EQ_I64(schedule_every(p, "x", 1, late_look, &flag, &o), CELLAR_OK);
        if (i % 4 == 0) { wait_for(&began); }
        (void)cellar_schedule_trigger(p, "x");
        T_EQ_I64(cellar_schedule_remove(p, "x"), CELLAR_OK);
        wait_for(&gone); /* runs that had begun have ended */
        atomic_store(&flag, 0);
        while (sem_trywait(&began) == 0) { }
    }
    close_it();
}

/* Each thread adds, changes and removes two names of its own, while others list them. */
static void *change_schedules(void *arg)
{
    const cellar_schedule_spec o = opts_now();
    for (uint64_t i = 0; i < t_share(2000) / T_COST + 1; i++) {
        const char name[] = { (char)('a' + (uintptr_t)arg), (char)('0' + i % 2), '\0' };
        T_EQ_I64(schedule_every(p, name, 1, job, NULL, &o), CELLAR_OK);
        (void)cellar_schedule_trigger(p, name);
        T_EQ_I64(cellar_schedule_pause(p, name, i % 3 == 0), CELLAR_OK);
        T_EQ_I64(cellar_schedule_remove(p, name), CELLAR_OK);
    }
    return NULL;
}

static bool count_list(const cellar_schedule_info *info, void *ctx)
{
    ++*(unsigned *)ctx;
    return info->name[0] != '\0';
}

T_CASE(schedules_changed_by_many_threads_are_freed_once)
{
    pthread_t t[3];
    open_pool(4);
    start_numbered(t, 3, change_schedules, 0);
    for (unsigned i = 0; i < 200; i++) {
        unsigned n = 0;
        T_EQ_I64(cellar_schedule_list(p, count_list, &n), CELLAR_OK);
        T_CHECK(n <= 6);
        (void)cellar_tick(p, 0, NULL);
    }
    join_threads(t, 3);
    T_EQ_U64(schedules().schedules, 0);
    T_AFTER_U64(close_it(), atomic_load(&freed), 3 * (t_share(2000) / T_COST + 1));
}

/* ---- messages ---- */

static void count_context(void *ctx)
{
    (void)ctx;
    atomic_fetch_add(&freed, 1);
}

static void group(const char *queue, const char *name, cellar_task_fn fn, void *ctx,
                  const cellar_bus_group_config *o)
{
    T_REQUIRE(cellar_bus_group_add(p, queue, name, fn, ctx, o) == CELLAR_OK);
}

static cellar_err send(const char *queue) { return bus_send(p, queue, "x", 1, NULL); }

static void drain_and_close(void)
{
    T_EQ_I64(cellar_pool_drain(p, CELLAR_DRAIN_ALL, 3600000, NULL), CELLAR_OK);
    (void)figures();
    close_it();
}

/* ---- back-pressure ---- */

static _Atomic int32_t blocked_code;

static void *send_one(void *arg)
{
    atomic_store(&blocked_code, (int32_t)send(arg));
    sem_post(&began);
    return NULL;
}

/* Whether the publisher sleeps before the second group comes, or looks after it: both groups get
 * the message. Whether it sleeps before its own group goes, or looks after it: it returns. */
T_CASE(blocked_publisher_sees_groups_come_and_go)
{
    static char q[] = "q";
    const cellar_bus_group_config o = { .struct_size = sizeof o, .max_messages = 1,
                                        .on_full = CELLAR_BUS_FULL_BLOCK };
    open_pool(1);
    for (int i = 0; i < 20; i++) {
        const cellar_task *taken;
        uint32_t n;
        pthread_t t;
        group(q, "old", NULL, NULL, &o);
        T_EQ_I64(send(q), CELLAR_OK);
        T_REQUIRE(pthread_create(&t, NULL, send_one, q) == 0);
        for (int k = 0; k < i * 10; k++) { sched_yield(); }
        group(q, "new", NULL, NULL, NULL);
        if (i % 2 == 0) {
            T_EQ_I64(cellar_task_take(p, "old", 3600000, 0, &taken, 1, &n), CELLAR_OK);
            T_EQ_I64(cellar_task_settle(taken, cellar_verdict_ok()), CELLAR_OK);
        } else {
            T_EQ_I64(cellar_bus_group_remove(p, "old"), CELLAR_OK);
        }
        pthread_join(t, NULL);
        wait_for(&began);
        T_EQ_I64(atomic_load(&blocked_code), CELLAR_OK);
        T_EQ_U64(of_name("new").live, 1);
        if (i % 2 == 0) {
            T_EQ_U64(of_name("old").live, 1);
            T_EQ_I64(cellar_bus_group_remove(p, "old"), CELLAR_OK);
        }
        T_EQ_I64(cellar_bus_group_remove(p, "new"), CELLAR_OK);
        (void)figures();
    }
    close_it();
}

static _Atomic int64_t now_ms;

static int64_t read_clock(void *ctx)
{
    (void)ctx;
    return atomic_load(&now_ms);
}

T_CASE(expired_message_runs_in_no_burst)
{
    const cellar_host_config host = { .struct_size = sizeof host, .clock = read_clock };
    const cellar_bus_publish_opts o = { .struct_size = sizeof o, .expires_ms = 10 };
    atomic_store(&now_ms, 1000000);
    open_with(1);
    config.host = &host;
    open_it();
    group("h", NULL, held, NULL, NULL);
    group("q", NULL, quick, NULL, NULL);
    T_EQ_I64(send("h"), CELLAR_OK);
    wait_for(&began);
    for (int i = 0; i < 4; i++) {
        T_EQ_I64(bus_send(p, "q", "x", 1, i % 2 == 0 ? NULL : &o), CELLAR_OK);
    }
    atomic_fetch_add(&now_ms, 20);
    sem_post(&go_on);
    wait_for_many(&began, 2); /* a drain allows no bursts */
    drain_and_close();
    T_EQ_U64(atomic_load(&runs), 3);
}

/* ---- signals ---- */

static void hear(const char *topic, const void *data, size_t len, void *ctx)
{
    (void)topic, (void)data, (void)len, (void)ctx;
    atomic_fetch_add(&runs, 1);
    sem_post(&began);
    wait_for(&go_on);
}

static void *emit(void *arg)
{
    size_t called;
    T_EQ_I64(cellar_signal_emit(p, "a.b", NULL, 0, &called), CELLAR_OK);
    T_EQ_U64(called, 1);
    return arg;
}

T_CASE(subscriber_is_freed_after_its_last_call)
{
    uint64_t id;
    pthread_t t;
    open_with(1);
    config.close_timeout_ms = config.grace_ms = 1;
    open_it();
    T_EQ_I64(cellar_signal_subscribe(p, "a.#", CELLAR_BUS_AMQP, hear, NULL, count_context, &id),
             CELLAR_OK);
    T_REQUIRE(pthread_create(&t, NULL, emit, NULL) == 0);
    wait_for(&began);
    T_EQ_I64(cellar_pool_drain(p, CELLAR_DRAIN_RUNNING, 1, NULL), CELLAR_E_BUSY);
    T_EQ_I64(cellar_signal_unsubscribe(p, id), CELLAR_OK);
    T_EQ_U64(atomic_load(&freed), 0);
    sem_post(&go_on);
    pthread_join(t, NULL);
    T_EQ_U64(atomic_load(&freed), 1);
    close_it();
}

static void ends_thread(const char *topic, const void *data, size_t len, void *ctx)
{
    (void)topic, (void)data, (void)len, (void)ctx;
    pthread_exit(NULL);
}

T_CASE(subscriber_may_end_its_thread)
{
    pthread_t t;
    open_pool(1);
    T_EQ_I64(cellar_signal_subscribe(p, "#", CELLAR_BUS_AMQP, ends_thread, NULL, count_context,
                                     NULL), CELLAR_OK);
    T_REQUIRE(pthread_create(&t, NULL, emit, NULL) == 0);
    pthread_join(t, NULL);
    char text[1 << 14];
    size_t len;
    T_REQUIRE(cellar_metrics_write(p, text, sizeof text, &len) == CELLAR_OK);
    T_CHECK(strstr(text, "\ncellar_bus_thread_ends_total{pool=\"pool\"} 1\n") != NULL);
    T_AFTER_U64(close_it(), atomic_load(&freed), 1); /* no call of it runs */
}

/* ---- fork ---- */

#define REFUSED(call) T_EQ_I64((call), CELLAR_E_FORKED)

static const cellar_task *in_hand;

static void tasks_are_refused(void)
{
    const cellar_task_id none = { 0, 0 };
    cellar_task_status st = cellar_task_status_default();
    const cellar_task *t;
    uint32_t n;
    REFUSED(cellar_task_submit(p, "q", NULL, 0, NULL, NULL));
    REFUSED(cellar_task_register(p, "n", quick, NULL, NULL));
    REFUSED(cellar_task_cancel(p, none));
    REFUSED(cellar_task_requeue(p, none));
    REFUSED(cellar_task_purge(p, none));
    REFUSED(task_status(p, none, &st));
    REFUSED(cellar_task_result_get(p, none, NULL, 0, NULL));
    REFUSED(cellar_task_wait(p, none, 0, NULL));
    REFUSED(cellar_task_list(p, NULL, NULL, look, NULL));
    REFUSED(cellar_task_take(p, "p", 1, 0, &t, 1, &n));
    REFUSED(cellar_task_settle(in_hand, cellar_verdict_ok()));
    REFUSED(cellar_tick(p, 0, NULL));
    REFUSED(cellar_pool_set(p, CELLAR_POOL_SET_WORKERS, NULL, 1));
    REFUSED(cellar_pool_set(p, CELLAR_POOL_SET_PAUSE, "default", 0));
    REFUSED(cellar_pool_set(p, CELLAR_POOL_SET_WEIGHT, "default", 1));
    REFUSED(cellar_pool_route(p, "*", "x", NULL));
    REFUSED(cellar_pool_drain(p, CELLAR_DRAIN_ALL, 0, NULL));
}

static bool see(const cellar_schedule_info *info, void *ctx) { return info != ctx; }

static int child_of(void)
{
    int64_t next;
    size_t n;
    tasks_are_refused();
    REFUSED(schedule_every(p, "n", 1, job, NULL, NULL));
    REFUSED(schedule_cron(p, "n", "* * * * *", NULL, job, NULL, NULL));
    REFUSED(schedule_at(p, "n", 1, job, NULL, NULL));
    REFUSED(cellar_schedule_remove(p, "waits"));
    REFUSED(cellar_schedule_pause(p, "waits", true));
    REFUSED(cellar_schedule_pause(p, "waits", false));
    REFUSED(cellar_schedule_trigger(p, "waits"));
    REFUSED(cellar_schedule_next(p, "waits", &next, 1, &n));
    REFUSED(cellar_schedule_list(p, see, NULL));
    T_EQ_I64(cellar_cron_next("* * * * *", NULL, NULL, 0, &next, 1, &n), CELLAR_OK);
    REFUSED(cellar_bus_group_add(p, "n", NULL, NULL, NULL, NULL));
    REFUSED(cellar_bus_group_remove(p, "p"));
    REFUSED(cellar_bus_route(p, "#", "p", CELLAR_BUS_AMQP, true));
    REFUSED(cellar_bus_route(p, "#", "p", CELLAR_BUS_AMQP, false));
    REFUSED(cellar_bus_publish(p, "k", NULL, 0, NULL));
    REFUSED(send("p"));
    REFUSED(cellar_signal_emit(p, "k", NULL, 0, NULL));
    REFUSED(cellar_signal_subscribe(p, "k", CELLAR_BUS_AMQP, hear, NULL, NULL, NULL));
    REFUSED(cellar_signal_unsubscribe(p, 1));
    T_EQ_I64(cellar_pool_close(p), CELLAR_OK);
    T_EQ_U64(atomic_load(&freed), 0);
    return t_failed();
}

/* A task runs; a task, a run and a message wait; a message is in hand; a subscriber listens. */
T_CASE(forked_child_is_refused_by_the_pool)
{
    const cellar_submit_opts o = { .struct_size = sizeof o, .free_fn = note_free };
    const cellar_schedule_spec spec = opts_now();
    uint32_t n;
    open_pool(1);
    name_it("held", held, NULL);
    for (int i = 0; i < 2; i++) {
        T_EQ_I64(cellar_task_submit(p, "held", malloc(4), 4, &o, NULL), CELLAR_OK);
    }
    wait_for(&began);
    T_EQ_I64(schedule_cron(p, "waits", IN_2044, NULL, job, NULL, &spec), CELLAR_OK);
    T_EQ_I64(cellar_schedule_trigger(p, "waits"), CELLAR_OK);
    group("p", NULL, NULL, NULL, NULL);
    T_EQ_I64(cellar_signal_subscribe(p, "#", CELLAR_BUS_AMQP, hear, NULL, count_context, NULL),
             CELLAR_OK);
    for (int i = 0; i < 2; i++) { T_EQ_I64(send("p"), CELLAR_OK); }
    T_EQ_I64(cellar_task_take(p, "p", 3600000, 0, &in_hand, 1, &n), CELLAR_OK);
    T_EQ_I64(in_child(fork(), child_of), 0);
    T_EQ_I64(cellar_task_settle(in_hand, cellar_verdict_ok()), CELLAR_OK); /* the parent goes on */
    T_EQ_I64(cellar_bus_group_remove(p, "p"), CELLAR_OK);
    post_many(&go_on, 2);
    wait_for_many(&began, 2);
    T_AFTER_U64(close_it(), atomic_load(&runs), 3);
    T_EQ_U64(atomic_load(&freed), 4); /* two payloads, that of the run, the subscriber */
}

static int close_in_child(void) { return cellar_pool_close(p) == CELLAR_OK ? 0 : 1; }

static cellar_verdict forks(const cellar_task *t, void *ctx)
{
    T_EQ_I64(in_child(fork(), close_in_child), 0);
    return quick(t, ctx);
}

T_CASE_ON(task_may_fork, WORKER)
{
    name_it("forks", forks, NULL);
    (void)submit("forks");
    wait_for(&began);
}

T_MAIN("work_task_threads")
