/* SPDX-License-Identifier: MIT
 *
 * types: counters of a thread, histograms, the figures of a store. */
#ifndef STATS_TYPES_H
#define STATS_TYPES_H

#include "base/atomic.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/port.h"
#include "base/sync.h"
#include "stats/metrics.h"

#define STATS_SLOTS_MAX 4096u /* namespace slots of a store */
#define STATS_NEAR_SLOTS 8u   /* slots found without a page */
#define STATS_FAR_SLOTS 256u  /* slots per page */
#define STATS_FAR_PAGES (STATS_SLOTS_MAX / STATS_FAR_SLOTS)
#define STATS_NEAR_ROWS 64u   /* thread indexes found without a page */
#define STATS_STRIPES_MAX 8u  /* of a histogram */
#define STATS_ROW_PAGES (BASE_THREAD_MAX / STATS_NEAR_ROWS)

/* Counters of one thread for one namespace, or of all threads without a block (shared). Starts at a
 * multiple of BASE_PAD, so two threads never write one line. Lives as long as the stats. */
typedef struct stats_block {
    void *raw;       /* block of base_alloc */
    uint32_t shared; /* 1: many threads add atomically; constant */
    uint32_t reserved;
    /* {entries added less entries removed, generation}: of that generation, by the owner */
    _Atomic uint64_t entries;
    /* relaxed; written by the owner, read by any thread */
    _Atomic uint64_t cell[STATS_NAMESPACE_COUNT];
} stats_block;

typedef struct stats_page { /* blocks of 256 more slots */
    stats_block *_Atomic slot[STATS_FAR_SLOTS];
} stats_page;

/* All counters of one thread index. Row 0 is the shared row. */
typedef struct stats_row {
    void *raw;
    uint32_t shared;
    uint32_t reserved;
    stats_block *_Atomic near[STATS_NEAR_SLOTS]; /* release by the owner, acquire by readers */
    void *_Atomic far[STATS_FAR_PAGES]; /* stats_page: slots from STATS_NEAR_SLOTS on */
    _Atomic uint64_t cell[STATS_STORE_COUNT];    /* counters of the store */
} stats_row;

#define STATS_BUCKETS 528u /* 16 of 1 ns, then 32 octaves of 16 */

#define STATS_WAIT_BUCKETS 11u
/* A coarse histogram under the lock of its owner: times up to 1 ms, 4 ms, .. 262 s, and above. */
typedef struct stats_waits {
    uint64_t bucket[STATS_WAIT_BUCKETS], sum_ms;
} stats_waits;
/* Add `n` times of `ms` each. */
BASE_INLINE void stats_waits_add(stats_waits *w, uint64_t ms, uint64_t n)
{
    const uint32_t k = ms > 1 ? (base_log2_floor(ms - 1) + 2) / 2 : 0;
    w->bucket[k < STATS_WAIT_BUCKETS - 1 ? k : STATS_WAIT_BUCKETS - 1] += n;
    w->sum_ms += ms * n;
}

typedef struct stats_hist { /* stripe of an operation; relaxed; any thread writes */
    _Atomic uint64_t count, sum_ns, max_ns;
    _Atomic uint32_t bucket[STATS_BUCKETS]; /* each stops at 2^32 - 1 */
} stats_hist;

typedef struct stats_row_page {
    stats_row *_Atomic row[STATS_NEAR_ROWS];
} stats_row_page;

typedef struct stats {
    base_account *account;             /* borrowed; outlives this struct */
    uint64_t id;                       /* unique in the process; a multiple of 4,096 */
    stats_row *_Atomic near[STATS_NEAR_ROWS]; /* rows of thread indexes 0..63; [0] is never NULL */
    void *_Atomic far[STATS_ROW_PAGES]; /* stats_row_page: other rows; [0] stays NULL */
    _Atomic uint64_t asking[BASE_THREAD_MAX / 64]; /* bit: this index is inside an allocation */
    _Atomic uint32_t row_top;          /* rows of indexes >= this do not exist */
    _Atomic uint32_t slot_top;         /* slots >= this were never opened */
    _Atomic uint32_t denied;           /* allocations refused since the last success */
    _Atomic uint32_t calls_denied;     /* calls of stats_ask since then */
    uint32_t stripes;                  /* of histograms; power of two; constant */
    void *_Atomic hist[STATS_OP_COUNT][STATS_STRIPES_MAX]; /* stats_hist; NULL: not used yet */
} stats;

#endif
