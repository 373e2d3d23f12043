/* SPDX-License-Identifier: MIT
 *
 * Aim:    loaders and listers run on threads of a pool with no lock held, at most
 *         max_parallel at a time; close and remove wait for them; a loader may end its thread; a
 *         forked child is refused.
 * Method: loaders wait for the test, and the test for them, by semaphores: no sleep decides
 *         anything. The clock of the system drives the pool. */
#include "cellar_refresh.h"
#include "tests/support/child.h"
#include "tests/support/held_kit.h"
#include "tests/support/rules.h"

static cellar *c;
static cellar_pool *r;
static atomic_uint calls, inside, most_inside;
static atomic_bool gate_open; /* loaders do not wait for the test any more */

static void open_with(uint32_t parallel, int64_t close_ms)
{
    cellar_config store_cfg = cellar_config_default();
    cellar_pool_config cfg = { .struct_size = sizeof cfg, .max_parallel = parallel,
                               .close_timeout_ms = close_ms, .grace_ms = 1 };
    init_gates();
    atomic_store(&calls, 0);
    atomic_store(&inside, 0);
    atomic_store(&most_inside, 0);
    atomic_store(&gate_open, false);
    T_REQUIRE(cellar_open(&store_cfg, &c) == CELLAR_OK);
    T_REQUIRE(cellar_pool_open(&cfg, &r) == CELLAR_OK);
}

/* Let all loads go on, now and later: at most two wait. */
static void open_gate(void)
{
    atomic_store(&gate_open, true);
    post_many(&go_on, 2);
}

static void close_all(void)
{
    T_EQ_I64(cellar_pool_close(r), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

static void add(const char *key, const char *loader)
{
    T_EQ_I64(cellar_refresh_add(r, c, key, strlen(key), loader, 1, NULL), CELLAR_OK);
}

#define ROWS(fn) T_WITHIN(fn, open_with(2, 60000), close_all())

static cellar_refresh_stats figures(void)
{
    cellar_refresh_stats st = cellar_refresh_stats_default();
    T_EQ_I64(cellar_refresh_stats_get(r, &st), CELLAR_OK);
    return st;
}

static cellar_err quick(cellar_load *l, const void *key, size_t len, void *ctx)
{
    (void)ctx;
    atomic_fetch_add(&calls, 1);
    return cellar_load_value(l, key, len);
}

static cellar_err held(cellar_load *l, const void *key, size_t len, void *ctx)
{
    const unsigned now = atomic_fetch_add(&inside, 1) + 1;
    unsigned most = atomic_load(&most_inside);
    while (now > most && !atomic_compare_exchange_weak(&most_inside, &most, now)) { }
    sem_post(&began);
    if (!atomic_load(&gate_open)) { wait_for(&go_on); }
    atomic_fetch_sub(&inside, 1);
    return quick(l, key, len, ctx);
}

T_CASE_ON(at_most_max_parallel_loads_run, ROWS)
{
    T_EQ_I64(cellar_refresh_loader(r, c, "held", held, NULL, NULL), CELLAR_OK);
    for (char key[2] = "a"; key[0] < 'g'; key[0]++) { add(key, "held"); }
    for (int i = 0; i < 50; i++) {
        wait_for_many(&began, 2);
        T_EQ_U64(atomic_load(&inside), 2);
        post_many(&go_on, 2);
    }
    open_gate();
    T_EQ_I64(cellar_refresh_remove(r, c, "a", 1), CELLAR_OK);
    T_EQ_U64(atomic_load(&most_inside), 2);
}

T_CASE(close_and_remove_wait_for_a_load)
{
    open_with(1, 1);
    T_EQ_I64(cellar_refresh_loader(r, c, "held", held, NULL, NULL), CELLAR_OK);
    add("k", "held");
    wait_for(&began);
    add("other", "held");
    T_EQ_I64(cellar_refresh_remove(r, c, "k", 1), CELLAR_E_BUSY);
    T_EQ_I64(cellar_refresh_remove(r, c, "k", 1), CELLAR_E_NOT_FOUND);
    T_EQ_I64(cellar_pool_close(r), CELLAR_E_BUSY); /* nothing begins from now on */
    sem_post(&go_on);
    while (cellar_pool_close(r) == CELLAR_E_BUSY) { }
    T_EQ_I64(cellar_contains(c, "k", 1), CELLAR_MISS); /* the load of a removed row stores nothing */
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    T_EQ_U64(atomic_load(&calls), 1);
}

static cellar_err leave(cellar_load *l, const void *key, size_t len, void *ctx)
{
    (void)l, (void)key, (void)len, (void)ctx;
    sem_post(&began);
    pthread_exit(NULL);
}

static cellar_err leaving_lister(cellar_refresh_keys *keys, const char *pattern, void *ctx)
{
    (void)ctx;
    T_EQ_I64(cellar_refresh_keys_add(keys, pattern, strlen(pattern)), CELLAR_OK);
    sem_post(&began);
    pthread_exit(NULL);
}

T_CASE_ON(thread_that_ends_is_replaced, ROWS)
{
    cellar_refresh_loader_opts o = { .struct_size = sizeof o, .lister = leaving_lister };
    T_EQ_I64(cellar_refresh_loader(r, c, "leave", leave, NULL, &o), CELLAR_OK);
    add("k", "leave");
    cellar_refresh_opts all = { .struct_size = sizeof all, .pattern = 1 };
    T_EQ_I64(cellar_refresh_add(r, c, "*", 1, "leave", 1, &all), CELLAR_OK);
    wait_for_many(&began, 6);
    while (figures().thread_ends < 5) { sched_yield(); }
    T_CHECK(figures().failed != 0 && figures().lists_failed != 0 && figures().ok == 0);
}

static void *add_and_remove(void *ctx)
{
    for (unsigned i = 0; i < 300; i++) {
        char key[16];
        const int len = snprintf(key, sizeof key, "k%u", (i * 7 + *(unsigned *)ctx) % 16);
        const cellar_err err = i % 3 == 2 ? cellar_refresh_remove(r, c, key, (size_t)len)
                                          : cellar_refresh_add(r, c, key, (size_t)len, "quick", 1,
                                                               NULL);
        T_CHECK(err == CELLAR_OK || err == CELLAR_EXISTS || err == CELLAR_E_NOT_FOUND);
    }
    return NULL;
}

static bool count_rows(const cellar_refresh_info *info, void *ctx)
{
    T_CHECK(info->key_len >= 2 && *(const char *)info->key == 'k');
    ++*(uint64_t *)ctx;
    return true;
}

T_CASE_ON(calls_from_many_threads_keep_every_count, ROWS)
{
    pthread_t t[4];
    unsigned first[4];
    uint64_t rows = 0;
    T_EQ_I64(cellar_refresh_loader(r, c, "quick", quick, NULL, NULL), CELLAR_OK);
    for (unsigned i = 0; i < 4; i++) {
        first[i] = i;
        T_REQUIRE(pthread_create(&t[i], NULL, add_and_remove, &first[i]) == 0);
    }
    for (int i = 0; i < 20; i++) { T_EQ_I64(cellar_refresh_list(r, count_rows, &rows), CELLAR_OK); }
    join_threads(t, 4);
    rows = 0;
    T_EQ_I64(cellar_refresh_list(r, count_rows, &rows), CELLAR_OK);
    const cellar_refresh_stats st = figures();
    T_FIELDS(st, rows, rows, uncovered, 0);
    T_CHECK(st.ok <= atomic_load(&calls));
}

static int child_of(void)
{
    cellar_refresh_stats st = cellar_refresh_stats_default();
    T_EQ_I64(cellar_refresh_add(r, c, "x", 1, "held", 1, NULL), CELLAR_E_FORKED);
    T_EQ_I64(cellar_refresh_add_policies(r, c, NULL), CELLAR_E_FORKED);
    T_EQ_I64(cellar_refresh_remove(r, c, "k", 1), CELLAR_E_FORKED);
    T_EQ_I64(cellar_refresh_loader(r, c, "x", held, NULL, NULL), CELLAR_E_FORKED);
    T_EQ_I64(cellar_refresh_list(r, count_rows, NULL), CELLAR_E_FORKED);
    T_EQ_I64(cellar_tick(r, 0, NULL), CELLAR_E_FORKED);
    T_EQ_I64(cellar_refresh_stats_get(r, &st), CELLAR_E_FORKED);
    T_EQ_I64(cellar_pool_close(r), CELLAR_OK);
    return t_failed();
}

T_CASE_ON(forked_child_is_refused_by_the_calls_of_rows, ROWS)
{
    T_EQ_I64(cellar_refresh_loader(r, c, "held", held, NULL, NULL), CELLAR_OK);
    add("k", "held");
    wait_for(&began);
    T_EQ_I64(in_child(fork(), child_of), 0);
    open_gate();
    T_EQ_I64(cellar_refresh_remove(r, c, "k", 1), CELLAR_OK);
}

/* One loader hangs while all rules change. */
T_CASE(new_rules_wait_for_no_load_and_its_value_is_not_stored)
{
    static const char old[] = "[*]\nkey old refresh=1ms loader=held\nkey kept refresh=1ms loader=quick\n";
    static const char fresh[] = "[*]\nkey new refresh=1ms loader=quick\nkey kept refresh=1ms loader=quick\n";
    size_t n = 0;
    char buf[8];
    open_with(2, 60000);
    T_EQ_I64(cellar_refresh_loader(r, c, "held", held, NULL, NULL), CELLAR_OK);
    T_EQ_I64(cellar_refresh_loader(r, c, "quick", quick, NULL, NULL), CELLAR_OK);
    T_REQUIRE(rules_set(c, old, sizeof old - 1, NULL, NULL) == CELLAR_OK);
    T_EQ_I64(cellar_refresh_add_policies(r, c, &n), CELLAR_OK);
    T_EQ_U64(n, 2);
    wait_for(&began);
    T_REQUIRE(rules_set(c, fresh, sizeof fresh - 1, NULL, NULL) == CELLAR_OK);
    T_EQ_I64(cellar_refresh_add_policies(r, c, &n), CELLAR_OK); /* with 60 s it would wait */
    T_EQ_U64(n, 2);
    T_EQ_U64(figures().rows, 2);
    const unsigned before = atomic_load(&calls);
    while (atomic_load(&calls) < before + 20) { sched_yield(); } /* the others go on */
    T_EQ_I64(cellar_get(c, "new", 3, buf, sizeof buf, &n), CELLAR_OK);
    T_EQ_U64(atomic_load(&inside), 1);
    T_EQ_U64(figures().not_stored, 0);
    sem_post(&go_on);
    while (figures().not_stored == 0) { sched_yield(); }
    T_EQ_I64(cellar_get(c, "old", 3, buf, sizeof buf, &n), CELLAR_MISS);
    close_all();
}

T_CASE_ON(rows_are_no_tasks_and_end_with_a_drain, ROWS)
{
    cellar_pool_stats st = cellar_pool_stats_default();
    cellar_drain_report report = cellar_drain_report_default();
    T_EQ_I64(cellar_refresh_loader(r, c, "quick", quick, NULL, NULL), CELLAR_OK);
    for (char key[2] = "a"; key[0] < 'g'; key[0]++) { add(key, "quick"); }
    while (atomic_load(&calls) < 20) { sched_yield(); }
    T_EQ_I64(cellar_pool_stats_get(r, NULL, &st), CELLAR_OK);
    T_EQ_U64(st.submitted + st.started + st.live + st.running + st.parked, 0);
    T_EQ_I64(cellar_pool_drain(r, CELLAR_DRAIN_ALL, 60000, &report), CELLAR_OK);
    T_EQ_U64(report.finished + report.abandoned + report.still_running, 0);
    const unsigned ended = atomic_load(&calls);
    T_EQ_U64(figures().rows, 6);
    add("late", "quick");
    for (int i = 0; i < 20; i++) { T_CHECK(cellar_tick(r, 0, NULL) >= 0); }
    T_EQ_U64(atomic_load(&calls), ended);
}

T_MAIN("work_refresh_threads")
