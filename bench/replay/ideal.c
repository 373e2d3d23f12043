/* SPDX-License-Identifier: MIT
 *
 * ideal: textbook policies to compare with: GDSF, Belady, a bound, and those of policies/.
 *
 * PICTURE    GDSF       a tree over the numbers; a node has the least of its halves. Priority = age
 *                       + uses / size; the age is the priority of the last evicted object.
 *                       Of equal priorities the oldest request loses.
 *            Belady     the same tree; priority = - next get that no set and no delete precedes. An
 *                       object without one is not stored, nor one with the last of them.
 *            bound      PFOO-L: an entry between two requests costs its size times the requests
 *                       between; the cheapest ones hit, as many as capacity x requests pay. No
 *                       policy misses less, with sizes and TTLs too. Missed bytes have a sum of
 *                       their own, of the cheapest bytes.
 * INVARIANTS Bytes or entries stored <= capacity after every request. The priority of an object
 *            that is not stored is infinite.
 * TTL        By bytes only. An entry keeps the deadline of its store. An expired one takes room
 *            until its next request. The bound takes the latest deadline that a store since the last
 *            set or delete can give: a policy may miss a get for a new one.
 * LIMITS     2^32 - 1 objects and requests. Belady keeps 4 bytes a request and has entries only:
 *            with sizes the best choice is a knapsack. The bound keeps 16 bytes for each get that
 *            can hit. An object above the capacity is not stored.
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

static uint64_t ideal_home(const cli_ids *ids, uint64_t id)
{
    return (id * UINT64_C(0x9e3779b97f4a7c15)) >> 20 & (ids->slots - 1);
}

static uint64_t ideal_slot(const cli_ids *ids, uint64_t id)
{
    uint64_t at = ideal_home(ids, id);
    for (uint32_t n; (n = ids->number[at]) != 0 && ids->id[n - 1] != id;) { at = (at + 1) & (ids->slots - 1); }
    return at;
}

static bool ideal_ids_grow(cli_ids *ids)
{
    cli_ids more = *ids;
    more.slots = ids->slots != 0 ? ids->slots * 2 : 4096;
    if (more.slots > SIZE_MAX / 16) { return false; }
    more.number = calloc((size_t)more.slots, sizeof *more.number);
    more.id = realloc(ids->id, (size_t)more.slots / 2 * sizeof *more.id);
    if (more.id != NULL) { ids->id = more.id; }
    if (more.id == NULL || more.number == NULL) {
        free(more.number);
        return false;
    }
    for (uint32_t i = 0; i < more.count; i++) { more.number[ideal_slot(&more, more.id[i])] = i + 1; }
    free(ids->number);
    *ids = more;
    return true;
}

/* Return the slot of the first of n requests. Prefetch for those behind it: gcc drops the call of a
 * function that does nothing else. */
static uint64_t ideal_ids_at(const cli_ids *ids, const cli_request *r, size_t n)
{
    if (n > 2 * CLI_NEAR) {
        __builtin_prefetch(&ids->number[ideal_home(ids, r[2 * CLI_NEAR].id)]);
        const uint32_t number = ids->number[ideal_home(ids, r[CLI_NEAR].id)];
        if (number != 0) { __builtin_prefetch(&ids->id[number - 1]); }
    }
    return ideal_slot(ids, r->id);
}

uint32_t cli_ids_add(cli_ids *ids, const cli_request *r, size_t n, bool *fresh)
{
    *fresh = false;
    if (ids->count >= ids->slots / 2 && !ideal_ids_grow(ids)) { return CLI_IDS_NONE; }
    const uint64_t at = ideal_ids_at(ids, r, n);
    if (ids->number[at] == 0) {
        if (ids->count == CLI_IDS_NONE - 1) { return CLI_IDS_NONE; }
        ids->id[ids->count] = r->id;
        ids->number[at] = ++ids->count;
        *fresh = true;
    }
    return ids->number[at] - 1;
}

uint32_t cli_ids_find(const cli_ids *ids, const cli_request *r, size_t n)
{
    return ids->slots == 0 ? CLI_IDS_NONE : ids->number[ideal_ids_at(ids, r, n)] - 1;
}

/* ---- policies ---- */

#define IDEAL_NEVER UINT32_MAX

typedef struct ideal_gap { /* a get that can hit */
    uint64_t cost, bytes;  /* room x requests since the one before; what its hit saves */
} ideal_gap;

struct cli_ideal {
    cli_ideal_kind kind;
    bool bytes;
    uint64_t capacity, held;
    uint32_t objects;
    uint64_t *size;        /* stored bytes (or 1) of an object; 0: not stored */
    uint64_t *weight;      /* code by bytes: of objects and ghosts, for its lists */
    int64_t *deadline;     /* by bytes; of a stored object, in ms; bound: the latest possible one */
    uint32_t *when;        /* Belady: per request the next get that its value can serve */
    uint32_t *newest;      /* per object: its last request in cli_ideal_foresee */
    uint32_t foreseen, now; /* requests without deletes */
    ideal_gap *gap;        /* bound */
    uint32_t gaps, room;   /* room: of `gap` or `when` */
    double *priority, age; /* tree: of stored objects; infinite for others */
    uint32_t *uses, *since; /* tree; since: the last request */
    uint32_t *least;       /* tree; least[k]: number with the least priority below node k */
    uint32_t leaves;       /* power of two above `objects` */
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
    const bool older = p->priority[b] == p->priority[a] && p->since[b] < p->since[a];
    p->least[node] = p->priority[b] < p->priority[a] || older ? b : a;
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
    p->since = calloc(p->leaves, sizeof *p->since);
    p->least = malloc((size_t)p->leaves * sizeof *p->least);
    if (p->priority == NULL || p->uses == NULL || p->since == NULL || p->least == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < p->leaves; i++) { p->priority[i] = INFINITY; }
    for (uint32_t node = p->leaves - 1; node >= 1; node--) { ideal_tree_node(p, node); }
    return true;
}

cli_ideal *cli_ideal_open(cli_ideal_kind kind, const replay_code *code, uint64_t capacity,
                          uint64_t mean, uint32_t objects)
{
    const bool bytes = mean != 0;
    cli_ideal *p = calloc(1, sizeof *p);
    if (p == NULL) { return NULL; }
    *p = (cli_ideal){ .kind = kind, .code = code, .capacity = capacity, .bytes = bytes,
                      .objects = objects };
    const size_t n = (size_t)objects + 1;
    p->size = calloc(n, sizeof *p->size);
    p->deadline = bytes ? calloc(n, sizeof *p->deadline) : NULL;
    bool ok = p->size != NULL && (p->deadline != NULL || !bytes);
    if (kind == CLI_IDEAL_BELADY || kind == CLI_IDEAL_BOUND) {
        p->newest = malloc(n * sizeof *p->newest);
        ok = ok && p->newest != NULL;
        for (size_t i = 0; ok && i < n; i++) { p->newest[i] = IDEAL_NEVER; }
    }
    if (kind == CLI_IDEAL_GDSF || kind == CLI_IDEAL_BELADY) {
        ok = ok && ideal_tree_open(p, n);
    } else if (kind == CLI_IDEAL_CODE) {
        p->state = code->open(capacity, objects);
        p->weight = bytes ? calloc(n, sizeof *p->weight) : NULL;
        ok = ok && p->state != NULL && (p->weight != NULL || !bytes);
        if (ok && bytes) {
            ((policy_lists *)p->state)->weight = p->weight;
            ((policy_lists *)p->state)->mean = mean;
        }
    }
    if (ok) { return p; }
    cli_ideal_close(p);
    return NULL;
}

void cli_ideal_close(cli_ideal *p)
{
    if (p == NULL) { return; }
    free(p->size);
    free(p->weight);
    free(p->deadline);
    free(p->when);
    free(p->newest);
    free(p->gap);
    free(p->priority);
    free(p->uses);
    free(p->since);
    free(p->least);
    free(p->state);
    free(p);
}

static uint64_t ideal_weight(const cli_ideal *p, uint64_t size)
{
    return !p->bytes ? 1 : size != 0 ? size : 1;
}

static bool ideal_expired(const cli_ideal *p, uint32_t n, const cli_request *r)
{
    return p->deadline != NULL && r->time_ms >= p->deadline[n];
}

/* Note the deadline that a store by this request gives. With `later` a later one stays. */
static void ideal_set_deadline(cli_ideal *p, uint32_t n, const cli_request *r, bool later)
{
    const int64_t fresh = r->ttl_ms != 0 ? r->time_ms + r->ttl_ms : INT64_MAX;
    if (p->deadline != NULL && !(later && p->deadline[n] > fresh)) { p->deadline[n] = fresh; }
}

/* ---- the future ---- */

/* Return an array with room for element `n`; NULL: no memory. */
static void *ideal_grow(cli_ideal *p, void *array, uint32_t n, size_t each)
{
    if (n < p->room) { return array; }
    const uint64_t room = p->room != 0 ? (uint64_t)p->room * 2 : 65536;
    if (room >= IDEAL_NEVER || room > SIZE_MAX / each) { return NULL; }
    void *more = realloc(array, (size_t)room * each);
    if (more != NULL) { p->room = (uint32_t)room; }
    return more;
}

static bool ideal_foresee_use(cli_ideal *p, uint32_t n, const cli_request *r)
{
    uint32_t *when = ideal_grow(p, p->when, p->foreseen, sizeof *when);
    if (when == NULL) { return false; }
    p->when = when;
    if (r->op == CLI_GET && p->newest[n] != IDEAL_NEVER) { when[p->newest[n]] = p->foreseen; }
    when[p->foreseen] = IDEAL_NEVER;
    return true;
}

static bool ideal_foresee_gap(cli_ideal *p, uint32_t n, const cli_request *r)
{
    const bool again = r->op == CLI_GET && p->newest[n] != IDEAL_NEVER;
    if (again && p->size[n] <= p->capacity && !ideal_expired(p, n, r)) {
        const uint64_t between = p->foreseen - p->newest[n], size = p->size[n];
        ideal_gap *gap = ideal_grow(p, p->gap, p->gaps, sizeof *gap);
        if (gap == NULL) { return false; }
        p->gap = gap;
        gap[p->gaps++] = (ideal_gap){ size <= UINT64_MAX / between ? size * between : UINT64_MAX,
                                      r->size };
    }
    ideal_set_deadline(p, n, r, again);
    p->size[n] = ideal_weight(p, r->size);
    return true;
}

bool cli_ideal_foresee(cli_ideal *p, uint32_t n, const cli_request *r)
{
    if (r->op == CLI_DELETE) {
        p->newest[n] = IDEAL_NEVER; /* the next request is the first one again */
        return true;
    }
    if (p->foreseen == IDEAL_NEVER - 1 ||
        !(p->kind == CLI_IDEAL_BOUND ? ideal_foresee_gap(p, n, r) : ideal_foresee_use(p, n, r))) {
        return false;
    }
    p->newest[n] = p->foreseen++;
    return true;
}

static int ideal_by_cost(const void *a, const void *b)
{
    const uint64_t x = ((const ideal_gap *)a)->cost, y = ((const ideal_gap *)b)->cost;
    return (x > y) - (x < y);
}

static int ideal_by_cost_of_a_byte(const void *a, const void *b)
{
    const ideal_gap *x = a, *y = b;
    const double i = (double)x->cost / (double)x->bytes, k = (double)y->cost / (double)y->bytes;
    return (i > k) - (i < k);
}

/* Return how many of the sorted gaps the capacity pays. *rest: what is left for the next one. */
static uint32_t ideal_paid(const cli_ideal *p, long double *rest)
{
    uint32_t n = 0;
    *rest = (long double)p->capacity * p->foreseen;
    while (n < p->gaps && (long double)p->gap[n].cost <= *rest) {
        *rest -= (long double)p->gap[n++].cost;
    }
    return n;
}

void cli_ideal_bound(cli_ideal *p, uint64_t *hits, uint64_t *bytes)
{
    long double rest;
    *hits = *bytes = 0;
    if (p->gaps == 0) { return; }
    qsort(p->gap, p->gaps, sizeof *p->gap, ideal_by_cost);
    *hits = ideal_paid(p, &rest);
    qsort(p->gap, p->gaps, sizeof *p->gap, ideal_by_cost_of_a_byte);
    const uint32_t n = ideal_paid(p, &rest);
    for (uint32_t i = 0; i < n; i++) { *bytes += p->gap[i].bytes; }
    if (n < p->gaps) { /* a part of a value: more than any choice of whole ones */
        const long double part = rest / (long double)p->gap[n].cost;
        *bytes += (uint64_t)(part * (long double)p->gap[n].bytes);
    }
}

/* ---- requests ---- */

/* Choose the object to evict, the one with the least priority. Return false if nothing is stored. */
static bool ideal_victim(cli_ideal *p, uint32_t *n)
{
    *n = ideal_tree_at(p, 1);
    if (p->priority[*n] == INFINITY) { return false; }
    p->age = p->priority[*n];
    return true;
}

static void ideal_drop(cli_ideal *p, uint32_t n)
{
    p->held -= p->size[n];
    p->size[n] = 0;
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
}

static uint32_t ideal_left(const cli_ideal *p)
{
    return p->code->left != NULL ? p->code->left(p->state) : POLICY_NONE;
}

static void ideal_leave(cli_ideal *p, uint32_t n)
{
    for (; n != POLICY_NONE; n = ideal_left(p)) {
        p->held -= p->bytes ? p->size[n] : 1;
        p->size[n] = 0;
    }
}

static void ideal_make_room(cli_ideal *p, uint32_t n, uint64_t weight)
{
    while (p->held + weight > p->capacity) { ideal_leave(p, p->code->evict(p->state, n)); }
}

static bool ideal_by_code(cli_ideal *p, uint32_t n, uint64_t weight)
{
    const uint64_t was = p->size[n];
    if (weight > p->capacity) {
        if (was != 0) { ideal_drop(p, n); }
        return was != 0;
    }
    if (p->bytes && was != weight) { policy_weigh(p->state, n, weight); }
    if (was != 0) {
        p->held += p->bytes ? weight - was : 0;
        p->size[n] = weight;
        p->code->hit(p->state, n);
        ideal_leave(p, ideal_left(p));
        ideal_make_room(p, n, 0);
        return p->bytes || was == 1;
    }
    if (p->code->miss != NULL) { p->code->miss(p->state, n); }
    ideal_make_room(p, n, weight);
    p->code->insert(p->state, n);
    p->size[n] = weight;
    p->held += weight;
    return false;
}

/* Without `drop` a deleted number, of size 2, keeps its place until evicted. */
static void ideal_delete(cli_ideal *p, uint32_t n)
{
    if (p->size[n] == 0) { return; }
    if (p->kind == CLI_IDEAL_CODE && p->code->drop == NULL) {
        p->size[n] = 2;
    } else {
        ideal_drop(p, n);
    }
}

static bool ideal_by_next_use(cli_ideal *p, uint32_t n)
{
    const bool hit = p->size[n] != 0;
    const uint32_t next = p->when[p->now++];
    if (next != IDEAL_NEVER) {
        p->held += !hit;
        p->size[n] = 1;
        ideal_tree_set(p, n, -(double)next);
    } else if (hit) {
        ideal_drop(p, n);
    }
    if (p->held > p->capacity && ideal_victim(p, &n)) { ideal_drop(p, n); }
    return hit;
}

bool cli_ideal_request(cli_ideal *p, uint32_t n, const cli_request *r)
{
    if (r->op == CLI_DELETE) {
        ideal_delete(p, n);
        return false;
    }
    if (p->kind == CLI_IDEAL_BELADY) { return ideal_by_next_use(p, n); }
    const uint64_t weight = ideal_weight(p, r->size);
    if (p->deadline != NULL) {
        if (p->size[n] != 0 && ideal_expired(p, n, r)) { ideal_drop(p, n); }
        if (p->size[n] != weight || r->op == CLI_SET) { ideal_set_deadline(p, n, r, false); }
    }
    if (p->kind == CLI_IDEAL_CODE) { return ideal_by_code(p, n, weight); }
    const uint64_t had = p->size[n]; /* 0: a miss; a weight is not 0 */
    p->uses[n] = had != 0 ? p->uses[n] + 1 : 1;
    p->since[n] = p->now++;
    if (had != weight) { ideal_insert(p, n, weight); }
    if (p->size[n] != 0) {
        ideal_tree_set(p, n, p->age + (double)p->uses[n] / (double)p->size[n]);
    }
    return had != 0;
}

void cli_ideal_near(const cli_ideal *p, uint32_t n)
{
    __builtin_prefetch(&p->size[n]);
    if (p->kind != CLI_IDEAL_CODE || !p->code->bytes) { return; }
    const policy_lists *l = p->state;
    __builtin_prefetch(&l->older[n]);
    __builtin_prefetch(&l->newer[n]);
}
