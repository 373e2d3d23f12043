/* SPDX-License-Identifier: MIT
 *
 * segment: bytes of SUPER, and of headers, rows and trailers of segments.
 *
 * FORMAT     Little-endian, padding zero. Checks are base_sum with the store's secret.
 *   segment  |header 128|records|..|page n of rows|..|page 0 of rows, trailer|
 *   header   0 u32 magic  8 u64 number  16 u64 run  24 u64 lsn that was synced then
 *            32 trailer of the segment before (zeros: none)  72 u64 check
 *   trailer  0 u32 magic  4 u32 rows  8 u64 number  16 u64 run  24 u32 end of the records
 *            28 u32 1: full, 0: open at a close  32 u64 check
 *   rows     0 u64 check, with the number and the run  8 u64 number  16 200 rows:
 *            0 u64 hash, lsn of a FLOOR, number of a RUN  8 u32 generation  12 u32 offset / 8
 *            16 u32 length / 8 << 4 | kind. Page 0 has the first 200 records.
 *   SUPER    2 copies of a page, written in turn; the valid one with the higher serial counts.
 *            0 "CELLARL2"  8 u16 major, minor  then the fields of l2_super_rows  4088 u64 check
 *            Then a page: 0 u64 number of the last durable state that is over  8 its complement
 * INVARIANTS A trailer verifies also where a dead end of the log left it; the header of the next
 *            segment, or the run that SUPER names, says which one counts (recover.c). */
#include "l2/segment.h"

#include <stddef.h>

#define L2_MAGIC_HEAD 0x48334c43u    /* "CL3H" */
#define L2_MAGIC_TRAILER 0x54334c43u /* "CL3T" */
#define L2_SALT_HEAD UINT64_C(0x68656164)
#define L2_SALT_TRAILER UINT64_C(0x747261696c)
#define L2_SALT_ROWS UINT64_C(0x726f7773)
#define L2_CHECK_AT (L2_PAGE - 8)
#define L2_OLD_MAJOR 3u
#define L2_MAJOR_AT 8u

static const unsigned char l2_no_secret[32] = { 'c', 'e', 'l', 'l', 'a', 'r' };

CELLAR_PRIVATE void l2_form_make(l2_form *f, const l2_super *s)
{
    unsigned char mixed[32]; /* Two stores with one secret have different checks. */
    for (size_t i = 0; i < 32; i++) { mixed[i] = s->secret[i] ^ s->uuid[i % 16]; }
    base_sum_key_init(&f->sum, mixed);
    f->epoch = s->run;
    f->seg_bytes = s->seg_bytes;
    f->granule = s->granule;
}

/* ---- SUPER ---- */

#define L2_AT(at, field) \
    { (at), offsetof(l2_super, field), sizeof ((const l2_super *)NULL)->field }
static const struct { uint16_t at, field, bytes; } l2_super_rows[] = {
    L2_AT(8, major), L2_AT(10, minor), L2_AT(16, uuid), L2_AT(32, boot_id), L2_AT(48, secret),
    L2_AT(80, serial), L2_AT(88, l2_bytes), L2_AT(96, opens), L2_AT(104, run), L2_AT(112, born),
    L2_AT(120, synced), L2_AT(128, inode), L2_AT(136, device), L2_AT(144, born_ns),
    L2_AT(152, anchor_wall_ms), L2_AT(160, anchor_boot_ms), L2_AT(168, last_seen_wall_ms),
    L2_AT(176, bytes_today), L2_AT(184, day), L2_AT(192, level), L2_AT(196, seg_bytes),
    L2_AT(200, nseg), L2_AT(204, granule), L2_AT(208, closed), L2_AT(212, hash_algo),
    L2_AT(216, clock_ms),
    L2_AT(224, split), L2_AT(232, was_nseg), L2_AT(236, change), L2_AT(240, clean_since),
    L2_AT(248, settled), L2_AT(256, room_max),
};
#undef L2_AT
#define L2_SUPER_ROWS (sizeof l2_super_rows / sizeof l2_super_rows[0])

static uint64_t l2_super_check(const unsigned char *page)
{
    base_sum_key key;
    base_sum_key_init(&key, l2_no_secret);
    return base_sum(&key, 0, page, L2_CHECK_AT);
}

CELLAR_PRIVATE void l2_super_write(unsigned char page[L2_PAGE], const l2_super *s)
{
    memset(page, 0, L2_PAGE);
    memcpy(page, "CELLARL2", 8);
    for (size_t i = 0; i < L2_SUPER_ROWS; i++) {
        memcpy(page + l2_super_rows[i].at, (const unsigned char *)s + l2_super_rows[i].field,
               l2_super_rows[i].bytes);
    }
    l2_w64(page + L2_CHECK_AT, l2_super_check(page));
}

/* Return true if `ms` is a possible time. The difference of two such times cannot overflow. */
static bool l2_time_sane(int64_t ms)
{
    return ms >= -((int64_t)1 << 60) && ms <= (int64_t)1 << 60;
}

/* Return true if a log may have this segment: its lsns are far below 2^64. */
static bool l2_seq_sane(uint64_t seq, uint32_t seg_bytes)
{
    return seq < ((uint64_t)1 << 60) / seg_bytes;
}

static bool l2_super_sane(const l2_super *s)
{
    return (s->seg_bytes & (s->seg_bytes - 1)) == 0 && s->seg_bytes >= 4 * L2_PAGE &&
           s->seg_bytes <= (1u << 30) && s->nseg >= L2_SEGS_MIN && s->nseg <= UINT32_MAX / 2 &&
           s->granule >= 8 && s->granule <= 64 && (s->granule & (s->granule - 1)) == 0 &&
           s->room_max >= L2_PAGE && s->room_max <= s->seg_bytes / 2 - L2_PAGE &&
           s->room_max % L2_PAGE == 0 &&
           s->change <= L2_CHANGE_DONE && s->split % s->seg_bytes == 0 &&
           (s->change != L2_CHANGE_RUNS || (s->split != 0 && s->was_nseg >= L2_SEGS_MIN)) &&
           l2_seq_sane(s->split / s->seg_bytes, s->seg_bytes) && s->was_nseg <= UINT32_MAX / 2 &&
           s->level <= L2_ALWAYS && l2_seq_sane(s->born, s->seg_bytes) &&
           l2_seq_sane(s->synced / s->seg_bytes, s->seg_bytes) && s->opens < UINT32_MAX &&
           s->hash_algo <= BASE_HASH_SIP13 && l2_time_sane(s->anchor_wall_ms) &&
           l2_time_sane(s->anchor_boot_ms) && l2_time_sane(s->last_seen_wall_ms) &&
           l2_time_sane(s->clock_ms);
}

CELLAR_PRIVATE cellar_err l2_super_read(const unsigned char page[L2_PAGE], l2_super *out)
{
    memset(out, 0, sizeof *out);
    if (memcmp(page, "CELLARL2", 8) != 0) { return CELLAR_E_FOREIGN; }
    if (l2_r64(page + L2_CHECK_AT) != l2_super_check(page)) { return CELLAR_E_CORRUPT; }
    if (l2_r16(page + L2_MAJOR_AT) <= L2_OLD_MAJOR) { return CELLAR_STALE; }
    if (l2_r16(page + L2_MAJOR_AT) != L2_MAJOR) { return CELLAR_E_NEWER_FORMAT; }
    for (size_t i = 0; i < L2_SUPER_ROWS; i++) {
        memcpy((unsigned char *)out + l2_super_rows[i].field, page + l2_super_rows[i].at,
               l2_super_rows[i].bytes);
    }
    return l2_super_sane(out) ? CELLAR_OK : CELLAR_E_CORRUPT;
}

/* ---- segments ---- */

/* Return the check of n bytes that belong to a segment, whatever the run. */
static uint64_t l2_check(const l2_form *f, uint64_t seq, uint64_t salt, const void *at, size_t n)
{
    return base_sum(&f->sum, base_mix64(seq ^ salt << 1), at, n);
}

CELLAR_PRIVATE void l2_trailer_write(const l2_form *f, unsigned char at[L2_TRAILER_BYTES],
                                     const l2_trailer *t)
{
    memset(at, 0, L2_TRAILER_BYTES);
    l2_w32(at, L2_MAGIC_TRAILER);
    l2_w32(at + 4, t->rows);
    l2_w64(at + 8, t->seq);
    l2_w64(at + 16, t->run);
    l2_w32(at + 24, t->data_end);
    l2_w32(at + 28, t->full);
    l2_w64(at + 32, l2_check(f, t->seq, L2_SALT_TRAILER, at, 32));
}

CELLAR_PRIVATE bool l2_trailer_read(const l2_form *f, const unsigned char at[L2_TRAILER_BYTES],
                                    l2_trailer *out)
{
    *out = (l2_trailer){ .seq = l2_r64(at + 8), .run = l2_r64(at + 16), .rows = l2_r32(at + 4),
                         .data_end = l2_r32(at + 24), .full = l2_r32(at + 28) };
    return l2_r32(at) == L2_MAGIC_TRAILER &&
           l2_r64(at + 32) == l2_check(f, out->seq, L2_SALT_TRAILER, at, 32) &&
           l2_seq_sane(out->seq, f->seg_bytes) && out->data_end >= L2_HEAD_BYTES &&
           out->rows <= f->seg_bytes / L2_ROW_BYTES &&
           (uint64_t)out->data_end + (uint64_t)l2_row_pages(out->rows) * L2_PAGE <= f->seg_bytes;
}

CELLAR_PRIVATE void l2_head_write(const l2_form *f, unsigned char at[L2_HEAD_BYTES],
                                  const l2_head *h)
{
    memset(at, 0, L2_HEAD_BYTES);
    l2_w32(at, L2_MAGIC_HEAD);
    l2_w64(at + 8, h->seq);
    l2_w64(at + 16, h->run);
    l2_w64(at + 24, h->synced);
    if (h->before.data_end != 0) { l2_trailer_write(f, at + 32, &h->before); }
    l2_w64(at + 72, l2_check(f, h->seq, L2_SALT_HEAD, at, 72));
}

CELLAR_PRIVATE bool l2_head_read(const l2_form *f, const unsigned char at[L2_HEAD_BYTES],
                                 l2_head *out)
{
    *out = (l2_head){ .seq = l2_r64(at + 8), .run = l2_r64(at + 16), .synced = l2_r64(at + 24) };
    if (l2_r32(at) != L2_MAGIC_HEAD || !l2_seq_sane(out->seq, f->seg_bytes) ||
        l2_r64(at + 72) != l2_check(f, out->seq, L2_SALT_HEAD, at, 72)) {
        return false;
    }
    if (!l2_trailer_read(f, at + 32, &out->before)) { out->before = (l2_trailer){ .rows = 0 }; }
    return true;
}

CELLAR_PRIVATE void l2_row_write(unsigned char at[L2_ROW_BYTES], const l2_row *r)
{
    l2_w64(at, r->hash);
    l2_w32(at + 8, r->generation);
    l2_w32(at + 12, r->off / 8);
    l2_w32(at + 16, r->bytes / 8 << 4 | r->kind);
}

CELLAR_PRIVATE void l2_row_read(const unsigned char at[L2_ROW_BYTES], l2_row *r)
{
    const uint32_t last = l2_r32(at + 16);
    *r = (l2_row){ .hash = l2_r64(at), .generation = l2_r32(at + 8), .off = l2_r32(at + 12) * 8,
                   .bytes = (last >> 4) * 8, .kind = last & 15u };
}

static uint64_t l2_rows_sum(const l2_form *f, const unsigned char *page, const l2_trailer *t,
                            uint32_t index)
{
    return l2_check(f, t->seq ^ base_mix64(t->run + index), L2_SALT_ROWS, page + 8,
                    L2_ROW_FIRST - 8 + L2_ROWS_PAGE * L2_ROW_BYTES);
}

CELLAR_PRIVATE void l2_rows_close(const l2_form *f, unsigned char page[L2_PAGE],
                                  const l2_trailer *t, uint32_t index)
{
    l2_w64(page + 8, t->seq);
    l2_w64(page, l2_rows_sum(f, page, t, index));
}

CELLAR_PRIVATE bool l2_rows_ok(const l2_form *f, const unsigned char page[L2_PAGE],
                               const l2_trailer *t, uint32_t index)
{
    return l2_r64(page + 8) == t->seq && l2_r64(page) == l2_rows_sum(f, page, t, index);
}
