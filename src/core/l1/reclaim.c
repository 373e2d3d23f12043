/* SPDX-License-Identifier: MIT
 *
 * reclaim: free what dead records take, before the policy drops a live entry.
 *
 * PICTURE    deadlines  segments that are wholly over, then those half over: a pass drops records
 *            ends       a generation or tag ended: a round, one pass over each segment of the lane
 *            dead bytes a quarter of a segment is dead or empty: its live records move into a
 *                       segment beside it, which takes those of several:
 *                         [seg]->[source]->[beside]->[seg]<- head     same queue, counter and place
 * ROUNDS     seek: sets wait for the round and drop no live entry before its end. That costs looks,
 *            so a round of sets begins only if what ended since the last one may be a 16th of the
 *            budget or of max_entries, or after as many sets as there are entries; earlier if the
 *            last round found much. A tick runs a round for each end.
 * INVARIANTS min_due_ms of a segment is at most the first time one of its records may expire; 0:
 *            the round has not passed it. A pass sets it to never; then every survivor, and every
 *            writer, lowers it. Moves give no ticket and make no record younger.
 * LOCKING    Lane lock. Other lanes read `wasteful`, `due_ms` and `judged`, all hints.
 * LIMITS     Dead bytes are looked for in L1_SPARSE_LOOKS segments at a time.
 * SEE ALSO   room.c: when sets call it, and in other lanes. expire.c: ticks. README.md: Room. */
#include "l1/evict.h"
#include "l1/index.h"
#include "l1/record.h"
#include "l1/segment.h"
#include "l1/unlink.h"

#define L1_SPARSE_LOOKS 64u
#define L1_SPARSE_LEAST 32u /* of them: so much has to be dead or empty */
#define L1_ENDED_PART 16u   /* of the bound: if so much may have ended, a round begins */
#define L1_ROUND_GAIN 8u    /* sets by which an entry that a round removes brings the next nearer */

BASE_SIZE_BEGIN

/* ---- ended generations and tags -------------------------------------------------------------- */
CELLAR_PRIVATE void l1_generation_died(l1 *c, uint32_t generation, uint64_t entries)
{
    if (entries == 0) { return; }
    const uint64_t more = base_xchg_ar(&c->long_bytes[generation % L1_LONG_SUMS], (uint64_t)0);
    base_add_rlx(&c->ended_bytes, entries * L1_LONG + more);
    base_add_rlx(&c->dead_round, 1u);
}

CELLAR_PRIVATE bool l1_much_ended(const l1 *c, const l1_lane *n)
{
    const uint64_t limit = base_load_rlx(&c->account->limit), max = base_load_rlx(&c->max_entries);
    return base_load_rlx(&c->ended_bytes) - base_load_rlx(&n->judged) >=
           (max - 1 < limit / L1_LONG ? max * L1_LONG : limit) / L1_ENDED_PART;
}

/* Return whether a round of sets is due. */
static SYNC_HOLDS(L1_LANE) bool l1_round_due(const l1 *c, const l1_lane *n)
{
    if (n->seeks || l1_much_ended(c, n)) { return !n->seeks; }
    const bool needed = base_load_rlx(&c->low) != 0 || base_load_rlx(&c->max_entries) != 0;
    return needed && base_load_rlx(&n->wasteful) == 0 && n->tag_epoch != l1_tag_epoch(c) &&
           base_load_rlx(&n->inserts) >= n->round_at;
}

CELLAR_PRIVATE void l1_round_begin(l1 *c, l1_lane *n, bool seek)
{
    if (!seek && (n->round || !l1_ended(c, n))) { return; }
    n->dead_round = base_load_rlx(&c->dead_round);
    n->tag_epoch = l1_tag_epoch(c);
    base_store_rlx(&n->judged, base_load_rlx(&c->ended_bytes));
    n->round = true;
    n->seeks = seek;
    n->round_at = base_load_rlx(&n->inserts) + l1_lane_entries(n) +
                  L1_ROUND_GAIN * l1_lane_removed(n);
    for (unsigned q = 0; q < 2; q++) {
        for (uint32_t seg = n->queue[q].tail; seg != L1_NONE; seg = c->seg[seg].next) {
            base_store_rlx(&c->seg[seg].min_due_ms, (uint64_t)0);
        }
    }
    if (seek) { base_store_rlx(&n->due_ms, (uint64_t)0); }
}

CELLAR_PRIVATE bool l1_round_start(l1 *c, l1_lane *n)
{
    if (!l1_round_due(c, n)) { return false; }
    l1_round_begin(c, n, true);
    return true;
}

/* All segments are passed. What the round found comes sooner again. */
static SYNC_HOLDS(L1_LANE) void l1_round_end(l1_lane *n)
{
    if (!n->round) { return; }
    n->round_at -= BASE_MIN(L1_ROUND_GAIN * l1_lane_removed(n), n->round_at);
    n->round = n->seeks = false;
}

/* ---- passes over segments -------------------------------------------------------------------- */
CELLAR_PRIVATE uint32_t l1_due_find(const l1 *c, const l1_lane *n, uint64_t now, bool tick,
                                    uint64_t *next)
{
    uint32_t part = L1_NONE;
    *next = UINT64_MAX;
    for (unsigned q = 0; q < 2; q++) {
        for (uint32_t seg = n->queue[q].tail; seg != L1_NONE; seg = c->seg[seg].next) {
            const l1_seg *g = &c->seg[seg];
            const uint64_t due = base_load_rlx(&g->min_due_ms);
            const uint64_t whole = BASE_MAX(due, g->max_due_ms);
            if (due == UINT64_MAX) { continue; }
            if (whole <= now || (due <= now && tick) || (due == 0 && n->seeks)) { return seg; }
            /* About half of its records are over; if some never are, a second after the first. */
            uint64_t half = whole != UINT64_MAX ? due + (whole - due) / 2 : due + 1024;
            if (due == 0) { half = UINT64_MAX; } /* of a round of ticks */
            if (half <= now && part == L1_NONE) { part = seg; }
            *next = BASE_MIN(*next, BASE_MIN(whole, half));
        }
    }
    return part;
}

/* Begin a pass over a segment with records that are over. Return false when there is none. */
static SYNC_HOLDS(L1_LANE) bool l1_due_begin(l1 *c, l1_lane *n, uint64_t tick_ms)
{
    uint64_t next, now = tick_ms;
    if (tick_ms == 0) {
        const uint64_t due = n->seeks ? 0 : base_load_rlx(&n->due_ms);
        if (BASE_LIKELY(due == UINT64_MAX) || (c->no_due_first && !n->seeks)) { return false; }
        now = (uint64_t)BASE_MAX(base_coarse_ms(c->clock), 0);
        if (now < due && due - now <= L1_COARSE_MS) {
            now = (uint64_t)BASE_MAX(base_now_ms(c->clock), 0);
        }
        if (now < due) { return false; }
    }
    const uint32_t seg = l1_due_find(c, n, now, tick_ms != 0, &next);
    if (seg == L1_NONE) {
        if (tick_ms != 0 || n->seeks) { l1_round_end(n); }
        base_store_rlx(&n->due_ms, next);
        return false;
    }
    n->due_pass = l1_pass_of(c, seg);
    base_store_rlx(&n->due_ms, (uint64_t)0); /* sets go on with it */
    base_store_rlx(&c->seg[seg].min_due_ms, UINT64_MAX);
    base_fence_sc(); /* before the pass reads a time: pairs with l1_due_changed */
    return true;
}

/* Drop a linked record if its time has passed, or its generation or tag has ended. */
static SYNC_HOLDS(L1_LANE) bool l1_drop_over(l1 *c, l1_lane *n, l1_entry *e, l1_victims *v,
                                             l1_freed *freed)
{
    l1_cause cause;
    if (BASE_LIKELY(!l1_is_over(c, e->slot.pos, &e->slot.rec, &cause))) { return false; }
    const uint32_t size = e->slot.rec.size;
    const uint64_t weight = l1_weight(c, e->slot.pos, &e->slot.rec);
    if (!l1_drop(c, n, e, cause, v)) { return false; }
    freed->log_bytes += size;
    freed->big_bytes += weight - size;
    return true;
}

/* Drop the decoded record at `pos` if it is over, else note its next deadline. Its bytes are judged
 * first: the index is read for records that are over alone. */
static SYNC_HOLDS(L1_LANE) void l1_due_record(l1 *c, l1_lane *n, uint64_t pos, l1_rec *r,
                                              l1_victims *v, l1_freed *freed)
{
    l1_entry e;
    l1_cause cause;
    int64_t keep;
    if (l1_is_over(c, pos, r, &cause)) {
        if (!l1_entry_at(c, pos, r, &e) || l1_drop_over(c, n, &e, v, freed)) { return; }
        if (!l1_decode(c, pos, r)) { return; }
    }
    if (r->due == 0 && r->mask == 0) { return; }
    (void)l1_expires(c, pos, r, &keep);
    l1_due_note(c, pos, keep);
}

CELLAR_PRIVATE bool l1_due_step(l1 *c, l1_lane *n, uint64_t tick_ms, l1_victims *v,
                                l1_freed *freed)
{
    uint64_t pos;
    l1_rec r;
    if (n->due_pass.seg == 0 && !l1_due_begin(c, n, tick_ms)) { return false; }
    if (l1_pass_next(c, &n->due_pass, &pos, &r)) { l1_due_record(c, n, pos, &r, v, freed); }
    return true;
}

BASE_SIZE_END

/* ---- dead bytes ------------------------------------------------------------------------------ */
CELLAR_PRIVATE uint32_t l1_clean_seg(const l1 *c, const l1_lane *n, unsigned q)
{
    const uint32_t seg = n->clean[q].seg - 1; /* NONE: none */
    const l1_seg *g = &c->seg[seg];
    return seg != L1_NONE && base_load_rlx(&g->seq) == n->clean[q].seq && l1_seg_queue(g) == q
               ? seg : L1_NONE;
}

/* Return whether a segment with that waste may be emptied: no cursor and no append works there, and
 * half of the least waste is dead. Long records may fill no segment better. */
static SYNC_HOLDS(L1_LANE) bool l1_seg_is_source(const l1 *c, const l1_lane *n, unsigned q,
                                                 uint32_t seg, uint32_t waste)
{
    const l1_seg *g = &c->seg[seg];
    return seg != n->queue[q].head && g->cursor == 0 &&
           (q == 1 || n->stay_seq != base_load_rlx(&g->seq)) &&
           waste - (c->seg_bytes - g->used_bytes) >= c->seg_bytes / (2 * L1_SPARSE_PART);
}

/* Choose the segment with the most dead bytes among the next ones of both queues. Return false if
 * none has enough. */
static SYNC_HOLDS(L1_LANE) bool l1_sparse_find(l1 *c, l1_lane *n)
{
    const l1_pass *hand = &n->sparse_hand;
    const bool same = hand->seg != 0 && base_load_rlx(&c->seg[hand->seg - 1].seq) == hand->seq;
    uint32_t seg = same ? hand->seg - 1 : n->queue[0].tail, best = L1_NONE;
    uint32_t most = c->seg_bytes / L1_SPARSE_PART;
    const uint32_t to[2] = { l1_clean_seg(c, n, 0), l1_clean_seg(c, n, 1) };
    uint64_t dead = 0;
    unsigned q = seg != L1_NONE ? l1_seg_queue(&c->seg[seg]) : 0;
    const uint32_t held = base_load_rlx(&n->held_segs), looks = BASE_MIN(held, L1_SPARSE_LOOKS);
    n->sparse_left = n->sparse_left > looks ? n->sparse_left - looks : 0;
    /* Before the looks: a later delete may set it again. */
    if (n->sparse_left == 0) { l1_wasteful_less(c, n); }
    for (uint32_t i = 0, ends = 0; i < looks && ends < 2; i++) {
        if (seg == L1_NONE) { /* of one queue: go on in the other one */
            ends++;
            q = 1 - q;
            seg = n->queue[q].tail;
            if (seg == L1_NONE) { continue; }
        }
        const uint32_t gain = base_load_rlx(&c->seg[seg].waste);
        const bool much = gain > c->seg_bytes / L1_SPARSE_PART;
        if (BASE_LIKELY(!much) || (seg != to[q] && l1_seg_is_source(c, n, q, seg, gain))) {
            dead += gain;
            best = gain > most ? seg : best;
            most = BASE_MAX(most, gain);
        }
        seg = c->seg[seg].next;
    }
    if (seg == L1_NONE) { seg = n->queue[1 - q].tail; }
    n->sparse_hand = seg != L1_NONE ? l1_pass_of(c, seg) : (l1_pass){0};
    const uint64_t least = ((uint64_t)looks << c->seg_shift) / L1_SPARSE_LEAST;
    if (best == L1_NONE || dead < least) { return false; }
    l1_wasteful(c, n);
    n->sparse_left = held;
    n->sparse = l1_pass_of(c, best);
    return true;
}

/* Reserve `size` bytes for a record of `source`: in the segment that takes records of its queue, or
 * in a new one behind `source`. The tail is for the cursor. */
static SYNC_HOLDS(L1_LANE) bool l1_clean_reserve(l1 *c, l1_lane *n, uint32_t source, uint32_t size,
                                                 uint64_t *pos)
{
    const unsigned q = l1_seg_queue(&c->seg[source]);
    uint32_t seg = l1_clean_seg(c, n, q);
    if (seg == L1_NONE || seg == source || seg == n->queue[q].tail || seg == n->queue[q].head ||
        c->seg_bytes - c->seg[seg].used_bytes < size || l1_seg_is_old(c, seg)) {
        if (source == n->queue[q].head) { return l1_log_reserve(c, n, q, size, pos); }
        seg = l1_seg_take(c, n, q, source);
        if (seg == L1_NONE) { return false; }
        n->clean[q] = l1_pass_of(c, seg);
    }
    *pos = l1_seg_append(c, seg, size);
    return true;
}

/* Move one record out of its segment, or drop it if it is over. */
static SYNC_HOLDS(L1_LANE) l1_step l1_clean_record(l1 *c, l1_lane *n, uint64_t pos, const l1_rec *r,
                                                   l1_victims *v, l1_freed *freed)
{
    l1_entry e;
    uint64_t to;
    if (l1_entry_at(c, pos, r, &e)) {
        if (l1_drop_over(c, n, &e, v, freed)) { return L1_STEP_DROPPED; }
        if (!l1_clean_reserve(c, n, l1_seg_of(c, pos), r->size, &to)) { return L1_STEP_END; }
        if (l1_keep(c, n, &e, (uint8_t)l1_freq(e.slot.b, e.slot.i), to)) { return L1_STEP_KEPT; }
    }
    freed->log_bytes += r->size;
    return L1_STEP_DEAD;
}

CELLAR_PRIVATE l1_step l1_step_clean(l1 *c, l1_lane *n, l1_victims *v, l1_freed *freed)
{
    uint64_t pos;
    l1_rec r;
    for (unsigned i = 0; i < 2; i++) {
        l1_free_emptied(c, n);
        if (n->sparse.seg == 0 && (base_load_rlx(&n->wasteful) == 0 || !l1_sparse_find(c, n))) {
            break;
        }
        if (l1_pass_next(c, &n->sparse, &pos, &r)) {
            const l1_step step = l1_clean_record(c, n, pos, &r, v, freed);
            if (step == L1_STEP_END) { n->sparse.at -= r.size; } /* no room yet: again */
            return step;
        }
    }
    return L1_STEP_END;
}

CELLAR_PRIVATE bool l1_reclaim(l1 *c, l1_lane *n, unsigned looks, unsigned moves, l1_victims *v,
                               l1_freed *freed)
{
    bool any = false;
    for (; looks > 0 && v->n < L1_VICTIMS; looks--) {
        if (!l1_due_step(c, n, 0, v, freed) && !l1_round_start(c, n)) { break; }
        any = true;
    }
    for (; moves > 0 && v->n < L1_VICTIMS; moves--) {
        if (l1_step_clean(c, n, v, freed) == L1_STEP_END) { break; }
        any = true;
    }
    l1_free_emptied(c, n);
    return any;
}

CELLAR_PRIVATE l1_step l1_step_any(l1 *c, l1_lane *n, bool force, l1_victims *v, l1_freed *freed)
{
    const l1_step step = l1_step_clean(c, n, v, freed);
    return step != L1_STEP_END ? step : l1_step_evict(c, n, force, v, freed);
}
