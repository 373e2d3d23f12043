/* SPDX-License-Identifier: MIT
 *
 * task_types: the structs of a pool of tasks.
 *
 * PICTURE    submit -> wheel (delay), group (WAITING), or queue -> a worker or a tick -> verdict
 *            queue:   10 levels, one FIFO ring each       parked: the same, one for each name
 *            verdict: OK, FAIL -> end     RETRY, SNOOZE -> wheel
 *            journal: submit -> ticket -> commit -> queue   change -> list of rows -> commit
 * INVARIANTS A task is in one place: a wheel (SCHEDULED, RETRY; RUNNING with a time-out), a level
 *            (QUEUED), the ring of dead letters (FAILED), or none. submitted + requeued +
 *            restored == ok + failed + cancelled + expired + live. live == tasks from WAITING to
 *            RETRY.
 * LOCKING    One lock, rank QUEUE, around everything that is not atomic or constant. Functions of
 *            the host, limiters, the namespace of results and allocations come outside of it;
 *            tables allocate under it.
 * SEE ALSO   README.md in this folder: states, layout, rejected designs. */
#ifndef WORK_TASK_TYPES_H
#define WORK_TASK_TYPES_H

#include "base/clock.h"
#include "base/hash.h"
#include "base/num.h"
#include "base/random.h"
#include "base/service.h"
#include "base/table.h"
#include "cellar_task.h"
#include "stats/stats.h"
#include "wheel/wheel.h"
#include "work/ticker.h"
#include "work/journal.h"
#include "work/journal_board.h"

#define TASK_LEVELS (CELLAR_TASK_PRIORITY_MAX + 1)
#define TASK_CHUNK 1024u     /* tasks of a chunk of the slab */
#define TASK_QUEUES_MAX 65536u
#define TASK_WEIGHT_MAX 100u
#define TASK_SLICE 1024u     /* tasks moved under one lock */
#define TASK_TEXT_ROOM (CELLAR_TASK_TEXT_MAX + 1)
#define TASK_BURST_MAX 16u    /* tasks that a worker takes under one lock */

/* Payload or result: counted, handed on by reference. The copied bytes follow the header, then the
 * content type with a 0. */
typedef struct task_body {
    _Atomic uint32_t refs;
    uint16_t type_len;       /* with what a message has in memory alone */
    bool message;            /* begins with a bus_head */
    bool apart;              /* of a message: the journal has it once for several rows */
    size_t len;
    void *data;
    cellar_payload_free_fn free_fn; /* NULL: the bytes are part of the block */
    union {
        void *free_ctx;
        struct {
            uint32_t slots;      /* without free_fn: tasks that have it */
            uint32_t rows;       /* of them: with a row in the journal */
        };
    };
    union {
        int64_t wall_ms;         /* submit */
        struct task_body *next;  /* in task_after */
    };
} task_body;

/* Tasks before `then`: all members of a group, or the one before it in a chain. */
typedef struct task_group {
    struct task_group *next; /* in task_after */
    struct task_group *after; /* in task_ext */
    struct task *then;       /* NULL: released or ended */
    uint32_t refs;           /* of members, `then` and its runs */
    uint32_t count, left;    /* members; without an end */
    cellar_task_run_on run_on;
    cellar_task_id then_id;
    bool failed;             /* a member did not succeed */
    _Atomic bool ended;      /* the journal has the end of `then`: it needs no inputs */
    uint64_t *done;          /* a bit for each member: a second end of it changes nothing */
    task_body *result[];     /* of each member; NULL: none */
} task_group;

/* Parts of a task that few tasks have. */
typedef struct task_ext {
    UT_hash_handle by_key, by_id;
    struct task_ext *next;   /* in task_after */
    struct task *of;
    cellar_task_id id;       /* of id_in; both 0: none */
    int64_t expires_ms;      /* monotonic; BASE_NEVER_MS: never */
    int64_t delay_ms;        /* of WAITING: before it is queued */
    int64_t key_until_ms;    /* monotonic: the key is free from then; BASE_NEVER_MS: no limit */
    task_group *member_of;   /* it counts there as `member`; NULL: none */
    task_group *before;      /* it is the `then` of it; NULL: none */
    task_group *after;       /* chain of groups of one member, of option `after` */
    uint32_t member;
    uint32_t unique_states;
    uint16_t key_len;        /* 0: none */
    uint16_t tag_at;         /* in text */
    bool has_key;            /* the key is in the table */
    bool has_id;             /* the id is in the table */
    bool has_trace;
    unsigned char trace[CELLAR_TASK_TRACE_BYTES];
    const char *error;       /* constant, or `room` */
    char *room;              /* TASK_TEXT_ROOM bytes; NULL: none */
    const char *died_in;     /* queue where a message died, in place of the tag; NULL: the tag */
    char text[];             /* key, 0, tag, 0 */
} task_ext;

/* A key of THROTTLE. */
typedef struct task_throttle {
    wheel_timer link;        /* first field: in the ring of the pool; `next` alone: task_after */
    UT_hash_handle hh;
    int64_t until_ms;        /* monotonic; 0: not in force */
    cellar_task_id id;       /* of the last task that was accepted */
    uint32_t key_len;
    char key[];
} task_throttle;

enum { TASK_FREE = 0 }; /* a state beside those of cellar_task_state */
enum { /* flags */
    TASK_PARKED = 1,  /* QUEUED, but in the levels of its name */
    TASK_ETA = 2,     /* SCHEDULED in the wheel of the wall clock */
    TASK_CANCEL = 4,  /* cancelled while it runs */
    TASK_SOFT = 8,    /* RUNNING, and timeout_ms passed */
    TASK_RELEASED = 16, /* QUEUED, and was parked: at the front of its level */
    TASK_RECORDED = 32, /* final; the last waiter frees the slot */
    TASK_UNCOMMITTED = 64, /* final, but not yet in the journal: callers see the state before */
    TASK_RECURS = 128 /* part of a refresher_row, sched_entry or sched_run: in no slab, journal or
                       * list of tasks */
};

typedef struct task { /* a slot of the slab */
    wheel_timer timer;       /* wheel, or link of the ring it is in; `next` alone: free slots and
                              * task_after. due_ms of QUEUED: since when */
    task_body *body;
    task_ext *ext;           /* NULL: none */
    uint64_t order;          /* of queueing; kept while parked. UNCOMMITTED: the state before */
    uint32_t index;          /* in the slab; constant */
    uint32_t gen;            /* + 1 with each use of the slot */
    uint16_t name;           /* in names */
    uint8_t flags, waiters;  /* waiters: calls of cellar_task_wait; > 0 keeps the slot */
    uint8_t state, priority, attempt, max_attempts;
} task;
_Static_assert(sizeof(task) <= 64, "a task takes one cache line");

typedef struct task_levels {
    wheel_timer ring[TASK_LEVELS]; /* heads */
    uint32_t used;           /* a bit for each level with tasks */
    uint32_t count;
    uint64_t bytes;          /* payload of the tasks */
} task_levels;

/* A name that its limiter denied, or a paused queue, until a time. */
typedef struct task_gate {
    wheel_timer timer;       /* in the ring of gates while it is closed */
    struct task_name *name;  /* NULL: of a queue */
    struct task_queue *queue; /* NULL: of a name */
} task_gate;

typedef struct task_queue {
    wheel_timer turn;        /* first field: in the ring of its weight while it offers tasks */
    UT_hash_handle hh;
    char name[CELLAR_NAME_MAX + 1];
    task_levels levels;
    task_gate gate;          /* paused */
    bool pull;               /* only cellar_task_take takes its tasks */
    uint32_t weight;         /* 1..TASK_WEIGHT_MAX */
    uint32_t debt;           /* turns to miss: it gave so many tasks more to a burst */
} task_queue;

/* The queues of one weight that offer tasks to workers. They take turns. */
typedef struct task_weight {
    wheel_timer link;        /* first field: in `weights` of the pool while it has queues */
    wheel_timer ring;        /* head of the queues, the next one first */
    int64_t credit;          /* smooth weighted round robin */
    uint32_t count;
} task_weight;

typedef struct task_name {
    UT_hash_handle hh;
    char name[CELLAR_NAME_MAX + 1];
    uint16_t number;
    cellar_task_fn fn;       /* NULL: of a pull queue */
    void *ctx;
    bool missing;            /* not registered, or no more: its tasks wait */
    bool removed;            /* its place is free with its last slot */
    struct task_name *gone;  /* chain of free places */
    uint32_t *counted;       /* where it counts: names of tasks, or groups; NULL: of the journal */
    struct bus_group *group; /* NULL: of tasks */
    uint32_t slots;          /* that have a task of it */
    cellar_task_opts opts;   /* with all defaults filled in */
    task_queue *queue;
    task_levels parked;      /* wait for the gate, or for the end of a run */
    task_gate gate;
    uint32_t live, asked;    /* asked: of the call that is looked at, as asked_bytes; else 0 */
    uint64_t live_bytes, asked_bytes;
    bool plain;              /* no limit: its tasks may be in a burst */
    bool recurs;             /* of the rows of the refresher */
    bool slow;               /* the last functions took more than 1 ms: no burst if others wait */
    uint32_t queued;         /* tasks in the queue that were not parked */
    uint32_t released;       /* tasks in the queue that were */
    uint32_t running;
    uint32_t failures;       /* attempts in a row without success; break_after: broken */
    uint64_t count[STATS_TASK_COUNT]; /* counters of the registry; gauges stay 0 */
} task_name;

typedef struct task_run { /* one attempt */
    cellar_task seen;        /* first field: what the function gets */
    struct task_run *next, *prev; /* ring of all runs */
    cellar_pool *of;
    task *task;              /* NULL: the attempt has ended; only the function still runs */
    task_name *name;
    const task_name *calls;  /* the same for its thread: name of the task that its function runs */
    task_body *body;         /* counted; with a burst that of the first task */
    task_body *lost;         /* counted; of a later task of the burst, past its time-out; or NULL */
    task_body *shown;        /* body of the task that its thread runs */
    task_body *result;       /* counted; of the thread of the run alone */
    task_group *before;      /* counted; NULL: none */
    int64_t started_ms;      /* monotonic */
    _Atomic int64_t began_ms; /* of the task of a burst with time-out; relaxed, ordered by claim */
    int32_t tid;             /* 0: taken, and in no filter */
    bool stuck;              /* past its hard time-out, and not counted in `active` */
    bool pooled;             /* on a thread of the pool */
    bool taken;              /* a block of its own, for cellar_task_take */
    bool filtered;           /* its group does not want the message */
    _Atomic uint32_t cancelled;
    cellar_task_id waits_for; /* of cellar_task_wait; both 0: none */
    cellar_verdict verdict;
    uint64_t current, total; /* progress */
    char message[CELLAR_TASK_MESSAGE_MAX + 1];
    char error[CELLAR_TASK_TEXT_MAX + 1]; /* of the thread of the run alone */
    char tag[CELLAR_TASK_TEXT_MAX + 1];
    unsigned char trace[CELLAR_TASK_TRACE_BYTES];
    bool bursting;           /* burst[] was not recalled */
    bool timed;              /* the tasks of the burst have a time-out; constant meanwhile */
    bool exhausted;          /* of its thread alone: all tasks of the burst have ended */
    uint32_t ran;            /* of its thread alone: functions of the burst that returned */
    uint32_t burst_len;      /* written by its thread, under the lock; 0: no burst */
    _Atomic uint32_t claim;  /* tasks of the burst that began, + 1 after the end of the last one */
    task *burst[TASK_BURST_MAX];
    int64_t since_ms[TASK_BURST_MAX]; /* when each was queued: a recall stores into timers */
} task_run;

/* Return the run of what a task function or a taken task gets. */
BASE_INLINE task_run *task_run_in(const cellar_task *t)
{
    union {
        const cellar_task *in;
        task_run *out; /* its first field */
    } at = { .in = t };
    return at.out;
}

/* The task before one with option `after`. */
typedef struct task_before {
    cellar_task_id id;
    task_ext *spare;         /* rare parts for it, if it has none; NULL: used */
    task_body *result;       /* counted; of `ended` */
    cellar_task_state state; /* of `ended` */
    bool ended;              /* state and result are known */
    bool attached;           /* it is live, and has the group */
} task_before;

/* A task on its way into a slot. */
typedef struct task_draft {
    const char *name;        /* of the caller */
    task_name *to;           /* of a message, while `generation` is that of the bus; NULL: none */
    uint64_t generation;
    task_body *body;
    task_ext *ext;           /* NULL: none */
    task_throttle *throttle; /* for a new key of THROTTLE; NULL: none */
    const cellar_task_id *after; /* of the caller: the task before it; NULL: none */
    task_before *before;     /* NULL: none */
    task *made;              /* NULL: not inserted */
    cellar_task_id other;    /* the task that had its unique key; both 0: none */
    uint64_t looked;         /* of id_in: ids_left + 1 when no slot had the id; 0: before a look */
    int64_t delay_ms, eta_wall_ms;
    cellar_task_conflict on_conflict;
    cellar_task_run_on run_on; /* of a task that waits */
    uint8_t priority, max_attempts;
} task_draft;

/* A submit, or a write of a schedule, that waits for its commit; on the stack of the caller. */
typedef struct task_ticket {
    struct task_ticket *next;
    journal_schedule *schedule; /* to write; NULL: a submit */
    const task_draft *draft;
    const cellar_task_id *id;
    uint32_t count;
    int64_t wall_ms;         /* of the submit */
    void (*then)(cellar_pool *p, void *ctx); /* called in the order of the tickets, under the lock,
                              * if the commit succeeds; NULL: none */
    void *ctx;
    cellar_err err;
} task_ticket;

enum { /* flags of a row */
    TASK_ROW_LISTED = 1,     /* to write */
    TASK_ROW_WRITING = 2,    /* part of the transaction that runs */
    TASK_ROW_AGAIN = 4,      /* changed since: to write again */
    TASK_ROW_PAYLOAD = 8,    /* the payload changed */
    TASK_ROW_ENDS = 16,      /* the transaction has its end */
    TASK_ROW_OVER = 32,      /* in `over` */
    TASK_ROW_LEFT = 64       /* its body counts the row no more */
};

typedef struct task_row {    /* beside each slot of a pool with a journal */
    task *next;              /* in `dirty`, or in the transaction */
    task_body *result;       /* counted; of an end that is not committed; NULL: none */
    int64_t started_wall_ms; /* of the attempt that ended it; 0: none */
    uint32_t begun;          /* attempts, snoozed ones as well */
    uint8_t flags;
} task_row;

typedef struct task_image {  /* of a row, to write without the lock */
    task *task;
    journal_row row;
    journal_input input;     /* then_id both 0: none */
    const task_group *after; /* of an end: groups that get the same input */
    task_body *body, *result; /* counted; NULL: none */
    bool ends, deletes, inputs;
    char error[CELLAR_TASK_TEXT_MAX + 1];
    char name[CELLAR_NAME_MAX + 1], tag[CELLAR_TASK_TEXT_MAX + 1]; /* with the payload */
} task_image;

#define TASK_IMAGES 64u

typedef struct task_journal {
    journal *db;             /* of the thread that has set `busy` */
    journal_board *board;    /* guarded by the lock of the pool, with all below */
    task_row **row;          /* chunks, as those of the slab */
    base_thread thread;      /* not with no_threads */
    _Atomic uint32_t bell;   /* futex word of the thread */
    _Atomic uint32_t done[2]; /* futex words: round n ends at done[n % 2] */
    bool busy;               /* a thread commits */
    _Atomic int32_t owner;   /* that thread; 0: none. Relaxed, only compared with the own number */
    bool asleep;             /* the thread sleeps */
    bool went_back;          /* the wall clock did, since the open: times of rows are too late */
    bool again;              /* rows of the round that runs have changed since */
    bool urgent;             /* a call waits for the round that collects */
    cellar_err err;          /* of the last round */
    uint64_t collects;       /* round that takes the changes of now */
    uint64_t ended, committed; /* last rounds */
    uint32_t waiting[2];     /* calls that sleep on `done` */
    uint32_t dirty_count, writing_count; /* rows to write; rows of the round that runs */
    uint32_t piece;          /* rows of a round, after E_SPACE; 0: all */
    bool spent;              /* of the thread that has set `busy`: no file keeps room */
    uint32_t submitting;     /* submits that wait */
    task *dirty, *dirty_last;
    task *over;              /* chain: their rows are gone, to record and to free */
    task_ticket *ticket, **ticket_end;
    uint32_t ticket_count;
    uint32_t expected;       /* calls that were in a submit when the last round ended */
    bool lingers;            /* the thread waits for their tickets */
    uint64_t write_ns;       /* how long the last round wrote; of the thread that has set `busy` */
    int64_t retry_ms;        /* after an error: no new round before it; 0: none */
    task_image image[TASK_IMAGES]; /* of the thread that has set `busy` */
} task_journal;

typedef struct task_worker {
    base_thread thread;      /* first field */
    struct task_worker *next;
    cellar_pool *of;
    task_run run;
} task_worker;

typedef enum task_intake {
    TASK_INTAKE_OPEN,
    TASK_INTAKE_TASKS,       /* running tasks may submit */
    TASK_INTAKE_CLOSED
} task_intake;

/* A row that recurs: a refresher_row or a sched_entry begins with it. */
typedef struct task_recur {
    task task;               /* first field; its index and id are unused */
    wheel_timer link;        /* in its list while it has refs */
    uint64_t id;             /* rises along the list */
    uint32_t refs;           /* present, and one for each list that is at it */
    bool present;            /* in its table */
} task_recur;

BASE_INLINE task_recur *task_recur_of(wheel_timer *link)
{
    return (task_recur *)(void *)((char *)link - offsetof(task_recur, link));
}

typedef struct task_recurs { /* the rows of a kind */
    wheel_timer ring;        /* head; removed ones that still have refs as well */
    uint64_t last_id;
} task_recurs;

typedef struct sched_set { /* the schedules of a pool */
    struct sched_entry *table; /* uthash by name, in order of creation */
    task_recurs list;
    struct sched_zone *zones; /* chain */
    uint32_t unwritten;      /* schedules in chains of task_after; a drain waits for their writes */
    uint32_t changing;       /* tickets with `then` that wait for their commit */
    uint32_t steps;          /* instants of cron that a call of task_fire may still pass over */
    uint64_t count[STATS_SCHEDULE_COUNT]; /* of the registry; gauges stay 0 */
} sched_set;

typedef struct bus_set { /* the messages of a pool */
    struct bus_queue *queues; /* uthash by name */
    struct bus_route *routes;
    wheel_timer subscribers, scopes; /* heads */
    uint64_t generation;     /* + 1 with each change of groups or routes */
    uint64_t last_id;        /* of messages */
    uint64_t last_subscriber;
    uint32_t group_count, route_count, subscriber_count;
    char default_queue[CELLAR_NAME_MAX + 1]; /* "": none */
    uint64_t count[STATS_BUS_COUNT]; /* of the registry; gauges stay 0 */
} bus_set;

struct cellar_pool {
    base_object obj;         /* first */
    work_ticker ticker;      /* its `stop` ends all threads */
    _Atomic uint32_t threads; /* futex word: 0 none, else TASK_THREADS_... */
    cellar_pool_config cfg;  /* constant, with all defaults filled in; host NULL */
    task_journal *journal;   /* constant; NULL: none */
    uint16_t epoch;          /* part of the ids */
    base_hash_key hash;      /* of names, keys and ids */
    _Atomic uint32_t work;   /* futex word of the workers */
    _Atomic uint32_t ended;  /* futex word: a task, a run or a thread ended */
    _Atomic uint32_t arrived; /* futex word of calls of cellar_task_take that wait */
    task_ext *_Atomic spare; /* rare parts for the next look at the timers; NULL: none */
    sync_lock lock;          /* rank QUEUE; guards everything below */
    task_intake intake;
    bool hold;               /* workers begin nothing */
    bool draining;           /* a drain or a close runs */
    task **chunk;            /* array for queue_cap + dead_cap tasks */
    uint32_t chunk_count, chunk_max, free_count;
    task *free;              /* chain */
    task_ext *by_key, *by_id; /* uthash */
    uint64_t ids_left[64];   /* by task_ids_left: + 1 with each id that leaves by_id */
    task_name *by_name;      /* uthash */
    task_name *recent;       /* found last; NULL: none */
    task_throttle *by_throttle; /* uthash */
    wheel_timer throttles;   /* head of all of them; a sweep moves its first ones to the end */
    uint32_t throttle_count;
    task_name **names;       /* array of name_max: max_names, and those of the journal; and one
                              * for the refresher */
    struct refresher *refresh; /* constant */
    sched_set sched;
    bus_set bus;
    task_name *gone;         /* chain of free places of names */
    uint32_t task_names;     /* registered names of tasks, without those of the journal */
    uint32_t name_count, name_max, queue_count;
    bool limits;             /* a name has queue_cap or queue_bytes */
    task_queue *queues;      /* uthash */
    wheel_timer weights;     /* head: weights with queues that offer tasks */
    task_weight weight[TASK_WEIGHT_MAX];
    uint64_t offered;        /* sum of the weights of the queues that offer tasks */
    wheel mono, wall;
    _Atomic uint32_t looks;  /* at the clocks; changed under the lock */
    int64_t look_ms;         /* monotonic: the thread of the timers looks then, or before */
    _Atomic int64_t offset_ms; /* wall clock minus monotonic clock, at the last look; relaxed, read
                              * without the lock */
    wheel_timer gates;       /* head */
    wheel_timer dead;        /* head of the dead letters, oldest first */
    uint32_t dead_count, live, parked, run_count;
    uint64_t live_bytes, dead_bytes, live_ended; /* live_ended: ends since the open */
    uint64_t body_bytes;     /* blocks of the bodies of all slots */
    uint64_t order;
    task_run runs;           /* head of a ring */
    task_worker *workers;    /* chain */
    uint32_t target, active, stuck; /* threads: wanted; not stuck; stuck */
    uint32_t sleeping, woken; /* threads without a task: asleep; woken, but not yet awake */
    uint32_t asleep;         /* of active: inside cellar_task_wait or a blocked submit */
    uint32_t watching;       /* calls that sleep on `ended` */
    uint32_t takers;         /* calls that sleep on `arrived` */
    uint32_t bursts;         /* runs with `bursting` */
    const task_queue *burst_queue; /* with `bursts` > 0: the only one with tasks; NULL: not so */
    uint32_t burst_priority; /* of all bursts, with `bursts` > 0 */
    uint32_t burst_weight;   /* the same; a queue with a larger weight goes before them */
    base_rng rng;
    stats_waits waits[STATS_TASK_WAIT_COUNT];
    uint64_t count[STATS_TASK_COUNT]; /* counters of no name */
};

/* Work for after the lock. */
typedef struct task_after {
    task *done;              /* chain: tasks with a final state, to record and to free */
    const task *run_of;      /* the task of `done` that an attempt ended; NULL: none */
    task_body *result;       /* its result; the caller holds it; NULL: none */
    int64_t started_wall_ms; /* begin of that attempt */
    task_body *body;         /* chain, to give back */
    task_ext *ext;           /* chain */
    task_ext *dead_ext;      /* rare parts for a row that moves to a dead queue; NULL: none */
    task_group *group;       /* chain */
    task_throttle *throttle; /* chain */
    task *gone;              /* chain: removed rows of the refresher, and schedules */
    struct sched_news *news; /* of task_fire */
    struct sched_entry *unwritten; /* chain: schedules with a due time to write */
    const task_name *timed_out; /* a hard time-out passed, to log; NULL: none */
    uint64_t until_ns;       /* a submit waits for room to then; 0: it has not waited yet */
    uint32_t work;           /* workers to wake */
    bool recall;             /* recall the bursts */
    bool failed;             /* a run of a schedule failed, to log */
    bool ended;              /* wake those that sleep on `ended` */
    bool arrived;            /* wake those that sleep on `arrived` */
    bool timer;              /* wake the thread of the timers */
    bool journal;            /* wake the thread of the journal */
} task_after;

/* Read the figures: see stats_service. */
CELLAR_PRIVATE const char *task_figures(void *object, uint64_t *value);
#ifndef CELLAR_OMIT_TEXT
/* Write more families: see stats_service. */
CELLAR_PRIVATE void task_figures_more(stats_out *o, const stats_owner *owner, void *object,
                                      const uint64_t *value);
#endif

#endif
