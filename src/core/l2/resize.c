/* SPDX-License-Identifier: MIT
 *
 * resize: give the log a file of another size while the store runs.
 *
 * PICTURE    data.seg |old ring .. split|   data.new |split .. tail, copies of what lives|
 *            data.new made -> SUPER {RUNS, split} -> the log goes on in data.new -> all segments
 *            below split pass -> all synced -> SUPER {DONE} -> renamed to data.seg -> SUPER {NONE}
 * INVARIANTS `split` is the begin of the segment behind the open one. SUPER names it before that
 *            segment begins: none begins meanwhile (`doubt`), nor, if that SUPER may or may not be
 *            on disk, until a later one is.
 *            Segments below split pass as ever (pass.c): below half alive their records move, with
 *            half of the new file left to them. So every kill finds each live record in one of the
 *            two files.
 *            The old file is emptied after the last SUPER, and closed when no read uses it.
 * LOCKING    `working`. The rings change under `writing` (newest) and `syncing` (a file goes).
 * LIMITS     Both files need room until the end. Index and segment size stay: 12 segments at
 *            least, and 2^36 granules of both files together at most. */
#include "l2/resize.h"

#include "l2/geometry.h"
#include "l2/log.h"
#include "l2/progress.h"
#include "l2/super.h"

BASE_SIZE_BEGIN

#define L2_RESIZE_LEAST 12u /* segments */
#define L2_IDLE_NS UINT64_C(5000000000) /* longest time without a step */
#define L2_ROLE_NS UINT64_C(1000000)

static uint32_t l2_other(const l2 *d) { return base_load_acq(&d->newest) ^ 1u; }

static void l2_size_seen(l2 *d)
{
    base_store_rel(&d->places_seen, (uint32_t)l2_seq_of(d, l2_size(d)));
}

/* ---- begin ---- */

/* Make data.new for `nseg` segments. */
static cellar_err l2_new_make(l2 *d, uint32_t nseg, base_vfs_file **out, base_vfs_stat *st)
{
    base_vfs_file *f = NULL;
    (void)L2_DISK(d, unlink, d->dir, "data.new");
    int e = L2_DISK(d, open, d->dir, "data.new", BASE_VFS_CREATE | BASE_VFS_WRITE, &f);
    if (e == 0) { e = L2_DISK(d, lock, f); }
    if (e == 0) { e = L2_DISK(d, preallocate, f, (uint64_t)nseg * d->form.seg_bytes); }
    if (e == 0) { e = L2_DISK(d, stat, f, st); }
    if (e == 0) { e = L2_DISK(d, datasync, f); }
    if (e == 0) { e = L2_DISK(d, sync_dir, d->dir); }
    *out = f;
    if (e == 0) { return CELLAR_OK; }
    if (f != NULL) { d->vfs->close(d->vfs->ctx, f); }
    (void)L2_DISK(d, unlink, d->dir, "data.new");
    return e == ENOSPC || e == EDQUOT || e == EFBIG ? CELLAR_E_SPACE : CELLAR_E_IO;
}

/* Let the log go on in data.new behind the open segment. */
static cellar_err l2_turn(l2 *d, uint32_t nseg, uint64_t bytes)
{
    base_vfs_file *f = NULL;
    base_vfs_stat st = { 0 };
    l2_super *s = &d->super;
    const cellar_err err = l2_new_make(d, nseg, &f, &st);
    if (err != CELLAR_OK) { return err; }
    BASE_POINT("l2.new_made");
    const l2_super was = *s;
    sync_role_take(&d->writing);
    const uint64_t seq = l2_seq_of(d, base_load_acq(&d->tail));
    base_store_rel(&d->doubt, (uint32_t)L2_DOUBT_RUNS);
    l2_writing_drop(d);
    s->split = (seq + 1) * d->form.seg_bytes;
    s->was_nseg = s->nseg;
    s->nseg = nseg;
    s->l2_bytes = bytes;
    s->change = L2_CHANGE_RUNS;
    s->inode = st.inode;
    s->device = st.device;
    s->born_ns = st.born_ns;
    const int e = l2_super_store(d);
    BASE_POINT("l2.turned");
    sync_role_take(&d->writing);
    base_store_rel(&d->doubt, (uint32_t)(e == 0 ? L2_DOUBT_NOT : L2_DOUBT_FAILED));
    if (e == 0) {
        l2_ring *r = &d->ring[l2_other(d)];
        base_store_rel(&r->first, s->split);
        base_store_rel(&r->size, (uint64_t)nseg * d->form.seg_bytes);
        base_store_rel(&r->file, f);
        base_store_sc(&d->newest, l2_other(d));
        l2_size_seen(d);
        (void)l2_seal(d, seq, base_load_acq(&d->synced));
    } else {
        const uint64_t serial = s->serial;
        *s = was;
        s->serial = serial;
        d->vfs->close(d->vfs->ctx, f);
    }
    l2_writing_drop(d);
    return e == 0 ? CELLAR_OK : CELLAR_E_IO;
}

/* ---- end ---- */

/* Close the file of the old ring, unless a read may use it. */
static bool l2_ring_close(l2 *d)
{
    if (d->retired == NULL) { return true; }
    if (base_load_sc(&d->readers) != 0) { return false; }
    d->vfs->close(d->vfs->ctx, d->retired);
    d->retired = NULL;
    return true;
}

/* Name data.new data.seg: the log lies in it alone. */
static cellar_err l2_turn_end(l2 *d)
{
    l2_super *s = &d->super;
    int e = 0;
    if (s->change == L2_CHANGE_RUNS) {
        if (l2_sync_to(d, base_load_acq(&d->tail), L2_NO_LIMIT_NS) != 0) { return CELLAR_E_IO; }
        s->change = L2_CHANGE_DONE;
        s->synced = base_load_acq(&d->synced); /* not below split: the old file goes */
        e = l2_super_store(d);
        if (e != 0) { s->change = L2_CHANGE_RUNS; }
        BASE_POINT("l2.turn_done");
    }
    if (e == 0) { e = L2_DISK(d, rename, d->dir, "data.new", "data.seg"); }
    if (e == ENOENT) { e = 0; } /* an earlier try has renamed it */
    if (e == 0) { e = L2_DISK(d, sync_dir, d->dir); }
    BASE_POINT("l2.turn_named");
    if (e != 0) { return CELLAR_E_IO; }
    s->change = L2_CHANGE_NONE;
    if (l2_super_store(d) != 0) {
        s->change = L2_CHANGE_DONE;
        return CELLAR_E_IO;
    }
    l2_ring *old = &d->ring[l2_other(d)];
    sync_role_take(&d->syncing);
    d->retired = base_load_acq(&old->file);
    base_store_sc(&old->file, NULL);
    sync_role_drop(&d->syncing);
    (void)L2_DISK(d, truncate, d->retired, 0);
    (void)l2_ring_close(d);
    return CELLAR_OK;
}

/* ---- the goal ---- */

/* Return why the store cannot have this size, or OK. */
static cellar_err l2_resize_may(const l2 *d, uint64_t nseg)
{
    const uint64_t both = nseg + l2_seq_of(d, l2_size(d));
    const bool fits = nseg >= L2_RESIZE_LEAST && nseg <= UINT32_MAX / 2 &&
                      both < L2_PLACES / (d->form.seg_bytes / d->form.granule);
    return fits ? CELLAR_OK : CELLAR_E_RANGE;
}

/* Make one step. PENDING: more steps follow. */
static cellar_err l2_resize_step(l2 *d)
{
    l2_super *s = &d->super;
    const uint32_t nseg = (uint32_t)d->goal.nseg;
    if (l2_changes(d)) {
        const uint64_t split = base_load_acq(&l2_ring_now(d)->first);
        if (base_load_acq(&d->tail) >= split) { return CELLAR_PENDING; } /* pass.c works */
        sync_role_take(&d->writing);
        (void)l2_seal(d, l2_seq_of(d, base_load_acq(&d->tail)), base_load_acq(&d->synced));
        l2_writing_drop(d);
        return CELLAR_PENDING;
    }
    if (s->change != L2_CHANGE_NONE) {
        const cellar_err err = l2_turn_end(d);
        if (err != CELLAR_OK) { return err; }
    }
    if (s->nseg != nseg) {
        if (!l2_ring_close(d)) { return CELLAR_PENDING; }
        const cellar_err err = l2_turn(d, nseg, d->goal.bytes);
        return err == CELLAR_OK ? CELLAR_PENDING : err;
    }
    if (s->l2_bytes == d->goal.bytes) { return CELLAR_OK; }
    s->l2_bytes = d->goal.bytes;
    return l2_super_store(d) == 0 ? CELLAR_OK : CELLAR_E_IO;
}

CELLAR_PRIVATE bool l2_resize_work(l2 *d)
{
    l2_goal *g = &d->goal;
    (void)l2_ring_close(d);
    const bool doubt = base_load_acq(&d->doubt) != 0 && l2_super_store(d) != 0;
    if (!g->on && d->super.change == L2_CHANGE_NONE) { return false; }
    if (!g->on) {
        *g = (l2_goal){ .bytes = d->super.l2_bytes, .nseg = d->super.nseg, .on = true,
                        .ours = true };
    }
    const uint64_t now = base_now_ns(), head = base_load_acq(&d->head);
    if (g->moved_ns == 0 || head != g->head) { g->moved_ns = now; }
    g->head = head;
    cellar_err err = doubt ? CELLAR_E_IO : l2_resize_step(d); /* SUPER may name data.new */
    if (err == CELLAR_PENDING && now - g->moved_ns > L2_IDLE_NS) { err = CELLAR_E_BUSY; }
    if (err == CELLAR_PENDING) { return true; }
    const bool begun = d->super.change != L2_CHANGE_NONE;
    if (begun && err == CELLAR_E_BUSY) { err = CELLAR_E_IO; } /* it goes on later */
    if (g->ours && err != CELLAR_OK && !begun) {
        base_log(d->cfg.log, BASE_LOG_WARNING, "l2", (int)err,
                 "the disk tier keeps its former size: %s",
                 err == CELLAR_E_SPACE ? "the disk has no room for another one"
                                       : "the disk failed");
    }
    *g = (l2_goal){ .on = false };
    base_store_rel(&d->goal_over, (uint32_t)err);
    l2_room_made(d);
    return false;
}

CELLAR_PRIVATE void l2_resize_open(l2 *d)
{
    const uint64_t bytes = d->cfg.bytes;
    const uint64_t nseg = d->cfg.seg_count != 0 ? d->cfg.seg_count
                                                : l2_places_in(bytes, d->form.seg_bytes);
    if (bytes == d->super.l2_bytes && nseg == d->super.nseg) { return; }
    const cellar_err err = l2_resize_may(d, nseg);
    if (err == CELLAR_OK) {
        d->goal = (l2_goal){ .bytes = bytes, .nseg = nseg, .on = true, .ours = true };
        return;
    }
    base_log(d->cfg.log, BASE_LOG_WARNING, "l2", (int)err,
             "the disk tier keeps its size: its segments do not fit l2_bytes");
}

CELLAR_PRIVATE cellar_err l2_resize(l2 *d, uint64_t bytes)
{
    const uint64_t nseg = l2_places_in(bytes, d->form.seg_bytes);
    cellar_err err = bytes < L2_BYTES_MIN ? CELLAR_E_INVAL : l2_resize_may(d, nseg);
    if (err != CELLAR_OK) { return err; }
    uint64_t since_ns = base_now_ns(), head = 0;
    while (!sync_role_try(&d->working)) {
        if (base_now_ns() - since_ns > L2_IDLE_NS) { return CELLAR_E_BUSY; }
        base_sleep_ns(L2_ROLE_NS);
    }
    const bool other = d->goal.on && !d->goal.ours;
    if (!other) {
        d->goal = (l2_goal){ .bytes = bytes, .nseg = nseg, .on = true };
        base_store_rel(&d->goal_over, (uint32_t)CELLAR_PENDING);
    }
    sync_role_drop(&d->working);
    err = other ? CELLAR_E_BUSY : CELLAR_PENDING;
    while (err == CELLAR_PENDING) {
        const uint32_t seen = l2_room_seen(d);
        const uint64_t now = base_now_ns(), at = base_load_acq(&d->head);
        err = (cellar_err)base_load_acq(&d->goal_over);
        if (err != CELLAR_PENDING) { break; }
        if (at != head) { since_ns = now; }
        head = at;
        if (now - since_ns > 2 * L2_IDLE_NS) { return CELLAR_E_BUSY; } /* the worker is stuck */
        if (base_load_rlx(&d->broken) != 0) { return CELLAR_E_IO; }
        l2_room_wait(d, seen);
    }
    return err;
}

BASE_SIZE_END
