/* SPDX-License-Identifier: MIT
 *
 * Aim:    a hit that is answered before its options become a plan has the code and the result of
 *         one with a plan. user_flags are the same in each kind of result, and so is the age in a
 *         namespace with exact_age.
 * Method: random options, buffers and entries; each call runs twice. The second time the options
 *         are those of a newer program, in a longer struct: they always become a plan. */
#include "tests/support/load_kit.h"
#include "tests/support/spaces.h"

typedef struct newer_opts {
    cellar_load_opts o;
    uint64_t unknown; /* 0 */
} newer_opts;

static uint64_t drawn;

static uint64_t draw(uint64_t below)
{
    drawn = drawn * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (drawn >> 33) % below;
}

#define ONE_OF(...) \
    ((const int64_t[]){ __VA_ARGS__ })[draw(sizeof((const int64_t[]){ __VA_ARGS__ }) / 8)]

static void *retain(void *ctx) { return ctx; }
static void release(void *ctx) { (void)ctx; }

/* Draw options; some are refused. None change an entry: CELLAR_LOAD_REFRESH is left out. */
static cellar_load_opts draw_opts(void)
{
    static const cellar_bytes values[2] = { { "default", 7 }, { NULL, 7 } };
    static const unsigned char trace[CELLAR_LOAD_TRACE_BYTES];
    cellar_load_opts o = cellar_load_opts_default();
    const int64_t day = 86400000, most = (int64_t)UINT32_MAX;
    const uint64_t odds = 4 + draw(20);
#define MAYBE(field, type, ...) \
    do { if (draw(odds) == 0) { o.field = (type)ONE_OF(__VA_ARGS__); } } while (0)
    MAYBE(ttl_ms, int64_t, 1, 60000, CELLAR_TTL_NONE, -1);
    MAYBE(negative_ttl_ms, int64_t, 1, CELLAR_TTL_NONE, -1);
    MAYBE(error_ttl_ms, int64_t, 1, CELLAR_TTL_NONE, -1);
    MAYBE(error_ttl_max_ms, int64_t, 1, day, day + 1, -1);
    MAYBE(stale_ms, int64_t, 1, most, most + 1, -1);
    MAYBE(retry_throttle_ms, int64_t, 1, CELLAR_TTL_NONE, -1);
    MAYBE(soft_timeout_ms, int64_t, 1, 30000, 30001, CELLAR_TTL_NONE, -1);
    MAYBE(hard_timeout_ms, int64_t, 1, 50, day, day + 1, -1);
    MAYBE(wait_timeout_ms, int64_t, 1, CELLAR_TTL_NONE, -1);
    MAYBE(fallback_ttl_ms, int64_t, 1, CELLAR_TTL_NONE, -1);
    MAYBE(jitter_pct, uint32_t, 1, 100, 101, CELLAR_OFF);
    MAYBE(jitter_mode, cellar_jitter, 1, 2, 3);
    MAYBE(join_retries, uint32_t, 1, 8, 9, CELLAR_OFF);
    MAYBE(leader_retries, uint32_t, 1, 15, 16, CELLAR_OFF);
    MAYBE(eager_refresh_pct, uint32_t, 1, 99, 100, CELLAR_OFF);
    MAYBE(xfetch_beta_x100, uint32_t, 1, 100000, 100001, CELLAR_OFF);
    MAYBE(flags, uint32_t, 4, 8, 16, 32, 64, 128, 192, 256, 512, 1024, 1, 5, 2048, 1u << 31);
    MAYBE(ctx_bytes, uint32_t, 1, 256, 257);
    if (draw(odds) == 0) { o.ctx_retain = retain; }
    if (o.ctx_retain != NULL && draw(8) != 0) { o.ctx_release = release; }
    if (draw(odds) == 0) { o.default_value = &values[draw(2)]; }
    if (draw(odds) == 0) { o.trace = trace; }
    return o;
}

/* Runs with CELLAR_LOAD_BYPASS alone: all keys have an entry. */
static cellar_err fail(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len, (void)ctx;
    return cellar_load_fail(load, 7, 0, 0);
}

static char buf[2][600];
static const size_t caps[] = { 0, 4, 600 };

static cellar_err call(cellar *c, const char *key, const cellar_load_opts *o, size_t cap,
                       bool leases, unsigned nth, cellar_result *r)
{
    cellar_lease lease;
    *r = cellar_result_default();
    if (cap != 0) { r->buf = buf[nth]; }
    r->buf_cap = cap;
    if (!leases) { return cellar_get_or_load(c, key, strlen(key), o, fail, NULL, r); }
    const cellar_err err = cellar_lease_acquire(c, key, strlen(key), o, NULL, &lease, r);
    if (lease.opaque[1] != 0) { T_EQ_I64(cellar_lease_release(c, &lease, 0), CELLAR_OK); }
    return err;
}

static bool same_results(const cellar_result *a, const cellar_result *b)
{
    bool ok = true;
#define SAME(field) ok = T_EQ_I64(a->field, b->field) && ok
    SAME(value_len), SAME(source), SAME(flags), SAME(user_flags), SAME(loader_err);
    SAME(age_ms), SAME(ttl_left_ms), SAME(retry_after_ms), SAME(version);
    if (a->source == CELLAR_SOURCE_L1) { ok = T_EQ_U64(a->load_us | b->load_us, 0) && ok; }
    ok = T_EQ_I64((a->value == a->buf) - (b->value == b->buf), 0) && ok;
    ok = T_EQ_I64((a->value == NULL) - (b->value == NULL), 0) && ok;
    if (ok && a->value != NULL && a->value_len != 0) {
        ok = T_CHECK(memcmp(a->value, b->value, a->value_len) == 0);
    }
    return ok;
}

/* Store entries: plain, with a TTL, empty, long, with tags, user_flags, a stale window, a cost. */
static const char *const keys[] = { "plain", "a key of more than 16 bytes", "ttl", "empty", "long",
                                    "tags", "flags", "stale", "cost", "none" };

static void store(cellar *c)
{
    static const cellar_bytes tag = { "tag", 3 };
    static char text[560];
    memset(text, 'x', sizeof text);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        cellar_set_opts o = cellar_set_opts_default();
        size_t len = 12;
        switch (*keys[i] == 't' ? keys[i][1] : *keys[i]) {
        case 't': o.ttl_ms = 90000; break; /* ttl */
        case 'e': len = 0; break;
        case 'l': len = sizeof text; break;
        case 'a': if (keys[i][1] == 'g') { o.tags = &tag, o.tag_count = 1; } break;
        case 'f': o.user_flags = 7; break;
        case 's': o.ttl_ms = 90000, o.stale_ms = 5000; break;
        case 'c': o.cost_us = 1000; break;
        case 'n': o.flags = CELLAR_NEGATIVE, len = 0; break;
        default: break;
        }
        T_EQ_I64(cellar_set(c, keys[i], strlen(keys[i]), text, len, &o), CELLAR_OK);
    }
}

static void compare(cellar *c, uint64_t rounds)
{
    uint64_t hits = 0, refused = 0;
    for (uint64_t n = 0; n < rounds; n++) {
        newer_opts with = { draw_opts(), 0 };
        cellar_load_opts now = with.o;
        cellar_result r[2];
        const char *key = keys[draw(sizeof keys / sizeof keys[0])];
        const size_t cap = caps[draw(3)];
        const bool leases = draw(4) == 0;
        if (n % 64 == 0) {
            store(c);
            /* less than 1 % of the TTL: a refresh would change the second result */
            atomic_fetch_add(&kit_now_ms, (int64_t)draw(800));
        }
        with.o.struct_size = sizeof with;
        const cellar_err err = call(c, key, &now, cap, leases, 0, &r[0]);
        bool ok = T_EQ_I64(err, call(c, key, &with.o, cap, leases, 1, &r[1]));
        ok = same_results(&r[0], &r[1]) && ok;
        hits += err == CELLAR_OK;
        refused += err == CELLAR_E_INVAL;
        cellar_result_free(&r[0]), cellar_result_free(&r[1]);
        if (ok) { continue; }
        printf("# round %" PRIu64 " key %s flags %x cap %zu leases %d\n", n, key,
               (unsigned)now.flags, cap, leases);
        return;
    }
    T_CHECK(hits > rounds / 8 && refused > rounds / 8);
}

T_CASE(result_of_a_hit_does_not_depend_on_the_way)
{
    drawn = t_seed();
    cellar *c = closed_later(kit_open(8 << 20));
    compare(c, t_share(200000));
}

/* Each row: options of the namespace that some options of a call do not fit. */
T_CASE(options_of_the_namespace_count_on_both_ways)
{
    drawn = t_seed();
    for (unsigned row = 0; row < 3; row++) {
        const cellar_load_opts *l = LOAD_OPTS(.soft_timeout_ms = row == 0 ? 100 : 0,
                                              .eager_refresh_pct = row == 1 ? 50 : 0,
                                              .xfetch_beta_x100 = row == 2 ? 100 : 0);
        cellar *c = closed_later(kit_open(8 << 20));
        compare(space_with(c, "n", SPACE_OPTS(.load = l)), t_share(60000));
        left_close();
    }
}

/* Faulty sequence: a hit without options that fits into the buffer ignored eager_refresh_pct of the
 * namespace. */
T_CASE(eager_namespace_refreshes_hits_without_options)
{
    cellar *c = closed_later(kit_open(8 << 20));
    source s = SOURCE_INIT;
    char text[16];
    cellar_load_opts l = { .struct_size = sizeof l, .eager_refresh_pct = 50,
                           .jitter_pct = CELLAR_OFF };
    cellar_namespace_config n = { .struct_size = sizeof n, .default_ttl_ms = 1000, .load = &l };
    cellar *v = space_with(c, "n", &n);
    for (int i = 0; i < 3; i++) {
        cellar_result r = { .struct_size = sizeof r, .buf = text, .buf_cap = sizeof text };
        T_EQ_I64(cellar_get_or_load(v, "k", 1, NULL, source_load, &s, &r), CELLAR_OK);
        T_EQ_I64(atomic_load(&s.calls), i == 2 ? 2 : 1);
        cellar_result_free(&r);
        atomic_fetch_add(&kit_now_ms, 300);
    }
}

/* Each row: a way to read an entry by a load. */
enum { BY_LOAD, BY_LOAD_TTL, BY_LOAD_OWNED, BY_PIN, BY_CACHED, BY_LEASE, BY_BULK, WAYS };

static cellar_err never_many(cellar_load *load, const cellar_bytes *wanted, size_t n, void *ctx)
{
    (void)load, (void)wanted, (void)n, (void)ctx;
    T_CHECK(false);
    return CELLAR_E_IO;
}

static cellar_err by(cellar *c, const char *key, int way, cellar_result *r)
{
    static char text[64];
    const size_t len = strlen(key);
    cellar_lease lease;
    *r = cellar_result_default();
    if (way != BY_LOAD_OWNED) { r->buf = text, r->buf_cap = sizeof text; }
    cellar_load_opts o = { .struct_size = sizeof o, .ttl_ms = 60000 };
    if (way == BY_PIN) { o.flags = CELLAR_LOAD_PIN; }
    if (way == BY_CACHED) { o.flags = CELLAR_LOAD_ONLY_IF_CACHED; }
    switch (way) {
    case BY_LEASE: return cellar_lease_acquire(c, key, len, NULL, NULL, &lease, r);
    case BY_BULK: {
        cellar_load_item it = { .key = key, .key_len = len, .result = r };
        T_EQ_I64(cellar_get_or_load_many(c, &it, 1, NULL, never_many, NULL), CELLAR_OK);
        return it.status;
    }
    default:
        return cellar_get_or_load(c, key, len, way == BY_LOAD ? NULL : &o, fail, NULL, r);
    }
}

static cellar_err set_flagged(cellar *c, const char *key, uint32_t flags, int64_t stale_ms)
{
    return cellar_set(c, key, strlen(key), "v", flags == CELLAR_NEGATIVE ? 0 : 1,
                      SET_OPTS(.user_flags = 7, .flags = flags, .stale_ms = stale_ms,
                               .ttl_ms = stale_ms != 0 ? 1000 : 0));
}

/* Faulty sequence: a load without options and with a buffer returned 0, one with options 7. */
T_CASE(user_flags_are_the_same_in_each_result)
{
    cellar *c = NULL;
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 8u << 20,
                     .config.l2_path = folder_of_case(), .config.l2_bytes = 64u << 20,
                     .host.no_threads = 1, .host.clock = kit_clock,
                     .l2.sync = CELLAR_L2_SYNC_PERIODIC };
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    static const char *const names[] = { "fresh", "stale", "none", "disk" };
    for (size_t i = 0; i < 4; i++) {
        const bool stale = i == 1, none = i == 2, below = i == 3;
        for (int way = stale ? BY_CACHED : 0; way < (stale ? BY_CACHED + 1 : WAYS); way++) {
            cellar_result r;
            T_EQ_I64(set_flagged(c, names[i], none ? CELLAR_NEGATIVE : below ? CELLAR_DURABLE : 0,
                                 stale ? 90000 : 0), CELLAR_OK);
            if (stale) { atomic_fetch_add(&kit_now_ms, 2000); }
            if (below) { /* the entry is only on disk */
                T_EQ_I64(cellar_close(c), CELLAR_OK);
                T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
            }
            T_EQ_I64(by(c, names[i], way, &r),
                     stale ? CELLAR_STALE : none ? CELLAR_ABSENT : CELLAR_OK);
            const bool ok = T_EQ_U64(r.user_flags, none ? 0 : 7);
            if (!ok) { printf("# entry %s way %d\n", names[i], way); }
            cellar_result_free(&r);
        }
        char text[8];
        cellar_get_item it = { .key = names[i], .key_len = strlen(names[i]), .buf = text,
                               .buf_cap = sizeof text };
        T_EQ_I64(cellar_get_many(c, &it, 1, NULL), CELLAR_OK);
        T_EQ_U64(it.user_flags, it.status == CELLAR_OK ? 7 : 0);
    }
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

/* Faulty sequence: a hit without options, and a pinned one, had an age of -1. */
T_CASE(each_hit_has_its_age_with_exact_age)
{
    cellar *c = closed_later(kit_open(8 << 20));
    cellar *v = space_with(c, "n", SPACE_OPTS(.exact_age = 1));
    store(v);
    atomic_fetch_add(&kit_now_ms, 1500);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (strcmp(keys[i], "none") == 0) { continue; }
        for (int way = 0; way < WAYS; way++) {
            cellar_result r;
            T_EQ_I64(by(v, keys[i], way, &r), CELLAR_OK);
            if (!T_EQ_I64(r.age_ms, 1500)) { printf("# key %s way %d\n", keys[i], way); }
            T_EQ_U64(r.user_flags, strcmp(keys[i], "flags") == 0 ? 7 : 0);
            cellar_result_free(&r);
        }
    }
}

T_ONE_THREAD;
T_MAIN("api_load_hit")
