/* SPDX-License-Identifier: MIT
 *
 * superblock: store SUPER, and mark the store DIRTY in time.
 *
 * PICTURE    SUPER: two copies, written in turn; the valid copy with the higher serial counts.
 *            CLEAN --first change at level DROP--> DIRTY durable -> the change is acknowledged
 * INVARIANTS SUPER says CLEAN only when everything below clean_lsn is durable. At level DROP no
 *            later record is acknowledged before SUPER durably says DIRTY. Otherwise a power cut
 *            would bring back values that were overwritten since the last sync. The first change of
 *            a run that continues a CLEAN store also stores the mark of the run, before DIRTY.
 * LOCKING    All functions belong to the worker, except l2_dirty_wait, which waits for the worker.
 * LIMITS     If the disk refuses to mark SUPER DIRTY, changes are logged all the same. A process
 *            death loses nothing; an additional power cut may bring back the state of the last
 *            sync.
 * SEE ALSO   format.c: bytes; sync.c: how SUPER becomes CLEAN. */
#include "l2/superblock.h"

#include "l2/format.h"
#include "l2/io.h"
#include "l2/log.h"
#include "l2/progress.h"

BASE_SIZE_BEGIN

CELLAR_PRIVATE int l2_super_store(l2 *d)
{
    d->super.serial++;
    /* The place of a reclaimed segment is free for the next run, too. */
    d->super.floor_lsn = BASE_MAX(base_load_acq(&d->floor_lsn), base_load_acq(&d->oldest_lsn));
    /* During an open only SUPER may know that a newer META existed. */
    d->super.meta = BASE_MAX(d->super.meta, d->meta_serial);
    d->super.last_seen_wall_ms = BASE_MAX(d->super.last_seen_wall_ms, l2_wall_now(d));
    d->super.day = base_load_rlx(&d->day.window);
    d->super.bytes_today = base_load_rlx(&d->day.used);
    /* A little ahead, so that a process death does not forget bytes since the last write of
     * SUPER. */
    if (d->super.state != L2_CLEAN) { d->super.bytes_today += d->cfg.write_bpd / L2_DAY_STEPS; }
    unsigned char *page = d->page + L2_PAGE;
    l2_super_write(page, &d->super);
    const uint64_t at = (d->super.serial & 1) * L2_PAGE;
    int e = l2_write(d, d->super_file, page, L2_PAGE, at);
    BASE_POINT("l2.super_written");
    if (e == 0) { e = l2_datasync(d, d->super_file); }
    /* The state of that copy is unknown. The next attempt writes the same copy. */
    if (e != 0) { d->super.serial++; }
    d->super_owed = e != 0;
    return e;
}

CELLAR_PRIVATE int l2_dirty_now(l2 *d)
{
    base_store_rlx(&d->want_dirty, 0u);
    if (base_load_acq(&d->dirty) == L2_NOW_DIRTY) { return 0; }
    if (d->unmarked) { l2_run_mark(d); }
    d->super.state = L2_DIRTY;
    d->super.closed = 0;
    const int e = l2_super_store(d);
    if (e != 0) {
        base_log(d->cfg.log, BASE_LOG_ERROR, "l2", e,
                 "SUPER cannot be marked DIRTY: a power cut may restore old values");
    }
    BASE_POINT("l2.dirty");
    base_store_rel(&d->dirty, (uint32_t)L2_NOW_DIRTY); /* acquire in l2_reserve_held */
    return e;
}

CELLAR_PRIVATE void l2_dirty_wait(l2 *d)
{
    l2_worker_take(d);
    (void)l2_dirty_now(d);
    l2_worker_drop(d);
}

BASE_SIZE_END
