/* SPDX-License-Identifier: MIT
 *
 * flight: one load of one key, with its leader and its waiters.
 *
 * ROLES      Leader: gets FLIGHT_LED, calls flight_end, which drops its ref.
 *            Waiter: gets FLIGHT_JOINED, calls flight_wait (or flight_leave), which drops its ref.
 *            Writer of the key: calls flight_overtake inside its window; the load becomes invalid.
 *            Leader that stores its value: calls flight_may_publish inside its window.
 * PROTOCOL   Leader: attach, count + 1, fence, then look for the key again.
 *            Writer: make the window odd, then read the count.
 *            Publisher: unlink inside the window.
 * SEE ALSO   flight.c; src/load/README.md has the proof. */
#ifndef LOAD_FLIGHT_H
#define LOAD_FLIGHT_H

#include "base/clock.h"
#include "base/mem.h"
#include "base/port.h"
#include "base/sync.h"
#include "cellar.h"

/* ---- bytes with several holders ---- */

typedef struct flight_bytes {
    _Atomic uint32_t refs;    /* raised relaxed, lowered acquire-release; 0 frees */
    uint32_t user_flags;      /* of the entry; constant before the second ref */
    size_t len;
    unsigned char *data;      /* behind this head, or the block of the host */
    void (*free_fn)(void *p, void *ctx); /* for the block of the host; NULL: data lies behind
                                          * this head */
    void *free_ctx;
    size_t block_bytes;
    base_alloc_hooks hooks;   /* copy: the store may be closed before the last ref is dropped */
} flight_bytes;

/* Allocate shared bytes with one ref, for a value of `len` bytes (new) or around the block `p`
 * (give). Not charged to the budget: callers own them. Return NULL if no memory is left. */
CELLAR_PRIVATE flight_bytes *flight_bytes_new(const base_alloc_hooks *hooks, size_t len);
CELLAR_PRIVATE flight_bytes *flight_bytes_give(const base_alloc_hooks *hooks, void *p, size_t len,
                                               void (*free_fn)(void *, void *), void *free_ctx);
BASE_INLINE flight_bytes *flight_bytes_ref(flight_bytes *b)
{
    if (b != NULL) { (void)base_add_rlx(&b->refs, 1u); }
    return b;
}
CELLAR_PRIVATE void flight_bytes_drop(flight_bytes *b); /* NULL is allowed */

/* ---- flights ---- */

typedef enum flight_phase { /* QUEUED and LOADING are open, the others final */
    FLIGHT_QUEUED, FLIGHT_LOADING, FLIGHT_OK, FLIGHT_NONE, FLIGHT_FAILED, FLIGHT_CANCELLED
} flight_phase;

typedef enum flight_kind {
    FLIGHT_CALL,  /* the leader is a thread inside the loader */
    FLIGHT_JOB,   /* queued; the thread that sets LOADING leads it */
    FLIGHT_LEASE, /* no leading thread: ended by flight_claim, or by any thread past hard_at */
    FLIGHT_SIDE   /* only writers find it: a load without single flight */
} flight_kind;

#define FLIGHT_FINAL 1u      /* outcome.flags: waiters return the error and do not load */
#define FLIGHT_NOT_STORED 2u
#define FLIGHT_OVERTAKEN 4u  /* not stored because the key changed during the load */
#define FLIGHT_TAGGED 8u     /* invalid for callers with a tag epoch later than tag_born */

typedef struct flight_outcome {
    flight_phase phase;
    cellar_err err;          /* set with FAILED */
    int32_t loader_err;
    uint32_t flags;          /* FLIGHT_... */
    uint32_t source;         /* CELLAR_SOURCE_... of the leader */
    uint32_t asked;          /* FAILED: mix of the fallbacks that failed, too; 0: none */
    int64_t retry_at_ms;     /* FAILED: earliest time of the next try, ms; 0: none */
    int64_t deadline_ms;     /* OK: deadline of the entry, ms; BASE_NEVER_MS: none */
    uint64_t load_us;
    uint64_t tag_born;       /* of the tags of the value; 0: it has none */
    flight_bytes *value;     /* OK: one ref */
} flight_outcome;

typedef struct flight_sub { /* callback of a caller that got PENDING */
    struct flight_sub *next;
    void (*fn)(void *ctx);
    void *ctx;
    uint64_t id;
} flight_sub;

typedef struct flight_table flight_table;
typedef struct flight flight;

typedef struct flight_key {
    const void *bytes;
    uint32_t len;
    uint32_t generation;          /* generation */
    uint64_t hash;
} flight_key;

typedef struct flight_config {
    base_account *account;
    const base_clock *clock;
    uint32_t max_flights, max_waiters;
    _Atomic uint32_t *callers; /* calls inside loads; flight_reap lowers it for each lost frame */
    void (*notes_free)(void *notes); /* drops what flight_notes_set stored; NULL: never set */
    /* Called once, without locks, when an unclaimed lease with a note expires. NULL: not called. */
    void (*lease_lost)(void *ctx, uint32_t generation, uint64_t note);
    void *ctx;
} flight_config;

/* Return an upper bound of the bytes of one table. */
CELLAR_PRIVATE uint64_t flight_table_bytes(const base_account *a);
/* Create a table. All its memory is charged to module FLIGHT. Return NULL if no memory is left. */
CELLAR_PRIVATE flight_table *flight_table_create(const flight_config *cfg);
CELLAR_PRIVATE void flight_table_destroy(flight_table *t); /* no flight is left; NULL is allowed */

typedef enum flight_entry {
    FLIGHT_LED,       /* attached, one ref: look for the key again before you load */
    FLIGHT_JOINED,    /* led by another thread; one ref, counted as waiter */
    FLIGHT_TAKEN,     /* led by another thread, `join` is false; ask.sub is attached to it */
    FLIGHT_STUCK,     /* past hard_at, take-overs used up */
    FLIGHT_FULL,      /* max_flights */
    FLIGHT_CROWDED,   /* max_waiters */
    FLIGHT_NO_MEMORY
} flight_entry;

typedef struct flight_ask {
    flight_key key;
    uint32_t namespace_id;
    flight_kind kind;
    bool join;          /* wait if a flight exists; else FLIGHT_TAKEN */
    bool only_join;     /* never lead: TAKEN without a flight if none exists */
    bool take_queued;   /* lead a job that has not begun */
    uint8_t leader_retries;
    int64_t now_ms, hard_timeout_ms;
    uint64_t tag_born;  /* current tag epoch */
    flight_sub *sub;    /* subscription, with join false; owned by the flight after TAKEN only */
} flight_ask;

CELLAR_PRIVATE flight_entry flight_enter(flight_table *t, const flight_ask *ask, flight **out);

/* Begin the job of a queued flight. Return false if another thread leads it, if it ended, or if it
 * was invalidated; this call ends an invalidated flight. */
CELLAR_PRIVATE bool flight_start(flight_table *t, flight *f, int64_t now_ms,
                                 int64_t hard_timeout_ms);

/* flight_deep: return true at FLIGHT_DEPTH_MAX nested loads of this thread. flight_lead_begin ties
 * the flight to the thread that leads it, for cycles and for leaders lost by longjmp. `frame` is an
 * address in the leading function. Several flights of one frame begin one after the other. */
#define FLIGHT_DEPTH_MAX 16u
CELLAR_PRIVATE bool flight_deep(const base_thread_record *self);
CELLAR_PRIVATE void flight_lead_begin(flight *f, uintptr_t frame);
CELLAR_PRIVATE void flight_lead_end(flight *f); /* ends all flights begun after it, too */
/* Return whether this thread leads the flight from this frame. For a flight that was joined. */
CELLAR_PRIVATE bool flight_led_from(const flight *f, uintptr_t frame);
/* Cancel the flights that this thread led in frames that a longjmp left. */
CELLAR_PRIVATE void flight_reap(uintptr_t frame);

/* Complete a flight: unlink it, wake the waiters, call the subscribers, drop the ref of the caller.
 * If an outcome exists already, it stays and the value of `o` is dropped. */
CELLAR_PRIVATE void flight_end(flight_table *t, flight *f, const flight_outcome *o);
CELLAR_PRIVATE void flight_unref(flight_table *t, flight *f);

/* Keep the value that the loader set so far. The flight frees it if the leader is lost. */
CELLAR_PRIVATE void flight_draft(flight *f, flight_bytes *value);
CELLAR_PRIVATE flight_bytes *flight_drafted(const flight *f);

/* Keep the notes of reads by the loader until the last ref of the flight is dropped. */
CELLAR_PRIVATE void flight_notes_set(flight *f, void *notes);
CELLAR_PRIVATE void *flight_notes(const flight *f);

/* What the leader owns while code of the host runs. If that code leaves by longjmp, the next call
 * of the thread calls lost(will) once, without locks. */
typedef struct flight_will {
    void (*lost)(struct flight_will *will); /* NULL: nothing to clean up */
    void *a, *b, *c;
    uint32_t n;
} flight_will;
/* NULL: the host's code returned */
CELLAR_PRIVATE void flight_will_set(flight *f, const flight_will *will);

typedef enum flight_waited {
    FLIGHT_DONE,   /* *out is a copy with its own ref of the value */
    FLIGHT_LATE,   /* deadline_ms came first */
    FLIGHT_HARD,   /* the time of the leader is over: enter again */
    FLIGHT_CYCLE   /* the wait would close a cycle; no wait happened */
} flight_waited;
/* Wait for the flight and drop the ref of the waiter in every case. */
CELLAR_PRIVATE flight_waited flight_wait(flight_table *t, flight *f, int64_t deadline_ms,
                                         flight_outcome *out);

/* Keep the flight until flight_unref. The caller holds a ref already. */
CELLAR_PRIVATE void flight_hold(flight *f);
/* Invalidate one flight. The caller holds a ref. */
CELLAR_PRIVATE void flight_detach(flight_table *t, flight *f);

/* Drop the ref of a waiter without waiting. */
CELLAR_PRIVATE void flight_leave(flight_table *t, flight *f);

/* ---- inside the window of the key's bucket ---- */
CELLAR_PRIVATE bool flight_any(const flight_table *t, uint64_t hash);
CELLAR_PRIVATE void flight_overtake(flight_table *t, const flight_key *key);
/* Invalidate all flights of generation `generation` with a matching key. No lock is held while
 * `match` runs. Flights that begin during the call may stay. */
CELLAR_PRIVATE void flight_overtake_match(flight_table *t, uint32_t generation,
                                          bool (*match)(void *ctx, const void *key, size_t len),
                                          void *ctx);
/* Unlink the flight of the publisher. `key->bytes` is the pointer of flight_key_of and names the
 * flight. Return false if the flight was invalidated. */
CELLAR_PRIVATE bool flight_may_publish(flight_table *t, const flight_key *key);

/* ---- leases ---- */
typedef struct flight_lease { uint64_t id, check; } flight_lease;
/* Turn a flight entered as LEASE into an open lease; the ref moves to the claim. Return false if
 * the flight ended. */
CELLAR_PRIVATE bool flight_lease_open(flight_table *t, flight *f, flight_lease *out);
/* Set a number of the leader, valid from flight_lease_open to flight_claim. Default 0. */
CELLAR_PRIVATE void flight_note(flight *f, uint64_t note);
CELLAR_PRIVATE uint64_t flight_noted(const flight *f);
/* Find the flight of an open lease with its ref. Return NULL if the lease is unknown, used, taken
 * over, or of another namespace. */
CELLAR_PRIVATE flight *flight_claim(flight_table *t, const flight_lease *l, uint32_t namespace_id);
CELLAR_PRIVATE flight_sub *flight_sub_new(flight_table *t, void (*fn)(void *), void *ctx);
CELLAR_PRIVATE void flight_sub_free(flight_table *t, flight_sub *s);
CELLAR_PRIVATE void flight_ticket_of(const flight_table *t, uint64_t hash, uint64_t sub_id,
                                     flight_lease *out);
CELLAR_PRIVATE bool flight_withdraw(flight_table *t, const flight_lease *ticket);
/* End leases past their hard time-out. Return their number. */
CELLAR_PRIVATE uint32_t flight_expire(flight_table *t, int64_t now_ms);
/* End all open leases of a dropped namespace: no caller can fulfill them. The caller first sets the
 * state, then fences, then looks for the table. A lease that begins later checks the state after it
 * has its flight. */
CELLAR_PRIVATE void flight_end_leases(flight_table *t, uint32_t namespace_id);
/* End all flights, because the store closes. */
CELLAR_PRIVATE void flight_close(flight_table *t);

/* ---- figures and facts ---- */
CELLAR_PRIVATE flight_key flight_key_of(const flight *f);
CELLAR_PRIVATE uint64_t flight_tag_born(const flight *f);
CELLAR_PRIVATE uint32_t flight_takeovers(const flight *f);
CELLAR_PRIVATE int64_t flight_hard_at(const flight *f);
CELLAR_PRIVATE bool flight_is_detached(flight_table *t, flight *f, bool *alone);
/* Return whether the key is being loaded. Set *start_ms to the start of that load. */
CELLAR_PRIVATE bool flight_since(flight_table *t, const flight_key *key, int64_t *start_ms);
CELLAR_PRIVATE uint32_t flight_count(const flight_table *t);
CELLAR_PRIVATE uint32_t flight_waiting(const flight_table *t); /* waiters and subscriptions */
CELLAR_PRIVATE bool flight_audit(flight_table *t);
CELLAR_PRIVATE void flight_fork_prepare(flight_table *t);
CELLAR_PRIVATE void flight_fork_parent(flight_table *t);
CELLAR_PRIVATE void flight_fork_child(flight_table *t);

#endif
