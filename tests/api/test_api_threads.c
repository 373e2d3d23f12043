/* SPDX-License-Identifier: MIT
 *
 * Aim:    Updates are atomic under several writers, and so are clears during writes. Many threads open and close namespaces and stores. The maintenance thread
 *         runs at the same time.
 * Method: Short runs of 4 threads over a few keys; sums and sets must be exact. */
#include "tests/support/api_kit.h"
#include "tests/support/spaces.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

enum { THREADS = 4 };

static cellar *open_bytes(uint64_t bytes, uint32_t no_threads)
{
    cellar *c = NULL;
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = bytes, .host.no_threads = no_threads };
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    return c;
}

typedef struct job {
    cellar *c;
    int number;
    uint64_t done, lost;
} job;

static uint64_t run_all(cellar *c, void *(*fn)(void *), job jobs[THREADS])
{
    uint64_t done = 0;
    for (int i = 0; i < THREADS; i++) { jobs[i] = (job){ c, i, 0, 0 }; }
    together(THREADS, fn, jobs, sizeof jobs[0]);
    for (int i = 0; i < THREADS; i++) { done += jobs[i].done; }
    return done;
}

#define STORE(fn) T_WITH(fn, cellar *c, c, open_bytes(8u << 20, 0), api_shut(c))

static cellar_err add_one(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    uint64_t words[40]; /* all words are the same number: a torn copy shows */
    (void)ctx;
    memset(words, 0, sizeof words);
    if (old != NULL) {
        if (!T_EQ_U64(old_len, sizeof words)) { return CELLAR_E_TYPE; }
        memcpy(words, old, sizeof words);
    }
    const uint64_t now = words[0];
    for (int i = 0; i < 40; i++) {
        if (!T_EQ_U64(words[i], now)) { return CELLAR_E_CORRUPT; }
        words[i] = now + 1;
    }
    return cellar_buf_append(out, words, sizeof words);
}

static void *update_some(void *arg)
{
    job *j = arg;
    for (int i = 0; i < 5000; i++) {
        const cellar_err err = cellar_update(j->c, "u", 1, NULL, add_one, NULL);
        if (err == CELLAR_OK) {
            j->done++;
        } else if (!T_EQ_I64(err, CELLAR_E_BUSY)) {
            break;
        }
    }
    return NULL;
}

T_CASE_ON(updates_are_not_lost, STORE)
{
    job jobs[THREADS];
    uint64_t words[40] = { 0 };
    const uint64_t done = run_all(c, update_some, jobs);
    T_CHECK(done > 0);
    T_EQ_I64(cellar_get(c, "u", 1, words, sizeof words, NULL), CELLAR_OK);
    T_EQ_U64(words[0], done);
    T_EQ_U64(words[39], done);
}

/* Writers and clears. Each value is a number of its own; `ended` holds the number of clears begun
 * when its set returned. A read after one more returned clear must not see the value. */
enum { VALUES = 400000, CLEARS = 2000 };
#define BEST(a, b) ((a) < (uint64_t)(b) ? (a) : (uint64_t)(b))
typedef struct race {
    cellar *v;
    _Atomic uint64_t begun, done, next;
    _Atomic int stop;
    _Atomic uint32_t ended[VALUES]; /* UINT32_MAX: its set has not returned */
} race;

static void *write_values(void *arg)
{
    race *r = arg;
    while (!atomic_load(&r->stop)) {
        const uint64_t n = atomic_fetch_add(&r->next, 1);
        if (n >= VALUES) { break; }
        const char key = (char)('a' + n % 4);
        cellar_set_item item = { &key, 1, &n, sizeof n, CELLAR_OK, 0 };
        cellar_err err;
        if (n % 5 == 0) {
            T_EQ_I64(cellar_set_many(r->v, &item, 1, NULL, NULL), CELLAR_OK);
            err = item.status;
        } else {
            err = cellar_set(r->v, &key, 1, &n, sizeof n, NULL);
        }
        T_CHECK(err == CELLAR_OK || err == CELLAR_E_BUSY);
        atomic_store(&r->ended[n], (uint32_t)atomic_load(&r->begun));
        err = cellar_increment(r->v, "counter", 7, 1, 0, NULL, NULL); /* meets the same clears */
        T_CHECK(err == CELLAR_OK || err == CELLAR_E_BUSY);
    }
    return NULL;
}

static void *clear_often(void *arg)
{
    race *r = arg;
    for (int i = 0; i < CLEARS; i++) {
        /* Writers continue between two clears, however few processors there are. Otherwise all
         * clears may be over before the first set. */
        const uint64_t seen = atomic_load(&r->next);
        while (atomic_load(&r->next) < BEST(seen + 2, VALUES)) { sched_yield(); }
        atomic_fetch_add(&r->begun, 1);
        T_EQ_I64(cellar_clear(r->v), CELLAR_OK);
        atomic_fetch_add(&r->done, 1);
    }
    atomic_store(&r->stop, 1);
    return NULL;
}

static void *read_values(void *arg)
{
    race *r = arg;
    for (uint64_t i = 0; !atomic_load(&r->stop); i++) {
        const uint64_t floor = atomic_load(&r->done);
        const char key = (char)('a' + i % 4);
        uint64_t n = 0;
        if (cellar_get(r->v, &key, 1, &n, sizeof n, NULL) != CELLAR_OK) { continue; }
        if (!T_CHECK(atomic_load(&r->ended[n]) >= floor)) { break; }
    }
    return NULL;
}

T_CASE_ON(clear_during_writes_hides_old_values, STORE)
{
    race *r = calloc(1, sizeof *r);
    pthread_t t[4];
    T_REQUIRE(r != NULL);
    for (int i = 0; i < VALUES; i++) { atomic_store(&r->ended[i], UINT32_MAX); }
    r->v = space_of(c, "v");
    T_REQUIRE(pthread_create(&t[0], NULL, write_values, r) == 0);
    T_REQUIRE(pthread_create(&t[1], NULL, write_values, r) == 0);
    T_REQUIRE(pthread_create(&t[2], NULL, read_values, r) == 0);
    T_REQUIRE(pthread_create(&t[3], NULL, clear_often, r) == 0);
    for (int i = 0; i < 4; i++) { pthread_join(t[i], NULL); }
    T_CHECK(atomic_load(&r->next) >= CLEARS);
    T_EQ_I64(cellar_clear(r->v), CELLAR_OK);
    T_EQ_I64(cellar_contains(r->v, "a", 1), CELLAR_MISS);
    close_now(r->v);
    free(r);
}

/* ---- namespaces and stores of many threads ---- */

static void *open_namespaces(void *arg)
{
    job *j = arg;
    for (unsigned i = 0; i < 400; i++) {
        const char *name = t_numbered("v", i % 40);
        cellar *v;
        const cellar_err err = cellar_namespace_open(j->c, name, NULL, &v);
        if (!T_EQ_I64(err, CELLAR_OK)) { break; }
        T_EQ_I64(cellar_set(v, "k", 1, name, strlen(name), NULL), CELLAR_OK);
        char buf[16];
        size_t len;
        if (cellar_get(v, "k", 1, buf, sizeof buf, &len) == CELLAR_OK) {
            T_EQ_U64(len, strlen(name));
            T_EQ_MEM(buf, name, len);
        }
        if (i % 7 == 0) { (void)cellar_clear(v); }
        T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    }
    return NULL;
}

T_CASE_ON(concurrent_namespace_opens_and_closes_work, STORE)
{
    job jobs[THREADS];
    (void)run_all(c, open_namespaces, jobs);
}

static void *open_stores(void *arg)
{
    job *j = arg;
    for (int i = 0; i < 25; i++) {
        cellar *c = open_bytes(1u << 20, (uint32_t)(i % 2)), *v;
        T_EQ_I64(cellar_namespace_open(c, "v", NULL, &v), CELLAR_OK);
        T_EQ_I64(cellar_set(v, &i, sizeof i, "x", 1, NULL), CELLAR_OK);
        T_EQ_I64(cellar_close(c), CELLAR_OK);
        T_EQ_I64(cellar_contains(v, &i, sizeof i), CELLAR_E_CLOSED);
        T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
        j->done++;
    }
    return NULL;
}

T_CASE(concurrent_store_opens_and_closes_work)
{
    job jobs[THREADS];
    T_EQ_U64(run_all(NULL, open_stores, jobs), THREADS * 25);
}

T_CASE(maintenance_thread_reclaims_expired_entries_without_traffic)
{
    cellar *c = closed_later(open_bytes(32u << 20, 0));
    for (int i = 0; i < 100000; i++) {
        T_EQ_I64(cellar_set(c, &i, sizeof i, "0123456789", 10, SET_OPTS(.ttl_ms = 100)), CELLAR_OK);
    }
    int waited_ms = 0;
    do { /* the bound is 2 s; a slow machine gets more time, a broken one never ends */
        usleep(20000);
        waited_ms += 20;
    } while (store_stats(c).entries != 0 && waited_ms < 40000);
    T_EQ_U64(store_stats(c).entries, 0);
    T_EQ_U64(api_expired(c), 100000);
    printf("# 100,000 due entries were gone %d ms after the last set\n", waited_ms);
}

/* ---- pins of ended threads ---- */

enum { PINS_MOST = 3072 };

typedef struct pinner {
    cellar *c;
    cellar_pinned *pin;
    uint32_t pins, want;
    cellar_err err;
} pinner;

static void *pin_and_end(void *arg)
{
    pinner *p = arg;
    for (uint32_t i = 0; i < p->want && p->err == CELLAR_OK; i++) {
        p->err = cellar_pin(p->c, "k", 1, &p->pin[p->pins]);
        p->pins += p->err == CELLAR_OK;
    }
    return NULL;
}

/* As the contract says: 192 pins on up to 4 processors, twice as many with each doubling. Threads
 * that have ended hold them until another thread unpins. */
T_CASE(pins_of_ended_threads_stay_until_unpinned)
{
    static cellar_pinned pin[PINS_MOST + 1];
    cellar *c = closed_later(open_bytes(8 << 20, 1));
    pinner p = { .c = c, .pin = pin, .want = 64 };
    char part[4];
    size_t len;
    cellar_pinned one;
    T_EQ_I64(cellar_set(c, "k", 1, "value", 5, NULL), CELLAR_OK);
    while (p.err == CELLAR_OK && p.pins <= PINS_MOST) {
        together(1, pin_and_end, &p, sizeof p);
    }
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t want = 192;
    for (long n = 4; n < processors && want < PINS_MOST; n *= 2) { want *= 2; }
    T_FIELDS(p, err, CELLAR_E_LIMIT, pins, want);
    T_EQ_I64(cellar_pin(c, "k", 1, &one), CELLAR_E_LIMIT);
    T_EQ_I64(cellar_get_range(c, "k", 1, 0, part, sizeof part, &len), CELLAR_E_LIMIT);
    T_EQ_I64(cellar_delete(c, "k", 1), CELLAR_OK);
    for (uint32_t i = 0; i < p.pins; i++) {
        T_EQ_MEM(pin[i].value, "value", 5);
        cellar_unpin(&pin[i]);
    }
    T_EQ_I64(cellar_set(c, "k", 1, "again", 5, NULL), CELLAR_OK);
    p = (pinner){ .c = c, .pin = pin, .want = want };
    (void)pin_and_end(&p);
    T_EQ_U64(p.pins, want); /* none is lost */
    for (uint32_t i = 0; i < p.pins; i++) { cellar_unpin(&pin[i]); }
}

T_MAIN("api_threads")
