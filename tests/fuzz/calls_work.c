/* SPDX-License-Identifier: MIT
 *
 * calls_work: rows of buses, and of pools with their schedules. See calls.h. */
#include "tests/fuzz/calls.h"

/* ---- Pool of tasks --------------------------------------------------------------------------- */

static cellar_pool *calls_pool;
static cellar *calls_results;
static cellar_task_id calls_ids[8];
static _Atomic int64_t calls_payloads; /* given to the pool, not yet freed */

static void free_payload(void *payload, size_t len, void *ctx)
{
    (void)len, (void)ctx;
    free(payload);
    atomic_fetch_sub(&calls_payloads, 1);
}

static cellar_verdict draw_verdict(void)
{
    return cellar_verdict_of((cellar_verdict_kind)ONE_OF(0, 0, 0, 0, 1, 2, 3, 4, 5, 9),
                             ONE_OF(0, 1, 5000, -1));
}

static void inside_task(const cellar_task *t)
{
    cellar_bytes in;
    const size_t len = t->payload_len; /* that of a group has a message */
    MUST(len <= 7 && (len == 0 || memcmp(t->payload, "payload", len) == 0 ||
                      memcmp(t->payload, "message", len) == 0));
    (void)CALL(cellar_task_cancelled)(t);
    if (chance(30)) { plain(CALL(cellar_task_progress)(t, 1, 2, "half")); }
    if (chance(30)) { plain(CALL(cellar_task_error)(t, "reason")); }
    if (chance(30)) { plain(CALL(cellar_task_result_set)(t, "result", draw(7))); }
    if (plain(CALL(cellar_task_input)(t, draw(2), &in)) == CELLAR_OK) {
        MUST(in.len <= 6 && memcmp(in.data, "result", in.len) == 0);
    }
}

static cellar_verdict run_task(const cellar_task *t, void *ctx)
{
    (void)ctx;
    inside_task(t);
    calls_back();
    return draw_verdict();
}
static size_t rate_key(const void *payload, size_t len, void *key, size_t cap, void *ctx)
{
    (void)payload, (void)ctx;
    MUST(cap >= 1);
    *(char *)key = (char)len;
    return len != 0;
}

static void pool_open(void)
{
    const cellar_host_config host = draw_host("pool");
    char path[T_FOLDER_MAX + 16];
    cellar_pool_config cfg = { .struct_size = sizeof cfg, .host = &host, .wall_clock = calls_wall };
    if (chance(60)) {
        (void)told(world.store,
                   CALL(cellar_namespace_open)(world.store, "results", NULL, &calls_results));
        cfg.results = calls_results;
    }
    snprintf(path, sizeof path, "%s/journal", calls_folder);
    cfg.on_full = (cellar_pool_full)draw(3);
    if (chance(25)) { cfg.journal_path = path; }
    cfg.on_bad_journal = CELLAR_JOURNAL_SET_ASIDE;
    cfg.block_timeout_ms = cfg.close_timeout_ms = 1;
    MAYBE(cfg.success_ttl_ms, 0, 1, 5000);
    MAYBE(cfg.dead_ttl_ms, 0, 1000);
    MAYBE(cfg.age_ms, 0, 1);
    MAYBE(cfg.grace_ms, 0, 1);
    MAYBE(cfg.queue_bytes, 0, 100);
    MAYBE(cfg.queue_cap, 0, 5, 100);
    MAYBE(cfg.dead_cap, 0, 1, 10);
    MAYBE(cfg.workers, 0, 1, 8, 65);
    MAYBE(cfg.max_names, 0, 10);
    MAYBE(cfg.order, 0, 1);
    MAYBE(cfg.restore_rate, 0, 1, 1000000);
    MAYBE(cfg.max_rows, 0, 2);
    MAYBE(cfg.max_groups, 0, 3);
    MAYBE(cfg.max_routes, 0, 2);
    MAYBE(cfg.max_subscribers, 0, 2);
    MAYBE(cfg.max_message_bytes, 0, 50);
    if (chance(50)) { cfg.default_queue = "q0"; }
    MAYBE(cfg.max_parallel, 0, 1, 64, 65);
    const bool bad = spoil(&cfg, sizeof cfg);
    const cellar_err err = told(NULL, CALL(cellar_pool_open)(&cfg, &calls_pool));
    refused(bad, err);
    if (err != CELLAR_OK) { return; }
    for (unsigned i = 0; i < 3; i++) {
        static const char *const names[] = { "work", "other", "taken" };
        cellar_task_opts o = cellar_task_opts_default();
        MAYBE(o.base_ms, 0, 1, 1000);
        MAYBE(o.cap_ms, 0, 10);
        MAYBE(o.max_attempts, 0, 1, 3);
        MAYBE(o.max_running, 0, 1);
        MAYBE(o.jitter, 0, 1, 2);
        MAYBE(o.break_after, 0, 3);
        MAYBE(o.queue_cap, 0, 2);
        MAYBE(o.queue_bytes, 0, 100);
        MAYBE(o.on_full, CELLAR_POOL_REJECT, CELLAR_POOL_DROP_OLDEST);
        if (i < 2) {
            MAYBE(o.timeout_ms, 0, 1000);
            if (calls_limiter != NULL && chance(30)) {
                o.rate = calls_limiter;
                o.rate_key = chance(50) ? rate_key : NULL;
            }
        } else {
            o.queue = "outside";
        }
        plain(CALL(cellar_task_register)(calls_pool, names[i], i < 2 ? run_task : NULL, NULL, &o));
    }
}

static cellar_submit_opts draw_submit(void)
{
    cellar_submit_opts o = cellar_submit_opts_default();
    MAYBE(o.delay_ms, 0, 0, 1, 1000, CELLAR_POOL_DELAY_MAX_MS, -1);
    if (chance(10)) { o.eta_wall_ms = calls_wall(NULL) + 100, o.delay_ms = 0; }
    MAYBE(o.expires_ms, 0, 1, 100000);
    if (chance(20)) { o.content_type = "text/plain"; }
    if (chance(20)) { o.tag = "tag"; }
    if (chance(20)) { o.trace = calls_trace_bytes; }
    MAYBE(o.priority, 0, 1, 9, CELLAR_OFF);
    return o;
}

static bool take_task(const cellar_task_status *s, void *ctx)
{
    (void)ctx;
    MUST(s->state >= CELLAR_TASK_WAITING && s->state <= CELLAR_TASK_EXPIRED);
    calls_back();
    return !chance(20);
}

static void submit_tasks(void)
{
    static const char *const names[] = { "work", "other", "taken", "unknown" };
    cellar_submit_opts o = draw_submit(), plain_opts = draw_submit();
    cellar_submit_opts last_opts = cellar_submit_opts_default();
    const char *name = names[draw(4)];
    cellar_task_id *id = &calls_ids[draw(8)], ids[3];
    memset(ids, 0, sizeof ids);
    plain_opts.eta_wall_ms = 0;
    last_opts.run_on = plain_opts.run_on = (cellar_task_run_on)draw(3);
    const cellar_task_item items[3] = { { "work", "payload", draw(8), &plain_opts },
                                        { "other", "payload", draw(8), NULL },
                                        { name, NULL, 0, &last_opts } };
    switch (draw(6)) {
    case 0: case 1: case 2:
        plain(CALL(cellar_task_submit_many)(calls_pool, items, 1 + draw(3),
                                            (cellar_task_links)draw(3), ids));
        break;
    case 3:
        plain_opts.after = id;
        plain(CALL(cellar_task_submit)(calls_pool, "work", "payload", draw(8), &plain_opts, ids));
        break;
    default: {
        if (chance(40)) {
            o.unique_key = "unique";
            o.on_conflict = (cellar_task_conflict)draw(5);
            MAYBE(o.unique_ttl_ms, 0, 1, 10000);
        }
        char *payload = NULL;
        const size_t len = draw(8);
        if (chance(30)) {
            payload = malloc(7);
            MUST(payload != NULL);
            memcpy(payload, "payload", 7);
            o.free_fn = free_payload;
            atomic_fetch_add(&calls_payloads, 1);
        }
        (void)spoil(&o, sizeof o);
        const cellar_err err = plain(CALL(cellar_task_submit)(
            calls_pool, name, payload != NULL ? payload : "payload", len, &o, &ids[0]));
        if (err != CELLAR_OK && payload != NULL) { free_payload(payload, len, NULL); }
    }
    }
    if (calls_exact() && (ids[0].hi | ids[0].lo) != 0) { *id = ids[0]; }
}

static void row_task(void)
{
    cellar_pool *p = calls_pool;
    const cellar_task_id id = calls_exact() ? calls_ids[draw(8)] : (cellar_task_id){ 1, draw(9) };
    int64_t wait = 0;
    if (p == NULL) { return; }
    if (chance(40)) {
        submit_tasks();
        return;
    }
    switch (draw(17)) {
    case 0: plain(CALL(cellar_task_cancel)(p, id)); break;
    case 1: READ_FIGURES(cellar_task_status, cellar_task_wait, p, id, draw(2)); break;
    case 2: {
        char buf[8];
        size_t len = 0;
        if (plain(CALL(cellar_task_result_get)(p, id, buf, sizeof buf, &len)) == CELLAR_OK) {
            MUST(len <= 6 && memcmp(buf, "result", len) == 0);
        }
        break;
    }
    case 3: plain(CALL(cellar_task_wait)(p, id, draw(2), NULL)); break;
    case 4: {
        cellar_task_filter f = cellar_task_filter_default();
        uint64_t cursor = 0;
        if (chance(50)) { f.name = "work"; }
        MAYBE(f.states, 0, 1 << CELLAR_TASK_FAILED, 0xffffffff);
        (void)spoil(&f, sizeof f);
        plain(CALL(cellar_task_list)(p, chance(50) ? &f : NULL, &cursor, take_task, NULL));
        break;
    }
    case 5: plain(CALL(cellar_task_requeue)(p, id)); break;
    case 16:
        if (chance(5)) {
            plain(CALL(cellar_task_unregister)(p, "other"));
            plain(CALL(cellar_task_register)(p, "other", run_task, NULL, NULL));
        }
        break;
    case 6: plain(CALL(cellar_task_purge)(p, id)); break;
    case 7: case 8: {
        const cellar_task *taken[2];
        uint32_t n = 0;
        if (plain(CALL(cellar_task_take)(p, "outside", ONE_OF(1, 60000), draw(2), taken,
                                         1 + draw(2), &n)) !=
            CELLAR_OK) { break; }
        for (uint32_t i = 0; i < n; i++) {
            inside_task(taken[i]);
            calls_back();
            const cellar_verdict longer = cellar_verdict_extend(1000);
            if (chance(30)) { plain(CALL(cellar_task_settle)(taken[i], longer)); }
            plain(CALL(cellar_task_settle)(taken[i], draw_verdict()));
        }
        break;
    }
    case 9: {
        uint32_t moved = 0;
        plain(CALL(cellar_pool_route)(p, chance(50) ? "oth*" : "*", chance(50) ? "q2" : "outside",
                                      &moved));
        break;
    }
    case 10: case 11: case 12:
        plain(CALL(cellar_pool_set)(p, (cellar_pool_setting)draw(5), chance(30) ? NULL : "q2",
                                    ONE_OF(0, 1, 4, 100, 1000)));
        break;
    case 13: {
        cellar_pool_stats s = cellar_pool_stats_default();
        if (plain(CALL(cellar_pool_stats_get)(p, chance(50) ? NULL : "work", &s)) == CELLAR_OK &&
            calls_exact()) {
            MUST(s.submitted + s.requeued + s.restored ==
                 s.ok + s.failed + s.cancelled + s.expired + s.live);
        }
        break;
    }
    case 14:
        if (chance(50)) { WRITE_TEXT(cellar_metrics_write, p); }
        else { WRITE_TEXT(cellar_stats_json, p); }
        break;
    default:
        if (chance(5)) {
            cellar_drain_report r = cellar_drain_report_default();
            plain(CALL(cellar_pool_drain)(p, (cellar_drain_mode)draw(2), 1, &r));
        } else {
            plain(CALL(cellar_tick)(p, tick_us(0), &wait));
        }
    }
}

static void pool_close(void)
{
    cellar_err err = CELLAR_OK;
    do { err = plain(CALL(cellar_pool_close)(calls_pool)); } while (err == CELLAR_E_BUSY);
    MUST(err == CELLAR_OK);
    MUST(atomic_load(&calls_payloads) == 0);
    (void)plain(CALL(cellar_namespace_close)(calls_results));
    calls_pool = NULL;
    calls_results = NULL;
    memset(calls_ids, 0, sizeof calls_ids);
}

/* ---- Bus ------------------------------------------------------------------------------------- */

static _Atomic int64_t calls_contexts; /* given to bus and schedules, not yet freed */

static void free_context(void *ctx) { (void)ctx; atomic_fetch_sub(&calls_contexts, 1); }

static cellar_verdict handle_message(const cellar_task *t, void *ctx)
{
    (void)ctx;
    cellar_bus_message m = cellar_bus_message_default();
    MUST(cellar_bus_message_of(t, &m) == CELLAR_OK);
    MUST(m.body_len <= 7 && memcmp(m.body, "message", m.body_len) == 0);
    MUST(m.body_len == t->payload_len && (m.body == t->payload));
    calls_back();
    const uint32_t kind = draw(3);
    return kind == 0 ? cellar_verdict_ok() : kind == 1 ? cellar_verdict_retry()
                                                       : cellar_verdict_fail();
}
static bool filter_message(const cellar_bus_message *m, void *ctx)
{
    (void)m, (void)ctx;
    calls_back();
    return chance(80);
}
static void hear_signal(const char *topic, const void *data, size_t len, void *ctx)
{
    (void)ctx;
    MUST(topic[0] != '\0' && len <= 4 && memcmp(data, "data", len) == 0);
    calls_back();
}
static cellar_err group_add(const char *queue, const char *group)
{
    static const char *const values[] = { "v", "w" };
    cellar_bus_group_config o = cellar_bus_group_config_default();
    MAYBE(o.max_bytes, 0, 100);
    MAYBE(o.visibility_ms, 0, 1, 1000);
    MAYBE(o.retry_ms, 0, 1, 1000);
    if (chance(40)) { o.dead_queue = "dead"; }
    if (chance(20)) { o.filter_fn = filter_message; }
    if (chance(20)) { o.filter_header = "h", o.filter_values = values, o.filter_value_count = 2; }
    MAYBE(o.filter_any, 0, 1);
    MAYBE(o.max_messages, 0, 1, 20);
    MAYBE(o.max_deliver, 0, 1, 3);
    MAYBE(o.parallel, 0, 1);
    MAYBE(o.ordered, 0, 1);
    o.on_full = (cellar_bus_on_full)draw(4);
    (void)spoil(&o, sizeof o);
    const bool pulled = group != NULL && chance(50);
    return plain(CALL(cellar_bus_group_add)(calls_pool, queue, group,
                                            pulled ? NULL : handle_message, NULL, &o));
}

static void bus_open(void)
{
    if (calls_pool == NULL) { return; }
    group_add("dead", NULL);
    group_add("q0", NULL);
    group_add("q0", "g1");
}

static void row_bus(void)
{
    static const char *const keys[] = { "a", "a.b", "a.b.c", "x" };
    static const char *const patterns[] = { "a.*", "#", "*.b.#", "x" };
    static const char *const queues[] = { "q0", "q1", "dead", "none" };
    cellar_pool *b = calls_pool;
    const char *queue = queues[draw(4)], *key = keys[draw(4)], *pattern = patterns[draw(4)];
    const cellar_bus_syntax syntax = (cellar_bus_syntax)draw(2);
    int64_t wait = 0;
    if (b == NULL) { return; }
    if (chance(40)) {
        const cellar_bus_header headers[] = { { "h", "v" }, { "other", "" } };
        cellar_bus_publish_opts o = cellar_bus_publish_opts_default();
        if (chance(50)) { o.headers = headers, o.header_count = draw(3); }
        MAYBE(o.expires_ms, 0, 1, 1000);
        MAYBE(o.priority, 0, 9);
        MAYBE(o.direct, 0, 1);
        (void)spoil(&o, sizeof o);
        plain(CALL(cellar_bus_publish)(b, o.direct != 0 ? queue : key, "message", draw(8), &o));
        return;
    }
    switch (draw(14)) {
    case 0: group_add(queue, chance(50) ? NULL : "g1"); break;
    case 1: plain(CALL(cellar_bus_group_remove)(b, chance(50) ? queue : "g1")); break;
    case 2: case 3: case 4:
        plain(CALL(cellar_bus_route)(b, pattern, queue, syntax, chance(50)));
        break;
    case 5: {
        const cellar_task *t = NULL;
        uint32_t n = 0;
        cellar_bus_message m = cellar_bus_message_default();
        if (plain(CALL(cellar_task_take)(b, "g1", 1000, draw(2), &t, 1, &n)) == CELLAR_OK &&
            n == 1) {
            MUST(cellar_bus_message_of(t, &m) == CELLAR_OK && m.body_len <= 7);
            plain(CALL(cellar_task_settle)(t, chance(50) ? cellar_verdict_ok()
                                                         : cellar_verdict_retry()));
        }
        break;
    }
    case 6: {
        uint64_t id = 0;
        atomic_fetch_add(&calls_contexts, 1);
        if (plain(CALL(cellar_signal_subscribe)(b, pattern, syntax, hear_signal, NULL, free_context,
                                                &id)) != CELLAR_OK) {
            free_context(NULL);
        } else if (chance(50)) {
            plain(CALL(cellar_signal_unsubscribe)(b, id));
        }
        break;
    }
    case 7: {
        size_t called = 0;
        plain(CALL(cellar_signal_emit)(b, key, "data", draw(5), &called));
        break;
    }
    default: plain(CALL(cellar_tick)(b, tick_us(0), &wait));
    }
}

/* ---- Schedules ------------------------------------------------------------------------------- */

static void free_schedule(void *payload, size_t len, void *ctx)
{
    (void)payload, (void)len;
    free_context(ctx);
}
static cellar_verdict fire(const cellar_task *t, void *ctx)
{
    (void)ctx;
    MUST(t->tag[0] != '\0' && t->due_wall_ms != 0);
    calls_back();
    return chance(80) ? cellar_verdict_ok() : chance(50) ? cellar_verdict_retry()
                                                         : cellar_verdict_fail();
}
static bool take_schedule(const cellar_schedule_info *i, void *ctx)
{
    (void)ctx;
    MUST(i->name[0] != '\0');
    calls_back();
    return !chance(10);
}

static void row_schedule(void)
{
    static const char *const exprs[] = { "* * * * *", "*/5 * * * * *", "@every 90s", "0 9 L * MON",
                                         "bad", "0 0 30 2 *" };
    cellar_pool *s = calls_pool;
    cellar_cron_opts cron = cellar_cron_opts_default();
    int64_t out[3], wait = 0;
    size_t found = 0;
    const char *name = draw_name(), *expr = exprs[draw(6)];
    const char *zone = chance(60) ? NULL : chance(80) ? "+08:00" : "No/Where";
    MAYBE(cron.gap, 0, 1);
    MAYBE(cron.fold, 0, 1, 2);
    MAYBE(cron.day_and, 0, 1);
    switch (draw(16)) {
    case 0: plain(CALL(cellar_cron_next)(expr, NULL, NULL, 0, NULL, 0, &found)); return;
    case 1: plain(CALL(cellar_cron_next)(expr, zone, &cron, calls_wall(NULL), out, 3, &found));
        return;
    default: break;
    }
    if (s == NULL) { return; }
    plain(CALL(cellar_task_register)(s, "fire", fire, NULL, NULL));
    switch (draw(12)) {
    case 0: case 1: case 2: {
        cellar_schedule_spec o = cellar_schedule_spec_default();
        if (!chance(5)) { o.task = "fire"; }
        o.payload = expr;
        o.payload_len = 1;
        switch (draw(4)) { /* one time, or now and then none or two */
        case 0: o.interval_ms = ONE_OF(1, 100, 60000, 0); break;
        case 1: o.cron = expr; break;
        case 2: o.at_wall_ms = calls_wall(NULL) + ONE_OF(0, 100, -5000); break;
        default: o.interval_ms = 1000, o.cron = chance(50) ? expr : NULL;
        }
        MAYBE(o.misfire_grace_ms, 0, 1, 1000, -1);
        MAYBE(o.jitter_ms, 0, 10);
        o.cron_opts = &cron;
        o.free_fn = free_schedule;
        o.coalesce = (cellar_coalesce)draw(3);
        o.overlap = (cellar_overlap)draw(2);
        o.phase = (cellar_phase)draw(3);
        o.conflict = (cellar_schedule_conflict)draw(3);
        MAYBE(o.max_running, 0, 1, 3);
        MAYBE(o.paused, 0, 0, 1);
        if (chance(10)) { o.catch_up_on_start = 1, o.max_running = 1; }
        o.zone = zone;
        (void)spoil(&o, sizeof o);
        atomic_fetch_add(&calls_contexts, 1);
        if (plain(CALL(cellar_schedule_add)(s, name, &o)) != CELLAR_OK) { free_context(NULL); }
        break;
    }
    case 3: plain(CALL(cellar_schedule_remove)(s, name)); break;
    case 4: case 5: plain(CALL(cellar_schedule_pause)(s, name, chance(50))); break;
    case 6: plain(CALL(cellar_schedule_trigger)(s, name)); break;
    case 7: plain(CALL(cellar_schedule_next)(s, name, out, 3, &found)); break;
    case 8: plain(CALL(cellar_schedule_list)(s, take_schedule, NULL)); break;
    case 9: WRITE_TEXT(cellar_metrics_write, s); break;
    default: plain(CALL(cellar_tick)(s, tick_us(0), &wait));
    }
}

/* ---- Rows that refresh ----------------------------------------------------------------------- */

static cellar *calls_refreshed; /* a handle of namespace "a" of its own */

static cellar_err list_keys(cellar_refresh_keys *keys, const char *pattern, void *ctx)
{
    (void)ctx;
    MUST(pattern[0] != '\0');
    calls_back();
    for (unsigned i = draw(4); i > 0; i--) {
        calls_key k;
        calls_name_key(&k, 1, draw(CALLS_KEYS));
        plain(CALL(cellar_refresh_keys_add)(keys, k.bytes, k.len));
    }
    return chance(90) ? CELLAR_OK : CELLAR_E_IO;
}
static bool take_refresh(const cellar_refresh_info *i, void *ctx)
{
    (void)ctx;
    MUST(i->key_len > 0);
    calls_back();
    return !chance(10);
}

static void refresh_open(void)
{
    if (calls_pool == NULL || atomic_load(&world.space[1].c) == NULL ||
        told(world.store, CALL(cellar_namespace_open)(world.store, "a", NULL, &calls_refreshed)) !=
            CELLAR_OK) {
        return;
    }
    cellar_refresh_loader_opts o = { .struct_size = sizeof o, .lister = list_keys };
    if (chance(40)) { o.breaker = calls_breaker; }
    if (chance(40)) { o.limiter = calls_limiter; }
    (void)spoil(&o, sizeof o);
    plain(CALL(cellar_refresh_loader)(calls_pool, world.store, "rows", load_one,
                                      &calls_space_numbers[1], &o));
}

static void row_refresh(void)
{
    cellar_pool *r = calls_pool;
    calls_key k;
    int64_t wait = 0;
    calls_name_key(&k, 1, draw(CALLS_KEYS));
    if (r == NULL || calls_refreshed == NULL) { return; }
    switch (draw(9)) {
    case 0: case 1: {
        cellar_refresh_opts o = cellar_refresh_opts_default();
        MAYBE(o.ttl_ms, BAD_MS);
        MAYBE(o.stale_ms, 0, 1000);
        MAYBE(o.priority, 0, 1, 2, 3);
        MAYBE(o.stop_idle, 0, 1);
        if (chance(20)) { o.at = "00:00"; }
        if (chance(40)) { o.pattern = 1; }
        (void)spoil(&o, sizeof o);
        const int64_t every = ONE_OF(1, 1000, 60000, 0);
        const void *key = o.pattern != 0 ? "k*" : k.bytes;
        plain(CALL(cellar_refresh_add)(r, calls_refreshed, key, o.pattern != 0 ? 2 : k.len, "rows",
                                       every, &o));
        break;
    }
    case 2: {
        size_t n = 0;
        plain(CALL(cellar_refresh_add_policies)(r, calls_refreshed, &n));
        break;
    }
    case 3: plain(CALL(cellar_refresh_remove)(r, calls_refreshed, k.bytes, k.len)); break;
    case 4: plain(CALL(cellar_refresh_list)(r, take_refresh, NULL)); break;
    case 5: READ_FIGURES(cellar_refresh_stats, cellar_refresh_stats_get, r); break;
    case 6:
        if (chance(50)) { WRITE_TEXT(cellar_metrics_write, r); }
        else { WRITE_TEXT(cellar_stats_json, r); }
        break;
    default: plain(CALL(cellar_tick)(r, tick_us(0), &wait));
    }
}

/* After the pool. */
static void refresh_close(void)
{
    (void)plain(CALL(cellar_namespace_close)(calls_refreshed));
    calls_refreshed = NULL;
}
