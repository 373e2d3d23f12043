/* SPDX-License-Identifier: MIT
 *
 * load_guard: what stands between a load and a source that is sick, or that never had the key.
 *
 * PICTURE    miss -> Bloom filter knows it absent: ABSENT, no flight, no loader
 *            leader -> breaker open: no loader -> stale, else fallbacks, else default, else E_OPEN
 *            loader failed: the same order, with its error at the end
 * INVARIANTS a pass of the breaker is reported once, also when the loader's thread ends inside it.
 *            What a fallback brought is told as what it is: source FALLBACK or DEFAULT, kept for
 *            fallback_ttl_ms, in memory only. A loader that said "none" has answered: nothing else
 *            is asked.
 * LOCKING    none; the loaders of fallbacks run as any loader does.
 * LIMITS     3 fallbacks; they and the default value belong to loads in the foreground. In bulk
 *            they are asked key by key, of a lease where it is refused or abandoned.
 * NOT HERE   the filter (filter.c), the breaker (guard/breaker.c). */
#include "cache/load_int.h"

/* ---- the filter ---- */

CELLAR_PRIVATE bool cache_filter_answers(cache_call *call)
{
    if (BASE_LIKELY(base_load_acq(&call->c->bloom) == NULL) || call->audit) { return false; }
    const cache_word word = cache_filter_stops(call->c, call->k.bytes, call->k.len);
    call->audit = word == CACHE_WORD_AUDIT; /* also when it looks again */
    if (word != CACHE_WORD_NEVER) { return false; }
    (void)cache_answer(call, CELLAR_ABSENT, CELLAR_SOURCE_FILTER);
    return true;
}

static cellar_err cache_guarded_absent(cellar *c, cellar_result *out, bool sampled,
                                       const void *key, size_t key_len)
{
    cache_hit_out(out, 0);
    out->value = NULL;
    out->source = CELLAR_SOURCE_FILTER;
    stats_add(cache_mine(c), STATS_NEGATIVE, 1);
    if (sampled) { cache_filter_note(c, key, key_len, CELLAR_MISS); }
    return CELLAR_ABSENT;
}

CELLAR_PRIVATE bool cache_guarded_hit(cellar *c, const void *key, size_t key_len,
                                      cellar_result *out, cellar_err *err, bool *audit)
{
    const bool first = (base_load_rlx(&c->state) & CACHE_FILTER) != 0; /* nothing else: caller */
    const bool sampled = stats_sample(base_self());
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
        /* Something stale under a key that was never added: there is no such thing. */
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
    const int64_t hard_ms = ld->call->p.hard_ms;
    const bool late = hard_ms > 0 && ld->ns / 1000000 >= (uint64_t)hard_ms;
    if (late || (verdict == CELLAR_E_LOADER && !cache_error_is_ours((int32_t)ld->returned)) ||
        verdict == CELLAR_E_NO_RESULT) {
        how = BREAKER_FAILED;
    } else if (verdict == CELLAR_OK) {
        how = BREAKER_WORKED;
    }
    cache_breaker_report(ld->breaker, ld->pass, how);
    ld->breaker = NULL;
}

/* ---- something instead ---- */

/* The loader's handle as it was before anything was said. */
static void cache_load_anew(struct cellar_load *ld)
{
    ld->value = NULL;
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

static void cache_instead(struct cellar_load *ld, flight_bytes *value, uint32_t source,
                          flight_outcome *o)
{
    cache_call *call = ld->call;
    ld->no_disk = true;
    if (!ld->has_ttl) {
        ld->has_ttl = true;
        ld->ttl_ms = call->p.fallback_ttl_ms;
    }
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

CELLAR_PRIVATE bool cache_fallbacks(struct cellar_load *ld, flight_outcome *o)
{
    cache_call *call = ld->call;
    const cellar_load_opts *opts = call->o;
    const bool stale = call->old != NULL && (call->p.flags & CELLAR_LOAD_REFRESH) == 0;
    if (opts == NULL || stale || call->job != NULL) { return false; }
    for (unsigned i = 0; i < CELLAR_FALLBACKS_MAX; i++) {
        if (opts->fallback[i].fn != NULL && cache_fallback_one(ld, &opts->fallback[i], o)) {
            return true;
        }
    }
    if (opts->default_value == NULL) { return false; }
    const cellar_bytes *from = opts->default_value;
    flight_bytes *value = flight_bytes_new(&call->c->store->hooks, from->len);
    if (value == NULL) { return false; }
    if (from->len != 0) { memcpy(value->data, from->data, from->len); }
    cache_load_anew(ld);
    cache_instead(ld, value, CELLAR_SOURCE_DEFAULT, o);
    return true;
}

/* The breaker let nothing through. */
CELLAR_PRIVATE void cache_guard_refused(struct cellar_load *ld, flight_outcome *o)
{
    cache_call *call = ld->call;
    call->now_ms = base_now_ms(&call->c->store->clock);
    ld->returned = CELLAR_E_OPEN;
    if (cache_fallbacks(ld, o)) { return; }
    o->phase = FLIGHT_FAILED;
    o->err = CELLAR_E_OPEN;
    o->flags |= FLIGHT_FINAL;
    call->retry_at_ms = base_add_sat(call->now_ms, cache_breaker_wait(call->p.breaker));
    o->retry_at_ms = call->retry_at_ms;
    (void)cache_answer_failed(call, CELLAR_E_OPEN);
}
