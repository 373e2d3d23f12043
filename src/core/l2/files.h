/* SPDX-License-Identifier: MIT
 *
 * files: make, open and close the files of the directory. */
#ifndef L2_FILES_H
#define L2_FILES_H

#include "l2/types.h"

/* Unmap, unlock and close all files. */
CELLAR_PRIVATE void l2_files_close(l2 *d);
/* Open a file of the directory. Return an errno, or 0. */
CELLAR_PRIVATE int l2_file(l2 *d, const char *name, uint32_t flags, base_vfs_file **out);
/* Close *f, if it is open, and set it to NULL. */
CELLAR_PRIVATE void l2_file_close(l2 *d, base_vfs_file **f);
/* Write both copies under another name, then rename the file once it is durable. */
CELLAR_PRIVATE int l2_super_make(l2 *d);
/* Make the files before SUPER names them: as many segments as the disk has room for, less the needs
 * of the other files. */
CELLAR_PRIVATE int l2_format_files(l2 *d);
/* Return true if both identities are the same file. A copy may have the same inode, on another file
 * system or after a removal. Without creation times the device decides while its number is
 * valid. */
CELLAR_PRIVATE bool l2_stage_is(const l2_stage_id *a, const l2_stage_id *b, bool same_boot);
/* Open, measure and map all files but SUPER. *whole: the stage has its full length. *kept: it is
 * also the file that SUPER names. */
CELLAR_PRIVATE int l2_files_open(l2 *d, bool same_boot, bool *whole, bool *kept);

#endif
