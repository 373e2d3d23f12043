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
    uint32_t tag_count;
    uint64_t fps[CELLAR_TAGS_MAX];
    cellar_breaker *breaker; /* breaker of the open pass; NULL: none */
    uint32_t pass;
    bool no_disk;          /* fallback result: never written to disk */
    bool unrecorded;       /* its reads were not recorded: not stored */
    cache_run *run;        /* record of its reads; NULL: none */
    flight *noted;         /* innermost led flight, which keeps the record while the loader runs */
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
/* Check the length of one result. */
CELLAR_PRIVATE cellar_err cache_load_room(const cellar *c, const void *value, size_t value_len);
/* End the load with `err`, because writing its result failed. */
CELLAR_PRIVATE void cache_load_trouble(struct cellar_load *ld, cellar_err err);

/* ---- load_call.c ---- */
/* Report the breaker pass of a lost lease. */
CELLAR_PRIVATE void cache_lease_lost(void *ctx, uint32_t generation, uint64_t note);
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
CELLAR_PRIVATE cellar_err cache_call_out(cache_call *call, cellar_result *out);
CELLAR_PRIVATE void cache_call_count(cache_call *call);
/* Return the flights of the store, created at the first load. Return NULL if no memory is left. */
CELLAR_PRIVATE flight_table *cache_flights(cache_store *s);
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

/* ---- load.c ---- */
/* Begin a round: look, and answer if the look suffices. Return true if the call is answered.
 * `notes`: record the read for a loader of this thread. */
CELLAR_PRIVATE bool cache_look_round(cache_call *call, bool notes);

/* ---- load_wait.c ---- */
CELLAR_PRIVATE void cache_ask(const cache_call *call, flight_kind kind, flight_ask *ask);
CELLAR_PRIVATE cellar_err cache_entry_failed(cache_call *call, flight_entry entry);
/* Wait for a joined flight. Return true if the call is answered, false: look again. */
CELLAR_PRIVATE bool cache_join(cache_call *call, flight_table *t, flight *f, uint64_t epoch);
/* Handle a failure of another flight, or a remembered one (source ERROR_ENTRY). `asked`: fallbacks
 * that the leader of that flight tried. Return true if the call is answered. False: run the own
 * fallbacks as leader of a flight (call->instead). */
CELLAR_PRIVATE bool cache_failure_heard(cache_call *call, cellar_err err, uint32_t source,
                                        uint32_t asked);
/* Answer with the stale value, the default value or the error, if no source could be asked in
 * time. */
CELLAR_PRIVATE cellar_err cache_answer_in_vain(cache_call *call, cellar_err err);
CELLAR_PRIVATE bool cache_has_stale(const cache_call *call);
/* Copy the default value. Return NULL if there is none or no memory is left. */
CELLAR_PRIVATE flight_bytes *cache_default_value(const cache_call *call);
/* Return a mix of the fallback functions, without ctx, which may differ per caller. 0: none. */
CELLAR_PRIVATE uint32_t cache_fallbacks_of(const cellar_load_opts *o);

/* ---- load_guard.c ---- */
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
/* Return whether the error concerns this call, not the source. */
CELLAR_PRIVATE bool cache_error_is_ours(int32_t code);

/* ---- load_publish.c ---- */
/* Store for the flight of ld. Record a failure in the flags of the outcome. */
CELLAR_PRIVATE cellar_err cache_publish(struct cellar_load *ld, l1_put_spec *p, flight_outcome *o);
/* Store the loaded value and fill the outcome, which owns `value` then. */
CELLAR_PRIVATE void cache_publish_value(struct cellar_load *ld, flight_bytes *value,
                                        flight_outcome *o);
CELLAR_PRIVATE void cache_publish_none(struct cellar_load *ld, flight_outcome *o);
/* Renew the old value: in place, or from our copy if it was evicted meanwhile. Do not store the
 * copy if it had tags, one of which may have ended it, or dependencies, which may be forgotten with
 * the entry. */
CELLAR_PRIVATE void cache_publish_same(struct cellar_load *ld, flight_outcome *o);
CELLAR_PRIVATE void cache_publish_failed(struct cellar_load *ld, cellar_err err, int32_t loader_err,
                                         flight_outcome *o);
/* Remember the failure: on the value in L1, else in an entry of its own. */
CELLAR_PRIVATE void cache_keep_failure(struct cellar_load *ld, int32_t loader_err,
                                       flight_outcome *o);
/* Mark the outcome as tagged if the entry found in L1 has tags. */
CELLAR_PRIVATE void cache_outcome_found(const cache_call *call, flight_outcome *o);
/* Answer the leader with the result in the outcome. */
CELLAR_PRIVATE void cache_answer_loaded(struct cellar_load *ld, flight_outcome *o);

/* ---- load_run.c ---- */
CELLAR_PRIVATE void cache_run_loader(struct cellar_load *ld);
/* Record the reads of the loader for `keys` keys, if the namespace tracks them. `f` is the
 * innermost led flight. */
CELLAR_PRIVATE void cache_record_begin(struct cellar_load *ld, flight *f, size_t keys);
CELLAR_PRIVATE void cache_record_end(struct cellar_load *ld);

/* ---- load_leader.c ---- */
/* Lead the flight: second look, tier, loader, store. Its ref is gone afterwards. */
CELLAR_PRIVATE void cache_lead(cache_call *call, flight_table *t, flight *f);
/* Look into the tier, unless there is none, the call excludes it, or the key changes now. Return
 * true if that answers the call; `o` is for the waiters. */
CELLAR_PRIVATE bool cache_tier_look(cache_call *call, flight_outcome *o);
/* Look a second time. Return true if that answers the call; `o` is for the waiters. */
CELLAR_PRIVATE bool cache_second_look(cache_call *call, flight *f, flight_outcome *o);

/* ---- load_fallback.c ---- */
/* Answer a failed loader with a fallback, else with the failure. */
CELLAR_PRIVATE void cache_lead_failed(struct cellar_load *ld, cellar_err err, int32_t loader_err,
                                      flight_outcome *o);
/* Answer without the loader: the breaker is open, or call->instead. */
CELLAR_PRIVATE void cache_guard_refused(struct cellar_load *ld, flight_outcome *o);

/* ---- dependencies.c ---- */
/* Begin to record the reads of a loader for `keys` keys, which follow one by one. Return NULL if no
 * memory is left. */
CELLAR_PRIVATE cache_run *cache_run_begin(cellar *c, size_t keys);
CELLAR_PRIVATE void cache_run_for(cache_run *r, const l1_key *k);
CELLAR_PRIVATE void cache_run_free(void *run);
/* Return whether the result may be stored. */
CELLAR_PRIVATE bool cache_run_sound(const cache_run *r, int64_t now_ms);
CELLAR_PRIVATE int64_t cache_run_until(const cache_run *r);
CELLAR_PRIVATE bool cache_run_has_read(const cache_run *r);
/* Add the tags of the keys read. Return the number of tags. */
CELLAR_PRIVATE uint32_t cache_run_tags(cache_run *r, uint64_t *fps, uint32_t count);
/* Update the deadlines and edges of the key, before and after its result is stored. `same`: the
 * value and its dependencies stayed. */
CELLAR_PRIVATE void cache_run_stores(cache_run *r, const l1_key *k);
CELLAR_PRIVATE void cache_run_stored(cache_run *r, const l1_key *k, bool same);

/* ---- buf.c ---- */
#define CACHE_BUF_INLINE 512u
/* Start a buffer. `room` has CACHE_BUF_INLINE bytes and outlives the buffer. */
CELLAR_PRIVATE void cache_buf_init(cellar_buf *b, cache_store *s, unsigned char *room);
CELLAR_PRIVATE void cache_buf_fini(cellar_buf *b);
/* Make room for `len` bytes in all; keep the present ones. */
CELLAR_PRIVATE cellar_err cache_buf_grow(cellar_buf *b, size_t len);

/* ---- update.c ---- */
/* Copy the live value. Return OK, MISS, or the error of the read. */
CELLAR_PRIVATE cellar_err cache_update_read(cellar *c, const l1_key *k, cellar_buf *old,
                                            l1_info *info);
/* Remove the entry that `info` and `old` describe, if it is unchanged. */
CELLAR_PRIVATE cellar_err cache_remove_same(cellar *c, l1_key *k, const l1_info *info,
                                            const cellar_buf *old, uint64_t if_version);

/* ---- job.c ---- */
CELLAR_PRIVATE void cache_job_free(cache_store *s, cache_job *j);
CELLAR_PRIVATE cache_job *cache_job_new(const cache_call *call, flight *f);
/* Return whether the loader of this call may run after the call. */
CELLAR_PRIVATE bool cache_background(const cache_call *call);

/* ---- refresh.c ---- */
/* Queue a refresh, unless one runs already or the queue is full. */
CELLAR_PRIVATE void cache_refresh_later(cache_call *call, flight_table *t);
CELLAR_PRIVATE bool cache_is_early(cache_call *call);

#endif
