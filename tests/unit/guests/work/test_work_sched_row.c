/* SPDX-License-Identifier: MIT
 *
 * Aim:    a run of a schedule has the retries, time-outs, queues and limits of its task, and is in
 *         no list, figure or limit of tasks.
 * Method: both clocks are variables; the test calls cellar_tick, which runs the jobs. */
#include "cellar_limit.h"
#include "tests/support/schedule_kit.h" /* before the variables of the kit */
#include "tests/support/pool_kit.h"
#include "tests/support/zones.h"

#define SECOND INT64_C(1000)
#define HOUR (3600 * SECOND)
#define START INT64_C(1704067200000) /* 2024-01-01 00:00 UTC */

static void open_full(cellar_pool_full on_full, uint32_t queue_cap)
{
    defaults();
    wall_ms = START;
    config.on_full = on_full;
    config.queue_cap = queue_cap;
    open_it();
}

#define REJECTS(fn) T_WITHIN(fn, open_full(CELLAR_POOL_REJECT, 0), close_it())

static schedule_figures schedules(void) { return schedule_figures_of(p); }

static cellar_schedule_spec opts_now(void)
{
    cellar_schedule_spec o = { .struct_size = sizeof o, .phase = CELLAR_PHASE_NOW };
    return o;
}

static cellar_verdict says;
static uint32_t attempts;

static cellar_verdict say(const cellar_task *t, void *ctx)
{
    (void)ctx;
    attempts++;
    T_CHECK(t->id.hi == 0 && t->id.lo == 0);
    T_EQ_STR(t->tag, "row");
    T_EQ_MEM(t->payload, "load", 4);
    if (says.kind != CELLAR_VERDICT_OK) { (void)cellar_task_error(t, "mailbox full"); }
    return says;
}

static cellar_schedule_spec row_each(int64_t interval_ms)
{
    cellar_schedule_spec o = opts_now();
    o.task = "say";
    o.payload = "load";
    o.payload_len = 4;
    o.interval_ms = interval_ms;
    return o;
}

/* Open a pool with a task that tries 3 times, after 1 and 2 s. */
static void open_task(const char *name, cellar_task_fn fn, const cellar_task_opts *with)
{
    cellar_task_opts o = with != NULL ? *with : cellar_task_opts_default();
    open_full(CELLAR_POOL_REJECT, 0);
    attempts = 0;
    o.base_ms = SECOND;
    o.jitter = CELLAR_TASK_JITTER_NONE;
    o.max_attempts = 3;
    T_EQ_I64(cellar_task_register(p, name, fn, NULL, &o), CELLAR_OK);
}

/* Open a pool with schedule "row" of task "say". */
static void open_row(int64_t interval_ms, const cellar_task_opts *o)
{
    const cellar_schedule_spec spec = row_each(interval_ms);
    says = cellar_verdict_ok();
    open_task("say", say, o);
    T_EQ_I64(cellar_schedule_add(p, "row", &spec), CELLAR_OK);
}

static bool copy_info(const cellar_schedule_info *info, void *ctx)
{
    static char error[64];
    *(cellar_schedule_info *)ctx = *info;
    (void)snprintf(error, sizeof error, "%s", info->error);
    ((cellar_schedule_info *)ctx)->error = error;
    return true;
}

static cellar_schedule_info info_of_row(void)
{
    cellar_schedule_info info = cellar_schedule_info_default();
    T_EQ_I64(cellar_schedule_list(p, copy_info, &info), CELLAR_OK);
    return info;
}

T_CASE(retry_of_a_run_comes_before_the_next_firing_or_the_run_fails)
{
    open_row(10 * SECOND, NULL);
    says = cellar_verdict_retry();
    T_AFTER_U64(tick(), attempts, 1);
    T_EQ_U64(info_of_row().running, 1);
    T_AFTER_U64(pass(SECOND), attempts, 2);
    T_AFTER_U64(pass(2 * SECOND), attempts, 3);
    T_FIELDS(info_of_row(), failed, 1, running, 0);
    T_EQ_STR(info_of_row().error, "mailbox full");
    T_AFTER_U64(pass(7 * SECOND), attempts, 4);
    T_AFTER_U64(pass(SECOND), attempts, 5);
    says = cellar_verdict_retry_after(8 * SECOND); /* the next firing is in 7 s */
    T_AFTER_U64(pass(2 * SECOND), attempts, 6);
    T_EQ_U64(info_of_row().failed, 2);
    says = cellar_verdict_ok();
    T_AFTER_U64(pass(7 * SECOND), attempts, 7);
    T_EQ_U64(info_of_row().runs, 3);
    T_FIELDS(schedules(), failed, 2, skipped_overlap, 0);
    close_it();
}

static bool count_task(const cellar_task_status *status, void *ctx)
{
    (void)status;
    ++*(unsigned *)ctx;
    return true;
}

T_CASE(run_is_no_task_of_lists_limits_and_drains)
{
    cellar_pool_stats st = cellar_pool_stats_default();
    unsigned tasks = 0;
    open_row(SECOND, NULL);
    says = cellar_verdict_fail();
    T_AFTER_U64(tick(), attempts, 1);
    (void)cellar_schedule_trigger(p, "row");
    T_EQ_U64(schedules().waiting, 1);
    T_EQ_I64(cellar_task_list(p, NULL, NULL, count_task, &tasks), CELLAR_OK);
    T_EQ_I64(cellar_pool_stats_get(p, "say", &st), CELLAR_OK);
    T_EQ_U64(tasks, 0);
    T_EQ_U64(st.live + st.dead + st.failed + st.submitted, 0);
    T_EQ_U64(st.started, 1);
    T_EQ_I64(cellar_pool_drain(p, CELLAR_DRAIN_ALL, 0, NULL), CELLAR_OK);
    T_AFTER_U64(pass(5 * SECOND), attempts, 1); /* neither the run that waited nor a firing began */
    T_EQ_I64(cellar_schedule_trigger(p, "row"), CELLAR_E_CLOSED);
    close_it();
}

T_CASE(full_pool_drops_tasks_but_no_run)
{
    cellar_submit_opts tagged = { .struct_size = sizeof tagged, .tag = "row" };
    const cellar_schedule_spec spec = row_each(HOUR);
    open_full(CELLAR_POOL_DROP_OLDEST, 2);
    says = cellar_verdict_ok();
    T_EQ_I64(cellar_task_register(p, "say", say, NULL, NULL), CELLAR_OK);
    T_EQ_I64(cellar_schedule_add(p, "row", &spec), CELLAR_OK);
    T_EQ_I64(cellar_schedule_trigger(p, "row"), CELLAR_OK);
    for (int i = 0; i < 9; i++) {
        T_EQ_I64(cellar_task_submit(p, "say", "load", 4, &tagged, NULL), CELLAR_OK);
    }
    T_EQ_U64(schedules().waiting, 1);
    T_EQ_I64(cellar_schedule_remove(p, "row"), CELLAR_OK);
    close_it();
}

/* ---- no attempt begins after a change ---- */

static const char *changes; /* schedule that the next attempt, or question to a limiter, removes */
static bool pauses;         /* it is paused instead */

static void change(void)
{
    if (changes == NULL) { return; }
    T_EQ_I64(pauses ? cellar_schedule_pause(p, changes, true) : cellar_schedule_remove(p, changes),
             CELLAR_OK);
    changes = NULL;
}

static cellar_verdict change_and_retry(const cellar_task *t, void *ctx)
{
    (void)t, (void)ctx;
    attempts++;
    change();
    return cellar_verdict_retry();
}

static void open_change(const cellar_task_opts *o)
{
    changes = NULL;
    pauses = false;
    open_task("change", change_and_retry, o);
}

static void add_change(int64_t interval_ms, int64_t at_wall_ms)
{
    cellar_schedule_spec spec = opts_now();
    spec.task = "change";
    spec.interval_ms = interval_ms;
    spec.at_wall_ms = at_wall_ms;
    T_EQ_I64(cellar_schedule_add(p, "row", &spec), CELLAR_OK);
}

#ifndef CELLAR_OMIT_LIMIT
/* The change is that of another thread, which comes while the run is in no list. */
static size_t key_of(const void *payload, size_t len, void *key, size_t key_cap, void *ctx)
{
    (void)payload, (void)len, (void)key_cap, (void)ctx;
    if (attempts == 1) { change(); }
    *(char *)key = 'k';
    return 1;
}
#endif

T_CASE(removed_run_that_asks_its_limiter_again_never_begins)
{
#ifdef CELLAR_OMIT_LIMIT
    T_SKIP("this build has no limiters");
#else
    cellar_limiter *l;
    cellar_task_opts o = cellar_task_opts_default();
    const cellar_rule rule = cellar_rule_token_bucket(9, CELLAR_SECOND_NS, 9);
    const cellar_host_config h = { .struct_size = sizeof h, .clock = read_mono, .no_threads = 1 };
    const cellar_limiter_config c = { .struct_size = sizeof c, .host = &h };
    T_REQUIRE(cellar_limiter_open(&c, &rule, 1, &l) == CELLAR_OK);
    o.rate = l;
    o.rate_key = key_of;
    open_change(&o);
    add_change(HOUR, 0);
    T_AFTER_U64(tick(), attempts, 1);
    changes = "row";
    (void)pass(SECOND);
    T_CHECK(changes == NULL);
    T_AFTER_U64(pass(10 * SECOND), attempts, 1);
    T_EQ_U64(schedules().skipped_change, 0); /* the run began */
    T_EQ_U64(schedules().ended, 1);
    close_it();
    cellar_limiter_close(l);
#endif
}

T_CASE(removed_run_that_is_not_acknowledged_is_not_queued_again)
{
    cellar_task_opts o = { .struct_size = sizeof o, .queue = "pull" };
    cellar_schedule_spec spec = opts_now();
    const cellar_task *t;
    uint32_t n;
    for (int i = 0; i < 3; i++) { /* removed, paused, or its next firing waits for the end */
        spec.overlap = i == 2 ? CELLAR_OVERLAP_QUEUE : CELLAR_OVERLAP_SKIP;
        open_full(CELLAR_POOL_REJECT, 0);
        T_EQ_I64(cellar_task_register(p, "taken", NULL, NULL, &o), CELLAR_OK);
        spec.task = "taken";
        spec.interval_ms = SECOND;
        T_EQ_I64(cellar_schedule_add(p, "row", &spec), CELLAR_OK);
        (void)tick();
        T_EQ_I64(cellar_task_take(p, "pull", i == 2 ? SECOND : 100, 0, &t, 1, &n), CELLAR_OK);
        T_REQUIRE(n == 1);
        if (i == 0) { T_EQ_I64(cellar_schedule_remove(p, "row"), CELLAR_OK); }
        if (i == 1) { T_EQ_I64(cellar_schedule_pause(p, "row", true), CELLAR_OK); }
        T_AFTER_U64(pass(i == 2 ? SECOND : 100), schedules().ended, 1);
        T_EQ_I64(cellar_task_settle(t, cellar_verdict_ok()), CELLAR_E_LOST);
        (void)cellar_task_take(p, "pull", 100, 0, &t, 1, &n);
        T_EQ_U64(n, i == 2);
        if (n == 1) {
            T_EQ_U64(t->attempt, 1);
            T_EQ_I64(t->due_wall_ms, START + SECOND);
            T_EQ_I64(cellar_task_settle(t, cellar_verdict_ok()), CELLAR_OK);
        }
        close_it();
    }
}

/* Take the run of schedule "row", which is due at an instant. */
static const cellar_task *take_due(int64_t due_wall_ms)
{
    const cellar_task *t = NULL;
    uint32_t n;
    T_EQ_I64(cellar_task_take(p, "pull", HOUR, 0, &t, 1, &n), CELLAR_OK);
    T_REQUIRE(n == 1);
    T_EQ_I64(t->due_wall_ms, due_wall_ms);
    return t;
}

/* Fault: the firing kept its time of the old clock, and no other one came before it. */
T_CASE(firing_that_waits_for_a_run_follows_a_clock_that_goes_back)
{
    static const struct { const char *cron; int64_t back_ms, next_ms; } row[] = {
        { "* * * * *", HOUR, 60 * SECOND },
        { "1,2,3 0 * * *", 24 * HOUR, 60 * SECOND }, /* fixed times, and a correction */
        { "1,2,3 0 * * *", 30 * SECOND, 30 * SECOND }, /* it fires at its time, once */
    };
    const cellar_task_opts o = { .struct_size = sizeof o, .queue = "pull" };
    for (size_t i = 0; i < 3; i++) {
        cellar_schedule_spec spec = opts_now();
        open_full(CELLAR_POOL_REJECT, 0);
        T_EQ_I64(cellar_task_register(p, "taken", NULL, NULL, &o), CELLAR_OK);
        spec.task = "taken";
        spec.cron = row[i].cron;
        spec.overlap = CELLAR_OVERLAP_QUEUE;
        T_EQ_I64(cellar_schedule_add(p, "row", &spec), CELLAR_OK);
        (void)pass(60 * SECOND);
        const cellar_task *t = take_due(START + 60 * SECOND);
        (void)pass(60 * SECOND); /* the second firing waits */
        wall_ms -= row[i].back_ms;
        (void)tick();
        T_EQ_I64(cellar_task_settle(t, cellar_verdict_ok()), CELLAR_OK);
        (void)pass(row[i].next_ms);
        t = take_due(START + 120 * SECOND - row[i].back_ms + row[i].next_ms);
        T_EQ_I64(cellar_task_settle(t, cellar_verdict_ok()), CELLAR_OK);
        T_EQ_U64(schedules().missed + schedules().skipped_overlap, 0);
        close_it();
    }
}

T_CASE(run_during_which_its_schedule_is_changed_is_not_tried_again)
{
    for (int i = 0; i < 3; i++) { /* interval removed, paused; instant to come removed */
        open_change(NULL);
        add_change(i < 2 ? HOUR : 0, i < 2 ? 0 : START + HOUR);
        if (i == 2) { T_EQ_I64(cellar_schedule_trigger(p, "row"), CELLAR_OK); }
        changes = "row";
        pauses = i == 1;
        T_AFTER_U64(tick(), attempts, 1);
        T_CHECK(changes == NULL);
        T_AFTER_U64(pass(2 * HOUR), attempts, 1);
        close_it();
    }
}

T_CASE(triggered_run_of_an_instant_makes_room_for_it)
{
    open_change(NULL);
    add_change(0, START + 1500);
    T_EQ_I64(cellar_schedule_trigger(p, "row"), CELLAR_OK);
    (void)tick();
    T_AFTER_U64(pass(SECOND), attempts, 2); /* the next attempt would be after the instant */
    T_AFTER_U64(pass(500), schedules().skipped_overlap, 0);
    T_EQ_U64(attempts, 3);
    (void)pass(SECOND);
    T_AFTER_U64(pass(2 * SECOND), attempts, 5); /* of the instant: 3, as no firing follows */
    T_EQ_U64(schedules().ended, 2);
    close_it();
}

/* ---- an instant, from its firing to the end of its run ---- */

/* Open a pool with instant "row" of now; its run waits in a paused queue. */
static void open_instant(void)
{
    open_change(NULL);
    T_EQ_I64(cellar_pool_set(p, CELLAR_POOL_SET_PAUSE, "default", HOUR), CELLAR_OK);
    add_change(0, START);
    T_AFTER_U64(tick(), schedules().waiting, 1);
    T_EQ_U64(schedules().schedules, 1);
}

#define INSTANT(fn) T_WITHIN(fn, open_instant(), close_it())

static void resume_queue(void)
{
    T_EQ_I64(cellar_pool_set(p, CELLAR_POOL_SET_PAUSE, "default", 0), CELLAR_OK);
    (void)tick();
}

T_CASE_ON(instant_added_again_while_its_run_waits_runs_once, INSTANT)
{
    for (int i = 0; i < 9; i++) {
        add_change(0, START);
        (void)tick();
    }
    T_EQ_U64(schedules().waiting, 1);
    T_FIELDS(info_of_row(), running, 1, next_wall_ms, INT64_MAX);
    add_change(0, START + 1); /* another instant */
    T_AFTER_U64(pass(1), schedules().waiting, 1);
    T_EQ_U64(schedules().skipped_change, 1);
    T_AFTER_U64(resume_queue(), attempts, 1);
}

T_CASE_ON(instant_ends_with_its_last_attempt, INSTANT)
{
    resume_queue();
    T_AFTER_U64(pass(SECOND), attempts, 2);
    T_EQ_U64(schedules().schedules, 1);
    T_EQ_I64(cellar_schedule_trigger(p, "row"), CELLAR_E_BUSY);
    T_AFTER_U64(pass(2 * SECOND), attempts, 3);
    T_EQ_U64(schedules().schedules, 0);
    T_EQ_I64(cellar_schedule_remove(p, "row"), CELLAR_E_NOT_FOUND);
}

T_CASE_ON(instant_that_fired_is_removed_before_its_run_begins, INSTANT)
{
    T_EQ_I64(cellar_schedule_remove(p, "row"), CELLAR_OK);
    T_FIELDS(schedules(), skipped_change, 1, schedules, 0);
    T_AFTER_U64(resume_queue(), attempts, 0);
}

T_CASE_ON(instant_that_fired_waits_for_the_end_of_a_pause, INSTANT)
{
    T_EQ_I64(cellar_schedule_pause(p, "row", true), CELLAR_OK);
    T_AFTER_U64(resume_queue(), attempts, 0);
    T_FIELDS(schedules(), schedules, 1, skipped_change, 0);
    T_EQ_I64(cellar_schedule_pause(p, "row", false), CELLAR_OK);
    T_AFTER_U64(tick(), attempts, 1);
}

T_CASE(instant_paused_between_or_in_attempts_fires_again)
{
    for (int i = 0; i < 2; i++) {
        open_instant();
        if (i == 1) { changes = "row"; }
        pauses = true;
        T_AFTER_U64(resume_queue(), attempts, 1);
        if (i == 0) { T_EQ_I64(cellar_schedule_pause(p, "row", true), CELLAR_OK); }
        T_AFTER_U64(pass(HOUR), attempts, 1);
        T_EQ_I64(cellar_schedule_pause(p, "row", false), CELLAR_OK);
        T_AFTER_U64(tick(), attempts, 2);
        T_EQ_U64(info_of_row().running, 1);
        close_it();
    }
}

T_CASE_ON(instant_added_again_between_attempts_fires_again, INSTANT)
{
    T_AFTER_U64(resume_queue(), attempts, 1);
    add_change(0, START); /* the old run is not tried again */
    T_AFTER_U64(tick(), attempts, 2);
    T_EQ_U64(schedules().ended, 1);
    T_EQ_U64(info_of_row().running, 1);
}

static char order[8];
static int64_t late_ms;

static cellar_verdict note_order(const cellar_task *task, void *ctx)
{
    (void)ctx;
    strcat(order, task->due_wall_ms != 0 ? "r" : "t");
    if (task->due_wall_ms != 0) { late_ms = task->late_ms; }
    return cellar_verdict_ok();
}

T_CASE_ON(late_run_waits_since_its_firing, REJECTS)
{
    cellar_submit_opts before = { .struct_size = sizeof before, .priority = 7 };
    cellar_schedule_spec spec = opts_now();
    order[0] = '\0';
    T_EQ_I64(cellar_task_register(p, "order", note_order, NULL, NULL), CELLAR_OK);
    spec.task = "order";
    spec.at_wall_ms = START - HOUR;
    T_EQ_I64(cellar_schedule_add(p, "row", &spec), CELLAR_OK);
    T_EQ_I64(cellar_task_submit(p, "order", NULL, 0, &before, NULL), CELLAR_OK);
    T_AFTER_STR(tick(), order, "tr");
    T_EQ_I64(late_ms, HOUR);
}

static cellar_verdict replace_by_one(const cellar_task *t, void *ctx)
{
    cellar_schedule_spec spec = opts_now();
    (void)t, (void)ctx;
    attempts++;
    spec.task = "replace";
    spec.interval_ms = HOUR;
    if (attempts == 1) { T_EQ_I64(cellar_schedule_add(p, "row", &spec), CELLAR_OK); }
    return cellar_verdict_ok();
}

T_CASE_ON(schedule_replaced_by_one_of_fewer_runs_drops_those_that_wait, REJECTS)
{
    cellar_schedule_spec spec = opts_now();
    attempts = 0;
    T_EQ_I64(cellar_task_register(p, "replace", replace_by_one, NULL, NULL), CELLAR_OK);
    spec.task = "replace";
    spec.interval_ms = HOUR;
    spec.max_running = 3;
    T_EQ_I64(cellar_schedule_add(p, "row", &spec), CELLAR_OK);
    for (int i = 0; i < 3; i++) { T_EQ_I64(cellar_schedule_trigger(p, "row"), CELLAR_OK); }
    T_AFTER_U64(tick(), attempts, 1);
    T_FIELDS(schedules(), skipped_change, 2, skipped_overlap, 1); /* the firing of now */
}

static bool add_again(const cellar_schedule_info *info, void *ctx)
{
    const cellar_schedule_spec spec = row_each(HOUR);
    T_EQ_I64(cellar_schedule_add(p, info->name, &spec), CELLAR_OK);
    return ++*(unsigned *)ctx < 50;
}

T_CASE(list_of_schedules_that_its_function_adds_again_ends)
{
    const cellar_schedule_spec spec = row_each(HOUR);
    unsigned n = 0;
    open_row(HOUR, NULL);
    T_EQ_I64(cellar_schedule_add(p, "second", &spec), CELLAR_OK);
    T_EQ_I64(cellar_schedule_list(p, add_again, &n), CELLAR_OK);
    T_EQ_U64(n, 2);
    close_it();
}

static uint32_t calls;
static int64_t last_due_ms;

/* The first call lasts 3.5 s, during which other ticks run. */
static void hangs(const cellar_task *t, void *ctx)
{
    (void)ctx;
    last_due_ms = t->due_wall_ms;
    if (calls++ != 0) { return; }
    for (int i = 0; i < 7; i++) { (void)pass(500); }
}

T_CASE_ON(run_that_hangs_past_its_hard_time_out_makes_room_for_the_next, REJECTS)
{
    cellar_task_opts o = { .struct_size = sizeof o, .hard_timeout_ms = 1500, .max_attempts = 1 };
    cellar_schedule_spec spec = opts_now();
    T_EQ_I64(cellar_task_register(p, "call", schedule_call, NULL, &o), CELLAR_OK);
    calls = 0;
    T_EQ_I64(schedule_every(p, "row", 1000, hangs, NULL, &spec), CELLAR_OK);
    T_AFTER_U64(tick(), calls, 3); /* 2 s and 3 s, next to the function that hangs */
    T_EQ_I64(last_due_ms, START + 3000);
    T_FIELDS(schedules(), failed, 1, skipped_overlap, 1);
    T_EQ_STR(info_of_row().error, "timed out");
}

T_CASE(schedules_of_one_zone_share_it)
{
    cellar_pool_stats before = cellar_pool_stats_default(), after = before;
    cellar_schedule_spec spec = row_each(0);
    zones_of_the_tree();
    open_row(HOUR, NULL);
    spec.interval_ms = 0;
    spec.cron = "30 2 * * *";
    spec.zone = "Europe/Berlin";
    T_EQ_I64(cellar_schedule_add(p, "first", &spec), CELLAR_OK);
    T_EQ_I64(cellar_pool_stats_get(p, NULL, &before), CELLAR_OK);
    for (unsigned i = 0; i < 64; i++) {
        T_EQ_I64(cellar_schedule_add(p, t_numbered("", i), &spec), CELLAR_OK);
    }
    T_EQ_I64(cellar_pool_stats_get(p, NULL, &after), CELLAR_OK);
    T_CHECK((after.bytes - before.bytes) / 64 < 900); /* a zone has more than 1,000 */
    close_it();
}

T_MAIN("work_sched_row")
