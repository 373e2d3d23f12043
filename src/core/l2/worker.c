/* SPDX-License-Identifier: MIT
 *
 * worker: the rounds of the store's thread.
 *
 * PICTURE    thread: woken, or every 10 ms while a record waits --> l2_tick --> round: heartbeat,
 *            buffer older than 10 ms written, passes, marker, full segments handed to the device,
 *            sync (PERIODIC)
 * LOCKING    `working` during a round.
 * LIMITS     Without a thread (cfg.no_thread) the host calls l2_tick. */
#include "l2/worker.h"

#include "l2/health.h"
#include "l2/io.h"
#include "l2/log.h"
#include "l2/pass.h"
#include "l2/progress.h"
#include "l2/reopen.h"
#include "l2/resize.h"
#include "l2/resync.h"
#include "l2/super.h"

BASE_SIZE_BEGIN

#define L2_BEAT_MS 1000
#define L2_SEEN_MS 60000
#define L2_OLD_NS UINT64_C(10000000) /* a record waits so long in the buffer */
#define L2_SLEEP_NS UINT64_C(100000000)

/* Check once a second that the file is there. A disk that is off is probed when that is due. */
static bool l2_heartbeat(l2 *d)
{
    l2_health *t = &d->health;
    const int64_t now = base_now_ms(d->cfg.clock);
    if (base_load_rlx(&d->broken) != 0) { return false; }
    if (base_load_acq(&d->disk) != L2_DISK_OK) {
        sync_take(L2_DEV, &t->lock);
        const bool due = now >= t->until_ms;
        if (due) { base_store_rel(&d->disk, (uint32_t)L2_DISK_TRYING); }
        sync_drop(L2_DEV, &t->lock);
        if (!due) { return false; }
        BASE_POINT("l2.probe");
        const int e = l2_super_store(d);
        const uint64_t last = (base_load_acq(&d->written) - 1) / L2_PAGE * L2_PAGE;
        const bool reads = e == 0 && /* one page may be bad */
                           (l2_log_read(d, d->work, L2_PAGE, base_load_acq(&d->head)) == 0 ||
                            l2_log_read(d, d->work, L2_PAGE, last) == 0);
        sync_take(L2_DEV, &t->lock);
        if (!reads) {
            l2_off_now(d, now, BASE_MIN(t->off_ms * 2, d->cfg.off_max_ms));
        } else {
            t->errors = t->damaged = 0;
            base_store_rel(&d->disk, (uint32_t)L2_DISK_OK);
        }
        sync_drop(L2_DEV, &t->lock);
        if (!reads) { return false; }
        base_log(d->cfg.log, BASE_LOG_WARNING, "l2", 0, "the disk works again");
    }
    if (now - d->beat_ms < L2_BEAT_MS) { return true; }
    d->beat_ms = now;
    return l2_files_there(d);
}

/* Return true if SUPER is old, or counts less of the day's budget than was used. */
static bool l2_super_due(const l2 *d, int64_t now)
{
    const bool spent = base_load_rlx(&d->day.window) != d->super.day ||
                       base_load_rlx(&d->day.used) > d->super.bytes_today;
    return now - d->seen_ms >= L2_SEEN_MS || (d->cfg.write_bpd != 0 && spent);
}

/* Hand the segments that are full to the device, not those that fill meanwhile: syncs and passes
 * wait for the return. Return true if a pass is due before. */
static bool l2_hand_over_full(l2 *d)
{
    const uint64_t sealed = base_load_acq(&d->sealed_seq);
    while (base_load_rlx(&d->flushed_seq) < sealed) {
        l2_hand_over(d, base_add_rlx(&d->flushed_seq, (uint64_t)1), NULL);
        if (l2_pass_due(d)) { return true; }
    }
    return false;
}

static bool l2_work(l2 *d, uint64_t budget_us)
{
    const uint64_t end_ns = base_now_ns() + budget_us * 1000;
    bool more = true;
    if (!l2_heartbeat(d)) { return false; }
    (void)l2_resync(d);
    l2_reopen(d);
    while (more) {
        int64_t now = base_now_ms(d->cfg.clock);
        const uint64_t waits = base_load_rlx(&d->dirty_ns), tail = base_load_acq(&d->tail);
        if (waits != 0 && (!d->threaded || base_now_ns() - waits >= L2_OLD_NS)) {
            (void)l2_flush(d, tail, 0);
        }
        more = l2_resize_work(d);
        more = l2_pass_work(d) || more;
        more = l2_hand_over_full(d) || more;
        now = base_now_ms(d->cfg.clock);
        const int64_t past = now - d->synced_ms;
        if (d->cfg.level != L2_DROP && (past < 0 || past >= d->cfg.sync_ms)) {
            const int e = l2_sync_to(d, tail, 0);
            if (e != ETIMEDOUT) { d->synced_ms = now; } /* else another sync began before */
        }
        if (l2_super_due(d, now)) {
            d->seen_ms = now;
            d->super.synced = base_load_acq(&d->synced);
            (void)l2_super_store(d);
        }
        if (base_load_acq(&d->disk) != L2_DISK_OK) { return false; }
        if (base_now_ns() >= end_ns) { break; }
    }
    return more;
}

CELLAR_PRIVATE bool l2_tick(l2 *d, uint64_t budget_us)
{
    if (!sync_role_try(&d->working)) { return false; }
    const bool more = l2_work(d, budget_us);
    sync_role_drop(&d->working);
    return more;
}

CELLAR_PRIVATE void l2_thread_main(void *arg)
{
    l2 *d = arg;
    base_store_rlx(&d->writer, (const void *)base_thread_self());
    while (base_load_acq(&d->stop) == 0) {
        const uint32_t wake = base_load_acq(&d->wake);
        const bool ready = base_load_acq(&d->ready) != 0;
        if (ready) { l2_slow_writes(d); }
        const bool more = ready && l2_tick(d, 2000);
        if (more || base_load_acq(&d->stop) != 0) { continue; }
        base_store_sc(&d->asleep, 1u); /* before the look, as the put stores, then reads it */
        const bool waits = ready && base_load_sc(&d->dirty_ns) != 0;
        if (waits) { base_store_sc(&d->asleep, 0u); }
        (void)sync_wait(&d->wake, wake, base_now_ns() + (waits ? L2_OLD_NS : L2_SLEEP_NS));
        base_store_sc(&d->asleep, 0u);
    }
}

CELLAR_PRIVATE void l2_thread_end(l2 *d)
{
    base_store_rel(&d->stop, 1u);
    if (!d->threaded) { return; }
    l2_worker_wake(d);
    base_thread_join(&d->thread);
}

BASE_SIZE_END
