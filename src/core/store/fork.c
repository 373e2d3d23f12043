/* SPDX-License-Identifier: MIT
 *
 * fork: a store in the child of a fork.
 *
 * WALK       mark the store and its namespaces: calls refuse -> close the files of the tiers: the
 *            lock of the disk ends with the parent
 * LOCKING    None. Any lock of the store may be held by a thread that the child lacks. The kernel
 *            copies memory page by page while other threads run. So memory that this file reads is
 *            freed, or linked, behind base_fork_settle. */
#include "store/fork.h"

#include "cache/handle.h"
#include "cache/tier_calls.h"
#include "flight/flight.h"

BASE_SIZE_BEGIN

static void cache_forked(void *store)
{
    cache_store *s = store;
    cellar *v;
    s->forked = true;
    for (uint32_t slot = 0; (v = cache_namespace_next(s, &slot)) != NULL; slot++) {
        base_store_rlx(&v->state, base_load_rlx(&v->state) | CACHE_CLOSED | CACHE_FORKED);
    }
    flight_graph_reset();
    l1_cells *const cells = base_load_acq(&s->cells);
    if (cells != NULL) { l1_cells_forked(cells); }
    if (s->ended) { return; }
    l1_forked(s->l1);
    cache_tiers_forked(s);
}

CELLAR_PRIVATE bool cache_fork_register(cache_store *s)
{
    s->fork_node = (base_fork_node){ .child = cache_forked, .ctx = s };
    return base_fork_register(&s->fork_node);
}

BASE_SIZE_END
