/* SPDX-License-Identifier: MIT
 *
 * Aim:    a schedule with catch_up_on_start continues from its last due time in the journal. What
 *         the process missed runs by the rules of the schedule; a run that a crash interrupts runs
 *         again, one that ended does not, and none gets lost.
 * Method: both clocks are variables; the test calls the ticks. Cases on kills and power cuts are in
 *         test_work_journal_faults. */
#include "work/task.h" /* before the variables of the kits */
#include "tests/support/each_allocation.h"
#include "tests/support/schedule_kit.h"
#include "tests/support/journal_kit.h"

T_ONE_THREAD;

#ifdef CELLAR_WITH_SQLITE
#define MINUTE INT64_C(60000)
#define HOUR (60 * MINUTE)
#define START (INT64_C(1699999200000)) /* a full hour, UTC */

/* ---- jobs ---- */

static int64_t due[256];    /* of the firings since clear */
static uint64_t missed[256];
static size_t fired;
static int64_t stall_ms;    /* the next read of the clock after the job comes so much later */
static int64_t hard_ms;     /* hard_timeout_ms of the job in the next pool; 0: none */
static bool stalls;
static int64_t inside_ms;   /* the job takes so long, and a tick of another thread comes in it */
static bool drains;         /* the add that commits now meets a drain */
static bool adds;           /* the job adds its schedule again, with another phase */

static void add_aligned(void);

static cellar_verdict job(const cellar_task *t, void *ctx)
{
    (void)ctx;
    due[fired % 256] = t->due_wall_ms;
    missed[fired++ % 256] = t->missed;
    if (adds) { add_aligned(); }
    stalls = stall_ms != 0;
    mono_ms += inside_ms;
    wall_ms += inside_ms;
    if (inside_ms != 0) { (void)cellar_tick(p, 1000, NULL); }
    return answer;
}

/* A stall comes while the due time is written; a tick of another thread follows. */
static int64_t read_stalled(void *ctx)
{
    if (stalls) {
        stalls = false;
        mono_ms += stall_ms;
        wall_ms += stall_ms;
        (void)cellar_tick(p, 1000, NULL);
    }
    return read_mono(ctx);
}

static void forget(void)
{
    clear();
    fired = 0;
    stalls = adds = false;
    stall_ms = inside_ms = 0;
}

/* ---- the process ---- */

static void open_job(void)
{
    cellar_task_opts o = no_jitter(2);
    o.hard_timeout_ms = hard_ms;
    open_it();
    T_EQ_I64(cellar_task_register(p, "job", job, NULL, &o), CELLAR_OK);
}

static void start_job(void)
{
    begin();
    host.clock = read_stalled;
    mono_ms = 5 * MINUTE; /* shortly after a boot */
    wall_ms = START;
    forget();
    open_job();
}

#define POOL(fn) T_WITHIN(fn, start_job(), end())

/* End the process; the next one begins `down_ms` later, after another boot. */
static void restart(int64_t down_ms)
{
    close_it();
    forget();
    mono_ms = 5 * MINUTE;
    wall_ms += down_ms;
    open_job();
}

static cellar_schedule_spec catches(void)
{
    cellar_schedule_spec o = { .struct_size = sizeof o, .catch_up_on_start = 1,
                               .phase = CELLAR_PHASE_NOW };
    return o;
}

static cellar_err add_every(const char *name, int64_t interval_ms, const cellar_schedule_spec *o)
{
    cellar_schedule_spec spec = o != NULL ? *o : catches();
    spec.task = "job";
    spec.interval_ms = interval_ms;
    return cellar_schedule_add(p, name, &spec);
}

static void every(int64_t interval_ms, const cellar_schedule_spec *o)
{
    T_EQ_I64(add_every("e", interval_ms, o), CELLAR_OK);
}

static void add_aligned(void)
{
    cellar_schedule_spec o = catches();
    o.phase = CELLAR_PHASE_ALIGNED;
    every(MINUTE, &o);
}

static cellar_err add_cron(const char *name, const char *expr, const char *zone,
                           const cellar_schedule_spec *o)
{
    cellar_schedule_spec spec = o != NULL ? *o : catches();
    spec.task = "job";
    spec.cron = expr;
    spec.zone = zone;
    return cellar_schedule_add(p, name, &spec);
}

static void cron(const char *expr, const char *zone, const cellar_schedule_spec *o)
{
    T_EQ_I64(add_cron("c", expr, zone, o), CELLAR_OK);
}

static cellar_err add_at(const char *name, int64_t when, const cellar_schedule_spec *o)
{
    cellar_schedule_spec spec = o != NULL ? *o : catches();
    spec.task = "job";
    spec.at_wall_ms = when;
    return cellar_schedule_add(p, name, &spec);
}

/* Begin the next process with the schedule of each minute, and count what fires in `ms`. */
#define NEXT_LIFE(down_ms, spec, ms, fires) \
    do { restart(down_ms); every(MINUTE, spec); T_AFTER_U64(pass(ms), fired, fires); } while (0)

static schedule_figures schedules(void) { return schedule_figures_of(p); }

static int64_t rows(void) { return sql_number("SELECT count(*) FROM schedule"); }

/* ---- what was missed ---- */

T_CASE(missed_interval_firings_run_by_coalesce)
{
    static const cellar_coalesce how[] = { CELLAR_COALESCE_LATEST, CELLAR_COALESCE_EARLIEST,
                                           CELLAR_COALESCE_ALL };
    static const size_t runs[] = { 1, 1, 5 };
    static const int64_t first[] = { 6, 2, 2 };
    for (size_t i = 0; i < 3; i++) {
        cellar_schedule_spec o = catches();
        o.coalesce = how[i];
        start_job();
        every(MINUTE, &o);
        (void)pass(0);
        T_AFTER_U64(pass(MINUTE), fired, 2);
        restart(5 * MINUTE + 100); /* missed: minutes 2 to 6 */
        every(MINUTE, &o);
        T_EQ_U64(schedules().continued, 1);
        T_AFTER_U64(pass(0), fired, runs[i]);
        T_EQ_I64(due[0], START + first[i] * MINUTE);
        T_EQ_U64(missed[0], 5 - runs[i]);
        NEXT_LIFE(0, &o, MINUTE - 101, 0); /* all of them are settled */
        T_AFTER_U64(pass(1), fired, 1);
        T_EQ_I64(due[0], START + 7 * MINUTE);
        end();
    }
}

T_CASE_ON(missed_cron_firings_run, POOL)
{
    cellar_schedule_spec o = catches();
    cron("30 * * * *", "Europe/Berlin", &o);
    T_AFTER_U64(pass(30 * MINUTE), fired, 1);
    restart(3 * HOUR);
    o.coalesce = CELLAR_COALESCE_ALL;
    cron("30 * * * *", "Europe/Berlin", &o);
    T_AFTER_U64(pass(0), fired, 3);
    for (int i = 0; i < 3; i++) { T_EQ_I64(due[i], START + 90 * MINUTE + i * HOUR); }
    restart(HOUR);
    o.misfire_grace_ms = 1; /* late firings are skipped, and not tried again */
    (void)pass(1);
    cron("30 * * * *", "Europe/Berlin", &o);
    T_AFTER_U64(pass(1), fired, 0);
    T_EQ_U64(schedules().skipped_grace, 1);
}

T_CASE_ON(skipped_firings_are_not_caught_up, POOL)
{
    every(MINUTE, NULL);
    T_EQ_I64(cellar_schedule_trigger(p, "e"), CELLAR_OK); /* keeps the only run */
    T_AFTER_U64(pass(0), schedules().skipped_overlap, 1);
    NEXT_LIFE(30000, NULL, 0, 0);
}

T_CASE_ON(firings_of_a_pause_are_settled_by_its_end, POOL)
{
    every(MINUTE, NULL);
    cron("* * * * *", NULL, NULL);
    T_AFTER_I64(pass(0), cellar_schedule_pause(p, "e", true), CELLAR_OK);
    T_EQ_I64(cellar_schedule_pause(p, "c", true), CELLAR_OK);
    T_AFTER_I64(pass(5 * MINUTE + 1), cellar_schedule_pause(p, "e", false), CELLAR_OK);
    T_EQ_I64(cellar_schedule_pause(p, "c", false), CELLAR_OK);
    restart(0);
    every(MINUTE, NULL);
    cron("* * * * *", NULL, NULL);
    T_AFTER_U64(pass(0), fired, 0);
    T_AFTER_U64(pass(MINUTE - 1), fired, 2);
}

/* Fault: the firings of a pause ran after a restart, if a call that added it again ended it. */
T_CASE_ON(firings_of_a_pause_are_settled_by_the_schedule_that_ends_it, POOL)
{
    every(MINUTE, NULL);
    T_AFTER_I64(pass(0), cellar_schedule_pause(p, "e", true), CELLAR_OK);
    (void)pass(5 * MINUTE + 100);
    every(MINUTE, NULL);
    T_AFTER_U64(pass(0), fired, 1);
    NEXT_LIFE(100, NULL, MINUTE - 201, 0);
    T_AFTER_U64(pass(1), fired, 1); /* in its phase */
}

/* ---- a clock that goes back ---- */

/* Fault: such a job waited until its last due time came again. */
T_CASE_ON(job_that_follows_the_clock_fires_by_one_that_went_back_over_a_restart, POOL)
{
    cron("*/5 * * * *", NULL, NULL);
    T_AFTER_U64(pass(5 * MINUTE), fired, 1);
    restart(-HOUR);
    cron("*/5 * * * *", NULL, NULL);
    T_AFTER_U64(pass(5 * MINUTE), fired, 1);
    T_AFTER_U64(pass(5 * MINUTE), fired, 2);
}

/* Fault: the journal kept the last due time of the old clock, so nothing was caught up. */
T_CASE_ON(due_times_are_written_by_a_clock_that_went_back, POOL)
{
    every(5 * MINUTE, NULL);
    T_AFTER_U64(pass(0), fired, 1);
    wall_ms -= 1000 * HOUR;
    T_AFTER_U64(pass(5 * MINUTE), fired, 2);
    restart(12 * MINUTE);
    every(5 * MINUTE, NULL);
    T_AFTER_U64(pass(0), fired, 1);
    T_EQ_U64(missed[0], 1);
}

/* ---- instants ---- */

static cellar_err at(int64_t when)
{
    const cellar_schedule_spec o = catches();
    return add_at("a", when, &o);
}

T_CASE_ON(an_instant_runs_once_over_restarts, POOL)
{
    T_EQ_I64(at(START + HOUR), CELLAR_OK);
    T_AFTER_I64(restart(2 * HOUR), at(START + HOUR), CELLAR_OK);
    T_AFTER_U64(pass(0), fired, 1);
    T_EQ_I64(due[0], START + HOUR);
    T_EQ_I64(at(START + HOUR), CELLAR_E_NEVER);
    T_AFTER_I64(restart(0), at(START + HOUR), CELLAR_E_NEVER);
    T_EQ_I64(at(START + 3 * HOUR), CELLAR_OK); /* another instant */
    T_EQ_I64(cellar_schedule_remove(p, "a"), CELLAR_OK);
    T_EQ_I64(cellar_schedule_remove(p, "a"), CELLAR_E_NOT_FOUND);
    T_EQ_I64(at(START + HOUR), CELLAR_OK); /* nothing is known about it */
}

/* ---- crashes ---- */

T_CASE_ON(a_run_is_settled_when_its_last_attempt_ends, POOL)
{
    every(MINUTE, NULL);
    answer = cellar_verdict_retry();
    T_AFTER_U64(pass(0), fired, 1);
    NEXT_LIFE(100, NULL, 0, 1); /* between the attempts */
    T_EQ_I64(due[0], START);
    NEXT_LIFE(0, NULL, 0, 0);
    answer = cellar_verdict_retry();
    (void)pass(MINUTE);
    T_AFTER_U64(pass(MINUTE / 2), fired, 2); /* the second attempt is the last one */
    T_EQ_U64(schedules().failed, 1);
    NEXT_LIFE(0, NULL, 0, 0);
}

/* The only function is inside while its attempt is timed out; its verdict comes too late. */
T_CASE_ON(an_instant_that_timed_out_does_not_run_again, POOL)
{
    hard_ms = 1000;
    T_AFTER_I64(restart(0), add_at("a", START, NULL), CELLAR_OK);
    inside_ms = 2000; /* of both attempts */
    (void)pass(0);
    T_AFTER_U64(pass(MINUTE), fired, 2);
    T_FIELDS(schedules(), failed, 1, schedules, 0);
    T_EQ_I64(add_at("a", START, NULL), CELLAR_E_NEVER);
    T_AFTER_I64(restart(0), add_at("a", START, NULL), CELLAR_E_NEVER);
    hard_ms = 0;
}

T_CASE(a_run_that_its_next_firing_ends_is_settled)
{
    for (int i = 0; i < 2; i++) {
        const cellar_schedule_spec o = catches();
        start_job();
        every(MINUTE, &o);
        answer = i == 0 ? cellar_verdict_snooze(2 * MINUTE)
                        : cellar_verdict_retry_after(2 * MINUTE);
        T_AFTER_U64(pass(0), fired, 1);
        T_EQ_U64(schedules().ended, 1);
        NEXT_LIFE(0, &o, 0, 0);
        end();
    }
}

T_CASE(a_run_that_a_drain_drops_runs_after_the_restart)
{
    for (int i = 0; i < 2; i++) { /* before and between its attempts */
        const cellar_schedule_spec o = catches();
        start_job();
        every(MINUTE, &o);
        answer = cellar_verdict_retry();
        const int64_t pause_ms = i == 0 ? MINUTE : 0;
        T_EQ_I64(cellar_pool_set(p, CELLAR_POOL_SET_PAUSE, "default", pause_ms), CELLAR_OK);
        T_AFTER_U64(pass(0), fired, (uint64_t)i);
        T_EQ_I64(cellar_pool_set(p, CELLAR_POOL_SET_PAUSE, "default", 0), CELLAR_OK);
        answer = cellar_verdict_ok();
        const cellar_submit_opts last = { .struct_size = sizeof last, .priority = 1 };
        T_EQ_I64(cellar_task_submit(p, "job", NULL, 0, &last, NULL), CELLAR_OK);
        T_EQ_I64(cellar_pool_drain(p, CELLAR_DRAIN_ALL, HOUR, NULL), CELLAR_OK);
        T_EQ_U64(fired, (uint64_t)i + 1); /* the task */
        T_EQ_U64(schedules().skipped_change, i == 0);
        NEXT_LIFE(0, &o, 0, 1);
        end();
    }
}

T_CASE_ON(a_slow_write_of_the_due_time_is_no_time_out, POOL)
{
    hard_ms = 1000;
    restart(0);
    hard_ms = 0;
    every(HOUR, NULL);
    stall_ms = 2000;
    (void)pass(0);
    T_CHECK(!stalls);
    T_EQ_U64(fired, 1);
    T_EQ_U64(schedules().ended, 1);
    T_AFTER_U64(pass(MINUTE), fired, 1);
    T_EQ_U64(schedules().failed, 0);
}

/* ---- changes ---- */

T_CASE_ON(another_spec_begins_a_new_schedule, POOL)
{
    cellar_schedule_spec o = catches();
    every(MINUTE, &o);
    cron("* * * * *", "UTC", &o);
    restart(HOUR);
    o.phase = CELLAR_PHASE_HASH;
    every(2 * MINUTE, &o);
    cron("*/2 * * * *", "UTC", &o);
    T_AFTER_U64(pass(0), fired, 0);
    cellar_cron_opts c[] = { cellar_cron_opts_default(), cellar_cron_opts_default(),
                             cellar_cron_opts_default() };
    c[1].gap = c[2].gap = CELLAR_CRON_GAP_SKIP;
    c[2].hash_name = "other";
    for (int i = 0; i < 4; i++) { /* another zone, gap, no change, another name */
        restart(HOUR);
        o.cron_opts = &c[i < 2 ? i : i - 1];
        cron("*/2 * * * *", "Europe/Berlin", &o);
        T_AFTER_U64(pass(0), fired, i == 2);
        T_EQ_U64(schedules().continued, i == 2);
    }
}

/* The write is that of a run of the old schedule, which comes after the replacement. */
T_CASE(late_due_time_of_a_replaced_schedule_is_not_written)
{
    static const char *const was[][2] = { { "@every 60000ms", "UTC" }, { "@every 3600000ms", "+01" },
                                          { "@every 3600000ms", "UTC" } };
    for (size_t i = 0; i < 3; i++) {
        start_job();
        every(MINUTE, NULL);
        every(HOUR, NULL);
        journal_schedule row = { JOURNAL_SCHEDULE_SET, "e", was[i][0], was[i][1], START, 0 };
        T_EQ_I64(task_commit_schedule(p, &row, NULL, NULL), CELLAR_OK);
        restart(0);
        every(HOUR, NULL);
        T_AFTER_U64(pass(0), fired, i != 2); /* the last one is of the present schedule */
        end();
    }
}

T_CASE_ON(a_replaced_schedule_continues, POOL)
{
    every(MINUTE, NULL);
    (void)pass(0);
    (void)pass(30000);
    every(MINUTE, NULL); /* PHASE_NOW does not count */
    T_AFTER_U64(pass(29999), fired, 1);
    T_AFTER_U64(pass(1), fired, 2);
    cellar_schedule_spec keep = catches();
    keep.conflict = CELLAR_CONFLICT_KEEP;
    T_EQ_I64(add_every("e", HOUR, &keep), CELLAR_EXISTS);
    NEXT_LIFE(MINUTE, NULL, 0, 1); /* the refused call changed no row */
}

/* The due time of the run is in the journal only after its end. */
T_CASE_ON(another_phase_in_a_run_does_not_fire_again, POOL)
{
    every(MINUTE, NULL);
    adds = true;
    T_AFTER_U64(pass(0), fired, 1);
    adds = false;
    T_AFTER_U64(pass(MINUTE - 1), fired, 1);
    T_AFTER_U64(pass(1), fired, 2);
    T_EQ_I64(due[1], START + MINUTE);
}

T_CASE_ON(remove_deletes_the_row, POOL)
{
    const cellar_schedule_spec o = catches(), plain = cellar_schedule_spec_default();
    every(MINUTE, &o);
    cron("* * * * *", NULL, &o);
    T_AFTER_I64(close_it(), rows(), 2);
    open_job();
    every(MINUTE, &o);
    T_EQ_I64(cellar_schedule_remove(p, "e"), CELLAR_OK);
    cron("* * * * *", NULL, &plain); /* no longer catches up */
    T_AFTER_I64(close_it(), rows(), 0);
    open_job();
    every(MINUTE, &o);
    T_EQ_I64(cellar_schedule_remove(p, "c"), CELLAR_E_NOT_FOUND);
    restart(HOUR);
    T_EQ_I64(cellar_schedule_remove(p, "e"), CELLAR_E_NOT_FOUND); /* its row ends */
    every(MINUTE, &o);
    T_EQ_U64(schedules().continued, 0);
}

static int again_at; /* runs of the instant so far */

static cellar_verdict adds_again(const cellar_task *t, void *ctx)
{
    (void)t, (void)ctx;
    if (again_at++ == 0) {
        T_EQ_I64(cellar_schedule_remove(p, "a"), CELLAR_OK);
        T_EQ_I64(at(START), CELLAR_OK);
    } else if (again_at == 2) {
        crash_copy();
    }
    return cellar_verdict_ok();
}

/* Fault: the end of a run settled the instant of a schedule that was added after a remove. */
T_CASE(end_of_a_removed_schedule_settles_no_later_one)
{
    begin();
    open_it();
    again_at = 0;
    T_EQ_I64(cellar_task_register(p, "job", adds_again, NULL, NULL), CELLAR_OK);
    T_EQ_I64(at(START), CELLAR_OK);
    wall_ms = START;
    (void)pass(1);
    T_EQ_I64(again_at, 2);
    after_crash();
    T_EQ_I64(cellar_task_register(p, "job", adds_again, NULL, NULL), CELLAR_OK);
    T_EQ_I64(at(START), CELLAR_OK);
    T_AFTER_I64(pass(1), again_at, 3);
    end();
}

static size_t changes; /* 0: pause, resume; 1: pause, add; 2: add, pause, resume */

static cellar_verdict resumes(const cellar_task *t, void *ctx)
{
    (void)t, (void)ctx;
    if (fired++ != 0) { return cellar_verdict_ok(); }
    if (changes == 2) { every(MINUTE, NULL); }
    T_EQ_I64(cellar_schedule_pause(p, "e", true), CELLAR_OK);
    if (changes == 1) { every(MINUTE, NULL); }
    T_EQ_I64(cellar_schedule_pause(p, "e", false), CELLAR_OK);
    crash_copy();
    return cellar_verdict_retry();
}

/* Fault: a resume, or an add that ends a pause, settled the run that had not ended, also one of a
 * schedule that was replaced: after a crash it did not run again. */
T_CASE(resume_settles_no_run_that_has_not_ended)
{
    for (size_t round = 0; round < 6; round++) {
        const size_t crashes = round % 2;
        begin();
        forget();
        changes = round / 2;
        for (int life = 0; life < 2; life++) {
            if (life == 0) {
                wall_ms = START;
                open_it();
            } else if (crashes != 0) {
                after_crash();
            } else {
                close_it();
                open_it();
            }
            T_EQ_I64(cellar_task_register(p, "job", resumes, NULL, NULL), CELLAR_OK);
            every(MINUTE, NULL);
            T_AFTER_U64(pass(0), fired, life == 0 ? 1 : 1 + crashes);
        }
        if (crashes == 0) { t_wipe(next_folder); }
        end();
    }
}

/* host.clock: a drain begins between the commit of an add and its change of memory. */
static int64_t read_drained(void *ctx)
{
    if (drains && p->journal->submitting == 1 && p->journal->ticket_count == 0) {
        p->intake = TASK_INTAKE_CLOSED;
    }
    return read_mono(ctx);
}

static cellar_verdict adds_in_vain(const cellar_task *t, void *ctx)
{
    (void)t, (void)ctx;
    if (fired++ != 0) { return cellar_verdict_ok(); }
    every(MINUTE, NULL);
    drains = true;
    T_EQ_I64(add_every("e", HOUR, NULL), CELLAR_E_CLOSED);
    drains = false;
    p->intake = TASK_INTAKE_OPEN;
    crash_copy();
    return cellar_verdict_ok();
}

/* Fault: an add that failed gave a schedule its row back with the due time of a run that the one
 * before it had begun: after a crash it did not run again. */
T_CASE(row_that_comes_back_settles_no_earlier_run)
{
    begin();
    forget();
    host.clock = read_drained;
    for (unsigned life = 0; life < 2; life++) {
        if (life == 0) { wall_ms = START; open_it(); } else { after_crash(); }
        T_EQ_I64(cellar_task_register(p, "job", adds_in_vain, NULL, NULL), CELLAR_OK);
        every(MINUTE, NULL);
        T_AFTER_U64(pass(0), fired, life + 1);
    }
    end();
}

/* What a call of another thread does between the commit of a call and its change of memory: the
 * commit has the end of a task as well, and so runs its free_fn. */
static void meanwhile_remove(void *payload, size_t len, void *ctx)
{
    (void)payload, (void)len, (void)ctx;
    (void)cellar_schedule_remove(p, "e");
}

static void meanwhile_add(void *payload, size_t len, void *ctx)
{
    (void)payload, (void)len, (void)ctx;
    every(MINUTE, NULL);
}

static cellar_verdict calls(const cellar_task *t, void *ctx)
{
    (void)ctx;
    const char *call = t->payload;
    if (*call == 'a') { every(MINUTE, NULL); }
    if (*call == 'r') { T_EQ_I64(cellar_schedule_remove(p, "e"), CELLAR_OK); }
    return cellar_verdict_ok();
}

static void call_beside(const char *call, cellar_payload_free_fn other)
{
    cellar_submit_opts o = cellar_submit_opts_default();
    o.free_fn = other;
    T_EQ_I64(cellar_task_register(p, "calls", calls, NULL, NULL), CELLAR_OK);
    T_EQ_I64(cellar_task_submit(p, "calls", "-", 1, &o, NULL), CELLAR_OK);
    T_EQ_I64(cellar_task_submit(p, "calls", call, 1, NULL, NULL), CELLAR_OK);
    (void)tick();
}

/* Fault: a remove between the row of an added schedule and its place in memory took the row, so a
 * restart ran none of what it missed; an add at that place of a remove left a row without one. */
T_CASE_ON(row_and_schedule_change_in_one_order, POOL)
{
    every(HOUR, NULL);
    for (int i = 0; i < 2; i++) {
        call_beside(i == 0 ? "r" : "a", i == 0 ? meanwhile_add : meanwhile_remove);
        const bool there = cellar_schedule_trigger(p, "e") == CELLAR_OK;
        T_AFTER_I64(close_it(), rows(), there);
        open_job();
    }
}

static void meanwhile_resume(void *payload, size_t len, void *ctx)
{
    (void)payload, (void)len, (void)ctx;
    T_EQ_I64(cellar_schedule_pause(p, "e", false), CELLAR_OK);
}

static cellar_verdict pauses(const cellar_task *t, void *ctx)
{
    (void)t, (void)ctx;
    if (fired++ != 0) { return cellar_verdict_ok(); }
    T_EQ_I64(cellar_schedule_pause(p, "e", true), CELLAR_OK);
    mono_ms += 5 * MINUTE + 1;
    wall_ms += 5 * MINUTE + 1;
    return cellar_verdict_ok();
}

/* Fault: a resume while the end of a run was written left the firings of the pause in no row: after
 * a crash they were missed ones. */
T_CASE(resume_beside_the_end_of_a_run_settles_the_pause)
{
    cellar_submit_opts o = cellar_submit_opts_default();
    o.free_fn = meanwhile_resume;
    begin();
    forget();
    wall_ms = START;
    open_it();
    T_EQ_I64(cellar_task_register(p, "job", pauses, NULL, NULL), CELLAR_OK);
    T_EQ_I64(cellar_task_register(p, "calls", calls, NULL, NULL), CELLAR_OK);
    every(MINUTE, NULL);
    T_EQ_I64(cellar_task_submit(p, "calls", "-", 1, &o, NULL), CELLAR_OK);
    (void)tick();
    crash();
    T_EQ_I64(cellar_task_register(p, "job", pauses, NULL, NULL), CELLAR_OK);
    every(MINUTE, NULL);
    T_AFTER_U64(pass(0), fired, 1);
    end();
}

/* Fault: a resume after a step of the clock computed the time again that had fired. */
T_CASE(resume_after_a_step_fires_no_fixed_time_twice)
{
    for (int crashes = 0; crashes < 2; crashes++) {
        start_job();
        cron("30 22 * * *", NULL, NULL);
        T_AFTER_U64(pass(HOUR), fired, 1);
        wall_ms -= HOUR;
        (void)tick();
        T_EQ_I64(cellar_schedule_pause(p, "c", true), CELLAR_OK);
        T_EQ_I64(cellar_schedule_pause(p, "c", false), CELLAR_OK);
        if (crashes != 0) {
            restart(1);
            cron("30 22 * * *", NULL, NULL);
        }
        fired = 0;
        T_AFTER_U64(pass(HOUR), fired, 0);
        end();
    }
}

/* ---- bad input ---- */

T_CASE_ON(catch_up_needs_a_journal, POOL)
{
    cellar_schedule_spec o = catches(), bad[] = { o, o, o };
    bad[0].max_running = bad[1].catch_up_on_start = 2;
    bad[2].reserved0 = 1;
    for (int i = 0; i < 3; i++) { T_EQ_I64(add_every("e", 1, &bad[i]), CELLAR_E_INVAL); }
    close_it();
    config.journal_path = NULL;
    open_job();
    T_EQ_I64(add_every("e", 1, &o), CELLAR_E_UNSUPPORTED);
    T_EQ_I64(add_cron("e", "* * * * *", NULL, &o), CELLAR_E_UNSUPPORTED);
    T_EQ_I64(add_at("e", START, &o), CELLAR_E_UNSUPPORTED);
    o.catch_up_on_start = 0;
    T_EQ_I64(add_every("e", 1, &o), CELLAR_OK);
}

T_CASE(damaged_rows_are_bounded)
{
    static const struct {
        const char *sql;
        size_t fires; /* of interval, expression and instant */
        uint64_t missed; /* by the interval */
    } row[] = {
        { "UPDATE schedule SET last_due_wall_ms=-9223372036854775807", 3, 366 * 24 * 60 - 1 },
        { "UPDATE schedule SET last_due_wall_ms=9223372036854775807", 0, 0 },
        { "UPDATE schedule SET spec=''", 2, 0 }, /* a new interval and a new instant */
        { "UPDATE schedule SET name='' WHERE name='e'", 2, 0 },
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        const cellar_schedule_spec o = catches();
        start_job();
        every(MINUTE, &o);
        cron("30 0 * * *", NULL, &o);
        T_EQ_I64(at(START), CELLAR_OK);
        close_it();
        sql(row[i].sql);
        forget();
        missed[0] = 0;
        open_job();
        every(MINUTE, &o);
        cron("30 0 * * *", NULL, &o);
        T_EQ_I64(at(START), i != 1 ? CELLAR_OK : CELLAR_E_NEVER);
        T_AFTER_U64(pass(0), fired, row[i].fires);
        T_EQ_U64(missed[0], row[i].missed);
        end();
    }
    start_job();
    close_it();
    sql("DROP TABLE schedule");
    T_EQ_I64(cellar_pool_open(&config, &p), CELLAR_E_CORRUPT);
    end();
}

/* ---- errors ---- */

T_CASE_ON(errors_of_the_disk_change_nothing, POOL)
{
    every(MINUTE, NULL);
    limit_files(4096);
    T_CHECK(is_disk_error(add_every("e", HOUR, NULL)));
    T_CHECK(is_disk_error(add_every("f", HOUR, NULL)));
    T_CHECK(is_disk_error(cellar_schedule_remove(p, "e")));
    T_EQ_U64(schedules().schedules, 1);
    T_AFTER_U64(pass(0), fired, 1); /* the end of the run cannot be written */
    T_EQ_U64(schedules().journal_errors, 4);
    limit_files(0);
    NEXT_LIFE(30000, NULL, 0, 1);
    T_EQ_I64(due[0], START);
}

T_CASE_ON(each_allocation_may_fail, POOL)
{
    cellar_err err;
    for (int i = 0; i < 2; i++) { /* a new one, and its replacement */
        EACH_ALLOCATION_FAILS(err, add_cron("c", "* * * * *", "Europe/Berlin", NULL)) { }
    }
    T_AFTER_U64(pass(MINUTE), fired, 1);
}

/* Fault: an add without memory for its place left a row, and the next add caught up from it. */
T_CASE_ON(add_that_fails_leaves_no_row, POOL)
{
    cellar_err err;
    EACH_ALLOCATION_FAILS(err, add_every("e", MINUTE, NULL)) { (void)pass(5 * MINUTE); }
    T_EQ_U64(schedules().continued, 0);
    T_AFTER_U64(pass(0), fired, 1);
    T_EQ_U64(missed[0], 0);
}

/* Fault: a replacement without memory for its place had deleted the row of the old schedule. */
T_CASE_ON(schedule_that_stays_keeps_its_row, POOL)
{
    cellar_schedule_spec o = catches();
    uint64_t usual = 0;
    int64_t stay = 0;
    char name[8];
    o.catch_up_on_start = 0;
    for (int i = 0; i < 200; i++) { /* the table of names grows in one of these calls at least */
        snprintf(name, sizeof name, "%d", i);
        T_EQ_I64(add_every(name, HOUR, NULL), CELLAR_OK);
        (void)base_fault_alloc_arm(i < 2 ? UINT64_MAX : usual + 1, false);
        const cellar_err err = add_every(name, HOUR, &o);
        const uint64_t calls = base_fault_alloc_arm(0, false);
        T_CHECK(err == CELLAR_OK || (i >= 2 && err == CELLAR_E_NOMEM));
        if (i < 2) { usual = calls; }
        stay += err != CELLAR_OK;
    }
    T_CHECK(stay != 0);
    close_it();
    T_EQ_I64(rows(), stay);
    open_job();
}

#else
T_CASE(catch_up) { T_SKIP("this build has no SQLite"); }
#endif

T_MAIN("work_catch_up")
