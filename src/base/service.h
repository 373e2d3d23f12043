/* SPDX-License-Identifier: MIT
 *
 * service: what the objects that a program opens have in common: a store, a limiter, a table of
 * locks, a pool, a scheduler, a refresher, a batcher, a bus, a port. Each takes options of the
 * host, and answers cellar_tick, cellar_metrics_write and cellar_stats_json. */
#ifndef BASE_SERVICE_H
#define BASE_SERVICE_H

#include "base/log.h"
#include "base/mem.h"

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

/* Copy the host options of a caller and check them. `call` is the public function, for the reason
 * of a refusal; `name` stands in place of an empty name. */
CELLAR_PRIVATE cellar_err base_host_in(cellar_host_opts *out, const cellar_host_opts *from,
                                       const char *call, const char *name);
/* Make the account of an object, without a limit, its clock and its log. */
CELLAR_PRIVATE void base_host_init(const cellar_host_opts *host, base_account *account,
                                   base_clock *clock, base_log *log);
/* Return the allocator of the host. */
BASE_INLINE base_alloc_hooks base_host_hooks(const cellar_host_opts *host)
{
    return (base_alloc_hooks){ .alloc = host->alloc, .free = host->free, .ctx = host->alloc_ctx };
}

#endif
