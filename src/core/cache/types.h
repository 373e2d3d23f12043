/* SPDX-License-Identifier: MIT
 *
 * types: the store and its namespaces, as the files of this module see them.
 *
 * PICTURE    cellar (a namespace) -> cache_store -> l1, stats, account, clock, log, tier, stamps
 *            generation table: [generation mod size] -> generation, slot, alive
 *            pages:            [slot] -> namespace
 * INVARIANTS A generation is alive exactly if it is the current one of one namespace in the table.
 *            Two living generations never share a cell: the counter skips numbers that would.
 *            A slot belongs to one namespace until that namespace is freed.
 *            refs of a store = open handles + calls that look for one.
 * LOCKING    NAMESPACE: names, slots, options, handle counts, the generation counter. LISTEN:
 *            listeners. The registry of stores has a lock of its own, held alone. Hooks of L1 take
 *            no lock: they read the generation table and the stamps, which are atomic words.
 * LIFETIME   Closing the root ends L1, statistics, thread and tier, and marks all namespaces
 *            closed. The shell of the store and its namespaces stay until the last handle is
 *            closed.
 * SEE ALSO   README.md in this folder. */
#ifndef CACHE_TYPES_H
#define CACHE_TYPES_H

#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/num.h"
#include "base/opts.h"
#include "base/pool.h"
#include "base/service.h"
#include "base/sync.h"
#include "base/table.h"
#include "bloom/filter.h"
#include "breaker/breaker.h"
#include "cache/cache.h"
#include "l1/l1.h"
#include "stats/stats.h"

#define CACHE_CLOSED 1u /* bits of cellar.state; 0: open, enabled, not logged */
#define CACHE_OFF 2u
#define CACHE_TALK 4u /* reads are logged */
#define CACHE_FILTER 8u /* reads ask the Bloom filter before L1 */
#define CACHE_PROOF 32u /* shared tier: memory answers only until proven_ms: proof.h */
#define CACHE_ENDING 16u /* with CLOSED: a close of the store runs and may still fail */
#define CACHE_OBJECTS 128u /* its entries are objects: no call of bytes */
#define CACHE_FORKED 64u /* with CLOSED: the store belongs to the parent of this process */

#define CACHE_NAMESPACES_MAX 4096u /* includes the root */
#define CACHE_PAGE_NAMESPACES 64u
#define CACHE_LISTENERS_MAX 16u
#define CACHE_LISTEN_DEPTH 4u
#define CACHE_TIERS_MAX 4u
#define CACHE_WINDOW_FLIGHTS 1u
#define CACHE_WINDOW_STAMPS 2u
#define CACHE_ROUNDS 64u          /* tries of one call against other writers */
#define CACHE_SALT_NAME 0x6e616d65u /* salts of other hashes with the key of the store */
#define CACHE_SALT_TAG 0x74616773u
#define CACHE_SALT_LIFE 0x6c696665u
#define CACHE_WINDOW_MAX ((int64_t)UINT32_MAX)

/* Defaults of namespaces and of the store, in the order of the namespace options. */
enum { CACHE_TTL, CACHE_NEGATIVE_TTL, CACHE_IDLE, CACHE_MAX_AGE, CACHE_STALE, CACHE_DEFAULTS };

/* Defaults of loads, used when neither the call nor the namespace sets a value. Times in ms, then
 * numbers. 0 in a namespace: not set. */
enum { CACHE_ERROR_TTL, CACHE_ERROR_MAX, CACHE_THROTTLE, CACHE_SOFT, CACHE_HARD, CACHE_WAIT,
       CACHE_LOAD_TIMES };
enum { CACHE_JITTER_PCT, CACHE_JITTER_MODE, CACHE_NO_NEGATIVE, CACHE_EAGER, CACHE_XFETCH,
       CACHE_HANDOVERS, CACHE_TAKEOVERS, CACHE_LOAD_NUMBERS };

typedef struct cache_store cache_store;
typedef struct cache_job cache_job;
typedef struct cache_shared cache_shared; /* shared.h */
struct flight_table;
typedef struct cache_why cache_why;
typedef struct cache_tags cache_tags;
struct cache_policies;
struct policy_section;

#define CACHE_ERROR_TEXT CELLAR_SIZEOF_FIELD(cellar_error_info, text)

typedef struct cache_error {
    cellar_err code;
    int sys_errno;
    char text[CACHE_ERROR_TEXT];
} cache_error;

/* Every option of cellar_open, complete and checked. The caller owns what the pointers inside point
 * to. */
typedef struct cache_settings {
    cellar_config config;
    cellar_l2_config l2;
    cellar_host_config host;
    cellar_tuning_config tuning;
    cellar_l2_cipher cipher; /* seal NULL: no cipher */
    cellar_namespace_config root;  /* config.root, or its defaults */
    uint32_t first_generation;     /* first generation, for tests; 0: 1 */
    const l2_config *disk;         /* see cache_open; NULL: none */
} cache_settings;

#define CACHE_CARRIES_BIRTH 1u
#define CACHE_CARRIES_POLICY 2u /* each write asks `policy` */
#define CACHE_CARRIES_WRITE 4u  /* each write is stored in the tier before it returns */
#define CACHE_CARRIES_LACK 8u   /* THROUGH, and l2.optional opened the store without the disk */

/* Options of a call, which no policy changes. */
#define CACHE_GIVEN_TTL 1u
#define CACHE_GIVEN_IDLE 2u
#define CACHE_GIVEN_AGE 4u
#define CACHE_GIVEN_STALE 8u
#define CACHE_GIVEN_JITTER 16u
#define CACHE_GIVEN_NEGATIVE 32u /* of a load: TTL of a negative entry */
#define CACHE_GIVEN_REFRESH 64u  /* of a load: eager_refresh_pct or xfetch_beta_x100 */

struct cellar_breaker {
    breaker b;
    cellar *c;           /* one ref, and one of its store */
    size_t bytes;        /* size of this block */
};

struct cellar {
    base_service kind;   /* first */
    _Atomic uint32_t state; /* CACHE_...; written under NAMESPACE, read by every call */
    /* generation; release under NAMESPACE, acquire when a key is made */
    _Atomic uint32_t generation;
    uint32_t slot;          /* index in stats and in the generation table; constant */
    _Atomic uint32_t carries; /* CACHE_CARRIES_...: extra fields of each entry, rules */
    l1 *l1;                 /* this down to store: constant; invalid once state has CLOSED */
    stats *stats;
    uint64_t stats_tag;     /* stats_tag(stats, slot) */
    const base_hash_key *hash_key;
    cache_store *store;
    /* NULL: never opened; seq_cst store under NAMESPACE, see bloom_guard.c */
    bloom *_Atomic bloom;
    _Atomic int64_t proven_ms; /* with CACHE_PROOF: memory answers before this time */
    _Atomic int64_t def[CACHE_DEFAULTS]; /* values in force: own, else of the store; NAMESPACE */
    _Atomic int64_t load_ms[CACHE_LOAD_TIMES]; /* of the namespace, else defaults; NAMESPACE */
    _Atomic uint32_t load_n[CACHE_LOAD_NUMBERS];
    cellar_loader_fn loader; /* this and the next two: NAMESPACE */
    _Atomic bool has_loader; /* `loader` is set; read without the lock */
    cellar_loader_many_fn loader_many;
    void *loader_ctx;
    _Atomic uint32_t class_count;
    _Atomic uint32_t ttl_class_fallback; /* class number from 1 */
    _Atomic int64_t class_ttl_ms[CELLAR_TTL_CLASSES_MAX];
    char class_name[CELLAR_TTL_CLASSES_MAX][CELLAR_TTL_CLASS_NAME_MAX + 1]; /* NAMESPACE */
    UT_hash_handle hh;      /* NAMESPACE; names of the store, without the root */
    uint32_t id;            /* unique in this store, never reused */
    uint32_t version;       /* public version; NAMESPACE */
    uint32_t drawn_version; /* of the number `drawn`; NAMESPACE */
    _Atomic uint32_t versioning; /* role: of the open that sets a version */
    uint64_t drawn;         /* newest number that is logged and has not begun; 0: none; NAMESPACE */
    uint32_t handles;       /* open handles; NAMESPACE */
    _Atomic uint32_t refs;  /* 1 while named, + handles, + calls that need it */
    uint32_t name_len;
    uint32_t unreported;        /* NAMESPACE; changes that the tier is being told of now */
    _Atomic bool dropped;   /* stored under NAMESPACE */
    bool settled;           /* it has a number, so no quota begins any more; NAMESPACE */
    uint8_t quota; /* number of its quota in L1; 0: none; set before its first generation */
    uint32_t quota_own; /* quota_max_pct of its options; NAMESPACE */
    /* the tier of its entries; NULL: none; set before its generation */
    const cache_tier *_Atomic tier;
    uint32_t object_class;  /* of its objects in the cells of the store; UINT32_MAX: bytes */
    cache_policy_fn policy; /* with CACHE_CARRIES_POLICY; constant */
    bool no_disk;           /* constant; true: the disk stores and logs nothing of it */
    bool proof_stale;       /* with CACHE_PROOF: later it answers STALE; set before the bit */
    bool secret;            /* constant; true: no text of its keys is kept */
    uint8_t disk_mode;      /* constant: CELLAR_L2_... */
    bool disk_pack;         /* constant: l2_lz4 */
    char name[CELLAR_NAME_MAX + 1];
    cache_error error;      /* guarded by error_lock of the store, rank ERROR */
    cellar_breaker *_Atomic breaker; /* NULL: none; set once, freed with the namespace */
    _Atomic int32_t bloom_heat;     /* share of sampled reads that end with "never", of 65,536 */
    _Atomic uint32_t bloom_logged;    /* doubts that were logged */
    _Atomic uint32_t bloom_feeding; /* 1: a feed runs */
    _Atomic uint32_t bloom_fpr_ppm; /* this and bloom_keys: size of the next set */
    _Atomic uint64_t bloom_keys;
    /* rules of its writes; NULL: none; seq_cst store under NAMESPACE, see policy/policy.c */
    const struct policy_section *_Atomic rules;
    char rules_name[CELLAR_NAME_MAX + 1]; /* policy_section; "": its own name; NAMESPACE */
    _Atomic uint64_t class_hash[CELLAR_TTL_CLASSES_MAX]; /* of the names of its TTL classes */
    _Atomic uint32_t log_own;       /* 0: the level of the store; else base_log_level + 1 */
};

/* Return the tier of the namespace; NULL: none. A call asks after it has made its key. */
BASE_INLINE const cache_tier *cache_tier_of(const cellar *c)
{
    return CACHE_HAS_TIER ? base_load_rlx(&c->tier) : NULL;
}

/* Return the table of the shared tier of the namespace; NULL: none. */
BASE_INLINE cache_shared *cache_shared_of(const cellar *c)
{
    const cache_tier *t = cache_tier_of(c);
    return t != NULL && cache_tier_is_shared(t) ? t->ctx : NULL;
}

/* Note whether writes of the namespace pass through its tier, or lack it. */
BASE_INLINE void cache_carries_write(cellar *c)
{
    const uint32_t rest =
        base_load_rlx(&c->carries) & ~(CACHE_CARRIES_WRITE | CACHE_CARRIES_LACK);
    const cache_tier *t = cache_tier_of(c);
    const bool eager = c->disk_mode != CELLAR_L2_WRITE_ON_EVICTION;
    const bool writes =
        t != NULL && (eager || cache_tier_is_behind(t) || cache_tier_is_shared(t));
    const bool lacks = t == NULL && !c->no_disk && c->disk_mode == CELLAR_L2_WRITE_THROUGH;
    base_store_rlx(&c->carries, rest | (writes ? CACHE_CARRIES_WRITE : 0u) |
                                    (lacks ? CACHE_CARRIES_LACK : 0u));
}

typedef struct cache_generations {
    struct cache_generations *older; /* smaller tables that were replaced; freed with the store */
    uint32_t mask;
    uint32_t bytes;
    _Atomic uint64_t cell[]; /* CACHE_CELL; 0: never used */
} cache_generations;
#define CACHE_CELL_ALIVE 1u
#define CACHE_CELL_LIVES(quota) (CACHE_CELL_ALIVE | (uint32_t)(quota) << 1)
#define CACHE_CELL_QUOTA(w) ((uint32_t)((w) >> 1) & 0x7fu)
#define CACHE_CELL(generation, slot, cause, alive) \
    ((uint64_t)(generation) << 32 | (uint64_t)(slot) << 16 | (uint64_t)(cause) << 8 | \
     (uint64_t)(alive))
#define CACHE_CELL_NO_SLOT 0xffffu /* its namespace is gone; the slot may have another one */
#define CACHE_CELL_GENERATION(w) ((uint32_t)((w) >> 32))
#define CACHE_CELL_SLOT(w) ((uint32_t)((w) >> 16) & 0xffffu)
#define CACHE_CELL_CAUSE(w) ((uint32_t)((w) >> 8) & 0xffu)

typedef struct cache_page {
    cellar *_Atomic namespace[CACHE_PAGE_NAMESPACES]; /* written under NAMESPACE */
} cache_page;

typedef struct cache_listener { /* all fields except `running`: LISTEN */
    cellar_listener_fn fn; /* NULL: free slot */
    void *ctx;
    uint32_t causes;
    uint32_t namespace_id;    /* namespace id; UINT32_MAX: all namespaces */
    cellar *namespace;        /* one ref: a dropped namespace is kept while it has a listener */
    uint64_t id;
    bool dead;           /* true: no new call of fn begins */
    _Atomic uint32_t running; /* running calls of fn + snapshots that name it; futex word of the
                               * removal */
} cache_listener;

typedef struct cache_ordered { /* one change of a key on its way into the tier, see write_order.c */
    struct cache_ordered *next; /* older ordered write; this and all below except `listed`:
                                 * WRITE_ORDER */
    const void *bytes;       /* key bytes of the caller, valid while the ordered write is listed */
    uint64_t hash;
    uint32_t len, generation;
    bool listed;             /* caller only */
    bool fill;               /* of a load; caller only */
    bool busy;               /* its call of the tier runs now */
    bool passed;             /* true: a newer change of the key has reached the tier */
} cache_ordered;

typedef struct cache_write_order cache_write_order;

/* What a change owes the tier: a kill if the tier has the key, a call in any case, or nothing, as
 * the tier itself reports the change. */
enum { CACHE_BELOW_KILL, CACHE_BELOW_CALL, CACHE_BELOW_KNOWS };

typedef struct cache_scope { /* one observed change; on the stack of the caller */
    struct cache_scope *outer;
    bool stores, negative;  /* a put; of a negative entry */
    uint8_t cause;          /* CELLAR_CAUSE_... of a delete; 0: DELETED */
    uint8_t below;          /* CACHE_BELOW_... */
    const cache_tier *tier; /* of the namespace; NULL: none */
    uint64_t expect, globs; /* BACKFILL, and CLEAN without an ordered write: change count of the
                             * stamp, and glob_epoch, at the start */
    uint64_t order;         /* BACKFILL: of cache_found. PUBLISH: of the fill; 0: not known */
    _Atomic uint64_t *word; /* stamp that this change raised; valid if raised != 0 */
    uint64_t raised;        /* sum to be subtracted from it */
    struct cache_ask *ask;  /* what a shared tier does instead of a put; set with CACHE_ASKED */
    cache_ordered ordered;
} cache_scope;

/* AGAIN: the disk dropped entries since the pass over memory began. PASS: not since. */
enum { CACHE_OWES_NOTHING, CACHE_OWES_PASS, CACHE_OWES_AGAIN };
enum { CACHE_THREAD_OFF, CACHE_THREAD_MOVING, CACHE_THREAD_ON };

typedef struct cache_progress { /* of the offer of a long value; zero before the first */
    uint64_t hash, changes; /* key, and changes of its stamp when the offer began */
    l2_parts parts;
} cache_progress;

struct cache_store {
    base_service kind;      /* of its namespaces; constant */
    base_account account;   /* the only budget */
    base_hash_key hash_key; /* constant */
    base_clock clock;       /* constant */
    base_log log;
    l1 *l1;                 /* constant until the root is closed */
    stats *stats;
    l1_cells *_Atomic cells; /* NULL: no namespace of objects so far; release, acquire */
    const cache_tier *tier; /* tier of new namespaces; NULL: none */
    const cache_tier *tiers[CACHE_TIERS_MAX]; /* all tiers; entries below tier_count are constant */
    _Atomic uint32_t tier_count; /* release under NAMESPACE */
    cache_shared *_Atomic shared; /* tables of cellar_tier_attach, newest first; release */
    _Atomic uint32_t shared_bell; /* futex word; + 1 with each change from outside */
    l2 *disk;               /* NULL: none, or not usable */
    cache_tier disk_tier;   /* tier over `disk`; `tier` points here then */
    cellar_err disk_err;    /* why a requested disk tier is missing; constant */
    _Atomic uint64_t disk_bytes; /* l2_bytes as requested last */
    _Atomic int64_t disk_close_ms; /* l2.close_ms as requested last; 0: default */
    int disk_errno;
    uint8_t disk_mode;      /* l2.write; constant */
    _Atomic uint32_t owes;  /* CACHE_OWES_...: entries that the disk dropped */
    _Atomic uint32_t offers; /* 1: a thread offers them; it has the two below */
    cache_progress offered; /* of the long value at which the pass stopped */
    uint64_t offer_cursor;  /* place at which the pass goes on; 0: one begins */
    char disk_text[CACHE_ERROR_TEXT];
    _Atomic uint32_t close_told; /* 1: a close of a handle by the wrong call was logged */
    sync_lock demoted_lock; /* rank LISTEN; guards the three below */
    struct cache_demoted *demoted; /* long values that left memory, oldest first; demoted.c */
    uint64_t demoted_bytes; /* of their values */
    _Atomic uint32_t demoted_count;
    _Atomic uint64_t *_Atomic stamps; /* see stamp.c; NULL without a tier; release */
    uint64_t stamp_mask;
    cache_write_order *write_order; /* with the stamps; constant */
    _Atomic uint32_t write_order_used; /* 1: each change that the tier is told of has an ordered
                                        * write; seq_cst */
    sync_lock tag_lock;     /* rank TAG; guards writes of the four below */
    _Atomic uint64_t tag_epoch, tag_floor; /* number of invalidations so far; entries older than
                                            * the floor are invalid */
    _Atomic uint32_t tag_version;  /* odd: records move */
    cache_tags *_Atomic tags;      /* NULL: no tag was invalidated; not freed before the close */
    _Atomic uint64_t glob_epoch;   /* rises before and after each delete by pattern, see
                                    * delete_pattern.c */
    struct base_hot *hot;   /* constant until the root is closed */
    cache_why *why;         /* NULL: no_explain; constant until the root is closed */
    cache_generations *_Atomic generations;
    _Atomic uint32_t windows; /* CACHE_WINDOW_...: parts that windows inform. A bit is set before
                               * its flights can be found, after its stamps; seq_cst */
    int64_t defaults[CACHE_DEFAULTS]; /* constant */

    sync_lock namespace_lock;    /* rank NAMESPACE */
    cellar *root;           /* slot 0; this down to next_generation: NAMESPACE */
    cellar *names;          /* uthash; NAMESPACE */
    /* not freed before the close */
    cache_page *_Atomic page[CACHE_NAMESPACES_MAX / CACHE_PAGE_NAMESPACES];
    uint32_t namespace_count, max_namespaces, next_id;
    uint64_t next_generation;     /* low 31 bits all 1: the half is used up */
    uint64_t quotas_used;   /* bit n: quota number n + 1 of L1 is in use; NAMESPACE */

    sync_lock listen_lock;  /* rank LISTEN; guards the table and next_listener */
    cache_listener listener[CACHE_LISTENERS_MAX];
    uint64_t next_listener;
    /* listeners + observers_base; > 0: changes are observed and have a scope */
    _Atomic uint32_t observers;
    _Atomic uint32_t observers_base; /* tiers, and objects if there are any */
    /* `observers` up to this value: only tiers observe, and a kill is enough */
    _Atomic uint32_t observers_tier_only;

    base_thread thread;     /* written by the thread that moved thread_state to MOVING */
    _Atomic uint32_t thread_state;
    base_thread_record *_Atomic thread_self; /* the thread; NULL: none runs */
    _Atomic uint32_t thread_stop; /* 1: stop */
    _Atomic uint32_t thread_bell; /* futex word; + 1 wakes the thread */
    _Atomic uint32_t quiet_level; /* least important reported level, base_log_level */
    _Atomic uint32_t ticking;     /* running pieces of maintenance */
    _Atomic uint32_t paused;      /* > 0: no piece begins, because a check runs */
    _Atomic uint32_t eviction;     /* CELLAR_EVICT_... in force */
    _Atomic uint64_t max_entries;  /* 0: no limit */
    bool ended;             /* its tiers end: a child of a fork leaves them alone. Before
                             * base_fork_settle */
    bool forked;            /* it belongs to the parent of this process */

    struct flight_table *_Atomic flights; /* seq_cst in cache_flights and cache_commit; NULL: no
                                           * load so far */
    _Atomic uint32_t flights_turn; /* role: of the thread that creates the table */
    _Atomic uint32_t loading; /* calls inside loads, with background loads; the close waits for 0 */
    _Atomic uint32_t asleep;  /* of them: waits for a load of another call or another process */
    _Atomic bool loads_end;   /* a close has found no load but waiting ones: they end */
    int64_t close_ms;             /* this down to max_waiters: constant */
    uint32_t max_flights, max_waiters;
    uint32_t jitter[2];           /* default jitter of loads: percent, mode; constant */

    base_pool jobs;               /* background loads and their threads */
    _Atomic uint32_t attaching;   /* role: of the thread that attaches a tier */
    struct cache_policies *_Atomic policies; /* NULL: never loaded; release under NAMESPACE */
    _Atomic uint32_t reloading;   /* role (sync.h) of the thread that sets rules */

    sync_lock error_lock;   /* rank ERROR; guards the error of every namespace */
    base_fork_node fork_node;
    void *raw;              /* allocation that contains this struct */
    size_t raw_bytes;
    base_alloc_hooks hooks;

    _Atomic uint32_t hides; /* 1: a hidden namespace was opened; values are overwritten */
    uint32_t log_keys;      /* CELLAR_LOG_KEYS_...; constant */

    cache_store *next;      /* registry lock: list of stores, refs */
    uint32_t refs;          /* 0 frees the shell */
    _Atomic uint64_t host_bytes; /* memory of the host in `account`; relaxed */
};

/* Return the disk of the store; NULL: none. */
BASE_INLINE l2 *cache_disk(const cache_store *s) { return CACHE_HAS_DISK ? s->disk : NULL; }

#endif
