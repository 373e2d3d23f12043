/* SPDX-License-Identifier: MIT
 *
 * quota: limit the shares of namespaces, and the share of entries without value.
 *
 * PICTURE    cursor: generation above its ceiling -> drop; else the policy decides. A set of a
 *            generation at its ceiling first drops entries of the same generation in place; a used
 *            entry survives the first look.
 *            Entries without value (negative entries, remembered errors) hold at most an eighth of
 *            a lane, in bytes and entries. A set of one more first drops others of them in place.
 *            The set is refused when L1_QUOTA_LOOKS records had none to drop.
 *            The set of a value starts to search before the ceiling, so a run of values refuses
 *            few entries without value. A flood of absent keys displaces other absent keys.
 * LOCKING    Lane lock.
 *            A long entry first makes its room in all lanes, before its block takes that of others.
 * LIMITS     A set of n bytes examines L1_QUOTA_LOOKS + n records of its lane, n at most the bytes
 *            of the longest record, and L1_HOLD_MAX more if it began on the short path. So beside
 *            others of 32 bytes a generation exceeds its ceiling by 1/43 of the store and one round
 *            of appends.
 * NOT HERE   A share that no other namespace may take: that is a store of its own.
 * SEE ALSO   quota_count.c: the counts and sums. evict.c: the cursor. */
#include <limits.h>

#include "l1/index.h"
#include "l1/quota.h"
#include "l1/quota_count.h"
#include "l1/record.h"
#include "l1/segment.h"
#include "l1/unlink.h"

BASE_SIZE_BEGIN

#define L1_ABSENT_SPARE 8u /* search begins one part in 8 before the ceiling */

BASE_COLD CELLAR_PRIVATE bool l1_quota_is_over(l1 *c, l1_lane *n, uint32_t generation)
{
    struct l1_quotas *q = base_load_acq(&c->quotas);
    const unsigned number = l1_quota_of(c, generation);
    if (number == 0) { return false; }
    l1_quota_look(c, n, q);
    const l1_quota *o = &q->of[number - 1];
    return base_load_rlx(&o->bytes) > base_load_rlx(&o->ceiling);
}

/* Move the pass to the next segment in the order small, main, small. */
static SYNC_HOLDS(L1_LANE) void l1_quota_turn(l1 *c, l1_lane *n, l1_pass *p, const l1_seg *g)
{
    const bool was_small = g != NULL && l1_seg_queue(g) == 0;
    uint32_t next = g != NULL ? g->next : L1_NONE;
    if (next == L1_NONE) { next = n->queue[was_small ? 1 : 0].tail; }
    if (next == L1_NONE) { next = n->queue[was_small ? 0 : 1].tail; }
    *p = next != L1_NONE ? l1_pass_of(c, next) : (l1_pass){0};
}

/* Read the next record of the pass. Return false when the pass reached an end instead. Turn with
 * the last record of a segment: the caller may empty the segment, and it may be free before the
 * next look. Then the pass would start over at records of others. */
static SYNC_HOLDS(L1_LANE) bool l1_quota_next(l1 *c, l1_lane *n, l1_pass *p, uint64_t *pos,
                                                l1_rec *r)
{
    const l1_seg *g = p->seg != 0 ? &c->seg[p->seg - 1] : NULL;
    const bool same = g != NULL && base_load_rlx(&g->seq) == p->seq;
    const bool any = l1_pass_next(c, p, pos, r);
    if (!any || p->at >= g->used_bytes) { l1_quota_turn(c, n, p, same ? g : NULL); }
    return any;
}

/* Drop the record in place; a used record survives its first look. Return the freed bytes. */
static SYNC_HOLDS(L1_LANE) uint64_t
    l1_quota_take(l1 *c, l1_lane *n, uint64_t pos, const l1_rec *r, bool spare, l1_victims *v)
{
    l1_entry e;
    l1_cause cause;
    if (!l1_entry_at(c, pos, r, &e)) { return 0; }
    const unsigned uses = l1_freq(e.slot.b, e.slot.i);
    if (!l1_is_over(c, pos, &e.slot.rec, &cause)) {
        cause = L1_LEFT_CAPACITY;
        if (uses != 0 && spare) {
            l1_freq_set(e.slot.b, e.slot.i, uses - 1); /* a hint: a concurrent hit may be lost */
            return 0;
        }
    }
    const uint64_t weight = l1_weight(c, pos, r);
    if (!l1_drop(c, n, &e, cause, v)) { return 0; }
    l1_wasteful(c, n); /* no cursor is there */
    return weight;
}

/* Return whether a set of that generation may drop the record for its own entry. stays: NULL, or
 * not that entry; its hash tells, since its bucket is not locked. */
static bool l1_quota_is_own(const l1 *c, uint64_t pos, const l1_rec *r, uint32_t generation,
                            const l1_key *stays)
{
    return r->generation == generation && (stays == NULL || l1_hash_of(c, pos, r) != stays->hash);
}

CELLAR_PRIVATE bool l1_quota_pay(l1 *c, l1_lane *n, uint32_t size, l1_toll *t, l1_victims *v)
{
    struct l1_quotas *q = base_load_acq(&c->quotas);
    const unsigned number = l1_quota_of(c, t->generation);
    if (number == 0) { return true; }
    l1_quota_look(c, n, q);
    const l1_quota *o = &q->of[number - 1];
    const uint64_t bytes = base_load_rlx(&o->bytes), ceiling = base_load_rlx(&o->ceiling);
    const uint64_t weight = BASE_MAX(t->weight, (uint64_t)size);
    if (bytes + weight <= ceiling) { return true; }
    const uint64_t want = bytes > ceiling ? 2 * weight : weight;
    /* Short records of others lie between: a long record must pass as many of their bytes. */
    const uint64_t most = L1_QUOTA_LOOKS + BASE_MIN(weight, c->record_max);
    for (unsigned held = 0; t->own_looks < most && t->own_freed < want; t->own_looks++) {
        uint64_t pos;
        l1_rec r;
        if (v->n == L1_VICTIMS || ++held == L1_HOLD_MAX) { return false; }
        if (!l1_quota_next(c, n, &n->quota_pass, &pos, &r) ||
            !l1_quota_is_own(c, pos, &r, t->generation, t->stays)) {
            continue;
        }
        t->own_freed += l1_quota_take(c, n, pos, &r, t->own_looks < most / 2, v);
    }
    return true;
}

/* Drop entries of the generation in one lane, until `want` bytes are free or all are examined. */
static SYNC_UNCHECKED void l1_quota_sweep(l1 *c, l1_lane *n, uint32_t generation,
                                          const l1_key *stays, uint64_t want, bool spare)
{
    const uint64_t all = (uint64_t)base_load_rlx(&n->held_segs) << c->seg_shift;
    uint64_t freed = 0;
    for (uint64_t seen = 0; seen < all && freed < want && l1_lane_get(c, n);) {
        l1_victims v;
        v.n = 0;
        for (unsigned i = 0; i < L1_HOLD_MAX && v.n < L1_VICTIMS && freed < want; i++) {
            uint64_t pos;
            l1_rec r;
            const bool any = l1_quota_next(c, n, &n->quota_pass, &pos, &r);
            seen += any ? r.size : c->seg_bytes;
            if (!any || !l1_quota_is_own(c, pos, &r, generation, stays)) { continue; }
            freed += l1_quota_take(c, n, pos, &r, spare, &v);
        }
        sync_drop(L1_LANE, &n->lock);
        l1_hand_over(c, &v);
    }
}

CELLAR_PRIVATE void l1_quota_room(l1 *c, uint32_t generation, const l1_key *stays, uint64_t weight)
{
    const unsigned number = base_load_acq(&c->quotas) != NULL ? l1_quota_of(c, generation) : 0;
    if (number == 0 || weight <= c->record_max) { return; }
    for (uint32_t i = 0; i < 2 * c->stripe_count; i++) { /* a used entry survives the first look */
        l1_share s;
        l1_quota_get(c, number, &s);
        if (s.bytes + weight <= s.ceiling) { return; }
        l1_quota_sweep(c, &c->lane[i & c->stripe_mask], generation, stays,
                       s.bytes + weight - s.ceiling, i < c->stripe_count);
    }
}

/* ---- entries without value ------------------------------------------------------------------- */
/* Return whether one more entry without value stays below its ceiling, less one part in `spare`.
 * The ceiling is an eighth of what a lane can hold, in bytes and in entries. */
static bool l1_absent_fits(const l1 *c, const l1_lane *n, uint64_t weight, unsigned spare)
{
    const uint64_t max = base_load_rlx(&c->max_entries);
    const uint64_t bytes = l1_log_limit(c) / 8 / c->stripe_count;
    const uint64_t most = BASE_MAX(max / 8 / c->stripe_count, 1);
    /* Below 0 for a moment. */
    const int64_t held = base_load_rlx(&n->absent_bytes);
    const int64_t count = base_load_rlx(&n->absent_count);
    if (max != 0 && (uint64_t)BASE_MAX(count, 0) + 1 > most - most / spare) { return false; }
    return (uint64_t)BASE_MAX(held, 0) + weight <= bytes - bytes / spare;
}

BASE_COLD CELLAR_PRIVATE l1_room l1_absent_pay(l1 *c, l1_lane *n, l1_toll *t, l1_victims *v)
{
    for (; !l1_absent_fits(c, n, t->absent, L1_ABSENT_SPARE); t->absent_looks++) {
        uint64_t pos;
        l1_rec r;
        if (v->n == L1_VICTIMS) { return L1_ROOM_AGAIN; }
        if (t->absent_looks == L1_QUOTA_LOOKS) {
            if (l1_absent_fits(c, n, t->absent, UINT_MAX)) { break; }
            base_add_rlx(&c->absent_refused, (uint64_t)1);
            return L1_ROOM_NONE;
        }
        if (l1_quota_next(c, n, &n->absent_pass, &pos, &r) && l1_is_absent(c, pos, &r)) {
            (void)l1_quota_take(c, n, pos, &r, t->absent_looks < L1_QUOTA_LOOKS / 2, v);
        }
    }
    return L1_ROOM_OK;
}

BASE_SIZE_END
