/* SPDX-License-Identifier: MIT
 *
 * curve: the misses of exact LRU at all capacities, in one pass.
 *
 * PICTURE    slots  | 3 | . | 7 | 1 | . | 9 |     a request takes the next slot; its object leaves the old one
 *                     old          new            sum of the weights from the old slot on = stack distance
 * INVARIANTS An object is at the capacities that are its distance or more. Weights are sums of a
 *            Fenwick tree: O(log slots) a request.
 * BYTES      The weight is the size. Where sizes change, LRU may have a little less than the objects
 *            within the distance. A miss starts a TTL again, and small capacities miss more often: the
 *            curve has one deadline for all, that of a store which evicts nothing.
 * LIMITS     2^32 - 1 objects; 24 bytes an object and 8 a slot, at least two slots an object.
 * SOURCE     Mattson, Gecsei, Slutz, Traiger 1970; Bennett, Kruskal 1975 (the tree). */
#include "bench/replay/curve.h"

#include <stdlib.h>
#include <string.h>

struct replay_curve {
    uint64_t *capacity;
    unsigned n;
    bool bytes;
    uint32_t objects;
    uint32_t slots, next;
    uint64_t *tree;    /* 1..slots: Fenwick tree of the weights */
    uint64_t total;    /* of all weights */
    uint64_t *weight;  /* by number */
    int64_t *deadline; /* by number, ms */
    uint32_t *slot;    /* by number; 0: not there */
    uint32_t *number;  /* by slot; of the past if its slot is another one */
};

static void curve_add(replay_curve *c, uint32_t slot, uint64_t weight)
{
    for (; slot <= c->slots; slot += slot & -slot) { c->tree[slot] += weight; }
}

/* Return the sum of the weights below a slot. */
static uint64_t curve_below(const replay_curve *c, uint32_t slot)
{
    uint64_t sum = 0;
    for (slot--; slot != 0; slot -= slot & -slot) { sum += c->tree[slot]; }
    return sum;
}

replay_curve *replay_curve_open(const uint64_t *capacity, unsigned n, bool bytes, uint32_t objects)
{
    replay_curve *c = calloc(1, sizeof *c);
    const size_t room = (size_t)objects + 1, slots = 2 * room + 65536;
    if (c == NULL) { return NULL; }
    *c = (replay_curve){ .n = n, .bytes = bytes, .objects = objects, .next = 1 };
    c->slots = slots < UINT32_MAX ? (uint32_t)slots : UINT32_MAX - 1;
    c->capacity = malloc(n * sizeof *capacity);
    c->tree = calloc((size_t)c->slots + 1, sizeof *c->tree);
    c->weight = calloc(room, sizeof *c->weight);
    c->deadline = calloc(room, sizeof *c->deadline);
    c->slot = calloc(room, sizeof *c->slot);
    c->number = calloc((size_t)c->slots + 1, sizeof *c->number);
    if (c->capacity == NULL || c->tree == NULL || c->weight == NULL || c->deadline == NULL ||
        c->slot == NULL || c->number == NULL) {
        replay_curve_close(c);
        return NULL;
    }
    memcpy(c->capacity, capacity, n * sizeof *capacity);
    return c;
}

void replay_curve_close(replay_curve *c)
{
    if (c == NULL) { return; }
    free(c->capacity);
    free(c->tree);
    free(c->weight);
    free(c->deadline);
    free(c->slot);
    free(c->number);
    free(c);
}

static void curve_take(replay_curve *c, uint32_t number)
{
    if (c->slot[number] == 0) { return; }
    curve_add(c, c->slot[number], -c->weight[number]);
    c->total -= c->weight[number];
    c->slot[number] = 0;
}

/* Number the used slots 1, 2, 3 .. in their order. */
static void curve_compact(replay_curve *c)
{
    uint32_t to = 1;
    memset(c->tree, 0, ((size_t)c->slots + 1) * sizeof *c->tree);
    for (uint32_t from = 1; from < c->next; from++) {
        const uint32_t number = c->number[from];
        if (c->slot[number] != from) { continue; }
        c->number[to] = number;
        c->slot[number] = to;
        curve_add(c, to++, c->weight[number]);
    }
    c->next = to;
}

unsigned replay_curve_request(replay_curve *c, uint32_t number, const cli_request *r)
{
    unsigned at = c->n;
    const uint64_t size = !c->bytes ? 1 : r->size != 0 ? r->size : 1;
    const bool there = c->slot[number] != 0;
    const bool live = there && (!c->bytes || r->time_ms < c->deadline[number]);
    if (live && r->op == CLI_GET) {
        const uint64_t distance = c->total - curve_below(c, c->slot[number]);
        unsigned low = 0;
        while (low < at) { /* the first capacity that is not below the distance */
            const unsigned middle = (low + at) / 2;
            if (c->capacity[middle] < distance) { low = middle + 1; } else { at = middle; }
        }
    }
    const bool stored = !live || r->op == CLI_SET || c->weight[number] != size;
    curve_take(c, number);
    if (r->op == CLI_DELETE || size > c->capacity[c->n - 1]) { return at; }
    if (stored) { c->deadline[number] = r->ttl_ms != 0 ? r->time_ms + r->ttl_ms : INT64_MAX; }
    if (c->next > c->slots) { curve_compact(c); }
    c->slot[number] = c->next;
    c->number[c->next] = number;
    c->weight[number] = size;
    c->total += size;
    curve_add(c, c->next++, size);
    return at;
}
