/* SPDX-License-Identifier: MIT
 *
 * window: one timed stretch of one subject with one operation mix. */
#ifndef BENCH_HARNESS_WINDOW_H
#define BENCH_HARNESS_WINDOW_H

#include "bench/harness/hist.h"
#include "bench/harness/host.h"
#include "bench/harness/subject.h"
#include "bench/harness/workload.h"

/* Borrowed for the length of the call; the arrays have one element a thread. */
typedef struct window_job {
    const bench_subject *subject;
    void *store;
    workload_op op;
    uint32_t many, threads, window_ms;
    uint32_t key_len, value_cap; /* bytes; value_cap holds the longest value */
    const trace *traces;
    uint32_t *const *set_masks;
    uint32_t *const *del_masks;  /* NULL: no deletes */
    const int64_t *ttls;         /* of an id: ttls[id % WORKLOAD_TTLS]; NULL: ttl_ms of all */
    uint32_t miss_us;            /* wait before the set of a missed read-through */
    const uint32_t *lengths;     /* value length of an id: lengths[id & length_mask] */
    uint32_t length_mask;
    bool through;                /* workload_cell has it */
    int64_t ttl_ms;
    uint64_t position;           /* first request, the same for all subjects of a round */
} window_job;

/* Why a window does not count. */
typedef enum window_trouble {
    WINDOW_STOLEN = 1,   /* the machine below took over 5 % */
    WINDOW_SWITCHED = 2, /* a thread was preempted more than twice, and for over 5 % */
    WINDOW_LENGTH = 4,   /* much longer or shorter than requested, or empty */
    WINDOW_OTHERS = 8,   /* another peer worked meanwhile */
    WINDOW_ENDED = 16    /* its process has ended */
} window_trouble;

typedef struct window_result {
    uint64_t ops, gets, hits, sets;
    uint64_t bad;                /* hits with another value than the stored one: must be 0 */
    uint64_t errors;             /* calls that returned a code below 0 */
    uint64_t wall_ns, cpu_ns;    /* wall: first start to last end; cpu: sum of the threads */
    uint64_t bg_cpu_ns;          /* CPU of the process that no worker spent */
    uint64_t preempted;          /* involuntary switches of the worst thread */
    uint64_t slept;              /* voluntary switches of all threads; not of a process */
    uint64_t kept;               /* records that eviction kept meanwhile */
    uint64_t waited_ns;          /* for a CPU, the worst thread; UINT64_MAX: not known */
    double steal_share;
    double p_ns[4];              /* LATENCY: p50 p99 p99.9 p99.99 */
    uint32_t dropped;            /* disturbed: bits of window_trouble; 0: counts */
    uint32_t reserved;
} window_result;

typedef struct window_pool window_pool;

/* Pinned threads that sleep between windows. NULL: they cannot be started. */
window_pool *window_pool_create(uint32_t threads);
void window_pool_destroy(window_pool *p);
/* false: out of memory for buffers. After a LATENCY job window_latency has its histogram, in
 * ticks, until the next one. */
bool window_run(window_pool *p, const window_job *job, window_result *out);
const hist *window_histogram(const window_pool *p);

/* p50 p99 p99.9 p99.99 of a histogram in units of `ns_per_unit`. */
void window_percentiles(const hist *h, double ns_per_unit, window_result *r);
/* Set steal_share and dropped: was the window disturbed? `since`: the reading before it. */
void window_judge_noise(const host_steal *since, const window_job *job, window_result *r);

double window_mops_wall(const window_result *r);
double window_mops_cpu(const window_result *r); /* per second of CPU: of one thread */

#endif
