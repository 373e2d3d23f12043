/* SPDX-License-Identifier: MIT
 *
 * cellar: an in-process cache with one hard memory budget. This header is the core: 22 calls.
 *
 * CALL PATTERN
 *     #include "cellar.h"
 *     cellar_config cfg = cellar_config_default();  // 0 in a field: its default
 *     cfg.memory_bytes = 256u << 20;
 *     cellar *store, *users;                        // a store, and a namespace in it
 *     if (cellar_open(&cfg, &store) != CELLAR_OK) return 1;
 *     if (cellar_namespace_open(store, "users", NULL, &users) != CELLAR_OK) return 1;
 *     cellar_set(users, "user:7", 6, data, data_len, NULL);
 *     cellar_err err = cellar_get(users, "user:7", 6, buf, sizeof buf, &len);
 *     if (err == CELLAR_OK) use(buf, len);          // MISS, ABSENT: no value; below 0: an error
 *     cellar_namespace_close(users);  cellar_close(store); */
#ifndef CELLAR_H
#define CELLAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* HEADERS
 *     cellar.h             open, get, set, delete, touch, increment, clear, many keys, errors
 *     cellar_load.h        loaders, leases
 *     cellar_entry.h       one entry in detail
 *     cellar_invalidate.h  tags, patterns, versions
 *     cellar_l2.h          disk tier
 *     cellar_observe.h     counters, metrics, scans
 *     cellar_admin.h       host, tuning, options at run time
 *     cellar_object.h      objects as entries
 *     cellar_bloom.h       Bloom filters
 *     cellar_breaker.h     circuit breakers
 *     cellar_memo.h        memoized functions
 *     cellar_warm.h        warming, write-through
 *     cellar_tier.h        a tier that processes share
 *     cellar_limit.h       rate limiters
 *     cellar_lock.h        keyed locks
 *     cellar_kit.h         keys, values, settings
 *     cellar_resp.h        port for clients of Redis
 *     cellar_remote.h      a server behind the cache
 *     cellar_task.h        tasks
 *     cellar_schedule.h    intervals, cron
 *     cellar_refresh.h     values refreshed by time
 *     cellar_bus.h         messages, signals
 *     cellar_batch.h       batches, writes behind the cache
 *     cellar_work.h        the last five
 * The drop-in folds them: cellar.h the cache, cellar_all.h all. */

/* The version of this header. cellar_version returns that of the library. */
#define CELLAR_VERSION_MAJOR 0 /* first number of the version of this header                      */
#define CELLAR_VERSION_MINOR 4 /* its second number                                               */
#define CELLAR_VERSION_PATCH 0 /* its third number                                                */
#define CELLAR_VERSION_DEV   1 /* 1: on the way to this version; 0: its release                   */
#define CELLAR_ABI           3 /* rises with every incompatible change; number of the .so */

#ifndef CELLAR_API             /* a host may define: static __attribute__((unused)) */
#if defined(__GNUC__)
#define CELLAR_API __attribute__((visibility("default")))
#else
#define CELLAR_API
#endif
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Codes ---------------------------------------------------------------------------------- */

/* Every code: name, number, text. A number is never reused. 13 is reserved: no call returns it. */
#define CELLAR_CODES(X) \
    X(OK, 0, "success") \
    X(MISS, 1, "no usable value for this key") \
    X(ABSENT, 2, "known to be absent: negative entry or Bloom filter") \
    X(STALE, 3, "value past its TTL, inside its stale window") \
    X(EXISTS, 4, "not stored: the key has a value") \
    X(CONFLICT, 5, "not changed: the version differs") \
    X(LEASED, 6, "the caller holds the lease of this key") \
    X(PENDING, 7, "not finished: call again, or wait for the running load") \
    X(INVALIDATED, 8, "delivered, not stored: a change came first") \
    X(LIMITED, 9, "denied by a rate limit") \
    X(UNROUTED, 10, "no route matches") \
    X(DISABLED, 11, "not done: the namespace is switched off") \
    X(DROPPED, 12, "not stored: no room in time") \
    X(REMOVED, 14, "the update function removed the entry") \
    X(DEFERRED, 15, "changed here; the shared server is told later") \
    X(E_INVAL, -1, "invalid argument") \
    X(E_NOMEM, -2, "out of memory or threads") \
    X(E_SPACE, -3, "does not fit into the memory budget") \
    X(E_TOOBIG, -4, "larger than the configured maximum") \
    X(E_BUFFER, -5, "the buffer of the caller is too small") \
    X(E_BUSY, -6, "in use, or too many rounds lost to other writers") \
    X(E_LIMIT, -7, "a configured limit is reached") \
    X(E_TYPE, -8, "the stored value has another type") \
    X(E_RANGE, -9, "number out of range") \
    X(E_CLOSED, -10, "the handle or its store is closed") \
    X(E_FORKED, -11, "not available in a forked child") \
    X(E_UNSUPPORTED, -12, "not supported by this build or version") \
    X(E_IO, -13, "input or output failed") \
    X(E_DENIED, -14, "denied by policy") \
    X(E_CONFIG, -15, "configuration has an error") \
    X(E_ABI, -16, "header and library do not belong together") \
    X(E_LOADER, -17, "the loader failed") \
    X(E_NO_RESULT, -18, "the loader set no result") \
    X(E_RESULT_TWICE, -19, "the loader set two results") \
    X(E_TIMEOUT, -20, "deadline passed") \
    X(E_DEADLOCK, -21, "the wait would never end") \
    X(E_DEPTH, -22, "nested too deeply") \
    X(E_BREAKER_OPEN, -23, "circuit breaker open") \
    X(E_LEASE, -24, "lease unknown, expired or already used") \
    X(E_CORRUPT, -25, "stored data is damaged") \
    X(E_FOREIGN, -26, "not a file of cellar") \
    X(E_NEWER_FORMAT, -27, "format of another version") \
    X(E_NOT_OWNER, -28, "held by another owner") \
    X(E_LOST, -29, "lost: the lease ended before") \
    X(E_NOT_FOUND, -30, "unknown name") \
    X(E_NEVER, -31, "would never happen") \
    X(E_CLOCK, -32, "clock reading not plausible") \
    X(E_TICKET_USED, -33, "ticket already used") \
    X(E_CANCELLED, -34, "cancelled")

/* The result of a call: 0 is success, a positive code an outcome, a negative one an error; see
 * CONVENTIONS. 13 is reserved: no call returns it. What a program does with each code stands in the
 * guide, "What to do with a code". cellar_strerror returns the sentence of a code, cellar_code_name
 * its name. */
typedef enum cellar_err {
#define CELLAR_CODE_ENUM(name, number, text) CELLAR_##name = number,
    CELLAR_CODES(CELLAR_CODE_ENUM)
#undef CELLAR_CODE_ENUM
} cellar_err;

/* ---- Limits and types ----------------------------------------------------------------------- */

/* Fixed limits of the calls, and two numbers with a meaning of their own in options; see TIMES. */
#define CELLAR_KEY_MAX            65535u      /* bytes of a key                                   */
#define CELLAR_VALUE_MAX          1073741823u /* 2^30 - 1; max_value_bytes is usually smaller     */
#define CELLAR_NAME_MAX           64u         /* bytes of the name of a namespace                 */
#define CELLAR_TAG_MAX            128u        /* bytes of one tag                                 */
#define CELLAR_TAGS_MAX           16u         /* tags of one entry                                */
#define CELLAR_TTL_CLASSES_MAX    16u         /* TTL classes of one namespace                     */
#define CELLAR_TTL_CLASS_NAME_MAX 31u         /* bytes of the name of a TTL class                 */
#define CELLAR_PATTERN_MAX        1024u       /* bytes of a pattern                               */
#define CELLAR_MEMORY_MIN         1048576u    /* smallest budget: 1 MiB                           */
#define CELLAR_TTL_NONE           INT64_MAX   /* no limit                                         */
#define CELLAR_OFF                UINT32_MAX  /* none, where 0 in an option is a default          */

/* Eviction policy, for cellar_config.eviction and CELLAR_OPT_EVICTION. ADAPTIVE switches between
 * the rules below as the hit ratio demands. */
typedef enum cellar_eviction {
    CELLAR_EVICT_DEFAULT = 0,  /* ADAPTIVE */
    CELLAR_EVICT_ADAPTIVE = 1, /* switches between rules */
    CELLAR_EVICT_S3FIFO = 2,   /* a queue of new and one of used entries */
    CELLAR_EVICT_LRU = 3,      /* evicts the least recently used entry */
    CELLAR_EVICT_FIFO = 4      /* evicts the oldest entry */
} cellar_eviction;

/* Where an entry was found, or the lowest tier that a namespace uses. */
typedef enum cellar_tier {
    CELLAR_TIER_DEFAULT = 0, /* L2 if the store has a disk tier */
    CELLAR_TIER_L1 = 1,      /* memory */
    CELLAR_TIER_L2 = 2       /* disk */
} cellar_tier;

/* When a namespace writes its entries to disk; see cellar_l2.h. */
typedef enum cellar_l2_write {
    CELLAR_L2_WRITE_DEFAULT = 0,     /* of a namespace: of the store; of a store: ON_EVICTION */
    CELLAR_L2_WRITE_ON_EVICTION = 1, /* when the entry leaves memory */
    CELLAR_L2_WRITE_ON_SET = 2,      /* with each change; the disk may drop it */
    CELLAR_L2_WRITE_THROUGH = 3      /* with each change; the call waits for the log */
} cellar_l2_write;

/* How jitter_pct spreads a TTL; in the options of sets, loads, rules and cellar_tuning_config. */
typedef enum cellar_jitter {
    CELLAR_JITTER_MINUS = 0,    /* shorter only: no entry outlives its TTL */
    CELLAR_JITTER_PLUS = 1,     /* longer only */
    CELLAR_JITTER_PLUSMINUS = 2 /* shorter or longer */
} cellar_jitter;

/* A handle: a store (its root namespace), or one namespace of it. cellar_open makes a store,
 * cellar_close ends it. cellar_namespace_open and cellar_namespace_close do so for a namespace. */
typedef struct cellar cellar;

/* Bytes of the caller: keys, tags and values in options and lists. The library only reads them. */
typedef struct cellar_bytes {
    const void *data; /* `len` bytes; NULL is allowed with len 0 */
    size_t      len;
} cellar_bytes;

#ifdef __cplusplus
#define CELLAR_ZERO(type, name)          type name = type()
#define CELLAR_SIZEOF_FIELD(type, field) sizeof(type::field)
#else
#define CELLAR_ZERO(type, name)          type name = { 0 }
#define CELLAR_SIZEOF_FIELD(type, field) sizeof(((type *)0)->field)
#endif
/* Fail to compile when the struct has tail padding: any prefix of a struct is a valid struct. */
#define CELLAR_PACKED(type, last) \
    typedef char type##_is_packed[ \
        offsetof(type, last) + CELLAR_SIZEOF_FIELD(type, last) == sizeof(type) ? 1 : -1]
/* Define type_default(): struct_size is set, every other field is zero. */
#define CELLAR_STRUCT(type, last) \
    static inline type type##_default(void) \
    { \
        CELLAR_ZERO(type, o); \
        o.struct_size = sizeof(type); \
        return o; \
    } \
    CELLAR_PACKED(type, last)
/* Enums are 4 bytes; -fshort-enums fails here. */
typedef char cellar_enums_are_int[sizeof(cellar_eviction) == sizeof(int) ? 1 : -1];

/* ---- Options -------------------------------------------------------------------------------- */

struct cellar_load;
struct cellar_load_opts;
struct cellar_breaker_config;
struct cellar_l2_config;
struct cellar_host_config;
struct cellar_tuning_config;

/* Load the value of a key from its source, such as a database. The program writes this function and
 * gives it to cellar_get_or_load, which calls it when the cache has no value. Call exactly one of
 * these functions, then return OK:
 *     cellar_load_value         the value is a copy of these bytes
 *     cellar_load_buf           the value is what is appended to this buffer
 *     cellar_load_take          the value is this block, which the library frees
 *     cellar_load_object        the value is this object (cellar_object.h)
 *     cellar_load_absent        the source has no value for the key
 *     cellar_load_not_modified  the old value, of cellar_load_info_get, is still valid
 *     cellar_load_fail          the load fails, with a code and a pause of the caller's choice
 * Before the return cellar_load_opts_set may set TTL, tags and flags of the value.
 * in:      load: the running load, first argument of these functions; key, key_len: the key to
 *          load; ctx as given with the function
 * returns: OK: the result counts. Any other code, also MISS and ABSENT, fails the load and becomes
 *          loader_err of cellar_result; a value that was reported before is dropped. OK without a
 *          result is E_NO_RESULT, with two results E_RESULT_TWICE
 * owns:    load and key are borrowed until the return. ctx lives until the call has returned; for
 *          background loads see STALE VALUES in cellar_load.h
 * thread:  the calling thread; in the background a thread of the store, or that of cellar_tick. One
 *          function loads several keys at once. No lock is held. The function may call the
 *          library, but not close its store; load other keys (RECURSION in cellar_load.h); be
 *          cancelled (deferred); end its thread
 * cost:    it may block. Callers of the same key wait meanwhile; after hard_timeout_ms one of them
 *          loads
 * example:
 *     cellar_err load_row(cellar_load *load, const void *key,
 *                         size_t key_len, void *db)
 *     {
 *         struct row row;
 *         switch (db_find(db, key, key_len, &row)) {
 *         case DB_FOUND: return cellar_load_value(load, row.text, row.len);
 *         case DB_NONE: return cellar_load_absent(load);
 *         default: return cellar_load_fail(load, 503, 2000, 0);
 *         }
 *     }                                                                                          */
typedef cellar_err (*cellar_loader_fn)(struct cellar_load *load, const void *key, size_t key_len,
                                       void *ctx);

/* Load many keys from their source in one call, for cellar_get_or_load_many. Select each key by its
 * index with cellar_load_select, then report its result like a cellar_loader_fn does.
 * in:      load: the running load, first argument of these calls; keys, key_count: the keys to
 *          load, 1..4,096 of them; ctx as given with the function
 * returns: OK. A key without a result gets E_NO_RESULT. Any other code fails the keys without a
 *          result and becomes their loader_err; keys that have a result keep it
 * owns:    load and keys are borrowed until the return; ctx lives until the call has returned
 * thread:  the calling thread, or a thread of cellar_warm. Several calls may run it at once. No
 *          lock is held. It may do what a cellar_loader_fn may
 * cost:    it may block; callers of its keys wait
 * example:
 *     cellar_err load_rows(cellar_load *load, const cellar_bytes *keys,
 *                          size_t n, void *db)
 *     {
 *         for (size_t i = 0; i < n; i++) {
 *             struct row row;
 *             const cellar_bytes *key = &keys[i];
 *             const int found = db_find(db, key->data, key->len, &row);
 *             cellar_load_select(load, i);
 *             if (found == DB_FOUND)
 *                 cellar_load_value(load, row.text, row.len);
 *             else if (found == DB_NONE)
 *                 cellar_load_absent(load);
 *         }
 *         return CELLAR_OK;
 *     }                                                                                          */
typedef cellar_err (*cellar_loader_many_fn)(struct cellar_load *load, const cellar_bytes *keys,
                                            size_t key_count, void *ctx);

/* Return the next key of the source. The program writes this function for cellar_bloom_feed and
 * cellar_warm, which call it until it returns another code than OK.
 * in:      ctx as given with the function
 * out:     *key, 1..CELLAR_KEY_MAX bytes, with OK
 * returns: OK; MISS: no key is left; a negative code: the enumeration failed, and the call returns
 *          it. Any other positive code counts as E_INVAL
 * owns:    the bytes of *key stay valid until the next call of the function, or until the end
 * thread:  the thread of the call that got the function, never two at once; no lock is held. Of
 *          cellar_bloom_feed: the function must not end its thread
 * cost:    it may block
 * example:
 *     cellar_err next_row(cellar_bytes *key, void *rows)
 *     {
 *         if (!rows_step(rows)) return CELLAR_MISS;
 *         key->data = rows_key(rows);
 *         key->len = rows_key_len(rows);
 *         return CELLAR_OK;
 *     }                                                                                          */
typedef cellar_err (*cellar_next_key_fn)(cellar_bytes *key, void *ctx);

/* A named TTL, for cellar_namespace_config.ttl_classes. cellar_ttl_class_find returns its number,
 * which cellar_set_opts.ttl_class takes. */
typedef struct cellar_ttl_class {
    const char *name;   /* 1..CELLAR_TTL_CLASS_NAME_MAX bytes, copied */
    int64_t     ttl_ms; /* From 1 ms. CELLAR_TTL_NONE: none */
} cellar_ttl_class;

/* Options of a namespace, for cellar_namespace_open and cellar_config.root. Many programs set
 * default_ttl_ms alone. Each field that stays 0 has its default.
 *
 * max_entries: at no moment does the namespace have more entries in memory, with any number of
 * threads, whatever stores them: sets, loads, leases, updates, increments, reads from disk. A new
 * key in a full namespace evicts an entry of that namespace, with the cause EVICTED, and none of
 * another. The victim is the oldest entry, unless a get or a set has used it since; FIFO ignores
 * uses. A set of another length makes its entry the newest. Expired entries count until they are
 * reclaimed; cleared entries do not count. A pinned entry may leave, and its bytes stay readable.
 * The list takes 24 bytes for each entry.
 *
 * hidden is for secrets: it keeps values in memory only, and keys out of texts. After the first
 * open of a hidden namespace the store overwrites old values of all its namespaces:
 * - in the call that deletes, replaces or evicts the value;
 * - cleared and expired values in the tick that reclaims them;
 * - a pinned value when its memory is reclaimed after cellar_unpin;
 * - copies inside calls (loads, updates, scans) in cellar_result_free and cellar_free.
 * Core dumps leave out the memory that holds the values, not the copies inside calls. The store
 * does not overwrite buffers of the host, nor blocks that it gave to cellar_load_take. */
typedef struct cellar_namespace_config {
    size_t   struct_size;      /* set by cellar_namespace_config_default()                        */
    /* ---- Times */
    int64_t  default_ttl_ms;     /* TTL of entries stored without one; of loads with jitter_pct.  */
                                 /* From 1 ms. Default 0: of the store. CELLAR_TTL_NONE: none     */
    int64_t  negative_ttl_ms;    /* TTL of negative entries. From 1 ms. Default 0: of the store.  */
                                 /* CELLAR_TTL_NONE: none                                         */
    int64_t  idle_ms;            /* maximum time without use; not for loaded values.              */
                                 /* Range 1..2^32 - 1 ms. Default 0: of the store.                */
                                 /* CELLAR_TTL_NONE: none                                         */
    int64_t  max_age_ms;         /* maximum age of an entry with idle time. Each set and update   */
                                 /* starts it again, except with CELLAR_KEEP_TTL. From 1 ms.      */
                                 /* Default 0: of the store. CELLAR_TTL_NONE: none                */
    int64_t  stale_ms;           /* stale window after the TTL. Range 1..2^32 - 1 ms.             */
                                 /* Default 0: of the store                                       */
    /* ---- TTL classes */
    const cellar_ttl_class *ttl_classes; /* named TTLs, each name once; copied. Default NULL: none*/
    uint32_t ttl_class_count;    /* classes at ttl_classes. Range 0..CELLAR_TTL_CLASSES_MAX.      */
                                 /* Default 0                                                     */
    uint32_t ttl_class_fallback; /* class number for unknown names. Range 1..ttl_class_count.     */
                                 /* Default 0: class 1                                            */
    /* ---- Entries */
    uint32_t version;            /* public version. Range 1..2^32 - 1. Another number than the    */
                                 /* stored one acts as cellar_version_set. Default 0: as stored,  */
                                 /* else 1. Shared: see cellar_remote_attach                      */
    uint32_t exact_age;          /* 1: each entry stores its birth, 8 bytes: exact ages, also in  */
                                 /* each hit of a load (Age: of HTTP). Default 0: off             */
    uint32_t quota_max_pct;      /* most of all entry bytes, see cellar_namespace_open. Range     */
                                 /* 1..100 percent. Default 0: no quota                           */
    uint32_t hidden;             /* 1: memory only, and absent from metrics, dumps and explains;  */
                                 /* read when the namespace is first opened. Default 0            */
    /* ---- Disk */
    uint32_t l2_lz4;             /* 1: LZ4 on disk; read when the namespace is first opened.      */
                                 /* Default 0: no compression                                     */
    cellar_tier        tier;     /* CELLAR_TIER_L1: memory only; read when first opened. Default  */
                                 /* 0: L2 if the store has a disk tier                            */
    cellar_l2_write    l2_write; /* when entries are written to disk; read when the namespace is  */
                                 /* first opened. Default 0: cellar_l2_config.write               */
    /* ---- Bloom filter */
    uint32_t bloom_fpr_ppm;      /* rate of false positives of its Bloom filter, in 10^-6. Range  */
                                 /* 100..500,000. Default 10,000                                  */
    uint64_t bloom_keys;         /* keys of its Bloom filter, cellar_bloom.h. Range 1..2^40.      */
                                 /* Default 0: none; of a namespace that has one: unchanged       */
    /* ---- Loads */
    const struct cellar_load_opts *load; /* defaults of its loads; NULL = none; copied            */
    cellar_loader_fn      loader; /* runs for loads that bring none of their own; NULL = none     */
    cellar_loader_many_fn loader_many; /* runs for bulk loads that bring none; NULL = none        */
    void *loader_ctx;            /* lives until the store is closed, or until the namespace is    */
                                 /* dropped and its running loads have ended                      */
    const struct cellar_breaker_config *breaker; /* breaker of its loads; NULL: none; fixed at    */
                                 /* first open                                                    */
    /* ---- Entries */
    const char *policy_section;  /* section of the rules, to 64 bytes; NULL: its own name         */
    uint32_t log_level;          /* a cellar_log_level for its own lines. Range 1..5.             */
                                 /* Default 0: of the store                                       */
    uint32_t max_entries;        /* most entries in memory. Range 1..2^32 - 1. Default 0: no      */
                                 /* bound                                                         */
    const struct cellar_object_config *object; /* its entries are objects, cellar_object.h; NULL: */
                                 /* bytes; copied when the namespace is created                   */
} cellar_namespace_config;
CELLAR_STRUCT(cellar_namespace_config, object);

/* Options of a store, for cellar_open. Most programs set memory_bytes alone; l2_path and l2_bytes
 * add a disk tier. */
typedef struct cellar_config {
    size_t   struct_size;     /* set by cellar_config_default(), with abi                         */
    uint32_t abi;             /* CELLAR_ABI of the caller's header; 0 = not checked               */
    cellar_eviction eviction; /* eviction policy. Default ADAPTIVE                                */
    uint64_t memory_bytes;    /* the one budget. Range CELLAR_MEMORY_MIN (1 MiB)..2^63 - 1 bytes. */
                              /* Default 64 MiB                                                   */
    uint64_t max_entries;     /* most entries in memory. Range 1..2^63 - 1. Default 0: no bound   */
    int64_t  default_ttl_ms;  /* TTL of entries stored without one. From 1 ms. Default 0: none    */
    int64_t  negative_ttl_ms; /* TTL of negative entries. From 1 ms. CELLAR_TTL_NONE: none.       */
                              /* Default 60,000. They and remembered errors hold 1/8 of           */
                              /* memory_bytes and of max_entries at most                          */
    int64_t  idle_ms;         /* maximum time without use. Range 1..2^32 - 1 ms. Default 0: none  */
    int64_t  max_age_ms;      /* maximum age of an entry with idle time. From 1 ms.               */
                              /* Default 0: none                                                  */
    int64_t  stale_ms;        /* stale window after the TTL. Range 1..2^32 - 1 ms.                */
                              /* Default 0: none                                                  */
    const char *l2_path;      /* directory of the disk tier; created. Default NULL: no disk tier */
    uint64_t l2_bytes;        /* size of all its files. Range 16 MiB..4 TiB. Required with        */
                              /* l2_path; else 0                                                  */
    const cellar_namespace_config     *root; /* options of the root namespace; NULL = defaults    */
    const struct cellar_l2_config     *l2;   /* cellar_l2.h; NULL = defaults                      */
    const struct cellar_host_config   *host; /* cellar_admin.h; NULL = defaults                   */
    const struct cellar_tuning_config *tuning; /* cellar_admin.h; NULL = defaults                 */
    const struct cellar_policy_rule *rules; /* rules of writes: KEY POLICIES in cellar_admin.h    */
    size_t   rule_count;      /* Range 0..4,096. Default 0: no rules                              */
} cellar_config;
CELLAR_PACKED(cellar_config, rule_count);

static inline cellar_config cellar_config_default(void)
{
    CELLAR_ZERO(cellar_config, o);
    o.struct_size = sizeof(cellar_config);
    o.abi = CELLAR_ABI;
    return o;
}

/* ---- Open and close ------------------------------------------------------------------------- */

/* Open a store and return the handle of its root namespace. A program opens a store once, uses it
 * in all its threads, and closes it with cellar_close.
 * in:      cfg from cellar_config_default; NULL = all defaults
 * out:     *out, NULL on failure
 * returns: OK (the store is open);
 *          E_NOMEM (no memory, address space or thread; or memory_bytes is too small for the index
 *          of l2_bytes), E_CONFIG (a rule is wrong: cellar_last_error names it);
 *          E_IO (a file of the disk tier cannot be made, read or written), E_BUSY (another store
 *          uses l2_path), E_FOREIGN (l2_path holds files of another program), E_NEWER_FORMAT
 *          (l2_path has a newer format), E_CORRUPT (l2_path is damaged and was not set aside),
 *          E_UNSUPPORTED (l2_path is on a network file system, or THROUGH without a disk).
 *          After an error no store is open. With l2 option `optional` a disk tier that cannot open
 *          is no error. cellar_last_error(NULL, ..) has the reason in words
 * owns:    the caller closes *out with cellar_close. Everything in cfg is copied, except each ctx
 * thread:  any; a process may open several stores
 * cost:    reserves address space (32 x budget, from 256 MiB on, halved until granted), starts one
 *          thread
 * example:
 *     cellar_config cfg = cellar_config_default();
 *     cfg.memory_bytes = 256u << 20;
 *     cellar *c;
 *     if (cellar_open(&cfg, &c) != CELLAR_OK) return 1;                                          */
CELLAR_API cellar_err cellar_open(const cellar_config *cfg, cellar **out);

/* Open a store by its bounds alone, without a struct: for callers of other languages, which have
 * neither the inline defaults nor the layout of cellar_config.
 * in:      memory_bytes, max_entries as in cellar_config; 0 = its default
 * out:     *out, NULL on failure
 * returns: OK (the store is open); E_NOMEM (memory, address space, or the maintenance thread)
 * owns:    the caller closes *out with cellar_close
 * thread:  any
 * cost:    as cellar_open
 * example: cellar_open_sized(64u << 20, 0, &c);                                                  */
CELLAR_API cellar_err cellar_open_sized(uint64_t memory_bytes, uint64_t max_entries, cellar **out);

/* Close a store. The call waits for running loads for close_timeout_ms at most (field of
 * cellar_tuning_config, default 5 s), and meanwhile refuses new loads with E_CLOSED. If a loader
 * still runs then, the call returns E_BUSY and the store is open as before: the running loads go
 * on, and new loads run again. Call it again later.
 * in:      the handle from cellar_open; NULL is fine
 * returns: OK (the store is closed); DROPPED (all is closed, but some entries of memory are not on
 *          disk: cellar_l2.h, CLOSE), E_CLOSED (the store was closed before), E_INVAL (this is the
 *          handle of a namespace; the first time the log has a line), E_BUSY (a loader still runs:
 *          call again), E_DEADLOCK (the caller is a loader or a fallback of the store, or a
 *          callback in its maintenance thread). With the last four codes nothing is closed
 * owns:    frees all memory and joins the maintenance thread. Values that are still pinned become
 *          invalid: call cellar_unpin before the close, never after it. Namespace handles that are
 *          still open return E_CLOSED until they are closed
 * thread:  any; must not overlap other calls on the same store but loads. If all running loads only
 *          wait, for a lease or for another process, they return E_CLOSED and the store closes
 * cost:    O(committed memory); no listener is called for the entries of the store
 * example: cellar_close(c);                                                                      */
CELLAR_API cellar_err cellar_close(cellar *c);

/* Open a namespace, and create it if it is new. A namespace has its own keys, options and counters:
 * the same key in two namespaces names two entries.
 * in:      c: any handle of the store; name of 1..64 bytes; o: options, NULL = defaults. For an
 *          existing namespace a given o replaces its options, unless only `object` is set.
 *          quota_max_pct: the namespace evicts its own entries to stay below this share of all
 *          entry bytes; it passes the share by 1/40 of memory_bytes at most. Other namespaces use
 *          what a namespace leaves free. A quota is given at creation and may change later
 * out:     *out, NULL on failure
 * returns: OK (*out is the namespace); E_INVAL (a quota for a namespace that was created without a
 *          quota), E_TYPE (`object` is set, and the namespace holds bytes, or objects of another
 *          free_fn or ctx), E_UNSUPPORTED (l2_lz4 in a library without liblz4; l2_write
 *          THROUGH without a disk: WRITES TO DISK in cellar_l2.h), E_LIMIT (max_namespaces, or 63
 *          namespaces with quotas, exist), E_NOMEM (no memory for a namespace), E_SPACE
 *          (memory_bytes has no room for bloom_keys or max_entries), E_IO (the disk or a shared
 *          server did not confirm a new version: see LOWER TIERS, and call again)
 * owns:    handles are counted: pair each OK with one cellar_namespace_close; equal names give
 *          equal pointers
 * thread:  any
 * cost:    one lock; one allocation for a new name. For max_entries of an existing namespace as
 *          CELLAR_OPT_NAMESPACE_MAX_ENTRIES
 * example:
 *     cellar_namespace_config o = cellar_namespace_config_default();
 *     o.default_ttl_ms = 300000;
 *     cellar *users;
 *     if (cellar_namespace_open(c, "users", &o, &users) != CELLAR_OK)
 *         return 1;
 *     cellar_namespace_close(users);                                                             */
CELLAR_API cellar_err cellar_namespace_open(cellar *c, const char *name,
                                            const cellar_namespace_config *o, cellar **out);

/* Close a namespace handle. The entries stay: the next cellar_namespace_open of that name finds
 * them.
 * in:      a handle from cellar_namespace_open, once for each OK; NULL is fine
 * returns: OK (the handle is closed); E_CLOSED (closed before; nothing done); E_INVAL (the root
 *          handle: nothing done)
 * owns:    the last close ends the handle: no other call may use it afterwards
 * thread:  any; also after the close of the store
 * cost:    one lock
 * example: cellar_namespace_close(users);                                                        */
CELLAR_API cellar_err cellar_namespace_close(cellar *c);

/* ---- One key -------------------------------------------------------------------------------- */

/* Copy the value of `key` into `buf`. This is the usual read. A get never loads a missing value;
 * cellar_get_or_load does.
 * in:      key; buf_cap in bytes, 0 asks for the size (buf may be NULL)
 * out:     *value_len is the full size, also when the value does not fit; optional. The bytes of
 *          buf behind the value are undefined: a concurrent writer may leave those of another value
 * returns: OK (buf has the value), MISS (no value, or a value in its stale window: load it), ABSENT
 *          (the source is known to have none); E_BUFFER (the value does not fit: *value_len is its
 *          length), E_LIMIT (a long value, and other threads use all slots for copies: call again)
 * owns:    buf stays with the caller and has a copy
 * thread:  any; a usual hit takes no lock
 * cost:    hit: no lock and no shared write, O(key_len + value_len); no clock reading unless the
 *          entry has a deadline. An entry that is only on disk: one disk read, which blocks
 * example:
 *     char buf[256];
 *     size_t len;
 *     switch (cellar_get(c, "k", 1, buf, sizeof buf, &len)) {
 *     case CELLAR_OK: use(buf, len); break;
 *     case CELLAR_E_BUFFER: grow(len); break; // the value has len bytes
 *     default: break; // MISS, ABSENT: no value; below 0: an error
 *     }                                                                                          */
CELLAR_API cellar_err cellar_get(cellar *c, const void *key, size_t key_len,
                                 void *buf, size_t buf_cap, size_t *value_len);

/* Copy a text value: a get for programs that store texts. buf always holds a terminated text: the
 * value, or an empty text.
 * in:      key: a text, terminated; buf_cap: bytes of buf, from 1
 * out:     buf; empty unless the call returns OK; undefined behind the zero byte, as in cellar_get
 * returns: OK (buf has the text), MISS (no value, or a value in its stale window), ABSENT (a
 *          negative entry: the source has none); E_BUFFER (the value and its
 *          zero byte do not fit), E_LIMIT (a long value, and other threads use all slots for
 *          copies: call again)
 * thread:  any
 * cost:    like cellar_get
 * example:
 *     char name[64];
 *     if (cellar_get_str(c, "user:7", name, sizeof name) == CELLAR_OK)
 *         puts(name);                                                                            */
CELLAR_API cellar_err cellar_get_str(cellar *c, const char *key, char *buf, size_t buf_cap);

/* Copy a value of unknown length into new memory. A zero byte follows the value.
 * in:      key
 * out:     *value, never NULL with OK; *value_len without the zero byte; NULL and 0 on failure
 * returns: OK (*value is the copy), MISS (no value, or a value in its stale window), ABSENT (a
 *          negative entry: the source has none); E_NOMEM (no memory for the
 *          copy), E_LIMIT (a long value, and other threads use all slots for copies: call again)
 * owns:    the caller frees *value with cellar_free, also after the store was closed
 * thread:  any
 * cost:    as cellar_get, and one allocation by the store's allocator, not charged to the budget
 * example:
 *     void *value;
 *     size_t len;
 *     if (cellar_get_alloc(c, "k", 1, &value, &len) == CELLAR_OK) {
 *         use(value, len);
 *         cellar_free(value);
 *     }                                                                                          */
CELLAR_API cellar_err cellar_get_alloc(cellar *c, const void *key, size_t key_len,
                                       void **value, size_t *value_len);

/* Free a value from cellar_get_alloc or cellar_delete_with, or rules from cellar_policy_read.
 * in:      NULL is fine
 * thread:  any
 * cost:    one free
 * example: cellar_free(NULL);                                                                    */
CELLAR_API void cellar_free(void *value);

/* Check whether a key has a live value, without a copy. The check does not update recency, idle
 * time or statistics.
 * in:      key
 * returns: OK (it has one), MISS (it has none; also for a negative entry and in the stale window)
 * thread:  any
 * cost:    like cellar_get without the copy; an entry that is only on disk: one disk read, which
 *          blocks
 * example: if (cellar_contains(c, "k", 1) == CELLAR_OK) puts("there");                           */
CELLAR_API cellar_err cellar_contains(cellar *c, const void *key, size_t key_len);

/* Flags of cellar_set_opts: conditions, what stays of the old entry, and the disk. The contract of
 * each call names the flags that it takes. */
#define CELLAR_ONLY_IF_ABSENT  0x0001u /* store only if the key has no live value; else EXISTS    */
#define CELLAR_ONLY_IF_PRESENT 0x0002u /* replace only a live value; else MISS                    */
#define CELLAR_ONLY_IF_VERSION 0x0004u /* replace only a live value of if_version; else CONFLICT  */
#define CELLAR_KEEP_OLD_VALUE  0x0008u /* a failed set keeps the old value: see cellar_set        */
#define CELLAR_KEEP_TTL        0x0010u /* keep deadline and windows of a live value; else TTL     */
#define CELLAR_NEGATIVE        0x0020u /* store "known absent"; value_len 0; negative_ttl_ms      */
#define CELLAR_DURABLE         0x0040u /* survive a power cut; E_IO: stored in memory only        */
#define CELLAR_NO_L2           0x0080u /* never write this entry to disk; not with DURABLE        */
#define CELLAR_REPLACE         0x0100u /* cellar_update: drop tags, user_flags of the old value   */
#define CELLAR_NO_STORE        0x0200u /* cellar_load_opts_set alone: return it, do not store it  */

/* Options of one write, for cellar_set, cellar_set_many, cellar_update, cellar_increment,
 * cellar_write_through, cellar_lease_fulfill, cellar_load_opts_set and cellar_object_set. The
 * contract of each call says which fields and flags it takes. */
typedef struct cellar_set_opts {
    size_t   struct_size;       /* set by cellar_set_opts_default()                               */
    int64_t  ttl_ms;            /* TTL. From 1 ms. Default 0: of the TTL class, else of the       */
                                /* namespace. CELLAR_TTL_NONE: none                               */
    int64_t  idle_ms;           /* maximum time without use. Range 1..2^32 - 1 ms. Default 0: of  */
                                /* the namespace. CELLAR_TTL_NONE: none                           */
    int64_t  max_age_ms;        /* maximum age of an entry with idle time. From 1 ms.             */
                                /* Default 0: of the namespace. CELLAR_TTL_NONE: none             */
    int64_t  stale_ms;          /* stale window after the TTL. Range 1..2^32 - 1 ms.              */
                                /* Default 0: of the namespace. CELLAR_TTL_NONE: none             */
    uint64_t if_version;        /* with ONLY_IF_VERSION: replace only this version, a             */
                                /* cellar_entry_info.version. From 1                              */
    uint64_t *new_version;      /* receives a version of the new entry; optional                  */
    const cellar_bytes *tags;   /* 1..CELLAR_TAG_MAX bytes each; copied; they replace the old     */
                                /* tags of the entry; none removes them                           */
    uint32_t tag_count;         /* tags at `tags`. Range 0..CELLAR_TAGS_MAX. Default 0: none      */
    uint32_t flags;             /* bits CELLAR_ONLY_IF_.., _KEEP_.., _NEGATIVE, _DURABLE, _NO_L2  */
                                /* .. Default 0: none                                             */
    uint32_t ttl_class;         /* number from cellar_ttl_class_find. Range 1..ttl_class_count of */
                                /* the namespace. Default 0: none                                 */
    uint32_t user_flags;        /* 32 bits of the caller; 4 bytes an entry unless 0.              */
                                /* Range 0..2^32 - 1. Default 0                                   */
    uint32_t cost_us;           /* time to make the value. Range 1..2^32 - 1 us.                  */
                                /* Default 0: unknown                                             */
    uint32_t jitter_pct;        /* spreads the TTL, never beyond max_age_ms. Range 1..100         */
                                /* percent. Default 0: not spread                                 */
    cellar_jitter jitter_mode;  /* direction in which jitter_pct spreads. Default MINUS           */
    uint32_t reserved0;         /* must be 0                                                      */
    uint64_t weight_bytes;      /* charged beyond key and value, see WEIGHT. Range 1 byte..half   */
                                /* of memory_bytes. Default 0: none                               */
} cellar_set_opts;
CELLAR_STRUCT(cellar_set_opts, weight_bytes);

/* NO ROOM
 * A set returns E_SPACE in five cases:
 *     memory      pins, quotas or large values leave no room: release pins, or raise
 *                 memory_bytes
 *     negative    negative entries hold their eighth of the memory, and none can be evicted
 *     places      sets that do not end for seconds hold every place of max_entries
 *     disk        an update, an increment or a set with a condition read its entry from the disk,
 *                 and memory evicted it four times before the change; an update or an increment
 *                 changes nothing then
 *     server      the server of a shared namespace is out of memory: raise its maxmemory,
 *                 or shared_bytes of a port */

/* LOWER TIERS
 * A namespace may have a tier below memory. Each change is told to that tier, and a code says when
 * the tier failed:
 *     disk    E_IO: the change is done in memory, and reads see it. The disk did not confirm it.
 *             When the process ends, a value may be lost; a power cut may bring the old state back.
 *             Call again, or call cellar_sync, when the disk works: see cellar_l2.h
 *     disk    E_TIMEOUT: the change depends on an entry that the disk did not read within 1 s.
 *             Nothing changed. Call again when the disk works: FAILURES of cellar_l2.h
 *     queue   E_IO: a queue of cellar_batch.h had no room for 1 s. The write did not happen, and
 *             the entry is deleted: call again later
 *     server  DEFERRED, E_IO, E_TIMEOUT and others: see WRITES in cellar_remote.h. After E_TIMEOUT
 *             of a server the change may have happened, also the addition to a counter. E_BUSY
 *             also: the call lost 16 rounds to other processes, cellar_update and
 *             cellar_delete_with 64; call again
 *     server  cellar_increment: E_TIMEOUT: it may have counted. E_SPACE, E_IO (the server answers
 *             with an error), E_BREAKER_OPEN (the link is down, or a clear is not confirmed yet),
 *             E_UNSUPPORTED (writes BEHIND or INVALIDATE), E_CLOSED, E_LIMIT (too many requests
 *             under way): nothing changed. Other processes cause no E_BUSY */

/* WEIGHT
 * weight_bytes stand for memory of the program that an entry keeps alive, such as a mapped file.
 * They count like bytes of the value: in memory_bytes, eviction, shares of namespaces, advice and
 * figures. max_value_bytes does not bound them; more than half of memory_bytes is E_TOOBIG. The
 * weight of a negative entry counts in the eighth that negative entries may use.
 *     starts      with the set, update, load or lease that gives them, for each key of a batch
 *     stays       with cellar_touch, cellar_increment and a load that was not modified
 *     ends        with the entry. A set or update replaces it; without weight_bytes it is 0
 *     not stored  on disk, in a snapshot, in a shared tier: what returns from there has none */

/* CALLS THAT STORE
 * If a call cannot store the new value of a key, this table says what becomes of the old value. A
 * rule of KEY POLICIES in cellar_admin.h may refuse the new value: E_DENIED (a DENY rule), E_LIMIT
 * (the tags of the call, 16 at most, and those of the rule are more than 16), E_UNSUPPORTED
 * (CELLAR_DURABLE under a NO_L2 rule). Or the new value finds no room, or is too long. The old
 * value is then removed, or stays:
 *     CALL                  E_DENIED                  E_TOOBIG, E_SPACE, E_NOMEM
 *     cellar_set            removed                   removed
 *     cellar_set_str        removed                   removed
 *     cellar_set_many       removed                   removed
 *     cellar_object_set     removed                   removed
 *     cellar_update         stays                     removed; stays if fn or memory for it failed
 *     cellar_increment      stays                     a live counter stays
 *     cellar_touch          no rule is asked          stays
 *     cellar_write_through  removed                   removed
 * E_LIMIT and E_UNSUPPORTED keep it, except in cellar_write_through. With CELLAR_KEEP_OLD_VALUE all
 * but cellar_write_through keep it. A set with a condition keeps it after E_DENIED, and after the
 * other codes unless the condition holds. After E_DENIED the server of a shared namespace keeps it,
 * and a get finds it there. Loads and leases answer with a refused value and do not store it. A
 * rule is asked for a new counter alone, in a shared tier for each increment. */

/* Store a value under a key, or replace the value that the key has. A set that fails for room, size
 * or a DENY rule removes the old value of its key, so that no reader gets a value that the program
 * wanted to replace; see CALLS THAT STORE. A set that a condition or a switched-off namespace stops
 * changes nothing.
 * in:      key; value (may be NULL if value_len is 0); o: options, NULL = defaults of the
 *          namespace. The TTL is ttl_ms, else that of the TTL class, else that of the namespace,
 *          else none. An entry with idle time expires at the earliest of idle time, max_age_ms and
 *          TTL. A negative entry has no idle time and no stale window: max_age_ms is E_INVAL with
 *          it
 * out:     *o->new_version: version of the new entry, with OK
 * returns: OK (stored); EXISTS (with ONLY_IF_ABSENT: the key has a value), MISS (with
 *          ONLY_IF_PRESENT: the key has no value), CONFLICT (with ONLY_IF_VERSION: the key has no
 *          value of that version), DISABLED (the namespace is switched off);
 *          E_DENIED (a DENY rule matches the key), E_LIMIT (the tags of `o` and those of a rule are
 *          more than 16 together; over 16 in `o` alone are E_INVAL),
 *          E_UNSUPPORTED (with CELLAR_DURABLE: no disk tier that syncs, or a NO_L2 rule matches the
 *          key);
 *          E_TOOBIG (the value is over max_value_bytes, or its weight over half of memory_bytes),
 *          E_SPACE (memory has no room for it: see NO ROOM), E_NOMEM (the system gave no memory);
 *          E_BUSY (the namespace was cleared 64 times during the call: call again), E_RANGE
 *          (idle_ms or stale_ms is above 2^32 - 1), E_IO (a tier below memory does not have the
 *          value: see LOWER TIERS), E_TIMEOUT (with a condition or KEEP_TTL: the disk did not read
 *          the entry, and nothing changed: see LOWER TIERS).
 *          With the outcomes, E_LIMIT, E_UNSUPPORTED and E_RANGE nothing changed. What the other
 *          codes leave of the old value is in CALLS THAT STORE
 * owns:    the bytes are copied
 * thread:  any; atomic per key
 * cost:    bounded: examines at most 16 + n/8 old records for n bytes, for a negative entry 128
 *          more, splits at most one bucket; listeners run before the call returns; waits like
 *          cellar_delete for a value on disk
 * example:
 *     cellar_set_opts o = cellar_set_opts_default();
 *     o.ttl_ms = 60000;
 *     cellar_set(c, "k", 1, "value", 5, &o);                                                     */
CELLAR_API cellar_err cellar_set(cellar *c, const void *key, size_t key_len,
                                 const void *value, size_t value_len, const cellar_set_opts *o);

/* Store a text value, without its zero byte: a set for programs that store texts and need no option
 * but the TTL.
 * in:      key and value, terminated; ttl_ms: TTL, 0 = default of the namespace, CELLAR_TTL_NONE =
 *          none
 * returns: OK (stored); DISABLED (the namespace is switched off); E_DENIED (a DENY rule matches the
 *          key), E_LIMIT (the rules give the key more than 16 tags), E_TOOBIG (the value is over
 *          max_value_bytes), E_SPACE (memory has no room for it: see NO ROOM), E_NOMEM (the system
 *          gave no memory), E_BUSY (the namespace was cleared 64 times during the call: call
 *          again), E_IO (a tier below memory does not have the value: see LOWER TIERS).
 *          What an error leaves of the old value is in CALLS THAT STORE
 * owns:    the bytes are copied
 * thread:  any; atomic per key
 * cost:    like cellar_set
 * example: cellar_set_str(c, "user:7", "Ada", 60000);                                            */
CELLAR_API cellar_err cellar_set_str(cellar *c, const char *key, const char *value,
                                     int64_t ttl_ms);

/* Delete an entry, in memory and on disk. No get that starts after the return sees the old value.
 * in:      key
 * returns: OK (a live value was in memory), MISS (memory had no live value; a negative entry, and
 *          an entry that is only on disk, is deleted as well); E_IO (deleted, but a tier below
 *          memory did not confirm it: see LOWER TIERS)
 * thread:  any; works in a disabled namespace
 * cost:    O(1), no allocation; with a disk tier a burst waits for the disk (FAILURES, cellar_l2.h)
 * example: cellar_delete(c, "k", 1);                                                             */
CELLAR_API cellar_err cellar_delete(cellar *c, const void *key, size_t key_len);

/* Give a live entry a new TTL that begins now. The value stays. The call counts as a use for the
 * idle time of the entry.
 * in:      key; ttl_ms: TTL, 0 = default of the namespace, CELLAR_TTL_NONE = none. An entry with
 *          idle time keeps its end if the new one is later: only a set moves it away
 * returns: OK (the entry has the new TTL, or keeps an earlier end); MISS (the key has no live
 *          value; over a server also a remembered error), ABSENT (a negative entry or remembered
 *          error: unchanged), DISABLED (the namespace is switched off); E_SPACE (no room for a
 *          longer entry: unchanged), E_NOMEM (the system gave no memory: unchanged), E_IO (a tier
 *          below memory does not have the new TTL: see LOWER TIERS), E_TIMEOUT (the disk did not
 *          read the entry, and nothing changed: see LOWER TIERS)
 * thread:  any
 * cost:    O(1); may rewrite an entry once that had no room for a deadline
 * example: cellar_touch(c, "k", 1, 60000);                                                       */
CELLAR_API cellar_err cellar_touch(cellar *c, const void *key, size_t key_len, int64_t ttl_ms);

/* Add to a counter, atomically. A counter is a value of exactly 8 bytes, int64, little-endian. A
 * key without a live value gets the counter init + delta.
 * in:      key; delta: what to add, of any sign; init: start of a new counter; o: options, NULL =
 *          defaults of the namespace. Fields of o describe a new counter, as in cellar_set: times,
 *          ttl_class, jitter, tags, user_flags, cost_us, weight_bytes; with values RAW of
 *          cellar_remote.h the TTL alone. A live counter keeps its own. o->flags is 0 or
 *          CELLAR_ONLY_IF_PRESENT;
 *          o->new_version is NULL
 * out:     *now_value: the counter after the addition, with OK, overflow, E_IO of a disk; optional
 * returns: OK (added); MISS (with ONLY_IF_PRESENT: the key has no counter), DISABLED (the namespace
 *          is switched off);
 *          E_TYPE (the value has not 8 bytes), E_RANGE (overflow, also of init + delta: the counter
 *          holds the limit, INT64_MIN or INT64_MAX; or idle_ms or stale_ms is above 2^32 - 1:
 *          nothing changed);
 *          E_DENIED (a DENY rule matches the key of a new counter), E_LIMIT (a new counter: the
 *          tags of `o` and those of a rule are more than 16 together), E_TOOBIG (weight_bytes of a
 *          new counter is over half of memory_bytes);
 *          E_SPACE (memory has no room for it: see NO ROOM), E_NOMEM (the system gave no memory),
 *          E_BUSY (the namespace was cleared 64 times during the call: call again), E_IO (added,
 *          but a tier below memory does not have the counter: see LOWER TIERS), E_TIMEOUT (the disk
 *          did not read the counter, and nothing changed; a shared server may have counted: see
 *          LOWER TIERS).
 *          No error removes a live counter; overflow and E_IO change it: CALLS THAT STORE
 * thread:  any; atomic
 * cost:    usually in place: one bucket lock
 * example:
 *     int64_t n;
 *     cellar_increment(c, "visits", 6, 1, 0, NULL, &n);                                          */
CELLAR_API cellar_err cellar_increment(cellar *c, const void *key, size_t key_len, int64_t delta,
                                       int64_t init, const cellar_set_opts *o,
                                       int64_t *now_value);

/* Clear this namespace and no other: all its entries are misses from now on. A get that starts
 * after the call returns no entry that was stored before it. A store has numbers for 2^31 clears
 * and opens of namespaces. When they are used up, all its entries end once, in memory and on disk,
 * with a warning in the log.
 * in:      the namespace
 * returns: OK (cleared); E_IO (cleared, but a tier below memory did not confirm it: see LOWER
 *          TIERS), E_BUSY (no number is left, and a listener or loader runs on this thread: call
 *          again outside of it)
 * thread:  any; listeners receive CLEARED when the memory is reclaimed; eviction reclaims it first
 * cost:    O(1) for any number of entries; their memory is usable from now on; like cellar_delete
 * example: cellar_clear(c);                                                                      */
CELLAR_API cellar_err cellar_clear(cellar *c);

/* ---- Many keys ------------------------------------------------------------------------------- */

/* One key of cellar_get_many. */
typedef struct cellar_get_item {
    const void *key;       /* in: 1..CELLAR_KEY_MAX bytes */
    size_t      key_len;   /* in: bytes of `key` */
    void       *buf;       /* in: receives the value */
    size_t      buf_cap;   /* in: bytes at buf; 0 asks for the size */
    size_t      value_len; /* out: like cellar_get */
    cellar_err  status;    /* out: the code of cellar_get for this key */
    uint32_t    user_flags; /* out: as given to the set; 0 unless OK or E_BUFFER */
} cellar_get_item;

/* One key of cellar_set_many. */
typedef struct cellar_set_item {
    const void *key;       /* in: 1..CELLAR_KEY_MAX bytes */
    size_t      key_len;   /* in: bytes of `key` */
    const void *value;     /* in: may be NULL if value_len is 0 */
    size_t      value_len; /* in: bytes of `value` */
    cellar_err  status;    /* out: the code of cellar_set for this key */
    uint32_t    reserved0; /* must be 0 */
} cellar_set_item;

/* One key of cellar_delete_many. */
typedef struct cellar_delete_item {
    const void *key;       /* in: 1..CELLAR_KEY_MAX bytes */
    size_t      key_len;   /* in: bytes of `key` */
    cellar_err  status;    /* out: the code of cellar_delete for this key */
    uint32_t    reserved0; /* must be 0 */
} cellar_delete_item;

/* Read many keys in one call. Each item is a cellar_get, in order. From three keys on the call is
 * faster than single gets: the more keys and the larger the store, the more.
 * in:      items (may be NULL if count is 0); equal keys are fine
 * out:     buf, undefined behind the value, as in cellar_get; value_len, status and user_flags of
 *          each item; *hits the number of OK; optional
 * returns: OK (the status of each item has its code)
 * thread:  any; each item is atomic, the batch is not
 * cost:    one or two keys: as cellar_get for each, and about 2 ns. More: groups of 32 with
 *          prefetch. No allocation. With a shared tier: one request, and one allocation, for up to
 *          128 keys that memory does not have
 * example:
 *     cellar_get_item it[1] = {{.key = "a", .key_len = 1,
 *                               .buf = b1, .buf_cap = sizeof b1}};
 *     size_t hits;
 *     cellar_get_many(c, it, 1, &hits);
 *     if (it[0].status == CELLAR_OK) use(b1, it[0].value_len);                                   */
CELLAR_API cellar_err cellar_get_many(cellar *c, cellar_get_item *items, size_t count,
                                      size_t *hits);

/* Store many values in one call, with one set of options. A failing item does not stop the others.
 * in:      items: keys and values (may be NULL if count is 0); o as in cellar_set, with new_version
 *          NULL
 * out:     status of each item, a code of cellar_set; *stored the number of OK; optional
 * returns: OK (the status of each item has its code); E_RANGE (idle_ms or stale_ms is above 2^32 -
 *          1: nothing done), E_UNSUPPORTED (CELLAR_DURABLE without a disk tier that syncs: nothing
 *          done).
 *          What the code of an item leaves of its old value is in CALLS THAT STORE
 * owns:    the bytes are copied
 * thread:  any; of equal keys the last item is stored
 * cost:    groups of 32 with prefetch
 * example:
 *     cellar_set_item it[1] = {{.key = "a", .key_len = 1,
 *                               .value = "x", .value_len = 1}};
 *     cellar_set_many(c, it, 1, NULL, NULL);                                                     */
CELLAR_API cellar_err cellar_set_many(cellar *c, cellar_set_item *items, size_t count,
                                      const cellar_set_opts *o, size_t *stored);

/* Delete many keys in one call.
 * in:      items: the keys (may be NULL if count is 0); equal keys are fine
 * out:     status of each item; *deleted the number of OK; optional
 * returns: OK (the status of each item has its code)
 * thread:  any
 * cost:    groups of 32 with prefetch
 * example:
 *     cellar_delete_item it[1] = {{.key = "a", .key_len = 1}};
 *     cellar_delete_many(c, it, 1, NULL);                                                        */
CELLAR_API cellar_err cellar_delete_many(cellar *c, cellar_delete_item *items, size_t count,
                                         size_t *deleted);

/* ---- Errors and version ---------------------------------------------------------------------- */

#ifndef CELLAR_OMIT_TEXT
/* Return the sentence that says what a code means, for messages to people.
 * in:      any number
 * returns: static text, never NULL; "unknown code" for an unknown one
 * thread:  any, also signal handlers
 * cost:    O(number of codes)
 * example: fprintf(stderr, "%s\n", cellar_strerror(CELLAR_E_NOMEM));                             */
CELLAR_API const char *cellar_strerror(cellar_err code);
#endif

/* Return the name of a code without CELLAR_: "MISS", "E_NOMEM".
 * in:      any number
 * returns: static text; "?" for an unknown code
 * thread:  any, also signal handlers
 * cost:    O(number of codes)
 * example: puts(cellar_code_name(CELLAR_E_NOMEM));                                               */
CELLAR_API const char *cellar_code_name(cellar_err code);

/* The last error of a handle, from cellar_last_error. */
typedef struct cellar_error_info {
    size_t     struct_size; /* set by cellar_error_info_default()                                 */
    cellar_err code;        /* CELLAR_OK = none yet                                               */
    int        sys_errno;   /* errno of the operating system, 0 = none                            */
    char       text[240];   /* call, argument, rule and remedy; terminated; no keys, no values    */
} cellar_error_info;
CELLAR_STRUCT(cellar_error_info, text);

/* Return the last error of this handle, of any thread, in words: which call, which argument, which
 * rule and what to do. Outcomes, E_BUFFER and the error of a loader do not change it: compare
 * out->code with the code of the call.
 * in:      a handle; NULL = the last refusal of the process outside a store: of an open, of rules
 *          of a limiter, of arguments and options of cellar_limiter_check, cellar_limiter_reserve,
 *          cellar_limiter_wait, cellar_permit_acquire, cellar_permit_extend,
 *          cellar_permit_release, cellar_lock_acquire, cellar_lock_acquire_many,
 *          cellar_lock_extend, cellar_memoize, cellar_schedule_add and cellar_task_register, and
 *          E_INVAL and E_NOT_FOUND of cellar_task_submit. Others without a handle are not kept
 * out:     *out: code, errno and text of that error; code CELLAR_OK: there was none
 * returns: OK (*out is filled, also if there was no error)
 * thread:  any; works on handles of a closed store
 * cost:    O(1)
 * example:
 *     cellar_error_info e = cellar_error_info_default();
 *     cellar_last_error(c, &e);                                                                  */
CELLAR_API cellar_err cellar_last_error(cellar *c, cellar_error_info *out);

/* Return the version of the library, "MAJOR.MINOR.PATCH"; before its release with "-dev" behind it.
 * returns: static text
 * thread:  any, also signal handlers
 * cost:    O(1)
 * example: puts(cellar_version());                                                               */
CELLAR_API const char *cellar_version(void);

/* ---- Conventions, restrictions, limits ------------------------------------------------------- */

/* CONVENTIONS
 * Contracts state only what differs from these lines.
 *     codes     OK, E_BUSY, NO_L2 in a contract are CELLAR_OK, CELLAR_E_BUSY, CELLAR_NO_L2.
 *               0 is success. Positive codes are outcomes: a miss is no error. Negative codes are
 *               errors. Treat unknown positive codes as outcomes, unknown negative ones as errors.
 *     refusals  What each call may return is in REFUSALS.
 *     keys      1..CELLAR_KEY_MAX bytes of any value, always compared in full.
 *     values    0..max_value_bytes bytes. An empty value is a value.
 *     times     `_ms` is int64_t, `_ns` is uint64_t. Negative is E_INVAL. What 0, CELLAR_TTL_NONE
 *               and CELLAR_OFF say in an option stands in TIMES.
 *     outputs   Presence is the code, never the pointer. Handles and owned outputs are zeroed when
 *               a call fails. A buffer is undefined after any code but OK and STALE,
 *               and behind the value.
 *     memory    The library copies what it keeps. What a call allocates, one named call frees.
 *               Each free call accepts NULL and zeroed structs.
 *     budget    memory_bytes is charged before use and never exceeded, at any instant.
 *     structs   struct_size is the first field, set by the struct's ..._default function. The
 *               library reads fields that the caller's struct lacks as zero. A non-zero byte that
 *               the library does not know is E_UNSUPPORTED. A struct_size of 0, or above 4,096,
 *               is E_INVAL. One that ends inside a field is E_ABI.
 *     blocking  Calls hold short locks only. These may wait: loads and warm (loader), lock and
 *               limiter waits (their time limit), changes that promise durability and cellar_sync
 *               (disk), reads of an entry that is only on disk (one disk read), cellar_close. */

/* TIMES
 * What 0 and CELLAR_TTL_NONE say in an option. "Default": that of the namespace, then of the store,
 * then the number that stands beside the field.
 *     OPTION                    0                 CELLAR_TTL_NONE
 *     ttl_ms, default_ttl_ms    default           no TTL: never expires
 *     negative_ttl_ms           default           no TTL
 *     idle_ms, max_age_ms       default           none, also in a namespace that has one
 *     stale_ms, set and rule    default           none, also in a namespace that has one
 *     stale_ms, elsewhere       default           E_INVAL: 2^32 - 1 at most
 *     soft_timeout_ms           default: no wait  no wait, also in a namespace that has one
 *     hard_timeout_ms           default           E_INVAL: 24 h at most
 *     wait_timeout_ms           hard_timeout_ms   no limit
 *     error_ttl_ms              default: off      error_ttl_max_ms
 *     close_ms                  default           no limit
 *     timeout_ms, cellar_warm   no limit          no limit
 * Numbers of loads and rules take CELLAR_OFF for none, because 0 is their default: jitter_pct,
 * join_retries, leader_retries, eager_refresh_pct, xfetch_beta_x100. */

/* REFUSALS
 * Each call that returns a code may return one of these. It then did nothing. A contract names one
 * of them only with a further reason. cellar_last_error names call, argument, rule and remedy; of
 * E_FORKED the remedy.
 *     E_INVAL        NULL, a key of 0 or over CELLAR_KEY_MAX bytes, a value out of range
 *     E_UNSUPPORTED  a flag or field that this library does not know or has not built
 *     E_ABI          a struct_size that ends inside a field; an open: another CELLAR_ABI
 *     E_CLOSED       the handle, its namespace or its store is closed
 *     E_FORKED       the object belongs to the parent process: fork in RESTRICTIONS
 *     E_TYPE         a call of bytes in a namespace of objects, or the reverse */

/* RESTRICTIONS
 *     threads   Any thread calls any function at any time. The cellar_close that closes a store
 *               must not overlap other calls on that store. Namespace handles may outlive their
 *               store and then return E_CLOSED.
 *     callbacks Loaders, listeners, update and scan functions run with no internal lock held and
 *               may call the library, except cellar_close of their own store, which is E_DEADLOCK
 *               in a loader. Log, clock, allocator and cipher functions must not call it. C++
 *               exceptions and longjmp must not leave a callback. pthread_exit and cancellation may
 *               end a loader. The contract of each type of function has its threads and lifetimes.
 *     signals   No function is safe in a signal handler, except where its contract says so. The
 *               library handles EINTR and blocks all signals in its own threads.
 *     cancel    No function is a cancellation point. Asynchronous cancel type is not allowed
 *               inside a call.
 *     fork      In a child of a fork each call on an object of its parent returns CELLAR_E_FORKED
 *               and does nothing; a close returns OK, cellar_contains MISS, and calls without a
 *               code do nothing. No lock is taken. cellar_last_error of a handle of the parent
 *               returns OK with the text of E_FORKED. Values that the parent pinned are not
 *               readable. Calls on objects that the child opens work. The lock of l2_path, ports
 *               and connections end with the parent; if another thread opened the store or the
 *               port during the fork, with the child, too. A child that was forked inside a
 *               callback ends by _exit or exec.
 *     exec      Nothing is inherited: no open descriptor, no environment variable. No call between
 *               vfork and exec.
 *     exit      cellar_close from atexit or a static destructor works, and all calls work in
 *               constructors. After dlclose the shared library stays mapped (-z nodelete). */

/* LIMITS
 * Keys 65,535 bytes; values 2^30 - 1 bytes; 4,096 namespaces a store, names of 1..64 bytes, of
 * which a disk tier knows 8,192: others are empty after a restart; 16 tags an entry of 1..128
 * bytes; 16 TTL classes a namespace; 16 listeners a store; patterns of 1,024 bytes; budget from
 * 1 MiB. At least 60 % of the budget holds keys and values when an entry has 72 bytes to 45 % of
 * the budget; 57 % behind values of other sizes. An entry costs about 25 to 40 bytes more. Of
 * values over 45 % of the budget one fits. While all live entries, each below 1/64 of the budget,
 * take less than 80 % of it with 25 bytes more each (70 % at 1 MiB), none is evicted for room,
 * whatever else ended or changed its size. Each limit that is reached returns a code. */

#ifdef __cplusplus
}
#endif
#endif
