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
/* Return true if a row lies among the records of its segment. */
CELLAR_PRIVATE bool l2_row_sane(const l2 *d, const l2_trailer *t, const l2_row *r);
/* Call `fn` for each row of a page, oldest first, until it returns an errno. A page that does not
 * verify is made again from its records. Return the errno of fn, EILSEQ if neither verifies, or
 * 0. */
CELLAR_PRIVATE int l2_rows_page(l2 *d, const l2_trailer *t, uint32_t index,
                                int (*fn)(l2 *d, void *ctx, const l2_row *r), void *ctx);
/* Make the row of a whole record, but for its place. */
CELLAR_PRIVATE void l2_row_of(const l2 *d, const unsigned char *at, const l2_rec *rec, l2_row *row);

#endif
