/* SPDX-License-Identifier: MIT
 *
 * load_call: one call of a load: its begin, its answer and its end.
 *
 * INVARIANTS `loading` counts the calls in here, so that the close of the store can wait for them.
 *            Each call adds to exactly one outcome of a get: hits and joined values are hits,
 *            "absent" is a negative hit, an own load and an error are misses.
 * LOCKING    No lock is held while code of the host runs or while the call waits.
 * SEE ALSO   load_look.c (looks), load.c (rounds of a call). */
#include "base/user_callback.h"
#include "loading/load_call.h"

#include "cache/call.h"
#include "cache/error.h"
#include "cache/generation.h"
#include "cache/handle.h"
#include "cache/load_types.h"
#include "cache/lookup.h"
#include "cache/talk.h"
#include "loading/breaker_calls.h"

/* Report the breaker pass of a lost lease. */
static void cache_lease_lost(void *ctx, uint32_t generation, uint64_t note)
{
    cache_generation_info info;
    if (note == 0) { return; }
    cellar *namespace = cache_generation_namespace(ctx, generation, &info);
    if (namespace == NULL) { return; } /* dropped or forgotten, and its breaker with it */
    cellar_breaker *b = base_load_acq(&namespace->breaker);
    if (b != NULL) { cache_breaker_report(b, (uint32_t)(note - 1), BREAKER_FAILED); }
    cache_namespace_release(namespace);
}

CELLAR_PRIVATE flight_table *cache_flights(cache_store *s)
{
    flight_table *t = base_load_sc(&s->flights);
    if (BASE_LIKELY(t != NULL)) { return t; }
    const flight_config cfg = { &s->account, &s->clock, s->max_flights, s->max_waiters,
                                cache_lease_lost, s };
    /* Threads create the table in turn: a table of each of a thousand first callers would not fit
     * the budget. No lock is held: making room may call a listener, which may load, too. */
    const bool turns = base_thread_self()->depth == 0;
    while (turns && !base_cas_ar(&s->flights_turn, 0u, 1u)) {
        (void)sync_wait(&s->flights_turn, 1u, UINT64_MAX);
    }
    t = base_load_sc(&s->flights);
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
    if (turns) {
        base_store_rel(&s->flights_turn, 0u);
        sync_wake(&s->flights_turn, INT32_MAX);
    }
    return t;
}

/* Return the counter of the calls of this thread in the store. NULL: not counted. */
static uint32_t *cache_loads_here(const cache_store *s, bool begins)
{
    base_thread_record *self = base_thread_self();
    uint32_t *room = NULL;
    for (unsigned i = 0; self->index != 0 && i < BASE_LOADS_MAX; i++) {
        if (self->loads[i].count == 0) {
            if (begins && room == NULL) {
                self->loads[i].of = s;
                room = &self->loads[i].count;
            }
        } else if (self->loads[i].of == s) {
            return &self->loads[i].count;
        }
    }
    return room;
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
    if (mine != NULL) { --*mine; }
    if (BASE_LIKELY(!s->forked)) {
        (void)base_sub_ar(&s->loading, 1u); /* the store may be freed after this line */
        return;
    }
    /* A call that began in the parent and is not counted for this thread is not in `loading`. */
    uint32_t n = base_load_rlx(&s->loading);
    while (n != 0 && !base_cas_ar(&s->loading, n, n - 1)) { n = base_load_rlx(&s->loading); }
}

CELLAR_PRIVATE void cache_call_begin(cache_call *call, cellar *c, const cache_load_plan *p,
                                     const void *key, size_t key_len)
{
    memset(call, 0, sizeof *call);
    call->c = c;
    call->p = p;
    call->key = key;
    call->deadline_ms = BASE_NEVER_MS;
    call->born_ms = -1;
    call->code = CELLAR_MISS;
    call->k = (l1_key){ .bytes = key, .len = (uint32_t)key_len }; /* hashed in cache_look_round */
}

CELLAR_PRIVATE void cache_call_forget(cache_call *call)
{
    flight_bytes_drop(call->old);
    call->old = NULL;
    call->old_current = false;
    call->early = false;
}

/* ---- answer ---- */

CELLAR_PRIVATE cellar_err cache_answer(cache_call *call, cellar_err code, uint32_t source)
{
    call->code = code;
    call->source = source;
    return code;
}

CELLAR_PRIVATE void cache_answer_old(cache_call *call, uint32_t source)
{
    flight_bytes_drop(call->value);
    call->value = flight_bytes_ref(call->old);
    call->user_flags = call->found.user_flags;
    call->deadline_ms = call->found.expires_ms;
    call->born_ms = call->found.born_ms;
    (void)cache_answer(call, call->early ? CELLAR_OK : CELLAR_STALE,
                       call->early ? (uint32_t)CELLAR_SOURCE_L1 : source);
}

CELLAR_PRIVATE cellar_err cache_answer_failed(cache_call *call, cellar_err code)
{
    if (call->old == NULL || (call->p->flags & CELLAR_LOAD_REFRESH) != 0) {
        return cache_answer(call, code, CELLAR_SOURCE_NONE);
    }
    cache_answer_old(call, CELLAR_SOURCE_STALE_IF_ERROR);
    return call->code;
}

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

CELLAR_PRIVATE bool cache_call_enter(cache_call *call)
{
    if (!cache_load_begin(call->c)) { return false; }
    call->entered = true;
    call->cancel = base_cancel_off();
    call->t = cache_flights(call->c->store);
    if (call->t == NULL) { (void)cache_answer(call, CELLAR_E_NOMEM, CELLAR_SOURCE_NONE); }
    return true;
}

/* Fill the result of the caller. */
static void cache_call_out(cache_call *call, cellar_result *out)
{
    out->value = NULL;
    out->value_len = 0;
    out->opaque[0] = 0;
    out->source = (cellar_source)call->source;
    out->flags = call->result_flags;
    out->user_flags = 0;
    out->loader_err = call->code == CELLAR_E_LOADER ? call->loader_err : 0;
    out->age_ms = out->ttl_left_ms = -1;
    out->retry_after_ms = 0;
    out->version = 0;
    out->load_us = call->load_us;
    const bool has = call->code == CELLAR_OK || call->code == CELLAR_STALE;
    if (has) {
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

CELLAR_PRIVATE void cache_call_of(cache_call *call, cellar *c, const cache_load_plan *p, flight *f)
{
    const flight_key k = flight_key_of(f);
    cache_call_begin(call, c, p, k.bytes, k.len);
    call->t = base_load_sc(&c->store->flights);
    call->k = (l1_key){ k.bytes, k.len, k.generation, k.hash };
}

CELLAR_PRIVATE cellar_err cache_call_end(cache_call *call, cellar_result *out)
{
    cache_call_count(call);
    cache_call_out(call, out);
    cache_call_forget(call);
    BASE_ASSERT(call->value == NULL);
    if (call->entered) { /* else an item of a bulk load */
        if (call->code == CELLAR_E_NOMEM) {
            (void)cache_fail(call->c, call->code, 0, "load: no memory");
        }
        cache_load_end(call->c->store);
        base_cancel_set(call->cancel);
    }
    return call->code;
}

/* size of the first cellar_result, version 0.2 */
#define CACHE_RESULT_BYTES_LEAST (offsetof(cellar_result, opaque) + 4 * sizeof(uint64_t))

CELLAR_PRIVATE bool cache_result_bad(const cellar_result *out)
{
    return out == NULL || out->struct_size < CACHE_RESULT_BYTES_LEAST ||
           out->struct_size > BASE_OPTS_BYTES_MAX || (out->buf == NULL && out->buf_cap != 0);
}
