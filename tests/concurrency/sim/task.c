/* SPDX-License-Identifier: MIT
 *
 * Aim:    A task runs once for each attempt, one attempt at a time, never before its due time, and
 *         no task and no wake-up is lost: while tasks are submitted, cancelled, taken, timed out,
 *         parked, drained. The scenarios must catch the mutants task.*.
 * Method: Payloads are the rows of a table. A function checks and marks its row; free_fn counts the
 *         end of each payload. Where no time has to pass, base_sim_no_rescue turns a lost wake-up
 *         into a failure. At rest the counters must add up. */
#include "tests/concurrency/sim/scenarios.h"

#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "cellar_admin.h"
#include "cellar_task.h"
#include "tests/support/task_calls.h"

#define TASK_ROWS 24u
#define TASK_KEYS 2u
#define TASK_LONG_MS INT64_C(3600000)

typedef struct task_row {
    cellar_task_id id;
    uint64_t due_ns;
    uint32_t key;       /* TASK_KEYS: none */
    uint32_t accepted, freed, inside, begun, returned_ok;
    uint32_t last;      /* attempt that was acknowledged in time; 0: none */
    bool cancelled;     /* cellar_task_cancel returned OK */
} task_row;

static struct {
    cellar_pool *p;
    task_row row[TASK_ROWS];
    uint32_t rows;
    uint32_t key_inside[TASK_KEYS];
    uint32_t running, max_running; /* of one name; 0: no limit */
    uint32_t ended;                /* attempts that returned */
    uint32_t cap;                  /* most live tasks; 0: no check */
    bool gate_open;
    _Atomic uint32_t gate;         /* futex word */
} tasks;

/* Set workers, or the pause of the one queue. */
static cellar_err task_pool_set(cellar_pool_setting what, int64_t value)
{
    const char *queue = what == CELLAR_POOL_SET_WORKERS ? NULL : "default";
    return cellar_pool_set(tasks.p, what, queue, value);
}

static void task_open(cellar_pool_config *cfg, uint32_t workers)
{
    memset(&tasks, 0, sizeof tasks);
    cellar_host_config host = { .struct_size = sizeof host, .no_threads = workers == 0 };
    cfg->host = &host;
    cfg->workers = workers;
    BASE_SIM_CHECK(cellar_pool_open(cfg, &tasks.p) == CELLAR_OK);
}

static void task_name(const char *name, cellar_task_fn fn, const cellar_task_opts *o)
{
    BASE_SIM_CHECK(cellar_task_register(tasks.p, name, fn, NULL, o) == CELLAR_OK);
}

static cellar_task_opts task_quick_retries(uint32_t attempts)
{
    cellar_task_opts o = { .struct_size = sizeof o, .max_attempts = attempts, .base_ms = 1,
                           .cap_ms = 1 };
    return o;
}

static cellar_pool_stats task_figures(void)
{
    cellar_pool_stats st = cellar_pool_stats_default();
    BASE_SIM_CHECK(cellar_pool_stats_get(tasks.p, NULL, &st) == CELLAR_OK);
    BASE_SIM_CHECK(st.submitted + st.requeued ==
                   st.ok + st.failed + st.cancelled + st.expired + st.live);
    return st;
}

static void task_free_row(void *payload, size_t len, void *ctx)
{
    (void)len, (void)ctx;
    ((task_row *)payload)->freed++;
}

static task_row *task_row_of(const cellar_task *t)
{
    return &tasks.row[(const task_row *)t->payload - tasks.row];
}

/* Submit the next row. NULL: refused. */
static task_row *task_submit_row(const char *name, cellar_submit_opts *o, cellar_err *err)
{
    BASE_SIM_CHECK(tasks.rows < TASK_ROWS);
    task_row *r = &tasks.row[tasks.rows++];
    r->due_ns = base_now_ns() / 1000000 * 1000000 + (uint64_t)o->delay_ms * 1000000;
    r->key = TASK_KEYS;
    o->free_fn = task_free_row;
    if (o->unique_key != NULL) { r->key = (uint32_t)(*o->unique_key - '0'); }
    cellar_task_id id = { 0, 0 };
    *err = cellar_task_submit(tasks.p, name, r, sizeof *r, o, &id);
    r->id = id;
    r->accepted = *err == CELLAR_OK;
    return r->accepted != 0 ? r : NULL;
}

static void task_submit_plain(const char *name)
{
    cellar_submit_opts o = cellar_submit_opts_default();
    cellar_err err;
    BASE_SIM_CHECK(task_submit_row(name, &o, &err) != NULL);
}

static void task_enter(const cellar_task *t)
{
    task_row *r = task_row_of(t);
    BASE_SIM_CHECK(r->freed == 0 && !r->cancelled);
    BASE_SIM_CHECK(r->inside++ == 0);
    BASE_SIM_CHECK(t->attempt == ++r->begun);
    BASE_SIM_CHECK(r->returned_ok == 0);
    BASE_SIM_CHECK(base_now_ns() >= r->due_ns);
    tasks.running++;
    BASE_SIM_CHECK(tasks.max_running == 0 || tasks.running <= tasks.max_running);
    base_sim_point("sim.task");
}

static cellar_verdict task_leave(const cellar_task *t, cellar_verdict v)
{
    task_row *r = task_row_of(t);
    BASE_SIM_CHECK(r->freed == 0);
    r->inside--;
    r->returned_ok = v.kind == CELLAR_VERDICT_OK;
    tasks.running--;
    tasks.ended++;
    return v;
}

static cellar_verdict task_once(const cellar_task *t, void *ctx)
{
    (void)ctx;
    task_enter(t);
    return task_leave(t, cellar_verdict_ok());
}

/* Wait for the end of all tasks, and check what is true then. */
static cellar_pool_stats task_rest(void)
{
    cellar_drain_report r = cellar_drain_report_default();
    BASE_SIM_CHECK(cellar_pool_drain(tasks.p, CELLAR_DRAIN_ALL, TASK_LONG_MS, &r) == CELLAR_OK);
    BASE_SIM_CHECK(r.still_running == 0);
    const cellar_pool_stats st = task_figures();
    BASE_SIM_CHECK(st.live == 0 && st.running == 0 && st.parked == 0 && st.payload_bytes == 0);
    BASE_SIM_CHECK(st.stuck == 0 && st.late == st.timed_out);
    return st;
}

static void task_shut(void)
{
    while (cellar_pool_close(tasks.p) != CELLAR_OK) { } /* time may jump to its deadline */
    for (uint32_t i = 0; i < tasks.rows; i++) {
        BASE_SIM_CHECK(tasks.row[i].freed == tasks.row[i].accepted);
        BASE_SIM_CHECK(tasks.row[i].inside == 0);
    }
}

/* ---- task_hand_off: no wake-up is lost between a submit and a worker that goes to sleep ---- */

SIM_FIBER(task_submitter)
{
    for (uint64_t n = 1 + base_sim_below(3); n > 0; n--) {
        task_submit_plain("once");
        BASE_SIM_CHECK(tasks.cap == 0 || task_figures().live <= tasks.cap);
    }
}

SIM_FIBER(task_resizer)
{
    for (int i = 0; i < 2; i++) {
        const uint32_t workers = 1 + (uint32_t)base_sim_below(3);
        BASE_SIM_CHECK(task_pool_set(CELLAR_POOL_SET_WORKERS, workers) == CELLAR_OK);
    }
}

SIM_SCENARIO(task_hand_off, "submits wake workers")
{
    cellar_pool_config cfg = cellar_pool_config_default();
    if (base_sim_below(3) == 0) {
        cfg.queue_cap = 1 + (uint32_t)base_sim_below(2);
        cfg.on_full = CELLAR_POOL_BLOCK;
        cfg.block_timeout_ms = TASK_LONG_MS;
    }
    task_open(&cfg, 1 + (uint32_t)base_sim_below(2));
    tasks.cap = cfg.queue_cap;
    task_name("once", task_once, NULL);
    base_sim_no_rescue();
    base_sim_spawn_many(2, "submitter", task_submitter, NULL);
    if (base_sim_below(3) == 0) { base_sim_spawn("resizer", task_resizer, NULL); }
    base_sim_join_all();
    const cellar_pool_stats st = task_rest();
    BASE_SIM_CHECK(st.ok == tasks.rows && st.started == tasks.rows && tasks.ended == tasks.rows);
    task_shut();
}

/* ---- task_wait: waits of threads and of tasks, for tasks that end ---- */

static cellar_verdict task_waits(const cellar_task *t, void *ctx)
{
    (void)ctx;
    task_enter(t);
    cellar_submit_opts o = cellar_submit_opts_default();
    cellar_err err;
    const task_row *child = task_submit_row("once", &o, &err);
    BASE_SIM_CHECK(child != NULL);
    err = cellar_task_wait(tasks.p, child->id, TASK_LONG_MS, NULL);
    BASE_SIM_CHECK(err == CELLAR_OK || err == CELLAR_E_NOT_FOUND || err == CELLAR_E_DEADLOCK);
    BASE_SIM_CHECK(err == CELLAR_E_DEADLOCK || child->returned_ok != 0);
    return task_leave(t, cellar_verdict_ok());
}

SIM_FIBER(task_waiter)
{
    cellar_submit_opts o = cellar_submit_opts_default();
    cellar_err err;
    const task_row *r = task_submit_row(base_sim_below(2) == 0 ? "waits" : "once", &o, &err);
    BASE_SIM_CHECK(r != NULL);
    err = cellar_task_wait(tasks.p, r->id, TASK_LONG_MS, NULL);
    BASE_SIM_CHECK((err == CELLAR_OK || err == CELLAR_E_NOT_FOUND) && r->returned_ok != 0);
}

SIM_SCENARIO(task_wait, "no wait for a task hangs")
{
    cellar_pool_config cfg = cellar_pool_config_default();
    task_open(&cfg, 1 + (uint32_t)base_sim_below(2));
    task_name("once", task_once, NULL);
    task_name("waits", task_waits, NULL);
    base_sim_no_rescue();
    base_sim_spawn_many(3, "waiter", task_waiter, NULL);
    base_sim_join_all();
    const cellar_pool_stats st = task_rest();
    BASE_SIM_CHECK(st.ok == tasks.rows);
    task_shut();
}

/* ---- task_parked: max_running, a paused queue; what is parked is released ---- */

SIM_FIBER(task_pauser)
{
    for (int i = 0; i < 2; i++) {
        BASE_SIM_CHECK(task_pool_set(CELLAR_POOL_SET_PAUSE, TASK_LONG_MS) == CELLAR_OK);
        base_sim_point("sim.paused");
        BASE_SIM_CHECK(task_pool_set(CELLAR_POOL_SET_PAUSE, 0) == CELLAR_OK);
    }
}

SIM_FIBER(task_canceller)
{
    for (int i = 0; i < 4; i++) {
        const uint32_t n = (uint32_t)base_sim_below(TASK_ROWS / 3);
        task_row *r = &tasks.row[n];
        const cellar_err err = r->id.hi != 0 ? cellar_task_cancel(tasks.p, r->id) : CELLAR_OK;
        if (r->id.hi != 0 && err == CELLAR_OK) {
            BASE_SIM_CHECK(r->inside == 0 && r->returned_ok == 0 && !r->cancelled);
            r->cancelled = true;
        }
        base_yield();
    }
}

SIM_SCENARIO(task_parked, "max_running holds, none stays parked")
{
    cellar_pool_config cfg = cellar_pool_config_default();
    cellar_task_opts o = cellar_task_opts_default();
    task_open(&cfg, 2 + (uint32_t)base_sim_below(2));
    o.max_running = 1 + (uint32_t)base_sim_below(2);
    tasks.max_running = o.max_running;
    task_name("once", task_once, &o);
    base_sim_no_rescue();
    base_sim_spawn_many(2, "submitter", task_submitter, NULL);
    if (base_sim_below(2) == 0) { base_sim_spawn("pauser", task_pauser, NULL); }
    if (base_sim_below(2) == 0) { base_sim_spawn("canceller", task_canceller, NULL); }
    base_sim_join_all();
    const cellar_pool_stats st = task_rest();
    BASE_SIM_CHECK(st.ok + st.cancelled == tasks.rows && st.ok == tasks.ended);
    task_shut();
}

/* ---- task_cancel: cancel, due time, expiry and unique keys against ticks ---- */

static cellar_verdict task_keyed(const cellar_task *t, void *ctx)
{
    (void)ctx;
    const task_row *r = task_row_of(t);
    task_enter(t);
    if (r->key < TASK_KEYS) { BASE_SIM_CHECK(tasks.key_inside[r->key]++ == 0); }
    base_sim_point("sim.keyed");
    if (r->key < TASK_KEYS) { tasks.key_inside[r->key]--; }
    const bool again = base_sim_below(4) == 0;
    return task_leave(t, again ? cellar_verdict_retry() : cellar_verdict_ok());
}

SIM_FIBER(task_keyed_submitter)
{
    static const char *const keys[] = { "0", "1" };
    for (int i = 0; i < 4; i++) {
        cellar_err err;
        cellar_submit_opts o = { .struct_size = sizeof o, .delay_ms = (int64_t)base_sim_below(3) };
        if (base_sim_below(4) == 0) { o.expires_ms = 1 + (int64_t)base_sim_below(3); }
        if (base_sim_below(3) != 0) { o.unique_key = keys[base_sim_below(TASK_KEYS)]; }
        o.on_conflict = (cellar_task_conflict)base_sim_below(3);
        (void)task_submit_row("keyed", &o, &err);
        BASE_SIM_CHECK(err == CELLAR_OK || (err == CELLAR_EXISTS && o.unique_key != NULL));
    }
}

SIM_FIBER(task_ticker)
{
    for (int i = 0; i < 4; i++) {
        const cellar_err err = cellar_tick(tasks.p, base_sim_below(2) * 1000, NULL);
        BASE_SIM_CHECK(err == CELLAR_OK || err == CELLAR_PENDING);
        base_sim_advance_ms((int64_t)base_sim_below(3));
    }
}

/* Tick until no task is live. */
static void task_tick_out(void)
{
    for (int i = 0; task_figures().live != 0; i++) {
        BASE_SIM_CHECK(i < 100);
        base_sim_advance_ms(5);
        (void)cellar_tick(tasks.p, 1000000, NULL);
    }
}

SIM_SCENARIO(task_cancel, "cancel, due time, unique keys, ticks")
{
    const cellar_task_opts o = task_quick_retries(2);
    cellar_pool_config cfg = cellar_pool_config_default();
    task_open(&cfg, 0);
    task_name("keyed", task_keyed, &o);
    base_sim_spawn_many(2, "submitter", task_keyed_submitter, NULL);
    base_sim_spawn_many(2, "ticker", task_ticker, NULL);
    base_sim_spawn("canceller", task_canceller, NULL);
    base_sim_join_all();
    task_tick_out();
    (void)task_rest();
    task_shut();
}

/* ---- task_timeout: verdicts against soft and hard time-outs ---- */

static cellar_verdict task_slow(const cellar_task *t, void *ctx)
{
    (void)ctx;
    task_row *r = task_row_of(t);
    BASE_SIM_CHECK(r->freed == 0 && t->attempt <= t->max_attempts);
    BASE_SIM_CHECK((r->begun >> t->attempt & 1) == 0); /* a later one may have begun earlier */
    r->begun |= 1u << t->attempt;
    r->inside++;
    const bool sleeps = base_sim_below(2) == 0;
    if (sleeps) { base_sleep_ns(base_sim_below(8) * 1000000); }
    const bool newer = r->begun >> t->attempt != 1;
    const cellar_err err = cellar_task_progress(t, 1, 2, NULL);
    BASE_SIM_CHECK(err == CELLAR_E_LOST ? cellar_task_cancelled(t) : err == CELLAR_OK && !newer);
    r->inside--;
    tasks.ended++;
    return base_sim_below(2) == 0 ? cellar_verdict_ok() : cellar_verdict_retry();
}

SIM_FIBER(task_slow_submitter)
{
    for (int i = 0; i < 2; i++) { task_submit_plain("slow"); }
}

SIM_SCENARIO(task_timeout, "an attempt ends once")
{
    cellar_pool_config cfg = cellar_pool_config_default();
    cellar_task_opts o = task_quick_retries(1 + (uint32_t)base_sim_below(3));
    o.hard_timeout_ms = 1 + (int64_t)base_sim_below(4);
    if (o.hard_timeout_ms > 1 && base_sim_below(2) == 0) { o.timeout_ms = o.hard_timeout_ms - 1; }
    const uint32_t workers = (uint32_t)base_sim_below(3);
    task_open(&cfg, workers);
    task_name("slow", task_slow, &o);
    base_sim_spawn_many(2, "submitter", task_slow_submitter, NULL);
    if (workers == 0) {
        base_sim_spawn_many(2, "ticker", task_ticker, NULL);
    }
    base_sim_join_all();
    if (workers == 0) { task_tick_out(); }
    for (cellar_pool_stats at = task_figures(); at.live != 0 || at.started != tasks.ended;
         at = task_figures()) {
        base_sleep_ns(1000000); /* not in the drain: time may jump to its deadline */
    }
    const cellar_pool_stats st = task_rest();
    BASE_SIM_CHECK(st.ok + st.failed == tasks.rows && st.started == tasks.ended);
    BASE_SIM_CHECK(st.started == st.ok + st.failed + st.retried);
    task_shut();
}

/* ---- task_take: take, extend and ack against holds that end ---- */

SIM_FIBER(task_taker)
{
    for (int i = 0; i < 4; i++) {
        const cellar_task *t[2];
        uint32_t n;
        const cellar_err took = cellar_task_take(tasks.p, "pull", 1 + (int64_t)base_sim_below(3), 0,
                                                 t, 1 + (uint32_t)base_sim_below(2), &n);
        BASE_SIM_CHECK(took == CELLAR_OK);
        for (uint32_t k = 0; k < n; k++) {
            task_row *r = task_row_of(t[k]);
            BASE_SIM_CHECK(r->freed == 0 && t[k]->attempt <= t[k]->max_attempts);
            BASE_SIM_CHECK((r->begun >> t[k]->attempt & 1) == 0);
            r->begun |= 1u << t[k]->attempt;
            base_sim_advance_ms((int64_t)base_sim_below(3));
            if (base_sim_below(3) == 0) {
                const cellar_verdict longer =
                    cellar_verdict_extend(1 + (int64_t)base_sim_below(3));
                const cellar_err err = cellar_task_settle(t[k], longer);
                BASE_SIM_CHECK(err == CELLAR_OK || err == CELLAR_E_LOST);
            }
            const bool ok = base_sim_below(3) != 0;
            const uint32_t attempt = t[k]->attempt;
            const cellar_err err =
                cellar_task_settle(t[k], ok ? cellar_verdict_ok() : cellar_verdict_retry());
            BASE_SIM_CHECK(err == CELLAR_OK || err == CELLAR_E_LOST);
            if (ok && err == CELLAR_OK) {
                BASE_SIM_CHECK(r->returned_ok++ == 0);
                r->last = attempt;
            }
            tasks.ended++;
        }
        base_yield();
    }
}

SIM_FIBER(task_take_submitter)
{
    for (int i = 0; i < 3; i++) { task_submit_plain("of-pull"); }
}

SIM_SCENARIO(task_take, "one acknowledgement of a task counts")
{
    cellar_pool_config cfg = cellar_pool_config_default();
    cellar_task_opts o = task_quick_retries(1 + (uint32_t)base_sim_below(3));
    cellar_drain_report r = cellar_drain_report_default();
    o.queue = "pull";
    task_open(&cfg, 0);
    task_name("of-pull", NULL, &o);
    base_sim_spawn("submitter", task_take_submitter, NULL);
    base_sim_spawn_many(2, "taker", task_taker, NULL);
    base_sim_spawn("ticker", task_ticker, NULL);
    base_sim_join_all();
    const cellar_err err = cellar_pool_drain(tasks.p, CELLAR_DRAIN_RUNNING, 0, &r);
    BASE_SIM_CHECK(err == CELLAR_OK && r.still_running == 0);
    const cellar_pool_stats st = task_figures();
    uint32_t ok = 0;
    for (uint32_t i = 0; i < tasks.rows; i++) {
        const task_row *row = &tasks.row[i];
        ok += row->returned_ok;
        BASE_SIM_CHECK(row->last == 0 || row->begun >> row->last == 1); /* none followed */
    }
    BASE_SIM_CHECK(st.ok == ok && st.live == 0 && st.late == st.timed_out);
    BASE_SIM_CHECK(st.started == st.ok + st.failed + st.retried && st.started == tasks.ended);
    BASE_SIM_CHECK(st.cancelled == r.abandoned);
    task_shut();
}

/* ---- task_await: takes that wait, a drain that ends them ---- */

SIM_FIBER(task_patient)
{
    const cellar_task *t;
    uint32_t n;
    cellar_err err;
    while ((err = cellar_task_take(tasks.p, "pull", TASK_LONG_MS, TASK_LONG_MS, &t, 1, &n)) ==
           CELLAR_OK) {
        BASE_SIM_CHECK(n == 1);
        task_row *r = task_row_of(t);
        BASE_SIM_CHECK(r->returned_ok++ == 0);
        BASE_SIM_CHECK(cellar_task_settle(t, cellar_verdict_ok()) == CELLAR_OK);
    }
    BASE_SIM_CHECK(err == CELLAR_E_CLOSED);
}

SIM_FIBER(task_await_submitter)
{
    for (int i = 0; i < 3; i++) { task_submit_plain("of-pull"); }
    BASE_SIM_CHECK(task_rest().ok == 3);
}

SIM_SCENARIO(task_await, "takes hear of tasks and of the drain")
{
    cellar_pool_config cfg = cellar_pool_config_default();
    const cellar_task_opts o = { .struct_size = sizeof o, .queue = "pull" };
    task_open(&cfg, 1);
    task_name("of-pull", NULL, &o);
    base_sim_no_rescue();
    base_sim_spawn_many(2, "taker", task_patient, NULL);
    base_sim_spawn("submitter", task_await_submitter, NULL);
    base_sim_join_all();
    task_shut();
}

/* ---- task_group: the last task of a group, after all others, once ---- */

enum { TASK_MEMBERS = 3 };

static cellar_verdict task_member(const cellar_task *t, void *ctx)
{
    (void)ctx;
    const bool fails = base_sim_below(4) == 0;
    task_enter(t);
    const uint32_t row = (uint32_t)(task_row_of(t) - tasks.row);
    BASE_SIM_CHECK(cellar_task_result_set(t, &row, sizeof row) == CELLAR_OK);
    return task_leave(t, fails ? cellar_verdict_fail() : cellar_verdict_ok());
}

static cellar_verdict task_then(const cellar_task *t, void *ctx)
{
    (void)ctx;
    task_enter(t);
    BASE_SIM_CHECK(t->input_count == TASK_MEMBERS);
    for (uint32_t i = 0; i < TASK_MEMBERS; i++) {
        cellar_bytes in;
        const task_row *r = &tasks.row[i];
        const cellar_err err = cellar_task_input(t, i, &in);
        BASE_SIM_CHECK(r->inside == 0);
        BASE_SIM_CHECK(err == (r->returned_ok != 0 ? CELLAR_OK : CELLAR_MISS));
        BASE_SIM_CHECK(err != CELLAR_OK || (in.len == sizeof i && memcmp(in.data, &i, in.len) == 0));
    }
    return task_leave(t, cellar_verdict_ok());
}

SIM_SCENARIO(task_group, "the last task of a group runs once")
{
    cellar_pool_config cfg = cellar_pool_config_default();
    cellar_task_item items[TASK_MEMBERS + 1];
    cellar_task_id ids[TASK_MEMBERS + 1];
    const cellar_task_run_on on = (cellar_task_run_on)base_sim_below(3);
    task_open(&cfg, 2);
    task_name("member", task_member, NULL);
    task_name("then", task_then, NULL);
    base_sim_no_rescue();
    cellar_submit_opts o = { .struct_size = sizeof o, .free_fn = task_free_row };
    tasks.rows = TASK_MEMBERS + 1;
    for (uint32_t i = 0; i < tasks.rows; i++) {
        task_row *r = &tasks.row[i];
        items[i] = (cellar_task_item){ i < TASK_MEMBERS ? "member" : "then", r, sizeof *r, &o };
        r->accepted = 1;
    }
    o.run_on = on;
    BASE_SIM_CHECK(cellar_task_submit_many(tasks.p, items, tasks.rows, CELLAR_LINKS_GROUP, ids) ==
                   CELLAR_OK);
    for (uint32_t i = 0; i < TASK_MEMBERS; i++) { tasks.row[i].id = ids[i]; }
    if (base_sim_below(2) == 0) { base_sim_spawn("canceller", task_canceller, NULL); }
    base_sim_join_all();
    const cellar_pool_stats st = task_rest();
    uint32_t good = 0;
    for (uint32_t i = 0; i < TASK_MEMBERS; i++) { good += tasks.row[i].returned_ok; }
    const bool runs = on == CELLAR_TASK_ALWAYS || (on == CELLAR_TASK_ON_SUCCESS) == (good == 3);
    BASE_SIM_CHECK(tasks.row[TASK_MEMBERS].begun == runs);
    BASE_SIM_CHECK(st.ok == good + runs);
    task_shut();
}

/* ---- task_drain: the report is exact, and nothing begins after it ---- */

static cellar_verdict task_gated(const cellar_task *t, void *ctx)
{
    (void)ctx;
    task_enter(t);
    while (!tasks.gate_open) { (void)sync_wait(&tasks.gate, 0, UINT64_MAX); }
    if (base_sim_below(3) == 0) {
        cellar_submit_opts o = cellar_submit_opts_default();
        cellar_err err;
        (void)task_submit_row("once", &o, &err);
        BASE_SIM_CHECK(err == CELLAR_OK || err == CELLAR_E_CLOSED);
    }
    if (base_sim_below(3) == 0) { base_sleep_ns(base_sim_below(6) * 1000000); }
    return task_leave(t, cellar_verdict_ok());
}

/* Submit until the drain has begun; then let the tasks go on. */
SIM_FIBER(task_opener)
{
    cellar_err err = CELLAR_OK;
    for (int i = 0; err == CELLAR_OK && i < 6; i++) {
        cellar_submit_opts o = { .struct_size = sizeof o, .delay_ms = (int64_t)base_sim_below(3) };
        (void)task_submit_row("gated", &o, &err);
        base_yield();
    }
    while (err == CELLAR_OK) { /* no row of its own */
        err = cellar_task_requeue(tasks.p, (cellar_task_id){ 0, 0 }) == CELLAR_E_CLOSED
                  ? CELLAR_E_CLOSED : CELLAR_OK;
        base_yield();
    }
    BASE_SIM_CHECK(err == CELLAR_E_CLOSED);
    tasks.gate_open = true;
    base_store_rel(&tasks.gate, 1u);
    sync_wake(&tasks.gate, INT32_MAX);
}

SIM_SCENARIO(task_drain, "the report of a drain is exact")
{
    cellar_pool_config cfg = cellar_pool_config_default();
    cellar_drain_report r = cellar_drain_report_default();
    cfg.grace_ms = 1 + (int64_t)base_sim_below(4);
    task_open(&cfg, 1 + (uint32_t)base_sim_below(2));
    task_name("gated", task_gated, NULL);
    task_name("once", task_once, NULL);
    base_sim_spawn("opener", task_opener, NULL);
    const cellar_drain_mode mode = (cellar_drain_mode)base_sim_below(2);
    const cellar_err err = cellar_pool_drain(tasks.p, mode, (int64_t)base_sim_below(8), &r);
    uint32_t begun = 0, accepted = 0, again = 0;
    for (uint32_t i = 0; i < tasks.rows; i++) { begun += tasks.row[i].begun; }
    BASE_SIM_CHECK((err == CELLAR_E_BUSY) == (r.still_running != 0) || err == CELLAR_E_BUSY);
    base_sim_join_all();
    const cellar_pool_stats st = task_figures();
    task_shut(); /* a task that still ran may have noted its submit only now */
    for (uint32_t i = 0; i < tasks.rows; i++) {
        accepted += tasks.row[i].accepted;
        again += tasks.row[i].begun;
    }
    BASE_SIM_CHECK(r.finished + r.abandoned + r.still_running == accepted);
    BASE_SIM_CHECK(again == begun && r.finished + r.still_running == begun);
    BASE_SIM_CHECK(st.submitted == accepted && st.cancelled == r.abandoned);
}

/* ---- task_burst: many plain tasks in a queue; calls that look at them or go before them ---- */

SIM_FIBER(task_looker)
{
    for (int i = 0; i < 3; i++) {
        cellar_submit_opts o = cellar_submit_opts_default();
        cellar_task_status st = cellar_task_status_default();
        cellar_err err;
        const task_row *r = &tasks.row[base_sim_below(TASK_ROWS / 3)];
        const uint32_t begun = r->begun;
        switch (base_sim_below(5)) {
        case 0: (void)task_figures(); break;
        case 1:
            o.priority = 4 + (uint32_t)base_sim_below(3);
            (void)task_submit_row("again", &o, &err);
            break;
        case 2:
            err = task_status(tasks.p, r->id, &st);
            BASE_SIM_CHECK(err == CELLAR_E_NOT_FOUND || st.attempt >= begun);
            break;
        case 3: err = cellar_task_wait(tasks.p, r->id, 1, NULL); break;
        default:
            BASE_SIM_CHECK(task_pool_set(CELLAR_POOL_SET_WORKERS,
                                         1 + (int64_t)base_sim_below(3)) == CELLAR_OK);
            break;
        }
    }
}

static cellar_verdict task_again(const cellar_task *t, void *ctx)
{
    (void)ctx;
    const uint64_t how = base_sim_below(8);
    task_enter(t);
    if (how == 0) { BASE_SIM_CHECK(cellar_task_progress(t, 1, 2, "half") == CELLAR_OK); }
    if (how == 1) { BASE_SIM_CHECK(cellar_task_result_set(t, "1", 1) == CELLAR_OK); }
    if (how == 2) { BASE_SIM_CHECK(cellar_task_error(t, "text") == CELLAR_OK); }
    const bool again = how < 5 && t->attempt < t->max_attempts;
    return task_leave(t, again ? cellar_verdict_retry_after(0) : cellar_verdict_ok());
}

SIM_SCENARIO(task_burst, "calls that look at many queued tasks")
{
    const cellar_task_opts o = task_quick_retries(3);
    cellar_pool_config cfg = cellar_pool_config_default();
    task_open(&cfg, 1 + (uint32_t)base_sim_below(2));
    task_name("again", task_again, &o);
    for (uint64_t n = 2 + base_sim_below(7); n > 0; n--) { task_submit_plain("again"); }
    base_sim_spawn_many(2, "looker", task_looker, NULL);
    if (base_sim_below(2) == 0) { base_sim_spawn("canceller", task_canceller, NULL); }
    base_sim_join_all();
    while (task_figures().live != 0) { base_sleep_ns(1000000); }
    const cellar_pool_stats st = task_rest();
    BASE_SIM_CHECK(st.ok + st.cancelled == tasks.rows && st.started == tasks.ended);
    BASE_SIM_CHECK(st.started >= st.ok + st.retried);
    task_shut();
}
