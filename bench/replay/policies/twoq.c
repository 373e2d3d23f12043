/* SPDX-License-Identifier: MIT
 *
 * twoq: 2Q, full version (Johnson, Shasha 1994): new numbers enter a FIFO of a quarter of the
 * capacity; a number that returns within half a capacity after it left the FIFO enters an LRU. */
#include "bench/replay/policy.h"

enum { TWOQ_IN, TWOQ_OUT, TWOQ_MAIN };

typedef struct twoq {
    policy_lists l;
    bool back; /* the number to be inserted was in OUT */
} twoq;

static void *twoq_open(uint64_t capacity, uint32_t objects)
{
    return policy_open(sizeof(twoq), capacity, objects);
}

static void twoq_hit(void *state, uint32_t number)
{
    policy_lists *l = state;
    if (l->in[number] == TWOQ_MAIN) { policy_push(l, TWOQ_MAIN, number); }
}

static uint32_t twoq_evict(void *state, uint32_t number)
{
    twoq *t = state;
    policy_lists *l = &t->l;
    t->back = l->in[number] == TWOQ_OUT;
    if (t->back) { policy_take(l, number); }
    if (l->n[TWOQ_IN] <= l->capacity / 4 && l->n[TWOQ_MAIN] > 0) { return policy_pop(l, TWOQ_MAIN); }
    const uint32_t victim = policy_pop(l, TWOQ_IN);
    if (l->capacity / 2 > 0) {
        if (l->n[TWOQ_OUT] == l->capacity / 2) { (void)policy_pop(l, TWOQ_OUT); }
        policy_push(l, TWOQ_OUT, victim);
    }
    return victim;
}

static void twoq_insert(void *state, uint32_t number)
{
    twoq *t = state;
    const bool back = t->back || t->l.in[number] == TWOQ_OUT;
    policy_push(&t->l, back ? TWOQ_MAIN : TWOQ_IN, number);
    t->back = false;
}

REPLAY_POLICY(twoq, "2q", .drop = policy_drop)
