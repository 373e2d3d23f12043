/* SPDX-License-Identifier: MIT
 *
 * types: the structs of keyed locks, and the word that is their protocol.
 *
 * PROTOCOL   word = 63..2 fence | bit 1 FROZEN | bit 0 HELD
 *                00 idle     in the index, free: an acquire swings it to HELD with fence + 1
 *                01 held     the release of the owner swings it back to idle
 *                11 held     a thread waits or looks: only holders of the stripe lock change it
 *                10 frozen   free; a thread looks, or waits (barging), or it left the index
 *            0 is a record that was never used. A word never has the same value twice. */
#ifndef LOCK_TYPES_H
#define LOCK_TYPES_H

#include "base/clock.h"
#include "base/hash.h"
#include "base/num.h"
#include "base/opts.h"
#include "base/service.h"
#include "base/sync.h"
#include "cellar_lock.h"
#include "stats/stats.h"

#define LOCK_STRIPES_MIN 64u
#define LOCK_STRIPES_MAX 256u
#define LOCK_CREDIT 16u      /* records that a stripe takes from max_locks at a time */
#define LOCK_NEAR 128u       /* hints of a stripe, in pairs; power of two */
#define LOCK_HINT_BITS 25u   /* record number + 1; above it bits of the hash, never 0 */
#define LOCK_IDLE_MAX 32u    /* records of a stripe that may stay without an owner */
#define LOCK_SPARE_MAX 32u   /* unused records of a stripe above which empty pages are returned */
#define LOCK_PER_CHUNK 31u   /* 128 + 31 * 128 = 4096 */
#define LOCK_KEY_INLINE 40u
#define LOCK_HEADS_MIN 64u   /* chains of a stripe; power of two */
#define LOCK_LINE_HEADS 16u  /* heads of chains in a line */
#define LOCK_PARTS 4u        /* of a stripe; lines of heads are dealt to them in turn */
#define LOCK_PRECISE_MS 1000 /* shorter holds are measured from a precise reading of the clock */
#define LOCK_AWAKE 4         /* times sync_spins: pauses of a waiter before it sleeps */
#define LOCK_LOOK_MS 10      /* interval at which a waiter reads a clock of the caller */
#define LOCK_ALIVE_MS 100    /* interval at which the first waiter checks the thread of the owner */
#define LOCK_WAIT_DEFAULT_MS 30000  /* of cellar_lock_opts.wait_timeout_ms */
#define LOCK_HOLD_DEFAULT_MS 30000 /* of cellar_lock_opts.hold_ms */
#define LOCK_UNTOLD_MS 1     /* the same while the owner has not written its hold yet */

#define LOCK_HELD UINT64_C(1)
#define LOCK_FROZEN UINT64_C(2)
#define LOCK_BITS (LOCK_HELD | LOCK_FROZEN)
#define LOCK_GRANTED 1u /* in lock_waiter.event: set once, with the fence */
#define LOCK_SLEEPS 2u  /* the waiter needs a wake-up to look again */
#define LOCK_KICK 4u    /* the rest counts kicks */
#define LOCK_NOTED (UINT32_C(1) << 31) /* in lock_record.flags: `note` belongs to this tenure */

/* Request for a lock, checked. */
typedef struct lock_want {
    const void *key;
    size_t key_len;
    uint64_t hash;
    int64_t hold_ms;       /* BASE_NEVER_MS: no hold */
    int64_t wait_timeout_ms; /* 0: do not wait; BASE_NEVER_MS: no limit */
    int64_t deadline_ms;   /* on the table's clock; BASE_NEVER_MS: none; INT64_MIN: do not wait */
    const char *note;      /* NULL: none */
    int32_t tid;
    uint32_t flags;        /* CELLAR_LOCK_... */
} lock_want;

/* Lies on the stack of the waiting thread. The stripe lock guards all fields. The waiter reads
 * `event` without it. */
typedef struct lock_waiter {
    struct lock_waiter *next, *prev; /* a ring; the record points to the first */
    const lock_want *want;           /* read by the thread that passes the lock on */
    uint64_t fence;                  /* granted; written before LOCK_GRANTED */
    _Atomic uint32_t event;          /* LOCK_GRANTED, LOCK_SLEEPS, kicks; release, acquire */
} lock_waiter;

/* Tenure fields belong to the tenure of `hold_of`. The owner, or the thread that passes the lock
 * on, writes them before hold_of; its release store pairs with the acquire in
 * lock_is_announced. */
typedef struct lock_record {
    _Atomic uint64_t word;      /* see PROTOCOL; acquire and release in every change */
    _Atomic uint64_t hash;      /* of the key; stripe lock; without it only a hint */
    _Atomic int64_t hold_end;   /* ms; tenure */
    _Atomic uint64_t hold_of;   /* fence of the tenure that the fields describe */
    _Atomic int64_t since;      /* ms; tenure */
    _Atomic int32_t owner;      /* tid; tenure */
    _Atomic uint32_t flags;     /* CELLAR_LOCK_..., LOCK_NOTED; tenure */
    uint32_t next : 31;         /* number + 1 of the next of its chain, 0 none; stripe lock */
    uint32_t hinted : 1;        /* a hint may name it; stripe lock */
    uint16_t key_len;           /* bytes; constant while in the index */
    uint16_t pins;              /* running reports of a lost lock; stripe lock */
    lock_waiter *first;         /* stripe lock */
    union {
        unsigned char in[LOCK_KEY_INLINE]; /* key_len <= LOCK_KEY_INLINE */
        unsigned char *out;                /* else; a block of key_len bytes */
        struct lock_record *next_spare;    /* while not in the index */
    } key;
    char note[CELLAR_LOCK_NOTE_MAX + 1]; /* tenure, if LOCK_NOTED is set */
} lock_record;
_Static_assert(sizeof(lock_record) == 128, "31 records and a head fill a page");
_Static_assert(offsetof(lock_record, key) <= BASE_LINE, "an uncontended lock writes one line");
_Static_assert(CELLAR_KEY_MAX <= UINT16_MAX, "key_len holds each length");

typedef struct lock_chunk { /* a page of records; zero when it belongs to no stripe */
    struct lock_chunk *next, *prev; /* of the stripe; stripe lock */
    lock_record *spare;             /* records not in the index; stripe lock */
    uint32_t used;                  /* records in the index; stripe lock */
    uint32_t stripe;                /* number + 1; written when it changes hands */
    unsigned char pad[128 - 3 * sizeof(void *) - 2 * sizeof(uint32_t)];
} lock_chunk;
_Static_assert(sizeof(lock_chunk) == 128, "head of a page");

typedef struct lock_stripe {
    /* A pair of a new key writes this line alone of the stripe. */
    sync_lock lock BASE_ALIGNED(BASE_PAD); /* rank LOCK; guards what is not atomic below */
    uint64_t floor;                /* fences of keys outside the index are not above it */
    uint64_t acquired;             /* + sum of live fences = acquisitions so far, modulo 2^64 */
    lock_chunk *chunks;            /* those with spare records come first */
    uint32_t newest[LOCK_PARTS];   /* number + 1 of the newest record of each part, 0 unknown */
    uint32_t spare_count;          /* == sum over chunks of LOCK_PER_CHUNK - used */
    uint32_t credit;               /* records that it may still add: counted in table.count */
    uint32_t waiter_count;
    uint64_t count[STATS_LOCK_COUNT]; /* counters of the registry; gauges stay 0 */
    /* Read by the fast paths: on other lines than the fields that slow paths write. */
    _Atomic uint32_t record_count BASE_ALIGNED(BASE_PAD); /* in the index; written under lock, read
                                                           * as a hint */
    _Atomic uint32_t near[LOCK_NEAR] BASE_ALIGNED(BASE_LINE); /* hints; 0 none */
} lock_stripe;
_Static_assert(offsetof(lock_stripe, count) <= BASE_LINE, "a pair of a new key writes one line");

struct cellar_locks {
    base_object obj;              /* first; its account: max_bytes without this struct */
    base_hash_key hash_key;
    base_region region;           /* chunk_max pages, writable from the start, touched when used */
    unsigned char *records;       /* == region.base */
    uint64_t max_locks;
    int64_t look_ms;              /* longest sleep of a waiter */
    uint32_t barging;
    bool from_clock;              /* fences began at the wall clock */
    uint32_t chunk_max;
    uint32_t stripe_count;        /* power of two; 0 in a forked child */
    uint32_t stripe_shift;        /* 64 - log2(stripe_count) */
    uint32_t head_bits;           /* log2 of the chains of a stripe */
    uint32_t *heads;              /* behind the stripes; number + 1 of the first record of each
                                   * chain, 0 none; stripe lock */
    /* On another line than what the fast paths read: records in the indexes and credits of the
     * stripes, at most max_locks. */
    _Atomic uint64_t count BASE_ALIGNED(BASE_PAD);
    sync_lock chunk_lock BASE_ALIGNED(BASE_PAD); /* rank LOCK_CHUNK; guards down to watch_ctx */
    uint64_t high;                /* no fence in a page given back is above it */
    uint32_t chunk_top;           /* pages used so far */
    uint32_t free_count;          /* pages given back */
    uint32_t *free_chunks;        /* chunk_max numbers */
    cellar_lock_watch_fn watch;
    void *watch_ctx;
    lock_stripe stripe[];         /* stripe_count */
};

/* Work for after the stripe lock. */
typedef struct lock_after {
    _Atomic uint32_t *wake[2];
    lock_chunk *chunk;            /* an empty page to give back */
    lock_record *lost;            /* pinned: its hold ended while held */
    uint64_t lost_fence;
    int64_t lost_held_ms;
    cellar_lock_lost cause;
    uint32_t wake_count;
} lock_after;

/* Read the figures: see stats_service. */
CELLAR_PRIVATE const char *lock_figures(void *object, uint64_t *value);

#endif
