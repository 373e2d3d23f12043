/* SPDX-License-Identifier: MIT
 *
 * ideal: textbook policies to compare with: exact FIFO, exact LRU, GDSF, Belady, a bound.
 *
 * PICTURE    FIFO, LRU  one list over numbers; LRU makes a hit the newest
 *            GDSF       a tree over the numbers; a node has the least of its halves. Priority = age
 *                       + uses / size; the age is the priority of the last evicted object.
 *            Belady     the same tree; priority = - next use
 *            bound      PFOO-L: an entry between two requests costs its size times the requests
 *                       between; the cheapest ones hit, as many as capacity x requests pay. No
 *                       policy misses less, with sizes too.
 * INVARIANTS Bytes or entries stored <= capacity after every request. The priority of an object
 *            that is not stored is infinite.
 * LIMITS     2^32 - 1 objects and requests. Belady keeps 4 bytes a request and has entries only:
 *            with sizes the best choice is a knapsack. An object above the capacity is not stored.
 * SEE ALSO   policy.h (others). The engine shares no code with these policies, so that a fault
 *            shows as a difference.
 * SOURCE     Belady 1966; Cherkasova 1998 (GDSF); Berger, Beckmann, Harchol-Balter 2018 (PFOO). */
#include "bench/replay/ideal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- ids ---- */

void cli_ids_free(cli_ids *ids)
{
    free(ids->id);
    free(ids->number);
    memset(ids, 0, sizeof *ids);
}

static uint64_t ideal_slot(const cli_ids *ids, uint64_t id)
{
    uint64_t at = (id * UINT64_C(0x9e3779b97f4a7c15)) >> 20 & (ids->slots - 1);
    while (ids->number[at] != 0 && ids->id[at] != id) { at = (at + 1) & (ids->slots - 1); }
    return at;
}

static bool ideal_ids_grow(cli_ids *ids)
{
    cli_ids more = { .slots = ids->slots != 0 ? ids->slots * 2 : 4096, .count = ids->count };
    if (more.slots > SIZE_MAX / 16) { return false; }
    more.id = malloc((size_t)more.slots * sizeof *more.id);
    more.number = calloc((size_t)more.slots, sizeof *more.number);
    if (more.id == NULL || more.number == NULL) {
        cli_ids_free(&more);
        return false;
    }
    for (uint64_t i = 0; i < ids->slots; i++) {
        if (ids->number[i] == 0) { continue; }
        const uint64_t at = ideal_slot(&more, ids->id[i]);
        more.id[at] = ids->id[i];
        more.number[at] = ids->number[i];
    }
    cli_ids_free(ids);
    *ids = more;
    return true;
}

uint32_t cli_ids_add(cli_ids *ids, uint64_t id, bool *fresh)
{
    *fresh = false;
    if (ids->count >= ids->slots / 2 && !ideal_ids_grow(ids)) { return CLI_IDS_NONE; }
    const uint64_t at = ideal_slot(ids, id);
    if (ids->number[at] == 0) {
        if (ids->count == CLI_IDS_NONE - 1) { return CLI_IDS_NONE; }
        ids->id[at] = id;
        ids->number[at] = ++ids->count;
        *fresh = true;
    }
    return ids->number[at] - 1;
}

uint32_t cli_ids_find(const cli_ids *ids, uint64_t id)
{
    return ids->slots == 0 ? CLI_IDS_NONE : ids->number[ideal_slot(ids, id)] - 1;
}

/* ---- policies ---- */

#define IDEAL_NEVER UINT32_MAX

struct cli_ideal {
    cli_ideal_kind kind;
    bool bytes, failed;
    uint64_t capacity, held;
    uint32_t objects;
    policy_lists *list;    /* FIFO, LRU: list 0 has what is stored */
    uint64_t *size;        /* stored bytes (or 1) of an object; 0: not stored */
    uint32_t *when;        /* Belady: per request the next request of the same object */
    uint32_t *newest;      /* per object: its last request in cli_ideal_foresee */
    uint32_t foreseen, foreseen_room, now;
    double *priority, age;  /* tree: of stored objects; infinite for others */
    uint64_t *cost, limit;  /* bound: per request; those below the limit hit, and */
    uint64_t ties;          /* as many of the limit itself */
    uint32_t *uses, *least; /* tree; least[k]: number with the least priority below node k */
    uint32_t leaves;        /* power of two above `objects` */
    const replay_code *code; /* CLI_IDEAL_CODE, with its state */
    void *state;
};

/* ---- the tree of GDSF and Belady ---- */

static uint32_t ideal_tree_at(const cli_ideal *p, uint32_t node)
{
    return node >= p->leaves ? node - p->leaves : p->least[node];
}

static void ideal_tree_node(cli_ideal *p, uint32_t node)
{
    const uint32_t a = ideal_tree_at(p, 2 * node), b = ideal_tree_at(p, 2 * node + 1);
    p->least[node] = p->priority[b] < p->priority[a] ? b : a;
}

static void ideal_tree_set(cli_ideal *p, uint32_t number, double priority)
{
    p->priority[number] = priority;
    for (uint32_t node = (number + p->leaves) / 2; node >= 1; node /= 2) {
        const uint32_t was = p->least[node];
        ideal_tree_node(p, node);
        if (was == p->least[node] && was != number) { return; } /* and so are all above */
    }
}

static bool ideal_tree_open(cli_ideal *p, size_t n)
{
    p->leaves = 2;
    while (p->leaves < n) {
        if (p->leaves > UINT32_MAX / 4) { return false; }
        p->leaves *= 2;
    }
    p->priority = malloc((size_t)p->leaves * sizeof *p->priority);
    p->uses = calloc(n, sizeof *p->uses);
    p->least = malloc((size_t)p->leaves * sizeof *p->least);
    if (p->priority == NULL || p->uses == NULL || p->least == NULL) { return false; }
    for (uint32_t i = 0; i < p->leaves; i++) { p->priority[i] = INFINITY; }
    for (uint32_t node = p->leaves - 1; node >= 1; node--) { ideal_tree_node(p, node); }
    return true;
}

cli_ideal *cli_ideal_open(cli_ideal_kind kind, const replay_code *code, uint64_t capacity,
                          bool bytes, uint32_t objects)
{
    cli_ideal *p = calloc(1, sizeof *p);
    if (p == NULL) { return NULL; }
    *p = (cli_ideal){ .kind = kind, .code = code, .capacity = capacity, .bytes = bytes,
                      .objects = objects };
    const size_t n = (size_t)objects + 1;
    p->size = calloc(n, sizeof *p->size);
    bool ok = p->size != NULL;
    if (kind == CLI_IDEAL_BELADY || kind == CLI_IDEAL_BOUND) {
        p->newest = malloc(n * sizeof *p->newest);
        ok = ok && p->newest != NULL;
        for (size_t i = 0; ok && i < n; i++) { p->newest[i] = IDEAL_NEVER; }
    }
    if (kind == CLI_IDEAL_GDSF || kind == CLI_IDEAL_BELADY) {
        ok = ok && ideal_tree_open(p, n);
    } else if (kind == CLI_IDEAL_CODE) {
        p->state = code->open(capacity, objects);
        ok = ok && p->state != NULL;
    } else if (kind != CLI_IDEAL_BOUND) {
        p->list = policy_open(sizeof *p->list, capacity, objects);
        ok = ok && p->list != NULL;
    }
    if (ok) { return p; }
    cli_ideal_close(p);
    return NULL;
}

void cli_ideal_close(cli_ideal *p)
{
    if (p == NULL) { return; }
    free(p->list);
    free(p->size);
    free(p->when);
    free(p->newest);
    free(p->cost);
    free(p->priority);
    free(p->uses);
    free(p->least);
    free(p->state);
    free(p);
}

bool cli_ideal_failed(const cli_ideal *p) { return p->failed; }

static uint64_t ideal_weight(const cli_ideal *p, uint64_t size)
{
    return !p->bytes ? 1 : size != 0 ? size : 1;
}

/* Note the cost of a hit. One of another size, or above the capacity, cannot hit. */
static void ideal_foresee_cost(cli_ideal *p, uint32_t number, uint64_t weight)
{
    const bool again = p->newest[number] != IDEAL_NEVER && p->size[number] == weight;
    p->cost[p->foreseen] = again && weight <= p->capacity
                               ? weight * (p->foreseen - p->newest[number]) : UINT64_MAX;
    p->size[number] = weight;
    p->newest[number] = p->foreseen++;
}

static int ideal_by_cost(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Find the cost of the last hit that the capacity pays. */
static void ideal_find_limit(cli_ideal *p)
{
    uint64_t *sorted = malloc((size_t)p->foreseen * sizeof *sorted);
    double left = (double)p->capacity * p->foreseen;
    if (sorted == NULL) {
        p->failed = true;
        return;
    }
    memcpy(sorted, p->cost, (size_t)p->foreseen * sizeof *sorted);
    qsort(sorted, p->foreseen, sizeof *sorted, ideal_by_cost);
    for (uint32_t i = 0; i < p->foreseen && sorted[i] != UINT64_MAX; i++) {
        left -= (double)sorted[i];
        if (left < 0) { break; }
        p->ties = sorted[i] == p->limit ? p->ties + 1 : 1;
        p->limit = sorted[i];
    }
    free(sorted);
}

bool cli_ideal_foresee(cli_ideal *p, uint32_t number, uint64_t size)
{
    if (p->foreseen == p->foreseen_room) {
        const uint64_t room = p->foreseen_room != 0 ? (uint64_t)p->foreseen_room * 2 : 65536;
        const bool bound = p->kind == CLI_IDEAL_BOUND;
        if (room >= IDEAL_NEVER || room > SIZE_MAX / sizeof *p->cost) { return false; }
        void *more = realloc(bound ? (void *)p->cost : (void *)p->when,
                             (size_t)room * (bound ? sizeof *p->cost : sizeof *p->when));
        if (more == NULL) { return false; }
        if (bound) { p->cost = more; } else { p->when = more; }
        p->foreseen_room = (uint32_t)room;
    }
    if (p->kind == CLI_IDEAL_BOUND) {
        ideal_foresee_cost(p, number, ideal_weight(p, size));
        return true;
    }
    if (p->newest[number] != IDEAL_NEVER) { p->when[p->newest[number]] = p->foreseen; }
    p->when[p->foreseen] = IDEAL_NEVER;
    p->newest[number] = p->foreseen++;
    return true;
}

/* Choose the object to evict: the last of the list, the one with the least priority. Return
 * false if nothing is stored. */
static bool ideal_victim(cli_ideal *p, uint32_t *n)
{
    if (p->list != NULL) {
        *n = policy_oldest(p->list, 0);
        return *n != POLICY_NONE;
    }
    *n = ideal_tree_at(p, 1);
    if (p->priority[*n] == INFINITY) { return false; }
    p->age = p->priority[*n];
    return true;
}

static void ideal_drop(cli_ideal *p, uint32_t n)
{
    p->held -= p->size[n];
    p->size[n] = 0;
    if (p->list != NULL) { policy_take(p->list, n); }
    if (p->least != NULL) { ideal_tree_set(p, n, INFINITY); }
    if (p->kind == CLI_IDEAL_CODE) { p->code->drop(p->state, n); }
}

static void ideal_insert(cli_ideal *p, uint32_t n, uint64_t size)
{
    uint32_t old;
    if (p->size[n] != 0) { ideal_drop(p, n); } /* stored with another size */
    if (size > p->capacity) { return; }
    while (p->held + size > p->capacity && ideal_victim(p, &old)) { ideal_drop(p, old); }
    p->size[n] = size;
    p->held += size;
    if (p->list != NULL) { policy_push(p->list, 0, n); }
}

static uint32_t ideal_left(const cli_ideal *p)
{
    return p->code->left != NULL ? p->code->left(p->state) : POLICY_NONE;
}

static void ideal_leave(cli_ideal *p, uint32_t n)
{
    for (; n != POLICY_NONE; n = ideal_left(p)) {
        p->size[n] = 0;
        p->held--;
    }
}

/* Without `drop` a deleted number, of size 2, keeps its place until evicted. */
static bool ideal_by_code(cli_ideal *p, uint32_t n)
{
    const uint64_t was = p->size[n];
    if (was != 0) {
        p->size[n] = 1;
        p->code->hit(p->state, n);
        ideal_leave(p, ideal_left(p));
        return was == 1;
    }
    if (p->held == p->capacity) { ideal_leave(p, p->code->evict(p->state, n)); }
    p->code->insert(p->state, n);
    p->size[n] = 1;
    p->held++;
    return false;
}

bool cli_ideal_request(cli_ideal *p, uint32_t n, uint64_t size)
{
    if (p->kind == CLI_IDEAL_CODE) { return ideal_by_code(p, n); }
    const uint64_t weight = ideal_weight(p, size);
    if (p->kind == CLI_IDEAL_BOUND) {
        if (p->now == 0) { ideal_find_limit(p); }
        const uint64_t cost = p->cost[p->now++];
        return cost < p->limit || (cost == p->limit && p->ties > 0 && p->ties-- > 0);
    }
    const bool hit = p->size[n] != 0;
    if (p->least != NULL) { p->uses[n] = hit ? p->uses[n] + 1 : 1; }
    if (!hit || p->size[n] != weight) {
        ideal_insert(p, n, weight);
    } else if (p->kind == CLI_IDEAL_LRU) {
        policy_push(p->list, 0, n);
    }
    if (p->kind == CLI_IDEAL_BELADY) {
        ideal_tree_set(p, n, -(double)p->when[p->now++]);
    } else if (p->kind == CLI_IDEAL_GDSF && p->size[n] != 0) {
        ideal_tree_set(p, n, p->age + (double)p->uses[n] / (double)p->size[n]);
    }
    return hit;
}

void cli_ideal_delete(cli_ideal *p, uint32_t n, bool foreseeing)
{
    if (foreseeing) {
        p->newest[n] = IDEAL_NEVER; /* the next request is the first one again */
    } else if (p->kind == CLI_IDEAL_CODE && p->size[n] != 0 && p->code->drop == NULL) {
        p->size[n] = 2;
    } else if (p->kind != CLI_IDEAL_BOUND && p->size[n] != 0) {
        ideal_drop(p, n);
    }
}
