/* SPDX-License-Identifier: MIT
 *
 * rewrite: touch, increment, renew, give a version: changes that keep the entry.
 *
 * PICTURE    in place, under the bucket lock alone: touch, increment
 *            else: lane of the thread -> room (room.c) -> copy the record with other fields ->
 *            bucket lock -> commit hook -> redirect the slot -> unlock
 * INVARIANTS The entry does not end: no report, and an oversized block moves along.
 * LOCKING    In place: bucket only. Rewrite: lane, then bucket.
 * SEE ALSO   write.c: set and delete. */
#include <string.h>

#include "l1/change.h"
#include "l1/evict.h"
#include "l1/index.h"
#include "l1/large.h"
#include "l1/quota_count.h"
#include "l1/record.h"
#include "l1/segment.h"
#include "l1/unlink.h"

typedef struct l1_edit {
    bool add_version, set_times; /* neither, without renew: an equal copy, free of pins */
    const l1_renewal *renew;
    int64_t deadline_ms, idle_ms; /* with set_times; idle_ms -1: unchanged */
} l1_edit;

/* Return the l2_addr of an entry after a change: the record on disk is out of date. */
static uint64_t l1_addr_changed(uint64_t addr)
{
    return addr == 0 || addr == L1_ADDR_NEVER ? addr : L1_ADDR_LATER | (addr & L1_ADDR_MARK);
}

BASE_NOINLINE static void l1_addr_store(l1 *c, const l1_slot *slot)
{
    unsigned char *at = l1_at(c, slot->pos) + l1_field(&slot->rec, L1_X_L2);
    base_seq_store_u64(at, l1_addr_changed(base_seq_u64(at)));
}

BASE_INLINE void l1_addr_changes(l1 *c, const l1_slot *slot)
{
    if (BASE_UNLIKELY((slot->rec.mask & L1_X_L2) != 0)) { l1_addr_store(c, slot); }
}

CELLAR_PRIVATE void l1_clean(l1 *c, const l1_key *k, uint64_t addr)
{
    l1_hold h;
    l1_slot slot;
    uint64_t stamp;
    l1_lock_key(c, k->hash, &h, false);
    if (l1_find(c, &h, k, &slot) && (slot.rec.mask & L1_X_L2) != 0 &&
        l1_commit(c, k, L1_CHANGE_CLEAN, &stamp)) {
        base_seq_store_u64(l1_at(c, slot.pos) + l1_field(&slot.rec, L1_X_L2), addr);
    }
    l1_unlock(c, &h);
}

BASE_INLINE cellar_err l1_sum(int64_t a, int64_t b, int64_t *out)
{
    if (!__builtin_add_overflow(a, b, out)) { return CELLAR_OK; }
    *out = b < 0 ? INT64_MIN : INT64_MAX;
    return CELLAR_E_RANGE;
}

BASE_SIZE_BEGIN

/* Set the tags of the image: those of the record, or the new ones of a refresh. */
static void l1_image_tags(l1 *c, const l1_slot *slot, const l1_edit *e, l1_put_spec *spec,
                          uint64_t fps[L1_TAG_MAX])
{
    const l1_rec *r = &slot->rec;
    const l1_renewal *fresh = e->renew != NULL && e->renew->times ? e->renew : NULL;
    spec->tag_count = r->tag_count;
    spec->tag_fps = fps;
    if (fresh != NULL && fresh->tag_count != 0) {
        spec->tag_count = fresh->tag_count;
        spec->tag_fps = fresh->tag_fps;
        spec->tag_born = fresh->tag_born;
    } else if (r->tag_count != 0) {
        const uint64_t born = l1_tags_load(c, slot->pos, r, fps);
        spec->tag_born = fresh != NULL ? BASE_MAX(born, fresh->tag_born) : born;
    }
}

/* Return the deadline of a touched entry. With an idle time it is the greatest age: it may come
 * nearer, but never move away. */
BASE_INLINE int64_t l1_touched(const l1 *c, const l1_slot *slot, int64_t deadline_ms,
                               int64_t idle_ms)
{
    return (slot->rec.mask & L1_X_IDLE) != 0 && idle_ms != 0
               ? BASE_MIN(deadline_ms, l1_deadline(c, slot->pos, &slot->rec)) : deadline_ms;
}

/* Build the image of a linked record with an edit applied. */
static bool l1_image_of(l1 *c, const l1_key *k, const l1_slot *slot, const l1_edit *e,
                        l1_put_spec *spec, uint64_t fps[L1_TAG_MAX], l1_image *im)
{
    const l1_rec *r = &slot->rec;
    l1_info info;
    l1_info_of(c, slot->pos, r, &info);
    const unsigned char *p = l1_at(c, slot->pos);
    memset(spec, 0, sizeof *spec);
    spec->value_len = info.value_len;
    spec->deadline_ms =
        e->set_times ? l1_touched(c, slot, e->deadline_ms, e->idle_ms) : info.deadline_ms;
    spec->idle_ms = e->set_times && e->idle_ms >= 0 ? e->idle_ms : info.idle_ms;
    spec->stale_ms = info.stale_ms;
    const bool fresh = e->renew != NULL && e->renew->times;
    if (fresh) {
        spec->deadline_ms = e->renew->deadline_ms;
        spec->stale_ms = e->renew->stale_ms;
        spec->idle_ms = e->renew->idle_ms;
    }
    spec->flags = (e->add_version || info.version != 0 ? L1_WANT_VERSION : 0u) |
                  (info.born_exact ? L1_WANT_BORN : 0u) | (fresh ? e->renew->flags : 0u);
    spec->user_flags = info.user_flags;
    spec->kind = info.kind;
    spec->fails = e->renew == NULL ? info.fails
                  : e->renew->times ? e->renew->fails
                  : info.fails != 0 ? (uint8_t)L1_REFRESH_PAUSE : 0;
    spec->cost = info.cost;
    spec->retry_at = e->renew != NULL ? e->renew->retry_at : info.retry_at;
    spec->loader_code = e->renew != NULL ? e->renew->loader_code : info.loader_code;
    spec->l2_addr = l1_addr_changed(info.l2_addr);
    spec->charge = info.charge;
    l1_image_tags(c, slot, e, spec, fps);
    if (!l1_layout(c, k, spec, l1_form_of(r), c->seg_bytes, im)) { return false; }
    im->block = l1_block_of(c, slot->pos, r);
    im->cell = l1_cell_of(c, slot->pos, r);
    im->value = p + r->value_off;
    im->version = info.version;
    if (info.born_exact && !fresh) { im->born_ms = (uint64_t)info.born_ms; }
    if ((r->mask & L1_X_IDLE) != 0 && !e->set_times && !fresh) {
        im->last_use_ms = l1_get_u64(c, slot->pos, r, L1_X_IDLE, 4);
    }
    return true;
}

/* Return whether a refresh may give a stale value new times. */
static bool l1_may_renew(l1 *c, bool found, const l1_slot *slot, const l1_edit *e)
{
    return found && e->renew != NULL &&
           l1_judge(c, slot->pos, &slot->rec, L1_STALE_OK) == CELLAR_STALE;
}

/* Redirect the slot of the key to a copy with other fields. OK, MISS, ABSENT of a touch, E_SPACE.
 * The entry does not end: no report, and an oversized block moves along. */
static SYNC_UNCHECKED cellar_err l1_rewrite(l1 *c, const l1_key *k, const l1_edit *e,
                                            uint64_t *version, uint64_t *stamp)
{
    l1_stripe *const s = l1_stripe_of(c, k->hash);
    l1_victims v;
    l1_toll toll = { .generation = k->generation, .stays = k };
    v.n = 0;
    for (;;) {
        l1_slot slot;
        l1_put_spec spec;
        l1_image im;
        uint64_t fps[L1_TAG_MAX], pos = 0;
        l1_room room = L1_ROOM_NONE;
        l1_hold h;
        unsigned q;
        l1_seg *const old = l1_find_now(c, k, &slot, &q);
        if (old == NULL) { return CELLAR_MISS; }
        cellar_err err = CELLAR_E_SPACE; /* no room for more fields, or none in the log */
        const bool fits = l1_image_of(c, k, &slot, e, &spec, fps, &im);
        const uint64_t from = slot.pos;
        const uint32_t size = fits ? im.rec.size : 0;
        l1_lane *const n = l1_lane_take(c);
        if (fits) { room = l1_room_for(c, n, q, size, false, &toll, &v, &pos); }
        if (room == L1_ROOM_OK) {
            /* Values above 1 KiB do not change in place: write them before the window. */
            const bool early = im.rec.vlen > L1_SMALL_COPY;
            base_fence_rel(); /* as in l1_append */
            if (early) { base_seq_move(l1_at(c, pos) + im.rec.value_off, im.value, im.rec.vlen); }
            l1_lock_key(c, k->hash, &h, false);
            const bool found = l1_find(c, &h, k, &slot);
            l1_gone o = l1_look_old(c, found, &slot);
            const bool may = o == L1_GONE_VALUE || l1_may_renew(c, found, &slot, e);
            err = may ? CELLAR_OK : e->set_times && l1_is_fresh(o) ? CELLAR_ABSENT : CELLAR_MISS;
            /* An in-place write may have made its value a few bytes longer meanwhile. */
            if (err == CELLAR_OK &&
                (slot.pos != from || !l1_image_of(c, k, &slot, e, &spec, fps, &im) ||
                 im.rec.size != size)) {
                err = CELLAR_E_BUSY;
            }
            uint64_t st = 0;
            if (err == CELLAR_OK && e->renew != NULL && !l1_commit(c, k, L1_CHANGE_PUBLISH, &st)) {
                err = CELLAR_CONFLICT;
            }
            if (err == CELLAR_OK) {
                if (e->set_times) { (void)l1_commit(c, k, L1_CHANGE_TOUCH, &st); }
                if (stamp != NULL) { *stamp = st; }
                if (e->add_version && im.version == 0) {
                    im.version = base_add_rlx(&s->next_version, (uint64_t)1) + 1;
                }
                if (version != NULL) { *version = im.version; }
                l1_write_head(c, pos, &im);
                if (!early) { l1_write_value(c, pos, &im); }
                l1_count_in(c, s, pos, k->generation, k->hash,
                            l1_weight(c, from, &slot.rec) - slot.rec.size + im.rec.size,
                            l1_is_absent(c, from, &slot.rec), NULL);
                base_store_rlx(&slot.b->off[slot.i], (uint32_t)(pos >> c->gshift));
                l1_ticket_moves(c, n, from);
                l1_count_out(c, s, from, &slot.rec, true);
            }
            l1_unlock(c, &h);
            l1_rec r;
            if (err == CELLAR_OK && l1_decode(c, pos, &r)) { l1_dues(c, pos, &r); }
            if (err == CELLAR_OK) {
                l1_wipe(c, from, &slot.rec);
                l1_lane_used(c, n, k->hash, im.block != NULL);
            } else {
                /* The cursor must find a record here. The reserved bytes are the last of their
                 * segment: undo. */
                l1_log_undo(c, pos, size);
            }
        }
        base_sub_ar(&old->busy, 1u);
        sync_drop(L1_LANE, &n->lock);
        if (v.n != 0) { l1_hand_over(c, &v); }
        if (room == L1_ROOM_AGAIN && toll.busy) { base_yield(); }
        if (room == L1_ROOM_AGAIN) { l1_retired_some(c); } else { l1_after_set(c, false); }
        if (room != L1_ROOM_AGAIN && err != CELLAR_E_BUSY) { return err; }
    }
}

CELLAR_PRIVATE cellar_err l1_version(l1 *c, const l1_key *k, uint64_t *version)
{
    l1_info info;
    cellar_err err = l1_inspect(c, k, NULL, 0, &info, L1_PEEK);
    if (err == CELLAR_OK && info.version == 0) {
        const l1_edit e = {.add_version = true};
        return l1_rewrite(c, k, &e, version, NULL);
    }
    *version = info.version;
    return err;
}

CELLAR_PRIVATE cellar_err l1_renew(l1 *c, const l1_key *k, const l1_renewal *r, uint64_t *stamp)
{
    const l1_edit e = {.renew = r};
    return l1_rewrite(c, k, &e, NULL, stamp);
}

BASE_SIZE_END

/* ---- touch ----------------------------------------------------------------------------------- */
CELLAR_PRIVATE cellar_err l1_touch(l1 *c, const l1_key *k, int64_t deadline_ms, int64_t idle_ms,
                                   uint64_t *stamp)
{
    l1_hold h;
    l1_slot slot;
    uint64_t st = 0;
    bool rewrite = false;
    const int64_t now = base_now_ms(c->clock);
    l1_lock_key(c, k->hash, &h, false);
    const bool found = l1_find(c, &h, k, &slot);
    const l1_gone o = l1_look_old(c, found, &slot);
    cellar_err err = !l1_is_fresh(o) ? CELLAR_MISS : o != L1_GONE_VALUE ? CELLAR_ABSENT : CELLAR_OK;
    if (err == CELLAR_OK) {
        const l1_rec *r = &slot.rec;
        unsigned char *p = l1_at(c, slot.pos);
        const bool has_idle = (r->mask & L1_X_IDLE) != 0;
        const int64_t until = l1_touched(c, &slot, deadline_ms, idle_ms);
        uint32_t due = l1_encode_due(c, slot.pos, until, r->mask);
        /* As in l1_layout: a later deadline may not fit relative to the segment of a later copy. */
        const bool exact = (r->mask & L1_X_STALE) != 0 && until != BASE_NEVER_MS;
        rewrite = ((r->mask & L1_X_DEADLINE) == 0 &&
                   (exact || due == L1_DUE_EXT || l1_due_far(c, until))) ||
                  (idle_ms >= 0 && (idle_ms > 0) != has_idle);
        if (!rewrite) {
            (void)l1_commit(c, k, L1_CHANGE_TOUCH, &st);
            l1_addr_changes(c, &slot);
            if ((r->mask & L1_X_DEADLINE) != 0 && until != BASE_NEVER_MS) {
                base_seq_store_u64(p + l1_field(r, L1_X_DEADLINE), (uint64_t)until);
            }
            base_seq_store_u32(p + 4, due);
            if (has_idle) {
                unsigned char *f = p + l1_field(r, L1_X_IDLE);
                if (idle_ms > 0) { base_seq_store_u32(f, (uint32_t)idle_ms); }
                base_seq_store_u64(f + 4, (uint64_t)BASE_MAX(now, (int64_t)base_seq_u64(f + 4)));
            }
            int64_t keep;
            l1_rec after = *r;
            after.due = due;
            l1_due_changed(c, slot.pos, l1_expires(c, slot.pos, &after, &keep));
        }
    }
    l1_unlock(c, &h);
    if (rewrite) {
        const l1_edit e = {.set_times = true, .deadline_ms = deadline_ms, .idle_ms = idle_ms};
        return l1_rewrite(c, k, &e, NULL, stamp);
    }
    if (stamp != NULL) { *stamp = st; }
    return err;
}

/* ---- increment ------------------------------------------------------------------------------- */
/* Add in place once. L1_APPEND: pinned; L1_AGAIN: absent. */
BASE_ALWAYS_INLINE l1_done l1_incr_in_place(l1 *c, const l1_key *k, int64_t delta,
                                            int64_t *now_value, l1_overwritten *old,
                                            cellar_err *err, uint64_t *stamp)
{
    l1_hold h;
    l1_slot slot;
    l1_done done = L1_DONE;
    bool announce = false;
    l1_lock_key(c, k->hash, &h, false);
    const bool found = l1_find(c, &h, k, &slot);
    const l1_gone o = l1_look_old(c, found, &slot);
    if (o != L1_GONE_VALUE) {
        done = L1_AGAIN;
    } else if (slot.rec.vlen != 8 || (slot.rec.w0 & L1_W0_BIG) != 0) {
        *err = CELLAR_E_TYPE;
    } else {
        unsigned char *p = l1_at(c, slot.pos);
        const _Atomic uint32_t *w0 = (const _Atomic uint32_t *)(const void *)p;
        if ((base_load_sc(w0) & L1_W0_PINNED) != 0) {
            done = L1_APPEND;
        } else if (!l1_commit(c, k, L1_CHANGE_INCR, stamp)) {
            *err = CELLAR_CONFLICT;
        } else {
            announce = base_load_rlx(&c->want_left) != 0;
            if (BASE_UNLIKELY(announce)) {
                l1_save_old(c, k, &slot, old);
                old->left.stamp = *stamp;
            }
            *err = l1_sum((int64_t)base_seq_u64(p + slot.rec.value_off), delta, now_value);
            l1_addr_changes(c, &slot);
            base_seq_store_u64(p + slot.rec.value_off, (uint64_t)*now_value);
            if ((slot.rec.mask & L1_X_VERSION) != 0) {
                base_seq_store_u64(p + l1_field(&slot.rec, L1_X_VERSION),
                                   base_add_rlx(&h.s->next_version, (uint64_t)1) + 1);
            }
            if (BASE_UNLIKELY((slot.rec.mask & L1_X_IDLE) != 0)) { /* a use, like a set */
                unsigned char *f = p + l1_field(&slot.rec, L1_X_IDLE) + 4;
                base_seq_store_u64(f, BASE_MAX((uint64_t)base_now_ms(c->clock), base_seq_u64(f)));
            }
            l1_freq_hit(slot.b, slot.i);
        }
    }
    l1_unlock(c, &h);
    if (announce && c->hooks.left != NULL) { c->hooks.left(c->hooks.ctx, &old->left); }
    return done;
}

BASE_SIZE_BEGIN

/* Increment in rounds. `done`: how the first try in place ended. A pinned counter is copied, and
 * its readers keep the old bytes; an absent one gets its first value. */
BASE_NOINLINE static cellar_err l1_incr_rest(l1 *c, const l1_key *k, int64_t delta, int64_t init,
                                             const l1_put_spec *if_new, bool only_if_present,
                                             l1_done done, int64_t *now_value,
                                             l1_overwritten *old, uint64_t *stamp, l1_gone *gone)
{
    cellar_err err = CELLAR_OK;
    for (unsigned round = 0; done != L1_DONE; round++) {
        if (done == L1_APPEND) {
            const l1_edit e = {.renew = NULL};
            err = l1_rewrite(c, k, &e, NULL, NULL);
            if (err != CELLAR_OK && err != CELLAR_MISS) { return err; }
        } else {
            if (only_if_present) { return CELLAR_MISS; }
            l1_put_spec p = *if_new;
            int64_t value;
            const cellar_err sum = l1_sum(init, delta, &value);
            unsigned char bytes[8];
            memcpy(bytes, &value, 8);
            p.value = bytes;
            p.value_len = 8;
            p.change = L1_CHANGE_INCR;
            p.flags |= L1_IF_ABSENT;
            err = l1_put(c, k, &p);
            *gone = p.gone;
            if (err == CELLAR_OK) {
                *now_value = value;
                *stamp = p.stamp;
                return sum;
            }
            if (err != CELLAR_EXISTS) { return err; }
        }
        if (round == 64) { return CELLAR_E_BUSY; } /* other threads were faster each time */
        done = l1_incr_in_place(c, k, delta, now_value, old, &err, stamp);
    }
    if (err == CELLAR_OK || err == CELLAR_E_RANGE) { *gone = L1_GONE_VALUE; }
    return err;
}

BASE_SIZE_END

CELLAR_PRIVATE cellar_err l1_incr_reported(l1 *c, const l1_key *k, int64_t delta, int64_t init,
                                           const l1_put_spec *if_new, bool only_if_present,
                                           int64_t *now_value, uint64_t *stamp, l1_gone *gone)
{
    l1_overwritten old;
    uint64_t st = 0;
    cellar_err err = CELLAR_OK;
    const l1_done done = l1_incr_in_place(c, k, delta, now_value, &old, &err, &st);
    if (BASE_LIKELY(done == L1_DONE)) {
        *gone = err == CELLAR_OK || err == CELLAR_E_RANGE ? L1_GONE_VALUE : L1_GONE_NOTHING;
    } else {
        *gone = L1_GONE_NOTHING;
        err = l1_incr_rest(c, k, delta, init, if_new, only_if_present, done, now_value, &old, &st,
                           gone);
    }
    if (stamp != NULL) { *stamp = st; }
    return err;
}
