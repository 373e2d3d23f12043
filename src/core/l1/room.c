/* SPDX-License-Identifier: MIT
 *
 * room: free room for sets and for others; grant the tickets of entries.
 *
 * PICTURE    l1_room_for: records that are over -> shares -> free bytes -> ticket -> reserve; no
 *            segment: wait for dead records -> force -> other lanes -> E_SPACE.
 *            free bytes (l1_pay): segments with dead bytes here -> dead records of other lanes
 *            (l1_help) -> the cursor. The same for blocks and objects: l1_evict_round.
 * INVARIANTS While memory is short, a set that appends n bytes frees n bytes of the log, or its
 *            lane owes them: at most the bytes of one segment.
 *            Sum of granted tickets + tickets in the pool == max_entries. A lowered bound makes the
 *            pool negative. Tickets that return raise it; a lane gets one while it is above 0.
 * LOCKING    Lane lock. Other lanes only by try-lock.
 * LIMITS     README.md, Bounded work: records that one set examines, bytes that one call frees. */
#include "l1/cap.h"
#include "l1/evict.h"
#include "l1/large.h"
#include "l1/policy.h"
#include "l1/quota.h"
#include "l1/segment.h"
#include "l1/unlink.h"

#define L1_STEAL_ROUNDS 8
#define L1_DUE_LOOKS 64u
#define L1_HELPS 2u  /* other lanes that one set works in; twice as many with half of the reserve */
#define L1_WAITS 8u  /* calls of one set that wait for dead records without a free segment */
#define L1_ROUND_PICKS 32u /* lanes that a round tries, each for 2 ms */
#define L1_OWED_LOOK 1024u /* bytes owed for one more look */
#define L1_HOLES_PART 32u /* of the pages with blocks: so much may be unused */

/* ---- tickets --------------------------------------------------------------------------------- */
static bool l1_ticket_from_pool(l1 *c, l1_lane *n)
{
    /* Take one ticket at a time: spare tickets of one lane make others evict below the bound.
     * Once the store is full, the pool is only read. */
    int64_t have;
    do {
        have = base_load_rlx(&c->tickets);
        if (have <= 0) { return false; }
    } while (!base_cas_ar(&c->tickets, have, have - 1));
    base_add_rlx(&n->granted, 1u);
    return true;
}

/* Draw a number. The store draws it, not the thread: with one hash key the same calls have the same
 * effects. */
static uint32_t l1_draw(l1 *c)
{
    return (uint32_t)base_mix64(base_add_rlx(&c->draws, UINT64_C(0x9e3779b97f4a7c15)));
}

/* Return the larger of two random lanes. */
static l1_lane *l1_larger_of_two(l1 *c, const l1_lane *not_this, bool by_entries)
{
    uint32_t draw = l1_draw(c);
    l1_lane *best = NULL;
    for (unsigned i = 0; i < 2; i++, draw >>= 16) {
        l1_lane *n = &c->lane[draw & c->stripe_mask];
        if (n == not_this) { continue; }
        if (best == NULL ||
            (by_entries ? l1_lane_entries(n) > l1_lane_entries(best)
                        : base_load_rlx(&n->held_segs) > base_load_rlx(&best->held_segs))) {
            best = n;
        }
    }
    return best;
}

/* Return whether a set calls again, for more records that may be over: a pass goes on. */
static SYNC_HOLDS(L1_LANE) bool l1_wait(const l1_lane *n, l1_toll *t, unsigned most)
{
    if (!l1_waits(n) || t->again >= most) { return false; }
    t->again++;
    t->due_looks = 0;
    return true;
}

/* Get one entry ticket for `n`: an idle one, from the pool, from another lane, or by an eviction
 * here. The caller holds the lock of `n`. Unchecked: one path holds a second lane, and tokens
 * know ranks, not locks. */
static SYNC_UNCHECKED l1_room l1_ticket(l1 *c, l1_lane *n, l1_toll *t, l1_victims *v)
{
    uint64_t max = base_load_rlx(&c->max_entries);
    if (max == 0) { return L1_ROOM_OK; }
    for (unsigned held = 0;; held++) {
        uint64_t count = l1_lane_entries(n);
        if (l1_tickets_idle(n) != 0 || l1_ticket_from_pool(c, n)) { return L1_ROOM_OK; }
        if (v->n == L1_VICTIMS || held == L1_HOLD_MAX) { return L1_ROOM_AGAIN; }
        /* No ticket is in reserve: records that are over have to give one now. */
        if (l1_wait(n, t, 8 * L1_WAITS)) { return L1_ROOM_AGAIN; }
        l1_lane *from = n;
        /* Use another lane only when this one is clearly below the average: its lock and lines
         * are far away. */
        bool own = count != 0 && count * c->stripe_count * 8 >= max * 7;
        if (!own && c->stripe_count > 1) {
            l1_lane *other = l1_larger_of_two(c, n, true);
            if (other != NULL && sync_try(L1_LANE, &other->lock)) {
                from = other;
                if (l1_lane_entries(from) == 0 && l1_tickets_idle(from) == 0) {
                    sync_drop(L1_LANE, &from->lock);
                    from = n;
                }
            }
        }
        if (from == n && count == 0) { /* others may hold the lanes with entries: go on */
            base_thread_record *const self = base_thread_self();
            base_store_rlx(&self->lane, base_load_rlx(&self->lane) + 1);
            if (t->ticket_end_ns == 0) { t->ticket_end_ns = base_now_ns() + L1_LANES_WAIT_NS; }
            t->busy = true;
            if (base_now_ns() < t->ticket_end_ns) { return L1_ROOM_AGAIN; }
            base_add_rlx(&c->no_space, (uint64_t)1);
            return L1_ROOM_NONE;
        }
        bool force = ++t->examined > L1_LOOKS;
        l1_freed freed = {0};
        if (from != n) { (void)l1_reclaim(c, from, 4 * L1_DUE_LOOKS, 0, v, &freed); }
        const bool waits = from != n && l1_wait(from, t, 8 * L1_WAITS);
        if (!waits && v->n < L1_VICTIMS && (from == n || l1_tickets_idle(from) == 0)) {
            (void)l1_step_evict(c, from, force, v, &freed);
        }
        t->freed.log_bytes += from == n ? freed.log_bytes : 0;
        if (from != n) {
            if (l1_tickets_idle(from) != 0) {
                base_sub_rlx(&from->granted, 1u);
                base_add_rlx(&n->granted, 1u);
            }
            sync_drop(L1_LANE, &from->lock);
        }
    }
}

/* ---- room for one set ------------------------------------------------------------------------ */
/* Return the bytes of pages with blocks that no block uses. */
static uint64_t l1_holes(const l1 *c)
{
    const uint64_t used = base_load_rlx(&c->big_bytes) + base_load_rlx(&c->retired_bytes);
    const uint64_t charged = base_load_rlx(&c->account->by_module[BASE_MOD_BIG]);
    return charged > used ? charged - used : 0;
}

/* Find a lane that may have dead records to free, from `*at` up to `end`, and take its lock. NULL:
 * there is none. *busy: another thread keeps one. */
static SYNC_UNCHECKED l1_lane *l1_wasteful_lane(l1 *c, const l1_lane *not_this, uint32_t *at,
                                                uint32_t end, bool *busy)
{
    const uint64_t now = (uint64_t)BASE_MAX(base_coarse_ms(c->clock), 0) + L1_COARSE_MS;
    while (*at != end) {
        l1_lane *n = &c->lane[(*at)++ & c->stripe_mask];
        if (n == not_this || (base_load_rlx(&n->wasteful) == 0 && !l1_much_ended(c, n) &&
                              base_load_rlx(&n->due_ms) > now)) {
            continue;
        }
        if (sync_try(L1_LANE, &n->lock)) { return n; }
        *busy = true;
    }
    return NULL;
}

/* Free dead records in another lane before this one drops live ones. Return whether there were
 * some, or may be some in a lane that another thread keeps: *busy. */
static SYNC_UNCHECKED bool l1_help(l1 *c, l1_lane *n, unsigned moves, l1_victims *v,
                                   l1_freed *freed, bool *busy)
{
    uint32_t at = l1_draw(c);
    const uint32_t end = at + c->stripe_count;
    l1_lane *other;
    *busy = false;
    while ((other = l1_wasteful_lane(c, n, &at, end, busy)) != NULL) {
        const bool any = l1_reclaim(c, other, L1_DUE_LOOKS, moves, v, freed);
        sync_drop(L1_LANE, &other->lock);
        if (any) {
            *busy = false;
            return true;
        }
    }
    if (*busy) { return true; }
    n->helped_ms = base_coarse_ms(c->clock);
    return false;
}

/* Return whether this lane or others may have dead records. */
BASE_ALWAYS_INLINE SYNC_HOLDS(L1_LANE) bool l1_has_waste(const l1 *c, const l1_lane *n)
{
    return base_load_rlx(&c->wasteful) != 0 ||
           (BASE_UNLIKELY(base_load_rlx(&n->due_ms) != UINT64_MAX) && c->stripe_count > 1 &&
            n->helped_ms != base_coarse_ms(c->clock));
}

typedef enum l1_waste { L1_WASTE_SOME, L1_WASTE_LATER, L1_WASTE_BUSY, L1_WASTE_NONE } l1_waste;

/* Free dead records for a set, in its lane or in another one. LATER: leave the rest to later sets.
 * BUSY: let the lane go, for the threads that keep others. */
static SYNC_HOLDS(L1_LANE) l1_waste l1_pay_waste(l1 *c, l1_lane *n, unsigned moves, uint32_t low,
                                                 l1_toll *t, l1_victims *v)
{
    if (base_load_rlx(&n->wasteful) != 0 &&
        l1_step_clean(c, n, v, &t->freed) != L1_STEP_END) {
        return L1_WASTE_SOME;
    }
    if (n->sparse.seg == 0 && t->helps < L1_HELPS * low) {
        t->helps++;
        if (l1_help(c, n, moves, v, &t->freed, &t->busy)) {
            if (!t->busy) { return L1_WASTE_SOME; }
            if (low == 2 && t->again++ < L1_WAITS) { return L1_WASTE_BUSY; }
        }
    }
    /* Half of the reserve is left, and other lanes can free enough. */
    const bool later = base_load_rlx(&c->wasteful) != 0 && base_load_rlx(&c->low) < 2;
    return later ? L1_WASTE_LATER : L1_WASTE_NONE;
}

/* Free the bytes of a set while memory is short: by policy within the allowance, then by force
 * within a second one. Records that stay come in runs. So a set looks at a few and leaves what it
 * owes to the next ones: the more is owed, the more they look at. Return false to let the lock go
 * first. */
static SYNC_HOLDS(L1_LANE) bool l1_pay(l1 *c, l1_lane *n, uint32_t size, l1_toll *t, l1_victims *v)
{
    const uint32_t low = base_load_rlx(&c->low);
    /* Blocks share pages, so most evictions free no page but leave room for other blocks. While
     * there is much of it, every second set with a block fills a place and evicts nothing. Nor does
     * one while blocks are retired: the next block or segment takes their room. */
    if (BASE_UNLIKELY(t->weight > size) &&
        (base_load_rlx(&c->retired_fresh) >= c->seg_bytes ||
         ((n->turn & 1u) != 0 && l1_holes(c) > base_load_rlx(&c->account->by_module[BASE_MOD_BIG]) /
                                                   L1_HOLES_PART))) {
        n->owed = BASE_MIN(n->owed + size, c->seg_bytes);
        t->paid = true;
        return true;
    }
    const uint64_t allowance = 16 + size / 8, few = 2 + BASE_MAX(size, t->weight) / 64;
    /* Until the lane has a second segment of main, records that stay need the reserve soon. */
    const bool young = n->queue[1].head == n->queue[1].tail;
    const uint64_t looks = young ? few * low + n->owed / L1_OWED_LOOK
                                 : few + n->owed / (4 * L1_OWED_LOOK);
    const uint64_t most = BASE_MIN(2 * allowance, looks);
    /* Lanes above their share free more, so that memory moves to the others. */
    const bool above =
        (uint64_t)base_load_rlx(&n->held_segs) * c->stripe_count >= base_load_rlx(&c->held);
    const uint64_t want = n->owed + (uint64_t)size * (above ? 1 + 2 * low : 2) / 2;
    const bool has_waste = l1_has_waste(c, n);
    for (unsigned held = 0; t->freed.log_bytes + t->freed.big_bytes < want; held++) {
        if (v->n == L1_VICTIMS || held == L1_HOLD_MAX) { return false; }
        if (t->examined >= most) { break; }
        bool force = t->examined >= allowance;
        if (force && t->freed.log_bytes >= size) { break; }
        t->examined++;
        if (BASE_UNLIKELY(has_waste)) {
            const l1_waste w = l1_pay_waste(c, n, (unsigned)(4 * few), low, t, v);
            if (w == L1_WASTE_SOME) { continue; }
            if (w == L1_WASTE_LATER) { break; }
            if (w == L1_WASTE_BUSY) { return false; }
        }
        if (l1_step_evict(c, n, force, v, &t->freed) == L1_STEP_END) { break; }
    }
    const uint64_t freed = t->freed.log_bytes + t->freed.big_bytes;
    n->owed = freed < want ? (uint32_t)BASE_MIN(want - freed, c->seg_bytes) : 0;
    t->paid = true;
    return true;
}

BASE_SIZE_BEGIN

/* Evict a segment of another lane that a try-lock gets, when pool and own tails gave nothing. */
static void l1_steal(l1 *c, l1_lane *n, l1_toll *t, l1_victims *v)
{
    l1_lane *other = l1_larger_of_two(c, n, false);
    if (other == NULL || !sync_try(L1_LANE, &other->lock)) { return; }
    l1_freed freed = {0};
    const uint32_t before = base_load_rlx(&other->held_segs);
    for (unsigned i = 0; i < L1_HOLD_MAX && v->n < L1_VICTIMS; i++) {
        if (base_load_rlx(&other->held_segs) < before || freed.big_bytes >= c->seg_bytes) { break; }
        t->examined++;
        if (l1_step_any(c, other, i > 64, v, &freed) == L1_STEP_END) { break; }
    }
    sync_drop(L1_LANE, &other->lock);
}

BASE_SIZE_END

/* Return the bound of records that one set examines, for any pinned, victim or retired record. */
CELLAR_PRIVATE uint64_t l1_most_examined(const l1 *c, uint32_t size)
{
    const uint64_t rounds = L1_STEAL_ROUNDS + c->stripe_count / 4;
    return 2 * (16 + (uint64_t)size / 8) + rounds * 2 * L1_HOLD_MAX;
}

/* Let records that are over make room before live ones: some looks beyond the allowance of a set.
 * Within it a segment with few such records would use it up, and force would evict live entries. */
static SYNC_HOLDS(L1_LANE) bool l1_due_first(l1 *c, l1_lane *n, l1_toll *t, l1_victims *v,
                                             bool *waits)
{
    if (BASE_LIKELY(base_load_rlx(&n->due_ms) == UINT64_MAX && !l1_ended(c, n))) { return true; }
    const unsigned most = base_load_rlx(&c->low) == 1 ? L1_DUE_LOOKS : 4 * L1_DUE_LOOKS;
    for (; t->due_looks < most && l1_lane_full(c, n); t->due_looks++) {
        if (v->n == L1_VICTIMS) { return false; }
        if (!l1_due_step(c, n, 0, v, &t->freed) && !l1_round_start(c, n)) { break; }
    }
    *waits = l1_waits(n);
    return true;
}

static SYNC_HOLDS(L1_LANE) void l1_examined(l1_lane *n, const l1_toll *t)
{
    if (BASE_DEBUG && t->examined > base_load_rlx(&n->examined_max)) {
        base_store_rlx(&n->examined_max, t->examined);
    }
}

CELLAR_PRIVATE l1_room l1_room_for(l1 *c, l1_lane *n, unsigned q, uint32_t size,
                                   bool new_entry, l1_toll *t, l1_victims *v, uint64_t *pos)
{
    l1_free_emptied(c, n);
    if (t->examined != 0 && t->examined >= l1_most_examined(c, size)) {
        base_add_rlx(&c->no_space, (uint64_t)1);
        return L1_ROOM_NONE;
    }
    bool waits = false; /* so if no deadline is near: a pass and a round set due_ms */
    if (!l1_due_first(c, n, t, v, &waits)) { return L1_ROOM_AGAIN; }
    if (BASE_UNLIKELY(base_load_rlx(&c->quotas) != NULL)) {
        if (!l1_quota_pay(c, n, size, t, v)) { return L1_ROOM_AGAIN; }
        t->full = new_entry && !l1_cap_reserve(c, t);
        if (t->full) { return L1_ROOM_AGAIN; }
    }
    if (BASE_UNLIKELY(t->absent != 0)) {
        const l1_room r = l1_absent_pay(c, n, t, v);
        if (r != L1_ROOM_OK) { return r; }
    }
    const uint32_t low = base_load_rlx(&c->low);
    if (!t->paid && low != 0 && !waits && !l1_pay(c, n, size, t, v)) {
        return L1_ROOM_AGAIN;
    }
    if (new_entry) {
        l1_room r = l1_ticket(c, n, t, v);
        if (r != L1_ROOM_OK) { return r; }
    }
    l1_examined(n, t);
    if (l1_log_reserve(c, n, q, size, pos)) { return L1_ROOM_OK; }
    if (t->freed.big_bytes >= c->seg_bytes) { /* the freed blocks are retired: try again */
        t->freed.big_bytes = 0;
        return L1_ROOM_AGAIN;
    }
    /* No segment is free although the set paid. Drop here until a whole segment comes free, then
     * elsewhere. */
    l1_freed freed = {0};
    if (t->again < L1_WAITS &&
        (l1_waits(n) || l1_help(c, n, 2 * L1_DUE_LOOKS, v, &freed, &t->busy))) {
        t->again++;
        t->due_looks = 0;
        return L1_ROOM_AGAIN;
    }
    for (unsigned i = 0; i < L1_HOLD_MAX; i++) {
        /* Blocks make room too, once they leave the retire list. Do not drop a whole tail of
         * them. */
        if (v->n == L1_VICTIMS || freed.big_bytes >= c->seg_bytes) { return L1_ROOM_AGAIN; }
        t->examined++;
        l1_examined(n, t);
        l1_step step = l1_step_any(c, n, true, v, &freed);
        if (step == L1_STEP_END) { break; }
        if (i % 16 == 15 && l1_log_reserve(c, n, q, size, pos)) { return L1_ROOM_OK; }
    }
    if (l1_log_reserve(c, n, q, size, pos)) { return L1_ROOM_OK; }
    if (c->stripe_count > 1) { l1_steal(c, n, t, v); }
    l1_examined(n, t);
    if (l1_log_reserve(c, n, q, size, pos)) { return L1_ROOM_OK; }
    if (++t->rounds > L1_STEAL_ROUNDS + c->stripe_count / 4) {
        base_add_rlx(&c->no_space, (uint64_t)1);
        return L1_ROOM_NONE;
    }
    return L1_ROOM_AGAIN;
}

BASE_SIZE_BEGIN

/* ---- room for others ------------------------------------------------------------------------- */
/* Choose a lane for a round and take its lock: one with dead records, else a large one. NULL:
 * other threads keep those that it drew. */
static SYNC_UNCHECKED l1_lane *l1_round_lane(l1 *c, l1_round *r, l1_victims *v)
{
    bool busy;
    l1_lane *n;
    const uint64_t ended = base_load_rlx(&c->ended_bytes);
    const int64_t now = base_coarse_ms(c->clock);
    if (base_load_rlx(&c->wasteful) != 0 || base_load_rlx(&c->vain_ended) != ended ||
        base_load_rlx(&c->vain_ms) != now) {
        uint32_t at = l1_draw(c);
        const uint32_t end = at + c->stripe_count;
        while ((n = l1_wasteful_lane(c, NULL, &at, end, &busy)) != NULL) {
            *r = (l1_round){.n = n, .held_segs = base_load_rlx(&n->held_segs), .dead = true};
            if (l1_reclaim(c, n, 4 * L1_HOLD_MAX, 1, v, &r->freed)) { return n; }
            sync_drop(L1_LANE, &n->lock);
        }
        base_store_rlx(&c->vain_ended, ended);
        base_store_rlx(&c->vain_ms, now);
    }
    for (unsigned i = 0; i < L1_ROUND_PICKS; i++) { /* a thread may have stopped in one */
        n = l1_larger_of_two(c, NULL, false);
        BASE_ASSERT(n != NULL); /* NULL only with a lane to skip */
        *r = (l1_round){.n = n, .held_segs = base_load_rlx(&n->held_segs)};
        if (l1_lane_get(c, n)) { return n; }
    }
    r->n = NULL;
    return NULL;
}

CELLAR_PRIVATE SYNC_UNCHECKED uint64_t l1_evict_round(l1 *c, uint64_t bytes, l1_round *r)
{
    l1_lane *n = r->n;
    uint64_t before = r->freed.log_bytes + r->freed.big_bytes, freed = 0;
    l1_victims v;
    v.n = 0;
    if (n != NULL && l1_lane_get(c, n)) {
        (void)l1_reclaim(c, n, 4 * L1_HOLD_MAX, 0, &v, &r->freed);
    } else {
        n = l1_round_lane(c, r, &v);
        if (n == NULL) { return 0; }
        before = 0;
    }
    const bool waits = l1_waits(n);
    bool done = false;
    for (unsigned i = 0; i < L1_HOLD_MAX && v.n < L1_VICTIMS && !done && !waits; i++) {
        freed = r->freed.log_bytes + r->freed.big_bytes - before;
        done = (base_load_rlx(&n->held_segs) < r->held_segs && r->freed.log_bytes >= bytes) ||
               r->freed.big_bytes >= bytes;
        if (!done && l1_step_clean(c, n, &v, &r->freed) == L1_STEP_END) {
            /* Other lanes may have more dead records. Without a segment to move to, drop here. */
            done = (r->dead && n->sparse.seg == 0) ||
                   l1_step_evict(c, n, i > L1_HOLD_MAX / 2, &v, &r->freed) == L1_STEP_END;
        }
    }
    sync_drop(L1_LANE, &n->lock);
    l1_hand_over(c, &v);
    freed = r->freed.log_bytes + r->freed.big_bytes - before;
    if (waits) { return BASE_MAX(freed, 1); } /* a pass over live records is no idle round */
    if (done || freed == 0) { r->n = NULL; }
    return freed;
}

CELLAR_PRIVATE bool l1_evict_excess(l1 *c)
{
    l1_lane *n = l1_larger_of_two(c, NULL, true);
    BASE_ASSERT(n != NULL);
    l1_victims v;
    l1_freed freed = {0};
    v.n = 0;
    if (!l1_lane_get(c, n)) { return false; }
    bool any = l1_tickets_back(c, n); /* deletes left them idle */
    for (unsigned i = 0; i < L1_HOLD_MAX && v.n < L1_VICTIMS && base_load_rlx(&c->tickets) < 0;
         i++) {
        if (l1_step_evict(c, n, i > L1_HOLD_MAX / 2, &v, &freed) == L1_STEP_END) { break; }
        any |= l1_tickets_back(c, n);
    }
    sync_drop(L1_LANE, &n->lock);
    if (v.n != 0) { l1_hand_over(c, &v); }
    return any;
}

/* Return whether `bytes` fit if the store evicts every entry. After a full pass the retire list
 * holds only pinned blocks. */
CELLAR_PRIVATE bool l1_may_fit(const l1 *c, uint64_t bytes)
{
    const uint64_t room = l1_log_limit(c), retired = base_load_rlx(&c->retired_bytes);
    return room >= retired && room - retired >= bytes;
}

CELLAR_PRIVATE bool l1_make_room(l1 *c, uint64_t bytes)
{
    /* Stop after that: the rest of the store does not free what is pinned. Blocks that a hook keeps
     * do not count: it keeps few. Nor do places in pages that hold other blocks. */
    const uint64_t kept = base_load_rlx(&c->left_bytes) + l1_holes(c);
    const uint64_t most = bytes + bytes / 8 + (uint64_t)c->seg_bytes * (c->stripe_count + 16);
    unsigned idle = 0;
    l1_round round = {0};
    for (uint64_t freed = 0; idle < 4 * c->stripe_count + 16 &&
                             freed + kept <= most + base_load_rlx(&c->left_bytes) + l1_holes(c);) {
        l1_retired_for(c, bytes);
        l1_retired_wait(c);
        if (l1_give_back(c, bytes, 0)) { return true; }
        if (!l1_may_fit(c, bytes)) { return false; }
        const uint64_t more = l1_evict_round(c, c->seg_bytes, &round);
        idle = more == 0 ? idle + 1 : 0;
        /* A round may find many dead blocks, and other threads take their room. */
        freed += round.dead ? more / 16 : more;
    }
    l1_retired_for(c, bytes);
    return l1_give_back(c, bytes, 0);
}

BASE_SIZE_END
