/* SPDX-License-Identifier: MIT
 *
 * worker: the rounds of the worker, its thread, and calls that wait for them.
 *
 * PICTURE    thread: woken, or every 100 ms --> l2_tick --> round: seal, barrier, recycle, trim,
 *            moves and reclaim, prepare, arm, upkeep, index rebuild, eras, resize
 * INVARIANTS One thread at a time is the worker (progress.c). A round ends early if the disk fails.
 * LOCKING    None across a round.
 * LIMITS     Without a thread (cfg.no_thread) the host calls l2_tick. */

#include <errno.h>

#include "l2/geometry.h"
#include "l2/health.h"
#include "l2/heartbeat.h"
#include "l2/index.h"
#include "l2/index_rebuild.h"
#include "l2/mapped_read.h"
#include "l2/progress.h"
#include "l2/steps.h"
#include "l2/superblock.h"
#include "l2/tombstone_filter.h"

BASE_SIZE_BEGIN

#define L2_META_EVERY 64u
#define L2_META_MS 10000
#define L2_SEEN_MS 60000
#define L2_FULL_MS 3600000
#define L2_SLEEP_NS UINT64_C(100000000)
#define L2_REBUILD_NS UINT64_C(2000000) /* least time of the index rebuild in a round */

/* ---- rounds ---- */

/* Return true if the day's budget exceeds the value in SUPER. */
static bool l2_day_spent(const l2 *d)
{
    return d->cfg.write_bpd != 0 && (base_load_rlx(&d->day.window) != d->super.day ||
                                     base_load_rlx(&d->day.used) > d->super.bytes_today);
}

/* Log that the index is full, once an hour. */
static void l2_index_look(l2 *d, int64_t now)
{
    const uint64_t full = base_load_rlx(&d->index.full);
    const uint64_t words = BASE_MAX(base_load_rlx(&d->index.words), (uint64_t)1);
    const uint64_t dropped = base_load_rlx(&d->index.dropped);
    if (full == d->full_seen || (d->full_seen != 0 && now - d->full_ms < L2_FULL_MS)) { return; }
    d->full_seen = full;
    d->full_ms = now;
    const uint64_t mean = l2_index_bytes_in(d, 0, L2_SHARDS) / words;
    const uint64_t lost = dropped - d->dropped_seen;
    d->dropped_seen = dropped;
    if (lost > 0) { l2_lost_entries(d, L2_LOST_index, lost, lost * mean); }
    base_log(d->cfg.log, BASE_LOG_WARNING, "l2", 0,
             "the index of the disk tier is full: %llu records of %llu bytes on average: set "
             "l2.mean_entry_bytes to that, or raise memory_bytes",
             (unsigned long long)words, (unsigned long long)mean);
}

static void l2_upkeep(l2 *d)
{
    const int64_t now = base_now_ms(d->cfg.clock);
    l2_index_look(d, now);
    bool store = false;
    sync_take(L2_LOG, &d->log_lock);
    const uint64_t logged = d->logged_controls;
    if (d->next_segseq + L2_SEGSEQ_STEP / 4 > d->segseq_end) { store = true; }
    sync_drop(L2_LOG, &d->log_lock);
    if (store) {
        d->super.segseq_end += L2_SEGSEQ_STEP;
        if (l2_super_store(d) == 0) {
            sync_take(L2_LOG, &d->log_lock);
            d->segseq_end = d->super.segseq_end;
            sync_drop(L2_LOG, &d->log_lock);
        } else {
            d->super.segseq_end -= L2_SEGSEQ_STEP;
        }
    } else if ((now - d->seen_ms >= L2_SEEN_MS || d->super_owed || l2_day_spent(d)) &&
               base_load_rlx(&d->dirty) == L2_NOW_DIRTY) {
        (void)l2_super_store(d);
        d->seen_ms = now;
    }
    const uint64_t fresh = logged - d->meta_controls;
    /* only the worker changes it */
    const bool lost = base_load_acq(&d->lost_controls) != d->meta_lost;
    if (lost || fresh >= L2_META_EVERY || (fresh > 0 && now - d->meta_ms >= L2_META_MS)) {
        if (l2_meta_store(d) == 0) { d->meta_ms = now; }
    }
}

/* Continue the index rebuild for `ns`, at least by one step. Return true if it is not finished. */
static bool l2_rebuild_for(l2 *d, uint64_t ns)
{
    const uint64_t since_ns = base_now_ns();
    bool more = true;
    while (more && base_load_acq(&d->disk) == L2_DISK_OK) {
        more = l2_rebuild_step(d);
        if (base_now_ns() - since_ns >= ns) { break; }
    }
    return more;
}

static bool l2_work(l2 *d, uint64_t budget_us)
{
    const uint64_t end_ns = base_now_ns() + budget_us * 1000;
    bool more = true;
    l2_reads_look(d);
    l2_map_work(d);
    if (!l2_heartbeat(d) || !l2_disk_works(d)) { return false; }
    (void)l2_reopen(d);
    if (base_load_acq(&d->want_dirty) != 0 && l2_dirty_now(d) == 0) { l2_room_made(d); }
    const int e = l2_resync(d);
    if (e != 0) { /* a resize needs syncs that count */
        if (d->goal.on) { l2_goal_over(d, e == ENOMEM ? CELLAR_E_NOMEM : CELLAR_E_IO); }
        return false;
    }
    while (more) {
        const uint64_t begin_ns = base_now_ns();
        l2_beat(d);
        more = l2_seal_work(d);
        l2_barrier_work(d);
        l2_recycle(d);
        l2_trim_work(d);
        more = l2_room_work(d) || more;
        (void)l2_prepare(d);
        l2_arm_work(d);
        l2_upkeep(d);
        /* The syncs of a busy disk take seconds: the index rebuild gets as much time as they take.
         * Without a budget it takes one step. */
        const uint64_t least_ns = BASE_MAX(base_now_ns() - begin_ns, L2_REBUILD_NS);
        more = l2_rebuild_for(d, budget_us != 0 ? least_ns : 0) || more;
        more = l2_era_work(d) || more;
        more = l2_resize_work(d) || more;
        more = l2_reopen(d) || more; /* may have waited for a slot */
        if (more) { base_store_rlx(&d->advanced, base_now_ns()); }
        if (base_load_acq(&d->disk) != L2_DISK_OK) { return false; }
        if (base_now_ns() >= end_ns) { break; }
    }
    return more;
}

CELLAR_PRIVATE bool l2_tick(l2 *d, uint64_t budget_us)
{
    if (!l2_worker_try(d)) { return false; }
    const bool more = l2_work(d, budget_us);
    l2_worker_drop(d);
    return more;
}

/* ---- the thread ---- */

CELLAR_PRIVATE void l2_thread_main(void *arg)
{
    l2 *d = arg;
    bool ready = false;
    while (base_load_acq(&d->stop) == 0) {
        const uint32_t wake = base_load_acq(&d->wake);
        if (!ready && base_load_acq(&d->ready) != 0) {
            ready = true;
            base_sigbus_hear(); /* The map did not exist when this thread began. */
        }
        const bool more = ready && l2_tick(d, 2000);
        if (!more && base_load_acq(&d->stop) == 0) {
            (void)sync_wait(&d->wake, wake, base_now_ns() + L2_SLEEP_NS);
        }
    }
}

CELLAR_PRIVATE void l2_thread_end(l2 *d)
{
    base_store_rel(&d->stop, 1u);
    if (d->threaded) {
        l2_worker_wake(d);
        base_thread_join(&d->thread);
    }
    if (d->commit_threaded) {
        l2_commit_ask(d);
        base_thread_join(&d->commit_thread);
        d->commit_threaded = false;
    }
}

/* ---- the index rebuild ---- */

CELLAR_PRIVATE bool l2_ready(l2 *d, int64_t timeout_ms)
{
    const uint64_t ns = (uint64_t)BASE_MIN(timeout_ms, INT64_MAX / 4000000) * 1000000u;
    uint64_t now_ns = base_now_ns();
    const uint64_t end_ns = now_ns + ns;
    while (base_load_acq(&d->rebuilding) != 0 && now_ns < end_ns && !l2_off(d)) {
        if (!d->threaded && l2_worker_try(d)) {
            (void)l2_rebuild_for(d, end_ns - now_ns);
            l2_worker_drop(d);
        } else {
            (void)sync_wait(&d->rebuilding, 1u, BASE_MIN(end_ns, now_ns + L2_SLEEP_NS));
        }
        now_ns = base_now_ns();
    }
    return base_load_acq(&d->rebuilding) == 0;
}

/* ---- resize ---- */

CELLAR_PRIVATE cellar_err l2_resize_to(l2 *d, uint32_t places, uint64_t bytes)
{
    cellar_err err = CELLAR_OK;
    if (!base_cas_ar(&d->resizing, 0u, 1u)) { return CELLAR_E_BUSY; }
    l2_worker_take(d);
    d->goal = (l2_goal){ .on = true, .places = places, .bytes = bytes };
    bool on = true;
    while (on) {
        const bool works = base_load_rlx(&d->broken) == 0 &&
                           base_load_acq(&d->disk) == L2_DISK_OK;
        if (!works) { l2_goal_over(d, CELLAR_E_IO); }
        if (works) { (void)l2_work(d, 0); }
        on = d->goal.on;
        err = d->goal.result;
        if (!on) { break; }
        l2_worker_drop(d); /* let other waiters for the worker in */
        base_yield();
        l2_worker_take(d);
    }
    l2_worker_drop(d);
    base_store_rel(&d->resizing, 0u);
    return err;
}

CELLAR_PRIVATE cellar_err l2_resize(l2 *d, uint64_t bytes)
{
    if (bytes < L2_BYTES_MIN) { return CELLAR_E_INVAL; }
    const uint64_t images = base_load_rlx(&d->image_bytes); /* all else is constant */
    const uint64_t places = l2_places_beside(&d->cfg, &d->super, bytes, images);
    const uint32_t least = d->nstage + L2_RESIZE_LEAST;
    if (places < least || places > UINT32_MAX / 2) { return CELLAR_E_RANGE; }
    return l2_resize_to(d, (uint32_t)places, bytes);
}

BASE_SIZE_END
