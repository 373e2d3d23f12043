/* SPDX-License-Identifier: MIT
 *
 * wheel: hierarchical timer wheel.
 *
 * PICTURE    now = bytes n3 n2 n1 n0 of the time in ms; level n holds the times that differ from
 *            `now` in byte n and in no higher byte, in the slot of byte n:
 *                level 0 |0|1|..|255| 1 ms each     level 1 |0|1|..|255| 256 ms each     ..
 *                far: times of another block of 2^32 ms (49.7 days)
 * INVARIANTS armed_count == sum of all rings. A slot of level n > 0 that is in use lies after byte
 *            n of `now`, but for the slot that is being moved. All times of level 0 lie before all
 *            of level 1, and so on.
 * WALK       add -> highest byte that differs -> end of a ring, set the bit.
 *            cancel -> unlink; the bit stays until the slot is visited.
 *            pop -> slot of now -> else the first slot in use, lowest level first: jump there; of a
 *            higher level: move its timers down, `now` being the start of the slot.
 * LOCKING    None: the owner of the wheel has one lock around it. No thread, no clock.
 * LIMITS     A pop looks at most at `budget` timers. A slot that is moved in part keeps the rest.
 * SOURCE     Varghese and Lauck 1987, hashed and hierarchical timing wheels. Own code.
 * SEE ALSO   README.md in this folder: figures, rejected designs. */
#include "wheel/wheel.h"

#include <string.h>

#include "base/check.h"
#include "base/num.h"

#define WHEEL_BITS 8u
#define WHEEL_BYTE(time, level) ((unsigned)((uint64_t)(time) >> (WHEEL_BITS * (level))) & 255u)

CELLAR_PRIVATE void wheel_init(wheel *w, int64_t now_ms)
{
    BASE_ASSERT(now_ms >= 0);
    w->now_ms = now_ms;
    w->armed_count = 0;
    w->moving = 0;
    memset(w->used, 0, sizeof w->used);
    for (int level = 0; level < WHEEL_LEVELS; level++) {
        for (int i = 0; i < WHEEL_SLOTS; i++) {
            wheel_timer *head = &w->slot[level][i];
            head->next = head->prev = head;
        }
    }
    w->far.next = w->far.prev = &w->far;
    w->entered.next = w->entered.prev = &w->entered;
}

/* Put a timer at the end of its ring. */
static void wheel_file(wheel *w, wheel_timer *t)
{
    const int64_t due_ms = BASE_MAX(t->due_ms, w->now_ms);
    const uint64_t differ = (uint64_t)due_ms ^ (uint64_t)w->now_ms;
    wheel_timer *head = &w->far;
    if (BASE_LIKELY(differ >> (WHEEL_BITS * WHEEL_LEVELS) == 0)) {
        const unsigned level = base_log2_floor(differ) / WHEEL_BITS;
        const unsigned i = WHEEL_BYTE(due_ms, level);
        head = &w->slot[level][i];
        w->used[level][i / 64] |= (uint64_t)1 << i % 64;
    }
    t->next = head;
    t->prev = head->prev;
    head->prev->next = t;
    head->prev = t;
}

static void wheel_unlink(wheel_timer *t)
{
    t->prev->next = t->next;
    t->next->prev = t->prev;
    t->next = t->prev = NULL;
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
    wheel_unlink(t);
    w->armed_count--;
}

/* Return the first slot of a level in use after slot `after`; WHEEL_SLOTS: none. Clear the bits of
 * slots that cancels have emptied. */
static unsigned wheel_slot_after(wheel *w, unsigned level, unsigned after)
{
    unsigned i = after + 1;
    while (i < WHEEL_SLOTS) {
        const uint64_t bits = w->used[level][i / 64] >> i % 64;
        if (bits == 0) {
            i = (i / 64 + 1) * 64;
            continue;
        }
        i += (unsigned)__builtin_ctzll(bits);
        if (w->slot[level][i].next != &w->slot[level][i]) { return i; }
        w->used[level][i / 64] &= ~((uint64_t)1 << i % 64);
    }
    return WHEEL_SLOTS;
}

/* Find the first slot after the slot of now_ms, and the time at which it begins. *level:
 * WHEEL_LEVELS for the far timers. False: there is none. */
static bool wheel_seek(wheel *w, unsigned *level, int64_t *at_ms)
{
    const uint64_t now = (uint64_t)w->now_ms;
    for (*level = 0; *level < WHEEL_LEVELS; ++*level) {
        const unsigned i = wheel_slot_after(w, *level, WHEEL_BYTE(now, *level));
        if (i < WHEEL_SLOTS) {
            const unsigned shift = WHEEL_BITS * *level;
            *at_ms = (int64_t)((now >> shift >> WHEEL_BITS << WHEEL_BITS | i) << shift);
            return true;
        }
    }
    *at_ms = (int64_t)(((now >> 32) + 1) << 32);
    return w->far.next != &w->far && *at_ms > 0; /* the last block of all has no next one */
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
    w->far.next = w->far.prev = &w->far;
}

/* Move the timers of the slot down. False: the budget is used up. */
static bool wheel_move_down(wheel *w, uint32_t *budget)
{
    wheel_timer *head = w->moving == WHEEL_LEVELS
                            ? &w->entered : &w->slot[w->moving][WHEEL_BYTE(w->now_ms, w->moving)];
    while (head->next != head) {
        wheel_timer *t = head->next;
        if (*budget == 0) { return false; }
        --*budget;
        wheel_unlink(t);
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
        wheel_timer *head = &w->slot[0][WHEEL_BYTE(w->now_ms, 0)], *t = head->next;
        if (t != head) {
            if (*budget == 0) { return NULL; }
            --*budget;
            wheel_unlink(t);
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
    const wheel_timer *head = &w->slot[0][WHEEL_BYTE(w->now_ms, 0)];
    unsigned level;
    int64_t at_ms;
    if (w->armed_count == 0) { return BASE_NEVER_MS; }
    if (w->moving != 0 || head->next != head) { return w->now_ms; }
    return wheel_seek(w, &level, &at_ms) ? at_ms : BASE_NEVER_MS;
}

/* Return the length of a ring; UINT64_MAX: a link is wrong. */
static uint64_t wheel_ring(const wheel_timer *head)
{
    uint64_t count = 0;
    for (const wheel_timer *t = head->next; t != head; t = t->next, count++) {
        if (t->next->prev != t || t->prev->next != t) { return UINT64_MAX; }
    }
    return count;
}

BASE_SPARE CELLAR_PRIVATE bool wheel_audit(const wheel *w)
{
    uint64_t count = wheel_ring(&w->far) + wheel_ring(&w->entered);
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        const unsigned now = WHEEL_BYTE(w->now_ms, level);
        const unsigned first = level == 0 || level == w->moving ? now : now + 1;
        for (unsigned i = 0; i < WHEEL_SLOTS; i++) {
            const uint64_t n = wheel_ring(&w->slot[level][i]);
            if (n != 0 && (i < first || (w->used[level][i / 64] >> i % 64 & 1) == 0)) {
                return false;
            }
            count += n;
        }
    }
    return count == w->armed_count;
}
