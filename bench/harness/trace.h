/* SPDX-License-Identifier: MIT
 *
 * trace: request sequences as arrays of 32-bit ids, made or read before any timing.
 *
 * A trace of 16 bytes a request would stream through the cache that is being measured; an id of
 * 4 bytes and one bit for "this is a set" do not. */
#ifndef BENCH_HARNESS_TRACE_H
#define BENCH_HARNESS_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/replay/trace.h"

typedef enum trace_kind { TRACE_ZIPF, TRACE_UNIFORM, TRACE_CONST, TRACE_FILE } trace_kind;

typedef struct trace_spec {
    trace_kind kind;
    double zipf_s;       /* exponent, > 0 and != 1 */
    uint64_t key_count;  /* ids 0 .. key_count - 1; TRACE_FILE: set when it is read */
    uint64_t op_count;   /* requests a thread; rounded down to a multiple of 32 */
    uint64_t seed;
    char path[256];      /* TRACE_FILE: what `cellar replay` reads */
    cli_trace_how how;   /* the same: as told */
} trace_spec;

typedef struct trace {
    uint32_t *ids;       /* owned; count of them */
    uint64_t count;      /* multiple of 32, at least 32 */
    uint32_t *sizes;     /* TRACE_FILE: size of each id at its first request; else NULL; owned */
} trace;

/* Make the sequence of thread `thread`: same spec and thread, same ids, on every machine with the
 * same libm. Return false with the fault in `why` (a file that is missing, or its first
 * wrong line or record). */
bool trace_make(trace_spec *spec, uint32_t thread, trace *out, char *why, size_t why_cap);
void trace_free(trace *t);

/* Mark each request with a draw of 0..99 within [from, to): bit i of word w belongs to request
 * 32 w + i. Sets are drawn from 0 on, deletes behind them. Caller frees. */
uint32_t *trace_mask(uint64_t count, uint32_t from_pct, uint32_t to_pct, uint64_t seed);

/* FNV-1a over the first `count` keys (16-byte form) and set bits: equal in every language. */
uint64_t trace_digest(const trace *t, const uint32_t *set_mask, uint64_t count);

/* splitmix64: the one random source of the harness. */
static inline uint64_t trace_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* A bijection on 0 .. n - 1 that separates neighbours, so that hot ranks are not neighbours. */
uint64_t trace_scramble(uint64_t rank, uint64_t n);

#endif
