/* SPDX-License-Identifier: MIT
 *
 * commit: a change is acknowledged when a power cut cannot take it back any more.
 *
 * PICTURE    change logged -> l2_commit: a number is drawn; one caller leads: fdatasync(stage), for
 *            all who came before it began; the others wait on one word
 *                commits_begun --lead, sync--> commits_done     waiter: done >= begun at entry + 1
 * INVARIANTS commit n covers every record that was complete before somebody was given n. What a
 *            change relies on without logging anything itself (a tombstone that the memo knows, a
 *            FLOOR) was complete before its gate let go.
 *            A failed sync is final: what it covered may never reach the disk, and a second one
 *            would not say so. All that is stored is given up, and until a header with that floor
 *            is durable, in pages stored anew, no commit says OK.
 *            While changes rely on the doorbell (doorbell.c) they are in no log: no commit says OK.
 * LOCKING    committing: who leads, by compare-exchange. commit_floor under L2_LOG. A caller's
 *            stores come before its draw, the leader's draw before its sync (both sc): one of them
 *            sees the other.
 * WALK       nothing was reserved since the last commit, and that saw nothing half done: nothing to
 *            wait for. So a change of a key the filter denies costs no sync.
 * LIMITS     at ALWAYS pages are not armed (each sync would write them once more): who stores into
 *            one that a sync has just cleaned may wait for the file system. */
#include "l2/l2_int.h"

#include <errno.h>

#define L2_COMMIT_LOOK_NS UINT64_C(10000000)

/* Why no change can be made durable now; 0: it can. */
static int l2_commit_barred(l2 *d)
{
    if (base_load_rlx(&d->broken) != 0 || base_load_acq(&d->disk) != L2_DISK_OK) { return EIO; }
    const bool unlogged = (base_load_sc(&d->closed) & L2_CLOSED) != 0; /* sc: l2_closed_over */
    if (unlogged && !BASE_MUTANT("l2.commit_closed")) { return EAGAIN; }
    return (int)base_load_acq(&d->commit_errno);
}

/* Reservations so far, if all of them are complete; 0: else. */
static uint64_t l2_commit_sees(l2 *d)
{
    bool whole = true;
    sync_take(L2_LOG, &d->log_lock);
    for (uint32_t i = 0; i < d->nstage; i++) {
        whole = whole && base_load_acq(&d->slot[i].writers) == 0;
    }
    const uint64_t n = base_load_rlx(&d->logged);
    sync_drop(L2_LOG, &d->log_lock);
    return whole ? n : 0;
}

static int l2_commit_lead(l2 *d)
{
    int e = l2_commit_barred(d);
    if (e != 0) { return e; }
    const uint64_t sees = l2_commit_sees(d);
    if (d->cfg.level == L2_KEEP) { l2_disarm(d); }
    base_store_rlx(&d->commit_ns, base_now_ns());
    BASE_POINT("l2.commit");
    e = d->vfs->datasync(d->vfs->ctx, d->stage_file);
    base_store_rlx(&d->commit_ns, (uint64_t)0);
    if (e != 0) {
        l2_io_failed(d, "l2_sync", d->stage_file, 0, e);
        l2_sync_failed(d, e);
        return e;
    }
    L2_COUNT(d, commits);
    base_store_rel(&d->committed, sees); /* acquire in l2_commit */
    return l2_commit_barred(d);
}

CELLAR_PRIVATE void l2_commit_failed(l2 *d, int e)
{
    if (d->cfg.level == L2_DROP) { return; }
    d->commit_floor = base_load_rlx(&d->floor_lsn);
    base_store_rel(&d->committed, (uint64_t)0);
    base_store_rel(&d->commit_errno, (uint32_t)e); /* acquire in l2_commit_barred */
}

CELLAR_PRIVATE void l2_commit_healed(l2 *d, uint64_t floor)
{
    if (floor >= d->commit_floor) { base_store_rel(&d->commit_errno, 0u); }
}

/* Barred is asked first: a tier that was closed and is open again has its FLOOR in `logged`. */
static bool l2_commit_unneeded(l2 *d)
{
    const bool late = BASE_MUTANT("l2.commit_barred_late");
    if (!late && l2_commit_barred(d) != 0) { return false; }
    const uint64_t committed = base_load_acq(&d->committed);
    return committed != 0 && committed == base_load_acq(&d->logged) &&
           (!late || l2_commit_barred(d) == 0);
}

CELLAR_PRIVATE cellar_err l2_commit(l2 *d)
{
    base_fence_sc(); /* what we rely on, then the draw: see LOCKING */
    const uint32_t later = BASE_MUTANT("l2.commit_joins") ? 0 : 1;
    const uint32_t mine = base_load_sc(&d->commits_begun) + later;
    if (l2_commit_unneeded(d)) { return CELLAR_OK; }
    for (;;) {
        const uint32_t done = base_load_acq(&d->commits_done);
        if ((int32_t)(done - mine) >= 0) {
            const uint32_t failed = base_load_acq(&d->commits_failed);
            return failed != 0 && (int32_t)(failed - mine) >= 0 ? CELLAR_E_IO : CELLAR_OK;
        }
        if (!base_cas_ar(&d->committing, 0u, 1u)) {
            (void)sync_wait(&d->commits_done, done, base_now_ns() + L2_COMMIT_LOOK_NS);
            continue;
        }
        const uint32_t number = base_add_sc(&d->commits_begun, 1u) + 1;
        base_fence_sc();
        if (l2_commit_lead(d) != 0) { base_store_rel(&d->commits_failed, number); }
        base_store_rel(&d->commits_done, number); /* acquire above */
        base_store_rel(&d->committing, 0u);
        sync_wake(&d->commits_done, INT32_MAX);
    }
}
