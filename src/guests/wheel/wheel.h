/* SPDX-License-Identifier: MIT
 *
 * wheel: timers with a resolution of 1 ms; add and cancel in O(1). */
#ifndef WHEEL_WHEEL_H
#define WHEEL_WHEEL_H

#include "base/port.h"

#define WHEEL_LEVELS 4
#define WHEEL_SLOTS (1024 + 1024 + 64 + 64) /* of the levels, lowest first */

typedef struct wheel_timer { /* part of a struct of the owner; all zero: not armed */
    struct wheel_timer *next, *prev; /* ring of a slot; NULL: not armed */
    int64_t due_ms;                  /* constant while armed */
} wheel_timer;

typedef struct wheel {
    int64_t now_ms;          /* no armed timer is due before it, but those of its own slot */
    uint64_t armed_count;    /* == sum of all ring lengths */
    uint32_t moving;         /* the slot of this level at now_ms is being moved down; 0: none */
    uint64_t used[WHEEL_SLOTS / 64]; /* bit 0: the slot is empty */
    wheel_timer *slot[WHEEL_SLOTS][2]; /* `next` and `prev` of a head: a head has no due time */
    wheel_timer far;         /* head: timers of a later block of 2^32 ms */
    wheel_timer entered;     /* head: `far` of the block that has begun, while it is moved down */
} wheel;

/* Make an empty wheel that stands at `now_ms`. now_ms from 0. */
CELLAR_PRIVATE void wheel_init(wheel *w, int64_t now_ms);
/* Arm a timer that is not armed. A time that has passed is due at the next wheel_pop. */
CELLAR_PRIVATE void wheel_add(wheel *w, wheel_timer *t, int64_t due_ms);
/* Disarm a timer. One that is not armed stays as it is. */
CELLAR_PRIVATE void wheel_cancel(wheel *w, wheel_timer *t);
/* Move the wheel forward and return the next timer that is due at `now_ms` or before, disarmed.
 * Order: by time, then by wheel_add. Each timer looked at takes one from *budget. NULL: none is
 * due; or *budget is 0 and the next call continues. A wheel is never moved back. */
CELLAR_PRIVATE wheel_timer *wheel_pop(wheel *w, int64_t now_ms, uint32_t *budget);
/* Return the time at which wheel_pop has work again: no later than the first timer is due.
 * BASE_NEVER_MS: no timer is armed. */
CELLAR_PRIVATE int64_t wheel_next_ms(wheel *w);

BASE_INLINE bool wheel_is_armed(const wheel_timer *t) { return t->next != NULL; }

/* Make an empty ring, for timers that are in no wheel as well. Its head is none of them. */
BASE_INLINE void wheel_ring_init(wheel_timer *head) { head->next = head->prev = head; }
BASE_INLINE bool wheel_ring_empty(const wheel_timer *head) { return head->next == head; }
BASE_INLINE void wheel_ring_add(wheel_timer *before, wheel_timer *t)
{
    t->next = before;
    t->prev = before->prev;
    before->prev->next = t;
    before->prev = t;
}
BASE_INLINE void wheel_ring_remove(wheel_timer *t)
{
    t->next->prev = t->prev;
    t->prev->next = t->next;
    t->next = t->prev = NULL;
}

#endif
