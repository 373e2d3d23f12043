/* SPDX-License-Identifier: MIT
 *
 * recovery: load what the files prove after a restart, and drop everything else.
 *
 * PICTURE    headers and trailers of all places -> slots of stage.buf, walked record by record,
 *            sealed -> controls -> floor -> chain of headers, newest first: a gap is a hole
 *            -> a new slot is open -> (after the open) footers newest first: filter, words
 * PROTOCOL   Hole: a range of the log that cannot be read may have held tombstones, so everything
 *            below its end is dead. The floor of the next header makes that permanent.
 *            META: each header has the serial of META at its time. Without a copy of that serial,
 *            and with records reclaimed that the older copy lacks, controls are missing. Then
 *            everything is dead.
 *            Slot: identified by its header or by the copy in its last page. Its records are:
 *              check right        kept
 *              mark, check 0      incomplete: dropped. A tombstone or control with all its bytes
 *                                 is completed: what it hides must stay hidden
 *              mark, check wrong  damaged if the page cache survived (same boot) or the record was
 *                                 synced (below clean_lsn): its footer line says which class it
 *                                 hides, if the record confirms that; otherwise a hole.
 *                                 Else torn by a power cut, and not promised to a caller
 *              head damaged       repaired if one bit is wrong and the line's length fits. Else the
 *                                 line gives class and length until a whole record behind it
 *                                 confirms its own line (l2_walk.blind); otherwise a hole
 *            A walked slot is sealed to its own place, else to a free one, else to the place of the
 *            oldest segment found. A bad place is never used.
 *            A segment in a slot and at its place: the place counts if all of it verifies, or if
 *            only the process died and the trailer exists; else the slot.
 *            Copy: each part is bound to its position in the log, so missing parts are found.
 * INVARIANTS Nothing on disk changes before SUPER permits it: a store that was CLEAN at level DROP
 *            says DIRTY first, and only SUPER ends an epoch. A slot is overwritten only after its
 *            records are synced at their place. Each step may be interrupted and repeated.
 * LIMITS     Both headers of a slot damaged, or one header in two slots: the store begins empty.
 * SEE ALSO   README.md: copied directories, why a mark can be old. open.c, index_rebuild.c,
 *            index_snapshot.c. */
#include "l2/l2_int.h"

#include <errno.h>

#define L2_FUTURE_MS 120000
#define L2_LINES_MAX (L2_FOOT_ENTRIES)
#define L2_HEAL_BYTES 1024u /* most bytes of a record or key that is repaired bit by bit: 1 ms */

typedef struct l2_find { /* a segment that was found */
    uint64_t segseq, prev, floor;
    int64_t base_wall_ms;
    uint32_t place, controls, footer_pages, data_end, entries, max_generation, meta;
} l2_find;

typedef struct l2_finds {
    l2_find *at;       /* room for nseg + nstage */
    uint32_t count;
    uint64_t floor;
    uint64_t newest;    /* highest segseq, including an empty slot */
    uint64_t staged, staged_prev; /* newest header in the stage: its number, the number before it */
    bool same_boot;
    bool copy;          /* the files may be of different moments, see Copy */
    uint64_t clean_lsn; /* 0: was not CLEAN */
    uint64_t meta;      /* lower bound of META's serial */
    bool meta_due;      /* store META before a place is reused */
} l2_finds;

static bool l2_strict(const l2 *d, const l2_finds *f, uint64_t segseq, uint32_t off)
{
    return f->same_boot || l2_lsn(d, segseq, off) < f->clean_lsn;
}

/* ---- places ---- */

static void l2_find_of(const l2_trailer *t, uint32_t place, l2_find *out)
{
    *out = (l2_find){ t->head.segseq, t->head.prev_segseq, t->head.floor_lsn,
                      t->head.base_wall_ms, place, t->controls, t->footer_pages, t->data_end,
                      t->entries, t->max_generation, t->head.meta };
}

static bool l2_place_read(l2 *d, uint32_t place, l2_find *out)
{
    const uint64_t at = (uint64_t)place * d->form.seg_bytes;
    l2_trailer t;
    l2_head h;
    if (l2_read(d, d->data_file, d->page, L2_PAGE, at + d->form.seg_bytes - L2_PAGE) != 0) {
        return false;
    }
    bool ok = l2_trailer_read(&d->form, d->page, &t);
    if (!ok) { /* Torn, damaged or empty: a repair is tried only if the place has a header. */
        unsigned char head[512] BASE_ALIGNED(8);
        if (l2_read(d, d->data_file, head, sizeof head, at) != 0 ||
            !l2_head_read(&d->form, head, &h)) {
            return false;
        }
        ok = l2_trailer_heal(&d->form, d->page, &t) && t.head.segseq == h.segseq;
        if (ok) { L2_COUNT(d, healed); }
    }
    if (ok) { l2_find_of(&t, place, out); }
    return ok;
}

static bool l2_place_is_bad(const l2 *d, uint32_t place)
{
    for (uint32_t i = 0; i < d->super.bad_count; i++) {
        if (d->super.bad[i] == place) { return true; }
    }
    return false;
}

static void l2_places_read(l2 *d, l2_finds *f)
{
    for (uint32_t p = 0; p < d->nseg; p++) {
        if (l2_place_read(d, p, &f->at[f->count])) { f->count++; }
    }
}

static l2_find *l2_find_seq(l2_finds *f, uint64_t segseq)
{
    for (uint32_t i = 0; i < f->count; i++) {
        if (f->at[i].segseq == segseq) { return &f->at[i]; }
    }
    return NULL;
}

/* ---- slots ---- */

/* Return true for a header of an earlier epoch: the slot was not used since. */
static bool l2_head_is_old(const l2 *d, const unsigned char *at)
{
    l2_form past = d->form;
    l2_head h;
    past.epoch = l2_r64(at + 8);
    return past.epoch < d->form.epoch && l2_head_read(&past, at, &h);
}

static bool l2_all_zero(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] != 0) { return false; }
    }
    return true;
}

/* Return true if no segment has a header here: a process death interrupted its store, or the slot
 * was not used in this epoch. */
static bool l2_head_is_blank(const l2 *d, const unsigned char *at)
{
    return l2_r64(at) == L2_HEAD_BEGUN || l2_all_zero(at, L2_HEAD_BYTES) || l2_head_is_old(d, at);
}

/* Find the header of a slot. Return false if both are damaged. segseq 0: the slot is empty. */
static bool l2_slot_head_find(const l2 *d, l2_slot *s)
{
    const unsigned char *front = s->base, *back = front + d->form.seg_bytes - L2_PAGE + 128;
    l2_head a, b;
    const bool has_a = l2_head_read(&d->form, front, &a), has_b = l2_head_read(&d->form, back, &b);
    memset(&s->head, 0, sizeof s->head);
    if (has_a) { s->head = a; }
    if (has_b && b.segseq >= s->head.segseq) { s->head = b; }
    /* Begun without a copy, possible after a power cut: the slot was free, so it is empty. */
    if (has_a || has_b || l2_r64(front) == L2_HEAD_BEGUN) { return true; }
    return l2_head_is_blank(d, front) && l2_head_is_blank(d, back);
}

typedef struct l2_walk {
    l2_finds *f;
    l2_slot *s;
    uint32_t old_index; /* index of the footer line of the next record */
    uint32_t next;      /* end of the last record, by its lengths or by its line */
    uint32_t guess;     /* start of the next record by the last line; 0: unknown */
    unsigned char old[L2_PAGE]; /* its footer page as found */
    bool whole;         /* a record with its line in that page was whole */
    bool blind;         /* records may have been skipped: the next line must match its record */
    bool hole;
} l2_walk;

/* Return the start of the first record according to its footer page; 0: unknown. */
static uint32_t l2_walk_first(const l2 *d, const l2_walk *w)
{
    const uint64_t first = (uint64_t)l2_r32(w->old + 8) * d->form.granule;
    const bool mine = l2_r64(w->old + 16) == w->s->head.segseq;
    return mine && (first == w->next || first == L2_PAGE) ? (uint32_t)first : 0;
}

/* Return the footer line of the next record, or NULL. */
static const unsigned char *l2_walk_line(const l2 *d, l2_walk *w)
{
    const uint32_t index = w->old_index / L2_FOOT_ENTRIES, line = w->old_index % L2_FOOT_ENTRIES;
    const uint64_t back = (uint64_t)(index + 2) * L2_PAGE;
    if (back + L2_HEAD_BYTES > d->form.seg_bytes) { return NULL; }
    if (line == 0) {
        memcpy(w->old, w->s->base + d->form.seg_bytes - back, L2_PAGE);
        w->whole = false;
    }
    if (w->old_index == 0) { w->guess = l2_walk_first(d, w); }
    /* not of an earlier use of the slot */
    const bool mine = l2_r64(w->old + 16) == w->s->head.segseq;
    const unsigned char *at = l2_foot_entry(w->old, line);
    l2_entry e;
    if (!mine || l2_all_zero(at, L2_ENTRY_BYTES) || !l2_entry_kind(at, &e)) { return NULL; }
    return at;
}

static uint32_t l2_line_dist(const l2 *d, const unsigned char *line)
{
    uint32_t dist = 0;
    if (line != NULL) { memcpy(&dist, line + 6, 3); }
    return BASE_MIN(dist, d->form.seg_bytes / d->form.granule) * d->form.granule;
}

/* Advance past the record at `off`, which ends at `next`. Its line says where the next record
 * begins: there, or on the next page. Another value means that the line is damaged. */
static void l2_walk_on(const l2 *d, l2_walk *w, uint32_t off, uint32_t next,
                       const unsigned char *line)
{
    const uint32_t guess = off + l2_line_dist(d, line);
    const bool fits = guess == next || guess == base_round_up(next, L2_PAGE);
    w->next = next;
    w->guess = fits ? guess : 0;
}

/* Return kind and flags of a damaged record according to its line. */
static l2_rec l2_line_rec(const unsigned char *line)
{
    l2_entry e = { .kind = L2_KIND_PUT };
    if (line != NULL) { (void)l2_entry_kind(line, &e); }
    return (l2_rec){ .kind = e.kind, .flags = e.flags };
}

static void l2_walk_keep(l2 *d, l2_walk *w, uint64_t h48, const l2_rec *r, uint32_t off)
{
    if (off + d->form.granule > l2_data_limit(d, w->s->entries + 1)) {
        w->hole = true;
        return;
    }
    l2_slot_note(d, w->s, h48, r, off);
}

static uint32_t l2_rec_padded(const l2 *d, const l2_rec *r)
{
    return l2_rec_room(&d->form, (size_t)r->ext * 8, r->klen, r->vlen);
}

static uint64_t l2_rec_h48(const l2 *d, const unsigned char *at, const l2_rec *r)
{
    if (r->kind == L2_KIND_CONTROL) { /* as logged: see l2_control_line */
        const unsigned char type = at[L2_RECORD_HEAD + (size_t)r->ext * 8];
        return type == L2_CTL_TAG || type == L2_CTL_GLOB ? type : 0;
    }
    const unsigned char *key = at + L2_RECORD_HEAD + (size_t)r->ext * 8;
    return l2_h48(base_hash(&d->hash_key, r->generation, key, r->klen));
}

/* Return true if the mark is of an earlier use of the slot. After a process death a mark without a
 * line has a check of 0. So a mark with another check, no line and no whole record is old, and
 * valid by chance. If the line is damaged, too, l2_walk_fell_short finds the record. */
static bool l2_walk_is_past(const l2 *d, const l2_walk *w, uint32_t off, const l2_rec *r)
{
    const l2_slot *s = w->s;
    const unsigned char *at = s->base + off;
    return w->f->same_boot && l2_lsn(d, s->head.segseq, off) >= w->f->clean_lsn &&
           l2_r32(at) != 0 && !l2_rec_whole(&d->form, at, s->head.segseq, off, r);
}

/* Return true if a control has all its bytes. Its first byte is 0 until they are copied (log.c). */
static bool l2_control_there(const l2_rec *r, const unsigned char *value, uint64_t lsn)
{
    switch (value[0]) {
    case L2_CTL_NAMESPACE: return r->vlen == 16u + value[1] && l2_r32(value + 8) == r->generation;
    case L2_CTL_FLOOR: return r->vlen == 16 && l2_r64(value + 8) <= lsn;
    case L2_CTL_TAG: return r->vlen == 32;
    case L2_CTL_GLOB: return r->vlen == 16u + l2_r16(value + 2);
    default: return false;
    }
}

/* Complete a tombstone or control that has all its bytes but no check. The mark confirms its head,
 * the line confirms its class. */
static void l2_walk_finish(const l2 *d, const l2_slot *s, const l2_rec *r, uint32_t off,
                           const unsigned char *line)
{
    unsigned char *at = s->base + off;
    const uint64_t lsn = l2_lsn(d, s->head.segseq, off);
    uint64_t h48 = 0;
    if (r->kind == L2_KIND_PUT || line == NULL || line[9] != (r->kind | r->flags) ||
        l2_r32(at) != 0 ||
        (r->kind == L2_KIND_CONTROL && !l2_control_there(r, at + L2_RECORD_HEAD, lsn))) {
        return;
    }
    memcpy(&h48, line, 6);
    if (l2_rec_h48(d, at, r) == h48) { l2_rec_end(&d->form, at, s->head.segseq, off); }
}

/* Return true if one flipped bit makes the bytes at `off` a short record. *h48: its class. */
static bool l2_one_bit_off(const l2 *d, const l2_slot *s, uint32_t off, uint32_t bytes,
                           uint64_t *h48)
{
    /* a process death may interrupt a change of the slot itself */
    unsigned char copy[L2_HEAL_BYTES] BASE_ALIGNED(8);
    memcpy(copy, s->base + off, bytes);
    for (uint32_t bit = 0; bit < bytes * 8; bit++) {
        l2_rec r;
        copy[bit / 8] ^= (unsigned char)(1u << (bit % 8));
        if (l2_rec_marked(&d->form, copy, s->head.segseq, off, off + bytes, &r) &&
            l2_rec_whole(&d->form, copy, s->head.segseq, off, &r)) {
            *h48 = l2_rec_h48(d, copy, &r);
            return true;
        }
        copy[bit / 8] ^= (unsigned char)(1u << (bit % 8));
    }
    return false;
}

/* Return true if one flipped bit makes a record head at `off`. The length in its line must
 * match. */
static bool l2_head_one_bit_off(const l2 *d, const l2_slot *s, uint32_t off, uint32_t end,
                                uint32_t dist, l2_rec *r)
{
    unsigned char head[L2_RECORD_HEAD] BASE_ALIGNED(8);
    memcpy(head, s->base + off, sizeof head);
    for (uint32_t bit = 0; bit < L2_RECORD_HEAD * 8; bit++) {
        head[bit / 8] ^= (unsigned char)(1u << (bit % 8));
        if (l2_rec_marked(&d->form, head, s->head.segseq, off, end, r)) {
            const uint32_t next = off + l2_rec_padded(d, r);
            if (dist == 0 || off + dist == next || off + dist == base_round_up(next, L2_PAGE)) {
                return true;
            }
        }
        head[bit / 8] ^= (unsigned char)(1u << (bit % 8));
    }
    return false;
}

/* Find the class that a damaged record hides. No check covers the line of an open slot. The line is
 * believed if key and generation hash to it. In a record too long for a repair it is also believed
 * if they would after one flipped bit. Return false if the class is unknown. */
static bool l2_walk_class(const l2 *d, const l2_slot *s, const l2_rec *r, uint32_t off,
                          const unsigned char *line, uint64_t *h48)
{
    unsigned char copy[L2_RECORD_HEAD + UINT8_MAX * 8 + L2_HEAL_BYTES] BASE_ALIGNED(8);
    const uint32_t key = L2_RECORD_HEAD + r->ext * 8u;
    uint64_t said = 0;
    memcpy(&said, line, 6);
    *h48 = said;
    if (l2_rec_h48(d, s->base + off, r) == said) { return true; }
    if (r->bytes <= L2_HEAL_BYTES && l2_one_bit_off(d, s, off, r->bytes, h48)) { return true; }
    if (r->klen > L2_HEAL_BYTES) { return false; }
    memcpy(copy, s->base + off, key + r->klen);
    bool sure = false;
    l2_rec other = *r;
    for (uint32_t bit = 0; bit < 32 && !sure; bit++) {
        other.generation = r->generation ^ (uint32_t)1 << bit;
        sure = l2_rec_h48(d, copy, &other) == said;
    }
    for (uint32_t bit = key * 8; bit < (key + r->klen) * 8 && !sure; bit++) {
        copy[bit / 8] ^= (unsigned char)(1u << (bit % 8));
        sure = l2_rec_h48(d, copy, r) == said;
        copy[bit / 8] ^= (unsigned char)(1u << (bit % 8));
    }
    return sure;
}

/* Compare a record of class `h48` with its line, or NULL, after records may have been skipped. A
 * mismatch is a hole. */
static void l2_walk_sight(l2_walk *w, uint64_t h48, uint8_t kind, const unsigned char *line)
{
    uint64_t said = 0;
    if (!w->blind) { return; }
    if (line != NULL) { memcpy(&said, line, 6); }
    w->hole = w->hole || line == NULL || said != h48 || l2_line_rec(line).kind != kind;
    w->blind = false;
}

/* Note what a record at `off` hides. Its head is known, but it does not verify. */
static void l2_walk_lose(l2 *d, l2_walk *w, const l2_rec *r, uint32_t off,
                         const unsigned char *line)
{
    const l2_rec lost = { .kind = r->kind, .flags = r->flags };
    uint64_t h48 = 0;
    w->hole = w->hole || line == NULL || r->kind == L2_KIND_CONTROL ||
              l2_line_rec(line).kind == L2_KIND_CONTROL ||
              !l2_walk_class(d, w->s, r, off, line, &h48);
    l2_walk_sight(w, h48, r->kind, line);
    l2_walk_keep(d, w, h48, &lost, off);
}

/* Handle a record with a mark at `off`. */
static void l2_walk_record(l2 *d, l2_walk *w, const l2_rec *r, uint32_t off,
                           const unsigned char *line)
{
    const l2_slot *s = w->s;
    const unsigned char *at = s->base + off;
    l2_walk_finish(d, s, r, off, line);
    if (l2_rec_whole(&d->form, at, s->head.segseq, off, r)) {
        const uint64_t h48 = l2_rec_h48(d, at, r);
        w->whole = true;
        l2_walk_sight(w, h48, r->kind, line);
        l2_walk_keep(d, w, h48, r, off);
    } else if (l2_r32(at) != 0 && l2_strict(d, w->f, s->head.segseq, off)) {
        l2_walk_lose(d, w, r, off, line);
    }
    l2_walk_on(d, w, off, off + l2_rec_padded(d, r), line);
}

/* Handle a damaged head: a footer line without a mark. One flipped bit is repaired. Otherwise the
 * line alone says what is hidden and where the next record begins; the next whole record must
 * confirm it. */
static void l2_walk_damaged(l2 *d, l2_walk *w, const unsigned char *line)
{
    const uint32_t off = w->guess != 0 ? w->guess : w->next, dist = l2_line_dist(d, line);
    const uint32_t end = l2_data_limit(d, w->s->entries + 1);
    l2_rec r;
    if (off >= end) {
        w->hole = true;
    } else if (l2_head_one_bit_off(d, w->s, off, end, dist, &r)) {
        l2_walk_lose(d, w, &r, off, line);
        l2_walk_on(d, w, off, off + l2_rec_padded(d, &r), line);
    } else {
        const l2_rec lost = l2_line_rec(line);
        uint64_t h48 = 0;
        memcpy(&h48, line, 6);
        w->hole = w->hole || lost.kind == L2_KIND_CONTROL || w->guess == 0;
        w->blind = true;
        l2_walk_keep(d, w, h48, &lost, off);
        w->next = off + BASE_MAX(dist, d->form.granule);
        w->guess = dist > 0 ? w->next : 0;
    }
}

/* Return true if the process may have died after it wrote only the second header of the slot. The
 * first page then has old contents, or the first bytes that l2_slot_head stores. */
static bool l2_slot_is_fresh(const l2 *d, const l2_slot *s)
{
    l2_head h;
    return l2_head_is_blank(d, s->base) || l2_head_read(&d->form, s->base, &h);
}

/* Return true if the walk ended too early, after `lines` records: records and lines are lost. Signs
 * are a damaged header, a damaged page of footer lines, or a whole record of this segment further
 * on. Called only without a power cut, which returns pages in any mixture. */
static bool l2_walk_fell_short(const l2 *d, const l2_walk *w, uint32_t lines)
{
    const l2_slot *s = w->s;
    const uint32_t end = l2_data_limit(d, s->entries + 1), line = lines % L2_FOOT_ENTRIES;
    if (lines == 0 && !l2_slot_is_fresh(d, s)) { return true; }
    const bool mine = l2_r64(w->old + 16) == s->head.segseq;
    if (mine ? l2_r16(w->old + 12) > line : line > 0 && w->whole) { return true; }
    for (uint32_t off = w->next; off < end; off += d->form.granule) {
        const unsigned char *at = s->base + off;
        l2_rec r;
        if (l2_r32(at) != 0 && l2_rec_marked(&d->form, at, s->head.segseq, off, end, &r) &&
            l2_rec_whole(&d->form, at, s->head.segseq, off, &r)) {
            return true;
        }
    }
    return false;
}

/* Find the next record at the positions where it may begin. Return its offset, or 0. A gap before a
 * page is padding only if the next record would not fit into the gap. The line of the last record
 * must not say that a record begins there. */
static uint32_t l2_walk_find(l2 *d, l2_walk *w, const unsigned char *line, l2_rec *r)
{
    const uint64_t segseq = w->s->head.segseq;
    const uint32_t end = l2_data_limit(d, w->s->entries + 1);
    const uint32_t page = (uint32_t)base_round_up(w->next, L2_PAGE);
    const bool strict = l2_strict(d, w->f, segseq, w->next);
    const uint32_t tries[2] = { w->next, page };
    for (int i = 0; i < 2; i++) {
        const uint32_t off = tries[i];
        const bool jump = i > 0;
        if (jump && (page == w->next || (strict && w->guess == w->next))) { return 0; }
        if (!l2_rec_marked(&d->form, w->s->base + BASE_MIN(off, end), segseq, off, end, r) ||
            (line == NULL && l2_walk_is_past(d, w, off, r)) ||
            (jump && strict && l2_rec_start(w->next, l2_rec_padded(d, r)) != page)) {
            continue;
        }
        w->blind = w->blind || (jump && strict && page != w->guess);
        return off;
    }
    return 0;
}

/* Handle the end: no record and no line. If the last record is damaged, clean_lsn gives the end. */
static void l2_walk_ends(const l2 *d, l2_walk *w)
{
    const l2_finds *f = w->f;
    const uint64_t segseq = w->s->head.segseq, over = f->clean_lsn - l2_lsn(d, segseq, 0);
    if (f->same_boot) { w->hole = w->hole || l2_walk_fell_short(d, w, w->old_index); }
    if (w->blind && w->guess == 0 && f->clean_lsn != 0 && over < d->form.seg_bytes) {
        w->next = BASE_MAX(w->next, (uint32_t)over);
    }
}

/* Rebuild the slot's counters and footer from its bytes. */
static void l2_slot_walk(l2 *d, l2_finds *f, l2_slot *s, l2_walk *w)
{
    *w = (l2_walk){ .f = f, .s = s };
    s->entries = s->tombs = s->controls = s->max_generation = s->last_off = 0;
    w->next = w->guess = (uint32_t)base_round_up(L2_HEAD_BYTES, d->form.granule);
    bool more = true;
    for (; more && !w->hole; w->old_index++) {
        const unsigned char *line = l2_walk_line(d, w);
        l2_rec r;
        const uint32_t off = l2_walk_find(d, w, line, &r);
        if (off != 0) {
            l2_walk_record(d, w, &r, off, line);
        } else if (line != NULL && l2_strict(d, f, s->head.segseq, w->next)) {
            l2_walk_damaged(d, w, line);
        } else {
            l2_walk_ends(d, w);
            more = false;
        }
    }
    const uint32_t least = s->entries > 0 ? s->last_off + d->form.granule : w->next;
    s->pos = (uint32_t)base_clamp(w->next, least, l2_data_limit(d, s->entries));
}

/* Return true if every byte of the segment at `place` verifies. */
static bool l2_place_whole(l2 *d, const l2_find *g)
{
    const size_t bytes = d->form.seg_bytes;
    unsigned char *seg = base_alloc(d->cfg.account, BASE_MOD_L2, bytes, NULL);
    if (seg == NULL) { return false; }
    bool ok = l2_read(d, d->data_file, seg, bytes, (uint64_t)g->place * bytes) == 0;
    uint32_t seen = 0;
    for (uint32_t p = 0; p < g->footer_pages && ok; p++) {
        unsigned char *foot = seg + bytes - (size_t)(p + 2) * L2_PAGE;
        ok = l2_foot_ok(&d->form, foot, g->segseq, p);
        uint64_t off = ok ? (uint64_t)l2_r32(foot + 8) * d->form.granule : 0;
        for (uint32_t i = 0; ok && i < l2_r16(foot + 12); i++, seen++) {
            l2_rec r;
            uint32_t dist = 0;
            memcpy(&dist, l2_foot_entry(foot, i) + 6, 3);
            ok = off < g->data_end &&
                 l2_rec_marked(&d->form, seg + off, g->segseq, (uint32_t)off, g->data_end, &r) &&
                 l2_rec_whole(&d->form, seg + off, g->segseq, (uint32_t)off, &r);
            off += (uint64_t)dist * d->form.granule;
        }
    }
    base_free(d->cfg.account, BASE_MOD_L2, seg, bytes);
    return ok && seen == g->entries;
}

static l2_find *l2_place_find(const l2_finds *f, uint32_t place)
{
    for (uint32_t i = 0; i < f->count; i++) {
        if (f->at[i].place == place) { return &f->at[i]; }
    }
    return NULL;
}

/* Return true if only this segment has its controls. */
static bool l2_find_needed(const l2 *d, const l2_find *g)
{
    return g->controls > 0 && d->meta_lsn < l2_lsn(d, g->segseq + 1, 0);
}

/* Return true if the slot can go to its own place. The place usually holds a reclaimed segment. */
static bool l2_place_meant(l2 *d, l2_finds *f, uint32_t meant)
{
    if (meant >= d->nseg || l2_place_is_bad(d, meant)) { return false; }
    l2_find *past = l2_place_find(f, meant);
    if (past == NULL) { return true; }
    if (l2_lsn(d, past->segseq + 1, 0) > f->floor || l2_find_needed(d, past)) { return false; }
    *past = f->at[--f->count];
    return true;
}

/* Choose a place for a walked slot: its own place, which index.snap names, or the least useful one.
 * nseg: no place is good, or none may be overwritten. */
static uint32_t l2_place_for(l2 *d, l2_finds *f, const l2_slot *s)
{
    const uint32_t meant = s->head.segid;
    if (l2_place_meant(d, f, meant)) { return meant; }
    for (uint32_t p = 0; p < d->nseg; p++) {
        if (l2_place_find(f, p) == NULL && !l2_place_is_bad(d, p)) { return p; }
    }
    l2_find *oldest = NULL; /* reclaimed and not yet overwritten, or the oldest */
    for (uint32_t i = 0; i < f->count; i++) {
        if (l2_place_is_bad(d, f->at[i].place)) { continue; } /* the next write would fail, too */
        if (oldest == NULL || f->at[i].segseq < oldest->segseq) { oldest = &f->at[i]; }
    }
    if (oldest == NULL) { return d->nseg; }
    if (l2_find_needed(d, oldest)) { return d->nseg; }
    const uint32_t place = oldest->place;
    f->floor = BASE_MAX(f->floor, l2_lsn(d, oldest->segseq + 1, 0));
    *oldest = f->at[--f->count];
    L2_COUNT(d, reclaimed);
    return place;
}

/* Seal a slot and add it to the segments found. */
static int l2_slot_settle(l2 *d, l2_finds *f, l2_slot *s, bool newest)
{
    l2_find *twin = l2_find_seq(f, s->head.segseq);
    if (twin != NULL && (f->same_boot || l2_place_whole(d, twin))) { return 0; }
    /* After a power cut, bytes in neither of the two were synced in neither: no caller has a
     * promise. */
    const bool all = twin != NULL && l2_strict(d, f, s->head.segseq, twin->data_end);
    const uint32_t expect = all ? twin->entries : 0;
    if (twin != NULL) { *twin = f->at[--f->count]; }
    l2_walk *w = base_alloc(d->cfg.account, BASE_MOD_L2, sizeof *w, NULL);
    if (w == NULL) { return ENOMEM; }
    l2_slot_walk(d, f, s, w);
    /* Shorter than the sync said: records at its end are lost. */
    const bool cut = f->clean_lsn > l2_lsn(d, s->head.segseq, s->pos) &&
                     f->clean_lsn < l2_lsn(d, s->head.segseq + 1, 0);
    /* A close has sealed all slots except the one in which it ended. */
    const bool half = f->copy && twin == NULL &&
                      l2_lsn(d, s->head.segseq + 1, 0) <= f->clean_lsn;
    if (w->hole || cut || half || s->entries < expect) {
        f->floor = BASE_MAX(f->floor, l2_lsn(d, s->head.segseq + 1, 0));
        L2_COUNT(d, holes);
    }
    base_free(d->cfg.account, BASE_MOD_L2, w, sizeof *w);
    if (newest && s->entries == 0) { return 0; } /* opened, never used: no record names it */
    s->seg = l2_place_for(d, f, s);
    if (s->seg == d->nseg) { return ENODATA; }
    s->head.segid = s->seg;
    const int e = l2_seal(d, s);
    if (e != 0) { return e; }
    f->at[f->count++] = (l2_find){ s->head.segseq, s->head.prev_segseq, s->head.floor_lsn,
                                   s->head.base_wall_ms, base_load_rlx(&d->seg[s->seg].place),
                                   s->controls, d->seg[s->seg].footer_pages, s->pos, s->entries,
                                   s->max_generation, s->head.meta };
    return 0;
}

/* Settle all slots, lowest number first, so that a full store drops its oldest records. */
static int l2_slots_settle(l2 *d, l2_finds *f)
{
    uint64_t done = 0;
    for (uint32_t i = 0; i < d->nstage; i++) {
        if (!l2_slot_head_find(d, &d->slot[i])) { return ENODATA; }
        f->newest = BASE_MAX(f->newest, d->slot[i].head.segseq);
        if (d->slot[i].head.segseq > f->staged) {
            f->staged = d->slot[i].head.segseq;
            f->staged_prev = d->slot[i].head.prev_segseq;
        }
        /* Also for an empty slot: filter, tags and patterns have relied on its floor. */
        f->floor = BASE_MAX(f->floor, d->slot[i].head.floor_lsn);
        f->meta = BASE_MAX(f->meta, d->slot[i].head.meta);
        for (uint32_t j = 0; j < i; j++) { /* one header in two slots */
            const uint64_t segseq = d->slot[j].head.segseq;
            if (segseq != 0 && segseq == d->slot[i].head.segseq) { return ENODATA; }
        }
    }
    for (uint32_t n = 0; n < d->nstage; n++) {
        l2_slot *s = NULL;
        for (uint32_t i = 0; i < d->nstage; i++) {
            l2_slot *c = &d->slot[i];
            if (c->head.segseq > done && (s == NULL || c->head.segseq < s->head.segseq)) { s = c; }
        }
        if (s == NULL) { break; }
        done = s->head.segseq;
        const int e = l2_slot_settle(d, f, s, done == f->newest);
        if (e != 0) { return e; }
    }
    return 0;
}

/* ---- floor, controls, chain ---- */

static bool l2_find_behind(const l2_find *a, const l2_find *b)
{
    return a->segseq > b->segseq || (a->segseq == b->segseq && a->place > b->place);
}

/* Sort the segments by number. Of two places with one segment, left by a move, the lower stays. */
static void l2_finds_sort(l2_finds *f)
{
    for (uint32_t gap = l2_sort_gap(f->count); gap > 0; gap /= 3) {
        for (uint32_t i = gap; i < f->count; i++) {
            const l2_find x = f->at[i];
            uint32_t j = i;
            for (; j >= gap && l2_find_behind(&f->at[j - gap], &x); j -= gap) {
                f->at[j] = f->at[j - gap];
            }
            f->at[j] = x;
        }
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < f->count; i++) {
        if (kept == 0 || f->at[kept - 1].segseq != f->at[i].segseq) { f->at[kept++] = f->at[i]; }
    }
    f->count = kept;
}

typedef struct l2_controls {
    l2_finds *f;
    const l2_find *g;
    uint32_t offs[L2_LINES_MAX];
    uint32_t count;
} l2_controls;

static void l2_control_line(l2 *d, void *ctx, const l2_entry *e)
{
    l2_controls *c = ctx;
    const bool known = (e->h48 == L2_CTL_TAG || e->h48 == L2_CTL_GLOB) &&
                       l2_lsn(d, c->g->segseq, e->off) < d->meta_lsn;
    if (e->kind == L2_KIND_CONTROL && !known) { c->offs[c->count++] = e->off; }
}

/* Read and apply a control. Return false if it cannot be read, because its content is unknown. */
static bool l2_control_read(l2 *d, l2_finds *f, const l2_find *g, uint32_t off)
{
    unsigned char buf[L2_RECORD_HEAD + L2_CTL_BYTES_MAX + 64] BASE_ALIGNED(8);
    const uint32_t n = BASE_MIN((uint32_t)sizeof buf, g->data_end - off);
    l2_rec r;
    if (l2_read(d, d->data_file, buf, n, (uint64_t)g->place * d->form.seg_bytes + off) != 0 ||
        !l2_rec_marked(&d->form, buf, g->segseq, off, off + n, &r) ||
        !l2_rec_whole(&d->form, buf, g->segseq, off, &r) || r.kind != L2_KIND_CONTROL) {
        return false;
    }
    return l2_control_apply(d, buf + L2_RECORD_HEAD, r.vlen, l2_lsn(d, g->segseq, off), &f->floor);
}

static int l2_controls_read(l2 *d, l2_finds *f)
{
    l2_controls *c = base_alloc(d->cfg.account, BASE_MOD_L2, sizeof *c, NULL);
    if (c == NULL) { return ENOMEM; }
    for (uint32_t i = 0; i < f->count; i++) {
        const l2_find *g = &f->at[i];
        if (g->controls == 0) { continue; }
        const l2_seg at = { .place = g->place };
        bool ok = true;
        c->g = g;
        for (uint32_t p = 0; p < g->footer_pages && ok; p++) {
            c->count = 0;
            ok = l2_foot_load(d, &at, g->segseq, p) &&
                 l2_foot_each(d, g->data_end, false, l2_control_line, c);
            for (uint32_t n = 0; n < c->count && ok; n++) {
                ok = l2_control_read(d, f, g, c->offs[n]);
            }
        }
        if (!ok) {
            f->floor = BASE_MAX(f->floor, l2_lsn(d, g->segseq + 1, 0));
            L2_COUNT(d, holes);
        }
    }
    base_free(d->cfg.account, BASE_MOD_L2, c, sizeof *c);
    sync_take(GLOB, &d->ends.lock);
    f->floor = BASE_MAX(f->floor, d->ends.floor);
    sync_drop(GLOB, &d->ends.lock);
    return 0;
}

/* Check that stage.buf and data.seg are of one moment. There is always an open slot, so the stage
 * has the newest header, and it is of this run. The segment before it was found. Exception: a slot
 * that ended in a FLOOR has no successor, and nothing before it counts. */
static void l2_chain_top(l2 *d, l2_finds *f)
{
    const l2_find *top = f->count > 0 ? &f->at[f->count - 1] : NULL;
    const uint64_t last = top != NULL ? top->segseq : 0, least = BASE_MAX(last, d->super.born);
    const uint64_t used = top != NULL ? l2_lsn(d, last, top->data_end) : 0;
    uint64_t floor = 0;
    if (f->staged < least && used > f->floor + L2_FLOOR_ROOM) {
        floor = l2_lsn(d, least + 1, 0);
    } else if (f->staged_prev > last) {
        floor = l2_lsn(d, f->staged_prev + 1, 0);
    }
    if (floor <= f->floor) { return; }
    base_log(d->cfg.log, BASE_LOG_WARNING, "l2", 0,
             "stage.buf and data.seg are of different moments: older records are dropped");
    f->floor = floor;
    L2_COUNT(d, holes);
}

/* Walk the chain from the newest header down. A break above the floor raises the floor. */
static void l2_chain(l2 *d, l2_finds *f)
{
    const uint64_t newest = BASE_MAX(f->newest, f->count > 0 ? f->at[f->count - 1].segseq : 0);
    for (uint32_t i = 0; i < f->count; i++) { f->floor = BASE_MAX(f->floor, f->at[i].floor); }
    l2_chain_top(d, f);
    if (f->clean_lsn > l2_lsn(d, newest + 1, 0)) {
        f->floor = BASE_MAX(f->floor, f->clean_lsn);
        L2_COUNT(d, holes);
    }
    for (uint32_t i = f->count; i > 0; i--) {
        const l2_find *g = &f->at[i - 1];
        const uint64_t below = i > 1 ? f->at[i - 2].segseq : 0;
        if (g->prev == below || l2_lsn(d, g->prev + 1, 0) <= f->floor) { continue; }
        f->floor = BASE_MAX(f->floor, l2_lsn(d, g->segseq, 0));
        L2_COUNT(d, holes);
    }
}

/* Detect a missing META. If records were reclaimed that the older copy does not cover, controls are
 * missing, and later records may be invalid: nothing is believed. The next META replaces the
 * damaged copy. */
static void l2_meta_missed(l2 *d, l2_finds *f)
{
    for (uint32_t i = 0; i < f->count; i++) { f->meta = BASE_MAX(f->meta, f->at[i].meta); }
    if (f->meta <= d->meta_serial) { return; }
    f->meta_due = true;
    d->meta_serial = f->meta + ((f->meta ^ d->meta_serial) & 1);
    if (f->floor <= d->meta_lsn) { return; }
    const uint64_t newest = BASE_MAX(f->newest, f->count > 0 ? f->at[f->count - 1].segseq : 0);
    f->floor = BASE_MAX(f->floor, l2_lsn(d, newest + 1, 0));
    L2_COUNT(d, holes);
}

/* Return true if META must have controls below the floor: their places are reused immediately. */
static bool l2_meta_owes(const l2 *d, const l2_finds *f)
{
    bool owes = f->meta_due;
    for (uint32_t i = 0; i < f->count; i++) {
        const uint64_t end = l2_lsn(d, f->at[i].segseq + 1, 0);
        owes = owes || (f->at[i].controls > 0 && end <= f->floor && d->meta_lsn < end);
    }
    return owes;
}

/* ---- into the tables ---- */

static void l2_adopt(l2 *d, l2_finds *f) SYNC_HOLDS(L2_LOG);
static void l2_adopt(l2 *d, l2_finds *f)
{
    const int64_t wall = l2_wall_now(d);
    uint64_t oldest = UINT64_MAX;
    uint32_t generation = 0;
    d->order_count = d->order_at = 0;
    base_store_rlx(&d->floor_lsn, f->floor);
    for (uint32_t i = 0; i < f->count; i++) {
        const l2_find *g = &f->at[i];
        generation = BASE_MAX(generation, g->max_generation);
        d->newest_segseq = BASE_MAX(d->newest_segseq, g->segseq);
        if (l2_lsn(d, g->segseq + 1, 0) <= f->floor) { continue; }
        l2_seg *s = &d->seg[g->place];
        oldest = BASE_MIN(oldest, l2_lsn(d, g->segseq, 0));
        s->era = l2_era_begin(d, g->segseq);
        s->controls = g->controls;
        s->footer_pages = g->footer_pages;
        s->data_end = g->data_end;
        s->unread = true;
        base_store_rlx(&s->future, g->base_wall_ms > wall + L2_FUTURE_MS ? 1u : 0u);
        base_store_rlx(&s->word, L2_SEG_WORD(L2_SEG_DISK, 0, g->segseq));
        d->order[d->nseg - ++d->order_count] = g->place;
        L2_COUNT(d, recovered);
    }
    d->meta_done = (uint32_t)BASE_MIN(d->meta_serial, UINT32_MAX);
    memmove(d->order, d->order + d->nseg - d->order_count, d->order_count * sizeof *d->order);
    d->next_segseq = BASE_MAX(d->newest_segseq + 1, d->super.segseq_end);
    d->super.segseq_end = d->segseq_end = d->next_segseq + L2_SEGSEQ_STEP;
    base_store_rlx(&d->oldest_lsn, oldest != UINT64_MAX ? oldest : l2_lsn(d, d->next_segseq, 0));
    for (uint32_t p = d->nseg; p > 0; p--) {
        const uint32_t state = L2_SEG_STATE(base_load_rlx(&d->seg[p - 1].word));
        if (state == L2_SEG_FREE && l2_place_is_bad(d, p - 1)) {
            base_store_rlx(&d->seg[p - 1].word, L2_SEG_WORD(L2_SEG_BAD, 0, 0));
        } else if (state == L2_SEG_FREE) {
            d->seg[d->free_count++].free_seg = p - 1;
        }
    }
    for (uint32_t i = 0; i < d->nstage; i++) {
        d->slot[i].state = L2_SLOT_FREE;
        d->slot[i].armed_end = d->form.seg_bytes; /* mapping the stage armed all of it */
        d->slot[i].past = true;
        d->slot[i].armed_lines = d->slot[i].armed_soon = UINT32_MAX;
    }
    d->arm_window = BASE_MIN((uint32_t)256 << 10, d->form.seg_bytes);
    sync_take(L2_DEV, &d->namespace_lock);
    d->next_generation = BASE_MAX(d->next_generation, generation + 1);
    sync_drop(L2_DEV, &d->namespace_lock);
}

static void l2_tables_reset(l2 *d)
{
    for (uint32_t i = 0; i < d->nseg; i++) {
        base_store_rlx(&d->seg[i].word, L2_SEG_WORD(L2_SEG_FREE, 0, 0));
        base_store_rlx(&d->seg[i].place, i);
    }
    for (uint32_t i = 0; i < d->nstage; i++) { memset(&d->slot[i].head, 0, sizeof(l2_head)); }
    sync_take(L2_LOG, &d->log_lock);
    d->newest_segseq = 0;
    sync_drop(L2_LOG, &d->log_lock);
}

static int l2_epoch_next(l2 *d, l2_finds *f)
{
    d->super.epoch++;
    d->form.epoch = d->super.epoch;
    d->super.state = L2_DIRTY;
    d->super.closed = 0;
    d->super.born = 0;
    d->super.meta = 0; /* META is of an earlier epoch */
    base_store_rlx(&d->floor_lsn, (uint64_t)0);
    f->count = 0;
    f->floor = 0;
    f->clean_lsn = 0;
    return l2_super_store(d);
}

/* Return true if the newest segment of a copy ends where the close ended, or the close left an
 * empty slot. */
static bool l2_copy_ends(const l2 *d, const l2_finds *f, const l2_find *top)
{
    const uint64_t last = top != NULL ? top->segseq : 0, seg = f->clean_lsn / d->form.seg_bytes;
    bool ends = top != NULL && l2_lsn(d, last, top->data_end) == f->clean_lsn;
    for (uint32_t i = 0; i < d->nstage; i++) {
        const l2_head *h = &d->slot[i].head;
        ends = ends || (h->segseq == seg && h->prev_segseq == last && last < seg);
    }
    return ends;
}

/* Return false if a part of a copy is newer than the close in its SUPER. */
static bool l2_copy_holds(l2 *d, l2_finds *f)
{
    const l2_find *top = NULL;
    for (uint32_t i = 0; i < f->count; i++) {
        if (top == NULL || f->at[i].segseq > top->segseq) { top = &f->at[i]; }
    }
    if (top != NULL && l2_lsn(d, top->segseq, top->data_end) > f->clean_lsn) { return false; }
    if (!l2_copy_ends(d, f, top)) {
        f->floor = BASE_MAX(f->floor, f->clean_lsn);
        L2_COUNT(d, holes);
    }
    return true;
}

static int l2_scan(l2 *d, l2_finds *f)
{
    if (f->clean_lsn != 0 && (d->super.level == L2_DROP || f->copy)) {
        /* A power cut from here on must find DIRTY. After its slots are sealed a copy no longer
         * shows what it lacks. So an interrupted copy has no stage in SUPER and begins empty. */
        const l2_stage_id stage = d->super.stage;
        d->super.state = L2_DIRTY;
        d->super.closed = 0;
        if (f->copy) { d->super.stage.inode = 0; }
        const int e = l2_super_store(d);
        d->super.stage = stage;
        if (e != 0) { return e; }
    }
    l2_places_read(d, f);
    int e = l2_slots_settle(d, f);
    if (e == 0 && f->copy && !l2_copy_holds(d, f)) { e = ENODATA; }
    if (e == ENODATA) {
        l2_tables_reset(d);
        L2_COUNT(d, holes);
        return l2_epoch_next(d, f);
    }
    if (e != 0) { return e; }
    e = d->vfs->datasync(d->vfs->ctx, d->data_file);
    /* The process may have died before that sync; headers will rely on META. */
    if (e == 0 && d->cfg.level != L2_DROP) {
        e = d->vfs->datasync(d->vfs->ctx, d->meta[d->meta_serial & 1]);
    }
    l2_tables_reset(d);
    l2_finds_sort(f);
    if (e == 0) { e = l2_controls_read(d, f); }
    if (e == 0) { l2_chain(d, f); }
    if (e == 0) { l2_meta_missed(d, f); }
    f->meta_due = l2_meta_owes(d, f);
    return e;
}

/* Open the first slot. From here on there is always an open slot, so each change can log. */
static bool l2_first_slot(l2 *d)
{
    for (uint32_t i = 0; i <= d->nseg; i++) {
        if (l2_prepare(d) != 0) { return false; }
        sync_take(L2_LOG, &d->log_lock);
        const bool open = l2_slot_open(d);
        sync_drop(L2_LOG, &d->log_lock);
        if (open) { return true; }
        if (!l2_reclaim(d)) { return false; }
    }
    return false;
}

/* Wipe the free slots; their records are settled. The header of an unused slot would stand between
 * two others at the next recovery and look like a gap. */
static void l2_slots_wipe(l2 *d)
{
    sync_take(L2_LOG, &d->log_lock);
    for (uint32_t i = 0; i < d->nstage; i++) {
        if (d->slot[i].state == L2_SLOT_FREE) { l2_slot_wipe(d, &d->slot[i]); }
    }
    sync_drop(L2_LOG, &d->log_lock);
}

/* Restore SUPER after a failed open of a copy, so that the next open can find all of it. Everything
 * that no longer shows, because slots are sealed, is below the floor. */
static void l2_copy_back(l2 *d, const l2_finds *f, const l2_stage_id *stage_was)
{
    sync_take(L2_LOG, &d->log_lock);
    base_store_rel(&d->floor_lsn, BASE_MAX(base_load_rlx(&d->floor_lsn), f->floor));
    sync_drop(L2_LOG, &d->log_lock);
    d->super.state = L2_CLEAN;
    d->super.closed = 1;
    d->super.stage = *stage_was;
    (void)l2_super_store(d);
}

CELLAR_PRIVATE uint64_t l2_recover_bytes(const l2_super *s)
{
    return ((uint64_t)s->nseg + s->nstage) * sizeof(l2_find);
}

CELLAR_PRIVATE cellar_err l2_recover(l2 *d, bool alive, bool same_boot, bool copy,
                                     const l2_stage_id *stage_was, int *sys_errno)
{
    l2_finds f = { .same_boot = same_boot, .copy = copy, .floor = d->super.floor_lsn,
                   .meta = d->super.meta,
                   .clean_lsn = d->super.state == L2_CLEAN ? d->super.clean_lsn : 0 };
    const size_t bytes = (size_t)(d->nseg + d->nstage) * sizeof *f.at;
    f.at = base_alloc(d->cfg.account, BASE_MOD_L2, bytes, NULL);
    if (f.at == NULL) { return CELLAR_E_NOMEM; }
    const uint64_t epoch = d->form.epoch;
    l2_tables_reset(d);
    cellar_err err = l2_meta_load(d);
    int e = 0;
    bool slotted = false;
    if (err == CELLAR_OK) { e = alive ? l2_scan(d, &f) : l2_epoch_next(d, &f); }
    if (err == CELLAR_OK && e == 0) {
        sync_take(L2_LOG, &d->log_lock);
        l2_adopt(d, &f);
        sync_drop(L2_LOG, &d->log_lock);
        if (f.meta_due) { e = l2_meta_store(d); }
        const uint64_t newest = BASE_MAX(f.newest, f.count > 0 ? f.at[f.count - 1].segseq : 0);
        const bool cold = d->order_count > 0 && !l2_snap_take(d, newest);
        if (d->order_count == 0) {
            d->opened = d->form.epoch == epoch || d->super.opens == 1 ? L2_OPENED_EMPTY
                                                                      : L2_OPENED_ANEW;
        }
        base_store_rlx(&d->warming, cold ? 1u : 0u);
        if (cold && !l2_warm_begin(d)) { err = CELLAR_E_NOMEM; }
        slotted = err == CELLAR_OK && e == 0;
        if (slotted && !l2_first_slot(d)) { e = EIO; }
        if (err == CELLAR_OK && e == 0) { l2_slots_wipe(d); }
        d->ends.open = true;
    }
    const bool failed = err != CELLAR_OK || e != 0;
    if (failed && !slotted && f.copy && f.clean_lsn != 0) { l2_copy_back(d, &f, stage_was); }
    base_free(d->cfg.account, BASE_MOD_L2, f.at, bytes);
    *sys_errno = e;
    if (e != 0) { return e == ENOMEM ? CELLAR_E_NOMEM : CELLAR_E_IO; }
    return err;
}
