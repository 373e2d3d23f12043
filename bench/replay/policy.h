/* SPDX-License-Identifier: MIT
 *
 * policy: a policy of one's own in one file: policies/NAME.c with four functions and the line
 * REPLAY_POLICY. The build takes each file of the folder; no other file changes.
 *
 * WALK       hit: `hit`. Miss: `miss`; while the cache has no room, `evict` names the number that
 *            leaves for `number`; then `insert`. Which numbers are stored, the replay knows.
 * BYTES      With .bytes the policy runs by bytes, too: the state begins with policy_lists, its
 *            capacity and n[] are bytes. A hit of another size has the new weight before `hit`;
 *            `evict` may then name the number itself. The replay knows deadlines and calls `drop`.
 * EXAMPLE    policies/sieve.c */
#ifndef BENCH_REPLAY_POLICY_H
#define BENCH_REPLAY_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

typedef struct replay_code {
    const char *name;
    /* Return the state in one block of malloc; NULL: no memory. Numbers are below `objects`, the
     * capacity is in entries, at least 1. */
    void *(*open)(uint64_t capacity, uint32_t objects);
    void (*hit)(void *state, uint32_t number);
    uint32_t (*evict)(void *state, uint32_t number);
    void (*insert)(void *state, uint32_t number);
    /* The following may be NULL. Delete a stored number; without it the number keeps its place. */
    void (*drop)(void *state, uint32_t number);
    void (*miss)(void *state, uint32_t number); /* once, before room is made */
    /* After `hit` and `evict`: return one more number that leaves, or POLICY_NONE. */
    uint32_t (*left)(void *state);
    bool bytes; /* runs by bytes, too; then `drop` is not NULL */
} replay_code;

/* Add a policy to those of --policy; end the program if its name is taken. */
void replay_policy_add(const replay_code *code);
/* Make a policy of id_open, id_hit, id_evict, id_insert: its name, then other members, if any. */
#define REPLAY_POLICY(id, ...)                                                               \
    static const replay_code id##_code = { .open = id##_open, .hit = id##_hit,               \
        .evict = id##_evict, .insert = id##_insert, .name = __VA_ARGS__ };                   \
    __attribute__((constructor)) static void id##_add(void) { replay_policy_add(&id##_code); }

/* ---- Lists of numbers, in one block with the state of a policy ---------------------------------- */

#define POLICY_LISTS 8u
#define POLICY_NONE UINT32_MAX

/* The first member of a state. A number is in one list or in none. */
typedef struct policy_lists {
    uint32_t *older, *newer; /* by number; the ends of list i are [objects + i] */
    uint8_t *in, *mark;      /* list of a number, POLICY_LISTS: none; a byte for the policy */
    uint32_t objects;
    uint64_t n[POLICY_LISTS], capacity; /* entries or bytes */
    uint64_t *weight; /* by number; NULL: entries, of weight 1 */
    uint64_t mean;    /* weight of an entry */
} policy_lists;

static inline void *policy_open(size_t state_bytes, uint64_t capacity, uint32_t objects)
{
    const size_t room = (size_t)objects + POLICY_LISTS, head = (state_bytes + 7) & ~(size_t)7;
    policy_lists *l = calloc(1, head + room * (2 * sizeof *l->older + 2));
    if (l == NULL) { return NULL; }
    l->older = (uint32_t *)(void *)((char *)l + head);
    l->newer = l->older + room;
    l->in = (uint8_t *)(l->newer + room);
    l->mark = l->in + room;
    l->objects = objects;
    l->capacity = capacity;
    l->mean = 1;
    for (uint32_t i = 0; i < objects; i++) { l->in[i] = POLICY_LISTS; }
    for (uint32_t i = 0; i < POLICY_LISTS; i++) {
        l->older[objects + i] = l->newer[objects + i] = objects + i;
    }
    return l;
}

/* Return the oldest number of a list, and the next newer one of its list; POLICY_NONE: none. */
static inline uint32_t policy_newer(const policy_lists *l, uint32_t number)
{
    const uint32_t next = l->newer[number];
    return next < l->objects ? next : POLICY_NONE;
}
static inline uint32_t policy_oldest(const policy_lists *l, unsigned list)
{
    return policy_newer(l, l->objects + list);
}

static inline uint64_t policy_weight(const policy_lists *l, uint32_t number)
{
    return l->weight != NULL ? l->weight[number] : 1;
}

/* Change the weight of a number. */
static inline void policy_weigh(policy_lists *l, uint32_t number, uint64_t weight)
{
    if (l->in[number] != POLICY_LISTS) { l->n[l->in[number]] += weight - l->weight[number]; }
    l->weight[number] = weight;
}

static inline void policy_take(policy_lists *l, uint32_t number)
{
    if (l->in[number] == POLICY_LISTS) { return; }
    l->newer[l->older[number]] = l->newer[number];
    l->older[l->newer[number]] = l->older[number];
    l->n[l->in[number]] -= policy_weight(l, number);
    l->in[number] = POLICY_LISTS;
}

/* Make a number the newest of a list. */
static inline void policy_push(policy_lists *l, unsigned list, uint32_t number)
{
    const uint32_t end = l->objects + list;
    policy_take(l, number);
    l->newer[number] = end;
    l->older[number] = l->older[end];
    l->newer[l->older[end]] = number;
    l->older[end] = number;
    l->in[number] = (uint8_t)list;
    l->n[list] += policy_weight(l, number);
}

/* Take the oldest number of a list that is not empty. */
static inline uint32_t policy_pop(policy_lists *l, unsigned list)
{
    const uint32_t number = policy_oldest(l, list);
    policy_take(l, number);
    return number;
}

/* `.drop` of a policy that keeps no other account of a number. */
__attribute__((unused)) static void policy_drop(void *state, uint32_t number)
{
    policy_lists *l = state;
    policy_take(l, number);
    l->mark[number] = 0;
}

#endif
