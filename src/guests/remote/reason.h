/* SPDX-License-Identifier: MIT
 *
 * reason: why a link ends, its states and counters, and the seams to the system. */
#ifndef REMOTE_REASON_H
#define REMOTE_REASON_H

#include "remote/link_inside.h"

enum { REMOTE_AT_TEXT = 56 };

/* Write the address of this attempt, shortened, to `to`. Return `to`. */
CELLAR_PRIVATE const char *remote_at_text(const remote_link *l, char to[REMOTE_AT_TEXT]);

/* Note why the connections must close, at the end of the round. The first reason wins. */
CELLAR_PRIVATE void remote_break(remote_link *l, remote_why why, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Break with an error reply: "`what`: its text". */
CELLAR_PRIVATE void remote_break_reply(remote_link *l, remote_why why, const char *what,
                                       const remote_reply *reply);
CELLAR_PRIVATE void remote_break_wire(remote_link *l, const remote_wire *w);
/* Write a warning once for each reason between two proofs, and one each 5 s at most. NONE: a late
 * marker; REMOTE_WHYS_N: a full server, once for each link. */
CELLAR_PRIVATE void remote_warn(remote_link *l, uint32_t why, cellar_err code, const char *text);
CELLAR_PRIVATE void remote_state_set(remote_link *l, remote_state s);
CELLAR_PRIVATE void remote_gap_begin(remote_link *l);
/* Return the reason that an error reply of the server gives; NONE: it concerns one request. */
CELLAR_PRIVATE remote_why remote_why_of(const remote_reply *error);
/* Return whether `r` is a string and has this text; NULL is none. */
CELLAR_PRIVATE bool remote_is_text(const remote_reply *r, const char *text);

CELLAR_PRIVATE void remote_wake(remote_link *l);
CELLAR_PRIVATE void remote_count(remote_link *l, uint32_t which, uint64_t n);
CELLAR_PRIVATE void remote_trip_note(_Atomic uint64_t *buckets, int64_t ns);

#endif
