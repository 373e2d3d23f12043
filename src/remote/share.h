/* SPDX-License-Identifier: MIT
 *
 * share: leases of loads, limiters and locks over processes. */
#ifndef REMOTE_SHARE_H
#define REMOTE_SHARE_H

#include "remote/key.h"
#include "remote/link.h"
#include "remote/remote.h"

/* ---- The part ------------------------------------------------------------------------------- */

/* Allocate the part `share`. Returns OK, E_NOMEM. */
CELLAR_PRIVATE cellar_err remote_share_open(cellar_remote *r);
/* Free the part `share`. Limiters are closed, and no call waits for a lock. */
CELLAR_PRIVATE void remote_share_close(cellar_remote *r);
/* Wake the waiters of a lock, if `key` is the name of one. I/O thread. Also without `share`. */
CELLAR_PRIVATE void remote_share_heard(cellar_remote *r, const char *key, size_t len);
/* Wake all waiters: changes may have been missed, or the server was flushed. I/O thread. */
CELLAR_PRIVATE void remote_share_gap(cellar_remote *r);
/* Return the text of a script from REMOTE_SCRIPT_BUCKET on. */
CELLAR_PRIVATE const char *remote_share_script(remote_script s);

/* ---- Scripts that return numbers ------------------------------------------------------------ */

enum { REMOTE_ARGS_MAX = 12, REMOTE_NUMBERS_MAX = 4 };

/* The arguments of one command. Texts outlive the call that sends them. */
typedef struct remote_args {
    size_t count;
    const char *text[REMOTE_ARGS_MAX];
    size_t len[REMOTE_ARGS_MAX];
    char number[REMOTE_ARGS_MAX][24]; /* text of remote_arg_number */
} remote_args;

/* Begin an EVALSHA with `key_count` keys, which remote_arg appends first. */
CELLAR_PRIVATE void remote_args_script(remote_args *a, const cellar_remote *r, remote_script s,
                                       size_t key_count);
CELLAR_PRIVATE void remote_arg(remote_args *a, const void *text, size_t len);
CELLAR_PRIVATE void remote_arg_number(remote_args *a, int64_t n);

/* Run a script and copy its numbers, at most REMOTE_NUMBERS_MAX; missing ones are 0.
 * wait_ms 0: io_ms. *fate may be NULL.
 * returns: OK; E_SPACE (the server is out of memory), E_IO (another error of the server), E_NOMEM,
 *          codes of remote_ask */
CELLAR_PRIVATE cellar_err remote_script_run(cellar_remote *r, const remote_args *a,
                                            int64_t wait_ms, int64_t *numbers, remote_fate *fate);
/* Send a script and drop its reply. */
CELLAR_PRIVATE void remote_script_post(cellar_remote *r, const remote_args *a);

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
    const void *key;
    size_t key_len;
    uint64_t generation, born;  /* of the placeholder: epochs at the begin of the load */
    bool raw;                   /* values have no check */
    int64_t hold_ms;            /* the lease ends by itself after hold_ms + 1 s */
    /* Judge what the key has, in the I/O thread. OK, ABSENT, E_BUFFER: a value, which the function
     * has copied. PENDING: the lease of another process. MISS: to be replaced. E_UNSUPPORTED: a
     * value of another program. */
    cellar_err (*judge)(void *ctx, const char *bytes, size_t len);
    void *ctx;
} remote_lease_ask;

/* Take the lease of a key, or judge the value that has its place.
 * out:     *l with LEASED; *left_ms with PENDING: the longest life of the other lease; *fate:
 *          UNKNOWN with an error if the server may have given the lease *l: it must be released
 * returns: LEASED, PENDING; OK, ABSENT, E_BUFFER of `judge`; load without a lease: E_SPACE (the
 *          server is out of memory), E_UNSUPPORTED (the value is of another program, or shorter
 *          than an envelope), CONFLICT (other processes change it), codes of remote_ask
 * cost:    one round trip; one more for each change of a dead value meanwhile, at most 4 */
CELLAR_PRIVATE cellar_err remote_lease_take(cellar_remote *r, const remote_lease_ask *q,
                                            remote_lease *l, int64_t *left_ms, remote_fate *fate);
/* Append the request of remote_lease_take to `b`. Its two replies: nil, or what the key has; PTTL.
 * out:     *l: the lease, if the first reply is nil
 * returns: OK, E_NOMEM */
CELLAR_PRIVATE cellar_err remote_lease_format(cellar_remote *r, const remote_lease_ask *q,
                                              remote_bytes *b, remote_lease *l);
/* Take the lease beside the value, which stays readable: for a refresh, and for RAW.
 * out:     as above; *there: with LEASED the code of `judge` for the value, MISS without one and
 *          for RAW, E_UNSUPPORTED for a key of another type
 * returns: LEASED, PENDING, codes of remote_ask */
CELLAR_PRIVATE cellar_err remote_lease_take_beside(cellar_remote *r, const remote_lease_ask *q,
                                                   remote_lease *l, int64_t *left_ms,
                                                   cellar_err *there, remote_fate *fate);
/* Store the loaded value for ttl_ms if the lease is held. value_len 0: delete the placeholder.
 * returns: OK; INVALIDATED: the key has changed or the lease has ended; E_SPACE, codes of
 *          remote_ask (see *fate) */
CELLAR_PRIVATE cellar_err remote_lease_fill(cellar_remote *r, const remote_name *name,
                                            const remote_lease *l, const void *value,
                                            size_t value_len, int64_t ttl_ms, remote_fate *fate);
CELLAR_PRIVATE cellar_err remote_lease_fill_beside(cellar_remote *r, const remote_lease_ask *q,
                                                   const remote_lease *l, const void *value,
                                                   size_t value_len, int64_t ttl_ms,
                                                   remote_fate *fate);

enum { REMOTE_LEASE_TOKEN = 17 };

/* Write the name of the key that holds a lease, and the token in it; return its length. */
CELLAR_PRIVATE size_t remote_lease_name(const remote_lease_ask *q, const remote_lease *l,
                                        remote_name *name, char *token);
/* Append the command that releases a lease if the key still holds its token. One reply. */
CELLAR_PRIVATE cellar_err remote_lease_release(const cellar_remote *r, const char *name,
                                               size_t name_len, const char *token,
                                               size_t token_len, remote_bytes *b);

#endif
