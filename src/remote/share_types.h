/* SPDX-License-Identifier: MIT
 *
 * share_types: what share.c, limit.c, lock.c and lease.c have in common.
 *
 * LOCKING    lock of a remote_lock_row: guards its list and the `woken` of its waiters; no lock is
 *            taken under it. */
#ifndef REMOTE_SHARE_TYPES_H
#define REMOTE_SHARE_TYPES_H

#include <pthread.h>
#include <sys/types.h>

#include "remote/share.h"

enum { REMOTE_LOCK_ROWS = 64 };

typedef struct remote_lock_wait remote_lock_wait;

/* Waiters for the locks of one row, in order of arrival. */
typedef struct remote_lock_row {
    pthread_mutex_t lock;
    pthread_cond_t changed;       /* monotonic clock */
    remote_lock_wait *first, *last;
} remote_lock_row;

struct remote_share {
    remote_memory memory;         /* of commands */
    pid_t pid;                    /* of the process that opened it */
    uint64_t seed;                /* random: rows of names, slots of limiters */
    _Atomic uint64_t lock_waits;  /* waiters of all rows */
    remote_lock_row rows[REMOTE_LOCK_ROWS];
};

/* Fill `words` with random bits of the system. Returns OK, E_NOMEM. */
CELLAR_PRIVATE cellar_err remote_share_random(uint64_t *words, size_t count);
/* Return ms since boot, including suspend: leases and holds run with the server, which knows no
 * virtual clock of a store. */
CELLAR_PRIVATE int64_t remote_share_now(void);
/* Prepare a condition for remote_share_sleep. */
CELLAR_PRIVATE bool remote_share_cond_init(pthread_cond_t *c);
/* Wait for `c` at most `ms`. */
CELLAR_PRIVATE void remote_share_sleep(pthread_cond_t *c, pthread_mutex_t *m, int64_t ms);

#endif
