/* SPDX-License-Identifier: MIT
 *
 * workload: one .wl file: stored entries, requests, measured operations. */
#ifndef BENCH_HARNESS_WORKLOAD_H
#define BENCH_HARNESS_WORKLOAD_H

#include "bench/harness/trace.h"

typedef enum workload_op {
    WORKLOAD_MIX,         /* gets, sets of any share; get-only and write-only too */
    WORKLOAD_READTHROUGH, /* get, and on a miss set */
    WORKLOAD_MANY,
    WORKLOAD_PIN,
    WORKLOAD_LATENCY      /* as MIX, each get timed by itself */
} workload_op;

/* Others than ours: bounded as they count, by the entries or by the memory that ours then has. */
typedef enum workload_room { WORKLOAD_OWN, WORKLOAD_ENTRIES, WORKLOAD_RSS } workload_room;
typedef enum workload_law { WORKLOAD_FIXED, WORKLOAD_LOGNORMAL, WORKLOAD_TRACE } workload_law;

#define WORKLOAD_CELLS 8
#define WORKLOAD_THREADS 8

/* One measured operation mix. */
typedef struct workload_cell {
    workload_op op;
    uint32_t set_pct; /* MIX, LATENCY */
    uint32_t many;    /* MANY: keys a call */
    bool hot;         /* one key for all threads */
    bool through;     /* LATENCY: of each set of a read-through */
    const char *metric; /* static text */
} workload_cell;

typedef struct workload {
    char name[64];           /* file name without .wl */
    char path[400];          /* of the file; empty when made by hand */
    trace_spec trace;
    uint32_t key_len;        /* 8 or 16 */
    workload_law law;
    uint32_t value_len;      /* FIXED: the length; else the largest */
    double value_mean, value_sigma; /* LOGNORMAL: of the lengths; of their logarithm */
    workload_cell cell[WORKLOAD_CELLS];
    uint32_t cell_count;
    uint64_t capacity_entries, capacity_bytes; /* 0: no bound */
    workload_room room;
    int64_t ttl_ms;          /* on every set; 0: none */
    uint32_t thread[WORKLOAD_THREADS]; /* ascending */
    uint32_t thread_count;
    bool cores;              /* also the number of the machine's cores */
    bool over;               /* also more threads than cores; with FULL=1 also 8, 16, 64 */
    uint32_t window_ms, rounds; /* 0: the run's defaults */
    uint64_t prefill;        /* ids 0 .. prefill - 1 are stored before timing */
    uint64_t min_memory;     /* bytes of MemAvailable below which it is skipped */
    char subjects[128];      /* names, space between; empty: all */
    uint32_t subjects_line;  /* where the file says so */
} workload;

/* Return false with file, line and fault in `why`. */
bool workload_read(const char *path, workload *out, char *why, size_t why_cap);

/* Length of the value of each id: table[id & mask]. Caller frees. NULL: out of memory. */
uint32_t *workload_lengths(const workload *w, const trace *t, uint32_t *mask);

/* Keys and values of all prefilled entries, in bytes. */
uint64_t workload_payload(const workload *w, const uint32_t *lengths, uint32_t mask);

bool workload_wants(const workload *w, const char *subject);

#endif
