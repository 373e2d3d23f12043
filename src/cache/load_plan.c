/* SPDX-License-Identifier: MIT
 *
 * load_plan: merge the options of a load: of the call, else of the namespace, else of the store.
 *
 * INVARIANTS Bad options are refused before any change, on a hit as on a miss. A namespace keeps
 *            the values it was given (0: not set), so the next load sees changed defaults. A load
 *            works with a copy.
 * LOCKING    NAMESPACE for the loader of the namespace, which is three words; all others are single
 *            atomic words.
 * LIMITS     hard_timeout_ms up to 24 hours and never off: it also frees a key if its loader left
 *            by longjmp. */
#include "cache/load_plan.h"

#include "cache/error.h"
#include "cache/load_types.h"

#define CACHE_HARD_MAX_MS ((int64_t)24 * 3600 * 1000)
#define CACHE_LOAD_FLAGS                                                                           \
    (CELLAR_LOAD_BYPASS | CELLAR_LOAD_REFRESH | CELLAR_LOAD_ONLY_IF_CACHED |                       \
     CELLAR_LOAD_NO_STORE | CELLAR_LOAD_NO_L2 | CELLAR_LOAD_NO_JOIN | CELLAR_LOAD_CTX_STATIC |     \
     CELLAR_LOAD_PIN | CELLAR_LOAD_NO_NEGATIVE | CELLAR_LOAD_NO_WAIT)

/* Values if no option is set; 0: off, or computed from others. */
static const int64_t cache_load_ms_default[CACHE_LOAD_TIMES] = {
    [CACHE_ERROR_TTL] = 0, [CACHE_ERROR_MAX] = 60000, [CACHE_THROTTLE] = 30000,
    [CACHE_SOFT] = 0, [CACHE_HARD] = 30000, [CACHE_WAIT] = 0,
};
static const uint32_t cache_load_n_default[CACHE_LOAD_NUMBERS] = {
    [CACHE_JITTER_PCT] = 0, [CACHE_JITTER_MODE] = CELLAR_JITTER_PLUSMINUS, [CACHE_NO_NEGATIVE] = 0,
    [CACHE_EAGER] = 0, [CACHE_XFETCH] = 0, [CACHE_HANDOVERS] = 1, [CACHE_TAKEOVERS] = 2,
};

/* ---- checks for call, namespace and store ---- */

typedef struct cache_load_range { /* options that a call and a namespace share */
    int64_t ms[CACHE_LOAD_TIMES];
    uint32_t n[CACHE_LOAD_NUMBERS];
} cache_load_range;

static const char cache_load_soft_over_hard[] =
    "load: hard_timeout_ms must be at least soft_timeout_ms";

static bool cache_above(uint32_t n, uint32_t most) { return n > most && n != CELLAR_OFF; }

static const char *cache_load_range_check(const cache_load_range *r)
{
    for (unsigned i = 0; i < CACHE_LOAD_TIMES; i++) {
        if (r->ms[i] < 0) { return "load: a duration is negative: use 0 or more"; }
    }
    if (r->ms[CACHE_HARD] > CACHE_HARD_MAX_MS) {
        return "load: hard_timeout_ms must be at most 24 h";
    }
    if (r->ms[CACHE_HARD] != 0 && r->ms[CACHE_SOFT] != CELLAR_TTL_NONE &&
        r->ms[CACHE_HARD] < r->ms[CACHE_SOFT]) {
        return cache_load_soft_over_hard;
    }
    if (r->ms[CACHE_ERROR_MAX] > CACHE_HARD_MAX_MS) {
        return "load: error_ttl_max_ms must be at most 24 h";
    }
    if (cache_above(r->n[CACHE_JITTER_PCT], 100)) {
        return "load: jitter_pct must be 0..100, or CELLAR_OFF";
    }
    if (r->n[CACHE_JITTER_MODE] > CELLAR_JITTER_PLUS) {
        return "load: jitter_mode must be a cellar_jitter";
    }
    if (cache_above(r->n[CACHE_EAGER], 99)) {
        return "load: eager_refresh_pct must be 0..99, or CELLAR_OFF";
    }
    if (cache_above(r->n[CACHE_XFETCH], 100000)) {
        return "load: xfetch_beta_x100 must be 0..100,000, or CELLAR_OFF";
    }
    const bool eager = r->n[CACHE_EAGER] != 0 && r->n[CACHE_EAGER] != CELLAR_OFF;
    const bool xfetch = r->n[CACHE_XFETCH] != 0 && r->n[CACHE_XFETCH] != CELLAR_OFF;
    if (eager && xfetch) { return "load: set eager_refresh_pct or xfetch_beta_x100, not both"; }
    if (cache_above(r->n[CACHE_HANDOVERS], 8)) {
        return "load: join_retries must be 0..8, or CELLAR_OFF";
    }
    if (cache_above(r->n[CACHE_TAKEOVERS], 15)) {
        return "load: leader_retries must be 0..15, or CELLAR_OFF";
    }
    return NULL;
}

/* ---- namespace and store ---- */

static void cache_load_range_read(const cellar_load_opts *o, cache_load_range *r)
{
    *r = (cache_load_range){
        .ms = { [CACHE_ERROR_TTL] = o->error_ttl_ms, [CACHE_ERROR_MAX] = o->error_ttl_max_ms,
                [CACHE_THROTTLE] = o->retry_throttle_ms, [CACHE_SOFT] = o->soft_timeout_ms,
                [CACHE_HARD] = o->hard_timeout_ms, [CACHE_WAIT] = o->wait_timeout_ms },
        .n = { [CACHE_JITTER_PCT] = o->jitter_pct, [CACHE_JITTER_MODE] = o->jitter_mode,
               [CACHE_NO_NEGATIVE] = (o->flags & CELLAR_LOAD_NO_NEGATIVE) != 0,
               [CACHE_EAGER] = o->eager_refresh_pct, [CACHE_XFETCH] = o->xfetch_beta_x100,
               [CACHE_HANDOVERS] = o->join_retries, [CACHE_TAKEOVERS] = o->leader_retries },
    };
}

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
        o->ctx_retain != NULL || o->ctx_release != NULL) {
        return "load: fallback_ttl_ms, default_value and ctx options are options of calls";
    }
    return o->breaker != NULL ? "load.breaker: set breaker in the namespace options" : NULL;
}

CELLAR_PRIVATE cellar_err cache_load_namespace_check(const cellar_namespace_opts *o,
                                                     const char **why)
{
    cellar_load_opts full = cellar_load_opts_default();
    const cellar_err err = o->load != NULL ? base_opts_in(&full, sizeof full, o->load) : CELLAR_OK;
    if (err != CELLAR_OK) {
        *why = "load: start from cellar_load_opts_default()";
        return err;
    }
    cache_load_range r;
    cache_load_range_read(&full, &r);
    /* Then a load without options is never refused. */
    if (r.ms[CACHE_HARD] == 0) { r.ms[CACHE_HARD] = cache_load_ms_default[CACHE_HARD]; }
    *why = cache_load_namespace_extra(&full);
    if (*why == NULL) { *why = cache_load_range_check(&r); }
    return *why == NULL ? CELLAR_OK : CELLAR_E_INVAL;
}

CELLAR_PRIVATE void cache_load_namespace_apply(cellar *v, const cellar_namespace_opts *o)
{
    cellar_load_opts full = cellar_load_opts_default();
    if (o->load != NULL) { (void)base_opts_in(&full, sizeof full, o->load); } /* checked before */
    cache_load_range r;
    cache_load_range_read(&full, &r);
    for (unsigned i = 0; i < CACHE_LOAD_TIMES; i++) { base_store_rlx(&v->load_ms[i], r.ms[i]); }
    for (unsigned i = 0; i < CACHE_LOAD_NUMBERS; i++) { base_store_rlx(&v->load_n[i], r.n[i]); }
    v->loader = o->loader;
    v->loader_many = o->loader_many;
    v->loader_ctx = o->loader_ctx;
}

CELLAR_PRIVATE void cache_load_open(cache_store *s, const cache_settings *cfg)
{
    const cellar_host_opts *h = &cfg->host;
    const cellar_tuning_opts *t = &cfg->tuning;
    const uint32_t workers = h->load_threads != 0 ? h->load_threads : 2;
    s->close_ms = t->close_timeout_ms != 0 ? t->close_timeout_ms : 5000;
    s->load_workers = h->no_threads != 0 ? 0 : workers;
    s->load_queue = h->load_queue != 0 ? h->load_queue : 256;
    s->max_flights = t->max_loads != 0 ? t->max_loads : 16384;
    s->max_waiters = t->max_load_waiters != 0 ? t->max_load_waiters : 65536;
    s->jitter[0] = t->jitter_pct != 0 ? t->jitter_pct : 10;
    s->jitter[1] = t->jitter_mode;
}

/* ---- one call ---- */

static const char *cache_load_opts_range(const cellar_load_opts *o, cache_load_range *r)
{
    if ((o->flags & ~CACHE_LOAD_FLAGS) != 0) { return "load: flags has an unknown bit"; }
    cache_load_range_read(o, r);
    const char *why = cache_load_range_check(r);
    if (why != NULL) { return why; }
    if ((o->ttl_ms | o->negative_ttl_ms | o->stale_ms | o->fallback_ttl_ms) < 0) {
        return "load: a duration is negative: use 0 or more";
    }
    if (o->stale_ms > CACHE_WINDOW_MAX) { return "load: stale_ms must be at most 2^32 - 1"; }
    const cellar_bytes *d = o->default_value;
    if (d != NULL && (d->len > CELLAR_VALUE_MAX || (d->data == NULL && d->len != 0))) {
        return "load: default_value has NULL data, or is too long";
    }
    const uint32_t both = CELLAR_LOAD_BYPASS | CELLAR_LOAD_ONLY_IF_CACHED;
    if ((o->flags & both) == both) { return "load: set BYPASS or ONLY_IF_CACHED, not both"; }
    if (o->ctx_bytes > CELLAR_LOAD_CTX_MAX) { return "load: ctx_bytes must be at most 256"; }
    if ((o->ctx_retain == NULL) != (o->ctx_release == NULL)) {
        return "load: set both ctx_retain and ctx_release";
    }
    return NULL;
}

CELLAR_PRIVATE bool cache_load_has_instead(const cellar_load_opts *o)
{
    if (o == NULL) { return false; }
    for (unsigned i = 0; i < CELLAR_FALLBACKS_MAX; i++) {
        if (o->fallback[i].fn != NULL) { return true; }
    }
    return o->default_value != NULL;
}

static int64_t cache_load_own(int64_t call, const _Atomic int64_t *namespace, int64_t rest)
{
    if (call != 0) { return call; }
    const int64_t own = base_load_rlx(namespace);
    return own != 0 ? own : rest;
}

static uint32_t cache_load_number(const cellar *c, const cache_load_range *r, unsigned i)
{
    uint32_t n = r->n[i];
    if (n == 0) { n = base_load_rlx(&c->load_n[i]); }
    if (n == 0) { n = cache_load_n_default[i]; }
    return n == CELLAR_OFF ? 0 : n;
}

/* Set percent and mode of the jitter together, from the same source. */
static void cache_load_jitter(const cellar *c, const cache_load_range *r, cache_load_plan *p)
{
    p->jitter_pct = r->n[CACHE_JITTER_PCT];
    p->jitter_mode = r->n[CACHE_JITTER_MODE];
    if (p->jitter_pct == 0) {
        p->jitter_pct = base_load_rlx(&c->load_n[CACHE_JITTER_PCT]);
        p->jitter_mode = base_load_rlx(&c->load_n[CACHE_JITTER_MODE]);
    }
    if (p->jitter_pct == 0) {
        p->jitter_pct = c->store->jitter[0];
        p->jitter_mode = c->store->jitter[1];
    }
    if (p->jitter_pct == CELLAR_OFF) { p->jitter_pct = 0; }
}

static void cache_load_plan_fill(const cellar *c, const cellar_load_opts *o,
                                 const cache_load_range *r, cache_load_plan *p)
{
    int64_t ms[CACHE_LOAD_TIMES] = { 0 };
    for (unsigned i = 0; i < CACHE_LOAD_TIMES; i++) {
        ms[i] = cache_load_own(r->ms[i], &c->load_ms[i], cache_load_ms_default[i]);
    }
    memset(p, 0, sizeof *p);
    p->ttl_ms = cache_load_own(o->ttl_ms, &c->def[CACHE_TTL], BASE_NEVER_MS);
    p->negative_ttl_ms = cache_load_own(o->negative_ttl_ms, &c->def[CACHE_NEGATIVE_TTL], 60000);
    p->stale_ms = cache_load_own(o->stale_ms, &c->def[CACHE_STALE], 0);
    p->error_ttl_ms = ms[CACHE_ERROR_TTL];
    p->error_max_ms = ms[CACHE_ERROR_MAX];
    p->retry_throttle_ms = ms[CACHE_THROTTLE];
    p->hard_timeout_ms = ms[CACHE_HARD];
    p->soft_timeout_ms = ms[CACHE_SOFT] == CELLAR_TTL_NONE ? 0 : ms[CACHE_SOFT];
    p->wait_timeout_ms = ms[CACHE_WAIT] != 0 ? ms[CACHE_WAIT] : p->hard_timeout_ms;
    p->fallback_ttl_ms = o->fallback_ttl_ms != 0 ? o->fallback_ttl_ms : p->retry_throttle_ms;
    cache_load_jitter(c, r, p);
    p->handovers = cache_load_number(c, r, CACHE_HANDOVERS);
    p->takeovers = cache_load_number(c, r, CACHE_TAKEOVERS);
    p->eager_refresh_pct = cache_load_number(c, r, CACHE_EAGER);
    p->xfetch = cache_load_number(c, r, CACHE_XFETCH);
    /* If one is set by the call and one by the namespace, the call wins. */
    if (p->eager_refresh_pct != 0 && p->xfetch != 0) {
        if (r->n[CACHE_EAGER] != 0) { p->xfetch = 0; } else { p->eager_refresh_pct = 0; }
    }
    p->no_negative = cache_load_number(c, r, CACHE_NO_NEGATIVE) != 0;
    p->no_wait = (o->flags & CELLAR_LOAD_NO_WAIT) != 0;
    p->breaker = o->breaker != NULL ? o->breaker : base_load_acq(&c->breaker);
    p->flags = o->flags;
}

CELLAR_PRIVATE cellar_err cache_load_plan_make(cellar *c, const cellar_load_opts **o,
                                               cellar_load_opts *full, cache_load_plan *p)
{
    static const cellar_load_opts none = { .struct_size = sizeof none };
    const cellar_load_opts *in = *o != NULL ? *o : &none;
    if (in->struct_size != sizeof none) {
        const cellar_err err = base_opts_in(full, sizeof *full, in);
        if (err == CELLAR_E_INVAL || err == CELLAR_E_ABI) {
            return cache_fail(c, err, 0, "load: start from cellar_load_opts_default()");
        }
        if (err != CELLAR_OK) {
            return cache_fail(c, err, 0,
                              "load: options have a field that this library does not know");
        }
        in = *o = full;
    }
    cache_load_range r;
    const char *why = cache_load_opts_range(in, &r);
    if (why != NULL) { return cache_refuse(c, why); }
    cache_load_plan_fill(c, in, &r, p);
    if (p->soft_timeout_ms <= p->hard_timeout_ms) { return CELLAR_OK; }
    /* one set by the call, one by the namespace */
    if ((in->soft_timeout_ms | in->hard_timeout_ms) != 0) {
        return cache_refuse(c, cache_load_soft_over_hard);
    }
    /* the namespace changed between two reads: not a fault of the call */
    p->soft_timeout_ms = p->hard_timeout_ms;
    return CELLAR_OK;
}
