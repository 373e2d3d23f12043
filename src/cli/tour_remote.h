/* SPDX-License-Identifier: MIT
 *
 * tour_remote: what three processes see that share values and a load through one server. */
#ifndef CLI_TOUR_REMOTE_H
#define CLI_TOUR_REMOTE_H

#include <stdatomic.h>
#include <stdint.h>

#define TOUR_PROCESSES 3u
#define TOUR_KEYS 1000u

typedef struct tour_remote_seen { /* shared by the processes */
    _Atomic uint64_t gets, hits, server_hits, cut, loads, stale;
} tour_remote_seen;

/* Run the processes at `url` (NULL: a redis-server that lies in `folder`). Return NULL and *seen,
 * or why they cannot run. */
const char *tour_remote_run(const char *url, const char *folder, tour_remote_seen *seen);

#endif
