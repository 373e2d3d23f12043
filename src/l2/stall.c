/* SPDX-License-Identifier: MIT
 *
 * stall: keep callers running, and deletes safe, while the disk does not answer (a stall).
 *
 * PICTURE    worker sets `beat` before each call to the disk; 100 ms old: stalled, 500 ms: frozen
 *            slot   |records ..pos|<- armed: touched by the worker ->|pages that may fault|
 *            put    beyond the armed end, log busy, or stalled -> dropped
 *            get    that needs a read while stalled            -> miss
 * PROTOCOL   A delete beyond the armed end stores directly while the worker made progress within
 *            20 ms, and waits for longer silences. When the disk is frozen, the delete closes the
 *            tier, makes the stall marker (a file in /dev/shm) and returns.
 *            When the disk answers: FLOOR logged -> stall marker removed -> tier open.
 *            After a process death: the next open finds the marker and begins an empty store.
 * INVARIANTS While the tier is closed gets miss and puts are dropped. A change is finished once it
 *            has counted itself in `closed` with RUNG set. The reopening clears both bits and
 *            writes its FLOOR before that, so it comes later than each such change.
 *            A put checks `closed`, checks its stamp and reserves within one hold of the log lock.
 *            The FLOOR is written under that lock. So no put that saw an old stamp follows the
 *            FLOOR. At level DROP a change relies on the marker only while SUPER says DIRTY.
 *            New slots wait until META has each control that could not be logged.
 * LOCKING    `closed` by CAS; puts read it under L2_LOG. The holder of `working` stores `beat`; all
 *            threads read it relaxed.
 * LIMITS     One thread may wait for a page that writeback takes at that moment. The same holds
 *            beyond the armed end within the first 20 ms. Each thread may send one read to the
 *            stalled disk. At level DROP the first change after a sync waits until SUPER says
 *            DIRTY. Without /dev/shm changes wait and are counted. The marker is lost if a
 *            container gets a fresh /dev/shm within one boot, or if systemd removes files there
 *            (RemoveIPC).
 * SEE ALSO   README.md: why pages are armed, why a slow lock alone does not close the tier. */
#include "l2/l2_int.h"

#include <errno.h>

#define L2_QUIET_NS UINT64_C(20000000)
#define L2_STALLED_NS UINT64_C(100000000)
#define L2_FROZEN_NS UINT64_C(500000000)
#define L2_ARM_MS 500
#define L2_WINDOW_LEAST ((uint32_t)256 << 10)
#define L2_WINDOW_IDLE ((uint32_t)16 << 10)

/* ---- progress of the worker ---- */

static bool l2_silent_for(const l2 *d, uint64_t ns)
{
    const uint64_t beat = base_load_rlx(&d->beat);
    if (beat == 0) { return false; }
    const uint64_t now = base_now_ns();
    return now > beat && now - beat > ns;
}

CELLAR_PRIVATE bool l2_quiet(const l2 *d) { return l2_silent_for(d, L2_QUIET_NS); }
CELLAR_PRIVATE bool l2_stalled(const l2 *d)
{
    /* The leader of a commit is a caller, not the worker. */
    const uint64_t commit = base_load_rlx(&d->commit_ns);
    if (commit != 0 && base_now_ns() > commit + L2_STALLED_NS) { return true; }
    return l2_silent_for(d, L2_STALLED_NS);
}

CELLAR_PRIVATE bool l2_frozen(const l2 *d) { return l2_silent_for(d, L2_FROZEN_NS); }

CELLAR_PRIVATE void l2_beat(l2 *d)
{
    if (base_load_rlx(&d->beat) != 0) { base_store_rlx(&d->beat, base_now_ns()); }
}

/* Detect reads of callers that do not return; no further read is sent then. A read that has only
 * just begun proves nothing, even if none ended before it. */
CELLAR_PRIVATE void l2_reads_look(l2 *d)
{
    const uint64_t now = base_now_ns();
    if (now - d->reads_ns < L2_STALLED_NS) { return; }
    d->reads_ns = now;
    const uint64_t done = base_load_acq(&d->reads_done) + base_load_acq(&d->mapped.done);
    const uint64_t begun = base_load_acq(&d->reads_begun) + base_load_acq(&d->mapped.begun);
    base_store_rlx(&d->reads_stuck, d->reads_out && done == d->reads_seen ? 1u : 0u);
    d->reads_seen = done;
    d->reads_out = begun != done;
}

/* ---- armed pages ---- */

typedef struct l2_arming { /* a slot as it was under the lock */
    l2_slot *s;
    uint64_t segseq;
    uint32_t pos, entries, window;
} l2_arming;

static int l2_arm_pages(l2 *d, const l2_slot *s, size_t from, size_t end)
{
    const size_t at = (size_t)(s->base - d->map);
    from = from / L2_PAGE * L2_PAGE;
    l2_beat(d);
    const int e = d->vfs->arm(d->vfs->ctx, d->stage_file, d->map, at + from,
                              (size_t)base_round_up(end, L2_PAGE) - from);
    if (e != 0) { l2_io_failed(d, "l2_arm", d->stage_file, at + from, e); }
    return e;
}

/* Touch the pages that the next records and footer lines need, then raise the armed limits. */
static void l2_arm_slot(l2 *d, const l2_arming *a)
{
    const uint32_t seg = d->form.seg_bytes, lines = a->window / 64;
    const uint32_t first = a->entries / L2_FOOT_ENTRIES;
    const uint32_t last = (a->entries + lines) / L2_FOOT_ENTRIES + 1;
    const bool whole = (uint64_t)a->pos + a->window + (uint64_t)(last + 2) * L2_PAGE >= seg;
    int e;
    if (whole) {
        e = l2_arm_pages(d, a->s, a->pos, seg);
    } else {
        e = l2_arm_pages(d, a->s, a->pos, a->pos + a->window);
        const size_t top = seg - (size_t)(first + 1) * L2_PAGE;
        if (e == 0) { e = l2_arm_pages(d, a->s, seg - (size_t)(last + 2) * L2_PAGE, top); }
        if (e == 0) { e = l2_arm_pages(d, a->s, 0, L2_PAGE); }
        if (e == 0) { e = l2_arm_pages(d, a->s, seg - L2_PAGE, seg); }
    }
    if (e != 0) { return; }
    sync_take(L2_LOG, &d->log_lock);
    if (a->s->head.segseq == a->segseq && a->s->pos >= a->pos) {
        a->s->armed_end = whole ? seg : (a->pos + a->window) / L2_PAGE * L2_PAGE;
        a->s->armed_lines = whole ? UINT32_MAX : (last + 1) * L2_FOOT_ENTRIES;
        a->s->armed_soon = whole ? UINT32_MAX : a->pos + a->window / 2;
    }
    sync_drop(L2_LOG, &d->log_lock);
}

/* Find the slot that is filled now and the next one. Return their number. */
static uint32_t l2_arm_list(l2 *d, uint32_t window, l2_arming a[2])
{
    uint32_t n = 0;
    sync_take(L2_LOG, &d->log_lock);
    l2_slot *s = d->open_slot, *next = NULL;
    if (s != NULL) { a[n++] = (l2_arming){ s, s->head.segseq, s->pos, s->entries, window }; }
    for (uint32_t i = 0; i < d->nstage; i++) { /* in the order of l2_slot_open */
        l2_slot *c = &d->slot[i];
        if (c->state == L2_SLOT_READY) { next = c; break; }
        if (c->state == L2_SLOT_FREE && next == NULL) { next = c; }
    }
    if (next != NULL) {
        if (next->state == L2_SLOT_FREE) { next->pos = next->entries = 0; }
        a[n++] = (l2_arming){ next, next->head.segseq, next->pos, next->entries, window };
    }
    sync_drop(L2_LOG, &d->log_lock);
    return n;
}

CELLAR_PRIVATE void l2_arm_work(l2 *d)
{
    const int64_t now = base_now_ms(d->cfg.clock);
    const bool wanted = base_xchg_ar(&d->arm_wanted, 0u) != 0;
    if (!wanted && now - d->arm_ms < L2_ARM_MS) { return; }
    l2_arming a[2];
    sync_take(L2_LOG, &d->log_lock);
    const uint64_t at = d->open_slot != NULL ? l2_lsn(d, d->open_slot->head.segseq,
                                                      d->open_slot->pos) : 0;
    sync_drop(L2_LOG, &d->log_lock);
    const uint32_t least = BASE_MIN(L2_WINDOW_LEAST, d->form.seg_bytes);
    if (wanted) {
        d->arm_window = BASE_MIN(BASE_MAX(d->arm_window, least / 2) * 2, d->form.seg_bytes);
    } else if (at - d->arm_lsn < d->arm_window / 4) {
        d->arm_window = BASE_MAX(d->arm_window / 2, least);
    }
    /* An idle store keeps only a few pages armed, because touched pages are written back. */
    const uint32_t window = at == d->arm_lsn && !wanted ? BASE_MIN(L2_WINDOW_IDLE + 2 * d->reserve,
                                                                   least) : d->arm_window;
    d->arm_ms = now;
    d->arm_lsn = at;
    const uint32_t n = l2_arm_list(d, window, a);
    for (uint32_t i = 0; i < n; i++) { l2_arm_slot(d, &a[i]); }
}

CELLAR_PRIVATE void l2_arm_wish(l2 *d)
{
    if (base_load_rlx(&d->arm_wanted) != 0) { return; }
    base_store_rel(&d->arm_wanted, 1u);
    l2_ring(d);
}

/* ---- closed tier ---- */

static int l2_bell(l2 *d, base_vfs_bell how)
{
    return d->vfs->bell != NULL ? d->vfs->bell(d->vfs->ctx, d->bell_id, how) : ENOSYS;
}

CELLAR_PRIVATE void l2_bell_name(l2 *d, const l2_stage_id *stage)
{
    const uint64_t device = stage->device != 0 ? base_mix64(stage->device) : 0;
    const uint64_t born = stage->born_ns != 0 ? base_mix64((uint64_t)stage->born_ns) : 0;
    memcpy(d->bell_id, d->super.uuid, sizeof d->bell_id);
    l2_w64(d->bell_id, l2_r64(d->bell_id) ^ stage->inode);
    l2_w64(d->bell_id + 8, l2_r64(d->bell_id + 8) ^ device ^ born);
}

/* Look for the marker. Only these codes prove that there is none, or no place for one. */
CELLAR_PRIVATE bool l2_bell_found(l2 *d)
{
    const int e = l2_bell(d, BASE_VFS_BELL_LOOK);
    return e != ENOENT && e != ENOTDIR && e != EACCES && e != ENOSYS;
}

CELLAR_PRIVATE void l2_bell_gone(l2 *d) { (void)l2_bell(d, BASE_VFS_BELL_REMOVE); }

CELLAR_PRIVATE void l2_bell_made(l2 *d) { (void)l2_bell(d, BASE_VFS_BELL_MAKE); }

/* Return true if SUPER must be marked DIRTY first. Only level DROP waits for that. */
static bool l2_must_mark(const l2 *d)
{
    return d->cfg.level == L2_DROP && base_load_sc(&d->dirty) != L2_NOW_DIRTY;
}

CELLAR_PRIVATE bool l2_closed_over(l2 *d)
{
    uint32_t w = base_load_acq(&d->closed);
    bool made = false;
    while ((w & L2_CLOSED) != 0 && !l2_must_mark(d)) {
        if ((w & L2_RUNG) == 0 && !BASE_MUTANT("l2.no_doorbell")) {
            if (l2_bell(d, BASE_VFS_BELL_MAKE) != 0) { break; }
            BASE_POINT("l2.bell_made");
            made = true;
        }
        const uint32_t next = (w | L2_RUNG) + L2_CLOSED_ONE;
        if (base_cas_sc(&d->closed, w, next)) { /* l2_reopen clears both bits. */
            L2_COUNT(d, relied);
            /* seq_cst, paired with l2_sync: one of the two sees the other. */
            return !l2_must_mark(d);
        }
        w = base_load_acq(&d->closed);
    }
    /* The worker removed the marker just before this one was made. No change relies on it. */
    if (made && !l2_is_closed(d)) { base_store_rel(&d->bell_late, 1u); }
    return false;
}

CELLAR_PRIVATE bool l2_close_tier(l2 *d)
{
    const uint32_t w = base_load_acq(&d->closed);
    const bool mine = (w & (L2_CLOSED | L2_RUNG)) == 0 && base_cas_sc(&d->closed, w, w | L2_CLOSED);
    if (mine) { L2_COUNT(d, closings); }
    const bool over = l2_closed_over(d);
    /* The log line follows the marker, because the host may write its log to the same disk. */
    if (mine) {
        base_log(d->cfg.log, BASE_LOG_WARNING, "l2", 0,
                 "the disk does not answer: the store continues in memory until it does, "
                 "then with an empty disk tier");
    }
    return over;
}

/* Remove a late marker. RUNG alone keeps other threads from closing the tier, so no change can rely
 * on the marker that is removed. */
static void l2_bell_tidy(l2 *d)
{
    const uint32_t w = base_load_acq(&d->closed);
    if ((w & L2_CLOSED) != 0 || !base_cas_sc(&d->closed, w, w | L2_RUNG)) { return; }
    base_store_rel(&d->bell_late, 0u);
    l2_bell_gone(d);
    (void)base_xchg_ar(&d->closed, w + L2_CLOSED_ONE);
}

CELLAR_PRIVATE void l2_reopen(l2 *d)
{
    if (base_load_acq(&d->bell_late) != 0) { l2_bell_tidy(d); }
    if (!l2_is_closed(d)) { return; }
    BASE_POINT("l2.reopen");
    if (BASE_MUTANT("l2.bell_before_floor")) { l2_bell_gone(d); }
    l2_empty(d);
    BASE_POINT("l2.reopen_floor");
    const uint32_t before = base_load_acq(&d->closed);
    l2_bell_gone(d);
    BASE_POINT("l2.reopen_open");
    uint32_t w = base_load_acq(&d->closed);
    while (!base_cas_sc(&d->closed, w, (w & ~(L2_CLOSED | L2_RUNG)) + L2_CLOSED_ONE)) {
        /* acquire in l2_reserve_held: each stamp raised before is visible there */
        w = base_load_acq(&d->closed);
    }
    /* A change came to rely on the marker meanwhile and may have made it after its removal. */
    if (w != before) { base_store_rel(&d->bell_late, 1u); }
    base_log(d->cfg.log, BASE_LOG_WARNING, "l2", 0,
             "the disk answers again: the disk tier restarts empty");
}
