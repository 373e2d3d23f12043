/* SPDX-License-Identifier: MIT
 *
 * flight_int: records and shards of flights, as the files flight*.c share them.
 *
 * Everything that says SYNC_HOLDS(FLIGHT) is called with the lock of that shard. How it works:
 * flight.c. */
#ifndef LOAD_FLIGHT_INT_H
#define LOAD_FLIGHT_INT_H

#include <string.h>

#include "base/hash.h"
#include "base/num.h"
#include "base/table.h"
#include "load/flight.h"

#define FLIGHT_KEY_ROOM 64u /* bytes of key a spare takes */
#define FLIGHT_PHASE(s) ((flight_phase)((s) & 7u))
#define FLIGHT_WAITERS 8u
#define FLIGHT_TAKEOVER 16u
#define FLIGHT_TAKEOVERS(s) (((s) >> 4) & 15u)

struct flight {
    UT_hash_handle hh;
    _Atomic uint32_t state;      /* release under the shard's lock, acquire by waiters; the futex */
    _Atomic uint32_t refs;       /* raised, and lowered to 0, under the shard's lock: REFS */
    uint64_t gen;                /* store-wide; names a lease */
    uint64_t hash;
    uint32_t owner;              /* vgen: part of the key */
    uint32_t key_len, key_room;
    uint32_t view_id;
    uint32_t nonce;              /* of its lease */
    uint8_t kind;                /* flight_kind */
    bool attached, lease_open, resident;
    base_self_t *_Atomic leader; /* shard lock; read under GRAPH. NULL: queued, a lease, no token */
    int64_t start_ms, hard_at_ms;
    uint64_t tag_born;
    uint64_t note;               /* the leader's */
    flight_outcome result;       /* once final: constant until the last ref */
    flight_bytes *draft;         /* the leader's alone, until it ends */
    void *notes;                 /* the same */
    flight_will will;            /* the same; counts in flight_reap only */
    flight_sub *subs;            /* shard lock */
    flight *next, *prev;         /* shard lock: detached; next alone: spare */
    flight *outer;               /* the leading thread's: what it led before */
    uintptr_t frame;
    uint32_t depth;
    flight_table *table;         /* constant */
    unsigned char key[FLIGHT_KEY_ROOM]; /* key_room bytes of them */
};

typedef struct flight_shard {
    sync_lock lock BASE_ALIGNED(BASE_PAD); /* rank FLIGHT; guards all but count's readers */
    _Atomic uint32_t count;      /* attached; seq_cst both ways: PROOF */
    uint32_t spare_count;
    flight *table;               /* uthash; the sentinel is always in it */
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
    _Atomic uint32_t *callers;   /* flight_config */
    void (*notes_free)(void *notes); /* this and the next two: flight_config; constant */
    void (*lease_lost)(void *ctx, uint32_t owner, uint64_t note);
    void *ctx;
    _Atomic uint32_t open;       /* records in use */
    _Atomic uint32_t waiters;    /* joiners' refs and subscriptions */
    _Atomic uint64_t next_gen;
    flight *_Atomic lost;        /* in a forked child: records of threads that are not there */
};

BASE_INLINE flight_shard *flight_shard_of(const flight_table *t, uint64_t hash)
{
    return &t->shard[(uint32_t)base_mix64(hash) & t->mask];
}

BASE_INLINE unsigned flight_hashv(uint64_t hash) { return (unsigned)(base_mix64(hash) >> 32); }

typedef struct flight_ended { /* to be done after the lock */
    flight *wake;       /* its waiters; the caller holds a ref */
    flight_sub *subs;
} flight_ended;

/* The flight getters find under this key; also those they do not (SIDE) when `side`. */
CELLAR_PRIVATE flight *flight_find(flight_shard *s, const flight_key *k, bool side,
                                   const flight *after) SYNC_HOLDS(FLIGHT);
CELLAR_PRIVATE void flight_unlink(flight_shard *s, flight *f) SYNC_HOLDS(FLIGHT);
CELLAR_PRIVATE void flight_list_cut(flight_shard *s, flight *f) SYNC_HOLDS(FLIGHT);
/* Make it final. False: it was already. */
CELLAR_PRIVATE bool flight_settle(flight_shard *s, flight *f, const flight_outcome *o,
                                  flight_ended *e) SYNC_HOLDS(FLIGHT);
CELLAR_PRIVATE void flight_announce(flight_table *t, const flight_ended *e);
/* It is this thread's from now on; NULL: nobody's. */
CELLAR_PRIVATE void flight_lead_take(flight *f, base_self_t *self);
/* Its lease is over and not claimed: nobody else will say how it went. We hold its ref. */
CELLAR_PRIVATE void flight_tell_lost(const flight_table *t, const flight *f);
CELLAR_PRIVATE void flight_record_free(flight_table *t, flight *f); /* NULL is fine */
CELLAR_PRIVATE void flight_free_lost(flight_table *t); /* flight_fork.c */
CELLAR_PRIVATE void flight_graph_reset(void);          /* in a forked child */

/* An outcome that hands over. */
#define FLIGHT_HANDS_OVER ((flight_outcome){ .phase = FLIGHT_CANCELLED })

#endif
