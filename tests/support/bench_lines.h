/* SPDX-License-Identifier: MIT
 *
 * bench_lines: a suite of the bench run in this process, in a folder of its own, and the lines it
 * made. For tests that include the suite: the harness is here, without its windows. */
#ifndef CELLAR_TESTS_BENCH_LINES_H
#define CELLAR_TESTS_BENCH_LINES_H

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/harness/c2c.c"
#include "bench/harness/driver.c"
#include "bench/harness/hist.c"
#include "bench/harness/host.c"
#include "bench/harness/json.c"
#include "bench/harness/rss.c"
#include "bench/suites/suite.h"
#include "tests/support/t.h"

static char test_dir[400], test_lines[440];

void window_percentiles(const hist *h, double ns_per_unit, window_result *r)
{
    (void)h, (void)ns_per_unit, (void)r;
}
void window_judge_noise(const host_steal *since, const window_job *job, window_result *r)
{
    (void)since, (void)job, (void)r;
}

/* Make the folder of a program; the lines lie beside it. */
T_INLINE void test_folder(const char *name)
{
    const char *dir = getenv("TMPDIR");
    snprintf(test_dir, sizeof test_dir, "%s/cellar-bench-%s-%d", dir != NULL ? dir : "/tmp", name,
             (int)getpid());
    snprintf(test_lines, sizeof test_lines, "%s.jsonl", test_dir);
    T_EQ_I64(mkdir(test_dir, 0700), 0);
}

T_INLINE void test_folder_end(void)
{
    remove(test_lines);
    T_EQ_I64(rmdir(test_dir), 0);
}

/* Write its lines to a new test_lines. A subject without an answer for 3 s hangs. */
T_INLINE int test_run(const bench_suite *suite, const cell_options *o)
{
    remove(test_lines);
    T_REQUIRE(json_open(test_lines));
    host_patience(3000);
    const int status = suite->run(o);
    host_patience(300000);
    json_close();
    return status;
}

/* How many lines hold both texts. */
T_INLINE uint32_t test_count(const char *a, const char *b)
{
    char line[4096];
    uint32_t n = 0;
    FILE *f = fopen(test_lines, "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        n += strstr(line, a) != NULL && strstr(line, b) != NULL;
    }
    if (f != NULL) {
        fclose(f);
    }
    return n;
}

#endif
