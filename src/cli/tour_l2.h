/* SPDX-License-Identifier: MIT
 *
 * tour_l2: check the disk tier: close and reopen a store; kill one during writes and reopen it. */
#ifndef CLI_TOUR_L2_H
#define CLI_TOUR_L2_H

#include <stdbool.h>
#include <stdint.h>

#include "cellar.h"
#include "cli/walk.h"

typedef struct tour_l2_result {
    const char *skipped;   /* why the disk could not be used; NULL: it was used */
    uint64_t asked, hits, from_disk, different, get_ns; /* after close and reopen */
    uint64_t acked, deleted, found, wrong, risen, open_ns; /* after kill; risen: deleted, found */
    bool no_boot_id; /* no /proc: a killed store must start empty */
} tour_l2_result;

/* Run both parts; `store` has the answers of the files. Return false if no process can start. */
bool tour_l2_run(cellar *store, const cli_files *files, tour_l2_result *r);
/* Return the number of broken promises. */
uint64_t tour_l2_findings(const tour_l2_result *r);
void tour_l2_print(const tour_l2_result *r);
void tour_l2_print_json(const tour_l2_result *r);

#endif
