/* SPDX-License-Identifier: MIT
 *
 * value: store and read a value as one record, or in parts if it is long.
 *
 * PICTURE    put   value -> part 0, part 1, .. : records of generation 0 -> head: record of the key
 *                  with number, total and size of the parts, without bytes
 *            get   head -> number -> the parts that the range touches -> the caller's buffer
 *            key of a part: u64 number of the value  u48 hash48 of the head  u32 index of the part
 * INVARIANTS The head is put last, so its reservation makes the one check of stamp, tags and
 *            patterns. A part is found through its head alone: no namespace has generation 0.
 *            Each value in parts has a number of its own, so parts of two values never mix. A get
 *            serves nothing unless all parts that it touches have a word, and a put stores no head
 *            without all of them.
 *            Parts are put as DURABLE, so a full pair of buckets drops them last: a value of 1,000
 *            parts would be lost with any of them.
 *            A change that puts has its tombstone in the log before the first part: a process death
 *            between parts leaves no older value.
 * LOCKING    None of its own.
 *            A part is wanted while the newest record with the hash48 of its head is that head.
 * LIMITS     A value above a quarter of the places is refused. Parts without a head stay until
 *            their segments are reclaimed. The parts of a value are older than its head: when one
 *            of them is reclaimed, the value is a miss, and its word stays until the head goes. If
 *            two keys have one hash48, a pass may drop the older one's parts.
 * SEE ALSO   README.md, "Values in parts": kills, ciphers, measurements. */
#include "l2/types.h"

#include "l2/admission.h"
#include "l2/codec.h"
#include "l2/format.h"
#include "l2/index.h"
#include "l2/link.h"
#include "l2/log.h"
#include "l2/progress.h"
#include "l2/read.h"
#include "l2/stall.h"
#include "l2/steps.h"
#include "l2/write.h"

BASE_SIZE_BEGIN

#define L2_PART_KEY 18u
#define L2_PART_BYTES ((uint32_t)64 << 10) /* of a record with the part, about */
#define L2_WHOLE_MOST ((size_t)256 << 10) /* a longer value has parts: a range reads some of them */
#define L2_PARTS_AHEAD 64u /* parts that the disk reads while one is checked */
#define L2_PART_BESIDE 128u /* head, link, extensions, key and rounding of it */
#define L2_OWNER_BYTES 512u /* read of a head, with most keys */
#define L2_OWN_RECORDS 16u   /* behind a tombstone; more of one key: unknown */
#define L2_OWNER_MOST (L2_RECORD_HEAD + L2_LINK_BYTES + L2_EXT_MAX + CELLAR_KEY_MAX)

typedef struct l2_part {
    l2_key key;
    unsigned char bytes[L2_PART_KEY];
} l2_part;

static uint32_t l2_part_bytes(const l2 *d)
{
    return BASE_MIN(L2_PART_BYTES, d->room_max) - L2_PART_BESIDE - d->seal_bytes;
}

static void l2_part_name(const l2 *d, uint64_t h48, uint64_t id, uint64_t index, l2_part *out)
{
    l2_w64(out->bytes, id);
    memcpy(out->bytes + 8, &h48, 6);
    l2_w32(out->bytes + 14, (uint32_t)index);
    out->key = (l2_key){ out->bytes, L2_PART_KEY, 0, 0 };
    out->key.hash = base_hash(&d->hash_key, 0, out->bytes, L2_PART_KEY);
}

/* ---- get ---- */

CELLAR_PRIVATE bool l2_indexed(l2 *d, uint64_t hash)
{
    const uint64_t h48 = l2_h48(hash);
    uint64_t word = l2_index_find(d, h48), before = 0;
    bool there = false;
    for (; word != before && !there; word = l2_index_find(d, h48)) { /* else the part moves now */
        BASE_POINT("l2.part_word");
        before = word;
        there = (word & L2_WORD_TWIN) != 0 || /* one of several: the read decides */
                ((word & L2_WORD_TOMB) == 0 &&
                 l2_word_lsn(d, word) >= BASE_MAX(base_load_acq(&d->floor_lsn), (uint64_t)1));
    }
    return there;
}

/* Return true if the parts of the bytes from..end of a value are there. */
static bool l2_parts_in(l2 *d, uint64_t h48, const l2_meta *head, uint64_t from, uint64_t end)
{
    l2_part part;
    bool there = true;
    for (uint64_t i = from / head->part_bytes; i * head->part_bytes < end && there; i++) {
        l2_part_name(d, h48, head->part_id, i, &part);
        there = l2_indexed(d, part.key.hash);
    }
    return there;
}

static bool l2_parts_there(l2 *d, uint64_t h48, const l2_meta *head)
{
    return l2_parts_in(d, h48, head, 0, head->part_total);
}

/* Read `bytes` of a value from `offset` on. They lie inside the value. *unread: as l2_want. */
static bool l2_parts_read(l2 *d, uint64_t h48, const l2_meta *head, uint64_t offset,
                          unsigned char *buf, size_t bytes, bool *unread)
{
    l2_part part;
    l2_meta m;
    uint64_t ahead = offset / head->part_bytes;
    const uint64_t end = (offset + bytes + head->part_bytes - 1) / head->part_bytes;
    bool cold = false; /* memory lacks a part: the disk reads the next ones meanwhile */
    for (size_t done = 0, n; done < bytes; done += n) {
        const uint64_t at = offset + done, index = at / head->part_bytes;
        ahead = BASE_MAX(ahead, index);
        for (; (cold || done == 0) && ahead < BASE_MIN(end, index + L2_PARTS_AHEAD); ahead++) {
            l2_part_name(d, h48, head->part_id, ahead, &part);
            cold = l2_record_ahead(d, part.key.hash, !cold) || cold;
            if (!cold) { break; }
        }
        const uint64_t begin = index * head->part_bytes, from = at - begin;
        const uint64_t size = BASE_MIN((uint64_t)head->part_bytes, head->part_total - begin);
        size_t len = 0;
        n = (size_t)BASE_MIN(size - from, (uint64_t)(bytes - done));
        l2_part_name(d, h48, head->part_id, index, &part);
        const l2_want w = { .k = &part.key, .buf = buf + done, .buf_cap = n, .value_len = &len,
                            .meta = &m, .range = n != size, .offset = from, .unread = unread,
                            .cold = &cold };
        if (l2_read_record(d, &w) != CELLAR_OK || len != size) { return false; }
    }
    return true;
}

/* Get what the read of the head asks for; w->unread is set. */
static cellar_err l2_value_get(l2 *d, const l2_want *w)
{
    L2_COUNT(d, gets);
    if (base_load_rlx(&d->broken) != 0 || l2_is_closed(d)) { return CELLAR_MISS; }
    cellar_err err = l2_read_record(d, w);
    const bool there = err == CELLAR_OK || err == CELLAR_E_BUFFER;
    if (there && w->meta->part_id != 0) {
        const uint64_t h48 = l2_h48(w->k->hash), total = w->meta->part_total;
        const uint64_t from = w->range ? BASE_MIN(w->offset, total) : 0;
        const size_t bytes = (size_t)BASE_MIN(total - from, (uint64_t)w->buf_cap);
        const bool some = w->range; /* a part elsewhere does not matter */
        if (!l2_parts_in(d, h48, w->meta, some ? from : 0, some ? from + bytes : total) ||
            (err == CELLAR_OK &&
             !l2_parts_read(d, h48, w->meta, from, w->buf, bytes, w->unread))) {
            L2_COUNT(d, miss_parts);
            err = CELLAR_MISS;
        }
    }
    if (err == CELLAR_OK || err == CELLAR_ABSENT) { L2_COUNT(d, hits); }
    /* a tier that is off has no answer to wait for */
    const bool later = err == CELLAR_MISS && *w->unread && !l2_off(d) && !l2_is_closed(d);
    return later ? CELLAR_E_TIMEOUT : err;
}

CELLAR_PRIVATE cellar_err l2_get(l2 *d, const l2_key *k, void *buf, size_t buf_cap,
                                 size_t *value_len, l2_meta *meta)
{
    bool unread = false;
    const l2_want w = { .k = k, .buf = buf, .buf_cap = buf_cap, .value_len = value_len,
                        .meta = meta, .unread = &unread };
    return l2_value_get(d, &w);
}

CELLAR_PRIVATE cellar_err l2_get_range(l2 *d, const l2_key *k, uint64_t offset, void *buf,
                                       size_t buf_cap, size_t *total, l2_meta *meta)
{
    bool unread = false;
    const l2_want w = { .k = k, .buf = buf, .buf_cap = buf_cap, .value_len = total, .meta = meta,
                        .range = true, .offset = offset, .unread = &unread };
    return l2_value_get(d, &w);
}

/* ---- move ---- */

typedef struct l2_owner { /* the newest record with the hash48 of a part's head */
    uint64_t id, h48; /* number of the value, hash48 of its head */
    bool found;  /* such a record, or one that cannot be read */
    bool wanted; /* it is the head of the value, with all parts, and nothing ended it; or it cannot
                  * be read */
    uint32_t generation; /* of the value */
    uint64_t total;      /* its bytes; both 0 unless that record is its head */
    uint32_t step;       /* bytes of a part */
    uint64_t link, its;  /* of the last record that was read; its hash48, 0: unknown, or its link */
} l2_owner;

/* Check `n` bytes of a record, from its begin. Return false if they end before its key does. */
static bool l2_owner_judge(l2 *d, l2_owner *o, const unsigned char *at, uint32_t n, uint64_t lsn,
                           bool future)
{
    const uint32_t off = (uint32_t)(lsn % d->form.seg_bytes);
    l2_rec r;
    l2_meta m;
    o->found = o->wanted = true;
    if (l2_r32(at) == 0 || !l2_rec_marked(&d->form, at, lsn / d->form.seg_bytes, off,
                                          d->form.seg_bytes, &r)) {
        return true; /* incomplete or damaged */
    }
    const size_t link = l2_link_bytes(&r), ext = (size_t)r.ext * 8;
    const unsigned char *key = at + L2_RECORD_HEAD + ext;
    if (L2_RECORD_HEAD + ext + r.klen > n) { return false; }
    o->link = link != 0 ? l2_link_read(&d->form, at + L2_RECORD_HEAD, lsn) : 0;
    const uint64_t its = l2_h48(base_hash(&d->hash_key, r.generation, key, r.klen));
    o->its = link == 0 || o->link != 0 ? its : 0;
    o->found = r.generation != 0 && o->h48 == its;
    memset(&m, 0, offsetof(l2_meta, tags));
    o->wanted = o->found && r.kind == L2_KIND_PUT &&
                l2_ext_read(at + L2_RECORD_HEAD + link, ext - link, &m) && m.part_id == o->id &&
                l2_record_valid(d, at, &r, lsn, future);
    o->generation = o->wanted ? r.generation : 0;
    o->total = o->wanted ? m.part_total : 0;
    o->step = m.part_bytes;
    o->wanted = o->wanted && l2_parts_there(d, o->h48, &m);
    return true;
}

/* Read head and key of the record that a word names, and check them. */
static void l2_owner_read(l2 *d, l2_owner *o, uint64_t word)
{
    unsigned char few[L2_OWNER_BYTES] BASE_ALIGNED(8) = { 0 };
    const l2_seg *g = &d->seg[l2_word_seg(d, word)];
    const uint64_t state = base_load_acq(&g->word), lsn = l2_word_lsn(d, word);
    const uint32_t off = l2_word_off(d, word);
    const uint32_t most = BASE_MIN(l2_word_bytes(d, word), d->form.seg_bytes - off);
    const uint32_t all = BASE_MIN(most, L2_OWNER_MOST);
    const uint32_t n = BASE_MIN(all, (uint32_t)sizeof few);
    const bool future = base_load_rlx(&g->future) != 0;
    o->found = o->wanted = true;
    o->generation = 0;
    if (!l2_record_head(d, g, state, off, few, n) || l2_owner_judge(d, o, few, n, lsn, future)) {
        return;
    }
    unsigned char *whole = l2_alloc(d, all); /* a long key */
    if (whole == NULL) { return; }
    if (l2_record_head(d, g, state, off, whole, all)) {
        (void)l2_owner_judge(d, o, whole, all, lsn, future);
    }
    base_free(d->cfg.account, BASE_MOD_L2, whole, all);
}

CELLAR_PRIVATE bool l2_part_wanted(l2 *d, const unsigned char *key, uint32_t klen,
                                   uint32_t *generation)
{
    uint64_t word[L2_BUNCH_WORDS], lsn[L2_BUNCH_WORDS];
    l2_moves *v = &d->moves;
    if (klen != L2_PART_KEY) { return false; }
    l2_owner o = { .id = l2_r64(key) };
    memcpy(&o.h48, key + 8, 6);
    const uint32_t n = v->value != o.id ? l2_index_all(d, o.h48, word) : 0;
    for (uint32_t i = 0; i < n; i++) { lsn[i] = l2_word_lsn(d, word[i]); }
    for (uint32_t at = 0; n > 0 && !o.found; at = 0) {
        for (uint32_t i = 1; i < n; i++) { at = lsn[i] > lsn[at] ? i : at; }
        if (lsn[at] == 0) { break; }
        o.link = 0;
        l2_owner_read(d, &o, word[at]);
        const uint64_t link = o.link < lsn[at] ? o.link : 0;
        word[at] = link != 0 && !o.found ? l2_link_word(d, link) : 0;
        o.found = o.found || word[at] == L2_LINK_LOST;
        o.wanted = o.wanted || word[at] == L2_LINK_LOST;
        lsn[at] = word[at] != 0 ? link : 0;
    }
    if (v->value != o.id) {
        v->value = o.id;
        v->value_wanted = o.wanted;
        v->value_generation = o.generation;
        v->value_h48 = o.h48;
        v->value_bytes = o.total;
        v->value_step = o.step;
    }
    *generation = v->value_generation;
    return v->value_wanted;
}

/* Return true if all records behind the tombstone of a word are of its key. */
static bool l2_tomb_own(l2 *d, uint64_t word)
{
    l2_owner o = { .id = 0 };
    uint64_t lsn = l2_word_lsn(d, word), first = 0;
    for (uint32_t n = 0; word != 0 && n < L2_OWN_RECORDS; n++) {
        o.link = o.its = 0;
        if (word != L2_LINK_LOST) { l2_owner_read(d, &o, word); }
        first = n == 0 ? o.its : first;
        if (o.its == 0 || o.its != first) { return false; }
        lsn = o.link < lsn ? o.link : 0;
        word = lsn != 0 ? l2_link_word(d, lsn) : 0;
    }
    return word == 0;
}

CELLAR_PRIVATE uint64_t l2_part_lsn(l2 *d, uint64_t index)
{
    l2_part part;
    l2_part_name(d, d->moves.value_h48, d->moves.value, index, &part);
    const uint64_t word = l2_index_find(d, l2_h48(part.key.hash));
    return word != 0 ? l2_word_lsn(d, word) : 0;
}

/* ---- put ---- */

CELLAR_PRIVATE bool l2_off(const l2 *d)
{
    return base_load_rlx(&d->broken) != 0 || base_load_rlx(&d->disk) != L2_DISK_OK;
}

CELLAR_PRIVATE bool l2_stands_still(const l2 *d) { return l2_stalled(d) || l2_is_closed(d); }

static uint64_t l2_value_max(const l2 *d)
{
    return (uint64_t)base_load_acq(&d->places_seen) * d->form.seg_bytes / 4;
}

/* Return true if the log has the value of a put. The copy at put->addr may have moved: then it is
 * the value that a get finds, because no change came since. */
static bool l2_parts_same(l2 *d, const l2_key *k, size_t len, const l2_meta *put,
                          const l2_terms *terms)
{
    l2_meta m;
    size_t bytes;
    const l2_want w = { .k = k, .value_len = &bytes, .meta = &m };
    return l2_read_record(d, &w) == CELLAR_E_BUFFER && m.part_id != 0 && m.part_total == len &&
           m.deadline_ms == put->deadline_ms && l2_parts_there(d, l2_h48(k->hash), &m) &&
           l2_is_current(terms);
}

/* Store a record. If the index has no place for a durable one, let tombstones give theirs up, and
 * try again. */
static cellar_err l2_put_placed(l2 *d, const l2_key *k, const void *value, size_t len,
                                const l2_meta *m, const l2_current *current)
{
    cellar_err err = l2_put_record(d, k, value, len, m, current);
    if (err == L2_REFUSED && m->durable && l2_index_ease(d, l2_h48(k->hash), l2_tomb_own)) {
        err = l2_put_record(d, k, value, len, m, current);
    }
    return err;
}

/* Begin a value in parts. OK: p->id is its number. EXISTS: the log has it. */
static cellar_err l2_parts_begin(l2 *d, const l2_key *k, size_t len, const l2_meta *meta,
                                 const l2_terms *terms, l2_parts *p)
{
    if (meta->addr != 0 && meta->idle_ms == 0 && l2_parts_same(d, k, len, meta, terms)) {
        L2_COUNT(d, identical);
        return CELLAR_EXISTS;
    }
    l2_windows w;
    if (!l2_put_wanted(d, k, meta)) { return L2_REFUSED; }
    if (!l2_budget_allows(d, len, &w)) { return l2_put_refused(meta, L2_WHY_BUDGET); }
    l2_budgets_back(d, &w, len); /* each part takes its own bytes */
    if (meta->change) { l2_invalidate(d, k); }
    p->id = BASE_MAX(d->part_first + base_add_rlx(&d->part_count, 1u), (uint64_t)1);
    p->done = 0;
    return CELLAR_OK;
}

static cellar_err l2_parts_put(l2 *d, const l2_key *k, const unsigned char *value, size_t len,
                               const l2_meta *meta, const l2_current *current)
{
    l2_parts own = { 0, 0 }, *p = meta->parts != NULL ? meta->parts : &own;
    const bool idle = meta->idle_ms != 0 && meta->until_ms != 0;
    const l2_meta each = { .deadline_ms = idle ? BASE_MIN(meta->until_ms, meta->deadline_ms)
                                               : meta->deadline_ms,
                           .durable = true, .pack = meta->pack, .why = meta->why };
    const l2_terms terms = { 0, current, k->hash, 0, 0 };
    l2_meta head = *meta;
    cellar_err err = p->id == 0 ? l2_parts_begin(d, k, len, meta, &terms, p) : CELLAR_OK;
    while (err == CELLAR_OK && p->done < len) {
        const uint32_t size = l2_part_bytes(d);
        const size_t n = BASE_MIN((size_t)size, len - p->done);
        l2_part part;
        if (!l2_is_current(&terms)) { /* an early check; the head makes the decisive one */
            L2_COUNT(d, refused_stamp);
            return L2_REFUSED;
        }
        l2_part_name(d, l2_h48(k->hash), p->id, p->done / size, &part);
        err = l2_put_placed(d, &part.key, value + p->done, n, &each, NULL);
        if (err == CELLAR_OK) {
            BASE_POINT("l2.part");
            L2_COUNT(d, parts);
            p->done += n;
        }
    }
    if (err != CELLAR_OK) { return err == CELLAR_EXISTS ? CELLAR_OK : err; }
    head.addr = 0;
    head.unused = head.pack = false;
    head.part_id = p->id;
    head.part_total = len;
    head.part_bytes = l2_part_bytes(d);
    if (!l2_parts_there(d, l2_h48(k->hash), &head)) { /* reclaimed, while the put waited for room */
        *p = (l2_parts){ 0, 0 };
        L2_COUNT(d, dropped);
        return CELLAR_DROPPED;
    }
    return l2_put_placed(d, k, NULL, 0, &head, current);
}

CELLAR_PRIVATE cellar_err l2_put(l2 *d, const l2_key *k, const void *value, size_t value_len,
                                 const l2_meta *meta, const l2_current *current)
{
    L2_COUNT(d, puts);
    if (l2_off(d)) {
        L2_COUNT(d, dropped);
        return CELLAR_DROPPED;
    }
    if (l2_stalled(d)) {
        L2_COUNT(d, dropped);
        L2_COUNT(d, stalled);
        return CELLAR_DROPPED;
    }
    const bool whole = value_len <= L2_WHOLE_MOST &&
                       l2_record_fits(d, L2_EXT_MAX + k->len, value_len);
    if (whole || value_len > l2_value_max(d)) { /* the record refuses it */
        return l2_put_placed(d, k, value, value_len, meta, current);
    }
    return l2_parts_put(d, k, value, value_len, meta, current);
}

BASE_SIZE_END
