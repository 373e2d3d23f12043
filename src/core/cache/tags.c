/* SPDX-License-Identifier: MIT
 *
 * tags: invalidate all entries with a tag in O(1). Only invalidated tags are stored.
 *
 * PICTURE    entry {born, fingerprints}        table: fingerprint -> {hard epoch, soft epoch}
 *            delete_by_tag: e = epoch + 1 -> record(fp) = e -> epoch = e
 *            read: born >= epoch: valid (one compare). Else born < floor or hard > born: invalid;
 *            soft > born: stale
 *            full table: drop the eighth with the oldest epochs, floor = the newest of them
 * INVARIANTS born is the epoch when a set was called or a load began: a value computed before an
 *            invalidation and stored after it is invalid already.
 *            The record is written before the epoch: a writer with born = e, or a reader of epoch
 *            e, finds it. A dropped record has its epoch at or below the floor: all older entries
 *            are invalid.
 * LOCKING    TAG for writers. Readers take no lock, also in windows of L1. A larger table is
 *            published whole, the old one is kept until the close. A fold moves records while
 *            `tag_version` is odd; a reader then says "invalid": a miss is always allowed.
 * LIMITS     memory / 4,096 records, 64..65,536; the table is at most half full. Without memory for
 *            it the floor invalidates all tagged entries, counted as a fold. Two tags with one
 *            fingerprint share their fate, which can only cost a miss.
 * SEE ALSO   README.md, "Tags": limits in detail, rejected designs; l2/invalidations.c: tags
 *            after a restart. */
#include "cache/tags.h"

#include "cache/call.h"
#include "cache/error.h"
#include "cache/explain_record.h"
#include "cache/shared.h"
#include "cache/tier_calls.h"

#define CACHE_TAG_LEAST 128u /* slots of the first table */
#define CACHE_TAG_PARTS 512u

typedef struct cache_tag_slot {
    _Atomic uint64_t fp;   /* 0: empty; release after the epochs */
    _Atomic uint64_t hard, soft;
    _Atomic int64_t hard_timeout_ms; /* time of `hard`, ms; 0: in an earlier life */
} cache_tag_slot;

struct cache_tags {
    struct cache_tags *older; /* freed with the store */
    uint32_t mask, used;      /* slots - 1; records (TAG) */
    size_t bytes;
    cache_tag_slot slot[];
};

static uint64_t cache_tag_print(uint64_t fp) { return fp != 0 ? fp : 1; }

/* Find the slot of a tag, or the empty slot for it. The table is never full. */
static cache_tag_slot *cache_tag_slot_of(cache_tags *t, uint64_t fp)
{
    for (uint64_t i = base_mix64(fp);; i++) {
        cache_tag_slot *s = &t->slot[i & t->mask];
        const uint64_t there = base_load_acq(&s->fp);
        if (there == fp || there == 0) { return s; }
    }
}

/* ---- reading ---- */

/* Check an entry: 0 valid, 1 stale, 2 invalid. fps may be torn: then the caller looks again
 * anyway. */
static int cache_tags_look(cache_tags *t, uint64_t born, const uint64_t *fps, uint32_t count)
{
    int verdict = 0;
    for (uint32_t i = 0; i < count; i++) {
        const cache_tag_slot *s = cache_tag_slot_of(t, cache_tag_print(fps[i]));
        if (base_load_acq(&s->fp) == 0) { continue; }
        if (base_load_acq(&s->hard) > born) { return 2; }
        if (base_load_acq(&s->soft) > born) { verdict = 1; }
    }
    return verdict;
}

CELLAR_PRIVATE int cache_tags_valid(void *ctx, uint64_t born, const void *fps, uint32_t count)
{
    const cache_store *s = ctx;
    if (BASE_LIKELY(born >= base_load_acq(&s->tag_epoch)) || count == 0) { return 0; }
    uint64_t own[BASE_TAGS_MAX];
    count = BASE_MIN(count, BASE_TAGS_MAX);
    memcpy(own, fps, count * sizeof own[0]);
    const uint32_t version = base_load_acq(&s->tag_version);
    if (born < base_load_acq(&s->tag_floor) || (version & 1u) != 0) { return 2; }
    cache_tags *t = base_load_acq(&s->tags);
    if (t == NULL) { return 0; }
    const int verdict = cache_tags_look(t, born, own, count);
    base_fence_acq();
    return base_load_rlx(&s->tag_version) == version ? verdict : 2;
}

CELLAR_PRIVATE int64_t cache_tags_ended(void *ctx, uint64_t born, const void *fps, uint32_t count)
{
    const cache_store *s = ctx;
    int64_t first = BASE_NEVER_MS;
    if (born >= base_load_acq(&s->tag_epoch)) { return first; }
    const uint32_t version = base_load_acq(&s->tag_version);
    cache_tags *t = base_load_acq(&s->tags);
    if (t == NULL || (version & 1u) != 0) { return first; }
    uint64_t own[BASE_TAGS_MAX];
    count = BASE_MIN(count, BASE_TAGS_MAX);
    memcpy(own, fps, count * sizeof own[0]);
    for (uint32_t i = 0; i < count; i++) {
        const cache_tag_slot *r = cache_tag_slot_of(t, cache_tag_print(own[i]));
        if (base_load_acq(&r->fp) == 0 || base_load_acq(&r->hard) <= born) { continue; }
        first = BASE_MIN(first, base_load_rlx(&r->hard_timeout_ms));
    }
    base_fence_acq();
    return base_load_rlx(&s->tag_version) == version ? first : BASE_NEVER_MS;
}

BASE_SIZE_BEGIN

/* ---- writing ---- */

static uint64_t cache_tag_last(const cache_tag_slot *s)
{
    return BASE_MAX(base_load_rlx(&s->hard), base_load_rlx(&s->soft));
}

SYNC_HOLDS(TAG)
static void cache_tag_put(cache_tags *t, uint64_t fp, uint64_t hard, uint64_t soft, int64_t ms)
{
    cache_tag_slot *s = cache_tag_slot_of(t, fp);
    if (base_load_rlx(&s->fp) == 0) { t->used++; }
    if (hard > base_load_rlx(&s->hard)) { base_store_rlx(&s->hard_timeout_ms, ms); }
    base_store_rel(&s->hard, BASE_MAX(hard, base_load_rlx(&s->hard)));
    base_store_rel(&s->soft, BASE_MAX(soft, base_load_rlx(&s->soft)));
    base_store_rel(&s->fp, fp); /* acquire in cache_tag_slot_of */
}

static void cache_tag_copy(cache_tag_slot *to, const cache_tag_slot *from)
{
    base_store_rlx(&to->fp, base_load_rlx(&from->fp));
    base_store_rlx(&to->hard, base_load_rlx(&from->hard));
    base_store_rlx(&to->soft, base_load_rlx(&from->soft));
    base_store_rlx(&to->hard_timeout_ms, base_load_rlx(&from->hard_timeout_ms));
}

/* Remove a record and move up the records behind it that it displaced. */
SYNC_HOLDS(TAG) static void cache_tag_cut(cache_tags *t, uint32_t at)
{
    t->used--;
    for (uint32_t i = at;;) {
        cache_tag_slot *hole = &t->slot[at];
        i = (i + 1) & t->mask;
        cache_tag_slot *s = &t->slot[i];
        const uint64_t fp = base_load_rlx(&s->fp);
        if (fp == 0) {
            static const cache_tag_slot empty;
            cache_tag_copy(hole, &empty);
            return;
        }
        const uint32_t home = (uint32_t)base_mix64(fp) & t->mask;
        /* its home is past the hole */
        if (((i - home) & t->mask) < ((i - at) & t->mask)) { continue; }
        cache_tag_copy(hole, s);
        at = i;
    }
}

/* Return the epoch that is the upper bound of the oldest eighth of the records. */
SYNC_HOLDS(TAG) static uint64_t cache_tag_eighth(const cache_tags *t, uint64_t low, uint64_t high)
{
    uint32_t wanted = t->used / 8 + 1; /* records in from..high */
    uint64_t from = 0;
    while (low < high) { /* the table is long: split the range and count all parts in one pass */
        const uint64_t each = (high - low) / CACHE_TAG_PARTS;
        const unsigned shift = each != 0 ? base_log2_floor(each) + 1u : 0u;
        uint32_t count[CACHE_TAG_PARTS] = {0}, part = 0;
        for (uint32_t i = 0; i <= t->mask; i++) {
            const cache_tag_slot *s = &t->slot[i];
            const uint64_t last = cache_tag_last(s);
            if (base_load_rlx(&s->fp) == 0 || last < from || last > high) { continue; }
            count[last > low ? (last - low) >> shift : 0]++;
        }
        while (part < CACHE_TAG_PARTS - 1 && count[part] < wanted) { wanted -= count[part++]; }
        low += (uint64_t)part << shift;
        if (part != 0) { from = low; }
        high = BASE_MIN(high, low + ((uint64_t)1 << shift) - 1);
    }
    return low;
}

SYNC_HOLDS(TAG) static void cache_tag_fold(cache_store *s, cache_tags *t)
{
    const uint64_t was = base_load_rlx(&s->tag_floor);
    const uint64_t floor = cache_tag_eighth(t, was, base_load_rlx(&s->tag_epoch));
    (void)base_add_sc(&s->tag_version, 1u); /* odd: readers answer "invalid" */
    base_fence_rel();
    BASE_POINT("tag.fold");
    base_store_rel(&s->tag_floor, BASE_MAX(floor, was));
    for (uint32_t i = 0; i <= t->mask; i++) {
        while (base_load_rlx(&t->slot[i].fp) != 0 && cache_tag_last(&t->slot[i]) <= floor) {
            cache_tag_cut(t, i);
        }
    }
    (void)base_add_sc(&s->tag_version, 1u);
    stats_count(s->stats, STATS_TAG_FOLD, 1);
}

static uint32_t cache_tags_most(const cache_store *s)
{
    const uint64_t records = base_pow2_floor(base_load_rlx(&s->account.limit) / 4096);
    return (uint32_t)base_clamp(records, 64, 65536) * 2;
}

/* Allocate a table of twice the size of `t`; NULL: the first one. Return NULL if no memory is left
 * or the maximum is reached. */
static cache_tags *cache_tags_larger(cache_store *s, const cache_tags *t)
{
    const uint32_t slots = t != NULL ? (t->mask + 1) * 2 : CACHE_TAG_LEAST;
    if (slots > cache_tags_most(s)) { return NULL; }
    const size_t bytes = sizeof *t + slots * sizeof(cache_tag_slot);
    cache_tags *made = base_alloc(&s->account, BASE_MOD_TAG, bytes, NULL);
    if (made == NULL) { return NULL; }
    made->mask = slots - 1;
    made->bytes = bytes;
    return made;
}

SYNC_HOLDS(TAG) static void cache_tags_move(cache_store *s, cache_tags *from, cache_tags *to)
{
    for (uint32_t i = 0; from != NULL && i <= from->mask; i++) {
        const cache_tag_slot *r = &from->slot[i];
        const uint64_t fp = base_load_rlx(&r->fp);
        if (fp == 0) { continue; }
        cache_tag_put(to, fp, base_load_rlx(&r->hard), base_load_rlx(&r->soft),
                      base_load_rlx(&r->hard_timeout_ms));
    }
    to->older = from;
    base_store_rel(&s->tags, to); /* acquire in cache_tags_valid */
}

/* Make room for one more record, with `larger` if given. Return false if a larger table is
 * needed. */
SYNC_HOLDS(TAG)
static bool cache_tag_room(cache_store *s, uint64_t fp, cache_tags **larger, bool last)
{
    cache_tags *t = base_load_rlx(&s->tags);
    if (t != NULL && base_load_rlx(&cache_tag_slot_of(t, fp)->fp) == fp) { return true; }
    if (t != NULL && t->used < (t->mask + 1) / 2) { return true; }
    if (*larger != NULL && (t == NULL || (*larger)->mask > t->mask)) {
        cache_tags_move(s, t, *larger);
        *larger = NULL;
        return true;
    }
    if (!last) { return false; }
    if (t != NULL) { cache_tag_fold(s, t); }
    return true;
}

/* Take the lock and make room for a record. Return a table that was not needed, to be freed after
 * the lock is dropped; NULL: none. */
SYNC_TAKES(TAG) static cache_tags *cache_tag_enter(cache_store *s, uint64_t fp)
{
    cache_tags *larger = NULL;
    sync_take(TAG, &s->tag_lock);
    if (!cache_tag_room(s, fp, &larger, false)) {
        const cache_tags *t = base_load_rlx(&s->tags); /* stays until the close */
        sync_drop(TAG, &s->tag_lock);
        larger = cache_tags_larger(s, t);
        sync_take(TAG, &s->tag_lock);
        (void)cache_tag_room(s, fp, &larger, true);
    }
    return larger;
}

/* Free the tables from `t` to the oldest one. */
static void cache_tags_free(cache_store *s, cache_tags *t)
{
    for (cache_tags *older; t != NULL; t = older) {
        older = t->older;
        base_free(&s->account, BASE_MOD_TAG, t, t->bytes);
    }
}

SYNC_HOLDS(TAG) static void cache_tag_end(cache_store *s, uint64_t fp, bool soft)
{
    cache_tags *t = base_load_rlx(&s->tags);
    const uint64_t e = base_load_rlx(&s->tag_epoch) + 1;
    if (t != NULL) {
        BASE_POINT("tag.record");
        cache_tag_put(t, fp, soft ? 0 : e, soft ? e : 0, base_now_ms(&s->clock));
    } else { /* no memory for a table: all older entries become invalid, soft or not */
        base_store_rel(&s->tag_floor, e);
        stats_count(s->stats, STATS_TAG_FOLD, 1);
    }
    BASE_POINT("tag.epoch");
    base_store_sc(&s->tag_epoch, e); /* acquire in cache_tags_valid and at reads of born */
}

CELLAR_PRIVATE uint64_t cache_tag_epoch_next(cache_store *s)
{
    sync_take(TAG, &s->tag_lock);
    const uint64_t epoch = base_load_rlx(&s->tag_epoch) + 1;
    base_store_sc(&s->tag_epoch, epoch);
    sync_drop(TAG, &s->tag_lock);
    return epoch;
}

/* ---- after a restart ---- */

static void cache_tag_known(void *ctx, uint64_t fp, uint64_t hard, uint64_t soft)
{
    cache_store *s = ctx;
    fp = cache_tag_print(fp);
    cache_tags *larger = cache_tag_enter(s, fp);
    cache_tags *t = base_load_rlx(&s->tags);
    if (t != NULL) {
        cache_tag_put(t, fp, hard, soft, 0);
    } else {
        const uint64_t last = BASE_MAX(hard, soft);
        base_store_rel(&s->tag_floor, BASE_MAX(last, base_load_rlx(&s->tag_floor)));
    }
    sync_drop(TAG, &s->tag_lock);
    cache_tags_free(s, larger);
}

CELLAR_PRIVATE void cache_tags_open(cache_store *s)
{
    uint64_t floor = 0;
    l2 *d = cache_disk(s);
    if (d == NULL) { return; }
    /* Above every earlier epoch: a fold meanwhile finds them all below. */
    base_store_sc(&s->tag_epoch, UINT64_MAX);
    const uint64_t epoch = l2_tags_known(d, &floor, cache_tag_known, s);
    base_store_rel(&s->tag_floor, BASE_MAX(floor, base_load_rlx(&s->tag_floor)));
    base_store_sc(&s->tag_epoch, epoch);
}

CELLAR_PRIVATE void cache_tags_close(cache_store *s)
{
    cache_tags *t = base_load_rlx(&s->tags);
    base_store_rlx(&s->tags, (cache_tags *)NULL);
    cache_tags_free(s, t);
}

CELLAR_PRIVATE uint64_t cache_tag_invalidate(cache_store *s, uint64_t fp, bool soft)
{
    cache_tags *larger = cache_tag_enter(s, fp);
    cache_tag_end(s, fp, soft);
    const uint64_t epoch = base_load_rlx(&s->tag_epoch);
    sync_drop(TAG, &s->tag_lock);
    cache_tags_free(s, larger);
    return epoch;
}

CELLAR_PRIVATE void cache_tag_delete(cellar *c, const void *tag, size_t tag_len, uint32_t mode)
{
    cache_store *s = c->store;
    const uint64_t name = base_hash(c->hash_key, CACHE_SALT_TAG, tag, tag_len);
    const uint64_t fp = cache_tag_print(name);
    const uint64_t epoch = cache_tag_invalidate(s, fp, mode == CELLAR_TAG_SOFT);
    l2 *d = cache_disk(s);
    if (d != NULL) { l2_tag_invalidate(d, fp, epoch, mode == CELLAR_TAG_SOFT); }
    stats_count(s->stats, STATS_TAG_DELETE, 1);
    if (mode == CELLAR_TAG_HARD) { cache_why_act(c, CELLAR_CAUSE_TAG, name, epoch, tag, tag_len); }
}

CELLAR_API cellar_err cellar_delete_by_tag(cellar *c, const void *tag, size_t tag_len,
                                           cellar_tag_mode mode)
{
    if (c == NULL || tag == NULL) {
        return cache_refuse(c, "cellar_delete_by_tag: c and tag must not be NULL");
    }
    if (tag_len == 0 || tag_len > CELLAR_TAG_MAX) {
        return cache_fail_size(c, "cellar_delete_by_tag: tag must have 1..128 bytes", tag_len);
    }
    if (mode > CELLAR_TAG_SOFT) {
        return cache_fail_number(c, "cellar_delete_by_tag: mode must be 0 or 1, a cellar_tag_mode",
                                 mode);
    }
    if (cache_is_closed(c)) { return cache_closed(c, __func__); }
    const cellar_err said = cache_shared_tag(c->store, tag, tag_len, mode);
    cache_tag_delete(c, tag, tag_len, mode);
    /* of the whole store: its disk, also if this namespace does not use it */
    const cellar_err kept = cache_acked_by(c, c->store->tier, CELLAR_OK);
    return kept != CELLAR_OK && said >= 0 ? kept : cache_server_code(c, said);
}

BASE_SIZE_END
