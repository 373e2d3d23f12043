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
#include "cache/error.h"
#include "cache/generation.h"
#include "cache/handle.h"
#include "cache/lookup.h"
#include "cache/plan.h"
#include "cache/shared.h"
#include "cache/write_order.h"
#include "loading/breaker_calls.h"
#include "loading/load_shared.h"
#include "loading/loading.h"

static void cache_lease_out(cellar_lease *out, const flight_lease *l)
{
    out->opaque[0] = l->id;
    out->opaque[1] = l->check;
}

#define CACHE_LEASE_BANNED (CELLAR_LOAD_BYPASS | CELLAR_LOAD_NO_JOIN | CELLAR_LOAD_NO_STORE)

/* ---- acquire ---- */

/* Keep the plan of the call in its flight, without what only acquire needs. Return false if no
 * memory is left. */
static bool cache_keep(const cache_call *call)
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
    flight_keep(call->f, b);
    return true;
}

/* Give the lease to a call that LEADS: ANSWERED, or LOOKS if the flight was taken over. */
static void cache_lease_led(cache_call *call, flight_sub **sub, cellar_lease *lease)
{
    flight_lease l;
    call->k.bytes = call->key; /* the copy of the flight may be freed before the call ends */
    if (cache_is_closed(call->c)) { /* dropped: the drop may have missed this lease */
        cache_shared_unlease(call);
        cache_hand_over(call, CACHE_CALL_ANSWERED);
        cache_answer(call, CELLAR_E_CLOSED, CELLAR_SOURCE_NONE);
        return;
    }
    cellar_breaker *const b = call->p->breaker;
    uint32_t pass = 0;
    /* answer with fallbacks: the breaker is open, or a failure is remembered */
    if (call->instead || (b != NULL && !cache_breaker_admit(b, &pass))) {
        struct cellar_load ld;
        if (*sub != NULL) { flight_sub_free(call->t, *sub); } /* the thread may end in a fallback */
        *sub = NULL;
        cache_lead_begin(&ld, call);
        ld.refused = true;
        (void)cache_lead_settle(&ld);
        return;
    }
    flight_note(call->f, b != NULL ? (uint64_t)pass + 1 : 0);
    const bool kept = (!call->p->given && !call->leased && !call->unsure) || cache_keep(call);
    if (kept && flight_lease_open(call->t, call->f, &l)) {
        call->leased = false; /* the flight keeps it */
        cache_lease_out(lease, &l);
        if (cache_has_stale(call)) {
            cache_answer_old(call, CELLAR_SOURCE_STALE_REVALIDATE);
        } else {
            cache_answer(call, CELLAR_LEASED, CELLAR_SOURCE_NONE);
        }
        return;
    }
    cache_shared_unlease(call);
    if (kept) {
        flight_unref(call->t, call->f);
        call->state = CACHE_CALL_LOOKS;
    } else {
        cache_hand_over(call, CACHE_CALL_ANSWERED);
        cache_answer_failed(call, CELLAR_E_NOMEM);
    }
    if (b != NULL) { cache_breaker_report(b, pass, BREAKER_SAID_NOTHING); }
}

/* Let the tier answer later: it holds the lease then, and the call LOOKS again to subscribe. If the
 * tier does not, the call still LEADS. */
static void cache_lease_asks(cache_call *call)
{
    cellar *c = call->c;
    const cache_shared *t = cache_shared_of(c), *h = cache_shared_leases(call);
    const bool leases = h != NULL && h->leases != NULL;
    cellar_tier_ticket ticket = { .generation = call->k.generation,
                                 .born = base_load_acq(&c->store->tag_epoch) };
    flight_lease l;
    if (call->asks) { call->unsure = false; }
    if (!call->asks || t == NULL || !cache_asks_tier(call) || cache_is_off(c) ||
        cache_is_closed(c) || (leases && cache_tier_lease_take(call))) {
        return;
    }
    if (!cache_tier_watch(c->store, call->k.hash, &ticket.changes, &ticket.globs)) {
        call->unsure = true; /* the change may reach the tier behind the load */
        return;
    }
    if (cache_missed_take(c->store, call->k.hash, cache_missed_seen(&ticket, c->proof_stale),
                          &call->unsure)) {
        return;
    }
    flight *f = call->f;
    flight_note(f, 0);
    call->state = CACHE_CALL_LOOKS;
    if (!flight_lease_open(call->t, f, &l)) {
        flight_unref(call->t, f);
        return;
    }
    ticket.id = l.id;
    ticket.check = l.check;
    call->k.bytes = call->key; /* the answer may end the flight */
    const bool asked = leases ? cache_tier_lease_ask(h, &call->k, call->p->ms[CACHE_HARD], &ticket)
                              : cache_shared_ask(t, &call->k, &ticket);
    if (!asked && flight_claim(call->t, &l, c->id) == f) { call->state = CACHE_CALL_LEADS; }
}

/* Try once: ANSWERED, or LOOKS. */
static void cache_lease_round(cache_call *call, flight_sub **sub, cellar_lease *lease)
{
    const uint64_t id = *sub != NULL ? (*sub)->id : 0;
    cache_look_first(call);
    if (call->state == CACHE_CALL_ANSWERED) { return; }
    const flight_entry entry = cache_acquire(call, FLIGHT_LEASE, false, *sub);
    if (call->state == CACHE_CALL_LEADS) { cache_lease_asks(call); }
    if (call->state == CACHE_CALL_LEADS) { cache_lease_led(call, sub, lease); }
    if (entry == FLIGHT_TAKEN && call->code == CELLAR_PENDING && id != 0) {
        flight_lease ticket; /* the flight may have called it already */
        flight_ticket_of(call->t, call->k.hash, id, &ticket);
        cache_lease_out(lease, &ticket);
        *sub = NULL;
    }
}

static const char *const cache_lease_calls[] = { "cellar_lease_acquire",
                                                 "cellar_object_lease_acquire" };

CELLAR_PRIVATE cellar_err cache_lease_begin(cellar *c, const void *key, size_t key_len,
                                            const cellar_load_opts *o,
                                            const cellar_subscriber *waiter, cellar_lease *lease,
                                            cellar_result *out)
{
    cache_call call;
    cache_load_plan plan;
    const cellar_err err = cache_load_plan_make(c, o, cache_lease_calls, &plan);
    if (err != CELLAR_OK) { return err; }
    plan.flags &= ~CELLAR_LOAD_RECURSE;
    if ((plan.flags & CACHE_LEASE_BANNED) != 0) {
        static const cache_broken flags = {
            .rule = "BYPASS, NO_JOIN and NO_STORE are not allowed" };
        return cache_fail_broken(c, CELLAR_E_INVAL, cache_call_name(c, cache_lease_calls), &flags);
    }
    plan.breaker = base_load_acq(&c->breaker); /* one of the call may be destroyed before the end */
    cache_call_begin(&call, c, &plan, key, key_len);
    const cache_shared *t = cache_shared_of(c);
    call.asks = t != NULL && t->t.ask != NULL;
    if (!cache_call_enter(&call)) {
        return cache_closed(c, cache_call_name(c, cache_lease_calls));
    }
    flight_sub *sub = NULL;
    if (call.t != NULL && waiter != NULL) { sub = flight_sub_new(call.t, waiter->fn, waiter->ctx); }
    if (call.t == NULL || (waiter != NULL && sub == NULL)) {
        cache_answer(&call, CELLAR_E_NOMEM, CELLAR_SOURCE_NONE);
    }
    while (call.state != CACHE_CALL_ANSWERED) { cache_lease_round(&call, &sub, lease); }
    if (sub != NULL) { flight_sub_free(call.t, sub); }
    return cache_call_end(&call, out);
}

CELLAR_API cellar_err cellar_lease_acquire(cellar *c, const void *key, size_t key_len,
                                           const cellar_load_opts *o,
                                           const cellar_subscriber *subscriber,
                                           cellar_lease *lease, cellar_result *out)
{
    if (c == NULL || cache_key_bad(key, key_len) || lease == NULL || cache_result_bad(out) ||
        (subscriber != NULL && subscriber->fn == NULL)) {
        return cache_fail_key(c, "cellar_lease_acquire", key, key_len,
                              "lease, out and subscriber->fn must not be NULL");
    }
    memset(lease, 0, sizeof *lease);
    if (cache_hits_plainly(c) && cache_load_opts_are_easy(c, o) &&
        (o == NULL || (o->flags & CACHE_LEASE_BANNED) == 0) &&
        cache_hit_known(c, key, key_len, out)) {
        return CELLAR_OK;
    }
    if (cache_no_bytes(c)) { return cache_closed(c, __func__); }
    return cache_lease_begin(c, key, key_len, o, subscriber, lease, out);
}

/* ---- end of a lease ---- */

typedef struct cache_claimed { /* a lease that this call ends */
    cache_load_plan now; /* present options of the namespace, if acquire kept none */
    cache_call call;
    struct cellar_load ld;
} cache_claimed;

/* Refuse a lease that this namespace does not have. */
static cellar_err cache_no_lease(cellar *c, const char *call)
{
    static const cache_broken none = {
        .rule = "no such lease of this namespace: it was used, or hard_timeout_ms passed" };
    return cache_fail_broken(c, CELLAR_E_LEASE, call, &none);
}

/* Claim the lease, to end it like a load. Return its code. */
static cellar_err cache_claim(cellar *c, cellar_lease *lease, const char *api, cache_claimed *m)
{
    const flight_lease l = { lease->opaque[0], lease->opaque[1] };
    if (!cache_load_begin(c)) { return cache_closed(c, api); }
    flight_table *t = base_load_sc(&c->store->flights);
    flight *f = t != NULL ? flight_claim(t, &l, c->id) : NULL;
    if (f == NULL) { /* perhaps a lease of another namespace: its holder keeps it */
        cache_load_end(c->store);
        return cache_no_lease(c, api);
    }
    memset(lease, 0, sizeof *lease);
    const cache_kept *k = cache_kept_of(f);
    const bool given = k != NULL && k->p.given;
    if (!given) { (void)cache_load_plan_make(c, NULL, NULL, &m->now); } /* cannot be refused */
    cache_call_of(&m->call, c, given ? &k->p : &m->now, f);
    m->call.unsure = k != NULL && k->unsure;
    m->call.leased = k != NULL && k->leased;
    if (m->call.leased) { m->call.lease = k->lease; }
    m->call.now_ms = base_now_ms(&c->store->clock);
    m->call.cancel = base_cancel_off();
    cache_lead_begin(&m->ld, &m->call);
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

/* Report the value like a loader, with the options of fulfill, then with those of acquire. o: of
 * the size of this library. */
static void cache_fulfil(struct cellar_load *ld, cache_plan *plan, const cellar_set_opts *o)
{
    const cache_load_plan *begun = ld->call->p;
    const bool none = plan->spec.kind == (uint8_t)L1_NEGATIVE;
    const bool own = o->ttl_ms != 0 || (!none && o->ttl_class != 0);
    const bool stale = (plan->given & CACHE_GIVEN_STALE) != 0;
    plan->now_ms = ld->call->now_ms;
    if (!own && begun->given) {
        plan->asked_ms = none ? begun->negative_ttl_ms : begun->ttl_ms;
        plan->ttl_ms = BASE_MIN(plan->asked_ms, plan->most_ms);
        if ((begun->own & (none ? CACHE_GIVEN_NEGATIVE : CACHE_GIVEN_TTL)) != 0) {
            plan->given |= CACHE_GIVEN_TTL;
        }
    }
    plan->given |= begun->own & (CACHE_GIVEN_STALE | CACHE_GIVEN_JITTER | CACHE_GIVEN_REFRESH);
    if (!none && o->jitter_pct == 0) {
        plan->jitter_pct = begun->n[CACHE_JITTER_PCT];
        plan->jitter_mode = begun->n[CACHE_JITTER_MODE];
    }
    ld->given = plan;
    ld->opts.ttl_ms = ld->opts.negative_ttl_ms = plan->ttl_ms;
    ld->opts.stale_ms = plan->spec.stale_ms;
    if (begun->given) { /* the plan has no stale window if only acquire sets a TTL */
        ld->opts.stale_ms = stale ? plan->stale_ms : begun->stale_ms;
        plan->stale_ms = ld->opts.stale_ms;
    }
    if (none && begun->n[CACHE_NO_NEGATIVE] != 0 && o->ttl_ms == 0) {
        ld->opts.negative_ttl_ms = 0; /* reported, not kept */
    }
    ld->call->old_current = true; /* perhaps: an old value must not stay */
    ld->opts.user_flags = plan->spec.user_flags;
    ld->opts.weight_bytes = plan->spec.charge;
    ld->opts.tag_count = plan->spec.tag_count;
    if (ld->opts.tag_count != 0) {
        memcpy(ld->opts.fps, plan->spec.tag_fps, ld->opts.tag_count * sizeof ld->opts.fps[0]);
    }
}

CELLAR_PRIVATE cellar_err cache_lease_end(cellar *c, cellar_lease *lease, const void *value,
                                          size_t value_len, flight_bytes **object,
                                          cellar_err failed, const cellar_set_opts *o)
{
    const bool of_object = object != NULL || failed != CELLAR_OK;
    const char *const api = of_object ? "cellar_object_lease_fulfill" : "cellar_lease_fulfill";
    const uint32_t banned = (of_object ? CACHE_FOR_OBJECT_FULFILL : CACHE_FOR_FULFILL) |
                            CELLAR_ONLY_IF_ABSENT | CELLAR_ONLY_IF_PRESENT |
                            CELLAR_ONLY_IF_VERSION | CELLAR_KEEP_TTL | CELLAR_DURABLE;
    static const cache_broken none_or_version = {
        .rule = "a negative entry has no value, and new_version must be NULL" };
    cache_plan plan;
    cache_claimed m;
    cellar_set_opts full = cellar_set_opts_default();
    cellar_err err = cache_plan_make(c, o, banned, &plan);
    if (err != CELLAR_OK) { return err; }
    if (o != NULL) { (void)base_opts_in(&full, sizeof full, o); } /* checked by the plan */
    const bool none = plan.spec.kind == (uint8_t)L1_NEGATIVE;
    if ((none && value_len != 0) || plan.version_out != NULL) {
        return cache_fail_broken(c, CELLAR_E_INVAL, api, &none_or_version);
    }
    err = cache_claim(c, lease, api, &m);
    if (err != CELLAR_OK) { return err; }
    struct cellar_load *ld = &m.ld;
    if (none) {
        ld->r.said = CACHE_REPORTED_NONE;
    } else if (failed != CELLAR_OK) {
        ld->r.setter_err = failed;
    } else if (object != NULL) {
        ld->r.said = CACHE_REPORTED_VALUE;
        ld->r.value = *object;
        *object = NULL;
    } else {
        (void)cellar_load_value(ld, value, value_len);
    }
    err = ld->r.setter_err;
    if (err == CELLAR_OK) {
        const bool off = cache_is_off(c);
        cache_fulfil(ld, &plan, &full);
        const uint32_t flags = cache_lead_settle(ld);
        if ((flags & FLIGHT_NOT_STORED) != 0) { err = CELLAR_DROPPED; }
        if ((flags & FLIGHT_OVERTAKEN) != 0) { err = CELLAR_INVALIDATED; }
        if (off) { err = CELLAR_DISABLED; }
    } else { /* released with that code */
        (void)(err == CELLAR_E_TOOBIG
                   ? cache_fail_long(c, "cellar_lease_fulfill", value_len)
                   : cache_fail(c, err, 0, "cellar_lease_fulfill: no memory for the value"));
        cache_claim_fails(&m);
    }
    cache_claim_end(&m);
    return err;
}

CELLAR_API cellar_err cellar_lease_fulfill(cellar *c, cellar_lease *lease, const void *value,
                                           size_t value_len, const cellar_set_opts *o)
{
    if (c == NULL || lease == NULL || (value == NULL && value_len != 0)) {
        return cache_refuse(c, "cellar_lease_fulfill: c, lease and value must not be NULL");
    }
    if (cache_no_bytes(c) && (cache_is_closed(c) || !cache_is_negative(o))) {
        return cache_closed(c, __func__);
    }
    return cache_lease_end(c, lease, value, value_len, NULL, CELLAR_OK, o);
}

CELLAR_API cellar_err cellar_lease_release(cellar *c, cellar_lease *lease, int32_t loader_err)
{
    cache_claimed m;
    if (c == NULL || lease == NULL) {
        return cache_refuse(c, "cellar_lease_release: c and lease must not be NULL");
    }
    if (cache_is_closed(c)) { return cache_closed(c, __func__); }
    const cellar_err err = cache_claim(c, lease, __func__, &m);
    if (err != CELLAR_OK) { return err; }
    if (loader_err == 0) {
        cache_lead_report(&m.ld, CELLAR_E_CANCELLED);
        cache_shared_unlease(&m.call);
        flight_lead_end(m.call.f);
        cache_hand_over(&m.call, CACHE_CALL_ANSWERED);
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
    if (cache_is_closed(c)) { return cache_closed(c, __func__); }
    const flight_lease l = { ticket->opaque[0], ticket->opaque[1] };
    if (!cache_load_begin(c)) { return cache_closed(c, __func__); }
    flight_table *t = base_load_sc(&c->store->flights);
    const bool found = t != NULL && flight_withdraw(t, &l);
    if (found) { memset(ticket, 0, sizeof *ticket); }
    cache_load_end(c->store);
    return found ? CELLAR_OK : CELLAR_E_LEASE; /* no mistake: fn was or will be called */
}

/* ---- leases that a tier holds ---- */

/* End the flight that the tier held with its answer. An entry is stored unless its key changed
 * since the request; without one the subscribers acquire again, and one gets the lease. */
static void cache_tier_settle(cellar *c, flight *f, const cellar_tier_ticket *ticket,
                              cellar_err err, const void *value, size_t value_len,
                              const cache_found *found)
{
    cache_store *s = c->store;
    cache_call call;
    flight_bytes *b = NULL;
    cache_found m = *found;
    cache_call_of(&call, c, NULL, f);
    const bool there = (err == CELLAR_OK || err == CELLAR_ABSENT) &&
                       !base_clock_reached(&s->clock, m.e.deadline_ms);
    if (!there) {
        cache_missed_note(s, call.k.hash, cache_missed_seen(ticket, c->proof_stale),
                          cache_shared_unsure(err));
    } else if (err == CELLAR_OK) {
        b = flight_bytes_new(&s->hooks, value_len);
    } else {
        value_len = 0;
        m.e.kind = (uint8_t)L1_NEGATIVE;
    }
    if (!there || (err == CELLAR_OK && b == NULL) ||
        cache_tier_keep(c, &call.k, value, value_len, &m, ticket->changes, ticket->globs) ==
            CELLAR_INVALIDATED) {
        flight_bytes_drop(b);
        cache_hand_over(&call, CACHE_CALL_ANSWERED);
        return;
    }
    if (value_len != 0) { memcpy(b->data, value, value_len); }
    const flight_phase how = cache_tier_found(&call, &m, b);
    call.deadline_ms = m.e.deadline_ms;
    cache_release(&call, how);
    flight_bytes_drop(call.value);
}

CELLAR_PRIVATE void cache_tier_answered(cache_store *s, const cellar_tier_ticket *ticket,
                                        const void *key, size_t len, cellar_err err,
                                        const void *value, size_t value_len,
                                        const cache_found *found)
{
    cache_generation_info info;
    const flight_lease l = { ticket->id, ticket->check };
    cellar *c = cache_key_bad(key, len) ? NULL
                                        : cache_generation_namespace(s, ticket->generation, &info);
    if (c == NULL) { return; }
    const bool begun = cache_load_begin(c);
    flight_table *t = begun ? base_load_sc(&s->flights) : NULL;
    flight *f = t != NULL ? flight_claim(t, &l, c->id) : NULL;
    if (f != NULL) { cache_tier_settle(c, f, ticket, err, value, value_len, found); }
    if (begun) { cache_load_end(s); }
    cache_namespace_release(c);
}
