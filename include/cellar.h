/* SPDX-License-Identifier: MIT
 *
 * cellar: an in-process cache with one hard memory budget. This file is the whole contract.
 *
 * CALL PATTERN
 *     #include "cellar.h"
 *     cellar *c;                                             one store = one budget
 *     cellar_config cfg = cellar_config_default();                all zero = all defaults
 *     cfg.memory_bytes = 256u << 20;
 *     if (cellar_open(&cfg, &c) != CELLAR_OK) return 1;
 *     cellar *v;                                             named views: isolated keys, defaults
 *     cellar_namespace_open(c, "session", NULL, &v);
 *     cellar_set(v, "user:7", 6, data, data_len, NULL);
 *     switch (cellar_get(v, "user:7", 6, buf, sizeof buf, &len)) {
 *     case CELLAR_OK: ...  case CELLAR_MISS: ...  case CELLAR_ABSENT: ...  }
 *     cellar_close(v);
 *     cellar_close(c);
 * 0 is success, positive codes are outcomes (a miss is not an error), negative ones are errors.
 * Callers treat an unknown positive code as an outcome and an unknown negative one as an error.
 *
 * WHAT HOLDS EVERYWHERE
 *     keys      1..CELLAR_KEY_MAX bytes of any value; always compared in full
 *     values    0..max_value_bytes bytes; a zero-length value is a value
 *     times     int64_t milliseconds; negative is CELLAR_E_INVAL, CELLAR_TTL_NONE is never
 *     buffers   undefined unless the call returned CELLAR_OK (or STALE): a reader that lost a race
 *               may have scribbled into it
 *     NULL      c == NULL and every pointer not called optional below is CELLAR_E_INVAL
 *     refusals  CELLAR_E_INVAL, E_UNSUPPORTED, E_ABI and E_CLOSED come before anything is touched
 *     budget    charged before use; never exceeded, at any instant
 *
 * WHAT ONE MUST NOT DO, AND WHAT IS FINE
 *     threads     any thread may use any view at any time. Only the cellar_close that ends a store
 *                 must not run beside other calls on that store: it frees what they read. Views
 *                 that outlive their store are safe and answer CELLAR_E_CLOSED.
 *     fork        the child may use the cache at once; it has its own copy. The maintenance thread
 *                 is not there (call cellar_tick); an operation another thread was in the middle of
 *                 may have lost its entry. Of the pins, the child has those of the thread that
 *                 forked; the others have ended: neither read nor unpin them. cellar_close in the
 *                 child is fine. The child has no disk tier. Parent unaffected. A listener,
 *                 loader, cipher, update or scan function may fork, too, and return in both.
 *     exec        nothing is inherited: no descriptor stays open, no environment is set.
 *     vfork       between vfork and exec: no call.
 *     signals     no function may be called from a signal handler. Handlers may run at any moment;
 *                 EINTR is handled. The library installs none; its thread blocks all signals.
 *     cancel      no function is a cancellation point and no state is lost by a pending deferred
 *                 cancel. Asynchronous cancel type: not allowed inside any call.
 *     longjmp     not out of a callback (listener, update, scan, log, clock, allocator). A loader
 *                 should not; what one leaves behind is taken back by its thread's next load or
 *                 lease, and until then, or hard_timeout_ms, its key waits.
 *     C++         callbacks must not throw; the header is extern "C" and clean C++11.
 *     exit        cellar_close from atexit or a static destructor is fine; closing a handle twice
 *                 is harmless as long as its address has not been given out again.
 *     before main all calls work from constructors.
 *     dlclose     after cellar_close nothing of the library runs any more. The shared library stays
 *                 mapped for good (-z nodelete).
 *     locks       listeners, update and scan callbacks run with no lock held and may call anything
 *                 but cellar_close of the store they run in.
 *
 * LIMITS      keys 65,535 bytes in every store; values 2^30 - 1 bytes; 4,096 views a store
 *             (max_views); view names 1..64 bytes; 16 tags an entry of 1..128 bytes; 16 TTL classes
 *             a view; 16 listeners a store; patterns 1,024 bytes; budget from 1 MiB,
 *             of which at least 60 % is keys and values when they have 72 bytes to 45 % of the
 *             budget together (an entry costs some 25 bytes beside; of values over 45 % of the
 *             budget one fits). Reaching one is a code, never a silent change.
 * STRUCTS     struct_size comes first. Take each struct from its ..._default function. Fields
 *             that a caller's header did not have yet count as zero = default; a non-zero byte
 *             this library does not know is CELLAR_E_UNSUPPORTED. A struct_size below
 *             sizeof(size_t) or above 4,096 is CELLAR_E_INVAL; one that is no multiple of
 *             sizeof(size_t) ends inside a field: CELLAR_E_ABI, for options and for results.
 *             A non-zero field of a part that is not built yet is CELLAR_E_UNSUPPORTED, too; such
 *             fields say "later".
 */
#ifndef CELLAR_H
#define CELLAR_H

#include <stddef.h>
#include <stdint.h>

#define CELLAR_VERSION_MAJOR 0
#define CELLAR_VERSION_MINOR 2
#define CELLAR_VERSION_PATCH 0
#define CELLAR_ABI           2 /* rises with every incompatible change; number of the .so */

#ifndef CELLAR_API             /* an embedder may say: static __attribute__((unused)) */
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

/* Every code of every part: name, number, text. Numbers are fixed for ever and never reused. */
#define CELLAR_CODES(X) \
    X(OK, 0, "success") \
    X(MISS, 1, "nothing usable under this key") \
    X(ABSENT, 2, "known to be absent (negative entry)") \
    X(STALE, 3, "value past its time to live, inside its stale window") \
    X(EXISTS, 4, "not done: something is there already") \
    X(CONFLICT, 5, "not done: the version is another one") \
    X(LEASED, 6, "the caller leads the load of this key") \
    X(PENDING, 7, "not finished yet: more is to be done or somebody else does it") \
    X(INVALIDATED, 8, "delivered but not stored: a newer change won") \
    X(LIMITED, 9, "denied by a rate limit") \
    X(UNROUTED, 10, "no route matches") \
    X(DISABLED, 11, "not done: the view is switched off") \
    X(DROPPED, 12, "not written: no room in time") \
    X(REFUSED, 13, "not written: not admitted") \
    X(E_INVAL, -1, "invalid argument") \
    X(E_NOMEM, -2, "out of memory or threads") \
    X(E_SPACE, -3, "does not fit into the memory budget") \
    X(E_TOOBIG, -4, "larger than the configured maximum") \
    X(E_BUFFER, -5, "the caller's buffer is too small") \
    X(E_BUSY, -6, "busy: in use, or too many rounds lost against other writers") \
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
    X(E_NO_RESULT, -18, "the loader returned no result") \
    X(E_RESULT_TWICE, -19, "the loader set two results") \
    X(E_TIMEOUT, -20, "deadline passed") \
    X(E_DEADLOCK, -21, "waiting would never end") \
    X(E_DEPTH, -22, "nested too deeply") \
    X(E_BREAKER_OPEN, -23, "circuit open") \
    X(E_LEASE, -24, "lease unknown, expired or already used") \
    X(E_CORRUPT, -25, "stored data is damaged") \
    X(E_FOREIGN, -26, "not one of our files") \
    X(E_NEWER_FORMAT, -27, "format of a newer version") \
    X(E_NOT_OWNER, -28, "held by somebody else") \
    X(E_LOST, -29, "lost: the lease ended before") \
    X(E_NOT_FOUND, -30, "unknown name") \
    X(E_NEVER, -31, "would never happen") \
    X(E_CLOCK, -32, "clock reading not plausible") \
    X(E_TICKET_USED, -33, "ticket already used") \
    X(E_CANCELLED, -34, "cancelled")

typedef enum cellar_err {
#define CELLAR_CODE_ENUM(name, number, text) CELLAR_##name = number,
    CELLAR_CODES(CELLAR_CODE_ENUM)
#undef CELLAR_CODE_ENUM
} cellar_err;

/* Why an entry ended, or was never stored. Numbers are fixed for ever. */
#define CELLAR_CAUSES(X) \
    X(EXPIRED, 1, "its time to live or idle time passed") \
    X(EVICTED, 2, "evicted to make room") \
    X(REPLACED, 3, "a newer value took its place") \
    X(DELETED, 4, "deleted") \
    X(CLEARED, 5, "its view was cleared or dropped") \
    X(VERSION, 6, "its view's version was raised") \
    X(TAG, 7, "one of its tags was invalidated") \
    X(PATTERN, 8, "deleted by pattern") \
    X(REJECTED, 9, "its replacement could not be stored") \
    X(NEGATIVE, 10, "replaced by a negative entry") \
    X(LOAD_FAILED, 11, "its load failed") \
    X(INVALIDATED, 12, "its load was overtaken by a change") \
    X(L2_DAMAGE, 13, "its copy on disk was damaged") \
    X(DENIED, 14, "denied by policy") \
    X(DEPENDENCY, 15, "what it was made of changed")

typedef enum cellar_cause {
    CELLAR_CAUSE_NONE = 0,
#define CELLAR_CAUSE_ENUM(name, number, text) CELLAR_CAUSE_##name = number,
    CELLAR_CAUSES(CELLAR_CAUSE_ENUM)
#undef CELLAR_CAUSE_ENUM
} cellar_cause;

#define CELLAR_CAUSE_COUNT     16 /* room of tables indexed by cause; the highest number is below */
#define CELLAR_CAUSE_BIT(name) (1u << CELLAR_CAUSE_##name)

/* ---- Limits and constants ------------------------------------------------------------------- */

#define CELLAR_KEY_MAX         65535u
#define CELLAR_VALUE_MAX       1073741823u /* 2^30 - 1; max_value_bytes is usually smaller        */
#define CELLAR_NAME_MAX        64u
#define CELLAR_TAG_MAX         128u        /* bytes of one tag                                    */
#define CELLAR_TAGS_MAX        16u         /* tags of one entry                                   */
#define CELLAR_WHY_BY_MAX      48u         /* bytes of a tag or pattern that cellar_why tells     */
#define CELLAR_TTL_CLASSES_MAX 16u         /* TTL classes of one view                             */
#define CELLAR_TTL_CLASS_NAME_MAX 31u      /* bytes of a TTL class's name                         */
#define CELLAR_PATTERN_MAX     1024u
#define CELLAR_MEMORY_MIN      1048576u    /* least budget: 1 MiB                                 */
#define CELLAR_TTL_NONE        INT64_MAX   /* never expires                                       */

enum { CELLAR_EVICT_DEFAULT = 0, CELLAR_EVICT_ADAPTIVE = 1, CELLAR_EVICT_S3FIFO = 2,
       CELLAR_EVICT_LRU = 3, CELLAR_EVICT_FIFO = 4 };      /* default: ADAPTIVE                   */
/* What a power cut may take; see "Disk tier". The death of the process takes nothing, at any. */
enum { CELLAR_L2_REFUSE = 0, CELLAR_L2_SET_ASIDE = 1 };                 /* l2_on_bad             */
/* see "Disk tier" */
enum { CELLAR_L2_SYNC_MANUAL = 0, CELLAR_L2_SYNC_PERIODIC = 1, CELLAR_L2_SYNC_ALWAYS = 2 };
enum { CELLAR_L2_WRITE_ON_EVICTION = 0, CELLAR_L2_WRITE_ON_SET = 1, CELLAR_L2_WRITE_THROUGH = 2 };
#define CELLAR_L2_BYTES_MIN ((uint64_t)16 << 20)
#define CELLAR_L2_BYTES_MAX ((uint64_t)4 << 40)
enum { CELLAR_ADVISOR_DEFAULT = 0, CELLAR_ADVISOR_OFF = 1 };
/* What adaptive and s3fifo aim at. BYTES: size does not count. OBJECTS: as many hits as possible:
 * large entries go before small ones, fewer bytes are served; adaptive then keeps one rule, and the
 * advisor (cellar_advice_get) has nothing to say. Under both, entries with a cost_us above the mean
 * stay longer and those below it shorter. */
enum { CELLAR_OPTIMIZE_BYTES = 0, CELLAR_OPTIMIZE_OBJECTS = 1 };
enum { CELLAR_HASH_DEFAULT = 0, CELLAR_HASH_SIPHASH13 = 1 };
enum { CELLAR_JITTER_PLUSMINUS = 0, CELLAR_JITTER_PLUS = 1 };
enum { CELLAR_BLOOM_OFF = 0, CELLAR_BLOOM_OBSERVING = 1, CELLAR_BLOOM_AUTHORITATIVE = 2 };
/* ERROR: a call found no memory or no disk; a read, write or sync of the disk tier failed.
 * WARNING: a loader failed; a part is switched off or recovers. INFO: a miss of a get, bulk get or
 * load; each refresh. DEBUG: hits. Each module writes one line a second for each code; the next
 * line counts those held back. No line holds a key or a value. */
enum { CELLAR_LOG_DEFAULT = 0, CELLAR_LOG_ERROR = 1, CELLAR_LOG_WARNING = 2, CELLAR_LOG_INFO = 3,
       CELLAR_LOG_DEBUG = 4, CELLAR_LOG_OFF = 5 };         /* default: WARNING                    */

/* A store's root, or a named view of it. */
typedef struct cellar cellar;

typedef struct cellar_bytes {
    const void *data;
    size_t      len;
} cellar_bytes;

#ifdef __cplusplus
#define CELLAR_ZERO(type, name)          type name = type()
#define CELLAR_SIZEOF_FIELD(type, field) sizeof(type::field)
#else
#define CELLAR_ZERO(type, name)          type name = { 0 }
#define CELLAR_SIZEOF_FIELD(type, field) sizeof(((type *)0)->field)
#endif
/* Fail to compile when the struct has tail padding: see STRUCTS above. */
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

/* ---- Options -------------------------------------------------------------------------------- */

struct cellar_load;
/* Makes the value of a key; see "Loading". `load` is valid until it returns. */
typedef cellar_err (*cellar_loader_fn)(struct cellar_load *load, const void *key, size_t key_len,
                                       void *ctx);
/* The same for many keys in one call; reports by index, see cellar_load_item_value. */
typedef cellar_err (*cellar_loader_many_fn)(struct cellar_load *load, const cellar_bytes *keys,
                                            size_t key_count, void *ctx);

/* A view's own loader: for calls that bring none, and for refreshes in the background. */
typedef struct cellar_view_loader {
    size_t             struct_size; /* set by cellar_view_loader_default()                        */
    cellar_loader_fn      fn;       /* NULL: none for single keys                                 */
    cellar_loader_many_fn many;     /* NULL: none for many keys                                   */
    void              *ctx;         /* lives as long as the view                                  */
} cellar_view_loader;
CELLAR_STRUCT(cellar_view_loader, ctx);

/* In an option of loads whose 0 means "the default": none. */
#define CELLAR_OFF UINT32_MAX

typedef int64_t (*cellar_clock_fn)(void *ctx);              /* milliseconds, never backwards      */
typedef void   *(*cellar_alloc_fn)(void *ctx, size_t size); /* 16-byte aligned, NULL = out of it  */
typedef void    (*cellar_free_fn)(void *ctx, void *block, size_t size); /* size as allocated      */
typedef void    (*cellar_log_fn)(void *ctx, int level, const char *module, int code,
                                 const char *text);         /* code: a cellar_err                 */

typedef struct cellar_ttl_class {
    const char *name;   /* 1..CELLAR_TTL_CLASS_NAME_MAX bytes, copied */
    int64_t     ttl_ms; /* 1.., or CELLAR_TTL_NONE */
} cellar_ttl_class;

/* Defaults of a view. Zero everywhere = the store's defaults. What is out of range is E_INVAL; what
 * cellar_load_opts has too has the ranges given there. */
typedef struct cellar_namespace_opts {
    size_t   struct_size;          /* set by cellar_namespace_opts_default()                      */
    int64_t  default_ttl_ms;       /* 0 = the store's                                             */
    int64_t  negative_ttl_ms;      /* 0 = the store's                                             */
    int64_t  idle_ms;              /* 0 = the store's; up to 2^32 - 1, or CELLAR_TTL_NONE; not of */
                                   /* what loaders bring: that has no idle time                   */
    int64_t  max_age_ms;           /* 0 = the store's                                             */
    int64_t  stale_ms;             /* 0 = the store's; up to 2^32 - 1                             */
    const cellar_ttl_class *ttl_classes; /* copied; of different names; NULL with count 0         */
    uint32_t ttl_class_count;      /* 0..CELLAR_TTL_CLASSES_MAX                                   */
    uint32_t ttl_class_fallback;   /* number (from 1) of the class for unknown names; 0 = 1       */
    uint32_t exact_age;            /* 1: each entry carries its birth, 4 bytes: exact ages */
    uint32_t jitter_pct;           /* of loads with a TTL: 1..100; 0 = the store's; or LOAD_NONE  */
    uint32_t jitter_mode;          /* CELLAR_JITTER_..., with jitter_pct                          */
    uint32_t log_level;            /* later                                                       */
    /* 0..100: share others cannot take from it; see cellar_namespace_open */
    uint32_t quota_min_pct;
    uint32_t quota_max_pct;        /* 1..100: share it never goes above; 0 = none                 */
    uint32_t no_l2;                /* 1: never on disk; counts when the view is first opened      */
    uint32_t secret;               /* 1: the same, and nothing says that the view exists          */
    uint32_t l2_write;             /* CELLAR_L2_WRITE_ON_EVICTION, ..; counts when first opened   */
    uint32_t l2_lz4;               /* 1: packed, see "Disk tier"; counts when first opened      */
    uint32_t bloom;                /* 0; or CELLAR_BLOOM_OBSERVING: see "Bloom guard"             */
    uint32_t watch_unchanged;      /* 1: each entry carries a hash of its value, 12 bytes: stats  */
                                   /* then tell what the TTL reloads for nothing (ttl_reloads)    */
    /* 1: loads; as in cellar_load_opts, the same down to wait_timeout_ms */
    uint32_t no_negative;
    uint32_t eager_refresh_pct;
    uint32_t xfetch_beta_x100;
    uint32_t join_retries;
    uint32_t leader_retries;
    uint32_t deps;                 /* 1: keys its loaders read are noted, see "Dependencies"      */
    int64_t  error_ttl_ms;
    int64_t  error_ttl_max_ms;
    int64_t  retry_throttle_ms;
    int64_t  soft_timeout_ms;
    int64_t  hard_timeout_ms;
    int64_t  wait_timeout_ms;
    const struct cellar_view_loader  *loader; /* copied; NULL = none                              */
    const struct cellar_breaker_opts *breaker; /* of its loads; NULL = none; kept once made       */
    const struct cellar_view_codec   *codec;
    const struct cellar_view_batch   *batch;
    const char *policy_section;    /* later: policies                                             */
    uint64_t reserved0;            /* keeps the struct free of tail padding; must be 0            */
} cellar_namespace_opts;
CELLAR_STRUCT(cellar_namespace_opts, reserved0);

/* What a store is opened with. */
typedef struct cellar_config {
    size_t   struct_size;          /* set by cellar_config_default(), with abi                    */
    uint32_t abi;                  /* CELLAR_ABI of the caller's header                           */
    uint32_t eviction;             /* CELLAR_EVICT_...; 0 = ADAPTIVE                              */
    uint64_t memory_bytes;         /* the one budget; 0 = 64 MiB; least CELLAR_MEMORY_MIN         */
    uint64_t max_entries;          /* a second bound; 0 = none                                    */
    uint64_t max_value_bytes;      /* 0 = min(64 MiB, budget / 2); at most CELLAR_VALUE_MAX       */
    uint64_t mean_entry_bytes;     /* expected key + value, sizes the stripes; 0 = 256, below 16  */
                                   /* is 16; at most 2^32 - 1; max_entries, memory and l2 bytes:  */
                                   /* 2^63 - 1                                                    */
    int64_t  default_ttl_ms;       /* 0 = none (entries do not expire)                            */
    int64_t  negative_ttl_ms;      /* 0 = 60,000; all negative entries and remembered errors hold */
                                   /* 1/8 of the memory, and of max_entries, at most              */
    int64_t  idle_ms;              /* 0 = none, as CELLAR_TTL_NONE; up to 2^32 - 1                */
    int64_t  max_age_ms;           /* 0 = none; the bound of an idle time                         */
    int64_t  stale_ms;             /* 0 = none; up to 2^32 - 1                                    */
    uint32_t hash;                 /* CELLAR_HASH_...; 0 = wyhash class                           */
    uint32_t stripes;              /* power of two up to 1024; 0 = 64, clamped to the budget      */
    uint32_t huge_pages;           /* 0: later, by ticks, from 256 MiB on; 1: at once; 2: never   */
    uint32_t no_threads;           /* 1: no maintenance thread; the host calls cellar_tick        */
    uint32_t disabled;             /* 1: open switched off, see cellar_enable                     */
    uint32_t log_level;            /* CELLAR_LOG_...; 0 = WARNING; silent without a callback      */
    uint32_t max_views;            /* 0 = 4,096, the most; the root counts as one                 */
    uint32_t first_vgen;           /* where the store-wide generation counter starts; tests       */
    uint32_t root_version;         /* public version of the root at open; 0 = 1                   */
    uint32_t jitter_pct;           /* of loads with a TTL; 0 = 10; or CELLAR_OFF                  */
    uint32_t jitter_mode;          /* CELLAR_JITTER_..., with jitter_pct                          */
    uint32_t log_keys;             /* later: 0 hash, 1 prefix, 2 full; no line carries a key now  */
    const uint8_t *secret;         /* 32 bytes, copied: repeatable hashes, tests; NULL: random */
    const cellar_namespace_opts *root; /* options of the root view itself; NULL = none            */
    const char *root_name;         /* label of the root in statistics; NULL = ""; 0..64 bytes     */
    cellar_clock_fn clock;         /* NULL = the system's monotonic clock, suspend included       */
    void    *clock_ctx;
    cellar_alloc_fn alloc;         /* both or neither; NULL = malloc (or mimalloc)                */
    cellar_free_fn  free;
    void    *alloc_ctx;
    cellar_log_fn   log;           /* NULL = silent                                               */
    void    *log_ctx;
    const char *policy_file;       /* later: policies                                             */
    const char *l2_path;           /* directory of the disk tier, made if absent; NULL = none     */
    const char *l2_stage_dir;      /* later                                                       */
    uint64_t l2_bytes;             /* of all its files, CELLAR_L2_BYTES_MIN to _MAX; set with     */
                                   /* l2_path; another than last time: it is resized, behind open */
    uint64_t l2_avg_object_bytes;  /* expected, sizes its index; 0 = 1,024; at most 2^32 - 1      */
    uint64_t l2_write_bps;         /* bytes of entries written to it a second; what is larger by  */
                                   /* itself is never written; 0 = no limit                       */
    uint64_t l2_write_bpd;         /* the same a day (UTC), over restarts; 0 = no limit           */
    int64_t  l2_sync_ms;           /* CELLAR_L2_SYNC_PERIODIC: between two syncs; 0 = 1,000       */
    int64_t  l2_min_ttl_ms;        /* what has less left is not written; 0 = 10,000               */
    int64_t  l2_close_ms;          /* later                                                       */
    /* CELLAR_L2_SYNC_MANUAL, CELLAR_L2_SYNC_PERIODIC or CELLAR_L2_SYNC_ALWAYS */
    uint32_t l2_sync;
    uint32_t l2_on_bad;            /* CELLAR_L2_REFUSE or CELLAR_L2_SET_ASIDE, see "Disk tier"    */
    uint32_t l2_required;          /* 1: open fails when the disk tier cannot be used             */
    uint32_t l2_direct_read;       /* later, as is l2_reappend                                    */
    uint32_t l2_mmap_read;         /* 1: see "Disk tier"; needs l2_sigbus_handler                 */
    uint32_t l2_allow_network;     /* 1: l2_path may lie on NFS, SMB and their like               */
    uint32_t l2_sigbus_handler;    /* 1: see "Disk tier"                                          */
    uint32_t l2_reappend;
    const struct cellar_l2_cipher *l2_crypt; /* copied; NULL = values lie on disk in clear        */
    int64_t  close_ms;             /* patience of the root's close with running loads; 0 = 5,000  */
    uint32_t load_workers;         /* threads for background loads, 0 = 2; at most 64             */
    uint32_t load_queue;           /* background loads waiting; 0 = 256; at most 65,536           */
    uint32_t max_flights;          /* loads at once; 0 = 16,384                                   */
    uint32_t max_waiters;          /* threads waiting for loads; 0 = 65,536                       */
    uint32_t deps;                 /* 1: views may ask for it; takes 1 % of the budget            */
    uint32_t favor;                /* CELLAR_FAVOR_...; 0 = bytes                                 */
    uint32_t advisor;              /* CELLAR_ADVISOR_...; 0 = on from 16 MiB: cellar_advice_get   */
    uint32_t workers;              /* later: tasks                                                */
    const char *zone;              /* later: schedules                                            */
    uint32_t no_explain;           /* 1: cellar_why knows nothing of what left; saves budget/256  */
    uint32_t reserved0;            /* must be 0                                                   */
    uint32_t l2_off_errors;        /* calls to the disk that fail within 10 s and switch its tier */
                                   /* off, 1..64; 0 = 8                                           */
    uint32_t l2_off_damaged_pct;   /* or: 8 damaged records in 10 s, more than this share of what */
                                   /* was looked up, 1..100; 0 = 1                                */
    int64_t  l2_off_ms;            /* until the disk is tried again, doubled each time; 0 = 1,000 */
    int64_t  l2_off_max_ms;        /* up to this; 0 = 60,000, or l2_off_ms where that is longer;  */
                                   /* both at most 24 hours, this one not under the other         */
} cellar_config;
CELLAR_PACKED(cellar_config, l2_off_max_ms);

static inline cellar_config cellar_config_default(void)
{
    CELLAR_ZERO(cellar_config, o);
    o.struct_size = sizeof(cellar_config);
    o.abi = CELLAR_ABI;
    return o;
}

/* ---- Open, close, views ---------------------------------------------------------------------- */

/* Open a store and hand out its root view.
 * in:      cfg from cellar_config_default; NULL = all defaults
 * out:     *out is the root, or NULL on failure
 * returns: OK; E_INVAL (a field out of range), E_ABI, E_UNSUPPORTED (field or value of a later
 *          part), E_NOMEM (memory, address space or the maintenance thread); with l2_required what
 *          keeps the disk tier from opening: E_IO (and an errno), E_BUSY (l2_path is in use),
 *          E_FOREIGN, E_NEWER_FORMAT, E_CORRUPT, E_UNSUPPORTED (on a network file system)
 * owns:    the caller closes *out with cellar_close; everything in cfg is copied but hooks' ctx
 * thread:  any; several stores side by side are fine
 * cost:    reserves address space (8 x budget, halved until granted), starts one thread
 * example:
 *     cellar_config cfg = cellar_config_default();
 *     cfg.memory_bytes = 256u << 20;
 *     cellar *c;
 *     if (cellar_open(&cfg, &c) != CELLAR_OK) return 1;                                          */
CELLAR_API cellar_err cellar_open(const cellar_config *cfg, cellar **out);

/* Let go of a handle. Of the root: end the store. Of a view: its entries stay and are found again
 * by the next cellar_namespace_open of that name.
 * in:      a handle from cellar_open or cellar_namespace_open; NULL is fine; each successful
 *          cellar_namespace_open is closed once
 * returns: OK; E_CLOSED (already closed; nothing done), E_BUSY (the root: loads still ran after
 *          close_ms; nothing is closed, try again)
 * owns:    the root: all memory goes back, the maintenance thread is joined; pins must have been
 *          given back. Views not yet closed stay valid handles that answer E_CLOSED until they are
 *          closed themselves
 * thread:  any, but the root's close not beside other calls on the same store
 * cost:    root: O(committed memory); no listener is called for what is thrown away
 * example: cellar_close(c);                                                                      */
CELLAR_API cellar_err cellar_close(cellar *c);

/* Get the view of this name, create it if it is new.
 * in:      any handle of the store; name of 1..64 bytes, any but 0; o NULL = defaults. For a view
 *          that exists, o replaces its options if given. quota_min_pct: while the view holds no
 *          more than this share of all entries' bytes, others cannot push its entries out;
 *          quota_max_pct: it makes room for itself among its own entries. What a view does not use
 *          others use. A view gets quotas when it is created or never; they may change later
 * out:     *out, or NULL on failure
 * returns: OK; E_INVAL (also: least quotas of all views over 100 %, quotas for a view that was
 *          created without), E_UNSUPPORTED (later option), E_LIMIT (max_views, or 63 views with
 *          quotas), E_NOMEM, E_SPACE (budget), E_CLOSED
 * owns:    counted: every OK is paired with one cellar_close; equal names give equal pointers
 * thread:  any
 * cost:    one lock, one allocation for a new name
 * example:
 *     cellar_namespace_opts o = cellar_namespace_opts_default();
 *     o.default_ttl_ms = 300000;
 *     cellar *v;
 *     if (cellar_namespace_open(c, "session", &o, &v) != CELLAR_OK) return 1;
 *     cellar_close(v);                                                                           */
CELLAR_API cellar_err cellar_namespace_open(cellar *c, const char *name,
                                            const cellar_namespace_opts *o,
                                            cellar **out);

/* Forget a view: its entries, its name, its counters.
 * in:      any handle of the store, the view's name
 * returns: OK; E_NOT_FOUND, E_IO (see "Disk tier"), E_INVAL, E_CLOSED. Open handles of it answer
 *          E_CLOSED from now on, and so do calls that wait for a lease of it; who waits for a
 *          loader that runs gets its result. Until they are closed it keeps its place among
 *          max_views
 * thread:  any; waiters of its leases (cellar_lease_acquire) are called from here
 * cost:    O(1) and the loads that are open: dead bytes are reclaimed first by eviction
 * example: cellar_namespace_drop(c, "session");                                                  */
CELLAR_API cellar_err cellar_namespace_drop(cellar *c, const char *name);

/* Throw away all entries of this view and of no other. No entry stored before the call is returned
 * by a get that starts after it.
 * in:      the view
 * returns: OK; E_IO (see "Disk tier"), E_INVAL, E_CLOSED
 * thread:  any; listeners hear CLEARED when the memory is reclaimed, which eviction does first
 * cost:    O(1), whatever the number of entries; their room is usable at once
 * example: cellar_clear(v);                                                                      */
CELLAR_API cellar_err cellar_clear(cellar *c);

/* Raise the view's public version by one: as cellar_clear, with cause VERSION.
 * in:      the view
 * out:     *version the new public version; optional
 * returns: OK; E_RANGE (version would pass 2^32 - 1), E_IO (see "Disk tier"), E_INVAL, E_CLOSED
 * thread:  any
 * cost:    O(1)
 * example: cellar_version_increment(v, NULL);                                                    */
CELLAR_API cellar_err cellar_version_increment(cellar *c, uint32_t *version);

/* Set the view's public version, also backwards: what was stored under it before stays dead.
 * in:      version from 1
 * returns: OK; E_IO (see "Disk tier"), E_INVAL (0), E_CLOSED
 * thread:  any
 * cost:    O(1)
 * example: cellar_version_set(v, 3);                                                             */
CELLAR_API cellar_err cellar_version_set(cellar *c, uint32_t version);

/* Switch a view off and on. Off: gets miss, sets and increments answer DISABLED and store nothing,
 * deletes and clears still work, so that switching on again serves nothing old.
 * in:      on 0 or 1
 * returns: OK; E_INVAL, E_CLOSED
 * thread:  any; calls already running end as they began
 * cost:    O(1)
 * example: cellar_enable(v, 0);                                                                  */
CELLAR_API cellar_err cellar_enable(cellar *c, int on);

/* Find a TTL class of this view by name, once; its number goes into cellar_set_opts.ttl_class.
 * in:      name, not NULL
 * out:     *class_number from 1; of the fallback class for an unknown name (counted:
 *          ttl_class_fallbacks)
 * returns: OK; MISS (the view has no classes; *class_number 0), E_INVAL, E_CLOSED
 * thread:  any
 * cost:    O(classes)
 * example:
 *     uint32_t cls;
 *     cellar_ttl_class_find(v, "success", &cls);                                                 */
CELLAR_API cellar_err cellar_ttl_class_find(cellar *c, const char *name, uint32_t *class_number);

/* ---- Reading --------------------------------------------------------------------------------- */

/* Copy the live value of `key` into `buf`.
 * in:      key 1..CELLAR_KEY_MAX bytes; buf_cap in bytes, 0 asks for the size (buf may be NULL)
 * out:     *value_len is the full size, also when it does not fit; optional
 * returns: OK, MISS (also in the stale window), ABSENT; E_BUFFER (value_len set), E_LIMIT (an
 *          oversized value while all pin slots are taken), E_INVAL, E_CLOSED
 * owns:    nothing changes hands
 * thread:  any; takes no lock on the usual way; not for signal handlers
 * cost:    hit: no lock and no shared write, O(key_len + value_len); no clock unless the entry has
 *          a deadline
 * example:
 *     char buf[256];
 *     size_t len;
 *     if (cellar_get(c, "k", 1, buf, sizeof buf, &len) == CELLAR_OK) use(buf, len);             */
CELLAR_API cellar_err cellar_get(cellar *c, const void *key, size_t key_len,
                                 void *buf, size_t buf_cap, size_t *value_len);

/* Kinds of entries and bits of cellar_entry_info.flags. */
enum { CELLAR_KIND_VALUE = 0, CELLAR_KIND_NEGATIVE = 1, CELLAR_KIND_ERROR = 2 };
enum { CELLAR_TIER_L1 = 1, CELLAR_TIER_L2 = 2 };
#define CELLAR_INFO_AGE_APPROX 1u /* age_ms is that of its segment: an upper bound, unless it was */
                                  /* moved in memory since: then at least how long ago that was   */
#define CELLAR_INFO_VERSION    2u /* version is set                                               */
#define CELLAR_INFO_STALE      4u /* past its time to live, in the stale window                   */
#define CELLAR_INFO_TAGGED     8u

/* What is known about an entry beside its bytes. Filled up to the caller's struct_size. */
typedef struct cellar_entry_info {
    size_t   struct_size;   /* set by cellar_entry_info_default()                                 */
    uint32_t kind;          /* CELLAR_KIND_...                                                    */
    uint32_t tier;          /* CELLAR_TIER_...: where it was found                                */
    uint32_t flags;         /* CELLAR_INFO_...                                                    */
    uint32_t user_flags;    /* as given to the set                                                */
    uint32_t hits;          /* 0..3: the eviction counter, a hint                                 */
    uint32_t cost_us;       /* as given to the set, rounded to 8 bits; 0 = none                   */
    uint64_t value_len;     /* bytes                                                              */
    uint64_t version;       /* with CELLAR_INFO_VERSION; unequal for any two writes of the key    */
                                  /* while the store is open; what came back from disk has a new
                                   * one */
    int64_t  age_ms;        /* since it was written, came back from disk, or a load found it not  */
                                  /* modified; INT64_MAX: on disk, which does not say             */
    int64_t  ttl_left_ms;   /* CELLAR_TTL_NONE = never; idle time counted                         */
    int64_t  stale_left_ms; /* to the end of the stale window; 0 = it has none                    */
    int64_t  idle_ms;       /* 0 = none                                                           */
    uint64_t reserved0;
} cellar_entry_info;
CELLAR_STRUCT(cellar_entry_info, reserved0);

#define CELLAR_GET_ALLOW_STALE 1u /* a value in its stale window is returned, as CELLAR_STALE     */
#define CELLAR_GET_PEEK    2u /* is no use: no counter, no idle time, no statistics               */
#define CELLAR_GET_WANT_VERSION 4u /* info.version is wanted: the first time costs one rewrite    */

typedef struct cellar_get_opts {
    size_t       struct_size; /* set by cellar_get_opts_default()                                 */
    cellar_entry_info *info;  /* filled from the entry whose bytes are returned; optional         */
    uint32_t     flags;       /* CELLAR_GET_...                                                   */
    uint32_t     reserved0;
    uint64_t     reserved1;
} cellar_get_opts;
CELLAR_STRUCT(cellar_get_opts, reserved1);

/* cellar_get with options: stale values, description, peek.
 * in:      as cellar_get; o NULL = cellar_get
 * out:     as cellar_get; *o->info
 * returns: as cellar_get; STALE (value copied) with CELLAR_GET_ALLOW_STALE; E_UNSUPPORTED (unknown
 *          flag), E_SPACE or E_NOMEM (a version was wanted and the rewrite found no room)
 * owns:    nothing changes hands
 * thread:  any
 * cost:    as cellar_get; with info O(1) more
 * example:
 *     cellar_get_opts o = cellar_get_opts_default();
 *     o.flags = CELLAR_GET_ALLOW_STALE;
 *     char buf[64];
 *     size_t len;
 *     cellar_err err = cellar_get_with(c, "k", 1, &o, buf, sizeof buf, &len);                    */
CELLAR_API cellar_err cellar_get_with(cellar *c, const void *key, size_t key_len,
                                      const cellar_get_opts *o, void *buf, size_t buf_cap,
                                      size_t *value_len);

/* cellar_get that is no use of the entry: eviction, idle time and statistics do not see it, and
 * what lies only on disk stays there.
 * in:      as cellar_get
 * out:     as cellar_get
 * returns: as cellar_get
 * owns:    nothing changes hands
 * thread:  any
 * cost:    as cellar_get
 * example:
 *     size_t len;
 *     cellar_peek(c, "k", 1, NULL, 0, &len);                                                     */
CELLAR_API cellar_err cellar_peek(cellar *c, const void *key, size_t key_len,
                                  void *buf, size_t buf_cap, size_t *value_len);

/* Copy the live value into fresh memory.
 * in:      key
 * out:     *value (never NULL on OK, also for a zero-length value), *value_len; NULL and 0 else
 * returns: OK, MISS, ABSENT; E_NOMEM, E_LIMIT (an oversized value while all pin slots are taken),
 *          E_INVAL, E_CLOSED
 * owns:    the caller frees *value with cellar_free, also after the store was closed
 * thread:  any
 * cost:    one allocation by the store's allocator (not charged to the budget: it is the caller's)
 * example:
 *     void *value;
 *     size_t len;
 *     if (cellar_get_alloc(c, "k", 1, &value, &len) == CELLAR_OK) cellar_free(value);            */
CELLAR_API cellar_err cellar_get_alloc(cellar *c, const void *key, size_t key_len,
                                       void **value, size_t *value_len);

/* Free what cellar_get_alloc returned.
 * in:      NULL is fine
 * thread:  any
 * cost:    one free
 * example: cellar_free(NULL);                                                                    */
CELLAR_API void cellar_free(void *value);

/* A value read in place. Copyable; unpin one copy once. */
typedef struct cellar_pinned {
    const void *value;
    size_t      value_len;
    uint64_t    opaque[4]; /* zero = not pinned */
} cellar_pinned;

/* Read a value without copying it: its bytes stay where they are until cellar_unpin.
 * in:      key
 * out:     *out: value, value_len; zeroed unless OK
 * returns: OK, MISS, ABSENT; E_LIMIT (too many pins at once), E_INVAL, E_CLOSED
 * owns:    the bytes are borrowed until cellar_unpin(out), or until the store is closed. They do
 *          not change: a later set, delete or eviction leaves them in place
 * thread:  any; may be unpinned in another thread. For values from 1 KiB on, and for a short time:
 *          a pin keeps up to a segment (1 MiB) from being reused
 * cost:    two shared writes; no copy
 * example:
 *     cellar_pinned p;
 *     if (cellar_pin(c, "k", 1, &p) == CELLAR_OK) cellar_unpin(&p);                              */
CELLAR_API cellar_err cellar_pin(cellar *c, const void *key, size_t key_len, cellar_pinned *out);

/* Give a pin back.
 * in:      p from cellar_pin; NULL or zeroed is fine; zeroed by the call
 * thread:  any; a second unpin of a copy stops the program in debug builds
 * cost:    one shared write
 * example:
 *     cellar_pinned p = {0, 0, {0, 0, 0, 0}};
 *     cellar_unpin(&p);                                                                          */
CELLAR_API void cellar_unpin(cellar_pinned *p);

/* Is there a live value?
 * in:      key
 * returns: OK, MISS (also for a negative entry and in the stale window); E_INVAL, E_CLOSED
 * thread:  any; as cellar_peek it is no use of the entry and in no statistic
 * cost:    as cellar_get without the copy; a value that is only on disk is read there
 * example: if (cellar_contains(c, "k", 1) == CELLAR_OK) puts("there");                           */
CELLAR_API cellar_err cellar_contains(cellar *c, const void *key, size_t key_len);

/* Describe an entry without reading its value.
 * in:      key; flags 0 or CELLAR_GET_WANT_VERSION; out->struct_size set
 * out:     *out; untouched unless OK, ABSENT or STALE
 * returns: OK, STALE (in its stale window), ABSENT, MISS; E_UNSUPPORTED (unknown flag), E_SPACE or
 *          E_NOMEM (a version was wanted and the rewrite found no room), E_INVAL, E_CLOSED
 * thread:  any; no use of the entry
 * cost:    as cellar_peek; with CELLAR_GET_WANT_VERSION the first time as cellar_set
 * example:
 *     cellar_entry_info info = cellar_entry_info_default();
 *     cellar_entry_info_get(c, "k", 1, 0, &info);                                                */
CELLAR_API cellar_err cellar_entry_info_get(cellar *c, const void *key, size_t key_len,
                                            uint32_t flags,
                                            cellar_entry_info *out);

/* ---- Writing --------------------------------------------------------------------------------- */

#define CELLAR_ONLY_IF_ABSENT  0x0001u /* else EXISTS; a negative entry counts as absent          */
#define CELLAR_ONLY_IF_PRESENT 0x0002u /* else MISS                                               */
#define CELLAR_ONLY_IF_VERSION 0x0004u /* over a live value of if_version; else CONFLICT          */
#define CELLAR_KEEP_OLD_VALUE  0x0008u /* a set that fails leaves the old value                   */
#define CELLAR_KEEP_TTL        0x0010u /* a live value's deadline and windows stay; else TTL      */
#define CELLAR_NEGATIVE        0x0020u /* store "known absent"; value_len 0, TTL: negative_ttl_ms */
#define CELLAR_DURABLE         0x0040u /* on disk, and outlives a power cut; E_IO: in memory only */
#define CELLAR_NO_L2           0x0080u /* this entry is never written to disk; not with DURABLE   */

typedef struct cellar_set_opts {
    size_t   struct_size;       /* set by cellar_set_opts_default()                               */
    int64_t  ttl_ms;            /* 0 = class, else view's default; CELLAR_TTL_NONE                */
    int64_t  idle_ms;           /* ends when not used for so long; 0 = view's; or CELLAR_TTL_NONE */
    int64_t  max_age_ms;        /* bound of an entry with idle time, else E_INVAL; 0 = view's     */
    int64_t  stale_ms;          /* window after the end, of what is stored with a TTL or greatest */
                                /* age; 0 = view's; idle, stale: up to 2^32 - 1                   */
    uint64_t if_version;        /* with CELLAR_ONLY_IF_VERSION, from cellar_entry_info.version    */
    uint64_t *version;          /* optional: asks for a version of the new entry and receives it  */
    const cellar_bytes *tags;   /* tag_count of them, 1..CELLAR_TAG_MAX bytes each; not kept;     */
                                /* they replace those it has, none = it has none from now on      */
    uint32_t tag_count;         /* 0..CELLAR_TAGS_MAX                                             */
    uint32_t flags;             /* CELLAR_ONLY_IF_.., _KEEP_.., _NEGATIVE, _DURABLE, _NO_L2       */
    uint32_t ttl_class;         /* number from cellar_ttl_class_find; 0 = none                    */
    uint32_t user_flags;        /* the caller's own 32 bits; 4 bytes an entry when not 0          */
    uint32_t cost_us;           /* what it cost to make; 0 = unknown                              */
    uint32_t jitter_pct;        /* 0..100: spreads the TTL, not beyond a greatest age; 0 = none   */
    uint32_t jitter_mode;       /* CELLAR_JITTER_...                                              */
    uint32_t reserved0;
    uint64_t reserved1;
} cellar_set_opts;
CELLAR_STRUCT(cellar_set_opts, reserved1);

/* Store a value.
 * in:      key, value (NULL with value_len 0), o NULL = the view's defaults. Time to live: o's
 *          ttl_ms, else its class, else the view's default, else none. With an idle time the entry
 *          ends at the earliest of idle, max_age and TTL. A negative entry has no idle time and no
 *          stale window: max_age_ms is E_INVAL with it
 * out:     *o->version, if asked for
 * returns: OK; with a condition EXISTS, MISS, CONFLICT (nothing changed); DISABLED; E_TOOBIG
 *          (value over max_value_bytes), E_SPACE (a negative entry also when these hold their
 *          eighth of the memory and none is found that could go for it), E_NOMEM
 *          (**the old value is gone**, unless CELLAR_KEEP_OLD_VALUE: what a caller wanted to
 *          replace is not served); E_BUSY (64 clears of the view came in between), E_IO (see "Disk
 *          tier"), E_INVAL, E_RANGE (windows),
 *          E_UNSUPPORTED, E_CLOSED (nothing changed)
 * owns:    the bytes are copied
 * thread:  any; atomic per key
 * cost:    bounded: looks at no more than 16 + n/8 old records for n bytes, for a negative entry at
 *          128 more, splits at most one bucket; listeners run before it returns
 * example:
 *     cellar_set_opts o = cellar_set_opts_default();
 *     o.ttl_ms = 60000;
 *     cellar_set(c, "k", 1, "value", 5, &o);                                                     */
CELLAR_API cellar_err cellar_set(cellar *c, const void *key, size_t key_len,
                                 const void *value, size_t value_len, const cellar_set_opts *o);

/* Remove an entry. No get that starts after the return sees the old value.
 * in:      key
 * returns: OK (a live value was in memory), MISS (nothing live there; a negative entry goes, too,
 *          and so does what lies only on disk, unread); E_IO (see "Disk tier"), E_INVAL, E_CLOSED
 * thread:  any; works in a disabled view
 * cost:    O(1), no allocation
 * example: cellar_delete(c, "k", 1);                                                             */
CELLAR_API cellar_err cellar_delete(cellar *c, const void *key, size_t key_len);

/* Give a live entry a new time to live, from now; counts as a use for its idle time.
 * in:      key; ttl_ms 0 = the view's default, CELLAR_TTL_NONE. An entry with an idle time never
 *          outlives the end it has, which is its greatest age: one that is brought nearer stays
 *          so; nor does a loaded one outlive what it was made of, where that is noted
 *          ("Dependencies")
 * returns: OK, MISS, ABSENT (negative or a remembered failure: unchanged), DISABLED; E_SPACE,
 *          E_NOMEM (entry unchanged), E_IO (see "Disk tier"), E_INVAL, E_CLOSED
 * thread:  any
 * cost:    O(1); may rewrite the entry once when it had no room for a deadline
 * example: cellar_touch(c, "k", 1, 60000);                                                       */
CELLAR_API cellar_err cellar_touch(cellar *c, const void *key, size_t key_len, int64_t ttl_ms);

/* Bytes an update function writes its result to. */
typedef struct cellar_buf cellar_buf;

/* Append to an update's result.
 * in:      b of the running cellar_update; data may be NULL with len 0
 * returns: OK; E_NOMEM, E_TOOBIG (over max_value_bytes in all), E_INVAL. After the first failure
 *          each call fails with that code, and so does the update: nothing is changed
 * owns:    copied
 * thread:  the one that runs the update function
 * cost:    amortised O(len)
 * example: cellar_buf_append(out, "x", 1);                                                       */
CELLAR_API cellar_err cellar_buf_append(cellar_buf *b, const void *data, size_t len);

/* Set the length of an update's result and get at its bytes; new ones are zero.
 * in:      b of the running cellar_update; len in bytes
 * out:     *data, valid until the next call on b
 * returns: OK; E_NOMEM, E_TOOBIG, E_INVAL: as cellar_buf_append
 * owns:    borrowed until the next call on b or the end of the update function
 * thread:  the one that runs the update function
 * cost:    O(len)
 * example:
 *     void *p;
 *     cellar_buf_resize(out, 8, &p);                                                             */
CELLAR_API cellar_err cellar_buf_resize(cellar_buf *b, size_t len, void **data);

/* What an update function says: CELLAR_OK: store what is in out (nothing written = a zero-length
 * value); anything else: change nothing, cellar_update returns it. old is NULL when the key has no
 * live value. May run more than once; no lock is held. */
typedef cellar_err (*cellar_update_fn)(void *ctx, const void *old, size_t old_len,
                                       cellar_buf *out);

/* Compute a new value from the old one, atomically against every other writer of the key.
 * in:      key, fn; o as in cellar_set (CELLAR_ONLY_IF_PRESENT: fn is not called on a missing key;
 *          CELLAR_ONLY_IF_ABSENT, _VERSION and CELLAR_NEGATIVE are E_INVAL)
 * returns: OK (stored), MISS (with ONLY_IF_PRESENT), DISABLED, what fn returned; E_BUSY (64 rounds
 *          lost to other writers), E_TOOBIG, E_INVAL (of out, too: nothing changed); E_SPACE,
 *          E_NOMEM (when the new value could not be stored, the old one is gone as with cellar_set;
 *          when there was no working memory, nothing changed), E_LIMIT, E_IO (see "Disk tier"),
 *          E_RANGE, E_UNSUPPORTED, E_CLOSED
 * owns:    old is a private copy, valid while fn runs
 * thread:  any; fn runs with no lock held and may call the cache
 * cost:    a copy, fn, a compare and a set a round
 * example:
 *     cellar_update(c, "k", 1, append_line, "text", NULL);                                       */
CELLAR_API cellar_err cellar_update(cellar *c, const void *key, size_t key_len,
                                    cellar_update_fn fn, void *ctx, const cellar_set_opts *o);

/* Add to a counter: a value of exactly 8 bytes, little-endian int64.
 * in:      key, delta of any sign. A missing or negative entry becomes init + delta with
 *          ttl_if_new_ms (0 = the view's default); a live one keeps its time to live. flags 0 or
 *          CELLAR_ONLY_IF_PRESENT
 * out:     *now_value after the addition, with OK, E_RANGE and E_IO; optional
 * returns: OK; MISS (ONLY_IF_PRESENT), DISABLED; E_TYPE (not 8 bytes, unchanged), E_RANGE
 *          (overflow: the counter now stands at the limit it passed), E_BUSY (64 clears of the
 *          view came in between), E_SPACE, E_NOMEM, E_IO (see "Disk tier"), E_INVAL,
 *          E_UNSUPPORTED, E_CLOSED
 * thread:  any; atomic
 * cost:    in place as a rule: one bucket lock
 * example:
 *     int64_t n;
 *     cellar_increment(c, "visits", 6, 1, 0, 60000, 0, &n);                                      */
CELLAR_API cellar_err cellar_increment(cellar *c, const void *key, size_t key_len, int64_t delta,
                                       int64_t init, int64_t ttl_if_new_ms, uint32_t flags,
                                       int64_t *now_value);

/* ---- Many keys in one call ------------------------------------------------------------------- */

typedef struct cellar_get_item {
    const void *key;
    size_t      key_len;
    void       *buf;
    size_t      buf_cap;
    size_t      value_len; /* out, as in cellar_get */
    cellar_err  status;    /* out: what cellar_get would have returned */
    uint32_t    reserved0; /* must be 0 */
} cellar_get_item;

typedef struct cellar_set_item {
    const void *key;
    size_t      key_len;
    const void *value;
    size_t      value_len;
    cellar_err  status;    /* out: what cellar_set would have returned */
    uint32_t    reserved0; /* must be 0 */
} cellar_set_item;

typedef struct cellar_delete_item {
    const void *key;
    size_t      key_len;
    cellar_err  status;    /* out: what cellar_delete would have returned */
    uint32_t    reserved0; /* must be 0 */
} cellar_delete_item;

/* Read many keys: the same as cellar_get on each, in the caller's order, several times faster.
 * in:      items (NULL with count 0); duplicates are fine
 * out:     each item's value_len and status; *hits the number of OK; optional
 * returns: OK (look at the items); E_INVAL (items or c NULL, more items than memory holds: nothing
 *          done), E_CLOSED
 * owns:    nothing changes hands
 * thread:  any; each item by itself is atomic, the batch is not
 * cost:    groups of 32 with prefetch; no allocation
 * example:
 *     cellar_get_item it[1] = {{"a", 1, b1, 64, 0, CELLAR_OK, 0}};
 *     size_t hits;
 *     cellar_get_many(c, it, 1, &hits);                                                          */
CELLAR_API cellar_err cellar_get_many(cellar *c, cellar_get_item *items, size_t count,
                                      size_t *hits);

/* Store many values with one set of options; one failing item does not stop the others.
 * in:      items; o as in cellar_set, but version must be NULL
 * out:     each item's status; *stored the number of OK; optional
 * returns: OK (look at the items); E_INVAL, E_RANGE, E_UNSUPPORTED (options: nothing done),
 *          E_CLOSED
 * owns:    the bytes are copied
 * thread:  any; equal keys: the last one wins
 * cost:    groups of 32 with prefetch
 * example:
 *     cellar_set_item it[1] = {{"a", 1, "x", 1, CELLAR_OK, 0}};
 *     cellar_set_many(c, it, 1, NULL, NULL);                                                     */
CELLAR_API cellar_err cellar_set_many(cellar *c, cellar_set_item *items, size_t count,
                                      const cellar_set_opts *o, size_t *stored);

/* Remove many keys.
 * in:      items
 * out:     each item's status; *deleted the number of OK; optional
 * returns: OK (look at the items); E_INVAL, E_CLOSED
 * thread:  any
 * cost:    groups of 32 with prefetch
 * example:
 *     cellar_delete_item it[1] = {{"a", 1, CELLAR_OK, 0}};
 *     cellar_delete_many(c, it, 1, NULL);                                                        */
CELLAR_API cellar_err cellar_delete_many(cellar *c, cellar_delete_item *items, size_t count,
                                         size_t *deleted);

/* ---- Loading --------------------------------------------------------------------------------- */

/* One load in progress, as its loader sees it. */
typedef struct cellar_load cellar_load;

/* Where a result came from. */
enum { CELLAR_SOURCE_NONE = 0, CELLAR_SOURCE_L1 = 1, CELLAR_SOURCE_L2 = 2, CELLAR_SOURCE_LOADED = 3,
       CELLAR_SOURCE_JOINED = 4, CELLAR_SOURCE_NEGATIVE = 5, CELLAR_SOURCE_ERROR_ENTRY = 6,
       CELLAR_SOURCE_STALE_SOFT_TIMEOUT = 7, CELLAR_SOURCE_STALE_IF_ERROR = 8,
       CELLAR_SOURCE_STALE_REVALIDATE = 9, CELLAR_SOURCE_BLOOM = 10, CELLAR_SOURCE_FALLBACK = 11,
       CELLAR_SOURCE_DEFAULT = 12 };

#define CELLAR_RESULT_NOT_STORED 1u /* loaded and delivered, not stored                          */
#define CELLAR_RESULT_INVALIDATED 2u /* because a delete, clear or newer set came in between     */
#define CELLAR_RESULT_REFRESHING 4u /* this call started a refresh in the background             */

/* What a load-through read gives back. Set buf to have values that fit copied there: a hit then
 * allocates nothing. Presence is the code, never the pointer: an empty value is a value. */
typedef struct cellar_result {
    size_t      struct_size;    /* set by cellar_result_default()                                 */
    void       *buf;            /* in: room of the caller's, or NULL                              */
    size_t      buf_cap;        /* in: bytes at buf                                               */
    const void *value;          /* the bytes: at buf, or owned by this result                     */
    size_t      value_len;
    uint32_t    source;         /* CELLAR_SOURCE_...                                              */
    uint32_t    flags;          /* CELLAR_RESULT_...                                              */
    uint32_t    user_flags;     /* as given to the set or by the loader                           */
    int32_t     loader_err;     /* what the loader returned or said, with E_LOADER                */
    int64_t     age_ms;         /* since it was stored; -1 = not known (plain hits do not ask)    */
    int64_t     ttl_left_ms;    /* CELLAR_TTL_NONE = never; 0 = stale; -1 = not known             */
    int64_t     retry_after_ms; /* with E_LOADER or STALE: no load will be tried before; 0 = none */
    uint64_t    version;        /* 0 = none                                                       */
    uint64_t    load_us;        /* how long the loader ran; 0 = it did not                        */
    void       *owner;          /* private                                                        */
} cellar_result;
CELLAR_PACKED(cellar_result, owner);
static inline cellar_result cellar_result_default(void)
{
    CELLAR_ZERO(cellar_result, o);
    o.struct_size = sizeof(cellar_result);
    o.age_ms = o.ttl_left_ms = -1;
    return o;
}

#define CELLAR_LOAD_BYPASS         0x01u /* neither read nor store: ask the loader, alone         */
#define CELLAR_LOAD_REFRESH        0x02u /* do not read, but store                                */
#define CELLAR_LOAD_ONLY_IF_CACHED 0x04u /* never load: MISS                                      */
#define CELLAR_LOAD_NO_STORE       0x08u /* the result is delivered, not kept                     */
#define CELLAR_LOAD_NO_L2          0x10u /* not read from disk; what is loaded is not written     */
#define CELLAR_LOAD_NO_JOIN        0x20u /* loads of one key run side by side; first one is kept  */
#define CELLAR_LOAD_CTX_STATIC     0x40u /* ctx outlives every background load                    */

#define CELLAR_LOAD_CTX_MAX 256u
#define CELLAR_FALLBACKS_MAX 3u
#define CELLAR_DEPENDENCIES_MAX 64u /* keys one call of a loader may read where they are noted */

typedef struct cellar_breaker cellar_breaker; /* see "Circuit breakers" */

/* A loader asked when the first one gave nothing, and nothing stale is left: failed now, failed
 * lately and that is remembered, failed for the call this one waited for (whose fallbacks were
 * other functions), or not asked because the breaker is open. One caller of a key asks, the others
 * get what it brings. After the last one the default value stands in, also where a wait ended or a
 * limit was reached (E_TIMEOUT, E_LIMIT, E_NOMEM). Not with ONLY_IF_CACHED, and not in the place of
 * E_DEADLOCK and E_DEPTH. Kept for fallback_ttl_ms, in memory only; not kept where the failure is
 * remembered (error_ttl_ms) until later than that. */
typedef struct cellar_fallback {
    cellar_loader_fn fn; /* NULL: none */
    void         *ctx;
} cellar_fallback;

/* How to load. 0 everywhere = the view's default, then the store's, then what stands here. What is
 * out of range is E_INVAL, as is soft_timeout_ms over hard_timeout_ms, whichever of them is the
 * view's. */
typedef struct cellar_load_opts {
    size_t   struct_size;      /* set by cellar_load_opts_default()                               */
    int64_t  ttl_ms;           /* the view's default, else none; CELLAR_TTL_NONE = none           */
    int64_t  negative_ttl_ms;  /* of "none"; 60,000                                               */
    int64_t  error_ttl_ms;     /* how long a failure is remembered, doubled each time; off        */
    int64_t  error_ttl_max_ms; /* most it grows to; 60,000; at most 24 hours                      */
    int64_t  stale_ms;         /* window after the TTL in which an old value may be served; 0; at */
                               /* most 2^32 - 1                                                   */
    int64_t  retry_throttle_ms; /* pause after a failure while something stale is served; 30,000  */
    int64_t  soft_timeout_ms;  /* who holds something stale waits so long; 0 = not at all, as is  */
                               /* CELLAR_TTL_NONE in a view that has one                          */
    int64_t  hard_timeout_ms;  /* after it a waiter may take over; 30,000; at most 24 hours       */
    int64_t  wait_timeout_ms;  /* patience with another call's load; hard_timeout_ms              */
    int64_t  fallback_ttl_ms;  /* of fallback and default values; retry_throttle_ms               */
    uint32_t jitter_pct;       /* spreads TTLs; 10; 1..100, or CELLAR_OFF: none, as in the        */
    uint32_t jitter_mode;      /* next four but this: CELLAR_JITTER_..., with jitter_pct          */
    uint32_t join_retries;     /* failures a joiner sees before it takes the error; 1; at most 8  */
    uint32_t leader_retries;   /* hard time-outs in a row that hand over; 2; at most 15           */
    uint32_t eager_refresh_pct; /* 1..99: refresh in the background past this share of the TTL    */
    uint32_t xfetch_beta_x100; /* refresh early at random, the likelier the dearer; 100 = 1.0; at */
                               /* most 100,000; not with eager_refresh_pct                        */
    uint32_t no_negative;      /* 1: "none" is returned, not kept                                 */
    uint32_t no_wait;          /* 1: PENDING instead of waiting for another call's load           */
    uint32_t flags;            /* CELLAR_LOAD_...                                                 */
    uint32_t ctx_bytes;        /* 1..256: ctx is copied for background loads                      */
    void   *(*ctx_retain)(void *ctx);  /* both or neither: what it returns is the ctx of a        */
    void    (*ctx_release)(void *ctx); /* background load, and is released when that ended        */
    cellar_fallback fallback[3];
    const cellar_bytes *default_value; /* NULL: none; up to CELLAR_VALUE_MAX bytes                */
    cellar_breaker *breaker;           /* outlives the load; NULL: the view's                     */
} cellar_load_opts;
CELLAR_STRUCT(cellar_load_opts, breaker);

/* Read through the cache: the value of `key`, made by `fn` when it is not there. Whatever the
 * number of threads, one loader runs for a key; the others get its outcome. A delete, clear or
 * set during a load wins: the late result reaches those who wait, and is not stored.
 * in:      key; o NULL = the view's defaults; fn NULL = the view's loader (also with ONLY_IF_CACHED
 *          fn may be NULL); out->struct_size set, out->buf optional
 * out:     *out, also with negative codes
 * returns: OK; STALE (past its TTL, inside the stale window), ABSENT (the loader said "none", now
 *          or lately), MISS (ONLY_IF_CACHED), PENDING (no_wait); E_LOADER (out->loader_err),
 *          E_NO_RESULT, E_RESULT_TWICE, E_TOOBIG (of the loaded value), E_TIMEOUT, E_DEADLOCK (the
 *          wait would never end, also across threads), E_DEPTH (over 16 loads inside each other),
 *          E_BREAKER_OPEN (breaker), E_LIMIT (max_flights, max_waiters), E_NOMEM, E_INVAL (also:
 *          an unknown flag), E_UNSUPPORTED (a field of a newer library), E_CLOSED
 * owns:    out->value is the caller's until cellar_result_free(out), also after the store is gone
 * thread:  any; fn runs in the calling thread (or, for background refreshes, in one of the store's
 *          or in cellar_tick) with no lock held. It may call the cache, load other keys, be
 *          cancelled (deferred) or end its thread: the load then passes to a waiter
 * cost:    hit: as cellar_get; a load: about half a microsecond beside the loader's own time and
 *          the set
 * example:
 *     cellar_result r = cellar_result_default();
 *     if (cellar_get_or_load(c, "k", 1, NULL, load_row, db, &r) == CELLAR_OK) use(r.value, 1);
 *     cellar_result_free(&r);                                                                    */
CELLAR_API cellar_err cellar_get_or_load(cellar *c, const void *key, size_t key_len,
                                         const cellar_load_opts *o, cellar_loader_fn fn, void *ctx,
                                         cellar_result *out);

/* Give back what a result owns; buf and buf_cap stay as they are, so that it can be used again.
 * in:      NULL and fresh results are fine
 * thread:  any, also after the store was closed
 * cost:    one shared write; the last one frees
 * example:
 *     cellar_result r = cellar_result_default();
 *     cellar_result_free(&r);                                                                    */
CELLAR_API void cellar_result_free(cellar_result *r);

/* ---- what a loader says: exactly one result ---- */

/* The result is a copy of these bytes.
 * in:      load of the running loader; value may be NULL with value_len 0
 * returns: OK; E_RESULT_TWICE (there is one already: neither is kept), E_TOOBIG, E_NOMEM, E_INVAL
 * owns:    copied
 * thread:  the one that runs the loader
 * cost:    one allocation and a copy
 * example: cellar_load_value(load, "value", 5);                                                  */
CELLAR_API cellar_err cellar_load_value(cellar_load *load, const void *value, size_t value_len);

/* The result will be written in place: get room for it.
 * in:      value_len in bytes
 * out:     *value, writable until the loader returns; NULL on failure
 * returns: as cellar_load_value
 * owns:    borrowed until the loader returns
 * thread:  the one that runs the loader
 * cost:    one allocation
 * example:
 *     void *p;
 *     if (cellar_load_alloc(load, 3, &p) == CELLAR_OK) memcpy(p, "abc", 3);                      */
CELLAR_API cellar_err cellar_load_alloc(cellar_load *load, size_t value_len, void **value);

/* The result is this block, taken over.
 * in:      value not NULL; free_fn not NULL
 * returns: as cellar_load_value
 * owns:    free_fn(free_ctx, value) is called once, on every path, also when this call fails; with
 *          no lock held, in any thread, possibly after the store was closed
 * thread:  the one that runs the loader
 * cost:    one small allocation
 * example: cellar_load_take(load, block, 100, free_block, NULL);                                 */
CELLAR_API cellar_err cellar_load_take(cellar_load *load, void *value, size_t value_len,
                                       void (*free_fn)(void *free_ctx, void *value),
                                       void *free_ctx);

/* The result is that the source has nothing under this key.
 * in:      load of the running loader
 * returns: OK; E_RESULT_TWICE, E_INVAL
 * thread:  the one that runs the loader
 * cost:    O(1)
 * example: cellar_load_absent(load);                                                             */
CELLAR_API cellar_err cellar_load_absent(cellar_load *load);

/* The result is that the old value (cellar_load_stale_value) still holds. Its time to live begins
 * anew; tags said (cellar_load_set_tags) take the place of those it has. One with tags that has
 * left, or was ended by one of them, meanwhile is delivered and not stored.
 * in:      load of the running loader
 * returns: OK; E_RESULT_TWICE, E_INVAL. Without an old value the load ends with E_NO_RESULT
 * thread:  the one that runs the loader
 * cost:    O(1); the entry is rewritten once
 * example: cellar_load_not_modified(load);                                                       */
CELLAR_API cellar_err cellar_load_not_modified(cellar_load *load);

#define CELLAR_FAIL_FINAL 1u /* no other caller need try: all who wait get this error */

/* Say why the load fails; the loader then returns a negative code.
 * in:      loader_err of the caller's choice, not 0; retry_after_ms: nobody asks again before (with
 *          error_ttl_ms, fallbacks or not, or something stale), 0..24 hours; flags
 *          CELLAR_FAIL_FINAL or 0
 * returns: OK; E_INVAL
 * thread:  the one that runs the loader
 * cost:    O(1)
 * example: cellar_load_fail(load, 503, 2000, 0);                                                 */
CELLAR_API cellar_err cellar_load_fail(cellar_load *load, int32_t loader_err,
                                       int64_t retry_after_ms, uint32_t flags);

/* Options of this one result; each wins over the call's and the view's.
 * in:      load of the running loader; times as in cellar_load_opts but 0 too is taken as said:
 *          ttl_ms 0 = do not keep it; tags as in cellar_set_opts, replacing earlier ones
 * returns: OK; E_INVAL, E_RANGE
 * owns:    tags are copied
 * thread:  the one that runs the loader
 * cost:    O(1); tags: O(their bytes)
 * example: cellar_load_set_ttl(load, 5000);                                                      */
CELLAR_API cellar_err cellar_load_set_ttl(cellar_load *load, int64_t ttl_ms);
CELLAR_API cellar_err cellar_load_set_negative_ttl(cellar_load *load, int64_t ttl_ms);
CELLAR_API cellar_err cellar_load_set_stale(cellar_load *load, int64_t stale_ms);
CELLAR_API cellar_err cellar_load_set_tags(cellar_load *load, const cellar_bytes *tags,
                                           size_t tag_count);
CELLAR_API cellar_err cellar_load_set_cost(cellar_load *load, uint32_t cost_us);
CELLAR_API cellar_err cellar_load_set_user_flags(cellar_load *load, uint32_t user_flags);
CELLAR_API cellar_err cellar_load_set_no_store(cellar_load *load);

/* ---- what a loader may ask ---- */

/* The value that is about to be replaced: stale, or fresh when it is refreshed early.
 * in:      load of the running loader; user_flags optional
 * out:     *value and *value_len, or NULL and 0
 * returns: OK; MISS (there is none); E_INVAL
 * owns:    borrowed until the loader returns
 * thread:  the one that runs the loader
 * cost:    O(1)
 * example:
 *     const void *old;
 *     size_t len;
 *     if (cellar_load_stale_value(load, &old, &len, NULL) == CELLAR_OK)
 *     cellar_load_not_modified(load); */
CELLAR_API cellar_err cellar_load_stale_value(cellar_load *load, const void **value,
                                              size_t *value_len,
                                              uint32_t *user_flags);

/* How many loads of this key were lost or failed before this one, in a row, as this call saw it.
 * in:      load of the running loader
 * returns: the number; 0 for NULL
 * thread:  the one that runs the loader
 * cost:    O(1)
 * example: if (cellar_load_attempt(load) > 2) cellar_load_fail(load, 1, 0, CELLAR_FAIL_FINAL);   */
CELLAR_API uint32_t cellar_load_attempt(cellar_load *load);

/* How long until others may take over this load, in milliseconds.
 * in:      load of the running loader
 * returns: the time left, 0 when it is over
 * thread:  the one that runs the loader
 * cost:    a clock reading
 * example: int64_t left_ms = cellar_load_time_left_ms(load);                                     */
CELLAR_API int64_t cellar_load_time_left_ms(cellar_load *load);

/* Is the result still wanted? 0 once it will not be stored and nobody but this call waits.
 * in:      load of the running loader
 * returns: 1 when the load was overtaken and nobody else waits, else 0
 * thread:  the one that runs the loader
 * cost:    one lock
 * example: if (cellar_load_cancelled(load)) return CELLAR_E_CANCELLED;                           */
CELLAR_API int cellar_load_cancelled(cellar_load *load);

/* ---- many keys ---- */

/* Report one key of a bulk load: its value, that there is none, or that it failed.
 * in:      load of the running bulk loader; index of the key; loader_err not 0
 * returns: OK; E_RESULT_TWICE (reported already: neither is kept), E_TOOBIG, E_NOMEM, E_INVAL
 * owns:    copied
 * thread:  the one that runs the loader
 * cost:    one allocation and a copy
 * example: cellar_load_item_value(load, 0, "value", 5);                                          */
CELLAR_API cellar_err cellar_load_item_value(cellar_load *load, size_t index, const void *value,
                                             size_t value_len);
CELLAR_API cellar_err cellar_load_item_absent(cellar_load *load, size_t index);
CELLAR_API cellar_err cellar_load_item_fail(cellar_load *load, size_t index, int32_t loader_err);

typedef struct cellar_load_item {
    const void   *key;
    size_t        key_len;
    cellar_result result;  /* as for cellar_get_or_load; cellar_result_default() first */
    cellar_err    status;  /* out: what cellar_get_or_load would have returned */
    uint32_t      reserved0; /* must be 0 */
} cellar_load_item;

/* Read many keys through the cache: one call of `fn` for all that are missing and that nobody else
 * is loading; at most 4,096 keys a loader call. Own loads run before others' are waited for.
 * in:      items (NULL with count 0), duplicates are fine; o as in cellar_get_or_load; fn NULL =
 *          the view's. Keys fn does not report get E_NO_RESULT, or its error; for each key that
 *          failed o's fallbacks are asked, one by one
 * out:     each item's result and status, in the caller's order
 * returns: OK (look at the items); E_INVAL, E_UNSUPPORTED (nothing done), E_CLOSED
 * owns:    each item's result is freed with cellar_result_free
 * thread:  as cellar_get_or_load; each item by itself is atomic, the batch is not
 * cost:    as cellar_get_many for what is there; one loader call for the rest
 * example:
 *     cellar_load_item it[1] = {{"a", 1, cellar_result_default(), CELLAR_OK, 0}};
 *     cellar_get_or_load_many(c, it, 1, NULL, load_rows, db);                                    */
CELLAR_API cellar_err cellar_get_or_load_many(cellar *c, cellar_load_item *items, size_t count,
                                              const cellar_load_opts *o, cellar_loader_many_fn fn,
                                              void *ctx);

/* ---- leases: the same without a waiting thread ---- */

/* The right, and the duty, to bring the value of a key. All zero = none. */
typedef struct cellar_lease {
    uint64_t id;
    uint64_t check;
} cellar_lease;

/* Called once when a load that was PENDING has ended, in whatever thread ended it, with no lock
 * held; must not block. Then ask again: cellar_lease_acquire gives the value, or the lease. */
typedef struct cellar_subscriber {
    void (*fn)(void *ctx);
    void  *ctx;
} cellar_subscriber;

/* Read through the cache without a loader: who gets LEASED brings the value with
 * cellar_lease_fulfill; everybody else, threads in cellar_get_or_load included, gets that value.
 * in:      key, o as in cellar_get_or_load; waiter: whom to call when a PENDING load ends;
 *          optional. o's fallbacks and default value stand in where the breaker is open or a
 *          failure is remembered (then they are asked here) and where the lease is abandoned with
 *          an error
 * out:     *lease with LEASED, and with STALE when the refresh is this caller's; with PENDING and a
 *          waiter the ticket for cellar_lease_unsubscribe; else all zero. *out the value with OK
 *          and STALE
 * returns: OK, STALE, ABSENT; LEASED, PENDING; MISS (ONLY_IF_CACHED), E_LOADER (a remembered
 *          failure), E_BREAKER_OPEN (the view's breaker), E_TIMEOUT (leader_retries used up),
 *          E_LIMIT, E_NOMEM, E_INVAL (BYPASS, NO_STORE and NO_JOIN make no sense here; an
 *          unknown flag), E_UNSUPPORTED, E_CLOSED
 * owns:    out as in cellar_get_or_load; a lease ends with fulfill, release, or hard_timeout_ms
 *          later when somebody asks or cellar_tick runs. To the view's breaker fulfill is a
 *          success, release with an error a failure, the rest says nothing; o's breaker is not
 *          asked. The ctx of a fallback outlives the lease; the default value is copied
 * thread:  any; never waits, but for fallbacks
 * cost:    as cellar_get_or_load
 * example:
 *     cellar_lease lease;
 *     cellar_result r = cellar_result_default();
 *     if (cellar_lease_acquire(c, "k", 1, NULL, NULL, &lease, &r) == CELLAR_LEASED)
 *         cellar_lease_fulfill(c, &lease, "value", 5, NULL);                                     */
CELLAR_API cellar_err cellar_lease_acquire(cellar *c, const void *key, size_t key_len,
                                           const cellar_load_opts *o,
                                           const cellar_subscriber *waiter,
                                           cellar_lease *lease, cellar_result *out);

/* Bring the value of a lease: store it, wake all who wait for it.
 * in:      lease from cellar_lease_acquire on this view; o as in cellar_set (TTL, stale window,
 *          tags, cost; CELLAR_NEGATIVE: there is none), no conditions, not CELLAR_DURABLE; NULL =
 *          the view's defaults. TTL, stale window and jitter it leaves open are those
 *          cellar_lease_acquire was given
 * out:     *lease is zeroed, unless with E_LEASE and the codes behind E_NOMEM: another view's lease
 *          is still of use there
 * returns: OK; INVALIDATED (waiters served, not stored: a delete, clear or newer set came first),
 *          DROPPED (waiters served, no room to store it), DISABLED (waiters served, the view is
 *          switched off); E_LEASE (unknown, expired, taken over or used), E_TOOBIG, E_NOMEM (the
 *          lease is abandoned with that code), E_INVAL, E_RANGE, E_UNSUPPORTED, E_CLOSED
 * owns:    the bytes are copied
 * thread:  any, not only the one that began
 * cost:    as cellar_set
 * example: cellar_lease_fulfill(c, &lease, "value", 5, NULL);                                    */
CELLAR_API cellar_err cellar_lease_fulfill(cellar *c, cellar_lease *lease, const void *value,
                                           size_t value_len, const cellar_set_opts *o);

/* Give a lease back without a value.
 * in:      loader_err 0: somebody else shall load; else the load failed: who waits gets something
 *          stale, or what the fallbacks of cellar_lease_acquire bring, its default value, or
 *          E_LOADER; error_ttl_ms, retry_throttle_ms and the like are cellar_lease_acquire's, too
 * out:     *lease as cellar_lease_fulfill leaves it
 * returns: OK; E_LEASE, E_INVAL, E_CLOSED
 * thread:  any; fallbacks run here, as a loader in cellar_get_or_load
 * cost:    one lock; waiters are called from here
 * example: cellar_lease_release(c, &lease, 0);                                                   */
CELLAR_API cellar_err cellar_lease_release(cellar *c, cellar_lease *lease, int32_t loader_err);

/* Take back a waiter given to cellar_lease_acquire.
 * in:      ticket from a PENDING cellar_lease_acquire
 * out:     *ticket is zeroed with OK
 * returns: OK (fn will not be called); E_LEASE (it was called or is about to be), E_INVAL, E_CLOSED
 * thread:  any
 * cost:    one lock
 * example: cellar_lease_unsubscribe(c, &ticket);                                                 */
CELLAR_API cellar_err cellar_lease_unsubscribe(cellar *c, cellar_lease *ticket);

/* ---- Scanning -------------------------------------------------------------------------------- */

#define CELLAR_SCAN_DISK 1u /* later: disk tier */

/* One entry of a scan; all pointers are valid during the callback only. */
typedef struct cellar_scan_entry {
    const void *key;
    size_t      key_len;
    const void *value;       /* NULL for long values (some KiB): read them with cellar_get */
    size_t      value_len;
    uint32_t    user_flags;
    uint32_t    kind;        /* CELLAR_KIND_... */
    int64_t     ttl_left_ms; /* CELLAR_TTL_NONE = never */
} cellar_scan_entry;

/* Returns 0 to go on, anything else to end this call; what lies in the same bucket still comes,
 * unless its view was closed, dropped or cleared by then. */
typedef int (*cellar_scan_fn)(void *ctx, const cellar_scan_entry *e);

/* Walk through this view's live entries, some at a time. An entry that is there from the first to
 * the last call is seen at least once; an entry may be seen twice.
 * in:      *cursor 0 to begin, then as it was left; match a glob of match_len bytes, NULL = all;
 *          bucket_count how many buckets this call may look at, 0 = 64; flags 0; fn
 * out:     *cursor, 0 when the walk is complete; opaque, valid as long as the store lives
 * returns: OK; E_INVAL (also a pattern of 0 or over CELLAR_PATTERN_MAX bytes), E_UNSUPPORTED,
 *          E_NOMEM (the cursor stays: call again), E_CLOSED
 * owns:    the entry handed to fn is a copy, valid during the call
 * thread:  any; fn runs with no lock held: it may set, delete, close its view
 * cost:    O(bucket_count); no other caller is stopped
 * example:
 *     uint64_t cursor = 0;
 *     do cellar_scan(c, &cursor, "user:*", 6, 0, 0, print_entry, NULL); while (cursor != 0);     */
CELLAR_API cellar_err cellar_scan(cellar *c, uint64_t *cursor, const char *match, size_t match_len,
                                  size_t bucket_count, uint32_t flags, cellar_scan_fn fn,
                                  void *ctx);

#define CELLAR_TAG_HARD 0u /* entries with the tag are misses                                     */
#define CELLAR_TAG_SOFT 1u /* they are stale: loads answer with them while they refresh           */

/* End every entry that carries a tag, in all views of the store, whatever their number. What was
 * set, or began to be loaded, before the call is not returned by a get that starts after it; a tag
 * need not be in use.
 * in:      any handle of the store; tag of 1..CELLAR_TAG_MAX bytes; mode CELLAR_TAG_...
 * returns: OK; E_IO (see "Disk tier"), E_INVAL, E_CLOSED. Never fails for want of memory: then all
 *          tagged entries end
 * thread:  any; listeners hear TAG when the memory is reclaimed. With a disk tier the call is in
 *          its log before it returns; from there a stale entry is not served, nor written to it
 * cost:    O(1) amortised, one lock of its own; memory / 4,096 tags, 64 to 65,536, are remembered
 *          exactly, after that the oldest eighth goes, and with it each tagged entry that is older;
 *          the call that does this goes through the table, older tagged entries may miss meanwhile.
 *          Over a restart of a disk tier: 4,096 tags, as long as older entries lie there
 * example: cellar_delete_by_tag(c, "user:17", 7, CELLAR_TAG_HARD);                               */
CELLAR_API cellar_err cellar_delete_by_tag(cellar *c, const void *tag, size_t tag_len,
                                           uint32_t mode);

/* Delete this view's entries whose keys match a glob (Redis' grammar), stale ones and negative ones
 * too. What was set, or began to be loaded, before the call is not returned by a get that starts
 * after it; what is set meanwhile may go or stay.
 * in:      pattern of 1..CELLAR_PATTERN_MAX bytes
 * out:     *removed, unless NULL: live values removed from memory, none counted twice. Keys that
 *          are only on disk end, too, and are in no count
 * returns: OK; E_INVAL, E_NOMEM (call again), E_LIMIT (disk tier: 256 such calls at once),
 *          E_IO (see "Disk tier"), E_UNSUPPORTED (a tier of the host's that knows no patterns),
 *          E_CLOSED
 * thread:  any; no lock is held while matching, no other caller is stopped; listeners hear GLOB
 * cost:    O(entries in memory); a pattern without wildcards: one delete. With a disk tier one
 *          record in its log, and a match for each entry read from there until all that is older is
 *          reclaimed; of more than 256 patterns the oldest ends all entries on disk before it
 * example: cellar_delete_by_pattern(c, "user:17:*", 9, NULL);                                    */
CELLAR_API cellar_err cellar_delete_by_pattern(cellar *c, const char *pattern, size_t pattern_len,
                                               uint64_t *removed);

/* ---- Bloom guard ----------------------------------------------------------------------------- */

/* A view may have a Bloom filter over the keys that exist in its *source* (the database behind the
 * cache). Eviction, expiry, delete and clear remove nothing from it. It is
 *     OFF            cellar_bloom_open ->
 *     OBSERVING      every stored value adds its key; it never decides, only counts
 *                    cellar_bloom_feed with all keys of the source; then cellar_bloom_activate ->
 *     AUTHORITATIVE  what it does not know is absent: a get misses without reading the disk tier, a
 *                    load answers ABSENT without a flight. Any doubt -> OBSERVING, with a log line
 * Contract of the owner: a new key goes to the source first, then into the cache (or through
 * cellar_bloom_add). One in 1,024 denied loads is made all the same; a value found ends authority.
 * While most look-ups of a view end "never", gets ask the filter before memory: a negative entry's
 * key is then a MISS. The view option bloom CELLAR_BLOOM_OBSERVING opens a filter of 1,000,000
 * keys at 1 % with the view. Filters are part of the budget: 10 bits a key at 1 %.
 * With the disk tier cellar_sync and the root's cellar_close write the filters of all views (not of
 * secret or no_l2 ones) to bloom.snap in its directory, and a view opened later has its filter
 * again, under the same name: AUTHORITATIVE if it was so at a close and nothing has happened to the
 * directory since; OBSERVING with its bits, and DOUBT_IMAGE, after a kill, a power cut, or in a
 * copy; OBSERVING, empty, if its part of the file is damaged. Whatever came into the source while
 * the store was not open, or open without its disk, the owner announces with cellar_bloom_add
 * before he relies on it, or he gives the filter up with cellar_bloom_drop. Filters that need more
 * room than is left beside the entries (about a segment, 512 KiB to 8 MiB) take up to a quarter of
 * l2_bytes, whose oldest entries go; what is larger still is not kept: see the log. A clear, a bump
 * and another l2_bytes change nothing, a dropped view's filter is gone. */
enum { CELLAR_BLOOM_DOUBT_NONE = 0, CELLAR_BLOOM_DOUBT_FOUND = 1, CELLAR_BLOOM_DOUBT_FULL = 2,
       CELLAR_BLOOM_DOUBT_NOMEM = 3, CELLAR_BLOOM_DOUBT_RESTORED = 4 };

/* Begin a filter, or, when there is one, begin a second of this size beside it: the first goes on
 * answering until cellar_bloom_activate puts the second in its place.
 * in:      expected_keys 1..2^40; fpp, the rate of false positives, .0001 to .5; 0 = .01. It grows
 *          to 15 times expected_keys; then, and when it cannot grow, it only observes
 * returns: OK; E_INVAL, E_BUSY (a second filter is being filled already), E_SPACE (budget),
 *          E_NOMEM (nothing changed), E_CLOSED
 * thread:  any, while everything else goes on
 * cost:    the filter's memory, charged at once
 * example: cellar_bloom_open(c, 1000000, 0.01);                                                  */
CELLAR_API cellar_err cellar_bloom_open(cellar *c, uint64_t expected_keys, double fpp);

/* Hands out the next key: CELLAR_OK with *key, valid until the next call; CELLAR_MISS after the
 * last one; a negative code when the enumeration failed. No lock is held. */
typedef cellar_err (*cellar_next_key_fn)(void *ctx, cellar_bytes *key);

/* Add every key of the source to the newest filter: first those the cache holds, then what `next`
 * hands out. What is stored meanwhile adds itself.
 * in:      next, called until it does not answer CELLAR_OK; ctx
 * out:     *count the keys added, those of the cache included; optional
 * returns: OK (complete: cellar_bloom_activate may follow); what next failed with; E_INVAL (no
 *          filter, or a key of 0 or over 65,535 bytes came), E_BUSY (another feed of the view
 *          runs), E_NOMEM, E_CLOSED. After a failure feed again
 * thread:  any, one feed of a view at a time
 * cost:    a scan of the view, then about 0.1 us a key
 * example:
 *     uint64_t count;
 *     if (cellar_bloom_feed(c, next_row, db, &count) == CELLAR_OK) cellar_bloom_activate(c, 0);  */
CELLAR_API cellar_err cellar_bloom_feed(cellar *c, cellar_next_key_fn next, void *ctx,
                                        uint64_t *count);

/* the source is empty now: nothing to feed but the cached keys */
#define CELLAR_BLOOM_EMPTY_SOURCE 1u

/* Declare the set of keys complete: the newest filter answers from now on, with authority.
 * in:      flags 0 or CELLAR_BLOOM_EMPTY_SOURCE
 * returns: OK; E_INVAL (not fed to the end since it was opened or doubted), E_LIMIT (more keys came
 *          than it was opened for: open a larger one), E_UNSUPPORTED, E_BUSY, E_NOMEM, E_CLOSED
 * thread:  any
 * cost:    O(1); with CELLAR_BLOOM_EMPTY_SOURCE a scan of the view
 * example: cellar_bloom_activate(c, CELLAR_BLOOM_EMPTY_SOURCE);                                  */
CELLAR_API cellar_err cellar_bloom_activate(cellar *c, uint32_t flags);

/* Announce a key that came into the source and not through this cache.
 * in:      key
 * returns: OK; MISS (there is no filter); E_INVAL, E_CLOSED
 * thread:  any
 * cost:    one lock of sixteen, one line
 * example: cellar_bloom_add(c, "k", 1);                                                          */
CELLAR_API cellar_err cellar_bloom_add(cellar *c, const void *key, size_t key_len);

/* What does the filter say of a key?
 * in:      key
 * returns: OK (may exist, or there is no filter), ABSENT (does not, with authority), MISS (it was
 *          not added, but the filter only observes); E_INVAL, E_CLOSED
 * thread:  any; no counter
 * cost:    one line of memory a layer
 * example: if (cellar_bloom_check(c, "k", 1) == CELLAR_ABSENT) puts("never was");                */
CELLAR_API cellar_err cellar_bloom_check(cellar *c, const void *key, size_t key_len);

/* Give a filter up.
 * in:      all 0: only the second one, that is not sealed yet; 1: everything
 * returns: OK; E_INVAL, E_CLOSED
 * thread:  any
 * cost:    its memory goes back
 * example: cellar_bloom_drop(c, 1);                                                              */
CELLAR_API cellar_err cellar_bloom_drop(cellar *c, int all);

/* State and figures of a view's filter. Filled up to the caller's struct_size. */
typedef struct cellar_bloom_info {
    size_t   struct_size;   /* set by cellar_bloom_info_default()                                 */
    uint32_t state;         /* CELLAR_BLOOM_OFF, ..._OBSERVING, ..._AUTHORITATIVE                 */
    uint32_t doubt;         /* CELLAR_BLOOM_DOUBT_...: why it is not believed any more            */
    uint32_t filling;       /* 1: a second filter is being filled                                 */
    uint32_t layers;        /* 1..4: how often it grew                                            */
    uint64_t expected_keys; /* as it was opened                                                   */
    uint64_t keys;          /* different ones added, by the bits they changed                     */
    uint64_t bytes;         /* both filters                                                       */
    uint64_t rejects;       /* look-ups it ended                                                  */
    uint64_t audits;        /* loads made to check it                                             */
    uint64_t unknown_keys_found; /* values found under keys it did not know                       */
    uint64_t doubts;        /* times it stopped being believed                                    */
    double   fpp;           /* as it was opened                                                   */
} cellar_bloom_info;
CELLAR_STRUCT(cellar_bloom_info, fpp);

/* Read state and figures of the view's filter.
 * in:      out->struct_size set
 * out:     *out; state CELLAR_BLOOM_OFF when there is none
 * returns: OK; E_INVAL, E_CLOSED
 * thread:  any
 * cost:    O(threads that ever used the view)
 * example:
 *     cellar_bloom_info i = cellar_bloom_info_default();
 *     cellar_bloom_info_get(c, &i);                                                              */
CELLAR_API cellar_err cellar_bloom_info_get(cellar *c, cellar_bloom_info *out);

/* ---- Circuit breakers ------------------------------------------------------------------------ */

/* Stops calling what keeps failing. CLOSED: calls pass; OPEN: they do not, for a time that doubles;
 * HALF_OPEN: one probe at a time passes, and a few that work close it. Loads ask the breaker of
 * their options or of their view by themselves; these calls are for everything else. A view's is in
 * the metrics (cellar_breaker_state); the disk tier has its own: cellar_config.l2_off_errors. */
enum { CELLAR_BREAKER_CLOSED = 0, CELLAR_BREAKER_OPEN = 1, CELLAR_BREAKER_HALF_OPEN = 2 };
enum { CELLAR_BREAKER_SUCCESS = 0, CELLAR_BREAKER_FAILURE = 1, CELLAR_BREAKER_IGNORED = 2 };

/* When a breaker opens and closes. 0 everywhere = what stands here. */
typedef struct cellar_breaker_opts {
    size_t   struct_size; /* set by cellar_breaker_opts_default()                                 */
    uint32_t failure_pct; /* opens at this share of failed calls in 10 s, 1..100; 50              */
    uint32_t min_calls;   /* of at least so many, 1..1,000,000; 20                                */
    uint32_t consecutive_failures; /* opens after so many failures in a row, 1..63; 5             */
    uint32_t half_open_successes; /* probes that must work to close it, 1..15; 3                  */
    int64_t  open_ms;     /* stays open for a random time up to this; 5,000                       */
    int64_t  open_max_ms; /* doubled with each failed probe up to this; 60,000, or open_ms; from  */
                          /* open_ms to 2^40                                                      */
} cellar_breaker_opts;
CELLAR_STRUCT(cellar_breaker_opts, open_max_ms);

/* Make a breaker, to be shared by all calls of one thing that may fail.
 * in:      a handle whose store lends clock, log and allocator; o NULL = all defaults
 * out:     *out, or NULL on failure
 * returns: OK; E_INVAL (a number out of range), E_UNSUPPORTED, E_NOMEM, E_CLOSED
 * owns:    the caller destroys it with cellar_breaker_destroy, also after the store was closed, and
 *          after the last load that names it
 * thread:  any
 * cost:    one allocation of about 250 bytes, not charged to the budget
 * example:
 *     cellar_breaker *b;
 *     if (cellar_breaker_create(c, NULL, &b) != CELLAR_OK) return 1;                             */
CELLAR_API cellar_err cellar_breaker_create(cellar *c, const cellar_breaker_opts *o,
                                            cellar_breaker **out);

/* Free a breaker.
 * in:      NULL is fine
 * thread:  any; nobody uses it any more
 * cost:    one free
 * example: cellar_breaker_destroy(NULL);                                                         */
CELLAR_API void cellar_breaker_destroy(cellar_breaker *b);

/* May the call be made?
 * in:      a breaker
 * out:     *pass, for cellar_breaker_record
 * returns: OK; E_BREAKER_OPEN (do not call), E_INVAL
 * owns:    every OK is followed by one cellar_breaker_record; a probe that never is holds the
 *          others back for open_max_ms
 * thread:  any
 * cost:    a clock reading and one load; no lock
 * example:
 *     uint32_t pass;
 *     if (cellar_breaker_allow(b, &pass) == CELLAR_OK) call_it(b, pass);                         */
CELLAR_API cellar_err cellar_breaker_allow(cellar_breaker *b, uint32_t *pass);

/* How did the call end?
 * in:      pass from cellar_breaker_allow; outcome CELLAR_BREAKER_SUCCESS, _FAILURE or _IGNORED
 *          (cancelled, not made after all)
 * returns: OK; E_INVAL
 * thread:  any; when it opens or closes, the log callback runs here
 * cost:    a clock reading and one or two shared writes
 * example: cellar_breaker_record(b, pass, CELLAR_BREAKER_SUCCESS);                               */
CELLAR_API cellar_err cellar_breaker_record(cellar_breaker *b, uint32_t pass, int outcome);

/* Close a breaker by hand, and forget what it has seen.
 * in:      a breaker
 * returns: OK; E_INVAL
 * thread:  any
 * cost:    O(1)
 * example: cellar_breaker_reset(b);                                                              */
CELLAR_API cellar_err cellar_breaker_reset(cellar_breaker *b);

/* State and counters of a breaker. Filled up to the caller's struct_size. */
typedef struct cellar_breaker_info {
    size_t   struct_size;    /* set by cellar_breaker_info_default()                              */
    uint32_t state;          /* CELLAR_BREAKER_CLOSED, _OPEN, _HALF_OPEN                          */
    uint32_t reserved0;
    int64_t  retry_after_ms; /* until a probe may pass; 0 when calls may                          */
    uint64_t calls;          /* reported, without those that gave no verdict                      */
    uint64_t failures;       /* of them                                                           */
    uint64_t rejects;        /* not let through                                                   */
    uint64_t opens;          /* times it opened                                                   */
} cellar_breaker_info;
CELLAR_STRUCT(cellar_breaker_info, opens);

/* Read state and counters.
 * in:      out->struct_size set
 * out:     *out
 * returns: OK; E_INVAL
 * thread:  any
 * cost:    a clock reading
 * example:
 *     cellar_breaker_info i = cellar_breaker_info_default();
 *     cellar_breaker_info_get(b, &i);                                                            */
CELLAR_API cellar_err cellar_breaker_info_get(cellar_breaker *b, cellar_breaker_info *out);

/* ---- Dependencies ----------------------------------------------------------------------------
 *
 * In a store opened with `deps`, the loaders of a view with `deps` are watched: each key of the
 * same store they read (get, get_with, peek, exists, meta, dup, pin, get_many, loads of one key or
 * many, begin), in whatever view, present or not. From then on the loaded value ends when such a
 * key does or changes: by set, update, incr, delete, pattern, tag, clear, bump, drop of its view, a
 * cellar_touch that brings its end nearer, or by a load that replaces a value, or that finds it not
 * modified and gives it a nearer end or tags it had not. It also lives no longer than any of them
 * was to live when it was read, an idle time counted as if nobody used it any more; cellar_touch
 * does not carry it beyond that. A load that finds it not modified adds what it reads.
 * What was made of it ends with it, and so on. cellar_why, listeners and counters call that
 * DEPENDENCY. A pattern with a wildcard ends all that was made of a view that lies on a disk.
 *
 * When the call that changes a key returns, up to 256 values in up to 8 steps are gone, and no
 * load that had read it is stored; what is beyond goes with the next ticks (cellar_dependencies_due
 * counts it). Keys that are evicted end nobody. Not watched: scans, what cellar_increment and
 * cellar_update see, other threads of the loader, and who holds a lease.
 *
 * A result is delivered, but not stored, when what it was made of cannot be noted: more than
 * CELLAR_DEPENDENCIES_MAX keys, no place in the table (1 % of the budget; counted, limit
 * "dependencies"), no memory, or a value read that is itself not stored. Keys read by a bulk loader
 * count for each of its keys.
 *
 * With a disk tier what was made of other keys lies there like the rest, and ends there, too. But
 * what it was made of is known only as long as the store is open: opened again, it does not serve
 * it, and loads anew. A full table ends first what lies on the disk alone. */

/* ---- Memoized functions ---------------------------------------------------------------------- */

#define CELLAR_MEMO_ARGS_MAX 16u
#define CELLAR_MEMO_NAME_MAX 255u
enum { CELLAR_ARG_I64 = 1, CELLAR_ARG_U64 = 2, CELLAR_ARG_F32 = 3, CELLAR_ARG_F64 = 4,
       CELLAR_ARG_TEXT = 5, CELLAR_ARG_BYTES = 6 };

/* One argument of a memoized function. CELLAR_ARG(x) makes one out of any integer, bool, enum,
 * float, double, char pointer (NULL too) or cellar_bytes; other types do not compile. */
typedef struct cellar_arg {
    uint32_t type;      /* CELLAR_ARG_... */
    uint32_t reserved0; /* must be 0 */
    union {
        int64_t      i64;
        uint64_t     u64;
        float        f32;
        double       f64;
        cellar_bytes bytes; /* also text: without the ending 0; data NULL = a NULL pointer */
    } as;
} cellar_arg;

static inline cellar_arg cellar_arg_i64(int64_t x)
{
    cellar_arg a;
    a.type = CELLAR_ARG_I64;
    a.reserved0 = 0;
    a.as.i64 = x;
    return a;
}
static inline cellar_arg cellar_arg_u64(uint64_t x)
{
    cellar_arg a;
    a.type = CELLAR_ARG_U64;
    a.reserved0 = 0;
    a.as.u64 = x;
    return a;
}
static inline cellar_arg cellar_arg_f32(float x)
{
    cellar_arg a;
    a.type = CELLAR_ARG_F32;
    a.reserved0 = 0;
    a.as.f32 = x;
    return a;
}
static inline cellar_arg cellar_arg_f64(double x)
{
    cellar_arg a;
    a.type = CELLAR_ARG_F64;
    a.reserved0 = 0;
    a.as.f64 = x;
    return a;
}
static inline cellar_arg cellar_arg_text(const char *x)
{
    cellar_arg a;
    size_t len = 0;
    while (x && x[len] != '\0') { len++; }
    a.type = CELLAR_ARG_TEXT;
    a.reserved0 = 0;
    a.as.bytes.data = x;
    a.as.bytes.len = len;
    return a;
}
static inline cellar_arg cellar_arg_bytes(cellar_bytes x)
{
    cellar_arg a;
    a.type = CELLAR_ARG_BYTES;
    a.reserved0 = 0;
    a.as.bytes = x;
    return a;
}

#ifdef __cplusplus
extern "C++" {
inline cellar_arg cellar_arg_of(bool x) { return cellar_arg_i64(x); }
inline cellar_arg cellar_arg_of(char x) { return cellar_arg_i64(x); }
inline cellar_arg cellar_arg_of(signed char x) { return cellar_arg_i64(x); }
inline cellar_arg cellar_arg_of(unsigned char x) { return cellar_arg_i64(x); }
inline cellar_arg cellar_arg_of(short x) { return cellar_arg_i64(x); }
inline cellar_arg cellar_arg_of(unsigned short x) { return cellar_arg_i64(x); }
inline cellar_arg cellar_arg_of(int x) { return cellar_arg_i64(x); }
inline cellar_arg cellar_arg_of(unsigned int x) { return cellar_arg_i64(x); }
inline cellar_arg cellar_arg_of(long x) { return cellar_arg_i64(x); }
inline cellar_arg cellar_arg_of(unsigned long x) { return cellar_arg_u64(x); }
inline cellar_arg cellar_arg_of(long long x) { return cellar_arg_i64(x); }
inline cellar_arg cellar_arg_of(unsigned long long x) { return cellar_arg_u64(x); }
inline cellar_arg cellar_arg_of(float x) { return cellar_arg_f32(x); }
inline cellar_arg cellar_arg_of(double x) { return cellar_arg_f64(x); }
inline cellar_arg cellar_arg_of(char *x) { return cellar_arg_text(x); }
inline cellar_arg cellar_arg_of(const char *x) { return cellar_arg_text(x); }
inline cellar_arg cellar_arg_of(cellar_bytes x) { return cellar_arg_bytes(x); }
template <class T> cellar_arg cellar_arg_of(T *) = delete; /* would turn into bool */
}
#define CELLAR_ARG(x) cellar_arg_of(x)
#else
#define CELLAR_ARG(x) \
    _Generic((x), _Bool: cellar_arg_i64, char: cellar_arg_i64, signed char: cellar_arg_i64, \
             unsigned char: cellar_arg_i64, short: cellar_arg_i64, \
             unsigned short: cellar_arg_i64, int: cellar_arg_i64, unsigned int: cellar_arg_i64, \
             long: cellar_arg_i64, unsigned long: cellar_arg_u64, long long: cellar_arg_i64, \
             unsigned long long: cellar_arg_u64, float: cellar_arg_f32, \
             double: cellar_arg_f64, char *: cellar_arg_text, const char *: cellar_arg_text, \
             cellar_bytes: cellar_arg_bytes)(x)
#endif

/* Write a function's name, version and arguments as a key: equal keys come from equal ones only.
 * in:      name of 1..CELLAR_MEMO_NAME_MAX bytes: of the function, not its address, because entries
 *          may outlive the process; version: raise it when the function changes; args, at most
 *          CELLAR_MEMO_ARGS_MAX; buf_cap 0 asks for the length (buf may be NULL)
 * out:     *key_len the full length; optional
 * returns: OK; E_BUFFER (*key_len set), E_INVAL (also: longer than CELLAR_KEY_MAX; it is never
 *          hashed)
 * owns:    nothing changes hands
 * thread:  any
 * cost:    O(key_len); no allocation
 * example:
 *     cellar_arg a[2] = {CELLAR_ARG(7), CELLAR_ARG("berlin")};
 *     char key[64];
 *     size_t len;
 *     cellar_memo_key("weather", 1, a, 2, key, sizeof key, &len);                                */
CELLAR_API cellar_err cellar_memo_key(const char *name, uint32_t version, const cellar_arg *args,
                                      size_t arg_count, void *buf, size_t buf_cap,
                                      size_t *key_len);

/* Read such a key: the other way round.
 * in:      key of any origin; arg_cap 0 asks for the number of arguments (args may be NULL)
 * out:     *name, *version, *arg_count, each optional; args[0 .. arg_cap - 1]
 * returns: OK; E_BUFFER (more arguments than arg_cap), E_FOREIGN (no such key), E_NEWER_FORMAT (of
 *          a newer format), E_INVAL
 * owns:    *name, and text and bytes of args, are borrowed from key; text is not 0-terminated
 * thread:  any
 * cost:    O(arguments); no allocation
 * example:
 *     cellar_arg a[CELLAR_MEMO_ARGS_MAX];
 *     size_t n;
 *     cellar_memo_parse(key, len, NULL, NULL, a, CELLAR_MEMO_ARGS_MAX, &n);                      */
CELLAR_API cellar_err cellar_memo_parse(const void *key, size_t key_len, cellar_bytes *name,
                                        uint32_t *version, cellar_arg *args, size_t arg_cap,
                                        size_t *arg_count);

/* ---- Listeners ------------------------------------------------------------------------------- */

/* The end of one entry; pointers are valid during the call only. */
typedef struct cellar_event {
    cellar     *view;        /* the entry's view, root included; NULL when it was dropped         */
    const void *key;
    size_t      key_len;
    const void *value;
    size_t      value_len;
    cellar_cause cause;
    uint32_t    user_flags;
    uint32_t    kind;        /* CELLAR_KIND_...                                                   */
    uint32_t    reserved0;
} cellar_event;

typedef void (*cellar_listener_fn)(void *ctx, const cellar_event *e);

/* Hear of every entry that ends, once, with its cause.
 * in:      any handle of the store: the root hears all views, another view only itself; causes: a
 *          mask of CELLAR_CAUSE_BIT(...), 0 = all; fn; ctx
 * out:     *id for cellar_listener_remove
 * returns: OK; E_LIMIT (16 a store), E_NOMEM, E_INVAL, E_CLOSED
 * owns:    ctx stays the caller's; it must live until cellar_listener_remove or the store's close
 *          returned
 * thread:  fn runs in whatever thread ended the entry or reclaimed it, with no lock held, and may
 *          call the cache; events of sets nested deeper than 4 inside listeners are only counted
 *          (events_skipped). Entries of a cleared view are announced when they are reclaimed.
 *          If that takes longer than 64 clears, bumps and new views of the store, their view is
 *          forgotten: the root's listeners hear CLEARED with view NULL, a view's own do not
 *          (events_skipped), and ended[] counts them at the root. A dropped view keeps its place
 *          among max_views while somebody listens to it.
 *          What is thrown away by closing the store is not announced
 * cost:    a set copies what it replaces or evicts while somebody listens for it
 * example:
 *     uint64_t id;
 *     cellar_listener_add(c, CELLAR_CAUSE_BIT(EVICTED), on_evicted, NULL, &id);                 */
CELLAR_API cellar_err cellar_listener_add(cellar *c, uint32_t causes, cellar_listener_fn fn,
                                          void *ctx,
                                          uint64_t *id);

/* Stop hearing. After the return fn does not run any more, except when called from inside a
 * listener: then calls that run in other threads at that moment may still end later.
 * in:      any handle of the store, id
 * returns: OK; E_NOT_FOUND, E_INVAL, E_CLOSED
 * thread:  any, also from the listener itself
 * cost:    waits for running calls of fn
 * example: cellar_listener_remove(c, id);                                                        */
CELLAR_API cellar_err cellar_listener_remove(cellar *c, uint64_t id);

/* What a memoized function looks like inside: args as they were given, text without its ending 0,
 * valid until it returns; it says its result through `load` like any loader. */
typedef cellar_err (*cellar_memo_fn)(cellar_load *load, const cellar_arg *args, size_t arg_count,
                                     void *ctx);

/* Call a function through the cache: cellar_get_or_load under cellar_memo_key.
 * in:      as cellar_memo_key and cellar_get_or_load. Stale results are refreshed in the background
 *          only with ctx NULL or CELLAR_LOAD_CTX_STATIC; ctx_bytes and ctx_retain are not used. Not
 *          in a view whose Bloom filter decides: its keys are none of the source's
 * out:     *out
 * returns: as cellar_get_or_load; E_INVAL also for arguments that make no key
 * owns:    as cellar_get_or_load
 * thread:  as cellar_get_or_load
 * cost:    as cellar_get_or_load, and writing the key; one allocation for keys over 512 bytes
 * example:
 *     CELLAR_ARGS(a, 7, "berlin");
 *     cellar_result r = cellar_result_default();
 *     cellar_memoize(c, "weather", 1, a, sizeof a / sizeof a[0], NULL, ask_weather, NULL, &r);
 *     cellar_result_free(&r);                                                                    */
CELLAR_API cellar_err cellar_memoize(cellar *c, const char *name, uint32_t version,
                                     const cellar_arg *args, size_t arg_count,
                                     const cellar_load_opts *o, cellar_memo_fn fn, void *ctx,
                                     cellar_result *out);

/* CELLAR_ARGS(list, 1, x, "text"): declares the array `list` of 1..8 arguments. In C,
 * CELLAR_MEMOIZE(c, name, version, o, fn, ctx, out, arguments...) is the whole call. */
#define CELLAR_ARGS_1(a)      CELLAR_ARG(a)
#define CELLAR_ARGS_2(a, ...) CELLAR_ARG(a), CELLAR_ARGS_1(__VA_ARGS__)
#define CELLAR_ARGS_3(a, ...) CELLAR_ARG(a), CELLAR_ARGS_2(__VA_ARGS__)
#define CELLAR_ARGS_4(a, ...) CELLAR_ARG(a), CELLAR_ARGS_3(__VA_ARGS__)
#define CELLAR_ARGS_5(a, ...) CELLAR_ARG(a), CELLAR_ARGS_4(__VA_ARGS__)
#define CELLAR_ARGS_6(a, ...) CELLAR_ARG(a), CELLAR_ARGS_5(__VA_ARGS__)
#define CELLAR_ARGS_7(a, ...) CELLAR_ARG(a), CELLAR_ARGS_6(__VA_ARGS__)
#define CELLAR_ARGS_8(a, ...) CELLAR_ARG(a), CELLAR_ARGS_7(__VA_ARGS__)
#define CELLAR_ARGS_PICK(a, b, c, d, e, f, g, h, pick, ...) pick
#define CELLAR_ARGS_LIST(...) \
    CELLAR_ARGS_PICK(__VA_ARGS__, CELLAR_ARGS_8, CELLAR_ARGS_7, CELLAR_ARGS_6, CELLAR_ARGS_5, \
                     CELLAR_ARGS_4, CELLAR_ARGS_3, CELLAR_ARGS_2, CELLAR_ARGS_1, 0)(__VA_ARGS__)
#define CELLAR_ARGS(list, ...) const cellar_arg list[] = { CELLAR_ARGS_LIST(__VA_ARGS__) }
#define CELLAR_MEMOIZE(c, name, version, o, fn, ctx, out, ...) \
    cellar_memoize(c, name, version, (const cellar_arg[]){ CELLAR_ARGS_LIST(__VA_ARGS__) }, \
                   sizeof((const cellar_arg[]){ CELLAR_ARGS_LIST(__VA_ARGS__) }) / \
                       sizeof(cellar_arg), o, fn, ctx, out)

/* ---- Warming up, writing through ------------------------------------------------------------- */

/* How to warm up. Either keys or next. */
typedef struct cellar_warm_opts {
    size_t   struct_size;         /* set by cellar_warm_opts_default()                            */
    const cellar_bytes *keys;     /* key_count of them                                            */
    size_t   key_count;
    cellar_next_key_fn next;      /* or: hands out one key after another, in the calling thread   */
    void    *next_ctx;
    const cellar_load_opts *load; /* NULL = the view's defaults; outlives the call                */
    cellar_loader_fn fn;          /* NULL with many NULL = the view's loader                      */
    cellar_loader_many_fn many;   /* instead of fn: loads batch keys in one call                  */
    void    *ctx;                 /* of fn or many                                                */
    int64_t  deadline_ms;         /* how long it may take; 0 = no limit                           */
    uint32_t keys_per_s;          /* keys asked for in a second, up to 10^9; 0 = no limit         */
    uint32_t parallel;            /* threads made for it, 0..64; 0 = in the calling thread        */
    uint32_t batch;               /* keys of one bulk call, 1..4096; 0 = 256; 1 with fn           */
    uint32_t max_failure_pct;     /* 1..100: stops above this share of failures (of 20 or more);  */
                                  /* 0 = 100                                                      */
    uint32_t max_used_pct;        /* 1..100: stops when the budget is used so far; 0 = 90         */
    uint32_t reserved0;           /* must be 0                                                    */
} cellar_warm_opts;
CELLAR_STRUCT(cellar_warm_opts, reserved0);

/* asked == hit + loaded + absent + failed + skipped. Filled up to the caller's struct_size. */
typedef struct cellar_warm_report {
    size_t   struct_size; /* set by cellar_warm_report_default()                                  */
    uint64_t asked;       /* keys named                                                           */
    uint64_t hit;         /* were there already, or another caller was loading them               */
    uint64_t loaded;
    uint64_t absent;      /* the source has nothing                                               */
    uint64_t failed;
    uint64_t skipped;     /* it stopped before them                                               */
    uint64_t elapsed_ms;
    int64_t  stopped;     /* CELLAR_OK: not; E_TIMEOUT, E_SPACE (budget), E_LOADER (failures)     */
} cellar_warm_report;
CELLAR_STRUCT(cellar_warm_report, stopped);

/* Load many keys before anybody asks. Ordinary loads: keys that are there are left alone, and who
 * asks for one meanwhile joins its load.
 * in:      o; out->struct_size set
 * out:     *out, also when it stopped early
 * returns: OK (look at the report); what next failed with; E_INVAL, E_UNSUPPORTED, E_NOMEM (no
 *          thread, no memory; what was loaded stays), E_CLOSED
 * thread:  any; fn runs in up to `parallel` threads at once; they are joined before it returns. One
 *          that fn ends stops it: E_LOADER, its key failed, what is left is skipped
 * cost:    a load for each key that is missing
 * example:
 *     cellar_warm_opts o = cellar_warm_opts_default();
 *     cellar_warm_report r = cellar_warm_report_default();
 *     o.keys = keys, o.key_count = 100, o.fn = load_row, o.parallel = 4;
 *     cellar_warm(c, &o, &r);                                                                    */
CELLAR_API cellar_err cellar_warm(cellar *c, const cellar_warm_opts *o, cellar_warm_report *out);

/* Writes to the source: CELLAR_OK, or a negative code. No lock is held. */
typedef cellar_err (*cellar_writer_fn)(void *ctx, const void *key, size_t key_len,
                                       const void *value,
                                       size_t value_len);

/* Write to the source, then to the cache; when either fails the key is deleted from the cache, for
 * a failure of the source may hide a success.
 * in:      key, value, o as in cellar_set without conditions; fn, ctx
 * returns: OK; what fn failed with, or what cellar_set answered (the source has the value then; the
 *          cache has none); E_INVAL, E_RANGE, E_UNSUPPORTED, E_CLOSED (nothing done)
 * owns:    copied
 * thread:  any; fn may end its thread, then the key is deleted, too. Two writers of one key at one
 *          time may reach source and cache in different order: take a keyed lock around the call
 *          where that matters
 * cost:    fn, and a set
 * example: cellar_write_through(c, "k", 1, "v", 1, NULL, write_row, db);                         */
CELLAR_API cellar_err cellar_write_through(cellar *c, const void *key, size_t key_len,
                                           const void *value, size_t value_len,
                                           const cellar_set_opts *o, cellar_writer_fn fn,
                                           void *ctx);

/* ---- Why is it not there? -------------------------------------------------------------------- */

enum { CELLAR_WHY_UNKNOWN = 0,    /* nothing is known: never stored, or long forgotten */
       CELLAR_WHY_LIVE = 1,       /* it is there */
       CELLAR_WHY_STALE = 2,      /* past its time to live, inside its stale window */
       CELLAR_WHY_NEGATIVE = 3,   /* known to be absent: a negative entry */
       CELLAR_WHY_ERROR = 4,      /* a remembered failure of its loader */
       CELLAR_WHY_LOADING = 5,    /* being loaded just now */
       CELLAR_WHY_GONE = 6,       /* it was there, or was to be; cause says what happened */
       CELLAR_WHY_NOT_IN_SOURCE = 7 /* an authoritative Bloom filter knows: the source has it not */
};

/* Filled up to the caller's struct_size. */
typedef struct cellar_reason {
    size_t   struct_size; /* set by cellar_reason_default()                                       */
    uint32_t answer;      /* CELLAR_WHY_...                                                       */
    uint32_t cause;       /* a cellar_cause, with CELLAR_WHY_GONE                                 */
    int64_t  ago_ms;      /* GONE: how long ago, to 64 ms; LOADING: since when                    */
    int64_t  age_ms;      /* how old it is, or was when it left (as CELLAR_INFO_AGE_APPROX says)  */
    int64_t  ttl_ms;      /* of a view with exact_age, until it is swept away; 0 = not known      */
    uint32_t hits;        /* 0..3: the eviction counter, as it was                                */
    uint32_t by_len;      /* bytes of `by`, 0 = not known                                         */
    char     by[CELLAR_WHY_BY_MAX]; /* cause TAG or GLOB: the tag or pattern, its first bytes     */
} cellar_reason;
CELLAR_STRUCT(cellar_reason, by);

/* Say what became of a key: expired, evicted, deleted, cleared with its view, refused; of two that
 * would have ended it, its time and one of its tags, the earlier (a tag deleted more than once
 * counts from the last time). From the entry itself while it is there, else from a bounded record
 * of what left (budget / 256, at most 1 MiB; older ones are forgotten; wrong with probability
 * 10^-9). The disk tier is not asked: what lies only there has left memory (EVICTED), or is not
 * known.
 * in:      key; out->struct_size set
 * out:     *out
 * returns: OK; E_INVAL, E_CLOSED
 * thread:  any; no use of the entry and in no statistic
 * cost:    a look-up, one line; for cleared views up to 16 look-ups
 * example:
 *     cellar_reason r = cellar_reason_default();
 *     if (cellar_why(c, "k", 1, &r) == CELLAR_OK && r.answer == CELLAR_WHY_GONE)
 *         puts(cellar_cause_name((cellar_cause)r.cause));                                        */
CELLAR_API cellar_err cellar_why(cellar *c, const void *key, size_t key_len, cellar_reason *out);

/* ---- Maintenance, options -------------------------------------------------------------------- */

/* Do due background work: expiry without traffic, pages committed ahead, index contraction; with
 * no_threads also that of the disk tier: what waits to be written, warm-up, room. The maintenance
 * thread, and that of the disk tier, do the same; with no_threads the host calls this.
 * in:      any handle of the store; budget_us 0 = one bounded step
 * out:     *expired the entries this call freed because they were due; optional
 * returns: OK (nothing that was due at the call is left), PENDING (the time ran out, or another
 *          thread is at it: call again; each call gets on); E_INVAL, E_CLOSED. Inside a listener
 *          OK also when a tick is under way, which may be the listener's own
 * thread:  any; listeners run from here too
 * cost:    up to budget_us, one bounded step over it at most: 64 entries or dead blocks, or a huge
 *          page, for which the kernel copies 2 MiB (see huge_pages)
 * example: while (cellar_tick(c, 1000, NULL) == CELLAR_PENDING) {}                               */
CELLAR_API cellar_err cellar_tick(cellar *c, uint64_t budget_us, uint64_t *expired);

/* Disk tier. With l2_path and l2_bytes set, entries that leave memory go to a log in that directory
 * if they are worth it: asked for since they came, or gone before not long ago, with l2_min_ttl_ms
 * left and within l2_write_bps and l2_write_bpd; a copy that lies there unchanged is not written
 * again. With l2_write a view says that each of its changes goes there: sets, loads, updates,
 * incrs, touches. A close brings down what memory holds. Misses come back with what is left of
 * their time to live, unless the idle time they were written with has passed meanwhile, and after
 * a restart, clean or not, the cache is warm; after a death its index is read back first, and who
 * asks meanwhile may miss (the metric cellar_l2_warming). What lies only on disk counts as there,
 * but for scans, listeners and what cellar_delete says: a get, pin, touch, update, incr, and a set
 * that depends on what there is, bring it into memory, which costs a read, and a few ms at most
 * while a change is on its way down; cellar_peek, cellar_contains and cellar_entry_info_get look
 * and leave it there, unless a version is wanted. No read returns an older value than a read that
 * was complete before it began: while a change of the key is on its way down, the disk is not read
 * for it; after a wait of 1 ms at most the read misses. All of it is a hint, never the truth:
 * damage is a miss, trouble with the disk leaves the store with its memory alone
 * (cellar_last_error of the root says why), puts that no mode promises (below) are dropped, not
 * waited for. Two entries may share a word of the disk tier's index: the older one is then lost,
 * about one in 10,000 with l2_bytes full, fewer before. An entry that was set with CELLAR_DURABLE
 * or in a view with CELLAR_L2_WRITE_THROUGH is not lost so: it is found until it is changed, or
 * l2_bytes is full and it is among the oldest. If entries are smaller than l2_avg_object_bytes
 * says, the index is full first (the metric cellar_l2_index_full_total). A disk that fails
 * (l2_off_errors and what follows it) is left alone for a time, then tried, and used again once it
 * works: one line of the log each time, the metric cellar_l2_breaker_state says which. Deletes,
 * also by tag or pattern, overwrites, clears and bumps are never lost to the death of the process;
 * while the disk does not answer, an empty file /dev/shm/cellar-.. sees to that. A power cut:
 * CELLAR_L2_SYNC_MANUAL keeps what the last cellar_sync or clean close saw if nothing was changed
 * since, else nothing; CELLAR_L2_SYNC_PERIODIC all that was done before the last sync, one every
 * l2_sync_ms, and of later changes some. CELLAR_L2_SYNC_ALWAYS: a call that changes a key or a
 * view returns when a power cut cannot take that back (one sync serves all who wait; a change of
 * what the disk has never seen waits for none); E_IO: it is done in memory, but a power cut may
 * take it back. What a loader stores is committed with the next such call. With l2_lz4 a view's
 * values are packed (LZ4) on their way to disk where that saves an eighth of them; a library that
 * was built without liblz4, as the drop-in is without CELLAR_WITH_LZ4, refuses the option
 * (E_UNSUPPORTED), and misses what another has packed. One process at a time. Keys lie in the
 * files in clear, values too without l2_crypt. A directory whose head is damaged is refused
 * (CELLAR_E_CORRUPT) and left as it is; with CELLAR_L2_SET_ASIDE it is renamed to l2_path.bad.N, N
 * from 1 to 9, and a new one begun. One of somebody else, or of a newer library, never is. A copy
 * of the directory of a closed store is as warm as that; one of a store in use opens empty.
 * Replace the files of a directory all together, never one alone: if stage.buf or data.seg comes
 * from an earlier life of the store (an open and what follows it until the close or the kill), the
 * next open detects that and begins empty; an earlier copy made in the same life, or an earlier
 * SUPER, is not detected and may serve values that were overwritten or deleted since. The metric
 * cellar_l2_opened says how the index came at this open, and why not as a close saved it. A file
 * that another program cuts short while the store is open may end the process (SIGBUS). With
 * l2_sigbus_handler that signal is handled as long as the store is open: the tier is off until the
 * next open, which finds it empty, and memory goes on; SIGBUS that is about anything else goes to
 * the handler there was before, and one that is installed meanwhile must chain to ours. With
 * l2_mmap_read (refused without l2_sigbus_handler: no mapping is read unguarded) what was read
 * from the data file within the last seconds is copied out of a mapping instead of asking for it
 * with a call, several times as fast. Mapped are at most l2_bytes and eight times memory_bytes;
 * that much address space it takes, its pages count as the process's resident ones (file pages,
 * which the kernel takes back), the page tables are in the budget. Where the file cannot be
 * mapped, or fails under the mapping (the metric cellar_l2_mapped_bytes is 0 then), it is read as
 * without the option. */

/* Path and files of the disk tier. A symbolic link as l2_path is followed if the link and the
 * directory behind it belong to the user of the process or to root. Another user's link is refused:
 * E_IO with errno ELOOP; name the directory itself then. CELLAR_L2_SET_ASIDE renames the directory
 * behind the link, not the link. A write that would pass the process's limit of file size
 * (RLIMIT_FSIZE) fails with EFBIG and raises no SIGXFSZ: at open the tier is off, with l2_required
 * cellar_open fails with E_IO; later it counts as an error of the disk. */

/* What one change promises of the disk, by the l2_write of its view:
 * - CELLAR_L2_WRITE_ON_EVICTION: nothing. The entry is offered to the disk when it leaves memory.
 * - CELLAR_L2_WRITE_ON_SET: the entry is offered to the disk before the call returns. The disk may
 *   drop it (cellar_l2_dropped_total, cellar_l2_refused_total); then it is in memory alone.
 * - CELLAR_L2_WRITE_THROUGH: when the call returns OK, the entry is in the log. The log outlives
 *   the process, and at CELLAR_L2_SYNC_ALWAYS a power cut. A call waits for room in the log, at
 *   most 1 s. E_IO: the change is in memory, and the disk has no value of the key. A touch or an
 *   incr is E_IO, too, if its entry is evicted before it is written: memory of a few entries.
 *   Also E_IO: the value is over half a segment of the disk, l2_write_bps or l2_write_bpd is used
 *   up, the seal function fails, the disk is off. cellar_l2_not_through_total counts them all.
 *   OK, but in memory alone: an entry with less than l2_min_ttl_ms left, a remembered failure, an
 *   entry with CELLAR_NO_L2. A load, a refresh and cellar_lease_fulfill wait and count in the same
 *   way, but hand out their value and return no E_IO.
 * - A set with CELLAR_DURABLE promises the same in any view, and from CELLAR_L2_SYNC_PERIODIC on
 *   that the entry outlives a power cut. At CELLAR_L2_SYNC_MANUAL it is E_UNSUPPORTED. An entry
 *   with less than l2_min_ttl_ms left is E_IO.
 * A later change of the key without such a promise, a touch too, takes its copy off the disk until
 * the entry leaves memory. Changes of one key reach the disk in the order in which memory saw
 * them. An entry that such a call has written is not written again when it leaves memory or the
 * store is closed; for that it takes 12 bytes more of memory. */

/* Sizes of the disk tier. A segment has 512 KiB; 1 MiB from 32 MiB of l2_bytes on, 4 MiB from
 * 128 MiB, 8 MiB from 1 GiB; at most memory_bytes / 16, down to a power of two from 64 KiB on. A
 * directory keeps the size it was made with. A value that is, with its key and up to 200 bytes of
 * head, over half a segment is never written: it stays in memory alone, and the metric
 * cellar_l2_refused_size_total counts it. A value of 1 MiB needs l2_bytes from 128 MiB and
 * memory_bytes from 64 MiB on. Index, stage and tables of the tier are part of memory_bytes: where
 * that is too small for l2_bytes, cellar_last_error names a budget that is enough. */

/* A cipher of yours for what goes to disk (AES-GCM, ChaCha20-Poly1305, any AEAD): values are sealed
 * by it, and opened when they come back. Flags, version and end of life are authenticated with them
 * (`aad`), so it must not leave that out; keys, names of views and lengths lie in clear. A nonce is
 * never used twice, also not after a restart. Both functions return 0, or anything else for a
 * failure: then the entry is not written, or a miss. What was sealed with another key, and all
 * that was written without a cipher, is a miss.
 * in:      in and out do not overlap and may lie at any address; seal writes in_len + overhead
 *          bytes, open in_len - overhead; nonce has 12 bytes
 * thread:  run inside any call that reads or writes entries, and inside close, by several threads
 *          at once, with no lock held; must not wait, nor use the store
 * owns:    the struct is copied; ctx outlives the store
 * example: cellar_l2_cipher a = cellar_l2_cipher_default();
 *     a.ctx = key; a.seal = my_seal; a.open = my_open; a.overhead = 16;
 *     cfg.l2_crypt = &a;                                                                         */
typedef struct cellar_l2_cipher {
    size_t   struct_size; /* set by cellar_l2_cipher_default()                                    */
    void    *ctx;
    int    (*seal)(void *ctx, const unsigned char *nonce, const void *aad, size_t aad_len,
                   const void *in, size_t in_len, void *out);
    int    (*open)(void *ctx, const unsigned char *nonce, const void *aad, size_t aad_len,
                   const void *in, size_t in_len, void *out);
    uint32_t overhead;    /* bytes the sealed form is longer by: the tag; at most 256             */
    uint32_t reserved;    /* must be 0                                                            */
} cellar_l2_cipher;
CELLAR_STRUCT(cellar_l2_cipher, reserved);

/* Make all that is on the disk tier outlive a power cut; filters of views are written, too.
 * returns: OK; DISABLED (no disk tier, or it is off), E_IO (cellar_last_error), E_INVAL, E_CLOSED
 * thread:  any; waits for the disk. At CELLAR_L2_SYNC_MANUAL changes wait meanwhile, too
 * cost:    a few syncs of what has not been synced yet
 * example: if (cellar_sync(c) == CELLAR_OK) { checkpointed = 1; }                                */
CELLAR_API cellar_err cellar_sync(cellar *c);

/* Options that can change while the store runs: name, number, scope, unit, help. */
#define CELLAR_OPTIONS(X) \
    X(MEMORY_BYTES, 1, STORE, "bytes", "the budget; shrinking evicts until it holds") \
    X(MAX_ENTRIES, 2, STORE, "entries", "second bound; 0 = none; shrinking evicts, too") \
    X(EVICTION, 3, STORE, "CELLAR_EVICT_...", "eviction rule for what comes next") \
    X(LOG_LEVEL, 4, STORE, "CELLAR_LOG_...", "least important level that is reported") \
    X(MAINTENANCE_THREAD, 5, STORE, "0 or 1", "maintenance thread") \
    X(DEFAULT_TTL_MS, 6, VIEW, "ms", "default time to live; 0 = the store's") \
    X(NEGATIVE_TTL_MS, 7, VIEW, "ms", "time to live of negative entries; 0 = the store's") \
    X(IDLE_MS, 8, VIEW, "ms", "default idle time; 0 = the store's") \
    X(MAX_AGE_MS, 9, VIEW, "ms", "default bound of entries with idle time; 0 = the store's") \
    X(STALE_MS, 10, VIEW, "ms", "default stale window; 0 = the store's") \
    X(L2_BYTES, 11, STORE, "bytes", "all files of the disk tier; 0 = there is none")

typedef enum cellar_option {
#define CELLAR_OPTION_ENUM(name, number, scope, unit, help) CELLAR_OPT_##name = number,
    CELLAR_OPTIONS(CELLAR_OPTION_ENUM)
#undef CELLAR_OPTION_ENUM
} cellar_option;

/* Change an option of the store, or of this view, at run time.
 * in:      any handle of the store, for VIEW options the view; value in the option's unit
 * returns: OK; E_INVAL (unknown option, value out of range), E_RANGE (nothing changed: budget
 *          beyond the address space reserved at open, or too small for tables and segments made
 *          for the budget at open; 1/128 of that and 2 MiB are enough), E_UNSUPPORTED, E_NOMEM
 *          (thread), E_BUSY (the budget could not be reached because of pins; it is in force for
 *          what comes), E_FORKED, E_CLOSED. L2_BYTES, nothing lost but the oldest entries: E_RANGE
 *          (too little for segments of this store's size, or over 16 times that of the open),
 *          E_SPACE (the disk is full), E_IO, E_BUSY (another resize), E_UNSUPPORTED (no disk tier)
 * thread:  any; changes of one option from several threads: one of them wins
 * cost:    shrinking the budget or MAX_ENTRIES evicts, in rounds, before it returns; L2_BYTES:
 *          shrinking reads and writes what lies beyond the new end; the rest is O(1)
 * example: cellar_option_set(c, CELLAR_OPT_MEMORY_BYTES, 32 << 20);                              */
CELLAR_API cellar_err cellar_option_set(cellar *c, cellar_option option, int64_t value);

/* Read an option as it is in force: for VIEW options after the store's defaults are applied.
 * in:      as cellar_option_set
 * out:     *value
 * returns: OK; E_INVAL, E_CLOSED
 * thread:  any
 * cost:    O(1)
 * example:
 *     int64_t bytes;
 *     cellar_option_get(c, CELLAR_OPT_MEMORY_BYTES, &bytes);                                     */
CELLAR_API cellar_err cellar_option_get(cellar *c, cellar_option option, int64_t *value);

/* ---- Numbers --------------------------------------------------------------------------------- */

enum { CELLAR_SCOPE_NAMESPACE = 0, CELLAR_SCOPE_STORE = 1 };

/* A snapshot. gets is the sum of its outcomes by construction. Filled up to struct_size. */
typedef struct cellar_stats {
    size_t   struct_size;       /* set by cellar_stats_default()                                  */
    uint64_t gets;              /* hits_l1 + hits_l2 + stale_hits + negative_hits + misses        */
    uint64_t hits_l1;
    uint64_t hits_l2;           /* 0 without disk tier                                            */
    uint64_t stale_hits;
    uint64_t negative_hits;
    uint64_t misses;
    uint64_t sets;              /* stored: set, update, incr                                      */
    uint64_t deletes;           /* that removed a live value                                      */
    uint64_t write_errors;      /* writes that failed: E_TOOBIG, E_SPACE, E_NOMEM                 */
    uint64_t decode_errors;     /* 0 without codecs                                               */
    uint64_t denied;            /* 0 without policies                                             */
    uint64_t ended[CELLAR_CAUSE_COUNT]; /* entries ended, by cause                                */
    uint64_t ttl_class_fallbacks; /* unknown TTL class names                                      */
    uint64_t clears;
    uint64_t bumps;
    uint64_t events_skipped;    /* store: events counted only, see cellar_listener_add            */
    uint64_t entries;           /* store: linked, dead ones of cleared views included             */
    uint64_t used_bytes;        /* store: charged to the budget now                               */
    uint64_t budget_bytes;      /* store                                                          */
    uint64_t index_bytes;       /* store: part of used_bytes                                      */
    uint64_t log_bytes;         /* store: part of used_bytes: segments that hold records          */
    double   hit_ratio;         /* (gets - misses) / gets; 0 without traffic                      */
    uint64_t loads;             /* loader calls, a bulk loader's once                             */
    uint64_t loads_failed;      /* that ended without value and without "none"                    */
    uint64_t loads_joined;      /* gets answered by another call's load; not among misses         */
    uint64_t loads_not_stored;  /* results delivered but not stored                               */
    uint64_t load_takeovers;    /* loads handed over: leader lost or too late                     */
    uint64_t load_timeouts;     /* waits that ended with E_TIMEOUT or a stale value               */
    uint64_t load_deadlocks;    /* waits refused with E_DEADLOCK                                  */
    uint64_t refreshes;         /* loads in the background                                        */
    uint64_t refreshes_dropped; /* that found the queue full or no memory                         */
    uint64_t load_ns;           /* time spent in loaders                                          */
    uint64_t flights;           /* store: loads open now, leases included                         */
    /* store: calls that wait for them now, cellar_lease_acquire's included */
    uint64_t load_waiters;
    uint64_t flight_bytes;      /* store: part of used_bytes: records of loads and waiters        */
    uint64_t load_fallbacks;    /* loads answered by a fallback or a default value                */
    double   saved_seconds;     /* gets that were no misses x mean time of a load: an estimate    */
    double   saved_cost;        /* the same with cellar_load_set_cost, in millions of its unit    */
    uint64_t quota_entries;     /* this view's, down to quota_breaches, if it has a quota: held   */
    uint64_t quota_bytes;       /* of its entries                                                 */
    uint64_t quota_min_bytes;   /* bytes its least share comes to now                             */
    uint64_t quota_max_bytes;   /* bytes its greatest share comes to now; 0 = none                */
    uint64_t quota_borrowed_bytes; /* bytes it holds above the least share                        */
    uint64_t quota_breaches;    /* entries that went although it held no more than its least      */
    uint64_t ttl_reloads;       /* with watch_unchanged: values stored again after they expired   */
    uint64_t ttl_reloads_unchanged; /* of these: byte-identical, the TTL could be longer          */
    double   ttl_unchanged_share; /* ttl_reloads_unchanged / misses; 0 without misses             */
} cellar_stats;
CELLAR_STRUCT(cellar_stats, ttl_unchanged_share);

/* Take a snapshot of the counters.
 * in:      scope CELLAR_SCOPE_NAMESPACE (this view; "store" fields too) or _STORE (sum of all
 *          views); out->struct_size set
 * out:     *out
 * returns: OK; E_INVAL, E_CLOSED
 * thread:  any; counters are exact, each taken at its own moment
 * cost:    O(threads that ever used the view)
 * example:
 *     cellar_stats st = cellar_stats_default();
 *     cellar_stats_get(c, CELLAR_SCOPE_STORE, &st);                                              */
CELLAR_API cellar_err cellar_stats_get(cellar *c, int scope, cellar_stats *out);

#define CELLAR_ADVICE_COUNT 8
/* What other budgets would give, by a sample of the keys. Filled up to struct_size. */
typedef struct cellar_advice {
    size_t   struct_size;       /* set by cellar_advice_default()                                 */
    uint64_t requests;          /* sampled gets the figures rest on, older ones counting less     */
    double   hit_ratio_now;     /* as counted so far; what hit_ratio says for 100 %               */
    uint32_t budget_pct[CELLAR_ADVICE_COUNT]; /* of the budget: 25 50 71 100 141 200 400 800      */
    double   hit_ratio[CELLAR_ADVICE_COUNT]; /* to expect at that budget                          */
} cellar_advice;
CELLAR_STRUCT(cellar_advice, hit_ratio);

/* What would the hit ratio be if the whole store had more or less memory? Small copies of the
 * cache, keys only, of eight sizes run beside it under the rule in force. Estimates: on average
 * within two points. Views are told apart, up to 64 of them.
 * in:      scope CELLAR_SCOPE_NAMESPACE (this view's hits at so many times the budget of the
 *          store) or _STORE (all views); out->struct_size set
 * out:     *out; with PENDING and E_UNSUPPORTED no hit ratio but hit_ratio_now
 * returns: OK; PENDING (fewer than 512 sampled gets yet, or of a view beyond the first 64);
 *          E_UNSUPPORTED (advisor off, less than 16 MiB, fewer than 1,000 entries, or another
 *          policy than adaptive); E_INVAL, E_CLOSED
 * thread:  any; may wait for one who is counting a sample, some microseconds
 * cost:    O(threads that ever used the view)
 * example:
 *     cellar_advice a = cellar_advice_default();
 *     if (cellar_advice_get(c, CELLAR_SCOPE_STORE, &a) == CELLAR_OK)
 *         printf("at 2x the budget: %.1f %%\n", a.hit_ratio[5] * 100);                           */
CELLAR_API cellar_err cellar_advice_get(cellar *c, int scope, cellar_advice *out);

enum { CELLAR_OP_GET_HIT = 0, CELLAR_OP_GET_MISS = 1, CELLAR_OP_SET = 2, CELLAR_OP_DELETE = 3,
       CELLAR_OP_TICK = 4 };

/* Latency of one kind of operation, in nanoseconds; quantiles are upper bounds within 6.25 %. */
typedef struct cellar_latency {
    size_t   struct_size; /* set by cellar_latency_default()                                      */
    uint64_t samples;     /* get, set, del: about one in 64 is timed                              */
    uint64_t p50_ns, p90_ns, p99_ns, p999_ns;
    uint64_t max_ns;      /* of the samples, exact                                                */
} cellar_latency;
CELLAR_STRUCT(cellar_latency, max_ns);

/* Read a latency histogram of the store.
 * in:      op CELLAR_OP_...; out->struct_size set
 * out:     *out; all zero without samples
 * returns: OK; E_INVAL, E_CLOSED
 * thread:  any
 * cost:    O(threads x 528)
 * example:
 *     cellar_latency lat = cellar_latency_default();
 *     cellar_latency_get(c, CELLAR_OP_GET_HIT, &lat);                                            */
CELLAR_API cellar_err cellar_latency_get(cellar *c, int op, cellar_latency *out);

#ifndef CELLAR_OMIT_TEXT
/* Write all metrics of the store as Prometheus text 0.0.4.
 * in:      any handle of the store; cap bytes at buf, 0 asks for the size (buf may be NULL)
 * out:     *len the full size, without the ending 0 that follows when it fits; optional
 * returns: OK (text complete and 0-terminated), E_BUFFER (buf holds a beginning, *len + 1 bytes
 *          are needed; ask for some more, numbers grow), E_INVAL, E_CLOSED
 * thread:  any
 * cost:    O(views); no allocation
 * example:
 *     static char text[65536];
 *     size_t len;
 *     if (cellar_metrics_write(c, text, sizeof text, &len) == CELLAR_OK) fputs(text, stdout);    */
CELLAR_API cellar_err cellar_metrics_write(cellar *c, char *buf, size_t cap, size_t *len);

/* Describe the inner state for people: configuration, memory by module, stripes, views.
 * in:      as cellar_metrics_write
 * out:     as cellar_metrics_write
 * returns: as cellar_metrics_write
 * thread:  any
 * cost:    O(stripes + views); no allocation; no keys and no values appear
 * example:
 *     static char text[65536];
 *     cellar_dump_write(c, text, sizeof text, NULL);                                             */
CELLAR_API cellar_err cellar_dump_write(cellar *c, char *buf, size_t cap, size_t *len);

/* The sentence that belongs to a code.
 * in:      any number
 * returns: static text, never NULL; "unknown code" for one this library does not know
 * thread:  any, also signal handlers
 * cost:    O(number of codes)
 * example: fprintf(stderr, "%s\n", cellar_strerror(CELLAR_E_NOMEM));                             */
CELLAR_API const char *cellar_strerror(cellar_err code);
#endif

/* The name of a code as it stands in the source, without CELLAR_: "MISS", "E_NOMEM".
 * in:      any number
 * returns: static text; "?" for an unknown one
 * thread:  any, also signal handlers
 * cost:    O(number of codes)
 * example: puts(cellar_code_name(CELLAR_E_NOMEM));                                               */
CELLAR_API const char *cellar_code_name(cellar_err code);

/* The name of a cause, lower case, as metrics label it: "expired", "capacity".
 * in:      any number
 * returns: static text; "?" for an unknown one
 * thread:  any, also signal handlers
 * cost:    O(number of causes)
 * example: puts(cellar_cause_name(CELLAR_CAUSE_EXPIRED));                                        */
CELLAR_API const char *cellar_cause_name(cellar_cause cause);

/* What went wrong last on a handle. */
typedef struct cellar_error_info {
    size_t     struct_size; /* set by cellar_error_info_default()                                 */
    cellar_err code;        /* CELLAR_OK = nothing yet                                            */
    int        sys_errno;   /* of the operating system, 0 if it had no part                       */
    char       text[120];   /* what was wrong, 0-terminated; no keys, no values                   */
} cellar_error_info;
CELLAR_STRUCT(cellar_error_info, text);

/* The last error of this handle, of any thread: code, errno and a sentence. Errors in arguments
 * that name no handle are not kept; a failed cellar_open is kept for c == NULL, per process.
 * in:      a handle, or NULL; out->struct_size set
 * out:     *out
 * returns: OK; E_INVAL
 * thread:  any; works on handles of a closed store
 * cost:    O(1)
 * example:
 *     cellar_error_info e = cellar_error_info_default();
 *     cellar_last_error(c, &e);                                                                  */
CELLAR_API cellar_err cellar_last_error(cellar *c, cellar_error_info *out);

/* Walk every structure of the store and check every invariant: for tests and for doubt.
 * in:      any handle of the store
 * returns: OK; E_CORRUPT (cellar_last_error says what), E_INVAL, E_CLOSED
 * thread:  any, but exact only while no other thread writes (the maintenance thread is stopped
 *          meanwhile); in a forked child also what the parent's threads left half done counts
 * cost:    O(everything); holds one stripe's lock at a time
 * example: if (cellar_integrity_check(c) != CELLAR_OK) abort();                                  */
CELLAR_API cellar_err cellar_integrity_check(cellar *c);

/* The library's version, "MAJOR.MINOR.PATCH".
 * returns: static text
 * thread:  any, also signal handlers
 * cost:    O(1)
 * example: puts(cellar_version());                                                               */
CELLAR_API const char *cellar_version(void);

/* Which source the library was built from: version and commit.
 * returns: static text
 * thread:  any, also signal handlers
 * cost:    O(1)
 * example: puts(cellar_source_id());                                                             */
CELLAR_API const char *cellar_source_id(void);

#ifdef __cplusplus
}
#endif
#endif
