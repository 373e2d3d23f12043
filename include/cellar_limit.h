/* SPDX-License-Identifier: MIT
 *
 * cellar_limit: rate limiters that never over-admit.
 *
 * Both stand alone: no store is needed, each has a memory bound of its own, no thread is started.
 *
 * CALL PATTERN
 *     #include "cellar_limit.h"   (drop-in: part of its "cellar.h")
 *     cellar_limiter *l;
 *     const cellar_rule per_user = cellar_rule_token_bucket(100, CELLAR_SECOND_NS, 20);
 *     if (cellar_limiter_open(NULL, &per_user, 1, &l) != CELLAR_OK) return 1;
 *     cellar_limiter_result r;
 *     switch (cellar_limiter_check(l, "user:7", 6, 1, &r)) {
 *     case CELLAR_OK: serve();                                    break;
 *     case CELLAR_LIMITED: refuse(r.retry_after_ns);              break;
 *     default: an argument was wrong                              break; }
 *     cellar_limiter_close(l);
 *
 * ALGORITHMS  N = limit, W = period, b = burst, T = ceil(W / N) in 1/64 ns. Windows are half open,
 *             (t - W, t]; bounds count units of cost, not calls.
 *     GCRA            token bucket: at most b + ceil(W / T) - 1 units in any window of length W;
 *                     with b = N that is 2N - 1, not N
 *     capped GCRA     at most N in any window, always; lasting rate (N - b + 1) / W
 *     SLIDING_LOG     at most N in any window, always, and never a needless denial; 8 bytes a unit
 *     SLIDING_COUNT   about N; at worst 2N - 1 (N at the end of a window, then linear)
 *     FIXED           at most N a calendar minute, hour, day, week or month of a time zone; 2N
 *                     around a boundary, by definition
 *     CONCURRENCY     at most N permits alive at any instant, each with a lease
 * KEYS        Limiters do not store keys but 63-bit fingerprints, hashes keyed with a secret of the
 *             limiter: two of n live keys share a bucket with probability about n^2 / 2^64 (5e-8
 *             for a million). Locks compare keys in full.
 * MEMORY      max_bytes, taken when the limiter is opened; no allocation after that. A limiter with
 *             one rule of GCRA, SLIDING_COUNT or FIXED takes 16 bytes a key. Too many keys: the one
 *             that loses least is forgotten, and it is counted.
 * THREADS     every call from any thread, close excepted. A check of a known key of a limiter with
 *             one rule takes no lock; other paths take short ones.
 * CLOCK       monotonic nanoseconds decide; the wall clock is looked at for calendar quotas only.
 *             While the machine sleeps no time passes: quotas refill later, never earlier. Bounds
 *             hold over the readings that decisions used (`now_ns` of the result).
 * OLDER READINGS come from cellar_rl_check_at or from a clock that goes back. Each bound holds with
 *             them. A decision uses a reading that is older than the newest one of its key like
 *             this, and tells so in `now_ns`:
 *     GCRA            as it is: the debt of the key is larger by the difference
 *     SLIDING_LOG     as the time of the key's newest unit, if that is later
 *     SLIDING_COUNT   as the start of the key's newest window, if that is later; readings older
 *                     by more than 2^21 periods are not told from new ones
 *     FIXED           cellar_rl_check_at reads the clock itself in a limiter with such a rule. If
 *                     the wall clock is set back, the key stays in its newest period
 *     CONCURRENCY     as it is; a lease that was found over stays over
 *             A reading from before a limiter's start (a second before its opening; with logs, the
 *             longest window more) counts as that start. A key that was forgotten is met at the
 *             reading it was forgotten at, or later. Changes without a decision (tickets, refunds,
 *             new rules) are those of the reading: after the clock went back, a ticket can give
 *             back what time had paid. A snapshot that is loaded while the clock is behind the
 *             newest reading keeps what is owed, but its times may be off by up to a period.
 * FORK        the child has its own copy, and so its own quota: parent and child together may admit
 *             twice. Snapshots are detached in the child; locks of the parent are E_FORKED there.
 */
#ifndef CELLAR_LIMIT_H
#define CELLAR_LIMIT_H

#include "cellar_admin.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Rate limiters -------------------------------------------------------------------------- */

#define CELLAR_LIMITER_RULES_MAX 7u     /* rules of one limiter                                  */
#define CELLAR_LIMITER_CHAIN_MAX 8u     /* limiters of one chain                                 */
#define CELLAR_SLIDING_LOG_MAX 4096u    /* largest limit of SLIDING_LOG                          */
#define CELLAR_LIMITER_NAME_MAX 63u     /* bytes of a rule's, plan's or limiter's name           */
#define CELLAR_NEVER_NS        UINT64_MAX
#define CELLAR_SECOND_NS       UINT64_C(1000000000)
#define CELLAR_MINUTE_NS       (60 * CELLAR_SECOND_NS)
#define CELLAR_HOUR_NS         (60 * CELLAR_MINUTE_NS)
#define CELLAR_DAY_NS          (24 * CELLAR_HOUR_NS)
#define CELLAR_PERIOD_MAX_NS   (400 * CELLAR_DAY_NS)

enum { CELLAR_RULE_TOKEN_BUCKET = 1, CELLAR_RULE_SLIDING_LOG = 2, CELLAR_RULE_SLIDING_WINDOW = 3,
       CELLAR_RULE_FIXED_WINDOW = 4, CELLAR_RULE_CONCURRENCY = 5 };
enum { CELLAR_PER_MINUTE = 1, CELLAR_PER_HOUR = 2, CELLAR_PER_DAY = 3,
       CELLAR_PER_WEEK = 4, CELLAR_PER_MONTH = 5 };              /* weeks are ISO: from Monday    */
enum { CELLAR_RULE_DRY_RUN = 1, /* computed and charged as if real, never denies (would_deny)     */
       CELLAR_RULE_CHARGE_DENIED = 2, /* denied calls charge too, to at most 2 * b * T (GCRA)     */
       CELLAR_RULE_STRICT = 4 }; /* GCRA whose windows never hold more than N                     */
enum { CELLAR_OVERFLOW_LEAST_LOSS = 0, CELLAR_OVERFLOW_DENY_NEW = 1,
       CELLAR_OVERFLOW_ALLOW_NEW = 2 };

typedef struct cellar_limiter cellar_limiter;

/* One rule. Made by the functions below; fields they leave 0 may be set afterwards. */
typedef struct cellar_rule {
    uint32_t algorithm; /* CELLAR_RULE_TOKEN_BUCKET ...                                           */
    uint32_t flags;     /* CELLAR_RULE_DRY_RUN ...                                                */
    uint64_t limit;     /* N; 0 denies everything                                                 */
    uint64_t period_ns; /* W, 1..CELLAR_PERIOD_MAX_NS; 0 for FIXED and CONCURRENCY                */
    uint64_t burst;     /* b of GCRA, from 1; 0 for all others                                    */
    uint64_t ban_ns;    /* a denial also bans the key for so long; 0: no                          */
    uint32_t calendar;  /* CELLAR_PER_... of FIXED, else 0                                        */
    uint32_t reserved;  /* 0                                                                      */
    const char *name;   /* in header lines and metrics; copied; NULL = "default"; printable ASCII */
    uint64_t reserved1; /* 0                                                                      */
} cellar_rule;

static inline cellar_rule cellar_rule_make_(uint32_t algorithm, uint64_t limit, uint64_t period_ns)
{
    CELLAR_ZERO(cellar_rule, r);
    r.algorithm = algorithm;
    r.limit = limit;
    r.period_ns = period_ns;
    return r;
}
/* Token bucket of `burst` tokens that fills at `limit` a period. */
static inline cellar_rule cellar_rule_token_bucket(uint64_t limit, uint64_t period_ns,
                                                   uint64_t burst)
{
    cellar_rule r = cellar_rule_make_(CELLAR_RULE_TOKEN_BUCKET, limit, period_ns);
    r.burst = burst;
    return r;
}
/* Token bucket slowed down so far that no window of a period ever holds more than `limit`. */
static inline cellar_rule cellar_rule_token_bucket_strict(uint64_t limit, uint64_t period_ns,
                                                          uint64_t burst)
{
    cellar_rule r = cellar_rule_token_bucket(limit, period_ns, burst);
    r.flags = CELLAR_RULE_STRICT;
    return r;
}
static inline cellar_rule cellar_rule_sliding_log(uint64_t limit, uint64_t period_ns)
{
    return cellar_rule_make_(CELLAR_RULE_SLIDING_LOG, limit, period_ns);
}
static inline cellar_rule cellar_rule_sliding_window(uint64_t limit, uint64_t period_ns)
{
    return cellar_rule_make_(CELLAR_RULE_SLIDING_WINDOW, limit, period_ns);
}
static inline cellar_rule cellar_rule_fixed_window(uint64_t limit, uint32_t calendar)
{
    cellar_rule r = cellar_rule_make_(CELLAR_RULE_FIXED_WINDOW, limit, 0);
    r.calendar = calendar;
    return r;
}
static inline cellar_rule cellar_rule_concurrency(uint64_t limit)
{
    return cellar_rule_make_(CELLAR_RULE_CONCURRENCY, limit, 0);
}

/* What a decision says. */
typedef struct cellar_limiter_result {
    uint32_t allowed;        /* 1: admitted                                                       */
    uint32_t would_deny;     /* 1: a DRY_RUN rule would have denied                               */
    uint32_t never;          /* 1: denied, and no waiting helps: limit 0, or cost over the burst  */
    uint32_t rule;           /* number of the rule that denied (longest wait), else the tightest; */
                             /* CELLAR_RULE_BAN: the key is banned                                */
    uint64_t limit;          /* N of that rule                                                    */
    uint64_t remaining;      /* units left of the tightest rule, after the decision               */
    uint64_t retry_after_ns; /* denied: when it would pass if nobody else came; CELLAR_NEVER_NS   */
    uint64_t reset_after_ns; /* until the tightest rule has forgotten this key                    */
    uint64_t now_ns;         /* the reading the decision used                                     */
} cellar_limiter_result;
#define CELLAR_RULE_BAN UINT32_MAX

/* What a reservation or a take can be given back by. Plain memory, filled by the library; belongs
 * to one thread at a time. */
typedef struct cellar_limiter_ticket {
    const cellar_limiter *limiter; /* NULL: nothing was taken                                     */
    uint64_t fingerprint, slot, cost, losses, given, stamp[CELLAR_LIMITER_RULES_MAX];
    uint32_t colour, generation, used, reserved;
} cellar_limiter_ticket;

/* A key as cellar_limiter_scan shows it. */
typedef struct cellar_limiter_entry {
    uint64_t fingerprint;    /* as cellar_limiter_fingerprint gives it                            */
    uint32_t rule_count;
    uint32_t overridden;     /* 1: a plan or a ban of its own                                     */
    uint64_t remaining[CELLAR_LIMITER_RULES_MAX];
    uint64_t reset_after_ns[CELLAR_LIMITER_RULES_MAX]; /* 0: this rule has forgotten the key      */
    uint64_t banned_ns;      /* of a ban; 0: none                                                 */
} cellar_limiter_entry;

/* One limiter of a chain. */
typedef struct cellar_limiter_link {
    cellar_limiter *limiter;
    const void *key;
    size_t key_len;
    uint64_t cost;
} cellar_limiter_link;

/* Figures of a limiter: field, Prometheus family, its label, help. */
#define CELLAR_RL_STATS(X) \
    X(allowed, "cellar_limit_decisions_total", "result=\"allowed\"", "Decisions by result.") \
    X(denied, "cellar_limit_decisions_total", "result=\"denied\"", "Decisions by result.") \
    X(would_deny, "cellar_limit_would_deny_total", "", "Admissions a dry-run rule would deny.") \
    X(banned, "cellar_limit_banned_total", "", "Denials of banned keys.") \
    X(live_evicted, "cellar_limit_overflow_total", "action=\"live_evicted\"", \
      "Keys met while the table was full.") \
    X(overflow_denied, "cellar_limit_overflow_total", "action=\"denied\"", \
      "Keys met while the table was full.") \
    X(overflow_allowed, "cellar_limit_overflow_total", "action=\"allowed\"", \
      "Keys met while the table was full.") \
    X(dead_replaced, "cellar_limit_reused_total", "", "Slots of idle keys given to new ones.") \
    X(moved, "cellar_limit_moved_total", "", "Keys moved to make room.") \
    X(chain_rollbacks, "cellar_limit_chain_rollbacks_total", "", "Chains taken back half way.") \
    X(permits_expired, "cellar_limit_permits_expired_total", "", "Permits whose lease ended.") \
    X(permits_full, "cellar_limit_full_total", "table=\"permits\"", "Refusals of a full table.") \
    X(overrides_full, "cellar_limit_full_total", "table=\"overrides\"", \
      "Refusals of a full table.") \
    X(snapshots_refused, "cellar_limit_snapshots_refused_total", "", \
      "Snapshots not loaded: damaged, or of other rules.")

typedef struct cellar_limiter_stats {
    size_t   struct_size;    /* set by cellar_limiter_stats_default()                             */
#define CELLAR_RL_FIELD(name, family, label, help) uint64_t name;
    CELLAR_RL_STATS(CELLAR_RL_FIELD)
#undef CELLAR_RL_FIELD
    uint64_t denied_by_rule[CELLAR_LIMITER_RULES_MAX];
    uint64_t keys;           /* slots in use, idle ones included                                  */
    uint64_t slots;          /* there are                                                         */
    uint64_t bytes;          /* taken at opening: the whole of it                                 */
    uint64_t overrides, permits;
} cellar_limiter_stats;
CELLAR_STRUCT(cellar_limiter_stats, permits);

typedef uint64_t (*cellar_limiter_clock_fn)(void *ctx); /* ns, monotonic; or ms since 1970        */
/* Takes the next bytes of a snapshot; `last`: there are no more. 0: done; else it failed. */
typedef int (*cellar_snapshot_write_fn)(void *ctx, const void *bytes, size_t len, int last);
/* Gives the next bytes of a snapshot: up to cap; *len 0 at its end or when there is none. */
typedef int (*cellar_snapshot_read_fn)(void *ctx, void *buf, size_t cap, size_t *len);

typedef struct cellar_limiter_config {
    size_t   struct_size;    /* set by cellar_limiter_config_default(), with abi                  */
    uint32_t abi;
    /* CELLAR_OVERFLOW_LEAST_LOSS, _DENY_NEW or _ALLOW_NEW: a new key comes */
    uint32_t overflow;
                             /* and both its buckets are full of keys in use                      */
    uint64_t max_bytes;      /* 0 = 16 MiB; everything the limiter ever takes                     */
    uint32_t max_overrides;  /* keys with a plan or ban of their own; 0 = 65,536 or what fits     */
                             /* into a sixteenth of max_bytes; UINT32_MAX = none                  */
    uint32_t max_plans;      /* different plans; 0 = 64 (none without overrides)                  */
    uint32_t max_permits;    /* of CONCURRENCY; 0 = 65,536 or what fits into a quarter            */
    uint32_t coarse_clock;   /* 1: a clock that lags by some ms for 3 ns instead of 9. Only       */
                             /* stricter. E_INVAL where a rule has T under 100 ns, or with clock  */
    const char *name;        /* label in metrics; NULL = "default"; printable ASCII               */
    const char *zone;        /* of FIXED rules; NULL = UTC; "Europe/Berlin", "+08:00"             */
    const uint8_t *secret;   /* 32 bytes, copied; NULL = random, or the snapshot's                */
    cellar_limiter_clock_fn clock; /* NULL = monotonic ns; called with locks held: no calls back  */
    cellar_limiter_clock_fn wall_ms; /* NULL = CLOCK_REALTIME                                     */
    /* for snapshots: ms since boot, suspend too; NULL = system's */
    cellar_limiter_clock_fn boot_ms;
    void    *clock_ctx;
    cellar_alloc_fn alloc;   /* both or neither; for the handle and, while opening, the zone      */
    cellar_free_fn  free;
    void    *alloc_ctx;
    cellar_log_fn   log;
    void    *log_ctx;
    const char *snapshot_path; /* a file; its folder must exist                                   */
    cellar_snapshot_write_fn save; /* or these two instead                                        */
    cellar_snapshot_read_fn load;
    void    *persist_ctx;
    uint64_t snapshot_ms;    /* a tick writes one when the last is so old; 0 = at close only      */
    uint64_t reserved0;      /* 0                                                                 */
} cellar_limiter_config;
CELLAR_PACKED(cellar_limiter_config, reserved0);
static inline cellar_limiter_config cellar_limiter_config_default(void)
{
    CELLAR_ZERO(cellar_limiter_config, o);
    o.struct_size = sizeof(cellar_limiter_config);
    o.abi = CELLAR_ABI;
    return o;
}

enum { CELLAR_HEADERS_IETF = 1,      /* RateLimit-Policy, RateLimit (draft, work in progress)     */
       CELLAR_HEADERS_DRAFT6 = 2, /* RateLimit-Limit, -Remaining, -Reset: seconds from now        */
       CELLAR_HEADERS_X = 4,         /* X-RateLimit-...: reset as Unix time                       */
       CELLAR_HEADERS_RETRY_AFTER = 8 };/* Retry-After on a denial                                */

/* ---- Opening, closing ---- */

/* Open a limiter: one table of keys, judged by one to seven rules, all of which must admit.
 * in:      cfg from cellar_limiter_config_default, NULL = defaults; rules, rule_count 1..7;
 *          names of rules are copied
 * out:     *out, NULL on failure
 * returns: OK; E_INVAL (period or burst 0, unknown flag, two CONCURRENCY rules, ...), E_RANGE (a
 *          rate above 64e9 a second, burst x T or a period over 400 days, SLIDING_LOG over 4096,
 *          SLIDING_COUNT over 2^20 - 1, FIXED over 2^34 - 1, CONCURRENCY over 2^20 - 1),
 *          E_NOT_FOUND (zone), E_CORRUPT (its file), E_SPACE (max_bytes holds no bucket), E_NOMEM,
 *          E_ABI, E_UNSUPPORTED
 * owns:    the caller closes *out with cellar_limiter_close
 * thread:  any
 * cost:    takes max_bytes at once; loads the snapshot if there is one
 * example:
 *     const cellar_rule rules[2] = { cellar_rule_token_bucket(100, CELLAR_SECOND_NS, 20),
 *                                       cellar_rule_fixed_window(100000, CELLAR_PER_DAY) };
 *     cellar_limiter *l;
 *     if (cellar_limiter_open(NULL, rules, 2, &l) != CELLAR_OK) return 1;                        */
CELLAR_API cellar_err cellar_limiter_open(const cellar_limiter_config *cfg,
                                          const cellar_rule *rules,
                                          uint32_t rule_count, cellar_limiter **out);

/* Close a limiter: the last snapshot, if it has one, then all memory back.
 * in:      l, NULL is fine
 * owns:    l is gone; tickets and tokens of it mean nothing any more
 * thread:  not beside other calls on l
 * cost:    O(keys) with a snapshot, else one unmapping
 * example: cellar_limiter_close(l);                                                              */
CELLAR_API void cellar_limiter_close(cellar_limiter *l);

/* ---- Deciding ---- */

/* Test and take: admitted if every rule admits, and then all are charged; else none is.
 * in:      key 1..CELLAR_KEY_MAX bytes; cost in units, 0 takes nothing
 * out:     *result, optional, on OK and LIMITED. A cost above the burst (or N) is denied with
 *          `never` set, without any change
 * returns: OK (admitted), LIMITED (denied); E_INVAL (also for limiters with permits)
 * thread:  any
 * cost:    one rule, known key: no lock, one compare-exchange, none when denied. Several rules:
 *          denials without a lock, admissions under one of a bucket. New key: one short lock
 * example:
 *     cellar_limiter_result r;
 *     if (cellar_limiter_check(l, ip, ip_len, 1, &r) == CELLAR_LIMITED) return 429;              */
CELLAR_API cellar_err cellar_limiter_check(cellar_limiter *l, const void *key, size_t key_len,
                                           uint64_t cost, cellar_limiter_result *result);

/* cellar_limiter_check with a reading of the limiter's clock that the caller has already: one
 * reading a request. An older reading admits no more than the bound: OLDER READINGS.
 * in:      now_ns from cellar_limiter_now, or of the clock the limiter was opened with; not used
 *          in a limiter with a FIXED rule
 * out:     as cellar_limiter_check
 * returns: as cellar_limiter_check; E_CLOCK (a new key with a reading over one second ahead)
 * thread:  any
 * cost:    cellar_limiter_check without its clock, FIXED rules excepted
 * example:
 *     uint64_t now = cellar_limiter_now(l);
 *     cellar_err e = cellar_rl_check_at(l, "user:7", 6, 1, now, NULL);                           */
CELLAR_API cellar_err cellar_rl_check_at(cellar_limiter *l, const void *key, size_t key_len,
                                         uint64_t cost, uint64_t now_ns,
                                         cellar_limiter_result *result);

/* cellar_limiter_check by rules that come with the call, in place of the limiter's.
 * in:      rules of the same number and algorithms; SLIDING_COUNT of the same period, FIXED of the
 *          same calendar, SLIDING_LOG up to the limit it was opened with (a longer window than any
 *          before holds from then on)
 * out:     as cellar_limiter_check
 * returns: as cellar_limiter_check; E_RANGE
 * thread:  any
 * cost:    cellar_limiter_check and two divisions a rule
 * example:
 *     cellar_rule gold = cellar_rule_token_bucket(1000, CELLAR_SECOND_NS, 100);
 *     cellar_err e = cellar_limiter_check_with(l, "user:7", 6, 1, &gold, 1, NULL);               */
CELLAR_API cellar_err cellar_limiter_check_with(cellar_limiter *l, const void *key, size_t key_len,
                                                uint64_t cost, const cellar_rule *rules,
                                                uint32_t rule_count, cellar_limiter_result *result);

/* What cellar_limiter_check would say, without effect.
 * in:      as cellar_limiter_check
 * out:     as cellar_limiter_check
 * returns: OK, LIMITED; E_INVAL
 * thread:  any
 * cost:    as cellar_limiter_check; nothing is written
 * example: cellar_err e = cellar_rl_peek(l, "user:7", 6, 1, NULL);                               */
CELLAR_API cellar_err cellar_rl_peek(cellar_limiter *l, const void *key, size_t key_len,
                                     uint64_t cost, cellar_limiter_result *result);

/* Several limiters, all of which must admit: user and address and the whole site.
 * in:      links, 1..CELLAR_LIMITER_CHAIN_MAX, the most selective first
 * out:     *result of the one that denied, or of the last; *denied_by its number; both optional
 * returns: OK, LIMITED; E_INVAL
 * thread:  any; while a chain is taken back, others may meet its charge: at most cost x threads
 *          units are then denied without need. Never more is admitted
 * cost:    two passes over the links
 * example:
 *     cellar_limiter_link both[2] = { { users, id, id_len, 1 }, { site, "site", 4, 1 } };
 *     cellar_err e = cellar_limiter_check_chain(both, 2, NULL, NULL);                            */
CELLAR_API cellar_err cellar_limiter_check_chain(const cellar_limiter_link *links, uint32_t count,
                                                 cellar_limiter_result *result,
                                                 uint32_t *denied_by);

/* Wait until admitted, or say at once that it takes too long.
 * in:      max_wait_ns from now
 * out:     *result, optional
 * returns: OK (admitted; for GCRA the wait is over), E_TIMEOUT (nothing taken), E_NEVER; E_INVAL
 * thread:  any, with nothing held that others need; GCRA is fair by virtual time, others are not
 * cost:    sleeps
 * example: cellar_err e = cellar_limiter_wait(l, "api", 3, 1, 5 * CELLAR_SECOND_NS, NULL);       */
CELLAR_API cellar_err cellar_limiter_wait(cellar_limiter *l, const void *key, size_t key_len,
                                          uint64_t cost, uint64_t max_wait_ns,
                                          cellar_limiter_result *result);

/* The limiter's clock, and what it calls a key: `cellar_limiter_fingerprint` is what
 * cellar_limiter_scan hands out (0: bad key).
 * in:      a limiter
 * returns: ns; the fingerprint, 63 bits
 * thread:  any
 * cost:    one reading; one hash
 * example: uint64_t now = cellar_limiter_now(l);                                                 */
CELLAR_API uint64_t cellar_limiter_now(cellar_limiter *l);
CELLAR_API uint64_t cellar_limiter_fingerprint(cellar_limiter *l, const void *key, size_t key_len);

/* ---- Taking and giving back ---- */

/* Take now, GCRA also what may only be used in a while, and keep a ticket.
 * in:      max_wait_ns: a longer wait is denied; other algorithms than GCRA never wait
 * out:     *ticket; *wait_ns (optional) is how long to wait before acting
 * returns: OK, LIMITED; E_INVAL
 * thread:  any
 * cost:    as cellar_limiter_check
 * example:
 *     cellar_limiter_ticket t;
 *     uint64_t wait_ns;
 *     if (cellar_limiter_reserve(l, "llm", 3, 800, 0, &t, &wait_ns, NULL) == CELLAR_OK)
 *         cellar_limiter_commit(l, &t, 615);                                                     */
CELLAR_API cellar_err cellar_limiter_reserve(cellar_limiter *l, const void *key, size_t key_len,
                                             uint64_t cost, uint64_t max_wait_ns,
                                             cellar_limiter_ticket *ticket, uint64_t *wait_ns,
                                             cellar_limiter_result *result);

/* Use up a ticket: `cellar_limiter_cancel` gives back all of it, `cellar_limiter_commit` what was
 * estimated above `actual`, or charges what was estimated below. Never gives back more than the
 * take still
 * matters: at once that is all, once the bucket would be full anyway it is nothing. GCRA with
 * several tickets out at a time: all of each when the last one taken comes back first; in another
 * order what the others brought back is taken off. Credit given by cellar_limiter_adjust is not: a
 * refund and a ticket may give back the same unit twice.
 * in:      a ticket of this limiter
 * returns: OK, also when the key was reset or forgotten meanwhile; E_TICKET_USED (used before),
 *          E_INVAL
 * thread:  any; a ticket by one at a time
 * cost:    as cellar_limiter_check; SLIDING_LOG: O(N)
 * example: cellar_limiter_cancel(l, &t);                                                         */
CELLAR_API cellar_err cellar_limiter_cancel(cellar_limiter *l, cellar_limiter_ticket *ticket);
CELLAR_API cellar_err cellar_limiter_commit(cellar_limiter *l, cellar_limiter_ticket *ticket,
                                            uint64_t actual);

/* Change what a key owes, without a decision. A negative cost gives credit up to a full bucket, and
 * may exceed what was taken. A positive cost makes debt, saturating (GCRA at 400 days, SLIDING_LOG
 * at 2^22 units, of which all above N are paid when the oldest stamp is). Credit for what was
 * charged before makes no room that was not there.
 * in:      cost in units; 0 changes nothing
 * returns: OK; E_LIMIT (cost > 0: the table is full and the policy forgets nobody), E_INVAL
 * thread:  any
 * cost:    as cellar_limiter_check
 * example: cellar_limiter_adjust(l, "user:7", 6, 50);                                            */
CELLAR_API cellar_err cellar_limiter_adjust(cellar_limiter *l, const void *key, size_t key_len,
                                            int64_t cost);

/* Ban a key: nothing passes until `ns` from now, then GCRA admits one unit and fills from there.
 * in:      ns up to CELLAR_PERIOD_MAX_NS; more counts as that
 * returns: OK; E_LIMIT (no room for the ban), E_INVAL
 * thread:  any
 * cost:    as cellar_limiter_check; SLIDING_COUNT and FIXED alone: one entry of max_overrides
 * example: cellar_limiter_ban(l, "user:7", 6, CELLAR_MINUTE_NS);                                 */
CELLAR_API cellar_err cellar_limiter_ban(cellar_limiter *l, const void *key, size_t key_len,
                                         uint64_t ns);

/* Forget a key, or all of them: after the return its next check meets an untouched one. Bans and
 * permits go, a plan stays. `cellar_limiter_reset_all` does so for every key.
 * out:     *existed, optional: whether anything was there
 * returns: OK; E_INVAL
 * thread:  any; checks that run beside it come before or after it
 * cost:    one short lock; all: O(slots), region by region
 * example: cellar_limiter_reset(l, "user:7", 6, NULL);                                           */
CELLAR_API cellar_err cellar_limiter_reset(cellar_limiter *l, const void *key, size_t key_len,
                                           int *existed);
CELLAR_API cellar_err cellar_limiter_reset_all(cellar_limiter *l);

/* ---- Permits: CONCURRENCY ---- */

/* Take a permit, if fewer than N of this key are out and the other rules admit one unit.
 * in:      lease_ms from 1: then it counts as given back
 * out:     *token names it; *result optional
 * returns: OK, LIMITED; E_LIMIT (max_permits, counted), E_INVAL
 * thread:  any
 * cost:    bucket lock; looks at no more than 8 ended leases
 * example:
 *     uint64_t token;
 *     if (cellar_permit_acquire(l, "db", 2, 30000, &token, NULL) == CELLAR_OK)
 *         cellar_permit_release(l, "db", 2, token);                                              */
CELLAR_API cellar_err cellar_permit_acquire(cellar_limiter *l, const void *key, size_t key_len,
                                            int64_t lease_ms, uint64_t *token,
                                            cellar_limiter_result *result);

/* Give a permit back, or a new lease from now.
 * in:      the token; lease_ms from 1
 * returns: OK; E_NOT_OWNER (its lease ended, it was given back, the key was reset), E_INVAL
 * thread:  any, not only the one that took it
 * cost:    bucket lock
 * example: cellar_permit_release(l, "db", 2, token);                                             */
CELLAR_API cellar_err cellar_permit_release(cellar_limiter *l, const void *key, size_t key_len,
                                            uint64_t token);
CELLAR_API cellar_err cellar_permit_extend(cellar_limiter *l, const void *key, size_t key_len,
                                           uint64_t token, int64_t lease_ms);

/* ---- Rules that change ---- */

/* Other limits, while checks run: debts keep their share (half used stays half used).
 * in:      the same number of rules and algorithms; names stay those of cellar_limiter_open; see
 *          cellar_limiter_check_with for what else must be the same; STRICT and bans only where a
 *          rule of a limiter with several had them from the start
 * returns: OK; E_INVAL, E_RANGE
 * thread:  any; one change at a time, others wait
 * cost:    O(slots), region by region
 * example:
 *     cellar_rule half = cellar_rule_token_bucket(50, CELLAR_SECOND_NS, 10);
 *     cellar_limiter_rules_set(l, &half, 1);                                                     */
CELLAR_API cellar_err cellar_limiter_rules_set(cellar_limiter *l, const cellar_rule *rules,
                                               uint32_t rule_count);

/* Name a set of rules: a plan. A plan nobody has may be given other rules.
 * in:      name 1..CELLAR_LIMITER_NAME_MAX bytes; rules as for cellar_limiter_check_with
 * returns: OK; E_BUSY (keys have it), E_LIMIT (max_plans), E_INVAL, E_RANGE
 * thread:  any
 * cost:    O(plans)
 * example:
 *     cellar_rule r = cellar_rule_token_bucket(1000, CELLAR_SECOND_NS, 100);
 *     cellar_limiter_plan_set(l, "gold", &r, 1);                                                 */
CELLAR_API cellar_err cellar_limiter_plan_set(cellar_limiter *l, const char *name,
                                              const cellar_rule *rules, uint32_t rule_count);

/* Give a key a plan, by name or by its rules; NULL takes it away. Debt keeps its share. The key is
 * then found with a lock; plans are not part of snapshots.
 * in:      a plan's name; or rules as for cellar_limiter_check_with
 * returns: OK; E_NOT_FOUND, E_LIMIT (max_overrides or max_plans, counted), E_INVAL, E_RANGE
 * thread:  any
 * cost:    one short lock; override: O(plans)
 * example: cellar_limiter_key_plan_set(l, "user:7", 6, "gold");                                  */
CELLAR_API cellar_err cellar_limiter_key_plan_set(cellar_limiter *l, const void *key,
                                                  size_t key_len,
                                                  const char *plan);
CELLAR_API cellar_err cellar_limiter_key_rules_set(cellar_limiter *l, const void *key,
                                                   size_t key_len,
                                                   const cellar_rule *rules, uint32_t rule_count);

/* ---- Upkeep, figures ---- */

/* Work nobody asked for: sweeps SLIDING_COUNT, takes back permits whose lease is over, moves the
 * clock's origin once a year, writes a snapshot when one is due. Call it once a second where one of
 * them matters.
 * in:      a limiter
 * returns: OK; what cellar_limiter_save returns
 * thread:  any
 * cost:    at most 16 regions of 4096 keys, 16,384 permits; a snapshot: O(slots)
 * example: cellar_limiter_tick(l);                                                               */
CELLAR_API cellar_err cellar_limiter_tick(cellar_limiter *l);

/* Write a snapshot now.
 * in:      a limiter opened with snapshot_path or save
 * returns: OK; E_IO, E_BUSY (one is being written), E_FORKED (child of its opener), E_UNSUPPORTED
 *          (no place to write to), E_INVAL
 * thread:  any
 * cost:    O(slots); the disk
 * example: cellar_limiter_save(l);                                                               */
CELLAR_API cellar_err cellar_limiter_save(cellar_limiter *l);

/* Walk over all keys in use, weakly consistent.
 * in:      fn returns 0 to go on; it runs with no lock held and may call the limiter
 * returns: OK; E_INVAL
 * thread:  any
 * cost:    O(slots)
 * example: cellar_limiter_scan(l, print_entry, stdout);                                          */
CELLAR_API cellar_err cellar_limiter_scan(cellar_limiter *l,
                                          int (*fn)(void *ctx, const cellar_limiter_entry *e),
                                          void *ctx);

/* Figures of a limiter.
 * in:      out from cellar_limiter_stats_default
 * out:     *out
 * returns: OK; E_INVAL
 * thread:  any
 * cost:    O(slots), for `keys`
 * example:
 *     cellar_limiter_stats s = cellar_limiter_stats_default();
 *     cellar_limiter_stats_get(l, &s);                                                           */
CELLAR_API cellar_err cellar_limiter_stats_get(cellar_limiter *l, cellar_limiter_stats *out);

/* The figures as Prometheus text.
 * out:     at most cap bytes, the last of them 0
 * returns: the length of the whole text without that 0
 * thread:  any
 * cost:    as cellar_limiter_stats_get
 * example: size_t need = cellar_limiter_metrics_write(l, NULL, 0);                               */
CELLAR_API size_t cellar_limiter_metrics_write(cellar_limiter *l, char *buf, size_t cap);

/* Header lines for an answer, one after the other with a newline between.
 * in:      r of a decision of this limiter; style CELLAR_HEADERS_... flags
 * out:     at most cap bytes, the last of them 0; seconds are rounded up; Retry-After is at least 1
 *          and left out when waiting does not help
 * returns: the length of the whole text without that 0; 0 for bad arguments
 * thread:  any
 * cost:    no allocation
 * example:
 *     char lines[256];
 *     cellar_limiter_headers_write(l, &r, CELLAR_HEADERS_IETF, lines, sizeof lines);             */
CELLAR_API size_t cellar_limiter_headers_write(cellar_limiter *l, const cellar_limiter_result *r,
                                               uint32_t style, char *buf, size_t cap);

/* ---- A limiter for users, by name ---- */

#define CELLAR_USER_LIMIT_MAX 256u

/* Open, or close, a limiter of users: exact sliding windows of up to CELLAR_USER_LIMIT_MAX calls a
 * user, whose limit and window come with each call.
 * in:      as cellar_limiter_open; every cellar_rl_ call takes such a limiter too
 * out:     *out, NULL on failure
 * returns: as cellar_limiter_open
 * owns:    the caller closes *out
 * thread:  any; close not beside other calls
 * cost:    2 KiB a user
 * example:
 *     cellar_limiter *l;
 *     if (cellar_user_limiter_open(NULL, &l) != CELLAR_OK) return 1;
 *     cellar_user_limiter_close(l);                                                              */
CELLAR_API cellar_err cellar_user_limiter_open(const cellar_limiter_config *cfg,
                                               cellar_limiter **out);
CELLAR_API void cellar_user_limiter_close(cellar_limiter *l);

/* Admit a call of a user, or forget the user: at most `limit` calls in any window of `window_s`
 * seconds.
 * in:      user 1..CELLAR_KEY_MAX bytes; limit 0..CELLAR_USER_LIMIT_MAX; window_s from 1
 * out:     *result, optional
 * returns: OK, LIMITED; E_INVAL, E_RANGE
 * thread:  any
 * cost:    as cellar_limiter_check of several rules
 * example: cellar_err e = cellar_user_limiter_check(l, "user:7", 6, 10, 1, NULL);                */
CELLAR_API cellar_err cellar_user_limiter_check(cellar_limiter *l, const void *user,
                                                size_t user_len, uint64_t limit, uint64_t window_s,
                                                cellar_limiter_result *result);
CELLAR_API cellar_err cellar_user_limiter_reset(cellar_limiter *l, const void *user,
                                                size_t user_len);

#ifdef __cplusplus
}
#endif
#endif
