/* SPDX-License-Identifier: MIT
 *
 * cellar_observe: counters, metrics, explanations, scans, listeners, latencies, advice.
 *
 * Use this header to see what a store does: cellar_stats_get for numbers, cellar_metrics_write for
 * a monitor, cellar_why for one key, cellar_scan for all of them. */
#ifndef CELLAR_OBSERVE_H
#define CELLAR_OBSERVE_H

#include "cellar_entry.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Causes ---------------------------------------------------------------------------------- */

/* Why an entry was removed, or not stored: name, number, text. A number is never reused. */
#define CELLAR_CAUSES(X) \
    X(EXPIRED, 1, "its TTL or idle time passed") \
    X(EVICTED, 2, "evicted to make room") \
    X(REPLACED, 3, "replaced by a newer value") \
    X(DELETED, 4, "deleted") \
    X(CLEARED, 5, "its namespace was cleared or dropped") \
    X(VERSION, 6, "the version of its namespace changed") \
    X(TAG, 7, "one of its tags was deleted") \
    X(PATTERN, 8, "deleted by pattern") \
    X(REJECTED, 9, "its replacement could not be stored") \
    X(NEGATIVE, 10, "replaced by a negative entry") \
    X(LOAD_FAILED, 11, "its load failed") \
    X(INVALIDATED, 12, "a change came before the end of its load") \
    X(DENIED, 14, "denied by policy") \
    X(REMOTE, 16, "changed by another process") \
    X(CLOSED, 17, "its store was closed")

/* Why an entry was removed or not stored: in cellar_event, cellar_reason, cellar_stats.ended. */
typedef enum cellar_cause {
    CELLAR_CAUSE_NONE = 0, /* no cause */
#define CELLAR_CAUSE_ENUM(name, number, text) CELLAR_CAUSE_##name = number,
    CELLAR_CAUSES(CELLAR_CAUSE_ENUM)
#undef CELLAR_CAUSE_ENUM
    CELLAR_CAUSE_COUNT = 18 /* length of a table indexed by cause */
} cellar_cause;

/* The bit of a cause for cellar_listener_add: CELLAR_CAUSE_BIT(EVICTED). */
#define CELLAR_CAUSE_BIT(name) (1u << CELLAR_CAUSE_##name)

/* ---- Counters -------------------------------------------------------------------------------- */

/* What a call of counters, hot keys or advice tells of. */
typedef enum cellar_scope {
    CELLAR_SCOPE_NAMESPACE = 0, /* the namespace of the handle */
    CELLAR_SCOPE_STORE = 1      /* all namespaces of its store */
} cellar_scope;

/* Counters and figures, of cellar_stats_get and cellar_namespace_list. Filled up to the caller's
 * struct_size. Counters begin at 0 with the open of the store, those of a namespace with its first
 * open. A field with "now" is a figure of this moment. A field without a scope is of the namespace,
 * and with CELLAR_SCOPE_STORE the sum of all namespaces; one with "store" is of all of it. */
typedef struct cellar_stats {
    size_t   struct_size;       /* set by cellar_stats_default()                                  */
    /* ---- Lookups */
    uint64_t gets;              /* all lookups: hits_l1 + hits_l2 + stale_hits + negative_hits +  */
                                /* misses                                                         */
    uint64_t hits_l1;           /* lookups that found the value in memory, or got it from the     */
                                /* load of another call                                           */
    uint64_t hits_l2;           /* lookups that found the value on disk, or in another tier below */
                                /* memory                                                         */
    uint64_t stale_hits;        /* lookups that returned a value past its TTL                     */
    uint64_t negative_hits;     /* lookups that found a negative entry                            */
    uint64_t misses;            /* all other lookups, also those that ran a loader                */
    /* ---- Writes */
    uint64_t sets;              /* values stored by sets, updates and increments                  */
    uint64_t deletes;           /* deletes that removed a live value                              */
    uint64_t write_errors;      /* writes that failed with E_TOOBIG, E_SPACE or E_NOMEM; not      */
                                /* those that a policy denied, nor E_IO                           */
    /* ---- Removed entries */
    uint64_t ended[CELLAR_CAUSE_COUNT]; /* entries removed, by cause: ended[CELLAR_CAUSE_EVICTED] */
    /* ---- Writes */
    uint64_t ttl_class_fallbacks; /* lookups of a TTL class with an unknown name                  */
    /* ---- Removed entries */
    uint64_t clears;            /* calls of cellar_clear                                          */
    uint64_t version_changes;   /* changes of the version of the namespace                        */
    uint64_t events_skipped;    /* store: events that listeners did not get: see SKIPPED EVENTS   */
    /* ---- Entries and memory */
    uint64_t entries;           /* store, now: entries in the index, with dead ones of cleared    */
                                /* namespaces. One that moves while others write may count twice  */
    uint64_t used_bytes;        /* store, now: bytes charged to the budget                        */
    uint64_t budget_bytes;      /* store, now: the budget, memory_bytes or what an option set     */
                                /* since                                                          */
    uint64_t index_bytes;       /* store, now: bytes of the index, a part of used_bytes           */
    uint64_t log_bytes;         /* store, now: bytes of segments with records, a part of          */
                                /* used_bytes                                                     */
    /* ---- Lookups */
    double   hit_ratio;         /* (gets - misses) / gets; 0 without gets                         */
    /* ---- Loads */
    uint64_t loads;             /* calls of loaders; one of a bulk loader counts once, a lease    */
                                /* does not count                                                 */
    uint64_t loads_failed;      /* loads that returned neither a value nor "absent"               */
    uint64_t loads_joined;      /* lookups that got the result of the load of another call; they  */
                                /* are no misses                                                  */
    uint64_t loads_not_stored;  /* results of loads that were returned and not stored             */
    uint64_t load_takeovers;    /* loads that another call took over: the leader was lost or too  */
                                /* late                                                           */
    uint64_t load_timeouts;     /* waits for a load that ended with E_TIMEOUT or a stale value    */
    uint64_t load_deadlocks;    /* waits for a load that were refused with E_DEADLOCK             */
    uint64_t refreshes;         /* loads in the background                                        */
    uint64_t refreshes_dropped; /* refreshes that did not start: the queue was full, or no memory */
    uint64_t load_ns;           /* time spent in loaders                                          */
    uint64_t loads_running;     /* store, now: loads in progress, leases included                 */
    uint64_t load_waiters;      /* store, now: calls and subscribers that wait for these loads    */
    uint64_t load_bytes;        /* store, now: bytes of records of loads and waiters, a part of   */
                                /* used_bytes                                                     */
    uint64_t load_fallbacks;    /* loads that returned a fallback or the default value            */
    double   saved_seconds;     /* estimate of the time saved: gets without misses x mean time of */
                                /* a load                                                         */
    double   saved_cost;        /* estimate of the cost saved: gets without misses x mean cost_us */
                                /* of a load, in millions of the unit of cost_us                  */
    /* ---- Quotas */
    uint64_t quota_entries;     /* namespace with a quota, now: its entries; else 0               */
    uint64_t quota_bytes;       /* namespace with a quota, now: bytes of its entries; else 0      */
    uint64_t quota_max_bytes;   /* namespace, now: quota_max_pct in bytes; 0: no quota            */
    /* ---- Lookups */
    uint64_t decode_errors;     /* values that cellar_value_damaged reported                      */
    /* ---- Writes */
    uint64_t denied;            /* writes that a DENY rule refused with E_DENIED                  */
    /* ---- Entries and memory */
    uint64_t namespace_entries; /* namespace, now: its entries in memory, with negative ones and  */
                                /* expired ones that still take room; exact while no other call   */
                                /* changes the namespace. 0 after a clear, and with SCOPE_STORE   */
    uint64_t stripes;           /* store, now: lock domains in use: tuning.stripes, or fewer      */
    /* ---- Disk tier */
    uint64_t l2_owes;           /* store, now: 1 while entries that the disk dropped are offered  */
                                /* again                                                          */
    uint64_t l2_rejected_size;  /* store: entries that were too large for the disk tier           */
    uint64_t l2_rejected_ttl;   /* store: entries not written to disk with less than min_ttl_ms   */
                                /* left                                                           */
    uint64_t l2_rejected_limit; /* store: entries not written to disk because of a write limit    */
    /* ---- Loads */
    uint64_t load_recursions;   /* loads that CELLAR_LOAD_RECURSE let run                         */
    /* ---- Disk tier */
    uint64_t l2_memory_bytes;   /* store, now: bytes of index, buffer and tables of the disk      */
                                /* tier, a part of used_bytes: SIZES of cellar_l2.h               */
    /* ---- Objects */
    uint64_t objects_held;      /* store, now: objects with counted holds, and holds in slots of  */
                                /* threads; walks all objects                                     */
    uint64_t release_errors;    /* store: releases of a hold that was released before             */
} cellar_stats;
CELLAR_STRUCT(cellar_stats, release_errors);

/* Read the counters of this namespace, or the sums of the store: hits, misses, loads, removed
 * entries, memory. How many keys are in memory: namespace_entries of the namespace, `entries` of
 * the store.
 * in:      scope CELLAR_SCOPE_NAMESPACE ("store" fields as well) or _STORE; out from
 *          cellar_stats_default
 * out:     *out: the counters, and the figures of this moment
 * returns: OK (*out is filled)
 * thread:  any; each counter is exact, each is read at its own moment
 * cost:    O(threads that ever used the namespace)
 * example:
 *     cellar_stats st = cellar_stats_default();
 *     cellar_stats_get(c, CELLAR_SCOPE_STORE, &st);                                              */
CELLAR_API cellar_err cellar_stats_get(cellar *c, cellar_scope scope, cellar_stats *out);

/* Take one namespace of cellar_namespace_list. The program writes this function; the call runs it
 * for each namespace.
 * in:      name, terminated, "" of the root; stats: its counters; ctx as given with the function
 * returns: true: go on. false: end the list
 * owns:    name and stats are borrowed until the return
 * thread:  the thread that calls cellar_namespace_list, without locks. It may call the library, but
 *          not close the store
 * cost:    it may block
 * example:
 *     bool print_name(const char *name, const cellar_stats *stats,
 *                     void *file)
 *     {
 *         fprintf(file, "%s: %.3f\n", name, stats->hit_ratio);
 *         return true;
 *     }                                                                                          */
typedef bool (*cellar_namespace_fn)(const char *name, const cellar_stats *stats, void *ctx);

/* List the namespaces of the store with their counters, also those without an open handle. The root
 * comes first.
 * in:      c: any handle of the store; fn: called for each namespace; ctx: given to fn
 * returns: OK
 * owns:    ctx lives until the call has returned
 * thread:  any; fn runs in this thread without locks. A namespace that is created or dropped
 *          meanwhile may be missing. Hidden namespaces are missing
 * cost:    as cellar_stats_get for each namespace
 * example: cellar_namespace_list(c, print_name, stdout);                                         */
CELLAR_API cellar_err cellar_namespace_list(cellar *c, cellar_namespace_fn fn, void *ctx);

#ifndef CELLAR_OMIT_TEXT
/* Write the metrics of an object as Prometheus text, format 0.0.4, for a page that a monitor reads.
 * Of a store these are the figures that an operator acts on (cellar_dump_write has the others), of
 * the other objects those of their stats, each with a label that has the kind and the name of the
 * object, as pool="mail".
 * in:      object: a store or namespace, limiter, lock table, pool, batcher, port
 *          (cellar_resp.h) or remote (cellar_remote.h), as its open call gave it; buf_cap
 *          in bytes, 0 asks for the size (buf may be NULL)
 * out:     *text_len the full size without the zero byte; optional
 * returns: OK (buf has the whole text, terminated); E_BUFFER (buf holds a beginning; *text_len + 1
 *          bytes are needed, and some more for numbers that grow)
 * thread:  any
 * cost:    O(namespaces), or as the stats call of the object; no allocation
 * example:
 *     static char text[65536];
 *     size_t len;
 *     if (cellar_metrics_write(c, text, sizeof text, &len) == CELLAR_OK)
 *         fputs(text, stdout);                                                                   */
CELLAR_API cellar_err cellar_metrics_write(void *object, char *buf, size_t buf_cap,
                                           size_t *text_len);

/* Write the figures of cellar_metrics_write as one JSON object: "metrics" is a list of {"name",
 * "labels", "value"}. Of a store also "times", a list of {"op", "sampled", "count", "sum_ns",
 * "p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns"}, and "hot_keys", a list of up to 10
 * {"namespace", "key", "gets_per_s", "share"}, the keys of cellar_hot_keys, named as host.log_keys
 * says.
 * in:      as cellar_metrics_write
 * out:     as cellar_metrics_write
 * returns: OK (buf has the whole text, terminated); E_BUFFER (buf holds a beginning; *text_len + 1
 *          bytes are needed, and some more for numbers that grow)
 * thread:  any
 * cost:    as cellar_metrics_write
 * example:
 *     static char text[65536];
 *     size_t len;
 *     if (cellar_stats_json(c, text, sizeof text, &len) == CELLAR_OK)
 *         fputs(text, stdout);                                                                   */
CELLAR_API cellar_err cellar_stats_json(void *object, char *buf, size_t buf_cap, size_t *text_len);
#endif

/* ---- Hot keys -------------------------------------------------------------------------------- */

/* Limit of cellar_hot_key.key. */
#define CELLAR_HOT_KEY_BYTES   46u         /* bytes of a key that cellar_hot_keys returns         */

/* A key with many gets, of cellar_hot_keys. */
typedef struct cellar_hot_key {
    double   gets_per_s;         /* estimate from one get in 64                                   */
    double   share;              /* share of all counted gets of the store, 0..1                  */
    uint64_t hash;               /* hash of the key; the only name of a key of a hidden namespace */
    uint32_t key_len;            /* bytes of the whole key; 0 = hidden                            */
    uint32_t reserved0;
    char     key[CELLAR_HOT_KEY_BYTES + 2u]; /* first bytes of the key; zero bytes follow         */
    char     namespace_name[CELLAR_NAME_MAX + 8u]; /* terminated; empty = the root                */
} cellar_hot_key;

/* Return the keys with the most gets of the last minute, most first. One get in 64 is counted, hits
 * and misses alike; all counts are halved every 30 s. Loads and leases count as gets. cellar_pin,
 * cellar_get_range, cellar_object_acquire, cellar_get_many and a peek are not counted.
 * in:      scope CELLAR_SCOPE_NAMESPACE or _STORE; cap: room of out, in keys; at most 64 are
 *          returned
 * out:     out[0..*count - 1]: the keys; *count: their number
 * returns: OK (also with *count 0: no get was counted)
 * thread:  any; a get never waits for this call
 * cost:    O(1,024) keys; 64 KiB of memory in a store of 8 MiB or more, else budget / 128
 * example:
 *     cellar_hot_key top[5];
 *     size_t n;
 *     cellar_err err = cellar_hot_keys(c, CELLAR_SCOPE_STORE, top, 5, &n);
 *     if (err == CELLAR_OK && n > 0)
 *         printf("%s: %.0f gets a second\n", top[0].key, top[0].gets_per_s);                     */
CELLAR_API cellar_err cellar_hot_keys(cellar *c, cellar_scope scope, cellar_hot_key *out,
                                      size_t cap, size_t *count);

/* ---- Explanations ---------------------------------------------------------------------------- */

/* Limit of cellar_reason.by. */
#define CELLAR_WHY_BY_MAX      48u         /* bytes of a tag or pattern that cellar_why returns   */

/* What cellar_why knows of a key, in cellar_reason.answer. */
typedef enum cellar_why_answer {
    CELLAR_WHY_UNKNOWN = 0,      /* no record: never stored, forgotten, or on disk alone */
    CELLAR_WHY_LIVE = 1,         /* the entry is live */
    CELLAR_WHY_STALE = 2,        /* past its TTL, in its stale window */
    CELLAR_WHY_NEGATIVE = 3,     /* a negative entry */
    CELLAR_WHY_ERROR = 4,        /* a remembered error of its loader */
    CELLAR_WHY_LOADING = 5,      /* a load runs */
    CELLAR_WHY_GONE = 6,         /* removed, or a set or load was not stored; see cause */
    CELLAR_WHY_NOT_IN_SOURCE = 7 /* an authoritative Bloom filter: the source has no such key */
} cellar_why_answer;

/* Explanation of a key, of cellar_why. Filled up to the caller's struct_size. */
typedef struct cellar_reason {
    size_t   struct_size; /* set by cellar_reason_default()                                       */
    cellar_why_answer answer; /* what is known of the key                                         */
    cellar_cause cause;   /* with GONE                                                            */
    int64_t  ago_ms;      /* GONE: time since then, in steps of 64 ms; LOADING: time since start  */
    int64_t  age_ms;      /* age of the entry, now or when removed (see CELLAR_INFO_AGE_APPROX)   */
    int64_t  ttl_ms;      /* of an entry with exact age, until it is reclaimed; 0 = not known     */
    uint32_t hits;        /* 0..3: the eviction counter, now or when removed                      */
    uint32_t by_len;      /* bytes of `by`, 0 = not known                                         */
    char     by[CELLAR_WHY_BY_MAX]; /* cause TAG or PATTERN: tag or pattern, its first bytes      */
    int64_t  lost_ago_ms; /* UNKNOWN or EVICTED: time since the disk tier last lost entries in    */
                          /* bulk, after the eviction. `by` has the reason, a label of            */
                          /* cellar_lost_entries_total. CELLAR_TTL_NONE: not since the open       */
} cellar_reason;
CELLAR_STRUCT(cellar_reason, lost_ago_ms);

/* Explain why a key has no value (expired, evicted, deleted, never stored), or describe the entry
 * it has. The call does not update recency, idle time or statistics. It looks in memory alone, and
 * a restart keeps no record. A live entry that is on disk alone is therefore GONE with the cause
 * EVICTED, or UNKNOWN: ask cellar_contains first, which looks on disk, too.
 * in:      key; out from cellar_reason_default
 * out:     *out. Of an expired entry with a deleted tag: the earlier of the two causes. A tag
 *          deleted several times counts from the last time
 * returns: OK (out->answer says what is known, also UNKNOWN)
 * thread:  any. The delete of an entry that is only on disk is DELETED if the disk index has it
 * cost:    one lookup and one cache line; for cleared namespaces up to 16 lookups. Records of
 *          removed entries take budget / 256, 1 MiB at most, and replace each other; a record is
 *          wrong with probability 10^-9
 * example:
 *     cellar_reason r = cellar_reason_default();
 *     const cellar_err err = cellar_why(c, "k", 1, &r);
 *     if (err == CELLAR_OK && r.answer == CELLAR_WHY_GONE)
 *         puts(cellar_cause_name(r.cause));                                                      */
CELLAR_API cellar_err cellar_why(cellar *c, const void *key, size_t key_len, cellar_reason *out);

/* ---- Scans ----------------------------------------------------------------------------------- */

/* One entry of a scan; all pointers are valid during the callback only. */
typedef struct cellar_scan_entry {
    const void *key;         /* its bytes */
    size_t      key_len;     /* bytes at key */
    const void *value;       /* NULL for long values (some KiB): read them with cellar_get */
    size_t      value_len;   /* bytes of the value */
    uint32_t    user_flags;  /* as given to the set */
    cellar_kind kind;        /* value, negative entry or object */
    int64_t     ttl_left_ms; /* CELLAR_TTL_NONE = never expires */
} cellar_scan_entry;

/* Take one entry of cellar_scan. The program writes this function; the scan runs it for each entry.
 * in:      e: key, value and times of the entry; ctx as given with the function
 * returns: true: go on. false: end this call of cellar_scan; the rest of the same bucket still
 *          follows, unless its namespace was closed, dropped or cleared meanwhile
 * owns:    e, key and value are borrowed until the return: they are copies
 * thread:  the thread that calls cellar_scan, with no lock held. It may set, delete and close its
 *          namespace, but not close the store
 * cost:    it may block: no other call waits
 * example:
 *     bool print_entry(const cellar_scan_entry *e, void *file)
 *     {
 *         fprintf(file, "%.*s: %zu bytes\n", (int)e->key_len,
 *                 (const char *)e->key, e->value_len);
 *         return true;
 *     }                                                                                          */
typedef bool (*cellar_scan_fn)(const cellar_scan_entry *e, void *ctx);

/* Flag of cellar_scan_opts. */
#define CELLAR_SCAN_DISK 1u /* entries on disk, too: all that cellar_get finds                    */

/* Options of cellar_scan. */
typedef struct cellar_scan_opts {
    size_t      struct_size;  /* set by cellar_scan_opts_default()                                */
    const char *pattern;      /* GLOB PATTERNS in cellar_invalidate.h. Default NULL: all          */
    size_t      pattern_len;  /* bytes at pattern. Range 1..CELLAR_PATTERN_MAX with a pattern;    */
                              /* else 0                                                           */
    size_t      bucket_count; /* index buckets in this call; 8 entries on disk count as one.      */
                              /* Range 1..SIZE_MAX. Default 0: 64                                 */
    uint32_t    flags;        /* 0 or CELLAR_SCAN_DISK. Default 0: memory alone                   */
    uint32_t    reserved0;    /* must be 0                                                        */
    uint64_t   *place;        /* with CELLAR_SCAN_DISK: the second half of the cursor, by which   */
                              /* an entry on disk and in memory is visited once. Default NULL     */
} cellar_scan_opts;
CELLAR_STRUCT(cellar_scan_opts, place);

/* Visit all live entries of this namespace, a part in each call, while other threads go on: to list
 * keys, to count by a rule of the program, to copy a cache. Call it again until *cursor is 0, as in
 * the example. `fn` gets each entry. An entry that exists from the first to the last call is
 * visited at least once; an entry may be visited twice. cellar_stats has the number of entries
 * without a scan.
 *
 * With CELLAR_SCAN_DISK this holds for the namespace in memory and on disk: an entry that moves
 * between them is visited, unless a call changes it meanwhile, or its way takes longer than the
 * scan waits. An entry may then be visited three times: in memory, on disk, and once more if it was
 * among the last written there. With `place` it is visited once, unless it changes or moves during
 * the scan, or a part of the disk cannot be read. Entries on disk stay there, and do not count as
 * used.
 * in:      *cursor: 0 for the first call, then as the last call left it; o: options with the same
 *          flags in each call, NULL = defaults; *o->place as the last call left it; fn: gets each
 *          entry; ctx: given to fn
 * out:     *cursor, 0 when the scan is complete; valid until the store is closed;
 *          *o->place: the second half of the cursor
 * returns: OK; E_NOMEM (the system gave no memory), E_BUSY (the disk does not answer for the
 *          moment). After these two *cursor stands behind what was visited: wait, then call again
 *          with it. After a refusal, as E_CLOSED, *cursor is unchanged, and the scan ends: no later
 *          call would go on
 * owns:    ctx lives until the call has returned
 * thread:  any; fn runs in this thread with no lock held; with CELLAR_SCAN_DISK the call reads the
 *          disk
 * cost:    O(bucket_count); no other call waits. For an entry on disk two reads, with 200 KiB of
 *          memory during the call. With `place` one read for an entry in memory and on disk. One
 *          call waits for entries on their way to the disk, 1 s at most
 * example:
 *     cellar_scan_opts o = cellar_scan_opts_default();
 *     o.pattern = "user:*", o.pattern_len = 6;
 *     uint64_t cursor = 0;
 *     cellar_err err;
 *     do {
 *         err = cellar_scan(c, &cursor, &o, print_entry, stdout);
 *     } while (err == CELLAR_OK && cursor != 0); // E_BUSY: go on later                          */
CELLAR_API cellar_err cellar_scan(cellar *c, uint64_t *cursor, const cellar_scan_opts *o,
                                  cellar_scan_fn fn, void *ctx);

/* ---- Listeners ------------------------------------------------------------------------------- */

/* One removed entry; all pointers are valid during the callback only. */
typedef struct cellar_event {
    cellar     *ns;          /* namespace of the entry, root included; NULL when it was dropped   */
    const void *key;         /* its bytes                                                         */
    size_t      key_len;     /* bytes at key                                                      */
    const void *value;       /* the removed value; NULL of an object                              */
    size_t      value_len;   /* bytes of the value                                                */
    cellar_cause cause;      /* why it was removed                                                */
    cellar_kind kind;        /* value, negative entry, remembered error or object                 */
    uint32_t    user_flags;  /* as given to the set                                               */
    uint32_t    reserved0;   /* 0                                                                 */
} cellar_event;

/* Take one removed entry, for cellar_listener_add. The program writes this function.
 * in:      e: the entry, and why it was removed; ctx as given with the function
 * owns:    e, key and value are borrowed until the return. e->ns is open until then; do not close
 *          it. ctx lives until cellar_listener_remove or the root close has returned
 * thread:  the thread that removed or reclaimed the entry, or a thread of the store; several
 *          at once. No lock is held. It may call the library, but not close its store; events of
 *          its own calls reach it again, 4 deep at most (SKIPPED EVENTS)
 * cost:    it should not block: the set, delete or tick that removed the entry waits
 * example:
 *     void on_evicted(const cellar_event *e, void *counter)
 *     {
 *         if (e->cause == CELLAR_CAUSE_EVICTED)
 *             atomic_fetch_add((atomic_long *)counter, 1);
 *     }                                                                                          */
typedef void (*cellar_listener_fn)(const cellar_event *e, void *ctx);

/* Call a function when an entry is removed, with the cause: to count or log evictions. The function
 * runs at most once for each entry. Events may be skipped, and a close sends none; see SKIPPED
 * EVENTS.
 * in:      a handle of the store: the root receives events of all namespaces, another namespace
 *          only its own; causes: bits of CELLAR_CAUSE_BIT(..), 0 = all; fn: called for each removed
 *          entry; ctx: given to fn
 * out:     *id for cellar_listener_remove
 * returns: OK (fn is called from now on); E_LIMIT (the store has 16 listeners)
 * owns:    ctx lives until cellar_listener_remove or the root close has returned. A dropped
 *          namespace with a listener still counts for max_namespaces
 * thread:  fn runs in the thread that removed or reclaimed the entry, with no lock held, and may
 *          call the cache. Events may be skipped: see SKIPPED EVENTS. Threads of the store have the
 *          default stack of the process, or host option stack_bytes
 * cost:    a set copies the entries that it replaces or evicts while a listener exists
 * example:
 *     uint64_t id;
 *     cellar_listener_add(c, CELLAR_CAUSE_BIT(EVICTED), on_evicted, NULL,
 *                         &id);                                                                  */
CELLAR_API cellar_err cellar_listener_add(cellar *c, uint32_t causes, cellar_listener_fn fn,
                                          void *ctx,
                                          uint64_t *id);

/* Remove a listener. After the return fn does not run any more. Called inside a listener, calls of
 * fn in other threads may still be running.
 * in:      c: any handle of the store; id: as cellar_listener_add gave it
 * returns: OK (the listener is removed); E_NOT_FOUND (no such listener of the store)
 * owns:    the library no longer uses ctx, except in calls that still run (above)
 * thread:  any, also inside the listener itself
 * cost:    waits for running calls of fn
 * example: cellar_listener_remove(c, id);                                                        */
CELLAR_API cellar_err cellar_listener_remove(cellar *c, uint64_t id);

/* SKIPPED EVENTS
 * Do not count on an event for each removed entry: some come late, some not at all. Entries of a
 * cleared namespace are reported when their memory is reclaimed. If 64 clears, version changes and
 * new namespaces of the store come first, the store no longer knows their namespace. Listeners of
 * the root then receive CLEARED with ns NULL, listeners of a namespace receive nothing
 * (events_skipped), and ended[] counts the entries at the root. Sets nested deeper than 4 inside
 * listeners are counted in events_skipped only. Closing the store reports no entries.
 *
 * LATE EVENTS
 * If a call evicts entries to load policies, to make a Bloom filter or to work on the disk, it
 * copies their events and reports them at its end. Without memory for the copy an event is
 * counted in events_skipped only. */

/* ---- Latencies ------------------------------------------------------------------------------- */

/* Kind of operation, for cellar_latency_get. */
typedef enum cellar_op {
    CELLAR_OP_GET_HIT = 0,  /* a get that finds a value                                           */
    CELLAR_OP_GET_MISS = 1, /* a get that finds none                                              */
    CELLAR_OP_SET = 2,      /* a set                                                              */
    CELLAR_OP_DELETE = 3,   /* a delete                                                           */
    CELLAR_OP_TICK = 4,     /* a tick of the maintenance                                          */
    CELLAR_OP_LOAD = 5,     /* a loader call                                                      */
    CELLAR_OP_L2_READ = 6,  /* a read of a record from the disk by a lookup                       */
    CELLAR_OP_L2_WRITE = 7  /* a write to a file of the disk tier                                 */
} cellar_op;

/* Latency of one kind of operation: of cellar_latency_get. Quantiles are upper bounds within
 * 6.25 %. */
typedef struct cellar_latency {
    size_t   struct_size; /* set by cellar_latency_default()                                      */
    uint64_t samples;     /* get, set, delete: about one in 64 is timed; others: each one         */
    uint64_t p50_ns, p90_ns, p99_ns, p999_ns; /* quantiles of the samples                         */
    uint64_t max_ns;      /* of the samples, exact                                                */
} cellar_latency;
CELLAR_STRUCT(cellar_latency, max_ns);

/* Read how long operations of one kind take in this store: quantiles of the samples since its open.
 * in:      c: any handle of the store; op: the kind of operation; out from cellar_latency_default
 * out:     *out; all zero without samples
 * returns: OK (*out is filled)
 * thread:  any
 * cost:    O(threads x 528)
 * example:
 *     cellar_latency lat = cellar_latency_default();
 *     cellar_latency_get(c, CELLAR_OP_GET_HIT, &lat);                                            */
CELLAR_API cellar_err cellar_latency_get(cellar *c, cellar_op op, cellar_latency *out);

/* ---- Advice and dump ------------------------------------------------------------------------- */

/* Length of the tables in cellar_advice. */
#define CELLAR_ADVICE_COUNT 8   /* budgets                                                        */

/* Hit ratios at other budgets, of cellar_advice_get: estimated from sampled keys. Filled up to the
 * caller's struct_size. */
typedef struct cellar_advice {
    size_t   struct_size;       /* set by cellar_advice_default()                                 */
    uint64_t requests;          /* sampled gets behind the figures; older ones count less         */
    double   hit_ratio_now;     /* as counted so far; equals hit_ratio at 100 %                   */
    uint32_t budget_pct[CELLAR_ADVICE_COUNT]; /* of the budget: 25 50 71 100 141 200 400 800      */
    double   hit_ratio[CELLAR_ADVICE_COUNT]; /* expected at that budget                           */
} cellar_advice;
CELLAR_STRUCT(cellar_advice, hit_ratio);

/* Estimate the hit ratio at other memory budgets of the store: would more memory help? Eight small
 * copies of the cache, keys only, run at other sizes under the current policy. Mean error within
 * two points of what such a store counts for the same gets since its open: the misses of its first
 * fill are part of it.
 * in:      scope CELLAR_SCOPE_NAMESPACE (hits of this namespace) or _STORE; out from
 *          cellar_advice_default
 * out:     *out; with PENDING and E_UNSUPPORTED only hit_ratio_now
 * returns: OK (*out is filled); PENDING (fewer than 512 sampled gets, or a namespace beyond the
 *          first 64: ask later); E_UNSUPPORTED (no figures: no_advisor, a budget below 16 MiB,
 *          fewer than 1,000 entries, a policy other than ADAPTIVE, or optimize OBJECTS)
 * thread:  any; may wait some microseconds for a thread that counts a sample
 * cost:    O(threads that ever used the namespace)
 * example:
 *     cellar_advice a = cellar_advice_default();
 *     if (cellar_advice_get(c, CELLAR_SCOPE_STORE, &a) == CELLAR_OK)
 *         printf("at 2x the budget: %.1f %%\n", a.hit_ratio[5] * 100);                           */
CELLAR_API cellar_err cellar_advice_get(cellar *c, cellar_scope scope, cellar_advice *out);

#ifndef CELLAR_OMIT_TEXT
/* Write the state of the store as text for people: options, memory by module, stripes, namespaces,
 * and the figures that cellar_metrics_write leaves out.
 * in:      c: any handle of the store; buf_cap in bytes, 0 asks for the size (buf may be NULL)
 * out:     *text_len the full size without the zero byte; optional
 * returns: OK (buf has the whole text, terminated); E_BUFFER (buf holds a beginning; *text_len + 1
 *          bytes are needed, and some more for numbers that grow)
 * thread:  any
 * cost:    O(stripes + namespaces); no allocation; the text has no keys and no values
 * example:
 *     static char text[65536];
 *     cellar_dump_write(c, text, sizeof text, NULL);                                             */
CELLAR_API cellar_err cellar_dump_write(cellar *c, char *buf, size_t buf_cap, size_t *text_len);
#endif

/* ---- Names ----------------------------------------------------------------------------------- */

/* Return the name of a cause in lower case, as in metric labels: "expired", "evicted".
 * in:      any number
 * returns: static text; "?" for an unknown cause
 * thread:  any, also signal handlers
 * cost:    O(number of causes)
 * example: puts(cellar_cause_name(CELLAR_CAUSE_EXPIRED));                                        */
CELLAR_API const char *cellar_cause_name(cellar_cause cause);

#ifdef __cplusplus
}
#endif
#endif
