/* SPDX-License-Identifier: MIT
 *
 * task_open: open, set, tick, drain and close a pool.
 *
 * WALK       drain: intake closed -> wait -> deadline: running tasks see `cancelled`, grace_ms
 *            -> tasks that do not run are cancelled: abandoned -> report
 *            close: drain -> join the threads -> free
 *            removal of a name: nothing of it begins -> its tasks are cancelled -> its last slot is
 *            free: so is its place
 * INVARIANTS After a drain each live task runs; live tasks of its begin == finished + abandoned +
 *            still_running, with the tasks that running tasks submitted meanwhile. */

#include "base/open_error.h"
#include "base/opts.h"
#include "base/service.h"
#include "work/bus.h"
#include "work/refresher.h"
#include "work/sched.h"

BASE_SIZE_BEGIN

#define TASK_OPEN "cellar_pool_open"
#define TASK_DAY_MS INT64_C(86400000)

/* Close the files of the journal, too: the parent owns them alone. SQLite keeps its own descriptors
 * open, and its locks belong to the parent. */
static void task_forked(void *pool)
{
    const task_journal *j = ((cellar_pool *)pool)->journal;
    base_object_forked(pool);
    if (j != NULL && j->board != NULL) { journal_board_forked(j->board); }
}

/* ---- ticks ---- */

/* Run one task on this thread. False: none may run. */
static bool task_tick_one(void *pool)
{
    task_run run;
    return task_run_next(pool, &run, false);
}

static void task_tick_fire(void *pool, int64_t *next_ms)
{
    task_fire(pool, next_ms);
    if (((cellar_pool *)pool)->journal != NULL) { task_commit_tick(pool); }
}

static bool task_tick_ready(void *pool)
{
    cellar_pool *p = pool;
    sync_take(QUEUE, &p->lock);
    const bool ready = task_queue_ready(p);
    sync_drop(QUEUE, &p->lock);
    return ready;
}

WORK_TICKS(cellar_pool);
static const work_ticks task_ticks = { task_tick_fire, task_timers_look, task_tick_one,
                                       task_tick_ready };

STATS_SERVICE(task_service, work_tick, task_figures, cellar_pool_stats, 0, "pool", STATS_TASKS,
              task_figures_more)

/* Return whether a setting of a pool can have a value. */
static bool task_setting_ok(cellar_pool_setting what, int64_t value)
{
    switch (what) {
    case CELLAR_POOL_SET_WORKERS: return value >= 1 && value <= CELLAR_POOL_WORKERS_MAX;
    case CELLAR_POOL_SET_WEIGHT: return value >= 1 && value <= (int64_t)TASK_WEIGHT_MAX;
    case CELLAR_POOL_SET_PAUSE: return value >= 0;
    }
    return false;
}

CELLAR_API cellar_err cellar_pool_set(cellar_pool *p, cellar_pool_setting what, const char *queue,
                                      int64_t value)
{
    const bool workers = what == CELLAR_POOL_SET_WORKERS;
    if (p == NULL || !task_setting_ok(what, value) || workers != (queue == NULL)) {
        return CELLAR_E_INVAL;
    }
    if (p->obj.forked) { return CELLAR_E_FORKED; }
    if (workers && p->obj.no_threads) { return CELLAR_E_UNSUPPORTED; }
    const work_time now = work_now(&p->obj);
    task_after a = task_lock_recall(p);
    a.timer = true;
    task_queue *q = workers ? NULL : task_queue_find(p, queue);
    if (workers) {
        p->target = (uint32_t)value;
    } else if (q != NULL && what == CELLAR_POOL_SET_WEIGHT) {
        task_queue_weigh(p, q, (uint32_t)value);
    } else if (q != NULL && value == 0) {
        task_gate_open(p, &q->gate, &a);
    } else if (q != NULL) {
        task_gate_close(p, &q->gate, task_time_add(now.mono_ms, value));
    }
    task_unlock(p, &a);
    if (workers) {
        work_wake(&p->work, INT32_MAX);
    }
    return workers || q != NULL ? CELLAR_OK : CELLAR_E_NOT_FOUND;
}

/* ---- open ---- */

#define TASK_NUMBER(field, none, max, why) \
    BASE_NUMBER(cellar_pool_config, field, none, 0, max, why)
#define TASK_TIME(field, none) TASK_NUMBER(field, none, INT64_MAX, "times must not be negative")
static const base_number task_numbers[] = {
    TASK_TIME(success_ttl_ms, 3600000),
    TASK_TIME(failed_ttl_ms, 1800000),
    TASK_TIME(dead_ttl_ms, 7 * TASK_DAY_MS),
    TASK_TIME(age_ms, 10000),
    TASK_TIME(block_timeout_ms, 1000),
    TASK_TIME(close_timeout_ms, 5000),
    TASK_TIME(grace_ms, 1000),
    TASK_NUMBER(queue_bytes, UINT64_C(64) << 20, UINT64_MAX, ""),
    TASK_NUMBER(queue_cap, 65536, 1u << 24, "queue_cap must be at most 16,777,216"),
    TASK_NUMBER(dead_cap, 10000, 1u << 24, "dead_cap must be at most 16,777,216"),
    TASK_NUMBER(workers, 4, CELLAR_POOL_WORKERS_MAX, "workers must be at most 64"),
    TASK_NUMBER(max_names, 256, 4096, "max_names must be at most 4,096"),
    TASK_NUMBER(restore_rate, 1000, 1000000, "restore_rate must be at most 1,000,000"),
    TASK_NUMBER(max_rows, 4096, 1u << 20, "max_rows must be at most 1,048,576"),
    TASK_NUMBER(max_groups, 256, 32768, "max_groups must be at most 32,768"),
    TASK_NUMBER(max_routes, 1024, 65536, "max_routes must be at most 65,536"),
    TASK_NUMBER(max_subscribers, 1024, 65536, "max_subscribers must be at most 65,536"),
    TASK_NUMBER(max_message_bytes, UINT64_C(1) << 20, UINT64_C(1) << 30,
                "max_message_bytes must be at most 1 GiB"),
    TASK_NUMBER(max_parallel, 2, CELLAR_POOL_WORKERS_MAX, "max_parallel must be at most 64"),
    TASK_NUMBER(on_full, 0, CELLAR_POOL_DROP_OLDEST, "on_full must be a cellar_pool_full"),
    TASK_NUMBER(order, 0, CELLAR_POOL_STRICT, "order must be a cellar_pool_order"),
    TASK_NUMBER(journal_level, 0, CELLAR_JOURNAL_SYNC,
                "journal_level must be a cellar_journal_level"),
    TASK_NUMBER(on_bad_journal, 0, CELLAR_JOURNAL_SET_ASIDE,
                "on_bad_journal must be a cellar_journal_damaged"),
    TASK_NUMBER(reserved0, 0, 0, "reserved0 must be 0"),
    TASK_NUMBER(reserved1, 0, 0, "reserved1 must be 0"),
};

/* Copy and check the options of the caller. */
static cellar_err task_config_in(const cellar_pool_config *cfg, cellar_pool_config *out,
                                 cellar_host_config *host)
{
    const char *why;
    const cellar_err err = BASE_CONFIG_IN(cellar_pool_config, out, cfg, host, TASK_OPEN, "pool",
                                          BASE_NUMBERS(task_numbers));
    char name[CELLAR_NAME_MAX + 1];
    if (err == CELLAR_OK && out->default_queue != NULL && !bus_name(out->default_queue, name)) {
        return base_refuse(CELLAR_E_INVAL, TASK_OPEN, "default_queue must have 1 to 64 bytes");
    }
    if (err != CELLAR_OK || out->journal_path == NULL) { return err; }
    return base_broken(*out->journal_path == '\0' || *out->journal_path == ':',
                       "journal_path must be a path (\"./\" before a leading colon)", &why) ||
           base_broken(out->on_full == CELLAR_POOL_DROP_OLDEST,
                       "on_full must not be DROP_OLDEST with a journal", &why)
               ? base_refuse(CELLAR_E_INVAL, TASK_OPEN, why)
               : CELLAR_OK;
}

static void task_pool_init(cellar_pool *p, const cellar_pool_config *cfg)
{
    p->ticker = (work_ticker){ .object = p, .ticks = &task_ticks };
    p->cfg = *cfg;
    p->cfg.host = NULL;
    p->obj.wall_clock = cfg->wall_clock;
    p->target = p->obj.no_threads ? 0 : cfg->workers;
    /* Calls of cellar_task_wait may keep slots: a chunk for them. */
    p->chunk_max = (cfg->queue_cap + cfg->dead_cap) / TASK_CHUNK + 2;
    p->name_max = cfg->max_names + cfg->max_groups;
    p->cfg.default_queue = NULL; /* the text of the caller */
    if (cfg->default_queue != NULL) { (void)bus_name(cfg->default_queue, p->bus.default_queue); }
    wheel_ring_init(&p->gates);
    wheel_ring_init(&p->weights);
    wheel_ring_init(&p->dead);
    wheel_ring_init(&p->throttles);
    wheel_ring_init(&p->bus.subscribers);
    wheel_ring_init(&p->bus.scopes);
    wheel_ring_init(&p->sched.list.ring);
    p->runs.next = p->runs.prev = &p->runs;
    const work_time now = work_now(&p->obj);
    base_store_rlx(&p->offset_ms, now.wall_ms - now.mono_ms);
    wheel_init(&p->mono, now.mono_ms);
    wheel_init(&p->wall, now.wall_ms);
}

/* Draw the secret and the epoch. False: the system has no randomness. */
static bool task_pool_draw(cellar_pool *p)
{
    unsigned char secret[32];
    uint64_t drawn;
    if (!base_random_bytes(secret, sizeof secret) || !base_random_bytes(&drawn, sizeof drawn)) {
        return false;
    }
    base_hash_key_init(&p->hash, BASE_HASH_FOLD, secret);
    p->epoch = (uint16_t)drawn;
    base_rng_seed(&p->rng, drawn);
    return true;
}

static void task_pool_stop(cellar_pool *p)
{
    base_store_rel(&p->ticker.stop, 1u);
    work_wake(&p->work, INT32_MAX);
    work_ticker_stop(&p->ticker);
}

/* Free what is left: dead letters, with a journal or in a child all tasks. */
static void task_free_all(cellar_pool *p) SYNC_UNCHECKED
{
    BASE_TABLE_CHARGE(&p->obj.account, BASE_MOD_STORE);
    HASH_CLEAR(by_key, p->by_key);
    HASH_CLEAR(by_id, p->by_id);
    HASH_CLEAR(hh, p->by_name);
    HASH_CLEAR(hh, p->by_throttle);
    task_queue *q = p->queues;
    HASH_CLEAR(hh, p->queues);
    while (q != NULL) {
        task_queue *next = q->hh.next;
        base_free(&p->obj.account, BASE_MOD_STORE, q, sizeof *q);
        q = next;
    }
    for (wheel_timer *at = p->throttles.next, *next; at != &p->throttles; at = next) {
        next = at->next;
        task_throttle_free(p, (task_throttle *)(void *)at); /* its first field */
    }
    for (uint32_t i = 0; i < p->chunk_count * TASK_CHUNK; i++) {
        task *t = task_slot_at(p, i);
        if (t == NULL) { continue; }
        task_after a = { .done = NULL };
        if (t->ext != NULL) { task_ext_leave(t->ext, &a); }
        task_body_drop(p, t->body, true);
        task_settle(p, &a);
    }
    for (uint32_t i = 0; i < p->chunk_count; i++) {
        base_free(&p->obj.account, BASE_MOD_STORE, p->chunk[i], TASK_CHUNK * sizeof(task));
    }
    for (uint32_t i = 0; i < p->name_count; i++) {
        base_free(&p->obj.account, BASE_MOD_STORE, p->names[i], sizeof *p->names[i]);
    }
    refresher_free(p);
    sched_free_all(p);
    bus_free_all(p);
    task_ext_free(p, base_load_rlx(&p->spare));
    base_free(&p->obj.account, BASE_MOD_STORE, p->names, (p->name_max + 1) * sizeof *p->names);
    base_free(&p->obj.account, BASE_MOD_STORE, p->chunk, p->chunk_max * sizeof *p->chunk);
}

CELLAR_API cellar_err cellar_pool_open(const cellar_pool_config *cfg, cellar_pool **out)
{
    if (out == NULL) { return base_refuse(CELLAR_E_INVAL, TASK_OPEN, "out must not be NULL"); }
    *out = NULL;
    cellar_pool_config full;
    cellar_host_config host;
    const char *why = "no memory for the pool", *path = NULL; /* of a refused journal */
    cellar_err err = task_config_in(cfg, &full, &host);
    if (err != CELLAR_OK) { return err; }
    err = CELLAR_E_NOMEM;
    cellar_pool *p = base_object_new(&task_service.kind, &host, sizeof *p);
    if (p == NULL) { goto out; }
    task_pool_init(p, &full);
    why = "no randomness";
    if (!task_pool_draw(p)) { goto drop_object; }
    if (full.journal_path != NULL) {
        err = task_journal_open(p, &why);
        if (err != CELLAR_OK) {
            path = full.journal_path;
            goto drop_tables;
        }
        err = CELLAR_E_NOMEM;
    }
    why = "no memory for the tables";
    p->chunk = base_alloc(&p->obj.account, BASE_MOD_STORE, p->chunk_max * sizeof(task *), NULL);
    p->names = base_alloc(&p->obj.account, BASE_MOD_STORE,
                          (p->name_max + 1) * sizeof(task_name *), NULL);
    if (p->chunk == NULL || p->names == NULL || !refresher_init(p)) { goto drop_tables; }
    if (p->journal != NULL) {
        err = task_restore(p, &why);
        if (err != CELLAR_OK) { goto drop_tables; }
        err = CELLAR_E_NOMEM;
    }
    why = "no memory for the fork handlers";
    if (!base_object_forks(&p->obj, task_forked)) { goto drop_tables; }
    why = "no thread: the system refused one";
    if (p->journal != NULL && !p->obj.no_threads && task_commit_start(p) != 0) { goto drop_fork; }
    *out = p;
    return CELLAR_OK;
drop_fork:
    base_fork_unregister(&p->obj.fork);
drop_tables:
    task_commit_close(p);
    task_free_all(p);
drop_object:
    base_object_free(&p->obj);
out:
    if (path == NULL) { return base_refuse(err, TASK_OPEN, why); }
    return base_open_fail(err, 0, "cellar_pool_open: journal: %s: %s", why, path);
}

/* ---- drain ---- */

/* Return whether only tasks of names that are not registered are live: they cannot run. */
static bool task_only_missing(const cellar_pool *p) SYNC_HOLDS(QUEUE)
{
    uint64_t live = 0;
    for (uint32_t i = 0; i < p->name_count; i++) {
        if (p->names[i]->missing) { live += task_live_of(p->names[i]->count); }
    }
    return live == p->live;
}

/* Return whether no function of the program runs, and the journal has the ends of all. */
static bool task_ran(const cellar_pool *p) SYNC_HOLDS(QUEUE)
{
    return p->run_count == 0 && p->sched.unwritten == 0 && wheel_ring_empty(&p->bus.scopes);
}

/* Return whether the tasks that a drain waits for have ended. */
static bool task_drained(const cellar_pool *p, cellar_drain_mode mode) SYNC_HOLDS(QUEUE)
{
    const bool submits = p->journal != NULL && p->journal->submitting != 0;
    return task_ran(p) && !submits && (mode == CELLAR_DRAIN_RUNNING || task_only_missing(p));
}

/* Wait until a drain is done, or until_ns. With no_threads run the tasks here. */
static void task_drain_wait(cellar_pool *p, cellar_drain_mode mode, uint64_t until_ns)
    SYNC_HOLDS(QUEUE)
{
    while (!task_drained(p, mode) && base_now_ns() < until_ns) {
        if (p->obj.no_threads && !p->hold) {
            int64_t next_ms;
            sync_drop(QUEUE, &p->lock);
            task_fire(p, &next_ms);
            const bool ran = task_tick_one(p);
            sync_take(QUEUE, &p->lock);
            if (ran || next_ms == 0) { continue; }
            if (p->run_count == 0) { return; } /* only delays are left */
        }
        if (!task_drained(p, mode)) { task_sleep(p, NULL, until_ns); }
    }
}

/* Cancel the live tasks that do not run; with a journal they stay in it. Of a name: all of them,
 * and its dead letters leave. Return how many ended. */
static uint64_t task_abandon(cellar_pool *p, const task_name *of, int64_t now_ms) SYNC_HOLDS(QUEUE)
{
    uint64_t ended = 0;
    if (of == NULL && p->journal != NULL) { return 0; }
    for (uint32_t i = 0; i < p->chunk_count * TASK_CHUNK;) {
        task_after a = { .done = NULL };
        const uint64_t before = p->live_ended;
        for (uint32_t n = 0; n < TASK_SLICE && i < p->chunk_count * TASK_CHUNK; n++, i++) {
            task *t = task_slot_at(p, i);
            if (t == NULL || (of != NULL && p->names[t->name] != of)) { continue; }
            /* Also one that is not written. */
            if (of != NULL && t->state == CELLAR_TASK_FAILED && t->timer.prev != NULL) {
                p->names[t->name]->count[STATS_TASK_DEAD_PURGED]++;
                task_dead_drop(p, t, &a);
            }
            if (!task_is_live(t) || t->state == CELLAR_TASK_RUNNING) { continue; }
            task_detach(p, t, &a);
            task_end(p, t, CELLAR_TASK_CANCELLED, now_ms, &a);
        }
        ended += p->live_ended - before;
        task_unlock(p, &a);
        sync_take(QUEUE, &p->lock);
    }
    return ended;
}

/* Return the number of tasks that run, rows that recur left out. */
static uint32_t task_running(const cellar_pool *p) SYNC_HOLDS(QUEUE)
{
    uint32_t n = 0;
    for (const task_run *r = p->runs.next; r != &p->runs; r = r->next) {
        n += r->task != NULL && (r->task->flags & TASK_RECURS) == 0;
    }
    return n;
}

/* Finish what comes after the lock, and let blocked submits and takes return. */
static void task_drain_tell(cellar_pool *p, task_after *a) SYNC_DROPS(QUEUE)
{
    task_unlock(p, a);
    work_wake(&p->ended, INT32_MAX);
    work_wake(&p->arrived, INT32_MAX);
}

/* Drain: see cellar_pool_drain. The caller holds the lock and has set `draining`. */
static void task_drain(cellar_pool *p, cellar_drain_mode mode, int64_t timeout_ms,
                       cellar_drain_report *report) SYNC_HOLDS(QUEUE)
{
    task_after a = { .done = NULL };
    uint64_t abandoned = 0;
    task_bursts_recall(p, &a);
    const uint64_t ended = p->live_ended;
    task_gate_close(p, &p->refresh->queue.gate, BASE_NEVER_MS - 1); /* no row begins any more */
    if (mode == CELLAR_DRAIN_RUNNING) {
        p->intake = TASK_INTAKE_CLOSED;
        p->hold = true;
    } else if (p->intake == TASK_INTAKE_OPEN) { /* else another drain came first */
        p->intake = TASK_INTAKE_TASKS;
    }
    task_drain_tell(p, &a);
    sync_take(QUEUE, &p->lock);
    task_drain_wait(p, mode, base_until_ns(timeout_ms));
    task_after b = { .done = NULL };
    task_bursts_recall(p, &b);
    p->intake = TASK_INTAKE_CLOSED;
    p->hold = true;
    for (task_run *r = p->runs.next; r != &p->runs; r = r->next) {
        base_store_rlx(&r->cancelled, 1u);
    }
    task_drain_tell(p, &b);
    const work_time now = work_now(&p->obj);
    sync_take(QUEUE, &p->lock);
    task_drain_wait(p, CELLAR_DRAIN_RUNNING, base_until_ns(p->cfg.grace_ms));
    *report = cellar_drain_report_default();
    if (p->journal != NULL) {
        (void)task_commit_wait(p);
        (void)task_abandon(p, NULL, now.mono_ms);
        report->journaled = p->live - task_running(p);
    }
    while (p->journal == NULL && p->live != task_running(p)) {
        abandoned += task_abandon(p, NULL, now.mono_ms);
    }
    report->abandoned = abandoned;
    report->finished = p->live_ended - ended - abandoned;
    report->still_running = p->live - report->journaled;
}

/* Return whether this thread calls a subscriber of the pool. */
static bool task_in_signal(const cellar_pool *p) SYNC_HOLDS(QUEUE)
{
    const int32_t tid = base_thread_id();
    const wheel_timer *at = p->bus.scopes.next;
    while (at != &p->bus.scopes && ((const bus_scope *)(const void *)at)->tid != tid) {
        at = at->next;
    }
    return at != &p->bus.scopes;
}

CELLAR_API cellar_err cellar_pool_drain(cellar_pool *p, cellar_drain_mode mode, int64_t timeout_ms,
                                        cellar_drain_report *report)
{
    cellar_drain_report full;
    if (p == NULL || timeout_ms < 0 || (unsigned)mode > CELLAR_DRAIN_RUNNING) {
        return CELLAR_E_INVAL;
    }
    if (p->obj.forked) { return CELLAR_E_FORKED; }
    sync_take(QUEUE, &p->lock);
    cellar_err err = task_run_mine(p) != NULL || task_in_signal(p) ? CELLAR_E_DEADLOCK
                     : p->draining                              ? CELLAR_E_BUSY
                                                                : CELLAR_OK;
    const bool drains = err == CELLAR_OK;
    if (drains) {
        p->draining = true;
        task_drain(p, mode, timeout_ms, &full);
        p->draining = false;
        if (!task_ran(p)) { err = CELLAR_E_BUSY; }
    }
    sync_drop(QUEUE, &p->lock);
    if (!drains || report == NULL) { return err; }
    const cellar_err copied = base_opts_out(report, &full, sizeof full);
    return copied == CELLAR_OK ? err : copied;
}

/* Return whether a function of a name runs, or a schedule has the name. */
static bool task_name_used(const cellar_pool *p, const task_name *n) SYNC_HOLDS(QUEUE)
{
    for (const task_run *r = p->runs.next; r != &p->runs; r = r->next) {
        if (r->name == n) { return true; }
    }
    const sched_entry *e = p->sched.table;
    while (e != NULL && e->recur.task.name != n->number) { e = e->hh.next; }
    return e != NULL;
}

CELLAR_API cellar_err cellar_task_unregister(cellar_pool *p, const char *name)
{
    if (p == NULL || name == NULL) { return CELLAR_E_INVAL; }
    if (p->obj.forked) { return CELLAR_E_FORKED; }
    const work_time now = task_near(p);
    task_after a = task_lock_recall(p);
    task_name *n = task_name_find(p, name);
    bus_group *g = NULL;
    cellar_err err = n == NULL ? CELLAR_E_NOT_FOUND
                     : task_name_used(p, n) ? CELLAR_E_BUSY : CELLAR_OK;
    if (err == CELLAR_OK) {
        n->missing = n->removed = true; /* what a submit commits meanwhile is cancelled, too */
        n->slots++; /* the place stays until this call ends */
        g = bus_group_leave(p, n);
        task_gate_open(p, &n->gate, &a);
        (void)task_abandon(p, n, now.mono_ms);
        err = task_commit_wait(p);
        if (n->group == g) { n->group = NULL; } /* its lanes served the ends */
        n->slots--;
        task_name_leave(p, n);
    }
    task_unlock(p, &a);
    if (g != NULL) { bus_group_free(p, g); }
    return err;
}

/* ---- close ---- */

CELLAR_API cellar_err cellar_pool_close(cellar_pool *p)
{
    if (p == NULL || p->obj.forked) { return CELLAR_OK; }
    const cellar_err err =
        cellar_pool_drain(p, CELLAR_DRAIN_RUNNING, p->cfg.close_timeout_ms, NULL);
    if (err != CELLAR_OK) { return err; }
    task_pool_stop(p);
    task_threads_free(p);
    base_fork_unregister(&p->obj.fork); /* first: task_forked reads the journal */
    task_commit_close(p);
    task_free_all(p);
    base_object_free(&p->obj);
    return CELLAR_OK;
}

BASE_SIZE_END
