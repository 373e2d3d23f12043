/* SPDX-License-Identifier: MIT
 *
 * tier: interface of a level below L1: a disk, or other machines. None by default.
 *
 * PROTOCOL   Change: step in L1 (its window raises the stamp of the key, with one *pending*) ->
 *            kill or put of the tier (write_order.c) -> pending back -> the call returns. If the
 *            tier has nothing of the key, no kill follows, see stamp.c.
 *            Eviction: `put` gets the stamp captured in the unlinking window. The tier stores the
 *            entry only while host.stamp_is is true under its own tombstone lock: else a newer
 *            change is on its way.
 *            Read: a get that missed L1 reads the stamp, then the tier. While a change of the key
 *            is pending it waits briefly, then misses. The result goes into L1 only if the stamp
 *            counted no change since.
 * LOCKING    No function is called with a lock of L1 or cache held, except `nothing`. Only get,
 *            sync and close may wait. Times are absolute ms of the clock of the store;
 *            BASE_NEVER_MS: never. */
#ifndef CACHE_TIER_H
#define CACHE_TIER_H

#include "base/hash.h"
#include "base/port.h"
#include "cellar.h"

/* Result of a put: not admitted. No public code has this number. */
#define CACHE_TIER_REFUSED ((cellar_err)13)

/* A drop-in may leave shared tiers out: nothing attaches one, and their code is unreachable. */
#ifdef CELLAR_OMIT_SHARED
#define CACHE_HAS_SHARED 0
#else
#define CACHE_HAS_SHARED 1
#endif

#define CACHE_STAMP_NONE UINT64_MAX /* as a stamp: always valid; see write_order.c */

typedef struct cache_tier_key {
    const void *bytes;
    size_t len;
    uint64_t hash;
    uint32_t namespace_id; /* namespace id, never reused in a store */
    uint32_t generation;
} cache_tier_key;

typedef struct cache_tier_parts { /* progress of the put of a long value; zero before the first */
    uint64_t id;
    size_t done; /* bytes that the tier has */
} cache_tier_parts;

typedef struct cache_tier_meta { /* 0: not set, none */
    int64_t deadline_ms;
    int64_t stale_ms, idle_ms;
    int64_t until_ms; /* with idle_ms: end of the entry without further use, ms; 0: deadline_ms */
    uint64_t version, l2_addr, tag_born;
    const void *tag_fps; /* for a put: tag_count unaligned u64 */
    const cellar_bytes *tag_text; /* for a put: texts of the tags of call and policy; NULL: not
                                   * known, as with each entry that leaves memory */
    uint32_t tag_count, user_flags;
    uint8_t kind, cost, uses; /* uses 0: not used since it was stored */
    bool kept; /* for a put: acknowledged as stored, must be found again */
    bool pack; /* for a put: compress, if the tier can */
    cache_tier_parts *parts; /* for a put: goes on where the last put of this value was dropped;
                              * NULL: begins again */
    bool passing; /* of a get: memory must not keep the entry */
    bool silent;  /* of a get: the tier did not answer in time */
    uint64_t *where; /* for a put: OK writes the l2_addr of the copy; NULL: not wanted */
    uint64_t tags[BASE_TAGS_MAX]; /* of a get: tag_count tags; last field */
} cache_tier_meta;

typedef struct cache_tier_namespace {
    uint32_t id, generation, version;
} cache_tier_namespace;

/* A request that a tier answers later. */
typedef struct cache_tier_ticket {
    uint32_t generation;
    uint32_t reserved;
    uint64_t changes, globs;   /* private: as a back-fill compares them */
    uint64_t id, check;        /* private: the lease that waits for the answer */
    uint64_t born;             /* epoch of tags at the request */
} cache_tier_ticket;

typedef struct cache_tier_host { /* passed to attach; valid until close */
    void *ctx;
    /* Return whether no change of the key's class was counted since `stamp`, and no walk by pattern
     * ended. Any lock may be held. */
    bool (*stamp_is)(void *ctx, uint64_t hash, uint64_t stamp);
    int64_t (*now_ms)(void *ctx);
    /* Return the fingerprint of a tag in this store. */
    uint64_t (*tag_fp)(void *ctx, const void *text, size_t len);
    /* Report a change of a key that the tier knows from elsewhere. L1 loses the entry as by a
     * delete, and loads of the key that run store nothing. The tier is not told. No lock held. */
    void (*changed)(void *ctx, uint32_t generation, const void *key, size_t len);
    /* Answer a ticket of `ask`: OK and ABSENT with the entry, MISS or an error without. Each ticket
     * once, from any thread, without locks, also inside `ask`. A late answer has no effect. */
    void (*answered)(void *ctx, const cache_tier_ticket *ticket, const void *key, size_t len,
                     cellar_err err, const void *value, size_t value_len,
                     const cache_tier_meta *meta);
} cache_tier_host;

typedef struct cache_tier_stats {
    uint64_t bytes, entries, reads, writes, dropped, errors;
} cache_tier_stats;

typedef struct cache_tier {
    void *ctx;
    uint64_t max_value_bytes;
    /* Called before the first key is hashed; false: the store makes its own key. */
    bool (*hash_key)(void *ctx, base_hash_key *out);
    void (*attach)(void *ctx, const cache_tier_host *host);
    /* Returns OK, ABSENT, E_BUFFER (*meta and *value_len set), MISS, or an error, which counts as a
     * miss. buf may be NULL with 0 bytes. */
    cellar_err (*get)(void *ctx, const cache_tier_key *k, void *buf, size_t buf_cap,
                      size_t *value_len, cache_tier_meta *meta);
    /* Like `get` for min(buf_cap, *total - offset) bytes from `offset` on. NULL: not supported. */
    cellar_err (*get_range)(void *ctx, const cache_tier_key *k, uint64_t offset, void *buf,
                            size_t buf_cap, size_t *total, cache_tier_meta *meta);
    /* Begin a get for cellar_lease_acquire, which must not wait; the answer comes by host.answered.
     * Returns false: the tier cannot answer now. NULL: `get` does not wait. */
    bool (*ask)(void *ctx, const cache_tier_key *k, const cache_tier_ticket *ticket);
    /* Returns OK: admitted; DROPPED: no room in time; REFUSED: not wanted, or the stamp moved.
     * After OK no older value of the key is served: a change that puts needs no kill. */
    cellar_err (*put)(void *ctx, const cache_tier_key *k, const void *value, size_t value_len,
                      const cache_tier_meta *meta, uint64_t stamp);
    /* Returns whether the tier takes no put for now, even after a wait. NULL: never. */
    bool (*off)(void *ctx);
    int64_t min_ttl_ms; /* entries with less time left are refused */
    /* Prepares for puts with `pack`. False: no memory. NULL: nothing to prepare. */
    bool (*pack_ready)(void *ctx);
    void (*kill)(void *ctx, const cache_tier_key *k);
    /* Returns true if nothing of the key's class lies below, to be found or killed. A put with an
     * older stamp may still bring an entry. Called in windows, with any lock held. NULL: always
     * false. */
    bool (*nothing)(void *ctx, uint64_t hash);
    void (*bump)(void *ctx, uint32_t namespace_id,
                 uint32_t generation); /* generation 0: the namespace was
                                                               * dropped */
    /* Stop serving entries with the tag that were born before `epoch`. */
    void (*tag)(void *ctx, uint64_t fp, uint64_t epoch, bool soft);
    /* Stop serving records of the generation with a matching key that were put before. Until
     * glob_end(*walk) no matching record is stored. E_NOMEM, E_LIMIT: nothing was done. NULL: not
     * supported. */
    cellar_err (*glob)(void *ctx, uint32_t namespace_id, uint32_t generation, const char *pattern,
                       size_t len, uint64_t *walk);
    void (*glob_end)(void *ctx, uint64_t walk);
    cellar_err (*sync)(void *ctx, int level);
    /* Make all earlier calls safe against a power cut. May wait. NULL: not supported. */
    cellar_err (*commit)(void *ctx);
    /* The tier takes writes, not entries: it gets each write of a call before the call returns,
     * and a delete as a put of kind L1_NEGATIVE. It gets no loaded, touched or negative value.
     * Kills and patterns mean nothing to it, and hide no older write. Puts with another stamp than
     * CACHE_STAMP_NONE are evictions. */
    bool writes_only;
    /* With `writes_only`: no put of a write returned OK, with E_BUSY also after a wait. L1 has the
     * value now. */
    void (*lost)(void *ctx, const cache_tier_key *k);
    /* Several processes share the tier: writes go to the table of ctx (shared.h). It has no put,
     * kill and bump, and gets no entry that leaves memory. */
    bool shared;
    bool commit_each; /* no change is acknowledged before `commit` returns OK */
    bool (*tick)(void *ctx, uint64_t budget_us); /* true: more work is left */
    /* Waits until gets find each stored entry, `timeout_ms` at most. False: they may miss one.
     * NULL: always true. */
    bool (*ready)(void *ctx, int64_t timeout_ms);
    cellar_err (*resize)(void *ctx, uint64_t bytes);
    /* Pass entries of a generation that `get` finds, from *at on (0: the begin), about `count` of
     * them. OK: *at continues. MISS: the end; *at continues with entries that are put later. An
     * entry that moves in the tier moves behind *at; the l2_addr of a passed entry is below *at.
     * E_BUSY: the tier does not answer for the moment; *at continues later. E_NOMEM: *at is
     * unchanged. fn runs without locks; false ends the step. value NULL: too long for a scan.
     * NULL: not supported. */
    cellar_err (*iterate)(void *ctx, uint64_t *at, uint32_t count, uint32_t generation,
                          bool (*fn)(void *fn_ctx, const cache_tier_key *k, const void *value,
                                     size_t value_len, const cache_tier_meta *meta),
                          void *fn_ctx);
    /* Pack a position of `iterate`, below 2^62, into 20 bits, and return one that is not behind
     * it. */
    uint32_t (*mark)(void *ctx, uint64_t at);
    uint64_t (*from)(void *ctx, uint32_t mark);
    void (*stats)(void *ctx, cache_tier_stats *out);
    void (*close)(void *ctx, int64_t deadline_ms);
    /* Only for tiers that survive a restart, else NULL: names and numbers of namespaces. */
    bool (*namespace_find)(void *ctx, const char *name, size_t len, cache_tier_namespace *out);
    /* Valid from now on; generation 0: dropped. name NULL: already known. */
    void (*namespace_set)(void *ctx, const cache_tier_namespace *v, const char *name, size_t len);
    /* numbers that were never given out */
    void (*numbers)(void *ctx, uint32_t *next_generation, uint32_t *next_id);
    /* Reports earlier invalidated tags to fn; entries born before *floor are invalid. Returns the
     * first epoch of the store. NULL: epoch 0. */
    uint64_t (*tags)(void *ctx, uint64_t *floor, void (*fn)(void *fn_ctx, uint64_t fp,
                                                            uint64_t hard, uint64_t soft),
                     void *fn_ctx);
    void (*retire)(void *ctx); /* generations restart: all stored records are dead */
    void (*forked)(void *ctx); /* in a forked child: drop the tier without touching shared state */
} cache_tier;

/* Return whether several processes use the tier. */
BASE_INLINE bool cache_tier_is_shared(const cache_tier *t) { return CACHE_HAS_SHARED && t->shared; }

#endif
