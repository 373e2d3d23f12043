/* SPDX-License-Identifier: MIT
 *
 * refresher: the rows of a pool that refresh keys, and the functions of refresher.c.
 *
 * PICTURE    pool -- refresher -- ring and table of rows --> row -- block of keys, each pending or
 *                                                                    done
 *            row: a task that recurs: wheel of the pool -> queue of the refresher, by priority ->
 *            a worker or a tick: list the keys, or load one key -> queue .. -> all keys seen ->
 *            wheel again
 * INVARIANTS A row is SCHEDULED with its timer armed, QUEUED, RUNNING with one ticket, or removed.
 *            Only the ticket of a row changes its keys. It is in no list of tasks and in no figure
 *            of the pool. The queue is paused once a drain begins.
 * LOCKING    The lock of the pool, around everything that is not atomic or constant. Calls of the
 *            cache, user code and allocations come outside of it. */
#ifndef WORK_REFRESHER_H
#define WORK_REFRESHER_H

#include "base/timezone.h"
#include "cellar_refresh.h"
#include "work/task.h"

#define REFRESHER_MOD BASE_MOD_FLIGHT /* its bytes in the account of the pool */

typedef struct refresher_loader {
    struct refresher_loader *next; /* constant */
    cellar_loader_fn fn;      /* NULL: only rows name it so far. Constant then, as all below */
    void *ctx;
    cellar_refresh_lister_fn lister;
    void *lister_ctx;
    cellar_breaker *breaker;
    struct cellar_limiter *limiter;
    bool own_breaker;
    char name[CELLAR_NAME_MAX + 1]; /* constant */
} refresher_loader;

typedef struct refresher_key { /* one key in the block of a row */
    uint32_t len;
    bool pending; /* to be refreshed in this run or the next try */
    bool failed;  /* tried in this run, and still pending */
} refresher_key;  /* the bytes follow, padded */

struct cellar_refresh_keys {
    base_account *account;
    unsigned char *block;
    size_t used, cap;
    uint32_t count;
    uint64_t rejected; /* keys left out by a limit */
};

/* KEPT, and DOUBTED until its rule is found: as it was KEPT, else DOOMED. */
typedef enum refresher_fate { REFRESHER_KEPT, REFRESHER_DOUBTED, REFRESHER_DOOMED } refresher_fate;

typedef struct refresher_row {
    task_recur recur;         /* first field */
    UT_hash_handle hh;
    struct refresher_ticket *ticket; /* of RUNNING; NULL: none */
    cellar *c;                /* constant, as all down to `flags` */
    refresher_loader *loader;
    base_tz *zone;            /* of `at`; NULL: none; owned */
    uint32_t at_minutes;
    uint32_t stop_idle;
    int64_t interval_ms, ttl_ms, negative_ttl_ms, stale_ms;
    uint64_t at_hash;         /* of the text of `at`; 0: none */
    uint32_t flags;           /* CELLAR_REFRESH_PATTERN, _POLICY, _SHORT_TTL */
    _Atomic bool gone;        /* removed; relaxed: a load that runs stores nothing */
    uint8_t fate;             /* of a row of a policy, while the rules are read again */
    bool listing;             /* the next step lists the keys */
    bool day;                 /* the next list deletes all keys */
    bool uncovered;
    bool read;                /* a key was read since the last look, before a load of it */
    bool stopped;             /* this run makes no more loads: breaker or limiter */
    int64_t due_ms;           /* next interval, monotonic: its first time + k * interval_ms */
    int64_t retry_ms;         /* next try of the keys left; BASE_NEVER_MS: none */
    int64_t not_before_ms;    /* no try before it: the limiter said so */
    int64_t at_wall_ms;       /* next time `at`, wall clock; BASE_NEVER_MS: none */
    uint32_t failures;        /* runs in a row that left keys, since the last success */
    uint32_t idle;            /* intervals in a row without a read */
    int64_t left_ms;          /* longest TTL left of its keys at the last look; -1: no key */
    int64_t ok_ms, failed_ms; /* last results; -1: none */
    uint64_t ok, failed, skipped;
    int32_t last_err;
    uint32_t key_len;         /* constant */
    cellar_refresh_keys keys;
    size_t at_key;            /* offset of the next key to look at */
    uint32_t left;            /* pending keys */
    char key[];               /* or pattern; with a final 0; constant */
} refresher_row;

typedef enum refresher_result {
    REFRESHER_OK, REFRESHER_FAILED, REFRESHER_BREAKER, REFRESHER_LIMITED, REFRESHER_BUSY
} refresher_result;

typedef struct refresher_ticket { /* of a step that runs */
    cellar_pool *of;          /* constant */
    refresher_row *row;       /* NULL: it is free */
    refresher_loader *loader; /* NULL: none of that name yet */
    bool listing;             /* the step lists the keys; else it loads one */
    bool day;
    int64_t until_wall_ms;    /* no value of the step lives beyond it; BASE_NEVER_MS: none */
    refresher_key *key;       /* of the load */
    /* outcome */
    refresher_result result;
    cellar_err err;
    int64_t wait_ms;          /* LIMITED: no try before */
    bool stored;
    bool off, asleep;         /* the row does nothing now: switched off; idle */
    bool looked, read;        /* it looked for reads; a key was read */
    int64_t left_ms;          /* with `looked`: for the row */
    bool bare;                /* no loader, no lister or no key */
    cellar_refresh_keys keys; /* of the lister */
} refresher_ticket;

typedef struct refresher {
    task_name name;           /* names[name_max] of the pool: parallel steps, in `queue` */
    task_queue queue;         /* not in the table of the pool */
    struct { task_body body; char type; } none; /* the body of all rows: no bytes */
    refresher_loader *loaders;
    uint32_t loader_count;
    refresher_row *rows;      /* uthash */
    task_recurs list;
    stats_waits late;         /* of runs */
    uint64_t count[STATS_REFRESHER_COUNT]; /* of the registry; some are computed when read */
    refresher_ticket ticket[]; /* max_parallel */
} refresher;

BASE_INLINE refresher_row *refresher_row_of(task *t) { return (refresher_row *)(void *)t; }

/* Handle the timer of a row. */
CELLAR_PRIVATE void refresher_due(cellar_pool *p, task *t, int64_t now_ms, task_after *a)
    SYNC_HOLDS(QUEUE);
/* Let a row go on after its step: with its next key, or at its next time. */
CELLAR_PRIVATE void refresher_over(cellar_pool *p, task *t, int64_t now_ms, task_after *a)
    SYNC_HOLDS(QUEUE);
/* Take the result of a step that ended its thread. Hold no lock. */
CELLAR_PRIVATE void refresher_left(task *t);
/* Compute the times of day again after a step of the wall clock. */
CELLAR_PRIVATE void refresher_stepped(cellar_pool *p, work_time now, task_after *a)
    SYNC_HOLDS(QUEUE);
/* Free a removed row. Hold no lock. */
CELLAR_PRIVATE void refresher_row_free(cellar_pool *p, refresher_row *row);
/* Make the refresher of a pool. False: no memory. */
CELLAR_PRIVATE bool refresher_init(cellar_pool *p);
/* Free every row and loader, and the refresher. */
CELLAR_PRIVATE void refresher_free(cellar_pool *p);
/* Compute the times of a new row and arm it. */
CELLAR_PRIVATE void refresher_begin(cellar_pool *p, refresher_row *row, work_time now,
                                    task_after *a) SYNC_HOLDS(QUEUE);
/* Remove a row: out of wheel, queue and table. A step that runs goes on. */
CELLAR_PRIVATE void refresher_detach(cellar_pool *p, refresher_row *row, task_after *a)
    SYNC_HOLDS(QUEUE);
CELLAR_PRIVATE void refresher_set_uncovered(refresher *r, refresher_row *row, bool uncovered)
    SYNC_HOLDS(QUEUE);
/* Add a key to a block, which grows to `least` bytes or more. The limits are those of
 * cellar_refresh_keys_add. */
CELLAR_PRIVATE cellar_err refresher_keys_put(cellar_refresh_keys *keys, const void *key,
                                             size_t len, size_t least);
/* Read the figures in the order of cellar_refresh_stats. */
CELLAR_PRIVATE void refresher_read(cellar_pool *p, uint64_t *value);

#endif
