/* SPDX-License-Identifier: MIT
 *
 * tinylfu: W-TinyLFU over numbers, a textbook policy to compare with. */
#ifndef CLI_TINYLFU_H
#define CLI_TINYLFU_H

#include <stdbool.h>
#include <stdint.h>

typedef enum gate_tiny_place {
    GATE_TINY_OUT, GATE_TINY_WINDOW, GATE_TINY_PROBATION, GATE_TINY_PROTECTED
} gate_tiny_place;

typedef struct gate_tiny gate_tiny;
/* Open the policy. The capacity is in entries, at least 1; numbers are below `objects`. Return NULL
 * without memory. */
gate_tiny *gate_tiny_open(uint64_t capacity, uint32_t objects);
/* Request an entry; store it after a miss. Return whether it was a hit. */
bool gate_tiny_request(gate_tiny *t, uint32_t number);
gate_tiny_place gate_tiny_where(const gate_tiny *t, uint32_t number);
unsigned gate_tiny_uses(const gate_tiny *t, uint32_t number); /* estimate of the sketch, 0..15 */
void gate_tiny_close(gate_tiny *t);                           /* accepts NULL */

#endif
