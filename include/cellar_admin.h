/* SPDX-License-Identifier: MIT
 *
 * cellar_admin: what the host program provides, tuning, options that change at run time,
 * maintenance and checks. */
#ifndef CELLAR_ADMIN_H
#define CELLAR_ADMIN_H

#include "cellar.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Host and tuning ------------------------------------------------------------------------- */

typedef enum cellar_hash {
    CELLAR_HASH_DEFAULT = 0,  /* wyhash class, keyed */
    CELLAR_HASH_SIPHASH13 = 1 /* SipHash-1-3, keyed */
} cellar_hash;

/* Goal of the policies ADAPTIVE and S3FIFO. Under both, entries with a cost_us above the mean stay
 * longer, and those below it shorter. */
typedef enum cellar_optimize {
    CELLAR_OPTIMIZE_BYTES = 0,  /* the size of an entry does not count */
    CELLAR_OPTIMIZE_OBJECTS = 1 /* most hits: large entries are evicted before small ones. ADAPTIVE
                                   keeps one rule; cellar_advice_get has no figures */
} cellar_optimize;

typedef enum cellar_huge_pages {
    CELLAR_HUGE_PAGES_LATER = 0,   /* by ticks, from a budget of 32 MiB on, unless
                                      the system is set to have none */
    CELLAR_HUGE_PAGES_AT_OPEN = 1, /* asked for at the open */
    CELLAR_HUGE_PAGES_NEVER = 2    /* not used */
} cellar_huge_pages;

/* Least important level that is logged. Each module writes one line a second for each code; the
 * next line counts the lines held back. No line holds a value; cellar_log_keys says how a line
 * names a key. A namespace may have a level of its own for its reads, loads, refreshes, breaker and
 * filter: with DEBUG it alone logs its hits, with OFF it alone is silent. */
typedef enum cellar_log_level {
    CELLAR_LOG_DEFAULT = 0, /* WARNING; in options of a namespace: the level of the store */
    CELLAR_LOG_ERROR = 1,   /* no memory, no disk; a read, write or sync of the disk failed */
    CELLAR_LOG_WARNING = 2, /* a loader failed; a part is switched off or works again */
    CELLAR_LOG_INFO = 3,    /* misses of gets, bulk gets and loads; refreshes */
    CELLAR_LOG_DEBUG = 4,   /* hits */
    CELLAR_LOG_OFF = 5      /* no lines */
} cellar_log_level;

/* How a log line names a key. Lines about a hidden namespace never have more than the hash. */
typedef enum cellar_log_keys {
    CELLAR_LOG_KEYS_DEFAULT = 0, /* HASH */
    CELLAR_LOG_KEYS_NONE = 1,    /* not at all */
    CELLAR_LOG_KEYS_HASH = 2,    /* keyed hash, as in cellar_hot_keys; changes with each clear */
    CELLAR_LOG_KEYS_PREFIX = 3,  /* first 8 bytes of the text */
    CELLAR_LOG_KEYS_FULL = 4     /* the text, cut after 300 bytes */
} cellar_log_keys;

/* Functions of the host. They must not call the library. */
typedef int64_t (*cellar_clock_fn)(void *ctx); /* milliseconds, never backwards */
typedef void   *(*cellar_alloc_fn)(size_t size, void *ctx); /* 16-byte aligned; NULL = no memory */
typedef void    (*cellar_free_fn)(void *block, size_t size, void *ctx); /* size as allocated */
typedef void    (*cellar_log_fn)(cellar_log_level level, const char *module, cellar_err code,
                                 const char *text, void *ctx);

/* What the host program provides to an object. Limiters use name, alloc, free, log and log_level;
 * lock tables use name and clock. Each open checks all fields. */
typedef struct cellar_host_config {
    size_t   struct_size;     /* set by cellar_host_config_default()                              */
    const char *name;           /* label in metrics, 0..64 bytes, copied. Default ""              */
    cellar_clock_fn clock;      /* ms. Default: monotonic clock of the system, suspend included   */
    void    *clock_ctx;
    cellar_alloc_fn alloc;      /* with free. Default: malloc, or mimalloc                        */
    cellar_free_fn  free;       /* frees blocks of alloc; with alloc                              */
    void    *alloc_ctx;
    cellar_log_fn log;          /* receives log lines. Default: silent                            */
    void    *log_ctx;
    cellar_log_level log_level; /* least important level that is logged. Default WARNING          */
    uint32_t no_threads;        /* 1: no thread is started; the host calls cellar_tick            */
    uint32_t load_threads;      /* threads for background loads. Range 1..64. Default 2           */
    uint32_t load_queue;        /* background loads that wait. Range 1..65,536. Default 256       */
    cellar_log_keys log_keys;   /* how log lines, and hot_keys of cellar_stats_json, name keys.   */
                                /* Default HASH                                                   */
    uint32_t stack_bytes;       /* stack of each thread that is started, with the thread-local    */
                                /* data of the program; less than 256 KiB counts as 256 KiB.      */
                                /* Default: that of the process, 1 MiB at least                   */
} cellar_host_config;
CELLAR_STRUCT(cellar_host_config, stack_bytes);

/* Sizes and switches that few programs need. */
typedef struct cellar_tuning_config {
    size_t   struct_size;       /* set by cellar_tuning_config_default()                          */
    uint64_t max_value_bytes;     /* to CELLAR_VALUE_MAX. Default min(64 MiB, budget / 2)         */
    uint64_t expected_entry_bytes; /* mean key + value, sizes tables at the open; not the disk    */
                                  /* index: mean_entry_bytes of l2. From 16 to 2^32 - 1.          */
                                  /* Default 256                                                  */
    int64_t  close_timeout_ms;    /* wait of the root close for running loads. Default 5,000      */
    const uint8_t *hash_key;      /* 32 bytes, copied: repeatable hashes for tests. Default NULL: */
                                  /* random                                                       */
    cellar_hash       hash;       /* of keys. Default HASH_DEFAULT                                */
    cellar_huge_pages huge_pages; /* for entries and index. Default LATER                         */
    cellar_optimize   optimize;   /* goal of eviction. Default BYTES                              */
    cellar_jitter     jitter_mode; /* with jitter_pct. Default MINUS                              */
    uint32_t jitter_pct;          /* spreads the TTL of loads. Range 1..100 or CELLAR_OFF.        */
                                  /* Default 10                                                   */
    uint32_t stripes;             /* most lock domains; a power of two to 1,024. Default 64. Each */
                                  /* needs 64 segments of memory and room for 64 entries: a small */
                                  /* budget or max_entries gives fewer, see cellar_stats.stripes  */
    uint32_t max_namespaces;      /* the root counts as one. To 4,096. Default 4,096              */
    uint32_t max_loads;           /* loads at once. Default 16,384                                */
    uint32_t max_load_waiters;    /* threads and subscribers that wait. Default 65,536            */
    uint32_t reserved0;           /* must be 0                                                    */
    uint32_t no_explain;          /* 1: cellar_why forgets removed entries; saves budget / 256    */
    uint32_t no_advisor;          /* 1: no figures for cellar_advice_get. Default 0: on from      */
                                  /* 16 MiB                                                       */
} cellar_tuning_config;
CELLAR_STRUCT(cellar_tuning_config, no_advisor);

/* ---- Options at run time --------------------------------------------------------------------- */

/* Options that can change while the store runs: name, number, scope, unit, help. */
#define CELLAR_OPTIONS(X) \
    X(MEMORY_BYTES, 1, STORE, "bytes", "memory budget; shrinking evicts until it holds") \
    X(MAX_ENTRIES, 2, STORE, "entries", "second bound; 0 = none; shrinking evicts") \
    X(EVICTION, 3, STORE, "cellar_eviction", "eviction policy from now on") \
    X(LOG_LEVEL, 4, STORE, "cellar_log_level", "least important level that is logged") \
    X(MAINTENANCE_THREAD, 5, STORE, "0 or 1", "maintenance thread") \
    X(DEFAULT_TTL_MS, 6, NAMESPACE, "ms", "default TTL; 0 = of the store") \
    X(NEGATIVE_TTL_MS, 7, NAMESPACE, "ms", "TTL of negative entries; 0 = of the store") \
    X(IDLE_MS, 8, NAMESPACE, "ms", "default idle time; 0 = of the store") \
    X(MAX_AGE_MS, 9, NAMESPACE, "ms", "maximum age with idle time; 0 = of the store") \
    X(STALE_MS, 10, NAMESPACE, "ms", "default stale window; 0 = of the store") \
    X(L2_BYTES, 11, STORE, "bytes", "size of all files of the disk tier; 0 = none") \
    X(NAMESPACE_MAX_ENTRIES, 12, NAMESPACE, "entries", "its bound; 0 = none; shrinking evicts") \
    X(L2_CLOSE_MS, 13, STORE, "ms", "limit of writing memory to disk in cellar_close; 0 = 5,000") \
    X(ENABLED, 14, NAMESPACE, "0 or 1", "0: gets miss, sets and increments return DISABLED") \
    X(BLOOM_KEYS, 15, NAMESPACE, "keys", "size of its Bloom filter; 0 = none, drops it")

typedef enum cellar_option {
#define CELLAR_OPTION_ENUM(name, number, scope, unit, help) CELLAR_OPT_##name = number,
    CELLAR_OPTIONS(CELLAR_OPTION_ENUM)
#undef CELLAR_OPTION_ENUM
} cellar_option;

/* Change an option of the store, or of this namespace.
 * in:      any handle of the store; for NAMESPACE options the namespace; value in the option's unit
 * returns: OK; E_INVAL (unknown option, value out of range), E_RANGE, E_UNSUPPORTED, E_NOMEM
 *          (thread), E_BUSY (of MEMORY_BYTES and MAX_ENTRIES: another change of one of them runs),
 *          E_FORKED.
 *          MEMORY_BYTES: E_RANGE (nothing changed: beyond the address space reserved at open, or
 *          too small for the memory of the host and the tables made at open, for which 1/128 of
 *          that budget and 2 MiB are enough);
 *          E_BUSY (pinned entries prevent shrinking to this budget: until it holds, sets that need
 *          memory return E_SPACE).
 *          L2_BYTES, which loses nothing but the oldest entries: E_RANGE (too small for segments
 *          of this store, or over 16 times the size at open), E_SPACE (the disk is full), E_IO,
 *          E_BUSY (another resize runs), E_UNSUPPORTED (no disk tier)
 *          ENABLED 0: deletes and clears still work, so that no old value is served later; calls
 *          that already run use the former state.
 *          NAMESPACE_MAX_ENTRIES, to 2^32 - 1: E_NOMEM, E_SPACE (no memory for its list; then the
 *          namespace has no bound).
 *          BLOOM_KEYS, to 2^40: opens a filter, or sets the size for the next cellar_bloom_feed;
 *          E_SPACE (budget), E_NOMEM (nothing changed)
 * thread:  any; of concurrent changes of one option one takes effect
 * cost:    MEMORY_BYTES, MAX_ENTRIES and NAMESPACE_MAX_ENTRIES: shrinking evicts before the call
 *          returns. The first NAMESPACE_MAX_ENTRIES reads the index, some us for each entry of the
 *          store; entries of the younger eighths of its age stay. L2_BYTES: shrinking reads
 *          and writes the records beyond the new end. The others: O(1)
 * example: cellar_option_set(c, CELLAR_OPT_MEMORY_BYTES, 32 << 20);                              */
CELLAR_API cellar_err cellar_option_set(cellar *c, cellar_option option, int64_t value);

/* Read the effective value of an option; for NAMESPACE options with the defaults of the store.
 * in:      as cellar_option_set
 * out:     *value
 * returns: OK; E_INVAL
 * thread:  any
 * cost:    O(1)
 * example:
 *     int64_t bytes;
 *     cellar_option_get(c, CELLAR_OPT_MEMORY_BYTES, &bytes);                                     */
CELLAR_API cellar_err cellar_option_get(cellar *c, cellar_option option, int64_t *value);

/* ---- Key policies ---------------------------------------------------------------------------- */

/* KEY POLICIES
 * Rules say how long entries live, by the pattern of their key. A rule holds for each call that
 * stores a value; reads never look at it. The section of a rule is the name of a namespace, "*"
 * holds for all of them, and the option policy_section of a namespace names another section.
 * Rules are structs: of cellar_config, before the first call, or of cellar_policy_set.
 * cellar_policy_read of cellar_kit.h makes them of a text or a file.
 *
 * PATTERNS  CELLAR_POLICY_KEY: literals and {name}, which stands for one or more bytes without the
 * separator ":". GLOB, DENY and NO_L2: patterns of cellar_delete_by_pattern; DENY and NO_L2 ignore
 * ASCII case. The first rule that matches is used, in the order of the array; DENY and NO_L2 come
 * before all others.
 *
 * DENIED    A denied write returns E_DENIED. A denied set without conditions removes the old value
 * of its key, like each failed set, unless CELLAR_KEEP_OLD_VALUE is set. A load of a denied key
 * answers and is not stored. More than CELLAR_TAGS_MAX tags of call and rule are E_LIMIT,
 * CELLAR_DURABLE under a NO_L2 rule is E_UNSUPPORTED: nothing is done.
 *
 * VALUES    Order of precedence: option of the call, rule, CELLAR_POLICY_SET of the section, that
 * of "*", namespace, store. ttl_max_ms bounds the result.
 *
 * REFRESH   A value that was stored with refresh_ms = 300000 is refreshed by the first load that
 * finds it five minutes old or older: see STALE VALUES in cellar_load.h. The load returns the
 * value. A get never refreshes. eager_refresh_pct and xfetch_beta_x100 of a call win. A value that
 * returns from disk has no such time. A failed refresh is repeated after retry_throttle_ms. loader
 * and priority are for refreshes on a schedule: cellar_refresh_add_policies.
 *
 * QUOTA     quota_max_pct stands in place of that of the namespace. It belongs into a
 * CELLAR_POLICY_SET, or on the glob "*". It is applied when a namespace is opened and when rules
 * are set. A quota that is not possible is logged as a warning, and the rest holds: a namespace
 * that was created without a quota gets none. */

/* Kinds of a cellar_policy_rule. */
typedef enum cellar_policy_kind {
    CELLAR_POLICY_KEY = 0,   /* pattern of literals and {name}: options                          */
    CELLAR_POLICY_GLOB = 1,  /* pattern of cellar_delete_by_pattern: options                     */
    CELLAR_POLICY_DENY = 2,  /* writes of keys that match return E_DENIED                        */
    CELLAR_POLICY_NO_L2 = 3, /* keys that match are never written to disk                        */
    CELLAR_POLICY_SET = 4    /* options of the section, for keys without; it has no pattern      */
} cellar_policy_kind;

/* A rule: see KEY POLICIES. 0 or NULL: the option is not set. DENY and NO_L2 have no options. */
typedef struct cellar_policy_rule {
    size_t      struct_size;     /* set by cellar_policy_rule_default()                           */
    cellar_policy_kind kind;     /* Default CELLAR_POLICY_KEY                                     */
    uint32_t    no_l2;           /* 1: never written to disk                                      */
    const char *section;         /* NULL: "*"                                                     */
    const char *pattern;         /* of keys: see PATTERNS. To 1,024 bytes                         */
    int64_t     ttl_ms;          /* TTL of values. To 2^52, or CELLAR_TTL_NONE: never             */
    int64_t     ttl_max_ms;      /* bound of the TTL, whatever sets it; not in CELLAR_POLICY_SET  */
    int64_t     idle_ms;         /* time without use. To 2^32 - 1. CELLAR_TTL_NONE: none          */
    int64_t     max_age_ms;      /* maximum age with idle_ms                                      */
    int64_t     negative_ttl_ms; /* TTL of negative entries                                       */
    int64_t     stale_ms;        /* stale window. To 2^32 - 1. CELLAR_TTL_NONE: none              */
    int64_t     refresh_ms;      /* a load refreshes a value that is older: see REFRESH. To 2^52  */
    uint32_t    jitter_pct;      /* spreads the TTL. Range 1..100, or CELLAR_OFF: 0 %             */
    cellar_jitter jitter_mode;   /* with jitter_pct. Default MINUS                                */
    uint32_t    priority;        /* of scheduled refreshes: 1 low, 2 mid, 3 high                  */
    uint32_t    quota_max_pct;   /* share of a namespace: see QUOTA. Range 1..100                 */
    uint32_t    line;            /* of its text, for E_DENIED and warnings of quotas. 0: none     */
    const char *ttl_class;       /* its name; ttl_class_fallback for an unknown one               */
    const char *tags;            /* "a,b": added to those of the call                             */
    const char *at;              /* "00:00@Europe/Paris": no entry lives beyond the next such one */
    const char *loader;          /* name of a loader, for scheduled refreshes                     */
    const char *prefix;          /* taken off keys, with one separator. CELLAR_POLICY_SET only    */
    const char *separator;       /* one byte. CELLAR_POLICY_SET only                              */
} cellar_policy_rule;
CELLAR_STRUCT(cellar_policy_rule, separator);

/* Put rules into force in place of the present ones. Entries keep their deadlines.
 * in:      any handle of the store; rules, up to 4,096; rule_count 0: no rules
 * returns: OK; E_CONFIG (a rule is wrong: cellar_last_error names it, as "rules[3]: .."), E_NOMEM,
 *          E_SPACE (budget), E_FORKED; E_INVAL, E_ABI, E_UNSUPPORTED (struct_size, unknown field).
 *          After an error the present rules stay
 * owns:    rules and texts are copied
 * thread:  any; of concurrent calls one waits for the other
 * cost:    O(rules x sections + namespaces); waits for writes that use the old rules, some 100 ns.
 *          A write in a namespace with rules takes some 50 ns longer, a read nothing
 * example:
 *     cellar_policy_rule r = cellar_policy_rule_default();
 *     r.pattern = "user:{id}:info";
 *     r.ttl_ms = 1800000;
 *     cellar_policy_set(c, &r, 1);                                                               */
CELLAR_API cellar_err cellar_policy_set(cellar *c, const cellar_policy_rule *rules,
                                        size_t rule_count);

/* Called for one rule. Return false to end the list. It must not set rules. */
typedef bool (*cellar_policy_list_fn)(const cellar_policy_rule *rule, void *ctx);

/* Call a function for each rule of a namespace, in the order of rules. A number that a rule does
 * not set comes from its section, else from "*". Prefix and separator come from its section.
 * in:      c: namespace
 * returns: OK (also without a rule); E_INVAL, E_CLOSED, E_FORKED
 * owns:    rule and texts are borrowed until fn returns
 * thread:  any; fn runs on it. cellar_policy_set waits for the end of the list
 * cost:    O(rules)
 * example: cellar_policy_list(c, print_rule, stdout);                                            */
CELLAR_API cellar_err cellar_policy_list(cellar *c, cellar_policy_list_fn fn, void *ctx);

/* ---- Memory of the host ---------------------------------------------------------------------- */

/* Count memory of the host in the budget of the store, so that one number bounds both. Entries are
 * evicted for it, as for a value. cellar_resp_open charges its requests and replies so.
 * cellar_close gives back the rest.
 * in:      any handle of the store; bytes; below 0: give back so many, in any parts
 * returns: OK; E_SPACE (not free, and not to be freed: pinned or charged), E_INVAL (more to give
 *          back than were charged); nothing changed
 * thread:  any; listeners may run inside
 * cost:    O(1) and the evictions; charge in chunks
 * example: if (cellar_memory_charge(c, 1 << 20) == CELLAR_OK) buf = malloc(1 << 20);             */
CELLAR_API cellar_err cellar_memory_charge(cellar *c, int64_t bytes);

/* ---- Maintenance and checks ------------------------------------------------------------------ */

/* Run the due work of an object:
 *     a store       expires entries, commits pages ahead, shrinks the index. With no_threads also
 *                   the work of the disk tier: pending writes, index rebuild, free segments
 *     a limiter     clears idle keys of sliding windows, ends expired permits, moves the origin of
 *                   time once a year, writes a snapshot that is due
 *     a lock table  reports lost locks of keys that no call asks for, drops keys without an owner,
 *                   returns memory
 *     a pool, scheduler, refresher, batcher, bus  queues what is due. With no_threads also runs it;
 *                   a function that exceeds budget_us ends normally
 * Limiters with sliding windows, concurrency rules or snapshots, and lock tables, want a tick a
 * second. The others start a thread for it, unless no_threads is set.
 * in:      object: what cellar_open, cellar_namespace_open, cellar_limiter_open, cellar_locks_open,
 *          cellar_pool_open, cellar_scheduler_open, cellar_refresher_open, cellar_batcher_open or
 *          cellar_bus_open gave; budget_us 0 = one bounded step. Limiters and lock tables ignore it
 * out:     *wait_ms: time until the next call, 0 with PENDING, INT64_MAX: nothing will be due;
 *          optional. Of a store at most 500, and 20 while it has a tier or a load runs
 * returns: OK (nothing that was due at the call is left; while another thread stays inside a set
 *          for more than 2 ms, entries that it may evict stay due); PENDING (the time ran out, or
 *          another thread does the work: call again); E_INVAL, E_CLOSED, E_FORKED, E_UNSUPPORTED
 *          (the object has no work); of a limiter the codes of its snapshot. In a listener of a
 *          store and in free_fn OK also while another tick runs
 * thread:  any; listeners, watchers and, with no_threads, functions of the program run inside
 * cost:    budget_us plus one bounded step at most: of a store 64 entries or dead blocks, or one
 *          huge page, for which the kernel copies 2 MiB. A limiter: at most 16 regions of 4,096
 *          slots and 16,384 permits; a snapshot O(slots). A lock table: O(its keys), with one of 64
 *          stripes locked at a time. The others: O(what is due)
 * example: while (cellar_tick(c, 1000, NULL) == CELLAR_PENDING) {}                               */
CELLAR_API cellar_err cellar_tick(void *object, uint64_t budget_us, int64_t *wait_ms);

/* Check every invariant of every structure of the store.
 * in:      any handle of the store
 * returns: OK; E_CORRUPT (cellar_last_error names the structure)
 * thread:  any; exact only while no other thread writes (the call stops the maintenance thread)
 * cost:    O(everything); sets wait while one of the stripes is examined
 * example: if (cellar_integrity_check(c) != CELLAR_OK) abort();                                  */
CELLAR_API cellar_err cellar_integrity_check(cellar *c);

#ifdef __cplusplus
}
#endif
#endif
