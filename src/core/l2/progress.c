/* SPDX-License-Identifier: MIT
 *
 * progress: which thread is the worker, and whether the worker makes progress.
 *
 * PICTURE    working: a role (sync.h); the thread that holds it is the worker
 *            beat: set before each call to the disk; 20 ms old: quiet, 100 ms: stalled, 500 ms:
 *            frozen; 0: the worker is idle
 *            wake: raised to wake the worker's thread
 * INVARIANTS A thread waits for `working` only without locks, because its holder does I/O.
 * LOCKING    The holder of `working` stores `beat`; all threads read it relaxed.
 * LIMITS     A read that has only just begun proves nothing: callers' reads count as stuck after
 *            two looks without an end.
 * SEE ALSO   worker.c: the rounds of the worker; stall.c: what callers do meanwhile. */
#include "l2/progress.h"

#define L2_QUIET_NS UINT64_C(20000000)
#define L2_STALLED_NS UINT64_C(100000000)
#define L2_FROZEN_NS UINT64_C(500000000)
#define L2_ROOM_WAIT_NS UINT64_C(5000000)
#define L2_GIVEN_UP_NS UINT64_C(1000000000)
#define L2_LOOK_NS UINT64_C(1000000)   /* between two looks at a disk that stands still */
#define L2_AGAIN_NS UINT64_C(250000000) /* before a read that failed on a disk that answers */

/* ---- the role ---- */

CELLAR_PRIVATE bool l2_worker_try(l2 *d)
{
    if (!sync_role_try(&d->working)) { return false; }
    base_store_rlx(&d->beat, base_now_ns());
    return true;
}

CELLAR_PRIVATE void l2_worker_take(l2 *d)
{
    sync_role_take(&d->working);
    base_store_rlx(&d->beat, base_now_ns());
}

CELLAR_PRIVATE void l2_worker_drop(l2 *d)
{
    base_store_rlx(&d->beat, (uint64_t)0);
    sync_role_drop(&d->working);
}

CELLAR_PRIVATE void l2_worker_wake(l2 *d)
{
    if (!d->threaded) { return; }
    (void)base_add_ar(&d->wake, 1u);
    sync_wake(&d->wake, 1);
}

CELLAR_PRIVATE void l2_room_made(l2 *d)
{
    (void)base_add_ar(&d->room, 1u); /* acquire by callers before they look for room */
    sync_wake(&d->room, INT32_MAX);
}

CELLAR_PRIVATE uint32_t l2_room_seen(const l2 *d) { return base_load_acq(&d->room); }

CELLAR_PRIVATE void l2_room_wait(l2 *d, uint32_t seen)
{
    if (!d->threaded && d->round(d, 1000)) { return; }
    l2_worker_wake(d);
    (void)sync_wait(&d->room, seen, base_now_ns() + L2_ROOM_WAIT_NS);
}

CELLAR_PRIVATE void l2_arm_wish(l2 *d)
{
    if (base_load_rlx(&d->arm_wanted) != 0) { return; }
    base_store_rel(&d->arm_wanted, (uint32_t)L2_ARM_MORE);
    l2_worker_wake(d);
}

/* ---- progress ---- */

/* Return how long ago a time was; 0: there is none. */
static uint64_t l2_ns_since(uint64_t then)
{
    const uint64_t now = then != 0 ? base_now_ns() : 0;
    return now > then ? now - then : 0;
}

static bool l2_silent_for(const l2 *d, uint64_t ns)
{
    return l2_ns_since(base_load_rlx(&d->beat)) > ns;
}

CELLAR_PRIVATE bool l2_quiet(const l2 *d) { return l2_silent_for(d, L2_QUIET_NS); }
CELLAR_PRIVATE bool l2_stalled(const l2 *d)
{
    /* The leader of a commit is a caller, not the worker. */
    return l2_ns_since(base_load_rlx(&d->commit_ns)) > L2_STALLED_NS ||
           l2_silent_for(d, L2_STALLED_NS);
}

CELLAR_PRIVATE bool l2_standing(const l2 *d)
{
    return base_load_rlx(&d->reads_stuck) != 0 || l2_stalled(d);
}

CELLAR_PRIVATE bool l2_frozen(const l2 *d) { return l2_silent_for(d, L2_FROZEN_NS); }

CELLAR_PRIVATE bool l2_stands(const l2 *d, uint64_t since_ns)
{
    const uint64_t last = BASE_MAX(base_load_rlx(&d->advanced), since_ns);
    const uint64_t now = base_now_ns();
    return now > last && now - last > L2_FROZEN_NS;
}

CELLAR_PRIVATE void l2_beat(l2 *d)
{
    if (base_load_rlx(&d->beat) != 0) { base_store_rlx(&d->beat, base_now_ns()); }
}

BASE_SIZE_BEGIN

/* Detect reads of callers that do not return; no further read is sent then. A read that has only
 * just begun proves nothing, even if none ended before it. */
CELLAR_PRIVATE void l2_reads_look(l2 *d)
{
    const uint64_t now = base_now_ns();
    if (now - d->reads_ns < L2_STALLED_NS) { return; }
    d->reads_ns = now;
    const uint64_t done = base_load_acq(&d->reads_done) + base_load_acq(&d->mapped.done);
    const uint64_t begun = base_load_acq(&d->reads_begun) + base_load_acq(&d->mapped.begun);
    if (!d->reads_out || done != d->reads_seen) {
        base_store_rlx(&d->reads_stuck, (uint64_t)0);
    } else if (base_load_rlx(&d->reads_stuck) == 0) {
        base_store_rlx(&d->reads_stuck, now - L2_STALLED_NS);
    }
    d->reads_seen = done;
    d->reads_out = begun != done;
}

CELLAR_PRIVATE bool l2_answers_by(l2 *d, uint64_t until_ns)
{
    do {
        const uint64_t now = base_now_ns();
        const uint64_t commit = l2_ns_since(base_load_rlx(&d->commit_ns));
        const uint64_t read = l2_ns_since(base_load_rlx(&d->reads_stuck));
        const uint64_t silent = BASE_MAX(BASE_MAX(commit, read),
                                         l2_ns_since(base_load_rlx(&d->beat)));
        if (now >= until_ns || silent > L2_GIVEN_UP_NS) { return false; }
        if (!d->threaded && l2_worker_try(d)) { /* no other thread notes that reads end */
            l2_reads_look(d);
            l2_worker_drop(d);
        }
        base_sleep_ns(BASE_MIN(until_ns - now, l2_standing(d) ? L2_LOOK_NS : L2_AGAIN_NS));
    } while (l2_standing(d));
    return true;
}

BASE_SIZE_END
