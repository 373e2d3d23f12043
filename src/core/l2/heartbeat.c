/* SPDX-License-Identifier: MIT
 *
 * heartbeat: check once a second that the disk and the files are there.
 *
 * PICTURE    disk OFF, pause over: 4 KiB written to a free place, synced, read back --> OK, or OFF
 *            heartbeat, once a second: do the files exist with their length? --no--> closed until
 *            the next open;   a page of the stage is missing (SIGBUS, base/sigbus.h) --> the same
 * INVARIANTS Places with failed writes are free again after a successful probe, because the disk
 *            was at fault and not the place.
 *            A truncated stage loses tombstones. The detecting thread makes the stall marker first.
 *            The worker then stores a SUPER without a stage and removes the marker. So the next
 *            open begins an empty store, whatever the files look like by then.
 * LOCKING    The probe and the heartbeat belong to the worker; any thread may detect a lost stage.
 * LIMITS     The probe overwrites a free place or a reclaimed segment. Removed or truncated files
 *            stay unusable while they are open. A stage that is truncated and extended again before
 *            a check is not detected.
 * SEE ALSO   health.c: errors, and when the disk is off. */
#include "l2/heartbeat.h"


#include "l2/format.h"
#include "l2/health.h"
#include "l2/io.h"
#include "l2/stall.h"
#include "l2/superblock.h"

BASE_SIZE_BEGIN

#define L2_BEAT_MS 1000

/* ---- probe ---- */

/* Return a place that no reader uses, or UINT32_MAX. */
static uint32_t l2_probe_place(const l2 *d)
{
    for (uint32_t i = 0; i < d->nseg; i++) {
        const uint32_t state = L2_SEG_STATE(base_load_acq(&d->seg[i].word));
        if (state == L2_SEG_FREE || state == L2_SEG_BAD) { return base_load_rlx(&d->seg[i].place); }
    }
    return UINT32_MAX;
}

static int l2_probe(l2 *d)
{
    const uint32_t place = l2_probe_place(d);
    if (place == UINT32_MAX) { return l2_super_store(d); }
    unsigned char *out = d->page, *back = d->page + 2 * L2_PAGE;
    const uint64_t at = (uint64_t)place * d->form.seg_bytes + L2_PAGE;
    memset(out, 0, L2_PAGE);
    memcpy(out, "CELLAR probe", 12);
    l2_w64(out + 16, base_now_ns());
    int e = l2_write(d, d->data_direct, out, L2_PAGE, at);
    if (e == 0) { e = l2_datasync(d, d->data_file); }
    if (e == 0) { e = l2_read(d, d->data_direct, back, L2_PAGE, at); }
    return e == 0 && memcmp(out, back, L2_PAGE) != 0 ? EIO : e;
}

static void l2_places_back(l2 *d)
{
    sync_take(L2_LOG, &d->log_lock);
    for (uint32_t i = 0; i < d->nseg; i++) {
        if (L2_SEG_STATE(base_load_rlx(&d->seg[i].word)) != L2_SEG_BAD) { continue; }
        base_store_sc(&d->seg[i].word, L2_SEG_WORD(L2_SEG_FREE, 0, 0));
        d->seg[d->free_count++].free_seg = i;
    }
    sync_drop(L2_LOG, &d->log_lock);
    d->super.bad_count = 0;
}

CELLAR_PRIVATE bool l2_disk_works(l2 *d)
{
    l2_health *t = &d->health;
    if (base_load_acq(&d->disk) == L2_DISK_OK) { return true; }
    const int64_t now = base_now_ms(d->cfg.clock);
    sync_take(L2_DEV, &t->lock);
    const bool due = now >= t->until_ms;
    if (due) { base_store_rel(&d->disk, (uint32_t)L2_DISK_TRYING); }
    sync_drop(L2_DEV, &t->lock);
    if (!due) { return false; }
    BASE_POINT("l2.probe");
    const int e = l2_probe(d);
    if (e == 0) { l2_places_back(d); }
    sync_take(L2_DEV, &t->lock);
    if (e != 0) {
        l2_off_now(d, now, BASE_MIN(t->off_ms * 2, d->cfg.off_max_ms));
    } else {
        t->errors = t->damaged = 0;
        base_store_rel(&d->disk, (uint32_t)L2_DISK_OK);
    }
    sync_drop(L2_DEV, &t->lock);
    if (e == 0) { base_log(d->cfg.log, BASE_LOG_WARNING, "l2", 0, "the disk works again"); }
    return e == 0;
}

/* ---- a truncated stage ---- */

CELLAR_PRIVATE void l2_stage_lost(l2 *d)
{
    if (base_load_acq(&d->broken) == L2_BROKEN_STAGE) { return; }
    l2_marker_make(d); /* A thread that sees `broken` acknowledges changes without a record. */
    BASE_POINT("l2.stage_lost");
    if (base_xchg_ar(&d->broken, (uint32_t)L2_BROKEN_STAGE) == L2_BROKEN_STAGE) { return; }
    base_store_rel(&d->lost, 1u);
    L2_COUNT(d, cuts);
    l2_lost_all(d, L2_LOST_files);
}

/* Store a SUPER without a stage; worker only. */
static void l2_renounce(l2 *d, int64_t now)
{
    const uint32_t lost = base_load_acq(&d->lost);
    if (lost == 0 || (lost == 2 && now - d->beat_ms < L2_BEAT_MS)) { return; }
    d->beat_ms = now;
    base_store_rel(&d->lost, 2u);
    d->super.stage.inode = 0;
    d->super.state = L2_DIRTY;
    if (l2_super_store(d) != 0) { return; }
    base_store_rel(&d->lost, 0u);
    l2_marker_remove(d);
}

/* ---- heartbeat ---- */

typedef struct l2_missing { bool gone, cut; } l2_missing; /* file without a name; shorter file */

static l2_missing l2_file_look(l2 *d, base_vfs_file *f, uint64_t bytes)
{
    base_vfs_stat st;
    const int e = L2_DISK(d, stat, f, &st);
    if (e != 0) {
        l2_io_failed(d, "l2_stat", f, 0, e);
        return (l2_missing){ false, false };
    }
    return (l2_missing){ st.links == 0, st.links != 0 && st.size_bytes < bytes };
}

CELLAR_PRIVATE bool l2_heartbeat(l2 *d)
{
    const int64_t now = base_now_ms(d->cfg.clock);
    l2_stage_look(d);
    if (base_load_rlx(&d->broken) == 0 && now - d->beat_ms < L2_BEAT_MS) { return true; }
    return l2_files_there(d);
}

CELLAR_PRIVATE bool l2_files_there(l2 *d)
{
    const int64_t now = base_now_ms(d->cfg.clock);
    l2_stage_look(d);
    if (base_load_rlx(&d->broken) != 0) {
        l2_renounce(d, now);
        return false;
    }
    d->beat_ms = now;
    const uint64_t seg = d->form.seg_bytes;
    const l2_missing stage = l2_file_look(d, d->stage_file, d->nstage * seg);
    const l2_missing data = l2_file_look(d, d->data_file, d->places * seg);
    if (stage.cut) { /* it may have its old length again at the next open */
        l2_stage_lost(d);
        l2_renounce(d, now);
        return false;
    }
    if (!stage.gone && !data.gone && !data.cut) { return true; }
    /* The next open finds a stage with another inode and ignores its contents. */
    base_store_rel(&d->broken, stage.gone ? (uint32_t)L2_BROKEN_STAGE : (uint32_t)L2_BROKEN);
    l2_lost_all(d, L2_LOST_files);
    return false;
}

BASE_SIZE_END
