/* SPDX-License-Identifier: MIT
 *
 * Aim:    cellar_get_or_load and cellar_get_or_load_many run one loader for a cold key of all
 *         processes, also behind leaders that die; a change during a load leaves its value out.
 * Method: 8 processes load the same keys. The loaders count in memory that all share. Leaders are
 *         processes that end by SIGKILL at one point of a bulk load each. T_SCALE=n: n times as many
 *         keys of single loads, in rounds. */
#include "tests/support/two_sides.h"

enum { PROCESSES = 8, THREADS = 8, KEYS = 60, VALUE = 600 };
enum { BEFORE_LEASE, AFTER_LEASE, BEFORE_FILL, DURING_FILL, AFTER_FILL, POINTS };
enum { ALL = KEYS * POINTS };

typedef struct board {
    _Atomic uint64_t led[ALL], loads[ALL]; /* by leaders, by the others */
    _Atomic uint64_t right, wrong;
    _Atomic int ready;
} board;

typedef struct worker {
    const side *s;
    board *seen;
} worker;

/* Load the value of a key: its text, and VALUE - 1 bytes more. */
static cellar_err bring(cellar_load *load, const void *key, size_t key_len, _Atomic uint64_t *counts)
{
    char text[8] = "", value[VALUE];
    memcpy(text, key, key_len);
    memset(value, text[0], sizeof value);
    atomic_fetch_add(&counts[strtoul(text, NULL, 10)], 1);
    return cellar_load_value(load, value, sizeof value);
}

static void count(board *seen, const char *key, cellar_err err, cellar_result *r)
{
    const char *value = r->value;
    const bool right = err == CELLAR_OK && r->value_len == VALUE && value[VALUE - 1] == key[0];
    atomic_fetch_add(right ? &seen->right : &seen->wrong, 1);
    cellar_result_free(r);
}

/* ---- the ways to load all keys ---- */

static cellar_err load_slowly(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    board *seen = ctx;
    engine_pause_ms(2);
    return bring(load, key, key_len, seen->loads);
}

static void *get_all(void *arg)
{
    worker *w = arg;
    for (int i = 0; i < KEYS; i++) {
        char key[8];
        cellar_result r = cellar_result_default();
        const size_t len = (size_t)snprintf(key, sizeof key, "%d", i);
        count(w->seen, key, cellar_get_or_load(w->s->users, key, len, NULL, load_slowly, w->seen, &r), &r);
    }
    return NULL;
}

static void work_by_threads(const side *s, board *seen, int number)
{
    pthread_t t[THREADS];
    worker w = { .s = s, .seen = seen };
    (void)number;
    for (int i = 0; i < THREADS; i++) { T_REQUIRE(pthread_create(&t[i], NULL, get_all, &w) == 0); }
    for (int i = 0; i < THREADS; i++) { pthread_join(t[i], NULL); }
}

static struct batch {
    char text[ALL][8];
    cellar_load_item item[ALL];
    cellar_result r[ALL];
} batch;

/* Load `count` keys from `first` on by one call. A lease of a leader ends hard_ms + 1 s after its
 * request: the beats of side_patient are longer. */
static void bulk_load(const side *s, int first, int count, int64_t hard_ms,
                      cellar_loader_many_fn fn, void *ctx)
{
    cellar_load_opts o = { .struct_size = sizeof o, .hard_timeout_ms = hard_ms,
                           .wait_timeout_ms = 60000 };
    for (int i = 0; i < count; i++) {
        const int len = snprintf(batch.text[i], sizeof batch.text[i], "%d", (first + i) % ALL);
        batch.r[i] = cellar_result_default();
        batch.item[i] = (cellar_load_item){ .key = batch.text[i], .key_len = (size_t)len,
                                            .result = &batch.r[i] };
    }
    T_EQ_I64(cellar_get_or_load_many(s->users, batch.item, (size_t)count, &o, fn, ctx), CELLAR_OK);
}

static cellar_err load_many_slowly(cellar_load *load, const cellar_bytes *keys, size_t count,
                                   void *ctx)
{
    board *seen = ctx;
    engine_pause_ms(1);
    for (size_t i = 0; i < count; i++) {
        (void)cellar_load_select(load, i);
        (void)bring(load, keys[i].data, keys[i].len, seen->loads);
    }
    return CELLAR_OK;
}

/* Load all keys with three calls, or with one, beginning at another key in each process. */
static void work_in_bulk(const side *s, board *seen, int number, int calls)
{
    for (int i = 0; i < calls; i++) {
        bulk_load(s, number * 41 + i * ALL / calls, ALL / calls, 60000, load_many_slowly, seen);
        for (int k = 0; k < ALL / calls; k++) {
            count(seen, batch.text[k], batch.item[k].status, &batch.r[k]);
        }
    }
}

static void work_by_3_calls(const side *s, board *seen, int number) { work_in_bulk(s, seen, number, 3); }
static void work_by_1_call(const side *s, board *seen, int number) { work_in_bulk(s, seen, number, 1); }

/* ---- processes ---- */

static board *board_open(void)
{
    board *seen = engine_pages(sizeof *seen);
    T_REQUIRE(engine_start(&server, NULL));
    return seen;
}

static void run_process(board *seen, int number, void (*work)(const side *s, board *seen, int number))
{
    side s;
    side_open(&s, server.socket, NULL, NULL);
    atomic_fetch_add(&seen->ready, 1);
    while (atomic_load(&seen->ready) < PROCESSES) { sched_yield(); }
    work(&s, seen, number);
    side_close(&s);
    _exit(t_failed());
}

/* Load in all processes. Each load has the right value. */
static void load_in_processes(board *seen, void (*work)(const side *s, board *seen, int number),
                              uint64_t loads)
{
    pid_t child[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        child[i] = fork();
        if (child[i] == 0) { run_process(seen, i, work); }
    }
    for (int i = 0; i < PROCESSES; i++) {
        T_EQ_I64(engine_child(child[i]), 0);
    }
    T_EQ_U64(atomic_load(&seen->right), PROCESSES * loads);
    T_EQ_U64(atomic_load(&seen->wrong), 0);
}

static void board_close(board *seen)
{
    munmap(seen, sizeof *seen);
    engine_stop(&server);
}

T_CASE(cold_keys_load_once_over_all_processes)
{
    for (uint64_t i = t_env_u64("T_SCALE", 1); i > 0 && !t_failed(); i--) {
        board *seen = board_open();
        load_in_processes(seen, work_by_threads, THREADS * KEYS);
        for (int k = 0; k < KEYS; k++) { T_EQ_U64(atomic_load(&seen->loads[k]), 1); }
        board_close(seen);
    }
}

T_CASE(bulk_loads_load_cold_keys_once_over_all_processes)
{
    board *seen = board_open();
    load_in_processes(seen, work_by_3_calls, ALL);
    for (int k = 0; k < ALL; k++) { T_EQ_U64(atomic_load(&seen->loads[k]), 1); }
    board_close(seen);
}

/* ---- leaders that die ---- */

typedef struct leader {
    board *seen;
    int point;
} leader;

static cellar_err load_and_die(cellar_load *load, const cellar_bytes *keys, size_t count,
                               void *ctx)
{
    leader *l = ctx;
    if (l->point == AFTER_LEASE) { (void)raise(SIGKILL); }
    for (size_t i = 0; i < count; i++) {
        (void)cellar_load_select(load, i);
        (void)bring(load, keys[i].data, keys[i].len, l->seen->led);
    }
    if (l->point == BEFORE_FILL) { (void)raise(SIGKILL); }
    return CELLAR_OK;
}

static void run_leader(board *seen, int point, int64_t hard_ms)
{
    side s;
    leader l = { seen, point };
    side_open(&s, server.socket, NULL, NULL);
    if (point == BEFORE_LEASE) { (void)raise(SIGKILL); }
    bulk_load(&s, point * KEYS, KEYS, hard_ms, load_and_die, &l);
    (void)raise(SIGKILL); /* DURING_FILL: unless the parent was faster */
}

static bool is_filled(int key)
{
    return engine_number(engine_ask(&server, "STRLEN app:users:%d", key)) > VALUE;
}

/* Let leaders die. Return whether those that fill began to within hard_ms. */
static bool leaders_die(board *seen, int64_t hard_ms)
{
    siginfo_t end = { .si_pid = 0 };
    pid_t child[POINTS];
    for (int i = 0; i < POINTS; i++) {
        child[i] = fork();
        if (child[i] == 0) { run_leader(seen, i, hard_ms); }
    }
    while (!is_filled(DURING_FILL * KEYS) && end.si_pid == 0) {
        (void)waitid(P_PID, (id_t)child[DURING_FILL], &end, WEXITED | WNOHANG | WNOWAIT);
    }
    (void)kill(child[DURING_FILL], SIGKILL);
    for (int i = 0; i < POINTS; i++) { T_EQ_I64(waitpid(child[i], NULL, 0), child[i]); }
    return is_filled(DURING_FILL * KEYS) && is_filled(AFTER_FILL * KEYS);
}

T_CASE(keys_of_a_killed_leader_are_loaded_once)
{
    board *seen = board_open();
    bool there[ALL];
    for (int64_t hard_ms = 100; !leaders_die(seen, hard_ms); hard_ms *= 2) {
        T_REQUIRE(hard_ms < 20000);
        board_close(seen);
        seen = board_open();
    }
    for (int i = 0; i < ALL; i++) { there[i] = is_filled(i); }
    load_in_processes(seen, work_by_1_call, ALL);
    int other = 0; /* keys that were loaded again, or not at all */
    for (int i = 0; i < ALL; i++) { other += atomic_load(&seen->loads[i]) != (there[i] ? 0u : 1u); }
    T_EQ_I64(other, 0);
    T_CHECK(there[AFTER_FILL * KEYS] && !there[AFTER_LEASE * KEYS] && !there[BEFORE_FILL * KEYS]);
    T_EQ_U64(atomic_load(&seen->led[BEFORE_FILL * KEYS]), 1);
    board_close(seen);
}

/* ---- a server that goes ---- */

static _Atomic bool leads, led; /* the loader of the first process runs; that of the second ran */

/* Keep the lease until the other process has loaded the key; 20 s at most. */
static cellar_err load_until_led(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)ctx;
    atomic_store(&leads, true);
    for (unsigned ms = 0; ms < 20000 * t_patience() && !atomic_load(&led); ms++) {
        engine_pause_ms(1);
    }
    T_CHECK(atomic_load(&led));
    return side_loader(load, key, key_len, "v");
}

static cellar_err load_alone(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)ctx;
    atomic_store(&led, true);
    return side_loader(load, key, key_len, "v");
}

static void *load_by(void *s, cellar_loader_fn fn)
{
    cellar_result r = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(((side *)s)->users, "k", 1, NULL, fn, NULL, &r), CELLAR_OK);
    cellar_result_free(&r);
    return NULL;
}

static void *load_first(void *s) { return load_by(s, load_until_led); }
static void *load_second(void *s) { return load_by(s, load_alone); }

T_CASE(load_waits_for_no_other_process_when_the_server_is_gone)
{
    cellar_remote_namespace_config o = cellar_remote_namespace_config_default();
    cellar_remote_config ro = { .struct_size = sizeof ro, .proof_ms = 1000, .close_ms = 1 };
    for (unsigned way = 0; way < 4; way++) {
        pthread_t t[2];
        o.offline = way < 2 ? CELLAR_REMOTE_MISS : CELLAR_REMOTE_TRUST;
        both_open_with(&ro, &o);
        atomic_store(&leads, false);
        atomic_store(&led, false);
        T_REQUIRE(pthread_create(&t[0], NULL, load_first, &a) == 0);
        while (!atomic_load(&leads)) { engine_pause_ms(1); }
        T_REQUIRE(pthread_create(&t[1], NULL, load_second, &b) == 0);
        while (side_stats(&b).leases_waited == 0 && !atomic_load(&led)) { engine_pause_ms(1); }
        if (way % 2 == 0) { engine_kill(&server); } else { engine_signal(&server, SIGSTOP); }
        for (unsigned i = 0; i < 2; i++) { pthread_join(t[i], NULL); }
        left_close();
    }
}

/* ---- refreshes ---- */

static cellar_err load_new(cellar_load *load, const void *key, size_t key_len, void *loads)
{
    atomic_fetch_add((_Atomic uint64_t *)loads, 1);
    (void)loader_ttl(load, 60000);
    return side_loader(load, key, key_len, "new");
}

/* A process without the old value in memory loads, and keeps what it loaded. */
T_CASE(cold_process_refreshes_a_stale_value_once)
{
    const cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 50, .stale_ms = 60000 };
    _Atomic uint64_t loads = 0;
    T_REQUIRE(engine_start(&server, NULL));
    side_open(&a, server.socket, NULL, NULL);
    T_EQ_I64(cellar_set(a.users, "k", 1, "old", 3, &o), CELLAR_OK);
    while (!side_has(&a, "k", NULL)) { engine_pause_ms(1); }
    side_open(&b, server.socket, NULL, NULL);
    for (int i = 0; i < 10; i++) {
        cellar_result r = cellar_result_default();
        (void)cellar_get_or_load(b.users, "k", 1, NULL, load_new, (void *)&loads, &r);
        cellar_result_free(&r);
        engine_pause_ms(5);
    }
    T_EQ_U64(atomic_load(&loads), 1);
    T_CHECK(side_has(&b, "k", "new"));
    side_fence(&a);
    T_CHECK(side_has(&a, "k", "new"));
}

/* Ask for the key from the other process. */
static cellar_err load_beside_another(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    const side *other = ctx;
    cellar_load_opts o = cellar_load_opts_default();
    cellar_result r = cellar_result_default();
    o.flags = CELLAR_LOAD_REFRESH | CELLAR_LOAD_NO_WAIT;
    T_EQ_I64(cellar_get_or_load(other->users, key, key_len, &o, load_beside_another, ctx, &r),
             CELLAR_PENDING);
    cellar_result_free(&r);
    return side_loader(load, key, key_len, "v");
}

T_CASE_ON(refresh_of_a_key_without_value_is_one_over_processes, BOTH_SIDES)
{
    for (uint32_t flags = 0; flags <= CELLAR_LOAD_REFRESH; flags += CELLAR_LOAD_REFRESH) {
        const char key[] = { (char)('0' + flags) };
        cellar_result r = cellar_result_default();
        cellar_load_opts o = { .struct_size = sizeof o, .flags = flags };
        T_EQ_I64(cellar_get_or_load(a.users, key, 1, &o, load_beside_another, &b, &r), CELLAR_OK);
        T_EQ_U64(r.flags, 0);
        cellar_result_free(&r);
    }
}

/* What is heard of the lease of a failed load ends its failure, so nothing is heard here. A call
 * with a fallback gets what the server has by now, before its fallback runs. */
T_CASE(lease_of_a_key_with_a_remembered_failure_asks_the_server)
{
    static char instead[] = "instead";
    cellar_lease lease;
    cellar_result r = cellar_result_default();
    cellar_load_opts o = { .struct_size = sizeof o, .error_ttl_ms = 600000 };
    const cellar_remote_config ro = side_patient();
    both_open_far(&ro, NULL);
    for (int i = 1; i < BYTE_PROXY_LINES; i++) { atomic_store(&proxy.line[i].way[1].frozen, true); }
    T_EQ_I64(cellar_get_or_load(a.users, "k", 1, &o, side_loader, NULL, &r), CELLAR_E_LOADER);
    cellar_result_free(&r);
    T_EQ_I64(side_set(&b, "k", "found"), CELLAR_OK);
    o.fallback[0] = (cellar_fallback){ side_loader, instead };
    T_EQ_I64(side_acquire(&a, "k", &o, &lease, "found"), CELLAR_OK);
    byte_proxy_freeze(&proxy, 1, false);
}

typedef struct overtaken { /* a load that a delete by `by` overtakes */
    const side *by, *loads;
} overtaken;

static cellar_err load_during_delete(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    const overtaken *o = ctx;
    T_CHECK(cellar_delete(o->by->users, key, key_len) >= CELLAR_OK);
    side_fence(o->loads);
    return side_loader(load, key, key_len, "old");
}

/* Neither of both has a value that the server could compare. */
T_CASE(delete_during_a_load_leaves_its_value_out)
{
    for (int i = 0; i < 4; i++) {
        cellar_remote_namespace_config o = cellar_remote_namespace_config_default();
        cellar_load_opts lo = cellar_load_opts_default();
        cellar_result r = cellar_result_default();
        if ((i & 2) == 0) { o.values = CELLAR_REMOTE_RAW; }
        if ((i & 2) != 0) { lo.flags = CELLAR_LOAD_REFRESH; }
        both_open(&o);
        overtaken by = { (i & 1) != 0 ? &a : &b, &a };
        T_EQ_I64(cellar_get_or_load(a.users, "k", 1, &lo, load_during_delete, &by, &r), CELLAR_OK);
        T_EQ_MEM(r.value, "old", 3);
        T_EQ_U64(r.flags, CELLAR_RESULT_NOT_STORED | CELLAR_RESULT_INVALIDATED |
                              CELLAR_RESULT_NOT_SHARED);
        cellar_result_free(&r);
        T_CHECK(side_has(&a, "k", NULL) && side_has(&b, "k", NULL));
        T_EQ_I64(engine_number(engine_ask(&server, "EXISTS app:users:k")), 0);
        left_close();
    }
}

/* ---- failures ---- */

static void load_gets(const cellar_load_opts *lo, const char *text, cellar_err want, const char *got)
{
    cellar_result r = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(a.users, "k", 1, lo, side_loader, (void *)(uintptr_t)text, &r), want);
    side_take(&r);
    T_EQ_STR(side_loaded.text, got);
}

/* A lease that has the place of the value is announced like a value. That of RAW lies beside it. */
T_CASE(failure_is_remembered_until_a_lease_of_another_process_but_for_raw)
{
    const cellar_bytes other = { "other", 5 };
    for (unsigned i = 0; i < 4; i++) {
        const bool raw = (i & 1) != 0, instead = (i & 2) != 0;
        const cellar_remote_namespace_config o = side_raw(raw);
        const cellar_load_opts lo = { .struct_size = sizeof lo, .error_ttl_ms = 600000,
                                      .error_ttl_max_ms = 600000, .fallback_ttl_ms = 600000,
                                      .default_value = instead ? &other : NULL };
        const cellar_err failed = instead ? CELLAR_OK : CELLAR_E_LOADER;
        both_open(&o);
        load_gets(&lo, NULL, failed, instead ? "other" : "");
        T_EQ_I64(side_load(&b, "k", NULL, 0), CELLAR_E_LOADER);
        side_fence(&a);
        load_gets(&lo, "new", raw ? failed : CELLAR_OK, !raw ? "new" : instead ? "other" : "");
        T_EQ_I64(side_set(&b, "k", "set"), CELLAR_OK);
        side_fence(&a);
        load_gets(&lo, "new", CELLAR_OK, "set");
        left_close();
    }
}

T_CASE_ON(own_release_of_a_failed_load_ends_its_error, BOTH_SIDES)
{
    const cellar_load_opts lo = { .struct_size = sizeof lo, .error_ttl_ms = 60000 };
    load_gets(&lo, NULL, CELLAR_E_LOADER, "");
    side_fence(&a);
    load_gets(&lo, "new", CELLAR_OK, "new");
}

T_MAIN("remote_shared_load")
