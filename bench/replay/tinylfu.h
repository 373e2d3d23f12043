/* SPDX-License-Identifier: MIT
 *
 * tinylfu: W-TinyLFU over numbers, a textbook policy to compare with. */
#ifndef BENCH_REPLAY_TINYLFU_H
#define BENCH_REPLAY_TINYLFU_H

#include <stdbool.h>
#include <stdint.h>

typedef enum cli_tiny_place {
    CLI_TINY_OUT, CLI_TINY_WINDOW, CLI_TINY_PROBATION, CLI_TINY_PROTECTED
} cli_tiny_place;

typedef struct cli_tiny cli_tiny;
/* Open the policy. The capacity is in entries, at least 1; numbers are below `objects`. Return NULL
 * without memory. */
cli_tiny *cli_tiny_open(uint64_t capacity, uint32_t objects);
/* Request an entry; store it after a miss. Return whether it was a hit. */
bool cli_tiny_request(cli_tiny *t, uint32_t number);
cli_tiny_place cli_tiny_where(const cli_tiny *t, uint32_t number);
unsigned cli_tiny_uses(const cli_tiny *t, uint32_t number); /* estimate of the sketch, 0..15 */
void cli_tiny_close(cli_tiny *t);                           /* accepts NULL */

#endif
