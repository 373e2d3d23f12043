/* SPDX-License-Identifier: MIT
 *
 * Aim:    A text, a file and the environment set the options of a store: each what it names, all of
 *         it or nothing. An error names line, column and setting. The .env file of the documents is
 *         accepted as it is.
 * Method: a table of settings with the expected bytes of the struct; a table of errors with their
 *         places; each cut of a text; the file tests/data/s2.env; stores opened with the result. */
#include "tests/support/api_kit.h"
#include "tests/support/refusals.h"
#include "tests/support/spaces.h"

#include <stddef.h>

#include "cellar_kit.h"
#include "cellar_schedule.h"
#include "cellar_task.h"

/* ---- notes ---- */

#define NOTES 300u

typedef struct noted {
    cellar_log_level level;
    uint32_t line, column;
    char name[72], text[520];
} noted;

static cellar_settings s; /* of the case */
static noted notes[NOTES];
static uint32_t note_count;

static void take(const cellar_settings_note *n, void *ctx)
{
    T_CHECK(ctx == notes && note_count < NOTES);
    if (note_count >= NOTES) { return; }
    noted *to = &notes[note_count++];
    to->level = n->level;
    to->line = n->line;
    to->column = n->column;
    snprintf(to->name, sizeof to->name, "%s", n->name);
    snprintf(to->text, sizeof to->text, "%s", n->text);
}

/* Read a file, a text or the environment; drop the notes before. */
static cellar_err read_from(const char *name, const char *text, size_t len)
{
    note_count = 0;
    return cellar_settings_read(&s, name, text, len, take, notes);
}

static cellar_err read_text(const char *text) { return read_from("test.conf", text, strlen(text)); }
static cellar_err read_env(void) { return read_from(NULL, NULL, 0); }

static const char *set_names[16]; /* variables of the case */
static unsigned set_count;

static void set_variable(const char *name, const char *value)
{
    T_REQUIRE(set_count < 16 && setenv(name, value, 1) == 0);
    set_names[set_count++] = name;
}
#define SET(name, value) set_variable(name, value)

static void unset_variables(void)
{
    while (set_count != 0) { T_REQUIRE(unsetenv(set_names[--set_count]) == 0); }
}
#define SETTINGS(fn) T_WITHIN(fn, (void)(s = cellar_settings_default()), unset_variables())

/* ---- what each setting does ---- */

typedef struct row {
    const char *name, *value;
    size_t offset, bytes;
    uint64_t want;
} row;

#define ROW(name, value, field, want) \
    { name, value, offsetof(cellar_settings, field), CELLAR_SIZEOF_FIELD(cellar_settings, field), \
      (uint64_t)(want) }

static const row rows[] = {
    ROW("memory", "16M", config.memory_bytes, 16 << 20),
    ROW("memory", "2097152", config.memory_bytes, 2 << 20),
    ROW("memory", "2T", config.memory_bytes, UINT64_C(2) << 40),
    ROW("max_entries", "1000", config.max_entries, 1000),
    ROW("max_value", "64k", tuning.max_value_bytes, 65536),
    ROW("eviction", "adaptive", config.eviction, CELLAR_EVICT_ADAPTIVE),
    ROW("eviction", "s3fifo", config.eviction, CELLAR_EVICT_S3FIFO),
    ROW("eviction", "lru", config.eviction, CELLAR_EVICT_LRU),
    ROW("eviction", "fifo", config.eviction, CELLAR_EVICT_FIFO),
    ROW("default_ttl", "1h30m", config.default_ttl_ms, 5400000),
    ROW("default_ttl", "never", config.default_ttl_ms, CELLAR_TTL_NONE),
    ROW("negative_ttl", "250ms", config.negative_ttl_ms, 250),
    ROW("jitter", "25%", tuning.jitter_pct, 25),
    ROW("jitter", "0%", tuning.jitter_pct, CELLAR_OFF),
    ROW("idle", "2d", config.idle_ms, 172800000),
    ROW("idle", "never", config.idle_ms, CELLAR_TTL_NONE),
    ROW("max_age", "1w", config.max_age_ms, 604800000),
    ROW("stale", "5m", config.stale_ms, 300000),
    ROW("key_version", "4294967295", root.version, UINT32_MAX),
    ROW("l2_bytes", "1G", config.l2_bytes, 1 << 30),
    ROW("l2_close", "20s", l2.close_ms, 20000),
    ROW("l2_close", "never", l2.close_ms, CELLAR_TTL_NONE),
    ROW("l2_sync", "periodic", l2.sync, CELLAR_L2_SYNC_PERIODIC),
    ROW("l2_sync", "always", l2.sync, CELLAR_L2_SYNC_ALWAYS),
    ROW("l2_write", "set", l2.write, CELLAR_L2_WRITE_ON_SET),
    ROW("l2_write", "through", l2.write, CELLAR_L2_WRITE_THROUGH),
    ROW("l2_optional", "True", l2.optional, 1),
    ROW("enabled", "off", disabled, 1),
    ROW("threads", "0", host.no_threads, 1),
    ROW("load_threads", "8", host.load_threads, 8),
    ROW("load_queue", "65536", host.load_queue, 65536),
    ROW("log", "error", host.log_level, CELLAR_LOG_ERROR),
    ROW("log", "debug", host.log_level, CELLAR_LOG_DEBUG),
    ROW("log", "off", host.log_level, CELLAR_LOG_OFF),
    ROW("resp_port", "65535", resp.port, 65535),
    ROW("resp_max_clients", "1", resp.max_clients, 1),
    ROW("resp_buffer_bytes", "16M", resp.buffer_bytes, 16 << 20),
    ROW("resp_timeout", "5m", resp.idle_timeout_ms, 300000),
    ROW("resp_timeout", "never", resp.idle_timeout_ms, CELLAR_TTL_NONE),
    ROW("refresh", "15m", work.refresh_ms, 900000),
    ROW("interval", "3600", work.refresh_ms, 3600000),
    ROW("interval", "366d", work.refresh_ms, INT64_C(31622400000)),
    ROW("resp_admin_head", "4k", resp.admin_head_bytes, 4096),
    ROW("resp_admin_body", "1M", resp.admin_body_bytes, 1 << 20),
    ROW("log_keys", "none", host.log_keys, CELLAR_LOG_KEYS_NONE),
    ROW("log_keys", "hash", host.log_keys, CELLAR_LOG_KEYS_HASH),
    ROW("log_keys", "prefix", host.log_keys, CELLAR_LOG_KEYS_PREFIX),
    ROW("log_keys", "full", host.log_keys, CELLAR_LOG_KEYS_FULL),
};
#define ROWS (sizeof rows / sizeof rows[0])

static void variable_name(char *out, const char *name)
{
    strcpy(out, "CELLAR_");
    for (out += 7; *name != '\0'; name++) {
        *out++ = *name >= 'a' && *name <= 'z' ? (char)(*name - 32) : *name;
    }
    *out = '\0';
}

/* Check that the struct has the value of the row and is like `base` elsewhere. */
static void only_this_field(const cellar_settings *base, const row *r)
{
    cellar_settings want = *base;
    const uint32_t half = (uint32_t)r->want;
    memcpy((char *)&want + r->offset, r->bytes == 8 ? (const void *)&r->want : &half, r->bytes);
    if (!T_CHECK(memcmp(&s, &want, sizeof want) == 0)) { printf("# %s = %s\n", r->name, r->value); }
}

T_CASE_ON(each_setting_reaches_its_field_and_no_other, SETTINGS)
{
    const cellar_settings base = cellar_settings_default();
    for (size_t i = 0; i < ROWS; i++) {
        char variable[80], text[160];
        variable_name(variable, rows[i].name);
        for (int form = 0; form < 4; form++) {
            s = base;
            cellar_err err;
            if (form == 3) {
                SET(variable, rows[i].value);
                err = read_env();
                unset_variables();
            } else {
                snprintf(text, sizeof text, form == 0 ? "%s=%s" : form == 1 ? "\t%s = \"%s\" # x\r\n"
                         : "\n%s =  %s  # x # y\n", form == 2 ? variable : rows[i].name,
                         rows[i].value);
                err = read_text(text);
            }
            T_EQ_I64(err, CELLAR_OK);
            T_EQ_U64(note_count, 0);
            only_this_field(&base, &rows[i]);
        }
    }
}

/* test_base_memory_limit shows of what. */
T_CASE_ON(share_of_memory_is_bytes, SETTINGS)
{
    T_EQ_I64(read_text("memory = 100%"), CELLAR_OK);
    const uint64_t all = s.config.memory_bytes;
    T_CHECK(all >= 2 * CELLAR_MEMORY_MIN);
    T_EQ_I64(read_text("memory = 50% # of it"), CELLAR_OK);
    T_EQ_U64(s.config.memory_bytes, all / 2);
    T_EQ_I64(read_text("max_value = 100%"), CELLAR_OK); /* no value is longer */
    T_EQ_U64(s.tuning.max_value_bytes, all < CELLAR_VALUE_MAX ? all : CELLAR_VALUE_MAX);
    SET("CELLAR_MEMORY", "99%");
    T_EQ_I64(read_env(), CELLAR_OK);
    T_EQ_U64(s.config.memory_bytes, all / 100 * 99 + all % 100 * 99 / 100);
}

T_CASE_ON(signs_of_jitter_name_its_mode, SETTINGS)
{
    static const struct { const char *text; uint32_t pct, mode; } sign[] = {
        { "jitter = +20%", 20, CELLAR_JITTER_PLUS }, { "jitter = 7%", 7, CELLAR_JITTER_MINUS },
        { "jitter = +-9%", 9, CELLAR_JITTER_PLUSMINUS },
    };
    for (unsigned i = 0; i < 3; i++) {
        T_EQ_I64(read_text(sign[i].text), CELLAR_OK);
        T_EQ_U64(s.tuning.jitter_pct, sign[i].pct);
        T_EQ_U64((uint32_t)s.tuning.jitter_mode, sign[i].mode);
    }
}

T_CASE_ON(texts_are_kept_in_the_struct, SETTINGS)
{
    char text[1200], path[1100];
    T_EQ_I64(read_text("l2_path = '/tmp/a # b'\nkey_prefix = \"a \\\"b\\\" \\\\\""), CELLAR_OK);
    T_CHECK(s.config.l2_path == s.l2_path && s.host.name == s.key_prefix);
    T_EQ_STR(s.config.l2_path, "/tmp/a # b");
    T_EQ_STR(s.host.name, "a \"b\" \\");
    T_EQ_I64(read_text("l2_path = /tmp/a#b  # c"), CELLAR_OK);
    T_EQ_STR(s.config.l2_path, "/tmp/a#b");
    T_EQ_I64(read_text("memory = 2M"), CELLAR_OK); /* the others stay */
    T_CHECK(s.config.l2_path == s.l2_path);
    for (size_t n = CELLAR_SETTINGS_PATH_MAX; n <= CELLAR_SETTINGS_PATH_MAX + 1; n++) {
        memset(path, 'p', n);
        path[n] = '\0';
        const cellar_err want = n == CELLAR_SETTINGS_PATH_MAX ? CELLAR_OK : CELLAR_E_CONFIG;
        snprintf(text, sizeof text, "l2_path=%s", path);
        T_EQ_I64(read_text(text), want);
        snprintf(text, sizeof text, "l2_path='%s' # x", path);
        T_EQ_I64(read_text(text), want);
        SET("CELLAR_L2_PATH", path);
        T_EQ_I64(read_env(), want);
        T_EQ_U64(strlen(s.config.l2_path), CELLAR_SETTINGS_PATH_MAX);
    }
    for (size_t n = CELLAR_NAME_MAX; n <= CELLAR_NAME_MAX + 1; n++) {
        memset(path, 'k', n);
        strcpy(path + n, ":"); /* the separator is no part of the prefix */
        snprintf(text, sizeof text, "key_prefix=%s", path);
        T_EQ_I64(read_text(text), n == CELLAR_NAME_MAX ? CELLAR_OK : CELLAR_E_CONFIG);
        T_EQ_U64(strlen(s.host.name), CELLAR_NAME_MAX);
    }
}

/* ---- the documents ---- */

/* Return a file of the case with these bytes, removed after it. */
static const char *file_with(const void *bytes, size_t len)
{
    static char path[T_FOLDER_MAX + 8];
    (void)snprintf(path, sizeof path, "%s/file", folder_of_case());
    FILE *f = fopen(path, "w");
    T_REQUIRE(f != NULL && fwrite(bytes, 1, len, f) == len && fclose(f) == 0);
    return path;
}

static cellar *open_settings(void)
{
    cellar *c = NULL;
    T_REQUIRE(cellar_settings_open(&s, NULL, NULL, &c) == CELLAR_OK);
    return closed_later(c);
}

static int64_t option(cellar *c, cellar_option what)
{
    int64_t n = 0;
    T_EQ_I64(cellar_option_get(c, what, &n), CELLAR_OK);
    return n;
}

#define DOTENV "tests/data/s2.env"

T_CASE_ON(env_file_of_the_documents_is_accepted_as_it_is, SETTINGS)
{
    static const char *const info[] = {
        DOTENV ":3:1: note: REDIS_DB: in process: not needed",
        DOTENV ":9:1: note: CELERY_BROKER_URL: in process: not needed",
        DOTENV ":10:1: note: CELERY_RESULT_BACKEND: in process: not needed",
    };
    T_EQ_I64(read_from(DOTENV, NULL, 0), CELLAR_OK);
    T_EQ_I64(s.config.default_ttl_ms, 300000);
    T_EQ_STR(s.host.name, "myapp");
    T_EQ_U64(s.work.workers, 4);
    T_EQ_STR(s.work.zone, "Asia/Shanghai");
    T_EQ_STR(s.resp.listen, ""); /* localhost */
    T_EQ_U64(s.resp.port, 6379);
    T_EQ_STR(s.resp.password, "");
    T_EQ_U64(s.resp.max_clients, 20);
    T_REQUIRE(note_count == 3);
    for (size_t i = 0; i < 3; i++) {
        T_EQ_I64(notes[i].level, CELLAR_LOG_INFO);
        T_EQ_STR(notes[i].text, info[i]);
    }
    T_EQ_I64(read_text("CACHE_VERSION=1\nREDIS_SOCKET_TIMEOUT=5\nREDIS_CONNECTION_TIMEOUT=5\n"
                           "CELERY_ENABLE_UTC=True\nDATABASE_URL=x\n"), CELLAR_OK);
    T_EQ_U64(s.root.version, 1);
    T_EQ_I64(s.resp.idle_timeout_ms, 5000);
    T_EQ_U64(note_count, 3);
}

T_CASE_ON(settings_of_the_documents_open_a_store, SETTINGS)
{
    T_EQ_I64(read_text("enabled = true\ndefault_ttl = 7200s\nkey_prefix = \"zsxq:\"\n"
                           "memory = 4M\nthreads = 0\njitter = 10%\ninterval = 3600\n"),
             CELLAR_OK);
    T_EQ_I64(s.work.refresh_ms, 3600000);
    T_EQ_STR(s.host.name, "zsxq"); /* "zsxq" and "zsxq:" are the same */
    cellar *c = open_settings();
    T_EQ_I64(option(c, CELLAR_OPT_DEFAULT_TTL_MS), 7200000);
    T_EQ_I64(option(c, CELLAR_OPT_MEMORY_BYTES), 4 << 20);
    T_EQ_I64(cellar_set_str(c, "k", "v", 0), CELLAR_OK);
}

T_CASE_ON(policy_of_settings_holds_in_the_store, SETTINGS)
{
    char text[T_FOLDER_MAX + 40];
    const char *path = file_with("[*]\ndeny *token*\n", 17);
    snprintf(text, sizeof text, "threads = 0\npolicy = %s", path);
    T_EQ_I64(read_text(text), CELLAR_OK);
    T_EQ_STR(s.policy_file, path);
    cellar *c = open_settings();
    T_EQ_I64(cellar_set_str(c, "a token", "v", 0), CELLAR_E_DENIED);
    T_EQ_I64(cellar_set_str(c, "a key", "v", 0), CELLAR_OK);
}

T_CASE_ON(cellar_name_wins_over_the_name_in_the_documents, SETTINGS)
{
    T_EQ_I64(read_text("CACHE_DEFAULT_TIMEOUT=300\ndefault_ttl=7s"), CELLAR_OK);
    T_EQ_I64(s.config.default_ttl_ms, 7000);
    T_EQ_I64(read_text("CELLAR_DEFAULT_TTL=8s\nCACHE_DEFAULT_TIMEOUT=300"), CELLAR_OK);
    T_EQ_I64(s.config.default_ttl_ms, 8000);
    SET("CACHE_DEFAULT_TIMEOUT", "300");
    T_EQ_I64(read_env(), CELLAR_OK);
    T_EQ_I64(s.config.default_ttl_ms, 300000);
    SET("CELLAR_DEFAULT_TTL", "9s");
    T_EQ_I64(read_env(), CELLAR_OK);
    T_EQ_I64(s.config.default_ttl_ms, 9000);
    SET("CACHE_DEFAULT_TIMEOUT", "soon"); /* wrong, also where it loses */
    T_EQ_I64(read_env(), CELLAR_E_CONFIG);
    T_EQ_STR(notes[0].text, "CACHE_DEFAULT_TIMEOUT:1: error: needs a number");
}

/* ---- sources ---- */

T_CASE_ON(later_source_overwrites_what_it_names, SETTINGS)
{
    const char *path = file_with("memory = 4M\nstale = 5s\nidle = 6s\n", 33);
    s.config.max_entries = 77;
    T_EQ_I64(read_from(path, NULL, 0), CELLAR_OK);
    SET("CELLAR_STALE", "9s"), SET("CELLAR_MEMORY", "");
    T_EQ_I64(read_env(), CELLAR_OK);
    T_EQ_U64(s.config.memory_bytes, 4 << 20); /* the variable is empty: not set */
    T_EQ_I64(s.config.stale_ms, 9000);
    T_EQ_I64(s.config.idle_ms, 6000);
    T_EQ_U64(s.config.max_entries, 77);
    T_EQ_I64(read_text("idle=\"\"\nmemory=  # none\n"), CELLAR_OK);
    T_EQ_I64(s.config.idle_ms, 6000);
    T_EQ_U64(note_count, 0);
    T_REQUIRE(unlink(path) == 0);
    T_EQ_I64(cellar_settings_read(&s, path, NULL, 0, take, notes), CELLAR_E_IO);
    T_EQ_I64(cellar_settings_read(&s, "/tmp", NULL, 0, take, notes), CELLAR_E_IO);
    T_REQUIRE(note_count == 2);
    T_FIELDS(notes[0], level, CELLAR_LOG_ERROR, line, 0);
    T_CHECK(strstr(notes[0].text, ": error: cannot be read: no such file") != NULL);
    T_EQ_STR(notes[1].text, "/tmp: error: cannot be read: a directory");
}

T_CASE_ON(open_and_text_do_not_read_the_environment, SETTINGS)
{
    cellar_settings same;
    SET("CELLAR_MEMORY", "16M");
    T_EQ_I64(read_text("threads = no"), CELLAR_OK);
    same = s;
    cellar *c = open_settings();
    T_CHECK(memcmp(&s, &same, sizeof s) == 0);
    T_EQ_I64(option(c, CELLAR_OPT_MEMORY_BYTES), 64 << 20);
}

T_CASE_ON(open_keeps_the_groups_of_the_program, SETTINGS)
{
    cellar_host_config own = { .struct_size = sizeof own, .log_level = CELLAR_LOG_ERROR,
                               .no_threads = 1 };
    s.host.log_level = CELLAR_LOG_DEBUG; /* no effect: config points to `own` */
    s.config.host = &own;
    s.config.memory_bytes = 2 << 20;
    cellar *c = open_settings();
    T_EQ_I64(option(c, CELLAR_OPT_LOG_LEVEL), CELLAR_LOG_ERROR);
    close_now(c);
    T_EQ_I64(cellar_settings_open(NULL, NULL, NULL, &c), CELLAR_E_INVAL);
    T_CHECK(c == NULL);
    T_EQ_I64(cellar_settings_open(&s, NULL, NULL, NULL), CELLAR_E_INVAL);
    s.struct_size--;
    T_EQ_I64(cellar_settings_open(&s, NULL, NULL, &c), CELLAR_E_ABI);
}

/* ---- errors ---- */

typedef struct wrong {
    const char *text;
    uint32_t line, column;
    const char *name;
} wrong;

static const wrong wrongs[] = {
    { "memory = 1", 1, 10, "memory" }, { "memory = 1023k", 1, 10, "memory" },
    { "\n\nmemory = 1MB", 3, 11, "memory" }, { "memory = 64s", 1, 12, "memory" },
    { "memory = 16777216T", 1, 10, "memory" }, { "memory = 99999999999999999999", 1, 10, "memory" },
    { "memory = -1M", 1, 10, "memory" }, { "memory = 1.5M", 1, 11, "memory" },
    { "memory = 1 M", 1, 11, "memory" }, { "memory = M", 1, 10, "memory" },
    { "memory = 0%", 1, 10, "memory" }, { "memory = 101%", 1, 13, "memory" },
    { "memory = 5 %", 1, 11, "memory" }, { "memory = 50%%", 1, 12, "memory" },
    { "memory = %", 1, 10, "memory" }, { "l2_bytes = 50%", 1, 14, "l2_bytes" },
    { "memory = never", 1, 10, "memory" }, { "max_value = 1G", 1, 13, "max_value" },
    { "max_value = 0", 1, 13, "max_value" }, { "max_entries = 1k", 1, 16, "max_entries" },
    { "eviction = LRU", 1, 12, "eviction" }, { "eviction = lr", 1, 12, "eviction" },
    { "eviction = lru fifo", 1, 12, "eviction" }, { "default_ttl = 300", 1, 18, "default_ttl" },
    { "default_ttl = 0s", 1, 15, "default_ttl" }, { "default_ttl = 5M", 1, 16, "default_ttl" },
    { "default_ttl = 1h30", 1, 19, "default_ttl" }, { "default_ttl = 5 s", 1, 16, "default_ttl" },
    { "default_ttl = h", 1, 15, "default_ttl" },
    { "default_ttl = 99999999999999w", 1, 15, "default_ttl" },
    { "CACHE_DEFAULT_TIMEOUT=0", 1, 23, "CACHE_DEFAULT_TIMEOUT" },
    { "CACHE_DEFAULT_TIMEOUT=30x", 1, 25, "CACHE_DEFAULT_TIMEOUT" },
    { "CACHE_VERSION=0", 1, 15, "CACHE_VERSION" },
    { "key_version = 4294967296", 1, 15, "key_version" },
    { "stale = never", 1, 9, "stale" }, { "stale = 50d", 1, 9, "stale" },
    { "idle = 50d", 1, 8, "idle" }, { "jitter = 10", 1, 12, "jitter" },
    { "jitter = 101%", 1, 13, "jitter" }, { "jitter = -1%", 1, 10, "jitter" },
    { "jitter = +-", 1, 12, "jitter" },
    { "l2_close = 5", 1, 13, "l2_close" }, { "l2_close = 0s", 1, 12, "l2_close" },
    { "l2_bytes = 15M", 1, 12, "l2_bytes" }, { "l2_bytes = 5T", 1, 12, "l2_bytes" },
    { "l2_optional = 2", 1, 15, "l2_optional" }, { "enabled = maybe", 1, 11, "enabled" },
    { "load_threads = 65", 1, 16, "load_threads" }, { "load_queue = 0", 1, 14, "load_queue" },
    { "refresh = 900", 1, 14, "refresh" }, { "refresh = never", 1, 11, "refresh" },
    { "interval = 0", 1, 12, "interval" }, { "interval = 367d", 1, 12, "interval" },
    { "interval = 1h\ninterval = 1h", 2, 12, "interval" },
    { "log = loud", 1, 7, "log" }, { "log_keys = some", 1, 12, "log_keys" },
    { "memory = 1M\nmemory = 2M", 2, 10, "memory" },
    { "memory = 1M\nCELLAR_MEMORY=1M", 2, 15, "CELLAR_MEMORY" },
    { "CACHE_VERSION=1\nCACHE_VERSION=1", 2, 15, "CACHE_VERSION" },
    { " memroy = 1M", 1, 2, "memroy" }, { "CELLAR_MEMROY=1M", 1, 1, "CELLAR_MEMROY" },
    { "Memory = 1M", 1, 1, "Memory" }, { "CELLAR_=1", 1, 1, "CELLAR_" },
    { "memory", 1, 7, "" }, { "memory 1M", 1, 8, "" }, { "= 1M", 1, 1, "" },
    { "me-mory = 1", 1, 3, "" }, { "1 = 1", 1, 1, "" },
    { "a_name_of_65_bytes_is_longer_than_a_name_of_a_setting_may_ever_be = 1", 1, 1, "" },
    { "l2_path = \"a", 1, 11, "l2_path" }, { "l2_path = 'a", 1, 11, "l2_path" },
    { "l2_path = \"a\" b", 1, 15, "l2_path" }, { "l2_path = \"a\\n\"", 1, 13, "l2_path" },
    { "resp_password =", 1, 16, "resp_password" }, { "resp_password=''", 1, 16, "resp_password" },
    { "l2_path = a\rb", 1, 12, "" }, { "memory = 1M\r\r\n", 1, 12, "" }, { "a\x7f", 1, 2, "" },
    { "# \x01", 1, 3, "" },
};

T_CASE_ON(error_names_its_place_and_changes_nothing, SETTINGS)
{
    for (size_t i = 0; i < sizeof wrongs / sizeof wrongs[0]; i++) {
        const wrong *w = &wrongs[i];
        s = cellar_settings_default();
        T_EQ_I64(read_text("memory = 9M\nl2_path = /x\njitter = +3%"), CELLAR_OK);
        const cellar_settings before = s;
        char text[200], place[120];
        snprintf(text, sizeof text, "%s\nload_threads_of_nothing = 1", w->text);
        bool ok = T_EQ_I64(read_text(text), CELLAR_E_CONFIG);
        ok = T_CHECK(memcmp(&s, &before, sizeof s) == 0) && ok;
        ok = T_EQ_U64(note_count, 2) && ok; /* the last line is reached, too */
        ok = T_EQ_U64(notes[0].line, w->line) && ok;
        ok = T_EQ_U64(notes[0].column, w->column) && ok;
        ok = T_EQ_STR(notes[0].name, w->name) && ok;
        snprintf(place, sizeof place, "test.conf:%u:%u: error: %s", w->line, w->column, w->name);
        ok = T_CHECK(strncmp(notes[0].text, place, strlen(place)) == 0) && ok;
        if (!ok) { printf("# %s -> %s\n", w->text, notes[0].text); }
        T_EQ_I64(cellar_settings_read(&s, "", text, strlen(text), NULL, NULL), CELLAR_E_CONFIG);
    }
}

static cellar_verdict nothing(const cellar_task *task, void *ctx)
{
    (void)task, (void)ctx;
    return cellar_verdict_ok();
}

static uint32_t route_count; /* of hand_routes */

/* Hand the routes on as the header shows. Return the code of the last one. */
static cellar_err hand_routes(cellar_pool *pool)
{
    cellar_err err = CELLAR_OK;
    route_count = 0;
    for (const char *p = s.work.routes, *queue; *p != 0; p = queue + strlen(queue) + 1) {
        queue = p + strlen(p) + 1;
        err = cellar_pool_route(pool, p, queue, NULL);
        route_count++;
    }
    return err;
}

T_CASE_ON(routes_of_the_documents_reach_a_pool, SETTINGS)
{
    static const struct { const char *value; uint32_t count; } good[] = {
        { "{}", 0 }, { " { } ", 0 }, { "{\"mail\": \"slow\"}", 1 },
        { "{'mail': {'queue': 'slow'}, \"ma*\" : \"slow\" , }", 2 },
        { "{\"mail\":{\"queue\":\"slow\"}}", 1 },
    };
    cellar_pool *pool;
    cellar_host_config h = { .struct_size = sizeof h, .no_threads = 1 };
    cellar_pool_config c = { .struct_size = sizeof c, .host = &h };
    T_REQUIRE(cellar_pool_open(&c, &pool) == CELLAR_OK);
    T_EQ_I64(cellar_task_register(pool, "mail", nothing, NULL, NULL), CELLAR_OK);
    T_EQ_I64(cellar_pool_set(pool, CELLAR_POOL_SET_WEIGHT, "slow", 2), CELLAR_E_NOT_FOUND);
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        SET("CELERY_TASK_ROUTES", good[i].value);
        T_EQ_I64(read_env(), CELLAR_OK);
        T_EQ_U64(note_count, 0);
        T_EQ_I64(hand_routes(pool), CELLAR_OK);
        T_EQ_U64(route_count, good[i].count);
    }
    /* the queue is there */
    T_EQ_I64(cellar_pool_set(pool, CELLAR_POOL_SET_WEIGHT, "slow", 2), CELLAR_OK);
    T_EQ_I64(read_text("task_routes = {'mail': 'fast'} # of ours\n"
                           "CELERY_TASK_ROUTES = {'mail': 'lost'}\n"), CELLAR_OK);
    T_EQ_I64(hand_routes(pool), CELLAR_OK);
    T_EQ_I64(cellar_pool_set(pool, CELLAR_POOL_SET_WEIGHT, "fast", 2), CELLAR_OK);
    T_EQ_I64(cellar_pool_set(pool, CELLAR_POOL_SET_WEIGHT, "lost", 2), CELLAR_E_NOT_FOUND);
    T_EQ_I64(cellar_pool_close(pool), CELLAR_OK);
}

T_CASE_ON(wrong_routes_are_refused_with_their_place, SETTINGS)
{
    static const struct { const char *value; uint32_t column; } bad[] = {
        { "x", 1 }, { "}", 1 }, { "{", 2 }, { "{}}", 3 }, { "{'a'}", 5 }, { "{'a':}", 6 },
        { "{'a': 5}", 7 }, { "{'a': ''}", 8 }, { "{'': 'q'}", 3 }, { "{'a': 'q'", 10 },
        { "{'a': 'q' 'b': 'q'}", 11 }, { "{,}", 2 }, { "{'a': 'q',,}", 11 },
        { "{'a': {'exchange': 'q'}}", 18 }, { "{'a': {'queue': 'q', 'key': 'b'}}", 20 },
        { "{'a': {'queue': {'queue': 'q'}}}", 17 }, { "{'a\\\\n': 'q'}", 3 }, { "['a']", 1 },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        s = cellar_settings_default();
        char text[200];
        snprintf(text, sizeof text, "task_routes=%s", bad[i].value);
        T_EQ_I64(read_text(text), CELLAR_E_CONFIG);
        T_REQUIRE(note_count == 1);
        if (!T_EQ_U64(notes[0].column, 12 + bad[i].column)) { printf("# %s\n", bad[i].value); }
        T_EQ_STR(s.work.routes, "");
    }
    for (size_t n = CELLAR_NAME_MAX; n <= CELLAR_NAME_MAX + 1; n++) {
        s = cellar_settings_default();
        char name[80] = "", text[200];
        memset(name, 'n', n);
        snprintf(text, sizeof text, "task_routes={'%s': '%s'}", name, name);
        T_EQ_I64(read_text(text), n == CELLAR_NAME_MAX ? CELLAR_OK : CELLAR_E_CONFIG);
    }
}

T_CASE_ON(settings_of_work_reach_a_pool_and_a_schedule, SETTINGS)
{
    cellar_pool *pool;
    int64_t next_ms;
    size_t found;
    T_EQ_U64(s.work.workers, 0);
    T_EQ_STR(s.work.zone, "");
    T_EQ_I64(read_text("workers = 2\ntz = +08:00\n"), CELLAR_OK);
    T_EQ_U64(s.work.workers, 2);
    cellar_host_config h = { .struct_size = sizeof h, .no_threads = 1 };
    cellar_pool_config c = { .struct_size = sizeof c, .host = &h, .workers = s.work.workers };
    T_REQUIRE(cellar_pool_open(&c, &pool) == CELLAR_OK);
    T_EQ_I64(cellar_pool_close(pool), CELLAR_OK);
    T_EQ_I64(cellar_cron_next("0 8 * * *", s.work.zone, NULL, 0, &next_ms, 1, &found), CELLAR_OK);
    T_EQ_I64(next_ms, 86400000);
    SET("CELLAR_WORKERS", "64"), SET("CELLAR_TZ", "UTC");
    T_EQ_I64(read_env(), CELLAR_OK);
    T_EQ_U64(s.work.workers, 64);
    T_EQ_STR(s.work.zone, "UTC");
    T_EQ_I64(read_text("workers = 65\n"), CELLAR_E_CONFIG);
    T_EQ_I64(read_text("workers = 0\n"), CELLAR_E_CONFIG);
    T_EQ_U64(s.work.workers, 64);
}

T_CASE_ON(settings_of_a_port_are_kept_in_the_struct, SETTINGS)
{
    T_EQ_U64(s.resp.port, 0);
    T_EQ_I64(read_text("REDIS_HOST = redis.internal\nresp_password = \"a b\""), CELLAR_OK);
    T_EQ_U64(note_count, 0);
    T_EQ_STR(s.resp.listen, ""); /* another machine: the server is this process now */
    T_EQ_STR(s.resp.password, "a b");
    T_EQ_I64(read_text("resp_listen = ::1\nREDIS_HOST=10.0.0.1"), CELLAR_OK);
    T_EQ_STR(s.resp.listen, "::1");
    T_EQ_I64(read_text("REDIS_HOST=10.0.0.1\nREDIS_PASSWORD=\nREDIS_PORT=7000"), CELLAR_OK);
    T_EQ_STR(s.resp.listen, "10.0.0.1");
    T_EQ_STR(s.resp.password, "a b"); /* an empty value is not set */
    T_EQ_U64(s.resp.port, 7000);
    T_EQ_I64(read_text("resp_listen = localhost"), CELLAR_OK);
    T_EQ_STR(s.resp.listen, "");
    static const char *const no_address[] = { "300.1.1.1", "1.2.3", "1:2", "::1::", "cafe" };
    for (size_t i = 0; i < sizeof no_address / sizeof *no_address; i++) {
        char line[64];
        (void)snprintf(line, sizeof line, "resp_listen = %s", no_address[i]);
        T_EQ_I64(read_text(line), CELLAR_E_CONFIG);
    }
    T_EQ_I64(read_text("resp_listen = redis.internal"), CELLAR_E_CONFIG);
    T_EQ_STR(notes[0].text, "test.conf:1:15: error: resp_listen: must be a numeric address, or "
                            "localhost");
    T_EQ_I64(read_text("REDIS_PORT = 65536"), CELLAR_E_CONFIG);
    T_EQ_I64(read_text("resp_max_clients = 0"), CELLAR_E_CONFIG);
}

T_CASE_ON(redis_names_of_the_environment_are_notes_without_env_redis, SETTINGS)
{
    static const char *const names[] = { "REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD",
                                         "REDIS_MAX_CONNECTIONS", "REDIS_SOCKET_TIMEOUT" };
    SET("REDIS_HOST", "10.0.0.1"), SET("REDIS_PORT", "7000"), SET("REDIS_PASSWORD", "Hunter2");
    SET("REDIS_MAX_CONNECTIONS", "9"), SET("REDIS_SOCKET_TIMEOUT", "wrong");
    SET("CELLAR_RESP_MAX_CLIENTS", "7");
    T_EQ_I64(read_env(), CELLAR_OK);
    T_EQ_STR(s.resp.listen, "");
    T_EQ_U64(s.resp.port, 0);
    T_EQ_STR(s.resp.password, "");
    T_EQ_U64(s.resp.max_clients, 7);
    T_EQ_I64(s.resp.idle_timeout_ms, 0);
    T_REQUIRE(note_count == 5);
    for (size_t i = 0; i < 5; i++) {
        T_FIELDS(notes[i], level, CELLAR_LOG_INFO, line, 0);
        T_EQ_STR(notes[i].name, names[i]);
        T_CHECK(strstr(notes[i].text, ":1: note: not read: it may be of another server; ") != NULL);
    }
    s.env_redis = 1;
    T_EQ_I64(read_env(), CELLAR_E_CONFIG); /* the timeout is read now */
    T_EQ_U64(note_count, 1);
    SET("REDIS_SOCKET_TIMEOUT", "5");
    T_REQUIRE(unsetenv("CELLAR_RESP_MAX_CLIENTS") == 0);
    T_EQ_I64(read_env(), CELLAR_OK);
    T_EQ_U64(note_count, 0);
    T_EQ_STR(s.resp.listen, "10.0.0.1");
    T_EQ_U64(s.resp.port, 7000);
    T_EQ_STR(s.resp.password, "Hunter2");
    T_EQ_U64(s.resp.max_clients, 9);
    T_EQ_I64(s.resp.idle_timeout_ms, 5000);
}

T_CASE_ON(address_of_a_service_in_a_variable_is_a_note, SETTINGS)
{
    static const char *const names[] = { "REDIS_PORT", "CELLAR_RESP_PORT" };
    for (size_t i = 0; i < 4; i++) {
        s = cellar_settings_default();
        s.env_redis = i / 2 != 0;
        SET(names[i % 2], "tcp://10.0.0.11:6379");
        T_EQ_I64(read_env(), CELLAR_OK);
        unset_variables();
        T_EQ_U64(s.resp.port, 0);
        T_REQUIRE(note_count == 1);
        T_EQ_I64(notes[0].level, CELLAR_LOG_INFO);
        T_EQ_STR(notes[0].name, names[i % 2]);
        T_CHECK(strstr(notes[0].text, "Kubernetes sets such an address beside a Service") != NULL);
        T_CHECK(strstr(notes[0].text, "10.0.0") == NULL);
    }
    T_EQ_I64(read_text("REDIS_PORT = tcp://10.0.0.11:6379"), CELLAR_E_CONFIG); /* a file */
}

T_CASE_ON(empty_password_is_an_error_in_each_source, SETTINGS)
{
    T_EQ_I64(read_text("CELLAR_RESP_PASSWORD = # later"), CELLAR_E_CONFIG);
    SET("CELLAR_RESP_PASSWORD", "");
    T_EQ_I64(read_env(), CELLAR_E_CONFIG);
    T_EQ_U64(note_count, 1);
    T_EQ_STR(notes[0].text, "CELLAR_RESP_PASSWORD:1: error: must not be empty: write a password, "
                            "or leave it out");
    unset_variables();
    s.env_redis = 1;
    SET("REDIS_PASSWORD", ""), SET("CELLAR_MEMORY", ""), SET("REDIS_DB", "");
    T_EQ_I64(read_env(), CELLAR_OK); /* no password of a Redis is usual */
    T_EQ_U64(note_count, 0);
}

T_CASE_ON(hundred_errors_are_reported, SETTINGS)
{
    static char text[4096];
    for (uint32_t n = 99; n <= 150; n += 17) {
        size_t at = 0;
        for (uint32_t i = 0; i < n; i++) {
            at += (size_t)snprintf(text + at, sizeof text - at, "unknown = %u\n", i);
        }
        T_EQ_I64(read_text(text), CELLAR_E_CONFIG);
        T_EQ_U64(note_count, n < 100 ? n : 100);
        for (uint32_t i = 0; i < note_count; i++) { T_EQ_U64(notes[i].line, i + 1); }
    }
}

T_CASE_ON(error_in_the_environment_names_the_variable, SETTINGS)
{
    const cellar_settings before = s;
    SET("CELLAR_MEMORY", "8M"), SET("CELLAR_STALE", "12");
    SET("CELLAR_LOG", "in\nfo"), SET("REDIS_DB", "3");
    T_EQ_I64(read_env(), CELLAR_E_CONFIG);
    T_REQUIRE(note_count == 3);
    T_EQ_STR(notes[0].text, "CELLAR_STALE:3: error: a time needs a unit: ms s m h d w");
    T_EQ_STR(notes[1].text, "CELLAR_LOG:3: error: a control byte");
    T_EQ_STR(notes[2].text, "REDIS_DB:1: note: in process: not needed");
    T_CHECK(memcmp(&s, &before, sizeof s) == 0);
}

T_CASE_ON(notes_have_no_value, SETTINGS)
{
    static const char *const lines[] = {
        "REDIS_PASSWORD=x\nREDIS_PASSWORD=%s", "resp_port = %s", "memory = %s",
        "CELERY_BROKER_URL=redis://u:%s@h", "log = %s", "unknown = %s",
        "l2_path = \"%s", "default_ttl = %s", "jitter = %s%%", "= %s", "enabled=%s"
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        char text[100];
        s = cellar_settings_default();
        snprintf(text, sizeof text, lines[i], "Hunter2Secret");
        (void)read_text(text);
        T_EQ_U64(note_count, 1);
        T_CHECK(strstr(notes[0].text, "unter2") == NULL);
    }
}

/* ---- bytes ---- */

T_CASE_ON(text_cut_at_every_byte_sets_all_or_nothing, SETTINGS)
{
    static char text[1024], dotenv[800];
    FILE *f = fopen(DOTENV, "r");
    T_REQUIRE(f != NULL);
    dotenv[fread(dotenv, 1, sizeof dotenv - 1, f)] = '\0';
    fclose(f);
    snprintf(text, sizeof text, "\xef\xbb\xbfmemory = 16M # c\r\nl2_path = \"/a \\\"b\\\"\"\n%s"
             "stale=1h30m\nlog = info", dotenv);
    const cellar_settings base = cellar_settings_default();
    uint32_t good = 0;
    for (size_t n = 0; n <= strlen(text); n++) {
        s = base;
        char *copy = malloc(n + (n == 0)); /* a read past the end is found by ASan */
        T_REQUIRE(copy != NULL);
        memcpy(copy, text, n);
        const cellar_err err = read_from("cut", copy, n);
        free(copy);
        T_CHECK(err == CELLAR_OK || err == CELLAR_E_CONFIG);
        good += err == CELLAR_OK;
        if (err != CELLAR_OK) { T_CHECK(memcmp(&s, &base, sizeof s) == 0); }
    }
    T_CHECK(good > 100);
}

T_CASE_ON(nul_is_an_error_and_bom_and_crlf_are_skipped, SETTINGS)
{
    T_EQ_I64(read_from("n", "memory = 2M\nlog\0 = info", 23),
             CELLAR_E_CONFIG);
    T_CHECK(notes[0].line == 2 && notes[0].column == 4);
    T_EQ_I64(read_text("\xef\xbb\xbfmemory = 2M\r\nlog = info\r"), CELLAR_OK);
    T_EQ_U64(s.config.memory_bytes, 2 << 20);
    T_EQ_I64(read_text("\n\xef\xbb\xbfmemory = 3M"), CELLAR_E_CONFIG); /* only at the start */
    T_EQ_I64(read_text(""), CELLAR_OK);
    T_EQ_I64(read_text("\xef\xbb\xbf"), CELLAR_OK);
}

T_CASE_ON(text_over_64_kib_is_an_error, SETTINGS)
{
    static char text[CELLAR_SETTINGS_TEXT_MAX + 2];
    memset(text, '#', sizeof text - 1);
    memcpy(text, "memory = 2M\n", 12);
    T_EQ_I64(read_from("n", text, CELLAR_SETTINGS_TEXT_MAX), CELLAR_OK);
    T_EQ_U64(s.config.memory_bytes, 2 << 20);
    s = cellar_settings_default();
    T_EQ_I64(cellar_settings_read(&s, "n", text, CELLAR_SETTINGS_TEXT_MAX + 1, take, notes),
             CELLAR_E_CONFIG);
    const char *path = file_with(text, sizeof text - 1);
    T_EQ_I64(cellar_settings_read(&s, path, NULL, 0, take, notes), CELLAR_E_CONFIG);
    T_EQ_U64(note_count, 2);
    T_EQ_U64(s.config.memory_bytes, 0);
    T_REQUIRE(truncate(path, CELLAR_SETTINGS_TEXT_MAX) == 0);
    T_EQ_I64(cellar_settings_read(&s, path, NULL, 0, take, notes), CELLAR_OK);
    T_EQ_U64(s.config.memory_bytes, 2 << 20);
}

T_CASE_ON(wrong_arguments_are_refused, SETTINGS)
{
    REFUSALS("settings", INVAL(cellar_settings_read(NULL, "n", "", 0, NULL, NULL)),
             INVAL(cellar_settings_read(&s, NULL, "", 0, NULL, NULL)),
             INVAL(cellar_settings_read(&s, "n", NULL, 1, NULL, NULL)),
             INVAL(cellar_settings_read(&s, NULL, NULL, 1, NULL, NULL)),
             INVAL(cellar_settings_read(NULL, "/dev/null", NULL, 0, NULL, NULL)),
             INVAL(cellar_settings_read(NULL, NULL, NULL, 0, NULL, NULL)));
    for (size_t size = 0; size <= sizeof s + 16; size++) {
        s.struct_size = size;
        T_EQ_I64(cellar_settings_read(&s, "n", "", 0, NULL, NULL),
                 size == 0 ? CELLAR_E_INVAL : size == sizeof s ? CELLAR_OK : CELLAR_E_ABI);
    }
}

T_ONE_THREAD;
T_MAIN("api_settings")
