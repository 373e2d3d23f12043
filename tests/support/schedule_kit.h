/* SPDX-License-Identifier: MIT
 *
 * schedule_kit: add a schedule with its function and its time as arguments; figures of schedules.
 *
 * The payload of such a schedule is a `schedule_job`, which task "call" of the pool runs. free_fn
 * of the spec gets `ctx`. */
#ifndef TESTS_SCHEDULE_KIT_H
#define TESTS_SCHEDULE_KIT_H

#include <stdlib.h>

#include "cellar_observe.h"
#include "cellar_schedule.h"
#include "tests/support/t.h"

typedef void (*schedule_fn)(const cellar_task *t, void *ctx);

typedef struct schedule_job {
    schedule_fn fn;
    void *ctx;
    cellar_payload_free_fn free_fn; /* NULL: none */
} schedule_job;

T_INLINE cellar_verdict schedule_call(const cellar_task *t, void *ctx)
{
    const schedule_job *job = t->payload;
    (void)ctx;
    job->fn(t, job->ctx);
    return cellar_verdict_ok();
}

T_INLINE void schedule_free(void *payload, size_t len, void *ctx)
{
    const schedule_job *job = payload;
    (void)len, (void)ctx;
    if (job->free_fn != NULL) { job->free_fn(NULL, 0, job->ctx); }
    free(payload);
}

/* Add a schedule that calls a function; fn NULL: without a task. */
T_INLINE cellar_err schedule_add(cellar_pool *p, const char *name, schedule_fn fn, void *ctx,
                                 const cellar_schedule_spec *o)
{
    cellar_schedule_spec spec = *o;
    schedule_job *job = malloc(sizeof *job);
    T_REQUIRE(job != NULL);
    *job = (schedule_job){ fn, ctx, spec.free_fn };
    if (p != NULL &&
        cellar_task_register(p, "call", schedule_call, NULL, NULL) == CELLAR_E_NOMEM) {
        free(job);
        return CELLAR_E_NOMEM;
    }
    spec.task = fn != NULL ? "call" : NULL;
    spec.payload = job;
    spec.payload_len = sizeof *job;
    spec.free_fn = schedule_free;
    const cellar_err err = cellar_schedule_add(p, name, &spec);
    if (err != CELLAR_OK) { free(job); }
    return err;
}

T_INLINE cellar_schedule_spec schedule_spec(const cellar_schedule_spec *o)
{
    return o != NULL ? *o : cellar_schedule_spec_default();
}

T_INLINE cellar_err schedule_every(cellar_pool *p, const char *name, int64_t interval_ms,
                                   schedule_fn fn, void *ctx, const cellar_schedule_spec *o)
{
    cellar_schedule_spec spec = schedule_spec(o);
    spec.interval_ms = interval_ms;
    return schedule_add(p, name, fn, ctx, &spec);
}

T_INLINE cellar_err schedule_cron(cellar_pool *p, const char *name, const char *expr,
                                  const char *zone, schedule_fn fn, void *ctx,
                                  const cellar_schedule_spec *o)
{
    cellar_schedule_spec spec = schedule_spec(o);
    spec.cron = expr;
    spec.zone = zone;
    return schedule_add(p, name, fn, ctx, &spec);
}

T_INLINE cellar_err schedule_at(cellar_pool *p, const char *name, int64_t wall_ms, schedule_fn fn,
                                void *ctx, const cellar_schedule_spec *o)
{
    cellar_schedule_spec spec = schedule_spec(o);
    spec.at_wall_ms = wall_ms;
    return schedule_add(p, name, fn, ctx, &spec);
}

/* Figures of the schedules of a pool, from its page of metrics. */
typedef struct schedule_figures {
    uint64_t started, ended, failed, triggered, missed, skipped_overlap, skipped_grace,
        skipped_change, clock_steps, rejected_limit, continued, journal_errors, schedules, running,
        waiting;
} schedule_figures;

T_INLINE schedule_figures schedule_figures_of(cellar_pool *p)
{
    static const struct { const char *family, *label; size_t at; } row[] = {
#define SCHEDULE_ROW(field, family, label) \
        { "\ncellar_schedule_" family, label, offsetof(schedule_figures, field) }
        SCHEDULE_ROW(started, "runs_started_total{", ""),
        SCHEDULE_ROW(ended, "runs_ended_total{", ""),
        SCHEDULE_ROW(failed, "runs_failed_total{", ""),
        SCHEDULE_ROW(triggered, "triggered_total{", ""),
        SCHEDULE_ROW(missed, "missed_total{", ""),
        SCHEDULE_ROW(skipped_overlap, "skipped_total{", "reason=\"overlap\""),
        SCHEDULE_ROW(skipped_grace, "skipped_total{", "reason=\"grace\""),
        SCHEDULE_ROW(skipped_change, "skipped_total{", "reason=\"change\""),
        SCHEDULE_ROW(clock_steps, "clock_steps_total{", ""),
        SCHEDULE_ROW(rejected_limit, "rejected_total{", ""),
        SCHEDULE_ROW(continued, "continued_total{", ""),
        SCHEDULE_ROW(journal_errors, "journal_errors_total{", ""),
        SCHEDULE_ROW(schedules, "schedules{", ""),
        SCHEDULE_ROW(running, "running{", ""),
        SCHEDULE_ROW(waiting, "waiting{", ""),
#undef SCHEDULE_ROW
    };
    schedule_figures f = { .started = 0 };
    const size_t cap = 65536;
    char *text = malloc(cap);
    T_REQUIRE(text != NULL && cellar_metrics_write(p, text, cap, NULL) == CELLAR_OK);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        for (const char *at = text; (at = strstr(at, row[i].family)) != NULL; at++) {
            const char *end = strchr(at + 1, '}'), *label = strstr(at, row[i].label);
            if (label == NULL || label > end) { continue; }
            const uint64_t value = strtoull(end + 1, NULL, 10);
            memcpy((char *)&f + row[i].at, &value, sizeof value);
        }
    }
    free(text);
    return f;
}

#endif
