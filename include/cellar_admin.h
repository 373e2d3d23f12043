/* SPDX-License-Identifier: MIT
 *
 * cellar_admin: what the host program provides, tuning, options that change at run time,
 * maintenance and checks.
 *
 * Most programs need one thing of this header, if any: a log function (cellar_host_config.log), a
 * new budget at run time (cellar_option_set), or rules of keys (cellar_policy_set). */
#ifndef CELLAR_ADMIN_H
#define CELLAR_ADMIN_H

#include "cellar.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Host and tuning ------------------------------------------------------------------------- */

/* Hash function of keys, for cellar_tuning_config.hash. */
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

/* When entries and index get huge pages, for cellar_tuning_config.huge_pages. */
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

/* Return the time, for cellar_host_config.clock and the configs of limiters and pools: a clock of
 * the program, such as one that a test turns.
 * in:      ctx as given with the function
 * returns: milliseconds from a start of the host's choice, from 0 on; never less than a call before
 *          in any thread has returned. Wall clocks: milliseconds since 1970 (UNIX time)
 * owns:    ctx lives until the object is closed
 * thread:  any thread that uses the object and threads of the library, several at once, also inside
 *          locks of the library. It must not call the library
 * cost:    it must not block: reads and writes call it
 * example:
 *     int64_t now_ms(void *ctx) { return *(const int64_t *)ctx; }                                */
typedef int64_t (*cellar_clock_fn)(void *ctx);

/* Allocate a block for the library, for cellar_host_config.alloc.
 * in:      size: bytes, from 1; ctx: alloc_ctx of the config
 * returns: a block of size bytes, aligned to 16; NULL: no memory. The contents may be undefined
 * owns:    the library frees each block with the cellar_free_fn of the same config, some only in
 *          cellar_free and cellar_result_free after the close. ctx lives until then
 * thread:  any thread that uses the object and threads of the library, several at once. It must not
 *          call the library
 * cost:    it should not block: the call that needs memory waits
 * example:
 *     void *my_alloc(size_t size, void *ctx)
 *     {
 *         (void)ctx;
 *         return aligned_alloc(16, (size + 15) / 16 * 16);
 *     }                                                                                          */
typedef void *(*cellar_alloc_fn)(size_t size, void *ctx);

/* Free a block of the cellar_alloc_fn of the same config.
 * in:      block: what cellar_alloc_fn returned, never NULL; size: as it was allocated; ctx:
 *          alloc_ctx of the config
 * owns:    the block goes back to the host
 * thread:  as cellar_alloc_fn; often another thread than the one that allocated
 * cost:    it should not block
 * example:
 *     void my_free(void *block, size_t size, void *ctx)
 *     {
 *         (void)size, (void)ctx;
 *         free(block);
 *     }                                                                                          */
typedef void (*cellar_free_fn)(void *block, size_t size, void *ctx);

/* Write a log line of the library, for cellar_host_config.log. cellar_log_level says which lines
 * there are.
 * in:      level, ERROR to DEBUG; module, a short name as "loader"; code, CELLAR_OK for a line
 *          without one; text, one line without newline, at most 511 bytes, cut beyond; ctx is
 *          log_ctx. Both texts end with a zero byte
 * owns:    the texts are borrowed until the return. ctx lives until the object is closed
 * thread:  the thread of the call that has something to say and threads of the library, several at
 *          once, with no lock held. It must not call the library
 * cost:    it should not block: that call waits. Hand the line to a queue, or write it to a
 *          buffered file
 * example:
 *     void to_stderr(cellar_log_level level, const char *module,
 *                    cellar_err code, const char *text, void *ctx)
 *     {
 *         (void)ctx;
 *         fprintf(stderr, "cellar %d %s (%d): %s\n", (int)level, module,
 *                 (int)code, text);
 *     }                                                                                          */
typedef void (*cellar_log_fn)(cellar_log_level level, const char *module, cellar_err code,
                              const char *text, void *ctx);

/* What the host program provides to an object: cellar_config.host, and field `host` in the configs
 * of the other objects. Limiters use name, alloc, free, log and log_level; lock tables use name and
 * clock. Each open checks all fields. */
typedef struct cellar_host_config {
    size_t   struct_size;     /* set by cellar_host_config_default()                              */
    const char *name;           /* label in metrics, 0..64 bytes, copied. Default ""              */
    cellar_clock_fn clock;      /* clock in ms. Default: monotonic clock of the system, suspend   */
                                /* included                                                       */
    void    *clock_ctx;         /* given to clock                                                 */
    cellar_alloc_fn alloc;      /* allocates memory; only together with free. Default: malloc, or */
                                /* mimalloc                                                       */
    cellar_free_fn  free;       /* frees blocks of alloc; only together with alloc                */
    void    *alloc_ctx;         /* given to alloc and free                                        */
    cellar_log_fn log;          /* receives log lines. Default: silent                            */
    void    *log_ctx;           /* given to log                                                   */
    cellar_log_level log_level; /* least important level that is logged. Default WARNING          */
    uint32_t no_threads;        /* 1: no thread is started; the host calls cellar_tick. Default 0 */
    uint32_t load_threads;      /* threads for background loads. Range 1..64. Default 2           */
    uint32_t load_queue;        /* background loads that wait. Range 1..65,536. Default 256       */
    cellar_log_keys log_keys;   /* how log lines, and hot_keys of cellar_stats_json, name keys.   */
                                /* Default HASH                                                   */
    uint32_t stack_bytes;       /* stack of each thread that is started, with the thread-local    */
                                /* data of the program. Range 1..2^32 - 1 bytes; less             */
                                /* than 256 KiB counts as 256 KiB. Default: that of the process,  */
                                /* 1 MiB at least                                                 */
} cellar_host_config;
CELLAR_STRUCT(cellar_host_config, stack_bytes);

/* Sizes and switches that few programs need, for cellar_config.tuning. */
typedef struct cellar_tuning_config {
    size_t   struct_size;       /* set by cellar_tuning_config_default()                          */
    uint64_t max_value_bytes;     /* longest value. Range 1..CELLAR_VALUE_MAX. Default the less   */
                                  /* of 64 MiB and half of memory_bytes                           */
    uint64_t expected_entry_bytes; /* mean key + value, sizes tables at the open; not the disk    */
                                  /* index: mean_entry_bytes of l2. Range 1..2^32 - 1 bytes; less */
                                  /* than 16 counts as 16. Default 256                            */
    int64_t  close_timeout_ms;    /* longest wait of cellar_close for running loads. From 1 ms.   */
                                  /* Default 5,000                                                */
    const uint8_t *hash_key;      /* 32 bytes, copied: repeatable hashes for tests. Default NULL: */
                                  /* random                                                       */
    cellar_hash       hash;       /* hash function of keys. Default HASH_DEFAULT                  */
    cellar_huge_pages huge_pages; /* when entries and index get huge pages. Default LATER         */
    cellar_optimize   optimize;   /* goal of eviction. Default BYTES                              */
    cellar_jitter     jitter_mode; /* direction in which jitter_pct spreads. Default MINUS        */
    uint32_t jitter_pct;          /* spreads the TTL of loads. Range 1..100 percent or            */
                                  /* CELLAR_OFF. Default 10                                       */
    uint32_t stripes;             /* most lock domains. A power of two. Range 1..1,024.           */
                                  /* Default 64. Each needs 64 segments of memory and room for 64 */
                                  /* entries: a small budget or max_entries gives fewer, see      */
                                  /* cellar_stats.stripes                                         */
    uint32_t max_namespaces;      /* the root counts as one. Range 1..4,096. Default 4,096        */
    uint32_t max_loads;           /* loads at once. Range 1..2^32 - 1. Default 16,384             */
    uint32_t max_load_waiters;    /* threads and subscribers that wait. Range 1..2^32 - 1.        */
                                  /* Default 65,536                                               */
    uint32_t reserved0;           /* must be 0                                                    */
    uint32_t no_explain;          /* 1: cellar_why forgets removed entries; saves budget / 256.   */
                                  /* Default 0                                                    */
    uint32_t no_advisor;          /* 1: no figures for cellar_advice_get. Default 0: on from      */
                                  /* 16 MiB                                                       */
} cellar_tuning_config;
CELLAR_STRUCT(cellar_tuning_config, no_advisor);

/* ---- Options at run time --------------------------------------------------------------------- */

/* Options that can change while the store runs: name, number, scope, unit, help; see OPTIONS. */
#define CELLAR_OPTIONS(X) \
    X(MEMORY_BYTES, 1, STORE, "bytes", "memory budget. From 1 MiB. Default 64 MiB") \
    X(MAX_ENTRIES, 2, STORE, "entries", "most entries in memory. Default 0: no bound") \
    X(EVICTION, 3, STORE, "cellar_eviction", "eviction policy. Range 0..4. Default 1: ADAPTIVE") \
    X(LOG_LEVEL, 4, STORE, "cellar_log_level", "level that is logged. Range 0..5. Default 2") \
    X(MAINTENANCE_THREAD, 5, STORE, "0 or 1", "maintenance thread. Default 1; 0 with no_threads") \
    X(DEFAULT_TTL_MS, 6, NAMESPACE, "ms", "TTL of sets without one. Default 0: of the store") \
    X(NEGATIVE_TTL_MS, 7, NAMESPACE, "ms", "TTL of negative entries. Default 0: of the store") \
    X(IDLE_MS, 8, NAMESPACE, "ms", "idle time. Range 1..2^32 - 1. Default 0: of the store") \
    X(MAX_AGE_MS, 9, NAMESPACE, "ms", "maximum age with idle time. Default 0: of the store") \
    X(STALE_MS, 10, NAMESPACE, "ms", "stale window. Range 1..2^32 - 1. Default 0: of the store") \
    X(L2_BYTES, 11, STORE, "bytes", "size of the disk tier. From 16 MiB. 0: no disk tier") \
    X(NAMESPACE_MAX_ENTRIES, 12, NAMESPACE, "entries", "Range 1..2^32 - 1. Default 0: no bound") \
    X(L2_CLOSE_MS, 13, STORE, "ms", "time of cellar_close for the disk. Default 0: 5,000") \
    X(ENABLED, 14, NAMESPACE, "0 or 1", "0 switches the namespace off: see DISABLED. Default 1") \
    X(BLOOM_KEYS, 15, NAMESPACE, "keys", "of its Bloom filter. Range 1..2^40. Default 0: none")

/* OPTIONS
 * These options change while the store runs, by cellar_option_set. Each begins with its value in
 * cellar_config or cellar_namespace_config. A value that is negative or out of range is E_INVAL. A
 * change holds for calls that begin later; entries keep the times that they were stored with.
 * IDLE_MS takes CELLAR_TTL_NONE for none. EVICTION 0 is ADAPTIVE.
 *
 *     MEMORY_BYTES  Shrinking evicts before the call returns. At most the address space that the
 *             open reserved: usually 8 times memory_bytes, 256 MiB at least. At least the memory of
 *             the host and the tables made at the open; 1/128 of that budget and 2 MiB are enough.
 *             E_RANGE: beyond these two, nothing changed. E_BUSY: another change of MEMORY_BYTES or
 *             MAX_ENTRIES runs, nothing changed; or pinned entries prevent shrinking: the budget
 *             is changed, and until it holds, sets that need memory return E_SPACE.
 *     MAX_ENTRIES  Shrinking evicts before the call returns. E_BUSY: another change of MEMORY_BYTES
 *             or MAX_ENTRIES runs, nothing changed; or entries in use prevent shrinking.
 *     MAINTENANCE_THREAD  0 ends the thread, and the host calls cellar_tick. E_NOMEM: no thread.
 *             E_BUSY: another change runs, or the call comes from a listener, or from another
 *             callback in that thread.
 *     L2_BYTES  From 16 MiB. The log moves to a file of the new size: SIZES of cellar_l2.h. It
 *             loses nothing but the oldest entries. E_RANGE: fewer than 12 segments of this store,
 *             or too many for its addresses. E_SPACE: the disk has no room for both files. E_BUSY:
 *             another resize runs, or the disk does not go on. E_UNSUPPORTED: no disk tier. E_IO.
 *     NAMESPACE_MAX_ENTRIES  Shrinking evicts before the call returns. The first bound reads the
 *             index, some us for each entry of the store. E_NOMEM, E_SPACE: no memory for the list
 *             of its entries; then the namespace has no bound.
 *     L2_CLOSE_MS  CELLAR_TTL_NONE: no limit. E_UNSUPPORTED: no disk tier.
 *     BLOOM_KEYS  Opens a filter, or sets the size for the next cellar_bloom_feed; 0 drops it.
 *             E_SPACE (budget), E_NOMEM: nothing changed.
 *     ENABLED  See DISABLED. */

/* DISABLED
 * CELLAR_OPT_ENABLED 0 switches a namespace off: the program works as without a cache. Calls that
 * already run use the former state. Entries stay in memory and on disk.
 *     reads    cellar_get and its kin, cellar_get_many, cellar_pin, cellar_contains and
 *              cellar_object_acquire return MISS.
 *     loads    cellar_get_or_load, the bulk load and cellar_object_get_or_load run the loader, or
 *              wait for one that runs. A value is OK with CELLAR_RESULT_NOT_STORED. No failure is
 *              remembered. With CELLAR_LOAD_ONLY_IF_CACHED they return MISS.
 *     leases   cellar_lease_acquire gives the lease. cellar_lease_fulfill hands the value to all
 *              waiters and returns DISABLED.
 *     writes   cellar_set, cellar_set_many, cellar_update, cellar_touch, cellar_increment and
 *              cellar_object_set return DISABLED and change nothing. cellar_write_through writes to
 *              the source, deletes the key and returns DISABLED.
 *     ends     Deletes, clears, deletes by tag or pattern and cellar_version_set work.
 * With ENABLED 1 the entries that are left are served again. A set that returned DISABLED has left
 * the old value: delete the key then, or clear the namespace before it is switched on. */

/* One option of CELLAR_OPTIONS, for cellar_option_set and cellar_option_get. */
typedef enum cellar_option {
#define CELLAR_OPTION_ENUM(name, number, scope, unit, help) CELLAR_OPT_##name = number,
    CELLAR_OPTIONS(CELLAR_OPTION_ENUM)
#undef CELLAR_OPTION_ENUM
} cellar_option;

/* Change an option of the store, or of this namespace, while the program runs. See OPTIONS.
 * in:      c: any handle of the store; for NAMESPACE options the namespace; value in the option's
 *          unit
 * returns: OK (the option has the value); E_RANGE (this store cannot take the value), E_BUSY
 *          (another change of the option runs, or entries in use prevent it), E_SPACE (no room on
 *          disk or in memory), E_NOMEM (no thread or no memory), E_UNSUPPORTED (this store does not
 *          have what the option changes), E_IO (the disk failed).
 *          OPTIONS says which of them an option has, and what is true then
 * thread:  any; of concurrent changes of one option one takes effect
 * cost:    O(1). More for bounds that shrink, L2_BYTES and NAMESPACE_MAX_ENTRIES: see OPTIONS
 * example: cellar_option_set(c, CELLAR_OPT_MEMORY_BYTES, 32 << 20);                              */
CELLAR_API cellar_err cellar_option_set(cellar *c, cellar_option option, int64_t value);

/* Read the value of an option that is in force; for NAMESPACE options with the defaults of the
 * store.
 * in:      c: any handle of the store; for NAMESPACE options the namespace
 * out:     *value: in the unit of the option
 * returns: OK (*value is set)
 * thread:  any
 * cost:    O(1)
 * example:
 *     int64_t bytes;
 *     cellar_option_get(c, CELLAR_OPT_MEMORY_BYTES, &bytes);                                     */
CELLAR_API cellar_err cellar_option_get(cellar *c, cellar_option option, int64_t *value);

/* ---- Key policies ---------------------------------------------------------------------------- */

/* KEY POLICIES
 * Rules say how long entries live, by the pattern of their key. A rule holds for each call that
 * stores a value; reads do not look at rules. The section of a rule is the name of a namespace.
 * Section "*" holds for all namespaces. The option policy_section of a namespace names another
 * section. Rules are structs: of cellar_config, before the first call, or of cellar_policy_set.
 * cellar_policy_read of cellar_kit.h makes rules of a text or a file.
 *
 * PATTERNS  CELLAR_POLICY_KEY: literals and {name}, which stands for one or more bytes without the
 * separator ":". GLOB, DENY and NO_L2: GLOB PATTERNS of cellar_invalidate.h; DENY and NO_L2 ignore
 * ASCII case. The first rule that matches is used, in the order of the array; DENY and NO_L2 come
 * before all others.
 *
 * DENIED    A denied write returns E_DENIED. A denied set without conditions removes the old value
 * of its key, like each failed set, unless CELLAR_KEEP_OLD_VALUE is set. A load of a denied key
 * answers and is not stored. More than CELLAR_TAGS_MAX tags of call and rule are E_LIMIT,
 * CELLAR_DURABLE under a NO_L2 rule is E_UNSUPPORTED: nothing is done. Other calls: CALLS THAT
 * STORE in cellar.h.
 *
 * VALUES    Order of precedence: option of the call, rule, CELLAR_POLICY_SET of the section, that
 * of "*", namespace, store. ttl_max_ms bounds the result.
 *
 * REFRESH   With refresh_ms = 300000 the first load that finds the value five minutes old or older
 * refreshes it: see STALE VALUES in cellar_load.h. The load returns the value. A get never
 * refreshes. eager_refresh_pct and xfetch_beta_x100 of a call win. A value that
 * returns from disk has no such time. A failed refresh is repeated after retry_throttle_ms. loader
 * and priority are for refreshes on a schedule: cellar_refresh_add_policies.
 *
 * QUOTA     quota_max_pct replaces the quota of the namespace. It belongs into a
 * CELLAR_POLICY_SET, or on the glob "*". It is applied when a namespace is opened and when rules
 * are set. A namespace that was created without a quota gets none: a warning is logged, and the
 * rest of the rule holds. */

/* Kind of a cellar_policy_rule. */
typedef enum cellar_policy_kind {
    CELLAR_POLICY_KEY = 0,   /* pattern of literals and {name}: options                          */
    CELLAR_POLICY_GLOB = 1,  /* GLOB PATTERNS of cellar_invalidate.h: options                    */
    CELLAR_POLICY_DENY = 2,  /* writes of keys that match return E_DENIED                        */
    CELLAR_POLICY_NO_L2 = 3, /* keys that match are never written to disk                        */
    CELLAR_POLICY_SET = 4    /* options of the section, for keys without; it has no pattern      */
} cellar_policy_kind;

/* A rule: see KEY POLICIES. 0 or NULL: the option is not set. DENY and NO_L2 have no options. */
typedef struct cellar_policy_rule {
    size_t      struct_size;     /* set by cellar_policy_rule_default()                           */
    cellar_policy_kind kind;     /* kind of the rule. Default CELLAR_POLICY_KEY                   */
    uint32_t    no_l2;           /* 1: entries are never written to disk. Range 0..1              */
    const char *section;         /* namespace or policy_section that the rule holds for. NULL:    */
                                 /* "*"                                                           */
    const char *pattern;         /* pattern of keys: see PATTERNS. At most 1,024 bytes            */
    int64_t     ttl_ms;          /* TTL of values. Range 1..2^52 ms. CELLAR_TTL_NONE: none        */
    int64_t     ttl_max_ms;      /* bound of the TTL, whatever sets it; not in CELLAR_POLICY_SET. */
                                 /* Range 1..2^52 ms                                              */
    int64_t     idle_ms;         /* maximum time without use. Range 1..2^32 - 1 ms.               */
                                 /* CELLAR_TTL_NONE: none                                         */
    int64_t     max_age_ms;      /* maximum age with idle_ms. Range 1..2^52 ms.                   */
                                 /* CELLAR_TTL_NONE: none                                         */
    int64_t     negative_ttl_ms; /* TTL of negative entries. Range 1..2^52 ms.                    */
                                 /* CELLAR_TTL_NONE: none                                         */
    int64_t     stale_ms;        /* stale window. Range 1..2^32 - 1 ms. CELLAR_TTL_NONE: none     */
    int64_t     refresh_ms;      /* a load refreshes a value that is older: see REFRESH.          */
                                 /* Range 1..2^52 ms                                              */
    uint32_t    jitter_pct;      /* spreads the TTL. Range 1..100 percent, or CELLAR_OFF: not     */
                                 /* spread                                                        */
    cellar_jitter jitter_mode;   /* direction in which jitter_pct spreads. Default MINUS          */
    uint32_t    priority;        /* priority of scheduled refreshes. Range 1..3: 1 low, 2 mid, 3  */
                                 /* high                                                          */
    uint32_t    quota_max_pct;   /* share of a namespace: see QUOTA. Range 1..100 percent         */
    uint32_t    line;            /* line of the rule in its text, for E_DENIED and warnings of    */
                                 /* quotas. 0: none                                               */
    const char *ttl_class;       /* its name; ttl_class_fallback for an unknown one               */
    const char *tags;            /* "a,b": added to those of the call                             */
    const char *at;              /* "00:00@Europe/Paris": no entry lives beyond the next such one */
    const char *loader;          /* name of a loader, for scheduled refreshes                     */
    const char *prefix;          /* taken off keys, with one separator. CELLAR_POLICY_SET only    */
    const char *separator;       /* one byte. CELLAR_POLICY_SET only                              */
} cellar_policy_rule;
CELLAR_STRUCT(cellar_policy_rule, separator);

/* Put rules of keys into force in place of the present ones, while the program runs. Entries keep
 * their deadlines.
 * in:      c: any handle of the store; rules, up to 4,096; rule_count 0: no rules
 * returns: OK (these rules replace the old ones); E_CONFIG (a rule is wrong: cellar_last_error
 *          names it, as "rules[3]: .."), E_NOMEM, E_SPACE (memory_bytes has no room for it). After
 *          an error the present rules stay
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

/* Take one rule of cellar_policy_list. The program writes this function.
 * in:      rule: with the options that hold for it; ctx as given with the function
 * returns: true: go on. false: end the list
 * owns:    rule and its texts are borrowed until the return
 * thread:  the thread that calls cellar_policy_list; no lock is held. It may call the library, but
 *          not cellar_policy_set of this store, which would wait for it
 * cost:    it may block; cellar_policy_set waits meanwhile
 * example:
 *     bool print_rule(const cellar_policy_rule *rule, void *file)
 *     {
 *         const char *pattern = rule->pattern;
 *         fprintf(file, "%s\n", pattern != NULL ? pattern : "set");
 *         return true;
 *     }                                                                                          */
typedef bool (*cellar_policy_list_fn)(const cellar_policy_rule *rule, void *ctx);

/* Call a function for each rule of a namespace, in the order of rules. A number that a rule does
 * not set comes from its section, else from "*". Prefix and separator come from its section.
 * in:      c: namespace; fn: called for each rule; ctx: given to fn
 * returns: OK (also without a rule)
 * owns:    ctx lives until the call has returned
 * thread:  any; fn runs in this thread. cellar_policy_set waits for the end of the list
 * cost:    O(rules)
 * example: cellar_policy_list(c, print_rule, stdout);                                            */
CELLAR_API cellar_err cellar_policy_list(cellar *c, cellar_policy_list_fn fn, void *ctx);

/* ---- Memory of the host ---------------------------------------------------------------------- */

/* Count memory of the host in the budget of the store, so that one number bounds both. Entries are
 * evicted for it, as for a value. cellar_resp_open charges its requests and replies so.
 * cellar_close gives back the rest.
 * in:      c: any handle of the store; bytes; below 0: give back so many, in any parts
 * returns: OK (counted, or given back); E_SPACE (not free, and not to be freed: pinned or charged),
 *          E_INVAL (more to give back than were charged); nothing changed
 * thread:  any; listeners may run inside
 * cost:    O(1) and the evictions; charge in chunks
 * example:
 *     if (cellar_memory_charge(c, 1 << 20) == CELLAR_OK)
 *         buf = malloc(1 << 20);                                                                 */
CELLAR_API cellar_err cellar_memory_charge(cellar *c, int64_t bytes);

/* ---- Maintenance and checks ------------------------------------------------------------------ */

/* Run the due work of an object:
 *     a store       expires entries, commits pages ahead, shrinks the index. With no_threads also
 *                   the work of the disk tier: pending writes, syncs, free segments
 *     a limiter     clears idle keys of sliding windows, ends expired permits, moves the origin of
 *                   time once a year, writes a snapshot that is due
 *     a lock table  reports lost locks of keys that no call asks for, drops keys without an owner,
 *                   returns memory
 *     a pool, a batcher  queues what is due. With no_threads also runs it; a function that
 *                   exceeds budget_us ends normally
 * Limiters with sliding windows, concurrency rules or snapshots, and lock tables, want a tick a
 * second. The others start a thread for it, unless no_threads is set.
 * in:      object: what cellar_open, cellar_namespace_open, cellar_limiter_open, cellar_locks_open,
 *          cellar_pool_open or cellar_batcher_open gave;
 *          budget_us 0 = one bounded step. Limiters and lock tables ignore it
 * out:     *wait_ms: time until the next call, 0 with PENDING, INT64_MAX: nothing will be due;
 *          optional. Of a store at most 500, and 20 while it has a tier or a load runs
 * returns: OK (nothing that was due at the call is left; while another thread stays inside a set
 *          for more than 2 ms, entries that it may evict stay due); PENDING (the time ran out, or
 *          another thread does the work: call again); E_UNSUPPORTED (the object has no work); of a
 *          limiter the codes of its snapshot. In a listener of a store and in free_fn OK also while
 *          another tick runs
 * thread:  any; listeners, watchers and, with no_threads, functions of the program run inside
 * cost:    budget_us plus one bounded step at most: of a store 64 entries or dead blocks, or one
 *          huge page, for which the kernel copies 2 MiB. A limiter: at most 16 regions of 4,096
 *          slots and 16,384 permits; a snapshot O(slots). A lock table: O(its keys), with one of 64
 *          stripes locked at a time. The others: O(what is due)
 * example: while (cellar_tick(c, 1000, NULL) == CELLAR_PENDING) {}                               */
CELLAR_API cellar_err cellar_tick(void *object, uint64_t budget_us, int64_t *wait_ms);

/* Check every invariant of every structure of the store: for tests, not for a server at work.
 * in:      c: any handle of the store
 * returns: OK (no fault was found); E_CORRUPT (cellar_last_error names the structure)
 * thread:  any; exact only while no other thread writes (the call stops the maintenance thread)
 * cost:    O(everything); sets wait while one of the stripes is examined
 * example: if (cellar_integrity_check(c) != CELLAR_OK) abort();                                  */
CELLAR_API cellar_err cellar_integrity_check(cellar *c);

#ifdef __cplusplus
}
#endif
#endif
