/* SPDX-License-Identifier: MIT
 *
 * stat: the figures of a port.
 *
 * LOCKING    None: the figures are relaxed atomics. */
#include "resp/types.h"
#include "stats/text.h"

BASE_SIZE_BEGIN

CELLAR_PRIVATE const char *resp_figures(void *object, uint64_t *value)
{
    const cellar_resp *r = object;
    _Static_assert(STATS_PORT_COUNT == RESP_COUNTS + 2, "one line for each figure");
    for (int i = 0; i < RESP_COUNTS; i++) { value[i] = base_load_rlx(&r->count[i]); }
    value[STATS_PORT_CLIENTS] = base_load_rlx(&r->client_count);
    value[STATS_PORT_BYTES] = base_load_rlx(&r->obj.account.used);
    value[STATS_PORT_COUNT] = r->port[0];
    value[STATS_PORT_COUNT + 1] = r->port[1];
    return r->obj.name;
}

CELLAR_API cellar_err cellar_resp_stats_get(const cellar_resp *r, cellar_resp_stats *out)
{
    return stats_get((void *)(uintptr_t)r, out);
}

BASE_SIZE_END
