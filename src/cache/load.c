/* SPDX-License-Identifier: MIT
 *
 * load: read through the cache: look, wait, answer.
 *
 * PICTURE    look at L1 -> fresh, negative, or remembered error: answer
 *                       -> stale or early refresh: queue it (refresh.c), answer with this value
 *                       -> nothing: flight_enter -> LED: load_leader.c
 *                                                -> JOINED: wait -> its outcome, or look again
 * INVARIANTS A call answers with a value that was current between its begin and its end. After a
 *            failure or inside a stale window it may answer with an older value, marked STALE.
 * WALK       cellar_get_or_load -> plain hit inline -> cache_load_call -> rounds of look, enter,
 *            lead or join. A new round begins if the joined flight was cancelled, or failed and may
 *            be retried.
 * LIMITS     16 nested loads; waiters and flights as configured.
 * SEE ALSO   load_call.c, load_wait.c, load_leader.c, refresh.c (background), load_bulk.c,
 *            lease.c. */
#include "base/user_callback.h"
#include "cache/load.h"

#include "cache/call.h"
#include "cache/dependencies.h"
#include "cache/error.h"
#include "cache/job.h"
#include "cache/load_call.h"
#include "cache/load_guard.h"
#include "cache/load_leader.h"
#include "cache/load_plan.h"
#include "cache/load_wait.h"
#include "cache/lookup.h"
#include "cache/pin.h"
#include "cache/refresh.h"

/* Answer with the result of the look, if it suffices. Return true if the call is answered. */
static bool cache_look_answers(cache_call *call, cellar_err look)
{
    switch ((int)look) {
    case CELLAR_OK:
        if (cache_is_early(call)) { return false; }
        cache_answer_old(call, CELLAR_SOURCE_L1);
        return true;
    case CELLAR_ABSENT: (void)cache_answer(call, look, CELLAR_SOURCE_NEGATIVE); return true;
    case CELLAR_E_LOADER:
        return cache_failure_heard(call, look, CELLAR_SOURCE_ERROR_ENTRY, 0);
    case CELLAR_STALE: return false;
    case CELLAR_MISS: return cache_filter_answers(call);
    default: (void)cache_answer_failed(call, look); return true;
    }
}

/* Answer ONLY_IF_CACHED; the tier may have the key. */
static void cache_only_cached(cache_call *call)
{
    if (call->old != NULL) {
        cache_answer_old(call, CELLAR_SOURCE_STALE_REVALIDATE);
    } else {
        flight_outcome o;
        memset(&o, 0, sizeof o);
        (void)cache_answer(call, CELLAR_MISS, CELLAR_SOURCE_NONE);
        if (cache_tier_look(call, &o)) { flight_bytes_drop(o.value); }
    }
}

/* Refresh a stale or early value. Return true if the call is answered with it. */
static bool cache_with_old(cache_call *call, flight_table *t)
{
    if (!cache_background(call)) { return false; } /* this call refreshes, if it leads the flight */
    cache_refresh_later(call, t);
    if (call->early || call->p.soft_timeout_ms == 0) {
        cache_answer_old(call, CELLAR_SOURCE_STALE_REVALIDATE);
        return true;
    }
    call->only_join = true; /* wait for soft_timeout_ms */
    return false;
}

/* Enter the flight of the key, then lead or wait. Return true if the call is answered, false: look
 * again. */
static bool cache_round(cache_call *call, flight_table *t)
{
    flight_ask ask;
    flight *f = NULL;
    const bool side = (call->p.flags & (CELLAR_LOAD_BYPASS | CELLAR_LOAD_NO_JOIN)) != 0;
    cache_ask(call, side ? FLIGHT_SIDE : FLIGHT_CALL, &ask);
    ask.only_join = call->only_join;
    const flight_entry entry = flight_enter(t, &ask, &f);
    switch (entry) {
    case FLIGHT_LED: cache_lead(call, t, f); return true;
    case FLIGHT_JOINED: return cache_join(call, t, f, ask.tag_born);
    case FLIGHT_TAKEN:
        if (call->only_join) { /* the refresh ended: look at its result, do not refresh again */
            call->only_join = false;
            call->p.soft_timeout_ms = 0;
            call->losses++;
            return false;
        }
        if (call->old != NULL) {
            cache_answer_old(call, CELLAR_SOURCE_STALE_REVALIDATE);
        } else {
            (void)cache_answer(call, CELLAR_PENDING, CELLAR_SOURCE_NONE);
        }
        return true;
    case FLIGHT_STUCK:
    case FLIGHT_FULL:
    case FLIGHT_CROWDED:
    case FLIGHT_NO_MEMORY: break;
    }
    (void)cache_entry_failed(call, entry);
    return true;
}

CELLAR_PRIVATE bool cache_look_round(cache_call *call, bool notes)
{
    const bool blind = (call->p.flags & (CELLAR_LOAD_BYPASS | CELLAR_LOAD_REFRESH)) != 0;
    cellar_err look = CELLAR_MISS;
    if (cache_is_closed(call->c)) {
        (void)cache_answer(call, CELLAR_E_CLOSED, CELLAR_SOURCE_NONE);
        return true;
    }
    cache_key(call->c, &call->k, call->k.bytes, call->k.len); /* with the present generation */
    if (notes && cache_notes(call->c)) { cache_deps_note(call->c, &call->k); }
    if (blind || cache_is_off(call->c)) {
        call->now_ms = base_now_ms(&call->c->store->clock);
    } else {
        look = cache_look(call);
        if (cache_look_answers(call, look)) { return true; }
    }
    if (look != CELLAR_OK && look != CELLAR_STALE) { cache_call_forget(call); }
    if ((call->p.flags & CELLAR_LOAD_ONLY_IF_CACHED) != 0) {
        cache_only_cached(call);
        return true;
    }
    if (call->old != NULL && !call->only_join && call->now_ms < call->retry_at_ms) {
        cache_answer_old(call, CELLAR_SOURCE_STALE_IF_ERROR); /* a load failed recently */
        return true;
    }
    return false;
}

static void cache_rounds(cache_call *call, flight_table *t)
{
    if (cache_is_off(call->c)) { call->p.flags |= CELLAR_LOAD_NO_STORE; }
    for (;;) {
        if (cache_look_round(call, true)) { return; }
        if (flight_deep(base_thread_self())) {
            stats_count(call->c->stats, STATS_LIMIT_DEPTH, 1);
            (void)cache_answer_failed(call, CELLAR_E_DEPTH);
            return;
        }
        if (call->old != NULL && !call->only_join && cache_with_old(call, t)) { return; }
        if (cache_round(call, t)) { return; }
    }
}

static cellar_err cache_load_none(cellar *c)
{
    return cache_refuse(c, "cellar_get_or_load: no loader: set fn, or namespace loader");
}

/* Select the loader of the call, else of the namespace. Return false if there is none. */
static bool cache_call_loader(cache_call *call, cellar_loader_fn fn, void *ctx)
{
    cache_store *s = call->c->store;
    call->fn = fn;
    call->ctx = ctx;
    if (fn != NULL) { return true; }
    sync_take(NAMESPACE, &s->namespace_lock);
    call->fn = call->c->loader;
    call->ctx = call->c->loader_ctx;
    sync_drop(NAMESPACE, &s->namespace_lock);
    call->namespace_loader = true;
    return call->fn != NULL || (call->p.flags & CELLAR_LOAD_ONLY_IF_CACHED) != 0;
}

/* Serve CELLAR_LOAD_PIN: pin a plain hit in memory. An early refresh needs the age of the entry, so
 * such a call copies. */
static bool cache_call_pins(cache_call *call, cellar_result *out)
{
    cellar *c = call->c;
    const uint32_t blind = CELLAR_LOAD_BYPASS | CELLAR_LOAD_REFRESH;
    if ((call->p.flags & CELLAR_LOAD_PIN) == 0 || (call->p.flags & blind) != 0 ||
        (call->p.eager_refresh_pct | call->p.xfetch) != 0 || cache_is_off(c)) {
        return false;
    }
    l1_pin_ref ref;
    cache_key(c, &call->k, call->k.bytes, call->k.len);
    if (cache_notes(c)) { cache_deps_note(c, &call->k); }
    if (l1_pin(c->l1, &call->k, &ref, 0) != CELLAR_OK) { return false; }
    if (cache_notes(c)) { cache_deps_seen(c, &call->k, CELLAR_OK); }
    cellar_pinned p;
    cache_pin_out(c, &ref, &p);
    cache_hit_out(out, p.value_len);
    out->value = p.value;
    out->flags = CELLAR_RESULT_PINNED;
    out->user_flags = ref.user_flags;
    memcpy(out->opaque, p.opaque, sizeof out->opaque);
    stats_add(cache_mine(c), STATS_HIT_L1, 1);
    if (cache_talks(c)) { cache_read_tell(c, "get_or_load", CELLAR_OK); }
    return true;
}

BASE_NOINLINE static cellar_err cache_load_call(cellar *c, const void *key, size_t key_len,
                                                const cellar_load_opts *o, cellar_loader_fn fn,
                                                void *ctx, bool audit, cellar_result *out)
{
    cellar_load_opts full;
    cache_call call;
    cache_load_plan plan;
    if (cache_is_closed(c)) { return cache_closed(c); }
    cellar_err err = cache_load_plan_make(c, &o, &full, &plan);
    if (err != CELLAR_OK) { return err; }
    cache_call_begin(&call, c, key, key_len);
    call.o = o;
    call.p = plan;
    call.audit = audit;
    if (!cache_call_loader(&call, fn, ctx)) { return cache_load_none(c); }
    if (cache_call_pins(&call, out)) { return CELLAR_OK; }
    flight_reap((uintptr_t)__builtin_frame_address(0));
    if (!cache_load_begin(c)) { return cache_closed(c); }
    call.cancel = base_cancel_off();
    flight_table *t = cache_flights(c->store);
    if (t == NULL) {
        (void)cache_answer(&call, CELLAR_E_NOMEM, CELLAR_SOURCE_NONE);
    } else {
        cache_rounds(&call, t);
    }
    cache_call_seen(&call);
    cache_call_count(&call);
    err = cache_call_out(&call, out);
    if (err == CELLAR_E_NOMEM) { (void)cache_fail(c, err, 0, "cellar_get_or_load: no memory"); }
    const int cancel = call.cancel;
    cache_load_end(c->store);
    base_cancel_set(cancel);
    return err;
}

CELLAR_API cellar_err cellar_get_or_load(cellar *c, const void *key, size_t key_len,
                                         const cellar_load_opts *o, cellar_loader_fn fn, void *ctx,
                                         cellar_result *out)
{
    if (BASE_UNLIKELY(c == NULL || cache_key_bad(key, key_len) || cache_result_bad(out))) {
        return cache_fail_key(c, "cellar_get_or_load", key, key_len,
                              "start out from cellar_result_default()");
    }
    bool audit = false;
    uint32_t state = base_load_acq(&c->state);
    if (BASE_UNLIKELY((state & CACHE_NOTES) != 0)) {
        if (base_thread_self()->leads != NULL) { /* inside a loader: use the slow path */
            return cache_load_call(c, key, key_len, o, fn, ctx, false, out);
        }
        state &= ~CACHE_NOTES;
    }
    if (BASE_UNLIKELY(base_load_acq(&c->bloom) != NULL) && o == NULL && fn != NULL &&
        (state & ~CACHE_FILTER) == 0) {
        cellar_err err;
        if (cache_guarded_hit(c, key, key_len, out, &err, &audit)) { return err; }
    } else if (BASE_LIKELY(o == NULL && fn != NULL && state == 0)) {
        l1_key k;
        size_t len;
        cache_key(c, &k, key, key_len);
        if (l1_get(c->l1, &k, out->buf, out->buf_cap, &len, 0) == CELLAR_OK) {
            cache_hit_out(out, len);
            stats_add(cache_mine(c), STATS_HIT_L1, 1);
            return CELLAR_OK;
        }
    }
    return cache_load_call(c, key, key_len, o, fn, ctx, audit, out);
}

CELLAR_API void cellar_result_free(cellar_result *r)
{
    if (r == NULL) { return; }
    if ((r->flags & CELLAR_RESULT_PINNED) != 0) {
        cellar_pinned p = { r->value, r->value_len, { 0 } };
        memcpy(p.opaque, r->opaque, sizeof p.opaque);
        cellar_unpin(&p);
    } else {
        flight_bytes_drop((flight_bytes *)(uintptr_t)r->opaque[0]);
    }
    r->flags &= ~CELLAR_RESULT_PINNED;
    r->opaque[0] = 0;
    r->value = NULL;
    r->value_len = 0;
}
