/* SPDX-License-Identifier: MIT
 *
 * io: read, write and sync files of the store; count and report errors. */
#ifndef L2_IO_H
#define L2_IO_H

#include "l2/types.h"

CELLAR_PRIVATE int l2_read(l2 *d, base_vfs_file *f, void *buf, size_t n, uint64_t at);
/* Read like l2_read, but leave the report of errors (l2_io_failed) to the caller. */
CELLAR_PRIVATE int l2_read_only(l2 *d, base_vfs_file *f, void *buf, size_t n, uint64_t at);
CELLAR_PRIVATE int l2_write(l2 *d, base_vfs_file *f, const void *buf, size_t n, uint64_t at);
CELLAR_PRIVATE int l2_datasync(l2 *d, base_vfs_file *f);

#endif
