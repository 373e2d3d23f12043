/* SPDX-License-Identifier: MIT
 *
 * wheel: hierarchical timer wheel.
 *
 * PICTURE    level of a timer: the highest part of the time in ms in which it differs from `now`
 *                now = far | 6 bits | 6 bits | 10 bits | 10 bits       slot = that part of its time
 *                level 0: 1024 slots of 1 ms         level 1: 1024 slots of 1.024 s
 *                level 2: 64 slots of 17.5 minutes   level 3: 64 slots of 18.6 hours
 *                far: times of another block of 2^32 ms (49.7 days)
 * INVARIANTS armed_count == sum of all rings. A slot of level n > 0 that is in use lies after the
 *            slot of `now`, but for the slot that is being moved. All times of level 0 lie before
 *            all of level 1, and so on.
 * WALK       add -> highest part that differs -> end of a ring, set the bit.
 *            cancel -> unlink; the bit stays until the slot is visited.
 *            pop -> slot of now -> else the first slot in use, lowest level first: jump there; of a
 *            higher level: move its timers down, `now` being the start of the slot. A move reads
 *            the ring from its end as well, so that two cache misses overlap.
 * LOCKING    None: the owner of the wheel has one lock around it. No thread, no clock.
 * LIMITS     A pop looks at most at `budget` timers. A slot that is moved in part keeps the rest.
 * SOURCE     Varghese and Lauck 1987, hashed and hierarchical timing wheels. Own code.
 * SEE ALSO   README.md in this folder: figures, rejected designs. */
#include "wheel/wheel.h"

#include <string.h>

#include "base/check.h"
#include "base/num.h"

/* A time without its `wheel_shift[n]` low bits counts slots of level n. The slots of level n are
 * those from wheel_first[n] to wheel_first[n + 1]. */
static const uint8_t wheel_shift[WHEEL_LEVELS + 1] = { 0, 10, 20, 26, 32 };
static const uint16_t wheel_first[WHEEL_LEVELS + 1] = { 0, 1024, 2048, 2112, WHEEL_SLOTS };

/* Return the slot of a time in a level. */
BASE_INLINE unsigned wheel_slot(int64_t time_ms, unsigned level)
{
    const unsigned count = (unsigned)wheel_first[level + 1] - wheel_first[level];
    return wheel_first[level] + ((unsigned)((uint64_t)time_ms >> wheel_shift[level]) & (count - 1));
}
BASE_INLINE wheel_timer *wheel_head(wheel *w, unsigned slot)
{
    return (wheel_timer *)(void *)w->slot[slot];
}
BASE_INLINE bool wheel_slot_empty(wheel *w, unsigned slot)
{
    return wheel_ring_empty(wheel_head(w, slot));
}

CELLAR_PRIVATE void wheel_init(wheel *w, int64_t now_ms)
{
    BASE_ASSERT(now_ms >= 0);
    w->now_ms = now_ms;
    w->armed_count = 0;
    w->moving = 0;
    memset(w->used, 0, sizeof w->used);
    for (unsigned i = 0; i < WHEEL_SLOTS; i++) { wheel_ring_init(wheel_head(w, i)); }
    wheel_ring_init(&w->far);
    wheel_ring_init(&w->entered);
}

/* Put a timer at the end of its ring. */
static void wheel_file(wheel *w, wheel_timer *t)
{
    const int64_t due_ms = BASE_MAX(t->due_ms, w->now_ms);
    const uint64_t differ = (uint64_t)due_ms ^ (uint64_t)w->now_ms;
    wheel_timer *head = &w->far;
    if (BASE_LIKELY(differ >> 32 == 0)) {
        unsigned level = 0;
        while (differ >> wheel_shift[level + 1] != 0) { level++; }
        const unsigned i = wheel_slot(due_ms, level);
        head = wheel_head(w, i);
        w->used[i / 64] |= (uint64_t)1 << i % 64;
    }
    wheel_ring_add(head, t);
}

CELLAR_PRIVATE void wheel_add(wheel *w, wheel_timer *t, int64_t due_ms)
{
    BASE_ASSERT(!wheel_is_armed(t));
    t->due_ms = due_ms;
    w->armed_count++;
    wheel_file(w, t);
}

CELLAR_PRIVATE void wheel_cancel(wheel *w, wheel_timer *t)
{
    if (!wheel_is_armed(t)) { return; }
    wheel_ring_remove(t);
    w->armed_count--;
}

/* Return the first slot in use after slot `i` of a level; wheel_first[level + 1]: none. Clear the
 * bits of slots that cancels have emptied. */
static unsigned wheel_slot_after(wheel *w, unsigned level, unsigned i)
{
    const unsigned end = wheel_first[level + 1];
    for (i++; i < end;) {
        const uint64_t bits = w->used[i / 64] >> i % 64;
        if (bits == 0) {
            i = (i / 64 + 1) * 64;
            continue;
        }
        i += (unsigned)__builtin_ctzll(bits);
        if (!wheel_slot_empty(w, i)) { return i; }
        w->used[i / 64] &= ~((uint64_t)1 << i % 64);
    }
    return end;
}

/* Find the first slot after the slot of now_ms, and the time at which it begins. *level:
 * WHEEL_LEVELS for the far timers. False: there is none. */
static bool wheel_seek(wheel *w, unsigned *level, int64_t *at_ms)
{
    const uint64_t now = (uint64_t)w->now_ms;
    for (*level = 0; *level < WHEEL_LEVELS; ++*level) {
        const unsigned i = wheel_slot_after(w, *level, wheel_slot(w->now_ms, *level));
        if (i < wheel_first[*level + 1]) {
            const unsigned above = wheel_shift[*level + 1];
            const uint64_t count = i - wheel_first[*level];
            *at_ms = (int64_t)(now >> above << above | count << wheel_shift[*level]);
            return true;
        }
    }
    *at_ms = (int64_t)(((now >> 32) + 1) << 32);
    return !wheel_ring_empty(&w->far) && *at_ms > 0; /* the last block of all has no next one */
}

/* Let the wheel stand at the start of a slot, or of a block. Its timers move down next. */
static void wheel_jump(wheel *w, unsigned level, int64_t at_ms)
{
    w->now_ms = at_ms;
    w->moving = level;
    if (level < WHEEL_LEVELS) { return; }
    w->entered.next = w->far.next;
    w->entered.prev = w->far.prev;
    w->entered.next->prev = w->entered.prev->next = &w->entered;
    wheel_ring_init(&w->far);
}

/* Move the timers of the slot down. False: the budget is used up. */
static bool wheel_move_down(wheel *w, uint32_t *budget)
{
    wheel_timer *head = w->moving == WHEEL_LEVELS
                            ? &w->entered : wheel_head(w, wheel_slot(w->now_ms, w->moving));
    wheel_timer *back = head->prev; /* comes to meet `t`; head: they have met */
    while (head->next != head) {
        wheel_timer *t = head->next;
        if (*budget == 0) { return false; }
        --*budget;
        if (back != head) {
            wheel_timer *const before = back->prev;
            BASE_PREFETCH(before);
            back = back == t || before == t ? head : before;
        }
        wheel_ring_remove(t);
        wheel_file(w, t);
    }
    w->moving = 0;
    return true;
}

CELLAR_PRIVATE wheel_timer *wheel_pop(wheel *w, int64_t now_ms, uint32_t *budget)
{
    while (w->now_ms <= now_ms) {
        if (w->armed_count == 0) {
            w->moving = 0;
            w->now_ms = now_ms;
            return NULL;
        }
        if (w->moving != 0 && !wheel_move_down(w, budget)) { return NULL; }
        wheel_timer *head = wheel_head(w, wheel_slot(w->now_ms, 0)), *t = head->next;
        if (t != head) {
            if (*budget == 0) { return NULL; }
            --*budget;
            wheel_ring_remove(t);
            w->armed_count--;
            return t;
        }
        unsigned level;
        int64_t at_ms;
        if (w->now_ms == now_ms) { return NULL; }
        if (!wheel_seek(w, &level, &at_ms) || at_ms > now_ms) {
            w->now_ms = now_ms;
            return NULL;
        }
        wheel_jump(w, level, at_ms);
    }
    return NULL;
}

CELLAR_PRIVATE int64_t wheel_next_ms(wheel *w)
{
    unsigned level;
    int64_t at_ms;
    if (w->armed_count == 0) { return BASE_NEVER_MS; }
    if (w->moving != 0 || !wheel_slot_empty(w, wheel_slot(w->now_ms, 0))) { return w->now_ms; }
    return wheel_seek(w, &level, &at_ms) ? at_ms : BASE_NEVER_MS;
}
