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
 *            without all of them. A pass that looked before the head was there may take them later:
 *            such a put is dropped (`passing`), and begins again.
 *            Parts are put as DURABLE, so a full shard of the index takes no place of theirs: a
 *            value of 1,000 parts would be lost with any of them.
 *            A change that puts has its tombstone in the log before the first part: a process death
 *            between parts leaves no older value.
 * LOCKING    None of its own.
 * LIMITS     A value above a quarter of the places is refused. Parts without a head stay until
 *            their segments are reclaimed. The parts of a value are older than its head: when one
 *            of them is reclaimed, the value is a miss, and its word stays until the head goes. If
 *            two keys have one hash48, a pass may drop the older one's parts.
 * SEE ALSO   part.c, pass.c: which parts move. README.md, "Values in parts": kills, ciphers. */
#include "l2/types.h"

#include "l2/admission.h"
#include "l2/codec.h"
#include "l2/log.h"
#include "l2/part.h"
#include "l2/plan.h"
#include "l2/progress.h"
#include "l2/read.h"
#include "l2/record.h"
#include "l2/write.h"

BASE_SIZE_BEGIN

#define L2_PART_BYTES ((uint32_t)64 << 10) /* of a record with the part, about */
#define L2_WHOLE_MOST ((size_t)256 << 10) /* a longer value has parts: a range reads some of them */
#define L2_PARTS_AHEAD 64u /* parts that the disk reads while one is checked */
#define L2_PART_BESIDE 128u /* head, extensions, key and rounding of it */

static uint32_t l2_part_bytes(const l2 *d)
{
    return BASE_MIN(L2_PART_BYTES, d->room_max) - L2_PART_BESIDE - d->seal_bytes;
}

/* ---- get ---- */

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
        for (; ahead < BASE_MIN(end, index + L2_PARTS_AHEAD); ahead++) {
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
                            .meta = &m, .range = n != size, .offset = from, .unread = unread };
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
    if (err != CELLAR_E_NOMEM && (err != CELLAR_MISS || !*w->unread)) { return err; }
    /* a tier that is off has no answer to wait for */
    return l2_off(d) || l2_is_closed(d) ? CELLAR_MISS
           : err == CELLAR_E_NOMEM      ? err : CELLAR_E_TIMEOUT;
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

/* ---- put ---- */

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

/* Return true if each pass that takes the parts has seen their head, which is there. Part 0 is the
 * oldest one, unless a pass that saw the head has moved it. */
static bool l2_parts_stay(l2 *d, const l2_key *k, const l2_parts *p)
{
    l2_part part;
    l2_part_name(d, l2_h48(k->hash), p->id, 0, &part);
    const uint64_t lsn = l2_word_now(d, l2_mix(part.key.hash)).lsn;
    return lsn >= base_load_acq(&d->passing) && lsn >= l2_floor(d);
}

static cellar_err l2_parts_put(l2 *d, const l2_key *k, const unsigned char *value, size_t len,
                               const l2_meta *meta, const l2_current *current)
{
    l2_parts own = { 0, 0 }, *p = meta->parts != NULL ? meta->parts : &own;
    const bool idle = meta->idle_ms != 0 && meta->until_ms != 0;
    const l2_meta each = { .deadline_ms = idle ? BASE_MIN(meta->until_ms, meta->deadline_ms)
                                               : meta->deadline_ms,
                           .durable = true, .pack = meta->pack, .why = meta->why };
    const l2_terms terms = { 0, current, k->hash, 0 };
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
        err = l2_put_record(d, &part.key, value + p->done, n, &each, NULL);
        if (err == CELLAR_OK) {
            BASE_POINT("l2.part");
            L2_COUNT(d, parts);
            p->done += n;
        }
    }
    if (err != CELLAR_OK) { return err == CELLAR_EXISTS ? CELLAR_OK : err; }
    head.addr &= L2_ADDR_DURABLE;
    head.unused = head.pack = false;
    head.part_id = p->id;
    head.part_total = len;
    head.part_bytes = l2_part_bytes(d);
    const bool there = l2_parts_there(d, l2_h48(k->hash), &head);
    if (there) { err = l2_put_record(d, k, NULL, 0, &head, current); }
    if (there && (err != CELLAR_OK || l2_parts_stay(d, k, p))) { return err; }
    *p = (l2_parts){ 0, 0 }; /* reclaimed, while the put waited for room */
    L2_COUNT(d, dropped);
    return CELLAR_DROPPED;
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
        return l2_put_record(d, k, value, value_len, meta, current);
    }
    return l2_parts_put(d, k, value, value_len, meta, current);
}

BASE_SIZE_END
