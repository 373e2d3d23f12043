/* SPDX-License-Identifier: MIT
 *
 * unlink: remove entries from the index and hand them over to the listener.
 *
 * PICTURE    find the slot of a record -> lock its bucket from the version seen -> commit hook ->
 *            clear the slot, lower the counts, note the victim -> unlock -> .. -> hand over:
 *            all evicted ones to the tier, then each one to the listener
 * INVARIANTS The thread that unlinks a record notes the victim in the window, raises `busy` of the
 *            segment, and hands the victim over once, after its last unlock. An emptied segment
 *            with `busy` above 0 is parked, not freed: the listener reads the bytes in place. A
 *            rewrite keeps its source the same way.
 * LOCKING    l1_unlink: inside the window of the bucket. l1_drop, l1_linked: lane lock.
 *            l1_hand_over: none. */
#include "l1/index.h"
#include "l1/large.h"
#include "l1/policy.h"
#include "l1/quota_count.h"
#include "l1/record.h"
#include "l1/segment.h"
#include "l1/unlink.h"

/* Return whether a request hit the record since its insertion, or may have. The cursor lowers the
 * counter, so a place in main counts as a use: few records come there without one, and only while
 * main is below its share. */
static bool l1_was_used(const l1 *c, const l1_slot *slot)
{
    if (l1_freq(slot->b, slot->i) > 0) { return true; }
    return l1_seg_queue(&c->seg[l1_seg_of(c, slot->pos)]) == 1 &&
           (base_load_rlx(&c->policy) == L1_LRU || !l1_rule_now(c)->clock);
}

CELLAR_PRIVATE void l1_unlink(l1 *c, l1_hold *h, l1_slot *slot, l1_cause cause, uint64_t hash,
                              uint64_t stamp, l1_victims *out)
{
    unsigned uses = l1_freq(slot->b, slot->i);
    if (cause == L1_LEFT_CAPACITY && l1_was_used(c, slot)) { uses = BASE_MAX(uses, 1u); }
    l1_big *block = NULL;
    l1_cell *cell = NULL; /* its end may run free_fn: never in the window */
    bool charged = false;
    if (BASE_UNLIKELY(l1_form_of(&slot->rec) != 0)) {
        cell = l1_cell_of(c, slot->pos, &slot->rec);
        charged = (slot->rec.mask & L1_X_CHARGE) != 0;
        const bool has = cell == NULL || (slot->rec.mask & L1_X_APART) != 0;
        block = has ? l1_block_of(c, slot->pos, &slot->rec) : NULL;
        if (block != NULL) { l1_big_to(c, block, L1_IN_HAND); }
    }
    l1_slot_clear(slot);
    BASE_POINT("l1.evict.unlinked");
    const bool told = base_load_rlx(&c->want_left) != 0;
    const bool moves = cause == L1_LEFT_CAPACITY && base_load_rlx(&c->want_evicted) != 0;
    const bool wanted = told || moves;
    if (wanted || BASE_UNLIKELY(cell != NULL || charged)) {
        BASE_ASSERT(out->n < L1_VICTIMS);
        l1_victim *const x = &out->v[out->n++];
        *x = (l1_victim){.pos = slot->pos, .stamp = stamp, .hash = hash,
                         .generation = slot->rec.generation, .moves = moves, .untold = !told,
                         .cause = (uint8_t)cause, .uses = (uint8_t)uses};
        if (wanted || block != NULL || charged) {
            l1_seg *const g = &c->seg[l1_seg_of(c, slot->pos)];
            base_add_ar(&g->busy, 1u);
            if (moves) { base_add_ar(&g->moving, 1u); }
        } else {
            x->cell = cell;
        }
    } else if (block != NULL) {
        l1_large_retire(c, block);
    }
    l1_count_out(c, h->s, slot->pos, &slot->rec, cause != L1_LEFT_CAPACITY);
}

BASE_SIZE_BEGIN

/* ---- victims --------------------------------------------------------------------------------- */
/* Read a victim in place. False: its bytes are damaged, which no caller can mend. */
static bool l1_victim_read(l1 *c, const l1_victim *x, l1_rec *r, l1_left *left)
{
    const bool ok = l1_decode(c, x->pos, r);
    BASE_ASSERT(ok);
    if (!ok) { return false; }
    l1_left_of(c, x->pos, r, left);
    left->hash = x->hash;
    left->stamp = x->stamp;
    left->cause = (l1_cause)x->cause;
    left->uses = x->uses;
    left->block = left->value_len != 0 ? l1_block_of(c, x->pos, r) : NULL;
    sync_assert_none();
    return true;
}

/* Hand an evicted entry to the tier. */
static void l1_move_down(l1 *c, const l1_victim *x)
{
    l1_rec r;
    l1_left left;
    if (l1_victim_read(c, x, &r, &left)) { c->hooks.evicted(c->hooks.ctx, &left); }
    base_sub_ar(&c->seg[l1_seg_of(c, x->pos)].moving, 1u);
}

/* Hand one victim over: left hook, retire list, busy down. Return the cell of its object, NULL:
 * none. */
static l1_cell *l1_hand_over_one(l1 *c, const l1_victim *x, bool *blocks)
{
    l1_rec r;
    l1_left left;
    if (!l1_victim_read(c, x, &r, &left)) { return NULL; }
    l1_big *const block = l1_block_of(c, x->pos, &r);
    if (c->hooks.left != NULL && !x->untold) { c->hooks.left(c->hooks.ctx, &left); }
    BASE_POINT("l1.evict.handed");
    const uint64_t charge = l1_get_u64(c, x->pos, &r, L1_X_CHARGE, 0);
    l1_wipe(c, x->pos, &r);
    if (block != NULL) {
        l1_large_retire(c, block);
        *blocks = true;
    }
    base_sub_ar(&c->seg[l1_seg_of(c, x->pos)].busy, 1u);
    if (charge != 0) { l1_uncharge(c, charge); }
    return left.cell;
}

CELLAR_PRIVATE void l1_hand_over(l1 *c, l1_victims *v)
{
    if (v->n == 0) { return; }
    const uint64_t used = base_load_rlx(&c->account->used);
    bool blocks = false;
    for (unsigned i = 0; i < v->n; i++) { /* no listener delays one */
        if (v->v[i].moves) { l1_move_down(c, &v->v[i]); }
    }
    for (unsigned i = 0; i < v->n; i++) {
        const l1_victim *x = &v->v[i];
        l1_cell *const cell = x->cell != NULL ? x->cell : l1_hand_over_one(c, x, &blocks);
        if (cell != NULL) {
            const l1_hooks *const h = &c->hooks;
            const l1_cause cause = (l1_cause)x->cause;
            l1_cell_unlink(base_load_acq(&c->cells), cell,
                           h->cause != NULL ? h->cause(h->ctx, cause, x->generation) : 0);
        }
    }
    v->n = 0;
    l1_used_moved(c, used);
    if (blocks && base_load_rlx(&c->wipes) != 0) { (void)l1_retired_sweep(c, UINT64_MAX); }
}

CELLAR_PRIVATE void l1_moving_wait(l1 *c, uint64_t until_ns)
{
    sync_take(L1_SEG, &c->seg_lock);
    const uint32_t count = c->fresh;
    sync_drop(L1_SEG, &c->seg_lock);
    for (uint32_t i = 0; i < count; i++) {
        const l1_seg *g = &c->seg[i];
        while (base_load_acq(&g->moving) != 0 && base_now_ns() < until_ns) { base_yield(); }
    }
}

BASE_SIZE_END

/* ---- dropping -------------------------------------------------------------------------------- */
CELLAR_PRIVATE SYNC_UNCHECKED bool l1_drop(l1 *c, l1_lane *n, l1_entry *e, l1_cause cause,
                                           l1_victims *v)
{
    const uint64_t pos = e->slot.pos, hash = e->hash;
    l1_stripe *const s = l1_stripe_of(c, hash);
    l1_rec *const r = &e->slot.rec;
    l1_hold h;
    bool there = true;
    /* The lock of the stripe guards the shape of chains. Taken: a later drop trims. */
    const bool trim = BASE_UNLIKELY(base_load_rlx(&e->primary->ovf) != 0) &&
                      sync_try(L1_STRIPE, &s->lock);
    if (BASE_UNLIKELY(!l1_lock_here(s, e->primary, e->ver, &h))) {
        /* A writer was faster: a touch may have moved the time, a refresh the tags. */
        l1_lock_key(c, hash, &h, trim);
        there = l1_find_pos(c, &h, l1_tag_of(hash), pos, &e->slot) && l1_decode(c, pos, r) &&
                (cause != L1_LEFT_CAPACITY ? l1_is_over(c, pos, r, &cause)
                                           : !l1_is_written(c, pos, r, hash));
    }
    if (there) {
        uint64_t stamp = 0;
        const _Atomic uint32_t *const informs = c->hooks.informs;
        if (c->hooks.commit != NULL && (informs == NULL || base_load_sc(informs) != 0)) {
            (void)c->hooks.commit(c->hooks.ctx, hash, r->generation, l1_key_at(c, pos, r), r->klen,
                                  cause == L1_LEFT_EXPIRED ? L1_CHANGE_EXPIRE
                                  : cause == L1_LEFT_TAG   ? L1_CHANGE_UNTAG
                                                           : L1_CHANGE_EVICT,
                                  &stamp);
        }
        if (c->hooks.ended != NULL) {
            c->hooks.ended(c->hooks.ctx, hash, r->generation, cause,
                           (int64_t)base_load_rlx(&c->seg_base_ms[l1_seg_of(c, pos)]),
                           l1_freq(e->slot.b, e->slot.i));
        }
        l1_ticket_moves(c, n, pos);
        l1_unlink(c, &h, &e->slot, cause, hash, stamp, v);
        if (BASE_UNLIKELY(trim)) { l1_chain_trim(&h); }
        l1_counted(cause == L1_LEFT_EXPIRED ? &n->expired
                   : cause == L1_LEFT_CAPACITY ? &n->evicted : &n->cleared);
    }
    h.took = h.took || trim;
    l1_unlock_now(c, &h);
    return there;
}

CELLAR_PRIVATE bool l1_linked(l1 *c, l1_entry *e)
{
    const uint64_t pos = e->slot.pos;
    l1_stripe *const s = l1_stripe_of(c, e->hash);
    for (unsigned spins = 0;; spins++) {
        const uint64_t ls = base_load_acq(&s->ls);
        l1_hold h = {.s = s, .number = l1_number(ls, e->hash)};
        h.b = e->primary = l1_bucket_at(s, h.number);
        e->ver = base_load_acq(&h.b->ver);
        if ((e->ver & 1u) == 0) {
            const bool linked = l1_find_pos(c, &h, l1_tag_of(e->hash), pos, &e->slot);
            e->slot.rec.due = base_seq_u32(l1_at(c, pos) + 4); /* a touch may have moved it */
            base_fence_acq();
            /* A miss also needs an unchanged `ls`: a split may have moved the slot. */
            if (base_load_rlx(&h.b->ver) == e->ver &&
                (linked || base_load_acq(&s->ls) == ls)) {
                return linked;
            }
        } else if (spins > 64) { /* wait for the writer */
            l1_lock_key(c, e->hash, &h, false);
            l1_unlock(c, &h);
        } else {
            base_pause();
        }
    }
}

CELLAR_PRIVATE bool l1_entry_at(l1 *c, uint64_t pos, const l1_rec *r, l1_entry *e)
{
    e->slot.pos = pos;
    e->slot.rec = *r;
    e->hash = l1_hash_of(c, pos, r);
    return l1_linked(c, e);
}
