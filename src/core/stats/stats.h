/* SPDX-License-Identifier: MIT
 *
 * stats: exact counters without a shared write, sampled histograms, and their text.
 *
 * CALL PATTERN
 *     stats_block *mine = stats_mine(st, slot);           once per call, with no ranked lock held
 *     stats_add(mine, STATS_HIT_L1, 1);                   plain add to this thread's block
 *     stats_count(st, STATS_TICK, 1);                     counters of the store; any lock held
 *     if (stats_sample(self)) { t = base_now_ns(); ...; stats_time(st, STATS_OP_SET, now - t); }
 *
 * INVARIANTS Gets have no counter: they are the sum of their outcomes (stats_gets). Each get adds
 *            to exactly one outcome. */
#ifndef STATS_STATS_H
#define STATS_STATS_H

#include "stats/counters.h"
#include "stats/hist.h"
#include "stats/metrics.h"
#include "stats/text.h"
#include "stats/types.h"

#endif
