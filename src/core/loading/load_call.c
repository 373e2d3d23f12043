/* SPDX-License-Identifier: MIT
 *
 * load_call: one call of a load: its begin, its flight, its answer and its end.
 *
 * PICTURE    LOOKS -> cache_enter -> LEADS: cache_release, cache_hand_over
 *                                 -> JOINED: cache_join -> ANSWERED, or LOOKS
 *                                 -> TAKEN: a subscription, or nothing
 * INVARIANTS `loading` counts the calls in here, so that the close of the store can wait for them.
 *            Each call adds to exactly one outcome of a get: hits and joined values are hits,
 *            "absent" is a negative hit, an own load and an error are misses.
 *            The outcome of a flight is the answer of its leader, unless the leader answers a
 *            failure with an older value. A waiter that times out does not load.
 *            A failure of another load is answered with the stale value, else by the own fallbacks,
 *            which the call runs as leader, else with the default value, else with the error.
 * LOCKING    No lock is held while code of the host runs or while the call waits.
 * COMPLETION The end of a flight wakes all its waiters; each continues by itself.
 * SEE ALSO   load_look.c (looks), load.c (the walk through the states). */
#include "base/user_callback.h"
#include "cache/error.h"
#include "cache/generation.h"
#include "cache/handle.h"
#include "cache/shared.h"
#include "cache/talk.h"
#include "cache/tier_request.h"
#include "loading/breaker_calls.h"
#include "loading/loading.h"

/* Release the lease of a tier that a lost lease has, also one of a dropped namespace. */
static void cache_lease_unlease(const cache_store *s, const flight *f)
{
    const cache_kept *k = cache_kept_of(f);
    const flight_key of = flight_key_of(f);
    const cellar_tier_key key = cache_shared_key(of.bytes, of.len, of.hash);
    const cache_shared *h = base_load_acq(&s->shared);
    while (h != NULL && h->id != f->namespace_id) { h = h->next; }
    if (h != NULL && k != NULL && k->leased) { h->t.unlease(h->t.ctx, &key, &k->lease); }
}

/* Release what a lost lease holds, and report its breaker pass. */
static void cache_lease_lost(void *ctx, const flight *f, bool expired)
{
    cache_generation_info info;
    const uint64_t note = flight_noted(f);
    cache_lease_unlease(ctx, f);
    if (note == 0 || !expired) { return; }
    cellar *namespace = cache_generation_namespace(ctx, f->generation, &info);
    if (namespace == NULL) { return; } /* dropped or forgotten, and its breaker with it */
    cellar_breaker *b = base_load_acq(&namespace->breaker);
    if (b != NULL) { cache_breaker_report(b, (uint32_t)(note - 1), BREAKER_FAILED); }
    cache_namespace_release(namespace);
}

/* Create the table. Threads create it in turn: a table of each of a thousand first callers would
 * not fit the budget. Making room evicts: listeners hear of it behind the turn. */
BASE_NOINLINE static flight_table *cache_flights_first(cache_store *s)
{
    const flight_config cfg = { &s->account, &s->clock, s->max_flights, s->max_waiters,
                                cache_lease_lost, s };
    const bool turns = base_thread_self()->depth == 0;
    if (turns) { sync_role_take(&s->flights_turn); }
    flight_table *t = base_load_sc(&s->flights);
    if (t == NULL) {
        t = flight_table_create(&cfg);
        /* Its small blocks do not make room themselves: make room for all of them here. */
        if (t == NULL && l1_make_room(s->l1, flight_table_bytes(&s->account))) {
            t = flight_table_create(&cfg);
        }
        /* The table exists before the second look of the first flight, like its count: a writer
         * that finds no table has opened its window before. */
        if (t != NULL) { (void)base_or_sc(&s->windows, CACHE_WINDOW_FLIGHTS); }
        if (t != NULL && !base_cas_sc(&s->flights, (flight_table *)NULL, t)) {
            flight_table_destroy(t);
            t = base_load_sc(&s->flights);
        }
    }
    if (turns) { sync_role_drop(&s->flights_turn); }
    return t;
}

CELLAR_PRIVATE flight_table *cache_flights(cache_store *s)
{
    flight_table *t = base_load_sc(&s->flights);
    return BASE_LIKELY(t != NULL) ? t : cache_flights_first(s);
}

/* ---- running calls ---- */

/* Return the counter of the calls of this thread in the store. NULL: not counted. The store keeps
 * its place until another one takes it, so it never has two. */
static uint32_t *cache_loads_here(const cache_store *s, bool begins)
{
    base_thread_record *self = base_thread_self();
    const unsigned places = self->index != 0 ? BASE_LOADS_MAX : 0;
    for (unsigned i = 0; i < places; i++) {
        if (self->loads[i].of == s) { return &self->loads[i].count; }
    }
    for (unsigned i = 0; begins && i < places; i++) {
        if (self->loads[i].count != 0) { continue; }
        self->loads[i].of = s;
        return &self->loads[i].count;
    }
    return NULL;
}

CELLAR_PRIVATE uint32_t cache_loads_mine(const cache_store *s)
{
    const uint32_t *mine = cache_loads_here(s, false);
    return mine != NULL ? *mine : 0;
}

CELLAR_PRIVATE bool cache_load_begin(cellar *c)
{
    uint32_t *mine = cache_loads_here(c->store, true);
    if (mine != NULL) { ++*mine; }
    (void)base_add_sc(&c->store->loading, 1u); /* store, then load: the call or the close sees
                                                * the other */
    if ((base_load_sc(&c->state) & CACHE_CLOSED) == 0) { return true; }
    cache_load_end(c->store);
    return false;
}

CELLAR_PRIVATE void cache_load_end(cache_store *s)
{
    uint32_t *mine = cache_loads_here(s, false);
    if (mine != NULL && *mine != 0) { --*mine; }
    (void)base_sub_ar(&s->loading, 1u); /* the store may be freed after this line */
}

/* ---- begin ---- */

CELLAR_PRIVATE void cache_call_begin(cache_call *call, cellar *c, const cache_load_plan *p,
                                     const void *key, size_t key_len)
{
    memset(call, 0, offsetof(cache_call, c)); /* and state LOOKS */
    call->c = c;
    call->p = p;
    call->key = key;
    call->deadline_ms = BASE_NEVER_MS;
    call->born_ms = -1;
    call->code = CELLAR_MISS;
    call->k = (l1_key){ .bytes = key, .len = (uint32_t)key_len }; /* hashed in cache_look_first */
}

CELLAR_PRIVATE void cache_call_of(cache_call *call, cellar *c, const cache_load_plan *p, flight *f)
{
    const flight_key k = flight_key_of(f);
    cache_call_begin(call, c, p, k.bytes, k.len);
    call->t = base_load_sc(&c->store->flights);
    call->k = (l1_key){ k.bytes, k.len, k.generation, k.hash };
    call->f = f;
    call->flags = call->asked = 0;
    call->state = CACHE_CALL_LEADS;
}

CELLAR_PRIVATE bool cache_call_enter(cache_call *call)
{
    if (!cache_load_begin(call->c)) { return false; }
    call->entered = true;
    call->cancel = base_cancel_off();
    call->t = cache_flights(call->c->store);
    if (call->t == NULL) { cache_answer(call, CELLAR_E_NOMEM, CELLAR_SOURCE_NONE); }
    return true;
}

CELLAR_PRIVATE void cache_call_forget(cache_call *call)
{
    flight_bytes_drop(call->old);
    call->old = NULL;
    call->old_current = false;
    call->early = false;
}

/* ---- answers ---- */

CELLAR_PRIVATE void cache_answer(cache_call *call, cellar_err code, uint32_t source)
{
    call->state = CACHE_CALL_ANSWERED;
    call->code = code;
    call->source = source;
}

CELLAR_PRIVATE void cache_answer_value(cache_call *call, flight_bytes *b, int64_t deadline_ms,
                                       uint32_t source)
{
    flight_bytes_drop(call->value);
    call->value = b;
    call->deadline_ms = deadline_ms;
    call->user_flags = b != NULL ? b->user_flags : 0;
    cache_answer(call, b != NULL ? CELLAR_OK : CELLAR_ABSENT, source);
}

CELLAR_PRIVATE void cache_answer_old(cache_call *call, uint32_t source)
{
    const bool early = call->early;
    cache_answer_value(call, flight_bytes_ref(call->old), call->found.expires_ms,
                       early ? (uint32_t)CELLAR_SOURCE_L1 : source);
    call->born_ms = call->found.born_ms;
    if (!early) { call->code = CELLAR_STALE; }
}

CELLAR_PRIVATE void cache_answer_failed(cache_call *call, cellar_err code)
{
    if (cache_has_stale(call)) {
        cache_answer_old(call, CELLAR_SOURCE_STALE_IF_ERROR);
    } else {
        cache_answer(call, code, CELLAR_SOURCE_NONE);
    }
}

CELLAR_PRIVATE void cache_answer_nested(cache_call *call, cellar_err code)
{
    cache_answer_failed(call, code);
    if (call->code != code) { return; } /* a stale value is the answer */
    (void)cache_fail(call->c, code, 0, code == CELLAR_E_DEPTH
                     ? "load: at most 16 loads run in each other, 1,000 with CELLAR_LOAD_RECURSE: "
                       "load fewer keys inside a loader"
                     : "load: this thread loads the key already, or the load of the key waits for "
                       "this thread: do not load it inside its loader, or set CELLAR_LOAD_RECURSE");
}

CELLAR_PRIVATE flight_bytes *cache_default_value(const cache_call *call)
{
    const cellar_bytes *from = call->p->default_value;
    if (from == NULL) { return NULL; }
    flight_bytes *value = flight_bytes_new(&call->c->store->hooks, from->len);
    if (value != NULL && from->len != 0) { memcpy(value->data, from->data, from->len); }
    return value;
}

CELLAR_PRIVATE void cache_answer_in_vain(cache_call *call, cellar_err err)
{
    flight_bytes *value = cache_has_stale(call) ? NULL : cache_default_value(call);
    if (value == NULL) {
        cache_answer_failed(call, err);
        return;
    }
    cache_answer_value(call, value, -1, CELLAR_SOURCE_DEFAULT);
    call->result_flags |= CELLAR_RESULT_NOT_STORED;
    stats_add(cache_mine(call->c), STATS_LOAD_INSTEAD, 1);
}

CELLAR_PRIVATE bool cache_failure_heard(cache_call *call, cellar_err err, uint32_t source,
                                        uint32_t asked)
{
    const uint32_t own = cache_fallbacks_of(call->p);
    if ((call->p->flags & CELLAR_LOAD_ONLY_IF_CACHED) != 0) { /* only a cached answer is wanted */
        cache_answer(call, err, source);
        return true;
    }
    if (own != 0 && own != asked && !cache_has_stale(call) &&
        flight_depth() < cache_depth_most(call->p)) {
        call->instead = true;
        call->failed = err;
        call->hold_ms = source == CELLAR_SOURCE_ERROR_ENTRY ? call->retry_at_ms : 0;
        return false;
    }
    cache_answer_in_vain(call, err);
    if (call->code == err) { call->source = source; }
    return true;
}

/* ---- the flight ---- */

CELLAR_PRIVATE flight_entry cache_enter(cache_call *call, flight_kind kind, bool join,
                                        flight_sub *sub)
{
    const bool side = (call->p->flags & (CELLAR_LOAD_BYPASS | CELLAR_LOAD_NO_JOIN)) != 0 ||
                      call->recurses;
    const flight_ask ask = {
        .key = { call->k.bytes, call->k.len, call->k.generation, call->k.hash },
        .namespace_id = call->c->id,
        .kind = kind == FLIGHT_CALL && side ? FLIGHT_SIDE : kind,
        .join = join,
        .only_join = call->only_join,
        .take_queued = kind != FLIGHT_JOB && call->old == NULL,
        .leader_retries = (uint8_t)call->p->n[CACHE_TAKEOVERS], /* <= 15: load_plan.c */
        .now_ms = call->now_ms,
        .hard_timeout_ms = call->p->ms[CACHE_HARD],
        .tag_born = base_load_acq(&call->c->store->tag_epoch),
        .sub = call->old == NULL ? sub : NULL,
    };
    call->tag_epoch = ask.tag_born;
    call->flags = call->asked = 0;
    call->order = 0;
    call->least = cache_tier_newest(cache_shared_of(call->c), call->k.hash);
    return flight_enter(call->t, &ask, &call->f);
}

CELLAR_PRIVATE void cache_release(cache_call *call, flight_phase how)
{
    const flight_outcome o = {
        .phase = how,
        .err = how == FLIGHT_FAILED ? call->failed : CELLAR_OK,
        .loader_err = call->loader_err,
        .flags = call->flags,
        .asked = call->asked,
        .retry_at_ms = call->retry_at_ms,
        .deadline_ms = call->deadline_ms,
        .load_us = call->load_us,
        .order = call->order,
        .value = how == FLIGHT_OK ? flight_bytes_ref(call->value) : NULL,
    };
    flight_end(call->t, call->f, &o);
    call->k.bytes = call->key; /* the copy of the flight may be freed */
}

CELLAR_PRIVATE void cache_hand_over(cache_call *call, cache_state next)
{
    flight_end(call->t, call->f, &FLIGHT_HANDS_OVER);
    call->k.bytes = call->key;
    call->state = next;
}

/* Answer with the outcome of a joined flight, unless the call has to look again. */
static void cache_take_outcome(cache_call *call, const flight_outcome *o, bool untagged)
{
    call->loader_err = o->loader_err;
    if ((o->flags & FLIGHT_TAGGED) != 0 && !untagged) { return; }
    if (o->order != 0 && o->order < call->least) { return; } /* a read had a newer one before */
    switch (o->phase) {
    case FLIGHT_OK:
    case FLIGHT_NONE:
        call->load_us = o->load_us;
        cache_answer_value(call, flight_bytes_ref(o->value), o->deadline_ms,
                           CELLAR_SOURCE_JOINED);
        break;
    case FLIGHT_FAILED:
        call->failures++;
        if ((o->flags & FLIGHT_FINAL) == 0 && !call->no_retry &&
            call->failures <= call->p->n[CACHE_HANDOVERS]) {
            return;
        }
        call->retry_at_ms = o->retry_at_ms;
        if (!cache_failure_heard(call, o->err, CELLAR_SOURCE_JOINED, o->asked)) { return; }
        break;
    case FLIGHT_QUEUED:
    case FLIGHT_LOADING:
    case FLIGHT_CANCELLED: call->losses++; return;
    }
    call->result_flags |= cache_result_flags(o->flags);
}

/* Return the end of the wait: soft_timeout_ms with a stale value, else wait_timeout_ms. */
CELLAR_PRIVATE int64_t cache_patience(cache_call *call)
{
    if (call->patience_ms == 0) {
        call->patience_ms = base_add_sat(call->now_ms, call->p->ms[CACHE_WAIT]);
    }
    if (call->old == NULL) { return call->patience_ms; }
    if (call->soft_at_ms == 0) {
        call->soft_at_ms = base_add_sat(call->now_ms, call->p->ms[CACHE_SOFT]);
    }
    return BASE_MIN(call->soft_at_ms, call->patience_ms);
}

/* Wait for the leader of a JOINED flight. A close of the store knows of the wait. */
static flight_waited cache_join_wait(cache_call *call, flight_outcome *o)
{
    _Atomic uint32_t *asleep = &call->c->store->asleep;
    (void)base_add_sc(asleep, 1u);
    const flight_waited how = flight_wait(call->t, call->f, cache_patience(call), o);
    (void)base_sub_ar(asleep, 1u);
    return how;
}

CELLAR_PRIVATE void cache_join(cache_call *call)
{
    flight_outcome o = { .phase = FLIGHT_QUEUED };
    const bool untagged = call->tag_epoch == flight_tag_born(call->f);
    const flight_waited how = cache_join_wait(call, &o);
    call->state = CACHE_CALL_LOOKS;
    call->now_ms = base_now_ms(&call->c->store->clock);
    switch (how) {
    case FLIGHT_DONE:
        cache_take_outcome(call, &o, untagged);
        flight_bytes_drop(o.value);
        break;
    case FLIGHT_LATE:
        stats_add(cache_mine(call->c), STATS_LOAD_TIMEOUT, 1);
        if (call->old != NULL) {
            cache_answer_old(call, CELLAR_SOURCE_STALE_SOFT_TIMEOUT);
        } else {
            cache_answer_in_vain(call, CELLAR_E_TIMEOUT);
        }
        break;
    case FLIGHT_HARD: call->losses++; break;
    case FLIGHT_CYCLE:
        call->recurses = (call->p->flags & CELLAR_LOAD_RECURSE) != 0 && !cache_has_stale(call);
        if (call->recurses) { break; }
        stats_add(cache_mine(call->c), STATS_LOAD_CYCLE, 1);
        cache_answer_nested(call, CELLAR_E_DEADLOCK);
        break;
    }
}

/* ---- the end ---- */

static void cache_out_value(cache_call *call, cellar_result *out)
{
    flight_bytes *b = call->value;
    out->value_len = b->len;
    if (b->len <= out->buf_cap && out->buf != NULL) {
        if (b->len != 0) { memcpy(out->buf, b->data, b->len); }
        out->value = out->buf;
        flight_bytes_drop(b);
    } else {
        out->value = b->data;
        out->opaque[0] = (uint64_t)(uintptr_t)b;
    }
    call->value = NULL;
}

/* Fill the result of the caller. */
static void cache_call_out(cache_call *call, cellar_result *out)
{
    cache_hit_out(out, 0);
    out->value = NULL;
    out->source = (cellar_source)call->source;
    out->flags = call->result_flags;
    out->loader_err = call->code == CELLAR_E_LOADER ? call->loader_err : 0;
    out->load_us = call->load_us;
    if (call->value != NULL) {
        out->user_flags = call->user_flags;
        out->ttl_left_ms = cache_left_ms(call->deadline_ms, call->now_ms);
        if (call->born_ms >= 0) { out->age_ms = BASE_MAX(call->now_ms - call->born_ms, 0); }
        if (call->source == CELLAR_SOURCE_L1) { out->version = call->found.version; }
        cache_out_value(call, out);
    }
    if ((call->code == CELLAR_STALE || call->code == CELLAR_E_LOADER) &&
        call->retry_at_ms > call->now_ms) {
        out->retry_after_ms = call->retry_at_ms - call->now_ms;
    }
}

static void cache_call_count(cache_call *call)
{
    stats_block *mine = cache_mine(call->c);
    const bool own = call->source == CELLAR_SOURCE_LOADED || call->source == CELLAR_SOURCE_NONE ||
                     call->source == CELLAR_SOURCE_FALLBACK ||
                     call->source == CELLAR_SOURCE_DEFAULT;
    stats_id id = STATS_MISS;
    switch ((int)call->code) {
    case CELLAR_OK: id = own ? STATS_MISS : STATS_HIT_L1; break;
    case CELLAR_STALE: id = STATS_STALE; break;
    case CELLAR_ABSENT: id = own ? STATS_MISS : STATS_NEGATIVE; break;
    default: break;
    }
    if (call->source == CELLAR_SOURCE_L2 && call->code == CELLAR_OK) { id = STATS_HIT_L2; }
    stats_add(mine, id, 1);
    if (call->k.hash != 0) { cache_hot_sample(call->c, base_thread_self(), &call->k); } /* 0: off */
    if (call->source == CELLAR_SOURCE_JOINED) { stats_add(mine, STATS_LOAD_JOINED, 1); }
    if (cache_talks(call->c)) {
        const bool loaded = id == STATS_MISS && call->code == CELLAR_OK;
        cache_read_tell(call->c, "load", &call->k, loaded ? CELLAR_MISS : call->code);
    }
}

CELLAR_PRIVATE cellar_err cache_call_end(cache_call *call, cellar_result *out)
{
    cache_call_count(call);
    cache_call_out(call, out);
    cache_call_forget(call);
    BASE_ASSERT(call->value == NULL);
    if (call->entered) { /* else an item of a bulk load */
        if (call->code == CELLAR_E_NOMEM) {
            (void)cache_fail(call->c, call->code, 0, "load: no memory for the call: raise "
                                                     "memory_bytes if it is full");
        }
        cache_load_end(call->c->store);
        base_cancel_set(call->cancel);
    }
    return call->code;
}
