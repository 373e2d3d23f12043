/* SPDX-License-Identifier: MIT
 *
 * Aim:    Chains hand results on, a group ends once after all its members, and the results of
 *         tasks are entries of a store for as long as the state says.
 * Method: Both clocks are variables; the test calls cellar_tick, which runs the tasks. */
#include "tests/support/task_kit.h"
#include "tests/support/task_calls.h"

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

static cellar_verdict big(const cellar_task *t, void *ctx)
{
    static char bytes[900000];
    (void)ctx;
    T_EQ_I64(cellar_task_result_set(t, bytes, sizeof bytes), CELLAR_OK);
    return cellar_verdict_ok();
}

T_CASE(results_are_kept_by_state)
{
    cellar *store, *results;
    cellar_task_id id;
    char buf[16];
    size_t len;
    cellar_config sc = cellar_config_default();
    defaults();
    cellar_host_config sh = { .struct_size = sizeof sh, .clock = read_mono, .no_threads = 1 };
    sc.host = &sh;
    sc.memory_bytes = 1u << 20;
    T_REQUIRE(cellar_open(&sc, &store) == CELLAR_OK);
    T_REQUIRE(cellar_namespace_open(store, "results", NULL, &results) == CELLAR_OK);
    config.results = results;
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

/* ---- the store of the results, and other pools ---- */

static cellar_verdict closes_store(const cellar_task *t, void *ctx)
{
    T_EQ_I64(cellar_task_result_set(t, "r", 1), CELLAR_OK);
    T_EQ_I64(cellar_close(ctx), CELLAR_OK);
    return cellar_verdict_ok();
}

T_CASE(task_that_closes_the_store_loses_its_result_only)
{
    cellar *store, *results;
    cellar_task_id id;
    cellar_config sc = cellar_config_default();
    defaults();
    cellar_host_config sh = { .struct_size = sizeof sh, .clock = read_mono, .no_threads = 1 };
    sc.host = &sh;
    sc.memory_bytes = 1u << 20;
    T_REQUIRE(cellar_open(&sc, &store) == CELLAR_OK);
    T_REQUIRE(cellar_namespace_open(store, "results", NULL, &results) == CELLAR_OK);
    config.results = results;
    open_with(NULL);
    T_EQ_I64(cellar_task_register(p, "closes", closes_store, store, NULL), CELLAR_OK);
    T_EQ_I64(cellar_task_submit(p, "closes", NULL, 0, NULL, &id), CELLAR_OK);
    T_AFTER_U64(tick(), figures().ok, 1);
    T_EQ_I64(state_of(id), CELLAR_E_NOT_FOUND); /* nothing keeps its state any more */
    T_AFTER_U64(run("a"), ran_count, 1);
    T_EQ_U64(figures().ok, 2);
    T_AFTER_I64(close_it(), cellar_namespace_close(results), CELLAR_OK);
}

T_ONE_THREAD;
T_MAIN("work_task_groups")
