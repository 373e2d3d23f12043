/* SPDX-License-Identifier: MIT
 *
 * io: read and write the files of the store; count and report errors. */
#ifndef L2_IO_H
#define L2_IO_H

#include "l2/types.h"

CELLAR_PRIVATE int l2_read(l2 *d, base_vfs_file *f, void *buf, size_t n, uint64_t at);
CELLAR_PRIVATE int l2_write(l2 *d, base_vfs_file *f, const void *buf, size_t n, uint64_t at);
/* Read bytes of the log from data.seg. They lie in one segment. */
CELLAR_PRIVATE int l2_log_read(l2 *d, void *buf, size_t n, uint64_t lsn);
/* Read them page by page if that fails: a page that cannot be read is zeros. Return 0, or an errno
 * if no page can be read, or it is not known which: the disk is off, or takes over 1 s. */
CELLAR_PRIVATE int l2_log_read_pages(l2 *d, unsigned char *buf, size_t n, uint64_t lsn);
/* Read them if memory has all of them. */
CELLAR_PRIVATE bool l2_log_read_now(l2 *d, void *buf, size_t n, uint64_t lsn);
CELLAR_PRIVATE int64_t l2_wall_clock(const l2 *d); /* as it is: it may step, and be wrong */
/* Return the file that has the segment of `lsn`, and its place there; NULL: it is gone. The file
 * stays open until l2_ring_drop. */
CELLAR_PRIVATE base_vfs_file *l2_ring_take(l2 *d, uint64_t lsn, uint64_t *at);
CELLAR_PRIVATE void l2_ring_drop(l2 *d);
/* Sync a file but for its times. */
CELLAR_PRIVATE int l2_datasync(l2 *d, base_vfs_file *f);
/* Return false if data.seg was removed or truncated: then the tier is broken until the next open.
 * `working` is held. */
CELLAR_PRIVATE bool l2_files_there(l2 *d);

#endif
