/* SPDX-License-Identifier: MIT
 *
 * recovery_slot: walk a slot of the stage record by record, and note its records for the seal.
 *
 * PROTOCOL   Slot: identified by its header or by the copy in its last page. Its records are:
 *              check right        kept
 *              mark, check 0      incomplete: void, its line becomes a tombstone of no key, or is
 *                                 dropped if no other record follows. A tombstone or control with
 *                                 all its bytes is completed: what it hides must stay hidden
 *              mark, check wrong  damaged if the page cache survived (same boot) or the record was
 *                                 synced (below clean_lsn): its footer line says which bunch it
 *                                 hides, if the record confirms that; otherwise a hole.
 *                                 Else torn by a power cut, and not promised to a caller
 *              head damaged       repaired if one bit is wrong, the line's length fits and the
 *                                 check is not 0. Else the line gives bunch and length until a
 *                                 whole record behind it confirms its own line (l2_walk.blind);
 *                                 otherwise a hole
 * INVARIANTS Each step may be interrupted and repeated: `base` of the slot is a copy meanwhile.
 * LOCKING    None: no other thread uses the store yet.
 * SEE ALSO   recovery_place.c: where a walked slot goes. README.md: why a mark can be old. */
#include "l2/recovery_parts.h"

#include "l2/format.h"
#include "l2/io.h"
#include "l2/slot.h"

BASE_SIZE_BEGIN

#define L2_HEAL_BYTES 1024u /* most bytes of a record or key that is repaired bit by bit: 1 ms */

/* ---- headers ---- */

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

CELLAR_PRIVATE bool l2_slot_head_find(const l2 *d, l2_slot *s)
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

/* ---- lines ---- */

typedef struct l2_tail { uint32_t entries, tombs, last_off, next; } l2_tail; /* end of a walk */

typedef struct l2_walk {
    const l2_finds *f;
    l2_slot *s;
    const unsigned char *found; /* bytes of the slot, unchanged */
    uint32_t old_index; /* index of the footer line of the next record */
    uint32_t next;      /* end of the last record, by its lengths or by its line */
    uint32_t guess;     /* start of the next record by the last line; 0: unknown */
    l2_tail tail;       /* behind the last record that is not void */
    const unsigned char *old; /* its footer page in `found` */
    bool whole;         /* a record with its line in that page was whole */
    bool blind;         /* records may have been skipped: the next line must match its record */
    bool damaged;       /* bytes are not as a run left them */
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
        w->old = w->found + d->form.seg_bytes - back;
        w->whole = false;
    }
    if (w->old_index == 0) { w->guess = l2_walk_first(d, w); }
    /* not of an earlier use of the slot */
    const bool mine = l2_r64(w->old + 16) == w->s->head.segseq;
    const unsigned char *at = w->old + L2_FOOT_HEAD + (size_t)line * L2_ENTRY_BYTES;
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

/* Return true if the line says that the record at `off` ends at `next`: the next record begins
 * there, or on the next page. */
static bool l2_line_fits(const l2 *d, uint32_t off, uint32_t next, const unsigned char *line)
{
    const uint32_t guess = off + l2_line_dist(d, line);
    return guess == next || guess == base_round_up(next, L2_PAGE);
}

/* Advance past the record at `off`, which ends at `next`. A line with another end is damaged. */
static void l2_walk_on(const l2 *d, l2_walk *w, uint32_t off, uint32_t next,
                       const unsigned char *line)
{
    w->next = next;
    w->guess = l2_line_fits(d, off, next, line) ? off + l2_line_dist(d, line) : 0;
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

/* ---- records ---- */

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

/* Return true if a control has all its bytes. Its first byte is 0 until they are copied. */
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
 * the line confirms its bunch. */
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

/* ---- damage ---- */

typedef struct l2_flip { /* a record with a flipped bit */
    const l2 *d;
    const unsigned char *at; /* its bytes, or a copy */
    uint64_t segseq;
    uint32_t off, end;
    uint32_t dist; /* to the next record, by its line; 0: unknown */
    uint64_t h48;  /* bunch */
    l2_rec r;
} l2_flip;

static bool l2_flip_whole(const unsigned char *at, void *arg)
{
    l2_flip *f = arg;
    if (!l2_rec_marked(&f->d->form, at, f->segseq, f->off, f->end, &f->r) ||
        !l2_rec_whole(&f->d->form, at, f->segseq, f->off, &f->r)) {
        return false;
    }
    f->h48 = l2_rec_h48(f->d, at, &f->r);
    return true;
}

static bool l2_flip_head(const unsigned char *at, void *arg)
{
    l2_flip *f = arg;
    if (l2_r32(at) == 0) { return false; } /* zeros with one bit: a valid mark by chance */
    if (!l2_rec_marked(&f->d->form, at, f->segseq, f->off, f->end, &f->r)) { return false; }
    const uint32_t next = f->off + l2_rec_padded(f->d, &f->r), line = f->off + f->dist;
    return f->dist == 0 || line == next || line == base_round_up(next, L2_PAGE);
}

static bool l2_flip_bunch(const unsigned char *part, void *arg)
{
    const l2_flip *f = arg;
    (void)part;
    return l2_rec_h48(f->d, f->at, &f->r) == f->h48;
}

/* Find the bunch that a damaged record hides. No check covers the line of an open slot. The line is
 * believed if key and generation hash to it. In a record too long for a repair it is also believed
 * if they would after one flipped bit. Return false if the bunch is unknown. */
static bool l2_walk_bunch(const l2 *d, const l2_slot *s, const l2_rec *r, uint32_t off,
                          const unsigned char *line, uint64_t *h48)
{
    unsigned char copy[L2_RECORD_HEAD + UINT8_MAX * 8 + L2_HEAL_BYTES] BASE_ALIGNED(8);
    const uint32_t key = L2_RECORD_HEAD + r->ext * 8u;
    l2_flip f = { .d = d, .at = copy, .segseq = s->head.segseq, .off = off, .end = off + r->bytes };
    memcpy(h48, line, 6);
    if (l2_rec_h48(d, s->base + off, r) == *h48) { return true; }
    memcpy(copy, s->base + off, BASE_MIN(r->bytes, sizeof copy));
    if (r->bytes <= L2_HEAL_BYTES && l2_heal(copy, r->bytes, l2_flip_whole, &f)) {
        *h48 = f.h48;
        return true;
    }
    if (r->klen > L2_HEAL_BYTES) { return false; }
    f.r = *r;
    f.h48 = *h48;
    return l2_heal((unsigned char *)&f.r.generation, sizeof f.r.generation, l2_flip_bunch, &f) ||
           l2_heal(copy + key, r->klen, l2_flip_bunch, &f);
}

/* Compare a record of bunch `h48` with its line, or NULL, after records may have been skipped. A
 * mismatch is a hole. */
static void l2_walk_sight(l2_walk *w, uint64_t h48, uint8_t kind, const unsigned char *line)
{
    uint64_t said = 0;
    if (!w->blind) { return; }
    if (line != NULL) { memcpy(&said, line, 6); }
    w->hole = w->hole || line == NULL || said != h48 || l2_line_rec(line).kind != kind;
    w->blind = false;
}

/* Note that a record is void: its process died before it was complete. Its line stays but names
 * no key, so lines and records of a slot that is used again still correspond. A mark without a
 * line may also be old and valid by chance, where no line has room. */
static void l2_walk_void(l2 *d, l2_walk *w, uint32_t off, const unsigned char *line)
{
    const l2_rec none = { .kind = L2_KIND_TOMB };
    if (line == NULL && off + d->form.granule > l2_data_limit(d, w->s->entries + 1)) { return; }
    l2_walk_keep(d, w, L2_VOID_H48, &none, off);
}

/* Note the end of a record that is not void. */
static void l2_walk_sure(l2_walk *w)
{
    const l2_slot *s = w->s;
    w->tail = (l2_tail){ s->entries, s->tombs, s->last_off, w->next };
}

/* Drop the void records at the end: none follows them, so no line has to correspond. Otherwise runs
 * that die in a copy would fill slot after slot. */
static void l2_walk_trim(l2 *d, l2_walk *w)
{
    l2_slot *s = w->s;
    const uint32_t lines = w->tail.entries % L2_FOOT_ENTRIES;
    if (s->entries == w->tail.entries) { return; }
    s->entries = w->tail.entries;
    s->tombs = w->tail.tombs;
    s->last_off = w->tail.last_off;
    w->next = w->tail.next;
    if (lines == 0) { return; } /* the page is not used any more */
    unsigned char *page = l2_slot_foot(d, s, s->entries / L2_FOOT_ENTRIES);
    const size_t used = L2_FOOT_HEAD + (size_t)lines * L2_ENTRY_BYTES;
    l2_w16(page + 12, (uint16_t)lines);
    memset(page + used, 0, L2_PAGE - used);
}

/* Note what a record at `off` hides. Its head is known, but it does not verify. */
static void l2_walk_lose(l2 *d, l2_walk *w, const l2_rec *r, uint32_t off,
                         const unsigned char *line)
{
    const l2_rec lost = { .kind = r->kind, .flags = r->flags };
    const uint32_t next = off + l2_rec_padded(d, r);
    uint64_t h48 = 0;
    w->damaged = true;
    /* A damaged length has a valid mark by chance. Records behind it would be skipped. The newest
     * line has no distance. */
    w->hole = w->hole || (l2_line_dist(d, line) != 0 && !l2_line_fits(d, off, next, line));
    w->hole = w->hole || line == NULL || r->kind == L2_KIND_CONTROL ||
              l2_line_rec(line).kind == L2_KIND_CONTROL ||
              !l2_walk_bunch(d, w->s, r, off, line, &h48);
    l2_walk_sight(w, h48, r->kind, line);
    l2_walk_keep(d, w, h48, &lost, off);
}

/* Handle a record with a mark at `off`. */
static void l2_walk_record(l2 *d, l2_walk *w, const l2_rec *r, uint32_t off,
                           const unsigned char *line)
{
    const l2_slot *s = w->s;
    const unsigned char *at = s->base + off;
    bool is_void = false;
    l2_walk_finish(d, s, r, off, line);
    if (l2_rec_whole(&d->form, at, s->head.segseq, off, r)) {
        const uint64_t h48 = l2_rec_h48(d, at, r);
        w->whole = true;
        w->damaged = w->damaged || line == NULL || memcmp(line, &h48, 6) != 0 ||
                     line[9] != (r->kind | r->flags);
        l2_walk_sight(w, h48, r->kind, line);
        l2_walk_keep(d, w, h48, r, off);
    } else if (l2_r32(at) != 0 && l2_strict(d, w->f, s->head.segseq, off)) {
        l2_walk_lose(d, w, r, off, line);
    } else if (l2_r32(at) == 0 && w->f->same_boot) {
        l2_walk_void(d, w, off, line);
        is_void = true;
    } else {
        w->damaged = true;
    }
    l2_walk_on(d, w, off, off + l2_rec_padded(d, r), line);
    if (!is_void) { l2_walk_sure(w); }
}

/* Handle a damaged head: a footer line without a mark. One flipped bit is repaired. Otherwise the
 * line alone says what is hidden and where the next record begins; the next whole record must
 * confirm it. */
static void l2_walk_damaged(l2 *d, l2_walk *w, const unsigned char *line)
{
    const uint32_t off = w->guess != 0 ? w->guess : w->next, dist = l2_line_dist(d, line);
    const uint32_t end = l2_data_limit(d, w->s->entries + 1);
    l2_flip f = { .d = d, .segseq = w->s->head.segseq, .off = off, .end = end, .dist = dist };
    w->damaged = true;
    if (off >= end) {
        w->hole = true;
    } else if (l2_heal(w->s->base + off, L2_RECORD_HEAD, l2_flip_head, &f)) {
        l2_walk_record(d, w, &f.r, off, line);
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

/* ---- the walk ---- */

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

CELLAR_PRIVATE bool l2_slot_walk(l2 *d, const l2_finds *f, l2_slot *s, const unsigned char *found,
                                 bool *damaged)
{
    l2_walk w = { .f = f, .s = s, .found = found };
    s->entries = s->tombs = s->controls = s->max_generation = s->last_off = 0;
    w.next = w.guess = (uint32_t)base_round_up(L2_HEAD_BYTES, d->form.granule);
    l2_walk_sure(&w);
    bool more = true;
    for (; more && !w.hole; w.old_index++) {
        const unsigned char *line = l2_walk_line(d, &w);
        l2_rec r;
        const uint32_t off = l2_walk_find(d, &w, line, &r);
        if (off != 0) {
            l2_walk_record(d, &w, &r, off, line);
        } else if (line != NULL && l2_strict(d, f, s->head.segseq, w.next)) {
            l2_walk_damaged(d, &w, line);
        } else {
            l2_walk_ends(d, &w);
            more = false;
        }
    }
    if (!w.damaged && !w.hole) { l2_walk_trim(d, &w); }
    const uint32_t least = s->entries > 0 ? s->last_off + d->form.granule : w.next;
    s->pos = (uint32_t)base_clamp(w.next, least, l2_data_limit(d, s->entries));
    *damaged = w.damaged || w.hole;
    return w.hole;
}

/* ---- a slot that the next run continues ---- */

CELLAR_PRIVATE bool l2_slot_is_unused(const l2 *d, const l2_slot *s)
{
    const uint32_t first = (uint32_t)base_round_up(L2_HEAD_BYTES, d->form.granule);
    l2_rec r;
    return l2_r64(l2_slot_foot(d, s, 0) + 16) != s->head.segseq &&
           !l2_rec_marked(&d->form, s->base + first, s->head.segseq, first, l2_data_limit(d, 1),
                          &r);
}

typedef struct l2_keep { unsigned char *to, *from; } l2_keep; /* a slot and its settled copy */

/* Store the check of a record that the walk completed. */
static void l2_keep_check(l2 *d, void *ctx, const l2_entry *e)
{
    const l2_keep *k = ctx;
    const uint32_t check = l2_r32(k->from + e->off);
    (void)d;
    if (check == l2_r32(k->to + e->off)) { return; }
    base_store_rel((_Atomic uint32_t *)(void *)(k->to + e->off), check);
    BASE_POINT("l2.kept_check");
}

/* Zero what the records do not use. Pages of zeros stay clean. */
static void l2_keep_zero(unsigned char *to, size_t from, size_t end)
{
    for (size_t at = from, n; at < end; at += n) {
        n = BASE_MIN(L2_PAGE - at % L2_PAGE, end - at);
        if (l2_all_zero(to + at, n)) { continue; }
        memset(to + at, 0, n);
        BASE_POINT("l2.kept_zero");
    }
}

CELLAR_PRIVATE bool l2_slot_keep(l2 *d, const l2_slot *s, unsigned char *to)
{
    l2_keep k = { to, s->base };
    const uint32_t pages = (s->entries + L2_FOOT_ENTRIES - 1) / L2_FOOT_ENTRIES;
    const size_t first = d->form.seg_bytes - (size_t)(pages + 1) * L2_PAGE; /* of the lines */
    l2_slot_dist(d, s, s->pos);
    if (!l2_slot_lines(d, s, false, l2_keep_check, &k)) { return false; }
    for (size_t at = first; at < first + (size_t)pages * L2_PAGE; at += L2_PAGE) {
        memcpy(to + at, s->base + at, L2_PAGE);
        BASE_POINT("l2.kept_lines");
    }
    l2_keep_zero(to, s->pos, first);
    return true;
}

BASE_SIZE_END
