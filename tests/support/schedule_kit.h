/* SPDX-License-Identifier: MIT
 *
 * schedule_kit: add a schedule with its function and its time as arguments. */
#ifndef TESTS_SCHEDULE_KIT_H
#define TESTS_SCHEDULE_KIT_H

#include "cellar_schedule.h"
#include "tests/support/t.h"

/* Return a copy of `o`, or the defaults, with a function. */
T_INLINE cellar_schedule_spec schedule_spec(cellar_schedule_fn fn, void *ctx,
                                            const cellar_schedule_spec *o)
{
    cellar_schedule_spec spec = o != NULL ? *o : cellar_schedule_spec_default();
    spec.fn = fn;
    spec.ctx = ctx;
    return spec;
}

T_INLINE cellar_err schedule_every(cellar_scheduler *s, const char *name, int64_t interval_ms,
                                   cellar_schedule_fn fn, void *ctx, const cellar_schedule_spec *o)
{
    cellar_schedule_spec spec = schedule_spec(fn, ctx, o);
    spec.interval_ms = interval_ms;
    return cellar_schedule_add(s, name, &spec);
}

T_INLINE cellar_err schedule_cron(cellar_scheduler *s, const char *name, const char *expr,
                                  const char *zone, cellar_schedule_fn fn, void *ctx,
                                  const cellar_schedule_spec *o)
{
    cellar_schedule_spec spec = schedule_spec(fn, ctx, o);
    spec.cron = expr;
    spec.zone = zone;
    return cellar_schedule_add(s, name, &spec);
}

T_INLINE cellar_err schedule_at(cellar_scheduler *s, const char *name, int64_t wall_ms,
                                cellar_schedule_fn fn, void *ctx, const cellar_schedule_spec *o)
{
    cellar_schedule_spec spec = schedule_spec(fn, ctx, o);
    spec.at_wall_ms = wall_ms;
    return cellar_schedule_add(s, name, &spec);
}

#endif
