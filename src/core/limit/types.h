/* SPDX-License-Identifier: MIT
 *
 * types: the structs of a limiter, shared by the files of this folder.
 *
 * FORMAT     A word is 62 bits of value above 2 bits of colour. The value by algorithm:
 *            token bucket    time of the last debt (TAT), 1/64 ns since the origin of the limiter
 *            sliding window  61..42 window number mod 2^20  41..40 base  39..20 previous  19..0
 *                            current count
 *            fixed window    61..36 start of the period, UTC minutes since 1970  35..34 base  33..0
 *                            count
 *            sliding log     61..22 stamps ever written  21..0 units in use; ring behind the words
 *            concurrency     61..32 permits  31..0 last permit in the ring of the key, + 1
 *            All ones is BUSY: a thread rewrites the word. Value 0 is an unused key.
 * BASE       Counts of a window are units of the limit under which they were charged. The base
 *            says which: one of three in the set of rules, or the plan of the key. The charge after
 *            a change of rules converts them. Until then a change and back loses nothing.
 * COLOUR     Every rewrite except a charge adds 1: new key, reset, conversion, move. A stalled
 *            compare-exchange then fails even if the same value returns, which resets and clocks
 *            that go back make common.
 * SLOTS      fp | word 0 | word 1 .. | banned until | ring 0 ..
 *            A token bucket, sliding or fixed window alone, without ban_ns, has one word and no
 *            more: 16 bytes. All other limiters are `multi`: their slots have a word for each rule,
 *            and "banned until".
 * BANS       A ban is a time beside the values of the rules: in the slot if `multi`, else in the
 *            side table. The debt of a token bucket gets its part when the ban is over.
 *            fp: 63..1 fingerprint; bit 0: the side table has a record of the key; 0: free slot
 * TABLE      bucket = 4 slots; region = up to 1024 buckets with one lock. A key has two buckets
 *            of one region. The fingerprint alone leads to them.
 * LOCKING    The region lock (LIMIT) guards the fp of its slots, high_water, losses and the right
 *            to rewrite words. Charges of a single word use a compare-exchange without it, those
 *            of several words the bucket lock (LIMIT_BUCKET).
 *            Order: change -> region -> buckets by index -> side.
 * SEE ALSO   README.md in this folder: protocols with their proofs, rejected designs. */
#ifndef LIMIT_TYPES_H
#define LIMIT_TYPES_H

#include "base/clock.h"
#include "base/hash.h"
#include "base/num.h"
#include "base/service.h"
#include "base/sync.h"
#include "base/timezone.h"
#include "cellar.h"
#include "cellar_admin.h"
#include "cellar_limit.h"
#include "stats/text.h"

#define LIMIT_RULES CELLAR_LIMITER_RULES_MAX
#define LIMIT_COLOUR 3u
#define LIMIT_BUSY UINT64_MAX
#define LIMIT_WAYS 4u                 /* slots of a bucket */
#define LIMIT_REGION_BUCKETS 1024u
#define LIMIT_UNITS_NS 64u            /* units of time in a nanosecond */
#define LIMIT_LATE ((uint64_t)1 << 61)  /* units; from here the origin must move: 1.14 years */
#define LIMIT_DEBT_MAX (CELLAR_PERIOD_MAX_NS * LIMIT_UNITS_NS) /* 400 days */
#define LIMIT_COUNT_MAX (((uint64_t)1 << 20) - 1)
#define LIMIT_FIXED_MAX (((uint64_t)1 << 34) - 1)
#define LIMIT_AHEAD_NS CELLAR_SECOND_NS /* maximum by which a caller's reading may be ahead */
#define LIMIT_GIVEN 32u               /* sums of units given back, in a region */
#define LIMIT_TAKEN 64u               /* keys with tickets that a region remembers */
#define LIMIT_PARTS 256u              /* of a unit of cost, in such a sum */

/* ---- rules ---- */

typedef struct limit_rule { /* compiled; six words, so that a set can be read while it changes */
    uint64_t kind;  /* 7..0 algorithm   15..8 flags   23..16 calendar   31..24 rule's number */
                    /* 33..32 window: base of its counts */
    uint64_t limit; /* N; 0: never */
    uint64_t step;  /* token bucket: T, units; sliding log: W, units; sliding window: W, ns */
    uint64_t burst; /* the largest cost that can pass: b of a token bucket, else N */
    uint64_t reach; /* token bucket: b * T, units; window: the limit that gives its unit */
    uint64_t ban;   /* units */
} limit_rule;
#define LIMIT_RULE_WORDS 6u
#define LIMIT_BASES 3u        /* units of counts: of two limits, and shares */
#define LIMIT_BASE_SHARE 2u   /* shares of any limit: see README.md, "Bases" */
#define LIMIT_BASE_PLAN 3u    /* the limit of the plan of the key */
#define LIMIT_SET_BASES (1u + LIMIT_RULES * LIMIT_RULE_WORDS) /* word 0: origin, ns */
#define LIMIT_SET_WORDS (LIMIT_SET_BASES + LIMIT_RULES * LIMIT_BASES)

/* A reading of the clock as one rule sees it. */
typedef struct limit_at {
    uint64_t u;       /* units since the origin */
    uint64_t ns;      /* the reading itself */
    uint64_t start;   /* fixed window: start of the present period, minutes */
    uint64_t left_ns; /* fixed window: time to the end of the period */
    uint64_t end_ns;  /* fixed window: end of the period, since 1970 */
    const _Atomic uint64_t *base; /* window: the units of LIMIT_BASES */
} limit_at;

/* The verdict of one rule. */
typedef struct limit_verdict {
    bool deny, never;
    uint64_t next;      /* value after the charge */
    uint64_t now_ns;    /* the reading that the decision used: never before a stored time */
    uint64_t retry_ns;  /* denied: wait after which the call passes */
    uint64_t remaining; /* after the decision; this and the next field only on request */
    uint64_t reset_ns;  /* time until the key has no debt */
} limit_verdict;

/* ---- table ---- */

typedef struct limit_taken { /* a key that took tickets; guarded by the lock of its region */
    _Atomic uint64_t fp;     /* 0: free; 1: is replaced now */
    _Atomic uint64_t life;   /* another one when the charges of the key are lost */
    _Atomic uint64_t given;  /* parts given back out of order */
    _Atomic uint64_t last_ns; /* reading of the latest take; written without the lock */
} limit_taken;

typedef struct limit_head { /* of a region */
    sync_lock lock BASE_ALIGNED(BASE_LINE); /* rank LIMIT */
    uint32_t in_vain;       /* full buckets to meet before the next search in depth; lock */
    uint64_t high_water;    /* latest reading at which a dead key was dropped, ns; lock */
    uint64_t lives;         /* the latest one given to a key; lock */
    _Atomic uint64_t losses; /* keys that lost their charges; written under lock, read anywhere */
    _Atomic uint64_t given[LIMIT_GIVEN]; /* parts given back out of order; by fp */
    limit_taken taken[LIMIT_TAKEN];
} limit_head;

typedef struct limit_slot {
    _Atomic uint64_t fp;    /* release by writers under the region's lock, acquire everywhere */
    _Atomic uint64_t word;  /* the first of l->words */
} limit_slot;
_Static_assert(sizeof(limit_slot) == 16, "four slots of one word are a line");

typedef struct limit_place { /* where a fingerprint may be */
    uint32_t region, bucket[2]; /* buckets counted over the whole table */
} limit_place;

/* ---- counters: one row for each of the first threads, one shared row ---- */

#define LIMIT_COUNTED STATS_LIMITER_KEYS
typedef struct limit_row { /* figures by stats_limiter, then the denials of each rule */
    _Atomic uint64_t cell[LIMIT_COUNTED + LIMIT_RULES] BASE_ALIGNED(BASE_PAD);
} limit_row;
#define LIMIT_ROWS_MAX 64u

/* ---- side table: plans, keys with a plan, bans of slots of one word, permits ---- */

typedef struct limit_plan {
    uint32_t users;          /* overrides that name it, + 1 while it has a name */
    char name[CELLAR_LIMITER_NAME_MAX + 1]; /* "": rules of keys, no plan */
    limit_rule rule[LIMIT_RULES];
} limit_plan;

typedef struct limit_over {
    uint64_t fp;             /* 63..1 fingerprint; 0: on the free list */
    uint64_t until_ns;       /* banned until; 0: no */
    uint32_t plan;           /* number + 1; 0: none */
    uint32_t next;           /* number + 1 in its chain or the free list */
} limit_over;

typedef struct limit_permit {
    uint64_t fp, until_ns;   /* key; end of the hold. fp 0: free */
    uint64_t serial;         /* rises with each use of this record */
    uint32_t next, prev;     /* number + 1: ring of the key's permits by end of hold; free list  */
} limit_permit;

typedef struct limit_calendar { /* the present period of a fixed window */
    _Atomic uint32_t seq;    /* odd: being changed under side lock */
    _Atomic uint64_t start_min, next_ms, wall_ms; /* period; wall clock at seen_ns */
    _Atomic uint64_t seen_ns, again_ns; /* monotonic; read the wall clock again from again_ns on */
} limit_calendar;

struct cellar_limiter {
    base_object obj;        /* first */
    /* read by every check; constant except state and set */
    _Atomic uint64_t state BASE_ALIGNED(BASE_PAD); /* generation << 32 | regions converted */
    unsigned char *table;
    cellar_limiter_clock_fn clock; /* ns; NULL: base_tsc_ns */
    void *clock_ctx;
    uint32_t regions, region_buckets, slot_bytes, rule_count;
    uint32_t words;          /* of a slot: rule_count, and "banned until" if `multi` */
    bool multi;              /* slots have bucket locks */
    bool bucket_alone;       /* the only rule is a token bucket */
    bool coarse, fixed, counts; /* the clock; a rule is a fixed window, or one of any kind */
    uint32_t rows;           /* of counters; a power of two */
    limit_row *row;
    base_hash_key hash;
    _Atomic uint64_t set[2][LIMIT_SET_WORDS] BASE_ALIGNED(BASE_LINE); /* by generation & 1 */

    /* cold */
    _Atomic uint32_t sweep_next BASE_ALIGNED(BASE_PAD); /* region the next tick starts with */
    sync_lock change; /* rank RESIZE: one conversion at a time */
    limit_head *head;        /* regions of them */
    sync_lock *bucket_lock;  /* multi: one a bucket; rank LIMIT_BUCKET */
    uint32_t algorithm[LIMIT_RULES], calendar_of[LIMIT_RULES]; /* constant after open */
    uint32_t ring_at[LIMIT_RULES], ring[LIMIT_RULES]; /* sliding log: offset in slot, stamps */
    _Atomic uint64_t longest[LIMIT_RULES]; /* sliding log: longest window named, units */
    cellar_rule rule[LIMIT_RULES]; /* as given; names point to rule_name; guarded by change */
    char rule_name[LIMIT_RULES][CELLAR_LIMITER_NAME_MAX + 1];
    uint32_t overflow;
    int conc;                /* number of the concurrency rule, or -1 */

    sync_lock side BASE_ALIGNED(BASE_LINE); /* rank LIMIT_SIDE; guards the following */
    _Atomic uint32_t over_count; /* records in use; read anywhere: 0 skips the lookup */
    uint32_t over_max, over_free, over_buckets, plan_max, permit_max, permit_free;
    uint32_t *over_chain;    /* over_buckets of them */
    limit_over *over;
    limit_plan *plan;
    limit_permit *permit;
    uint32_t permit_count, permit_hand, over_hand; /* hands: records the last search ended at */

    limit_calendar calendar[LIMIT_RULES];
    base_tz *zone;           /* NULL: no fixed window */
    cellar_limiter_clock_fn wall_ms; /* NULL: the system's */

    base_region block;       /* table, heads, locks, counters, side table */
    size_t block_bytes;
    unsigned char hash_bytes[32]; /* `hash` is made from them */
    bool forks_known;        /* `obj.fork` is registered */
    struct limit_persist *persist; /* NULL: none */
    _Atomic uint32_t saved;  /* buckets that the running save has; region lock of the bucket */
    size_t persist_bytes;
};

/* ---- one operation on one key ---- */

/* What cellar_limiter_ticket holds; calls copy it in and out. */
typedef struct limit_ticket {
    const cellar_limiter *limiter; /* NULL: nothing was taken */
    uint64_t fingerprint, cost;
    uint64_t life, mine;     /* of the limit_taken; life 0: it had none */
    uint64_t losses, given;  /* of the region */
    uint64_t stamp[LIMIT_RULES]; /* after the take: TAT and time of a stamp + origin, units; window
                                  * and unit of counts. 0: not charged */
    uint64_t used;
} limit_ticket;
_Static_assert(sizeof(limit_ticket) <= sizeof(cellar_limiter_ticket), "a ticket fits its handle");

typedef enum limit_kind { /* those before GIVE can be computed without a lock */
    LIMIT_TAKE,     /* test and take */
    LIMIT_PEEK,
    LIMIT_RESERVE,  /* take, also up to arg ns in the future */
    LIMIT_CHARGE,   /* unconditional */
    LIMIT_REFUND,
    LIMIT_BAN,      /* for arg ns */
    LIMIT_GIVE,     /* give back cost units of a ticket */
    LIMIT_PERMIT,   /* take one unit and a permit */
    LIMIT_RELEASE,  /* release the permit of token */
    LIMIT_EXTEND,
    LIMIT_EXPIRE    /* end permits with an expired hold */
} limit_kind;

typedef struct limit_op {
    limit_kind kind;
    const limit_rule *own;   /* rules of the call; NULL: those of the limiter */
    uint64_t cost, arg;
    bool callers_clock;
    limit_ticket *ticket;    /* TAKE, RESERVE: written; GIVE: read. NULL: none */
    cellar_limiter_result *result; /* NULL: none */
    uint64_t wait_ns;        /* RESERVE: out */
    uint64_t token;          /* PERMIT: out; RELEASE, EXTEND: in */
    uint64_t given;          /* GIVE: units that other tickets gave back since the take, parts */
    uint64_t hold_ns;        /* PERMIT, EXTEND */
} limit_op;

/* All rules of a limiter, or of a key, at one reading of the clock. */
typedef struct limit_moment {
    uint64_t now_ns, units;
    uint64_t origin;         /* of `units`, ns */
    limit_rule rule[LIMIT_RULES];
    limit_at at[LIMIT_RULES];
} limit_moment;

/* Run what is due: see base_service_kind. */
CELLAR_PRIVATE cellar_err limit_tick(void *object, uint64_t budget_us, int64_t *wait_ms);
/* Read the figures: see stats_service. */
CELLAR_PRIVATE const char *limit_figures(void *object, uint64_t *value);
#ifndef CELLAR_OMIT_TEXT
/* Write more families: see stats_service. */
CELLAR_PRIVATE void limit_figures_more(stats_out *o, const stats_owner *owner, void *object,
                                       const uint64_t *value);
#endif

#endif
