/* SPDX-License-Identifier: MIT
 *
 * sieve: SIEVE (Zhang et al. 2024): one queue; a hit marks; a hand goes from old to new, clears marks
 * and evicts the first number without one. New numbers enter at the new end. */
#include "bench/replay/policy.h"

typedef struct sieve {
    policy_lists l;
    uint32_t hand;
} sieve;

static void *sieve_open(uint64_t capacity, uint32_t objects)
{
    sieve *s = policy_open(sizeof *s, capacity, objects);
    if (s != NULL) { s->hand = POLICY_NONE; }
    return s;
}

static void sieve_hit(void *state, uint32_t number) { ((sieve *)state)->l.mark[number] = 1; }

static uint32_t sieve_evict(void *state, uint32_t number)
{
    sieve *s = state;
    uint32_t at = s->hand != POLICY_NONE ? s->hand : policy_oldest(&s->l, 0);
    (void)number;
    while (s->l.mark[at] != 0) {
        s->l.mark[at] = 0;
        at = policy_newer(&s->l, at);
        if (at == POLICY_NONE) { at = policy_oldest(&s->l, 0); }
    }
    s->hand = policy_newer(&s->l, at);
    policy_take(&s->l, at);
    return at;
}

static void sieve_insert(void *state, uint32_t number) { policy_push(state, 0, number); }

static void sieve_drop(void *state, uint32_t number)
{
    sieve *s = state;
    if (s->hand == number) { s->hand = policy_newer(&s->l, number); }
    policy_drop(s, number);
}

REPLAY_POLICY(sieve, "sieve", .drop = sieve_drop, .bytes = true)
