/* SPDX-License-Identifier: MIT
 *
 * replay_print: the options, state and results of a replay; the printing of its results. */
#ifndef BENCH_REPLAY_REPLAY_PRINT_H
#define BENCH_REPLAY_REPLAY_PRINT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "cellar_observe.h"
#include "cli/cli.h"
#include "bench/replay/ideal.h"
#include "bench/replay/trace.h"

#define REPLAY_POLICIES 32u
#define REPLAY_DEFAULT 6u /* policies at the start of the table: the default */
#define REPLAY_LRU 4u     /* exact-lru: --mrc has it in one pass */
#define REPLAY_FIFO 5u    /* exact-fifo: the others reduce its misses */
#define REPLAY_COMMIT 40u
#define REPLAY_CAPACITIES_MAX 64u
#define REPLAY_SEEDS_MAX 64u
#define REPLAY_THREADS_MAX 64u
#define REPLAY_SERIES 256u /* stretches of --every, at most */
#define REPLAY_SEEDS 8u /* of the default policy, which a hash key changes; else 1 */

typedef struct replay_policy {
    const char *name;
    bool exact;
    uint32_t eviction;    /* CELLAR_EVICT_...; engine */
    cli_ideal_kind ideal; /* exact */
    const replay_code *code;
} replay_policy;

/* Engine policies first; their names begin with "cellar-", which a caller may leave out. */
extern replay_policy replay_policies[REPLAY_POLICIES];
extern unsigned replay_policy_count;
/* Compare the name of a policy. The first word of those of the engine may be left out. */
bool replay_is(const replay_policy *p, const char *name);

typedef struct replay_capacity { /* as given */
    bool share;                  /* share of the objects or of their bytes; else a number */
    double fraction;
    uint64_t value;
} replay_capacity;

typedef struct replay_options {
    unsigned policy[REPLAY_POLICIES], policy_count; /* into replay_policies */
    replay_capacity capacity[REPLAY_CAPACITIES_MAX];
    unsigned capacity_count;
    /* budget: capacities are entries; the bound is the memory budget that holds as many */
    bool default_capacities, byte_mode, copy, budget, objects, advisor, mean, mrc;
    cli_trace_how how;
    uint64_t stripes, threads, value_bytes, memory; /* 0: not given; memory: of object mode */
    uint64_t seed;  /* the first hash key */
    uint64_t every, jobs; /* requests of a stretch, 0: none; processes */
    double warm;    /* share of the trace that is not counted */
    bool seed_given;
    uint64_t seeds; /* 0: REPLAY_SEEDS for the default policy, 1 for the others */
    const char *json, *csv, *plot, *write;
} replay_options;

typedef struct replay_counts {
    uint64_t requests, misses, bytes, missed_bytes, refused;
} replay_counts;

typedef struct replay_result { /* one policy at one capacity */
    unsigned policy, place; /* place: of the capacity and the policy in the run */
    uint64_t capacity;
    uint64_t bytes, entries; /* engine: memory_bytes of its store; entries at its end */
    uint64_t seeds;          /* runs: what follows is their median, low and high their range */
    double low, high;
    double value[REPLAY_SEEDS_MAX]; /* miss ratio of each hash key */
    replay_counts counts;
    double miss_ratio, byte_miss_ratio, reduction, ns, metadata;
    bool has_metadata;
    bool has_advice;
    unsigned series_n;
    double series[REPLAY_SERIES]; /* miss ratio of each stretch of --every */
    double said[CELLAR_ADVICE_COUNT]; /* hit ratios by the advisor */
    double is[CELLAR_ADVICE_COUNT];   /* hit ratios of replays */
} replay_result;

typedef struct replay_trace { /* results of the scan */
    const char *path, *form;
    char name[96];
    uint64_t requests, writes, deletes, unique_bytes, backwards, largest;
    uint64_t counted, counted_bytes; /* --mrc: gets after the warm-up */
    cli_ids ids;
    FILE *spool; /* what a pipe had; NULL: a regular file */
} replay_trace;

typedef struct replay_run {
    const replay_options *o;
    const cli_terminal *term;
    cli_request *piece; /* REPLAY_PIECE */
    replay_trace trace;
    replay_result *result;
    size_t result_n, result_room;
    char why[CLI_TRACE_WHY]; /* sentence of the first error */
    int code;            /* exit code of that error */
    unsigned jobs;       /* processes of this trace; 1 for standard input and pipes */
    double sample;       /* share of the objects that is replayed */
    double adjust, adjust_bytes; /* of the ratios of a sample */
    uint64_t curve[REPLAY_CAPACITIES_MAX], curve_bytes[REPLAY_CAPACITIES_MAX]; /* --mrc: hits of LRU */
    char doing[64];      /* for the live line */
    char commit[REPLAY_COMMIT]; /* of the library; "": none is known, or no run of the engine */
    uint64_t shown_ns;
    bool live;
    FILE *json, *csv, *out; /* out: of --write; NULL: replay */
    uint64_t seed;          /* of the hash key of the store */
    uint64_t value_bytes, budget; /* budget mode: of the capacity in progress */
} replay_run;

extern const double replay_scale[CELLAR_ADVICE_COUNT]; /* sizes of the advisor, in capacities */

/* Read the options. Return CLI_GO_ON or the exit code. */
int replay_parse(int argc, char **argv, replay_options *o);
int replay_main(int argc, char **argv, const cli_terminal *term);
/* Print the results of one trace, for a reader. */
void replay_print(const replay_run *run);
/* Print one JSON object a line. */
void replay_print_json(const replay_run *run, FILE *to);
/* Print a line for each hash key; a head line at the start of the file. */
void replay_print_csv(const replay_run *run, FILE *to);
/* Draw the miss ratios of one trace with gnuplot. Return an exit code; say the reason on stderr.
 * With several traces "out.svg" is "out-NAME.svg". */
int replay_plot(const replay_run *run, bool several);

#endif
