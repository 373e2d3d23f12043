/* SPDX-License-Identifier: MIT
 *
 * load_look: what a load finds before its loader runs: in L1, in the filter, in the tier.
 *
 * PICTURE    first look -> fresh, negative, filter "never", remembered error: answer
 *            led -> second look -> tier -> answer, or the loader
 * INVARIANTS The flight is attached and counted before the second look, and the look waits for an
 *            open window: the look sees each change that did not see the flight.
 *            A failure of another load is answered with the stale value, else by the own fallbacks,
 *            which the call runs as leader, else with the default value, else with the error.
 * SEE ALSO   load_acquire.c; Vattani, Chierichetti, Lowenstein 2015: probabilistic early refresh
 *            (XFetch). */
#include "loading/load_look.h"

#include "cache/bloom_guard.h"
#include "cache/call.h"
#include "cache/lookup.h"
#include "cache/plan.h"
#include "cache/proof.h"
#include "loading/load_call.h"
#include "loading/load_plan.h"
#include "loading/load_publish.h"

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
    cellar_err err = cache_is_unproven(call->c) && !call->c->proof_stale
                         ? CELLAR_MISS : cache_look_bytes(call, &b);
    call->now_ms = base_now_ms(&call->c->store->clock);
    call->fails = 0;
    if (cache_is_unproven(call->c)) {
        err = err < 0 ? err : cache_unproven_code(call->c, err);
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

/* Return whether the value that was found has a refresh time of its own, by a policy. */
static bool cache_has_time(const cache_call *call)
{
    return call->found.fails != 0 && (call->p->own & CACHE_GIVEN_REFRESH) == 0;
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

/* ---- no source answers ---- */

CELLAR_PRIVATE uint32_t cache_fallbacks_of(const cache_load_plan *p)
{
    uint64_t mix = 0;
    for (unsigned i = 0; i < CELLAR_FALLBACKS_MAX; i++) {
        if (p->fallback[i].fn != NULL) { mix = base_mix64(mix ^ (uintptr_t)p->fallback[i].fn); }
    }
    return mix == 0 ? 0 : (uint32_t)mix | 1u;
}

CELLAR_PRIVATE bool cache_has_stale(const cache_call *call)
{
    return call->old != NULL && (call->p->flags & CELLAR_LOAD_REFRESH) == 0;
}

CELLAR_PRIVATE flight_bytes *cache_default_value(const cache_call *call)
{
    const cellar_bytes *from = call->p->default_value;
    if (from == NULL) { return NULL; }
    flight_bytes *value = flight_bytes_new(&call->c->store->hooks, from->len);
    if (value != NULL && from->len != 0) { memcpy(value->data, from->data, from->len); }
    return value;
}

CELLAR_PRIVATE cellar_err cache_answer_in_vain(cache_call *call, cellar_err err)
{
    flight_bytes *value = cache_has_stale(call) ? NULL : cache_default_value(call);
    if (value == NULL) { return cache_answer_failed(call, err); }
    flight_bytes_drop(call->value);
    call->value = value;
    call->user_flags = 0;
    call->deadline_ms = call->born_ms = -1;
    call->result_flags |= CELLAR_RESULT_NOT_STORED;
    stats_add(cache_mine(call->c), STATS_LOAD_INSTEAD, 1);
    return cache_answer(call, CELLAR_OK, CELLAR_SOURCE_DEFAULT);
}

CELLAR_PRIVATE bool cache_failure_heard(cache_call *call, cellar_err err, uint32_t source,
                                        uint32_t asked)
{
    const uint32_t own = cache_fallbacks_of(call->p);
    if ((call->p->flags & CELLAR_LOAD_ONLY_IF_CACHED) != 0) { /* only a cached answer is wanted */
        (void)cache_answer(call, err, source);
        return true;
    }
    if (own != 0 && own != asked && !cache_has_stale(call) && flight_depth() < FLIGHT_DEPTH_MAX) {
        call->instead = true;
        call->failed = err;
        call->hold_ms = source == CELLAR_SOURCE_ERROR_ENTRY ? call->retry_at_ms : 0;
        return false;
    }
    if (cache_answer_in_vain(call, err) == err) { call->source = source; }
    return true;
}

/* ---- first look ---- */

/* Answer if the filter says that the source never had the key. Return true if the call is
 * answered. */
static bool cache_filter_answers(cache_call *call)
{
    if (BASE_LIKELY(base_load_acq(&call->c->bloom) == NULL) || call->audit) { return false; }
    const cache_word word = cache_filter_stops(call->c, call->k.bytes, call->k.len);
    call->audit = word == CACHE_WORD_AUDIT; /* stays set if the call looks again */
    if (word != CACHE_WORD_NEVER) { return false; }
    (void)cache_answer(call, CELLAR_ABSENT, CELLAR_SOURCE_BLOOM);
    return true;
}

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

/* ---- second look and tier ---- */

static bool cache_must_load(const cache_call *call)
{
    return (call->p->flags & CELLAR_LOAD_REFRESH) != 0;
}

CELLAR_PRIVATE bool cache_second_look(cache_call *call, flight_outcome *o)
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
    if (cache_must_load(call)) { return false; }
    switch ((int)look) {
    case CELLAR_OK:
        if (was_early && call->found.deadline_ms == seen_ms &&
            (!cache_has_time(call) || cache_is_early(call))) {
            return false;
        }
        cache_answer_old(call, CELLAR_SOURCE_L1);
        cache_outcome_found(call, o);
        o->phase = FLIGHT_OK;
        o->value = flight_bytes_ref(call->value);
        o->deadline_ms = call->deadline_ms;
        return true;
    case CELLAR_ABSENT:
        cache_outcome_found(call, o);
        o->phase = FLIGHT_NONE;
        (void)cache_answer(call, look, CELLAR_SOURCE_NEGATIVE);
        return true;
    case CELLAR_E_LOADER:
        if (!cache_failure_heard(call, look, CELLAR_SOURCE_ERROR_ENTRY, 0)) { return false; }
        o->phase = FLIGHT_FAILED;
        o->err = look;
        o->flags = FLIGHT_FINAL;
        o->loader_err = call->loader_err;
        o->retry_at_ms = call->retry_at_ms;
        return true;
    case CELLAR_MISS:
        if (call->job == NULL) { return false; }
        o->phase = FLIGHT_CANCELLED; /* a refresh belongs to its entry, which is gone */
        return true;
    default: return false; /* no memory for a copy: load it */
    }
}

CELLAR_PRIVATE bool cache_tier_looks(const cache_call *call)
{
    /* with hold_ms L1 remembers a newer failure */
    return BASE_UNLIKELY(cache_tier_of(call->c) != NULL) && call->hold_ms == 0 &&
           !cache_is_off(call->c) && !cache_must_load(call) && !call->asks &&
           (call->p->flags & CELLAR_LOAD_NO_L2) == 0;
}

CELLAR_PRIVATE void cache_tier_found(cache_call *call, const cache_tier_meta *m, flight_bytes *b,
                                     flight_outcome *o)
{
    if (m->tag_count != 0 || call->c->proof_stale) { o->flags |= FLIGHT_TAGGED; }
    if (b == NULL) {
        o->phase = FLIGHT_NONE;
        (void)cache_answer(call, CELLAR_ABSENT, CELLAR_SOURCE_NEGATIVE);
        return;
    }
    b->user_flags = m->user_flags;
    call->value = b;
    call->user_flags = m->user_flags;
    call->deadline_ms = -1;
    o->phase = FLIGHT_OK;
    o->value = flight_bytes_ref(b);
    o->deadline_ms = -1;
    (void)cache_answer(call, CELLAR_OK, CELLAR_SOURCE_L2);
}

CELLAR_PRIVATE bool cache_tier_look(cache_call *call, flight_outcome *o)
{
    cellar *c = call->c;
    size_t len = CACHE_LOOK_TRY;
    cellar_err err = CELLAR_E_BUFFER, kept;
    cache_tier_meta m;
    flight_bytes *b = NULL;
    if (!cache_tier_looks(call)) { return false; }
    for (unsigned round = 0; err == CELLAR_E_BUFFER && round < CACHE_ROUNDS; round++) {
        flight_bytes_drop(b);
        b = flight_bytes_new(&c->store->hooks, len);
        if (b == NULL) { return false; }
        m.silent = false;
        err = cache_tier_fetch(c, &call->k, b->data, b->len, &len, &m, &kept);
    }
    call->unsure = m.silent;
    if (err == CELLAR_OK) {
        b->len = len;
    } else {
        flight_bytes_drop(b);
        b = NULL;
    }
    if (err != CELLAR_OK && err != CELLAR_ABSENT) { return false; }
    cache_tier_found(call, &m, b, o);
    return true;
}

/* Answer ONLY_IF_CACHED; the tier may have the key. */
static void cache_only_cached(cache_call *call)
{
    if (call->old != NULL) {
        cache_answer_old(call, CELLAR_SOURCE_STALE_REVALIDATE);
    } else {
        flight_outcome o = { .phase = FLIGHT_QUEUED };
        (void)cache_answer(call, CELLAR_MISS, CELLAR_SOURCE_NONE);
        if (cache_tier_look(call, &o)) { flight_bytes_drop(o.value); }
    }
}

CELLAR_PRIVATE bool cache_look_round(cache_call *call)
{
    const bool skips = (call->p->flags & (CELLAR_LOAD_BYPASS | CELLAR_LOAD_REFRESH)) != 0;
    cellar_err look = CELLAR_MISS;
    cache_key(call->c, &call->k, call->key, call->k.len); /* with the present generation */
    if (cache_is_closed(call->c)) {
        (void)cache_answer(call, CELLAR_E_CLOSED, CELLAR_SOURCE_NONE);
        return true;
    }
    if (skips || cache_is_off(call->c)) {
        call->now_ms = base_now_ms(&call->c->store->clock);
    } else {
        look = cache_look(call);
        if (cache_look_answers(call, look)) { return true; }
    }
    if (look != CELLAR_OK && look != CELLAR_STALE) { cache_call_forget(call); }
    if ((call->p->flags & CELLAR_LOAD_ONLY_IF_CACHED) != 0) {
        cache_only_cached(call);
        return true;
    }
    if (call->old != NULL && !call->only_join && call->now_ms < call->retry_at_ms) {
        cache_answer_old(call, CELLAR_SOURCE_STALE_IF_ERROR); /* a load failed recently */
        return true;
    }
    return false;
}

