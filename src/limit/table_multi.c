/* SPDX-License-Identifier: MIT
 *
 * table_multi: limiters with several rules, logs, permits or bans: one slot for all rules of a key.
 *
 * PICTURE    slot: fp | banned until | word 0 | word 1 | ... | ring 0 ...
 *            denial:    load the words without a lock; check fp and state again at the end
 *            admission: bucket lock, check fp again, evaluate all rules, write all words or none
 *            new key:   region lock, locks of both buckets
 * INVARIANTS A writer stores only after every rule admitted, so a denial that saw half of its
 * stores
 *            comes after it. A rule that denies on its own word decides alone.
 *            Rewriters go words := BUSY, fp, words. A reader of a word of the new key sees the new
 *            fp; a reader of the new fp sees BUSY or new words. Logs: ring.c.
 *            "Banned until" carries the colour of the slot, also while it is 0.
 * LOCKING    region (LIMIT) -> buckets (LIMIT_BUCKET) by index, a third one by trying -> side. A
 *            conversion holds region and bucket while it changes the bucket. A call that finds its
 *            region in conversion under a bucket lock goes on under the region lock.
 * OVERFLOW   As table_single.c; the loss of a key is the fill of its fullest rule. Banned keys and
 *            keys with permits are never evicted.
 * SEE ALSO   rule.c (one word), ring.c (logs), overrides.c (permits), README.md (proofs). */
#include "limit/table_multi_int.h"

typedef struct limit_wide { /* one operation under way */
    limit_op *op;
    uint32_t region, generation;
    uint32_t rule_count;
    uint64_t now_ns, units;
    limit_rule rule[LIMIT_RULES];
    limit_at at[LIMIT_RULES];
    uint64_t value[LIMIT_RULES];
    limit_says says[LIMIT_RULES];
    uint64_t blocked;    /* banned until, units; 0: not banned */
    uint64_t wait_ns, token;
    uint32_t denied_by;  /* LIMIT_RULES: no rule */
    bool would_deny, full;
    cellar_err err;
} limit_wide;

static limit_ring limit_wide_ring(const cellar_limiter *l, limit_slot *s, uint32_t i)
{
    limit_ring g = { s != NULL ? limit_ring_at(l, s, i) : NULL, l->ring[i] };
    return g;
}

static bool limit_wide_log(const limit_wide *w, uint32_t i)
{
    return limit_algo(&w->rule[i]) == CELLAR_RULE_SLIDING_LOG;
}
static bool limit_wide_conc(const limit_wide *w, uint32_t i)
{
    return limit_algo(&w->rule[i]) == CELLAR_RULE_CONCURRENCY;
}

/* ---- deciding ---- */

static void limit_wide_one(const cellar_limiter *l, limit_wide *w, uint32_t i, limit_slot *s)
{
    const uint64_t v = w->value[i];
    limit_says *says = &w->says[i];
    if (limit_wide_log(w, i)) {
        limit_ring_take(&w->rule[i], &w->at[i], limit_wide_ring(l, s, i), v, w->op->cost, says);
    } else if (limit_wide_conc(w, i)) {
        says->next = v;
        says->never = w->rule[i].limit == 0;
        says->deny = limit_permits_out(v) >= w->rule[i].limit;
        says->retry_ns = says->never ? CELLAR_NEVER_NS : says->deny ? 1 : 0;
        says->now_ns = w->now_ns;
    } else {
        limit_take_value(&w->rule[i], &w->at[i], v, w->op->cost, says);
    }
}

/* Let a RESERVE take from the future of a token bucket, if that is near enough. */
static void limit_wide_ahead(limit_wide *w, uint32_t i)
{
    const limit_rule *r = &w->rule[i];
    limit_says *says = &w->says[i];
    const limit_at *at = &w->at[i];
    if (w->op->kind != LIMIT_RESERVE || says->never ||
        limit_algo(r) != CELLAR_RULE_TOKEN_BUCKET) { return; }
    const uint64_t next = limit_max_u64(w->value[i], at->u) + w->op->cost * r->step;
    const uint64_t wait_ns = limit_ns_of(next - at->u - r->reach);
    if (wait_ns > w->op->arg || next > at->u + LIMIT_DEBT_MAX) { return; }
    says->deny = false;
    says->next = next;
    w->wait_ns = limit_max_u64(w->wait_ns, wait_ns);
}

/* Evaluate all rules; set denied_by and err. */
static void limit_wide_decide(const cellar_limiter *l, limit_wide *w, limit_slot *s)
{
    uint64_t longest = 0;
    w->denied_by = LIMIT_RULES;
    w->would_deny = false;
    w->wait_ns = 0;
    w->err = CELLAR_OK;
    if (w->blocked > w->units) {
        w->err = CELLAR_LIMITED;
        return;
    }
    for (uint32_t i = 0; i < w->rule_count; i++) {
        limit_says *says = &w->says[i];
        limit_wide_one(l, w, i, s);
        if (says->deny) { limit_wide_ahead(w, i); }
        if (!says->deny) { continue; }
        if (limit_flag(&w->rule[i], CELLAR_RULE_DRY_RUN)) {
            w->would_deny = true;
            continue; /* and is not charged, as if it had denied */
        }
        w->err = CELLAR_LIMITED;
        if (w->denied_by == LIMIT_RULES || says->retry_ns > longest) {
            w->denied_by = i;
            longest = says->retry_ns;
        }
    }
}

/* ---- telling ---- */

static void limit_wide_banned(const limit_wide *w, cellar_limiter_result *out)
{
    const uint64_t left_ns = limit_ns_of(w->blocked - w->units);
    const cellar_limiter_result r = { 0, 0, 0, CELLAR_RULE_BAN, w->rule[0].limit, 0, left_ns,
        left_ns,
                                 w->now_ns };
    *out = r;
}

static void limit_wide_result(const cellar_limiter *l, limit_wide *w, limit_slot *s)
{
    cellar_limiter_result *out = w->op->result;
    if (w->err == CELLAR_LIMITED && w->denied_by == LIMIT_RULES && !w->full) {
        limit_wide_banned(w, out);
        return;
    }
    uint32_t tight = 0;
    for (uint32_t i = 0; i < w->rule_count; i++) {
        limit_says *says = &w->says[i];
        if (limit_wide_log(w, i)) {
            if (s != NULL) {
                limit_ring_show(&w->rule[i], &w->at[i], limit_wide_ring(l, s, i), w->value[i],
                                says);
            } else {
                says->remaining = w->rule[i].limit;
                says->reset_ns = 0;
            }
        } else if (limit_wide_conc(w, i)) {
            const uint64_t held = limit_permits_out(w->value[i]);
            says->remaining = held < w->rule[i].limit ? w->rule[i].limit - held : 0;
            says->reset_ns = 0;
        } else {
            limit_show(&w->rule[i], &w->at[i], w->value[i], says);
        }
        const bool dry = limit_flag(&w->rule[i], CELLAR_RULE_DRY_RUN);
        const bool dry_now = limit_flag(&w->rule[tight], CELLAR_RULE_DRY_RUN);
        if ((dry_now && !dry) || (dry == dry_now && says->remaining < w->says[tight].remaining)) {
            tight = i;
        }
    }
    const bool denied = w->err == CELLAR_LIMITED;
    const uint32_t by = w->denied_by < LIMIT_RULES ? w->denied_by : tight;
    out->allowed = !denied;
    out->would_deny = w->would_deny;
    out->never = denied && !w->full && w->says[by].never;
    out->rule = denied ? by : tight;
    out->limit = w->rule[out->rule].limit;
    out->remaining = out->never ? 0 : w->says[tight].remaining;
    out->retry_after_ns = w->full ? 1 : denied ? w->says[by].retry_ns : 0;
    if (denied && w->rule[by].ban != 0 && !out->never) {
        out->retry_after_ns = limit_max_u64(out->retry_after_ns, limit_ns_of(w->rule[by].ban));
    }
    out->reset_after_ns = w->says[tight].reset_ns;
    out->now_ns = w->now_ns;
    for (uint32_t i = 0; i < w->rule_count && s != NULL; i++) { /* a denial is one rule's */
        if (!limit_wide_conc(w, i) && (!denied || i == by)) {
            out->now_ns = limit_max_u64(out->now_ns, w->says[i].now_ns);
        }
    }
}

static cellar_err limit_wide_tell(cellar_limiter *l, limit_wide *w, limit_slot *s)
{
    const limit_kind k = w->op->kind;
    if (k == LIMIT_TAKE || k == LIMIT_RESERVE || k == LIMIT_PERMIT) {
        if (w->err == CELLAR_OK) {
            limit_count(l, LIMIT_ALLOWED, 1);
            if (w->would_deny) { limit_count(l, LIMIT_WOULD_DENY, 1); }
        } else if (w->err == CELLAR_LIMITED && !w->full) {
            limit_count_denial(l, w->denied_by < LIMIT_RULES ? w->denied_by : UINT32_MAX);
        }
    }
    w->op->wait_ns = w->wait_ns;
    w->op->token = w->token;
    if (w->op->result != NULL && (w->err == CELLAR_OK || w->err == CELLAR_LIMITED)) {
        limit_wide_result(l, w, s);
    }
    return w->err;
}

/* ---- writing: bucket lock held ---- */

static uint64_t limit_wide_colour(limit_slot *s)
{
    return base_load_rlx(&s->word) & LIMIT_COLOUR;
}

static void limit_wide_store(limit_slot *s, uint32_t i, uint64_t value)
{
    BASE_POINT("limit.wide.store");
    base_store_rel(limit_word_at(s, i), limit_word(value, limit_wide_colour(s)));
}

/* Make the word of a log BUSY before its cells change, so that no reader trusts a cell. */
static void limit_wide_hide(limit_slot *s, uint32_t i)
{
    if (BASE_MUTANT("limit.ring_not_hidden")) { return; }
    base_store_rel(limit_word_at(s, i), LIMIT_BUSY); /* acquire in limit_wide_denial */
    base_fence_rel();
}

static void limit_wide_ticket(const cellar_limiter *l, const limit_wide *w, const limit_slot *s,
                              const uint64_t *stamp)
{
    limit_ticket *t = w->op->ticket;
    if (t == NULL) { return; }
    t->limiter = l;
    t->fingerprint = base_load_rlx(&s->fp) & ~(uint64_t)1;
    t->slot = (uint64_t)((const unsigned char *)s - l->table) / l->slot_bytes;
    t->cost = w->op->cost;
    t->losses = base_load_acq(&l->head[w->region].losses);
    t->given = base_load_acq(limit_given(&l->head[w->region], t->fingerprint));
    for (uint32_t i = 0; i < w->rule_count; i++) { t->stamp[i] = stamp[i]; }
    t->colour = (uint32_t)(base_load_rlx(&s->word) & LIMIT_COLOUR);
    t->generation = w->generation;
    t->used = 0;
}

static void limit_wide_commit(cellar_limiter *l, limit_wide *w, limit_slot *s)
{
    uint64_t stamp[LIMIT_RULES] = { 0 };
    for (uint32_t i = 0; i < w->rule_count; i++) {
        if (w->says[i].deny || limit_wide_conc(w, i)) { continue; } /* a dry run, or permits */
        if (!limit_wide_log(w, i)) {
            w->value[i] = stamp[i] = w->says[i].next;
        } else if (w->op->cost > 0) {
            limit_wide_hide(s, i);
            w->value[i] = limit_ring_push(&w->at[i], limit_wide_ring(l, s, i), w->value[i],
                                          w->op->cost, &stamp[i]);
        }
        limit_wide_store(s, i, w->value[i]);
    }
    limit_wide_ticket(l, w, s, stamp);
}

static void limit_wide_block(limit_wide *w, limit_slot *s, uint64_t ns)
{
    const uint64_t until = w->units + limit_units_of(ns);
    if (until > w->blocked) { w->blocked = until; }
    base_store_rel(&s->word, limit_word(w->blocked, limit_wide_colour(s)));
}

static void limit_wide_ban(limit_wide *w, limit_slot *s, uint64_t ns)
{
    for (uint32_t i = 0; i < w->rule_count; i++) {
        if (limit_algo(&w->rule[i]) != CELLAR_RULE_TOKEN_BUCKET) { continue; }
        w->value[i] = limit_ban_value(&w->rule[i], &w->at[i], w->value[i], ns);
        limit_wide_store(s, i, w->value[i]);
    }
    limit_wide_block(w, s, ns);
}

/* Write what a denial writes: charges of CHARGE_DENIED rules, and bans. */
static void limit_wide_denied(limit_wide *w, limit_slot *s)
{
    uint64_t ban = 0;
    for (uint32_t i = 0; i < w->rule_count; i++) {
        const limit_rule *r = &w->rule[i];
        const bool dry = limit_flag(r, CELLAR_RULE_DRY_RUN);
        if (w->says[i].deny && !w->says[i].never && !dry) { ban = limit_max_u64(ban, r->ban); }
        if (!limit_flag(r, CELLAR_RULE_CHARGE_DENIED) || dry) { continue; }
        w->value[i] = limit_denied_value(r, &w->at[i], w->value[i], w->op->cost);
        limit_wide_store(s, i, w->value[i]);
    }
    if (ban != 0) { limit_wide_ban(w, s, ban / LIMIT_UNITS_NS); }
}

static bool limit_wide_valid(const cellar_limiter *l, const limit_wide *w, const limit_slot *s)
{
    const limit_ticket *t = w->op->ticket;
    return t->slot == (uint64_t)((const unsigned char *)s - l->table) / l->slot_bytes &&
           t->colour == (uint32_t)(base_load_rlx(&s->word) & LIMIT_COLOUR) &&
           t->generation == w->generation &&
           base_load_acq(&l->head[w->region].losses) - (uint32_t)t->losses < 4;
}

/* Tell whether the ticket may give now, and note what its token buckets get back. As TICKETS of
 * table_single.c, under the bucket lock. */
static bool limit_wide_give(cellar_limiter *l, limit_wide *w, limit_slot *s)
{
    limit_op *op = w->op;
    const limit_ticket *t = op->ticket;
    limit_head *h = &l->head[w->region];
    uint64_t back = 0;
    bool last = true;
    if (!limit_wide_valid(l, w, s)) { return false; }
    if (limit_gave_since(op, h)) { w->err = CELLAR_PENDING; }
    for (uint32_t i = 0; i < w->rule_count; i++) {
        if (base_load_rlx(limit_word_at(s, i)) != op->seen[i]) { w->err = CELLAR_PENDING; }
    }
    if (w->err != CELLAR_OK) { return false; }
    op->given = base_load_acq(limit_given(h, t->fingerprint)) - t->given;
    for (uint32_t i = 0; i < w->rule_count; i++) {
        if (limit_algo(&w->rule[i]) != CELLAR_RULE_TOKEN_BUCKET || t->stamp[i] == 0) { continue; }
        const uint64_t next = limit_give_value(&w->rule[i], &w->at[i], w->value[i], op->cost,
                                               t->stamp[i], op->given);
        back = limit_max_u64(back, limit_parts_back(&w->rule[i], w->value[i], next));
        last = last && w->value[i] == t->stamp[i];
    }
    limit_gives(h, t->fingerprint, op, back, last);
    return true;
}

/* Run CHARGE, REFUND or GIVE, word by word. */
static void limit_wide_adjust(cellar_limiter *l, limit_wide *w, limit_slot *s)
{
    const limit_op *op = w->op;
    if (op->kind == LIMIT_GIVE && !limit_wide_give(l, w, s)) { return; }
    for (uint32_t i = 0; i < w->rule_count; i++) {
        const limit_rule *r = &w->rule[i];
        const limit_ring g = limit_wide_ring(l, s, i);
        const uint64_t window = limit_window_of(l, r, i);
        uint64_t v = w->value[i];
        if (limit_wide_conc(w, i)) { continue; }
        if (op->kind == LIMIT_GIVE && op->ticket->stamp[i] == 0) { continue; } /* not charged */
        if (limit_wide_log(w, i)) {
            limit_wide_hide(s, i);
            v = op->kind == LIMIT_CHARGE ? limit_ring_charge(window, &w->at[i], g, v, op->cost)
                : op->kind == LIMIT_REFUND
                    ? limit_ring_refund(window, &w->at[i], g, v, op->cost)
                    : limit_ring_give(window, &w->at[i], g, v, op->cost, op->ticket->stamp[i]);
        } else {
            v = op->kind == LIMIT_CHARGE ? limit_charge_value(r, &w->at[i], v, op->cost)
                : op->kind == LIMIT_REFUND ? limit_refund_value(r, &w->at[i], v, op->cost)
                : limit_give_value(r, &w->at[i], v, op->cost, op->ticket->stamp[i], op->given);
        }
        w->value[i] = v;
        limit_wide_store(s, i, v);
    }
    limit_gave(&l->head[w->region], op);
}

static uint32_t limit_wide_permit_rule(const cellar_limiter *l) { return (uint32_t)l->conc; }

/* Acquire a permit: end expired ones, decide, make the record, then charge the other rules. */
static void limit_wide_permit(cellar_limiter *l, limit_wide *w, limit_slot *s, uint64_t fp)
{
    const uint32_t i = limit_wide_permit_rule(l);
    const uint64_t first_ns = limit_permit_expire(l, w->now_ns, &w->value[i]);
    limit_wide_store(s, i, w->value[i]);
    limit_wide_decide(l, w, s);
    if (w->denied_by < LIMIT_RULES) {
        if (w->says[i].deny && !w->says[i].never) { w->says[i].retry_ns = first_ns; }
        limit_wide_denied(w, s);
    }
    if (w->err != CELLAR_OK) { return; } /* a banned key: no rule was evaluated */
    const uint64_t until = w->now_ns + limit_min_u64(w->op->lease_ns, UINT64_MAX - w->now_ns);
    w->err = limit_permit_new(l, fp, until, w->now_ns, &w->value[i], &w->token);
    if (w->err != CELLAR_OK) { return; }
    limit_wide_store(s, i, w->value[i]);
    limit_wide_commit(l, w, s);
}

static void limit_wide_permit_end(cellar_limiter *l, limit_wide *w, limit_slot *s, uint64_t fp)
{
    const uint32_t i = limit_wide_permit_rule(l);
    if (w->op->kind == LIMIT_RELEASE) {
        w->err = limit_permit_end(l, fp, w->op->token, w->now_ns, &w->value[i]);
    } else {
        const uint64_t until = w->now_ns + limit_min_u64(w->op->lease_ns, UINT64_MAX - w->now_ns);
        w->err = limit_permit_extend(l, fp, w->op->token, w->now_ns, until, &w->value[i]);
    }
    w->token = w->op->token;
    limit_wide_store(s, i, w->value[i]);
}

static void limit_wide_expire(cellar_limiter *l, limit_slot *s, uint64_t now_ns)
{
    const uint32_t i = limit_wide_permit_rule(l);
    uint64_t v = base_load_rlx(limit_word_at(s, i)) >> 2;
    if (limit_permits_out(v) == 0) { return; }
    (void)limit_permit_expire(l, now_ns, &v);
    limit_wide_store(s, i, v);
}

/* Run the operation on a key that has a slot. */
static void limit_wide_apply(cellar_limiter *l, limit_wide *w, limit_slot *s, uint64_t fp)
{
    w->blocked = base_load_rlx(&s->word) >> 2;
    for (uint32_t i = 0; i < w->rule_count; i++) {
        w->value[i] = base_load_rlx(limit_word_at(s, i)) >> 2;
    }
    switch (w->op->kind) {
    case LIMIT_TAKE: case LIMIT_RESERVE:
        limit_wide_decide(l, w, s);
        if (w->err == CELLAR_OK) {
            limit_wide_commit(l, w, s);
        } else if (w->denied_by < LIMIT_RULES) {
            limit_wide_denied(w, s);
        }
        break;
    case LIMIT_PEEK: limit_wide_decide(l, w, s); break;
    case LIMIT_CHARGE: case LIMIT_REFUND: case LIMIT_GIVE: limit_wide_adjust(l, w, s); break;
    case LIMIT_BAN: limit_wide_ban(w, s, w->op->arg); break;
    case LIMIT_PERMIT: limit_wide_permit(l, w, s, fp); break;
    case LIMIT_RELEASE: case LIMIT_EXTEND: limit_wide_permit_end(l, w, s, fp); break;
    case LIMIT_EXPIRE: limit_wide_expire(l, s, w->now_ns); break;
    }
}

/* ---- find a slot; load the present rules ---- */

static limit_slot *limit_wide_find(const cellar_limiter *l, const limit_place *p, uint64_t fp,
                                   uint64_t *f, uint32_t *bucket)
{
    for (uint32_t b = 0; b < 2; b++) {
        for (uint32_t way = 0; way < LIMIT_WAYS; way++) {
            limit_slot *s = limit_slot_at(l, p->bucket[b], way);
            *f = base_load_acq(&s->fp);
            if ((*f ^ fp) <= 1) {
                *bucket = p->bucket[b];
                return s;
            }
        }
    }
    return NULL;
}

static void limit_wide_rules(cellar_limiter *l, limit_wide *w, const _Atomic uint64_t *set,
                             uint64_t now_ns)
{
    now_ns = limit_since(set, now_ns);
    w->now_ns = now_ns;
    w->units = limit_units_at(set, now_ns);
    w->rule_count = l->rule_count;
    BASE_ASSERT(w->rule_count >= 1); /* the analysers ask */
    for (uint32_t i = 0; i < w->rule_count; i++) {
        if (w->op->own_count != 0) {
            w->rule[i] = w->op->own[i];
        } else {
            limit_rule_load(set, i, &w->rule[i]);
        }
        limit_at_of(l, &w->rule[i], now_ns, w->units, &w->at[i]);
    }
}

/* Use the rules of the plan, if the key has one. Return true if it has a record. */
static bool limit_wide_plan(cellar_limiter *l, limit_wide *w, uint64_t fp)
{
    bool has_plan = false;
    uint64_t until_ns;
    limit_rule own[LIMIT_RULES];
    if (base_load_acq(&l->over_count) == 0 || !limit_over_get(l, fp, own, &has_plan, &until_ns)) {
        return false;
    }
    if (has_plan && w->op->own_count == 0) {
        for (uint32_t i = 0; i < w->rule_count; i++) {
            w->rule[i] = own[i];
            limit_at_of(l, &w->rule[i], w->now_ns, w->units, &w->at[i]);
        }
    }
    return true;
}

/* Deny without a lock: return true, with the result in `w`, if a rule denied on its own word. */
static bool limit_wide_denial(cellar_limiter *l, limit_wide *w, limit_slot *s, uint64_t f)
{
    const _Atomic uint64_t *set;
    const uint64_t state = base_load_acq(&l->state);
    if (!limit_set_of(l, state, w->region, false, &set)) { return false; }
    limit_wide_rules(l, w, set, w->now_ns);
    BASE_POINT("limit.wide.blocked");
    const uint32_t rules = w->rule_count;
    uint64_t word[LIMIT_RULES];
    const uint64_t blocked = base_load_acq(&s->word);
    if (blocked == LIMIT_BUSY || w->units >= LIMIT_LATE) { return false; }
    w->blocked = blocked >> 2;
    for (uint32_t i = 0; i < rules; i++) {
        BASE_POINT("limit.wide.word");
        word[i] = base_load_acq(limit_word_at(s, i));
        if (word[i] == LIMIT_BUSY) { return false; }
        w->value[i] = word[i] >> 2;
    }
    limit_wide_decide(l, w, s);
    if (w->err != CELLAR_LIMITED) { return false; }
    base_fence_acq();
    BASE_POINT("limit.wide.again");
    if (base_load_acq(&l->state) != state ||
        (base_load_acq(&s->fp) != f && !BASE_MUTANT("limit.wide_no_second_fp_read"))) {
        return false;
    }
    BASE_POINT("limit.table_multi.confirm");
    /* Check the word that denied again: the key may have lost its slot and returned since, with the
     * words of another key in between. Log words are checked as their cells belong to one word. */
    const bool banned = w->denied_by == LIMIT_RULES;
    if (banned && base_load_acq(&s->word) != blocked) { return false; }
    for (uint32_t i = 0; i < rules; i++) {
        const bool asked = limit_wide_log(w, i) || i == w->denied_by;
        if (asked && base_load_acq(limit_word_at(s, i)) != word[i]) { return false; }
    }
    return true;
}

/* Run the operation under the bucket lock alone. Return false if that is not enough: the key is
 * gone or its region is in conversion. */
static bool limit_wide_locked(cellar_limiter *l, limit_wide *w, limit_slot *s, uint64_t f,
                              uint32_t bucket, uint64_t fp)
{
    bool done = false;
    sync_take(LIMIT_BUCKET, &l->bucket_lock[bucket]);
    const _Atomic uint64_t *set;
    const uint64_t state = base_load_acq(&l->state);
    if (base_load_acq(&s->fp) == f && limit_set_of(l, state, w->region, false, &set)) {
        w->generation = (uint32_t)(state >> 32);
        limit_wide_rules(l, w, set, w->now_ns);
        if ((f & 1) != 0) { (void)limit_wide_plan(l, w, fp); }
        done = w->units < LIMIT_LATE;
        if (done) { limit_wide_apply(l, w, s, fp); }
        if (done) { (void)limit_wide_tell(l, w, s); }
    }
    sync_drop(LIMIT_BUCKET, &l->bucket_lock[bucket]);
    return done;
}

/* ---- take over a slot: caller holds the region lock and both bucket locks ---- */

/* Return the loss of evicting a key: the fill of its fullest rule, in 2^-20. 0: no loss;
 * UINT64_MAX: never evict. */
static uint64_t limit_wide_loss(const cellar_limiter *l, const limit_wide *base, limit_slot *s)
{
    uint64_t most = 0;
    if (base_load_rlx(&s->fp) == 0) { return 0; }
    if (base_load_rlx(&s->word) >> 2 > base->units) { return UINT64_MAX; }
    for (uint32_t i = 0; i < base->rule_count; i++) {
        const limit_rule *r = &base->rule[i];
        const uint64_t v = base_load_rlx(limit_word_at(s, i)) >> 2;
        uint64_t used = 0, of = limit_max_u64(r->limit, 1);
        if (limit_algo(r) == CELLAR_RULE_CONCURRENCY) {
            if (limit_permits_out(v) > 0) { return UINT64_MAX; }
        } else if (limit_algo(r) == CELLAR_RULE_SLIDING_LOG) {
            limit_rule wide = *r;
            limit_says says;
            wide.step = limit_window_of(l, r, i);
            wide.limit = l->ring[i];
            limit_ring_show(&wide, &base->at[i], limit_wide_ring(l, s, i), v, &says);
            used = l->ring[i] - says.remaining;
        } else if (!limit_dead(r, &base->at[i], v)) {
            limit_says says;
            limit_show(r, &base->at[i], v, &says);
            used = limit_algo(r) == CELLAR_RULE_TOKEN_BUCKET ? limit_debt(r, &base->at[i], v) >> 20
                                                   : r->limit - says.remaining;
            if (limit_algo(r) == CELLAR_RULE_TOKEN_BUCKET) {
                of = limit_max_u64(r->reach >> 20, 1);
            }
            used = limit_max_u64(used, 1);
        }
        const uint64_t full = used == 0 ? 0
                              : used >> 43 != 0 ? UINT64_MAX - 1
                                                : limit_max_u64((used << 20) / of, 1);
        most = limit_max_u64(most, full);
    }
    return most;
}

/* Give the slot to `fp`, with unused words. */
static void limit_wide_rewrite(const cellar_limiter *l, limit_slot *s, uint64_t f)
{
    const uint64_t colour = limit_next_colour(base_load_rlx(&s->word));
    base_store_rel(&s->word, LIMIT_BUSY);
    for (uint32_t i = 0; i < l->rule_count; i++) {
        base_store_rel(limit_word_at(s, i), LIMIT_BUSY);
    }
    BASE_POINT("limit.wide.fp");
    base_store_rel(&s->fp, f);
    for (uint32_t i = 0; i < l->rule_count; i++) {
        base_store_rel(limit_word_at(s, i), limit_word(0, colour));
    }
    BASE_POINT("limit.wide.publish");
    base_store_rel(&s->word, limit_word(0, colour));
}

/* Copy the slot `from` to the slot `to`. */
static void limit_wide_copy(const cellar_limiter *l, limit_slot *to, limit_slot *from)
{
    const size_t words = l->slot_bytes / sizeof(uint64_t);
    _Atomic uint64_t *a = (_Atomic uint64_t *)(void *)to, *b = (_Atomic uint64_t *)(void *)from;
    const uint64_t colour = limit_next_colour(base_load_rlx(&to->word));
    for (size_t i = 1; i < 2 + l->rule_count; i++) { base_store_rel(&a[i], LIMIT_BUSY); }
    BASE_POINT("limit.wide.move");
    base_store_rel(&to->fp, base_load_rlx(&from->fp));
    for (size_t i = 2 + l->rule_count; i < words; i++) {
        base_store_rlx(&a[i], base_load_rlx(&b[i]));
    }
    for (size_t i = 1; i < 2 + l->rule_count; i++) {
        base_store_rel(&a[i], limit_word(base_load_rlx(&b[i]) >> 2, colour));
    }
}

static limit_slot *limit_wide_least(const cellar_limiter *l, const limit_wide *base,
                                    uint32_t bucket, uint64_t *loss)
{
    limit_slot *best = NULL;
    *loss = UINT64_MAX;
    for (uint32_t way = 0; way < LIMIT_WAYS; way++) {
        limit_slot *s = limit_slot_at(l, bucket, way);
        const uint64_t this_loss = limit_wide_loss(l, base, s);
        if (this_loss < *loss) {
            *loss = this_loss;
            best = s;
        }
    }
    return best;
}

static limit_slot *limit_wide_move(cellar_limiter *l, limit_head *h, const limit_place *p,
                                   const limit_wide *base) SYNC_UNCHECKED
{
    for (uint32_t i = 0; i < 2 * LIMIT_WAYS; i++) {
        const uint32_t here = p->bucket[i / LIMIT_WAYS];
        limit_slot *from = limit_slot_at(l, here, i % LIMIT_WAYS), *to = NULL;
        limit_place q;
        uint64_t loss;
        limit_place_of(l, base_load_rlx(&from->fp) & ~(uint64_t)1, &q);
        const uint32_t other = q.bucket[0] == here ? q.bucket[1] : q.bucket[0];
        if (other == p->bucket[0] || other == p->bucket[1]) { continue; }
        const bool blind = BASE_MUTANT("limit.wide_move_unlocked");
        const bool locked = !blind && sync_try(LIMIT_BUCKET, &l->bucket_lock[other]);
        if (!locked && !blind) { continue; }
        to = limit_wide_least(l, base, other, &loss);
        if (to != NULL && loss == 0) {
            if (base_load_rlx(&to->fp) != 0) { h->high_water = limit_max_u64(h->high_water,
                                                                             base->now_ns); }
            limit_wide_copy(l, to, from);
        }
        if (locked) { sync_drop(LIMIT_BUCKET, &l->bucket_lock[other]); }
        if (to != NULL && loss == 0) {
            base_store_rlx(&h->moved, base_load_rlx(&h->moved) + 1);
            return from;
        }
    }
    return NULL;
}

/* Return a slot for a new key, if needed that of a key with a loss below `most`; NULL: none. */
static limit_slot *limit_wide_room(cellar_limiter *l, limit_head *h, const limit_place *p,
                                   const limit_wide *base, uint64_t most)
{
    uint64_t loss_a, loss_b;
    for (uint32_t i = 0; l->conc >= 0 && i < 2 * LIMIT_WAYS; i++) { /* expired permits */
        limit_wide_expire(l, limit_slot_at(l, p->bucket[i / LIMIT_WAYS], i % LIMIT_WAYS),
                          base->now_ns);
    }
    limit_slot *a = limit_wide_least(l, base, p->bucket[0], &loss_a);
    limit_slot *b = limit_wide_least(l, base, p->bucket[1], &loss_b);
    const uint64_t loss = limit_min_u64(loss_a, loss_b);
    limit_slot *s = loss_a <= loss_b ? a : b;
    if (loss == 0) {
        if (base_load_rlx(&s->fp) != 0) {
            base_store_rlx(&h->dead_replaced, base_load_rlx(&h->dead_replaced) + 1);
            h->high_water = limit_max_u64(h->high_water, base->now_ns);
        }
        return s;
    }
    limit_slot *moved = limit_wide_move(l, h, p, base);
    if (moved != NULL) { return moved; }
    if (loss >= most || l->overflow != CELLAR_OVERFLOW_LEAST_LOSS) { return NULL; }
    base_store_rlx(&h->live_evicted, base_load_rlx(&h->live_evicted) + 1);
    limit_lost(h);
    return s;
}

CELLAR_PRIVATE void limit_wide_seat(cellar_limiter *l, limit_slot *image, uint64_t now_ns)
{
    const limit_op plain = { .kind = LIMIT_PEEK };
    limit_op op = plain;
    limit_wide base;
    limit_place p;
    const uint64_t fp = base_load_rlx(&image->fp);
    limit_place_of(l, fp, &p);
    base.op = &op;
    limit_wide_rules(l, &base, l->set[0], now_ns); /* the rules of the open */
    const uint64_t loss = limit_wide_loss(l, &base, image);
    if (loss == 0) { return; }
    limit_head *h = &l->head[p.region];
    const uint32_t first = BASE_MIN(p.bucket[0], p.bucket[1]);
    const uint32_t second = BASE_MAX(p.bucket[0], p.bucket[1]);
    sync_take(LIMIT, &h->lock);
    sync_take(LIMIT_BUCKET, &l->bucket_lock[first]);
    if (second != first) { sync_take(LIMIT_BUCKET, &l->bucket_lock[second]); }
    limit_slot *s = limit_wide_room(l, h, &p, &base, loss);
    if (s != NULL) {
        limit_wide_copy(l, s, image);
    } else {
        base_store_rlx(&h->live_evicted, base_load_rlx(&h->live_evicted) + 1);
    }
    if (second != first) { sync_drop(LIMIT_BUCKET, &l->bucket_lock[second]); }
    sync_drop(LIMIT_BUCKET, &l->bucket_lock[first]);
    sync_drop(LIMIT, &h->lock);
}

/* Tell whether the operation needs a slot for a new key. A denied key needs none. */
static bool limit_wide_first(const cellar_limiter *l, limit_wide *w)
{
    const limit_kind k = w->op->kind;
    w->blocked = 0;
    for (uint32_t i = 0; i < w->rule_count; i++) { w->value[i] = 0; }
    if (k == LIMIT_GIVE || k == LIMIT_REFUND || k == LIMIT_EXPIRE) { return false; }
    if (k == LIMIT_RELEASE || k == LIMIT_EXTEND) {
        w->err = CELLAR_E_NOT_OWNER;
        w->token = w->op->token;
        return false;
    }
    if (k == LIMIT_BAN) { return true; }
    const bool nothing = w->op->cost == 0; /* nothing to store: no slot */
    if (k == LIMIT_CHARGE) { return !nothing; }
    limit_wide_decide(l, w, NULL);
    return w->err == CELLAR_OK && k != LIMIT_PEEK && !nothing;
}

/* Insert a new key and return its slot; NULL: none, and `w` has the outcome. */
static limit_slot *limit_wide_insert(cellar_limiter *l, limit_wide *w, limit_head *h,
                                     const limit_place *p, const limit_wide *base, uint64_t f)
{
    if (!limit_wide_first(l, w)) { return NULL; }
    limit_slot *s = limit_wide_room(l, h, p, base, UINT64_MAX);
    if (s != NULL) {
        limit_wide_rewrite(l, s, f);
        limit_wide_apply(l, w, s, f & ~(uint64_t)1);
        return s;
    }
    if (w->op->kind == LIMIT_CHARGE || w->op->kind == LIMIT_BAN ||
        w->op->kind == LIMIT_PERMIT) {
        w->err = CELLAR_E_LIMIT;
    } else if (l->overflow == CELLAR_OVERFLOW_ALLOW_NEW) {
        limit_count(l, LIMIT_OVERFLOW_ALLOWED, 1);
    } else {
        limit_count(l, LIMIT_OVERFLOW_DENIED, 1);
        w->err = CELLAR_LIMITED;
        w->full = true;
    }
    return NULL;
}

static void limit_wide_held(cellar_limiter *l, limit_wide *w, limit_head *h, const limit_place *p,
                            uint64_t fp) SYNC_UNCHECKED
{
    const _Atomic uint64_t *set;
    const uint64_t state = base_load_acq(&l->state);
    const uint32_t first = BASE_MIN(p->bucket[0], p->bucket[1]);
    const uint32_t second = BASE_MAX(p->bucket[0], p->bucket[1]);
    uint64_t f;
    uint32_t bucket;
    limit_wide base;
    (void)limit_set_of(l, state, w->region, true, &set);
    w->generation = (uint32_t)(state >> 32);
    limit_wide_rules(l, w, set, limit_max_u64(w->now_ns, h->high_water));
    limit_op plain = { .kind = LIMIT_PEEK };
    base.op = &plain;
    limit_wide_rules(l, &base, set, w->now_ns);
    const bool side = limit_wide_plan(l, w, fp);
    sync_take(LIMIT_BUCKET, &l->bucket_lock[first]);
    if (second != first) { sync_take(LIMIT_BUCKET, &l->bucket_lock[second]); }
    limit_slot *s = limit_wide_find(l, p, fp, &f, &bucket);
    if (s != NULL) {
        if ((f & 1) != 0 && !side) { base_store_rel(&s->fp, fp); }
        limit_wide_apply(l, w, s, fp);
    } else {
        s = limit_wide_insert(l, w, h, p, &base, fp | side);
    }
    (void)limit_wide_tell(l, w, s);
    if (second != first) { sync_drop(LIMIT_BUCKET, &l->bucket_lock[second]); }
    sync_drop(LIMIT_BUCKET, &l->bucket_lock[first]);
}

/* Initialize field by field: a call with few rules need not clear the tables. */
static void limit_wide_begin(limit_wide *w, limit_op *op, uint32_t region, uint64_t now_ns)
{
    w->op = op;
    w->region = region;
    w->generation = 0;
    w->now_ns = now_ns;
    w->token = 0;
    w->wait_ns = 0;
    w->denied_by = LIMIT_RULES;
    w->would_deny = w->full = false;
    w->err = CELLAR_OK;
}

CELLAR_PRIVATE cellar_err limit_wide_run(cellar_limiter *l, uint64_t fp, uint64_t now_ns,
                                         limit_op *op)
{
    limit_place p;
    limit_wide w;
    uint64_t f = 0;
    uint32_t bucket = 0;
    limit_place_of(l, fp, &p);
    limit_wide_begin(&w, op, p.region, now_ns);
    BASE_POINT("limit.wide.find");
    limit_slot *s = limit_wide_find(l, &p, fp, &f, &bucket);
    if (s != NULL) {
        const bool quick = op->kind == LIMIT_TAKE && op->own_count == 0 && !l->locked_only &&
                           (f & 1) == 0;
        if (quick && limit_wide_denial(l, &w, s, f)) {
            return limit_wide_tell(l, &w, s);
        }
        w.err = CELLAR_OK;
        w.now_ns = now_ns;
        if (limit_wide_locked(l, &w, s, f, bucket, fp)) { return w.err; }
    }
    if (op->callers_clock) {
        const uint64_t clock = limit_now(l);
        if (now_ns > clock && now_ns - clock > LIMIT_AHEAD_NS) { return CELLAR_E_CLOCK; }
    }
    limit_rebase(l, now_ns);
    limit_head *h = &l->head[p.region];
    w.err = CELLAR_OK;
    w.now_ns = now_ns;
    sync_take(LIMIT, &h->lock);
    limit_wide_held(l, &w, h, &p, fp);
    sync_drop(LIMIT, &h->lock);
    return w.err;
}
