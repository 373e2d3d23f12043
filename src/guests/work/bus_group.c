/* SPDX-License-Identifier: MIT
 *
 * bus_group: add and remove groups and routes.
 *
 * WALK       A group is a name of the pool with a queue of its own. A call checks its arguments and
 *            makes its struct without the lock; one short lock links it, with the name. Each change
 *            raises the generation: a publish that looked before looks again.
 * LOCKING    bus_types.h. */
#include "base/opts.h"
#include "base/service.h"
#include "work/bus.h"

BASE_SIZE_BEGIN

#define BUS_FILTER_TEXTS_MAX 65536u

/* ---- groups ---- */

#define BUS_NUMBER(field, none, max) \
    BASE_NUMBER(cellar_bus_group_config, field, none, 0, max, "")
static const base_number bus_group_numbers[] = {
    BUS_NUMBER(visibility_ms, 30000, CELLAR_POOL_DELAY_MAX_MS),
    BUS_NUMBER(retry_ms, 0, CELLAR_POOL_DELAY_MAX_MS),
    BUS_NUMBER(max_bytes, UINT64_C(64) << 20, UINT64_MAX),
    BUS_NUMBER(max_messages, 65536, 1048576), BUS_NUMBER(max_deliver, 5, UINT8_MAX),
    BUS_NUMBER(filter_priority, 0, CELLAR_BUS_PRIORITY_MAX), BUS_NUMBER(filter_any, 0, 1),
    BUS_NUMBER(filter_value_count, 0, CELLAR_BUS_HEADERS_MAX), BUS_NUMBER(ordered, 0, 1),
    BUS_NUMBER(on_full, 0, CELLAR_BUS_FULL_DROP_OLDEST),
};

/* Copy and check the options of a group. */
static cellar_err bus_group_opts(const cellar_bus_group_config *o, cellar_bus_group_config *full)
{
    *full = cellar_bus_group_config_default();
    const cellar_err err = o != NULL ? base_opts_in(full, sizeof *full, o) : CELLAR_OK;
    if (err != CELLAR_OK) { return err; }
    uint64_t got;
    const bool header = full->filter_header != NULL;
    const bool bad = base_numbers_in(full, BASE_NUMBERS(bus_group_numbers), &got) != NULL ||
                     header != (full->filter_values != NULL) ||
                     header != (full->filter_value_count != 0) ||
                     (full->ordered != 0 && full->on_full == CELLAR_BUS_FULL_DROP_OLDEST);
    return bad ? CELLAR_E_INVAL : CELLAR_OK;
}

/* Add the length of a filter text. False: NULL or too long. */
static bool bus_text_size(const char *text, size_t *sum)
{
    const size_t len = text != NULL ? strnlen(text, BUS_FILTER_TEXTS_MAX) : BUS_FILTER_TEXTS_MAX;
    *sum += len + 1;
    return *sum <= BUS_FILTER_TEXTS_MAX;
}

/* Copy header name and values of the filter. */
static cellar_err bus_filter_copy(cellar_pool *p, bus_group *g)
{
    const cellar_bus_group_config *o = &g->o;
    size_t bytes = 0;
    if (o->filter_header == NULL) { return CELLAR_OK; }
    bool fits = bus_text_size(o->filter_header, &bytes);
    for (uint32_t i = 0; fits && i < o->filter_value_count; i++) {
        fits = bus_text_size(o->filter_values[i], &bytes);
    }
    if (!fits) { return CELLAR_E_INVAL; }
    char *to = base_alloc(&p->obj.account, BASE_MOD_STORE, bytes, NULL);
    if (to == NULL) { return CELLAR_E_NOMEM; }
    g->filter_texts = to;
    g->filter_bytes = bytes;
    bus_text(&to, o->filter_header);
    for (uint32_t i = 0; i < o->filter_value_count; i++) { bus_text(&to, o->filter_values[i]); }
    return CELLAR_OK;
}

/* Make a group that is in no queue yet. */
static cellar_err bus_group_make(cellar_pool *p, const cellar_bus_group_config *o, bus_group **out)
{
    const uint32_t lanes = o->ordered != 0 ? BUS_LANES : 0;
    bus_group *g = base_alloc(&p->obj.account, BASE_MOD_STORE,
                              sizeof *g + lanes * sizeof g->lane[0], NULL);
    if (g == NULL) { return CELLAR_E_NOMEM; }
    g->o = *o;
    g->lane_count = lanes;
    for (uint32_t i = 0; i < lanes; i++) { wheel_ring_init(&g->lane[i].wait); }
    cellar_err err = CELLAR_OK;
    if (o->dead_queue != NULL && !bus_name(o->dead_queue, g->dead_queue)) {
        err = CELLAR_E_INVAL;
    }
    if (err == CELLAR_OK) { err = bus_filter_copy(p, g); }
    if (err != CELLAR_OK) {
        bus_group_free(p, g);
        return err;
    }
    *out = g;
    return CELLAR_OK;
}

/* Return the options of the name of a group. */
static cellar_task_opts bus_name_opts(const cellar_bus_group_config *o, const char *name,
                                      bool pulled)
{
    static const uint32_t on_full[] = { [CELLAR_BUS_FULL_ERROR] = CELLAR_POOL_REJECT,
                                        [CELLAR_BUS_FULL_BLOCK] = CELLAR_POOL_BLOCK,
                                        [CELLAR_BUS_FULL_DROP_NEW] = BUS_DROP_NEW,
                                        [CELLAR_BUS_FULL_DROP_OLDEST] = CELLAR_POOL_DROP_OLDEST };
    cellar_task_opts t = cellar_task_opts_default();
    t.base_ms = t.cap_ms = o->retry_ms;
    t.jitter = CELLAR_TASK_JITTER_NONE;
    t.hard_timeout_ms = pulled ? 0 : o->visibility_ms;
    t.queue = name;
    t.max_attempts = o->max_deliver;
    t.max_running = o->parallel;
    t.queue_bytes = o->max_bytes;
    t.queue_cap = o->max_messages;
    t.on_full = (cellar_pool_full)on_full[o->on_full];
    return t;
}

CELLAR_API cellar_err cellar_bus_group_add(cellar_pool *p, const char *queue, const char *group,
                                           cellar_task_fn fn, void *ctx,
                                           const cellar_bus_group_config *o)
{
    char q[CELLAR_NAME_MAX + 1], name[CELLAR_NAME_MAX + 1];
    cellar_bus_group_config full;
    bus_group *g;
    if (p == NULL || !bus_name(queue, q) || !bus_name(group != NULL ? group : queue, name)) {
        return CELLAR_E_INVAL;
    }
    if (p->obj.forked) { return CELLAR_E_FORKED; }
    cellar_err err = bus_group_opts(o, &full);
    if (err == CELLAR_OK) { err = bus_group_make(p, &full, &g); }
    if (err != CELLAR_OK) { return err; }
    bus_queue *fresh = base_alloc(&p->obj.account, BASE_MOD_STORE, sizeof *fresh, NULL);
    err = CELLAR_E_NOMEM;
    if (fresh != NULL) {
        memcpy(fresh->name, q, sizeof fresh->name);
        const cellar_task_opts opts = bus_name_opts(&full, name, fn == NULL);
        g->fresh = &fresh;
        err = task_name_make(p, name, fn, ctx, &opts, g);
    }
    base_free(&p->obj.account, BASE_MOD_STORE, fresh, sizeof *fresh);
    if (err != CELLAR_OK) { bus_group_free(p, g); }
    return err;
}

CELLAR_API cellar_err cellar_bus_group_remove(cellar_pool *p, const char *group)
{
    if (p == NULL || group == NULL) { return CELLAR_E_INVAL; }
    if (p->obj.forked) { return CELLAR_E_FORKED; }
    sync_take(QUEUE, &p->lock);
    const task_name *n = task_name_find(p, group);
    const bool is = n != NULL && n->group != NULL;
    sync_drop(QUEUE, &p->lock);
    return is ? cellar_task_unregister(p, group) : CELLAR_E_NOT_FOUND; /* unlinks the group */
}

/* ---- routes ---- */

/* Return the link to the route of a pattern to a queue; *link NULL: there is none. */
static bus_route **bus_route_find(cellar_pool *p, const bus_topic *t, const char *queue)
    SYNC_HOLDS(QUEUE)
{
    bus_route **at = &p->bus.routes;
    while (*at != NULL && ((*at)->topic.syntax != t->syntax ||
                           strcmp((*at)->topic.text, t->text) != 0 ||
                           strcmp((*at)->queue->name, queue) != 0)) {
        at = &(*at)->next;
    }
    return at;
}

static cellar_err bus_route_insert(cellar_pool *p, bus_route *r, const char *queue)
    SYNC_HOLDS(QUEUE)
{
    r->queue = bus_queue_find(p, queue, strlen(queue));
    if (r->queue == NULL) { return CELLAR_E_NOT_FOUND; }
    bus_route **at = bus_route_find(p, &r->topic, queue);
    if (*at != NULL) { return CELLAR_EXISTS; }
    if (p->bus.route_count >= p->cfg.max_routes) {
        p->bus.count[STATS_BUS_REJECTED_LIMIT]++;
        return CELLAR_E_LIMIT;
    }
    *at = r;
    p->bus.route_count++;
    p->bus.generation++;
    return CELLAR_OK;
}

static cellar_err bus_route_remove(cellar_pool *p, const bus_topic *t, const char *queue,
                                   bus_route **out) SYNC_HOLDS(QUEUE)
{
    bus_route **at = bus_route_find(p, t, queue), *r = *at;
    *out = r;
    if (r == NULL) { return CELLAR_E_NOT_FOUND; }
    *at = r->next;
    p->bus.route_count--;
    p->bus.generation++;
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_bus_route(cellar_pool *p, const char *pattern, const char *queue,
                                       cellar_bus_syntax syntax, bool on)
{
    char q[CELLAR_NAME_MAX + 1];
    bus_topic t;
    if (p == NULL || !bus_name(queue, q)) { return CELLAR_E_INVAL; }
    if (p->obj.forked) { return CELLAR_E_FORKED; }
    cellar_err err = bus_topic_make(pattern, syntax, &t);
    if (err != CELLAR_OK) { return err; }
    bus_route *r = on ? base_alloc(&p->obj.account, BASE_MOD_STORE, sizeof *r, NULL) : NULL;
    if (on && r == NULL) { return CELLAR_E_NOMEM; }
    if (on) { (void)bus_topic_make(pattern, syntax, &r->topic); } /* `t` must not move */
    sync_take(QUEUE, &p->lock);
    err = on ? bus_route_insert(p, r, q) : bus_route_remove(p, &t, q, &r);
    sync_drop(QUEUE, &p->lock);
    if (!on || err != CELLAR_OK) { base_free(&p->obj.account, BASE_MOD_STORE, r, sizeof *r); }
    return err;
}

BASE_SIZE_END
