/* SPDX-License-Identifier: MIT
 *
 * cellar_observe: counters, latencies, advice, explanations, scans, events, metrics. */
#ifndef CELLAR_OBSERVE_H
#define CELLAR_OBSERVE_H

#include "cellar_entry.h"

#ifdef __cplusplus
extern "C" {
#endif

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
    X(DEPENDENCY, 15, "what it was made of changed")

typedef enum cellar_cause {
    CELLAR_CAUSE_NONE = 0,
#define CELLAR_CAUSE_ENUM(name, number, text) CELLAR_CAUSE_##name = number,
    CELLAR_CAUSES(CELLAR_CAUSE_ENUM)
#undef CELLAR_CAUSE_ENUM
    CELLAR_CAUSE_COUNT = 16 /* room of tables indexed by cause */
} cellar_cause;

#define CELLAR_CAUSE_BIT(name) (1u << CELLAR_CAUSE_##name)

typedef enum cellar_scope {
    CELLAR_SCOPE_NAMESPACE = 0,
    CELLAR_SCOPE_STORE = 1
} cellar_scope;

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
    uint64_t ended[CELLAR_CAUSE_COUNT]; /* entries ended, by cause                                */
    uint64_t ttl_class_fallbacks; /* unknown TTL class names                                      */
    uint64_t clears;
    uint64_t version_changes;
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
    uint64_t loads_running;     /* store: loads open now, leases included                         */
    /* store: calls that wait for them now, cellar_lease_acquire's included */
    uint64_t load_waiters;
    uint64_t load_bytes;        /* store: part of used_bytes: records of loads and waiters        */
    uint64_t load_fallbacks;    /* loads answered by a fallback or a default value                */
    double   saved_seconds;     /* gets that were no misses x mean time of a load: an estimate    */
    double   saved_cost;        /* the same with cellar_load_set_cost, in millions of its unit    */
    uint64_t quota_entries;     /* this view's, down to quota_breaches, if it has a quota: held   */
    uint64_t quota_bytes;       /* of its entries                                                 */
    uint64_t quota_min_bytes;   /* bytes its least share comes to now                             */
    uint64_t quota_max_bytes;   /* bytes its greatest share comes to now; 0 = none                */
    uint64_t quota_borrowed_bytes; /* bytes it holds above the least share                        */
    uint64_t quota_breaches;    /* entries that went although it held no more than its least      */
} cellar_stats;
CELLAR_STRUCT(cellar_stats, quota_breaches);

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
CELLAR_API cellar_err cellar_stats_get(cellar *c, cellar_scope scope, cellar_stats *out);

typedef enum cellar_op {
    CELLAR_OP_GET_HIT = 0,
    CELLAR_OP_GET_MISS = 1,
    CELLAR_OP_SET = 2,
    CELLAR_OP_DELETE = 3,
    CELLAR_OP_TICK = 4
} cellar_op;

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
CELLAR_API cellar_err cellar_latency_get(cellar *c, cellar_op op, cellar_latency *out);

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
CELLAR_API cellar_err cellar_advice_get(cellar *c, cellar_scope scope, cellar_advice *out);

#define CELLAR_WHY_BY_MAX      48u         /* bytes of a tag or pattern that cellar_why tells     */

typedef enum cellar_why_answer {
    CELLAR_WHY_UNKNOWN = 0,      /* nothing is known: never stored, or forgotten */
    CELLAR_WHY_LIVE = 1,         /* the entry is live */
    CELLAR_WHY_STALE = 2,        /* past its TTL, in its stale window */
    CELLAR_WHY_NEGATIVE = 3,     /* a negative entry */
    CELLAR_WHY_ERROR = 4,        /* a remembered error of its loader */
    CELLAR_WHY_LOADING = 5,      /* a load runs */
    CELLAR_WHY_GONE = 6,         /* removed or never stored; cause says why */
    CELLAR_WHY_NOT_IN_SOURCE = 7 /* an authoritative Bloom filter: the source has no such key */
} cellar_why_answer;

/* Filled up to the caller's struct_size. */
typedef struct cellar_reason {
    size_t   struct_size; /* set by cellar_reason_default()                                       */
    cellar_why_answer answer;
    cellar_cause cause;   /* with CELLAR_WHY_GONE                                                 */
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
 *         puts(cellar_cause_name(r.cause));                                        */
CELLAR_API cellar_err cellar_why(cellar *c, const void *key, size_t key_len, cellar_reason *out);

/* One entry of a scan; all pointers are valid during the callback only. */
typedef struct cellar_scan_entry {
    const void *key;
    size_t      key_len;
    const void *value;       /* NULL for long values (some KiB): read them with cellar_get */
    size_t      value_len;
    uint32_t    user_flags;
    cellar_kind kind;
    int64_t     ttl_left_ms; /* CELLAR_TTL_NONE = never */
} cellar_scan_entry;

/* Return true to continue, false to end this call; what lies in the same bucket still comes,
 * unless its view was closed, dropped or cleared by then. */
typedef bool (*cellar_scan_fn)(const cellar_scan_entry *e, void *ctx);

/* Walk through this view's live entries, some at a time. An entry that is there from the first to
 * the last call is seen at least once; an entry may be seen twice.
 * in:      *cursor 0 to begin, then as it was left; pattern a glob of pattern_len bytes, NULL =
 *          all; bucket_count how many buckets this call may look at, 0 = 64; fn
 * out:     *cursor, 0 when the walk is complete; opaque, valid as long as the store lives
 * returns: OK; E_INVAL (also a pattern of 0 or over CELLAR_PATTERN_MAX bytes), E_UNSUPPORTED,
 *          E_NOMEM (the cursor stays: call again), E_CLOSED
 * owns:    the entry handed to fn is a copy, valid during the call
 * thread:  any; fn runs with no lock held: it may set, delete, close its view
 * cost:    O(bucket_count); no other caller is stopped
 * example:
 *     uint64_t cursor = 0;
 *     do cellar_scan(c, &cursor, "user:*", 6, 0, print_entry, NULL); while (cursor != 0);     */
CELLAR_API cellar_err cellar_scan(cellar *c, uint64_t *cursor, const char *pattern,
                                  size_t pattern_len, size_t bucket_count, cellar_scan_fn fn,
                                  void *ctx);

/* The end of one entry; pointers are valid during the call only. */
typedef struct cellar_event {
    cellar     *ns;          /* the entry's view, root included; NULL when it was dropped         */
    const void *key;
    size_t      key_len;
    const void *value;
    size_t      value_len;
    cellar_cause cause;
    cellar_kind kind;
    uint32_t    user_flags;
    uint32_t    reserved0;
} cellar_event;

typedef void (*cellar_listener_fn)(const cellar_event *e, void *ctx);

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

#ifndef CELLAR_OMIT_TEXT
/* Write all metrics of the store as Prometheus text 0.0.4.
 * in:      any handle of the store; buf_cap bytes at buf, 0 asks for the size (buf may be NULL)
 * out:     *text_len the full size, without the ending 0 that follows when it fits; optional
 * returns: OK (text complete, terminated), E_BUFFER (buf holds a beginning, *text_len + 1 bytes are
 *          needed; ask for some more, numbers grow), E_INVAL, E_CLOSED
 * thread:  any
 * cost:    O(views); no allocation
 * example:
 *     static char text[65536];
 *     size_t len;
 *     if (cellar_metrics_write(c, text, sizeof text, &len) == CELLAR_OK) fputs(text, stdout);    */
CELLAR_API cellar_err cellar_metrics_write(cellar *c, char *buf, size_t buf_cap, size_t *text_len);

/* Describe the inner state for people: configuration, memory by module, stripes, views.
 * in:      as cellar_metrics_write
 * out:     as cellar_metrics_write
 * returns: as cellar_metrics_write
 * thread:  any
 * cost:    O(stripes + views); no allocation; no keys and no values appear
 * example:
 *     static char text[65536];
 *     cellar_dump_write(c, text, sizeof text, NULL);                                             */
CELLAR_API cellar_err cellar_dump_write(cellar *c, char *buf, size_t buf_cap, size_t *text_len);
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

#ifdef __cplusplus
}
#endif
#endif
