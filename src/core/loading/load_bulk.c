/* SPDX-License-Identifier: MIT
 *
 * load_bulk: load many keys with one loader call for all missing ones.
 *
 * WALK       plain hits -> looks -> per missing key: lead or join -> a shared tier: values, leases
 *            of all led keys -> own loader for the rest, store, end -> fallbacks for failed keys,
 *            one by one -> only then wait for joined keys and for keys that other processes load
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
#include "cache/error.h"
#include "cache/shared.h"
#include "loading/load_shared.h"
#include "loading/loading.h"

BASE_SIZE_BEGIN

#define CACHE_BULK_MAX 4096u

typedef struct cache_bulk { /* in a heap block: its arrays follow */
    struct cellar_load ld; /* handle of the loader */
    cache_call call;       /* call of the loader as a whole */
    cache_call *one;       /* the calls of the missing items */
    cache_item *item;      /* results of the led keys, in the order of `keys` */
    cellar_bytes *keys;
    size_t count, bytes;
    size_t led_count;      /* keys led now: first the keys for the loader, */
    size_t ask_count;      /* this many; the rest run fallbacks only (call.instead) */
    flight *outer;         /* led flight that began first: ending it ends all */
    uint32_t depth;        /* of the led flights */
    bool silent;           /* the shared tier did not answer in time, and is asked nothing more */
    uint64_t until_ns;     /* with WAIT_DISK: of all calls together */
    cellar_loader_many_fn many;
    void *many_ctx;
} cache_bulk;

/* ---- working memory ---- */

static size_t cache_bulk_bytes(size_t n)
{
    return sizeof(cache_bulk) +
           n * (sizeof(cache_call) + sizeof(cache_item) + sizeof(cellar_bytes));
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
        b->one = (cache_call *)(void *)(b + 1);
        b->item = (cache_item *)(void *)(b->one + *n);
        b->keys = (cellar_bytes *)(void *)(b->item + *n);
        return b;
    }
    return NULL;
}

/* Free all it owns, except the led flights. */
static void cache_bulk_drop(cache_bulk *b)
{
    cellar *c = b->call.c;
    flight_bytes_drop(b->ld.r.opts);
    for (size_t i = 0; i < b->led_count; i++) {
        flight_bytes_drop(b->item[i].value);
        flight_bytes_drop(b->item[i].opts);
    }
    for (size_t i = 0; i < b->count; i++) {
        cache_call *one = &b->one[i];
        if (one->state == CACHE_CALL_JOINED) { flight_leave(one->t, one->f); }
        cache_call_forget(one);
        flight_bytes_drop(one->value);
    }
    base_free(&c->store->account, BASE_MOD_FLIGHT, b, b->bytes);
}

/* ---- one pass: enter, load, store, wait ---- */

/* Look and acquire the flight of one key: ANSWERED, LEADS or JOINED. */
static void cache_bulk_enter(cache_bulk *b, cache_call *call)
{
    call->asks = b->silent;
    call->until_ns = b->until_ns;
    cache_look_first(call);
    b->until_ns = call->until_ns;
    b->silent = b->silent || call->unsure;
    if (call->state == CACHE_CALL_ANSWERED) { return; }
    call->asks = b->silent || cache_shared_asks_many(call->c); /* in cache_bulk_lease */
    (void)cache_acquire(call, FLIGHT_CALL, call->old == NULL, NULL);
    b->silent = b->silent || call->unsure;
    b->until_ns = call->until_ns;
    call->asks = false;
    if (call->state == CACHE_CALL_LEADS) {
        flight_lead_begin(call->f, b->depth);
    } else if (call->state != CACHE_CALL_JOINED) {
        return;
    } else if (flight_led_at(call->f, b->depth)) { /* by this call, for an earlier item */
        call->no_retry = true;
    } else if ((call->p->flags & CELLAR_LOAD_NO_WAIT) != 0) {
        flight_leave(call->t, call->f);
        cache_answer(call, CELLAR_PENDING, CELLAR_SOURCE_NONE);
    }
}

/* Return the flight of those led now that was begun first: its end ends all. NULL: none is led. */
static flight *cache_bulk_outer(const cache_bulk *b)
{
    for (size_t i = 0; i < b->count; i++) {
        if (b->one[i].state == CACHE_CALL_LEADS) { return b->one[i].f; }
    }
    return NULL;
}

static void cache_bulk_left(struct cellar_load *ld)
{
    cache_bulk *b = ld->bulk;
    cellar *c = b->call.c;
    flight_lead_end(b->outer);
    for (size_t i = 0; i < b->count; i++) {
        cache_call *one = &b->one[i];
        if (one->state != CACHE_CALL_LEADS) { continue; }
        cache_shared_unlease(one);
        cache_hand_over(one, CACHE_CALL_ANSWERED);
    }
    cache_bulk_drop(b);
    cache_load_end(c->store);
}

/* Settle one key of the loader call, if that brought its value, or with !good if it did not. */
static void cache_bulk_settle(cache_bulk *b, size_t i, bool good, bool led)
{
    cache_item *it = &b->item[i];
    cache_call *one = it->call;
    struct cellar_load ld = b->ld;
    int32_t code;
    if (one->state != CACHE_CALL_LEADS) { return; }
    ld.call = one;
    ld.led = led;
    ld.many = NULL;
    ld.at = NULL;
    ld.refused = b->ld.refused || one->instead;
    if (it->failed || it->said != CACHE_REPORTED_NOTHING || it->setter_err != CELLAR_OK) {
        ld.r = *it; /* else the whole result speaks for the key */
        ld.returned = CELLAR_OK;
    }
    if ((cache_lead_verdict(&ld, &code) == CELLAR_OK) != good) { return; }
    if (it->opts != NULL) { memcpy(&ld.opts, it->opts->data, sizeof ld.opts); }
    flight_bytes_drop(it->opts);
    it->opts = NULL;
    it->value = NULL;
    one->cancel = b->call.cancel;
    one->now_ms = b->call.now_ms;
    one->load_us = b->call.load_us;
    (void)cache_lead_settle(&ld);
}

/* Finish a loader call: results first, then fallbacks for missing results. */
static void cache_bulk_results(cache_bulk *b)
{
    const cache_load_plan *p = b->call.p;
    const bool asks = p->default_value != NULL || cache_fallbacks_of(p) != 0;
    flight_lead_end(b->outer);
    b->outer = NULL;
    for (size_t i = 0; i < b->led_count; i++) { cache_bulk_settle(b, i, true, false); }
    for (size_t i = b->led_count; asks && i-- > 0;) { /* the flight that ends first is innermost */
        cache_call *one = b->item[i].call;
        if (one->state != CACHE_CALL_LEADS) { continue; }
        flight_lead_begin(one->f, b->depth);
        if (b->outer == NULL) { b->outer = one->f; }
    }
    for (size_t i = 0; i < b->led_count; i++) { cache_bulk_settle(b, i, false, asks); }
    flight_bytes_drop(b->ld.r.opts);
    b->ld.r.opts = NULL;
}

/* ---- leases over processes ---- */

/* Begin to lead all keys with a flight. */
static void cache_bulk_lead(cache_bulk *b)
{
    for (size_t i = 0; i < b->count; i++) {
        if (b->one[i].state == CACHE_CALL_LEADS) { flight_lead_begin(b->one[i].f, b->depth); }
    }
}

/* Release the leases of a group that came too late. A listener that loads a led key must not wait
 * for it. */
static void cache_bulk_release(cache_bulk *b, cache_call *const *of, size_t n)
{
    bool late = false;
    for (size_t j = 0; j < n; j++) {
        late = late || (of[j]->state != CACHE_CALL_LEADS && of[j]->leased);
    }
    if (!late) { return; }
    cache_bulk_lead(b);
    for (size_t j = 0; j < n; j++) {
        if (of[j]->state != CACHE_CALL_LEADS) { cache_shared_drop(of[j]); }
    }
    flight *outer = cache_bulk_outer(b);
    if (outer != NULL) { flight_lead_end(outer); }
}

/* Ask for the values and leases of the led keys, in groups. The keys that this call does not load
 * are no longer led: the others begin again. */
static void cache_bulk_lease(cache_bulk *b)
{
    cache_call *of[CACHE_SHARED_CLAIMS];
    flight *outer = cache_bulk_outer(b);
    if (cache_shared_of(b->call.c) == NULL || outer == NULL) { return; }
    flight_lead_end(outer);
    for (size_t i = 0; i < b->count;) {
        size_t n = 0;
        for (; i < b->count && n < CACHE_SHARED_CLAIMS; i++) {
            if (b->one[i].state == CACHE_CALL_LEADS) { of[n++] = &b->one[i]; }
        }
        b->silent = cache_shared_lead_many(of, n, b->silent);
        cache_bulk_release(b, of, n);
    }
    cache_bulk_lead(b);
}

/* Collect the led keys in the order for the loader. */
static void cache_bulk_gather(cache_bulk *b, bool instead)
{
    for (size_t i = 0; i < b->count; i++) {
        cache_call *one = &b->one[i];
        if (one->state != CACHE_CALL_LEADS || one->instead != instead) { continue; }
        const size_t n = b->led_count++;
        b->item[n] = (cache_item){ .call = one };
        b->keys[n] = (cellar_bytes){ one->k.bytes, one->k.len };
    }
}

static void cache_bulk_load(cache_bulk *b)
{
    b->led_count = 0;
    cache_bulk_gather(b, false);
    b->ask_count = b->led_count;
    cache_bulk_gather(b, true);
    if (b->led_count == 0) { return; }
    b->ld = (struct cellar_load){ .call = &b->call, .left = cache_bulk_left, .bulk = b,
                                  .many = b->many, .many_ctx = b->many_ctx, .keys = b->keys,
                                  .item = b->item, .item_count = b->ask_count };
    cache_load_opts_begin(&b->ld.opts, b->call.p);
    b->outer = cache_bulk_outer(b);
    if (b->ask_count != 0) { cache_lead_admit(&b->ld); }
    if (!b->ld.refused && b->ask_count != 0) {
        cache_lead_run(&b->ld);
        cache_lead_report(&b->ld, b->ld.returned == CELLAR_OK && !b->ld.r.failed ? CELLAR_OK
                                                                              : CELLAR_E_LOADER);
    }
    cache_bulk_results(b);
}

/* Wait for loads of other calls. Return whether items must be retried. */
static bool cache_bulk_wait(cache_bulk *b)
{
    bool again = false;
    for (size_t i = 0; i < b->count; i++) {
        if (b->one[i].state == CACHE_CALL_JOINED) { cache_join(&b->one[i]); }
        again = again || b->one[i].state != CACHE_CALL_ANSWERED;
    }
    return again;
}

static void cache_bulk_passes(cache_bulk *b)
{
    bool again = true;
    if (b->depth > FLIGHT_DEPTH_MAX) {
        stats_count(b->call.c->stats, STATS_LIMIT_DEPTH, 1);
        for (size_t i = 0; i < b->count; i++) { cache_answer_nested(&b->one[i], CELLAR_E_DEPTH); }
        return;
    }
    while (again) {
        for (size_t i = 0; i < b->count; i++) {
            if (b->one[i].state == CACHE_CALL_LOOKS) { cache_bulk_enter(b, &b->one[i]); }
        }
        cache_bulk_lease(b);
        cache_bulk_load(b);
        again = cache_bulk_wait(b);
        if (again) { cache_shared_wait(b->one, b->count); }
    }
}

/* ---- the public call ---- */

typedef struct cache_many_call {
    cellar *c;
    const cache_load_plan *p;
    cellar_loader_many_fn fn;
    void *ctx;
    int cancel;
} cache_many_call;

static bool cache_load_item_bad(const cellar_load_item *it)
{
    return cache_key_bad(it->key, it->key_len) || it->reserved0 != 0 ||
           cache_result_bad(it->result);
}

/* Return whether plain hits of the namespace are not to be returned as they are. */
BASE_COLD static bool cache_hits_differ(const cellar *c)
{
    return cache_is_off(c) || cache_talks(c) || cache_is_unproven(c);
}

/* Answer a plain hit or a bad item. Return false if the item needs a closer look. */
static bool cache_item_easy(const cache_many_call *m, cellar_load_item *it)
{
    l1_key k;
    it->status = CELLAR_E_INVAL;
    if (cache_load_item_bad(it)) { return true; }
    it->status = CELLAR_PENDING;
    if (m->p->flags != 0 || cache_load_early(m->p) ||
        ((base_load_rlx(&m->c->state) & (CACHE_OFF | CACHE_TALK | CACHE_PROOF)) != 0 &&
         cache_hits_differ(m->c))) {
        return false;
    }
    if (cache_hit_plain(m->c, &k, it->key, it->key_len, it->result) != CELLAR_OK) { return false; }
    it->status = CELLAR_OK;
    return true;
}

/* Load up to `n` of the items marked in `status`, from *from on. */
static void cache_many_chunk(const cache_many_call *m, cellar_load_item *items, size_t count,
                             size_t *from, size_t n)
{
    flight_table *t = cache_flights(m->c->store);
    cache_bulk *b = t != NULL ? cache_bulk_new(m->c, &n) : NULL;
    if (b == NULL) { /* no memory even for one item */
        for (; *from < count; (*from)++) {
            if (items[*from].status == CELLAR_PENDING) { items[*from].status = CELLAR_E_NOMEM; }
        }
        return;
    }
    for (; *from < count && b->count < n; (*from)++) {
        const cellar_load_item *it = &items[*from];
        if (it->status != CELLAR_PENDING) { continue; }
        cache_call *one = &b->one[b->count++];
        cache_call_begin(one, m->c, m->p, it->key, it->key_len);
        one->at = *from;
        one->t = t;
    }
    cache_call_begin(&b->call, m->c, m->p, "", 1);
    b->call.t = t;
    b->call.cancel = m->cancel;
    b->many = m->fn;
    b->many_ctx = m->ctx;
    b->depth = flight_depth() + 1;
    cache_bulk_passes(b);
    for (size_t i = 0; i < b->count; i++) {
        cellar_load_item *it = &items[b->one[i].at];
        it->status = cache_call_end(&b->one[i], it->result);
    }
    base_free(&m->c->store->account, BASE_MOD_FLIGHT, b, b->bytes);
}

CELLAR_API cellar_err cellar_get_or_load_many(cellar *c, cellar_load_item *items, size_t count,
                                              const cellar_load_opts *o, cellar_loader_many_fn fn,
                                              void *ctx)
{
    cache_load_plan plan;
    if (c == NULL || cache_items_bad(items, count, sizeof *items)) {
        return cache_refuse(c, "cellar_get_or_load_many: items is NULL, or count is too large");
    }
    if (cache_no_bytes(c)) { return cache_closed(c, __func__); }
    static const char *const calls[] = { "cellar_get_or_load_many" }; /* of bytes alone */
    cellar_err err = cache_load_plan_make(c, o, calls, &plan);
    if (err != CELLAR_OK) { return err; }
    plan.flags &= ~CELLAR_LOAD_RECURSE;
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
    if (!cache_load_begin(c)) { return cache_closed(c, __func__); }
    const int cancel = base_cancel_off();
    const cache_many_call m = { c, &plan, fn, ctx, cancel };
    size_t missing = 0;
    for (size_t i = 0; i < count; i++) { missing += !cache_item_easy(&m, &items[i]); }
    for (size_t at = 0; missing > 0 && at < count;) {
        cache_many_chunk(&m, items, count, &at, missing);
    }
    cache_load_end(c->store);
    base_cancel_set(cancel);
    return CELLAR_OK;
}

BASE_SIZE_END
