/* SPDX-License-Identifier: MIT
 *
 * record: write and read the bytes of records and their extensions.
 *
 * FORMAT     Little-endian, padding zero. `check` is base_sum with the store's secret. Its seed has
 *            the number of the run, segment and offset. So a record of an earlier use of the place,
 *            a moved record, or bytes planted inside a value never verify.
 *   record   0 u32 check, of byte 4 to the end of the value  4 u16 mark  6 u16 klen
 *            8 u32 vlen, 30 bits; bit 30: the value is compressed (LZ4), 31: then encrypted
 *            (codec.c)  12 u8 kind 0 put 1 tombstone 2 control; bit 4: acknowledged as durable
 *            13 u8 ext (8 B units)  14 u48 expiry_wall_ms (0 none)  20 u32 generation
 *            24 ext, key, value; padded to the granule
 *            mark: 16-bit keyed hash of place, head, extensions and key. A reader believes these by
 *            it where the value is lost, or was not read.
 *   control  value: u8 type 1 NAMESPACE {1 u8 length of the name, 2 u8 it has one, 3 u8 bits 32 to
 *            39 of the generation, 4 u32 id, 8 u32 generation, 12 u32 version, 16 name},
 *            2 FLOOR {8 u64 lsn}, 3 TAG {1 u8 soft, 8 u64 fingerprint  16 u64 epoch  24 u64 floor
 *            of tags}, 4 GLOB {2 u16 length  4 u32 generation  16 pattern}, 5 RUN {8 u64 number},
 *            6 END {8 u64 hash of the key}.
 * INVARIANTS A reader uses no byte of a value before its check, no other one before check or mark.
 * SEE ALSO   Extensions: at their section below. */
#include "l2/record.h"

#include <stddef.h>

#define L2_EXT_TAGS 128u
#define L2_EXT_RAW 129u
#define L2_EXT_PARTS 131u
#define L2_EXT_PARTS_BYTES 20u

/* ---- records ---- */

CELLAR_PRIVATE uint32_t l2_rec_room(const l2_form *f, size_t ext_bytes, size_t klen, size_t vlen)
{
    return (uint32_t)base_round_up(L2_RECORD_HEAD + ext_bytes + klen + vlen, f->granule);
}

static uint64_t l2_rec_seed(const l2_form *f, uint64_t segseq, uint32_t off)
{
    return base_mix64(l2_seed(f, segseq, 0) + (uint64_t)off * UINT64_C(0xd6e8feb86659fd93));
}

CELLAR_PRIVATE void l2_rec_begin(unsigned char *at, const l2_rec *r)
{
    l2_w16(at + 6, r->klen);
    BASE_ASSERT(r->vlen <= L2_VLEN_MASK);
    l2_w32(at + 8, r->vlen | (uint32_t)r->form << 30);
    at[12] = (unsigned char)(r->kind | r->flags);
    at[13] = r->ext;
    const uint64_t expiry = (uint64_t)r->expiry_wall_ms;
    BASE_ASSERT(expiry >> 48 == 0);
    memcpy(at + 14, &expiry, 6);
    l2_w32(at + 20, r->generation);
}

/* Return the mark: fold the bytes up to `named`, 24 or above; the last 16 overlap those before.
 * base_sum of so few bytes takes 200 instructions more. */
static uint16_t l2_rec_mark(const l2_form *f, uint64_t seed, const unsigned char *at,
                            uint32_t named)
{
    uint64_t h = seed;
    for (uint32_t i = L2_RECORD_MARK; i + 16 < named; i += 16) {
        h = base_hash_fold(l2_r64(at + i) ^ f->sum.k[0], l2_r64(at + i + 8) ^ h);
    }
    return (uint16_t)base_hash_fold(l2_r64(at + named - 16) ^ f->sum.k[1],
                                    l2_r64(at + named - 8) ^ h);
}

static uint32_t l2_rec_check(const l2_form *f, uint64_t seed, const unsigned char *at,
                             uint32_t bytes)
{
    return (uint32_t)base_sum(&f->sum, seed, at + L2_RECORD_CHECK, bytes - L2_RECORD_CHECK);
}

CELLAR_PRIVATE void l2_rec_end(const l2_form *f, unsigned char *at, uint64_t segseq, uint32_t off)
{
    const uint32_t named = L2_RECORD_HEAD + 8u * at[13] + l2_r16(at + 6);
    const uint64_t seed = l2_rec_seed(f, segseq, off);
    l2_w16(at + 4, l2_rec_mark(f, seed, at, named));
    l2_w32(at, l2_rec_check(f, seed, at, named + (l2_r32(at + 8) & L2_VLEN_MASK)));
}

CELLAR_PRIVATE bool l2_rec_parse(const unsigned char *at, uint32_t off, uint32_t end, l2_rec *out)
{
    if (off > end || end - off < L2_RECORD_HEAD) { return false; }
    memset(out, 0, sizeof *out);
    out->klen = l2_r16(at + 6);
    out->vlen = l2_r32(at + 8) & L2_VLEN_MASK;
    out->form = (uint8_t)(l2_r32(at + 8) >> 30);
    out->flags = at[12] & L2_FLAG_DURABLE;
    out->kind = (uint8_t)(at[12] ^ out->flags);
    out->ext = at[13];
    uint64_t expiry = 0;
    memcpy(&expiry, at + 14, 6);
    out->expiry_wall_ms = (int64_t)expiry;
    out->generation = l2_r32(at + 20);
    const uint64_t bytes = (uint64_t)L2_RECORD_HEAD + 8u * out->ext + out->klen + out->vlen;
    if (bytes > end - off || out->kind > L2_KIND_CONTROL) { return false; }
    if (out->kind != L2_KIND_PUT && out->form != 0) { return false; }
    out->bytes = (uint32_t)bytes;
    return out->kind == L2_KIND_CONTROL ? out->vlen > 0 : out->klen > 0;
}

CELLAR_PRIVATE bool l2_rec_marked(const l2_form *f, const unsigned char *at, uint64_t segseq,
                                  uint32_t off, const l2_rec *r)
{
    return l2_r16(at + 4) == l2_rec_mark(f, l2_rec_seed(f, segseq, off), at, l2_rec_named(r));
}

CELLAR_PRIVATE bool l2_rec_whole(const l2_form *f, const unsigned char *at, uint64_t segseq,
                                 uint32_t off, const l2_rec *r)
{
    const uint64_t seed = l2_rec_seed(f, segseq, off);
    return l2_r16(at + 4) == l2_rec_mark(f, seed, at, l2_rec_named(r)) &&
           l2_r32(at) == l2_rec_check(f, seed, at, r->bytes);
}

/* ---- extensions ----
 * TLVs: u8 type, u8 length, bytes.
 *   1 u32 stale_ms  2 u32 idle_ms  3 u32 user_flags  4 u64 version
 *   6 u8 kind  7 u8 cost
 *   8 u64 end_wall_ms: deadline of an entry with an idle time (2^63 - 1 none); expiry_wall_ms is
 *   then the end of the idle time
 *   128 u64 born, u64 fingerprint of each tag  129 u32 raw length of a compressed value
 *   131 u64 id, u64 total, u32 part: a value of `total` bytes lies in records of `part` bytes
 *   (value.c)
 *   0 padding
 * An unknown type from 128 on makes the record a miss; below 128 it is skipped. */

static size_t l2_ext_put(unsigned char *at, uint8_t type, const void *v, uint8_t n)
{
    at[0] = type;
    at[1] = n;
    memcpy(at + 2, v, n);
    return 2u + n;
}

CELLAR_PRIVATE size_t l2_ext_write(unsigned char out[L2_EXT_MAX], const l2_meta *m,
                                   int64_t end_wall_ms, uint32_t raw_bytes)
{
    size_t n = 0;
    if (m->stale_ms != 0) { n += l2_ext_put(out + n, 1, &m->stale_ms, 4); }
    if (m->idle_ms != 0) { n += l2_ext_put(out + n, 2, &m->idle_ms, 4); }
    if (m->user_flags != 0) { n += l2_ext_put(out + n, 3, &m->user_flags, 4); }
    if (m->version != 0) { n += l2_ext_put(out + n, 4, &m->version, 8); }
    if (m->kind != 0) { n += l2_ext_put(out + n, 6, &m->kind, 1); }
    if (m->cost != 0) { n += l2_ext_put(out + n, 7, &m->cost, 1); }
    if (end_wall_ms != 0) { n += l2_ext_put(out + n, 8, &end_wall_ms, 8); }
    if (raw_bytes != 0) { n += l2_ext_put(out + n, L2_EXT_RAW, &raw_bytes, 4); }
    if (m->part_id != 0) {
        out[n] = L2_EXT_PARTS;
        out[n + 1] = L2_EXT_PARTS_BYTES;
        l2_w64(out + n + 2, m->part_id);
        l2_w64(out + n + 10, m->part_total);
        l2_w32(out + n + 18, m->part_bytes);
        n += 2 + L2_EXT_PARTS_BYTES;
    }
    if (m->tag_count != 0) {
        const size_t bytes = 8 * (size_t)m->tag_count; /* at most BASE_TAGS_MAX of them */
        out[n] = L2_EXT_TAGS;
        out[n + 1] = (unsigned char)(8 + bytes);
        l2_w64(out + n + 2, m->tag_born);
        memcpy(out + n + 10, m->tag_fps, bytes);
        n += 10 + bytes;
    }
    BASE_ASSERT(n <= L2_EXT_MAX - 8);
    memset(out + n, 0, 8); /* up to the end, which is a multiple of 8 */
    return (size_t)base_round_up(n, 8);
}

static void *l2_ext_field(l2_meta *m, uint8_t type, uint8_t *n)
{
    static const uint8_t size[9] = { 0, 4, 4, 4, 8, 0, 1, 1, 8 };
    void *const at[9] = { NULL, &m->stale_ms, &m->idle_ms, &m->user_flags, &m->version,
                          NULL, &m->kind, &m->cost, &m->end_wall_ms };
    *n = type < 9 ? size[type] : type == L2_EXT_RAW ? 4 : 0;
    return type < 9 ? at[type] : type == L2_EXT_RAW ? &m->raw_bytes : NULL;
}

/* Read the tags of a record. m->tag_fps points into the record. */
static bool l2_ext_tags(const unsigned char *at, uint32_t n, l2_meta *m)
{
    BASE_ASSERT(m != NULL);
    if (n < 16 || n % 8 != 0 || n / 8 - 1 > BASE_TAGS_MAX) { return false; }
    m->tag_count = n / 8 - 1;
    m->tag_born = l2_r64(at + 2);
    m->tag_fps = at + 10;
    return true;
}

/* Read what a record says of its parts. */
static bool l2_ext_parts(const unsigned char *at, uint32_t n, l2_meta *m)
{
    if (n != L2_EXT_PARTS_BYTES) { return false; }
    m->part_id = l2_r64(at + 2);
    m->part_total = l2_r64(at + 10);
    m->part_bytes = l2_r32(at + 18);
    return m->part_id != 0 && m->part_bytes != 0 && m->part_total <= SIZE_MAX;
}

CELLAR_PRIVATE bool l2_ext_read(const unsigned char *ext, size_t bytes, l2_meta *m)
{
    for (size_t at = 0; at < bytes && ext[at] != 0;) {
        const uint32_t n = bytes - at < 2 ? 0 : ext[at + 1];
        if (bytes - at < 2 || bytes - at - 2 < n) { return false; }
        uint8_t want;
        void *field = l2_ext_field(m, ext[at], &want);
        const bool right = ext[at] == L2_EXT_TAGS    ? l2_ext_tags(ext + at, n, m)
                           : ext[at] == L2_EXT_PARTS ? l2_ext_parts(ext + at, n, m)
                                                     : field != NULL || ext[at] < 128;
        if (!right) { return false; }
        if (field != NULL && want != n) { return false; }
        if (field != NULL) { memcpy(field, ext + at + 2, want); }
        at += 2u + n;
    }
    return true;
}
