/* SPDX-License-Identifier: MIT
 *
 * flight: one load of one key, and everybody who waits for it.
 *
 * WHO        a leader: entered with FLIGHT_LED, ends it with flight_end, which
 *            drops its ref. Joiners: FLIGHT_JOINED, flight_wait, flight_unref. A writer of the key,
 *            inside its window: flight_overtake. The leader's own store, inside its window:
 *            flight_may_publish.
 * ORDERS     leader: attach, count +1, fence, THEN look for the key again. Writer: window odd, THEN
 *            read the count. Publisher: unlink INSIDE the window. How it works: flight.c. */
#ifndef LOAD_FLIGHT_H
#define LOAD_FLIGHT_H

#include "base/clock.h"
#include "base/mem.h"
#include "base/port.h"
#include "base/sync.h"
#include "cellar.h"

/* ---- bytes that several callers hold ---- */

typedef struct flight_bytes {
    _Atomic uint32_t refs;    /* relaxed up, acquire-release down; frees at 0 */
    uint32_t user_flags;      /* of the entry; fixed before the second ref */
    size_t len;
    unsigned char *data;      /* behind this head, or the host's block */
    void (*free_fn)(void *p, void *ctx); /* of the host's block; NULL: behind */
    void *free_ctx;
    size_t block_bytes;
    base_alloc_hooks hooks;   /* a copy: the store may be gone when the last ref is dropped */
} flight_bytes;

/* Not charged: they are the callers'. NULL: no memory. */
CELLAR_PRIVATE flight_bytes *flight_bytes_new(const base_alloc_hooks *hooks, size_t len);
CELLAR_PRIVATE flight_bytes *flight_bytes_give(const base_alloc_hooks *hooks, void *p, size_t len,
                                               void (*free_fn)(void *, void *), void *free_ctx);
BASE_INLINE flight_bytes *flight_bytes_ref(flight_bytes *b)
{
    if (b != NULL) { (void)base_add_rlx(&b->refs, 1u); }
    return b;
}
CELLAR_PRIVATE void flight_bytes_drop(flight_bytes *b); /* NULL is fine */

/* ---- flights ---- */

typedef enum flight_phase { /* QUEUED and LOADING are open, the others final */
    FLIGHT_QUEUED, FLIGHT_LOADING, FLIGHT_OK, FLIGHT_NONE, FLIGHT_FAILED, FLIGHT_CANCELLED
} flight_phase;

typedef enum flight_kind {
    FLIGHT_CALL,  /* its leader is a thread inside the loader */
    FLIGHT_JOB,   /* queued; whoever sets it LOADING leads it */
    FLIGHT_LEASE, /* nobody waits inside: ended by flight_claim, or past hard_at by anybody */
    FLIGHT_SIDE   /* found by no getter, only by writers: a load without single flight */
} flight_kind;

#define FLIGHT_FINAL 1u      /* outcome.flags: who waits takes the error, nobody else tries */
#define FLIGHT_NOT_STORED 2u
#define FLIGHT_OVERTAKEN 4u  /* not stored because a change won */
#define FLIGHT_TAGGED 8u     /* dead for who came after a later tag epoch than tag_born */

typedef struct flight_outcome {
    flight_phase phase;
    cellar_err err;          /* FAILED */
    int32_t loader_err;
    uint32_t flags;          /* FLIGHT_... */
    uint32_t source;         /* CELLAR_SOURCE_... of the leader */
    uint32_t asked;          /* FAILED: which fallbacks were asked in vain, mixed; 0: none */
    int64_t retry_at_ms;     /* FAILED: nobody tries before; 0: none */
    int64_t deadline_ms;     /* OK: of the entry, BASE_NEVER_MS none */
    uint64_t load_us;
    flight_bytes *value;     /* OK; one ref */
} flight_outcome;

typedef struct flight_sub { /* a callback of PENDING */
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
    uint32_t owner;          /* vgen */
    uint64_t hash;
} flight_key;

typedef struct flight_config {
    base_account *account;
    const base_clock *clock;
    uint32_t max_flights, max_waiters;
    _Atomic uint32_t *callers; /* lowered for each frame flight_reap finds given up */
    void (*notes_free)(void *notes); /* of flight_notes_set; NULL: none are ever set */
    /* A lease with a note ended past its hard time-out, unclaimed: once, no lock held. Or NULL */
    void (*lease_lost)(void *ctx, uint32_t owner, uint64_t note);
    void *ctx;
} flight_config;

/* What a table takes, or a little more. */
CELLAR_PRIVATE uint64_t flight_table_bytes(const base_account *a);
/* NULL: no memory. Everything is charged to module FLIGHT. */
CELLAR_PRIVATE flight_table *flight_table_create(const flight_config *cfg);
CELLAR_PRIVATE void flight_table_destroy(flight_table *t); /* no flight is left; NULL is fine */

typedef enum flight_entry {
    FLIGHT_LED,       /* attached and ours: look for the key again before loading; one ref */
    FLIGHT_JOINED,    /* somebody else's; one ref, counted as waiter */
    FLIGHT_TAKEN,     /* somebody else's, and join was not asked for; ask.sub is attached to it */
    FLIGHT_STUCK,     /* past hard_at, and its take-overs are used up */
    FLIGHT_FULL,      /* max_flights */
    FLIGHT_CROWDED,   /* max_waiters */
    FLIGHT_NO_MEMORY
} flight_entry;

typedef struct flight_ask {
    flight_key key;
    uint32_t view_id;
    flight_kind kind;
    bool join;          /* wait if there is one; else FLIGHT_TAKEN */
    bool only_join;     /* never lead: TAKEN with no flight when there is none */
    bool take_queued;   /* lead a job that has not begun */
    uint8_t leader_retries;
    int64_t now_ms, hard_timeout_ms;
    uint64_t tag_born;  /* tag epoch now */
    flight_sub *sub;    /* with join false: to be told of its end; taken over with TAKEN only */
} flight_ask;

CELLAR_PRIVATE flight_entry flight_enter(flight_table *t, const flight_ask *ask, flight **out);

/* The job of a queued flight begins. False: somebody has taken it, it was ended, or it was
 * overtaken and is ended by this call. */
CELLAR_PRIVATE bool flight_start(flight_table *t, flight *f, int64_t now_ms,
                                 int64_t hard_timeout_ms);

/* Does the record outlive this frame? Ties the flight to the thread that leads it: for cycles, for
 * leaders lost to a longjmp. `frame`: an address in the leading function. False: nested over
 * FLIGHT_DEPTH_MAX. Several flights of one frame are begun one after the other. */
#define FLIGHT_DEPTH_MAX 16u
CELLAR_PRIVATE bool flight_deep(const base_self_t *self);
CELLAR_PRIVATE void flight_lead_begin(flight *f, uintptr_t frame);
CELLAR_PRIVATE void flight_lead_end(flight *f); /* and of all begun after it */
/* Is it led by this thread, from this frame? Of one that is joined. */
CELLAR_PRIVATE bool flight_led_from(const flight *f, uintptr_t frame);
/* Cancel what this thread led in frames a longjmp has given up. */
CELLAR_PRIVATE void flight_reap(uintptr_t frame);

/* The result is known: unlink if still attached, wake, tell, drop the caller's ref last. An outcome
 * already there stands; the given one's value is then dropped. */
CELLAR_PRIVATE void flight_end(flight_table *t, flight *f, const flight_outcome *o);
CELLAR_PRIVATE void flight_unref(flight_table *t, flight *f);

/* What the loader has set so far, or its leader keeps: dropped with the flight if that is lost. */
CELLAR_PRIVATE void flight_draft(flight *f, flight_bytes *value);
CELLAR_PRIVATE flight_bytes *flight_drafted(const flight *f);

/* What its loader's reads are noted in: the leader takes it off before the end, else it is freed
 * with the flight. */
CELLAR_PRIVATE void flight_notes_set(flight *f, void *notes);
CELLAR_PRIVATE void *flight_notes(const flight *f);

/* What its leader owns while code of the host runs. If that leaves by a longjmp, lost(will) is
 * called, once, by the thread's next call, with no lock held. */
typedef struct flight_will {
    void (*lost)(struct flight_will *will); /* NULL: nothing */
    void *a, *b, *c;
    uint32_t n;
} flight_will;
CELLAR_PRIVATE void flight_will_set(flight *f, const flight_will *will); /* NULL: it is back */

typedef enum flight_waited {
    FLIGHT_DONE,   /* *out is a copy with a value ref of its own */
    FLIGHT_LATE,   /* deadline_ms came first */
    FLIGHT_HARD,   /* the leader's time is over: enter again */
    FLIGHT_CYCLE   /* would wait for itself; not waited */
} flight_waited;
/* Wait as a joiner and drop the ref, whatever happened. */
CELLAR_PRIVATE flight_waited flight_wait(flight_table *t, flight *f, int64_t deadline_ms,
                                         flight_outcome *out);

/* A joiner goes without waiting. */
CELLAR_PRIVATE void flight_leave(flight_table *t, flight *f);

/* ---- inside the window of the key's bucket ---- */
CELLAR_PRIVATE bool flight_any(const flight_table *t, uint64_t hash);
CELLAR_PRIVATE void flight_overtake(flight_table *t, const flight_key *key);
/* Detach every flight of this owner whose key matches; no lock is held while match runs. Flights
 * that begin during the call may stay. */
CELLAR_PRIVATE void flight_overtake_match(flight_table *t, uint32_t owner,
                                          bool (*match)(void *ctx, const void *key, size_t len),
                                          void *ctx);
/* `key->bytes` is flight_key_of the publisher: the pointer names the flight. False: overtaken. */
CELLAR_PRIVATE bool flight_may_publish(flight_table *t, const flight_key *key);

/* ---- leases ---- */
typedef struct flight_lease { uint64_t id, check; } flight_lease;
/* The flight, entered as LEASE, becomes one: its ref goes with the claim. False: it ended. */
CELLAR_PRIVATE bool flight_lease_open(flight_table *t, flight *f, flight_lease *out);
/* A number of the leader's own, from flight_lease_open to flight_claim; 0 at first. */
CELLAR_PRIVATE void flight_note(flight *f, uint64_t note);
CELLAR_PRIVATE uint64_t flight_noted(const flight *f);
/* The open lease's flight with its owner's ref; NULL: unknown, used, taken over, other view. */
CELLAR_PRIVATE flight *flight_claim(flight_table *t, const flight_lease *l, uint32_t view_id);
CELLAR_PRIVATE flight_sub *flight_sub_new(flight_table *t, void (*fn)(void *), void *ctx);
CELLAR_PRIVATE void flight_sub_free(flight_table *t, flight_sub *s);
CELLAR_PRIVATE void flight_ticket_of(const flight_table *t, uint64_t hash, uint64_t sub_id,
                                     flight_lease *out);
CELLAR_PRIVATE bool flight_withdraw(flight_table *t, const flight_lease *ticket);
/* End leases past their hard time-out; returns how many. */
CELLAR_PRIVATE uint32_t flight_expire(flight_table *t, int64_t now_ms);
/* End all open leases of a view that was dropped: nobody can bring their values any more. The
 * caller has said so in its state and fenced before it looked for the table: a lease begun after
 * this finds the view closed, if it looks for that when it has the flight. */
CELLAR_PRIVATE void flight_end_leases(flight_table *t, uint32_t view_id);
/* End all: the store closes. */
CELLAR_PRIVATE void flight_close(flight_table *t);

/* ---- figures and facts ---- */
CELLAR_PRIVATE flight_key flight_key_of(const flight *f);
CELLAR_PRIVATE uint64_t flight_tag_born(const flight *f);
CELLAR_PRIVATE uint32_t flight_takeovers(const flight *f);
CELLAR_PRIVATE int64_t flight_hard_at(const flight *f);
CELLAR_PRIVATE bool flight_is_detached(flight_table *t, flight *f, bool *alone);
/* Is the key being loaded, and since when? */
CELLAR_PRIVATE bool flight_since(flight_table *t, const flight_key *key, int64_t *start_ms);
CELLAR_PRIVATE uint32_t flight_count(const flight_table *t);
CELLAR_PRIVATE uint32_t flight_waiting(const flight_table *t); /* joiners, subscribers */
CELLAR_PRIVATE bool flight_audit(flight_table *t);
CELLAR_PRIVATE void flight_fork_prepare(flight_table *t);
CELLAR_PRIVATE void flight_fork_parent(flight_table *t);
CELLAR_PRIVATE void flight_fork_child(flight_table *t);

#endif
