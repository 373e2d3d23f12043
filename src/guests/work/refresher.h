/* SPDX-License-Identifier: MIT
 *
 * refresher: the structs of the refresher, and the functions of refresher.c for the files above it.
 *
 * PICTURE    refresher -- ring of rows --> row -- block of keys, each pending or done
 *                  \-- wheel: when a row begins its next run
 *                  \-- three queues of ready rows, by priority
 *                  \-- max_parallel tickets: a ticket in the pool makes one step of one ready row
 *            due -> READY -> a ticket: list the keys, or load one key -> READY .. -> all keys seen
 *            -> armed again
 * INVARIANTS A row is IDLE with its timer armed, or in one queue (READY), or has one ticket
 *            (RUNNING). Rows are ready only while all tickets are taken, or a ticket is on its way.
 *            Only the ticket of a row changes its keys. refs == (present) + tickets + lists.
 * LOCKING    One lock, rank WHEEL, around everything that is not atomic or constant. Calls of the
 *            cache, user code, allocations and the queue of the pool come outside of it. */
#ifndef WORK_REFRESHER_H
#define WORK_REFRESHER_H

#include "base/clock.h"
#include "base/num.h"
#include "base/random.h"
#include "base/service.h"
#include "base/timezone.h"
#include "cellar_refresh.h"
#include "stats/stats.h"
#include "wheel/wheel.h"
#include "work/ticker.h"

#define REFRESHER_PARALLEL_MAX 64u
#define REFRESHER_PRIORITIES 3u

typedef struct refresher_loader { /* constant once it is in the list */
    struct refresher_loader *next;
    cellar_loader_fn fn;
    void *ctx;
    cellar_refresh_lister_fn lister;
    void *lister_ctx;
    cellar_breaker *breaker;
    struct cellar_limiter *limiter;
    bool own_breaker;
    char name[CELLAR_NAME_MAX + 1];
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

typedef enum refresher_state { REFRESHER_IDLE, REFRESHER_READY, REFRESHER_RUNNING } refresher_state;

/* KEPT, and DOUBTED until its rule is found: as it was KEPT, else DOOMED. */
typedef enum refresher_fate { REFRESHER_KEPT, REFRESHER_DOUBTED, REFRESHER_DOOMED } refresher_fate;

typedef struct refresher_row {
    struct refresher_row *next, *prev; /* ring of all rows, removed ones that still have refs too */
    struct refresher_row *next_ready; /* in a queue */
    wheel_timer timer;
    cellar_refresher *of;     /* constant, as all down to `flags` */
    cellar *c;
    refresher_loader *loader; /* NULL: none of that name yet; lock */
    base_tz *zone;            /* of `at`; NULL: none; owned */
    uint32_t at_minutes;
    uint32_t stop_idle;
    int64_t interval_ms, ttl_ms, negative_ttl_ms, stale_ms;
    uint64_t at_hash;         /* of the text of `at`; 0: none */
    int64_t start_ms;         /* all due times are start_ms + k * interval_ms */
    uint64_t id;              /* rises with each row */
    cellar_refresh_priority priority;
    uint32_t flags;           /* CELLAR_REFRESH_PATTERN, _POLICY, _SHORT_TTL */
    refresher_state state;
    uint32_t refs;
    bool present;             /* not removed */
    refresher_fate fate;      /* of a row of a policy, while the rules are read again */
    bool listing;             /* the next step lists the keys */
    bool day;                 /* the next list deletes all keys */
    bool uncovered;
    bool stopped;             /* this run makes no more loads: breaker or limiter */
    int64_t due_ms;           /* next interval, monotonic */
    int64_t retry_ms;         /* next try of the keys left; BASE_NEVER_MS: none */
    int64_t not_before_ms;    /* no try before it: the limiter said so */
    int64_t at_wall_ms;       /* next time `at`, wall clock; BASE_NEVER_MS: none */
    uint32_t failures;        /* runs in a row that left keys, since the last success */
    uint32_t idle;            /* intervals in a row without a read */
    int64_t left_ms;          /* longest TTL left of its keys at the last look; -1: no key */
    int64_t ok_ms, failed_ms; /* last results; -1: none */
    uint64_t ok, failed, skipped;
    int32_t last_err;
    cellar_refresh_keys keys;
    size_t at_key;            /* offset of the next key to look at */
    uint32_t left;            /* pending keys */
    uint32_t key_len;         /* constant, as all below */
    char loader_name[CELLAR_NAME_MAX + 1];
    char key[];               /* or pattern; with a final 0 */
} refresher_row;

typedef enum refresher_result {
    REFRESHER_OK, REFRESHER_FAILED, REFRESHER_BREAKER, REFRESHER_LIMITED, REFRESHER_BUSY
} refresher_result;

typedef struct refresher_ticket {
    base_job queued;          /* first field */
    struct refresher_ticket *next; /* free ones */
    refresher_row *row;       /* NULL: takes one when it runs */
    int32_t tid;              /* thread inside the step; 0: none */
    bool listing;             /* the step lists the keys; else it loads one */
    bool day;
    int64_t until_wall_ms;    /* no value of the step lives beyond it; BASE_NEVER_MS: none */
    refresher_loader *loader;
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

struct cellar_refresher {
    base_object obj;          /* first; max_rows and the key limits bound its account */
    work_ticker ticker;
    cellar *store;
    uint32_t max_rows, max_parallel;
    int64_t close_ms;
    _Atomic uint32_t ended;   /* futex word; + 1 with each step that ended */
    sync_lock lock;           /* rank WHEEL; guards everything below */
    bool closing;             /* true: no step begins */
    int64_t offset_ms;        /* wall clock minus monotonic clock, at the last look */
    uint64_t last_id;
    base_rng rng;
    refresher_loader *loaders;
    refresher_row *all;       /* ring; NULL: none */
    refresher_row *ready_first[REFRESHER_PRIORITIES], *ready_last[REFRESHER_PRIORITIES];
    refresher_ticket *free_tickets;
    wheel wheel;
    stats_waits late;       /* of runs */
    uint64_t count[STATS_REFRESHER_COUNT]; /* of the registry; some are computed when read */
    refresher_ticket ticket[REFRESHER_PARALLEL_MAX];
};

/* Work for after the lock. */
typedef struct refresher_after {
    base_job *first, **end;   /* tickets to queue */
    refresher_row *ended;     /* to free; NULL: none */
    bool ring;                /* the thread has to look earlier */
} refresher_after;

CELLAR_PRIVATE void refresher_after_init(refresher_after *a);
/* Queue the tickets and free the rows, after the lock. */
CELLAR_PRIVATE void refresher_settle(cellar_refresher *r, refresher_after *a);
/* Return whether this thread is inside a step; of the row only, unless it is NULL. */
CELLAR_PRIVATE bool refresher_in_step(const cellar_refresher *r, const refresher_row *row)
    SYNC_HOLDS(WHEEL);
CELLAR_PRIVATE bool refresher_is_mine(const void *refresher) SYNC_HOLDS(WHEEL); /* of any row */
/* Compute the times of a new row and arm it. */
CELLAR_PRIVATE void refresher_begin(refresher_row *row, work_time now) SYNC_HOLDS(WHEEL);
CELLAR_PRIVATE void refresher_unref(refresher_row *row, refresher_after *a) SYNC_HOLDS(WHEEL);
/* Take a row out of wheel, queue and list. */
CELLAR_PRIVATE void refresher_detach(refresher_row *row, refresher_after *a) SYNC_HOLDS(WHEEL);
CELLAR_PRIVATE void refresher_row_free(refresher_row *row);
CELLAR_PRIVATE void refresher_set_uncovered(refresher_row *row, bool uncovered) SYNC_HOLDS(WHEEL);
/* Give tickets to ready rows. */
CELLAR_PRIVATE void refresher_dispatch(cellar_refresher *r, refresher_after *a) SYNC_HOLDS(WHEEL);
/* Add a key to a block. The limits are those of cellar_refresh_keys_add. */
CELLAR_PRIVATE cellar_err refresher_keys_put(cellar_refresh_keys *keys, const void *key,
                                             size_t len);
/* Make rows ready that are due. *next_ms: ms until there is more to do. */
CELLAR_PRIVATE void refresher_fire(void *refresher, int64_t *next_ms);
/* Run a ticket: at most one step. The `run` of the pool. */
CELLAR_PRIVATE void refresher_run_job(void *refresher, base_job *j);
/* Read the figures: see stats_service. */
CELLAR_PRIVATE const char *refresher_figures(void *object, uint64_t *value);
#ifndef CELLAR_OMIT_TEXT
/* Write more families: see stats_service. */
CELLAR_PRIVATE void refresher_figures_more(stats_out *o, const stats_owner *owner, void *object,
                                           const uint64_t *value);
#endif

#endif
