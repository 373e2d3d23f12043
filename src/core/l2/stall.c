/* SPDX-License-Identifier: MIT
 *
 * stall: keep callers running, and deletes safe, while the disk does not answer (a stall).
 *
 * PICTURE    worker without progress (progress.c) for 100 ms: stalled, 500 ms: frozen
 *            put    beyond the armed end, log busy, or stalled -> dropped
 *            get    of bytes that the page cache lacks, while stalled -> miss
 *            owed   |gone |first .. changes, oldest first .. end|      |   place: hash -> change
 * PROTOCOL   A delete beyond the armed end stores directly while the worker made progress within
 *            20 ms, and waits for longer silences. When the disk is frozen, the delete closes the
 *            tier, makes the stall marker (a file in /dev/shm), enters the list and returns.
 *            When the disk answers: list logged -> tier open -> stall marker removed (reopen.c).
 *            After a process death: the next open finds the marker and begins an empty store.
 * INVARIANTS While the tier is closed gets miss and puts are dropped. A change that the tombstone
 *            filter denies hides no record: it needs no list. Any other change is finished once
 *            it is in the list with MARKED set. The tier opens in the hold of `owed.lock` that
 *            finds the list empty.
 *            A put checks `closed`, checks its stamp and reserves within one hold of the log lock.
 *            So no put that saw an old stamp follows the record of its change. At level DROP a
 *            change relies on the marker only while SUPER says DIRTY.
 *            A change without room in the list makes the reopening write a FLOOR. A control
 *            without room is counted in lost_controls: new slots wait until META has it.
 * LOCKING    L2_STALL for the list and for all stores to `closed`; puts read it under L2_LOG.
 * LIMITS     A list takes 1/64 of the memory budget, 256 KiB at most. Each thread may send one read
 *            to the stalled disk. At level DROP the first change after a sync waits until SUPER
 *            says DIRTY. Without /dev/shm changes wait and are counted. The marker is lost if a
 *            container gets a fresh /dev/shm within one boot, or if systemd removes files there
 *            (RemoveIPC).
 * SEE ALSO   arm.c. README.md: why a slow lock alone does not close the tier. */
#include "l2/stall.h"

#include <errno.h>

#include "l2/format.h"

BASE_SIZE_BEGIN

/* ---- the marker ---- */

static int l2_marker(l2 *d, base_vfs_bell how)
{
    if (d->vfs->bell == NULL) { return ENOSYS; }
    return d->vfs->bell(d->vfs->ctx, d->marker_id, how);
}

CELLAR_PRIVATE void l2_marker_name(l2 *d, const l2_stage_id *stage)
{
    const uint64_t device = stage->device != 0 ? base_mix64(stage->device) : 0;
    const uint64_t born = stage->born_ns != 0 ? base_mix64((uint64_t)stage->born_ns) : 0;
    memcpy(d->marker_id, d->super.uuid, sizeof d->marker_id);
    l2_w64(d->marker_id, l2_r64(d->marker_id) ^ stage->inode);
    l2_w64(d->marker_id + 8, l2_r64(d->marker_id + 8) ^ device ^ born);
}

/* Look for the marker. Only these codes prove that there is none, or no place for one. */
CELLAR_PRIVATE bool l2_marker_found(l2 *d)
{
    const int e = l2_marker(d, BASE_VFS_BELL_LOOK);
    return e != ENOENT && e != ENOTDIR && e != EACCES && e != ENOSYS;
}

CELLAR_PRIVATE void l2_marker_remove(l2 *d) { (void)l2_marker(d, BASE_VFS_BELL_REMOVE); }

CELLAR_PRIVATE void l2_marker_make(l2 *d) { (void)l2_marker(d, BASE_VFS_BELL_MAKE); }

/* ---- the list ---- */

#define L2_OWED_MOST ((uint64_t)256 << 10)
#define L2_OWED_LEAST ((uint64_t)4 << 10)
#define L2_OWED_PLACE_BYTES 32u /* bytes of the list for one row of `place` */
#define L2_OWED_PROBES 8u

static uint32_t l2_owed_cap(uint64_t memory_bytes)
{
    return (uint32_t)base_clamp(base_pow2_floor(memory_bytes / 64), L2_OWED_LEAST, L2_OWED_MOST);
}

CELLAR_PRIVATE size_t l2_owed_bytes(uint64_t memory_bytes)
{
    const size_t cap = l2_owed_cap(memory_bytes);
    return cap + cap / L2_OWED_PLACE_BYTES * sizeof(uint32_t);
}

CELLAR_PRIVATE bool l2_owed_open(l2 *d)
{
    l2_owed *o = &d->owed;
    const size_t bytes = l2_owed_bytes(d->cfg.memory_bytes);
    o->at = base_alloc(d->cfg.account, BASE_MOD_L2_FILTER, bytes, NULL);
    if (o->at == NULL) { return false; }
    o->cap = l2_owed_cap(d->cfg.memory_bytes);
    o->places = o->cap / L2_OWED_PLACE_BYTES;
    o->place = (uint32_t *)(void *)(o->at + o->cap);
    memset(o->place, 0, o->places * sizeof *o->place);
    return true;
}

CELLAR_PRIVATE void l2_owed_close(l2 *d)
{
    base_free(d->cfg.account, BASE_MOD_L2_FILTER, d->owed.at, l2_owed_bytes(d->cfg.memory_bytes));
    d->owed.at = NULL;
}

static uint32_t l2_owed_size(uint32_t len)
{
    return (uint32_t)(sizeof(l2_change) + base_round_up(len, 8));
}

/* Return the change at a position, or NULL if the position left the list. */
static SYNC_HOLDS(L2_STALL) const unsigned char *l2_owed_at(const l2_owed *o, uint32_t position)
{
    const uint32_t off = position - o->gone; /* positions wrap together with `gone` */
    return off >= o->first && off < o->end ? o->at + off : NULL;
}

/* Find the row of `place` for a key. Return true if the list has its change already. Otherwise
 * *row is a row without a change of the list, or the last one that was tried. */
static SYNC_HOLDS(L2_STALL) bool l2_owed_find(const l2_owed *o, const l2_change *c,
                                              const void *bytes, uint32_t *row)
{
    bool free_row = false;
    for (uint32_t i = 0; i < L2_OWED_PROBES; i++) {
        const uint32_t at = (uint32_t)(c->hash + i) & (o->places - 1);
        const unsigned char *p = o->place[at] != 0 ? l2_owed_at(o, o->place[at] - 1) : NULL;
        if (p == NULL) {
            if (!free_row) { *row = at; }
            free_row = true;
            continue;
        }
        if (memcmp(p, c, sizeof *c) == 0 && memcmp(p + sizeof *c, bytes, c->len) == 0) {
            return true;
        }
        if (!free_row) { *row = at; }
    }
    return false;
}

/* Enter a change. Return false if there is no room. */
static SYNC_HOLDS(L2_STALL) bool l2_owed_enter(l2 *d, const l2_change *c, const void *bytes)
{
    l2_owed *o = &d->owed;
    const uint32_t size = l2_owed_size(c->len);
    uint32_t row = 0;
    const bool tomb = c->kind == L2_KIND_TOMB;
    if (tomb && l2_owed_find(o, c, bytes, &row)) { return true; }
    if (size > o->cap - o->end && o->first > 0) {
        memmove(o->at, o->at + o->first, o->end - o->first);
        o->gone += o->first;
        o->end -= o->first;
        o->first = 0;
    }
    if (size > o->cap - o->end) {
        o->over = true;
        if (!tomb) { (void)base_add_ar(&d->lost_controls, 1u); }
        return false;
    }
    memcpy(o->at + o->end, c, sizeof *c);
    memcpy(o->at + o->end + sizeof *c, bytes, c->len);
    if (tomb) { o->place[row] = o->gone + o->end + 1; }
    o->end += size;
    return true;
}

CELLAR_PRIVATE bool l2_owed_first(l2 *d, l2_change *c, unsigned char bytes[L2_OWED_LEN_MAX])
{
    l2_owed *o = &d->owed;
    sync_take(L2_STALL, &o->lock);
    const bool any = o->first < o->end;
    if (any) {
        memcpy(c, o->at + o->first, sizeof *c);
        BASE_ASSERT(c->len <= L2_OWED_LEN_MAX);
        memcpy(bytes, o->at + o->first + sizeof *c, c->len);
    }
    sync_drop(L2_STALL, &o->lock);
    return any;
}

CELLAR_PRIVATE void l2_owed_remove(l2 *d, const l2_change *c)
{
    sync_take(L2_STALL, &d->owed.lock);
    d->owed.first += l2_owed_size(c->len);
    sync_drop(L2_STALL, &d->owed.lock);
}

CELLAR_PRIVATE void l2_owed_floored(l2 *d)
{
    l2_owed *o = &d->owed;
    uint32_t kept = 0, size;
    sync_take(L2_STALL, &o->lock);
    /* Also for changes behind the FLOOR: no put came between. */
    for (uint32_t at = o->first; at < o->end; at += size) {
        l2_change c;
        memcpy(&c, o->at + at, sizeof c);
        size = l2_owed_size(c.len);
        if (c.kind == L2_KIND_TOMB) { continue; }
        memmove(o->at + kept, o->at + at, size);
        kept += size;
    }
    o->gone += o->end;
    o->first = 0;
    o->end = kept;
    o->over = false;
    sync_drop(L2_STALL, &o->lock);
}

/* ---- the closed tier ---- */

/* Return true if SUPER must be marked DIRTY first. Only level DROP waits for that. */
static bool l2_must_mark(const l2 *d)
{
    return d->cfg.level == L2_DROP && base_load_sc(&d->dirty) != L2_NOW_DIRTY;
}

CELLAR_PRIVATE l2_owing l2_closed_over(l2 *d, const l2_change *c, const void *bytes)
{
    uint32_t w = base_load_acq(&d->closed);
    bool made = false;
    while ((w & L2_CLOSED) != 0 && !l2_must_mark(d)) {
        if ((w & L2_MARKED) == 0) {
            if (l2_marker(d, BASE_VFS_BELL_MAKE) != 0) { break; }
            BASE_POINT("l2.bell_made");
            made = true;
        }
        sync_take(L2_STALL, &d->owed.lock);
        const uint32_t now = base_load_rlx(&d->closed);
        /* Otherwise the marker may have been removed since, or a sync may have begun. The seq_cst
         * load of `dirty` is paired with l2_sync: one of the two sees the other. */
        const bool same = ((now ^ w) & ~L2_MARKED) == 0 && !l2_must_mark(d);
        bool entered = false;
        if (same) {
            base_store_sc(&d->closed, now | L2_MARKED);
            entered = l2_owed_enter(d, c, bytes);
        }
        sync_drop(L2_STALL, &d->owed.lock);
        if (same) {
            L2_COUNT(d, relied);
            return entered ? L2_OWED : L2_OWED_FLOOR;
        }
        w = base_load_acq(&d->closed);
    }
    /* The worker removed the marker just before this one was made. No change relies on it. */
    if (made && !l2_is_closed(d)) { base_store_rel(&d->marker_late, 1u); }
    return L2_NOT_OWED;
}

CELLAR_PRIVATE l2_owing l2_close_tier(l2 *d, const l2_change *c, const void *bytes)
{
    sync_take(L2_STALL, &d->owed.lock);
    const uint32_t w = base_load_rlx(&d->closed);
    const bool mine = (w & (L2_CLOSED | L2_MARKED)) == 0;
    if (mine) { base_store_sc(&d->closed, w | L2_CLOSED); }
    sync_drop(L2_STALL, &d->owed.lock);
    if (mine) { L2_COUNT(d, closings); }
    const l2_owing owing = l2_closed_over(d, c, bytes);
    /* The log line follows the marker, because the host may write its log to the same disk. */
    if (mine) {
        base_log(d->cfg.log, BASE_LOG_WARNING, "l2", 0,
                 "the disk does not answer: the store continues in memory until it does");
    }
    return owing;
}

CELLAR_PRIVATE void l2_marker_tidy(l2 *d, bool late)
{
    sync_take(L2_STALL, &d->owed.lock);
    const uint32_t w = base_load_rlx(&d->closed);
    const bool mine = (w & L2_CLOSED) == 0;
    if (mine) { base_store_sc(&d->closed, w | L2_MARKED); }
    sync_drop(L2_STALL, &d->owed.lock);
    if (!mine) { return; }
    if (late) { base_store_rel(&d->marker_late, 0u); }
    l2_marker_remove(d);
    sync_take(L2_STALL, &d->owed.lock);
    base_store_sc(&d->closed, (w & ~L2_MARKED) + L2_CLOSED_ONE);
    sync_drop(L2_STALL, &d->owed.lock);
}

BASE_SIZE_END
