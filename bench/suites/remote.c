/* SPDX-License-Identifier: MIT
 *
 * remote: namespaces shared through a redis-server of the suite, beside hiredis.
 *
 * FIGURES    remote_get_many  get_many of 128 keys, none in memory, x one GET a call of hiredis
 *            remote_tls_get   gets that miss in memory, over TLS x plain TCP; remote_tls_get_many:
 *                             get_many of 128 likewise
 *            remote_misses    1, 4, 16 threads of gets that miss in memory x as many connections of
 *                             hiredis
 *            remote_large     time of a get or set of 1 MiB x that of hiredis
 * INPUT      make bench SUITE=remote TLS=1; redis-tools, libhiredis-dev; for TLS libssl-dev
 *            and the program openssl. */
#include "bench/suites/suite.h"

#include "bench/harness/json.h"

#if BENCH_HAVE_CELLAR && BENCH_HAVE_REMOTE
#include <hiredis/hiredis.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench/harness/host.h"
#include "bench/peers/server.h"
#include "cellar.h"
#include "cellar_remote.h"

#define REMOTE_SERVER "/usr/bin/redis-check-rdb" /* redis-server under the name of another tool */
#define REMOTE_PORT 16399
#define REMOTE_TLS_PORT 16398
#define REMOTE_KEYS 100000u
#define REMOTE_TURNS 8u
#define REMOTE_BATCH 128u
#define REMOTE_THREADS 16u
#define REMOTE_LARGE 1000000u

typedef struct remote_bench {
    const cell_options *o;
    server *s;
    char unix_url[160];
    char patient_url[160]; /* for gets beside hiredis, which waits for a late reply */
    uint32_t next; /* key of the next miss */
} remote_bench;

typedef struct remote_store {
    cellar *store, *shared;
    cellar_remote *r;
} remote_store;

static void remote_say(const char *shape, const char *metric, const char *clock, double *values,
                       uint32_t count)
{
    suite_say("remote", "cellar", shape, metric, values, count, clock, NULL);
    host_beat();
}

static void remote_pause_ms(int64_t ms)
{
    const struct timespec t = { ms / 1000, (long)(ms % 1000) * 1000000 };
    nanosleep(&t, NULL);
}

static bool remote_proven_soon(const cellar_remote *r)
{
    for (int i = 0; i < 5000; i++) {
        if (cellar_remote_state_get(r) == CELLAR_REMOTE_PROVEN) { return true; }
        remote_pause_ms(1);
    }
    return false;
}

/* Open a store with a shared namespace of at most `entries` in memory. */
static bool remote_store_open(remote_store *s, const char *url, uint32_t entries)
{
    cellar_namespace_config n = cellar_namespace_config_default();
    cellar_remote_namespace_config o = cellar_remote_namespace_config_default();
    memset(s, 0, sizeof *s);
    n.max_entries = entries;
    o.values = CELLAR_REMOTE_ENVELOPE;
    if (cellar_open(NULL, &s->store) != CELLAR_OK ||
        cellar_namespace_open(s->store, "shared", &n, &s->shared) != CELLAR_OK) {
        return false;
    }
    return cellar_remote_open(s->store, url, NULL, &s->r) == CELLAR_OK &&
           cellar_remote_attach(s->r, s->shared, &o) == CELLAR_OK && remote_proven_soon(s->r);
}

static void remote_store_close(remote_store *s)
{
    cellar_remote_close(s->r);
    cellar_close(s->store);
}

static redisContext *remote_hiredis(const remote_bench *b, bool tcp)
{
    redisContext *c = tcp ? redisConnect("127.0.0.1", REMOTE_PORT) : redisConnectUnix(b->s->path);
    if (c != NULL && c->err != 0) {
        redisFree(c);
        return NULL;
    }
    return c;
}

static bool remote_do(redisContext *c, const char *format, const char *word)
{
    redisReply *r = redisCommand(c, format, word);
    const bool ok = r != NULL && r->type != REDIS_REPLY_ERROR;
    if (r != NULL) { freeReplyObject(r); }
    return ok;
}

static size_t remote_key(char key[16], uint32_t i)
{
    return (size_t)snprintf(key, 16, "key:%010u", i % REMOTE_KEYS);
}

static bool remote_fill(cellar *ns, uint32_t count)
{
    static const char value[100];
    char key[16];
    for (uint32_t i = 0; i < count; i++) {
        const size_t len = remote_key(key, i);
        if (cellar_set(ns, key, len, value, sizeof value, NULL) != CELLAR_OK) { return false; }
    }
    return true;
}

/* ---- values that only the server has ---- */

static double remote_many_ns(remote_bench *b, cellar *ns, uint64_t *bad)
{
    static char text[REMOTE_BATCH][16], value[REMOTE_BATCH][100];
    cellar_get_item item[REMOTE_BATCH];
    memset(item, 0, sizeof item);
    for (uint32_t i = 0; i < REMOTE_BATCH; i++) {
        item[i].key = text[i];
        item[i].key_len = remote_key(text[i], b->next++);
        item[i].buf = value[i];
        item[i].buf_cap = sizeof value[i];
    }
    const uint64_t from = host_wall_ns();
    (void)cellar_get_many(ns, item, REMOTE_BATCH, NULL);
    const double ns_key = (double)(host_wall_ns() - from) / REMOTE_BATCH;
    for (uint32_t i = 0; i < REMOTE_BATCH; i++) { *bad += item[i].status != CELLAR_OK; }
    return ns_key;
}

static double remote_one_ns(redisContext *c, uint32_t first, uint64_t *bad)
{
    char key[16];
    const uint64_t from = host_wall_ns();
    for (uint32_t i = 0; i < REMOTE_BATCH; i++) {
        (void)remote_key(key, first + i);
        *bad += !remote_do(c, "GET bench:shared:%s", key);
    }
    return (double)(host_wall_ns() - from) / REMOTE_BATCH;
}

static int remote_get_many_of(remote_bench *b, const char *url, bool tcp)
{
    double x[SUITE_ROUNDS_MAX];
    uint64_t bad = 0;
    remote_store s;
    redisContext *c = remote_hiredis(b, tcp);
    if (c == NULL || !remote_store_open(&s, url, 1000) ||
        !remote_fill(s.shared, REMOTE_KEYS)) {
        return CELL_WRONG;
    }
    for (uint32_t n = 0; n < b->o->rounds; n++) {
        double ns[2] = { INFINITY, INFINITY };
        for (uint32_t turn = 0; turn < 2 * REMOTE_TURNS; turn++) {
            const uint32_t side = (n ^ turn ^ turn >> 1) & 1;
            ns[side] = fmin(ns[side], side == 0 ? remote_many_ns(b, s.shared, &bad)
                                                : remote_one_ns(c, b->next, &bad));
        }
        x[n] = ns[1] / ns[0];
        host_beat();
    }
    remote_say(tcp ? "tcp" : "unix", "remote_get_many", "wall", x, b->o->rounds);
    redisFree(c);
    remote_store_close(&s);
    return bad == 0 ? CELL_OK : CELL_WRONG;
}

static int remote_get_many_unix(remote_bench *b)
{
    return remote_get_many_of(b, b->patient_url, false);
}

static int remote_get_many_tcp(remote_bench *b)
{
    char url[64];
    snprintf(url, sizeof url, "redis://127.0.0.1:%d?prefix=bench&io_ms=2000", REMOTE_PORT);
    return remote_get_many_of(b, url, true);
}

/* ---- TLS ---- */

static double remote_get_ns(remote_bench *b, cellar *ns, uint64_t *bad)
{
    char key[16], value[100];
    size_t len;
    const uint64_t from = host_wall_ns();
    for (uint32_t i = 0; i < REMOTE_BATCH; i++) {
        const size_t key_len = remote_key(key, b->next++);
        *bad += cellar_get(ns, key, key_len, value, sizeof value, &len) != CELLAR_OK;
    }
    return (double)(host_wall_ns() - from) / REMOTE_BATCH;
}

/* Time the same gets over plain TCP and over TLS, A B B A. */
static int remote_tls_bench(remote_bench *b)
{
    static const struct {
        const char *metric;
        double (*run)(remote_bench *b, cellar *ns, uint64_t *bad);
    } part[] = { { "remote_tls_get", remote_get_ns }, { "remote_tls_get_many", remote_many_ns } };
    char url[2][400];
    double x[SUITE_ROUNDS_MAX];
    uint64_t bad = 0;
    remote_store s[2];
    if (!BENCH_HAVE_TLS) {
        json_say("remote", "cellar", "tls", "skip", "built without TLS=1");
        return CELL_OK;
    }
    snprintf(url[0], sizeof url[0], "redis://127.0.0.1:%d?prefix=bench&io_ms=2000", REMOTE_PORT);
    snprintf(url[1], sizeof url[1], "rediss://127.0.0.1:%d?prefix=bench&io_ms=2000&"
             "tls_ca_file=%.250s/ca.pem", REMOTE_TLS_PORT, b->o->scratch);
    for (int i = 0; i < 2; i++) {
        if (!remote_store_open(&s[i], url[i], 1000)) { return CELL_WRONG; }
    }
    if (!remote_fill(s[0].shared, REMOTE_KEYS)) { return CELL_WRONG; }
    for (size_t p = 0; p < 2; p++) {
        for (uint32_t n = 0; n < b->o->rounds; n++) {
            double ns[2] = { INFINITY, INFINITY };
            for (uint32_t turn = 0; turn < 4 * REMOTE_TURNS; turn++) {
                const uint32_t side = (n ^ turn ^ turn >> 1) & 1;
                ns[side] = fmin(ns[side], part[p].run(b, s[side].shared, &bad));
            }
            x[n] = ns[0] / ns[1];
            host_beat();
        }
        remote_say("tls", part[p].metric, "wall", x, b->o->rounds);
    }
    for (int i = 0; i < 2; i++) { remote_store_close(&s[i]); }
    return bad == 0 ? CELL_OK : CELL_WRONG;
}

typedef struct remote_misser {
    remote_bench *b;
    cellar *ns;        /* NULL: hiredis */
    redisContext *c;
    uint32_t first, count;
    uint64_t bad;
    pthread_t thread;
} remote_misser;

static void *remote_miss_main(void *arg)
{
    remote_misser *m = arg;
    char key[16], value[100];
    for (uint32_t i = 0; i < m->count; i++) {
        const size_t len = remote_key(key, m->first + i);
        m->bad += m->ns != NULL
                      ? cellar_get(m->ns, key, len, value, sizeof value, NULL) != CELLAR_OK
                      : !remote_do(m->c, "GET bench:shared:%s", key);
    }
    return NULL;
}

/* Time threads, each over its own keys. Return keys a microsecond; 0: a call failed. */
static double remote_missers(remote_bench *b, cellar *ns, redisContext *const *c, uint32_t threads)
{
    static remote_misser m[REMOTE_THREADS];
    uint64_t bad = 0;
    const uint32_t count = 8000 / threads;
    const uint64_t from = host_wall_ns();
    for (uint32_t i = 0; i < threads; i++) {
        m[i] = (remote_misser){ .b = b, .ns = ns, .c = c[i], .first = b->next, .count = count };
        b->next += m[i].count;
        if (pthread_create(&m[i].thread, NULL, remote_miss_main, &m[i]) != 0) { return 0; }
    }
    for (uint32_t i = 0; i < threads; i++) {
        pthread_join(m[i].thread, NULL);
        bad += m[i].bad;
    }
    return bad == 0 ? threads * count * 1e3 / (double)(host_wall_ns() - from) : 0;
}

static int remote_misses_bench(remote_bench *b)
{
    double x[SUITE_ROUNDS_MAX];
    redisContext *c[REMOTE_THREADS];
    remote_store s;
    bool ok = remote_store_open(&s, b->patient_url, 1000) &&
              remote_fill(s.shared, REMOTE_KEYS);
    for (uint32_t i = 0; i < REMOTE_THREADS; i++) {
        c[i] = remote_hiredis(b, false);
        ok = ok && c[i] != NULL;
    }
    for (uint32_t k = 0; k < 3; k++) {
        static const struct { const char *shape; uint32_t threads; } of[] = {
            { "threads1", 1 }, { "threads4", 4 }, { "threads16", REMOTE_THREADS } };
        for (uint32_t n = 0; ok && n < b->o->rounds; n++) {
            const double first = remote_missers(b, n % 2 == 0 ? s.shared : NULL, c, of[k].threads);
            const double second = remote_missers(b, n % 2 == 0 ? NULL : s.shared, c, of[k].threads);
            ok = first > 0 && second > 0;
            x[n] = n % 2 == 0 ? first / second : second / first;
            host_beat();
        }
        if (ok) { remote_say(of[k].shape, "remote_misses", "wall", x, b->o->rounds); }
    }
    for (uint32_t i = 0; i < REMOTE_THREADS; i++) { redisFree(c[i]); }
    remote_store_close(&s);
    return ok ? CELL_OK : CELL_WRONG;
}

/* ---- values of 1 MiB ---- */

/* Time one get or set, of the store or of hiredis. Return ns; 0: it failed. */
static double remote_large_ns(cellar *ns, redisContext *c, uint32_t key, bool set)
{
    static char value[REMOTE_LARGE];
    char name[16];
    const int len = snprintf(name, sizeof name, "large%u", key % 4);
    const uint64_t from = host_wall_ns();
    bool ok;
    if (ns != NULL) {
        ok = CELLAR_OK == (set ? cellar_set(ns, name, (size_t)len, value, sizeof value, NULL)
                               : cellar_get(ns, name, (size_t)len, value, sizeof value, NULL));
    } else {
        redisReply *r = set ? redisCommand(c, "SET bench:%s %b", name, value, sizeof value)
                            : redisCommand(c, "GET bench:shared:%s", name);
        ok = r != NULL && r->type == (set ? REDIS_REPLY_STATUS : REDIS_REPLY_STRING);
        if (ok && !set) { memcpy(value, r->str, sizeof value); }
        freeReplyObject(r);
    }
    return ok ? (double)(host_wall_ns() - from) : 0;
}

static int remote_large_bench(remote_bench *b)
{
    double x[SUITE_ROUNDS_MAX];
    redisContext *c = remote_hiredis(b, false);
    remote_store s;
    bool ok = c != NULL && remote_store_open(&s, b->patient_url, 2);
    if (!ok) { return CELL_WRONG; }
    for (uint32_t set = 2; ok && set-- > 0;) {
        for (uint32_t n = 0; ok && n < b->o->rounds; n++) {
            double ns[2] = { INFINITY, INFINITY };
            for (uint32_t turn = 0; turn < 2 * REMOTE_TURNS; turn++) {
                const uint32_t side = turn & 1;
                const double took = remote_large_ns(side == 0 ? s.shared : NULL, c, turn / 2, set);
                ok = ok && took > 0;
                ns[side] = fmin(ns[side], took);
            }
            x[n] = ns[0] / ns[1];
            host_beat();
        }
        if (ok) { remote_say(set ? "set" : "get", "remote_large", "wall", x, b->o->rounds); }
    }
    redisFree(c);
    remote_store_close(&s);
    return ok ? CELL_OK : CELL_WRONG;
}

static server *remote_server(const cell_options *o, char port[8])
{
    static char path[108], tls_port[8], cert[300], make[400];
    snprintf(path, sizeof path, "%s/remote.%d.sock", o->scratch, (int)getpid());
    snprintf(port, 8, "%d", REMOTE_PORT);
    snprintf(tls_port, sizeof tls_port, "%d", BENCH_HAVE_TLS ? REMOTE_TLS_PORT : 0);
    snprintf(cert, sizeof cert, "%.280s/server.pem", o->scratch);
    snprintf(make, sizeof make, "sh tests/support/certificates.sh '%.280s'", o->scratch);
    if (BENCH_HAVE_TLS && system(make) != 0) { return NULL; }
    const char *const argv[] = { "redis-server", "--port", port, "--bind", "127.0.0.1",
                                 "--unixsocket", path, "--save", "", "--appendonly", "no",
                                 BENCH_HAVE_TLS ? "--tls-port" : NULL, tls_port,
                                 "--tls-cert-file", cert, "--tls-key-file", cert,
                                 "--tls-ca-cert-file", cert, "--tls-auth-clients", "no", NULL };
    return server_start(REMOTE_SERVER, (char *const *)(uintptr_t)argv, path);
}

static int remote_parts(remote_bench *b)
{
    static const struct { const char *name; int (*run)(remote_bench *b); } parts[] = {
        { "unix", remote_get_many_unix },
        { "tcp", remote_get_many_tcp }, { "tls", remote_tls_bench },
        { "threads", remote_misses_bench }, { "large", remote_large_bench },
    };
    int status = CELL_OK;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (parts[i].run(b) == CELL_OK) { continue; }
        json_say("remote", "cellar", parts[i].name, "crash", "a call failed");
        status = CELL_WRONG;
    }
    return status;
}

static int remote_run(const cell_options *o)
{
    char port[8], here[PATH_MAX];
    printf("\nremote\n");
    remote_bench b = { .o = o, .s = remote_server(o, port) };
    if (b.s == NULL || realpath(b.s->path, here) == NULL) {
        server_stop(b.s);
        json_say("remote", "redis", NULL, "skip", "no redis-server (package redis-tools)");
        return CELL_OK;
    }
    snprintf(b.unix_url, sizeof b.unix_url, "unix://%.120s?prefix=bench", here);
    snprintf(b.patient_url, sizeof b.patient_url, "%.146s&io_ms=2000", b.unix_url);
    const int status = remote_parts(&b);
    server_stop(b.s);
    return status;
}
#elif BENCH_HAVE_CELLAR
static int remote_run(const cell_options *o)
{
    (void)o;
    json_say("remote", "cellar", NULL, "skip", "built without libhiredis-dev");
    return CELL_OK;
}
#endif

SUITE_OF_LIBRARY(remote, "namespaces of many processes beside hiredis", remote_run, true);
