/* SPDX-License-Identifier: MIT
 *
 * link: the connection to the server: requests and replies, invalidations, proofs of delivery.
 *
 * PICTURE    callers -> tickets -> one thread -> *data* connection -> replies in order -> callers
 *                                             -> *subscriber*      -> invalidations -> events
 * STATES     DOWN    no usable connection; requests fail at once
 *            LINKED  both connections answer; tracking is not on yet
 *            GAP     tracking is on, but delivery is not proven: control keys are read, entries end
 *            PROVEN  the last marker came back; remote_proven_until() is in the future
 *            SUSPECT a marker is late by proof_ms / 2
 * INVARIANTS proven_until <= time at which the newest returned marker was sent + proof_ms.
 *            Tracking is on before `linked` is called. No proof is given between `gap` and
 *            remote_synced().
 * LOCKING    remote_ask and remote_post: any thread. Events and reply functions run one at a time:
 *            in the I/O thread, replies to remote_ask also in the thread of any caller that waits.
 *            They must not wait and must not call remote_ask.
 * SEE ALSO   README.md of this folder: facts of the server, rejected designs. */
#ifndef REMOTE_LINK_H
#define REMOTE_LINK_H

#include "remote/config.h"
#include "remote/link_types.h"

/* Create a link and start its thread, unless no_thread. The call does not connect.
 * in:      c: constant until remote_link_close; e: copied
 * returns: OK; E_NOMEM, E_IO (no descriptor) */
CELLAR_PRIVATE cellar_err remote_link_open(const remote_config *c, const remote_events *e,
                                           remote_link **out);
/* Stop the thread, end all requests with E_CLOSED, and free the link. In a forked child: do
 * nothing. Not in the I/O thread. */
CELLAR_PRIVATE void remote_link_close(remote_link *l);
/* Descriptor to poll, of a link with no_thread; else -1. */
CELLAR_PRIVATE int remote_link_fd(const remote_link *l);
/* Run the link once, waiting for `wait_ms` at most. PENDING: requests wait for
 * the next round. E_BUSY: another thread runs it. E_DEADLOCK, E_FORKED. */
CELLAR_PRIVATE cellar_err remote_link_step(remote_link *l, int64_t wait_ms);

/* Send a request and wait for its replies.
 * out:     *fate (may be NULL) of a failed request
 * returns: OK: `fn` has taken all replies, errors of the server among them. E_TIMEOUT: after
 *          wait_ms. E_IO: the connection was lost. E_BREAKER_OPEN: no connection, returned at once.
 *          E_LIMIT: too many requests under way. E_CLOSED, E_FORKED. E_DEADLOCK: called in the
 *          I/O thread.
 *          After any return neither `fn` runs nor `bytes` are read.
 * thread:  any. With no_thread this call runs the link while it waits. */
CELLAR_PRIVATE cellar_err remote_ask(remote_link *l, const remote_request *q, remote_fate *fate);

/* Send a request and return. `done` is called exactly once, with a code of remote_ask.
 * thread:  any, also the I/O thread inside events and replies */
CELLAR_PRIVATE void remote_post(remote_link *l, const remote_request *q);

/* Say that entries, control keys and journal are in order after `linked`. The link sends a marker;
 * when it is back, the state is PROVEN. I/O thread. Without effect after another `gap`. */
CELLAR_PRIVATE void remote_synced(remote_link *l);

/* Give up after `linked`: what remote_synced needs did not succeed. The link connects again. I/O
 * thread. err: E_FOREIGN: a control key is one of another program. */
CELLAR_PRIVATE void remote_sync_failed(remote_link *l, cellar_err err);

/* Begin a gap without a new connection: gap, tracking of the prefixes that were added, `linked`.
 * Any thread. */
CELLAR_PRIVATE void remote_retrack(remote_link *l);

/* Send a fresh marker and wait until it is back (the fence). Callers share a marker.
 * returns: OK: all changes that any process had acknowledged before this call are heard; E_TIMEOUT,
 *          E_BREAKER_OPEN, E_CLOSED, E_FORKED, E_DEADLOCK */
CELLAR_PRIVATE cellar_err remote_marker_now(remote_link *l, int64_t wait_ms);

/* Wait until the link takes requests.
 * returns: OK; E_TIMEOUT, E_CLOSED, E_FORKED, E_DEADLOCK */
CELLAR_PRIVATE cellar_err remote_link_await(remote_link *l, int64_t wait_ms);

/* Return how many prefixes of the list the connection hears. Thread of the link. */
CELLAR_PRIVATE uint32_t remote_tracked(const remote_link *l);
/* Return the time of the store until which all changes are known to be heard; 0: no proof. */
CELLAR_PRIVATE int64_t remote_proven_until(const remote_link *l);
/* Estimate the clock of the server in ms since 1970, from the last marker: the latest it can be.
 * *error_ms: how much earlier it can be. 0: not known yet. */
CELLAR_PRIVATE int64_t remote_engine_now(const remote_link *l, int64_t *error_ms);
/* Read the figures of a link. */
CELLAR_PRIVATE void remote_link_figures(const remote_link *l, remote_figures *out);
/* Read the last reason for a lost or refused connection. why is NONE if there was none. */
CELLAR_PRIVATE void remote_link_refusal(remote_link *l, remote_refusal *out);
/* What the link knows of a Sentinel. */
typedef struct remote_sentinel_view {
    remote_address at, named; /* its own; of the primary, port 0: it names none */
    int64_t age_ms;           /* of `named` */
    const char *text;         /* why it names none; "": no answer yet */
    bool objects;             /* that is its answer */
} remote_sentinel_view;
/* Look at Sentinel number `i`. Return false if there is none. Thread of the link. */
BASE_SPARE CELLAR_PRIVATE bool remote_sentinel_look(const remote_link *l, uint32_t i,
                                                    remote_sentinel_view *out);
/* Return the bytes of the longest value that a port takes, envelope included; 0: a Redis. */
CELLAR_PRIVATE uint64_t remote_largest(const remote_link *l);
/* Return the server of the last attempt. Thread of the link. */
BASE_SPARE CELLAR_PRIVATE const remote_address *remote_link_at(const remote_link *l);
/* Return whether the caller is inside the I/O thread of the link. */
CELLAR_PRIVATE bool remote_inside(const remote_link *l);

#endif
