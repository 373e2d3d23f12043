/* SPDX-License-Identifier: MIT
 *
 * bus_stat: figures of a bus and of a group, as structs and as text.
 *
 * INVARIANTS At any time copies == acked + dropped + dead + expired + filtered + live, of a group
 *            and of the bus: all figures are read in one hold of the lock. */
#include <string.h>

#include "base/opts.h"
#include "stats/text.h"
#include "work/bus.h"

BASE_SIZE_BEGIN

CELLAR_PRIVATE void bus_sum(cellar_bus *b, uint64_t value[STATS_BUS_COUNT])
{
    memcpy(value, b->count, sizeof b->count);
    for (const bus_queue *q = b->queues; q != NULL; q = q->hh.next) {
        for (const bus_group *g = q->groups; g != NULL; g = g->next) {
            for (uint32_t i = 0; i < STATS_BUS_GROUP_COUNT; i++) { value[i] += g->count[i]; }
            value[STATS_BUS_LIVE] += g->live;
            value[STATS_BUS_DELAYED] += g->delayed;
            value[STATS_BUS_HELD] += g->held;
        }
    }
    value[STATS_BUS_WAITING] =
        value[STATS_BUS_LIVE] - value[STATS_BUS_DELAYED] - value[STATS_BUS_HELD];
    value[STATS_BUS_GROUPS] = b->group_count;
    value[STATS_BUS_MEMBERS] = b->member_count;
    value[STATS_BUS_ROUTES] = b->route_count;
    value[STATS_BUS_SUBSCRIBERS] = b->subscriber_count;
}

CELLAR_PRIVATE uint64_t bus_live(cellar_bus *b)
{
    uint64_t v[STATS_BUS_COUNT];
    bus_sum(b, v);
    return v[STATS_BUS_LIVE];
}

CELLAR_PRIVATE const char *bus_figures(void *object, uint64_t *value)
{
    cellar_bus *b = object;
    sync_take(BUS, &b->lock);
    bus_sum(b, value);
    sync_drop(BUS, &b->lock);
    value[STATS_BUS_BYTES] = base_object_bytes(&b->obj);
    return b->obj.name;
}

CELLAR_API cellar_err cellar_bus_stats_get(cellar_bus *b, cellar_bus_stats *out)
{
    return stats_get(b, out);
}

_Static_assert(offsetof(cellar_bus_group_stats, live) - offsetof(cellar_bus_group_stats, copies) ==
                   STATS_BUS_GROUP_COUNT * sizeof(uint64_t),
               "cellar_bus_group_stats begins with the figures of a group");

/* Return the time since the publish of the oldest message at the front of a strand. */
static uint64_t bus_oldest_ms(const bus_group *g, int64_t now) SYNC_HOLDS(BUS)
{
    int64_t oldest = now;
    for (uint32_t i = 0; i < g->strand_count; i++) {
        const bus_copy *c = g->strand[i].first;
        if (c != NULL) { oldest = BASE_MIN(oldest, c->of->published_ms); }
    }
    return (uint64_t)(now - oldest);
}

CELLAR_PRIVATE void bus_group_figures(const bus_group *g, int64_t now, cellar_bus_group_stats *out)
{
    *out = (cellar_bus_group_stats){ .struct_size = sizeof *out };
    memcpy((unsigned char *)out + offsetof(cellar_bus_group_stats, copies), g->count,
           sizeof g->count);
    out->live = g->live;
    out->delayed = g->delayed;
    out->held = g->held;
    out->waiting = out->live - out->delayed - out->held;
    out->members = g->member_count;
    out->bytes = g->bytes;
    out->oldest_ms = bus_oldest_ms(g, now);
}

CELLAR_API cellar_err cellar_bus_group_stats_get(cellar_bus *b, const char *queue,
                                                 const char *group, cellar_bus_group_stats *out)
{
    char q[CELLAR_NAME_MAX + 1], name[CELLAR_NAME_MAX + 1];
    if (b == NULL || out == NULL || !bus_names(queue, group, q, name)) { return CELLAR_E_INVAL; }
    if (b->obj.forked) { return CELLAR_E_FORKED; }
    cellar_bus_group_stats full;
    const int64_t now = bus_now(b);
    sync_take(BUS, &b->lock);
    const bus_group *g = bus_group_find(b, q, name);
    if (g != NULL) { bus_group_figures(g, now, &full); }
    sync_drop(BUS, &b->lock);
    return g != NULL ? base_opts_out(out, &full, sizeof full) : CELLAR_E_NOT_FOUND;
}

BASE_SIZE_END
