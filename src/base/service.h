/* SPDX-License-Identifier: MIT
 *
 * service: what the objects that a program opens have in common: a store, a limiter, a table of
 * locks, a pool, a scheduler, a refresher, a batcher, a bus, a port. Each takes options of the
 * host, and answers cellar_tick, cellar_metrics_write and cellar_stats_json. */
#ifndef BASE_SERVICE_H
#define BASE_SERVICE_H

#include "base/log.h"
#include "base/mem.h"
#include "base/service_kind.h"

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
