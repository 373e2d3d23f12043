/* SPDX-License-Identifier: MIT
 *
 * decide: one operation on the words of one key.
 *
 * WALK       c->word --compute--> c->next, err --store--> slot --tell--> counters, result, ticket
 * INVARIANTS All rules admit, or no rule is charged. A dry-run rule that would deny is not charged.
 *            Log cells belong to one word: store makes the word BUSY before it changes a cell.
 * TICKETS    The clock for a give is read when no other call can charge the words (run.c). A give
 *            adds to the sums of given units before its words change. A take reads the sums, and
 *            the life of its key, before its words.
 * LOCKING    none in compute, which also runs on words that no lock protects.
 * SEE ALSO   rule.c (one word), ring.c (logs), overrides.c (permits), README.md (proofs). */
#include "limit/decide.h"

#include "limit/overrides.h"
#include "limit/slots.h"

static bool limit_is_log(const limit_call *c, uint32_t i)
{
    return limit_algo(&c->m.rule[i]) == CELLAR_RULE_SLIDING_LOG;
}
static bool limit_is_conc(const limit_call *c, uint32_t i)
{
    return limit_algo(&c->m.rule[i]) == CELLAR_RULE_CONCURRENCY;
}
static bool limit_is_bucket(const limit_call *c, uint32_t i)
{
    return limit_algo(&c->m.rule[i]) == CELLAR_RULE_TOKEN_BUCKET;
}

/* ---- the verdict ---- */

static void limit_take_rule(const cellar_limiter *l, limit_call *c, uint32_t i, limit_slot *s)
{
    const limit_rule *r = &c->m.rule[i];
    const uint64_t v = c->next[i];
    limit_verdict *says = &c->says[i];
    if (limit_is_log(c, i)) {
        limit_ring_take(r, &c->m.at[i], limit_ring_of(l, s, i), v, c->op->cost, says);
    } else if (limit_is_conc(c, i)) {
        says->next = v;
        says->never = r->limit == 0;
        says->deny = limit_permits_out(v) - c->over >= r->limit;
        says->retry_ns = says->never ? CELLAR_NEVER_NS : says->deny ? c->first_ns : 0;
        says->now_ns = c->m.now_ns;
    } else {
        limit_take_value(r, &c->m.at[i], v, c->op->cost, says);
    }
}

/* Let a RESERVE take from the future of a token bucket, if that is near enough. */
static void limit_take_ahead(limit_call *c, uint32_t i)
{
    const limit_rule *r = &c->m.rule[i];
    const uint64_t now = c->m.at[i].u;
    limit_verdict *says = &c->says[i];
    if (c->op->kind != LIMIT_RESERVE || says->never || !limit_is_bucket(c, i) ||
        limit_flag(r, CELLAR_RULE_DRY_RUN)) {
        return;
    }
    const uint64_t next = limit_max_u64(c->next[i], now) + c->op->cost * r->step;
    const uint64_t wait_ns = limit_ns_of(next - now - r->reach); /* denied: it is positive */
    if (wait_ns > c->op->arg || next > now + LIMIT_DEBT_MAX) { return; }
    says->deny = false;
    says->next = next;
    c->op->wait_ns = limit_max_u64(c->op->wait_ns, wait_ns);
}

/* Lengthen the wait of a denied call: behind charges of CHARGE_DENIED, and behind a ban, which
 * leaves a token bucket one unit. */
static void limit_wait_behind(const cellar_limiter *l, limit_call *c, uint64_t ban_ns)
{
    const uint64_t end = ban_ns != 0 ? c->m.units + limit_units_of(ban_ns) : 0;
    limit_verdict says;
    c->retry_ns = limit_max_u64(c->retry_ns, ban_ns);
    for (uint32_t i = 0; i < l->rule_count; i++) {
        const limit_rule *r = &c->m.rule[i];
        const bool more = end != 0 || limit_flag(r, CELLAR_RULE_CHARGE_DENIED);
        if (!more || !limit_is_bucket(c, i) || limit_flag(r, CELLAR_RULE_DRY_RUN)) { continue; }
        const uint64_t v = end != 0 ? limit_after_ban(r, end, c->next[i]) : c->next[i];
        limit_take_value(r, &c->m.at[i], v, c->op->cost, &says);
        c->retry_ns = limit_max_u64(c->retry_ns, says.retry_ns);
    }
}

/* Evaluate all rules for the values in c->next. */
static void limit_decide(cellar_limiter *l, limit_call *c, limit_slot *s)
{
    c->retry_ns = 0;
    c->denied_by = LIMIT_RULES;
    c->would_deny = false;
    c->op->wait_ns = 0;
    if (l->multi) {
        const uint64_t until = c->next[l->rule_count];
        c->banned_ns = until > c->m.units ? limit_ns_of(until - c->m.units) : 0;
    }
    c->err = c->banned_ns != 0 ? CELLAR_LIMITED : CELLAR_OK;
    const uint32_t rules = c->banned_ns != 0 ? 0 : l->rule_count;
    for (uint32_t i = 0; i < rules; i++) {
        limit_verdict *says = &c->says[i];
        limit_take_rule(l, c, i, s);
        if (says->deny) { limit_take_ahead(c, i); }
        if (!says->deny) { continue; }
        if (limit_flag(&c->m.rule[i], CELLAR_RULE_DRY_RUN)) {
            c->would_deny = true;
            continue; /* and is not charged, as if it had denied */
        }
        c->err = CELLAR_LIMITED;
        if (c->denied_by == LIMIT_RULES || says->retry_ns > c->retry_ns) {
            c->denied_by = i;
            c->retry_ns = says->retry_ns;
        }
    }
}

/* ---- new values ---- */

static void limit_next(limit_call *c, uint32_t i, uint64_t v)
{
    c->keeps = c->keeps && v == c->word[i] >> 2;
    c->next[i] = v;
}

/* Ban the key in its slot. A slot of one word has no room: the call bans the key afterwards. */
static void limit_ban(const cellar_limiter *l, limit_call *c, uint64_t ns)
{
    const uint32_t i = l->rule_count;
    c->ban_ns = ns;
    if (!l->multi) { return; }
    limit_next(c, i, limit_max_u64(c->next[i], c->m.units + limit_units_of(ns)));
}

/* Let a token bucket have the debt that an ended ban left. */
static void limit_ban_ended(const cellar_limiter *l, limit_call *c)
{
    const uint64_t end = l->multi ? c->next[l->rule_count] : c->ban_end;
    if (end == 0 || end > c->m.units) { return; }
    for (uint32_t i = 0; i < l->rule_count; i++) {
        if (limit_is_bucket(c, i)) { limit_next(c, i, limit_after_ban(&c->m.rule[i], end,
                                                                      c->next[i])); }
    }
    if (l->multi) { limit_next(c, l->rule_count, 0); }
}

/* Compute what a denial writes: charges of CHARGE_DENIED rules, and bans. Its wait gets longer. */
static void limit_denied(const cellar_limiter *l, limit_call *c)
{
    uint64_t ban = 0;
    for (uint32_t i = 0; i < l->rule_count; i++) {
        const limit_rule *r = &c->m.rule[i];
        if (limit_flag(r, CELLAR_RULE_DRY_RUN)) { continue; }
        if (c->says[i].deny && !c->says[i].never) { ban = limit_max_u64(ban, r->ban); }
        if (!limit_flag(r, CELLAR_RULE_CHARGE_DENIED)) { continue; }
        limit_next(c, i, limit_denied_value(r, &c->m.at[i], c->next[i], c->op->cost));
    }
    if (ban != 0) { limit_ban(l, c, ban / LIMIT_UNITS_NS); }
    limit_wait_behind(l, c, c->ban_ns);
}

static uint64_t limit_hold_end(const limit_call *c)
{
    return c->m.now_ns + limit_min_u64(c->op->hold_ns, UINT64_MAX - c->m.now_ns);
}

static void limit_take(cellar_limiter *l, limit_call *c, limit_slot *s)
{
    limit_op *op = c->op;
    const bool permit = op->kind == LIMIT_PERMIT, peek = op->kind == LIMIT_PEEK;
    const bool permits = l->conc >= 0 && (permit || peek);
    const uint32_t conc = permits ? (uint32_t)l->conc : 0;
    if (permit) { c->first_ns = limit_permit_expire(l, c->fp, c->m.now_ns, &c->next[conc]); }
    c->over = permits && peek
                  ? limit_permit_over(l, c->fp, c->m.now_ns, c->next[conc], &c->first_ns) : 0;
    limit_decide(l, c, s);
    if (peek) { return; }
    if (c->denied_by < LIMIT_RULES) { limit_denied(l, c); }
    if (permit && s == NULL) { /* no slot, no permit yet; a denial needs one for what it writes */
        c->keeps = c->keeps && c->err != CELLAR_OK;
        return;
    }
    if (permit && c->err == CELLAR_OK) {
        c->err = limit_permit_new(l, c->fp, limit_hold_end(c), &c->next[conc], &op->token);
    }
    if (c->err != CELLAR_OK) { return; } /* a banned key: no rule was evaluated */
    for (uint32_t i = 0; i < l->rule_count; i++) {
        const limit_verdict *says = &c->says[i];
        c->stamp[i] = says->deny ? 0 : limit_stamp(&c->m.rule[i], says->next);
        if (says->deny || limit_is_conc(c, i)) { continue; }
        limit_next(c, i, says->next); /* logs: the old value */
        if (limit_is_log(c, i)) { c->keeps = c->keeps && op->cost == 0; }
    }
}

/* Tell whether the operation changes a log. */
static bool limit_log_changes(const limit_call *c, uint32_t i)
{
    switch (c->op->kind) {
    case LIMIT_TAKE: case LIMIT_RESERVE: case LIMIT_PERMIT:
        return c->err == CELLAR_OK && !c->says[i].deny && c->op->cost > 0;
    case LIMIT_CHARGE: case LIMIT_REFUND: return c->op->cost > 0;
    case LIMIT_GIVE: return c->stamp[i] != 0;
    default: return false;
    }
}

/* Compute a CHARGE, REFUND or GIVE. Logs change when they are stored. */
static void limit_adjust(const cellar_limiter *l, limit_call *c)
{
    const limit_op *op = c->op;
    for (uint32_t i = 0; i < l->rule_count; i++) {
        const limit_rule *r = &c->m.rule[i];
        const limit_at *at = &c->m.at[i];
        const uint64_t v = c->next[i];
        if (limit_is_log(c, i)) { c->keeps = c->keeps && !limit_log_changes(c, i); }
        if (limit_is_log(c, i) || limit_is_conc(c, i)) { continue; }
        limit_next(c, i, op->kind == LIMIT_CHARGE   ? limit_charge_value(r, at, v, op->cost)
                         : op->kind == LIMIT_REFUND ? limit_refund_value(r, at, v, op->cost)
                             : limit_give_value(r, at, v, op->cost, c->stamp[i], op->given));
    }
}

/* Compute a give, and note what its token buckets get back. */
static void limit_give(const cellar_limiter *l, limit_call *c)
{
    const limit_op *op = c->op;
    uint64_t back = 0;
    bool last = true; /* the words are as the take left them */
    for (uint32_t i = 0; i < l->rule_count; i++) {
        const uint64_t stamp = op->ticket->stamp[i], since = stamp - c->m.origin * LIMIT_UNITS_NS;
        c->stamp[i] = stamp == 0 || limit_counts_units(l->algorithm[i]) ? stamp
                      : since >> 63 == 0 ? since : 0; /* from before the origin: paid */
    }
    limit_adjust(l, c);
    for (uint32_t i = 0; i < l->rule_count; i++) {
        const uint64_t v = c->word[i] >> 2;
        if (!limit_is_bucket(c, i) || c->stamp[i] == 0) { continue; }
        back = limit_max_u64(back, limit_parts_back(&c->m.rule[i], v, c->next[i]));
        last = last && v == c->stamp[i];
    }
    if (back == 0) { return; }
    if (last && op->given == 0) { return; }
    limit_taken *t = limit_taken_find(c->head, c->fp);
    (void)base_add_ar(limit_given(c->head, c->fp), back);
    if (t != NULL) { (void)base_add_ar(&t->given, back); }
}

CELLAR_PRIVATE void limit_compute(cellar_limiter *l, limit_call *c, limit_slot *s)
{
    limit_op *op = c->op;
    uint64_t *permits = &c->next[l->conc >= 0 ? l->conc : 0];
    for (uint32_t i = 0; i < l->words; i++) { c->next[i] = c->word[i] >> 2; }
    c->err = CELLAR_OK;
    c->keeps = true;
    c->ban_ns = 0;
    limit_ban_ended(l, c);
    switch (op->kind) {
    case LIMIT_TAKE: case LIMIT_PEEK: case LIMIT_RESERVE: case LIMIT_PERMIT:
        limit_take(l, c, s);
        break;
    case LIMIT_CHARGE: case LIMIT_REFUND: limit_adjust(l, c); break;
    case LIMIT_GIVE: limit_give(l, c); break;
    case LIMIT_BAN: limit_ban(l, c, op->arg); break;
    case LIMIT_RELEASE: case LIMIT_EXTEND:
        c->err = limit_permit_move(l, c->fp, op->token, c->m.now_ns,
                                   op->kind == LIMIT_EXTEND ? limit_hold_end(c) : 0, permits);
        break;
    case LIMIT_EXPIRE: (void)limit_permit_expire(l, c->fp, c->m.now_ns, permits); break;
    }
    if (op->kind >= LIMIT_PERMIT && s != NULL) { c->keeps = false; }
}

/* ---- storing ---- */

/* Change the cells of a log and store its word. */
static void limit_store_log(const cellar_limiter *l, limit_call *c, limit_slot *s, uint32_t i)
{
    const limit_op *op = c->op;
    const limit_at *at = &c->m.at[i];
    const limit_ring g = limit_ring_of(l, s, i);
    const uint64_t window = limit_window_of(l, &c->m.rule[i], i);
    if (!limit_log_changes(c, i)) { return; }
    uint64_t *v = &c->next[i];
    base_store_rel(limit_word_at(s, i), LIMIT_BUSY); /* acquire in limit_confirmed */
    base_fence_rel();
    *v = op->kind == LIMIT_CHARGE   ? limit_ring_charge(window, at, g, *v, op->cost)
         : op->kind == LIMIT_REFUND ? limit_ring_refund(window, at, g, *v, op->cost)
         : op->kind == LIMIT_GIVE
             ? limit_ring_give(window, at, g, *v, op->cost, c->stamp[i])
             : limit_ring_push(at, g, *v, op->cost, &c->stamp[i]);
    base_store_rel(limit_word_at(s, i), limit_word(*v, c->word[0]));
}

CELLAR_PRIVATE bool limit_store(cellar_limiter *l, limit_call *c, limit_slot *s)
{
    if (c->keeps) { return true; }
    for (uint32_t i = 0; i < l->words; i++) {
        if (i < l->rule_count && limit_is_log(c, i)) {
            limit_store_log(l, c, s, i);
            continue;
        }
        const uint64_t to = limit_word(c->next[i], c->word[0]);
        if (to == c->word[i]) { continue; }
        BASE_POINT("limit.store");
        if (l->multi) {
            base_store_rel(limit_word_at(s, i), to);
        } else if (!base_cas_ar(&s->word, c->word[0], to)) {
            return false;
        }
    }
    return true;
}

/* ---- telling ---- */

static void limit_ticket_write(const cellar_limiter *l, const limit_call *c, const limit_slot *s)
{
    limit_ticket *t = c->op->ticket;
    if (t == NULL || c->op->kind == LIMIT_GIVE || s == NULL) { return; }
    t->limiter = l;
    t->fingerprint = c->fp;
    t->cost = c->op->cost;
    t->life = c->life;
    t->mine = c->mine;
    t->losses = c->losses;
    t->given = c->given;
    for (uint32_t i = 0; i < l->rule_count; i++) {
        const bool time = c->stamp[i] != 0 && !limit_counts_units(l->algorithm[i]);
        t->stamp[i] = c->stamp[i] + (time ? c->m.origin * LIMIT_UNITS_NS : 0);
    }
    t->used = 0;
}

/* Show every rule; return the number of the tightest one. Dry-run rules come last. */
static uint32_t limit_tightest(const cellar_limiter *l, limit_call *c, limit_slot *s)
{
    uint64_t least = UINT64_MAX;
    uint32_t tight = 0;
    for (uint32_t i = 0; i < l->rule_count; i++) {
        limit_verdict *says = &c->says[i];
        const uint64_t over = limit_is_conc(c, i) ? c->over << 32 : 0;
        limit_show_rule(l, &c->m, s, i, c->next[i] - over, says);
        const uint64_t dry = limit_flag(&c->m.rule[i], CELLAR_RULE_DRY_RUN);
        if ((dry << 63 | says->remaining) < least) { /* remaining < 2^62 */
            least = dry << 63 | says->remaining;
            tight = i;
        }
    }
    return tight;
}

static void limit_result(const cellar_limiter *l, limit_call *c, limit_slot *s)
{
    const bool denied = c->err == CELLAR_LIMITED, full = c->full_ns != 0;
    cellar_limiter_result *r = c->op->result;
    *r = (cellar_limiter_result){ 0, 0, 0, CELLAR_RULE_BAN, c->m.rule[0].limit, 0, c->banned_ns,
                                  c->banned_ns, c->m.now_ns };
    if (!denied || full || c->denied_by < LIMIT_RULES) {
        const uint32_t tight = limit_tightest(l, c, s);
        const uint32_t by = c->denied_by < LIMIT_RULES ? c->denied_by : tight;
        r->allowed = !denied;
        r->would_deny = c->would_deny;
        r->never = denied && !full && c->says[by].never;
        r->rule = denied ? by : tight;
        r->limit = c->m.rule[r->rule].limit;
        r->remaining = r->never ? 0 : c->says[tight].remaining;
        r->retry_after_ns = full ? c->full_ns : c->retry_ns;
        r->reset_after_ns = c->says[tight].reset_ns;
        for (uint32_t i = 0; i < l->rule_count && s != NULL; i++) { /* a denial is one rule's */
            if (!limit_is_conc(c, i) && (!denied || i == by)) {
                r->now_ns = limit_max_u64(r->now_ns, c->says[i].now_ns);
            }
        }
    }
}

CELLAR_PRIVATE void limit_tell(cellar_limiter *l, limit_call *c, limit_slot *s)
{
    const limit_kind k = c->op->kind;
    if (k == LIMIT_TAKE || k == LIMIT_RESERVE || k == LIMIT_PERMIT) {
        if (c->err == CELLAR_OK) {
            limit_count_allowed(l);
            if (c->would_deny) { limit_count(l, STATS_LIMITER_WOULD_DENY, 1); }
            limit_ticket_write(l, c, s);
        } else if (c->err == CELLAR_LIMITED) {
            limit_count_denial(l, c->full_ns != 0 ? 0 : c->denied_by);
        }
    }
    if (c->op->result != NULL && (c->err == CELLAR_OK || c->err == CELLAR_LIMITED)) {
        limit_result(l, c, s);
    }
}
