/* SPDX-License-Identifier: MIT
 *
 * message_kit: groups, routes and messages of the pool of task_kit.h. */
#ifndef SUPPORT_MESSAGE_KIT_H
#define SUPPORT_MESSAGE_KIT_H

#include "tests/support/bus_send.h"
#include "tests/support/task_kit.h"

static cellar_bus_group_config group_opts;

/* Begin with the defaults of a group. `config` of the kit is set. */
static inline void open_empty(void)
{
    group_opts = cellar_bus_group_config_default();
    open_with(NULL);
}

static inline void start(void)
{
    defaults();
    open_empty();
}

#define MESSAGES(fn) T_WITHIN(fn, start(), close_it())

static inline void group(const char *queue, const char *name, cellar_task_fn fn)
{
    T_REQUIRE(cellar_bus_group_add(p, queue, name, fn, NULL, &group_opts) == CELLAR_OK);
}

static inline void route(const char *pattern, const char *queue)
{
    T_EQ_I64(cellar_bus_route(p, pattern, queue, CELLAR_BUS_AMQP, true), CELLAR_OK);
}

static inline cellar_err publish(const char *key, const char *body)
{
    return cellar_bus_publish(p, key, body, strlen(body), NULL);
}

static inline cellar_err send(const char *queue, const char *body)
{
    return bus_send(p, queue, body, strlen(body), NULL);
}

/* Send a message for each byte. */
static inline void send_all(const char *queue, const char *bodies)
{
    for (; *bodies != '\0'; bodies++) {
        T_EQ_I64(bus_send(p, queue, bodies, 1, NULL), CELLAR_OK);
    }
}

static inline cellar_pool_stats of_group(const char *name)
{
    cellar_pool_stats st = cellar_pool_stats_default();
    T_EQ_I64(cellar_pool_stats_get(p, name, &st), CELLAR_OK);
    T_EQ_U64(st.submitted + st.requeued + st.restored,
             st.ok + st.failed + st.cancelled + st.expired + st.live);
    return st;
}

/* Take one message of a group; its body is `body`. */
static inline const cellar_task *take(const char *name, const char *body)
{
    const cellar_task *t = NULL;
    uint32_t n = 0;
    T_EQ_I64(cellar_task_take(p, name, 30000, 0, &t, 1, &n), CELLAR_OK);
    T_REQUIRE(n == 1 && t->payload_len == strlen(body));
    T_EQ_MEM(t->payload, body, strlen(body));
    return t;
}

static inline void take_none(const char *name)
{
    const cellar_task *t;
    uint32_t n;
    T_EQ_I64(cellar_task_take(p, name, 30000, 0, &t, 1, &n), CELLAR_OK);
    T_EQ_U64(n, 0);
}

static inline void settle(const cellar_task *t, cellar_verdict v)
{
    T_EQ_I64(cellar_task_settle(t, v), CELLAR_OK);
}

static inline void take_and_end(const char *name, const char *body)
{
    settle(take(name, body), cellar_verdict_ok());
}

/* Take a message for each byte. */
static inline void take_all(const char *name, const char *bodies)
{
    for (; *bodies != '\0'; bodies++) { take_and_end(name, (const char[]){ *bodies, '\0' }); }
}

#endif
