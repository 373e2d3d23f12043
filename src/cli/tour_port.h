/* SPDX-License-Identifier: MIT
 *
 * tour_port: ask the store of the tour through a port, as clients of Redis do. */
#ifndef CLI_TOUR_PORT_H
#define CLI_TOUR_PORT_H

#include <stdint.h>

#include "cellar.h"
#include "cli/walk.h"

typedef struct tour_port_result {
    const char *skipped; /* why there was no port; NULL: there was one */
    uint64_t asked, different, get_ns;
} tour_port_result;

/* Open a port on `store`, which has the answers of the files, and get up to 1,000 of them. */
void tour_port_run(cellar *store, const cli_files *files, tour_port_result *r);
/* Return the number of broken promises. */
uint64_t tour_port_findings(const tour_port_result *r);
void tour_port_print(const tour_port_result *r);
void tour_port_print_json(const tour_port_result *r);

#endif
