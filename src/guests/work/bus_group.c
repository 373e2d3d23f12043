/* SPDX-License-Identifier: MIT
 *
 * bus_group: add and remove consumer groups and routes.
 *
 * WALK       A call checks its arguments and makes its struct without the lock; one short lock
 *            links it. Each change raises the generation: a publish that looked before looks again.
 * LOCKING    bus_types.h. */
#include <string.h>

#include "base/opts.h"
#include "work/bus.h"
#include "work/bus_journal.h"

BASE_SIZE_BEGIN

#define BUS_MESSAGES_DEFAULT 65536u
#define BUS_MESSAGES_MAX 1048576u
#define BUS_BYTES_DEFAULT (UINT64_C(64) << 20)
#define BUS_VISIBILITY_DEFAULT_MS 30000
#define BUS_DELIVER_DEFAULT 5u
#define BUS_DELIVER_MAX 1000000u
#define BUS_FILTER_TEXTS_MAX 65536u

CELLAR_PRIVATE bool bus_name(const char *name, char out[CELLAR_NAME_MAX + 1])
{
    const size_t len = name != NULL ? strnlen(name, CELLAR_NAME_MAX + 1) : 0;
    if (len == 0 || len > CELLAR_NAME_MAX) { return false; }
    memset(out, 0, CELLAR_NAME_MAX + 1);
    memcpy(out, name, len);
    return true;
}

CELLAR_PRIVATE bool bus_names(const char *queue, const char *group, char q[CELLAR_NAME_MAX + 1],
                              char name[CELLAR_NAME_MAX + 1])
{
    return bus_name(queue, q) && bus_name(group != NULL ? group : "default", name);
}

CELLAR_PRIVATE bus_group *bus_group_find(cellar_bus *b, const char *queue, const char *group)
{
    const bus_queue *q = bus_queue_find(b, queue, strlen(queue));
    bus_group *g = q != NULL ? q->groups : NULL;
    while (g != NULL && strcmp(g->name, group) != 0) { g = g->next; }
    return g;
}

CELLAR_PRIVATE void bus_group_free(bus_group *g)
{
    base_account *account = &g->bus->obj.account;
    base_free(account, BASE_MOD_STORE, g->filter_texts, g->filter_bytes);
    base_free(account, BASE_MOD_STORE, g, sizeof *g + g->strand_count * sizeof g->strand[0]);
}

/* ---- groups ---- */

/* Copy and check the options of a group. */
static cellar_err bus_group_opts(const cellar_bus_group_config *o, cellar_bus_group_config *full)
{
    *full = cellar_bus_group_config_default();
    const cellar_err err = o != NULL ? base_opts_in(full, sizeof *full, o) : CELLAR_OK;
    if (err != CELLAR_OK) { return err; }
    const bool header = full->filter_header != NULL;
    if (full->block_ms < 0 || full->visibility_ms < 0 || full->retry_ms < 0 ||
        full->filter_priority > CELLAR_BUS_PRIORITY_MAX || full->filter_any > 1 ||
        full->max_messages > BUS_MESSAGES_MAX || full->max_deliver > BUS_DELIVER_MAX ||
        full->ordered > 1 || (unsigned)full->on_full > CELLAR_BUS_FULL_DROP_OLDEST ||
        full->reserved0 != 0 || header != (full->filter_values != NULL) ||
        header != (full->filter_value_count != 0) ||
        full->filter_value_count > CELLAR_BUS_HEADERS_MAX ||
        (full->ordered != 0 && full->on_full == CELLAR_BUS_FULL_DROP_OLDEST)) {
        return CELLAR_E_INVAL;
    }
    if (full->max_bytes == 0) { full->max_bytes = BUS_BYTES_DEFAULT; }
    if (full->visibility_ms == 0) { full->visibility_ms = BUS_VISIBILITY_DEFAULT_MS; }
    if (full->max_messages == 0) { full->max_messages = BUS_MESSAGES_DEFAULT; }
    if (full->max_deliver == 0) { full->max_deliver = BUS_DELIVER_DEFAULT; }
    return CELLAR_OK;
}

/* Add the length of a filter text. False: NULL or too long. */
static bool bus_text_size(const char *text, size_t *sum)
{
    const size_t len = text != NULL ? strnlen(text, BUS_FILTER_TEXTS_MAX) : BUS_FILTER_TEXTS_MAX;
    *sum += len + 1;
    return *sum <= BUS_FILTER_TEXTS_MAX;
}

/* Copy header name and values of the filter. */
static cellar_err bus_filter_copy(bus_group *g)
{
    const cellar_bus_group_config *o = &g->o;
    size_t bytes = 0;
    if (o->filter_header == NULL) { return CELLAR_OK; }
    bool fits = bus_text_size(o->filter_header, &bytes);
    for (uint32_t i = 0; fits && i < o->filter_value_count; i++) {
        fits = bus_text_size(o->filter_values[i], &bytes);
    }
    if (!fits) { return CELLAR_E_INVAL; }
    char *to = base_alloc(&g->bus->obj.account, BASE_MOD_STORE, bytes, NULL);
    if (to == NULL) { return CELLAR_E_NOMEM; }
    g->filter_texts = to;
    g->filter_bytes = bytes;
    memcpy(to, o->filter_header, strlen(o->filter_header) + 1);
    to += strlen(to) + 1;
    for (uint32_t i = 0; i < o->filter_value_count; i++) {
        memcpy(to, o->filter_values[i], strlen(o->filter_values[i]) + 1);
        to += strlen(to) + 1;
    }
    return CELLAR_OK;
}

/* Make a group that is in no queue yet. */
static cellar_err bus_group_make(cellar_bus *b, const char *name, const cellar_bus_group_config *o,
                                 bus_group **out)
{
    const uint32_t strands = o->ordered != 0 ? BUS_STRANDS : 1;
    bus_group *g = base_alloc(&b->obj.account, BASE_MOD_STORE,
                              sizeof *g + strands * sizeof g->strand[0], NULL);
    if (g == NULL) { return CELLAR_E_NOMEM; }
    g->bus = b;
    g->o = *o;
    g->strand_count = strands;
    memcpy(g->name, name, sizeof g->name);
    cellar_err err = CELLAR_OK;
    if (o->dead_queue != NULL && !bus_name(o->dead_queue, g->dead_queue)) {
        err = CELLAR_E_INVAL;
    }
    if (err == CELLAR_OK) { err = bus_filter_copy(g); }
    if (err != CELLAR_OK) {
        bus_group_free(g);
        return err;
    }
    *out = g;
    return CELLAR_OK;
}

/* Return the queue of a name, or link `fresh` under it. NULL: no memory. */
static bus_queue *bus_queue_get(cellar_bus *b, bus_queue *fresh) SYNC_HOLDS(BUS)
{
    BASE_TABLE_CHARGE(&b->obj.account, BASE_MOD_STORE);
    const unsigned len = (unsigned)strlen(fresh->name);
    const unsigned hash = (unsigned)base_hash(&b->hash_key, 0, fresh->name, len);
    bus_queue *q = BASE_TABLE_FIND(hh, b->queues, fresh->name, len, hash);
    if (q != NULL) { return q; }
    BASE_TABLE_ADD(hh, b->queues, fresh->name, len, hash, fresh);
    return fresh->hh.tbl != NULL ? fresh : NULL;
}

static cellar_err bus_group_insert(cellar_bus *b, bus_group *g, bus_queue *fresh) SYNC_HOLDS(BUS)
{
    if (bus_group_find(b, fresh->name, g->name) != NULL) { return CELLAR_EXISTS; }
    if (b->group_count >= b->max_groups) {
        b->count[STATS_BUS_REJECTED_LIMIT]++;
        return CELLAR_E_LIMIT;
    }
    bus_queue *q = bus_queue_get(b, fresh);
    if (q == NULL) { return CELLAR_E_NOMEM; }
    bus_group **at = &q->groups;
    while (*at != NULL) { at = &(*at)->next; }
    *at = g;
    g->queue = q;
    b->group_count++;
    b->generation++;
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_bus_group_add(cellar_bus *b, const char *queue, const char *group,
                                           const cellar_bus_group_config *o)
{
    char q[CELLAR_NAME_MAX + 1], name[CELLAR_NAME_MAX + 1];
    cellar_bus_group_config full;
    bus_group *g;
    if (b == NULL || !bus_names(queue, group, q, name)) { return CELLAR_E_INVAL; }
    if (b->obj.forked) { return CELLAR_E_FORKED; }
    cellar_err err = bus_group_opts(o, &full);
    if (err == CELLAR_OK) { err = bus_group_make(b, name, &full, &g); }
    if (err != CELLAR_OK) { return err; }
    bus_queue *fresh = base_alloc(&b->obj.account, BASE_MOD_STORE, sizeof *fresh, NULL);
    if (fresh == NULL) {
        bus_group_free(g);
        return CELLAR_E_NOMEM;
    }
    memcpy(fresh->name, q, sizeof fresh->name);
    bus_message *restored = NULL;
    err = bus_restore(b, q, name, &restored);
    bus_after a;
    bus_after_init(&a);
    sync_take(BUS, &b->lock);
    if (err == CELLAR_OK) { err = bus_group_insert(b, g, fresh); }
    const bool used = err == CELLAR_OK && g->queue == fresh;
    if (err == CELLAR_OK) { bus_restore_enter(g, restored, &a); }
    sync_drop(BUS, &b->lock);
    bus_settle(b, &a);
    if (err != CELLAR_OK) {
        bus_restore_drop(b, restored);
        bus_group_free(g);
    }
    if (!used) { base_free(&b->obj.account, BASE_MOD_STORE, fresh, sizeof *fresh); }
    return err;
}

CELLAR_API cellar_err cellar_bus_group_remove(cellar_bus *b, const char *queue, const char *group)
{
    char q[CELLAR_NAME_MAX + 1], name[CELLAR_NAME_MAX + 1];
    if (b == NULL || !bus_names(queue, group, q, name)) { return CELLAR_E_INVAL; }
    if (b->obj.forked) { return CELLAR_E_FORKED; }
    cellar_err err = CELLAR_OK;
    bus_after a;
    bus_after_init(&a);
    sync_take(BUS, &b->lock);
    bus_group *g = bus_group_find(b, q, name);
    if (g == NULL || g->members != NULL || g->pending != 0) {
        err = g == NULL ? CELLAR_E_NOT_FOUND : CELLAR_E_BUSY;
    } else {
        bus_group **at = &g->queue->groups;
        while (*at != g) { at = &(*at)->next; }
        *at = g->next;
        b->group_count--;
        b->generation++;
        bus_clear(g, &a);
        for (uint32_t i = 0; i < STATS_BUS_GROUP_COUNT; i++) { b->count[i] += g->count[i]; }
    }
    sync_drop(BUS, &b->lock);
    bus_settle(b, &a);
    if (err != CELLAR_OK) { return err; }
    bus_group_free(g);
    return bus_commit(b);
}

/* ---- routes ---- */

/* Return the link to the route of a pattern to a queue; *link NULL: there is none. */
static bus_route **bus_route_find(cellar_bus *b, const bus_topic *t, const char *queue)
    SYNC_HOLDS(BUS)
{
    bus_route **at = &b->routes;
    while (*at != NULL && ((*at)->topic.syntax != t->syntax ||
                           strcmp((*at)->topic.text, t->text) != 0 ||
                           strcmp((*at)->queue->name, queue) != 0)) {
        at = &(*at)->next;
    }
    return at;
}

static cellar_err bus_route_insert(cellar_bus *b, bus_route *r, const char *queue) SYNC_HOLDS(BUS)
{
    r->queue = bus_queue_find(b, queue, strlen(queue));
    if (r->queue == NULL) { return CELLAR_E_NOT_FOUND; }
    bus_route **at = bus_route_find(b, &r->topic, queue);
    if (*at != NULL) { return CELLAR_EXISTS; }
    if (b->route_count >= b->max_routes) {
        b->count[STATS_BUS_REJECTED_LIMIT]++;
        return CELLAR_E_LIMIT;
    }
    *at = r;
    b->route_count++;
    b->generation++;
    return CELLAR_OK;
}

static cellar_err bus_route_remove(cellar_bus *b, const bus_topic *t, const char *queue,
                                   bus_route **out) SYNC_HOLDS(BUS)
{
    bus_route **at = bus_route_find(b, t, queue), *r = *at;
    *out = r;
    if (r == NULL) { return CELLAR_E_NOT_FOUND; }
    *at = r->next;
    b->route_count--;
    b->generation++;
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_bus_route(cellar_bus *b, const char *pattern, const char *queue,
                                       cellar_bus_syntax syntax, bool on)
{
    char q[CELLAR_NAME_MAX + 1];
    bus_topic t;
    if (b == NULL || !bus_name(queue, q)) { return CELLAR_E_INVAL; }
    if (b->obj.forked) { return CELLAR_E_FORKED; }
    cellar_err err = bus_topic_make(pattern, syntax, &t);
    if (err != CELLAR_OK) { return err; }
    bus_route *r = on ? base_alloc(&b->obj.account, BASE_MOD_STORE, sizeof *r, NULL) : NULL;
    if (on && r == NULL) { return CELLAR_E_NOMEM; }
    if (on) { (void)bus_topic_make(pattern, syntax, &r->topic); } /* `t` must not move */
    sync_take(BUS, &b->lock);
    err = on ? bus_route_insert(b, r, q) : bus_route_remove(b, &t, q, &r);
    sync_drop(BUS, &b->lock);
    if (!on || err != CELLAR_OK) { base_free(&b->obj.account, BASE_MOD_STORE, r, sizeof *r); }
    return err;
}

BASE_SIZE_END
