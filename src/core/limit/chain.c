/* SPDX-License-Identifier: MIT
 *
 * chain: several limiters that must all admit: user, address, the whole site.
 *
 * WALK       peek all, deny on the first that denies -> take in the given order, with a ticket each
 *            -> on a denial give back the tickets, in reverse
 * INVARIANTS A chain admits only if each of its limiters admitted. While a chain is taken back,
 *            other calls can meet its charge: at most cost x (threads at that moment) units are
 *            denied without need. `chain_rollbacks` counts these moments.
 * SEE ALSO   decide.c: several rules of one limiter, atomic in one slot. */
#include "limit/call.h"
#include "limit/run.h"
#include "limit/table.h"

BASE_SIZE_BEGIN

static cellar_err limit_link_run(const cellar_limiter_link *k, limit_kind kind,
                                 limit_ticket *ticket, cellar_limiter_result *result)
{
    limit_op op = { .kind = kind, .cost = k->cost, .ticket = ticket, .result = result };
    return limit_run(k->limiter, limit_fp(k->limiter, k->key, k->key_len), limit_now(k->limiter),
                     &op);
}

/* Give back what a link took. */
static void limit_link_back(const cellar_limiter_link *k, limit_ticket *ticket)
{
    if (ticket->limiter != NULL) { (void)limit_ticket_give(k->limiter, ticket, ticket->cost); }
}

/* Repeat the denial of a peek as a take, so that it is counted, charged (CHARGE_DENIED) and banned.
 * Charge and ban change the wait in `out`. If the take passes by now, give the units back: the
 * chain was denied, and `out` keeps the result of the peek. */
static void limit_link_denied(const cellar_limiter_link *k, cellar_limiter_result *out)
{
    limit_ticket ticket;
    cellar_limiter_result result;
    ticket.limiter = NULL;
    const cellar_err err = limit_link_run(k, LIMIT_TAKE, &ticket, &result);
    if (err == CELLAR_OK) { limit_link_back(k, &ticket); }
    if (err == CELLAR_LIMITED && out != NULL) { *out = result; }
}

CELLAR_API cellar_err cellar_limiter_check_chain(const cellar_limiter_link *links, uint32_t count,
                                                 cellar_limiter_result *out, uint32_t *denied_by)
{
    limit_ticket ticket[CELLAR_LIMITER_CHAIN_MAX];
    cellar_err err = CELLAR_OK;
    uint32_t i = 0;
    if (links == NULL || count == 0 || count > CELLAR_LIMITER_CHAIN_MAX) { return CELLAR_E_INVAL; }
    for (i = 0; i < count; i++) {
        if (!limit_key_ok(links[i].limiter, links[i].key, links[i].key_len) ||
            links[i].limiter->conc >= 0) {
            return CELLAR_E_INVAL;
        }
    }
    for (i = 0; i < count && err == CELLAR_OK; i++) {
        if (denied_by != NULL) { *denied_by = i; }
        err = limit_link_run(&links[i], LIMIT_PEEK, NULL, out);
    }
    if (err == CELLAR_LIMITED) {
        limit_link_denied(&links[i - 1], out);
        return err;
    }
    if (err != CELLAR_OK) { return err; }
    for (i = 0; i < count && err == CELLAR_OK; i++) {
        ticket[i].limiter = NULL;
        BASE_POINT("limit.chain.take");
        if (denied_by != NULL) { *denied_by = i; }
        err = limit_link_run(&links[i], LIMIT_TAKE, &ticket[i], out);
    }
    if (err == CELLAR_OK) { return CELLAR_OK; }
    for (uint32_t k = i - 1; k-- > 0;) {
        BASE_POINT("limit.chain.back");
        limit_link_back(&links[k], &ticket[k]);
    }
    if (i > 1) { limit_count(links[i - 1].limiter, STATS_LIMITER_CHAIN_ROLLBACKS, 1); }
    return err;
}

BASE_SIZE_END
