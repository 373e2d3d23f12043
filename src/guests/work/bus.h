/* SPDX-License-Identifier: MIT
 *
 * bus: functions of the files of the bus for the files above them. */
#ifndef WORK_BUS_H
#define WORK_BUS_H

#include "work/bus_types.h"

/* ---- bus_copy.c ---- */

/* Read the clock. It may be a function of the host: hold no lock. */
CELLAR_PRIVATE int64_t bus_now(const cellar_bus *b);
CELLAR_PRIVATE void bus_after_init(bus_after *a);
/* Queue members, free messages and members, wake threads and log, after the lock. */
CELLAR_PRIVATE void bus_settle(cellar_bus *b, bus_after *a);
/* Wake the thread of timers. */
CELLAR_PRIVATE void bus_ring(cellar_bus *b);
/* Return the queue of a name; NULL: unknown. */
CELLAR_PRIVATE bus_queue *bus_queue_find(cellar_bus *b, const char *name, size_t len)
    SYNC_HOLDS(BUS);
/* Put a copy of a message into a group that has room. */
CELLAR_PRIVATE void bus_enter(bus_group *g, bus_copy *c, bus_after *a) SYNC_HOLDS(BUS);
/* Give a reference of a message back. */
CELLAR_PRIVATE void bus_unref(cellar_bus *b, bus_message *m, bus_after *a) SYNC_HOLDS(BUS);
/* Count a copy that does not enter a group. */
CELLAR_PRIVATE void bus_drop_new(bus_group *g, bus_after *a) SYNC_HOLDS(BUS);
/* Return whether a group has room for `bytes` of a message. */
CELLAR_PRIVATE bool bus_has_room(const bus_group *g, size_t bytes) SYNC_HOLDS(BUS);
/* Drop the oldest waiting copies until there is room. False: there is none. */
CELLAR_PRIVATE bool bus_make_room(bus_group *g, size_t bytes, bus_after *a) SYNC_HOLDS(BUS);
/* Give the next copy of a group to a member with a free claim. NULL: none waits. */
CELLAR_PRIVATE bus_claim *bus_claim_next(cellar_bus_member *m, int64_t now, bus_after *a)
    SYNC_HOLDS(BUS);
/* What happens to a copy in the hands of a member. */
typedef enum bus_fate { BUS_ACK, BUS_REJECT, BUS_FILTER, BUS_RETRY, BUS_RETURN } bus_fate;
/* Free a claim and apply the fate to its copy. RETRY: after delay_ms. False: the hold had
 * ended. */
CELLAR_PRIVATE bool bus_unclaim(cellar_bus_member *m, bus_claim *claim, bus_fate fate,
                                int64_t delay_ms, int64_t now, bus_after *a) SYNC_HOLDS(BUS);
/* Return the claim of a delivery; NULL: it is free. */
CELLAR_PRIVATE bus_claim *bus_claim_of(cellar_bus_member *m, uint64_t delivery) SYNC_HOLDS(BUS);
/* Queue idle members while a strand is ready. */
CELLAR_PRIVATE void bus_offer_all(bus_group *g, bus_after *a) SYNC_HOLDS(BUS);
/* End the job of a member: idle, or gone if it is leaving. */
CELLAR_PRIVATE void bus_idle(cellar_bus_member *m, bus_after *a) SYNC_HOLDS(BUS);
/* Take a member without claims and job out of its group. */
CELLAR_PRIVATE void bus_unjoin(cellar_bus_member *m, bus_after *a) SYNC_HOLDS(BUS);
/* Free a member that is in no group, and call free_fn. Hold no lock. */
CELLAR_PRIVATE void bus_member_free(cellar_bus_member *m);
/* Remove all copies of a group without members. */
CELLAR_PRIVATE void bus_clear(bus_group *g, bus_after *a) SYNC_HOLDS(BUS);
/* Apply the timers that are due. *next_ms: ms until there is more to do; 0: now. */
CELLAR_PRIVATE void bus_fire(cellar_bus *b, int64_t *next_ms);
/* Sleep on a futex word of the bus, `waiters` being raised meanwhile, and take the lock again. */
CELLAR_PRIVATE void bus_sleep(cellar_bus *b, _Atomic uint32_t *word, uint32_t *waiters,
                              uint64_t until_ns) SYNC_HOLDS(BUS);
/* Run code of the host: note the thread, so that a close finds it. */
CELLAR_PRIVATE void bus_scope_enter(cellar_bus *b, bus_scope *f) SYNC_HOLDS(BUS);
CELLAR_PRIVATE void bus_scope_leave(cellar_bus *b, bus_scope *f) SYNC_HOLDS(BUS);
/* Describe a copy in a group; `delivery` is 0. */
CELLAR_PRIVATE void bus_describe(const bus_group *g, const bus_copy *c, cellar_bus_message *out)
    SYNC_HOLDS(BUS);
/* Let the hold of a copy in the hands of a member end at `due_ms`. */
CELLAR_PRIVATE void bus_hold(bus_copy *c, int64_t due_ms, bus_after *a) SYNC_HOLDS(BUS);
/* Return whether this thread runs code of the host for the bus. */
CELLAR_PRIVATE bool bus_is_mine(const void *bus) SYNC_HOLDS(BUS);

/* ---- bus_member.c ---- */

/* Run the function of a member with queued messages. The `run` of the pool. */
CELLAR_PRIVATE void bus_run_job(void *bus, base_job *j);

/* ---- bus_stat.c ---- */

/* Read the figures of a group. */
CELLAR_PRIVATE void bus_group_figures(const bus_group *g, int64_t now,
                                      cellar_bus_group_stats *out) SYNC_HOLDS(BUS);

/* Add up the figures of a bus; BYTES stays 0. */
CELLAR_PRIVATE void bus_sum(cellar_bus *b, uint64_t value[STATS_BUS_COUNT]) SYNC_HOLDS(BUS);
/* Read the figures: see stats_service. */
CELLAR_PRIVATE const char *bus_figures(void *object, uint64_t *value);
/* Return the number of copies in all groups. */
CELLAR_PRIVATE uint64_t bus_live(cellar_bus *b) SYNC_HOLDS(BUS);

/* ---- bus_group.c ---- */

/* Copy a name of the caller with 1..CELLAR_NAME_MAX bytes. */
CELLAR_PRIVATE bool bus_name(const char *name, char out[CELLAR_NAME_MAX + 1]);
/* Copy the names of a queue and of a group in it; NULL: the group "default". */
CELLAR_PRIVATE bool bus_names(const char *queue, const char *group, char q[CELLAR_NAME_MAX + 1],
                              char name[CELLAR_NAME_MAX + 1]);
/* Return a group by the names that bus_name made; NULL: unknown. */
CELLAR_PRIVATE bus_group *bus_group_find(cellar_bus *b, const char *queue, const char *group)
    SYNC_HOLDS(BUS);
CELLAR_PRIVATE void bus_group_free(bus_group *g);

/* ---- bus_signal.c ---- */

CELLAR_PRIVATE void bus_subscriber_free(cellar_bus *b, bus_subscriber *s);

#endif
