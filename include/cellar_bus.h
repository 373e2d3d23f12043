/* SPDX-License-Identifier: MIT
 *
 * guest: may change until 1.0.
 *
 * cellar_bus: messages inside one process, as rows of a pool, and signals.
 *
 * CALL PATTERN
 *     #include "cellar_bus.h"    // drop-in: part of "cellar_all.h"
 *     static cellar_verdict deliver(const cellar_task *t, void *ctx)
 *     {
 *         return send_mail(ctx, t->payload, t->payload_len) ? cellar_verdict_ok()
 *                                                           : cellar_verdict_retry();
 *     }
 *     cellar_pool *p;
 *     if (cellar_pool_open(NULL, &p) != CELLAR_OK) return 1;
 *     cellar_bus_group_add(p, "mail", NULL, deliver, server, NULL);
 *     cellar_bus_route(p, "user.#.mail", "mail", CELLAR_BUS_AMQP, true);
 *     cellar_bus_publish(p, "user.7.mail", text, text_len, NULL);
 *     cellar_pool_drain(p, CELLAR_DRAIN_ALL, 5000, NULL);
 *     cellar_pool_close(p);
 *
 * QUEUE   A queue is a name with one or more groups. Each group gets a row for each message; the
 *         rows share the bytes.
 * GROUP   A group is a name of the pool, as cellar_task_register makes it: its rows are tasks.
 *         Verdicts, lists, figures, dead letters, pauses and the journal are those of tasks.
 * LIMITS  A group has a limit of messages and of bytes; on_full says what a publish does then. The
 *         limits of the pool hold for all its tasks and messages: each row counts, with its bytes.
 * SIGNALS  cellar_signal_emit calls its subscribers on the thread of the caller, without a queue.
 * MORE    See TOPICS, GROUPS, ORDER, LOSS, JOURNAL and RESTRICTIONS. */
#ifndef CELLAR_BUS_H
#define CELLAR_BUS_H

#include "cellar.h"
#include "cellar_task.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Types ---------------------------------------------------------------------------------- */

/* Limits of messages. */
#define CELLAR_BUS_KEY_MAX     255u  /* bytes of a key or a pattern                               */
#define CELLAR_BUS_WORDS_MAX   16u   /* words of a key, or of an AMQP pattern                     */
#define CELLAR_BUS_QUEUES_MAX  64u   /* queues that one message reaches                           */
#define CELLAR_BUS_HEADERS_MAX 64u   /* headers of a message, values of a filter                  */
#define CELLAR_BUS_PRIORITY_MAX 9u   /* largest priority                                          */
#define CELLAR_BUS_TRACE_BYTES 32u   /* bytes of the trace context                                */

/* How a pattern of cellar_bus_route or cellar_signal_subscribe is read; see TOPICS. */
typedef enum cellar_bus_syntax {
    CELLAR_BUS_AMQP = 0, /* words by '.'; '*' is one word, '#' zero or more                       */
    CELLAR_BUS_GLOB = 1  /* pattern of Redis over the whole key                                   */
} cellar_bus_syntax;

/* What a publish does when a group is full. */
typedef enum cellar_bus_on_full {
    CELLAR_BUS_FULL_ERROR = 0,      /* the publish returns E_BUSY; no group gets the message      */
    CELLAR_BUS_FULL_BLOCK = 1,      /* the publish waits up to block_timeout_ms of the pool; then */
                                    /* E_TIMEOUT                                                  */
    CELLAR_BUS_FULL_DROP_NEW = 2,   /* this group does not get the message                        */
    CELLAR_BUS_FULL_DROP_OLDEST = 3 /* the oldest waiting messages of this group are dropped; if  */
                                    /* all are in hand, E_BUSY                                    */
} cellar_bus_on_full;

/* One header of a message, for cellar_bus_publish_opts and cellar_bus_message. */
typedef struct cellar_bus_header {
    const char *name, *value; /* texts, terminated */
} cellar_bus_header;

/* A message, from cellar_bus_message_of. All pointers stay valid as long as its task. Start from
 * cellar_bus_message_default(). */
typedef struct cellar_bus_message {
    size_t   struct_size;    /* set by cellar_bus_message_default()                               */
    const void *body;        /* bytes of the publish                                              */
    size_t   body_len;       /* bytes of `body`                                                   */
    const char *key;         /* key of the message, as given to the publish                       */
    const char *queue;       /* queue of the group                                                */
    const cellar_bus_header *headers; /* headers of the publish                                   */
    uint64_t id;             /* rises with each message of the pool; equal in all groups          */
    int64_t  published_wall_ms; /* UNIX ms of the publish                                         */
    const char *died_in;     /* queue in which a message of a dead_queue died; NULL: it did not   */
    uint32_t priority;       /* 0..CELLAR_BUS_PRIORITY_MAX                                        */
    uint32_t header_count;   /* number of `headers`                                               */
    uint8_t  trace[CELLAR_BUS_TRACE_BYTES]; /* trace context of the publish                       */
} cellar_bus_message;
CELLAR_STRUCT(cellar_bus_message, trace);

/* Return whether a group wants a message: cellar_bus_group_config.filter_fn.
 * in:      m: valid until the function returns; ctx: filter_ctx of the group
 * returns: true: deliver it; false: the filter does not pass
 * owns:    ctx lives until the group is removed or the pool closed
 * thread:  that of the function of the group, or the one inside cellar_task_take, where it must
 *          not end its thread; several at a time. No lock is held. The function may block, and may
 *          call its pool as cellar_task_fn
 * cost:    part of each delivery                                                                 */
typedef bool (*cellar_bus_filter_fn)(const cellar_bus_message *m, void *ctx);

/* Free the context of a subscription.
 * in:      ctx of the subscription
 * owns:    ctx belongs to the function. The pool calls it once, when the subscription has ended and
 *          no call of it runs any more. A subscribe that fails does not call it
 * thread:  the one that ended it: a caller of unsubscribe, emit or cellar_pool_close. No lock is
 *          held. The function may block, and must not call the pool
 * cost:    that thread waits for it                                                              */
typedef void (*cellar_bus_free_fn)(void *ctx);

/* Receive a signal: the function of cellar_signal_subscribe.
 * in:      topic and data: those of the emit, valid until the function returns; ctx of the
 *          subscription
 * owns:    nothing is copied; ctx is valid until free_fn gets it
 * thread:  the one inside cellar_signal_emit, or that of a port for its clients; several at a time.
 *          No lock is held. The function may block the emit, and may call every function of the
 *          pool, but cellar_pool_close and cellar_pool_drain return E_DEADLOCK
 * cost:    the emit waits for it                                                                 */
typedef void (*cellar_signal_fn)(const char *topic, const void *data, size_t len, void *ctx);

/* Options of a group, for cellar_bus_group_add. Start from cellar_bus_group_config_default(). 0 or
 * NULL in a field: its default. A message that does not pass the filters counts as filtered. */
typedef struct cellar_bus_group_config {
    size_t   struct_size;    /* set by cellar_bus_group_config_default()                          */
    uint64_t max_bytes;      /* bytes of its messages, with 64 for each. Range 1..2^64 - 1 bytes. */
                             /* Default 64 MiB                                                    */
    int64_t  visibility_ms;  /* hold of a delivery to a function: its hard time-out. A take has a */
                             /* hold of its own.                                                  */
                             /* Range 1..CELLAR_POOL_DELAY_MAX_MS ms. Default 30,000              */
    int64_t  retry_ms;       /* delay after a retry, or after a hold that passed.                 */
                             /* Range 1..CELLAR_POOL_DELAY_MAX_MS ms. Default 0: none, at the     */
                             /* front                                                             */
    const char *dead_queue;  /* receives dead letters, in its first group and beyond its limits.  */
                             /* Copied. Default NULL, and a queue without a group: they are dead  */
                             /* letters of the pool                                               */
    cellar_bus_filter_fn filter_fn; /* filter: a function. Default NULL: none                     */
    void    *filter_ctx;     /* given to filter_fn                                                */
    const char *filter_header; /* filter: the value of this header is one of filter_values.       */
                             /* Copied. Default NULL: none                                        */
    const char *const *filter_values; /* texts, 64 KiB with filter_header, copied; only with it   */
    uint32_t filter_value_count; /* number of `filter_values`. Range 1..CELLAR_BUS_HEADERS_MAX; 0 */
                             /* without filter_header                                             */
    uint32_t filter_priority; /* filter: least priority of a message.                             */
                             /* Range 1..CELLAR_BUS_PRIORITY_MAX. Default 0: none                 */
    uint32_t filter_any;     /* 1: one filter that passes is enough. Default 0: all must pass     */
    uint32_t max_messages;   /* messages in the group. Range 1..1,048,576. Default 65,536         */
    uint32_t max_deliver;    /* deliveries of a message. Range 1..255. Default 5                  */
    uint32_t parallel;       /* deliveries at the same time. Range 1..2^32 - 1. Default 0: no     */
                             /* limit                                                             */
    uint32_t ordered;        /* 1: messages of a key are handled one after another; not with      */
                             /* FULL_DROP_OLDEST. Default 0                                       */
    cellar_bus_on_full on_full; /* what a publish does when the group is full. Default FULL_ERROR */
} cellar_bus_group_config;
CELLAR_STRUCT(cellar_bus_group_config, on_full);

/* Options of a message, for cellar_bus_publish. Start from cellar_bus_publish_opts_default(). */
typedef struct cellar_bus_publish_opts {
    size_t   struct_size;    /* set by cellar_bus_publish_opts_default()                          */
    const cellar_bus_header *headers; /* copied. Default NULL: none                               */
    int64_t  expires_ms;     /* a message that waits longer is not delivered.                     */
                             /* Range 1..2^63 - 1 ms. Default 0: no limit                         */
    uint32_t header_count;   /* number of `headers`. Range 0..CELLAR_BUS_HEADERS_MAX              */
    uint32_t priority;       /* importance for filters and functions; does not change the order.  */
                             /* Range 0..CELLAR_BUS_PRIORITY_MAX. Default 0                       */
    uint32_t direct;         /* 1: the key is the name of a queue, and no route counts. Default 0 */
    uint32_t reserved0;      /* must be 0                                                         */
    uint8_t  trace[CELLAR_BUS_TRACE_BYTES]; /* handed on, never read. Default zeros               */
} cellar_bus_publish_opts;
CELLAR_STRUCT(cellar_bus_publish_opts, trace);

/* ---- Groups and routes ---------------------------------------------------------------------- */

/* Add a group to a queue; the first one makes the queue. A group sees the messages that are
 * published from now on, and those of the journal with its name.
 * in:      queue of 1..64 bytes;
 *          group of 1..64 bytes: name in the pool. NULL counts as the name of the queue;
 *          fn: gets each message as a task, see cellar_bus_message_of. NULL: cellar_task_take takes
 *          the messages, from a queue of the pool with the name of the group; ctx: given to fn;
 *          o from cellar_bus_group_config_default; NULL = defaults
 * returns: OK; EXISTS (the pool has a group or a task name with this name), E_BUSY (tasks of the
 *          other kind, with or without fn, have a queue with this name), E_LIMIT (max_groups, or
 *          65,536 queues of the pool), E_NOMEM (also: no thread)
 * owns:    ctx and filter_ctx live until the group is removed or the pool closed; texts are copied
 * thread:  any, also a task; not while the same name is added or removed
 * cost:    up to five allocations, one short lock; the first name, group or loader of a pool starts
 *          its threads. An ordered group takes 8 KiB; with rows of the journal it looks at all
 *          tasks of the pool, under one lock
 * example: cellar_bus_group_add(p, "mail", NULL, deliver, server, NULL);                         */
CELLAR_API cellar_err cellar_bus_group_add(cellar_pool *p, const char *queue, const char *group,
                                           cellar_task_fn fn, void *ctx,
                                           const cellar_bus_group_config *o);

/* Remove a group with its messages and dead letters, as cellar_task_unregister removes a name.
 * in:      group: its name
 * returns: OK; E_NOT_FOUND (the pool has no such group), E_BUSY (a message of it runs or is taken,
 *          or a schedule has its name: nothing is done);
 *          E_SPACE, E_IO: the disk of the journal failed: see JOURNAL of cellar_task.h
 * owns:    the pool uses ctx and filter_ctx no more
 * thread:  any, also a function of another group
 * cost:    as cellar_task_unregister
 * example: cellar_bus_group_remove(p, "mail");                                                   */
CELLAR_API cellar_err cellar_bus_group_remove(cellar_pool *p, const char *group);

/* Send the messages of keys that match a pattern to a queue, or end that. A message that several
 * routes send to a queue enters it once. A queue without groups keeps its routes for its next
 * group.
 * in:      pattern of 1..CELLAR_BUS_KEY_MAX bytes, an AMQP pattern to CELLAR_BUS_WORDS_MAX words,
 *          see TOPICS;
 *          queue: has a group; syntax: how the pattern is read;
 *          on true: add the route, false: remove it
 * returns: OK; EXISTS (the same route is there), E_NOT_FOUND (no such queue; with on false: no such
 *          route), E_LIMIT (length or words of the pattern, max_routes), E_NOMEM
 * owns:    the texts are copied
 * thread:  any, also a task
 * cost:    one allocation, one short lock
 * example: cellar_bus_route(p, "order.*.paid", "billing", CELLAR_BUS_AMQP, true);                */
CELLAR_API cellar_err cellar_bus_route(cellar_pool *p, const char *pattern, const char *queue,
                                       cellar_bus_syntax syntax, bool on);

/* Publish a message: it goes to all queues with a route that matches its key. Without such a route
 * it goes to default_queue and counts as unrouted. With `direct` of o it goes to the queue `key`.
 * in:      key of 1..CELLAR_BUS_KEY_MAX bytes and to CELLAR_BUS_WORDS_MAX words, or with `direct`
 *          the name of a queue;
 *          body of len bytes; may be NULL if len is 0;
 *          o from cellar_bus_publish_opts_default; NULL = defaults
 * returns: OK; UNROUTED (no route matches, and default_queue has no group);
 *          E_BUSY (a group with FULL_ERROR, one with FULL_DROP_OLDEST and all messages in
 *          hand, or the pool with CELLAR_POOL_REJECT, is full: publish later), E_TIMEOUT (a group
 *          with FULL_BLOCK, or the pool with CELLAR_POOL_BLOCK, stayed full for block_timeout_ms);
 *          E_DEADLOCK (full, BLOCK, and the call is in a task that no other worker could make room
 *          for);
 *          E_LIMIT (permanent: length or words of the key, or routes to more than
 *          CELLAR_BUS_QUEUES_MAX queues or 65,536 groups);
 *          E_TOOBIG (max_message_bytes, max_bytes of a group, or the limits of the pool or of its
 *          journal);
 *          E_NOT_FOUND (`direct`: no such queue), E_CLOSED (the pool is drained), E_NOMEM;
 *          E_SPACE, E_IO, E_CORRUPT: the journal failed: see JOURNAL of cellar_task.h.
 *          With UNROUTED and an error no group got the message
 * owns:    everything is copied
 * thread:  any, also a task; waits for room with BLOCK, and with a journal for a commit
 * cost:    one allocation for all groups to 16 groups, two above; two short locks; O(routes) unless
 *          `direct`
 * example: cellar_bus_publish(p, "order.7.paid", "{}", 2, NULL);                                 */
CELLAR_API cellar_err cellar_bus_publish(cellar_pool *p, const char *key, const void *body,
                                         size_t len, const cellar_bus_publish_opts *o);

/* Describe the message of a task.
 * in:      t of a running function of a group, or from cellar_task_take;
 *          out from cellar_bus_message_default
 * out:     *out, only with OK
 * returns: OK; E_INVAL (also: t is no message of a group)
 * owns:    the pointers of *out stay valid as long as t
 * thread:  as cellar_task_cancelled
 * cost:    O(1)
 * example:
 *     cellar_bus_message m = cellar_bus_message_default();
 *     if (cellar_bus_message_of(t, &m) == CELLAR_OK)
 *         puts(m.key);                                                                           */
CELLAR_API cellar_err cellar_bus_message_of(const cellar_task *t, cellar_bus_message *out);

/* ---- Signals -------------------------------------------------------------------------------- */

/* Call a function for each signal with a topic that matches a pattern.
 * in:      pattern, syntax: as cellar_bus_route;
 *          fn: see cellar_signal_fn; ctx: given to fn and free_fn;
 *          free_fn frees ctx: once, after the last call. NULL: ctx stays that of the program
 * out:     *id, optional: for cellar_signal_unsubscribe
 * returns: OK; E_LIMIT (length or words of the pattern, max_subscribers), E_NOMEM
 * owns:    OK: ctx belongs to the subscription until free_fn, after the unsubscribe or in the close
 *          of the pool. Else ctx stays that of the caller, and free_fn is not called
 * thread:  any, also a subscriber
 * cost:    one allocation, one short lock
 * example:
 *     cellar_signal_subscribe(p, "cache.#", CELLAR_BUS_AMQP, on_cache,
 *                             NULL, NULL, NULL);                                                 */
CELLAR_API cellar_err cellar_signal_subscribe(cellar_pool *p, const char *pattern,
                                              cellar_bus_syntax syntax, cellar_signal_fn fn,
                                              void *ctx, cellar_bus_free_fn free_fn, uint64_t *id);

/* End a subscription. No call of it begins from now on; calls that have begun end normally, and the
 * function does not wait for them.
 * in:      id of cellar_signal_subscribe
 * returns: OK; E_NOT_FOUND (no such subscription, or it has ended)
 * owns:    free_fn runs before the return, or after the last call
 * thread:  any, also a subscriber
 * cost:    O(subscribers), one short lock; runs free_fn unless a call still runs
 * example: cellar_signal_unsubscribe(p, id);                                                     */
CELLAR_API cellar_err cellar_signal_unsubscribe(cellar_pool *p, uint64_t id);

/* Call the subscribers of a topic, in the order of their subscription, and return after the last
 * one. Subscriptions that begin meanwhile are not called.
 * in:      topic of 1..CELLAR_BUS_KEY_MAX bytes, to CELLAR_BUS_WORDS_MAX words; data of len bytes
 * out:     *called, optional: subscribers that were called
 * returns: OK, also with none; E_LIMIT (length or words of the topic)
 * owns:    nothing is copied: topic and data are those of the caller
 * thread:  any, also a subscriber; the subscribers run on the calling thread
 * cost:    O(subscribers); no allocation
 * example: cellar_signal_emit(p, "cache.cleared", name, strlen(name), NULL);                     */
CELLAR_API cellar_err cellar_signal_emit(cellar_pool *p, const char *topic, const void *data,
                                         size_t len, size_t *called);

/* TOPICS
 *     AMQP: words are separated by '.' and may be empty. '*' matches one word, '#' zero or more.
 *     A word with other bytes beside '*' or '#' is literal.
 *         user.*.mail   matches user.7.mail; not user.mail, user.7.8.mail
 *         user.#        matches user, user.7, user.7.mail
 *     GLOB: pattern of Redis over the whole key: * ? [a-z] [^a] and a backslash. Its '*' matches
 *     dots as well.
 *
 * GROUPS
 *     A group is a name of the pool, and its name is that of a queue of the pool. So each call on
 *     tasks works on messages:
 *     - the function is a cellar_task_fn; its verdict decides. payload is the body, tag is empty.
 *       RETRY is tried again after retry_ms, up to max_deliver deliveries; FAIL is a dead letter.
 *     - cellar_task_take and cellar_task_settle deliver the messages of a group without fn.
 *     - cellar_task_list with `name` shows live messages and dead letters of a group with their
 *       bodies, without the key; cellar_pool_stats_get with `name` has its figures.
 *     - cellar_pool_route moves a group to another queue of the pool: its messages are taken there.
 *     - cellar_pool_set pauses and weighs a group; cellar_task_cancel, _requeue and _purge take the
 *       id of its tasks. Each group has another id for a message; `id` of the message is the same.
 *
 *     A message that a filter refuses counts as cancelled and filtered; one that does not enter a
 *     full group as submitted, cancelled and dropped; one that goes to a dead_queue as failed and
 *     dead_purged here, and as submitted there. It dies once: after that it is a dead letter of the
 *     pool. The states of messages are not in `results`. A task of cellar_task_submit with the name
 *     of a group is no message: filters and order do not hold for it.
 *
 *     The name of a removed group keeps its queues until the close: a pool has 65,536.
 *
 * ORDER
 *     With `parallel` 1 a group begins the messages of one publisher in their order. A message that
 *     returns without a delay goes to the front; one that returns after a delay goes to the end. A
 *     hold that passes returns its message as the verdict RETRY does.
 *     With more at the same time no order of the ends is promised.
 *     An ordered group has at most one message of a key in hand, or waiting for another delivery.
 *     Keys with hashes that fall together wait for each other as well.
 *     After a restart a new message may begin before restored ones of its key that are not due yet,
 *     also in an ordered group: see restore_rate of cellar_task.h.
 *
 * LOSS
 *     Messages live in memory and end with the process, unless the pool has a journal. A message
 *     may be delivered twice: a function that is past visibility_ms still runs while the next
 *     delivery begins. The counts of a group balance as those of a name: see cellar_pool_stats.
 *
 * JOURNAL
 *     In a pool with `journal_path`, the bytes of a message and a row for each group are written in
 *     one transaction. JOURNAL of cellar_task.h holds for the rows. The bytes of a message leave
 *     the file with its last row. Rows of a group that is not added yet wait for
 *     cellar_bus_group_add. Add the dead_queue before the groups that use it: until then their dead
 *     letters are those of the pool. FULL_DROP_OLDEST is allowed: a dropped message leaves the
 *     file, also if the write of the new one fails.
 *
 *     The time of expires_ms goes on while no process has the journal. Routes and signals are not
 *     in the journal. A message that ends the process in its last delivery is a dead letter when
 *     its group is added again. Ids begin at a number that rises with the wall clock, so that they
 *     rise over restarts as well.
 *
 * RESTRICTIONS
 *     Those of cellar_task.h. All groups share the workers of their pool, and a function that
 *     blocks holds one of them: a second pool keeps groups apart. `priority` of a message is for
 *     filters and functions; all messages are tasks of priority 5. */

#ifdef __cplusplus
}
#endif

#endif
