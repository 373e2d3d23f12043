/* SPDX-License-Identifier: MIT
 *
 * evict: move the cursor over the log, judge records, grant tickets, hand over victims.
 *
 * PICTURE    small and main are FIFOs of segments. The cursor of a queue stands in its tail segment
 *            and judges one record at a time: dead -> skip; expired, dead generation or tag ->
 *            unlink; else
 *                        small                              main
 *              s3fifo    counter >= 2 -> main, 0            counter > 0 -> head of main, -1
 *                        else drop and note a ghost         else drop
 *              adaptive  the same with the constants of the rule that policy_select.c chose
 *              lru       (new entries go to main)           counter > 0 -> head of main, 0; or drop
 *              fifo      drop                               drop
 *            l1_room_for: expired first -> free bytes -> ticket -> reserve; no segment: force ->
 *            other stripes -> E_SPACE.
 * INVARIANTS When memory is short, a set that appends n bytes frees at least n bytes of the log.
 *            Sum of granted tickets + tickets in the pool == max_entries.
 *            The old place of a record is released only after its slot changed.
 *            The thread that unlinks a record notes the victim in the window, raises `busy` of the
 *            segment, and hands the victim over once, after its last unlock.
 * LOCKING    Stripe lock. The cursor copies a kept record without the bucket lock and redirects the
 *            slot from the version read before the copy. Other stripes only by try-lock.
 * LIMITS     README.md, Bounded work: records that one set examines, bytes that one call frees.
 * SEE ALSO   README.md: worth of a record, rejected designs. ghost.c, policy_select.c. */
#include <string.h>

#include "l1/l1_int.h"

#define L1_STEAL_ROUNDS 8
#define L1_DUE_LOOKS 16u

/* Return whether a request hit the record since its insertion. The cursor lowers the counter. If
 * only use leads into main, a place in main proves a use. */
static bool l1_was_used(const l1 *c, const l1_slot *slot)
{
    if (l1_freq(slot->b, slot->i) > 0) { return true; }
    const l1_rule *r = l1_rule_now(c);
    return c->seg[l1_seg_of(c, slot->pos)].state == L1_SEG_MAIN &&
           (base_load_rlx(&c->policy) == L1_LRU || !(r->clock || r->fill));
}

/* ---- victims --------------------------------------------------------------------------------- */
CELLAR_PRIVATE void l1_unlink(l1 *c, l1_hold *h, l1_slot *slot, l1_cause cause, uint64_t hash,
                              uint64_t stamp, l1_victims *out)
{
    uint64_t weight = l1_weight(c, slot->pos, &slot->rec);
    unsigned uses = l1_freq(slot->b, slot->i);
    if (cause == L1_LEFT_CAPACITY && l1_was_used(c, slot)) { uses = BASE_MAX(uses, 1u); }
    l1_big *const block = l1_block_of(c, slot->pos, &slot->rec);
    if (block != NULL) { l1_big_unlinked(c, block); }
    if (cause != L1_LEFT_EXPIRED || !BASE_MUTANT("l1.reuse_before_unlink")) { l1_slot_clear(slot); }
    BASE_POINT("l1.evict.unlinked");
    if (base_load_rlx(&c->want_left) != 0 ||
        (cause == L1_LEFT_CAPACITY && base_load_rlx(&c->want_evicted) != 0)) {
        BASE_ASSERT(out->n < L1_VICTIMS);
        base_add_ar(&c->seg[l1_seg_of(c, slot->pos)].busy, 1u);
        out->v[out->n++] = (l1_victim){.pos = slot->pos, .stamp = stamp, .hash = hash,
                                       .cause = (uint8_t)cause, .uses = (uint8_t)uses};
    } else if (block != NULL) {
        l1_large_retire(c, block);
    }
    l1_live_sub(c, h->s, slot->pos, weight);
    l1_quota_sub(c, h->s, slot->rec.generation, weight);
    if ((cause == L1_LEFT_CAPACITY && BASE_MUTANT("l1.absent_not_evicted")) ||
        (cause == L1_LEFT_REPLACED && BASE_MUTANT("l1.absent_not_replaced"))) {
        return;
    }
    if (l1_is_absent(c, slot->pos, &slot->rec)) { l1_absent_count(h->s, -(int64_t)weight, -1); }
}

/* Reset `busy` in a forked child: threads lost between unlink and hand-over never lower it. Count
 * what this thread was handing over: when a listener forked, the hand-over continues in the
 * child. */
CELLAR_PRIVATE void l1_victims_child(l1 *c)
{
    const base_thread_record *self = base_thread_self();
    if (self->index == 0) { return; } /* index 0 is shared: the forking thread is unknown */
    for (uint32_t seg = 0; seg < c->fresh; seg++) {
        if (base_load_rlx(&c->seg[seg].busy) != 0) { base_store_rlx(&c->seg[seg].busy, 0u); }
    }
    for (const l1_victims *v = self->handing; v != NULL; v = v->outer) {
        for (unsigned i = v->at; v->store == c && i < v->n; i++) {
            base_add_rlx(&c->seg[l1_seg_of(c, v->v[i].pos)].busy, 1u);
        }
    }
}

CELLAR_PRIVATE void l1_hand_over(l1 *c, l1_victims *v)
{
    if (v->n == 0) { return; }
    base_thread_record *self = base_thread_self();
    v->store = c;
    v->at = 0;
    v->outer = self->handing;
    if (self->index != 0) { self->handing = v; }
    for (unsigned i = 0; i < v->n; i++) {
        const l1_victim *x = &v->v[i];
        v->at = i;
        l1_rec r;
        bool ok = l1_decode(c, x->pos, &r);
        BASE_ASSERT(ok);
        if (!ok) { continue; }
        l1_info info;
        l1_info_of(c, x->pos, &r, &info);
        const unsigned char *p = l1_at(c, x->pos);
        l1_left left = { .key = l1_key_at(c, x->pos, &r),
                         .key_len = r.klen,
                         .value = p + r.value_off,
                         .value_len = info.value_len,
                         .hash = x->hash,
                         .stamp = x->stamp,
                         .deadline_ms = info.deadline_ms,
                         .stale_ms = info.stale_ms,
                         .expires_ms = info.expires_ms,
                         .version = info.version,
                         .l2_addr = info.l2_addr,
                         .tag_count = r.tag_count,
                         .generation = r.generation,
                         .user_flags = info.user_flags,
                         .idle_ms = (uint32_t)info.idle_ms,
                         .cause = (l1_cause)x->cause,
                         .kind = info.kind,
                         .cost = info.cost,
                         .fails = info.fails,
                         .uses = x->uses };
        if (r.tag_count != 0) {
            left.tag_born = base_seq_u64(p + r.tag_off + 8);
            left.tag_fps = p + r.tag_off + 16;
        }
        l1_big *const block = l1_block_of(c, x->pos, &r);
        if ((r.w0 & L1_W0_BIG) != 0) { left.value = l1_big_bytes(block); }
        if (block != NULL && BASE_MUTANT("l1.retired_before_hand_over")) {
            l1_large_retire(c, block);
        }
        sync_assert_none();
        if (c->hooks.left != NULL) { c->hooks.left(c->hooks.ctx, &left); }
        BASE_POINT("l1.evict.handed");
        if (block != NULL && !BASE_MUTANT("l1.retired_before_hand_over")) {
            l1_large_retire(c, block);
        }
        base_sub_ar(&c->seg[l1_seg_of(c, x->pos)].busy, 1u);
    }
    if (self->index != 0) { self->handing = v->outer; }
    v->n = 0;
}

/* ---- the cursor ------------------------------------------------------------------------------ */
typedef enum l1_step {
    L1_STEP_END, L1_STEP_DEAD, L1_STEP_DROPPED, L1_STEP_KEPT,
    L1_STEP_STUCK /* a live record cannot move now: no free segment */
} l1_step;

/* Unit of the shares: entries if they are bounded, else bytes. */
typedef struct l1_sizes { uint64_t small, mainq; } l1_sizes;

static l1_sizes l1_sizes_of(const l1 *c, const l1_stripe *s)
{
    const uint64_t a = base_load_rlx(&s->queue[0].live), b = base_load_rlx(&s->queue[1].live);
    if (base_load_rlx(&c->max_entries) != 0) {
        return (l1_sizes){ L1_LIVE_COUNT(a), L1_LIVE_COUNT(b) };
    }
    return (l1_sizes){ L1_LIVE_BYTES(a), L1_LIVE_BYTES(b) };
}

typedef struct l1_verdict {
    bool keep, ghost;
    uint8_t freq; /* after the move */
    uint8_t cause;
} l1_verdict;

static l1_verdict l1_decide(const l1 *c, const l1_stripe *s, unsigned q, unsigned freq,
                            unsigned kind, bool force)
{
    l1_verdict v = {.cause = L1_LEFT_CAPACITY};
    const l1_policy policy = (l1_policy)base_load_rlx(&c->policy);
    if (policy == L1_FIFO) { return v; }
    if (policy == L1_LRU) {
        v.keep = freq > 0 && !force;
        return v;
    }
    if (q == 0) {
        const l1_rule *r = l1_rule_now(c);
        const l1_sizes size = l1_sizes_of(c, s);
        v.keep = !force && l1_rule_keeps(r, freq, size.small, size.mainq);
        /* Keep an error or negative entry only after repeated requests. */
        if (kind != L1_VALUE && freq < 2) { v.keep = false; }
        v.ghost = !v.keep;
    } else {
        v.keep = freq > 0 && kind == L1_VALUE && !force;
        v.freq = (uint8_t)(freq > 0 ? freq - 1 : 0);
    }
    return v;
}

/* ---- worth of a record ---------------------------------------------------------------------- */
#define L1_WORTH_MOST 6

static uint32_t l1_cost_us(uint8_t cost)
{
    const unsigned code = cost - 1u;
    return (uint32_t)(((uint64_t)(8 + (code & 7u)) << (code >> 3)) >> 3);
}

CELLAR_PRIVATE void l1_cost_seen(l1_stripe *s, uint8_t cost)
{
    const uint64_t us = BASE_MAX(l1_cost_us(cost), 1u);
    s->cost_mean64 = s->cost_mean64 == 0 ? us * 64 : s->cost_mean64 - s->cost_mean64 / 64 + us;
}

/* Return the worth of a record as a power of two; 0: average. */
static int l1_worth(const l1 *c, const l1_stripe *s, uint64_t pos, const l1_rec *r, uint64_t weight)
{
    int worth = 0;
    if (c->favor_objects) {
        const uint64_t a = base_load_rlx(&s->queue[0].live), b = base_load_rlx(&s->queue[1].live);
        const uint64_t n = L1_LIVE_COUNT(a) + L1_LIVE_COUNT(b);
        const uint64_t mean = (L1_LIVE_BYTES(a) + L1_LIVE_BYTES(b)) / BASE_MAX(n, 1);
        worth += (int)base_log2_floor(4 * mean + 1) - (int)base_log2_floor(weight | 1);
    }
    if (s->cost_mean64 != 0 && (r->mask & L1_X_KIND) != 0) {
        const uint8_t cost = (uint8_t)(base_seq_u32(l1_at(c, pos) + l1_field(r, L1_X_KIND)) >> 16);
        if (cost != 0) {
            const uint64_t us = BASE_MAX(l1_cost_us(cost), 1u);
            const uint64_t mean = BASE_MAX(s->cost_mean64 / 64, 1);
            worth += us >= mean ? (int)base_log2_floor(us / mean)
                                : -(int)base_log2_floor(mean / us);
        }
    }
    return worth > L1_WORTH_MOST ? L1_WORTH_MOST : worth < -L1_WORTH_MOST ? -L1_WORTH_MOST : worth;
}

/* Change the choice of the policy with odds that follow the worth of the record. */
static l1_verdict l1_weigh(const l1 *c, const l1_stripe *s, uint64_t pos, const l1_rec *r,
                           uint64_t hash, unsigned q, l1_verdict v)
{
    const l1_policy policy = (l1_policy)base_load_rlx(&c->policy);
    if (policy == L1_FIFO || policy == L1_LRU) { return v; }
    const int worth = l1_worth(c, s, pos, r, l1_weight(c, pos, r));
    if (worth == 0 || (worth < 0) != v.keep) { return v; }
    const uint64_t draw = base_mix64(hash ^ (s->kept * UINT64_C(0x9e3779b97f4a7c15) + s->evicted));
    const bool rare = (draw & (((uint64_t)1 << (worth < 0 ? -worth : worth)) - 1)) == 0;
    if (rare) { return v; } /* 1 in 2^|worth| is as the policy says */
    v.keep = !v.keep;
    v.ghost = !v.keep && q == 0;
    v.freq = 0;
    return v;
}

/* Copy a record to its new place and encode its deadline relative to the new segment. header_only:
 * the value is already copied and never changes in place. */
static void l1_copy_record(l1 *c, uint64_t from, uint64_t to, const l1_rec *r, bool header_only)
{
    unsigned char *d = l1_at(c, to);
    const unsigned char *p = l1_at(c, from);
    base_seq_move(d, p, header_only ? r->value_off : r->size);
    base_seq_store_u32(d, base_seq_u32(p) & ~L1_W0_PINNED);
    base_seq_store_u32(d + 4, l1_encode_due(c, to, l1_deadline(c, from, r), r->mask));
}

CELLAR_PRIVATE void l1_dues(l1 *c, uint64_t pos, const l1_rec *r)
{
    int64_t keep_until, first = l1_expires(c, pos, r, &keep_until);
    l1_due_note(c, pos, BASE_MIN(first, keep_until));
    l1_seg *g = &c->seg[l1_seg_of(c, pos)];
    uint64_t last = keep_until == BASE_NEVER_MS ? UINT64_MAX : (uint64_t)BASE_MAX(keep_until, 0);
    g->max_due_ms = BASE_MAX(g->max_due_ms, last);
}

/* Move the slot of a kept record from `pos` to a copy in main. Return false when a delete or a set
 * was faster; then the copy is dead. */
static bool l1_keep(l1 *c, l1_stripe *s, uint64_t pos, l1_rec *r, uint64_t hash, l1_bucket *b,
                    uint32_t ver, uint8_t freq, uint64_t to) SYNC_HOLDS(L1_STRIPE);
static bool l1_keep(l1 *c, l1_stripe *s, uint64_t pos, l1_rec *r, uint64_t hash, l1_bucket *b,
                    uint32_t ver, uint8_t freq, uint64_t to)
{
    const uint64_t weight = l1_weight(c, pos, r);
    const uint16_t tag = l1_tag_of(hash);
    l1_hold h;
    l1_slot slot;
    base_fence_rel(); /* a reader of new bytes here sees the versions of the old records */
    l1_copy_record(c, pos, to, r, false);
    bool locked = !BASE_MUTANT("l1.kept_no_version") && l1_lock_here(s, b, ver, &h);
    if (!locked) {
        /* A writer was faster. Copy again under the lock; above 1 KiB only what may have
         * changed. */
        l1_lock_key(c, hash, &h, true);
        if (!l1_find_pos(c, &h, tag, pos, &slot) || !l1_decode(c, pos, r)) {
            l1_unlock(c, &h);
            return false;
        }
        if (!BASE_MUTANT("l1.kept_no_version")) {
            l1_copy_record(c, pos, to, r, r->size > L1_SMALL_COPY);
        }
    } else {
        bool found = l1_find_pos(c, &h, tag, pos, &slot);
        BASE_ASSERT(found);
        (void)found;
    }
    l1_live_add(c, s, to, weight);
    base_store_rlx(&slot.b->off[slot.i], (uint32_t)(to >> c->gshift));
    l1_freq_set(slot.b, slot.i, freq);
    l1_live_sub(c, s, pos, weight);
    r->due = base_seq_u32(l1_at(c, to) + 4); /* relative to its new segment */
    l1_dues(c, to, r);
    l1_unlock(c, &h);
    s->kept++;
    return true;
}

static void l1_count_cause(l1_stripe *s, unsigned cause)
{
    if (cause == L1_LEFT_EXPIRED) {
        s->expired++;
    } else if (cause == L1_LEFT_CLEARED || cause == L1_LEFT_TAG || cause == L1_LEFT_DEPENDENCY) {
        s->cleared++;
    } else {
        s->evicted++;
    }
}

/* Return the verdict of hooks.tags_valid on a record. */
CELLAR_PRIVATE int l1_tags_judge(const l1 *c, uint64_t pos, const l1_rec *r)
{
    if ((r->mask & L1_X_TAGS) == 0 || c->hooks.tags_valid == NULL) { return 0; }
    const unsigned char *tags = l1_at(c, pos) + r->tag_off;
    uint64_t fps[L1_TAG_MAX];
    base_seq_load(fps, tags + 16, 8u * (size_t)r->tag_count);
    return c->hooks.tags_valid(c->hooks.ctx, base_seq_u64(tags + 8), fps, r->tag_count);
}

CELLAR_PRIVATE bool l1_tags_first(const l1 *c, uint64_t pos, const l1_rec *r, int64_t end_ms)
{
    if ((r->mask & L1_X_TAGS) == 0 || c->hooks.tags_ended == NULL) { return false; }
    const unsigned char *tags = l1_at(c, pos) + r->tag_off;
    uint64_t fps[L1_TAG_MAX];
    base_seq_load(fps, tags + 16, 8u * (size_t)r->tag_count);
    return c->hooks.tags_ended(c->hooks.ctx, base_seq_u64(tags + 8), fps, r->tag_count) < end_ms;
}

CELLAR_PRIVATE l1_cause l1_over(const l1 *c, uint64_t pos, const l1_rec *r)
{
    if (BASE_LIKELY((r->mask & L1_X_TAGS) == 0)) { return L1_LEFT_EXPIRED; }
    return l1_tags_first(c, pos, r, l1_expires(c, pos, r, NULL)) ? L1_LEFT_TAG : L1_LEFT_EXPIRED;
}

/* Return whether the caller of a change still has to read this entry, to write it to disk. */
BASE_NOINLINE static bool l1_is_written(const l1 *c, uint64_t pos, const l1_rec *r, uint64_t hash)
{
    return c->hooks.writing != NULL &&
           base_seq_u64(l1_at(c, pos) + l1_field(r, L1_X_L2)) == L1_ADDR_LATER &&
           c->hooks.writing(c->hooks.ctx, hash, r->generation, l1_key_at(c, pos, r), r->klen);
}

/* Unlink the record that was linked under `ver`, unless another thread changed it since. For an
 * expired record the caller read its times after that version, so no thread has moved them
 * since. */
CELLAR_PRIVATE bool l1_drop(l1 *c, l1_stripe *s, uint64_t hash, l1_bucket *b, uint32_t ver,
                            l1_slot *slot, unsigned cause, l1_victims *v)
{
    const uint64_t pos = slot->pos;
    l1_rec *const r = &slot->rec;
    l1_hold h;
    bool there = true;
    if (BASE_UNLIKELY(!l1_lock_here(s, b, ver, &h))) { /* a writer was faster: check again */
        l1_lock_key(c, hash, &h, true);
        there = l1_find_pos(c, &h, l1_tag_of(hash), pos, slot) && l1_decode(c, pos, r);
        if (there && cause == L1_LEFT_EXPIRED) {
            int64_t keep;
            (void)l1_expires(c, pos, r, &keep);
            there = base_clock_reached(c->clock, keep); /* a touch may have moved it */
        } else if (there && (cause == L1_LEFT_TAG || cause == L1_LEFT_DEPENDENCY)) {
            there = l1_tags_judge(c, pos, r) >= 2; /* or a refresh */
        } else if (there && (r->mask & L1_X_L2) != 0) {
            there = !l1_is_written(c, pos, r, hash);
        }
    }
    if (there) {
        uint64_t stamp = 0;
        if (c->hooks.commit != NULL) {
            (void)c->hooks.commit(c->hooks.ctx, hash, r->generation, l1_key_at(c, pos, r), r->klen,
                                  cause == L1_LEFT_EXPIRED ? L1_CHANGE_EXPIRE
                                  : cause == L1_LEFT_TAG   ? L1_CHANGE_UNTAG
                                  : cause == L1_LEFT_DEPENDENCY ? L1_CHANGE_UNDEPEND
                                                           : L1_CHANGE_EVICT,
                                  &stamp);
        }
        if (c->hooks.ended != NULL) {
            c->hooks.ended(c->hooks.ctx, hash, r->generation, (l1_cause)cause,
                           (int64_t)base_load_rlx(&c->seg_base_ms[l1_seg_of(c, pos)]),
                           l1_freq(slot->b, slot->i));
        }
        l1_unlink(c, &h, slot, (l1_cause)cause, hash, stamp, v);
        l1_chain_trim(c, &h);
        l1_count_cause(s, cause);
    }
    l1_unlock(c, &h);
    return there;
}

/* Find the next record under the cursor of queue q. Free emptied segments on the way. */
static bool l1_cursor_next(l1 *c, l1_stripe *s, unsigned q, uint64_t *pos) SYNC_HOLDS(L1_STRIPE);
static bool l1_cursor_next(l1 *c, l1_stripe *s, unsigned q, uint64_t *pos)
{
    for (;;) {
        l1_free_emptied(c, s);
        uint32_t seg = s->queue[q].tail;
        if (seg == L1_NONE) { return false; }
        l1_seg *g = &c->seg[seg];
        if (g->cursor < g->used_bytes) {
            *pos = ((uint64_t)seg << c->seg_shift) + g->cursor;
            return true;
        }
        uint64_t live = base_load_acq(&g->live);
        if (live == L1_LIVE_QUEUED && !c->forked) {
            base_yield(); /* a delete is about to push it, inside its window */
            continue;
        }
        if (live != 0) {
            /* Only in a forked child: a writer of the parent was lost between unlink and count, or
             * before the push. */
            BASE_REQUIRE(c->forked);
            base_sub_rlx(&s->queue[q].live, L1_LIVE_LINKED(base_xchg_ar(&g->live, (uint64_t)0)));
        }
        l1_seg_unqueue(c, s, seg);
        l1_seg_release(c, seg);
    }
}

CELLAR_PRIVATE bool l1_linked(l1 *c, l1_stripe *s, uint64_t pos, uint64_t hash, l1_bucket **b,
                              uint32_t *ver, l1_slot *slot)
{
    for (unsigned spins = 0;; spins++) {
        uint64_t number = l1_number(base_load_rlx(&s->ls), hash);
        *b = l1_bucket_at(s, number);
        *ver = base_load_acq(&(*b)->ver);
        if ((*ver & 1u) != 0) {
            if (c->forked || spins > 64) {
                l1_hold h; /* repairs the bucket, or waits for the writer */
                l1_lock_key(c, hash, &h, true);
                l1_unlock(c, &h);
            } else {
                base_pause();
            }
            continue;
        }
        l1_hold h = {.s = s, .b = *b, .number = number};
        bool linked = l1_find_pos(c, &h, l1_tag_of(hash), pos, slot);
        base_fence_acq();
        if (base_load_rlx(&(*b)->ver) == *ver) { return linked; }
    }
}

/* Find the slot like l1_linked, on a short path for the first match in the primary bucket. */
BASE_ALWAYS_INLINE bool l1_linked_first(l1 *c, l1_stripe *s, uint64_t pos, uint64_t hash,
                                        l1_bucket **b, uint32_t *ver, l1_slot *slot)
    SYNC_HOLDS(L1_STRIPE);
BASE_ALWAYS_INLINE bool l1_linked_first(l1 *c, l1_stripe *s, uint64_t pos, uint64_t hash,
                                        l1_bucket **b, uint32_t *ver, l1_slot *slot)
{
    *b = l1_bucket_at(s, l1_number(base_load_rlx(&s->ls), hash));
    *ver = base_load_acq(&(*b)->ver);
    const uint32_t m = l1_match(*b, l1_tag_of(hash));
    if (BASE_LIKELY((*ver & 1u) == 0 && m != 0)) {
        slot->b = *b;
        slot->i = (unsigned)__builtin_ctz(m);
        slot->pos = pos;
        const bool linked = base_load_rlx(&(*b)->off[slot->i]) == (uint32_t)(pos >> c->gshift);
        base_fence_acq();
        if (BASE_LIKELY(linked && base_load_rlx(&(*b)->ver) == *ver)) { return true; }
    }
    return l1_linked(c, s, pos, hash, b, ver, slot);
}

/* Return whether the stripe still has to rotate its queues because a generation died. One rotation
 * of both queues drops dead records and moves the others to the head in the same order. So the room
 * is usable immediately. */
CELLAR_PRIVATE bool l1_rotating(l1 *c, l1_stripe *s)
{
    uint32_t round = base_load_rlx(&c->dead_round);
    if (BASE_LIKELY(s->swept_round == round)) { return false; }
    if (s->rotate_round != round) {
        s->rotate_round = round;
        for (unsigned q = 0; q < 2; q++) {
            uint32_t head = s->queue[q].head;
            s->rotate_stop[q] = head == L1_NONE ? 0 : base_load_rlx(&c->seg[head].seq);
        }
    }
    for (unsigned q = 0; q < 2; q++) {
        uint32_t tail = s->queue[q].tail;
        if (tail != L1_NONE &&
            (int32_t)(base_load_rlx(&c->seg[tail].seq) - s->rotate_stop[q]) <= 0) {
            return true;
        }
    }
    s->swept_round = round;
    return false;
}

/* Prefetch the lines that the next step in this segment will read. A hint only. */
static void l1_cursor_ahead(l1 *c, l1_stripe *s, const l1_seg *g, uint64_t pos)
    SYNC_HOLDS(L1_STRIPE);
static void l1_cursor_ahead(l1 *c, l1_stripe *s, const l1_seg *g, uint64_t pos)
{
    l1_rec r;
    if (g->cursor >= g->used_bytes || !l1_decode(c, pos, &r)) { return; }
    const uint64_t hash = l1_hash_of(c, pos, &r);
    s->ahead = (l1_ahead){ .pos = pos, .hash = hash, .seq = base_load_rlx(&g->seq) };
    BASE_PREFETCH_W(l1_bucket_at(s, l1_number(base_load_rlx(&s->ls), hash)));
    l1_ghost_prefetch(&s->ghost, l1_ghost_mix(hash));
    BASE_PREFETCH(l1_at(c, pos) + r.size); /* the step after that decodes it */
    BASE_PREFETCH(l1_at(c, pos) + r.size + BASE_LINE);
    if (c->hooks.soon != NULL) { c->hooks.soon(c->hooks.ctx, hash); }
}

static l1_step l1_cursor_step(l1 *c, l1_stripe *s, unsigned q, bool force, bool rotate,
                              l1_victims *v, l1_freed *freed) SYNC_HOLDS(L1_STRIPE);
static l1_step l1_cursor_step(l1 *c, l1_stripe *s, unsigned q, bool force, bool rotate,
                              l1_victims *v, l1_freed *freed)
{
    uint64_t pos;
    if (!l1_cursor_next(c, s, q, &pos)) { return L1_STEP_END; }
    l1_slot slot;
    l1_rec *const r = &slot.rec;
    bool ok = l1_decode(c, pos, r);
    BASE_REQUIRE(ok);
    l1_seg *g = &c->seg[l1_seg_of(c, pos)];
    const uint32_t size = r->size;
    g->cursor += size;
    const bool known = s->ahead.pos == pos && s->ahead.seq == base_load_rlx(&g->seq);
    const uint64_t hash = known ? s->ahead.hash : l1_hash_of(c, pos, r);
    BASE_ASSERT(hash == l1_hash_of(c, pos, r));
    if (g->cursor < g->used_bytes) { BASE_PREFETCH(l1_at(c, pos) + size); }

    l1_bucket *b;
    uint32_t ver;
    bool linked = l1_linked_first(c, s, pos, hash, &b, &ver, &slot);
    if (!linked) {
        freed->log_bytes += size;
        return L1_STEP_DEAD;
    }

    r->due = base_seq_u32(l1_at(c, pos) + 4); /* as of that version: a touch may have moved it */
    int64_t keep_until = BASE_NEVER_MS;
    if (r->due != 0 || r->mask != 0) { (void)l1_expires(c, pos, r, &keep_until); }
    const uint64_t weight = l1_weight(c, pos, r);
    l1_verdict verdict;
    bool spared = false;
    const int tags = BASE_UNLIKELY((r->mask & L1_X_TAGS) != 0) ? l1_tags_judge(c, pos, r) : 0;
    if (c->hooks.generation_alive != NULL &&
        !c->hooks.generation_alive(c->hooks.ctx, r->generation)) {
        verdict = (l1_verdict){.cause = L1_LEFT_CLEARED};
    } else if (base_clock_reached(c->clock, keep_until)) {
        verdict = (l1_verdict){.cause = (uint8_t)l1_over(c, pos, r)};
    } else if (tags >= 2) {
        verdict = (l1_verdict){.cause = tags == 2 ? L1_LEFT_TAG : L1_LEFT_DEPENDENCY};
    } else {
        unsigned kind = (r->mask & L1_X_KIND) != 0
            ? base_seq_u32(l1_at(c, pos) + l1_field(r, L1_X_KIND)) & 255u : (unsigned)L1_VALUE;
        verdict = l1_decide(c, s, q, l1_freq(slot.b, slot.i), kind, force);
        if ((c->favor_objects || s->cost_mean64 != 0) && kind == L1_VALUE && !force) {
            verdict = l1_weigh(c, s, pos, r, hash, q, verdict);
        }
        if (BASE_UNLIKELY(base_load_rlx(&c->quotas) != NULL) && !rotate) {
            const l1_say say = l1_quota_judge(c, s, r->generation, weight, freed);
            spared = say == L1_SAY_KEEP;
            if (say == L1_SAY_DROP) { verdict.keep = false; }
        }
        if (BASE_UNLIKELY((r->mask & L1_X_L2) != 0) && !verdict.keep && !spared && !force) {
            spared = l1_is_written(c, pos, r, hash);
        }
        if (rotate || (spared && !verdict.keep)) {
            verdict = (l1_verdict){.keep = true, .freq = (uint8_t)l1_freq(slot.b, slot.i)};
        }
    }
    uint64_t to;
    /* A kept record must not take the last free segments from the sets that free room for them. The
     * first kept record is exempt: stripes begin to evict together. Half of them would drop their
     * oldest and most requested records. */
    const uint32_t head = s->queue[1].head;
    const bool full = head != L1_NONE && c->seg_bytes - c->seg[head].used_bytes < size;
    if (verdict.keep && !rotate && !spared && full && base_load_rlx(&c->low) == 2) {
        verdict.keep = false;
        s->forced++;
    }
    if (verdict.keep) {
        const bool stay = rotate || base_load_rlx(&c->policy) == L1_FIFO;
        if (l1_log_reserve(c, s, stay ? q : 1, size, &to)) {
            if (l1_keep(c, s, pos, r, hash, b, ver, verdict.freq, to)) { return L1_STEP_KEPT; }
            return L1_STEP_DEAD; /* its old bytes are free, the copy took as many */
        }
        if (rotate) {
            g->cursor -= size;
            return L1_STEP_STUCK;
        }
        s->forced++; /* no room to keep it */
        verdict.keep = false;
    }
    if (l1_drop(c, s, hash, b, ver, &slot, verdict.cause, v)) {
        if (verdict.ghost) { l1_ghost_add(&s->ghost, l1_ghost_mix(hash)); }
        if (force) { s->forced++; }
        freed->log_bytes += size;
        freed->big_bytes += weight - size;
        l1_cursor_ahead(c, s, g, pos + size);
        return L1_STEP_DROPPED;
    }
    /* A thread deleted or changed the record, or moved its deadline, since the judgement. The next
     * step judges it again. */
    g->cursor -= size;
    return L1_STEP_DEAD;
}

/* Return the queue from which the cursor takes its next record. */
static unsigned l1_queue_due(const l1 *c, const l1_stripe *s)
{
    const bool has_small = s->queue[0].tail != L1_NONE, has_main = s->queue[1].tail != L1_NONE;
    if (!has_small || !has_main) { return has_main ? 1 : 0; }
    const l1_sizes size = l1_sizes_of(c, s);
    switch ((l1_policy)base_load_rlx(&c->policy)) {
    case L1_LRU: return size.small != 0 ? 0 : 1;
    case L1_FIFO: return size.mainq != 0 ? 1 : 0;
    case L1_S3FIFO:
    case L1_ADAPTIVE: break;
    }
    return l1_rule_queue(l1_rule_now(c), size.small, size.mainq);
}

static l1_step l1_rotate_once(l1 *c, l1_stripe *s, l1_victims *v, l1_freed *freed)
    SYNC_HOLDS(L1_STRIPE);
static l1_step l1_step_any(l1 *c, l1_stripe *s, bool force, l1_victims *v, l1_freed *freed)
    SYNC_HOLDS(L1_STRIPE);
static l1_step l1_rotate_once(l1 *c, l1_stripe *s, l1_victims *v, l1_freed *freed)
{
    const uint32_t tail = s->queue[0].tail;
    bool small = tail != L1_NONE &&
                 (int32_t)(base_load_rlx(&c->seg[tail].seq) - s->rotate_stop[0]) <= 0;
    return l1_cursor_step(c, s, small ? 0 : 1, false, true, v, freed);
}

/* Choose a segment with expired records for the due pass, at most once per second each. With a
 * bound of entries any such segment; else one with only expired records, because memory is freed by
 * the segment. */
static bool l1_due_pick(l1 *c, l1_stripe *s, uint64_t now) SYNC_HOLDS(L1_STRIPE);
static bool l1_due_pick(l1 *c, l1_stripe *s, uint64_t now)
{
    const bool whole = base_load_rlx(&c->max_entries) == 0;
    const uint32_t now_s = (uint32_t)(now >> 10);
    uint64_t next = UINT64_MAX;
    for (unsigned q = 0; q < 2; q++) {
        for (uint32_t seg = s->queue[q].tail; seg != L1_NONE; seg = c->seg[seg].next) {
            l1_seg *g = &c->seg[seg];
            uint64_t due = base_load_rlx(&g->min_due_ms);
            if (due == UINT64_MAX) { continue; }
            if (whole) { due = BASE_MAX(due, g->max_due_ms); }
            if (due <= now && g->swept_s != now_s) {
                s->due_pass = (l1_pass){.seg = seg + 1, .seq = base_load_rlx(&g->seq),
                                        .at = g->cursor};
                g->swept_s = now_s;
                base_store_rlx(&g->min_due_ms, UINT64_MAX);
                return true;
            }
            next = BASE_MIN(next, BASE_MAX(due, (uint64_t)(now_s + 1) << 10));
        }
    }
    base_store_rlx(&s->due_ms, next);
    return false;
}

CELLAR_PRIVATE bool l1_due_record(l1 *c, l1_stripe *s, uint64_t pos, l1_rec *r, l1_victims *v)
{
    const uint64_t hash = l1_hash_of(c, pos, r);
    l1_bucket *b;
    l1_slot slot;
    uint32_t ver;
    if (!l1_linked(c, s, pos, hash, &b, &ver, &slot)) { return false; }
    int64_t keep;
    r->due = base_seq_u32(l1_at(c, pos) + 4); /* as of that version */
    (void)l1_expires(c, pos, r, &keep);
    const bool dead = c->hooks.generation_alive != NULL &&
                      !c->hooks.generation_alive(c->hooks.ctx, r->generation);
    slot.rec = *r;
    if ((dead || base_clock_reached(c->clock, keep)) &&
        l1_drop(c, s, hash, b, ver, &slot, dead ? L1_LEFT_CLEARED : l1_over(c, pos, r), v)) {
        return true;
    }
    if (l1_decode(c, pos, r)) {
        (void)l1_expires(c, pos, r, &keep);
        l1_due_note(c, pos, keep);
    }
    return false;
}

/* Examine one record of a segment with expired records. Return false when there is none. */
static bool l1_due_step(l1 *c, l1_stripe *s, l1_victims *v, l1_freed *freed, l1_step *out)
    SYNC_HOLDS(L1_STRIPE);
static bool l1_due_step(l1 *c, l1_stripe *s, l1_victims *v, l1_freed *freed, l1_step *out)
{
    l1_pass *p = &s->due_pass;
    if (p->seg == 0) {
        const uint64_t due = base_load_rlx(&s->due_ms);
        if (BASE_LIKELY(due == UINT64_MAX) || c->no_due_first) { return false; }
        const int64_t now = base_coarse_ms(c->clock);
        if (now < 0 || (uint64_t)now < due || !l1_due_pick(c, s, (uint64_t)now)) { return false; }
    }
    const uint32_t seg = p->seg - 1;
    l1_seg *g = &c->seg[seg];
    p->at = BASE_MAX(p->at, g->cursor);
    *out = L1_STEP_DEAD;
    if (base_load_rlx(&g->seq) != p->seq || p->at >= g->used_bytes) {
        p->seg = 0; /* freed since, or finished */
        return true;
    }
    const uint64_t pos = ((uint64_t)seg << c->seg_shift) + p->at;
    l1_rec r;
    bool ok = l1_decode(c, pos, &r);
    BASE_REQUIRE(ok);
    p->at += r.size;
    if (l1_due_record(c, s, pos, &r, v)) {
        freed->log_bytes += r.size;
        *out = L1_STEP_DROPPED;
    }
    return true;
}

static l1_step l1_step_any(l1 *c, l1_stripe *s, bool force, l1_victims *v, l1_freed *freed)
{
    if (BASE_UNLIKELY(!force && l1_rotating(c, s))) {
        l1_step r = l1_rotate_once(c, s, v, freed);
        if (r != L1_STEP_STUCK) { return r; }
    }
    unsigned q = l1_queue_due(c, s);
    l1_step r = l1_cursor_step(c, s, q, force, false, v, freed);
    return r != L1_STEP_END ? r : l1_cursor_step(c, s, 1 - q, force, false, v, freed);
}

CELLAR_PRIVATE bool l1_rotate_step(l1 *c, l1_stripe *s, l1_victims *v)
{
    l1_freed freed = {0};
    if (!l1_rotating(c, s) || s->stuck_round == s->rotate_round) { return false; }
    l1_step r = l1_rotate_once(c, s, v, &freed);
    /* No segment for the live records: the tick removes the dead ones in place. After one pass over
     * all segments the round ends too (l1_sweep_due). */
    if (r == L1_STEP_STUCK) { s->stuck_round = s->rotate_round; }
    for (unsigned q = 0; r == L1_STEP_STUCK && q < 2; q++) {
        for (uint32_t seg = s->queue[q].tail; seg != L1_NONE; seg = c->seg[seg].next) {
            base_store_rlx(&c->seg[seg].min_due_ms, (uint64_t)0);
        }
    }
    return r != L1_STEP_STUCK; /* the end of one queue may not be the end of the other */
}

/* ---- where a new entry goes ------------------------------------------------------------------ */
static bool l1_stripe_full(const l1 *c, const l1_stripe *s)
{
    if (base_load_rlx(&c->low) != 0) { return true; }
    return base_load_rlx(&c->max_entries) != 0 && base_load_rlx(&c->tickets) == 0 &&
           l1_stripe_entries(s) >= s->granted;
}

CELLAR_PRIVATE unsigned l1_queue_for(l1 *c, l1_stripe *s, uint64_t hash, l1_toll *t, l1_victims *v)
{
    const l1_policy policy = (l1_policy)base_load_rlx(&c->policy);
    if (policy == L1_LRU) { return 1; }
    if (policy == L1_FIFO) { return 0; }
    const l1_rule *r = l1_rule_now(c);
    const uint64_t horizon = l1_stripe_entries(s) * r->horizon / 10;
    bool ghost = l1_ghost_take(&s->ghost, l1_ghost_mix(hash), horizon);
    if (ghost) { s->ghost_hits++; }
    if (ghost && r->gate && v->n < L1_VICTIMS && l1_stripe_full(c, s)) {
        /* Its place must come from a record without a use since the last pass of the cursor. */
        t->examined++;
        ghost = l1_cursor_step(c, s, 1, false, false, v, &t->freed) != L1_STEP_KEPT;
    }
    return ghost || r->clock ? 1 : 0;
}

/* ---- room for one set ------------------------------------------------------------------------ */
static uint64_t l1_toll_due(const l1 *c, const l1_stripe *s, uint32_t size)
{
    uint32_t low = base_load_rlx(&c->low);
    if (low == 0) { return 0; }
    /* Stripes above their share free more, so that memory moves to the others. */
    bool above =
        (uint64_t)base_load_rlx(&s->held_segs) * c->stripe_count >= base_load_rlx(&c->held);
    if (above) { return low == 2 ? (uint64_t)size * 5 / 2 : (uint64_t)size * 3 / 2; }
    return size;
}

typedef enum l1_paid { L1_PAID, L1_PAID_AGAIN } l1_paid;

/* Free `want` bytes: by policy within the allowance, then by force within a second one. */
static l1_paid l1_pay(l1 *c, l1_stripe *s, uint64_t want, uint32_t size, l1_toll *t, l1_victims *v)
    SYNC_HOLDS(L1_STRIPE);
static l1_paid l1_pay(l1 *c, l1_stripe *s, uint64_t want, uint32_t size, l1_toll *t, l1_victims *v)
{
    const uint64_t allowance = 16 + size / 8;
    for (unsigned held = 0; t->freed.log_bytes + t->freed.big_bytes < want; held++) {
        if (v->n == L1_VICTIMS || held == L1_HOLD_MAX) { return L1_PAID_AGAIN; }
        if (t->examined >= 2 * allowance) { break; }
        bool force = t->examined >= allowance;
        if (force && t->freed.log_bytes >= size) { break; }
        t->examined++;
        if (l1_step_any(c, s, force, v, &t->freed) == L1_STEP_END) { break; }
    }
    t->paid = true;
    return L1_PAID;
}

static bool l1_ticket_from_pool(l1 *c, l1_stripe *s)
{
    /* Take one ticket at a time: spare tickets of one stripe make others evict below the bound.
     * Once the store is full, the pool is only read. */
    uint64_t have;
    do {
        have = base_load_rlx(&c->tickets);
        if (have == 0) { return false; }
    } while (!base_cas_ar(&c->tickets, have, have - 1));
    s->granted++;
    return true;
}

/* Return the larger of two random stripes. */
static l1_stripe *l1_larger_of_two(l1 *c, const l1_stripe *not_this, bool by_entries)
{
    base_thread_record *self = base_thread_self();
    l1_stripe *best = NULL;
    for (unsigned i = 0; i < 2; i++) {
        l1_stripe *s = &c->stripe[base_rng_below(&self->rng, c->stripe_count)];
        if (s == not_this) { continue; }
        if (best == NULL ||
            (by_entries ? l1_stripe_entries(s) > l1_stripe_entries(best)
                        : base_load_rlx(&s->held_segs) > base_load_rlx(&best->held_segs))) {
            best = s;
        }
    }
    return best;
}

/* Get one entry ticket for `s`: an idle one, from the pool, from another stripe, or by an eviction
 * here. The caller holds the lock of `s`. Unchecked: one path holds a second stripe, and tokens
 * know ranks, not locks. */
static l1_room l1_ticket(l1 *c, l1_stripe *s, l1_toll *t, l1_victims *v) SYNC_UNCHECKED;
static l1_room l1_ticket(l1 *c, l1_stripe *s, l1_toll *t, l1_victims *v)
{
    uint64_t max = base_load_rlx(&c->max_entries);
    if (max == 0) { return L1_ROOM_OK; }
    for (unsigned held = 0;; held++) {
        uint64_t count = l1_stripe_entries(s);
        if (count < s->granted || l1_ticket_from_pool(c, s)) { return L1_ROOM_OK; }
        if (l1_tickets_gather(c, s)) { continue; }
        if (v->n == L1_VICTIMS || held == L1_HOLD_MAX) { return L1_ROOM_AGAIN; }
        l1_stripe *from = s;
        /* Use another stripe only when this one is clearly below the average: its lock and lines
         * are far away. */
        bool own = count != 0 && count * c->stripe_count * 8 >= max * 7;
        if (!own && c->stripe_count > 1) {
            l1_stripe *other = l1_larger_of_two(c, s, true);
            if (other != NULL && sync_try(L1_STRIPE, &other->lock)) { from = other; }
        }
        bool force = ++t->examined > 16;
        l1_freed freed = {.spared = t->freed.spared};
        l1_step step = L1_STEP_KEPT;
        if (from == s || l1_stripe_entries(from) >= from->granted) {
            step = l1_step_any(c, from, force, v, &freed);
        }
        t->freed.spared = freed.spared;
        t->freed.log_bytes += from == s ? freed.log_bytes : 0;
        if (from != s) {
            if (from->granted != 0 && l1_stripe_entries(from) < from->granted) {
                from->granted--;
                s->granted++;
            }
            sync_drop(L1_STRIPE, &from->lock);
        } else if (step == L1_STEP_END && count == 0 && held >= L1_HOLD_MAX / 2) {
            return L1_ROOM_AGAIN;
        }
    }
}

/* Evict a segment of another stripe that a try-lock gets, when pool and own tails gave nothing. */
static void l1_steal(l1 *c, l1_stripe *s, l1_toll *t, l1_victims *v)
{
    l1_stripe *other = l1_larger_of_two(c, s, false);
    if (other == NULL || !sync_try(L1_STRIPE, &other->lock)) { return; }
    l1_freed freed = {0};
    const uint32_t before = base_load_rlx(&other->held_segs);
    for (unsigned i = 0; i < L1_HOLD_MAX && v->n < L1_VICTIMS; i++) {
        if (base_load_rlx(&other->held_segs) < before || freed.big_bytes >= c->seg_bytes) { break; }
        t->examined++;
        if (l1_step_any(c, other, i > 64, v, &freed) == L1_STEP_END) { break; }
    }
    sync_drop(L1_STRIPE, &other->lock);
}

/* Return the bound of records that one set examines, for any pinned, victim or retired record. */
CELLAR_PRIVATE uint64_t l1_most_examined(const l1 *c, uint32_t size)
{
    const uint64_t rounds = L1_STEAL_ROUNDS + c->stripe_count / 4;
    return 2 * (16 + (uint64_t)size / 8) + rounds * 2 * L1_HOLD_MAX;
}

/* Let expired entries make room before live ones: a few looks per set beyond its allowance. Within
 * the allowance a segment with few expired records would use it up, and force would evict live
 * entries. */
static void l1_due_first(l1 *c, l1_stripe *s, l1_toll *t, l1_victims *v) SYNC_HOLDS(L1_STRIPE);
static void l1_due_first(l1 *c, l1_stripe *s, l1_toll *t, l1_victims *v)
{
    l1_step step;
    if (base_load_rlx(&s->due_ms) == UINT64_MAX && s->due_pass.seg == 0) { return; }
    for (; t->due_looks < L1_DUE_LOOKS && l1_stripe_full(c, s); t->due_looks++) {
        if (v->n == L1_VICTIMS || !l1_due_step(c, s, v, &t->freed, &step)) { return; }
    }
}

CELLAR_PRIVATE l1_room l1_room_for(l1 *c, l1_stripe *s, unsigned q, uint32_t size,
                                   bool new_entry, l1_toll *t, l1_victims *v, uint64_t *pos)
{
    l1_free_emptied(c, s);
    if (t->examined != 0 && t->examined >= l1_most_examined(c, size)) {
        base_add_rlx(&c->no_space, (uint64_t)1);
        return L1_ROOM_NONE;
    }
    l1_due_first(c, s, t, v);
    if (BASE_UNLIKELY(base_load_rlx(&c->quotas) != NULL)) { l1_quota_pay(c, s, size, t, v); }
    if (BASE_UNLIKELY(t->absent != 0)) {
        const l1_room r = l1_absent_pay(c, s, t, v);
        if (r != L1_ROOM_OK) { return r; }
    }
    if (!t->paid && l1_pay(c, s, l1_toll_due(c, s, size), size, t, v) == L1_PAID_AGAIN) {
        return L1_ROOM_AGAIN;
    }
    if (new_entry) {
        l1_room r = l1_ticket(c, s, t, v);
        if (r != L1_ROOM_OK) { return r; }
    }
    if (BASE_DEBUG) { s->examined_max = BASE_MAX(s->examined_max, t->examined); }
    if (l1_log_reserve(c, s, q, size, pos)) { return L1_ROOM_OK; }
    if (t->freed.big_bytes >= c->seg_bytes) { /* the freed blocks are retired: try again */
        t->freed.big_bytes = 0;
        return L1_ROOM_AGAIN;
    }
    /* No segment is free although the set paid. Drop here until a whole segment comes free, then
     * elsewhere. */
    l1_freed freed = {0};
    for (unsigned i = 0; i < L1_HOLD_MAX; i++) {
        /* Blocks make room too, once they leave the retire list. Do not drop a whole tail of
         * them. */
        if (v->n == L1_VICTIMS || freed.big_bytes >= c->seg_bytes) { return L1_ROOM_AGAIN; }
        t->examined++;
        if (BASE_DEBUG) { s->examined_max = BASE_MAX(s->examined_max, t->examined); }
        l1_step step = l1_step_any(c, s, true, v, &freed);
        if (step == L1_STEP_END) { break; }
        if (i % 16 == 15 && l1_log_reserve(c, s, q, size, pos)) { return L1_ROOM_OK; }
    }
    if (l1_log_reserve(c, s, q, size, pos)) { return L1_ROOM_OK; }
    if (c->stripe_count > 1) { l1_steal(c, s, t, v); }
    if (BASE_DEBUG) { s->examined_max = BASE_MAX(s->examined_max, t->examined); }
    if (l1_log_reserve(c, s, q, size, pos)) { return L1_ROOM_OK; }
    if (++t->rounds > L1_STEAL_ROUNDS + c->stripe_count / 4) {
        base_add_rlx(&c->no_space, (uint64_t)1);
        return L1_ROOM_NONE;
    }
    return L1_ROOM_AGAIN;
}

/* ---- room for others ------------------------------------------------------------------------- */
CELLAR_PRIVATE uint64_t l1_evict_round(l1 *c, uint64_t bytes, l1_round *r)
{
    if (r->s == NULL) {
        *r = (l1_round){.s = l1_larger_of_two(c, NULL, false)};
        BASE_ASSERT(r->s != NULL); /* NULL only with a stripe to skip */
        r->held_segs = base_load_rlx(&r->s->held_segs);
    }
    l1_stripe *const s = r->s;
    const uint64_t before = r->freed.log_bytes + r->freed.big_bytes;
    l1_victims v;
    v.n = 0;
    bool done = false;
    sync_take(L1_STRIPE, &s->lock);
    for (unsigned i = 0; i < L1_HOLD_MAX && v.n < L1_VICTIMS && !done; i++) {
        const bool whole =
            base_load_rlx(&s->held_segs) < r->held_segs && r->freed.log_bytes >= bytes;
        done = whole || r->freed.big_bytes >= bytes ||
               l1_step_any(c, s, i > L1_HOLD_MAX / 2, &v, &r->freed) == L1_STEP_END;
    }
    sync_drop(L1_STRIPE, &s->lock);
    l1_hand_over(c, &v);
    const uint64_t freed = r->freed.log_bytes + r->freed.big_bytes - before;
    if (done || freed == 0) { r->s = NULL; }
    return freed;
}

CELLAR_PRIVATE uint64_t l1_evict_excess(l1 *c, uint64_t entries)
{
    l1_stripe *s = l1_larger_of_two(c, NULL, true);
    BASE_ASSERT(s != NULL);
    l1_victims v;
    l1_freed freed = {0};
    uint64_t dropped = 0;
    v.n = 0;
    sync_take(L1_STRIPE, &s->lock);
    while (dropped < entries && s->granted > l1_stripe_entries(s)) { /* a delete left it idle */
        s->granted--;
        dropped++;
    }
    for (unsigned i = 0; i < L1_HOLD_MAX && v.n < L1_VICTIMS && dropped < entries; i++) {
        l1_step step = l1_step_any(c, s, i > L1_HOLD_MAX / 2, &v, &freed);
        if (step == L1_STEP_END) { break; }
        if (step == L1_STEP_DROPPED && s->granted != 0) {
            s->granted--;
            dropped++;
        }
    }
    sync_drop(L1_STRIPE, &s->lock);
    if (v.n != 0) { l1_hand_over(c, &v); }
    return dropped;
}

/* Return whether `bytes` fit if the store evicts every entry. After a full pass the retire list
 * holds only pinned blocks. */
CELLAR_PRIVATE bool l1_may_fit(const l1 *c, uint64_t bytes)
{
    const base_account *a = c->account;
    const uint64_t gone = base_load_rlx(&a->by_module[BASE_MOD_SEGMENT]) +
                          base_load_rlx(&a->by_module[BASE_MOD_BIG]);
    const uint64_t used = base_load_rlx(&a->used);
    const uint64_t stays = (used > gone ? used - gone : 0) + base_load_rlx(&c->retired_bytes);
    const uint64_t limit = base_load_rlx(&a->limit);
    return stays <= limit && limit - stays >= bytes;
}

CELLAR_PRIVATE bool l1_make_room(l1 *c, uint64_t bytes)
{
    /* Stop after that: the rest of the store does not free what is pinned. */
    const uint64_t most = bytes + bytes / 8 + (uint64_t)c->seg_bytes * (c->stripe_count + 16);
    unsigned idle = 0;
    l1_round round = {0};
    for (uint64_t freed = 0; idle < 4 * c->stripe_count + 16 && freed <= most;) {
        l1_retired_for(c, bytes);
        l1_retired_wait(c);
        if (l1_give_back(c, bytes, 0)) { return true; }
        if (!l1_may_fit(c, bytes)) { return false; }
        const uint64_t more = l1_evict_round(c, c->seg_bytes, &round);
        idle = more == 0 ? idle + 1 : 0;
        freed += more;
    }
    l1_retired_for(c, bytes);
    return l1_give_back(c, bytes, 0);
}
