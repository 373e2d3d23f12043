/* SPDX-License-Identifier: MIT
 *
 * Aim:    Tasks run in the order of priority, age, weight and route. The limits of a name park
 *         tasks and keep their order.
 * Method: Both clocks are variables; the test calls cellar_tick, which runs the tasks.
 *         Parking is compared with the order of random submits. */
#include "base/random.h"
#include "cellar_observe.h"
#include "cellar_limit.h"
#include "cellar_schedule.h"
#include "tests/support/task_kit.h"

/* ---- order ---- */

T_CASE_ON(priorities_and_order, TASKS)
{
    cellar_submit_opts o = cellar_submit_opts_default();
    static const uint32_t priority[] = { CELLAR_OFF, 1, 9, 0, 9, 5, CELLAR_OFF };
    for (size_t i = 0; i < 7; i++) {
        const char payload[2] = { (char)('a' + i), 0 };
        o.priority = priority[i];
        (void)submit(payload, &o);
    }
    T_AFTER_STR(tick(), ran, "cedfbag");
    o.priority = 10;
    T_EQ_I64(cellar_task_submit(p, "t", NULL, 0, &o, NULL), CELLAR_E_INVAL);
}

T_CASE_ON(task_priority_ageing, POOL)
{
    cellar_submit_opts low = cellar_submit_opts_default(), high = low;
    config.age_ms = 1000;
    open_with(NULL);
    low.priority = CELLAR_OFF;
    high.priority = 9;
    (void)submit("l", &low);
    mono_ms += 8999;
    (void)submit("h", &high);
    T_AFTER_STR(tick(), ran, "hl");
    clear();
    (void)submit("l", &low);
    mono_ms += 9000; /* it counts as 9 now, and is older */
    (void)submit("h", &high);
    T_AFTER_STR(tick(), ran, "lh");
}

T_CASE_ON(queues_share_by_weight_and_pause, TASKS)
{
    cellar_task_opts o = { .struct_size = sizeof o, .queue = "slow" };
    name_it("u", note, &o);
    T_EQ_I64(cellar_pool_set(p, CELLAR_POOL_SET_WEIGHT, "default", 3), CELLAR_OK);
    for (int i = 0; i < 40; i++) {
        (void)submit("a", NULL);
        T_EQ_I64(cellar_task_submit(p, "u", "b", 1, NULL, NULL), CELLAR_OK);
    }
    T_EQ_I64(cellar_pool_set(p, CELLAR_POOL_SET_PAUSE, "slow", 1000), CELLAR_OK);
    T_EQ_I64(tick(), 1000);
    T_EQ_U64(strspn(ran, "a"), 40);
    T_EQ_U64(ran_count, 40);
    for (int i = 0; i < 40; i++) { (void)submit("a", NULL); }
    T_EQ_I64(cellar_pool_set(p, CELLAR_POOL_SET_PAUSE, "slow", 0), CELLAR_OK);
    clear();
    (void)tick();
    size_t b = 0;
    for (size_t i = 0; i < 40; i++) { b += ran[i] == 'b'; }
    T_EQ_U64(b, 10);
    T_EQ_U64(ran_count, 80);
    T_EQ_I64(cellar_pool_set(p, CELLAR_POOL_SET_PAUSE, "none", 5), CELLAR_E_NOT_FOUND);
    T_EQ_I64(cellar_pool_set(p, CELLAR_POOL_SET_WEIGHT, "none", 5), CELLAR_E_NOT_FOUND);
    T_EQ_I64(cellar_pool_set(p, CELLAR_POOL_SET_WEIGHT, "slow", 101), CELLAR_E_INVAL);
}

T_CASE_ON(pool_has_65536_queues, POOL)
{
    open_with(NULL); /* one queue */
    for (unsigned i = 1; i < 65536; i++) {
        T_REQUIRE(cellar_pool_route(p, "t", t_numbered("q", i), NULL) == CELLAR_OK);
    }
    T_EQ_I64(cellar_pool_route(p, "t", "one more", NULL), CELLAR_E_LIMIT);
    T_EQ_U64(figures().rejected_limit, 1);
    T_EQ_I64(cellar_pool_route(p, "t", "q7", NULL), CELLAR_OK);
    T_AFTER_STR(run("a"), ran, "a");
}

T_CASE_ON(route_moves_queued_tasks, TASKS)
{
    uint32_t moved;
    name_it("image.a", note, NULL);
    name_it("image.b", note, NULL);
    for (int i = 0; i < 3; i++) {
        T_EQ_I64(cellar_task_submit(p, "image.a", "i", 1, NULL, NULL), CELLAR_OK);
        (void)submit("t", NULL);
    }
    T_EQ_I64(cellar_pool_route(p, "image.*", "slow", &moved), CELLAR_OK);
    T_EQ_U64(moved, 2);
    T_EQ_I64(cellar_pool_route(p, "imagf.*", "slow", &moved), CELLAR_E_NOT_FOUND);
    T_EQ_I64(cellar_pool_set(p, CELLAR_POOL_SET_PAUSE, "slow", 10), CELLAR_OK);
    T_AFTER_STR(tick(), ran, "ttt");
    T_AFTER_STR(pass(10), ran, "tttiii");
}

/* ---- limits of a name ---- */

T_CASE(task_rate_parks_in_order)
{
    const cellar_rule rule = cellar_rule_token_bucket(1, CELLAR_SECOND_NS, 1);
    cellar_limiter *l;
    defaults();
    T_REQUIRE(cellar_limiter_open(NULL, &rule, 1, &l) == CELLAR_OK);
    cellar_task_opts o = { .struct_size = sizeof o, .rate = l };
    open_with(&o);
    name_it("free", note, NULL);
    cellar_submit_opts high = { .struct_size = sizeof high, .priority = 9 };
    cellar_task_id ids[5];
    for (int i = 0; i < 4; i++) {
        const char payload[2] = { (char)('a' + i), 0 };
        ids[i] = submit(payload, NULL);
    }
    T_EQ_I64(cellar_task_submit(p, "free", "f", 1, NULL, NULL), CELLAR_OK);
    T_AFTER_STR(tick(), ran, "af"); /* the worker went on to the next name */
    T_EQ_I64(state_of(ids[1]), CELLAR_TASK_SCHEDULED);
    T_EQ_U64(status_of(ids[1]).attempt, 0);
    T_EQ_U64(figures().parked, 3);
    ids[4] = submit("H", &high);
    T_EQ_I64(cellar_limiter_reset(l, NULL, 0, NULL), CELLAR_OK);
    T_AFTER_STR(pass(1100), ran, "afH");
    const char *expected[] = { "afHb", "afHbc", "afHbcd" };
    for (int i = 0; i < 3; i++) {
        T_EQ_I64(cellar_limiter_reset(l, NULL, 0, NULL), CELLAR_OK);
        T_AFTER_STR(pass(1100), ran, expected[i]);
    }
    T_FIELDS(figures(), started, 6, parked, 0);
    T_CHECK(figures().parked_rate > 0);
    close_it();
    cellar_limiter_close(l);
}

T_CASE(limiter_that_never_admits_fails_the_task)
{
    const cellar_rule rule = cellar_rule_sliding_log(0, CELLAR_SECOND_NS);
    cellar_limiter *l;
    if (cellar_limiter_open(NULL, &rule, 1, &l) != CELLAR_OK) {
        T_SKIP("a limit of 0 is refused");
        return;
    }
    defaults();
    cellar_task_opts o = { .struct_size = sizeof o, .rate = l };
    open_with(&o);
    const cellar_task_id id = submit("a", NULL);
    T_AFTER_I64(tick(), state_of(id), CELLAR_TASK_FAILED);
    T_EQ_STR(status_of(id).error, "the limiter never admits it");
    close_it();
    cellar_limiter_close(l);
}

static cellar_verdict inside(const cellar_task *t, void *ctx)
{
    int64_t wait;
    (void)ctx;
    ran[ran_count++] = *(const char *)t->payload;
    (void)cellar_tick(p, 1000000, &wait); /* a second thread could run here */
    ran[ran_count++] = '.';
    return cellar_verdict_ok();
}

static cellar_verdict parks_three(const cellar_task *t, void *ctx)
{
    if (*(const char *)t->payload != 'x') { return inside(t, ctx); }
    (void)submit("a", NULL);
    (void)submit("b", NULL);
    (void)submit("c", NULL);
    T_EQ_I64(cellar_pool_set(p, CELLAR_POOL_SET_PAUSE, "default", 1000), CELLAR_OK);
    return cellar_verdict_ok();
}

/* "a" is released to the queue, and meets a name that is busy again: it stays first. */
T_CASE_ON(released_task_that_is_parked_again_keeps_its_place, POOL)
{
    cellar_submit_opts high = { .struct_size = sizeof high, .priority = 9 };
    cellar_task_opts o = { .struct_size = sizeof o, .max_running = 1 };
    clear();
    open_it();
    name_it("t", parks_three, &o);
    T_AFTER_U64(run("x"), figures().parked, 2);
    (void)submit("H", &high);
    T_EQ_I64(cellar_pool_set(p, CELLAR_POOL_SET_PAUSE, "default", 0), CELLAR_OK);
    T_AFTER_STR(tick(), ran, "H.a.b.c.");
}

/* ---- random parking ---- */

/* Names with max_running or a limiter, tasks that tick inside (so that attempts overlap), cancels
 * and pauses: tasks of one name and priority begin in the order of their submits, and all of them
 * begin or are cancelled. */
enum { PARK_NAMES = 3, PARK_TASKS = 400 };
static uint64_t park_begun[PARK_NAMES][CELLAR_TASK_PRIORITY_MAX + 1];
static unsigned park_depth, park_runs;
static base_rng park_rng;
static const char *const park_name[PARK_NAMES] = { "one", "two", "rate" };

typedef struct park_note {
    uint32_t name, priority;
    uint64_t number;
} park_note;

static cellar_verdict park_run(const cellar_task *t, void *ctx)
{
    park_note n;
    (void)ctx;
    memcpy(&n, t->payload, sizeof n);
    T_CHECK(n.number > park_begun[n.name][n.priority]);
    park_begun[n.name][n.priority] = n.number;
    park_runs++;
    if (park_depth < 4 && base_rng_below(&park_rng, 2) == 0) {
        park_depth++;
        (void)cellar_tick(p, base_rng_below(&park_rng, 2), NULL);
        park_depth--;
    }
    return cellar_verdict_ok();
}

static void park_submit(uint64_t number, cellar_task_id *id)
{
    const park_note n = { (uint32_t)base_rng_below(&park_rng, PARK_NAMES),
                          4 + (uint32_t)base_rng_below(&park_rng, 3), number };
    cellar_submit_opts o = { .struct_size = sizeof o, .priority = n.priority };
    T_EQ_I64(cellar_task_submit(p, park_name[n.name], &n, sizeof n, &o, id), CELLAR_OK);
}

T_CASE(parking_keeps_the_order_of_a_name_and_priority)
{
    const cellar_rule rule = cellar_rule_token_bucket(1, CELLAR_HOUR_NS, 1);
    cellar_task_id ids[PARK_TASKS];
    cellar_limiter *l;
    base_rng_seed(&park_rng, t_seed());
    T_REQUIRE(cellar_limiter_open(NULL, &rule, 1, &l) == CELLAR_OK);
    for (uint64_t round = 0; round < t_share(20) / T_COST + 1; round++) {
        uint64_t number = 0;
        unsigned cancelled = 0;
        memset(park_begun, 0, sizeof park_begun);
        park_runs = 0;
        defaults();
        config.age_ms = INT64_MAX / 4;
        open_it();
        for (uint32_t i = 0; i < PARK_NAMES; i++) {
            cellar_task_opts o = { .struct_size = sizeof o, .max_running = i < 2 ? i + 1 : 0,
                                   .rate = i == 2 ? l : NULL };
            name_it(park_name[i], park_run, &o);
        }
        while (number < PARK_TASKS) {
            switch (base_rng_below(&park_rng, 8)) {
            case 0: (void)cellar_tick(p, 0, NULL); break;
            case 1: T_EQ_I64(cellar_limiter_reset(l, NULL, 0, NULL), CELLAR_OK); break;
            case 2: mono_ms += 3700000, wall_ms += 3700000; break;
            case 3:
                if (number != 0) {
                    const size_t i = base_rng_below(&park_rng, number);
                    cancelled += cellar_task_cancel(p, ids[i]) == CELLAR_OK;
                }
                break;
            case 4: {
                const int64_t ms = (int64_t)base_rng_below(&park_rng, 2);
                T_EQ_I64(cellar_pool_set(p, CELLAR_POOL_SET_PAUSE, "default", ms), CELLAR_OK);
                break;
            }
            default:
                park_submit(number + 1, &ids[number]);
                number++;
            }
        }
        for (unsigned i = 0; figures().live != 0 && i < 10 * PARK_TASKS; i++) {
            T_EQ_I64(cellar_limiter_reset(l, NULL, 0, NULL), CELLAR_OK);
            (void)pass(3700000);
        }
        T_EQ_U64(figures().live, 0);
        T_EQ_U64(park_runs + cancelled, PARK_TASKS);
        close_it();
    }
    cellar_limiter_close(l);
}

T_ONE_THREAD;
/* ---- limits of a name ---- */

T_CASE_ON(removed_name_gives_its_place_free, POOL)
{
    cellar_task_opts o = no_jitter(1);
    cellar_submit_opts later = cellar_submit_opts_default(), given = owned();
    cellar_pool_stats st = cellar_pool_stats_default();
    cellar_task_id dead, delayed, queued;
    later.delay_ms = 1000;
    config.max_names = 2;
    open_with(NULL);
    T_EQ_I64(cellar_task_unregister(p, "a"), CELLAR_E_NOT_FOUND);
    T_EQ_I64(cellar_task_unregister(p, NULL), CELLAR_E_INVAL);
    o.queue_cap = 2;
    name_it("a", note, &o);
    T_EQ_I64(cellar_task_register(p, "b", note, NULL, NULL), CELLAR_E_LIMIT);
    answer = cellar_verdict_fail();
    T_EQ_I64(cellar_task_submit(p, "a", "d", 1, NULL, &dead), CELLAR_OK);
    T_AFTER_I64(tick(), cellar_task_submit(p, "a", "l", 1, &later, &delayed), CELLAR_OK);
    T_EQ_I64(cellar_task_submit(p, "a", "q", 1, &given, &queued), CELLAR_OK);
    const cellar_task_id kept = submit("t", NULL);
    T_EQ_I64(cellar_task_unregister(p, "a"), CELLAR_OK);
    T_EQ_STR(freed, "q");
    T_EQ_I64(state_of(dead), CELLAR_E_NOT_FOUND);
    T_EQ_I64(state_of(delayed), CELLAR_E_NOT_FOUND);
    T_EQ_I64(state_of(queued), CELLAR_E_NOT_FOUND);
    T_EQ_I64(state_of(kept), CELLAR_TASK_QUEUED);
    T_EQ_I64(cellar_task_submit(p, "a", "x", 1, NULL, NULL), CELLAR_E_NOT_FOUND);
    T_EQ_I64(cellar_pool_stats_get(p, "a", &st), CELLAR_E_NOT_FOUND);
    T_EQ_I64(cellar_pool_stats_get(p, "", &st), CELLAR_E_NOT_FOUND);
    T_EQ_I64(cellar_pool_route(p, "a", "default", NULL), CELLAR_E_NOT_FOUND);
    st = figures(); /* the counts of the name stay in those of the pool */
    T_CHECK(st.submitted == 4 && st.failed == 1 && st.cancelled == 2 && st.dead == 0);
    for (int i = 0; i < 3; i++) {
        name_it("b", note, NULL);
        T_EQ_I64(cellar_task_register(p, "c", note, NULL, NULL), CELLAR_E_LIMIT);
        for (int k = 0; k < 3; k++) { /* the limit went with "a" */
            T_EQ_I64(cellar_task_submit(p, "b", "b", 1, NULL, NULL), CELLAR_OK);
        }
        T_AFTER_I64(tick(), cellar_pool_stats_get(p, "b", &st), CELLAR_OK);
        T_CHECK(st.submitted == 3 && st.failed + st.retried == 3);
        T_EQ_I64(cellar_task_unregister(p, "b"), CELLAR_OK);
    }
}

T_CASE_ON(name_in_a_place_of_another_one_counts_its_own_failures, TASKS)
{
    cellar_task_opts o = no_jitter(1);
    cellar_pool_stats st = cellar_pool_stats_default();
    answer = cellar_verdict_fail();
    for (uint32_t i = 1; i <= 2; i++) {
        o.break_after = i;
        name_it("n", note, &o);
        T_EQ_I64(cellar_task_submit(p, "n", "n", 1, NULL, NULL), CELLAR_OK);
        T_AFTER_I64(tick(), cellar_pool_stats_get(p, "n", &st), CELLAR_OK);
        T_EQ_U64(st.breaks, i == 1);
        T_EQ_I64(cellar_task_unregister(p, "n"), CELLAR_OK);
    }
}

T_CASE_ON(name_in_use_is_not_removed, TASKS)
{
    const cellar_task *t;
    cellar_schedule_spec spec = cellar_schedule_spec_default();
    cellar_task_opts o = no_jitter(1);
    uint32_t n;
    o.queue = "pull";
    name_it("l", NULL, &o);
    T_EQ_I64(cellar_task_submit(p, "l", "a", 1, NULL, NULL), CELLAR_OK);
    T_EQ_I64(cellar_task_take(p, "pull", 100, 0, &t, 1, &n), CELLAR_OK);
    T_EQ_I64(cellar_task_unregister(p, "l"), CELLAR_E_BUSY);
    T_EQ_I64(cellar_task_settle(t, cellar_verdict_retry()), CELLAR_OK);
    T_EQ_I64(cellar_task_unregister(p, "l"), CELLAR_OK);
    T_EQ_I64(cellar_task_take(p, "pull", 100, 0, &t, 1, &n), CELLAR_OK); /* the queue stays */
    T_EQ_U64(n, 0);
    spec.task = "t";
    spec.interval_ms = 1000;
    T_EQ_I64(cellar_schedule_add(p, "s", &spec), CELLAR_OK);
    T_EQ_I64(cellar_task_unregister(p, "t"), CELLAR_E_BUSY);
    T_EQ_I64(cellar_schedule_remove(p, "s"), CELLAR_OK);
    T_EQ_I64(cellar_task_unregister(p, "t"), CELLAR_OK);
    name_it("t", note, NULL);
    T_AFTER_STR(run("t"), ran, "t");
}

T_CASE_ON(full_name_refuses_and_other_names_go_on, TASKS)
{
    cellar_task_item items[3];
    cellar_task_opts o = no_jitter(1);
    cellar_pool_stats st = cellar_pool_stats_default();
    cellar_task_id first;
    o.queue_cap = 2;
    o.queue_bytes = 10;
    name_it("l", note, &o);
    for (int i = 0; i < 3; i++) { items[i] = (cellar_task_item){ "l", "abc" + i, 1, NULL }; }
    T_EQ_I64(cellar_task_submit_many(p, items, 3, CELLAR_LINKS_NONE, NULL), CELLAR_E_TOOBIG);
    T_EQ_I64(cellar_task_submit(p, "l", "elevenbytes", 11, NULL, NULL), CELLAR_E_TOOBIG);
    T_EQ_I64(cellar_task_submit(p, "l", "eight888", 8, NULL, &first), CELLAR_OK);
    T_EQ_I64(cellar_task_submit(p, "l", "333", 3, NULL, NULL), CELLAR_E_BUSY); /* bytes */
    items[2].name = "t";
    T_EQ_I64(cellar_task_submit_many(p, items, 3, CELLAR_LINKS_NONE, NULL), CELLAR_E_BUSY);
    items[1].name = "none";
    T_EQ_I64(cellar_task_submit_many(p, items, 3, CELLAR_LINKS_NONE, NULL), CELLAR_E_NOT_FOUND);
    items[1].name = "t";
    T_EQ_I64(cellar_task_submit_many(p, items, 3, CELLAR_LINKS_NONE, NULL), CELLAR_OK);
    T_EQ_I64(cellar_task_submit(p, "l", "d", 1, NULL, NULL), CELLAR_E_BUSY); /* tasks */
    T_EQ_I64(cellar_pool_stats_get(p, "l", &st), CELLAR_OK);
    T_CHECK(st.live == 2 && st.rejected_full == 3);
    T_EQ_U64(figures().rejected_full, 3);
    answer = cellar_verdict_fail();
    (void)tick();
    const cellar_task_id dead = last_id; /* of "c", not of the full name */
    T_EQ_I64(cellar_task_submit(p, "l", "e", 1, NULL, NULL), CELLAR_OK);
    T_EQ_I64(cellar_task_submit(p, "l", "f", 1, NULL, NULL), CELLAR_OK);
    T_EQ_I64(cellar_task_requeue(p, first), CELLAR_E_BUSY); /* stays a dead letter */
    T_EQ_I64(state_of(first), CELLAR_TASK_FAILED);
    T_EQ_I64(cellar_task_requeue(p, dead), CELLAR_OK);
    T_AFTER_U64(tick(), ran_count, 7);
    T_EQ_I64(cellar_task_requeue(p, first), CELLAR_OK);
}

T_CASE_ON(full_name_drops_its_own_oldest_task, TASKS)
{
    cellar_task_opts o = no_jitter(1);
    cellar_submit_opts low = cellar_submit_opts_default();
    cellar_pool_stats st = cellar_pool_stats_default();
    low.priority = 1;
    o.queue_cap = 2;
    o.on_full = CELLAR_POOL_DROP_OLDEST;
    o.break_after = 1; /* after a failure its tasks are parked */
    name_it("l", note, &o);
    (void)submit("t", NULL);
    answer = cellar_verdict_fail();
    T_EQ_I64(cellar_task_submit(p, "l", "a", 1, NULL, NULL), CELLAR_OK);
    T_EQ_I64(cellar_task_submit(p, "l", "b", 1, &low, NULL), CELLAR_OK);
    T_EQ_I64(cellar_task_submit(p, "l", "c", 1, NULL, NULL), CELLAR_OK); /* in place of b */
    T_AFTER_STR(tick(), ran, "ta"); /* t, a and no more */
    answer = cellar_verdict_ok();
    for (int i = 0; i < 4; i++) { /* parked ones leave as well */
        T_EQ_I64(cellar_task_submit(p, "l", "defg" + i, 1, NULL, NULL), CELLAR_OK);
    }
    T_AFTER_STR(pass(40000), ran, "tafg");
    T_EQ_I64(cellar_pool_stats_get(p, "l", &st), CELLAR_OK);
    T_CHECK(st.dropped == 4 && st.cancelled == 4 && st.live == 0);
    T_EQ_U64(figures().dropped, 4);
}

T_MAIN("work_task_order")
