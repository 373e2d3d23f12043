/* SPDX-License-Identifier: MIT
 *
 * cellar_limit: rate limiters that never admit more than their rules allow. A rule has the numbers,
 * such as 100 requests a second; a key names the user; a check says whether a call may pass now.
 *
 * CALL PATTERN
 *     #include "cellar_limit.h"   // drop-in: part of "cellar.h"
 *     cellar_limiter *l;
 *     const cellar_rule per_user = cellar_rule_token_bucket(100, CELLAR_SECOND_NS, 20);
 *     if (cellar_limiter_open(NULL, &per_user, 1, &l) != CELLAR_OK) return 1;
 *     cellar_limiter_result r;
 *     switch (cellar_limiter_check(l, "user:7", 6, 1, &r)) {
 *     case CELLAR_OK: serve(); break;
 *     case CELLAR_LIMITED: send_429(r.retry_after_ns); break;
 *     default: send_503(); } // no decision: refuse, and see cellar_last_error
 *     cellar_limiter_close(l);
 *
 * WHICH RULE  N a second, bursts of B  cellar_rule_token_bucket(N, CELLAR_SECOND_NS, B)
 *             N a minute, evenly       cellar_rule_token_bucket(N, CELLAR_MINUTE_NS, 1)
 *             at most N in any window  cellar_rule_sliding_log(N, W), or the strict token bucket
 *             about N in any window    cellar_rule_sliding_window(N, W)
 *             N each calendar day      cellar_rule_fixed_window(N, CELLAR_PER_DAY)
 *             N at once                cellar_rule_concurrency(N), and cellar_permit_acquire
 * MEMORY      A limiter needs no store and starts no thread. It takes max_bytes at open and
 *             allocates nothing later. One token bucket, sliding window or fixed window needs 16
 *             bytes for each key, 32 with ban_ns. A full table evicts the key that loses least.
 * THREADS     A check of a known key of a limiter with one rule takes no lock. See RESTRICTIONS. */
#ifndef CELLAR_LIMIT_H
#define CELLAR_LIMIT_H

#include "cellar.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Rules ---------------------------------------------------------------------------------- */

/* BOUNDS
 * They count units of cost, not calls. N = limit, W = period, b = burst. A window is half open:
 * (t - W, t]. T = ceil(W / N), counted in 1/64 ns.
 *
 *     token bucket         at most b + ceil(W / T) - 1 in any window of length W; 2N - 1 if b = N
 *     token bucket strict  at most N in any window; lasting rate (N - b + 1) / W
 *     sliding log          at most N in any window, no denial without need; 8 bytes for each unit
 *     sliding window       about N in any window, at worst 2N - 1 (N at its end, then linear)
 *     fixed window         at most N in each calendar minute, hour, day, week or month of a time
 *                          zone; up to 2N around a boundary
 *     concurrency          at most N permits at any instant, each with a hold
 *
 * The largest N is 4,096 for a sliding log, 2^20 - 1 for a sliding window and for concurrency,
 * 2^34 - 1 for a fixed window. A token bucket takes up to 64e9 tokens a second, and must fill
 * within 400 days. */

/* Limits of the calls of this header, periods for the rules, and special values of a result. */
#define CELLAR_LIMITER_RULES_MAX 7u     /* rules of one limiter                                   */
#define CELLAR_LIMITER_CHAIN_MAX 8u     /* limiters of one chain                                  */
#define CELLAR_LIMITER_NAME_MAX  63u    /* bytes in the name of a rule, plan or limiter           */
#define CELLAR_SLIDING_LOG_MAX   4096u  /* largest limit of a sliding log                         */
#define CELLAR_USER_LIMIT_MAX    256u   /* largest limit of a user limiter                        */
#define CELLAR_SECOND_NS         UINT64_C(1000000000) /* one second in ns                         */
#define CELLAR_MINUTE_NS         (60 * CELLAR_SECOND_NS) /* one minute                            */
#define CELLAR_HOUR_NS           (60 * CELLAR_MINUTE_NS) /* one hour                              */
#define CELLAR_DAY_NS            (24 * CELLAR_HOUR_NS) /* 24 hours                                */
#define CELLAR_PERIOD_MAX_NS     (400 * CELLAR_DAY_NS) /* longest period of a rule                */
#define CELLAR_NEVER_NS          UINT64_MAX /* `retry_after_ns` of a result: it never passes      */
#define CELLAR_RULE_BAN          UINT32_MAX /* `rule` of a result: the key is banned              */

/* The algorithm of a rule. The function that makes the rule sets it, as cellar_rule_token_bucket
 * does. BOUNDS compares what each algorithm admits. */
typedef enum cellar_algorithm {
    CELLAR_RULE_TOKEN_BUCKET = 1,   /* burst b, then N for each period */
    CELLAR_RULE_SLIDING_LOG = 2,    /* at most N in any window, exact */
    CELLAR_RULE_SLIDING_WINDOW = 3, /* about N in any window */
    CELLAR_RULE_FIXED_WINDOW = 4,   /* at most N in each calendar period */
    CELLAR_RULE_CONCURRENCY = 5     /* at most N permits at any instant */
} cellar_algorithm;

/* Period of a fixed window, for cellar_rule_fixed_window. It follows the zone of the limiter. */
typedef enum cellar_calendar {
    CELLAR_PER_MINUTE = 1, /* calendar minutes                                                    */
    CELLAR_PER_HOUR = 2,   /* calendar hours                                                      */
    CELLAR_PER_DAY = 3,    /* days, from midnight                                                 */
    CELLAR_PER_WEEK = 4,   /* ISO weeks, from Monday                                              */
    CELLAR_PER_MONTH = 5   /* months, from the first day                                          */
} cellar_calendar;

/* What a limiter does with a new key when both its buckets are full of live keys. */
typedef enum cellar_overflow {
    CELLAR_OVERFLOW_LEAST_LOSS = 0, /* evict the key that loses least                             */
    CELLAR_OVERFLOW_DENY_NEW = 1,   /* deny the new key                                           */
    CELLAR_OVERFLOW_ALLOW_NEW = 2   /* admit the new key, uncounted                               */
} cellar_overflow;

/* Compilers with short enums would disagree with the library about the layout of structs. */
typedef char cellar_limit_enums_have_4_bytes[
    sizeof(cellar_algorithm) == 4 && sizeof(cellar_calendar) == 4 && sizeof(cellar_overflow) == 4
        ? 1 : -1];

/* Flags of a rule: cellar_rule.flags. Set them after the function that makes the rule. */
#define CELLAR_RULE_DRY_RUN       1u /* never denies; sets would_deny where it would              */
#define CELLAR_RULE_CHARGE_DENIED 2u /* token bucket: denied calls charge, up to a debt of 2b * T */
#define CELLAR_RULE_STRICT        4u /* token bucket: no window holds more than N                 */

/* A rate limiter: one table of keys. cellar_limiter_open and cellar_user_limiter_open make it,
 * cellar_limiter_close frees it. Every call of this header takes it from any thread. */
typedef struct cellar_limiter cellar_limiter;

/* One rule of a limiter. Make it with cellar_rule_token_bucket or another function that returns a
 * cellar_rule, then set further fields: all others are zero. */
typedef struct cellar_rule {
    cellar_algorithm algorithm; /* set by the function that makes the rule                        */
    uint32_t flags;          /* CELLAR_RULE_DRY_RUN, _CHARGE_DENIED, _STRICT. Default 0: none     */
    uint64_t limit;          /* units that the rule admits in a period, or permits at a time: N   */
                             /* of BOUNDS. 0 denies everything. Range 0..the largest N of the     */
                             /* algorithm, see BOUNDS                                             */
    uint64_t period_ns;      /* length of a period, in ns: W of BOUNDS.                           */
                             /* Range 1..CELLAR_PERIOD_MAX_NS ns. 0 for fixed window and          */
                             /* concurrency, which have none                                      */
    uint64_t burst;          /* units that a full token bucket holds: b of BOUNDS. From 1; with   */
                             /* STRICT up to limit. 0 for all other rules                         */
    uint64_t ban_ns;         /* a denial bans the key for this time. Range 0..                    */
                             /* CELLAR_PERIOD_MAX_NS ns. Default 0: no ban. In rules that come    */
                             /* later than the open it works as cellar_limiter_ban; a ban without */
                             /* room is counted in overrides_full                                 */
    uint32_t calendar;       /* a cellar_calendar of a fixed window; 0 for all other rules        */
    uint32_t reserved0;      /* must be 0                                                         */
    const char *name;        /* 1..CELLAR_LIMITER_NAME_MAX bytes of printable ASCII for header    */
                             /* lines and metrics, copied. Default NULL: "default"                */
    uint64_t reserved1;      /* must be 0                                                         */
} cellar_rule;

static inline cellar_rule cellar_rule_make_(cellar_algorithm algorithm, uint64_t limit,
                                            uint64_t period_ns)
{
#ifdef __cplusplus
    cellar_rule r = cellar_rule();
    r.algorithm = algorithm;
#else /* the first field is an enum: { 0 } would be invalid in C++ */
    cellar_rule r = { algorithm, 0, 0, 0, 0, 0, 0, 0, NULL, 0 };
#endif
    r.limit = limit;
    r.period_ns = period_ns;
    return r;
}
/* Return a bucket of `burst` tokens that fills at `limit` tokens a period. It admits at most
 * limit + burst - 1 in any period: see BOUNDS.
 * in:      limit: tokens a period, up to 64e9 a second; 0 denies everything;
 *          period_ns 1..CELLAR_PERIOD_MAX_NS; burst from 1, and it fills within 400 days
 * returns: the rule. cellar_limiter_open checks it: period_ns or burst 0 is E_INVAL, a number above
 *          its largest value is E_RANGE
 * thread:  any
 * cost:    O(1); no call of the library
 * example:
 *     const cellar_rule r =
 *         cellar_rule_token_bucket(100, CELLAR_SECOND_NS, 20);
 * since:   0.2.0                                                                                 */
static inline cellar_rule cellar_rule_token_bucket(uint64_t limit, uint64_t period_ns,
                                                   uint64_t burst)
{
    cellar_rule r = cellar_rule_make_(CELLAR_RULE_TOKEN_BUCKET, limit, period_ns);
    r.burst = burst;
    return r;
}
/* Return a token bucket that fills slowly enough that no window holds more than `limit`.
 * in:      limit, period_ns: as cellar_rule_token_bucket; burst 1..limit
 * returns: the rule. cellar_limiter_open checks it: a burst above limit is E_INVAL, the rest as of
 *          cellar_rule_token_bucket
 * thread:  any
 * cost:    O(1); no call of the library
 * example:
 *     const cellar_rule r =
 *         cellar_rule_token_bucket_strict(100, CELLAR_SECOND_NS, 20);
 * since:   0.2.0                                                                                 */
static inline cellar_rule cellar_rule_token_bucket_strict(uint64_t limit, uint64_t period_ns,
                                                          uint64_t burst)
{
    cellar_rule r = cellar_rule_token_bucket(limit, period_ns, burst);
    r.flags = CELLAR_RULE_STRICT;
    return r;
}
/* Return a rule that stores the time of each unit: exact, at most `limit` in any window.
 * in:      limit 0..CELLAR_SLIDING_LOG_MAX units a window; 0 denies everything;
 *          period_ns 1..CELLAR_PERIOD_MAX_NS: length of the window
 * returns: the rule. cellar_limiter_open checks it: period_ns 0 is E_INVAL, a number above its
 *          largest value is E_RANGE
 * thread:  any
 * cost:    O(1); no call of the library
 * example: const cellar_rule r = cellar_rule_sliding_log(5, CELLAR_MINUTE_NS);
 * since:   0.2.0                                                                                 */
static inline cellar_rule cellar_rule_sliding_log(uint64_t limit, uint64_t period_ns)
{
    return cellar_rule_make_(CELLAR_RULE_SLIDING_LOG, limit, period_ns);
}
/* Return a rule that counts two windows and weighs the older one: approximate, at worst
 * 2 * limit - 1 in a window.
 * in:      limit 0..2^20 - 1 units a window; 0 denies everything;
 *          period_ns 1..CELLAR_PERIOD_MAX_NS: length of the window
 * returns: the rule. cellar_limiter_open checks it: period_ns 0 is E_INVAL, a number above its
 *          largest value is E_RANGE
 * thread:  any
 * cost:    O(1); no call of the library
 * example:
 *     const cellar_rule r =
 *         cellar_rule_sliding_window(1000, CELLAR_HOUR_NS);
 * since:   0.2.0                                                                                 */
static inline cellar_rule cellar_rule_sliding_window(uint64_t limit, uint64_t period_ns)
{
    return cellar_rule_make_(CELLAR_RULE_SLIDING_WINDOW, limit, period_ns);
}
/* Return a quota for each calendar period of the time zone of the limiter: up to 2 * limit around
 * a boundary.
 * in:      limit 0..2^34 - 1 units a period; 0 denies everything;
 *          calendar: CELLAR_PER_MINUTE to CELLAR_PER_MONTH
 * returns: the rule. cellar_limiter_open checks it: an unknown calendar is E_INVAL, a limit above
 *          its largest value is E_RANGE
 * thread:  any
 * cost:    O(1); no call of the library
 * example:
 *     const cellar_rule r =
 *         cellar_rule_fixed_window(100000, CELLAR_PER_DAY);
 * since:   0.2.0                                                                                 */
static inline cellar_rule cellar_rule_fixed_window(uint64_t limit, cellar_calendar calendar)
{
    cellar_rule r = cellar_rule_make_(CELLAR_RULE_FIXED_WINDOW, limit, 0);
    r.calendar = calendar;
    return r;
}
/* Return a bound of the permits that exist at the same time. See cellar_permit_acquire.
 * in:      limit 0..2^20 - 1 permits of a key; 0 denies everything
 * returns: the rule. cellar_limiter_open checks it: a limit above its largest value is E_RANGE
 * thread:  any
 * cost:    O(1); no call of the library
 * example: const cellar_rule r = cellar_rule_concurrency(10);
 * since:   0.2.0                                                                                 */
static inline cellar_rule cellar_rule_concurrency(uint64_t limit)
{
    return cellar_rule_make_(CELLAR_RULE_CONCURRENCY, limit, 0);
}

/* ---- Types ---------------------------------------------------------------------------------- */

/* Result of a decision. The calls fill it with the codes OK and LIMITED; cellar_limiter_wait fills
 * it also with E_TIMEOUT and E_NEVER. The tightest rule is the one with the fewest units left.
 * cellar_limiter_headers_write writes it as HTTP header lines: retry_after_ns becomes Retry-After,
 * reset_after_ns the reset, limit and remaining those two. */
typedef struct cellar_limiter_result {
    uint32_t allowed;        /* 1: admitted                                                       */
    uint32_t would_deny;     /* 1: a rule with DRY_RUN would have denied                          */
    uint32_t never;          /* 1: denied for good: limit 0, or cost above the burst or limit     */
    uint32_t rule;           /* number of the rule that denied (longest wait), else of the        */
                             /* tightest rule; CELLAR_RULE_BAN: the key is banned                 */
    uint64_t limit;          /* N of that rule, in units                                          */
    uint64_t remaining;      /* units left of the tightest rule, after the decision               */
    uint64_t retry_after_ns; /* LIMITED: wait in ns after which the call passes if no other call  */
                             /* comes first; CELLAR_NEVER_NS: it never passes. Else 0             */
    uint64_t reset_after_ns; /* ns until the tightest rule has no debt of this key                */
    uint64_t now_ns;         /* reading of the clock that the decision used                       */
} cellar_limiter_result;

/* A reservation: filled by cellar_limiter_reserve, used once by cellar_limiter_commit. It holds no
 * memory, so it needs no free call, and a program may drop it. Any thread may commit it, one at a
 * time. Move it rather than copy it: the library marks a ticket as used in its own memory, so a
 * copy that is committed as well may give units back twice. All zero: no reservation. */
typedef struct cellar_limiter_ticket {
    uint64_t opaque[16];
} cellar_limiter_ticket;
typedef char cellar_limiter_ticket_is_frozen[sizeof(cellar_limiter_ticket) == 128 ? 1 : -1];

/* One key, as cellar_limiter_scan reports it. */
typedef struct cellar_limiter_entry {
    uint64_t fingerprint;    /* that of cellar_limiter_fingerprint                                */
    uint32_t rule_count;     /* rules of the limiter: used elements of the two arrays             */
    uint32_t overridden;     /* 1: the key has a plan, rules or a ban of its own                  */
    uint64_t remaining[CELLAR_LIMITER_RULES_MAX]; /* units left, for each rule                    */
    uint64_t reset_after_ns[CELLAR_LIMITER_RULES_MAX]; /* ns, for each rule; 0: no debt in it     */
    uint64_t banned_ns;      /* ns left of a ban; 0: no ban                                       */
} cellar_limiter_entry;

/* One limiter of a chain, for cellar_limiter_check_chain. */
typedef struct cellar_limiter_link {
    cellar_limiter *limiter; /* decides about the key                                             */
    const void *key;         /* 1..CELLAR_KEY_MAX bytes                                           */
    size_t   key_len;        /* bytes of `key`                                                    */
    uint64_t cost;           /* units, as in cellar_limiter_check                                 */
} cellar_limiter_link;

/* Flags of one check: cellar_check_opts.flags. */
#define CELLAR_CHECK_PEEK 1u /* decide without effect                                             */

/* Options of one check, for cellar_limiter_check_with. Start from cellar_check_opts_default(). */
typedef struct cellar_check_opts {
    size_t   struct_size;    /* set by cellar_check_opts_default()                                */
    uint64_t now_ns;         /* reading of the limiter's clock, in ns. Range 1..2^64 - 1.         */
                             /* Default 0: the call reads it                                      */
    const cellar_rule *rules; /* rules of this call. Default NULL: the rules of the limiter       */
    uint32_t rule_count;     /* number of `rules`. Range 1..CELLAR_LIMITER_RULES_MAX; 0 without   */
                             /* them                                                              */
    uint32_t flags;          /* CELLAR_CHECK_PEEK. Default 0                                      */
} cellar_check_opts;
CELLAR_STRUCT(cellar_check_opts, flags);

/* Figures of a limiter, from cellar_limiter_stats_get; cellar_metrics_write prints the same ones.
 * Start from cellar_limiter_stats_default(). Counts begin at the open. */
typedef struct cellar_limiter_stats {
    size_t   struct_size;    /* set by cellar_limiter_stats_default()                             */
    uint64_t allowed;        /* decisions that admitted                                           */
    uint64_t denied;         /* decisions that denied                                             */
    uint64_t would_deny;     /* admissions that a rule with DRY_RUN would have denied             */
    uint64_t banned;         /* denials of banned keys                                            */
    uint64_t live_evicted;   /* full table: keys with debt that were evicted                      */
    uint64_t overflow_denied; /* full table: new keys denied                                      */
    uint64_t overflow_allowed; /* full table: new keys admitted                                   */
    uint64_t dead_replaced;  /* slots of keys without debt given to new keys                      */
    uint64_t moved;          /* keys moved to make room                                           */
    uint64_t chain_rollbacks; /* chains that were charged in part and taken back                  */
    uint64_t permits_expired; /* permits that ended with their hold                               */
    uint64_t permits_full;   /* permits rejected by max_permits                                   */
    uint64_t overrides_full; /* plans and bans rejected by max_overrides or max_plans             */
    uint64_t snapshots_refused; /* snapshots not read: damaged, an empty file, of other rules,    */
                               /* failed reads                                                    */
    uint64_t keys;           /* slots in use, including keys without debt                         */
    uint64_t slots;          /* slots of the table                                                */
    uint64_t bytes;          /* all memory of the limiter                                         */
    uint64_t overrides;      /* keys with a plan or ban of their own                              */
    uint64_t permits;        /* permits that exist                                                */
    uint64_t denied_by_rule[CELLAR_LIMITER_RULES_MAX]; /* of denied, by number of the rule        */
} cellar_limiter_stats;
CELLAR_STRUCT(cellar_limiter_stats, denied_by_rule);

/* Return a reading of a clock: of cellar_limiter_config.clock_ns, wall_ms or boot_ms.
 * in:      ctx: clock_ctx of the options
 * returns: clock_ns: monotonic ns; wall_ms: ms since 1970; boot_ms: ms since boot, with suspend. A
 *          clock_ns that goes back is allowed: see OLDER READINGS
 * owns:    ctx lives until cellar_limiter_close has returned
 * thread:  each thread that is inside a call of the limiter, several at a time, with locks of the
 *          limiter held: the function must not block and must not call the library
 * cost:    part of each check: one call of clock_ns                                              */
typedef uint64_t (*cellar_limiter_clock_fn)(void *ctx);

/* Store the next bytes of a snapshot.
 * in:      bytes: 1..4,096 bytes, valid until the function returns; last: true with the end of the
 *          snapshot; ctx: snapshot_ctx of the options
 * returns: 0: stored. Any other number: the function failed, and this snapshot ends. cellar_tick
 *          then returns E_IO, and the next save begins with a new snapshot
 * owns:    ctx lives until cellar_limiter_close has returned
 * thread:  the one that is inside cellar_tick or cellar_limiter_close, one at a time, with no lock
 *          held; the function may block, and must not close the limiter
 * cost:    that thread waits for it                                                              */
typedef int (*cellar_snapshot_write_fn)(const void *bytes, size_t len, bool last, void *ctx);

/* Copy the next bytes of the saved snapshot into `buf`. The first call wants its beginning.
 * in:      buf_cap: room, 1..4,096 bytes; ctx: snapshot_ctx of the options
 * out:     *len: bytes copied; 0 at the end of the snapshot, or when there is none
 * returns: 0: copied. Any other number: the function failed; the limiter refuses the snapshot and
 *          starts empty
 * owns:    ctx lives until cellar_limiter_close has returned
 * thread:  the one that is inside cellar_limiter_open, with no lock held; the function may block
 * cost:    the open waits for it                                                                 */
typedef int (*cellar_snapshot_read_fn)(void *buf, size_t buf_cap, size_t *len, void *ctx);

/* Receive one key of cellar_limiter_scan.
 * in:      e: valid until the function returns; ctx of the scan
 * returns: true: continue; false: end the scan
 * owns:    nothing is kept after cellar_limiter_scan has returned
 * thread:  the caller of the scan, with no lock held; the function may block, and may call the
 *          limiter, except its close
 * cost:    the scan waits for it                                                                 */
typedef bool (*cellar_limiter_scan_fn)(const cellar_limiter_entry *e, void *ctx);

/* Options of a limiter, for cellar_limiter_open. Start from cellar_limiter_config_default(). */
typedef struct cellar_limiter_config {
    size_t   struct_size;    /* set by cellar_limiter_config_default()                            */
    uint32_t abi;            /* CELLAR_ABI, set by cellar_limiter_config_default(). 0: not        */
                             /* checked                                                           */
    cellar_overflow overflow; /* what happens to new keys of a full table. Default LEAST_LOSS     */
    uint64_t max_bytes;      /* all memory of the limiter, in bytes. From one bucket of its       */
                             /* rules: about 14 KiB for a token bucket, 160 KiB for the largest   */
                             /* sliding log; less is E_SPACE. Default 0: 16 MiB                   */
    uint32_t max_overrides;  /* keys with a plan or ban of their own. Range 1..2^26. Default 0:   */
                             /* 65,536, or what fits into 1/16 of max_bytes. CELLAR_OFF: none     */
    uint32_t max_plans;      /* different plans. Range 1..2^20. Default 0: 64, or what fits into  */
                             /* 1/64 of max_bytes                                                 */
    uint32_t max_permits;    /* permits of a concurrency rule. Range 1..2^20. Default 0: 65,536,  */
                             /* or what fits into 1/4 of max_bytes                                */
    uint32_t coarse_clock;   /* 1: use a clock that lags by some ms and costs 3 ns, not 9 ns;     */
                             /* decisions are only stricter. Not with clock_ns, and not with more */
                             /* than 1e7 tokens a second. Default 0                               */
    const char *zone;        /* time zone of fixed windows: "Europe/Berlin", "+08:00".            */
                             /* Default NULL: "UTC"                                               */
    const uint8_t *hash_key; /* 32 bytes, copied. Default NULL: that of the snapshot, else random */
    cellar_limiter_clock_fn clock_ns; /* clock of decisions. Default NULL: the monotonic clock of */
                             /* the system                                                        */
    cellar_limiter_clock_fn wall_ms; /* wall clock, for fixed windows and snapshots.              */
                             /* Default NULL: that of the system                                  */
    cellar_limiter_clock_fn boot_ms; /* clock for snapshots: ms since boot, with suspend.         */
                             /* Default NULL: that of the system                                  */
    void    *clock_ctx;      /* given to the three clocks                                         */
    const struct cellar_host_config *host; /* cellar_admin.h. NULL: all defaults. Used: name      */
                             /* (printable ASCII; "" counts as "default"), alloc and free (for    */
                             /* the handle and, during open, the time zone), log, log_level       */
    const char *snapshot_path; /* file of the snapshot; its folder must exist; the file name has  */
                             /* 1..255 bytes. Copied. Default NULL: none                          */
    cellar_snapshot_write_fn snapshot_write; /* stores a snapshot, in place of snapshot_path;     */
                             /* with snapshot_read. Default NULL: none                            */
    cellar_snapshot_read_fn  snapshot_read; /* reads the snapshot at the open; with snapshot_write*/
    void    *snapshot_ctx;   /* given to these two                                                */
    uint64_t snapshot_interval_ms; /* cellar_tick (cellar_admin.h), which the program calls,      */
                             /* saves when the last snapshot is older. Range 1..2^64 - 1 ms;      */
                             /* above 400 days it counts as 400 days. Default 0: only the close   */
                             /* saves                                                             */
} cellar_limiter_config;
CELLAR_PACKED(cellar_limiter_config, snapshot_interval_ms);
static inline cellar_limiter_config cellar_limiter_config_default(void)
{
    CELLAR_ZERO(cellar_limiter_config, o);
    o.struct_size = sizeof(cellar_limiter_config);
    o.abi = CELLAR_ABI;
    return o;
}

/* ---- Open, close ---------------------------------------------------------------------------- */

/* Open a limiter: a table of keys with 1 to 7 rules. A call passes if every rule admits it.
 * in:      cfg from cellar_limiter_config_default; NULL: all defaults;
 *          rules, rule_count: 1..CELLAR_LIMITER_RULES_MAX, at most one of them concurrency
 * out:     *out is NULL on failure
 * returns: OK;
 *          E_RANGE (a limit, period, ban or burst above its largest value: see BOUNDS);
 *          E_SPACE (max_bytes is too small for one bucket of these rules: raise it);
 *          E_NOT_FOUND (the time zone is unknown: install tzdata, or use an offset);
 *          E_CORRUPT (the zone file is damaged), E_NOMEM (memory, or random numbers of the kernel).
 *          cellar_last_error of NULL has the reason
 * owns:    the caller closes *out with cellar_limiter_close. Rules, names and texts are copied;
 *          clock_ctx, snapshot_ctx and the contexts of `host` live until the close
 * thread:  any
 * cost:    takes max_bytes; reads the snapshot if there is one. A refused snapshot is no failure:
 *          the limiter starts empty (snapshots_refused)
 * example:
 *     const cellar_rule rules[2] = {
 *         cellar_rule_token_bucket(100, CELLAR_SECOND_NS, 20),
 *         cellar_rule_fixed_window(100000, CELLAR_PER_DAY)
 *     };
 *     cellar_limiter *l;
 *     if (cellar_limiter_open(NULL, rules, 2, &l) != CELLAR_OK) return 1;                        */
CELLAR_API cellar_err cellar_limiter_open(const cellar_limiter_config *cfg,
                                          const cellar_rule *rules, uint32_t rule_count,
                                          cellar_limiter **out);

/* Close a limiter. Write the last snapshot if the limiter has one.
 * in:      l; NULL is allowed
 * returns: nothing. A failed save writes one log line (CELLAR_LOG_ERROR, to the log of `host`) with
 *          path and reason. cellar_tick returns the code of its saves
 * owns:    l is freed. Tickets and permits of the limiter are invalid: no call may get them
 * thread:  must not overlap other calls on the limiter
 * cost:    O(keys) with a snapshot, else one unmap
 * example: cellar_limiter_close(l);                                                              */
CELLAR_API void cellar_limiter_close(cellar_limiter *l);

/* ---- Decide --------------------------------------------------------------------------------- */

/* Ask whether a call of a key may pass now, and count it: admit or deny `cost` units. If every rule
 * admits, the call charges all of them; else none.
 * in:      key 1..CELLAR_KEY_MAX bytes; cost in units, 0 charges nothing
 * out:     *out, optional, with OK and LIMITED: see cellar_limiter_result
 * returns: OK (admitted and charged), LIMITED (denied; only CHARGE_DENIED charges then: try
 *          again after out->retry_after_ns, or never if out->never is 1); E_INVAL (the limiter has
 *          a concurrency rule: call cellar_permit_acquire)
 * owns:    nothing is kept: the limiter stores a fingerprint of the key
 * thread:  any
 * cost:    one rule, known key: no lock, one compare-exchange, none for a denial; several rules:
 *          no lock for a denial, else one short lock; new key: one short lock
 * example:
 *     cellar_limiter_result r;
 *     switch (cellar_limiter_check(l, "10.0.0.7", 8, 1, &r)) {
 *     case CELLAR_OK: break;
 *     case CELLAR_LIMITED: return 429;
 *     default: return 503; } // no decision                                                      */
CELLAR_API cellar_err cellar_limiter_check(cellar_limiter *l, const void *key, size_t key_len,
                                           uint64_t cost, cellar_limiter_result *out);

/* Admit or deny like cellar_limiter_check, but at a given time, by given rules, or without effect.
 * in:      key, cost: as cellar_limiter_check;
 *          o from cellar_check_opts_default; NULL: all defaults;
 *          o->now_ns from cellar_limiter_now, or a reading of clock_ns; see OLDER READINGS;
 *          o->rules: the same number and algorithms as those of the limiter; the same period
 *          (sliding window) and calendar (fixed window); a limit up to the first one (sliding log).
 *          A longer window of a sliding log counts from then on
 * out:     *out, optional, with OK and LIMITED; a peek charges nothing: its `remaining` does not
 *          subtract `cost`
 * returns: OK (admitted), LIMITED (denied: out->retry_after_ns says when to try again, out->never
 *          that no wait helps); E_CLOCK (a new key, and now_ns is more than one second ahead: read
 *          the clock again), E_RANGE (o->rules: a number above its largest value, see BOUNDS),
 *          E_INVAL (o->rules do not fit the limiter; a concurrency rule without CELLAR_CHECK_PEEK)
 * thread:  any
 * cost:    as cellar_limiter_check; with now_ns no reading of the clock, except of fixed windows;
 *          with rules two divisions more for each rule
 * example:
 *     cellar_check_opts o = cellar_check_opts_default();
 *     o.now_ns = cellar_limiter_now(l);   // one reading for many checks
 *     cellar_err e = cellar_limiter_check_with(l, "user:7", 6, 1, &o, NULL);                     */
CELLAR_API cellar_err cellar_limiter_check_with(cellar_limiter *l, const void *key, size_t key_len,
                                                uint64_t cost, const cellar_check_opts *o,
                                                cellar_limiter_result *out);

/* Admit or deny a call by several limiters, all of which must admit it: one for the user, one for
 * the address, one for the whole site. While a chain is taken back, other calls may meet its
 * charge. They are then denied without need, at most cost x threads units; no limiter ever admits
 * more than its rules allow.
 * in:      links: 1..CELLAR_LIMITER_CHAIN_MAX, the most selective one first
 * out:     *out, optional: of the limiter that denied, else of the last one;
 *          *denied_by, optional: number of that limiter, from 0
 * returns: OK (all admitted and charged), LIMITED (one denied; the others are not charged); E_INVAL
 *          (a limiter with a concurrency rule)
 * thread:  any
 * cost:    two passes over the links
 * example:
 *     cellar_limiter_link both[2] = { { users, "user:7", 6, 1 },
 *                                     { site, "site", 4, 1 } };
 *     cellar_err e = cellar_limiter_check_chain(both, 2, NULL, NULL);                            */
CELLAR_API cellar_err cellar_limiter_check_chain(const cellar_limiter_link *links, uint32_t count,
                                                 cellar_limiter_result *out, uint32_t *denied_by);

/* Wait until the call is admitted: for a client that must not ask a service too often. The call
 * returns immediately if that takes longer than `max_wait_ns`.
 * in:      key, cost: as cellar_limiter_check; max_wait_ns in ns, 0: do not wait
 * out:     *out, optional, with each code below but E_INVAL
 * returns: OK (admitted, and the wait is over), E_TIMEOUT (charged as with LIMITED;
 *          out->retry_after_ns has the wait), E_NEVER (no wait helps: cost above the burst or
 *          limit, or limit 0); E_INVAL (the limiter has a concurrency rule: call
 *          cellar_permit_acquire)
 * thread:  any; sleeps with no internal lock held, by the clock of the system. No call ends the
 *          sleep early, and the limiter must not be closed meanwhile. If all rules are token
 *          buckets and the key is not banned, waiters are served in order of arrival, else in no
 *          order
 * cost:    the wait; token buckets charge before the sleep
 * example:
 *     cellar_err e =
 *         cellar_limiter_wait(l, "api", 3, 1, 5 * CELLAR_SECOND_NS, NULL);                       */
CELLAR_API cellar_err cellar_limiter_wait(cellar_limiter *l, const void *key, size_t key_len,
                                          uint64_t cost, uint64_t max_wait_ns,
                                          cellar_limiter_result *out);

/* ---- Reserve, commit ------------------------------------------------------------------------ */

/* Reserve units for later, and return a ticket: for work with a cost that is known only at its end,
 * such as tokens of a language model. The reservation charges the key, as cellar_limiter_check
 * does. Token buckets also reserve units that the bucket gains within `max_wait_ns`; other rules
 * never wait.
 *
 * cellar_limiter_commit corrects the charge once, with the units that were used in the end. Without
 * a commit the key stays charged for `cost`, as after a check: the bucket refills, the window
 * passes. So a ticket that is dropped costs no memory and loses no more than these units.
 * in:      key, cost: as cellar_limiter_check;
 *          max_wait_ns: longest wait for future units, in ns. 0: only units that the key has now
 * out:     *ticket: for cellar_limiter_commit; all zero on any code but OK;
 *          *wait_ns, optional: ns to wait before the units are used; 0 if they are there, and on
 *          any code but OK. The library does not sleep. Units that are used before the wait is over
 *          break the bound of the rule. A commit may come before its end;
 *          *out, optional, with OK and LIMITED
 * returns: OK (admitted and charged), LIMITED (denied: out->retry_after_ns says when to try again,
 *          out->never that no wait helps); E_INVAL (the limiter has a concurrency rule: call
 *          cellar_permit_acquire)
 * owns:    *ticket belongs to the caller, and needs no free call; see cellar_limiter_ticket
 * thread:  any; another thread may commit the ticket
 * cost:    as cellar_limiter_check; the first ticket of a key takes one short lock
 * example:
 *     cellar_limiter_ticket t;
 *     uint64_t wait_ns;
 *     const cellar_err err =
 *         cellar_limiter_reserve(l, "llm", 3, 800, 0, &t, &wait_ns, NULL);
 *     if (err == CELLAR_OK)
 *         cellar_limiter_commit(l, &t, 615);                                                     */
CELLAR_API cellar_err cellar_limiter_reserve(cellar_limiter *l, const void *key, size_t key_len,
                                             uint64_t cost, uint64_t max_wait_ns,
                                             cellar_limiter_ticket *ticket, uint64_t *wait_ns,
                                             cellar_limiter_result *out);

/* Use a ticket for the units that were used in the end; 0 cancels the reservation. The call gives
 * back the units reserved above it, or charges the units missing, as cellar_limiter_adjust does:
 * that may leave a debt.
 *
 * Units that time has paid since the reservation are not given back. Several tickets of one token
 * bucket come back whole in reverse order; in another order each gives back less. Units from
 * cellar_limiter_adjust are not part of that: an adjustment and a ticket may give back the same
 * unit twice. What happens to other keys takes nothing away.
 * in:      ticket of this limiter; one that is all zero is OK, and nothing happens;
 *          actual_cost: units that were used, 0 cancels
 * returns: OK;
 *          INVALIDATED (no units were given back: since the reservation the key was reset or
 *          evicted, or got a token bucket with other numbers; or that happened to another key of
 *          its region of 4096 slots, and 64 others reserved later);
 *          E_LIMIT (charge of a new key: the table is full and evicts no key);
 *          E_TICKET_USED (committed before: nothing changed);
 *          E_INVAL (a ticket of another limiter: nothing changed).
 *          The ticket is used after each code but E_INVAL
 * owns:    the ticket is used up; its memory is that of the caller
 * thread:  any, also another one than that of the reservation; one at a time for a ticket
 * cost:    as cellar_limiter_check; sliding log: O(N)
 * example: cellar_limiter_commit(l, &t, 615);                                                    */
CELLAR_API cellar_err cellar_limiter_commit(cellar_limiter *l, cellar_limiter_ticket *ticket,
                                            uint64_t actual_cost);

/* ---- Change one key ------------------------------------------------------------------------- */

/* Charge a key (cost > 0) or refund it (cost < 0) without a decision. A refund ends at a full
 * bucket, and may exceed what was charged. A charge saturates: a token bucket at a debt of 400
 * days, a sliding log at 2^22 units (those above N are paid when the oldest stamp is). The refund
 * of a charge makes no room that was not there before the charge.
 * in:      key 1..CELLAR_KEY_MAX bytes; cost in units; 0 changes nothing
 * returns: OK; E_LIMIT (charge of a new key: the table is full and evicts no key)
 * thread:  any
 * cost:    as cellar_limiter_check
 * example: cellar_limiter_adjust(l, "user:7", 6, 50);                                            */
CELLAR_API cellar_err cellar_limiter_adjust(cellar_limiter *l, const void *key, size_t key_len,
                                            int64_t cost);

/* Ban a key: deny every call for `ban_ns`. Refunds, tickets, new rules, plans and snapshots change
 * nothing of that (a restart adds 2 ms at most); a reset ends it. Of two bans the one that ends
 * later counts. A ban is no debt: time pays the debt meanwhile. After a ban, a token bucket admits
 * one unit and fills from there.
 * in:      key 1..CELLAR_KEY_MAX bytes;
 *          ban_ns from now; 0 changes nothing; values above CELLAR_PERIOD_MAX_NS count as that
 * returns: OK; E_LIMIT (no room for the key, or for the ban: raise max_bytes or max_overrides)
 * thread:  any
 * cost:    as cellar_limiter_check; a limiter of one token bucket, sliding or fixed window that was
 *          opened without ban_ns: one entry of max_overrides and one short lock, and each check of
 *          the key takes a lock
 * example: cellar_limiter_ban(l, "user:7", 6, CELLAR_MINUTE_NS);                                 */
CELLAR_API cellar_err cellar_limiter_ban(cellar_limiter *l, const void *key, size_t key_len,
                                         uint64_t ban_ns);

/* Reset a key, or all keys: the next check meets an unused key. Ends bans and permits; keeps plans.
 * in:      key; NULL and key_len 0 name all keys
 * out:     *existed, optional: whether the key, or one of all, had any state
 * returns: OK, also for a key without any state
 * owns:    permits and bans of the key end; its tickets give nothing back (INVALIDATED)
 * thread:  any; a concurrent check comes before the reset of its key or after it
 * cost:    one short lock; all keys: O(slots), with one region of 4096 slots locked at a time
 * example: cellar_limiter_reset(l, "user:7", 6, NULL);                                           */
CELLAR_API cellar_err cellar_limiter_reset(cellar_limiter *l, const void *key, size_t key_len,
                                           bool *existed);

/* ---- Permits of a concurrency rule ---------------------------------------------------------- */

/* Acquire a permit of a concurrency rule: at most N exist for a key at a time, such as N queries of
 * a user. The other rules must admit one unit.
 *
 * A permit ends by cellar_permit_release, after hold_ms, with cellar_limiter_reset, or with the
 * close of the limiter. It belongs to no thread: if the thread of its holder ends or hangs, the
 * permit counts until hold_ms has passed. Snapshots have no permits: a restart begins with none.
 * The other rules are charged one unit, which the release does not give back.
 * in:      key 1..CELLAR_KEY_MAX bytes;
 *          hold_ms: life of the permit in ms, from 1; more than 400 days count as that
 * out:     *token: the number of the permit; 0 on any code but OK;
 *          *out, optional, with OK and LIMITED
 * returns: OK; LIMITED (N permits exist, or another rule denies: out->retry_after_ns, which is for
 *          permits the end of the first hold); E_LIMIT (max_permits; or a new key, and the table
 *          evicts none); E_INVAL (the limiter has no concurrency rule; hold_ms below 1)
 * owns:    the caller releases *token, or lets it end
 * thread:  any; does not wait for a permit
 * cost:    one short lock; ends at most 8 expired permits of the key
 * example:
 *     uint64_t token;
 *     const cellar_err err =
 *         cellar_permit_acquire(l, "db", 2, 30000, &token, NULL);
 *     if (err == CELLAR_OK)
 *         cellar_permit_release(l, "db", 2, token);                                              */
CELLAR_API cellar_err cellar_permit_acquire(cellar_limiter *l, const void *key, size_t key_len,
                                            int64_t hold_ms, uint64_t *token,
                                            cellar_limiter_result *out);

/* Release a permit: another call may have it.
 * in:      key and token of the permit
 * returns: OK; E_NOT_OWNER (expired, released, or the key was reset: nothing changed)
 * owns:    the permit ends; a later use of the token is E_NOT_OWNER
 * thread:  any; also another thread than the one that acquired the permit
 * cost:    one short lock
 * example: cellar_permit_release(l, "db", 2, token);                                             */
CELLAR_API cellar_err cellar_permit_release(cellar_limiter *l, const void *key, size_t key_len,
                                            uint64_t token);

/* Give a permit more time: its hold ends `hold_ms` from now, which may be earlier than before.
 * in:      key and token of the permit; hold_ms as for cellar_permit_acquire
 * returns: OK; E_NOT_OWNER (expired, released, or the key was reset: nothing revives it)
 * owns:    the caller still releases the permit
 * thread:  any; also another thread than the one that acquired the permit
 * cost:    one short lock
 * example: cellar_permit_extend(l, "db", 2, token, 30000);                                       */
CELLAR_API cellar_err cellar_permit_extend(cellar_limiter *l, const void *key, size_t key_len,
                                           uint64_t token, int64_t hold_ms);

/* ---- Change rules --------------------------------------------------------------------------- */

/* Set rules while checks run: of the limiter, of a plan, or of one key. A plan is a name for a set
 * of rules. Each key keeps its share: a bucket that was half empty stays half empty. The units of a
 * window become units of the new limit, rounded up, with the next charge of the key. Until then the
 * share is within one unit after any number of changes of limits up to 720,000, and exact with the
 * limit before or without the plan. A key beyond 1.4 limits is rounded up by each change.
 *     key NULL, plan NULL   the rules of the limiter; their names stay those of the open
 *     key NULL, plan        the rules of the plan; they can change while no key has the plan
 *     key, plan NULL        the key has these rules; rules NULL: those of the limiter again
 *     key, plan             the key has the plan; rules NULL
 *
 * Snapshots have no plans and no rules of keys: set them again after the open. A snapshot has the
 * count of a window in units of the limiter's rule, rounded up.
 * in:      key_len 0 if key is NULL;
 *          plan 1..CELLAR_LIMITER_NAME_MAX bytes;
 *          rules as o->rules of cellar_limiter_check_with
 * returns: OK; E_BUSY (the plan has other rules, and keys have it), E_NOT_FOUND (a key is given,
 *          and no such plan exists), E_LIMIT (max_overrides or max_plans is reached), E_RANGE (a
 *          number is above its largest value: see BOUNDS), E_INVAL (the rules do not fit the
 *          limiter)
 * owns:    everything is copied
 * thread:  any; one change of the limiter's rules at a time, others wait
 * cost:    limiter: O(slots), with one region of 4096 slots locked at a time; plan: O(plans); key:
 *          O(plans) and one short lock, and each later check of the key takes a lock
 * example:
 *     cellar_rule gold =
 *         cellar_rule_token_bucket(1000, CELLAR_SECOND_NS, 100);
 *     cellar_limiter_rules_set(l, NULL, 0, "gold", &gold, 1);
 *     cellar_limiter_rules_set(l, "user:7", 6, "gold", NULL, 0);                                 */
CELLAR_API cellar_err cellar_limiter_rules_set(cellar_limiter *l, const void *key, size_t key_len,
                                               const char *plan, const cellar_rule *rules,
                                               uint32_t rule_count);

/* ---- Maintain, observe ---------------------------------------------------------------------- */

/* Visit every key that has a slot of the table. A key without debt may have none, also if it has a
 * plan, rules of its own or a ban. Keys that change during the scan may be missed or seen twice.
 * in:      fn: gets each key, see cellar_limiter_scan_fn;
 *          ctx: given to fn
 * returns: OK, also when fn ended the scan
 * owns:    fn and ctx are not used after the return
 * thread:  any; fn runs on it with no lock held
 * cost:    O(slots)
 * example: cellar_limiter_scan(l, print_entry, stdout);                                          */
CELLAR_API cellar_err cellar_limiter_scan(cellar_limiter *l, cellar_limiter_scan_fn fn, void *ctx);

/* Read the clock of a limiter, for cellar_check_opts.now_ns.
 * returns: nanoseconds; 0 if l is NULL, and in a forked child
 * thread:  any
 * cost:    one reading
 * example: uint64_t now = cellar_limiter_now(l);                                                 */
CELLAR_API uint64_t cellar_limiter_now(cellar_limiter *l);

/* Return the fingerprint under which a limiter stores a key, as cellar_limiter_entry has it.
 * in:      key 1..CELLAR_KEY_MAX bytes
 * returns: 63 bits; 0 for an invalid key, and in a forked child
 * thread:  any
 * cost:    one hash
 * example: uint64_t fp = cellar_limiter_fingerprint(l, "user:7", 6);                             */
CELLAR_API uint64_t cellar_limiter_fingerprint(cellar_limiter *l, const void *key,
                                               size_t key_len);

/* Read the figures of a limiter: decisions, denials, keys, memory.
 * in:      out from cellar_limiter_stats_default
 * out:     *out, only with OK
 * returns: OK
 * thread:  any; each figure is read at its own moment
 * cost:    O(slots), for `keys`
 * example:
 *     cellar_limiter_stats s = cellar_limiter_stats_default();
 *     cellar_limiter_stats_get(l, &s);                                                           */
CELLAR_API cellar_err cellar_limiter_stats_get(cellar_limiter *l, cellar_limiter_stats *out);

#ifndef CELLAR_OMIT_TEXT
/* Which lines cellar_limiter_headers_write writes: a sum of these. */
#define CELLAR_HEADERS_IETF        1u /* RateLimit-Policy, RateLimit (IETF draft)                 */
#define CELLAR_HEADERS_DRAFT6      2u /* RateLimit-Limit, -Remaining, -Reset (seconds from now)   */
#define CELLAR_HEADERS_X           4u /* X-RateLimit-Limit, -Remaining, -Reset (Unix time)        */
#define CELLAR_HEADERS_RETRY_AFTER 8u /* Retry-After of a denial                                  */

/* Write HTTP header lines for a decision, each with CRLF at its end. Seconds are rounded up.
 * Remaining is at most the limit, also where a burst has more units left. RateLimit-Policy has the
 * limit of the key for the rule of r alone, and the limits of the limiter for the others.
 *
 * Retry-After is retry_after_ns in seconds, at least 1. It is left out of an admission, and when no
 * wait helps (`never`).
 * in:      r of a decision of this limiter;
 *          style: which lines, a sum of CELLAR_HEADERS_... flags;
 *          buf_cap in bytes; 0 asks for the size (buf may be NULL)
 * out:     buf: as much as fits, terminated;
 *          *text_len, optional: length of the whole text without the ending zero byte
 * returns: OK (complete and terminated; may be empty), E_BUFFER (text_len + 1 bytes are needed)
 * thread:  any
 * cost:    no allocation
 * example:
 *     char lines[256];
 *     const uint32_t style =
 *         CELLAR_HEADERS_IETF | CELLAR_HEADERS_RETRY_AFTER;
 *     cellar_limiter_headers_write(l, &r, style, lines, sizeof lines,
 *                                  NULL);                                                        */
CELLAR_API cellar_err cellar_limiter_headers_write(cellar_limiter *l,
                                                   const cellar_limiter_result *r, uint32_t style,
                                                   char *buf, size_t buf_cap, size_t *text_len);
#endif

/* ---- Limiter for users ---------------------------------------------------------------------- */

/* Open a limiter for users: a sliding log that takes its limit and window from each call. Every
 * other call of this header takes such a limiter, too; cellar_limiter_close closes it.
 * in:      cfg as cellar_limiter_open
 * out:     *out is NULL on failure
 * returns: OK; E_RANGE (a number above its largest value: see BOUNDS), E_SPACE (max_bytes is too
 *          small: raise it), E_NOMEM (memory, or random numbers of the kernel), E_NOT_FOUND (the
 *          time zone is unknown: install tzdata, or use an offset), E_CORRUPT (the zone file is
 *          damaged).
 *          cellar_last_error of NULL has the reason
 * owns:    as cellar_limiter_open
 * thread:  any
 * cost:    2 KiB for each user
 * example:
 *     cellar_limiter *l;
 *     if (cellar_user_limiter_open(NULL, &l) != CELLAR_OK) return 1;                             */
CELLAR_API cellar_err cellar_user_limiter_open(const cellar_limiter_config *cfg,
                                               cellar_limiter **out);

/* Admit or deny a call of a user: at most `limit` calls in any window of `window_s` seconds.
 * in:      user 1..CELLAR_KEY_MAX bytes;
 *          limit 0..CELLAR_USER_LIMIT_MAX calls; 0 denies each call;
 *          window_s 1..34,560,000 seconds (400 days)
 * out:     *out, optional, with OK and LIMITED
 * returns: OK (admitted), LIMITED (denied: out->retry_after_ns says when to try again); E_RANGE
 *          (limit or window_s above its largest value), E_INVAL (l has other rules than one sliding
 *          log, or a smaller one)
 * thread:  any
 * cost:    as cellar_limiter_check with several rules
 * example: cellar_err e = cellar_user_limiter_check(l, "user:7", 6, 10, 1, NULL);                */
CELLAR_API cellar_err cellar_user_limiter_check(cellar_limiter *l, const void *user,
                                                size_t user_len, uint64_t limit,
                                                uint64_t window_s, cellar_limiter_result *out);

/* RESTRICTIONS
 * close      cellar_limiter_close must not overlap other calls on the limiter.
 * keys       A limiter stores a 63-bit fingerprint of each key, hashed with its hash key. Two of n
 *            keys share a state with probability of about n^2 / 2^64 (5e-8 for a million).
 * clock      Decisions use a monotonic clock in nanoseconds; only fixed windows read the wall
 *            clock. Bounds hold over the readings that decisions used (`now_ns` of the result).
 * suspend    No time passes while the machine is suspended: quotas refill later, never earlier.
 * fork       The child has no limiter: calls return E_FORKED, cellar_limiter_now and
 *            cellar_limiter_fingerprint 0, and a close does nothing.
 * callbacks  Clock functions run with locks held: they must not call the library. */

/* OLDER READINGS
 * They come from cellar_limiter_check_with or a clock that goes back. Every bound still holds. A
 * decision with a reading older than the newest one of its key uses, and reports in `now_ns`:
 *
 *     token bucket         the reading; the debt of the key is larger by the difference
 *     sliding log          the time of the newest unit of the key, if that is later
 *     sliding window       the start of the newest window of the key, if that is later; readings
 *                          older by more than 2^19 periods look like new ones
 *     fixed window         the clock of the limiter, never a reading of the caller; if the wall
 *                          clock was set back, the key stays in its newest period
 *     concurrency          the reading; a hold that was found expired stays expired
 *
 * A reading from before the start of a limiter (one second before its open; with sliding logs the
 * longest window more) counts as that start. A key that was evicted meets the reading of its
 * eviction, or a later one. Tickets, adjustments and new rules use the reading as it is: after the
 * clock went back, a ticket can give back units that time had paid. A snapshot that is read while
 * the clock is behind keeps all debt, but its times may be off by up to one period. */

#ifdef __cplusplus
}
#endif
#endif
