/* SPDX-License-Identifier: MIT
 *
 * bus_publish: find the groups of a key, make the message, and put a row into each of them.
 *
 * WALK       body without the lock -> look: groups of the key -> drafts -> insert, as a submit: all
 *            groups have room, or none gets its row. The publish looks again if groups or routes
 *            changed during the insert, or if there are more than BUS_FEW groups.
 * LIMITS     CELLAR_BUS_QUEUES_MAX queues, BUS_ROWS_MAX groups a message.
 * LOCKING    bus_types.h. */
#include "base/opts.h"
#include "work/bus.h"

BASE_SIZE_BEGIN

#define BUS_ROWS_MAX 65536u
#define BUS_LEVEL 5u
#define BUS_FEW 16u /* rows of a message without an allocation for them */

typedef struct bus_place { /* room for one of each; the drafts come first */
    task_draft draft;
    cellar_task_id id;
} bus_place;

typedef struct bus_publication { /* arguments of a publish */
    const char *key;
    size_t key_len;
    bus_words words;         /* of the key, unless it names a queue */
    const void *body;
    size_t body_len, bytes;  /* bytes: from the head on */
    cellar_bus_publish_opts o;
    bus_queue *queue[CELLAR_BUS_QUEUES_MAX];
    uint32_t queue_count, count; /* count: groups */
    uint32_t drafts;         /* that were made for them */
    uint64_t generation;     /* of groups and routes, when `queue` was found */
    bool unrouted;
} bus_publication;

/* Check the key of a publication: words, or the name of a queue. */
static cellar_err bus_publication_key(bus_publication *l)
{
    if (l->o.direct == 0) {
        const cellar_err err = bus_words_of(l->key, &l->words);
        l->key_len = l->words.len;
        return err;
    }
    l->key_len = l->key != NULL ? strnlen(l->key, CELLAR_NAME_MAX + 1) : 0;
    return l->key_len != 0 && l->key_len <= CELLAR_NAME_MAX ? CELLAR_OK : CELLAR_E_INVAL;
}

static cellar_err bus_publication_opts(const cellar_pool *p, bus_publication *l,
                                       const cellar_bus_publish_opts *o)
{
    l->o = cellar_bus_publish_opts_default();
    cellar_err err = o != NULL ? base_opts_in(&l->o, sizeof l->o, o) : CELLAR_OK;
    if (err == CELLAR_OK) { err = bus_publication_key(l); }
    if (err != CELLAR_OK) { return err; }
    if (l->o.expires_ms < 0 || l->o.priority > CELLAR_BUS_PRIORITY_MAX ||
        l->o.header_count > CELLAR_BUS_HEADERS_MAX ||
        (l->o.headers == NULL && l->o.header_count != 0) || l->o.direct > 1 ||
        l->o.reserved0 != 0) {
        return CELLAR_E_INVAL;
    }
    const size_t most = (size_t)BASE_MIN(p->cfg.max_message_bytes, task_most_bytes(p));
    if (l->body_len > most) { return CELLAR_E_TOOBIG; }
    l->bytes = l->body_len + l->key_len + 1;
    for (uint32_t i = 0; i < l->o.header_count && l->bytes <= most; i++) {
        const cellar_bus_header *h = &l->o.headers[i];
        if (h->name == NULL || h->value == NULL) { return CELLAR_E_INVAL; }
        l->bytes += strnlen(h->name, most) + strnlen(h->value, most) + 2;
    }
    if (l->bytes > most) { return CELLAR_E_TOOBIG; }
    l->bytes += sizeof(bus_head);
    return CELLAR_OK;
}

/* ---- look ---- */

static cellar_err bus_add_queue(bus_publication *l, bus_queue *q)
{
    for (uint32_t i = 0; i < l->queue_count; i++) {
        if (l->queue[i] == q) { return CELLAR_OK; }
    }
    if (l->queue_count == CELLAR_BUS_QUEUES_MAX) { return CELLAR_E_LIMIT; }
    l->queue[l->queue_count++] = q;
    for (const bus_group *g = q->groups; g != NULL; g = g->next) { l->count++; }
    return l->count <= BUS_ROWS_MAX ? CELLAR_OK : CELLAR_E_LIMIT;
}

/* Find the queues of a publication. */
static cellar_err bus_look(cellar_pool *p, bus_publication *l) SYNC_HOLDS(QUEUE)
{
    l->queue_count = l->count = 0;
    l->generation = p->bus.generation;
    if (l->o.direct != 0) {
        bus_queue *q = bus_queue_find(p, l->key, l->key_len);
        return q != NULL ? bus_add_queue(l, q) : CELLAR_E_NOT_FOUND;
    }
    for (const bus_route *r = p->bus.routes; r != NULL; r = r->next) {
        if (r->queue->groups != NULL && bus_topic_match(&r->topic, &l->words)) {
            const cellar_err err = bus_add_queue(l, r->queue);
            if (err != CELLAR_OK) { return err; }
        }
    }
    l->unrouted = l->count == 0;
    if (!l->unrouted) { return CELLAR_OK; }
    bus_queue *q = bus_queue_find(p, p->bus.default_queue, strlen(p->bus.default_queue));
    return q != NULL ? bus_add_queue(l, q) : CELLAR_UNROUTED;
}

/* ---- put ---- */

/* Make the body of a publication. NULL: no memory. */
static task_body *bus_body_of(cellar_pool *p, const bus_publication *l, work_time now)
{
    task_body *b = bus_body_make(p, l->bytes, l->o.header_count);
    if (b == NULL) { return NULL; }
    bus_head *h = b->data;
    char *to = (char *)(h + 1) + l->body_len;
    h->expires_ms = l->o.expires_ms;
    h->body_len = l->body_len;
    h->header_count = l->o.header_count;
    h->key_len = (uint16_t)l->key_len;
    h->priority = (uint8_t)l->o.priority;
    h->reserved = 0;
    memcpy(h->trace, l->o.trace, sizeof h->trace);
    if (l->body_len != 0) { memcpy(h + 1, l->body, l->body_len); }
    bus_text(&to, l->key);
    for (uint32_t i = 0; i < l->o.header_count; i++) {
        bus_text(&to, l->o.headers[i].name);
        bus_text(&to, l->o.headers[i].value);
    }
    b->wall_ms = now.wall_ms & ((INT64_C(1) << 48) - 1);
    const int64_t until_ms =
        h->expires_ms != 0 ? task_time_add(now.mono_ms, h->expires_ms) : BASE_NEVER_MS;
    (void)bus_body_index(p, b, now.wall_ms, until_ms);
    return b;
}

/* Fill in a draft for each group. */
static void bus_drafts(cellar_pool *p, const bus_publication *l, task_body *b, task_draft *d)
    SYNC_HOLDS(QUEUE)
{
    ((bus_head *)b->data)->id = ++p->bus.last_id;
    for (uint32_t i = 0; i < l->queue_count; i++) {
        for (const bus_group *g = l->queue[i]->groups; g != NULL; g = g->next) {
            *d++ = (task_draft){ .name = g->name->name, .to = g->name,
                                 .generation = l->generation, .body = task_body_hold(b),
                                 .priority = BUS_LEVEL };
        }
    }
}

/* Move the drafts that their full groups do not want behind the others. Return the number of the
 * others. */
static uint32_t bus_drop_new(task_draft *d, uint32_t count) SYNC_HOLDS(QUEUE)
{
    for (uint32_t i = 0; i < count;) {
        const task_name *n = d[i].to;
        const size_t len = d[i].body->len;
        if ((uint32_t)n->opts.on_full != BUS_DROP_NEW || len > n->opts.queue_bytes ||
            task_name_fits(n, 1, len)) {
            i++;
        } else {
            const task_draft left = d[i];
            d[i] = d[--count];
            d[count] = left;
        }
    }
    return count;
}

/* Count the messages that did not enter their full groups. */
static void bus_dropped(const task_draft *d, uint32_t count) SYNC_HOLDS(QUEUE)
{
    for (uint32_t i = 0; i < count; i++) {
        d[i].to->count[STATS_TASK_SUBMITTED]++;
        d[i].to->count[STATS_TASK_CANCELLED]++;
        d[i].to->count[STATS_TASK_DROPPED]++;
    }
}

/* Put a row into each group. PENDING: there are more than `room` of them, or groups or routes
 * changed while the insert slept. */
static cellar_err bus_put(cellar_pool *p, bus_publication *l, task_body *b, task_draft *d,
                          uint32_t room, work_time now, task_after *a) SYNC_HOLDS(QUEUE)
{
    cellar_task_id *ids = (cellar_task_id *)(void *)(d + room);
    cellar_err err = bus_look(p, l);
    l->drafts = 0;
    if (err != CELLAR_OK) { return err; }
    if (l->count > room) { return CELLAR_PENDING; }
    bus_drafts(p, l, b, d);
    l->drafts = l->count;
    uint32_t count = bus_drop_new(d, l->count);
    if (count != l->count && p->bursts != 0) { /* some messages may have ended */
        task_bursts_recall(p, a);
        count = bus_drop_new(d, l->count);
    }
    b->apart = count > 1;
    err = count != 0 ? task_insert(p, d, count, now, a, ids) : task_intake_of(p);
    /* While the insert slept, a group was removed, or one filled up that drops new ones. */
    if (err == CELLAR_E_NOT_FOUND || (err == CELLAR_E_BUSY && bus_drop_new(d, count) != count)) {
        return CELLAR_PENDING;
    }
    if (err == CELLAR_OK) { bus_dropped(d + count, l->count - count); }
    return err;
}

/* Publish a body under one hold of the lock, unless it has many groups. */
static cellar_err bus_post(cellar_pool *p, bus_publication *l, task_body *b, work_time now)
{
    bus_place few[BUS_FEW], *at = few;
    uint32_t room = BUS_FEW;
    cellar_err err = CELLAR_PENDING;
    uint64_t until_ns = 0; /* end of the wait for room; a further look waits no longer */
    while (err == CELLAR_PENDING) {
        task_draft *d = (task_draft *)(void *)at;
        task_after a = task_lock(p);
        a.until_ns = until_ns;
        err = bus_put(p, l, b, d, room, now, &a);
        p->bus.count[STATS_BUS_PUBLISHED] += err == CELLAR_OK;
        p->bus.count[STATS_BUS_UNROUTED] +=
            err == CELLAR_UNROUTED || (err == CELLAR_OK && l->unrouted);
        p->bus.count[STATS_BUS_REJECTED_LIMIT] += err == CELLAR_E_LIMIT;
        task_unlock(p, &a);
        until_ns = a.until_ns;
        for (uint32_t i = 0; i < l->drafts; i++) { task_body_drop(p, d[i].body, false); }
        if (err == CELLAR_PENDING && l->count > room) {
            if (at != few) { base_free(&p->obj.account, BASE_MOD_STORE, at, room * sizeof *at); }
            room = l->count;
            at = base_alloc(&p->obj.account, BASE_MOD_STORE, room * sizeof *at, NULL);
            if (at == NULL) { err = CELLAR_E_NOMEM; }
        }
    }
    if (at != few) { base_free(&p->obj.account, BASE_MOD_STORE, at, room * sizeof *at); }
    return err;
}

CELLAR_API cellar_err cellar_bus_publish(cellar_pool *p, const char *key, const void *body,
                                         size_t len, const cellar_bus_publish_opts *o)
{
    if (p == NULL || (body == NULL && len != 0)) { return CELLAR_E_INVAL; }
    if (p->obj.forked) { return CELLAR_E_FORKED; }
    bus_publication l = { .key = key, .body = body, .body_len = len };
    cellar_err err = bus_publication_opts(p, &l, o);
    if (err != CELLAR_OK) { return err; }
    const work_time now = task_near(p);
    task_body *b = bus_body_of(p, &l, now);
    err = b != NULL ? bus_post(p, &l, b, now) : CELLAR_E_NOMEM;
    task_body_drop(p, b, false);
    if (err == CELLAR_UNROUTED) {
        base_log(&p->obj.log, BASE_LOG_WARNING, "bus", (int)err, "no route matches \"%s\"", key);
    }
    return err;
}

BASE_SIZE_END
