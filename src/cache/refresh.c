/* SPDX-License-Identifier: MIT
 *
 * refresh: background loads of stale values, and of values that will be stale soon.
 *
 * PICTURE    a look finds a stale or early value -> flight QUEUED, with a job -> queue -> a worker,
 *            or cellar_tick without workers -> flight LOADING -> load_leader.c
 * INVARIANTS A job is dropped if a caller took over its flight, or if its entry changed or is gone.
 * LOCKING    QUEUE for the queue and the array of workers, held alone. Loaders run without a lock.
 * COMPLETION A close waits up to close_ms until `loading` (calls and running jobs) is 0, joins the
 *            workers and drops queued jobs.
 * LIMITS     load_queue jobs. Full: the stale value is served and counted; the next call tries
 *            again. Jobs start workers one by one up to load_workers; workers stay until the close.
 *            A worker that a loader ended is replaced by the next job, or by a tick. */
#include "base/user_callback.h"
#include "cache/refresh.h"

#include "cache/call.h"
#include "cache/handle.h"
#include "cache/job.h"
#include "cache/load_acquire.h"
#include "cache/load_call.h"
#include "cache/load_leader.h"
#include "cache/talk.h"

BASE_SIZE_BEGIN

/* ---- jobs ---- */

static void cache_job_run(cache_store *s, cache_job *j)
{
    flight_table *t = base_load_sc(&s->flights);
    flight *f = j->f;
    if (f == NULL || !cache_load_begin(j->namespace)) {
        if (f != NULL) { cache_flight_cancel(t, f); }
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
        if (!cache_led(&call, f)) { cache_lead(&call, f); }
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

static cache_job *cache_job_pop(cache_store *s)
{
    sync_take(QUEUE, &s->job_lock);
    cache_job *j = s->jobs_end ? NULL : s->job_first;
    if (j != NULL) {
        s->job_first = j->next;
        if (s->job_first == NULL) { s->job_last = NULL; }
        s->job_count--;
    }
    sync_drop(QUEUE, &s->job_lock);
    return j;
}

/* ---- workers ---- */

static void cache_worker_main(void *arg)
{
    cache_store *s = arg;
    for (;;) {
        const uint32_t bell = base_load_acq(&s->job_bell);
        cache_job *j = cache_job_pop(s);
        if (j != NULL) {
            cache_job_run(s, j);
            continue;
        }
        sync_take(QUEUE, &s->job_lock);
        const bool ends = s->jobs_end;
        sync_drop(QUEUE, &s->job_lock);
        if (ends) { return; }
        (void)sync_wait(&s->job_bell, bell, UINT64_MAX);
    }
}

/* Return the place of a worker that a loader ended, else of one that was never started; NULL: all
 * run. */
SYNC_HOLDS(QUEUE) static base_thread *cache_worker_place(cache_store *s)
{
    if (s->worker == NULL || s->worker_starting || s->jobs_end || s->forked) { return NULL; }
    for (uint32_t i = 0; i < s->worker_count; i++) {
        if (base_load_acq(&s->worker[i].running) == 0) { return &s->worker[i]; }
    }
    return s->worker_count < s->load_workers ? &s->worker[s->worker_count] : NULL;
}

/* Make room for the workers with the first job. */
static void cache_workers_room(cache_store *s)
{
    const size_t bytes = (size_t)s->load_workers * sizeof *s->worker;
    base_thread *array = base_alloc(&s->account, BASE_MOD_STORE, bytes, NULL);
    sync_take(QUEUE, &s->job_lock);
    const bool kept = s->worker == NULL && !s->jobs_end;
    if (kept) { s->worker = array; }
    sync_drop(QUEUE, &s->job_lock);
    if (!kept) { base_free(&s->account, BASE_MOD_STORE, array, bytes); }
}

/* Start one more worker, or replace one that a loader ended, if no other thread starts one. The
 * caller counts in `loading`, so a close waits. */
static void cache_worker_more(cache_store *s)
{
    sync_take(QUEUE, &s->job_lock);
    base_thread *at = cache_worker_place(s);
    const bool again = at != NULL && at < &s->worker[s->worker_count];
    if (at != NULL) { s->worker_starting = true; }
    sync_drop(QUEUE, &s->job_lock);
    if (at == NULL) { return; }
    /* Destructors of the thread that ended may still run, and this may be one of them. */
    const bool free = !again || base_thread_try_join(at);
    const bool up = free && base_thread_start(at, cache_worker_main, s, "cellar-load") == 0;
    sync_take(QUEUE, &s->job_lock);
    if (up && !again) { s->worker_count++; }
    s->worker_starting = false;
    sync_drop(QUEUE, &s->job_lock);
}

static bool cache_job_push(cache_store *s, cache_job *j)
{
    sync_take(QUEUE, &s->job_lock);
    const bool room = s->job_count < s->load_queue && !s->jobs_end;
    const bool first = room && s->worker == NULL && s->load_workers != 0 && !s->forked;
    if (room) {
        j->next = NULL;
        if (s->job_last != NULL) { s->job_last->next = j; } else { s->job_first = j; }
        s->job_last = j;
        s->job_count++;
    }
    sync_drop(QUEUE, &s->job_lock);
    if (!room) { return false; }
    if (first) { cache_workers_room(s); }
    cache_worker_more(s);
    (void)base_add_ar(&s->job_bell, 1u);
    sync_wake(&s->job_bell, 1);
    return true;
}

CELLAR_PRIVATE void cache_refresh_later(cache_call *call)
{
    cache_store *s = call->c->store;
    flight *f = NULL;
    const flight_entry entry = cache_enter(call, FLIGHT_JOB, false, NULL, &f);
    if (entry == FLIGHT_TAKEN) { return; } /* a refresh runs already */
    cache_job *j = NULL;
    bool queued = false;
    if (entry == FLIGHT_LED) {
        j = cache_job_new(call, f);
        queued = j != NULL && cache_job_push(s, j);
    }
    if (queued) {
        call->result_flags |= CELLAR_RESULT_REFRESHING;
        return;
    }
    if (entry == FLIGHT_LED) { cache_flight_cancel(call->t, f); }
    if (j != NULL) { cache_job_free(s, j); }
    stats_add(cache_mine(call->c), STATS_REFRESH_DROPPED, 1);
}

SYNC_HOLDS(QUEUE) static bool cache_workers_run(const cache_store *s)
{
    for (uint32_t i = 0; i < s->worker_count; i++) {
        if (base_load_acq(&s->worker[i].running) != 0) { return true; }
    }
    return false;
}

CELLAR_PRIVATE bool cache_load_tick(cache_store *s, uint64_t budget_us)
{
    flight_table *t = base_load_sc(&s->flights);
    if (t == NULL || base_thread_self()->depth > 0) { return false; }
    (void)flight_expire(t, base_now_ms(&s->clock));
    const uint64_t since_ns = base_now_ns();
    sync_take(QUEUE, &s->job_lock);
    const bool ended =
        s->job_first != NULL && s->worker_count != 0 && cache_worker_place(s) != NULL;
    sync_drop(QUEUE, &s->job_lock);
    if (ended) { /* a loader may have ended the worker that was to take the job */
        (void)base_add_sc(&s->loading, 1u);
        cache_worker_more(s);
        (void)base_sub_ar(&s->loading, 1u);
    }
    for (;;) {
        sync_take(QUEUE, &s->job_lock);
        const bool mine = s->job_first != NULL && !cache_workers_run(s);
        sync_drop(QUEUE, &s->job_lock);
        if (!mine) { return false; }
        cache_job *j = cache_job_pop(s);
        if (j == NULL) { return false; }
        cache_job_run(s, j);
        if (base_now_ns() - since_ns >= budget_us * 1000) { break; }
    }
    sync_take(QUEUE, &s->job_lock);
    const bool left = s->job_first != NULL;
    sync_drop(QUEUE, &s->job_lock);
    return left;
}

/* ---- close, fork ---- */

static void cache_jobs_drop(cache_store *s)
{
    flight_table *t = base_load_sc(&s->flights);
    sync_take(QUEUE, &s->job_lock);
    cache_job *j = s->job_first;
    s->job_first = s->job_last = NULL;
    s->job_count = 0;
    sync_drop(QUEUE, &s->job_lock);
    while (j != NULL) {
        cache_job *next = j->next;
        if (j->f != NULL) { cache_flight_cancel(t, j->f); }
        cache_job_free(s, j);
        j = next;
    }
}

static void cache_jobs_end(cache_store *s, bool end)
{
    sync_take(QUEUE, &s->job_lock);
    s->jobs_end = end;
    sync_drop(QUEUE, &s->job_lock);
    (void)base_add_ar(&s->job_bell, 1u);
    sync_wake(&s->job_bell, INT32_MAX);
}

/* End all loads. A worker takes a job before `loading` counts it. Joining ends no load, so the
 * close waits for the loads first and joins the workers afterwards. */
CELLAR_PRIVATE bool cache_load_close(cache_store *s)
{
    flight_table *t = base_load_sc(&s->flights);
    const uint64_t since_ns = base_now_ns();
    const uint64_t patience_ns = (uint64_t)BASE_MIN(s->close_ms, INT64_MAX / 4000000) * 1000000;
    cache_jobs_end(s, true);
    for (;;) {
        if (t != NULL) { flight_close(t); }
        if (base_load_sc(&s->loading) == 0) { break; }
        if (base_now_ns() - since_ns >= patience_ns) {
            cache_jobs_end(s, false);
            return false;
        }
        base_sleep_ns(1000000);
        if (t == NULL) { t = base_load_sc(&s->flights); }
    }
    for (uint32_t i = 0; i < s->worker_count; i++) { base_thread_join(&s->worker[i]); }
    sync_take(QUEUE, &s->job_lock);
    base_thread *workers = s->worker;
    s->worker = NULL;
    s->worker_count = 0;
    sync_drop(QUEUE, &s->job_lock);
    base_free(&s->account, BASE_MOD_STORE, workers, (size_t)s->load_workers * sizeof *workers);
    cache_jobs_drop(s);
    return true;
}

CELLAR_PRIVATE void cache_load_destroy(cache_store *s)
{
    flight_table_destroy(base_load_sc(&s->flights));
    base_store_sc(&s->flights, (flight_table *)NULL);
}

CELLAR_PRIVATE void cache_load_fork_prepare(cache_store *s) SYNC_UNCHECKED
{
    flight_table *t = base_load_sc(&s->flights);
    if (t != NULL) { flight_fork_prepare(t); }
    s->forking = t;
    sync_take(QUEUE, &s->job_lock);
}

CELLAR_PRIVATE void cache_load_fork_parent(cache_store *s) SYNC_UNCHECKED
{
    sync_drop(QUEUE, &s->job_lock);
    if (s->forking != NULL) { flight_fork_parent(s->forking); }
}

CELLAR_PRIVATE void cache_load_fork_child(cache_store *s)
{
    sync_reset(&s->job_lock);
    if (s->forking != NULL) { flight_fork_child(s->forking); }
    for (cache_job *j = s->job_first; j != NULL; j = j->next) { j->f = NULL; }
    s->worker_count = 0; /* cellar_tick runs the jobs of the child */
    s->worker_starting = false;
    base_store_rlx(&s->loading, cache_loads_mine(s)); /* the forking thread continues here */
}

CELLAR_PRIVATE bool cache_load_audit(cache_store *s)
{
    flight_table *t = base_load_sc(&s->flights);
    return t == NULL || flight_audit(t);
}

BASE_SIZE_END
