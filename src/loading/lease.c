/* SPDX-License-Identifier: MIT
 *
 * lease: single flight without a waiting thread: acquire, fulfill, release.
 *
 * PICTURE    look -> acquire -> LED: LEASED {gen, shard}
 *                            -> TAKEN: PENDING, the flight has a subscription
 *            fulfill -> claim (once) -> settle like a loader with that result
 *            release -> claim (once) -> settle like a loader that failed, or cancel the flight
 * INVARIANTS A lease is claimed at most once: by fulfill or release, by a take-over past its hard
 *            time-out, by the tick, by the close of the store or the drop of its namespace. Its ref
 *            moves with the claim. The claimant reports to the breaker of the namespace.
 *            Threads and leases share one flight: each gets the result of the other.
 * LOCKING    As load.c. The thread that ends the flight calls the subscribers, without a lock.
 * COMPLETION The end of a flight calls fn of each subscriber once. The next acquire then returns
 *            the value, or gives the lease to one caller.
 * OPTIONS    The flight keeps the options of acquire, merged with those of the namespace.
 *            Release uses them (error TTL, fallbacks, default value), fulfill where its own
 *            options are not set. Without options nothing is kept: the options of the namespace at
 *            that moment apply. If the breaker refuses, or a remembered failure exists, fallbacks
 *            run immediately.
 * LIMITS     A thread that holds a lease and waits for the same key waits until hard_timeout_ms:
 *            the store cannot know that this thread should fulfill the lease. */
#include "base/user_callback.h"
#include "cache/call.h"
#include "cache/error.h"
#include "cache/lookup.h"
#include "cache/plan.h"
#include "cache/shared.h"
#include "cache/write_order.h"
#include "loading/breaker_calls.h"
#include "loading/load_acquire.h"
#include "loading/load_call.h"
#include "loading/load_leader.h"
#include "loading/load_look.h"
#include "loading/load_plan.h"
#include "loading/load_shared.h"

static void cache_lease_out(cellar_lease *out, const flight_lease *l)
{
    out->opaque[0] = l->id;
    out->opaque[1] = l->check;
}

/* ---- acquire ---- */

typedef struct cache_kept { /* options of acquire; trace and bytes of the default value follow */
    cache_load_plan p;
    cellar_bytes value;
    bool unsure, leased;     /* as in the call */
    cellar_tier_lease lease;
} cache_kept;

/* Keep the plan of the call in its flight, without what only acquire needs. Return false if no
 * memory is left. */
static bool cache_keep(const cache_call *call, flight *f)
{
    const cellar_bytes *d = call->p->default_value;
    const unsigned char *trace = call->p->trace;
    const size_t trace_len = trace != NULL ? CELLAR_LOAD_TRACE_BYTES : 0;
    const size_t len = d != NULL ? d->len : 0;
    const size_t bytes = sizeof(cache_kept) + trace_len + len;
    flight_bytes *b = flight_bytes_new(&call->c->store->hooks, bytes);
    if (b == NULL) { return false; }
    cache_kept *k = (cache_kept *)(void *)b->data;
    k->p = *call->p;
    k->unsure = call->unsure;
    k->leased = call->leased;
    k->lease = call->lease;
    unsigned char *at = b->data + sizeof *k;
    if (trace != NULL) { k->p.trace = memcpy(at, trace, trace_len); }
    k->value = (cellar_bytes){ at + trace_len, len };
    if (d != NULL) { k->p.default_value = &k->value; }
    if (len != 0) { memcpy(at + trace_len, d->data, len); }
    flight_keep(f, b);
    return true;
}

/* Give the lease of a led flight. Return AGAIN if the flight was taken over meanwhile. */
static cache_acquired cache_lease_led(cache_call *call, flight *f, flight_sub **sub,
                                      cellar_lease *lease)
{
    flight_lease l;
    call->k.bytes = call->key; /* the copy of the flight may be freed before the call ends */
    if (cache_is_closed(call->c)) { /* dropped: the drop may have missed this lease */
        cache_shared_unlease(call);
        cache_flight_cancel(call->t, f);
        (void)cache_answer(call, CELLAR_E_CLOSED, CELLAR_SOURCE_NONE);
        return CACHE_ANSWERED;
    }
    cellar_breaker *const b = call->p->breaker;
    uint32_t pass = 0;
    /* answer with fallbacks: the breaker is open, or a failure is remembered */
    if (call->instead || (b != NULL && !cache_breaker_admit(b, &pass))) {
        struct cellar_load ld;
        if (*sub != NULL) { flight_sub_free(call->t, *sub); } /* the thread may end in a fallback */
        *sub = NULL;
        cache_lead_begin(&ld, call, f);
        ld.refused = true;
        (void)cache_lead_settle(&ld);
        return CACHE_ANSWERED;
    }
    flight_note(f, b != NULL ? (uint64_t)pass + 1 : 0);
    const bool kept = (!call->p->given && !call->leased && !call->unsure) || cache_keep(call, f);
    if (!kept) {
        cache_shared_unlease(call);
        cache_flight_cancel(call->t, f);
        (void)cache_answer_failed(call, CELLAR_E_NOMEM);
    } else if (!flight_lease_open(call->t, f, &l)) {
        cache_shared_unlease(call);
        flight_unref(call->t, f);
    } else {
        call->leased = false; /* the flight keeps it */
        cache_lease_out(lease, &l);
        if (cache_has_stale(call)) {
            cache_answer_old(call, CELLAR_SOURCE_STALE_REVALIDATE);
        } else {
            (void)cache_answer(call, CELLAR_LEASED, CELLAR_SOURCE_NONE);
        }
        return CACHE_LED;
    }
    if (b != NULL) { cache_breaker_report(b, pass, BREAKER_SAID_NOTHING); }
    return kept ? CACHE_AGAIN : CACHE_ANSWERED;
}

/* Let the tier answer later: it holds the lease then, and this call subscribes. Return LED if the
 * tier does not, else AGAIN. */
static cache_acquired cache_lease_asks(cache_call *call, flight *f)
{
    cellar *c = call->c;
    const cache_tier *t = cache_tier_of(c);
    const cache_shared *h = cache_shared_leases(call);
    const bool leases = h != NULL && h->leases != NULL;
    cache_tier_ticket ticket = { .generation = call->k.generation,
                                 .born = base_load_acq(&c->store->tag_epoch) };
    flight_lease l;
    if (call->asks) { call->unsure = false; }
    if (!call->asks || t == NULL || !cache_asks_tier(call) || cache_is_off(c) ||
        cache_is_closed(c) || (leases && cache_tier_lease_take(call))) {
        return CACHE_LED;
    }
    if (!cache_tier_watch(c->store, call->k.hash, &ticket.changes, &ticket.globs)) {
        call->unsure = cache_tier_is_shared(t); /* the change may reach the tier behind the load */
        return CACHE_LED;
    }
    if (cache_missed_take(c->store, call->k.hash, cache_missed_seen(&ticket, c->proof_stale),
                          &call->unsure)) {
        return CACHE_LED;
    }
    flight_note(f, 0);
    if (!flight_lease_open(call->t, f, &l)) {
        flight_unref(call->t, f);
        return CACHE_AGAIN;
    }
    ticket.id = l.id;
    ticket.check = l.check;
    const cache_tier_key key = { call->key, call->k.len, call->k.hash, c->id, call->k.generation };
    call->k.bytes = call->key; /* the answer may end the flight */
    if (leases ? cache_tier_lease_ask(h, &key, call->p->ms[CACHE_HARD], &ticket)
            : t->ask(t->ctx, &key, &ticket)) {
        return CACHE_AGAIN;
    }
    return flight_claim(call->t, &l, c->id) == f ? CACHE_LED : CACHE_AGAIN;
}

/* Try once. Return true if the call is answered. */
static bool cache_lease_round(cache_call *call, flight_sub **sub, cellar_lease *lease)
{
    flight *f = NULL;
    const uint64_t id = *sub != NULL ? (*sub)->id : 0;
    if (cache_look_round(call)) { return true; }
    cache_acquired got = cache_acquire(call, FLIGHT_LEASE, false, *sub, &f);
    if (got == CACHE_LED) { got = cache_lease_asks(call, f); }
    if (got == CACHE_LED) { got = cache_lease_led(call, f, sub, lease); }
    if (got == CACHE_PENDING && id != 0) { /* the flight may have called it already */
        flight_lease ticket;
        flight_ticket_of(call->t, call->k.hash, id, &ticket);
        cache_lease_out(lease, &ticket);
        *sub = NULL;
    }
    return got != CACHE_AGAIN;
}

CELLAR_API cellar_err cellar_lease_acquire(cellar *c, const void *key, size_t key_len,
                                           const cellar_load_opts *o,
                                           const cellar_subscriber *waiter,
                                           cellar_lease *lease, cellar_result *out)
{
    const uint32_t banned = CELLAR_LOAD_BYPASS | CELLAR_LOAD_NO_JOIN | CELLAR_LOAD_NO_STORE;
    cache_call call;
    cache_load_plan plan;
    if (c == NULL || cache_key_bad(key, key_len) || lease == NULL || cache_result_bad(out) ||
        (waiter != NULL && waiter->fn == NULL)) {
        return cache_fail_key(c, "cellar_lease_acquire", key, key_len,
                              "lease, out and waiter->fn must not be NULL");
    }
    memset(lease, 0, sizeof *lease);
    if (cache_is_closed(c)) { return cache_closed(c); }
    const cellar_err err = cache_load_plan_make(c, o, &plan);
    if (err != CELLAR_OK) { return err; }
    if ((plan.flags & banned) != 0) {
        return cache_refuse(c,
                            "cellar_lease_acquire: BYPASS, NO_JOIN and NO_STORE are not allowed");
    }
    plan.breaker = base_load_acq(&c->breaker); /* one of the call may be destroyed before the end */
    cache_call_begin(&call, c, &plan, key, key_len);
    const cache_tier *t = cache_tier_of(c);
    call.asks = t != NULL && t->ask != NULL;
    if (!cache_call_enter(&call)) { return cache_closed(c); }
    flight_sub *sub = NULL;
    if (call.t != NULL && waiter != NULL) { sub = flight_sub_new(call.t, waiter->fn, waiter->ctx); }
    if (call.t == NULL || (waiter != NULL && sub == NULL)) {
        (void)cache_answer(&call, CELLAR_E_NOMEM, CELLAR_SOURCE_NONE);
    } else {
        while (!cache_lease_round(&call, &sub, lease)) {}
    }
    if (sub != NULL) { flight_sub_free(call.t, sub); }
    return cache_call_end(&call, out);
}

/* ---- end of a lease ---- */

typedef struct cache_claimed { /* a lease that this call ends */
    cache_load_plan now; /* present options of the namespace, if acquire kept none */
    cache_call call;
    struct cellar_load ld;
} cache_claimed;

/* Claim the lease, to end it like a load. Return its code. */
static cellar_err cache_claim(cellar *c, cellar_lease *lease, cache_claimed *m)
{
    const flight_lease l = { lease->opaque[0], lease->opaque[1] };
    if (!cache_load_begin(c)) { return cache_closed(c); }
    flight_table *t = base_load_sc(&c->store->flights);
    flight *f = t != NULL ? flight_claim(t, &l, c->id) : NULL;
    if (f == NULL) { /* perhaps a lease of another namespace: its holder keeps it */
        cache_load_end(c->store);
        return CELLAR_E_LEASE;
    }
    memset(lease, 0, sizeof *lease);
    const flight_bytes *kept = flight_kept(f);
    const cache_kept *k = kept != NULL ? (const cache_kept *)(const void *)kept->data : NULL;
    const bool given = k != NULL && k->p.given;
    if (!given) { (void)cache_load_plan_make(c, NULL, &m->now); } /* cannot be refused */
    cache_call_of(&m->call, c, given ? &k->p : &m->now, f);
    m->call.unsure = k != NULL && k->unsure;
    m->call.leased = k != NULL && k->leased;
    if (m->call.leased) { m->call.lease = k->lease; }
    m->call.now_ms = base_now_ms(&c->store->clock);
    m->call.cancel = base_cancel_off();
    cache_lead_begin(&m->ld, &m->call, f);
    const uint64_t note = flight_noted(f);
    /* set once, lives as long as the namespace */
    m->ld.breaker = note != 0 ? base_load_acq(&c->breaker) : NULL;
    m->ld.pass = (uint32_t)(note - 1);
    return CELLAR_OK;
}

/* Settle a failure with the fallbacks and the default value of acquire. */
static void cache_claim_fails(cache_claimed *m)
{
    cache_call *call = &m->call;
    const cellar_err look = cache_is_off(call->c) ? CELLAR_MISS : cache_look(call);
    call->old_current = look == CELLAR_OK || look == CELLAR_STALE;
    (void)cache_lead_settle(&m->ld);
}

static void cache_claim_end(cache_claimed *m)
{
    cache_call_forget(&m->call);
    flight_bytes_drop(m->call.value); /* fulfill and release return no value */
    cache_load_end(m->call.c->store);
    base_cancel_set(m->call.cancel);
}

/* Report the value like a loader, with the options of fulfill, then with those of acquire. */
static void cache_fulfil(struct cellar_load *ld, cache_plan *plan, const cellar_set_opts *o)
{
    const cache_load_plan *begun = ld->call->p;
    const bool none = plan->spec.kind == (uint8_t)L1_NEGATIVE;
    const bool own = o != NULL && (o->ttl_ms != 0 || (!none && o->ttl_class != 0));
    plan->now_ms = ld->call->now_ms;
    if (!own && begun->given) {
        plan->asked_ms = none ? begun->negative_ttl_ms : begun->ttl_ms;
        plan->ttl_ms = BASE_MIN(plan->asked_ms, plan->most_ms);
        if ((begun->own & (none ? CACHE_GIVEN_NEGATIVE : CACHE_GIVEN_TTL)) != 0) {
            plan->given |= CACHE_GIVEN_TTL;
        }
    }
    plan->given |= begun->own & (CACHE_GIVEN_STALE | CACHE_GIVEN_JITTER | CACHE_GIVEN_REFRESH);
    if (plan->ttl_ms != CELLAR_TTL_NONE && (o == NULL || o->jitter_pct == 0)) {
        plan->jitter_pct = begun->n[CACHE_JITTER_PCT];
        plan->jitter_mode = begun->n[CACHE_JITTER_MODE];
    }
    ld->given = plan;
    ld->ttl_ms = ld->negative_ttl_ms = plan->ttl_ms;
    ld->stale_ms = plan->spec.stale_ms;
    if (begun->given) { /* the plan has no stale window if only acquire sets a TTL */
        ld->stale_ms = o != NULL && o->stale_ms != 0 ? o->stale_ms : begun->stale_ms;
        plan->stale_ms = ld->stale_ms;
    }
    if (none && begun->n[CACHE_NO_NEGATIVE] != 0 && (o == NULL || o->ttl_ms == 0)) {
        ld->negative_ttl_ms = 0; /* reported, not kept */
    }
    ld->call->old_current = true; /* perhaps: an old value must not stay */
    ld->user_flags = plan->spec.user_flags;
    ld->tag_count = plan->spec.tag_count;
    if (ld->tag_count != 0) {
        memcpy(ld->fps, plan->spec.tag_fps, ld->tag_count * sizeof ld->fps[0]);
    }
}

CELLAR_API cellar_err cellar_lease_fulfill(cellar *c, cellar_lease *lease, const void *value,
                                           size_t value_len, const cellar_set_opts *o)
{
    const uint32_t banned = CELLAR_ONLY_IF_ABSENT | CELLAR_ONLY_IF_PRESENT |
                            CELLAR_ONLY_IF_VERSION | CELLAR_KEEP_TTL | CELLAR_DURABLE;
    cache_plan plan;
    cache_claimed m;
    if (c == NULL || lease == NULL || (value == NULL && value_len != 0)) {
        return cache_refuse(c, "cellar_lease_fulfill: c, lease and value must not be NULL");
    }
    if (cache_is_closed(c)) { return cache_closed(c); }
    cellar_err err = cache_plan_make(c, o, banned, &plan);
    if (err != CELLAR_OK) { return err; }
    const bool none = plan.spec.kind == (uint8_t)L1_NEGATIVE;
    if ((none && value_len != 0) || plan.version_out != NULL) {
        return cache_refuse(c, "cellar_lease_fulfill: a negative entry has no value, "
                               "and new_version must be NULL");
    }
    err = cache_claim(c, lease, &m);
    if (err != CELLAR_OK) { return err; }
    struct cellar_load *ld = &m.ld;
    if (none) {
        ld->r.said = CACHE_REPORTED_NONE;
    } else {
        (void)cellar_load_value(ld, value, value_len);
    }
    err = ld->r.setter_err;
    if (err == CELLAR_OK) {
        const bool off = cache_is_off(c);
        cache_fulfil(ld, &plan, o);
        const uint32_t flags = cache_lead_settle(ld);
        if ((flags & FLIGHT_NOT_STORED) != 0) { err = CELLAR_DROPPED; }
        if ((flags & FLIGHT_OVERTAKEN) != 0) { err = CELLAR_INVALIDATED; }
        if (off) { err = CELLAR_DISABLED; }
    } else { /* released with that code */
        (void)cache_fail(c, err, 0,
                         "cellar_lease_fulfill: value above max_value_bytes, or no memory");
        cache_claim_fails(&m);
    }
    cache_claim_end(&m);
    return err;
}

CELLAR_API cellar_err cellar_lease_release(cellar *c, cellar_lease *lease, int32_t loader_err)
{
    cache_claimed m;
    if (c == NULL || lease == NULL) {
        return cache_refuse(c, "cellar_lease_release: c and lease must not be NULL");
    }
    if (cache_is_closed(c)) { return cache_closed(c); }
    const cellar_err err = cache_claim(c, lease, &m);
    if (err != CELLAR_OK) { return err; }
    if (loader_err == 0) {
        cache_lead_report(&m.ld, CELLAR_E_CANCELLED);
        cache_shared_unlease(&m.call);
        flight_lead_end(m.ld.f);
        cache_flight_cancel(m.call.t, m.ld.f);
    } else {
        cache_lead_report(&m.ld, CELLAR_E_LOADER);
        m.ld.returned = (cellar_err)loader_err;
        cache_claim_fails(&m);
    }
    cache_claim_end(&m);
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
