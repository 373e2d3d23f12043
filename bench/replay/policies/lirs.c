/* SPDX-License-Identifier: MIT
 *
 * lirs: LIRS (Jiang, Zhang 2002): 99 % of the capacity are numbers with a short distance between two
 * requests (low), 1 % others (high), which are evicted first.
 *
 * PICTURE    stack: low, high and evicted numbers by their last request; a low one at its old end
 *            queue: the high ones that are stored      gone: evicted ones of the stack, to bound it
 * INVARIANTS A number of the stack that is requested again becomes low, the oldest low one high.
 *            The stack has at most two capacities.
 * SLOTS      A number is in the stack as itself, in the queue as number + size, in gone as number +
 *            2 size: `size` objects, three lists. */
#include "bench/replay/policy.h"

enum { LIRS_STACK, LIRS_QUEUE, LIRS_GONE };

typedef struct lirs {
    policy_lists l;
    uint32_t size;
    uint64_t low, low_most;
} lirs;

static void *lirs_open(uint64_t capacity, uint32_t objects)
{
    lirs *s = objects > UINT32_MAX / 4 ? NULL : policy_open(sizeof *s, capacity, 3 * objects);
    if (s == NULL) { return NULL; }
    s->size = objects;
    s->low_most = capacity - (capacity / 100 > 0 ? capacity / 100 : 1);
    return s;
}

static bool lirs_in(const lirs *s, uint32_t number, unsigned list)
{
    return s->l.in[number + list * s->size] == list;
}

/* Let the oldest of the stack be a low one. */
static void lirs_prune(lirs *s)
{
    for (uint32_t n; (n = policy_oldest(&s->l, LIRS_STACK)) != POLICY_NONE && s->l.mark[n] == 0;) {
        policy_take(&s->l, n);
        policy_take(&s->l, n + 2 * s->size);
    }
}

static void lirs_make_low(lirs *s, uint32_t number)
{
    policy_push(&s->l, LIRS_STACK, number);
    policy_take(&s->l, number + s->size);
    s->l.mark[number] = 1;
    if (++s->low <= s->low_most) { return; }
    const uint32_t oldest = policy_pop(&s->l, LIRS_STACK);
    s->l.mark[oldest] = 0;
    s->low--;
    policy_push(&s->l, LIRS_QUEUE, oldest + s->size);
    lirs_prune(s);
}

static void lirs_hit(void *state, uint32_t number)
{
    lirs *s = state;
    if (s->l.mark[number] != 0) {
        policy_push(&s->l, LIRS_STACK, number);
        lirs_prune(s);
    } else if (lirs_in(s, number, LIRS_STACK)) {
        lirs_make_low(s, number);
    } else {
        policy_push(&s->l, LIRS_STACK, number);
        policy_push(&s->l, LIRS_QUEUE, number + s->size);
    }
}

static uint32_t lirs_evict(void *state, uint32_t number)
{
    lirs *s = state;
    (void)number;
    const uint32_t victim = s->l.n[LIRS_QUEUE] > 0 ? policy_pop(&s->l, LIRS_QUEUE) - s->size
                                                   : policy_oldest(&s->l, LIRS_STACK);
    if (s->l.mark[victim] != 0) { /* a capacity of 1: no low one, no queue */
        s->l.mark[victim] = 0;
        s->low--;
        policy_take(&s->l, victim);
    } else if (lirs_in(s, victim, LIRS_STACK)) {
        policy_push(&s->l, LIRS_GONE, victim + 2 * s->size);
    }
    return victim;
}

static void lirs_insert(void *state, uint32_t number)
{
    lirs *s = state;
    const bool known = lirs_in(s, number, LIRS_STACK);
    policy_take(&s->l, number + 2 * s->size);
    if (s->low < s->low_most || (known && s->low_most > 0)) {
        lirs_make_low(s, number);
    } else {
        policy_push(&s->l, LIRS_STACK, number);
        policy_push(&s->l, LIRS_QUEUE, number + s->size);
    }
    while (s->l.n[LIRS_STACK] > 2 * s->l.capacity && s->l.n[LIRS_GONE] > 0) {
        policy_take(&s->l, policy_pop(&s->l, LIRS_GONE) - 2 * s->size);
    }
}

static void lirs_drop(void *state, uint32_t number)
{
    lirs *s = state;
    s->low -= s->l.mark[number];
    policy_drop(s, number);
    policy_take(&s->l, number + s->size);
    lirs_prune(s);
}

REPLAY_POLICY(lirs, "lirs", .drop = lirs_drop)
