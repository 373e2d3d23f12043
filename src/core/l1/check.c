/* SPDX-License-Identifier: MIT
 *
 * check: audit the structures of a level.
 *
 * INVARIANTS What l1_audit checks: each slot points to a live record of its stripe and bucket;
 *            live counts agree; queues are disjoint lists; charges equal what is committed.
 * LOCKING    All lanes for each stripe, then one lane at a time. Tests stop all writers first. */
#include <string.h>

#include "l1/index.h"
#include "l1/large.h"
#include "l1/policy.h"
#include "l1/quota_count.h"
#include "l1/record.h"
#include "l1/segment.h"

BASE_SIZE_BEGIN

typedef struct l1_tally { /* what the slots of all buckets link */
    uint32_t fresh;
    uint64_t *live;   /* L1_LIVE of each segment */
    uint64_t *linked; /* bytes of its records in the log */
    uint64_t *absent; /* L1_LIVE of the entries without value of each lane */
    uint64_t capped;  /* entries of namespaces with a bound */
    uint64_t charges; /* L1_X_CHARGE */
    uint64_t bytes[L1_QUOTAS], entries[L1_QUOTAS]; /* as the words of a stripe count them */
} l1_tally;

/* Count a linked record. */
static void l1_audit_count(const l1 *c, l1_tally *t, uint64_t pos, const l1_rec *r)
{
    const uint64_t weight = l1_weight(c, pos, r);
    const l1_seg *g = &c->seg[l1_seg_of(c, pos)];
    t->live[g - c->seg] += L1_LIVE(weight, 1);
    t->linked[g - c->seg] += r->size;
    t->charges += l1_get_u64(c, pos, r, L1_X_CHARGE, 0);
    if (l1_is_absent(c, pos, r)) {
        t->absent[base_load_rlx(&g->lane) & c->stripe_mask] += L1_LIVE(weight, 1);
    }
    const unsigned number = base_load_acq(&c->quotas) != NULL ? l1_quota_of(c, r->generation) : 0;
    if (number != 0) {
        t->bytes[number - 1] += (weight + 7) >> L1_QUOTA_UNIT;
        t->entries[number - 1]++;
    }
}

static const char *l1_audit_bucket(l1 *c, const l1_stripe *s, uint64_t number, l1_tally *t,
                                   uint32_t *chained)
{
    const uint64_t ls = base_load_rlx(&s->ls);
    l1_part p = l1_whole(l1_bucket_at(s, number));
    uint32_t ver = base_load_rlx(&p.b->ver);
    if ((ver & 1u) != 0 || ver == 0) { return "bucket is locked or does not exist"; }
    for (unsigned hop = 0; p.b != NULL; p = l1_chain_next(s, number, p), hop++) {
        if (hop > L1_CHAIN_MAX) { return "chain has too many halves"; }
        *chained += hop != 0;
        for (uint32_t m = l1_part_used(p); m != 0; m &= m - 1) {
            const unsigned i = (unsigned)__builtin_ctz(m);
            const uint16_t tag = base_load_rlx(&p.b->tag[i]);
            const uint64_t pos = l1_pos(c, base_load_rlx(&p.b->off[i]));
            const uint32_t seg = l1_seg_of(c, pos);
            l1_rec r;
            if (seg >= t->fresh || !l1_decode(c, pos, &r)) { return "slot points to no record"; }
            const uint64_t hash = l1_hash_of(c, pos, &r);
            if (l1_tag_of(hash) != tag || l1_stripe_of(c, hash) != s ||
                l1_number(ls, hash) != number) {
                return "record is in the wrong bucket";
            }
            const l1_seg *g = &c->seg[seg];
            const unsigned state = base_load_rlx(&g->state);
            if (state != L1_SEG_SMALL && state != L1_SEG_MAIN) {
                return "live record is in a segment outside the queues";
            }
            uint32_t at = (uint32_t)pos & (c->seg_bytes - 1);
            if (at < g->cursor || at + r.size > g->used_bytes) {
                return "live record is outside the used bytes of its segment";
            }
            l1_audit_count(c, t, pos, &r);
            l1_cap *cap = l1_cap_of(c, r.generation);
            if (cap == NULL) { continue; }
            if (!l1_cap_has(cap, r.generation, hash)) { return "entry is in no list"; }
            t->capped++;
        }
    }
    return NULL;
}

static const char *l1_audit_stripe(l1 *c, l1_stripe *s, l1_tally *t)
{
    const uint64_t ls = base_load_rlx(&s->ls);
    if (s->bucket_count != (uint32_t)ls || s->bucket_count >> ((ls >> 32) & 255u) != 1) {
        return "ls and the bucket count differ";
    }
    uint32_t chained = 0;
    for (uint64_t i = 0; i < s->bucket_count; i++) {
        const char *wrong = l1_audit_bucket(c, s, i, t, &chained);
        if (wrong != NULL) { return wrong; }
    }
    if (chained != base_load_rlx(&s->overflow_count)) {
        return "count of overflow halves differs";
    }
    return NULL;
}

static const char *l1_audit_lane(const l1 *c, const l1_lane *n, const l1_tally *t, uint64_t *segs)
{
    uint64_t held = 0;
    for (unsigned q = 0; q < 2; q++) {
        uint64_t sum = 0;
        uint32_t prev = L1_NONE;
        for (uint32_t seg = n->queue[q].tail; seg != L1_NONE; prev = seg, seg = c->seg[seg].next) {
            const l1_seg *g = &c->seg[seg];
            if (g->prev != prev || l1_seg_queue(g) != q) {
                return "links of a queue differ";
            }
            if (l1_lane_of_seg(c, g) != n) { return "segment is in the queue of another lane"; }
            const uint64_t linked = L1_LIVE_LINKED(base_load_rlx(&g->live));
            if (seg >= t->fresh || linked != t->live[seg]) {
                return "live count of a segment differs";
            }
            if (t->linked[seg] + base_load_rlx(&g->waste) != c->seg_bytes) {
                return "waste of a segment differs";
            }
            if (g->used_bytes > c->seg_bytes || g->cursor > g->used_bytes) {
                return "segment has more used bytes than its size";
            }
            l1_rec r;
            for (uint32_t at = g->cursor; at < g->used_bytes; at += r.size) {
                if (!l1_decode(c, ((uint64_t)seg << c->seg_shift) + at, &r)) {
                    return "bytes in the log are no record";
                }
            }
            sum += linked;
            held++;
        }
        if (n->queue[q].head != prev) { return "head of a queue is not its last segment"; }
        if (sum != base_load_rlx(&n->queue[q].live)) { return "live count of a queue differs"; }
    }
    if (held != base_load_rlx(&n->held_segs)) { return "count of held segments differs"; }
    *segs += held;
    const uint64_t absent = t->absent[n->number];
    const bool same = L1_LIVE_COUNT(absent) == (uint64_t)base_load_rlx(&n->absent_count) &&
                      L1_LIVE_BYTES(absent) == (uint64_t)base_load_rlx(&n->absent_bytes);
    return same ? NULL : "count of entries without value differs";
}

/* Compare the counts of namespaces. */
static const char *l1_audit_quotas(const l1 *c, const l1_tally *t)
{
    struct l1_quotas *q = base_load_acq(&c->quotas);
    for (unsigned n = 1; q != NULL && n <= base_load_rlx(&q->high); n++) {
        const uint64_t word = base_load_rlx(&l1_quota_at(q, 0, n)->bytes);
        if (l1_quota_of(c, (uint32_t)(word >> 32)) != n) { continue; } /* of a dropped namespace */
        const bool same =
            l1_quota_total(q, c->stripe_count, n, false) >> L1_QUOTA_UNIT == t->bytes[n - 1] &&
            l1_quota_total(q, c->stripe_count, n, true) == t->entries[n - 1];
        if (!same) { return "count of a share differs"; }
    }
    return NULL;
}

CELLAR_PRIVATE const char *l1_audit(l1 *c)
{
    l1_tally t = {0};
    sync_take(L1_SEG, &c->seg_lock);
    t.fresh = c->fresh; /* writers of other threads may raise it */
    sync_drop(L1_SEG, &c->seg_lock);
    const size_t bytes = (2 * (size_t)t.fresh + c->stripe_count) * sizeof(uint64_t);
    t.live = base_alloc_raw(&c->account->hooks, bytes);
    if (t.live == NULL) { return NULL; }
    memset(t.live, 0, bytes);
    t.linked = t.live + t.fresh;
    t.absent = t.linked + t.fresh;
    const char *wrong = NULL;
    uint64_t segs = 0, index = 0, overflow = 0, entries = 0, told = 0, granted = 0;
    uint32_t wasteful = 0;
    for (uint32_t i = 0; i < c->stripe_count && wrong == NULL; i++) {
        l1_stripe *s = &c->stripe[i];
        (void)l1_lanes_take(c, UINT64_MAX); /* the records of a stripe lie in all of them */
        sync_take(L1_STRIPE, &s->lock);
        wrong = l1_audit_stripe(c, s, &t);
        index += s->charged_bytes;
        for (uint32_t g = 0; g < c->group_count; g++) { overflow += s->group[g].charged_bytes; }
        sync_drop(L1_STRIPE, &s->lock);
        l1_lanes_drop(c, c->stripe_count);
    }
    for (uint32_t i = 0; i < c->stripe_count && wrong == NULL; i++) {
        l1_lane *n = &c->lane[i];
        sync_take(L1_LANE, &n->lock);
        wrong = l1_audit_lane(c, n, &t, &segs);
        entries += l1_lane_entries(n);
        granted += base_load_rlx(&n->granted);
        told += n->told;
        wasteful += base_load_rlx(&n->wasteful) != 0;
        sync_drop(L1_LANE, &n->lock);
    }
    base_free_raw(&c->account->hooks, t.live, bytes);
    if (wrong == NULL) { wrong = l1_audit_quotas(c, &t); }
    if (wrong != NULL) { return wrong; }
    if (t.charges > base_load_rlx(&c->charges)) { return "charges of entries are missing"; }
    if (t.capped != l1_caps_count(c)) { return "lists of namespaces differ"; }
    base_account *a = c->account;
    uint64_t max = base_load_rlx(&c->max_entries);
    sync_take(L1_SEG, &c->seg_lock);
    const uint32_t held = base_load_rlx(&c->held);
    const uint64_t idle = (uint64_t)c->free.count + c->parked.count + c->returning;
    sync_drop(L1_SEG, &c->seg_lock);
    if (told != base_load_rlx(&c->entries)) { return "entries that the lanes told differ"; }
    if (wasteful != base_load_rlx(&c->wasteful)) { return "count of wasteful lanes differs"; }
    if (segs != held) { return "sum of held segments differs"; }
    if (base_load_rlx(&a->by_module[BASE_MOD_SEGMENT]) != (segs + idle) * c->seg_bytes) {
        return "segment charge differs";
    }
    if (base_load_rlx(&a->by_module[BASE_MOD_INDEX]) != index) { return "index charge differs"; }
    if (base_load_rlx(&a->by_module[BASE_MOD_OVERFLOW]) != overflow) {
        return "overflow charge differs";
    }
    if ((wrong = l1_runs_audit(c)) != NULL) { return wrong; }
    if ((wrong = l1_shadow_audit(c)) != NULL) { return wrong; }
    if (max != 0 && entries > max) { return "entries exceed max_entries"; }
    if (granted + (uint64_t)base_load_rlx(&c->tickets) != max) { return "tickets differ"; }
    /* Pins may keep a shrunk store above its budget, but nothing grows there. */
    if (base_load_rlx(&a->used) > base_load_rlx(&a->limit) + base_load_rlx(&c->excess_bytes)) {
        return "charges exceed the budget";
    }
    return NULL;
}

BASE_SIZE_END
