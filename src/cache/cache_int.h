/* SPDX-License-Identifier: MIT
 *
 * cache_int: the store and its namespaces, as the files of this module see them.
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
#ifndef CACHE_CACHE_INT_H
#define CACHE_CACHE_INT_H

#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/opts.h"
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
#define CACHE_NOTES 32u /* reads inside loaders are recorded: dependencies.c */
#define CACHE_ENDING 16u /* with CLOSED: a close of the store runs and may still fail */

#define CACHE_NAMESPACES_MAX 4096u /* includes the root */
#define CACHE_PAGE_NAMESPACES 64u
#define CACHE_LISTENERS_MAX 16u
#define CACHE_LISTEN_DEPTH 4u
#define CACHE_ROUNDS 64u          /* tries of one call against other writers */
#define CACHE_SALT_NAME 0x6e616d65u /* salts of other hashes with the key of the store */
#define CACHE_SALT_TAG 0x74616773u
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
struct flight_table;
typedef struct cache_why cache_why;
typedef struct cache_tags cache_tags;
typedef struct cache_deps cache_deps;

#define CACHE_ERROR_TEXT 120

typedef struct cache_error {
    cellar_err code;
    int sys_errno;
    char text[CACHE_ERROR_TEXT];
} cache_error;

/* Every option of cellar_open, complete and checked. The caller owns what the pointers inside point
 * to. */
typedef struct cache_settings {
    cellar_config config;
    cellar_l2_opts l2;
    cellar_host_opts host;
    cellar_tuning_opts tuning;
    cellar_l2_cipher cipher; /* seal NULL: no cipher */
    uint32_t first_generation;     /* first generation, for tests; 0: 1 */
} cache_settings;

#define CACHE_CARRIES_BIRTH 1u

struct cellar {
    _Atomic uint32_t state; /* CACHE_...; written under NAMESPACE, read by every call */
    /* generation; release under NAMESPACE, acquire when a key is made */
    _Atomic uint32_t generation;
    uint32_t slot;          /* index in stats and in the generation table; constant */
    _Atomic uint32_t carries; /* CACHE_CARRIES_...: extra fields of each entry */
    _Atomic uint32_t deps;  /* 1: reads by its loaders are recorded */
    l1 *l1;                 /* this down to store: constant; invalid once state has CLOSED */
    stats *stats;
    uint64_t stats_tag;     /* stats_tag(stats, slot) */
    const base_hash_key *hash_key;
    cache_store *store;
    /* NULL: never opened; seq_cst store under NAMESPACE, see bloom_guard.c */
    bloom *_Atomic bloom;
    _Atomic int64_t def[CACHE_DEFAULTS]; /* values in force: own, else of the store; NAMESPACE */
    _Atomic int64_t load_ms[CACHE_LOAD_TIMES]; /* as set for the namespace; NAMESPACE */
    _Atomic uint32_t load_n[CACHE_LOAD_NUMBERS];
    cellar_loader_fn loader; /* this and the next two: NAMESPACE */
    cellar_loader_many_fn loader_many;
    void *loader_ctx;
    _Atomic uint32_t class_count;
    _Atomic uint32_t ttl_class_fallback; /* class number from 1 */
    _Atomic int64_t class_ttl_ms[CELLAR_TTL_CLASSES_MAX];
    /* NAMESPACE; owned; NULL: no classes so far */
    char (*class_name)[CELLAR_TTL_CLASS_NAME_MAX + 1];
    UT_hash_handle hh;      /* NAMESPACE; names of the store, without the root */
    uint32_t id;            /* unique in this store, never reused */
    uint32_t first_generation;    /* its generations are >= this one */
    uint32_t version;       /* public version; NAMESPACE */
    uint32_t handles;       /* open handles; NAMESPACE */
    _Atomic uint32_t refs;  /* 1 while named, + handles, + calls that need it */
    uint32_t name_len;
    uint32_t unreported;        /* NAMESPACE; changes that the tier is being told of now */
    bool dropped;           /* NAMESPACE */
    uint8_t quota; /* number of its quota in L1; 0: none; set before its first generation */
    bool no_disk;           /* constant; true: the tier stores and logs nothing of it */
    bool secret;            /* constant; true: no text of its keys is kept */
    uint8_t disk_mode;      /* constant: CELLAR_L2_... */
    bool disk_pack;         /* constant: l2_lz4 */
    char name[CELLAR_NAME_MAX + 1];
    cache_error error;      /* guarded by error_lock of the store, rank ERROR */
    cellar_breaker *_Atomic breaker; /* NULL: none; set once, freed with the namespace */
    _Atomic int32_t bloom_heat;     /* share of sampled reads that end with "never", of 65,536 */
    _Atomic uint32_t bloom_logged;    /* doubts that were logged */
    _Atomic uint32_t bloom_feeding; /* 1: a feed runs */
};

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

typedef struct cache_turn { /* one change of a key on its way into the tier, see turn.c */
    struct cache_turn *next; /* older turn; this and all below except `listed`: TURN */
    const void *bytes;       /* key bytes of the caller, valid while the turn is listed */
    uint64_t hash;
    uint32_t len, generation;
    bool listed;             /* caller only */
    bool busy;               /* its call of the tier runs now */
    bool passed;             /* true: a newer change of the key has reached the tier */
} cache_turn;

typedef struct cache_turns cache_turns;

typedef struct cache_frame { /* one observed change; on the stack of the caller */
    struct cache_frame *outer;
    bool stores, negative;  /* a put; of a negative entry */
    bool matched;           /* a delete by pattern */
    bool below;             /* the tier must be told in any case */
    uint64_t expect, globs; /* BACKFILL: change count of the stamp, and glob_epoch, at the start */
    _Atomic uint64_t *word; /* stamp that this change raised */
    uint64_t raised;        /* sum to be subtracted from it */
    cache_turn turn;
} cache_frame;

enum { CACHE_THREAD_OFF, CACHE_THREAD_MOVING, CACHE_THREAD_ON };

struct cache_store {
    base_account account;   /* the only budget */
    base_hash_key hash_key; /* constant */
    base_clock clock;       /* constant */
    base_log log;
    l1 *l1;                 /* constant until the root is closed */
    stats *stats;
    const cache_tier *tier; /* NULL: none; always NULL in a forked child */
    cache_tier_host tier_host;
    struct l2 *disk;        /* NULL: none, or not usable */
    cache_tier disk_tier;   /* tier over `disk`; `tier` points here then */
    cellar_err disk_err;    /* why a requested disk tier is missing; constant */
    _Atomic uint64_t disk_bytes; /* l2_bytes as requested last */
    int disk_errno;
    char disk_text[120];
    _Atomic uint64_t *stamps; /* see hook.c, INVARIANTS; NULL without a tier */
    _Atomic uint64_t *stamps_parent; /* in a forked child: stamps of the parent, freed by the
                                      * close */
    uint64_t stamp_mask;
    cache_turns *turns;     /* with the stamps; unused in a forked child; constant */
    _Atomic uint32_t turns_used; /* 1: each change that the tier is told of has a turn; seq_cst */
    sync_lock tag_lock;     /* rank TAG; guards writes of the four below */
    _Atomic uint64_t tag_epoch, tag_floor; /* number of invalidations so far; entries older than
                                            * the floor are invalid */
    uint64_t tag_life;      /* tag epoch at the open of this store; 0: no tier; constant */
    _Atomic uint32_t tag_turn;     /* odd: records move */
    cache_tags *_Atomic tags;      /* NULL: no tag was invalidated; not freed before the close */
    cache_deps *deps;       /* NULL: not requested; constant until the root is closed */
    _Atomic uint64_t glob_epoch;   /* rises before and after each delete by pattern, see
                                    * delete_pattern.c */
    cache_why *why;         /* NULL: no_explain; constant until the root is closed */
    cache_generations *_Atomic generations;
    int64_t defaults[CACHE_DEFAULTS]; /* constant */

    sync_lock namespace_lock;    /* rank NAMESPACE */
    cellar *root;           /* slot 0; this down to next_generation: NAMESPACE */
    cellar *names;          /* uthash; NAMESPACE */
    /* not freed before the close */
    cache_page *_Atomic page[CACHE_NAMESPACES_MAX / CACHE_PAGE_NAMESPACES];
    uint32_t namespace_count, max_namespaces, next_id;
    uint32_t next_generation;     /* 0: all numbers are used */
    uint64_t quotas_used;   /* bit n: quota number n + 1 of L1 is in use; NAMESPACE */
    _Atomic uint32_t renumbering; /* futex word; 1 while L1 is emptied to restart the generations */

    sync_lock listen_lock;  /* rank LISTEN; guards the table and next_listener */
    cache_listener listener[CACHE_LISTENERS_MAX];
    uint64_t next_listener;
    /* listeners + observers_base; > 0: changes are observed and have a frame */
    _Atomic uint32_t observers;
    /* 1 with a tier, + 1 with dependencies; a forked child has no tier */
    uint32_t observers_base;
    uint32_t
        observers_tier_only; /* `observers` up to this value: only the tier observes, and a kill is
                             * enough; constant */

    base_thread thread;     /* written by the thread that moved thread_state to MOVING */
    _Atomic uint32_t thread_state;
    _Atomic uint32_t thread_stop; /* 1: stop */
    _Atomic uint32_t thread_bell; /* futex word; + 1 wakes the thread */
    _Atomic uint32_t quiet_level; /* least important reported level, base_log_level */
    _Atomic uint32_t ticking;     /* running pieces of maintenance */
    _Atomic uint32_t paused;      /* > 0: no piece begins, because a check runs */
    _Atomic uint32_t eviction;     /* CELLAR_EVICT_... in force */
    _Atomic uint64_t max_entries;  /* 0: no limit */
    bool forked;            /* true: this process is a child of the process that opened the store */
    bool ended;             /* NAMESPACE; true: its parts are freed, or being freed */

    struct flight_table *_Atomic flights; /* seq_cst in cache_flights and cache_commit; NULL: no
                                           * load so far */
    _Atomic uint32_t flights_turn; /* futex word; 1 while a thread creates the table */
    _Atomic uint32_t loading; /* calls inside loads, with background loads; the close waits for 0 */
    int64_t close_ms;             /* this down to max_waiters: constant */
    uint32_t load_workers, load_queue, max_flights, max_waiters;
    uint32_t jitter[2];           /* default jitter of loads: percent, mode; constant */

    sync_lock job_lock;           /* rank QUEUE; guards this down to worker_count */
    cache_job *job_first, *job_last;
    uint32_t job_count;
    bool jobs_end;                /* true: no worker starts, all workers end */
    bool worker_starting;         /* true: a thread starts a worker */
    uint32_t worker_count;
    base_thread *worker;          /* array of load_workers, NULL until the first job; job_lock */
    _Atomic uint32_t job_bell;    /* futex word; + 1 wakes a worker */
    struct flight_table *forking; /* table locked by the prepare handler of fork */

    sync_lock error_lock;   /* rank ERROR; guards the error of every namespace */
    base_fork_node fork_node;
    void *raw;              /* allocation that contains this struct */
    size_t raw_bytes;
    base_alloc_hooks hooks;

    cache_store *next;      /* registry lock: list of stores, refs */
    uint32_t refs;          /* 0 frees the shell */
};

/* ---- get.c ---- */
/* Allocate a block for `len` bytes and a zero byte; cellar_free frees it. Return NULL if no memory
 * is left. */
CELLAR_PRIVATE unsigned char *cache_dup_new(const cache_store *s, size_t len);

/* ---- settings.c ---- */
/* Read and check the options of cellar_open. NULL: all defaults. */
CELLAR_PRIVATE cellar_err cache_settings_read(cache_settings *out, const cellar_config *cfg);
/* Keep the reason of a failed cellar_open; return `code`. */
CELLAR_PRIVATE cellar_err cache_open_refuse(cellar_err code, const char *what);

/* ---- open.c ---- */
/* Record the error of a handle, log it if the host must know, and return `code`. */
CELLAR_PRIVATE cellar_err cache_fail(cellar *c, cellar_err code, int sys_errno, const char *text);
CELLAR_PRIVATE void cache_fail_open(cellar_err code, int sys_errno, const char *text);
/* Refuse a call with E_INVAL: for a bad key with its length, else with the rule `rest`. */
BASE_COLD CELLAR_PRIVATE cellar_err cache_fail_key(cellar *c, const char *call, const void *key,
                                                   size_t key_len, const char *rest);
/* Refuse a call with E_INVAL: with the rule, and the number that breaks it. */
BASE_COLD CELLAR_PRIVATE cellar_err cache_fail_number(cellar *c, const char *rule, int64_t got);
/* Copy an options struct of the caller into `dst` of `known` bytes by the size rule of the
 * header. */
CELLAR_PRIVATE cellar_err cache_opts_in(void *dst, size_t known, const void *src);
/* Copy `known` bytes to a struct of the caller, which begins with its own size. */
CELLAR_PRIVATE cellar_err cache_opts_out(void *dst, const void *src, size_t known);
/* Check the load options of a namespace. Set *why to the broken rule. */
CELLAR_PRIVATE cellar_err cache_load_namespace_check(const cellar_namespace_opts *o,
                                                     const char **why);
CELLAR_PRIVATE void cache_load_namespace_apply(cellar *v, const cellar_namespace_opts *o)
    SYNC_HOLDS(NAMESPACE);
CELLAR_PRIVATE void cache_load_open(cache_store *s, const cache_settings *cfg);
/* End all flights, join the workers, drop the jobs. Return false if loads still run after
 * close_ms. */
CELLAR_PRIVATE bool cache_load_close(cache_store *s);
CELLAR_PRIVATE void cache_load_destroy(cache_store *s);
CELLAR_PRIVATE void cache_load_fork_prepare(cache_store *s);
CELLAR_PRIVATE void cache_load_fork_parent(cache_store *s);
CELLAR_PRIVATE void cache_load_fork_child(cache_store *s);
CELLAR_PRIVATE bool cache_load_audit(cache_store *s);
/* Run jobs until the budget is spent, and expire leases. Return true if jobs are left. */
CELLAR_PRIVATE bool cache_load_tick(cache_store *s, uint64_t budget_us);

CELLAR_PRIVATE void cache_store_hold(cache_store *s); /* adds one handle */
CELLAR_PRIVATE void cache_store_release(cache_store *s, uint32_t count);

/* ---- namespace.c ---- */
CELLAR_PRIVATE cellar_err cache_namespaces_open(cache_store *s, const cache_settings *cfg);
/* Set the quota of the root, after L1 is open. Return false if no memory is left. */
CELLAR_PRIVATE bool cache_quota_root(cache_store *s, const cache_settings *cfg);
CELLAR_PRIVATE void cache_namespaces_close(cache_store *s); /* frees all namespaces */
CELLAR_PRIVATE cellar_err cache_namespace_opts_check(const cellar_namespace_opts *o,
                                                     const char **why);
CELLAR_PRIVATE bool cache_namespace_is_named(const cellar *v); /* NAMESPACE; false while it is being
                                                           * created */
/* Add one ref. Return false if the last ref is already dropped. */
CELLAR_PRIVATE bool cache_namespace_hold(cellar *v);
/* Return the namespace of a slot. The caller holds NAMESPACE, or the store closes. */
CELLAR_PRIVATE cellar *cache_namespace_at(const cache_store *s, uint32_t slot);
CELLAR_PRIVATE void cache_namespace_release(cellar *v); /* drops one ref; may free it */
/* Give the namespace its next generation; entries of the old one end with `cause`. Return false if
 * all numbers are used: call cache_renumber first. */
CELLAR_PRIVATE bool cache_generation_next(cellar *v, cellar_cause cause) SYNC_HOLDS(NAMESPACE);
CELLAR_PRIVATE void cache_renumber(cache_store *s);
/* Return why a generation ended; CLEARED if the table has forgotten it. No lock. */
CELLAR_PRIVATE cellar_cause cache_generation_cause(const cache_store *s, uint32_t generation);
CELLAR_PRIVATE bool cache_generation_alive(const cache_store *s, uint32_t generation);
typedef struct cache_whose {
    cellar_cause dead_by; /* cause of the end, if the generation is dead */
    bool known;           /* the table still has the generation */
    bool dropped;         /* the namespace was dropped */
} cache_whose;
/* Find the namespace of a generation, with a ref. Return NULL if it is unknown or freed. */
CELLAR_PRIVATE cellar *cache_generation_namespace(cache_store *s, uint32_t generation,
                                                  cache_whose *whose);
CELLAR_PRIVATE void cache_namespaces_talk(cache_store *s, bool talk);
/* Set a default of the namespace; 0: the default of the store. */
CELLAR_PRIVATE void cache_default_set(cellar *c, unsigned which, int64_t own);
BASE_INLINE int64_t cache_default(const cellar *c, unsigned which)
{
    return base_load_rlx(&c->def[which]);
}

/* ---- hook.c ---- */
CELLAR_PRIVATE l1_policy cache_policy(uint32_t eviction); /* CELLAR_EVICT_... */
CELLAR_PRIVATE void cache_hooks(cache_store *s, l1_hooks *out);
CELLAR_PRIVATE cellar_err cache_stamps_open(cache_store *s, uint64_t memory_bytes);
CELLAR_PRIVATE void cache_stamps_close(cache_store *s);
/* Return whether changes are observed (listeners, tier, dependencies). Then cache_change_begin and
 * cache_change_end enclose each change. The frame describes the change to the hooks and sums what
 * the stamp must be lowered by. */
BASE_ALWAYS_INLINE bool cache_is_observed(const cache_store *s)
{
    return base_load_rlx(&s->observers) != 0;
}
CELLAR_PRIVATE void cache_change_begin(cache_frame *f, bool stores, bool negative);
CELLAR_PRIVATE void cache_change_end(cellar *c, cache_frame *f, const l1_key *k);
#define CACHE_STAMP_PENDING(w) ((w) & 0x7fffu) /* changes on their way to the tier, in a stamp
                                                * word */
#define CACHE_STAMP_NONE UINT64_MAX /* as a stamp: always valid; see turn.c */
/* Promise of a change that is stored in the tier before the call returns. */
typedef enum cache_urge {
    CACHE_LATER,   /* none: the entry is written when it leaves memory */
    CACHE_TRY,     /* CELLAR_L2_WRITE_ON_SET: one put, which may be dropped */
    CACHE_THROUGH, /* CELLAR_L2_WRITE_THROUGH: E_IO unless the tier has the entry or must not
                    * have it */
    CACHE_DURABLE  /* CELLAR_DURABLE: like THROUGH, but a refused entry is E_IO, too */
} cache_urge;
/* Return the promise of a change in this namespace, before the change begins. */
CELLAR_PRIVATE cache_urge cache_urge_of(const cellar *c, bool durable);
/* End a change by storing the entry in the tier: `p`, or with NULL what L1 has. A key that cannot
 * be stored is deleted there. frame->below must be set before the change. Return OK or E_IO. */
CELLAR_PRIVATE cellar_err cache_change_stored(cellar *c, cache_frame *f, const l1_key *k,
                                              const l1_put_spec *p, cache_urge urge);
/* Look for flights before the window; only for a mutant. */
CELLAR_PRIVATE void cache_flights_peek(const cache_store *s, uint64_t hash);
#define CACHE_LOOKS 4u /* looks of one read at L1 and at the tier, while its key changes */
/* Read the key from the tier after a miss, and back-fill L1. If a change of the key is on its way
 * to the tier, each look waits at most 16 yields and 0.1 ms of sleep; then the read misses. */
CELLAR_PRIVATE cellar_err cache_tier_read(cellar *c, const l1_key *k, void *buf, size_t buf_cap,
                                          size_t *value_len);
/* Look once into the tier. CONFLICT: the key may have changed; ask L1 again. After OK and ABSENT *m
 * has the fields beside the value, *kept the result of the back-fill. */
CELLAR_PRIVATE cellar_err cache_tier_fetch(cellar *c, const l1_key *k, void *buf, size_t buf_cap,
                                           size_t *value_len, cache_tier_meta *m, cellar_err *kept);
/* Look once into the tier without a back-fill; *m is set after E_BUFFER, too. CONFLICT: ask L1
 * again. */
CELLAR_PRIVATE cellar_err cache_tier_peek(cellar *c, const l1_key *k, void *buf, size_t buf_cap,
                                          size_t *value_len, cache_tier_meta *m);
/* Copy the entry from the tier into L1. Return true: ask L1 again. Return false: the tier has
 * nothing, or L1 has no room. Wait at most a few ms for a change that is on its way to the tier. */
CELLAR_PRIVATE bool cache_tier_bring(cellar *c, const l1_key *k);

/* ---- tier.c ---- */
/* Find the numbers of the namespace that the tier stored last. */
CELLAR_PRIVATE bool cache_tier_namespace_find(const cellar *v, cache_tier_namespace *out);
/* Tell the tier the present state of the namespace. The caller has raised `unreported`. No lock
 * held. */
CELLAR_PRIVATE void cache_tier_namespace_tell(cellar *v);
/* Tell the tier the end of a generation; 0: the namespace was dropped. */
CELLAR_PRIVATE void cache_tier_namespace_died(cellar *v, uint32_t generation);
#define CACHE_NOT_ON_DISK L1_ADDR_NEVER /* l2_addr of an entry that must never be written to disk */
/* Store a change in the tier under its turn, or delete the key there; see cache_change_stored. */
CELLAR_PRIVATE cellar_err cache_tier_store(cellar *c, const l1_key *k, const l1_put_spec *p,
                                           cache_urge urge, cache_turn *t);
/* Return `below`; record an error text if the tier does not have what was promised. */
CELLAR_PRIVATE cellar_err cache_through(cellar *c, cellar_err below);
/* Make the changes of this namespace safe against a power cut. Return err, or E_IO. */
CELLAR_PRIVATE cellar_err cache_tier_commit(cellar *c, cellar_err err);
/* Commit the change before it is acknowledged, if the tier commits each change. */
BASE_INLINE cellar_err cache_acked(cellar *c, cellar_err err)
{
    const cache_tier *t = c->store->tier;
    return t == NULL || !t->commit_each || c->no_disk ? err : cache_tier_commit(c, err);
}

/* ---- turn.c ---- */
CELLAR_PRIVATE bool cache_turns_open(cache_store *s); /* false: no memory */
CELLAR_PRIVATE void cache_turns_close(cache_store *s);
/* List changes in turns from now on. Call it before the first change that writes through. */
CELLAR_PRIVATE void cache_turns_use(cache_store *s);
/* List a turn inside the window of the key; bytes, len, hash and generation are set. Return true if
 * another turn of the key is listed. */
CELLAR_PRIVATE bool cache_turn_list(const cache_store *s, cache_turn *t);
/* Wait until this change may call the tier. Until done or pause no other change of the key calls
 * it. Return false if a newer change has reached the tier: nothing is left to do. */
CELLAR_PRIVATE bool cache_turn_begin(const cache_store *s, cache_turn *t);
CELLAR_PRIVATE void cache_turn_pause(const cache_store *s, cache_turn *t);
CELLAR_PRIVATE void cache_turn_done(const cache_store *s, cache_turn *t);
/* Return whether a newer change of the key is listed or has reached the tier. */
CELLAR_PRIVATE bool cache_turn_overtaken(const cache_store *s, const cache_turn *t);
/* Return whether a change of the key has a turn. key_len: at most CELLAR_KEY_MAX. */
CELLAR_PRIVATE bool cache_turn_listed(const cache_store *s, uint64_t hash, uint32_t generation,
                                      const void *key, size_t key_len);
CELLAR_PRIVATE void cache_turn_leave(const cache_store *s, cache_turn *t);
/* Pass all turns of the generation with a matching key. Wait until none of them is busy. */
CELLAR_PRIVATE void cache_turns_match(const cache_store *s, uint32_t generation,
                                      bool (*match)(void *ctx, const void *key, size_t len),
                                      void *ctx);

/* ---- l2_tier.c, l2_tier_none.c ---- */
/* Open the disk tier of the configuration, if any, before the first key is hashed. */
CELLAR_PRIVATE cellar_err cache_disk_open(cache_store *s, const cache_settings *cfg);
/* Write to `text` the memory_bytes that the disk tier needs. Return false without a disk tier. */
CELLAR_PRIVATE bool cache_disk_crowds(const cache_store *s, const cache_settings *cfg, char *text,
                                      size_t cap);
CELLAR_PRIVATE void cache_disk_abandon(cache_store *s); /* undoes the open */
/* Write the entries of L1 to the disk tier, sync all, then end the tier. */
CELLAR_PRIVATE void cache_disk_end(cache_store *s);
CELLAR_PRIVATE void cache_disk_close(cache_store *s);
CELLAR_PRIVATE void cache_disk_given(const cache_store *s, uint64_t given[STATS_GIVEN_COUNT]);

/* ---- set.c ---- */
typedef struct cache_plan { /* result of the options of a write; one for a whole batch */
    l1_put_spec spec;
    int64_t ttl_ms;   /* time to live, ms; BASE_NEVER_MS: none; <= most_ms */
    int64_t most_ms;  /* maximum age, ms; jitter stays below it; BASE_NEVER_MS: none */
    int64_t now_ms;   /* time of the call; read only if there is a time to live */
    uint32_t jitter_pct, jitter_mode;
    uint64_t *version_out;
    bool durable;      /* the entry is in the tier and committed before the call returns */
    bool commit_later; /* the caller commits the whole batch */
    uint64_t fps[CELLAR_TAGS_MAX];
} cache_plan;
BASE_INLINE uint32_t cache_carried(uint32_t carries) /* flags of l1_put_spec */
{
    return (carries & CACHE_CARRIES_BIRTH) != 0 ? L1_WANT_BORN : 0u;
}
CELLAR_PRIVATE cellar_err cache_plan_make(cellar *c, const cellar_set_opts *o, uint32_t banned,
                                          cache_plan *plan);
/* Put the value of plan->spec, with retries after a veto, tier and counters. */
CELLAR_PRIVATE cellar_err cache_put(cellar *c, l1_key *k, cache_plan *plan);
CELLAR_PRIVATE cellar_err cache_del(cellar *c, l1_key *k);
/* Delete the entry if it meets the L1_IF_ flags of `only_if`. Else change nothing and return their
 * code. */
CELLAR_PRIVATE cellar_err cache_del_if(cellar *c, l1_key *k, const l1_put_spec *only_if);
/* Delete one key of a delete by pattern. `by` is the number of cache_why_act. */
CELLAR_PRIVATE cellar_err cache_del_matched(cellar *c, l1_key *k, uint32_t by);
/* Put one value and inform the observers. cache_put_count and cache_put_failed count the result. */
CELLAR_PRIVATE cellar_err cache_put_once(cellar *c, const l1_key *k, l1_put_spec *p);
CELLAR_PRIVATE void cache_put_count(cellar *c, const l1_put_spec *p);
CELLAR_PRIVATE cellar_err cache_put_failed(cellar *c, const l1_put_spec *p, cellar_err err);
CELLAR_PRIVATE void cache_count_refused(stats_block *mine, cellar_err err);
CELLAR_PRIVATE int64_t cache_plan_deadline(const cellar *c, const cache_plan *plan, uint64_t hash);
CELLAR_PRIVATE uint8_t cache_cost_code(uint32_t us);
CELLAR_PRIVATE uint32_t cache_cost_us(uint8_t code); /* get.c */

/* ---- bloom_guard.c ---- */
typedef struct cache_filter { /* one change that makes an entry visible; on the stack of the
                               * caller */
    bloom *b;
    uint64_t hash, desc;
} cache_filter;
CELLAR_PRIVATE void cache_filter_begin_slow(cellar *c, const l1_key *k, cache_filter *f);
CELLAR_PRIVATE void cache_filter_end_slow(cellar *c, const l1_key *k, cache_filter *f);
BASE_ALWAYS_INLINE void cache_filter_begin(cellar *c, const l1_key *k, cache_filter *f)
{
    f->b = base_load_acq(&c->bloom);
    if (BASE_UNLIKELY(f->b != NULL)) { cache_filter_begin_slow(c, k, f); }
}
BASE_ALWAYS_INLINE void cache_filter_end(cellar *c, const l1_key *k, cache_filter *f)
{
    /* seq_cst: after the CAS of the window; pairs with the store in cache_filter_made */
    if (BASE_UNLIKELY(base_load_sc(&c->bloom) != NULL)) { cache_filter_end_slow(c, k, f); }
}
/* Return whether an authoritative filter says that the source never had the key; count it. */
CELLAR_PRIVATE bool cache_filter_never(cellar *c, const void *key, size_t key_len);
CELLAR_PRIVATE bool cache_filter_is_never(const cellar *c, const void *key, size_t key_len);
/* Return whether the tier may have the key, after a miss of L1. */
BASE_INLINE bool cache_may_lie_below(const cellar *c, const l1_key *k)
{
    return BASE_UNLIKELY(c->store->tier != NULL) &&
           (BASE_LIKELY(base_load_acq(&c->bloom) == NULL) ||
            !cache_filter_is_never(c, k->bytes, k->len));
}
/* Bring the key from the tier after a miss of L1. Return whether to ask L1 once more. */
BASE_INLINE bool cache_brought(cellar *c, const l1_key *k)
{
    return cache_may_lie_below(c, k) && cache_tier_bring(c, k);
}
/* Answer of the filter before a load. 1 in 1,024 of the loads it would stop is let through as an
 * audit. */
typedef enum cache_word { CACHE_WORD_MAYBE, CACHE_WORD_NEVER, CACHE_WORD_AUDIT } cache_word;
CELLAR_PRIVATE cache_word cache_filter_stops(cellar *c, const void *key, size_t key_len);
/* Report that the source or the tier had a value, before the key is added: check the filter. */
CELLAR_PRIVATE void cache_filter_found(cellar *c, const void *key, size_t key_len);
/* Record how a sampled read ended. */
CELLAR_PRIVATE void cache_filter_note(cellar *c, const void *key, size_t key_len, cellar_err got);
CELLAR_PRIVATE cellar_err cache_filter_start(cellar *c); /* option `bloom` */
CELLAR_PRIVATE void cache_filter_tell(cellar *c, const bloom *b); /* logs each doubt once */
CELLAR_PRIVATE void cache_filter_free(cellar *c);
CELLAR_PRIVATE void cache_filters_close(cache_store *s);
CELLAR_PRIVATE void cache_filters_forked(cache_store *s);

/* bloom_persist.c: filters that outlive the process */
struct l2_image;
struct l2_images;
CELLAR_PRIVATE void cache_keep_all(void *s, struct l2_images *to);
/* Load the stored filter of a namespace that is being opened. Pass the result to cache_keep_end
 * when the namespace can be found by name, or its open failed. No ranked lock is held at either
 * call. */
CELLAR_PRIVATE struct l2_image *cache_keep_begin(cellar *v, bool no_disk);
CELLAR_PRIVATE void cache_keep_end(struct l2_image *im, bool opened);

/* ---- tags.c ---- */
CELLAR_PRIVATE int cache_tags_valid(void *ctx, uint64_t born, const void *fps, uint32_t count);
CELLAR_PRIVATE int64_t cache_tags_ended(void *ctx, uint64_t born, const void *fps, uint32_t count);
CELLAR_PRIVATE void cache_tags_open(cache_store *s); /* loads the invalidations that the tier has
                                                      * stored */
CELLAR_PRIVATE void cache_tags_close(cache_store *s);

/* ---- dependencies.c ---- */
CELLAR_PRIVATE cellar_err cache_deps_open(cache_store *s, const cache_settings *cfg);
CELLAR_PRIVATE void cache_deps_close(cache_store *s);
/* Check whether a namespace with these options fits a store with or without dependencies. */
CELLAR_PRIVATE cellar_err cache_deps_check(const cellar_namespace_opts *o, bool deps,
                                           const char **why);
/* Record a read, before and after it. No effect outside loaders of a namespace that tracks them. */
CELLAR_PRIVATE void cache_deps_note(cellar *c, const l1_key *k);
CELLAR_PRIVATE void cache_deps_seen(cellar *c, const l1_key *k, cellar_err code);
BASE_ALWAYS_INLINE void cache_pin_out(const cellar *c, const l1_pin_ref *ref, cellar_pinned *out)
{
    out->value = ref->value;
    out->value_len = ref->value_len;
    out->opaque[0] = (uint64_t)(uintptr_t)c->l1;
    out->opaque[1] = ref->slot;
    out->opaque[2] = (uint64_t)ref->deadline_ms;
    out->opaque[3] = ref->user_flags;
}

BASE_INLINE bool cache_notes(const cellar *c)
{
    return BASE_UNLIKELY((base_load_rlx(&c->state) & CACHE_NOTES) != 0);
}
/* Invalidate what depends on a key, in its window or after it; or on any key of a generation. */
CELLAR_PRIVATE void cache_deps_changed(cache_store *s, uint64_t hash, uint32_t generation);
CELLAR_PRIVATE void cache_deps_generation(cache_store *s, uint32_t generation);
/* Return the earliest deadline of the dependencies of the key: its own upper bound. */
CELLAR_PRIVATE int64_t cache_deps_until(cache_store *s, const l1_key *k);
/* Return the index of the dependencies in the tags of an entry; count: it has none. */
CELLAR_PRIVATE uint32_t cache_deps_from(const uint64_t *tags, uint32_t count);
/* Return whether no dependency of this list has changed since `born`. */
CELLAR_PRIVATE bool cache_deps_valid(const cache_store *s, uint64_t born, const uint64_t *tags,
                                     uint32_t count);
CELLAR_PRIVATE uint64_t cache_deps_watched(const cache_store *s);
CELLAR_PRIVATE const char *cache_deps_audit(cache_store *s); /* NULL: no fault */
CELLAR_PRIVATE void cache_deps_fork_prepare(cache_store *s);
CELLAR_PRIVATE void cache_deps_fork_parent(cache_store *s);
CELLAR_PRIVATE void cache_deps_fork_child(cache_store *s);

/* ---- explain.c ---- */
CELLAR_PRIVATE cellar_err cache_why_open(cache_store *s, const cache_settings *cfg);
CELLAR_PRIVATE void cache_why_close(cache_store *s);
/* Record that a call removed an entry or refused a value. Any lock may be held. */
CELLAR_PRIVATE void cache_why_note(cache_store *s, uint64_t hash, cellar_cause cause);
CELLAR_PRIVATE void cache_why_note_by(cache_store *s, uint64_t hash, cellar_cause cause,
                                      uint32_t by);
/* Record a deleted tag or pattern. Return its number, which `by` of its victims names. No lock
 * held. */
CELLAR_PRIVATE uint32_t cache_why_act(cellar *c, cellar_cause cause, uint64_t fp, uint64_t epoch,
                                      const void *text, size_t len);
/* Prefetch the record of an entry that leaves: a hook of L1, in its window. */
CELLAR_PRIVATE void cache_why_soon(void *ctx, uint64_t hash);
CELLAR_PRIVATE void cache_why_ended(cache_store *s, uint64_t hash, uint32_t generation,
                                    l1_cause cause, int64_t born_ms, unsigned uses);
CELLAR_PRIVATE void cache_why_generation(cache_store *s, const cellar *v, uint32_t generation,
                                         cellar_cause cause) SYNC_HOLDS(NAMESPACE);

/* ---- breaker_calls.c ---- */
CELLAR_PRIVATE cellar_err cache_breaker_check(const cellar_breaker_opts *o, const char **why);
CELLAR_PRIVATE cellar_err cache_breaker_start(cellar *c, const cellar_breaker_opts *o);
CELLAR_PRIVATE void cache_breaker_free(cellar *c);
CELLAR_PRIVATE int cache_breaker_state(const cellar *c); /* CELLAR_BREAKER_...; -1: no breaker */
/* Ask whether the source may be called. Report every pass once. */
CELLAR_PRIVATE bool cache_breaker_admit(cellar_breaker *b, uint32_t *pass);
CELLAR_PRIVATE int64_t cache_breaker_wait(cellar_breaker *b); /* ms until a call may pass */
CELLAR_PRIVATE void cache_breaker_report(cellar_breaker *b, uint32_t pass, breaker_outcome how);

/* ---- events.c ---- */
CELLAR_PRIVATE void cache_left(void *ctx, const l1_left *what);


/* ---- maintenance.c ---- */
CELLAR_PRIVATE cellar_err cache_thread_start(cache_store *s);
CELLAR_PRIVATE void cache_thread_stop(cache_store *s);
/* Stop background work between the two calls, except work of this thread itself. */
CELLAR_PRIVATE void cache_tick_pause(cache_store *s);
CELLAR_PRIVATE void cache_tick_resume(cache_store *s);
CELLAR_PRIVATE void cache_thread_ring(cache_store *s); /* wakes the thread: there is work */

/* ---- shared by the call families ---- */
/* Return whether the key has a forbidden length or is NULL. */
BASE_ALWAYS_INLINE bool cache_key_bad(const void *key, size_t key_len)
{
    return key == NULL || key_len - 1 >= CELLAR_KEY_MAX; /* 0 wraps to SIZE_MAX */
}
/* Return whether the array is NULL or longer than half an address space. */
BASE_INLINE bool cache_items_bad(const void *items, size_t count, size_t item_bytes)
{
    return (items == NULL && count != 0) || count > SIZE_MAX / 2 / item_bytes;
}
BASE_ALWAYS_INLINE void cache_key(cellar *c, l1_key *k, const void *key, size_t key_len)
{
    k->bytes = key;
    k->len = (uint32_t)key_len; /* <= CELLAR_KEY_MAX: cache_key_bad */
    k->generation = base_load_acq(&c->generation); /* release in cache_generation_next */
    k->hash = base_hash(c->hash_key, k->generation, key, key_len);
}
/* Make the key again with the new generation, after a veto because the namespace was cleared. */
CELLAR_PRIVATE void cache_rekey(cellar *c, l1_key *k);
BASE_ALWAYS_INLINE stats_block *cache_mine(cellar *c) { return stats_mine(c->stats, c->slot); }

/* Return whether the handle is closed, which is an error. The caller handles other states. */
BASE_INLINE bool cache_is_closed(const cellar *c)
{
    return (base_load_acq(&c->state) & CACHE_CLOSED) != 0;
}
/* Return whether the log wants hits and misses: level INFO or DEBUG. */
BASE_INLINE bool cache_talks(const cellar *c)
{
    return BASE_UNLIKELY((base_load_rlx(&c->state) & CACHE_TALK) != 0);
}
/* Log a read of one key: a hit at DEBUG, a miss at INFO. `module` names the call. */
CELLAR_PRIVATE void cache_read_tell(const cellar *c, const char *module, cellar_err err);
BASE_INLINE bool cache_is_off(const cellar *c)
{
    return (base_load_rlx(&c->state) & CACHE_OFF) != 0;
}
CELLAR_PRIVATE cellar_err cache_closed(cellar *c);

#endif
