/* SPDX-License-Identifier: MIT
 *
 * group_commit: make changes durable before they are acknowledged; concurrent callers share one
 * sync.
 *
 * PICTURE    change logged -> l2_commit draws a number; one thread leads: fdatasync(stage) for all
 *            callers that came before; the others wait on one word
 *                commits_begun --lead, sync--> commits_done     waiter: done >= begun at entry + 1
 *            leader: a caller while syncs take 50 us on average, else the thread of commits
 * PROTOCOL   A caller stores its record, then reads commits_begun. A leader raises commits_begun,
 *            then syncs. All four steps are seq_cst, so commit n covers each record that was
 *            complete before a caller drew n.
 * INVARIANTS A change may rely on older state: a tombstone in the memo, a FLOOR. That state was
 *            complete before its tombstone lock was released.
 *            After a failed sync no commit succeeds until the bytes were stored again and synced
 *            (barrier.c): a second sync would not report them.
 *            No commit succeeds while changes rely on the stall marker: no log has them.
 *            `commit_asked` is set after the draw of the caller. The thread clears it before it
 *            draws its number, so that commit covers each caller that asked before.
 * LOCKING    `committing`: leader, by CAS. commit_floor: L2_LOG.
 * LIMITS     A caller that leads waits for the disk without a limit. The others wait 1 s at most
 *            while no commit ends. Without a thread (cfg.no_thread) the leader is a caller.
 *            A commit costs no sync if nothing was reserved since the last one, and that one found
 *            all records complete. So a change that the tombstone filter denies costs no sync.
 *            At level ALWAYS pages are not armed, because each sync would write them once more. A
 *            store into a page that a sync has just cleaned may wait for the file system. */
#include "l2/types.h"

#include <errno.h>

#include "l2/health.h"
#include "l2/io.h"
#include "l2/steps.h"

BASE_SIZE_BEGIN

#define L2_COMMIT_LOOK_NS UINT64_C(10000000)
#define L2_COMMIT_MOST_MS 1000 /* wait for the sync of another thread */
#define L2_COMMIT_QUICK_NS UINT64_C(50000) /* a hand-over takes up to 40 us */

/* Return the errno that bars commits now, or 0. */
static int l2_commit_barred(l2 *d)
{
    if (base_load_rlx(&d->broken) != 0 || base_load_acq(&d->disk) != L2_DISK_OK) { return EIO; }
    /* seq_cst, paired with l2_closed_over */
    const bool unlogged = (base_load_sc(&d->closed) & L2_CLOSED) != 0;
    if (unlogged) { return EAGAIN; }
    return (int)base_load_acq(&d->commit_errno);
}

/* Return the number of reservations if all of them are complete, otherwise 0. */
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
    const uint64_t since_ns = base_now_ns();
    base_store_rlx(&d->commit_ns, since_ns);
    BASE_POINT("l2.commit");
    e = L2_DISK(d, datasync, d->stage_file);
    base_store_rlx(&d->commit_ns, (uint64_t)0);
    const uint64_t mean_ns = base_load_rlx(&d->commit_mean_ns);
    base_store_rlx(&d->commit_mean_ns, mean_ns - mean_ns / 16 + (base_now_ns() - since_ns) / 16);
    if (e != 0) {
        l2_sync_failed(d, e); /* first: the sync of the worker reports no error any more */
        l2_io_failed(d, "l2_sync", d->stage_file, 0, e);
        return e;
    }
    L2_COUNT(d, commits);
    base_store_rel(&d->committed, sees); /* acquire in l2_commit */
    return l2_commit_barred(d);
}

/* Return true if nothing was reserved since the last commit. The bar is checked first: after a
 * stall the FLOOR of the reopened tier is already in `logged`. */
static bool l2_commit_unneeded(l2 *d)
{
    if (l2_commit_barred(d) != 0) { return false; }
    const uint64_t committed = base_load_acq(&d->committed);
    return committed != 0 && committed == base_load_acq(&d->logged);
}

/* Sync for all callers that came before. The caller holds `committing`, and drops it here. */
static void l2_commit_run(l2 *d)
{
    /* Callers that the last commit woke join this one. */
    if (base_load_rlx(&d->commit_mean_ns) >= L2_COMMIT_QUICK_NS) { base_yield(); }
    const uint32_t number = base_add_sc(&d->commits_begun, 1u) + 1;
    base_fence_sc();
    if (l2_commit_lead(d) != 0) { base_store_rel(&d->commits_failed, number); }
    base_store_rel(&d->commits_done, number); /* acquire in l2_commit */
    base_store_rel(&d->committing, 0u);
    sync_wake(&d->commits_done, INT32_MAX);
}

/* ---- the thread ---- */

CELLAR_PRIVATE void l2_commit_main(void *arg)
{
    l2 *d = arg;
    for (;;) {
        const uint32_t done = base_load_acq(&d->commits_done);
        if (base_load_acq(&d->commit_asked) == 0) {
            (void)sync_wait(&d->commit_asked, 0, UINT64_MAX);
        } else if (base_load_acq(&d->stop) != 0) {
            return;
        } else if (!base_cas_ar(&d->committing, 0u, 1u)) {
            (void)sync_wait(&d->commits_done, done, base_now_ns() + L2_COMMIT_LOOK_NS);
        } else {
            (void)base_xchg_ar(&d->commit_asked, 0u);
            l2_commit_run(d);
        }
    }
}

CELLAR_PRIVATE void l2_commit_ask(l2 *d)
{
    if (base_xchg_ar(&d->commit_asked, 1u) == 0) { sync_wake(&d->commit_asked, 1); }
}

/* ---- callers ---- */

CELLAR_PRIVATE cellar_err l2_commit(l2 *d)
{
    base_fence_sc(); /* The state that this change relies on, then the draw: see PROTOCOL. */
    const uint32_t mine = base_load_sc(&d->commits_begun) + 1;
    if (l2_commit_unneeded(d)) { return CELLAR_OK; }
    int64_t until_ms = 0; /* of a wait without a commit that ended */
    uint32_t seen = 0;
    bool asked = false;
    for (;;) {
        const uint32_t done = base_load_acq(&d->commits_done);
        if ((int32_t)(done - mine) >= 0) {
            const uint32_t failed = base_load_acq(&d->commits_failed);
            return failed != 0 && (int32_t)(failed - mine) >= 0 ? CELLAR_E_IO : CELLAR_OK;
        }
        const bool handed = d->commit_threaded &&
                            base_load_rlx(&d->commit_mean_ns) >= L2_COMMIT_QUICK_NS;
        if (!handed && base_cas_ar(&d->committing, 0u, 1u)) {
            l2_commit_run(d);
            continue;
        }
        if (handed && !asked) { l2_commit_ask(d); }
        asked = asked || handed;
        const int64_t now_ms = base_now_ms(d->cfg.clock);
        if (until_ms == 0 || done != seen) {
            until_ms = base_add_sat(now_ms, L2_COMMIT_MOST_MS);
            seen = done;
        }
        if (now_ms >= until_ms) { return CELLAR_E_IO; } /* a later commit covers the record */
        (void)sync_wait(&d->commits_done, done, base_now_ns() + L2_COMMIT_LOOK_NS);
    }
}

BASE_SIZE_END
