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
 * LIMITS     Entries, no bytes. The share of the window is fixed (Caffeine adapts it), and no
 *            candidate is admitted at random (Caffeine does, against attackers).
 * SEE ALSO   ideal.c: the other textbook policies.
 * SOURCE     Einziger, Friedman, Manes 2017 (W-TinyLFU); Karedla et al. 1994 (segmented LRU). */
#include "bench/replay/tinylfu.h"

#include <stdlib.h>

#define TINYLFU_ROWS 4u
#define TINYLFU_MOST 15u
#define TINYLFU_RESET 10u /* requests an entry */

typedef struct tinylfu_list { /* tail: least recently used; number + 1, 0: none */
    uint32_t head, tail;
    uint64_t n, most;
} tinylfu_list;

struct cli_tiny {
    tinylfu_list list[4];         /* by cli_tiny_place; [CLI_TINY_OUT] unused */
    uint32_t *next, *prev;        /* by number: towards the tail, the head; number + 1 */
    uint8_t *place;               /* by number: cli_tiny_place */
    uint8_t *row;                 /* TINYLFU_ROWS rows of row_mask + 1 counters */
    uint64_t row_mask, added, reset_at, capacity;
};

/* ---- lists ---- */

static void tinylfu_push(cli_tiny *t, cli_tiny_place at, uint32_t number)
{
    tinylfu_list *l = &t->list[at];
    t->place[number] = (uint8_t)at;
    t->prev[number] = 0;
    t->next[number] = l->head;
    if (l->head != 0) { t->prev[l->head - 1] = number + 1; } else { l->tail = number + 1; }
    l->head = number + 1;
    l->n++;
}

static void tinylfu_take(cli_tiny *t, uint32_t number)
{
    tinylfu_list *l = &t->list[t->place[number]];
    const uint32_t next = t->next[number], prev = t->prev[number];
    if (prev != 0) { t->next[prev - 1] = next; } else { l->head = next; }
    if (next != 0) { t->prev[next - 1] = prev; } else { l->tail = prev; }
    t->place[number] = CLI_TINY_OUT;
    l->n--;
}

/* ---- the sketch ---- */

static uint8_t *tinylfu_counter(const cli_tiny *t, uint32_t number, unsigned row)
{
    static const uint64_t seed[TINYLFU_ROWS] = { UINT64_C(0xc3a5c85c97cb3127),
        UINT64_C(0xb492b66fbe98f273), UINT64_C(0x9ae16a3b2f90404f), UINT64_C(0xcbf29ce484222325) };
    uint64_t h = ((uint64_t)number + seed[row]) * seed[row];
    h ^= h >> 32;
    h *= UINT64_C(0xd6e8feb86659fd93);
    h ^= h >> 32;
    return &t->row[row * (t->row_mask + 1) + (h & t->row_mask)];
}

unsigned cli_tiny_uses(const cli_tiny *t, uint32_t number)
{
    unsigned least = TINYLFU_MOST;
    for (unsigned i = 0; i < TINYLFU_ROWS; i++) {
        const unsigned n = *tinylfu_counter(t, number, i);
        least = n < least ? n : least;
    }
    return least;
}

static void tinylfu_used(cli_tiny *t, uint32_t number)
{
    for (unsigned i = 0; i < TINYLFU_ROWS; i++) {
        uint8_t *n = tinylfu_counter(t, number, i);
        if (*n < TINYLFU_MOST) { ++*n; }
    }
    if (++t->added < t->reset_at) { return; }
    for (uint64_t i = 0; i < TINYLFU_ROWS * (t->row_mask + 1); i++) { t->row[i] >>= 1; }
    t->added /= 2;
}

/* ---- requests ---- */

static bool tinylfu_hit(cli_tiny *t, uint32_t number)
{
    tinylfu_list *const safe = &t->list[CLI_TINY_PROTECTED];
    cli_tiny_place to = cli_tiny_where(t, number);
    if (to == CLI_TINY_OUT) { return false; }
    if (to == CLI_TINY_PROBATION) { to = CLI_TINY_PROTECTED; }
    tinylfu_take(t, number);
    tinylfu_push(t, to, number);
    if (safe->n > safe->most) {
        const uint32_t oldest = safe->tail - 1;
        tinylfu_take(t, oldest);
        tinylfu_push(t, CLI_TINY_PROBATION, oldest);
    }
    return true;
}

bool cli_tiny_request(cli_tiny *t, uint32_t number)
{
    const tinylfu_list *const window = &t->list[CLI_TINY_WINDOW];
    tinylfu_used(t, number);
    if (tinylfu_hit(t, number)) { return true; }
    tinylfu_push(t, CLI_TINY_WINDOW, number);
    if (window->n <= window->most) { return false; }
    const uint32_t candidate = window->tail - 1;
    const uint64_t held = window->n + t->list[CLI_TINY_PROBATION].n +
                          t->list[CLI_TINY_PROTECTED].n;
    tinylfu_take(t, candidate);
    if (held > t->capacity) {
        const cli_tiny_place from = t->list[CLI_TINY_PROBATION].n != 0 ? CLI_TINY_PROBATION
                                                                         : CLI_TINY_PROTECTED;
        if (t->list[from].n == 0) { return false; } /* the window is the whole capacity */
        const uint32_t victim = t->list[from].tail - 1;
        if (cli_tiny_uses(t, candidate) <= cli_tiny_uses(t, victim)) { return false; }
        tinylfu_take(t, victim);
    }
    tinylfu_push(t, CLI_TINY_PROBATION, candidate);
    return false;
}

cli_tiny_place cli_tiny_where(const cli_tiny *t, uint32_t number)
{
    return (cli_tiny_place)t->place[number];
}

/* ---- open, close ---- */

cli_tiny *cli_tiny_open(uint64_t capacity, uint32_t objects)
{
    cli_tiny *t = calloc(1, sizeof *t);
    if (t == NULL) { return NULL; }
    uint64_t row = 16;
    while (row < capacity * 4 && row < (uint64_t)1 << 32) { row *= 2; }
    const uint64_t main_most = capacity - (capacity + 99) / 100;
    t->capacity = capacity;
    t->list[CLI_TINY_WINDOW].most = capacity - main_most;
    t->list[CLI_TINY_PROTECTED].most = main_most * 4 / 5;
    t->row_mask = row - 1;
    t->reset_at = capacity * TINYLFU_RESET;
    t->next = malloc(((size_t)objects + 1) * sizeof *t->next);
    t->prev = malloc(((size_t)objects + 1) * sizeof *t->prev);
    t->place = calloc((size_t)objects + 1, sizeof *t->place);
    t->row = calloc((size_t)row, TINYLFU_ROWS);
    if (t->next != NULL && t->prev != NULL && t->place != NULL && t->row != NULL) { return t; }
    cli_tiny_close(t);
    return NULL;
}

void cli_tiny_close(cli_tiny *t)
{
    if (t == NULL) { return; }
    free(t->next);
    free(t->prev);
    free(t->place);
    free(t->row);
    free(t);
}
