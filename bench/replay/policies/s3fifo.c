/* SPDX-License-Identifier: MIT
 *
 * s3fifo: S3-FIFO (Yang et al. 2023): new numbers enter a small queue, a tenth of the room. Those with
 * two hits there move to the main queue, others leave and are ghosts; a ghost that comes back enters
 * the main queue. The main queue gives a number one more turn for each of at most three hits. */
#include "bench/replay/policy.h"

#define S3FIFO_HITS 3u

enum { S3FIFO_SMALL, S3FIFO_MAIN, S3FIFO_GHOST };

static void *s3fifo_open(uint64_t capacity, uint32_t objects)
{
    return policy_open(sizeof(policy_lists), capacity, objects);
}

static void s3fifo_hit(void *state, uint32_t number)
{
    uint8_t *hits = &((policy_lists *)state)->mark[number];
    if (*hits < S3FIFO_HITS) { ++*hits; }
}

/* Return the number that leaves the small queue; POLICY_NONE: all moved to the main queue. */
static uint32_t s3fifo_small(policy_lists *l)
{
    while (l->n[S3FIFO_SMALL] != 0) {
        const uint32_t at = policy_oldest(l, S3FIFO_SMALL);
        const bool stays = l->mark[at] > 1;
        l->mark[at] = 0;
        policy_push(l, stays ? S3FIFO_MAIN : S3FIFO_GHOST, at);
        if (!stays) { return at; }
    }
    return POLICY_NONE;
}

static uint32_t s3fifo_evict(void *state, uint32_t number)
{
    policy_lists *l = state;
    const uint64_t main_most = l->capacity - l->capacity / 10;
    (void)number;
    if (l->n[S3FIFO_MAIN] <= main_most) {
        const uint32_t at = s3fifo_small(l);
        while (l->n[S3FIFO_GHOST] > main_most) { (void)policy_pop(l, S3FIFO_GHOST); }
        if (at != POLICY_NONE) { return at; }
    }
    for (uint32_t at = policy_oldest(l, S3FIFO_MAIN);; at = policy_oldest(l, S3FIFO_MAIN)) {
        if (l->mark[at] == 0) { return policy_pop(l, S3FIFO_MAIN); }
        l->mark[at]--;
        policy_push(l, S3FIFO_MAIN, at);
    }
}

static void s3fifo_insert(void *state, uint32_t number)
{
    policy_lists *l = state;
    policy_push(l, l->in[number] == S3FIFO_GHOST ? S3FIFO_MAIN : S3FIFO_SMALL, number);
}

REPLAY_POLICY(s3fifo, "s3-fifo", .drop = policy_drop, .bytes = true)
