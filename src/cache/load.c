/* SPDX-License-Identifier: MIT
 *
 * load: read through the cache: look, wait, answer.
 *
 * PICTURE    look at L1 -> fresh, negative, or remembered error: answer
 *                       -> stale or early refresh: queue it (refresh.c), answer with this value
 *                       -> nothing: flight_enter -> LED: load_leader.c
 *                                                -> JOINED: wait -> its outcome, or look again
 * INVARIANTS Each call adds to exactly one outcome of a get: hits and joined values are hits,
 *            "absent" is a negative hit, an own load and an error are misses.
 *            A call answers with a value that was current between its begin and its end. After a
 *            failure or inside a stale window it may answer with an older value, marked STALE.
 * LOCKING    No lock is held while code of the host runs or while the call waits. `loading` counts
 *            the calls in here, so that the close of the store can wait for them.
 * COMPLETION The end of a flight wakes all its waiters; each continues by itself. A waiter that
 *            times out does not load.
 * WALK       cellar_get_or_load -> plain hit inline -> cache_load_call -> rounds of look, enter,
 *            lead or join. A new round begins if the joined flight was cancelled, or failed and may
 *            be retried.
 * LIMITS     16 nested loads; waiters and flights as configured.
 * SEE ALSO   load_leader.c, loader_api.c, load_plan.c (options), refresh.c (background),
 *            load_bulk.c, lease.c. */
#include "cache/load_int.h"

#define CACHE_LOOK_TRY 512u /* bytes tried on the stack before memory is allocated */

CELLAR_PRIVATE flight_table *cache_flights(cache_store *s)
{
    flight_table *t = base_load_sc(&s->flights);
    if (BASE_LIKELY(t != NULL)) { return t; }
    const flight_config cfg = { &s->account, &s->clock, s->max_flights, s->max_waiters,
                                &s->loading, cache_run_drop, cache_lease_lost, s };
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
    cache_load_end(c);
    return false;
}

CELLAR_PRIVATE void cache_load_end(cellar *c)
{
    cache_store *s = c->store;
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

CELLAR_PRIVATE void cache_call_begin(cache_call *call, cellar *c, const void *key, size_t key_len)
{
    memset(call, 0, sizeof *call);
    call->c = c;
    call->deadline_ms = BASE_NEVER_MS;
    call->born_ms = -1;
    call->code = CELLAR_MISS;
    cache_key(c, &call->k, key, key_len);
}

/* ---- look ---- */

/* Read the entry with its bytes. With OK and STALE the caller owns *out. */
static cellar_err cache_look_bytes(cache_call *call, flight_bytes **out)
{
    cellar *c = call->c;
    const base_alloc_hooks *hooks = &c->store->hooks;
    unsigned char small[CACHE_LOOK_TRY];
    const unsigned flags = L1_STALE_OK | L1_SEE_ERRORS;
    flight_bytes *b = NULL;
    l1_info *info = &call->found;
    cellar_err err = l1_inspect(c->l1, &call->k, small, sizeof small, info, flags);
    while (err == CELLAR_E_BUFFER) { /* the value may change between two looks */
        flight_bytes_drop(b);
        b = flight_bytes_new(hooks, info->value_len);
        if (b == NULL) { return CELLAR_E_NOMEM; }
        err = l1_inspect(c->l1, &call->k, b->data, b->len, info, flags);
    }
    if (err != CELLAR_OK && err != CELLAR_STALE) {
        flight_bytes_drop(b);
        return err;
    }
    if (b == NULL) {
        b = flight_bytes_new(hooks, info->value_len);
        if (b == NULL) { return CELLAR_E_NOMEM; }
        if (info->value_len != 0) { memcpy(b->data, small, info->value_len); }
    }
    b->len = info->value_len;
    b->user_flags = info->user_flags;
    *out = b;
    return err;
}

/* Return retry_at of an entry. An error stores signed milliseconds from its end. A value may end
 * any time or never: it stores both words of the absolute time. */
static int64_t cache_retry_at(const l1_info *info)
{
    if (info->kind == (uint8_t)L1_VALUE) {
        return (int64_t)((uint64_t)info->loader_code << 32 | info->retry_at);
    }
    if (info->retry_at == 0 || info->expires_ms == BASE_NEVER_MS) { return 0; }
    return base_add_sat(info->expires_ms, (int64_t)(int32_t)info->retry_at);
}

CELLAR_PRIVATE void cache_call_forget(cache_call *call)
{
    flight_bytes_drop(call->old);
    call->old = NULL;
    call->old_current = false;
    call->early = false;
}

CELLAR_PRIVATE cellar_err cache_look(cache_call *call)
{
    flight_bytes *b = NULL;
    base_thread_record *const self = base_thread_self();
    self->tags_read = 0;
    const cellar_err err = cache_look_bytes(call, &b);
    call->tag_born = self->tags_read;
    call->now_ms = base_now_ms(&call->c->store->clock);
    call->fails = 0;
    if (err == CELLAR_OK || err == CELLAR_STALE) {
        flight_bytes_drop(call->old);
        call->old = b;
        call->old_born = call->tag_born;
        call->early = err == CELLAR_OK;
        call->retry_at_ms = cache_retry_at(&call->found);
        return err;
    }
    if (err != CELLAR_ABSENT || call->found.kind == (uint8_t)L1_NEGATIVE) { return err; }
    call->fails = call->found.fails;
    call->retry_at_ms = cache_retry_at(&call->found);
    call->loader_err = (int32_t)call->found.loader_code;
    return call->now_ms < call->retry_at_ms ? CELLAR_E_LOADER : CELLAR_MISS;
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
    call->tag_born = call->old_born;
    (void)cache_answer(call, call->early ? CELLAR_OK : CELLAR_STALE,
                       call->early ? (uint32_t)CELLAR_SOURCE_L1 : source);
}

CELLAR_PRIVATE cellar_err cache_answer_failed(cache_call *call, cellar_err code)
{
    if (call->old == NULL || (call->p.flags & CELLAR_LOAD_REFRESH) != 0) {
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

static int64_t cache_out_left(int64_t until_ms, int64_t now_ms)
{
    if (until_ms == BASE_NEVER_MS) { return CELLAR_TTL_NONE; }
    return until_ms < 0 ? -1 : BASE_MAX(until_ms - now_ms, 0);
}

/* Copy the answer to the caller and drop everything the call holds. */
CELLAR_PRIVATE cellar_err cache_call_out(cache_call *call, cellar_result *out)
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
        out->ttl_left_ms = cache_out_left(call->deadline_ms, call->now_ms);
        if (call->born_ms >= 0) { out->age_ms = BASE_MAX(call->now_ms - call->born_ms, 0); }
        if (call->source == CELLAR_SOURCE_L1) { out->version = call->found.version; }
        cache_out_value(call, out);
    }
    if ((call->code == CELLAR_STALE || call->code == CELLAR_E_LOADER) &&
        call->retry_at_ms > call->now_ms) {
        out->retry_after_ms = call->retry_at_ms - call->now_ms;
    }
    cache_call_forget(call);
    BASE_ASSERT(call->value == NULL);
    return call->code;
}

CELLAR_PRIVATE void cache_call_count(cache_call *call)
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
    if (call->source == CELLAR_SOURCE_JOINED) { stats_add(mine, STATS_LOAD_JOINED, 1); }
    if (cache_talks(call->c)) {
        const bool loaded = id == STATS_MISS && call->code == CELLAR_OK;
        cache_read_tell(call->c, "load", loaded ? CELLAR_MISS : call->code);
    }
}

/* ---- join ---- */

CELLAR_PRIVATE void cache_ask(const cache_call *call, flight_kind kind, flight_ask *ask)
{
    const bool queued = kind == FLIGHT_CALL || kind == FLIGHT_LEASE;
    *ask = (flight_ask){
        .key = { call->k.bytes, call->k.len, call->k.generation, call->k.hash },
        .namespace_id = call->c->id,
        .kind = kind,
        .join = kind == FLIGHT_CALL && !call->p.no_wait,
        .take_queued = queued && call->old == NULL,
        .leader_retries = (uint8_t)call->p.takeovers, /* <= 15: load_plan.c */
        .now_ms = call->now_ms,
        .hard_timeout_ms = call->p.hard_timeout_ms,
        .tag_born = base_load_acq(&call->c->store->tag_epoch),
    };
}

CELLAR_PRIVATE cellar_err cache_entry_failed(cache_call *call, flight_entry entry)
{
    cellar_err err = CELLAR_E_NOMEM;
    if (entry == FLIGHT_STUCK) {
        stats_add(cache_mine(call->c), STATS_LOAD_TIMEOUT, 1);
        err = CELLAR_E_TIMEOUT;
    } else if (entry == FLIGHT_FULL || entry == FLIGHT_CROWDED) {
        stats_count(call->c->stats,
                    entry == FLIGHT_FULL ? STATS_LIMIT_FLIGHTS : STATS_LIMIT_WAITERS, 1);
        err = CELLAR_E_LIMIT;
    }
    return cache_answer_in_vain(call, err);
}

CELLAR_PRIVATE void cache_call_seen(cache_call *call)
{
    if (!cache_notes(call->c)) { return; }
    base_thread_self()->tags_read = call->tag_born;
    cache_deps_seen(call->c, &call->k, call->code);
}

/* Use the outcome of a joined flight. Return true if it answers the call. */
static bool cache_take_outcome(cache_call *call, const flight_outcome *o, bool untagged)
{
    call->loader_err = o->loader_err;
    if ((o->flags & FLIGHT_TAGGED) != 0 && !untagged) { return false; }
    switch (o->phase) {
    case FLIGHT_OK:
        flight_bytes_drop(call->value);
        call->value = flight_bytes_ref(o->value);
        call->user_flags = o->value->user_flags;
        call->deadline_ms = o->deadline_ms;
        call->load_us = o->load_us;
        call->tag_born = o->tag_born;
        (void)cache_answer(call, CELLAR_OK, CELLAR_SOURCE_JOINED);
        break;
    case FLIGHT_NONE:
        call->tag_born = o->tag_born;
        (void)cache_answer(call, CELLAR_ABSENT, CELLAR_SOURCE_JOINED);
        break;
    case FLIGHT_FAILED:
        call->failures++;
        if ((o->flags & FLIGHT_FINAL) == 0 && call->failures <= call->p.handovers) { return false; }
        call->retry_at_ms = o->retry_at_ms;
        if (!cache_failure_heard(call, o->err, CELLAR_SOURCE_JOINED, o->asked)) { return false; }
        break;
    case FLIGHT_QUEUED:
    case FLIGHT_LOADING:
    case FLIGHT_CANCELLED: call->losses++; return false;
    }
    call->result_flags |= (o->flags & FLIGHT_NOT_STORED) != 0 ? CELLAR_RESULT_NOT_STORED : 0u;
    call->result_flags |= (o->flags & FLIGHT_OVERTAKEN) != 0 ? CELLAR_RESULT_INVALIDATED : 0u;
    return true;
}

/* Return the end of the wait: soft_timeout_ms with a stale value, else wait_timeout_ms. */
static int64_t cache_patience(cache_call *call)
{
    if (call->patience_ms == 0) {
        call->patience_ms = base_add_sat(call->now_ms, call->p.wait_timeout_ms);
    }
    if (call->old == NULL) { return call->patience_ms; }
    if (call->soft_at_ms == 0) {
        call->soft_at_ms = base_add_sat(call->now_ms, call->p.soft_timeout_ms);
    }
    return BASE_MIN(call->soft_at_ms, call->patience_ms);
}

CELLAR_PRIVATE bool cache_join(cache_call *call, flight_table *t, flight *f, uint64_t epoch)
{
    flight_outcome o;
    memset(&o, 0, sizeof o);
    const bool untagged = epoch == flight_tag_born(f) || BASE_MUTANT("tag.joiner_believes");
    const bool deps = call->c->store->deps != NULL;
    if (deps && !BASE_MUTANT("deps.join_blind") && !cache_run_fits(flight_notes(f), epoch)) {
        flight_detach(t, f);
        flight_leave(t, f);
        return false;
    }
    if (deps) { flight_hold(f); }
    const flight_waited how = flight_wait(t, f, cache_patience(call), &o);
    if (deps) {
        /* The loader may have read values meanwhile that were made before this call. */
        if (how == FLIGHT_DONE && !BASE_MUTANT("deps.join_blind") &&
            !BASE_MUTANT("deps.answer_blind") && !cache_run_fits(flight_notes(f), epoch)) {
            o.phase = FLIGHT_CANCELLED;
        }
        flight_unref(t, f);
    }
    bool answered = false;
    call->now_ms = base_now_ms(&call->c->store->clock);
    switch (how) {
    case FLIGHT_DONE:
        answered = cache_take_outcome(call, &o, untagged);
        flight_bytes_drop(o.value);
        break;
    case FLIGHT_LATE:
        stats_add(cache_mine(call->c), STATS_LOAD_TIMEOUT, 1);
        if (call->old != NULL) {
            cache_answer_old(call, CELLAR_SOURCE_STALE_SOFT_TIMEOUT);
        } else {
            (void)cache_answer_in_vain(call, CELLAR_E_TIMEOUT);
        }
        answered = true;
        break;
    case FLIGHT_HARD: call->losses++; break;
    case FLIGHT_CYCLE:
        stats_add(cache_mine(call->c), STATS_LOAD_CYCLE, 1);
        (void)cache_answer_failed(call, CELLAR_E_DEADLOCK);
        answered = true;
        break;
    }
    return answered;
}

/* ---- one call ---- */

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
    return cache_load_refuse(c, "cellar_get_or_load: no loader: set fn, or namespace loader");
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
    cache_load_end(c);
    base_cancel_set(cancel);
    return err;
}

/* size of the first cellar_result, version 0.2 */
#define CACHE_RESULT_BYTES_LEAST (offsetof(cellar_result, opaque) + 4 * sizeof(uint64_t))

CELLAR_PRIVATE bool cache_result_bad(const cellar_result *out)
{
    return out == NULL || out->struct_size < CACHE_RESULT_BYTES_LEAST ||
           out->struct_size > BASE_OPTS_BYTES_MAX || (out->buf == NULL && out->buf_cap != 0);
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
