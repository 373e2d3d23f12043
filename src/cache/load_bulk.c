/* SPDX-License-Identifier: MIT
 *
 * load_bulk: load many keys with one loader call for all missing ones.
 *
 * WALK       plain hits -> looks -> per missing key: lead or join -> own loader for all led keys,
 *            store, end -> fallbacks for failed keys, one by one -> only then wait for joined keys
 *            -> retry the rest
 * INVARIANTS Each item ends like its single call. Own loads end before the call waits for others:
 *            two calls that lead keys of each other cannot block. Equal keys share a flight: the
 *            second joins the first. A leader that ends its thread inside the loader leaves nothing
 *            behind.
 *            While fallbacks of one key run, the other failed keys stay led, too: a fallback that
 *            needs one of them gets E_DEADLOCK. Keys with a remembered failure, or one of another
 *            flight, are led with the rest, but the loader is not asked for them.
 * LOCKING    As load.c.
 * LIMITS     4,096 keys per loader call. With less working memory chunks get smaller, down to one
 *            key, then E_NOMEM for that item. */
#include "base/user_callback.h"
#include "cache/breaker_calls.h"
#include "cache/call.h"
#include "cache/dependencies.h"
#include "cache/error.h"
#include "cache/load.h"
#include "cache/load_call.h"
#include "cache/load_fallback.h"
#include "cache/load_guard.h"
#include "cache/load_leader.h"
#include "cache/load_plan.h"
#include "cache/load_publish.h"
#include "cache/load_run.h"
#include "cache/load_wait.h"
#include "cache/loader_api.h"

#define CACHE_BULK_MAX 4096u

typedef struct cache_one { /* one missing item */
    cache_call call;
    size_t at;          /* index in the array of the caller */
    flight *f;          /* led or joined; NULL: neither */
    uint64_t epoch;     /* tag epoch of the join */
    bool led, done;
} cache_one;

typedef struct cache_bulk { /* in a heap block: reaping after a longjmp finds it */
    struct cellar_load ld; /* handle of the loader */
    cache_call call;       /* call of the loader as a whole */
    cache_one *one;
    cache_item *item;      /* results of the led keys, in the order of `keys` */
    cellar_bytes *keys;
    uint32_t *led;         /* item index -> index in `one` */
    size_t count, bytes;
    size_t led_count;      /* keys led now: first the keys for the loader, */
    size_t ask_count;      /* this many; the rest run fallbacks only (call.instead) */
    flight *outer;         /* led flight that began first: ending it ends all */
    uintptr_t frame;       /* frame of the leading call */
    bool refused;          /* by the breaker: the loader did not run */
    cellar_load_item *items;
    flight_table *t;
} cache_bulk;

/* ---- results of the loader ---- */

static cache_item *cache_item_of(cellar_load *ld, size_t index)
{
    if (ld == NULL || ld->many == NULL || index >= ld->item_count) { return NULL; }
    return &ld->item[index];
}

static cellar_err cache_item_report(cache_item *it, uint8_t what)
{
    if (it->said == CACHE_REPORTED_NOTHING && !it->twice && it->loader_err == 0 &&
        it->setter_err == CELLAR_OK) {
        it->said = what;
        return CELLAR_OK;
    }
    it->twice = true;
    flight_bytes_drop(it->value);
    it->value = NULL;
    return CELLAR_E_RESULT_TWICE;
}

CELLAR_API cellar_err cellar_load_item_value(cellar_load *load, size_t index, const void *value,
                                             size_t value_len)
{
    cache_item *it = cache_item_of(load, index);
    if (it == NULL || (value == NULL && value_len != 0)) { return CELLAR_E_INVAL; }
    cellar_err err = cache_item_report(it, CACHE_REPORTED_VALUE);
    if (err != CELLAR_OK) { return err; }
    err = cache_load_room(load->call->c, value, value_len);
    if (err == CELLAR_OK) {
        it->value = flight_bytes_new(&load->call->c->store->hooks, value_len);
        if (it->value == NULL) { err = CELLAR_E_NOMEM; }
    }
    if (err != CELLAR_OK) {
        it->said = CACHE_REPORTED_NOTHING;
        it->setter_err = err;
    } else if (value_len != 0) {
        memcpy(it->value->data, value, value_len);
    }
    return err;
}

CELLAR_API cellar_err cellar_load_item_absent(cellar_load *load, size_t index)
{
    cache_item *it = cache_item_of(load, index);
    return it == NULL ? CELLAR_E_INVAL : cache_item_report(it, CACHE_REPORTED_NONE);
}

CELLAR_API cellar_err cellar_load_item_fail(cellar_load *load, size_t index, int32_t loader_err)
{
    cache_item *it = cache_item_of(load, index);
    if (it == NULL || loader_err == 0) { return CELLAR_E_INVAL; }
    const cellar_err err = cache_item_report(it, CACHE_REPORTED_NOTHING);
    if (err == CELLAR_OK) { it->loader_err = loader_err; }
    return err;
}

/* ---- working memory ---- */

static size_t cache_bulk_bytes(size_t n)
{
    return sizeof(cache_bulk) +
           n * (sizeof(cache_one) + sizeof(cache_item) + sizeof(cellar_bytes) + sizeof(uint32_t));
}

/* Allocate room for up to *n keys, at least one. Return NULL if not even one fits. */
static cache_bulk *cache_bulk_new(cellar *c, size_t *n)
{
    for (*n = BASE_MIN(*n, (size_t)CACHE_BULK_MAX); *n > 0; *n /= 2) {
        const size_t bytes = cache_bulk_bytes(*n);
        cache_bulk *b = base_alloc(&c->store->account, BASE_MOD_FLIGHT, bytes, NULL);
        if (b == NULL) { continue; }
        memset(b, 0, sizeof *b);
        b->bytes = bytes;
        b->one = (cache_one *)(void *)(b + 1);
        b->item = (cache_item *)(void *)(b->one + *n);
        b->keys = (cellar_bytes *)(void *)(b->item + *n);
        b->led = (uint32_t *)(void *)(b->keys + *n);
        return b;
    }
    return NULL;
}

/* Free all it owns, except the led flights. */
static void cache_bulk_drop(cache_bulk *b)
{
    cellar *c = b->call.c;
    for (size_t i = 0; i < b->led_count; i++) { flight_bytes_drop(b->item[i].value); }
    for (size_t i = 0; i < b->count; i++) {
        cache_one *one = &b->one[i];
        if (one->f != NULL && !one->led) { flight_leave(b->t, one->f); }
        cache_call_forget(&one->call);
        flight_bytes_drop(one->call.value);
    }
    base_free(&c->store->account, BASE_MOD_FLIGHT, b, b->bytes);
}

/* Free a bulk lost by a longjmp out of the loader or a fallback. The reaper ends the flights. */
static void cache_bulk_lost(flight_will *w)
{
    if (w->c != NULL) { cache_breaker_report(w->c, w->n, BREAKER_SAID_NOTHING); }
    cache_bulk_drop(w->a);
}

/* ---- one pass: enter, load, store, wait ---- */

/* Handle a key that is being loaded: by this call for an earlier item (no retry, no wait), or by
 * another call. Return true if it is answered. */
static bool cache_bulk_joined(cache_bulk *b, cache_one *one)
{
    cache_call *call = &one->call;
    if (flight_led_from(one->f, b->frame)) {
        call->p.handovers = 0;
        return false;
    }
    if (!call->p.no_wait) { return false; }
    flight_leave(b->t, one->f);
    one->f = NULL;
    (void)cache_answer(call, CELLAR_PENDING, CELLAR_SOURCE_NONE);
    return true;
}

static void cache_bulk_enter(cache_bulk *b, cache_one *one)
{
    cache_call *call = &one->call;
    flight_ask ask;
    flight_outcome o;
    memset(&o, 0, sizeof o);
    const bool side = (call->p.flags & (CELLAR_LOAD_BYPASS | CELLAR_LOAD_NO_JOIN)) != 0;
    cache_ask(call, side ? FLIGHT_SIDE : FLIGHT_CALL, &ask);
    ask.join = !side && call->old == NULL;
    one->epoch = ask.tag_born;
    const flight_entry entry = flight_enter(b->t, &ask, &one->f);
    one->done = true;
    one->led = entry == FLIGHT_LED;
    if (entry == FLIGHT_JOINED) {
        one->done = cache_bulk_joined(b, one);
    } else if (entry == FLIGHT_TAKEN) {
        one->f = NULL;
        if (call->old != NULL) {
            cache_answer_old(call, CELLAR_SOURCE_STALE_REVALIDATE);
        } else {
            (void)cache_answer(call, CELLAR_PENDING, CELLAR_SOURCE_NONE);
        }
    } else if (!one->led) {
        one->f = NULL;
        (void)cache_entry_failed(call, entry);
    } else {
        const bool looks = (call->p.flags & CELLAR_LOAD_BYPASS) == 0 && !cache_is_off(call->c);
        call->k.bytes = flight_key_of(one->f).bytes;
        if (looks &&
            (cache_second_look(call, &o) || (call->old == NULL && cache_tier_look(call, &o)))) {
            o.source = call->source;
            flight_end(b->t, one->f, &o);
            one->f = NULL;
            one->led = false;
            return;
        }
        one->done = false;
        flight_lead_begin(one->f, b->frame);
    }
}

static void cache_bulk_left(struct cellar_load *ld)
{
    cache_bulk *b = ld->host;
    cellar *c = b->call.c;
    flight_lead_end(b->outer);
    for (size_t i = 0; i < b->count; i++) {
        cache_one *one = &b->one[i];
        if (one->f != NULL && one->led) { cache_flight_cancel(b->t, one->f); }
    }
    cache_bulk_drop(b);
    cache_load_end(c->store);
}

static cellar_err cache_item_verdict(const cache_item *it, const struct cellar_load *ld,
                                     int32_t *loader_err)
{
    *loader_err = it->loader_err;
    if (it->twice) { return CELLAR_E_RESULT_TWICE; }
    if (it->loader_err != 0) { return CELLAR_E_LOADER; }
    if (it->setter_err != CELLAR_OK) { return it->setter_err; }
    if (it->said != CACHE_REPORTED_NOTHING) { return CELLAR_OK; }
    if (ld->returned == CELLAR_OK && !ld->failed) { return CELLAR_E_NO_RESULT; }
    *loader_err = ld->failed ? ld->loader_err : (int32_t)ld->returned;
    return CELLAR_E_LOADER;
}

/* Prepare the handle for the load of one key. */
static void cache_bulk_handle(cache_bulk *b, cache_one *one, struct cellar_load *ld)
{
    *ld = b->ld;
    ld->call = &one->call;
    ld->f = ld->noted = one->f;
    ld->many = NULL;
    one->call.cancel = b->call.cancel;
    one->call.now_ms = b->call.now_ms;
    one->call.load_us = b->call.load_us;
}

static void cache_bulk_end(cache_bulk *b, cache_one *one, flight_outcome *o)
{
    o->source = one->call.source;
    o->load_us = one->call.load_us;
    flight_end(b->t, one->f, o);
    one->f = NULL;
    one->led = false;
    one->done = true;
}

/* Store and end one key of the loader call, if it has a result. */
static void cache_bulk_conclude(cache_bulk *b, size_t i)
{
    cache_one *one = &b->one[b->led[i]];
    cache_item *it = &b->item[i];
    struct cellar_load ld;
    flight_outcome o;
    int32_t loader_err;
    memset(&o, 0, sizeof o);
    cache_bulk_handle(b, one, &ld);
    if (cache_item_verdict(it, &ld, &loader_err) != CELLAR_OK) { return; }
    if (it->said == CACHE_REPORTED_NONE) {
        cache_publish_none(&ld, &o);
    } else {
        cache_publish_value(&ld, it->value, &o);
    }
    it->value = NULL;
    cache_answer_loaded(&ld, &o);
    cache_bulk_end(b, one, &o);
}

/* End one key without a result. */
static void cache_bulk_failed(cache_bulk *b, size_t i, bool asks)
{
    cache_one *one = &b->one[b->led[i]];
    cache_item *it = &b->item[i];
    struct cellar_load ld;
    flight_outcome o;
    memset(&o, 0, sizeof o);
    cache_bulk_handle(b, one, &ld);
    flight_bytes_drop(it->value);
    it->value = NULL;
    if (b->refused || one->call.instead) {
        cache_guard_refused(&ld, &o);
    } else {
        int32_t loader_err = 0;
        const cellar_err err = cache_item_verdict(it, &ld, &loader_err);
        cache_lead_failed(&ld, err, loader_err != 0 ? loader_err : (int32_t)err, &o);
    }
    if (asks) { flight_lead_end(one->f); }
    cache_bulk_end(b, one, &o);
}

/* Finish a loader call: results first, then fallbacks for missing results. */
static void cache_bulk_results(cache_bulk *b)
{
    const bool asks = cache_load_has_instead(b->call.o);
    flight_lead_end(b->outer);
    b->outer = NULL;
    for (size_t i = 0; i < b->ask_count && !b->refused; i++) { cache_bulk_conclude(b, i); }
    for (size_t i = b->led_count; asks && i-- > 0;) { /* the flight that ends first is innermost */
        flight *f = b->one[b->led[i]].f;
        if (f == NULL) { continue; }
        flight_lead_begin(f, b->frame);
        if (b->outer == NULL) { b->outer = f; }
    }
    for (size_t i = 0; i < b->led_count; i++) {
        if (b->one[b->led[i]].f != NULL) { cache_bulk_failed(b, i, asks); }
    }
}

/* Collect the led keys in the order for the loader. */
static void cache_bulk_gather(cache_bulk *b, bool instead)
{
    for (size_t i = 0; i < b->count; i++) {
        cache_one *one = &b->one[i];
        if (!one->led || one->f == NULL || one->call.instead != instead) { continue; }
        const size_t n = b->led_count++;
        memset(&b->item[n], 0, sizeof b->item[n]);
        b->led[n] = (uint32_t)i;
        b->keys[n] = (cellar_bytes){ one->call.k.bytes, one->call.k.len };
    }
}

static void cache_bulk_load(cache_bulk *b)
{
    b->led_count = 0;
    cache_bulk_gather(b, false);
    b->ask_count = b->led_count;
    cache_bulk_gather(b, true);
    if (b->led_count == 0) { return; }
    b->ld.item = b->item;
    b->ld.item_count = b->ask_count;
    b->ld.keys = b->keys;
    b->ld.returned = CELLAR_OK;
    b->ld.failed = false;
    b->outer = b->ld.noted = NULL;
    for (size_t i = 0; i < b->count; i++) { /* begun in this order: cache_bulk_enter */
        flight *f = b->one[i].led ? b->one[i].f : NULL;
        if (f == NULL) { continue; }
        if (b->outer == NULL) { b->outer = f; }
        b->ld.noted = f;
    }
    b->refused = b->ask_count != 0 && !cache_guard_admit(&b->ld);
    if (!b->refused || cache_load_has_instead(b->call.o)) {
        b->ld.run = NULL;
        b->ld.unrecorded = false;
        for (size_t i = 0; i < b->led_count; i++) {
            cache_record_begin(&b->ld, b->one[b->led[i]].f);
        }
    }
    if (!b->refused && b->ask_count != 0) {
        cache_run_loader(&b->ld);
        cache_guard_report(&b->ld, b->ld.returned == CELLAR_OK && !b->ld.failed ? CELLAR_OK
                                                                               : CELLAR_E_LOADER);
    }
    cache_bulk_results(b);
}

/* Wait for loads of other calls. Return how many items must be retried. */
static size_t cache_bulk_wait(cache_bulk *b)
{
    size_t again = 0;
    for (size_t i = 0; i < b->count; i++) {
        cache_one *one = &b->one[i];
        if (one->done) { continue; }
        flight *f = one->f;
        one->f = NULL;
        one->done = cache_join(&one->call, b->t, f, one->epoch);
        again += !one->done;
    }
    return again;
}

static void cache_bulk_passes(cache_bulk *b)
{
    size_t open = b->count;
    if (flight_deep(base_thread_self())) {
        stats_count(b->call.c->stats, STATS_LIMIT_DEPTH, 1);
        for (size_t i = 0; i < b->count; i++) {
            (void)cache_answer_failed(&b->one[i].call, CELLAR_E_DEPTH);
        }
        return;
    }
    while (open > 0) {
        for (size_t i = 0; i < b->count; i++) {
            cache_one *one = &b->one[i];
            if (one->done) { continue; }
            one->call.k.bytes = b->items[one->at].key;
            one->done = cache_look_round(&one->call, false); /* recorded before: cache_item_easy */
            if (!one->done) { cache_bulk_enter(b, one); }
        }
        cache_bulk_load(b);
        open = cache_bulk_wait(b);
    }
}

/* ---- the public call ---- */

typedef struct cache_many_call {
    cellar *c;
    const cellar_load_opts *o;
    const cache_load_plan *p;
    cellar_loader_many_fn fn;
    void *ctx;
} cache_many_call;

static bool cache_load_item_bad(const cellar_load_item *it)
{
    return cache_key_bad(it->key, it->key_len) || it->reserved0 != 0 ||
           cache_result_bad(it->result);
}

/* Answer a plain hit or a bad item. Return false if the item needs a closer look. */
static bool cache_item_easy(const cache_many_call *m, cellar_load_item *it)
{
    size_t len;
    l1_key k;
    it->status = CELLAR_E_INVAL;
    if (cache_load_item_bad(it)) { return true; }
    it->status = CELLAR_PENDING;
    cache_key(m->c, &k, it->key, it->key_len);
    if (cache_notes(m->c)) { cache_deps_note(m->c, &k); } /* before this call leads a flight */
    if (m->p->flags != 0 || (m->p->eager_refresh_pct | m->p->xfetch) != 0 ||
        (base_load_rlx(&m->c->state) & (CACHE_OFF | CACHE_TALK)) != 0) {
        return false;
    }
    if (l1_get(m->c->l1, &k, it->result->buf, it->result->buf_cap, &len, 0) != CELLAR_OK) {
        return false;
    }
    if (cache_notes(m->c)) { cache_deps_seen(m->c, &k, CELLAR_OK); }
    cache_hit_out(it->result, len);
    it->status = CELLAR_OK;
    stats_add(cache_mine(m->c), STATS_HIT_L1, 1);
    return true;
}

/* Load up to `n` of the items marked in `status`, from *from on. */
BASE_NOINLINE static void cache_many_chunk(const cache_many_call *m, cellar_load_item *items,
                                           size_t count, size_t *from, size_t n, flight_table *t,
                                           int cancel)
{
    cache_bulk *b = t != NULL ? cache_bulk_new(m->c, &n) : NULL;
    if (b == NULL) { /* no memory even for one item */
        for (; *from < count; (*from)++) {
            if (items[*from].status == CELLAR_PENDING) { items[*from].status = CELLAR_E_NOMEM; }
        }
        return;
    }
    b->items = items;
    b->t = t;
    for (; *from < count && b->count < n; (*from)++) {
        const cellar_load_item *it = &items[*from];
        if (it->status != CELLAR_PENDING) { continue; }
        cache_one *one = &b->one[b->count++];
        memset(one, 0, sizeof *one);
        one->at = *from;
        cache_call_begin(&one->call, m->c, it->key, it->key_len);
        one->call.o = m->o;
        one->call.p = *m->p;
    }
    cache_call_begin(&b->call, m->c, "", 1);
    b->call.cancel = cancel;
    b->call.o = m->o;
    b->call.p = *m->p;
    b->ld.call = &b->call;
    b->ld.t = t;
    b->ld.left = cache_bulk_left;
    b->ld.host = b;
    b->ld.lost = cache_bulk_lost;
    b->frame = (uintptr_t)__builtin_frame_address(0);
    b->ld.many = m->fn;
    b->ld.many_ctx = m->ctx;
    cache_bulk_passes(b);
    for (size_t i = 0; i < b->count; i++) {
        cache_call_count(&b->one[i].call);
        cellar_load_item *it = &items[b->one[i].at];
        b->one[i].call.k.bytes = it->key; /* the copy of the flight may be freed */
        cache_call_seen(&b->one[i].call);
        it->status = cache_call_out(&b->one[i].call, it->result);
    }
    base_free(&m->c->store->account, BASE_MOD_FLIGHT, b, b->bytes);
}

CELLAR_API cellar_err cellar_get_or_load_many(cellar *c, cellar_load_item *items, size_t count,
                                              const cellar_load_opts *o, cellar_loader_many_fn fn,
                                              void *ctx)
{
    cellar_load_opts full;
    cache_load_plan plan;
    if (c == NULL || cache_items_bad(items, count, sizeof *items)) {
        return cache_refuse(c, "cellar_get_or_load_many: items is NULL, or count is too large");
    }
    if (cache_is_closed(c)) { return cache_closed(c); }
    cellar_err err = cache_load_plan_make(c, &o, &full, &plan);
    if (err != CELLAR_OK) { return err; }
    if (fn == NULL) {
        sync_take(NAMESPACE, &c->store->namespace_lock);
        fn = c->loader_many;
        ctx = c->loader_ctx;
        sync_drop(NAMESPACE, &c->store->namespace_lock);
    }
    if (fn == NULL && (plan.flags & CELLAR_LOAD_ONLY_IF_CACHED) == 0) {
        return cache_refuse(c, "cellar_get_or_load_many: no loader: set fn, or loader_many");
    }
    if (cache_is_off(c)) { plan.flags |= CELLAR_LOAD_NO_STORE; }
    flight_reap((uintptr_t)__builtin_frame_address(0));
    if (!cache_load_begin(c)) { return cache_closed(c); }
    const int cancel = base_cancel_off();
    const cache_many_call m = { c, o, &plan, fn, ctx };
    size_t missing = 0;
    for (size_t i = 0; i < count; i++) { missing += !cache_item_easy(&m, &items[i]); }
    for (size_t at = 0; missing > 0 && at < count;) {
        cache_many_chunk(&m, items, count, &at, missing, cache_flights(c->store), cancel);
    }
    cache_load_end(c->store);
    base_cancel_set(cancel);
    return CELLAR_OK;
}
