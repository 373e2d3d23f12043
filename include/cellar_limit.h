/* SPDX-License-Identifier: MIT
 *
 * cellar_limit: rate limiters that never over-admit, and keyed locks with leases.
 *
 * Both stand alone: no store is needed, each has a memory bound of its own, no thread is started.
 *
 * CALL PATTERN
 *     #include "cellar_limit.h"
 *     cellar_limiter *l;
 *     const cellar_rl_rule per_user = cellar_rl_gcra(100, CELLAR_RL_SECOND, 20);
 *     if (cellar_rl_open(NULL, &per_user, 1, &l) != CELLAR_OK) return 1;
 *     cellar_rl_result r;
 *     switch (cellar_rl_check(l, "user:7", 6, 1, &r)) {
 *     case CELLAR_OK: serve();                                    break;
 *     case CELLAR_LIMITED: refuse(r.retry_after_ns);              break;
 *     default: an argument was wrong                              break; }
 *     cellar_rl_close(l);
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
 * FORK        the child has its own copy, and so its own quota: parent and child together may admit
 *             twice. Snapshots are detached in the child; locks of the parent are E_FORKED there.
 */
#ifndef CELLAR_LIMIT_H
#define CELLAR_LIMIT_H

#include "cellar.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Rate limiters -------------------------------------------------------------------------- */

#define CELLAR_RL_RULES_MAX    7u       /* rules of one limiter                                  */
#define CELLAR_RL_CHAIN_MAX    8u       /* limiters of one chain                                 */
#define CELLAR_RL_LOG_MAX      4096u    /* largest limit of SLIDING_LOG                          */
#define CELLAR_RL_NAME_MAX     63u      /* bytes of a rule's, plan's or limiter's name           */
#define CELLAR_RL_NEVER        UINT64_MAX
#define CELLAR_RL_SECOND       UINT64_C(1000000000)
#define CELLAR_RL_MINUTE       (60 * CELLAR_RL_SECOND)
#define CELLAR_RL_HOUR         (60 * CELLAR_RL_MINUTE)
#define CELLAR_RL_DAY          (24 * CELLAR_RL_HOUR)
#define CELLAR_RL_PERIOD_MAX   (400 * CELLAR_RL_DAY)

enum { CELLAR_RL_GCRA = 1, CELLAR_RL_SLIDING_LOG = 2, CELLAR_RL_SLIDING_COUNT = 3,
       CELLAR_RL_FIXED = 4, CELLAR_RL_CONCURRENCY = 5 };
enum { CELLAR_RL_PER_MINUTE = 1, CELLAR_RL_PER_HOUR = 2, CELLAR_RL_PER_DAY = 3,
       CELLAR_RL_PER_WEEK = 4, CELLAR_RL_PER_MONTH = 5 };        /* weeks are ISO: from Monday    */
enum { CELLAR_RL_DRY_RUN = 1,  /* computed and charged as if real, never denies (would_deny)      */
       CELLAR_RL_STRICT = 2,   /* denied calls charge too, to at most 2 * b * T (GCRA)            */
       CELLAR_RL_CAPPED = 4 }; /* GCRA whose windows never hold more than N                       */
enum { CELLAR_RL_LEAST_LOSS = 0, CELLAR_RL_DENY_NEW = 1, CELLAR_RL_ALLOW_NEW = 2 };

/* One rule. Made by the functions below; fields they leave 0 may be set afterwards. */
typedef struct cellar_rl_rule {
    uint32_t algorithm; /* CELLAR_RL_GCRA ...                                                     */
    uint32_t flags;     /* CELLAR_RL_DRY_RUN ...                                                  */
    uint64_t limit;     /* N; 0 denies everything                                                 */
    uint64_t period_ns; /* W, 1..CELLAR_RL_PERIOD_MAX; 0 for FIXED and CONCURRENCY                */
    uint64_t burst;     /* b of GCRA, from 1; 0 for all others                                    */
    uint64_t ban_ns;    /* a denial also bans the key for so long; 0: no                          */
    uint32_t calendar;  /* CELLAR_RL_PER_... of FIXED, else 0                                     */
    uint32_t reserved;  /* 0                                                                      */
    const char *name;   /* in header lines and metrics; copied; NULL = "default"; printable ASCII */
    uint64_t reserved1; /* 0                                                                      */
} cellar_rl_rule;

static inline cellar_rl_rule cellar_rl_make_(uint32_t algorithm, uint64_t limit, uint64_t period_ns)
{
    cellar_rl_rule r;
    r.algorithm = algorithm;
    r.flags = 0;
    r.limit = limit;
    r.period_ns = period_ns;
    r.burst = 0;
    r.ban_ns = 0;
    r.calendar = 0;
    r.reserved = 0;
    r.name = 0;
    r.reserved1 = 0;
    return r;
}
/* Token bucket of `burst` tokens that fills at `limit` a period. */
static inline cellar_rl_rule cellar_rl_gcra(uint64_t limit, uint64_t period_ns, uint64_t burst)
{
    cellar_rl_rule r = cellar_rl_make_(CELLAR_RL_GCRA, limit, period_ns);
    r.burst = burst;
    return r;
}
/* Token bucket slowed down so far that no window of a period ever holds more than `limit`. */
static inline cellar_rl_rule cellar_rl_rule_capped(uint64_t limit, uint64_t period_ns,
                                                   uint64_t burst)
{
    cellar_rl_rule r = cellar_rl_gcra(limit, period_ns, burst);
    r.flags = CELLAR_RL_CAPPED;
    return r;
}
static inline cellar_rl_rule cellar_rl_sliding_log(uint64_t limit, uint64_t period_ns)
{
    return cellar_rl_make_(CELLAR_RL_SLIDING_LOG, limit, period_ns);
}
static inline cellar_rl_rule cellar_rl_sliding_count(uint64_t limit, uint64_t period_ns)
{
    return cellar_rl_make_(CELLAR_RL_SLIDING_COUNT, limit, period_ns);
}
static inline cellar_rl_rule cellar_rl_fixed(uint64_t limit, uint32_t calendar)
{
    cellar_rl_rule r = cellar_rl_make_(CELLAR_RL_FIXED, limit, 0);
    r.calendar = calendar;
    return r;
}
static inline cellar_rl_rule cellar_rl_concurrency(uint64_t limit)
{
    return cellar_rl_make_(CELLAR_RL_CONCURRENCY, limit, 0);
}

/* ---- Keyed locks ---------------------------------------------------------------------------- */

#ifdef __cplusplus
}
#endif
#endif
