/* SPDX-License-Identifier: MIT
 *
 * curve: the misses of exact LRU at all capacities, in one pass. */
#ifndef BENCH_REPLAY_CURVE_H
#define BENCH_REPLAY_CURVE_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/replay/trace.h"

typedef struct replay_curve replay_curve;
/* Open a curve at capacities that rise, in entries, or in bytes with `bytes`. Numbers are below
 * `objects`. Return NULL without memory. */
replay_curve *replay_curve_open(const uint64_t *capacity, unsigned n, bool bytes, uint32_t objects);
/* Request, set or delete an entry. Return the first of the capacities at which it hits; n: none. */
unsigned replay_curve_request(replay_curve *c, uint32_t number, const cli_request *r);
void replay_curve_close(replay_curve *c);

#endif
