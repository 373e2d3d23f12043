/* SPDX-License-Identifier: MIT
 *
 * guards: the tour's look at loading: one load for 64 threads, a failing source, a flood. */
#ifndef CLI_GUARDS_H
#define CLI_GUARDS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct guards_result {
    uint64_t threads, loads, joined, values;     /* 64 threads ask for one cold key */
    uint64_t asked, stale, failed_loads;         /* gets while the loader fails */
    uint64_t flood, stopped, audits, flood_loads; /* absent keys, and what became of them */
    uint64_t load_ns, stale_ns, flood_ns;        /* how long each part took */
} guards_result;

/* False: no memory or threads. */
bool guards_run(guards_result *r);
/* What is wrong: 0 when all is as promised. */
uint64_t guards_findings(const guards_result *r);
void guards_print(const guards_result *r);
void guards_print_json(const guards_result *r);

#endif
