/* SPDX-License-Identifier: MIT
 *
 * warm: after an open without index.snap the footers fill index and filter, newest first.
 *
 * PICTURE    footer lines of a segment -> sorted by shard into areas of one buffer
 *                -> an area that is full, or the last: into its shard, in the order it came
 *            A shard's words and its part of the filter fit into a processor's cache; the tables as
 *            a whole do not.
 * ORDER      within a shard newest first, which is all that a class can see of it: only where the
 *            class has no word yet, and nothing of its pair was turned away (index.c). A get in
 *            warm-up is right, or a miss.
 * INVARIANTS a segment is `unread` until all lines there are have come to the tables. One that is
 *            reclaimed before that loses the words it already has, its puts are named in the
 *            filter, and what of it is still in the buffer is left out. The filter is complete
 *            when `warming` ends; until then every change leaves a tombstone, and a tomb word.
 * LIMITS     the buffer takes an eighth of the store's memory, at most 64 MiB, while it lasts; with
 *            less memory areas are smaller, with none lines go one by one.
 * TRIED      10 M puts, CPU time of warm-up, old and new in turn on a busy machine: line by line,
 *            the memory of words and filter lines asked for 12 lines ahead, 1,810 ms (perf: half of
 *            it stalls of address translation at prefetches) -> 1,070-1,110: by shard, a lock and
 *            a count for 32 lines, the filter's line beside its shard's others with one access
 *            to a word of it, a multiplication in the place of a division for the other bucket.
 *            1 M puts line by line: 155-190 ms without prefetches, 105 with. Footers of a segment
 *            by one read (256 KiB at most) in the place of one for each page: 2,460 reads -> 90.
 *            1 M puts of 100 B killed, six pairs in turn on a busy machine, wall time of warm-up,
 *            least first, 123 151 163 176 178 188 ms; the next segment's footers asked for ahead:
 *            113 124 129 141 153 171, CPU time 110 in both. The filter's bits by plain stores,
 *            which would need the log's lock: CPU 121 -> 115 at best. Huge pages: 121 -> 120.
 * NOT HERE   what the footers belong to (recover.c), an index that was saved (snap.c). */
#include "l2/l2_int.h"

#define L2_SORT_MOST ((uint64_t)64 << 20)
#define L2_SORT_LEAST 8u /* lines of an area */
#define L2_SORT_STEP 16384u /* lines at once, in the end: some 1 ms */

/* ---- lines, by shard ---- */

CELLAR_PRIVATE bool l2_warm_begin(l2 *d)
{
    base_account *a = d->cfg.account;
    l2_sort *s = &d->sort;
    if (!l2_index_warm_begin(d)) { return false; }
    uint64_t most = 0;
    uint32_t longest = 0; /* footer of all, in pages */
    for (uint32_t i = 0; i < d->order_count; i++) {
        const uint32_t pages = d->seg[d->order[i]].footer_pages;
        most += (uint64_t)pages * L2_FOOT_ENTRIES;
        longest = BASE_MAX(longest, pages);
    }
    /* Without it page by page. */
    d->feet.room = BASE_MIN((size_t)BASE_MAX(longest, 1u) * L2_PAGE, L2_FEET_BYTES);
    d->feet.buf = base_alloc(a, BASE_MOD_L2, d->feet.room, NULL);
    const uint64_t bytes = BASE_MIN(d->cfg.memory_bytes / 8, L2_SORT_MOST);
    most = BASE_MIN(most / L2_SHARDS * 9 / 8, bytes / L2_SHARDS / sizeof(l2_sort_line));
    most = BASE_MAX(most, L2_SORT_LEAST);
    for (s->room = (uint32_t)most; s->room >= L2_SORT_LEAST && s->line == NULL; s->room /= 2) {
        s->line = base_alloc(a, BASE_MOD_L2, (size_t)s->room * L2_SHARDS * sizeof *s->line, NULL);
        if (s->line != NULL) { return true; }
    }
    s->room = 0;
    return true;
}

CELLAR_PRIVATE void l2_warm_free(l2 *d)
{
    base_account *a = d->cfg.account;
    l2_sort *s = &d->sort;
    base_free(a, BASE_MOD_L2, d->feet.buf, d->feet.room);
    base_free(a, BASE_MOD_L2, s->line, (size_t)s->room * L2_SHARDS * sizeof *s->line);
    d->feet = (l2_feet){ 0 };
    *s = (l2_sort){ 0 };
}

/* Into the tables, but for what was reclaimed meanwhile. */
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

/* All is read: some of what is left; false: nothing was. */
static bool l2_sort_rest(l2 *d)
{
    l2_sort *s = &d->sort;
    uint32_t lines = 0;
    while (s->room > 0 && s->shard < L2_SHARDS && lines < L2_SORT_STEP) {
        const uint32_t shard = s->shard++;
        lines += s->count[shard];
        if (s->count[shard] > 0) { l2_sort_empty(d, shard); }
    }
    return lines > 0;
}

static void l2_sort_add(l2 *d, uint64_t h48, uint64_t word)
{
    l2_sort *s = &d->sort;
    l2_sort_line one = { (uint32_t)word, (uint32_t)(word >> 32), (uint32_t)(h48 >> 16) };
    const uint32_t shard = one.place >> 26;
    if (s->room == 0) {
        l2_sort_take(d, shard, &one, 1);
        return;
    }
    s->line[(size_t)shard * s->room + s->count[shard]++] = one;
    if (s->count[shard] == s->room) { l2_sort_empty(d, shard); }
}

/* ---- footers ---- */

typedef struct l2_warm {
    uint32_t seg;
    uint64_t segseq;
} l2_warm;

static void l2_warm_line(l2 *d, void *ctx, const l2_entry *e)
{
    const l2_warm *w = ctx;
    if (e->kind == L2_KIND_CONTROL) { return; }
    if (l2_lsn(d, w->segseq, e->off) < base_load_acq(&d->floor_lsn)) { return; }
    const uint64_t word = l2_word_make(d, w->seg, e->off, e->h48, e->bytes) |
                          L2_WORD_FLAGS(e->flags);
    l2_sort_add(d, e->h48, e->kind == L2_KIND_PUT ? word : word | L2_WORD_TOMB);
}

static bool l2_word_over(const l2 *d, uint64_t word, uint64_t floor)
{
    /* Alone in its class a tombstone hides nothing. */
    const bool alone = (word & (L2_WORD_LINKED | L2_WORD_TWIN)) == 0;
    return ((word & L2_WORD_TOMB) != 0 && alone) || l2_word_lsn(d, word) < floor;
}

/* What lies below `lsn` cannot be known: it is dead, and said to be. */
static void l2_warm_hole(l2 *d, uint64_t lsn)
{
    const l2_rec r = { .kind = L2_KIND_CONTROL, .vlen = 16 };
    l2_spot at;
    L2_COUNT(d, holes);
    sync_take(L2_LOG, &d->log_lock);
    base_store_rel(&d->floor_lsn, BASE_MAX(base_load_rlx(&d->floor_lsn), lsn));
    sync_drop(L2_LOG, &d->log_lock);
    l2_took took;
    do { /* whatever it takes: when warm-up is over changes rely on it */
        l2_beat(d); /* the read may have been slow; the disk does answer */
        took = l2_reserve(d, L2_ROOM_KEEP, 0, &r, NULL, &at);
        if (took == L2_IS_CLEAN) { (void)l2_dirty_now(d); }
    } while (took != L2_TOOK && took != L2_IS_EMPTY);
    if (took != L2_TOOK) { return; }
    memset(at.at + L2_RECORD_HEAD, 0, 16);
    at.at[L2_RECORD_HEAD] = L2_CTL_FLOOR;
    l2_w64(at.at + L2_RECORD_HEAD + 8, lsn);
    l2_spot_done(d, &at);
}

static void l2_warm_filter(l2 *d, void *ctx, const l2_entry *e)
{
    const l2_warm *w = ctx;
    if (e->kind == L2_KIND_PUT) { l2_filter_add(d, e->h48, d->seg[w->seg].era); }
}

/* The filter names what is reclaimed and readable until a header with a floor above it is made: the
 * next open may find it, and then a change that was denied has left nothing to end it. */
CELLAR_PRIVATE void l2_warm_skip(l2 *d, uint32_t seg)
{
    l2_seg *g = &d->seg[seg];
    l2_warm w = { seg, L2_SEG_SEQ(base_load_acq(&g->word)) };
    bool ok = true;
    g->unread = false;
    sync_take(L2_LOG, &d->log_lock);
    const bool open = d->open_slot != NULL;
    sync_drop(L2_LOG, &d->log_lock);
    if (!open) { return; } /* the next header comes behind this; or all is given up */
    for (uint32_t p = g->footer_pages; p > 0 && ok; p--) {
        ok = l2_foot_load(d, g, w.segseq, p - 1) &&
             l2_foot_each(d, g->data_end, true, l2_warm_filter, &w);
    }
    if (!ok) { l2_warm_hole(d, l2_lsn(d, w.segseq + 1, 0)); }
}

static void l2_warm_done(l2 *d)
{
    for (uint32_t i = 0; i < d->order_count; i++) { d->seg[d->order[i]].unread = false; }
    l2_warm_free(d);
    BASE_POINT("l2.warm");
    base_store_rel(&d->warming, 0u); /* acquire in l2_kill */
    l2_gates_pass(d); /* no change leaves a tomb word any more: those that are there may go */
    l2_index_sweep(d, l2_word_over, base_load_acq(&d->floor_lsn));
    l2_index_warm_end(d);
}

/* The pages below index `pages` lie one behind the other, the last one first: as many as fit into
 * the buffer with one call. What fails here is tried again, page by page. */
static void l2_warm_read(l2 *d, const l2_seg *g, uint32_t pages)
{
    l2_feet *f = &d->feet;
    const uint64_t at = ((uint64_t)base_load_rlx(&g->place) + 1) * d->form.seg_bytes -
                        (uint64_t)(pages + 1) * L2_PAGE;
    const bool first = pages == g->footer_pages;
    if (f->buf == NULL || (!first && (f->bytes == 0 || at < f->at + f->bytes))) { return; }
    const size_t n = BASE_MIN((size_t)pages * L2_PAGE, f->room);
    l2_beat(d);
    f->at = at;
    f->bytes = l2_read_only(d, d->data_file, f->buf, n, at) == 0 ? n : 0;
}

/* While the lines of one segment go to their shards, the next one's are on their way. */
static void l2_warm_ahead(l2 *d)
{
    if (d->order_at == d->order_count || d->vfs->ahead == NULL) { return; }
    const l2_seg *g = &d->seg[d->order[d->order_at]];
    const uint64_t bytes = (uint64_t)g->footer_pages * L2_PAGE;
    const uint64_t end = ((uint64_t)base_load_rlx(&g->place) + 1) * d->form.seg_bytes - L2_PAGE;
    l2_beat(d);
    if (g->unread && bytes > 0) { d->vfs->ahead(d->vfs->ctx, d->data_file, end - bytes, bytes); }
}

CELLAR_PRIVATE bool l2_warm_step(l2 *d)
{
    if (base_load_rlx(&d->warming) == 0) { return false; }
    if (d->order_at == d->order_count) {
        if (l2_sort_rest(d)) { return true; }
        l2_warm_done(d);
        return false;
    }
    l2_warm w = { .seg = (uint32_t)d->order[d->order_at++] };
    l2_seg *g = &d->seg[w.seg];
    w.segseq = L2_SEG_SEQ(base_load_acq(&g->word));
    if (!g->unread) { return true; } /* reclaimed meanwhile */
    bool ok = true;
    for (uint32_t p = g->footer_pages; p > 0 && ok; p--) {
        l2_warm_read(d, g, p);
        if (p == g->footer_pages) { l2_warm_ahead(d); } /* behind what is needed first */
        ok = l2_foot_load(d, g, w.segseq, p - 1);
        if (ok) { ok = l2_foot_each(d, g->data_end, true, l2_warm_line, &w); }
    }
    d->feet.bytes = 0; /* the place may get another segment */
    if (!ok) {
        l2_warm_hole(d, l2_lsn(d, w.segseq + 1, 0));
        d->order_at = d->order_count;
    }
    return true;
}
