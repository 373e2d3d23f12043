/* SPDX-License-Identifier: MIT
 *
 * limit: one check of a rate limiter, compared with the usual way in C and governor.
 *
 * SUBJECTS   cellar     cellar_limiter_check, one token bucket, defaults
 *            cellar_at  cellar_limiter_check_with, a reading made once in 256 checks
 *            uthash     one mutex over a uthash of fixed windows: count and second; never shrinks
 *            governor   keyed token bucket of the Rust crate, Strings in a DashMap (driver)
 * DRIVER     a process that times its own windows (build/bench/peers/governor, made by bench-peers): a
 *            line on stdin, a line of JSON back. If it is missing, it is a skip line, no figure; if
 *            it crashes, hangs or denies a check, it is a row, and the others go on.
 * WALK       rounds; in each, all subjects on the same keys in the same order, every second round
 *            backwards; ratios within a round. No quota is ever reached: every check admits.
 * CLOCK      both, as suite lock; CPU time does not include time that the machine steals.
 * BYTES      Keys are put into a limiter of 16 MiB until a new key evicts a key in use (or 2 % of
 *            them do): max_bytes by the keys that it holds then. */
#include "bench/suites/suite.h"

#include "bench/harness/json.h"

#if BENCH_HAVE_CELLAR
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#define HASH_FUNCTION(keyptr, keylen, hashv) \
    _Static_assert(0, "use the _BYHASHVALUE forms with the keyed hash")
#include <uthash.h>

#include "base/hash.h"
#include "bench/harness/driver.h"
#include "bench/harness/host.h"
#include "cellar.h"
#include "cellar_limit.h"

#define LIMIT_BENCH_KEY 16u
#define LIMIT_BENCH_THREADS 2u
#define LIMIT_BENCH_BATCH 256u
#define LIMIT_BENCH_RATE UINT64_C(500000000)
#ifndef LIMIT_BENCH_PART /* a test of this suite needs only a part of the keys and bytes */
#define LIMIT_BENCH_PART 1u
#endif

typedef struct limit_entry {
    char key[LIMIT_BENCH_KEY];
    uint64_t second, count;
    UT_hash_handle hh;
} limit_entry;

typedef struct limit_bench {
    char (*keys)[LIMIT_BENCH_KEY];
    uint32_t key_count;
    cellar_limiter *ours;
    pthread_mutex_t mutex; /* guards table */
    limit_entry *table;
    base_hash_key hash_key;
} limit_bench;

typedef uint64_t limit_batch_fn(limit_bench *b, uint64_t *s, uint32_t count); /* denials */

static uint32_t limit_next_key(uint64_t *s, uint32_t count)
{
    *s = *s * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((*s >> 32) * count >> 32);
}

static uint64_t limit_batch_ours(limit_bench *b, uint64_t *s, uint32_t count)
{
    uint64_t no = 0;
    for (uint32_t i = 0; i < LIMIT_BENCH_BATCH; i++) {
        const uint32_t k = limit_next_key(s, count);
        no += cellar_limiter_check(b->ours, b->keys[k], LIMIT_BENCH_KEY, 1, NULL) != CELLAR_OK;
    }
    return no;
}

static uint64_t limit_batch_at(limit_bench *b, uint64_t *s, uint32_t count)
{
    uint64_t no = 0;
    cellar_check_opts o = cellar_check_opts_default();
    o.now_ns = cellar_limiter_now(b->ours);
    for (uint32_t i = 0; i < LIMIT_BENCH_BATCH; i++) {
        const uint32_t k = limit_next_key(s, count);
        no += cellar_limiter_check_with(b->ours, b->keys[k], LIMIT_BENCH_KEY, 1, &o, NULL) !=
              CELLAR_OK;
    }
    return no;
}

static uint64_t limit_batch_uthash(limit_bench *b, uint64_t *s, uint32_t count)
{
    uint64_t no = 0;
    for (uint32_t i = 0; i < LIMIT_BENCH_BATCH; i++) {
        const char *key = b->keys[limit_next_key(s, count)];
        const unsigned hash = (unsigned)base_hash(&b->hash_key, 0, key, LIMIT_BENCH_KEY);
        const uint64_t second = host_wall_ns() / 1000000000u;
        limit_entry *e = NULL;
        pthread_mutex_lock(&b->mutex);
        HASH_FIND_BYHASHVALUE(hh, b->table, key, LIMIT_BENCH_KEY, hash, e);
        if (e == NULL) {
            e = calloc(1, sizeof *e);
            if (e == NULL) {
                abort();
            }
            memcpy(e->key, key, LIMIT_BENCH_KEY);
            HASH_ADD_BYHASHVALUE(hh, b->table, key, LIMIT_BENCH_KEY, hash, e);
        }
        if (e->second != second) {
            e->second = second;
            e->count = 0;
        }
        no += e->count++ >= LIMIT_BENCH_RATE;
        pthread_mutex_unlock(&b->mutex);
    }
    return no;
}

/* Started, with its keys known; NULL: it has stated the reason. */
static bench_driver *limit_driver_start(const char *name, uint32_t keys)
{
    char line[64], why[256];
    bench_driver *d = driver_start(name, why, sizeof why);
    snprintf(line, sizeof line, "open %u", keys);
    if (d == NULL) {
        json_say("limit", name, NULL, "skip", why);
    } else if (!driver_ask(d, driver_most(60000), line) || driver_number(d, "entries") < keys) {
        json_say("limit", name, NULL, driver_alive(d) ? "skip" : driver_kind(driver_trouble(d)),
                 driver_trouble(d));
        driver_stop(d);
        d = NULL;
    } else {
        printf("%-10s %s\n", name, driver_version(d));
    }
    return d;
}

/* ---- windows ---- */

typedef enum limit_subject_id {
    LIMIT_OURS, LIMIT_OURS_AT, LIMIT_UTHASH, LIMIT_GOVERNOR, LIMIT_SUBJECTS
} limit_subject_id;
static const char *const limit_names[] = { "cellar", "cellar_at", "uthash", "governor" };
static limit_batch_fn *const limit_batches[] = { limit_batch_ours, limit_batch_at,
                                                 limit_batch_uthash, NULL };

typedef struct limit_worker {
    limit_bench *bench;
    limit_batch_fn *batch;
    atomic_uint *start;
    uint64_t window_ns, ops, bad, seed, cpu_ns, wall_ns;
    uint32_t index, count;
} limit_worker;

static void *limit_work(void *arg)
{
    limit_worker *w = arg;
    uint64_t s = w->seed;
    host_pin(w->index);
    atomic_fetch_sub(w->start, 1);
    while (atomic_load(w->start) != 0) {
    }
    const uint64_t cpu = host_thread_cpu_ns(), begin = host_wall_ns();
    do {
        w->bad += w->batch(w->bench, &s, w->count);
        w->ops += LIMIT_BENCH_BATCH;
    } while (host_wall_ns() - begin < w->window_ns);
    w->wall_ns = host_wall_ns() - begin;
    w->cpu_ns = host_thread_cpu_ns() - cpu;
    return NULL;
}

typedef enum limit_clock { LIMIT_WALL, LIMIT_CPU, LIMIT_CLOCKS } limit_clock;

static bool limit_window_here(limit_bench *b, limit_batch_fn *batch, uint32_t threads,
                              uint32_t count, uint32_t ms, uint64_t seed, double mops[LIMIT_CLOCKS])
{
    limit_worker w[LIMIT_BENCH_THREADS];
    pthread_t t[LIMIT_BENCH_THREADS];
    atomic_uint start = threads;
    uint64_t ops = 0, cpu = 0, wall = 1, bad = 0;
    for (uint32_t i = 0; i < threads; i++) {
        w[i] = (limit_worker){ b, batch, &start, ms * UINT64_C(1000000), 0, 0, seed + i * 77777, 0,
                               0, i, count };
        if (pthread_create(&t[i], NULL, limit_work, &w[i]) != 0) {
            abort();
        }
    }
    for (uint32_t i = 0; i < threads; i++) {
        pthread_join(t[i], NULL);
        ops += w[i].ops;
        bad += w[i].bad;
        cpu += w[i].cpu_ns;
        wall = w[i].wall_ns > wall ? w[i].wall_ns : wall;
    }
    mops[LIMIT_WALL] = (double)ops * 1e3 / (double)wall;
    mops[LIMIT_CPU] = (double)ops * 1e3 / (double)(cpu / threads);
    return bad == 0;
}

static bool limit_window_there(bench_driver *d, const char *metric, uint32_t threads, uint32_t ms,
                               double mops[LIMIT_CLOCKS])
{
    char line[64];
    snprintf(line, sizeof line, "window %s %u %u", metric, threads, ms);
    if (!driver_ask(d, ms + driver_most(20000), line)) {
        return false;
    }
    const double ops = driver_number(d, "ops");
    mops[LIMIT_WALL] = ops * 1e3 / driver_number(d, "wall_ns");
    mops[LIMIT_CPU] = ops * 1e3 / (driver_number(d, "cpu_ns") / threads);
    return ops > 0 && driver_number(d, "bad") == 0;
}

typedef struct limit_figures {
    double value[LIMIT_CLOCKS][SUITE_ROUNDS_MAX];
    double ratio[LIMIT_SUBJECTS][LIMIT_CLOCKS][SUITE_ROUNDS_MAX]; /* this one to the others */
} limit_figures;

static void limit_report(const char *metric, uint32_t threads, limit_clock clock, uint32_t subject,
                         const limit_figures *f, uint32_t rounds, int vs, uint64_t c2c)
{
    suite_say_rate(&(suite_rate){
        .bench = "limit",
        .subject = limit_names[subject == LIMIT_OURS_AT ? LIMIT_OURS : subject],
        .workload = strcmp(metric, "check_hot") == 0 ? "limit_hot" : "limit100k_16",
        .metric = subject == LIMIT_OURS_AT ? "check_at" : metric,
        .clock = clock == LIMIT_CPU ? "cpu" : "wall",
        .unit = "Mchecks",
        .threads = threads,
        .rounds = rounds,
        .c2c_ns = c2c,
        .mops = f->value[clock],
        .vs = vs >= 0 ? limit_names[vs] : NULL,
        .ratio = vs >= 0 ? f->ratio[vs][clock] : NULL,
    });
}

/* A peer that ended, or denied a check within its quota: a row, and no further rows for it. */
static void limit_lose(bench_driver **peer, uint32_t s, const char *name)
{
    const bool dead = !driver_alive(*peer);
    const char *why = dead ? driver_trouble(*peer) : "a check was denied, or nothing answered";
    json_say("limit", limit_names[s], name, dead ? driver_kind(why) : "crash", why);
    driver_stop(*peer);
    *peer = NULL;
}

static int limit_shape(const cell_options *o, limit_bench *b, bench_driver **d,
                       const char *metric, uint32_t threads)
{
    static limit_figures of[LIMIT_SUBJECTS];
    const uint64_t c2c = host_c2c_ns();
    const uint32_t count = strcmp(metric, "check_hot") == 0 ? 1 : b->key_count;
    const char *name = count == 1 ? "limit_hot" : "limit100k_16";
    uint32_t rounds = 0;
    int status = CELL_OK;
    bool have[LIMIT_SUBJECTS];
    for (; rounds < o->rounds && rounds < SUITE_ROUNDS_MAX; rounds++) {
        for (uint32_t i = 0; i < LIMIT_SUBJECTS; i++) {
            const uint32_t s = rounds % 2 == 0 ? i : LIMIT_SUBJECTS - 1 - i;
            double mops[LIMIT_CLOCKS] = { 0, 0 };
            bench_driver **peer = s == LIMIT_GOVERNOR ? d : NULL;
            have[s] = peer == NULL || *peer != NULL;
            if (peer == NULL && !limit_window_here(b, limit_batches[s], threads, count,
                                                   o->window_ms,
                                                   rounds * UINT64_C(1000003), mops)) {
                json_say("limit", limit_names[s], name, "crash", "a check was denied");
                return CELL_WRONG;
            }
            if (peer != NULL && have[s] &&
                !limit_window_there(*peer, metric, threads, o->window_ms, mops)) {
                limit_lose(peer, s, name);
                have[s] = false;
                status = CELL_WRONG;
            }
            for (uint32_t c = 0; c < LIMIT_CLOCKS; c++) {
                of[s].value[c][rounds] = mops[c];
            }
        }
        for (uint32_t a = 0; a < LIMIT_SUBJECTS; a++) {
            for (uint32_t s = 0; s < LIMIT_SUBJECTS; s++) {
                for (uint32_t c = 0; c < LIMIT_CLOCKS; c++) {
                    of[a].ratio[s][c][rounds] = of[a].value[c][rounds] / of[s].value[c][rounds];
                }
            }
        }
    }
    for (int c = LIMIT_WALL; c < LIMIT_CLOCKS; c++) {
        for (uint32_t s = LIMIT_UTHASH; s < LIMIT_SUBJECTS; s++) {
            if (!have[s]) {
                continue;
            }
            limit_report(metric, threads, (limit_clock)c, LIMIT_OURS, &of[LIMIT_OURS], rounds,
                         (int)s, c2c);
            limit_report(metric, threads, (limit_clock)c, LIMIT_OURS_AT, &of[LIMIT_OURS_AT], rounds,
                         (int)s, c2c);
            limit_report(metric, threads, (limit_clock)c, s, &of[s], rounds, -1, c2c);
        }
    }
    return status;
}

/* ---- bytes a key ---- */

static uint64_t limit_clock_still(void *ctx)
{
    (void)ctx;
    return UINT64_C(1000000000000);
}

/* Keys that never expire, until so many new ones evict more than `share` / 1000 of the others. */
static double limit_bytes_a_key(uint64_t share)
{
    const uint64_t step = 10000 / LIMIT_BENCH_PART;
    cellar_limiter_config c = cellar_limiter_config_default();
    const cellar_rule rule = cellar_rule_token_bucket(1, CELLAR_DAY_NS, 10);
    cellar_limiter_stats s = cellar_limiter_stats_default();
    cellar_limiter *l;
    c.clock_ns = limit_clock_still;
    c.max_bytes = ((uint64_t)16 << 20) / LIMIT_BENCH_PART;
    c.max_overrides = UINT32_MAX;
    if (cellar_limiter_open(&c, &rule, 1, &l) != CELLAR_OK) {
        abort();
    }
    uint64_t n = 0, lost = 0, held = 0;
    for (;;) {
        for (uint64_t i = 0; i < step; i++, n++) {
            if (cellar_limiter_check(l, &n, sizeof n, 1, NULL) != CELLAR_OK) {
                abort();
            }
        }
        cellar_limiter_stats_get(l, &s);
        if ((s.live_evicted - lost) * 1000 > step * share) {
            break;
        }
        lost = s.live_evicted;
        held = s.keys;
    }
    cellar_limiter_close(l);
    return (double)s.bytes / (double)held;
}

static int limit_run_suite(const cell_options *o)
{
    limit_bench b = { .key_count = 100000 / LIMIT_BENCH_PART };
    unsigned char secret[32];
    const cellar_rule rule =
        cellar_rule_token_bucket(LIMIT_BENCH_RATE, CELLAR_SECOND_NS, LIMIT_BENCH_RATE);
    int status = CELL_OK;
    printf("\nlimit  (one check, 16-byte keys, uniform over %u, or one hot key)\n", b.key_count);
    memset(secret, 7, sizeof secret);
    base_hash_key_init(&b.hash_key, BASE_HASH_FOLD, secret);
    pthread_mutex_init(&b.mutex, NULL);
    b.keys = malloc((size_t)b.key_count * LIMIT_BENCH_KEY);
    if (b.keys == NULL || cellar_limiter_open(NULL, &rule, 1, &b.ours) != CELLAR_OK) {
        abort();
    }
    for (uint32_t k = 0; k < b.key_count; k++) {
        char text[LIMIT_BENCH_KEY + 1];
        snprintf(text, sizeof text, "user:%011u", k);
        memcpy(b.keys[k], text, LIMIT_BENCH_KEY);
        (void)cellar_limiter_check(b.ours, b.keys[k], LIMIT_BENCH_KEY, 1, NULL);
    }
    bench_driver *d = limit_driver_start("governor", b.key_count);
    for (uint32_t threads = 1; threads <= LIMIT_BENCH_THREADS && threads <= host_cpu_count();
         threads++) {
        for (int hot = 0; hot < 2; hot++) {
            const int s = limit_shape(o, &b, &d, hot != 0 ? "check_hot" : "check", threads);
            status = s > status ? s : status;
        }
    }
    driver_stop(d);
    double bytes = limit_bytes_a_key(0);
    suite_say("limit", "cellar", "limit_fill_lossless", "limit_key_bytes", &bytes, 1, NULL, NULL);
    bytes = limit_bytes_a_key(20);
    suite_say("limit", "cellar", "limit_fill_2pct", "limit_key_bytes", &bytes, 1, NULL, NULL);
    cellar_limiter_close(b.ours);
    limit_entry *e, *next;
    HASH_ITER(hh, b.table, e, next) {
        HASH_DELETE(hh, b.table, e);
        free(e);
    }
    free(b.keys);
    return status;
}
#endif

SUITE_OF_LIBRARY(limit, "rate limiters beside governor and uthash", limit_run_suite,
                 false);
