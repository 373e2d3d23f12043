/* SPDX-License-Identifier: MIT
 *
 * load_types: one read through the cache, as the files of loading see it.
 *
 * PICTURE    options -> cache_load_plan      one call -> cache_call (its look at L1, its wait)
 *            -> a flight led or joined -> cellar_load (results of the loader) -> outcome */
#ifndef CACHE_LOAD_TYPES_H
#define CACHE_LOAD_TYPES_H

#include "cache/types.h"
#include "cellar_tier.h"
#include "flight/flight.h"

typedef struct cache_load_plan { /* merged options of call, namespace and store; kept by a lease */
    int64_t ms[CACHE_LOAD_TIMES];    /* ms; errors: 0: not kept; SOFT 0: off */
    uint32_t n[CACHE_LOAD_NUMBERS];  /* 0: off */
    int64_t ttl_ms, negative_ttl_ms; /* ms; BASE_NEVER_MS: none */
    int64_t stale_ms, fallback_ttl_ms;
    uint32_t flags;
    bool given;                      /* the call has options */
    uint8_t own;                     /* CACHE_GIVEN_...: times that the call sets */
    cellar_breaker *breaker;         /* NULL: none */
    cellar_fallback fallback[CELLAR_FALLBACKS_MAX];
    const cellar_bytes *default_value;
    size_t ctx_bytes;
    void *(*ctx_retain)(void *ctx);
    void (*ctx_release)(void *ctx);
    const unsigned char *trace;      /* bytes of the caller, the job or the lease; NULL: none */
} cache_load_plan;

typedef struct cache_call { /* one call; on the stack of the caller, or in a bulk load */
    cellar *c;
    flight_table *t;            /* NULL: no memory for it */
    const void *key;            /* bytes of the caller; while it leads, k has those of the flight */
    l1_key k;
    const cache_load_plan *p;
    cellar_loader_fn fn;
    void *ctx;
    cache_job *job;             /* background job; NULL: call of a thread */
    bool namespace_loader;      /* fn and ctx belong to the namespace */
    bool asks;                  /* the tier answers later: never wait for it */
    bool only_join;             /* soft wait: the call never leads */
    bool soft_over;             /* the soft wait has ended */
    bool no_retry;              /* the next failure is the answer */
    bool audit;                 /* the filter said "never": this load checks it */
    bool instead;               /* the source failed recently or in the joined flight: */
                                /* run the fallbacks instead of the loader; */
    cellar_err failed;          /* answer if the fallbacks bring nothing */
    int64_t hold_ms;            /* earliest end of what is stored now, ms; 0: any */
    int cancel;                 /* cancel state of the caller, for the loader */
    bool entered;               /* counted in `loading`; cancellation is off */
    flight_bytes *old;          /* value found: stale, or fresh with an early refresh */
    l1_info found;              /* entry of the last look; undefined after MISS */
    bool old_current;           /* L1 had `old` at the second look */
    bool early;                 /* `old` is fresh */
    uint8_t fails;              /* failures in a row of the remembered error */
    uint32_t failures, losses;  /* joined flights that failed, or ended without outcome */
    int64_t now_ms;             /* time of the last look */
    int64_t patience_ms;        /* end of the wait, ms; 0 before the first wait */
    int64_t soft_at_ms;         /* the same with a stale value */
    cellar_err code;            /* answer of the call */
    flight_bytes *value;        /* with OK and STALE; one ref */
    uint32_t source, result_flags;
    int32_t loader_err;
    int64_t retry_at_ms, deadline_ms, born_ms; /* unknown: 0, BASE_NEVER_MS, -1 */
    uint64_t tag_epoch;         /* of tags, at the last enter */
    uint64_t load_us;
    uint32_t user_flags;
    bool unsure;                /* the shared tier may have a value: that of the load is not kept */
    bool leased;                /* the call holds `lease` of the shared tier */
    cellar_tier_lease lease;
} cache_call;

struct cache_job { /* a background load */
    base_job queued;
    flight *f;            /* one ref; NULL in a forked child: the flight belongs to the parent */
    cellar *namespace;    /* one ref */
    cache_load_plan p;    /* without fallbacks and default value */
    cellar_loader_fn fn;
    void *ctx;
    void (*release)(void *ctx);
    int64_t seen_ms;      /* early refresh: deadline of the entry, ms; else -1 */
    uint64_t copy[CELLAR_LOAD_CTX_MAX / 8]; /* copy of ctx */
    unsigned char trace[];  /* only if the call has one */
};

struct cache_plan;

enum { CACHE_REPORTED_NOTHING, CACHE_REPORTED_VALUE, CACHE_REPORTED_NONE, CACHE_REPORTED_SAME };

typedef struct cache_item { /* result of a loader for one key */
    flight_bytes *value;
    uint8_t said;
    bool twice;
    int32_t loader_err;    /* of a bulk loader; not 0: failed */
    cellar_err setter_err; /* error of a setter: E_TOOBIG, E_NOMEM */
} cache_item;

struct cellar_buf { /* buffer of an update (charged to the store) or of a load (not charged) */
    cache_store *store;
    unsigned char *bytes;     /* own block, or `room` */
    unsigned char *room;      /* update: bytes on its stack */
    size_t len, cap;
    cellar_err failed;        /* first failure; ends the update or load */
    struct cellar_load *load; /* NULL: update; else its result holds the bytes */
};

struct cellar_load { /* a led flight and the results of its loader; on the stack of the leader */
    cache_call *call;
    flight *f;
    void (*left)(struct cellar_load *ld); /* called if the thread ends inside the loader */
    void *bulk;            /* for `left`: the whole bulk load */
    bool led;              /* the flight is begun with flight_lead_begin */
    bool refused;          /* the loader may not run: by the breaker, or call->instead */
    cache_item r;
    bool no_store, failed;
    int32_t loader_err;
    uint32_t fail_flags, cost_us, user_flags;
    int64_t retry_after_ms;
    int64_t ttl_ms, negative_ttl_ms, stale_ms; /* of the plan, else of the loader */
    uint32_t tag_count;
    uint64_t fps[BASE_TAGS_MAX];
    const cellar_bytes *tag_text; /* texts of the tags, kept by the flight; NULL: not known */
    struct cache_plan *given; /* fulfilled lease: how its value is stored; NULL: by the call */
    cellar_breaker *breaker; /* breaker of the open pass; NULL: none */
    uint32_t pass;
    bool no_disk;          /* fallback result: never written to disk */
    cellar_err returned;   /* result of the loader */
    cellar_buf buf;        /* of cellar_load_buf; its load is set while it is used */
    uint64_t ns;           /* run time of the loader, ns */
    cellar_loader_many_fn many; /* bulk loader: items instead of one result */
    void *many_ctx;
    const cellar_bytes *keys;
    cache_item *item;
    size_t item_count;
};

/* End a flight without an outcome: waiters look again, or take over. */
BASE_INLINE void cache_flight_cancel(flight_table *t, flight *f)
{
    flight_end(t, f, &FLIGHT_HANDS_OVER);
}

#endif
