/* SPDX-License-Identifier: MIT
 *
 * recovery_chain: decide which of the found segments count.
 *
 * PICTURE    segments by number -> controls -> floor -> chain of headers, newest first: a gap is a
 *            hole
 * PROTOCOL   Hole: a range of the log that cannot be read may have held tombstones, so everything
 *            below its end is dead. The floor of the next header makes that permanent.
 *            META: each header has the serial of META at its time. Without a copy of that serial,
 *            and with records reclaimed that the older copy lacks, controls are missing. Then
 *            everything is dead.
 * LOCKING    None: no other thread uses the store yet. */
#include "l2/recovery_parts.h"

#include "l2/control.h"
#include "l2/format.h"
#include "l2/invalidations.h"
#include "l2/io.h"

BASE_SIZE_BEGIN

/* ---- order ---- */

CELLAR_PRIVATE void l2_finds_sort(l2_finds *f)
{
    l2_sort_rows(f->at, sizeof *f->at, f->count);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < f->count; i++) {
        l2_find *last = kept > 0 ? &f->at[kept - 1] : NULL;
        if (last == NULL || last->segseq != f->at[i].segseq) {
            f->at[kept++] = f->at[i];
        } else if (f->at[i].place < last->place) {
            *last = f->at[i];
        }
    }
    f->count = kept;
}

/* ---- controls ---- */

static bool l2_control_apply(l2 *d, const unsigned char *value, uint32_t bytes,
                                     uint64_t lsn, uint64_t *floor)
{
    if (bytes < 16) { return true; }
    if (value[0] == L2_CTL_FLOOR) {
        *floor = BASE_MAX(*floor, l2_r64(value + 8));
    } else if (value[0] == L2_CTL_NAMESPACE && value[1] <= L2_NAME_MAX && 16u + value[1] <= bytes) {
        const uint64_t generation = (uint64_t)value[3] << 32 | l2_r32(value + 8);
        const l2_namespace v = { l2_r32(value + 4), generation, l2_r32(value + 12) };
        return l2_namespace_apply(d, &v, value[2] != 0 ? (const char *)value + 16 : NULL, value[1]);
    }
    return l2_invalidation_control(d, value, bytes, lsn);
}

static const unsigned char *l2_kept_base(const l2_finds *f, const l2_find *g)
{
    return f->kept != NULL && f->kept_head.segseq == g->segseq ? f->kept->base : NULL;
}

/* Read and apply a control. Return false if it cannot be read, because its content is unknown. */
static bool l2_control_read(l2 *d, l2_finds *f, const l2_find *g, uint32_t off)
{
    const unsigned char *kept = l2_kept_base(f, g);
    unsigned char buf[L2_RECORD_HEAD + L2_CTL_BYTES_MAX + 64] BASE_ALIGNED(8);
    const uint32_t n = BASE_MIN((uint32_t)sizeof buf, g->data_end - off);
    l2_rec r;
    if (kept != NULL) { memcpy(buf, kept + off, n); }
    if ((kept == NULL &&
         l2_read(d, d->data_file, buf, n, (uint64_t)g->place * d->form.seg_bytes + off) != 0) ||
        !l2_rec_marked(&d->form, buf, g->segseq, off, off + n, &r) ||
        !l2_rec_whole(&d->form, buf, g->segseq, off, &r) || r.kind != L2_KIND_CONTROL) {
        return false;
    }
    return l2_control_apply(d, buf + L2_RECORD_HEAD, r.vlen, l2_lsn(d, g->segseq, off), &f->floor);
}

typedef struct l2_controls { l2_finds *f; const l2_find *g; bool ok; } l2_controls;

static void l2_control_line(l2 *d, void *ctx, const l2_entry *e)
{
    l2_controls *c = ctx;
    const bool known = (e->h48 == L2_CTL_TAG || e->h48 == L2_CTL_GLOB) &&
                       l2_lsn(d, c->g->segseq, e->off) < d->meta_lsn;
    if (e->kind != L2_KIND_CONTROL || known || !c->ok) { return; }
    c->ok = l2_control_read(d, c->f, c->g, e->off);
}

CELLAR_PRIVATE void l2_controls_read(l2 *d, l2_finds *f)
{
    for (uint32_t i = 0; i < f->count; i++) {
        l2_controls c = { f, &f->at[i], true };
        const l2_seg at = { .place = c.g->place, .footer_pages = c.g->footer_pages,
                            .data_end = c.g->data_end };
        if (c.g->controls == 0 ||
            ((l2_kept_base(f, c.g) != NULL
                  ? l2_slot_lines(d, f->kept, false, l2_control_line, &c)
                  : l2_foot_walk(d, &at, c.g->segseq, false, l2_control_line, &c)) && c.ok)) {
            continue;
        }
        f->floor = BASE_MAX(f->floor, l2_lsn(d, c.g->segseq + 1, 0));
        L2_COUNT(d, holes);
    }
    sync_take(GLOB, &d->invalidations.lock);
    f->floor = BASE_MAX(f->floor, d->invalidations.floor);
    sync_drop(GLOB, &d->invalidations.lock);
}

/* ---- chain ---- */

/* Check that stage.buf and data.seg are of one moment. There is always an open slot, so the stage
 * has the newest header, and it is of this run. The segment before it was found. Exception: a slot
 * that ended in a FLOOR has no successor, and nothing before it counts. */
static void l2_chain_top(l2 *d, l2_finds *f)
{
    const l2_find *top = f->count > 0 ? &f->at[f->count - 1] : NULL;
    const uint64_t last = top != NULL ? top->segseq : 0, least = BASE_MAX(last, d->super.born);
    const uint64_t used = top != NULL ? l2_lsn(d, last, top->data_end) : 0;
    uint64_t floor = 0;
    /* A run that continues in a segment has its mark there, and makes segments with new numbers. */
    const bool marked = d->super.born_end == 0 || f->staged >= d->super.made || f->marked;
    if ((f->staged < least || !marked) && used > f->floor + L2_FLOOR_ROOM) {
        floor = l2_lsn(d, BASE_MAX(least, f->staged) + 1, 0);
    } else if (f->staged_prev > last) {
        floor = l2_lsn(d, f->staged_prev + 1, 0);
    }
    if (floor <= f->floor) { return; }
    f->floor = floor;
    L2_COUNT(d, holes);
}

CELLAR_PRIVATE void l2_chain(l2 *d, l2_finds *f)
{
    const uint64_t newest = BASE_MAX(f->newest, f->count > 0 ? f->at[f->count - 1].segseq : 0);
    for (uint32_t i = 0; i < f->count; i++) { f->floor = BASE_MAX(f->floor, f->at[i].floor); }
    l2_chain_top(d, f);
    if (f->clean_lsn > l2_lsn(d, newest + 1, 0)) {
        f->floor = BASE_MAX(f->floor, f->clean_lsn);
        L2_COUNT(d, holes);
    }
    for (uint32_t i = f->count; i > 0; i--) {
        const l2_find *g = &f->at[i - 1];
        const uint64_t below = i > 1 ? f->at[i - 2].segseq : 0;
        if (g->prev == below || l2_lsn(d, g->prev + 1, 0) <= f->floor) { continue; }
        f->floor = BASE_MAX(f->floor, l2_lsn(d, g->segseq, 0));
        L2_COUNT(d, holes);
    }
}

CELLAR_PRIVATE void l2_meta_missed(l2 *d, l2_finds *f)
{
    for (uint32_t i = 0; i < f->count; i++) { f->meta = BASE_MAX(f->meta, f->at[i].meta); }
    if (f->meta <= d->meta_serial) { return; }
    f->meta_due = true;
    d->meta_serial = f->meta + ((f->meta ^ d->meta_serial) & 1);
    if (f->floor <= d->meta_lsn) { return; }
    const uint64_t newest = BASE_MAX(f->newest, f->count > 0 ? f->at[f->count - 1].segseq : 0);
    f->floor = BASE_MAX(f->floor, l2_lsn(d, newest + 1, 0));
    L2_COUNT(d, holes);
}

CELLAR_PRIVATE bool l2_meta_owes(const l2 *d, const l2_finds *f)
{
    bool owes = f->meta_due;
    for (uint32_t i = 0; i < f->count; i++) {
        const uint64_t end = l2_lsn(d, f->at[i].segseq + 1, 0);
        owes = owes || (f->at[i].controls > 0 && end <= f->floor && d->meta_lsn < end);
    }
    return owes;
}

BASE_SIZE_END
