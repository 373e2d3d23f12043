/* SPDX-License-Identifier: MIT
 *
 * record: write and read the bytes of records and their extensions; of both disk tiers. */
#ifndef L2_RECORD_H
#define L2_RECORD_H

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

/* Return the seed of the checks of a segment. */
BASE_INLINE uint64_t l2_seed(const l2_form *f, uint64_t segseq, uint64_t salt)
{
    return base_mix64(f->epoch * UINT64_C(0x9e3779b97f4a7c15) + segseq) ^ salt;
}

/* Decode the kind and the flags of a record or line. Return false if none has this byte. */
BASE_INLINE bool l2_kind_read(uint8_t byte, uint8_t *kind, uint8_t *flags)
{
    *kind = (uint8_t)(byte & ~L2_FLAGS);
    *flags = (uint8_t)(byte & L2_FLAGS);
    return *kind <= L2_KIND_CONTROL;
}

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
