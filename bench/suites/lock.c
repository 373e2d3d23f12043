/* SPDX-License-Identifier: MIT
 *
 * lock: acquire and release a free keyed lock, compared with the usual way in C.
 *
 * SUBJECTS   cellar        cellar_lock_acquire and cellar_lock_release: hold, fence, fair queue
 *            uthash_freed  one mutex over a uthash of per-key mutexes; an entry lives while it is
 *                          used: as bounded as ours, and the reference. (uthash frees its table
 *                          with the last entry; one thread alone meets that at each pair.)
 *            None of the peers has a deadline, a hold, a fence or a fair queue.
 * WALK       rounds; in each, all subjects one after the other on the same keys in the same order,
 *            every second round backwards; threads pinned, started together; ratios within a round.
 * CLOCK      both. CPU time includes neither the sleep of a mutex nor the time that the machine
 *            steals: fair with one thread, in favour of the peers with two.
 * CHECKED    a plain counter for each key is raised under its lock: their sum is that of the pairs.
 * FAIR       our keyed hash for all, computed outside the table's mutex; glibc's malloc, mutex. */
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
#include "bench/harness/host.h"
#include "cellar_lock.h"

#define LOCK_KEY_LEN 16u
#define LOCK_THREADS 2u
#define LOCK_BATCH 256u /* pairs between two looks at the clock */

typedef struct lock_entry {
    pthread_mutex_t mutex;
    uint32_t users; /* under the table's mutex */
    char key[LOCK_KEY_LEN];
    UT_hash_handle hh;
} lock_entry;

typedef struct lock_usual { /* the usual way */
    pthread_mutex_t mutex;
    lock_entry *table;
    base_hash_key hash_key;
} lock_usual;

typedef struct lock_bench {
    char (*keys)[LOCK_KEY_LEN];
    uint64_t *counters; /* a line each */
    uint32_t key_count;
    cellar_locks *ours;
    lock_usual freed;
} lock_bench;

static lock_entry *lock_enter(lock_usual *u, const char *key)
{
    const unsigned hash = (unsigned)base_hash(&u->hash_key, 0, key, LOCK_KEY_LEN);
    lock_entry *e = NULL;
    pthread_mutex_lock(&u->mutex);
    HASH_FIND_BYHASHVALUE(hh, u->table, key, LOCK_KEY_LEN, hash, e);
    if (e == NULL) {
        e = malloc(sizeof *e);
        if (e == NULL) {
            abort();
        }
        pthread_mutex_init(&e->mutex, NULL);
        memcpy(e->key, key, LOCK_KEY_LEN);
        e->users = 0;
        HASH_ADD_BYHASHVALUE(hh, u->table, key, LOCK_KEY_LEN, hash, e);
    }
    e->users++;
    pthread_mutex_unlock(&u->mutex);
    pthread_mutex_lock(&e->mutex);
    return e;
}

static void lock_exit_freed(lock_usual *u, lock_entry *e)
{
    pthread_mutex_unlock(&e->mutex);
    pthread_mutex_lock(&u->mutex);
    if (--e->users == 0) {
        HASH_DELETE(hh, u->table, e);
        pthread_mutex_destroy(&e->mutex);
        free(e);
    }
    pthread_mutex_unlock(&u->mutex);
}

typedef void lock_pair_fn(lock_bench *b, uint32_t k);

static void lock_pair_freed(lock_bench *b, uint32_t k)
{
    lock_entry *e = lock_enter(&b->freed, b->keys[k]);
    b->counters[k * 8]++;
    lock_exit_freed(&b->freed, e);
}

static void lock_pair_ours(lock_bench *b, uint32_t k)
{
    cellar_lock lk;
    if (cellar_lock_acquire(b->ours, b->keys[k], LOCK_KEY_LEN, NULL, &lk) != CELLAR_OK) {
        abort();
    }
    b->counters[k * 8]++;
    if (cellar_lock_release(b->ours, &lk) != CELLAR_OK) {
        abort();
    }
}

static const struct lock_subject {
    const char *name;
    lock_pair_fn *pair;
} lock_subjects[] = { { "cellar", lock_pair_ours },
                      { "uthash_freed", lock_pair_freed } };
#define LOCK_SUBJECTS (sizeof lock_subjects / sizeof lock_subjects[0])

typedef struct lock_worker {
    lock_bench *bench;
    lock_pair_fn *pair;
    atomic_uint *start;
    uint64_t until_ns, pairs, seed, cpu_ns;
    uint32_t index;
} lock_worker;

static void *lock_work(void *arg)
{
    lock_worker *w = arg;
    uint64_t s = w->seed, n = 0;
    host_pin(w->index);
    atomic_fetch_sub(w->start, 1);
    while (atomic_load(w->start) != 0) {
    }
    const uint64_t cpu = host_thread_cpu_ns();
    do {
        for (uint32_t i = 0; i < LOCK_BATCH; i++) {
            s = s * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            w->pair(w->bench, (uint32_t)((s >> 32) * w->bench->key_count >> 32));
        }
        n += LOCK_BATCH;
    } while (host_wall_ns() < w->until_ns);
    w->cpu_ns = host_thread_cpu_ns() - cpu;
    w->pairs = n;
    return NULL;
}

typedef enum lock_clock { LOCK_WALL, LOCK_CPU, LOCK_CLOCKS } lock_clock;

/* Millions of pairs a second of one subject, by each clock. False: a counter is wrong. */
static bool lock_window(lock_bench *b, const struct lock_subject *s, uint32_t threads,
                        uint32_t window_ms, uint64_t seed, double mops[LOCK_CLOCKS])
{
    lock_worker w[LOCK_THREADS];
    pthread_t t[LOCK_THREADS];
    atomic_uint start = threads;
    uint64_t before = 0, after = 0, pairs = 0, cpu_ns = 0;
    for (uint32_t k = 0; k < b->key_count; k++) {
        before += b->counters[k * 8];
    }
    const uint64_t begin = host_wall_ns();
    for (uint32_t i = 0; i < threads; i++) {
        w[i] = (lock_worker){ b, s->pair, &start, begin + window_ms * UINT64_C(1000000), 0,
                              seed + i * 77777, 0, i };
        if (pthread_create(&t[i], NULL, lock_work, &w[i]) != 0) {
            abort();
        }
    }
    for (uint32_t i = 0; i < threads; i++) {
        pthread_join(t[i], NULL);
        pairs += w[i].pairs;
        cpu_ns += w[i].cpu_ns;
    }
    mops[LOCK_WALL] = (double)pairs * 1e3 / (double)(host_wall_ns() - begin);
    mops[LOCK_CPU] = (double)pairs * 1e3 / (double)(cpu_ns / threads);
    for (uint32_t k = 0; k < b->key_count; k++) {
        after += b->counters[k * 8];
    }
    return after - before == pairs;
}

typedef struct lock_figures { /* of one subject */
    double value[LOCK_CLOCKS][SUITE_ROUNDS_MAX];
    double ratio[LOCK_CLOCKS][SUITE_ROUNDS_MAX]; /* ours to it, in the same round */
} lock_figures;

/* One row: `subject` alone, or ours to `vs`. */
static void lock_report(const char *shape, uint32_t threads, lock_clock clock, uint32_t subject,
                        const lock_figures *f, uint32_t rounds, const lock_figures *vs,
                        const char *vs_name, uint64_t c2c)
{
    suite_say_rate(&(suite_rate){
        .bench = "lock",
        .subject = lock_subjects[subject].name,
        .workload = shape,
        .metric = "lock_pair",
        .clock = clock == LOCK_CPU ? "cpu" : "wall",
        .unit = "Mpairs",
        .threads = threads,
        .rounds = rounds,
        .c2c_ns = c2c,
        .mops = f->value[clock],
        .vs = vs_name,
        .ratio = vs != NULL ? vs->ratio[clock] : NULL,
    });
}

static int lock_shape(const cell_options *o, lock_bench *b, const char *shape, uint32_t threads)
{
    static lock_figures of[LOCK_SUBJECTS];
    const uint64_t c2c = host_c2c_ns();
    uint32_t rounds = 0;
    for (; rounds < o->rounds && rounds < SUITE_ROUNDS_MAX; rounds++) {
        for (uint32_t i = 0; i < LOCK_SUBJECTS; i++) {
            const uint32_t s = (uint32_t)(rounds % 2 == 0 ? i : LOCK_SUBJECTS - 1 - i);
            double mops[LOCK_CLOCKS];
            if (!lock_window(b, &lock_subjects[s], threads, o->window_ms,
                             (uint64_t)rounds * 1000003, mops)) {
                json_say("lock", lock_subjects[s].name, shape, "crash", "a counter is wrong");
                return CELL_WRONG;
            }
            for (uint32_t c = 0; c < LOCK_CLOCKS; c++) {
                of[s].value[c][rounds] = mops[c];
            }
        }
        for (uint32_t s = 1; s < LOCK_SUBJECTS; s++) {
            for (uint32_t c = 0; c < LOCK_CLOCKS; c++) {
                of[s].ratio[c][rounds] = of[0].value[c][rounds] / of[s].value[c][rounds];
            }
        }
    }
    for (int c = LOCK_WALL; c < LOCK_CLOCKS; c++) {
        for (uint32_t s = 1; s < LOCK_SUBJECTS; s++) {
            lock_report(shape, threads, (lock_clock)c, 0, &of[0], rounds, &of[s],
                        lock_subjects[s].name, c2c);
            lock_report(shape, threads, (lock_clock)c, s, &of[s], rounds, NULL, NULL, c2c);
        }
    }
    return CELL_OK;
}

static int lock_keys(const cell_options *o, const char *shape, uint32_t key_count)
{
    lock_bench b = { .key_count = key_count };
    unsigned char secret[32];
    memset(secret, 7, sizeof secret);
    base_hash_key_init(&b.freed.hash_key, BASE_HASH_FOLD, secret);
    pthread_mutex_init(&b.freed.mutex, NULL);
    b.keys = malloc((size_t)key_count * LOCK_KEY_LEN);
    b.counters = calloc(key_count, 64);
    if (b.keys == NULL || b.counters == NULL || cellar_locks_open(NULL, &b.ours) != CELLAR_OK) {
        abort();
    }
    for (uint32_t k = 0; k < key_count; k++) {
        char text[LOCK_KEY_LEN + 1];
        snprintf(text, sizeof text, "lock:%011u", k);
        memcpy(b.keys[k], text, LOCK_KEY_LEN);
    }
    int status = CELL_OK;
    for (uint32_t threads = 1; threads <= LOCK_THREADS && threads <= host_cpu_count(); threads++) {
        const int s = lock_shape(o, &b, shape, threads);
        status = s > status ? s : status;
    }
    cellar_locks_close(b.ours);
    free(b.keys);
    free(b.counters);
    return status;
}

static int lock_run(const cell_options *o)
{
    printf("\nlock  (acquire + release, 16-byte keys, uniform)\n");
    int status = lock_keys(o, "lock1k", 1000);
    if (o->full) {
        const int s = lock_keys(o, "lock100k", 100000);
        status = s > status ? s : status;
    }
    return status;
}

#endif

SUITE_OF_LIBRARY(lock, "keyed locks beside a mutex over a uthash of mutexes", lock_run, false);
