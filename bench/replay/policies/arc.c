/* SPDX-License-Identifier: MIT
 *
 * arc: ARC (Megiddo, Modha 2003): one LRU of numbers seen once and one of others, each with ghosts
 * of those it evicted. A hit of a ghost moves the aim, the share of the first list. */
#include "bench/replay/policy.h"

enum { ARC_ONCE, ARC_OFTEN, ARC_ONCE_GHOST, ARC_OFTEN_GHOST };

typedef struct arc {
    policy_lists l;
    double aim; /* entries or bytes of ARC_ONCE */
} arc;

static void *arc_open(uint64_t capacity, uint32_t objects)
{
    return policy_open(sizeof(arc), capacity, objects);
}

static void arc_hit(void *state, uint32_t number) { policy_push(state, ARC_OFTEN, number); }

static uint32_t arc_replace(arc *a, bool often_ghost)
{
    const double once = (double)a->l.n[ARC_ONCE];
    const bool first = once > 0 && (once > a->aim || (often_ghost && once >= a->aim));
    const unsigned from = first || a->l.n[ARC_OFTEN] == 0 ? ARC_ONCE : ARC_OFTEN;
    const uint32_t victim = policy_pop(&a->l, from);
    policy_push(&a->l, from + 2, victim);
    return victim;
}

/* Return the step of the aim: how much longer the other list of ghosts is, at least 1. */
static double arc_step(const policy_lists *l, unsigned ghosts, unsigned others)
{
    const double step = (double)l->n[others] / (double)l->n[ghosts];
    return step > 1 ? step : 1;
}

static void arc_miss(void *state, uint32_t number)
{
    arc *a = state;
    policy_lists *l = &a->l;
    const double most = (double)l->capacity, weight = (double)policy_weight(l, number);
    if (l->in[number] == ARC_ONCE_GHOST) {
        a->aim += weight * arc_step(l, ARC_ONCE_GHOST, ARC_OFTEN_GHOST);
        a->aim = a->aim < most ? a->aim : most;
    } else if (l->in[number] == ARC_OFTEN_GHOST) {
        a->aim -= weight * arc_step(l, ARC_OFTEN_GHOST, ARC_ONCE_GHOST);
        a->aim = a->aim > 0 ? a->aim : 0;
    }
}

static uint32_t arc_evict(void *state, uint32_t number)
{
    arc *a = state;
    policy_lists *l = &a->l;
    const uint64_t weight = policy_weight(l, number);
    if (l->in[number] == POLICY_LISTS) { /* new: the ghosts make room, too */
        const bool full = l->n[ARC_ONCE] + l->n[ARC_ONCE_GHOST] + weight > l->capacity;
        if (full && l->n[ARC_ONCE_GHOST] == 0) { return policy_pop(l, ARC_ONCE); }
        while (l->n[ARC_ONCE] + l->n[ARC_ONCE_GHOST] + weight > l->capacity &&
               l->n[ARC_ONCE_GHOST] != 0) {
            (void)policy_pop(l, ARC_ONCE_GHOST);
        }
        while (!full && l->n[0] + l->n[1] + l->n[2] + l->n[3] + weight > 2 * l->capacity &&
               l->n[ARC_OFTEN_GHOST] != 0) {
            (void)policy_pop(l, ARC_OFTEN_GHOST);
        }
    }
    return arc_replace(a, l->in[number] == ARC_OFTEN_GHOST);
}

static void arc_insert(void *state, uint32_t number)
{
    policy_lists *l = state;
    const unsigned in = l->in[number];
    const bool ghost = in == ARC_ONCE_GHOST || in == ARC_OFTEN_GHOST;
    policy_push(l, ghost ? ARC_OFTEN : ARC_ONCE, number);
}

REPLAY_POLICY(arc, "arc", .drop = policy_drop, .miss = arc_miss, .bytes = true)
