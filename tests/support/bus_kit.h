/* SPDX-License-Identifier: MIT
 *
 * bus_kit: a message bus on a clock that the test turns. Each step of a test checks: copies ==
 * ended + live, of the bus and of each group. */
#ifndef SUPPORT_BUS_KIT_H
#define SUPPORT_BUS_KIT_H

#include "base/mem.h"
#include "cellar_bus.h"
#include "tests/support/bus_send.h"
#include "tests/support/t.h"

static cellar_bus *b;
static int64_t now_ms;
static unsigned freed;

static inline int64_t read_clock(void *ctx) { (void)ctx; return now_ms; }

static inline cellar_host_config host_of_test(void)
{
    cellar_host_config h = { .struct_size = sizeof h, .clock = read_clock, .no_threads = 1 };
    return h;
}

static inline void open_default(const char *default_queue)
{
    const cellar_host_config h = host_of_test();
    cellar_bus_config c = { .struct_size = sizeof c, .host = &h, .default_queue = default_queue,
                            .max_groups = 8, .max_routes = 80, .max_members = 8,
                            .max_subscribers = 8 };
    now_ms = 1000000;
    freed = 0;
    T_REQUIRE(cellar_bus_open(&c, &b) == CELLAR_OK);
}

static inline cellar_bus_stats figures(void)
{
    cellar_bus_stats st = cellar_bus_stats_default();
    T_EQ_I64(cellar_bus_stats_get(b, &st), CELLAR_OK);
    T_EQ_U64(st.copies, st.acked + st.dropped_new + st.dropped_oldest + st.dropped_removed +
                            st.dead + st.expired + st.filtered + st.live);
    T_EQ_U64(st.live, st.waiting + st.delayed + st.held);
    return st;
}

static inline cellar_bus_group_stats figures_of(const char *queue, const char *group)
{
    cellar_bus_group_stats st = cellar_bus_group_stats_default();
    T_EQ_I64(cellar_bus_group_stats_get(b, queue, group, &st), CELLAR_OK);
    T_EQ_U64(st.copies, st.acked + st.dropped_new + st.dropped_oldest + st.dead + st.expired +
                            st.filtered + st.live);
    T_EQ_U64(st.live, st.waiting + st.delayed + st.held);
    T_CHECK(st.live != 0 || st.bytes == 0);
    return st;
}

static inline void close_it(void)
{
    (void)figures();
    T_EQ_I64(cellar_bus_close(b), CELLAR_OK);
    b = NULL;
}

static inline void tick(void)
{
    while (cellar_tick(b, 1000000, NULL) == CELLAR_PENDING) { }
}

static inline void pass(int64_t ms) { now_ms += ms; tick(); }

static inline void group(const char *queue, const char *name, const cellar_bus_group_config *o)
{
    T_REQUIRE(cellar_bus_group_add(b, queue, name, o) == CELLAR_OK);
}

static inline cellar_bus_member *member(const char *queue, const char *name, uint32_t prefetch)
{
    cellar_bus_member *m;
    cellar_bus_member_config o = { .struct_size = sizeof o, .prefetch = prefetch };
    T_REQUIRE(cellar_bus_join(b, queue, name, &o, &m) == CELLAR_OK);
    return m;
}

static inline cellar_err send(const char *queue, const char *body)
{
    return bus_send(b, queue, body, strlen(body), NULL);
}

static inline cellar_err publish(const char *key, const char *body)
{
    return cellar_bus_publish(b, key, body, strlen(body), NULL);
}

/* Take a message that must have this body. Return its delivery. */
static inline cellar_bus_message take(cellar_bus_member *m, const char *body)
{
    cellar_bus_message got = cellar_bus_message_default();
    T_REQUIRE(cellar_bus_take(m, 0, &got) == CELLAR_OK);
    T_EQ_U64(got.body_len, strlen(body));
    T_EQ_MEM(got.body, body, strlen(body));
    return got;
}

static inline void take_none(cellar_bus_member *m)
{
    cellar_bus_message got = cellar_bus_message_default();
    T_EQ_I64(cellar_bus_take(m, 0, &got), CELLAR_MISS);
}

static inline void count_free(void *ctx) { (void)ctx; freed++; }

/* A member function that writes down bodies, and answers what it is told. */
static char seen[4096];
static cellar_bus_verdict answer;
static cellar_bus_message last;

static inline cellar_bus_verdict note(const cellar_bus_message *m, void *ctx)
{
    (void)ctx;
    T_EQ_U64(m->struct_size, sizeof *m);
    const size_t at = strlen(seen);
    T_REQUIRE(at + m->body_len + 2 < sizeof seen);
    memcpy(seen + at, m->body, m->body_len);
    memcpy(seen + at + m->body_len, " ", 2);
    last = *m;
    return answer;
}

static inline void join_note(const char *queue, const char *name)
{
    cellar_bus_member_config o = { .struct_size = sizeof o, .fn = note, .free_fn = count_free };
    seen[0] = '\0';
    answer = CELLAR_BUS_ACK;
    T_REQUIRE(cellar_bus_join(b, queue, name, &o, NULL) == CELLAR_OK);
}

static char heard[256];

static inline void hear(const char *topic, const void *data, size_t len, void *ctx)
{
    (void)topic;
    const size_t at = strlen(heard);
    snprintf(heard + at, sizeof heard - at, "%s%.*s ", (const char *)ctx, (int)len,
             (const char *)data);
}

#endif
