/* SPDX-License-Identifier: MIT
 *
 * guards: load through the cache: 64 threads on one key, a failing loader, absent keys. */
#ifndef CLI_GUARDS_H
#define CLI_GUARDS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct guards_result {
    uint64_t threads, loads, joined, values;     /* 64 threads request one missing key */
    uint64_t asked, stale, failed_loads;         /* gets while the loader fails */
    uint64_t flood, stopped, audits, flood_loads; /* absent keys; rejected by the filter */
    uint64_t load_ns, stale_ns, flood_ns;        /* duration of each part */
} guards_result;

/* Run all three parts. Return false without memory or threads. */
bool guards_run(guards_result *r);
/* Return the number of broken promises. */
uint64_t guards_findings(const guards_result *r);
void guards_print(const guards_result *r);
void guards_print_json(const guards_result *r);

#endif
