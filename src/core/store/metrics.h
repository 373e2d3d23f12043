/* SPDX-License-Identifier: MIT
 *
 * metrics: functions of metrics.c for the files above it. */
#ifndef STORE_METRICS_H
#define STORE_METRICS_H

#include "cache/types.h"

#ifndef CELLAR_OMIT_TEXT
/* The writer borrows a name while it runs. A namespace may be dropped meanwhile, so the source
 * copies one name at a time. */
typedef struct cache_names {
    cache_store *store;
    char name[CELLAR_NAME_MAX + 1];
} cache_names;
/* Collect the figures of a store for the writers of src/stats. `names` lives as long as the
 * result. */
CELLAR_PRIVATE stats_source cache_source(cache_store *s, cache_names *names);
/* Write the figures: see base_service_kind. */
CELLAR_PRIVATE cellar_err cache_text(void *object, bool json, char *buf, size_t cap, size_t *full);
#endif

#endif
