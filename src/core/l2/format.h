/* SPDX-License-Identifier: MIT
 *
 * format: write and read the bytes on disk, without knowledge of files, locks or RAM tables. */
#ifndef L2_FORMAT_H
#define L2_FORMAT_H

#include "l2/types.h"

BASE_INLINE uint64_t l2_r64(const unsigned char *p) { return base_hash_r8(p); }
BASE_INLINE uint32_t l2_r32(const unsigned char *p) { return (uint32_t)base_hash_r4(p); }
BASE_INLINE uint16_t l2_r16(const unsigned char *p)
{
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}
BASE_INLINE void l2_w64(unsigned char *p, uint64_t v) { memcpy(p, &v, 8); }
BASE_INLINE void l2_w32(unsigned char *p, uint32_t v) { memcpy(p, &v, 4); }
BASE_INLINE void l2_w16(unsigned char *p, uint16_t v) { memcpy(p, &v, 2); }

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

/* Return the bytes of a record with padding. */
CELLAR_PRIVATE uint32_t l2_rec_room(const l2_form *f, size_t ext_bytes, size_t klen, size_t vlen);
/* Return the start of a record of `room` bytes, padding included, after a record that ends at
 * `pos`. A record of half a page or more straddles no more pages than necessary. */
BASE_INLINE uint32_t l2_rec_start(uint32_t pos, uint32_t room)
{
    const uint32_t straddled = (pos % L2_PAGE + room + L2_PAGE - 1) / L2_PAGE;
    const bool page = room >= L2_PAGE / 2 && straddled > (room + L2_PAGE - 1) / L2_PAGE;
    return page ? (uint32_t)base_round_up(pos, L2_PAGE) : pos;
}
/* Write the head of a record. The check stays 0 until the body is complete. */
CELLAR_PRIVATE void l2_rec_begin(const l2_form *f, unsigned char *at, uint64_t segseq,
                                 uint32_t off, const l2_rec *r);
CELLAR_PRIVATE void l2_rec_end(const l2_form *f, unsigned char *at, uint64_t segseq, uint32_t off);
/* Return true if a record begins at `at`. Its lengths are reliable then, its body is not checked.
 * `end`: upper limit of the data area. */
CELLAR_PRIVATE bool l2_rec_marked(const l2_form *f, const unsigned char *at, uint64_t segseq,
                                  uint32_t off, uint32_t end, l2_rec *out);
/* Check a whole record, after l2_rec_marked. */
CELLAR_PRIVATE bool l2_rec_whole(const l2_form *f, const unsigned char *at, uint64_t segseq,
                                 uint32_t off, const l2_rec *r);

/* Begin the check of a record in parts: base_sum_add of its bytes from L2_RECORD_CHECK on. */
CELLAR_PRIVATE void l2_rec_sum(const l2_form *f, uint64_t segseq, uint32_t off, base_sum_parts *s);
CELLAR_PRIVATE bool l2_rec_summed(const l2_form *f, const unsigned char *at,
                                  const base_sum_parts *s);

/* Return the bytes of the link that precede the other extensions. */
BASE_INLINE uint32_t l2_link_bytes(const l2_rec *r)
{
    return (r->flags & L2_FLAG_LINKED) != 0 ? L2_LINK_BYTES : 0;
}
/* Write the link of a record at `lsn` to the one at `to`; 0: no target. */
CELLAR_PRIVATE void l2_link_write(const l2_form *f, unsigned char ext[L2_LINK_BYTES], uint64_t lsn,
                                  uint64_t to);
/* Return the target lsn of the link of a record at `lsn`; 0: none. */
CELLAR_PRIVATE uint64_t l2_link_read(const l2_form *f, const unsigned char *ext, uint64_t lsn);
/* Write the extensions of `m`. end_wall_ms: deadline of an entry with an idle time, else 0.
 * raw_bytes: size of a compressed value before compression, else 0. */
CELLAR_PRIVATE size_t l2_ext_write(unsigned char out[L2_EXT_MAX], const l2_meta *m,
                                   int64_t end_wall_ms, uint32_t raw_bytes);
/* Read extensions. Return false if an unknown extension is mandatory. */
CELLAR_PRIVATE bool l2_ext_read(const unsigned char *ext, size_t bytes, l2_meta *m);

#endif
