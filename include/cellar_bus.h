/* SPDX-License-Identifier: MIT
 *
 * guest: may change until 1.0.
 *
 * cellar_bus: messages inside one process: bounded queues with consumer groups, and signals.
 *
 * CALL PATTERN
 *     #include "cellar_bus.h"    // drop-in: part of "cellar_all.h"
 *     cellar_bus *b;
 *     cellar_bus_member_config o = cellar_bus_member_config_default();
 *     o.fn = send_mail;                         // returns CELLAR_BUS_ACK, _RETRY or _REJECT
 *     if (cellar_bus_open(NULL, &b) != CELLAR_OK) return 1;
 *     cellar_bus_group_add(b, "mail", NULL, NULL);
 *     cellar_bus_join(b, "mail", NULL, &o, NULL);
 *     cellar_bus_route(b, "user.#.mail", "mail", CELLAR_BUS_AMQP, true);
 *     cellar_bus_publish(b, "user.7.mail", text, text_len, NULL);
 *     cellar_bus_drain(b, 5000, NULL);          // delivers what is queued, for 5 s at most
 *     cellar_bus_close(b);
 *
 * QUEUE   A queue is a name with one or more consumer groups. Each group receives a copy of each
 *         message; copies share the bytes. Each copy goes to one member of its group.
 * MEMBER  A function that runs on threads (see host option stack_bytes) or inside cellar_tick with
 *         no_threads; or a handle from which the program takes messages.
 * HOLD    A member has a message for visibility_ms from its delivery. After that, or after
 *         CELLAR_BUS_RETRY, the message is delivered again, up to max_deliver times; then it is a
 *         dead letter. A handler may see a message twice.
 * LIMITS  A group has a limit of messages and of bytes; on_full says what a publish does then.
 * SIGNALS  cellar_signal_emit calls its subscribers on the thread of the caller, without a queue.
 * MORE    See TOPICS, ORDER, LOSS, JOURNAL and RESTRICTIONS. */
#ifndef CELLAR_BUS_H
#define CELLAR_BUS_H

#include "cellar.h"
#include "cellar_admin.h"

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

/* A bus: queues with groups, routes, members, subscribers of signals. cellar_bus_open makes it,
 * cellar_bus_close frees it. The calls of this header take it from any thread. */
typedef struct cellar_bus cellar_bus;

/* A member of a group. cellar_bus_join makes it, cellar_bus_leave or the close of its bus ends it.
 * Without a function the program takes its messages with cellar_bus_take. */
typedef struct cellar_bus_member cellar_bus_member;

/* How a pattern of cellar_bus_route or cellar_signal_subscribe is read; see TOPICS. */
typedef enum cellar_bus_syntax {
    CELLAR_BUS_AMQP = 0, /* words by '.'; '*' is one word, '#' zero or more                       */
    CELLAR_BUS_GLOB = 1  /* pattern of Redis over the whole key                                   */
} cellar_bus_syntax;

/* What a publish does when a group is full. */
typedef enum cellar_bus_on_full {
    CELLAR_BUS_FULL_ERROR = 0,      /* the publish returns E_LIMIT; no group gets the message     */
    CELLAR_BUS_FULL_BLOCK = 1,      /* the publish waits up to block_ms; then E_TIMEOUT           */
    CELLAR_BUS_FULL_DROP_NEW = 2,   /* this group does not get the message                        */
    CELLAR_BUS_FULL_DROP_OLDEST = 3 /* the oldest waiting messages of this group are dropped      */
} cellar_bus_on_full;

/* Result of a member function, or of cellar_bus_settle. */
typedef enum cellar_bus_verdict {
    CELLAR_BUS_ACK = 0,    /* handled: it leaves the group                                        */
    CELLAR_BUS_RETRY = 1,  /* deliver again; of a function: after retry_ms                        */
    CELLAR_BUS_REJECT = 2, /* a dead letter now                                                   */
    CELLAR_BUS_EXTEND = 3  /* a new hold; of a function: as RETRY                                 */
} cellar_bus_verdict;

/* Where a message of a group is. */
typedef enum cellar_bus_place {
    CELLAR_BUS_WAITING = 0, /* ready for a member                                                 */
    CELLAR_BUS_DELAYED = 1, /* waits after a RETRY                                                */
    CELLAR_BUS_HELD = 2     /* in hands of a member                                               */
} cellar_bus_place;

/* Why a message is a dead letter. */
typedef enum cellar_bus_dead {
    CELLAR_BUS_DEAD_NONE = 0,       /* it is none                                                 */
    CELLAR_BUS_DEAD_DELIVERIES = 1, /* max_deliver                                                */
    CELLAR_BUS_DEAD_REJECTED = 2    /* CELLAR_BUS_REJECT                                          */
} cellar_bus_dead;

/* One header of a message, for cellar_bus_publish_opts and cellar_bus_message. */
typedef struct cellar_bus_header {
    const char *name, *value; /* texts, terminated */
} cellar_bus_header;

/* A message, for functions of members and from cellar_bus_take. All pointers stay valid until the
 * member function returns, or until the member settles the message or leaves. Start from
 * cellar_bus_message_default(). */
typedef struct cellar_bus_message {
    size_t   struct_size;    /* set by cellar_bus_message_default()                               */
    const void *body;        /* bytes of the publish                                              */
    size_t   body_len;       /* bytes of `body`                                                   */
    const char *key;         /* key of the message, as given to the publish                       */
    const char *queue;       /* queue of the group                                                */
    const char *group;       /* group that got this copy                                          */
    const cellar_bus_header *headers; /* headers of the publish                                   */
    uint64_t id;             /* rises with each message of the bus; equal in all groups           */
    uint64_t delivery;       /* number of this delivery, for cellar_bus_settle                    */
    int64_t  published_ms;   /* time of the publish on the clock of host, ms                      */
    const char *dead_queue;  /* queue in which a dead letter died; NULL: it is none               */
    cellar_bus_dead dead;    /* why it is a dead letter                                           */
    uint32_t attempt;        /* number of the delivery in this group, from 1                      */
    uint32_t priority;       /* 0..CELLAR_BUS_PRIORITY_MAX                                        */
    uint32_t header_count;   /* number of `headers`                                               */
    uint8_t  trace[CELLAR_BUS_TRACE_BYTES]; /* trace context of the publish                       */
} cellar_bus_message;
CELLAR_STRUCT(cellar_bus_message, trace);

/* Handle a message: cellar_bus_member_config.fn.
 * in:      m: valid until the function returns; ctx of the member
 * returns: a verdict: ACK, RETRY (again after retry_ms of the group) or REJECT. pthread_exit in it
 *          counts as CELLAR_BUS_RETRY
 * owns:    the message stays that of the bus; ctx is valid until free_fn gets it
 * thread:  one of the bus, or with no_threads the one inside cellar_tick or cellar_bus_drain; one
 *          at a time for a member, several for a group. No lock is held. The function may block,
 *          and may call every function of its bus, but cellar_bus_close and cellar_bus_drain return
 *          E_DEADLOCK
 * cost:    one of `workers` while it runs; past visibility_ms the message is delivered again
 * example:
 *     cellar_bus_verdict write_line(const cellar_bus_message *m, void *file)
 *     {
 *         const size_t done = fwrite(m->body, 1, m->body_len, file);
 *         return done == m->body_len ? CELLAR_BUS_ACK : CELLAR_BUS_RETRY;
 *     }                                                                                          */
typedef cellar_bus_verdict (*cellar_bus_fn)(const cellar_bus_message *m, void *ctx);

/* Return whether a group wants a message: cellar_bus_group_config.filter_fn.
 * in:      m: valid until the function returns; ctx: filter_ctx of the group
 * returns: true: deliver it; false: the filter does not pass
 * owns:    ctx lives until the group is removed or the bus closed
 * thread:  that of the member function, or the one inside cellar_bus_take; several at a time. No
 *          lock is held. The function may block, and may call its bus as cellar_bus_fn
 * cost:    part of each delivery                                                                 */
typedef bool (*cellar_bus_filter_fn)(const cellar_bus_message *m, void *ctx);

/* Free the context of a member or of a subscription.
 * in:      ctx of the member or the subscription
 * owns:    ctx belongs to the function. The bus calls it once, when the member has left or the
 *          subscription has ended and no call of it runs any more. A join or a subscribe that fails
 *          does not call it
 * thread:  the one that ended it: a caller of leave, unsubscribe, emit or close, or a thread of the
 *          bus. No lock is held. The function may block, and must not call its bus
 * cost:    that thread waits for it                                                              */
typedef void (*cellar_bus_free_fn)(void *ctx);

/* Receive a signal: the function of cellar_signal_subscribe.
 * in:      topic and data: those of the emit, valid until the function returns; ctx of the
 *          subscription
 * owns:    nothing is copied; ctx is valid until free_fn gets it
 * thread:  the one inside cellar_signal_emit, or that of a port for its clients; several at a time.
 *          No lock is held. The function may block the emit, and may call its bus as cellar_bus_fn
 * cost:    the emit waits for it                                                                 */
typedef void (*cellar_signal_fn)(const char *topic, const void *data, size_t len, void *ctx);

/* Options of a bus, for cellar_bus_open. Start from cellar_bus_config_default(). 0 or NULL in a
 * field: its default. */
typedef struct cellar_bus_config {
    size_t   struct_size;    /* set by cellar_bus_config_default()                                */
    const struct cellar_host_config *host; /* cellar_admin.h. NULL: all defaults. Used: name (""  */
                             /* counts as "bus"), clock, alloc, free, log, log_level, no_threads, */
                             /* stack_bytes                                                       */
    const char *default_queue; /* takes keys that match no route; 1..64 bytes. Copied. Default    */
                             /* NULL: none                                                        */
    struct cellar_pool *pool; /* cellar_task.h: its journal keeps the messages, see JOURNAL. It   */
                             /* outlives the bus, which is its only one. Default NULL: none       */
    int64_t  close_timeout_ms; /* wait of the close for running functions. Range 1..2^63 - 1 ms.  */
                             /* Default 5,000                                                     */
    uint64_t max_message_bytes; /* key, headers and body of one message. Range 1..2^30 bytes.     */
                             /* Default 1 MiB                                                     */
    uint32_t max_groups;     /* groups of all queues. Range 1..65,536. Default 256                */
    uint32_t max_routes;     /* routes of all queues. Range 1..65,536. Default 1,024              */
    uint32_t max_members;    /* members of all groups. Range 1..65,536. Default 1,024             */
    uint32_t max_subscribers; /* subscribers of signals. Range 1..65,536. Default 1,024           */
    uint32_t workers;        /* threads for member functions. Range 1..64. Default 4              */
    uint32_t reserved0;      /* must be 0                                                         */
} cellar_bus_config;
CELLAR_STRUCT(cellar_bus_config, reserved0);

/* Options of a consumer group, for cellar_bus_group_add. Start from
 * cellar_bus_group_config_default(). 0 or NULL in a field: its default. A message that does not
 * pass the filters counts as filtered and is delivered to no member of the group. */
typedef struct cellar_bus_group_config {
    size_t   struct_size;    /* set by cellar_bus_group_config_default()                          */
    uint64_t max_bytes;      /* bytes of key, headers and body of its messages.                   */
                             /* Range 1..2^64 - 1 bytes. Default 64 MiB                           */
    int64_t  block_ms;       /* longest wait of a publish with FULL_BLOCK. Range 1..2^63 - 1 ms.  */
                             /* Default 0: no limit                                               */
    int64_t  visibility_ms;  /* hold of a delivery. Range 1..2^63 - 1 ms. Default 30,000          */
    int64_t  retry_ms;       /* delay after CELLAR_BUS_RETRY of a function. Range 1..2^63 - 1 ms. */
                             /* Default 0: none                                                   */
    const char *dead_queue;  /* receives dead letters, in its first group. Copied. Default NULL:  */
                             /* they are counted and freed                                        */
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
    uint32_t max_deliver;    /* deliveries of a message. Range 1..1,000,000. Default 5            */
    uint32_t ordered;        /* 1: messages of a key are handled one after another; not with      */
                             /* FULL_DROP_OLDEST. Default 0                                       */
    cellar_bus_on_full on_full; /* what a publish does when the group is full. Default FULL_ERROR */
    uint32_t reserved0;      /* must be 0                                                         */
} cellar_bus_group_config;
CELLAR_STRUCT(cellar_bus_group_config, reserved0);

/* Options of a member, for cellar_bus_join. Start from cellar_bus_member_config_default(). */
typedef struct cellar_bus_member_config {
    size_t   struct_size;    /* set by cellar_bus_member_config_default()                         */
    cellar_bus_fn fn;        /* handles one message at a time. Default NULL: the program takes    */
    void    *ctx;            /* given to fn and free_fn                                           */
    cellar_bus_free_fn free_fn; /* frees ctx: once, after the member left. Default NULL: ctx      */
                             /* stays that of the program                                         */
    uint32_t prefetch;       /* without fn: messages in hand at the same time. Range 1..1,024.    */
                             /* Default 16                                                        */
    uint32_t reserved0;      /* must be 0                                                         */
} cellar_bus_member_config;
CELLAR_STRUCT(cellar_bus_member_config, reserved0);

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

/* Result of cellar_bus_drain. live == the sum of all other counts. Start from
 * cellar_bus_report_default(). */
typedef struct cellar_bus_report {
    size_t   struct_size;    /* set by cellar_bus_report_default()                                */
    uint64_t live;           /* copies in the groups when the drain began                         */
    uint64_t acked;          /* acknowledged by a member                                          */
    uint64_t dropped;        /* by a full group, or with a removed one                            */
    uint64_t dead;           /* freed as dead letters; one in a dead_queue counts below           */
    uint64_t expired;        /* waited longer than expires_ms                                     */
    uint64_t filtered;       /* did not pass the filters                                          */
    uint64_t left;           /* still in a group                                                  */
} cellar_bus_report;
CELLAR_STRUCT(cellar_bus_report, left);

/* Figures of a bus, from cellar_bus_stats_get; cellar_metrics_write prints the same ones. Start
 * from cellar_bus_stats_default(). Counts begin at the open, and have removed groups in them. */
typedef struct cellar_bus_stats {
    size_t   struct_size;    /* set by cellar_bus_stats_default()                                 */
    uint64_t copies;         /* messages that entered a group                                     */
    uint64_t delivered;      /* deliveries to members                                             */
    uint64_t acked;          /* copies acknowledged by a member                                   */
    uint64_t requeued;       /* returned by RETRY, a hold that ended, a member that left          */
    uint64_t holds_lost;     /* of requeued and dead: the hold ended                              */
    uint64_t late;           /* verdicts after the end of the hold                                */
    uint64_t dropped_new;    /* messages that a full group did not take                           */
    uint64_t dropped_oldest; /* copies that left a full group for newer ones                      */
    uint64_t dropped_removed; /* in a group when it was removed                                   */
    uint64_t dead;           /* dead letters; one that enters a dead_queue is a copy there, too   */
    uint64_t expired;        /* copies that waited longer than expires_ms                         */
    uint64_t filtered;       /* copies that did not pass the filters                              */
    uint64_t thread_ends;    /* functions that ended their thread                                 */
    uint64_t published;      /* messages accepted                                                 */
    uint64_t unrouted;       /* keys that matched no route                                        */
    uint64_t rejected_full;  /* publishes refused by a full group                                 */
    uint64_t rejected_limit; /* calls refused by another limit of the bus                         */
    uint64_t signals;        /* cellar_signal_emit                                                */
    uint64_t signal_calls;   /* calls of subscribers                                              */
    uint64_t restored;       /* of copies: from the journal                                       */
    uint64_t journal_errors; /* commits of messages and their states that failed                  */
    uint64_t live;           /* == waiting + delayed + held                                       */
    uint64_t waiting;        /* copies ready for a member                                         */
    uint64_t delayed;        /* copies that wait after a RETRY                                    */
    uint64_t held;           /* copies in hands of members                                        */
    uint64_t groups;         /* consumer groups                                                   */
    uint64_t members;        /* members of all groups                                             */
    uint64_t routes;         /* routes                                                            */
    uint64_t subscribers;    /* subscribers of signals                                            */
    uint64_t bytes;          /* bytes of memory of the bus                                        */
} cellar_bus_stats;
CELLAR_STRUCT(cellar_bus_stats, bytes);

/* Figures of a group, as in cellar_bus_stats, from cellar_bus_group_stats_get and
 * cellar_bus_group_list. Start from cellar_bus_group_stats_default(). */
typedef struct cellar_bus_group_stats {
    size_t   struct_size;    /* set by cellar_bus_group_stats_default()                           */
    uint64_t copies;         /* messages that entered the group                                   */
    uint64_t delivered;      /* deliveries to members                                             */
    uint64_t acked;          /* messages acknowledged by a member                                 */
    uint64_t requeued;       /* returned by RETRY, a hold that ended, a member that left          */
    uint64_t holds_lost;     /* of requeued and dead: the hold ended                              */
    uint64_t late;           /* verdicts after the end of the hold                                */
    uint64_t dropped_new;    /* messages that the full group did not take                         */
    uint64_t dropped_oldest; /* messages that left the full group for newer ones                  */
    uint64_t dropped_removed; /* 0                                                                */
    uint64_t dead;           /* dead letters                                                      */
    uint64_t expired;        /* messages that waited longer than expires_ms                       */
    uint64_t filtered;       /* messages that did not pass the filters                            */
    uint64_t thread_ends;    /* functions that ended their thread                                 */
    uint64_t live;           /* == waiting + delayed + held                                       */
    uint64_t waiting;        /* messages ready for a member                                       */
    uint64_t delayed;        /* messages that wait after a RETRY                                  */
    uint64_t held;           /* messages in hands of members                                      */
    uint64_t members;        /* members of the group                                              */
    uint64_t bytes;          /* bytes of its messages, for max_bytes                              */
    uint64_t oldest_ms;      /* since the publish of the oldest message that waits at the front   */
                             /* of a key; 0: none waits                                           */
} cellar_bus_group_stats;
CELLAR_STRUCT(cellar_bus_group_stats, oldest_ms);

/* Receive one group of cellar_bus_group_list.
 * in:      queue, group, stats: valid until the function returns; ctx of the list
 * returns: true: continue; false: end the list
 * owns:    nothing is kept after the list has returned
 * thread:  the caller of the list, with no lock held. The function may block, and may call every
 *          function of the bus, except its close
 * cost:    the list waits for it                                                                 */
typedef bool (*cellar_bus_group_fn)(const char *queue, const char *group,
                                    const cellar_bus_group_stats *stats, void *ctx);

/* Receive one message of cellar_bus_message_list.
 * in:      m: valid until the function returns, its `delivery` is 0; place: where it is; ctx of the
 *          list
 * returns: true: continue; false: end the list
 * owns:    the message stays in its group: the function only looks
 * thread:  the caller of the list, with no lock held. The function may block, and may call every
 *          function of the bus, except its close
 * cost:    the list waits for it                                                                 */
typedef bool (*cellar_bus_message_fn)(const cellar_bus_message *m, cellar_bus_place place,
                                      void *ctx);

/* ---- The bus -------------------------------------------------------------------------------- */

/* Open a bus: the queues and the signals of one process.
 * in:      cfg from cellar_bus_config_default; NULL: all defaults
 * out:     *out is NULL on failure
 * returns: OK; E_NOMEM (memory, threads or random bytes), E_UNSUPPORTED (also: a pool without a
 *          journal), E_BUSY (another bus has the journal), E_IO (the disk of the journal).
 *          cellar_last_error of NULL has the reason of each
 * owns:    the caller closes *out with cellar_bus_close. cfg is copied; the pool and the contexts
 *          of `host` live until then
 * thread:  any; a program may open several
 * cost:    about 50 KiB; starts one thread, and workers with the first messages for functions
 * example:
 *     cellar_bus *b;
 *     if (cellar_bus_open(NULL, &b) != CELLAR_OK) return 1;                                      */
CELLAR_API cellar_err cellar_bus_open(const cellar_bus_config *cfg, cellar_bus **out);

/* Close a bus. Nothing is delivered from now on; the call waits for the functions that run, and
 * frees all messages and members. To handle the messages first, call cellar_bus_drain.
 * in:      b; NULL is allowed
 * returns: OK; E_BUSY (a function had not ended after close_timeout_ms: nothing is closed, the bus
 *          goes on, try again), E_DEADLOCK (called by a function of this bus: nothing is done)
 * owns:    OK: b and its members are freed, each free_fn has run. Else b is as before
 * thread:  must not overlap other calls on the bus but those of its functions
 * cost:    O(messages); joins the threads
 * example:
 *     if (cellar_bus_close(b) == CELLAR_E_BUSY)
 *         puts("a function still runs");                                                         */
CELLAR_API cellar_err cellar_bus_close(cellar_bus *b);

/* End the intake of a bus for good, and wait until its groups are empty. From the call on each
 * publish returns E_CLOSED, also those that wait for room.
 * in:      timeout_ms from 0; 0: only end the intake and report;
 *          report from cellar_bus_report_default, or NULL
 * out:     *report, exact, with each code but E_DEADLOCK
 * returns: OK (no message is left), E_TIMEOUT (report->left are: drain again, or close);
 *          E_DEADLOCK (called by a function of this bus: nothing is done);
 *          E_SPACE, E_IO: the disk of the journal failed: see JOURNAL
 * owns:    the bus stays open for its members: close it afterwards
 * thread:  any; with host option no_threads the call runs the functions
 * cost:    waits
 * example:
 *     cellar_bus_report r = cellar_bus_report_default();
 *     if (cellar_bus_drain(b, 5000, &r) != CELLAR_OK)
 *         printf("%llu lost\n", (unsigned long long)r.left);                                     */
CELLAR_API cellar_err cellar_bus_drain(cellar_bus *b, int64_t timeout_ms,
                                       cellar_bus_report *report);

/* ---- Groups and routes ---------------------------------------------------------------------- */

/* Add a consumer group to a queue. It receives the messages that are published from now on, and
 * those that the journal has for it. The first group makes the queue.
 * in:      queue of 1..64 bytes;
 *          group of 1..64 bytes, NULL counts as "default";
 *          o from cellar_bus_group_config_default; NULL = defaults
 * returns: OK; EXISTS (the group is there: nothing is changed), E_LIMIT (max_groups is reached),
 *          E_NOMEM; E_CORRUPT (with a journal: a damaged row);
 *          E_SPACE, E_IO: the disk of the journal failed: see JOURNAL
 * owns:    texts of o are copied. filter_ctx stays that of the caller, and lives until the group is
 *          removed or the bus closed
 * thread:  any, also a function of the bus
 * cost:    one or two allocations, one short lock
 * example: cellar_bus_group_add(b, "mail", "audit", NULL);                                       */
CELLAR_API cellar_err cellar_bus_group_add(cellar_bus *b, const char *queue, const char *group,
                                           const cellar_bus_group_config *o);

/* Remove a group without members. Its messages are dropped. A queue without groups is unknown.
 * in:      queue: name of the queue; group: name of the group, NULL counts as "default"
 * returns: OK; E_BUSY (it has members, or a publish to it waits for its commit), E_NOT_FOUND (no
 *          queue or group has this name);
 *          E_SPACE, E_IO: the disk of the journal failed: see JOURNAL
 * owns:    OK: filter_ctx of the group is not used any more
 * thread:  any, also a function of the bus
 * cost:    one lock for O(messages)
 * example: cellar_bus_group_remove(b, "mail", "audit");                                          */
CELLAR_API cellar_err cellar_bus_group_remove(cellar_bus *b, const char *queue, const char *group);

/* Send the messages of keys that match a pattern to a queue, or end that. A message that several
 * routes send to a queue enters it once.
 * in:      pattern of 1..CELLAR_BUS_KEY_MAX bytes, an AMQP pattern to CELLAR_BUS_WORDS_MAX words,
 *          see TOPICS;
 *          queue: has a group; syntax: how the pattern is read;
 *          on true: add the route, false: remove it
 * returns: OK; EXISTS (the same route is there), E_NOT_FOUND (no such queue; with on false: no such
 *          route), E_LIMIT (length or words of the pattern, max_routes), E_NOMEM
 * owns:    the texts are copied
 * thread:  any, also a function of the bus
 * cost:    one allocation, one short lock
 * example: cellar_bus_route(b, "order.*.paid", "billing", CELLAR_BUS_AMQP, true);                */
CELLAR_API cellar_err cellar_bus_route(cellar_bus *b, const char *pattern, const char *queue,
                                       cellar_bus_syntax syntax, bool on);

/* ---- Publish -------------------------------------------------------------------------------- */

/* Publish a message: it goes to all queues with a route that matches its key. Without such a route
 * it goes to default_queue and counts as unrouted. With `direct` of o it goes to the queue `key`.
 * in:      key of 1..CELLAR_BUS_KEY_MAX bytes and to CELLAR_BUS_WORDS_MAX words, or with `direct`
 *          the name of a queue;
 *          body of len bytes; may be NULL if len is 0;
 *          o from cellar_bus_publish_opts_default; NULL = defaults
 * returns: OK; UNROUTED (no route matches and there is no default_queue);
 *          E_LIMIT (a group with FULL_ERROR is full: publish later; counted in rejected_full);
 *          E_LIMIT (permanent: length or words of the key, or routes to more than
 *          CELLAR_BUS_QUEUES_MAX queues; not counted in rejected_full);
 *          E_TIMEOUT (a group with FULL_BLOCK stayed full for block_ms);
 *          E_DEADLOCK (all members of the full group wait for this call);
 *          E_NOT_FOUND (`direct`: no such queue), E_CLOSED (the bus is drained), E_NOMEM;
 *          E_TOOBIG (max_message_bytes, or max_bytes of a group);
 *          E_SPACE, E_IO: the disk of the journal failed: see JOURNAL.
 *          With UNROUTED and an error no group got the message. A key within its limits gets
 *          E_LIMIT from a full group alone
 * owns:    everything is copied
 * thread:  any, also a function of the bus; waits for room in groups with FULL_BLOCK
 * cost:    one allocation for all groups, two short locks; O(routes) unless `direct`
 * example: cellar_bus_publish(b, "order.7.paid", "{}", 2, NULL);                                 */
CELLAR_API cellar_err cellar_bus_publish(cellar_bus *b, const char *key, const void *body,
                                         size_t len, const cellar_bus_publish_opts *o);

/* ---- Members -------------------------------------------------------------------------------- */

/* Add a member to a group: a function that handles its messages, or a handle to take them from.
 * in:      queue: name of the queue; group: name of the group, NULL counts as "default";
 *          o from cellar_bus_member_config_default; NULL = defaults
 * out:     *out is NULL on failure; out may be NULL only with o->fn
 * returns: OK; E_NOT_FOUND (no such queue or group), E_LIMIT (max_members is reached), E_NOMEM
 * owns:    *out ends with cellar_bus_leave or with the bus. OK: ctx belongs to the member until
 *          free_fn. Else ctx stays that of the caller, and free_fn is not called
 * thread:  any, also a function of the bus; fn may run before the return
 * cost:    one allocation, one short lock
 * example:
 *     cellar_bus_member *m;
 *     cellar_bus_join(b, "mail", NULL, NULL, &m);                                                */
CELLAR_API cellar_err cellar_bus_join(cellar_bus *b, const char *queue, const char *group,
                                      const cellar_bus_member_config *o, cellar_bus_member **out);

/* Remove a member from its group. Messages in its hands return to the group at the front; their
 * deliveries do not count. A function that runs ends normally, and its verdict counts.
 * in:      m; NULL is allowed
 * returns: OK
 * owns:    OK: m is freed, and with it the messages that it took: their pointers are invalid.
 *          free_fn runs before the return, or after the function that runs
 * thread:  any, also a function of the bus; must not overlap other calls on m
 * cost:    one lock for O(prefetch)
 * example: cellar_bus_leave(m);                                                                  */
CELLAR_API cellar_err cellar_bus_leave(cellar_bus_member *m);

/* Take the next message of the group of a member without a function.
 * in:      m without a function; wait_ms to wait for a message; 0: not at all;
 *          out from cellar_bus_message_default
 * out:     *out, only with OK: its pointers are those of the bus
 * returns: OK; MISS (no message in time), E_CLOSED (drained, and no message is left), E_LIMIT
 *          (prefetch messages are in hand: settle one); E_INVAL (also: m has a function)
 * owns:    the caller settles the message; it is valid until then, also after its hold
 * thread:  any; several at the same time; no call but a drain ends the wait early
 * cost:    one short lock; runs the filters
 * example:
 *     cellar_bus_message msg = cellar_bus_message_default();
 *     if (cellar_bus_take(m, 1000, &msg) == CELLAR_OK)
 *         cellar_bus_settle(m, msg.delivery, CELLAR_BUS_ACK, 0);                                 */
CELLAR_API cellar_err cellar_bus_take(cellar_bus_member *m, int64_t wait_ms,
                                      cellar_bus_message *out);

/* Say what becomes of a message that a member took: it is handled, comes again, or is a dead
 * letter.
 * in:      delivery of the message;
 *          verdict ACK: it leaves the group;
 *          verdict RETRY: it returns to the group after `ms`, 0: now, at the front;
 *          verdict REJECT: it becomes a dead letter;
 *          verdict EXTEND: its hold ends `ms` from now, later or earlier, 0: as the group;
 *          ms from 0 to 366 days
 * returns: OK (RETRY: also when max_deliver made it a dead letter); E_LOST (the hold had ended:
 *          another delivery may have begun), E_NOT_FOUND (not in hand: settled before);
 *          E_SPACE, E_IO: the disk of the journal failed (not with EXTEND): see JOURNAL
 * owns:    the message ends, and its pointers are invalid, with each code but E_INVAL. After EXTEND
 *          the caller still settles it, also with E_LOST
 * thread:  any
 * cost:    one short lock
 * example: cellar_bus_settle(m, msg.delivery, CELLAR_BUS_RETRY, 5000);                           */
CELLAR_API cellar_err cellar_bus_settle(cellar_bus_member *m, uint64_t delivery,
                                        cellar_bus_verdict verdict, int64_t ms);

/* ---- Signals -------------------------------------------------------------------------------- */

/* Call a function for each signal with a topic that matches a pattern.
 * in:      pattern, syntax: as cellar_bus_route;
 *          fn: see cellar_signal_fn; ctx: given to fn and free_fn;
 *          free_fn frees ctx: once, after the last call. NULL: ctx stays that of the program
 * out:     *id, optional: for cellar_signal_unsubscribe
 * returns: OK; E_LIMIT (length or words of the pattern, max_subscribers), E_NOMEM
 * owns:    OK: ctx belongs to the subscription until free_fn, after the unsubscribe or in the close
 *          of the bus. Else ctx stays that of the caller, and free_fn is not called
 * thread:  any, also a subscriber
 * cost:    one allocation, one short lock
 * example:
 *     cellar_signal_subscribe(b, "cache.#", CELLAR_BUS_AMQP, on_cache,
 *                             NULL, NULL, NULL);                                                 */
CELLAR_API cellar_err cellar_signal_subscribe(cellar_bus *b, const char *pattern,
                                              cellar_bus_syntax syntax, cellar_signal_fn fn,
                                              void *ctx, cellar_bus_free_fn free_fn, uint64_t *id);

/* End a subscription. No call of it begins from now on; calls that have begun end normally, and the
 * function does not wait for them.
 * in:      id of cellar_signal_subscribe
 * returns: OK; E_NOT_FOUND (no such subscription, or it has ended)
 * owns:    free_fn runs before the return, or after the last call
 * thread:  any, also a subscriber
 * cost:    O(subscribers), one short lock; runs free_fn unless a call still runs
 * example: cellar_signal_unsubscribe(b, id);                                                     */
CELLAR_API cellar_err cellar_signal_unsubscribe(cellar_bus *b, uint64_t id);

/* Call the subscribers of a topic, in the order of their subscription, and return after the last
 * one. Subscriptions that begin meanwhile are not called.
 * in:      topic of 1..CELLAR_BUS_KEY_MAX bytes, to CELLAR_BUS_WORDS_MAX words; data of len bytes
 * out:     *called, optional: subscribers that were called
 * returns: OK, also with none; E_LIMIT (length or words of the topic)
 * owns:    nothing is copied: topic and data are those of the caller
 * thread:  any, also a subscriber; the subscribers run on the calling thread
 * cost:    O(subscribers); no allocation
 * example: cellar_signal_emit(b, "cache.cleared", name, strlen(name), NULL);                     */
CELLAR_API cellar_err cellar_signal_emit(cellar_bus *b, const char *topic, const void *data,
                                         size_t len, size_t *called);

/* ---- Figures -------------------------------------------------------------------------------- */

/* Read the figures of a bus.
 * in:      out from cellar_bus_stats_default
 * out:     *out, only with OK
 * returns: OK
 * thread:  any
 * cost:    one lock for O(groups)
 * example:
 *     cellar_bus_stats st = cellar_bus_stats_default();
 *     cellar_bus_stats_get(b, &st);                                                              */
CELLAR_API cellar_err cellar_bus_stats_get(cellar_bus *b, cellar_bus_stats *out);

/* Read the figures of a group.
 * in:      queue: name of the queue; group: name of the group, NULL counts as "default";
 *          out from cellar_bus_group_stats_default
 * out:     *out, only with OK
 * returns: OK; E_NOT_FOUND (no queue or group has this name)
 * thread:  any
 * cost:    one short lock
 * example:
 *     cellar_bus_group_stats st = cellar_bus_group_stats_default();
 *     cellar_bus_group_stats_get(b, "mail", NULL, &st);                                          */
CELLAR_API cellar_err cellar_bus_group_stats_get(cellar_bus *b, const char *queue,
                                                 const char *group, cellar_bus_group_stats *out);

/* Call a function for each group, in the order of queues and groups. Groups that come or go
 * meanwhile may be in the list or not.
 * in:      fn: gets each group, see cellar_bus_group_fn;
 *          ctx: given to fn
 * returns: OK, also when fn ended the list
 * owns:    fn and ctx are not used after the return
 * thread:  any, also a function of the bus; fn runs on it with no lock held
 * cost:    O(groups); an ordered group costs 256 steps. 16 groups under one lock
 * example: cellar_bus_group_list(b, print_group, stdout);                                        */
CELLAR_API cellar_err cellar_bus_group_list(cellar_bus *b, cellar_bus_group_fn fn, void *ctx);

/* Call a function for each message of a group, the oldest first. The list of dead letters: the
 * first group of the dead_queue. Messages that come or end meanwhile may be in the list or not.
 * in:      queue: name of the queue; group: name of the group, NULL counts as "default";
 *          *cursor: 0 begins with the first one; cursor NULL: the same;
 *          fn: gets each message, see cellar_bus_message_fn; ctx: given to fn
 * out:     *cursor: continues behind the message that ended the list; 0 after its end
 * returns: OK, also when fn ended the list; E_NOT_FOUND (no such queue or group, also when it is
 *          removed meanwhile)
 * owns:    the message is borrowed until fn returns; fn and ctx are not used after the return
 * thread:  any, also a function of the bus; fn runs on it with no lock held
 * cost:    O(messages of the bus), 1,024 under one lock; no allocation
 * example: cellar_bus_message_list(b, "dead", NULL, NULL, print_message, stdout);                */
CELLAR_API cellar_err cellar_bus_message_list(cellar_bus *b, const char *queue, const char *group,
                                              uint64_t *cursor, cellar_bus_message_fn fn,
                                              void *ctx);

/* TOPICS
 *     AMQP: words are separated by '.' and may be empty. '*' matches one word, '#' zero or more.
 *     A word with other bytes beside '*' or '#' is literal.
 *         user.*.mail   matches user.7.mail; not user.mail, user.7.8.mail
 *         user.#        matches user, user.7, user.7.mail
 *     GLOB: pattern of Redis over the whole key: * ? [a-z] [^a] and a backslash. Its '*' matches
 *     dots as well.
 *
 * ORDER
 *     With one member a group delivers the messages of one publisher in their order. A message that
 *     returns now goes to the front; one that returns after a delay goes to the end. With several
 *     members handlers run at the same time, and no order is promised.
 *     An ordered group has at most one message of a key in hand, over all members. The next message
 *     of the key follows after an ack, or when the message ends otherwise: not while it is delayed.
 *     Keys with hashes that fall together wait for each other as well.
 *
 * LOSS
 *     Messages live in memory and end with the process, unless the bus has a journal. Each message
 *     that enters a group is counted until its end: copies == acked + dropped_new +
 *     dropped_oldest + dropped_removed + dead + expired + filtered + live, for a group and for a
 *     bus, at any time.
 *
 * JOURNAL
 *     With `pool` of the configuration, messages are rows in the journal of that pool, with its
 *     level. Each copy is delivered at least once, also after a crash. What an OK means:
 *     - of a publish: the message is in the file, with a row for each group.
 *     - of a settle: the change is in the file. An acknowledged copy never returns.
 *     - of a drain: all ends are in the file. A function that returned may see its message again
 *       if the process ends before the commit of its verdict.
 *
 *     cellar_bus_group_add restores the copies of its group, in order, beyond its limits as well.
 *     Copies of other groups stay in the file. cellar_bus_group_remove deletes those of its group.
 *     A delivery counts before the member sees the message, also if it ends the process: after
 *     max_deliver the message is a dead letter. Add the dead_queue before members join. Delays of
 *     retries end with the process. Signals are never in the journal.
 *
 *     E_SPACE and E_IO of a publish mean that it did not happen. Of a settle, a drain or a
 *     group_remove they mean that it happened in this process, and that the bus tries again to
 *     write it. If the commit of a delivery fails, the member gets its message. Each delivery and
 *     each publish costs a commit, which calls at the same time share.
 *
 * RESTRICTIONS
 *     fork: in the child every call returns E_FORKED, except cellar_bus_close, which does nothing.
 *     A child that was forked inside a function leaves it by _exit or exec.
 *     A function must not leave by longjmp or a C++ exception.
 *     Waits of cellar_bus_take, drain and FULL_BLOCK follow the clock of the system. With host
 *     option no_threads, E_DEADLOCK counts on one thread that calls cellar_tick, and a publish
 *     outside of it that waits needs another thread that calls it. */

#ifdef __cplusplus
}
#endif

#endif
