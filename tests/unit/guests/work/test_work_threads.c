/* SPDX-License-Identifier: MIT
 *
 * Aim:    runs of schedules are on workers of the pool, with no lock held; a job may end its thread;
 *         a change is in force when its call returns.
 * Method: jobs wait for the test, and the test for jobs, by semaphores: no sleep decides anything.
 *         The clock of the system drives the pool. */
#include "base/mem.h"
#include "base/thread_record.h"
#include "cellar_schedule.h"
#include "tests/support/child.h"
#include "tests/support/schedule_kit.h"
#include "tests/support/threads_kit.h"


static void job(const cellar_task *f, void *ctx) { (void)quick(f, ctx); }
static void held_job(const cellar_task *f, void *ctx) { (void)held(f, ctx); }

static void count_free(void *payload, size_t len, void *ctx)
{
    (void)payload, (void)len, (void)ctx;
    atomic_fetch_add(&freed, 1);
}

static cellar_schedule_spec opts_now(void)
{
    cellar_schedule_spec o = { .struct_size = sizeof o, .phase = CELLAR_PHASE_NOW,
                               .free_fn = count_free };
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
    T_EQ_I64(schedule_cron(p, "held", "@yearly", NULL, held_job, NULL, &o), CELLAR_OK);
    T_EQ_I64(cellar_schedule_trigger(p, "held"), CELLAR_OK);
    wait_for(&began);
    T_EQ_I64(schedule_every(p, "hourly", 3600000, job, NULL, &o), CELLAR_OK);
    T_EQ_I64(schedule_cron(p, "waits", "@yearly", NULL, job, NULL, &o), CELLAR_OK);
    T_EQ_I64(cellar_schedule_trigger(p, "waits"), CELLAR_OK);
    while (schedules().waiting < 2) { sched_yield(); } /* the one worker is busy */
    T_EQ_I64(schedule_every(p, "hourly", 3600000, job, NULL, &o), CELLAR_OK);
    T_EQ_I64(schedule_cron(p, "waits", "@yearly", NULL, job, NULL, &o), CELLAR_OK);
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

/* ---- fork ---- */

static int child_of(void)
{
    int64_t next;
    size_t n;
    if (schedule_every(p, "n", 1, job, NULL, NULL) != CELLAR_E_FORKED ||
        schedule_cron(p, "n", "* * * * *", NULL, job, NULL, NULL) != CELLAR_E_FORKED ||
        schedule_at(p, "n", 1, job, NULL, NULL) != CELLAR_E_FORKED ||
        cellar_schedule_remove(p, "held") != CELLAR_E_FORKED ||
        cellar_schedule_pause(p, "held", true) != CELLAR_E_FORKED ||
        cellar_schedule_pause(p, "held", false) != CELLAR_E_FORKED ||
        cellar_schedule_trigger(p, "held") != CELLAR_E_FORKED ||
        cellar_schedule_next(p, "held", &next, 1, &n) != CELLAR_E_FORKED ||
        cellar_schedule_list(p, (cellar_schedule_list_fn)0, NULL) == CELLAR_OK ||
        cellar_tick(p, 0, NULL) != CELLAR_E_FORKED) {
        return 1;
    }
    if (cellar_cron_next("* * * * *", NULL, NULL, 0, &next, 1, &n) != CELLAR_OK) { return 2; }
    if (cellar_pool_close(p) != CELLAR_OK) { return 3; }
    return atomic_load(&freed) == 0 ? 0 : 4;
}

T_CASE(forked_child_is_refused_by_schedules)
{
    const cellar_schedule_spec o = opts_now();
    open_pool(1);
    T_EQ_I64(schedule_cron(p, "held", "@yearly", NULL, held_job, NULL, &o), CELLAR_OK);
    T_EQ_I64(schedule_cron(p, "waits", "@yearly", NULL, job, NULL, &o), CELLAR_OK);
    T_EQ_I64(cellar_schedule_trigger(p, "held"), CELLAR_OK);
    wait_for(&began);
    T_EQ_I64(cellar_schedule_trigger(p, "waits"), CELLAR_OK);
    T_EQ_I64(in_child(fork(), child_of), 0); /* while one job runs and one waits */
    sem_post(&go_on);
    wait_for(&began); /* the parent goes on */
    T_AFTER_U64(close_it(), atomic_load(&runs), 2);
}

/* ---- changes under load ---- */

enum { CHANGERS = 3 };

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

T_MAIN("work_threads")
