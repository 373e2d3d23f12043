/* SPDX-License-Identifier: MIT
 *
 * load_guard: the Bloom filter and the breaker of a load.
 *
 * PICTURE    miss -> filter says "never": ABSENT, no flight, no loader
 *            leader -> breaker open: no loader
 * INVARIANTS Each pass of the breaker is reported once, also if the thread ends inside the loader.
 * SEE ALSO   bloom_guard.c, breaker_calls.c; load_fallback.c: what runs instead of the loader. */
#include "cache/load_guard.h"

#include "cache/bloom_guard.h"
#include "cache/breaker_calls.h"
#include "cache/call.h"
#include "cache/load_call.h"

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

CELLAR_PRIVATE bool cache_error_is_ours(int32_t code)
{
    return code == CELLAR_E_CANCELLED || code == CELLAR_E_DEADLOCK || code == CELLAR_E_TIMEOUT ||
           code == CELLAR_E_LIMIT || code == CELLAR_E_DEPTH || code == CELLAR_E_CLOSED;
}

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
