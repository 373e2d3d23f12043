/* SPDX-License-Identifier: MIT
 *
 * journal_kit: a pool with a journal in a folder of the test, on two clocks that are variables.
 * A crash is a copy of the files at that moment, opened by the next pool. */
#ifndef SUPPORT_JOURNAL_KIT_H
#define SUPPORT_JOURNAL_KIT_H

#include <fcntl.h>

#include "cellar_task.h"
#include "tests/support/file_limit.h"
#include "tests/support/folder.h"
#include "tests/support/t.h"
#include "tests/support/task_calls.h"
#include "tests/support/two_clocks.h"

#ifdef CELLAR_WITH_SQLITE
#include <sqlite3.h>
#define HAS_SQLITE 1
#else
#define HAS_SQLITE 0
#endif

static cellar_pool *p;
static cellar_pool_config config;
static cellar_host_config host;
static char folder[T_FOLDER_MAX], path[T_FOLDER_MAX + 8];
static char said[4096];

static inline void hear(cellar_log_level level, const char *module, cellar_err code,
                        const char *text, void *ctx)
{
    (void)level, (void)module, (void)code, (void)ctx;
    const size_t n = strlen(said);
    snprintf(said + n, sizeof said - n, "%s\n", text);
}

static inline void set_path(void) { snprintf(path, sizeof path, "%s/tasks", folder); }

static inline void begin(void)
{
    host = cellar_host_config_default();
    config = cellar_pool_config_default();
    host.clock = read_mono;
    host.no_threads = 1;
    host.log = hear;
    said[0] = '\0';
    config.host = &host;
    config.close_timeout_ms = 1; /* of the clock of the system */
    config.grace_ms = 1;
    config.wall_clock = read_wall;
    config.journal_path = path;
    config.restore_rate = 1000000;
    mono_ms = 1000000;
    wall_ms = INT64_C(1700000000000);
    t_folder(folder);
    set_path();
}

static inline cellar_pool_stats figures(void)
{
    cellar_pool_stats st = cellar_pool_stats_default();
    T_EQ_I64(cellar_pool_stats_get(p, NULL, &st), CELLAR_OK);
    T_EQ_U64(st.submitted + st.requeued + st.restored,
             st.ok + st.failed + st.cancelled + st.expired + st.live);
    return st;
}

static inline void open_it(void) { T_REQUIRE(cellar_pool_open(&config, &p) == CELLAR_OK); }

static inline void close_it(void)
{
    (void)figures();
    T_EQ_I64(cellar_pool_close(p), CELLAR_OK);
    p = NULL;
}

static inline void end(void)
{
    if (p != NULL) { close_it(); }
    t_wipe(folder);
}

static inline void copy_file(const char *from, const char *to)
{
    char buf[4096];
    const int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (in < 0) {
        T_REQUIRE(errno == ENOENT && close(out) == 0 && unlink(to) == 0);
        return;
    }
    for (ssize_t n; (n = read(in, buf, sizeof buf)) > 0;) { T_REQUIRE(write(out, buf, (size_t)n) == n); }
    T_REQUIRE(close(in) == 0 && close(out) == 0);
}

static char next_folder[T_FOLDER_MAX];

/* Copy the files of the journal, as the end of the process leaves them. */
static inline void crash_copy(void)
{
    static const char *const suffix[] = { "", "-wal", "-run" };
    char from[2 * T_FOLDER_MAX], to[2 * T_FOLDER_MAX];
    t_folder(next_folder);
    for (size_t i = 0; i < sizeof suffix / sizeof *suffix; i++) {
        snprintf(from, sizeof from, "%s%s", path, suffix[i]);
        snprintf(to, sizeof to, "%s/tasks%s", next_folder, suffix[i]);
        copy_file(from, to);
    }
}

/* Go on with the copy. */
static inline void after_crash(void)
{
    T_EQ_I64(cellar_pool_close(p), CELLAR_OK);
    t_wipe(folder);
    memcpy(folder, next_folder, sizeof folder);
    set_path();
    open_it();
}

static inline void crash(void) { crash_copy(); after_crash(); }

static inline int64_t tick(void)
{
    int64_t wait_ms;
    /* A budget that is not spent: no commit comes between two tasks. */
    while (cellar_tick(p, 60000000, &wait_ms) == CELLAR_PENDING) { }
    return wait_ms;
}

static inline int64_t pass(int64_t ms)
{
    mono_ms += ms;
    wall_ms += ms;
    return tick();
}

/* What ran: payloads of one byte, in order. */
static char ran[4096];
static size_t ran_count;
static cellar_verdict answer;
static cellar_task_id last_id, looks_at;
static uint32_t last_attempt;
static int looked;
static bool copies;

static inline int state_of(cellar_task_id id)
{
    cellar_task_status st = cellar_task_status_default();
    const cellar_err err = task_status(p, id, &st);
    return err == CELLAR_OK ? (int)st.state : (int)err;
}

static inline cellar_verdict note(const cellar_task *t, void *ctx)
{
    (void)ctx;
    if (ran_count + 1 < sizeof ran) {
        ran[ran_count] = t->payload_len != 0 ? *(const char *)t->payload : '-';
    }
    ran[++ran_count] = '\0';
    last_id = t->id;
    last_attempt = t->attempt;
    if (looks_at.hi != 0) { looked = state_of(looks_at); }
    if (copies) { crash_copy(); }
    copies = false;
    return answer;
}

static inline cellar_verdict joins(const cellar_task *t, void *ctx)
{
    cellar_bytes b;
    (void)ctx;
    ran_count = 0;
    for (uint32_t i = 0; i < t->input_count; i++) {
        const cellar_err err = cellar_task_input(t, i, &b);
        ran[ran_count++] = err == CELLAR_OK ? *(const char *)b.data : '-';
    }
    ran[ran_count] = '\0';
    return cellar_verdict_ok();
}

static inline cellar_verdict gives(const cellar_task *t, void *ctx)
{
    (void)ctx;
    T_EQ_I64(cellar_task_result_set(t, t->payload, t->payload_len), CELLAR_OK);
    return answer;
}

static inline void clear(void)
{
    ran[0] = '\0';
    ran_count = 0;
    looks_at = (cellar_task_id){ 0, 0 };
    copies = false;
    answer = cellar_verdict_ok();
}

static inline cellar_task_opts no_jitter(uint32_t attempts)
{
    cellar_task_opts o = { .struct_size = sizeof o, .jitter = CELLAR_TASK_JITTER_NONE,
                           .max_attempts = attempts, .base_ms = 1000 };
    return o;
}

static inline void names(void)
{
    const cellar_task_opts o = no_jitter(3);
    T_REQUIRE(cellar_task_register(p, "t", note, NULL, &o) == CELLAR_OK);
    T_REQUIRE(cellar_task_register(p, "join", joins, NULL, NULL) == CELLAR_OK);
    T_REQUIRE(cellar_task_register(p, "give", gives, NULL, NULL) == CELLAR_OK);
}

static inline void start(void)
{
    clear();
    begin();
    open_it();
    names();
}

static inline bool without_sqlite(void)
{
    if (HAS_SQLITE) { return false; }
    T_SKIP("this build has no SQLite");
    return true;
}

/* Go on in the next process, with the names. */
static inline void next_process(void) { after_crash(); names(); }

static inline void crash_and_restart(void) { crash_copy(); next_process(); }

static inline cellar_task_status status_of(cellar_task_id id)
{
    cellar_task_status st = cellar_task_status_default();
    T_EQ_I64(task_status(p, id, &st), CELLAR_OK);
    return st;
}

/* Cases on a pool with a journal and with the names: a build without SQLite skips them. */
#define JOURNAL_FROM(fn, begins)                                          \
    static void fn##_on(void);                                            \
    T_CASE(fn)                                                            \
    {                                                                     \
        if (!without_sqlite()) {                                          \
            begins;                                                       \
            fn##_on();                                                    \
            end();                                                        \
        }                                                                 \
    }                                                                     \
    static void fn##_on(void)
#define JOURNAL(fn) JOURNAL_FROM(fn, start())

static inline cellar_task_id submit(const char *payload, const cellar_submit_opts *o)
{
    cellar_task_id id = { 0, 0 };
    T_EQ_I64(cellar_task_submit(p, "t", payload, strlen(payload), o, &id), CELLAR_OK);
    return id;
}

#ifdef CELLAR_WITH_SQLITE
static inline void sql(const char *text)
{
    sqlite3 *db;
    T_REQUIRE(sqlite3_open(path, &db) == SQLITE_OK);
    T_EQ_I64(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    T_EQ_I64(sqlite3_close(db), SQLITE_OK);
}

static inline int sql_keep(void *out, int n, char **text, char **name)
{
    (void)n, (void)name;
    *(int64_t *)out = strtoll(text[0], NULL, 10);
    return 0;
}

/* Return the number that a query of the closed journal gives. */
static inline int64_t sql_number(const char *query)
{
    sqlite3 *db;
    int64_t n = -1;
    T_REQUIRE(sqlite3_open(path, &db) == SQLITE_OK);
    T_EQ_I64(sqlite3_exec(db, query, sql_keep, &n, NULL), SQLITE_OK);
    T_EQ_I64(sqlite3_close(db), SQLITE_OK);
    return n;
}
#else
static inline void sql(const char *text) { (void)text; }
static inline int64_t sql_number(const char *query) { (void)query; return -1; }
#endif

#endif
