/* SPDX-License-Identifier: MIT
 *
 * types: records and shards of flights, what callers ask and get.
 *
 * LOCKING    A function with SYNC_HOLDS(FLIGHT) is called with the lock of that shard.
 * SEE ALSO   table.c, src/flight/README.md. */
#ifndef FLIGHT_TYPES_H
#define FLIGHT_TYPES_H

#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/port.h"
#include "base/sync.h"
#include "cellar.h"

/* ---- bytes with several holders ---- */

typedef struct flight_bytes {
    _Atomic uint32_t refs;    /* raised relaxed, lowered acquire-release; 0 frees */
    uint32_t user_flags;      /* of the entry; constant before the second ref */
    size_t len;
    unsigned char *data;      /* behind this head, or the block of the host */
    void (*free_fn)(void *p, void *ctx); /* for the block of the host; NULL: data lies behind
                                          * this head */
    void *free_ctx;
    size_t block_bytes;
    base_alloc_hooks hooks;   /* copy: the store may be closed before the last ref is dropped */
} flight_bytes;

/* ---- flights ---- */

typedef enum flight_phase { /* QUEUED and LOADING are open, the others final */
    FLIGHT_QUEUED, FLIGHT_LOADING, FLIGHT_OK, FLIGHT_NONE, FLIGHT_FAILED, FLIGHT_CANCELLED
} flight_phase;

typedef enum flight_kind {
    FLIGHT_CALL,  /* the leader is a thread inside the loader */
    FLIGHT_JOB,   /* queued; the thread that sets LOADING leads it */
    FLIGHT_LEASE, /* no leading thread: ended by flight_claim, or by any thread past hard_at */
    FLIGHT_SIDE   /* only writers find it: a load without single flight */
} flight_kind;

#define FLIGHT_FINAL 1u      /* outcome.flags: waiters return the error and do not load */
#define FLIGHT_NOT_STORED 2u
#define FLIGHT_OVERTAKEN 4u  /* not stored because the key changed during the load */
#define FLIGHT_TAGGED 8u     /* invalid for callers with a tag epoch later than tag_born */
#define FLIGHT_NOT_SHARED 16u /* the shared tier did not get it */

typedef struct flight_outcome {
    flight_phase phase;
    cellar_err err;          /* set with FAILED */
    int32_t loader_err;
    uint32_t flags;          /* FLIGHT_... */
    uint32_t source;         /* CELLAR_SOURCE_... of the leader */
    uint32_t asked;          /* FAILED: mix of the fallbacks that failed, too; 0: none */
    int64_t retry_at_ms;     /* FAILED: earliest time of the next try, ms; 0: none */
    int64_t deadline_ms;     /* OK: deadline of the entry, ms; BASE_NEVER_MS: none */
    uint64_t load_us;
    flight_bytes *value;     /* OK: one ref */
} flight_outcome;

typedef struct flight_sub { /* callback of a caller that got PENDING */
    struct flight_sub *next;
    void (*fn)(void *ctx);
    void *ctx;
    uint64_t id;
} flight_sub;

typedef struct flight_table flight_table;
typedef struct flight flight;

typedef struct flight_key {
    const void *bytes;
    uint32_t len;
    uint32_t generation;          /* generation */
    uint64_t hash;
} flight_key;

typedef struct flight_config {
    base_account *account;
    const base_clock *clock;
    uint32_t max_flights, max_waiters;
    /* Called once, without locks, when an unclaimed lease with a note expires. NULL: not called. */
    void (*lease_lost)(void *ctx, uint32_t generation, uint64_t note);
    void *ctx;
} flight_config;

typedef enum flight_entry {
    FLIGHT_LED,       /* attached, one ref: look for the key again before you load */
    FLIGHT_JOINED,    /* led by another thread; one ref, counted as waiter */
    FLIGHT_TAKEN,     /* led by another thread, `join` is false; ask.sub is attached to it */
    FLIGHT_STUCK,     /* past hard_at, take-overs used up */
    FLIGHT_FULL,      /* max_flights */
    FLIGHT_CROWDED,   /* max_waiters */
    FLIGHT_NO_MEMORY
} flight_entry;

typedef struct flight_ask {
    flight_key key;
    uint32_t namespace_id;
    flight_kind kind;
    bool join;          /* wait if a flight exists; else FLIGHT_TAKEN */
    bool only_join;     /* never lead: TAKEN without a flight if none exists */
    bool take_queued;   /* lead a job that has not begun */
    uint8_t leader_retries;
    int64_t now_ms, hard_timeout_ms;
    uint64_t tag_born;  /* current tag epoch */
    flight_sub *sub;    /* subscription, with join false; owned by the flight after TAKEN only */
} flight_ask;

typedef enum flight_waited {
    FLIGHT_DONE,   /* *out is a copy with its own ref of the value */
    FLIGHT_LATE,   /* deadline_ms came first */
    FLIGHT_HARD,   /* the time of the leader is over: enter again */
    FLIGHT_CYCLE   /* the wait would close a cycle; no wait happened */
} flight_waited;

typedef struct flight_lease { uint64_t id, check; } flight_lease;

/* ---- records and shards ---- */

#define FLIGHT_KEY_ROOM 64u /* bytes of key in a spare record */
#define FLIGHT_BUCKETS 32u
#define FLIGHT_PHASE(s) ((flight_phase)((s) & 7u))
#define FLIGHT_WAITERS 8u
#define FLIGHT_TAKEOVER 16u
#define FLIGHT_TAKEOVERS(s) (((s) >> 4) & 15u)

struct flight {
    flight *chain;               /* shard lock: the bucket of an attached flight */
    _Atomic uint32_t state;      /* futex word: release under the lock of the shard, acquire by
                                  * waiters */
    _Atomic uint32_t refs;       /* raised and lowered to 0 under the lock of the shard; else
                                  * lowered without it */
    uint64_t gen;                /* unique in the store; names a lease */
    uint64_t hash;
    uint32_t generation;              /* generation, part of the key */
    uint32_t key_len, key_room;
    uint32_t namespace_id;
    uint32_t nonce;              /* check number of the lease */
    uint8_t kind;                /* flight_kind */
    bool attached, lease_open, resident;
    bool renews;                 /* leader only: it publishes "not modified" */
    bool replaced;               /* shard lock: a load beside it has stored another value */
    base_thread_record
        *_Atomic leader; /* shard lock; read under GRAPH. NULL: queued, a lease, or no
                                  * token */
    int64_t start_ms, hard_at_ms;
    uint64_t tag_born;
    uint64_t note;               /* number of the leader */
    flight_outcome result;       /* constant once the phase is final, until the last ref */
    flight_bytes *kept, *tags;   /* options of a lease, texts of tags; leader only, until the last
                                  * ref */
    flight_sub *subs;            /* shard lock */
    flight *next, *prev;         /* shard lock: attached or detached flights; `next`: spares */
    flight *outer;               /* leading thread: flight it led before */
    uint32_t depth;              /* of nested loads of the leading thread; 0: none led */
    flight_table *table;         /* constant */
    unsigned char key[FLIGHT_KEY_ROOM]; /* key_room bytes */
};

typedef struct flight_shard {
    sync_lock lock BASE_ALIGNED(BASE_PAD); /* rank FLIGHT; guards all fields; `count` is read
                                            * without it */
    _Atomic uint32_t count;      /* attached flights; seq_cst on both sides, see README.md */
    uint32_t spare_count;
    flight *attached;            /* readers find them; the newest is the first */
    flight *detached;            /* unlinked, refs > 0 */
    flight *spare;
    flight *bucket[FLIGHT_BUCKETS]; /* attached flights by hash */
} flight_shard;

struct flight_table {
    flight_shard *shard;
    base_account *account;
    const base_clock *clock;
    void *raw;
    size_t raw_bytes;
    uint32_t mask;
    uint32_t max_flights, max_waiters;
    void (*lease_lost)(void *ctx, uint32_t generation, uint64_t note); /* this and ctx: constant */
    void *ctx;
    _Atomic uint32_t open;       /* records in use */
    _Atomic uint32_t waiters;    /* refs of waiters, and subscriptions */
    _Atomic uint64_t next_gen;
    flight *_Atomic lost;        /* in a forked child: records of threads that do not exist there */
};

typedef struct flight_ended { /* work to do after the lock */
    flight *wake;       /* flight with waiters to wake; the caller holds a ref */
    flight_sub *subs;
    flight *f;          /* of flight_cancel: the flight, with a ref; NULL: none */
    bool lost;          /* it was an open lease */
} flight_ended;

/* Outcome that hands the load over to a waiter. */
#define FLIGHT_HANDS_OVER ((flight_outcome){ .phase = FLIGHT_CANCELLED })

#endif
