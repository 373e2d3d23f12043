/* SPDX-License-Identifier: MIT
 *
 * load_plan: merge the options of a load: of the call, else of the namespace, else of the store.
 *
 * INVARIANTS Bad options are refused before any change, on a hit as on a miss: a hit without a plan
 *            (load_look.c) has options that are easy to prove valid. A namespace keeps merged
 *            values. A load works with a copy.
 * LOCKING    NAMESPACE for the loader of the namespace, which is three words; all others are single
 *            atomic words.
 * LIMITS     hard_timeout_ms up to 24 hours and never off: it frees a key if its loader hangs. */
#include "loading/load_plan.h"

#include "cache/error.h"
#include "loading/loading.h"

#define CACHE_HARD_MAX_MS ((int64_t)24 * 3600 * 1000)
#define CACHE_LOAD_FLAGS                                                                           \
    (CELLAR_LOAD_BYPASS | CELLAR_LOAD_REFRESH | CELLAR_LOAD_ONLY_IF_CACHED |                       \
     CELLAR_LOAD_NO_STORE | CELLAR_LOAD_NO_L2 | CELLAR_LOAD_NO_JOIN | CELLAR_LOAD_CTX_STATIC |     \
     CELLAR_LOAD_PIN | CELLAR_LOAD_NO_NEGATIVE | CELLAR_LOAD_NO_WAIT | CELLAR_LOAD_RECURSE |    \
     CELLAR_LOAD_WAIT_DISK)

/* Values if no option is set; 0: off, or computed from others. */
static const int64_t cache_load_ms_default[CACHE_LOAD_TIMES] = {
    [CACHE_ERROR_MAX] = 60000, [CACHE_THROTTLE] = 30000, [CACHE_HARD] = 30000,
};
static const uint32_t cache_load_n_default[CACHE_LOAD_NUMBERS] = {
    [CACHE_HANDOVERS] = 1, [CACHE_TAKEOVERS] = 2,
};

/* ---- checks for call, namespace and store ---- */

static const char cache_load_soft_over_hard[] =
    "hard_timeout_ms must be at least soft_timeout_ms";

/* Copy the options. 0: not set. */
static void cache_load_plan_read(const cellar_load_opts *o, cache_load_plan *p)
{
    *p = (cache_load_plan){
        .ms = { [CACHE_ERROR_TTL] = o->error_ttl_ms, [CACHE_ERROR_MAX] = o->error_ttl_max_ms,
                [CACHE_THROTTLE] = o->retry_throttle_ms, [CACHE_SOFT] = o->soft_timeout_ms,
                [CACHE_HARD] = o->hard_timeout_ms, [CACHE_WAIT] = o->wait_timeout_ms },
        .n = { [CACHE_JITTER_PCT] = o->jitter_pct, [CACHE_JITTER_MODE] = o->jitter_mode,
               [CACHE_NO_NEGATIVE] = (o->flags & CELLAR_LOAD_NO_NEGATIVE) != 0,
               [CACHE_EAGER] = o->eager_refresh_pct, [CACHE_XFETCH] = o->xfetch_beta_x100,
               [CACHE_HANDOVERS] = o->join_retries, [CACHE_TAKEOVERS] = o->leader_retries },
        .ttl_ms = o->ttl_ms, .negative_ttl_ms = o->negative_ttl_ms, .stale_ms = o->stale_ms,
        .fallback_ttl_ms = o->fallback_ttl_ms, .flags = o->flags, .breaker = o->breaker,
        .fallback = { o->fallback[0], o->fallback[1], o->fallback[2] },
        .default_value = o->default_value, .ctx_bytes = o->ctx_bytes,
        .ctx_retain = o->ctx_retain, .ctx_release = o->ctx_release,
        .trace = o->trace,
    };
}

static bool cache_above(uint32_t n, uint32_t most) { return n > most && n != CELLAR_OFF; }

/* Name the time that is negative. */
static cellar_err cache_load_time_broken(const cache_load_plan *p, cache_broken *why)
{
    const struct { const char *rule; int64_t ms; } of[] = {
        { "ttl_ms must be 0 or more", p->ttl_ms },
        { "negative_ttl_ms must be 0 or more", p->negative_ttl_ms },
        { "stale_ms must be 0 or more", p->stale_ms },
        { "fallback_ttl_ms must be 0 or more", p->fallback_ttl_ms },
        { "error_ttl_ms must be 0 or more", p->ms[CACHE_ERROR_TTL] },
        { "error_ttl_max_ms must be 0 or more", p->ms[CACHE_ERROR_MAX] },
        { "retry_throttle_ms must be 0 or more", p->ms[CACHE_THROTTLE] },
        { "soft_timeout_ms must be 0 or more", p->ms[CACHE_SOFT] },
        { "hard_timeout_ms must be 0 or more", p->ms[CACHE_HARD] },
        { "wait_timeout_ms must be 0 or more", p->ms[CACHE_WAIT] },
    };
    unsigned at = 0;
    while (of[at].ms >= 0) { at++; }
    return cache_breaks_by(why, CELLAR_E_INVAL, of[at].rule, of[at].ms);
}

/* Check the options that a call and a namespace share. */
static cellar_err cache_load_plan_check(const cache_load_plan *p, cache_broken *why)
{
    static const struct { uint32_t most; const char *why; } rule[CACHE_LOAD_NUMBERS] = {
        [CACHE_EAGER] = { 99, "eager_refresh_pct must be 1..99 or CELLAR_OFF (0: default)" },
        [CACHE_XFETCH] = { 100000, "xfetch_beta_x100 must be 1..100,000 or CELLAR_OFF "
                                   "(0: default)" },
        [CACHE_HANDOVERS] = { 8, "join_retries must be 1..8 or CELLAR_OFF (0: default)" },
        [CACHE_TAKEOVERS] = { 15, "leader_retries must be 1..15 or CELLAR_OFF (0: default)" },
    };
    const cellar_err bad = CELLAR_E_INVAL;
    const int64_t hard = p->ms[CACHE_HARD], soft = p->ms[CACHE_SOFT];
    const int64_t error_max = p->ms[CACHE_ERROR_MAX];
    const uint32_t eager = p->n[CACHE_EAGER], xfetch = p->n[CACHE_XFETCH];
    int64_t all = p->ttl_ms | p->negative_ttl_ms | p->stale_ms | p->fallback_ttl_ms;
    for (unsigned i = 0; i < CACHE_LOAD_TIMES; i++) { all |= p->ms[i]; }
    if (all < 0) { return cache_load_time_broken(p, why); }
    if (hard > CACHE_HARD_MAX_MS) {
        return cache_breaks_by(why, bad, "hard_timeout_ms must be at most 24 h", hard);
    }
    if (hard != 0 && soft != CELLAR_TTL_NONE && hard < soft) {
        return cache_breaks_by(why, bad, cache_load_soft_over_hard, hard);
    }
    if (error_max > CACHE_HARD_MAX_MS) {
        return cache_breaks_by(why, bad, "error_ttl_max_ms must be at most 24 h", error_max);
    }
    if (cache_above(p->n[CACHE_JITTER_PCT], 100)) {
        return cache_breaks_by(why, bad, "jitter_pct must be 1..100 or CELLAR_OFF (0: default)",
                               p->n[CACHE_JITTER_PCT]);
    }
    if (p->n[CACHE_JITTER_MODE] > CELLAR_JITTER_PLUSMINUS) {
        return cache_breaks_by(why, bad, "jitter_mode must be 0..2, a cellar_jitter",
                               p->n[CACHE_JITTER_MODE]);
    }
    for (unsigned i = CACHE_EAGER; i < CACHE_LOAD_NUMBERS; i++) {
        if (cache_above(p->n[i], rule[i].most)) {
            return cache_breaks_by(why, bad, rule[i].why, p->n[i]);
        }
    }
    if (eager != 0 && eager != CELLAR_OFF && xfetch != 0 && xfetch != CELLAR_OFF) {
        return cache_breaks(why, bad, "set eager_refresh_pct or xfetch_beta_x100, not both");
    }
    return CELLAR_OK;
}

/* ---- namespace and store ---- */

/* Return the rule broken by options that only calls may set; NULL: none. */
static const char *cache_load_namespace_extra(const cellar_load_opts *o)
{
    if (o->ttl_ms != 0 || o->negative_ttl_ms != 0 || o->stale_ms != 0) {
        return "load: set ttl_ms, negative_ttl_ms and stale_ms in the namespace options";
    }
    if ((o->flags & ~CELLAR_LOAD_NO_NEGATIVE) != 0) {
        return "load.flags of a namespace must be 0 or CELLAR_LOAD_NO_NEGATIVE";
    }
    for (unsigned i = 0; i < CELLAR_FALLBACKS_MAX; i++) {
        if (o->fallback[i].fn != NULL || o->fallback[i].ctx != NULL) {
            return "load.fallback is an option of calls, not of namespaces";
        }
    }
    if (o->fallback_ttl_ms != 0 || o->default_value != NULL || o->ctx_bytes != 0 ||
        o->ctx_retain != NULL || o->ctx_release != NULL || o->trace != NULL || o->result != NULL) {
        return "load: fallback_ttl_ms, default_value, ctx, trace and result are options of calls";
    }
    return o->breaker != NULL ? "load.breaker: set breaker in the namespace options" : NULL;
}

CELLAR_PRIVATE cellar_err cache_load_namespace_check(const cellar_namespace_config *o,
                                                     cache_broken *why)
{
    cellar_load_opts full = cellar_load_opts_default();
    const cellar_err err = o->load != NULL ? base_opts_in(&full, sizeof full, o->load) : CELLAR_OK;
    if (err != CELLAR_OK) {
        return cache_breaks(why, err, "load: start from cellar_load_opts_default()");
    }
    cache_load_plan p;
    cache_load_plan_read(&full, &p);
    /* Then a load without options is never refused. */
    if (p.ms[CACHE_HARD] == 0) { p.ms[CACHE_HARD] = cache_load_ms_default[CACHE_HARD]; }
    const char *const extra = cache_load_namespace_extra(&full);
    if (extra != NULL) { return cache_breaks(why, CELLAR_E_INVAL, extra); }
    const cellar_err broken = cache_load_plan_check(&p, why);
    why->part = "load";
    return broken;
}

CELLAR_PRIVATE void cache_load_defaults(cellar *v, const cellar_load_opts *o)
{
    cellar_load_opts full = cellar_load_opts_default();
    if (o != NULL) { (void)base_opts_in(&full, sizeof full, o); } /* checked before */
    cache_load_plan p;
    cache_load_plan_read(&full, &p);
    for (unsigned i = 0; i < CACHE_LOAD_TIMES; i++) {
        base_store_rlx(&v->load_ms[i], p.ms[i] != 0 ? p.ms[i] : cache_load_ms_default[i]);
    }
    if (p.n[CACHE_JITTER_PCT] == 0) {
        p.n[CACHE_JITTER_PCT] = v->store->jitter[0];
        p.n[CACHE_JITTER_MODE] = v->store->jitter[1];
    }
    for (unsigned i = 0; i < CACHE_LOAD_NUMBERS; i++) {
        const uint32_t n = p.n[i] != 0 ? p.n[i] : cache_load_n_default[i];
        base_store_rlx(&v->load_n[i], n == CELLAR_OFF ? 0 : n);
    }
}

CELLAR_PRIVATE void cache_load_namespace_apply(cellar *v, const cellar_namespace_config *o)
{
    cache_load_defaults(v, o->load);
    v->loader = o->loader;
    base_store_rlx(&v->has_loader, o->loader != NULL);
    v->loader_many = o->loader_many;
    v->loader_ctx = o->loader_ctx;
}

CELLAR_PRIVATE void cache_load_open(cache_store *s, const cache_settings *cfg)
{
    const cellar_tuning_config *t = &cfg->tuning;
    s->close_ms = t->close_timeout_ms != 0 ? t->close_timeout_ms : 5000;
    s->max_flights = t->max_loads != 0 ? t->max_loads : 16384;
    s->max_waiters = t->max_load_waiters != 0 ? t->max_load_waiters : 65536;
    s->jitter[0] = t->jitter_pct != 0 ? t->jitter_pct : 10;
    s->jitter[1] = t->jitter_mode;
}

/* ---- one call ---- */

/* Return whether the options that few calls set are easy. */
BASE_NOINLINE static bool cache_load_rest_is_easy(const cellar *c, const cellar_load_opts *o)
{
    const int64_t signs = o->error_ttl_ms | o->retry_throttle_ms | o->wait_timeout_ms |
                          o->fallback_ttl_ms;
    const uint64_t day = (uint64_t)CACHE_HARD_MAX_MS;
    /* CELLAR_OFF + 1 is 0 */
    return signs >= 0 && (uint64_t)o->error_ttl_max_ms <= day && o->soft_timeout_ms == 0 &&
           (o->hard_timeout_ms == 0 || ((uint64_t)o->hard_timeout_ms <= day &&
                                        base_load_rlx(&c->load_ms[CACHE_SOFT]) == 0)) &&
           (o->eager_refresh_pct | o->xfetch_beta_x100) == 0 && o->jitter_pct + 1 <= 101 &&
           o->jitter_mode <= CELLAR_JITTER_PLUSMINUS && o->join_retries + 1 <= 9 &&
           o->leader_retries + 1 <= 16 && o->ctx_bytes <= CELLAR_LOAD_CTX_MAX &&
           o->default_value == NULL && (o->ctx_retain == NULL) == (o->ctx_release == NULL);
}

CELLAR_PRIVATE bool cache_load_opts_are_easy(const cellar *c, const cellar_load_opts *o)
{
    const uint32_t hard_flags = ~CACHE_LOAD_FLAGS | CELLAR_LOAD_BYPASS | CELLAR_LOAD_REFRESH;
    if (o == NULL) { return true; }
    if (o->struct_size != sizeof *o) { return false; }
    const int64_t times = o->error_ttl_ms | o->error_ttl_max_ms | o->retry_throttle_ms |
                          o->soft_timeout_ms | o->hard_timeout_ms | o->wait_timeout_ms |
                          o->fallback_ttl_ms;
    const uint32_t numbers = o->jitter_pct | o->jitter_mode | o->join_retries | o->leader_retries |
                             o->eager_refresh_pct | o->xfetch_beta_x100 | o->ctx_bytes;
    const uintptr_t pointers = (uintptr_t)o->ctx_retain | (uintptr_t)o->ctx_release |
                               (uintptr_t)o->default_value;
    const bool rest = ((uint64_t)times | numbers | pointers) != 0;
    return (o->ttl_ms | o->negative_ttl_ms) >= 0 &&
           (uint64_t)o->stale_ms <= (uint64_t)CACHE_WINDOW_MAX && (o->flags & hard_flags) == 0 &&
           (!rest || cache_load_rest_is_easy(c, o));
}

static cellar_err cache_load_call_check(const cache_load_plan *p, cache_broken *why)
{
    const uint32_t both = CELLAR_LOAD_BYPASS | CELLAR_LOAD_ONLY_IF_CACHED;
    const uint32_t unknown = p->flags & ~CACHE_LOAD_FLAGS;
    const cellar_bytes *d = p->default_value;
    const cellar_err bad = CELLAR_E_INVAL;
    if (unknown != 0) {
        return cache_breaks_by(why, bad, "flags has an unknown bit: this library and its "
                                         "header do not have it", unknown);
    }
    const cellar_err err = cache_load_plan_check(p, why);
    if (err != CELLAR_OK) { return err; }
    if (p->stale_ms > CACHE_WINDOW_MAX) {
        return cache_breaks_by(why, bad, "stale_ms must be at most 2^32 - 1", p->stale_ms);
    }
    if (d != NULL && (d->len > CELLAR_VALUE_MAX || (d->data == NULL && d->len != 0))) {
        return cache_breaks_size(why, bad, "default_value must have data, and at most 2^30 - 1 "
                                           "bytes", d->len);
    }
    if ((p->flags & both) == both) {
        return cache_breaks(why, bad, "set BYPASS or ONLY_IF_CACHED, not both");
    }
    if (p->ctx_bytes > CELLAR_LOAD_CTX_MAX) {
        return cache_breaks_size(why, bad, "ctx_bytes must be at most 256", p->ctx_bytes);
    }
    if ((p->ctx_retain == NULL) != (p->ctx_release == NULL)) {
        return cache_breaks(why, bad, "set both ctx_retain and ctx_release");
    }
    return CELLAR_OK;
}

CELLAR_PRIVATE uint32_t cache_fallbacks_of(const cache_load_plan *p)
{
    uint64_t mix = 0;
    for (unsigned i = 0; i < CELLAR_FALLBACKS_MAX; i++) {
        if (p->fallback[i].fn != NULL) { mix = base_mix64(mix ^ (uintptr_t)p->fallback[i].fn); }
    }
    return mix == 0 ? 0 : (uint32_t)mix | 1u;
}

/* Make the plan of a call without options: that of its namespace. */
static void cache_load_plan_of(const cellar *c, cache_load_plan *p)
{
    *p = (cache_load_plan){ .ttl_ms = cache_default(c, CACHE_TTL),
                            .negative_ttl_ms = cache_default(c, CACHE_NEGATIVE_TTL),
                            .stale_ms = cache_default(c, CACHE_STALE),
                            .breaker = base_load_acq(&c->breaker) };
    for (unsigned i = 0; i < CACHE_LOAD_TIMES; i++) { p->ms[i] = base_load_rlx(&c->load_ms[i]); }
    for (unsigned i = 0; i < CACHE_LOAD_NUMBERS; i++) { p->n[i] = base_load_rlx(&c->load_n[i]); }
}

static void cache_load_open_ms(int64_t *own, int64_t rest)
{
    if (*own == 0) { *own = rest; }
}

/* Note which times the call sets, and fill what it leaves open from the plan of its namespace. */
static void cache_load_plan_fill(cache_load_plan *p, const cache_load_plan *rest)
{
    const bool eager = p->n[CACHE_EAGER] != 0;
    p->own = (uint8_t)((p->ttl_ms != 0 ? CACHE_GIVEN_TTL : 0u) |
                       (p->negative_ttl_ms != 0 ? CACHE_GIVEN_NEGATIVE : 0u) |
                       (p->stale_ms != 0 ? CACHE_GIVEN_STALE : 0u) |
                       (p->n[CACHE_JITTER_PCT] != 0 ? CACHE_GIVEN_JITTER : 0u) |
                       (cache_load_early(p) ? CACHE_GIVEN_REFRESH : 0u));
    p->given = true;
    cache_load_open_ms(&p->ttl_ms, rest->ttl_ms);
    cache_load_open_ms(&p->negative_ttl_ms, rest->negative_ttl_ms);
    cache_load_open_ms(&p->stale_ms, rest->stale_ms);
    for (unsigned i = 0; i < CACHE_LOAD_TIMES; i++) { cache_load_open_ms(&p->ms[i], rest->ms[i]); }
    if (p->n[CACHE_JITTER_PCT] == 0) { /* percent and mode are of the same source */
        p->n[CACHE_JITTER_MODE] = rest->n[CACHE_JITTER_MODE];
    }
    for (unsigned i = 0; i < CACHE_LOAD_NUMBERS; i++) {
        if (p->n[i] == 0 && i != CACHE_JITTER_MODE) { p->n[i] = rest->n[i]; }
        if (p->n[i] == CELLAR_OFF) { p->n[i] = 0; }
    }
    /* If one is set by the call and one by the namespace, the call wins. */
    if (p->n[CACHE_EAGER] != 0 && p->n[CACHE_XFETCH] != 0) {
        p->n[eager ? CACHE_XFETCH : CACHE_EAGER] = 0;
    }
    if (p->breaker == NULL) { p->breaker = rest->breaker; }
}

CELLAR_PRIVATE cellar_err cache_load_plan_make(cellar *c, const cellar_load_opts *o,
                                               const char *const *calls, cache_load_plan *p)
{
    cellar_load_opts full;
    cache_broken why;
    const bool given = o != NULL;
    if (given && o->struct_size != sizeof full) {
        const cellar_err err = base_opts_in(&full, sizeof full, o);
        if (err != CELLAR_OK) {
            if (err == CELLAR_E_UNSUPPORTED) {
                return cache_fail_flags(c, cache_call_name(c, calls), 0);
            }
            (void)cache_breaks(&why, err, "struct_size of the options is wrong: start from "
                                          "cellar_load_opts_default()");
            return cache_fail_broken(c, err, cache_call_name(c, calls), &why);
        }
        o = &full;
    }
    cache_load_plan_of(c, p);
    if (given) {
        const cache_load_plan rest = *p;
        cache_load_plan_read(o, p);
        cellar_err err = cache_load_call_check(p, &why);
        if (err == CELLAR_OK && p->default_value != NULL && c->object_class != UINT32_MAX) {
            err = cache_breaks(&why, CELLAR_E_UNSUPPORTED, "objects have no default_value");
        }
        if (err != CELLAR_OK) { return cache_fail_broken(c, err, cache_call_name(c, calls), &why); }
        cache_load_plan_fill(p, &rest);
        const cache_tier *t = cache_tier_of(c);
        if (t != NULL && cache_tier_disk(t) == NULL) { p->flags &= ~CELLAR_LOAD_NO_L2; }
    }
    if (p->ms[CACHE_SOFT] == CELLAR_TTL_NONE) { p->ms[CACHE_SOFT] = 0; }
    cache_load_open_ms(&p->ms[CACHE_WAIT], p->ms[CACHE_HARD]);
    cache_load_open_ms(&p->fallback_ttl_ms, p->ms[CACHE_THROTTLE]);
    if (p->ms[CACHE_SOFT] <= p->ms[CACHE_HARD]) { return CELLAR_OK; }
    /* one set by the call, one by the namespace */
    if (given && (o->soft_timeout_ms | o->hard_timeout_ms) != 0) {
        (void)cache_breaks_by(&why, CELLAR_E_INVAL, cache_load_soft_over_hard, p->ms[CACHE_HARD]);
        return cache_fail_broken(c, CELLAR_E_INVAL, cache_call_name(c, calls), &why);
    }
    /* the namespace changed between two reads: not a fault of the call */
    p->ms[CACHE_SOFT] = p->ms[CACHE_HARD];
    return CELLAR_OK;
}
