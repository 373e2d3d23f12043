/* SPDX-License-Identifier: MIT
 *
 * tier: the level below L1 of a namespace: the disk, a tier that processes share, or a queue of
 * writes. None by default.
 *
 * PICTURE    DISK   -> l2/l2.h
 *            SHARED -> cache/shared.h -> cellar_tier.h, a table of the program
 *            BEHIND -> store/tier_table.c -> cellar_tier.h, a table with `tick`
 * PROTOCOL   Change: step in L1 (its window raises the stamp of the key, with one *pending*) ->
 *            kill or put of the tier (write_order.c) -> pending back -> the call returns. If the
 *            disk has nothing of the key, no kill follows, see stamp.c.
 *            Eviction: the put on disk gets the stamp captured in the unlinking window. The disk
 *            stores the entry only while cache_stamp_is is true under its own tombstone lock: else
 *            a newer change is on its way.
 *            Read: a get that missed L1 reads the stamp, then the tier. While a change of the key
 *            is pending it waits briefly, then misses. The result goes into L1 only if the stamp
 *            counted no change since.
 * LOCKING    No function of a tier is called with a lock of L1 or cache held, except l2_nothing.
 *            Times are absolute ms of the clock of the store; BASE_NEVER_MS: never. */
#ifndef CACHE_TIER_H
#define CACHE_TIER_H

#include "base/port.h"
#include "cellar.h"
#include "l1/l1.h"
#include "l2/l2.h"

/* A drop-in may leave the disk or shared tiers out, and that of the cache alone has no queue of
 * writes: nothing opens one, and its code is unreachable. */
#ifdef CELLAR_OMIT_L2
#define CACHE_HAS_DISK 0
#else
#define CACHE_HAS_DISK 1
#endif
#ifdef CELLAR_OMIT_SHARED
#define CACHE_HAS_SHARED 0
#else
#define CACHE_HAS_SHARED 1
#endif
#ifdef CELLAR_OMIT_BEHIND
#define CACHE_HAS_BEHIND 0
#else
#define CACHE_HAS_BEHIND 1
#endif
#define CACHE_HAS_TIER (CACHE_HAS_DISK || CACHE_HAS_SHARED || CACHE_HAS_BEHIND)

#define CACHE_STAMP_NONE UINT64_MAX /* as a stamp: always valid; see write_order.c */

typedef struct cache_found { /* answer of a get, besides the value */
    bool passing; /* memory must not keep the entry */
    bool silent;  /* the shared tier did not answer in time */
    cellar_err unread; /* a MISS says nothing: E_TIMEOUT or E_NOMEM of l2_get; else OK */
    uint64_t order; /* of a shared tier: larger for a reply of a later state; 0: not known */
    l2_meta e;
} cache_found;

typedef enum cache_tier_kind {
    CACHE_TIER_DISK,
    CACHE_TIER_SHARED, /* gets each change, and no entry that leaves memory */
    CACHE_TIER_BEHIND  /* gets each write of a call, not loaded, touched or negative values */
} cache_tier_kind;

struct cache_plan;
typedef struct cache_tier {
    cache_tier_kind kind;
    bool commits;       /* DISK: l2_commit may be called */
    bool commit_each;   /* DISK: no change is acknowledged before l2_commit returns OK */
    bool ticks;         /* DISK: it has no thread */
    int64_t min_ttl_ms; /* DISK: entries with less time left are refused */
    void *ctx;          /* DISK: the l2; SHARED: cache_shared; BEHIND: of the functions */
    /* BEHIND: find a write that waits. OK, ABSENT, E_BUFFER: *value_len and `m` are set. MISS. */
    cellar_err (*get)(void *ctx, const l1_key *k, void *buf, size_t buf_cap, size_t *value_len,
                      l2_meta *m);
    /* BEHIND: take a write; kind L1_NEGATIVE: a delete. E_BUSY: no room now. */
    cellar_err (*put)(void *ctx, const l1_key *k, const l1_put_spec *p, int64_t deadline_ms);
    /* BEHIND: no put of a write returned OK, with E_BUSY also after a wait. L1 has the value. */
    void (*lost)(void *ctx, const l1_key *k);
    /* BEHIND: run background work. True: more work is left. NULL: a thread runs it. */
    bool (*tick)(void *ctx, uint64_t budget_us);
    void (*close)(void *ctx, int64_t deadline_ms); /* SHARED, BEHIND; may wait */
    /* SHARED: make a change that depends on the state of its key. NULL: memory makes it. */
    cellar_err (*put_if)(cellar *c, l1_key *k, struct cache_plan *plan);
    cellar_err (*increment)(cellar *c, l1_key *k, int64_t delta, int64_t init,
                            const cellar_set_opts *if_new, int64_t *number);
    cellar_err (*touch)(cellar *c, l1_key *k, int64_t deadline_ms);
    /* SHARED: in a forked child, close its files. Take no lock. */
    void (*forked)(void *ctx);
} cache_tier;

/* Return the disk; NULL: it is another tier. */
BASE_INLINE l2 *cache_tier_disk(const cache_tier *t)
{
    return CACHE_HAS_DISK && t->kind == CACHE_TIER_DISK ? t->ctx : NULL;
}

/* Return whether several processes use the tier. */
BASE_INLINE bool cache_tier_is_shared(const cache_tier *t)
{
    return CACHE_HAS_SHARED && t->kind == CACHE_TIER_SHARED;
}

/* Return whether the tier takes writes, not entries. */
BASE_INLINE bool cache_tier_is_behind(const cache_tier *t)
{
    return CACHE_HAS_BEHIND && t->kind == CACHE_TIER_BEHIND;
}

BASE_INLINE l2_key cache_disk_key(const l1_key *k)
{
    return (l2_key){ k->bytes, k->len, k->generation, k->hash };
}

#endif
