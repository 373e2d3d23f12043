/* SPDX-License-Identifier: MIT
 *
 * format: write and read SUPER and the pages of segments, without knowledge of files, locks or RAM
 * tables. */
#ifndef L2_FORMAT_H
#define L2_FORMAT_H

#include "l2/record.h"
#include "l2/types.h"

/* Derive the check parameters of the store that SUPER describes. */
CELLAR_PRIVATE void l2_form_make(l2_form *f, const l2_super *s);
/* Sort rows by the u64 at their start. Shell sort with Knuth's gaps 1, 4, 13, ... needs no memory:
 * places are taken in turn, so segments form a few sorted runs, which gap 1 alone would sort in
 * quadratic time. */
CELLAR_PRIVATE void l2_sort_rows(void *rows, size_t row_bytes, uint32_t count);
/* Flip one bit of n bytes at a time until they are right; then return true. Otherwise restore them:
 * they are not one bit off. A page takes 3 ms. */
CELLAR_PRIVATE bool l2_heal(unsigned char *p, size_t n,
                            bool (*right)(const unsigned char *p, void *arg), void *arg);
CELLAR_PRIVATE void l2_super_write(unsigned char page[L2_PAGE], const l2_super *s);
/* Read and check SUPER. OK; E_FOREIGN: no magic; E_CORRUPT: wrong check; E_NEWER_FORMAT. */
CELLAR_PRIVATE cellar_err l2_super_read(const unsigned char page[L2_PAGE], l2_super *out);
/* Repair one flipped bit of a page. Return true if the page verifies now. */
CELLAR_PRIVATE bool l2_super_heal(unsigned char page[L2_PAGE], l2_super *out);
CELLAR_PRIVATE void l2_head_write(const l2_form *f, unsigned char at[L2_HEAD_BYTES],
                                  const l2_head *h);
/* Read a header. Return false if it is damaged, of another epoch, or no header. */
CELLAR_PRIVATE bool l2_head_read(const l2_form *f, const unsigned char at[L2_HEAD_BYTES],
                                 l2_head *out);
CELLAR_PRIVATE void l2_trailer_write(const l2_form *f, unsigned char page[L2_PAGE],
                                     const l2_trailer *t);
CELLAR_PRIVATE bool l2_trailer_read(const l2_form *f, const unsigned char page[L2_PAGE],
                                    l2_trailer *out);
/* Set the check of a complete footer page. */
CELLAR_PRIVATE void l2_foot_close(const l2_form *f, unsigned char page[L2_PAGE], uint64_t segseq);
CELLAR_PRIVATE bool l2_foot_ok(const l2_form *f, const unsigned char page[L2_PAGE],
                               uint64_t segseq, uint32_t index);
CELLAR_PRIVATE bool l2_foot_heal(const l2_form *f, unsigned char page[L2_PAGE], uint64_t segseq,
                                 uint32_t index);
CELLAR_PRIVATE bool l2_trailer_heal(const l2_form *f, unsigned char page[L2_PAGE],
                                    l2_trailer *out);
BASE_INLINE unsigned char *l2_foot_entry(unsigned char *page, uint32_t i)
{
    return page + L2_FOOT_HEAD + (size_t)i * L2_ENTRY_BYTES;
}
CELLAR_PRIVATE void l2_entry_write(unsigned char at[L2_ENTRY_BYTES], uint64_t h48, uint8_t kind,
                                   uint8_t flags);
/* Decode the kind and the flags of a footer line. Return false if no line has this byte. */
CELLAR_PRIVATE bool l2_entry_kind(const unsigned char at[L2_ENTRY_BYTES], l2_entry *e);

#endif
