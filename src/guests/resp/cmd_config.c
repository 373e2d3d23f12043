/* SPDX-License-Identifier: MIT
 *
 * cmd_config: CONFIG GET SET RESETSTAT.
 *
 * PICTURE    resp_setting_rows: a row for each name -> read as text, check a text, apply it
 * INVARIANTS CONFIG SET checks all names and texts before it applies the first. If one is refused
 *            then, it and those before it are taken back. A name that cannot be set is refused by
 *            name. The password is no setting: CONFIG GET does not show it.
 * LOCKING    None: idle_timeout_ms and max_clients belong to the thread that runs the step. */
#include "base/glob.h"
#include "base/num.h"
#include "cellar_admin.h"
#include "resp/data.h"
#include "resp/shared.h"

#include <string.h>

BASE_SIZE_BEGIN

/* ---- Names of values ------------------------------------------------------------------------- */

typedef struct resp_choice {
    const char *name;
    int64_t value;
} resp_choice;

/* The names of cellar, then those of Redis that mean the same. CONFIG GET shows the first one. */
static const resp_choice resp_policies[] = {
    { "adaptive", CELLAR_EVICT_ADAPTIVE }, { "s3fifo", CELLAR_EVICT_S3FIFO },
    { "allkeys-lru", CELLAR_EVICT_LRU }, { "fifo", CELLAR_EVICT_FIFO },
    { "lru", CELLAR_EVICT_LRU }, { "allkeys-lfu", CELLAR_EVICT_S3FIFO }, { NULL, 0 },
};
static const resp_choice resp_levels[] = {
    { "debug", CELLAR_LOG_DEBUG }, { "verbose", CELLAR_LOG_INFO }, { "notice", CELLAR_LOG_WARNING },
    { "warning", CELLAR_LOG_ERROR }, { "nothing", CELLAR_LOG_OFF }, { NULL, 0 },
};

static bool resp_choice_read(const resp_choice *rows, const cellar_bytes *text, int64_t *value)
{
    for (; rows->name != NULL; rows++) {
        if (resp_is(text, rows->name)) {
            *value = rows->value;
            return true;
        }
    }
    return false;
}

static const char *resp_choice_name(const resp_choice *rows, int64_t value)
{
    while (rows->name != NULL && rows->value != value) { rows++; }
    return rows->name != NULL ? rows->name : "";
}

/* Read bytes with a unit as Redis: b, k = 1,000, kb = 1,024, m, mb, g, gb. */
static bool resp_memory_read(const cellar_bytes *text, int64_t *value)
{
    static const struct { const char *unit; int64_t bytes; } units[] = {
        { "gb", 1 << 30 }, { "mb", 1 << 20 }, { "kb", 1 << 10 }, { "g", 1000000000 },
        { "m", 1000000 }, { "k", 1000 }, { "b", 1 }, { "", 1 },
    };
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        const size_t unit_len = strlen(units[i].unit);
        if (text->len < unit_len) { continue; }
        const cellar_bytes digits = { text->data, text->len - unit_len };
        const cellar_bytes unit = { (const char *)text->data + digits.len, unit_len };
        int64_t n;
        if (!resp_is(&unit, units[i].unit) || !resp_to_int(&digits, &n)) { continue; }
        return n >= 0 && !__builtin_mul_overflow(n, units[i].bytes, value);
    }
    return false;
}

/* ---- Settings -------------------------------------------------------------------------------- */

typedef struct resp_setting {
    const char *name;
    int64_t (*get)(const cellar_resp *r);
    const resp_choice *choices;   /* names of the values; NULL: a number */
    bool (*read)(const cellar_bytes *text, int64_t *value); /* NULL: resp_to_int */
    cellar_err (*set)(cellar_resp *r, int64_t value);       /* NULL: cannot be set */
    int64_t most;                 /* numbers from 0 to this */
    const char *wrong;            /* why a text is refused */
    const char *refused;          /* why a value is refused */
    const char *fixed;            /* without get: always this text */
} resp_setting;

static int64_t resp_option_of(const cellar_resp *r, cellar_option option)
{
    int64_t v = 0;
    (void)cellar_option_get(resp_main_store(r), option, &v);
    return v;
}

static int64_t resp_get_maxmemory(const cellar_resp *r)
{
    return resp_option_of(r, CELLAR_OPT_MEMORY_BYTES) +
           (int64_t)(base_load_rlx(&r->shared.most_bytes) +
                     base_load_rlx(&r->shared.limit_most_bytes));
}

static cellar_err resp_apply_maxmemory(cellar_resp *r, int64_t v)
{
    if (r->shared.store != NULL) { return resp_shared_resize(r, (uint64_t)v); }
    return cellar_option_set(r->store, CELLAR_OPT_MEMORY_BYTES, v);
}

static int64_t resp_get_policy(const cellar_resp *r)
{
    return resp_option_of(r, CELLAR_OPT_EVICTION);
}

static cellar_err resp_apply_policy(cellar_resp *r, int64_t v)
{
    return cellar_option_set(resp_main_store(r), CELLAR_OPT_EVICTION, v);
}

static int64_t resp_get_level(const cellar_resp *r)
{
    return resp_option_of(r, CELLAR_OPT_LOG_LEVEL);
}

static cellar_err resp_apply_level(cellar_resp *r, int64_t v)
{
    return cellar_option_set(resp_main_store(r), CELLAR_OPT_LOG_LEVEL, v);
}

static int64_t resp_get_timeout(const cellar_resp *r)
{
    return r->idle_timeout_ms == CELLAR_TTL_NONE ? 0 : (r->idle_timeout_ms + 999) / 1000;
}

static cellar_err resp_apply_timeout(cellar_resp *r, int64_t v)
{
    r->idle_timeout_ms = v == 0 ? CELLAR_TTL_NONE : v * 1000;
    return CELLAR_OK;
}

static int64_t resp_get_maxclients(const cellar_resp *r) { return r->max_clients; }

static cellar_err resp_apply_maxclients(cellar_resp *r, int64_t v)
{
    if (v < 1 || v > r->opts.max_clients) { return CELLAR_E_RANGE; }
    r->max_clients = (uint32_t)v;
    return CELLAR_OK;
}

static int64_t resp_get_databases(const cellar_resp *r)
{
    (void)r;
    return RESP_DBS;
}

static int64_t resp_get_request(const cellar_resp *r) { return (int64_t)r->opts.max_request_bytes; }

static int64_t resp_get_slow(const cellar_resp *r)
{
    return r->opts.slow_us == CELLAR_OFF ? -1 : (int64_t)r->opts.slow_us;
}

static int64_t resp_get_slow_len(const cellar_resp *r)
{
    (void)r;
    return RESP_SLOW_MAX;
}

static const resp_setting resp_setting_rows[] = {
    { .name = "appendonly", .fixed = "no" },
    { .name = "databases", .get = resp_get_databases },
    { .name = "loglevel", .get = resp_get_level, .choices = resp_levels, .set = resp_apply_level,
      .wrong = "argument(s) must be one of the following: debug, verbose, notice, warning, "
               "nothing" },
    { .name = "maxclients", .get = resp_get_maxclients, .set = resp_apply_maxclients,
      .most = UINT32_MAX, .wrong = "argument must be between 1 and 4294967295 inclusive",
      .refused = "the port was opened for fewer clients" },
    { .name = "maxmemory", .get = resp_get_maxmemory, .read = resp_memory_read,
      .set = resp_apply_maxmemory, .most = INT64_MAX, .wrong = "argument must be a memory value",
      .refused = "the budget cannot have this size while the store is open" },
    { .name = "maxmemory-policy", .get = resp_get_policy, .choices = resp_policies,
      .set = resp_apply_policy,
      .wrong = "argument(s) must be one of the following: adaptive, s3fifo, lru, fifo, "
               "allkeys-lru, allkeys-lfu",
      .refused = "the store cannot change its policy" },
    { .name = "proto-max-bulk-len", .get = resp_get_request },
    { .name = "save", .fixed = "" },
    { .name = "slowlog-log-slower-than", .get = resp_get_slow },
    { .name = "slowlog-max-len", .get = resp_get_slow_len },
    { .name = "timeout", .get = resp_get_timeout, .set = resp_apply_timeout, .most = INT32_MAX,
      .wrong = "argument couldn't be parsed into an integer" },
};
#define RESP_SETTINGS (sizeof resp_setting_rows / sizeof resp_setting_rows[0])

/* ---- GET ------------------------------------------------------------------------------------- */

/* Return whether one of the patterns of CONFIG GET names a setting. Case does not matter. */
static bool resp_setting_wanted(const resp_setting *s, const cellar_bytes *argv, uint32_t argc)
{
    for (uint32_t i = 2; i < argc; i++) {
        char lower[64];
        if (argv[i].len > sizeof lower) { continue; } /* longer than every name */
        const unsigned char *p = argv[i].data;
        for (size_t k = 0; k < argv[i].len; k++) {
            lower[k] = (char)(p[k] >= 'A' && p[k] <= 'Z' ? p[k] + 32 : p[k]);
        }
        if (base_glob_match(lower, argv[i].len, s->name, strlen(s->name))) { return true; }
    }
    return false;
}

static void resp_setting_put(resp_client *c, const resp_setting *s)
{
    resp_bulk_text(c, s->name);
    if (s->fixed != NULL) {
        resp_bulk_text(c, s->fixed);
    } else if (s->choices != NULL) {
        resp_bulk_text(c, resp_choice_name(s->choices, s->get(c->of)));
    } else {
        resp_bulk_int(c, s->get(c->of));
    }
}

static void resp_config_get(resp_client *c, const cellar_bytes *argv, uint32_t argc)
{
    uint64_t count = 0;
    for (size_t i = 0; i < RESP_SETTINGS; i++) {
        count += resp_setting_wanted(&resp_setting_rows[i], argv, argc);
    }
    resp_map(c, count);
    for (size_t i = 0; i < RESP_SETTINGS; i++) {
        if (resp_setting_wanted(&resp_setting_rows[i], argv, argc)) {
            resp_setting_put(c, &resp_setting_rows[i]);
        }
    }
}

/* ---- SET ------------------------------------------------------------------------------------- */

static const resp_setting *resp_setting_find(const cellar_bytes *name)
{
    for (size_t i = 0; i < RESP_SETTINGS; i++) {
        if (resp_is(name, resp_setting_rows[i].name)) { return &resp_setting_rows[i]; }
    }
    return NULL;
}

static bool resp_setting_read(const resp_setting *s, const cellar_bytes *text, int64_t *value)
{
    if (s->choices != NULL) { return resp_choice_read(s->choices, text, value); }
    if (!(s->read != NULL ? s->read : resp_to_int)(text, value)) { return false; }
    return *value >= 0 && *value <= s->most;
}

static void resp_config_failed(resp_client *c, const resp_setting *s, const char *why)
{
    resp_error(c, "ERR CONFIG SET failed (possibly related to argument '%s') - %s", s->name, why);
}

/* Check names and texts. False: an error was written. */
static bool resp_config_check(resp_client *c, const cellar_bytes *argv, uint32_t argc)
{
    for (uint32_t i = 2; i < argc; i += 2) {
        const resp_setting *s = resp_setting_find(&argv[i]);
        if (s == NULL) {
            resp_error(c, "ERR Unknown option or number of arguments for CONFIG SET - '%.*s'",
                       (int)BASE_MIN(argv[i].len, 128u), (const char *)argv[i].data);
            return false;
        }
        if (s->set == NULL) {
            resp_config_failed(c, s, "can't set immutable config");
            return false;
        }
        int64_t value;
        if (!resp_setting_read(s, &argv[i + 1], &value)) {
            resp_config_failed(c, s, s->wrong);
            return false;
        }
    }
    return true;
}

static void resp_config_set(resp_client *c, const cellar_bytes *argv, uint32_t argc)
{
    if (argc < 4 || argc % 2 != 0) {
        resp_wrong_arity(c, "config|set");
        return;
    }
    if (!resp_config_check(c, argv, argc)) { return; }
    int64_t old[RESP_SETTINGS];
    for (size_t i = 0; i < RESP_SETTINGS; i++) {
        const resp_setting *s = &resp_setting_rows[i];
        old[i] = s->get != NULL ? s->get(c->of) : 0;
    }
    for (uint32_t i = 2; i < argc; i += 2) {
        const resp_setting *s = resp_setting_find(&argv[i]), *before;
        int64_t value;
        (void)resp_setting_read(s, &argv[i + 1], &value); /* checked above */
        const cellar_err err = s->set(c->of, value);
        if (err != CELLAR_OK) {
            for (; i > 0; i -= 2) { /* this one, too: a budget that pins hold has changed */
                before = resp_setting_find(&argv[i]);
                (void)before->set(c->of, old[before - resp_setting_rows]);
            }
            resp_config_failed(c, s, err == CELLAR_E_BUSY ? "pinned entries hold the memory"
                                                          : s->refused);
            return;
        }
    }
    resp_ok(c);
}

/* Set the figures of the port to 0. Those of the store stay: the process reads them, too. */
static void resp_config_resetstat(resp_client *c)
{
    for (size_t i = 0; i < RESP_COUNTS; i++) { base_store_rlx(&c->of->count[i], 0); }
    resp_ok(c);
}

RESP_CALL(resp_cmd_config)
{
    const bool get = resp_is(&argv[1], "get"), set = resp_is(&argv[1], "set");
    if (!get && !set && !resp_is(&argv[1], "resetstat")) {
        resp_unknown_sub(c, argv, "CONFIG");
    } else if (get && argc < 3) {
        resp_wrong_arity(c, "config|get");
    } else if (!get && !set && argc != 2) {
        resp_wrong_arity(c, "config|resetstat");
    } else if (get) {
        resp_config_get(c, argv, argc);
    } else if (c->of->opts.writable == 0) {
        resp_error(c, "READONLY You can't write against a port without the option writable.");
    } else if (set) {
        resp_config_set(c, argv, argc);
    } else {
        resp_config_resetstat(c);
    }
}

BASE_SIZE_END
