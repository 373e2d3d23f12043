/* SPDX-License-Identifier: MIT
 *
 * index_snapshot: save index and filter to index.snap at a close; the next open needs no footers.
 *
 * PICTURE    close: SUPER is CLEAN -> words, filter, eras -> index.new -> synced -> index.snap
 *            open:  index.snap is unlinked durably before anything else
 *                   -> used instead of footers if it fits what recovery found; else rebuild
 * FORMAT     little-endian; parts begin at multiples of 4096, zeros between
 *            head   0 u32 magic  4 u32 version  8 u64 epoch  16 u64 number of the open
 *                   24 u64 clean_lsn  32 u64 length  40 u64 newest segseq  48 u64 floor
 *                   56 u32 buckets of a shard  60 u32 filter lines  64 u32 segments
 *                   68 u32 segment bytes  72 u32 granule  76 u32 era of new segments
 *                   80 u32 segments in it  84 u32 states of eras[3]  96 u64 last segseq of eras[3]
 *                   120 u64 sum of the rows  4088 u64 check
 *            rows   per segment, oldest first: u64 segseq, u32 place, u32 data_end, u32 era, u32 0;
 *                   after the last row u64 sum of each block
 *            blocks of 1 MiB, as in memory: buckets, with places as segments of words; then lines.
 *                   They are read into the tables directly, so no checks stand between them
 * INVARIANTS The file is used only if SUPER is CLEAN at its clean_lsn and no run has begun since.
 *            The directory must be no copy. Recovery must find each segment at its place with its
 *            length. There must be no other segment between or after them, and no newer floor. So a
 *            file that a process death, a power cut or a restore left behind is never used,
 *            unlinked or not. Segments before the first row were reclaimed and are still readable:
 *            they stay in the filter, without words, until their places are used. Filter and eras
 *            continue unchanged. Each word names an existing segment and a position in it. Tables
 *            are used only after all blocks verify; otherwise they are cleared and rebuilt.
 * LIMITS     The size of a store has room for the file (l2_places_in). An older store, or one with
 *            larger tables now, closes without it; so does an empty one, or one still rebuilding.
 *            After a resize, or if the open slot comes to another place, the next open reads
 *            footers.
 * SEE ALSO   index_rebuild.c: the index rebuild; owner_images.c: Bloom filters. README.md:
 *            periodic snapshots. */
#include "l2/index_snapshot.h"

#include <errno.h>

#include "l2/format.h"
#include "l2/index.h"
#include "l2/io.h"
#include "l2/progress.h"

BASE_SIZE_BEGIN

#define L2_SNAP_MAGIC 0x53324c43u /* "CL2S" */
#define L2_SNAP_VERSION 3u /* 1: other positions of words and lines; 2: words without flags */
#define L2_SNAP_BLOCK ((size_t)1 << 20)
#define L2_SNAP_ROW 24u
#define L2_SNAP_CHECK (L2_PAGE - 8)
#define L2_SNAP_SEED UINT64_C(0x696e646578)

typedef struct l2_snap_sizes { /* sizes of a file */
    uint64_t rows_bytes;       /* with the sums after them, rounded up */
    uint64_t ways_bytes, lines_bytes, at, length; /* at: start of the first block */
    uint32_t blocks, way_blocks;
} l2_snap_sizes;

typedef struct l2_snap_buf { /* page-aligned, because the file bypasses the page cache */
    unsigned char *raw, *at;
    size_t bytes;
} l2_snap_buf;

typedef struct l2_snap_row { uint64_t segseq; uint32_t place, data_end, era; } l2_snap_row;

/* ---- bytes ---- */

static l2_snap_sizes l2_snap_sizes_of(uint32_t buckets, uint32_t lines, uint32_t rows)
{
    l2_snap_sizes z = { .ways_bytes = (uint64_t)buckets * L2_WAYS * L2_SHARDS * 8,
                        .lines_bytes = (uint64_t)lines * sizeof(l2_filter_line) };
    z.way_blocks = (uint32_t)((z.ways_bytes + L2_SNAP_BLOCK - 1) / L2_SNAP_BLOCK);
    z.blocks = z.way_blocks + (uint32_t)((z.lines_bytes + L2_SNAP_BLOCK - 1) / L2_SNAP_BLOCK);
    z.rows_bytes = base_round_up((uint64_t)rows * L2_SNAP_ROW + (uint64_t)z.blocks * 8, L2_PAGE);
    z.at = L2_PAGE + z.rows_bytes;
    z.length = z.at + z.ways_bytes + base_round_up(z.lines_bytes, L2_PAGE);
    return z;
}

/* Return the position of block `i` in the file, its length and its memory. */
static uint64_t l2_snap_block(const l2 *d, const l2_snap_sizes *z, uint32_t i,
                              unsigned char **mem, size_t *bytes)
{
    const bool way = i < z->way_blocks;
    const uint64_t from = (uint64_t)(way ? i : i - z->way_blocks) * L2_SNAP_BLOCK;
    const uint64_t all = way ? z->ways_bytes : z->lines_bytes;
    *bytes = (size_t)BASE_MIN(all - from, L2_SNAP_BLOCK);
    *mem = (way ? (unsigned char *)(void *)d->index.way : (unsigned char *)(void *)d->lines) + from;
    return z->at + (way ? 0 : z->ways_bytes) + from;
}

static uint64_t l2_snap_sum(const l2_form *f, const unsigned char *head, uint64_t at,
                            const void *bytes, size_t n)
{
    const uint64_t life = l2_r64(head + 16), lsn = l2_r64(head + 24);
    const uint64_t seed = base_mix64(base_mix64(life ^ L2_SNAP_SEED) ^ lsn) ^ at;
    return base_sum(&f->sum, seed, bytes, n);
}

static bool l2_snap_buf_take(l2 *d, l2_snap_buf *b, uint64_t bytes)
{
    *b = (l2_snap_buf){ .bytes = (size_t)bytes + L2_PAGE };
    b->raw = base_alloc(d->cfg.account, BASE_MOD_L2, b->bytes, NULL);
    if (b->raw == NULL) { return false; }
    b->at = b->raw + (L2_PAGE - (uintptr_t)b->raw % L2_PAGE) % L2_PAGE;
    return true;
}

static void l2_snap_buf_drop(l2 *d, l2_snap_buf *b)
{
    base_free(d->cfg.account, BASE_MOD_L2, b->raw, b->bytes);
    b->raw = b->at = NULL;
}

CELLAR_PRIVATE bool l2_snap_head_fits(const l2_form *f, const l2_super *s, uint64_t life,
                                      uint64_t file_bytes, const unsigned char head[L2_PAGE])
{
    return l2_r32(head) == L2_SNAP_MAGIC && l2_r32(head + 4) == L2_SNAP_VERSION &&
           l2_r64(head + 8) == s->epoch && l2_r64(head + 16) == life &&
           l2_r64(head + 24) == s->clean_lsn &&
           l2_r64(head + 32) <= file_bytes && l2_r32(head + 68) == s->seg_bytes &&
           l2_r32(head + 72) == s->granule &&
           l2_r64(head + L2_SNAP_CHECK) == l2_snap_sum(f, head, 0, head, L2_SNAP_CHECK);
}

/* ---- writing ---- */

CELLAR_PRIVATE uint64_t l2_snap_room(uint64_t objects, uint64_t segs)
{
    /* 73/8 + 64/56 per object */
    return objects * 10 + objects / 3 + segs * 32 + ((uint64_t)64 << 10);
}

/* Return the floor of the next open. */
static uint64_t l2_snap_floor(const l2 *d)
{
    return BASE_MAX(base_load_acq(&d->floor_lsn), base_load_acq(&d->header_floor));
}

/* Fill the row that the next open finds for segment index `i`. Return false if it finds none. */
static SYNC_HOLDS(L2_LOG) bool l2_snap_row_of(const l2 *d, uint32_t i, l2_snap_row *row)
{
    const l2_seg *g = &d->seg[i];
    const uint64_t w = base_load_acq(&g->word), segseq = L2_SEG_SEQ(w);
    const bool staged = L2_SEG_STATE(w) == L2_SEG_STAGE;
    if (!staged && L2_SEG_STATE(w) != L2_SEG_DISK) { return false; }
    const l2_slot *s = &d->slot[staged ? L2_SEG_SLOT(w) : 0];
    if (staged && s->entries == 0 && segseq == d->newest_segseq) { return false; }
    *row = (l2_snap_row){ segseq, base_load_rlx(&g->place), staged ? s->pos : g->data_end, g->era };
    return l2_lsn(d, segseq + 1, 0) > l2_snap_floor(d);
}

/* Write the rows to `at`, oldest first. map[index]: place of a segment, or UINT32_MAX. *oldest:
 * start of the oldest. Return their number. With at and map NULL only count. */
static uint32_t l2_snap_rows(l2 *d, unsigned char *at, uint32_t *map, uint64_t *oldest)
{
    uint32_t count = 0;
    *oldest = UINT64_MAX;
    sync_take(L2_LOG, &d->log_lock);
    for (uint32_t i = 0; i < d->nseg; i++) {
        l2_snap_row r;
        const bool is = l2_snap_row_of(d, i, &r);
        if (map != NULL) { map[i] = !is ? UINT32_MAX : r.place; }
        if (!is) { continue; }
        *oldest = BASE_MIN(*oldest, l2_lsn(d, r.segseq, 0));
        if (at != NULL) {
            unsigned char *to = at + (size_t)count * L2_SNAP_ROW;
            memset(to, 0, L2_SNAP_ROW);
            l2_w64(to, r.segseq);
            l2_w32(to + 8, r.place);
            l2_w32(to + 12, r.data_end);
            l2_w32(to + 16, r.era);
        }
        count++;
    }
    sync_drop(L2_LOG, &d->log_lock);
    if (at != NULL) { l2_sort_rows(at, L2_SNAP_ROW, count); }
    return count;
}

/* Convert the segment of each word to its place, because an open numbers segments by place. Remove
 * words for segments that the open does not find. */
static void l2_snap_words(const l2 *d, const uint32_t *map, unsigned char *block, size_t bytes)
{
    const uint64_t offs = ((uint64_t)1 << d->seg_shift) - 1;
    for (size_t n = 0; n < bytes; n += 8) {
        const uint64_t w = l2_r64(block + n);
        if (w == 0) { continue; }
        const uint32_t place = map[l2_word_seg(d, w)];
        const uint64_t addr = ((uint64_t)place << d->seg_shift) + (L2_WORD_ADDR(w) & offs);
        const uint64_t rest = w & (((uint64_t)1 << 28) - 1);
        l2_w64(block + n, place != UINT32_MAX ? addr << 28 | rest : 0);
    }
}

static void l2_snap_head(l2 *d, unsigned char *head, const l2_snap_sizes *z, uint32_t rows,
                         uint64_t oldest)
{
    memset(head, 0, L2_PAGE);
    l2_w32(head, L2_SNAP_MAGIC);
    l2_w32(head + 4, L2_SNAP_VERSION);
    l2_w64(head + 8, d->super.epoch);
    l2_w64(head + 16, d->super.opens);
    l2_w64(head + 24, d->super.clean_lsn);
    l2_w64(head + 32, z->length);
    l2_w64(head + 48, rows > 0 ? BASE_MAX(l2_snap_floor(d), oldest) : l2_snap_floor(d));
    l2_w32(head + 56, d->index.buckets);
    l2_w32(head + 60, d->line_count);
    l2_w32(head + 64, rows);
    l2_w32(head + 68, d->form.seg_bytes);
    l2_w32(head + 72, d->form.granule);
    sync_take(L2_LOG, &d->log_lock);
    l2_w64(head + 40, d->newest_segseq);
    l2_w32(head + 76, d->era_now);
    l2_w32(head + 80, d->era_segs);
    for (uint32_t e = 0; e < L2_ERAS; e++) {
        l2_w32(head + 84 + e * 4, d->era[e].state);
        l2_w64(head + 96 + e * 8, d->era[e].end_segseq);
    }
    sync_drop(L2_LOG, &d->log_lock);
}

/* Write blocks, then rows and sums, then the head. */
static int l2_snap_fill(l2 *d, base_vfs_file *f, const l2_snap_sizes *z, uint32_t rows,
                        const uint32_t *map, unsigned char *table, unsigned char *block)
{
    unsigned char *head = d->page;
    uint64_t oldest;
    int e = 0;
    (void)l2_snap_rows(d, table, NULL, &oldest);
    l2_snap_head(d, head, z, rows, oldest);
    for (uint32_t i = 0; i < z->blocks && e == 0; i++) {
        unsigned char *mem;
        size_t n;
        const uint64_t at = l2_snap_block(d, z, i, &mem, &n);
        const size_t whole = (size_t)base_round_up(n, L2_PAGE);
        memcpy(block, mem, n);
        memset(block + n, 0, whole - n);
        if (i < z->way_blocks) { l2_snap_words(d, map, block, n); }
        l2_w64(table + (size_t)rows * L2_SNAP_ROW + (size_t)i * 8,
               l2_snap_sum(&d->form, head, at, block, n));
        e = l2_write(d, f, block, whole, at);
    }
    if (e == 0) { e = l2_write(d, f, table, (size_t)z->rows_bytes, L2_PAGE); }
    l2_w64(head + 120, l2_snap_sum(&d->form, head, L2_PAGE, table, (size_t)z->rows_bytes));
    l2_w64(head + L2_SNAP_CHECK, l2_snap_sum(&d->form, head, 0, head, L2_SNAP_CHECK));
    if (e == 0) { e = l2_write(d, f, head, L2_PAGE, 0); }
    BASE_POINT("l2.snap_written");
    return e == 0 ? l2_datasync(d, f) : e;
}

/* Return true if the size of the store has room. A fixed geometry has no size limit. */
static bool l2_snap_has_room(const l2 *d, uint64_t length)
{
    if (d->cfg.seg_count != 0) { return true; }
    const uint64_t rest = L2_REST_WORST + ((uint64_t)d->places + d->nstage) * d->form.seg_bytes +
                          base_load_rlx(&d->image_bytes);
    return rest + length <= d->super.l2_bytes + d->form.seg_bytes;
}

static int l2_snap_write(l2 *d, const l2_snap_sizes *z, uint32_t rows)
{
    base_account *a = d->cfg.account;
    const size_t map_bytes = d->nseg * sizeof(uint32_t);
    l2_snap_buf table = { 0 }, block = { 0 };
    base_vfs_file *f = NULL;
    uint64_t oldest;
    int e = ENOMEM;
    uint32_t *map = base_alloc(a, BASE_MOD_L2, map_bytes, NULL);
    if (map != NULL && l2_snap_buf_take(d, &table, z->rows_bytes) &&
        l2_snap_buf_take(d, &block, L2_SNAP_BLOCK)) {
        (void)l2_snap_rows(d, NULL, map, &oldest);
        e = d->vfs->open(d->vfs->ctx, d->dir, "index.new",
                         BASE_VFS_CREATE | BASE_VFS_WRITE | BASE_VFS_DIRECT, &f);
        if (e == 0) { e = l2_snap_fill(d, f, z, rows, map, table.at, block.at); }
        if (f != NULL) { d->vfs->close(d->vfs->ctx, f); }
        if (e == 0) { e = d->vfs->rename(d->vfs->ctx, d->dir, "index.new", "index.snap"); }
        BASE_POINT("l2.snap_named");
        if (e == 0) { e = d->vfs->sync_dir(d->vfs->ctx, d->dir); }
        if (e != 0 && f != NULL) { (void)d->vfs->unlink(d->vfs->ctx, d->dir, "index.new"); }
    }
    l2_snap_buf_drop(d, &block);
    l2_snap_buf_drop(d, &table);
    base_free(a, BASE_MOD_L2, map, map_bytes);
    return e;
}

CELLAR_PRIVATE void l2_snap_save(l2 *d)
{
    uint64_t oldest;
    if (d->super.state != L2_CLEAN || base_load_acq(&d->rebuilding) != 0 ||
        base_load_acq(&d->broken) != 0 || base_load_acq(&d->disk) != L2_DISK_OK ||
        base_load_rlx(&d->emptied) != 0) {
        return;
    }
    const uint32_t rows = l2_snap_rows(d, NULL, NULL, &oldest);
    const l2_snap_sizes z = l2_snap_sizes_of(d->index.buckets, d->line_count, rows);
    if (rows == 0 || !l2_snap_has_room(d, z.length)) { return; }
    const int e = l2_snap_write(d, &z, rows);
    if (e != 0) {
        base_log(d->cfg.log, BASE_LOG_WARNING, "l2", e,
                 "index.snap was not written: the next open reads the footers");
    }
}

/* ---- reading ---- */

CELLAR_PRIVATE void l2_snap_open(l2 *d, bool there, bool rest)
{
    if (there) {
        const int e = d->vfs->open(d->vfs->ctx, d->dir, "index.snap", BASE_VFS_DIRECT,
                                   &d->snap_file);
        if (e != 0) { d->snap_file = NULL; }
        /* If the unlink fails or is not durable: the run that the file names is over from now
         * on. */
        (void)d->vfs->unlink(d->vfs->ctx, d->dir, "index.snap");
    }
    if (rest) { (void)d->vfs->unlink(d->vfs->ctx, d->dir, "index.new"); }
}

CELLAR_PRIVATE void l2_snap_close(l2 *d)
{
    if (d->snap_file != NULL) { d->vfs->close(d->vfs->ctx, d->snap_file); }
    d->snap_file = NULL;
}

/* Return true if recovery found the segments of the rows, and otherwise only reclaimed older
 * ones. */
static bool l2_snap_rows_fit(const l2 *d, const unsigned char *head, const unsigned char *table,
                             uint64_t newest)
{
    const uint32_t rows = l2_r32(head + 64);
    bool ok = rows <= d->order_count && l2_r64(head + 40) == newest &&
              base_load_acq(&d->floor_lsn) <= l2_r64(head + 48) && l2_r32(head + 76) < L2_ERAS;
    for (uint32_t n = 0; n < rows && ok; n++) {
        const unsigned char *r = table + (size_t)n * L2_SNAP_ROW;
        const uint32_t place = d->order[rows - 1 - n];
        const l2_seg *g = &d->seg[place];
        ok = l2_r64(r) == L2_SEG_SEQ(base_load_acq(&g->word)) && l2_r32(r + 8) == place &&
             l2_r32(r + 12) == g->data_end && l2_r32(r + 16) < L2_ERAS;
    }
    return ok;
}

/* Return the number of words, or UINT64_MAX if one is impossible. */
static uint64_t l2_snap_count(const l2 *d, const unsigned char *block, size_t bytes)
{
    uint64_t count = 0;
    for (size_t n = 0; n < bytes; n += 8) {
        const uint64_t w = l2_r64(block + n);
        if (w == 0) { continue; }
        const uint32_t seg = l2_word_seg(d, w);
        const bool alone = (w & (L2_WORD_LINKED | L2_WORD_TWIN)) == 0;
        if (seg >= d->nseg || ((w & L2_WORD_TOMB) != 0 && alone)) { return UINT64_MAX; }
        const l2_seg *g = &d->seg[seg];
        const uint32_t off = l2_word_off(d, w);
        if (L2_SEG_STATE(base_load_rlx(&g->word)) != L2_SEG_DISK || off < L2_HEAD_BYTES ||
            off >= g->data_end) {
            return UINT64_MAX;
        }
        count++;
    }
    return count;
}

/* Read all blocks into the tables. After false their contents are undefined. */
static bool l2_snap_load(l2 *d, const l2_snap_sizes *z, const unsigned char *head,
                         const unsigned char *sums, uint64_t *words)
{
    bool ok = true;
    *words = 0;
    for (uint32_t i = 0; i < z->blocks && ok; i++) {
        unsigned char *mem;
        size_t n;
        const uint64_t at = l2_snap_block(d, z, i, &mem, &n);
        const size_t whole = n / L2_PAGE * L2_PAGE;
        l2_beat(d);
        ok = whole == 0 || l2_read(d, d->snap_file, mem, whole, at) == 0;
        if (ok && n > whole) { /* the tables end inside the last page */
            unsigned char *page = d->page + L2_PAGE;
            ok = l2_read(d, d->snap_file, page, L2_PAGE, at + whole) == 0;
            memcpy(mem + whole, page, n - whole);
        }
        ok = ok && l2_snap_sum(&d->form, head, at, mem, n) == l2_r64(sums + (size_t)i * 8);
        if (!ok || i >= z->way_blocks) { continue; }
        const uint64_t count = l2_snap_count(d, mem, n);
        ok = count != UINT64_MAX;
        *words += count;
    }
    return ok;
}

static void l2_snap_adopt(l2 *d, const unsigned char *head, const unsigned char *table,
                          uint64_t words)
{
    sync_take(L2_LOG, &d->log_lock);
    const uint32_t rows = l2_r32(head + 64);
    for (uint32_t n = 0; n < d->order_count; n++) { d->seg[d->order[n]].unread = false; }
    for (uint32_t n = 0; n < rows; n++) {
        d->seg[d->order[rows - 1 - n]].era = l2_r32(table + (size_t)n * L2_SNAP_ROW + 16);
    }
    d->era_now = l2_r32(head + 76);
    d->era_segs = l2_r32(head + 80);
    for (uint32_t e = 0; e < L2_ERAS; e++) {
        d->era[e].state = l2_r32(head + 84 + e * 4);
        d->era[e].end_segseq = l2_r64(head + 96 + e * 8);
    }
    sync_drop(L2_LOG, &d->log_lock);
    base_store_rlx(&d->index.words, words);
    L2_COUNT(d, snaps);
    d->opened = L2_OPENED_SAVED;
}

static bool l2_snap_use(l2 *d, uint64_t newest, unsigned char *head, l2_snap_buf *table)
{
    base_vfs_stat st;
    const uint64_t life = d->super.opens - 1; /* number of the last open */
    if (d->vfs->stat(d->vfs->ctx, d->snap_file, &st) != 0 || st.size_bytes < L2_PAGE ||
        l2_read(d, d->snap_file, head, L2_PAGE, 0) != 0 ||
        !l2_snap_head_fits(&d->form, &d->super, life, st.size_bytes, head) ||
        l2_r32(head + 56) != d->index.buckets || l2_r32(head + 60) != d->line_count ||
        l2_r32(head + 64) > d->nseg) {
        return false;
    }
    const uint32_t rows = l2_r32(head + 64);
    const l2_snap_sizes z = l2_snap_sizes_of(d->index.buckets, d->line_count, rows);
    uint64_t words = 0;
    if (z.length != l2_r64(head + 32) || !l2_snap_buf_take(d, table, z.rows_bytes) ||
        l2_read(d, d->snap_file, table->at, (size_t)z.rows_bytes, L2_PAGE) != 0 ||
        l2_snap_sum(&d->form, head, L2_PAGE, table->at, (size_t)z.rows_bytes) !=
            l2_r64(head + 120) ||
        !l2_snap_rows_fit(d, head, table->at, newest)) {
        return false;
    }
    if (!l2_snap_load(d, &z, head, table->at + (size_t)rows * L2_SNAP_ROW, &words)) {
        memset((void *)d->index.way, 0, (size_t)z.ways_bytes);
        memset((void *)d->lines, 0, (size_t)z.lines_bytes);
        return false;
    }
    l2_snap_adopt(d, head, table->at, words);
    return true;
}

CELLAR_PRIVATE bool l2_snap_take(l2 *d, uint64_t newest)
{
    if (d->snap_file == NULL || d->order_count == 0) { return false; }
    l2_snap_buf table = { 0 }, head = { 0 };
    const bool used = l2_snap_buf_take(d, &head, L2_PAGE) &&
                      l2_snap_use(d, newest, head.at, &table);
    if (!used) {
        base_log(d->cfg.log, BASE_LOG_INFO, "l2", 0,
                 "index.snap does not fit the log: this open reads the footers");
    }
    l2_snap_buf_drop(d, &table);
    l2_snap_buf_drop(d, &head);
    return used;
}

BASE_SIZE_END
