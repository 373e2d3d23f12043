/* SPDX-License-Identifier: MIT
 *
 * bus_types: groups, routes and subscribers of a pool; the body of a message.
 *
 * PICTURE    route: pattern --> bus_queue -- bus_group -- name of the pool --> rows
 *            message: one counted body, a row (task) for each group
 *            body: task_body | bus_head, body, key, headers | type | bus_extra, pointers to headers
 * INVARIANTS The bytes from bus_head to the headers are the payload of each row and in the journal.
 *            A row of an ordered group is queued, runs or waits for another attempt only as the
 *            holder of its lane. The others of the lane are behind it, in its ring.
 * LOCKING    The lock of the pool, rank QUEUE. Functions of the program run without it. */
#ifndef WORK_BUS_TYPES_H
#define WORK_BUS_TYPES_H

#include <string.h>

#include "work/bus_topic.h"
#include "work/task_types.h"

#define BUS_LANES 256u
#define BUS_TYPE "\001message" /* content type of the body of a message */
#define BUS_DROP_NEW (CELLAR_POOL_DROP_OLDEST + 1) /* on_full of a name */

typedef struct bus_head { /* begin of the payload of a row */
    uint64_t id;
    int64_t expires_ms;      /* life; 0: no limit */
    uint64_t body_len;
    uint32_t header_count;
    uint16_t key_len;
    uint8_t priority, reserved;
    uint8_t trace[CELLAR_BUS_TRACE_BYTES];
} bus_head;

typedef struct bus_extra { /* behind the payload, in memory alone */
    int64_t until_ms;        /* monotonic; BASE_NEVER_MS: no limit */
    int64_t wall_ms;         /* of the publish; that of the body becomes a link */
    uint32_t lane, reserved;
    cellar_bus_header header[]; /* header_count of them */
} bus_extra;

typedef struct bus_lane {
    wheel_timer wait;        /* head: rows behind the holder */
    task *holder;            /* NULL: none */
} bus_lane;

typedef struct bus_group {
    struct bus_group *next;  /* of the queue, in order of adding */
    struct bus_queue *queue; /* NULL: of none yet */
    struct bus_queue **fresh; /* in cellar_bus_group_add: the queue, to enter if it is new */
    task_name *name;
    char dead_queue[CELLAR_NAME_MAX + 1]; /* "": none */
    cellar_bus_group_config o; /* texts of the caller are not valid: see below */
    char *filter_texts;      /* header name and values, each with its 0; NULL: no such filter */
    size_t filter_bytes;
    uint32_t lane_count;     /* 0: not ordered */
    bus_lane lane[];
} bus_group;

typedef struct bus_queue {   /* stays until the close */
    UT_hash_handle hh;
    bus_group *groups;       /* NULL: the queue is unknown */
    char name[CELLAR_NAME_MAX + 1];
} bus_queue;

typedef struct bus_route {
    struct bus_route *next;
    bus_queue *queue;
    bus_topic topic;
} bus_route;

typedef struct bus_subscriber {
    wheel_timer link;        /* first field; in order of id; removed ones with calls as well */
    uint64_t id;
    uint32_t refs;           /* present + running calls */
    bool present;
    cellar_signal_fn fn;
    void *ctx;
    cellar_bus_free_fn free_fn;
    bus_topic topic;
} bus_subscriber;

typedef struct bus_scope {   /* on the stack of a thread that calls a subscriber */
    wheel_timer link;        /* first field */
    int32_t tid;
} bus_scope;

/* Copy a text to *to and move *to behind it. */
BASE_INLINE void bus_text(char **to, const char *text)
{
    const size_t bytes = strlen(text) + 1;
    memcpy(*to, text, bytes);
    *to += bytes;
}
BASE_INLINE bool bus_has_filter(const bus_group *g)
{
    return g->filter_texts != NULL || g->o.filter_fn != NULL || g->o.filter_priority != 0;
}
/* Return whether the rows of a group may be in a burst: it has no filter and no order. */
BASE_INLINE bool bus_is_plain(const bus_group *g)
{
    return g->lane_count == 0 && !bus_has_filter(g);
}
BASE_INLINE const bus_head *bus_head_of(const task_body *b) { return b->data; }
/* Return what programs see of a body. */
BASE_INLINE cellar_bytes task_payload(const task_body *b)
{
    return b->message ? (cellar_bytes){ bus_head_of(b) + 1, (size_t)bus_head_of(b)->body_len }
                      : (cellar_bytes){ b->data, b->len };
}
BASE_INLINE bus_extra *bus_extra_of(task_body *b)
{
    const size_t at = (b->len + sizeof BUS_TYPE + 15) / 16 * 16;
    return (bus_extra *)(void *)((char *)(b + 1) + at);
}

#endif
