/* SPDX-License-Identifier: MIT
 *
 * limit_and_lock: limit how often a user may start an expensive job, and run one job at a time.
 *
 * Each user may export a table three times an hour. The limiter counts the exports of a user and
 * denies a fourth one within any hour; the answer says when it is possible. The exports of all
 * users run one after the other: each holds a lock while it runs.
 *
 * A lock has a hold time, so that a thread that hangs does not stop all exports. A thread that was
 * only slow still believes that it has the lock. For that reason each owner gets a fence, a number
 * that is higher than those of all owners before. The table keeps the highest fence that it has
 * seen and refuses a write with a lower one. By default fences start from the clock of the machine.
 * If that clock is set back while the program is stopped, the table refuses all exports for a
 * while. This program starts from the fence of the table instead.
 *
 * In the folder of this project, after `make`:
 *     cc -O2 tests/examples/limit_and_lock.c -Iinclude build/libcellar.a -pthread && ./a.out
 * With the drop-in, after `make dist`:
 *     cc -O2 tests/examples/limit_and_lock.c dist/cellar.c -Idist -Idist/include -pthread
 *     ./a.out
 *
 * Each line of the output is a request and its HTTP status: 200; 429 if the user has to wait; 503
 * if another export takes too long; 409 if this one took too long; 500 if the limiter has no
 * decision, for example without memory. In your program, compare and store the fence in the
 * transaction that writes. Let only users that have logged in reach the limiter, or choose a key
 * that a client cannot change. */
#include <err.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "cellar_limit.h"
#include "cellar_lock.h"

static cellar_limiter *exports;
static cellar_locks *locks;
static uint64_t newest_fence = 7; /* a column of the table */

static bool table_write(uint64_t fence)
{
    if (fence < newest_fence) { return false; }
    newest_fence = fence;
    return true;
}

static int export_locked(const cellar_lock_opts *wait)
{
    cellar_lock lock;
    if (cellar_lock_acquire(locks, "export", 6, wait, &lock) != CELLAR_OK) { return 503; }
    const bool written = table_write(lock.fence);
    if (cellar_lock_release(locks, &lock) != CELLAR_OK) { warnx("an export outlived hold_ms"); }
    return written ? 200 : 409;
}

static int export_table(const char *user, int *wait_s)
{
    cellar_limiter_result limit;
    cellar_lock_opts wait = cellar_lock_opts_default();
    wait.wait_timeout_ms = 5 * 1000; /* the threads wait in a fair queue */
    wait.hold_ms = 60 * 1000;        /* longer than the longest export */
    const cellar_err err = cellar_limiter_check(exports, user, strlen(user), 1, &limit);
    if (err == CELLAR_LIMITED) {
        *wait_s = (int)(limit.retry_after_ns / CELLAR_SECOND_NS) + 1;
        return 429;
    }
    if (err != CELLAR_OK) { warnx("no decision for a user: %s", cellar_strerror(err)); }
    const int status = err == CELLAR_OK ? export_locked(&wait) : 500;
    if (status == 503) { cellar_limiter_adjust(exports, user, strlen(user), -1); } /* not counted */
    return status;
}

int main(void)
{
    static const char *const users[] = { "ada", "ada", "ada", "ada", "grace" };
    const cellar_rule three_an_hour = cellar_rule_sliding_log(3, CELLAR_HOUR_NS);
    cellar_locks_config cfg = cellar_locks_config_default();
    cellar_error_info why = cellar_error_info_default();
    int wait_s = 0;
    cfg.fence_start = newest_fence;
    if (cellar_limiter_open(NULL, &three_an_hour, 1, &exports) != CELLAR_OK ||
        cellar_locks_open(&cfg, &locks) != CELLAR_OK) {
        cellar_last_error(NULL, &why);
        errx(1, "%s", why.text);
    }
    for (int i = 0; i < 5; i++) { printf("%s: %d\n", users[i], export_table(users[i], &wait_s)); }
    if (wait_s > 3000) { puts("Retry-After: most of an hour"); }
    printf("a write with an old fence: %s\n", table_write(newest_fence - 1) ? "done" : "refused");
    cellar_limiter_close(exports);
    cellar_locks_close(locks);
    return 0;
}
