/* SPDX-License-Identifier: MIT
 *
 * guest: may change until 1.0.
 *
 * cellar_task: tasks with retries, on a pool of threads inside one process.
 *
 * CALL PATTERN
 *     #include "cellar_task.h"    // drop-in: part of "cellar_all.h"
 *     static cellar_verdict mail(const cellar_task *t, void *ctx)
 *     {
 *         switch (send_mail(ctx, t->payload, t->payload_len)) {
 *         case SENT: return cellar_verdict_ok();
 *         case BUSY: return cellar_verdict_retry();
 *         default:   return cellar_verdict_fail(); }
 *     }
 *     cellar_pool *p;
 *     if (cellar_pool_open(NULL, &p) != CELLAR_OK) return 1;
 *     cellar_task_register(p, "mail", mail, server, NULL);
 *     cellar_task_submit(p, "mail", "7", 1, NULL, NULL);
 *     cellar_pool_drain(p, CELLAR_DRAIN_ALL, 5000, NULL); // runs what is queued, 5 s at most
 *     cellar_pool_close(p);
 *
 * VERDICT The return value of the function decides: OK, FAIL (final), RETRY (after a backoff, up to
 *         max_attempts), RETRY_AFTER (after a given time), SNOOZE (the same, costs no attempt),
 *         CANCELLED. A task that fails for good becomes a dead letter.
 * LOSS    Tasks live in memory and end with the process: each attempt runs at most once. With
 *         `journal_path` an accepted task runs at least once, also after a crash: see JOURNAL.
 * RUNS    Functions run on threads of the pool, or inside cellar_tick with host option no_threads.
 *         Threads have the default stack, or host option stack_bytes. See STATES, RESTRICTIONS. */
#ifndef CELLAR_TASK_H
#define CELLAR_TASK_H

#include "cellar.h"
#include "cellar_admin.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Types ---------------------------------------------------------------------------------- */

/* Limits of a pool and of its tasks. */
#define CELLAR_TASK_TEXT_MAX     255u /* bytes of an error text, of a unique key, of a tag        */
#define CELLAR_TASK_MESSAGE_MAX  127u /* bytes of the message of a progress                       */
#define CELLAR_TASK_TRACE_BYTES  32u  /* bytes of the trace context                               */
#define CELLAR_TASK_PRIORITY_MAX 9u   /* largest priority                                         */
#define CELLAR_TASK_GROUP_MAX    65536u /* tasks of one cellar_task_submit_many                  */
#define CELLAR_POOL_WORKERS_MAX  64u  /* most threads of a pool                                   */
#define CELLAR_POOL_DELAY_MAX_MS (INT64_C(366) * 86400000) /* largest delay and expiry            */

struct cellar_limiter;

/* A pool: names, queues, tasks, threads. cellar_pool_open makes it, cellar_pool_close frees it. The
 * calls of this header take it from any thread. */
typedef struct cellar_pool cellar_pool;

/* Identify a task. Ids compare by `hi`, then `lo`: by the time of their submit. Both 0: no task. */
typedef struct cellar_task_id {
    uint64_t hi, lo; /* 128 bits */
} cellar_task_id;

/* State of a task; see STATES. */
typedef enum cellar_task_state {
    CELLAR_TASK_WAITING = 1,   /* for the tasks before it                                         */
    CELLAR_TASK_SCHEDULED = 2, /* for its due time                                                */
    CELLAR_TASK_QUEUED = 3,    /* due: waits for a thread                                         */
    CELLAR_TASK_RUNNING = 4,   /* an attempt runs                                                 */
    CELLAR_TASK_RETRY = 5,     /* for its next attempt                                            */
    CELLAR_TASK_SUCCEEDED = 6, /* final                                                           */
    CELLAR_TASK_FAILED = 7,    /* a dead letter                                                   */
    CELLAR_TASK_CANCELLED = 8, /* final                                                           */
    CELLAR_TASK_EXPIRED = 9    /* final: expires_ms passed first                                  */
} cellar_task_state;

/* What becomes of a task after an attempt. */
typedef enum cellar_verdict_kind {
    CELLAR_VERDICT_OK = 0,          /* the task has succeeded                                     */
    CELLAR_VERDICT_FAIL = 1,        /* the task has failed for good: a dead letter                */
    CELLAR_VERDICT_RETRY = 2,       /* again after a backoff, up to max_attempts                  */
    CELLAR_VERDICT_RETRY_AFTER = 3, /* again after delay_ms, up to max_attempts                   */
    CELLAR_VERDICT_SNOOZE = 4,      /* again after delay_ms; costs no attempt                     */
    CELLAR_VERDICT_CANCELLED = 5,   /* the task is cancelled                                      */
    CELLAR_VERDICT_EXTEND = 6       /* of cellar_task_settle; of a function: as FAIL              */
} cellar_verdict_kind;

/* Result of one attempt, for cellar_task_fn and cellar_task_settle. Make it with
 * cellar_verdict_ok, cellar_verdict_retry or another function that returns a cellar_verdict. */
typedef struct cellar_verdict {
    int64_t  delay_ms;        /* delay of RETRY_AFTER and SNOOZE. Range 0..604,800,000 ms (7      */
                              /* days); others are clamped. With EXTEND: hold from now.           */
                              /* Range 1..CELLAR_POOL_DELAY_MAX_MS ms                             */
    cellar_verdict_kind kind; /* an unknown one counts as FAIL                                    */
    uint32_t reserved0;       /* 0                                                                */
} cellar_verdict;

/* Return the verdict of a kind. Each kind has a function of its own, as cellar_verdict_ok.
 * in:      kind: an unknown one counts as CELLAR_VERDICT_FAIL;
 *          delay_ms: of RETRY_AFTER, SNOOZE and EXTEND, see those functions; else unused
 * returns: the verdict, unchecked
 * thread:  any
 * cost:    O(1); no call of the library
 * example: cellar_task_settle(taken, cellar_verdict_of(CELLAR_VERDICT_OK, 0));
 * since:   0.2.0                                                                                 */
static inline cellar_verdict cellar_verdict_of(cellar_verdict_kind kind, int64_t delay_ms)
{
    CELLAR_ZERO(cellar_verdict, v);
    v.kind = kind;
    v.delay_ms = delay_ms;
    return v;
}
/* Return the verdict that ends the task as succeeded.
 * returns: the verdict
 * thread:  any
 * cost:    O(1); no call of the library
 * example: cellar_task_settle(taken, cellar_verdict_ok());
 * since:   0.2.0                                                                                 */
static inline cellar_verdict cellar_verdict_ok(void)
{
    return cellar_verdict_of(CELLAR_VERDICT_OK, 0);
}
/* Return the verdict that ends the task for good, as a dead letter.
 * returns: the verdict
 * thread:  any
 * cost:    O(1); no call of the library
 * example: cellar_task_settle(taken, cellar_verdict_fail());
 * since:   0.2.0                                                                                 */
static inline cellar_verdict cellar_verdict_fail(void)
{
    return cellar_verdict_of(CELLAR_VERDICT_FAIL, 0);
}
/* Return the verdict that runs the task again after its backoff. The attempt max_attempts makes the
 * task a dead letter instead.
 * returns: the verdict
 * thread:  any
 * cost:    O(1); no call of the library
 * example: cellar_task_settle(taken, cellar_verdict_retry());
 * since:   0.2.0                                                                                 */
static inline cellar_verdict cellar_verdict_retry(void)
{
    return cellar_verdict_of(CELLAR_VERDICT_RETRY, 0);
}
/* Return the verdict that runs the task again after a time of its choice. The attempt max_attempts
 * makes the task a dead letter instead.
 * in:      delay_ms 0..604,800,000 (7 days), from the end of the attempt; a smaller number counts
 *          as 0, a larger one as 7 days
 * returns: the verdict
 * thread:  any
 * cost:    O(1); no call of the library
 * example: cellar_task_settle(taken, cellar_verdict_retry_after(30000));
 * since:   0.2.0                                                                                 */
static inline cellar_verdict cellar_verdict_retry_after(int64_t delay_ms)
{
    return cellar_verdict_of(CELLAR_VERDICT_RETRY_AFTER, delay_ms);
}
/* Return the verdict that runs the task again after a time of its choice and costs no attempt.
 * in:      delay_ms: as cellar_verdict_retry_after
 * returns: the verdict
 * thread:  any
 * cost:    O(1); no call of the library
 * example: cellar_task_settle(taken, cellar_verdict_snooze(60000));
 * since:   0.2.0                                                                                 */
static inline cellar_verdict cellar_verdict_snooze(int64_t delay_ms)
{
    return cellar_verdict_of(CELLAR_VERDICT_SNOOZE, delay_ms);
}
/* Return the verdict that ends the task as cancelled.
 * returns: the verdict
 * thread:  any
 * cost:    O(1); no call of the library
 * example: cellar_task_settle(taken, cellar_verdict_cancelled());
 * since:   0.2.0                                                                                 */
static inline cellar_verdict cellar_verdict_cancelled(void)
{
    return cellar_verdict_of(CELLAR_VERDICT_CANCELLED, 0);
}
/* Return the verdict that gives a task of cellar_task_take a new hold. As the result of a
 * cellar_task_fn it counts as CELLAR_VERDICT_FAIL.
 * in:      hold_ms 1..CELLAR_POOL_DELAY_MAX_MS, from the call of cellar_task_settle, which returns
 *          E_INVAL for another number: the hold is then as before
 * returns: the verdict
 * thread:  any
 * cost:    O(1); no call of the library
 * example: cellar_task_settle(taken, cellar_verdict_extend(60000));
 * since:   0.2.0                                                                                 */
static inline cellar_verdict cellar_verdict_extend(int64_t hold_ms)
{
    return cellar_verdict_of(CELLAR_VERDICT_EXTEND, hold_ms);
}

/* One attempt: for the function of its task, valid with all pointers until the function returns; or
 * from cellar_task_take, valid until its cellar_task_settle. */
typedef struct cellar_task {
    size_t   struct_size;       /* set by the library                                             */
    cellar_task_id id;          /* id of the task, equal for all its attempts; of a schedule: 0   */
    const char *name;           /* name of the task, as given to the submit; of a message: group  */
    const void *payload;        /* bytes of the submit, not copied for the attempt: only read. Of */
                                /* a message (cellar_bus.h) its body                              */
    size_t   payload_len;       /* bytes of `payload`                                             */
    const char *content_type;   /* content_type of the submit; "": none                           */
    const char *tag;            /* tag of the submit, or name of the schedule; of a message of a  */
                                /* dead_queue the queue where it died; "": none                   */
    const unsigned char *trace; /* CELLAR_TASK_TRACE_BYTES of the submit; NULL: none              */
    int64_t  late_ms;           /* ms from the due time to the start of the attempt               */
    int64_t  due_wall_ms;       /* of a schedule: instant for which it fired, UNIX ms, without    */
                                /* jitter; else 0, as all down to triggered                       */
    int64_t  until_wall_ms;     /* latest firing that the run stands for, UNIX ms: due_wall_ms,   */
                                /* later with CELLAR_COALESCE_EARLIEST; triggered: INT64_MIN      */
    uint64_t missed;            /* firings before it that the run stands for                      */
    uint32_t triggered;         /* 1: by cellar_schedule_trigger                                  */
    uint32_t attempt;           /* number of the attempt, from 1                                  */
    uint32_t max_attempts;      /* most attempts, of the options of the name                      */
    uint32_t input_count;       /* tasks before it in its chain or group; cellar_task_input       */
} cellar_task;
CELLAR_STRUCT(cellar_task, input_count);

/* Run one attempt: the function of a task name.
 * in:      task: valid until the function returns; ctx of cellar_task_register
 * returns: a verdict: see cellar_verdict_kind. It may end its thread by pthread_exit, which counts
 *          as RETRY
 * owns:    the payload stays that of the pool; ctx outlives the pool
 * thread:  one of the pool, or with no_threads the one inside cellar_tick or cellar_pool_drain; up
 *          to max_running at a time. No lock is held. The function may block, and may call every
 *          function of its pool, but cellar_pool_close and cellar_pool_drain return E_DEADLOCK
 * cost:    one of `workers` while it runs
 * example:
 *     cellar_verdict count_bytes(const cellar_task *task, void *sum)
 *     {
 *         if (task->payload_len == 0)
 *             return cellar_verdict_fail(); // never runs again
 *         *(size_t *)sum += task->payload_len;
 *         return cellar_verdict_ok();
 *     }                                                                                          */
typedef cellar_verdict (*cellar_task_fn)(const cellar_task *task, void *ctx);

/* Write the key that the limiter of a name charges for a task: cellar_task_opts.rate_key. The tasks
 * of a denied key wait, and others of the name go on.
 * in:      payload of the task; key_cap: CELLAR_TASK_TEXT_MAX bytes; ctx of cellar_task_register
 * out:     key: up to key_cap bytes
 * returns: length of the key; 0, or more than key_cap: the name of the task is the key
 * owns:    ctx outlives the pool
 * thread:  as cellar_task_fn, before each attempt, with no lock held. The function must return
 *          soon, and must not call its pool
 * cost:    part of each attempt                                                                  */
typedef size_t (*cellar_task_key_fn)(const void *payload, size_t payload_len, void *key,
                                     size_t key_cap, void *ctx);

/* Free the payload of a task: cellar_submit_opts.free_fn.
 * in:      payload, len: as given to the submit; ctx: free_ctx of the submit
 * owns:    payload and ctx belong to the function. The pool calls it once: when the task has its
 *          final state, when a dead letter leaves, when a later submit replaces the payload, or
 *          when the pool is closed. A submit that fails does not call it
 * thread:  the one that ended the task: of the pool, a tick, or a caller of the pool; or that of a
 *          cellar_task_list that shows the payload. No lock is held. The function may block, and
 *          may submit tasks, but must not call the pool while cellar_pool_close runs
 * cost:    that thread waits for it                                                              */
typedef void (*cellar_payload_free_fn)(void *payload, size_t len, void *ctx);

/* What a submit does when the pool is full, or the name of the task. */
typedef enum cellar_pool_full {
    CELLAR_POOL_REJECT = 0,     /* E_BUSY                                                         */
    CELLAR_POOL_BLOCK = 1,      /* waits up to block_timeout_ms, then E_TIMEOUT                   */
    CELLAR_POOL_DROP_OLDEST = 2 /* cancels the oldest queued task of the lowest priority: of the  */
                                /* pool, or of the name                                           */
} cellar_pool_full;

/* Which queue a worker takes a task from while several have tasks. */
typedef enum cellar_pool_order {
    CELLAR_POOL_WEIGHTED = 0, /* in proportion to the weights                                     */
    CELLAR_POOL_STRICT = 1    /* the queue with the largest weight; equal ones take turns         */
} cellar_pool_order;

/* What cellar_pool_set changes. */
typedef enum cellar_pool_setting {
    CELLAR_POOL_SET_WORKERS = 1, /* number of threads. Range 1..CELLAR_POOL_WORKERS_MAX           */
    CELLAR_POOL_SET_WEIGHT = 2,  /* share of a queue while all queues have tasks; with            */
                                 /* CELLAR_POOL_STRICT its rank. Range 1..100. Default 1          */
    CELLAR_POOL_SET_PAUSE = 3    /* no task of a queue begins for so many ms; 0 resumes it        */
} cellar_pool_setting;

/* What a submit of a pool with a journal survives. */
typedef enum cellar_journal_level {
    CELLAR_JOURNAL_PROCESS = 0, /* the end of the process, also by kill -9; a power cut loses the */
                                /* last changes                                                   */
    CELLAR_JOURNAL_SYNC = 1     /* a power cut as well: each commit waits for the disk            */
} cellar_journal_level;

/* What an open does with a damaged journal. */
typedef enum cellar_journal_damaged {
    CELLAR_JOURNAL_REFUSE = 0,    /* E_CORRUPT                                                    */
    CELLAR_JOURNAL_SET_ASIDE = 1  /* renames it to *.bad.1 .. .bad.9, logs it, and starts empty   */
} cellar_journal_damaged;

/* How a backoff is spread. */
typedef enum cellar_task_jitter {
    CELLAR_TASK_JITTER_FULL = 0,  /* uniform in [1 ms, delay]                                     */
    CELLAR_TASK_JITTER_EQUAL = 1, /* uniform in [delay / 2, delay]                                */
    CELLAR_TASK_JITTER_NONE = 2   /* the delay itself                                             */
} cellar_task_jitter;

/* What a submit does when a live task has its unique key. */
typedef enum cellar_task_conflict {
    CELLAR_TASK_CONFLICT_REJECT = 0,   /* EXISTS, with the id of that task                        */
    CELLAR_TASK_CONFLICT_RETURN = 1,   /* OK, with the id of that task; nothing is submitted      */
    CELLAR_TASK_CONFLICT_REPLACE = 2,  /* cancels that task; EXISTS if it runs, or waits for      */
                                       /* others                                                  */
    CELLAR_TASK_CONFLICT_DEBOUNCE = 3, /* OK: that task gets the new payload, and its delay,      */
                                       /* expires_ms and unique_ttl_ms restart as this submit     */
                                       /* says; EXISTS if it runs, or waits for others            */
    CELLAR_TASK_CONFLICT_THROTTLE = 4  /* EXISTS, also after the end of that task until           */
                                       /* unique_ttl_ms passed since its submit                   */
} cellar_task_conflict;

/* How the tasks of one cellar_task_submit_many depend on each other. A task that waits gets the
 * results of those before it from cellar_task_input. */
typedef enum cellar_task_links {
    CELLAR_LINKS_NONE = 0,  /* no task waits for another                                          */
    CELLAR_LINKS_CHAIN = 1, /* each task waits for the one before it                              */
    CELLAR_LINKS_GROUP = 2  /* the last task waits for all others                                 */
} cellar_task_links;

/* When a task that waits for others runs. */
typedef enum cellar_task_run_on {
    CELLAR_TASK_ON_SUCCESS = 0, /* all succeeded; else it is cancelled                            */
    CELLAR_TASK_ON_FAILURE = 1, /* at least one did not succeed; else it is cancelled             */
    CELLAR_TASK_ALWAYS = 2      /* all have ended                                                 */
} cellar_task_run_on;

/* Options of a pool, for cellar_pool_open. Start from cellar_pool_config_default(). 0 or NULL in a
 * field: its default. */
typedef struct cellar_pool_config {
    size_t   struct_size;      /* set by cellar_pool_config_default()                             */
    const struct cellar_host_config *host; /* cellar_admin.h. NULL: all defaults. Used: name (""  */
                               /* counts as "pool"), clock, alloc, free, log, log_level,          */
                               /* no_threads, stack_bytes                                         */
    cellar_clock_fn wall_clock; /* UNIX ms, with clock_ctx of host. Default NULL: of the system   */
    cellar  *results;          /* namespace for final states and results; outlives the pool.      */
                               /* Default NULL: a finished task is forgotten, except dead letters */
    const char *journal_path;  /* file for tasks that survive the process, see JOURNAL. One pool  */
                               /* owns it. Copied. Default NULL: none                             */
    int64_t  success_ttl_ms;   /* TTL of a result. Range 1..2^63 - 1 ms. Default 3,600,000        */
    int64_t  failed_ttl_ms;    /* TTL of any other final state. Range 1..2^63 - 1 ms.             */
                               /* Default 1,800,000                                               */
    int64_t  dead_ttl_ms;      /* life of a dead letter. Range 1..2^63 - 1 ms.                    */
                               /* Default 604,800,000 (7 days)                                    */
    int64_t  age_ms;           /* queued for so long, a task counts one priority higher, and      */
                               /* again after each further age_ms. Range 1..2^63 - 1 ms.          */
                               /* Default 10,000                                                  */
    int64_t  block_timeout_ms; /* longest wait of a submit with CELLAR_POOL_BLOCK.                */
                               /* Range 1..2^63 - 1 ms. Default 1,000                             */
    int64_t  close_timeout_ms; /* wait of the close for running tasks. Range 1..2^63 - 1 ms.      */
                               /* Default 5,000                                                   */
    int64_t  grace_ms;         /* after a drain timed out: time for running tasks, which see      */
                               /* cellar_task_cancelled. Range 1..2^63 - 1 ms. Default 1,000      */
    uint64_t queue_bytes;      /* payload bytes of live tasks; dead letters may have as many      */
                               /* again. Range 1..2^64 - 1 bytes. Default 64 MiB                  */
    uint32_t queue_cap;        /* live tasks. Range 1..16,777,216. Default 65,536                 */
    uint32_t dead_cap;         /* dead letters; the oldest leaves. Range 1..16,777,216.           */
                               /* Default 10,000                                                  */
    uint32_t workers;          /* threads. Range 1..CELLAR_POOL_WORKERS_MAX. Default 4            */
    uint32_t max_names;        /* task names, without groups. Range 1..4,096. Default 256         */
    cellar_pool_full on_full;  /* what a submit does when the pool is full. Default REJECT.       */
                               /* DROP_OLDEST: not with a journal                                 */
    cellar_pool_order order;   /* which queue a worker takes a task from. Default WEIGHTED        */
    cellar_journal_level journal_level; /* what an OK survives. Default PROCESS                   */
    cellar_journal_damaged on_bad_journal; /* what an open does with a damaged journal.           */
                               /* Default REFUSE                                                  */
    uint32_t restore_rate;     /* tasks of the journal that are due at the open begin at this     */
                               /* rate. Range 1..1,000,000 a second. Default 1,000                */
    uint32_t max_rows;         /* rows of cellar_refresh.h, and schedules. Range 1..1,048,576     */
                               /* each. Default 4,096                                             */
    uint32_t max_parallel;     /* loads of such rows at the same time, of all workers.            */
                               /* Range 1..64. Default 2                                          */
    uint32_t reserved0;        /* must be 0                                                       */
    const char *default_queue; /* queue (cellar_bus.h) of messages that no route matches;         */
                               /* 1..64 bytes, copied. Default NULL: none                         */
    uint64_t max_message_bytes; /* key, headers and body of one message. Range 1..2^30 bytes.     */
                               /* Default 1 MiB                                                   */
    uint32_t max_groups;       /* groups of messages. Range 1..32,768. Default 256                */
    uint32_t max_routes;       /* routes of all queues. Range 1..65,536. Default 1,024            */
    uint32_t max_subscribers;  /* subscribers of signals. Range 1..65,536. Default 1,024          */
    uint32_t reserved1;        /* must be 0                                                       */
} cellar_pool_config;
CELLAR_STRUCT(cellar_pool_config, reserved1);

/* Options of a task name, for cellar_task_register. Start from cellar_task_opts_default(). No time
 * is above CELLAR_POOL_DELAY_MAX_MS. */
typedef struct cellar_task_opts {
    size_t   struct_size;      /* set by cellar_task_opts_default()                               */
    int64_t  base_ms;          /* backoff before the second attempt; doubles with each further    */
                               /* one. Range 1..CELLAR_POOL_DELAY_MAX_MS ms. Default 0: 1,000     */
    int64_t  cap_ms;           /* largest backoff, also of the first.                             */
                               /* Range 1..CELLAR_POOL_DELAY_MAX_MS ms. Default 0: 600,000        */
    int64_t  timeout_ms;       /* after it an attempt sees cellar_task_cancelled.                 */
                               /* Range 1..CELLAR_POOL_DELAY_MAX_MS ms. Default 0: none           */
    int64_t  hard_timeout_ms;  /* after it the attempt has failed, and the next one may begin.    */
                               /* Range timeout_ms..CELLAR_POOL_DELAY_MAX_MS ms. Default 0: 2 x   */
                               /* timeout_ms                                                      */
    int64_t  break_ms;         /* pause of the name after break_after.                            */
                               /* Range 1..CELLAR_POOL_DELAY_MAX_MS ms. Default 0: 30,000         */
    struct cellar_limiter *rate; /* cellar_limit.h: one unit of key "name" for each attempt. The  */
                               /* limiter lives until cellar_task_unregister or the close of the  */
                               /* pool. Default NULL: no limit                                    */
    cellar_task_key_fn rate_key; /* another key for `rate`. Default NULL: the name                */
    const char *queue;         /* name of the queue of these tasks, 1..64 bytes, copied.          */
                               /* Default NULL: "default"                                         */
    uint32_t max_attempts;     /* attempts of a task. Range 1..255. Default 4                     */
    uint32_t max_running;      /* attempts of the name at the same time. Range 1..2^32 - 1.       */
                               /* Default 0: no limit                                             */
    cellar_task_jitter jitter; /* how a backoff is spread. Default FULL                           */
    uint32_t break_after;      /* after so many attempts in a row that fail, retry or time out,   */
                               /* no task of the name begins for break_ms; then one does, and     */
                               /* decides. Range 1..2^32 - 1. Default 0: never                    */
    uint64_t queue_bytes;      /* payload bytes of live tasks of the name.                        */
                               /* Range 1..2^64 - 1 bytes. Default 0: no limit but that of pool   */
    uint32_t queue_cap;        /* live tasks of the name. Range 1..2^32 - 1. Default 0: the same  */
    cellar_pool_full on_full;  /* what a submit does when the name is full. Default REJECT.       */
                               /* DROP_OLDEST: not with a journal                                 */
} cellar_task_opts;
CELLAR_STRUCT(cellar_task_opts, on_full);

/* Options of a submit, for cellar_task_submit. Start from cellar_submit_opts_default(). */
typedef struct cellar_submit_opts {
    size_t   struct_size;      /* set by cellar_submit_opts_default()                             */
    int64_t  delay_ms;         /* due so many ms from now. Range 0..CELLAR_POOL_DELAY_MAX_MS.     */
                               /* Default 0: now                                                  */
    int64_t  eta_wall_ms;      /* due at this UNIX time in ms instead; follows steps of the wall  */
                               /* clock. Not with delay_ms. Range 1..2^63 - 1. Default 0: none    */
    int64_t  expires_ms;       /* after so many ms the task does not begin an attempt.            */
                               /* Range 0..CELLAR_POOL_DELAY_MAX_MS. Default 0: never             */
    int64_t  unique_ttl_ms;    /* after so many ms the key is free, whatever its task does; with  */
                               /* unique_key. Range 0..CELLAR_POOL_DELAY_MAX_MS. Default 0: no    */
                               /* limit. Needed by THROTTLE, of which a pool keeps queue_cap keys */
    const char *content_type;  /* type of the payload, 0..255 bytes, copied. Default NULL: ""     */
    const char *tag;           /* tag of the task, 0..CELLAR_TASK_TEXT_MAX bytes, copied.         */
                               /* Default NULL: ""                                                */
    const char *unique_key;    /* 1..CELLAR_TASK_TEXT_MAX bytes, copied: one live task of the     */
                               /* pool has it. Default NULL: none                                 */
    const unsigned char *trace; /* CELLAR_TASK_TRACE_BYTES, copied. Default NULL: none            */
    const cellar_task_id *id_in; /* the id; EXISTS if the pool knows it. Default NULL: a new one  */
    cellar_payload_free_fn free_fn; /* takes the payload over; called once, with no lock held.    */
                               /* Default NULL: the payload is copied                             */
    void    *free_ctx;         /* given to free_fn                                                */
    const cellar_task_id *after; /* runs after this task of the pool, also a running or finished  */
                               /* one, and gets its result from cellar_task_input. A delay counts */
                               /* from its end. Not with eta_wall_ms, id_in or on_conflict.       */
                               /* Default NULL: none                                              */
    cellar_task_run_on run_on; /* when a task that waits for others runs. Default ON_SUCCESS: the */
                               /* first failure cancels it                                        */
    uint32_t unique_states;    /* states in which a task keeps its key from others: sum of        */
                               /* 1u << state. Default 0: each live state                         */
    cellar_task_conflict on_conflict; /* Default REJECT                                           */
    uint32_t priority;         /* Range 1..CELLAR_TASK_PRIORITY_MAX, higher first. Default 0: 5.  */
                               /* CELLAR_OFF: below 1                                             */
} cellar_submit_opts;
CELLAR_STRUCT(cellar_submit_opts, priority);

/* One task of cellar_task_submit_many. */
typedef struct cellar_task_item {
    const char *name;               /* name of the task, as in cellar_task_submit                 */
    const void *payload;            /* bytes of the task, as in cellar_task_submit                */
    size_t      payload_len;        /* bytes of `payload`                                         */
    const cellar_submit_opts *opts; /* NULL = defaults                                            */
} cellar_task_item;

/* Description of a task, or of a message of a group, from cellar_task_wait and cellar_task_list.
 * Start from cellar_task_status_default(). */
typedef struct cellar_task_status {
    size_t   struct_size;      /* set by cellar_task_status_default()                             */
    cellar_task_id id;         /* id of the task                                                  */
    int64_t  submitted_wall_ms; /* UNIX ms of the submit, as the next three                       */
    int64_t  due_wall_ms;      /* due time of a task that is SCHEDULED or in RETRY; else 0        */
    int64_t  started_wall_ms;  /* of RUNNING, and of a task that an attempt ended: begin of that  */
                               /* attempt; else, and of a dead letter, 0                          */
    int64_t  ended_wall_ms;    /* end of a finished task; else 0                                  */
    uint64_t progress_current; /* first number of cellar_task_progress in the running attempt     */
    uint64_t progress_total;   /* second number of that call                                      */
    uint64_t result_len;       /* bytes of the result of a finished task                          */
    const void *payload;       /* bytes as in cellar_task, valid until fn returns; NULL from      */
                               /* cellar_task_wait                                                */
    size_t   payload_len;      /* bytes of `payload`                                              */
    cellar_task_state state;   /* see STATES                                                      */
    uint32_t attempt;          /* attempts that began                                             */
    uint32_t max_attempts;     /* most attempts, of the options of the name                       */
    uint32_t priority;         /* 0..CELLAR_TASK_PRIORITY_MAX                                     */
    uint32_t cancel_requested; /* 1: a running task was cancelled, or its time-out passed         */
    uint32_t result_lost;      /* 1: the result did not fit into the namespace                    */
    char     name[CELLAR_NAME_MAX + 1]; /* name of the task                                       */
    char     message[CELLAR_TASK_MESSAGE_MAX + 1]; /* message of the last cellar_task_progress;   */
                               /* "": none                                                        */
    char     error[CELLAR_TASK_TEXT_MAX + 1]; /* error text of the last attempt that did not      */
                               /* succeed; "": none                                               */
    char     tag[CELLAR_TASK_TEXT_MAX + 1]; /* tag of cellar_task; "": none                       */
    unsigned char reserved0[7]; /* 0                                                              */
} cellar_task_status;
CELLAR_STRUCT(cellar_task_status, reserved0);

/* What cellar_task_list shows: tasks that match all fields. Start from
 * cellar_task_filter_default(). */
typedef struct cellar_task_filter {
    size_t   struct_size;      /* set by cellar_task_filter_default()                             */
    const char *name;          /* name of the tasks, or a group. Default NULL: any                */
    const char *tag;           /* tag of the tasks. Default NULL: any                             */
    int64_t  from_wall_ms;     /* submitted at this UNIX time in ms or later. Default 0: no limit */
    int64_t  until_wall_ms;    /* submitted before this UNIX time in ms. Default 0: no limit      */
    uint32_t states;           /* sum of 1u << state. Default 0: any                              */
    uint32_t reserved0;        /* must be 0                                                       */
} cellar_task_filter;
CELLAR_STRUCT(cellar_task_filter, reserved0);

/* Receive one task of cellar_task_list.
 * in:      status, with its payload: valid until the function returns; ctx of the list
 * returns: true: continue; false: end the list
 * owns:    nothing is kept after the list has returned
 * thread:  the caller of the list, with no lock held. The function may block, and may call every
 *          function of the pool, except its close
 * cost:    the list waits for it                                                                 */
typedef bool (*cellar_task_list_fn)(const cellar_task_status *status, void *ctx);

/* Which tasks cellar_pool_drain still runs. */
typedef enum cellar_drain_mode {
    CELLAR_DRAIN_ALL = 0,    /* tasks begin until the deadline; running tasks may submit          */
    CELLAR_DRAIN_RUNNING = 1 /* no task begins                                                    */
} cellar_drain_mode;

/* Result of cellar_pool_drain: live tasks of its begin, with those that running tasks submitted in
 * it: finished + journaled + abandoned + still_running. Start from
 * cellar_drain_report_default(). */
typedef struct cellar_drain_report {
    size_t   struct_size;      /* set by cellar_drain_report_default()                            */
    uint64_t finished;         /* reached a final state                                           */
    uint64_t journaled;        /* wait in the journal for the next open                           */
    uint64_t abandoned;        /* cancelled by the drain; they did not run at its end. 0 with a   */
                               /* journal                                                         */
    uint64_t still_running;    /* run at the end of the drain                                     */
} cellar_drain_report;
CELLAR_STRUCT(cellar_drain_report, still_running);

/* Figures of a pool, or of one name, from cellar_pool_stats_get; cellar_metrics_write prints those
 * of the pool. Start from cellar_pool_stats_default(). Counts begin at the open.
 * submitted + requeued + restored == ok + failed + cancelled + expired + live. */
typedef struct cellar_pool_stats {
    size_t   struct_size;      /* set by cellar_pool_stats_default()                              */
    uint64_t submitted;        /* tasks accepted                                                  */
    uint64_t requeued;         /* dead letters made live again                                    */
    uint64_t restored;         /* tasks and dead letters (also in failed) from the journal        */
    uint64_t started;          /* attempts that began, of schedules as well                       */
    uint64_t ok;               /* tasks that succeeded                                            */
    uint64_t failed;           /* tasks that failed for good                                      */
    uint64_t cancelled;        /* tasks that were cancelled                                       */
    uint64_t expired;          /* tasks that expired                                              */
    uint64_t retried;          /* attempts that another one follows                               */
    uint64_t snoozed;          /* verdicts SNOOZE, without those of schedules                     */
    uint64_t dropped;          /* of cancelled: by CELLAR_POOL_DROP_OLDEST, or by a full group    */
    uint64_t filtered;         /* of cancelled: messages that a filter of their group refused     */
    uint64_t debounced;        /* submits that gave their payload to a live task                  */
    uint64_t timed_out;        /* attempts that passed hard_timeout_ms, or their hold             */
    uint64_t late;             /* verdicts discarded: their attempt had timed out                 */
    uint64_t thread_ends;      /* attempts that ended their thread                                */
    uint64_t parked_rate;      /* tasks parked by their limiter, or by break_after                */
    uint64_t parked_running;   /* tasks parked by max_running                                     */
    uint64_t breaks;           /* pauses of names by break_after                                  */
    uint64_t result_lost;      /* results that did not fit into the namespace                     */
    uint64_t dead_dropped;     /* dead letters removed by dead_cap, dead_ttl_ms or queue_bytes    */
    uint64_t dead_purged;      /* dead letters removed by cellar_task_purge, or sent to a         */
                               /* dead_queue                                                      */
    uint64_t rejected_full;    /* submits refused by a full pool, or by a full name               */
    uint64_t rejected_limit;   /* calls refused by max_names, max_groups, or 65,536 queues; 0 for */
                               /* a name                                                          */
    uint64_t threads_refused;  /* threads that the system did not start; 0 for a name             */
    uint64_t journal_commits;  /* transactions of the journal; 0 for a name                       */
    uint64_t journal_errors;   /* transactions that failed; 0 for a name                          */
    uint64_t live;             /* tasks without a final state                                     */
    uint64_t running;          /* tasks and runs of schedules that run                            */
    uint64_t parked;           /* tasks and runs of schedules that wait for a limiter,            */
                               /* break_after or max_running; a message that waits for its key    */
                               /* counts as live alone                                            */
    uint64_t dead;             /* dead letters                                                    */
    uint64_t unregistered;     /* tasks of the journal with a name that is not registered yet     */
    uint64_t journal_pending;  /* changes that are not committed yet; 0 for a name                */
    uint64_t workers;          /* threads, without the stuck ones; 0 for a name                   */
    uint64_t stuck;            /* threads in an attempt that has timed out; 0 for a name          */
    uint64_t payload_bytes;    /* payload of live tasks; 0 for a name                             */
    uint64_t bytes;            /* memory of the pool without payloads of free_fn; 0 for a name    */
} cellar_pool_stats;
CELLAR_STRUCT(cellar_pool_stats, bytes);

/* ---- The pool ------------------------------------------------------------------------------- */

/* Open a pool of threads that runs tasks.
 * in:      cfg from cellar_pool_config_default; NULL: all defaults
 * out:     *out is NULL on failure
 * returns: OK;
 *          E_NOMEM (no memory, or no thread for the journal);
 *          E_UNSUPPORTED (also: journal_path in a build without SQLite);
 *          E_BUSY (the journal has another owner), E_CORRUPT (a damaged journal: see
 *          on_bad_journal), E_NEWER_FORMAT (the version of the journal is not 5), E_FOREIGN (the
 *          journal is a database of another program), E_LIMIT (max_names, max_groups and the names
 *          in the journal are more than 65,535);
 *          E_SPACE, E_IO: the disk of the journal failed.
 *          cellar_last_error of NULL has the reason
 * owns:    the caller closes *out with cellar_pool_close. cfg is copied; `results` and the contexts
 *          of `host` live until then; those of a name: see cellar_task_register
 * thread:  any; a program may open several pools
 * cost:    about 80 KiB; starts no thread but that of a journal. The first name, group or loader
 *          starts the workers and one thread for delays
 * example:
 *     cellar_pool *p;
 *     if (cellar_pool_open(NULL, &p) != CELLAR_OK) return 1;                                     */
CELLAR_API cellar_err cellar_pool_open(const cellar_pool_config *cfg, cellar_pool **out);

/* Close a pool: drain it with CELLAR_DRAIN_RUNNING and close_timeout_ms, then free it. Tasks that
 * do not run are cancelled; with a journal they wait for the next open. To run what is queued, call
 * cellar_pool_drain first.
 * in:      p; NULL is allowed
 * returns: OK; E_BUSY (a function has not returned: the pool takes no tasks, try again), E_DEADLOCK
 *          (called by a task or a subscriber of this pool: nothing is done)
 * owns:    OK: p is freed, each free_fn has run. E_BUSY: p is still open for the calls that look
 * thread:  must not overlap other calls on the pool but those of its tasks
 * cost:    O(tasks); joins the threads
 * example: if (cellar_pool_close(p) == CELLAR_E_BUSY) puts("a task still runs");                 */
CELLAR_API cellar_err cellar_pool_close(cellar_pool *p);

/* End the work of a pool. Submits return E_CLOSED from now on. At the deadline running tasks see
 * cellar_task_cancelled and get grace_ms; all other tasks are cancelled, or stay in the journal.
 * With no_threads the call runs tasks, and waits for no delay. It does not wait for tasks of names
 * that are not registered.
 * in:      mode: which tasks still run; timeout_ms: longest wait for them, from 0;
 *          report from cellar_drain_report_default, or NULL
 * out:     *report, with OK, and with E_BUSY if a task still runs
 * returns: OK (also when the time ran out: see report->abandoned); E_BUSY (a function has not
 *          returned, or another drain runs: drain again), E_DEADLOCK (called by a task or a
 *          subscriber of this pool: nothing is done)
 * owns:    payloads of tasks that end are freed. The pool stays open: close it afterwards
 * thread:  any
 * cost:    sleeps until the tasks end; O(tasks)
 * example:
 *     cellar_drain_report r = cellar_drain_report_default();
 *     cellar_pool_drain(p, CELLAR_DRAIN_ALL, 5000, &r);                                          */
CELLAR_API cellar_err cellar_pool_drain(cellar_pool *p, cellar_drain_mode mode, int64_t timeout_ms,
                                        cellar_drain_report *report);

/* Change a setting of a pool, or of one queue. Threads that are not needed end after their task.
 * in:      what: the setting; value as cellar_pool_setting says;
 *          queue: of WEIGHT and PAUSE; NULL for WORKERS
 * returns: OK; E_NOT_FOUND (the pool has no such queue), E_UNSUPPORTED (WORKERS of a pool with
 *          no_threads, which has none)
 * thread:  any, also a task; new threads start soon after the return
 * cost:    one short lock
 * example: cellar_pool_set(p, CELLAR_POOL_SET_PAUSE, "mail", retry_after_ms);                    */
CELLAR_API cellar_err cellar_pool_set(cellar_pool *p, cellar_pool_setting what, const char *queue,
                                      int64_t value);

/* ---- Names and queues ----------------------------------------------------------------------- */

/* Register the function that runs the tasks of a name.
 * in:      name of 1..64 bytes;
 *          fn NULL: the tasks are for cellar_task_take, in a queue without functions, and without
 *          rate and time-outs;
 *          ctx: given to fn and rate_key;
 *          o from cellar_task_opts_default; NULL = defaults
 * returns: OK; EXISTS (the name is registered, or a group: nothing changed), E_BUSY (the queue has
 *          names of the other kind, with or without fn), E_LIMIT (max_names, or 65,536 queues),
 *          E_NOMEM (also: no thread)
 * owns:    ctx and o->rate live until cellar_task_unregister or the close of the pool; the texts
 *          are copied
 * thread:  any; tasks of the journal with this name begin
 * cost:    one allocation, one short lock; the first name of a pool starts its threads
 * example: cellar_task_register(p, "mail", mail, server, NULL);                                  */
CELLAR_API cellar_err cellar_task_register(cellar_pool *p, const char *name, cellar_task_fn fn,
                                           void *ctx, const cellar_task_opts *o);

/* Remove a name: no task of it begins or is accepted, its tasks are cancelled, and its dead letters
 * leave. Its queue stays.
 * in:      name of cellar_task_register, or a group
 * returns: OK; E_NOT_FOUND (the pool has no such name), E_BUSY (a task of it runs or is taken, or a
 *          schedule has it: nothing is done);
 *          E_SPACE, E_IO: the disk of the journal failed: see JOURNAL
 * owns:    the pool uses ctx and o->rate of the name no more; free_fn of its tasks runs
 * thread:  any, also a task of another name; not while the same name is added or
 *          removed
 * cost:    O(slots of tasks + schedules), 1,024 slots under one lock
 * example: cellar_task_unregister(p, "mail");                                                    */
CELLAR_API cellar_err cellar_task_unregister(cellar_pool *p, const char *name);

/* Route task names to a queue, their queued tasks as well.
 * in:      pattern of registered names (* ? [..] as in cellar_invalidate.h);
 *          queue of 1..64 bytes; it is created if it is new
 * out:     *moved, optional: names that match
 * returns: OK; E_NOT_FOUND (no registered name matches the pattern), E_BUSY (names with and without
 *          functions would meet in the queue: nothing changed), E_LIMIT (65,536 queues),
 *          E_NOMEM
 * owns:    the texts are copied; names that are registered later are not routed
 * thread:  any
 * cost:    O(names + queued tasks), with one lock
 * example: cellar_pool_route(p, "image.*", "slow", NULL);                                        */
CELLAR_API cellar_err cellar_pool_route(cellar_pool *p, const char *pattern, const char *queue,
                                        uint32_t *moved);

/* ---- Submit and cancel ---------------------------------------------------------------------- */

/* Submit a task: a thread of the pool runs the function of its name with this payload.
 * in:      name: registered;
 *          payload of payload_len bytes; may be NULL if payload_len is 0;
 *          o from cellar_submit_opts_default; NULL = defaults
 * out:     *id, optional: of the task; with EXISTS of the task that is there; with an error of the
 *          journal of the task that has the payload by DEBOUNCE; else 0
 * returns: OK;
 *          EXISTS (a task has the unique_key or the id_in);
 *          E_NOT_FOUND (the name is not registered: register it);
 *          E_NOT_FOUND (the pool does not know the task `after`: it never was, or it has ended and
 *          the pool has no `results`, or the TTL of its result has passed);
 *          E_BUSY (the pool or the name is full, and on_full is REJECT, or DROP_OLDEST and no drop
 *          makes room), E_TIMEOUT (full, and BLOCK waited for block_timeout_ms);
 *          E_DEADLOCK (full, BLOCK, and the call is in a task that no other worker could make room
 *          for);
 *          E_CLOSED (the pool is drained), E_TOOBIG (it is longer than queue_bytes of the pool or
 *          of the name, or see JOURNAL), E_NOMEM;
 *          E_SPACE, E_IO, E_CORRUPT: the journal failed: see JOURNAL.
 *          With any code but OK there is no new task. E_NOT_FOUND is of `after` if cellar_task_wait
 *          of `after` with 0 ms returns E_NOT_FOUND as well
 * owns:    without free_fn the payload is copied. With free_fn and OK, or *id not 0 with an error
 *          of the journal, it belongs to the pool until free_fn gets it; with any other code it
 *          stays that of the caller, and free_fn is not called. Texts of o are copied
 * thread:  any, also a task; waits with BLOCK, and with a journal for a commit
 * cost:    one allocation, one short lock, a copy of the payload without free_fn; with a journal a
 *          commit, which calls at the same time share
 * example: cellar_task_submit(p, "mail", "7", 1, NULL, NULL);                                    */
CELLAR_API cellar_err cellar_task_submit(cellar_pool *p, const char *name, const void *payload,
                                         size_t payload_len, const cellar_submit_opts *o,
                                         cellar_task_id *id);

/* Submit several tasks, all or none.
 * in:      items, count: 1..CELLAR_TASK_GROUP_MAX; with GROUP 2..CELLAR_TASK_GROUP_MAX + 1. They
 *          have no id_in and no after, and on_conflict REJECT;
 *          links: how they wait for each other. A task that waits has no eta_wall_ms; its delay
 *          counts from the end of the last one before it, and its run_on decides
 * out:     ids: room for `count`, or NULL; unchanged on failure
 * returns: OK;
 *          EXISTS (a task has a unique_key of the items), E_NOT_FOUND (a name is not registered);
 *          E_BUSY (the pool or a name is full, and on_full is REJECT), E_TIMEOUT (full, and BLOCK
 *          waited for block_timeout_ms), E_DEADLOCK (full, BLOCK, and no other worker could make
 *          room);
 *          E_CLOSED (the pool is drained), E_TOOBIG (the items never fit at once, into the pool or
 *          a name, or see JOURNAL), E_NOMEM;
 *          E_SPACE, E_IO, E_CORRUPT: the journal failed: see JOURNAL.
 *          With any code but OK there is no new task
 * owns:    as cellar_task_submit; after a failure all payloads stay those of the caller. Items one
 *          behind another that have the same payload and content_type share one copy of it
 * thread:  any, also a task
 * cost:    one allocation each, with links two more; one lock for all
 * example: cellar_task_submit_many(p, items, 3, CELLAR_LINKS_CHAIN, NULL);                       */
CELLAR_API cellar_err cellar_task_submit_many(cellar_pool *p, const cellar_task_item *items,
                                              uint32_t count, cellar_task_links links,
                                              cellar_task_id *ids);

/* Cancel a task: it does not run, or its attempt is asked to end.
 * in:      id of the task
 * returns: OK (it does not run); PENDING (it runs, and sees cellar_task_cancelled; its verdict
 *          decides, but no further attempt follows), E_BUSY (it has ended), E_NOT_FOUND (no such
 *          task, or it has ended);
 *          E_SPACE, E_IO: the disk of the journal failed: see JOURNAL
 * owns:    OK: its free_fn runs
 * thread:  any, also a task; does not wait for a running one
 * cost:    O(1); for a running task O(workers)
 * example: cellar_task_cancel(p, id);                                                            */
CELLAR_API cellar_err cellar_task_cancel(cellar_pool *p, cellar_task_id id);

/* ---- Look ----------------------------------------------------------------------------------- */

/* Copy the result of a finished task.
 * in:      id of the task;
 *          buf_cap in bytes; 0 asks for the size only (buf may be NULL)
 * out:     buf, undefined behind the result, as in cellar_get;
 *          *len, optional: of the whole result, also with E_BUFFER
 * returns: OK (len 0: the task set none, or did not succeed); PENDING (it has not finished, or is
 *          being stored), E_BUFFER (*len bytes are needed), E_LOST (the result did not fit into the
 *          namespace), E_NOT_FOUND (as cellar_task_wait; a dead letter has no result), E_NOMEM
 * owns:    the bytes are copied
 * thread:  any, also a task
 * cost:    one get
 * example: cellar_task_result_get(p, id, buf, sizeof buf, &len);                                 */
CELLAR_API cellar_err cellar_task_result_get(cellar_pool *p, cellar_task_id id, void *buf,
                                             size_t buf_cap, size_t *len);

/* Wait until a task has a final state, and describe it.
 * in:      id of the task; timeout_ms from 0; 0: describe it only;
 *          out from cellar_task_status_default, or NULL
 * out:     *out, with OK, PENDING and E_TIMEOUT; result_len only if the task had ended before the
 *          call
 * returns: OK (it has ended: see out->state);
 *          PENDING (timeout_ms 0: it has not ended, or its end is being stored);
 *          E_TIMEOUT (it has not ended in time);
 *          E_NOT_FOUND (the pool does not know the task: it never was, or it has ended and the pool
 *          has no `results`, or the TTL of its state has passed);
 *          E_DEADLOCK (called by a task of this pool: no other worker is left to run it, or it
 *          waits for the caller);
 *          E_CLOSED (called by a task of this pool, which is drained: it never runs);
 *          E_LIMIT (255 calls wait for it), E_NOMEM
 * thread:  any, also a task; sleeps with no lock held. With no_threads another thread calls
 *          cellar_tick meanwhile
 * cost:    one short lock, then sleeps; a finished task: one get
 * example:
 *     cellar_task_status st = cellar_task_status_default();
 *     if (cellar_task_wait(p, id, 0, &st) >= CELLAR_OK)
 *         printf("%d", (int)st.state);                                                           */
CELLAR_API cellar_err cellar_task_wait(cellar_pool *p, cellar_task_id id, int64_t timeout_ms,
                                       cellar_task_status *out);

/* Call a function for each task that matches, live ones and dead letters. Tasks that come or end
 * meanwhile may be in the list or not.
 * in:      filter from cellar_task_filter_default; NULL: all;
 *          *cursor: 0 begins with the first one; cursor NULL: the same;
 *          fn: see cellar_task_list_fn; ctx: given to fn
 * out:     *cursor: continues the list that fn ended; 0 after its end
 * returns: OK, also when fn ended the list
 * owns:    fn and ctx are not used after the return; if a task ends or gets another payload
 *          meanwhile, the payload stays valid until fn returns; its free_fn then runs on this
 *          thread
 * thread:  any, also a task; fn runs on it with no lock held
 * cost:    O(slots of tasks), 1,024 under one lock
 * example: cellar_task_list(p, NULL, NULL, print_task, stdout);                                  */
CELLAR_API cellar_err cellar_task_list(cellar_pool *p, const cellar_task_filter *filter,
                                       uint64_t *cursor, cellar_task_list_fn fn, void *ctx);

/* ---- Dead letters --------------------------------------------------------------------------- */

/* Run a dead letter again, as before its first attempt; it does not expire. cellar_task_list with
 * state FAILED shows the dead letters.
 * in:      id of a dead letter
 * returns: OK; E_NOT_FOUND (no dead letter has the id), EXISTS (a live task has its unique key),
 *          E_BUSY (the pool or the name is full), E_CLOSED (the pool is drained), E_NOMEM;
 *          E_SPACE, E_IO: the disk of the journal failed: see JOURNAL
 * owns:    the pool keeps the payload
 * thread:  any, also a task
 * cost:    one short lock
 * example: cellar_task_requeue(p, id);                                                           */
CELLAR_API cellar_err cellar_task_requeue(cellar_pool *p, cellar_task_id id);

/* Remove a dead letter.
 * in:      id of a dead letter
 * returns: OK; E_NOT_FOUND (no dead letter has the id);
 *          E_SPACE, E_IO: the disk of the journal failed: see JOURNAL
 * owns:    its free_fn runs
 * thread:  any, also a task
 * cost:    one short lock
 * example: cellar_task_purge(p, id);                                                             */
CELLAR_API cellar_err cellar_task_purge(cellar_pool *p, cellar_task_id id);

/* ---- Inside a task -------------------------------------------------------------------------- */

/* Return whether the attempt is no longer wanted: cancelled, past timeout_ms, or drained.
 * in:      t of the running function
 * returns: true if so; false for t NULL
 * thread:  any that the function knows to end before it
 * cost:    one load
 * example: while (!cellar_task_cancelled(t) && step()) { }                                       */
CELLAR_API bool cellar_task_cancelled(const cellar_task *t);

/* Set the progress of the attempt, for cellar_task_wait.
 * in:      t of the running function; current, total: numbers of the program's choice;
 *          message: NULL, or a text that is cut to CELLAR_TASK_MESSAGE_MAX bytes
 * returns: OK; E_LOST (the attempt has timed out: end the function, its verdict is discarded)
 * owns:    the text is copied
 * thread:  as cellar_task_cancelled
 * cost:    one short lock
 * example: cellar_task_progress(t, 3, 10, "merging");                                            */
CELLAR_API cellar_err cellar_task_progress(const cellar_task *t, uint64_t current, uint64_t total,
                                           const char *message);

/* Set the error text of the attempt, for status and dead letter. Without memory it is lost. A
 * second call replaces it.
 * in:      t of the running function; text: cut to CELLAR_TASK_TEXT_MAX bytes
 * returns: OK
 * owns:    the text is copied
 * thread:  the one that runs the function
 * cost:    one copy
 * example: cellar_task_error(t, "mailbox full");                                                 */
CELLAR_API cellar_err cellar_task_error(const cellar_task *t, const char *text);

/* Set the result of the task, for cellar_task_result_get and for tasks behind it. It counts with
 * the verdict OK. A second call replaces it.
 * in:      t of the running function; result of len bytes; may be NULL if len is 0
 * returns: OK; E_TOOBIG (it is longer than queue_bytes, or see JOURNAL), E_NOMEM: the result set
 *          before stays
 * owns:    the bytes are copied
 * thread:  the one that runs the function
 * cost:    one allocation
 * example: cellar_task_result_set(t, "42", 2);                                                   */
CELLAR_API cellar_err cellar_task_result_set(const cellar_task *t, const void *result, size_t len);

/* Return the result of a task before this one, in its chain or group.
 * in:      t of the running function; index 0..t->input_count - 1, in the order of the submit
 * out:     *out: bytes of the pool, valid until the function returns; NULL and 0 with MISS
 * returns: OK; MISS (it set no result, or did not succeed)
 * owns:    the bytes stay those of the pool
 * thread:  as cellar_task_cancelled
 * cost:    O(1)
 * example:
 *     cellar_bytes bytes;
 *     cellar_task_input(t, 0, &bytes);                                                           */
CELLAR_API cellar_err cellar_task_input(const cellar_task *t, uint32_t index, cellar_bytes *out);

/* ---- Outside of the pool -------------------------------------------------------------------- */

/* Take tasks out of a queue, to run them elsewhere: in an event loop, in another thread. Each is
 * taken: RUNNING until its cellar_task_settle. A hold that is over queues the task again for its
 * next attempt; a message (cellar_bus.h) returns as after RETRY. The calls of "Inside a task" work
 * on it.
 * in:      queue of names without functions;
 *          hold_ms 1..CELLAR_POOL_DELAY_MAX_MS from the take; max: room of out, from 1;
 *          wait_ms: longest wait for the first task. Range 0..2^63 - 1 ms; 0: no wait
 * out:     out: the tasks, each valid until its cellar_task_settle; *found: their number
 * returns: OK (also with none); E_NOT_FOUND (no queue has this name), E_CLOSED (it is drained),
 *          E_NOMEM
 * owns:    the caller settles each task, also after its hold; until then a close is E_BUSY
 * thread:  any; sleeps with no lock held, and a drain ends the wait. With no_threads another thread
 *          calls cellar_tick meanwhile
 * cost:    one allocation and one short lock for each
 * example:
 *     const cellar_task *t;
 *     uint32_t n;
 *     const cellar_err err =
 *         cellar_task_take(p, "images", 30000, 1000, &t, 1, &n);
 *     if (err == CELLAR_OK && n == 1)
 *         cellar_task_settle(t, work_on(t->payload, t->payload_len));                            */
CELLAR_API cellar_err cellar_task_take(cellar_pool *p, const char *queue, int64_t hold_ms,
                                       int64_t wait_ms, const cellar_task **out, uint32_t max,
                                       uint32_t *found);

/* Say how a task of cellar_task_take ended, and free it. EXTEND gives it a new hold instead.
 * in:      t of cellar_task_take; verdict of cellar_verdict_ok, cellar_verdict_retry or another
 * returns: OK; E_LOST (the hold was over: the verdict is discarded, and with EXTEND settle t with
 *          another one); E_INVAL (t of a running function, a hold out of its range: t is valid)
 * owns:    t is invalid after it, except with EXTEND
 * thread:  any; one call at a time for each task
 * cost:    one short lock
 * example: cellar_task_settle(t, cellar_verdict_retry_after(1000));                              */
CELLAR_API cellar_err cellar_task_settle(const cellar_task *t, cellar_verdict verdict);

/* ---- Figures -------------------------------------------------------------------------------- */

/* Read the figures of a pool, or of one task name.
 * in:      name NULL: the pool; out from cellar_pool_stats_default
 * out:     *out, only with OK
 * returns: OK; E_NOT_FOUND (the pool has no such name)
 * thread:  any, also a task
 * cost:    one lock, O(names)
 * example:
 *     cellar_pool_stats st = cellar_pool_stats_default();
 *     cellar_pool_stats_get(p, NULL, &st);                                                       */
CELLAR_API cellar_err cellar_pool_stats_get(cellar_pool *p, const char *name,
                                            cellar_pool_stats *out);

/* STATES
 * - WAITING: the task waits for those before it. Then it is QUEUED, SCHEDULED if it has a delay, or
 *   CANCELLED if its run_on says so.
 * - SCHEDULED: the task waits for its due time. Then it is QUEUED.
 * - QUEUED: the task is due and waits for a thread. Then it is RUNNING. If its limiter or
 *   max_running has no room it waits in QUEUED or SCHEDULED.
 * - RUNNING: an attempt runs. Its verdict makes it SUCCEEDED, FAILED, RETRY, SCHEDULED (a snooze)
 *   or CANCELLED. A hold or a hard time-out that ends makes it QUEUED or RETRY, or FAILED after the
 *   last attempt.
 * - RETRY: the task waits for its next attempt. Then it is QUEUED.
 * - SUCCEEDED, CANCELLED and EXPIRED are final. FAILED is final, and the task a dead letter, until
 *   cellar_task_requeue makes it QUEUED.
 *
 *   SCHEDULED, QUEUED and RETRY also end in CANCELLED (cellar_task_cancel, a drain) and in EXPIRED
 *   (expires_ms, noticed when the attempt would begin). With a journal SCHEDULED and RETRY become
 *   FAILED at the open, if the last attempt ended the process. A unique key is free as soon as its
 *   task has a final state.
 *
 *   No task runs before its due time, or twice at the same time. Exception: after a hard time-out
 *   the old attempt may still run next to the new one; its verdict is discarded.
 *
 * JOURNAL
 *   With `journal_path` tasks are rows of an SQLite database, and so are the messages of groups
 *   (cellar_bus.h). What an OK means:
 *   - of a submit: the task, with the bytes of its payload, is in the file. It runs at least once.
 *     After a crash it runs again unless its final state is in the file. A function must therefore
 *     be idempotent; the id of a task is the same for all its attempts, also after a restart.
 *   - of a wait, or a final state in a status: the end is in the file. The task never runs again.
 *   - of a cancel, a requeue, a purge, or the removal of a name: the change is in the file.
 *
 *   An attempt that the end of the process interrupts counts, also in the moment before its
 *   function: a task that ends the process each time becomes a dead letter. After a power cut it
 *   does not count.
 *
 *   The open restores live tasks with attempts and due times, dead letters, unique keys, chains and
 *   groups. A task that waits for others sees their results also if they ended before the restart:
 *   the results are in the file until it ends. The namespace `results` is not. Keys of THROTTLE
 *   stay until their unique_ttl_ms. A restored task has no free_fn: its payload is a copy of the
 *   file. Tasks of a name that is not registered wait for cellar_task_register. cellar_pool_close
 *   keeps tasks that have not begun for the next open.
 *
 *   The first name, group or loader of the pool starts its timers: until then dead letters stay
 *   past dead_ttl_ms, and tasks past expires_ms.
 *
 *   Times of the file are UNIX times. A time that had passed at the close stays passed, also if the
 *   wall clock goes back: unique_ttl_ms and expires_ms. After a kill or a power cut it may return.
 *
 *   Errors of the disk: E_SPACE, E_IO and E_CORRUPT of a submit mean that it did not happen, but
 *   with REPLACE the other task is cancelled. Of a debounce, a cancel, a requeue, a purge and the
 *   removal of a name they mean that it happened in this process, and that the pool tries again to
 *   write it. Final states are tried again as well: until then the task looks as before its end.
 *   If the disk fails twice in a commit and the process ends, a task that E_IO refused may run.
 *
 *   A payload, a message and a result have at most 999,934,464 bytes, which is what a row of SQLite
 *   takes. Longer ones are E_TOOBIG.
 *
 *   A commit may run on the thread of the submit. Under a limit of file size (RLIMIT_FSIZE) the
 *   program ignores SIGXFSZ, which is E_IO then.
 *
 *   The pool keeps up to 4 MiB of the disk, at most a quarter of what is free, for ends of tasks
 *   and for the next open. Submits return E_SPACE before.
 *
 *   A child of a fork opens no journal unless it calls exec: another thread may have held a lock
 *   of SQLite during the fork. It must not open the journal of its parent in any case.
 *   Files: journal_path, and the same with -wal, -run and -room; of a symbolic link, those are
 *   beside its target. The file system must be local.
 *
 * ORDER
 *   Higher priorities begin first; in one priority of one name, tasks begin in the order in which
 *   they became due. A task that waits for its limiter, or for max_running, keeps its place.
 *
 * RESTRICTIONS
 *   fork: in the child every call returns E_FORKED, except cellar_pool_close, which does nothing.
 *   A child that was forked inside a task leaves it by _exit or exec.
 *   A function must not leave by longjmp or a C++ exception. A function that never returns keeps
 *   its thread for good: a hard time-out ends the attempt, and another thread takes its place, at
 *   most as many as there are workers. */

#ifdef __cplusplus
}
#endif

#endif
