/* SPDX-License-Identifier: MIT
 *
 * Aim:    keys of a leader that dies are loaded once by the other processes; a change by any client
 *         during a bulk load leaves its value out of the server.
 * Method: leaders are processes that end by SIGKILL at one point of a bulk load each. Survivors then
 *         load all keys. The loaders count in memory that all share. */
#include <signal.h>
#include <sys/mman.h>

#include "cellar_load.h"

#include "tests/support/loader.h"
#include "tests/support/shared_side.h"

enum { BEFORE_LEASE, AFTER_LEASE, BEFORE_FILL, DURING_FILL, AFTER_FILL, POINTS };
enum { KEYS = 60, ALL = KEYS * POINTS, SURVIVORS = 8, VALUE = 600 };

typedef struct board {
    _Atomic uint64_t led[ALL], loads[ALL]; /* by leaders, by survivors */
    _Atomic uint64_t right, wrong;
    _Atomic int ready;
} board;

static engine server;

typedef struct batch { /* a bulk load of `count` keys from `first` on */
    int first, count;
    char text[ALL][8];
    cellar_load_item item[ALL];
    cellar_result r[ALL];
} batch;

static batch *batch_new(int first, int count)
{
    static batch b;
    b.first = first;
    b.count = count;
    for (int i = 0; i < count; i++) {
        const int len = snprintf(b.text[i], sizeof b.text[i], "%d", (first + i) % ALL);
        b.r[i] = cellar_result_default();
        b.item[i] = (cellar_load_item){ .key = b.text[i], .key_len = (size_t)len,
                                        .result = &b.r[i] };
    }
    return &b;
}

/* The leases end hard_ms + 1 s after the request: the beats of side_patient are longer. */
static void batch_run(batch *b, const side *s, int64_t hard_ms, cellar_loader_many_fn fn,
                      void *ctx)
{
    cellar_load_opts o = { .struct_size = sizeof o, .hard_timeout_ms = hard_ms,
                           .wait_timeout_ms = 60000 };
    T_EQ_I64(cellar_get_or_load_many(s->users, b->item, (size_t)b->count, &o, fn, ctx), CELLAR_OK);
}

/* Report the value of each key: its text, repeated. */
static void bring(cellar_load *load, const cellar_bytes *keys, size_t count,
                  _Atomic uint64_t *counts)
{
    for (size_t i = 0; i < count; i++) {
        char text[8] = "", value[VALUE];
        memcpy(text, keys[i].data, keys[i].len);
        memset(value, text[0], sizeof value);
        if (counts != NULL) { atomic_fetch_add(&counts[strtoul(text, NULL, 10)], 1); }
        (void)loader_value(load, i, value, sizeof value);
    }
}

typedef struct leader {
    board *b;
    int point;
} leader;

static cellar_err load_and_die(cellar_load *load, const cellar_bytes *keys, size_t count,
                               void *ctx)
{
    leader *l = ctx;
    if (l->point == AFTER_LEASE) { (void)raise(SIGKILL); }
    bring(load, keys, count, l->b->led);
    if (l->point == BEFORE_FILL) { (void)raise(SIGKILL); }
    return CELLAR_OK;
}

static void run_leader(board *b, int point)
{
    side s;
    leader l = { b, point };
    side_open(&s, server.socket, NULL, NULL);
    if (point == BEFORE_LEASE) { (void)raise(SIGKILL); }
    batch_run(batch_new(point * KEYS, KEYS), &s, 100, load_and_die, &l);
    (void)raise(SIGKILL); /* DURING_FILL: unless the parent was faster */
}

static cellar_err load_counted(cellar_load *load, const cellar_bytes *keys, size_t count,
                               void *ctx)
{
    board *b = ctx;
    engine_pause_ms(1);
    bring(load, keys, count, b->loads);
    return CELLAR_OK;
}

static void run_survivor(board *b, int number)
{
    side s;
    side_open(&s, server.socket, NULL, NULL);
    batch *all = batch_new(number * 41, ALL);
    atomic_fetch_add(&b->ready, 1);
    while (atomic_load(&b->ready) < SURVIVORS) { sched_yield(); }
    batch_run(all, &s, 60000, load_counted, b);
    for (int i = 0; i < ALL; i++) {
        const cellar_result *r = &all->r[i];
        const bool right = all->item[i].status == CELLAR_OK && r->value_len == VALUE &&
                           ((const char *)r->value)[VALUE - 1] == all->text[i][0];
        atomic_fetch_add(right ? &b->right : &b->wrong, 1);
        cellar_result_free(&all->r[i]);
    }
    side_close(&s);
}

static bool is_filled(int key)
{
    return engine_number(engine_ask(&server, "STRLEN app:users:%d", key)) > VALUE;
}

T_CASE(keys_of_a_killed_leader_are_loaded_once)
{
    if (!engine_start(&server, NULL)) { return; }
    board *b = mmap(NULL, sizeof *b, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child[SURVIVORS];
    int status;
    bool there[ALL];
    T_REQUIRE(b != MAP_FAILED);
    for (int i = 0; i < POINTS; i++) {
        child[i] = fork();
        if (child[i] == 0) { run_leader(b, i); }
    }
    while (!is_filled(DURING_FILL * KEYS)) { sched_yield(); }
    (void)kill(child[DURING_FILL], SIGKILL);
    for (int i = 0; i < POINTS; i++) { T_EQ_I64(waitpid(child[i], &status, 0), child[i]); }
    for (int i = 0; i < ALL; i++) { there[i] = is_filled(i); }
    for (int i = 0; i < SURVIVORS; i++) {
        child[i] = fork();
        if (child[i] == 0) {
            run_survivor(b, i);
            _exit(t_failed());
        }
    }
    for (int i = 0; i < SURVIVORS; i++) {
        T_EQ_I64(waitpid(child[i], &status, 0), child[i]);
        T_EQ_I64(status, 0);
    }
    int other = 0; /* keys that were loaded again, or not at all */
    for (int i = 0; i < ALL; i++) { other += atomic_load(&b->loads[i]) != (there[i] ? 0u : 1u); }
    T_EQ_I64(other, 0);
    T_CHECK(there[AFTER_FILL * KEYS] && !there[AFTER_LEASE * KEYS] && !there[BEFORE_FILL * KEYS]);
    T_EQ_U64(atomic_load(&b->led[BEFORE_FILL * KEYS]), 1);
    T_EQ_U64(atomic_load(&b->right), (uint64_t)SURVIVORS * ALL);
    T_EQ_U64(atomic_load(&b->wrong), 0);
    munmap(b, sizeof *b);
}

/* Change two of the keys as another client, then report all. */
static cellar_err load_during_changes(cellar_load *load, const cellar_bytes *keys, size_t count,
                                      void *ctx)
{
    (void)ctx;
    T_EQ_I64(engine_number(engine_ask(&server, "DEL app:users:0")), 1); /* the lease was there */
    T_CHECK(engine_ask(&server, "SET app:users:1 theirs") != NULL);
    bring(load, keys, count, NULL);
    return CELLAR_OK;
}

T_CASE(change_by_another_client_ends_the_lease_of_its_key)
{
    static side a, b;
    if (!engine_start(&server, NULL)) { return; }
    side_open(&a, server.socket, NULL, NULL);
    side_open(&b, server.socket, NULL, NULL);
    batch *all = batch_new(0, 3);
    batch_run(all, &a, 60000, load_during_changes, NULL);
    for (int i = 0; i < 3; i++) {
        T_EQ_I64(all->item[i].status, CELLAR_OK);
        T_EQ_U64((all->r[i].flags & CELLAR_RESULT_INVALIDATED) != 0, i < 2);
        cellar_result_free(&all->r[i]);
    }
    side_fence(&a);
    T_EQ_I64(engine_number(engine_ask(&server, "EXISTS app:users:0")), 0);
    T_EQ_STR(engine_ask(&server, "GET app:users:1")->str, "theirs");
    T_CHECK(side_has(&a, "0", NULL) && side_has(&a, "1", NULL) && is_filled(2));
    T_EQ_U64(side_stats(&a).leases_lost, 2);
}

typedef struct overtaken { /* a load that a delete by `by` overtakes */
    const side *by, *loads;
} overtaken;

static cellar_err load_during_delete(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    const overtaken *o = ctx;
    T_CHECK(cellar_delete(o->by->users, key, key_len) >= CELLAR_OK);
    side_fence(o->loads);
    return cellar_load_value(load, "old", 3);
}

/* Neither of both has a value that the server could compare. */
T_CASE(delete_during_a_load_leaves_its_value_out)
{
    for (int i = 0; i < 4; i++) {
        side a, b;
        cellar_remote_namespace_config o = cellar_remote_namespace_config_default();
        cellar_load_opts lo = cellar_load_opts_default();
        cellar_result r = cellar_result_default();
        if ((i & 2) == 0) { o.values = CELLAR_REMOTE_RAW; }
        if ((i & 2) != 0) { lo.flags = CELLAR_LOAD_REFRESH; }
        if (!engine_start(&server, NULL)) { return; }
        side_open(&a, server.socket, NULL, &o);
        side_open(&b, server.socket, NULL, &o);
        side_fence(&a);
        side_fence(&b);
        overtaken by = { (i & 1) != 0 ? &a : &b, &a };
        T_EQ_I64(cellar_get_or_load(a.users, "k", 1, &lo, load_during_delete, &by, &r), CELLAR_OK);
        T_EQ_MEM(r.value, "old", 3);
        T_EQ_U64(r.flags, CELLAR_RESULT_NOT_STORED | CELLAR_RESULT_INVALIDATED |
                              CELLAR_RESULT_NOT_SHARED);
        cellar_result_free(&r);
        T_CHECK(side_has(&a, "k", NULL) && side_has(&b, "k", NULL));
        T_EQ_I64(engine_number(engine_ask(&server, "EXISTS app:users:k")), 0);
        side_close(&a);
        side_close(&b);
        engine_stop(&server);
    }
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
    return cellar_load_value(load, "v", 1);
}

T_CASE(refresh_of_a_key_without_value_is_one_over_processes)
{
    static side a, b;
    if (!engine_start(&server, NULL)) { return; }
    side_open(&a, server.socket, NULL, NULL);
    side_open(&b, server.socket, NULL, NULL);
    for (uint32_t flags = 0; flags <= CELLAR_LOAD_REFRESH; flags += CELLAR_LOAD_REFRESH) {
        const char key[] = { (char)('0' + flags) };
        cellar_result r = cellar_result_default();
        cellar_load_opts o = { .struct_size = sizeof o, .flags = flags };
        T_EQ_I64(cellar_get_or_load(a.users, key, 1, &o, load_beside_another, &b, &r), CELLAR_OK);
        T_EQ_U64(r.flags, 0);
        cellar_result_free(&r);
    }
}

T_MAIN("remote_leader")
