/* SPDX-License-Identifier: MIT
 *
 * progress: whether the disk answers; wake-ups of the worker, and of callers that wait for room.
 *
 * LOCKING    None: atomic words. A time of a write that begins or ends meanwhile is read as either.
 * SEE ALSO   io.c: times of reads and writes. */
#include "l2/progress.h"

BASE_SIZE_BEGIN

#define L2_ROOM_WAIT_NS UINT64_C(5000000)
#define L2_GIVEN_UP_NS UINT64_C(1000000000)
#define L2_LOOK_NS UINT64_C(1000000)   /* between two looks at a disk that stands still */
#define L2_AGAIN_NS UINT64_C(250000000) /* before a read that failed on a disk that answers */

/* Return how long ago a time was; 0: there is none. */
static uint64_t l2_ns_since(uint64_t then)
{
    const uint64_t now = then != 0 ? base_now_ns() : 0;
    return now > then ? now - then : 0;
}

/* Return for how long a write has not ended, or no read. */
static uint64_t l2_silent(const l2 *d)
{
    const bool reads = base_load_acq(&d->reads_out) != 0;
    return BASE_MAX(l2_ns_since(base_load_rlx(&d->write_ns)),
                    l2_ns_since(reads ? base_load_rlx(&d->read_ns) : 0));
}

CELLAR_PRIVATE bool l2_stalled(const l2 *d)
{
    return l2_ns_since(base_load_rlx(&d->write_ns)) > L2_STALLED_NS;
}

CELLAR_PRIVATE bool l2_stands_still(const l2 *d) { return l2_stalled(d) || l2_is_closed(d); }

CELLAR_PRIVATE bool l2_standing(const l2 *d) { return l2_silent(d) > L2_STALLED_NS; }

CELLAR_PRIVATE bool l2_answers_by(l2 *d, uint64_t until_ns)
{
    do {
        const uint64_t now = base_now_ns();
        if (now >= until_ns || l2_silent(d) > L2_GIVEN_UP_NS) { return false; }
        base_sleep_ns(BASE_MIN(until_ns - now, l2_standing(d) ? L2_LOOK_NS : L2_AGAIN_NS));
    } while (l2_standing(d));
    return true;
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

BASE_SIZE_END
