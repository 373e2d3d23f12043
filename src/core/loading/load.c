/* SPDX-License-Identifier: MIT
 *
 * load: read through the cache: look, wait, answer.
 *
 * PICTURE    LOOKS -> fresh, negative, or remembered error: ANSWERED
 *                  -> stale or early refresh: queue it (refresh.c), answer with this value
 *                  -> nothing: acquire -> LEADS: load_lead.c
 *                                      -> JOINED: wait -> its outcome, or LOOKS
 * INVARIANTS A call answers with a value that was current between its begin and its end. After a
 *            failure or inside a stale window it may answer with an older value, marked STALE.
 * WALK       cellar_get_or_load -> plain hit (cache_hit_first) -> plan -> rounds of look, acquire,
 *            lead or join. A new round begins if the joined flight was cancelled, or failed and may
 *            be retried.
 * LIMITS     16 nested loads, 1,000 with CELLAR_LOAD_RECURSE; waiters and flights as configured.
 * SEE ALSO   load_look.c, load_call.c, load_lead.c; refresh.c, load_bulk.c, lease.c. */
#include "cache/error.h"
#include "cache/talk.h"
#include "loading/load_shared.h"
#include "loading/loading.h"
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

/* Return whether no further load may begin inside those of this thread. With CELLAR_LOAD_RECURSE a
 * deep one begins, but joins no other. */
static bool cache_too_deep(cache_call *call)
{
    const uint32_t depth = flight_depth();
    if (depth < FLIGHT_DEPTH_MAX) { return false; }
    call->recurses = true; /* without the flag the call ends */
    return depth >= cache_depth_most(call->p);
}

/* Run a load that joins no other. It has no lease of a shared tier, so nothing is kept there. */
static void cache_recurse(cache_call *call)
{
    stats_add(cache_mine(call->c), STATS_LOAD_RECURSION, 1);
    call->unsure = cache_shared_of(call->c) != NULL;
    cache_lead(call);
}

/* Look, then acquire the flight of the key, then load or wait: ANSWERED, or LOOKS. */
static void cache_round(cache_call *call)
{
    cache_look_first(call);
    if (call->state == CACHE_CALL_ANSWERED) { return; }
    if (cache_too_deep(call)) {
        stats_count(call->c->stats, STATS_LIMIT_DEPTH, 1);
        cache_answer_nested(call, CELLAR_E_DEPTH);
        return;
    }
    if (call->old != NULL && !call->only_join && cache_with_old(call)) { return; }
    (void)cache_acquire(call, FLIGHT_CALL, (call->p->flags & CELLAR_LOAD_NO_WAIT) == 0, NULL);
    if (call->state == CACHE_CALL_JOINED) { cache_join(call); }
    if (call->state == CACHE_CALL_LEADS && call->recurses) { cache_recurse(call); }
    if (call->state == CACHE_CALL_LEADS && cache_shared_of(call->c) != NULL) {
        cache_shared_lead(call);
    }
    if (call->state == CACHE_CALL_LEADS) { cache_lead(call); }
}

/* Select the loader of the call, else of the namespace. Return false if one is needed and there is
 * none. */
static bool cache_call_loader(cache_call *call, cellar_loader_fn fn, void *ctx)
{
    cache_store *s = call->c->store;
    call->fn = fn;
    call->ctx = ctx;
    if (fn != NULL || (call->p->flags & CELLAR_LOAD_ONLY_IF_CACHED) != 0) { return true; }
    sync_take(NAMESPACE, &s->namespace_lock);
    call->fn = call->c->loader;
    call->ctx = call->c->loader_ctx;
    sync_drop(NAMESPACE, &s->namespace_lock);
    call->namespace_loader = true;
    return call->fn != NULL;
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
    cache_pinned_out(c, &ref, &call->k, out);
    if ((base_load_rlx(&c->carries) & CACHE_CARRIES_BIRTH) != 0) {
        out->age_ms = BASE_MAX(base_now_ms(&c->store->clock) - ref.born_ms, 0);
    }
    if (cache_talks(c)) { cache_read_tell(c, "get_or_load", &call->k, CELLAR_OK); }
    return true;
}

static const char *const cache_load_calls[] = { "cellar_get_or_load",
                                                "cellar_object_get_or_load" };

CELLAR_PRIVATE cellar_err cache_load_call(cellar *c, const void *key, size_t key_len,
                                          const cellar_load_opts *o, cellar_loader_fn fn,
                                          void *ctx, bool audit, cellar_result *out)
{
    cache_call call;
    cache_load_plan plan;
    if (cache_is_closed(c)) { return cache_closed(c, cache_call_name(c, cache_load_calls)); }
    cellar_err err = cache_load_plan_make(c, o, cache_load_calls, &plan);
    if (err != CELLAR_OK) { return err; }
    cache_call_begin(&call, c, &plan, key, key_len);
    call.audit = audit;
    if (!cache_call_loader(&call, fn, ctx)) {
        static const cache_broken none = { .rule = "no loader: set fn, or namespace loader" };
        return cache_fail_broken(c, CELLAR_E_INVAL, cache_call_name(c, cache_load_calls), &none);
    }
    if (cache_call_pins(&call, out)) { return CELLAR_OK; }
    if (!cache_call_enter(&call)) { return cache_closed(c, cache_call_name(c, cache_load_calls)); }
    if (cache_is_off(c)) { plan.flags |= CELLAR_LOAD_NO_STORE; }
    while (call.state != CACHE_CALL_ANSWERED) { cache_round(&call); }
    return cache_call_end(&call, out);
}

BASE_NOINLINE static cellar_err cache_load_bytes(cellar *c, const void *key, size_t key_len,
                                                 const cellar_load_opts *o, cellar_loader_fn fn,
                                                 void *ctx, bool audit, cellar_result *out)
{
    if (cache_no_bytes(c)) { return cache_closed(c, "cellar_get_or_load"); }
    return cache_load_call(c, key, key_len, o, fn, ctx, audit, out);
}

/* Return whether a call without a loader of its own has one, or needs none. */
BASE_NOINLINE static bool cache_call_may_run(const cellar *c, const cellar_load_opts *o)
{
    return base_load_rlx(&c->has_loader) || (o != NULL && o->struct_size == sizeof *o &&
                                             (o->flags & CELLAR_LOAD_ONLY_IF_CACHED) != 0);
}

CELLAR_API cellar_err cellar_get_or_load(cellar *c, const void *key, size_t key_len,
                                         const cellar_load_opts *o, cellar_loader_fn fn, void *ctx,
                                         cellar_result *out)
{
    if (BASE_UNLIKELY(c == NULL || cache_key_bad(key, key_len) || cache_result_bad(out))) {
        return cache_fail_key(c, "cellar_get_or_load", key, key_len,
                              "start from cellar_result_default(), with buf if buf_cap is set");
    }
    bool audit = false;
    if (BASE_UNLIKELY(fn == NULL) && !cache_call_may_run(c, o)) {
        return cache_load_bytes(c, key, key_len, o, fn, ctx, audit, out);
    }
    if (BASE_UNLIKELY(base_load_acq(&c->bloom) != NULL) && o == NULL &&
        (base_load_acq(&c->state) & ~CACHE_FILTER) == 0) {
        cellar_err err;
        if (cache_guarded_hit(c, key, key_len, out, &err, &audit)) { return err; }
    } else if (BASE_LIKELY(cache_hits_plainly(c)) && cache_hit_first(c, key, key_len, o, out)) {
        return CELLAR_OK;
    }
    return cache_load_bytes(c, key, key_len, o, fn, ctx, audit, out);
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
