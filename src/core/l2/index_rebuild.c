/* SPDX-License-Identifier: MIT
 *
 * index_rebuild: the index rebuild: fill index and filter from the footers after an open without
 * index.snap.
 *
 * PICTURE    footers, newest segment first -> lines, sorted by shard into areas of one buffer
 *                -> a full area, or all of them now and then and at the end: into its shard, in
 *                   the order of arrival
 *            A shard's words and its part of the filter fit into a CPU cache; whole tables do not.
 * INVARIANTS Lines of a shard arrive newest first. A line is added only if its hash48 has no word
 *            and was not put aside (index.c). So a get during the rebuild is right or misses. A
 *            segment is `unread` until the tables have all its lines. If it is reclaimed before,
 *            its words are removed and its puts are added to the filter. Its lines in the buffer
 *            are skipped.
 *            The filter is complete when `rebuilding` ends. Until then each change logs a tombstone
 *            and leaves a tomb word.
 * PARTS      Lines without a way take rows (index.c). If all lines may need more rows, the footers
 *            are read once to look for a durable put. If there is one, they are read once for each
 *            part of the shards, and all rows are for that part.
 * ENDED      Lines do not say that their record ended, and such records may hold all ways. So if a
 *            put of a part has none, the heads of the durable records are read.
 * LOCKING    Worker only; shard locks as in index.c.
 * LIMITS     The buffer takes 1/8 of the store's memory, at most 64 MiB, during the rebuild. With
 *            less memory areas are smaller; without memory lines are added one by one.
 * SEE ALSO   recovery.c: which segments count; index_snapshot.c: the saved index; README.md:
 *            measurements. */
#include "l2/index_rebuild.h"

#include "l2/codec.h"
#include "l2/format.h"
#include "l2/health.h"
#include "l2/index.h"
#include "l2/io.h"
#include "l2/link.h"
#include "l2/log.h"
#include "l2/progress.h"
#include "l2/read.h"
#include "l2/superblock.h"
#include "l2/tombstone_filter.h"

#define L2_SORT_MOST ((uint64_t)64 << 20)
#define L2_SORT_LEAST 8u /* lines per area */
#define L2_SORT_STEP 16384u /* lines per step: about 1 ms */
#define L2_SPARE_STEP 64u /* records read per step */
#define L2_SPARE_NS UINT64_C(10000000000) /* for all of them: nothing is reclaimed meanwhile */
#define L2_SORT_NS UINT64_C(200000000) /* between two passes through the areas */

BASE_SIZE_BEGIN

/* ---- lines, by shard ---- */

/* Take the lines of all shards in one reading. */
static void l2_rebuild_whole(l2 *d)
{
    d->sort.parts = 1;
    l2_index_rebuild_part(d, 0, 1);
}

CELLAR_PRIVATE bool l2_rebuild_begin(l2 *d)
{
    base_account *a = d->cfg.account;
    l2_sort *s = &d->sort;
    s->due_ns = base_now_ns() + L2_SORT_NS;
    uint32_t longest = 0; /* longest footer, in pages */
    for (uint32_t i = 0; i < d->order_count; i++) {
        longest = BASE_MAX(longest, d->seg[d->order[i]].footer_pages);
    }
    if (!l2_index_rebuild_begin(d, s->lines)) { return false; }
    if (l2_index_rebuild_parts(d, s->lines) == 1) { l2_rebuild_whole(d); }
    /* Without this buffer pages are read one by one. */
    d->footers.room = BASE_MIN((size_t)BASE_MAX(longest, 1u) * L2_PAGE, L2_FOOTERS_BYTES);
    d->footers.buf = base_alloc(a, BASE_MOD_L2, d->footers.room, NULL);
    const uint64_t bytes = BASE_MIN(d->cfg.memory_bytes / 8, L2_SORT_MOST);
    uint64_t most = BASE_MIN(s->lines / L2_SHARDS * 9 / 8,
                             bytes / L2_SHARDS / sizeof(l2_sort_line));
    most = BASE_MAX(most, L2_SORT_LEAST);
    for (s->room = (uint32_t)most; s->room >= L2_SORT_LEAST && s->line == NULL; s->room /= 2) {
        s->line = base_alloc(a, BASE_MOD_L2, (size_t)s->room * L2_SHARDS * sizeof *s->line, NULL);
        if (s->line != NULL) { return true; }
    }
    s->room = 0;
    return true;
}

CELLAR_PRIVATE void l2_rebuild_free(l2 *d)
{
    base_account *a = d->cfg.account;
    l2_sort *s = &d->sort;
    base_free(a, BASE_MOD_L2, d->footers.buf, d->footers.room);
    base_free(a, BASE_MOD_L2, s->line, (size_t)s->room * L2_SHARDS * sizeof *s->line);
    base_free(a, BASE_MOD_L2, s->kept, s->kept_room * sizeof *s->kept);
    d->footers = (l2_footers){ 0 };
    *s = (l2_sort){ 0 };
}

BASE_SIZE_END

/* Add lines to the tables, except those of segments reclaimed meanwhile. */
static void l2_sort_take(l2 *d, uint32_t shard, l2_sort_line *line, uint32_t n)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        const uint64_t word = (uint64_t)line[i].word_hi << 32 | line[i].word_lo;
        const l2_seg *g = &d->seg[l2_word_seg(d, word)];
        if (!g->unread) { continue; }
        if ((word & L2_WORD_TOMB) == 0) {
            l2_filter_add(d, (uint64_t)line[i].place << 16 | L2_WORD_TAG(word), g->era);
        }
        line[kept++] = line[i];
    }
    l2_beat(d);
    BASE_POINT("l2.warm_shard");
    l2_index_replay(d, shard, line, kept);
}

static void l2_sort_empty(l2 *d, uint32_t shard)
{
    l2_sort *s = &d->sort;
    l2_sort_take(d, shard, s->line + (size_t)shard * s->room, s->count[shard]);
    s->count[shard] = 0;
}

/* Empty some areas after all lines were read, or when gets have found no new lines for a while.
 * Return false if no area is due. */
static bool l2_sort_due(l2 *d)
{
    l2_sort *s = &d->sort;
    uint32_t lines = 0;
    const uint64_t now_ns = base_now_ns();
    if (s->shown != d->order_at && (d->order_at == d->order_count || now_ns >= s->due_ns)) {
        s->shown = d->order_at;
        s->due_ns = now_ns + L2_SORT_NS;
        s->shard = 0;
    }
    while (s->room > 0 && s->shard < L2_SHARDS && lines < L2_SORT_STEP) {
        const uint32_t shard = s->shard++;
        lines += s->count[shard];
        if (s->count[shard] > 0) { l2_sort_empty(d, shard); }
    }
    return lines > 0;
}

static void l2_sort_add(l2 *d, l2_sort_line one)
{
    l2_sort *s = &d->sort;
    const uint32_t shard = one.place >> 26;
    s->durable |= (one.word_lo & (L2_WORD_DURABLE | L2_WORD_TOMB)) == L2_WORD_DURABLE;
    if (s->parts == 0 || shard / (L2_SHARDS / s->parts) != s->part) { return; }
    if (s->room == 0) {
        l2_sort_take(d, shard, &one, 1);
        return;
    }
    s->line[(size_t)shard * s->room + s->count[shard]++] = one;
    if (s->count[shard] == s->room) { l2_sort_empty(d, shard); }
}

/* ---- footers ---- */

typedef struct l2_rebuilt {
    uint32_t seg;
    uint64_t segseq;
    bool keep; /* copy the lines */
} l2_rebuilt;

static void l2_rebuild_line(l2 *d, void *ctx, const l2_entry *e)
{
    const l2_rebuilt *w = ctx;
    if (e->kind == L2_KIND_CONTROL) { return; }
    if (l2_lsn(d, w->segseq, e->off) < base_load_acq(&d->floor_lsn)) { return; }
    const uint64_t word = l2_word_make(d, w->seg, e->off, e->h48, e->bytes) |
                          L2_WORD_FLAGS(e->flags);
    const l2_sort_line one = { (uint32_t)word | (e->kind == L2_KIND_PUT ? 0 : L2_WORD_TOMB),
                               (uint32_t)(word >> 32), (uint32_t)(e->h48 >> 16) };
    if (w->keep) { d->sort.kept[d->sort.kept_count++] = one; }
    l2_sort_add(d, one);
}

BASE_SIZE_BEGIN

static bool l2_word_over(const l2 *d, uint64_t word, uint64_t floor)
{
    /* A tombstone that is alone in its bunch hides nothing. */
    const bool alone = (word & (L2_WORD_LINKED | L2_WORD_TWIN)) == 0;
    return ((word & L2_WORD_TOMB) != 0 && alone) || l2_word_lsn(d, word) < floor;
}

CELLAR_PRIVATE void l2_rebuild_slot(l2 *d, const l2_slot *s)
{
    l2_sort *t = &d->sort;
    t->first = d->order_at + 1;
    if (t->parts == 0) { /* later slots may have overwritten this one when a part needs it */
        t->kept_room = BASE_MAX(s->entries, 1u);
        t->kept = base_alloc(d->cfg.account, BASE_MOD_L2, t->kept_room * sizeof *t->kept, NULL);
        if (t->kept == NULL) { l2_rebuild_whole(d); }
    }
    l2_rebuilt w = { d->order[d->order_at++], s->head.segseq, t->kept != NULL };
    (void)l2_slot_lines(d, s, true, l2_rebuild_line, &w); /* l2_slot_keep has checked them */
}

/* ---- places of records that ended ---- */

/* Return true if the record of a word ended: by its namespace, TTL, tags, patterns, or floor. Its
 * head and key tell, but wrong bytes end nothing: a later read may be right. */
static bool l2_rebuild_ended(l2 *d, uint64_t word)
{
    const l2_seg *g = &d->seg[l2_word_seg(d, word)];
    const uint64_t state = base_load_acq(&g->word), lsn = l2_word_lsn(d, word);
    const uint32_t off = l2_word_off(d, word);
    const uint32_t n = BASE_MIN(BASE_MIN(l2_word_bytes(d, word), d->form.seg_bytes - off), L2_PAGE);
    unsigned char *whole = d->page;
    l2_rec r;
    l2_beat(d);
    if (!L2_SEG_USED(state) || !l2_record_head(d, g, state, off, d->page, n) ||
        l2_r32(d->page) == 0 ||
        !l2_rec_marked(&d->form, d->page, L2_SEG_SEQ(state), off, d->form.seg_bytes, &r) ||
        L2_RECORD_HEAD + (size_t)r.ext * 8 + r.klen > n || r.kind != L2_KIND_PUT ||
        l2_record_valid(d, d->page, &r, lsn, base_load_rlx(&g->future) != 0)) {
        return false;
    }
    if (r.bytes > n) { whole = l2_alloc(d, r.bytes); }
    const bool ended = whole != NULL &&
                       (r.bytes <= n || l2_record_head(d, g, state, off, whole, r.bytes)) &&
                       l2_rec_whole(&d->form, whole, L2_SEG_SEQ(state), off, &r);
    if (whole != d->page) { base_free(d->cfg.account, BASE_MOD_L2, whole, r.bytes); }
    return ended;
}

/* Read the durable records of each shard that put a put aside: ended ones lose their ways. Records
 * aside that live get them. Return false at the end. */
static bool l2_rebuild_spare(l2 *d)
{
    l2_sort *s = &d->sort;
    const uint64_t since_ns = base_now_ns();
    if (s->parts == 0 || s->spare_ns >= L2_SPARE_NS) { return false; }
    for (uint32_t i = 0; s->spare_shard < L2_SHARDS && i < L2_SPARE_STEP; i++) {
        uint64_t word;
        if (!l2_index_spare(d, s->spare_shard, &s->spare_at, &word)) {
            s->spare_shard++;
            s->spare_at = 0;
        } else if (word != 0) {
            l2_index_spare_way(d, s->spare_shard, s->spare_at - 1, word, l2_rebuild_ended(d, word));
        }
    }
    s->spare_ns += base_now_ns() - since_ns;
    return s->spare_shard < L2_SHARDS;
}

/* Begin with the next part after all segments were read. Return false if no part is left. */
static bool l2_rebuild_next(l2 *d)
{
    l2_sort *s = &d->sort;
    const bool counted = s->parts == 0;
    if (counted) { s->parts = s->durable ? l2_index_rebuild_parts(d, s->lines) : 1; }
    if (!counted && ++s->part == s->parts) { return false; }
    l2_index_rebuild_part(d, s->part, s->parts);
    d->order_at = s->first;
    s->shown = s->spare_shard = 0;
    for (uint32_t i = 0; i < s->kept_count; i++) { l2_sort_add(d, s->kept[i]); }
    return true;
}

/* Drop everything below `lsn`, which is unknown: `segments`. Log that floor. */
static void l2_rebuild_hole(l2 *d, uint64_t lsn, uint64_t segments)
{
    const l2_rec r = { .kind = L2_KIND_CONTROL, .vlen = 16 };
    l2_spot at;
    L2_COUNT(d, holes);
    l2_floor_to(d, lsn);
    l2_lost(d, L2_LOST_damage, segments * d->form.seg_bytes);
    l2_took took;
    do { /* Retry until it is logged: changes rely on it after the rebuild. */
        l2_beat(d); /* The read may have been slow, but the disk answers. */
        took = l2_reserve(d, L2_ROOM_KEEP, 0, &r, NULL, &at);
        if (took == L2_IS_CLEAN) { (void)l2_dirty_now(d); }
    } while (took != L2_TOOK && took != L2_IS_EMPTY && took != L2_NO_ROOM);
    if (took == L2_NO_ROOM) { l2_empty(d); } /* the worker cannot wait for itself */
    if (took != L2_TOOK) { return; }
    memset(at.at + L2_RECORD_HEAD, 0, 16);
    at.at[L2_RECORD_HEAD] = L2_CTL_FLOOR;
    l2_w64(at.at + L2_RECORD_HEAD + 8, lsn);
    l2_spot_done(d, &at);
}

static void l2_rebuild_filter(l2 *d, void *ctx, const l2_entry *e)
{
    const l2_rebuilt *w = ctx;
    if (e->kind == L2_KIND_PUT) { l2_filter_add(d, e->h48, d->seg[w->seg].era); }
}

/* Readable records stay in the filter until a header with a floor above them exists. Otherwise the
 * next open could serve a record after a change that the filter denied. */
CELLAR_PRIVATE void l2_rebuild_skip(l2 *d, uint32_t seg)
{
    l2_seg *g = &d->seg[seg];
    l2_rebuilt w = { .seg = seg, .segseq = L2_SEG_SEQ(base_load_acq(&g->word)) };
    g->unread = false;
    sync_take(L2_LOG, &d->log_lock);
    const bool open = d->open_slot != NULL;
    sync_drop(L2_LOG, &d->log_lock);
    if (!open) { return; } /* The next header comes later, or all records were dropped. */
    if (!l2_foot_walk(d, g, w.segseq, true, l2_rebuild_filter, &w)) {
        l2_rebuild_hole(d, l2_lsn(d, w.segseq + 1, 0), 1);
    }
}

static void l2_rebuild_done(l2 *d)
{
    for (uint32_t i = 0; i < d->order_count; i++) { d->seg[d->order[i]].unread = false; }
    l2_rebuild_free(d);
    BASE_POINT("l2.warm");
    base_store_rel(&d->rebuilding, 0u); /* acquire in l2_invalidate */
    sync_wake(&d->rebuilding, INT32_MAX);
    /* No change leaves a tomb word any more: the existing ones may be removed. */
    l2_tombstone_locks_pass(d);
    l2_index_sweep(d, l2_word_over, base_load_acq(&d->floor_lsn));
    l2_index_rebuild_end(d);
}

/* Read the footer pages below index `pages` with one call, as many as the buffer holds. They are
 * adjacent, the last one first. A failed read is repeated page by page. */
static void l2_rebuild_read(l2 *d, const l2_seg *g, uint32_t pages)
{
    l2_footers *f = &d->footers;
    const uint64_t at = ((uint64_t)base_load_rlx(&g->place) + 1) * d->form.seg_bytes -
                        (uint64_t)(pages + 1) * L2_PAGE;
    const bool first = pages == g->footer_pages;
    if (f->buf == NULL || (!first && (f->bytes == 0 || at < f->at + f->bytes))) { return; }
    const size_t n = BASE_MIN((size_t)pages * L2_PAGE, f->room);
    l2_beat(d);
    f->at = at;
    f->bytes = l2_read_only(d, d->data_file, f->buf, n, at) == 0 ? n : 0;
}

/* Prefetch the next segment's footer while the lines of this one are added. */
static void l2_rebuild_ahead(l2 *d)
{
    if (d->order_at == d->order_count) { return; }
    const l2_seg *g = &d->seg[d->order[d->order_at]];
    const uint64_t bytes = (uint64_t)g->footer_pages * L2_PAGE;
    const uint64_t end = ((uint64_t)base_load_rlx(&g->place) + 1) * d->form.seg_bytes - L2_PAGE;
    l2_beat(d);
    if (g->unread && bytes > 0) { l2_ahead(d, end - bytes, bytes); }
}

CELLAR_PRIVATE bool l2_rebuild_step(l2 *d)
{
    if (base_load_rlx(&d->rebuilding) == 0) { return false; }
    if (l2_sort_due(d)) { return true; }
    if (d->order_at == d->order_count) {
        if (l2_rebuild_spare(d) || l2_rebuild_next(d)) { return true; }
        l2_rebuild_done(d);
        return false;
    }
    l2_rebuilt w = { .seg = (uint32_t)d->order[d->order_at++] };
    l2_seg *g = &d->seg[w.seg];
    w.segseq = L2_SEG_SEQ(base_load_acq(&g->word));
    const bool dead = l2_lsn(d, w.segseq + 1, 0) <= base_load_acq(&d->floor_lsn);
    if (!g->unread || dead) { return true; } /* reclaimed meanwhile, or behind a hole */
    bool ok = true;
    for (uint32_t p = g->footer_pages; p > 0 && ok; p--) {
        l2_rebuild_read(d, g, p);
        if (p == g->footer_pages) { l2_rebuild_ahead(d); } /* after the read that is needed first */
        ok = l2_foot_load(d, g, w.segseq, p - 1);
        if (ok) { ok = l2_foot_each(d, g->data_end, true, l2_rebuild_line, &w); }
    }
    d->footers.bytes = 0; /* The place may get another segment. */
    if (!ok) {
        l2_rebuild_hole(d, l2_lsn(d, w.segseq + 1, 0), d->order_count - d->order_at + 1);
        d->order_at = d->order_count;
    }
    return true;
}

BASE_SIZE_END
