/* SPDX-License-Identifier: MIT
 *
 * refresh_kit: a store and a pool with rows on two clocks that are variables. The loader is an
 * upstream of the test: it fails by a generator or when told to. */
#ifndef SUPPORT_REFRESH_KIT_H
#define SUPPORT_REFRESH_KIT_H

#include <sys/syscall.h>

#include "base/random.h"
#include "cellar_refresh.h"
#include "tests/support/logged.h"
#include "tests/support/t.h"

#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define NOON INT64_C(1773144000000) /* 2026-03-10 12:00 UTC */

static cellar *c;
static cellar_pool *r;
static int64_t mono_ms, wall_ms;
static unsigned readings_to_old; /* 1: the next reading of both clocks is `old_by_ms` behind */
static int64_t old_by_ms;

static inline int64_t read_clock(void *ctx) { (void)ctx; return mono_ms; }
static inline int64_t read_wall(void *ctx)
{
    (void)ctx;
    if (readings_to_old == 0 || --readings_to_old != 0) { return wall_ms; }
    mono_ms -= old_by_ms;
    return wall_ms - old_by_ms;
}

/* Policies read the wall clock of the system: here it is that of the test. */
int clock_gettime(clockid_t id, struct timespec *t)
{
    if (id != CLOCK_REALTIME || wall_ms == 0) { return (int)syscall(SYS_clock_gettime, id, t); }
    *t = (struct timespec){ wall_ms / 1000, wall_ms % 1000 * 1000000 };
    return 0;
}

static struct upstream {
    uint64_t calls, failed;
    unsigned fail_pct;       /* by the generator */
    bool down;               /* every load fails */
    char bad;                /* loads of keys that begin with it fail */
    bool absent, empty;      /* what it answers */
    void (*during)(const void *key, size_t len); /* runs inside the loader */
    base_rng rng;
    char last[64];           /* key of the last call */
    char order[64];          /* first byte of each key */
} up;

/* Answer with the number of the call and the wall clock at its beginning. */
static inline cellar_err load(cellar_load *l, const void *key, size_t len, void *ctx)
{
    char value[64];
    T_EQ_STR(ctx, "upstream");
    snprintf(up.last, sizeof up.last, "%.*s", (int)len, (const char *)key);
    if (up.calls < sizeof up.order - 1) { up.order[up.calls] = *(const char *)key; }
    up.calls++;
    const int n = snprintf(value, sizeof value, "%" PRIu64 " %" PRId64, up.calls, wall_ms);
    if (up.during != NULL) { up.during(key, len); }
    if (up.down || *(const char *)key == up.bad || (up.fail_pct != 0 && base_rng_below(&up.rng, 100) < up.fail_pct)) {
        up.failed++;
        return CELLAR_E_IO;
    }
    if (up.absent) { return cellar_load_absent(l); }
    return cellar_load_value(l, value, up.empty ? 0 : (size_t)n);
}

static struct {
    const char *keys[8];
    size_t count;
    unsigned calls;
    bool fails;
    char pattern[64];
} listed;

static inline cellar_err list(cellar_refresh_keys *keys, const char *pattern, void *ctx)
{
    T_EQ_STR(ctx, "lister");
    snprintf(listed.pattern, sizeof listed.pattern, "%s", pattern);
    listed.calls++;
    for (size_t i = 0; i < listed.count; i++) {
        const cellar_err err = cellar_refresh_keys_add(keys, listed.keys[i],
                                                       strlen(listed.keys[i]));
        if (err != CELLAR_OK) { return err; }
    }
    return listed.fails ? CELLAR_E_IO : CELLAR_OK;
}

static inline cellar_pool_config config_of(cellar_host_config *h)
{
    *h = cellar_host_config_default();
    h->clock = read_clock;
    h->no_threads = 1;
    h->log = keep_line;
    cellar_pool_config cfg = { .struct_size = sizeof cfg, .host = h, .wall_clock = read_wall };
    return cfg;
}

static inline void open_store(const cellar_namespace_config *root)
{
    cellar_config cfg = cellar_config_default();
    cellar_host_config h = { .struct_size = sizeof h, .clock = read_clock, .no_threads = 1,
                             .log_level = CELLAR_LOG_OFF };
    cfg.memory_bytes = UINT64_C(8) << 20;
    cfg.host = &h;
    cfg.root = root;
    mono_ms = 1000000;
    wall_ms = NOON;
    up = (struct upstream){ .calls = 0 };
    base_rng_seed(&up.rng, t_seed());
    memset(&listed, 0, sizeof listed);
    logged[0] = '\0';
    T_REQUIRE(cellar_open(&cfg, &c) == CELLAR_OK);
}

static inline void add_loader(const char *name, bool lists)
{
    cellar_refresh_loader_opts o = { .struct_size = sizeof o, .lister = lists ? list : NULL,
                                     .lister_ctx = "lister" };
    T_EQ_I64(cellar_refresh_loader(r, c, name, load, "upstream", &o), CELLAR_OK);
}

static inline void open_all(void)
{
    cellar_host_config h;
    const cellar_pool_config cfg = config_of(&h);
    open_store(NULL);
    T_REQUIRE(cellar_pool_open(&cfg, &r) == CELLAR_OK);
    add_loader("up", false);
    add_loader("many", true);
}

static inline void close_all(void)
{
    T_EQ_I64(cellar_pool_close(r), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    wall_ms = 0;
}

#define ROWS(fn) T_WITHIN(fn, open_all(), close_all())

static inline cellar_refresh_stats figures(void)
{
    cellar_refresh_stats st = cellar_refresh_stats_default();
    T_EQ_I64(cellar_refresh_stats_get(r, &st), CELLAR_OK);
    T_EQ_U64(st.skipped, st.skipped_breaker + st.skipped_limiter + st.skipped_busy +
                             st.skipped_off + st.skipped_idle + st.skipped_uncovered);
    T_EQ_U64(st.running, 0);
    return st;
}

/* Tick until nothing is due. Return the time until the next row is due. */
static inline int64_t tick(void)
{
    int64_t wait_ms;
    while (cellar_tick(r, 1000, &wait_ms) == CELLAR_PENDING) { T_EQ_I64(wait_ms, 0); }
    return wait_ms;
}

static inline void turn(int64_t ms) { mono_ms += ms; wall_ms += ms; }

/* Let time pass in steps of at most `step`, with a tick at each due time. */
static inline void pass(int64_t ms, int64_t step, void (*look)(void))
{
    for (int64_t left = ms; left > 0;) {
        const int64_t due = tick();
        int64_t by = due < left ? due : left;
        by = by < step ? by : step;
        turn(by);
        left -= by;
        (void)tick();
        if (look != NULL) { look(); }
    }
}

static inline cellar_refresh_opts opts(int64_t ttl_ms)
{
    cellar_refresh_opts o = { .struct_size = sizeof o, .ttl_ms = ttl_ms };
    return o;
}

static inline void add(const char *key, int64_t interval_ms, int64_t ttl_ms)
{
    const cellar_refresh_opts o = opts(ttl_ms);
    T_EQ_I64(cellar_refresh_add(r, c, key, strlen(key), "up", interval_ms, &o), CELLAR_OK);
}

static inline cellar_err add_pattern(cellar_pool *to, cellar *ns, const char *pattern,
                                     const char *loader, int64_t interval_ms,
                                     const cellar_refresh_opts *with)
{
    cellar_refresh_opts o = with != NULL ? *with : cellar_refresh_opts_default();
    o.pattern = 1;
    return cellar_refresh_add(to, ns, pattern, pattern != NULL ? strlen(pattern) : 1, loader,
                              interval_ms, &o);
}

/* Read a key: its bytes as text, or "" on a miss. */
static inline const char *read_key(const char *key)
{
    static char text[64];
    size_t len = 0;
    const cellar_err err = cellar_get(c, key, strlen(key), text, sizeof text - 1, &len);
    text[err == CELLAR_OK ? len : 0] = '\0';
    return text;
}

typedef struct find { /* one row of a list */
    const char *key;
    cellar_refresh_info info;
    size_t rows;
} find;

static inline bool find_row(const cellar_refresh_info *info, void *ctx)
{
    find *f = ctx;
    f->rows++;
    T_EQ_U64(info->struct_size, sizeof *info);
    if (info->key_len == strlen(f->key) && memcmp(info->key, f->key, info->key_len) == 0) {
        f->info = *info;
    }
    return true;
}

static inline cellar_refresh_info row_of(const char *key)
{
    find f = { .key = key, .info = { .struct_size = 0 } };
    T_EQ_I64(cellar_refresh_list(r, find_row, &f), CELLAR_OK);
    T_CHECK(f.info.struct_size != 0);
    return f.info;
}

static inline uint64_t limit_ns(void *ctx) { (void)ctx; return (uint64_t)mono_ms * 1000000u; }

#endif
