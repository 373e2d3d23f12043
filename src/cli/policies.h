/* SPDX-License-Identifier: MIT
 *
 * policies: the tour's small budget under each policy of eviction, and what the advisor says. */
#ifndef CLI_POLICIES_H
#define CLI_POLICIES_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/walk.h"

enum { POLICIES = 4 };

typedef struct policies_result {
    uint64_t keys, room, gets;   /* of each policy */
    uint64_t hits[POLICIES];     /* adaptive, s3fifo, lru, fifo */
    uint64_t uncounted;          /* runs whose gets or hits the library counted differently */
    bool advised;
    double now, said, is;        /* hit ratios: here; at twice the room, by the advisor and run */
} policies_result;

/* False: no memory. */
bool policies_run(const gate_files *files, policies_result *r);
/* What is wrong: 0 when all is as promised. */
uint64_t policies_findings(const policies_result *r);
void policies_print(const policies_result *r);
void policies_print_json(const policies_result *r);

#endif
