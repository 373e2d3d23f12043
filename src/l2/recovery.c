/* SPDX-License-Identifier: MIT
 *
 * recover: what the files hold, believed as far as it can be proved, and nothing else.
 *
 * WALK       headers and trailers of all places -> slots of stage.buf, walked record by record,
 *            sealed -> controls -> floor -> chain of headers, newest first: a gap is a hole
 *            -> a fresh slot is open -> (behind open) footers newest first: filter, words
 * HOLE       a stretch of the log that cannot be read may have held tombstones: everything below
 *            its end is dead. The floor of the next header says so for good, because what cannot
 *            be read now may be readable next time.
 * META       each header says which serial META had when it was made. Where no copy of that serial
 *            is left, and something that the older copy does not cover was reclaimed, controls are
 *            missing: a hole of everything. A view that was cleared would else be as it was.
 * SLOT       recognised by its header or the copy in its last page. A record with a mark and a
 *            check of 0 was in flight: it is left out, but a tombstone whose key is there is
 *            finished, and so is a control: nobody was told that the key is still there, and were
 *            the 0 damage, what it hides would come back. With a mark and a wrong check: damage, if
 *            the page cache has survived (same boot) or the place was synced (below clean_lsn):
 *            then its footer line still says which class it hides, if the record bears that out,
 *            for a line of a slot has no sum (l2_walk_class), or else it is a hole. Without that it
 *            was torn by a power cut and nobody was promised it. One place in 65,536 that holds a
 *            record of the slot's past has a mark of now by chance: without a line that is no
 *            record (l2_walk_is_past).
 *            A head that is damaged is mended if one bit is wrong and the line's length fits. Else
 *            the line says what the record hides and how long it is, until a whole record behind
 *            it fits its own line (l2_walk.blind); if that record does not fit, it is a hole. The
 *            walk goes on at a page only before a record that would not have fitted in front of
 *            it, and not where a line says that a record begins before that page.
 *            One that is sealed here goes where it was meant to, or to a free place, or to that of
 *            the oldest segment found; never to a bad place, which still holds what it held.
 *            A segment that lies in a slot and at its place: the place counts when all of it
 *            verifies (or the process alone died and the trailer is there), else the slot.
 * COPY       files of a directory that was copied may be of different moments. Each part is bound
 *            to its place in the log, so what is missing shows: a slot that the close must have
 *            sealed lies in no place; what is younger than the close ends all of it. An open of a
 *            copy that is cut short leaves an empty store; one that fails, for want of memory or
 *            by the disk, leaves what there was, and a floor below which that is not believed.
 *            One file of an earlier life put back (l2_chain_top): the stage of a store holds the
 *            newest header, of a number that SUPER knows for this life, and the segment before it
 *            is in data.seg. Else all of it ends. A file of this life put back does not show.
 * INVARIANTS nothing on disk is changed before SUPER allows it: a store that was CLEAN at level
 *            DROP says DIRTY first; an epoch ends by SUPER alone. Slots are overwritten only when
 *            what they held is synced at its place. Every step may be cut and repeated.
 * LIMITS     both copies of a header in one slot damaged, or one header in two slots: the store
 *            begins anew, empty.
 * NOT HERE   which directory is ours (open.c), index and filter (warm.c, snap.c). */
#include "l2/l2_int.h"

#include <errno.h>

#define L2_FUTURE_MS 120000
#define L2_LINES_MAX (L2_FOOT_ENTRIES)
#define L2_HEAL_BYTES 1024u /* of a record or key in which a turned bit is looked for: 1 ms */

typedef struct l2_find { /* a segment that was found */
    uint64_t segseq, prev, floor;
    int64_t base_wall_ms;
    uint32_t place, controls, footer_pages, data_end, entries, max_vgen, meta;
} l2_find;

typedef struct l2_finds {
    l2_find *at;       /* nseg + nstage */
    uint32_t count;
    uint64_t floor;
    uint64_t newest;    /* segseq, of an empty slot too */
    uint64_t staged, staged_prev; /* newest header in the stage: its number, its predecessor's */
    bool same_boot;
    bool copy;          /* the files may be of different moments, see COPY */
    uint64_t clean_lsn; /* 0: was not clean */
    uint64_t meta;      /* serial that META must have, at the least */
    bool meta_due;      /* store it before any place is used again */
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
                      t->entries, t->max_vgen, t->head.meta };
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
    if (!ok) { /* torn, damaged, or nothing: worth a try only where a header stands */
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

/* A header of an earlier epoch: the slot has not been used since. */
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

/* False: damaged beyond recognition. *segseq 0: nothing in it. */
static bool l2_slot_head_find(const l2 *d, l2_slot *s)
{
    const unsigned char *front = s->base, *back = front + d->form.seg_bytes - L2_PAGE + 128;
    l2_head a, b;
    const bool has_a = l2_head_read(&d->form, front, &a), has_b = l2_head_read(&d->form, back, &b);
    memset(&s->head, 0, sizeof s->head);
    if (has_a) { s->head = a; }
    if (has_b && b.segseq >= s->head.segseq) { s->head = b; }
    /* Begun, and no copy yet, which can be after a power cut: it was free, so nothing is in it. */
    if (has_a || has_b || l2_r64(front) == L2_HEAD_BEGUN) { return true; }
    return (l2_all_zero(front, L2_HEAD_BYTES) || l2_head_is_old(d, front)) &&
           (l2_all_zero(back, L2_HEAD_BYTES) || l2_head_is_old(d, back));
}

typedef struct l2_walk {
    l2_finds *f;
    l2_slot *s;
    uint32_t old_index; /* of the footer line that belongs to the next record */
    uint32_t next;      /* end of the last record, by its lengths or by its line */
    uint32_t guess;     /* start of the next record by the last one's line; 0: not known */
    unsigned char old[L2_PAGE]; /* its footer page as it was found */
    bool whole;         /* some record that has its line in that page was */
    bool blind;         /* records may have been stepped over: the next line must fit its record */
    bool hole;
} l2_walk;

/* Where the first record begins, as its footer page says. */
static uint32_t l2_walk_first(const l2 *d, const l2_walk *w)
{
    const uint64_t first = (uint64_t)l2_r32(w->old + 8) * d->form.granule;
    const bool mine = l2_r64(w->old + 16) == w->s->head.segseq;
    return mine && (first == w->next || first == L2_PAGE) ? (uint32_t)first : 0;
}

/* The line that was noted when the record was reserved; NULL: there is none. */
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
    const bool mine = l2_r64(w->old + 16) == w->s->head.segseq; /* not of the slot's past */
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

/* The record at `off` ends at `next`. Its line says where the one behind it begins: there, or on
 * the next page. A line that says anything else is damaged. */
static void l2_walk_on(const l2 *d, l2_walk *w, uint32_t off, uint32_t next,
                       const unsigned char *line)
{
    const uint32_t guess = off + l2_line_dist(d, line);
    const bool fits = guess == next || guess == base_round_up(next, L2_PAGE);
    w->next = next;
    w->guess = fits ? guess : 0;
}

/* What its line says of a record that is damaged. */
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
    if (r->kind == L2_KIND_CONTROL) { /* as it was logged: see l2_control_line */
        const unsigned char type = at[L2_RECORD_HEAD + (size_t)r->ext * 8];
        return type == L2_CTL_TAG || type == L2_CTL_GLOB ? type : 0;
    }
    const unsigned char *key = at + L2_RECORD_HEAD + (size_t)r->ext * 8;
    return l2_h48(base_hash(&d->hash_key, r->vgen, key, r->klen));
}

/* A kill leaves the mark of a reservation without a line only while its check is 0. So a mark with
 * another check, no line and no whole record is what the slot held before: of this life or of an
 * earlier epoch, by chance. A record whose line is damaged, too, is found by the count of lines or
 * by a whole record behind it (l2_walk_fell_short). */
static bool l2_walk_is_past(const l2 *d, const l2_walk *w, uint32_t off, const l2_rec *r)
{
    const l2_slot *s = w->s;
    const unsigned char *at = s->base + off;
    return w->f->same_boot && l2_lsn(d, s->head.segseq, off) >= w->f->clean_lsn &&
           l2_r32(at) != 0 && !l2_rec_whole(&d->form, at, s->head.segseq, off, r);
}

/* Are all bytes of a control there? Its first one is 0 until they are copied (log.c). */
static bool l2_control_there(const l2_rec *r, const unsigned char *value, uint64_t lsn)
{
    switch (value[0]) {
    case L2_CTL_VIEW: return r->vlen == 16u + value[1] && l2_r32(value + 8) == r->vgen;
    case L2_CTL_FLOOR: return r->vlen == 16 && l2_r64(value + 8) <= lsn;
    case L2_CTL_TAG: return r->vlen == 32;
    case L2_CTL_GLOB: return r->vlen == 16u + l2_r16(value + 2);
    default: return false;
    }
}

/* A tombstone or a control without its check, with all its bytes: the mark vouches for
 * its head, its line for its class. */
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

/* Is what lies at `off` a short record but for one bit? Its class, then. */
static bool l2_one_bit_off(const l2 *d, const l2_slot *s, uint32_t off, uint32_t bytes,
                           uint64_t *h48)
{
    unsigned char copy[L2_HEAL_BYTES] BASE_ALIGNED(8); /* the slot itself may be cut by a kill */
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

/* Does a record begin at `off`, but for one bit of its head? Its line must bear its length out. */
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

/* The class that a damaged record hides. Its line may be damaged, too, and no sum of a slot says
 * so: it is believed if key and generation hash to it, or would with one bit turned over, where the
 * record as a whole is too long to be mended so. False: it may be any class. */
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
        other.vgen = r->vgen ^ (uint32_t)1 << bit;
        sure = l2_rec_h48(d, copy, &other) == said;
    }
    for (uint32_t bit = key * 8; bit < (key + r->klen) * 8 && !sure; bit++) {
        copy[bit / 8] ^= (unsigned char)(1u << (bit % 8));
        sure = l2_rec_h48(d, copy, r) == said;
        copy[bit / 8] ^= (unsigned char)(1u << (bit % 8));
    }
    return sure;
}

/* A record of class `h48` with this line, or NULL. Behind a place where records may have been
 * stepped over: is its line the one that its place in the slot gives it? */
static void l2_walk_sight(l2_walk *w, uint64_t h48, uint8_t kind, const unsigned char *line)
{
    uint64_t said = 0;
    if (!w->blind) { return; }
    if (line != NULL) { memcpy(&said, line, 6); }
    w->hole = w->hole || line == NULL || said != h48 || l2_line_rec(line).kind != kind;
    w->blind = false;
}

/* Note what a record at `off` hides that has a known head but does not verify. */
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

/* A record that is marked at `off`. */
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

/* No mark where one should be, but a footer line: its head is damaged. With one bit turned over it
 * is mended. Else the line alone says what it hides and where the next record begins, and the next
 * record that is whole must bear that out. */
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

/* Can this be a slot of which only the copy of its header was written when the process was killed?
 * The first page then has its past, or what l2_slot_head stores before the rest. */
static bool l2_slot_is_fresh(const l2 *d, const l2_slot *s)
{
    l2_head h;
    return l2_r64(s->base) == L2_HEAD_BEGUN || l2_all_zero(s->base, L2_HEAD_BYTES) ||
           l2_head_is_old(d, s->base) || l2_head_read(&d->form, s->base, &h);
}

/* The walk has ended behind `lines` records; was that the end? Not if the header before them, or
 * the page of their footer lines, is damaged, too, or a whole record of this segment lies behind:
 * what lay between is gone, record and line. Asked only where no power was cut: of that pages come
 * back in any mixture. */
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

/* The next record, if one is marked where it may begin: its place, else 0. What lies between the
 * end of the last one and a page is padding only if the last one's line does not say that a record
 * begins there, and only before a record that would not have fitted in. */
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

/* No record and no line: the end. A sync knows where it was, if the last record is damaged. */
static void l2_walk_ends(const l2 *d, l2_walk *w)
{
    const l2_finds *f = w->f;
    const uint64_t segseq = w->s->head.segseq, over = f->clean_lsn - l2_lsn(d, segseq, 0);
    if (f->same_boot) { w->hole = w->hole || l2_walk_fell_short(d, w, w->old_index); }
    if (w->blind && w->guess == 0 && f->clean_lsn != 0 && over < d->form.seg_bytes) {
        w->next = BASE_MAX(w->next, (uint32_t)over);
    }
}

/* Refill the slot's tables from its bytes. */
static void l2_slot_walk(l2 *d, l2_finds *f, l2_slot *s, l2_walk *w)
{
    *w = (l2_walk){ .f = f, .s = s };
    s->entries = s->tombs = s->controls = s->max_vgen = s->last_off = 0;
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

/* Does every byte of the segment at `place` verify? */
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

/* Does nothing else have its controls? */
static bool l2_find_needed(const l2 *d, const l2_find *g)
{
    return g->controls > 0 && d->meta_lsn < l2_lsn(d, g->segseq + 1, 0);
}

/* What lies where the slot was to go is below its floor, as a rule: reclaimed before that. */
static bool l2_place_meant(l2 *d, l2_finds *f, uint32_t meant)
{
    if (meant >= d->nseg || l2_place_is_bad(d, meant)) { return false; }
    l2_find *past = l2_place_find(f, meant);
    if (past == NULL) { return true; }
    if (l2_lsn(d, past->segseq + 1, 0) > f->floor || l2_find_needed(d, past)) { return false; }
    *past = f->at[--f->count];
    return true;
}

/* Where a walked slot goes: where it was meant to, which is what index.snap says, or to what is the
 * least use; nseg: nowhere, no place is good and none holds anything that may go. */
static uint32_t l2_place_for(l2 *d, l2_finds *f, const l2_slot *s)
{
    const uint32_t meant = s->head.segid;
    if (l2_place_meant(d, f, meant)) { return meant; }
    for (uint32_t p = 0; p < d->nseg; p++) {
        if (l2_place_find(f, p) == NULL && !l2_place_is_bad(d, p)) { return p; }
    }
    l2_find *oldest = NULL; /* reclaimed, but not yet overwritten, or the oldest there is */
    for (uint32_t i = 0; i < f->count; i++) {
        if (l2_place_is_bad(d, f->at[i].place)) { continue; } /* the next write fails, too */
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

/* Seal a slot at recovery and put it among what was found. */
static int l2_slot_settle(l2 *d, l2_finds *f, l2_slot *s, bool newest)
{
    l2_find *twin = l2_find_seq(f, s->head.segseq);
    if (twin != NULL && (f->same_boot || l2_place_whole(d, twin))) { return 0; }
    /* After a power cut what neither of the two has was synced in neither: promised to nobody. */
    const bool all = twin != NULL && l2_strict(d, f, s->head.segseq, twin->data_end);
    const uint32_t expect = all ? twin->entries : 0;
    if (twin != NULL) { *twin = f->at[--f->count]; }
    l2_walk *w = base_alloc(d->cfg.account, BASE_MOD_L2, sizeof *w, NULL);
    if (w == NULL) { return ENOMEM; }
    l2_slot_walk(d, f, s, w);
    /* Less than what was synced: something at its end is gone. */
    const bool cut = f->clean_lsn > l2_lsn(d, s->head.segseq, s->pos) &&
                     f->clean_lsn < l2_lsn(d, s->head.segseq + 1, 0);
    /* A close has sealed all slots but the one it ends in. */
    const bool half = f->copy && twin == NULL &&
                      l2_lsn(d, s->head.segseq + 1, 0) <= f->clean_lsn;
    if (w->hole || cut || half || s->entries < expect) {
        f->floor = BASE_MAX(f->floor, l2_lsn(d, s->head.segseq + 1, 0));
        L2_COUNT(d, holes);
    }
    base_free(d->cfg.account, BASE_MOD_L2, w, sizeof *w);
    if (newest && s->entries == 0) { return 0; } /* opened, never used: nobody names it */
    s->seg = l2_place_for(d, f, s);
    if (s->seg == d->nseg) { return ENODATA; }
    s->head.segid = s->seg;
    const int e = l2_seal(d, s);
    if (e != 0) { return e; }
    f->at[f->count++] = (l2_find){ s->head.segseq, s->head.prev_segseq, s->head.floor_lsn,
                                   s->head.base_wall_ms, base_load_rlx(&d->seg[s->seg].place),
                                   s->controls, d->seg[s->seg].footer_pages, s->pos, s->entries,
                                   s->max_vgen, s->head.meta };
    return 0;
}

/* The slot with the lowest number first, so that a full store gives up its oldest. */
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
        /* Also of a slot nothing was put into: filter, tags and patterns have relied on it. */
        f->floor = BASE_MAX(f->floor, d->slot[i].head.floor_lsn);
        f->meta = BASE_MAX(f->meta, d->slot[i].head.meta);
        for (uint32_t j = 0; j < i; j++) { /* a header that has come into another slot */
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

/* Of one that a move was about to give another place the lower stays. */
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

/* False: it cannot be read, so it may have been anything. */
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

/* There is always an open slot, so the newest header is in the stage, of this life, and the segment
 * before it was found. Else stage.buf or data.seg is of an earlier life. A slot that ended in a
 * FLOOR is the exception: nothing is behind it, nothing before it counts. */
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
             "stage.buf and data.seg are not of one moment: what was stored is given up");
    f->floor = floor;
    L2_COUNT(d, holes);
}

/* From the newest down: where the chain breaks above the floor, the floor rises. */
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

/* The newer META is damaged. If anything was reclaimed that the older one does not cover, controls
 * are missing, and what they ended may have come to the log behind them: nothing is believed. The
 * next META takes the damaged one's place. */
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

/* What lies below the floor is overwritten at once: its controls are META's from here on. */
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
    uint32_t vgen = 0;
    d->order_count = d->order_at = 0;
    base_store_rlx(&d->floor_lsn, f->floor);
    for (uint32_t i = 0; i < f->count; i++) {
        const l2_find *g = &f->at[i];
        vgen = BASE_MAX(vgen, g->max_vgen);
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
        d->slot[i].armed_end = d->form.seg_bytes; /* all of it since it was mapped */
        d->slot[i].past = true;
        d->slot[i].armed_lines = d->slot[i].armed_soon = UINT32_MAX;
    }
    d->arm_window = BASE_MIN((uint32_t)256 << 10, d->form.seg_bytes);
    sync_take(L2_DEV, &d->view_lock);
    d->next_vgen = BASE_MAX(d->next_vgen, vgen + 1);
    sync_drop(L2_DEV, &d->view_lock);
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
    d->super.meta = 0; /* whatever META says is of an epoch that is over */
    base_store_rlx(&d->floor_lsn, (uint64_t)0);
    f->count = 0;
    f->floor = 0;
    f->clean_lsn = 0;
    return l2_super_store(d);
}

/* Does the newest segment of a copy end where the close did? Or the close left an empty slot. */
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

/* False: something in a copy is younger than the close that its SUPER tells of. */
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
        /* A power cut in the middle of this must find it so. What a copy lacks shows no more once
         * its slots are sealed: cut, it is nobody's, and begins anew. */
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
    if (e == 0 && d->cfg.level != L2_DROP) { /* killed before that was: headers will rely on it */
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

/* There is always an open slot from here on: who must log something can. */
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

/* What they held is settled. A header that stayed, of a slot nobody had stored in, would stand
 * between two others in the chain at the next recovery: a gap. */
static void l2_slots_wipe(l2 *d)
{
    sync_take(L2_LOG, &d->log_lock);
    for (uint32_t i = 0; i < d->nstage; i++) {
        if (d->slot[i].state == L2_SLOT_FREE) { l2_slot_wipe(d, &d->slot[i]); }
    }
    sync_drop(L2_LOG, &d->log_lock);
}

/* The open of a copy fails: the next one may find all of it. What shows no more, now that slots are
 * sealed, is below the floor. */
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
