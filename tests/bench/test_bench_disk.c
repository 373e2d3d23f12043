/* SPDX-License-Identifier: MIT
 *
 * Aim:    A store on disk that hangs or crashes ends its own rows of suite l2, once, and the bench
 *         continues.
 * Method: The suite is compiled into this program. Its stores are scripts that only count and keep
 *         nothing on disk. */
#define BENCH_HAVE_CELLAR 1
#define BENCH_HAVE_ROCKSDB 1
#define BENCH_HAVE_LMDB 1
#define BENCH_HAVE_F2 1
#include "bench/suites/l2.c"
#include "bench/suites/l2_long.c"

#include "bench/harness/trace.c"
#include "bench/harness/verify.c"
#include "bench/replay/ideal.c"
#include "bench/replay/trace.c"
#include "src/cli/error.c"
#include "tests/support/bench_lines.h"
#include "tests/support/t.h"

double cell_quantile(double *values, uint32_t count, double q)
{
    (void)q;
    return count > 0 ? values[0] : NAN;
}
void freeze_disk(uint64_t ms) { (void)ms; }

/* ---- Scripted stores ------------------------------------------------------------------------ */

static const char *script_hangs = "", *script_crashes = ""; /* names; empty: none */

static void *script_open(const disk_cfg *cfg)
{
    static disk_cfg kept;
    char below[300];
    kept = *cfg;
    snprintf(below, sizeof below, "%s/below", cfg->dir); /* a store may have folders */
    (void)mkdir(below, 0700);
    return &kept;
}
static void script_close(void *store) { (void)store; }
static bool script_put(const char *name)
{
    while (strcmp(script_hangs, name) == 0) {
        pause();
    }
    if (strcmp(script_crashes, name) == 0) {
        raise(SIGKILL); /* not SIGSEGV: a sanitizer would turn it into an exit status */
    }
    return true;
}
static int script_get(void *store, const void *key, size_t key_len, void *buf, size_t cap,
                      size_t *len)
{
    (void)store, (void)key, (void)key_len, (void)buf, (void)cap, (void)len;
    return 0;
}
static bool script_settle(void *store) { return store != NULL; }
#define SCRIPT(id, get_or_null)                                                             \
    static bool script_put_##id(void *store, const void *key, size_t key_len, const void *value, \
                                size_t value_len)                                          \
    {                                                                                      \
        (void)store, (void)key, (void)key_len, (void)value, (void)value_len;               \
        return script_put(#id);                                                            \
    }                                                                                      \
    const disk_subject disk_##id = { .name = #id, .version = "1", .open = script_open,     \
                                     .close = script_close, .put = script_put_##id,        \
                                     .get = get_or_null, .settle = script_settle }
SCRIPT(cellar, script_get);
SCRIPT(sequential, NULL);
SCRIPT(rocksdb, script_get);
SCRIPT(rocksblob, script_get);
SCRIPT(lmdb, script_get);
SCRIPT(f2, script_get);
void disk_cellar_figures(void *store, disk_figures *out)
{
    (void)store;
    memset(out, 0, sizeof *out);
}
uint64_t disk_cellar_live(const char *dir)
{
    (void)dir;
    return 1;
}

/* ---- Running it ------------------------------------------------------------------------------ */

static int test_suite(const char *parts)
{
    const cell_options o = { .scratch = test_dir, .quick = true, .window_ms = 5 };
    setenv("BENCH_L2", parts, 1);
    return test_run(&suite_l2, &o);
}

T_CASE(folder_is_made) { test_folder("disk"); }

T_ALONE(healthy_stores_have_all_rows)
{
    script_hangs = script_crashes = "";
    T_EQ_I64(test_suite("put"), CELL_OK);
    T_EQ_U64(test_count("\"subject\":\"lmdb\"", "\"metric\":\"l2_put_p999\""), 3);
    T_EQ_U64(test_count("\"vs\":\"sequential\"", "\"metric\":\"l2_put\""), 3);
    T_EQ_U64(test_count("\"hang\"", "") + test_count("\"crash\"", ""), 0);
}

T_ALONE(crashed_or_hung_peer_is_one_row_and_others_are_measured)
{
    script_hangs = "lmdb";
    script_crashes = "rocksblob";
    T_EQ_I64(test_suite("put"), CELL_WRONG);
    T_EQ_U64(test_count("\"subject\":\"lmdb\"", "\"hang\":\"no answer within 3000 ms\""), 1);
    T_EQ_U64(test_count("\"subject\":\"rocksblob\"", "\"crash\":\"signal 9"), 1);
    T_EQ_U64(test_count("\"subject\":\"lmdb\"", ""), 1);
    T_EQ_U64(test_count("\"subject\":\"rocksblob\"", ""), 1);
    T_EQ_U64(test_count("\"subject\":\"rocksdb\"", "\"metric\":\"l2_put\""), 3);
    T_EQ_U64(test_count("\"subject\":\"cellar\"", "\"vs\":\"rocksdb\""), 15);
    T_EQ_U64(test_count("\"subject\":\"cellar\"", "\"vs\":\"lmdb\""), 0);
}

/* Cellar is in every row: if it hangs, the suite ends and names no other store. */
T_ALONE(hang_of_cellar_ends_the_suite)
{
    script_hangs = "cellar";
    script_crashes = "";
    T_EQ_I64(test_suite("put get"), CELL_WRONG);
    T_EQ_U64(test_count("\"subject\":\"cellar\"", "\"hang\":"), 1);
    T_EQ_U64(test_count("\"metric\"", ""), 0);
    script_hangs = "";
    script_crashes = "cellar";
    T_EQ_I64(test_suite("put"), CELL_WRONG); /* a crash costs no time: the other parts run */
    T_EQ_U64(test_count("\"subject\":\"cellar\"", "\"crash\":"), 3);
}

T_ALONE(every_store_that_can_be_read_is_reopened)
{
    script_hangs = script_crashes = "";
    T_EQ_I64(test_suite("restart"), CELL_OK);
    T_EQ_U64(test_count("\"workload\":\"restart256\"", "\"metric\":\"l2_reopen_ms\""), 9);
    T_EQ_U64(test_count("\"subject\":\"cellar\"", "\"vs\":\"lmdb\""), 1);
    T_EQ_U64(test_count("\"subject\":\"lmdb\",\"version\":\"1\"", ""), 1);
    T_EQ_U64(test_count("\"subject\":\"sequential\"", ""), 0);
}

T_CASE(unknown_part_of_suite_is_refused)
{
    T_EQ_I64(test_suite("put gett"), CELL_USAGE);
    T_EQ_I64(test_suite("ge"), CELL_USAGE);
    T_EQ_U64(test_count("", ""), 0);
}

T_CASE(folder_is_empty_again) { test_folder_end(); }

T_MAIN("bench_disk")
