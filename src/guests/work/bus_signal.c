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
    cellar_bus *b;
    bus_subscriber *at;
    const char *topic;
    const void *data;
    size_t len;
} bus_emit;

CELLAR_PRIVATE void bus_subscriber_free(cellar_bus *b, bus_subscriber *s)
{
    const cellar_bus_free_fn free_fn = s->free_fn;
    void *ctx = s->ctx;
    base_free(&b->obj.account, BASE_MOD_STORE, s, sizeof *s);
    sync_assert_none();
    if (free_fn != NULL) { free_fn(ctx); }
}

/* Give a reference back. Return the subscriber if it has ended and is out of the list. */
static bus_subscriber *bus_subscriber_unref(cellar_bus *b, bus_subscriber *s) SYNC_HOLDS(BUS)
{
    if (--s->refs != 0) { return NULL; }
    bus_subscriber **at = &b->subscribers;
    while (*at != s) { at = &(*at)->next; }
    *at = s->next;
    return s;
}

CELLAR_API cellar_err cellar_signal_subscribe(cellar_bus *b, const char *pattern,
                                              cellar_bus_syntax syntax, cellar_signal_fn fn,
                                              void *ctx, cellar_bus_free_fn free_fn, uint64_t *id)
{
    if (id != NULL) { *id = 0; }
    if (b == NULL || fn == NULL) { return CELLAR_E_INVAL; }
    if (b->obj.forked) { return CELLAR_E_FORKED; }
    bus_subscriber *s = base_alloc(&b->obj.account, BASE_MOD_STORE, sizeof *s, NULL);
    if (s == NULL) { return CELLAR_E_NOMEM; }
    s->fn = fn;
    s->ctx = ctx;
    s->refs = 1;
    s->present = true;
    uint64_t given = 0;
    cellar_err err = bus_topic_make(pattern, syntax, &s->topic);
    if (err == CELLAR_OK) {
        sync_take(BUS, &b->lock);
        if (b->subscriber_count < b->max_subscribers) {
            bus_subscriber **at = &b->subscribers;
            while (*at != NULL) { at = &(*at)->next; }
            *at = s;
            given = s->id = ++b->last_subscriber;
            s->free_fn = free_fn;
            b->subscriber_count++;
        } else {
            b->count[STATS_BUS_REJECTED_LIMIT]++;
            err = CELLAR_E_LIMIT;
        }
        sync_drop(BUS, &b->lock);
    }
    if (err != CELLAR_OK) { bus_subscriber_free(b, s); }
    if (id != NULL) { *id = given; }
    return err;
}

CELLAR_API cellar_err cellar_signal_unsubscribe(cellar_bus *b, uint64_t id)
{
    if (b == NULL) { return CELLAR_E_INVAL; }
    if (b->obj.forked) { return CELLAR_E_FORKED; }
    bus_subscriber *ended = NULL;
    sync_take(BUS, &b->lock);
    bus_subscriber *s = b->subscribers;
    while (s != NULL && (s->id != id || !s->present)) { s = s->next; }
    if (s != NULL) {
        s->present = false;
        b->subscriber_count--;
        ended = bus_subscriber_unref(b, s);
    }
    sync_drop(BUS, &b->lock);
    if (ended != NULL) { bus_subscriber_free(b, ended); }
    return s != NULL ? CELLAR_OK : CELLAR_E_NOT_FOUND;
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
    sync_take(BUS, &e->b->lock);
    e->b->count[STATS_BUS_THREAD_ENDS]++;
    bus_scope_leave(e->b, &e->scope);
    bus_subscriber *ended = bus_subscriber_unref(e->b, e->at);
    sync_drop(BUS, &e->b->lock);
    sync_wake(&e->b->running, INT32_MAX);
    if (ended != NULL) { bus_subscriber_free(e->b, ended); }
}

/* Go to the next subscriber of the topic with an id up to `last`. False: there is none. *ended: the
 * one before, if it ended. */
static bool bus_emit_next(bus_emit *e, const bus_words *words, uint64_t last,
                          bus_subscriber **ended) SYNC_HOLDS(BUS)
{
    cellar_bus *b = e->b;
    bus_subscriber *s = e->at != NULL ? e->at->next : b->subscribers;
    *ended = NULL;
    if (e->at != NULL) {
        bus_scope_leave(b, &e->scope);
        *ended = bus_subscriber_unref(b, e->at);
    }
    while (s != NULL && s->id <= last && (!s->present || !bus_topic_match(&s->topic, words))) {
        s = s->next;
    }
    if (s == NULL || s->id > last) { return false; }
    s->refs++;
    b->count[STATS_BUS_SIGNAL_CALLS]++;
    bus_scope_enter(b, &e->scope);
    e->at = s;
    return true;
}

CELLAR_API cellar_err cellar_signal_emit(cellar_bus *b, const char *topic, const void *data,
                                         size_t len, size_t *called)
{
    bus_words words;
    size_t calls = 0;
    if (called != NULL) { *called = 0; }
    if (b == NULL || (data == NULL && len != 0)) { return CELLAR_E_INVAL; }
    if (b->obj.forked) { return CELLAR_E_FORKED; }
    const cellar_err err = bus_words_of(topic, &words);
    if (err != CELLAR_OK) { return err; }
    bus_emit e = { .b = b, .topic = topic, .data = data, .len = len };
    bus_subscriber *ended;
    sync_take(BUS, &b->lock);
    const uint64_t last = b->last_subscriber;
    b->count[STATS_BUS_SIGNALS]++;
    while (bus_emit_next(&e, &words, last, &ended)) {
        sync_drop(BUS, &b->lock);
        if (ended != NULL) { bus_subscriber_free(b, ended); }
        const int cancel = base_cancel_off();
        base_run_callback(bus_emit_call, bus_emit_left, &e, cancel);
        base_cancel_set(cancel);
        calls++;
        sync_take(BUS, &b->lock);
    }
    sync_drop(BUS, &b->lock);
    if (ended != NULL) { bus_subscriber_free(b, ended); }
    if (calls != 0) { sync_wake(&b->running, INT32_MAX); }
    if (called != NULL) { *called = calls; }
    return CELLAR_OK;
}

BASE_SIZE_END
