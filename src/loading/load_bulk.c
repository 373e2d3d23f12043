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
#include "cache/call.h"
#include "cache/error.h"
#include "cache/shared.h"
#include "loading/load_acquire.h"
#include "loading/load_call.h"
#include "loading/load_leader.h"
#include "loading/load_look.h"
#include "loading/load_plan.h"
#include "loading/load_shared.h"

BASE_SIZE_BEGIN

#define CACHE_BULK_MAX 4096u

typedef struct cache_one { /* one missing item */
    cache_call call;
    size_t at;          /* index in the array of the caller */
    flight *f;          /* led or joined; NULL: neither */
    bool led, done;
    bool waits;         /* for another process, until `changes` is over, or `until_ms` */
    uint64_t changes;
    int64_t until_ms;
} cache_one;

typedef struct cache_bulk { /* in a heap block: its arrays follow */
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
    uint32_t depth;        /* of the led flights */
    bool silent;           /* the shared tier did not answer in time, and is asked nothing more */
    cellar_loader_many_fn many;
    void *many_ctx;
} cache_bulk;

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
        if (one->f != NULL && !one->led) { flight_leave(b->call.t, one->f); }
        cache_call_forget(&one->call);
        flight_bytes_drop(one->call.value);
    }
    base_free(&c->store->account, BASE_MOD_FLIGHT, b, b->bytes);
}

/* ---- one pass: enter, load, store, wait ---- */

/* Look and acquire the flight of one key: answered, led, or joined. */
static void cache_bulk_enter(cache_bulk *b, cache_one *one)
{
    cache_call *call = &one->call;
    call->asks = b->silent;
    one->done = cache_look_round(call);
    b->silent = b->silent || call->unsure;
    if (one->done) { return; }
    call->asks = b->silent || cache_shared_looks_together(call->c); /* in cache_bulk_lease */
    const cache_acquired got = cache_acquire(call, FLIGHT_CALL, call->old == NULL, NULL, &one->f);
    b->silent = b->silent || call->unsure;
    call->asks = false;
    one->led = got == CACHE_LED;
    if (one->led) {
        flight_lead_begin(one->f, b->depth);
    } else if (got != CACHE_JOINED) {
        one->f = NULL;
        one->done = true;
    } else if (flight_led_at(one->f, b->depth)) { /* by this call, for an earlier item */
        call->no_retry = true;
    } else if ((call->p->flags & CELLAR_LOAD_NO_WAIT) != 0) {
        flight_leave(call->t, one->f);
        one->f = NULL;
        (void)cache_answer(call, CELLAR_PENDING, CELLAR_SOURCE_NONE);
        one->done = true;
    }
}

static void cache_bulk_left(struct cellar_load *ld)
{
    cache_bulk *b = ld->bulk;
    cellar *c = b->call.c;
    flight_lead_end(b->outer);
    for (size_t i = 0; i < b->count; i++) {
        cache_one *one = &b->one[i];
        if (one->f == NULL || !one->led) { continue; }
        cache_shared_unlease(&one->call);
        cache_flight_cancel(b->call.t, one->f);
    }
    cache_bulk_drop(b);
    cache_load_end(c->store);
}

/* Settle one key of the loader call, if that brought its value, or with !good if it did not. */
static void cache_bulk_settle(cache_bulk *b, size_t i, bool good, bool led)
{
    cache_one *one = &b->one[b->led[i]];
    cache_item *it = &b->item[i];
    struct cellar_load ld = b->ld;
    int32_t code;
    if (one->f == NULL) { return; }
    ld.call = &one->call;
    ld.f = one->f;
    ld.led = led;
    ld.many = NULL;
    ld.refused = b->ld.refused || one->call.instead;
    ld.r = *it;
    if (it->loader_err != 0 || it->said != CACHE_REPORTED_NOTHING ||
        it->setter_err != CELLAR_OK) { /* else the whole result speaks for the key */
        ld.returned = (cellar_err)it->loader_err;
        ld.failed = false;
    }
    if ((cache_lead_verdict(&ld, &code) == CELLAR_OK) != good) { return; }
    it->value = NULL;
    one->call.cancel = b->call.cancel;
    one->call.now_ms = b->call.now_ms;
    one->call.load_us = b->call.load_us;
    (void)cache_lead_settle(&ld);
    one->f = NULL;
    one->led = false;
    one->done = true;
}

/* Finish a loader call: results first, then fallbacks for missing results. */
static void cache_bulk_results(cache_bulk *b)
{
    const bool asks = cache_load_has_instead(b->call.p);
    flight_lead_end(b->outer);
    b->outer = NULL;
    for (size_t i = 0; i < b->led_count; i++) { cache_bulk_settle(b, i, true, false); }
    for (size_t i = b->led_count; asks && i-- > 0;) { /* the flight that ends first is innermost */
        flight *f = b->one[b->led[i]].f;
        if (f == NULL) { continue; }
        flight_lead_begin(f, b->depth);
        if (b->outer == NULL) { b->outer = f; }
    }
    for (size_t i = 0; i < b->led_count; i++) { cache_bulk_settle(b, i, false, asks); }
}

/* ---- leases over processes ---- */

/* Take the answer to the request for a lease. */
static void cache_bulk_take(cache_one *one, const cache_shared_item *it)
{
    if (it->got == CACHE_LED) { return; }
    one->f = NULL;
    one->led = false;
    one->done = it->got == CACHE_ANSWERED;
    one->waits = it->got == CACHE_PENDING;
    one->changes = it->changes;
    one->until_ms = one->waits ? BASE_MIN(it->held_ms, cache_patience(&one->call)) : 0;
}

/* Begin to lead all keys with a flight. Return the first flight; NULL: there is none. */
static flight *cache_bulk_lead(cache_bulk *b)
{
    flight *first = NULL;
    for (size_t i = 0; i < b->count; i++) {
        if (!b->one[i].led) { continue; }
        flight_lead_begin(b->one[i].f, b->depth);
        if (first == NULL) { first = b->one[i].f; }
    }
    return first;
}

/* Release the leases of a group that came too late. A listener that loads a led key must not wait
 * for it. */
static void cache_bulk_release(cache_bulk *b, cache_one *const *of, size_t n)
{
    bool late = false;
    for (size_t j = 0; j < n; j++) { late = late || (!of[j]->led && of[j]->call.leased); }
    if (!late) { return; }
    flight *first = cache_bulk_lead(b);
    for (size_t j = 0; j < n; j++) {
        if (!of[j]->led) { cache_shared_drop(&of[j]->call); }
    }
    if (first != NULL) { flight_lead_end(first); }
}

/* Ask for the values and leases of the led keys, in groups. The keys that this call does not load
 * are no longer led: the others begin again. */
static void cache_bulk_lease(cache_bulk *b)
{
    cache_shared_item items[CACHE_SHARED_CLAIMS];
    cache_one *of[CACHE_SHARED_CLAIMS];
    flight *first = NULL;
    if (cache_shared_of(b->call.c) == NULL) { return; }
    for (size_t i = 0; i < b->count && first == NULL; i++) {
        if (b->one[i].led) { first = b->one[i].f; }
    }
    if (first == NULL) { return; }
    flight_lead_end(first);
    for (size_t i = 0; i < b->count;) {
        size_t n = 0;
        for (; i < b->count && n < CACHE_SHARED_CLAIMS; i++) {
            cache_one *one = &b->one[i];
            if (!one->led || one->f == NULL) { continue; }
            items[n] = (cache_shared_item){ .call = &one->call, .f = one->f };
            of[n++] = one;
        }
        b->silent = cache_shared_lead_many(items, n, b->silent);
        for (size_t j = 0; j < n; j++) { cache_bulk_take(of[j], &items[j]); }
        cache_bulk_release(b, of, n);
    }
    (void)cache_bulk_lead(b);
}

/* Return whether an item can go on. *until_ms: the first end of a wait. */
static bool cache_bulk_ready(cache_bulk *b, int64_t *until_ms)
{
    bool ready = false;
    *until_ms = BASE_NEVER_MS;
    for (size_t i = 0; i < b->count; i++) {
        cache_one *one = &b->one[i];
        if (one->done) { continue; }
        if (one->waits && cache_shared_is_due(&one->call, one->changes, one->until_ms)) {
            one->waits = false;
            one->done = cache_shared_patience(&one->call) == CACHE_ANSWERED;
            ready = true;
        }
        ready = ready || !one->waits;
        *until_ms = BASE_MIN(*until_ms, one->until_ms);
    }
    return ready;
}

/* Wait while other processes load all items that are left. */
static void cache_bulk_pause(cache_bulk *b)
{
    const cache_store *s = b->call.c->store;
    int64_t until_ms;
    uint32_t bell = base_load_acq(&s->shared_bell);
    while (!cache_bulk_ready(b, &until_ms)) {
        cache_shared_nap(&b->call, bell, until_ms);
        bell = base_load_acq(&s->shared_bell);
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
    b->ld = (struct cellar_load){ .call = &b->call, .left = cache_bulk_left, .bulk = b,
                                  .many = b->many, .many_ctx = b->many_ctx, .keys = b->keys,
                                  .item = b->item, .item_count = b->ask_count,
                                  .ttl_ms = b->call.p->ttl_ms, .stale_ms = b->call.p->stale_ms,
                                  .negative_ttl_ms = b->call.p->negative_ttl_ms };
    b->outer = NULL;
    for (size_t i = 0; i < b->count && b->outer == NULL; i++) { /* begun in this order */
        if (b->one[i].led) { b->outer = b->one[i].f; }
    }
    if (b->ask_count != 0) { cache_lead_admit(&b->ld); }
    if (!b->ld.refused && b->ask_count != 0) {
        cache_lead_run(&b->ld);
        cache_lead_report(&b->ld, b->ld.returned == CELLAR_OK && !b->ld.failed ? CELLAR_OK
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
        if (f != NULL) { one->done = cache_join(&one->call, f); }
        again += !one->done;
    }
    return again;
}

static void cache_bulk_passes(cache_bulk *b)
{
    size_t open = b->count;
    if (b->depth > FLIGHT_DEPTH_MAX) {
        stats_count(b->call.c->stats, STATS_LIMIT_DEPTH, 1);
        for (size_t i = 0; i < b->count; i++) {
            (void)cache_answer_failed(&b->one[i].call, CELLAR_E_DEPTH);
        }
        return;
    }
    while (open > 0) {
        for (size_t i = 0; i < b->count; i++) {
            cache_one *one = &b->one[i];
            if (!one->done && !one->waits) { cache_bulk_enter(b, one); }
        }
        cache_bulk_lease(b);
        cache_bulk_load(b);
        open = cache_bulk_wait(b);
        if (open > 0) { cache_bulk_pause(b); }
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

/* Answer a plain hit or a bad item. Return false if the item needs a closer look. */
static bool cache_item_easy(const cache_many_call *m, cellar_load_item *it)
{
    l1_key k;
    it->status = CELLAR_E_INVAL;
    if (cache_load_item_bad(it)) { return true; }
    it->status = CELLAR_PENDING;
    if (m->p->flags != 0 || cache_load_early(m->p) ||
        (base_load_rlx(&m->c->state) & (CACHE_OFF | CACHE_TALK)) != 0) {
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
        cache_one *one = &b->one[b->count++];
        memset(one, 0, sizeof *one);
        one->at = *from;
        cache_call_begin(&one->call, m->c, m->p, it->key, it->key_len);
        one->call.t = t;
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
        it->status = cache_call_end(&b->one[i].call, it->result);
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
    if (cache_is_closed(c)) { return cache_closed(c); }
    cellar_err err = cache_load_plan_make(c, o, &plan);
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
    if (!cache_load_begin(c)) { return cache_closed(c); }
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
