/* SPDX-License-Identifier: MIT
 *
 * rows: read the trailer and the rows of a full segment, or make its rows again. */
#ifndef L2_ROWS_H
#define L2_ROWS_H

#include "l2/types.h"

/* Find the trailer of a full segment, in it or in the header of the next one. */
CELLAR_PRIVATE bool l2_trailer_find(l2 *d, uint64_t seq, l2_trailer *t);
/* Read a page of the rows that a trailer names. Return an errno, EILSEQ if the page does not
 * verify, or 0. */
CELLAR_PRIVATE int l2_rows_get(l2 *d, const l2_trailer *t, uint32_t index,
                               unsigned char page[L2_PAGE]);

typedef struct l2_rows_walk { /* page after page; zeros: it begins at 0, or at a whole page */
    l2_row last; /* of the page before; off 0: not known */
    uint64_t run; /* of its newest row that says one; 0: none does */
    uint32_t made; /* pages that were made again */
} l2_rows_walk;

/* Return whether a page of rows of this segment could not be read, and none of another one since:
 * its rows are made of the records first. Each further try would cost an error of the disk. */
CELLAR_PRIVATE bool l2_rows_unread(const l2 *d, uint64_t seq);
/* Make n rows again from the records behind w->last, or all up to the end. Return how many are
 * there. *e: why not n. */
CELLAR_PRIVATE uint32_t l2_rows_make(l2 *d, const l2_trailer *t, l2_rows_walk *w, l2_row *row,
                                     uint32_t n, int *e);

/* Call `fn` for each row of a page, oldest first, until it returns an errno. A page that is lost is
 * made again from its records. Return the errno of fn; EILSEQ, ENOMEM or that of a read if rows are
 * missing; or 0. */
CELLAR_PRIVATE int l2_rows_page(l2 *d, const l2_trailer *t, uint32_t index, l2_rows_walk *w,
                                int (*fn)(l2 *d, void *ctx, const l2_row *r), void *ctx);
/* Make the row of a record, but for its place: of its head and key, a control also of its value. */
CELLAR_PRIVATE void l2_row_of(const l2 *d, const unsigned char *at, const l2_rec *rec, l2_row *row);

#endif
