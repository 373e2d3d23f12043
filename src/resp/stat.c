/* SPDX-License-Identifier: MIT
 *
 * stat: the figures of a port, as a struct, as Prometheus text, and as JSON.
 *
 * LOCKING    None: the figures are relaxed atomics. */
#include "base/opts.h"
#include "resp/types.h"
#include "stats/stats.h"

BASE_SIZE_BEGIN

CELLAR_API cellar_err cellar_resp_stats_get(const cellar_resp *r, cellar_resp_stats *out)
{
    cellar_resp_stats s = cellar_resp_stats_default();
    if (r == NULL || out == NULL) { return CELLAR_E_INVAL; }
#define RESP_X(name, help) s.name = base_load_rlx(&r->count[RESP_COUNT_##name]);
    CELLAR_RESP_COUNTS(RESP_X)
#undef RESP_X
    s.clients = base_load_rlx(&r->client_count);
    s.bytes = base_load_rlx(&r->account.used);
    s.port = r->port[0];
    s.admin_port = r->port[1];
    return base_opts_out(out, &s, sizeof s);
}

#ifndef CELLAR_OMIT_TEXT
CELLAR_PRIVATE cellar_err resp_text(void *object, bool json, char *buf, size_t cap, size_t *full)
{
    const cellar_resp *r = object;
    uint64_t v[STATS_PORT_COUNT];
    _Static_assert(STATS_PORT_COUNT == RESP_COUNTS + 2, "one line for each figure");
    for (int i = 0; i < RESP_COUNTS; i++) { v[i] = base_load_rlx(&r->count[i]); }
    v[STATS_PORT_CLIENTS] = base_load_rlx(&r->client_count);
    v[STATS_PORT_BYTES] = base_load_rlx(&r->account.used);
    *full = stats_write_port(r->name, v, json, buf, cap);
    return CELLAR_OK;
}
#endif

BASE_SIZE_END
