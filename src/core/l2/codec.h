/* SPDX-License-Identifier: MIT
 *
 * codec: compress and encrypt values on the way to disk; decrypt and decompress them on reads. */
#ifndef L2_CODEC_H
#define L2_CODEC_H

#include "l2/types.h"

typedef struct l2_box { /* a value in its stored form */
    unsigned char *block; /* owned; NULL: none */
    size_t block_bytes;   /* 0: the block is one of l2.packer */
    const unsigned char *bytes;
} l2_box;
CELLAR_PRIVATE bool l2_codec_open(l2 *d);
CELLAR_PRIVATE void l2_codec_close(l2 *d);
/* Take a block of `bytes` for one compression or encryption: a reserved one, or a new one. block
 * NULL: no memory. */
CELLAR_PRIVATE void l2_packer_take(l2 *d, l2_box *box, size_t bytes);
/* Compress a value. r has the raw length and no ext; on success r describes the compressed value,
 * and its ext must then state the raw length. Return false, with nothing changed, if it does not
 * pay or memory is short. */
CELLAR_PRIVATE bool l2_box_pack(l2 *d, const void *value, l2_rec *r, l2_box *box);
/* Encrypt the r->vlen bytes in *box; r and *box then describe the result. Return false if memory is
 * short or the cipher fails. */
CELLAR_PRIVATE bool l2_box_seal(l2 *d, const l2_key *k, const unsigned char *ext, l2_rec *r,
                                l2_box *box);
CELLAR_PRIVATE void l2_box_free(l2 *d, l2_box *box);
/* Decrypt the record at `at`, which verified and is encrypted or must be. box->bytes: *n bytes, in
 * `buf` if they fit and are not compressed. Return false if the record cannot be decrypted;
 * box->block_bytes is 0 then, unless memory is short. */
CELLAR_PRIVATE bool l2_box_open(l2 *d, const l2_rec *r, const unsigned char *at, void *buf,
                                size_t buf_cap, l2_box *box, uint32_t *n);
/* Return true if this value can be decompressed. Otherwise count a miss. */
CELLAR_PRIVATE bool l2_box_packed_right(l2 *d, const l2_rec *r, const l2_meta *m);
/* Decompress raw_bytes into `buf`. Return false if the bytes are no compression of that size. */
CELLAR_PRIVATE bool l2_box_unpack(l2 *d, const l2_box *box, uint32_t n, void *buf,
                                  uint32_t raw_bytes);

/* Allocate memory. In a shell return NULL, because the caller would use state that a child
 * lacks. */
CELLAR_PRIVATE void *l2_alloc(l2 *d, size_t bytes);

#endif
