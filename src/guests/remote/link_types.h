/* SPDX-License-Identifier: MIT
 *
 * link_types: replies, requests, reasons and events of the link. */
#ifndef REMOTE_LINK_TYPES_H
#define REMOTE_LINK_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cellar.h"
#include "base/port.h"

/* ---- replies --------------------------------------------------------------------------------- */

typedef enum remote_type {
    REMOTE_STRING = 1,  /* text, len */
    REMOTE_ARRAY = 2,   /* count, first */
    REMOTE_INTEGER = 3, /* number */
    REMOTE_NIL = 4,
    REMOTE_STATUS = 5,  /* text, len */
    REMOTE_ERROR = 6    /* text, len */
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

/* Return whether `r` is an error that begins with this text. */
CELLAR_PRIVATE bool remote_starts(const remote_reply *r, const char *text);
/* Return the number that a string has in up to 19 digits; 0: none. NULL is no string. */
CELLAR_PRIVATE uint64_t remote_number(const remote_reply *r);

/* ---- memory ---------------------------------------------------------------------------------- */

/* Memory of the store, charged to its budget. */
typedef struct remote_memory {
    void *ctx;
    void *(*alloc)(void *ctx, size_t bytes); /* NULL: none left; the bytes are undefined */
    void (*free)(void *ctx, void *block, size_t bytes); /* block NULL is fine */
    void (*rest)(void *ctx); /* free what is kept for its next use; NULL: nothing is */
} remote_memory;

/* ---- commands -------------------------------------------------------------------------------- */

/* Growing bytes of formatted commands. Starts as { .memory = m }. */
typedef struct remote_bytes {
    const remote_memory *memory;
    char *data;
    size_t len, cap;
    bool secret; /* wipe the bytes before they are freed */
    cellar_err err; /* E_NOMEM: a command did not fit, and nothing may be sent */
} remote_bytes;

/* The words of a command, as two arguments: array and count. Texts live until the block ends. */
#define REMOTE_WORDS(...) \
    (const cellar_bytes[]){ __VA_ARGS__ }, \
        sizeof((const cellar_bytes[]){ __VA_ARGS__ }) / sizeof(cellar_bytes)
#define REMOTE_WORD(t) { t, strlen(t) }
#define REMOTE_NUMBER(n) remote_digits((char[24]){ 0 }, n)

/* ---- the link -------------------------------------------------------------------------------- */

typedef enum remote_state {
    REMOTE_DOWN = 0, REMOTE_LINKED = 1, REMOTE_GAP = 2, REMOTE_PROVEN = 3, REMOTE_SUSPECT = 4
} remote_state;

/* What the server did with a failed request. */
typedef enum remote_fate {
    REMOTE_NOT_SENT = 0, /* no byte was sent: the server did nothing */
    REMOTE_UNKNOWN = 1   /* the server may have executed it, or will */
} remote_fate;

/* Why the connections were closed, or could not be used: name, code, text. */
#define REMOTE_WHYS(X) \
    X(NONE, CELLAR_OK, "none") \
    X(CONNECT, CELLAR_E_IO, "connect") \
    X(CLOSED, CELLAR_E_IO, "closed") \
    X(TIMEOUT, CELLAR_E_TIMEOUT, "timeout") \
    X(MARKER, CELLAR_E_TIMEOUT, "marker") \
    X(PROTOCOL, CELLAR_E_FOREIGN, "protocol") \
    X(TOO_BIG, CELLAR_E_TOOBIG, "too_big") \
    X(NOMEM, CELLAR_E_NOMEM, "no_memory") \
    X(AUTH, CELLAR_E_DENIED, "password") \
    X(NOPERM, CELLAR_E_DENIED, "right") \
    X(VERSION, CELLAR_E_UNSUPPORTED, "version") \
    X(CLUSTER, CELLAR_E_UNSUPPORTED, "cluster") \
    X(REPLICA, CELLAR_E_NOT_OWNER, "replica") \
    X(LOADING, CELLAR_E_BUSY, "loading") \
    X(READONLY, CELLAR_E_NOT_OWNER, "read_only") \
    X(MISCONF, CELLAR_E_IO, "cannot_save") \
    X(MASTER, CELLAR_E_NOT_FOUND, "sentinel") \
    X(PLAINTEXT, CELLAR_E_DENIED, "plaintext") \
    X(TLS, CELLAR_E_DENIED, "tls") \
    X(REFUSED, CELLAR_E_CONFIG, "refused") \
    X(RETRACK, CELLAR_OK, "prefixes") \
    X(CLOSE, CELLAR_E_CLOSED, "close")

typedef enum remote_why {
#define REMOTE_WHY_ENUM(name, code, text) REMOTE_WHY_##name,
    REMOTE_WHYS(REMOTE_WHY_ENUM)
#undef REMOTE_WHY_ENUM
    REMOTE_WHYS_N
} remote_why;

/* The last reason, with a sentence that names rule and remedy. */
typedef struct remote_refusal {
    remote_why why;
    cellar_err code;
    int sys_errno;
    char text[240];
} remote_refusal;

/* Counters of the link. */
#define REMOTE_LINK_COUNTS(X) \
    X(ATTEMPTS) X(LINKS) X(PROOFS) X(GAPS) X(TIMEOUTS) X(BREAKER) X(FULL) X(RINGS) X(REQUESTS) \
    X(REPEATED) X(OOM) X(BYTES_IN) X(BYTES_OUT)

enum {
#define REMOTE_COUNT_ENUM(name) REMOTE_LINK_##name,
    REMOTE_LINK_COUNTS(REMOTE_COUNT_ENUM)
#undef REMOTE_COUNT_ENUM
    REMOTE_LINK_COUNTS_N
};

#define REMOTE_TRIP_BUCKETS 24u /* bucket i: below 2^i us; one more: the sum in us */

/* Figures of a link. */
typedef struct remote_figures {
    remote_state state;
    uint64_t counts[REMOTE_LINK_COUNTS_N];
    uint64_t gaps[REMOTE_WHYS_N];            /* by reason */
    uint64_t trips[REMOTE_TRIP_BUCKETS + 1];     /* sent to answered, of requests */
    uint64_t journeys[REMOTE_TRIP_BUCKETS + 1];  /* sent to heard, of markers */
    int64_t proof_age_ms;                    /* -1: no proof yet */
    int64_t journey_us;                      /* of the newest marker that came back */
    uint32_t addresses;                      /* of the server: attempts take them in turn */
} remote_figures;

/* Functions of the layer above. All but now_ms, memory and log run in the I/O thread. */
typedef struct remote_events {
    void *ctx;
    const remote_memory *memory;
    int64_t (*now_ms)(void *ctx);   /* clock of the store */
    /* Write prefix number `i` of the keys to hear into `to`; return its length; 0: no more. The
     * list only grows. No prefix begins another one. The link adds the prefix of its markers. */
    size_t (*prefix)(void *ctx, size_t i, char *to, size_t cap);
    const char *(*script)(void *ctx, size_t i); /* text of script number `i`; NULL: no more */
    /* Take the digest of a script, 40 hexadecimal digits. Called for each script, before `linked`
     * and after a loss of the scripts. */
    void (*script_loaded)(void *ctx, size_t i, const char *digest);
    /* Return the digest of the script with this name, or the name of that with this digest; no
     * bytes: no such script. NULL: there is none. Runs where replies do. */
    cellar_bytes (*script_other)(void *ctx, cellar_bytes word);
    void (*heard)(void *ctx, const char *key, size_t len); /* one key changed */
    void (*heard_flush)(void *ctx); /* all keys changed */
    void (*gap)(void *ctx);         /* delivery is not proven any more */
    void (*linked)(void *ctx);      /* tracking is on: read control keys, end entries, replay the
                                     * journal, all by remote_post; then call remote_synced */
    void (*proven)(void *ctx, int64_t until_ms); /* a marker came back */
    /* Send what is due, in each round of a usable link. Return the ms until the next call at most.
     * NULL: nothing is. */
    int64_t (*beat)(void *ctx);
    /* Log a line. No secret is in `text`. code: CELLAR_OK or the reason. */
    void (*log)(void *ctx, cellar_err code, const char *text);
    bool *forked; /* set in a forked child; NULL: nothing is */
} remote_events;

/* The command that runs a script: that of a port, or of a Redis. */
#define REMOTE_EVAL_COMMAND(port) { (port) ? "CELLAR.TIER" : "EVALSHA", (port) ? 11 : 7 }

/* One request for a script. After NOSCRIPT the link loads the scripts and sends the request again.
 * A request for the other kind of server gets the first words of this kind instead. */
#define REMOTE_SCRIPTED 1u
/* One WAIT. The link wakes the server until it answers. */
#define REMOTE_WAITS 2u

/* Commands to send together. `bytes` stay valid until remote_ask returns or `done` is called. */
typedef struct remote_request {
    const char *bytes;
    size_t bytes_len;
    const remote_memory *memory; /* frees the block `bytes` of remote_post; NULL: nothing does */
    size_t bytes_cap;            /* of that block */
    uint32_t replies; /* commands in `bytes`: one reply each. At least 1 */
    uint32_t flags;   /* REMOTE_SCRIPTED, REMOTE_WAITS, or 0 */
    int64_t wait_ms;  /* the longest wait for the last reply. 0: io_ms of the link */
    void *ctx;
    /* Take reply number `index`. Called by the runner, in order. NULL: replies are dropped. */
    void (*fn)(void *ctx, uint32_t index, const remote_reply *reply);
    /* Take the end of a posted request, in the I/O thread, or in remote_post when it fails at once.
     * Not used by remote_ask. */
    void (*done)(void *ctx, cellar_err err, remote_fate fate);
} remote_request;

typedef struct remote_link remote_link;
CELLAR_PRIVATE remote_state remote_link_state(const remote_link *l);

/* ---- time and waits (reason.c) --------------------------------------------------------------- */

CELLAR_PRIVATE int64_t remote_mono_ns(void);
#define REMOTE_ALL_BITS UINT32_MAX
/* Wake the threads that wait for one of `bits`. */
CELLAR_PRIVATE void remote_futex_wake(_Atomic uint32_t *word, uint32_t bits);
/* Sleep while the word is `seen`, until a wake with one of `bits` or the time of remote_mono_ns. */
CELLAR_PRIVATE void remote_futex_wait(_Atomic uint32_t *word, uint32_t bits, uint32_t seen,
                                      int64_t until_ns);

#endif
