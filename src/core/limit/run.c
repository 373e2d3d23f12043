/* SPDX-License-Identifier: MIT
 *
 * run: one operation on one key, with as few locks as its slot allows.
 *
 * PICTURE    1 match the fp of a slot      2 its bit 0 set: locked   3 load the words; BUSY: locked
 *            3a load the rules, by state   4 check fp and state again
 *            5 decide                      6 compare-exchange, or check the words again
 *            One word: 1 to 6 without a lock, else under the region lock. Several words: denials
 *            without a lock; admissions under the bucket lock, all words or none.
 *            New key: region lock, locks of both buckets, room (slots.c), then as a known key.
 * INVARIANTS A charge hits the key and the rules it was decided for, or nothing: a rewriter claims
 *            the first word and changes the colour of all. A writer of several words stores only
 *            after every rule admitted, so a denial that saw half of its stores comes after it. A
 *            rule that denies on its own word decides alone.
 * LOCKING    region (LIMIT) -> buckets (LIMIT_BUCKET) by index -> side. A call that finds its
 *            region in conversion under a bucket lock goes on under the region lock. Charges of one
 *            word are lock-free, not wait-free: a failed exchange means that another call on the
 *            same key succeeded.
 * LIMITS     Four rewrites of one slot during one stalled check that end in the same value: the
 *            exchange succeeds wrongly.
 * SEE ALSO   README.md in this folder: proof. */
#include "limit/run.h"

#include "limit/calendar.h"
#include "limit/convert.h"
#include "limit/decide.h"
#include "limit/overrides.h"
#include "limit/slots.h"

/* ---- a known key ---- */

/* Read what a ticket needs before the words: the life of the key, what others gave back. */
static void limit_taken_load(limit_call *c)
{
    limit_head *h = c->head;
    if (c->op->ticket == NULL) { return; }
    c->losses = base_load_acq(&h->losses);
    c->given = base_load_acq(limit_given(h, c->fp));
    limit_taken *t = limit_taken_find(h, c->fp);
    c->life = t != NULL ? base_load_acq(&t->life) : 0; /* release in limit_lost */
    c->mine = t != NULL ? base_load_acq(&t->given) : 0;
    if (t != NULL) { base_store_rlx(&t->last_ns, c->asked_ns); }
}

/* Load the words without a lock, and the rules that they were written under. Return false if the
 * slot is not that of the key any more, or under change. */
static bool limit_load(cellar_limiter *l, limit_call *c, limit_slot *s, uint64_t f)
{
    BASE_POINT("limit.word");
    for (uint32_t i = 0; i < l->words; i++) {
        c->word[i] = base_load_acq(limit_word_at(s, i)); /* release in every rewriter */
        if (BASE_UNLIKELY(c->word[i] == LIMIT_BUSY)) { return false; }
    }
    BASE_POINT("limit.rules");
    const uint64_t state = base_load_acq(&l->state);
    if (limit_converts(state, c->place.region)) { return false; }
    c->state = state;
    limit_moment_of(l, limit_set_of(l, state, c->place.region), c->op->own, c->asked_ns, &c->m);
    base_fence_acq(); /* the rules are read before the state is asked again */
    BASE_POINT("limit.again");
    return base_load_acq(&l->state) == state && c->m.units < LIMIT_LATE &&
           base_load_acq(&s->fp) == f;
}

/* Tell whether the words are still those of the decision. A denial writes nothing, so no exchange
 * fails: the key may have lost its slot and returned since, with the words of another key in
 * between (mutant limit.denies_unconfirmed). The cells of a log belong to its word. */
static bool limit_confirmed(const cellar_limiter *l, const limit_call *c, limit_slot *s)
{
    base_fence_acq();
    BASE_POINT("limit.confirm");
    for (uint32_t i = 0; i < l->words; i++) {
        if (base_load_acq(limit_word_at(s, i)) != c->word[i]) { return false; }
    }
    return true;
}

/* Run the operation without a lock. Return false, without effect, if it needs one. c->ready: it is
 * computed, and only words of several rules remain to be stored. */
static bool limit_free_run(cellar_limiter *l, limit_call *c, limit_slot *s, uint64_t f)
{
    if ((f & 1) != 0 || c->op->kind >= LIMIT_GIVE) { return false; }
    for (;;) {
        limit_taken_load(c);
        if (!limit_load(l, c, s, f)) { return false; }
        limit_compute(l, c, s);
        c->ready = l->multi && !c->keeps;
        if (c->ready) { return false; }
        if (c->keeps ? limit_confirmed(l, c, s) : limit_store(l, c, s)) { break; }
    }
    limit_tell(l, c, s);
    return true;
}

static void limit_words_load(const cellar_limiter *l, limit_call *c, limit_slot *s)
{
    for (uint32_t i = 0; i < l->words; i++) {
        c->word[i] = base_load_acq(limit_word_at(s, i));
        BASE_ASSERT(c->word[i] != LIMIT_BUSY); /* only holders of the locks rewrite */
    }
}

/* Run the operation on a slot that no other call rewrites. */
static void limit_apply(cellar_limiter *l, limit_call *c, limit_slot *s)
{
    do {
        limit_taken_load(c);
        limit_words_load(l, c, s);
        limit_compute(l, c, s);
    } while (!limit_store(l, c, s));
}

/* Use plan and ban of the key, if it has a record in the side table. Return whether it has one. */
static bool limit_side(cellar_limiter *l, limit_call *c, const _Atomic uint64_t *set, bool *plan)
{
    limit_rule own[LIMIT_RULES];
    uint64_t until_ns;
    *plan = false;
    if (base_load_acq(&l->over_count) == 0 || !limit_over_get(l, c->fp, own, plan, &until_ns)) {
        return false;
    }
    const uint64_t now_ns = c->m.now_ns;
    if (*plan && c->op->own == NULL) { limit_moment_of(l, set, own, now_ns, &c->m); }
    for (uint32_t i = 0; *plan && i < l->rule_count; i++) { /* rules of a call count in its units */
        limit_base_set(&c->m.rule[i], limit_base(&own[i]), own[i].reach);
    }
    c->banned_ns = until_ns > now_ns ? until_ns - now_ns : 0;
    if (until_ns != 0 && until_ns <= now_ns) {
        c->ban_end = limit_max_u64(limit_units_at(set, until_ns), 1);
    }
    return true;
}

/* Drop the record of a ban that ended, when the word of a token bucket has what the ban left.
 * `side`: the key has a record. Caller holds the region lock. */
static void limit_side_end(cellar_limiter *l, const limit_call *c, limit_slot *s, bool side)
{
    if (c->ban_end != 0 && (s != NULL || !l->bucket_alone)) {
        side = !limit_over_trim(l, c->fp, c->m.now_ns, NULL);
    }
    if (s != NULL && !side && (base_load_rlx(&s->fp) & 1) != 0) { base_store_rel(&s->fp, c->fp); }
}

/* Run the operation under the bucket lock alone. Return false if that is not enough: the key is
 * gone or its region is in conversion. */
static bool limit_bucket_run(cellar_limiter *l, limit_call *c, limit_slot *s, uint64_t f,
                             uint32_t bucket)
{
    bool done = false, plan;
    if (!l->multi) { return false; }
    sync_take(LIMIT_BUCKET, &l->bucket_lock[bucket]);
    const uint64_t state = base_load_acq(&l->state);
    if (base_load_acq(&s->fp) == f && !limit_converts(state, c->place.region)) {
        done = c->ready && state == c->state && limit_confirmed(l, c, s);
        if (done) { /* the same words and rules: the same result */
            (void)limit_store(l, c, s);
        } else {
            const _Atomic uint64_t *set = limit_set_of(l, state, c->place.region);
            c->state = state;
            limit_moment_of(l, set, c->op->own, c->asked_ns, &c->m);
            if ((f & 1) != 0) { (void)limit_side(l, c, set, &plan); }
            done = c->m.units < LIMIT_LATE;
            if (done) { limit_apply(l, c, s); }
        }
        if (done) { limit_tell(l, c, s); }
    }
    sync_drop(LIMIT_BUCKET, &l->bucket_lock[bucket]);
    return done;
}

BASE_SIZE_BEGIN

/* ---- a new key ---- */

/* Compute the operation for a new key. Tell whether that needs a slot. A denied key needs one for
 * what an ended ban left, and for the charge of CHARGE_DENIED. */
static bool limit_needs_slot(cellar_limiter *l, limit_call *c)
{
    for (uint32_t i = 0; i < l->words; i++) { c->word[i] = c->next[i] = 0; }
    c->err = CELLAR_OK;
    if (c->op->kind == LIMIT_REFUND && c->ban_end == 0) { return false; }
    switch (c->op->kind) {
    case LIMIT_GIVE: case LIMIT_EXPIRE: return false;
    case LIMIT_RELEASE: case LIMIT_EXTEND:
        c->err = CELLAR_E_NOT_OWNER;
        return false;
    default:
        limit_taken_load(c);
        limit_compute(l, c, NULL);
        return !c->keeps && (c->err == CELLAR_OK || c->err == CELLAR_LIMITED);
    }
}

/* End expired permits in both buckets: they keep keys in their slots. */
static void limit_expire_both(cellar_limiter *l, const limit_call *c)
{
    for (uint32_t i = 0; l->conc >= 0 && i < 2 * LIMIT_WAYS; i++) {
        limit_slot *s = limit_slot_at(l, c->place.bucket[i / LIMIT_WAYS], i % LIMIT_WAYS);
        const uint64_t w = base_load_rlx(limit_word_at(s, (uint32_t)l->conc));
        uint64_t v = w >> 2;
        if (limit_permits_out(v) == 0) { continue; }
        (void)limit_permit_expire(l, base_load_rlx(&s->fp) & ~(uint64_t)1, c->m.now_ns, &v);
        base_store_rel(limit_word_at(s, (uint32_t)l->conc), limit_word(v, w));
    }
}

/* Decide for a new key without a slot. `least`: the slot that is dead first; NULL: none is. */
static void limit_full(cellar_limiter *l, limit_call *c, const limit_moment *m, limit_slot *least)
{
    const limit_kind k = c->op->kind;
    for (uint32_t i = 0; i < l->words; i++) { c->next[i] = 0; } /* nothing is charged */
    /* What an ended ban left stays in its record; a denied call stays so, and charges nothing. */
    if (k == LIMIT_REFUND || c->err == CELLAR_LIMITED) { return; }
    if (k == LIMIT_CHARGE || k == LIMIT_BAN || k == LIMIT_PERMIT) {
        c->err = CELLAR_E_LIMIT;
    } else if (l->overflow == CELLAR_OVERFLOW_ALLOW_NEW) {
        limit_count(l, STATS_LIMITER_OVERFLOW_ALLOWED, 1);
    } else {
        limit_count(l, STATS_LIMITER_OVERFLOW_DENIED, 1);
        c->err = CELLAR_LIMITED;
        c->full_ns = 1;
        for (uint32_t i = 0; least != NULL && i < l->rule_count; i++) {
            limit_verdict says;
            const uint64_t v = base_load_acq(limit_word_at(least, i)) >> 2;
            limit_show_rule(l, m, least, i, v, &says);
            c->full_ns = limit_max_u64(c->full_ns, says.reset_ns);
        }
    }
}

/* Insert a new key and return its slot; NULL: none, and `c` has the outcome. */
static limit_slot *limit_insert(cellar_limiter *l, limit_call *c, const limit_moment *m, bool side)
{
    limit_room room;
    if (!limit_needs_slot(l, c)) { return NULL; }
    limit_expire_both(l, c);
    if (!limit_room_find(l, &c->place, m, UINT64_MAX, &room)) {
        limit_full(l, c, m, room.slot);
        return NULL;
    }
    limit_fill(l, &room, c->fp | side, l->multi ? 0 : c->next[0], NULL);
    if (c->op->kind == LIMIT_PERMIT) {
        limit_apply(l, c, room.slot);
        return room.slot;
    }
    limit_words_load(l, c, room.slot);
    if (l->multi) { (void)limit_store(l, c, room.slot); }
    return room.slot;
}

/* Run the operation under the region lock. */
static void limit_region_run(cellar_limiter *l, limit_call *c) SYNC_UNCHECKED
{
    limit_moment present; /* the rules of the limiter, where the call or the key has others */
    const limit_moment *m = &c->m;
    uint64_t f;
    uint32_t bucket;
    bool plan;
    const uint64_t state = base_load_acq(&l->state);
    const _Atomic uint64_t *set = limit_set_of(l, state, c->place.region);
    c->state = state;
    c->asked_ns = limit_max_u64(c->asked_ns, c->head->high_water);
    limit_moment_of(l, set, c->op->own, c->asked_ns, &c->m);
    if (c->op->kind == LIMIT_RESERVE && c->op->ticket != NULL) {
        limit_taken_make(c->head, c->fp, c->asked_ns);
    }
    const bool side = limit_side(l, c, set, &plan);
    if (plan || c->op->own != NULL) {
        limit_moment_of(l, set, NULL, c->asked_ns, &present);
        m = &present;
    }
    limit_both_take(l, &c->place);
    limit_slot *s = limit_find(l, &c->place, c->fp, &f, &bucket);
    if (s != NULL) {
        limit_apply(l, c, s);
    } else {
        s = limit_insert(l, c, m, side);
    }
    limit_side_end(l, c, s, side);
    limit_tell(l, c, s);
    limit_both_drop(l, &c->place);
}

/* ---- tickets ---- */

/* Tell whether the charge of the ticket is still part of the words. *given: units that other
 * tickets gave back since. */
static bool limit_ticket_valid(const limit_call *c, uint64_t *given)
{
    const limit_ticket *t = c->op->ticket;
    const limit_taken *k = limit_taken_find(c->head, c->fp);
    if (k != NULL && base_load_rlx(&k->life) == t->life) {
        *given = base_load_acq(&k->given) - t->mine;
        return true;
    }
    *given = base_load_acq(limit_given(c->head, c->fp)) - t->given;
    return base_load_rlx(&c->head->losses) == t->losses;
}

/* Give back units of a ticket under the region lock. The clock is read when no call can charge the
 * words: with an earlier reading, units that time paid would look like debt. */
static void limit_give_run(cellar_limiter *l, limit_call *c) SYNC_UNCHECKED
{
    uint64_t f, held = 0;
    uint32_t bucket;
    bool plan;
    const _Atomic uint64_t *set = limit_set_of(l, base_load_acq(&l->state), c->place.region);
    c->err = CELLAR_OK;
    if (!limit_ticket_valid(c, &c->op->given)) {
        c->err = CELLAR_INVALIDATED;
        return;
    }
    limit_both_take(l, &c->place);
    limit_slot *s = limit_find(l, &c->place, c->fp, &f, &bucket);
    if (s != NULL) { /* else time has paid all, or a refund has */
        if (!l->multi) { held = limit_seize(s); }
        BASE_POINT("limit.give.clock");
        c->asked_ns = limit_max_u64(limit_now(l), c->head->high_water);
        limit_moment_of(l, set, NULL, c->asked_ns, &c->m);
        const bool side = limit_side(l, c, set, &plan);
        if (l->multi) { limit_words_load(l, c, s); } else { c->word[0] = held; }
        limit_compute(l, c, s);
        if (l->multi) {
            (void)limit_store(l, c, s);
        } else {
            base_store_rel(&s->word, limit_word(c->next[0], held));
        }
        limit_side_end(l, c, s, side);
    }
    limit_both_drop(l, &c->place);
}

BASE_SIZE_END

/* Tell whether only the region lock is enough: for a give, and for the first ticket of a key. */
static bool limit_needs_region(const limit_call *c)
{
    return c->op->kind == LIMIT_GIVE ||
           (c->op->kind == LIMIT_RESERVE && c->op->ticket != NULL &&
            limit_taken_find(c->head, c->fp) == NULL);
}

static cellar_err limit_call_run(cellar_limiter *l, limit_call *c)
{
    uint64_t f;
    uint32_t bucket;
    const uint64_t now_ns = c->asked_ns;
    BASE_POINT("limit.find");
    limit_slot *s = limit_find(l, &c->place, c->fp, &f, &bucket);
    if (s != NULL && !limit_needs_region(c) &&
        (limit_free_run(l, c, s, f) || limit_bucket_run(l, c, s, f, bucket))) {
        return c->err;
    }
    if (c->op->callers_clock) {
        const uint64_t clock = limit_now(l);
        if (now_ns > clock && now_ns - clock > LIMIT_AHEAD_NS) { return CELLAR_E_CLOCK; }
    }
    limit_rebase(l, now_ns);
    sync_take(LIMIT, &c->head->lock);
    if (c->op->kind == LIMIT_GIVE) { limit_give_run(l, c); } else { limit_region_run(l, c); }
    sync_drop(LIMIT, &c->head->lock);
    return c->err;
}

CELLAR_PRIVATE cellar_err limit_run(cellar_limiter *l, uint64_t fp, uint64_t now_ns, limit_op *op)
{
    limit_call c;
    if (BASE_UNLIKELY(l->obj.forked)) { return CELLAR_E_FORKED; }
    if (BASE_UNLIKELY(l->fixed)) {
        if (op->callers_clock) { now_ns = limit_now(l); } /* periods follow the wall clock */
        limit_calendar_look(l, now_ns);
    }
    limit_place_of(l, fp, &c.place);
    c.op = op;
    c.fp = fp;
    c.asked_ns = now_ns;
    c.head = &l->head[c.place.region];
    c.banned_ns = c.full_ns = c.ban_end = c.ban_ns = c.over = 0;
    c.life = c.mine = c.losses = c.given = 0;
    c.ready = false;
    const cellar_err err = limit_call_run(l, &c);
    if (BASE_UNLIKELY(c.ban_ns != 0) && !l->multi) {
        limit_bans_room(l);
        (void)limit_assign(l, fp, LIMIT_PLAN_SAME, c.ban_ns); /* it may fail: overrides_full */
    }
    return err;
}

BASE_SIZE_BEGIN

CELLAR_PRIVATE void limit_bans_settle(cellar_limiter *l, uint64_t now_ns, uint32_t looks)
{
    uint64_t fp, until_ns;
    if (!l->bucket_alone || base_load_acq(&l->over_count) == 0) { return; }
    sync_take(LIMIT_SIDE, &l->side);
    const uint32_t first = l->over_hand;
    sync_drop(LIMIT_SIDE, &l->side);
    for (uint32_t n = 0; n < looks && n < l->over_max; n++) {
        limit_op op = { .kind = LIMIT_REFUND };
        if (limit_over_ban(l, (first + n) % l->over_max, &fp, &until_ns) && until_ns <= now_ns) {
            (void)limit_run(l, fp, now_ns, &op);
        }
    }
}

CELLAR_PRIVATE void limit_bans_room(cellar_limiter *l)
{
    if (base_load_acq(&l->over_count) != l->over_max) { return; }
    limit_bans_settle(l, limit_now(l), LIMIT_LOOKS);
}

BASE_SIZE_END
