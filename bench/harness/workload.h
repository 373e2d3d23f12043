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
typedef enum workload_law {
    WORKLOAD_FIXED,
    WORKLOAD_LOGNORMAL,   /* a: mean, b: of the logarithm */
    WORKLOAD_EXPONENTIAL, /* a: mean */
    WORKLOAD_EVEN,        /* a: least */
    WORKLOAD_CHOICE,      /* choices */
    WORKLOAD_TRACE
} workload_law;

#define WORKLOAD_CHOICES 8
typedef struct workload_draws {
    workload_law law;
    double a, b;
    uint64_t most;           /* FIXED: the value; else the largest */
    uint64_t choice[WORKLOAD_CHOICES];
    double upto[WORKLOAD_CHOICES]; /* sum of the weights up to it */
    uint32_t choice_count;
} workload_draws;

#define WORKLOAD_CELLS 8
#define WORKLOAD_TTLS 4096u
#define WORKLOAD_THREADS 8

/* One measured operation mix. */
typedef struct workload_cell {
    workload_op op;
    uint32_t set_pct; /* MIX, LATENCY */
    uint32_t many;    /* MANY: keys a call */
    bool hot;         /* one key for all threads */
    bool through;     /* LATENCY: of each set of a read-through */
    char metric[16];
    uint32_t del_pct;   /* MIX, LATENCY */
} workload_cell;

typedef struct workload {
    char name[64];           /* file name without .wl */
    char path[400];          /* of the file; empty when made by hand */
    trace_spec trace;
    uint32_t key_len;        /* 8 or 16 */
    workload_draws value;
    uint32_t value_len;      /* of a fixed law the length; else the largest */
    workload_cell cell[WORKLOAD_CELLS];
    uint32_t cell_count;
    uint64_t capacity_entries, capacity_bytes; /* 0: no bound */
    workload_room room;
    workload_draws ttl;
    int64_t ttl_ms;          /* on every set; 0: none; of a law the largest */
    uint32_t miss_us;        /* READTHROUGH: cost of a miss before its set */
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
/* TTL of the entry of each id: table[id % WORKLOAD_TTLS], for a law. Caller frees. */
int64_t *workload_ttls(const workload *w);

/* Keys and values of all prefilled entries, in bytes. */
uint64_t workload_payload(const workload *w, const uint32_t *lengths, uint32_t mask);

bool workload_wants(const workload *w, const char *subject);

#endif
