/* SPDX-License-Identifier: MIT
 *
 * limit_and_lock: each user may export 3 times an hour; exports of all users run one at a time. The
 * table that they write refuses an export that slept past its hold: its fence is an old one. By
 * default fences start from the wall clock; if it is set back across a restart, the table refuses
 * all exports until it has caught up. So they start here from the newest fence that the table has.
 *
 *     cc -O2 limit_and_lock.c -lcellar -pthread
 *     drop-in: cc -O2 limit_and_lock.c dist/cellar.c -Idist -Idist/include -pthread */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cellar_limit.h"
#include "cellar_lock.h"

static cellar_limiter *exports;
static cellar_locks *locks;
static uint64_t newest_fence = 7; /* a column of the table, compared in the same transaction */

static void die(const char *what)
{
    cellar_error_info e = cellar_error_info_default();
    cellar_last_error(NULL, &e); /* of the open that failed */
    fprintf(stderr, "%s: %s\n", what, e.text);
    exit(1);
}

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
    const cellar_err limit = cellar_limiter_check(exports, user, strlen(user), 1, &r);
    const bool denied = limit == CELLAR_LIMITED;
    *wait_s = denied ? (int)((r.retry_after_ns + CELLAR_SECOND_NS - 1) / CELLAR_SECOND_NS) : 0;
    if (limit != CELLAR_OK) { return denied ? 429 : 500; } /* 500: no decision */
    o.wait_timeout_ms = 5000; /* in a fair queue */
    o.hold_ms = 60000;        /* if this thread never comes back, the next owner begins then */
    if (cellar_lock_acquire(locks, "export", 6, &o, &lk) != CELLAR_OK) {
        cellar_limiter_adjust(exports, user, strlen(user), -1); /* give the unit back */
        return 503;
    }
    const bool written = table_write(lk.fence);
    if (cellar_lock_release(locks, &lk) != CELLAR_OK) { fputs("longer than hold_ms\n", stderr); }
    return written ? 200 : 409;
}

int main(void)
{
    const cellar_rule rule = cellar_rule_sliding_log(3, CELLAR_HOUR_NS);
    static const char *const users[] = { "ada", "ada", "ada", "ada", "grace" };
    cellar_locks_config cfg = cellar_locks_config_default();
    int wait_s;
    cfg.fence_start = newest_fence; /* of the table: see above */
    if (cellar_limiter_open(NULL, &rule, 1, &exports) != CELLAR_OK) { die("limiter"); }
    if (cellar_locks_open(&cfg, &locks) != CELLAR_OK) { die("locks"); }
    for (int i = 0; i < 5; i++) {
        printf("%s: %d\n", users[i], export_table(users[i], &wait_s));
        if (wait_s > 3000) { puts("Retry-After: most of an hour"); }
    }
    printf("a write with an old fence: %s\n", table_write(newest_fence - 1) ? "done" : "refused");
    cellar_limiter_close(exports);
    cellar_locks_close(locks);
    return 0;
}
