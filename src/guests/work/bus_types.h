/* SPDX-License-Identifier: MIT
 *
 * bus_types: the structs of the bus.
 *
 * PICTURE    bus -- route: pattern --> queue -- group -- strand --> copy <-- claim -- member
 *            message: bytes + one copy for each group; one allocation
 *            copy:    WAITING in a strand -> HELD by a claim -> ended
 *                                ^-- DELAYED --^   (retry; hold over: directly to WAITING)
 * INVARIANTS A copy is in exactly one place. Its timer ends the state: expiry while WAITING, the
 *            return or the expiry while DELAYED, the end of the hold while HELD.
 *            group: live == waiting + delayed + held; copies == live + ended copies.
 *            A group that is not ordered has one strand. An ordered group has BUS_STRANDS of them;
 *            a strand with a copy that is DELAYED or HELD is busy. `ready` has the strands that are
 *            not busy and not empty.
 *            A message has a reference for each live copy, for each claim, and for each copy with
 *            a note.
 * LOCKING    One lock, rank BUS, around everything that is not atomic or constant. User code,
 *            allocations, frees and the queue of the pool come outside of it: bus_after collects
 *            what is left to do. Only the table of queues allocates under the lock. */
#ifndef WORK_BUS_TYPES_H
#define WORK_BUS_TYPES_H

#include "base/clock.h"
#include "base/hash.h"
#include "base/num.h"
#include "base/service.h"
#include "base/table.h"
#include "cellar_bus.h"
#include "stats/stats.h"
#include "wheel/wheel.h"
#include "work/bus_topic.h"
#include "work/ticker.h"

#define BUS_STRANDS 256u
#define BUS_PREFETCH_MAX 1024u /* a delivery number is n * BUS_PREFETCH_MAX + place of the claim */

typedef enum bus_note { /* of a copy, for the journal. NOTED, WRITING, AGAIN: it has a reference */
    BUS_NOTE_NONE,
    BUS_NOTE_NOTED,         /* to write: in `noted` */
    BUS_NOTE_WRITING,       /* in the transaction that runs: in `writing` */
    BUS_NOTE_AGAIN          /* the same, and changed since */
} bus_note;

typedef enum bus_state { BUS_WAITING, BUS_DELAYED, BUS_HELD } bus_state;

typedef struct bus_copy { /* a message in a group */
    wheel_timer timer;      /* first field */
    struct bus_copy *next, *prev; /* ring of the strand, or of `delays` of the group */
    struct bus_message *of;
    struct bus_group *group;      /* NULL: it has ended, or entered none */
    struct bus_claim *claim;      /* while HELD */
    const char *from;             /* of a dead letter: queue in which it died */
    struct bus_copy *noted;       /* chain of `noted` or `writing` of the bus */
    uint32_t number;        /* constant: in its message */
    bus_note note;
    uint32_t attempt;
    uint32_t strand;
    bus_state state;
    cellar_bus_dead dead;
} bus_copy;

typedef struct bus_message { /* constant, but for the references, the links and the copies */
    struct bus_message *next, *prev; /* ring of all messages; `next`: chain of bus_after */
    uint32_t refs;
    uint32_t copy_count;
    size_t block_bytes;     /* of the allocation */
    uint64_t id;
    int64_t published_ms, expires_ms; /* BASE_NEVER_MS: no expiry */
    uint64_t hash;          /* of the key */
    const char *key;        /* texts, headers and body: in this block */
    const unsigned char *body;
    const cellar_bus_header *headers;
    size_t body_len, bytes; /* bytes: key, headers, body */
    uint32_t header_count, priority;
    uint8_t trace[CELLAR_BUS_TRACE_BYTES];
    bus_copy copy[];        /* copy_count of them */
} bus_message;

typedef struct bus_queue bus_queue;

typedef struct bus_publication { /* arguments of a publish */
    const char *key;
    size_t key_len;
    bus_words words;        /* of the key, unless it names a queue */
    const void *body;
    size_t body_len, bytes;
    cellar_bus_publish_opts o;
    const char *from;       /* of a dead letter from the journal; NULL: none */
    bus_queue *queue[CELLAR_BUS_QUEUES_MAX];
    uint32_t queue_count;
    uint32_t copy_count;
    uint64_t generation;    /* of groups and routes, when `queue` was found */
    bool unrouted;
} bus_publication;

typedef struct bus_claim { /* a message in the hands of a member */
    bus_message *of;        /* NULL: free */
    bus_copy *copy;         /* NULL: the hold ended */
    uint64_t delivery;
} bus_claim;

struct cellar_bus_member {
    base_job job;           /* first field; of a member with a function */
    cellar_bus_member *next, *prev; /* ring of the group; `next`: chain of bus_after */
    cellar_bus *bus;        /* constant, as all down to prefetch */
    struct bus_group *group;
    cellar_bus_fn fn;
    void *ctx;
    cellar_bus_free_fn free_fn;
    uint32_t prefetch;
    uint32_t held;          /* claims in use */
    bool queued;            /* the job waits or runs */
    bool leaving;           /* the end of the job frees the member */
    int32_t tid;            /* thread that runs the function, or took last; 0: none */
    bus_claim claim[];      /* prefetch of them */
};

typedef struct bus_strand {
    struct bus_strand *next, *prev; /* in `ready` of the group; NULL: not there */
    bus_copy *first;        /* ring; NULL: empty */
    bool busy;
} bus_strand;

typedef struct bus_group {
    struct bus_group *next; /* of the queue, in order of adding */
    cellar_bus *bus;        /* constant, as all down to filter_texts */
    struct bus_queue *queue;
    char name[CELLAR_NAME_MAX + 1];
    char dead_queue[CELLAR_NAME_MAX + 1]; /* "": none */
    cellar_bus_group_config o; /* texts of the caller are not valid: see below */
    char *filter_texts;     /* header name and values, each with its 0; NULL: no such filter */
    size_t filter_bytes;
    cellar_bus_member *members; /* ring; NULL: none. The next one that a message wakes */
    uint32_t member_count, idle_count; /* idle: with a function, and not queued */
    uint32_t live, delayed, held;
    uint32_t pending;       /* publishes that wait for their commit: they keep the group */
    uint32_t reserved;      /* of them: with room that was promised */
    uint64_t reserved_bytes;
    uint64_t bytes;
    uint64_t count[STATS_BUS_GROUP_COUNT];
    bus_strand *ready;        /* ring; NULL: none */
    bus_copy *delays;       /* ring of the copies that are DELAYED; NULL: none */
    uint32_t strand_count;
    bus_strand strand[];        /* strand_count of them */
} bus_group;

struct bus_queue { /* stays until the close */
    UT_hash_handle hh;
    bus_group *groups;      /* NULL: the queue is unknown */
    char name[CELLAR_NAME_MAX + 1];
};

typedef struct bus_route {
    struct bus_route *next;
    bus_queue *queue;
    bus_topic topic;
} bus_route;

typedef struct bus_subscriber {
    struct bus_subscriber *next; /* in order of id; removed ones with calls as well */
    uint64_t id;
    uint32_t refs;          /* present + running calls */
    bool present;
    cellar_signal_fn fn;
    void *ctx;
    cellar_bus_free_fn free_fn;
    bus_topic topic;
} bus_subscriber;

typedef struct bus_scope { /* on the stack of a thread that runs code of the host */
    struct bus_scope *next;
    int32_t tid;
} bus_scope;

typedef struct bus_waiter { /* on the stack of a thread that waits for room */
    struct bus_waiter *next;
    int32_t tid;
} bus_waiter;

struct cellar_bus {
    base_object obj;        /* first; the limits of groups and tables bound its account */
    work_ticker ticker;     /* ends holds, delays and expired copies */
    base_hash_key hash_key;
    int64_t close_ms;
    uint64_t max_message_bytes;
    struct cellar_pool *tasks;     /* its journal keeps the messages; NULL: none */
    uint32_t max_groups, max_routes, max_members, max_subscribers;
    char default_queue[CELLAR_NAME_MAX + 1]; /* "": none */
    _Atomic uint32_t arrived; /* futex word of takes; + 1 under the lock */
    _Atomic uint32_t ended; /* futex word of publishers and drains; + 1 under the lock */
    _Atomic uint32_t running; /* scopes; futex word of the close */
    sync_lock lock;         /* rank BUS; guards everything below */
    bool closing;           /* true: nothing is delivered */
    bool drained;           /* true: nothing is published */
    uint32_t take_waiters, end_waiters; /* end: publishers and drains */
    uint32_t group_count, route_count, member_count, subscriber_count;
    uint64_t generation;    /* + 1 with each change of groups or routes */
    uint64_t last_id;       /* of messages */
    uint64_t last_delivery; /* without the place in the claims */
    uint64_t last_subscriber;
    int64_t wake_ms;        /* no timer is due before the thread looks, unless it was rung */
    bus_queue *queues;      /* uthash by name */
    bus_route *routes;
    bus_message *messages;  /* ring by id, the newest one; NULL: none */
    bus_copy *noted, *writing; /* for the journal */
    uint32_t pending;       /* publishes that wait for their commit */
    bus_subscriber *subscribers;
    bus_scope *scopes;
    bus_waiter *waiters;
    wheel wheel;
    uint64_t count[STATS_BUS_COUNT]; /* of removed groups, and those that no group has */
};

/* Work for after the lock. */
typedef struct bus_after {
    base_job *first, **end;      /* members to queue */
    bus_message *ended;          /* to free */
    cellar_bus_member *left;     /* to free, and to call free_fn */
    uint32_t dead, dropped;      /* for the log */
    bool ring;                   /* the thread sleeps too long */
    bool wake_takes, wake_ends;
} bus_after;

#endif
