/* SPDX-License-Identifier: MIT
 *
 * load_int: one read through the cache, as the files load*.c, lease.c and refresh.c see it.
 *
 * PICTURE    options -> cache_load_plan      one call -> cache_call (its look at L1, what it waits
 *            for) -> a flight led or joined -> cellar_load (what the loader said) -> outcome */
#ifndef CACHE_LOAD_INT_H
#define CACHE_LOAD_INT_H

#include "cache/cache_int.h"
#include "load/flight.h"

typedef struct cache_load_plan { /* what call, view and store come to */
    int64_t ttl_ms, negative_ttl_ms; /* BASE_NEVER_MS: none */
    int64_t error_ttl_ms, error_max_ms; /* 0: errors are not kept */
    int64_t stale_ms, retry_throttle_ms, soft_timeout_ms, hard_timeout_ms, wait_timeout_ms,
        fallback_ttl_ms;
    uint32_t jitter_pct, jitter_mode, handovers, takeovers;
    uint32_t eager_refresh_pct, xfetch; /* 0: off */
    uint32_t flags;
    bool no_negative, no_wait;
    cellar_breaker *breaker;         /* NULL: none */
} cache_load_plan;

typedef struct cache_call { /* on the caller's stack, or beside a job */
    cellar *c;
    l1_key k;
    const cellar_load_opts *o;  /* this library's size; NULL: none given */
    cache_load_plan p;
    cellar_loader_fn fn;
    void *ctx;
    cache_job *job;             /* runs in the background; NULL: a caller's */
    bool view_loader;           /* fn and ctx are the view's */
    bool only_join;             /* for a soft wait: never leads */
    bool audit;                 /* the filter has spoken, and is to be checked */
    bool instead;               /* the source has failed, lately or in the flight joined: not it, */
                                /* but the fallbacks are asked, */
    cellar_err failed;          /* and if they bring nothing this is the answer */
    int64_t hold_ms;            /* absolute: nothing stored now may end before; 0: no matter */
    int cancel;                 /* the caller's cancel state, for the loader */
    flight_bytes *old;          /* what was found: stale, or fresh and to be refreshed early */
    l1_info found;              /* of the entry last looked at; void with MISS */
    bool old_current;           /* old is what L1 held at the second look */
    bool early;                 /* old is fresh */
    uint8_t fails;              /* of the remembered error found */
    uint32_t failures, losses;  /* flights of others seen failing, or ending without outcome */
    int64_t now_ms;             /* of the last look */
    int64_t patience_ms;        /* absolute; 0 until the first wait */
    int64_t soft_at_ms;         /* the same, with something stale in hand */
    cellar_err code;            /* what the call answers with, */
    flight_bytes *value;        /* with OK and STALE; one ref */
    uint32_t source, result_flags;
    int32_t loader_err;
    int64_t retry_at_ms, deadline_ms, born_ms; /* 0, BASE_NEVER_MS, -1: not known */
    uint64_t load_us;
    uint32_t user_flags;
} cache_call;

typedef struct cache_run cache_run;

enum { CACHE_SAID_NOTHING, CACHE_SAID_VALUE, CACHE_SAID_NONE, CACHE_SAID_SAME };

typedef struct cache_item { /* what a bulk loader said of one key */
    flight_bytes *value;
    uint8_t said;
    bool twice;
    int32_t loader_err;    /* not 0: it failed */
    cellar_err trouble;    /* of a setter */
} cache_item;

struct cellar_buf { /* of an update, charged to the store; or of a load, not charged */
    cache_store *store;
    unsigned char *bytes;     /* own, or `room` */
    unsigned char *room;      /* of an update: bytes on its stack */
    size_t len, cap;
    cellar_err failed;        /* first failure; update or load end with it */
    struct cellar_load *load; /* NULL: of an update; else its value holds the bytes */
};

struct cellar_load { /* what the loader says; on the leader's stack */
    cache_call *call;
    flight_table *t;
    flight *f;
    void (*left)(struct cellar_load *ld); /* the thread ends inside the loader */
    void *host;            /* of `left`, of `lost`: bytes that go with the load, or all of a bulk */
    void (*lost)(flight_will *will); /* NULL: a load of one key's */
    flight_bytes *value;   /* drafted in the flight, too */
    uint8_t said;
    bool twice, no_store, failed;
    bool has_ttl, has_negative, has_stale;
    cellar_err trouble;    /* of a setter: E_TOOBIG, E_NOMEM */
    int32_t loader_err;
    uint32_t fail_flags, cost_us, user_flags;
    int64_t retry_after_ms;
    int64_t ttl_ms, negative_ttl_ms, stale_ms;
    uint32_t tag_count;
    uint64_t fps[CELLAR_TAGS_MAX];
    cellar_breaker *breaker; /* whose pass is out; NULL: none */
    uint32_t pass;
    bool no_disk;          /* something instead of the source's value: never written to disk */
    bool unrecorded;       /* what it reads could not be noted: not stored */
    cache_run *run;        /* what it reads is noted here, NULL: nowhere; */
    flight *noted;         /* and by this flight, while the loader runs: the innermost led */
    cellar_err returned;   /* what the loader returned */
    cellar_buf buf;        /* of cellar_load_buf; load is this load once it is in use */
    uint64_t ns;           /* how long it ran */
    cellar_loader_many_fn many; /* bulk: items instead of a result */
    void *many_ctx;
    const cellar_bytes *keys;
    cache_item *item;
    size_t item_count;
};

/* ---- load_plan.c ---- */
/* Check the options and fill p; *o is moved to `full` when the caller's struct has another size. */
CELLAR_PRIVATE cellar_err cache_load_plan_make(cellar *c, const cellar_load_opts **o,
                                               cellar_load_opts *full, cache_load_plan *p);
CELLAR_PRIVATE bool cache_load_has_instead(const cellar_load_opts *o); /* fallbacks, a default */
CELLAR_PRIVATE int64_t cache_load_own(int64_t call, const _Atomic int64_t *view, int64_t rest);

/* ---- loader_api.c ---- */
/* The result that the loader was writing failed: the load ends with `err`. */
CELLAR_PRIVATE void cache_load_trouble(struct cellar_load *ld, cellar_err err);

/* ---- load.c ---- */
CELLAR_PRIVATE void cache_call_begin(cache_call *call, cellar *c, const void *key, size_t key_len);
/* Look into L1. OK (p.early tells whether to refresh), STALE, ABSENT, E_LOADER (a remembered
 * error, not to be tried yet), MISS; E_NOMEM, E_LIMIT. With OK and STALE call->old is set. */
CELLAR_PRIVATE cellar_err cache_look(cache_call *call);
/* The call answers with what it holds in `old`. */
CELLAR_PRIVATE void cache_answer_old(cache_call *call, uint32_t source);
CELLAR_PRIVATE cellar_err cache_answer(cache_call *call, cellar_err code, uint32_t source);
/* A failure: something stale instead, if the call has it. */
CELLAR_PRIVATE cellar_err cache_answer_failed(cache_call *call, cellar_err code);
CELLAR_PRIVATE void cache_call_forget(cache_call *call); /* drop old */
CELLAR_PRIVATE bool cache_result_bad(const cellar_result *out);
/* A round begins: the look, and what it says by itself. True: the call is answered. notes: who
 * reads this for a loader of its own is told. */
CELLAR_PRIVATE bool cache_look_round(cache_call *call, bool notes);
CELLAR_PRIVATE cellar_err cache_call_out(cache_call *call, cellar_result *out);
CELLAR_PRIVATE void cache_call_count(cache_call *call);
CELLAR_PRIVATE flight_table *cache_flights(cache_store *s); /* made at the first load; or NULL */
CELLAR_PRIVATE void cache_ask(const cache_call *call, flight_kind kind, flight_ask *ask);
CELLAR_PRIVATE cellar_err cache_entry_failed(cache_call *call, flight_entry entry);
/* Wait for a flight joined. True: the call has its answer; false: look again. */
CELLAR_PRIVATE bool cache_join(cache_call *call, flight_table *t, flight *f, uint64_t epoch);
CELLAR_PRIVATE bool cache_load_begin(cellar *c); /* false: the store is closing */
CELLAR_PRIVATE void cache_load_end(cellar *c);
CELLAR_PRIVATE uint32_t cache_loads_mine(const cache_store *s); /* begun by this thread, not over */
CELLAR_PRIVATE cellar_err cache_load_refuse(cellar *c, const char *why);

/* A plain hit tells nothing but the bytes. */
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
/* Lead the flight: second look, tier, loader, publish. Its ref is gone after it. */
CELLAR_PRIVATE void cache_lead(cache_call *call, flight_table *t, flight *f);
/* The tier below, if there is one, the call wants it, and no change of the key is on its way: true
 * when it answered the call, with `o` for those who wait. */
CELLAR_PRIVATE bool cache_tier_look(cache_call *call, flight_outcome *o);
/* The second look: true when it answered the call, with `o` for those who wait. */
CELLAR_PRIVATE bool cache_second_look(cache_call *call, flight *f, flight_outcome *o);
/* A store by ld's flight; what went wrong is noted in the outcome's flags. */
CELLAR_PRIVATE cellar_err cache_publish(struct cellar_load *ld, l1_put_spec *p, flight_outcome *o);
/* Store what was loaded and fill the outcome; takes over `value`. */
CELLAR_PRIVATE void cache_publish_value(struct cellar_load *ld, flight_bytes *value,
                                        flight_outcome *o);
CELLAR_PRIVATE void cache_publish_none(struct cellar_load *ld, flight_outcome *o);
CELLAR_PRIVATE void cache_publish_failed(struct cellar_load *ld, cellar_err err, int32_t loader_err,
                                         flight_outcome *o);
/* The loader failed, in these words: something instead, or the failure; also as the answer. */
CELLAR_PRIVATE void cache_lead_failed(struct cellar_load *ld, cellar_err err, int32_t loader_err,
                                      flight_outcome *o);
CELLAR_PRIVATE void cache_run_loader(struct cellar_load *ld);
/* The answer of a leader whose result is in the outcome. */
CELLAR_PRIVATE void cache_answer_loaded(struct cellar_load *ld, flight_outcome *o);
/* Begin to say something: room for one more result. */
CELLAR_PRIVATE cellar_err cache_load_room(const cellar *c, const void *value, size_t value_len);

/* Errors that say something of this call, not of the source. */
CELLAR_PRIVATE bool cache_error_is_ours(int32_t code);

/* ---- load_fallback.c ---- */
/* The filter says that the source never had the key: true, the call is answered. */
CELLAR_PRIVATE bool cache_filter_answers(cache_call *call);
/* The plain way of a view with a filter. True: answered, *err says how; *audit: the load is one. */
CELLAR_PRIVATE bool cache_guarded_hit(cellar *c, const void *key, size_t key_len,
                                      cellar_result *out, cellar_err *err, bool *audit);
/* May the loader run? Its verdict is then reported once. */
CELLAR_PRIVATE bool cache_guard_admit(struct cellar_load *ld);
CELLAR_PRIVATE void cache_guard_report(struct cellar_load *ld, cellar_err verdict);
/* The loader is not asked: the breaker is open, or call->instead. */
CELLAR_PRIVATE void cache_guard_refused(struct cellar_load *ld, flight_outcome *o);
/* Nothing stale to serve: what stands in for the loader's value. True: the call is answered. */
CELLAR_PRIVATE bool cache_fallbacks(struct cellar_load *ld, flight_outcome *o);
/* The source failed, in words that others heard: in the flight joined, whose leader asked the
 * fallbacks `asked`, or lately (source ERROR_ENTRY). True: the call is answered. False: its own
 * fallbacks are to be asked, as the leader of a flight (call->instead). */
CELLAR_PRIVATE bool cache_failure_heard(cache_call *call, cellar_err err, uint32_t source,
                                        uint32_t asked);
/* Nobody could be asked, or not in time: something stale, the default value, or the error. */
CELLAR_PRIVATE cellar_err cache_answer_in_vain(cache_call *call, cellar_err err);

/* ---- dependencies.c ---- */
/* A loader of this view begins, for so many keys; NULL: no memory. Then the keys, one by one. */
CELLAR_PRIVATE cache_run *cache_run_begin(cellar *c, size_t keys);
CELLAR_PRIVATE void cache_run_for(cache_run *r, const l1_key *k);
CELLAR_PRIVATE void cache_run_free(void *run);
CELLAR_PRIVATE bool cache_run_sound(const cache_run *r, int64_t now_ms); /* may be stored */
CELLAR_PRIVATE int64_t cache_run_until(const cache_run *r);
CELLAR_PRIVATE bool cache_run_has_read(const cache_run *r);
/* Add the tags of what was read; returns how many there are then. */
CELLAR_PRIVATE uint32_t cache_run_tags(cache_run *r, uint64_t *fps, uint32_t count);
/* Its result is about to be stored; was. same: the value stayed, and what it was made of. */
CELLAR_PRIVATE void cache_run_stores(cache_run *r, const l1_key *k);
CELLAR_PRIVATE void cache_run_stored(cache_run *r, const l1_key *k, bool same);

/* ---- load_leader.c, too ---- */
/* Note what the loader reads for `keys` keys, if the view does so; f is the innermost one led. */
CELLAR_PRIVATE void cache_record_begin(struct cellar_load *ld, flight *f, size_t keys);
CELLAR_PRIVATE void cache_record_end(struct cellar_load *ld);

/* ---- lease.c ---- */
/* A lease is over whose pass of the view's breaker nobody has reported. */
CELLAR_PRIVATE void cache_lease_lost(void *ctx, uint32_t owner, uint64_t note);

/* ---- refresh.c ---- */
/* Can this call's loader run when the call is over? */
CELLAR_PRIVATE bool cache_background(const cache_call *call);
/* Queue a refresh; nothing when one runs already or there is no room. */
CELLAR_PRIVATE void cache_refresh_later(cache_call *call, flight_table *t);
CELLAR_PRIVATE bool cache_is_early(cache_call *call);
CELLAR_PRIVATE void cache_job_left(cache_call *call);

#endif
