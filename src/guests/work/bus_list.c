/* SPDX-License-Identifier: MIT
 *
 * bus_list: lists of groups and of the messages of a group.
 *
 * INVARIANTS A page of messages holds a reference of each, and one of its mark: the message at
 *            which the next page begins. So the mark stays in the ring, and the walk goes on from
 *            it, whatever ended meanwhile.
 * LOCKING    One hold of the lock for each page. The functions of the program come outside. */
#include <string.h>

#include "work/bus.h"

BASE_SIZE_BEGIN

#define BUS_PAGE 16u
#define BUS_LIST_STEPS 1024u

/* ---- groups ---- */

typedef struct bus_group_row {
    char queue[CELLAR_NAME_MAX + 1], name[CELLAR_NAME_MAX + 1];
    cellar_bus_group_stats stats;
} bus_group_row;

/* Copy the groups from number `from` on. Return how many there are, up to BUS_PAGE. */
static uint32_t bus_group_rows(cellar_bus *b, uint64_t from, int64_t now,
                               bus_group_row row[BUS_PAGE]) SYNC_HOLDS(BUS)
{
    uint32_t count = 0;
    for (const bus_queue *q = b->queues; q != NULL && count < BUS_PAGE; q = q->hh.next) {
        for (const bus_group *g = q->groups; g != NULL && count < BUS_PAGE; g = g->next) {
            if (from > 0) {
                from--;
                continue;
            }
            bus_group_row *r = &row[count++];
            memcpy(r->queue, q->name, sizeof r->queue);
            memcpy(r->name, g->name, sizeof r->name);
            bus_group_figures(g, now, &r->stats);
        }
    }
    return count;
}

CELLAR_API cellar_err cellar_bus_group_list(cellar_bus *b, cellar_bus_group_fn fn, void *ctx)
{
    bus_group_row row[BUS_PAGE];
    uint32_t count = BUS_PAGE;
    if (b == NULL || fn == NULL) { return CELLAR_E_INVAL; }
    if (b->obj.forked) { return CELLAR_E_FORKED; }
    for (uint64_t from = 0; count == BUS_PAGE; from += count) {
        const int64_t now = bus_now(b);
        sync_take(BUS, &b->lock);
        count = bus_group_rows(b, from, now, row);
        sync_drop(BUS, &b->lock);
        for (uint32_t i = 0; i < count; i++) {
            if (!fn(row[i].queue, row[i].name, &row[i].stats, ctx)) { return CELLAR_OK; }
        }
    }
    return CELLAR_OK;
}

/* ---- messages ---- */

typedef struct bus_page {
    const char *group;   /* its name, as a copy: the group may be removed */
    bus_message *mark;   /* NULL: the walk has ended */
    uint32_t next_copy;  /* of the mark */
    uint32_t count;
    bus_message *of[BUS_PAGE];
    cellar_bus_message seen[BUS_PAGE];
    cellar_bus_place place[BUS_PAGE];
} bus_page;

/* Return the next younger message; NULL: there is none. */
static bus_message *bus_younger(const cellar_bus *b, const bus_message *m) SYNC_HOLDS(BUS)
{
    return m == b->messages ? NULL : m->prev;
}

/* Return the oldest message from `id` on. */
static bus_message *bus_message_from(const cellar_bus *b, uint64_t id) SYNC_HOLDS(BUS)
{
    bus_message *m = b->messages != NULL ? b->messages->prev : NULL;
    while (m != NULL && m->id < id) { m = bus_younger(b, m); }
    return m;
}

static void bus_page_add(bus_page *p, const bus_group *g, const bus_copy *c) SYNC_HOLDS(BUS)
{
    static const cellar_bus_place places[] = { [BUS_WAITING] = CELLAR_BUS_WAITING,
                                               [BUS_DELAYED] = CELLAR_BUS_DELAYED,
                                               [BUS_HELD] = CELLAR_BUS_HELD };
    const uint32_t n = p->count++;
    p->of[n] = c->of;
    c->of->refs++;
    bus_describe(g, c, &p->seen[n]);
    p->seen[n].group = p->group;
    p->place[n] = places[c->state];
}

/* Fill a page from its mark on, and move the mark. */
static void bus_page_fill(cellar_bus *b, bus_page *p, const bus_group *g, bus_after *a)
    SYNC_HOLDS(BUS)
{
    bus_message *m = p->mark;
    uint32_t i = p->next_copy;
    for (uint32_t steps = 0; m != NULL && p->count < BUS_PAGE && steps < BUS_LIST_STEPS; steps++) {
        if (i == m->copy_count) {
            m = bus_younger(b, m);
            i = 0;
        } else {
            const bus_copy *c = &m->copy[i++];
            if (c->group == g) { bus_page_add(p, g, c); }
        }
    }
    if (m != NULL) { m->refs++; }
    if (p->mark != NULL) { bus_unref(b, p->mark, a); }
    p->mark = m;
    p->next_copy = i;
}

/* Give the references of a page back. `all`: that of the mark, too. */
static void bus_page_drop(cellar_bus *b, bus_page *p, bool all, bus_after *a) SYNC_HOLDS(BUS)
{
    for (uint32_t i = 0; i < p->count; i++) { bus_unref(b, p->of[i], a); }
    p->count = 0;
    if (all && p->mark != NULL) {
        bus_unref(b, p->mark, a);
        p->mark = NULL;
    }
}

/* Fill the next page; `from`: id at which the first one begins, 0: a later page. */
static cellar_err bus_page_next(cellar_bus *b, const char *queue, const char *name, uint64_t from,
                                bus_page *p)
{
    bus_after a;
    bus_after_init(&a);
    sync_take(BUS, &b->lock);
    bus_page_drop(b, p, false, &a);
    const bus_group *g = bus_group_find(b, queue, name);
    if (from != 0 && g != NULL) {
        p->mark = bus_message_from(b, from);
        if (p->mark != NULL) { p->mark->refs++; }
    }
    if (g != NULL) {
        bus_page_fill(b, p, g, &a);
    } else {
        bus_page_drop(b, p, true, &a);
    }
    sync_drop(BUS, &b->lock);
    bus_settle(b, &a);
    return g != NULL ? CELLAR_OK : CELLAR_E_NOT_FOUND;
}

static void bus_page_end(cellar_bus *b, bus_page *p)
{
    bus_after a;
    bus_after_init(&a);
    sync_take(BUS, &b->lock);
    bus_page_drop(b, p, true, &a);
    sync_drop(BUS, &b->lock);
    bus_settle(b, &a);
}

CELLAR_API cellar_err cellar_bus_message_list(cellar_bus *b, const char *queue, const char *group,
                                              uint64_t *cursor, cellar_bus_message_fn fn,
                                              void *ctx)
{
    char q[CELLAR_NAME_MAX + 1], name[CELLAR_NAME_MAX + 1];
    if (b == NULL || fn == NULL || !bus_names(queue, group, q, name)) { return CELLAR_E_INVAL; }
    if (b->obj.forked) { return CELLAR_E_FORKED; }
    bus_page p = { .group = name };
    uint64_t from = cursor != NULL && *cursor != 0 ? *cursor : 1, stopped = 0;
    cellar_err err;
    do {
        err = bus_page_next(b, q, name, from, &p);
        from = 0;
        for (uint32_t i = 0; i < p.count && stopped == 0; i++) {
            if (!fn(&p.seen[i], p.place[i], ctx)) { stopped = p.seen[i].id + 1; }
        }
    } while (err == CELLAR_OK && p.mark != NULL && stopped == 0);
    bus_page_end(b, &p);
    if (cursor != NULL) { *cursor = stopped; }
    return err;
}

BASE_SIZE_END
