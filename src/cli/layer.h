/* SPDX-License-Identifier: MIT
 *
 * layer: a disk over the files of a directory: writes stay in memory, reads see them. */
#ifndef CLI_LAYER_H
#define CLI_LAYER_H

#include "base/mem.h"
#include "base/vfs.h"

#define LAYER_FILES 12u

typedef struct layer_patch {
    struct layer_patch *next; /* newer */
    uint32_t file;
    uint64_t off;
    size_t n;
    unsigned char bytes[];
} layer_patch;

typedef struct layer_file {
    char name[16];
    base_vfs_file *under; /* NULL: the file does not exist */
    uint64_t real_bytes, size_bytes, inode, device;
    int64_t born_ns;
} layer_file;

typedef struct layer {
    base_account account;
    const base_vfs *under;
    base_vfs_file *dir;
    layer_file file[LAYER_FILES];
    uint32_t files;
    layer_patch *oldest, *newest;
} layer;

layer_file *layer_of(base_vfs_file *f);
/* Return the disk; the caller has set `account`, `under` and `dir`. */
base_vfs layer_vfs(layer *y);
/* Open a file for reading, or a new one in memory. Return an errno, or 0. */
int layer_open(void *y, base_vfs_file *dir, const char *name, uint32_t flags, base_vfs_file **out);
/* Read n bytes of a file. ENODATA: it is shorter. */
int layer_peek(layer *y, const char *name, void *buf, size_t n, uint64_t at);
/* Return the bytes of all files on disk. */
uint64_t layer_bytes(const layer *y);
/* Close all files but the directory, and free what was written. */
void layer_end(layer *y);

#endif
