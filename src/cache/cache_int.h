/* SPDX-License-Identifier: MIT
 *
 * cache_int: the store and the view as the files of cache see them.
 *
 * PICTURE    cellar (a view) -> cache_store -> l1, stats, account, clock, log, tier, stamps
 *            vgen table: [vgen mod size] -> vgen, slot, alive;  pages: [slot] -> view
 * INVARIANTS a vgen is alive exactly when it is the current one of one view in the table; no two
 *            living vgens share a cell (the counter skips numbers that would); a view's slot is its
 *            own until the view is freed. refs of a store = open handles + calls that look for one.
 * LOCKING    VIEW: names, slots, options, counts of handles, the vgen counter. LISTEN: listeners.
 *            The registry of stores has a lock of its own, held alone. L1's hooks take none: they
 *            read the vgen table and the stamps, which are atomic words.
 * LIFETIME   the root's close ends L1, statistics, thread and tier and marks every view closed; the
 *            store's shell and its views stay until the last handle is closed. */
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

#define CACHE_CLOSED 1u /* bits of cellar.state; 0 = open, enabled, quiet */
#define CACHE_OFF 2u
#define CACHE_TALK 4u /* gets are reported to the log */
#define CACHE_FILTER 8u /* gets ask the Bloom filter before L1 */
#define CACHE_NOTES 32u /* reads inside loaders are noted: dependencies.c */
#define CACHE_ENDING 16u /* beside CLOSED: by a close of the store that may still give up */

#define CACHE_VIEWS_MAX 4096u /* the root counts */
#define CACHE_PAGE_VIEWS 64u
#define CACHE_LISTENERS_MAX 16u
#define CACHE_LISTEN_DEPTH 4u
#define CACHE_ROUNDS 64u          /* of one call against other writers */
#define CACHE_SALT_NAME 0x6e616d65u /* what else is hashed with the store's key */
#define CACHE_SALT_TAG 0x74616773u
#define CACHE_WINDOW_MAX ((int64_t)UINT32_MAX)

/* Defaults of views and of the store; the order of the VIEW options. */
enum { CACHE_TTL, CACHE_NEGATIVE_TTL, CACHE_IDLE, CACHE_MAX_AGE, CACHE_STALE, CACHE_DEFAULTS };

/* Defaults of loads, each with what holds when neither call nor view says anything: times in ms,
 * then numbers. 0 in a view: not said. */
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

/* Every option of cellar_open, complete and checked. Pointers inside are the caller's. */
typedef struct cache_settings {
    cellar_config config;
    cellar_l2_opts l2;
    cellar_host_opts host;
    cellar_tuning_opts tuning;
    cellar_l2_cipher cipher; /* seal NULL: none */
    uint32_t first_vgen;     /* first generation, 0 = 1; tests */
} cache_settings;

#define CACHE_CARRIES_BIRTH 1u

struct cellar {
    _Atomic uint32_t state; /* CACHE_...; written under VIEW, read by every call */
    _Atomic uint32_t vgen;  /* release under VIEW; acquire when a key is made */
    uint32_t slot;          /* of stats and of the vgen table; constant */
    _Atomic uint32_t carries; /* CACHE_CARRIES_..: what each of its entries bears besides */
    _Atomic uint32_t deps;  /* 1: what its loaders read is noted */
    l1 *l1;                 /* down to store: constant; void once state says CLOSED */
    stats *stats;
    uint64_t stats_tag;     /* stats_tag(stats, slot) */
    const base_hash_key *hash_key;
    cache_store *store;
    bloom *_Atomic bloom;   /* NULL: never had one; seq_cst store under VIEW, see bloom_guard.c */
    _Atomic int64_t def[CACHE_DEFAULTS]; /* in force: the store's where the view has none; VIEW */
    _Atomic int64_t load_ms[CACHE_LOAD_TIMES]; /* as given for the view; VIEW */
    _Atomic uint32_t load_n[CACHE_LOAD_NUMBERS];
    cellar_loader_fn loader; /* VIEW, as the next two */
    cellar_loader_many_fn loader_many;
    void *loader_ctx;
    _Atomic uint32_t class_count;
    _Atomic uint32_t ttl_class_fallback; /* number from 1 */
    _Atomic int64_t class_ttl_ms[CELLAR_TTL_CLASSES_MAX];
    char (*class_name)[CELLAR_TTL_CLASS_NAME_MAX + 1]; /* VIEW; owned; NULL: never had any */
    UT_hash_handle hh;      /* VIEW; names of the store, the root is not in */
    uint32_t id;            /* never reused in this store */
    uint32_t first_vgen;    /* its vgens are >= this one */
    uint32_t version;       /* public; VIEW */
    uint32_t handles;       /* successful opens not yet closed; VIEW */
    _Atomic uint32_t refs;  /* 1 while named, + handles, + calls that must keep it */
    uint32_t name_len;
    uint32_t untold;        /* VIEW; begins, generations, ends the tier is just being told of */
    bool dropped;           /* VIEW */
    uint8_t quota;          /* number of its share in L1; 0: none; set before its first vgen */
    bool no_disk;           /* constant: no tier below hears of it, changes included */
    bool secret;            /* constant: no text of its keys is kept anywhere */
    uint8_t disk_mode;      /* constant: CELLAR_L2_... */
    bool disk_pack;         /* constant: l2_lz4 */
    char name[CELLAR_NAME_MAX + 1];
    cache_error error;      /* rank ERROR: the store's error lock */
    cellar_breaker *_Atomic breaker; /* NULL: none; set once, freed with the view */
    _Atomic int32_t bloom_heat;     /* share of sampled gets that end "never", of 65,536 */
    _Atomic uint32_t bloom_told;    /* doubts that were logged */
    _Atomic uint32_t bloom_feeding; /* 1: a feed runs */
};

typedef struct cache_vgens {
    struct cache_vgens *older; /* tables it took the place of; freed with the store */
    uint32_t mask;
    uint32_t bytes;
    _Atomic uint64_t cell[]; /* CACHE_CELL; 0 = never used */
} cache_vgens;
#define CACHE_CELL_ALIVE 1u
#define CACHE_CELL_LIVES(quota) (CACHE_CELL_ALIVE | (uint32_t)(quota) << 1)
#define CACHE_CELL_QUOTA(w) ((uint32_t)((w) >> 1) & 0x7fu)
#define CACHE_CELL(vgen, slot, cause, alive) \
    ((uint64_t)(vgen) << 32 | (uint64_t)(slot) << 16 | (uint64_t)(cause) << 8 | (uint64_t)(alive))
#define CACHE_CELL_VGEN(w) ((uint32_t)((w) >> 32))
#define CACHE_CELL_SLOT(w) ((uint32_t)((w) >> 16) & 0xffffu)
#define CACHE_CELL_CAUSE(w) ((uint32_t)((w) >> 8) & 0xffu)

typedef struct cache_page {
    cellar *_Atomic view[CACHE_PAGE_VIEWS]; /* VIEW for writing */
} cache_page;

typedef struct cache_listener { /* all fields: LISTEN, but running */
    cellar_listener_fn fn; /* NULL: free */
    void *ctx;
    uint32_t causes;
    uint32_t view_id;    /* UINT32_MAX: all views */
    cellar *view;        /* a ref: a dropped view is known as long as it is listened to */
    uint64_t id;
    bool dead;           /* no new call begins */
    _Atomic uint32_t running; /* calls of fn now, + snapshots that name it; the futex of unlisten */
} cache_listener;

typedef struct cache_turn { /* of one change of a key on its way into the tier, see turn.c */
    struct cache_turn *next; /* older; this and all below but `listed`: TURN */
    const void *bytes;       /* the caller's, as long as the turn is listed */
    uint64_t hash;
    uint32_t len, owner;
    bool listed;             /* the caller's own */
    bool busy;               /* its call of the tier is under way */
    bool passed;             /* a newer change of the key has been in the tier */
} cache_turn;

typedef struct cache_turns cache_turns;

typedef struct cache_frame { /* of one change while somebody is told of it; on the caller's stack */
    struct cache_frame *outer;
    bool stores, negative;  /* it is a put; of a negative entry */
    bool matched;           /* a delete by pattern */
    bool depends;           /* what it was made of has changed */
    bool below;             /* the tier is told of it in any case */
    uint64_t expect, globs; /* BACKFILL: changes of the stamp, and glob_epoch, at the start */
    _Atomic uint64_t *word; /* the stamp that this change has raised */
    uint64_t raised;        /* sum of what is to be taken back from it */
    cache_turn turn;
} cache_frame;

enum { CACHE_THREAD_OFF, CACHE_THREAD_MOVING, CACHE_THREAD_ON };

struct cache_store {
    base_account account;   /* the one budget */
    base_hash_key hash_key; /* constant */
    base_clock clock;       /* constant */
    base_log log;
    l1 *l1;                 /* constant until the root's close */
    stats *stats;
    const cache_tier *tier; /* NULL: none; a forked child has none */
    cache_tier_host tier_host;
    struct l2 *disk;        /* NULL: none, or not usable */
    cache_tier disk_tier;   /* over `disk`; what tier points to then */
    cellar_err disk_err;    /* why there is none although it was asked for; constant */
    _Atomic uint64_t disk_bytes; /* l2_bytes as asked for last */
    int disk_errno;
    char disk_text[120];
    _Atomic uint64_t *stamps; /* hook.c, INVARIANTS; NULL without tier */
    _Atomic uint64_t *stamps_parent; /* in a forked child: what the parent's were; for close */
    uint64_t stamp_mask;
    cache_turns *turns;     /* as the stamps; unused in a forked child; constant */
    _Atomic uint32_t turns_used; /* 1: each change that the tier is told of has a turn; sc */
    sync_lock tag_lock;     /* rank TAG; guards the writing of the four below */
    _Atomic uint64_t tag_epoch, tag_floor; /* invalidations so far; what is older is dead */
    uint64_t tag_life;      /* the epoch this life of the store began with; 0: no tier; constant */
    _Atomic uint32_t tag_turn;     /* odd: records move */
    cache_tags *_Atomic tags;      /* NULL: none invalidated yet; never freed before the close */
    cache_deps *deps;       /* NULL: not asked for; constant until the root's close */
    _Atomic uint64_t glob_epoch;   /* moves around each walk by pattern, see delete_pattern.c */
    cache_why *why;         /* NULL: no_explain; constant until the root's close */
    cache_vgens *_Atomic vgens;
    int64_t defaults[CACHE_DEFAULTS]; /* constant */

    sync_lock view_lock;    /* rank VIEW */
    cellar *root;           /* slot 0; the three down to next_vgen: VIEW */
    cellar *names;          /* uthash; VIEW */
    cache_page *_Atomic page[CACHE_VIEWS_MAX / CACHE_PAGE_VIEWS]; /* never freed before the end */
    uint32_t view_count, max_views, next_id;
    uint32_t next_vgen;     /* 0: the numbers are used up */
    uint64_t quotas_used;   /* bit n: number n + 1 of L1's shares is some view's; VIEW */
    _Atomic uint32_t renumbering; /* futex word: 1 while L1 is emptied to begin anew */

    sync_lock listen_lock;  /* rank LISTEN; guards the table and next_listener */
    cache_listener listener[CACHE_LISTENERS_MAX];
    uint64_t next_listener;
    _Atomic uint32_t told;  /* listeners alive + told_base: > 0 = changes carry a frame */
    uint32_t told_base;     /* 1 with a tier, 1 more with deps; the child of a fork has no tier */
    uint32_t told_kills;    /* `told` up to here: a kill of the tier says it all; constant */

    base_thread thread;     /* by who moved thread_state from OFF or ON to MOVING */
    _Atomic uint32_t thread_state;
    _Atomic uint32_t thread_stop; /* 1: end */
    _Atomic uint32_t thread_bell; /* futex word: +1 to wake */
    _Atomic uint32_t quiet_level; /* least important level that is reported, base_log_level */
    _Atomic uint32_t ticking;     /* pieces of work under way */
    _Atomic uint32_t paused;      /* > 0: no piece begins (audit) */
    _Atomic uint32_t eviction;     /* CELLAR_EVICT_... in force */
    _Atomic uint64_t max_entries;  /* 0: none */
    bool forked;            /* this process is a child of the one that opened it */
    bool ended;             /* guarded by VIEW: its parts are being given back, or have been */

    struct flight_table *_Atomic flights; /* seq_cst: cache_flights and cache_commit; NULL: no load
                                           * yet */
    _Atomic uint32_t flights_turn; /* futex word: 1 while somebody makes them */
    _Atomic uint32_t loading;     /* calls inside a load, background ones too; the close waits */
    int64_t close_ms;             /* the five down to max_waiters: constant */
    uint32_t load_workers, load_queue, max_flights, max_waiters;
    uint32_t jitter[2];           /* of loads: percent, mode; constant */

    sync_lock job_lock;           /* rank QUEUE; guards the five down to worker_count */
    cache_job *job_first, *job_last;
    uint32_t job_count;
    bool jobs_end;                /* no worker starts, none goes on */
    bool worker_starting;         /* somebody makes one */
    uint32_t worker_count;
    base_thread *worker;          /* load_workers of them, NULL until the first job; job_lock */
    _Atomic uint32_t job_bell;    /* futex word: +1 to wake */
    struct flight_table *forking; /* whose locks a fork's prepare took */

    sync_lock error_lock;   /* rank ERROR; guards the error of every view */
    base_fork_node fork_node;
    void *raw;              /* the allocation this struct lies in */
    size_t raw_bytes;
    base_alloc_hooks hooks;

    cache_store *next;      /* registry lock: list of stores, refs */
    uint32_t refs;          /* shell goes when it reaches 0 */
};

/* ---- get.c ---- */
/* Return a block for `len` bytes and a zero byte, which cellar_free frees; NULL: no memory. */
CELLAR_PRIVATE unsigned char *cache_dup_new(const cache_store *s, size_t len);

/* ---- settings.c ---- */
/* Read and check what cellar_open was given; NULL: all defaults. */
CELLAR_PRIVATE cellar_err cache_settings_read(cache_settings *out, const cellar_config *cfg);
/* Keep the reason of a failed cellar_open; return `code`. */
CELLAR_PRIVATE cellar_err cache_open_refuse(cellar_err code, const char *what);

/* ---- open.c ---- */
/* Free functions of the pieces that open.c puts together live with their files below. */
CELLAR_PRIVATE cellar_err cache_fail(cellar *c, cellar_err code, int sys_errno, const char *text);
CELLAR_PRIVATE void cache_fail_open(cellar_err code, int sys_errno, const char *text);
/* Copy an options struct by the size rule of the header into `dst`, whose size is `known`. */
CELLAR_PRIVATE cellar_err cache_opts_in(void *dst, size_t known, const void *src);
/* Hand `known` bytes out to a caller whose struct says its own size first. */
CELLAR_PRIVATE cellar_err cache_opts_out(void *dst, const void *src, size_t known);
/* Check the load options of a namespace; name the rule that is broken. */
CELLAR_PRIVATE cellar_err cache_load_view_check(const cellar_namespace_opts *o, const char **why);
CELLAR_PRIVATE void cache_load_view_apply(cellar *v,
                                          const cellar_namespace_opts *o) SYNC_HOLDS(VIEW);
CELLAR_PRIVATE void cache_load_open(cache_store *s, const cache_settings *cfg);
/* All flights end, workers are joined, jobs dropped. False: loads still run after close_ms. */
CELLAR_PRIVATE bool cache_load_close(cache_store *s);
CELLAR_PRIVATE void cache_load_destroy(cache_store *s);
CELLAR_PRIVATE void cache_load_fork_prepare(cache_store *s);
CELLAR_PRIVATE void cache_load_fork_parent(cache_store *s);
CELLAR_PRIVATE void cache_load_fork_child(cache_store *s);
CELLAR_PRIVATE bool cache_load_audit(cache_store *s);
/* Jobs until the budget is spent, leases past their time. True: jobs are left. */
CELLAR_PRIVATE bool cache_load_tick(cache_store *s, uint64_t budget_us);

CELLAR_PRIVATE void cache_store_hold(cache_store *s); /* one more handle */
CELLAR_PRIVATE void cache_store_release(cache_store *s, uint32_t count);

/* ---- namespace.c ---- */
CELLAR_PRIVATE cellar_err cache_views_open(cache_store *s, const cache_settings *cfg);
/* The root's share of the memory, once L1 is there. False: no memory. */
CELLAR_PRIVATE bool cache_quota_root(cache_store *s, const cache_settings *cfg);
CELLAR_PRIVATE void cache_views_close(cache_store *s); /* frees all but the root's handle */
CELLAR_PRIVATE cellar_err cache_view_opts_check(const cellar_namespace_opts *o, const char **why);
CELLAR_PRIVATE bool cache_view_is_named(const cellar *v); /* VIEW: not just being made */
/* One ref more, unless it is already on its way out. */
CELLAR_PRIVATE bool cache_view_hold(cellar *v);
CELLAR_PRIVATE cellar *cache_view_at(const cache_store *s, uint32_t slot); /* VIEW, or closing */
CELLAR_PRIVATE void cache_view_release(cellar *v); /* one ref less; may free it */
/* A vgen for the view, drawn from the store's counter; what it had dies of `cause`. False: the
 * numbers are used up, cache_renumber first. */
CELLAR_PRIVATE bool cache_vgen_next(cellar *v, cellar_cause cause) SYNC_HOLDS(VIEW);
CELLAR_PRIVATE void cache_renumber(cache_store *s);
/* Why that generation ended; CLEARED when it is not known any more. No lock. */
CELLAR_PRIVATE cellar_cause cache_vgen_cause(const cache_store *s, uint32_t vgen);
CELLAR_PRIVATE bool cache_vgen_alive(const cache_store *s, uint32_t vgen);
typedef struct cache_whose {
    cellar_cause dead_by; /* if its owner is dead */
    bool known;           /* the table remembers the generation */
    bool dropped;         /* its view has no name any more */
} cache_whose;
/* Whose entry was it: with a ref, NULL when it cannot be told. */
CELLAR_PRIVATE cellar *cache_vgen_view(cache_store *s, uint32_t vgen, cache_whose *whose);
CELLAR_PRIVATE void cache_views_talk(cache_store *s, bool talk);
CELLAR_PRIVATE void cache_default_set(cellar *c, unsigned which, int64_t own); /* 0: the store's */
BASE_INLINE int64_t cache_default(const cellar *c, unsigned which)
{
    return base_load_rlx(&c->def[which]);
}

/* ---- hook.c ---- */
CELLAR_PRIVATE l1_policy cache_policy(uint32_t eviction); /* CELLAR_EVICT_... */
CELLAR_PRIVATE void cache_hooks(cache_store *s, l1_hooks *out);
CELLAR_PRIVATE cellar_err cache_stamps_open(cache_store *s, uint64_t memory_bytes);
CELLAR_PRIVATE void cache_stamps_close(cache_store *s);
/* Is there anybody who must hear of changes? Then they go between begin and end: the frame says to
 * the hooks what the change is, and collects what of the stamp must be lowered. */
BASE_ALWAYS_INLINE bool cache_told(const cache_store *s) { return base_load_rlx(&s->told) != 0; }
CELLAR_PRIVATE void cache_change_begin(cache_frame *f, bool stores, bool negative);
CELLAR_PRIVATE void cache_change_end(cellar *c, cache_frame *f, const l1_key *k);
#define CACHE_STAMP_PENDING(w) ((w) & 0x7fffu) /* of a stamp word: changes on their way down */
#define CACHE_STAMP_NONE UINT64_MAX /* as a stamp: holds whatever changes; see turn.c */
/* What a change that is stored below at once promises of that. */
typedef enum cache_urge {
    CACHE_LATER,   /* nothing: the entry goes below when it leaves memory */
    CACHE_TRY,     /* CELLAR_L2_WRITE_ON_SET: one put, which may be dropped */
    CACHE_THROUGH, /* CELLAR_L2_WRITE_THROUGH: E_IO unless it is in the tier, or is not meant to */
    CACHE_DURABLE  /* CELLAR_DURABLE: the same, but an entry that is refused is E_IO, too */
} cache_urge;
/* What changes of this view promise, before the change begins. */
CELLAR_PRIVATE cache_urge cache_urge_of(const cellar *c, bool durable);
/* End a change by storing the entry below: p, or what L1 has of the key (NULL). What cannot be
 * stored is killed there. Between begin and the change frame->below was set. OK, E_IO. */
CELLAR_PRIVATE cellar_err cache_change_stored(cellar *c, cache_frame *f, const l1_key *k,
                                              const l1_put_spec *p, cache_urge urge);
/* For a mutant: look for flights before the window. */
CELLAR_PRIVATE void cache_flights_peek(const cache_store *s, uint64_t hash);
#define CACHE_LOOKS 4u /* of a read, at L1 and at the tier, while its key changes */
/* Look into the tier after a miss; back-fills L1. Wait while a change of the key is on its way into
 * the tier: 16 yields and 0.1 ms of sleep at most in each look, then miss. */
CELLAR_PRIVATE cellar_err cache_tier_read(cellar *c, const l1_key *k, void *buf, size_t buf_cap,
                                          size_t *value_len);
/* Look once. CONFLICT: the key may have changed; ask L1 again. After OK and ABSENT, *m holds what
 * came beside the value, *kept the answer of L1 to the back-fill. */
CELLAR_PRIVATE cellar_err cache_tier_fetch(cellar *c, const l1_key *k, void *buf, size_t buf_cap,
                                           size_t *value_len, cache_tier_meta *m, cellar_err *kept);
/* Look once, and leave it where it is; *m also after E_BUFFER. CONFLICT: ask L1 again. */
CELLAR_PRIVATE cellar_err cache_tier_peek(cellar *c, const l1_key *k, void *buf, size_t buf_cap,
                                          size_t *value_len, cache_tier_meta *m);
/* Bring the key up into L1. True: ask L1 again. False: nothing below, or no room. Wait a few ms at
 * most for a change of the key that is on its way down. */
CELLAR_PRIVATE bool cache_tier_bring(cellar *c, const l1_key *k);

/* ---- tier.c ---- */
/* The numbers a view was told of with when it was there last. */
CELLAR_PRIVATE bool cache_tier_view_find(const cellar *v, cache_tier_view *out);
/* The tier learns what the view is now; who changed that has raised `untold`. No lock held. */
CELLAR_PRIVATE void cache_tier_view_tell(cellar *v);
CELLAR_PRIVATE void cache_tier_view_died(cellar *v, uint32_t vgen); /* 0: dropped */
#define CACHE_NOT_ON_DISK L1_ADDR_NEVER /* l2_addr of an entry that is never to lie there */
/* Store a change below under its turn, or kill the key there; see cache_change_stored. */
CELLAR_PRIVATE cellar_err cache_tier_store(cellar *c, const l1_key *k, const l1_put_spec *p,
                                           cache_urge urge, cache_turn *t);
/* The call's answer: `below`, with a text if the tier has not what was promised. */
CELLAR_PRIVATE cellar_err cache_through(cellar *c, cellar_err below);
/* What was changed in this view outlives a power cut: err, or E_IO. */
CELLAR_PRIVATE cellar_err cache_tier_commit(cellar *c, cellar_err err);
/* The change is about to be acknowledged: where the tier commits each, it does so first. */
BASE_INLINE cellar_err cache_acked(cellar *c, cellar_err err)
{
    const cache_tier *t = c->store->tier;
    return t == NULL || !t->commit_each || c->no_disk ? err : cache_tier_commit(c, err);
}

/* ---- turn.c ---- */
CELLAR_PRIVATE bool cache_turns_open(cache_store *s); /* false: no memory */
CELLAR_PRIVATE void cache_turns_close(cache_store *s);
/* From now on changes have turns; called before the first change that writes through begins. */
CELLAR_PRIVATE void cache_turns_use(cache_store *s);
/* In the window of the key, t->bytes, len, hash, owner set. True: another turn of it is listed. */
CELLAR_PRIVATE bool cache_turn_list(const cache_store *s, cache_turn *t);
/* The tier may be called for this change: until done, or pause, no other change of the key calls
 * it. False: a newer change has been there, this one has nothing left to do. */
CELLAR_PRIVATE bool cache_turn_begin(const cache_store *s, cache_turn *t);
CELLAR_PRIVATE void cache_turn_pause(const cache_store *s, cache_turn *t);
CELLAR_PRIVATE void cache_turn_done(const cache_store *s, cache_turn *t);
/* A newer change of the key is on its way, or has been there. */
CELLAR_PRIVATE bool cache_turn_overtaken(const cache_store *s, const cache_turn *t);
/* Return whether a change of the key has a turn. key_len: at most CELLAR_KEY_MAX. */
CELLAR_PRIVATE bool cache_turn_listed(const cache_store *s, uint64_t hash, uint32_t owner,
                                      const void *key, size_t key_len);
CELLAR_PRIVATE void cache_turn_leave(const cache_store *s, cache_turn *t);
/* Pass all turns of the owner with a matching key. Wait until none of them is busy. */
CELLAR_PRIVATE void cache_turns_match(const cache_store *s, uint32_t owner,
                                      bool (*match)(void *ctx, const void *key, size_t len),
                                      void *ctx);

/* ---- l2_tier.c, l2_tier_none.c ---- */
/* The disk tier the configuration asks for, if any, before the first key is hashed. */
CELLAR_PRIVATE cellar_err cache_disk_open(cache_store *s, const cache_settings *cfg);
/* Write to `text` the memory_bytes that the disk tier needs. Return false without a disk tier. */
CELLAR_PRIVATE bool cache_disk_crowds(const cache_store *s, const cache_settings *cfg, char *text,
                                      size_t cap);
CELLAR_PRIVATE void cache_disk_abandon(cache_store *s); /* the store is not to be after all */
/* What L1 holds goes down, and all of it is synced; then the level is given back. */
CELLAR_PRIVATE void cache_disk_end(cache_store *s);
CELLAR_PRIVATE void cache_disk_close(cache_store *s);
CELLAR_PRIVATE void cache_disk_given(const cache_store *s, uint64_t given[STATS_GIVEN_COUNT]);

/* ---- set.c ---- */
typedef struct cache_plan { /* what a write's options come to; one for a whole batch */
    l1_put_spec spec;
    int64_t ttl_ms;   /* BASE_NEVER_MS: none; at most most_ms */
    int64_t most_ms;  /* the greatest age, which jitter does not pass; BASE_NEVER_MS: none */
    int64_t now_ms;   /* of the call; read only when there is a time to live */
    uint32_t jitter_pct, jitter_mode;
    uint64_t *version_out;
    bool durable;      /* in the tier, committed, before the call returns */
    bool commit_later; /* by the caller, for the whole batch */
    uint64_t fps[CELLAR_TAGS_MAX];
} cache_plan;
BASE_INLINE uint32_t cache_carried(uint32_t carries) /* as flags of l1_put_spec */
{
    return (carries & CACHE_CARRIES_BIRTH) != 0 ? L1_WANT_BORN : 0u;
}
CELLAR_PRIVATE cellar_err cache_plan_make(cellar *c, const cellar_set_opts *o, uint32_t banned,
                                          cache_plan *plan);
/* The put with everything around it: veto rounds, tier, counters. plan->spec holds the value. */
CELLAR_PRIVATE cellar_err cache_put(cellar *c, l1_key *k, cache_plan *plan);
CELLAR_PRIVATE cellar_err cache_del(cellar *c, l1_key *k);
/* Delete the entry if it meets the L1_IF_ flags of `only_if`; else their code, nothing changed. */
CELLAR_PRIVATE cellar_err cache_del_if(cellar *c, l1_key *k, const l1_put_spec *only_if);
/* By pattern: its own cause, and which (cache_why_act). */
CELLAR_PRIVATE cellar_err cache_del_matched(cellar *c, l1_key *k, uint32_t by);
/* What it was made of has changed: its own cause; who depends on it is the caller's. */
CELLAR_PRIVATE void cache_del_dependant(cellar *c, const l1_key *k);
/* One put, told to whom it must be told; and what it comes to in the counters. */
CELLAR_PRIVATE cellar_err cache_put_once(cellar *c, const l1_key *k, l1_put_spec *p);
CELLAR_PRIVATE void cache_put_count(cellar *c, const l1_put_spec *p);
CELLAR_PRIVATE cellar_err cache_put_failed(cellar *c, const l1_put_spec *p, cellar_err err);
CELLAR_PRIVATE void cache_count_refused(stats_block *mine, cellar_err err);
CELLAR_PRIVATE int64_t cache_plan_deadline(const cellar *c, const cache_plan *plan, uint64_t hash);
CELLAR_PRIVATE uint8_t cache_cost_code(uint32_t us);
CELLAR_PRIVATE uint32_t cache_cost_us(uint8_t code); /* get.c */

/* ---- bloom_guard.c ---- */
typedef struct cache_filter { /* around what makes an entry visible; on the caller's stack */
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
    /* seq_cst: after the window's CAS; pairs with the store in cache_filter_made */
    if (BASE_UNLIKELY(base_load_sc(&c->bloom) != NULL)) { cache_filter_end_slow(c, k, f); }
}
/* Does the filter know, with authority, that the source never had the key? Counted. */
CELLAR_PRIVATE bool cache_filter_never(cellar *c, const void *key, size_t key_len);
CELLAR_PRIVATE bool cache_filter_is_never(const cellar *c, const void *key, size_t key_len);
/* After a miss of L1: may the tier have it? */
BASE_INLINE bool cache_may_lie_below(const cellar *c, const l1_key *k)
{
    return BASE_UNLIKELY(c->store->tier != NULL) &&
           (BASE_LIKELY(base_load_acq(&c->bloom) == NULL) ||
            !cache_filter_is_never(c, k->bytes, k->len));
}
/* After a miss of L1: is it worth asking L1 once more? */
BASE_INLINE bool cache_brought(cellar *c, const l1_key *k)
{
    return cache_may_lie_below(c, k) && cache_tier_bring(c, k);
}
/* Before a load: one in 1,024 of what it would stop is let through, as an audit. */
typedef enum cache_word { CACHE_WORD_MAYBE, CACHE_WORD_NEVER, CACHE_WORD_AUDIT } cache_word;
CELLAR_PRIVATE cache_word cache_filter_stops(cellar *c, const void *key, size_t key_len);
/* The source, or the tier, had a value: did the filter know? Before it is added. */
CELLAR_PRIVATE void cache_filter_found(cellar *c, const void *key, size_t key_len);
/* How a sampled get ended. */
CELLAR_PRIVATE void cache_filter_note(cellar *c, const void *key, size_t key_len, cellar_err got);
CELLAR_PRIVATE cellar_err cache_filter_start(cellar *c); /* bloom */
CELLAR_PRIVATE void cache_filter_tell(cellar *c, const bloom *b); /* say once what it doubts */
CELLAR_PRIVATE void cache_filter_free(cellar *c);
CELLAR_PRIVATE void cache_filters_close(cache_store *s);
CELLAR_PRIVATE void cache_filters_forked(cache_store *s);

/* bloom_persist.c: filters that outlive the process */
struct l2_image;
struct l2_images;
CELLAR_PRIVATE void cache_keep_all(void *s, struct l2_images *to);
/* The view is about to be one: its filter as it was. What this returns goes to cache_keep_end once
 * the view can be found by its name, or will not be; no ranked lock is held at either. */
CELLAR_PRIVATE struct l2_image *cache_keep_begin(cellar *v, bool no_disk);
CELLAR_PRIVATE void cache_keep_end(struct l2_image *im, bool opened);

/* ---- tags.c ---- */
CELLAR_PRIVATE int cache_tags_valid(void *ctx, uint64_t born, const void *fps, uint32_t count);
CELLAR_PRIVATE int64_t cache_tags_ended(void *ctx, uint64_t born, const void *fps, uint32_t count);
CELLAR_PRIVATE void cache_tags_open(cache_store *s); /* with what its tier knows */
CELLAR_PRIVATE void cache_tags_close(cache_store *s);

/* ---- dependencies.c ---- */
CELLAR_PRIVATE cellar_err cache_deps_open(cache_store *s, const cache_settings *cfg);
CELLAR_PRIVATE void cache_deps_close(cache_store *s);
/* Can a view with these options be in a store with such a table, or without? */
CELLAR_PRIVATE cellar_err cache_deps_check(const cellar_namespace_opts *o, bool deps,
                                           const char **why);
/* Around a read of the key; nothing outside a loader of a view that notes. */
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
/* Around a change of the key, with deps: the mark from before its window (0: keep what the key
 * itself was made of), then those who read it end. No lock held. */
CELLAR_PRIVATE uint64_t cache_deps_mark(const cache_store *s);
CELLAR_PRIVATE void cache_deps_changed(cellar *c, const l1_key *k, uint64_t mark);
/* Until when what the key was made of lives: it may live as long. */
CELLAR_PRIVATE int64_t cache_deps_until(cache_store *s, const l1_key *k);
/* Who read keys of this generation ends, or (0) of generations that have ended. */
CELLAR_PRIVATE void cache_deps_owner(cache_store *s, uint32_t owner);
/* Some of what is left over; true: there is more. */
CELLAR_PRIVATE bool cache_deps_tick(cache_store *s, uint64_t *removed);
CELLAR_PRIVATE void cache_deps_given(const cache_store *s, uint64_t given[STATS_GIVEN_COUNT]);
CELLAR_PRIVATE const char *cache_deps_audit(cache_store *s); /* NULL: fine */
CELLAR_PRIVATE void cache_deps_fork_prepare(cache_store *s);
CELLAR_PRIVATE void cache_deps_fork_parent(cache_store *s);
CELLAR_PRIVATE void cache_deps_fork_child(cache_store *s);

/* ---- explain.c ---- */
CELLAR_PRIVATE cellar_err cache_why_open(cache_store *s, const cache_settings *cfg);
CELLAR_PRIVATE void cache_why_close(cache_store *s);
/* An entry left, or a value was refused, by a call; any lock may be held. */
CELLAR_PRIVATE void cache_why_note(cache_store *s, uint64_t hash, cellar_cause cause);
CELLAR_PRIVATE void cache_why_note_by(cache_store *s, uint64_t hash, cellar_cause cause,
                                      uint32_t by);
/* A tag or pattern was deleted: what its victims name as `by`. No lock held. */
CELLAR_PRIVATE uint32_t cache_why_act(cellar *c, cellar_cause cause, uint64_t fp, uint64_t epoch,
                                      const void *text, size_t len);
/* An entry left by itself: L1's hook, in its window. */
CELLAR_PRIVATE void cache_why_soon(void *ctx, uint64_t hash);
CELLAR_PRIVATE void cache_why_ended(cache_store *s, uint64_t hash, uint32_t owner, l1_cause cause,
                                    int64_t born_ms, unsigned uses);
CELLAR_PRIVATE void cache_why_generation(cache_store *s, const cellar *v, uint32_t vgen,
                                         cellar_cause cause) SYNC_HOLDS(VIEW);

/* ---- breaker_calls.c ---- */
CELLAR_PRIVATE cellar_err cache_breaker_check(const cellar_breaker_opts *o, const char **why);
CELLAR_PRIVATE cellar_err cache_breaker_start(cellar *c, const cellar_breaker_opts *o);
CELLAR_PRIVATE void cache_breaker_free(cellar *c);
CELLAR_PRIVATE int cache_breaker_state(const cellar *c); /* CELLAR_BREAKER_...; -1: it has none */
/* May the source be called? Every pass is reported once. */
CELLAR_PRIVATE bool cache_breaker_admit(cellar_breaker *b, uint32_t *pass);
CELLAR_PRIVATE int64_t cache_breaker_wait(cellar_breaker *b); /* ms until a call may pass */
CELLAR_PRIVATE void cache_breaker_report(cellar_breaker *b, uint32_t pass, breaker_outcome how);

/* ---- events.c ---- */
CELLAR_PRIVATE void cache_left(void *ctx, const l1_left *what);


/* ---- maintenance.c ---- */
CELLAR_PRIVATE cellar_err cache_thread_start(cache_store *s);
CELLAR_PRIVATE void cache_thread_stop(cache_store *s);
/* No background work between the two, but what this thread is in the middle of itself. */
CELLAR_PRIVATE void cache_tick_pause(cache_store *s);
CELLAR_PRIVATE void cache_tick_resume(cache_store *s);
CELLAR_PRIVATE void cache_thread_ring(cache_store *s); /* there is work now */

/* ---- shared by the call families ---- */
/* Is the key one that can be? */
BASE_ALWAYS_INLINE bool cache_key_bad(const void *key, size_t key_len)
{
    return key == NULL || key_len - 1 >= CELLAR_KEY_MAX; /* 0 wraps to the far end */
}
/* Is the array one that can not be: NULL, or longer than half an address space? */
BASE_INLINE bool cache_items_bad(const void *items, size_t count, size_t item_bytes)
{
    return (items == NULL && count != 0) || count > SIZE_MAX / 2 / item_bytes;
}
BASE_ALWAYS_INLINE void cache_key(cellar *c, l1_key *k, const void *key, size_t key_len)
{
    k->bytes = key;
    k->len = (uint32_t)key_len; /* at most CELLAR_KEY_MAX: cache_key_bad */
    k->owner = base_load_acq(&c->vgen); /* release in cache_vgen_next */
    k->hash = base_hash(c->hash_key, k->owner, key, key_len);
}
/* After a veto: the view was cleared meanwhile; the same key once more under its new owner. */
CELLAR_PRIVATE void cache_rekey(cellar *c, l1_key *k);
BASE_ALWAYS_INLINE stats_block *cache_mine(cellar *c) { return stats_mine(c->stats, c->slot); }

/* State of a view that is not plainly open: CLOSED is an error, the rest is left to the caller. */
BASE_INLINE bool cache_is_closed(const cellar *c)
{
    return (base_load_acq(&c->state) & CACHE_CLOSED) != 0;
}
/* Whether the log asks for hits and misses: its level is INFO or DEBUG. */
BASE_INLINE bool cache_talks(const cellar *c)
{
    return BASE_UNLIKELY((base_load_rlx(&c->state) & CACHE_TALK) != 0);
}
/* Log a read of one key: a hit at DEBUG, a miss at INFO. `module` is the call's. */
CELLAR_PRIVATE void cache_read_tell(const cellar *c, const char *module, cellar_err err);
BASE_INLINE bool cache_is_off(const cellar *c)
{
    return (base_load_rlx(&c->state) & CACHE_OFF) != 0;
}
CELLAR_PRIVATE cellar_err cache_closed(cellar *c);

#endif
