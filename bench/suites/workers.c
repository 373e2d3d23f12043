/* SPDX-License-Identifier: MIT
 *
 * workers: processes of one machine that share a cache: `cellar serve --shared` and redis-server.
 *
 * FIGURES    workers_time      time of a call that asks the server, x with redis-server: `get1`,
 *                              `get4`, `get16` by so many workers with a link each, `get_many` of
 *                              128, `set` THROUGH, `increment`, `check` of a limiter, `lock` and
 *                              release; workers_call: the time itself, us
 *            workers_cpu       CPU time of the server for such a call, x redis-server
 *            workers_heard     change in one worker to its event in another one, p50, x with
 *                              redis-server; workers_heard_p99: its p99
 * WALK       Both servers run all the time, with 2 workers each, then with 4, for get16 with 16. A
 *            round is four turns, A B B A; a side counts by its shorter turn, and a figure is the
 *            median over the rounds.
 * INPUT      make bench SUITE=workers; redis-tools, libhiredis-dev. BENCH_SERVE, the
 *            program `cellar` (the Makefile builds it with STATIC=1). */
#include "bench/suites/suite.h"

#include "bench/harness/json.h"

#if BENCH_HAVE_CELLAR && BENCH_HAVE_REMOTE
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench/harness/host.h"
#include "bench/peers/server.h"
#include "cellar.h"
#include "cellar_batch.h"
#include "cellar_observe.h"
#include "cellar_remote.h"

#define WORKERS_REDIS "/usr/bin/redis-check-rdb" /* redis-server under the name of another tool */
#define WORKERS_KEYS 10000u
#define WORKERS_MAX 16u
#define WORKERS_BATCH 128u
#define WORKERS_HEARD 200u  /* changes a turn */
#define WORKERS_FEW 4u

typedef struct workers_client {
    cellar *store, *shared;
    cellar_remote *r;
    cellar_remote_limiter *limiter;
    uint32_t next; /* key of the next call */
} workers_client;

typedef struct workers_side {
    server *s;
    char url[200];
    workers_client c[WORKERS_MAX];
} workers_side;

typedef struct workers_bench {
    const cell_options *o;
    workers_side side[2]; /* ours, redis-server */
} workers_bench;

static void workers_say(const char *shape, const char *metric, const char *clock, double *values,
                        uint32_t count)
{
    suite_say("workers", "cellar", shape, metric, values, count, clock, NULL);
    host_beat();
}

static void workers_pause_ms(int64_t ms)
{
    const struct timespec t = { ms / 1000, (long)(ms % 1000) * 1000000 };
    nanosleep(&t, NULL);
}

/* Open a worker that keeps at most `entries` in memory. */
static bool workers_open(workers_client *c, const char *url, uint32_t entries)
{
    cellar_namespace_config n = cellar_namespace_config_default();
    cellar_config o = cellar_config_default();
    cellar_remote_limiter_config limit = cellar_remote_limiter_config_default();
    memset(c, 0, sizeof *c);
    o.memory_bytes = 8u << 20;
    n.max_entries = entries;
    if (cellar_open(&o, &c->store) != CELLAR_OK ||
        cellar_namespace_open(c->store, "shared", &n, &c->shared) != CELLAR_OK ||
        cellar_remote_open(c->store, url, NULL, &c->r) != CELLAR_OK ||
        cellar_remote_attach(c->r, c->shared, NULL) != CELLAR_OK) {
        return false;
    }
    const cellar_rule rule = cellar_rule_sliding_log(10, CELLAR_SECOND_NS);
    limit.name = "calls";
    limit.offline = CELLAR_REMOTE_LIMITER_DENY;
    if (cellar_remote_limiter_open(c->r, &rule, &limit, &c->limiter) != CELLAR_OK) { return false; }
    for (int ms = 0; ms < 5000 && cellar_remote_state_get(c->r) != CELLAR_REMOTE_PROVEN; ms++) {
        workers_pause_ms(1);
    }
    return cellar_remote_state_get(c->r) == CELLAR_REMOTE_PROVEN;
}

static void workers_close(workers_client *c)
{
    cellar_remote_limiter_close(c->limiter);
    cellar_remote_close(c->r);
    cellar_close(c->store);
}

/* ---- calls that ask the server ---- */

static size_t workers_key(char key[16], uint32_t i)
{
    return (size_t)snprintf(key, 16, "key:%010u", i % WORKERS_KEYS);
}

static bool workers_get(workers_client *c)
{
    char key[16], value[100];
    const size_t len = workers_key(key, c->next++);
    return cellar_get(c->shared, key, len, value, sizeof value, NULL) == CELLAR_OK;
}

static bool workers_get_many(workers_client *c)
{
    static char text[WORKERS_BATCH][16], value[WORKERS_BATCH][100];
    cellar_get_item item[WORKERS_BATCH];
    bool ok = true;
    memset(item, 0, sizeof item);
    for (uint32_t i = 0; i < WORKERS_BATCH; i++) {
        item[i].key = text[i];
        item[i].key_len = workers_key(text[i], c->next++);
        item[i].buf = value[i];
        item[i].buf_cap = sizeof value[i];
    }
    (void)cellar_get_many(c->shared, item, WORKERS_BATCH, NULL);
    for (uint32_t i = 0; i < WORKERS_BATCH; i++) { ok = ok && item[i].status == CELLAR_OK; }
    return ok;
}

static bool workers_set(workers_client *c)
{
    static const char value[100];
    char key[16];
    const size_t len = workers_key(key, c->next++);
    return cellar_set(c->shared, key, len, value, sizeof value, NULL) == CELLAR_OK;
}

static bool workers_increment(workers_client *c)
{
    char key[16];
    int64_t n;
    const size_t len = (size_t)snprintf(key, sizeof key, "count:%u", c->next++ % 1000);
    return cellar_increment(c->shared, key, len, 1, 0, NULL, &n) == CELLAR_OK;
}

static bool workers_check(workers_client *c)
{
    char key[16];
    const size_t len = workers_key(key, c->next++);
    return cellar_remote_limiter_check(c->limiter, key, len, 1, NULL) == CELLAR_OK;
}

static bool workers_lock(workers_client *c)
{
    char key[16];
    cellar_remote_lock lk;
    const size_t len = workers_key(key, c->next++);
    return cellar_remote_lock_acquire(c->r, key, len, NULL, &lk) == CELLAR_OK &&
           cellar_remote_lock_release(c->r, key, len, &lk) == CELLAR_OK;
}

typedef struct workers_shape {
    const char *name;
    bool (*call)(workers_client *c);
    uint32_t workers, calls; /* calls of a turn, of all workers together */
} workers_shape;

typedef struct workers_thread {
    const workers_shape *shape;
    workers_client *c;
    uint32_t bad;
    pthread_t thread;
} workers_thread;

static void *workers_thread_main(void *arg)
{
    workers_thread *t = arg;
    for (uint32_t i = 0; i < t->shape->calls / t->shape->workers; i++) {
        t->bad += !t->shape->call(t->c);
    }
    return NULL;
}

/* Run one turn. Return ns a call, and the CPU time of the server in *cpu; 0: most calls failed. A
 * call fails if its answer comes late on a busy machine, and counts with its wait. */
static double workers_turn(workers_side *side, const workers_shape *shape, double *cpu)
{
    static workers_thread t[WORKERS_MAX];
    uint32_t bad = 0;
    const uint64_t from = host_wall_ns(), from_cpu = host_cpu_ns_of(side->s->pid);
    for (uint32_t i = 0; i < shape->workers; i++) {
        t[i] = (workers_thread){ .shape = shape, .c = &side->c[i] };
        if (i > 0 && pthread_create(&t[i].thread, NULL, workers_thread_main, &t[i]) != 0) {
            return 0;
        }
    }
    (void)workers_thread_main(&t[0]);
    for (uint32_t i = 0; i < shape->workers; i++) {
        if (i > 0) { pthread_join(t[i].thread, NULL); }
        bad += t[i].bad;
    }
    *cpu = (double)(host_cpu_ns_of(side->s->pid) - from_cpu) / shape->calls;
    return bad > shape->calls / 100 ? 0 : (double)(host_wall_ns() - from) / shape->calls;
}

static int workers_shape_run(workers_bench *b, const workers_shape *shape)
{
    double time[SUITE_ROUNDS_MAX], cpu[SUITE_ROUNDS_MAX], us[SUITE_ROUNDS_MAX];
    for (uint32_t n = 0; n < b->o->rounds; n++) {
        double ns[2] = { INFINITY, INFINITY }, cpu_ns[2] = { INFINITY, INFINITY };
        for (uint32_t turn = 0; turn < 4; turn++) {
            const uint32_t side = (n ^ turn ^ turn >> 1) & 1;
            double cpu_here;
            const double took = workers_turn(&b->side[side], shape, &cpu_here);
            if (!(took > 0)) { return CELL_WRONG; }
            ns[side] = fmin(ns[side], took);
            cpu_ns[side] = fmin(cpu_ns[side], cpu_here);
        }
        time[n] = ns[0] / ns[1];
        cpu[n] = cpu_ns[0] / cpu_ns[1];
        us[n] = ns[0] / 1e3;
        host_beat();
    }
    workers_say(shape->name, "workers_time", "wall", time, b->o->rounds);
    workers_say(shape->name, "workers_cpu", "cpu", cpu, b->o->rounds);
    workers_say(shape->name, "workers_call", "wall", us, b->o->rounds);
    return CELL_OK;
}

/* Run the shapes of four workers, or of more. */
static int workers_calls(workers_bench *b, uint32_t more)
{
    static const workers_shape shapes[] = {
        { "get1", workers_get, 1, 400 },      { "get4", workers_get, 4, 800 },
        { "get_many", workers_get_many, 1, 20 }, { "set", workers_set, 1, 400 },
        { "increment", workers_increment, 1, 400 }, { "check", workers_check, 1, 400 },
        { "lock", workers_lock, 1, 200 },     { "get16", workers_get, WORKERS_MAX, 1600 },
    };
    int status = CELL_OK;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        if ((shapes[i].workers > WORKERS_FEW) != (more != 0)) { continue; }
        if (workers_shape_run(b, &shapes[i]) == CELL_OK) { continue; }
        json_say("workers", "cellar", shapes[i].name, "crash", "a call failed");
        status = CELL_WRONG;
    }
    return status;
}

/* ---- a change that another worker hears ---- */

static _Atomic uint64_t workers_heard_ns;

static void workers_on_heard(const cellar_event *e, void *ctx)
{
    (void)e;
    (void)ctx;
    atomic_store(&workers_heard_ns, host_wall_ns());
}

/* Time changes of worker 0 until worker 1 hears them. */
static bool workers_heard_turn(workers_side *side, double ns[WORKERS_HEARD])
{
    char value[100];
    for (uint32_t i = 0; i < WORKERS_HEARD; i++) {
        (void)cellar_get(side->c[1].shared, "heard", 5, value, sizeof value, NULL);
        atomic_store(&workers_heard_ns, 0);
        const uint64_t from = host_wall_ns(), until = from + 2000000000u;
        if (cellar_set(side->c[0].shared, "heard", 5, "1", 1, NULL) < CELLAR_OK) { return false; }
        while (atomic_load(&workers_heard_ns) == 0 && host_wall_ns() < until) { }
        if (atomic_load(&workers_heard_ns) == 0) { return false; }
        ns[i] = (double)(atomic_load(&workers_heard_ns) - from);
    }
    return true;
}

static int workers_heard(workers_bench *b)
{
    double p50[SUITE_ROUNDS_MAX], p99[SUITE_ROUNDS_MAX], ns[2][2 * WORKERS_HEARD];
    uint64_t id;
    for (uint32_t i = 0; i < 2; i++) {
        if (cellar_set(b->side[i].c[0].shared, "heard", 5, "0", 1, NULL) != CELLAR_OK ||
            cellar_remote_fence(b->side[i].c[1].r, 1000) != CELLAR_OK ||
            cellar_listener_add(b->side[i].c[1].shared, CELLAR_CAUSE_BIT(REMOTE), workers_on_heard,
                                NULL, &id) != CELLAR_OK) {
            return CELL_WRONG;
        }
    }
    for (uint32_t n = 0; n < b->o->rounds; n++) {
        uint32_t filled[2] = { 0, 0 };
        for (uint32_t turn = 0; turn < 4; turn++) {
            const uint32_t side = (n ^ turn ^ turn >> 1) & 1;
            if (!workers_heard_turn(&b->side[side], ns[side] + filled[side])) { return CELL_WRONG; }
            filled[side] += WORKERS_HEARD;
        }
        p50[n] = cell_quantile(ns[0], filled[0], .5) / cell_quantile(ns[1], filled[1], .5);
        p99[n] = cell_quantile(ns[0], filled[0], .99) / cell_quantile(ns[1], filled[1], .99);
        host_beat();
    }
    workers_say("set", "workers_heard", "wall", p50, b->o->rounds);
    workers_say("set", "workers_heard_p99", "wall", p99, b->o->rounds);
    return CELL_OK;
}

/* ---- both servers ---- */

/* Open workers from..to-1 of both sides. */
static bool workers_more(workers_bench *b, uint32_t from, uint32_t to)
{
    char here[PATH_MAX];
    for (uint32_t i = 0; i < 2; i++) {
        workers_side *side = &b->side[i];
        if (side->s == NULL || realpath(side->s->path, here) == NULL) { return false; }
        snprintf(side->url, sizeof side->url, "unix://%.120s?prefix=bench&io_ms=2000", here);
        for (uint32_t n = from; n < to; n++) {
            if (!workers_open(&side->c[n], side->url, 100)) { return false; }
            side->c[n].next = n * WORKERS_KEYS / WORKERS_MAX;
        }
    }
    return true;
}

static bool workers_fill(workers_bench *b)
{
    for (uint32_t i = 0; i < 2 * WORKERS_KEYS; i++) {
        if (!workers_set(&b->side[i & 1].c[0])) { return false; }
    }
    return true;
}

static int workers_parts(workers_bench *b)
{
    if (!workers_more(b, 0, 2) || !workers_fill(b)) { return CELL_WRONG; }
    int status = workers_heard(b);
    if (!workers_more(b, 2, WORKERS_FEW)) { return CELL_WRONG; }
    status |= workers_calls(b, 0);
    return workers_more(b, WORKERS_FEW, WORKERS_MAX) ? workers_calls(b, 1) | status : CELL_WRONG;
}

static void workers_side_close(workers_side *side)
{
    for (uint32_t i = 0; i < WORKERS_MAX; i++) { workers_close(&side->c[i]); }
    server_stop(side->s);
}

static int workers_bench_run(const cell_options *o)
{
    static workers_bench b;
    char path[2][108], unix_path[128];
    const char *program = getenv("BENCH_SERVE");
    program = program != NULL && program[0] != '\0' ? program : "build/cellar";
    printf("\nworkers\n");
    if (access(program, X_OK) != 0 || access(WORKERS_REDIS, X_OK) != 0) {
        json_say("workers", "redis", NULL, "skip", "no redis-server (redis-tools), or no cellar");
        return CELL_OK;
    }
    snprintf(path[0], sizeof path[0], "%s/ours.%d.sock", o->scratch, (int)getpid());
    snprintf(path[1], sizeof path[1], "%s/redis.%d.sock", o->scratch, (int)getpid());
    snprintf(unix_path, sizeof unix_path, "--unix=%s", path[0]);
    const char *const ours[] = { "cellar", "serve", "--port=0", "--shared=256M", unix_path, NULL };
    const char *const redis[] = { "redis-server", "--port", "0", "--unixsocket", path[1], "--save",
                                  "", "--appendonly", "no", NULL };
    b = (workers_bench){ .o = o };
    b.side[0].s = server_start(program, (char *const *)(uintptr_t)ours, path[0]);
    b.side[1].s = server_start(WORKERS_REDIS, (char *const *)(uintptr_t)redis, path[1]);
    const int status = workers_parts(&b);
    if (status != CELL_OK) { json_say("workers", "cellar", NULL, "crash", "a call failed"); }
    for (uint32_t i = 0; i < 2; i++) { workers_side_close(&b.side[i]); }
    return status;
}
#elif BENCH_HAVE_CELLAR
static int workers_bench_run(const cell_options *o)
{
    (void)o;
    json_say("workers", "cellar", NULL, "skip", "built without libhiredis-dev");
    return CELL_OK;
}
#endif

SUITE_OF_LIBRARY(workers, "workers of cellar serve and of redis-server", workers_bench_run, true);
