/* SPDX-License-Identifier: MIT
 *
 * recover: find the end of the log and its live records at an open; read records by lsn. */
#ifndef L2_RECOVER_H
#define L2_RECOVER_H

#include "l2/types.h"

/* Find what the log has, or begin an empty one. alive: the contents may count. same_boot: all that
 * was written is in the file. Return an errno, ENOMEM, or 0. */
CELLAR_PRIVATE int l2_recover(l2 *d, bool alive, bool same_boot);

/* ---- read.c ---- */

/* Return the form of the run that wrote the record at `lsn`. */
CELLAR_PRIVATE void l2_form_at(const l2 *d, uint64_t lsn, l2_form *out);
/* Read and check the record at `lsn`, of `bytes` at most. Return an errno; EILSEQ: it does not
 * verify; 0. */
CELLAR_PRIVATE int l2_record_read(l2 *d, uint64_t lsn, unsigned char *buf, uint32_t bytes,
                                  l2_rec *r);

/* Return true if the word of a hash (l2_mix) leads to `lsn`. */
CELLAR_PRIVATE bool l2_indexed_at(l2 *d, uint64_t hash, uint64_t lsn);

/* ---- rows.c ---- */

/* Find the trailer of a full segment, in it or in the header of the next one. */
CELLAR_PRIVATE bool l2_trailer_find(l2 *d, uint64_t seq, l2_trailer *t);
/* Call `fn` for each row of a page, oldest first, until it returns an errno. Return that, EILSEQ if
 * the page does not verify, or 0. */
CELLAR_PRIVATE int l2_rows_page(l2 *d, const l2_trailer *t, uint32_t index,
                                int (*fn)(l2 *d, void *ctx, const l2_row *r), void *ctx);

/* Call `fn` for the row of each record of a full segment, made of the records: its rows cannot be
 * read. Return the first errno of fn, EILSEQ if a record does not verify, or 0. */
CELLAR_PRIVATE int l2_rows_walk(l2 *d, const l2_trailer *t,
                                int (*fn)(l2 *d, void *ctx, const l2_row *r), void *ctx);
/* Make the row of a whole record, but for its place. */
CELLAR_PRIVATE void l2_row_of(const l2 *d, const unsigned char *at, const l2_rec *rec, l2_row *row);

#endif
