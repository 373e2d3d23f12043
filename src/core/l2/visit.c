/* SPDX-License-Identifier: MIT
 *
 * visit: pass the entries that a get would find, in the order of the log.
 *
 * PICTURE    position in the log -> slot: heads of its records | disk: trailer, footer page, heads
 *                -> keys of one generation -> l2_get of each key -> fn
 * INVARIANTS A record is passed if the get of its key returns this record. So a key is passed once.
 *            A key that is put again meanwhile is passed later, at the end of the log.
 *            Bytes of a segment count if the segment and its place are the same after the read.
 * LOCKING    L2_LOG for the end of a slot; pins as in read.c. fn runs without locks.
 *            A disk that does not answer for the moment ends the visit: E_BUSY, and *at stays. So
 *            does a record that a thread is still writing.
 * LIMITS     A segment with a damaged trailer is passed over, as are the records of a damaged
 *            footer page. A get still finds their entries.
 * SEE ALSO   read.c; cache/scan.c, which walks the log before and after the memory. */
#include "l2/types.h"

#include "l2/codec.h"
#include "l2/format.h"
#include "l2/io.h"
#include "l2/progress.h"
#include "l2/slot.h"

#define L2_VISIT_KEYS 64u           /* keys of one round */
#define L2_VISIT_BYTES (128u << 10) /* of their keys: at least one of the greatest length */
#define L2_VISIT_HEAD 512u          /* bytes read for a record: most heads and keys */
#define L2_VISIT_TRIES 64           /* rounds while a segment moves, or a value is copied: 10 ms */
#define L2_VISIT_SLEEP_NS UINT64_C(300000)
#define L2_VISIT_MARKS ((uint64_t)1 << 20) /* marks; several times the segments of a store */

typedef struct l2_visit_key {
    uint64_t lsn;
    uint32_t at, len; /* in `bytes` */
} l2_visit_key;

typedef struct l2_visit_round {
    uint64_t next;       /* position of the next round */
    uint32_t seen, keys; /* records looked at; keys found */
    uint32_t used;       /* of `bytes` */
    bool end;            /* the log ends here */
    bool stalled;        /* the disk does not answer */
    bool again;          /* the segment moved, or a record is incomplete */
    l2_visit_key key[L2_VISIT_KEYS];
    unsigned char page[L2_PAGE];
    unsigned char bytes[L2_VISIT_BYTES];
    unsigned char value[L2_VISIT_VALUE];
} l2_visit_round;

BASE_SIZE_BEGIN

static bool l2_visit_room(const l2_visit_round *b, uint32_t len)
{
    return b->keys < L2_VISIT_KEYS && sizeof b->bytes - b->used >= len;
}

static unsigned char *l2_visit_add(l2_visit_round *b, uint64_t lsn, uint32_t len)
{
    b->key[b->keys++] = (l2_visit_key){ lsn, b->used, len };
    b->used += len;
    return b->bytes + b->used - len;
}

/* Return whether the disk does not answer now: a get misses, and finds the entry later. */
static bool l2_visit_silent(const l2 *d)
{
    return base_load_acq(&d->disk) == L2_DISK_OK && l2_standing(d);
}

/* ---- a slot ---- */

/* Return the end of the records in the slot of a segment; 0: it is not there any more. */
static uint32_t l2_visit_slot_end(l2 *d, const l2_slot *s, uint64_t segseq, bool *open)
{
    sync_take(L2_LOG, &d->log_lock);
    const bool there = s->head.segseq == segseq && s->state != L2_SLOT_FREE;
    const uint32_t end = there ? s->pos : 0;
    *open = s->state == L2_SLOT_OPEN;
    sync_drop(L2_LOG, &d->log_lock);
    return end;
}

/* Collect keys of a slot from `off` on. The caller holds a pin. */
static void l2_visit_slot(l2 *d, l2_slot *s, uint64_t segseq, uint32_t off, uint32_t generation,
                         bool wait, l2_visit_round *b)
{
    bool open;
    const uint32_t end = l2_visit_slot_end(d, s, segseq, &open);
    const bool busy = base_load_acq(&s->writers) != 0;
    while (off < end && b->keys < L2_VISIT_KEYS) {
        l2_rec r;
        if (!l2_rec_marked(&d->form, s->base + off, segseq, off, end, &r)) {
            const uint32_t page = (uint32_t)base_round_up(off, L2_PAGE);
            off = page != off ? page : end; /* nothing behind a hole counts */
            continue;
        }
        const unsigned char *at = s->base + off;
        const bool mine = r.kind == L2_KIND_PUT && r.generation == generation;
        const bool whole = base_load_acq((const _Atomic uint32_t *)(const void *)at) != 0;
        if (mine && !whole && off >= s->kept_end && (wait || busy)) {
            b->again = wait;
            b->stalled = !wait;
            break;
        }
        if (mine && whole) {
            if (!l2_visit_room(b, r.klen)) { break; }
            memcpy(l2_visit_add(b, l2_lsn(d, segseq, off), r.klen),
                   at + L2_RECORD_HEAD + (size_t)r.ext * 8, r.klen);
        }
        b->seen++;
        off += l2_rec_room(&d->form, (size_t)r.ext * 8, r.klen, r.vlen);
    }
    b->end = off >= end && open;
    b->next = off < end || open ? l2_lsn(d, segseq, off) : l2_lsn(d, segseq + 1, 0);
}

/* ---- a place on disk ---- */

static bool l2_visit_read(l2 *d, void *buf, size_t n, uint64_t at)
{
    return l2_read_counted(d, d->data_file, buf, n, at) == 0;
}

static uint64_t l2_visit_foot_at(const l2 *d, uint64_t place_at, uint32_t index)
{
    return place_at + d->form.seg_bytes - (uint64_t)(index + 2) * L2_PAGE;
}

/* Return the last footer page that begins at `off` or before; UINT32_MAX: none verifies so far.
 * *next: start of the page behind it, or the end of the records. */
static uint32_t l2_visit_foot_find(l2 *d, uint64_t place_at, uint64_t segseq, const l2_trailer *t,
                                  uint32_t off, uint32_t *next)
{
    uint32_t found = UINT32_MAX;
    *next = t->data_end;
    for (uint32_t i = 0; i < t->footer_pages; i++) {
        unsigned char head[L2_FOOT_HEAD];
        const uint64_t at = l2_visit_foot_at(d, place_at, i);
        if (!l2_visit_read(d, head, sizeof head, at) || l2_r64(head + 16) != segseq) { continue; }
        const uint64_t first = (uint64_t)l2_r32(head + 8) * d->form.granule;
        if (found != UINT32_MAX && first > off) {
            *next = (uint32_t)BASE_MIN(first, (uint64_t)t->data_end);
            break;
        }
        found = i;
    }
    return found;
}

/* Read head and key of the record at `off`, and add the key if it is of the generation. Return
 * false if there is no room for it. */
static bool l2_visit_disk_key(l2 *d, uint64_t place_at, uint64_t segseq, uint32_t off,
                             uint32_t bytes, uint32_t generation, l2_visit_round *b)
{
    unsigned char head[L2_VISIT_HEAD] BASE_ALIGNED(8);
    const uint32_t n = BASE_MIN(bytes, L2_VISIT_HEAD);
    l2_rec r;
    if (!l2_visit_read(d, head, n, place_at + off) ||
        !l2_rec_marked(&d->form, head, segseq, off, off + bytes, &r) ||
        r.kind != L2_KIND_PUT || r.generation != generation) {
        return true;
    }
    if (!l2_visit_room(b, r.klen)) { return false; }
    const uint32_t key = L2_RECORD_HEAD + r.ext * 8u;
    unsigned char *to = l2_visit_add(b, l2_lsn(d, segseq, off), r.klen);
    if (key + r.klen <= n) {
        memcpy(to, head + key, r.klen);
    } else if (!l2_visit_read(d, to, r.klen, place_at + off + key)) {
        b->keys--;
    }
    return true;
}

/* Collect keys of the records that one footer page names, from `off` on. Return where to continue:
 * `next`, unless the round is full before. */
static uint32_t l2_visit_page(l2 *d, uint64_t place_at, uint64_t segseq, uint32_t off,
                              uint32_t next, uint32_t generation, l2_visit_round *b)
{
    uint64_t at = (uint64_t)l2_r32(b->page + 8) * d->form.granule;
    const uint32_t count = BASE_MIN((uint32_t)l2_r16(b->page + 12), L2_FOOT_ENTRIES);
    for (uint32_t i = 0; i < count && at < next; i++) {
        const unsigned char *line = l2_foot_entry(b->page, i);
        uint32_t dist = 0;
        l2_entry e;
        memcpy(&dist, line + 6, 3);
        const uint64_t bytes = (uint64_t)dist * d->form.granule;
        if (dist == 0 || at + bytes > d->form.seg_bytes) { return next; }
        if (at >= off) {
            const bool put = l2_entry_kind(line, &e) && e.kind == L2_KIND_PUT;
            if (b->keys == L2_VISIT_KEYS ||
                (put && !l2_visit_disk_key(d, place_at, segseq, (uint32_t)at, (uint32_t)bytes,
                                          generation, b))) {
                return (uint32_t)at;
            }
            b->seen++;
        }
        at += bytes;
    }
    return next;
}

static void l2_visit_place(l2 *d, uint64_t segseq, uint32_t place, uint32_t off,
                          uint32_t generation, l2_visit_round *b)
{
    const uint64_t place_at = (uint64_t)place * d->form.seg_bytes;
    l2_trailer t;
    uint32_t next = 0;
    b->next = l2_lsn(d, segseq + 1, 0);
    b->seen++; /* a segment without entries is work, too */
    if (!l2_visit_read(d, b->page, L2_PAGE, place_at + d->form.seg_bytes - L2_PAGE) ||
        !(l2_trailer_read(&d->form, b->page, &t) || l2_trailer_heal(&d->form, b->page, &t)) ||
        t.head.segseq != segseq) {
        return;
    }
    const uint32_t page = l2_visit_foot_find(d, place_at, segseq, &t, off, &next);
    if (page != UINT32_MAX && l2_visit_read(d, b->page, L2_PAGE,
                                           l2_visit_foot_at(d, place_at, page)) &&
        (l2_foot_ok(&d->form, b->page, segseq, page) ||
         l2_foot_heal(&d->form, b->page, segseq, page))) {
        next = l2_visit_page(d, place_at, segseq, off, next, generation, b);
    }
    if (next > off && next < t.data_end) { b->next = l2_lsn(d, segseq, next); }
}

/* ---- rounds ---- */

/* Collect keys from `at` on. wait: report an incomplete record in `again`. Else pass over one that
 * has no writer: its process died. */
static void l2_visit_collect(l2 *d, uint64_t at, uint32_t generation, bool wait, l2_visit_round *b)
{
    uint64_t state, next;
    b->seen = b->keys = b->used = 0;
    b->end = b->again = b->stalled = false;
    at = BASE_MAX(at, BASE_MAX(base_load_acq(&d->floor_lsn), base_load_acq(&d->leaving_lsn)));
    b->next = at;
    const uint32_t i = l2_seg_oldest(d, at / d->form.seg_bytes, &state, &next);
    if (i == UINT32_MAX) {
        b->end = true;
        return;
    }
    const l2_seg *g = &d->seg[i];
    const uint64_t segseq = L2_SEG_SEQ(state);
    uint32_t off = at / d->form.seg_bytes == segseq ? (uint32_t)(at % d->form.seg_bytes) : 0;
    off = BASE_MAX(off, L2_HEAD_BYTES);
    if (L2_SEG_STATE(state) == L2_SEG_STAGE) {
        l2_slot *s = &d->slot[L2_SEG_SLOT(state)];
        (void)base_add_sc(&s->pins, 1u);
        const bool here = base_load_sc(&g->word) == state;
        if (here) { l2_visit_slot(d, s, segseq, off, generation, wait, b); }
        (void)base_sub_ar(&s->pins, 1u);
        b->again = b->again || !here;
        return;
    }
    if (base_load_acq(&d->disk) != L2_DISK_OK) {
        b->next = l2_lsn(d, segseq + 1, 0); /* a get would miss */
        b->seen++;
        return;
    }
    b->stalled = l2_visit_silent(d);
    if (b->stalled) { return; }
    const uint32_t place = base_load_acq(&g->place);
    l2_visit_place(d, segseq, place, off, generation, b);
    b->again = base_load_acq(&g->place) != place || base_load_acq(&g->word) != state;
}

/* Pass the entries of a round. Return false if fn ended the scan; *at: behind that entry. */
static bool l2_visit_tell(l2 *d, uint32_t generation, l2_visit_round *b, l2_visit_fn fn, void *ctx)
{
    for (uint32_t i = 0; i < b->keys; i++) {
        const l2_visit_key *s = &b->key[i];
        l2_key k = { b->bytes + s->at, s->len, generation, 0 };
        k.hash = base_hash(&d->hash_key, generation, k.bytes, k.len);
        size_t len = 0;
        l2_meta m;
        const cellar_err err = l2_get(d, &k, b->value, sizeof b->value, &len, &m);
        const bool there = err == CELLAR_OK || err == CELLAR_ABSENT || err == CELLAR_E_BUFFER;
        if (!there && l2_visit_silent(d)) {
            b->next = s->lsn;
            b->stalled = true;
            return true;
        }
        if (!there || m.addr != s->lsn) { continue; }
        if (!fn(ctx, &k, err != CELLAR_E_BUFFER ? b->value : NULL, len, &m)) {
            if (i + 1 < b->keys) { b->next = s[1].lsn; }
            return false;
        }
    }
    return true;
}

static void l2_visit_wait(int round)
{
    BASE_POINT("l2.visit_waits");
    if (round < L2_VISIT_TRIES / 2) { base_yield(); } else { base_sleep_ns(L2_VISIT_SLEEP_NS); }
}

CELLAR_PRIVATE cellar_err l2_visit(l2 *d, uint32_t generation, uint64_t *at, uint32_t count,
                                  l2_visit_fn fn, void *ctx)
{
    l2_visit_round *b = l2_alloc(d, sizeof *b);
    if (b == NULL) { return CELLAR_E_NOMEM; }
    int tries = 0;
    bool more = true;
    b->end = b->stalled = false;
    for (uint32_t left = count; more && left > 0 && !b->end && !b->stalled && !l2_is_closed(d);) {
        l2_visit_collect(d, *at, generation, tries < L2_VISIT_TRIES, b);
        if (b->again && b->keys == 0 && ++tries <= L2_VISIT_TRIES) {
            l2_visit_wait(tries);
            continue;
        }
        tries = 0;
        more = l2_visit_tell(d, generation, b, fn, ctx);
        *at = b->next;
        left -= BASE_MIN(left, BASE_MAX(b->seen, 1u));
    }
    const bool end = b->end || l2_is_closed(d), stalled = b->stalled;
    base_free(d->cfg.account, BASE_MOD_L2, b, sizeof *b);
    return !more ? CELLAR_OK : end ? CELLAR_MISS : stalled ? CELLAR_E_BUSY : CELLAR_OK;
}

CELLAR_PRIVATE uint32_t l2_visit_mark(const l2 *d, uint64_t at)
{
    return (uint32_t)(at / d->form.seg_bytes % L2_VISIT_MARKS);
}

CELLAR_PRIVATE uint64_t l2_visit_from(l2 *d, uint32_t mark)
{
    sync_take(L2_LOG, &d->log_lock);
    const uint64_t newest = d->newest_segseq;
    sync_drop(L2_LOG, &d->log_lock);
    const uint64_t back = (newest - mark) % L2_VISIT_MARKS;
    return l2_lsn(d, newest - BASE_MIN(back, newest), 0);
}

BASE_SIZE_END
