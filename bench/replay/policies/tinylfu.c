/* SPDX-License-Identifier: MIT
 *
 * tinylfu: W-TinyLFU as its paper and Caffeine describe it, with a fixed window.
 *
 * PICTURE    new -> window (LRU, 1 %) -> its oldest is the candidate
 *                     -> uses(candidate) > uses(oldest of probation)? replace it : evict candidate
 *            probation (LRU) -- hit --> protected (LRU, 80 % of main) -- full --> head of probation
 *            uses: count-min sketch, 4 rows of 4-bit counters, 16 counters an entry. Every request
 *            raises the 4 counters of its key; after 10 requests an entry all are halved.
 * INVARIANTS window + probation + protected <= capacity; window <= its share after every request;
 *            protected <= its share. In a tie the entry in probation stays.
 * LIMITS     The share of the window is fixed (Caffeine adapts it), and no candidate is admitted at
 *            random (Caffeine does, against attackers). By bytes a candidate meets one victim at a
 *            time, and the sketch counts entries of the mean size.
 * SOURCE     Einziger, Friedman, Manes 2017 (W-TinyLFU); Karedla et al. 1994 (segmented LRU). */
#include "bench/replay/policy.h"

#define TINYLFU_ROWS 4u
#define TINYLFU_MOST 15u
#define TINYLFU_RESET 10u /* requests an entry */

enum { TINYLFU_WINDOW, TINYLFU_PROBATION, TINYLFU_PROTECTED };

typedef struct tinylfu {
    policy_lists l;
    uint64_t window_most, protected_most;
    uint64_t row_mask, added;
    uint8_t row[]; /* TINYLFU_ROWS rows of row_mask + 1 counters */
} tinylfu;

/* ---- the sketch ---- */

static uint8_t *tinylfu_counter(tinylfu *t, uint32_t number, unsigned row)
{
    static const uint64_t seed[TINYLFU_ROWS] = { UINT64_C(0xc3a5c85c97cb3127),
        UINT64_C(0xb492b66fbe98f273), UINT64_C(0x9ae16a3b2f90404f), UINT64_C(0xcbf29ce484222325) };
    uint64_t h = ((uint64_t)number + seed[row]) * seed[row];
    h ^= h >> 32;
    h *= UINT64_C(0xd6e8feb86659fd93);
    h ^= h >> 32;
    return &t->row[row * (t->row_mask + 1) + (h & t->row_mask)];
}

static unsigned tinylfu_uses(tinylfu *t, uint32_t number)
{
    unsigned least = TINYLFU_MOST;
    for (unsigned i = 0; i < TINYLFU_ROWS; i++) {
        const unsigned n = *tinylfu_counter(t, number, i);
        least = n < least ? n : least;
    }
    return least;
}

static void tinylfu_used(void *state, uint32_t number)
{
    tinylfu *t = state;
    for (unsigned i = 0; i < TINYLFU_ROWS; i++) {
        uint8_t *n = tinylfu_counter(t, number, i);
        if (*n < TINYLFU_MOST) { ++*n; }
    }
    if (++t->added < TINYLFU_RESET * t->l.capacity / t->l.mean) { return; }
    for (uint64_t i = 0; i < TINYLFU_ROWS * (t->row_mask + 1); i++) { t->row[i] >>= 1; }
    t->added /= 2;
}

/* ---- the policy ---- */

static void *tinylfu_open(uint64_t capacity, uint32_t objects)
{
    uint64_t row = 16;
    const uint64_t entries = capacity < objects ? capacity : objects;
    while (row < entries * 4 && row < (uint64_t)1 << 32) { row *= 2; }
    tinylfu *t = policy_open(sizeof *t + (size_t)row * TINYLFU_ROWS, capacity, objects);
    if (t == NULL) { return NULL; }
    t->window_most = (capacity + 99) / 100;
    t->protected_most = (capacity - t->window_most) * 4 / 5;
    t->row_mask = row - 1;
    return t;
}

static void tinylfu_hit(void *state, uint32_t number)
{
    tinylfu *t = state;
    const bool window = t->l.in[number] == TINYLFU_WINDOW;
    tinylfu_used(t, number);
    policy_push(&t->l, window ? TINYLFU_WINDOW : TINYLFU_PROTECTED, number);
    while (t->l.n[TINYLFU_PROTECTED] > t->protected_most) {
        policy_push(&t->l, TINYLFU_PROBATION, policy_oldest(&t->l, TINYLFU_PROTECTED));
    }
}

static uint32_t tinylfu_evict(void *state, uint32_t number)
{
    tinylfu *t = state;
    (void)number;
    const unsigned from = t->l.n[TINYLFU_PROBATION] != 0 ? TINYLFU_PROBATION : TINYLFU_PROTECTED;
    if (t->l.n[TINYLFU_WINDOW] == 0) { return policy_pop(&t->l, from); }
    const uint32_t candidate = policy_pop(&t->l, TINYLFU_WINDOW);
    const uint32_t victim = policy_oldest(&t->l, from); /* none: the window is the whole capacity */
    if (victim == POLICY_NONE || tinylfu_uses(t, candidate) <= tinylfu_uses(t, victim)) {
        return candidate;
    }
    policy_take(&t->l, victim);
    policy_push(&t->l, TINYLFU_PROBATION, candidate);
    return victim;
}

static void tinylfu_insert(void *state, uint32_t number)
{
    tinylfu *t = state;
    policy_push(&t->l, TINYLFU_WINDOW, number);
    while (t->l.n[TINYLFU_WINDOW] > t->window_most) {
        policy_push(&t->l, TINYLFU_PROBATION, policy_oldest(&t->l, TINYLFU_WINDOW));
    }
}

REPLAY_POLICY(tinylfu, "w-tinylfu", .drop = policy_drop, .miss = tinylfu_used, .bytes = true)
