/* SPDX-License-Identifier: MIT
 *
 * clock: CLOCK (Corbato 1968), second chance: a hit marks; an old number with a mark loses the mark and
 * becomes the newest, the first one without leaves. */
#include "bench/replay/policy.h"

static void *clock_open(uint64_t capacity, uint32_t objects)
{
    return policy_open(sizeof(policy_lists), capacity, objects);
}
static void clock_hit(void *state, uint32_t number) { ((policy_lists *)state)->mark[number] = 1; }
static uint32_t clock_evict(void *state, uint32_t number)
{
    policy_lists *l = state;
    (void)number;
    for (uint32_t at = policy_oldest(l, 0); l->mark[at] != 0; at = policy_oldest(l, 0)) {
        l->mark[at] = 0;
        policy_push(l, 0, at);
    }
    return policy_pop(l, 0);
}
static void clock_insert(void *state, uint32_t number) { policy_push(state, 0, number); }
REPLAY_POLICY(clock, "clock", .drop = policy_drop, .bytes = true)
