/* SPDX-License-Identifier: MIT
 *
 * flight: one load of one key, with its leader and its waiters.
 *
 * ROLES      Leader: gets FLIGHT_LED, calls flight_end, which drops its ref.
 *            Waiter: gets FLIGHT_JOINED, calls flight_wait (or flight_leave), which drops its ref.
 *            Writer of the key: calls flight_invalidate inside its window: the load is invalid.
 *            Leader that stores its value: calls flight_may_publish inside its window.
 * PROTOCOL   Leader: attach, count + 1, fence, then look for the key again.
 *            Writer: make the window odd, then read the count.
 *            Publisher: unlink inside the window.
 * SEE ALSO   flight.c; flight/README.md has the proof. */
#ifndef FLIGHT_FLIGHT_H
#define FLIGHT_FLIGHT_H

#include "flight/types.h"

CELLAR_PRIVATE flight_entry flight_enter(flight_table *t, const flight_ask *ask, flight **out);

/* Begin the job of a queued flight. Return false if another thread leads it, if it ended, or if it
 * was invalidated; this call ends an invalidated flight. */
CELLAR_PRIVATE bool flight_start(flight_table *t, flight *f, int64_t now_ms,
                                 int64_t hard_timeout_ms);

/* Count the nested loads of this thread. No load begins at FLIGHT_DEPTH_MAX. */
#define FLIGHT_DEPTH_MAX 16u
CELLAR_PRIVATE uint32_t flight_depth(void);
/* Tie the flight to the thread that leads it, for cycles. Flights of one bulk load begin one after
 * the other, with the same `depth`: flight_depth() + 1 before the first. */
CELLAR_PRIVATE void flight_lead_begin(flight *f, uint32_t depth);
CELLAR_PRIVATE void flight_lead_end(flight *f); /* ends all flights begun after it, too */
/* Return whether this thread leads the flight at this depth. For a flight that was joined. */
CELLAR_PRIVATE bool flight_led_at(const flight *f, uint32_t depth);

/* Unlink the flight of the publisher. `key->bytes` is the pointer of flight_key_of and names the
 * flight. Return false if the flight was invalidated. */
CELLAR_PRIVATE bool flight_may_publish(flight_table *t, const flight_key *key);
/* Complete a flight: unlink it, wake the waiters, call the subscribers, drop the ref of the caller.
 * If an outcome exists already, it stays and the value of `o` is dropped. */
CELLAR_PRIVATE void flight_end(flight_table *t, flight *f, const flight_outcome *o);

/* Keep the options of a lease until the last ref of the flight is dropped. */
BASE_INLINE void flight_keep(flight *f, flight_bytes *kept) { f->kept = kept; }
BASE_INLINE flight_bytes *flight_kept(const flight *f) { return f->kept; }
/* Keep the texts of tags until the last ref of the flight is dropped. Drop those of an earlier
 * call. */
BASE_INLINE void flight_tags_keep(flight *f, flight_bytes *tags)
{
    flight_bytes_drop(f->tags);
    f->tags = tags;
}

#endif
