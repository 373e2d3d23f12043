/* SPDX-License-Identifier: MIT
 *
 * resolve: the address of a name, without waiting for it. */
#ifndef REMOTE_RESOLVE_H
#define REMOTE_RESOLVE_H

#include <pthread.h>

#include "remote/wire.h"

/* Start a thread that blocks all signals. False: the system refused it. */
CELLAR_PRIVATE bool remote_thread_start(pthread_t *t, const char *name, void *(*fn)(void *ctx),
                                        void *ctx);
/* A name that a thread of its own resolves. */
typedef struct remote_lookup remote_lookup;

/* Resolve `a` to its address number `turn`, modulo their count. Paths, numeric addresses and
 * "localhost" need no thread. Call again after PENDING; an answer counts for one call.
 * in/out:  *l: the lookup that runs, NULL: none. One runs at a time, also for another name
 * returns: OK; PENDING; E_NOT_FOUND: the name has no address; E_NOMEM: no memory, or no thread */
CELLAR_PRIVATE cellar_err remote_resolve(remote_lookup **l, const remote_address *a, uint32_t turn,
                                         remote_peer *out);
/* Forget a lookup. Its thread frees it. NULL is allowed. */
CELLAR_PRIVATE void remote_lookup_leave(remote_lookup *l);

#endif
