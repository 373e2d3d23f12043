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
 * SEE ALSO   flight.c; src/load/README.md has the proof. */
#ifndef LOAD_FLIGHT_H
#define LOAD_FLIGHT_H

#include "load/bytes.h"
#include "load/fork.h"
#include "load/invalidate.h"
#include "load/lease.h"
#include "load/table.h"
#include "load/types.h"
#include "load/wait.h"

CELLAR_PRIVATE flight_entry flight_enter(flight_table *t, const flight_ask *ask, flight **out);

/* Begin the job of a queued flight. Return false if another thread leads it, if it ended, or if it
 * was invalidated; this call ends an invalidated flight. */
CELLAR_PRIVATE bool flight_start(flight_table *t, flight *f, int64_t now_ms,
                                 int64_t hard_timeout_ms);

/* flight_deep: return true at FLIGHT_DEPTH_MAX nested loads of this thread. flight_lead_begin ties
 * the flight to the thread that leads it, for cycles and for leaders lost by longjmp. `frame` is an
 * address in the leading function. Several flights of one frame begin one after the other. */
#define FLIGHT_DEPTH_MAX 16u
CELLAR_PRIVATE bool flight_deep(const base_thread_record *self);
CELLAR_PRIVATE void flight_lead_begin(flight *f, uintptr_t frame);
CELLAR_PRIVATE void flight_lead_end(flight *f); /* ends all flights begun after it, too */
/* Return whether this thread leads the flight from this frame. For a flight that was joined. */
CELLAR_PRIVATE bool flight_led_from(const flight *f, uintptr_t frame);
/* Cancel the flights that this thread led in frames that a longjmp left. */
CELLAR_PRIVATE void flight_reap(uintptr_t frame);

/* Complete a flight: unlink it, wake the waiters, call the subscribers, drop the ref of the caller.
 * If an outcome exists already, it stays and the value of `o` is dropped. */
CELLAR_PRIVATE void flight_end(flight_table *t, flight *f, const flight_outcome *o);

/* Keep the value that the loader set so far. The flight frees it if the leader is lost. */
BASE_INLINE void flight_draft(flight *f, flight_bytes *value) { f->draft = value; }
BASE_INLINE flight_bytes *flight_drafted(const flight *f) { return f->draft; }

/* Keep the notes of reads by the loader until the last ref of the flight is dropped. */
BASE_INLINE void flight_notes_set(flight *f, void *notes)
{
    BASE_ASSERT(base_load_rlx(&f->notes) == NULL);
    base_store_rel(&f->notes, notes);
}
BASE_INLINE void *flight_notes(const flight *f) { return base_load_acq(&f->notes); }

/* NULL: the host's code returned */
CELLAR_PRIVATE void flight_will_set(flight *f, const flight_will *will);

#endif
