/* SPDX-License-Identifier: MIT
 *
 * bench_lines: a suite of the bench run in this process, and the lines it made. For tests that
 * include the suite and the harness. */
#ifndef CELLAR_TESTS_BENCH_LINES_H
#define CELLAR_TESTS_BENCH_LINES_H

#include <stdio.h>
#include <string.h>

#include "bench/harness/host.h"
#include "bench/harness/json.h"
#include "bench/suites/suite.h"
#include "tests/support/t.h"

static char test_dir[400], test_lines[440];

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
