/* SPDX-License-Identifier: MIT
 *
 * limits: 8 threads check one key of two limiters; count the admissions of each second.
 *
 * PICTURE    thread: 256 checks of the token bucket | 256 checks of the sliding log | again
 *            stamps of all threads -> sort -> a window of one second that ends at each -> most
 * INVARIANTS A stamp is the clock reading that decided the check. Windows are (t - 1 s, t], half
 *            open as in the limiters: two admissions exactly a second apart are in two windows.
 * LOCKING    A worker writes its own limits_worker only. The main thread reads it after the join.
 * LIMITS     1.2 s: longer than one window, so that the second window begins. */
#include "cli/limits.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cellar.h"
#include "cellar_limit.h"
#include "cli/walk.h"

#define LIMITS_THREADS 8u
#define LIMITS_LIMIT 1000u
#define LIMITS_BURST 100u
#define LIMITS_RUN_NS 1200000000u
#define LIMITS_BATCH 256u
#define LIMITS_STAMPS 8192u /* of one thread and limiter; all threads together get at most 2,200 */

typedef struct limits_worker {
    cellar_limiter **limiter; /* LIMITS_KINDS */
    uint64_t until_ns;
    pthread_t thread;
    uint64_t checks[LIMITS_KINDS], spent_ns[LIMITS_KINDS], odd[LIMITS_KINDS];
    uint64_t count[LIMITS_KINDS];
    uint64_t stamp[LIMITS_KINDS][LIMITS_STAMPS]; /* now_ns of each admission */
} limits_worker;

static uint64_t limits_cpu_ns(void)
{
    struct timespec t = { 0, 0 };
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void limits_batch(limits_worker *w, int kind)
{
    const uint64_t start = limits_cpu_ns();
    for (uint32_t i = 0; i < LIMITS_BATCH; i++) {
        cellar_limiter_result r;
        const cellar_err err = cellar_limiter_check(w->limiter[kind], "one key", 7, 1, &r);
        if (err == CELLAR_OK && w->count[kind] < LIMITS_STAMPS) {
            w->stamp[kind][w->count[kind]++] = r.now_ns;
        } else if (err != CELLAR_LIMITED) {
            w->odd[kind]++;
        }
    }
    w->spent_ns[kind] += limits_cpu_ns() - start;
    w->checks[kind] += LIMITS_BATCH;
}

static void *limits_work(void *arg)
{
    limits_worker *w = arg;
    while (cli_clock_ns() < w->until_ns) {
        for (int kind = 0; kind < LIMITS_KINDS; kind++) { limits_batch(w, kind); }
    }
    return NULL;
}

static int limits_order(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Return the most stamps in (t - 1 s, t] for any t. `stamp` is sorted. */
static uint64_t limits_most(const uint64_t *stamp, size_t count)
{
    uint64_t most = 0;
    for (size_t first = 0, last = 0; last < count; last++) {
        while (stamp[last] - stamp[first] >= CELLAR_SECOND_NS) { first++; }
        if (last - first + 1 > most) { most = last - first + 1; }
    }
    return most;
}

/* Sum the counts and stamps of the workers into `out`. `all` has room for every stamp. */
static void limits_sum(const limits_worker *w, uint64_t *all, limits_report *out)
{
    for (int kind = 0; kind < LIMITS_KINDS; kind++) {
        limits_figures *f = &out->of[kind];
        uint64_t spent_ns = 0;
        size_t count = 0;
        for (uint32_t i = 0; i < out->threads; i++) {
            memcpy(&all[count], w[i].stamp[kind], w[i].count[kind] * sizeof all[0]);
            count += w[i].count[kind];
            f->checks += w[i].checks[kind];
            f->odd += w[i].odd[kind];
            spent_ns += w[i].spent_ns[kind];
        }
        qsort(all, count, sizeof all[0], limits_order);
        f->admitted = count;
        f->most = limits_most(all, count);
        f->check_ns = f->checks != 0 ? spent_ns / f->checks : 0;
    }
}

static bool limits_threads(limits_worker *w, cellar_limiter **limiter, limits_report *out)
{
    const uint64_t start_ns = cli_clock_ns();
    out->threads = 0;
    for (uint32_t i = 0; i < LIMITS_THREADS; i++) {
        w[i].limiter = limiter;
        w[i].until_ns = start_ns + LIMITS_RUN_NS;
        if (pthread_create(&w[i].thread, NULL, limits_work, &w[i]) != 0) { break; }
        out->threads++;
    }
    for (uint32_t i = 0; i < out->threads; i++) { (void)pthread_join(w[i].thread, NULL); }
    out->elapsed_ns = cli_clock_ns() - start_ns;
    return out->threads == LIMITS_THREADS;
}

bool limits_run(limits_report *out)
{
    memset(out, 0, sizeof *out);
    out->limit = LIMITS_LIMIT;
    out->of[0].name = "strict token bucket";
    out->of[1].name = "sliding log";
    const cellar_rule rule[LIMITS_KINDS] = {
        cellar_rule_token_bucket_strict(LIMITS_LIMIT, CELLAR_SECOND_NS, LIMITS_BURST),
        cellar_rule_sliding_log(LIMITS_LIMIT, CELLAR_SECOND_NS),
    };
    cellar_limiter *limiter[LIMITS_KINDS] = { NULL, NULL };
    limits_worker *w = calloc(LIMITS_THREADS, sizeof *w);
    uint64_t *all = malloc(LIMITS_THREADS * LIMITS_STAMPS * sizeof *all);
    bool fine = w != NULL && all != NULL;
    for (int kind = 0; kind < LIMITS_KINDS && fine; kind++) {
        fine = cellar_limiter_open(NULL, &rule[kind], 1, &limiter[kind]) == CELLAR_OK;
    }
    fine = fine && limits_threads(w, limiter, out);
    if (fine) { limits_sum(w, all, out); }
    for (int kind = 0; kind < LIMITS_KINDS; kind++) { cellar_limiter_close(limiter[kind]); }
    free(all);
    free(w);
    return fine;
}

uint64_t limits_findings(const limits_report *r)
{
    uint64_t n = 0;
    for (int kind = 0; kind < LIMITS_KINDS; kind++) {
        const limits_figures *f = &r->of[kind];
        n += (uint64_t)(f->most > r->limit) + (f->odd > 0) + (f->admitted == 0);
    }
    return n;
}

void limits_print(const limits_report *r)
{
    char a[CLI_TEXT], b[CLI_TEXT], c[CLI_TEXT], d[CLI_TEXT];
    printf("\nrate limits: %u threads, one key, limit %s a second, for %s\n", (unsigned)r->threads,
           cli_count(a, r->limit), cli_duration(b, r->elapsed_ns));
    for (int kind = 0; kind < LIMITS_KINDS; kind++) {
        const limits_figures *f = &r->of[kind];
        printf("%-20s  %s checks, %s admitted, at most %s in any second, %s a check\n", f->name,
               cli_count(a, f->checks), cli_count(b, f->admitted), cli_count(c, f->most),
               cli_duration(d, f->check_ns));
        if (f->most > r->limit || f->odd > 0 || f->admitted == 0) {
            printf("FINDING %s: %llu admitted in a second, limit %llu; %llu wrong codes\n", f->name,
                   (unsigned long long)f->most, (unsigned long long)r->limit,
                   (unsigned long long)f->odd);
        }
    }
}

void limits_print_json(const limits_report *r)
{
    for (int kind = 0; kind < LIMITS_KINDS; kind++) {
        const limits_figures *f = &r->of[kind];
        printf("{\"limiter\":\"%s\",\"threads\":%u,\"limit_a_second\":%llu,"
               "\"elapsed_ns\":%llu,\"checks\":%llu,\"admitted\":%llu,"
               "\"most_in_a_second\":%llu,\"check_ns\":%llu,\"wrong_codes\":%llu}\n",
               f->name, (unsigned)r->threads, (unsigned long long)r->limit,
               (unsigned long long)r->elapsed_ns, (unsigned long long)f->checks,
               (unsigned long long)f->admitted, (unsigned long long)f->most,
               (unsigned long long)f->check_ns, (unsigned long long)f->odd);
    }
}
