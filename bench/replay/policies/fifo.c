/* SPDX-License-Identifier: MIT
 *
 * fifo: exact FIFO: the oldest number leaves; a hit changes nothing. */
#include "bench/replay/policy.h"

static void *fifo_open(uint64_t capacity, uint32_t objects)
{
    return policy_open(sizeof(policy_lists), capacity, objects);
}
static void fifo_hit(void *state, uint32_t number) { (void)state, (void)number; }
static uint32_t fifo_evict(void *state, uint32_t number)
{
    (void)number;
    return policy_pop(state, 0);
}
static void fifo_insert(void *state, uint32_t number) { policy_push(state, 0, number); }
REPLAY_POLICY(fifo, "exact-fifo", .drop = policy_drop, .bytes = true)
