/* SPDX-License-Identifier: MIT
 *
 * breaker_calls: circuit breakers of callers and loads, with the clock, log and counters of a
 * store.
 *
 * LIFETIME   A breaker keeps its namespace and the shell of its store alive: it may be destroyed
 *            after the store is closed. It must outlive the loads that use it.
 * LOCKING    None; a breaker is one atomic word (breaker/). NAMESPACE when a namespace gets a
 *            breaker.
 * SEE ALSO   load_lead.c: reports of loads. */
#include "loading/breaker_calls.h"

#include "cache/call.h"
#include "cache/error.h"
#include "cache/handle.h"
#include "cache/talk.h"

static const breaker_rule cache_breaker_default = { 50, 20, 5, 3, 5000, 60000 };

BASE_SIZE_BEGIN

/* Name the number of a rule that is out of its range. */
static cellar_err cache_breaker_broken(const breaker_rule *r, cache_broken *why)
{
    unsigned i = 0;
    const struct { const char *rule; int64_t got, min, max; } of[] = {
        { "failure_pct must be 1..100", r->failure_pct, 1, 100 },
        { "min_calls must be 1..1,000,000", r->min_calls, 1, 1000000 },
        { "consecutive_failures must be 1..63", r->consecutive_failures, 1, 63 },
        { "half_open_successes must be 1..15", r->half_open_successes, 1, 15 },
        { "open_ms must be at least 1", r->open_ms, 1, INT64_MAX },
        { "open_max_ms must be open_ms..2^40", r->open_max_ms, r->open_ms, (int64_t)1 << 40 },
    };
    while (i < 5 && of[i].got >= of[i].min && of[i].got <= of[i].max) { i++; }
    return cache_breaks_by(why, CELLAR_E_INVAL, of[i].rule, of[i].got);
}

static cellar_err cache_breaker_rule(const cellar_breaker_config *o, breaker_rule *r,
                                     cache_broken *why)
{
    *r = cache_breaker_default;
    if (o == NULL) { return CELLAR_OK; }
    cellar_breaker_config full;
    const cellar_err err = base_opts_in(&full, sizeof full, o);
    if (err != CELLAR_OK) {
        return cache_breaks(why, err,
                            "struct_size is wrong: start from cellar_breaker_config_default()");
    }
    if (full.failure_pct != 0) { r->failure_pct = full.failure_pct; }
    if (full.min_calls != 0) { r->min_calls = full.min_calls; }
    if (full.consecutive_failures != 0) { r->consecutive_failures = full.consecutive_failures; }
    if (full.half_open_successes != 0) { r->half_open_successes = full.half_open_successes; }
    if (full.open_ms != 0) { r->open_ms = full.open_ms; }
    if (full.open_max_ms != 0) { r->open_max_ms = full.open_max_ms; }
    if (full.open_max_ms == 0 && r->open_ms > r->open_max_ms) { r->open_max_ms = r->open_ms; }
    return breaker_rule_ok(r) ? CELLAR_OK : cache_breaker_broken(r, why);
}

CELLAR_PRIVATE cellar_err cache_breaker_check(const cellar_breaker_config *o, cache_broken *why)
{
    breaker_rule r;
    const cellar_err err = cache_breaker_rule(o, &r, why);
    why->part = "breaker";
    return err;
}

static cellar_breaker *cache_breaker_new(cellar *c, const breaker_rule *r)
{
    cache_store *s = c->store;
    cellar_breaker *b = base_alloc_raw(&s->hooks, sizeof *b);
    if (b == NULL) { return NULL; }
    breaker_init(&b->b, r, base_now_ms(&s->clock));
    b->bytes = sizeof *b;
    b->c = c;
    return b;
}

CELLAR_API cellar_err cellar_breaker_create(cellar *c, const cellar_breaker_config *o,
                                            cellar_breaker **out)
{
    if (out != NULL) { *out = NULL; }
    if (c == NULL || out == NULL) {
        return cache_refuse(c, "cellar_breaker_create: c and out must not be NULL");
    }
    breaker_rule r;
    cache_broken why;
    const cellar_err err = cache_breaker_rule(o, &r, &why);
    if (err != CELLAR_OK) { return cache_fail_broken(c, err, __func__, &why); }
    if (cache_is_closed(c)) { return cache_closed(c, __func__); }
    *out = cache_breaker_new(c, &r);
    if (*out == NULL) {
        return cache_fail(c, CELLAR_E_NOMEM, 0, "cellar_breaker_create: no memory");
    }
    (void)base_add_rlx(&c->refs, 1u); /* its handle is open: refs >= 1 */
    cache_store_hold(c->store);
    return CELLAR_OK;
}

CELLAR_API void cellar_breaker_destroy(cellar_breaker *b)
{
    if (b == NULL || cache_is_forked(b->c)) { return; }
    cellar *c = b->c;
    cache_store *s = c->store;
    const base_alloc_hooks hooks = base_hooks_keep(&s->hooks);
    cache_namespace_release(c);
    cache_store_release(s, 1);
    base_free_raw(&hooks, b, b->bytes);
}

/* ---- breaker of a namespace ---- */

CELLAR_PRIVATE cellar_err cache_breaker_start(cellar *c, const cellar_breaker_config *o)
{
    breaker_rule r;
    cache_broken why;
    cache_store *s = c->store;
    if (base_load_acq(&c->breaker) != NULL) { return CELLAR_OK; }
    const cellar_err err = cache_breaker_rule(o, &r, &why);
    if (err != CELLAR_OK) { return err; }
    cellar_breaker *b = cache_breaker_new(c, &r);
    if (b == NULL) { return CELLAR_E_NOMEM; }
    if (!base_cas_ar(&c->breaker, (cellar_breaker *)NULL, b)) {
        base_free_raw(&s->hooks, b, b->bytes);
    }
    return CELLAR_OK;
}

CELLAR_PRIVATE int cache_breaker_state(const cellar *c)
{
    const cellar_breaker *b = base_load_acq(&c->breaker);
    return b != NULL ? (int)breaker_state_of(&b->b) : -1;
}

/* ---- passes ---- */

CELLAR_PRIVATE bool cache_breaker_admit(cellar_breaker *b, uint32_t *pass)
{
    cellar *c = b->c;
    if (breaker_admit(&b->b, base_now_ms(&c->store->clock), pass)) { return true; }
    if (!cache_is_closed(c)) { stats_count(c->stats, STATS_BREAKER_REJECT, 1); }
    return false;
}

CELLAR_PRIVATE int64_t cache_breaker_wait(cellar_breaker *b)
{
    return breaker_wait_ms(&b->b, base_now_ms(&b->c->store->clock));
}

CELLAR_PRIVATE void cache_breaker_report(cellar_breaker *b, uint32_t pass, breaker_outcome how)
{
    cellar *c = b->c;
    cache_store *s = c->store;
    switch (breaker_report(&b->b, pass, how, base_now_ms(&s->clock))) {
    case BREAKER_SAME: return;
    case BREAKER_OPENED:
        if (!cache_is_closed(c)) { stats_count(c->stats, STATS_BREAKER_OPENED, 1); }
        cache_log(c, BASE_LOG_WARNING, "breaker", (int)CELLAR_E_BREAKER_OPEN,
                  "circuit breaker opened: too many calls failed");
        return;
    case BREAKER_CLOSED_AGAIN:
        cache_log(c, BASE_LOG_INFO, "breaker", (int)CELLAR_OK,
                  "circuit breaker closed: calls succeed again");
        return;
    }
}

CELLAR_API cellar_err cellar_breaker_allow(cellar_breaker *b, uint32_t *pass)
{
    if (b == NULL || pass == NULL) { return CELLAR_E_INVAL; }
    if (cache_is_forked(b->c)) { return CELLAR_E_FORKED; }
    return cache_breaker_admit(b, pass) ? CELLAR_OK : CELLAR_E_BREAKER_OPEN;
}

CELLAR_API cellar_err cellar_breaker_record(cellar_breaker *b, uint32_t pass,
                                            cellar_breaker_outcome outcome)
{
    static const breaker_outcome of[] = { [CELLAR_BREAKER_SUCCESS] = BREAKER_WORKED,
                                          [CELLAR_BREAKER_FAILURE] = BREAKER_FAILED,
                                          [CELLAR_BREAKER_IGNORED] = BREAKER_SAID_NOTHING };
    if (b == NULL || (unsigned)outcome >= sizeof of / sizeof of[0]) { return CELLAR_E_INVAL; }
    if (cache_is_forked(b->c)) { return CELLAR_E_FORKED; }
    cache_breaker_report(b, pass, of[outcome]);
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_breaker_reset(cellar_breaker *b)
{
    if (b == NULL) { return CELLAR_E_INVAL; }
    if (cache_is_forked(b->c)) { return CELLAR_E_FORKED; }
    breaker_reset(&b->b);
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_breaker_info_get(cellar_breaker *b, cellar_breaker_info *out)
{
    if (b == NULL || out == NULL) { return CELLAR_E_INVAL; }
    if (cache_is_forked(b->c)) { return CELLAR_E_FORKED; }
    cellar_breaker_info i = { .struct_size = sizeof i, .state = (uint32_t)breaker_state_of(&b->b) };
    i.retry_after_ms = breaker_wait_ms(&b->b, base_now_ms(&b->c->store->clock));
    i.calls = base_load_rlx(&b->b.calls);
    i.failures = base_load_rlx(&b->b.failures);
    i.rejects = base_load_rlx(&b->b.rejects);
    i.opens = base_load_rlx(&b->b.opens);
    return base_opts_out(out, &i, sizeof i);
}

BASE_SIZE_END
