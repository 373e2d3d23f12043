/* SPDX-License-Identifier: MIT
 *
 * tier: what a level below L1 is to cache: a disk, or other machines. None by default.
 *
 * ORDER      of every change: L1 step (in its window the key's stamp rises, with one *pending*;
 *            where the tier has nothing of it no kill follows, see hook.c) ->
 *            kill or put of the tier (turn.c) -> pending back -> the call returns.
 *            What L1 evicts reaches `put` with the stamp captured in the unlinking window; the
 *            tier stores it only while
 *            host.stamp_is still says yes under its own gate: else a newer change is on its way.
 *            A get that missed L1 reads the stamp, then the tier. While a change of the key is
 *            pending it waits briefly, then misses. What the get finds goes into L1 only if the
 *            stamp has counted no change since.
 * LOCKS      no function is called with a lock of L1 or cache held. Only get, sync and close may
 *            wait. Times are the store's clock, absolute milliseconds, BASE_NEVER_MS = never. */
#ifndef CACHE_TIER_H
#define CACHE_TIER_H

#include "base/hash.h"
#include "base/port.h"
#include "cellar.h"

/* Of a put: not admitted. No public code has this number. */
#define CACHE_TIER_REFUSED ((cellar_err)13)

typedef struct cache_tier_key {
    const void *bytes;
    size_t len;
    uint64_t hash;
    uint32_t view_id; /* never reused in a store */
    uint32_t vgen;
} cache_tier_key;

typedef struct cache_tier_meta { /* 0 where not said: none */
    int64_t deadline_ms;
    int64_t stale_ms, idle_ms;
    int64_t until_ms; /* with idle_ms: when it ends if nobody uses it any more; 0: deadline_ms */
    uint64_t version, l2_addr, tag_born;
    const void *tag_fps; /* tag_count unaligned u64, into a put */
    uint32_t tag_count, user_flags;
    uint8_t kind, cost, uses; /* uses 0: nobody asked for it since it came */
    bool kept; /* into a put: acknowledged as being there: it must be found again */
    bool pack; /* into a put: in fewer bytes, if the tier can */
    uint64_t *where; /* into a put: OK writes the copy's l2_addr; NULL: not asked */
    uint64_t tags[CELLAR_TAGS_MAX]; /* out of a get: tag_count of them; last */
} cache_tier_meta;

/* A tag that nobody deletes: what bears it is not served by a store that is opened again. */
#define CACHE_TIER_TAG_OF_LIFE UINT64_C(0x62E1D9F4A7C3508B)

typedef struct cache_tier_view {
    uint32_t id, vgen, version;
} cache_tier_view;

typedef struct cache_tier_host { /* given to attach; valid until close */
    void *ctx;
    /* Have there been no changes of the key's class since `stamp`, and no end of a walk by pattern?
     * Any lock may be held. */
    bool (*stamp_is)(void *ctx, uint64_t hash, uint64_t stamp);
    int64_t (*now_ms)(void *ctx);
} cache_tier_host;

typedef struct cache_tier_stats {
    uint64_t bytes, entries, reads, writes, dropped, errors;
} cache_tier_stats;

typedef struct cache_tier {
    void *ctx;
    bool survives_restart, kill_is_synchronous, shared_with_others;
    uint64_t max_value_bytes;
    /* Asked before the first key is hashed; false: the store makes its own. */
    bool (*hash_key)(void *ctx, base_hash_key *out);
    void (*attach)(void *ctx, const cache_tier_host *host);
    /* OK, ABSENT, E_BUFFER (*meta and *value_len set), MISS, or an error, which counts as one. buf
     * may be NULL with 0 bytes. */
    cellar_err (*get)(void *ctx, const cache_tier_key *k, void *buf, size_t buf_cap,
                      size_t *value_len, cache_tier_meta *meta);
    /* OK: admitted. DROPPED: no room in time. REFUSED: not wanted, or the stamp has moved. After
     * OK no older value of the key is served: a change that puts needs no kill. */
    cellar_err (*put)(void *ctx, const cache_tier_key *k, const void *value, size_t value_len,
                      const cache_tier_meta *meta, uint64_t stamp);
    /* Return whether the tier takes no put for now, even after a wait. NULL: never. */
    bool (*off)(void *ctx);
    int64_t min_ttl_ms; /* what has less left is refused */
    /* Puts will say `pack`: get ready. False: no memory. NULL: nothing to do. */
    bool (*pack_ready)(void *ctx);
    void (*kill)(void *ctx, const cache_tier_key *k);
    /* True: nothing of the key's class lies below, to be found or to be killed, but what a put with
     * a stamp from before this call may bring. In windows, any lock held. NULL: never said. */
    bool (*nothing)(void *ctx, uint64_t hash);
    void (*bump)(void *ctx, uint32_t view_id, uint32_t vgen); /* vgen 0: the view was dropped */
    /* What carries the tag and was born before `epoch` is not served any more. */
    void (*tag)(void *ctx, uint64_t fp, uint64_t epoch, bool soft);
    /* From now on no record of that generation is served whose key matches and that was put before;
     * until glob_end(*walk) none that matches is stored. E_NOMEM, E_LIMIT: nothing was done. No
     * such function: it cannot. */
    cellar_err (*glob)(void *ctx, uint32_t view_id, uint32_t vgen, const char *pattern, size_t len,
                       uint64_t *walk);
    void (*glob_end)(void *ctx, uint64_t walk);
    cellar_err (*sync)(void *ctx, int level);
    /* What was told and put before the call outlives a power cut. May wait; NULL: it cannot. */
    cellar_err (*commit)(void *ctx);
    bool commit_each; /* no change is acknowledged before `commit` has said OK */
    bool (*tick)(void *ctx, uint64_t budget_us); /* true: there is more to do */
    cellar_err (*resize)(void *ctx, uint64_t bytes);
    /* One step from *cursor (0: begin and end), fn with no lock held. */
    cellar_err (*iterate)(void *ctx, uint64_t *cursor, uint32_t vgen,
                          bool (*fn)(void *fn_ctx, const cache_tier_key *k, const void *value,
                                     size_t value_len, const cache_tier_meta *meta),
                          void *fn_ctx);
    void (*stats)(void *ctx, cache_tier_stats *out);
    void (*close)(void *ctx, int64_t deadline_ms);
    /* Only tiers that survive a restart; else NULL. Names and numbers of views: */
    bool (*view_find)(void *ctx, const char *name, size_t len, cache_tier_view *out);
    /* From now on; vgen 0: the view is gone. name NULL: of one already known. */
    void (*view_set)(void *ctx, const cache_tier_view *v, const char *name, size_t len);
    void (*numbers)(void *ctx, uint32_t *next_vgen, uint32_t *next_id); /* never given out yet */
    /* Tags that have ended before: fn for each, what was born before *floor is over. Returns the
     * epoch from which the store goes on. NULL: from 0. */
    uint64_t (*tags)(void *ctx, uint64_t *floor, void (*fn)(void *fn_ctx, uint64_t fp,
                                                            uint64_t hard, uint64_t soft),
                     void *fn_ctx);
    void (*retire)(void *ctx); /* generations begin anew: nothing stored counts, nothing comes */
    void (*forked)(void *ctx); /* in a forked child: let go without touching anything shared */
} cache_tier;

#endif
