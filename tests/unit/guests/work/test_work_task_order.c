/* SPDX-License-Identifier: MIT
 *
 * Aim:    Tasks run in the order of priority, age, weight and route. The limits of a name park
 *         tasks and keep their order. Chains hand results on, a group ends once after all its
 *         members, and the results of tasks are entries of a store for as long as the state says.
 * Method: Both clocks are variables; the test calls cellar_tick, which runs the tasks.
 *         Parking is compared with the order of random submits. */
#include "base/random.h"
#include "cellar_tier.h"
#include "cellar_limit.h"
#include "cellar_schedule.h"
#include "tests/support/task_kit.h"

T_ONE_THREAD;

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

/* ---- several tasks ---- */

static void open_gives(void)
{
    clear();
    open_it();
    name_it("g", gives, NULL);
}

static char large[1 << 20];

static cellar_verdict reads_large(const cellar_task *t, void *ctx)
{
    (void)ctx;
    ran_count++;
    T_CHECK(t->payload_len == sizeof large && memcmp(t->payload, large, sizeof large) == 0);
    return answer;
}

T_CASE_ON(items_with_one_payload_share_its_copy, TASKS)
{
    enum { ITEMS = 10 };
    cellar_task_item items[ITEMS];
    cellar_task_id ids[ITEMS];
    cellar_submit_opts keyed_too = { .struct_size = sizeof keyed_too, .unique_key = "k" };
    cellar_task_opts o = no_jitter(1);
    name_it("b", reads_large, &o);
    memset(large, 'b', sizeof large);
    const uint64_t before = figures().bytes;
    for (int i = 0; i < ITEMS; i++) {
        items[i] = (cellar_task_item){ "b", large, sizeof large, i == 3 ? &keyed_too : NULL };
    }
    T_EQ_I64(cellar_task_submit_many(p, items, ITEMS, CELLAR_LINKS_NONE, ids), CELLAR_OK);
    T_EQ_U64(figures().payload_bytes, ITEMS * sizeof large);
    T_CHECK(figures().bytes - before < 2 * sizeof large);
    T_EQ_I64(cellar_task_cancel(p, ids[0]), CELLAR_OK);
    keyed_too.on_conflict = CELLAR_TASK_CONFLICT_DEBOUNCE; /* gets bytes of its own */
    T_EQ_I64(cellar_task_submit(p, "b", large, sizeof large, &keyed_too, NULL), CELLAR_OK);
    T_CHECK(figures().bytes - before > 2 * sizeof large);
    T_EQ_I64(state_of(ids[3]), CELLAR_TASK_SCHEDULED);
    answer = cellar_verdict_fail(); /* the dead letters keep it */
    T_AFTER_U64(tick(), ran_count, ITEMS - 1);
    T_CHECK(figures().bytes - before > sizeof large);
    for (int i = 1; i < ITEMS; i++) { T_EQ_I64(cellar_task_purge(p, ids[i]), CELLAR_OK); }
    T_CHECK(figures().bytes - before < sizeof large);
    items[1].payload_len--; /* other bytes, another type, bytes of the program: none is shared */
    items[2].payload_len--;
    cellar_submit_opts typed = cellar_submit_opts_default(), given = owned();
    typed.content_type = "text";
    items[2].opts = &typed;
    items[3] = items[4] = (cellar_task_item){ "b", "g", 1, &given };
    T_EQ_I64(cellar_task_submit_many(p, items, 5, CELLAR_LINKS_NONE, ids), CELLAR_OK);
    T_CHECK(figures().bytes - before > 3 * sizeof large - 3);
    for (int i = 0; i < 5; i++) { T_EQ_I64(cellar_task_cancel(p, ids[i]), CELLAR_OK); }
    T_EQ_STR(freed, "gg");
}

T_CASE_ON(chain_hands_results_on, POOL)
{
    cellar_task_item items[8];
    cellar_task_id ids[8];
    open_gives();
    items_of("abc", items);
    T_EQ_I64(cellar_task_submit_many(p, items, 3, CELLAR_LINKS_CHAIN, ids), CELLAR_OK);
    T_EQ_I64(state_of(ids[2]), CELLAR_TASK_WAITING);
    T_AFTER_STR(tick(), heard, "a bA cB ");
    items_of("axcd", items);
    T_EQ_I64(cellar_task_submit_many(p, items, 4, CELLAR_LINKS_CHAIN, ids), CELLAR_OK);
    T_AFTER_STR(tick(), heard, "a xA ");
    T_EQ_U64(figures().cancelled, 2);
    memset(heard, 0, sizeof heard);
    T_EQ_I64(submit_linked(p, items, 4, CELLAR_LINKS_CHAIN, CELLAR_TASK_ALWAYS, ids), CELLAR_OK);
    T_AFTER_STR(tick(), heard, "a xA c- dC ");
    memset(heard, 0, sizeof heard);
    T_EQ_I64(submit_linked(p, items + 1, 3, CELLAR_LINKS_CHAIN, CELLAR_TASK_ON_FAILURE, ids),
             CELLAR_OK);
    T_AFTER_STR(tick(), heard, "x c- ");
    T_EQ_U64(figures().cancelled, 3);
    /* Delay after the predecessor; cancel of a waiting task ends the rest. */
    cellar_submit_opts o = { .struct_size = sizeof o, .delay_ms = 100 };
    items_of("abc", items);
    items[1].opts = &o;
    T_EQ_I64(cellar_task_submit_many(p, items, 3, CELLAR_LINKS_CHAIN, ids), CELLAR_OK);
    T_AFTER_I64(tick(), state_of(ids[1]), CELLAR_TASK_SCHEDULED);
    T_EQ_I64(cellar_task_cancel(p, ids[2]), CELLAR_OK);
    T_AFTER_STR(pass(100), heard, "a bA ");
    o.delay_ms = 0;
    o.eta_wall_ms = wall_ms + 1;
    T_EQ_I64(cellar_task_submit_many(p, items, 3, CELLAR_LINKS_CHAIN, ids), CELLAR_E_INVAL);
    T_EQ_I64(cellar_task_submit_many(p, items, 2, (cellar_task_links)3, NULL), CELLAR_E_INVAL);
    o.eta_wall_ms = 0;
    o.run_on = CELLAR_TASK_ALWAYS; /* each task has its own */
    items_of("xbcx", items);
    items[1].opts = &o;
    T_EQ_I64(cellar_task_submit_many(p, items, 4, CELLAR_LINKS_CHAIN, NULL), CELLAR_OK);
    T_AFTER_STR(tick(), heard, "x b- cB xC ");
}

T_CASE(long_chain_ends_without_recursion)
{
    enum { LONG = 50000 };
    cellar_task_item *items = malloc(LONG * sizeof *items);
    T_REQUIRE(items != NULL);
    for (int i = 0; i < LONG; i++) { items[i] = (cellar_task_item){ "t", "a", 1, NULL }; }
    defaults();
    open_with(NULL);
    answer = cellar_verdict_fail();
    T_EQ_I64(cellar_task_submit_many(p, items, LONG, CELLAR_LINKS_CHAIN, NULL), CELLAR_OK);
    T_AFTER_U64(tick(), figures().cancelled, LONG - 1);
    T_EQ_U64(figures().live, 0);
    close_it();
    free(items);
}

T_CASE_ON(group_runs_then_after_all, POOL)
{
    cellar_task_item items[8];
    cellar_task_id ids[8];
    open_gives();
    items_of("abcz", items);
    T_EQ_I64(cellar_task_submit_many(p, items, 4, CELLAR_LINKS_GROUP, ids), CELLAR_OK);
    T_AFTER_STR(tick(), heard, "a b c zABC ");
    items_of("axbz", items);
    T_EQ_I64(cellar_task_submit_many(p, items, 4, CELLAR_LINKS_GROUP, ids), CELLAR_OK);
    T_AFTER_STR(tick(), heard, "a x b ");
    memset(heard, 0, sizeof heard);
    T_EQ_I64(submit_linked(p, items, 4, CELLAR_LINKS_GROUP, CELLAR_TASK_ALWAYS, ids), CELLAR_OK);
    T_AFTER_STR(tick(), heard, "a x b zA-B ");
    T_EQ_I64(submit_linked(p, items, 1, CELLAR_LINKS_GROUP, CELLAR_TASK_ALWAYS, ids),
             CELLAR_E_INVAL);
}

/* A member that fails, is requeued and ends again must not fire the group twice, or early. */
T_CASE_ON(task_group_completion_twice, TASKS)
{
    cellar_task_item items[3];
    cellar_task_id ids[3];
    cellar_submit_opts late = { .struct_size = sizeof late, .delay_ms = 1000 };
    items[0] = (cellar_task_item){ "t", "a", 1, NULL };
    items[1] = (cellar_task_item){ "t", "b", 1, &late };
    items[2] = (cellar_task_item){ "t", "z", 1, NULL };
    answer = cellar_verdict_fail();
    T_EQ_I64(submit_linked(p, items, 3, CELLAR_LINKS_GROUP, CELLAR_TASK_ALWAYS, ids), CELLAR_OK);
    T_AFTER_STR(tick(), ran, "a");
    for (int i = 0; i < 3; i++) { /* three more ends of the same member */
        T_EQ_I64(cellar_task_requeue(p, ids[0]), CELLAR_OK);
        (void)tick();
    }
    T_EQ_STR(ran, "aaaa");
    T_EQ_I64(state_of(ids[2]), CELLAR_TASK_WAITING);
    answer = cellar_verdict_ok();
    T_AFTER_STR(pass(1000), ran, "aaaabz");
    T_EQ_I64(cellar_task_requeue(p, ids[0]), CELLAR_OK);
    T_AFTER_STR(tick(), ran, "aaaabza");
}

T_CASE_ON(submit_many_is_all_or_none, POOL)
{
    cellar_task_item items[4];
    cellar_task_id ids[4];
    cellar_submit_opts o = owned(), key = keyed("k");
    config.queue_cap = 4;
    open_with(NULL);
    for (int i = 0; i < 4; i++) { items[i] = (cellar_task_item){ "t", "abcd" + i, 1, &o }; }
    items[3].name = "unknown";
    T_EQ_I64(cellar_task_submit_many(p, items, 4, CELLAR_LINKS_NONE, ids), CELLAR_E_NOT_FOUND);
    items[3].name = "t";
    items[1].opts = items[3].opts = &key; /* twice the same key */
    T_EQ_I64(cellar_task_submit_many(p, items, 4, CELLAR_LINKS_NONE, ids), CELLAR_EXISTS);
    T_CHECK(key_is_free("k"));
    items[3].opts = &o;
    (void)submit("x", NULL);
    T_EQ_I64(cellar_task_submit_many(p, items, 4, CELLAR_LINKS_NONE, ids), CELLAR_E_BUSY);
    T_EQ_U64(figures().live, 1);
    T_AFTER_STR(tick(), freed, "");
    T_EQ_I64(cellar_task_submit_many(p, items, 4, CELLAR_LINKS_NONE, ids), CELLAR_OK);
    T_CHECK(!key_is_free("k"));
    T_AFTER_STR(tick(), ran, "xabcd");
    T_EQ_STR(freed, "acd");
    key.on_conflict = CELLAR_TASK_CONFLICT_REPLACE;
    T_EQ_I64(cellar_task_submit_many(p, items, 4, CELLAR_LINKS_NONE, ids), CELLAR_E_INVAL);
    T_EQ_I64(cellar_task_submit_many(p, items, 0, CELLAR_LINKS_NONE, ids), CELLAR_E_INVAL);
    T_EQ_I64(cellar_task_submit_many(p, NULL, 1, CELLAR_LINKS_NONE, ids), CELLAR_E_INVAL);
}

/* ---- results ---- */

static cellar *store, *results;

static void open_store(void)
{
    const cellar_host_config h = { .struct_size = sizeof h, .clock = read_mono, .no_threads = 1 };
    const cellar_config c = { .struct_size = sizeof c, .host = &h, .memory_bytes = 1u << 20 };
    defaults();
    T_REQUIRE(cellar_open(&c, &store) == CELLAR_OK);
    T_REQUIRE(cellar_namespace_open(store, "results", NULL, &results) == CELLAR_OK);
    config.results = results;
}

static cellar_verdict big(const cellar_task *t, void *ctx)
{
    static char bytes[900000];
    (void)ctx;
    T_EQ_I64(cellar_task_result_set(t, bytes, sizeof bytes), CELLAR_OK);
    return cellar_verdict_ok();
}

T_CASE(results_are_kept_by_state)
{
    cellar_task_id id;
    char buf[16];
    size_t len;
    open_store();
    config.success_ttl_ms = 5000;
    config.failed_ttl_ms = 2000;
    open_gives();
    name_it("big", big, NULL);
    T_EQ_I64(cellar_task_submit(p, "g", "a", 1, NULL, &id), CELLAR_OK);
    T_EQ_I64(cellar_task_result_get(p, id, buf, sizeof buf, &len), CELLAR_PENDING);
    T_EQ_I64(status_of(id).started_wall_ms, 0);
    T_AFTER_I64(pass(70), status_of(id).submitted_wall_ms, wall_ms - 70);
    T_EQ_I64(status_of(id).started_wall_ms, wall_ms);
    T_EQ_I64(status_of(id).ended_wall_ms, wall_ms);
    T_EQ_I64(state_of(id), CELLAR_TASK_SUCCEEDED);
    T_EQ_STR(status_of(id).name, "g");
    T_EQ_U64(status_of(id).attempt, 1);
    T_EQ_U64(status_of(id).result_len, 1);
    T_EQ_I64(cellar_task_result_get(p, id, NULL, 0, &len), CELLAR_E_BUFFER);
    T_EQ_U64(len, 1);
    T_EQ_I64(cellar_task_result_get(p, id, buf, sizeof buf, &len), CELLAR_OK);
    T_CHECK(len == 1 && buf[0] == 'A');
    T_EQ_I64(cellar_task_wait(p, id, 0, NULL), CELLAR_OK);
    T_EQ_I64(cellar_task_cancel(p, id), CELLAR_E_NOT_FOUND);
    mono_ms += 4999;
    T_EQ_I64(state_of(id), CELLAR_TASK_SUCCEEDED);
    mono_ms += 2;
    T_EQ_I64(state_of(id), CELLAR_E_NOT_FOUND);
    T_EQ_I64(cellar_task_submit(p, "g", "a", 1, NULL, &id), CELLAR_OK);
    T_EQ_I64(cellar_task_cancel(p, id), CELLAR_OK);
    T_EQ_I64(state_of(id), CELLAR_TASK_CANCELLED);
    mono_ms += 2001;
    T_EQ_I64(state_of(id), CELLAR_E_NOT_FOUND);
    /* A result larger than the namespace takes: the state is kept. */
    T_EQ_I64(cellar_task_submit(p, "big", NULL, 0, NULL, &id), CELLAR_OK);
    T_AFTER_U64(tick(), figures().result_lost, 1);
    T_AFTER_I64(close_it(), cellar_namespace_close(results), CELLAR_OK);
    T_EQ_I64(cellar_close(store), CELLAR_OK);
}

static const cellar_task_id own = { UINT64_C(0x1234567890abcdef), 42 };
static const cellar_submit_opts of_own = { .struct_size = sizeof of_own, .id_in = &own };
static int ends; /* 1: the next look at the results; 2: a task of the id ends beside the submit */
static int others; /* tasks of another id that end, one in each look */

/* host.alloc: the insert of the submit takes memory for slots. */
static void *takes(size_t n, void *ctx)
{
    (void)ctx;
    if (ends == 2 && n >= 65536) {
        ends = 0;
        (void)cellar_task_submit(p, "t", "a", 1, &of_own, NULL);
        (void)tick();
    }
    return malloc(n);
}

static void gives_back(void *at, size_t n, void *ctx)
{
    (void)ctx, (void)n;
    free(at);
}

/* No slot is free when the submit goes on. */
static cellar_err look(void *ctx, const cellar_tier_key *k, void *buf, size_t buf_cap,
                       size_t *value_len, cellar_tier_entry *e)
{
    const cellar_submit_opts later = { .struct_size = sizeof later, .delay_ms = 1000000 };
    (void)ctx, (void)k, (void)buf, (void)buf_cap, (void)value_len, (void)e;
    while (ends == 1 && figures().live < 1024) { (void)submit("l", &later); }
    if (ends == 1) { ends = 2; }
    if (others > 0) {
        const cellar_task_id other = { own.hi, 43 };
        const int left = others - 1;
        others = 0;
        (void)submit("o", &(cellar_submit_opts){ .struct_size = sizeof of_own, .id_in = &other });
        (void)tick();
        others = left;
    }
    return CELLAR_MISS;
}

static cellar_err attached(void *ctx, const cellar_tier_host *tier_host)
{
    (void)ctx, (void)tier_host;
    return CELLAR_OK;
}

static cellar_err put(void *ctx, const cellar_tier_key *k, const void *value, size_t len,
                      cellar_tier_entry *e)
{
    (void)ctx, (void)k, (void)value, (void)len, (void)e;
    return CELLAR_OK;
}

static cellar_err drop(void *ctx, const cellar_tier_key *k, const cellar_tier_entry *e)
{
    (void)ctx, (void)k, (void)e;
    return CELLAR_OK;
}

static void attach_results(void)
{
    cellar_tier_table t = cellar_tier_table_default();
    t.attached = attached;
    t.get = look;
    t.put = put;
    t.remove = drop;
    T_EQ_I64(cellar_tier_attach(results, &t), CELLAR_OK);
}

/* Fault: a submit looked among the results first: a task of its id that ended then was in neither
 * place, and ran again. */
T_CASE(submit_beside_the_end_of_its_id_in_runs_it_once)
{
    for (int there = 0; there < 2; there++) {
        open_store();
        host.alloc = takes;
        host.free = gives_back;
        attach_results();
        open_with(NULL);
        if (there) { (void)submit("a", &of_own); }
        ends = 1;
        T_EQ_I64(cellar_task_submit(p, "t", "b", 1, &of_own, NULL), CELLAR_EXISTS);
        T_AFTER_STR(tick(), ran, "a");
        T_AFTER_I64(close_it(), cellar_namespace_close(results), CELLAR_OK);
        T_EQ_I64(cellar_close(store), CELLAR_OK);
        host.alloc = NULL;
        host.free = NULL;
    }
}

/* Fault: a submit looked again as often as any id ended during its look at the results. */
T_CASE(submit_of_an_id_in_does_not_wait_for_the_ends_of_others)
{
    open_store();
    attach_results();
    open_with(NULL);
    others = 10;
    (void)submit("a", &of_own);
    T_EQ_I64(others, 9);
    others = 0;
    T_AFTER_STR(tick(), ran, "oa");
    T_AFTER_I64(close_it(), cellar_namespace_close(results), CELLAR_OK);
    T_EQ_I64(cellar_close(store), CELLAR_OK);
}

/* ---- the store of the results, and other pools ---- */

static cellar_verdict closes_store(const cellar_task *t, void *ctx)
{
    T_EQ_I64(cellar_task_result_set(t, "r", 1), CELLAR_OK);
    T_EQ_I64(cellar_close(ctx), CELLAR_OK);
    return cellar_verdict_ok();
}

T_CASE(task_that_closes_the_store_loses_its_result_only)
{
    cellar_task_id id;
    open_store();
    open_with(NULL);
    T_EQ_I64(cellar_task_register(p, "closes", closes_store, store, NULL), CELLAR_OK);
    T_EQ_I64(cellar_task_submit(p, "closes", NULL, 0, NULL, &id), CELLAR_OK);
    T_AFTER_U64(tick(), figures().ok, 1);
    T_EQ_I64(state_of(id), CELLAR_E_NOT_FOUND); /* nothing keeps its state any more */
    T_AFTER_U64(run("a"), ran_count, 1);
    T_EQ_U64(figures().ok, 2);
    T_AFTER_I64(close_it(), cellar_namespace_close(results), CELLAR_OK);
}

T_MAIN("work_task_order")
