/* SPDX-License-Identifier: MIT
 *
 * load_run: functions of load_run.c for the files above it. */
#ifndef CACHE_LOAD_RUN_H
#define CACHE_LOAD_RUN_H

#include "cache/load_types.h"

CELLAR_PRIVATE void cache_run_loader(struct cellar_load *ld);
/* Record the reads of the loader in a run of the flight, if the namespace tracks them. */
CELLAR_PRIVATE void cache_record_begin(struct cellar_load *ld, flight *f);

#endif
