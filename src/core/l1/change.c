/* SPDX-License-Identifier: MIT
 *
 * change: the steps that set, delete, touch, increment and renew share.
 *
 * PICTURE    lock -> find -> classify the old entry -> commit hook -> save the old bytes
 * INVARIANTS hooks.commit runs inside the odd window of every change.
 * LOCKING    Inside the window of the bucket; l1_find_now: before it. */
#include "l1/change.h"
#include "l1/index.h"
#include "l1/record.h"
#include "l1/segment.h"

CELLAR_PRIVATE bool l1_commit(l1 *c, const l1_key *k, l1_change change, uint64_t *stamp)
{
    *stamp = 0;
    if (c->hooks.commit == NULL) { return true; }
    return c->hooks.commit(c->hooks.ctx, k->hash, k->generation, k->bytes, k->len, change, stamp);
}

BASE_SIZE_BEGIN

/* Return why an entry is not fresh: a tag ended it before its time was over, or it expired. */
BASE_COLD static l1_gone l1_old_ended(l1 *c, const l1_slot *slot)
{
    const l1_rec *r = &slot->rec;
    const int64_t end = l1_expires(c, slot->pos, r, NULL);
    if ((r->mask & L1_X_TAGS) == 0) { return L1_GONE_EXPIRED; }
    return base_clock_reached(c->clock, end) && !l1_tags_first(c, slot->pos, r, end)
               ? L1_GONE_EXPIRED : L1_GONE_TAG;
}

BASE_SIZE_END

/* Classify the entry that a change meets, under its lock, as a get would, tags included. To a
 * condition, an entry that no get returns is absent. A remembered error counts as a negative
 * entry. */
CELLAR_PRIVATE l1_gone l1_look_old(l1 *c, bool found, const l1_slot *slot)
{
    if (!found) { return L1_GONE_NOTHING; }
    if (slot->rec.due == 0 && (slot->rec.w0 & L1_W0_EXT) == 0) { return L1_GONE_VALUE; }
    const cellar_err err = l1_judge(c, slot->pos, &slot->rec, L1_SEE_ERRORS);
    if (err == CELLAR_MISS) { return l1_old_ended(c, slot); }
    return err == CELLAR_OK ? L1_GONE_VALUE : L1_GONE_NEGATIVE;
}

CELLAR_PRIVATE BASE_NOINLINE void l1_save_old(l1 *c, const l1_key *k, const l1_slot *slot,
                                      l1_overwritten *old)
{
    l1_left_of(c, slot->pos, &slot->rec, &old->left);
    base_seq_load(old->value, old->left.value, slot->rec.vlen);
    old->left.key = k->bytes;
    old->left.value = old->value;
    old->left.hash = k->hash;
    old->left.cause = L1_LEFT_REPLACED;
    old->left.uses = (uint8_t)l1_freq(slot->b, slot->i);
    if (slot->rec.tag_count != 0) {
        (void)l1_tags_load(c, slot->pos, &slot->rec, old->fps);
        old->left.tag_fps = old->fps;
    }
}

CELLAR_PRIVATE l1_seg *l1_find_now(l1 *c, const l1_key *k, l1_slot *slot, unsigned *q)
{
    l1_hold h;
    l1_lock_key(c, k->hash, &h, false);
    l1_seg *const g = l1_find(c, &h, k, slot) ? &c->seg[l1_seg_of(c, slot->pos)] : NULL;
    if (g != NULL && q != NULL) { /* in the window: the record is linked, so the segment stays */
        base_add_ar(&g->busy, 1u);
        *q = l1_seg_queue(g);
    }
    l1_unlock(c, &h);
    return g;
}
