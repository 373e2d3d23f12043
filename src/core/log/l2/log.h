/* SPDX-License-Identifier: MIT
 *
 * log: append records to the buffer, and write the buffer to data.seg. */
#ifndef L2_LOG_H
#define L2_LOG_H

#include "l2/types.h"

typedef enum l2_use { L2_USE_PUT, L2_USE_KEEP } l2_use; /* KEEP: copies, deletes, controls */
typedef enum l2_took {
    L2_TOOK, L2_NO_ROOM, L2_BUF_FULL, L2_SEG_FULL, L2_IS_CLOSED, L2_IS_INVALID, L2_IS_OLD
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
 * - L2_IS_INVALID, L2_IS_OLD: a tag or pattern, or a change of the key, invalidated the put. */
CELLAR_PRIVATE l2_took l2_append(l2 *d, l2_use use, const l2_record *r, const l2_terms *terms,
                                 uint64_t *lsn);
/* Make what a result without a record asks for. Return L2_TOOK: try again; else the result. The
 * caller holds no lock. */
CELLAR_PRIVATE l2_took l2_make_way(l2 *d, l2_took took);
/* Return true if the file has, or may have, the record at `lsn`. */
BASE_INLINE bool l2_in_file(l2 *d, uint64_t lsn) { return lsn < base_load_acq(&d->claimed); }
/* Write the buffer up to `upto`, or wait for the thread that does, wait_ns at most. Return an
 * errno, ETIMEDOUT, or 0. */
CELLAR_PRIVATE int l2_flush(l2 *d, uint64_t upto, uint64_t wait_ns);
/* Write all, then sync all. Return an errno, or 0. */
CELLAR_PRIVATE int l2_sync_to(l2 *d, uint64_t upto);
/* Write the rows of the open segment: all that a close syncs has rows. No thread appends. */
CELLAR_PRIVATE int l2_rows_now(l2 *d);
/* Append a FLOOR: no record below `lsn` counts any more. It is written, and synced at ALWAYS, when
 * the call returns 0. Namespaces that hold are appended before. `working` is held. */
CELLAR_PRIVATE int l2_floor_write(l2 *d, uint64_t lsn);
/* Copy `n` bytes of the log from the buffer. Return false if it does not have them any more. */
CELLAR_PRIVATE bool l2_buffered(l2 *d, void *to, size_t n, uint64_t lsn);
/* Begin the log at segment `seq`, or behind the last record of it, at `off`. */
CELLAR_PRIVATE void l2_log_begin(l2 *d, uint64_t seq, uint32_t off);

/* ---- io.c ---- */

CELLAR_PRIVATE int l2_read(l2 *d, base_vfs_file *f, void *buf, size_t n, uint64_t at);
CELLAR_PRIVATE int l2_write(l2 *d, base_vfs_file *f, const void *buf, size_t n, uint64_t at);
/* Read bytes of the log from data.seg. They lie in one segment. */
CELLAR_PRIVATE int l2_log_read(l2 *d, void *buf, size_t n, uint64_t lsn);
CELLAR_PRIVATE int l2_super_store(l2 *d); /* write serial + 1 to the other copy and sync it */

#endif
