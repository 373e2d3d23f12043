/* SPDX-License-Identifier: MIT
 *
 * limit_int: the structs of a limiter, shared by the files of this folder.
 *
 * FORMAT     A word is 62 bits of value above 2 bits of colour. The value by algorithm:
 *            token bucket    time of the last debt (TAT), 1/64 ns since the origin of the limiter
 *            sliding window  61..40 window number mod 2^22  39..20 previous  19..0 current count
 *            fixed window    61..34 start of the period, UTC minutes since 1970  33..0 count
 *            sliding log     61..22 stamps ever written  21..0 units in use; ring behind the words
 *            concurrency     61..32 permits  31..0 last permit in the ring of the key, + 1
 *            All ones is BUSY: a thread rewrites the word. Value 0 is an unused key.
 * COLOUR     Every rewrite except a charge adds 1: new key, reset, conversion, move. A stalled
 *            compare-exchange then fails even if the same value returns, which resets and clocks
 *            that go back make common.
 * SLOTS      narrow (one rule with one word):  fp, word                              16 bytes
 *            wide (all others):                fp, banned until, word 0.., ring 0..
 *            fp: 63..1 fingerprint; bit 0: the side table has a record of the key; 0: free slot
 * TABLE      bucket = 4 slots; region = up to 1024 buckets with one lock. A key has two buckets
 *            of one region. The fingerprint alone leads to them.
 * LOCKING    The region lock (LIMIT) guards the fp of its slots, high_water, losses and the right
 *            to rewrite words. Charges use a compare-exchange without it (narrow), or the bucket
 *            lock (LIMIT_BUCKET; wide). Order: change -> region -> buckets by index -> side.
 * SEE ALSO   README.md in this folder: protocols with their proofs, rejected designs. */
#ifndef LIMIT_LIMIT_INT_H
#define LIMIT_LIMIT_INT_H

#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/sync.h"
#include "base/timezone.h"
#include "cellar.h"
#include "cellar_admin.h"
#include "cellar_limit.h"
#include "limit/limit.h"

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
#define LIMIT_PARTS 256u              /* of a unit of cost, in such a sum */

/* ---- rules ---- */

typedef struct limit_rule { /* compiled; six words, so that a set can be read while it changes */
    uint64_t kind;  /* 7..0 algorithm   15..8 flags   23..16 calendar   31..24 rule's number */
    uint64_t limit; /* N; 0: never */
    uint64_t step;  /* token bucket: T, units; sliding log: W, units; sliding window: W, ns */
    uint64_t burst; /* the largest cost that can pass: b of a token bucket, else N */
    uint64_t reach; /* token bucket: b * T, units */
    uint64_t ban;   /* units */
} limit_rule;
#define LIMIT_RULE_WORDS 6u
#define LIMIT_SET_WORDS (1u + LIMIT_RULES * LIMIT_RULE_WORDS) /* word 0: origin, ns */

BASE_INLINE uint32_t limit_algo(const limit_rule *r) { return (uint32_t)(r->kind & 0xff); }
BASE_INLINE bool limit_flag(const limit_rule *r, uint32_t flag)
{
    return (r->kind >> 8 & flag) != 0;
}

/* A moment as one rule sees it. */
typedef struct limit_at {
    uint64_t u;       /* units since the origin */
    uint64_t ns;      /* the reading itself */
    uint64_t start;   /* fixed window: start of the present period, minutes */
    uint64_t left_ns; /* fixed window: time to the end of the period */
    uint64_t end_ns;  /* fixed window: end of the period, since 1970 */
} limit_at;

/* The verdict of one rule. */
typedef struct limit_says {
    bool deny, never;
    uint64_t next;      /* value after the charge */
    uint64_t now_ns;    /* the reading that the decision used: never before a stored time */
    uint64_t retry_ns;  /* denied: wait after which the call passes */
    uint64_t remaining; /* after the decision; this and the next field only on request */
    uint64_t reset_ns;  /* time until the key has no debt */
} limit_says;

/* ---- table ---- */

typedef struct limit_head { /* of a region */
    sync_lock lock BASE_ALIGNED(BASE_LINE); /* rank LIMIT */
    _Atomic uint32_t losses; /* words rewritten by force; written under lock, read anywhere */
    uint32_t in_vain;       /* full buckets to meet before the next search in depth; lock */
    uint64_t high_water;    /* latest reading at which a dead key was dropped, ns; lock */
    _Atomic uint64_t live_evicted, dead_replaced, moved; /* written under lock */
    _Atomic uint32_t gives; /* tickets that gave back; counted after their words changed */
    _Atomic uint64_t given[LIMIT_GIVEN]; /* parts given back out of order; by fp */
} limit_head;

/* Count a rewrite of a word by force. A ticket knows its charge by a colour of two bits, so four
 * rewrites in its region end it. Caller holds LIMIT of the region and has not changed the word. */
BASE_INLINE void limit_lost(limit_head *h)
{
    base_store_rel(&h->losses, base_load_rlx(&h->losses) + 1);
}

/* Return the sum of units that other tickets gave back. A ticket gives back less by what was added
 * to it (README.md, "Tickets"). Keys share a sum, which only makes tickets stricter. */
BASE_INLINE _Atomic uint64_t *limit_given(limit_head *h, uint64_t fp)
{
    return &h->given[(fp >> 1) % LIMIT_GIVEN];
}

typedef struct limit_slot { /* narrow; the first two words of a wide one lie alike */
    _Atomic uint64_t fp;    /* release by writers under the region's lock, acquire everywhere */
    _Atomic uint64_t word;  /* narrow: the word; wide: blocked until, units << 2 | colour */
} limit_slot;
_Static_assert(sizeof(limit_slot) == 16, "four narrow slots are a line");

typedef struct limit_place { /* where a fingerprint may be */
    uint32_t region, bucket[2]; /* buckets counted over the whole table */
} limit_place;

/* ---- counters: one row for each of the first threads, one shared row ---- */

#define LIMIT_COUNTERS(X) \
    X(ALLOWED) X(DENIED) X(WOULD_DENY) X(OVERFLOW_DENIED) X(OVERFLOW_ALLOWED) X(CHAIN_ROLLBACKS) \
    X(PERMITS_EXPIRED) X(PERMITS_FULL) X(OVERRIDES_FULL) X(SNAPSHOT_REFUSED) X(BANNED)
typedef enum limit_counter {
#define LIMIT_X(name) LIMIT_##name,
    LIMIT_COUNTERS(LIMIT_X)
#undef LIMIT_X
    LIMIT_COUNTER_COUNT
} limit_counter;
typedef struct limit_row {
    _Atomic uint64_t cell[LIMIT_COUNTER_COUNT] BASE_ALIGNED(BASE_PAD);
    _Atomic uint64_t by_rule[LIMIT_RULES]; /* denials of each rule */
} limit_row;
#define LIMIT_ROWS_MAX 64u

/* ---- side table: plans, keys with a plan, banned keys of narrow limiters, permits ---- */

typedef struct limit_plan {
    uint32_t users;          /* overrides that name it, + 1 while it has a name */
    char name[CELLAR_LIMITER_NAME_MAX + 1]; /* "": of cellar_limiter_key_rules_set */
    limit_rule rule[LIMIT_RULES];
} limit_plan;

typedef struct limit_over {
    uint64_t fp;             /* 63..1 fingerprint; 0: on the free list */
    uint64_t until_ns;       /* banned until; 0: no */
    uint32_t plan;           /* number + 1; 0: none */
    uint32_t next;           /* number + 1 in its chain or the free list */
} limit_over;

typedef struct limit_permit {
    uint64_t fp, until_ns;   /* key; end of the lease. fp 0: free */
    uint64_t serial;         /* rises with each use of this record */
    uint32_t next, prev;     /* number + 1: ring of the key's permits by end of lease; free list */
} limit_permit;

typedef struct limit_calendar { /* the present period of a fixed window */
    _Atomic uint32_t seq;    /* odd: being changed under side lock */
    _Atomic uint64_t start_min, next_ms, wall_ms; /* period; wall clock at seen_ns */
    _Atomic uint64_t seen_ns, again_ns; /* monotonic; read the wall clock again from again_ns on */
} limit_calendar;

struct cellar_limiter {
    /* read by every check; constant except state and set */
    _Atomic uint64_t state BASE_ALIGNED(BASE_PAD); /* generation << 32 | regions converted */
    unsigned char *table;
    cellar_limiter_clock_fn clock; /* ns; NULL: base_quick_ns */
    void *clock_ctx;
    uint32_t regions, region_buckets, slot_bytes, rule_count;
    bool wide, coarse, fixed, locked_only; /* denials write (CHARGE_DENIED, ban) */
    uint32_t rows;           /* of counters; a power of two */
    limit_row *row;
    base_hash_key hash;
    _Atomic uint64_t set[2][LIMIT_SET_WORDS] BASE_ALIGNED(BASE_LINE); /* by generation & 1 */

    /* cold */
    _Atomic uint32_t sweep_next BASE_ALIGNED(BASE_PAD); /* region the next tick starts with */
    sync_lock change; /* rank RESIZE: one conversion at a time */
    limit_head *head;        /* regions of them */
    sync_lock *bucket_lock;  /* wide: one a bucket; rank LIMIT_BUCKET */
    uint32_t algorithm[LIMIT_RULES], calendar_of[LIMIT_RULES]; /* constant after open */
    uint32_t ring_at[LIMIT_RULES], ring[LIMIT_RULES]; /* sliding log: offset in slot, stamps */
    _Atomic uint64_t longest[LIMIT_RULES]; /* sliding log: longest window named, units */
    cellar_rule rule[LIMIT_RULES]; /* as given; names point to rule_name; guarded by change */
    char name[CELLAR_NAME_MAX + 1];
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

    void *raw;               /* block of the allocator; we start on a multiple of BASE_PAD */
    base_alloc_hooks hooks;
    base_region block;       /* table, heads, locks, counters, side table */
    size_t block_bytes;
    unsigned char hash_bytes[32]; /* `hash` is made from them */
    base_fork_node forks;
    bool forks_known, detached; /* detached: a forked child, no snapshots */
    struct limit_persist *persist; /* NULL: none */
    size_t persist_bytes;
    cellar_log_fn log;       /* NULL: silent, or its level is above WARNING */
    void *log_ctx;
};

/* ---- rule.c: rules and the algorithms of one word ---- */

/* Check and compile a rule. A refusal sets *why to the broken rule and its remedy. */
CELLAR_PRIVATE cellar_err limit_compile(const cellar_rule *in, uint32_t number, limit_rule *out,
                                        const char **why);
/* Decide `cost` on the value `v`: fill next, deny, never, retry. Not for logs and permits. */
CELLAR_PRIVATE void limit_take_value(const limit_rule *r, const limit_at *at, uint64_t v,
                                     uint64_t cost, limit_says *out);
/* Compute remaining and reset of a value. */
CELLAR_PRIVATE void limit_show(const limit_rule *r, const limit_at *at, uint64_t v,
                               limit_says *out);
CELLAR_PRIVATE uint64_t limit_charge_value(const limit_rule *r, const limit_at *at, uint64_t v,
                                           uint64_t cost);
CELLAR_PRIVATE uint64_t limit_refund_value(const limit_rule *r, const limit_at *at, uint64_t v,
                                           uint64_t cost);
/* Give back `units` of a ticket. `then`: the value right after the take; `given`: parts that other
 * tickets gave back out of order since. */
CELLAR_PRIVATE uint64_t limit_give_value(const limit_rule *r, const limit_at *at, uint64_t v,
                                         uint64_t units, uint64_t then, uint64_t given);
/* Return how far a token bucket went back from `v` to `next`, in LIMIT_PARTS of a unit, rounded up;
 * 0 for other algorithms. */
CELLAR_PRIVATE uint64_t limit_parts_back(const limit_rule *r, uint64_t v, uint64_t next);
/* Return the value that a denial with CHARGE_DENIED writes. */
CELLAR_PRIVATE uint64_t limit_denied_value(const limit_rule *r, const limit_at *at, uint64_t v,
                                           uint64_t cost);
CELLAR_PRIVATE uint64_t limit_ban_value(const limit_rule *r, const limit_at *at, uint64_t v,
                                          uint64_t ns);
CELLAR_PRIVATE bool limit_dead(const limit_rule *r, const limit_at *at, uint64_t v);
/* Return the loss of dropping a value, comparable within one algorithm. */
CELLAR_PRIVATE uint64_t limit_debt(const limit_rule *r, const limit_at *at, uint64_t v);
/* Convert a value to another rule; `shift`: units by which the origin moves up. */
CELLAR_PRIVATE uint64_t limit_convert(const limit_rule *from, const limit_rule *to,
                                      const limit_at *at, uint64_t v, uint64_t shift);
/* Convert the value of a sliding window from `from_ns` of one clock to `to_ns` of another. */
CELLAR_PRIVATE uint64_t limit_count_carry(const limit_rule *r, uint64_t from_ns, uint64_t to_ns,
                                          uint64_t v);
/* Return the value of a sliding window without its counts: the newer window of `v` and `at`. */
CELLAR_PRIVATE uint64_t limit_count_none(const limit_rule *r, const limit_at *at, uint64_t v);
/* Convert ns to units; saturate at LIMIT_DEBT_MAX. */
CELLAR_PRIVATE uint64_t limit_units_of(uint64_t ns);

BASE_INLINE uint64_t limit_min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }
BASE_INLINE uint64_t limit_max_u64(uint64_t a, uint64_t b) { return a > b ? a : b; }
/* Convert units to ns, rounded up. */
BASE_INLINE uint64_t limit_ns_of(uint64_t units)
{
    return units / LIMIT_UNITS_NS + (units % LIMIT_UNITS_NS != 0);
}
BASE_INLINE uint64_t limit_word(uint64_t value, uint64_t colour)
{
    return value << 2 | (colour & LIMIT_COLOUR);
}
BASE_INLINE uint64_t limit_next_colour(uint64_t word)
{
    return BASE_MUTANT("limit.no_colour") ? word & LIMIT_COLOUR : (word + 1) & LIMIT_COLOUR;
}

BASE_INLINE uint64_t limit_permits_out(uint64_t value) { return value >> 32; }

/* ---- table.c: places, clock, counters ---- */

CELLAR_PRIVATE uint64_t limit_fp(const cellar_limiter *l, const void *key, size_t len);
BASE_INLINE uint32_t limit_scale(uint64_t bits32, uint32_t n)
{
    return (uint32_t)((bits32 * n) >> 32);
}
BASE_INLINE void limit_place_of(const cellar_limiter *l, uint64_t fp, limit_place *p)
{
    const uint64_t mix = (fp >> 1) * UINT64_C(0x9e3779b97f4a7c15);
    const uint32_t n = l->region_buckets;
    const uint32_t a = limit_scale(fp & 0xffffffffu, n);
    uint32_t b = limit_scale(mix >> 32, n);
    if (b == a) { b = a + 1 < n ? a + 1 : 0; }
    p->region = limit_scale(fp >> 32, l->regions);
    p->bucket[0] = p->region * n + a;
    p->bucket[1] = p->region * n + b;
}
BASE_INLINE limit_slot *limit_slot_at(const cellar_limiter *l, uint32_t bucket, uint32_t way)
{
    return (limit_slot *)(void *)(l->table +
                                  ((size_t)bucket * LIMIT_WAYS + way) * l->slot_bytes);
}
/* Prefetch both buckets of a key while the caller reads the clock. */
BASE_INLINE void limit_prefetch(const cellar_limiter *l, uint64_t fp)
{
    limit_place p;
    limit_place_of(l, fp, &p);
    BASE_PREFETCH(limit_slot_at(l, p.bucket[0], 0));
    BASE_PREFETCH(limit_slot_at(l, p.bucket[1], 0));
}
CELLAR_PRIVATE uint64_t limit_now(const cellar_limiter *l);

/* Find the rules for a word of `region`, as of `state`. Return false while a conversion rewrites
 * that region: the caller then takes the region lock. */
BASE_INLINE bool limit_set_of(const cellar_limiter *l, uint64_t state, uint32_t region, bool locked,
                              const _Atomic uint64_t **set)
{
    const uint32_t done = (uint32_t)state;
    const uint32_t generation = (uint32_t)(state >> 32);
    if (BASE_UNLIKELY(region >= done)) {
        if (region == done && !locked) { return false; }
        *set = l->set[(generation & 1) ^ 1];
        return true;
    }
    *set = l->set[generation & 1];
    return true;
}
BASE_INLINE void limit_rule_load(const _Atomic uint64_t *set, uint32_t i, limit_rule *out)
{
    const _Atomic uint64_t *w = set + 1 + (size_t)i * LIMIT_RULE_WORDS;
    out->kind = base_load_rlx(&w[0]);
    out->limit = base_load_rlx(&w[1]);
    out->step = base_load_rlx(&w[2]);
    out->burst = base_load_rlx(&w[3]);
    out->reach = base_load_rlx(&w[4]);
    out->ban = base_load_rlx(&w[5]);
}
/* Return units since the origin of the set, 0 for readings before it. Logs of a snapshot can put
 * the origin before the start of the clock. It is then above 2^63, like the origin of a clock that
 * has run for 292 years. */
BASE_INLINE uint64_t limit_units_at(const _Atomic uint64_t *set, uint64_t now_ns)
{
    const uint64_t origin = base_load_rlx(&set[0]), d = now_ns - origin;
    if (BASE_LIKELY(d <= UINT64_MAX / LIMIT_UNITS_NS)) { return d * LIMIT_UNITS_NS; }
    const bool before = origin >> 63 == 0 ? now_ns < origin : d >> 63 != 0;
    return before ? 0 : UINT64_MAX;
}
/* Return the reading, or the set's origin where the reading lies before it. */
BASE_INLINE uint64_t limit_since(const _Atomic uint64_t *set, uint64_t now_ns)
{
    const uint64_t origin = base_load_rlx(&set[0]);
    return origin >> 63 == 0 && now_ns < origin ? origin : now_ns;
}
/* Return the longest window that any call named for a sliding log, units. */
BASE_INLINE uint64_t limit_window_of(const cellar_limiter *l, const limit_rule *r, uint32_t i)
{
    return limit_max_u64(r->step, base_load_acq(&l->longest[i]));
}
/* Return the distance of a new origin from the present reading, ns. Live stamps of a log are
 * younger than that. */
CELLAR_PRIVATE uint64_t limit_lead(const cellar_limiter *l, const limit_rule *rules);
CELLAR_PRIVATE void limit_at_of(cellar_limiter *l, const limit_rule *r, uint64_t now_ns,
                                uint64_t units, limit_at *out);
BASE_INLINE limit_row *limit_my_row(cellar_limiter *l, bool *shared)
{
    const uint32_t index = base_thread_self()->index;
    *shared = index == 0 || index >= l->rows;
    return &l->row[*shared ? 0 : index];
}

BASE_INLINE void limit_add(_Atomic uint64_t *cell, bool shared, uint64_t n)
{
    if (BASE_UNLIKELY(shared)) {
        (void)base_add_rlx(cell, n);
    } else {
        base_store_rlx(cell, base_load_rlx(cell) + n);
    }
}

BASE_INLINE void limit_count(cellar_limiter *l, limit_counter c, uint64_t n)
{
    bool shared;
    limit_row *row = limit_my_row(l, &shared);
    limit_add(&row->cell[c], shared, n);
}
CELLAR_PRIVATE void limit_count_denial(cellar_limiter *l, uint32_t rule);

/* Take the lock of a bucket. Narrow limiters have none. */
BASE_INLINE void limit_bucket_take(cellar_limiter *l, uint32_t bucket)
    SYNC_TAKES(LIMIT_BUCKET) SYNC_UNCHECKED;
BASE_INLINE void limit_bucket_take(cellar_limiter *l, uint32_t bucket)
{
    if (l->wide) { sync_take(LIMIT_BUCKET, &l->bucket_lock[bucket]); }
}
BASE_INLINE void limit_bucket_drop(cellar_limiter *l, uint32_t bucket)
    SYNC_DROPS(LIMIT_BUCKET) SYNC_UNCHECKED;
BASE_INLINE void limit_bucket_drop(cellar_limiter *l, uint32_t bucket)
{
    if (l->wide) { sync_drop(LIMIT_BUCKET, &l->bucket_lock[bucket]); }
}

/* Return the word of a rule in a wide slot. */
BASE_INLINE _Atomic uint64_t *limit_word_at(limit_slot *s, uint32_t rule)
{
    return (_Atomic uint64_t *)(void *)s + 2 + rule;
}
BASE_INLINE _Atomic uint64_t *limit_ring_at(const cellar_limiter *l, limit_slot *s, uint32_t rule)
{
    return (_Atomic uint64_t *)(void *)((unsigned char *)s + l->ring_at[rule]);
}

/* ---- tickets ---- */

/* What cellar_limiter_ticket holds; calls copy it in and out. */
typedef struct limit_ticket {
    const cellar_limiter *limiter; /* NULL: nothing was taken */
    uint64_t fingerprint, slot, cost, losses, given, stamp[LIMIT_RULES];
    uint32_t colour, generation, used, reserved;
} limit_ticket;
_Static_assert(sizeof(limit_ticket) <= sizeof(cellar_limiter_ticket), "a ticket fits its handle");

/* Give back `units` of a used ticket. */
CELLAR_PRIVATE cellar_err limit_ticket_give(cellar_limiter *l, limit_ticket *t, uint64_t units);

/* ---- one operation on one key, for narrow and wide slots ---- */

typedef enum limit_kind {
    LIMIT_TAKE,     /* test and take */
    LIMIT_PEEK,
    LIMIT_RESERVE,  /* take, also up to arg ns in the future */
    LIMIT_CHARGE,   /* unconditional */
    LIMIT_REFUND,
    LIMIT_GIVE,     /* give back cost units of a ticket */
    LIMIT_BAN,      /* for arg ns */
    LIMIT_PERMIT,   /* take one unit and a permit */
    LIMIT_RELEASE,  /* release the permit of token */
    LIMIT_EXTEND,
    LIMIT_EXPIRE    /* end permits with an expired lease */
} limit_kind;

typedef struct limit_op {
    limit_kind kind;
    uint32_t own_count;      /* rules of the call; 0: those of the limiter */
    const limit_rule *own;
    uint64_t cost, arg;
    bool callers_clock;
    limit_ticket *ticket;    /* TAKE, RESERVE: written; GIVE: read. NULL: none */
    cellar_limiter_result *result; /* NULL: none */
    uint64_t wait_ns;        /* RESERVE: out */
    uint64_t token;          /* PERMIT: out; RELEASE, EXTEND: in */
    uint64_t seen[LIMIT_RULES]; /* GIVE: the words after which the clock was read */
    uint32_t seen_gives;     /* GIVE: of the region, before those words */
    uint64_t given;          /* TAKE, RESERVE: sum before the word; GIVE: its rise since then */
    uint64_t lease_ns;       /* PERMIT, EXTEND */
} limit_op;

/* Run one operation. A GIVE returns PENDING, without effect, if the words differ from `seen`. */
CELLAR_PRIVATE cellar_err limit_run(cellar_limiter *l, uint64_t fp, uint64_t now_ns, limit_op *op);
/* Copy the words of a key into op->seen, also BUSY or half written ones. Return false if the key
 * has no slot. */
CELLAR_PRIVATE bool limit_look(const cellar_limiter *l, uint64_t fp, limit_op *op);
/* Tell whether another ticket of the region gave back since limit_look. Caller holds the lock that
 * gives of the key take. */
BASE_INLINE bool limit_gave_since(const limit_op *op, limit_head *h)
{
    return base_load_acq(&h->gives) != op->seen_gives;
}
/* Note that a ticket gives back `back` parts; `last`: the words are as its take left them. Call it
 * under that lock, limit_gives before the word is stored and limit_gave after it. */
CELLAR_PRIVATE void limit_gives(limit_head *h, uint64_t fp, const limit_op *op, uint64_t back,
                                bool last);
CELLAR_PRIVATE void limit_gave(limit_head *h, const limit_op *op);
CELLAR_PRIVATE cellar_err limit_narrow_run(cellar_limiter *l, uint64_t fp, uint64_t now_ns,
                                           limit_op *op);
/* Decide the commonest case: a token bucket and a known key. Return false, without effect, for
 * every other case. */
CELLAR_PRIVATE bool limit_narrow_quick(cellar_limiter *l, uint64_t fp, uint64_t now_ns,
                                       uint64_t cost, cellar_limiter_result *result,
                                       cellar_err *err);
CELLAR_PRIVATE cellar_err limit_wide_run(cellar_limiter *l, uint64_t fp, uint64_t now_ns,
                                         limit_op *op);
/* Insert a key of a snapshot, if needed in place of one with less debt. A paid key takes no slot. A
 * key without a place is counted. No other call runs yet. */
CELLAR_PRIVATE void limit_narrow_seat(cellar_limiter *l, uint64_t fp, const limit_rule *r,
                                      const limit_at *at, uint64_t value);
CELLAR_PRIVATE void limit_wide_seat(cellar_limiter *l, limit_slot *image, uint64_t now_ns)
    SYNC_UNCHECKED;
/* End permits with an expired lease, found in `looks` records. */
CELLAR_PRIVATE void limit_permits_reclaim(cellar_limiter *l, uint64_t now_ns, uint32_t looks);

/* ---- overrides.c ---- */

/* Get rules and ban of a key; return false if it has no record. The caller may hold any lock. */
CELLAR_PRIVATE bool limit_over_get(cellar_limiter *l, uint64_t fp, limit_rule *rules,
                                   bool *has_plan, uint64_t *until_ns);
CELLAR_PRIVATE cellar_err limit_over_ban(cellar_limiter *l, uint64_t fp, uint64_t now_ns,
                                         uint64_t until_ns);
/* Drop the record of a key if it has no plan and its ban is over (or `lift`). Return true if no
 * record is left. */
CELLAR_PRIVATE bool limit_over_trim(cellar_limiter *l, uint64_t fp, uint64_t now_ns, bool lift);
CELLAR_PRIVATE cellar_err limit_permit_new(cellar_limiter *l, uint64_t fp, uint64_t until_ns,
                                           uint64_t now_ns, uint64_t *value, uint64_t *token);
/* End up to 8 permits with an expired lease; return ns until the next one expires. */
CELLAR_PRIVATE uint64_t limit_permit_expire(cellar_limiter *l, uint64_t now_ns, uint64_t *value);
CELLAR_PRIVATE void limit_permit_drop_all(cellar_limiter *l, uint64_t *value);
CELLAR_PRIVATE cellar_err limit_permit_end(cellar_limiter *l, uint64_t fp, uint64_t token,
                                           uint64_t now_ns, uint64_t *value);
CELLAR_PRIVATE cellar_err limit_permit_extend(cellar_limiter *l, uint64_t fp, uint64_t token,
                                              uint64_t now_ns, uint64_t until_ns, uint64_t *value);
/* List keys that have expired permits: at most `most`, out of the next `looks` records. */
CELLAR_PRIVATE uint32_t limit_permit_stale(cellar_limiter *l, uint64_t now_ns, uint32_t looks,
                                           uint64_t *fp, uint32_t most);
/* Give a key a plan, or none with plan 0. Make or drop its record. */
CELLAR_PRIVATE cellar_err limit_over_plan(cellar_limiter *l, uint64_t fp, uint64_t now_ns,
                                          uint32_t plan);
/* Return number + 1 of the plan with that name, 0: none. Count the caller as its user. */
CELLAR_PRIVATE uint32_t limit_plan_named(cellar_limiter *l, const char *name);
/* Find or make a plan: by name, or (name "") by equal rules. Count the caller as its user. */
CELLAR_PRIVATE cellar_err limit_plan_make(cellar_limiter *l, const char *name,
                                          const limit_rule *rules, uint32_t *plan);
/* Remove one user of a plan. */
CELLAR_PRIVATE void limit_plan_drop(cellar_limiter *l, uint32_t plan);
CELLAR_PRIVATE void limit_side_clear_bans(cellar_limiter *l);

/* ---- change.c ---- */

CELLAR_PRIVATE void limit_rebase(cellar_limiter *l, uint64_t now_ns);
/* Compile rules of a call or plan. They must fit the slots of the limiter. `call`: the public
 * function, for the text of a refusal. */
CELLAR_PRIVATE cellar_err limit_own_rules(cellar_limiter *l, const char *call,
                                          const cellar_rule *rules, uint32_t count,
                                          limit_rule *out);
CELLAR_PRIVATE bool limit_key_ok(const cellar_limiter *l, const void *key, size_t len);

/* ---- call.c ---- */

CELLAR_PRIVATE cellar_err limit_check_own(cellar_limiter *l, const char *call, uint64_t fp,
                                          uint64_t now_ns, const cellar_rule *rules,
                                          uint32_t count, limit_op *op);

/* ---- calendar.c ---- */

CELLAR_PRIVATE uint64_t limit_wall_ms(const cellar_limiter *l);
/* Read the wall clock if that is due. Caller holds no lock: the clock may be the host's. */
CELLAR_PRIVATE void limit_calendar_look(cellar_limiter *l, uint64_t now_ns);
CELLAR_PRIVATE void limit_calendar_at(cellar_limiter *l, const limit_rule *r, uint64_t now_ns,
                                      limit_at *out);
/* Compute the period of a calendar that contains `wall_s`: [start, next), UTC seconds. */
CELLAR_PRIVATE void limit_period(const base_tz *zone, uint32_t calendar, int64_t wall_s,
                                 int64_t *start_s, int64_t *next_s);

/* ---- snapshot.c ---- */

/* Read the snapshot, if the limiter has one. A refusal sets *why. */
CELLAR_PRIVATE cellar_err limit_persist_open(cellar_limiter *l, const cellar_limiter_config *cfg,
                                             const char **why);
CELLAR_PRIVATE size_t limit_persist_bytes(const cellar_limiter *l,
                                          const cellar_limiter_config *cfg);
CELLAR_PRIVATE void limit_persist_close(cellar_limiter *l);
CELLAR_PRIVATE cellar_err limit_persist_tick(cellar_limiter *l, uint64_t now_ns);

#endif
