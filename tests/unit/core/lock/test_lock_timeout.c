/* SPDX-License-Identifier: MIT
 *
 * Aim:    a wait for a lock ends at its deadline: never early, and at most 10 ms late, on a clock of
 *         the program too, whatever the rate of that clock.
 * Method: the source of lock.c is part of this program. Its sleeps end when they have to, on a clock
 *         that only they turn: no thread waits, and no load of the machine counts. */
#include "tests/support/lock_audit.h"
#include "tests/support/t.h"

#include "cellar_admin.h"
#include "cellar_lock.h"
#include "lock/record.h"

static uint64_t asleep_ns; /* the clock of the sleeps */
static int64_t rate;       /* ms of the clock of the program for each ms of it */
static uint64_t sleeps;

/* Sleep until the deadline. */
static bool sleep_until(_Atomic uint32_t *word, uint32_t expected, uint64_t deadline_ns)
{
    (void)word, (void)expected;
    T_REQUIRE(deadline_ns >= asleep_ns && deadline_ns != UINT64_MAX);
    asleep_ns = deadline_ns;
    sleeps++;
    return false;
}

#define base_now_ns() asleep_ns
#define sync_wait sleep_until
#include "lock/lock.c"
#undef sync_wait
#undef base_now_ns

static int64_t read_clock(void *ctx)
{
    (void)ctx;
    return 1000000 + (int64_t)(asleep_ns / 1000000) * rate;
}

/* look_ms 0: that of a clock of the program; BASE_NEVER_MS: that of the clock of the system. */
static void timeouts_are_exact(int64_t look_ms, int64_t clock_rate)
{
    cellar_locks *t;
    cellar_lock lk, other;
    cellar_host_config host = { .struct_size = sizeof host, .clock = read_clock };
    cellar_locks_config cfg = { .struct_size = sizeof cfg, .host = &host };
    rate = clock_rate;
    asleep_ns = sleeps = 0;
    T_REQUIRE(cellar_locks_open(&cfg, &t) == CELLAR_OK);
    if (look_ms != 0) { t->look_ms = look_ms; }
    cellar_lock_opts o = { .struct_size = sizeof o, .hold_ms = INT64_C(1000000000) };
    T_EQ_I64(cellar_lock_acquire(t, "k", 1, &o, &lk), CELLAR_OK);
    uint64_t most = 0;
    for (int64_t wait_ms = 1; wait_ms <= 4096; wait_ms += wait_ms < 64 ? 1 : wait_ms) {
        const int64_t start_ms = read_clock(NULL);
        const uint64_t start_ns = asleep_ns;
        o.wait_timeout_ms = wait_ms;
        T_EQ_I64(cellar_lock_acquire(t, "k", 1, &o, &other), CELLAR_E_TIMEOUT);
        const int64_t slept_ms = (int64_t)((asleep_ns - start_ns) / 1000000);
        const int64_t due_ms = (wait_ms + rate - 1) / rate; /* of the sleeps */
        T_CHECK(read_clock(NULL) - start_ms >= wait_ms);
        T_CHECK(slept_ms >= due_ms && slept_ms - due_ms <= 10);
        if (rate == 1) { T_EQ_I64(slept_ms, wait_ms); }
        most += look_ms != 0 ? 1 : 1 + (uint64_t)wait_ms / 10;
    }
    T_CHECK(sleeps <= most);
    T_EQ_I64(cellar_lock_release(t, &lk), CELLAR_OK);
    T_CHECK(lock_audit(t));
    cellar_locks_close(t);
}

T_CASE(lock_timeout_slack)
{
    timeouts_are_exact(BASE_NEVER_MS, 1);
    timeouts_are_exact(0, 1);
    timeouts_are_exact(0, 3);
    timeouts_are_exact(0, 1000);
}

T_MAIN("lock_timeout")
