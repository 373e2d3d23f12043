/* SPDX-License-Identifier: MIT
 *
 * compare: two builds of the library in one process, the same calls in turns, a verdict for each
 * row. `make bench-compare A=COMMIT B=COMMIT` builds both and calls it.
 *
 * PICTURE    repetition: open A and B (the other one first each time), fill both
 *                        row: A B A B (next repetition: B A B A)   windows of equal calls;
 *                        each follows one of the other side, which has filled the caches
 *            ratio of a repetition: the smaller CPU time of B's windows / that of A's; the unit
 *            of the statistics is the mean of two repetitions, which cancels what the order does
 *            verdict: the logarithms of the ratios, their centre and an interval of it
 * INVARIANTS Both sides get the same keys and draw the same random bytes (getrandom is replaced):
 *            both hash, collide and evict alike. No huge pages: a store gets them at another moment
 *            in each repetition, or not at all, which is 5 % of a row.
 * VERDICT    Centre: the median of the means of all pairs of units (Hodges and Lehmann). Interval:
 *            that of the signed-rank test, 99.9 %. The test asks that ratios of equal builds are
 *            symmetric, and the alternating order makes them so. B is slower if the interval lies
 *            above 1.01 and the centre above 1.02, faster likewise; "same" if the centre is within
 *            2 % and the interval within 5 %; else "unclear": more repetitions.
 * PLANT      --plant=P: 64 calls of B are followed by work of P percent of their cost on A; a check
 *            of this program. --busy: both sides are a loop of integers, so that on a loaded
 *            machine the statistics alone are checked.
 * EXIT       0 measured, 1 a library or a store cannot be opened, 2 usage. */
#include <dlfcn.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <time.h>

#include "bench/compare/side.h"
#include "bench/harness/verify.h"

#define COMPARE_REPS_MAX 1000
#define COMPARE_REPS_LEAST 28 /* fewer have no interval of 99.9 % */
#define COMPARE_VALUE_MAX 4096
#define COMPARE_MISS UINT64_C(0x40000000) /* ids from here on are never stored */

enum { COMPARE_GET, COMPARE_ABSENT, COMPARE_SET, COMPARE_DELETE, COMPARE_THROUGH };

typedef struct compare_kind {
    const char *name;
    uint64_t bytes, entries, keys;
    size_t value_len;
} compare_kind;

static const compare_kind compare_kinds[] = {
    { "1k", 16 << 20, 0, 1000, 100 },      /* in the caches of the processor */
    { "200k", 128 << 20, 0, 200000, 100 }, /* in memory */
    { "full", 4 << 20, 0, 100000, 100 },   /* evicts */
    { "4K", 32 << 20, 0, 2000, 4096 },
};

typedef struct compare_row {
    const char *name;
    uint32_t kind, op, set_pct, threads;
} compare_row;

static const compare_row compare_rows[] = {
    { "get", 0, COMPARE_GET, 0, 1 },          { "absent", 0, COMPARE_ABSENT, 0, 1 },
    { "set", 0, COMPARE_SET, 100, 1 },        { "95:5", 0, COMPARE_GET, 5, 1 },
    { "50:50", 0, COMPARE_GET, 50, 1 },       { "delete+set", 0, COMPARE_DELETE, 0, 1 },
    { "get", 0, COMPARE_GET, 0, 2 },          { "95:5", 0, COMPARE_GET, 5, 2 },
    { "get", 1, COMPARE_GET, 0, 1 },          { "absent", 1, COMPARE_ABSENT, 0, 1 },
    { "set", 1, COMPARE_SET, 100, 1 },        { "95:5", 1, COMPARE_GET, 5, 1 },
    { "50:50", 1, COMPARE_GET, 50, 1 },       { "delete+set", 1, COMPARE_DELETE, 0, 1 },
    { "set", 2, COMPARE_SET, 100, 1 },        { "read-through", 2, COMPARE_THROUGH, 0, 1 },
    { "read-through", 2, COMPARE_THROUGH, 0, 2 }, { "get", 3, COMPARE_GET, 0, 1 },
    { "set", 3, COMPARE_SET, 100, 1 },        { "50:50", 3, COMPARE_GET, 50, 1 },
};
#define COMPARE_ROWS (sizeof compare_rows / sizeof compare_rows[0])

typedef struct compare_run {
    const compare_side *side[2];
    void *store[2];
    const compare_row *row;
    uint32_t reps;
    double plant, window_us;      /* percent; CPU time of one window */
    uint64_t calls[COMPARE_ROWS]; /* of one window; measured once, on A */
    uint64_t spin[COMPARE_ROWS];  /* steps of planted work behind 64 calls of B */
} compare_run;

typedef struct compare_job {
    const compare_run *run;
    uint32_t side, thread;
    uint64_t calls, spin, seed, cpu_ns;
} compare_job;

static uint64_t compare_cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

static uint64_t compare_spin(uint64_t steps, uint64_t x)
{
    for (uint64_t i = 0; i < steps; i++) {
        x = verify_mix64(x);
        __asm__ volatile("" : "+r"(x));
    }
    return x;
}

/* One call; `draw` chooses its key and whether it sets. */
static void compare_call(const compare_run *r, uint32_t side, uint64_t draw, unsigned char *buf)
{
    const compare_side *s = r->side[side];
    const compare_kind *k = &compare_kinds[r->row->kind];
    unsigned char key[VERIFY_KEY_MAX];
    const uint64_t id = draw % k->keys;
    verify_make_key(key, r->row->op == COMPARE_ABSENT ? COMPARE_MISS + id : id, 16);
    const bool sets = (draw >> 40) % 100 < r->row->set_pct;
    if (r->row->op == COMPARE_DELETE) {
        s->del(r->store[side], key, 16);
        s->set(r->store[side], key, 16, buf, k->value_len);
    } else if (sets) {
        s->set(r->store[side], key, 16, buf, k->value_len);
    } else if (!s->get(r->store[side], key, 16, buf, k->value_len) &&
               r->row->op == COMPARE_THROUGH) {
        s->set(r->store[side], key, 16, buf, k->value_len);
    }
}

static void *compare_work(void *arg)
{
    compare_job *j = arg;
    static _Thread_local unsigned char buf[COMPARE_VALUE_MAX];
    uint64_t x = j->seed;
    const uint64_t start = compare_cpu_ns();
    for (uint64_t i = 0; i < j->calls; i++) {
        x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        /* the smaller of two draws: some keys come more often */
        const uint64_t a = x >> 11, b = verify_mix64(x) >> 11;
        compare_call(j->run, j->side, a < b ? a : b, buf);
        if (j->spin > 0 && i % 64 == 63) { compare_spin(j->spin, x); }
    }
    j->cpu_ns = compare_cpu_ns() - start;
    return NULL;
}

/* Return CPU ns of one window: all threads. */
static double compare_window(const compare_run *r, uint32_t side, uint64_t calls, uint64_t spin,
                             uint64_t seed)
{
    compare_job job[2];
    pthread_t thread;
    const uint32_t n = r->row->threads;
    for (uint32_t t = 0; t < n; t++) {
        job[t] = (compare_job){ r, side, t, calls / n, spin, seed * 31 + t + 1, 0 };
    }
    const bool two = n > 1 && pthread_create(&thread, NULL, compare_work, &job[1]) == 0;
    compare_work(&job[0]);
    if (n > 1 && !two) {
        compare_work(&job[1]);
    } else if (two) {
        pthread_join(thread, NULL);
    }
    return (double)(job[0].cpu_ns + (n > 1 ? job[1].cpu_ns : 0));
}

static int compare_order(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}
static double compare_at(double *v, uint32_t n, double q) /* sorts */
{
    qsort(v, n, sizeof v[0], compare_order);
    const double at = q * (n - 1);
    const uint32_t i = (uint32_t)at;
    return i + 1 < n ? v[i] + (v[i + 1] - v[i]) * (at - i) : v[i];
}

/* Calls that fill a window on A, and the planted work of B: of the fastest of five windows. */
static void compare_calibrate(compare_run *r, size_t row)
{
    double call = 1e12, step = 1e12;
    for (uint64_t i = 0; i < 5; i++) {
        const double ns = compare_window(r, 0, 4000, 0, 900 + i) / 4000;
        const uint64_t start = compare_cpu_ns();
        compare_spin(20000, i);
        const double one = (double)(compare_cpu_ns() - start) / 20000;
        call = ns < call ? ns : call;
        step = one < step ? one : step;
    }
    r->calls[row] = (uint64_t)(r->window_us * 1e3 / call) + 1;
    r->spin[row] = (uint64_t)(64 * call * r->plant / 100 / step + .5);
}

static uint64_t compare_seed;

/* Fill `buf` with the bytes of this repetition. Both libraries call this one. */
ssize_t getrandom(void *buf, size_t len, unsigned flags)
{
    (void)flags;
    for (size_t i = 0; i < len; i++) {
        ((unsigned char *)buf)[i] = (unsigned char)verify_mix64(compare_seed * 256 + i + 1);
    }
    return (ssize_t)len;
}

static bool compare_open(compare_run *r, const compare_kind *k, uint32_t rep)
{
    static unsigned char value[COMPARE_VALUE_MAX];
    for (uint32_t i = 0; i < 2; i++) {
        const uint32_t side = i ^ (rep & 1);
        r->store[side] = r->side[side]->open(k->bytes, k->entries);
        if (r->store[side] == NULL) {
            fprintf(stderr, "compare: %s: store %s cannot be opened\n", side ? "B" : "A", k->name);
            return false;
        }
        for (uint64_t id = 0; id < k->keys; id++) {
            unsigned char key[VERIFY_KEY_MAX];
            verify_make_key(key, id, 16);
            r->side[side]->set(r->store[side], key, 16, value, k->value_len);
        }
    }
    return true;
}

/* Measure one row in one repetition: `ns` of a call of each side, the faster of two windows. */
static void compare_windows(compare_run *r, size_t row, uint32_t rep, double ns[2])
{
    ns[0] = ns[1] = 1e12;
    for (uint32_t i = 0; i < 2; i++) { /* not recorded: caches and branches */
        const uint32_t side = i ^ (rep & 1);
        (void)compare_window(r, side, r->calls[row] / 4 + 1, side ? r->spin[row] : 0, rep + 7);
    }
    for (uint32_t i = 0; i < 4; i++) {
        const uint32_t side = (i ^ rep) & 1;
        const double cost = compare_window(r, side, r->calls[row], side ? r->spin[row] : 0,
                                           rep * 100 + i / 2) / (double)r->calls[row];
        ns[side] = cost < ns[side] ? cost : ns[side];
    }
}

static double compare_mean[COMPARE_REPS_MAX / 2 * (COMPARE_REPS_MAX / 2 + 1) / 2];

/* Return the centre of `v` and its interval of 99.9 %: 3.29 deviations of the signed-rank sum. */
static double compare_centre(const double *v, uint32_t n, double *low, double *high)
{
    uint32_t m = 0;
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t k = i; k < n; k++) { compare_mean[m++] = (v[i] + v[k]) / 2; }
    }
    const double all = m, rank = all / 2 - 3.2905 * sqrt(all * (2 * n + 1) / 12);
    const uint32_t cut = rank > 0 ? (uint32_t)rank : 0;
    const double centre = compare_at(compare_mean, m, .5);
    *low = compare_mean[cut];
    *high = compare_mean[m - 1 - cut];
    return centre;
}

static const char *compare_verdict(double centre, double low, double high)
{
    if (low > 1.01 && centre > 1.02) { return "B slower"; }
    if (high < .99 && centre < .98) { return "B faster"; }
    return centre > .98 && centre < 1.02 && low > .95 && high < 1.05 ? "same" : "unclear";
}

static double compare_ratio[COMPARE_ROWS][COMPARE_REPS_MAX / 2]; /* of two repetitions, logarithm */
static double compare_ns[COMPARE_ROWS][2][COMPARE_REPS_MAX];

static bool compare_measure(compare_run *r)
{
    for (uint32_t rep = 0; rep < r->reps; rep++) {
        compare_seed = rep;
        for (uint32_t k = 0; k < sizeof compare_kinds / sizeof compare_kinds[0]; k++) {
            if (!compare_open(r, &compare_kinds[k], rep)) { return false; }
            for (size_t row = 0; row < COMPARE_ROWS; row++) {
                if (compare_rows[row].kind != k) { continue; }
                double ns[2];
                r->row = &compare_rows[row];
                if (rep == 0) { compare_calibrate(r, row); }
                compare_windows(r, row, rep, ns);
                compare_ratio[row][rep / 2] += log(ns[1] / ns[0]) / 2;
                compare_ns[row][0][rep] = ns[0];
                compare_ns[row][1][rep] = ns[1];
            }
            /* an odd repetition swaps all of an even one */
            r->side[rep & 1]->close(r->store[rep & 1]);
            r->side[~rep & 1]->close(r->store[~rep & 1]);
        }
    }
    return true;
}

static void compare_report(const compare_run *r)
{
    uint32_t count[4] = { 0 };
    printf("%-5s %-12s %-7s %9s %9s %7s  %-15s %-15s %s\n", "store", "calls", "threads", "A ns",
           "B ns", "B / A", "p25 p75", "99.9 % interval", "verdict");
    for (size_t row = 0; row < COMPARE_ROWS; row++) {
        const uint32_t n = r->reps / 2;
        double *v = compare_ratio[row], low, high;
        const double centre = exp(compare_centre(v, n, &low, &high));
        low = exp(low);
        high = exp(high);
        const char *verdict = compare_verdict(centre, low, high);
        count[verdict[0] == 's' ? 0 : verdict[0] == 'u' ? 1 : verdict[2] == 's' ? 2 : 3]++;
        printf("%-5s %-12s %-7u %9.1f %9.1f %7.3f  [%.3f %.3f]   [%.3f %.3f]   %s\n",
               compare_kinds[compare_rows[row].kind].name, compare_rows[row].name,
               compare_rows[row].threads, compare_at(compare_ns[row][0], r->reps, .5),
               compare_at(compare_ns[row][1], r->reps, .5), centre, exp(compare_at(v, n, .25)),
               exp(compare_at(v, n, .75)), low, high, verdict);
    }
    printf("\ncompare: %u same, %u unclear, B slower in %u, faster in %u of %zu rows\n", count[0],
           count[1], count[2], count[3], COMPARE_ROWS);
}

/* ---- A side of integers alone ---------------------------------------------------------------- */

static const char *busy_version(void) { return "busy"; }
static void *busy_open(uint64_t bytes, uint64_t entries)
{
    (void)bytes, (void)entries;
    return malloc(1);
}
static int busy_get(void *store, const void *key, size_t key_len, void *buf, size_t cap)
{
    (void)store, (void)key_len, (void)buf, (void)cap;
    return compare_spin(60, *(const unsigned char *)key) != 0;
}
static int busy_set(void *store, const void *key, size_t key_len, const void *value, size_t len)
{
    (void)value;
    return busy_get(store, key, key_len, NULL, len);
}
static int busy_del(void *store, const void *key, size_t key_len)
{
    return busy_get(store, key, key_len, NULL, 0);
}
static const compare_side compare_busy = { busy_version, busy_open, free, busy_get, busy_set,
                                           busy_del };

static const compare_side *compare_load(const char *path)
{
    void *so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const compare_side *s = so != NULL ? dlsym(so, COMPARE_SIDE) : NULL;
    if (s == NULL) { fprintf(stderr, "compare: %s\n", dlerror()); }
    return s;
}

int main(int argc, char **argv)
{
    compare_run r = { .reps = 300, .window_us = 3000 };
    int at = 1;
    bool busy = false;
    for (; at < argc && argv[at][0] == '-'; at++) {
        char *end = NULL;
        if (strncmp(argv[at], "--reps=", 7) == 0) {
            r.reps = (uint32_t)strtoul(argv[at] + 7, &end, 10);
        } else if (strncmp(argv[at], "--plant=", 8) == 0) {
            r.plant = strtod(argv[at] + 8, &end);
        } else if (strncmp(argv[at], "--window-us=", 12) == 0) {
            r.window_us = strtod(argv[at] + 12, &end);
        } else if (strcmp(argv[at], "--busy") == 0) {
            busy = true;
        }
        if ((end == NULL ? !busy : *end != '\0') || r.reps < COMPARE_REPS_LEAST ||
            r.reps > COMPARE_REPS_MAX) {
            fprintf(stderr, "compare: %s is not an option; --reps=%d..%d\n", argv[at],
                    COMPARE_REPS_LEAST, COMPARE_REPS_MAX);
            return 2;
        }
    }
    if (argc - at != (busy ? 0 : 2)) {
        fprintf(stderr, "usage: compare [--reps=N] [--window-us=N] [--plant=PERCENT] "
                        "--busy | A.so B.so\n");
        return 2;
    }
    r.side[0] = busy ? &compare_busy : compare_load(argv[at]);
    r.side[1] = busy ? &compare_busy : compare_load(argv[at + 1]);
    if (r.side[0] == NULL || r.side[1] == NULL) { return 1; }
    r.reps -= r.reps % 2;
    (void)prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); /* a refusal makes the intervals wider */
    printf("compare: A %s, B %s\n", r.side[0]->version(), r.side[1]->version());
    if (!compare_measure(&r)) { return 1; }
    compare_report(&r);
    return 0;
}
