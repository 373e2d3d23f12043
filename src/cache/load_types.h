/* SPDX-License-Identifier: MIT
 *
 * load_types: one read through the cache, as load*.c, lease.c and refresh.c see it.
 *
 * PICTURE    options -> cache_load_plan      one call -> cache_call (its look at L1, its wait)
 *            -> a flight led or joined -> cellar_load (results of the loader) -> outcome */
#ifndef CACHE_LOAD_TYPES_H
#define CACHE_LOAD_TYPES_H

#include "cache/types.h"
#include "load/flight.h"

typedef struct cache_load_plan { /* merged options of call, namespace and store */
    int64_t ttl_ms, negative_ttl_ms; /* ms; BASE_NEVER_MS: none */
    int64_t error_ttl_ms, error_max_ms; /* ms; 0: errors are not kept */
    int64_t stale_ms, retry_throttle_ms, soft_timeout_ms, hard_timeout_ms, wait_timeout_ms,
        fallback_ttl_ms;
    uint32_t jitter_pct, jitter_mode, handovers, takeovers;
    uint32_t eager_refresh_pct, xfetch; /* 0: off */
    uint32_t flags;
    bool no_negative, no_wait;
    cellar_breaker *breaker;         /* NULL: none */
} cache_load_plan;

typedef struct cache_call { /* one call; on the stack of the caller, or beside a job */
    cellar *c;
    l1_key k;
    const cellar_load_opts *o;  /* converted to the size of this library; NULL: none */
    cache_load_plan p;
    cellar_loader_fn fn;
    void *ctx;
    cache_job *job;             /* background job; NULL: call of a thread */
    bool namespace_loader;           /* fn and ctx belong to the namespace */
    bool only_join;             /* soft wait: the call never leads */
    bool audit;                 /* the filter said "never": this load checks it */
    bool instead;               /* the source failed recently or in the joined flight: */
                                /* run the fallbacks instead of the loader; */
    cellar_err failed;          /* answer if the fallbacks bring nothing */
    int64_t hold_ms;            /* earliest end of what is stored now, ms; 0: any */
    int cancel;                 /* cancel state of the caller, for the loader */
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
    uint64_t identity, old_identity; /* cache_deps_identity of the answer, and of `old` */
    uint64_t deps_epoch, looked; /* of dependencies: at the last enter; before the last look */
    uint64_t load_us;
    uint32_t user_flags;
} cache_call;

struct cache_job { /* a background load */
    cache_job *next;      /* QUEUE */
    flight *f;            /* one ref; NULL in a forked child: the flight belongs to the parent */
    cellar *namespace;    /* one ref */
    cache_load_plan p;
    cellar_loader_fn fn;
    void *ctx;
    void (*release)(void *ctx);
    int64_t seen_ms;      /* early refresh: deadline of the entry, ms; else -1 */
    uint64_t copy[CELLAR_LOAD_CTX_MAX / 8]; /* copy of ctx */
};

typedef struct cache_run cache_run;

enum { CACHE_REPORTED_NOTHING, CACHE_REPORTED_VALUE, CACHE_REPORTED_NONE, CACHE_REPORTED_SAME };

typedef struct cache_item { /* result of a bulk loader for one key */
    flight_bytes *value;
    uint8_t said;
    bool twice;
    int32_t loader_err;    /* not 0: failed */
    cellar_err setter_err; /* error of a setter */
} cache_item;

struct cellar_buf { /* buffer of an update (charged to the store) or of a load (not charged) */
    cache_store *store;
    unsigned char *bytes;     /* own block, or `room` */
    unsigned char *room;      /* update: bytes on its stack */
    size_t len, cap;
    cellar_err failed;        /* first failure; ends the update or load */
    struct cellar_load *load; /* NULL: update; else its value holds the bytes */
};

struct cellar_load { /* results of the loader; on the stack of the leader */
    cache_call *call;
    flight_table *t;
    flight *f;
    void (*left)(struct cellar_load *ld); /* called if the thread ends inside the loader */
    void *host; /* for `left` and `lost`: bytes that belong to the load, or a whole bulk */
    void (*lost)(flight_will *will); /* NULL: load of one key */
    flight_bytes *value;   /* also kept as draft of the flight */
    uint8_t said;
    bool twice, no_store, failed;
    bool has_ttl, has_negative, has_stale;
    cellar_err setter_err; /* error of a setter: E_TOOBIG, E_NOMEM */
    int32_t loader_err;
    uint32_t fail_flags, cost_us, user_flags;
    int64_t retry_after_ms;
    int64_t ttl_ms, negative_ttl_ms, stale_ms;
    uint32_t tag_count, list_count; /* tags of the user; with dependencies */
    uint64_t tag_born;
    uint64_t fps[BASE_TAGS_MAX];
    cellar_breaker *breaker; /* breaker of the open pass; NULL: none */
    uint32_t pass;
    bool no_disk;          /* fallback result: never written to disk */
    bool unrecorded;       /* its reads were not recorded: not stored */
    cache_run *run;        /* record of its reads; NULL: none; its flights own it */
    flight *noted;         /* innermost led flight */
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
    static const flight_outcome cancelled = { .phase = FLIGHT_CANCELLED };
    flight_end(t, f, &cancelled);
}

#endif
