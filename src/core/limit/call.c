/* SPDX-License-Identifier: MIT
 *
 * call: the public calls on one key: check arguments, run one operation.
 *
 * PICTURE    cellar_limiter_x(key, ...) -> fingerprint, clock -> limit_run
 * TICKETS    A ticket names its take: the life of the key, and the word after it. A token bucket
 *            gives back min(cost * T, what that word still owes, less what other tickets gave back
 *            since): rule.c. Reset, eviction and other numbers of a token bucket end the life; such
 *            a ticket gives nothing back, and the call says so.
 * WAITING    Token buckets reserve and sleep: fair by virtual time, and no charge when the wait is
 *            too long. Other rules, and banned keys, are checked again after retry_after plus up to
 *            1 %.
 * LOCKING    none; a call sleeps with no lock held */
#include "limit/call.h"

#include <string.h>

#include "base/open_error.h"
#include "base/opts.h"
#include "limit/convert.h"
#include "limit/quick.h"
#include "limit/run.h"
#include "limit/table.h"

/* Tell whether checks are possible. Permits have a call of their own: a check returns no token. */
static bool limit_checks(const cellar_limiter *l) { return l->conc < 0; }

CELLAR_API uint64_t cellar_limiter_now(cellar_limiter *l)
{
    return l != NULL && !l->obj.forked ? limit_now(l) : 0;
}

CELLAR_API uint64_t cellar_limiter_fingerprint(cellar_limiter *l, const void *key, size_t key_len)
{
    return limit_key_ok(l, key, key_len) && !l->obj.forked ? limit_fp(l, key, key_len) >> 1 : 0;
}

/* Test and take at a reading of the clock. */
BASE_ALWAYS_INLINE cellar_err limit_check_now(cellar_limiter *l, uint64_t fp, uint64_t now_ns,
                                              bool callers_clock, uint64_t cost,
                                              cellar_limiter_result *out)
{
    cellar_err err;
    if (l->bucket_alone && limit_quick(l, fp, now_ns, cost, out, &err)) { return err; }
    limit_op op = { .kind = LIMIT_TAKE, .cost = cost, .result = out,
                    .callers_clock = callers_clock };
    return limit_run(l, fp, now_ns, &op);
}

CELLAR_API cellar_err cellar_limiter_check(cellar_limiter *l, const void *key, size_t key_len,
                                           uint64_t cost, cellar_limiter_result *out)
{
    if (!limit_key_ok(l, key, key_len) || !limit_checks(l)) {
        return limit_call_refuse(__func__, l, key, key_len);
    }
    const uint64_t fp = limit_fp(l, key, key_len);
    limit_prefetch(l, fp);
    return limit_check_now(l, fp, limit_now(l), false, cost, out);
}

/* Check by rules of the call. `call`: the public function, for the text of a refusal. */
CELLAR_PRIVATE cellar_err limit_check_own(cellar_limiter *l, const char *call, uint64_t fp,
                                          uint64_t now_ns, const cellar_rule *rules,
                                          uint32_t count, limit_op *op)
{
    limit_rule own[LIMIT_RULES];
    const cellar_err err = limit_own_rules(l, call, rules, count, own);
    if (err != CELLAR_OK) { return err; }
    op->own = own;
    return limit_run(l, fp, now_ns, op);
}

/* Check by options of any kind. Out of line: a check at a reading needs none of its registers. */
static BASE_NOINLINE cellar_err limit_check_opts(cellar_limiter *l, uint64_t fp, uint64_t cost,
                                                 const cellar_check_opts *in,
                                                 cellar_limiter_result *out)
{
    cellar_check_opts o;
    const cellar_err err = base_opts_in(&o, sizeof o, in);
    if (err != CELLAR_OK) { return err; }
    if ((o.flags & ~CELLAR_CHECK_PEEK) != 0) { return CELLAR_E_UNSUPPORTED; }
    const bool peek = o.flags != 0;
    if ((!peek && !limit_checks(l)) || (o.rules == NULL && o.rule_count != 0)) {
        return CELLAR_E_INVAL;
    }
    const uint64_t now = o.now_ns != 0 ? o.now_ns : limit_now(l);
    limit_op op = { .kind = peek ? LIMIT_PEEK : LIMIT_TAKE, .cost = cost, .result = out,
                    .callers_clock = o.now_ns != 0 };
    if (o.rules == NULL) { return limit_run(l, fp, now, &op); }
    return limit_check_own(l, "cellar_limiter_check_with", fp, now, o.rules, o.rule_count, &op);
}

CELLAR_API cellar_err cellar_limiter_check_with(cellar_limiter *l, const void *key, size_t key_len,
                                                uint64_t cost, const cellar_check_opts *o,
                                                cellar_limiter_result *out)
{
    if (!limit_key_ok(l, key, key_len)) { return CELLAR_E_INVAL; }
    if (o == NULL) { return cellar_limiter_check(l, key, key_len, cost, out); }
    const uint64_t fp = limit_fp(l, key, key_len);
    if (o->struct_size == sizeof *o && o->rules == NULL && (o->rule_count | o->flags) == 0 &&
        o->now_ns != 0 && limit_checks(l)) {
        return limit_check_now(l, fp, o->now_ns, true, cost, out);
    }
    return limit_check_opts(l, fp, cost, o, out);
}

BASE_SIZE_BEGIN

/* ---- tickets ---- */

CELLAR_API cellar_err cellar_limiter_reserve(cellar_limiter *l, const void *key, size_t key_len,
                                             uint64_t cost, uint64_t max_wait_ns,
                                             cellar_limiter_ticket *ticket, uint64_t *wait_ns,
                                             cellar_limiter_result *out)
{
    limit_ticket taken;
    if (wait_ns != NULL) { *wait_ns = 0; }
    if (ticket == NULL) {
        return base_refuse(CELLAR_E_INVAL, __func__, "ticket must not be NULL");
    }
    memset(ticket, 0, sizeof *ticket);
    if (!limit_key_ok(l, key, key_len) || !limit_checks(l)) {
        return limit_call_refuse(__func__, l, key, key_len);
    }
    memset(&taken, 0, sizeof taken);
    limit_op op = { .kind = LIMIT_RESERVE, .cost = cost, .arg = max_wait_ns, .ticket = &taken,
                    .result = out };
    const uint64_t fp = limit_fp(l, key, key_len);
    const cellar_err err = limit_run(l, fp, limit_now(l), &op);
    if (err == CELLAR_OK && cost == 0 && taken.limiter == NULL) {
        taken.limiter = l; /* no charge and no slot: a commit charges the key */
        taken.fingerprint = fp;
    }
    memcpy(ticket, &taken, sizeof taken);
    if (wait_ns != NULL && err == CELLAR_OK) { *wait_ns = op.wait_ns; }
    return err;
}

CELLAR_PRIVATE cellar_err limit_ticket_give(cellar_limiter *l, limit_ticket *t, uint64_t units)
{
    if (t->limiter == NULL || units == 0) { return CELLAR_OK; }
    limit_op op = { .kind = LIMIT_GIVE, .cost = units, .ticket = t };
    return limit_run(l, t->fingerprint, limit_now(l), &op);
}

CELLAR_API cellar_err cellar_limiter_commit(cellar_limiter *l, cellar_limiter_ticket *ticket,
                                            uint64_t actual_cost)
{
    limit_ticket t;
    if (l == NULL || ticket == NULL) { return CELLAR_E_INVAL; }
    if (l->obj.forked) { return CELLAR_E_FORKED; }
    memcpy(&t, ticket, sizeof t);
    if (t.limiter != NULL && t.limiter != l) { return CELLAR_E_INVAL; }
    if (t.used != 0) { return CELLAR_E_TICKET_USED; }
    t.used = 1;
    memcpy(ticket, &t, sizeof t);
    if (t.limiter == NULL) { return CELLAR_OK; }
    if (actual_cost <= t.cost) { return limit_ticket_give(l, &t, t.cost - actual_cost); }
    limit_op op = { .kind = LIMIT_CHARGE, .cost = actual_cost - t.cost };
    return limit_run(l, t.fingerprint, limit_now(l), &op);
}

CELLAR_API cellar_err cellar_limiter_adjust(cellar_limiter *l, const void *key, size_t key_len,
                                            int64_t cost)
{
    if (!limit_key_ok(l, key, key_len)) { return CELLAR_E_INVAL; }
    limit_op op = { .kind = cost < 0 ? LIMIT_REFUND : LIMIT_CHARGE,
                    .cost = cost < 0 ? 0 - (uint64_t)cost : (uint64_t)cost };
    return limit_run(l, limit_fp(l, key, key_len), limit_now(l), &op);
}

/* ---- waiting ---- */

static bool limit_all_token_buckets(const cellar_limiter *l)
{
    for (uint32_t i = 0; i < l->rule_count; i++) {
        if (l->algorithm[i] != CELLAR_RULE_TOKEN_BUCKET) { return false; }
    }
    return true;
}

CELLAR_API cellar_err cellar_limiter_wait(cellar_limiter *l, const void *key, size_t key_len,
                                          uint64_t cost, uint64_t max_wait_ns,
                                          cellar_limiter_result *out)
{
    cellar_limiter_result mine = {0};
    cellar_limiter_result *r = out != NULL ? out : &mine;
    if (!limit_key_ok(l, key, key_len) || !limit_checks(l)) {
        return limit_call_refuse(__func__, l, key, key_len);
    }
    const limit_kind kind = limit_all_token_buckets(l) ? LIMIT_RESERVE : LIMIT_TAKE;
    const uint64_t fp = limit_fp(l, key, key_len), start = base_now_ns();
    for (uint64_t most = max_wait_ns;;) {
        limit_op op = { .kind = kind, .cost = cost, .arg = most, .result = r };
        const cellar_err err = limit_run(l, fp, limit_now(l), &op);
        if (err == CELLAR_OK && op.wait_ns > 0) { base_sleep_ns(op.wait_ns); }
        if (err != CELLAR_LIMITED) { return err; }
        if (r->never != 0) { return CELLAR_E_NEVER; }
        const uint64_t gone = base_now_ns() - start;
        if (gone > max_wait_ns || r->retry_after_ns > max_wait_ns - gone) {
            return CELLAR_E_TIMEOUT;
        }
        most = max_wait_ns - gone;
        const uint64_t jitter =
            base_rng_below(&base_thread_self()->rng, r->retry_after_ns / 100 + 1);
        base_sleep_ns(limit_min_u64(r->retry_after_ns + jitter, most));
    }
}

BASE_SIZE_END
