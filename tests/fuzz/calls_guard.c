/* SPDX-License-Identifier: MIT
 *
 * calls_guard: rows of Bloom filters, breakers, limiters and locks. See calls.h. */
#include "tests/fuzz/calls.h"

static const char *draw_name(void)
{
    static const char *const names[] = { "n0", "n1", "n2", "n3" };
    return names[draw(4)];
}

/* ---- Bloom filters --------------------------------------------------------------------------- */

static void row_bloom(void)
{
    const unsigned space = draw(CALLS_BEHIND);
    cellar *c = atomic_load(&world.space[space].c);
    calls_key k;
    calls_name_key(&k, space, draw(CALLS_KEYS));
    if (c == NULL) { return; }
    switch (world.strict ? 3 + draw(5) : draw(8)) {
    case 0:
        atomic_store(&world.space[space].vague, true);
        (void)told(c, CALL(cellar_option_set)(c, CELLAR_OPT_BLOOM_KEYS, ONE_OF(0, 1, 100, 10000)));
        break;
    case 1: case 2: {
        calls_listing list = { .space = space, .count = CALLS_KEYS };
        uint64_t n = 0;
        (void)told(c, CALL(cellar_bloom_feed)(c, next_key, &list, &n));
        break;
    }
    case 3: case 4: (void)told(c, CALL(cellar_bloom_add)(c, k.bytes, k.len)); break;
    case 5: {
        const cellar_err err = told(c, CALL(cellar_bloom_check)(c, k.bytes, k.len));
        MUST(err == CELLAR_OK || err == CELLAR_MISS || err == CELLAR_ABSENT || err < 0);
        break;
    }
    default: {
        cellar_bloom_info i = cellar_bloom_info_default();
        (void)spoil(&i, sizeof i);
        (void)told(c, CALL(cellar_bloom_info_get)(c, &i));
    }
    }
}

/* ---- Breakers -------------------------------------------------------------------------------- */

static cellar_breaker *calls_breaker;

static void breaker_open(void)
{
    cellar_breaker_config o = cellar_breaker_config_default();
    MAYBE(o.failure_pct, 0, 1, 100, 101);
    MAYBE(o.min_calls, 0, 1, 10);
    MAYBE(o.open_ms, 0, 1, 1000, -1);
    const bool bad = spoil(&o, sizeof o);
    const cellar_err err =
        told(world.store, CALL(cellar_breaker_create)(world.store, &o, &calls_breaker));
    refused(bad, err);
}

static void row_breaker(void)
{
    uint32_t pass = 0;
    if (calls_breaker == NULL) { return; }
    switch (draw(6)) {
    case 0: plain(CALL(cellar_breaker_reset)(calls_breaker)); break;
    case 1: {
        cellar_breaker_info i = cellar_breaker_info_default();
        if (plain(CALL(cellar_breaker_info_get)(calls_breaker, &i)) == CELLAR_OK) {
            MUST(i.failures <= i.calls || !calls_exact());
        }
        break;
    }
    default:
        if (plain(CALL(cellar_breaker_allow)(calls_breaker, &pass)) == CELLAR_OK) {
            plain(CALL(cellar_breaker_record)(calls_breaker, pass,
                                              (cellar_breaker_outcome)draw(4)));
        }
    }
}

static void breaker_close(void)
{
    CALL(cellar_breaker_destroy)(calls_breaker);
    calls_breaker = NULL;
}

/* ---- Limiters -------------------------------------------------------------------------------- */

static cellar_limiter *calls_limiter, *calls_permits, *calls_users;
static cellar_limiter_snapshot *calls_snapshot;
static _Thread_local cellar_limiter_ticket calls_ticket;
static _Thread_local bool calls_has_ticket;
static _Thread_local uint64_t calls_token;

static uint64_t limiter_clock(void *ctx)
{
    (void)ctx;
    return (uint64_t)atomic_load(&calls.now_ms) * 1000000u + 1000000000u;
}
static uint64_t limiter_wall(void *ctx) { return (uint64_t)calls_wall(ctx); }

static cellar_rule draw_rule(void)
{
    const uint64_t n = (uint64_t)ONE_OF(0, 1, 5, 100);
    const uint64_t w = (uint64_t)ONE_OF(1000000, 1000000000, 60000000000);
    cellar_rule r;
    switch (draw(5)) {
    case 0: r = cellar_rule_token_bucket(n, w, (uint64_t)ONE_OF(1, 3, 0)); break;
    case 1: r = cellar_rule_token_bucket_strict(n, w, 1); break;
    case 2: r = cellar_rule_sliding_log(n, w); break;
    case 3: r = cellar_rule_sliding_window(n, w); break;
    default: r = cellar_rule_fixed_window(n, (cellar_calendar)(1 + draw(6)));
    }
    if (chance(10)) { r.flags |= (uint32_t)ONE_OF(1, 2, 4, 8); }
    if (chance(10)) { r.ban_ns = 1000000; }
    return r;
}

static cellar_limiter_config draw_limiter(const cellar_host_config *host)
{
    cellar_limiter_config cfg = cellar_limiter_config_default();
    cfg.host = host;
    cfg.max_bytes = (uint64_t)ONE_OF(16384, 65536, 1 << 20, 100);
    cfg.overflow = (cellar_overflow)draw(3);
    MAYBE(cfg.max_overrides, 0, 10, CELLAR_OFF);
    MAYBE(cfg.max_plans, 0, 1, 3);
    MAYBE(cfg.zone, 0); /* NULL */
    if (chance(30)) { cfg.zone = chance(90) ? "+08:00" : "No/Where"; }
    cfg.clock_ns = limiter_clock, cfg.wall_ms = limiter_wall, cfg.boot_ms = limiter_wall;
    return cfg;
}

static void limiters_open(void)
{
    const cellar_host_config host = draw_host("limiter");
    cellar_limiter_config cfg = draw_limiter(&host);
    cellar_rule rule[3] = { draw_rule(), draw_rule(), draw_rule() };
    (void)told(world.store, CALL(cellar_limiter_snapshot_open)(world.store, "limits", &cfg,
                                                               &calls_snapshot));
    cfg.snapshot_interval_ms = (uint64_t)ONE_OF(0, 1000);
    const bool bad = spoil(&cfg, sizeof cfg);
    const cellar_err err =
        told(NULL, CALL(cellar_limiter_open)(&cfg, rule, 1 + draw(3), &calls_limiter));
    refused(bad, err);
    cfg = draw_limiter(&host);
    rule[0] = cellar_rule_concurrency((uint64_t)ONE_OF(0, 1, 3));
    MAYBE(cfg.max_permits, 0, 1, 100);
    (void)told(NULL, CALL(cellar_limiter_open)(&cfg, rule, 1, &calls_permits));
    cfg = draw_limiter(&host);
    (void)told(NULL, CALL(cellar_user_limiter_open)(&cfg, &calls_users));
}

static bool take_limited(const cellar_limiter_entry *e, void *ctx)
{
    (void)ctx;
    MUST(e->rule_count >= 1 && e->rule_count <= CELLAR_LIMITER_RULES_MAX);
    calls_back();
    return !chance(10);
}

static void judge_limit(cellar_err err, const cellar_limiter_result *r)
{
    if (err == CELLAR_OK) { MUST(r->allowed == 1); }
    if (err == CELLAR_LIMITED) { MUST(r->allowed == 0); }
}

static void limiter_checks(cellar_limiter *l)
{
    const char *key = draw_name();
    cellar_limiter_result r;
    memset(&r, 0, sizeof r);
    const uint64_t cost = (uint64_t)ONE_OF(0, 1, 2, 1000);
    const uint64_t now = CALL(cellar_limiter_now)(l);
    cellar_err err = CELLAR_MISS;
    uint32_t by = 0;
    switch (draw(7)) {
    case 0: err = CALL(cellar_limiter_check)(l, key, 2, cost, &r); break;
    case 1:
    case 2: {
        cellar_check_opts o = cellar_check_opts_default();
        const cellar_rule rule = draw_rule();
        MAYBE(o.flags, 0, 1, 2);
        if (chance(20)) { o.rules = &rule, o.rule_count = 1; }
        MAYBE(o.now_ns, 0, (int64_t)now, (int64_t)now + 1, (int64_t)now + 5000000000);
        (void)spoil(&o, sizeof o);
        err = CALL(cellar_limiter_check_with)(l, key, 2, cost, &o, &r);
        break;
    }
    case 3: {
        const cellar_limiter_link links[2] = { { l, key, 2, cost }, { l, "chain", 5, 1 } };
        err = CALL(cellar_limiter_check_chain)(links, 1 + draw(2), &r, &by);
        break;
    }
    case 4: err = CALL(cellar_limiter_wait)(l, key, 2, cost, 0, &r); break;
    case 5:
        if (calls_has_ticket) {
            plain(chance(50) ? CALL(cellar_limiter_commit)(l, &calls_ticket, cost)
                             : CALL(cellar_limiter_commit)(l, &calls_ticket, 0));
            if (chance(20)) { plain(CALL(cellar_limiter_commit)(l, &calls_ticket, 0)); }
            calls_has_ticket = false;
        }
        break;
    default: {
        uint64_t wait = 0;
        err = CALL(cellar_limiter_reserve)(l, key, 2, cost, (uint64_t)ONE_OF(0, 1000000000),
                                           &calls_ticket, &wait, &r);
        calls_has_ticket = err == CELLAR_OK;
    }
    }
    judge_limit(plain(err), &r);
    if (err == CELLAR_OK || err == CELLAR_LIMITED) {
        WRITE_TEXT(cellar_limiter_headers_write, l, &r, (uint32_t)draw(16));
    }
}

static void row_limiter(void)
{
    cellar_limiter *l = calls_limiter;
    const char *key = draw_name();
    cellar_rule rule[2] = { draw_rule(), draw_rule() };
    if (l == NULL) { return; }
    if (chance(60)) {
        limiter_checks(l);
        return;
    }
    switch (draw(15)) {
    case 0: plain(CALL(cellar_limiter_adjust)(l, key, 2, ONE_OF(0, 5, -5, INT64_MIN))); break;
    case 1: plain(CALL(cellar_limiter_ban)(l, key, 2, (uint64_t)ONE_OF(0, 1000000, INT64_MAX)));
        break;
    case 2: {
        bool existed = false;
        plain(CALL(cellar_limiter_reset)(l, key, 2, &existed));
        break;
    }
    case 3: if (chance(10)) { plain(CALL(cellar_limiter_reset)(l, NULL, 0, NULL)); } break;
    case 4: plain(CALL(cellar_limiter_rules_set)(l, NULL, 0, NULL, rule, 1 + draw(2))); break;
    case 5: plain(CALL(cellar_limiter_rules_set)(l, key, 2, NULL, chance(50) ? rule : NULL, 1));
        break;
    case 6: plain(CALL(cellar_limiter_rules_set)(l, NULL, 0, draw_name(), rule, 1 + draw(2)));
        break;
    case 7: plain(CALL(cellar_limiter_rules_set)(l, key, 2, chance(70) ? draw_name() : NULL, NULL,
                                                 0));
        break;
    case 8:
    case 9: plain(CALL(cellar_tick)(l, 0, NULL)); break;
    case 10: plain(CALL(cellar_limiter_scan)(l, take_limited, NULL)); break;
    case 11: MUST(CALL(cellar_limiter_fingerprint)(l, key, 2) != 0); break;
    case 12: READ_FIGURES(cellar_limiter_stats, cellar_limiter_stats_get, l); break;
    case 13: WRITE_TEXT(cellar_metrics_write, l); break;
    default: WRITE_TEXT(cellar_stats_json, l);
    }
}

static void row_permits(void)
{
    cellar_limiter_result r;
    memset(&r, 0, sizeof r);
    if (calls_users != NULL && chance(50)) {
        judge_limit(plain(CALL(cellar_user_limiter_check)(
                        calls_users, draw_name(), 2, (uint64_t)ONE_OF(0, 1, 256, 257),
                        (uint64_t)ONE_OF(1, 60, 0), &r)), &r);
        return;
    }
    if (calls_permits == NULL) { return; }
    if (calls_token == 0) {
        judge_limit(plain(CALL(cellar_permit_acquire)(calls_permits, "permit", 6,
                                                      ONE_OF(1, 1000, 60000, 0), &calls_token, &r)),
                                                          &r);
    } else if (chance(50)) {
        plain(CALL(cellar_permit_extend)(calls_permits, "permit", 6, calls_token, ONE_OF(1, 1000)));
    } else {
        plain(CALL(cellar_permit_release)(calls_permits, "permit", 6, calls_token));
        calls_token = 0;
    }
}

static void limiters_close(void)
{
    CALL(cellar_limiter_close)(calls_limiter);
    CALL(cellar_limiter_close)(calls_permits);
    CALL(cellar_limiter_close)(calls_users);
    CALL(cellar_limiter_snapshot_close)(calls_snapshot);
    calls_limiter = calls_permits = calls_users = NULL;
    calls_snapshot = NULL;
    calls_has_ticket = false;
    calls_token = 0;
}

/* ---- Locks ----------------------------------------------------------------------------------- */

static cellar_locks *calls_locks;
static _Atomic int calls_owners[4]; /* owners of each key; their holds do not end */
static _Thread_local cellar_lock calls_lock[4], calls_many[3];
static _Thread_local bool calls_held[4], calls_held_many;

static void lock_lost(const void *key, size_t key_len, uint64_t fence, int64_t held_ms,
                      cellar_lock_lost cause, void *ctx)
{
    (void)key, (void)key_len, (void)fence, (void)held_ms, (void)cause, (void)ctx;
    calls_back();
}

static void locks_open(void)
{
    cellar_host_config host = draw_host("locks");
    host.clock = NULL; /* waits end by the clock of the system */
    cellar_locks_config cfg = { .struct_size = sizeof cfg, .host = &host };
    MAYBE(cfg.max_locks, 0, 1, 1000);
    MAYBE(cfg.max_bytes, 0, 256 << 10, 1000);
    MAYBE(cfg.fence_start, 0, 1, 1000);
    cfg.barging = chance(50);
    const bool bad = spoil(&cfg, sizeof cfg);
    const cellar_err err = told(NULL, CALL(cellar_locks_open)(&cfg, &calls_locks));
    refused(bad, err);
}

static void row_lock(void)
{
    cellar_locks *t = calls_locks;
    const unsigned at = draw(4);
    const char key[] = { 'k', (char)('0' + at) };
    if (t == NULL || calls_me->number >= calls.threads) { return; }
    cellar_lock_opts o = { .struct_size = sizeof o, .wait_timeout_ms = 1,
                           .hold_ms = ONE_OF(3600000, 3600000, 3600000, -1) };
    if (chance(20)) { o.note = "note"; }
    o.flags = chance(70) ? CELLAR_LOCK_NO_WAIT : 0;
    if (chance(2)) { o.flags = (uint32_t)ONE_OF(2, 8); }
    const bool bad = spoil(&o, sizeof o);
    switch (draw(10)) {
    case 0: case 1: case 2: case 3: {
        if (calls_held[at]) {
            plain(CALL(cellar_lock_extend)(t, &calls_lock[at], 3600000));
            MUST(plain(CALL(cellar_lock_check)(t, &calls_lock[at])) == CELLAR_OK);
            atomic_fetch_sub(&calls_owners[at], 1);
            calls_held[at] = false;
            MUST(plain(CALL(cellar_lock_release)(t, &calls_lock[at])) == CELLAR_OK);
            return;
        }
        const cellar_err err =
            plain(CALL(cellar_lock_acquire)(t, key, 2, &o, &calls_lock[at]));
        refused(bad, err);
        calls_held[at] = err == CELLAR_OK;
        if (err == CELLAR_OK) { MUST(atomic_fetch_add(&calls_owners[at], 1) == 0); }
        break;
    }
    case 4:
        if (calls_held_many) {
            plain(CALL(cellar_lock_release_many)(t, calls_many, 3));
            calls_held_many = false;
        } else {
            const cellar_bytes keys[3] =
                { { "m0", 2 }, { "m1", 2 }, { chance(90) ? "m2" : "m0", 2 } };
            calls_held_many =
                plain(CALL(cellar_lock_acquire_many)(t, keys, 3, &o, calls_many)) == CELLAR_OK;
        }
        break;
    case 5: READ_FIGURES(cellar_lock_info, cellar_lock_info_get, t, key, 2); break;
    case 6: plain(CALL(cellar_locks_watch)(t, chance(80) ? lock_lost : NULL, NULL)); break;
    case 7: plain(CALL(cellar_tick)(t, 0, NULL)); break;
    case 8: READ_FIGURES(cellar_locks_stats, cellar_locks_stats_get, t); break;
    default: WRITE_TEXT(cellar_metrics_write, t);
    }
}

/* Release what this thread holds. */
static void locks_end(void)
{
    for (unsigned i = 0; i < 4; i++) {
        if (calls_held[i]) {
            atomic_fetch_sub(&calls_owners[i], 1);
            plain(CALL(cellar_lock_release)(calls_locks, &calls_lock[i]));
        }
        calls_held[i] = false;
    }
    if (calls_held_many) { plain(CALL(cellar_lock_release_many)(calls_locks, calls_many, 3)); }
    calls_held_many = false;
}

static void locks_close(void)
{
    locks_end(); /* callbacks of the last calls may hold some */
    CALL(cellar_locks_close)(calls_locks);
    calls_locks = NULL;
}
