/* SPDX-License-Identifier: MIT
 *
 * evict: move the cursor over the log and judge records.
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
 *            A rule with fill: the records of small stay, and their segment moves to main.
 * INVARIANTS The old place of a record is released only after its slot changed.
 * LOCKING    Lane lock. The cursor copies a kept record without the bucket lock and redirects the
 *            slot from the version read before the copy.
 * SEE ALSO   room.c: what moves the cursor. reclaim.c: dead records. ghost.c, policy_select.c.
 *            README.md: worth of a record, rejected designs. */

#include "l1/evict.h"
#include "l1/index.h"
#include "l1/policy.h"
#include "l1/quota.h"
#include "l1/record.h"
#include "l1/segment.h"
#include "l1/unlink.h"

/* Unit of the shares: entries if they are bounded, else bytes. */
typedef struct l1_sizes { uint64_t small, mainq; } l1_sizes;

BASE_ALWAYS_INLINE l1_sizes l1_sizes_of(const l1 *c, const l1_lane *n)
{
    const uint64_t a = base_load_rlx(&n->queue[0].live), b = base_load_rlx(&n->queue[1].live);
    const bool bounded = base_load_rlx(&c->max_entries) != 0;
    l1_sizes size = bounded ? (l1_sizes){ L1_LIVE_COUNT(a), L1_LIVE_COUNT(b) }
                            : (l1_sizes){ L1_LIVE_BYTES(a), L1_LIVE_BYTES(b) };
    if (n->stayed != 0) { /* deletes there do not lower it */
        const uint64_t stayed = BASE_MIN(
            bounded ? L1_LIVE_COUNT(n->stayed) : L1_LIVE_BYTES(n->stayed), size.small);
        size.small -= stayed;
        size.mainq += stayed;
    }
    return size;
}

/* Return how much small may exceed its share before a main below its share takes a record (fill).
 * By bytes memory comes free by the segment: sets free more than they append, or nothing. So small
 * swings by a segment and more around its share, where a bound of entries keeps it exact. A record
 * that is long swings it by its own size: once as it enters, once as it leaves. */
static uint64_t l1_slack(const l1 *c, l1_sizes size, uint64_t weight)
{
    if (base_load_rlx(&c->max_entries) != 0) { return 0; }
    const uint64_t swing =
        BASE_MIN((uint64_t)c->seg_bytes * 3 / 2, (size.small + size.mainq) / 16);
    return BASE_MIN(swing + 2 * weight, size.small);
}

typedef struct l1_verdict {
    bool keep, ghost;
    uint8_t freq; /* after the move */
    l1_cause cause;
} l1_verdict;

static l1_verdict l1_decide(const l1 *c, const l1_lane *n, unsigned q, unsigned freq,
                            unsigned kind, uint64_t weight, bool force)
{
    l1_verdict v = {.cause = L1_LEFT_CAPACITY};
    const l1_policy policy = (l1_policy)base_load_rlx(&c->policy);
    if (policy == L1_FIFO) { return v; }
    if (policy == L1_LRU) {
        v.keep = freq > 0 && !force;
        return v;
    }
    const l1_rule *r = l1_rule_now(c);
    if (q == 0) {
        const l1_sizes size = l1_sizes_of(c, n);
        const uint64_t slack = r->fill ? l1_slack(c, size, weight) : 0;
        v.keep = !force && l1_rule_keeps(r, &n->learned, freq, size.small - slack,
                                         size.mainq + slack);
        /* Keep an error or negative entry only after repeated requests. */
        if (kind != L1_VALUE && freq < 2) { v.keep = false; }
        v.ghost = !v.keep;
    } else {
        v.keep = freq > 0 && kind == L1_VALUE && !force;
        v.freq = (uint8_t)l1_rule_rest(r, freq);
        v.ghost = !v.keep && r->both;
    }
    return v;
}

BASE_SIZE_BEGIN

/* ---- worth of a record ----------------------------------------------------------------------- */
#define L1_WORTH_MOST 6

static uint32_t l1_cost_us(uint8_t cost)
{
    const unsigned code = cost - 1u;
    return (uint32_t)(((uint64_t)(8 + (code & 7u)) << (code >> 3)) >> 3);
}

CELLAR_PRIVATE void l1_cost_seen(l1_lane *n, uint8_t cost)
{
    const uint64_t us = BASE_MAX(l1_cost_us(cost), 1u);
    n->cost_mean64 = n->cost_mean64 == 0 ? us * 64 : n->cost_mean64 - n->cost_mean64 / 64 + us;
}

/* Return the worth of a record as a power of two; 0: average. */
static int l1_worth(const l1 *c, const l1_lane *n, uint64_t pos, const l1_rec *r, uint64_t weight)
{
    int worth = 0;
    if (c->favor_objects) {
        const uint64_t mean = l1_lane_bytes(n) / BASE_MAX(l1_lane_entries(n), 1);
        worth += (int)base_log2_floor(4 * mean + 1) - (int)base_log2_floor(weight | 1);
    }
    const uint8_t cost = (uint8_t)(l1_get_u32(c, pos, r, L1_X_KIND, 0) >> 16);
    if (n->cost_mean64 != 0 && cost != 0) {
        const uint64_t us = BASE_MAX(l1_cost_us(cost), 1u);
        const uint64_t mean = BASE_MAX(n->cost_mean64 / 64, 1);
        worth += us >= mean ? (int)base_log2_floor(us / mean) : -(int)base_log2_floor(mean / us);
    }
    return worth > L1_WORTH_MOST ? L1_WORTH_MOST : worth < -L1_WORTH_MOST ? -L1_WORTH_MOST : worth;
}

/* Change the choice of the policy with odds that follow the worth of the record. */
static l1_verdict l1_weigh(const l1 *c, const l1_lane *n, uint64_t pos, const l1_rec *r,
                           uint64_t hash, unsigned q, l1_verdict v)
{
    const l1_policy policy = (l1_policy)base_load_rlx(&c->policy);
    if (policy == L1_FIFO || policy == L1_LRU) { return v; }
    const int worth = l1_worth(c, n, pos, r, l1_weight(c, pos, r));
    if (worth == 0 || (worth < 0) != v.keep) { return v; }
    const uint64_t turn = base_load_rlx(&n->kept) * UINT64_C(0x9e3779b97f4a7c15);
    const uint64_t draw = base_mix64(hash ^ (turn + base_load_rlx(&n->evicted)));
    const bool rare = (draw & (((uint64_t)1 << (worth < 0 ? -worth : worth)) - 1)) == 0;
    if (rare) { return v; } /* 1 in 2^|worth| is as the policy says */
    v.keep = !v.keep;
    v.ghost = !v.keep && (q == 0 || l1_rule_now(c)->both);
    v.freq = 0;
    return v;
}

BASE_SIZE_END

/* ---- the cursor ------------------------------------------------------------------------------ */
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

CELLAR_PRIVATE bool l1_keep(l1 *c, l1_lane *n, const l1_entry *e, uint8_t freq, uint64_t to)
{
    const uint64_t pos = e->slot.pos, hash = e->hash;
    l1_slot slot = e->slot;
    l1_rec *const r = &slot.rec;
    const uint64_t weight = l1_weight(c, pos, r);
    l1_hold h;
    base_fence_rel(); /* a reader of new bytes here sees the versions of the old records */
    l1_copy_record(c, pos, to, r, false);
    if (!l1_lock_here(l1_stripe_of(c, hash), e->primary, e->ver, &h)) {
        /* A writer was faster. Copy again under the lock; above 1 KiB only what may have
         * changed. */
        l1_lock_key(c, hash, &h, false);
        if (!l1_find_pos(c, &h, l1_tag_of(hash), pos, &slot) || !l1_decode(c, pos, r)) {
            l1_unlock(c, &h);
            l1_log_undo(c, to, e->slot.rec.size);
            return false;
        }
        l1_copy_record(c, pos, to, r, r->size > L1_SMALL_COPY);
    }
    l1_live_add(c, to, weight);
    base_store_rlx(&slot.b->off[slot.i], (uint32_t)(to >> c->gshift));
    l1_freq_set(slot.b, slot.i, freq);
    l1_live_sub(c, pos, weight, r->size, false);
    r->due = base_seq_u32(l1_at(c, to) + 4); /* relative to its new segment */
    l1_dues(c, to, r);
    l1_unlock(c, &h);
    l1_wipe(c, pos, r);
    l1_counted(&n->kept);
    return true;
}

/* Return whether the records of a tail of small stay in place: the rule takes all of them into
 * main, and few are dead. Worth and shares drop records: then they move one by one. */
static bool l1_stays(const l1 *c, const l1_lane *n, const l1_seg *g)
{
    const l1_policy policy = (l1_policy)base_load_rlx(&c->policy);
    return l1_rule_now(c)->fill && (policy == L1_ADAPTIVE || policy == L1_S3FIFO) &&
           n->cost_mean64 == 0 && base_load_rlx(&c->quotas) == NULL && g->cursor == 0 &&
           L1_LIVE_BYTES(base_load_rlx(&g->live)) >= g->used_bytes / 32 * 31;
}

/* Find the next record under the cursor of queue q; `at`: where the cursor is kept. stay: the
 * segment may move as a whole. Free emptied segments on the way. */
static SYNC_HOLDS(L1_LANE) bool l1_cursor_next(l1 *c, l1_lane *n, unsigned q, bool stay,
                                               uint64_t *pos, uint32_t **at)
{
    for (;;) {
        l1_free_emptied(c, n);
        uint32_t seg = n->queue[q].tail;
        if (seg == L1_NONE) { return false; }
        l1_seg *g = &c->seg[seg];
        const bool stays = q == 0 && stay && seg != n->queue[0].head && l1_stays(c, n, g);
        if (q == 0 && BASE_UNLIKELY(n->stay_seq != (stays ? base_load_rlx(&g->seq) : 0))) {
            n->stay_seq = stays ? base_load_rlx(&g->seq) : 0;
            n->ahead[0].seq = n->stay_at = 0;
            n->stayed = 0;
        }
        *at = stays ? &n->stay_at : &g->cursor;
        if (**at < g->used_bytes) {
            *pos = ((uint64_t)seg << c->seg_shift) + **at;
            return true;
        }
        if (stays) {
            l1_seg_move(c, n, seg);
            continue;
        }
        const uint64_t live = base_load_acq(&g->live);
        if (L1_LIVE_LINKED(live) == 0 && (live & L1_LIVE_QUEUED) != 0) {
            base_yield(); /* a delete is about to push it, inside its window */
            continue;
        }
        BASE_REQUIRE((live & ~L1_LIVE_MOVED) == 0);
        l1_seg_unqueue(c, n, seg);
        l1_seg_release(c, seg);
    }
}

/* Find the slot like l1_linked, on a short path for the first match in the primary bucket. */
BASE_ALWAYS_INLINE SYNC_HOLDS(L1_LANE) bool l1_linked_first(l1 *c, l1_entry *e)
{
    const l1_stripe *const s = l1_stripe_of(c, e->hash);
    l1_bucket *const b = e->primary = l1_bucket_at(s, l1_number(base_load_acq(&s->ls), e->hash));
    const uint64_t pos = e->slot.pos;
    e->ver = base_load_acq(&b->ver);
    const uint32_t m = l1_match(b, l1_tag_of(e->hash));
    if (BASE_LIKELY((e->ver & 1u) == 0 && m != 0)) {
        e->slot.b = b;
        e->slot.i = (unsigned)__builtin_ctz(m);
        e->slot.rec.due = base_seq_u32(l1_at(c, pos) + 4); /* a touch may have moved it */
        const bool linked = base_load_rlx(&b->off[e->slot.i]) == (uint32_t)(pos >> c->gshift);
        base_fence_acq();
        if (BASE_LIKELY(linked && base_load_rlx(&b->ver) == e->ver)) { return true; }
    }
    return l1_linked(c, e);
}

/* Note the hash of the record at `pos` and prefetch what its step will read. Return its size, or
 * that of a segment if the record is gone. */
static SYNC_HOLDS(L1_LANE) uint32_t l1_cursor_see(l1 *c, uint64_t pos, uint64_t *hash)
{
    l1_rec r;
    uint32_t size;
    if (BASE_LIKELY(l1_decode_plain(c, pos, &r, L1_W0_BIG))) {
        size = r.size;
        *hash = base_hash(c->hash_key, 0, l1_at(c, pos) + r.key_off, r.klen);
    } else {
        l1_rec any; /* its address is taken; r stays in registers */
        const bool ok = l1_decode(c, pos, &any);
        BASE_REQUIRE(ok);
        size = any.size;
        *hash = l1_hash_of(c, pos, &any);
    }
    const l1_stripe *const s = l1_stripe_of(c, *hash);
    BASE_PREFETCH_W(l1_bucket_at(s, l1_number(base_load_rlx(&s->ls), *hash)));
    l1_ghost_prefetch(&s->ghost, l1_ghost_mix(*hash));
    BASE_PREFETCH(l1_at(c, pos) + size + 2 * BASE_LINE);
    BASE_PREFETCH(l1_at(c, pos) + size + 3 * BASE_LINE);
    if (c->hooks.soon != NULL) { c->hooks.soon(c->hooks.ctx, *hash); }
    return size;
}

/* Return the hash of the record under the cursor, and look at the ones behind it. */
static BASE_NOINLINE SYNC_HOLDS(L1_LANE) uint64_t
    l1_cursor_hash(l1 *c, l1_ahead *a, const l1_seg *g, uint64_t pos, uint32_t at)
{
    const uint32_t seq = base_load_rlx(&g->seq);
    if (BASE_UNLIKELY(a->seq != seq)) { *a = (l1_ahead){ .seq = seq, .end = at }; }
    do {
        if (BASE_UNLIKELY(a->end == g->used_bytes)) { break; }
        a->end += l1_cursor_see(c, pos - at + a->end, &a->hash[a->seen++ % L1_AHEAD]);
    } while (BASE_UNLIKELY(a->seen - a->used < L1_AHEAD));
    return a->hash[a->used++ % L1_AHEAD];
}

typedef struct l1_under { /* the record under the cursor; on the stack of a step */
    l1_entry e;
    uint64_t pos, weight;
    uint32_t *at;        /* where the cursor is kept */
    uint32_t size, gone; /* bytes; of them those that come free without it */
    bool stays;          /* its segment may move as a whole */
} l1_under;

/* Read the record under the cursor and move the cursor behind it. */
BASE_ALWAYS_INLINE SYNC_HOLDS(L1_LANE) void l1_under_read(l1 *c, l1_lane *n, unsigned q,
                                                           l1_under *u)
{
    l1_rec *const r = &u->e.slot.rec;
    const bool ok = l1_decode_plain(c, u->pos, r, L1_W0_BIG) || l1_decode(c, u->pos, r);
    l1_seg *g = &c->seg[l1_seg_of(c, u->pos)];
    u->stays = u->at != &g->cursor;
    u->size = r->size;
    u->gone = u->stays ? 0 : r->size;
    BASE_REQUIRE(ok && r->size <= g->used_bytes - *u->at);
    u->e.hash = l1_cursor_hash(c, &n->ahead[q], g, u->pos, *u->at);
    *u->at += r->size;
    u->e.slot.pos = u->pos;
    BASE_ASSERT(u->e.hash == l1_hash_of(c, u->pos, r));
}

/* Move the cursor back to the record: the next step judges it again. */
static SYNC_HOLDS(L1_LANE) void l1_under_again(l1_lane *n, unsigned q, const l1_under *u)
{
    *u->at -= u->size;
    n->ahead[q].seq = 0;
}

/* Judge a linked record; force: drop it. *spared: it stays, as the disk does not have it yet. */
BASE_ALWAYS_INLINE SYNC_HOLDS(L1_LANE) l1_verdict
    l1_under_judge(l1 *c, l1_lane *n, unsigned q, bool force, l1_under *u, bool *spared)
{
    l1_slot *const slot = &u->e.slot;
    l1_rec *const r = &slot->rec;
    l1_verdict verdict = {0};
    if (l1_is_over(c, u->pos, r, &verdict.cause)) { return verdict; }
    const unsigned kind = l1_kind_of(c, u->pos, r);
    verdict = l1_decide(c, n, q, l1_freq(slot->b, slot->i), kind, u->weight, force);
    if ((c->favor_objects || n->cost_mean64 != 0) && kind == L1_VALUE && !force) {
        verdict = l1_weigh(c, n, u->pos, r, u->e.hash, q, verdict);
    }
    if (BASE_UNLIKELY(base_load_rlx(&c->quotas) != NULL)) {
        if (l1_quota_is_over(c, n, r->generation)) { verdict.keep = false; }
    }
    if (BASE_UNLIKELY((r->mask & L1_X_L2) != 0) && !verdict.keep && !force) {
        *spared = l1_is_written(c, u->pos, r, u->e.hash);
    }
    if (*spared && !verdict.keep) {
        verdict = (l1_verdict){.keep = true, .freq = (uint8_t)l1_freq(slot->b, slot->i)};
    }
    return verdict;
}

/* Return whether a kept record would take one of the last free segments from the sets that free
 * room for them: its lane keeps what it looks at and owes much. The first kept record is exempt:
 * lanes begin to evict together. Half of them would drop their oldest and most requested records.
 */
BASE_ALWAYS_INLINE SYNC_HOLDS(L1_LANE) bool l1_under_crowds(const l1 *c, const l1_lane *n,
                                                             uint32_t size)
{
    const uint32_t head = n->queue[1].head;
    return head != L1_NONE && c->seg_bytes - c->seg[head].used_bytes < size &&
           n->owed >= c->seg_bytes / 4 && base_load_rlx(&c->low) == 2;
}

/* Copy a record to the head of its next queue. END: there is no room. */
BASE_ALWAYS_INLINE SYNC_HOLDS(L1_LANE) l1_step l1_under_keep(l1 *c, l1_lane *n, unsigned q,
                                                              l1_under *u, uint8_t freq)
{
    uint64_t to;
    const bool same = base_load_rlx(&c->policy) == L1_FIFO;
    if (!l1_log_reserve(c, n, same ? q : 1, u->size, &to)) { return L1_STEP_END; }
    if (!l1_keep(c, n, &u->e, freq, to)) { return L1_STEP_DEAD; }
    n->learned.moves++;
    return L1_STEP_KEPT;
}

/* Judge the next record of queue q. */
static SYNC_HOLDS(L1_LANE) l1_step l1_cursor_step(l1 *c, l1_lane *n, unsigned q, bool force,
                                                  l1_victims *v, l1_freed *freed)
{
    l1_under u;
    if (!l1_cursor_next(c, n, q, !force, &u.pos, &u.at)) { return L1_STEP_END; }
    l1_under_read(c, n, q, &u);
    if (!l1_linked_first(c, &u.e)) {
        freed->log_bytes += u.gone;
        return L1_STEP_DEAD;
    }
    u.weight = l1_weight(c, u.pos, &u.e.slot.rec);
    bool spared = false;
    const l1_verdict verdict = l1_under_judge(c, n, q, force, &u, &spared);
    if (verdict.keep && u.stays) {
        const l1_slot *const slot = &u.e.slot;
        if (l1_freq(slot->b, slot->i) != 0) { l1_freq_set(slot->b, slot->i, verdict.freq); }
        n->stayed += L1_LIVE(u.weight, 1);
        n->learned.moves++;
        l1_counted(&n->kept);
        return L1_STEP_KEPT;
    }
    if (verdict.keep) {
        const bool crowds = !spared && l1_under_crowds(c, n, u.size);
        const l1_step kept = crowds ? L1_STEP_END : l1_under_keep(c, n, q, &u, verdict.freq);
        if (kept == L1_STEP_DEAD) { freed->log_bytes += u.gone; }
        if (kept != L1_STEP_END) { return kept; }
        l1_counted(&n->forced); /* no room to keep it */
    }
    if (l1_drop(c, n, &u.e, verdict.cause, v)) {
        if (verdict.ghost) {
            l1_ghost_add(&l1_stripe_of(c, u.e.hash)->ghost, l1_ghost_mix(u.e.hash), q == 1);
        }
        if (force) { l1_counted(&n->forced); }
        freed->log_bytes += u.gone;
        freed->big_bytes += u.weight - u.size;
        return L1_STEP_DROPPED;
    }
    /* A thread deleted or changed the record, or moved its deadline, since the judgement. */
    l1_under_again(n, q, &u);
    return L1_STEP_DEAD;
}

/* Return the queue from which the cursor takes its next record. */
static unsigned l1_queue_due(const l1 *c, const l1_lane *n)
{
    const bool has_small = n->queue[0].tail != L1_NONE, has_main = n->queue[1].tail != L1_NONE;
    if (!has_small || !has_main) { return has_main ? 1 : 0; }
    switch ((l1_policy)base_load_rlx(&c->policy)) {
    case L1_LRU: return base_load_rlx(&n->queue[0].live) != 0 ? 0 : 1;
    case L1_FIFO: return base_load_rlx(&n->queue[1].live) != 0 ? 1 : 0;
    case L1_S3FIFO:
    case L1_ADAPTIVE: break;
    }
    const l1_sizes size = l1_sizes_of(c, n);
    return l1_rule_queue(l1_rule_now(c), &n->learned, size.small, size.mainq);
}

CELLAR_PRIVATE l1_step l1_step_evict(l1 *c, l1_lane *n, bool force, l1_victims *v, l1_freed *freed)
{
    unsigned q = l1_queue_due(c, n);
    l1_step r = l1_cursor_step(c, n, q, force, v, freed);
    return r != L1_STEP_END ? r : l1_cursor_step(c, n, 1 - q, force, v, freed);
}

/* ---- where a new entry goes ------------------------------------------------------------------ */
CELLAR_PRIVATE bool l1_lane_full(const l1 *c, const l1_lane *n)
{
    if (base_load_rlx(&c->full) != 0) { return true; }
    return base_load_rlx(&c->max_entries) != 0 && base_load_rlx(&c->tickets) <= 0 &&
           l1_tickets_idle(n) == 0;
}

CELLAR_PRIVATE unsigned l1_queue_for(l1 *c, l1_lane *n, l1_stripe *s, uint64_t hash, l1_toll *t,
                                     l1_victims *v)
{
    const l1_policy policy = (l1_policy)base_load_rlx(&c->policy);
    if (policy == L1_LRU) { return 1; }
    if (policy == L1_FIFO) { return 0; }
    const l1_rule *r = l1_rule_now(c);
    const uint64_t entries = l1_lane_entries(n);
    l1_learn_set(&n->learned, entries);
    const l1_ghost g = l1_ghost_take(&s->ghost, l1_ghost_mix(hash));
    const bool full = g.age != UINT64_MAX && l1_lane_full(c, n);
    const uint64_t mainq = full ? L1_LIVE_COUNT(base_load_rlx(&n->queue[1].live)) : 0;
    bool ghost = g.age != UINT64_MAX && l1_ghost_earns(g, r, &n->learned, entries, mainq);
    if (ghost) { l1_counted(&n->ghost_hits); }
    if (ghost && r->gate && v->n < L1_VICTIMS && full && n->sparse.seg == 0 && !l1_waits(n)) {
        /* Its place must come from a record without a use since the last pass of the cursor. */
        t->examined++;
        ghost = l1_cursor_step(c, n, 1, false, v, &t->freed) != L1_STEP_KEPT;
    }
    const unsigned q = ghost || r->clock ? 1 : 0;
    n->learned.moves += q;
    return q;
}
