/* SPDX-License-Identifier: MIT
 *
 * write: set and delete one key.
 *
 * PICTURE    set of the same key, padded size and fields, <= 1 KiB, not pinned:
 *                write in place, under the bucket lock alone
 *            any other set:
 *                lane lock -> room (room.c) -> write the record -> bucket lock -> condition and
 *                commit hook -> redirect the slot -> unlock bucket -> at most one split -> unlock
 *                lane -> hand over victims
 *            l1_put_over, l1_put_over_same (update), l1_put_new: the same steps for plain records
 *            without a listener.
 * INVARIANTS hooks.commit runs inside the odd window of every change, and of the delete of an
 *            absent key. A condition is judged in the window of the change that it guards.
 *            A set that fails removes the old value unless L1_KEEP_OLD.
 *            The end of an entry is reported once.
 * LOCKING    In place, delete: bucket only. Append: lane, then bucket.
 *            Under these locks no thread allocates, hands over victims or calls code of the host.
 * LIMITS     A window copies at most 1 KiB. A writer writes longer values before the window, and
 *            they never change in place.
 * SEE ALSO   rewrite.c: changes of an entry that keep its value or add to it.
 *            README.md: measurements of the write path. */

#include "l1/cap.h"
#include "l1/change.h"
#include "l1/evict.h"
#include "l1/index.h"
#include "l1/large.h"
#include "l1/policy.h"
#include "l1/quota.h"
#include "l1/quota_count.h"
#include "l1/record.h"
#include "l1/segment.h"
#include "l1/unlink.h"

/* Return the cause under which a change ends the entry: `live`, unless it had ended before. */
BASE_INLINE l1_cause l1_leaves_as(l1_gone o, l1_cause live)
{
    return l1_is_fresh(o) ? live : o == L1_GONE_TAG ? L1_LEFT_TAG : L1_LEFT_EXPIRED;
}

BASE_SIZE_BEGIN

/* Return whether an entry has the user flags and, if they matter, the tags of `same`. */
static bool l1_marks_same(const l1 *c, const l1_slot *slot, const l1_put_spec *p)
{
    const l1_rec *r = &slot->rec;
    const l1_info *same = p->same;
    const bool plain = same->at == UINT64_MAX; /* of l1_inspect_hit */
    if (l1_get_u32(c, slot->pos, r, L1_X_FLAGS, 0) != (plain ? 0 : same->user_flags)) {
        return false;
    }
    return p->same_tags == UINT32_MAX ||
           (r->tag_count == (plain ? 0 : same->tag_count) &&
            (p->same_tags == 0 || base_seq_equal(l1_at(c, slot->pos) + r->tag_off + 16, p->tag_fps,
                                                 8u * (size_t)p->same_tags)));
}

static bool l1_is_same(const l1 *c, const l1_slot *slot, const l1_put_spec *p)
{
    const l1_rec *r = &slot->rec;
    const l1_info *same = p->same;
    if (!l1_marks_same(c, slot, p)) { return false; }
    if (p->same_bytes == NULL || (r->w0 & L1_W0_BIG) != 0 || same->value_len > L1_SMALL_COPY) {
        return slot->pos == same->at &&
               base_load_rlx(&c->seg[l1_seg_of(c, slot->pos)].seq) == same->seq;
    }
    return r->vlen == same->value_len &&
           (r->vlen == 0 ||
            base_seq_equal(l1_at(c, slot->pos) + r->value_off, p->same_bytes, r->vlen));
}

static cellar_err l1_condition(const l1 *c, l1_gone o, const l1_slot *slot, const l1_put_spec *p)
{
    if ((p->flags & (L1_IF_ABSENT | L1_IF_PRESENT | L1_IF_VERSION | L1_IF_SAME)) == 0) {
        return CELLAR_OK;
    }
    const bool present = o == L1_GONE_VALUE;
    if ((p->flags & L1_IF_ABSENT) != 0 && present) { return CELLAR_EXISTS; }
    if ((p->flags & L1_IF_PRESENT) != 0 && !present) { return CELLAR_MISS; }
    if ((p->flags & L1_IF_VERSION) != 0) {
        uint64_t have = present ? l1_get_u64(c, slot->pos, &slot->rec, L1_X_VERSION, 0) : 0;
        if (have == 0 || have != p->if_version) { return CELLAR_CONFLICT; }
    }
    if ((p->flags & L1_IF_SAME) != 0 && !(present && l1_is_same(c, slot, p))) {
        return CELLAR_CONFLICT;
    }
    return CELLAR_OK;
}

/* Return whether the put carries the times of the entry that it will replace (KEEP_TTL). */
static bool l1_times_agree(const l1 *c, l1_gone o, const l1_slot *slot, const l1_put_spec *p)
{
    if (o != L1_GONE_VALUE) { /* no value to keep times from: use the times of the put */
        return p->deadline_ms == p->own->deadline_ms && p->idle_ms == p->own->idle_ms &&
               p->stale_ms == p->own->stale_ms;
    }
    const l1_rec *r = &slot->rec;
    const bool value = p->kind == (uint8_t)L1_VALUE; /* an entry without value has no windows */
    return l1_deadline(c, slot->pos, r) == p->deadline_ms &&
           p->idle_ms == (value ? l1_get_u32(c, slot->pos, r, L1_X_IDLE, 0) : 0) &&
           p->stale_ms == (value ? l1_get_u32(c, slot->pos, r, L1_X_STALE, 0) : 0);
}

static void l1_times_set(l1_put_spec *p, const l1_times *t)
{
    p->deadline_ms = t->deadline_ms;
    p->idle_ms = t->idle_ms;
    p->stale_ms = t->stale_ms;
}

/* Take the times of the live value, else the times of the put (KEEP_TTL). An entry without value
 * has no windows. */
static void l1_keep_times(l1 *c, const l1_key *k, l1_put_spec *p)
{
    l1_info info;
    cellar_err err = l1_inspect(c, k, NULL, 0, &info, L1_PEEK);
    const bool value = p->kind == (uint8_t)L1_VALUE;
    const l1_times kept = { info.deadline_ms, value ? info.idle_ms : 0,
                            value ? info.stale_ms : 0 };
    l1_times_set(p, err == CELLAR_OK ? &kept : p->own);
}

BASE_SIZE_END

/* ---- in place -------------------------------------------------------------------------------- */
/* Return whether the image fits over the record. */
static bool l1_fits_in_place(const l1 *c, const l1_slot *slot, const l1_image *im)
{
    const l1_rec *r = &slot->rec, *n = &im->rec;
    if (r->size != n->size || r->mask != n->mask || ((r->w0 | n->w0) & L1_W0_BIG) != 0 ||
        (n->mask & L1_X_CHARGE) != 0) { /* the old charge ends */
        return false;
    }
    if (r->vlen > L1_SMALL_COPY || n->vlen > L1_SMALL_COPY) { return false; }
    if (l1_is_absent(c, slot->pos, r) != (im->spec->kind != (uint8_t)L1_VALUE)) { return false; }
    /* The cursor and a split decode without the bucket lock: no mix of old and new may change the
     * size. */
    if (r->tag_off != n->tag_off || r->tag_count != n->tag_count) { return false; }
    /* After the seq_cst lock: either this writer sees PINNED or the pinner sees the odd version. */
    const _Atomic uint32_t *w0 = (const _Atomic uint32_t *)(const void *)l1_at(c, slot->pos);
    uint32_t now = base_load_sc(w0);
    BASE_POINT("l1.inplace.judged");
    if ((now & L1_W0_PINNED) != 0) { return false; }
    return (n->mask & L1_X_DEADLINE) != 0 ||
           l1_encode_due(c, slot->pos, im->spec->deadline_ms, n->mask) != L1_DUE_EXT;
}

CELLAR_PRIVATE bool l1_tagged(const l1 *c, const l1_key *k)
{
    const l1_stripe *s = l1_stripe_of(c, k->hash);
    const uint64_t number = l1_number(base_load_acq(&s->ls), k->hash);
    const l1_bucket *b = l1_bucket_at(s, number);
    return l1_match(b, l1_tag_of(k->hash)) != 0 || base_load_rlx(&b->ovf) != 0;
}

static BASE_NOINLINE l1_done l1_put_in_place(l1 *c, const l1_key *k, l1_put_spec *p, l1_image *im,
                                             cellar_err *err, l1_overwritten *old)
{
    l1_hold h;
    l1_slot slot;
    l1_done done = L1_DONE;
    bool announce = false;
    l1_lock_key(c, k->hash, &h, false);
    const bool found = l1_find(c, &h, k, &slot);
    const l1_gone o = l1_look_old(c, found, &slot);
    *err = l1_condition(c, o, &slot, p);
    if (*err != CELLAR_OK) {
        done = L1_DONE;
    } else if ((p->flags & L1_KEEP_TTL) != 0 && !l1_times_agree(c, o, &slot, p)) {
        done = L1_AGAIN;
    } else if (!l1_is_fresh(o) || !l1_fits_in_place(c, &slot, im) ||
               (old == NULL && base_load_rlx(&c->want_left) != 0)) {
        done = L1_APPEND;
    } else if (!l1_commit(c, k, p->change, &p->stamp)) {
        *err = CELLAR_CONFLICT;
    } else {
        if (old != NULL) {
            l1_save_old(c, k, &slot, old);
            old->left.stamp = p->stamp;
            announce = true;
        }
        if ((im->rec.mask & L1_X_VERSION) != 0) {
            im->version = p->version = base_add_rlx(&h.s->next_version, (uint64_t)1) + 1;
        }
        l1_write_over(c, slot.pos, im);
        if (old != NULL && base_load_rlx(&c->wipes) != 0) { /* bytes of a longer old value */
            const uint32_t at = im->rec.value_off + im->rec.vlen;
            const uint32_t end = im->rec.tag_count != 0 ? im->rec.tag_off : im->rec.size;
            l1_zero(c, slot.pos + at, end - at);
        }
        if (p->deadline_ms != BASE_NEVER_MS || p->idle_ms != 0) {
            l1_due_changed(c, slot.pos, p->idle_ms != 0
                ? BASE_MIN(p->deadline_ms, base_add_sat((int64_t)im->last_use_ms, p->idle_ms))
                : p->deadline_ms);
        }
        l1_freq_hit(slot.b, slot.i);
        p->replaced = o == L1_GONE_VALUE;
        p->gone = o;
    }
    l1_unlock(c, &h);
    if (announce && c->hooks.left != NULL) { c->hooks.left(c->hooks.ctx, &old->left); }
    return done;
}

/* Write in place and report the old value. Out of line: its frame holds a copy of the old value. */
static BASE_NOINLINE l1_done l1_put_in_place_reported(l1 *c, const l1_key *k, l1_put_spec *p,
                                                      l1_image *im, cellar_err *err)
{
    l1_overwritten old;
    const l1_done done = l1_put_in_place(c, k, p, im, err, &old);
    if (base_load_rlx(&c->wipes) != 0) { base_wipe(&old, sizeof old); }
    return done;
}

/* ---- append ---------------------------------------------------------------------------------- */
/* Count a long entry for the end of its generation, before it is linked. */
BASE_ALWAYS_INLINE void l1_long_add(l1 *c, uint32_t generation, uint64_t weight)
{
    if (BASE_LIKELY(weight <= L1_LONG)) { return; }
    base_add_rlx(&c->long_bytes[generation % L1_LONG_SUMS], weight);
}

/* Prefetch the lines that the next set of this queue will write. A locked step waits for all stores
 * before it, so l1_link would wait for the memory. A hint: useless past the end of the segment. */
static void l1_prefetch_next(const l1 *c, uint64_t end)
{
    const unsigned char *to = l1_at(c, end) + (BASE_LINE - 1); /* its first line is here already */
    BASE_PREFETCH_W(to);
    BASE_PREFETCH_W(to + BASE_LINE);
    BASE_PREFETCH_W(to + 2 * BASE_LINE);
}

/* Note the deadline of a record without idle time and stale window in its segment. */
BASE_INLINE void l1_due_ends(l1 *c, uint64_t pos, int64_t deadline_ms)
{
    l1_seg *g = &c->seg[l1_seg_of(c, pos)];
    if (BASE_LIKELY(deadline_ms == BASE_NEVER_MS)) {
        g->max_due_ms = UINT64_MAX;
        return;
    }
    l1_due_note(c, pos, deadline_ms);
    g->max_due_ms = BASE_MAX(g->max_due_ms, (uint64_t)BASE_MAX(deadline_ms, 0));
}

/* Finish the append of a linked record. `end`: the end of its bytes. */
BASE_ALWAYS_INLINE SYNC_HOLDS(L1_LANE)
void l1_appended(l1 *c, l1_lane *n, l1_stripe *s, uint64_t hash, uint64_t end, bool block)
{
    l1_counted(&n->inserts);
    l1_lane_used(c, n, hash, block);
    l1_split_if_due(c, s);
    l1_prefetch_next(c, end);
}

/* Link the written record in one window: condition, hook, slot, counts. present: what a look before
 * it saw. E_BUSY: another thread changed what the room was made for; start over. */
static SYNC_HOLDS(L1_LANE) cellar_err
    l1_link(l1 *c, l1_lane *n, const l1_key *k, l1_put_spec *p, l1_image *im, bool present,
            uint64_t pos, uint64_t weight, l1_toll *t, l1_victims *v)
{
    l1_hold h;
    l1_slot slot;
    l1_lock_grow(c, k->hash, &h);
    const bool found = l1_find(c, &h, k, &slot), bounded = base_load_rlx(&c->max_entries) != 0;
    const l1_gone o = l1_look_old(c, found, &slot);
    cellar_err err = l1_condition(c, o, &slot, p);
    if (err == CELLAR_OK && BASE_UNLIKELY(present && !found) &&
        (bounded || l1_cap_of(c, k->generation) != NULL)) {
        err = CELLAR_E_BUSY; /* deleted meanwhile: as a new entry it needs a ticket */
    }
    if (err == CELLAR_OK && (p->flags & L1_KEEP_TTL) != 0 && !l1_times_agree(c, o, &slot, p)) {
        err = CELLAR_E_BUSY; /* the caller lays out again */
    }
    if (err == CELLAR_OK && !found && !l1_slot_empty(c, &h, &slot)) {
        err = h.took ? CELLAR_E_SPACE : CELLAR_E_BUSY;
    }
    if (err == CELLAR_OK && !l1_commit(c, k, p->change, &p->stamp)) { err = CELLAR_CONFLICT; }
    if (err == CELLAR_OK) {
        l1_count_in(c, h.s, pos, k->generation, k->hash, weight, p->kind != (uint8_t)L1_VALUE,
                    found ? NULL : t);
        if (found) {
            l1_ticket_moves(c, n, slot.pos);
            l1_unlink(c, &h, &slot, l1_leaves_as(o, L1_LEFT_REPLACED), k->hash, p->stamp, v);
        }
        if (BASE_UNLIKELY(im->cell != NULL)) { l1_cell_link(im->cell); }
        l1_slot_set(&slot, l1_tag_of(k->hash), (uint32_t)(pos >> c->gshift), 0);
        if (im->block != NULL) { l1_big_to(c, im->block, L1_LINKED); }
        p->replaced = o == L1_GONE_VALUE;
        p->gone = o;
    }
    l1_unlock(c, &h);
    return err;
}

/* Return the key if the room for its set must not come from its old entry: a condition is about
 * that, or the old value or its times are to stay. Else NULL. */
static const l1_key *l1_old_stays(const l1_key *k, const l1_put_spec *p)
{
    const uint32_t about = L1_IF_PRESENT | L1_IF_VERSION | L1_IF_SAME | L1_KEEP_OLD | L1_KEEP_TTL;
    return (p->flags & about) != 0 ? k : NULL;
}

static SYNC_UNCHECKED cellar_err l1_append(l1 *c, const l1_key *k, l1_put_spec *p, l1_image *im)
{
    l1_stripe *const s = l1_stripe_of(c, k->hash);
    const uint64_t weight = im->rec.size + ((im->rec.w0 & L1_W0_BIG) != 0 ? im->value_len : 0) +
                            ((im->rec.mask & L1_X_APART) != 0 ? im->rec.klen : 0) + p->charge;
    l1_victims v;
    l1_toll toll = { .generation = k->generation, .stays = l1_old_stays(k, p), .weight = weight,
                     .absent = p->kind != (uint8_t)L1_VALUE ? weight : 0 };
    unsigned q = 2, no_bucket = 0;
    cellar_err err;
    v.n = 0;
    for (;;) {
        uint64_t pos;
        l1_slot old;
        const bool present = l1_tagged(c, k) && l1_find_now(c, k, &old, NULL) != NULL;
        l1_lane *const n = l1_lane_take(c);
        if (q == 2) {
            q = present ? (base_load_rlx(&c->policy) == L1_LRU)
                        : l1_queue_for(c, n, s, k->hash, &toll, &v);
        }
        l1_room room = v.n == L1_VICTIMS
            ? L1_ROOM_AGAIN
            : l1_room_for(c, n, q, im->rec.size, !present, &toll, &v, &pos);
        if (room == L1_ROOM_OK && v.n == L1_VICTIMS) {
            l1_log_undo(c, pos, im->rec.size); /* the old entry needs a victim place */
            room = L1_ROOM_AGAIN;
        }
        err = CELLAR_E_SPACE;
        if (room == L1_ROOM_OK) {
            if ((im->rec.mask & L1_X_VERSION) != 0) {
                im->version = p->version = base_add_rlx(&s->next_version, (uint64_t)1) + 1;
            }
            base_fence_rel(); /* a reader of new bytes here sees the versions of the old records */
            l1_write_head(c, pos, im);
            l1_write_value(c, pos, im);
            BASE_POINT("l1.append.written");
            l1_long_add(c, k->generation, weight);
            err = l1_link(c, n, k, p, im, present, pos, weight, &toll, &v);
            if (err == CELLAR_OK) {
                l1_rec r;
                if (l1_decode(c, pos, &r)) { l1_dues(c, pos, &r); }
                if (BASE_UNLIKELY(p->cost != 0)) { l1_cost_seen(n, p->cost); }
                l1_appended(c, n, s, k->hash, pos + im->rec.size, im->block != NULL);
            } else {
                l1_log_undo(c, pos, im->rec.size);
            }
        }
        l1_cap_unused(c, &toll);
        sync_drop(L1_LANE, &n->lock);
        if (v.n != 0) { l1_hand_over(c, &v); }
        if (room == L1_ROOM_AGAIN) {
            if (!toll.full) {
                if (toll.busy) { base_yield(); }
                l1_retired_some(c);
                l1_retired_wait(c);
            } else if (!l1_cap_room(c, k->generation)) {
                return CELLAR_E_SPACE;
            }
        } else {
            l1_after_set(c, im->block != NULL);
        }
        /* The chain needs one more bucket and the budget had no page for it: evict for that,
         * too. */
        if (room == L1_ROOM_OK && err == CELLAR_E_SPACE && no_bucket++ < 2 &&
            l1_make_room(c, BASE_PAGE)) {
            continue;
        }
        if (room != L1_ROOM_AGAIN) { return err; }
    }
}

/* ---- delete ---------------------------------------------------------------------------------- */
/* Remove a key. `only_if`: the conditions of a set that failed. If a condition is not met, change
 * nothing and return its result. */
static cellar_err l1_remove(l1 *c, const l1_key *k, l1_change change, uint64_t *stamp,
                            const l1_put_spec *only_if, l1_gone *gone)
{
    l1_hold h;
    l1_slot slot;
    l1_victims v;
    uint64_t st = 0;
    v.n = 0;
    *gone = L1_GONE_NOTHING;
    l1_lock_key(c, k->hash, &h, false);
    const bool found = l1_find(c, &h, k, &slot);
    const l1_gone o = l1_look_old(c, found, &slot);
    const cellar_err unmet = only_if != NULL ? l1_condition(c, o, &slot, only_if) : CELLAR_OK;
    if (unmet != CELLAR_OK) {
        l1_unlock(c, &h);
        return unmet;
    }
    *gone = o;
    if (!l1_commit(c, k, change, &st) && change == L1_CHANGE_PUBLISH) {
        *gone = L1_GONE_NOTHING;
        l1_unlock(c, &h);
        return CELLAR_CONFLICT;
    }
    if (found) {
        l1_unlink(c, &h, &slot, l1_leaves_as(o, L1_LEFT_DELETED), k->hash, st, &v);
    }
    l1_unlock(c, &h);
    if (v.n != 0) { l1_hand_over(c, &v); }
    if (stamp != NULL) { *stamp = st; }
    return o == L1_GONE_VALUE ? CELLAR_OK : CELLAR_MISS;
}

CELLAR_PRIVATE cellar_err l1_del_reported(l1 *c, const l1_key *k, uint64_t *stamp, l1_gone *gone)
{
    return l1_remove(c, k, L1_CHANGE_DEL, stamp, NULL, gone);
}

CELLAR_PRIVATE cellar_err l1_del_if(l1 *c, const l1_key *k, const l1_put_spec *only_if,
                                    l1_gone *gone)
{
    return l1_remove(c, k, L1_CHANGE_DEL, NULL, only_if, gone);
}

BASE_SIZE_BEGIN

/* ---- set ------------------------------------------------------------------------------------- */
/* Remove the old value after a set that failed, so that no get returns it. Keep it with KEEP_OLD,
 * or if a condition says that the set would not have happened. */
static cellar_err l1_put_failed(l1 *c, const l1_key *k, l1_put_spec *p, cellar_err err)
{
    if ((p->flags & L1_KEEP_OLD) != 0) { return err; }
    /* Both may be vetoed: then a newer value replaced what they should replace. */
    const bool late = p->change == L1_CHANGE_BACKFILL || p->change == L1_CHANGE_PUBLISH;
    const l1_change change = late ? p->change : L1_CHANGE_DEL;
    const cellar_err gone = l1_remove(c, k, change, &p->stamp, p, &p->gone);
    if (gone == CELLAR_EXISTS || gone == CELLAR_CONFLICT) { return gone; }
    if (gone == CELLAR_MISS && (p->flags & L1_IF_PRESENT) != 0) { return gone; }
    p->replaced = gone == CELLAR_OK;
    return err;
}

BASE_SIZE_END

/* Commit like l1_commit, without a call of the hook while a set informs no part of the store. */
BASE_ALWAYS_INLINE bool l1_commit_plain(l1 *c, const l1_key *k, l1_change change, uint64_t *stamp)
{
    const l1_hooks *const h = &c->hooks;
    if (change == L1_CHANGE_SET && h->informs != NULL && base_load_sc(h->informs) == 0) {
        *stamp = 0;
        return h->generation_alive(h->ctx, k->generation);
    }
    return l1_commit(c, k, change, stamp);
}

typedef struct l1_over { /* a plain record that replaces one of its key */
    const l1_key *k;
    const void *value;
    uint32_t vlen, own, head, word; /* own: it has a generation; word: its word 0 */
    int64_t deadline_ms;
    int64_t now_ms; /* when the caller read the clock; INT64_MAX: it did not */
    l1_change change;
    uint64_t *stamp;
    const l1_put_spec *same; /* NULL, or its same_bytes have to be the old value */
} l1_over;

/* Write the record over slot i, in its bucket's lock. ABSENT: the slot has another key or form. */
BASE_ALWAYS_INLINE l1_over_done l1_over_slot(l1 *c, const l1_over *o, l1_bucket *b, unsigned i)
{
    const l1_key *k = o->k;
    const uint32_t pad = (1u << c->gshift) - 1;
    const uint64_t pos = l1_pos(c, base_load_rlx(&b->off[i]));
    unsigned char *const at = l1_at(c, pos);
    /* After the seq_cst lock: either this writer sees PINNED or the pinner sees the odd version. */
    const uint32_t w0 = base_load_sc((const _Atomic uint32_t *)(const void *)at);
    if (((w0 ^ o->word) & ~(L1_VLEN_LIMIT << 8)) != 0 ||
        !base_seq_equal(at + o->head, k->bytes, k->len) ||
        (o->own != 0 && base_seq_u32(at + 8) != k->generation)) {
        return L1_OVER_ABSENT;
    }
    const uint32_t old = base_seq_u32(at + 4);
    const uint32_t due = l1_encode_due(c, pos, o->deadline_ms, 0);
    if (due == L1_DUE_EXT || old == L1_DUE_EXT) { return L1_OVER_NOT; }
    if (w0 != o->word && (L1_W0_VLEN(w0) > L1_SMALL_COPY ||
                          ((o->head + k->len + L1_W0_VLEN(w0) + pad) & ~pad) !=
                              ((o->head + k->len + o->vlen + pad) & ~pad))) {
        return L1_OVER_NOT;
    }
    if (old != 0) {
        const uint64_t base_ms = base_load_rlx(&c->seg_base_ms[l1_seg_of(c, pos)]);
        const int64_t end_ms = (int64_t)(base_ms + old - 1);
        if (end_ms <= o->now_ms && base_clock_reached(c->clock, end_ms)) { return L1_OVER_NOT; }
    }
    if (o->same != NULL &&
        (L1_W0_VLEN(w0) != o->same->same->value_len ||
         !base_seq_equal(at + o->head + k->len, o->same->same_bytes, L1_W0_VLEN(w0)))) {
        return L1_OVER_NOT;
    }
    if (!l1_commit_plain(c, k, o->change, o->stamp)) { return L1_OVER_VETOED; }
    if (w0 != o->word) { base_seq_store_u32(at, o->word); }
    if (due != old) { base_seq_store_u32(at + 4, due); }
    if (o->vlen != 0) { base_seq_store(at + o->head + k->len, o->value, o->vlen); }
    /* Lower the bound of the segment if the deadline is new (old 0) or earlier. Else the line of
     * the segment is not needed. */
    if (due - 1 < old - 1) { l1_due_changed(c, pos, o->deadline_ms); }
    l1_freq_hit(b, i);
    return L1_OVER_DONE;
}

/* Write a plain record over one of the same key and padded size: the most common set. Needs no
 * listener and a free bucket. ABSENT: no plain record has the key; another one may have it. NOT:
 * any doubt; the caller starts over. */
static BASE_NOINLINE l1_over_done l1_put_over(l1 *c, const l1_key *k, const void *value,
                                              uint32_t vlen, int64_t deadline_ms,
                                              int64_t now_ms, l1_change change, uint64_t *stamp)
{
    const uint64_t hash = k->hash;
    const uint16_t tag = l1_tag_of(hash);
    l1_stripe *const s = l1_stripe_of(c, hash);
    const uint64_t ls = base_load_acq(&s->ls), number = l1_number(ls, hash);
    l1_bucket *const b = l1_bucket_at(s, number);
    const uint32_t ver = base_load_acq(&b->ver); /* release in unlock */
    uint32_t m = l1_match(b, tag);               /* valid if the lock is taken from `ver` */
    if (m == 0 && base_load_rlx(&b->ovf) == 0) { return L1_OVER_ABSENT; } /* as l1_tagged */
    if (BASE_UNLIKELY((ver & 1u) != 0 || ver == 0)) { return L1_OVER_NOT; }
    if (deadline_ms != BASE_NEVER_MS && BASE_UNLIKELY(l1_due_far(c, deadline_ms))) {
        return L1_OVER_NOT;
    }
    if (BASE_LIKELY(m != 0)) {
        /* Prefetch while the lock is taken. A hint: the record may belong to another key. */
        const unsigned char *ahead = l1_at(c, l1_pos(c, base_load_rlx(&b->off[__builtin_ctz(m)])));
        BASE_PREFETCH_W(ahead);
        BASE_PREFETCH_W(ahead + BASE_LINE);
        BASE_PREFETCH_W(ahead + k->len + vlen);
    }
    l1_hold h;
    BASE_POINT("l1.lock");
    if (BASE_UNLIKELY(!l1_lock_at(s, b, number, ver, &h))) { return L1_OVER_NOT; }
    if (BASE_UNLIKELY(base_load_acq(&s->ls) != ls)) { /* the key may belong elsewhere by now */
        l1_unlock_at(b, ver);
        return L1_OVER_NOT;
    }
    const uint32_t own = k->generation != 0;
    const l1_over o = { k, value, vlen, own, 8u + 4u * own,
                        k->len | vlen << 8 | L1_W0_ALWAYS | own * L1_W0_GENERATION, deadline_ms,
                        now_ms, change, stamp, NULL };
    /* A listener may exist since the first look. A later listener sees later changes only. */
    l1_over_done done =
        BASE_UNLIKELY(base_load_rlx(&c->want_left) != 0) ? L1_OVER_NOT : L1_OVER_ABSENT;
    for (l1_part p = l1_whole(b); done == L1_OVER_ABSENT; m = l1_half_match(p, tag)) {
        for (; m != 0 && done == L1_OVER_ABSENT; m &= m - 1) {
            done = l1_over_slot(c, &o, p.b, (unsigned)__builtin_ctz(m));
        }
        if (done != L1_OVER_ABSENT) { break; }
        p = l1_chain_next(s, number, p);
        if (p.b == NULL) { break; }
    }
    l1_unlock_at(b, ver);
    return done;
}

/* Write a plain record over one that has the bytes of p->same. Results as of l1_put_over. */
static BASE_NOINLINE l1_over_done l1_put_over_same(l1 *c, const l1_key *k, l1_put_spec *p)
{
    const uint16_t tag = l1_tag_of(k->hash);
    const uint32_t vlen = (uint32_t)p->value_len, own = k->generation != 0;
    const l1_over o = { k, p->value, vlen, own, 8u + 4u * own,
                        k->len | vlen << 8 | L1_W0_ALWAYS | own * L1_W0_GENERATION, p->deadline_ms,
                        INT64_MAX, p->change, &p->stamp, p };
    l1_hold h;
    l1_lock_key(c, k->hash, &h, false);
    l1_over_done done = base_load_rlx(&c->want_left) != 0 ? L1_OVER_NOT : L1_OVER_ABSENT;
    for (l1_part at = l1_whole(h.b); at.b != NULL && done == L1_OVER_ABSENT;
         at = l1_chain_next(h.s, h.number, at)) {
        for (uint32_t m = l1_part_match(at, tag); m != 0 && done == L1_OVER_ABSENT; m &= m - 1) {
            done = l1_over_slot(c, &o, at.b, (unsigned)__builtin_ctz(m));
        }
    }
    l1_unlock(c, &h);
    return done;
}

CELLAR_PRIVATE l1_over_done l1_set_hit(l1 *c, const l1_key *k, const void *value,
                                       size_t value_len, int64_t deadline_ms, int64_t now_ms)
{
    uint64_t stamp;
    if (value_len > c->over_max || k->len >= L1_KLEN_LONG) { return L1_OVER_NOT; }
    return l1_put_over(c, k, value, (uint32_t)value_len, deadline_ms, now_ms, L1_CHANGE_SET,
                       &stamp);
}

typedef struct l1_place_seen { /* of a new key: its chain at one version */
    uint64_t ls, number;
    l1_bucket *b;
    uint32_t ver, free; /* free: empty slots; 0: the key may be there, or there is none */
    bool maybe;         /* the key may be there */
} l1_place_seen;

/* Look where a new key goes. No lock: only a version that is still the same proves anything. */
BASE_ALWAYS_INLINE void l1_place_see(const l1_stripe *s, uint64_t hash, l1_place_seen *at)
{
    at->ls = base_load_acq(&s->ls);
    at->number = l1_number(at->ls, hash);
    at->b = l1_bucket_at(s, at->number);
    at->ver = base_load_acq(&at->b->ver); /* release in unlock */
    at->free = l1_match(at->b, 0);
    at->maybe = l1_match(at->b, l1_tag_of(hash)) != 0;
    l1_part p = l1_whole(at->b);
    for (unsigned hop = 0; !at->maybe; hop++) {
        p = l1_chain_next(s, at->number, p); /* one look: a split may cut the chain off */
        if (BASE_LIKELY(p.b == NULL)) { break; }
        at->maybe = l1_part_match(p, l1_tag_of(hash)) != 0 || hop == L1_CHAIN_MAX;
    }
    const bool odd = (at->ver & 1u) != 0 || at->ver == 0;
    if (BASE_UNLIKELY(at->maybe || odd)) { at->free = 0; }
}

/* Link a written plain record of a key that is absent, in its window. NOT: the key is there by now,
 * or its chain has no room. cell: NULL, or of its object. */
BASE_ALWAYS_INLINE SYNC_HOLDS(L1_LANE) SYNC_UNCHECKED
l1_over_done l1_link_new(l1 *c, l1_stripe *s, const l1_key *k, const l1_place_seen *at,
                         uint64_t pos, uint64_t weight, l1_change change, uint64_t *stamp,
                         l1_cell *cell, l1_toll *t)
{
    l1_hold h;
    l1_slot slot = { .b = at->b, .i = (unsigned)__builtin_ctz(at->free | 1u << L1_SLOTS) };
    l1_over_done done = L1_OVER_NOT;
    BASE_POINT("l1.lock");
    bool fresh = at->free != 0 && l1_lock_at(s, at->b, at->number, at->ver, &h);
    if (BASE_UNLIKELY(fresh && base_load_acq(&s->ls) != at->ls)) { /* it may belong elsewhere */
        l1_unlock_at(h.b, h.ver);
        fresh = false;
    }
    if (BASE_UNLIKELY(!fresh)) {
        l1_lock_grow(c, k->hash, &h);
        fresh = !l1_find(c, &h, k, &slot) && l1_slot_empty(c, &h, &slot);
    }
    if (BASE_LIKELY(fresh)) {
        done = l1_commit_plain(c, k, change, stamp) ? L1_OVER_DONE : L1_OVER_VETOED;
    }
    if (done == L1_OVER_DONE) {
        l1_count_in(c, s, pos, k->generation, k->hash, weight, false, t);
        if (cell != NULL) { l1_cell_link_own(cell); }
        l1_slot_set(&slot, l1_tag_of(k->hash), (uint32_t)(pos >> c->gshift), 0);
    }
    l1_unlock_now(c, &h);
    return done;
}

/* Store a plain record of an absent key without a listener, as l1_append does, on a short path.
 * NOT: any doubt, or no room without a wait; the caller starts over. cell: NULL, or of an object:
 * the value is its descriptor, with `charge` bytes elsewhere. */
BASE_ALWAYS_INLINE SYNC_UNCHECKED l1_over_done
    l1_put_new_form(l1 *c, const l1_key *k, const void *value, uint32_t vlen, int64_t deadline_ms,
                    l1_change change, uint64_t *stamp, l1_cell *cell, uint64_t charge)
{
    l1_stripe *const s = l1_stripe_of(c, k->hash);
    const uint32_t klen = k->len, generation = k->generation, own = generation != 0,
                   head = 8u + 4u * own;
    const uint32_t pad = (1u << c->gshift) - 1, size = (head + klen + vlen + pad) & ~pad;
    if (BASE_UNLIKELY(klen > c->key_max || klen >= L1_KLEN_LONG ||
                      head + klen + vlen > c->record_max || l1_due_far(c, deadline_ms))) {
        return L1_OVER_NOT;
    }
    l1_over_done done = L1_OVER_NOT;
    l1_toll toll = {.generation = generation, .weight = cell != NULL ? size + charge : 0};
    l1_victims v;
    l1_place_seen seen;
    uint64_t pos;
    v.n = 0;
    l1_slot old;
    l1_place_see(s, k->hash, &seen);
    if (BASE_UNLIKELY(seen.maybe) && l1_find_now(c, k, &old, NULL) != NULL) { return L1_OVER_NOT; }
    l1_lane *const n = l1_lane_take(c);
    const unsigned q = l1_queue_for(c, n, s, k->hash, &toll, &v);
    if (BASE_LIKELY(l1_room_for(c, n, q, size, true, &toll, &v, &pos) == L1_ROOM_OK)) {
        unsigned char *const at = l1_at(c, pos);
        base_fence_rel(); /* as in l1_append */
        const uint32_t form = cell != NULL ? L1_W0_ALWAYS | L1_W0_BIG : L1_W0_ALWAYS;
        base_seq_store_u32(at, klen | (vlen << 8) | form | own * L1_W0_GENERATION);
        base_seq_store_u32(at + 4, l1_encode_due(c, pos, deadline_ms, 0));
        if (own != 0) { base_seq_store_u32(at + 8, generation); }
        base_seq_store(at + head, k->bytes, klen);
        if (vlen != 0) { base_seq_store(at + head + klen, value, vlen); }
        BASE_POINT("l1.append.written");
        l1_long_add(c, generation, size + charge);
        done = l1_link_new(c, s, k, &seen, pos, size + charge, change, stamp, cell, &toll);
        if (BASE_LIKELY(done == L1_OVER_DONE)) {
            l1_due_ends(c, pos, deadline_ms);
            l1_appended(c, n, s, k->hash, pos + size, false);
        } else {
            l1_log_undo(c, pos, size);
        }
    }
    if (BASE_UNLIKELY(toll.ticket != 0)) { l1_cap_unused(c, &toll); }
    sync_drop(L1_LANE, &n->lock);
    if (BASE_UNLIKELY(v.n != 0)) { l1_hand_over(c, &v); }
    l1_after_set(c, false);
    return done;
}

static BASE_NOINLINE l1_over_done l1_put_new(l1 *c, const l1_key *k, const void *value,
                                             uint32_t vlen, int64_t deadline_ms, l1_change change,
                                             uint64_t *stamp)
{
    return l1_put_new_form(c, k, value, vlen, deadline_ms, change, stamp, NULL, 0);
}

CELLAR_PRIVATE bool l1_set_object(l1 *c, const l1_key *k, const l1_put_spec *p)
{
    uint64_t stamp;
    if (p->flags != L1_OBJECT || base_load_rlx(&c->want_left) != 0 || !l1_is_plain(c, k, p)) {
        return false;
    }
    l1_cell *const b = (l1_cell *)(uintptr_t)p->value;
    const uint64_t value[2] = { l1_cell_name(base_load_acq(&c->cells), b),
                                base_load_rlx(&b->object) };
    _Static_assert(sizeof value == L1_DESCRIPTOR, "the bytes of the record of an object");
    l1_ghost_prefetch(&l1_stripe_of(c, k->hash)->ghost, l1_ghost_mix(k->hash));
    return l1_put_new_form(c, k, value, L1_DESCRIPTOR, p->deadline_ms, L1_CHANGE_SET, &stamp, b,
                           p->value_len) == L1_OVER_DONE;
}

CELLAR_PRIVATE bool l1_set_new(l1 *c, const l1_key *k, const void *value, size_t value_len,
                               int64_t deadline_ms)
{
    uint64_t stamp;
    if (value_len > c->over_max) { return false; }
    l1_ghost_prefetch(&l1_stripe_of(c, k->hash)->ghost, l1_ghost_mix(k->hash));
    return l1_put_new(c, k, value, (uint32_t)value_len, deadline_ms, L1_CHANGE_SET, &stamp) ==
           L1_OVER_DONE;
}

/* Return whether a record of that size lies in the log: long ones only while the segments that such
 * records closed are filled well. Else blocks hold more. */
static bool l1_packs(const l1 *c, uint32_t size)
{
    return size <= c->record_sure || base_load_rlx(&c->unfilled) / 16 <= c->seg_bytes / 12;
}

/* Choose what lies in the log: everything if it is short enough; else a long key goes into a block,
 * then the value. */
static unsigned l1_choose_form(const l1 *c, const l1_key *k, const l1_put_spec *p, l1_image *im)
{
    const unsigned apart = k->len > c->key_max ? L1_FORM_APART : 0u;
    if (BASE_UNLIKELY((p->flags & L1_OBJECT) != 0)) {
        const unsigned form = L1_FORM_BIG | apart;
        const bool fits = l1_layout(c, k, p, form, c->seg_bytes, im);
        BASE_REQUIRE(fits);
        im->cell = (l1_cell *)(uintptr_t)p->value;
        return form;
    }
    if (l1_layout(c, k, p, 0, c->record_max, im) && l1_packs(c, im->rec.size)) { return 0; }
    if (apart != 0 && l1_layout(c, k, p, apart, c->record_max, im)) { return apart; }
    const bool fits = l1_layout(c, k, p, L1_FORM_BIG | apart, c->seg_bytes, im);
    BASE_REQUIRE(fits); /* a short key and all fields fit: see l1_open */
    return L1_FORM_BIG | apart;
}

/* Store one key in rounds until no other writer interferes. tagged: the result of l1_tagged. If it
 * is false, there is nothing to update in place. The charge comes after the condition: a set that
 * is refused evicts nothing. */
static cellar_err l1_put_rounds(l1 *c, const l1_key *k, l1_put_spec *p, bool tagged, bool *charged)
{
    for (unsigned round = 0;; round++) {
        l1_image im;
        cellar_err err;
        bool reserved = false;
        if ((p->flags & L1_KEEP_TTL) != 0) { l1_keep_times(c, k, p); }
        const unsigned form = l1_choose_form(c, k, p, &im);
        const uint32_t judged = L1_IF_ABSENT | L1_IF_PRESENT | L1_IF_VERSION | L1_IF_SAME;
        if ((p->flags & judged) != 0 || tagged) {
            l1_done done = BASE_UNLIKELY(base_load_rlx(&c->want_left) != 0)
                ? l1_put_in_place_reported(c, k, p, &im, &err)
                : l1_put_in_place(c, k, p, &im, &err, NULL);
            if (done == L1_DONE) { return err; }
            if (done == L1_AGAIN && round < 64) { continue; }
        }
        l1_quota_room(c, k->generation, l1_old_stays(k, p), p->value_len + p->charge);
        if (p->charge != 0 && !*charged) {
            err = l1_charge(c, p->charge);
            if (err != CELLAR_OK) { return l1_put_failed(c, k, p, err); }
            *charged = true;
        }
        const bool big = (form & L1_FORM_BIG) != 0 && im.cell == NULL;
        const bool apart = (form & L1_FORM_APART) != 0;
        if (big || apart) {
            im.block = big && !apart ? l1_big_adopt(c, p->value, p->value_len) : NULL;
            reserved = im.block != NULL;
            err = reserved ? CELLAR_OK : l1_big_make(c, k, p->value, big ? p->value_len : 0, apart,
                                                     &im.block);
            if (err != CELLAR_OK) { return l1_put_failed(c, k, p, err); }
        }
        err = l1_append(c, k, p, &im);
        if (err != CELLAR_OK && reserved) {
            l1_big_to(c, im.block, L1_RESERVED);
        } else if (err != CELLAR_OK && im.block != NULL) {
            l1_run_give(c, im.block);
        }
        if (err == CELLAR_E_BUSY && round < 64) { continue; }
        if (err < 0) { return l1_put_failed(c, k, p, err == CELLAR_E_BUSY ? CELLAR_E_SPACE : err); }
        return err;
    }
}

/* Store one key. One spec may serve many keys: restore the times that KEEP_TTL put into it. */
static BASE_NOINLINE cellar_err l1_put_any(l1 *c, const l1_key *k, l1_put_spec *p, bool tagged)
{
    const l1_times own = { p->deadline_ms, p->idle_ms, p->stale_ms };
    const bool object = (p->flags & L1_OBJECT) != 0;
    if (object && p->value == NULL) {
        return l1_put_failed(c, k, p, (cellar_err)(int32_t)p->loader_code);
    }
    if (!object && p->value_len > c->max_value_bytes) {
        return l1_put_failed(c, k, p, CELLAR_E_TOOBIG);
    }
    bool charged = false;
    p->own = &own;
    const cellar_err err = l1_put_rounds(c, k, p, tagged, &charged);
    if (err != CELLAR_OK && BASE_UNLIKELY(charged)) { l1_uncharge(c, p->charge); }
    p->own = NULL;
    p->kept = (l1_times){ p->deadline_ms, p->idle_ms, p->stale_ms };
    l1_times_set(p, &own);
    return err;
}

CELLAR_PRIVATE cellar_err l1_put(l1 *c, const l1_key *k, l1_put_spec *p)
{
    p->version = p->stamp = 0;
    p->replaced = false;
    p->gone = L1_GONE_NOTHING;
    const bool same = (p->flags & L1_IF_SAME) != 0 && p->same_bytes != NULL;
    const bool tagged = same || (!p->untagged && l1_tagged(c, k));
    if (!tagged) {
        /* Prefetch the ghosts while the bucket is on its way; processors continue before it
         * arrives. Under the lane lock the request would come later. */
        l1_ghost_prefetch(&l1_stripe_of(c, k->hash)->ghost, l1_ghost_mix(k->hash));
    }
    if ((p->flags & ~(uint32_t)(L1_KEEP_OLD | (same ? L1_IF_SAME : 0u))) == 0 &&
        p->value_len <= c->over_max && base_load_rlx(&c->want_left) == 0 && l1_is_plain(c, k, p)) {
        const uint32_t vlen = (uint32_t)p->value_len;
        l1_over_done done = L1_OVER_ABSENT;
        if (same) {
            done = l1_put_over_same(c, k, p);
            p->replaced = done == L1_OVER_DONE;
            if (done == L1_OVER_ABSENT) { done = L1_OVER_NOT; }
        } else if (tagged) {
            done = l1_put_over(c, k, p->value, vlen, p->deadline_ms, INT64_MAX, p->change,
                               &p->stamp);
            p->replaced = done == L1_OVER_DONE;
        }
        if (done == L1_OVER_ABSENT) {
            done = l1_put_new(c, k, p->value, vlen, p->deadline_ms, p->change, &p->stamp);
        }
        if (done == L1_OVER_VETOED) { return CELLAR_CONFLICT; }
        if (done == L1_OVER_DONE) { return CELLAR_OK; }
    }
    return l1_put_any(c, k, p, tagged);
}

CELLAR_PRIVATE uint64_t l1_max_value(const l1 *c) { return c->max_value_bytes; }
