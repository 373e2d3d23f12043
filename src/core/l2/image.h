/* SPDX-License-Identifier: MIT
 *
 * image: write and read images: named bytes in a file, with a head and a checksum. */
#ifndef L2_IMAGE_H
#define L2_IMAGE_H

#include "l2/types.h"

#define L2_IMAGE_HEAD 512u
#define L2_IMAGE_PIECE ((size_t)64 << 10)
#define L2_IMAGE_BUFFER (L2_IMAGE_HEAD + L2_IMAGE_PIECE) /* least of a writer */

struct l2_images { /* a save in progress */
    l2 *d;
    base_vfs_file *file;
    unsigned char *buf;    /* one head, then one piece */
    uint64_t at;           /* start of the current image, or of the next one */
    uint64_t done;         /* bytes of the current image so far */
    uint64_t limit;        /* most bytes of the file */
    uint64_t need;         /* if `measure`: bytes that the images need */
    uint64_t life, lsn;
    uint64_t sum, note[2];
    uint32_t count, name_len;
    size_t held;           /* bytes of `done` that are still in buf */
    bool measure, whole;
    bool full;             /* one image did not fit */
    int e;                 /* first error; 0: none */
    char name[L2_IMAGE_NAME_MAX];
};

/* Set the check of a complete head. */
CELLAR_PRIVATE void l2_image_head_close(const l2_form *f, unsigned char head[L2_IMAGE_HEAD],
                                        uint64_t life, uint64_t lsn, uint64_t at);
CELLAR_PRIVATE bool l2_image_head_ok(const l2_form *f, const unsigned char head[L2_IMAGE_HEAD],
                                     uint64_t life, uint64_t lsn, uint64_t at);
/* Decode the head of an image at `at` in a file of `length` bytes. Return false if it is none of
 * this run and lsn. */
CELLAR_PRIVATE bool l2_image_head_read(const l2_form *f, const unsigned char head[L2_IMAGE_HEAD],
                                       uint64_t life, uint64_t lsn, uint64_t at, uint64_t length,
                                       l2_image_row *row);
/* Read the next piece into buf. Return false for the last piece if the sum over all is wrong. */
CELLAR_PRIVATE bool l2_image_piece(l2_image *im);
/* Sync the file, and rename it from `from` to `name`. Return an errno, or 0. */
CELLAR_PRIVATE int l2_image_publish(l2_images *to, const char *from, const char *name);

#endif
