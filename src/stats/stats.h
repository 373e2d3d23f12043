/* SPDX-License-Identifier: MIT
 *
 * stats: exact counters without a shared write, sampled histograms, and their text.
 *
 * CALL PATTERN
 *     stats_block *mine = stats_mine(st, slot);           once per call, with no ranked lock held
 *     stats_add(mine, STATS_HIT_L1, 1);                   plain add to this thread's block
 *     stats_count(st, STATS_TICK, 1);                     counters of the store; any lock held
 *     if (stats_sample(self)) { t = base_now_ns(); ...; stats_time(st, STATS_OP_SET, now - t); }
 *
 * INVARIANTS Gets have no counter: they are the sum of their outcomes (stats_gets). Each get adds
 *            to exactly one outcome. */
#ifndef STATS_STATS_H
#define STATS_STATS_H

#include "base/atomic.h"
#include "base/mem.h"
#include "base/port.h"
#include "base/sync.h"
#include "stats/metrics.h"

#define STATS_SLOTS_MAX 4096u /* namespace slots of a store */
#define STATS_NEAR_SLOTS 8u   /* slots found without a page */
#define STATS_FAR_SLOTS 256u  /* slots per page */
#define STATS_FAR_PAGES (STATS_SLOTS_MAX / STATS_FAR_SLOTS)
#define STATS_NEAR_ROWS 64u   /* thread indexes found without a page */
#define STATS_ROW_PAGES (BASE_THREAD_MAX / STATS_NEAR_ROWS)

/* Counters of one thread for one namespace, or of all threads without a block (shared). Starts at a
 * multiple of BASE_PAD, so two threads never write one line. Lives as long as the stats. */
typedef struct stats_block {
    void *raw;       /* block of base_alloc */
    uint32_t shared; /* 1: many threads add atomically; constant */
    uint32_t reserved;
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
    stats_page *_Atomic far[STATS_FAR_PAGES];    /* slots from STATS_NEAR_SLOTS on */
    _Atomic uint64_t cell[STATS_STORE_COUNT];    /* counters of the store */
} stats_row;

typedef struct stats_hist stats_hist;

typedef struct stats_row_page {
    stats_row *_Atomic row[STATS_NEAR_ROWS];
} stats_row_page;

typedef struct stats {
    base_account *account;             /* borrowed; outlives this struct */
    uint64_t id;                       /* unique in the process; a multiple of 4,096 */
    stats_row *_Atomic near[STATS_NEAR_ROWS]; /* rows of thread indexes 0..63; [0] is never NULL */
    stats_row_page *_Atomic far[STATS_ROW_PAGES]; /* other rows, 64 per page; [0] stays NULL */
    _Atomic uint64_t asking[BASE_THREAD_MAX / 64]; /* bit: this index is inside an allocation */
    _Atomic uint32_t row_top;          /* rows of indexes >= this do not exist */
    _Atomic uint32_t slot_top;         /* slots >= this were never opened */
    _Atomic uint32_t denied;           /* allocations refused since the last success */
    _Atomic uint32_t calls_denied;     /* calls of stats_ask since then */
    uint32_t stripes;                  /* of histograms; power of two; constant */
    stats_hist *_Atomic hist[STATS_OP_COUNT][8]; /* [op][stripe]; NULL until first used */
} stats;

/* Make the counters of a store and open slot 0. Charge to module STATS of `account`. NULL:
 * refused. */
CELLAR_PRIVATE stats *stats_create(base_account *account);
CELLAR_PRIVATE void stats_destroy(stats *st); /* NULL accepted; no thread may count during it */
/* Reset, in a forked child, the state of other threads that were allocating. Call before
 * counting. */
CELLAR_PRIVATE void stats_forked(stats *st);

/* Open `slot` for a namespace. Its figures start at 0; those of a former namespace stay in the
 * totals. False: refused, nothing changed. Hold no ranked lock. */
CELLAR_PRIVATE bool stats_slot_open(stats *st, uint32_t slot);

CELLAR_PRIVATE stats_block *stats_mine_slow(stats *st, uint32_t slot);

/* Return the block of this thread for an open slot, never NULL. The first call of a thread
 * allocates: hold no ranked lock. If the allocation is refused return the shared block; later calls
 * try again. */
BASE_INLINE stats_block *stats_mine(stats *st, uint32_t slot)
{
    const base_thread_record *self = base_thread_self();
    if (BASE_LIKELY(self->mine_tag == (st->id | slot))) { return (stats_block *)self->mine; }
    return stats_mine_slow(st, slot);
}

/* Return the key under which a thread remembers its block of an open slot, for stats_add_mine. */
BASE_INLINE uint64_t stats_tag(const stats *st, uint32_t slot) { return st->id | slot; }
/* Add to a counter of the namespace of `tag`, with the record of the calling thread. */
BASE_ALWAYS_INLINE void stats_add_mine(stats *st, uint64_t tag, const base_thread_record *self,
                                       stats_id id, uint64_t n);

/* Return the block of this thread if it exists, else the shared block. Never allocates; any lock
 * may be held. */
CELLAR_PRIVATE stats_block *stats_held(const stats *st, uint32_t slot);

/* Add to a counter of a namespace. */
BASE_INLINE void stats_add(stats_block *block, stats_id id, uint64_t n)
{
    BASE_ASSERT(id < STATS_NAMESPACE_COUNT);
    if (BASE_UNLIKELY(block->shared)) {
        (void)base_add_rlx(&block->cell[id], n);
    } else {
        base_store_rlx(&block->cell[id], base_load_rlx(&block->cell[id]) + n);
    }
}

BASE_ALWAYS_INLINE void stats_add_mine(stats *st, uint64_t tag, const base_thread_record *self,
                                       stats_id id, uint64_t n)
{
    BASE_ASSERT(id < STATS_NAMESPACE_COUNT);
    if (BASE_LIKELY(self->mine_tag == tag)) { /* `mine` is never a shared block: stats_mine_slow */
        _Atomic uint64_t *cell = &((stats_block *)self->mine)->cell[id];
        base_store_rlx(cell, base_load_rlx(cell) + n);
    } else {
        stats_add(stats_mine_slow(st, (uint32_t)tag & (STATS_SLOTS_MAX - 1)), id, n);
    }
}

/* Count one removed entry. cause: CELLAR_CAUSE_... 1..10; other causes are not counted here. */
BASE_INLINE void stats_add_end(stats_block *block, unsigned cause)
{
    if (cause < 1 || cause > STATS_EVICT_NEGATIVE - STATS_EVICT_EXPIRED + 1) { return; }
    stats_add(block, (stats_id)(STATS_EVICT_EXPIRED + (int)cause - 1), 1);
}

/* Add to a counter of the store. Never allocates; any lock may be held. */
CELLAR_PRIVATE void stats_count(stats *st, stats_id id, uint64_t n);

/* ---- reading: no lock, any thread; exact while no thread counts ---- */
CELLAR_PRIVATE uint64_t stats_read(const stats *st, uint32_t slot, stats_id id); /* of a slot */
CELLAR_PRIVATE void stats_read_slot(const stats *st, uint32_t slot,
                                    uint64_t out[STATS_NAMESPACE_COUNT]);
/* Sum the counters of all namespaces, dropped ones included. */
CELLAR_PRIVATE void stats_read_all(const stats *st, uint64_t out[STATS_NAMESPACE_COUNT]);
CELLAR_PRIVATE uint64_t stats_read_store(const stats *st, stats_id id);
BASE_INLINE uint64_t stats_gets(const uint64_t namespace[STATS_NAMESPACE_COUNT])
{
    return namespace[STATS_HIT_L1] + namespace[STATS_HIT_L2] + namespace[STATS_STALE] +
           namespace[STATS_NEGATIVE] + namespace[STATS_MISS];
}
/* Return the share of answered gets; 0 without gets. */
CELLAR_PRIVATE double stats_hit_ratio(const uint64_t namespace[STATS_NAMESPACE_COUNT]);

/* ---- histograms ---- */
#define STATS_BUCKETS 528u /* 16 of 1 ns, then 32 octaves of 16 */

CELLAR_PRIVATE uint32_t stats_sample_redraw(base_thread_record *self);

/* Return whether this call is sampled: one in 64 on average, the distance drawn from 1..127. */
BASE_INLINE bool stats_sample(base_thread_record *self)
{
    if (BASE_LIKELY(self->countdown > 1)) {
        self->countdown--;
        return false;
    }
    return stats_sample_redraw(self) != 0;
}

/* Record that `op` took `ns`. The first use allocates: hold no ranked lock. */
CELLAR_PRIVATE void stats_time(stats *st, stats_op op, uint64_t ns);

typedef struct stats_times {
    uint64_t count, sum_ns, max_ns; /* max is exact */
    uint64_t p50_ns, p90_ns, p99_ns, p999_ns; /* upper ends of buckets: within 6.25 % */
    bool saturated; /* a bucket reached 2^32 - 1 and stays there */
    bool sampled;
} stats_times;
CELLAR_PRIVATE void stats_read_times(const stats *st, stats_op op, stats_times *out);
/* Return the smallest bucket end that at least `ppm` millionths of the times do not exceed; 0
 * without times. */
CELLAR_PRIVATE uint64_t stats_quantile(const stats *st, stats_op op, uint64_t ppm);
/* Count the times <= limit_ns. limit_ns + 1 must be the lower end of a bucket: a power of two from
 * 16 on. */
CELLAR_PRIVATE uint64_t stats_times_below(const stats *st, stats_op op, uint64_t limit_ns);

/* ---- text ---- */
#ifndef CELLAR_OMIT_TEXT
#define STATS_NAMESPACES_SHOWN 256u /* of more namespaces: the 255 with most gets, and "other" */

typedef struct stats_namespace_name {
    const char *bytes; /* valid during the call of the writer */
    size_t len;
} stats_namespace_name;

typedef struct stats_source {
    /* Return the name of the namespace in `slot`; false: the slot is free. May be called several
     * times per slot. Takes no lock that the caller of the writer holds. */
    bool (*namespace_name)(void *ctx, uint32_t slot, stats_namespace_name *out);
    /* Store a figure of the namespace in `slot`; false: unknown. Locks as in namespace_name. NULL:
     * no figures. */
    bool (*namespace_given)(void *ctx, uint32_t slot, stats_namespace_given id, uint64_t *out);
    void *ctx;
    uint64_t given[STATS_GIVEN_COUNT]; /* present values */
} stats_source;

/* Write the metrics as Prometheus text 0.0.4, or as JSON. Write at most `cap` bytes, the last of
 * them 0. Return the length of the whole text without that 0, like snprintf. No allocation, no
 * lock, no locale. */
CELLAR_PRIVATE size_t stats_write_prometheus(const stats *st, const stats_source *from, char *buf,
                                             size_t cap);
BASE_SPARE CELLAR_PRIVATE size_t stats_write_json(const stats *st, const stats_source *from,
                                                  char *buf, size_t cap);
/* Write the figures that the metrics leave out, in the same form. */
CELLAR_PRIVATE size_t stats_write_rest(const stats *st, const stats_source *from, char *buf,
                                       size_t cap);
/* Write the figures of a table of locks as Prometheus text, each with the label table="name". */
CELLAR_PRIVATE size_t stats_write_locks(const char *name, const uint64_t value[STATS_LOCK_COUNT],
                                        char *buf, size_t cap);
#endif

#endif
