/* SPDX-License-Identifier: MIT
 *
 * loading: one read through the cache, as the files of this module see it.
 *
 * PICTURE    options -> cache_load_plan      one call -> cache_call {state, flight, answer}
 *            led flight -> cellar_load (results of the loader) -> answer of the call -> outcome of
 *            the flight
 * STATES     README.md */
#ifndef LOADING_LOADING_H
#define LOADING_LOADING_H

#include "cache/call.h"
#include "cache/lookup.h"
#include "cache/proof.h"
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

/* State of a call. Each state before ANSWERED has one component that moves the call on. */
typedef enum cache_state {
    CACHE_CALL_LOOKS,     /* the call: at its begin, or again after a loss */
    CACHE_CALL_LEADS,     /* the call: it has attached its flight, and nothing has the value */
    CACHE_CALL_JOINED,    /* the leader of the flight */
    CACHE_CALL_ELSEWHERE, /* another process that has the lease of the shared tier */
    CACHE_CALL_ANSWERED
} cache_state;

typedef struct cache_call { /* one call; on the stack of the caller, or in a bulk load */
    cache_state state;
    int cancel;                 /* cancel state of the caller, for the loader */
    flight *f;                  /* LEADS, JOINED: one ref */
    flight_table *t;            /* NULL: no memory for it */
    cellar_loader_fn fn;
    void *ctx;
    cache_job *job;             /* background job; NULL: call of a thread */
    bool entered;               /* counted in `loading`; cancellation is off */
    bool namespace_loader;      /* fn and ctx belong to the namespace */
    bool asks;                  /* the tier answers later: never wait for it */
    bool only_join;             /* soft wait: the call never leads */
    bool soft_over;             /* the soft wait has ended */
    bool no_retry;              /* the next failure is the answer */
    bool recurses;              /* the call joins no other load: CELLAR_LOAD_RECURSE */
    bool audit;                 /* the filter said "never": this load checks it */
    bool unsure;                /* the shared tier may have a value: that of the load is not kept */
    bool leased;                /* the call holds `lease` of the shared tier */
    bool instead;               /* the source failed recently or in the joined flight: */
                                /* run the fallbacks instead of the loader; */
    bool old_current;           /* L1 had `old` at the second look */
    bool early;                 /* `old` is fresh */
    uint8_t fails;              /* failures in a row of the remembered error */
    cellar_err failed;          /* LEADS: error of its flight; of `instead` before */
    uint32_t failures, losses;  /* joined flights that failed, or ended without outcome */
    flight_bytes *old;          /* value found: stale, or fresh with an early refresh */
    int64_t hold_ms;            /* earliest end of what is stored now, ms; 0: any */
    int64_t now_ms;             /* time of the last look that found an entry, or of the first one */
    int64_t patience_ms;        /* end of the wait, ms; 0 before the first wait */
    int64_t soft_at_ms;         /* the same with a stale value */
    uint64_t until_ns;          /* with WAIT_DISK: of cache_disk_waits */
    flight_bytes *value;        /* with OK and STALE; one ref */
    uint32_t source, result_flags;
    int32_t loader_err;
    uint32_t user_flags;
    int64_t retry_at_ms;        /* unknown: 0 */
    uint64_t load_us;
    uint64_t order;             /* of the reply of the shared tier, or of the fill; 0: none */
    /* all above is 0 at the begin */
    cellar *c;
    const cache_load_plan *p;
    const void *key;            /* bytes of the caller; while it leads, k has those of the flight */
    l1_key k;
    cellar_err code;            /* answer of the call */
    int64_t deadline_ms, born_ms; /* unknown: BASE_NEVER_MS, -1 */
    /* all below is not set at the begin */
    uint32_t flags;             /* LEADS: FLIGHT_... of its outcome */
    uint32_t asked;             /* LEADS: mix of the fallbacks that failed, too */
    uint64_t tag_epoch;         /* of tags, at the last enter */
    uint64_t least;             /* JOINED: a smaller number is of an older state */
    uint64_t changes;           /* ELSEWHERE: of the stamp of the key, before the request */
    int64_t until_ms;           /* ELSEWHERE: end of the wait */
    size_t at;                  /* of a bulk load: index in the array of the caller */
    l1_info found;              /* entry of the last look; undefined after MISS */
    cellar_tier_lease lease;    /* if `leased` */
} cache_call;

struct cache_job { /* a background load */
    base_job queued;
    flight *f;            /* one ref */
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
    bool failed;           /* with the next three: as given to cellar_load_fail */
    int32_t loader_err;
    uint32_t fail_flags;
    int64_t retry_after_ms;
    cellar_err setter_err; /* error of a setter: E_TOOBIG, E_NOMEM */
    /* of a key of a bulk loader: */
    flight_bytes *opts;    /* a cache_result_opts; NULL: those of the whole load. In `r` of that
                            * load: texts of its tags */
    cache_call *call;
} cache_item;

typedef struct cache_result_opts { /* how a result is stored: of the plan, else of the loader */
    int64_t ttl_ms, negative_ttl_ms, stale_ms;
    bool no_store;
    uint8_t own;                  /* CACHE_GIVEN_...: times that the call or its loader sets */
    uint32_t cost_us, user_flags, tag_count;
    uint64_t weight_bytes;
    const cellar_bytes *tag_text; /* texts of the tags, kept by flight or load; NULL: not known */
    uint64_t fps[BASE_TAGS_MAX];  /* tag_count of them are set */
} cache_result_opts;

/* Take the times of the plan. The other options are 0 before. */
BASE_INLINE void cache_load_opts_begin(cache_result_opts *opts, const cache_load_plan *p)
{
    opts->ttl_ms = p->ttl_ms;
    opts->negative_ttl_ms = p->negative_ttl_ms;
    opts->stale_ms = p->stale_ms;
    opts->own = p->own;
}

struct cellar_buf { /* buffer of an update (charged to the store) or of a load (not charged) */
    cache_store *store;
    unsigned char *bytes;     /* own block, or `room` */
    unsigned char *room;      /* update: bytes on its stack */
    size_t len, cap;
    size_t refused;           /* length that is over max_value_bytes; 0: none */
    cellar_err failed;        /* first failure; ends the update or load */
    struct cellar_load *load; /* NULL: update; else its result holds the bytes */
};

struct cellar_load { /* a led flight and the results of its loader; on the stack of the leader */
    cache_call *call;
    void (*left)(struct cellar_load *ld); /* called if the thread ends inside the loader */
    void *bulk;            /* for `left`: the whole bulk load */
    bool led;              /* the flight is begun with flight_lead_begin */
    bool refused;          /* the loader may not run: by the breaker, or call->instead */
    cache_item r;          /* of a bulk loader: the failure of all keys without a report */
    struct cache_plan *given; /* fulfilled lease: how its value is stored; NULL: by the call */
    cellar_breaker *breaker; /* breaker of the open pass; NULL: none */
    uint32_t pass;
    bool no_disk;          /* fallback result: never written to disk */
    cellar_err returned;   /* result of the loader */
    cellar_buf buf;        /* of cellar_load_buf; its load is set while it is used */
    uint64_t ns;           /* run time of the loader, ns */
    int64_t left_ms;       /* longest life of the value with its stale window, ms; 0: any */
    cellar_loader_many_fn many; /* bulk loader: items instead of one result */
    void *many_ctx;
    const cellar_bytes *keys;
    cache_item *item;
    size_t item_count;
    cache_item *at;        /* selected item; NULL: none, or a loader of one key */
    cache_result_opts opts; /* last: its last field is not set at the begin */
};

/* ---- load.c, lease.c: what calls of bytes and of objects share ---- */

CELLAR_PRIVATE cellar_err cache_load_call(cellar *c, const void *key, size_t key_len,
                                          const cellar_load_opts *o, cellar_loader_fn fn,
                                          void *ctx, bool audit, cellar_result *out);
/* Acquire a lease; the arguments are checked. */
CELLAR_PRIVATE cellar_err cache_lease_begin(cellar *c, const void *key, size_t key_len,
                                            const cellar_load_opts *o,
                                            const cellar_subscriber *waiter, cellar_lease *lease,
                                            cellar_result *out);
/* Fulfill a lease with a value, or with the bytes of an object; *object is NULL if the lease has
 * them. failed: there is neither; the lease is released with that code. */
CELLAR_PRIVATE cellar_err cache_lease_end(cellar *c, cellar_lease *lease, const void *value,
                                          size_t value_len, flight_bytes **object,
                                          cellar_err failed, const cellar_set_opts *o);

/* ---- loader_api.c ---- */

/* Bound the life of the value with its stale window, whatever sets these times. For a loader of one
 * key. */
BASE_SPARE CELLAR_PRIVATE void cache_load_bound(cellar_load *load, int64_t left_ms);

/* ---- load_plan.c ---- */

#define CACHE_RECURSE_MAX 1000u /* with CELLAR_LOAD_RECURSE, in place of FLIGHT_DEPTH_MAX */

/* Return the name of a call: `of` a namespace of bytes, or of one of objects. */
BASE_INLINE const char *cache_call_name(const cellar *c, const char *const *of)
{
    return of[c->object_class != UINT32_MAX];
}
/* Check the options (NULL: none) of a call and fill the plan. */
CELLAR_PRIVATE cellar_err cache_load_plan_make(cellar *c, const cellar_load_opts *o,
                                               const char *const *calls, cache_load_plan *p);
/* Return true only for options that are valid and have no effect on a hit of a plain record, but
 * CELLAR_LOAD_PIN. NULL: true. False proves nothing. */
CELLAR_PRIVATE bool cache_load_opts_are_easy(const cellar *c, const cellar_load_opts *o);
/* Return whether values are refreshed before they expire. */
BASE_INLINE bool cache_load_early(const cache_load_plan *p)
{
    return (p->n[CACHE_EAGER] | p->n[CACHE_XFETCH]) != 0;
}
/* Return the number of loads in each other from which on a load is refused. */
BASE_INLINE uint32_t cache_depth_most(const cache_load_plan *p)
{
    return (p->flags & CELLAR_LOAD_RECURSE) != 0 ? CACHE_RECURSE_MAX : FLIGHT_DEPTH_MAX;
}
/* Return a mix of the fallback functions, without ctx, which may differ per caller. 0: none. */
CELLAR_PRIVATE uint32_t cache_fallbacks_of(const cache_load_plan *p);

/* ---- loader_api.c ---- */

/* Make bytes of a load from a cell: they have its count. NULL: no memory. */
CELLAR_PRIVATE flight_bytes *cache_cell_bytes(cache_store *s, l1_cell *b, size_t charge);
/* Report an object as the result of a loader, and take it over. */
CELLAR_PRIVATE cellar_err cache_report_object(struct cellar_load *ld, void *object, size_t charge);

/* End the load with `err`, because writing its result failed. */
CELLAR_PRIVATE void cache_load_setter_failed(struct cellar_load *ld, cellar_err err);
/* Return the result of the loader; of a bulk loader that of the selected key, or NULL. */
CELLAR_PRIVATE cache_item *cache_result_of(struct cellar_load *ld);
/* Record a second result of a key: drop both. Return E_RESULT_TWICE. */
CELLAR_PRIVATE cellar_err cache_load_twice(struct cellar_load *ld);
/* Return whether the result is the buffer of cellar_load_buf. */
CELLAR_PRIVATE bool cache_load_has_buf(struct cellar_load *ld);

typedef struct cache_kept { /* options of acquire; trace and bytes of the default value follow */
    cache_load_plan p;
    cellar_bytes value;
    bool unsure, leased;     /* as in the call */
    cellar_tier_lease lease;
} cache_kept;

/* Return what acquire kept in the flight of its lease; NULL: nothing. */
BASE_INLINE const cache_kept *cache_kept_of(const flight *f)
{
    const flight_bytes *b = flight_kept(f);
    return b != NULL ? (const cache_kept *)(const void *)b->data : NULL;
}

/* ---- load_call.c: begin, enter, wait, answer ---- */

/* Return the flights of the store, created at the first load. Return NULL if no memory is left. */
CELLAR_PRIVATE flight_table *cache_flights(cache_store *s);
CELLAR_PRIVATE bool cache_load_begin(cellar *c); /* false: the store closes */
CELLAR_PRIVATE void cache_load_end(cache_store *s); /* s may be freed after it */
CELLAR_PRIVATE uint32_t cache_loads_mine(const cache_store *s); /* running calls of this thread */
/* Return whether a load that runs has to end: the handle is closed. A close of the store that may
 * still fail is not enough. */
BASE_INLINE bool cache_load_ends(const cellar *c)
{
    const uint32_t state = base_load_acq(&c->state);
    return (state & CACHE_CLOSED) != 0 &&
           ((state & CACHE_ENDING) == 0 || base_load_sc(&c->store->loads_end));
}
CELLAR_PRIVATE void cache_call_begin(cache_call *call, cellar *c, const cache_load_plan *p,
                                     const void *key, size_t key_len);
/* Begin a call that leads the flight `f`. A clear may have ended its generation. */
CELLAR_PRIVATE void cache_call_of(cache_call *call, cellar *c, const cache_load_plan *p, flight *f);
/* Count the call in `loading`, without cancellation until its end. Return false if the store
 * closes. Without memory for flights the call is answered. */
CELLAR_PRIVATE bool cache_call_enter(cache_call *call);
/* Fill the result, count the call, and record its read. Return its answer. */
CELLAR_PRIVATE cellar_err cache_call_end(cache_call *call, cellar_result *out);
CELLAR_PRIVATE void cache_call_forget(cache_call *call); /* drops `old` */
/* size of the first cellar_result, version 0.2 */
#define CACHE_RESULT_BYTES_LEAST (offsetof(cellar_result, opaque) + 4 * sizeof(uint64_t))

/* Return whether the struct for the result does not fit this library. */
BASE_INLINE bool cache_result_bad(const cellar_result *out)
{
    return out == NULL || out->struct_size < CACHE_RESULT_BYTES_LEAST ||
           out->struct_size > BASE_OPTS_BYTES_MAX || (out->buf == NULL && out->buf_cap != 0);
}

/* Answer the call. */
CELLAR_PRIVATE void cache_answer(cache_call *call, cellar_err code, uint32_t source);
/* Answer with the value in `old`. */
CELLAR_PRIVATE void cache_answer_old(cache_call *call, uint32_t source);
/* Answer with the value in `b`, which the call owns then. NULL: negative. */
CELLAR_PRIVATE void cache_answer_value(cache_call *call, flight_bytes *b, int64_t deadline_ms,
                                       uint32_t source);
/* Answer a failure: with the stale value, if the call has one. */
CELLAR_PRIVATE void cache_answer_failed(cache_call *call, cellar_err code);
/* Answer a load in a loader that may not begin: E_DEADLOCK, E_DEPTH. */
CELLAR_PRIVATE void cache_answer_nested(cache_call *call, cellar_err code);
/* Answer with the stale value, the default value or the error, if no source could be asked in
 * time. */
CELLAR_PRIVATE void cache_answer_in_vain(cache_call *call, cellar_err err);
/* Handle a failure of another flight, or a remembered one (source ERROR_ENTRY). `asked`: fallbacks
 * that the leader of that flight tried. Return true if the call is answered. False: run the own
 * fallbacks as leader of a flight (call->instead). */
CELLAR_PRIVATE bool cache_failure_heard(cache_call *call, cellar_err err, uint32_t source,
                                        uint32_t asked);
/* Copy the default value. Return NULL if there is none or no memory is left. */
CELLAR_PRIVATE flight_bytes *cache_default_value(const cache_call *call);
BASE_INLINE bool cache_has_stale(const cache_call *call)
{
    return call->old != NULL && (call->p->flags & CELLAR_LOAD_REFRESH) == 0;
}

/* Enter the flight of the key. `join`: wait for another call; else `sub` subscribes to its end
 * (NULL: nothing does). With LED and JOINED call->f is set; the state stays. */
CELLAR_PRIVATE flight_entry cache_enter(cache_call *call, flight_kind kind, bool join,
                                        flight_sub *sub);
/* Return the CELLAR_RESULT_ flags of an outcome. */
BASE_INLINE uint32_t cache_result_flags(uint32_t outcome)
{
    return ((outcome & FLIGHT_NOT_STORED) != 0 ? CELLAR_RESULT_NOT_STORED : 0u) |
           ((outcome & FLIGHT_OVERTAKEN) != 0 ? CELLAR_RESULT_INVALIDATED : 0u) |
           ((outcome & FLIGHT_NOT_SHARED) != 0 ? CELLAR_RESULT_NOT_SHARED : 0u);
}
/* Return the end of the wait of this call, ms. */
CELLAR_PRIVATE int64_t cache_patience(cache_call *call);
/* Wait for the leader of a JOINED flight: ANSWERED, or LOOKS. */
CELLAR_PRIVATE void cache_join(cache_call *call);
/* End a led flight with the answer of the call for its waiters; `how`: OK, NONE or FAILED. */
CELLAR_PRIVATE void cache_release(cache_call *call, flight_phase how);
/* End a led flight without an outcome. The waiters look again, and the call is in `next`. */
CELLAR_PRIVATE void cache_hand_over(cache_call *call, cache_state next);

/* ---- load_look.c: what a call finds before its loader runs ---- */

#define CACHE_LOOK_TRY 512u /* bytes tried for a value of unknown length */

/* Answer a load with a plain hit, before its options become a plan. */
CELLAR_PRIVATE bool cache_hit_first(cellar *c, const void *key, size_t key_len,
                                    const cellar_load_opts *o, cellar_result *out);
/* Answer with a plain record, all fields of the result known. Return false for any other key; *out
 * is undefined then. */
CELLAR_PRIVATE bool cache_hit_known(cellar *c, const void *key, size_t key_len, cellar_result *out);
/* Try the plain hit of a namespace with a filter. Return true with *err if the call is answered.
 * *audit: the load checks the filter. */
CELLAR_PRIVATE bool cache_guarded_hit(cellar *c, const void *key, size_t key_len,
                                      cellar_result *out, cellar_err *err, bool *audit);
/* Return whether memory may answer, and reads are neither logged nor filtered. */
BASE_ALWAYS_INLINE bool cache_hits_plainly(const cellar *c)
{
    const uint32_t state = base_load_acq(&c->state);
    return state == 0 || (state == CACHE_PROOF && !cache_is_unproven(c));
}
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
/* Try a hit that is not plain. PENDING: only a call with a plan fills all fields of the result. */
CELLAR_PRIVATE cellar_err cache_hit_marked(cellar *c, const l1_key *k, size_t seen,
                                           cellar_result *out);
/* Try the plain hit of a key. `k` is set in any case. */
BASE_ALWAYS_INLINE cellar_err cache_hit_plain(cellar *c, l1_key *k, const void *key, size_t key_len,
                                              cellar_result *out)
{
    size_t len;
    cache_key(c, k, key, key_len);
    if (BASE_UNLIKELY(!l1_get_plain(c->l1, k, out->buf, out->buf_cap, &len))) {
        return cache_hit_marked(c, k, len, out);
    }
    cache_hit_out(out, len);
    stats_add(cache_mine(c), STATS_HIT_L1, 1);
    return CELLAR_OK;
}
/* Answer with a pinned value, and count the hit. */
CELLAR_PRIVATE void cache_pinned_out(cellar *c, const l1_pin_ref *ref, const l1_key *k,
                                     cellar_result *out);
/* Look into L1. Return OK (call->early: refresh?), STALE, ABSENT, E_LOADER (remembered error, no
 * retry yet), MISS, E_NOMEM or E_LIMIT. With OK and STALE call->old is set. */
CELLAR_PRIVATE cellar_err cache_look(cache_call *call);
/* Mark the outcome if the entry found in L1 has tags: it is not for callers after their end. */
BASE_INLINE void cache_found_tags(cache_call *call)
{
    if (call->found.tag_count != 0) { call->flags |= FLIGHT_TAGGED; }
}
/* Look, and answer if the look suffices: ANSWERED, or LOOKS. */
CELLAR_PRIVATE void cache_look_first(cache_call *call);
/* Acquire the flight of the key as cache_enter does. As leader look a second time and into the
 * tier: LEADS only if both have nothing. Else JOINED or ANSWERED, or LOOKS. */
CELLAR_PRIVATE flight_entry cache_acquire(cache_call *call, flight_kind kind, bool join,
                                          flight_sub *sub);
/* Look as the leader of a flight: LEADS only if nothing has the value, else ANSWERED. */
CELLAR_PRIVATE void cache_look_led(cache_call *call);
CELLAR_PRIVATE bool cache_tier_looks(const cache_call *call); /* the call may look into the tier */
/* Return whether the tier is asked before the loader runs: there is no old value, or one of a
 * shared namespace that became stale before its time, at a gap of the tier. */
CELLAR_PRIVATE bool cache_asks_tier(const cache_call *call);
/* Look into the tier, unless there is none, the call excludes it, or the key changes now. Return
 * the end of the flight if that answers the call; else LOADING. */
CELLAR_PRIVATE flight_phase cache_tier_look(cache_call *call);
/* Answer with an entry of the tier: its value in `b`; NULL: negative. Return the end of the
 * flight. */
CELLAR_PRIVATE flight_phase cache_tier_found(cache_call *call, const cache_found *found,
                                             flight_bytes *b);

/* ---- load_lead.c: the loader, its result ---- */

/* Prepare the handle of a led flight. */
CELLAR_PRIVATE void cache_lead_begin(struct cellar_load *ld, cache_call *call);
/* Decide whether the loader may run (ld->refused): the breaker may refuse, or the source failed
 * recently. */
CELLAR_PRIVATE void cache_lead_admit(struct cellar_load *ld);
/* Run the loader, or the bulk loader. */
CELLAR_PRIVATE void cache_lead_run(struct cellar_load *ld);
/* Return the verdict on return code and results of the loader. *code: for the caller, if it
 * failed. */
CELLAR_PRIVATE cellar_err cache_lead_verdict(const struct cellar_load *ld, int32_t *code);
/* Settle the load: report to the breaker, store the result or run the fallbacks, answer the call
 * and end the flight. Return the flags of the outcome. */
CELLAR_PRIVATE uint32_t cache_lead_settle(struct cellar_load *ld);
/* Report the verdict on an open pass of the breaker, once. */
CELLAR_PRIVATE void cache_lead_report(struct cellar_load *ld, cellar_err verdict);
/* Load the key of a led flight with all these steps: ANSWERED. */
CELLAR_PRIVATE void cache_lead(cache_call *call);

/* ---- job.c ---- */

CELLAR_PRIVATE void cache_job_free(cache_store *s, cache_job *j);
CELLAR_PRIVATE cache_job *cache_job_new(const cache_call *call);
/* Return whether the loader of this call may run after the call. */
CELLAR_PRIVATE bool cache_background(const cache_call *call);

/* ---- buf.c ---- */

#define CACHE_BUF_INLINE 512u
/* Start a buffer. `room` has CACHE_BUF_INLINE bytes and outlives the buffer. */
CELLAR_PRIVATE void cache_buf_init(cellar_buf *b, cache_store *s, unsigned char *room);
CELLAR_PRIVATE void cache_buf_fini(cellar_buf *b);
/* Make room for `len` bytes in all; keep the present ones. */
CELLAR_PRIVATE cellar_err cache_buf_grow(cellar_buf *b, size_t len);

/* ---- update.c ---- */

/* Remove a negative entry, and detach a load that runs, as cellar_delete does. MISS, or CONFLICT:
 * a value came first, or a clear. */
CELLAR_PRIVATE cellar_err cache_delete_rest(cellar *c, l1_key *k);

/* Copy the live value of L1 into `old`. Return OK, ABSENT, MISS, or the error of the read. */
CELLAR_PRIVATE cellar_err cache_update_look(cellar *c, const l1_key *k, cellar_buf *old,
                                            l1_info *info);
/* Bring it from the tier if L1 has none. ABSENT is MISS; errors also as cache_bring. */
CELLAR_PRIVATE cellar_err cache_update_read(cellar *c, const l1_key *k, cellar_buf *old,
                                            l1_info *info, cache_wait *w);
/* Remove the entry that `info` and `old` describe, if it is unchanged. `copy`: see CACHE_COPY. */
CELLAR_PRIVATE cellar_err cache_remove_same(cellar *c, l1_key *k, const l1_info *info,
                                            const cellar_buf *old, uint64_t if_version, bool copy);

#endif
