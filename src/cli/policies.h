/* SPDX-License-Identifier: MIT
 *
 * policies: the small budget of the tour under each eviction policy, and the advice. */
#ifndef CLI_POLICIES_H
#define CLI_POLICIES_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/walk.h"

enum { POLICIES = 4 };

typedef struct policies_result {
    uint64_t keys, room, gets;   /* of each policy; room in entries */
    uint64_t hits[POLICIES];     /* adaptive, s3fifo, lru, fifo */
    uint64_t uncounted;          /* runs in which the library counted other gets or hits */
    bool advised;
    double now, said, is;        /* hit ratios: of the run; at twice the room advised, measured */
} policies_result;

/* Run each policy. Return false without memory. */
bool policies_run(const cli_files *files, policies_result *r);
/* Return the number of broken promises. */
uint64_t policies_findings(const policies_result *r);
void policies_print(const policies_result *r);
void policies_print_json(const policies_result *r);

#endif
