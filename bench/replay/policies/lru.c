/* SPDX-License-Identifier: MIT
 *
 * lru: exact LRU: a hit makes a number the newest; the oldest leaves. */
#include "bench/replay/policy.h"

static void *lru_open(uint64_t capacity, uint32_t objects)
{
    return policy_open(sizeof(policy_lists), capacity, objects);
}
static void lru_hit(void *state, uint32_t number) { policy_push(state, 0, number); }
static uint32_t lru_evict(void *state, uint32_t number)
{
    (void)number;
    return policy_pop(state, 0);
}
static void lru_insert(void *state, uint32_t number) { policy_push(state, 0, number); }
REPLAY_POLICY(lru, "exact-lru", .drop = policy_drop, .bytes = true)
