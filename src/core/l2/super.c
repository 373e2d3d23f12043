/* SPDX-License-Identifier: MIT
 *
 * super: store SUPER, and what it says of states that a power cut leaves.
 *
 * PICTURE    two copies, written in turn | page: number of the last durable state that is over
 *            at DROP: sync -> SUPER {state n is durable as a whole} -> before the next write the
 *            page says "n is over"
 * INVARIANTS A copy is synced before the other one is written: one of them is always valid.
 * LOCKING    SUPER belongs to the holder of `working`, its last page to that of `writing`. Each has
 *            a descriptor: the system reports an error of the device once for each.
 * SEE ALSO   segment.c: bytes of SUPER. README.md, "Power cuts at DROP". */
#include "l2/super.h"

#include "l2/io.h"
#include "l2/segment.h"

CELLAR_PRIVATE int l2_super_store(l2 *d)
{
    unsigned char page[L2_PAGE];
    l2_super *s = &d->super;
    s->last_seen_wall_ms = BASE_MAX(s->last_seen_wall_ms, l2_wall_now(d));
    s->clock_ms = l2_wall_clock(d);
    const uint64_t day = base_load_rlx(&d->day.window), used = base_load_rlx(&d->day.used);
    const uint64_t ahead = s->closed == 0 ? d->cfg.write_bpd / L2_DAY_STEPS : 0;
    /* Opens and kills without a put count nothing ahead. */
    if (s->closed != 0 || s->day != day || used > s->bytes_today) { s->bytes_today = used + ahead; }
    s->day = day;
    s->serial++;
    l2_super_write(page, s);
    int e = l2_write(d, d->super_file, page, L2_PAGE, (s->serial & 1) * L2_PAGE);
    if (e == 0) { e = l2_datasync(d, d->super_file); }
    if (e != 0) {
        s->serial--; /* the next try writes the same copy */
        return e;
    }
    d->walks_from = s->synced;
    if (base_load_acq(&d->doubt) == L2_DOUBT_FAILED) { /* SUPER names no data.new now */
        base_store_rel(&d->doubt, (uint32_t)L2_DOUBT_NOT);
        (void)L2_DISK(d, unlink, d->dir, "data.new");
    }
    return 0;
}

CELLAR_PRIVATE bool l2_walk_above(l2 *d, uint64_t end)
{
    if (d->walks_from >= end) { return true; }
    d->super.synced = base_load_acq(&d->synced);
    return l2_super_store(d) == 0;
}

/* ---- states that a power cut at DROP leaves ---- */

CELLAR_PRIVATE uint64_t l2_settled_over(l2 *d)
{
    unsigned char at[16] = { 0 };
    const int e = l2_read(d, d->super_file, at, sizeof at, (uint64_t)2 * L2_PAGE);
    return e == 0 && l2_r64(at) == ~l2_r64(at + 8) ? l2_r64(at) : UINT64_MAX;
}

CELLAR_PRIVATE void l2_settle(l2 *d)
{
    d->super.synced = base_load_acq(&d->synced);
    if (base_load_acq(&d->written) == d->super.synced) {
        base_store_rlx(&d->pressed, 0u);
        base_store_rlx(&d->settled, ++d->super.settled);
    }
}

CELLAR_PRIVATE int l2_unsettle(l2 *d)
{
    unsigned char page[L2_PAGE] = { 0 };
    const uint64_t settled = base_load_rlx(&d->settled);
    l2_w64(page, settled);
    l2_w64(page + 8, ~settled);
    int e = l2_write(d, d->over_file, page, sizeof page, (uint64_t)2 * L2_PAGE);
    if (e == 0) { e = l2_datasync(d, d->over_file); }
    if (e == 0) { base_store_rlx(&d->settled, (uint64_t)0); }
    return e;
}
