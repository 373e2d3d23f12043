/* SPDX-License-Identifier: MIT
 *
 * futex: a lock word and its slow half, waits on words, yielding. Ranks are in sync.h.
 *
 * LOCK       4 bytes: 0 free, 1 held, 2 held with sleepers. A waiter spins, then sleeps. */
#ifndef BASE_FUTEX_H
#define BASE_FUTEX_H

#include "base/atomic.h"
#include "base/port.h"

typedef struct sync_lock {
    _Atomic uint32_t word; /* 0 free, 1 held, 2 held, sleepers; acquire in take, release in drop */
} sync_lock;

CELLAR_PRIVATE void sync_lock_slow(sync_lock *l);
CELLAR_PRIVATE bool sync_lock_until(sync_lock *l, uint64_t deadline_ns);
CELLAR_PRIVATE void sync_wake_slow(sync_lock *l);
CELLAR_PRIVATE int sync_spins(void); /* pauses before the first sleep of a wait */

/* Take and drop a lock without a rank. */
BASE_INLINE void sync_bare_take(sync_lock *l)
{
    if (BASE_UNLIKELY(!base_cas_ar(&l->word, 0u, 1u))) { sync_lock_slow(l); }
}
BASE_INLINE void sync_bare_drop(sync_lock *l)
{
    if (BASE_UNLIKELY(base_xchg_ar(&l->word, 0u) == 2u)) { sync_wake_slow(l); }
}
/* Free the lock in a forked child: its holder does not exist there. */
BASE_INLINE void sync_reset(sync_lock *l) { base_store_rel(&l->word, 0u); }

/* Sleep once while *word == expected. Return 0 (woken, or for no reason), EAGAIN (the word
 * changed), EINTR or ETIMEDOUT. */
CELLAR_PRIVATE int sync_futex_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t deadline_ns,
                                   const char *point);
CELLAR_PRIVATE void sync_wake(_Atomic uint32_t *word, int count); /* INT_MAX: all */
CELLAR_PRIVATE void base_yield(void);
CELLAR_PRIVATE void base_sleep_ns(uint64_t ns);
CELLAR_PRIVATE unsigned base_cpu_count(void);

#endif
