/* SPDX-License-Identifier: MIT
 *
 * limit_and_lock: each user may export 3 times an hour; exports of all users run one at a time. The
 * table that they write refuses an export that slept past its hold: its fence is an old one.
 *
 *     cc -O2 limit_and_lock.c -lcellar -pthread
 *     drop-in: cc limit_and_lock.c dist/cellar.c -Idist -Idist/include -pthread */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "cellar_limit.h"
#include "cellar_lock.h"

static cellar_limiter *exports;
static cellar_locks *locks;
static uint64_t newest_fence; /* a column of the table, compared in the same transaction */

static bool table_write(uint64_t fence)
{
    if (fence < newest_fence) { return false; }
    newest_fence = fence;
    return true;
}

/* Return the status of HTTP, and for 429 the seconds to wait. */
static int export_table(const char *user, int *wait_s)
{
    cellar_limiter_result r;
    cellar_lock lk;
    cellar_lock_opts o = cellar_lock_opts_default();
    *wait_s = 0;
    const cellar_err limit = cellar_limiter_check(exports, user, strlen(user), 1, &r);
    if (limit == CELLAR_LIMITED) {
        *wait_s = (int)((r.retry_after_ns + CELLAR_SECOND_NS - 1) / CELLAR_SECOND_NS);
        return 429;
    }
    if (limit != CELLAR_OK) { return 500; } /* no decision: no export */
    o.wait_timeout_ms = 5000; /* in a fair queue */
    o.hold_ms = 60000;        /* if this thread never comes back, the next owner begins then */
    if (cellar_lock_acquire(locks, "export", 6, &o, &lk) != CELLAR_OK) {
        cellar_limiter_adjust(exports, user, strlen(user), -1); /* give the unit back */
        return 503;
    }
    const bool written = table_write(lk.fence);
    cellar_lock_release(locks, &lk); /* E_LOST: the hold ended; the table compared the fence */
    return written ? 200 : 409;
}

int main(void)
{
    const cellar_rule rule = cellar_rule_sliding_log(3, 60 * CELLAR_MINUTE_NS);
    static const char grace[] = "0194f1e2-7c3a-7b5d-9e60-1f2a3b4c5d6e"; /* a UUID */
    static const char *const users[] = { "ada", "ada", "ada", "ada", grace };
    int wait_s;
    if (cellar_limiter_open(NULL, &rule, 1, &exports) != CELLAR_OK ||
        cellar_locks_open(NULL, &locks) != CELLAR_OK) { return 1; }
    for (int i = 0; i < 5; i++) {
        printf("%s: %d\n", users[i], export_table(users[i], &wait_s));
        if (wait_s > 3000) { puts("Retry-After: most of an hour"); }
    }
    printf("a write with an old fence: %s\n", table_write(newest_fence - 1) ? "done" : "refused");
    cellar_limiter_close(exports);
    cellar_locks_close(locks);
    return 0;
}
