/* SPDX-License-Identifier: MIT
 *
 * flight_int: records and shards of flights, shared by the files flight*.c.
 *
 * LOCKING    A function with SYNC_HOLDS(FLIGHT) is called with the lock of that shard.
 * SEE ALSO   flight.c, src/load/README.md. */
#ifndef LOAD_FLIGHT_INT_H
#define LOAD_FLIGHT_INT_H

#include <string.h>

#include "base/hash.h"
#include "base/num.h"
#include "base/table.h"
#include "load/flight.h"

#define FLIGHT_KEY_ROOM 64u /* bytes of key in a spare record */
#define FLIGHT_PHASE(s) ((flight_phase)((s) & 7u))
#define FLIGHT_WAITERS 8u
#define FLIGHT_TAKEOVER 16u
#define FLIGHT_TAKEOVERS(s) (((s) >> 4) & 15u)

struct flight {
    UT_hash_handle hh;
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
    base_thread_record
        *_Atomic leader; /* shard lock; read under GRAPH. NULL: queued, a lease, or no
                                  * token */
    int64_t start_ms, hard_at_ms;
    uint64_t tag_born;
    uint64_t note;               /* number of the leader */
    flight_outcome result;       /* constant once the phase is final, until the last ref */
    flight_bytes *draft;         /* leader only, until the flight ends */
    void *_Atomic notes;         /* set once by the leader (release), acquire by waiters */
    flight_will will;            /* leader only; read in flight_reap only */
    flight_sub *subs;            /* shard lock */
    flight *next, *prev;         /* shard lock: list of detached flights; `next` alone: spares */
    flight *outer;               /* leading thread: flight it led before */
    uintptr_t frame;
    uint32_t depth;
    flight_table *table;         /* constant */
    unsigned char key[FLIGHT_KEY_ROOM]; /* key_room bytes */
};

typedef struct flight_shard {
    sync_lock lock BASE_ALIGNED(BASE_PAD); /* rank FLIGHT; guards all fields; `count` is read
                                            * without it */
    _Atomic uint32_t count;      /* attached flights; seq_cst on both sides, see README.md */
    uint32_t spare_count;
    flight *table;               /* uthash; always contains the sentinel */
    flight *detached;            /* unlinked, refs > 0 */
    flight *spare;
    flight sentinel;
} flight_shard;

struct flight_table {
    flight_shard *shard;
    base_account *account;
    const base_clock *clock;
    void *raw;
    size_t raw_bytes;
    uint32_t mask;
    uint32_t max_flights, max_waiters;
    _Atomic uint32_t *callers;   /* from flight_config */
    void (*notes_free)(void *notes); /* this and the next two: from flight_config; constant */
    void (*lease_lost)(void *ctx, uint32_t generation, uint64_t note);
    void *ctx;
    _Atomic uint32_t open;       /* records in use */
    _Atomic uint32_t waiters;    /* refs of waiters, and subscriptions */
    _Atomic uint64_t next_gen;
    flight *_Atomic lost;        /* in a forked child: records of threads that do not exist there */
};

BASE_INLINE flight_shard *flight_shard_of(const flight_table *t, uint64_t hash)
{
    return &t->shard[(uint32_t)base_mix64(hash) & t->mask];
}

BASE_INLINE unsigned flight_hashv(uint64_t hash) { return (unsigned)(base_mix64(hash) >> 32); }

typedef struct flight_ended { /* work to do after the lock */
    flight *wake;       /* flight with waiters to wake; the caller holds a ref */
    flight_sub *subs;
} flight_ended;

/* Find the flight of this key that readers find. With `side` find also flights of loads without
 * single flight. */
CELLAR_PRIVATE flight *flight_find(flight_shard *s, const flight_key *k, bool side,
                                   const flight *after) SYNC_HOLDS(FLIGHT);
CELLAR_PRIVATE void flight_unlink(flight_shard *s, flight *f) SYNC_HOLDS(FLIGHT);
CELLAR_PRIVATE void flight_list_cut(flight_shard *s, flight *f) SYNC_HOLDS(FLIGHT);
/* Make the flight final. Return false if it was final already. */
CELLAR_PRIVATE bool flight_settle(flight_shard *s, flight *f, const flight_outcome *o,
                                  flight_ended *e) SYNC_HOLDS(FLIGHT);
CELLAR_PRIVATE void flight_announce(flight_table *t, const flight_ended *e);
/* Make `self` the leader of the flight; NULL: no leader. */
CELLAR_PRIVATE void flight_lead_take(flight *f, base_thread_record *self);
/* Report an expired, unclaimed lease once through lease_lost. The caller holds its ref. */
CELLAR_PRIVATE void flight_tell_lost(const flight_table *t, const flight *f);
CELLAR_PRIVATE void flight_record_free(flight_table *t, flight *f); /* NULL is allowed */
CELLAR_PRIVATE void flight_free_lost(flight_table *t); /* flight_fork.c */
CELLAR_PRIVATE void flight_graph_reset(void);          /* in a forked child */

/* Outcome that hands the load over to a waiter. */
#define FLIGHT_HANDS_OVER ((flight_outcome){ .phase = FLIGHT_CANCELLED })

#endif
