/* SPDX-License-Identifier: MIT
 *
 * slots: claim and rewrite slots; make room for new keys.
 *
 * PICTURE    take over: CAS(word 0, v, BUSY); other words := BUSY; fp := new; words, colour + 1
 * INVARIANTS A reader of a word of the new key sees the new fp; a reader of the new fp sees BUSY or
 *            new words. Charges of a single word are exchanges on that word, so the exchange that
 *            claims it comes before or after each of them.
 *            Under the region lock, calls use max(now, high_water): a key that was dropped as dead
 *            at a later reading is not met at an earlier one.
 * ROOM       For a new key: a free slot, else a dead one, else move one of the eight keys to its
 *            other bucket, else move a neighbour there further; else the policy. LEAST_LOSS evicts
 *            the key with the least loss and counts it. The loss is the debt, or with several words
 *            the fill of the fullest rule. Banned keys and keys with permits are never evicted.
 * LOCKING    The region lock (LIMIT) for every rewrite. With several words also the locks of both
 *            buckets of the new key; a third and a fourth bucket by trying.
 * SEE ALSO   README.md in this folder: proof, fill figures, rejected designs. */
#include "limit/slots.h"

#include "limit/calendar.h"
#include "limit/overrides.h"

#define LIMIT_IN_VAIN 15u /* full buckets met before a region is searched in depth again */

CELLAR_PRIVATE uint64_t limit_value_of(const cellar_limiter *l, const limit_moment *m,
                                       limit_slot *s, uint32_t i)
{
    const uint64_t v = base_load_acq(limit_word_at(s, i)) >> 2;
    if (!l->multi || l->algorithm[i] != CELLAR_RULE_TOKEN_BUCKET) { return v; }
    const uint64_t end = base_load_acq(limit_word_at(s, l->rule_count)) >> 2;
    return end == 0 || end > m->units ? v : limit_after_ban(&m->rule[i], end, v);
}

CELLAR_PRIVATE void limit_show_rule(const cellar_limiter *l, const limit_moment *m, limit_slot *s,
                                    uint32_t i, uint64_t v, limit_verdict *out)
{
    const limit_rule *r = &m->rule[i];
    if (limit_algo(r) == CELLAR_RULE_SLIDING_LOG) {
        limit_ring_show(r, &m->at[i], limit_ring_of(l, s, i), v, out);
    } else if (limit_algo(r) == CELLAR_RULE_CONCURRENCY) {
        out->remaining = r->limit - limit_min_u64(r->limit, limit_permits_out(v));
        out->reset_ns = 0;
    } else {
        limit_show(r, &m->at[i], v, out);
    }
}

/* ---- rewriting a slot ---- */

static bool limit_claim(limit_slot *s, uint64_t word)
{
    BASE_POINT("limit.claim");
    return base_cas_ar(&s->word, word, LIMIT_BUSY);
}

BASE_SIZE_BEGIN

CELLAR_PRIVATE uint64_t limit_seize(limit_slot *s)
{
    uint64_t w;
    do {
        BASE_POINT("limit.seize");
        w = base_load_acq(&s->word);
    } while (!base_cas_ar(&s->word, w, LIMIT_BUSY));
    return w;
}

CELLAR_PRIVATE void limit_rewrite(cellar_limiter *l, limit_slot *s, uint64_t f, limit_word_fn fn,
                                  void *ctx)
{
    const uint64_t first = limit_seize(s), colour = limit_next_colour(first);
    BASE_POINT("limit.rewrite.fp");
    base_store_rel(&s->fp, f);
    for (uint32_t i = l->words; i-- > 0;) {
        _Atomic uint64_t *word = limit_word_at(s, i);
        const uint64_t v = (i == 0 ? first : base_load_rlx(word)) >> 2;
        base_store_rel(word, LIMIT_BUSY);
        base_fence_rel();
        const uint64_t to = fn(l, s, i, v, ctx);
        BASE_POINT("limit.rewrite.word");
        base_store_rel(word, limit_word(to, colour));
    }
}

CELLAR_PRIVATE void limit_region_each(cellar_limiter *l, uint32_t region,
                                      void (*fn)(cellar_limiter *l, limit_slot *s, void *ctx),
                                      void *ctx)
{
    for (uint32_t b = 0; b < l->region_buckets; b++) {
        const uint32_t bucket = region * l->region_buckets + b;
        limit_slot *s = limit_slot_at(l, bucket, 0);
        limit_bucket_take(l, bucket);
        for (uint32_t way = 0; way < LIMIT_WAYS; way++, s = limit_slot_next(l, s)) {
            if (base_load_rlx(&s->fp) != 0) { fn(l, s, ctx); }
        }
        limit_bucket_drop(l, bucket);
    }
}

CELLAR_PRIVATE const _Atomic uint64_t *limit_bucket_open(cellar_limiter *l, uint32_t bucket,
                                                         const limit_rule *own, uint64_t now_ns,
                                                         limit_moment *m)
{
    const uint32_t region = bucket / l->region_buckets;
    sync_take(LIMIT, &l->head[region].lock);
    limit_bucket_take(l, bucket);
    const _Atomic uint64_t *set = limit_set_of(l, base_load_acq(&l->state), region);
    limit_moment_of(l, set, own, now_ns, m);
    return set;
}

CELLAR_PRIVATE void limit_bucket_close(cellar_limiter *l, uint32_t bucket)
{
    limit_bucket_drop(l, bucket);
    sync_drop(LIMIT, &l->head[bucket / l->region_buckets].lock);
}

BASE_SIZE_END

CELLAR_PRIVATE void limit_fill(const cellar_limiter *l, const limit_room *to, uint64_t f,
                               uint64_t first, limit_slot *from)
{
    limit_slot *s = to->slot;
    const uint64_t colour = limit_next_colour(to->word);
    for (uint32_t i = 1; i < l->words; i++) { base_store_rel(limit_word_at(s, i), LIMIT_BUSY); }
    BASE_POINT("limit.fill.fp");
    base_store_rel(&s->fp, f);
    if (l->multi) { base_fence_rel(); } /* the words are BUSY before a cell of a log changes */
    for (uint32_t i = l->words; from != NULL && i < l->slot_bytes / 8 - 1; i++) {
        base_store_rlx(limit_word_at(s, i), base_load_rlx(limit_word_at(from, i)));
    }
    for (uint32_t i = 1; i < l->words; i++) {
        const uint64_t v = from != NULL ? base_load_rlx(limit_word_at(from, i)) >> 2 : 0;
        base_store_rel(limit_word_at(s, i), limit_word(v, colour));
    }
    BASE_POINT("limit.fill.word");
    base_store_rel(&s->word, limit_word(first, colour));
}

BASE_SIZE_BEGIN

/* ---- keys with tickets ---- */

CELLAR_PRIVATE limit_taken *limit_taken_find(limit_head *h, uint64_t fp)
{
    for (uint64_t i = 0; i < LIMIT_TAKEN; i++) {
        limit_taken *t = &h->taken[((fp >> 1) + i) % LIMIT_TAKEN];
        const uint64_t f = base_load_acq(&t->fp); /* release in limit_taken_make */
        if (f == fp) { return t; }
        if (f == 0) { break; } /* a record is never free again */
    }
    return NULL;
}

CELLAR_PRIVATE void limit_taken_make(limit_head *h, uint64_t fp, uint64_t now_ns)
{
    limit_taken *to = NULL;
    if (limit_taken_find(h, fp) != NULL) { return; }
    for (uint64_t i = 0; i < LIMIT_TAKEN; i++) {
        limit_taken *t = &h->taken[((fp >> 1) + i) % LIMIT_TAKEN];
        const bool vacant = base_load_rlx(&t->fp) == 0;
        if (vacant || to == NULL || base_load_rlx(&t->last_ns) < base_load_rlx(&to->last_ns)) {
            to = t;
        }
        if (vacant) { break; }
    }
    base_store_rel(&to->fp, (uint64_t)1); /* a take may read the fields: life belongs to one key */
    base_store_rel(&to->life, ++h->lives);
    base_store_rel(&to->given, (uint64_t)0);
    base_store_rlx(&to->last_ns, now_ns);
    base_store_rel(&to->fp, fp);
}

CELLAR_PRIVATE void limit_lost(limit_head *h, uint64_t fp)
{
    limit_taken *t = limit_taken_find(h, fp);
    base_store_rel(&h->losses, base_load_rlx(&h->losses) + 1);
    if (t != NULL) { base_store_rel(&t->life, ++h->lives); }
}

CELLAR_PRIVATE void limit_lost_all(cellar_limiter *l, limit_head *h, bool plans)
{
    limit_rule plan[LIMIT_RULES];
    base_store_rel(&h->losses, base_load_rlx(&h->losses) + 1);
    for (uint32_t i = 0; i < LIMIT_TAKEN; i++) {
        limit_taken *t = &h->taken[i];
        const uint64_t fp = base_load_rlx(&t->fp);
        if (fp == 0 || (!plans && limit_plan_of(l, fp, plan))) { continue; }
        base_store_rel(&t->life, ++h->lives);
    }
}

/* ---- the loss of evicting a key ---- */

/* Return the fill of a rule in 2^-20, from 1; 0: the key has no debt in it; UINT64_MAX: it may not
 * be evicted. */
static uint64_t limit_fill_of(const cellar_limiter *l, const limit_moment *m, limit_slot *s,
                              uint32_t i, uint64_t v)
{
    limit_moment here;
    limit_verdict says;
    limit_rule *r = &here.rule[i];
    uint64_t used, of;
    const uint32_t algo = limit_algo(&m->rule[i]);
    if (algo == CELLAR_RULE_CONCURRENCY) { return limit_permits_out(v) > 0 ? UINT64_MAX : 0; }
    *r = m->rule[i];
    here.at[i] = m->at[i];
    if (algo == CELLAR_RULE_TOKEN_BUCKET) {
        used = limit_debt(r, &m->at[i], v);
        if (used == 0) { return 0; }
        used = limit_max_u64(used >> 20, 1);
        of = limit_max_u64(r->reach >> 20, 1);
    } else {
        if (algo == CELLAR_RULE_SLIDING_LOG) {
            r->step = limit_window_of(l, r, i);
            r->limit = l->ring[i];
        } else if (limit_debt(r, &m->at[i], v) == 0) {
            return 0;
        }
        limit_show_rule(l, &here, s, i, v, &says);
        used = r->limit - says.remaining;
        if (algo != CELLAR_RULE_SLIDING_LOG) { used = limit_max_u64(used, 1); }
        of = limit_max_u64(m->rule[i].limit, 1);
    }
    if (used == 0) { return 0; }
    return used >> 43 != 0 ? UINT64_MAX - 1 : limit_max_u64((used << 20) / of, 1);
}

/* Return the fill of the fullest rule of a key; UINT64_MAX: never evict. */
BASE_NOINLINE static uint64_t limit_fullest(const cellar_limiter *l, const limit_moment *m,
                                            limit_slot *s)
{
    uint64_t most = 0;
    if (base_load_rlx(limit_word_at(s, l->rule_count)) >> 2 > m->units) { return UINT64_MAX; }
    for (uint32_t i = 0; i < l->rule_count; i++) {
        most = limit_max_u64(most, limit_fill_of(l, m, s, i, limit_value_of(l, m, s, i)));
    }
    return most;
}

BASE_SIZE_END

CELLAR_PRIVATE uint64_t limit_loss(const cellar_limiter *l, const limit_moment *m, limit_slot *s,
                                   uint64_t w)
{
    if (base_load_acq(&s->fp) == 0) { return 0; }
    return l->multi ? limit_fullest(l, m, s) : limit_debt(&m->rule[0], &m->at[0], w >> 2);
}

/* ---- room for a new key ---- */

/* Find a free or dead slot of this bucket; return the number of them. */
static uint32_t limit_vacancy(const cellar_limiter *l, uint32_t bucket, const limit_moment *m,
                              limit_room *out)
{
    uint32_t vacant = 0;
    for (uint32_t way = 0; way < LIMIT_WAYS; way++) {
        limit_slot *s = limit_slot_at(l, bucket, way);
        const uint64_t w = base_load_acq(&s->word);
        if (w == LIMIT_BUSY || limit_loss(l, m, s, w) != 0) { continue; }
        if (vacant++ == 0 || base_load_acq(&s->fp) == 0) {
            out->slot = s;
            out->word = w;
        }
    }
    return vacant;
}

/* Count the key that the new tenant of a claimed slot replaces. */
static void limit_forgot(cellar_limiter *l, limit_head *h, const limit_slot *s,
                         const limit_moment *m)
{
    if (base_load_rlx(&s->fp) == 0) { return; }
    limit_count(l, STATS_LIMITER_DEAD_REPLACED, 1);
    h->high_water = limit_max_u64(h->high_water, m->now_ns);
}

/* Return the other bucket of the key of a slot in bucket `here`. */
static uint32_t limit_other(const cellar_limiter *l, const limit_slot *s, uint32_t here)
{
    limit_place q;
    limit_place_of(l, base_load_acq(&s->fp) & ~(uint64_t)1, &q);
    return q.bucket[q.bucket[0] == here];
}

/* Try to take the lock of a bucket that a key from `here` may move to. Return false for the buckets
 * of the new key `p`, which are full, and if a running save has one of both. */
static bool limit_third_take(cellar_limiter *l, const limit_place *p, uint32_t here,
                             uint32_t bucket) SYNC_UNCHECKED
{
    const uint32_t saved = base_load_rlx(&l->saved);
    if (bucket == p->bucket[0] || bucket == p->bucket[1]) { return false; }
    if ((here < saved) != (bucket < saved)) { return false; }
    return !l->multi || sync_try(LIMIT_BUCKET, &l->bucket_lock[bucket]);
}

static void limit_third_drop(cellar_limiter *l, uint32_t bucket) SYNC_UNCHECKED
{
    limit_bucket_drop(l, bucket);
}

/* Move the key of out->slot, in bucket `here`, to its other bucket if that has room. The slot is
 * then claimed. */
static bool limit_carry(cellar_limiter *l, const limit_place *p, const limit_moment *m,
                        uint32_t here, limit_room *out)
{
    limit_room to;
    limit_slot *from = out->slot;
    limit_head *h = &l->head[p->region];
    const uint64_t f = base_load_acq(&from->fp);
    const uint32_t other = limit_other(l, from, here);
    if (!limit_third_take(l, p, here, other)) { return false; }
    bool moved = limit_vacancy(l, other, m, &to) != 0;
    if (moved) {
        out->word = base_load_acq(&from->word);
        moved = limit_claim(from, out->word);
        if (moved && !limit_claim(to.slot, to.word)) {
            base_store_rel(&from->word, out->word); /* unchanged: a check that comes now is right */
            moved = false;
        }
    }
    if (moved) {
        limit_forgot(l, h, to.slot, m);
        limit_fill(l, &to, f, out->word >> 2, from);
        limit_count(l, STATS_LIMITER_MOVED, 1);
    }
    limit_third_drop(l, other);
    return moved;
}

/* Move one of the eight keys to its other bucket, and claim its slot. */
static bool limit_move(cellar_limiter *l, const limit_place *p, const limit_moment *m,
                       limit_room *out)
{
    for (uint32_t i = 0; i < 2 * LIMIT_WAYS; i++) {
        const uint32_t here = p->bucket[i / LIMIT_WAYS];
        out->slot = limit_slot_at(l, here, i % LIMIT_WAYS);
        if (limit_carry(l, p, m, here, out)) { return true; }
    }
    return false;
}

/* Make room in one of the buckets that the eight keys could move to: move a neighbour there
 * further. After a failure, skip the next LIMIT_IN_VAIN tries: in a flood every region is full. */
static bool limit_push(cellar_limiter *l, const limit_place *p, const limit_moment *m)
{
    limit_head *h = &l->head[p->region];
    bool pushed = false;
    if (h->in_vain > 0) {
        h->in_vain--;
        return false;
    }
    for (uint32_t i = 0; i < 2 * LIMIT_WAYS && !pushed; i++) {
        const uint32_t here = p->bucket[i / LIMIT_WAYS];
        const uint32_t third = limit_other(l, limit_slot_at(l, here, i % LIMIT_WAYS), here);
        if (!limit_third_take(l, p, here, third)) { continue; }
        for (uint32_t way = 0; way < LIMIT_WAYS && !pushed; way++) {
            limit_room room = { limit_slot_at(l, third, way), 0 };
            pushed = limit_carry(l, p, m, third, &room);
            if (pushed) { limit_fill(l, &room, 0, 0, NULL); }
        }
        limit_third_drop(l, third);
    }
    if (!pushed) { h->in_vain = LIMIT_IN_VAIN; }
    return pushed;
}

/* Find the live key with the least loss, if that is below `most`. Else out->slot is NULL. */
static void limit_least(const cellar_limiter *l, const limit_place *p, const limit_moment *m,
                        uint64_t most, limit_room *out)
{
    out->slot = NULL;
    for (uint32_t i = 0; i < 2 * LIMIT_WAYS; i++) {
        limit_slot *s = limit_slot_at(l, p->bucket[i / LIMIT_WAYS], i % LIMIT_WAYS);
        const uint64_t w = base_load_acq(&s->word), loss = limit_loss(l, m, s, w);
        if (loss >= most) { continue; }
        most = loss;
        out->slot = s;
        out->word = w;
    }
}

CELLAR_PRIVATE bool limit_room_find(cellar_limiter *l, const limit_place *p, const limit_moment *m,
                                    uint64_t most, limit_room *out)
{
    limit_head *h = &l->head[p->region];
    for (;;) {
        limit_room b;
        const uint32_t in_a = limit_vacancy(l, p->bucket[0], m, out);
        const uint32_t in_b = limit_vacancy(l, p->bucket[1], m, &b);
        if (in_a + in_b != 0) {
            if (in_b > in_a) { *out = b; }
            if (!limit_claim(out->slot, out->word)) { continue; }
            limit_forgot(l, h, out->slot, m);
            return true;
        }
        if (limit_move(l, p, m, out)) { return true; }
        if (limit_push(l, p, m)) { continue; }
        limit_least(l, p, m, most, out);
        if (out->slot == NULL || l->overflow != CELLAR_OVERFLOW_LEAST_LOSS) { return false; }
        if (!limit_claim(out->slot, out->word)) { continue; } /* another call charged it */
        limit_count(l, STATS_LIMITER_LIVE_EVICTED, 1);
        limit_lost(h, base_load_rlx(&out->slot->fp) & ~(uint64_t)1);
        return true;
    }
}

CELLAR_PRIVATE void limit_both_take(cellar_limiter *l, const limit_place *p)
{
    limit_bucket_take(l, BASE_MIN(p->bucket[0], p->bucket[1]));
    if (p->bucket[0] != p->bucket[1]) {
        limit_bucket_take(l, BASE_MAX(p->bucket[0], p->bucket[1]));
    }
}

CELLAR_PRIVATE void limit_both_drop(cellar_limiter *l, const limit_place *p)
{
    limit_bucket_drop(l, p->bucket[0]);
    if (p->bucket[0] != p->bucket[1]) { limit_bucket_drop(l, p->bucket[1]); }
}

BASE_SIZE_BEGIN

CELLAR_PRIVATE void limit_seat(cellar_limiter *l, limit_slot *image, const limit_moment *m)
{
    limit_place p;
    limit_room room;
    uint64_t f;
    uint32_t bucket;
    const uint64_t fp = base_load_rlx(&image->fp), word = base_load_rlx(&image->word);
    const uint64_t loss = limit_loss(l, m, image, word);
    if (loss == 0) { return; }
    limit_place_of(l, fp, &p);
    limit_head *h = &l->head[p.region];
    sync_take(LIMIT, &h->lock);
    limit_both_take(l, &p);
    room.slot = limit_find(l, &p, fp, &f, &bucket);
    if (room.slot != NULL) { room.word = limit_seize(room.slot); } /* it came again in the save */
    if (room.slot != NULL || limit_room_find(l, &p, m, loss, &room)) {
        limit_fill(l, &room, fp, word >> 2, image);
    } else {
        limit_count(l, STATS_LIMITER_LIVE_EVICTED, 1);
    }
    limit_both_drop(l, &p);
    sync_drop(LIMIT, &h->lock);
}

BASE_SIZE_END
