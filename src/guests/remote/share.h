/* SPDX-License-Identifier: MIT
 *
 * share: leases of loads, limiters and locks over processes.
 *
 * LOCKING    lock of a remote_lock_row: guards its list and the `woken` of its waiters; no lock is
 *            taken under it. */
#ifndef REMOTE_SHARE_H
#define REMOTE_SHARE_H

#include <pthread.h>
#include <sys/types.h>

#include "remote/key.h"
#include "remote/link.h"
#include "remote/remote.h"
#include "remote/wire.h"

/* ---- The part ------------------------------------------------------------------------------- */

/* Allocate the part `share`. Returns OK, E_NOMEM. */
CELLAR_PRIVATE cellar_err remote_share_open(cellar_remote *r);
/* Free the part `share`. Limiters are closed, and no call waits for a lock. */
CELLAR_PRIVATE void remote_share_close(cellar_remote *r);
/* Wake the waiters of a lock, if `key` is the name of one. I/O thread. Also without `share`. */
CELLAR_PRIVATE void remote_share_heard(cellar_remote *r, const char *key, size_t len);
/* Wake all waiters: changes may have been missed, or the server was flushed. I/O thread. */
CELLAR_PRIVATE void remote_share_gap(cellar_remote *r);

/* ---- Commands ------------------------------------------------------------------------------- */

/* Return whether the server runs scripts by name, as a port does. True while no digest is known. A
 * request reads it once: the link can move to a server of the other kind at any time. */
CELLAR_PRIVATE bool remote_is_named(const cellar_remote *r);
/* The first words of a script: what names it to the server, and the number of its keys. `named`: of
 * remote_is_named. */
#define REMOTE_EVAL(r, named, script, keys) \
    REMOTE_EVAL_COMMAND(named), remote_eval_name(r, named, script), { keys, 1 }
CELLAR_PRIVATE cellar_bytes remote_eval_name(const cellar_remote *r, bool named,
                                             remote_script script);
#define REMOTE_NAME(n) { (n)->text, (n)->len }

/* Send a command, or those in `b`, which is freed, and wait. `q` has no bytes. Returns E_NOMEM, or
 * the code of remote_ask; OK without a reply to wait for. fate: NOT_SENT with an answer. */
CELLAR_PRIVATE cellar_err remote_ask_words(cellar_remote *r, const cellar_bytes *words,
                                           size_t count, remote_request q, remote_fate *fate);
CELLAR_PRIVATE cellar_err remote_ask_bytes(cellar_remote *r, remote_bytes *b, remote_request q,
                                           remote_fate *fate);
/* Send the commands in `b` and return; the link frees them. q.done also gets E_NOMEM. */
CELLAR_PRIVATE void remote_post_bytes(cellar_remote *r, remote_bytes *b, remote_request q);

enum { REMOTE_NUMBERS_ORDER = 4, REMOTE_NUMBERS_MAX };

/* Run a script and copy its numbers, at most REMOTE_NUMBERS_ORDER; missing ones are 0. Behind them
 * stands the number of the reply.
 * wait_ms 0: io_ms. *fate may be NULL.
 * returns: OK; E_SPACE (the server is out of memory), E_IO (another error of the server), E_NOMEM,
 *          codes of remote_ask */
CELLAR_PRIVATE cellar_err remote_script_run(cellar_remote *r, const cellar_bytes *words,
                                            size_t count, int64_t wait_ms, int64_t *numbers,
                                            remote_fate *fate);
/* Send a script and drop its reply. */
CELLAR_PRIVATE void remote_script_post(cellar_remote *r, const cellar_bytes *words, size_t count);
/* Return the code of an error of the server. */
CELLAR_PRIVATE cellar_err remote_error_code(const remote_reply *reply);

/* ---- Leases of loads (lease.c) -------------------------------------------------------------- */

enum { REMOTE_LEASE_ANY = 1,   /* RAW: the fill compares nothing */
       REMOTE_LEASE_NONE = 2 }; /* there was no value, and a fill stores nothing */

/* A lease of the load of one key. It fits into cellar_tier_lease. */
typedef struct remote_lease {
    uint64_t held; /* check of the placeholder, or the number in the key beside the value */
    uint64_t seen; /* 0: a placeholder. Beside: check of the value that is refreshed, or one of: */
} remote_lease;

/* How to take a lease. Texts outlive the call. */
typedef struct remote_lease_ask {
    const remote_name *name;    /* of the value */
    const remote_names *names;  /* of the namespace, for the key beside the value */
    cellar_bytes key;
    uint64_t generation;        /* of the placeholder: the epoch at the begin of the load */
    bool raw;                   /* values have no check */
    int64_t hold_ms;            /* the lease ends after hold_ms + 1 s, also if its owner lives */
    uint32_t beat;              /* of remote_lease_choose */
    /* Judge what the key has, in the I/O thread. OK, ABSENT, E_BUFFER: a value, which the function
     * has copied. PENDING: the lease of another process. MISS: to be replaced. E_UNSUPPORTED: a
     * value of another program. */
    cellar_err (*judge)(void *ctx, const char *bytes, size_t len);
    void *ctx;
} remote_lease_ask;

/* Take the lease of a key, or judge the value that has its place.
 * out:     *l with LEASED; *fate: UNKNOWN with an error if the server may have given the lease *l:
 *          it must be released
 * returns: LEASED, PENDING; OK, ABSENT, E_BUFFER of `judge`; load without a lease: E_SPACE (the
 *          server is out of memory), E_UNSUPPORTED (the value is of another program, or shorter
 *          than an envelope), CONFLICT (other processes change it), codes of remote_ask
 * cost:    one round trip; one more for each change of a dead value meanwhile, at most 4 */
CELLAR_PRIVATE cellar_err remote_lease_take(cellar_remote *r, const remote_lease_ask *q,
                                            remote_lease *l, remote_fate *fate);
/* Choose the beat of a lease: the longest one that lives no longer than half of `patience_ms`, the
 * wait of the other processes. Beat 0 lives lease_ms / 2, each next one half as long, at least
 * 200 ms. */
CELLAR_PRIVATE uint32_t remote_lease_choose(const cellar_remote *r, int64_t patience_ms);
/* Return how long a process waits before it asks for the lease of another one again. */
CELLAR_PRIVATE int64_t remote_lease_look_ms(const cellar_remote *r, uint32_t beat);
/* Append the request of remote_lease_take to `b`. Its reply: nil, or what the key has. It needs
 * remote_lease_begin before it in `b`, once, with a reply of its own: the beat of this process.
 * out:     *l: the lease, if the first reply is nil */
CELLAR_PRIVATE void remote_lease_format(cellar_remote *r, const remote_lease_ask *q,
                                        remote_bytes *b, remote_lease *l);
CELLAR_PRIVATE void remote_lease_begin(const cellar_remote *r, uint32_t beat, remote_bytes *b);
/* Note a lease that the store holds for `hold_ms`, and its end: by a fill or a release. */
CELLAR_PRIVATE void remote_lease_held(cellar_remote *r, int64_t hold_ms, uint32_t beat);
CELLAR_PRIVATE void remote_lease_ended(cellar_remote *r);
/* Send the beats that are due while this process has a lease. Return the ms until the next one;
 * INT64_MAX: none. The runner of the link calls this in each round. */
CELLAR_PRIVATE int64_t remote_lease_beat(void *remote);
/* Send the beats of all leases, on a new connection. I/O thread. */
CELLAR_PRIVATE void remote_lease_again(cellar_remote *r);
/* Count a wait for the lease `text` that the key `name` has, and end that lease if its owner has no
 * beat: the server announces the end, unless the lease is one beside the value. */
CELLAR_PRIVATE void remote_lease_busy(cellar_remote *r, const remote_name *name, const char *text,
                                      size_t len, bool beside);
/* Take the lease beside the value, which stays readable: for a refresh, and for RAW.
 * out:     as above; *there: with LEASED the code of `judge` for the value, MISS without one and
 *          for RAW, E_UNSUPPORTED for a key of another type
 * returns: LEASED, PENDING, codes of remote_ask */
CELLAR_PRIVATE cellar_err remote_lease_take_beside(cellar_remote *r, const remote_lease_ask *q,
                                                   remote_lease *l, cellar_err *there,
                                                   remote_fate *fate);
/* Replace the state of a key, known by its check, by `value`; no value: delete. No check: the key
 * must be absent. OK: numbers[0] is 1 if the key had that state. */
CELLAR_PRIVATE cellar_err remote_change_run(cellar_remote *r, const remote_name *name,
                                            cellar_bytes check, cellar_bytes value,
                                            int64_t ttl_ms, int64_t *numbers, remote_fate *fate);
/* Store the loaded value for ttl_ms if the lease is held. *order: number of the reply; 0: none.
 * returns: OK; INVALIDATED: the key has changed or the lease has ended; E_SPACE, codes of
 *          remote_ask */
CELLAR_PRIVATE cellar_err remote_lease_fill(cellar_remote *r, const remote_lease_ask *q,
                                            const remote_lease *l, cellar_bytes value,
                                            int64_t ttl_ms, uint64_t *order);

enum { REMOTE_LEASE_TOKEN = 33 };

/* Write the name of the key that holds a lease, and the token in it; return its length. */
CELLAR_PRIVATE size_t remote_lease_name(const cellar_remote *r, const remote_names *names,
                                        const remote_name *value, cellar_bytes key,
                                        const remote_lease *l, remote_name *name, char *token);
/* Append the command that releases a lease if the key still holds its token, with `beat` only if
 * that key is gone. One reply. */
CELLAR_PRIVATE void remote_lease_release(const cellar_remote *r, cellar_bytes name,
                                         cellar_bytes token, const char *beat, remote_bytes *b);

/* ---- Inside ---------------------------------------------------------------------------------- */

enum { REMOTE_LOCK_ROWS = 64, REMOTE_BEATS = 12 };

typedef struct remote_lock_wait remote_lock_wait;

/* Waiters for the locks of one row, in order of arrival. */
typedef struct remote_lock_row {
    pthread_mutex_t lock;
    _Atomic uint32_t changed;     /* of remote_share_sleep */
    remote_lock_wait *first;
} remote_lock_row;

struct remote_share {
    uint64_t seed;                /* random: rows of names, slots of limiters */
    _Atomic uint32_t held;        /* leases of loads in the store */
    _Atomic int64_t held_until_ms[REMOTE_BEATS]; /* end of the last one with each beat, by
                                                  * remote_share_now. Beat 0: of all */
    int64_t beat_due_ms[REMOTE_BEATS]; /* runner of the link */
    _Atomic uint64_t lock_waits;  /* waiters of all rows */
    remote_lock_row rows[REMOTE_LOCK_ROWS];
};

/* Return ms since boot, including suspend: leases and holds run with the server, which knows no
 * virtual clock of a store. */
CELLAR_PRIVATE int64_t remote_share_now(void);
/* Wait at most `ms` until the word changes, without the lock `m`. Callers of both functions hold
 * that lock. The word is odd while a thread may wait. */
CELLAR_PRIVATE void remote_share_sleep(_Atomic uint32_t *word, pthread_mutex_t *m, int64_t ms);
CELLAR_PRIVATE void remote_share_wake(_Atomic uint32_t *word); /* all that wait */

#endif
