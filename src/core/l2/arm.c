/* SPDX-License-Identifier: MIT
 *
 * arm: touch the pages of the stage that the next records need, so that callers do not wait for
 * them.
 *
 * PICTURE    slot   |records ..pos|<- armed: touched by the worker ->|pages that may fault|
 * INVARIANTS A put beyond the armed end is dropped. A change beyond it stores directly while the
 *            worker makes progress (log.c).
 *            A sync of the stage cleans its pages. So the limits are reset before it.
 * LOCKING    Worker only. The limits are in the slots, under L2_LOG.
 * LIMITS     One thread may wait for a page that writeback takes at that moment. At level ALWAYS
 *            pages are not armed (group_commit.c).
 * SEE ALSO   README.md: why pages are armed. */
#include "l2/steps.h"

#include "l2/health.h"
#include "l2/progress.h"

BASE_SIZE_BEGIN

#define L2_ARM_MS 500
#define L2_WINDOW_LEAST ((uint32_t)256 << 10)
/* Where the stage is synced. A part of a long value fits beside the reserve. */
#define L2_WINDOW_SYNCED ((uint32_t)192 << 10)
#define L2_WINDOW_IDLE ((uint32_t)16 << 10)

typedef struct l2_arming { /* a slot as it was under the lock */
    l2_slot *s;
    uint64_t segseq;
    uint32_t pos, entries, window;
} l2_arming;

CELLAR_PRIVATE int l2_arm_pages(l2 *d, const l2_slot *s, size_t from, size_t end)
{
    const size_t at = (size_t)(s->base - d->map);
    from = from / L2_PAGE * L2_PAGE;
    l2_beat(d);
    const int e = L2_DISK(d, arm, d->stage_file, d->map, at + from,
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
    /* A sync writes what was touched: where the stage is synced, the next slot waits. */
    if (n == 1 && d->cfg.level != L2_DROP && s->pos + 2 * (uint64_t)window < d->form.seg_bytes) {
        next = NULL;
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
    const uint32_t wanted = base_xchg_ar(&d->arm_wanted, 0u);
    if (wanted == 0 && now - d->arm_ms < L2_ARM_MS) { return; }
    l2_arming a[2];
    sync_take(L2_LOG, &d->log_lock);
    const uint64_t at = d->open_slot != NULL ? l2_lsn(d, d->open_slot->head.segseq,
                                                      d->open_slot->pos) : 0;
    sync_drop(L2_LOG, &d->log_lock);
    const bool synced = d->cfg.level != L2_DROP;
    const uint32_t least = BASE_MIN(synced ? L2_WINDOW_SYNCED : L2_WINDOW_LEAST,
                                    d->form.seg_bytes);
    /* A sync writes what was touched, also without a record. So where the stage is synced, the
     * window grows only for a record that does not fit into it. */
    const bool bounded = synced && at != d->arm_lsn;
    if (wanted == L2_ARM_MORE) {
        d->arm_window = BASE_MIN(BASE_MAX(d->arm_window, least / 2) * 2,
                                 bounded ? least : d->form.seg_bytes);
    } else if (at - d->arm_lsn < d->arm_window / 4) {
        d->arm_window = BASE_MAX(d->arm_window / 2, least);
    }
    /* An idle store keeps only a few pages armed, because touched pages are written back. */
    const uint32_t idle = BASE_MIN(L2_WINDOW_IDLE + 2 * d->reserve, least);
    const uint32_t window = at == d->arm_lsn && wanted != L2_ARM_MORE ? idle : d->arm_window;
    d->arm_ms = now;
    d->arm_lsn = at;
    const uint32_t n = l2_arm_list(d, window, a);
    for (uint32_t i = 0; i < n; i++) { l2_arm_slot(d, &a[i]); }
    if (wanted != 0) { l2_room_made(d); }
}

/* Reset the armed limits. A sync of the stage cleans its pages, and puts drop rather than wait. */
CELLAR_PRIVATE void l2_disarm(l2 *d)
{
    sync_take(L2_LOG, &d->log_lock);
    for (uint32_t i = 0; i < d->nstage; i++) {
        d->slot[i].armed_end = d->slot[i].armed_lines = d->slot[i].armed_soon = 0;
    }
    sync_drop(L2_LOG, &d->log_lock);
    base_store_rlx(&d->arm_wanted, (uint32_t)L2_ARM_AGAIN);
}

BASE_SIZE_END
