/* SPDX-License-Identifier: MIT
 *
 * stat: the figures of a port.
 *
 * LOCKING    None: the figures are relaxed atomics. */
#include "cellar_observe.h"
#include "resp/control.h"
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

#ifndef CELLAR_OMIT_TEXT
CELLAR_PRIVATE void resp_shared_figures(stats_out *o, const stats_owner *owner, void *object,
                                        const uint64_t *value)
{
#define RESP_SHARED_OF(name) "cellar_port_shared_" name
    static const struct { const char *family, *kind, *help; } row[] = {
        { RESP_SHARED_OF("entries"), "gauge", "Entries of the shared store." },
        { RESP_SHARED_OF("bytes"), "gauge", "Bytes of memory of the entries of the shared store." },
        { RESP_SHARED_OF("budget_bytes"), "gauge", "Bound of these bytes." },
        { RESP_SHARED_OF("control_bytes"), "gauge", "Bytes of memory of control keys." },
        { RESP_SHARED_OF("control_budget_bytes"), "gauge", "Bound of these bytes." },
        { RESP_SHARED_OF("tags_forgotten_total"), "counter", "Tags forgotten for lack of room." },
        { RESP_SHARED_OF("limits_evicted_total"), "counter", "Limiter keys with debt forgotten." },
        { RESP_SHARED_OF("limits_refused_total"), "counter", "Limiters refused for lack of room." },
        { RESP_SHARED_OF("hits_total"), "counter", "Reads of shared entries that found one." },
        { RESP_SHARED_OF("misses_total"), "counter", "Reads of shared entries that found none." },
        { RESP_SHARED_OF("sets_total"), "counter", "Entries stored in the shared store." },
        { RESP_SHARED_OF("expired_total"), "counter", "Entries of the shared store that expired." },
        { RESP_SHARED_OF("evicted_total"), "counter", "Entries of the shared store evicted." },
    };
#undef RESP_SHARED_OF
    const cellar_resp *r = object;
    const resp_shared *s = &r->shared;
    cellar_stats st = cellar_stats_default();
    (void)value;
    if (s->store == NULL || cellar_stats_get(s->store, CELLAR_SCOPE_STORE, &st) != CELLAR_OK) {
        return;
    }
    const uint64_t now[] = { st.entries, st.used_bytes, st.budget_bytes,
                             resp_control_used(r), base_load_rlx(&s->most_bytes),
                             base_load_rlx(&s->tags_forgotten), base_load_rlx(&s->limits_evicted),
                             base_load_rlx(&s->limits_refused),
                             st.gets - st.misses, st.misses, st.sets,
                             st.ended[CELLAR_CAUSE_EXPIRED], st.ended[CELLAR_CAUSE_EVICTED] };
    _Static_assert(sizeof now / sizeof *now == sizeof row / sizeof *row, "one number a row");
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        stats_family(o, row[i].family, row[i].help, row[i].kind);
        stats_put_sample(o, row[i].family, "", owner, "", 0, now[i]);
    }
}
#endif

CELLAR_API cellar_err cellar_resp_stats_get(const cellar_resp *r, cellar_resp_stats *out)
{
    return stats_get((void *)(uintptr_t)r, out);
}

BASE_SIZE_END
