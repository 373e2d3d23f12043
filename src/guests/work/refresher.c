/* SPDX-License-Identifier: MIT
 *
 * refresher: rows that are due become ready; tickets list their keys and load them.
 *
 * WALK       timer -> READY -> step "list": namespace off? idle? lister -> all keys pending ->
 *            step "load" for each pending key -> end of the run: keys that failed stay pending, the
 *            timer is armed for their next try, the next interval or the next `at`
 * INVARIANTS Due times are start + k * interval, whatever a run takes. A run that is due at `at`
 *            deletes all keys first: a delete detaches a load that began before.
 * CLOCK      Intervals follow the monotonic clock, `at` the wall clock. A step of the wall clock by
 *            more than a second computes `at` again.
 * LOCKING    refresh.h. Steps run without the lock.
 * LIMITS     REFRESHER_SLICE timers for each call of refresher_fire. */
#include "work/refresher.h"

#include <string.h>

#include "base/user_callback.h"
#include "cellar_admin.h"
#include "cellar_entry.h"
#include "cellar_load.h"
#include "cellar_object.h"
#ifndef CELLAR_OMIT_LIMIT
#include "cellar_limit.h"
#endif

BASE_SIZE_BEGIN

#define REFRESHER_SLICE 1024u
#define REFRESHER_BACKOFF_MS 1000   /* bound of the first pause after a failure */
#define REFRESHER_BACKOFF_SHIFT 20u /* largest doubling */
#define REFRESHER_BLOCK_MIN 256u
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

CELLAR_PRIVATE cellar_err refresher_keys_put(cellar_refresh_keys *keys, const void *key, size_t len)
{
    const size_t bytes = refresher_key_bytes(len);
    if (keys->count >= CELLAR_REFRESH_KEYS_MAX || keys->used + bytes > REFRESHER_BLOCK_MAX) {
        keys->rejected++;
        return CELLAR_E_LIMIT;
    }
    if (keys->used + bytes > keys->cap) {
        const size_t cap = BASE_MAX(keys->cap * 2, BASE_MAX(bytes, REFRESHER_BLOCK_MIN));
        unsigned char *block = base_alloc(keys->account, BASE_MOD_STORE, cap, NULL);
        if (block == NULL) { return CELLAR_E_NOMEM; }
        if (keys->used != 0) { memcpy(block, keys->block, keys->used); }
        base_free(keys->account, BASE_MOD_STORE, keys->block, keys->cap);
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
    base_free(keys->account, BASE_MOD_STORE, keys->block, keys->cap);
    *keys = (cellar_refresh_keys){ .account = keys->account };
}

/* ---- after the lock ---- */

CELLAR_PRIVATE void refresher_after_init(refresher_after *a)
{
    *a = (refresher_after){ .first = NULL };
    a->end = &a->first;
}

CELLAR_PRIVATE void refresher_settle(cellar_refresher *r, refresher_after *a)
{
    while (a->first != NULL) {
        refresher_ticket *t = (refresher_ticket *)(void *)a->first; /* its first field */
        a->first = a->first->next;
        if (base_pool_push(&r->ticker.pool, &t->queued)) { continue; }
        sync_take(WHEEL, &r->lock); /* a close stopped the pool: its row stays ready */
        t->next = r->free_tickets;
        r->free_tickets = t;
        sync_drop(WHEEL, &r->lock);
    }
    while (a->ended != NULL) {
        refresher_row *row = a->ended;
        a->ended = row->next_ready;
        refresher_row_free(row);
    }
    if (a->ring) { work_ticker_ring(&r->ticker); }
}

CELLAR_PRIVATE bool refresher_in_step(const cellar_refresher *r, const refresher_row *row)
{
    const int32_t tid = base_thread_id();
    for (uint32_t i = 0; i < r->max_parallel; i++) {
        const refresher_ticket *t = &r->ticket[i];
        if (t->tid == tid && (row == NULL || t->row == row)) { return true; }
    }
    return false;
}

CELLAR_PRIVATE bool refresher_is_mine(const void *refresher)
{
    return refresher_in_step(refresher, NULL);
}

/* ---- rows ---- */

CELLAR_PRIVATE void refresher_row_free(refresher_row *row)
{
    base_account *account = &row->of->obj.account;
    base_tz_close(row->zone);
    refresher_keys_free(&row->keys);
    base_free(account, BASE_MOD_STORE, row, sizeof *row + row->key_len + 1);
}

CELLAR_PRIVATE void refresher_unref(refresher_row *row, refresher_after *a)
{
    cellar_refresher *r = row->of;
    if (--row->refs != 0) { return; }
    row->next->prev = row->prev;
    row->prev->next = row->next;
    if (r->all == row) { r->all = row->next != row ? row->next : NULL; }
    r->count[STATS_REFRESHER_KEYS] -= row->keys.count;
    row->next_ready = a->ended;
    a->ended = row;
}

CELLAR_PRIVATE void refresher_set_uncovered(refresher_row *row, bool uncovered)
{
    row->of->count[STATS_REFRESHER_UNCOVERED] -= row->uncovered;
    row->of->count[STATS_REFRESHER_UNCOVERED] += uncovered;
    row->uncovered = uncovered;
}

/* Take the row out of the queue of its priority. */
static void refresher_unready(refresher_row *row) SYNC_HOLDS(WHEEL)
{
    cellar_refresher *r = row->of;
    const unsigned level = (unsigned)row->priority - 1;
    refresher_row *before = NULL;
    for (refresher_row *at = r->ready_first[level]; at != row; at = at->next_ready) { before = at; }
    if (before != NULL) {
        before->next_ready = row->next_ready;
    } else {
        r->ready_first[level] = row->next_ready;
    }
    if (r->ready_last[level] == row) { r->ready_last[level] = before; }
    r->count[STATS_REFRESHER_DUE]--;
    row->state = REFRESHER_IDLE;
}

CELLAR_PRIVATE void refresher_detach(refresher_row *row, refresher_after *a)
{
    if (row->state == REFRESHER_READY) { refresher_unready(row); }
    wheel_cancel(&row->of->wheel, &row->timer);
    row->present = false;
    row->of->count[STATS_REFRESHER_ROWS]--;
    refresher_set_uncovered(row, false);
    refresher_unref(row, a);
}

CELLAR_PRIVATE void refresher_dispatch(cellar_refresher *r, refresher_after *a)
{
    refresher_ticket *t = r->free_tickets;
    if (t == NULL || r->closing) { return; }
    r->free_tickets = t->next;
    t->queued.next = NULL;
    *a->end = &t->queued;
    a->end = &t->queued.next;
}

static void refresher_ready(refresher_row *row, refresher_after *a) SYNC_HOLDS(WHEEL)
{
    cellar_refresher *r = row->of;
    const unsigned level = (unsigned)row->priority - 1;
    row->state = REFRESHER_READY;
    row->next_ready = NULL;
    if (r->ready_last[level] != NULL) {
        r->ready_last[level]->next_ready = row;
    } else {
        r->ready_first[level] = row;
    }
    r->ready_last[level] = row;
    r->count[STATS_REFRESHER_DUE]++;
    refresher_dispatch(r, a);
}

/* ---- times ---- */

/* Return the first time `at` after `after_ms`, wall clock. */
static int64_t refresher_at_next(const refresher_row *row, int64_t after_ms)
{
    base_tz_stretch here;
    int64_t next_ms;
    if (row->zone == NULL) { return BASE_NEVER_MS; }
    const int64_t s = base_floor_div(after_ms, 1000);
    base_tz_at(row->zone, s, &here);
    int64_t local_s = base_floor_div(s + here.offset_s, 86400) * 86400 +
                      (int64_t)row->at_minutes * 60;
    do {
        next_ms = base_tz_first(row->zone, local_s) * 1000;
        local_s += 86400;
    } while (next_ms <= after_ms);
    return next_ms;
}

/* Return when the row runs next, on the monotonic clock. */
static int64_t refresher_next_ms(const refresher_row *row, int64_t offset_ms)
{
    const int64_t at_ms = row->at_wall_ms != BASE_NEVER_MS ? row->at_wall_ms - offset_ms
                                                           : BASE_NEVER_MS;
    return BASE_MAX(BASE_MIN(BASE_MIN(row->due_ms, row->retry_ms), at_ms), 0);
}

static void refresher_arm(refresher_row *row) SYNC_HOLDS(WHEEL)
{
    wheel_add(&row->of->wheel, &row->timer, refresher_next_ms(row, row->of->offset_ms));
}

CELLAR_PRIVATE void refresher_begin(refresher_row *row, work_time now)
{
    row->due_ms = row->start_ms;
    row->retry_ms = BASE_NEVER_MS;
    row->at_wall_ms = refresher_at_next(row, now.wall_ms);
    row->ok_ms = row->failed_ms = -1;
    refresher_arm(row);
}

/* Make all keys pending. */
static void refresher_fill(refresher_row *row) SYNC_HOLDS(WHEEL)
{
    for (size_t at = 0; at < row->keys.used;) {
        refresher_key *k = refresher_key_at(&row->keys, at);
        k->pending = true;
        k->failed = false;
        at += refresher_key_bytes(k->len);
    }
    row->left = row->keys.count;
    row->at_key = 0;
}

/* Return the next key of the run; NULL: all were tried. */
static refresher_key *refresher_next_key(refresher_row *row) SYNC_HOLDS(WHEEL)
{
    while (!row->stopped && row->at_key < row->keys.used) {
        refresher_key *k = refresher_key_at(&row->keys, row->at_key);
        if (k->pending && !k->failed) { return k; }
        row->at_key += refresher_key_bytes(k->len);
    }
    return NULL;
}

/* Let failed keys be tried again. */
static void refresher_retry(refresher_row *row) SYNC_HOLDS(WHEEL)
{
    for (size_t at = 0; at < row->keys.used;) {
        refresher_key *k = refresher_key_at(&row->keys, at);
        k->failed = false;
        at += refresher_key_bytes(k->len);
    }
    row->at_key = 0;
    row->retry_ms = BASE_NEVER_MS;
    row->stopped = false;
}

/* Begin a run with all keys, if `at` has passed, or an interval and the last run has ended. False:
 * neither has. */
static bool refresher_run_begin(refresher_row *row, work_time now) SYNC_HOLDS(WHEEL)
{
    cellar_refresher *r = row->of;
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
static void refresher_run_end(refresher_row *row, int64_t now_ms) SYNC_HOLDS(WHEEL)
{
    row->retry_ms = BASE_NEVER_MS;
    if (row->left == 0 && !row->listing) {
        row->failures = 0;
        return;
    }
    const unsigned shift = BASE_MIN(row->failures, REFRESHER_BACKOFF_SHIFT);
    const int64_t most_ms = BASE_MIN((int64_t)REFRESHER_BACKOFF_MS << shift, row->interval_ms);
    const int64_t wait_ms = 1 + (int64_t)base_rng_below(&row->of->rng, (uint64_t)most_ms);
    row->failures++;
    row->retry_ms = BASE_MAX(base_add_sat(now_ms, wait_ms), row->not_before_ms);
}

/* ---- a step, without the lock ---- */

/* Bound the life of a value by the time `at`. */
static void refresher_bound(cellar_load *load, const refresher_ticket *t)
{
    const work_time now = work_now(&t->row->of->obj);
    const int64_t left_ms = t->until_wall_ms - now.wall_ms, ttl_ms = t->row->ttl_ms;
    cellar_set_opts o = cellar_set_opts_default();
    if (left_ms <= 0) {
        o.flags = CELLAR_NO_STORE;
    } else if (ttl_ms != 0 && left_ms < ttl_ms) {
        o.ttl_ms = left_ms;
        o.stale_ms = CELLAR_TTL_NONE;
    }
    (void)cellar_load_opts_set(load, &o);
}

static cellar_err refresher_loader_fn(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    const refresher_ticket *t = ctx;
    const cellar_err err = t->loader->fn(load, key, key_len, t->loader->ctx);
    if (t->until_wall_ms != BASE_NEVER_MS) { refresher_bound(load, t); }
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
        cellar_entry_info info = cellar_entry_info_default();
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
    for (size_t at = 0; at < row->keys.used;) {
        const refresher_key *k = refresher_key_at(&row->keys, at);
        cellar_entry_info info = cellar_entry_info_default();
        const cellar_err err = cellar_entry_info_get(row->c, k + 1, k->len, CELLAR_GET_TAKE_HITS,
                                                     &info);
        if (err == CELLAR_OK) { t->left_ms = BASE_MAX(t->left_ms, info.ttl_left_ms); }
        t->read |= info.hits != 0;
        at += refresher_key_bytes(k->len);
    }
    t->read |= row->idle >= row->stop_idle && t->left_ms > row->left_ms;
    t->asleep = !t->read && row->idle + 1 >= row->stop_idle;
}

/* Delete all keys: a value of yesterday, and a load that began then, end here. */
static void refresher_delete_keys(const refresher_row *row, const cellar_refresh_keys *keys)
{
    for (size_t at = 0; at < keys->used;) {
        const refresher_key *k = refresher_key_at(keys, at);
        (void)cellar_delete(row->c, k + 1, k->len);
        at += refresher_key_bytes(k->len);
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

static void refresher_step(void *ticket)
{
    refresher_ticket *t = ticket;
    sync_assert_none();
    if (t->listing) {
        refresher_list_keys(t);
    } else {
        refresher_load_key(t);
    }
}

/* ---- the end of a step ---- */

/* Take the result of the step that listed the keys. */
static void refresher_listed(refresher_ticket *t) SYNC_HOLDS(WHEEL)
{
    refresher_row *row = t->row;
    uint64_t *count = row->of->count;
    const bool pattern = (row->flags & CELLAR_REFRESH_PATTERN) != 0;
    count[STATS_REFRESHER_REJECTED_LIMIT] += t->keys.rejected;
    row->listing = row->day = false;
    if (t->looked) {
        row->idle = t->read ? 0 : BASE_MIN(row->idle + 1, row->stop_idle);
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
    refresher_set_uncovered(row, t->bare && row->present);
    row->stopped = t->bare;
    if (t->bare) {
        count[STATS_REFRESHER_SKIPPED_UNCOVERED]++;
        row->skipped++;
    } else {
        refresher_fill(row);
    }
}

/* Take the result of the load of one key. */
static void refresher_loaded(refresher_ticket *t, int64_t now_ms) SYNC_HOLDS(WHEEL)
{
    refresher_row *row = t->row;
    uint64_t *count = row->of->count;
    t->key->failed = t->result != REFRESHER_OK;
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
    base_log *log = &row->of->obj.log;
    if (t->listing && t->err != CELLAR_OK) {
        base_log(log, BASE_LOG_WARNING, "refresh", (int)t->err, "the lister of \"%s\" failed",
                 row->loader_name);
    } else if (t->listing && t->bare) {
        base_log(log, BASE_LOG_WARNING, "refresh", 0,
                 "a row is not covered: \"%s\" has no loader, no lister, or lists no key",
                 row->loader_name);
    } else if (!t->listing && t->result == REFRESHER_FAILED) {
        base_log(log, BASE_LOG_WARNING, "refresh", (int)t->err, "a refresh by \"%s\" failed",
                 row->loader_name);
    } else if (!t->listing && t->result == REFRESHER_OK) {
        base_log(log, BASE_LOG_INFO, "refresh", 0, "refreshed by \"%s\"", row->loader_name);
    }
}

/* Let the row go on with its next key, or end its run. */
static void refresher_rest(refresher_row *row, int64_t now_ms, refresher_after *a) SYNC_HOLDS(WHEEL)
{
    row->state = REFRESHER_IDLE;
    if (!row->present) { return; }
    if (refresher_next_key(row) != NULL) {
        refresher_ready(row, a);
        return;
    }
    refresher_run_end(row, now_ms);
    refresher_arm(row);
    a->ring = true;
}

static void refresher_step_end(refresher_ticket *t, bool ended_thread)
{
    refresher_row *row = t->row;
    cellar_refresher *r = row->of;
    const work_time now = work_now(&r->obj);
    refresher_after a;
    refresher_after_init(&a);
    sync_take(WHEEL, &r->lock);
    r->count[STATS_REFRESHER_THREAD_ENDS] += ended_thread;
    r->count[STATS_REFRESHER_RUNNING]--;
    if (t->listing) {
        refresher_listed(t);
    } else {
        refresher_loaded(t, now.mono_ms);
    }
    sync_drop(WHEEL, &r->lock);
    refresher_tell(t);
    refresher_keys_free(&t->keys);
    sync_take(WHEEL, &r->lock);
    t->tid = 0;
    t->row = NULL;
    t->next = r->free_tickets;
    r->free_tickets = t;
    refresher_rest(row, now.mono_ms, &a);
    bool ready = false;
    for (unsigned i = 0; i < REFRESHER_PRIORITIES; i++) { ready |= r->ready_first[i] != NULL; }
    if (ready && a.first == NULL) { refresher_dispatch(r, &a); }
    refresher_unref(row, &a);
    a.ring |= ended_thread; /* the thread replaces the worker */
    sync_drop(WHEEL, &r->lock);
    refresher_settle(r, &a);
    (void)base_add_ar(&r->ended, 1u);
    sync_wake(&r->ended, INT32_MAX);
}

static void refresher_left(void *ticket)
{
    refresher_ticket *t = ticket;
    t->result = REFRESHER_FAILED;
    t->err = CELLAR_E_CANCELLED;
    refresher_step_end(t, true);
}

/* ---- tickets ---- */

/* Find the loader of a row, which may have come later. */
static refresher_loader *refresher_loader_of(refresher_row *row) SYNC_HOLDS(WHEEL)
{
    refresher_loader *l = row->loader != NULL ? row->loader : row->of->loaders;
    while (l != NULL && strcmp(l->name, row->loader_name) != 0) { l = l->next; }
    row->loader = l;
    return l;
}

/* Prepare the next step of a row. False: it has nothing to do by `now`. That time was read before
 * the row's timer fired, or the wall clock was set back since. */
static bool refresher_prepare(refresher_ticket *t, refresher_row *row, work_time now)
    SYNC_HOLDS(WHEEL)
{
    if (!refresher_run_begin(row, now) && refresher_next_key(row) == NULL) { refresher_retry(row); }
    if (!row->listing && refresher_next_key(row) == NULL) { return false; }
    row->state = REFRESHER_RUNNING;
    row->refs++;
    row->stopped = false;
    t->row = row;
    t->tid = base_thread_id();
    t->listing = row->listing;
    t->day = row->day;
    t->until_wall_ms = row->at_wall_ms;
    t->loader = refresher_loader_of(row);
    t->key = t->listing ? NULL : refresher_next_key(row);
    t->result = REFRESHER_FAILED;
    t->err = CELLAR_OK;
    t->stored = t->off = t->asleep = t->looked = t->read = t->bare = false;
    t->keys = (cellar_refresh_keys){ .account = &row->of->obj.account };
    row->of->count[STATS_REFRESHER_RUNNING]++;
    return true;
}

/* Return the row that runs next; NULL: none is ready, or a close has begun. */
static refresher_row *refresher_first_ready(const cellar_refresher *r) SYNC_HOLDS(WHEEL)
{
    refresher_row *row = NULL;
    for (unsigned i = REFRESHER_PRIORITIES; i-- > 0 && row == NULL && !r->closing;) {
        row = r->ready_first[i];
    }
    return row;
}

CELLAR_PRIVATE void refresher_run_job(void *refresher, base_job *j)
{
    cellar_refresher *r = refresher;
    refresher_ticket *t = (refresher_ticket *)(void *)j; /* its first field */
    const work_time now = work_now(&r->obj);
    refresher_row *row;
    refresher_after a;
    refresher_after_init(&a);
    sync_take(WHEEL, &r->lock);
    while ((row = refresher_first_ready(r)) != NULL) {
        refresher_unready(row);
        if (refresher_prepare(t, row, now)) { break; }
        refresher_arm(row);
        a.ring = true;
    }
    if (row == NULL) {
        t->next = r->free_tickets;
        r->free_tickets = t;
    }
    sync_drop(WHEEL, &r->lock);
    refresher_settle(r, &a);
    if (row == NULL) { return; }
    const int cancel = base_cancel_off();
    base_run_callback(refresher_step, refresher_left, t, cancel);
    base_cancel_set(cancel);
    refresher_step_end(t, false);
}

/* ---- time ---- */

/* Compute the times of day again after a step of the wall clock. */
static void refresher_stepped(cellar_refresher *r, work_time now) SYNC_HOLDS(WHEEL)
{
    refresher_row *row = r->all;
    r->count[STATS_REFRESHER_CLOCK_STEPS]++;
    for (bool first = true; row != NULL && (first || row != r->all); row = row->next) {
        first = false;
        if (row->zone == NULL || !row->present) { continue; }
        if (row->at_wall_ms > now.wall_ms) {
            row->at_wall_ms = refresher_at_next(row, now.wall_ms);
        }
        if (row->state == REFRESHER_IDLE) {
            wheel_cancel(&r->wheel, &row->timer);
            refresher_arm(row);
        }
    }
}

CELLAR_PRIVATE void refresher_fire(void *refresher, int64_t *next_ms)
{
    cellar_refresher *r = refresher;
    const work_time now = work_now(&r->obj);
    uint32_t budget = REFRESHER_SLICE;
    refresher_after a;
    wheel_timer *t;
    refresher_after_init(&a);
    *next_ms = BASE_NEVER_MS;
    sync_take(WHEEL, &r->lock);
    if (!r->closing) {
        const int64_t step_ms = now.wall_ms - now.mono_ms - r->offset_ms;
        r->offset_ms += step_ms;
        if (step_ms > WORK_STEP_MS || step_ms < -WORK_STEP_MS) {
            refresher_stepped(r, now);
        }
        while ((t = wheel_pop(&r->wheel, now.mono_ms, &budget)) != NULL) {
            refresher_row *row =
                (refresher_row *)(void *)((char *)t - offsetof(refresher_row, timer));
            if (refresher_next_ms(row, r->offset_ms) > now.mono_ms) {
                refresher_arm(row); /* the wall clock was corrected slowly */
            } else {
                refresher_ready(row, &a);
            }
        }
        const int64_t due_ms = wheel_next_ms(&r->wheel);
        if (due_ms != BASE_NEVER_MS) { *next_ms = BASE_MAX(due_ms - now.mono_ms, 1); }
        if (budget == 0) { *next_ms = 0; }
    }
    sync_drop(WHEEL, &r->lock);
    refresher_settle(r, &a);
}

BASE_SIZE_END
