/* SPDX-License-Identifier: MIT
 *
 * index_snapshot: save index and filter to index.snap at a close; the next open needs no footers.
 *
 * PICTURE    close: SUPER is CLEAN -> words, filter, eras -> index.new -> synced -> index.snap
 *            open:  index.snap is unlinked durably before anything else
 *                   -> used instead of footers if it fits what recovery found; else rebuild
 * FORMAT     one image (image.c) of the run and the lsn of the close, little-endian:
 *            l2_snap_head, a l2_snap_row per segment, oldest first; then, as in memory, the
 *            buckets, with places as segments of words, and the filter lines
 * INVARIANTS The file is used only if SUPER is CLEAN at its lsn and no run has begun since. The
 *            directory must be no copy. Recovery must find each segment at its place with its
 *            length. There must be no other segment between or after them, and no newer floor. So a
 *            file that a process death, a power cut or a restore left behind is never used,
 *            unlinked or not. Segments before the first row were reclaimed and are still readable:
 *            they stay in the filter, without words, until their places are used. Filter and eras
 *            continue unchanged. Each word names an existing segment and a position in it. Tables
 *            are used only after the whole image verifies; otherwise they are cleared and rebuilt.
 * LIMITS     The size of a store has room for the file (l2_places_in). An older store, or one with
 *            larger tables now, closes without it; so does an empty one, or one still rebuilding.
 *            After a resize, or if the open slot comes to another place, the next open reads
 *            footers.
 * SEE ALSO   index_rebuild.c: the index rebuild; owner_images.c: Bloom filters. README.md:
 *            periodic snapshots. */
#include "l2/index_snapshot.h"

#include <errno.h>

#include "l2/format.h"
#include "l2/image.h"
#include "l2/index.h"
#include "l2/io.h"
#include "l2/progress.h"

BASE_SIZE_BEGIN

#define L2_SNAP_VERSION 4u /* README.md: versions of the format */
#define L2_SNAP_WORDS (L2_SHARDS * L2_WAYS) /* their number is a multiple of this */

typedef struct l2_snap_head {
    uint64_t newest, floor; /* newest segseq */
    uint64_t era_end[L2_ERAS];
    uint32_t era_state[L2_ERAS], era_now, era_segs;
    uint32_t version, buckets, lines, rows, reserved;
} l2_snap_head;
_Static_assert(sizeof(l2_snap_head) == 80, "as in the file");

typedef struct l2_snap_row {
    uint64_t segseq;
    uint32_t place, data_end, era, reserved;
} l2_snap_row;
_Static_assert(sizeof(l2_snap_row) == 24, "as in the file");

static size_t l2_snap_ways(const l2 *d)
{
    return (size_t)d->index.buckets * L2_SNAP_WORDS * sizeof(uint64_t);
}

static size_t l2_snap_lines(const l2 *d) { return d->line_count * sizeof(l2_filter_line); }

static uint64_t l2_snap_bytes(const l2 *d, uint64_t rows)
{
    return sizeof(l2_snap_head) + rows * sizeof(l2_snap_row) + l2_snap_ways(d) + l2_snap_lines(d);
}

/* ---- writing ---- */

CELLAR_PRIVATE uint64_t l2_snap_room(uint64_t objects, uint64_t segs)
{
    /* 73/8 + 64/56 per object */
    return objects * 10 + objects / 3 + segs * 32 + ((uint64_t)64 << 10);
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
    *row = (l2_snap_row){ segseq, base_load_rlx(&g->place), staged ? s->pos : g->data_end, g->era,
                          0 };
    return l2_lsn(d, segseq + 1, 0) > l2_floor(d);
}

/* Fill the head and the rows, oldest first. map[index]: place of a segment, or UINT32_MAX. */
static void l2_snap_rows(l2 *d, l2_snap_head *h, l2_snap_row *row, uint32_t *map)
{
    uint64_t oldest = UINT64_MAX;
    *h = (l2_snap_head){ .version = L2_SNAP_VERSION, .buckets = d->index.buckets,
                         .lines = d->line_count };
    sync_take(L2_LOG, &d->log_lock);
    for (uint32_t i = 0; i < d->nseg; i++) {
        l2_snap_row *r = &row[h->rows];
        const bool is = l2_snap_row_of(d, i, r);
        map[i] = !is ? UINT32_MAX : r->place;
        if (!is) { continue; }
        oldest = BASE_MIN(oldest, l2_lsn(d, r->segseq, 0));
        h->rows++;
    }
    h->newest = d->newest_segseq;
    h->era_now = d->era_now;
    h->era_segs = d->era_segs;
    for (uint32_t e = 0; e < L2_ERAS; e++) {
        h->era_state[e] = d->era[e].state;
        h->era_end[e] = d->era[e].end_segseq;
    }
    sync_drop(L2_LOG, &d->log_lock);
    h->floor = h->rows > 0 ? BASE_MAX(l2_floor(d), oldest) : l2_floor(d);
    l2_sort_rows(row, sizeof *row, h->rows);
}

/* Write all words. Convert the segment of each word to its place, because an open numbers segments
 * by place. Leave out words for segments that the open does not find. */
static bool l2_snap_words(const l2 *d, const uint32_t *map, l2_images *to)
{
    const uint64_t offs = ((uint64_t)1 << d->seg_shift) - 1, low = ((uint64_t)1 << 28) - 1;
    uint64_t piece[L2_SNAP_WORDS];
    bool ok = true;
    for (uint32_t b = 0; b < d->index.buckets && ok; b++) {
        for (size_t n = 0; n < L2_SNAP_WORDS; n++) {
            const uint64_t w = base_load_rlx(&d->index.way[(size_t)b * L2_SNAP_WORDS + n]);
            const uint32_t place = w != 0 ? map[l2_word_seg(d, w)] : UINT32_MAX;
            const uint64_t addr = ((uint64_t)place << d->seg_shift) + (L2_WORD_ADDR(w) & offs);
            piece[n] = place != UINT32_MAX ? addr << 28 | (w & low) : 0;
        }
        ok = l2_image_give(to, piece, sizeof piece);
    }
    return ok;
}

/* Return true if the size of the store has room. A fixed geometry has no size limit. */
static bool l2_snap_has_room(const l2 *d, uint64_t length)
{
    if (d->cfg.seg_count != 0) { return true; }
    const uint64_t rest = L2_REST_WORST + ((uint64_t)d->places + d->nstage) * d->form.seg_bytes +
                          base_load_rlx(&d->image_bytes);
    return rest + length <= d->super.l2_bytes + d->form.seg_bytes;
}

static int l2_snap_write(l2 *d, l2_images *to, const l2_snap_head *h, const l2_snap_row *row,
                         const uint32_t *map)
{
    static const uint64_t none[2];
    int e = L2_DISK(d, open, d->dir, "index.new", BASE_VFS_CREATE | BASE_VFS_WRITE,
                    &to->file);
    if (e != 0) { return e; }
    const bool ok = l2_image_begin(to, "index", 5, 0, none) && l2_image_give(to, h, sizeof *h) &&
                    l2_image_give(to, row, h->rows * sizeof *row) && l2_snap_words(d, map, to) &&
                    l2_image_give(to, d->lines, l2_snap_lines(d));
    e = l2_image_end(to, ok) ? l2_image_publish(to, "index.new", "index.snap") : to->e;
    d->vfs->close(d->vfs->ctx, to->file);
    if (e != 0) { (void)L2_DISK(d, unlink, d->dir, "index.new"); }
    return e;
}

CELLAR_PRIVATE void l2_snap_save(l2 *d)
{
    if (d->super.state != L2_CLEAN || base_load_acq(&d->rebuilding) != 0 ||
        base_load_acq(&d->broken) != 0 || base_load_acq(&d->disk) != L2_DISK_OK ||
        base_load_rlx(&d->emptied) != 0) {
        return;
    }
    base_account *a = d->cfg.account;
    const size_t rows = d->nseg * sizeof(l2_snap_row), maps = d->nseg * sizeof(uint32_t);
    l2_snap_row *row = base_alloc(a, BASE_MOD_L2, rows, NULL);
    uint32_t *map = base_alloc(a, BASE_MOD_L2, maps, NULL);
    l2_images to = { .d = d, .buf = base_alloc(a, BASE_MOD_L2, L2_IMAGE_BUFFER, NULL),
                     .limit = UINT64_MAX, .life = d->super.opens, .lsn = d->super.clean_lsn };
    int e = ENOMEM;
    if (row != NULL && map != NULL && to.buf != NULL) {
        l2_snap_head h;
        l2_snap_rows(d, &h, row, map);
        const bool fits = l2_snap_has_room(d, L2_IMAGE_HEAD + l2_snap_bytes(d, h.rows));
        e = h.rows > 0 && fits ? l2_snap_write(d, &to, &h, row, map) : 0;
    }
    base_free(a, BASE_MOD_L2, to.buf, L2_IMAGE_BUFFER);
    base_free(a, BASE_MOD_L2, map, maps);
    base_free(a, BASE_MOD_L2, row, rows);
    if (e != 0) {
        base_log(d->cfg.log, BASE_LOG_WARNING, "l2", e,
                 "index.snap was not written: the next open reads the footers");
    }
}

/* ---- reading ---- */

CELLAR_PRIVATE void l2_snap_open(l2 *d, bool there, bool rest)
{
    if (there) {
        const int e = L2_DISK(d, open, d->dir, "index.snap", 0, &d->snap_file);
        if (e != 0) { d->snap_file = NULL; }
        /* If the unlink fails or is not durable: the run that the file names is over from now
         * on. */
        (void)L2_DISK(d, unlink, d->dir, "index.snap");
    }
    if (rest) { (void)L2_DISK(d, unlink, d->dir, "index.new"); }
}

CELLAR_PRIVATE void l2_snap_close(l2 *d)
{
    if (d->snap_file != NULL) { d->vfs->close(d->vfs->ctx, d->snap_file); }
    d->snap_file = NULL;
}

/* Return true if recovery found the segments of the rows, and otherwise only reclaimed older
 * ones. */
static bool l2_snap_rows_fit(const l2 *d, const l2_snap_head *h, const l2_snap_row *row,
                             uint64_t newest)
{
    bool ok = h->newest == newest && base_load_acq(&d->floor_lsn) <= h->floor &&
              h->era_now < L2_ERAS;
    for (uint32_t n = 0; n < h->rows && ok; n++) {
        const uint32_t place = d->order[h->rows - 1 - n];
        const l2_seg *g = &d->seg[place];
        ok = row[n].segseq == L2_SEG_SEQ(base_load_acq(&g->word)) && row[n].place == place &&
             row[n].data_end == g->data_end && row[n].era < L2_ERAS;
    }
    return ok;
}

/* Return the number of words, or UINT64_MAX if one is impossible. */
static uint64_t l2_snap_count(const l2 *d)
{
    uint64_t count = 0;
    const size_t ways = l2_snap_ways(d) / sizeof(uint64_t);
    for (size_t n = 0; n < ways; n++) {
        const uint64_t w = base_load_rlx(&d->index.way[n]);
        if (w == 0) { continue; }
        const uint32_t seg = l2_word_seg(d, w);
        const bool alone = (w & (L2_WORD_LINKED | L2_WORD_TWIN)) == 0;
        if (seg >= d->nseg || ((w & L2_WORD_TOMB) != 0 && alone)) { return UINT64_MAX; }
        const l2_seg *g = &d->seg[seg];
        const uint32_t off = l2_word_off(d, w);
        const uint32_t state = L2_SEG_STATE(base_load_rlx(&g->word));
        if ((state != L2_SEG_DISK && state != L2_SEG_STAGE) || off < L2_HEAD_BYTES ||
            off >= g->data_end) {
            return UINT64_MAX;
        }
        count++;
    }
    return count;
}

static void l2_snap_adopt(l2 *d, const l2_snap_head *h, const l2_snap_row *row, uint64_t words)
{
    sync_take(L2_LOG, &d->log_lock);
    for (uint32_t n = 0; n < d->order_count; n++) { d->seg[d->order[n]].unread = false; }
    for (uint32_t n = 0; n < h->rows; n++) { d->seg[d->order[h->rows - 1 - n]].era = row[n].era; }
    d->era_now = h->era_now;
    d->era_segs = h->era_segs;
    for (uint32_t e = 0; e < L2_ERAS; e++) {
        d->era[e].state = h->era_state[e];
        d->era[e].end_segseq = h->era_end[e];
    }
    sync_drop(L2_LOG, &d->log_lock);
    base_store_rlx(&d->index.words, words);
    L2_COUNT(d, snaps);
    d->opened = L2_OPENED_SAVED;
}

/* Begin to read the image. Return true if its size fits the tables and what recovery found. */
static bool l2_snap_begin(l2 *d, l2_image *im, l2_snap_head *h)
{
    base_vfs_stat st;
    const uint64_t life = d->super.opens - 1; /* number of the last open */
    im->buf = base_alloc(d->cfg.account, BASE_MOD_L2, L2_IMAGE_PIECE, NULL);
    return im->buf != NULL && L2_DISK(d, stat, im->file, &st) == 0 &&
           st.size_bytes >= L2_IMAGE_HEAD &&
           l2_read(d, im->file, im->buf, L2_IMAGE_HEAD, 0) == 0 &&
           l2_image_head_read(&d->form, im->buf, life, d->super.clean_lsn, 0, st.size_bytes,
                              &im->row) &&
           l2_image_take(im, h, sizeof *h) && h->version == L2_SNAP_VERSION &&
           h->buckets == d->index.buckets && h->lines == d->line_count &&
           h->rows > 0 && h->rows <= d->order_count &&
           im->row.bytes == l2_snap_bytes(d, h->rows);
}

/* Read the image into the tables. After false they are empty. */
static bool l2_snap_use(l2 *d, uint64_t newest, l2_image *im, const l2_snap_head *h,
                        l2_snap_row *row)
{
    if (row == NULL || !l2_image_take(im, row, h->rows * sizeof *row) ||
        !l2_snap_rows_fit(d, h, row, newest)) {
        return false;
    }
    l2_beat(d);
    uint64_t words = UINT64_MAX;
    if (l2_image_take(im, d->index.way, l2_snap_ways(d)) &&
        l2_image_take(im, d->lines, l2_snap_lines(d))) {
        words = l2_snap_count(d);
    }
    if (words == UINT64_MAX) {
        memset((void *)d->index.way, 0, l2_snap_ways(d));
        memset((void *)d->lines, 0, l2_snap_lines(d));
        return false;
    }
    l2_snap_adopt(d, h, row, words);
    return true;
}

CELLAR_PRIVATE bool l2_snap_take(l2 *d, uint64_t newest)
{
    if (d->snap_file == NULL || d->order_count == 0) { return false; }
    base_account *a = d->cfg.account;
    l2_image im = { .d = d, .file = d->snap_file };
    l2_snap_head h;
    bool used = l2_snap_begin(d, &im, &h);
    if (used) {
        const size_t rows = h.rows * sizeof(l2_snap_row);
        l2_snap_row *row = base_alloc(a, BASE_MOD_L2, rows, NULL);
        used = l2_snap_use(d, newest, &im, &h, row);
        base_free(a, BASE_MOD_L2, row, rows);
    }
    base_free(a, BASE_MOD_L2, im.buf, L2_IMAGE_PIECE);
    if (!used) {
        base_log(d->cfg.log, BASE_LOG_INFO, "l2", 0,
                 "index.snap does not fit the log: this open reads the footers");
    }
    return used;
}

BASE_SIZE_END
