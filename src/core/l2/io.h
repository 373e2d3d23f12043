/* SPDX-License-Identifier: MIT
 *
 * io: read, write and sync files of the store; read footer lines. */
#ifndef L2_IO_H
#define L2_IO_H

#include "l2/types.h"
#include "stats/hist.h"

/* ---- io.c ---- */

/* Record how long an operation took that began at since_ns. */
CELLAR_PRIVATE void l2_timed(const l2 *d, stats_op op, uint64_t since_ns);
CELLAR_PRIVATE int l2_read(l2 *d, base_vfs_file *f, void *buf, size_t n, uint64_t at);
/* Read like l2_read, but leave the report of errors (l2_io_failed) to the caller. */
CELLAR_PRIVATE int l2_read_only(l2 *d, base_vfs_file *f, void *buf, size_t n, uint64_t at);
/* Read for a caller: like l2_read_only, and counted among the reads that may get stuck. */
CELLAR_PRIVATE int l2_read_counted(l2 *d, base_vfs_file *f, void *buf, size_t n, uint64_t at);
/* Start to read bytes of data.seg that are read next, without a wait. */
/* Read bytes of data.seg that are in memory, up to the first one that is not. Return their
 * number. */
CELLAR_PRIVATE size_t l2_read_now(l2 *d, void *buf, size_t n, uint64_t at);
CELLAR_PRIVATE void l2_ahead(l2 *d, uint64_t at, uint64_t n);
/* Write n bytes. worker: this thread is the worker, and each call to the disk is its progress. */
CELLAR_PRIVATE int l2_write_as(l2 *d, base_vfs_file *f, const void *buf, size_t n, uint64_t at,
                               bool worker);
CELLAR_PRIVATE int l2_write(l2 *d, base_vfs_file *f, const void *buf, size_t n, uint64_t at);
CELLAR_PRIVATE int l2_datasync(l2 *d, base_vfs_file *f);
/* Bar commits and request l2_resync after a failed sync of stage or data.seg. */
CELLAR_PRIVATE void l2_sync_failed(l2 *d, int e);

/* ---- footer.c ---- */

/* Read footer page `index` of a segment on disk into d->page, repaired if necessary. */
CELLAR_PRIVATE bool l2_foot_load(l2 *d, const l2_seg *g, uint64_t segseq, uint32_t index);
/* Call `fn` for each line of the page in d->page. Return false if its distances are impossible. */
CELLAR_PRIVATE bool l2_foot_each(l2 *d, uint32_t data_end, bool newest_first,
                                 void (*fn)(l2 *d, void *ctx, const l2_entry *e), void *ctx);
/* Call `fn` for each line of a slot that is not sealed. No thread appends. */
CELLAR_PRIVATE bool l2_slot_lines(l2 *d, const l2_slot *s, bool newest_first,
                                  void (*fn)(l2 *d, void *ctx, const l2_entry *e), void *ctx);
/* Read all footer pages of a segment on disk and call `fn` for each line. Return false at the first
 * page that is damaged. */
CELLAR_PRIVATE bool l2_foot_walk(l2 *d, const l2_seg *g, uint64_t segseq, bool newest_first,
                                 void (*fn)(l2 *d, void *ctx, const l2_entry *e), void *ctx);

#endif
