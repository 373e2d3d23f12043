/* SPDX-License-Identifier: MIT
 *
 * guards: load through the cache from a slow source, a failing source, and for absent keys.
 *
 * PICTURE    64 threads, one missing key, a loader of 5 ms -> 1 load, 64 values
 *            an expired value, a loader that fails         -> every get STALE, one load in 30 s
 *            100,000 absent keys, a Bloom filter           -> loads of audits, false positives
 * INVARIANTS The counts of the library are compared with the calls of this file (guards_print.c).
 * LOCKING    All counts that threads share are atomic.
 * LIMITS     64 threads with 64 KiB of stack; a fraction of a second. */
#include "cli/guards.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cellar.h"
#include "cellar_load.h"
#include "cellar_observe.h"
#include "cellar_bloom.h"
#include "cli/cli.h"
#include "cli/walk.h"

#define GUARDS_THREADS 64u
#define GUARDS_GETS 1000u
#define GUARDS_FLOOD 100000u
#define GUARDS_LIVE 20000u

typedef struct guards_source {
    cellar *c;
    _Atomic uint64_t calls, values;
    atomic_bool sick, slow;
} guards_source;

static cellar_err guards_load(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    guards_source *s = ctx;
    (void)key;
    (void)key_len;
    atomic_fetch_add(&s->calls, 1);
    if (atomic_load(&s->sick)) { return CELLAR_E_IO; }
    if (atomic_load(&s->slow)) {
        const struct timespec five_ms = { 0, 5000000 };
        nanosleep(&five_ms, NULL);
    }
    return cellar_load_value(load, "value", 5);
}

static cellar_err guards_none(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    guards_source *s = ctx;
    (void)key;
    (void)key_len;
    atomic_fetch_add(&s->calls, 1);
    return cellar_load_absent(load);
}

static void *guards_ask(void *arg)
{
    guards_source *s = arg;
    cellar_result r = cellar_result_default();
    if (cellar_get_or_load(s->c, "cold", 4, NULL, guards_load, s, &r) == CELLAR_OK &&
        r.value_len == 5 && memcmp(r.value, "value", 5) == 0) {
        atomic_fetch_add(&s->values, 1);
    }
    cellar_result_free(&r);
    return NULL;
}

static bool guards_stampede(guards_source *s, guards_result *r)
{
    pthread_t thread[GUARDS_THREADS];
    cellar_stats st = cellar_stats_default();
    atomic_store(&s->slow, true);
    uint32_t started = 0;
    for (; started < GUARDS_THREADS; started++) {
        if (pthread_create(&thread[started], NULL, guards_ask, s) != 0) { break; }
    }
    for (uint32_t i = 0; i < started; i++) { pthread_join(thread[i], NULL); }
    r->threads = started;
    atomic_store(&s->slow, false);
    (void)cellar_stats_get(s->c, CELLAR_SCOPE_NAMESPACE, &st);
    r->loads = atomic_load(&s->calls);
    r->values = atomic_load(&s->values);
    r->joined = st.loads_joined;
    return r->threads == GUARDS_THREADS;
}

static void guards_sick(guards_source *s, guards_result *r)
{
    cellar_load_opts o = cellar_load_opts_default();
    const struct timespec past_it = { 0, 3000000 };
    o.ttl_ms = 1;
    o.jitter_pct = CELLAR_OFF;
    o.stale_ms = 60000;
    cellar_result out = cellar_result_default();
    (void)cellar_get_or_load(s->c, "aged", 4, &o, guards_load, s, &out);
    cellar_result_free(&out);
    nanosleep(&past_it, NULL);
    atomic_store(&s->sick, true);
    const uint64_t before = atomic_load(&s->calls);
    for (; r->asked < GUARDS_GETS; r->asked++) {
        r->stale += cellar_get_or_load(s->c, "aged", 4, &o, guards_load, s, &out) == CELLAR_STALE;
        cellar_result_free(&out);
    }
    r->failed_loads = atomic_load(&s->calls) - before;
    atomic_store(&s->sick, false);
}

static bool guards_flood(guards_source *s, guards_result *r)
{
    cellar_bloom_info info = cellar_bloom_info_default();
    char key[32];
    bool fine = cellar_bloom_open(s->c, GUARDS_LIVE, 0) == CELLAR_OK;
    for (unsigned i = 0; i < GUARDS_LIVE && fine; i++) {
        const int n = snprintf(key, sizeof key, "user:%u", i);
        fine = cellar_set(s->c, key, (size_t)n, "here", 4, NULL) == CELLAR_OK;
    }
    fine = fine && cellar_bloom_activate(s->c, CELLAR_BLOOM_EMPTY_SOURCE) == CELLAR_OK;
    const uint64_t before = atomic_load(&s->calls);
    for (; r->flood < GUARDS_FLOOD && fine; r->flood++) {
        cellar_result out = cellar_result_default();
        const int n = snprintf(key, sizeof key, "absent:%u", (unsigned)r->flood);
        fine = cellar_get_or_load(s->c, key, (size_t)n, NULL, guards_none, s, &out) ==
               CELLAR_ABSENT;
        cellar_result_free(&out);
    }
    r->flood_loads = atomic_load(&s->calls) - before;
    (void)cellar_bloom_info_get(s->c, &info);
    r->stopped = info.rejects;
    r->audits = info.check_loads;
    return fine;
}

bool guards_run(guards_result *r)
{
    guards_source s = { 0 };
    cellar_config cfg = cellar_config_default();
    memset(r, 0, sizeof *r);
    cfg.memory_bytes = (uint64_t)16 << 20;
    if (cellar_open(&cfg, &s.c) != CELLAR_OK) { return false; }
    const uint64_t start_ns = cli_clock_ns();
    bool fine = guards_stampede(&s, r);
    r->load_ns = cli_clock_ns() - start_ns;
    guards_sick(&s, r);
    r->stale_ns = cli_clock_ns() - start_ns - r->load_ns;
    fine = guards_flood(&s, r) && fine;
    r->flood_ns = cli_clock_ns() - start_ns - r->load_ns - r->stale_ns;
    (void)cellar_close(s.c);
    return fine;
}
