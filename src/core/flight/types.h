/* SPDX-License-Identifier: MIT
 *
 * types: records and shards of flights, what callers ask and get; the functions below flight.c.
 *
 * LOCKING    A function with SYNC_HOLDS(FLIGHT) is called with the lock of that shard.
 * SEE ALSO   table.c, flight/README.md. */
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
    uint32_t asked;          /* FAILED: mix of the fallbacks that failed, too; 0: none */
    int64_t retry_at_ms;     /* FAILED: earliest time of the next try, ms; 0: none */
    int64_t deadline_ms;     /* OK: deadline of the entry, ms; BASE_NEVER_MS: none */
    uint64_t load_us;
    uint64_t order;          /* of the reply of a shared tier; 0: not known */
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
    /* Called once, without locks, for a lease that ends unclaimed. `expired`: by its time, not with
     * its namespace or the store. NULL: not called. */
    void (*lease_lost)(void *ctx, const struct flight *f, bool expired);
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
    void (*lease_lost)(void *ctx, const struct flight *f, bool expired); /* constant, as ctx */
    void *ctx;
    _Atomic uint32_t open;       /* records in use */
    _Atomic uint32_t waiters;    /* refs of waiters, and subscriptions */
    _Atomic uint64_t next_gen;
};

typedef struct flight_ended { /* work to do after the lock */
    flight *wake;       /* flight with waiters to wake; the caller holds a ref */
    flight_sub *subs;
    flight *f;          /* of flight_cancel: the flight, with a ref; NULL: none */
    bool lost;          /* it was an open lease */
} flight_ended;

/* Outcome that hands the load over to a waiter. */
#define FLIGHT_HANDS_OVER ((flight_outcome){ .phase = FLIGHT_CANCELLED })

/* ---- table.c: records and references, values with several holders ---- */

BASE_INLINE flight_shard *flight_shard_of(const flight_table *t, uint64_t hash)
{
    return &t->shard[(uint32_t)base_mix64(hash) & t->mask];
}

BASE_INLINE flight **flight_bucket(flight_shard *s, uint64_t hash)
{
    return &s->bucket[(base_mix64(hash) >> 32) % FLIGHT_BUCKETS];
}

/* Allocate shared bytes with one ref, for a value of `len` bytes (new) or around the block `p`
 * (give). Not charged to the budget: callers own them. Return NULL if no memory is left. */
CELLAR_PRIVATE flight_bytes *flight_bytes_new(const base_alloc_hooks *hooks, size_t len);
CELLAR_PRIVATE flight_bytes *flight_bytes_give(const base_alloc_hooks *hooks, void *p, size_t len,
                                               void (*free_fn)(void *, void *), void *free_ctx);
BASE_INLINE flight_bytes *flight_bytes_ref(flight_bytes *b)
{
    if (b != NULL) { (void)base_add_rlx(&b->refs, 1u); }
    return b;
}
CELLAR_PRIVATE void flight_bytes_drop(flight_bytes *b); /* NULL is allowed */

/* Return an upper bound of the bytes of one table. */
CELLAR_PRIVATE uint64_t flight_table_bytes(const base_account *a);
/* Create a table. All its memory is charged to module FLIGHT. Return NULL if no memory is left. */
CELLAR_PRIVATE flight_table *flight_table_create(const flight_config *cfg);
CELLAR_PRIVATE void flight_table_destroy(flight_table *t); /* no flight is left; NULL is allowed */

/* Make a record with room for the key. NULL: no memory. */
CELLAR_PRIVATE flight *flight_record_new(flight_table *t, uint32_t key_len);
CELLAR_PRIVATE void flight_record_free(flight_table *t, flight *f); /* NULL is allowed */
/* Take a spare record. NULL: none is left, or the key is too long for it. */
CELLAR_PRIVATE flight *flight_spare_take(flight_shard *s, uint32_t key_len) SYNC_HOLDS(FLIGHT);
CELLAR_PRIVATE void flight_init(flight *f, const flight_ask *ask, uint32_t takeovers);
CELLAR_PRIVATE void flight_attach(flight_shard *s, flight *f) SYNC_HOLDS(FLIGHT);
/* Find the flight of this key that readers find. With `side` find also flights of loads without
 * single flight. */
CELLAR_PRIVATE flight *flight_find(flight_shard *s, const flight_key *k, bool side,
                                   const flight *after) SYNC_HOLDS(FLIGHT);
CELLAR_PRIVATE void flight_unlink(flight_shard *s, flight *f) SYNC_HOLDS(FLIGHT);
/* Return the flight after `f`, with NULL the first: the attached ones, then the detached ones. */
CELLAR_PRIVATE flight *flight_after(flight_shard *s, const flight *f) SYNC_HOLDS(FLIGHT);
/* Make the flight final, unless it is final already. */
CELLAR_PRIVATE void flight_settle(flight *f, const flight_outcome *o, flight_ended *e)
    SYNC_HOLDS(FLIGHT);
CELLAR_PRIVATE void flight_announce(flight_table *t, const flight_ended *e);
/* End a flight without an outcome, and close its lease: another thread leads the next one. */
CELLAR_PRIVATE void flight_cancel(flight_shard *s, flight *f, flight_ended *e) SYNC_HOLDS(FLIGHT);
/* Tell lease_lost of an open lease, then waiters and subscribers. */
CELLAR_PRIVATE void flight_cancelled(flight_table *t, const flight_ended *e, bool expired);
/* Make `self` the leader of the flight; NULL: no leader. */
CELLAR_PRIVATE void flight_lead_take(flight *f, base_thread_record *self);
CELLAR_PRIVATE void flight_list_cut(flight **list, flight *f);

typedef struct flight_rest {
    flight *record;
    flight_bytes *value, *kept, *tags;
} flight_rest;

/* Drop one ref under the lock. Return what the caller frees after the lock. */
CELLAR_PRIVATE flight_rest flight_let_go(flight_shard *s, flight *f) SYNC_HOLDS(FLIGHT);
CELLAR_PRIVATE void flight_rest_free(flight_table *t, const flight_rest *rest);
CELLAR_PRIVATE void flight_unref(flight_table *t, flight *f);
CELLAR_PRIVATE flight_sub *flight_sub_new(flight_table *t, void (*fn)(void *), void *ctx);
CELLAR_PRIVATE void flight_sub_free(flight_table *t, flight_sub *s);

BASE_INLINE flight_key flight_key_of(const flight *f)
{
    return (flight_key){ f->key, f->key_len, f->generation, f->hash };
}
BASE_INLINE uint64_t flight_tag_born(const flight *f) { return f->tag_born; }
/* Note that the leader publishes "not modified": only the value that it has seen may get it. */
BASE_INLINE void flight_renews(flight *f) { f->renews = true; }
BASE_INLINE void flight_note(flight *f, uint64_t note) { f->note = note; }
BASE_INLINE uint64_t flight_noted(const flight *f) { return f->note; }
BASE_INLINE int64_t flight_hard_at(const flight *f) { return f->hard_at_ms; }
BASE_INLINE uint32_t flight_takeovers(const flight *f)
{
    return FLIGHT_TAKEOVERS(base_load_rlx(&f->state));
}

BASE_INLINE uint32_t flight_count(const flight_table *t) { return base_load_rlx(&t->open); }
/* Count waiters and subscriptions. */
BASE_INLINE uint32_t flight_waiting(const flight_table *t) { return base_load_rlx(&t->waiters); }

/* ---- wait.c: wait for the end of a flight ---- */

/* Wait for the flight and drop the ref of the waiter in every case. */
CELLAR_PRIVATE flight_waited flight_wait(flight_table *t, flight *f, int64_t deadline_ms,
                                         flight_outcome *out);

/* Drop the ref of a waiter without waiting. */
CELLAR_PRIVATE void flight_leave(flight_table *t, flight *f);

CELLAR_PRIVATE void flight_graph_reset(void); /* in a forked child: frees the lock */

/* ---- lease.c: flights without a leading thread, callbacks of callers that got PENDING ---- */

/* Turn a flight entered as LEASE into an open lease; the ref moves to the claim. Return false if
 * the flight ended. */
CELLAR_PRIVATE bool flight_lease_open(flight_table *t, flight *f, flight_lease *out);
/* Find the flight of an open lease with its ref. Return NULL if the lease is unknown, used, taken
 * over, or of another namespace. */
CELLAR_PRIVATE flight *flight_claim(flight_table *t, const flight_lease *l, uint32_t namespace_id);
CELLAR_PRIVATE void flight_ticket_of(const flight_table *t, uint64_t hash, uint64_t sub_id,
                                     flight_lease *out);
CELLAR_PRIVATE bool flight_withdraw(flight_table *t, const flight_lease *ticket);
/* End leases past their hard time-out. Return their number. */
CELLAR_PRIVATE uint32_t flight_expire(flight_table *t, int64_t now_ms);
/* End all open leases of a dropped namespace: no caller can fulfill them. The caller first sets the
 * state, then fences, then looks for the table. A lease that begins later checks the state after it
 * has its flight. */
CELLAR_PRIVATE void flight_end_leases(flight_table *t, uint32_t namespace_id);
/* End all flights, because the store closes. */
CELLAR_PRIVATE void flight_close(flight_table *t);

/* ---- invalidate.c: what a change of a key does to its flights ---- */

BASE_INLINE bool flight_any(const flight_table *t, uint64_t hash)
{
    return base_load_sc(&flight_shard_of(t, hash)->count) != 0;
}
/* Invalidate all flights of the key except `but`: NULL inside a window, else outside of one. */
CELLAR_PRIVATE void flight_invalidate(flight_table *t, const flight_key *key, const flight *but);
/* Invalidate all flights of generation `generation` with a matching key. No lock is held while
 * `match` runs. Flights that begin during the call may stay. */
CELLAR_PRIVATE void flight_invalidate_match(flight_table *t, uint32_t generation,
                                          bool (*match)(void *ctx, const void *key, size_t len),
                                          void *ctx);
CELLAR_PRIVATE bool flight_is_detached(flight_table *t, flight *f, bool *alone);
/* Return whether the key is being loaded. Set *start_ms to the start of that load. */
CELLAR_PRIVATE bool flight_since(flight_table *t, const flight_key *key, int64_t *start_ms);
CELLAR_PRIVATE bool flight_audit(flight_table *t);

#endif
