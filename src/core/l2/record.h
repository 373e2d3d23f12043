/* SPDX-License-Identifier: MIT
 *
 * record: write and read the bytes of records and their extensions. */
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

/* Return the `addr` of a record: its lsn, with L2_ADDR_DURABLE if the record is durable. */
BASE_INLINE uint64_t l2_addr_of(uint64_t lsn, const l2_rec *r)
{
    return lsn | (r->flags != 0 ? L2_ADDR_DURABLE : 0);
}

/* Return the seed of the checks of a segment. */
BASE_INLINE uint64_t l2_seed(const l2_form *f, uint64_t segseq, uint64_t salt)
{
    return base_mix64(f->epoch * UINT64_C(0x9e3779b97f4a7c15) + segseq) ^ salt;
}

/* Return the bytes of a record with padding. */
CELLAR_PRIVATE uint32_t l2_rec_room(const l2_form *f, size_t ext_bytes, size_t klen, size_t vlen);
/* Write the head of a record but for its mark and check, which l2_rec_end writes when the body is
 * there. */
CELLAR_PRIVATE void l2_rec_begin(unsigned char *at, const l2_rec *r);
CELLAR_PRIVATE void l2_rec_end(const l2_form *f, unsigned char *at, uint64_t segseq, uint32_t off);
/* Read a head. Return false if its record ends behind `end`. Nothing else is checked. */
CELLAR_PRIVATE bool l2_rec_parse(const unsigned char *at, uint32_t off, uint32_t end, l2_rec *out);

/* Return the bytes of head, extensions and key. */
BASE_INLINE uint32_t l2_rec_named(const l2_rec *r) { return r->bytes - r->vlen; }

/* Check head, extensions and key after l2_rec_parse; the value may be lost. */
CELLAR_PRIVATE bool l2_rec_marked(const l2_form *f, const unsigned char *at, uint64_t segseq,
                                  uint32_t off, const l2_rec *r);
/* Check a whole record after l2_rec_parse. */
CELLAR_PRIVATE bool l2_rec_whole(const l2_form *f, const unsigned char *at, uint64_t segseq,
                                 uint32_t off, const l2_rec *r);

/* Write the extensions of `m`. end_wall_ms: deadline of an entry with an idle time, else 0.
 * raw_bytes: size of a compressed value before compression, else 0. */
CELLAR_PRIVATE size_t l2_ext_write(unsigned char out[L2_EXT_MAX], const l2_meta *m,
                                   int64_t end_wall_ms, uint32_t raw_bytes);
/* Read extensions. Return false if an unknown extension is mandatory. */
CELLAR_PRIVATE bool l2_ext_read(const unsigned char *ext, size_t bytes, l2_meta *m);

#endif
