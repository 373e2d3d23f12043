/* SPDX-License-Identifier: MIT
 *
 * tier_store: store a change in the tier before the call returns.
 *
 * PICTURE    change with l2_write, or durable set -> as its ordered write (write_order.c): put,
 *            with waiting if the call promises it (cache_promise); a tombstone if the put fails. A
 *            put is its own tombstone: a process that dies in between leaves the older record.
 *            Results of touch, increment and renewal are read back from L1. After the put the entry
 *            in L1 has the address of its copy, so neither eviction nor close writes it again.
 *            offer -> watch the stamp, read L1, put with that stamp; again if the stamp moved
 * ANSWERS    OK: stored, or not wanted there. E_IO: refused (too large, write budget, cipher, off),
 *            or no room for 1 s; the old copy is killed, the value is in memory only. */
#include "cache/tier_store.h"

#include "cache/generation.h"
#include "cache/stamp.h"
#include "cache/tags.h"
#include "cache/tier_calls.h"
#include "cache/write_order.h"

BASE_SIZE_BEGIN

#define CACHE_TIER_TRY 512u    /* bytes tried on the stack */
#define CACHE_OFFER_ROUNDS 16u /* against changes of the stamp */

CELLAR_PRIVATE cache_promise cache_promise_of(const cellar *c, bool durable)
{
    const bool stores = cache_tier_of(c) != NULL;
    const cache_promise promise = !stores                                   ? CACHE_LATER
                                  : durable                                 ? CACHE_DURABLE
                                  : c->disk_mode == CELLAR_L2_WRITE_THROUGH ? CACHE_THROUGH
                                  : c->disk_mode == CELLAR_L2_WRITE_ON_SET  ? CACHE_TRY
                                                                            : CACHE_LATER;
    if (promise != CACHE_LATER) { cache_write_order_use(c->store); }
    return promise;
}

/* How an entry is put. */
typedef struct cache_how {
    uint64_t stamp;   /* CACHE_STAMP_NONE for an ordered write */
    uint64_t addr;    /* of a copy of the entry as it is in memory; 0: none */
    uint64_t where;   /* out: the address of the copy; 0: a tier without addresses */
    int64_t until_ms; /* end of an entry without further use; 0: used now */
    l2_why why;       /* out: why the disk refused the entry */
    bool kept;        /* the call reports that the entry is there */
    cache_progress *progress; /* of earlier puts of this value that were dropped */
} cache_how;

static l2_meta cache_disk_meta(const cellar *c, const l1_put_spec *p, const l1_times *t,
                               cache_how *how)
{
    l2_meta m = { .deadline_ms = t->deadline_ms, .stale_ms = (uint32_t)t->stale_ms,
                  .idle_ms = (uint32_t)t->idle_ms, .version = p->version, .addr = how->addr,
                  .tag_born = p->tag_born, .tag_fps = p->tag_fps, .tag_count = p->tag_count,
                  .user_flags = p->user_flags, .kind = p->kind, .cost = p->cost,
                  .durable = how->kept, .change = how->stamp == CACHE_STAMP_NONE,
                  .pack = c->disk_pack, .why = &how->why, .where = &how->where,
                  .parts = &how->progress->parts };
    if (m.idle_ms != 0) {
        m.until_ms = how->until_ms != 0
                         ? how->until_ms
                         : base_add_sat(base_now_ms(&c->store->clock), m.idle_ms);
    }
    return m;
}

static cache_stored cache_store_refused(cache_store *s, const cache_tier *t, const l2_meta *m)
{
    if (m->tag_count != 0 && cache_tags_valid(s, m->tag_born, m->tag_fps, m->tag_count) != 0) {
        return CACHE_UNWANTED; /* a tag has ended it meanwhile */
    }
    const int64_t until = m->until_ms != 0 ? BASE_MIN(m->until_ms, m->deadline_ms)
                                           : m->deadline_ms;
    const int64_t least = BASE_MAX(t->min_ttl_ms, 1);
    return until != BASE_NEVER_MS && until - base_now_ms(&s->clock) < least ? CACHE_SHORT
                                                                            : CACHE_REFUSED;
}

static cache_stored cache_store_spec(const cellar *c, const l1_key *k, const l1_put_spec *p,
                                     cache_how *how)
{
    const cache_tier *t = cache_tier_of(c);
    const l1_times own = { p->deadline_ms, p->idle_ms, p->stale_ms };
    const l1_times *times = (p->flags & L1_KEEP_TTL) != 0 ? &p->kept : &own;
    if (t == NULL) { return CACHE_STORED; }
    l2 *d = cache_tier_disk(t);
    if ((p->l2_addr == CACHE_NOT_ON_DISK && d != NULL) || p->kind == (uint8_t)L1_ERROR) {
        return CACHE_UNWANTED;
    }
    if (d == NULL) {
        const cellar_err err = t->put(t->ctx, k, p, times->deadline_ms);
        return err == CELLAR_OK || cache_tier_of(c) == NULL ? CACHE_STORED
               : err == CELLAR_E_BUSY ? CACHE_NO_ROOM : CACHE_REFUSED;
    }
    const l2_key key = cache_disk_key(k);
    const l2_meta m = cache_disk_meta(c, p, times, how);
    const l2_current current = { cache_stamp_is, c->store, how->stamp };
    const cellar_err err = l2_put(d, &key, p->value, p->value_len, &m, &current);
    if (err == CELLAR_OK || cache_tier_of(c) == NULL) { return CACHE_STORED; }
    if (err == L2_REFUSED) { return cache_store_refused(c->store, t, &m); }
    return l2_off(d) ? CACHE_REFUSED : CACHE_NO_ROOM;
}

static cache_stored cache_store_seen(const cellar *c, const l1_key *k, const l1_info *i,
                                     const void *value, size_t value_len, cache_how *how)
{
    uint64_t fps[BASE_TAGS_MAX], born = 0;
    const uint32_t tags = i->tag_count != 0 ? l1_tags_of(c->l1, k, fps, &born) : 0;
    if (tags != i->tag_count) { return CACHE_GONE; }
    const l1_put_spec p = { .value = value, .value_len = value_len,
                            .deadline_ms = i->deadline_ms, .stale_ms = i->stale_ms,
                            .idle_ms = i->idle_ms, .version = i->version,
                            .l2_addr = i->l2_addr,
                            .user_flags = i->user_flags, .kind = i->kind, .cost = i->cost,
                            .tag_fps = fps, .tag_count = tags, .tag_born = born };
    how->until_ms = i->expires_ms;
    how->addr = i->l2_addr;
    return cache_store_spec(c, k, &p, how);
}

/* Return the changes of the key's stamp, and watch for the next one. */
static uint64_t cache_store_changes(const cache_store *s, uint64_t hash)
{
    return CACHE_STAMP_CHANGES(cache_stamp_watch(cache_stamp(s, hash)));
}

/* Begin again if the key, or what L1 has of it, may be another one than at the last put. `changes`
 * is older than the pin of the value. */
static void cache_progress_look(const cache_store *s, cache_progress *p, uint64_t hash,
                                uint64_t changes)
{
    const bool known = cache_store_changes(s, hash) == changes;
    if (known && p->hash == hash && p->changes == changes) { return; }
    *p = (cache_progress){ .hash = known ? hash : 0, .changes = known ? changes : 0 };
}

/* Store the entry that L1 has. A newer change may have put it there, which is as good. */
static cache_stored cache_store_back(const cellar *c, const l1_key *k, cache_how *how)
{
    unsigned char small[CACHE_TIER_TRY];
    l1_info info;
    l1_pin_ref pin;
    const unsigned flags = L1_PEEK | L1_STALE_OK;
    const cellar_err err = l1_inspect(c->l1, k, small, sizeof small, &info, flags);
    if (err == CELLAR_STALE || !cache_generation_alive(c->store, k->generation)) {
        return CACHE_UNWANTED;
    }
    if (err == CELLAR_OK || err == CELLAR_ABSENT) {
        return cache_store_seen(c, k, &info, small, info.value_len, how);
    }
    if (err != CELLAR_E_BUFFER) { return CACHE_GONE; }
    const uint64_t changes = cache_store_changes(c->store, k->hash);
    BASE_POINT("tier.read_back");
    if (l1_pin(c->l1, k, &pin, L1_PEEK) != CELLAR_OK) { return CACHE_GONE; }
    cache_progress_look(c->store, how->progress, k->hash, changes);
    const cache_stored done = cache_store_seen(c, k, &info, pin.value, pin.value_len, how);
    l1_unpin_slot(c->l1, pin.slot);
    return done;
}

/* Queue the sum of an increment, whatever memory has of the key by now: with the fields of that
 * entry, or else those of a new counter. */
static cache_stored cache_store_sum(const cellar *c, const l1_key *k, const l1_put_spec *sum,
                                    cache_how *how)
{
    l1_info i;
    const cellar_err err = l1_inspect(c->l1, k, NULL, 0, &i, L1_PEEK | L1_STALE_OK);
    const cache_stored done = err == CELLAR_OK || err == CELLAR_STALE
        ? cache_store_seen(c, k, &i, sum->value, sum->value_len, how) : CACHE_GONE;
    return done != CACHE_GONE ? done : cache_store_spec(c, k, sum, how);
}

#define CACHE_STORE_PATIENCE_NS UINT64_C(1000000000)
#define CACHE_STORE_YIELDS 16u
#define CACHE_STORE_SLEEP_NS UINT64_C(100000)

/* Wait for room in the tier. room: l2_room_seen before the last put. Return false if the call has
 * waited long enough. */
static bool cache_store_wait(const cache_tier *t, uint32_t waits, uint32_t room, uint64_t *until_ns)
{
    const uint64_t now = base_now_ns();
    l2 *d = cache_tier_disk(t);
    if (waits == 0) { *until_ns = now + CACHE_STORE_PATIENCE_NS; }
    if (now >= *until_ns) { return false; }
    if (cache_tier_tick(t, 1000) || t->ticks) { return true; }
    if (waits < CACHE_STORE_YIELDS) { /* a lock was busy, or room comes soon */
        base_yield();
    } else if (d != NULL) {
        l2_room_wait(d, room);
    } else {
        base_sleep_ns(CACHE_STORE_SLEEP_NS);
    }
    return true;
}

/* Return why the disk does not have the entry. */
static cache_lack cache_store_lack(const l2 *d, cache_stored done, l2_why why)
{
    if (l2_stands_still(d)) { return CACHE_LACK_STILL; }
    if (done == CACHE_SHORT) { return CACHE_LACK_TTL; }
    if (done == CACHE_GONE) { return CACHE_LACK_GONE; }
    if (done == CACHE_NO_ROOM) { return CACHE_LACK_ROOM; }
    switch (why) {
    case L2_WHY_SIZE: return CACHE_LACK_SIZE;
    case L2_WHY_TTL: return CACHE_LACK_TTL;
    case L2_WHY_BUDGET: return CACHE_LACK_BUDGET;
    case L2_WHY_SEAL: return CACHE_LACK_SEAL;
    case L2_WHY_INDEX: return CACHE_LACK_INDEX;
    case L2_WHY_OTHER: break;
    }
    return l2_off(d) ? CACHE_LACK_OFF : CACHE_LACK_OTHER;
}

/* Return the answer of the call. An entry that must not be stored is no failure. */
static cellar_err cache_store_answer(const cellar *c, const l2 *d, cache_stored done,
                                     cache_promise promise, l2_why why)
{
    const bool fine = done == CACHE_STORED || done == CACHE_UNWANTED || promise == CACHE_TRY ||
                      (done == CACHE_SHORT && promise == CACHE_THROUGH);
    if (fine) { return CELLAR_OK; }
    stats_count(c->stats, STATS_L2_NOT_THROUGH, 1);
    return d != NULL ? CACHE_LACKING(cache_store_lack(d, done, why)) : CELLAR_E_IO;
}

CELLAR_PRIVATE cellar_err cache_tier_store(cellar *c, const l1_key *k, const l1_put_spec *p,
                                           cache_promise promise, cache_ordered *t)
{
    cache_store *s = c->store;
    const cache_tier *tier = NULL;
    cache_stored done = CACHE_NO_ROOM;
    uint64_t until_ns = 0;
    cache_progress progress = { .hash = 0 };
    size_t written = 0;
    cache_how how = { .stamp = CACHE_STAMP_NONE, .kept = promise >= CACHE_THROUGH,
                      .progress = &progress };
    for (uint32_t waits = 0; done == CACHE_NO_ROOM; waits++) {
        if (!cache_ordered_begin(s, t)) { return CELLAR_OK; } /* a newer change has its own
                                                               * promise */
        tier = cache_tier_of(c);
        if (tier == NULL) { return CELLAR_OK; }
        l2 *below = cache_tier_disk(tier);
        const uint32_t room = below != NULL ? l2_room_seen(below) : 0;
        how.why = L2_WHY_OTHER;
        done = p == NULL                      ? cache_store_back(c, k, &how)
               : p->change == L1_CHANGE_INCR ? cache_store_sum(c, k, p, &how)
                                             : cache_store_spec(c, k, p, &how);
        tier = cache_tier_of(c);
        if (tier == NULL) { return CELLAR_OK; }
        if (done != CACHE_NO_ROOM || promise == CACHE_TRY) { break; }
        cache_ordered_pause(s, t);
        /* Then the wait begins again, but not for bytes that the log took before and lost. */
        const bool on = progress.parts.done > written;
        written = BASE_MAX(written, progress.parts.done);
        if (!cache_store_wait(tier, on ? 0 : waits, room, &until_ns)) {
            if (!cache_ordered_begin(s, t)) { return CELLAR_OK; }
            break;
        }
    }
    l2 *d = cache_tier_disk(tier);
    if (d != NULL && (done == CACHE_NO_ROOM || (done == CACHE_REFUSED && l2_off(d)))) {
        base_store_rel(&s->owes, (uint32_t)CACHE_OWES_AGAIN); /* cache_disk_offer */
    }
    if (done == CACHE_GONE && cache_ordered_overtaken(s, t)) { done = CACHE_UNWANTED; }
    if (done != CACHE_STORED && d == NULL) {
        cache_ordered_pause(s, t); /* an older write still happens, and listeners run */
        if (done == CACHE_NO_ROOM || done == CACHE_REFUSED) { tier->lost(tier->ctx, k); }
        return cache_store_answer(c, d, done, promise, how.why);
    }
    if (done != CACHE_STORED) {
        const l2_key key = cache_disk_key(k);
        l2_invalidate(d, &key);
    } else if (how.where != 0) {
        l1_clean(c->l1, k, how.where);
    }
    cache_ordered_done(s, t);
    return cache_store_answer(c, d, done, promise, how.why);
}

/* Order the watch and the look by a fence, as load_shared.c of loading/ does. A change after the
 * look has moved the stamp, so the put is refused, or the copy is not noted in memory. */
CELLAR_PRIVATE cache_stored cache_tier_offer(cellar *c, const l1_key *k, cache_progress *progress)
{
    cache_store *s = c->store;
    cache_scope f;
    cache_how how;
    cache_stored done;
    uint32_t rounds = 0;
    cache_scope_push(&f, c, false, false);
    do {
        const uint64_t word = cache_stamp_watch(cache_stamp(s, k->hash));
        f.globs = base_load_acq(&s->glob_epoch);
        f.expect = CACHE_STAMP_CHANGES(word);
        how = (cache_how){ .stamp = cache_captured(s, word),
                           .kept = c->disk_mode == CELLAR_L2_WRITE_THROUGH,
                           .progress = progress };
        base_fence_sc();
        done = cache_store_back(c, k, &how);
    } while (done == CACHE_REFUSED && ++rounds < CACHE_OFFER_ROUNDS &&
             cache_has_stamps(s) && !cache_stamp_is(s, k->hash, how.stamp));
    if (done == CACHE_STORED && how.where != 0) { l1_clean(c->l1, k, how.where); }
    cache_scope_pop(&f);
    return done;
}

BASE_SIZE_END
