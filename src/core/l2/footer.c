/* SPDX-License-Identifier: MIT
 *
 * footer: read the footer lines of a segment.
 *
 * INVARIANTS A page that does not verify is read again without the page cache, then repaired if one
 *            bit is wrong.
 * LOCKING    Worker only: all pages go through `page`. */
#include "l2/io.h"

#include "l2/format.h"
#include "l2/progress.h"
#include "l2/slot.h"

BASE_SIZE_BEGIN

CELLAR_PRIVATE bool l2_foot_load(l2 *d, const l2_seg *g, uint64_t segseq, uint32_t index)
{
    const uint64_t at = (uint64_t)base_load_rlx(&g->place) * d->form.seg_bytes +
                        d->form.seg_bytes - (uint64_t)(index + 2) * L2_PAGE;
    const l2_footers *f = &d->footers;
    if (f->bytes != 0 && at >= f->at && at + L2_PAGE <= f->at + f->bytes) {
        memcpy(d->page, f->buf + (at - f->at), L2_PAGE);
        if (l2_foot_ok(&d->form, d->page, segseq, index)) { return true; }
    }
    base_vfs_file *const from[2] = { d->data_file, d->data_direct };
    for (int i = 0; i < 2; i++) {
        l2_beat(d);
        if (l2_read(d, from[i], d->page, L2_PAGE, at) != 0) { return false; }
        if (l2_foot_ok(&d->form, d->page, segseq, index)) { return true; }
    }
    const bool healed = l2_foot_heal(&d->form, d->page, segseq, index);
    if (healed) { L2_COUNT(d, healed); }
    return healed;
}

BASE_SIZE_END

CELLAR_PRIVATE bool l2_foot_each(l2 *d, uint32_t data_end, bool newest_first,
                                 void (*fn)(l2 *d, void *ctx, const l2_entry *e), void *ctx)
{
    uint32_t offs[L2_FOOT_ENTRIES + 1];
    const uint32_t count = l2_r16(d->page + 12);
    uint64_t off = (uint64_t)l2_r32(d->page + 8) * d->form.granule;
    for (uint32_t i = 0; i < count; i++) {
        const unsigned char *line = l2_foot_entry(d->page, i);
        uint32_t dist = 0;
        memcpy(&dist, line + 6, 3);
        offs[i] = (uint32_t)off;
        off += (uint64_t)dist * d->form.granule;
        l2_entry e;
        if (offs[i] < L2_HEAD_BYTES || dist == 0 || off > data_end || !l2_entry_kind(line, &e)) {
            return false;
        }
    }
    offs[count] = (uint32_t)off;
    for (uint32_t n = 0; n < count; n++) {
        const uint32_t i = newest_first ? count - 1 - n : n;
        const unsigned char *line = l2_foot_entry(d->page, i);
        l2_entry e = { .off = offs[i], .bytes = offs[i + 1] - offs[i] };
        (void)l2_entry_kind(line, &e);
        memcpy(&e.h48, line, 6);
        fn(d, ctx, &e);
    }
    return true;
}

CELLAR_PRIVATE bool l2_foot_walk(l2 *d, const l2_seg *g, uint64_t segseq, bool newest_first,
                                 void (*fn)(l2 *d, void *ctx, const l2_entry *e), void *ctx)
{
    for (uint32_t n = 0; n < g->footer_pages; n++) {
        if (!l2_foot_load(d, g, segseq, newest_first ? g->footer_pages - 1 - n : n) ||
            !l2_foot_each(d, g->data_end, newest_first, fn, ctx)) {
            return false;
        }
    }
    return true;
}

BASE_SIZE_BEGIN

CELLAR_PRIVATE bool l2_slot_lines(l2 *d, const l2_slot *s, bool newest_first,
                                  void (*fn)(l2 *d, void *ctx, const l2_entry *e), void *ctx)
{
    const uint32_t pages = (s->entries + L2_FOOT_ENTRIES - 1) / L2_FOOT_ENTRIES;
    for (uint32_t n = 0; n < pages; n++) {
        memcpy(d->page, l2_slot_foot(d, s, newest_first ? pages - 1 - n : n), L2_PAGE);
        if (!l2_foot_each(d, s->pos, newest_first, fn, ctx)) { return false; }
    }
    return true;
}

BASE_SIZE_END
