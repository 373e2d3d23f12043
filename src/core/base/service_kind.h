/* SPDX-License-Identifier: MIT
 *
 * service_kind: what cellar_tick, cellar_metrics_write and cellar_stats_json call in an object. The
 * remote tier, which has no other part of the engine, includes it alone. */
#ifndef BASE_SERVICE_KIND_H
#define BASE_SERVICE_KIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cellar.h"

/* The calls of a kind of objects. */
typedef struct base_service_kind {
    /* Run what is due, for about budget_us. *wait_ms: time until the next call. NULL: nothing is
     * ever due. */
    cellar_err (*tick)(void *object, uint64_t budget_us, int64_t *wait_ms);
    /* Write the figures as Prometheus text, or as a JSON object. *full: the length of the whole
     * text without its final 0, like snprintf. */
    cellar_err (*text)(void *object, bool json, char *buf, size_t cap, size_t *full);
} base_service_kind;
/* An object begins with a pointer to its kind. */
typedef const base_service_kind *base_service;

#ifdef CELLAR_OMIT_TEXT
#define BASE_TEXT(fn) NULL
#else
#define BASE_TEXT(fn) fn
#endif

#endif
