/* SPDX-License-Identifier: MIT
 *
 * Aim:    An entry expires exactly by the times it was stored with, in memory and on disk. Jitter
 *         exceeds neither max_age_ms nor the end of time. A negative entry has no stale windows.
 *         Uses do not age a value. Idle times and kept TTLs are no longer on disk than in memory.
 * Method: One case for each rule; public calls only, a clock of this file, a real folder for the
 *         disk. */
#include "tests/support/api_kit.h"
#include "tests/support/disk_store.h"
#include "tests/support/spaces.h"
#include "tests/support/told.h"

static settings config(void)
{
    settings cfg = api_config(4u << 20);
    cfg.host.clock = read_clock;
    return cfg;
}

static cellar *open_it(void)
{
    const settings cfg = config();
    now_ms = 1000000;
    return api_open_with(&cfg);
}

#define STORE(fn) T_WITH(fn, cellar *c, c, open_it(), api_shut(c))

static cellar_err has(cellar *c, const char *key)
{
    char buf[64];
    size_t len;
    return cellar_get(c, key, strlen(key), buf, sizeof buf, &len);
}

static int64_t ttl_left(cellar *c, const char *key)
{
    cellar_entry_info i = cellar_entry_info_default();
    return cellar_entry_info_get(c, key, strlen(key), 0, &i) >= 0 ? i.ttl_left_ms : -1;
}

/* ---- jitter ---- */

T_CASE_ON(jitter_stays_within_max_age, STORE)
{
    for (uint32_t mode = CELLAR_JITTER_MINUS; mode <= CELLAR_JITTER_PLUSMINUS; mode++) {
        uint32_t early = 0;
        for (uint32_t i = 0; i < 200; i++) {
            cellar_set_opts o = { .struct_size = sizeof o, .idle_ms = 50000, .max_age_ms = 10000,
                                  .ttl_ms = i % 2 == 0 ? 0 : 9000, .jitter_pct = 30,
                                  .jitter_mode = mode };
            T_EQ_I64(cellar_set(c, &i, sizeof i, "v", 1, &o), CELLAR_OK);
            cellar_entry_info info = entry_info(c, &i, sizeof i);
            T_CHECK(info.ttl_left_ms >= 6000 && info.ttl_left_ms <= 10000);
            early += info.ttl_left_ms < 9900;
        }
        T_CHECK(early > 150); /* still spread by jitter */
    }
}

/* Says the end of a token as its TTL. */
static cellar_err load_token(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len, (void)ctx;
    cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 10000 };
    T_EQ_I64(cellar_load_opts_set(load, &o), CELLAR_OK);
    return cellar_load_value(load, "token", 5);
}

static cellar_err load_tokens(cellar_load *load, const cellar_bytes *keys, size_t count, void *ctx)
{
    T_EQ_U64(count, 1);
    T_EQ_I64(cellar_load_select(load, 0), CELLAR_OK);
    return load_token(load, keys, count, ctx);
}

/* By default a TTL is only shortened: of a loader, a call, a bulk, a refresh, a lease, a set. */
T_CASE_ON(no_way_to_store_makes_a_ttl_longer, STORE)
{
    enum { LOAD, REFRESH, BULK, CALL, LEASE, SET, WAYS };
    cellar_load_opts of_call = cellar_load_opts_default(), refresh = of_call;
    cellar_set_opts set = cellar_set_opts_default(), jittered = set;
    of_call.ttl_ms = set.ttl_ms = jittered.ttl_ms = 10000;
    refresh.flags = CELLAR_LOAD_REFRESH;
    jittered.jitter_pct = 10;
    for (uint32_t way = 0; way < WAYS; way++) {
        int64_t least = INT64_MAX, most = 0;
        for (uint32_t i = 0; i < 200; i++) {
            cellar_result r = cellar_result_default();
            cellar_load_item item = { &i, sizeof i, &r, CELLAR_OK, 0 };
            cellar_lease lease;
            switch (way) {
            case BULK:
                T_EQ_I64(cellar_get_or_load_many(c, &item, 1, NULL, load_tokens, NULL), CELLAR_OK);
                break;
            case LEASE:
                T_EQ_I64(cellar_lease_acquire(c, &i, sizeof i, NULL, NULL, &lease, &r),
                         CELLAR_LEASED);
                T_EQ_I64(cellar_lease_fulfill(c, &lease, "token", 5, &set), CELLAR_OK);
                break;
            case SET:
                T_EQ_I64(cellar_set(c, &i, sizeof i, "token", 5, &jittered), CELLAR_OK);
                break;
            default:
                T_EQ_I64(cellar_get_or_load(c, &i, sizeof i, way == REFRESH ? &refresh
                                            : way == CALL ? &of_call : NULL,
                                            load_token, NULL, &r), CELLAR_OK);
            }
            cellar_result_free(&r);
            cellar_entry_info info = entry_info(c, &i, sizeof i);
            least = info.ttl_left_ms < least ? info.ttl_left_ms : least;
            most = info.ttl_left_ms > most ? info.ttl_left_ms : most;
            if (way != LOAD) { T_EQ_I64(cellar_delete(c, &i, sizeof i), CELLAR_OK); }
        }
        if (!T_CHECK(least >= 9000 && least < 9100 && most > 9900 && most <= 10000)) {
            printf("# way %u: %lld to %lld ms\n", way, (long long)least, (long long)most);
        }
        if (way == LOAD) { now_ms += 10000; }
    }
}

T_CASE_ON(jitter_of_longest_ttl_keeps_entry_unlimited, STORE)
{
    for (uint32_t i = 0; i < 200; i++) {
        cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = CELLAR_TTL_NONE - 1,
                              .jitter_pct = 90, .jitter_mode = i % 3 };
        T_EQ_I64(cellar_set(c, &i, sizeof i, "v", 1, &o), CELLAR_OK);
        T_EQ_I64(cellar_contains(c, &i, sizeof i), CELLAR_OK);
    }
}

T_CASE_ON(fulfilled_lease_stays_within_max_age, STORE)
{
    cellar_namespace_config vo = { .struct_size = sizeof vo, .idle_ms = 50000, .max_age_ms = 1000 };
    cellar *v = space_with(c, "v", &vo);
    cellar_load_opts o = { .struct_size = sizeof o, .ttl_ms = 30000 };
    cellar_lease lease;
    cellar_result r = cellar_result_default();
    T_EQ_I64(cellar_lease_acquire(v, "k", 1, &o, NULL, &lease, &r), CELLAR_LEASED);
    T_EQ_I64(cellar_lease_fulfill(v, &lease, "v", 1, NULL), CELLAR_OK);
    T_CHECK(ttl_left(v, "k") <= 1000);
    now_ms += 1000;
    T_EQ_I64(has(v, "k"), CELLAR_MISS);
}

/* The default TTL of the namespace does not apply. */
T_CASE_ON(fulfilled_value_keeps_its_stale_window, STORE)
{
    cellar_entry_info i = cellar_entry_info_default();
    cellar_lease lease;
    cellar_result r = cellar_result_default();
    cellar_load_opts o = { .struct_size = sizeof o, .ttl_ms = 1000, .jitter_pct = CELLAR_OFF };
    cellar_set_opts so = { .struct_size = sizeof so, .stale_ms = 5000 };
    T_EQ_I64(cellar_lease_acquire(c, "k", 1, &o, NULL, &lease, &r), CELLAR_LEASED);
    T_EQ_I64(cellar_lease_fulfill(c, &lease, "v", 1, &so), CELLAR_OK);
    T_EQ_I64(cellar_entry_info_get(c, "k", 1, 0, &i), CELLAR_OK);
    T_EQ_I64(i.ttl_left_ms, 1000);
    T_EQ_I64(i.stale_left_ms, 6000);
    now_ms += 3000;
    T_EQ_I64(cellar_entry_info_get(c, "k", 1, 0, &i), CELLAR_STALE);
}

/* ---- negative entries, uses ---- */

static cellar_err load_none(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len, (void)ctx;
    return cellar_load_absent(load);
}

T_CASE_ON(absent_result_of_loader_has_exact_age, STORE)
{
    cellar_entry_info i = cellar_entry_info_default();
    cellar_result r = cellar_result_default();
    cellar_namespace_config vo = { .struct_size = sizeof vo, .exact_age = 1 };
    cellar *v = space_with(c, "v", &vo);
    now_ms += 700;
    T_EQ_I64(cellar_get_or_load(v, "k", 1, NULL, load_none, NULL, &r), CELLAR_ABSENT);
    now_ms += 300;
    T_EQ_I64(cellar_entry_info_get(v, "k", 1, 0, &i), CELLAR_ABSENT);
    T_EQ_U64(i.flags & CELLAR_INFO_AGE_APPROX, 0);
    T_EQ_I64(i.age_ms, 300);
}

T_CASE_ON(negative_entry_keeps_ttl_without_stale_windows, STORE)
{
    cellar_set_opts o = cellar_set_opts_default(), none = cellar_set_opts_default();
    cellar_entry_info i = cellar_entry_info_default();
    o.ttl_ms = 1000;
    o.idle_ms = 400;
    o.stale_ms = 100000;
    none.flags = CELLAR_NEGATIVE | CELLAR_KEEP_TTL;
    T_EQ_I64(cellar_set(c, "k", 1, "v", 1, &o), CELLAR_OK);
    T_EQ_I64(cellar_set(c, "k", 1, NULL, 0, &none), CELLAR_OK);
    T_EQ_I64(cellar_entry_info_get(c, "k", 1, 0, &i), CELLAR_ABSENT);
    T_EQ_I64(i.idle_ms, 0);
    T_EQ_I64(i.stale_left_ms, 0);
    T_EQ_I64(i.ttl_left_ms, 1000);
    now_ms += 1000;
    T_EQ_I64(has(c, "k"), CELLAR_MISS);
    while (cellar_tick(c, 0, NULL) == CELLAR_PENDING) {}
    T_EQ_U64(store_stats(c).entries, 0); /* no stale window delays the reclaim */
}

static cellar_err load_v(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len;
    ++*(int *)ctx;
    return cellar_load_value(load, "loaded", 6);
}

/* The refresh depends on the elapsed share of the TTL, not of the idle time. */
T_CASE_ON(use_of_idle_entry_triggers_no_eager_refresh, STORE)
{
    int loads = 0;
    cellar_load_opts load = { .struct_size = sizeof load, .eager_refresh_pct = 80 };
    cellar_namespace_config vo = { .struct_size = sizeof vo, .loader = load_v, .loader_ctx = &loads,
                                   .load = &load };
    cellar *v = space_with(c, "v", &vo);
    cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 100000, .idle_ms = 1000 };
    T_EQ_I64(cellar_set(v, "k", 1, "v", 1, &o), CELLAR_OK);
    for (int64_t age = 500; age <= 80000; age += 500) {
        cellar_result r = cellar_result_default();
        now_ms += 500;
        T_EQ_I64(cellar_get_or_load(v, "k", 1, NULL, NULL, NULL, &r), CELLAR_OK);
        T_EQ_U64(r.flags, age < 80000 ? 0u : CELLAR_RESULT_REFRESHING);
        cellar_result_free(&r);
    }
    T_EQ_I64(loads, 0);
}

/* ---- on disk ---- */

static cellar *open_disk(uint32_t mode, cellar **v)
{
    settings cfg = config();
    cfg.config.l2_path = store;
    cfg.config.l2_bytes = CELLAR_L2_BYTES_MIN;
    cfg.l2.min_ttl_ms = 1;
    cfg.l2.sync = CELLAR_L2_SYNC_PERIODIC;
    cellar *c = api_open_with(&cfg);
    while (cellar_tick(c, 100000, NULL) == CELLAR_PENDING) {}
    cellar_namespace_config vo = { .struct_size = sizeof vo, .l2_write = mode };
    *v = space_with(c, "v", &vo);
    return c;
}

T_CASE(idle_time_continues_on_disk)
{
    for (uint32_t mode = CELLAR_L2_WRITE_ON_EVICTION; mode <= CELLAR_L2_WRITE_THROUGH; mode++) {
        store_begin();
        cellar *v, *c = open_disk(mode, &v);
        cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 3000, .idle_ms = 1000,
                              .stale_ms = 100000 };
        T_EQ_I64(cellar_set(v, "ends here", 9, "v", 1, &o), CELLAR_OK);
        T_EQ_I64(cellar_set(v, "ends there", 10, "v", 1, &o), CELLAR_OK);
        T_EQ_I64(cellar_set(v, "lives", 5, "v", 1, &o), CELLAR_OK);
        now_ms += 400;
        T_EQ_I64(cellar_delete(v, "ends here", 9), CELLAR_OK);
        T_EQ_I64(cellar_set(v, "ends here", 9, "v", 1, &o), CELLAR_OK);
        now_ms += 500;
        /* used: 900 ms of idle time have passed, 1,000 are left */
        T_EQ_I64(has(v, "lives"), CELLAR_OK);
        api_shut(c);
        c = open_disk(mode, &v);
        now_ms += 100;
        T_EQ_I64(has(v, "ends there"), CELLAR_MISS);
        T_EQ_I64(ttl_left(v, "lives"), 900); /* a peek is no use */
        now_ms += 899;
        T_EQ_I64(has(v, "lives"), CELLAR_OK);
        now_ms += 999;
        T_EQ_I64(has(v, "lives"), CELLAR_OK);
        T_EQ_I64(ttl_left(v, "lives"), 3000 - 2898); /* uses extend it up to this time */
        now_ms += 102;
        T_EQ_I64(has(v, "lives"), CELLAR_MISS);
        T_EQ_I64(has(v, "ends here"), CELLAR_MISS);
        T_EQ_I64(cellar_set(v, "again", 5, "v", 1, &o), CELLAR_OK);
        now_ms += 1000; /* a copy on disk is no younger than the entry */
        T_EQ_I64(has(v, "again"), CELLAR_MISS);
        api_shut(c);
        store_end();
    }
}

static cellar_err write_w(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    (void)ctx, (void)old, (void)old_len;
    return cellar_buf_append(out, "w", 1);
}

T_CASE(keep_ttl_is_kept_on_disk)
{
    for (int how = 0; how < 8; how++) { /* set, set_many, update, negative; each_set or durable */
        store_begin();
        cellar *v, *c = open_disk(how < 4 ? CELLAR_L2_WRITE_ON_SET : CELLAR_L2_WRITE_ON_EVICTION,
                                  &v);
        cellar_set_item item = { "k", 1, "w", 1, CELLAR_OK, 0 };
        cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 5000 };
        T_EQ_I64(cellar_set(v, "k", 1, "v", 1, &o), CELLAR_OK);
        o.ttl_ms = 100000;
        o.flags = CELLAR_KEEP_TTL | (how < 4 ? 0u : CELLAR_DURABLE);
        switch (how % 4) {
        case 0: T_EQ_I64(cellar_set(v, "k", 1, "w", 1, &o), CELLAR_OK); break;
        case 1: T_EQ_I64(cellar_set_many(v, &item, 1, &o, NULL), CELLAR_OK); break;
        case 2: T_EQ_I64(cellar_update(v, "k", 1, &o, write_w, NULL), CELLAR_OK); break;
        case 3:
            o.flags |= CELLAR_NEGATIVE;
            T_EQ_I64(cellar_set(v, "k", 1, NULL, 0, &o), CELLAR_OK);
            break;
        default: break;
        }
        T_EQ_I64(ttl_left(v, "k"), 5000);
        now_ms += 5000;
        T_EQ_I64(has(v, "k"), CELLAR_MISS); /* it has expired, and so has its copy */
        api_shut(c);
        store_end();
    }
}

#ifdef CELLAR_WITH_TLS
/* The example with sessions, on the clock and the folder of this test. It needs OpenSSL. */
static cellar_err open_on_clock(const cellar_config *cfg, cellar **c)
{
    cellar_host_config host = cellar_host_config_default();
    cellar_config with = *cfg;
    host.clock = read_clock;
    host.no_threads = 1;
    with.host = &host;
    with.l2_path = store;
    return cellar_open(&with, c);
}
int sessions_main(void);
#define cellar_open open_on_clock
#pragma push_macro("main") /* a build of all tests as one program renames each main */
#undef main
#define main sessions_main
#include "tests/examples/sessions.c"
#pragma pop_macro("main")
#undef cellar_open

T_CASE(session_ends_after_a_day_of_use)
{
    session s = { 7, "ada" };
    size_t len;
    int steps = 0;
    store_begin();
    cellar *c = sessions_open();
    T_REQUIRE(c != NULL && cellar_set(c, "id", 2, &s, sizeof s, NULL) == CELLAR_OK);
    while (steps < 200 && cellar_get(c, "id", 2, &s, sizeof s, &len) == CELLAR_OK) {
        now_ms += 20 * 60 * 1000;
        steps++;
    }
    T_EQ_I64(steps, 24 * 3);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    store_end();
}
#endif

/* ---- a touch beside another change ---- */

typedef struct rival { /* sets the key that a touch makes room for */
    cellar *c;
    const cellar_set_opts *o;
    const char *key;
    uint64_t id;
} rival;

static void set_instead(const cellar_event *e, void *ctx)
{
    rival *r = ctx;
    const char *key = r->key;
    (void)e;
    r->key = NULL;
    if (key != NULL) { T_EQ_I64(api_put(r->c, key, "", r->o), CELLAR_OK); }
}

/* Touch keys that need room for a far deadline. Return how often `code` was the answer. `o`: of a
 * set that runs while the touch evicts others; no touch may move its end away. */
static unsigned touched_beside(const cellar_set_opts *o, int64_t most_ms, cellar_err code)
{
    static const char value[1000];
    settings cfg = config();
    cfg.config.memory_bytes = 1u << 20;
    cfg.config.eviction = CELLAR_EVICT_FIFO;
    cellar *c = api_open_with(&cfg);
    rival r = { c, o, NULL, 0 };
    unsigned codes = 0;
    T_EQ_I64(cellar_listener_add(c, CELLAR_CAUSE_BIT(EVICTED), set_instead, &r, &r.id), CELLAR_OK);
    for (uint32_t i = 0; i < 60000; i++) {
        T_EQ_I64(cellar_set(c, &i, sizeof i, "word", 4, NULL), CELLAR_OK);
        if (i < 40000 || i % 40 != 0) { continue; }
        T_EQ_I64(cellar_set(c, "k", 1, value, sizeof value, NULL), CELLAR_OK);
        r.key = "k";
        const cellar_err err = cellar_touch(c, "k", 1, INT64_C(5000000000)); /* 58 days */
        codes += err == code;
        if (r.key == NULL) { T_CHECK(ttl_left(c, "k") <= most_ms); }
        r.key = NULL;
    }
    api_shut(c);
    return codes;
}

T_CASE(touch_judges_the_entry_that_it_changes)
{
    const cellar_set_opts negative = { .struct_size = sizeof negative, .ttl_ms = 1000,
                                       .flags = CELLAR_NEGATIVE };
    const cellar_set_opts idle = { .struct_size = sizeof idle, .idle_ms = 50000,
                                   .max_age_ms = 10000 };
    T_CHECK(touched_beside(&negative, 1000, CELLAR_ABSENT) > 0);
    T_CHECK(touched_beside(&idle, 10000, CELLAR_OK) > 0);
}

/* ---- a set that evicts the entry it depends on ---- */

/* Set a key over and over with ever more entries behind it, then set a long value over it. The room
 * for that comes from the oldest entries, at times from the key. Return the codes as bits. */
static unsigned evicts_itself(cellar *c, uint32_t flags)
{
    static char value[200000];
    const cellar_set_opts filler = { .struct_size = sizeof filler, .flags = CELLAR_NO_L2 };
    unsigned codes = 0;
    for (uint32_t others = 0; others < 800; others += 10) {
        cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 100000 };
        T_EQ_I64(api_put(c, "k", "old", &o), CELLAR_OK);
        T_EQ_STR(api_look(c, "k"), "old"); /* worth its bytes on disk */
        for (uint32_t i = 0; i < others; i++) {
            T_EQ_I64(cellar_set(c, &i, sizeof i, value, 3000, &filler), CELLAR_OK);
        }
        T_EQ_STR(api_look(c, "k"), "old"); /* in memory again */
        o = (cellar_set_opts){ .struct_size = sizeof o, .flags = flags };
        codes |= 1u << cellar_set(c, "k", 1, value, sizeof value, &o);
        T_EQ_I64(key_info(c, "k").ttl_left_ms,
                 (flags & CELLAR_KEEP_TTL) != 0 ? 100000 : CELLAR_TTL_NONE);
        T_EQ_U64(key_info(c, "k").value_len, sizeof value);
    }
    return codes;
}

T_CASE_ON(set_finds_the_entry_that_its_room_evicted, ON_DISK)
{
    settings cfg = api_config(2u << 20);
    cfg.config.eviction = CELLAR_EVICT_FIFO;
    cfg.config.l2_path = store;
    cfg.config.l2_bytes = 64u << 20;
    cellar *c = api_open_with(&cfg);
    T_EQ_U64(evicts_itself(c, CELLAR_ONLY_IF_PRESENT), 1u << CELLAR_OK);
    T_EQ_U64(evicts_itself(c, CELLAR_KEEP_TTL), 1u << CELLAR_OK);
    api_shut(c);
}

T_MAIN("cellar_api_end_times")
