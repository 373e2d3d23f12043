/* SPDX-License-Identifier: MIT
 *
 * Aim:    tasks take legal edges only, each verdict does what the header says, every limit is a
 *         code and a counter, and no task is lost: submitted + requeued == ok + failed + cancelled
 *         + expired + live after each case.
 * Method: both clocks are variables; the test calls cellar_tick, which runs the tasks. */
#include "base/fault.h"
#include "base/num.h"
#include "base/random.h"
#include "cellar_observe.h"
#include "tests/support/logged.h"
#include "tests/support/refusals.h"
#include "tests/support/struct_sizes.h"
#include "tests/support/task_kit.h"

/* ---- verdicts ---- */

T_CASE_ON(retry_doubles_its_delay_up_to_the_cap, POOL)
{
    cellar_task_opts o = no_jitter(6);
    o.cap_ms = 5000;
    open_with(&o);
    answer = cellar_verdict_retry();
    const cellar_task_id id = submit("a", NULL);
    static const int64_t delays[] = { 1000, 2000, 4000, 5000, 5000 };
    (void)tick();
    for (size_t i = 0; i < 5; i++) {
        T_EQ_I64(state_of(id), CELLAR_TASK_RETRY);
        T_EQ_I64(status_of(id).due_wall_ms, wall_ms + delays[i]);
        T_AFTER_U64(pass(delays[i] - 1), ran_count, i + 1);
        T_AFTER_U64(pass(1), ran_count, i + 2);
    }
    T_EQ_I64(state_of(id), CELLAR_TASK_FAILED);
    T_FIELDS(figures(), retried, 5, dead, 1);
}

T_CASE(jitter_stays_in_its_range)
{
    for (int half = 0; half < 2; half++) {
        cellar_task_opts o = { .struct_size = sizeof o, .base_ms = 100, .max_attempts = 2,
                               .jitter = half ? CELLAR_TASK_JITTER_EQUAL : CELLAR_TASK_JITTER_FULL };
        int64_t least = INT64_MAX, most = 0;
        defaults();
        open_with(&o);
        answer = cellar_verdict_retry();
        for (int i = 0; i < 2000; i++) {
            const cellar_task_id id = submit("a", NULL);
            (void)tick();
            const int64_t delay = status_of(id).due_wall_ms - wall_ms;
            least = BASE_MIN(least, delay);
            most = BASE_MAX(most, delay);
            T_EQ_I64(cellar_task_cancel(p, id), CELLAR_OK);
        }
        T_EQ_I64(least, half ? 50 : 1);
        T_EQ_I64(most, 100);
        close_it();
    }
}

T_CASE_ON(task_has_four_attempts_by_default, TASKS)
{
    answer = cellar_verdict_retry();
    (void)submit("a", NULL);
    for (int i = 0; i < 10; i++) { (void)pass(600000); }
    T_EQ_U64(ran_count, 4);
    T_EQ_U64(figures().failed, 1);
}

T_CASE_ON(seed_task_permanent_not_retried, TASKS)
{
    answer = cellar_verdict_fail();
    const cellar_task_id id = submit("a", NULL);
    (void)pass(0);
    T_AFTER_U64(pass(INT64_C(3600000)), ran_count, 1);
    T_EQ_I64(state_of(id), CELLAR_TASK_FAILED);
    T_EQ_U64(figures().retried, 0);
}

/* Celery: a function that gives up by returning a "failed" value is SUCCESS. */
static cellar_verdict gives_up(const cellar_task *t, void *ctx)
{
    (void)ctx;
    if (t->attempt < t->max_attempts) { return cellar_verdict_retry(); }
    T_EQ_I64(cellar_task_error(t, "gave up"), CELLAR_OK);
    return cellar_verdict_fail();
}

T_CASE_ON(seed_task_last_failure_is_failed, POOL)
{
    const cellar_task_opts o = no_jitter(3);
    cellar_task_id id;
    clear();
    open_it();
    name_it("g", gives_up, &o);
    T_EQ_I64(cellar_task_submit(p, "g", NULL, 0, NULL, &id), CELLAR_OK);
    for (int i = 0; i < 5; i++) { (void)pass(10000); }
    const cellar_task_status st = status_of(id);
    T_EQ_I64(st.state, CELLAR_TASK_FAILED);
    T_EQ_STR(st.error, "gave up");
    T_EQ_U64(st.attempt, 3);
    T_EQ_U64(figures().ok, 0);
}

T_CASE_ON(seed_task_unknown_is_not_found, TASKS)
{
    cellar_task_status st = cellar_task_status_default();
    cellar_task_id id = submit("a", NULL);
    T_EQ_I64(task_status(p, id, &st), CELLAR_OK);
    const cellar_task_id wrong[] = { { 0, 0 }, { id.hi, id.lo + 1 }, { id.hi + 1, id.lo },
                                     { id.hi, id.lo + (UINT64_C(1) << 32) },
                                     { id.hi ^ UINT64_C(1) << 40, id.lo }, { id.hi, UINT64_MAX } };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        T_EQ_I64(task_status(p, wrong[i], &st), CELLAR_E_NOT_FOUND);
        T_EQ_I64(cellar_task_cancel(p, wrong[i]), CELLAR_E_NOT_FOUND);
        T_EQ_I64(cellar_task_wait(p, wrong[i], 0, NULL), CELLAR_E_NOT_FOUND);
        T_EQ_I64(cellar_task_requeue(p, wrong[i]), CELLAR_E_NOT_FOUND);
        T_EQ_I64(cellar_task_purge(p, wrong[i]), CELLAR_E_NOT_FOUND);
    }
    T_EQ_I64(cellar_task_submit(p, "unknown", NULL, 0, NULL, NULL), CELLAR_E_NOT_FOUND);
}

T_CASE_ON(retry_after_and_snooze_take_the_given_delay, POOL)
{
    const cellar_task_opts o = no_jitter(3);
    open_with(&o);
    answer = cellar_verdict_snooze(60000);
    const cellar_task_id id = submit("a", NULL);
    for (int i = 0; i < 10; i++) { /* costs no attempt */
        T_AFTER_I64(tick(), state_of(id), CELLAR_TASK_SCHEDULED);
        T_EQ_U64(status_of(id).attempt, 0);
        T_AFTER_U64(pass(59999), ran_count, (uint64_t)i + 1);
        mono_ms++, wall_ms++;
    }
    answer = cellar_verdict_retry_after(INT64_MAX); /* clamped to 7 days */
    T_AFTER_I64(tick(), status_of(id).due_wall_ms, wall_ms + 7 * INT64_C(86400000));
    T_EQ_U64(status_of(id).attempt, 1);
    answer = cellar_verdict_retry_after(-5);
    (void)pass(7 * INT64_C(86400000));
    T_EQ_I64(state_of(id), CELLAR_TASK_FAILED); /* attempts 2 and 3 follow immediately */
    T_EQ_U64(figures().snoozed, 10);
}

T_CASE_ON(unknown_verdict_fails, TASKS)
{
    answer = cellar_verdict_of((cellar_verdict_kind)77, 5);
    T_AFTER_U64(run("a"), figures().failed, 1);
    answer = cellar_verdict_cancelled();
    T_AFTER_U64(run("b"), figures().cancelled, 1);
}

/* ---- time ---- */

T_CASE_ON(delay_and_eta_are_never_early, TASKS)
{
    cellar_submit_opts o = { .struct_size = sizeof o, .delay_ms = 500 };
    (void)submit("d", &o);
    o.delay_ms = 0;
    o.eta_wall_ms = wall_ms + 1000;
    const cellar_task_id eta = submit("e", &o);
    o.eta_wall_ms = wall_ms - 1000; /* in the past: now */
    (void)submit("p", &o);
    const int64_t next = tick(); /* when the wheel moves on: not after the task is due */
    T_CHECK(next > 0 && next <= 500);
    T_EQ_STR(ran, "p");
    T_AFTER_STR(pass(499), ran, "p");
    T_AFTER_STR(pass(1), ran, "pd");
    T_EQ_I64(status_of(eta).due_wall_ms, wall_ms + 500);
    wall_ms -= 100000; /* the wall clock steps back: the instant moves with it */
    T_AFTER_STR(pass(100499), ran, "pd");
    T_AFTER_STR(pass(1), ran, "pde");
    o.eta_wall_ms = wall_ms + 100000;
    (void)submit("f", &o);
    wall_ms += 100000; /* forward */
    T_AFTER_STR(tick(), ran, "pdef");
}

/* ---- unique keys, ids ---- */

T_CASE_ON(task_unique_freed_by_every_end, POOL)
{
    const cellar_task_opts once = no_jitter(1);
    cellar_submit_opts o = keyed("k");
    config.on_full = CELLAR_POOL_DROP_OLDEST;
    config.queue_cap = 3;
    open_with(&once);
    static const cellar_verdict_kind ends[] = { CELLAR_VERDICT_OK, CELLAR_VERDICT_FAIL,
                                                CELLAR_VERDICT_RETRY, CELLAR_VERDICT_CANCELLED };
    for (size_t i = 0; i < 4; i++) {
        answer = cellar_verdict_of(ends[i], 0);
        (void)submit("a", &o);
        T_CHECK(!key_is_free("k"));
        (void)tick();
        T_CHECK(key_is_free("k"));
    }
    o.expires_ms = 10;
    o.delay_ms = 10;
    (void)submit("a", &o);
    T_CHECK(!key_is_free("k"));
    (void)pass(10);
    T_CHECK(key_is_free("k"));
    o = keyed("k");
    const cellar_task_id id = submit("a", &o);
    T_EQ_I64(cellar_task_cancel(p, id), CELLAR_OK);
    T_CHECK(key_is_free("k"));
    (void)submit("a", &o); /* the oldest: dropped by the fourth */
    for (int i = 0; i < 3; i++) { (void)submit("x", NULL); }
    T_EQ_U64(figures().dropped, 1);
    answer = cellar_verdict_ok();
    (void)tick();
    T_CHECK(key_is_free("k"));
}

/* A dead letter does not hold its key; a requeue takes it again. */
T_CASE_ON(requeue_takes_a_key_past_its_unique_ttl, POOL)
{
    const cellar_task_opts once = no_jitter(1);
    cellar_submit_opts o = keyed("k");
    open_with(&once);
    answer = cellar_verdict_fail();
    const cellar_task_id dead = submit("a", &o);
    T_AFTER_I64(tick(), state_of(dead), CELLAR_TASK_FAILED);
    o.unique_ttl_ms = 10;
    o.delay_ms = 1000;
    (void)submit("b", &o);
    T_EQ_I64(cellar_task_requeue(p, dead), CELLAR_EXISTS);
    (void)pass(10);
    T_EQ_I64(cellar_task_requeue(p, dead), CELLAR_OK);
    T_CHECK(!key_is_free("k")); /* the task that was requeued has it */
    answer = cellar_verdict_ok();
    (void)tick();
    T_CHECK(key_is_free("k"));
}

T_CASE_ON(conflicts_do_what_their_names_say, TASKS)
{
    cellar_submit_opts o = owned();
    cellar_task_id first, id;
    o.unique_key = "k";
    o.delay_ms = 100;
    first = submit("a", &o);
    T_EQ_I64(cellar_task_submit(p, "t", "b", 1, &o, &id), CELLAR_EXISTS);
    T_CHECK(id.hi == first.hi && id.lo == first.lo);
    T_EQ_STR(freed, ""); /* refused: the payload stays with the caller */
    o.on_conflict = CELLAR_TASK_CONFLICT_RETURN;
    id = submit("c", &o);
    T_CHECK(id.hi == first.hi && id.lo == first.lo);
    T_EQ_STR(freed, "c");
    (void)pass(60);
    o.on_conflict = CELLAR_TASK_CONFLICT_DEBOUNCE;
    id = submit("d", &o);
    T_CHECK(id.hi == first.hi && id.lo == first.lo);
    T_EQ_STR(freed, "ca");
    T_AFTER_STR(pass(99), ran, "");
    o.on_conflict = CELLAR_TASK_CONFLICT_REPLACE;
    id = submit("e", &o);
    T_CHECK(id.lo != first.lo);
    T_EQ_I64(state_of(first), CELLAR_E_NOT_FOUND);
    T_EQ_STR(freed, "cad");
    T_AFTER_STR(pass(100), ran, "e");
    T_EQ_STR(freed, "cade");
    T_FIELDS(figures(), submitted, 2, debounced, 1, cancelled, 1);
    /* A key that does not count in a state is given to the next task. */
    o = keyed("k");
    o.unique_states = 1u << CELLAR_TASK_SCHEDULED;
    (void)submit("f", &o);
    (void)submit("g", &o);
    T_AFTER_STR(tick(), ran, "efg");
    T_CHECK(key_is_free("k"));
}

T_CASE_ON(id_in_is_the_id, TASKS)
{
    const cellar_task_id mine = { UINT64_C(0x1234567890abcdef), 42 };
    cellar_task_id id;
    cellar_submit_opts o = { .struct_size = sizeof o, .id_in = &mine, .tag = "group 1" };
    id = submit("a", &o);
    T_CHECK(id.hi == mine.hi && id.lo == mine.lo);
    T_EQ_I64(cellar_task_submit(p, "t", "b", 1, &o, &id), CELLAR_EXISTS);
    T_CHECK(id.hi == mine.hi && id.lo == mine.lo);
    T_EQ_STR(status_of(mine).tag, "group 1");
    (void)tick();
    T_CHECK(last_id.hi == mine.hi && last_id.lo == mine.lo);
    (void)submit("b", &o); /* forgotten: no namespace */
    T_EQ_I64(cellar_task_cancel(p, mine), CELLAR_OK);
}

/* ---- what a function sees ---- */

static cellar_verdict looks(const cellar_task *t, void *ctx)
{
    cellar_task_status st;
    (void)ctx;
    T_EQ_STR(t->name, "look");
    T_EQ_STR(t->content_type, "text/plain");
    T_EQ_STR(t->tag, "tag");
    T_EQ_U64(t->payload_len, 5);
    T_CHECK(memcmp(t->payload, "hello", 5) == 0);
    T_CHECK(t->trace != NULL && t->trace[0] == 7 && t->trace[31] == 7);
    T_EQ_U64(t->attempt, 1);
    T_EQ_U64(t->input_count, 0);
    T_EQ_I64(t->late_ms, 5);
    T_EQ_I64(cellar_task_progress(t, 3, 10, "merging"), CELLAR_OK);
    st = status_of(t->id);
    T_FIELDS(st, state, CELLAR_TASK_RUNNING, progress_current, 3, progress_total, 10);
    T_EQ_STR(st.message, "merging");
    T_CHECK(!cellar_task_cancelled(t));
    T_EQ_I64(cellar_task_cancel(p, t->id), CELLAR_PENDING);
    T_CHECK(cellar_task_cancelled(t));
    T_EQ_U64(status_of(t->id).cancel_requested, 1);
    T_EQ_I64(cellar_pool_close(p), CELLAR_E_DEADLOCK);
    T_EQ_I64(cellar_pool_drain(p, CELLAR_DRAIN_ALL, 0, NULL), CELLAR_E_DEADLOCK);
    T_EQ_I64(cellar_task_wait(p, t->id, 1000, NULL), CELLAR_E_DEADLOCK);
    ran_count++;
    return cellar_verdict_retry();
}

T_CASE_ON(function_sees_its_submit, POOL)
{
    unsigned char trace[CELLAR_TASK_TRACE_BYTES];
    cellar_task_id id;
    memset(trace, 7, sizeof trace);
    clear();
    open_it();
    name_it("look", looks, NULL);
    cellar_submit_opts o = { .struct_size = sizeof o, .trace = trace, .tag = "tag",
                             .content_type = "text/plain", .delay_ms = 10 };
    T_EQ_I64(cellar_task_submit(p, "look", "hello", 5, &o, &id), CELLAR_OK);
    T_EQ_U64(id.hi >> 16, (uint64_t)wall_ms);
    memset(trace, 0, sizeof trace);
    T_AFTER_U64(pass(15), ran_count, 1);
    T_EQ_U64(figures().cancelled, 1); /* a cancelled task is not retried */
}

T_CASE(payload_is_freed_once_by_every_end)
{
    cellar_submit_opts o = owned();
    const cellar_task_opts once = no_jitter(1);
    defaults();
    open_with(&once);
    (void)submit("a", &o);
    T_AFTER_STR(tick(), freed, "a");
    answer = cellar_verdict_fail();
    const cellar_task_id dead = submit("b", &o);
    T_AFTER_STR(tick(), freed, "a");
    T_EQ_I64(cellar_task_purge(p, dead), CELLAR_OK);
    T_EQ_STR(freed, "ab");
    T_EQ_I64(cellar_task_cancel(p, submit("c", &o)), CELLAR_OK);
    T_EQ_STR(freed, "abc");
    (void)submit("d", &o);
    o.delay_ms = 1000;
    (void)submit("e", &o);
    T_EQ_I64(cellar_task_submit(p, "x", "f", 1, &o, NULL), CELLAR_E_NOT_FOUND);
    T_AFTER_U64(close_it(), strspn(freed, "abcde"), 5); /* in any order */
    T_EQ_U64(freed_count, 5);
}

/* ---- holds ---- */

T_CASE(holds_are_acknowledged_extended_and_lost)
{
    const cellar_task *t[4];
    cellar_task_opts o = no_jitter(2);
    cellar_submit_opts so = owned();
    cellar_task_id id;
    uint32_t n;
    defaults();
    open_with(NULL);
    o.queue = "pull";
    name_it("l", NULL, &o);
    T_EQ_I64(cellar_task_register(p, "m", note, NULL, &o), CELLAR_E_BUSY);
    T_EQ_I64(cellar_pool_route(p, "t", "pull", NULL), CELLAR_E_BUSY);
    o.timeout_ms = 5;
    T_EQ_I64(cellar_task_register(p, "m", NULL, NULL, &o), CELLAR_E_INVAL);
    T_EQ_I64(cellar_task_take(p, "default", 100, 0, t, 4, &n), CELLAR_E_NOT_FOUND);
    T_EQ_I64(cellar_task_take(p, "none", 100, 0, t, 4, &n), CELLAR_E_NOT_FOUND);
    T_EQ_I64(cellar_task_take(p, "pull", 0, 0, t, 4, &n), CELLAR_E_INVAL);
    T_EQ_I64(cellar_task_take(p, "pull", 100, -1, t, 4, &n), CELLAR_E_INVAL);
    T_EQ_I64(cellar_task_take(p, "pull", 100, 1, t, 4, &n), CELLAR_OK);
    T_EQ_U64(n, 0); /* after its wait */
    T_EQ_I64(cellar_task_submit(p, "l", "x", 1, NULL, &id), CELLAR_OK);
    T_AFTER_I64(tick(), cellar_task_take(p, "pull", 100, 0, t, 1, &n), CELLAR_OK);
    T_AFTER_I64(pass(50), cellar_task_settle(t[0], cellar_verdict_extend(1000)), CELLAR_OK);
    T_AFTER_I64(pass(999), state_of(id), CELLAR_TASK_RUNNING); /* its whole time */
    T_AFTER_I64(pass(1), state_of(id), CELLAR_TASK_QUEUED);
    T_EQ_I64(cellar_task_settle(t[0], cellar_verdict_ok()), CELLAR_E_LOST);
    T_EQ_I64(cellar_task_cancel(p, id), CELLAR_OK);
    so.tag = "tag";
    for (int i = 0; i < 3; i++) {
        T_EQ_I64(cellar_task_submit(p, "l", "abc" + i, 1, &so, &id), CELLAR_OK);
    }
    (void)tick(); /* no worker takes them */
    T_EQ_I64(cellar_task_take(p, "pull", 100, 0, t, 2, &n), CELLAR_OK);
    T_EQ_U64(n, 2);
    T_EQ_I64(cellar_task_take(p, "pull", 100, 0, t + 2, 2, &n), CELLAR_OK);
    T_EQ_U64(n, 1);
    T_CHECK(*(const char *)t[0]->payload == 'a' && *(const char *)t[2]->payload == 'c');
    T_EQ_STR(t[0]->tag, "tag");
    T_EQ_I64(state_of(t[0]->id), CELLAR_TASK_RUNNING);
    T_EQ_I64(cellar_task_progress(t[0], 1, 2, NULL), CELLAR_OK);
    T_AFTER_I64(pass(99), cellar_task_settle(t[0], cellar_verdict_extend(0)), CELLAR_E_INVAL);
    T_EQ_I64(cellar_task_settle(t[0], cellar_verdict_extend(CELLAR_POOL_DELAY_MAX_MS + 1)),
             CELLAR_E_INVAL);
    T_EQ_I64(cellar_task_settle(t[0], cellar_verdict_extend(CELLAR_POOL_DELAY_MAX_MS)), CELLAR_OK);
    T_EQ_I64(cellar_task_settle(t[0], cellar_verdict_extend(100)), CELLAR_OK);
    T_EQ_I64(cellar_task_settle(t[1], cellar_verdict_ok()), CELLAR_OK);
    T_EQ_STR(freed, "b");
    T_AFTER_I64(pass(1), state_of(id), CELLAR_TASK_QUEUED); /* the hold of c is over */
    T_CHECK(cellar_task_cancelled(t[2]));
    T_EQ_I64(cellar_task_settle(t[2], cellar_verdict_extend(100)), CELLAR_E_LOST);
    T_EQ_I64(cellar_task_take(p, "pull", 100, 0, t + 1, 1, &n), CELLAR_OK);
    T_EQ_U64(n, 1);
    T_EQ_U64(t[1]->attempt, 2);
    T_EQ_I64(cellar_task_settle(t[2], cellar_verdict_ok()), CELLAR_E_LOST);
    T_EQ_U64(figures().late, 2);
    T_EQ_I64(cellar_task_settle(t[0], cellar_verdict_retry_after(50)), CELLAR_OK);
    (void)pass(100); /* the second hold of c as well: it was the last attempt */
    T_EQ_I64(state_of(id), CELLAR_TASK_FAILED);
    T_EQ_STR(status_of(id).error, "not acknowledged in time");
    T_EQ_I64(cellar_pool_close(p), CELLAR_E_BUSY); /* the caller still has it */
    T_EQ_I64(cellar_task_take(p, "pull", 100, 0, t, 1, &n), CELLAR_E_CLOSED);
    T_EQ_I64(cellar_task_settle(t[1], cellar_verdict_ok()), CELLAR_E_LOST);
    T_AFTER_U64(close_it(), freed_count, 3);
}

/* ---- dead letters ---- */

T_CASE_ON(dead_letters_are_listed_requeued_and_bounded, POOL)
{
    const cellar_task_opts once = no_jitter(2);
    config.dead_cap = 3;
    config.dead_ttl_ms = 1000000;
    host.log = keep_line;
    open_with(&once);
    answer = cellar_verdict_fail();
    cellar_task_id id[5];
    for (int i = 0; i < 5; i++) {
        const char payload[2] = { (char)('a' + i), 0 };
        id[i] = submit(payload, NULL);
        T_AFTER_STR(pass(10), logged, "2 task 0 \"t\" failed for good at attempt 1 of 2");
    }
    T_FIELDS(figures(), dead, 3, dead_dropped, 2);
    T_EQ_I64(state_of(id[1]), CELLAR_E_NOT_FOUND);
    T_EQ_I64(state_of(id[2]), CELLAR_TASK_FAILED);
    T_EQ_I64(cellar_task_cancel(p, id[2]), CELLAR_E_BUSY);
    answer = cellar_verdict_ok();
    clear();
    T_EQ_I64(cellar_task_requeue(p, id[2]), CELLAR_OK);
    T_EQ_I64(cellar_task_requeue(p, id[2]), CELLAR_E_NOT_FOUND);
    T_EQ_U64(status_of(id[2]).attempt, 0);
    T_AFTER_STR(tick(), ran, "c");
    T_EQ_U64(figures().requeued, 1);
    T_EQ_I64(cellar_task_purge(p, id[3]), CELLAR_OK);
    T_EQ_I64(cellar_task_purge(p, id[3]), CELLAR_E_NOT_FOUND);
    T_EQ_U64(figures().dead, 1);
    T_AFTER_U64(pass(999990), figures().dead, 1);
    T_AFTER_U64(pass(10), figures().dead, 0);
    T_EQ_U64(figures().dead_dropped, 3);
}

/* ---- limits ---- */

static cellar_err try_submit(cellar_submit_opts o)
{
    o.struct_size = sizeof o;
    return cellar_task_submit(p, "t", NULL, 0, &o, NULL);
}

T_CASE(task_limits)
{
    cellar_task_id id;
    char text[300];
    defaults();
    config.queue_cap = 4;
    config.queue_bytes = 10;
    config.max_names = 2;
    open_with(NULL);
    memset(text, 'x', sizeof text);
    text[256] = 0;
    for (int i = 0; i < 4; i++) { (void)submit("a", NULL); }
    T_EQ_I64(cellar_task_submit(p, "t", "b", 1, NULL, &id), CELLAR_E_BUSY);
    T_EQ_U64(figures().rejected_full, 1);
    (void)tick();
    (void)submit("123456789", NULL);
    T_EQ_I64(cellar_task_submit(p, "t", "12", 2, NULL, &id), CELLAR_E_BUSY);
    T_FIELDS(figures(), rejected_full, 2, payload_bytes, 9);
    T_EQ_I64(cellar_task_submit(p, "t", text, 11, NULL, &id), CELLAR_E_TOOBIG);
    (void)tick();
    name_it("u", note, NULL);
    T_EQ_I64(cellar_task_register(p, "v", note, NULL, NULL), CELLAR_E_LIMIT);
    T_EQ_I64(cellar_task_register(p, "u", note, NULL, NULL), CELLAR_EXISTS);
    T_EQ_U64(figures().rejected_limit, 1);
#define TRY(...) try_submit((cellar_submit_opts){ __VA_ARGS__ })
    REFUSALS("tasks", INVAL(cellar_task_register(p, "", note, NULL, NULL)),
             INVAL(cellar_task_register(p, text, note, NULL, NULL)), INVAL(TRY(.tag = text)),
             INVAL(TRY(.unique_key = text)), { CELLAR_OK, TRY(.unique_key = text + 1) },
             INVAL(TRY(.delay_ms = -1)), INVAL(TRY(.delay_ms = CELLAR_POOL_DELAY_MAX_MS + 1)),
             INVAL(TRY(.delay_ms = INT64_MAX)), INVAL(TRY(.eta_wall_ms = -1)),
             { CELLAR_OK, TRY(.eta_wall_ms = INT64_MAX) }, /* far, but a time */
             INVAL(cellar_task_submit(p, "t", NULL, 1, NULL, &id)),
             INVAL(cellar_task_submit(NULL, "t", NULL, 0, NULL, &id)));
#define SET(setting, ...) cellar_pool_set(p, CELLAR_POOL_SET_##setting, __VA_ARGS__)
    REFUSALS("settings", { CELLAR_E_UNSUPPORTED, SET(WORKERS, NULL, 2) },
             INVAL(SET(WORKERS, NULL, 65)), INVAL(SET(WORKERS, NULL, 0)),
             INVAL(SET(WORKERS, "q", 2)), INVAL(SET(WEIGHT, NULL, 2)), INVAL(SET(PAUSE, "q", -1)),
             INVAL(cellar_pool_set(p, (cellar_pool_setting)4, "q", 1)),
             INVAL(cellar_pool_set(NULL, CELLAR_POOL_SET_PAUSE, "q", 1)));
    close_it();
    static const struct {
        size_t offset;
        uint32_t value;
    } bad[] = { { offsetof(cellar_pool_config, workers), 65 },
                { offsetof(cellar_pool_config, queue_cap), (1u << 24) + 1 },
                { offsetof(cellar_pool_config, dead_cap), (1u << 24) + 1 },
                { offsetof(cellar_pool_config, max_names), 4097 },
                { offsetof(cellar_pool_config, on_full), 3 },
                { offsetof(cellar_pool_config, order), 2 },
                { offsetof(cellar_pool_config, journal_level), 2 },
                { offsetof(cellar_pool_config, on_bad_journal), 2 },
                { offsetof(cellar_pool_config, restore_rate), 1000001 },
                { offsetof(cellar_pool_config, reserved0), 1 },
                { offsetof(cellar_pool_config, reserved1), 1 } };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        defaults();
        memcpy((char *)&config + bad[i].offset, &bad[i].value, sizeof bad[i].value);
        T_EQ_I64(cellar_pool_open(&config, &p), CELLAR_E_INVAL);
        T_CHECK(p == NULL);
    }
    defaults();
    config.grace_ms = -1;
    T_EQ_I64(cellar_pool_open(&config, &p), CELLAR_E_INVAL);
    T_EQ_I64(cellar_pool_open(NULL, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_pool_close(NULL), CELLAR_OK);
}

static cellar_err open_sized(void *c)
{
    cellar_pool *made = NULL;
    cellar_pool_config *cfg = c;
    const cellar_err err = cellar_pool_open(cfg, &made);
    if (err == CELLAR_OK) { T_EQ_I64(cellar_pool_close(made), CELLAR_OK); }
    return err;
}
static cellar_err submit_sized(void *o) { return cellar_task_submit(p, "t", "a", 1, o, NULL); }
static cellar_err register_sized(void *o)
{
    static unsigned n;
    return cellar_task_register(p, t_numbered("n", n++), note, NULL, o);
}
static bool no_more(const cellar_task_status *st, void *ctx)
{
    (void)st, (void)ctx;
    return false;
}
static cellar_err list_sized(void *f) { return cellar_task_list(p, f, NULL, no_more, NULL); }
static cellar_err stats_sized(void *o) { return cellar_pool_stats_get(p, NULL, o); }

T_CASE_ON(structs_of_every_size, POOL)
{
    config.max_names = 4096;
    open_with(NULL);
    const cellar_submit_opts o = cellar_submit_opts_default();
    const cellar_task_opts t = cellar_task_opts_default();
    const cellar_task_filter f = cellar_task_filter_default();
    CHECK_IN(cellar_pool_config, config, open_sized);
    CHECK_IN(cellar_submit_opts, o, submit_sized);
    CHECK_IN(cellar_task_opts, t, register_sized);
    CHECK_IN(cellar_task_filter, f, list_sized);
    check_out("cellar_pool_stats", sizeof(cellar_pool_stats), stats_sized);
}

/* ---- lists, figures ---- */

static char listed[64];
static size_t list_most;
static bool list_one(const cellar_task_status *st, void *ctx)
{
    (void)ctx;
    listed[strlen(listed)] = st->tag[0] != 0 ? st->tag[0] : '-';
    return strlen(listed) < list_most;
}
/* Return the tags of the tasks that a filter lets pass. */
static const char *list_of(const cellar_task_filter *f)
{
    memset(listed, 0, sizeof listed);
    list_most = 64;
    T_EQ_I64(cellar_task_list(p, f, NULL, list_one, NULL), CELLAR_OK);
    return listed;
}

T_CASE_ON(list_filters_and_continues, TASKS)
{
    const size_t size = sizeof(cellar_task_filter);
    const uint32_t scheduled = 1u << CELLAR_TASK_SCHEDULED;
    const int64_t now = wall_ms, next = now + 1;
    const struct { cellar_task_filter f; const char *want; } row[] = {
        { { .struct_size = size }, "abcdef" },
        { { .struct_size = size, .states = scheduled }, "bdf" },
        { { .struct_size = size, .states = scheduled, .name = "u" }, "f" },
        { { .struct_size = size, .from_wall_ms = now, .until_wall_ms = next, .tag = "c" }, "c" },
        { { .struct_size = size, .from_wall_ms = now, .until_wall_ms = now }, "" },
        { { .struct_size = size, .from_wall_ms = next }, "" },
    };
    cellar_submit_opts o = cellar_submit_opts_default();
    uint64_t cursor = 0;
    name_it("u", note, NULL);
    for (size_t i = 0; i < 6; i++) {
        o.tag = (const char[]){ (char)('a' + i), '\0' };
        o.delay_ms = i % 2 ? 100 : 0;
        T_EQ_I64(cellar_task_submit(p, i < 4 ? "t" : "u", NULL, 0, &o, NULL), CELLAR_OK);
    }
    T_EQ_STR(list_of(NULL), "abcdef");
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        T_EQ_STR(list_of(&row[i].f), row[i].want);
    }
    memset(listed, 0, sizeof listed);
    for (list_most = 2; list_most <= 6; list_most += 2) {
        T_EQ_I64(cellar_task_list(p, NULL, &cursor, list_one, NULL), CELLAR_OK);
        T_EQ_U64(strlen(listed), list_most);
    }
    T_EQ_STR(listed, "abcdef");
    list_most = 64;
    T_EQ_I64(cellar_task_list(p, NULL, &cursor, list_one, NULL), CELLAR_OK);
    T_EQ_U64(cursor, 0);
    T_EQ_STR(listed, "abcdef");
    T_EQ_I64(cellar_task_list(p, NULL, NULL, NULL, NULL), CELLAR_E_INVAL);
}

T_CASE_ON(figures_of_names_and_metrics, POOL)
{
    char text[8192];
    size_t len;
    cellar_pool_stats st = cellar_pool_stats_default();
    host.name = "p1";
    open_with(NULL);
    name_it("u", note, NULL);
    (void)submit("a", NULL);
    T_EQ_I64(cellar_task_submit(p, "u", "b", 1, NULL, NULL), CELLAR_OK);
    T_EQ_I64(cellar_task_submit(p, "u", "b", 1, NULL, NULL), CELLAR_OK);
    T_AFTER_I64(tick(), cellar_pool_stats_get(p, "u", &st), CELLAR_OK);
    T_FIELDS(st, ok, 2, bytes, 0);
    T_EQ_U64(figures().ok, 3);
    T_CHECK(figures().bytes > 0);
    T_EQ_I64(cellar_pool_stats_get(p, "x", &st), CELLAR_E_NOT_FOUND);
    T_EQ_I64(cellar_metrics_write(p, text, sizeof text, &len), CELLAR_OK);
    T_EQ_U64(strlen(text), len);
    T_CHECK(strstr(text, "cellar_tasks_submitted_total{pool=\"p1\"} 3\n") != NULL);
    T_CHECK(strstr(text, "cellar_tasks_ended_total{pool=\"p1\",state=\"succeeded\"} 3\n") != NULL);
    T_EQ_I64(cellar_metrics_write(p, text, len, NULL), CELLAR_E_BUFFER);
    T_EQ_I64(cellar_stats_json(p, text, sizeof text, &len), CELLAR_OK);
    T_EQ_U64(strlen(text), len);
    T_CHECK(strstr(text, "{\"metrics\":[\n{\"name\":\"cellar_tasks_submitted_total\","
                         "\"labels\":{\"pool\":\"p1\"},\"value\":3},\n{") == text);
    T_EQ_STR(text + len - 4, "}]}\n");
    T_EQ_I64(cellar_metrics_write(p, NULL, 0, &len), CELLAR_E_BUFFER);
}

/* ---- drain ---- */

T_CASE(drain_report_exact)
{
    cellar_submit_opts o = cellar_submit_opts_default();
    cellar_drain_report r = cellar_drain_report_default();
    for (int mode = 0; mode < 2; mode++) {
        defaults();
        open_with(NULL);
        for (int i = 0; i < 10; i++) {
            o.delay_ms = i < 3 ? 1000 : 0;
            (void)submit("a", &o);
        }
        T_EQ_I64(cellar_pool_drain(p, (cellar_drain_mode)mode, 1000, &r), CELLAR_OK);
        T_FIELDS(r, finished, mode == 0 ? 7 : 0, abandoned, mode == 0 ? 3 : 10, still_running, 0);
        T_EQ_U64(figures().live, 0);
        T_EQ_I64(cellar_task_submit(p, "t", NULL, 0, NULL, NULL), CELLAR_E_CLOSED);
        T_EQ_I64(cellar_pool_drain(p, (cellar_drain_mode)mode, 1000, &r), CELLAR_OK);
        T_EQ_U64(r.finished + r.abandoned + r.still_running, 0);
        close_it();
    }
}

/* ---- memory ---- */

static cellar_err all_of_it(void)
{
    cellar_task_item items[3];
    cellar_submit_opts o = owned();
    cellar_task_id id;
    const cellar_task_opts twice = no_jitter(2);
    o.unique_key = "k";
    o.tag = "t";
    o.id_in = &(cellar_task_id){ 5, 5 };
    cellar_err err = cellar_pool_open(&config, &p);
    if (err != CELLAR_OK) { return err; }
    err = cellar_task_register(p, "g", gives, NULL, &twice);
    if (err == CELLAR_OK) { err = cellar_task_submit(p, "g", "a", 1, &o, &id); }
    if (err == CELLAR_OK) { err = cellar_pool_route(p, "g", "q", NULL); }
    items_of("axz", items);
    if (err == CELLAR_OK) {
        err = submit_linked(p, items, 3, CELLAR_LINKS_GROUP, CELLAR_TASK_ALWAYS, NULL);
    }
    (void)tick();
    return err;
}

T_CASE(task_oom)
{
    defaults();
    failing = true;
    for (uint64_t nth = 1;; nth++) {
        memset(heard, 0, sizeof heard);
        freed_count = 0;
        p = NULL;
        base_fault_alloc_arm(nth, false);
        const cellar_err err = all_of_it();
        const bool fired = base_fault_alloc_site() != NULL;
        base_fault_alloc_arm(0, false);
        T_CHECK(err == CELLAR_OK || err == CELLAR_E_NOMEM);
        if (err == CELLAR_OK || p != NULL) {
            (void)figures();
            T_EQ_I64(cellar_pool_close(p), CELLAR_OK);
        }
        if (!fired) { break; }
        T_REQUIRE(nth < 200);
    }
    failing = false;
}

/* ---- random operations against a model ---- */

enum { MODEL_TASKS = 64 };
static struct {
    cellar_task_id id;
    int state;      /* as cellar_task_status; CELLAR_E_NOT_FOUND: ended */
    int64_t due_ms; /* of SCHEDULED and RETRY */
    int attempt;
} model[MODEL_TASKS];
static base_rng rng;

static cellar_verdict model_run(const cellar_task *t, void *ctx)
{
    size_t i;
    (void)ctx;
    memcpy(&i, t->payload, sizeof i);
    T_REQUIRE(i < MODEL_TASKS);
    const bool due = model[i].state == CELLAR_TASK_QUEUED ||
                     ((model[i].state == CELLAR_TASK_SCHEDULED ||
                       model[i].state == CELLAR_TASK_RETRY) && model[i].due_ms <= mono_ms);
    T_CHECK(due);
    T_EQ_I64(t->attempt, model[i].attempt + 1);
    T_EQ_I64(state_of(t->id), CELLAR_TASK_RUNNING);
    const int64_t delay = (int64_t)base_rng_below(&rng, 50);
    model[i].attempt++;
    model[i].due_ms = mono_ms + delay;
    switch (base_rng_below(&rng, 6)) {
    case 0: model[i].state = CELLAR_E_NOT_FOUND; return cellar_verdict_ok();
    case 1: model[i].state = CELLAR_TASK_FAILED; return cellar_verdict_fail();
    case 2: model[i].state = CELLAR_E_NOT_FOUND; return cellar_verdict_cancelled();
    case 3:
        model[i].state = CELLAR_TASK_SCHEDULED;
        model[i].attempt--;
        return cellar_verdict_snooze(delay);
    default: break;
    }
    model[i].state = model[i].attempt < 3 ? CELLAR_TASK_RETRY : CELLAR_TASK_FAILED;
    return cellar_verdict_retry_after(delay);
}

static void model_step(size_t i)
{
    cellar_submit_opts o = cellar_submit_opts_default();
    const uint64_t what = base_rng_below(&rng, 5);
    if (model[i].state == CELLAR_E_NOT_FOUND && what < 3) {
        o.delay_ms = (int64_t)base_rng_below(&rng, 3) * 20;
        o.priority = (uint32_t)base_rng_below(&rng, 10);
        T_EQ_I64(cellar_task_submit(p, "m", &i, sizeof i, &o, &model[i].id), CELLAR_OK);
        model[i].state = o.delay_ms != 0 ? CELLAR_TASK_SCHEDULED : CELLAR_TASK_QUEUED;
        model[i].due_ms = mono_ms + o.delay_ms;
        model[i].attempt = 0;
    } else if (model[i].state == CELLAR_TASK_FAILED) {
        if (what < 3) {
            T_EQ_I64(cellar_task_requeue(p, model[i].id), CELLAR_OK);
            model[i].state = CELLAR_TASK_QUEUED;
            model[i].attempt = 0;
        } else {
            T_EQ_I64(cellar_task_purge(p, model[i].id), CELLAR_OK);
            model[i].state = CELLAR_E_NOT_FOUND;
        }
    } else if (model[i].state != CELLAR_E_NOT_FOUND && what == 4) {
        T_EQ_I64(cellar_task_cancel(p, model[i].id), CELLAR_OK);
        model[i].state = CELLAR_E_NOT_FOUND;
    }
}

T_CASE(task_edges)
{
    base_rng_seed(&rng, t_seed());
    cellar_task_opts o = { .struct_size = sizeof o, .max_attempts = 3 };
    defaults();
    open_it();
    name_it("m", model_run, &o);
    for (size_t i = 0; i < MODEL_TASKS; i++) { model[i].state = CELLAR_E_NOT_FOUND; }
    const uint64_t rounds = t_share(20000 / T_COST);
    for (uint64_t n = 0; n < rounds; n++) {
        const size_t i = base_rng_below(&rng, MODEL_TASKS);
        model_step(i);
        if (base_rng_below(&rng, 8) == 0) { (void)pass((int64_t)base_rng_below(&rng, 30)); }
        if (model[i].id.hi != 0) { T_EQ_I64(state_of(model[i].id), model[i].state); }
        if (n % 64 == 0) { (void)figures(); }
    }
    close_it();
}

T_MAIN("work_task")
