/* SPDX-License-Identifier: MIT
 *
 * survive: the tour's look at the disk tier: closed and reopened; killed in the middle of a write
 * and reopened. */
#ifndef CLI_TOUR_L2_H
#define CLI_TOUR_L2_H

#include <stdbool.h>
#include <stdint.h>

#include "cellar.h"
#include "cli/walk.h"

typedef struct survive_result {
    const char *skipped;   /* why the disk could not be used; NULL: it was */
    uint64_t asked, hits, from_disk, different, get_ns; /* after close and reopen */
    uint64_t acked, deleted, found, wrong, risen, open_ns; /* after kill -9 and reopen */
    bool no_boot_id; /* none can be told without /proc: a killed store begins empty, as it must */
} survive_result;

/* `store` has the answers of the files. False: no memory or processes. */
bool survive_run(cellar *store, const gate_files *files, survive_result *r);
/* What is wrong: 0 when all is as promised. */
uint64_t survive_findings(const survive_result *r);
void survive_print(const survive_result *r);
void survive_print_json(const survive_result *r);

#endif
