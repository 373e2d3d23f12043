/* SPDX-License-Identifier: MIT
 *
 * shared_limit: limiters that processes share, on tables of the port.
 *
 * PICTURE    name and rule -> resp_limit -> cellar_limiter, a table of a fixed size
 * INVARIANTS All tables have RESP_LIMIT_PART of shared_bytes. A new one takes a quarter of what is
 *            left, or as much as its rule needs; a name too many is refused. A full table evicts
 *            the key that loses least, so no number of keys fills the port.
 *            Another rule under the same name has a table of its own.
 * BATCH      All wanted units; else the units left, if they are enough; else the bucket reserves.
 * LOCKING    None: the thread of the round.
 * LIMITS     RESP_LIMIT_MEMBERS processes of a name are counted. */
#include "resp/shared_limit.h"

#include "base/log.h"
#include "base/num.h"
#include "cellar_limit.h"

#include <string.h>

BASE_SIZE_BEGIN

#ifdef CELLAR_OMIT_LIMIT

CELLAR_PRIVATE bool resp_limit_take(resp_client *c, const resp_limit_ask *q, int64_t out[3])
{
    (void)q, (void)out;
    resp_error(c, "ERR this build has no limiters");
    return false;
}
CELLAR_PRIVATE void resp_limit_tick(cellar_resp *r) { (void)r; }
CELLAR_PRIVATE void resp_limit_close(cellar_resp *r) { (void)r; }

#else

#define RESP_LIMIT_MEMBERS 128u
#define RESP_LIMIT_MEMBER_MS 10000 /* for so long a process counts as a user */
#define RESP_LIMIT_LOG_MS 3600000  /* between two lines of the log */

/* A limiter of a name and a rule, one allocation. */
struct resp_limit {
    struct resp_limit *next;
    cellar_limiter *table;
    resp_limit_kind kind;
    int64_t rule[2];
    struct { uint64_t id; int64_t at_ms; } member[RESP_LIMIT_MEMBERS]; /* at_ms 0: free */
    size_t name_len;
    unsigned char name[];
};

/* Make the rule of a request. False: no process of this version sends it. */
static bool resp_limit_rule(const resp_limit_ask *q, cellar_rule *rule)
{
    static const int64_t seconds[] = { [CELLAR_PER_MINUTE] = 60, [CELLAR_PER_HOUR] = 3600,
                                       [CELLAR_PER_DAY] = 86400, [CELLAR_PER_WEEK] = 7 * 86400,
                                       [CELLAR_PER_MONTH] = 0 };
    const uint64_t a = (uint64_t)q->rule[0], b = (uint64_t)q->rule[1];
    uint32_t calendar = CELLAR_PER_MINUTE;
    if (q->rule[0] < 0 || q->rule[1] < 0) { return false; }
    switch (q->kind) {
    case RESP_LIMIT_BUCKET: /* a unit each a / 128 us */
        if (a == 0 || a / 128 > CELLAR_PERIOD_MAX_NS / 1000) { return false; }
        *rule = a <= CELLAR_PERIOD_MAX_NS / 1000
                    ? cellar_rule_token_bucket(128, a * 1000, b / a)
                    : cellar_rule_token_bucket(1, a / 128 * 1000, b / a);
        return true;
    case RESP_LIMIT_LOG:
        *rule = cellar_rule_sliding_log(b, a <= CELLAR_PERIOD_MAX_NS / 1000 ? a * 1000 : 0);
        return true;
    case RESP_LIMIT_WINDOW:
        while (calendar <= CELLAR_PER_MONTH && seconds[calendar] != q->rule[0]) { calendar++; }
        *rule = cellar_rule_fixed_window(b, (cellar_calendar)calendar);
        return calendar <= CELLAR_PER_MONTH;
    }
    return false;
}

/* Open the table of a request. Return OK, E_INVAL (the rule), or a code of cellar_limiter_open. */
static cellar_err resp_limit_open(cellar_resp *r, const resp_limit_ask *q, cellar_limiter **out)
{
    resp_shared *s = &r->shared;
    cellar_limiter_config o = cellar_limiter_config_default();
    cellar_rule rule;
    const uint64_t most = base_load_rlx(&s->limit_most_bytes);
    const uint64_t left = most > s->limit_bytes ? most - s->limit_bytes : 0;
    cellar_err err = CELLAR_E_SPACE;
    if (!resp_limit_rule(q, &rule)) { return CELLAR_E_INVAL; }
    o.max_overrides = CELLAR_OFF;
    for (uint64_t part = 4; part > 0 && err == CELLAR_E_SPACE && left / part > 0; part /= 2) {
        o.max_bytes = left / part;
        err = cellar_limiter_open(&o, &rule, 1, out);
    }
    if (err == CELLAR_OK) { s->limit_bytes += o.max_bytes; }
    return err;
}

/* Write a line of the log, once an hour. */
static void resp_limit_say(cellar_resp *r, const char *text)
{
    if (r->now_ms < r->shared.limit_log_ms) { return; }
    r->shared.limit_log_ms = r->now_ms + RESP_LIMIT_LOG_MS;
    base_log(&r->obj.log, BASE_LOG_WARNING, "resp", (int)CELLAR_E_SPACE,
             "%s: raise shared_bytes (cellar serve --shared)", text);
}

/* Find the limiter of a request, or make it. NULL: an error was written. */
static struct resp_limit *resp_limit_of(resp_client *c, const resp_limit_ask *q)
{
    cellar_resp *r = c->of;
    struct resp_limit *l = r->shared.limits;
    for (; l != NULL; l = l->next) {
        if (l->kind == q->kind && memcmp(l->rule, q->rule, sizeof l->rule) == 0 &&
            l->name_len == q->name.len && memcmp(l->name, q->name.data, l->name_len) == 0) {
            return l;
        }
    }
    l = base_alloc(&r->obj.account, BASE_MOD_STORE, sizeof *l + q->name.len, NULL);
    if (l == NULL) {
        resp_error(c, "%s", RESP_OOM);
        return NULL;
    }
    memset(l, 0, sizeof *l);
    const cellar_err err = resp_limit_open(r, q, &l->table);
    if (err != CELLAR_OK) {
        base_free(&r->obj.account, BASE_MOD_STORE, l, sizeof *l + q->name.len);
        if (err == CELLAR_E_SPACE) {
            (void)base_add_rlx(&r->shared.limits_refused, 1u);
            resp_limit_say(r, "a limiter is refused, because those of other names have all room");
            resp_error(c, "ERR the port has no room for another limiter: raise shared_bytes");
        } else {
            resp_fail(c, err);
        }
        return NULL;
    }
    l->kind = q->kind;
    memcpy(l->rule, q->rule, sizeof l->rule);
    l->name_len = q->name.len;
    memcpy(l->name, q->name.data, q->name.len);
    l->next = r->shared.limits;
    r->shared.limits = l;
    return l;
}

/* Note a process, and count those of the last 10 s. */
static uint32_t resp_limit_count(const cellar_resp *r, struct resp_limit *l, cellar_bytes id)
{
    const uint64_t hash = base_hash_long(&r->hash_key, 3, id.data, id.len);
    uint32_t at = 0, live = 0;
    for (uint32_t i = 0; i < RESP_LIMIT_MEMBERS; i++) { /* its own place, else the oldest one */
        const bool own = l->member[i].at_ms != 0 && l->member[i].id == hash;
        if (own || l->member[i].at_ms < l->member[at].at_ms) { at = i; }
        if (own) { break; }
    }
    l->member[at].id = hash;
    l->member[at].at_ms = BASE_MAX(r->now_ms, 1);
    for (uint32_t i = 0; i < RESP_LIMIT_MEMBERS; i++) {
        live += l->member[i].at_ms != 0 && r->now_ms - l->member[i].at_ms < RESP_LIMIT_MEMBER_MS;
    }
    return live;
}

CELLAR_PRIVATE bool resp_limit_take(resp_client *c, const resp_limit_ask *q, int64_t out[3])
{
    struct resp_limit *l = resp_limit_of(c, q);
    const uint64_t want = (uint64_t)q->want, least = (uint64_t)q->least;
    const void *key = q->key.data;
    cellar_limiter_result got;
    cellar_limiter_ticket ticket;
    uint64_t units = want, wait_ns = 0;
    if (l == NULL) { return false; }
    cellar_err err = cellar_limiter_check(l->table, key, q->key.len, units, &got);
    if (err == CELLAR_LIMITED && got.remaining >= least && got.remaining < want && least > 0) {
        units = got.remaining;
        err = cellar_limiter_check(l->table, key, q->key.len, units, &got);
    }
    if (err == CELLAR_LIMITED && q->kind == RESP_LIMIT_BUCKET && q->more > 0) {
        units = want;
        err = cellar_limiter_reserve(l->table, key, q->key.len, units, (uint64_t)q->more * 1000,
                                     &ticket, &wait_ns, &got);
    }
    if (err == CELLAR_LIMITED && least < want) { /* for the wait of the least units */
        units = least;
        err = cellar_limiter_check(l->table, key, q->key.len, units, &got);
    }
    if (err != CELLAR_OK && err != CELLAR_LIMITED) {
        resp_fail(c, err);
        return false;
    }
    if (err == CELLAR_LIMITED) { wait_ns = got.retry_after_ns; }
    out[0] = err == CELLAR_OK ? (int64_t)units : 0;
    out[1] = (int64_t)(BASE_MIN(wait_ns, CELLAR_PERIOD_MAX_NS) / 1000 + (wait_ns % 1000 != 0));
    out[2] = q->id.len > 0 ? resp_limit_count(c->of, l, q->id) : 0;
    return true;
}

CELLAR_PRIVATE void resp_limit_tick(cellar_resp *r)
{
    uint64_t lost = 0;
    for (const struct resp_limit *l = r->shared.limits; l != NULL; l = l->next) {
        cellar_limiter_stats st = cellar_limiter_stats_default();
        (void)cellar_limiter_stats_get(l->table, &st);
        lost += st.live_evicted; /* keys with debt */
    }
    const bool more = lost > base_load_rlx(&r->shared.limits_evicted);
    base_store_rlx(&r->shared.limits_evicted, lost);
    if (more) { resp_limit_say(r, "limiters forget keys with debt, which begin again"); }
}

CELLAR_PRIVATE void resp_limit_close(cellar_resp *r)
{
    for (struct resp_limit *l; (l = r->shared.limits) != NULL;) {
        r->shared.limits = l->next;
        cellar_limiter_close(l->table);
        base_free(&r->obj.account, BASE_MOD_STORE, l, sizeof *l + l->name_len);
    }
    r->shared.limit_bytes = 0;
}

#endif

BASE_SIZE_END
