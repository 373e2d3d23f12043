/* SPDX-License-Identifier: MIT
 *
 * Aim:    each algorithm decides exactly as its definition says, call after call, alone and with
 *         others: what one denies none is charged for.
 * Method: random calls of every kind on a few keys with a turned clock, beside naive models that
 *         know nothing of words: a token bucket, lists of all units (log, counts,
 *         calendar). What a denied call must wait is found by asking the model about later moments.
 *         cellar_limiter_check_with brings readings of any age: the model takes them as the header
 *         says. LIMIT_CALLS=n for longer runs. */
#include "tests/support/limit_kit.h"

enum { KEYS = 3, RULES = 3, HISTORY = 1 << 12 };

/* ---- models ---- */

typedef struct list { /* all units that count since the last reset, in order */
    uint64_t at[HISTORY], cost[HISTORY];
    size_t count;
} list;

typedef struct owed { /* what a key owes one rule */
    uint64_t tat;         /* token bucket: when all is paid, 1/64 ns */
    uint64_t newest;      /* count: start of the newest window written, ns; 0: none */
    uint64_t over;        /* log: units charged when it was full */
    uint32_t phase;       /* count: the rules that give the unit of the list */
    list l;               /* all others */
} owed;

typedef struct ticket { /* what was taken, as the caller and as the model know it */
    cellar_limiter_ticket t;
    bool open;
    uint64_t cost, now, epoch, tat[RULES]; /* tat: when the take is paid for, 1/64 ns */
    uint32_t phase;
} ticket;

static struct oracle {
    cellar_rule rule[2][RULES]; /* before and after a change of the rules */
    uint32_t count, phase;
    owed *owed[KEYS]; /* [rule] */
    uint64_t banned[KEYS], epoch[KEYS]; /* epoch: of takes that can be given back */
    uint64_t ban_end[KEYS], opened; /* readings are not older than these */
    bool slot[KEYS];                /* was charged once */
    ticket ticket[KEYS];
    cellar_limiter *l;
    uint64_t rng, yes, no, wrong, refused_by[RULES], tight[RULES];
    bool whole_ms; /* a calendar: both clocks must agree */
    uint64_t asked[RULES]; /* longest window that came with a call */
} o;

static const cellar_rule *rule_of(uint32_t i) { return &o.rule[o.phase][i]; }

static uint64_t bucket_t(const cellar_rule *r) /* 1/64 ns a unit */
{
    const uint64_t n = (r->flags & CELLAR_RULE_STRICT) != 0 ? r->limit - r->burst + 1 : r->limit;
    return (r->period_ns * 64 + n - 1) / n;
}
static uint64_t bucket_debt(const owed *b, uint64_t now)
{
    return b->tat > now * 64 ? b->tat - now * 64 : 0;
}

static uint64_t list_sum(const list *l, uint64_t after, uint64_t upto)
{
    uint64_t n = 0;
    for (size_t i = l->count; i-- > 0 && l->at[i] > after;) {
        if (l->at[i] <= upto) { n += l->cost[i]; }
    }
    return n;
}
static void list_add(list *l, uint64_t now, uint64_t cost)
{
    if (l->count == HISTORY) {
        memmove(l->at, l->at + HISTORY / 2, sizeof l->at / 2);
        memmove(l->cost, l->cost + HISTORY / 2, sizeof l->cost / 2);
        l->count = HISTORY / 2;
    }
    l->at[l->count] = now;
    l->cost[l->count++] = cost;
}
/* Up to `cost` units of (after, upto] go, the newest first. */
static void list_remove(list *l, uint64_t after, uint64_t upto, uint64_t cost)
{
    for (size_t i = l->count; i-- > 0 && cost > 0 && l->at[i] > after;) {
        if (l->at[i] > upto) { continue; }
        const uint64_t n = cost < l->cost[i] ? cost : l->cost[i];
        l->cost[i] -= n;
        cost -= n;
    }
}
/* Of what it is charged with a log keeps the newest `most` units; others are only counted. */
static void list_keep(list *l, uint64_t most)
{
    size_t i = l->count;
    while (i > 0 && most >= l->cost[i - 1]) { most -= l->cost[--i]; }
    if (i == 0) { return; }
    l->cost[i - 1] = most;
    memset(l->cost, 0, (i - 1) * sizeof l->cost[0]);
}

static uint64_t minute_into(uint64_t t) /* the kit's wall clock and ns run together */
{
    const uint64_t ahead = t - kit_clock(NULL);
    return (atomic_load(&kit.wall_ms) * KIT_MS + ahead) % (60 * KIT_S);
}

/* The reading that rule i takes `t` for. */
static uint64_t taken_for(uint32_t i, size_t key, uint64_t t)
{
    const owed *w = &o.owed[key][i];
    size_t n = w->l.count;
    if (rule_of(i)->algorithm == CELLAR_RULE_SLIDING_WINDOW) {
        return t > w->newest ? t : w->newest;
    }
    if (rule_of(i)->algorithm != CELLAR_RULE_SLIDING_LOG) { return t; }
    while (n > 0 && w->l.cost[n - 1] == 0) { n--; }
    return n > 0 && w->l.at[n - 1] > t ? w->l.at[n - 1] : t;
}

static uint64_t gcd(uint64_t a, uint64_t b) { return b == 0 ? a : gcd(b, a % b); }
static uint64_t share_up(uint64_t n, uint64_t to, uint64_t from)
{
    const uint64_t g = gcd(to, from);
    T_REQUIRE(n <= UINT64_MAX / 2 / (to / g)); /* choose rules with simple ratios */
    return (n * (to / g) + from / g - 1) / (from / g);
}

/* Start of the window that contains `t`, or of the minute. */
static uint64_t window_start(const cellar_rule *r, uint64_t t)
{
    return r->algorithm == CELLAR_RULE_FIXED_WINDOW ? t - minute_into(t)
                                                    : t / r->period_ns * r->period_ns;
}

/* Count the units of the window before that of `t` and of its own, as shares of the present rule:
 * rounded up if no call wrote them since the rules changed. */
static void shares_at(uint32_t i, size_t key, uint64_t t, uint64_t *before, uint64_t *since)
{
    const cellar_rule *r = rule_of(i);
    const owed *w = &o.owed[key][i];
    const uint64_t start = window_start(r, t), from = o.rule[w->phase][i].limit;
    *before = r->period_ns == 0 ? 0 : list_sum(&w->l, start - r->period_ns - 1, start - 1);
    *since = list_sum(&w->l, start - 1, t);
    if (w->phase == o.phase) { return; }
    *before = share_up(*before, r->limit, from);
    *since = share_up(*since, r->limit, from);
}

/* Count the units in use at `t` if no other call comes. Not for token buckets. */
static uint64_t used_at(uint32_t i, size_t key, uint64_t t)
{
    const cellar_rule *r = rule_of(i);
    const list *l = &o.owed[key][i].l;
    t = taken_for(i, key, t);
    if (r->algorithm == CELLAR_RULE_SLIDING_LOG) { return list_sum(l, t - r->period_ns, t); }
    uint64_t previous, current;
    shares_at(i, key, t, &previous, &current);
    if (r->algorithm == CELLAR_RULE_FIXED_WINDOW) { return current; }
    const uint64_t left = r->period_ns - (t - window_start(r, t));
    return (previous * left + r->period_ns - 1) / r->period_ns + current;
}

/* What the definition of rule i says about `cost` at `t`. */
static bool admits(uint32_t i, size_t key, uint64_t t, uint64_t cost)
{
    const cellar_rule *r = rule_of(i);
    if (r->algorithm == CELLAR_RULE_TOKEN_BUCKET) {
        return cost <= r->burst &&
               bucket_debt(&o.owed[key][i], t) + cost * bucket_t(r) <= r->burst * bucket_t(r);
    }
    if (r->algorithm == CELLAR_RULE_SLIDING_LOG && cost == 0) { return true; }
    return cost <= r->limit && used_at(i, key, t) + cost <= r->limit;
}

static uint64_t left_of(uint32_t i, size_t key, uint64_t now)
{
    const cellar_rule *r = rule_of(i);
    if (r->algorithm == CELLAR_RULE_TOKEN_BUCKET) {
        const uint64_t debt = bucket_debt(&o.owed[key][i], now), most = r->burst * bucket_t(r);
        return debt < most ? (most - debt) / bucket_t(r) : 0;
    }
    const uint64_t used = used_at(i, key, now);
    return used < r->limit ? r->limit - used : 0;
}

/* ns until rule i admits `cost`; CELLAR_NEVER_NS. */
static uint64_t wait_of(uint32_t i, size_t key, uint64_t now, uint64_t cost)
{
    const cellar_rule *r = rule_of(i);
    uint64_t from = 0, to = 1;
    const uint64_t most = r->algorithm == CELLAR_RULE_TOKEN_BUCKET ? r->burst : r->limit;
    if (cost > most) { return CELLAR_NEVER_NS; }
    while (!admits(i, key, now + to, cost)) { to *= 2; }
    while (to - from > 1) {
        const uint64_t mid = from + (to - from) / 2;
        if (admits(i, key, now + mid, cost)) { to = mid; } else { from = mid; }
    }
    return to;
}

/* Count the units in the longest window that any call named. */
static uint64_t log_live(size_t key, uint32_t i, uint64_t now)
{
    const uint64_t w = rule_of(i)->period_ns > o.asked[i] ? rule_of(i)->period_ns : o.asked[i];
    return list_sum(&o.owed[key][i].l, now - w, now);
}
/* Displaced units count only while the ring is full of live ones. */
static bool log_is_full(size_t key, uint32_t i, uint64_t now)
{
    return log_live(key, i, now) == o.rule[0][i].limit;
}
/* Units on top go first. Returns what is left to be taken from the log itself. */
static uint64_t log_top(size_t key, uint32_t i, uint64_t now, uint64_t units)
{
    owed *w = &o.owed[key][i];
    if (!log_is_full(key, i, now)) { w->over = 0; }
    const uint64_t top = units < w->over ? units : w->over;
    w->over -= top;
    return units - top;
}

/* A count was written: it knows this window, and units only by their window. */
static uint64_t write_window(uint32_t i, size_t key, uint64_t t)
{
    const cellar_rule *r = rule_of(i);
    if (r->algorithm != CELLAR_RULE_SLIDING_WINDOW || !o.slot[key]) { return t; }
    return o.owed[key][i].newest = t / r->period_ns * r->period_ns;
}

/* A call writes the counts of a key: in units of the present rule. */
static void write_shares(uint32_t i, size_t key, uint64_t t)
{
    const cellar_rule *r = rule_of(i);
    owed *w = &o.owed[key][i];
    const bool log = r->algorithm == CELLAR_RULE_SLIDING_LOG;
    uint64_t before, since;
    if (w->phase == o.phase) { return; }
    if (!log && r->algorithm != CELLAR_RULE_TOKEN_BUCKET) {
        shares_at(i, key, t, &before, &since);
        const uint64_t start = window_start(r, t);
        w->l.count = 0;
        list_add(&w->l, start - r->period_ns, before);
        list_add(&w->l, start, since);
    }
    w->phase = o.phase;
}

static void owe(size_t key, uint64_t now, uint64_t cost, bool charged)
{
    o.slot[key] = o.slot[key] || cost > 0;
    for (uint32_t i = 0; i < o.count && cost > 0; i++) {
        owed *w = &o.owed[key][i];
        const uint64_t t = taken_for(i, key, now);
        write_shares(i, key, t);
        w->tat = now * 64 + bucket_debt(w, now) + cost * bucket_t(rule_of(i));
        if (rule_of(i)->algorithm == CELLAR_RULE_TOKEN_BUCKET) { continue; }
        const uint64_t size = o.rule[0][i].limit; /* as opened */
        const uint64_t all = (log_is_full(key, i, t) ? w->over : 0) + log_live(key, i, t) + cost;
        list_add(&w->l, write_window(i, key, t), cost);
        if (rule_of(i)->algorithm == CELLAR_RULE_SLIDING_LOG) {
            w->over = charged && all > size ? all - size : 0;
            list_keep(&w->l, size);
        }
    }
}

static void pay(owed *w, uint64_t now, uint64_t debt)
{
    const uint64_t all = bucket_debt(w, now);
    if (all != 0) { w->tat = now * 64 + (all > debt ? all - debt : 0); }
}

static void model_refund(size_t key, uint64_t now, uint64_t cost)
{
    for (uint32_t i = 0; i < o.count; i++) {
        pay(&o.owed[key][i], now, cost * bucket_t(rule_of(i)));
        if (cost > 0) {
            write_shares(i, key, taken_for(i, key, now));
            (void)write_window(i, key, now);
        }
        const bool log = rule_of(i)->algorithm == CELLAR_RULE_SLIDING_LOG;
        list_remove(&o.owed[key][i].l, 0, now, log ? log_top(key, i, now, cost) : cost);
    }
}

/* `units` of a ticket come back, as far as the take still matters. */
static void model_give(size_t key, uint64_t now, const ticket *t, uint64_t units)
{
    for (uint32_t i = 0; i < o.count; i++) {
        const cellar_rule *r = rule_of(i);
        owed *w = &o.owed[key][i];
        const uint64_t unpaid = t->tat[i] > now * 64 ? t->tat[i] - now * 64 : 0;
        const uint64_t debt = units * bucket_t(r);
        pay(w, now, debt < unpaid ? debt : unpaid);
        uint64_t first = t->now, last = t->now, n = units;
        if (r->algorithm == CELLAR_RULE_SLIDING_LOG && list_sum(&w->l, first - 1, last) > 0) {
            n = log_top(key, i, now, units);
        }
        if (r->algorithm != CELLAR_RULE_SLIDING_LOG && w->phase != t->phase) {
            n = units * o.rule[w->phase][i].limit / o.rule[t->phase][i].limit;
        }
        if (r->algorithm == CELLAR_RULE_SLIDING_WINDOW) {
            first = t->now / r->period_ns * r->period_ns;
            last = first + r->period_ns - 1;
        } else if (r->algorithm == CELLAR_RULE_FIXED_WINDOW) {
            const uint64_t into = minute_into(now);
            if (t->now < now - into) { continue; }
            first = now - into;
            last = now;
        }
        list_remove(&w->l, first - 1, last, n);
    }
}

/* Other rules: debts keep their share, rounded up; counts do when they are written; logs are facts
 * and stay. */
static void model_rules(uint64_t now)
{
    for (uint32_t n = 0; n < KEYS * o.count; n++) {
        const uint32_t i = n % o.count;
        const cellar_rule *a = &o.rule[o.phase][i], *b = &o.rule[1 - o.phase][i];
        owed *w = &o.owed[n / o.count][i];
        if (a->algorithm == CELLAR_RULE_TOKEN_BUCKET) {
            const uint64_t debt = bucket_debt(w, now);
            if (debt == 0) { continue; }
            w->tat = now * 64 + share_up(debt, b->burst * bucket_t(b), a->burst * bucket_t(a));
        }
    }
    bool buckets = false;
    for (uint32_t i = 0; i < o.count; i++) {
        buckets = buckets || o.rule[0][i].algorithm == CELLAR_RULE_TOKEN_BUCKET;
    }
    for (size_t k = 0; k < KEYS; k++) { o.epoch[k] += buckets; }
    o.phase = 1 - o.phase;
}

/* A call that meets the end of a ban: a token bucket admitted one unit then, and fills since. */
static void model_ban_ends(size_t key, uint64_t now)
{
    if (o.banned[key] == 0 || o.banned[key] > now) { return; }
    for (uint32_t i = 0; i < o.count; i++) {
        owed *w = &o.owed[key][i];
        const cellar_rule *r = rule_of(i);
        if (r->algorithm != CELLAR_RULE_TOKEN_BUCKET) { continue; }
        const uint64_t left = o.banned[key] * 64 + (r->burst - 1) * bucket_t(r);
        w->tat = w->tat > left ? w->tat : left;
    }
    o.banned[key] = 0;
}

static void model_ban(size_t key, uint64_t now, uint64_t ns)
{
    if (ns == 0) { return; }
    model_ban_ends(key, now);
    o.slot[key] = o.slot[key] || o.count > 1;
    if (now + ns > o.banned[key]) { o.banned[key] = now + ns; }
    if (now + ns > o.ban_end[key]) { o.ban_end[key] = now + ns; }
}

static void model_reset(size_t key)
{
    memset(o.owed[key], 0, RULES * sizeof(owed));
    o.banned[key] = 0;
    o.epoch[key]++;
}

/* ---- calls, each beside its model ---- */

static bool right(bool ok, const char *what, size_t key, uint64_t cost)
{
    if (!ok) {
        o.wrong++;
        printf("# %s: key %zu cost %" PRIu64 " at %" PRIu64 "\n", what, key, cost,
               kit_clock(NULL));
    }
    return T_CHECK(ok);
}
static bool same(uint64_t got, uint64_t want, const char *what, size_t key)
{
    if (got != want) { printf("# got %" PRIu64 ", want %" PRIu64 "\n", got, want); }
    return right(got == want, what, key, 0);
}

/* Everything a denial says. */
static void check_denial(size_t key, uint64_t now, uint64_t cost, const cellar_limiter_result *r)
{
    uint64_t longest = 0;
    uint32_t by = RULES;
    o.no++;
    for (uint32_t i = 0; i < o.count; i++) {
        if (admits(i, key, now, cost)) { continue; }
        const uint64_t wait = wait_of(i, key, now, cost);
        if (by == RULES || wait > longest) { longest = wait; by = i; }
    }
    same(r->rule, by, "the rule that denied", key);
    same(r->retry_after_ns, longest, "how long to wait", key);
    same(r->never, longest == CELLAR_NEVER_NS, "whether waiting helps", key);
    if (by < RULES) { o.refused_by[by]++; }
}

/* Decide by the definitions; a token bucket also admits units that it gains within `patience`. */
static bool model_says(size_t key, uint64_t now, uint64_t cost, uint64_t patience, uint64_t *wait)
{
    bool yes = true;
    for (uint32_t i = 0; i < o.count && yes; i++) {
        if (admits(i, key, now, cost)) { continue; }
        const bool bucket = rule_of(i)->algorithm == CELLAR_RULE_TOKEN_BUCKET;
        const uint64_t w = bucket ? wait_of(i, key, now, cost) : CELLAR_NEVER_NS;
        yes = w != CELLAR_NEVER_NS && w <= patience;
        *wait = w > *wait ? w : *wait;
    }
    return yes;
}

/* What is left of the tightest rule, and which that is; after the decision. */
static void check_left(size_t key, uint64_t now, const cellar_limiter_result *r)
{
    uint32_t tight = 0;
    for (uint32_t i = 1; i < o.count; i++) {
        if (left_of(i, key, now) < left_of(tight, key, now)) { tight = i; }
    }
    same(r->remaining, r->never ? 0 : left_of(tight, key, now), "left", key);
    if (r->allowed == 0) { return; }
    same(r->rule, tight, "the tightest rule", key);
    o.tight[tight]++;
}

static void keep_ticket(size_t key, uint64_t now, uint64_t cost, const cellar_limiter_ticket *t)
{
    ticket *mine = &o.ticket[key];
    *mine = (ticket){ *t, true, cost, now, o.epoch[key], { 0 }, o.phase };
    for (uint32_t i = 0; i < o.count; i++) {
        mine->tat[i] = o.owed[key][i].tat;
    }
}

/* A reading of some age; limiters with a calendar take the clock's all the same. */
static uint64_t older(size_t key, uint64_t now)
{
    const uint64_t w = rule_of(0)->period_ns != 0 ? rule_of(0)->period_ns : 60 * KIT_S;
    const uint64_t back = kit_below(&o.rng, kit_below(&o.rng, 2) == 0 ? 4 * w : w / 4);
    const uint64_t first = o.ban_end[key] > o.opened ? o.ban_end[key] : o.opened;
    return now <= first ? now : now - first < back ? first : now - back;
}

/* The reading a decision must tell; `by`: the rule that denied, or RULES. */
static uint64_t told_now(size_t key, uint64_t now, uint32_t by)
{
    uint64_t t = now;
    for (uint32_t i = 0; i < o.count; i++) {
        const uint64_t taken = taken_for(i, key, now);
        if ((by == RULES || by == i) && taken > t) { t = taken; }
    }
    return t;
}

enum { PEEK, CHECK_AT, RESERVE, CHECK_WITH, CHECK };

static void ask(void)
{
    for (uint32_t i = 0; i < o.count; i++) {
        if (rule_of(i)->period_ns > o.asked[i]) { o.asked[i] = rule_of(i)->period_ns; }
    }
}

/* One decision of one kind. */
static void decide(const char *name, size_t key, uint64_t cost, int kind)
{
    const uint64_t clock = kit_clock(NULL);
    const uint64_t reading = kind == CHECK_AT ? older(key, clock) : clock;
    const uint64_t now = o.whole_ms ? clock : reading;
    const size_t len = strlen(name);
    const uint64_t patience = kind == RESERVE ? kit_below(&o.rng, 2) * kit_below(&o.rng, KIT_S) : 0;
    cellar_limiter_result r;
    cellar_limiter_ticket t;
    uint64_t told = 0, wait = 0;
    const cellar_err got =
        kind == PEEK         ? kit_look(o.l, name, len, cost, &r)
        : kind == CHECK_AT   ? kit_check_at(o.l, name, len, cost, reading, &r)
        : kind == RESERVE    ? cellar_limiter_reserve(o.l, name, len, cost, patience, &t, &told, &r)
        : kind == CHECK_WITH ? kit_check_rules(o.l, name, len, cost, o.rule[o.phase], o.count,
                                               &r)
                             : cellar_limiter_check(o.l, name, len, cost, &r);
    if (kind == CHECK_WITH) { ask(); }
    model_ban_ends(key, now);
    const bool banned = o.banned[key] > now;
    const bool want = !banned && model_says(key, now, cost, patience, &wait);
    if (!right(got == (want ? CELLAR_OK : CELLAR_LIMITED), "decision", key, cost)) { return; }
    right(r.allowed == want, "allowed", key, cost);
    const uint32_t by = want || banned ? RULES : r.rule;
    if (!r.never) { same(r.now_ns, banned ? now : told_now(key, now, by), "now", key); }
    if (banned) {
        right(r.rule == CELLAR_RULE_BAN && r.retry_after_ns == o.banned[key] - now, "ban", key,
              cost);
        return;
    }
    if (want && kind != PEEK) { owe(key, now, cost, false); }
    if (want) { o.yes++; } else if (patience == 0) { check_denial(key, now, cost, &r); }
    check_left(key, now, &r);
    if (!want || kind != RESERVE) { return; }
    same(told, wait, "wait of a reservation", key);
    keep_ticket(key, now, cost, &t);
}

static void use_ticket(size_t key)
{
    ticket *t = &o.ticket[key];
    const uint64_t now = kit_clock(NULL), actual = kit_below(&o.rng, t->cost + 3);
    if (!t->open) { return; }
    t->open = false;
    model_ban_ends(key, now);
    const bool lost = t->epoch != o.epoch[key], cancel = kit_below(&o.rng, 2) == 0;
    const uint64_t use = cancel ? 0 : actual, back = use < t->cost ? t->cost - use : 0;
    const cellar_err want = lost && back > 0 ? CELLAR_INVALIDATED : CELLAR_OK;
    right(cellar_limiter_commit(o.l, &t->t, use) == want, "commit", key, use);
    if (use > t->cost) { owe(key, now, use - t->cost, true); }
    if (!lost) { model_give(key, now, t, back); }
    right(cellar_limiter_commit(o.l, &t->t, 0) == CELLAR_E_TICKET_USED, "a ticket twice", key,
          t->cost);
}

static void change(const char *name, size_t key, uint64_t kind, uint64_t most)
{
    const uint64_t now = kit_clock(NULL);
    const size_t len = strlen(name);
    const uint64_t cost = kit_below(&o.rng, most / 2 + 2);
    if (kind < 14) { model_ban_ends(key, now); }
    if (kind < 6) {
        right(cellar_limiter_adjust(o.l, name, len, (int64_t)cost) == CELLAR_OK, "charge", key,
              cost);
        owe(key, now, cost, true);
    } else if (kind < 14) {
        right(cellar_limiter_adjust(o.l, name, len, -(int64_t)cost) == CELLAR_OK, "refund", key,
              cost);
        model_refund(key, now, cost);
    } else if (kind < 16) {
        right(cellar_limiter_reset(o.l, name, len, NULL) == CELLAR_OK, "reset", key, 0);
        model_reset(key);
    } else if (kind < 18) {
        uint64_t ns = kit_below(&o.rng, rule_of(0)->period_ns / 2 + 1);
        if (o.whole_ms) { ns = ns / KIT_MS * KIT_MS; }
        right(cellar_limiter_ban(o.l, name, len, ns) == CELLAR_OK, "ban", key, ns);
        model_ban(key, now, ns);
    } else if (kind == 18 && kit_below(&o.rng, 10) == 0) {
        model_rules(now);
        ask();
        right(cellar_limiter_rules_set(o.l, NULL, 0, NULL, o.rule[o.phase], o.count) == CELLAR_OK,
              "rules", key,
              0);
    }
}

static uint64_t step_ns(void)
{
    const cellar_rule *r = rule_of(0);
    const uint64_t w = r->period_ns != 0 ? r->period_ns : 60 * KIT_S;
    switch (kit_below(&o.rng, 200)) {
    case 0: return w;
    case 1: return kit_below(&o.rng, 3 * w);
    case 2: return w / (r->limit + 1);
    case 3: return 1;
    default: return kit_below(&o.rng, w / (r->limit + 1) + 1);
    }
}

static void open_all(const cellar_rule *a, const cellar_rule *b, uint32_t count)
{
    memset(&o, 0, sizeof o);
    o.rng = t_seed();
    o.count = count;
    for (size_t k = 0; k < KEYS; k++) { o.owed[k] = calloc(RULES, sizeof(owed)); }
    for (uint32_t i = 0; i < count; i++) {
        o.rule[0][i] = a[i];
        o.rule[1][i] = b[i];
        o.whole_ms = o.whole_ms || a[i].algorithm == CELLAR_RULE_FIXED_WINDOW;
    }
    if (o.whole_ms) {
        atomic_store(&kit.now_ns, atomic_load(&kit.now_ns) / KIT_MS * KIT_MS);
    }
    cellar_limiter_config c = kit_config();
    c.max_bytes = 64u << 10;
    o.opened = kit_clock(NULL);
    T_REQUIRE(cellar_limiter_open(&c, a, count, &o.l) == CELLAR_OK);
}

static void run(const cellar_rule *a, const cellar_rule *b, uint32_t count, uint64_t calls)
{
    open_all(a, b, count);
    const uint64_t most = a[0].algorithm == CELLAR_RULE_TOKEN_BUCKET ? a[0].burst : a[0].limit;
    for (uint64_t i = 0; i < calls && o.wrong == 0; i++) {
        char name[24];
        const size_t key = (size_t)kit_below(&o.rng, KEYS);
        snprintf(name, sizeof name, "key:%zu", key);
        if (kit_below(&o.rng, 3) == 0) {
            const uint64_t ns = step_ns();
            kit_pass(o.whole_ms ? ns / KIT_MS * KIT_MS : ns);
        }
        const uint64_t kind = kit_below(&o.rng, 400);
        if (kind < 20) {
            change(name, key, kind, most);
        } else if (kind < 60) {
            use_ticket(key);
        } else {
            const uint64_t cost = kit_below(&o.rng, 4) != 0 ? 1 : kit_below(&o.rng, most + 2);
            decide(name, key, cost, kind < 100   ? PEEK
                                    : kind < 140 ? CHECK_AT
                                    : kind < 180 ? RESERVE
                                    : kind < 200 ? CHECK_WITH
                                                 : CHECK);
        }
        if (o.wrong > 0) { printf("# call %" PRIu64 ", kind %" PRIu64 "\n", i, kind); }
    }
    T_CHECK(o.wrong > 0 || (o.yes > calls / 20 && o.no > calls / 20));
    for (uint32_t i = 0; i < count && o.wrong == 0; i++) { /* every rule had its say */
        if (!T_CHECK(o.refused_by[i] > calls / 1000 && o.tight[i] > calls / 5000)) {
            printf("# rule %" PRIu32 " denied %" PRIu64 ", tightest %" PRIu64 "\n", i,
                   o.refused_by[i], o.tight[i]);
        }
    }
    kit_close(o.l);
    for (size_t k = 0; k < KEYS; k++) { free(o.owed[k]); }
}
static void run1(cellar_rule a, cellar_rule b, uint64_t calls) { run(&a, &b, 1, calls); }

static uint64_t calls(void) { return t_env_u64("LIMIT_CALLS",
                                               BASE_TSAN ? 30000 : t_share(300000)); }

T_CASE(limit_oracle_sequential_token_bucket)
{
    run1(cellar_rule_token_bucket(10, KIT_S, 5), cellar_rule_token_bucket(20, KIT_S, 6), calls());
    run1(cellar_rule_token_bucket(7, 13 * KIT_MS, 7), cellar_rule_token_bucket(14, 13 * KIT_MS, 7),
         calls());
}
T_CASE(limit_oracle_sequential_strict)
{
    run1(cellar_rule_token_bucket_strict(10, 10 * KIT_MS, 4),
         cellar_rule_token_bucket_strict(17, 10 * KIT_MS, 4),
         calls());
}
T_CASE(limit_oracle_sequential_sliding_log)
{
    run1(cellar_rule_sliding_log(10, KIT_S), cellar_rule_sliding_log(6, KIT_S), calls());
    run1(cellar_rule_sliding_log(1, 7 * KIT_MS), cellar_rule_sliding_log(1, 5 * KIT_MS), calls());
}
T_CASE(limit_oracle_sequential_sliding_window)
{
    run1(cellar_rule_sliding_window(20, KIT_S), cellar_rule_sliding_window(13, KIT_S), calls());
}
T_CASE(limit_oracle_sequential_fixed_window)
{
    run1(cellar_rule_fixed_window(30, CELLAR_PER_MINUTE),
         cellar_rule_fixed_window(21, CELLAR_PER_MINUTE),
         calls());
}
T_CASE(limit_oracle_sequential_multi)
{
    const cellar_rule two[2] = { cellar_rule_token_bucket(10, KIT_S, 5),
                                    cellar_rule_sliding_log(9, KIT_S) };
    const cellar_rule two_later[2] = { cellar_rule_token_bucket(20, KIT_S, 5),
                                          cellar_rule_sliding_log(7, KIT_S) };
    const cellar_rule three[3] = { cellar_rule_sliding_window(10, KIT_S),
                                      cellar_rule_token_bucket(8, KIT_S, 6),
                                      cellar_rule_fixed_window(150, CELLAR_PER_MINUTE) };
    const cellar_rule three_later[3] = { cellar_rule_sliding_window(9, KIT_S),
                                            cellar_rule_token_bucket(10, KIT_S, 5),
                                            cellar_rule_fixed_window(100, CELLAR_PER_MINUTE) };
    run(two, two_later, 2, calls());
    run(three, three_later, 3, calls());
}

T_ONE_THREAD;
T_MAIN("cellar_limit_oracle")
