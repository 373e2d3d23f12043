/* SPDX-License-Identifier: MIT
 *
 * lease: single flight without a waiting thread: acquire, fulfill, release.
 *
 * PICTURE    acquire -> look -> flight_enter -> LED: second look, tier -> LEASED {gen, shard}
 *                                            -> TAKEN: PENDING, the flight has a subscription
 *            fulfill -> claim (once) -> store with the commit hook -> wake waiters and subscribers
 * INVARIANTS A lease is claimed at most once: by fulfill or release, by a take-over past its hard
 *            time-out, by the tick, by the close of the store or the drop of its namespace. Its ref
 *            moves with the claim. The claimant reports to the breaker of the namespace.
 *            Threads and leases share one flight: each gets the result of the other.
 * LOCKING    As load.c. The thread that ends the flight calls the subscribers, without a lock.
 * COMPLETION The end of a flight calls fn of each subscriber once. The next acquire then returns
 *            the value, or gives the lease to one caller.
 * OPTIONS    The flight keeps the options of acquire, merged with those of the namespace, as its
 *            draft. Release uses them (error TTL, fallbacks, default value), fulfill where its own
 *            options are not set. Without options nothing is kept: the options of the namespace at
 *            that moment apply. If the breaker refuses, or a remembered failure exists, fallbacks
 *            run immediately.
 * LIMITS     A thread that holds a lease and waits for the same key waits until hard_timeout_ms:
 *            the store cannot know that this thread should fulfill the lease. */
#include "base/user_callback.h"
#include "cache/breaker_calls.h"
#include "cache/call.h"
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
#include "cache/plan.h"

static void cache_lease_out(cellar_lease *out, const flight_lease *l)
{
    out->opaque[0] = l->id;
    out->opaque[1] = l->check;
}

/* ---- options of acquire ---- */

typedef struct cache_kept { /* in the bytes of the flight; the bytes of the default value follow */
    cache_load_plan p;      /* without the breaker, which may be destroyed by then */
    cellar_fallback fallback[CELLAR_FALLBACKS_MAX];
    size_t default_len;
    bool has_default;
} cache_kept;

/* Copy plan, fallbacks and default value of the call. Return NULL if no memory is left. */
static flight_bytes *cache_kept_new(const cache_call *call)
{
    const cellar_bytes *d = call->o->default_value;
    const cellar_fallback *f = call->o->fallback;
    cache_kept k = { .p = call->p, .fallback = { f[0], f[1], f[2] }, .has_default = d != NULL,
                     .default_len = d != NULL ? d->len : 0 };
    k.p.breaker = NULL;
    flight_bytes *b = flight_bytes_new(&call->c->store->hooks, sizeof k + k.default_len);
    if (b == NULL) { return NULL; }
    memcpy(b->data, &k, sizeof k);
    if (k.default_len != 0) { memcpy(b->data + sizeof k, d->data, k.default_len); }
    return b;
}

/* Clean up after the thread ended inside a fallback. */
static void cache_lease_left(struct cellar_load *ld)
{
    cellar *c = ld->call->c;
    flight_lead_end(ld->f);
    cache_flight_cancel(ld->t, ld->f);
    cache_call_forget(ld->call);
    flight_bytes_drop(ld->host);
    cache_load_end(c->store);
}

/* Lead the flight: fallbacks run in this thread, like loaders. */
static void cache_lease_lead(struct cellar_load *ld, uintptr_t frame)
{
    if (flight_deep(base_thread_self())) {
        ld->call->o = NULL;
    } /* fallbacks would exceed the nesting
                                                           * limit */
    ld->left = cache_lease_left;
    flight_lead_begin(ld->f, frame);
    if (!cache_load_has_instead(ld->call->o)) { return; }
    cache_record_begin(ld, ld->f);
}

/* Answer with fallbacks: the breaker is open, or a failure is remembered. */
BASE_NOINLINE static void cache_lease_refused(cache_call *call, flight_table *t, flight *f)
{
    struct cellar_load ld;
    flight_outcome o;
    memset(&ld, 0, sizeof ld);
    memset(&o, 0, sizeof o);
    ld.call = call;
    ld.t = t;
    ld.f = f;
    cache_lease_lead(&ld, (uintptr_t)__builtin_frame_address(0));
    cache_guard_refused(&ld, &o);
    flight_lead_end(f);
    o.source = call->source;
    flight_end(t, f, &o);
}

/* Answer a lease that was released with an error. `kept`: options of acquire, or NULL; owned by
 * this call. */
BASE_NOINLINE static void cache_lease_failed(struct cellar_load *ld, flight_bytes *kept,
                                             int32_t loader_err, flight_outcome *o)
{
    cache_call *call = ld->call;
    cellar_load_opts opts = cellar_load_opts_default();
    cache_kept k;
    cellar_bytes d = { NULL, 0 };
    const cellar_err look = cache_is_off(call->c) ? CELLAR_MISS : cache_look(call);
    call->old_current = look == CELLAR_OK || look == CELLAR_STALE;
    if (kept != NULL) {
        memcpy(&k, kept->data, sizeof k);
        for (unsigned i = 0; i < CELLAR_FALLBACKS_MAX; i++) { opts.fallback[i] = k.fallback[i]; }
        d = (cellar_bytes){ kept->data + sizeof k, k.default_len };
        if (k.has_default) { opts.default_value = &d; }
        call->o = &opts;
    }
    ld->host = kept;
    cache_lease_lead(ld, (uintptr_t)__builtin_frame_address(0));
    cache_lead_failed(ld, CELLAR_E_LOADER, loader_err, o);
    flight_lead_end(ld->f);
    flight_bytes_drop(kept);
    cache_call_forget(call);
    flight_bytes_drop(call->value); /* release returns no value */
    call->value = NULL;
}

/* ---- acquire ---- */

/* Give the lease, unless a second look or the tier has the value. Return false if the flight was
 * taken over meanwhile: try again. */
static bool cache_lease_led(cache_call *call, flight_table *t, flight *f, flight_sub **sub,
                            cellar_lease *lease)
{
    flight_outcome o;
    memset(&o, 0, sizeof o);
    const l1_key own = call->k;
    call->k.bytes = flight_key_of(f).bytes;
    const bool blind = (call->p.flags & CELLAR_LOAD_REFRESH) != 0;
    const bool answered =
        !cache_is_off(call->c) &&
        (cache_second_look(call, &o) || (call->old == NULL && cache_tier_look(call, &o)));
    call->k = own;
    if (answered) {
        o.source = call->source;
        flight_end(t, f, &o);
        return true;
    }
    if (cache_is_closed(call->c)) { /* dropped: the drop may have missed this lease */
        cache_flight_cancel(t, f);
        (void)cache_answer(call, CELLAR_E_CLOSED, CELLAR_SOURCE_NONE);
        return true;
    }
    flight_lease l;
    uint32_t pass = 0;
    cellar_breaker *ward = call->p.breaker;
    if (call->instead || (ward != NULL && !cache_breaker_admit(ward, &pass))) {
        if (*sub != NULL) { flight_sub_free(t, *sub); } /* no flight of another caller to wait
                                                         * for */
        *sub = NULL;
        cache_lease_refused(call, t, f);
        return true;
    }
    if (call->o != NULL) {
        flight_bytes *kept = cache_kept_new(call);
        if (kept == NULL) {
            if (ward != NULL) { cache_breaker_report(ward, pass, BREAKER_SAID_NOTHING); }
            cache_flight_cancel(t, f);
            (void)cache_answer_failed(call, CELLAR_E_NOMEM);
            return true;
        }
        flight_draft(f, kept);
    }
    flight_note(f, ward != NULL ? (uint64_t)pass + 1 : 0);
    if (!flight_lease_open(t, f, &l)) {
        if (ward != NULL) { cache_breaker_report(ward, pass, BREAKER_SAID_NOTHING); }
        flight_unref(t, f);
        return false;
    }
    cache_lease_out(lease, &l);
    if (call->old != NULL && !blind) {
        cache_answer_old(call, CELLAR_SOURCE_STALE_REVALIDATE);
    } else {
        (void)cache_answer(call, CELLAR_LEASED, CELLAR_SOURCE_NONE);
    }
    return true;
}

/* Try once. Return true if the call is answered. */
static bool cache_begin_round(cache_call *call, flight_table *t, flight_sub **sub,
                              cellar_lease *lease)
{
    flight_ask ask;
    flight *f = NULL;
    cache_ask(call, FLIGHT_LEASE, &ask);
    if (call->old == NULL) { ask.sub = *sub; }
    const uint64_t id = ask.sub != NULL ? ask.sub->id : 0;
    const flight_entry entry = flight_enter(t, &ask, &f);
    if (entry == FLIGHT_LED) { return cache_lease_led(call, t, f, sub, lease); }
    if (entry != FLIGHT_TAKEN) {
        (void)cache_entry_failed(call, entry);
        return true;
    }
    if (call->old != NULL) {
        cache_answer_old(call, CELLAR_SOURCE_STALE_REVALIDATE);
        return true;
    }
    if (id != 0) { /* owned by the flight now; it may have been called already */
        flight_lease ticket;
        flight_ticket_of(t, call->k.hash, id, &ticket);
        cache_lease_out(lease, &ticket);
        *sub = NULL;
    }
    (void)cache_answer(call, CELLAR_PENDING, CELLAR_SOURCE_NONE);
    return true;
}

CELLAR_API cellar_err cellar_lease_acquire(cellar *c, const void *key, size_t key_len,
                                           const cellar_load_opts *o,
                                           const cellar_subscriber *waiter,
                                           cellar_lease *lease, cellar_result *out)
{
    const uint32_t banned = CELLAR_LOAD_BYPASS | CELLAR_LOAD_NO_JOIN | CELLAR_LOAD_NO_STORE;
    cellar_load_opts full;
    cache_call call;
    cache_load_plan plan;
    if (c == NULL || cache_key_bad(key, key_len) || lease == NULL || cache_result_bad(out) ||
        (waiter != NULL && waiter->fn == NULL)) {
        return cache_fail_key(c, "cellar_lease_acquire", key, key_len,
                              "lease, out and waiter->fn must not be NULL");
    }
    memset(lease, 0, sizeof *lease);
    if (cache_is_closed(c)) { return cache_closed(c); }
    cellar_err err = cache_load_plan_make(c, &o, &full, &plan);
    if (err != CELLAR_OK) { return err; }
    if ((plan.flags & banned) != 0) {
        return cache_refuse(c,
                                 "cellar_lease_acquire: BYPASS, NO_JOIN and NO_STORE are not "
                                 "allowed");
    }
    cache_call_begin(&call, c, key, key_len);
    call.o = o;
    call.p = plan;
    call.p.breaker = base_load_acq(&c->breaker); /* a breaker of this call may be destroyed
                                                  * before the end */
    flight_reap((uintptr_t)__builtin_frame_address(0));
    if (!cache_load_begin(c)) { return cache_closed(c); }
    const int cancel = base_cancel_off();
    call.cancel = cancel;
    flight_table *t = cache_flights(c->store);
    flight_sub *sub = NULL;
    if (t != NULL && waiter != NULL) { sub = flight_sub_new(t, waiter->fn, waiter->ctx); }
    if (t == NULL || (waiter != NULL && sub == NULL)) {
        (void)cache_answer(&call, CELLAR_E_NOMEM, CELLAR_SOURCE_NONE);
    } else {
        while (!cache_look_round(&call, true) && !cache_begin_round(&call, t, &sub, lease)) {}
    }
    if (sub != NULL) { flight_sub_free(t, sub); }
    cache_call_seen(&call);
    cache_call_count(&call);
    err = cache_call_out(&call, out);
    cache_load_end(c->store);
    base_cancel_set(cancel);
    return err;
}

/* ---- end of a lease ---- */

/* Claim the lease and prepare its publication. Return false with *err if there is no such lease. */
static bool cache_claim(cellar *c, cellar_lease *lease, cache_call *call, struct cellar_load *ld,
                        cellar_err *err)
{
    cache_store *s = c->store;
    const flight_lease l = { lease->opaque[0], lease->opaque[1] };
    const cellar_load_opts *none = NULL;
    if (!cache_load_begin(c)) {
        *err = cache_closed(c);
        return false;
    }
    memset(ld, 0, sizeof *ld);
    ld->t = base_load_sc(&s->flights);
    ld->f = ld->t != NULL ? flight_claim(ld->t, &l, c->id) : NULL;
    if (ld->f == NULL) {
        cache_load_end(c->store);
        *err = CELLAR_E_LEASE; /* perhaps a lease of another namespace: its holder keeps it */
        return false;
    }
    memset(lease, 0, sizeof *lease);
    const flight_key k = flight_key_of(ld->f);
    cache_call_begin(call, c, k.bytes, k.len);
    call->k.generation = k.generation;
    call->k.hash = k.hash;
    call->now_ms = base_now_ms(&s->clock);
    const flight_bytes *kept = flight_drafted(ld->f);
    if (kept != NULL) {
        cache_kept begun;
        memcpy(&begun, kept->data, sizeof begun);
        call->p = begun.p;
        call->p.breaker = base_load_acq(&c->breaker);
    } else {
        (void)cache_load_plan_make(c, &none, NULL, &call->p); /* no options: cannot be refused */
    }
    ld->call = call;
    const uint64_t note = flight_noted(ld->f);
    /* set once, lives as long as the namespace */
    ld->breaker = note != 0 ? base_load_acq(&c->breaker) : NULL;
    ld->pass = (uint32_t)(note - 1);
    return true;
}

/* Apply the options of acquire where fulfill sets none; they come before the namespace. */
static void cache_fulfil_times(const struct cellar_load *ld, const cellar_set_opts *o,
                               cache_plan *plan)
{
    const cache_load_plan *begun = &ld->call->p;
    const bool none = plan->spec.kind == (uint8_t)L1_NEGATIVE;
    if (flight_drafted(ld->f) == NULL) { return; } /* the plan has the present options of the
                                                    * namespace */
    if (o == NULL || (o->ttl_ms == 0 && (none || o->ttl_class == 0))) {
        plan->ttl_ms = BASE_MIN(none ? begun->negative_ttl_ms : begun->ttl_ms, plan->most_ms);
        plan->now_ms = ld->call->now_ms;
    }
    const int64_t stale = o == NULL || o->stale_ms == 0 ? begun->stale_ms : o->stale_ms;
    plan->spec.stale_ms = none || plan->ttl_ms == CELLAR_TTL_NONE ? 0 : stale;
}

/* Store the value like a set with the options of the caller. */
static cellar_err cache_fulfil_store(struct cellar_load *ld, cache_plan *plan,
                                     const cellar_set_opts *o, flight_bytes *value,
                                     flight_outcome *out)
{
    cache_call *call = ld->call;
    l1_put_spec *p = &plan->spec;
    const bool none = p->kind == (uint8_t)L1_NEGATIVE;
    out->phase = none ? FLIGHT_NONE : FLIGHT_OK;
    out->value = value;
    if (value != NULL) { value->user_flags = p->user_flags; }
    if (p->tag_count != 0) {
        p->tag_born = flight_tag_born(ld->f);
        out->flags |= FLIGHT_TAGGED;
    }
    if (cache_is_off(call->c)) { return CELLAR_DISABLED; }
    cache_fulfil_times(ld, o, plan);
    if (plan->ttl_ms != CELLAR_TTL_NONE && (o == NULL || o->jitter_pct == 0)) {
        plan->jitter_pct = call->p.jitter_pct;
        plan->jitter_mode = call->p.jitter_mode;
    }
    p->value = value != NULL ? value->data : NULL;
    p->value_len = value != NULL ? value->len : 0;
    p->deadline_ms = out->deadline_ms = cache_plan_deadline(call->c, plan, call->k.hash);
    if (none && call->p.no_negative && (o == NULL || o->ttl_ms == 0)) {
        p->deadline_ms = call->now_ms; /* reported, not kept */
    }
    const cellar_err err = cache_publish(ld, p, out);
    if (err == CELLAR_CONFLICT) { return CELLAR_INVALIDATED; }
    return err == CELLAR_OK ? err : CELLAR_DROPPED;
}

CELLAR_API cellar_err cellar_lease_fulfill(cellar *c, cellar_lease *lease, const void *value,
                                           size_t value_len, const cellar_set_opts *o)
{
    const uint32_t banned = CELLAR_ONLY_IF_ABSENT | CELLAR_ONLY_IF_PRESENT |
                            CELLAR_ONLY_IF_VERSION | CELLAR_KEEP_TTL | CELLAR_DURABLE;
    cache_plan plan;
    cache_call call;
    struct cellar_load ld;
    flight_outcome out;
    if (c == NULL || lease == NULL || (value == NULL && value_len != 0)) {
        return cache_refuse(c, "cellar_lease_fulfill: c, lease and value must not be NULL");
    }
    if (cache_is_closed(c)) { return cache_closed(c); }
    cellar_err err = cache_plan_make(c, o, banned, &plan);
    if (err != CELLAR_OK) { return err; }
    const bool none = plan.spec.kind == (uint8_t)L1_NEGATIVE;
    if ((none && value_len != 0) || plan.version_out != NULL) {
        return cache_refuse(c,
                                 "cellar_lease_fulfill: a negative entry has no value, "
                                 "and new_version must be NULL");
    }
    flight_reap((uintptr_t)__builtin_frame_address(0));
    if (!cache_claim(c, lease, &call, &ld, &err)) { return err; }
    memset(&out, 0, sizeof out);
    const int cancel = base_cancel_off();
    flight_bytes *b = NULL;
    err = cache_load_room(c, value, value_len);
    if (err == CELLAR_OK && !none) {
        b = flight_bytes_new(&c->store->hooks, value_len);
        if (b == NULL) { err = CELLAR_E_NOMEM; }
    }
    if (err == CELLAR_OK) {
        if (b != NULL && value_len != 0) { memcpy(b->data, value, value_len); }
        err = cache_fulfil_store(&ld, &plan, o, b, &out);
    } else {
        out.phase = FLIGHT_FAILED;
        out.err = err;
        out.loader_err = (int32_t)err;
        (void)cache_fail(c, err, 0,
                         "cellar_lease_fulfill: value above max_value_bytes, or no memory");
    }
    cache_guard_report(&ld, out.phase == FLIGHT_FAILED ? err : CELLAR_OK);
    out.source = CELLAR_SOURCE_LOADED;
    flight_end(ld.t, ld.f, &out);
    cache_load_end(c->store);
    base_cancel_set(cancel);
    return err;
}

CELLAR_API cellar_err cellar_lease_release(cellar *c, cellar_lease *lease, int32_t loader_err)
{
    cellar_err err = CELLAR_OK;
    cache_call call;
    struct cellar_load ld;
    flight_outcome out;
    if (c == NULL || lease == NULL) {
        return cache_refuse(c, "cellar_lease_release: c and lease must not be NULL");
    }
    if (cache_is_closed(c)) { return cache_closed(c); }
    flight_reap((uintptr_t)__builtin_frame_address(0));
    if (!cache_claim(c, lease, &call, &ld, &err)) { return err; }
    const int cancel = base_cancel_off();
    memset(&out, 0, sizeof out);
    out.phase = FLIGHT_CANCELLED;
    flight_bytes *kept = flight_drafted(ld.f);
    flight_draft(ld.f, NULL);
    call.cancel = cancel;
    cache_guard_report(&ld, loader_err != 0 ? CELLAR_E_LOADER : CELLAR_E_CANCELLED);
    if (loader_err != 0) {
        cache_lease_failed(&ld, kept, loader_err, &out);
    } else {
        flight_bytes_drop(kept);
    }
    flight_end(ld.t, ld.f, &out);
    cache_load_end(c->store);
    base_cancel_set(cancel);
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_lease_unsubscribe(cellar *c, cellar_lease *ticket)
{
    if (c == NULL || ticket == NULL) {
        return cache_refuse(c, "cellar_lease_unsubscribe: c and ticket must not be NULL");
    }
    if (cache_is_closed(c)) { return cache_closed(c); }
    const flight_lease l = { ticket->opaque[0], ticket->opaque[1] };
    if (!cache_load_begin(c)) { return cache_closed(c); }
    flight_table *t = base_load_sc(&c->store->flights);
    const bool found = t != NULL && flight_withdraw(t, &l);
    if (found) { memset(ticket, 0, sizeof *ticket); }
    cache_load_end(c->store);
    return found ? CELLAR_OK : CELLAR_E_LEASE;
}
