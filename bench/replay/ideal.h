/* SPDX-License-Identifier: MIT
 *
 * ideal: textbook policies to compare with: GDSF, Belady, a bound, and those of policies/. */
#ifndef BENCH_REPLAY_IDEAL_H
#define BENCH_REPLAY_IDEAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/replay/policy.h"
#include "bench/replay/trace.h"

/* Ids -> 0, 1, 2 .. in order of appearance. */
typedef struct cli_ids {
    uint64_t *id;     /* by number; room for slots / 2 */
    uint32_t *number; /* by slot, + 1; 0: empty */
    uint64_t slots;   /* power of two */
    uint32_t count;
} cli_ids;
#define CLI_IDS_NONE UINT32_MAX
void cli_ids_free(cli_ids *ids);
#define CLI_NEAR 8u /* requests between a prefetch and its use */
/* Return the number of the first of n requests; a new id gets the next one (*fresh). Return
 * CLI_IDS_NONE without memory or after 2^32 - 2 ids. Cost: prefetches for the requests behind. */
uint32_t cli_ids_add(cli_ids *ids, const cli_request *r, size_t n, bool *fresh);
/* The same for an id that is there, or return CLI_IDS_NONE. */
uint32_t cli_ids_find(const cli_ids *ids, const cli_request *r, size_t n);

typedef enum cli_ideal_kind {
    CLI_IDEAL_GDSF, CLI_IDEAL_BOUND, CLI_IDEAL_BELADY,
    CLI_IDEAL_CODE /* policies/NAME.c */
} cli_ideal_kind;
typedef struct cli_ideal cli_ideal;
/* Open a policy. The capacity is in entries with `mean` 0, else in bytes, and an entry has `mean`
 * bytes (Belady, and code without .bytes: entries only). Numbers are below `objects`. Return NULL
 * without memory. */
cli_ideal *cli_ideal_open(cli_ideal_kind kind, const replay_code *code, uint64_t capacity,
                          uint64_t mean, uint32_t objects);
/* Belady and the bound: add a future request or delete, in order, before the first request. Return
 * false without memory. */
bool cli_ideal_foresee(cli_ideal *p, uint32_t number, const cli_request *r);
/* Bound: return the most gets that can hit, and the most bytes that hits can save, of the requests
 * that were foreseen. */
void cli_ideal_bound(cli_ideal *p, uint64_t *hits, uint64_t *bytes);
/* Request, set or delete an entry; store it after a miss. Return whether it was stored. Not for the
 * bound. */
bool cli_ideal_request(cli_ideal *p, uint32_t number, const cli_request *r);
/* Prefetch what a request of this number reads. */
void cli_ideal_near(const cli_ideal *p, uint32_t number);
void cli_ideal_close(cli_ideal *p);

#endif
