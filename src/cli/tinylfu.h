/* SPDX-License-Identifier: MIT
 *
 * tinylfu: W-TinyLFU over numbers, to compare with. */
#ifndef CLI_TINYLFU_H
#define CLI_TINYLFU_H

#include <stdbool.h>
#include <stdint.h>

typedef enum gate_tiny_place {
    GATE_TINY_OUT, GATE_TINY_WINDOW, GATE_TINY_PROBATION, GATE_TINY_PROTECTED
} gate_tiny_place;

typedef struct gate_tiny gate_tiny;
/* capacity in entries, at least 1; numbers below `objects`. NULL: out of memory. */
gate_tiny *gate_tiny_open(uint64_t capacity, uint32_t objects);
/* A request, followed by a set when it missed. Returns whether it hit. */
bool gate_tiny_request(gate_tiny *t, uint32_t number);
gate_tiny_place gate_tiny_where(const gate_tiny *t, uint32_t number);
unsigned gate_tiny_uses(const gate_tiny *t, uint32_t number); /* as the sketch remembers, 0..15 */
void gate_tiny_close(gate_tiny *t);                           /* NULL: nothing */

#endif
