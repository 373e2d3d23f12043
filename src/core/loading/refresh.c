/* SPDX-License-Identifier: MIT
 *
 * refresh: background loads of stale values, and of values that will be stale soon.
 *
 * PICTURE    a look finds a stale or early value -> flight QUEUED, with a job -> queue -> a worker
 *            of base/pool, or cellar_tick without workers -> flight LOADING -> load_lead.c
 * INVARIANTS A job is dropped if a caller took over its flight, or if its entry changed or is gone.
 * LOCKING    None of its own. Loaders run without a lock.
 * COMPLETION A close waits up to close_ms until `loading` (calls and running jobs) is 0, joins the
 *            workers and drops queued jobs. It ends loads that wait only once no other load runs: a
 *            close that gives up has ended none.
 * LIMITS     load_queue jobs. Full: the stale value is served and counted; the next call tries
 *            again. A worker that a loader ended is replaced by the next job, or by a tick. */
#include "base/user_callback.h"
#include "loading/refresh.h"

#include "cache/talk.h"
#include "loading/load_shared.h"

BASE_SIZE_BEGIN

/* ---- jobs ---- */

static void cache_job_run(void *store, base_job *queued)
{
    cache_store *s = store;
    cache_job *j = (cache_job *)(void *)queued; /* its first field */
    flight_table *t = base_load_sc(&s->flights);
    flight *f = j->f;
    if (f == NULL || !cache_load_begin(j->namespace)) {
        if (f != NULL) { flight_end(t, f, &FLIGHT_HANDS_OVER); }
        cache_job_free(s, j);
        return;
    }
    if (!flight_start(t, f, base_now_ms(&s->clock), j->p.ms[CACHE_HARD])) {
        flight_unref(t, f);
    } else {
        cache_call call;
        cache_call_of(&call, j->namespace, &j->p, f);
        call.fn = j->fn;
        call.ctx = j->ctx;
        call.job = j;
        call.early = j->seen_ms >= 0;
        call.found.deadline_ms = j->seen_ms;
        call.cancel = base_cancel_off();
        const int cancel = call.cancel;
        stats_add(cache_mine(j->namespace), STATS_REFRESH, 1);
        char name[CACHE_KEY_NAME] = "";
        if (cache_talks(call.c)) { cache_key_name(call.c, &call.k, name); } /* its flight ends */
        cache_look_led(&call);
        if (call.state == CACHE_CALL_LEADS) { cache_shared_lead(&call); }
        if (call.state == CACHE_CALL_LEADS) { cache_lead(&call); }
        if (call.code >= CELLAR_OK) { /* cache_lead_settle logs failures */
            cache_log(call.c, BASE_LOG_INFO, "refresh", (int)call.code, "refreshed%s", name);
        }
        flight_bytes_drop(call.value);
        cache_call_forget(&call);
        base_cancel_set(cancel);
    }
    cache_job_free(s, j);
    cache_load_end(s);
}

CELLAR_PRIVATE void cache_jobs_open(cache_store *s, const cellar_host_config *h)
{
    s->jobs.run = cache_job_run;
    s->jobs.ctx = s;
    s->jobs.name = "cellar-load";
    s->jobs.account = &s->account;
    s->jobs.max_workers = h->no_threads != 0 ? 0 : h->load_threads != 0 ? h->load_threads : 2;
    s->jobs.stack_bytes = h->stack_bytes;
    s->jobs.max_jobs = h->load_queue != 0 ? h->load_queue : 256;
}

CELLAR_PRIVATE void cache_refresh_later(cache_call *call)
{
    cache_store *s = call->c->store;
    const flight_entry entry = cache_enter(call, FLIGHT_JOB, false, NULL);
    if (entry == FLIGHT_TAKEN) { return; } /* a refresh runs already */
    cache_job *j = NULL;
    bool queued = false;
    if (entry == FLIGHT_LED) {
        j = cache_job_new(call);
        queued = j != NULL && base_pool_push(&s->jobs, &j->queued);
    }
    if (queued) {
        call->result_flags |= CELLAR_RESULT_REFRESHING;
        return;
    }
    if (entry == FLIGHT_LED) { flight_end(call->t, call->f, &FLIGHT_HANDS_OVER); }
    if (j != NULL) { cache_job_free(s, j); }
    stats_add(cache_mine(call->c), STATS_REFRESH_DROPPED, 1);
}

/* Replace a worker that a loader ended. A close waits meanwhile. Return true if jobs are left. */
static bool cache_jobs_mend(cache_store *s)
{
    (void)base_add_sc(&s->loading, 1u);
    const bool left = base_pool_mend(&s->jobs);
    (void)base_sub_ar(&s->loading, 1u);
    return left;
}

CELLAR_PRIVATE bool cache_load_tick(cache_store *s, uint64_t budget_us)
{
    flight_table *t = base_load_sc(&s->flights);
    if (t == NULL || base_thread_self()->depth > 0) { return false; }
    (void)flight_expire(t, base_now_ms(&s->clock));
    cache_tier_lease_tick(s);
    const uint64_t since_ns = base_now_ns();
    (void)cache_jobs_mend(s);
    for (base_job *j = base_pool_help(&s->jobs); j != NULL; j = base_pool_help(&s->jobs)) {
        cache_job_run(s, j);
        if (base_now_ns() - since_ns >= budget_us * 1000) { return cache_jobs_mend(s); }
    }
    return false;
}

/* ---- close ---- */

static void cache_jobs_drop(cache_store *s, base_job *queued)
{
    flight_table *t = base_load_sc(&s->flights);
    while (queued != NULL) {
        cache_job *j = (cache_job *)(void *)queued;
        queued = queued->next;
        if (j->f != NULL) { flight_end(t, j->f, &FLIGHT_HANDS_OVER); }
        cache_job_free(s, j);
    }
}

/* Return whether all running loads wait at one instant. No load begins meanwhile: read `loading`,
 * which only falls, before `asleep`. */
static bool cache_loads_sleep(const cache_store *s)
{
    const uint32_t running = base_load_sc(&s->loading);
    return base_load_sc(&s->asleep) == running;
}

/* Let waiting loads end if no other load runs. Return whether they end: what they wait for may
 * never come. A load that woke between the two looks ends, too. */
static bool cache_loads_finish(cache_store *s)
{
    if (!cache_loads_sleep(s)) { return false; }
    base_store_sc(&s->loads_end, true);
    if (cache_loads_sleep(s)) { return true; }
    base_store_sc(&s->loads_end, false);
    return false;
}

/* End all loads. A worker takes a job before `loading` counts it. Joining ends no load, so the
 * close waits for the loads first and joins the workers afterwards. */
CELLAR_PRIVATE bool cache_load_close(cache_store *s)
{
    const uint64_t since_ns = base_now_ns();
    const uint64_t patience_ns = (uint64_t)BASE_MIN(s->close_ms, INT64_MAX / 4000000) * 1000000;
    bool ends = false;
    base_pool_stop(&s->jobs, true);
    for (;;) {
        flight_table *t = base_load_sc(&s->flights);
        ends = ends || cache_loads_finish(s);
        if (ends && t != NULL) { flight_close(t); }
        if (base_load_sc(&s->loading) == 0) { break; }
        if (base_now_ns() - since_ns >= patience_ns) {
            base_store_sc(&s->loads_end, false);
            base_pool_stop(&s->jobs, false);
            return false;
        }
        base_sleep_ns(1000000);
    }
    cache_jobs_drop(s, base_pool_join(&s->jobs));
    return true;
}

CELLAR_PRIVATE void cache_load_destroy(cache_store *s)
{
    flight_table_destroy(base_load_sc(&s->flights));
    base_store_sc(&s->flights, (flight_table *)NULL);
}

CELLAR_PRIVATE bool cache_load_audit(cache_store *s)
{
    flight_table *t = base_load_sc(&s->flights);
    return t == NULL || flight_audit(t);
}

BASE_SIZE_END
