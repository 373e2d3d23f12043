/* SPDX-License-Identifier: MIT
 *
 * pending: writes that the server has not confirmed: the journal of deletes, the queue of
 *          BEHIND. */
#ifndef REMOTE_PENDING_H
#define REMOTE_PENDING_H

#include "remote/data.h"
#include "remote/share.h"

typedef enum remote_pending_kind {
    REMOTE_PENDING_NONE,
    REMOTE_PENDING_DELETE, /* the key counts as deleted */
    REMOTE_PENDING_VALUE   /* `fn` got the bytes of the queue */
} remote_pending_kind;

/* Look for a pending write of a name. `fn` is called with the lock of the queue: it copies. end_ms:
 * end of the life of the value, which may have passed. */
typedef void remote_pending_fn(void *ctx, const void *bytes, size_t len, int64_t end_ms);
CELLAR_PRIVATE remote_pending_kind remote_pending_look(remote_space *s, const remote_name *n,
                                                       remote_pending_fn *fn, void *ctx);

/* Note that a key must be deleted in the server, and begin to send it. Returns false if there is no
 * room: then the namespace ends for all processes as soon as the server answers; with RAW it does
 * not, and the caller reports an error. */
CELLAR_PRIVATE bool remote_pending_delete(remote_space *s, const remote_name *n, cellar_bytes key);

/* Release a lease of a load without a value, or a state that a change without an answer has read,
 * but no counter: now, or when the server answers again. False: half of the journal has no room,
 * and the lease ends by itself. */
CELLAR_PRIVATE bool remote_pending_release(remote_space *s, const remote_name *value,
                                           cellar_bytes key, const remote_lease *l);

/* Queue a value until `end_ms`. Otherwise nothing is done.
 * returns: OK; E_BREAKER_OPEN (values are not queued now), E_LIMIT (no room) */
CELLAR_PRIVATE cellar_err remote_pending_value(remote_space *s, const remote_name *n,
                                               cellar_bytes key, cellar_bytes value,
                                               int64_t end_ms);

/* End the namespace for all processes as soon as the server answers. */
CELLAR_PRIVATE void remote_pending_clear(remote_space *s);

/* Append the command that deletes a key: REMOTE_SCRIPTED, one reply. */
CELLAR_PRIVATE void remote_drop_format(const remote_space *s, cellar_bytes name, remote_bytes *b);

/* Send what waits, unless a batch is on its way. */
CELLAR_PRIVATE void remote_pending_kick(remote_space *s);

/* Let values be queued from now on, or not. In a gap another process may write a newer value. */
CELLAR_PRIVATE void remote_pending_queues(remote_space *s, bool on);

/* Turn queued values into deletes, also those on their way: another process may have written a
 * newer value, or the values are deleted. */
CELLAR_PRIVATE void remote_pending_demote(remote_space *s);

/* Return the number of the delete of a name that waits; 0: none; REMOTE_PENDING_END: the end of the
 * namespace waits. Either would end a later write of the name. */
#define REMOTE_PENDING_END UINT64_MAX
CELLAR_PRIVATE uint64_t remote_pending_waits(remote_space *s, const remote_name *n);
/* Take that delete out of the journal: the server has confirmed it. */
CELLAR_PRIVATE void remote_pending_settle(remote_space *s, const remote_name *n, uint64_t change);

/* Return whether nothing waits. */
CELLAR_PRIVATE bool remote_pending_empty(remote_space *s);

/* Make the table of pending writes, at the attach. False: no memory. */
CELLAR_PRIVATE bool remote_pending_open(remote_space *s);
/* Free all of it. */
CELLAR_PRIVATE void remote_pending_free(remote_space *s);

#endif
