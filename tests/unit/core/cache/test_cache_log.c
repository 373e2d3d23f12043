/* SPDX-License-Identifier: MIT
 *
 * Aim:    Log lines have the level of their namespace, and name keys as asked. No line has a value
 *         or the text of a key that was not asked for, whatever fails.
 * Method: A log of this file. One run drives all lines about keys, loads, breakers, filters, memory
 *         and the disk with planted keys and values; each line is searched for them. */
#include "tests/support/bloom_kit.h"
#include "tests/support/disk_store.h"
#include "tests/support/load_kit.h"
#include "tests/support/t.h"

#include <errno.h>

#include "base/vfs.h"
#include "cache/types.h"

#define KEY "planted-key"
#define VALUE "planted-value"

static struct {
    char lines[16384];
    char modules[1024];
    int planted;
} seen;

static void note_line(cellar_log_level level, const char *module, cellar_err code, const char *text,
                      void *ctx)
{
    (void)ctx, (void)code;
    const size_t n = strlen(seen.lines), m = strlen(seen.modules);
    char word[32];
    snprintf(word, sizeof word, " %s ", module);
    snprintf(seen.lines + n, sizeof seen.lines - n, "%d %s: %s\n", level, module, text);
    if (strstr(seen.modules, word) == NULL) {
        snprintf(seen.modules + m, sizeof seen.modules - m, "%s", word);
    }
    seen.planted += strstr(text, "planted") != NULL || strstr(text, "\\x") != NULL;
}

static void next_second(void) { atomic_fetch_add(&kit_now_ms, 1001); }

static bool logged(const char *line)
{
    const bool found = strstr(seen.lines, line) != NULL;
    if (!found) { printf("# not in the log: %s# but: %s", line, seen.lines); }
    seen.lines[0] = '\0';
    next_second();
    return found;
}

static settings config(uint32_t level, cellar_log_keys keys)
{
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 8u << 20, .host.no_threads = 1,
                     .host.clock = kit_clock, .host.log = note_line,
                     .host.log_level = (cellar_log_level)level, .host.log_keys = keys };
    memset(&seen, 0, sizeof seen);
    atomic_store(&kit_now_ms, 1000000);
    return cfg;
}

static cellar *open_log(uint32_t level, cellar_log_keys keys)
{
    const settings cfg = config(level, keys);
    cellar *c = NULL;
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    return c;
}

static cellar *namespace_with(cellar *c, const char *name, uint32_t level, uint32_t hidden)
{
    cellar *v = NULL;
    cellar_namespace_config o = { .struct_size = sizeof o, .log_level = level, .hidden = hidden };
    T_REQUIRE(cellar_namespace_open(c, name, &o, &v) == CELLAR_OK);
    return v;
}

static cellar_err miss(cellar *c) { return cellar_get(c, "none", 4, NULL, 0, NULL); }

/* ---- levels ---- */

T_CASE(namespace_with_lower_level_talks_alone)
{
    cellar *c = open_log(CELLAR_LOG_DEFAULT, CELLAR_LOG_KEYS_NONE);
    cellar *loud = namespace_with(c, "loud", CELLAR_LOG_DEBUG, 0);
    cellar *plain = namespace_with(c, "plain", 0, 0);
    source s = SOURCE_INIT;
    char text[64];
    T_EQ_I64(miss(c), CELLAR_MISS);
    T_EQ_I64(miss(plain), CELLAR_MISS);
    T_EQ_STR(seen.lines, "");
    T_EQ_I64(miss(loud), CELLAR_MISS);
    T_CHECK(logged("3 get: miss\n"));
    T_EQ_I64(kit_load(loud, "k", NULL, &s, text, NULL), CELLAR_OK);
    T_CHECK(logged("3 load: miss\n"));
    T_EQ_I64(kit_load(loud, "k", NULL, &s, text, NULL), CELLAR_OK);
    T_CHECK(logged("4 load: hit\n"));
    /* The level of the store moves the others alone. */
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_LOG_LEVEL, CELLAR_LOG_INFO), CELLAR_OK);
    T_EQ_I64(miss(plain), CELLAR_MISS);
    T_CHECK(logged("3 get: miss\n"));
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_LOG_LEVEL, CELLAR_LOG_OFF), CELLAR_OK);
    T_EQ_I64(miss(plain), CELLAR_MISS);
    T_EQ_STR(seen.lines, "");
    T_EQ_I64(miss(loud), CELLAR_MISS);
    T_CHECK(logged("3 get: miss\n"));
    T_EQ_I64(cellar_namespace_close(loud), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(plain), CELLAR_OK);
    kit_close(c);
}

T_CASE(namespace_with_higher_level_is_silent_alone)
{
    cellar *c = open_log(CELLAR_LOG_DEBUG, CELLAR_LOG_KEYS_NONE);
    cellar *v = namespace_with(c, "v", CELLAR_LOG_OFF, 0);
    source s = SOURCE_INIT;
    char text[64];
    atomic_store(&s.say, SAY_FAIL);
    T_EQ_I64(miss(v), CELLAR_MISS);
    T_EQ_I64(kit_load(v, "k", NULL, &s, text, NULL), CELLAR_E_LOADER);
    T_EQ_STR(seen.lines, "");
    T_EQ_I64(miss(c), CELLAR_MISS);
    T_CHECK(logged("3 get: miss\n"));
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_LOG_LEVEL, CELLAR_LOG_DEBUG), CELLAR_OK);
    T_EQ_I64(miss(v), CELLAR_MISS);
    T_EQ_STR(seen.lines, "");
    /* A second open with options changes the level. */
    cellar *again = namespace_with(c, "v", CELLAR_LOG_INFO, 0);
    T_EQ_I64(miss(v), CELLAR_MISS);
    T_CHECK(logged("3 get: miss\n"));
    T_EQ_I64(cellar_namespace_close(again), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    kit_close(c);
}

/* While most reads end with "never", a namespace asks its filter first. */
T_CASE(reads_that_ask_the_filter_first_are_logged)
{
    cellar *c = open_log(CELLAR_LOG_DEFAULT, CELLAR_LOG_KEYS_NONE);
    T_EQ_I64(bloom_size(c, 1000), CELLAR_OK);
    T_EQ_I64(bloom_feed_none(c), CELLAR_OK);
    for (int i = 0; i < 5000; i++) { T_EQ_I64(miss(c), CELLAR_MISS); }
    T_CHECK((base_load_rlx(&c->state) & CACHE_FILTER) != 0);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_LOG_LEVEL, CELLAR_LOG_INFO), CELLAR_OK);
    T_EQ_I64(miss(c), CELLAR_MISS);
    T_CHECK(logged("3 get: miss\n"));
    T_EQ_I64(cellar_set(c, "none", 4, NULL, 0, NULL), CELLAR_OK);
    for (int i = 0; i < 5000; i++) { T_EQ_I64(miss(c), CELLAR_OK); }
    T_CHECK((base_load_rlx(&c->state) & CACHE_FILTER) == 0);
    kit_close(c);
}

/* ---- keys ---- */

T_CASE(line_names_keys_as_asked)
{
    static const struct { cellar_log_keys keys; const char *line; } of[] = {
        { CELLAR_LOG_KEYS_DEFAULT, "3 get: miss, key #" },
        { CELLAR_LOG_KEYS_NONE, "3 get: miss\n" },
        { CELLAR_LOG_KEYS_HASH, "3 get: miss, key #" },
        { CELLAR_LOG_KEYS_PREFIX, "3 get: miss, key \"user:\\x22\\x00\\xff...\"\n" },
        { CELLAR_LOG_KEYS_FULL, "3 get: miss, key \"user:\\x22\\x00\\xff17\"\n" },
    };
    const char hash_line[] = "3 get: miss, key #0123456789abcdef\n";
    for (size_t i = 0; i < sizeof of / sizeof of[0]; i++) {
        cellar *c = open_log(CELLAR_LOG_INFO, of[i].keys);
        cellar *v = namespace_with(c, "hidden", 0, 1);
        T_EQ_I64(cellar_get(c, "user:\"\0\377" "17", 10, NULL, 0, NULL), CELLAR_MISS);
        const bool hash = strchr(of[i].line, '#') != NULL;
        T_CHECK(!hash || strlen(seen.lines) == sizeof hash_line - 1);
        T_CHECK(logged(of[i].line));
        T_EQ_I64(cellar_get(v, "user:17", 7, NULL, 0, NULL), CELLAR_MISS);
        T_CHECK(strstr(seen.lines, "user") == NULL);
        T_CHECK(logged(of[i].keys == CELLAR_LOG_KEYS_NONE ? "3 get: miss\n" : of[0].line));
        T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
        kit_close(c);
    }
}

T_CASE(long_key_is_cut_inside_its_line)
{
    static char key[CELLAR_KEY_MAX];
    cellar *c = open_log(CELLAR_LOG_INFO, CELLAR_LOG_KEYS_FULL);
    for (int byte = 'a'; byte <= 0xff; byte += 0xff - 'a') {
        memset(key, byte, sizeof key);
        T_EQ_I64(cellar_get(c, key, sizeof key, NULL, 0, NULL), CELLAR_MISS);
        T_CHECK(strlen(seen.lines) > 290 && strlen(seen.lines) < 400);
        T_CHECK(logged("...\"\n"));
    }
    kit_close(c);
}

/* ---- nothing planted ---- */

static cellar_err load_planted(cellar_load *ld, const cellar_bytes *keys, size_t count, void *ctx)
{
    (void)keys, (void)ctx;
    for (size_t i = 0; i < count; i++) {
        T_EQ_I64(loader_value(ld, i, VALUE, sizeof VALUE - 1), CELLAR_OK);
    }
    return CELLAR_OK;
}

static void read_in_all_ways(cellar *v)
{
    char buf[64];
    size_t len;
    void *copy;
    cellar_pinned pin;
    const cellar_get_opts go = cellar_get_opts_default();
    cellar_get_item item = { .key = KEY, .key_len = sizeof KEY - 1, .buf = buf, .buf_cap = 64 };
    for (int round = 0; round < 2; round++) {
        (void)cellar_get(v, KEY, sizeof KEY - 1, buf, sizeof buf, &len);
        (void)cellar_get_with(v, KEY, sizeof KEY - 1, &go, buf, sizeof buf, &len);
        T_EQ_I64(cellar_get_many(v, &item, 1, NULL), CELLAR_OK);
        if (cellar_get_alloc(v, KEY, sizeof KEY - 1, &copy, &len) == CELLAR_OK) {
            cellar_free(copy);
        }
        if (cellar_pin(v, KEY, sizeof KEY - 1, &pin) == CELLAR_OK) { cellar_unpin(&pin); }
        T_EQ_I64(cellar_set(v, KEY, sizeof KEY - 1, VALUE, sizeof VALUE - 1, NULL), CELLAR_OK);
        next_second();
    }
    T_EQ_I64(cellar_delete(v, KEY, sizeof KEY - 1), CELLAR_OK);
}

static void load_in_all_ways(cellar *c, cellar *v)
{
    source s = SOURCE_INIT;
    char text[64];
    cellar_load_item item = { .key = KEY, .key_len = sizeof KEY - 1, .result = fresh_result() };
    cellar_load_opts o = { .struct_size = sizeof o, .ttl_ms = 60000, .stale_ms = 600000,
                           .jitter_pct = CELLAR_OFF, .flags = CELLAR_LOAD_CTX_STATIC };
    s.text = VALUE;
    T_EQ_I64(kit_load(v, KEY, &o, &s, text, NULL), CELLAR_OK);
    T_EQ_I64(kit_load(v, KEY, &o, &s, text, NULL), CELLAR_OK);
    atomic_fetch_add(&kit_now_ms, 61000);
    T_EQ_I64(kit_load(v, KEY, &o, &s, text, NULL), CELLAR_STALE);
    kit_tick(c); /* refreshed */
    atomic_store(&s.say, SAY_FAIL);
    atomic_fetch_add(&kit_now_ms, 61000);
    T_EQ_I64(kit_load(v, KEY, &o, &s, text, NULL), CELLAR_STALE);
    kit_tick(c); /* failed */
    T_EQ_I64(cellar_get_or_load_many(v, &item, 1, NULL, load_planted, NULL), CELLAR_OK);
    cellar_result_free(item.result);
    T_CHECK(cellar_delete(v, KEY, sizeof KEY - 1) >= CELLAR_OK);
    for (int i = 0; i < 8; i++) { /* the breaker of the namespace opens */
        next_second();
        (void)kit_load(v, KEY, NULL, &s, text, NULL);
    }
}

static void run_out_of_memory(cellar *v)
{
    void *copy;
    size_t len;
    T_EQ_I64(cellar_set(v, KEY, sizeof KEY - 1, VALUE, sizeof VALUE - 1, NULL), CELLAR_OK);
    (void)base_fault_alloc_arm(1, true);
    T_EQ_I64(cellar_get_alloc(v, KEY, sizeof KEY - 1, &copy, &len), CELLAR_E_NOMEM);
    (void)base_fault_alloc_arm(0, false);
    next_second();
}

static void break_the_disk(cellar *c)
{
    static const char *const sites[] = { "pread", "pwrite", "datasync" };
    char value[4000];
    for (size_t at = 0; at < 3; at++) {
        memset(value, 'x', sizeof value);
        memcpy(value, VALUE, sizeof VALUE - 1);
        for (uint32_t i = 0; i < 200; i++) {
            char key[64];
            const int n = snprintf(key, sizeof key, KEY "-%u", i);
            if (i == 100) { (void)base_fault_io_arm(sites[at], EIO, 1, true); }
            (void)cellar_set(c, key, (size_t)n, value, sizeof value, NULL);
            const int old = snprintf(key, sizeof key, KEY "-%u", i % 100); /* evicted */
            (void)cellar_get(c, key, (size_t)old, value, sizeof value, NULL);
            if (i % 20 == 0) { (void)cellar_tick(c, 100000, NULL); }
            atomic_fetch_add(&kit_now_ms, 200);
        }
        (void)cellar_sync(c);
        (void)base_fault_io_arm(NULL, 0, 0, false);
        for (int i = 0; i < 70; i++) {
            atomic_fetch_add(&kit_now_ms, 1000);
            (void)cellar_tick(c, 100000, NULL);
        }
    }
}

static void fill_the_filter(cellar *v)
{
    for (uint32_t i = 0; i < 6000; i++) {
        char key[64];
        const int n = snprintf(key, sizeof key, KEY "-%u", i);
        (void)cellar_set(v, key, (size_t)n, VALUE, sizeof VALUE - 1, NULL);
    }
}

T_CASE(no_line_has_planted_key_or_value)
{
    store_begin();
    for (uint32_t hidden = 0; hidden < 2; hidden++) {
        settings cfg = config(CELLAR_LOG_DEBUG, hidden ? CELLAR_LOG_KEYS_FULL
                                                       : CELLAR_LOG_KEYS_DEFAULT);
        cellar_namespace_config root = cellar_namespace_config_default();
        cellar *c = NULL, *v = NULL;
        root.l2_write = CELLAR_L2_WRITE_ON_SET;
        cfg.config.root = &root;
        cfg.config.max_entries = 64;
        cfg.config.l2_path = store;
        cfg.config.l2_bytes = CELLAR_L2_BYTES_MIN;
        cfg.l2.fail_errors = 2;
        cellar_breaker_config opens = { .struct_size = sizeof opens, .consecutive_failures = 3,
                                        .open_ms = 60000 };
        cellar_namespace_config o = { .struct_size = sizeof o, .breaker = &opens,
                                      .hidden = hidden };
        T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
        T_REQUIRE(cellar_namespace_open(c, "v", &o, &v) == CELLAR_OK);
        read_in_all_ways(v);
        load_in_all_ways(c, v);
        run_out_of_memory(v);
        T_EQ_I64(bloom_size(v, 1000), CELLAR_OK);
        T_EQ_I64(bloom_feed_none(v), CELLAR_OK);
        fill_the_filter(v);
        T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
        if (!hidden) { break_the_disk(c); } /* a hidden namespace is never on disk */
        kit_close(c);
        T_EQ_I64(seen.planted, 0);
        static const char *const said[] = { " get ", " get_many ", " load ", " refresh ",
                                            " loader ", " breaker ", " bloom ", " cache ",
                                            " l2 ", " l2_read ", " l2_write ", " l2_sync " };
        for (size_t i = 0; i < (hidden ? 8u : sizeof said / sizeof said[0]); i++) {
            if (!T_CHECK(strstr(seen.modules, said[i]) != NULL)) {
                printf("# no line of %s; modules: %s\n", said[i], seen.modules);
            }
        }
        t_wipe(store);
    }
    store_end();
}

T_CASE(close_by_the_wrong_call_is_refused_and_logged_once)
{
    cellar *c = open_log(CELLAR_LOG_WARNING, CELLAR_LOG_KEYS_NONE);
    cellar *v = namespace_with(c, "v", 0, 0);
    T_EQ_I64(cellar_close(v), CELLAR_E_INVAL);
    T_CHECK(logged("2 cache: cellar_close: c is a namespace: call cellar_namespace_close\n"));
    T_EQ_I64(cellar_close(v), CELLAR_E_INVAL);
    T_EQ_I64(cellar_namespace_close(c), CELLAR_E_INVAL);
    T_EQ_STR(seen.lines, "");
    cellar_error_info e = cellar_error_info_default();
    T_EQ_I64(cellar_last_error(c, &e), CELLAR_OK);
    T_EQ_STR(e.text, "cellar_namespace_close: c is the root handle: call cellar_close");
    T_EQ_I64(cellar_set(v, "k", 1, "v", 1, NULL), CELLAR_OK); /* both are open */
    kit_close(c);
    T_EQ_I64(cellar_close(v), CELLAR_E_INVAL);
    T_EQ_STR(seen.lines, "");
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(v), CELLAR_E_CLOSED);
}

T_ONE_THREAD;
T_MAIN("cache_log")
