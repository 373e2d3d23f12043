/* SPDX-License-Identifier: MIT
 *
 * segment: append records to segments; take segments from the budget and give them back.
 *
 * PICTURE    The arena is an array of equal segments. At any time a segment is in one state:
 *              in a lane     in a queue (SMALL or MAIN)                charged
 *              free          ready to be opened                        charged, pages kept
 *              parked        emptied; a pin names it or victims wait   charged
 *              back          given back                                not charged, pages discarded
 *              fresh..       never existed
 *            reserve: head has room? else l1_seg_take: free, unparked, back or fresh; else false
 *            and the caller evicts. emptied -> l1_seg_release -> free or parked.
 * INVARIANTS Charge of SEGMENT == (held + free + parked + returning) x seg_bytes.
 *            low != 0 exactly when free.count + segments that the budget still allows <= reserve +
 *            fit_segs; low == 2 when they are at most half of the reserve.
 *            A segment leaves its lane only when none of its records is linked.
 * LOCKING    Lane lock for the queues, then L1_SEG for the lists. A delete holds neither.
 *            A delete lowers the count inside its window and pushes the segment that it emptied
 *            onto the stack of the lane. The next holder of the lane lock takes the whole
 *            stack. The step that counts to 0 also sets QUEUED in the same word. A segment is freed
 *            only while the whole word is 0, so no push comes late.
 * LIMITS     `due` counts from the opening of the segment: a head older than 2^31 ms is closed. */
#include "l1/pin_slots.h"
#include "l1/record.h"
#include "l1/segment.h"

#define L1_ARENA_STEP ((uint64_t)2 << 20)
#define L1_LANE_TRIES 4u
#define L1_LANE_WAIT_NS 2000000u /* a thread that keeps a lane for longer may have stopped */
#define L1_FIT_FIRST 16u /* l1_fit is due first when so large a part of the budget is used */
#define L1_FULL_PART 32u /* a store is full until so large a part of it is free */
#define L1_TURN 32u /* sets of a turn: so many and up to twice as many */

/* ---- overwriting ----------------------------------------------------------------------------- */
BASE_SIZE_BEGIN

CELLAR_PRIVATE void l1_zero(l1 *c, uint64_t pos, uint64_t bytes)
{
    static const unsigned char zeros[512];
    while (bytes != 0) {
        const size_t n = (size_t)BASE_MIN(bytes, (uint64_t)sizeof zeros);
        base_seq_store(l1_at(c, pos), zeros, n);
        pos += n;
        bytes -= n;
    }
}

CELLAR_PRIVATE void l1_wipe_value(l1 *c, uint64_t pos, const l1_rec *r)
{
    if ((r->w0 & L1_W0_BIG) != 0 || l1_pinned(c, l1_pin_name(c, pos))) { return; }
    const uint32_t end = r->tag_count != 0 ? r->tag_off : r->size; /* padding: of longer values */
    l1_zero(c, pos + r->value_off, end - r->value_off);
}

/* Overwrite a segment that is about to be free. */
static void l1_seg_wipe(l1 *c, uint32_t seg)
{
    if (BASE_LIKELY(base_load_rlx(&c->wipes) == 0)) { return; }
    l1_zero(c, (uint64_t)seg << c->seg_shift, c->seg[seg].used_bytes);
}

/* Give the pages of a segment back to the kernel. */
static void l1_seg_discard(l1 *c, uint32_t seg)
{
    base_region_discard(&c->arena_region, (size_t)((uint64_t)seg << c->seg_shift), c->seg_bytes);
}

BASE_SIZE_END

/* ---- lanes ----------------------------------------------------------------------------------- */
/* Bare: the rank check cannot keep all locks at once. */
CELLAR_PRIVATE void l1_lanes_drop(l1 *c, uint32_t first)
{
    while (first-- > 0) { sync_bare_drop(&c->lane[first].lock); }
}

CELLAR_PRIVATE bool l1_lanes_take(l1 *c, uint64_t end_ns)
{
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        sync_lock *const l = &c->lane[i].lock;
        if (base_cas_ar(&l->word, 0u, 1u) ||
            sync_lock_until(l, BASE_MIN(end_ns, base_now_ns() + L1_LANE_WAIT_NS))) {
            continue;
        }
        /* Wait for a lane that a thread keeps without the others: sets go on there. */
        l1_lanes_drop(c, i);
        if (!sync_lock_until(l, end_ns)) { return false; }
        sync_bare_drop(l);
        i = UINT32_MAX;
    }
    return true;
}

CELLAR_PRIVATE bool l1_lane_get(const l1 *c, l1_lane *n)
{
    if (sync_try(L1_LANE, &n->lock)) { return true; }
    const uint64_t end_ns = c->stripe_count > 1 ? base_now_ns() + L1_LANE_WAIT_NS : UINT64_MAX;
    return sync_until(L1_LANE, &n->lock, end_ns);
}

CELLAR_PRIVATE l1_lane *l1_lane_next(l1 *c)
{
    _Atomic uint32_t *const mine = &base_thread_self()->lane;
    uint32_t i = base_load_rlx(mine);
    for (unsigned tries = BASE_MIN(c->stripe_count, L1_LANE_TRIES);; tries -= tries != 0) {
        l1_lane *const n = &c->lane[i & c->stripe_mask];
        /* All are held: wait in one, but not for a thread that stopped there. */
        if (tries != 0 ? sync_try(L1_LANE, &n->lock) : l1_lane_get(c, n)) { return n; }
        base_store_rlx(mine, ++i);
    }
}

CELLAR_PRIVATE void l1_lane_tell(l1 *c, l1_lane *n, uint32_t more)
{
    const uint32_t entries = (uint32_t)l1_lane_entries(n) + more;
    base_add_rlx(&c->entries, (uint64_t)entries - n->told);
    n->told = entries;
}

CELLAR_PRIVATE bool l1_tickets_back(l1 *c, l1_lane *n)
{
    const uint32_t idle = l1_tickets_idle(n); /* 0 without a bound */
    if (idle == 0) { return false; }
    base_sub_rlx(&n->granted, idle);
    base_add_rlx(&c->tickets, (int64_t)idle);
    return true;
}

CELLAR_PRIVATE void l1_turn_end(l1 *c, l1_lane *n, uint64_t hash)
{
    const uint32_t least = BASE_MIN(BASE_MAX(n->told / 64, L1_TURN / 8), L1_TURN);
    if (c->stripe_count == 1) { /* one lane: no turns, and the count is exact */
        l1_lane_tell(c, n, 0);
        return;
    }
    n->turn = least + (uint32_t)(hash % least);
    l1_lane_tell(c, n, least / 2); /* half of what the next turn adds */
    (void)l1_tickets_back(c, n);
    /* The hint counts on: other stores of the thread have other numbers of lanes. */
    _Atomic uint32_t *const mine = &base_thread_self()->lane;
    const uint32_t now = base_load_rlx(mine);
    base_store_rlx(mine, now + ((n->number + 1 - now) & c->stripe_mask));
}

/* ---- lists; all under L1_SEG ----------------------------------------------------------------- */
static void l1_push(l1 *c, l1_list *l, uint32_t seg)
{
    c->seg[seg].next = l->head;
    if (l->head == L1_NONE) { l->tail = seg; }
    l->head = seg;
    l->count++;
}

static uint32_t l1_pop(l1 *c, l1_list *l)
{
    const uint32_t seg = l->head;
    if (seg == L1_NONE) { return L1_NONE; }
    l->head = c->seg[seg].next;
    l->count--;
    return seg;
}

CELLAR_PRIVATE uint32_t l1_reserve_segs(const l1 *c, uint64_t budget)
{
    uint64_t segs = budget / c->seg_bytes;
    /* Each lane has one tail in progress: partly consumed, not yet free. */
    return (uint32_t)BASE_MIN(BASE_MAX(c->stripe_count, 2), BASE_MAX(segs / 8, 1));
}

/* Return whether the store holds a quarter more or less entries than its tables are made for. */
static bool l1_misfits(const l1 *c)
{
    const uint64_t fit = base_load_rlx(&c->fit), entries = base_load_rlx(&c->entries);
    return entries > fit + fit / 4 + 8 || entries + fit / 5 + 8 < fit;
}

static void l1_judge_low(l1 *c)
{
    uint64_t used = base_load_rlx(&c->account->used), limit = base_load_rlx(&c->account->limit);
    uint64_t room = limit > used ? (limit - used) >> c->seg_shift : 0;
    room = BASE_MIN(room, (uint64_t)c->back.count + (c->seg_limit - c->fresh));
    const uint64_t avail = c->free.count + room, reserve = base_load_rlx(&c->reserve);
    uint32_t low = avail <= reserve / 2 ? 2u : avail <= reserve + c->fit_segs ? 1u : 0u;
    if (base_load_rlx(&c->low) != low) { base_store_rlx(&c->low, low); }
    /* Sets free segments ahead, so that `low` comes and goes in a full store. */
    const bool full = low != 0 || avail <= 2 * reserve + (limit >> c->seg_shift) / L1_FULL_PART;
    const bool was_full = base_load_rlx(&c->full) != 0;
    if (low != 0 ? !was_full : was_full && !full) { base_store_rlx(&c->full, low != 0); }
    uint32_t after = base_load_rlx(&c->after) & ~L1_AFTER_LOW;
    after |= low != 0 ? L1_AFTER_LOW : 0;
    const bool due = c->fit_segs != 0 ? low == 0 : low != 0 && (!was_full || l1_misfits(c));
    if (due || used >= base_load_rlx(&c->fit_at)) { after |= L1_AFTER_FIT; }
    if (base_load_rlx(&c->after) != after) { base_store_rlx(&c->after, after); }
}

BASE_SIZE_BEGIN

/* Charge and commit the first `bytes` of a table. */
static bool l1_table_reach(l1 *c, base_region *r, uint64_t *charged, uint64_t bytes)
{
    const uint64_t need = base_round_up(bytes, BASE_PAGE);
    if (need <= *charged) { return true; }
    if (!base_charge(c->account, BASE_MOD_LOG_TABLE, need - *charged)) { return false; }
    /* Offsets lie inside a reservation, so they fit size_t. */
    if (!base_region_commit(r, (size_t)*charged, (size_t)(need - *charged))) {
        base_uncharge(c->account, BASE_MOD_LOG_TABLE, need - *charged);
        return false;
    }
    *charged = need;
    return true;
}

/* Commit the control records and base times up to `seg`, page by page as segments come to exist. */
static bool l1_tables_reach(l1 *c, uint32_t seg)
{
    const uint64_t n = (uint64_t)seg + 1;
    return l1_table_reach(c, &c->table_region, &c->table_charged, n * sizeof(l1_seg)) &&
           l1_table_reach(c, &c->base_region_, &c->base_charged, n * sizeof(uint64_t));
}

static bool l1_arena_reach(l1 *c, uint32_t seg)
{
    uint64_t need = ((uint64_t)seg + 1) << c->seg_shift;
    if (need <= c->arena_writable) { return true; }
    uint64_t to =
        BASE_MIN(base_round_up(need, L1_ARENA_STEP), (uint64_t)c->arena_region.reserved_bytes);
    if (!base_region_commit(&c->arena_region, (size_t)c->arena_writable,
                            (size_t)(to - c->arena_writable))) {
        return false;
    }
    c->arena_writable = to;
    return true;
}

CELLAR_PRIVATE bool l1_log_open(l1 *c)
{
    c->free.head = c->back.head = c->parked.head = L1_NONE;
    /* Segment 0 is always backed: a reader may follow an offset that it read before its fingerprint
     * was written. */
    if (!l1_tables_reach(c, 0) || !l1_arena_reach(c, 0)) { return false; }
    const uint64_t limit = base_load_rlx(&c->account->limit);
    c->fit_step = BASE_MAX(limit / L1_FIT_FIRST, 1);
    base_store_rlx(&c->fit_at, base_load_rlx(&c->account->used) + c->fit_step);
    l1_judge_low(c);
    return true;
}

/* Check up to `limit` parked segments again. Return true when one became free. L1_SEG held. */
static bool l1_unpark_held(l1 *c, unsigned limit)
{
    bool freed = false;
    for (unsigned left = BASE_MIN(limit, c->parked.count); left > 0; left--) {
        const uint32_t seg = l1_pop(c, &c->parked);
        if (base_load_acq(&c->seg[seg].busy) == 0 && !l1_seg_pinned(c, seg)) {
            l1_seg_wipe(c, seg);
            base_store_rlx(&c->seg[seg].state, L1_SEG_FREE);
            l1_push(c, &c->free, seg);
            freed = true;
        } else if (c->parked.head == L1_NONE) {
            l1_push(c, &c->parked, seg);
        } else { /* behind the others, so that the next call checks different segments */
            c->seg[c->parked.tail].next = seg;
            c->seg[seg].next = L1_NONE;
            c->parked.tail = seg;
            c->parked.count++;
        }
    }
    return freed;
}

CELLAR_PRIVATE bool l1_unpark(l1 *c, unsigned limit)
{
    sync_take(L1_SEG, &c->seg_lock);
    bool freed = l1_unpark_held(c, limit);
    l1_judge_low(c);
    sync_drop(L1_SEG, &c->seg_lock);
    return freed;
}

CELLAR_PRIVATE void l1_full_of_blocks(l1 *c)
{
    sync_take(L1_SEG, &c->seg_lock);
    if (base_load_rlx(&c->full) == 0 || l1_misfits(c)) {
        base_store_rlx(&c->full, 1u);
        base_store_rlx(&c->after, base_load_rlx(&c->after) | L1_AFTER_FIT);
    }
    sync_drop(L1_SEG, &c->seg_lock);
}

static uint32_t l1_seg_find(l1 *c)
{
    if (BASE_UNLIKELY(l1_is_above_limit(c))) { return L1_NONE; }
    /* Check 4 per call: faster than segments become parked. With a listener each emptied segment is
     * parked at first, because its last victims still wait for their hand-over. Parked segments are
     * missing from the free ones; sets would evict until the cache is empty. */
    (void)l1_unpark_held(c, 4);
    uint32_t seg = l1_pop(c, &c->free);
    if (seg != L1_NONE) { return seg; }
    if (c->back.head == L1_NONE && (c->fresh >= c->seg_limit || !l1_tables_reach(c, c->fresh))) {
        return L1_NONE;
    }
    if (!base_charge(c->account, BASE_MOD_SEGMENT, c->seg_bytes)) { return L1_NONE; }
    seg = l1_pop(c, &c->back);
    if (seg != L1_NONE) { return seg; }
    if (!l1_arena_reach(c, c->fresh)) {
        base_uncharge(c->account, BASE_MOD_SEGMENT, c->seg_bytes);
        return L1_NONE;
    }
    return c->fresh++;
}

static void l1_empty_push(l1 *c, l1_lane *n, uint32_t seg)
{
    uint32_t top;
    do {
        top = base_load_rlx(&n->empty);
        base_store_rlx(&c->seg[seg].empty_next, top);
    } while (!base_cas_ar(&n->empty, top, seg + 1));
}

/* Return the segment before the head, unless the cursor works there; NONE: none. */
static uint32_t l1_seg_before(const l1 *c, const l1_lane *n, unsigned q)
{
    const l1_queue *const queue = &n->queue[q];
    const uint32_t before = queue->head != L1_NONE ? c->seg[queue->head].prev : L1_NONE;
    return before != queue->tail ? before : L1_NONE;
}

/* Return the bytes behind the last record of a segment. */
static uint32_t l1_seg_rest(const l1 *c, uint32_t seg)
{
    return seg != L1_NONE ? c->seg_bytes - c->seg[seg].used_bytes : 0;
}

/* Learn how well records fill segments. One that mostly has records of blocks shows only that these
 * are short. L1_SEG is held. */
static void l1_seg_closed(l1 *c, uint32_t seg)
{
    if (seg == L1_NONE) { return; }
    const uint64_t weight = L1_LIVE_BYTES(L1_LIVE_LINKED(base_load_rlx(&c->seg[seg].live)));
    const uint32_t mean = base_load_rlx(&c->unfilled), rest = l1_seg_rest(c, seg);
    if (rest > mean / 16 || weight <= 4 * (uint64_t)c->seg[seg].used_bytes) {
        base_store_rlx(&c->unfilled, mean - mean / 16 + rest);
    }
}

CELLAR_PRIVATE void l1_wasteful(l1 *c, l1_lane *n)
{
    if (base_load_rlx(&n->wasteful) >= L1_WASTEFUL_MOST) { return; }
    if (base_add_ar(&n->wasteful, 1u) == 0) { base_add_rlx(&c->wasteful, 1u); }
}

CELLAR_PRIVATE void l1_wasteful_less(l1 *c, l1_lane *n)
{
    if (base_sub_ar(&n->wasteful, 1u) == 1) { base_sub_rlx(&c->wasteful, 1u); }
}

CELLAR_PRIVATE uint32_t l1_seg_take(l1 *c, l1_lane *n, unsigned q, uint32_t after)
{
    int64_t now = base_coarse_ms(c->clock);
    if (BASE_UNLIKELY(l1_is_above_limit(c))) { (void)l1_give_back(c, 0, 0); }
    sync_take(L1_SEG, &c->seg_lock);
    uint32_t seg = l1_seg_find(c);
    if (seg != L1_NONE) {
        base_add_rlx(&c->held, 1u);
        base_add_rlx(&n->held_segs, 1u);
        if (++c->opened == 0) { c->opened = 1; } /* 0: none */
        base_store_rlx(&c->seg[seg].seq, c->opened);
    }
    c->free_least = BASE_MIN(c->free_least, c->free.count);
    l1_judge_low(c);
    if (seg != L1_NONE && after == L1_NONE) { l1_seg_closed(c, l1_seg_before(c, n, q)); }
    sync_drop(L1_SEG, &c->seg_lock);
    if (seg == L1_NONE) { return L1_NONE; }
    BASE_POINT("l1.seg.scan");

    l1_seg *g = &c->seg[seg];
    BASE_ASSERT(base_load_rlx(&g->live) == 0);
    BASE_ASSERT(base_load_rlx(&g->busy) == 0);
    base_store_rlx(&g->min_due_ms, UINT64_MAX);
    g->max_due_ms = 0;
    g->used_bytes = g->cursor = 0;
    base_store_rlx(&g->waste, c->seg_bytes);
    base_store_rlx(&g->lane, (uint16_t)n->number);
    base_store_rlx(&g->state, q == 0 ? L1_SEG_SMALL : L1_SEG_MAIN);
    base_fence_rel(); /* a reader of the new base sees the versions of the old records */
    base_store_rlx(&c->seg_base_ms[seg], (uint64_t)now);
    if (base_load_rlx(&c->rough_ms) < now) { base_store_rlx(&c->rough_ms, now); }
    l1_queue *queue = &n->queue[q];
    if (after != L1_NONE) {
        g->prev = after;
        g->next = c->seg[after].next;
        c->seg[after].next = c->seg[g->next].prev = seg;
        return seg;
    }
    n->spare[q] = l1_seg_rest(c, queue->head);
    g->next = L1_NONE;
    g->prev = queue->head;
    if (queue->head != L1_NONE) { c->seg[queue->head].next = seg; } else { queue->tail = seg; }
    queue->head = seg;
    /* A head that was emptied stayed in the queue. Push it now. */
    if (g->prev != L1_NONE && base_cas_ar(&c->seg[g->prev].live, (uint64_t)0, L1_LIVE_QUEUED)) {
        l1_empty_push(c, n, g->prev);
    }
    const uint32_t waste = g->prev != L1_NONE ? base_load_rlx(&c->seg[g->prev].waste) : 0;
    if (waste >= c->seg_bytes / L1_SPARSE_PART) { l1_wasteful(c, n); }
    return seg;
}

BASE_SIZE_END

CELLAR_PRIVATE bool l1_log_reserve(l1 *c, l1_lane *n, unsigned q, uint32_t size, uint64_t *pos)
{
    BASE_ASSERT(size <= c->seg_bytes);
    uint32_t head = n->queue[q].head;
    if (BASE_UNLIKELY(size <= n->spare[q])) { /* shorter than the record that opened it */
        const uint32_t before = l1_seg_before(c, n, q), rest = l1_seg_rest(c, before);
        n->spare[q] = rest >= size ? rest - size : 0;
        head = rest >= size ? before : head;
    }
    const bool fits = head != L1_NONE && c->seg_bytes - c->seg[head].used_bytes >= size;
    if (BASE_UNLIKELY(!fits || l1_seg_is_old(c, head))) {
        head = l1_seg_take(c, n, q, L1_NONE);
        if (head == L1_NONE) { return false; }
    }
    *pos = l1_seg_append(c, head, size);
    return true;
}

CELLAR_PRIVATE void l1_log_undo(l1 *c, uint64_t pos, uint32_t size)
{
    l1_seg *const g = &c->seg[l1_seg_of(c, pos)];
    base_add_rlx(&g->waste, size);
    if (g->used_bytes == ((uint32_t)pos & (c->seg_bytes - 1)) + size) {
        g->used_bytes -= size;
        if (BASE_UNLIKELY(base_load_rlx(&c->wipes) != 0)) { l1_zero(c, pos, size); }
    }
}

/* ---- counts ---------------------------------------------------------------------------------- */
CELLAR_PRIVATE void l1_live_sub(l1 *c, uint64_t pos, uint64_t weight, uint32_t size, bool tell)
{
    uint32_t seg = l1_seg_of(c, pos);
    l1_seg *g = &c->seg[seg];
    l1_lane *n = l1_lane_of_seg(c, g);
    const bool in_main = base_load_acq(&g->state) == L1_SEG_MAIN;
    const uint32_t was = base_add_rlx(&g->waste, size), now = was + size;
    if (tell && BASE_UNLIKELY((was ^ now) >= c->seg_bytes / 8) && /* an eighth more */
        now >= c->seg_bytes / L1_SPARSE_PART) {
        l1_wasteful(c, n);
    }
    uint64_t before, after;
    do {
        before = base_load_rlx(&g->live);
        BASE_ASSERT(L1_LIVE_COUNT(L1_LIVE_LINKED(before)) != 0);
        BASE_ASSERT(L1_LIVE_BYTES(before) >= weight);
        after = before - L1_LIVE(weight, 1);
        if (L1_LIVE_LINKED(after) == 0) { after |= L1_LIVE_QUEUED; }
    } while (!base_cas_ar(&g->live, before, after));
    /* l1_seg_move moved the record with its segment if it came before that step. */
    base_sub_rlx(&n->queue[in_main || (before & L1_LIVE_MOVED) != 0].live, L1_LIVE(weight, 1));
    BASE_POINT("l1.seg.emptied");
    if (((before ^ after) & L1_LIVE_QUEUED) != 0) { l1_empty_push(c, n, seg); }
}

CELLAR_PRIVATE void l1_due_note(l1 *c, uint64_t pos, int64_t first_ms)
{
    if (first_ms == BASE_NEVER_MS) { return; }
    _Atomic uint64_t *min = &c->seg[l1_seg_of(c, pos)].min_due_ms;
    uint64_t to = first_ms < 0 ? 0 : (uint64_t)first_ms, now;
    while (to < (now = base_load_rlx(min)) && !base_cas_ar(min, now, to)) { }
    _Atomic uint64_t *due = &l1_lane_of(c, pos)->due_ms;
    if (to < base_load_rlx(due)) { base_store_rlx(due, to); } /* a hint: a lost update is fine */
}

CELLAR_PRIVATE void l1_due_changed(l1 *c, uint64_t pos, int64_t first_ms)
{
    base_fence_sc(); /* the pass sees the new time, or this thread its mark (l1_due_begin) */
    l1_due_note(c, pos, first_ms);
}

CELLAR_PRIVATE void l1_dues(l1 *c, uint64_t pos, const l1_rec *r)
{
    int64_t keep_until, first = l1_expires(c, pos, r, &keep_until);
    l1_due_note(c, pos, BASE_MIN(first, keep_until));
    l1_seg *g = &c->seg[l1_seg_of(c, pos)];
    uint64_t last = keep_until == BASE_NEVER_MS ? UINT64_MAX : (uint64_t)BASE_MAX(keep_until, 0);
    g->max_due_ms = BASE_MAX(g->max_due_ms, last);
}

BASE_SIZE_BEGIN

CELLAR_PRIVATE void l1_seg_unqueue(l1 *c, l1_lane *n, uint32_t seg)
{
    l1_seg *g = &c->seg[seg];
    l1_queue *q = &n->queue[l1_seg_queue(g)];
    if (g->prev != L1_NONE) { c->seg[g->prev].next = g->next; } else { q->tail = g->next; }
    if (g->next != L1_NONE) { c->seg[g->next].prev = g->prev; } else { q->head = g->prev; }
}

/* Put the tail of small, with all its records, behind the head of main. A head of small stays. */
CELLAR_PRIVATE void l1_seg_move(l1 *c, l1_lane *n, uint32_t seg)
{
    l1_seg *const g = &c->seg[seg];
    l1_queue *const q = &n->queue[1];
    l1_seg_unqueue(c, n, seg);
    const uint64_t live = L1_LIVE_LINKED(base_or_sc(&g->live, L1_LIVE_MOVED));
    /* Behind MOVED: a delete that sees the new state sees MOVED, too. It may become the head. */
    base_store_rel(&g->state, L1_SEG_MAIN);
    base_add_rlx(&q->live, live);
    base_sub_rlx(&n->queue[0].live, live);
    g->next = q->head;
    g->prev = q->head != L1_NONE ? c->seg[q->head].prev : L1_NONE;
    if (g->prev != L1_NONE) { c->seg[g->prev].next = seg; } else { q->tail = seg; }
    if (g->next != L1_NONE) { c->seg[g->next].prev = seg; } else { q->head = seg; }
}

CELLAR_PRIVATE void l1_seg_release(l1 *c, uint32_t seg)
{
    l1_seg *g = &c->seg[seg];
    base_store_rlx(&g->min_due_ms, UINT64_MAX);
    base_store_rlx(&g->seq, 0u);
    BASE_ASSERT((base_load_acq(&g->live) & ~L1_LIVE_MOVED) == 0);
    base_store_rlx(&g->live, (uint64_t)0);
    const bool pinned = l1_seg_pinned(c, seg); /* no record of it is linked: no pin comes */
    sync_take(L1_SEG, &c->seg_lock);
    base_sub_rlx(&c->held, 1u);
    base_sub_rlx(&l1_lane_of_seg(c, g)->held_segs, 1u);
    if (base_load_acq(&g->busy) != 0 || pinned) {
        base_store_rlx(&g->state, L1_SEG_PARKED);
        l1_push(c, &c->parked, seg);
        c->parked_total++;
    } else {
        l1_seg_wipe(c, seg);
        base_store_rlx(&g->state, L1_SEG_FREE);
        l1_push(c, &c->free, seg);
    }
    l1_judge_low(c);
    sync_drop(L1_SEG, &c->seg_lock);
}

CELLAR_PRIVATE void l1_free_all_emptied(l1 *c, l1_lane *n)
{
    uint32_t list = base_xchg_ar(&n->empty, 0u);
    while (list != 0) {
        uint32_t seg = list - 1;
        l1_seg *g = &c->seg[seg];
        list = base_load_rlx(&g->empty_next);
        /* Take the segment off the stack and read its count in one step. A later delete that
         * empties it pushes it again. Without a record no delete looks at MOVED. */
        uint64_t live, left;
        do {
            live = base_load_rlx(&g->live);
            left = L1_LIVE_LINKED(live) == 0 ? 0 : live & ~L1_LIVE_QUEUED;
        } while (!base_cas_ar(&g->live, live, left));
        const bool open = seg == n->queue[0].head || seg == n->queue[1].head;
        if (!open && L1_LIVE_LINKED(live) == 0) {
            l1_seg_unqueue(c, n, seg);
            l1_seg_release(c, seg);
        }
    }
}

BASE_SIZE_END

CELLAR_PRIVATE bool l1_pass_next(l1 *c, l1_pass *p, uint64_t *pos, l1_rec *r)
{
    if (p->seg == 0) { return false; }
    const l1_seg *g = &c->seg[p->seg - 1];
    const bool same = base_load_rlx(&g->seq) == p->seq; /* else it may be of another lane */
    if (same) { p->at = BASE_MAX(p->at, g->cursor); }
    if (!same || p->at >= g->used_bytes) {
        p->seg = 0; /* freed since, or finished */
        return false;
    }
    *pos = ((uint64_t)(p->seg - 1) << c->seg_shift) + p->at;
    const bool ok = l1_decode(c, *pos, r);
    BASE_REQUIRE(ok);
    p->at += r->size;
    return true;
}

BASE_SIZE_BEGIN

/* ---- giving back ----------------------------------------------------------------------------- */
static void l1_returned(l1 *c, uint32_t seg)
{
    base_uncharge(c->account, BASE_MOD_SEGMENT, c->seg_bytes);
    base_store_rlx(&c->seg[seg].state, L1_SEG_FREE);
    l1_push(c, &c->back, seg);
    c->returning--;
}

static bool l1_give_back_one(l1 *c, uint32_t leave)
{
    uint32_t seg = L1_NONE;
    sync_take(L1_SEG, &c->seg_lock);
    if (c->free.count <= leave) { (void)l1_unpark_held(c, 2); }
    if (c->free.count > leave) {
        seg = l1_pop(c, &c->free);
        c->returning++;
        base_store_rlx(&c->seg[seg].state, L1_SEG_RETURNING);
    }
    sync_drop(L1_SEG, &c->seg_lock);
    if (seg == L1_NONE) { return false; }
    l1_seg_discard(c, seg);
    sync_take(L1_SEG, &c->seg_lock);
    l1_returned(c, seg);
    c->free_least = BASE_MIN(c->free_least, c->free.count);
    l1_judge_low(c);
    sync_drop(L1_SEG, &c->seg_lock);
    return true;
}

CELLAR_PRIVATE bool l1_give_back(l1 *c, uint64_t bytes, uint32_t leave)
{
    while (l1_lack(c, bytes) != 0) {
        if (!l1_give_back_one(c, leave)) { return false; }
    }
    return true;
}

/* Give back segments that no set used since the last call. When the log is empty, reset its tables.
 * Called by the tick. Return false when the time ran out. */
CELLAR_PRIVATE bool l1_log_rest(l1 *c, uint64_t end_ns)
{
    bool in_time = true;
    if (BASE_UNLIKELY(l1_is_above_limit(c))) { (void)l1_give_back(c, 0, 0); }
    sync_take(L1_SEG, &c->seg_lock);
    (void)l1_unpark_held(c, 64);
    uint32_t idle = base_load_rlx(&c->low) == 0 ? BASE_MIN(c->free_least, c->free.count) : 0;
    sync_drop(L1_SEG, &c->seg_lock);
    while (idle != 0 && in_time && l1_give_back_one(c, 0)) {
        idle--;
        in_time = idle == 0 || base_now_ns() < end_ns;
    }

    sync_take(L1_SEG, &c->seg_lock);
    c->free_least = in_time ? c->free.count : BASE_MIN(idle, c->free_least);
    bool empty = base_load_rlx(&c->held) == 0 && c->free.count == 0 && c->parked.count == 0 &&
                 c->returning == 0;
    if (empty && c->fresh != 0) {
        c->fresh = 0;
        c->collapsed_bytes = 0;
        c->back = (l1_list){ .head = L1_NONE };
        /* Discard all pages, also those no longer charged. A late reader may look at any of them
         * and must see zero. */
        const uint64_t least = BASE_PAGE;
        base_region_discard(&c->table_region, 0, (size_t)c->table_charged);
        base_region_discard(&c->base_region_, 0, (size_t)c->base_charged);
        base_uncharge(c->account, BASE_MOD_LOG_TABLE,
                      c->table_charged + c->base_charged - 2 * least);
        c->table_charged = c->base_charged = least;
    }
    l1_judge_low(c);
    sync_drop(L1_SEG, &c->seg_lock);
    return in_time;
}

/* Return whether the next 2 MiB may become a huge page. All of it must be charged: a huge page
 * would also back what was given back. */
CELLAR_PRIVATE bool l1_collapse_due(l1 *c)
{
    sync_take(L1_SEG, &c->seg_lock);
    const bool ready = !c->collapse_off && c->back.count + c->returning == 0 &&
                       c->collapsed_bytes + BASE_HUGE <= (uint64_t)c->fresh << c->seg_shift;
    sync_drop(L1_SEG, &c->seg_lock);
    return ready;
}

CELLAR_PRIVATE bool l1_log_collapse(l1 *c)
{
    if (!l1_collapse_due(c)) { return false; }
    bool never;
    (void)base_region_collapse(&c->arena_region, (size_t)c->collapsed_bytes, &never);
    sync_take(L1_SEG, &c->seg_lock);
    c->collapse_off = c->collapse_off || never;
    c->collapsed_bytes += BASE_HUGE;
    sync_drop(L1_SEG, &c->seg_lock);
    return true;
}

BASE_SIZE_END
