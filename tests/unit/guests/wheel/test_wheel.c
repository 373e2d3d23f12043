/* SPDX-License-Identifier: MIT
 *
 * Aim:    every timer leaves the wheel once, at the first pop at its time or later, in order of
 *         time; a pop looks at no more timers than its budget.
 * Method: random operations beside a plain array of deadlines; a virtual clock with steps from 0 ms
 *         to months; wheel_audit after every pop. */
#include "tests/support/draw.h"
#include "wheel/wheel.h"

#define TIMERS 300

static wheel w;

/* A length of every size: 0 ms to 2^40 ms. */
static int64_t draw_ms(void) { return (int64_t)(draw(UINT64_C(1) << 40) >> draw(41)); }

static wheel_timer *pop(int64_t now_ms)
{
    uint32_t budget = UINT32_MAX;
    return wheel_pop(&w, now_ms, &budget);
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

/* Check every ring and count. */
static bool wheel_audit(const wheel *of)
{
    static const struct { unsigned slots, shift; } levels[WHEEL_LEVELS] = {
        { 1024, 0 }, { 1024, 10 }, { 64, 20 }, { 64, 26 }
    };
    uint64_t count = wheel_ring(&of->far) + wheel_ring(&of->entered);
    unsigned i = 0;
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        const unsigned slots = levels[level].slots, end = i + slots;
        const unsigned now = i + (unsigned)(of->now_ms >> levels[level].shift) % slots;
        const unsigned first = level == 0 || level == of->moving ? now : now + 1;
        for (; i < end; i++) {
            const uint64_t n = wheel_ring((const wheel_timer *)(const void *)of->slot[i]);
            if (n != 0 && (i < first || (of->used[i / 64] >> i % 64 & 1) == 0)) { return false; }
            count += n;
        }
    }
    return i == WHEEL_SLOTS && count == of->armed_count;
}

typedef struct model {
    wheel_timer t[TIMERS];
    int64_t due_ms[TIMERS]; /* -1: not armed */
    int64_t now_ms;
} model;
static model m;

static int64_t model_first(void)
{
    int64_t first = INT64_MAX;
    for (int i = 0; i < TIMERS; i++) {
        if (m.due_ms[i] >= 0 && m.due_ms[i] < first) { first = m.due_ms[i]; }
    }
    return first;
}

/* Pop all timers that are due, in steps of a random budget. A late add is due in its order. */
static void model_pop(void)
{
    int64_t before = -1;
    for (;;) {
        const uint32_t given = 1 + (uint32_t)draw(20);
        uint32_t budget = given;
        wheel_timer *t = wheel_pop(&w, m.now_ms, &budget);
        T_CHECK(wheel_audit(&w));
        if (t == NULL && budget == 0) { continue; }
        if (t == NULL) { break; }
        const size_t i = (size_t)(t - m.t);
        T_CHECK(m.due_ms[i] >= 0 && m.due_ms[i] <= m.now_ms && m.due_ms[i] >= before);
        before = m.due_ms[i];
        m.due_ms[i] = -1;
        T_CHECK(!wheel_is_armed(t));
    }
    T_CHECK(model_first() > m.now_ms);
}

T_CASE(every_timer_is_popped_once_in_order_of_time)
{
    draw_state = t_seed();
    for (uint64_t round = 0; round < t_share(40) && !t_failed(); round++) {
        m = (model){ .now_ms = round % 4 == 0 ? (INT64_C(1) << 32) - 5 : draw_ms() };
        wheel_init(&w, m.now_ms);
        for (int i = 0; i < TIMERS; i++) { m.due_ms[i] = -1; }
        for (int step = 0; step < 2000 && !t_failed(); step++) {
            const size_t i = draw(TIMERS);
            if (draw(8) == 0) {
                m.now_ms += draw(3) == 0 ? draw_ms() : (int64_t)draw(600);
                model_pop();
                const int64_t next = wheel_next_ms(&w);
                T_CHECK(next <= model_first() && next > m.now_ms);
            } else if (m.due_ms[i] < 0) {
                m.due_ms[i] = m.now_ms + draw_ms() + 1;
                wheel_add(&w, &m.t[i], m.due_ms[i]);
            } else if (draw(2) == 0) {
                wheel_cancel(&w, &m.t[i]);
                wheel_cancel(&w, &m.t[i]); /* a second one does nothing */
                m.due_ms[i] = -1;
            }
        }
        m.now_ms = INT64_MAX - 1;
        model_pop();
        T_EQ_U64(w.armed_count, 0);
        T_EQ_I64(wheel_next_ms(&w), INT64_MAX);
    }
}

T_CASE(add_of_a_time_that_has_passed_is_due_immediately)
{
    wheel_timer t = { 0 };
    wheel_init(&w, 1000);
    wheel_add(&w, &t, 10);
    T_EQ_I64(wheel_next_ms(&w), 1000);
    T_CHECK(pop(999) == NULL); /* the wheel is never moved back, and fires nothing before its time */
    T_CHECK(pop(1000) == &t);
}

T_CASE(equal_times_are_popped_in_order_of_add)
{
    wheel_timer t[3] = { { 0 } };
    wheel_init(&w, 0);
    for (int i = 0; i < 3; i++) { wheel_add(&w, &t[i], 70000); }
    for (int i = 0; i < 3; i++) { T_CHECK(pop(70000) == &t[i]); }
}

/* The time of the next work may lie before the first timer, never after it; following it takes one
 * step a level. */
T_CASE(idle_stretch_takes_a_step_for_each_level)
{
    wheel_timer t = { 0 };
    int steps = 0;
    wheel_init(&w, 77);
    wheel_add(&w, &t, INT64_C(0x1234567890));
    for (int64_t at = 77; (at = wheel_next_ms(&w)) < t.due_ms; steps++) {
        T_CHECK(pop(at) == NULL);
    }
    T_CHECK(pop(t.due_ms - 1) == NULL);
    T_CHECK(pop(INT64_C(0x1234567890)) == &t);
    T_CHECK(steps <= 22); /* 18 blocks of 2^32 ms, four levels */
}

T_CASE(full_slot_is_moved_in_slices)
{
    enum { MANY = 5000 };
    static wheel_timer t[MANY];
    wheel_init(&w, 0);
    for (int i = 0; i < MANY; i++) { wheel_add(&w, &t[i], 3000); }
    int calls = 0, popped = 0;
    while (popped < MANY) {
        uint32_t budget = 1024;
        while (wheel_pop(&w, 3000, &budget) != NULL) { popped++; }
        calls++;
        T_CHECK(wheel_audit(&w));
        T_REQUIRE(calls < 100);
    }
    T_EQ_I64(calls, 10); /* each timer is looked at twice */
}

T_ONE_THREAD;
T_MAIN("wheel")
