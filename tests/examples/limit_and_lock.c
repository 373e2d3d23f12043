/* SPDX-License-Identifier: MIT
 *
 * limit_and_lock: a service that serves each user ten times a minute, and never runs two imports
 * at the same time.
 *
 *     cc -O2 limit_and_lock.c -lcellar -pthread
 *     drop-in: cc limit_and_lock.c dist/cellar.c -Idist -Idist/include -pthread */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "cellar.h"
#include "cellar_limit.h"
#include "cellar_lock.h"

/* ---- a database that protects itself by the fence ---- */

static _Atomic uint64_t newest_fence;
static _Atomic int inside, most_inside, imports;

/* Refuse writers without the newest fence, such as one that slept past its hold. */
static int store_write(uint64_t fence)
{
    uint64_t seen = atomic_load(&newest_fence);
    do {
        if (fence < seen) { return -1; }
    } while (!atomic_compare_exchange_weak(&newest_fence, &seen, fence));
    return 0;
}

/* ---- what an application writes ---- */

/* HTTP-like: 200, or 429 with the seconds to wait. */
static int ask(cellar_limiter *per_user, const char *user, unsigned *wait_s)
{
    cellar_limiter_result r;
    switch (cellar_limiter_check(per_user, user, strlen(user), 1, &r)) {
    case CELLAR_OK: return 200;
    case CELLAR_LIMITED:
        *wait_s = (unsigned)((r.retry_after_ns + CELLAR_SECOND_NS - 1) / CELLAR_SECOND_NS);
        return 429;
    default: return 400; /* an empty or overlong name */
    }
}

/* The work under the lock. Return false if a later owner has written already. */
static bool import(const cellar_lock *lk)
{
    const int n = atomic_fetch_add(&inside, 1) + 1;
    if (n > atomic_load(&most_inside)) { atomic_store(&most_inside, n); }
    const int written = store_write(lk->fence);
    atomic_fetch_add(&imports, written == 0);
    atomic_fetch_sub(&inside, 1);
    return written == 0;
}

static void *worker(void *locks)
{
    cellar_lock_opts o = cellar_lock_opts_default(); /* waits 30 s, owns for 30 s */
    o.note = "nightly import";
    for (int i = 0; i < 50; i++) {
        cellar_lock lk;
        if (cellar_lock_acquire(locks, "import", 6, &o, &lk) != CELLAR_OK) { return locks; }
        const bool written = import(&lk);
        if (cellar_lock_release(locks, &lk) != CELLAR_OK || !written) { return locks; }
    }
    return NULL;
}

/* ---- the example checks itself ---- */

static int passed, failed;

static void check(int ok, const char *what)
{
    printf("%s - %s\n", ok ? "ok" : "not ok", what);
    *(ok ? &passed : &failed) += 1;
}

static void users_are_limited(void)
{
    cellar_limiter *per_user;
    const cellar_rule rule = cellar_rule_sliding_log(10, CELLAR_MINUTE_NS);
    if (cellar_limiter_open(NULL, &rule, 1, &per_user) != CELLAR_OK) {
        check(0, "the limiter opens");
        return;
    }
    int served = 0;
    unsigned wait_s = 0;
    for (int i = 0; i < 25; i++) { served += ask(per_user, "ada", &wait_s) == 200; }
    check(served == 10, "ten of 25 questions in a minute are answered");
    check(wait_s >= 50 && wait_s <= 60, "the others are told how long to wait");
    check(ask(per_user, "grace", &wait_s) == 200, "another user has a limit of her own");
    check(ask(per_user, "", &wait_s) == 400, "a name that cannot be is an error");
    cellar_limiter_close(per_user);
}

static void imports_run_one_at_a_time(void)
{
    cellar_locks *locks;
    pthread_t t[4];
    if (cellar_locks_open(NULL, &locks) != CELLAR_OK) {
        check(0, "the table opens");
        return;
    }
    int started = 0, trouble = 0;
    while (started < 4 && pthread_create(&t[started], NULL, worker, locks) == 0) { started++; }
    for (int i = 0; i < started; i++) {
        void *result = NULL;
        pthread_join(t[i], &result);
        trouble += result != NULL;
    }
    check(started == 4 && trouble == 0, "four threads import");
    check(atomic_load(&most_inside) == 1, "never two at once");
    check(atomic_load(&imports) == 200, "and each import is written");
    cellar_lock lk, second;
    cellar_lock_opts o = cellar_lock_opts_default();
    o.flags = CELLAR_LOCK_NO_WAIT;
    check(cellar_lock_acquire(locks, "import", 6, &o, &lk) == CELLAR_OK, "the lock is free again");
    check(cellar_lock_acquire(locks, "import", 6, &o, &second) == CELLAR_E_BUSY,
          "and has one owner");
    check(cellar_lock_release(locks, &second) == CELLAR_E_NOT_OWNER, "a wrong handle is rejected");
    check(cellar_lock_release(locks, &lk) == CELLAR_OK, "the owner releases it");
    cellar_locks_close(locks);
}

int main(void)
{
    users_are_limited();
    imports_run_one_at_a_time();
    printf("limit_and_lock: %d passed, %d failed, 0 skipped\n", passed, failed);
    return failed != 0;
}
