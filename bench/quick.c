/* SPDX-License-Identifier: MIT
 *
 * quick: the measurement of `cellar bench`: a part of the program, not of the bench.
 *
 * PICTURE    rows (get; get on all CPUs; 95:5; read-through) x rounds x subjects: a window each
 * INVARIANTS All subjects of a round run the same requests, one after the other; the first one
 *            changes with each round. A ratio is taken within a round, and its median is printed.
 *            A first round of each row warms up and does not count. The stores of the bounded row
 *            have room for the same entries and first get the same requests, which gives the hit
 *            ratio: a window has as many requests as its subject is fast.
 * LIMITS     The bench (make bench) has more subjects, workloads, rounds and checks of the machine;
 *            its figures are the published ones. */
#include "cli/quick.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/harness/host.h"
#include "bench/harness/verify.h"
#include "bench/harness/window.h"
#include "bench/peers/peers.h"

#define QUICK_KEY_LEN 16
#define QUICK_VALUE_LEN 100
/* So many that windows do not meet those of a moment before. */
#define QUICK_REQUESTS_LEAST (UINT64_C(1) << 16)
#define QUICK_REQUESTS_MOST (UINT64_C(1) << 22)
#define QUICK_STEP 0.61803398875 /* spreads the windows over the whole trace */
#define QUICK_THREADS_MAX 8
#define QUICK_ROUNDS_MAX 99
#define QUICK_SEED 3
#define QUICK_OURS (QUICK_SUBJECTS - 1)

typedef struct quick_shape {
    const char *what;
    workload_op op;
    uint32_t set_pct;
    bool all_cpus, bounded; /* bounded: room for a tenth of the keys */
} quick_shape;

static const quick_shape quick_shapes[QUICK_ROWS] = {
    { "get", WORKLOAD_MIX, 0, false, false },
    { "get", WORKLOAD_MIX, 0, true, false },
    { "get 95 set 5", WORKLOAD_MIX, 5, true, false },
    { "read-through", WORKLOAD_READTHROUGH, 0, true, true },
};

static const bench_subject *const quick_subjects[QUICK_SUBJECTS] = {
    &raw_subject, &uthash64_subject, &cellar_subject
};

typedef struct quick_state {
    const quick_plan *plan;
    quick_report *out;
    window_pool *pool;
    trace traces[QUICK_THREADS_MAX];
    uint32_t *masks[QUICK_THREADS_MAX]; /* of the present row */
    void *store[QUICK_SUBJECTS];        /* NULL: takes no part */
    uint64_t gets[QUICK_SUBJECTS], hits[QUICK_SUBJECTS]; /* of quick_pass */
    double mops[QUICK_SUBJECTS][QUICK_ROUNDS_MAX];
    uint32_t threads_max;
    uint64_t requests; /* of each trace */
    uint64_t end_ns;
} quick_state;

static int quick_compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quick_median(double *values, uint32_t count)
{
    qsort(values, count, sizeof values[0], quick_compare);
    return count == 0 ? 0
           : count % 2 != 0 ? values[count / 2]
                            : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* ---- stores ---- */

static void quick_close(quick_state *q)
{
    for (uint32_t i = 0; i < QUICK_SUBJECTS; i++) {
        if (q->store[i] != NULL) {
            quick_subjects[i]->close(q->store[i]);
            q->store[i] = NULL;
        }
    }
}

static bool quick_fill(const bench_subject *s, void *store, uint64_t entries)
{
    unsigned char key[VERIFY_KEY_MAX], value[QUICK_VALUE_LEN];
    bool stored = true;
    for (uint64_t id = 0; stored && id < entries; id++) {
        verify_fill(value, sizeof value);
        verify_stamp(value, sizeof value, id);
        verify_make_key(key, id, QUICK_KEY_LEN);
        stored = s->set(store, key, QUICK_KEY_LEN, value, sizeof value, 0) >= 0;
    }
    return stored;
}

/* Send the requests of the first thread to a bounded store. The second half counts. */
static void quick_pass(quick_state *q, uint32_t i)
{
    const bench_subject *s = quick_subjects[i];
    unsigned char key[VERIFY_KEY_MAX], value[QUICK_VALUE_LEN], buf[128];
    verify_fill(value, sizeof value);
    for (uint64_t n = 0; n < q->requests; n++) {
        const uint32_t id = q->traces[0].ids[n];
        size_t len = 0;
        verify_make_key(key, id, QUICK_KEY_LEN);
        const bool hit = s->get(q->store[i], key, QUICK_KEY_LEN, buf, sizeof buf, &len) == 1;
        q->out->wrong += hit && !verify_value(buf, len, id, QUICK_VALUE_LEN);
        q->hits[i] += hit && n >= q->requests / 2;
        if (!hit) {
            verify_stamp(value, sizeof value, id);
            (void)s->set(q->store[i], key, QUICK_KEY_LEN, value, sizeof value, 0);
        }
    }
    q->gets[i] = q->requests / 2;
}

/* Open the stores of a row; unbounded ones are filled. RAW has no bound. */
static bool quick_open(quick_state *q, bool bounded)
{
    const uint64_t entries = q->plan->entries, room = bounded ? entries / 10 : 0;
    const bench_cfg cfg = {
        .key_count = entries, .hint_entries = bounded ? room : entries,
        .capacity_entries = room,
        .payload_bytes = (bounded ? room : entries) * (QUICK_KEY_LEN + QUICK_VALUE_LEN),
        .key_len = QUICK_KEY_LEN, .value_len = QUICK_VALUE_LEN, .threads = q->threads_max,
        .seed = QUICK_SEED,
    };
    for (uint32_t i = 0; i < QUICK_SUBJECTS; i++) {
        if (bounded && (quick_subjects[i]->caps & BENCH_BOUNDED) == 0) {
            continue;
        }
        q->store[i] = quick_subjects[i]->open(&cfg);
        if (q->store[i] == NULL ||
            (!bounded && !quick_fill(quick_subjects[i], q->store[i], entries))) {
            return false;
        }
        if (bounded) { quick_pass(q, i); }
    }
    return true;
}

/* ---- rows ---- */

static bool quick_window(quick_state *q, const quick_shape *shape, uint32_t i, uint32_t round,
                         uint32_t threads)
{
    static const uint32_t length = QUICK_VALUE_LEN;
    const window_job job = {
        .subject = quick_subjects[i], .store = q->store[i], .op = shape->op, .threads = threads,
        .window_ms = q->plan->window_ms, .key_len = QUICK_KEY_LEN, .value_cap = 128,
        .traces = q->traces, .set_masks = q->masks, .lengths = &length,
        .position = (uint64_t)((double)q->requests * fmod(round * QUICK_STEP, 1)) &
                    ~UINT64_C(31),
    };
    window_result r;
    if (!window_run(q->pool, &job, &r)) {
        return false;
    }
    q->out->wrong += r.bad + r.errors;
    if (round > 0) {
        q->out->windows++;
        q->out->disturbed += r.dropped != 0;
        q->mops[i][round - 1] = window_mops_wall(&r);
    }
    return true;
}

static void quick_judge(quick_state *q, quick_row *row, uint32_t rounds)
{
    double ratio[QUICK_ROUNDS_MAX];
    for (uint32_t i = 0; i < QUICK_SUBJECTS; i++) {
        row->part[i] = q->store[i] != NULL;
        if (!row->part[i]) {
            continue;
        }
        for (uint32_t n = 0; n < rounds; n++) {
            ratio[n] = q->mops[i][n] > 0 ? q->mops[QUICK_OURS][n] / q->mops[i][n] : 0;
        }
        row->of[i] = quick_median(ratio, rounds);
        row->hit_ratio[i] = q->gets[i] > 0 ? (double)q->hits[i] / (double)q->gets[i] : 0;
    }
    for (uint32_t i = 0; i < QUICK_SUBJECTS; i++) { /* sorts the values that the ratios need */
        row->mops[i] = row->part[i] ? quick_median(q->mops[i], rounds) : 0;
    }
}

static bool quick_masks(quick_state *q, uint32_t set_pct)
{
    for (uint32_t t = 0; t < q->threads_max; t++) {
        free(q->masks[t]);
        q->masks[t] = trace_mask(q->traces[t].count, 0, set_pct, QUICK_SEED + t);
        if (q->masks[t] == NULL) {
            return false;
        }
    }
    return true;
}

/* Measure one row. The time that is left is shared by the rows that are left. */
static bool quick_measure(quick_state *q, const quick_shape *shape, uint32_t rows_left)
{
    quick_row *row = &q->out->row[q->out->rows++];
    const uint32_t threads = shape->all_cpus ? q->threads_max : 1;
    const uint64_t now = host_wall_ns();
    const uint64_t until = q->end_ns > now ? now + (q->end_ns - now) / rows_left : now;
    uint32_t round = 0;
    *row = (quick_row){ .what = shape->what, .threads = threads };
    if (!quick_masks(q, shape->set_pct)) {
        return false;
    }
    for (; round <= q->plan->rounds && (round < 2 || host_wall_ns() < until); round++) {
        if (q->plan->tell != NULL) {
            q->plan->tell(q->plan->ctx, shape->what, round);
        }
        for (uint32_t n = 0; n < QUICK_SUBJECTS; n++) {
            const uint32_t i = (n + round) % QUICK_SUBJECTS;
            if (q->store[i] != NULL && !quick_window(q, shape, i, round, threads)) {
                return false;
            }
        }
    }
    quick_judge(q, row, round - 1);
    return true;
}

static bool quick_rows(quick_state *q)
{
    bool ok = true, bounded = true;
    for (uint32_t k = 0; ok && k < QUICK_ROWS; k++) {
        const quick_shape *shape = &quick_shapes[k];
        if (k == 0 || shape->bounded != bounded) {
            bounded = shape->bounded;
            quick_close(q);
            ok = quick_open(q, bounded);
        }
        ok = ok && quick_measure(q, shape, QUICK_ROWS - k);
    }
    quick_close(q);
    return ok;
}

static bool quick_prepare(quick_state *q, char *why, size_t why_cap)
{
    const uint64_t wanted = 4 * q->plan->entries & ~UINT64_C(63);
    q->requests = wanted < QUICK_REQUESTS_LEAST ? QUICK_REQUESTS_LEAST
                  : wanted < QUICK_REQUESTS_MOST ? wanted : QUICK_REQUESTS_MOST;
    trace_spec spec = { .kind = TRACE_ZIPF, .zipf_s = 0.99, .key_count = q->plan->entries,
                        .op_count = q->requests, .seed = QUICK_SEED };
    for (uint32_t t = 0; t < q->threads_max; t++) {
        if (!trace_make(&spec, t, &q->traces[t], why, why_cap)) {
            return false;
        }
    }
    q->pool = window_pool_create(q->threads_max);
    if (q->pool == NULL) {
        snprintf(why, why_cap, "no threads");
    }
    return q->pool != NULL;
}

bool quick_run(const quick_plan *plan, quick_report *out, char *why, size_t why_cap)
{
    memset(out, 0, sizeof *out);
    out->subject[0] = "RAW";
    out->subject[1] = "uthash+LRU";
    out->subject[QUICK_OURS] = "cellar";
    out->cpu = host_cpu_name();
    out->cpus = host_cpu_count();
    quick_state *q = calloc(1, sizeof *q);
    if (q == NULL) {
        snprintf(why, why_cap, "out of memory");
        return false;
    }
    q->plan = plan;
    q->out = out;
    q->threads_max = out->cpus < QUICK_THREADS_MAX ? out->cpus : QUICK_THREADS_MAX;
    q->end_ns = host_wall_ns() + (uint64_t)plan->most_ms * 1000000u;
    bool ok = quick_prepare(q, why, why_cap);
    if (ok && !quick_rows(q)) {
        snprintf(why, why_cap, "out of memory: use fewer --entries");
        ok = false;
    }
    if (q->pool != NULL) {
        window_pool_destroy(q->pool);
    }
    for (uint32_t t = 0; t < q->threads_max; t++) {
        trace_free(&q->traces[t]);
        free(q->masks[t]);
    }
    free(q);
    return ok;
}
