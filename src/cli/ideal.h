/* SPDX-License-Identifier: MIT
 *
 * ideal: textbook policies to compare with: exact FIFO, exact LRU, GDSF, W-TinyLFU, and
 * Belady's clairvoyant one. */
#ifndef CLI_IDEAL_H
#define CLI_IDEAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Ids -> 0, 1, 2 .. in order of appearance. */
typedef struct gate_ids {
    uint64_t *id;     /* by slot; guarded by number != 0 */
    uint32_t *number; /* + 1; 0: empty */
    uint64_t slots;   /* power of two */
    uint32_t count;
} gate_ids;
#define GATE_IDS_NONE UINT32_MAX
void gate_ids_free(gate_ids *ids);
/* The number of `id`, given one if it is new (*fresh). GATE_IDS_NONE: out of memory, or 2^32. */
uint32_t gate_ids_add(gate_ids *ids, uint64_t id, bool *fresh);
/* GATE_IDS_NONE: unknown. */
uint32_t gate_ids_find(const gate_ids *ids, uint64_t id);

typedef enum gate_ideal_kind {
    GATE_IDEAL_FIFO, GATE_IDEAL_LRU, GATE_IDEAL_GDSF, GATE_IDEAL_BELADY, GATE_IDEAL_TINYLFU
} gate_ideal_kind;
typedef struct gate_ideal gate_ideal;
/* capacity in entries, or in bytes when `bytes` (Belady and W-TinyLFU: entries only); numbers below
 * `objects`. NULL: out of memory. */
gate_ideal *gate_ideal_open(gate_ideal_kind kind, uint64_t capacity, bool bytes, uint32_t objects);
/* Belady only, in order, before the first request: what will be asked for. False: no memory. */
bool gate_ideal_foresee(gate_ideal *p, uint32_t number);
/* A request, followed by a set when it missed. Returns whether it hit. */
bool gate_ideal_request(gate_ideal *p, uint32_t number, uint64_t size);
/* A set that is no request. */
void gate_ideal_write(gate_ideal *p, uint32_t number, uint64_t size);
bool gate_ideal_failed(const gate_ideal *p); /* out of memory on the way */
void gate_ideal_close(gate_ideal *p);

#endif
