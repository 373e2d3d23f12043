/* SPDX-License-Identifier: MIT
 *
 * stampede: many threads get one cold key; how often is it loaded, and when has the last thread it?
 *
 * WALK       For each subject, rounds with a fresh key, the first ten unrecorded: 64 threads start
 *            together, each gets the key through the cache's own loading call, if any; a loader
 *            takes 1 ms. A subject without such a call does what its users do: get, on a miss load,
 *            set. Peers of other languages run the same by `stampede` (Node with 64 promises
 *            instead of threads).
 * FIGURES    load_calls    loader calls for one cold key; a single flight promises 1
 *            load_last_us  from the end of the load to the last thread having the value
 * NOTE       Starting 64 threads on few processors takes longer than the load: the last of them may
 *            start after the load; best and quartiles say more than worst. */
#include "bench/suites/suite.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/harness/driver.h"
#include "bench/harness/host.h"
#include "bench/harness/json.h"
#include "bench/harness/verify.h"

#define STAMPEDE_THREADS 64u
#define STAMPEDE_VALUE 100u
#define STAMPEDE_ROUNDS_MAX 64u
#define STAMPEDE_WARM 10u /* rounds before the first that counts: compilers, pools of threads */
#define STAMPEDE_LOAD_NS 1000000

typedef struct stampede_run {
    const bench_subject *subject;
    void *store;
    uint64_t id;
    pthread_barrier_t line;
    atomic_uint calls, bad;
    _Atomic uint64_t loaded_ns, last_ns; /* loaded: when the first loader had the value */
} stampede_run;

static size_t stampede_load(void *ctx, void *value, size_t cap)
{
    stampede_run *r = ctx;
    const struct timespec wait = { 0, STAMPEDE_LOAD_NS };
    uint64_t none = 0;
    atomic_fetch_add(&r->calls, 1);
    nanosleep(&wait, NULL);
    if (cap < STAMPEDE_VALUE) {
        return 0;
    }
    verify_fill(value, STAMPEDE_VALUE);
    verify_stamp(value, STAMPEDE_VALUE, r->id);
    atomic_compare_exchange_strong(&r->loaded_ns, &none, host_wall_ns());
    return STAMPEDE_VALUE;
}

/* As users of a store without a loading call write it. */
static int stampede_by_hand(stampede_run *r, const void *key, void *buf, size_t cap, size_t *len)
{
    const int answer = r->subject->get(r->store, key, 16, buf, cap, len);
    if (answer != 0) {
        return answer;
    }
    *len = stampede_load(r, buf, cap);
    return r->subject->set(r->store, key, 16, buf, *len, 0) == 0 ? 1 : -1;
}

static void *stampede_thread(void *arg)
{
    stampede_run *r = arg;
    unsigned char key[VERIFY_KEY_MAX], buf[2 * STAMPEDE_VALUE];
    size_t len = 0;
    verify_make_key(key, r->id, 16);
    pthread_barrier_wait(&r->line);
    const int answer = r->subject->load != NULL
                           ? r->subject->load(r->store, key, 16, stampede_load, r, buf, sizeof buf, &len)
                           : stampede_by_hand(r, key, buf, sizeof buf, &len);
    const uint64_t now = host_wall_ns();
    uint64_t last = atomic_load(&r->last_ns);
    while (now > last && !atomic_compare_exchange_weak(&r->last_ns, &last, now)) {
    }
    if (answer != 1 || !verify_value(buf, len, r->id, STAMPEDE_VALUE)) {
        atomic_fetch_add(&r->bad, 1);
    }
    return NULL;
}

static bool stampede_round(stampede_run *r, double *calls, double *last_us)
{
    pthread_t thread[STAMPEDE_THREADS];
    pthread_attr_t attr;
    atomic_store(&r->calls, 0);
    atomic_store(&r->loaded_ns, 0);
    atomic_store(&r->last_ns, 0);
    pthread_barrier_init(&r->line, NULL, STAMPEDE_THREADS);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, (size_t)128 << 10);
    for (uint32_t i = 0; i < STAMPEDE_THREADS; i++) {
        if (pthread_create(&thread[i], &attr, stampede_thread, r) != 0) {
            return false; /* in a child: waiting threads end with it */
        }
    }
    for (uint32_t i = 0; i < STAMPEDE_THREADS; i++) {
        pthread_join(thread[i], NULL);
    }
    pthread_attr_destroy(&attr);
    pthread_barrier_destroy(&r->line);
    *calls = atomic_load(&r->calls);
    *last_us = (double)(atomic_load(&r->last_ns) - atomic_load(&r->loaded_ns)) / 1e3;
    return true;
}

static void stampede_say(const char *name, double *calls, double *last, uint32_t rounds,
                         const char *note)
{
    suite_say("stampede", name, "stampede64", "load_calls", calls, rounds, "wall", note);
    suite_say("stampede", name, "stampede64", "load_last_us", last, rounds, "wall", note);
}

static int stampede_here(const bench_subject *s, uint32_t rounds)
{
    double calls[STAMPEDE_ROUNDS_MAX], last[STAMPEDE_ROUNDS_MAX];
    stampede_run r = { .subject = s };
    bench_cfg cfg = { .key_count = 1u << 20, .hint_entries = 10000, .key_len = 16,
                      .value_len = STAMPEDE_VALUE, .threads = STAMPEDE_THREADS, .seed = 7,
                      .payload_bytes = 10000 * (16 + STAMPEDE_VALUE) };
    r.store = s->open(&cfg);
    for (uint32_t i = 0; i < STAMPEDE_WARM + rounds && r.store != NULL; i++) {
        r.id = i;
        const uint32_t at = i < STAMPEDE_WARM ? 0 : i - STAMPEDE_WARM;
        if (!stampede_round(&r, &calls[at], &last[at])) {
            json_say("stampede", s->name, "stampede64", "skip", "threads cannot be started");
            return CELL_OK;
        }
    }
    if (r.store == NULL) {
        json_say("stampede", s->name, "stampede64", "skip", "cannot be opened");
        return CELL_OK;
    }
    const bool bad = atomic_load(&r.bad) > 0;
    stampede_say(s->name, calls, last, rounds,
                 bad ? "wrong values" : s->load == NULL ? "no loading call" : NULL);
    s->close(r.store);
    return bad ? CELL_WRONG : CELL_OK;
}

static int stampede_there(const bench_subject *s, uint32_t rounds)
{
    double calls[STAMPEDE_WARM + STAMPEDE_ROUNDS_MAX], last[STAMPEDE_WARM + STAMPEDE_ROUNDS_MAX];
    const uint32_t all = STAMPEDE_WARM + rounds;
    char command[64], why[256];
    bench_driver *d = driver_start(s->driver, why, sizeof why);
    snprintf(command, sizeof command, "stampede %u %u %u", STAMPEDE_THREADS, all,
             STAMPEDE_LOAD_NS / 1000000);
    if (d == NULL || !driver_ask(d, driver_most(60000), command)) {
        const char *said = d == NULL ? why : driver_trouble(d);
        json_say("stampede", s->name, "stampede64",
                 d == NULL || driver_alive(d) ? "skip" : driver_kind(said), said);
        const bool dead = d != NULL && !driver_alive(d);
        driver_stop(d);
        return dead ? CELL_WRONG : CELL_OK;
    }
    const uint32_t n = driver_list(d, "calls", calls, all);
    const bool bad = driver_number(d, "bad") > 0;
    if (driver_list(d, "last_us", last, all) == n && n == all) {
        stampede_say(s->name, calls + STAMPEDE_WARM, last + STAMPEDE_WARM, rounds,
                     bad ? "wrong values" : NULL);
    }
    driver_stop(d);
    return bad ? CELL_WRONG : CELL_OK;
}

static int stampede_run_suite(const cell_options *o)
{
    const uint32_t rounds = o->rounds < STAMPEDE_ROUNDS_MAX ? o->rounds : STAMPEDE_ROUNDS_MAX;
    int worst = CELL_OK;
    printf("\nstampede  (%u threads, one cold key, a loader of 1 ms)\n", STAMPEDE_THREADS);
    for (size_t i = 0; i < bench_registry_count; i++) {
        const bench_subject *s = bench_registry[i].subject;
        const bool fit = s != NULL && (s->driver != NULL ? (s->caps & BENCH_LOAD) != 0
                                                         : (s->caps & BENCH_BOUNDED) != 0);
        if (!fit || (s->driver == NULL && strcmp(s->semantics, "remote") == 0) ||
            !cell_chosen(o, NULL, s->name)) {
            continue;
        }
        const int status = s->driver != NULL ? stampede_there(s, rounds) : stampede_here(s, rounds);
        worst = status > worst ? status : worst;
    }
    return worst;
}

const bench_suite suite_stampede = { "stampede", "64 threads, one cold key: loads, last waiter",
                                     stampede_run_suite, NULL, NULL, true, false, 0 };
