/* SPDX-License-Identifier: MIT
 *
 * refresher: rows that are due are queued; workers list their keys and load them.
 *
 * WALK       timer -> QUEUED -> step "list": namespace off? idle? lister -> all keys pending ->
 *            step "load" for each pending key -> end of the run: keys that failed stay pending, the
 *            timer is armed for their next try, the next interval or the next `at`
 * INVARIANTS Due times are start + k * interval, whatever a run takes. A run that is due at `at`
 *            deletes all keys first: a delete detaches a load that began before.
 * CLOCK      Intervals follow the monotonic clock, `at` the wall clock. A step of the wall clock by
 *            more than a second computes `at` again.
 * LOCKING    refresher.h. Steps run without the lock. */
#include "work/refresher.h"

#include "cellar_admin.h"
#include "cellar_entry.h"
#include "cellar_load.h"
#include "cellar_object.h"
#ifndef CELLAR_OMIT_LIMIT
#include "cellar_limit.h"
#endif
#include "loading/loading.h"

BASE_SIZE_BEGIN

#define REFRESHER_BACKOFF_MS 1000   /* bound of the first pause after a failure */
#define REFRESHER_BLOCK_MAX ((size_t)16 << 20)

/* ---- keys ---- */

static size_t refresher_key_bytes(size_t len)
{
    return (size_t)base_round_up(sizeof(refresher_key) + len, _Alignof(refresher_key));
}

static refresher_key *refresher_key_at(const cellar_refresh_keys *keys, size_t at)
{
    return (refresher_key *)(void *)(keys->block + at);
}

/* Return the first key of a block, or the one behind `k`; NULL: none. */
static refresher_key *refresher_key_next(const cellar_refresh_keys *keys, const refresher_key *k)
{
    const size_t at = k == NULL ? 0 : (size_t)((const unsigned char *)k - keys->block) +
                                          refresher_key_bytes(k->len);
    return at < keys->used ? refresher_key_at(keys, at) : NULL;
}

CELLAR_PRIVATE cellar_err refresher_keys_put(cellar_refresh_keys *keys, const void *key, size_t len,
                                             size_t least)
{
    const size_t bytes = refresher_key_bytes(len);
    if (keys->count >= CELLAR_REFRESH_KEYS_MAX || keys->used + bytes > REFRESHER_BLOCK_MAX) {
        keys->rejected++;
        return CELLAR_E_LIMIT;
    }
    if (keys->used + bytes > keys->cap) {
        const size_t cap = BASE_MAX(keys->cap * 2, BASE_MAX(bytes, least));
        unsigned char *block = base_alloc(keys->account, REFRESHER_MOD, cap, NULL);
        if (block == NULL) { return CELLAR_E_NOMEM; }
        if (keys->used != 0) { memcpy(block, keys->block, keys->used); }
        base_free(keys->account, REFRESHER_MOD, keys->block, keys->cap);
        keys->block = block;
        keys->cap = cap;
    }
    refresher_key *k = refresher_key_at(keys, keys->used);
    *k = (refresher_key){ .len = (uint32_t)len };
    memcpy(k + 1, key, len);
    keys->used += bytes;
    keys->count++;
    return CELLAR_OK;
}

static void refresher_keys_free(cellar_refresh_keys *keys)
{
    base_free(keys->account, REFRESHER_MOD, keys->block, keys->cap);
    *keys = (cellar_refresh_keys){ .account = keys->account };
}

/* ---- rows ---- */

CELLAR_PRIVATE void refresher_row_free(cellar_pool *p, refresher_row *row)
{
    base_tz_close(row->zone);
    refresher_keys_free(&row->keys);
    base_free(&p->obj.account, REFRESHER_MOD, row, sizeof *row + row->key_len + 1);
}

CELLAR_PRIVATE void refresher_set_uncovered(refresher *r, refresher_row *row, bool uncovered)
{
    r->count[STATS_REFRESHER_UNCOVERED] -= row->uncovered;
    r->count[STATS_REFRESHER_UNCOVERED] += uncovered;
    row->uncovered = uncovered;
}

CELLAR_PRIVATE void refresher_detach(cellar_pool *p, refresher_row *row, task_after *a)
{
    BASE_TABLE_CHARGE(&p->obj.account, REFRESHER_MOD);
    refresher *r = p->refresh;
    base_store_rlx(&row->gone, true);
    row->recur.present = false;
    BASE_TABLE_REMOVE(hh, r->rows, row);
    r->count[STATS_REFRESHER_ROWS]--;
    refresher_set_uncovered(r, row, false);
    if (row->recur.task.state == CELLAR_TASK_RUNNING) { return; }
    r->count[STATS_REFRESHER_DUE] -= row->recur.task.state == CELLAR_TASK_QUEUED;
    r->count[STATS_REFRESHER_KEYS] -= row->keys.count;
    task_detach(p, &row->recur.task, a);
    task_recur_unref(&row->recur, a);
}

static void refresher_ready(cellar_pool *p, refresher_row *row, int64_t now_ms, task_after *a)
    SYNC_HOLDS(QUEUE)
{
    p->refresh->count[STATS_REFRESHER_DUE]++;
    task_to_queue(p, &row->recur.task, now_ms, a);
}

/* ---- times ---- */

/* Return the first time `at` after `after_ms`, wall clock. */
static int64_t refresher_at_next(const refresher_row *row, int64_t after_ms)
{
    return row->zone != NULL ? base_tz_daily(row->zone, row->at_minutes, after_ms)
                             : BASE_NEVER_MS;
}

/* Return when the row runs next, on the monotonic clock. */
static int64_t refresher_next_ms(const refresher_row *row, int64_t offset_ms)
{
    const int64_t at_ms = row->at_wall_ms != BASE_NEVER_MS ? row->at_wall_ms - offset_ms
                                                           : BASE_NEVER_MS;
    return BASE_MAX(BASE_MIN(BASE_MIN(row->due_ms, row->retry_ms), at_ms), 0);
}

static void refresher_arm(cellar_pool *p, refresher_row *row, task_after *a) SYNC_HOLDS(QUEUE)
{
    const int64_t next_ms = refresher_next_ms(row, base_load_rlx(&p->offset_ms));
    task_to_wheel(p, &row->recur.task, CELLAR_TASK_SCHEDULED, next_ms, a);
}

CELLAR_PRIVATE void refresher_begin(cellar_pool *p, refresher_row *row, work_time now,
                                    task_after *a)
{
    row->retry_ms = BASE_NEVER_MS;
    row->at_wall_ms = refresher_at_next(row, now.wall_ms);
    row->ok_ms = row->failed_ms = -1;
    refresher_arm(p, row, a);
}

/* Return the next key of the run; NULL: all were tried. */
static refresher_key *refresher_next_key(refresher_row *row) SYNC_HOLDS(QUEUE)
{
    while (!row->stopped && row->at_key < row->keys.used) {
        refresher_key *k = refresher_key_at(&row->keys, row->at_key);
        if (k->pending && !k->failed) { return k; }
        row->at_key += refresher_key_bytes(k->len);
    }
    return NULL;
}

/* Let the pending keys be tried again; `all`: all keys are pending now. */
static void refresher_rewind(refresher_row *row, bool all) SYNC_HOLDS(QUEUE)
{
    for (refresher_key *k = NULL; (k = refresher_key_next(&row->keys, k)) != NULL;) {
        k->pending |= all;
        k->failed = false;
    }
    if (all) { row->left = row->keys.count; }
    row->at_key = 0;
    row->retry_ms = BASE_NEVER_MS;
    row->stopped = false;
}

/* Begin a run with all keys, if `at` has passed, or an interval and the last run has ended. False:
 * neither has. */
static bool refresher_run_begin(refresher *r, refresher_row *row, work_time now) SYNC_HOLDS(QUEUE)
{
    const bool day = row->at_wall_ms <= now.wall_ms;
    const bool due = row->due_ms <= now.mono_ms && refresher_next_key(row) == NULL;
    if (!day && !due) { return false; }
    int64_t late_ms = day ? now.wall_ms - row->at_wall_ms : now.mono_ms - row->due_ms;
    if (due) {
        const int64_t passed = (now.mono_ms - row->due_ms) / row->interval_ms;
        late_ms -= day ? 0 : passed * row->interval_ms;
        r->count[STATS_REFRESHER_MISSED] += (uint64_t)passed;
        row->due_ms += (passed + 1) * row->interval_ms;
    }
    if (day) {
        row->at_wall_ms = refresher_at_next(row, now.wall_ms);
        r->count[STATS_REFRESHER_DAYS]++;
    }
    r->count[STATS_REFRESHER_RUNS]++;
    stats_waits_add(&r->late, (uint64_t)late_ms, 1);
    r->count[STATS_REFRESHER_LATE_MS] += (uint64_t)late_ms;
    r->count[STATS_REFRESHER_LATE_MAX_MS] =
        BASE_MAX(r->count[STATS_REFRESHER_LATE_MAX_MS], (uint64_t)late_ms);
    row->day |= day;
    row->listing = true;
    return true;
}

/* End a run: plan the next try of what is left. */
static void refresher_run_end(cellar_pool *p, refresher_row *row, int64_t now_ms)
    SYNC_HOLDS(QUEUE)
{
    row->retry_ms = BASE_NEVER_MS;
    if (row->left == 0 && !row->listing) {
        row->failures = 0;
        return;
    }
    const int64_t most_ms =
        work_backoff_ms(REFRESHER_BACKOFF_MS, row->interval_ms, ++row->failures);
    const int64_t wait_ms = 1 + (int64_t)base_rng_below(&p->rng, (uint64_t)most_ms);
    row->retry_ms = BASE_MAX(base_add_sat(now_ms, wait_ms), row->not_before_ms);
}

/* ---- a step, without the lock ---- */

/* Bound the life of a value, with its stale window, by the time `at`. A removed row stores
 * nothing. */
static void refresher_bound(cellar_load *load, const refresher_ticket *t)
{
    const int64_t left_ms = t->until_wall_ms - work_now(&t->of->obj).wall_ms;
    const cellar_set_opts none = { .struct_size = sizeof none, .flags = CELLAR_NO_STORE };
    if (left_ms <= 0 || base_load_rlx(&t->row->gone)) {
        (void)cellar_load_opts_set(load, &none);
    } else {
        cache_load_bound(load, left_ms);
    }
}

/* Take the reads of a key since the last look. */
static cellar_err refresher_take_reads(refresher_ticket *t, const void *key, size_t key_len,
                                       cellar_entry_info *info)
{
    *info = cellar_entry_info_default();
    const cellar_err err = cellar_entry_info_get(t->row->c, key, key_len, CELLAR_GET_TAKE_HITS,
                                                 info);
    t->read |= info->hits != 0;
    return err;
}

static cellar_err refresher_loader_fn(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    const refresher_ticket *t = ctx;
    const cellar_err err = t->loader->fn(load, key, key_len, t->loader->ctx);
    if (t->until_wall_ms != BASE_NEVER_MS || base_load_rlx(&t->row->gone)) {
        refresher_bound(load, t);
    }
    return err;
}

/* Ask the limiter of the loader. False: no load now. */
static bool refresher_admitted(refresher_ticket *t)
{
#ifndef CELLAR_OMIT_LIMIT
    cellar_limiter_result res = { .allowed = 0 };
    const char *name = t->loader->name;
    if (t->loader->limiter == NULL) { return true; }
    if (cellar_limiter_check(t->loader->limiter, name, strlen(name), 1, &res) == CELLAR_OK) {
        return true;
    }
    t->result = REFRESHER_LIMITED;
    t->wait_ms = (int64_t)(BASE_MIN(res.retry_after_ns, (uint64_t)INT64_MAX) / 1000000) + 1;
    return false;
#else
    (void)t;
    return true;
#endif
}

static void refresher_load_key(refresher_ticket *t)
{
    const refresher_row *row = t->row;
    cellar_result res = cellar_result_default();
    const refresher_key *k = t->key;
    if (!refresher_admitted(t)) { return; }
    cellar_entry_info info; /* a store ends the old value with its reads */
    if (row->stop_idle != 0) { (void)refresher_take_reads(t, k + 1, k->len, &info); }
    cellar_load_opts o = { .struct_size = sizeof o,
                           .flags = CELLAR_LOAD_REFRESH | CELLAR_LOAD_NO_WAIT,
                           .negative_ttl_ms = row->negative_ttl_ms, .stale_ms = row->stale_ms,
                           .breaker = t->loader->breaker };
    if ((row->flags & CELLAR_REFRESH_POLICY) == 0) { o.ttl_ms = row->ttl_ms; }
    if (row->zone != NULL) { o.jitter_pct = CELLAR_OFF; }
    t->err = cellar_get_or_load(row->c, k + 1, k->len, &o, refresher_loader_fn, t, &res);
    t->stored = (res.flags & CELLAR_RESULT_NOT_STORED) == 0;
    cellar_result_free(&res);
    if (t->err == CELLAR_E_TYPE) { /* a namespace of objects */
        cellar_held held;
        t->err = cellar_object_get_or_load(row->c, k + 1, k->len, &o, refresher_loader_fn, t,
                                           &held);
        t->stored = cellar_contains(row->c, k + 1, k->len) == CELLAR_OK;
        cellar_object_release(&held);
    }
    if (row->stop_idle != 0) { /* the load is no read */
        info = cellar_entry_info_default();
        (void)cellar_entry_info_get(row->c, k + 1, k->len, CELLAR_GET_TAKE_HITS, &info);
    }
    switch ((int)t->err) {
    case CELLAR_OK:
    case CELLAR_ABSENT: t->result = REFRESHER_OK; break;
    case CELLAR_PENDING: t->result = REFRESHER_BUSY; break;
    case CELLAR_E_BREAKER_OPEN: t->result = REFRESHER_BREAKER; break;
    default: t->result = REFRESHER_FAILED;
    }
}

/* Look whether a key was read since the last look, or stored while the row sleeps: without a store
 * the TTLs left only shrink. */
static void refresher_look(refresher_ticket *t)
{
    const refresher_row *row = t->row;
    t->looked = true;
    t->left_ms = -1;
    t->read = row->read;
    for (const refresher_key *k = NULL; (k = refresher_key_next(&row->keys, k)) != NULL;) {
        cellar_entry_info info;
        if (refresher_take_reads(t, k + 1, k->len, &info) == CELLAR_OK) {
            t->left_ms = BASE_MAX(t->left_ms, info.ttl_left_ms);
        }
    }
    t->read |= row->idle >= row->stop_idle && t->left_ms > row->left_ms;
    t->asleep = !t->read && row->idle + 1 >= row->stop_idle;
}

/* Delete all keys: a value of yesterday, and a load that began then, end here. */
static void refresher_delete_keys(const refresher_row *row, const cellar_refresh_keys *keys)
{
    for (const refresher_key *k = NULL; (k = refresher_key_next(keys, k)) != NULL;) {
        (void)cellar_delete(row->c, k + 1, k->len);
    }
}

/* List the keys of a row, unless it is switched off or sleeps. */
static void refresher_list_keys(refresher_ticket *t)
{
    refresher_row *row = t->row;
    int64_t enabled;
    t->off = cellar_option_get(row->c, CELLAR_OPT_ENABLED, &enabled) == CELLAR_OK && enabled == 0;
    if (!t->off && row->stop_idle != 0 && row->ok_ms >= 0) { refresher_look(t); }
    if (t->day) { refresher_delete_keys(row, &row->keys); }
    if (t->off || t->asleep) { return; }
    if ((row->flags & CELLAR_REFRESH_PATTERN) != 0 && t->loader != NULL &&
        t->loader->lister != NULL) {
        t->err = t->loader->lister(&t->keys, row->key, t->loader->lister_ctx);
        if (t->day) { refresher_delete_keys(row, &t->keys); }
    }
}

/* ---- the end of a step ---- */

/* Take the result of the step that listed the keys. */
static void refresher_listed(refresher_ticket *t) SYNC_HOLDS(QUEUE)
{
    refresher_row *row = t->row;
    refresher *r = t->of->refresh;
    uint64_t *count = r->count;
    const bool pattern = (row->flags & CELLAR_REFRESH_PATTERN) != 0;
    count[STATS_REFRESHER_REJECTED_LIMIT] += t->keys.rejected;
    row->listing = row->day = false;
    if (t->looked) {
        row->idle = t->read ? 0 : BASE_MIN(row->idle + 1, row->stop_idle);
        row->read = false;
        row->left_ms = t->left_ms;
    }
    row->left = 0;
    if (t->off || t->asleep) {
        count[t->off ? STATS_REFRESHER_SKIPPED_OFF : STATS_REFRESHER_SKIPPED_IDLE]++;
        row->skipped++;
        row->stopped = true;
        return;
    }
    if (t->err != CELLAR_OK) {
        count[STATS_REFRESHER_LISTS_FAILED]++;
        row->last_err = (int32_t)t->err;
        row->listing = row->keys.count == 0; /* with the next try */
        row->day = t->day && row->listing;
    } else if (pattern) {
        count[STATS_REFRESHER_KEYS] += t->keys.count;
        count[STATS_REFRESHER_KEYS] -= row->keys.count;
        const cellar_refresh_keys old = row->keys;
        row->keys = t->keys;
        t->keys = old; /* freed with the ticket's */
    }
    t->bare = t->loader == NULL || (pattern && t->loader->lister == NULL) || row->keys.count == 0;
    refresher_set_uncovered(r, row, t->bare && !base_load_rlx(&row->gone));
    if (t->bare) {
        row->stopped = true;
        row->skipped++;
        count[STATS_REFRESHER_SKIPPED_UNCOVERED]++;
    } else {
        refresher_rewind(row, true);
    }
}

/* Take the result of the load of one key. */
static void refresher_loaded(refresher_ticket *t, int64_t now_ms) SYNC_HOLDS(QUEUE)
{
    refresher_row *row = t->row;
    uint64_t *count = t->of->refresh->count;
    t->key->failed = t->result != REFRESHER_OK;
    row->read |= t->read;
    switch (t->result) {
    case REFRESHER_OK:
        t->key->pending = false;
        row->left--;
        row->ok++;
        row->failures = 0; /* the source works: what is left follows soon */
        row->ok_ms = now_ms;
        count[STATS_REFRESHER_OK]++;
        count[STATS_REFRESHER_NOT_STORED] += !t->stored;
        return;
    case REFRESHER_FAILED:
        row->failed++;
        row->failed_ms = now_ms;
        row->last_err = (int32_t)t->err;
        count[STATS_REFRESHER_FAILED]++;
        return;
    case REFRESHER_BREAKER:
        row->stopped = true;
        count[STATS_REFRESHER_SKIPPED_BREAKER]++;
        break;
    case REFRESHER_LIMITED:
        row->stopped = true;
        row->not_before_ms = base_add_sat(now_ms, BASE_MIN(t->wait_ms, row->interval_ms));
        count[STATS_REFRESHER_SKIPPED_LIMITER]++;
        break;
    case REFRESHER_BUSY: count[STATS_REFRESHER_SKIPPED_BUSY]++; break;
    }
    row->skipped++;
}

/* Log what the program should know. Keys stay out of the log. */
static void refresher_tell(const refresher_ticket *t)
{
    const refresher_row *row = t->row;
    base_log *log = &t->of->obj.log;
    if (t->listing && t->err != CELLAR_OK) {
        base_log(log, BASE_LOG_WARNING, "refresh", (int)t->err, "the lister of \"%s\" failed",
                 row->loader->name);
    } else if (t->listing && t->bare) {
        base_log(log, BASE_LOG_WARNING, "refresh", 0,
                 "a row is not covered: \"%s\" has no loader, no lister, or lists no key",
                 row->loader->name);
    } else if (!t->listing && t->result == REFRESHER_FAILED) {
        base_log(log, BASE_LOG_WARNING, "refresh", (int)t->err, "a refresh by \"%s\" failed",
                 row->loader->name);
    } else if (!t->listing && t->result == REFRESHER_OK) {
        base_log(log, BASE_LOG_INFO, "refresh", 0, "refreshed by \"%s\"", row->loader->name);
    }
}

/* Take the result of a step. */
static void refresher_step_end(refresher_ticket *t, bool ended_thread)
{
    cellar_pool *p = t->of;
    refresher *r = p->refresh;
    const int64_t now_ms = base_now_ms(&p->obj.clock);
    sync_take(QUEUE, &p->lock);
    r->count[STATS_REFRESHER_THREAD_ENDS] += ended_thread;
    r->count[STATS_REFRESHER_RUNNING]--;
    if (t->listing) {
        refresher_listed(t);
    } else {
        refresher_loaded(t, now_ms);
    }
    sync_drop(QUEUE, &p->lock);
    refresher_tell(t);
    refresher_keys_free(&t->keys);
}

CELLAR_PRIVATE void refresher_left(task *t)
{
    refresher_ticket *at = refresher_row_of(t)->ticket;
    at->result = REFRESHER_FAILED;
    at->err = CELLAR_E_CANCELLED;
    refresher_step_end(at, true);
}

/* Prepare the next step of a row. False: it has nothing to do by `now`. That time was read before
 * the row's timer fired, or the wall clock was set back since. */
static bool refresher_prepare(refresher_ticket *t, refresher_row *row, work_time now)
    SYNC_HOLDS(QUEUE)
{
    refresher *r = t->of->refresh;
    if (!refresher_run_begin(r, row, now) && refresher_next_key(row) == NULL) {
        refresher_rewind(row, false);
    }
    if (!row->listing && refresher_next_key(row) == NULL) { return false; }
    row->stopped = false;
    *t = (refresher_ticket){ .of = t->of, .row = row, .listing = row->listing, .day = row->day,
                             .loader = row->loader->fn != NULL ? row->loader : NULL,
                             .until_wall_ms = row->at_wall_ms, .result = REFRESHER_FAILED,
                             .key = row->listing ? NULL : refresher_next_key(row),
                             .keys = { .account = &t->of->obj.account } };
    r->count[STATS_REFRESHER_RUNNING]++;
    return true;
}

/* Make a step of the row of a run: the function of the name. */
static cellar_verdict refresher_run(const cellar_task *seen, void *pool)
{
    cellar_pool *p = pool;
    refresher_row *row = refresher_row_of(task_run_in(seen)->task);
    const work_time now = work_now(&p->obj);
    refresher *r = p->refresh;
    sync_take(QUEUE, &p->lock);
    r->count[STATS_REFRESHER_DUE]--;
    refresher_ticket *t = r->ticket; /* as many as steps run: one is free */
    while (t->row != NULL) { t++; }
    t->row = row;
    row->ticket = t;
    bool steps = !base_load_rlx(&row->gone) && refresher_prepare(t, row, now);
    sync_drop(QUEUE, &p->lock);
    while (steps) {
        if (t->listing) {
            refresher_list_keys(t);
        } else {
            refresher_load_key(t);
        }
        refresher_step_end(t, false);
        /* A row of one key loads it immediately. */
        steps = t->listing && (row->flags & CELLAR_REFRESH_PATTERN) == 0;
        if (!steps) { break; }
        sync_take(QUEUE, &p->lock);
        steps = refresher_next_key(row) != NULL && refresher_prepare(t, row, now);
        sync_drop(QUEUE, &p->lock);
    }
    return cellar_verdict_ok();
}

CELLAR_PRIVATE void refresher_over(cellar_pool *p, task *t, int64_t now_ms, task_after *a)
{
    refresher_row *row = refresher_row_of(t);
    row->ticket->row = NULL;
    row->ticket = NULL;
    if (base_load_rlx(&row->gone)) {
        t->state = CELLAR_TASK_CANCELLED; /* no call finds the row any more */
        p->refresh->count[STATS_REFRESHER_KEYS] -= row->keys.count;
        task_recur_unref(&row->recur, a);
    } else if (refresher_next_key(row) != NULL) {
        refresher_ready(p, row, now_ms, a);
    } else {
        refresher_run_end(p, row, now_ms);
        refresher_arm(p, row, a);
    }
}

/* ---- time ---- */

static size_t refresher_bytes(const cellar_pool *p)
{
    return sizeof(refresher) + p->cfg.max_parallel * sizeof(refresher_ticket);
}

CELLAR_PRIVATE void refresher_due(cellar_pool *p, task *t, int64_t now_ms, task_after *a)
{
    refresher_row *row = refresher_row_of(t);
    if (refresher_next_ms(row, base_load_rlx(&p->offset_ms)) > now_ms) {
        refresher_arm(p, row, a); /* the wall clock was corrected slowly */
    } else {
        refresher_ready(p, row, now_ms, a);
    }
}

CELLAR_PRIVATE void refresher_stepped(cellar_pool *p, work_time now, task_after *a)
{
    refresher *r = p->refresh;
    r->count[STATS_REFRESHER_CLOCK_STEPS]++;
    for (refresher_row *row = r->rows; row != NULL; row = row->hh.next) {
        if (row->zone == NULL) { continue; }
        if (row->at_wall_ms > now.wall_ms) {
            row->at_wall_ms = refresher_at_next(row, now.wall_ms);
        }
        if (row->recur.task.state == CELLAR_TASK_SCHEDULED) {
            task_detach(p, &row->recur.task, a);
            refresher_arm(p, row, a);
        }
    }
}

CELLAR_PRIVATE bool refresher_init(cellar_pool *p)
{
    refresher *r = base_alloc(&p->obj.account, BASE_MOD_STORE, refresher_bytes(p), NULL);
    if (r == NULL) { return false; }
    wheel_ring_init(&r->list.ring);
    r->none.body.refs = 1;
    r->name.number = (uint16_t)p->name_max;
    r->name.fn = refresher_run;
    r->name.ctx = p;
    r->name.recurs = true;
    r->name.opts.max_running = p->cfg.max_parallel;
    r->name.opts.max_attempts = UINT8_MAX;
    r->name.gate.name = &r->name;
    r->name.queue = &r->queue;
    task_levels_init(&r->name.parked);
    task_queue_init(&r->queue);
    for (uint32_t i = 0; i < p->cfg.max_parallel; i++) { r->ticket[i].of = p; }
    p->refresh = r;
    p->names[p->name_max] = &r->name;
    return true;
}

CELLAR_PRIVATE void refresher_free(cellar_pool *p)
{
    refresher *r = p->refresh;
    base_account *account = &p->obj.account;
    if (r == NULL) { return; }
    BASE_TABLE_CHARGE(account, REFRESHER_MOD);
    HASH_CLEAR(hh, r->rows);
    for (wheel_timer *at = r->list.ring.next, *next; at != &r->list.ring; at = next) {
        next = at->next;
        refresher_row_free(p, refresher_row_of(&task_recur_of(at)->task));
    }
    for (refresher_loader *l = r->loaders; l != NULL;) {
        refresher_loader *next = l->next;
        if (l->own_breaker) { cellar_breaker_destroy(l->breaker); }
        base_free(account, REFRESHER_MOD, l, sizeof *l);
        l = next;
    }
    base_free(account, BASE_MOD_STORE, r, refresher_bytes(p));
}

/* ---- figures ---- */

CELLAR_PRIVATE void refresher_read(cellar_pool *p, uint64_t *v)
{
    sync_take(QUEUE, &p->lock);
    memcpy(v, p->refresh->count, sizeof p->refresh->count);
    sync_drop(QUEUE, &p->lock);
    const uint64_t ok = v[STATS_REFRESHER_OK], all = ok + v[STATS_REFRESHER_FAILED];
    v[STATS_REFRESHER_SKIPPED] = 0;
    for (unsigned i = STATS_REFRESHER_SKIPPED_BREAKER; i <= STATS_REFRESHER_SKIPPED_UNCOVERED;
         i++) {
        v[STATS_REFRESHER_SKIPPED] += v[i];
    }
    v[STATS_REFRESHER_SUCCESS_PPM] = all != 0 ? (uint64_t)(1e6 * (double)ok / (double)all)
                                              : 1000000;
    v[STATS_REFRESHER_BYTES] = base_load_rlx(&p->obj.account.by_module[REFRESHER_MOD]);
}

BASE_SIZE_END
