/* SPDX-License-Identifier: MIT
 *
 * Aim:    A limiter in a process of its own that crashes, hangs or denies a check ends its own rows
 *         of suite limit, once. Cellar and the other limiters keep their rows.
 * Method: The suite is compiled into this program; governor is a script that answers
 *         the protocol without a limiter. */
#include "tests/support/t.h"

#define BENCH_HAVE_CELLAR 1
#define LIMIT_BENCH_PART (T_COST > 1 ? 16u : 1u)
#include "bench/suites/limit.c"

#include "tests/support/bench_lines.h"

static uint32_t test_rows_ours, test_rows_governor, test_bytes;

void suite_say(const char *bench, const char *subject, const char *name, const char *metric,
               double *values, uint32_t count, const char *clock, const char *note)
{
    (void)bench, (void)subject, (void)name, (void)clock, (void)note;
    test_bytes += strcmp(metric, "limit_key_bytes") == 0 && count == 1 && values[0] > 8;
}

void suite_say_rate(const suite_rate *r)
{
    test_rows_ours += strcmp(r->subject, "cellar") == 0 && strcmp(r->vs, "uthash") == 0;
    test_rows_governor += strcmp(r->subject, "governor") == 0;
}

/* A peer that answers its first `windows` windows and then does `then`. */
static void test_script(const char *name, uint32_t windows, const char *then)
{
    char path[480];
    snprintf(path, sizeof path, "%s/%s", test_dir, name);
    FILE *f = fopen(path, "w");
    T_REQUIRE(f != NULL);
    fprintf(f, "#!/bin/sh\nn=0\nwhile read -r w rest; do case $w in\n"
               "hello) echo '{\"peer\":\"%s\",\"version\":\"9\"}' ;;\n"
               "open) echo '{\"entries\":100000}' ;;\n"
               "window) n=$((n + 1)); [ $n -le %u ] || { %s; }\n"
               "  echo '{\"ops\":4096,\"bad\":0,\"wall_ns\":1000000,\"cpu_ns\":1000000}' ;;\n"
               "quit) exit 0 ;;\nesac; done\n", name, windows, then);
    fclose(f);
    T_EQ_I64(chmod(path, 0700), 0);
}

/* Shapes: one key or many, one thread or all cores up to two; each with both clocks. */
static uint32_t test_shapes(void) { return host_cpu_count() > 1 ? 4 : 2; }

/* Run the suite; a fault of governor is one line and leaves it `rows`. */
static void test_suite(const char *fault, uint32_t rows)
{
    const cell_options o = { .scratch = test_dir, .quick = true, .rounds = 3, .window_ms = 2 };
    test_rows_ours = test_rows_governor = test_bytes = 0;
    driver_folder(test_dir);
    T_EQ_I64(test_run(&suite_limit, &o), fault != NULL ? CELL_WRONG : CELL_OK);
    T_EQ_U64(test_rows_ours, 2 * 2 * test_shapes()); /* check and check_at */
    T_EQ_U64(test_rows_governor, rows);
    T_EQ_U64(test_bytes, 2);
    T_EQ_U64(test_count("", ""), fault != NULL);
    T_EQ_U64(test_count("\"subject\":\"governor\"", fault != NULL ? fault : ""), fault != NULL);
}

T_CASE(folder_is_made) { test_folder("limit"); }

T_CASE(healthy_limiters_have_all_rows)
{
    test_script("governor", 1000, "exit 1");
    test_suite(NULL, 2 * test_shapes());
}

T_CASE(crashed_limiter_ends_its_own_rows)
{
    test_script("governor", 4, "exit 3"); /* in the second shape */
    test_suite("\"workload\":\"limit_hot\",\"crash\":\"ended with exit status 3\"", 2);
}

T_CASE(denying_limiter_ends_its_own_rows)
{
    test_script("governor", 1,
                "echo '{\"ops\":4096,\"bad\":1,\"wall_ns\":9,\"cpu_ns\":9}'; continue");
    test_suite("\"workload\":\"limit100k_16\",\"crash\":\"a check was denied", 0);
}

T_CASE(hung_limiter_ends_its_own_rows)
{
    test_script("governor", 1, "exec sleep 60");
    test_suite("\"hang\":\"no answer within 3002 ms\"", 0);
}

T_CASE(folder_is_empty_again)
{
    char path[480];
    snprintf(path, sizeof path, "%s/governor", test_dir);
    remove(path);
    test_folder_end();
}

T_MAIN("bench_limit")
