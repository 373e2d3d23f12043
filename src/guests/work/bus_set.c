/* SPDX-License-Identifier: MIT
 *
 * bus_set: the groups, routes and subscribers of a pool: find, join, leave, figures, free.
 *
 * LOCKING    bus_types.h. */
#include "work/bus.h"

BASE_SIZE_BEGIN

CELLAR_PRIVATE bool bus_name(const char *name, char out[CELLAR_NAME_MAX + 1])
{
    if (!task_is_name(name)) { return false; }
    memset(out, 0, CELLAR_NAME_MAX + 1);
    memcpy(out, name, strlen(name));
    return true;
}

CELLAR_PRIVATE bus_queue *bus_queue_find(cellar_pool *p, const char *name, size_t len)
{
    bus_queue *q = BASE_TABLE_FIND(hh, p->bus.queues, name, len, task_hash(p, name, len));
    return q != NULL && q->groups != NULL ? q : NULL;
}

CELLAR_PRIVATE void bus_group_free(cellar_pool *p, bus_group *g)
{
    base_free(&p->obj.account, BASE_MOD_STORE, g->filter_texts, g->filter_bytes);
    base_free(&p->obj.account, BASE_MOD_STORE, g, sizeof *g + g->lane_count * sizeof g->lane[0]);
}

CELLAR_PRIVATE cellar_err bus_queue_get(cellar_pool *p, bus_group *g)
{
    BASE_TABLE_CHARGE(&p->obj.account, BASE_MOD_STORE);
    bus_queue **fresh = g->fresh;
    const char *name = (*fresh)->name;
    const size_t len = strlen(name);
    const unsigned hash = task_hash(p, name, len);
    g->queue = BASE_TABLE_FIND(hh, p->bus.queues, name, len, hash);
    if (g->queue != NULL) { return CELLAR_OK; }
    if (HASH_CNT(hh, p->bus.queues) == TASK_QUEUES_MAX) {
        p->count[STATS_TASK_REJECTED_LIMIT]++;
        return CELLAR_E_LIMIT;
    }
    BASE_TABLE_ADD(hh, p->bus.queues, name, len, hash, *fresh);
    if ((*fresh)->hh.tbl == NULL) { return CELLAR_E_NOMEM; }
    g->queue = *fresh;
    *fresh = NULL;
    return CELLAR_OK;
}

CELLAR_PRIVATE bus_group *bus_group_leave(cellar_pool *p, task_name *n)
{
    bus_group *g = n->group;
    if (g == NULL) { return NULL; }
    bus_group **at = &g->queue->groups;
    while (*at != NULL && *at != g) { at = &(*at)->next; }
    if (*at == NULL) { return NULL; } /* another call removes it */
    *at = g->next;
    p->bus.generation++;
    return g;
}

CELLAR_PRIVATE void bus_subscriber_free(cellar_pool *p, bus_subscriber *s)
{
    const cellar_bus_free_fn free_fn = s->free_fn;
    void *ctx = s->ctx;
    base_free(&p->obj.account, BASE_MOD_STORE, s, sizeof *s);
    sync_assert_none();
    if (free_fn != NULL) { free_fn(ctx); }
}

CELLAR_PRIVATE void bus_free_all(cellar_pool *p) SYNC_UNCHECKED
{
    BASE_TABLE_CHARGE(&p->obj.account, BASE_MOD_STORE);
    bus_queue *q = p->bus.queues;
    HASH_CLEAR(hh, p->bus.queues);
    while (q != NULL) {
        bus_queue *next_queue = q->hh.next;
        for (bus_group *g = q->groups, *next; g != NULL; g = next) {
            next = g->next;
            bus_group_free(p, g);
        }
        base_free(&p->obj.account, BASE_MOD_STORE, q, sizeof *q);
        q = next_queue;
    }
    for (bus_route *r = p->bus.routes, *next; r != NULL; r = next) {
        next = r->next;
        base_free(&p->obj.account, BASE_MOD_STORE, r, sizeof *r);
    }
    for (wheel_timer *at = p->bus.subscribers.next, *next; at != &p->bus.subscribers; at = next) {
        next = at->next;
        bus_subscriber_free(p, (bus_subscriber *)(void *)at); /* its first field */
    }
}

BASE_SIZE_END
