/* SPDX-License-Identifier: MIT
 *
 * calls_store: opens and closes of the store of a world; rows of its namespaces, options, policies,
 * figures, and of its port. See calls.h. */
#include "tests/fuzz/calls.h"

static char calls_folder[T_FOLDER_MAX], calls_directory[T_FOLDER_MAX + 16];

/* ---- Namespaces ------------------------------------------------------------------------------ */

static const cellar_ttl_class calls_classes[2] = { { "short", 1000 }, { "long", 600000 } };

static cellar_namespace_config draw_namespace(unsigned space, cellar_load_opts *load,
                                            cellar_breaker_config *breaker)
{
    cellar_namespace_config o = cellar_namespace_config_default();
    MAYBE(o.default_ttl_ms, SOME_MS);
    MAYBE(o.negative_ttl_ms, SOME_MS);
    if (chance(20)) { o.idle_ms = ONE_OF(0, 1000, 60000); }
    if (chance(20)) { o.max_age_ms = ONE_OF(0, 1000, 3600000); }
    if (chance(30)) { o.stale_ms = ONE_OF(0, 1000, 60000); }
    if (chance(50)) {
        o.ttl_classes = calls_classes, o.ttl_class_count = 2;
        o.ttl_class_fallback = draw(3);
    }
    o.exact_age = chance(30);
    if (chance(40)) { o.quota_max_pct = draw(101); }
    o.hidden = chance(10);
    o.l2_lz4 = chance(20);
    o.tier = (cellar_tier)ONE_OF(0, 0, 0, 1, 2);
    o.l2_write = (cellar_l2_write)ONE_OF(0, 1, 2, 3);
    if (chance(20)) { o.bloom_keys = (uint64_t)ONE_OF(1, 100, 1000000); }
    MAYBE(o.bloom_fpr_ppm, 100, 300000);
    *load = draw_load_opts_of_namespace();
    if (chance(50)) { o.load = load; }
    if (chance(70)) {
        o.loader = load_one, o.loader_many = load_many;
        o.loader_ctx = &calls_space_numbers[space];
    }
    *breaker = cellar_breaker_config_default();
    MAYBE(breaker->failure_pct, 0, 1, 100);
    MAYBE(breaker->min_calls, 0, 1, 1000000);
    MAYBE(breaker->consecutive_failures, 0, 1, 63);
    MAYBE(breaker->half_open_successes, 0, 1, 15);
    MAYBE(breaker->open_ms, 0, 1, 5000);
    if (chance(40)) { o.breaker = breaker; }
    if (chance(10)) { o.policy_section = "other"; }
    o.log_level = draw(6);
    MAYBE(o.max_entries, 0, 0, 3, 20, 200);
    if (world.strict) {
        o.bloom_keys = 0, o.policy_section = NULL;
        o.default_ttl_ms = ONE_OF(CALLS_LASTS), o.idle_ms = 0, o.max_age_ms = 0;
    }
    if (world.roomy) { o.max_entries = 0, o.quota_max_pct = 0; }
    if (space == CALLS_BEHIND) { o.tier = CELLAR_TIER_L1; o.hidden = 0; }
    const bool below = calls.disk && o.hidden == 0 && o.tier != CELLAR_TIER_L1;
    if (!below && o.l2_write == CELLAR_L2_WRITE_THROUGH && chance(90)) { /* E_UNSUPPORTED */
        o.l2_write = CELLAR_L2_WRITE_DEFAULT;
    }
    return o;
}

/* Note what the options of a namespace may do to its values. */
static void namespace_bounds(unsigned space, const cellar_namespace_config *o)
{
    if (!world.strict) { due_end(space, 0); }
    due_bound(space, o->default_ttl_ms);
    due_bound(space, o->idle_ms);
    due_bound(space, o->max_age_ms);
    due_bound(space, o->ttl_class_fallback != 0 ? 1000 : 0);
    if (space == CALLS_BEHIND || o->bloom_keys != 0 || o->policy_section != NULL) {
        atomic_store(&world.space[space].vague, true);
    }
}

/* The call that creates a namespace sets its tier. */
static void namespace_open(unsigned space)
{
    cellar_load_opts load;
    cellar_breaker_config breaker;
    cellar_namespace_config o = draw_namespace(space, &load, &breaker);
    cellar *c = NULL;
    calls_space *x = &world.space[space];
    const bool none = space != CALLS_BEHIND && chance(10);
    const bool bad = !none && spoil(&o, sizeof o);
    if (!none) { namespace_bounds(space, &o); }
    if (!none && (o.tier == CELLAR_TIER_L1 || o.hidden)) { x->memory_only = true; }
    const cellar_err err = told(world.store, CALL(cellar_namespace_open)(
                                                 world.store, calls_names[space], none ? NULL : &o,
                                                     &c));
    refused(bad, err);
    if (!x->named) { /* after an error it may exist, too, with a tier that counts as the disk */
        x->named = true;
        x->through = err == CELLAR_OK && !none && o.l2_write == CELLAR_L2_WRITE_THROUGH;
        atomic_store(&x->volatile_only, !calls.disk || (err == CELLAR_OK && !none &&
                                                        o.tier == CELLAR_TIER_L1));
    }
    if (err != CELLAR_OK) {
        MUST(c == NULL);
        return;
    }
    cellar *was = atomic_exchange(&x->c, c);
    if (was == NULL) { return; }
    const unsigned at = atomic_fetch_add(&world.closed_count, 1);
    if (at < 256) {
        world.closed[at] = was;
    } else {
        atomic_fetch_sub(&world.closed_count, 1);
        /* equal to c: a second count of one handle */
        (void)told(c, CALL(cellar_namespace_close)(was));
    }
}

/* Open a namespace once more, or drop it and create it again. */
static void namespace_change(unsigned space, bool drop)
{
    calls_kill x;
    /* One thread at a time, and no listener meanwhile: it is known which call creates it. */
    if (space == CALLS_BEHIND || atomic_exchange(&world.opening, true)) { return; }
    kill_begin(&x, drop || !world.strict ? space : CALLS_BEHIND, 0);
    const cellar_err err =
        drop ? told(world.store, CALL(cellar_namespace_drop)(world.store, calls_names[space]))
             : CELLAR_OK;
    const bool dropped = drop && (err == CELLAR_OK || err == CELLAR_E_IO);
    if (dropped) {
        kill_space(&x, space);
        world.space[space].named = false;
    }
    if (dropped || !drop) { namespace_open(space); }
    kill_end(drop || !world.strict ? space : CALLS_BEHIND, 0);
    atomic_store(&world.opening, false);
}

static void row_namespace(void)
{
    const unsigned space = 1 + draw(CALLS_SPACES - 1);
    cellar *c = atomic_load(&world.space[space].c);
    if (atomic_load(&world.closed_count) > 200) { return; }
    switch (draw(6)) {
    case 0:
        if (chance(30)) { namespace_change(space, true); }
        break;
    case 1:
        if (c != NULL) {
            atomic_fetch_add(&world.killing, 1);
            due_end(space, 0);
            (void)told(c, CALL(cellar_option_set)(c, CELLAR_OPT_ENABLED, 0));
            if (chance(80)) { calls_back(); }
            (void)told(c, CALL(cellar_option_set)(c, CELLAR_OPT_ENABLED, 1));
            kill_end(space, 0);
        }
        break;
    case 2: {
        uint32_t class = 0;
        if (c != NULL) {
            (void)told(c, CALL(cellar_ttl_class_find)(c, chance(50) ? "short" : "none", &class));
            MUST(class <= 2);
        }
        break;
    }
    default: namespace_change(space, false);
    }
}

/* ---- Options at run time --------------------------------------------------------------------- */

static void row_option(void)
{
    static const int64_t memory[] = { 1 << 20, 3 << 20, 8 << 20, 12 << 20, 0, INT64_MAX };
    const unsigned space = draw(CALLS_SPACES);
    cellar *c = atomic_load(&world.space[space].c);
    cellar_option option = (cellar_option)(1 + draw(16));
    int64_t value = 0;
    if (c == NULL || (world.strict && option == CELLAR_OPT_BLOOM_KEYS)) { return; }
    if (world.roomy && (option == CELLAR_OPT_MEMORY_BYTES || option == CELLAR_OPT_MAX_ENTRIES ||
                        option == CELLAR_OPT_NAMESPACE_MAX_ENTRIES)) {
        return;
    }
    if (chance(30)) {
        (void)told(c, CALL(cellar_option_get)(c, option, &value));
        return;
    }
    switch ((int)option) {
    case CELLAR_OPT_MEMORY_BYTES: value = memory[draw(6)]; break;
    case CELLAR_OPT_MAX_ENTRIES: value = ONE_OF(0, 0, 10, 100, 1000, -1); break;
    case CELLAR_OPT_EVICTION: value = draw(6); break;
    case CELLAR_OPT_LOG_LEVEL: value = draw(7); break;
    case CELLAR_OPT_MAINTENANCE_THREAD: value = calls_exact() ? 0 : draw(2); break;
    case CELLAR_OPT_L2_BYTES: value = ONE_OF(16 << 20, 24 << 20, 0); break;
    case CELLAR_OPT_NAMESPACE_MAX_ENTRIES: value = ONE_OF(0, 1, 10, 100, -1); break;
    case CELLAR_OPT_ENABLED: value = ONE_OF(1, 2, -1); break;
    case CELLAR_OPT_BLOOM_KEYS: value = ONE_OF(0, 1, 100, 10000, -1, INT64_MAX); break;
    default:
        value = world.strict ? ONE_OF(CALLS_LASTS) : ONE_OF(BAD_MS);
        due_bound(space, value);
        if (!world.strict) { due_end(space == 0 ? CALLS_SPACES : space, 0); }
    }
    if (option == CELLAR_OPT_L2_BYTES) { atomic_store(&world.sized, true); }
    if (option == CELLAR_OPT_BLOOM_KEYS) { atomic_store(&world.space[space].vague, true); }
    const cellar_err err = told(c, CALL(cellar_option_set)(c, option, value));
    TRACE("option %d = %" PRId64 ": %s", (int)option, value, cellar_code_name(err));
}

static void row_charge(void)
{
    const int64_t n = ONE_OF(0, 1, 4096, 200000);
    (void)told(world.store, CALL(cellar_memory_charge)(world.store, chance(50) ? n : -n));
}

static void row_tick(void)
{
    int64_t wait_ms = 0;
    if (!calls_exact() || chance(50)) {
        atomic_fetch_add(&calls.now_ms, ONE_OF(0, 1, 30, 1000, 5000, 70000));
    }
    if (told(world.store, CALL(cellar_tick)(world.store, tick_us(1000000000), &wait_ms)) >= 0) {
        due_written();
    }
}

/* What was sure of a kill is now sure of a power cut. */
static void due_synced(void)
{
    for (unsigned i = 0; i < CALLS_SPACES * CALLS_KEYS; i++) {
        calls_due *d = &world.space[i / CALLS_KEYS].slot[i % CALLS_KEYS].due;
        if (atomic_load(&d->sure) != 0) { atomic_store(&d->sure, 2); }
    }
}

static void row_sync(void)
{
    uint64_t missed = 0;
    if (chance(15) && told(world.store, CALL(cellar_sync)(world.store)) == CELLAR_OK) {
        due_written();
        if (calls_exact() && world.sync != CELLAR_L2_SYNC_MANUAL) { due_synced(); }
    }
    if (chance(15)) {
        const cellar_err err = told(world.store, CALL(cellar_save)(world.store, &missed));
        MUST((err == CELLAR_DROPPED) == (missed != 0) || err < 0);
    }
}

static void row_check(void)
{
    if (!calls_exact() || !chance(20)) { return; }
    const cellar_err err = CALL(cellar_integrity_check)(world.store);
    if (err != CELLAR_OK) {
        cellar_error_info e = cellar_error_info_default();
        (void)CALL(cellar_last_error)(world.store, &e);
        calls_fault("integrity: %s: %s", cellar_code_name(err), e.text);
    }
}

#define BULK_FULL 6000u

/* Set and delete keys in a burst, with no work of the disk in between. Long keys are all set, then
 * all deleted: the tombstones of the row need more room than the stage has. */
static void bulk_small(cellar *c)
{
    char key[1000] = { 0 };
    const unsigned keys = (unsigned)ONE_OF(500, 2500, 30000);
    const bool row = keys == 2500;
    if (keys > 500) { atomic_store(&world.crowded, true); } /* tombstones keep their words */
    for (unsigned i = 0; i < (row ? 2 * keys : 60000); i++) {
        const unsigned number = row ? i % keys : i / 2 % keys;
        const size_t len = (size_t)snprintf(key, sizeof key, "small%u", number);
        const size_t key_len = row ? sizeof key : len;
        const bool sets = row ? i < keys : i % 2 == 0;
        (void)plain(sets ? cellar_set(c, key, key_len, calls_tags, 40, NULL)
                         : cellar_delete(c, key, key_len));
    }
}

static bool has_disk(void)
{
    cellar_stats s = cellar_stats_default();
    return cellar_stats_get(world.store, CELLAR_SCOPE_STORE, &s) == CELLAR_OK &&
           s.l2_memory_bytes != 0;
}

/* Store more acknowledged entries than a small index has places. Each set that returned OK stays, the
 * others are refused. */
static void bulk_full(cellar *c)
{
    static bool taken[BULK_FULL];
    char key[16], value[40];
    size_t len = 0;
    atomic_store(&world.crowded, true);
    for (unsigned i = 0; i < BULK_FULL; i++) {
        const size_t key_len = (size_t)snprintf(key, sizeof key, "full%u", i);
        taken[i] = plain(cellar_set(c, key, key_len, calls_tags, 40, NULL)) == CELLAR_OK;
    }
    const bool judged = calls_exact() && !atomic_load(&world.failed) && world.writes &&
                        has_disk();
    for (unsigned i = draw(8); i < BULK_FULL && judged; i += 8) {
        const size_t key_len = (size_t)snprintf(key, sizeof key, "full%u", i);
        if (taken[i] && cellar_get(c, key, key_len, value, sizeof value, &len) != CELLAR_OK) {
            calls_fault("entry %u of %u in a full index is gone", i, BULK_FULL);
        }
    }
}

/* Write twice the size of the disk, and end most of it: by overwrites, a clear, a tag, deletes. */
static void row_bulk(void)
{
    const bool small = chance(50);
    const size_t len = small ? 1 : (size_t)ONE_OF(60000, 200000, 700000);
    const unsigned keys = len > 60000 ? 1 + draw(3) : (unsigned)ONE_OF(1, 30), how = draw(4);
    const unsigned count = small ? 0 : (unsigned)(2 * CELLAR_L2_BYTES_MIN / len);
    cellar *c = NULL;
    cellar_bytes tag = { "bulk", 4 };
    cellar_set_opts so = cellar_set_opts_default();
    if (!world.strict || !calls.disk || world.sync == CELLAR_L2_SYNC_ALWAYS) { return; }
    cellar_namespace_config o = { .struct_size = sizeof o, .l2_write = CELLAR_L2_WRITE_THROUGH };
    if (told(world.store, CALL(cellar_namespace_open)(world.store, "bulk", &o, &c)) != CELLAR_OK) {
        return;
    }
    void *value = calloc(1, len);
    MUST(value != NULL);
    so.tags = &tag, so.tag_count = 1;
    if (small && chance(40)) {
        bulk_full(c);
    } else if (small) {
        bulk_small(c);
    }
    for (unsigned i = 0; i < count; i++) {
        char key[16];
        const size_t key_len = (size_t)snprintf(key, sizeof key, "bulk%u", i % keys);
        (void)plain(CALL(cellar_set)(c, key, key_len, value, len, how == 1 ? &so : NULL));
        if (how == 2) { (void)plain(CALL(cellar_delete)(c, key, key_len)); }
        if (calls_exact()) { (void)plain(CALL(cellar_tick)(world.store, 1000000, NULL)); }
    }
    free(value);
    if (how == 1) { (void)told(c, CALL(cellar_delete_by_tag)(c, "bulk", 4, CELLAR_TAG_HARD)); }
    (void)told(c, CALL(cellar_clear)(c));
    (void)told(world.store, CALL(cellar_namespace_close)(c));
}

/* ---- Policies -------------------------------------------------------------------------------- */

static const char calls_policy[] =
    "[*]\nset default_ttl=1h negative=5s stale=10s\n"
    "[a]\nglob k1* ttl=5m jitter=10% tags=t1 refresh=1m loader=rows priority=high\n"
    "deny k2?\n[b]\nglob k0* ttl_max=1m class=short\nno_l2 k1*\n"
    "[c]\nkey k{id} idle=1m max_age=1h\nset quota_max=60%\n[kit]\nglob board* ttl=3s\n";

static void take_policy_note(const cellar_settings_note *note, void *ctx)
{
    (void)ctx;
    MUST(note->text[0] != '\0');
}

static bool take_rule(const cellar_policy_rule *rule, void *ctx)
{
    (void)ctx;
    MUST(rule->section != NULL && strlen(rule->pattern) <= CELLAR_PATTERN_MAX);
    return !chance(10);
}

static void row_policy(void)
{
    char path[T_FOLDER_MAX + 16];
    cellar *c = world.store;
    if (world.strict) { return; }
    snprintf(path, sizeof path, "%s/policy", calls_folder);
    atomic_store(&world.policies, true);
    due_end(CALLS_SPACES, 0);
    switch (draw(5)) {
    case 0:
        plain(CALL(cellar_policy_reload)(c, chance(70) ? path : "/none", take_policy_note, NULL));
        break;
    case 1: {
        const cellar_policy_space space = { "a", NULL };
        cellar_policy_rule *rules = NULL;
        size_t count = 0;
        cellar_policy_opts o = { .struct_size = sizeof o, .text = calls_policy };
        o.text_len = chance(20) ? 0 : chance(70) ? sizeof calls_policy - 1
                                                 : draw(sizeof calls_policy);
        o.lint = chance(50);
        o.spaces = chance(50) ? &space : NULL;
        o.space_count = o.spaces != NULL;
        const cellar_err err = plain(CALL(cellar_policy_read)("text", chance(80) ? &o : NULL,
                                                              take_policy_note, NULL, &rules,
                                                              &count));
        MUST((err == CELLAR_OK) == (rules != NULL));
        if (err == CELLAR_OK) { (void)told(c, CALL(cellar_policy_set)(c, rules, count)); }
        CALL(cellar_free)(rules);
        break;
    }
    case 2: {
        cellar_policy_rule r[2] = { cellar_policy_rule_default(), cellar_policy_rule_default() };
        r[0].kind = (cellar_policy_kind)draw(5);
        if (r[0].kind != CELLAR_POLICY_SET) { r[0].pattern = "k3?"; }
        MAYBE(r[0].ttl_ms, BAD_MS);
        MAYBE(r[0].refresh_ms, 0, 1000);
        r[1].kind = CELLAR_POLICY_GLOB;
        r[1].pattern = "k0?";
        MAYBE(r[1].ttl_max_ms, SOME_MS);
        MAYBE(r[1].jitter_pct, 0, 10, CELLAR_OFF, 101);
        (void)spoil(&r[draw(2)], sizeof r[0]);
        (void)told(c, CALL(cellar_policy_set)(c, r, draw(3)));
        break;
    }
    case 3: plain(CALL(cellar_policy_list)(c, take_rule, NULL)); break;
    default: (void)told(c, CALL(cellar_policy_set)(c, NULL, 0));
    }
}

/* ---- Figures --------------------------------------------------------------------------------- */

static bool take_namespace(const char *name, const cellar_stats *stats, void *ctx)
{
    (void)ctx;
    MUST(strlen(name) <= CELLAR_NAME_MAX);
    MUST(stats->gets == stats->hits_l1 + stats->hits_l2 + stats->stale_hits +
                            stats->negative_hits + stats->misses || !calls_exact());
    calls_back();
    return !chance(10);
}

static void row_figures(void)
{
    cellar *c = atomic_load(&world.space[draw(CALLS_SPACES)].c);
    const cellar_scope scope = (cellar_scope)draw(2);
    if (c == NULL) { return; }
    switch (draw(10)) {
    case 0: WRITE_TEXT(cellar_metrics_write, c); break;
    case 1: WRITE_TEXT(cellar_stats_json, c); break;
    case 2: WRITE_TEXT(cellar_dump_write, c); break;
    case 3: {
        cellar_stats s = cellar_stats_default();
        if (told(c, CALL(cellar_stats_get)(c, scope, &s)) == CELLAR_OK && calls_exact()) {
            MUST(s.gets == s.hits_l1 + s.hits_l2 + s.stale_hits + s.negative_hits + s.misses);
            MUST(s.used_bytes <= s.budget_bytes || s.budget_bytes == 0);
        }
        break;
    }
    case 4: (void)told(c, CALL(cellar_namespace_list)(c, take_namespace, NULL)); break;
    case 5: {
        cellar_hot_key keys[5];
        size_t n = 0;
        (void)told(c, CALL(cellar_hot_keys)(c, scope, keys, 5, &n));
        MUST(n <= 5);
        break;
    }
    case 6: {
        cellar_latency l = cellar_latency_default();
        (void)told(c, CALL(cellar_latency_get)(c, (cellar_op)draw(9), &l));
        break;
    }
    case 7: {
        cellar_advice a = cellar_advice_default();
        (void)plain(CALL(cellar_advice_get)(c, scope, &a));
        break;
    }
    default: {
        const char *html = NULL;
        size_t len = 0;
        CALL(cellar_dashboard_html)(&html, &len);
        MUST(len > 0 && html != NULL);
        MUST(CALL(cellar_version)()[0] != '\0');
    }
    }
}

/* ---- A tier without a server ----------------------------------------------------------------- */

static cellar_err tier_attached(void *ctx, const cellar_tier_host *host)
{
    (void)ctx;
    MUST(host->max_value_bytes > 0);
    return chance(90) ? CELLAR_OK : CELLAR_E_IO;
}
static cellar_err tier_get(void *ctx, const cellar_tier_key *k, void *buf, size_t cap, size_t *len,
                           cellar_tier_entry *e)
{
    (void)ctx, (void)k, (void)buf, (void)cap, (void)len, (void)e;
    return chance(90) ? CELLAR_MISS : CELLAR_E_IO;
}
static cellar_err tier_put(void *ctx, const cellar_tier_key *k, const void *value, size_t len,
                           cellar_tier_entry *e)
{
    (void)ctx, (void)k, (void)value, (void)len;
    e->check = draw64() | 1;
    return chance(90) ? CELLAR_OK : CELLAR_E_IO;
}
static cellar_err tier_remove(void *ctx, const cellar_tier_key *k, const cellar_tier_entry *e)
{
    (void)ctx, (void)k, (void)e;
    return CELLAR_OK;
}

static void row_tier(void)
{
    cellar_tier_table t = cellar_tier_table_default();
    cellar *c = NULL;
    cellar_namespace_config o = { .struct_size = sizeof o, .tier = CELLAR_TIER_L1 };
    t.attached = tier_attached, t.get = tier_get, t.put = tier_put, t.remove = tier_remove;
    (void)spoil(&t, sizeof t);
    if (told(world.store, CALL(cellar_namespace_open)(world.store, "tier", &o, &c)) != CELLAR_OK) {
        return;
    }
    if (chance(20)) { (void)plain(CALL(cellar_tier_attach)(c, &t)); }
    for (unsigned i = draw(6); i > 0; i--) {
        char buf[10];
        size_t len;
        plain(CALL(cellar_set)(c, "key", 3, "value", 5, NULL));
        if (plain(CALL(cellar_get)(c, "key", 3, buf, sizeof buf, &len)) == CELLAR_OK) {
            MUST(len == 5 && memcmp(buf, "value", 5) == 0);
        }
        if (chance(30)) { plain(CALL(cellar_delete)(c, "key", 3)); }
    }
    (void)told(world.store, CALL(cellar_namespace_close)(c));
}

/* ---- The port -------------------------------------------------------------------------------- */

static cellar_resp *calls_port;
static int calls_client = -1;
static char calls_socket[T_FOLDER_MAX + 16];

static void port_open(void)
{
    const cellar_host_config host = draw_host("port");
    if (!chance(40)) { return; }
    snprintf(calls_socket, sizeof calls_socket, "%s/socket", calls_folder);
    cellar_resp_config o = { .struct_size = sizeof o, .host = &host, .unix_path = calls_socket,
                             .writable = chance(80) };
    o.danger = chance(20);
    o.namespaces = chance(50) ? "0=port 1=port1" : NULL;
    MAYBE(o.resp_buffer_bytes, 0, 1 << 20);
    MAYBE(o.admin_head_bytes, 0, 1 << 10, 1 << 20);
    MAYBE(o.admin_body_bytes, 0, 1, 1 << 20);
    MAYBE(o.max_clients, 0, 1, 65536);
    const bool bad = spoil(&o, sizeof o);
    const cellar_err err = plain(CALL(cellar_resp_open)(world.store, &o, &calls_port));
    refused(bad, err);
    if (err == CELLAR_OK && !calls_exact() && chance(50)) {
        plain(CALL(cellar_resp_start)(calls_port));
    }
}

static void port_send(const char *text)
{
    char reply[4096];
    if (calls_client < 0) {
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        if (strlen(calls_socket) >= sizeof a.sun_path) { return; }
        memcpy(a.sun_path, calls_socket, strlen(calls_socket) + 1);
        calls_client = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (connect(calls_client, (struct sockaddr *)&a, sizeof a) != 0) {
            close(calls_client);
            calls_client = -1;
            return;
        }
    }
    const ssize_t sent = send(calls_client, text, strlen(text), MSG_NOSIGNAL);
    const ssize_t n = recv(calls_client, reply, sizeof reply, 0);
    if ((sent < 0 && errno != EAGAIN) || n == 0) {
        close(calls_client);
        calls_client = -1;
    }
}

static void row_port(void)
{
    static const char *const lines[] = {
        "SET port1 value EX 100\r\n", "GET port1\r\n", "DEL port1 port2\r\n", "INCR number\r\n",
        "KEYS *\r\n", "MULTI\r\nSET port2 x\r\nEXEC\r\n", "SCAN 0\r\n", "INFO\r\n", "TTL port1\r\n",
        "*2\r\n$3\r\nGET\r\n$5\r\nport1\r\n", "FLUSHDB\r\n", "SELECT 1\r\n", "nonsense\r\n",
        "*1\r\n$"
    };
    if (calls_port == NULL) { return; }
    if (calls_me->number == 0) {
        unsigned line = draw(14);
        if (world.strict && strncmp(lines[line], "FLUSH", 5) == 0) { line = 0; }
        if (strncmp(lines[line], "FLUSH", 5) == 0) { /* it runs in a later step */
            for (unsigned i = 0; i < CALLS_SPACES; i++) {
                atomic_store(&world.space[i].vague, true);
            }
        }
        port_send(lines[line]);
    }
    switch (draw(8)) {
    case 0: READ_FIGURES(cellar_resp_stats, cellar_resp_stats_get, calls_port); break;
    case 1: WRITE_TEXT(cellar_metrics_write, calls_port); break;
    case 2: WRITE_TEXT(cellar_stats_json, calls_port); break;
    case 3: MUST(CALL(cellar_resp_fd)(calls_port) >= 0); break;
    case 4: if (chance(5)) { CALL(cellar_resp_drain)(calls_port); } break;
    default: plain(CALL(cellar_resp_step)(calls_port, 0));
    }
}

static void port_close(void)
{
    if (calls_client >= 0) { close(calls_client); }
    calls_client = -1;
    /* It must not overlap other calls on the port. */
    if (calls_port != NULL && chance(30)) { plain(CALL(cellar_resp_finish)(calls_port, 1)); }
    CALL(cellar_resp_close)(calls_port);
    calls_port = NULL;
}

/* ---- The store ------------------------------------------------------------------------------- */

static void due_keep_one(const calls_space *x, calls_due *d, bool due)
{
    d->kept = due && !d->memory_only && !x->memory_only && !atomic_load(&x->versioned) ? d->number
                                                                                       : 0;
    d->left_ms = d->end_ms == INT64_MAX ? INT64_MAX
                                        : d->end_ms - atomic_load(&calls.now_ms) - CALLS_OFF_MS;
    if (d->left_ms < CALLS_OFF_MS) { d->kept = 0; } /* min_ttl_ms */
}

/* Note which values the disk must have after a close. */
static void due_keep(void)
{
    const bool disk = world.writes && !atomic_load(&world.failed) &&
                      has_disk();
    for (unsigned i = 0; i < CALLS_SPACES; i++) {
        for (unsigned j = 0; j < CALLS_KEYS; j++) {
            calls_key k;
            calls_name_key(&k, i, j);
            calls_due *d = &slot_of(&k)->due;
            const bool due = d->number != 0 && d->loads_seen == atomic_load(&d->loads) &&
                             !due_ended(&k, d->number, d->seen);
            due_keep_one(&world.space[i], d, due && disk);
            if (d->kept == 0) { continue; }
            if (atomic_load(&d->sure) == 0) { atomic_store(&d->plain, true); }
            atomic_store(&d->sure, 2); /* a close syncs */
        }
    }
}

/* The same after a kill, with nothing of the store. */
static void due_keep_killed(void)
{
    for (unsigned i = 0; i < CALLS_SPACES * CALLS_KEYS; i++) {
        calls_space *x = &world.space[i / CALLS_KEYS];
        calls_due *d = &x->slot[i % CALLS_KEYS].due;
        const unsigned sure = atomic_load(&d->sure);
        const bool due = d->number != 0 && d->loads_seen == atomic_load(&d->loads) &&
                         d->seen == atomic_load(&d->touched) && !atomic_load(&x->vague);
        const bool lost = world.cut && !world.clean && (world.manual || sure < 2);
        if (world.opened) {
            due_keep_one(x, d, due && atomic_load(&world.killing) == 0 &&
                                   !atomic_load(&world.failed) &&
                                   atomic_load(&calls.now_ms) < d->end_ms &&
                                   (due_sure(d) || (atomic_load(&d->disk) && calls_exact() &&
                                                    d->left_step < world.written_step &&
                                                    !atomic_load(&world.crowded))));
        }
        if (lost || x->memory_only) { d->kept = 0; }
    }
}

/* Values that the disk must have are due again. */
static void due_again(void)
{
    const bool disk = has_disk(), all = chance(20);
    for (unsigned i = 0; i < CALLS_SPACES; i++) {
        for (unsigned j = 0; j < CALLS_KEYS; j++) {
            calls_key k;
            calls_name_key(&k, i, j);
            calls_due *d = &slot_of(&k)->due;
            const int64_t least = atomic_load(&world.space[i].least_ms), now = calls_clock(NULL);
            const int64_t left = least < d->left_ms ? least : d->left_ms;
            if (d->kept == 0 || !disk || world.space[i].memory_only || space_of(&k) == NULL) {
                continue;
            }
            const calls_begun was = due_begin(&k);
            due_stored(&k, d->kept, &was, UINT32_MAX, left == INT64_MAX ? INT64_MAX : now + left,
                       false);
            atomic_fetch_add(&calls.kept, 1);
        }
    }
    for (unsigned i = 0; i < CALLS_SPACES * CALLS_KEYS && all; i++) {
        calls_look l;
        calls_name_key(&l.key, i / CALLS_KEYS, i % CALLS_KEYS);
        const calls_due *d = &slot_of(&l.key)->due;
        if (d->number == 0 || due_ended(&l.key, d->number, d->seen)) { continue; }
        look_begin_at(&l);
        l.due = d->number; /* of each owner */
        read_key(l);
    }
}

/* Open the store of a world; false if the options were refused. */
static bool store_open(void)
{
    cellar_config cfg = cellar_config_default();
    cellar_host_config host = draw_host("fuzz");
    cellar_tuning_config tuning = cellar_tuning_config_default();
    cellar_l2_config l2 = cellar_l2_config_default();
    cellar_load_opts load;
    cellar_breaker_config breaker;
    cellar_namespace_config root = draw_namespace(0, &load, &breaker);
    cfg.host = &host, cfg.tuning = &tuning, cfg.root = &root;
    cfg.memory_bytes = (uint64_t)ONE_OF(1 << 20, 2 << 20, 4 << 20, 8 << 20, 16 << 20);
    cfg.eviction = (cellar_eviction)draw(5);
    MAYBE(cfg.max_entries, 0, 0, 30, 300);
    MAYBE(cfg.default_ttl_ms, SOME_MS);
    MAYBE(cfg.negative_ttl_ms, SOME_MS);
    if (chance(20)) { cfg.idle_ms = ONE_OF(0, 1000, 60000); }
    if (chance(20)) { cfg.stale_ms = ONE_OF(0, 1000, 60000); }
    MAYBE(tuning.max_value_bytes, 0, 0, 5000, 1 << 20);
    MAYBE(tuning.expected_entry_bytes, 0, 16, 4096);
    MAYBE(tuning.close_timeout_ms, 0, 5000);
    MAYBE(tuning.hash, 0, 1);
    MAYBE(tuning.optimize, 0, 1);
    MAYBE(tuning.jitter_pct, 0, 1, 100, CELLAR_OFF);
    MAYBE(tuning.stripes, 0, 1, 2, 4, 8, 16, 32, 64, 1024);
    tuning.stripes = (uint32_t)t_env_u64("STRIPES", tuning.stripes);
    MAYBE(tuning.max_namespaces, 0, 300);
    MAYBE(tuning.max_loads, 0, 3);
    MAYBE(tuning.max_load_waiters, 0, 3);
    tuning.no_explain = chance(20), tuning.no_advisor = chance(20);
    if (calls.disk) {
        cfg.l2_path = calls_directory;
        cfg.l2_bytes = CELLAR_L2_BYTES_MIN;
        cfg.l2 = &l2;
        if (cfg.memory_bytes < 4 << 20) { cfg.memory_bytes = 8 << 20; }
        /* A smaller index may have no place for what a larger one had. */
        l2.mean_entry_bytes = (const uint64_t[]){ 0, 100, 10000 }[calls_mix(calls.seed + 9) % 3];
        if (chance(10)) { l2.write_bytes_per_s = 100000; }
        l2.sync = (cellar_l2_sync)ONE_OF(0, 0, 1, 2);
        MAYBE(l2.min_ttl_ms, 0, 1, 1000);
        MAYBE(l2.retry_ms, 0, 1, 1000);
        l2.optional = chance(50);
        MAYBE(l2.close_ms, 0, 5000, CELLAR_TTL_NONE);
    }
    cellar_policy_rule rule = { .struct_size = sizeof rule, .kind = CELLAR_POLICY_GLOB,
                                .pattern = "k1*", .ttl_ms = 300000 };
    if (chance(15) && !world.strict) { cfg.rules = &rule, cfg.rule_count = 1; }
    if (world.strict) { cfg.default_ttl_ms = ONE_OF(CALLS_LASTS), cfg.idle_ms = 0; }
    if (world.roomy) {
        cfg.memory_bytes = 64 << 20, cfg.max_entries = 0;
    } else if (world.strict && calls.disk) { /* most values are on disk alone */
        cfg.max_entries = (uint64_t)ONE_OF(10, 20, 40);
    }
    atomic_store(&world.policies, cfg.rules != NULL);
    for (unsigned i = 0; i < CALLS_SPACES; i++) {
        atomic_store(&world.space[i].least_ms, INT64_MAX);
        atomic_store(&world.space[i].vague, false);
        world.space[i].memory_only = i == CALLS_BEHIND;
    }
    world.space[0].memory_only = root.tier == CELLAR_TIER_L1 || root.hidden;
    world.writes = calls.disk && l2.write_bytes_per_s == 0;
    world.space[0].through = root.l2_write == CELLAR_L2_WRITE_THROUGH;
    world.refusals = 0;
    world.sync = l2.sync;
    if ((world.rooted == world.space[0].memory_only || atomic_load(&world.sized)) &&
        l2.sync == CELLAR_L2_SYNC_MANUAL) {
        world.clean = false;
        world.manual = true; /* the root comes or goes, or the size changes: the open writes */
    }
    world.opened = false;
    atomic_store(&world.failed, false);
    namespace_bounds(0, &root);
    due_bound(0, cfg.default_ttl_ms);
    due_bound(0, cfg.idle_ms);
    const bool bad = spoil(&cfg, sizeof cfg);
    if (world.cut) { (void)base_fault_io_arm("boot_id", EIO, 1, false); }
    const cellar_err err = told(NULL, CALL(cellar_open)(&cfg, &world.store));
    if (world.cut) { (void)base_fault_io_arm(NULL, 0, 0, false); }
    refused(bad, err);
    MUST((err == CELLAR_OK) == (world.store != NULL));
    if (err != CELLAR_OK) { return false; }
    world.blind = world.cut;
    world.rooted = !world.space[0].memory_only;
    if (world.idle) { (void)kill(getpid(), SIGKILL); }
    world.manual = l2.sync == CELLAR_L2_SYNC_MANUAL;
    world.clean = world.cut = false;
    atomic_store(&world.space[0].c, world.store);
    atomic_store(&world.space[0].volatile_only, !calls.disk || root.tier == CELLAR_TIER_L1);
    for (unsigned i = 1; i < CALLS_SPACES; i++) { namespace_open(i); }
    uint64_t id;
    world.heard = chance(world.strict && !world.roomy ? 80 : 50) &&
                  told(world.store, CALL(cellar_listener_add)(
                                        world.store, CELLAR_CAUSE_BIT(EVICTED) |
                                            CELLAR_CAUSE_BIT(REJECTED), hear_room, NULL, &id)) ==
                      CELLAR_OK;
    if (calls.disk) { due_again(); }
    world.opened = true;
    return true;
}

static void spaces_close(void)
{
    for (unsigned i = 0; i < atomic_load(&world.closed_count); i++) {
        (void)plain(CALL(cellar_namespace_close)(world.closed[i]));
    }
    atomic_store(&world.closed_count, 0);
    for (unsigned i = 1; i < CALLS_SPACES; i++) {
        (void)plain(CALL(cellar_namespace_close)(atomic_load(&world.space[i].c)));
        atomic_store(&world.space[i].c, NULL);
        world.space[i].named = false;
    }
}

/* The store is gone, by a close or a kill. */
static void store_gone(void)
{
    world.store = NULL;
    atomic_store(&world.space[0].c, NULL);
    for (unsigned i = 0; i < 4; i++) { atomic_store(&calls_listeners[i], 0); }
    for (unsigned i = 0; i < CALLS_SPACES; i++) {
        for (unsigned j = 0; j < CALLS_KEYS; j++) {
            calls_slot *s = &world.space[i].slot[j];
            /* Deadlines follow the wall clock over a restart. */
            atomic_store(&s->until, INT64_MAX);
            for (unsigned n = 0; n < CALLS_DEADLINES; n++) { s->deadline[n] = INT64_MAX; }
            if (atomic_load(&world.space[i].volatile_only)) {
                slot_older_end(s, atomic_load(&s->next) + 1);
            }
        }
        for (unsigned j = 0; j < CALLS_COUNTERS; j++) {
            if (atomic_load(&world.space[i].volatile_only)) {
                world.space[i].counter[j].known = false;
            }
        }
    }
}

/* Close the store, check it before and its bytes after. */
static void store_close(void)
{
    cellar_err ok = CALL(cellar_integrity_check)(world.store);
    /* A worker of the store may store what it loads meanwhile: a fault is one that stays. */
    for (unsigned i = 0; i < 1000 && ok != CELLAR_OK && !calls_exact(); i++) {
        (void)usleep(1000);
        ok = cellar_integrity_check(world.store);
    }
    if (ok != CELLAR_OK) {
        cellar_error_info e = cellar_error_info_default();
        (void)CALL(cellar_last_error)(world.store, &e);
        calls_fault("integrity at the end: %s: %s", cellar_code_name(ok), e.text);
    }
    if (chance(50)) { spaces_close(); }
    due_keep();
    due_end(CALLS_SPACES, 0);
    const cellar_err err = plain(CALL(cellar_close)(world.store));
    for (unsigned i = 0; i < CALLS_SPACES * CALLS_KEYS && err != CELLAR_OK; i++) {
        world.space[i / CALLS_KEYS].slot[i % CALLS_KEYS].due.kept = 0;
    }
    MUST(err == CELLAR_OK || err == CELLAR_DROPPED);
    spaces_close();
    world.clean = err == CELLAR_OK;
    store_gone();
}

/* The process of a life died. Note what the next open must find. */
static void store_died(void)
{
    if (atomic_exchange(&world.killing, 0) != 0) { due_end(CALLS_SPACES, 0); }
    world.cut = world.cut || world.blind || chance(world.idle ? 60 : 30);
    due_keep_killed();
    due_end(CALLS_SPACES, 0);
    atomic_store(&world.opening, false);
    atomic_store(&world.closed_count, 0);
    for (unsigned i = 0; i < CALLS_SPACES; i++) {
        atomic_store(&world.space[i].c, NULL);
        world.space[i].named = false;
        for (unsigned j = 0; j < CALLS_COUNTERS; j++) { world.space[i].counter[j].known = false; }
        for (unsigned j = 0; j < CALLS_KEYS; j++) {
            calls_slot *s = &world.space[i].slot[j];
            s->busy = false;
            s->leased = 0;
            if (!world.cut || world.clean || world.sync == CELLAR_L2_SYNC_ALWAYS) { continue; }
            atomic_store(&s->least[0], s->due.kept); /* later changes may be undone */
            atomic_store(&s->least[1], 0);
            memset(s->tag, 0, sizeof s->tag);
            memset(s->soft, 0, sizeof s->soft);
        }
    }
    store_gone();
}

/* Fork a child that is refused by the store of its parent. */
static void row_fork(void)
{
    if (!chance(10)) { return; }
    fflush(NULL);
    const pid_t child = fork();
    MUST(child >= 0);
    if (child == 0) {
        char buf[8];
        size_t len = 0;
        const bool refused =
            cellar_get(world.store, "k01", 3, buf, sizeof buf, &len) == CELLAR_E_FORKED &&
            cellar_set(world.store, "child", 5, "value", 5, NULL) == CELLAR_E_FORKED &&
            cellar_tick(world.store, 0, NULL) == CELLAR_E_FORKED;
        _exit(refused && cellar_close(world.store) == CELLAR_OK ? 0 : 1);
    }
    int status = 0;
    MUST(waitpid(child, &status, 0) == child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        calls_fault("a child ended with %d", status);
    }
}
