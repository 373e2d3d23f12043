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

/* ---- Limits and constants ------------------------------------------------------------------- */

#define CELLAR_KEY_MAX         65535u
#define CELLAR_VALUE_MAX       1073741823u /* 2^30 - 1; max_value_bytes is usually smaller        */
#define CELLAR_NAME_MAX        64u
#define CELLAR_TAG_MAX         128u        /* bytes of one tag                                    */
#define CELLAR_TAGS_MAX        16u         /* tags of one entry                                   */
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

/* Hands out the next key: CELLAR_OK with *key, valid until the next call; CELLAR_MISS after the
 * last one; a negative code when the enumeration failed. No lock is held. */
typedef cellar_err (*cellar_next_key_fn)(void *ctx, cellar_bytes *key);

/* ---- Open and close -------------------------------------------------------------------------- */

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

/* ---- One key --------------------------------------------------------------------------------- */

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

/* Is there a live value?
 * in:      key
 * returns: OK, MISS (also for a negative entry and in the stale window); E_INVAL, E_CLOSED
 * thread:  any; as cellar_peek it is no use of the entry and in no statistic
 * cost:    as cellar_get without the copy; a value that is only on disk is read there
 * example: if (cellar_contains(c, "k", 1) == CELLAR_OK) puts("there");                           */
CELLAR_API cellar_err cellar_contains(cellar *c, const void *key, size_t key_len);

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

/* Throw away all entries of this view and of no other. No entry stored before the call is returned
 * by a get that starts after it.
 * in:      the view
 * returns: OK; E_IO (see "Disk tier"), E_INVAL, E_CLOSED
 * thread:  any; listeners hear CLEARED when the memory is reclaimed, which eviction does first
 * cost:    O(1), whatever the number of entries; their room is usable at once
 * example: cellar_clear(v);                                                                      */
CELLAR_API cellar_err cellar_clear(cellar *c);

/* ---- Many keys ------------------------------------------------------------------------------- */

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

/* ---- Errors and version ---------------------------------------------------------------------- */

#ifndef CELLAR_OMIT_TEXT
/* The sentence that belongs to a code.
 * in:      any number
 * returns: static text, never NULL; "unknown code" for one this library does not know
 * thread:  any, also signal handlers
 * cost:    O(number of codes)
 * example: fprintf(stderr, "%s\n", cellar_strerror(CELLAR_E_NOMEM));                             */
CELLAR_API const char *cellar_strerror(cellar_err code);
#endif

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

/* The library's version, "MAJOR.MINOR.PATCH".
 * returns: static text
 * thread:  any, also signal handlers
 * cost:    O(1)
 * example: puts(cellar_version());                                                               */
CELLAR_API const char *cellar_version(void);

#ifdef __cplusplus
}
#endif
#endif
