/* SPDX-License-Identifier: MIT
 *
 * tour_remote: `cellar tour --remote`: three processes share namespaces through one server. */
#ifndef CLI_TOUR_REMOTE_H
#define CLI_TOUR_REMOTE_H

#include <stdbool.h>
#include <stdint.h>

enum { TOUR_REMOTE_PROCESSES = 3, TOUR_REMOTE_THREADS = 8, TOUR_REMOTE_LIMIT = 10000,
       TOUR_REMOTE_BURST = 1000, TOUR_REMOTE_WINDOW_MS = 100 };

typedef struct tour_remote_result {
    uint64_t operations, took_ns, killed;
    uint64_t gets, memory_hits, server_hits;
    uint64_t changes, heard_p50_ns, heard_p99_ns; /* from the set to its event elsewhere */
    uint64_t proofs, gaps;
    uint64_t loads;                               /* of one cold key */
    uint64_t worst_window, window_bound;          /* admissions of one limit */
    uint64_t compared, stale;
} tour_remote_result;

/* Run the part with the server at `url`, or with a redis-server of its own if `url` is NULL. Return
 * CLI_DONE, or CLI_NO_START after printing why. */
int tour_remote_run(const char *url, tour_remote_result *r);

void tour_remote_print(const tour_remote_result *r);
void tour_remote_print_json(const tour_remote_result *r);
/* Return the number of broken promises. */
uint64_t tour_remote_findings(const tour_remote_result *r);

#endif
