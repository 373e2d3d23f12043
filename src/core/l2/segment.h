/* SPDX-License-Identifier: MIT
 *
 * segment: bytes of SUPER, and of headers, rows and trailers of segments. */
#ifndef L2_SEGMENT_H
#define L2_SEGMENT_H

#include "l2/record.h"
#include "l2/types.h"

/* Derive the check parameters of the store that SUPER describes. */
CELLAR_PRIVATE void l2_form_make(l2_form *f, const l2_super *s);
CELLAR_PRIVATE void l2_super_write(unsigned char page[L2_PAGE], const l2_super *s);
/* Read and check SUPER. OK; E_FOREIGN: no magic; E_CORRUPT: wrong check, or an impossible field;
 * E_NEWER_FORMAT; CELLAR_STALE: of an older format. */
CELLAR_PRIVATE cellar_err l2_super_read(const unsigned char page[L2_PAGE], l2_super *out);
CELLAR_PRIVATE void l2_head_write(const l2_form *f, unsigned char at[L2_HEAD_BYTES],
                                  const l2_head *h);
CELLAR_PRIVATE bool l2_head_read(const l2_form *f, const unsigned char at[L2_HEAD_BYTES],
                                 l2_head *out);
CELLAR_PRIVATE void l2_trailer_write(const l2_form *f, unsigned char at[L2_TRAILER_BYTES],
                                     const l2_trailer *t);
CELLAR_PRIVATE bool l2_trailer_read(const l2_form *f, const unsigned char at[L2_TRAILER_BYTES],
                                    l2_trailer *out);
CELLAR_PRIVATE void l2_row_write(unsigned char at[L2_ROW_BYTES], const l2_row *r);
CELLAR_PRIVATE void l2_row_read(const unsigned char at[L2_ROW_BYTES], l2_row *r);
/* Set the check of page `index` of the rows of a segment. */
CELLAR_PRIVATE void l2_rows_close(const l2_form *f, unsigned char page[L2_PAGE],
                                  const l2_trailer *t, uint32_t index);
CELLAR_PRIVATE bool l2_rows_ok(const l2_form *f, const unsigned char page[L2_PAGE],
                               const l2_trailer *t, uint32_t index);
/* Return the pages of `rows` rows. */
BASE_INLINE uint32_t l2_row_pages(uint32_t rows)
{
    return (rows + L2_ROWS_PAGE - 1) / L2_ROWS_PAGE;
}
/* Return the offset of page `index` of the rows in its segment: page 0 is the last one, with the
 * trailer in its last bytes. */
BASE_INLINE uint32_t l2_rows_at(const l2_form *f, uint32_t index)
{
    return f->seg_bytes - (index + 1) * L2_PAGE;
}

#endif
