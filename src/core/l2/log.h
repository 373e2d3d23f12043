/* SPDX-License-Identifier: MIT
 *
 * log: append records to the buffer, and write the buffer to data.seg. */
#ifndef L2_LOG_H
#define L2_LOG_H

#include "l2/types.h"

/* What a record is for. Each use leaves segments to the next one.
 * KEEP: copies, deletes, controls of callers. LAST: what an open or the end of a pass needs; of the
 * holder of `working`. */
typedef enum l2_use { L2_USE_PUT, L2_USE_KEEP, L2_USE_LAST } l2_use;
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
/* Write the buffer up to `upto`, or wait for the thread that does, wait_ns at most. Return an
 * errno, ETIMEDOUT, or 0. */
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
/* Begin the next segment; its header says that all below is synced. *begin: its lsn. Return an
 * errno, or 0. The caller holds `syncing`. */
CELLAR_PRIVATE int l2_next_synced(l2 *d, uint64_t *begin);
/* Write n bytes of the log, of one segment. The caller holds `writing`. */
CELLAR_PRIVATE int l2_out(l2 *d, const unsigned char *from, uint64_t n, uint64_t lsn);
/* Return the segments that the log can begin behind the open one. */
CELLAR_PRIVATE uint64_t l2_segs_free(const l2 *d, uint64_t tail);
/* Finish segment `seq` if it is the open one, and begin the next one, with `synced` in its header.
 * The caller holds `writing`. */
CELLAR_PRIVATE int l2_seal(l2 *d, uint64_t seq, uint64_t synced);
/* Write the rows of the open segment: all that a close syncs has rows. No thread appends. */
CELLAR_PRIVATE int l2_rows_now(l2 *d);
/* Append a FLOOR: no record below `lsn` counts any more. It is written, and synced at ALWAYS, when
 * the call returns 0. Namespaces that hold are appended before. `working` is held. */
CELLAR_PRIVATE int l2_floor_write(l2 *d, uint64_t lsn);
/* Append a FLOOR as l2_floor_write, without a sync. *end: end of the FLOOR. */
CELLAR_PRIVATE int l2_floor_put(l2 *d, uint64_t lsn, uint64_t *end);
/* Store the bytes since the last good sync again, if one failed. If some are lost, end all that is
 * older than the loss. Return an errno, or 0. `working` is held. */
CELLAR_PRIVATE int l2_resync(l2 *d);
/* Copy `n` bytes of the log from the buffer. Return false if it does not have them any more. */
CELLAR_PRIVATE bool l2_buffered(l2 *d, void *to, size_t n, uint64_t lsn);
/* Begin the log at segment `seq`, or behind the last record of it, at `off`. */
CELLAR_PRIVATE void l2_log_begin(l2 *d, uint64_t seq, uint32_t off);

/* ---- io.c ---- */

CELLAR_PRIVATE int l2_read(l2 *d, base_vfs_file *f, void *buf, size_t n, uint64_t at);
CELLAR_PRIVATE int l2_write(l2 *d, base_vfs_file *f, const void *buf, size_t n, uint64_t at);
/* Read bytes of the log from data.seg. They lie in one segment. */
CELLAR_PRIVATE int l2_log_read(l2 *d, void *buf, size_t n, uint64_t lsn);
/* Read them if memory has all of them. */
CELLAR_PRIVATE bool l2_log_read_now(l2 *d, void *buf, size_t n, uint64_t lsn);
CELLAR_PRIVATE int64_t l2_wall_clock(const l2 *d); /* as it is: it may step, and be wrong */
/* Return the file that has the segment of `lsn`, and its place there; NULL: it is gone. The file
 * stays open until l2_ring_drop. */
CELLAR_PRIVATE base_vfs_file *l2_ring_take(l2 *d, uint64_t lsn, uint64_t *at);
CELLAR_PRIVATE void l2_ring_drop(l2 *d);
CELLAR_PRIVATE int l2_super_store(l2 *d); /* write serial + 1 to the other copy and sync it */
/* Let SUPER say that the state at `synced` is durable as a whole, if nothing was written since: a
 * power cut at DROP leaves it. Return an errno, or 0. `working` is held. */
CELLAR_PRIVATE int l2_settle(l2 *d);
/* Note durably that the state SUPER names is over. The caller holds `writing`, and writes then. */
CELLAR_PRIVATE int l2_unsettle(l2 *d);
/* Return the number of the last durable state that is over. If unknown, all are. */
CELLAR_PRIVATE uint64_t l2_settled_over(l2 *d);

#endif
