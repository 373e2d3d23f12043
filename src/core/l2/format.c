/* SPDX-License-Identifier: MIT
 *
 * format: write and read the bytes on disk, without knowledge of files, locks or RAM tables.
 *
 * PICTURE    directory: LOCK, SUPER, META.0, META.1 (meta.c), stage.buf, data.seg, bloom.snap
 *            (owner_images.c), index.snap (index_snapshot.c)
 *            data.seg, stage.buf:  |segment|segment|..    one segment per place, or per slot
 *            segment:  |header 64|records|zeros|footer pages, number 0 last|trailer 4096|
 * FORMAT     Little-endian, padding zero. `check` is base_sum with the store's secret. Its seed has
 *            epoch, segment number and offset. So a record of an earlier use of the place, a moved
 *            record, or bytes planted inside a value never verify.
 *   header   0 u32 magic  4 u16 major, minor  8 u64 epoch  16 u64 segseq  24 u32 place
 *            28 u32 serial of META  32 i64 base_wall_ms  40 u64 prev_segseq  48 u64 floor_lsn
 *            56 u64 check
 *            In a slot the first 8 bytes are "CL2begun" while the rest is written, in both copies.
 *   trailer  0 u32 magic  8 u64 epoch  16 u64 segseq  24 u32 data_end  28 u32 entries
 *            32 u32 footer_pages  36 u32 tombstones  40 u32 controls  44 u32 max_generation
 *            48 u32 1: recovery has lost records of the segment
 *            128 copy of the header  4088 u64 check. An open slot has only the header at 128, so
 *            either copy identifies the slot.
 *   footer   0 u64 check  8 u32 first_off (granules)  12 u16 entries  14 u16 number
 *            16 u64 segseq  24 entries of 10 B, at most 407: u48 hash48, u24 granules to the next
 *            record, u8 kind and flags. Lines are written while the slot is open; the check is
 *            written at the seal.
 * INVARIANTS A reader uses no byte before the check that covers it.
 * SEE ALSO   SUPER: at its section below. record.c: records. README.md: versions, repairs. */
#include "l2/format.h"

#include <stddef.h>

#define L2_MAGIC_HEAD 0x48324c43u    /* "CL2H" */
#define L2_MAGIC_TRAILER 0x54324c43u /* "CL2T" */
#define L2_ENDIAN 0x0A0B0C0Du
#define L2_SALT_HEAD UINT64_C(0x68656164)
#define L2_SALT_TRAILER UINT64_C(0x747261696c)
#define L2_SALT_FOOT UINT64_C(0x666f6f74)
#define L2_CHECK_AT (L2_PAGE - 8)
#define L2_HEAD_COPY 128u
#define L2_HEAD_SAME 48u    /* bytes of a header that are like the start of l2_head */
#define L2_TRAILER_SAME 28u /* bytes of a trailer that are like the end of l2_trailer */
_Static_assert(offsetof(l2_head, floor_lsn) == L2_HEAD_SAME - 8, "in the order of the file");
_Static_assert(offsetof(l2_trailer, hole) - offsetof(l2_trailer, data_end) ==
               L2_TRAILER_SAME - 4, "in the order of the file");
#define L2_SUPER_BAD 256u    /* in SUPER: bad places */
#define L2_SORT_ROW_MOST 80u /* bytes of a row that is sorted */

static const unsigned char l2_no_secret[32] = { 'c', 'e', 'l', 'l', 'a', 'r' };

CELLAR_PRIVATE void l2_form_make(l2_form *f, const l2_super *s)
{
    unsigned char mixed[32]; /* Two stores with one secret have different checks. */
    for (size_t i = 0; i < 32; i++) { mixed[i] = s->secret[i] ^ s->uuid[i % 16]; }
    base_sum_key_init(&f->sum, mixed);
    f->epoch = s->epoch;
    f->seg_bytes = s->seg_bytes;
    f->granule = s->granule;
}

BASE_SIZE_BEGIN

CELLAR_PRIVATE void l2_sort_rows(void *rows, size_t row_bytes, uint32_t count)
{
    unsigned char x[L2_SORT_ROW_MOST], *const at = rows;
    BASE_ASSERT(row_bytes <= sizeof x);
    uint32_t gap = 1;
    while (gap < count / 3) { gap = gap * 3 + 1; }
    for (; gap > 0; gap /= 3) {
        for (uint32_t i = gap; i < count; i++) {
            uint32_t n = i;
            memcpy(x, at + i * row_bytes, row_bytes);
            for (; n >= gap && l2_r64(at + (n - gap) * row_bytes) > l2_r64(x); n -= gap) {
                memcpy(at + n * row_bytes, at + (n - gap) * row_bytes, row_bytes);
            }
            memcpy(at + n * row_bytes, x, row_bytes);
        }
    }
}

/* ---- SUPER ----
 * 2 copies of 4096 bytes, written in turn; the valid copy with the higher serial counts.
 *   0 u8[8] "CELLARL2"  8 u16 major, minor  12 u32 endian 0x0A0B0C0D  16 u64 compat
 *   24 u64 ro_compat  32 u64 incompat  40 u8[16] uuid  56 u8[16] boot_id  72 u8[32] secret
 *   104 u64 serial  112 u64 epoch  120 u64 end of reserved segseq  128 u64 clean_lsn
 *   136 u32 state 1 CLEAN 2 DIRTY  140 u32 level  144 u32 seg_bytes  148 u32 nseg
 *   152 u32 nstage  156 u32 granule  160 u32 1: CLEAN by a close  168 u64 l2_bytes
 *   176 i64 anchor_wall_ms  184 i64 anchor_boot_ms  192 i64 last_seen_wall_ms
 *   200 u64 inode of stage.buf  208 u64 serial of META  216 u64 floor_lsn  224 u32 bad_count
 *   228 u16 check_algo  230 u16 hash_algo  232 u64 bytes of puts today
 *   240 u64 day (wall, from 1970)  248 u64 number of opens  256 u32 bad places[768]
 *   3328 u64 device of stage.buf  3336 i64 its creation time, wall ns (both 0: unknown)
 *   3344 u64 number of the segment in which this run began (0: unknown)
 *   3352 u32 end of the mark of this run in it (0: the run made the segment)
 *   3360 u64 first number that this run may give to a segment
 *   3368 {u32 generation, u32 live bytes / 4096}[64], see move.c; unused rows are 0
 *   4088 u64 check (without a secret)
 * An unknown major, or an unknown bit of incompat or ro_compat, is refused. Unknown bits of compat
 * and newer minors are read. */

static uint64_t l2_super_check(const unsigned char *page)
{
    base_sum_key key;
    base_sum_key_init(&key, l2_no_secret);
    return base_sum(&key, 0, page, L2_CHECK_AT);
}

#define L2_AT(at, field) \
    { (at), offsetof(l2_super, field), sizeof ((const l2_super *)NULL)->field }
static const struct { uint16_t at, field, bytes; } l2_super_rows[] = {
    L2_AT(8, major), L2_AT(10, minor), L2_AT(16, compat), L2_AT(24, ro_compat),
    L2_AT(32, incompat), L2_AT(40, uuid), L2_AT(56, boot_id), L2_AT(72, secret),
    L2_AT(104, serial), L2_AT(112, epoch), L2_AT(120, segseq_end), L2_AT(128, clean_lsn),
    L2_AT(136, state), L2_AT(140, level), L2_AT(144, seg_bytes), L2_AT(148, nseg),
    L2_AT(152, nstage), L2_AT(156, granule), L2_AT(160, closed), L2_AT(168, l2_bytes),
    L2_AT(176, anchor_wall_ms), L2_AT(184, anchor_boot_ms), L2_AT(192, last_seen_wall_ms),
    L2_AT(200, stage.inode), L2_AT(208, meta), L2_AT(216, floor_lsn), L2_AT(224, bad_count),
    L2_AT(228, check_algo), L2_AT(230, hash_algo), L2_AT(232, bytes_today), L2_AT(240, day),
    L2_AT(248, opens), L2_AT(3328, stage.device), L2_AT(3336, stage.born_ns), L2_AT(3344, born),
    L2_AT(3352, born_end), L2_AT(3360, made), L2_AT(3368, live),
};
#undef L2_AT
#define L2_SUPER_ROWS (sizeof l2_super_rows / sizeof l2_super_rows[0])

CELLAR_PRIVATE void l2_super_write(unsigned char page[L2_PAGE], const l2_super *s)
{
    memset(page, 0, L2_PAGE);
    memcpy(page, "CELLARL2", 8);
    l2_w32(page + 12, L2_ENDIAN);
    for (size_t i = 0; i < L2_SUPER_ROWS; i++) {
        memcpy(page + l2_super_rows[i].at, (const unsigned char *)s + l2_super_rows[i].field,
               l2_super_rows[i].bytes);
    }
    memcpy(page + L2_SUPER_BAD, s->bad, s->bad_count * sizeof s->bad[0]);
    l2_w64(page + L2_CHECK_AT, l2_super_check(page));
}

/* Return true if `ms` is a possible time. The difference of two such times cannot overflow. */
static bool l2_time_sane(int64_t ms)
{
    return ms >= -((int64_t)1 << 60) && ms <= (int64_t)1 << 60;
}

static bool l2_super_sane(const l2_super *s)
{
    const bool pow2 = (s->seg_bytes & (s->seg_bytes - 1)) == 0;
    return pow2 && s->seg_bytes >= 4 * L2_PAGE && s->seg_bytes <= (1u << 30) &&
           s->nseg >= L2_SEGS_MIN && s->nstage >= 2 && s->nstage <= L2_SLOTS_MAX &&
           s->granule >= 8 && s->granule <= 64 && (s->granule & (s->granule - 1)) == 0 &&
           (uint64_t)s->nseg * (s->seg_bytes / s->granule) <= L2_ADDR_MAX &&
           s->bad_count <= L2_BAD_MAX && (s->state == L2_CLEAN || s->state == L2_DIRTY) &&
           s->level <= L2_ALWAYS && s->segseq_end < (uint64_t)1 << 47 &&
           s->born < s->segseq_end && s->born_end < s->seg_bytes && s->epoch != 0 &&
           s->opens < UINT32_MAX && l2_time_sane(s->anchor_wall_ms) &&
           l2_time_sane(s->anchor_boot_ms) &&
           l2_time_sane(s->last_seen_wall_ms);
}

CELLAR_PRIVATE cellar_err l2_super_read(const unsigned char page[L2_PAGE], l2_super *out)
{
    memset(out, 0, sizeof *out);
    if (memcmp(page, "CELLARL2", 8) != 0) { return CELLAR_E_FOREIGN; }
    if (l2_r64(page + L2_CHECK_AT) != l2_super_check(page)) { return CELLAR_E_CORRUPT; }
    for (size_t i = 0; i < L2_SUPER_ROWS; i++) {
        memcpy((unsigned char *)out + l2_super_rows[i].field, page + l2_super_rows[i].at,
               l2_super_rows[i].bytes);
    }
    if (out->major != L2_MAJOR || out->ro_compat != 0 || out->incompat != 0 ||
        out->check_algo != 1 || out->hash_algo > BASE_HASH_SIP13 ||
        l2_r32(page + 12) != L2_ENDIAN) {
        return CELLAR_E_NEWER_FORMAT;
    }
    if (!l2_super_sane(out)) { return CELLAR_E_CORRUPT; }
    memcpy(out->bad, page + L2_SUPER_BAD, out->bad_count * sizeof out->bad[0]);
    return CELLAR_OK;
}

BASE_SIZE_END

/* ---- segments ---- */

CELLAR_PRIVATE void l2_head_write(const l2_form *f, unsigned char at[L2_HEAD_BYTES],
                                  const l2_head *h)
{
    BASE_ASSERT(h->epoch == f->epoch);
    l2_w32(at, L2_MAGIC_HEAD);
    l2_w16(at + 4, L2_MAJOR);
    l2_w16(at + 6, L2_MINOR);
    memcpy(at + 8, h, L2_HEAD_SAME);
    l2_w64(at + 56, base_sum(&f->sum, l2_seed(f, h->segseq, L2_SALT_HEAD), at, 56));
}

CELLAR_PRIVATE bool l2_head_read(const l2_form *f, const unsigned char at[L2_HEAD_BYTES],
                                 l2_head *out)
{
    memset(out, 0, sizeof *out);
    memcpy(out, at + 8, L2_HEAD_SAME);
    if (l2_r32(at) != L2_MAGIC_HEAD || out->epoch != f->epoch) { return false; }
    if (l2_r64(at + 56) !=
        base_sum(&f->sum, l2_seed(f, out->segseq, L2_SALT_HEAD), at, 56)) {
        return false;
    }
    return out->segseq != 0 && out->segseq < (uint64_t)1 << 47 &&
           out->prev_segseq < out->segseq && out->floor_lsn <= out->segseq * f->seg_bytes;
}

CELLAR_PRIVATE void l2_trailer_write(const l2_form *f, unsigned char page[L2_PAGE],
                                     const l2_trailer *t)
{
    memset(page, 0, L2_PAGE);
    l2_w32(page, L2_MAGIC_TRAILER);
    l2_w64(page + 8, t->head.epoch);
    l2_w64(page + 16, t->head.segseq);
    memcpy(page + 24, (const unsigned char *)t + offsetof(l2_trailer, data_end), L2_TRAILER_SAME);
    l2_head_write(f, page + L2_HEAD_COPY, &t->head);
    l2_w64(page + L2_CHECK_AT, base_sum(&f->sum, l2_seed(f, t->head.segseq, L2_SALT_TRAILER),
                                        page, L2_CHECK_AT));
}

static bool l2_trailer_checks(const l2_form *f, const unsigned char *page)
{
    return l2_r64(page + L2_CHECK_AT) ==
           base_sum(&f->sum, l2_seed(f, l2_r64(page + 16), L2_SALT_TRAILER), page, L2_CHECK_AT);
}

CELLAR_PRIVATE bool l2_trailer_read(const l2_form *f, const unsigned char page[L2_PAGE],
                                    l2_trailer *out)
{
    memset(out, 0, sizeof *out);
    if (l2_r32(page) != L2_MAGIC_TRAILER || l2_r64(page + 8) != f->epoch ||
        !l2_trailer_checks(f, page) || !l2_head_read(f, page + L2_HEAD_COPY, &out->head) ||
        out->head.segseq != l2_r64(page + 16)) {
        return false;
    }
    memcpy((unsigned char *)out + offsetof(l2_trailer, data_end), page + 24, L2_TRAILER_SAME);
    const uint64_t pages = ((uint64_t)out->entries + L2_FOOT_ENTRIES - 1) / L2_FOOT_ENTRIES;
    return out->footer_pages == pages && out->data_end >= L2_HEAD_BYTES &&
           out->data_end % f->granule == 0 &&
           out->data_end + (pages + 1) * L2_PAGE <= f->seg_bytes;
}

static uint64_t l2_foot_sum(const l2_form *f, const unsigned char *page, uint64_t segseq,
                            uint32_t index)
{
    return base_sum(&f->sum, l2_seed(f, segseq, L2_SALT_FOOT + index), page + 8, L2_PAGE - 8);
}

CELLAR_PRIVATE void l2_foot_close(const l2_form *f, unsigned char page[L2_PAGE], uint64_t segseq)
{
    l2_w64(page, l2_foot_sum(f, page, segseq, l2_r16(page + 14)));
}

CELLAR_PRIVATE bool l2_foot_ok(const l2_form *f, const unsigned char page[L2_PAGE],
                               uint64_t segseq, uint32_t index)
{
    /* The checksum comes last, because l2_foot_heal calls this some thousand times. */
    return l2_r16(page + 14) == index && l2_r64(page + 16) == segseq &&
           l2_r16(page + 12) <= L2_FOOT_ENTRIES &&
           l2_r64(page) == l2_foot_sum(f, page, segseq, index);
}

BASE_SIZE_BEGIN

/* Return the pass in which l2_heal tries a byte. Most bytes of a page are zero: most often the
 * wrong bit is alone in its byte; least often it was the only bit of its byte. */
static uint32_t l2_heal_turn(unsigned char byte)
{
    if (byte == 0) { return 2; }
    return (byte & (byte - 1u)) == 0 ? 0 : 1;
}

CELLAR_PRIVATE bool l2_heal(unsigned char *p, size_t n,
                            bool (*right)(const unsigned char *p, void *arg), void *arg)
{
    for (uint32_t turn = 0; turn < 3; turn++) {
        for (size_t i = 0; i < n; i++) {
            const unsigned char was = p[i];
            for (uint32_t bit = 0; l2_heal_turn(was) == turn && bit < 8; bit++) {
                p[i] = (unsigned char)(was ^ 1u << bit);
                if (right(p, arg)) { return true; }
            }
            p[i] = was;
        }
    }
    return false;
}

typedef struct l2_healing { /* of a page */
    const l2_form *f;
    void *out;
    uint64_t segseq;
    uint32_t index;
} l2_healing;

static bool l2_foot_right(const unsigned char *page, void *arg)
{
    const l2_healing *h = arg;
    return l2_foot_ok(h->f, page, h->segseq, h->index);
}

static bool l2_trailer_right(const unsigned char *page, void *arg)
{
    const l2_healing *h = arg;
    return l2_trailer_read(h->f, page, h->out);
}

static bool l2_super_right(const unsigned char *page, void *arg)
{
    return l2_super_read(page, arg) == CELLAR_OK;
}

CELLAR_PRIVATE bool l2_foot_heal(const l2_form *f, unsigned char page[L2_PAGE], uint64_t segseq,
                                 uint32_t index)
{
    l2_healing h = { f, NULL, segseq, index };
    return l2_heal(page, L2_PAGE, l2_foot_right, &h);
}

CELLAR_PRIVATE bool l2_trailer_heal(const l2_form *f, unsigned char page[L2_PAGE],
                                    l2_trailer *out)
{
    l2_healing h = { .f = f, .out = out };
    return l2_heal(page, L2_PAGE, l2_trailer_right, &h);
}

CELLAR_PRIVATE bool l2_super_heal(unsigned char page[L2_PAGE], l2_super *out)
{
    return l2_heal(page, L2_PAGE, l2_super_right, out);
}

BASE_SIZE_END

CELLAR_PRIVATE void l2_entry_write(unsigned char at[L2_ENTRY_BYTES], uint64_t h48, uint8_t kind,
                                   uint8_t flags)
{
    memcpy(at, &h48, 6);
    memset(at + 6, 0, 3);
    at[9] = (unsigned char)(kind | flags);
}

CELLAR_PRIVATE bool l2_entry_kind(const unsigned char at[L2_ENTRY_BYTES], l2_entry *e)
{
    return l2_kind_read(at[9], &e->kind, &e->flags);
}
