/* SPDX-License-Identifier: MIT
 *
 * bus_signal: subscribers that a signal calls on the thread of its emitter.
 *
 * WALK       emit -> next subscriber that matches and is not newer than the emit -> reference ->
 *            call without the lock -> give the reference back -> next one
 * INVARIANTS refs == present + running calls. A removed subscriber stays in the list until its last
 *            call ends: an emit continues from it. Ids rise along the list.
 * COMPLETION A reference is given back once: after the call, or by the end of the thread inside it.
 * LOCKING    bus_types.h. An emit allocates nothing. */
#include "base/user_callback.h"
#include "work/bus.h"

BASE_SIZE_BEGIN

typedef struct bus_emit { /* one call of a subscriber */
    bus_scope scope;
    cellar_pool *p;
    bus_subscriber *at;
    const char *topic;
    const void *data;
    size_t len;
} bus_emit;

/* Give a reference back. Return the subscriber if it has ended and is out of the list. */
static bus_subscriber *bus_subscriber_unref(bus_subscriber *s) SYNC_HOLDS(QUEUE)
{
    if (--s->refs != 0) { return NULL; }
    wheel_ring_remove(&s->link);
    return s;
}

static bus_subscriber *bus_subscriber_of(wheel_timer *link)
{
    return (bus_subscriber *)(void *)link; /* its first field */
}

CELLAR_API cellar_err cellar_signal_subscribe(cellar_pool *p, const char *pattern,
                                              cellar_bus_syntax syntax, cellar_signal_fn fn,
                                              void *ctx, cellar_bus_free_fn free_fn, uint64_t *id)
{
    if (id != NULL) { *id = 0; }
    if (p == NULL || fn == NULL) { return CELLAR_E_INVAL; }
    if (p->obj.forked) { return CELLAR_E_FORKED; }
    bus_subscriber *s = base_alloc(&p->obj.account, BASE_MOD_STORE, sizeof *s, NULL);
    if (s == NULL) { return CELLAR_E_NOMEM; }
    s->fn = fn;
    s->ctx = ctx;
    s->refs = 1;
    s->present = true;
    uint64_t given = 0;
    cellar_err err = bus_topic_make(pattern, syntax, &s->topic);
    sync_take(QUEUE, &p->lock);
    if (err == CELLAR_OK && p->bus.subscriber_count == p->cfg.max_subscribers) {
        p->bus.count[STATS_BUS_REJECTED_LIMIT]++;
        err = CELLAR_E_LIMIT;
    } else if (err == CELLAR_OK) {
        wheel_ring_add(&p->bus.subscribers, &s->link);
        given = s->id = ++p->bus.last_subscriber;
        s->free_fn = free_fn;
        p->bus.subscriber_count++;
    }
    sync_drop(QUEUE, &p->lock);
    if (err != CELLAR_OK) { bus_subscriber_free(p, s); }
    if (id != NULL) { *id = given; }
    return err;
}

CELLAR_API cellar_err cellar_signal_unsubscribe(cellar_pool *p, uint64_t id)
{
    if (p == NULL) { return CELLAR_E_INVAL; }
    if (p->obj.forked) { return CELLAR_E_FORKED; }
    bus_subscriber *ended = NULL;
    sync_take(QUEUE, &p->lock);
    wheel_timer *const end = &p->bus.subscribers, *at = end->next;
    while (at != end && (bus_subscriber_of(at)->id != id || !bus_subscriber_of(at)->present)) {
        at = at->next;
    }
    if (at != end) {
        bus_subscriber_of(at)->present = false;
        p->bus.subscriber_count--;
        ended = bus_subscriber_unref(bus_subscriber_of(at));
    }
    sync_drop(QUEUE, &p->lock);
    if (ended != NULL) { bus_subscriber_free(p, ended); }
    return at != end ? CELLAR_OK : CELLAR_E_NOT_FOUND;
}

static void bus_emit_call(void *arg)
{
    bus_emit *e = arg;
    e->at->fn(e->topic, e->data, e->len, e->at->ctx);
}

/* End the call of a subscriber that ends its thread. */
static void bus_emit_left(void *arg)
{
    bus_emit *e = arg;
    sync_take(QUEUE, &e->p->lock);
    e->p->bus.count[STATS_BUS_THREAD_ENDS]++;
    wheel_ring_remove(&e->scope.link);
    bus_subscriber *ended = bus_subscriber_unref(e->at);
    sync_drop(QUEUE, &e->p->lock);
    work_wake(&e->p->ended, INT32_MAX);
    if (ended != NULL) { bus_subscriber_free(e->p, ended); }
}

/* Go to the next subscriber of the topic with an id up to `last`. False: there is none. *ended: the
 * one before, if it ended. */
static bool bus_emit_next(bus_emit *e, const bus_words *words, uint64_t last,
                          bus_subscriber **ended) SYNC_HOLDS(QUEUE)
{
    cellar_pool *p = e->p;
    wheel_timer *at = e->at != NULL ? e->at->link.next : p->bus.subscribers.next;
    *ended = NULL;
    if (e->at != NULL) {
        wheel_ring_remove(&e->scope.link);
        *ended = bus_subscriber_unref(e->at);
    }
    for (; at != &p->bus.subscribers && bus_subscriber_of(at)->id <= last; at = at->next) {
        bus_subscriber *s = bus_subscriber_of(at);
        if (!s->present || !bus_topic_match(&s->topic, words)) { continue; }
        s->refs++;
        p->bus.count[STATS_BUS_SIGNAL_CALLS]++;
        e->scope.tid = base_thread_id();
        wheel_ring_add(&p->bus.scopes, &e->scope.link);
        e->at = s;
        return true;
    }
    return false;
}

CELLAR_API cellar_err cellar_signal_emit(cellar_pool *p, const char *topic, const void *data,
                                         size_t len, size_t *called)
{
    bus_words words;
    size_t calls = 0;
    if (called != NULL) { *called = 0; }
    if (p == NULL || (data == NULL && len != 0)) { return CELLAR_E_INVAL; }
    if (p->obj.forked) { return CELLAR_E_FORKED; }
    const cellar_err err = bus_words_of(topic, &words);
    if (err != CELLAR_OK) { return err; }
    bus_emit e = { .p = p, .topic = topic, .data = data, .len = len };
    bus_subscriber *ended;
    sync_take(QUEUE, &p->lock);
    const uint64_t last = p->bus.last_subscriber;
    p->bus.count[STATS_BUS_SIGNALS]++;
    while (bus_emit_next(&e, &words, last, &ended)) {
        sync_drop(QUEUE, &p->lock);
        if (ended != NULL) { bus_subscriber_free(p, ended); }
        const int cancel = base_cancel_off();
        base_run_callback(bus_emit_call, bus_emit_left, &e, cancel);
        base_cancel_set(cancel);
        calls++;
        sync_take(QUEUE, &p->lock);
    }
    sync_drop(QUEUE, &p->lock);
    if (ended != NULL) { bus_subscriber_free(p, ended); }
    if (calls != 0) { work_wake(&p->ended, INT32_MAX); }
    if (called != NULL) { *called = calls; }
    return CELLAR_OK;
}

BASE_SIZE_END
