/* SPDX-License-Identifier: MIT
 *
 * link: the connection to the server: requests and replies, invalidations, proofs of delivery.
 *
 * PICTURE    callers -> tickets -> I/O thread -> *data* connection -> replies in order -> callers
 *                                             -> *ear* connection  -> invalidations -> events
 * STATES     DOWN    no usable connection; requests fail at once
 *            LINKED  both connections answer; tracking is not on yet
 *            GAP     tracking is on, but delivery is not proven: control keys are read, entries end
 *            PROVEN  the last mark came back; remote_proven_until() is in the future
 *            SUSPECT a mark is late by proof_ms / 2
 * INVARIANTS proven_until <= time at which the newest returned mark was sent + proof_ms.
 *            Tracking is on before `linked` is called. No proof is given between `gap` and
 *            remote_synced().
 * LOCKING    remote_ask and remote_post: any thread. Events and reply functions run in the I/O
 *            thread, one at a time. They must not wait and must not call remote_ask.
 * SEE ALSO   README.md of this folder: facts of the server, rejected designs. */
#ifndef REMOTE_LINK_H
#define REMOTE_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cellar.h"

/* ---- replies --------------------------------------------------------------------------------- */

typedef enum remote_type {
    REMOTE_NIL = 0,
    REMOTE_STRING = 1,  /* text, len */
    REMOTE_STATUS = 2,  /* text, len */
    REMOTE_ERROR = 3,   /* text, len */
    REMOTE_INTEGER = 4, /* number */
    REMOTE_ARRAY = 5    /* count, first */
} remote_type;

/* A reply, valid until the function that received it returns. */
typedef struct remote_reply {
    remote_type type;
    uint32_t count;                   /* elements of an array */
    int64_t number;
    const char *text;                 /* not terminated */
    size_t len;
    const struct remote_reply *first; /* elements of an array; NULL: none */
    const struct remote_reply *next;  /* next element of the array that this one belongs to */
} remote_reply;

/* ---- memory ---------------------------------------------------------------------------------- */

/* Memory of the store, charged to its budget. */
typedef struct remote_memory {
    void *ctx;
    void *(*alloc)(void *ctx, size_t bytes); /* NULL: none left; the bytes are undefined */
    void (*free)(void *ctx, void *block, size_t bytes); /* block NULL is fine */
} remote_memory;

/* ---- commands -------------------------------------------------------------------------------- */

/* Growing bytes of formatted commands. Starts as { .memory = m }. */
typedef struct remote_bytes {
    const remote_memory *memory;
    char *data;
    size_t len, cap;
} remote_bytes;

/* Append one command. lens NULL: the arguments are terminated texts. E_NOMEM leaves `b` as it was.
 */
cellar_err remote_command(remote_bytes *b, size_t argc, const char *const *argv,
                                         const size_t *lens);
void remote_bytes_free(remote_bytes *b);

/* ---- the link -------------------------------------------------------------------------------- */

typedef enum remote_state {
    REMOTE_DOWN = 0, REMOTE_LINKED = 1, REMOTE_GAP = 2, REMOTE_PROVEN = 3, REMOTE_SUSPECT = 4
} remote_state;

/* What the server did with a failed request. */
typedef enum remote_fate {
    REMOTE_NOT_SENT = 0, /* no byte was sent: the server did nothing */
    REMOTE_UNKNOWN = 1   /* the server may have executed it, or will */
} remote_fate;

/* Functions of the layer above. All but now_ms, memory and log run in the I/O thread. */
typedef struct remote_events {
    void *ctx;
    const remote_memory *memory;
    int64_t (*now_ms)(void *ctx);   /* clock of the store */
    /* Write prefix number `i` of the keys to hear into `to`; return its length; 0: no more. The
     * list only grows. No prefix begins another one. The link adds the prefix of its marks. */
    size_t (*prefix)(void *ctx, size_t i, char *to, size_t cap);
    const char *(*script)(void *ctx, size_t i); /* text of script number `i`; NULL: no more */
    /* Take the digest of a script, 40 hexadecimal digits. Called once for each script, before the
     * first `linked`. */
    void (*script_loaded)(void *ctx, size_t i, const char *digest);
    void (*heard)(void *ctx, const char *key, size_t len); /* one key changed */
    void (*heard_flush)(void *ctx); /* all keys changed */
    void (*gap)(void *ctx);         /* delivery is not proven any more */
    void (*linked)(void *ctx);      /* tracking is on: read control keys, end entries, replay the
                                     * journal, all by remote_post; then call remote_synced */
    void (*proven)(void *ctx, int64_t until_ms); /* a mark came back */
    /* Log a line. No secret is in `text`. code: CELLAR_OK or the reason. */
    void (*log)(void *ctx, cellar_err code, const char *text);
} remote_events;

/* One EVALSHA. After NOSCRIPT the link loads the scripts and repeats the request. */
#define REMOTE_SCRIPTED 1u

/* Commands to send together. `bytes` stay valid until remote_ask returns or `done` is called. */
typedef struct remote_request {
    const char *bytes;
    size_t bytes_len;
    uint32_t replies; /* commands in `bytes`: one reply each. At least 1 */
    uint32_t flags;   /* REMOTE_SCRIPTED, or 0 */
    int64_t wait_ms;  /* the longest wait for the last reply. 0: io_ms of the link */
    void *ctx;
    /* Take reply number `index`. Called in the I/O thread, in order. NULL: replies are dropped. */
    void (*fn)(void *ctx, uint32_t index, const remote_reply *reply);
    /* Take the end of a posted request, in the I/O thread, or in remote_post when it fails at once.
     * Not used by remote_ask. */
    void (*done)(void *ctx, cellar_err err, remote_fate fate);
} remote_request;

typedef struct remote_link remote_link;

/* Send a request and wait for its replies.
 * out:     *fate (may be NULL) of a failed request
 * returns: OK: `fn` has taken all replies, errors of the server among them. E_TIMEOUT: after
 *          wait_ms. E_IO: the connection was lost. E_BREAKER_OPEN: no connection, returned at once.
 *          E_LIMIT: too many requests in flight. E_CLOSED, E_FORKED. E_DEADLOCK: called in the
 *          I/O thread.
 *          After any return neither `fn` runs nor `bytes` are read.
 * thread:  any. With no_thread this call runs the link while it waits. */
cellar_err remote_ask(remote_link *l, const remote_request *q, remote_fate *fate);

/* Send a request and return. `done` is called exactly once, with a code of remote_ask.
 * thread:  any, also the I/O thread inside events and replies */
void remote_post(remote_link *l, const remote_request *q);

/* Say that entries, control keys and journal are in order after `linked`. The link sends a mark;
 * when it is back, the state is PROVEN. I/O thread. Without effect after another `gap`. */
void remote_synced(remote_link *l);

/* Hear prefixes that were added to the list: gap, tracking, `linked`. Any thread. */
void remote_retrack(remote_link *l);

/* Send a fresh mark and wait until it is back (the fence). Callers share a mark.
 * returns: OK: all changes that any process had acknowledged before this call are heard; E_TIMEOUT,
 *          E_BREAKER_OPEN, E_CLOSED, E_FORKED, E_DEADLOCK */
cellar_err remote_mark_now(remote_link *l, int64_t wait_ms);

remote_state remote_link_state(const remote_link *l);
/* Return the time of the store until which all changes are known to be heard; 0: no proof. */
int64_t remote_proven_until(const remote_link *l);
/* Estimate the clock of the server in ms since 1970, from the last mark: the latest it can be.
 * *error_ms: how much earlier it can be. 0: not known yet. */
int64_t remote_engine_now(const remote_link *l, int64_t *error_ms);
/* Return whether the caller is inside the I/O thread of the link. */
bool remote_inside(const remote_link *l);

#endif
