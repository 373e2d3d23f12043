/* SPDX-License-Identifier: MIT
 *
 * log: append records to the buffer, and write the buffer to data.seg. */
#ifndef L2_LOG_H
#define L2_LOG_H

#include "l2/types.h"

/* Use of a record. Each use leaves segments to the next use. KEEP: deletes and controls of callers.
 * COPY: live records. LAST: records of an open or of the end of a pass. Only the holder of
 * `working` appends COPY and LAST. */
typedef enum l2_use { L2_USE_PUT, L2_USE_KEEP, L2_USE_COPY, L2_USE_LAST } l2_use;
typedef enum l2_took {
    L2_TOOK, L2_NO_ROOM, L2_BUF_FULL, L2_SEG_FULL, L2_IS_CLOSED, L2_IS_INVALID, L2_IS_OLD,
    L2_NO_PLACE
} l2_took;
BASE_INLINE bool l2_is_current(const l2_terms *t)
{
    const l2_current *c = t->current;
    return c == NULL || c->is == NULL || c->is(c->ctx, t->hash, c->stamp);
}

typedef struct l2_record { /* a record that is appended */
    l2_rec rec;
    uint64_t hash;  /* of its row */
    uint32_t kind;  /* of its row */
    const void *ext, *key, *value;
} l2_record;

/* Append a record. terms: NULL unless it is a put. Results without a record:
 * - L2_NO_ROOM: no segment is free for this use.
 * - L2_BUF_FULL: l2_flush makes room. L2_SEG_FULL: l2_next begins the next segment.
 * - L2_IS_CLOSED: the tier is closed, see stall.c.
 * - L2_NO_PLACE: the index is full; of write.c.
 * - L2_IS_INVALID, L2_IS_OLD: a tag or pattern, or a change of the key, invalidated the put. */
CELLAR_PRIVATE l2_took l2_append(l2 *d, l2_use use, const l2_record *r, const l2_terms *terms,
                                 uint64_t *lsn);
/* Make what a result without a record asks for, or wait wait_ns at most for the thread that does.
 * Return L2_TOOK: try again; else the result. The caller holds no lock. */
CELLAR_PRIVATE l2_took l2_make_way(l2 *d, l2_took took, uint64_t wait_ns);
/* Return how long a put waits for that. */
CELLAR_PRIVATE uint64_t l2_put_wait(const l2 *d);
/* Write the buffer up to `upto`, or to its end, or wait for the thread that does, wait_ns at most.
 * Return an errno, ETIMEDOUT, or 0. */
CELLAR_PRIVATE int l2_flush(l2 *d, uint64_t upto, uint64_t wait_ns);
/* Drop `writing`, and wake the threads that wait for it. */
CELLAR_PRIVATE void l2_writing_drop(l2 *d);
/* Write what callers wait for, if writes are slow. Only the thread of the store calls this. */
CELLAR_PRIVATE void l2_slow_writes(l2 *d);
/* Write all, then sync all, or wait for the thread that does, wait_ns at most while no sync ends.
 * Return an errno, or 0. After a failed sync: EIO, until l2_resync succeeds. */
CELLAR_PRIVATE int l2_sync_to(l2 *d, uint64_t upto, uint64_t wait_ns);
/* Sync what is written. Return an errno, or 0. The caller holds `syncing`. */
CELLAR_PRIVATE int l2_sync_now(l2 *d);
/* Begin the next segment. Its header says that all below is synced. *begin: its lsn. If no place is
 * free, the segment takes that of the oldest one, unless the size changes: the caller then ends all
 * older records. Return an errno, or 0. The caller holds `syncing`, or opens. */
CELLAR_PRIVATE int l2_next_synced(l2 *d, uint64_t *begin);
/* Write n bytes of the log, of one segment. The caller holds `writing`. */
CELLAR_PRIVATE int l2_out(l2 *d, const unsigned char *from, uint64_t n, uint64_t lsn);
/* Return the segments that the log can begin behind the open one. */
CELLAR_PRIVATE uint64_t l2_segs_free(const l2 *d, uint64_t tail);
CELLAR_PRIVATE bool l2_pass_due(const l2 *d); /* few segments are free */
/* Finish segment `seq` if it is the open one, and begin the next one, with `synced` in its header.
 * The caller holds `writing`. */
CELLAR_PRIVATE int l2_seal(l2 *d, uint64_t seq, uint64_t synced);
/* Hand a segment to the device, which begins to write it: else a sync writes all of them.
 * since_ns: begin of each call of the system, or NULL. */
CELLAR_PRIVATE void l2_hand_over(l2 *d, uint64_t seq, _Atomic uint64_t *since_ns);
/* Write the rows of the open segment: all that a close syncs has rows. No thread appends. */
CELLAR_PRIVATE int l2_rows_now(l2 *d);
/* Copy `n` bytes of the log from the buffer. Return false if it does not have them any more. */
CELLAR_PRIVATE bool l2_buffered(l2 *d, void *to, size_t n, uint64_t lsn);
/* Begin the log at segment `seq`, or behind the last record of it, at `off`. */
CELLAR_PRIVATE void l2_log_begin(l2 *d, uint64_t seq, uint32_t off);

#endif
