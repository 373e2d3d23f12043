/* SPDX-License-Identifier: MIT
 *
 * load_fallback: Bloom filter, breaker, fallbacks and default value of a load.
 *
 * PICTURE    miss -> filter says "never": ABSENT, no flight, no loader
 *            leader -> breaker open: no loader -> stale value, else fallbacks, else default, else
 *            E_BREAKER_OPEN
 *                   -> loader failed: the same order, with its error at the end
 * INVARIANTS Each pass of the breaker is reported once, also if the thread ends inside the loader.
 *            A fallback result is marked: source FALLBACK or DEFAULT, kept for fallback_ttl_ms, in
 *            memory only.
 *            A loader that answers "absent" has succeeded: no fallback runs.
 * LOCKING    None; fallbacks run like loaders.
 * LIMITS     3 fallbacks. Fallbacks and default value belong to foreground loads. A bulk load asks
 *            them per key, a lease asks them when it is refused or released with an error.
 * SEE ALSO   bloom_guard.c (filter), src/breaker. */
#include "cache/load_int.h"

/* ---- the filter ---- */

CELLAR_PRIVATE bool cache_filter_answers(cache_call *call)
{
    if (BASE_LIKELY(base_load_acq(&call->c->bloom) == NULL) || call->audit) { return false; }
    const cache_word word = cache_filter_stops(call->c, call->k.bytes, call->k.len);
    call->audit = word == CACHE_WORD_AUDIT; /* stays set if the call looks again */
    if (word != CACHE_WORD_NEVER) { return false; }
    (void)cache_answer(call, CELLAR_ABSENT, CELLAR_SOURCE_BLOOM);
    return true;
}

static cellar_err cache_guarded_absent(cellar *c, cellar_result *out, bool sampled,
                                       const void *key, size_t key_len)
{
    cache_hit_out(out, 0);
    out->value = NULL;
    out->source = CELLAR_SOURCE_BLOOM;
    stats_add(cache_mine(c), STATS_NEGATIVE, 1);
    if (sampled) { cache_filter_note(c, key, key_len, CELLAR_MISS); }
    return CELLAR_ABSENT;
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
        size_t len;
        cache_key(c, &k, key, key_len);
        *err = l1_get(c->l1, &k, out->buf, out->buf_cap, &len, 0);
        if (*err == CELLAR_OK) {
            cache_hit_out(out, len);
            stats_add(cache_mine(c), STATS_HIT_L1, 1);
            if (sampled) { cache_filter_note(c, key, key_len, CELLAR_OK); }
            return true;
        }
        /* A stale entry cannot exist under a key that was never added. */
        if (*err == CELLAR_MISS) { word = cache_filter_stops(c, key, key_len); }
    }
    *audit = word == CACHE_WORD_AUDIT;
    if (word != CACHE_WORD_NEVER) { return false; }
    *err = cache_guarded_absent(c, out, sampled, key, key_len);
    return true;
}

/* ---- the breaker ---- */

CELLAR_PRIVATE bool cache_guard_admit(struct cellar_load *ld)
{
    cellar_breaker *b = ld->call->p.breaker;
    const bool admitted = b == NULL || cache_breaker_admit(b, &ld->pass);
    ld->breaker = admitted ? b : NULL; /* no pass: nothing to report */
    return admitted;
}

CELLAR_PRIVATE void cache_guard_report(struct cellar_load *ld, cellar_err verdict)
{
    if (ld->breaker == NULL) { return; }
    breaker_outcome how = BREAKER_SAID_NOTHING;
    const int64_t hard_timeout_ms = ld->call->p.hard_timeout_ms;
    const bool late = hard_timeout_ms > 0 && ld->ns / 1000000 >= (uint64_t)hard_timeout_ms;
    if (late || (verdict == CELLAR_E_LOADER && !cache_error_is_ours((int32_t)ld->returned)) ||
        verdict == CELLAR_E_NO_RESULT) {
        how = BREAKER_FAILED;
    } else if (verdict == CELLAR_OK) {
        how = BREAKER_WORKED;
    }
    cache_breaker_report(ld->breaker, ld->pass, how);
    ld->breaker = NULL;
}

/* ---- fallbacks ---- */

/* Reset the handle of the loader to its first state. */
static void cache_load_anew(struct cellar_load *ld)
{
    ld->value = NULL;
    ld->buf.load = NULL;
    ld->said = CACHE_SAID_NOTHING;
    ld->twice = ld->no_store = ld->failed = false;
    ld->has_ttl = ld->has_negative = ld->has_stale = false;
    ld->trouble = CELLAR_OK;
    ld->loader_err = 0;
    ld->fail_flags = ld->cost_us = ld->user_flags = 0;
    ld->retry_after_ms = 0;
    ld->tag_count = 0;
    ld->returned = CELLAR_OK;
}

/* Return whether a stored fallback would expire before the source may be asked again. With it the
 * remembered failure would be lost. */
static bool cache_ends_early(const struct cellar_load *ld, bool none)
{
    const cache_load_plan *p = &ld->call->p;
    if (ld->call->hold_ms == 0) { return false; }
    int64_t ttl_ms = ld->ttl_ms;
    if (none) { ttl_ms = ld->has_negative ? ld->negative_ttl_ms : p->negative_ttl_ms; }
    if (ttl_ms == BASE_NEVER_MS) { return false; }
    if (p->jitter_pct != 0) { ttl_ms -= ttl_ms / 100 * p->jitter_pct + 100; }
    return base_add_sat(ld->call->now_ms, ttl_ms) < ld->call->hold_ms;
}

static void cache_instead(struct cellar_load *ld, flight_bytes *value, uint32_t source,
                          flight_outcome *o)
{
    cache_call *call = ld->call;
    ld->no_disk = true;
    if (!ld->has_ttl) {
        ld->has_ttl = true;
        ld->ttl_ms = call->p.fallback_ttl_ms;
    }
    if (cache_ends_early(ld, value == NULL)) { ld->no_store = true; }
    if (value != NULL) {
        cache_publish_value(ld, value, o);
    } else {
        cache_publish_none(ld, o);
    }
    cache_answer_loaded(ld, o);
    call->source = source;
    stats_add(cache_mine(call->c), STATS_LOAD_INSTEAD, 1);
}

static bool cache_fallback_one(struct cellar_load *ld, const cellar_fallback *f, flight_outcome *o)
{
    cache_call *call = ld->call;
    cache_load_anew(ld);
    call->fn = f->fn;
    call->ctx = f->ctx;
    cache_run_loader(ld);
    flight_bytes *value = ld->value;
    flight_draft(ld->f, NULL);
    ld->value = NULL;
    const bool told = ld->said == CACHE_SAID_VALUE || ld->said == CACHE_SAID_NONE;
    if (ld->twice || ld->failed || ld->returned != CELLAR_OK || ld->trouble != CELLAR_OK ||
        !told) {
        flight_bytes_drop(value);
        return false;
    }
    cache_instead(ld, value, CELLAR_SOURCE_FALLBACK, o);
    return true;
}

/* Return a mix of the fallback functions, without ctx, which may differ per caller. 0: none. */
static uint32_t cache_fallbacks_of(const cellar_load_opts *o)
{
    uint64_t mix = 0;
    for (unsigned i = 0; o != NULL && i < CELLAR_FALLBACKS_MAX; i++) {
        if (o->fallback[i].fn != NULL) { mix = base_mix64(mix ^ (uintptr_t)o->fallback[i].fn); }
    }
    return mix == 0 ? 0 : (uint32_t)mix | 1u;
}

static bool cache_has_stale(const cache_call *call)
{
    return call->old != NULL && (call->p.flags & CELLAR_LOAD_REFRESH) == 0;
}

/* Copy the default value. Return NULL if there is none or no memory is left. */
static flight_bytes *cache_default_value(const cache_call *call)
{
    const cellar_bytes *from = call->o != NULL ? call->o->default_value : NULL;
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
    const uint32_t own = cache_fallbacks_of(call->o);
    if ((call->p.flags & CELLAR_LOAD_ONLY_IF_CACHED) != 0) { /* only a cached answer is wanted */
        (void)cache_answer(call, err, source);
        return true;
    }
    if (own != 0 && own != asked && !cache_has_stale(call) && !flight_deep(base_thread_self())) {
        call->instead = true;
        call->failed = err;
        call->hold_ms = source == CELLAR_SOURCE_ERROR_ENTRY ? call->retry_at_ms : 0;
        return false;
    }
    if (cache_answer_in_vain(call, err) == err) { call->source = source; }
    return true;
}

CELLAR_PRIVATE bool cache_fallbacks(struct cellar_load *ld, flight_outcome *o)
{
    cache_call *call = ld->call;
    const cellar_load_opts *opts = call->o;
    if (opts == NULL || cache_has_stale(call) || call->job != NULL) { return false; }
    for (unsigned i = 0; i < CELLAR_FALLBACKS_MAX; i++) {
        if (opts->fallback[i].fn != NULL && cache_fallback_one(ld, &opts->fallback[i], o)) {
            return true;
        }
    }
    o->asked = cache_fallbacks_of(opts);
    flight_bytes *value = cache_default_value(call);
    if (value == NULL) { return false; }
    cache_load_anew(ld);
    cache_instead(ld, value, CELLAR_SOURCE_DEFAULT, o);
    return true;
}

CELLAR_PRIVATE void cache_guard_refused(struct cellar_load *ld, flight_outcome *o)
{
    cache_call *call = ld->call;
    const bool open = !call->instead;
    const cellar_err err = open ? CELLAR_E_BREAKER_OPEN : call->failed;
    call->now_ms = base_now_ms(&call->c->store->clock);
    ld->returned = err;
    if (cache_fallbacks(ld, o)) { return; }
    if (open) {
        call->retry_at_ms = base_add_sat(call->now_ms, cache_breaker_wait(call->p.breaker));
    }
    o->phase = FLIGHT_FAILED;
    o->err = err;
    o->loader_err = call->loader_err;
    /* Only waiters of the failed flight get its error: later callers may ask the source. */
    if (open || call->hold_ms != 0) { o->flags |= FLIGHT_FINAL; }
    o->retry_at_ms = call->retry_at_ms;
    (void)cache_answer_failed(call, err);
    if (!open && call->code == err) {
        call->source = call->hold_ms != 0 ? CELLAR_SOURCE_ERROR_ENTRY : CELLAR_SOURCE_JOINED;
    }
}
