/* SPDX-License-Identifier: MIT
 *
 * load_look: what a load finds before its loader runs: in L1, in the filter, in the tier.
 *
 * PICTURE    plain hit, before the options become a plan -> first look -> fresh, negative, filter
 *            "never", remembered error: answer
 *            led -> second look -> tier -> answer, or the loader
 * INVARIANTS The flight is attached and counted before the second look, and the look waits for an
 *            open window: the look sees each change that did not see the flight.
 *            The result of a plain hit is that of a load with a plan: the options are proven valid
 *            and without effect on such a record. It has no early refresh, because it has no exact
 *            birth, no cost and no refresh time. On any doubt the plan decides.
 * LIMITS     A copy without a buffer of the caller: values up to CACHE_LOOK_TRY bytes.
 * SEE ALSO   load_call.c; load_plan.c (cache_load_opts_are_easy); Vattani, Chierichetti, Lowenstein
 *            2015: probabilistic early refresh (XFetch). */
#include "cache/bloom_guard.h"
#include "cache/lookup.h"
#include "cache/pin.h"
#include "cache/plan.h"
#include "loading/loading.h"

/* ---- plain hits ---- */

CELLAR_PRIVATE bool cache_hit_known(cellar *c, const void *key, size_t key_len,
                                    cellar_result *out)
{
    unsigned char small[CACHE_LOOK_TRY];
    flight_bytes *b = NULL;
    l1_life life;
    l1_key k;
    size_t len;
    const bool own = out->buf != NULL;
    void *to = own ? out->buf : small;
    const size_t room = own ? out->buf_cap : sizeof small;
    if (BASE_UNLIKELY(!own && c->secret)) { return false; } /* `small` would have to be wiped */
    cache_key(c, &k, key, key_len);
    if (BASE_UNLIKELY(!l1_hit_life(c->l1, &k, to, room, &len, &life))) { return false; }
    if (!own) {
        b = flight_bytes_new(&c->store->hooks, len);
        if (b == NULL) { return false; }
        memcpy(b->data, small, len);
    }
    const int64_t now_ms = base_quick_ms(&c->store->clock);
    cache_hit_out(out, len);
    if (!own) { out->value = b->data; }
    out->opaque[0] = (uint64_t)(uintptr_t)b;
    out->ttl_left_ms = cache_left_ms(life.deadline_ms, now_ms);
    out->age_ms = BASE_MAX(now_ms - life.born_ms, 0);
    stats_add(cache_mine(c), STATS_HIT_L1, 1);
    cache_hot_sample(c, base_thread_self(), &k);
    return true;
}

CELLAR_PRIVATE BASE_NOINLINE cellar_err cache_hit_marked(cellar *c, const l1_key *k, size_t seen,
                                                         cellar_result *out)
{
    size_t len;
    uint32_t user_flags;
    if ((base_load_rlx(&c->carries) & CACHE_CARRIES_BIRTH) != 0) {
        return l1_none(c->l1, k->hash) ? CELLAR_MISS : CELLAR_PENDING;
    }
    const cellar_err err = l1_get_load(c->l1, k, seen, out->buf, out->buf_cap, &len,
                                       &user_flags);
    if (err != CELLAR_OK) { return err; }
    cache_hit_out(out, len);
    out->user_flags = user_flags;
    stats_add(cache_mine(c), STATS_HIT_L1, 1);
    return CELLAR_OK;
}

CELLAR_PRIVATE void cache_pinned_out(cellar *c, const l1_pin_ref *ref, const l1_key *k,
                                     cellar_result *out)
{
    cellar_pinned pin;
    cache_pin_out(c, ref, &pin);
    cache_hit_out(out, pin.value_len);
    out->value = pin.value;
    out->flags = CELLAR_RESULT_PINNED;
    out->user_flags = ref->user_flags;
    memcpy(out->opaque, pin.opaque, sizeof out->opaque);
    stats_add(cache_mine(c), STATS_HIT_L1, 1);
    cache_hot_sample(c, base_thread_self(), k);
}

/* Return whether the namespace refreshes values before they expire. */
static bool cache_namespace_is_early(const cellar *c)
{
    return (base_load_rlx(&c->load_n[CACHE_EAGER]) | base_load_rlx(&c->load_n[CACHE_XFETCH])) != 0;
}

/* Pin a plain record. Where values are refreshed early, the contract asks for a copy. */
static bool cache_hit_pins(cellar *c, const void *key, size_t key_len, cellar_result *out)
{
    l1_pin_ref ref;
    l1_key k;
    if (cache_namespace_is_early(c)) { return false; }
    cache_key(c, &k, key, key_len);
    if (!l1_pin_key(c->l1, &k, &ref)) { return false; }
    cache_pinned_out(c, &ref, &k, out);
    return true;
}

CELLAR_PRIVATE bool cache_hit_first(cellar *c, const void *key, size_t key_len,
                                    const cellar_load_opts *o, cellar_result *out)
{
    l1_key k;
    if (o != NULL && !cache_load_opts_are_easy(c, o)) { return false; }
    if (o != NULL && (o->flags & CELLAR_LOAD_PIN) != 0) {
        return cache_hit_pins(c, key, key_len, out);
    }
    if (o != NULL || out->buf == NULL || BASE_UNLIKELY(cache_namespace_is_early(c))) {
        return cache_hit_known(c, key, key_len, out);
    }
    if (cache_hit_plain(c, &k, key, key_len, out) != CELLAR_OK) { return false; }
    cache_hot_sample(c, base_thread_self(), &k);
    return true;
}

CELLAR_PRIVATE bool cache_guarded_hit(cellar *c, const void *key, size_t key_len,
                                      cellar_result *out, cellar_err *err, bool *audit)
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

/* ---- look ---- */

/* Read the entry of an object. With OK and STALE the caller owns *out, which has a count. */
static cellar_err cache_look_cell(cache_call *call, flight_bytes **out)
{
    cellar *c = call->c;
    l1_info *info = &call->found;
    l1_cell *b;
    const cellar_err err =
        l1_acquire_info(c->l1, &call->k, info, &b, L1_STALE_OK | L1_SEE_ERRORS);
    if (err != CELLAR_OK && err != CELLAR_STALE) { return err; }
    *out = cache_cell_bytes(c->store, b, info->value_len);
    if (*out == NULL) {
        l1_cell_drop(base_load_acq(&c->store->cells), b);
        return CELLAR_E_NOMEM;
    }
    (*out)->user_flags = info->user_flags;
    return err;
}

/* Read the entry with its bytes. With OK and STALE the caller owns *out. */
static cellar_err cache_look_bytes(cache_call *call, flight_bytes **out)
{
    cellar *c = call->c;
    if (c->object_class != UINT32_MAX) { return cache_look_cell(call, out); }
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
        if (b != NULL && info->value_len != 0) { memcpy(b->data, small, info->value_len); }
        if (c->secret) { base_wipe(small, sizeof small); }
        if (b == NULL) { return CELLAR_E_NOMEM; }
    }
    b->len = info->value_len;
    b->user_flags = info->user_flags;
    *out = b;
    return err;
}

/* Return the time that a value stores; 0: none. */
static int64_t cache_value_time(const l1_info *info)
{
    return (int64_t)((uint64_t)info->loader_code << 32 | info->retry_at);
}

/* Return retry_at of an entry. An error stores signed milliseconds from its end. A value may end
 * any time or never: it stores both words of the absolute time. */
static int64_t cache_retry_at(const l1_info *info)
{
    if (info->kind == (uint8_t)L1_VALUE) {
        return info->fails == L1_REFRESH_AT ? 0 : cache_value_time(info);
    }
    if (info->retry_at == 0 || info->expires_ms == BASE_NEVER_MS) { return 0; }
    return base_add_sat(info->expires_ms, (int64_t)(int32_t)info->retry_at);
}

CELLAR_PRIVATE cellar_err cache_look(cache_call *call)
{
    flight_bytes *b = NULL;
    const cellar *c = call->c;
    const bool silent = cache_is_unproven(c) && !c->proof_stale;
    cellar_err err = silent || l1_none(c->l1, call->k.hash) ? CELLAR_MISS
                                                            : cache_look_bytes(call, &b);
    call->fails = 0;
    if (BASE_LIKELY(err == CELLAR_MISS)) { return err; }
    call->now_ms = base_now_ms(&c->store->clock);
    if (cache_is_unproven(c)) {
        err = err < 0 ? err : cache_unproven_code(c, err);
        if (err != CELLAR_STALE) { flight_bytes_drop(b); }
    }
    if (err == CELLAR_OK || err == CELLAR_STALE) {
        flight_bytes_drop(call->old);
        call->old = b;
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

/* ---- early refresh ---- */

/* -ln((64 + i + 1/2) / 128) in 1/65536, by the leading 7 bits of a draw. */
static const uint32_t cache_ln_table[64] = {
    44916, 43908, 42915, 41937, 40973, 40023, 39087, 38164, 37254, 36356,
    35470, 34596, 33734, 32883, 32043, 31213, 30394, 29585, 28786, 27996,
    27216, 26445, 25683, 24929, 24185, 23448, 22720, 22000, 21288, 20583,
    19886, 19196, 18513, 17837, 17169, 16507, 15851, 15202, 14560, 13924,
    13294, 12669, 12051, 11439, 10832, 10231, 9635, 9044, 8459, 7879,
    7304, 6734, 6169, 5609, 5054, 4503, 3957, 3415, 2878, 2345,
    1817, 1293, 773, 257,
};

/* Return -ln(u) in 1/65536 for u uniform in (0, 1]; at most 22.2 for 32 bits. */
static uint64_t cache_minus_ln(uint32_t draw)
{
    const uint32_t u = draw != 0 ? draw : 1;
    const unsigned zeros = 31u - base_log2_floor(u);
    const uint32_t lead = (uint32_t)((uint64_t)u << zeros >> 25) & 63u;
    return cache_ln_table[lead] + (uint64_t)zeros * 45426u; /* ln 2 */
}

static bool cache_xfetch_early(const cache_call *call, int64_t left_ms)
{
    const uint64_t cost_us = cache_cost_us(call->found.cost);
    const uint64_t spread_us = cost_us * call->p->n[CACHE_XFETCH] / 100; /* < 2^42: <= 100,000 */
    if (cost_us == 0 || (uint64_t)left_ms > spread_us * 23 / 1000) { return false; }
    const uint32_t draw = (uint32_t)(base_rng_next(&base_thread_self()->rng) >> 32);
    return spread_us * cache_minus_ln(draw) / 65536 / 1000 >= (uint64_t)left_ms;
}

/* Return whether the value that was found has a refresh time of its own, by a policy. One behind
 * the end of the value is none: a write that keeps the old TTL may store it. */
static bool cache_has_time(const cache_call *call)
{
    return call->found.fails != 0 && cache_value_time(&call->found) < call->found.deadline_ms &&
           (call->p->own & CACHE_GIVEN_REFRESH) == 0;
}

/* Return whether the fresh value that was found needs a refresh now. */
static bool cache_is_early(const cache_call *call)
{
    const l1_info *e = &call->found;
    if ((call->p->flags & CELLAR_LOAD_ONLY_IF_CACHED) != 0 || call->now_ms < call->retry_at_ms) {
        return false;
    }
    if (cache_has_time(call)) { return call->now_ms >= cache_value_time(e); }
    if (!cache_load_early(call->p) || e->deadline_ms == BASE_NEVER_MS) { return false; }
    const int64_t left_ms = BASE_MAX(e->deadline_ms - call->now_ms, 0);
    if (call->p->n[CACHE_XFETCH] != 0) { return cache_xfetch_early(call, left_ms); }
    const int64_t life_ms = e->deadline_ms - e->born_ms;
    if (!e->born_exact || life_ms <= 0) { return false; }
    const int64_t late_pct = 100 - (int64_t)call->p->n[CACHE_EAGER];
    return left_ms <= life_ms / 100 * late_pct + life_ms % 100 * late_pct / 100;
}

/* ---- first look ---- */

/* Return the word of the filter on a key without an entry. */
static cache_word cache_filter_word(cache_call *call)
{
    if (BASE_LIKELY(base_load_acq(&call->c->bloom) == NULL) || call->audit) {
        return CACHE_WORD_MAYBE;
    }
    const cache_word word = cache_filter_stops(call->c, call->k.bytes, call->k.len);
    call->audit = word == CACHE_WORD_AUDIT; /* stays set if the call looks again */
    return word;
}

/* Answer with the result of the look, if it suffices. */
static void cache_look_answers(cache_call *call, cellar_err look)
{
    switch ((int)look) {
    case CELLAR_OK:
        if (!cache_is_early(call)) { cache_answer_old(call, CELLAR_SOURCE_L1); }
        break;
    case CELLAR_ABSENT: cache_answer(call, look, CELLAR_SOURCE_NEGATIVE); break;
    case CELLAR_E_LOADER:
        (void)cache_failure_heard(call, look, CELLAR_SOURCE_ERROR_ENTRY, 0);
        break;
    case CELLAR_STALE: break;
    case CELLAR_MISS:
        if (cache_filter_word(call) == CACHE_WORD_NEVER) {
            cache_answer(call, CELLAR_ABSENT, CELLAR_SOURCE_BLOOM);
        }
        break;
    default: cache_answer_failed(call, look); break;
    }
}

/* Answer ONLY_IF_CACHED; the tier may have the key. */
static void cache_only_cached(cache_call *call)
{
    if (call->old != NULL) {
        cache_answer_old(call, CELLAR_SOURCE_STALE_REVALIDATE);
    } else {
        cache_answer(call, CELLAR_MISS, CELLAR_SOURCE_NONE);
        (void)cache_tier_look(call);
    }
}

CELLAR_PRIVATE void cache_look_first(cache_call *call)
{
    const bool skips = (call->p->flags & (CELLAR_LOAD_BYPASS | CELLAR_LOAD_REFRESH)) != 0;
    cellar_err look = CELLAR_MISS;
    cache_key(call->c, &call->k, call->key, call->k.len); /* with the present generation */
    if (cache_load_ends(call->c)) {
        cache_answer(call, CELLAR_E_CLOSED, CELLAR_SOURCE_NONE);
        return;
    }
    if (!skips && !cache_is_off(call->c)) {
        look = cache_look(call);
        cache_look_answers(call, look);
        if (call->state == CACHE_CALL_ANSWERED) { return; }
    }
    if (look == CELLAR_MISS) { call->now_ms = base_now_ms(&call->c->store->clock); }
    if (look != CELLAR_OK && look != CELLAR_STALE) { cache_call_forget(call); }
    if ((call->p->flags & CELLAR_LOAD_ONLY_IF_CACHED) != 0) {
        cache_only_cached(call);
    } else if (call->old != NULL && !call->only_join && call->now_ms < call->retry_at_ms) {
        cache_answer_old(call, CELLAR_SOURCE_STALE_IF_ERROR); /* a load failed recently */
    }
}

/* ---- tier ---- */

/* Return whether the tier is a queue: the source lacks a write that waits there, so a refresh looks
 * for one, too. */
static bool cache_tier_queues(const cache_call *call)
{
    const cache_tier *t = cache_tier_of(call->c);
    return t != NULL && cache_tier_is_behind(t);
}

CELLAR_PRIVATE bool cache_asks_tier(const cache_call *call)
{
    return BASE_UNLIKELY(cache_tier_of(call->c) != NULL) &&
           (call->old == NULL || cache_tier_queues(call) ||
            (call->c->proof_stale && !call->early && call->now_ms < call->found.expires_ms &&
             !cache_is_unproven(call->c)));
}

CELLAR_PRIVATE bool cache_tier_looks(const cache_call *call)
{
    /* with hold_ms L1 remembers a newer failure */
    return cache_tier_of(call->c) != NULL && call->hold_ms == 0 &&
           !cache_is_off(call->c) && !call->asks && (call->p->flags & CELLAR_LOAD_NO_L2) == 0 &&
           ((call->p->flags & CELLAR_LOAD_REFRESH) == 0 || cache_tier_queues(call));
}

CELLAR_PRIVATE flight_phase cache_tier_found(cache_call *call, const cache_found *found,
                                             flight_bytes *b)
{
    const l2_meta *m = &found->e;
    call->order = found->order;
    if (m->tag_count != 0 || call->c->proof_stale) { call->flags |= FLIGHT_TAGGED; }
    if (b != NULL) { b->user_flags = m->user_flags; }
    cache_answer_value(call, b, -1, b != NULL ? CELLAR_SOURCE_L2 : CELLAR_SOURCE_NEGATIVE);
    if ((base_load_rlx(&call->c->carries) & CACHE_CARRIES_BIRTH) != 0) {
        call->born_ms = call->now_ms; /* as the entry that memory gets */
    }
    return b != NULL ? FLIGHT_OK : FLIGHT_NONE;
}

CELLAR_PRIVATE flight_phase cache_tier_look(cache_call *call)
{
    cellar *c = call->c;
    size_t len = CACHE_LOOK_TRY;
    cellar_err err = CELLAR_E_BUFFER, kept;
    cache_found m;
    flight_bytes *b = NULL;
    const bool waits = (call->p->flags & CELLAR_LOAD_WAIT_DISK) != 0;
    if (!cache_tier_looks(call)) { return FLIGHT_LOADING; }
    for (unsigned round = 0; err == CELLAR_E_BUFFER && round < CACHE_ROUNDS; round++) {
        flight_bytes_drop(b);
        b = flight_bytes_new(&c->store->hooks, len);
        if (b == NULL) { /* a tier that was not asked may have a newer value */
            const cache_tier *t = cache_tier_of(c);
            call->unsure = t != NULL && cache_tier_disk(t) == NULL;
            return FLIGHT_LOADING;
        }
        do {
            m.silent = false;
            m.unread = CELLAR_OK;
            err = cache_tier_fetch(c, &call->k, b->data, b->len, &len, &m, &kept);
        } while (m.unread == CELLAR_E_TIMEOUT && waits && cache_disk_waits(c, &call->until_ns));
    }
    call->unsure = m.silent;
    if (err == CELLAR_OK) {
        b->len = len;
    } else {
        flight_bytes_drop(b);
        b = NULL;
    }
    if (err != CELLAR_OK && err != CELLAR_ABSENT) { return FLIGHT_LOADING; }
    return cache_tier_found(call, &m, b);
}

/* ---- the leader ---- */

/* Look a second time. Return the end of the flight if that answers the call; else LOADING. */
static flight_phase cache_second_look(cache_call *call)
{
    const int64_t seen_ms = call->early ? call->found.deadline_ms : -1;
    const bool was_early = call->early;
    const cellar_err look = cache_look(call);
    BASE_POINT("flight.second");
    if (call->hold_ms != 0) { /* the failure may be forgotten now */
        call->instead = false;
        call->hold_ms = 0;
    }
    call->old_current = look == CELLAR_OK || look == CELLAR_STALE;
    if ((call->p->flags & CELLAR_LOAD_REFRESH) != 0) { return FLIGHT_LOADING; }
    switch ((int)look) {
    case CELLAR_OK:
        if (was_early && call->found.deadline_ms == seen_ms &&
            (!cache_has_time(call) || cache_is_early(call))) {
            return FLIGHT_LOADING;
        }
        cache_answer_old(call, CELLAR_SOURCE_L1);
        cache_found_tags(call);
        return FLIGHT_OK;
    case CELLAR_ABSENT:
        cache_answer(call, look, CELLAR_SOURCE_NEGATIVE);
        cache_found_tags(call);
        return FLIGHT_NONE;
    case CELLAR_E_LOADER:
        if (!cache_failure_heard(call, look, CELLAR_SOURCE_ERROR_ENTRY, 0)) {
            return FLIGHT_LOADING;
        }
        call->failed = look;
        call->flags |= FLIGHT_FINAL;
        return FLIGHT_FAILED;
    case CELLAR_MISS: /* a refresh belongs to its entry, which is gone */
        return call->job != NULL ? FLIGHT_CANCELLED : FLIGHT_LOADING;
    default: return FLIGHT_LOADING; /* no memory for a copy: load it */
    }
}

CELLAR_PRIVATE void cache_look_led(cache_call *call)
{
    call->state = CACHE_CALL_LEADS;
    call->k.bytes = flight_key_of(call->f).bytes;
    if (flight_takeovers(call->f) > 0) { stats_add(cache_mine(call->c), STATS_LOAD_TAKEOVER, 1); }
    if ((call->p->flags & CELLAR_LOAD_BYPASS) != 0 || cache_is_off(call->c)) { return; }
    flight_phase how = cache_second_look(call);
    if (how == FLIGHT_LOADING && cache_asks_tier(call)) { how = cache_tier_look(call); }
    if (how == FLIGHT_CANCELLED) {
        cache_hand_over(call, CACHE_CALL_ANSWERED);
    } else if (how != FLIGHT_LOADING) {
        cache_release(call, how);
    }
}

/* Answer a call that may neither lead nor wait. */
static void cache_refused(cache_call *call, stats_id limit, cellar_err err)
{
    stats_count(call->c->stats, limit, 1);
    cache_answer_in_vain(call, err);
}

CELLAR_PRIVATE flight_entry cache_acquire(cache_call *call, flight_kind kind, bool join,
                                          flight_sub *sub)
{
    const flight_entry entry = cache_enter(call, kind, join, sub);
    switch (entry) {
    case FLIGHT_LED: cache_look_led(call); break;
    case FLIGHT_JOINED: call->state = CACHE_CALL_JOINED; break;
    case FLIGHT_TAKEN:
        if (call->only_join) { /* the refresh ended: look at its result, do not refresh again */
            call->only_join = false;
            call->soft_over = true;
            call->losses++;
        } else if (call->old == NULL) {
            cache_answer(call, CELLAR_PENDING, CELLAR_SOURCE_NONE);
        } else {
            cache_answer_old(call, CELLAR_SOURCE_STALE_REVALIDATE);
        }
        break;
    case FLIGHT_STUCK:
        stats_add(cache_mine(call->c), STATS_LOAD_TIMEOUT, 1);
        cache_answer_in_vain(call, CELLAR_E_TIMEOUT);
        break;
    case FLIGHT_FULL: cache_refused(call, STATS_LIMIT_FLIGHTS, CELLAR_E_LIMIT); break;
    case FLIGHT_CROWDED: cache_refused(call, STATS_LIMIT_WAITERS, CELLAR_E_LIMIT); break;
    case FLIGHT_NO_MEMORY: cache_answer_in_vain(call, CELLAR_E_NOMEM); break;
    }
    return entry;
}
