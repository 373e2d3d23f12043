/* SPDX-License-Identifier: MIT
 *
 * forked: replace the disk tier of a forked child by an empty shell.
 *
 * PICTURE    fork -> l2_forked in the child: files closed, so that the parent alone has the lock
 *            -> no slots, no mappings, no disk (L2_DISK) -> active calls return -> l2_close
 * INVARIANTS No call on a shell reaches a file, a stall marker or a byte that the parent maps. `l2`
 *            and its tables stay until l2_close: a callback (listener, cipher, log) may fork inside
 *            a call, and the child returns into that call. The call finds its tables, free locks,
 *            no slot, `broken`, and an error for each disk operation.
 *            A call must not use pointers into the stage after a callback: see l2_alloc,
 *            l2_box_open.
 * LOCKING    The child has one thread. Locks are reset. A table that a lost thread was changing
 *            stays as it was; only calls that were active during the fork still change tables.
 * LIMITS     The memory of the tables stays charged in the child until it closes the store.
 * SEE ALSO   README.md: rejected designs. */
#include "l2/types.h"

#include "l2/files.h"

BASE_SIZE_BEGIN

/* Reset all locks: their holders are not in the child. */
static SYNC_UNCHECKED void l2_locks_reset(l2 *d)
{
    for (uint32_t i = 0; i < L2_SHARDS; i++) { sync_reset(&d->index.shard[i].lock); }
    for (uint32_t i = 0; d->tombstone_locks != NULL && i < d->cli_count; i++) {
        sync_reset(&d->tombstone_locks[i].lock);
    }
    sync_reset(&d->invalidations.lock);
    sync_reset(&d->health.lock);
    sync_reset(&d->log_lock);
    sync_reset(&d->owed.lock);
    sync_reset(&d->namespace_lock);
    base_store_rel(&d->working, 0u);
    base_store_rel(&d->imaging, 0u);
    base_store_rel(&d->committing, 0u);
    base_store_rlx(&d->beat, (uint64_t)0); /* no worker: nothing stalls */
    base_store_rlx(&d->commit_ns, (uint64_t)0);
    base_store_rlx(&d->reads_stuck, 0u);
}

CELLAR_PRIVATE SYNC_UNCHECKED void l2_forked(l2 *d)
{
    l2_locks_reset(d);
    l2_files_close(d, true);
    d->nstage = 0;
    d->open_slot = NULL;
    d->forked = true;
    d->threaded = d->commit_threaded = false; /* The threads stayed with the parent. */
    base_store_rel(&d->stop, 1u); /* Or the worker's thread is the one that forked. */
    base_store_rlx(&d->lost, 0u);
    base_store_rlx(&d->closed, 0u);
    base_store_rel(&d->broken, (uint32_t)L2_BROKEN_STAGE);
}

BASE_SIZE_END
