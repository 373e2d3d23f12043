/* SPDX-License-Identifier: MIT
 *
 * tour_l2: check the disk tier: close and reopen a store; kill one during writes and reopen it. */
#ifndef CLI_TOUR_L2_H
#define CLI_TOUR_L2_H

#include <stdbool.h>
#include <stdint.h>

#include "cellar.h"
#include "cli/walk.h"

typedef struct survive_result {
    const char *skipped;   /* why the disk could not be used; NULL: it was used */
    uint64_t asked, hits, from_disk, different, get_ns; /* after close and reopen */
    uint64_t acked, deleted, found, wrong, risen, open_ns; /* after kill; risen: deleted, found */
    bool no_boot_id; /* no /proc: a killed store must start empty */
} survive_result;

/* Run both parts; `store` has the answers of the files. Return false if no process can start. */
bool survive_run(cellar *store, const cli_files *files, survive_result *r);
/* Return the number of broken promises. */
uint64_t survive_findings(const survive_result *r);
void survive_print(const survive_result *r);
void survive_print_json(const survive_result *r);

#endif
