/* SPDX-License-Identifier: MIT
 *
 * load_int: one read through the cache, as load*.c, lease.c and refresh.c see it.
 *
 * PICTURE    options -> cache_load_plan      one call -> cache_call (its look at L1, its wait)
 *            -> a flight led or joined -> cellar_load (results of the loader) -> outcome */
#ifndef CACHE_LOAD_INT_H
#define CACHE_LOAD_INT_H

#include "cache/cache_int.h"
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
    uint64_t tag_born, old_born; /* of the tags of the answer, and of `old`; 0: none */
    uint64_t load_us;
    uint32_t user_flags;
} cache_call;

typedef struct cache_run cache_run;

enum { CACHE_SAID_NOTHING, CACHE_SAID_VALUE, CACHE_SAID_NONE, CACHE_SAID_SAME };

typedef struct cache_item { /* result of a bulk loader for one key */
    flight_bytes *value;
    uint8_t said;
    bool twice;
    int32_t loader_err;    /* not 0: failed */
    cellar_err trouble;    /* error of a setter */
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
    cellar_err trouble;    /* error of a setter: E_TOOBIG, E_NOMEM */
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

/* ---- load_plan.c ---- */
/* Check the options and fill the plan. If the struct of the caller has another size, *o becomes
 * `full`. */
CELLAR_PRIVATE cellar_err cache_load_plan_make(cellar *c, const cellar_load_opts **o,
                                               cellar_load_opts *full, cache_load_plan *p);
/* Return whether the options have a fallback or a default value. */
CELLAR_PRIVATE bool cache_load_has_instead(const cellar_load_opts *o);
CELLAR_PRIVATE int64_t cache_load_own(int64_t call, const _Atomic int64_t *namespace, int64_t rest);

/* ---- loader_api.c ---- */
/* End the load with `err`, because writing its result failed. */
CELLAR_PRIVATE void cache_load_trouble(struct cellar_load *ld, cellar_err err);

/* ---- load.c ---- */
CELLAR_PRIVATE void cache_call_begin(cache_call *call, cellar *c, const void *key, size_t key_len);
/* Look into L1. Return OK (call->early: refresh?), STALE, ABSENT, E_LOADER (remembered error, no
 * retry yet), MISS, E_NOMEM or E_LIMIT. With OK and STALE call->old is set. */
CELLAR_PRIVATE cellar_err cache_look(cache_call *call);
/* Answer with the value in `old`. */
CELLAR_PRIVATE void cache_answer_old(cache_call *call, uint32_t source);
CELLAR_PRIVATE cellar_err cache_answer(cache_call *call, cellar_err code, uint32_t source);
/* Answer a failure: with the stale value, if the call has one. */
CELLAR_PRIVATE cellar_err cache_answer_failed(cache_call *call, cellar_err code);
CELLAR_PRIVATE void cache_call_forget(cache_call *call); /* drops `old` */
CELLAR_PRIVATE bool cache_result_bad(const cellar_result *out);
/* Begin a round: look, and answer if the look suffices. Return true if the call is answered.
 * `notes`: record the read for a loader of this thread. */
CELLAR_PRIVATE bool cache_look_round(cache_call *call, bool notes);
CELLAR_PRIVATE cellar_err cache_call_out(cache_call *call, cellar_result *out);
CELLAR_PRIVATE void cache_call_count(cache_call *call);
CELLAR_PRIVATE flight_table *cache_flights(cache_store *s); /* created at the first load; NULL:
                                                             * no memory */
CELLAR_PRIVATE void cache_ask(const cache_call *call, flight_kind kind, flight_ask *ask);
CELLAR_PRIVATE cellar_err cache_entry_failed(cache_call *call, flight_entry entry);
/* Wait for a joined flight. Return true if the call is answered, false: look again. */
CELLAR_PRIVATE bool cache_join(cache_call *call, flight_table *t, flight *f, uint64_t epoch);
CELLAR_PRIVATE bool cache_load_begin(cellar *c); /* false: the store closes */
CELLAR_PRIVATE void cache_load_end(cellar *c);
CELLAR_PRIVATE uint32_t cache_loads_mine(const cache_store *s); /* running calls of this thread */
CELLAR_PRIVATE cellar_err cache_load_refuse(cellar *c, const char *why);

/* Fill the result of a plain hit: only the bytes are known. */
BASE_ALWAYS_INLINE void cache_hit_out(cellar_result *out, size_t len)
{
    out->value = out->buf;
    out->value_len = len;
    out->source = CELLAR_SOURCE_L1;
    out->flags = 0;
    out->user_flags = 0;
    out->loader_err = 0;
    out->age_ms = out->ttl_left_ms = -1;
    out->retry_after_ms = 0;
    out->version = 0;
    out->load_us = 0;
    out->opaque[0] = 0;
}

/* ---- load_leader.c ---- */
/* Lead the flight: second look, tier, loader, store. Its ref is gone afterwards. */
CELLAR_PRIVATE void cache_lead(cache_call *call, flight_table *t, flight *f);
/* Look into the tier, unless there is none, the call excludes it, or the key changes now. Return
 * true if that answers the call; `o` is for the waiters. */
CELLAR_PRIVATE bool cache_tier_look(cache_call *call, flight_outcome *o);
/* Look a second time. Return true if that answers the call; `o` is for the waiters. */
CELLAR_PRIVATE bool cache_second_look(cache_call *call, flight *f, flight_outcome *o);
/* Store for the flight of ld. Record a failure in the flags of the outcome. */
CELLAR_PRIVATE cellar_err cache_publish(struct cellar_load *ld, l1_put_spec *p, flight_outcome *o);
/* Store the loaded value and fill the outcome, which owns `value` then. */
CELLAR_PRIVATE void cache_publish_value(struct cellar_load *ld, flight_bytes *value,
                                        flight_outcome *o);
CELLAR_PRIVATE void cache_publish_none(struct cellar_load *ld, flight_outcome *o);
CELLAR_PRIVATE void cache_publish_failed(struct cellar_load *ld, cellar_err err, int32_t loader_err,
                                         flight_outcome *o);
/* Answer a failed loader with a fallback, else with the failure. */
CELLAR_PRIVATE void cache_lead_failed(struct cellar_load *ld, cellar_err err, int32_t loader_err,
                                      flight_outcome *o);
CELLAR_PRIVATE void cache_run_loader(struct cellar_load *ld);
/* Answer the leader with the result in the outcome. */
CELLAR_PRIVATE void cache_answer_loaded(struct cellar_load *ld, flight_outcome *o);
/* Check the length of one result. */
CELLAR_PRIVATE cellar_err cache_load_room(const cellar *c, const void *value, size_t value_len);

/* Return whether the error concerns this call, not the source. */
CELLAR_PRIVATE bool cache_error_is_ours(int32_t code);

/* ---- load_fallback.c ---- */
/* Answer if the filter says that the source never had the key. Return true if the call is
 * answered. */
CELLAR_PRIVATE bool cache_filter_answers(cache_call *call);
/* Try the plain hit of a namespace with a filter. Return true with *err if the call is answered.
 * *audit: the load checks the filter. */
CELLAR_PRIVATE bool cache_guarded_hit(cellar *c, const void *key, size_t key_len,
                                      cellar_result *out, cellar_err *err, bool *audit);
/* Ask the breaker whether the loader may run. Report its verdict once. */
CELLAR_PRIVATE bool cache_guard_admit(struct cellar_load *ld);
CELLAR_PRIVATE void cache_guard_report(struct cellar_load *ld, cellar_err verdict);
/* Answer without the loader: the breaker is open, or call->instead. */
CELLAR_PRIVATE void cache_guard_refused(struct cellar_load *ld, flight_outcome *o);
/* Answer with a fallback or the default value, if there is no stale value. Return true if the call
 * is answered. */
CELLAR_PRIVATE bool cache_fallbacks(struct cellar_load *ld, flight_outcome *o);
/* Handle a failure of another flight, or a remembered one (source ERROR_ENTRY). `asked`: fallbacks
 * that the leader of that flight tried. Return true if the call is answered. False: run the own
 * fallbacks as leader of a flight (call->instead). */
CELLAR_PRIVATE bool cache_failure_heard(cache_call *call, cellar_err err, uint32_t source,
                                        uint32_t asked);
/* Answer with the stale value, the default value or the error, if no source could be asked in
 * time. */
CELLAR_PRIVATE cellar_err cache_answer_in_vain(cache_call *call, cellar_err err);

/* ---- dependencies.c ---- */
/* Begin to record the reads of a loader. Return NULL if no memory is left. */
CELLAR_PRIVATE cache_run *cache_run_begin(cellar *c);
/* Return the run with one more ref, for flight_notes_set; cache_run_drop drops it. */
CELLAR_PRIVATE void *cache_run_share(cache_run *r);
CELLAR_PRIVATE void cache_run_drop(void *run);
CELLAR_PRIVATE void cache_run_reads(cache_run *r, bool open); /* the loader begins, or returned */
CELLAR_PRIVATE int64_t cache_run_until(const cache_run *r);
/* Return whether a call since `epoch` may use the result: no tag changed that was noted before. */
CELLAR_PRIVATE bool cache_run_fits(const cache_run *r, uint64_t epoch);
/* Add the dependencies of bytes that the loader found not modified. */
CELLAR_PRIVATE void cache_run_keeps(cache_run *r, const uint64_t *tags, uint32_t count,
                                    uint64_t born);
typedef enum cache_run_verdict {
    CACHE_RUN_SOUND,   /* the tags are complete in the load */
    CACHE_RUN_UNSOUND, /* a read was not recorded, or has expired: the result is not stored */
    CACHE_RUN_ENDED    /* a key that was read has changed: the same */
} cache_run_verdict;
/* Add the tags of the keys read to those of the load. */
CELLAR_PRIVATE cache_run_verdict cache_run_settle(cache_run *r, struct cellar_load *ld);
/* Record the read of a key that this call answers. */
CELLAR_PRIVATE void cache_call_seen(cache_call *call);

/* ---- load_leader.c, too ---- */
/* Record the reads of the loader in a run of the flight, if the namespace tracks them. */
CELLAR_PRIVATE void cache_record_begin(struct cellar_load *ld, flight *f);

/* ---- lease.c ---- */
/* Report the breaker pass of a lost lease. */
CELLAR_PRIVATE void cache_lease_lost(void *ctx, uint32_t generation, uint64_t note);

/* ---- refresh.c ---- */
/* Return whether the loader of this call may run after the call. */
CELLAR_PRIVATE bool cache_background(const cache_call *call);
/* Queue a refresh, unless one runs already or the queue is full. */
CELLAR_PRIVATE void cache_refresh_later(cache_call *call, flight_table *t);
CELLAR_PRIVATE bool cache_is_early(cache_call *call);
CELLAR_PRIVATE void cache_job_left(cache_call *call);

#endif
