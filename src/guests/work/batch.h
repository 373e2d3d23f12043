/* SPDX-License-Identifier: MIT
 *
 * batch: the structs of the batcher, and the functions of batch.c for the files above it.
 *
 * PICTURE    batcher -- table by name --> group -- waiting: items that no call has taken
 *                 \-- table by key: waiting items    \-- hand: items of the batch that runs
 *                 \-- wheel: linger and retry times   \-- finished: items with a verdict
 *            add -> waiting -> due -> pool -> a worker, or a tick: hand -> the flush function ->
 *            finished -> the done function -> freed
 * INVARIANTS The job of a group is in the pool or on one thread at most (QUEUED), so that a group
 *            has one call at a time. A group without items is freed. A group is open if it has
 *            waiting items and is not due. With `parallel`, a group of the program is that many
 *            groups here, its tracks: they share name and id.
 * LOCKING    One lock, rank WHEEL, around everything that is not atomic or constant. User code,
 *            allocations of memory but for the tables, and the queue of the pool come outside. */
#ifndef WORK_BATCH_H
#define WORK_BATCH_H

#include "base/clock.h"
#include "base/hash.h"
#include "base/num.h"
#include "base/pool.h"
#include "base/random.h"
#include "base/service.h"
#include "base/table.h"
#include "cellar_batch.h"
#include "stats/stats.h"
#include "wheel/wheel.h"
#include "work/ticker.h"

typedef struct batch_item {
    wheel_timer link;           /* first field; in a list of its group */
    UT_hash_handle hh;          /* in `keys` of the batcher while it waits with a key */
    struct batch_group *of;
    cellar_batch_done_fn done;  /* or NULL */
    void *done_ctx;
    size_t len;
    int64_t added_ms;           /* of a replacement: when the first one came */
    cellar_batch_verdict verdict;
    cellar_err err;
    uint32_t calls;
    uint32_t room;              /* bytes behind the data: of the key; constant */
    uint32_t key_len;           /* the same while the item is in `keys`, or comes there; else 0 */
    bool cut;                   /* in hand: a call ends behind it */
    BASE_ALIGNED(16) unsigned char bytes[]; /* data, then the key: id of the group, key */
} batch_item;

typedef struct batch_list {
    wheel_timer items;          /* head */
    uint32_t count;
    uint64_t bytes;
} batch_list;

typedef enum batch_state {
    BATCH_IDLE,    /* collects; its timer is armed */
    BATCH_QUEUED,  /* its job is in the pool, or runs */
    BATCH_BACKOFF  /* waits for retry_ms; its timer is armed */
} batch_state;

typedef struct batch_group {
    base_job queued;            /* first field */
    wheel_timer link;           /* in the list of open groups while it is one */
    UT_hash_handle hh;
    struct batch_group *next;   /* of groups to free */
    cellar_batcher *of;
    wheel_timer timer;
    uint64_t id;
    batch_state state;
    cellar_batch_trigger due;   /* of the waiting items; 0: not due */
    cellar_batch_trigger trigger; /* of the items in hand */
    batch_list waiting, hand, finished;
    int64_t retry_ms;           /* no call before it; 0: at any time */
    int64_t last_ms;            /* time of the last add */
    uint32_t failures;          /* failed calls with the items in hand, by RETRY */
    cellar_batch_item *array;   /* of calls: max_items of them; of the job; NULL: none yet */
    int32_t tid;                /* thread inside a function of the program; 0: none */
    uint32_t name_len;
    char name[];                /* number of the track in one byte, name, 0 */
} batch_group;

struct cellar_batcher {
    base_object obj;            /* first; queue_items and queue_bytes bound its account */
    work_ticker ticker;
    base_pool pool;
    base_hash_key hash_key;
    cellar_batcher_config cfg;  /* with defaults; constant */
    cellar_batch_flush_fn flush;
    void *ctx;
    _Atomic uint32_t ended;     /* futex word; + 1 with each item that ended, if a thread sleeps */
    _Atomic uint32_t sleepers;  /* threads that look whether an item ended, and sleep; raised before
                                 * the lock under which they look */
    _Atomic uint64_t last_id;   /* of a group */
    sync_lock lock;             /* rank WHEEL; guards everything below */
    bool draining;              /* true: no add; all groups are due, retries come without delay */
    bool abandon;               /* true: no flush; items that no call has taken are abandoned */
    int64_t wake_ms;            /* when the thread looks again */
    base_rng rng;
    batch_group *groups;        /* uthash by name */
    batch_item *keys;           /* uthash by id of the group and key */
    wheel_timer open;           /* head of the open groups, oldest first */
    uint32_t open_count;
    wheel wheel;
    uint64_t count[STATS_BATCHER_COUNT]; /* figures of the registry but groups and bytes */
};

BASE_INLINE batch_item *batch_item_of(wheel_timer *link) { return (batch_item *)(void *)link; }
/* Return the first item of a list; NULL: none. */
BASE_INLINE batch_item *batch_first(const batch_list *l)
{
    return l->count != 0 ? batch_item_of(l->items.next) : NULL;
}

/* Work for after the lock. */
typedef struct batch_after {
    base_job *first, **end; /* jobs to queue; end: where the next one is linked */
    batch_group *ended;     /* to free; NULL: none */
    bool ring;              /* the thread has to look earlier */
} batch_after;

/* Empty `a` and take the lock. */
CELLAR_PRIVATE void batch_lock(cellar_batcher *b, batch_after *a) SYNC_TAKES(WHEEL);
/* Drop the lock, queue the jobs, free the groups and wake the thread. */
CELLAR_PRIVATE void batch_unlock(cellar_batcher *b, batch_after *a) SYNC_DROPS(WHEEL);
/* Return whether this thread is inside a function of the program. */
CELLAR_PRIVATE bool batch_is_mine(const cellar_batcher *b) SYNC_HOLDS(WHEEL);
CELLAR_PRIVATE void batch_group_free(batch_group *g);
CELLAR_PRIVATE void batch_item_free(cellar_batcher *b, batch_item *i);
/* Make everything due for a drain, or give up what no call has taken. */
CELLAR_PRIVATE void batch_drain_all(cellar_batcher *b, batch_after *a) SYNC_HOLDS(WHEEL);
/* Wake the threads that wait for room or for the end of all items, after the lock. */
CELLAR_PRIVATE void batch_tell_sleepers(cellar_batcher *b);
/* Fire the timers that are due. *next_ms: ms until there is more to do; 0: now. */
CELLAR_PRIVATE void batch_fire(void *batcher, int64_t *next_ms);
/* Run the job of a group: at most one call. The `run` of the pool. */
CELLAR_PRIVATE void batch_run_job(void *batcher, base_job *j);
/* Run the next job on this thread. False: there is none. */
CELLAR_PRIVATE bool batch_help(void *batcher);
/* Stop the pool, end and join the thread of the timers. Workers end after their job. */
CELLAR_PRIVATE void batch_stop(cellar_batcher *b);
/* Read the figures: see stats_service. */
CELLAR_PRIVATE const char *batch_figures(void *object, uint64_t *value);

#endif
