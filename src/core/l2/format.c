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
 *   record   0 u32 check (byte 4 to the end of the value; 0: incomplete)  4 u16 mark  6 u16 klen
 *            8 u32 vlen, 30 bits; bit 30: the value is compressed (LZ4), 31: then encrypted
 *            (codec.c) 12 u8 kind 0 put 1 tombstone 2 control; flags: bit 4 acknowledged as
 *            durable, bit 5 the first 8 bytes of ext are a link  13 u8 ext (8 B units)
 *            14 u48 expiry_wall_ms (0 none)  20 u32 generation  24 ext, key, value; padded to the
 *            granule mark: 16-bit keyed hash of place and lengths. It makes the lengths reliable
 *            before the body is complete.
 *   control  value: u8 type 1 NAMESPACE {1 u8 length of the name, 2 u8 it has one, 3 u8 bits 32 to
 *            39 of the generation, 4 u32 id, 8 u32 generation, 12 u32 version, 16 name},
 *            2 FLOOR {8 u64 lsn}, 3 TAG {1 u8 soft, 8 u64 fingerprint  16 u64 epoch  24 u64 floor
 *            of tags}, 4 GLOB {2 u16 length  4 u32 generation  16 pattern}.
 *            The footer line of a TAG or GLOB has the type as its hash48.
 * INVARIANTS A reader uses no byte before the check that covers it.
 * SEE ALSO   SUPER and extensions: at their sections below. README.md: versions, repair of bits. */
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
#define L2_EXT_LINK 9u
#define L2_EXT_TAGS 128u
#define L2_EXT_RAW 129u
#define L2_EXT_PARTS 131u
#define L2_EXT_PARTS_BYTES 20u
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

static uint64_t l2_seed(const l2_form *f, uint64_t segseq, uint64_t salt)
{
    return base_mix64(f->epoch * UINT64_C(0x9e3779b97f4a7c15) + segseq) ^ salt;
}

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

static bool l2_kind_read(uint8_t byte, uint8_t *kind, uint8_t *flags)
{
    *kind = (uint8_t)(byte & ~L2_FLAGS);
    *flags = (uint8_t)(byte & L2_FLAGS);
    return *kind <= L2_KIND_CONTROL;
}

CELLAR_PRIVATE bool l2_entry_kind(const unsigned char at[L2_ENTRY_BYTES], l2_entry *e)
{
    return l2_kind_read(at[9], &e->kind, &e->flags);
}

/* ---- records ---- */

CELLAR_PRIVATE uint32_t l2_rec_room(const l2_form *f, size_t ext_bytes, size_t klen, size_t vlen)
{
    return (uint32_t)base_round_up(L2_RECORD_HEAD + ext_bytes + klen + vlen, f->granule);
}

static uint64_t l2_rec_seed(const l2_form *f, uint64_t segseq, uint32_t off)
{
    return base_mix64(l2_seed(f, segseq, 0) + (uint64_t)off * UINT64_C(0xd6e8feb86659fd93));
}

static uint16_t l2_rec_mark(const l2_form *f, const unsigned char *at, uint64_t segseq,
                            uint32_t off)
{
    const uint64_t lengths = (uint64_t)l2_r32(at + 8) << 32 | (uint64_t)l2_r16(at + 12) << 16 |
                             l2_r16(at + 6);
    const uint64_t h = base_mix64(lengths ^ f->sum.k[0]) + l2_rec_seed(f, segseq, off);
    return (uint16_t)(base_mix64(h ^ f->sum.k[1]) >> 48);
}

CELLAR_PRIVATE void l2_rec_begin(const l2_form *f, unsigned char *at, uint64_t segseq,
                                 uint32_t off, const l2_rec *r)
{
    /* The check is cleared before the mark: after a process death no new mark stands next to an old
     * check. Readers wait for it to change: l2_rec_whole, acquire. Relaxed: under the log lock. */
    base_store_rlx((_Atomic uint32_t *)(void *)at, 0u);
    base_fence_rel();
    l2_w16(at + 6, r->klen);
    BASE_ASSERT(r->vlen <= L2_VLEN_MASK);
    l2_w32(at + 8, r->vlen | (uint32_t)r->form << 30);
    at[12] = (unsigned char)(r->kind | r->flags);
    at[13] = r->ext;
    const uint64_t expiry = (uint64_t)r->expiry_wall_ms;
    BASE_ASSERT(expiry >> 48 == 0);
    memcpy(at + 14, &expiry, 6);
    l2_w32(at + 20, r->generation);
    l2_w16(at + 4, l2_rec_mark(f, at, segseq, off));
}

CELLAR_PRIVATE void l2_rec_sum(const l2_form *f, uint64_t segseq, uint32_t off, base_sum_parts *s)
{
    base_sum_begin(&f->sum, l2_rec_seed(f, segseq, off), s);
}

static uint32_t l2_rec_check(const l2_form *f, const base_sum_parts *s)
{
    const uint32_t c = (uint32_t)base_sum_end(&f->sum, s);
    return (c & (c - 1)) != 0 ? c : c | 3u; /* One flipped bit never makes it 0. */
}

static uint32_t l2_rec_check_of(const l2_form *f, const unsigned char *at, uint64_t segseq,
                                uint32_t off, uint32_t bytes)
{
    base_sum_parts s;
    l2_rec_sum(f, segseq, off, &s);
    base_sum_add(&f->sum, &s, at + L2_RECORD_CHECK, bytes - L2_RECORD_CHECK);
    return l2_rec_check(f, &s);
}

static uint32_t l2_rec_bytes(const unsigned char *at)
{
    return L2_RECORD_HEAD + 8u * at[13] + l2_r16(at + 6) + (l2_r32(at + 8) & L2_VLEN_MASK);
}

CELLAR_PRIVATE void l2_rec_end(const l2_form *f, unsigned char *at, uint64_t segseq, uint32_t off)
{
    const uint32_t check = l2_rec_check_of(f, at, segseq, off, l2_rec_bytes(at));
    base_store_rel((_Atomic uint32_t *)(void *)at, check); /* acquire in l2_rec_whole */
}

CELLAR_PRIVATE bool l2_rec_marked(const l2_form *f, const unsigned char *at, uint64_t segseq,
                                  uint32_t off, uint32_t end, l2_rec *out)
{
    if (off > end || end - off < L2_RECORD_HEAD) { return false; }
    if (l2_r16(at + 4) != l2_rec_mark(f, at, segseq, off)) { return false; }
    memset(out, 0, sizeof *out);
    out->klen = l2_r16(at + 6);
    out->vlen = l2_r32(at + 8) & L2_VLEN_MASK;
    out->form = (uint8_t)(l2_r32(at + 8) >> 30);
    const bool known = l2_kind_read(at[12], &out->kind, &out->flags);
    out->ext = at[13];
    uint64_t expiry = 0;
    memcpy(&expiry, at + 14, 6);
    out->expiry_wall_ms = (int64_t)expiry;
    out->generation = l2_r32(at + 20);
    const uint64_t bytes = (uint64_t)L2_RECORD_HEAD + 8u * out->ext + out->klen + out->vlen;
    if (bytes > end - off || !known || out->ext * 8u < l2_link_bytes(out)) { return false; }
    if (out->kind != L2_KIND_PUT && out->form != 0) { return false; }
    out->bytes = (uint32_t)bytes;
    return out->kind == L2_KIND_CONTROL ? out->vlen > 0 : out->klen > 0;
}

CELLAR_PRIVATE bool l2_rec_whole(const l2_form *f, const unsigned char *at, uint64_t segseq,
                                 uint32_t off, const l2_rec *r)
{
    const uint32_t check = base_load_acq((const _Atomic uint32_t *)(const void *)at);
    return check != 0 && check == l2_rec_check_of(f, at, segseq, off, r->bytes);
}

CELLAR_PRIVATE bool l2_rec_summed(const l2_form *f, const unsigned char *at,
                                  const base_sum_parts *s)
{
    const uint32_t check = l2_r32(at);
    return check != 0 && check == l2_rec_check(f, s);
}

/* ---- extensions ----
 * TLVs: u8 type, u8 length, bytes.
 *   1 u32 stale_ms  2 u32 idle_ms  3 u32 user_flags  4 u64 version
 *   6 u8 kind  7 u8 cost
 *   8 u64 end_wall_ms: deadline of an entry with an idle time (2^63 - 1 none); expiry_wall_ms is
 *   then the end of the idle time
 *   9 u48 granules back to the linked older record of the bunch (0 none); the first TLV if bit 5 of
 *   the kind is set; not authenticated by encryption
 *   128 u64 born, u64 fingerprint of each tag  129 u32 raw length of a compressed value
 *   131 u64 id, u64 total, u32 part: a value of `total` bytes lies in records of `part` bytes
 *   (value.c)
 *   0 padding
 * An unknown type from 128 on makes the record a miss; below 128 it is skipped. */

CELLAR_PRIVATE void l2_link_write(const l2_form *f, unsigned char ext[L2_LINK_BYTES], uint64_t lsn,
                                  uint64_t to)
{
    BASE_ASSERT(to < lsn);
    const uint64_t back = to != 0 ? (lsn - to) / f->granule : 0;
    const uint64_t link = back >> 48 == 0 ? back : 0; /* No live segment lies further back. */
    ext[0] = L2_EXT_LINK;
    ext[1] = 6;
    memcpy(ext + 2, &link, 6);
}

CELLAR_PRIVATE uint64_t l2_link_read(const l2_form *f, const unsigned char *ext, uint64_t lsn)
{
    uint64_t back = 0;
    memcpy(&back, ext + 2, 6);
    back *= f->granule;
    return back != 0 && back < lsn ? lsn - back : 0;
}

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
