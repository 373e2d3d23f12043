/* SPDX-License-Identifier: MIT
 *
 * Aim:    rules of names, queues and keys: strict queues, limits by key, pauses after failures,
 *         keys that outlive their task or end before it.
 * Method: both clocks are variables; the test calls cellar_tick, which runs the tasks. */
#include "cellar_limit.h"
#include "cellar_observe.h"
#include "tests/support/each_allocation.h"
#include "tests/support/task_kit.h"

static cellar_submit_opts key_for(const char *key, int64_t ttl_ms, cellar_task_conflict on_conflict)
{
    cellar_submit_opts o = { .struct_size = sizeof o, .unique_key = key, .unique_ttl_ms = ttl_ms,
                             .on_conflict = on_conflict };
    return o;
}

static cellar_err try_submit(const char *payload, const cellar_submit_opts *o, cellar_task_id *id)
{
    return cellar_task_submit(p, "t", payload, strlen(payload), o, id);
}

/* ---- queues ---- */

T_CASE_ON(strict_queues_run_by_rank, POOL)
{
    config.order = CELLAR_POOL_STRICT;
    open_with(NULL);
    cellar_task_opts o = { .struct_size = sizeof o, .queue = "first" };
    name_it("u", note, &o);
    o.queue = "same";
    name_it("v", note, &o);
    T_EQ_I64(cellar_pool_set(p, CELLAR_POOL_SET_WEIGHT, "first", 7), CELLAR_OK);
    for (int i = 0; i < 4; i++) {
        (void)submit("d", NULL);
        T_EQ_I64(cellar_task_submit(p, "v", "s", 1, NULL, NULL), CELLAR_OK);
        T_EQ_I64(cellar_task_submit(p, "u", "f", 1, NULL, NULL), CELLAR_OK);
    }
    T_EQ_I64(cellar_pool_set(p, CELLAR_POOL_SET_PAUSE, "first", 1000), CELLAR_OK);
    T_EQ_I64(cellar_tick(p, 0, NULL), CELLAR_PENDING);
    T_EQ_U64(ran_count, 1); /* of another queue: the first one is paused */
    T_EQ_I64(cellar_pool_set(p, CELLAR_POOL_SET_PAUSE, "first", 0), CELLAR_OK);
    T_AFTER_U64(tick(), strspn(ran + 1, "f"), 4);
    for (size_t i = 5; i + 1 < ran_count; i++) { T_CHECK(ran[i] != ran[i + 1]); } /* in turns */
    T_EQ_U64(ran_count, 12);
}

/* Fault: a full pool dropped its oldest task for a submit that the task of its key refused. */
T_CASE(submit_that_a_key_refuses_drops_no_task)
{
    for (int i = 0; i < 3; i++) {
        static const cellar_task_conflict how[] = { CELLAR_TASK_CONFLICT_REJECT,
                                                    CELLAR_TASK_CONFLICT_RETURN,
                                                    CELLAR_TASK_CONFLICT_THROTTLE };
        cellar_submit_opts o = { .struct_size = sizeof o, .unique_key = "k",
                                 .on_conflict = how[i], .unique_ttl_ms = i == 2 ? 1000 : 0 };
        const cellar_err known = i == 1 ? CELLAR_OK : CELLAR_EXISTS;
        cellar_task_id first, second;
        defaults();
        config.queue_cap = 2;
        config.on_full = CELLAR_POOL_DROP_OLDEST;
        open_with(NULL);
        (void)submit("a", NULL);
        T_EQ_I64(try_submit("b", &o, &first), CELLAR_OK);
        T_EQ_I64(try_submit("c", &o, &second), known);
        T_CHECK(second.hi == first.hi && second.lo == first.lo);
        if (i == 0) {
            o = (cellar_submit_opts){ .struct_size = sizeof o, .id_in = &first };
            T_EQ_I64(try_submit("d", &o, &second), CELLAR_EXISTS);
        }
        T_EQ_U64(figures().dropped, 0);
        T_AFTER_STR(tick(), ran, "ab");
        if (i == 2) { /* the key outlives its task */
            (void)submit("e", NULL);
            (void)submit("f", NULL);
            T_EQ_I64(try_submit("g", &o, &second), CELLAR_EXISTS);
            T_AFTER_STR(tick(), ran, "abef");
        }
        close_it();
    }
}

/* Fault: a full pool dropped its oldest task for a submit that was refused for another reason. */
T_CASE(refused_submit_drops_no_task)
{
    const cellar_submit_opts k = key_for("k", 1000, CELLAR_TASK_CONFLICT_THROTTLE);
    const cellar_submit_opts l = key_for("l", 1000, CELLAR_TASK_CONFLICT_THROTTLE);
    const cellar_task_id none = { 1, 1 };
    const cellar_submit_opts behind = { .struct_size = sizeof behind, .after = &none };
    cellar_task_id id;
    defaults();
    config.queue_cap = 1;
    config.on_full = CELLAR_POOL_DROP_OLDEST;
    open_with(NULL);
    T_EQ_I64(try_submit("a", &k, &id), CELLAR_OK);
    T_EQ_I64(cellar_task_submit(p, "unknown", "c", 1, NULL, NULL), CELLAR_E_NOT_FOUND);
    T_EQ_I64(try_submit("d", &behind, &id), CELLAR_E_NOT_FOUND);
    T_EQ_I64(try_submit("e", &l, &id), CELLAR_E_BUSY); /* no room for its key */
    T_FIELDS(figures(), dropped, 0, rejected_full, 1);
    T_AFTER_STR(tick(), ran, "a");
    close_it();
}

/* Fault: a full pool, or name, dropped its queued tasks for a submit that had no room behind it. */
T_CASE(submit_that_no_drop_helps_drops_no_task)
{
    for (int of_name = 0; of_name < 2; of_name++) {
        cellar_task_opts o = cellar_task_opts_default();
        cellar_submit_opts later = { .struct_size = sizeof later, .delay_ms = 10 };
        cellar_task_id id;
        defaults();
        *(of_name ? &o.queue_bytes : &config.queue_bytes) = 8;
        *(of_name ? &o.on_full : &config.on_full) = CELLAR_POOL_DROP_OLDEST;
        open_with(&o);
        (void)submit("c2345", &later);
        (void)submit("a", NULL);
        (void)submit("b", NULL);
        T_EQ_I64(try_submit("d234", NULL, &id), CELLAR_E_BUSY);
        T_FIELDS(figures(), dropped, 0, rejected_full, 1);
        T_EQ_I64(try_submit("e23", NULL, &id), CELLAR_OK);
        T_EQ_U64(figures().dropped, 2);
        close_it();
    }
}

/* Open a pool that two tasks fill. */
static void open_for_two(bool drops)
{
    defaults();
    config.queue_cap = 2;
    config.on_full = drops ? CELLAR_POOL_DROP_OLDEST : CELLAR_POOL_REJECT;
    open_with(NULL);
}

/* Fault: a full pool dropped its oldest task for a debounce, which makes no task. */
T_CASE(debounce_in_a_full_pool_needs_no_room)
{
    for (int drops = 0; drops < 2; drops++) {
        cellar_submit_opts o = key_for("k", 0, CELLAR_TASK_CONFLICT_DEBOUNCE);
        cellar_task_id first, id;
        open_for_two(drops);
        (void)submit("a", NULL);
        o.delay_ms = 10;
        T_EQ_I64(try_submit("b", &o, &first), CELLAR_OK);
        T_EQ_I64(try_submit("c", &o, &id), CELLAR_OK);
        T_CHECK(id.hi == first.hi && id.lo == first.lo);
        T_FIELDS(figures(), dropped, 0, debounced, 1);
        (void)tick();
        T_AFTER_STR(pass(10), ran, "ac");
        close_it();
    }
}

/* Fault: a full pool without a task to drop said E_BUSY of a payload that its name never takes. */
T_CASE(payload_longer_than_its_name_is_too_big_in_a_full_pool)
{
    for (int full = CELLAR_POOL_REJECT; full <= CELLAR_POOL_DROP_OLDEST; full++) {
        cellar_task_opts o = cellar_task_opts_default();
        cellar_submit_opts later = { .struct_size = sizeof later, .delay_ms = 10 };
        cellar_task_id id;
        defaults();
        o.queue_bytes = 3;
        config.queue_cap = 1;
        config.on_full = (cellar_pool_full)full;
        open_with(&o);
        (void)submit("a", &later);
        T_EQ_I64(try_submit("b234", NULL, &id), CELLAR_E_TOOBIG);
        close_it();
    }
}

/* Fault: a full pool dropped its oldest task for a task that takes the place of another. */
T_CASE(replace_in_a_full_pool_takes_the_place)
{
    for (int drops = 0; drops < 2; drops++) {
        cellar_submit_opts o = key_for("k", 0, CELLAR_TASK_CONFLICT_REPLACE);
        cellar_task_id id;
        open_for_two(drops);
        (void)submit("a", NULL);
        T_EQ_I64(try_submit("b", &o, &id), CELLAR_OK);
        T_EQ_I64(try_submit("c", &o, &id), CELLAR_OK);
        T_FIELDS(figures(), dropped, 0, cancelled, 1);
        T_AFTER_STR(tick(), ran, "ac");
        close_it();
    }
}

/* Fault: a submit with a new id_in went into a full pool without a look for room, and then found
 * itself: EXISTS, and with a journal it waited for its own commit. */
T_CASE(full_pool_makes_room_for_an_id_in_or_refuses_it)
{
    const cellar_task_id mine = { UINT64_C(0x1234567890abcdef), 42 };
    const cellar_submit_opts o = { .struct_size = sizeof o, .id_in = &mine };
    for (int drops = 0; drops < 2; drops++) {
        cellar_task_id id;
        open_for_two(drops);
        (void)submit("a", NULL);
        (void)submit("b", NULL);
        T_EQ_I64(try_submit("c", &o, &id), drops ? CELLAR_OK : CELLAR_E_BUSY);
        T_FIELDS(figures(), live, 2, dropped, (uint64_t)drops);
        T_AFTER_STR(tick(), ran, drops ? "bc" : "ab");
        close_it();
    }
}

/* Fault: items beside a full pool took slots for a key that refuses them: E_NOMEM. Items that never
 * fit did so, too. */
T_CASE(items_that_a_key_refuses_take_no_slot)
{
    enum { CAP = 4096 };
    cellar_task_item *items = calloc(CAP + 1, sizeof *items);
    T_REQUIRE(items != NULL);
    const cellar_submit_opts o = { .struct_size = sizeof o, .unique_key = "k" };
    for (int i = 0; i <= CAP; i++) { items[i] = (cellar_task_item){ "t", "a", 1, NULL }; }
    defaults();
    config.queue_cap = CAP;
    config.dead_cap = 1;
    open_with(NULL);
    items[0].opts = &o;
    T_EQ_I64(cellar_task_submit_many(p, items, CAP, CELLAR_LINKS_NONE, NULL), CELLAR_OK);
    T_EQ_I64(cellar_task_submit_many(p, items, CAP, CELLAR_LINKS_NONE, NULL), CELLAR_EXISTS);
    T_EQ_I64(cellar_task_submit_many(p, items, CAP + 1, CELLAR_LINKS_NONE, NULL), CELLAR_E_TOOBIG);
    T_EQ_U64(figures().live, CAP);
    close_it();
    free(items);
}

/* Fault: a full pool refused a submit while all its queued tasks were parked. */
T_CASE_ON(full_pool_drops_parked_tasks, POOL)
{
    const cellar_task_opts o = { .struct_size = sizeof o, .max_running = 1, .queue = "pull" };
    const cellar_task *held[2];
    uint32_t n;
    config.queue_cap = 3;
    config.on_full = CELLAR_POOL_DROP_OLDEST;
    clear();
    open_it();
    name_it("t", NULL, &o);
    (void)submit("a", NULL);
    const cellar_task_id oldest = submit("b", NULL);
    (void)submit("c", NULL);
    T_EQ_I64(cellar_task_take(p, "pull", 1000, 0, held, 2, &n), CELLAR_OK);
    T_EQ_U64(n, 1);
    T_EQ_U64(figures().parked, 2);
    (void)submit("d", NULL);
    T_EQ_I64(state_of(oldest), CELLAR_E_NOT_FOUND);
    T_EQ_U64(figures().dropped, 1);
    T_EQ_I64(cellar_task_settle(held[0], cellar_verdict_ok()), CELLAR_OK);
}

/* Fault: the life of a task that got newer payloads was that of its first submit. */
T_CASE_ON(debounce_restarts_the_life_of_its_task, POOL)
{
    open_with(NULL);
    cellar_submit_opts o = keyed("k");
    o.on_conflict = CELLAR_TASK_CONFLICT_DEBOUNCE;
    o.delay_ms = 500;
    o.expires_ms = 1000;
    for (const char *payload = "123"; *payload != '\0'; payload++) {
        T_EQ_I64(cellar_task_submit(p, "t", payload, 1, &o, NULL), CELLAR_OK);
        (void)pass(400);
    }
    T_AFTER_STR(pass(100), ran, "3");
    T_EQ_U64(figures().expired, 0);
}

/* ---- limits of a name ---- */

static size_t first_byte(const void *payload, size_t len, void *key, size_t key_cap, void *ctx)
{
    (void)ctx;
    T_CHECK(key_cap >= 64);
    if (len == 0 || *(const char *)payload == '?') { return 0; }
    memcpy(key, payload, 1);
    return *(const char *)payload == '!' ? key_cap + 1 : 1;
}

T_CASE(rate_by_key_delays_that_key_alone)
{
    const cellar_rule rule = cellar_rule_token_bucket(1, CELLAR_SECOND_NS, 1);
    cellar_limiter *l;
    defaults();
    T_REQUIRE(cellar_limiter_open(NULL, &rule, 1, &l) == CELLAR_OK);
    cellar_task_opts o = { .struct_size = sizeof o, .rate = l, .rate_key = first_byte };
    open_with(&o);
    (void)submit("a", NULL);
    const cellar_task_id second = submit("a", NULL);
    (void)submit("b", NULL);
    (void)submit("?", NULL); /* 0: the key is the name */
    const cellar_task_id limited = submit("!", NULL); /* too long: the same */
    T_AFTER_STR(tick(), ran, "ab?");
    T_EQ_I64(state_of(second), CELLAR_TASK_SCHEDULED);
    T_EQ_I64(state_of(limited), CELLAR_TASK_SCHEDULED);
    T_EQ_U64(figures().parked, 1); /* of the name; that of a key waits for its time */
    T_EQ_U64(figures().parked_rate, 2);
    T_EQ_I64(cellar_task_cancel(p, limited), CELLAR_OK);
    T_EQ_I64(cellar_limiter_reset(l, NULL, 0, NULL), CELLAR_OK);
    T_AFTER_STR(pass(1100), ran, "ab?a");
    T_EQ_U64(figures().started, 4);
    close_it();
    cellar_limiter_close(l);
    o.rate = NULL;
    open_with(NULL);
    T_EQ_I64(cellar_task_register(p, "k", note, NULL, &o), CELLAR_E_INVAL);
    close_it();
}

/* A limiter that takes 5 s. */
static size_t slow_key(const void *payload, size_t len, void *key, size_t key_cap, void *ctx)
{
    (void)payload, (void)len, (void)key, (void)key_cap, (void)ctx;
    mono_ms += 5000;
    wall_ms += 5000;
    return 0;
}

static cellar_verdict see_begin(const cellar_task *t, void *ctx)
{
    cellar_task_status st = cellar_task_status_default();
    T_EQ_I64(cellar_task_wait(p, t->id, 0, &st), CELLAR_PENDING);
    T_EQ_I64(st.started_wall_ms, wall_ms);
    T_EQ_I64(t->late_ms, 5000);
    return note(t, ctx);
}

T_CASE(attempt_begins_after_the_answer_of_its_limiter)
{
    const cellar_rule rule = cellar_rule_token_bucket(10, CELLAR_SECOND_NS, 10);
    cellar_limiter *l;
    defaults();
    T_REQUIRE(cellar_limiter_open(NULL, &rule, 1, &l) == CELLAR_OK);
    const cellar_task_opts o = { .struct_size = sizeof o, .rate = l, .rate_key = slow_key,
                                 .timeout_ms = 1000 };
    open_with(NULL);
    name_it("slow", see_begin, &o);
    T_EQ_I64(cellar_task_submit(p, "slow", "a", 1, NULL, NULL), CELLAR_OK);
    T_AFTER_STR(tick(), ran, "a");
    T_EQ_U64(figures().timed_out, 0);
    close_it();
    cellar_limiter_close(l);
}

static cellar_task_opts breaking(uint32_t after)
{
    cellar_task_opts o = { .struct_size = sizeof o, .break_after = after, .break_ms = 5000 };
    return o;
}

T_CASE_ON(failures_in_a_row_pause_the_name, POOL)
{
    const cellar_task_opts o = breaking(2);
    open_with(&o);
    name_it("other", note, NULL);
    answer = cellar_verdict_fail();
    for (const char *at = "abcde"; *at != '\0'; at++) {
        T_EQ_I64(cellar_task_submit(p, "t", at, 1, NULL, NULL), CELLAR_OK);
    }
    T_EQ_I64(tick(), 5000);
    T_EQ_STR(ran, "ab");
    T_FIELDS(figures(), breaks, 1, parked, 3);
    T_EQ_I64(cellar_task_submit(p, "other", "o", 1, NULL, NULL), CELLAR_OK);
    T_AFTER_STR(tick(), ran, "abo"); /* other names go on */
    T_AFTER_STR(pass(4999), ran, "abo");
    T_AFTER_STR(pass(1), ran, "aboc"); /* one probe */
    T_EQ_U64(figures().breaks, 2);
    answer = cellar_verdict_ok();
    T_AFTER_STR(pass(5000), ran, "abocde"); /* the probe succeeded: all go on */
    T_EQ_U64(figures().parked, 0);
    answer = cellar_verdict_fail();
    run("f");
    answer = cellar_verdict_ok();
    run("g");
    answer = cellar_verdict_fail();
    T_AFTER_U64(run("h"), figures().breaks, 2); /* a success between them starts the count again */
}

static cellar_verdict probe(const cellar_task *t, void *ctx)
{
    (void)note(t, ctx);
    if (*(const char *)t->payload == 'p') { /* a second worker finds no task meanwhile */
        T_EQ_I64(cellar_tick(p, 0, NULL), CELLAR_OK);
        T_EQ_U64(figures().running, 1);
    }
    return *(const char *)t->payload == 'x' ? cellar_verdict_retry() : cellar_verdict_ok();
}

T_CASE_ON(one_attempt_at_a_time_decides_after_a_pause, TASKS)
{
    cellar_task_opts o = breaking(1);
    o.max_attempts = 1;
    name_it("s", probe, &o);
    for (const char *at = "xpqr"; *at != '\0'; at++) {
        T_EQ_I64(cellar_task_submit(p, "s", at, 1, NULL, NULL), CELLAR_OK);
    }
    T_AFTER_STR(tick(), ran, "x");
    T_AFTER_STR(pass(5000), ran, "xpqr");
    cellar_task_opts pull = breaking(1);
    pull.queue = "pull";
    T_EQ_I64(cellar_task_register(p, "pull", NULL, NULL, &pull), CELLAR_E_INVAL);
    o.break_ms = -1;
    T_EQ_I64(cellar_task_register(p, "neg", note, NULL, &o), CELLAR_E_INVAL);
}

/* ---- keys ---- */

T_CASE_ON(throttle_drops_until_the_ttl_of_the_last_submit, TASKS)
{
    const cellar_submit_opts o = key_for("k", 1000, CELLAR_TASK_CONFLICT_THROTTLE);
    const cellar_submit_opts other = key_for("l", 1000, CELLAR_TASK_CONFLICT_THROTTLE);
    cellar_task_id id;
    const cellar_task_id first = submit("a", &o);
    T_EQ_I64(try_submit("x", &o, &id), CELLAR_EXISTS); /* it waits */
    (void)tick();
    for (int i = 0; i < 3; i++) { /* it has ended; a drop does not prolong the time */
        T_EQ_I64(try_submit("x", &o, &id), CELLAR_EXISTS);
        T_CHECK(memcmp(&id, &first, sizeof id) == 0);
        (void)pass(333);
    }
    (void)submit("l", &other);
    T_EQ_I64(try_submit("x", &o, &id), CELLAR_EXISTS);
    (void)pass(1);
    (void)submit("b", &o);
    T_AFTER_STR(tick(), ran, "alb");
    T_EQ_I64(try_submit("x", &o, &id), CELLAR_EXISTS);
}

T_CASE_ON(throttle_keys_are_bounded_and_leave, POOL)
{
    char key[2] = "a";
    cellar_submit_opts o = key_for(key, 1000, CELLAR_TASK_CONFLICT_THROTTLE);
    cellar_task_id id;
    config.queue_cap = 4;
    open_with(NULL);
    const uint64_t bytes = figures().bytes;
    for (; key[0] < 'e'; key[0]++) {
        (void)submit("t", &o);
        (void)tick();
    }
    T_EQ_I64(try_submit("x", &o, &id), CELLAR_E_BUSY);
    T_EQ_U64(figures().rejected_full, 1);
    (void)pass(1000);
    T_CHECK(figures().bytes <= bytes + 1024 * 64 + 4096); /* a chunk of slots stays */
    (void)submit("u", &o);
    T_AFTER_STR(tick(), ran, "ttttu");
    o.unique_ttl_ms = 0;
    T_EQ_I64(try_submit("x", &o, &id), CELLAR_E_INVAL);
    o.unique_ttl_ms = -1;
    T_EQ_I64(try_submit("x", &o, &id), CELLAR_E_INVAL);
    o.unique_ttl_ms = INT64_MAX;
    T_EQ_I64(try_submit("x", &o, &id), CELLAR_E_INVAL);
}

T_CASE_ON(throttle_without_memory_changes_nothing, TASKS)
{
    const cellar_submit_opts o = key_for("k", 1000, CELLAR_TASK_CONFLICT_THROTTLE);
    cellar_task_id id;
    cellar_err err;
    EACH_ALLOCATION_FAILS(err, try_submit("a", &o, &id)) { T_EQ_U64(figures().live, 0); }
    T_EQ_I64(err, CELLAR_OK);
    T_EQ_U64(figures().live, 1);
    (void)tick();
}

/* Fault: REPLACE cancelled the other task, and then had no memory for its own key. */
T_CASE_ON(replace_without_memory_changes_nothing, TASKS)
{
    cellar_submit_opts o = key_for("k", 1000, CELLAR_TASK_CONFLICT_REPLACE);
    cellar_task_id id, first;
    cellar_err err;
    o.delay_ms = 100;
    T_EQ_I64(try_submit("a", &o, &first), CELLAR_OK);
    EACH_ALLOCATION_FAILS(err, try_submit("b", &o, &id)) {
        T_EQ_I64(state_of(first), CELLAR_TASK_SCHEDULED);
    }
    T_EQ_I64(err, CELLAR_OK);
    T_EQ_U64(figures().live, 1);
}

/* Fault: the requeue took the key from the other task, and then had no memory for it. */
T_CASE_ON(requeue_without_memory_takes_no_key, TASKS)
{
    cellar_submit_opts o = keyed("k");
    cellar_task_id id;
    answer = cellar_verdict_fail();
    const cellar_task_id dead = submit("a", &o);
    (void)tick();
    o.delay_ms = 100;
    o.unique_states = 1u << CELLAR_TASK_QUEUED;
    (void)submit("b", &o);
    T_EQ_I64(cellar_pool_set(p, CELLAR_POOL_SET_PAUSE, "default", 1000), CELLAR_OK);
    base_fault_alloc_arm(2, false); /* behind the rare parts */
    const cellar_err err = cellar_task_requeue(p, dead);
    base_fault_alloc_arm(0, false);
    T_CHECK(err == CELLAR_OK || err == CELLAR_E_NOMEM);
    (void)pass(100); /* both are queued: one of them has the key */
    T_EQ_I64(try_submit("c", &o, &id), CELLAR_EXISTS);
}

/* Fault: a call took the key for its first task, was refused for its second one, and kept it. */
T_CASE_ON(refused_call_gives_a_key_back, TASKS)
{
    cellar_submit_opts o = keyed("k");
    const cellar_task_item items[] = { { "t", "b", 1, &o }, { "unknown", "c", 1, NULL } };
    cellar_task_id id;
    o.delay_ms = 100;
    o.unique_states = 1u << CELLAR_TASK_QUEUED;
    (void)submit("a", &o);
    T_EQ_I64(cellar_task_submit_many(p, items, 2, CELLAR_LINKS_NONE, NULL), CELLAR_E_NOT_FOUND);
    T_EQ_I64(cellar_pool_set(p, CELLAR_POOL_SET_PAUSE, "default", 1000), CELLAR_OK);
    (void)pass(100);
    T_EQ_I64(try_submit("d", &o, &id), CELLAR_EXISTS);
}

/* ---- after a task ---- */

static cellar_verdict answers(const cellar_task *t, void *ctx)
{
    cellar_bytes in;
    (void)note(t, ctx);
    if (t->input_count != 0 && cellar_task_input(t, 0, &in) == CELLAR_OK) {
        memcpy(ran + ran_count, in.data, in.len);
        ran_count += in.len;
    }
    T_EQ_I64(cellar_task_result_set(t, "[r]", 3), CELLAR_OK);
    return *(const char *)t->payload == 'F' ? cellar_verdict_fail() : cellar_verdict_ok();
}

static cellar_err try_after(cellar_task_id before, const char *payload, cellar_task_run_on on,
                            cellar_task_id *id)
{
    const cellar_task_item item = { "g", payload, strlen(payload), NULL };
    return submit_after(p, before, &item, on, id);
}

static cellar_task_id after(cellar_task_id before, const char *payload, cellar_task_run_on on)
{
    cellar_task_id id = { 0, 0 };
    T_EQ_I64(try_after(before, payload, on, &id), CELLAR_OK);
    return id;
}

static cellar_task_id give(const char *payload)
{
    cellar_task_id id = { 0, 0 };
    T_EQ_I64(cellar_task_submit(p, "g", payload, 1, NULL, &id), CELLAR_OK);
    return id;
}

T_CASE_ON(failure_decides_about_tasks_after_it, TASKS)
{
    name_it("g", answers, NULL);
    const cellar_task_id f = give("F");
    const cellar_task_id b = after(f, "b", CELLAR_TASK_ON_SUCCESS);
    (void)after(b, "c", CELLAR_TASK_ON_FAILURE); /* the cancelled one did not succeed */
    (void)after(f, "d", CELLAR_TASK_ON_FAILURE);
    (void)tick();
    T_CHECK(strcmp(ran, "Fcd") == 0 || strcmp(ran, "Fdc") == 0);
    T_EQ_U64(figures().cancelled, 1);
    (void)after(f, "x", CELLAR_TASK_ON_SUCCESS); /* a dead letter: its state is known */
    (void)after(f, "y", CELLAR_TASK_ON_FAILURE);
    T_EQ_U64(figures().cancelled, 2);
    T_AFTER_U64(tick(), ran_count, 4);
    T_EQ_I64(ran[3], 'y');
    T_EQ_I64(cellar_task_requeue(p, f), CELLAR_OK); /* its second end decides nothing again */
    T_AFTER_U64(tick(), ran_count, 5);
}

T_CASE_ON(submit_after_refuses_bad_input, POOL)
{
    cellar_task_id id = { 1, 1 };
    cellar_submit_opts o = cellar_submit_opts_default();
    cellar_task_item item = { "g", "a", 1, &o };
    config.queue_cap = 2;
    open_with(NULL);
    name_it("g", answers, NULL);
    T_EQ_I64(try_after(id, "a", CELLAR_TASK_ALWAYS, &id), CELLAR_E_NOT_FOUND);
    T_EQ_U64(id.hi, 0);
    const cellar_task_id a = give("a");
    T_EQ_I64(try_after(a, "a", (cellar_task_run_on)3, &id), CELLAR_E_INVAL);
    T_EQ_I64(submit_after(NULL, a, &item, CELLAR_TASK_ALWAYS, &id), CELLAR_E_INVAL);
    o.eta_wall_ms = wall_ms + 1;
    T_EQ_I64(submit_after(p, a, &item, CELLAR_TASK_ALWAYS, &id), CELLAR_E_INVAL);
    o.eta_wall_ms = 0;
    o.on_conflict = CELLAR_TASK_CONFLICT_REPLACE;
    T_EQ_I64(submit_after(p, a, &item, CELLAR_TASK_ALWAYS, &id), CELLAR_E_INVAL);
    o.on_conflict = CELLAR_TASK_CONFLICT_REJECT;
    o.id_in = &a;
    T_EQ_I64(submit_after(p, a, &item, CELLAR_TASK_ALWAYS, &id), CELLAR_E_INVAL);
    o.id_in = NULL;
    o.after = &a;
    T_EQ_I64(cellar_task_submit_many(p, &item, 1, CELLAR_LINKS_NONE, NULL), CELLAR_E_INVAL);
    item.name = "none";
    T_EQ_I64(submit_after(p, a, &item, CELLAR_TASK_ALWAYS, &id), CELLAR_E_NOT_FOUND);
    item.name = "g";
    o.delay_ms = 10;
    T_EQ_I64(submit_after(p, a, &item, CELLAR_TASK_ALWAYS, &id), CELLAR_OK);
    T_EQ_I64(submit_after(p, a, &item, CELLAR_TASK_ALWAYS, &id), CELLAR_E_BUSY);
    T_AFTER_STR(tick(), ran, "a");
    T_AFTER_STR(pass(10), ran, "aa[r]"); /* from the end of the task before */
}

/* ---- figures ---- */

static bool has_line(const char *line)
{
    static char text[16384];
    T_EQ_I64(cellar_metrics_write(p, text, sizeof text, NULL), CELLAR_OK);
    const bool found = strstr(text, line) != NULL;
    if (!found) { printf("# missing: %s", line); }
    return found;
}

static cellar_verdict takes_time(const cellar_task *t, void *ctx)
{
    (void)t, (void)ctx;
    mono_ms += 5;
    wall_ms += 5;
    return cellar_verdict_ok();
}

T_CASE_ON(histograms_count_waits_and_durations, POOL)
{
    host.name = "p";
    open_with(NULL);
    name_it("s", takes_time, NULL);
    T_EQ_I64(cellar_task_submit(p, "s", NULL, 0, NULL, NULL), CELLAR_OK);
    cellar_submit_opts o = { .struct_size = sizeof o, .delay_ms = 100 };
    T_EQ_I64(cellar_task_submit(p, "s", NULL, 0, &o, NULL), CELLAR_OK);
    (void)tick();
    (void)pass(120); /* due after 95: queued 25 late, and begun in the same moment */
    T_CHECK(has_line("cellar_task_late_seconds_bucket{pool=\"p\",le=\"0.016\"} 0\n"));
    T_CHECK(has_line("cellar_task_late_seconds_bucket{pool=\"p\",le=\"0.064\"} 1\n"));
    T_CHECK(has_line("cellar_task_late_seconds_sum{pool=\"p\"} 0.025\n"));
    T_CHECK(has_line("cellar_task_late_seconds_bucket{pool=\"p\",le=\"+Inf\"} 1\n"));
    T_CHECK(has_line("cellar_task_wait_seconds_count{pool=\"p\"} 2\n"));
    T_CHECK(has_line("cellar_task_run_seconds_bucket{pool=\"p\",le=\"0.004\"} 0\n"));
    T_CHECK(has_line("cellar_task_run_seconds_bucket{pool=\"p\",le=\"0.016\"} 2\n"));
    T_CHECK(has_line("cellar_task_run_seconds_sum{pool=\"p\"} 0.010\n"));
    o.delay_ms = 1;
    T_EQ_I64(cellar_task_submit(p, "s", NULL, 0, &o, NULL), CELLAR_OK);
    (void)pass(3600000);
    T_CHECK(has_line("cellar_task_late_seconds_bucket{pool=\"p\",le=\"262.144\"} 1\n"));
    T_CHECK(has_line("cellar_task_late_seconds_bucket{pool=\"p\",le=\"+Inf\"} 2\n"));
}

T_CASE_ON(figures_of_queues_follow_their_tasks, POOL)
{
    cellar_task_opts o = cellar_task_opts_default();
    host.name = "p";
    open_with(NULL);
    o.queue = "q\"1";
    name_it("u", note, &o);
    T_EQ_I64(cellar_task_submit(p, "u", "12", 2, NULL, NULL), CELLAR_OK);
    mono_ms += 1500;
    T_EQ_I64(cellar_task_submit(p, "u", "345", 3, NULL, NULL), CELLAR_OK);
    T_CHECK(has_line("cellar_queue_tasks{pool=\"p\",queue=\"q\\\"1\"} 2\n"));
    T_CHECK(has_line("cellar_queue_payload_bytes{pool=\"p\",queue=\"q\\\"1\"} 5\n"));
    T_CHECK(has_line("cellar_queue_oldest_seconds{pool=\"p\",queue=\"q\\\"1\"} 1.500\n"));
    T_CHECK(has_line("cellar_queue_tasks{pool=\"p\",queue=\"default\"} 0\n"));
    T_EQ_I64(cellar_pool_route(p, "u", "default", NULL), CELLAR_OK);
    T_CHECK(has_line("cellar_queue_payload_bytes{pool=\"p\",queue=\"default\"} 5\n"));
    (void)tick();
    T_CHECK(has_line("cellar_queue_payload_bytes{pool=\"p\",queue=\"default\"} 0\n"));
    T_CHECK(has_line("cellar_queue_oldest_seconds{pool=\"p\",queue=\"default\"} 0.000\n"));
}

T_CASE(refused_submit_names_the_field_and_its_rule)
{
    static char long_text[300];
    static const cellar_task_id none;
    memset(long_text, 'x', sizeof long_text - 1);
    const struct { cellar_submit_opts o; const char *text; } rows[] = {
#define SUBMIT(text, ...) { { .struct_size = sizeof(cellar_submit_opts), __VA_ARGS__ }, text }
        SUBMIT("delay_ms must be 0..366 days", .delay_ms = -1),
        SUBMIT("expires_ms must be 0..366 days", .expires_ms = INT64_MAX),
        SUBMIT("eta_wall_ms must be 0 or more", .eta_wall_ms = -1),
        SUBMIT("set one of delay_ms and eta_wall_ms, not both", .delay_ms = 5, .eta_wall_ms = 9),
        SUBMIT("priority must be 0..9 or CELLAR_OFF", .priority = 10),
        SUBMIT("unique_states must be a sum of 1u << state of live states",
               .unique_states = 1u << 31),
        SUBMIT("unique_key must have 1..255 bytes", .unique_key = ""),
        SUBMIT("unique_ttl_ms needs a unique_key", .unique_ttl_ms = 5),
        SUBMIT("CELLAR_TASK_CONFLICT_THROTTLE needs a unique_ttl_ms", .unique_key = "k",
               .on_conflict = CELLAR_TASK_CONFLICT_THROTTLE),
        SUBMIT("content_type and tag must have at most 255 bytes", .tag = long_text),
        SUBMIT("id_in must be an id that a pool gave", .id_in = &none),
        SUBMIT("after excludes eta_wall_ms, id_in and on_conflict", .after = &none,
               .eta_wall_ms = 9),
        { { .struct_size = 1 }, "start from cellar_submit_opts_default()" },
#undef SUBMIT
    };
    cellar_error_info e = cellar_error_info_default();
    defaults();
    open_with(NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char want[120];
        T_EQ_I64(cellar_task_submit(p, "t", NULL, 0, &rows[i].o, NULL), CELLAR_E_INVAL);
        T_EQ_I64(cellar_last_error(NULL, &e), CELLAR_OK);
        (void)snprintf(want, sizeof want, "cellar_task_submit: %s", rows[i].text);
        T_EQ_STR(e.text, want);
    }
    T_EQ_I64(cellar_task_submit(p, "t", NULL, 3, NULL, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_last_error(NULL, &e), CELLAR_OK);
    T_EQ_STR(e.text, "cellar_task_submit: p and name must not be NULL, and payload not with "
                     "payload_len");
    close_it();
}

T_MAIN("work_task_rules")
