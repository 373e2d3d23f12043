/* SPDX-License-Identifier: MIT
 *
 * limit: limiters with keys that several processes share.
 *
 * PICTURE    check -> tokens of the key, one compare-exchange -> admitted
 *                  -> `denied` of the key, until it has passed -> denied
 *                  -> script of the server (script.c)          -> tokens for `hold`, now or after
 *                                                                 a wait, or a wait alone
 * BOUND      A token is spent before the time at which its request was sent + hold. The server
 *            grants it after it was sent. So a token spent at x was granted in (x - hold, x], and
 *            any window W admits what the server grants in W + hold: rate x (W + hold) + burst.
 *            The units of the call that asks are spent when the answer comes, io_ms after the
 *            request at the latest: a machine that is busy for longer than a short hold loses none.
 * LATER      If all denied processes retry when half a batch is available, each sends a request and
 *            one succeeds. So the server charges the batch of a denied process immediately and
 *            returns the time e at which it would have granted it. The tokens count as granted at
 *            e: they are spent from reply + wait, which is not before e, to request + wait + hold,
 *            which is not after e + hold. The bound above holds.
 * TENANCY    A slot changes its key in the order: word without tokens and with the next colour, fp,
 *            new word. A reader that finds the same fp before and after it has loaded the word has
 *            a word of this key, and its compare-exchange fails if the slot has changed.
 * LOCKING    lock: slots change their key, cold parts, local rule, asking. It is not held while the
 *            server is asked. fp, tokens and denied are read without it.
 * LIMITS     8191 tokens in a word; 2^38 ms since open; 2^13 changes of a slot while one check
 *            stands still between two instructions. */
#include "remote/share.h"

#include <stdio.h>
#include <string.h>

#include "remote/key.h"

#ifndef CELLAR_OMIT_LIMIT

enum {
    REMOTE_LIMIT_WAYS = 4, REMOTE_LIMIT_KEY_KEPT = 64, REMOTE_LIMIT_BATCH_MAX = 4096,
    REMOTE_LIMIT_COUNT_BITS = 13, REMOTE_LIMIT_COLOUR_BITS = 13,
    REMOTE_LIMIT_MEMBERS_MS = 1000, REMOTE_LIMIT_AHEAD_MS = 1000, REMOTE_LIMIT_AHEAD_HOLD_MS = 10
};
#define REMOTE_LIMIT_COUNT_MASK  ((UINT64_C(1) << REMOTE_LIMIT_COUNT_BITS) - 1)
#define REMOTE_LIMIT_COLOUR_MASK ((UINT64_C(1) << REMOTE_LIMIT_COLOUR_BITS) - 1)
#define REMOTE_LIMIT_COST_BITS   16
#define REMOTE_LIMIT_TIME_MAX_NS ((uint64_t)400 * 24 * 3600 * 1000000000u)
#define REMOTE_LIMIT_WAIT_MAX_US (INT64_C(1) << 53) /* numbers of the scripts are below that */

typedef struct remote_limit_slot {
    _Atomic uint64_t fp;     /* keyed hash of the key; 0: free. Release after the word */
    _Atomic uint64_t tokens; /* until ms, colour, count; see REMOTE_LIMIT_COUNT_BITS */
    _Atomic uint64_t denied; /* until ms, least cost */
} remote_limit_slot;

typedef struct remote_limit_cold {
    uint64_t local_ns;       /* time of the local rule at which its debt ends */
    int64_t debt_end_us;     /* clock of the server: end of the debt after the last grant */
    uint32_t asking;         /* calls that ask the server for this key */
    uint32_t key_len;        /* 0: too long to give tokens back */
    uint8_t key[REMOTE_LIMIT_KEY_KEPT];
} remote_limit_cold;

struct cellar_remote_limiter {
    cellar_remote *r;
    cellar_rule rule;
    cellar_remote_limiter_offline offline;
    remote_script script;
    uint64_t burst;          /* largest cost */
    uint64_t unit_ns;        /* time of one unit, rounded up */
    int64_t hold_ms, start_ms;
    int64_t numbers[3];      /* of the rule, for its script. Bucket: debt of a unit, largest debt,
                              * in 1/128 us */
    uint32_t batch, buckets;
    size_t bytes;
    char space[CELLAR_REMOTE_LIMITER_NAME_MAX + 16]; /* limit:NAME */
    char prefix[CELLAR_REMOTE_PREFIX_MAX + 2];       /* ~prefix */
    pthread_mutex_t lock;
    _Atomic uint32_t answered; /* rises when a call that asked the server ends */
    int64_t offline_until, members_at;
    int64_t offline_proof;   /* a later proof of the link ends that time */
    int64_t heard;           /* time of the last answer of the server */
    uint64_t members;
    cellar_remote_limiter_stats stats;
    remote_limit_cold *cold;        /* of each slot */
    remote_limit_slot slots[];
};

/* One check. */
typedef struct remote_limit_call {
    cellar_remote_limiter *l;
    const void *key;
    size_t key_len;
    uint64_t fp, cost;
    int64_t now;             /* ms since open */
    int64_t sent;            /* of the last request */
    remote_limit_slot *slot;        /* NULL: no place */
    cellar_limiter_result *out;
} remote_limit_call;

static int64_t remote_limit_now(const cellar_remote_limiter *l)
{
    return remote_share_now() - l->start_ms;
}
static remote_limit_cold *remote_cold_of(const remote_limit_call *c)
{
    return &c->l->cold[c->slot - c->l->slots];
}

/* ---- The word of a key ---------------------------------------------------------------------- */

static uint64_t remote_limit_word(int64_t until, uint64_t colour, uint64_t count)
{
    return (uint64_t)until << (REMOTE_LIMIT_COUNT_BITS + REMOTE_LIMIT_COLOUR_BITS) |
           (colour & REMOTE_LIMIT_COLOUR_MASK) << REMOTE_LIMIT_COUNT_BITS | count;
}
static int64_t remote_word_until(uint64_t w)
{
    return (int64_t)(w >> (REMOTE_LIMIT_COUNT_BITS + REMOTE_LIMIT_COLOUR_BITS));
}
static uint64_t remote_word_colour(uint64_t w)
{
    return w >> REMOTE_LIMIT_COUNT_BITS & REMOTE_LIMIT_COLOUR_MASK;
}
static uint64_t remote_word_count(uint64_t w) { return w & REMOTE_LIMIT_COUNT_MASK; }
static int64_t remote_denied_until(uint64_t d) { return (int64_t)(d >> REMOTE_LIMIT_COST_BITS); }
static uint64_t remote_denied_least(uint64_t d)
{
    return d & ((UINT64_C(1) << REMOTE_LIMIT_COST_BITS) - 1);
}

/* Replace the word by one of the next colour. Return the tokens that were left. */
static uint64_t remote_word_replace(remote_limit_slot *s, int64_t until, uint64_t count)
{
    uint64_t w = atomic_load_explicit(&s->tokens, memory_order_relaxed), next;
    do {
        next = remote_limit_word(until, remote_word_colour(w) + 1, count);
    } while (!atomic_compare_exchange_weak_explicit(&s->tokens, &w, next, memory_order_acq_rel,
                                                    memory_order_relaxed));
    return remote_word_count(w);
}

static remote_limit_slot *remote_limit_find(cellar_remote_limiter *l, uint64_t fp)
{
    remote_limit_slot *s = &l->slots[(((fp >> 32) * l->buckets) >> 32) * REMOTE_LIMIT_WAYS];
    for (size_t i = 0; i < REMOTE_LIMIT_WAYS; i++) {
        if (atomic_load_explicit(&s[i].fp, memory_order_acquire) == fp) { return &s[i]; }
    }
    return NULL;
}

static cellar_err remote_limit_admit(remote_limit_call *c, uint64_t left)
{
    c->out->allowed = 1;
    c->out->remaining = left;
    c->out->now_ns = (uint64_t)(c->now + c->l->start_ms) * 1000000;
    return CELLAR_OK;
}
static cellar_err remote_limit_deny(remote_limit_call *c, uint64_t wait_ns)
{
    c->out->retry_after_ns = wait_ns;
    c->out->now_ns = (uint64_t)(c->now + c->l->start_ms) * 1000000;
    return CELLAR_LIMITED;
}

/* Return whether tokens that were asked for before `now` may be spent at `now`. A check that stood
 * still since its reading of the clock takes no token of a later grant. */
static bool remote_limit_in_hold(const remote_limit_call *c, uint64_t w)
{
    const int64_t until = remote_word_until(w);
    return c->now < until && c->now >= until - c->l->hold_ms;
}

/* Spend tokens of the slot, or deny by its last denial. MISS: neither is known. */
static cellar_err remote_limit_spend(remote_limit_call *c)
{
    remote_limit_slot *s = c->slot;
    uint64_t w = atomic_load_explicit(&s->tokens, memory_order_acquire);
    for (;;) {
        /* Behind the word: a grant for later denies until it begins (remote_limit_later). */
        const uint64_t d = atomic_load_explicit(&s->denied, memory_order_acquire);
        if (atomic_load_explicit(&s->fp, memory_order_relaxed) != c->fp) { return CELLAR_MISS; }
        if (c->now < remote_denied_until(d) && c->cost >= remote_denied_least(d)) {
            return remote_limit_deny(c, (uint64_t)(remote_denied_until(d) - c->now) * 1000000);
        }
        if (!remote_limit_in_hold(c, w) || remote_word_count(w) < c->cost) { return CELLAR_MISS; }
        if (atomic_compare_exchange_weak_explicit(&s->tokens, &w, w - c->cost,
                                                  memory_order_acq_rel, memory_order_acquire)) {
            return remote_limit_admit(c, remote_word_count(w) - c->cost);
        }
    }
}

/* ---- Slots, under the lock ------------------------------------------------------------------ */

static int64_t remote_slot_use(const cellar_remote_limiter *l, const remote_limit_slot *s)
{
    const uint64_t word = atomic_load_explicit(&s->tokens, memory_order_relaxed);
    const uint64_t denial = atomic_load_explicit(&s->denied, memory_order_relaxed);
    const int64_t tokens = remote_word_until(word), denied = remote_denied_until(denial);
    const int64_t local = (int64_t)(l->cold[s - l->slots].local_ns / 1000000);
    const int64_t use = tokens > denied ? tokens : denied;
    return use > local ? use : local;
}

/* Choose the slot of a new key: a free one, else the one with the earliest end of tokens, denial
 * and local debt. NULL: the server is asked for all keys of the bucket. */
static remote_limit_slot *remote_limit_victim(cellar_remote_limiter *l, uint64_t fp)
{
    remote_limit_slot *s = &l->slots[(((fp >> 32) * l->buckets) >> 32) * REMOTE_LIMIT_WAYS];
    remote_limit_slot *best = NULL;
    for (size_t i = 0; i < REMOTE_LIMIT_WAYS; i++) {
        if (atomic_load_explicit(&s[i].fp, memory_order_relaxed) == 0) { return &s[i]; }
        if (l->cold[&s[i] - l->slots].asking != 0) { continue; }
        if (best == NULL || remote_slot_use(l, &s[i]) < remote_slot_use(l, best)) { best = &s[i]; }
    }
    return best;
}

static void remote_limit_unused(cellar_remote_limiter *l, uint64_t n)
{
    l->stats.unused += n;
    REMOTE_ADD(l->r, limit_unused, n);
}

static void remote_limit_claim(remote_limit_call *c)
{
    cellar_remote_limiter *l = c->l;
    c->slot = remote_limit_find(l, c->fp);
    if (c->slot != NULL) { return; }
    c->slot = remote_limit_victim(l, c->fp);
    if (c->slot == NULL) { return; }
    if (atomic_load_explicit(&c->slot->fp, memory_order_relaxed) == 0) { l->stats.keys++; }
    remote_limit_unused(l, remote_word_replace(c->slot, 0, 0));
    atomic_store_explicit(&c->slot->denied, 0, memory_order_relaxed);
    atomic_store_explicit(&c->slot->fp, c->fp, memory_order_release);
    remote_limit_cold *cold = remote_cold_of(c);
    *cold = (remote_limit_cold){ 0 };
    if (c->key_len <= REMOTE_LIMIT_KEY_KEPT) {
        cold->key_len = (uint32_t)c->key_len;
        memcpy(cold->key, c->key, c->key_len);
    }
}

/* ---- Without the server --------------------------------------------------------------------- */

/* Decide by the policy for a server that does not answer. */
static cellar_err remote_limit_local(remote_limit_call *c)
{
    cellar_remote_limiter *l = c->l;
    l->stats.offline++;
    if (l->offline == CELLAR_REMOTE_LIMITER_ALLOW) { return remote_limit_admit(c, 0); }
    const uint64_t share = l->offline == CELLAR_REMOTE_LIMITER_LOCAL_FULL ? 1 : l->members;
    const uint64_t burst = l->burst / share > 0 ? l->burst / share : 1;
    if (l->offline == CELLAR_REMOTE_LIMITER_DENY || c->slot == NULL || c->cost > burst) {
        return remote_limit_deny(c, (uint64_t)l->hold_ms * 1000000);
    }
    const uint64_t unit = l->unit_ns > REMOTE_LIMIT_TIME_MAX_NS / share ? REMOTE_LIMIT_TIME_MAX_NS
                                                                 : l->unit_ns * share;
    const uint64_t now = (uint64_t)c->now * 1000000;
    remote_limit_cold *cold = remote_cold_of(c);
    const uint64_t debt = cold->local_ns > now ? cold->local_ns - now : 0;
    const uint64_t room = burst * unit;
    if (debt + c->cost * unit > room) { return remote_limit_deny(c, debt + c->cost * unit - room); }
    cold->local_ns = now + debt + c->cost * unit;
    return remote_limit_admit(c, (room - debt) / unit - c->cost);
}

/* ---- With the server ------------------------------------------------------------------------ */

static void remote_limit_names(const cellar_remote_limiter *l, const void *bytes, size_t len,
                               remote_name *key, remote_name *list)
{
    const remote_names names = { l->prefix, l->space };
    const remote_names lists = { l->prefix, "members" };
    remote_key_name(&names, bytes, len, key);
    remote_key_name(&lists, l->space, strlen(l->space), list);
}

/* Return the units to ask for. */
static uint64_t remote_limit_want(const remote_limit_call *c)
{
    return c->slot != NULL && c->cost < c->l->batch ? c->l->batch : c->cost;
}

/* Return the longest wait in us for units that the server may grant for later; 0: none. */
static int64_t remote_limit_ahead_us(const remote_limit_call *c)
{
    const bool long_enough = c->l->hold_ms >= REMOTE_LIMIT_AHEAD_HOLD_MS;
    const bool ahead = long_enough && remote_limit_want(c) > c->cost;
    return ahead ? REMOTE_LIMIT_AHEAD_MS * 1000 : 0;
}

/* Return whether a script may have answered so: units that were asked for and that a word has
 * room for, or a wait. */
static bool remote_limit_answer_valid(const remote_limit_call *c, const int64_t *numbers)
{
    const int64_t granted = numbers[0], wait_us = numbers[1];
    if (granted == 0) { return wait_us <= REMOTE_LIMIT_WAIT_MAX_US; }
    return granted >= (int64_t)c->cost && granted <= (int64_t)remote_limit_want(c) &&
           wait_us <= remote_limit_ahead_us(c);
}

/* Ask the server for a batch. `numbers` as the script returns them.
 * returns: codes of remote_script_run; E_IO also for numbers that no script returns */
static cellar_err remote_limit_ask(remote_limit_call *c, bool members, int64_t *numbers)
{
    cellar_remote_limiter *l = c->l;
    remote_name key, list;
    const uint64_t want = remote_limit_want(c);
    const bool bucket = l->script == REMOTE_SCRIPT_BUCKET;
    const cellar_bytes id = { l->r->cfg.uuid, members ? strlen(l->r->cfg.uuid) : 0 };
    const uint64_t least = want / 2 > c->cost ? want / 2 : c->cost;
    remote_limit_names(l, c->key, c->key_len, &key, &list);
    REMOTE_ADD(l->r, limit_calls, 1);
    c->sent = remote_limit_now(l);
    const bool named = remote_is_named(l->r);
    const cellar_err err = remote_script_run(
        l->r, REMOTE_WORDS(REMOTE_EVAL(l->r, named, l->script, "2"), REMOTE_NAME(&key),
                           REMOTE_NAME(&list), id, REMOTE_NUMBER((int64_t)want),
                           REMOTE_NUMBER((int64_t)least), REMOTE_NUMBER(l->numbers[0]),
                           REMOTE_NUMBER(l->numbers[1]),
                           REMOTE_NUMBER(bucket ? remote_limit_ahead_us(c) : l->numbers[2])),
        0, numbers, NULL);
    return err == CELLAR_OK && !remote_limit_answer_valid(c, numbers) ? CELLAR_E_IO : err;
}

/* Deny costs from `least` on, until `until`. A denial of all costs stays until it ends: reserved
 * tokens may begin then. */
static void remote_slot_deny(remote_limit_call *c, int64_t until, uint64_t least)
{
    const uint64_t d = atomic_load_explicit(&c->slot->denied, memory_order_relaxed);
    const bool all = c->now < remote_denied_until(d) && remote_denied_least(d) <= 1;
    if (all && (least > 1 || until <= remote_denied_until(d))) { return; }
    atomic_store_explicit(&c->slot->denied, (uint64_t)until << REMOTE_LIMIT_COST_BITS | least,
                          memory_order_release);
}

/* Keep tokens that may be spent after `wait_us`. Counted from the reply, that time is not earlier
 * than on the server; `hold` counts from the request. */
static cellar_err remote_limit_later(remote_limit_call *c, int64_t wait_us, uint64_t granted)
{
    const int64_t begin = c->now + wait_us / 1000 + 2;
    remote_slot_deny(c, begin, 1);
    const int64_t until = c->sent + wait_us / 1000 + c->l->hold_ms;
    remote_limit_unused(c->l, remote_word_replace(c->slot, until, granted));
    return remote_limit_deny(c, (uint64_t)(begin - c->now) * 1000000);
}

static cellar_err remote_limit_take(remote_limit_call *c, const int64_t *numbers)
{
    cellar_remote_limiter *l = c->l;
    const uint64_t granted = (uint64_t)numbers[0];
    const int64_t wait_us = numbers[1] > 0 ? numbers[1] : 0;
    if (numbers[2] > 0) { l->members = (uint64_t)numbers[2]; }
    l->stats.granted += granted;
    if (granted == 0 || wait_us > 0) {
        l->stats.denied++;
        if (granted > 0) {
            remote_cold_of(c)->debt_end_us = numbers[3];
            return remote_limit_later(c, wait_us, granted);
        }
        if (c->slot != NULL && c->cost < 1u << REMOTE_LIMIT_COST_BITS) {
            remote_slot_deny(c, c->now + (wait_us + 999) / 1000, c->cost);
        }
        return remote_limit_deny(c, (uint64_t)wait_us * 1000);
    }
    const bool late = c->now >= c->sent + l->hold_ms;
    const uint64_t left = late ? 0 : granted - c->cost;
    if (late) { remote_limit_unused(l, granted - c->cost); }
    if (c->slot != NULL && left > 0) {
        remote_limit_unused(l, remote_word_replace(c->slot, c->sent + l->hold_ms, left));
        atomic_store_explicit(&c->slot->denied, 0, memory_order_release);
        remote_cold_of(c)->debt_end_us = numbers[3];
    }
    return remote_limit_admit(c, left);
}

/* Ask the server. The lock is held at entry and at return. */
static cellar_err remote_limit_serve(remote_limit_call *c)
{
    cellar_remote_limiter *l = c->l;
    int64_t numbers[REMOTE_NUMBERS_MAX];
    const bool members = c->now >= l->members_at;
    if (members) { l->members_at = c->now + REMOTE_LIMIT_MEMBERS_MS; }
    l->stats.calls++;
    pthread_mutex_unlock(&l->lock);
    const cellar_err err = remote_limit_ask(c, members, numbers);
    pthread_mutex_lock(&l->lock);
    c->now = remote_limit_now(l);
    if (err == CELLAR_E_FORKED || err == CELLAR_E_CLOSED) { return err; }
    if (err == CELLAR_OK) {
        l->heard = c->now;
        return remote_limit_take(c, numbers);
    }
    if (err == CELLAR_E_TIMEOUT) { remote_limit_unused(l, remote_limit_want(c)); } /* of a late
                                                                                    * answer */
    if (err != CELLAR_E_NOMEM) { l->offline_until = c->now + l->hold_ms; }
    l->offline_proof = remote_proven_until(l->r->link);
    return remote_limit_local(c);
}

/* Return whether the server has not answered for hold_ms, and no proof came since. */
static bool remote_limit_away(const remote_limit_call *c)
{
    const cellar_remote_limiter *l = c->l;
    return c->now < l->offline_until && remote_proven_until(l->r->link) <= l->offline_proof;
}

/* Decide a check that the words of its key do not answer. One call asks for a key at a time, unless
 * each admission is asked for alone. A call that waits for it asks after hold_ms only if the server
 * answers: else the end of the other call decides both. */
static cellar_err remote_limit_slow(remote_limit_call *c)
{
    cellar_remote_limiter *l = c->l;
    const int64_t begin = c->now, deadline = begin + l->hold_ms;
    cellar_err err = CELLAR_MISS;
    pthread_mutex_lock(&l->lock);
    while (err == CELLAR_MISS) {
        c->now = remote_limit_now(l);
        remote_limit_claim(c);
        if (c->slot != NULL) { err = remote_limit_spend(c); }
        if (err != CELLAR_MISS) { break; }
        if (remote_limit_away(c) || remote_inside(l->r->link)) {
            err = remote_limit_local(c);
        } else if (c->slot != NULL && l->batch > 1 && remote_cold_of(c)->asking > 0 &&
                   (c->now < deadline || l->heard <= begin)) {
            remote_share_sleep(&l->answered, &l->lock,
                               c->now < deadline ? deadline - c->now : l->hold_ms);
        } else {
            if (c->slot != NULL) { remote_cold_of(c)->asking++; }
            err = remote_limit_serve(c);
            if (c->slot != NULL) { remote_cold_of(c)->asking--; }
            remote_share_wake(&l->answered);
        }
    }
    pthread_mutex_unlock(&l->lock);
    return err;
}

CELLAR_API cellar_err cellar_remote_limiter_check(cellar_remote_limiter *l, const void *key,
                                                  size_t key_len, uint64_t cost,
                                                  cellar_limiter_result *out)
{
    cellar_limiter_result unused;
    if (l == NULL || key == NULL || key_len == 0 || key_len > CELLAR_KEY_MAX) {
        return CELLAR_E_INVAL;
    }
    if (l->r->forked) { return CELLAR_E_FORKED; }
    if (out == NULL) { out = &unused; }
    *out = (cellar_limiter_result){ .limit = l->rule.limit };
    remote_limit_call c = { .l = l, .key = key, .key_len = key_len, .cost = cost, .out = out,
                            .now = remote_limit_now(l),
                            .fp = remote_check(l->r->share->seed, key, key_len) | 1 };
    if (cost == 0) { return remote_limit_admit(&c, 0); }
    if (cost > l->burst) {
        out->never = 1;
        return remote_limit_deny(&c, CELLAR_NEVER_NS);
    }
    c.slot = remote_limit_find(l, c.fp);
    if (c.slot != NULL) {
        const cellar_err err = remote_limit_spend(&c);
        if (err != CELLAR_MISS) { return err; }
    }
    return remote_limit_slow(&c);
}

BASE_SIZE_BEGIN

/* ---- Open, close, figures ------------------------------------------------------------------- */

/* Return the rule that an option breaks; NULL: none. */
static const char *remote_limit_opts_rule(const cellar_remote_limiter_config *o)
{
    return o->name != NULL &&
               (!remote_is_plain(o->name) || strlen(o->name) > CELLAR_REMOTE_LIMITER_NAME_MAX)
               ? "name must be 1 to 48 letters, digits, '.', '_' or '-'"
           : (unsigned)o->offline > CELLAR_REMOTE_LIMITER_ALLOW
               ? "offline must be LOCAL_SHARE, LOCAL_FULL, DENY or ALLOW"
           : o->max_keys > 1u << 22 ? "max_keys must be at most 4,194,304"
           : o->reserved0 != 0      ? "reserved0 must be 0" : NULL;
}

static cellar_err remote_limit_refuse(cellar_err code, const char *rule)
{
    return remote_call_refuse(code, "cellar_remote_limiter_open", rule);
}

/* Set the numbers of a rule that `unit` counts. */
static cellar_err remote_limit_units(cellar_remote_limiter *l, uint64_t period)
{
    if (period == 0 || period > CELLAR_PERIOD_MAX_NS) {
        return remote_limit_refuse(CELLAR_E_INVAL,
                                   "the period of the rule must be 1 ns to 400 days");
    }
    const uint64_t limit = l->rule.limit > 0 ? l->rule.limit : 1;
    l->unit_ns = (period + limit - 1) / limit;
    /* period * 128 / 1000 in two steps: 400 days in ns times 16 exceed 64 bits */
    const uint64_t unit = ((period / 125 * 16 + (period % 125 * 16 + 124) / 125) + limit - 1) /
                          limit;
    if (unit < 16) {
        return remote_limit_refuse(CELLAR_E_RANGE,
                                   "the rule must admit at most 8 x 10^6 units a second");
    }
    if (l->unit_ns > REMOTE_LIMIT_TIME_MAX_NS || l->burst > REMOTE_LIMIT_TIME_MAX_NS / l->unit_ns) {
        return remote_limit_refuse(CELLAR_E_RANGE,
                                   "burst x period / limit must be at most 400 days");
    }
    if (l->script == REMOTE_SCRIPT_BUCKET) {
        l->numbers[0] = (int64_t)unit;
        l->numbers[1] = (int64_t)(unit * l->burst);
    }
    return CELLAR_OK;
}

/* Set the script and the numbers of a rule. */
static cellar_err remote_limit_rule(cellar_remote_limiter *l)
{
    static const uint64_t calendar_ns[] = { 0, CELLAR_MINUTE_NS, CELLAR_HOUR_NS, CELLAR_DAY_NS,
                                            7 * CELLAR_DAY_NS, 28 * CELLAR_DAY_NS };
    const cellar_rule *const rule = &l->rule;
    const bool window = rule->algorithm == CELLAR_RULE_FIXED_WINDOW;
    const bool log = rule->algorithm == CELLAR_RULE_SLIDING_LOG;
    const bool bucket = rule->algorithm == CELLAR_RULE_TOKEN_BUCKET;
    const struct { bool broken; cellar_err code; const char *text; } rules[] = {
        { rule->flags != 0, CELLAR_E_UNSUPPORTED,
          "rule.flags must be 0: take a sliding log for a strict rule" },
        { rule->ban_ns != 0, CELLAR_E_UNSUPPORTED, "rule.ban_ns must be 0: ban in each process" },
        { rule->limit > CELLAR_REMOTE_LIMIT_MAX, CELLAR_E_RANGE,
          "rule.limit must be at most 10^9" },
        { !window && !log && !bucket, CELLAR_E_UNSUPPORTED,
          "the rule must be token bucket, fixed window or sliding log" },
        { window && (rule->calendar < CELLAR_PER_MINUTE || rule->calendar > CELLAR_PER_MONTH),
          CELLAR_E_INVAL, "rule.calendar must be PER_MINUTE to PER_MONTH" },
        { log && rule->limit > CELLAR_SLIDING_LOG_MAX, CELLAR_E_RANGE,
          "the limit of a sliding log must be at most 4096" },
        { bucket && rule->burst == 0, CELLAR_E_INVAL, "rule.burst must be at least 1" },
    };
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        if (rules[i].broken) { return remote_limit_refuse(rules[i].code, rules[i].text); }
    }
    const uint64_t period = window ? calendar_ns[rule->calendar] : rule->period_ns;
    const bool month = window && rule->calendar == CELLAR_PER_MONTH;
    const bool week = window && rule->calendar == CELLAR_PER_WEEK;
    l->script = window ? REMOTE_SCRIPT_WINDOW : log ? REMOTE_SCRIPT_LOG : REMOTE_SCRIPT_BUCKET;
    l->burst = bucket && rule->limit != 0 ? rule->burst : rule->limit;
    l->numbers[0] = month ? 0 : (int64_t)(window ? period / 1000000000 : (period + 999) / 1000);
    l->numbers[1] = (int64_t)rule->limit;
    l->numbers[2] = week ? 3 * 86400 : 0; /* 1970 began on a Thursday */
    return remote_limit_units(l, period);
}

static cellar_err remote_limit_batch(cellar_remote_limiter *l,
                                     const cellar_remote_limiter_config *o)
{
    const uint64_t period_ms = (uint64_t)l->unit_ns * l->rule.limit / 1000000;
    l->hold_ms = o->hold_ms != 0 ? o->hold_ms
               : period_ms / 20 >= 50 ? 50 : period_ms / 20 < 2 ? 2 : (int64_t)(period_ms / 20);
    const uint64_t fair = (uint64_t)l->hold_ms * 1000000 / 4 / l->unit_ns;
    uint64_t batch = o->batch != 0                    ? o->batch
                     : fair < REMOTE_LIMIT_BATCH_MAX ? fair : REMOTE_LIMIT_BATCH_MAX;
    if (l->hold_ms < 1 || l->hold_ms > 60000 || batch > REMOTE_LIMIT_BATCH_MAX) {
        return remote_limit_refuse(CELLAR_E_RANGE, "hold_ms must be 1..60000, batch 0..4096");
    }
    if (batch > l->burst) { batch = l->burst; }
    l->batch = l->script == REMOTE_SCRIPT_BUCKET && batch > 1 ? (uint32_t)batch : 1;
    return CELLAR_OK;
}

static cellar_err remote_limit_start(cellar_remote_limiter *l, cellar_remote *r,
                                     const cellar_rule *rule,
                                     const cellar_remote_limiter_config *o)
{
    l->r = r;
    l->rule = *rule;
    l->rule.name = NULL;
    l->offline = o->offline;
    l->members = 1;
    l->start_ms = remote_share_now();
    (void)snprintf(l->prefix, sizeof l->prefix, "~%s", r->cfg.prefix);
    (void)snprintf(l->space, sizeof l->space, "limit:%s", o->name != NULL ? o->name : "default");
    const cellar_err err = remote_limit_rule(l);
    return err != CELLAR_OK ? err : remote_limit_batch(l, o);
}

CELLAR_API cellar_err cellar_remote_limiter_open(cellar_remote *r, const cellar_rule *rule,
                                                 const cellar_remote_limiter_config *opts,
                                                 cellar_remote_limiter **out)
{
    cellar_remote_limiter_config o = cellar_remote_limiter_config_default();
    if (out == NULL) { return CELLAR_E_INVAL; }
    *out = NULL;
    if (r == NULL || rule == NULL) {
        return remote_limit_refuse(CELLAR_E_INVAL, "r and rule must be given");
    }
    if (r->forked) { return CELLAR_E_FORKED; }
    if (opts != NULL) {
        if (opts->struct_size != sizeof o) {
            return remote_limit_refuse(CELLAR_E_UNSUPPORTED,
                                       "struct_size is that of another version");
        }
        o = *opts;
    }
    const char *const broken = remote_limit_opts_rule(&o);
    if (broken != NULL) { return remote_limit_refuse(CELLAR_E_INVAL, broken); }
    const uint32_t keys = o.max_keys != 0 ? o.max_keys : 16384;
    const uint32_t buckets = (keys + REMOTE_LIMIT_WAYS - 1) / REMOTE_LIMIT_WAYS;
    const size_t slots = (size_t)buckets * REMOTE_LIMIT_WAYS;
    const size_t bytes = sizeof(cellar_remote_limiter) +
                         slots * (sizeof(remote_limit_slot) + sizeof(remote_limit_cold));
    cellar_remote_limiter *l = remote_alloc(r, bytes);
    if (l == NULL) { return remote_limit_refuse(CELLAR_E_NOMEM, "no memory: raise memory_bytes"); }
    memset(l, 0, bytes);
    const cellar_err err = remote_limit_start(l, r, rule, &o);
    if (err != CELLAR_OK) {
        remote_free(r, l, bytes);
        return err;
    }
    pthread_mutex_init(&l->lock, NULL);
    l->bytes = bytes;
    l->buckets = buckets;
    l->cold = (remote_limit_cold *)(void *)(l->slots + slots);
    *out = l;
    return CELLAR_OK;
}

/* Send unspent tokens of a slot back, if there is time to use them elsewhere. */
static bool remote_limit_give(cellar_remote_limiter *l, size_t i)
{
    const uint64_t w = atomic_load_explicit(&l->slots[i].tokens, memory_order_relaxed);
    const remote_limit_cold *cold = &l->cold[i];
    const bool named = remote_is_named(l->r);
    remote_name key, list;
    if (remote_word_count(w) == 0) { return false; }
    remote_limit_unused(l, remote_word_count(w));
    if (remote_limit_now(l) >= remote_word_until(w) || cold->key_len == 0 ||
        named) { /* units of a port end with the hold */
        return false;
    }
    remote_limit_names(l, cold->key, cold->key_len, &key, &list);
    remote_script_post(l->r, REMOTE_WORDS(
        REMOTE_EVAL(l->r, named, REMOTE_SCRIPT_GIVE, "2"), REMOTE_NAME(&key), REMOTE_NAME(&list),
        { "", 0 }, REMOTE_NUMBER((int64_t)remote_word_count(w)), { "0", 1 },
        REMOTE_NUMBER(l->numbers[0]), REMOTE_NUMBER(cold->debt_end_us)));
    return true;
}

/* Give all tokens back, and wait once until the server has them: it answers in order. */
static void remote_limit_give_all(cellar_remote_limiter *l)
{
    int64_t numbers[REMOTE_NUMBERS_MAX];
    bool any = false;
    for (size_t i = 0; i < (size_t)l->buckets * REMOTE_LIMIT_WAYS; i++) {
        if (remote_limit_give(l, i)) { any = true; }
    }
    if (any) { (void)remote_script_run(l->r, REMOTE_WORDS({ "TIME", 4 }), 0, numbers, NULL); }
}

CELLAR_API void cellar_remote_limiter_close(cellar_remote_limiter *l)
{
    if (l == NULL || l->r->forked) { return; }
    remote_limit_give_all(l);
    pthread_mutex_destroy(&l->lock);
    remote_free(l->r, l, l->bytes);
}

CELLAR_API cellar_err cellar_remote_limiter_stats_get(cellar_remote_limiter *l,
                                                      cellar_remote_limiter_stats *out)
{
    if (l == NULL || out == NULL || out->struct_size != sizeof *out) { return CELLAR_E_INVAL; }
    if (l->r->forked) { return CELLAR_E_FORKED; }
    pthread_mutex_lock(&l->lock);
    *out = l->stats;
    out->struct_size = sizeof *out;
    out->processes = l->members;
    out->bytes = l->bytes;
    pthread_mutex_unlock(&l->lock);
    return CELLAR_OK;
}

BASE_SIZE_END

#endif
