/* SPDX-License-Identifier: MIT
 *
 * wtinylfu: W-TinyLFU as libCacheSim (commit aa0fc409) runs it, with its faults.
 *
 * PICTURE    new -> window (LRU) -> main has room? probation, else protected if that has room
 *                     -> uses(candidate) > uses(victim)? replace, next candidate : evict, stop
 *            probation (1/5 of main, rounded down) -- hit --> protected (4/5, rounded down)
 *            -- full --> probation -- full --> evict
 * INVARIANTS main <= capacity - 1 %; window + main <= capacity: the window takes what main leaves.
 * FAULTS     Kept, because the figures depend on them; tinylfu.c has none of them. A hit in the
 *            window is not counted. A candidate is counted again at each comparison. Counters have
 *            no upper bound and are halved after 32 hits of main an entry. One request evicts until
 *            a candidate loses. If main is no multiple of 5, a hit in probation evicts an entry,
 *            and the free place goes to a candidate without a comparison.
 * LIMITS     Entries, no bytes. Below 100 entries the window is 1; libCacheSim stores nothing.
 * SOURCE     The sketch is a Bloom filter for an error of .001: 10 hashes, 14.4 counters an entry,
 *            by XXH64 of the id with two seeds. The id here is 1 + the number of the object. Misses
 *            are equal if the trace numbers its objects from 1 in the order of their first requests. */
#include "bench/replay/policy.h"

#define WTINY_HASHES 10u
#define WTINY_COUNTERS 14.377587512 /* an entry of main: -ln(.001) / ln(2)^2 */
#define WTINY_RESET 32u             /* hits of main an entry */

enum { WTINY_WINDOW, WTINY_PROBATION, WTINY_PROTECTED, WTINY_LEFT };

typedef struct wtiny {
    policy_lists l;
    uint64_t main_most, probation_most, protected_most;
    uint64_t hits; /* of main, since uses were halved */
    uint32_t counters;
    uint32_t uses[];
} wtiny;

/* ---- the sketch ---- */

static uint64_t wtiny_rotate(uint64_t x, unsigned bits) { return x << bits | x >> (64 - bits); }

/* Return the low half of XXH64 of 8 bytes. */
static uint32_t wtiny_hash(uint64_t id, uint64_t seed)
{
    const uint64_t p1 = UINT64_C(0x9e3779b185ebca87), p2 = UINT64_C(0xc2b2ae3d27d4eb4f);
    const uint64_t p3 = UINT64_C(0x165667b19e3779f9), p4 = UINT64_C(0x85ebca77c2b2ae63);
    uint64_t h = seed + UINT64_C(0x27d4eb2f165667c5) + 8;
    h = wtiny_rotate(h ^ wtiny_rotate(id * p2, 31) * p1, 27) * p1 + p4;
    h = (h ^ h >> 33) * p2;
    h = (h ^ h >> 29) * p3;
    return (uint32_t)(h ^ h >> 32);
}

/* Return the uses of a number; add 1 or 0 to its counters. */
static uint32_t wtiny_uses(wtiny *t, uint32_t number, uint32_t add)
{
    uint32_t at = wtiny_hash((uint64_t)number + 1, 0x12345678), least = UINT32_MAX;
    const uint32_t step = wtiny_hash((uint64_t)number + 1, 0x12344321);
    for (unsigned i = 0; i < WTINY_HASHES; i++, at += step) {
        uint32_t *n = &t->uses[at % t->counters];
        least = *n < least ? *n : least;
        *n += add;
    }
    return least;
}

/* ---- the policy ---- */

static void *wtiny_open(uint64_t capacity, uint32_t objects)
{
    const uint64_t window = capacity < 100 ? 1 : (uint64_t)((double)capacity * .01);
    const uint64_t main_most = capacity - window;
    const double counters = WTINY_COUNTERS * (double)main_most;
    const uint32_t room = counters > INT32_MAX ? (uint32_t)INT32_MAX
                          : counters < WTINY_HASHES ? 2 * WTINY_HASHES : (uint32_t)counters + 1;
    wtiny *t = policy_open(sizeof *t + room * sizeof t->uses[0], capacity, objects);
    if (t == NULL) { return NULL; }
    t->main_most = main_most;
    t->probation_most = main_most / 5;
    t->protected_most = main_most * 4 / 5;
    t->counters = room;
    return t;
}

static void wtiny_hit(void *state, uint32_t number)
{
    wtiny *t = state;
    if (t->l.in[number] == WTINY_WINDOW) {
        policy_push(&t->l, WTINY_WINDOW, number);
        return;
    }
    policy_push(&t->l, WTINY_PROTECTED, number);
    if (t->l.n[WTINY_PROTECTED] > t->protected_most) {
        policy_push(&t->l, WTINY_PROBATION, policy_oldest(&t->l, WTINY_PROTECTED));
        if (t->l.n[WTINY_PROBATION] > t->probation_most) {
            policy_push(&t->l, WTINY_LEFT, policy_oldest(&t->l, WTINY_PROBATION));
        }
    }
    (void)wtiny_uses(t, number, 1);
    if (++t->hits < WTINY_RESET * t->main_most) { return; }
    t->hits = 0;
    for (uint32_t i = 0; i < t->counters; i++) { t->uses[i] /= 2; }
}

static uint32_t wtiny_evict(void *state, uint32_t number)
{
    wtiny *t = state;
    policy_lists *l = &t->l;
    (void)number;
    for (;;) {
        const uint32_t candidate = policy_oldest(l, WTINY_WINDOW);
        const unsigned from = l->n[WTINY_PROBATION] != 0 ? WTINY_PROBATION : WTINY_PROTECTED;
        if (candidate == POLICY_NONE) { return policy_pop(l, from); }
        const uint32_t victim = policy_oldest(l, from);
        bool wins = l->n[WTINY_PROBATION] + l->n[WTINY_PROTECTED] < t->main_most;
        if (!wins && victim != POLICY_NONE) {
            wins = wtiny_uses(t, candidate, 0) > wtiny_uses(t, victim, 0);
            if (wins) { policy_push(l, WTINY_LEFT, victim); }
        }
        (void)wtiny_uses(t, candidate, 1);
        if (!wins) {
            policy_take(l, candidate);
            return candidate;
        }
        const bool high = l->n[WTINY_PROBATION] >= t->probation_most &&
                          l->n[WTINY_PROTECTED] < t->protected_most;
        policy_push(l, high ? WTINY_PROTECTED : WTINY_PROBATION, candidate);
    }
}

static void wtiny_insert(void *state, uint32_t number)
{
    wtiny *t = state;
    policy_push(&t->l, WTINY_WINDOW, number);
    (void)wtiny_uses(t, number, 1);
}

static uint32_t wtiny_left(void *state)
{
    policy_lists *l = state;
    return l->n[WTINY_LEFT] != 0 ? policy_pop(l, WTINY_LEFT) : POLICY_NONE;
}

REPLAY_POLICY(wtiny, "w-tinylfu-lcs", .drop = policy_drop, .left = wtiny_left)
