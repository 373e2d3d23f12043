/* SPDX-License-Identifier: MIT
 *
 * table_single: limiters that store one word for a key: one token bucket, sliding or fixed window.
 *
 * PICTURE    1 match the fp of a slot      2 its bit 0 set: slow     3 load the word; BUSY: slow
 *            3a load the rules, by state   4 check fp and state again
 *            5 decide                      6 compare-exchange, or check the word again
 *            slow: region lock, search again; found: 3..6; missing: take over a slot
 *            take over: CAS(word, v, BUSY); fp := new; word := decided value, colour + 1
 * INVARIANTS A charge hits the key and the rules it was decided for, or nothing: a rewriter claims
 *            the word with the same compare-exchange and changes the colour.
 *            Under the region lock, calls use max(now, high_water): a key that was dropped as dead
 *            at a later reading is not met at an earlier one.
 * TICKETS    The clock for a give is read after the word, and the exchange is on that word
 *            (op->seen); else the caller looks again. A give takes the region lock and adds to the
 *            sum of given units before its exchange. A take reads the sum before its word.
 * OVERFLOW   For a new key: a free slot, else a dead one, else move one of the eight keys to its
 *            other bucket, else move a neighbour there further; else the policy. LEAST_LOSS evicts
 *            the key with the least debt and counts it.
 * LOCKING    The region lock (LIMIT) for every rewrite; none for a charge. Lock-free, not
 *            wait-free: a failed exchange means that another call on the same key succeeded.
 * LIMITS     Four rewrites of one slot during one stalled check that end in the same value: the
 *            exchange succeeds wrongly.
 * SEE ALSO   README.md in this folder: proof, fill figures, rejected designs. */
#include "limit/limit_int.h"

#define LIMIT_IN_VAIN 15u /* full buckets met before a region is searched in depth again */

typedef struct limit_verdict {
    cellar_err err;
    limit_says says;
    uint64_t wait_ns;
    bool would_deny;
} limit_verdict;

static void limit_narrow_refuse(const limit_op *op, const limit_rule *r, const limit_at *at,
                                uint64_t v, limit_verdict *out)
{
    if (limit_flag(r, CELLAR_RULE_DRY_RUN)) {
        out->would_deny = true;
        out->says.deny = out->says.never = false;
        out->says.retry_ns = 0;
        return;
    }
    out->err = CELLAR_LIMITED;
    if (op->kind == LIMIT_PEEK) { return; }
    if (limit_flag(r, CELLAR_RULE_CHARGE_DENIED)) {
        out->says.next = limit_denied_value(r, at, v, op->cost);
    }
    if (r->ban != 0 && !out->says.never) {
        out->says.next = limit_ban_value(r, at, out->says.next, r->ban / LIMIT_UNITS_NS);
        out->says.retry_ns = limit_max_u64(out->says.retry_ns, r->ban / LIMIT_UNITS_NS);
    }
}

/* Reserve units that the token bucket gains later. */
static void limit_narrow_reserve(const limit_op *op, const limit_rule *r, const limit_at *at,
                                 uint64_t v, limit_verdict *out)
{
    const uint64_t next = limit_max_u64(v, at->u) + op->cost * r->step;
    const uint64_t wait_ns = limit_ns_of(next - at->u - r->reach); /* denied: it is positive */
    if (wait_ns > op->arg || next > at->u + LIMIT_DEBT_MAX) {
        limit_narrow_refuse(op, r, at, v, out);
        return;
    }
    out->says.deny = false;
    out->says.next = next;
    out->wait_ns = wait_ns;
}

static void limit_narrow_decide(const limit_op *op, const limit_rule *r, const limit_at *at,
                                uint64_t v, limit_verdict *out)
{
    out->err = CELLAR_OK;
    out->wait_ns = 0;
    out->would_deny = false;
    switch (op->kind) {
    case LIMIT_TAKE: case LIMIT_PEEK: case LIMIT_RESERVE:
        limit_take_value(r, at, v, op->cost, &out->says);
        if (!out->says.deny) {
            if (op->kind == LIMIT_PEEK) { out->says.next = v; } /* a peek charges nothing */
            return;
        }
        if (op->kind == LIMIT_RESERVE && !out->says.never &&
            limit_algo(r) == CELLAR_RULE_TOKEN_BUCKET) {
            limit_narrow_reserve(op, r, at, v, out);
        } else {
            limit_narrow_refuse(op, r, at, v, out);
        }
        return;
    case LIMIT_CHARGE: out->says.next = limit_charge_value(r, at, v, op->cost); break;
    case LIMIT_REFUND: out->says.next = limit_refund_value(r, at, v, op->cost); break;
    case LIMIT_GIVE:
        out->says.next = limit_give_value(r, at, v, op->cost, op->ticket->stamp[0], op->given);
        break;
    case LIMIT_BAN: out->says.next = limit_ban_value(r, at, v, op->arg); break;
    case LIMIT_PERMIT: case LIMIT_RELEASE: case LIMIT_EXTEND: case LIMIT_EXPIRE:
        out->err = CELLAR_E_INVAL;
        out->says.next = v;
        break;
    }
    out->says.deny = out->says.never = false;
    out->says.retry_ns = 0;
    out->says.now_ns = at->ns;
}

/* Count the decision and fill the result. Call it once, after the decision is stored. */
static cellar_err limit_narrow_tell(cellar_limiter *l, const limit_op *op, const limit_rule *r,
                                    const limit_at *at, limit_verdict *v)
{
    const bool counted = op->kind == LIMIT_TAKE || op->kind == LIMIT_RESERVE;
    if (counted) {
        if (v->err == CELLAR_OK) {
            limit_count(l, LIMIT_ALLOWED, 1);
            if (v->would_deny) { limit_count(l, LIMIT_WOULD_DENY, 1); }
        } else {
            limit_count_denial(l, 0);
        }
    }
    cellar_limiter_result *out = op->result;
    if (out != NULL) {
        limit_show(r, at, v->says.next, &v->says);
        out->allowed = v->err == CELLAR_OK;
        out->would_deny = v->would_deny;
        out->never = v->says.never;
        out->rule = 0;
        out->limit = r->limit;
        out->remaining = v->says.never ? 0 : v->says.remaining;
        out->retry_after_ns = v->says.retry_ns;
        out->reset_after_ns = v->says.reset_ns;
        out->now_ns = v->says.now_ns;
    }
    return v->err;
}

static void limit_narrow_ticket(const cellar_limiter *l, const limit_op *op, uint64_t fp,
                                const limit_slot *s, uint32_t region, uint32_t generation,
                                uint64_t word, bool charged)
{
    limit_ticket *t = op->ticket;
    if (t == NULL || op->kind == LIMIT_GIVE) { return; }
    t->given = op->given;
    t->limiter = l;
    t->fingerprint = fp;
    t->slot = (uint64_t)(s - limit_slot_at(l, 0, 0));
    t->cost = op->cost;
    t->losses = base_load_acq(&l->head[region].losses);
    t->stamp[0] = charged ? word >> 2 : 0;
    t->colour = (uint32_t)(word & LIMIT_COLOUR);
    t->generation = generation;
    t->used = 0;
}

static void limit_narrow_given(limit_head *h, uint64_t fp, limit_op *op)
{
    if (op->ticket == NULL) { return; }
    const uint64_t sum = base_load_acq(limit_given(h, fp));
    op->given = op->kind == LIMIT_GIVE ? sum - op->ticket->given : sum;
}

/* Tell whether the take of the ticket can still be part of this word. */
static bool limit_narrow_valid(const cellar_limiter *l, const limit_op *op, const limit_slot *s,
                               uint32_t region, uint32_t generation, uint64_t word)
{
    const limit_ticket *t = op->ticket;
    return t->slot == (uint64_t)(s - limit_slot_at(l, 0, 0)) &&
           t->colour == (uint32_t)(word & LIMIT_COLOUR) && t->generation == generation &&
           base_load_acq(&l->head[region].losses) - (uint32_t)t->losses < 4;
}

static limit_slot *limit_narrow_find(const cellar_limiter *l, const limit_place *p, uint64_t fp,
                                     uint64_t *f)
{
    for (uint32_t b = 0; b < 2; b++) {
        limit_slot *s = limit_slot_at(l, p->bucket[b], 0);
        for (uint32_t way = 0; way < LIMIT_WAYS; way++) {
            *f = base_load_acq(&s[way].fp);
            if ((*f ^ fp) <= 1) { return &s[way]; }
        }
    }
    return NULL;
}

/* ---- taking a slot over; region lock held ---- */

typedef struct limit_scan { /* the eight slots of a key, or the four of a bucket */
    limit_slot *slot;
    uint64_t word;
} limit_scan;

static bool limit_narrow_claim(limit_slot *s, uint64_t word)
{
    BASE_POINT("limit.claim");
    if (BASE_MUTANT("limit.evict_by_store")) { return true; }
    return base_cas_ar(&s->word, word, LIMIT_BUSY);
}

/* Find a free or dead slot of this bucket; *vacant counts them. */
static bool limit_narrow_vacancy(const cellar_limiter *l, uint32_t bucket, const limit_rule *r,
                                 const limit_at *at, limit_scan *out, uint32_t *vacant)
{
    *vacant = 0;
    limit_slot *s = limit_slot_at(l, bucket, 0);
    for (uint32_t way = 0; way < LIMIT_WAYS; way++) {
        const uint64_t w = base_load_acq(&s[way].word);
        const bool is_free = base_load_acq(&s[way].fp) == 0;
        if (w == LIMIT_BUSY || (!is_free && !limit_dead(r, at, w >> 2))) { continue; }
        if (*vacant == 0 || is_free) {
            out->slot = &s[way];
            out->word = w;
        }
        (*vacant)++;
    }
    return *vacant > 0;
}

static void limit_narrow_forgot(limit_head *h, const limit_slot *s, const limit_at *at)
{
    if (base_load_rlx(&s->fp) == 0) { return; }
    base_store_rlx(&h->dead_replaced, base_load_rlx(&h->dead_replaced) + 1);
    if (!BASE_MUTANT("limit.no_high_water")) {
        h->high_water = limit_max_u64(h->high_water, at->ns);
    }
}

/* Move the key of `from`, in bucket `here`, to its other bucket if that has room. The slot is then
 * claimed; *word is its former word. */
static bool limit_narrow_carry(cellar_limiter *l, limit_head *h, limit_slot *from, uint32_t here,
                               const limit_rule *r, const limit_at *at, uint64_t *word)
{
    const uint64_t f = base_load_acq(&from->fp);
    limit_place q;
    limit_scan to;
    uint32_t vacant;
    limit_place_of(l, f & ~(uint64_t)1, &q);
    const uint32_t other = q.bucket[0] == here ? q.bucket[1] : q.bucket[0];
    if (other == here || !limit_narrow_vacancy(l, other, r, at, &to, &vacant)) { return false; }
    const uint64_t w = base_load_acq(&from->word);
    if (!limit_narrow_claim(from, w)) { return false; }
    if (!limit_narrow_claim(to.slot, to.word)) {
        base_store_rel(&from->word, w); /* unchanged: a check that comes now is right */
        return false;
    }
    limit_narrow_forgot(h, to.slot, at);
    BASE_POINT("limit.move.fp");
    base_store_rel(&to.slot->fp, f);
    BASE_POINT("limit.move.word");
    base_store_rel(&to.slot->word, limit_word(w >> 2, limit_next_colour(to.word)));
    base_store_rlx(&h->moved, base_load_rlx(&h->moved) + 1);
    *word = w;
    return true;
}

/* Move one of the eight keys to its other bucket, and claim its slot. */
static bool limit_narrow_move(cellar_limiter *l, limit_head *h, const limit_place *p,
                              const limit_rule *r, const limit_at *at, limit_scan *out)
{
    for (uint32_t i = 0; i < 2 * LIMIT_WAYS; i++) {
        const uint32_t here = p->bucket[i / LIMIT_WAYS];
        out->slot = limit_slot_at(l, here, i % LIMIT_WAYS);
        if (limit_narrow_carry(l, h, out->slot, here, r, at, &out->word)) { return true; }
    }
    return false;
}

/* Make room in one of the buckets that the eight keys could move to: move a neighbour there
 * further. After a failure, skip the next LIMIT_IN_VAIN tries: in a flood every region is full. */
static bool limit_narrow_push(cellar_limiter *l, limit_head *h, const limit_place *p,
                              const limit_rule *r, const limit_at *at)
{
    if (h->in_vain > 0) {
        h->in_vain--;
        return false;
    }
    for (uint32_t i = 0; i < 2 * LIMIT_WAYS; i++) {
        const uint32_t here = p->bucket[i / LIMIT_WAYS];
        const limit_slot *mine = limit_slot_at(l, here, i % LIMIT_WAYS);
        limit_place q;
        limit_place_of(l, base_load_acq(&mine->fp) & ~(uint64_t)1, &q);
        const uint32_t other = q.bucket[0] == here ? q.bucket[1] : q.bucket[0];
        for (uint32_t way = 0; way < LIMIT_WAYS; way++) {
            limit_slot *s = limit_slot_at(l, other, way);
            uint64_t w;
            if (!limit_narrow_carry(l, h, s, other, r, at, &w)) { continue; }
            base_store_rel(&s->fp, (uint64_t)0);
            base_store_rel(&s->word, limit_word(0, limit_next_colour(w)));
            return true;
        }
    }
    h->in_vain = LIMIT_IN_VAIN;
    return false;
}

/* Claim the live key with the least debt, if that is below `most`. Return false if the policy
 * evicts no key or another call charged it meanwhile; out->slot NULL: each key has more debt. */
static bool limit_narrow_least(const cellar_limiter *l, limit_head *h, const limit_place *p,
                               const limit_rule *r, const limit_at *at, uint64_t most,
                               limit_scan *out)
{
    uint64_t least = most;
    out->slot = NULL;
    for (uint32_t i = 0; i < 2 * LIMIT_WAYS; i++) {
        limit_slot *s = limit_slot_at(l, p->bucket[i / LIMIT_WAYS], i % LIMIT_WAYS);
        const uint64_t w = base_load_acq(&s->word);
        const uint64_t debt = limit_debt(r, at, w >> 2);
        if (debt >= least) { continue; }
        least = debt;
        out->slot = s;
        out->word = w;
    }
    if (out->slot == NULL || l->overflow != CELLAR_OVERFLOW_LEAST_LOSS ||
        !limit_narrow_claim(out->slot, out->word)) {
        return false;
    }
    base_store_rlx(&h->live_evicted, base_load_rlx(&h->live_evicted) + 1);
    limit_lost(h);
    return true;
}

/* Claim a slot for a new key, if needed that of a key with less debt than `most`. Return false if
 * there is none or the policy forbids it. */
static bool limit_narrow_room(cellar_limiter *l, limit_head *h, const limit_place *p,
                              const limit_rule *r, const limit_at *at, uint64_t most,
                              limit_scan *out)
{
    for (;;) {
        limit_scan a, b;
        uint32_t in_a, in_b;
        const bool have_a = limit_narrow_vacancy(l, p->bucket[0], r, at, &a, &in_a);
        const bool have_b = limit_narrow_vacancy(l, p->bucket[1], r, at, &b, &in_b);
        if (have_a || have_b) {
            *out = in_a >= in_b ? a : b;
            if (!limit_narrow_claim(out->slot, out->word)) { continue; }
            limit_narrow_forgot(h, out->slot, at);
            return true;
        }
        if (limit_narrow_move(l, h, p, r, at, out)) { return true; }
        if (limit_narrow_push(l, h, p, r, at)) { continue; }
        if (limit_narrow_least(l, h, p, r, at, most, out)) { return true; }
        if (out->slot == NULL || l->overflow != CELLAR_OVERFLOW_LEAST_LOSS) { return false; }
    }
}

CELLAR_PRIVATE void limit_narrow_seat(cellar_limiter *l, uint64_t fp, const limit_rule *r,
                                      const limit_at *at, uint64_t value)
{
    limit_place p;
    limit_scan room;
    if (limit_dead(r, at, value)) { return; }
    limit_place_of(l, fp, &p);
    limit_head *h = &l->head[p.region];
    sync_take(LIMIT, &h->lock);
    if (limit_narrow_room(l, h, &p, r, at, limit_debt(r, at, value), &room)) {
        base_store_rel(&room.slot->fp, fp);
        base_store_rel(&room.slot->word, limit_word(value, limit_next_colour(room.word)));
    } else {
        base_store_rlx(&h->live_evicted, base_load_rlx(&h->live_evicted) + 1);
    }
    sync_drop(LIMIT, &h->lock);
}

/* Decide for a new key without a slot. `least` is the word that is dead first. */
static void limit_narrow_full(cellar_limiter *l, const limit_rule *r, const limit_at *at,
                              uint64_t least, limit_verdict *out)
{
    out->says.next = 0;
    if (l->overflow == CELLAR_OVERFLOW_ALLOW_NEW) {
        limit_count(l, LIMIT_OVERFLOW_ALLOWED, 1);
        return;
    }
    limit_count(l, LIMIT_OVERFLOW_DENIED, 1);
    limit_show(r, at, least >> 2, &out->says);
    out->err = CELLAR_LIMITED;
    out->says.retry_ns = limit_max_u64(out->says.reset_ns, 1);
}

typedef struct limit_slow { /* state of the slow path */
    limit_head *head;
    limit_place place;
    uint32_t generation;
    limit_rule base, rule; /* rule of the limiter; rule of the key */
    limit_at at;
    bool side;             /* the key has a record in the side table */
} limit_slow;

static cellar_err limit_narrow_insert(cellar_limiter *l, uint64_t fp, limit_op *op, limit_slow *s)
{
    limit_verdict v;
    limit_scan room = { NULL, 0 };
    limit_narrow_decide(op, &s->rule, &s->at, 0, &v);
    /* Only a value that must be kept takes a slot. */
    const bool nothing = op->cost == 0 && op->kind != LIMIT_BAN;
    if (nothing || op->kind == LIMIT_PEEK || op->kind == LIMIT_REFUND || op->kind == LIMIT_GIVE ||
        v.says.next == 0) {
        return limit_narrow_tell(l, op, &s->rule, &s->at, &v);
    }
    if (!limit_narrow_room(l, s->head, &s->place, &s->base, &s->at, UINT64_MAX, &room)) {
        limit_narrow_full(l, &s->base, &s->at, room.word, &v);
        if (v.err == CELLAR_OK && op->ticket != NULL) { op->ticket->limiter = NULL; }
        if (op->kind == LIMIT_CHARGE || op->kind == LIMIT_BAN) { return CELLAR_E_LIMIT; }
        return limit_narrow_tell(l, op, &s->rule, &s->at, &v);
    }
    const uint64_t word = limit_word(v.says.next, limit_next_colour(room.word));
    BASE_POINT("limit.insert.fp");
    base_store_rel(&room.slot->fp, fp | s->side);
    BASE_POINT("limit.insert.word");
    base_store_rel(&room.slot->word, word);
    if (v.err == CELLAR_OK) {
        limit_narrow_ticket(l, op, fp, room.slot, s->place.region, s->generation, word,
                            !v.would_deny);
    }
    op->wait_ns = v.wait_ns;
    return limit_narrow_tell(l, op, &s->rule, &s->at, &v);
}

/* Run the operation on a key with a slot. Other calls may charge it at the same time. */
static cellar_err limit_narrow_found(cellar_limiter *l, uint64_t fp, limit_op *op, limit_slow *s,
                                     limit_slot *slot)
{
    limit_verdict v;
    for (;;) {
        const uint64_t w = base_load_acq(&slot->word);
        BASE_ASSERT(w != LIMIT_BUSY); /* only the holder of the lock rewrites */
        limit_narrow_decide(op, &s->rule, &s->at, w >> 2, &v);
        if (op->kind == LIMIT_GIVE) {
            if (!limit_narrow_valid(l, op, slot, s->place.region, s->generation, w)) {
                return CELLAR_OK;
            }
            if ((w != op->seen[0] || limit_gave_since(op, s->head)) &&
                !BASE_MUTANT("limit.give_unseen")) {
                return CELLAR_PENDING;
            }
            limit_gives(s->head, fp, op,
                        limit_parts_back(&s->rule, w >> 2, v.says.next),
                        w >> 2 == op->ticket->stamp[0]);
        }
        const uint64_t to = limit_word(v.says.next, w);
        BASE_POINT("limit.slow.cas");
        if (op->kind != LIMIT_PEEK && to != w && !base_cas_ar(&slot->word, w, to)) { continue; }
        limit_gave(s->head, op);
        if (v.err == CELLAR_OK) {
            limit_narrow_ticket(l, op, fp, slot, s->place.region, s->generation, to,
                                !v.would_deny);
        }
        op->wait_ns = v.wait_ns;
        return limit_narrow_tell(l, op, &s->rule, &s->at, &v);
    }
}

/* Clear bit 0 of a slot that has no record in the side table any more. */
static void limit_narrow_unmark(limit_slot *slot, uint64_t fp)
{
    uint64_t w;
    do { w = base_load_acq(&slot->word); } while (!limit_narrow_claim(slot, w));
    base_store_rel(&slot->fp, fp);
    base_store_rel(&slot->word, limit_word(w >> 2, limit_next_colour(w)));
}

static cellar_err limit_narrow_banned(cellar_limiter *l, const limit_op *op, const limit_slow *s,
                                      uint64_t until_ns)
{
    if (op->kind == LIMIT_TAKE || op->kind == LIMIT_RESERVE) { limit_count_denial(l, UINT32_MAX); }
    if (op->result != NULL) {
        const cellar_limiter_result r = { 0, 0, 0, CELLAR_RULE_BAN, s->rule.limit, 0,
                                     until_ns - s->at.ns, until_ns - s->at.ns, s->at.ns };
        *op->result = r;
    }
    return CELLAR_LIMITED;
}

static cellar_err limit_narrow_held(cellar_limiter *l, uint64_t fp, uint64_t now_ns, limit_op *op,
                                    limit_slow *s) SYNC_HOLDS(LIMIT)
{
    const _Atomic uint64_t *set;
    const uint64_t state = base_load_acq(&l->state);
    limit_narrow_given(s->head, fp, op); /* constant: a give holds this lock */
    (void)limit_set_of(l, state, s->place.region, true, &set);
    now_ns = limit_since(set, limit_max_u64(now_ns, s->head->high_water));
    s->generation = (uint32_t)(state >> 32);
    limit_rule_load(set, 0, &s->base);
    s->rule = op->own_count != 0 ? op->own[0] : s->base;
    limit_at_of(l, &s->rule, now_ns, limit_units_at(set, now_ns), &s->at);
    uint64_t f, until_ns = 0;
    bool has_plan = false;
    limit_slot *slot = limit_narrow_find(l, &s->place, fp, &f);
    limit_rule own[LIMIT_RULES];
    s->side = base_load_acq(&l->over_count) != 0 &&
              limit_over_get(l, fp, own, &has_plan, &until_ns);
    if (has_plan && op->own_count == 0) { s->rule = own[0]; }
    const bool decides = op->kind == LIMIT_TAKE || op->kind == LIMIT_PEEK ||
                         op->kind == LIMIT_RESERVE;
    if (until_ns > now_ns && decides) { return limit_narrow_banned(l, op, s, until_ns); }
    if (s->side && until_ns != 0 && until_ns <= now_ns &&
        limit_over_trim(l, fp, now_ns, false)) {
        s->side = false;
    }
    if (slot == NULL) { return limit_narrow_insert(l, fp, op, s); }
    if ((f & 1) != 0 && !s->side) {
        limit_lost(s->head);
        limit_narrow_unmark(slot, fp);
    }
    return limit_narrow_found(l, fp, op, s, slot);
}

BASE_COLD static cellar_err limit_narrow_slow(cellar_limiter *l, uint64_t fp, uint64_t now_ns,
                                              limit_op *op, const limit_place *p)
{
    limit_slow s = { .place = *p, .head = &l->head[p->region] };
    if (op->callers_clock) {
        const uint64_t clock = limit_now(l);
        if (now_ns > clock && now_ns - clock > LIMIT_AHEAD_NS) { return CELLAR_E_CLOCK; }
    }
    limit_rebase(l, now_ns);
    sync_take(LIMIT, &s.head->lock);
    const cellar_err err = limit_narrow_held(l, fp, now_ns, op, &s);
    sync_drop(LIMIT, &s.head->lock);
    return err;
}

/* Return a mask of the slots that match. A mask has no branch: the place of a key is random. */
BASE_ALWAYS_INLINE uint32_t limit_narrow_match(const limit_slot *s, uint64_t fp)
{
    uint32_t m = 0;
    for (uint32_t way = 0; way < LIMIT_WAYS; way++) {
        m |= (uint32_t)(base_load_acq(&s[way].fp) == fp) << way;
    }
    return m;
}

/* Tell whether a word changed. A denial writes nothing, so no exchange fails: the key may have lost
 * its slot and returned since, with a word of another key in between (model DENIES_UNCONFIRMED). */
BASE_ALWAYS_INLINE bool limit_narrow_moved_on(const limit_slot *s, uint64_t word)
{
    BASE_POINT("limit.confirm");
    return base_load_acq(&s->word) != word;
}

static void limit_narrow_quick_result(const limit_rule *r, const limit_at *at, uint64_t v,
                                      uint64_t retry_ns, bool yes, cellar_limiter_result *out)
{
    limit_says says;
    limit_show(r, at, v, &says);
    const cellar_limiter_result told = { yes, 0, 0, 0, r->limit, says.remaining, retry_ns,
                                    says.reset_ns, at->ns };
    *out = told;
}

/* Run steps 1 to 6 of PICTURE for token buckets alone. */
CELLAR_PRIVATE bool limit_narrow_quick(cellar_limiter *l, uint64_t fp, uint64_t now_ns,
                                       uint64_t cost, cellar_limiter_result *result,
                                       cellar_err *err)
{
    limit_place p;
    limit_place_of(l, fp, &p);
    BASE_POINT("limit.find");
    limit_slot *s = (limit_slot *)(void *)l->table + (size_t)p.bucket[0] * LIMIT_WAYS;
    uint32_t match = limit_narrow_match(s, fp);
    if (match == 0) {
        s = (limit_slot *)(void *)l->table + (size_t)p.bucket[1] * LIMIT_WAYS;
        match = limit_narrow_match(s, fp);
        if (BASE_UNLIKELY(match == 0)) { return false; }
    }
    s += __builtin_ctz(match);
    for (;;) {
        limit_rule r;
        BASE_POINT("limit.word");
        const uint64_t w = base_load_acq(&s->word); /* release in every rewriter */
        BASE_POINT("limit.rules");
        const uint64_t state = base_load_acq(&l->state);
        if (BASE_UNLIKELY(w == LIMIT_BUSY || p.region >= (uint32_t)state)) { return false; }
        const _Atomic uint64_t *set = l->set[state >> 32 & 1];
        limit_rule_load(set, 0, &r);
        const uint64_t units = limit_units_at(set, now_ns);
        base_fence_acq(); /* the rules are read before the state is asked again */
        BASE_POINT("limit.again");
        if (BASE_UNLIKELY(base_load_acq(&l->state) != state || units - 1 >= LIMIT_LATE - 1 ||
                          (base_load_acq(&s->fp) != fp &&
                           !BASE_MUTANT("limit.no_second_fp_read")) ||
                          (r.kind & ~(uint64_t)(CELLAR_RULE_STRICT << 8)) !=
                          CELLAR_RULE_TOKEN_BUCKET ||
                          r.ban != 0 || r.limit == 0 || cost > r.burst)) {
            return false;
        }
        const limit_at at = { units, now_ns, 0, 0, 0 };
        const uint64_t v = w >> 2, t = limit_max_u64(v, units), next = t + cost * r.step;
        if (next - units > r.reach) {
            if (limit_narrow_moved_on(s, w)) { continue; }
            limit_count_denial(l, 0);
            *err = CELLAR_LIMITED;
            if (result != NULL) {
                limit_narrow_quick_result(&r, &at, v, limit_ns_of(next - units - r.reach), false,
                                          result);
            }
            return true;
        }
        BASE_POINT("limit.cas");
        if (cost != 0 && !base_cas_ar(&s->word, w, limit_word(next, w))) { continue; }
        limit_count(l, LIMIT_ALLOWED, 1);
        *err = CELLAR_OK;
        if (result != NULL) { limit_narrow_quick_result(&r, &at, next, 0, true, result); }
        return true;
    }
}

CELLAR_PRIVATE cellar_err limit_narrow_run(cellar_limiter *l, uint64_t fp, uint64_t now_ns,
                                           limit_op *op)
{
    limit_place p;
    limit_verdict v;
    limit_rule r;
    limit_at at;
    uint64_t f = 0;
    limit_place_of(l, fp, &p);
    BASE_POINT("limit.find");
    limit_slot *slot = limit_narrow_find(l, &p, fp, &f);
    if (slot == NULL || (f & 1) != 0 || op->kind == LIMIT_GIVE) {
        return limit_narrow_slow(l, fp, now_ns, op, &p);
    }
    for (;;) {
        const _Atomic uint64_t *set;
        limit_narrow_given(&l->head[p.region], fp, op);
        BASE_POINT("limit.word");
        const uint64_t w = base_load_acq(&slot->word); /* release in every rewriter */
        BASE_POINT("limit.rules");
        const uint64_t state = base_load_acq(&l->state);
        if (BASE_UNLIKELY(w == LIMIT_BUSY || !limit_set_of(l, state, p.region, false, &set))) {
            break;
        }
        limit_rule_load(set, 0, &r);
        const uint64_t units = limit_units_at(set, now_ns);
        base_fence_acq(); /* the rules are read before the state is asked again */
        BASE_POINT("limit.again");
        if (BASE_UNLIKELY(base_load_acq(&l->state) != state || units >= LIMIT_LATE)) { break; }
        if (base_load_acq(&slot->fp) != f && !BASE_MUTANT("limit.no_second_fp_read")) { break; }
        if (op->own_count != 0) { r = op->own[0]; }
        limit_at_of(l, &r, limit_since(set, now_ns), units, &at);
        limit_narrow_decide(op, &r, &at, w >> 2, &v);
        const uint64_t to = limit_word(v.says.next, w);
        BASE_POINT("limit.cas");
        if (op->kind == LIMIT_PEEK || to == w) {
            if (limit_narrow_moved_on(slot, w)) { continue; }
        } else if (!base_cas_ar(&slot->word, w, to)) {
            continue;
        }
        if (v.err == CELLAR_OK) {
            limit_narrow_ticket(l, op, fp, slot, p.region, (uint32_t)(state >> 32), to,
                                !v.would_deny);
        }
        op->wait_ns = v.wait_ns;
        return limit_narrow_tell(l, op, &r, &at, &v);
    }
    return limit_narrow_slow(l, fp, now_ns, op, &p);
}
