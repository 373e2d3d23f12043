/* SPDX-License-Identifier: MIT
 *
 * load: read through the cache: look, wait, answer.
 *
 * PICTURE    look at L1 -> fresh, negative, or remembered error: answer
 *                       -> stale or early refresh: queue it (refresh.c), answer with this value
 *                       -> nothing: acquire -> LED: load_leader.c
 *                                           -> JOINED: wait -> its outcome, or look again
 * INVARIANTS A call answers with a value that was current between its begin and its end. After a
 *            failure or inside a stale window it may answer with an older value, marked STALE.
 * WALK       cellar_get_or_load -> plain hit inline -> cache_load_call -> rounds of look, acquire,
 *            lead or join. A new round begins if the joined flight was cancelled, or failed and may
 *            be retried.
 * LIMITS     16 nested loads; waiters and flights as configured.
 * SEE ALSO   load_look.c, load_acquire.c, load_leader.c; refresh.c, load_bulk.c, lease.c. */
#include "cache/bloom_guard.h"
#include "cache/call.h"
#include "cache/error.h"
#include "cache/lookup.h"
#include "cache/pin.h"
#include "cache/proof.h"
#include "cache/talk.h"
#include "loading/job.h"
#include "loading/load_acquire.h"
#include "loading/load_call.h"
#include "loading/load_leader.h"
#include "loading/load_look.h"
#include "loading/load_plan.h"
#include "loading/load_shared.h"
#include "loading/refresh.h"

/* Refresh a stale or early value. Return true if the call is answered with it. */
static bool cache_with_old(cache_call *call)
{
    if (!cache_background(call)) { return false; } /* this call refreshes, if it leads the flight */
    cache_refresh_later(call);
    if (call->early || call->soft_over || call->p->ms[CACHE_SOFT] == 0) {
        cache_answer_old(call, CELLAR_SOURCE_STALE_REVALIDATE);
        return true;
    }
    call->only_join = true; /* wait for soft_timeout_ms */
    return false;
}

/* Look, then acquire the flight of the key, then load or wait. Return true if the call is answered,
 * false: look again. */
static bool cache_round(cache_call *call)
{
    flight *f = NULL;
    if (cache_look_round(call)) { return true; }
    if (flight_depth() >= FLIGHT_DEPTH_MAX) {
        stats_count(call->c->stats, STATS_LIMIT_DEPTH, 1);
        (void)cache_answer_failed(call, CELLAR_E_DEPTH);
        return true;
    }
    if (call->old != NULL && !call->only_join && cache_with_old(call)) { return true; }
    const bool join = (call->p->flags & CELLAR_LOAD_NO_WAIT) == 0;
    cache_acquired got = cache_acquire(call, FLIGHT_CALL, join, NULL, &f);
    if (got == CACHE_JOINED) { return cache_join(call, f); }
    if (got == CACHE_LED) { got = cache_shared_lead(call, f); }
    if (got == CACHE_LED) { cache_lead(call, f); }
    return got != CACHE_AGAIN;
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
    return call->fn != NULL || (call->p->flags & CELLAR_LOAD_ONLY_IF_CACHED) != 0;
}

/* Serve CELLAR_LOAD_PIN: pin a plain hit in memory. An early refresh needs the age of the entry, so
 * such a call copies. */
static bool cache_call_pins(cache_call *call, cellar_result *out)
{
    cellar *c = call->c;
    const uint32_t skips = CELLAR_LOAD_BYPASS | CELLAR_LOAD_REFRESH;
    const cache_load_plan *p = call->p;
    if ((p->flags & CELLAR_LOAD_PIN) == 0 || (p->flags & skips) != 0 ||
        cache_load_early(p) || cache_is_off(c) || cache_is_unproven(c)) {
        return false;
    }
    l1_pin_ref ref;
    cache_key(c, &call->k, call->key, call->k.len);
    if (l1_pin(c->l1, &call->k, &ref, L1_NOT_DUE) != CELLAR_OK) { return false; }
    cellar_pinned pin;
    cache_pin_out(c, &ref, &pin);
    cache_hit_out(out, pin.value_len);
    out->value = pin.value;
    out->flags = CELLAR_RESULT_PINNED;
    out->user_flags = ref.user_flags;
    memcpy(out->opaque, pin.opaque, sizeof out->opaque);
    stats_add(cache_mine(c), STATS_HIT_L1, 1);
    cache_hot_sample(c, base_thread_self(), &call->k);
    if (cache_talks(c)) { cache_read_tell(c, "get_or_load", &call->k, CELLAR_OK); }
    return true;
}

BASE_NOINLINE static cellar_err cache_load_call(cellar *c, const void *key, size_t key_len,
                                                const cellar_load_opts *o, cellar_loader_fn fn,
                                                void *ctx, bool audit, cellar_result *out)
{
    cache_call call;
    cache_load_plan plan;
    if (cache_is_closed(c)) { return cache_closed(c); }
    cellar_err err = cache_load_plan_make(c, o, &plan);
    if (err != CELLAR_OK) { return err; }
    cache_call_begin(&call, c, &plan, key, key_len);
    call.audit = audit;
    if (!cache_call_loader(&call, fn, ctx)) {
        return cache_refuse(c, "cellar_get_or_load: no loader: set fn, or namespace loader");
    }
    if (cache_call_pins(&call, out)) { return CELLAR_OK; }
    if (!cache_call_enter(&call)) { return cache_closed(c); }
    if (cache_is_off(c)) { plan.flags |= CELLAR_LOAD_NO_STORE; }
    while (call.t != NULL && !cache_round(&call)) {}
    return cache_call_end(&call, out);
}

/* ---- plain hits ---- */

/* Try the plain hit of a namespace with a filter. Return true with *err if the call is answered.
 * *audit: the load checks the filter. */
static bool cache_guarded_hit(cellar *c, const void *key, size_t key_len, cellar_result *out,
                              cellar_err *err, bool *audit)
{
    /* no other bit: the caller checked */
    const bool first = (base_load_rlx(&c->state) & CACHE_FILTER) != 0;
    const bool sampled = stats_sample(base_thread_self());
    cache_word word = CACHE_WORD_MAYBE;
    if (first && !sampled) { word = cache_filter_stops(c, key, key_len); }
    if (word == CACHE_WORD_MAYBE) {
        l1_key k;
        *err = cache_hit_plain(c, &k, key, key_len, out);
        if (*err == CELLAR_OK) {
            if (sampled) {
                cache_filter_note(c, key, key_len, CELLAR_OK);
                cache_hot_note(c, &k);
            }
            return true;
        }
        /* A stale entry cannot exist under a key that was never added. */
        if (*err == CELLAR_MISS) { word = cache_filter_stops(c, key, key_len); }
    }
    *audit = word == CACHE_WORD_AUDIT;
    if (word != CACHE_WORD_NEVER) { return false; }
    *err = CELLAR_ABSENT;
    cache_hit_out(out, 0);
    out->value = NULL;
    out->source = CELLAR_SOURCE_BLOOM;
    stats_add(cache_mine(c), STATS_NEGATIVE, 1);
    if (sampled) { cache_filter_note(c, key, key_len, CELLAR_MISS); }
    return true;
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
    const uint32_t state = base_load_acq(&c->state);
    if (BASE_UNLIKELY(base_load_acq(&c->bloom) != NULL) && o == NULL && fn != NULL &&
        (state & ~CACHE_FILTER) == 0) {
        cellar_err err;
        if (cache_guarded_hit(c, key, key_len, out, &err, &audit)) { return err; }
    } else if (BASE_LIKELY(o == NULL && fn != NULL &&
                           (state == 0 || (state == CACHE_PROOF && !cache_is_unproven(c))))) {
        l1_key k;
        if (cache_hit_plain(c, &k, key, key_len, out) == CELLAR_OK) {
            cache_hot_sample(c, base_thread_self(), &k);
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
