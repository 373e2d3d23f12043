/* SPDX-License-Identifier: MIT
 *
 * scan: walk through a namespace, some buckets per call; code of the host runs outside all locks.
 *
 * WALK       cursor -> one bucket of L1 (copied out) -> glob -> fn for each entry -> next bucket
 *            with the disk: the tier to its end -> L1 -> what the tier got meanwhile
 *            with a place: L1 without the entries that the first walk of the tier has passed
 * INVARIANTS An entry that exists from the first to the last call is seen at least once. The cursor
 *            of L1 counts buckets in reversed-bit order. A stop takes effect between buckets, so no
 *            entry of the last bucket is lost.
 *            With the disk this holds unless a call changes the entry. The change may bring it to
 *            memory when L1 is walked, and end its copy before the last walk of the tier.
 *            An entry that leaves L1 before its bucket is walked enters the tier behind the
 *            position at that time. The last walk of the tier begins when these puts have returned.
 *            So one of the two walks of the tier passes it. An entry that the tier drops after a
 *            read is in L1.
 * LOCKING    None; the call holds a ref of the namespace: fn may close or drop it.
 * LIMITS     The walk waits for puts for 1 s, a thread that hurries for 25 ms. An entry that is put
 *            later, as one of the list of demoted.c, is not visited.
 *            With a place, an entry on disk and in L1 is visited twice if the first walk of the
 *            tier could not read a part of it, or there is no memory to look at its copy. */
#include "cache/call.h"
#include "cache/error.h"
#include "cache/handle.h"

#include "base/glob.h"

#define CACHE_SCAN_BUCKETS 64u
#define CACHE_SCAN_RECORDS 8u /* records of the tier that count as a bucket */
#define CACHE_SCAN_WAIT_NS UINT64_C(1000000000)
#define CACHE_SCAN_HURRY_NS UINT64_C(25000000)

/* A cursor: phase 2 bits, then the cursor of L1 (42 bits) or a position in the tier (62 bits).
 * While L1 is walked, 20 bits tell where the first walk of the tier ended. */
enum { CACHE_SCAN_L1, CACHE_SCAN_TIER, CACHE_SCAN_THEN_L1, CACHE_SCAN_REST };
#define CACHE_SCAN_PHASE_SHIFT 62
#define CACHE_SCAN_MARK_SHIFT 42
#define CACHE_SCAN_BITS(n) (((uint64_t)1 << (n)) - 1)

typedef struct cache_scan {
    const cellar *namespace;
    uint32_t generation; /* generation of this bucket */
    cellar_scan_fn fn;
    void *ctx;
    const char *match; /* NULL: all keys */
    size_t match_len;
    int64_t now_ms;
    uint64_t *place; /* where the first walk of the tier ended; 0: it has passed over entries. */
                     /* During that walk: 1 if it has. NULL: not wanted */
    bool stop;
} cache_scan;

BASE_SIZE_BEGIN

/* Return whether the rest of a bucket, or of a walk, still belongs to the namespace: fn may have
 * closed, dropped or cleared it. */
static bool cache_scan_is_own(cache_scan *scan)
{
    if (cache_is_closed(scan->namespace)) { scan->stop = true; }
    return !cache_is_closed(scan->namespace) &&
           base_load_acq(&scan->namespace->generation) == scan->generation;
}

static void cache_scan_pass(cache_scan *scan, const cellar_scan_entry *e)
{
    if (scan->match != NULL && !base_glob_match(scan->match, scan->match_len, e->key, e->key_len)) {
        return;
    }
    sync_assert_none();
    if (!scan->fn(e, scan->ctx)) { scan->stop = true; }
}

static int64_t cache_scan_left_ms(const cache_scan *scan, int64_t expires_ms)
{
    return expires_ms == BASE_NEVER_MS ? CELLAR_TTL_NONE : BASE_MAX(expires_ms - scan->now_ms, 0);
}

/* Return the disk of the namespace; NULL: none. */
static l2 *cache_scan_disk(const cellar *c)
{
    const cache_tier *t = cache_tier_of(c);
    return t != NULL ? cache_tier_disk(t) : NULL;
}

/* Return whether the first walk of the disk has passed the copy of an entry: the copy is there now,
 * so it was there then. Memory need not have its address: a version that an entry gets is not in
 * the copy, and an entry that cellar_save wrote may have no place for an address. */
static bool cache_scan_passed(const cache_scan *scan, const l1_seen *e)
{
    const cellar *c = scan->namespace;
    l2 *d = cache_scan_disk(c);
    if (scan->place == NULL || d == NULL) { return false; }
    const l2_key key = { e->key, (uint32_t)e->key_len, scan->generation,
                         base_hash(c->hash_key, scan->generation, e->key, e->key_len) };
    l2_meta meta;
    size_t len;
    const cellar_err err = l2_get(d, &key, NULL, 0, &len, &meta);
    return (err == CELLAR_OK || err == CELLAR_ABSENT || err == CELLAR_E_BUFFER) &&
           meta.addr < *scan->place;
}

static bool cache_scan_one(void *ctx, const l1_seen *e)
{
    cache_scan *scan = ctx;
    if (!cache_scan_is_own(scan)) { return false; }
    if (cache_scan_passed(scan, e)) { return true; }
    const cellar_scan_entry entry = {
        .key = e->key, .key_len = e->key_len, .value = e->value, .value_len = e->value_len,
        .user_flags = e->info.user_flags,
        .kind = e->info.object ? CELLAR_KIND_OBJECT : (cellar_kind)e->info.kind,
        .ttl_left_ms = cache_scan_left_ms(scan, e->info.expires_ms),
    };
    cache_scan_pass(scan, &entry);
    return true; /* the rest of the bucket follows in any case */
}

/* Return the end of an entry on disk. With an idle time each use moves the end of an entry in
 * memory, not that of its copy. */
static int64_t cache_scan_end_ms(const cache_scan *scan, const l2_key *k, const l2_meta *m)
{
    const l1_key key = { k->bytes, k->len, k->generation, k->hash };
    l1_info i;
    if (m->idle_ms == 0 || m->until_ms == 0) { return m->deadline_ms; }
    return l1_inspect(scan->namespace->l1, &key, NULL, 0, &i, L1_PEEK) == CELLAR_OK ? i.expires_ms
                                                                                 : m->until_ms;
}

static bool cache_scan_below(void *ctx, const l2_key *k, const void *value, size_t value_len,
                             const l2_meta *m)
{
    cache_scan *scan = ctx;
    if (!cache_scan_is_own(scan)) { return false; }
    if (base_clock_reached(&scan->namespace->store->clock, m->deadline_ms)) { return true; }
    const cellar_scan_entry entry = {
        .key = k->bytes, .key_len = k->len, .value = value, .value_len = value_len,
        .user_flags = m->user_flags, .kind = (cellar_kind)m->kind,
        .ttl_left_ms = cache_scan_left_ms(scan, cache_scan_end_ms(scan, k, m)),
    };
    cache_scan_pass(scan, &entry);
    return !scan->stop;
}

/* Walk one bucket, or as many records of the tier. */
static cellar_err cache_scan_step(cache_scan *scan, uint64_t *cursor)
{
    const cellar *c = scan->namespace;
    l2 *d = cache_scan_disk(c);
    const uint64_t phase = *cursor >> CACHE_SCAN_PHASE_SHIFT;
    scan->generation = base_load_acq(&c->generation);
    if (phase == CACHE_SCAN_L1 || phase == CACHE_SCAN_THEN_L1) {
        uint64_t l1_at = *cursor & CACHE_SCAN_BITS(CACHE_SCAN_MARK_SHIFT);
        const uint64_t rest = *cursor - l1_at;
        const cellar_err err = l1_scan(c->l1, &l1_at, 1, scan->generation, true, cache_scan_one,
                                       scan);
        if (l1_at != 0 || err != CELLAR_OK || rest == 0 || d == NULL) {
            *cursor = l1_at != 0 || err != CELLAR_OK ? rest + l1_at : 0;
            return err;
        }
        const uint64_t most_ns = base_thread_self()->hurries ? CACHE_SCAN_HURRY_NS
                                                             : CACHE_SCAN_WAIT_NS;
        l1_moving_wait(c->l1, base_now_ns() + most_ns);
        const uint32_t mark = (uint32_t)(rest >> CACHE_SCAN_MARK_SHIFT &
                                         CACHE_SCAN_BITS(CACHE_SCAN_PHASE_SHIFT -
                                                         CACHE_SCAN_MARK_SHIFT));
        *cursor = (uint64_t)CACHE_SCAN_REST << CACHE_SCAN_PHASE_SHIFT |
                  (scan->place != NULL && *scan->place != 0 ? *scan->place
                                                            : l2_visit_from(d, mark));
        return CELLAR_OK;
    }
    uint64_t at = *cursor & CACHE_SCAN_BITS(CACHE_SCAN_PHASE_SHIFT);
    cellar_err err = CELLAR_MISS;
    if (d != NULL) {
        err = l2_visit(d, scan->generation, &at, CACHE_SCAN_RECORDS, cache_scan_below, scan);
    }
    if (err == CELLAR_E_IO) {
        if (scan->place != NULL) { *scan->place = 1; }
        err = CELLAR_OK;
    }
    if (err != CELLAR_MISS) {
        *cursor = phase << CACHE_SCAN_PHASE_SHIFT | at;
    } else if (phase == CACHE_SCAN_TIER) {
        const uint64_t mark = d != NULL ? l2_visit_mark(d, at) : 0;
        if (scan->place != NULL) { *scan->place = *scan->place == 0 ? at : 0; }
        *cursor = (uint64_t)CACHE_SCAN_THEN_L1 << CACHE_SCAN_PHASE_SHIFT |
                  mark << CACHE_SCAN_MARK_SHIFT;
    } else {
        *cursor = 0;
    }
    return err == CELLAR_MISS ? CELLAR_OK : err;
}

static cellar_err cache_scan_walk(cellar *c, uint64_t *cursor, cache_scan *scan, size_t left)
{
    cellar_err err = CELLAR_OK;
    (void)base_add_rlx(&c->refs, 1u); /* the handle of the caller is open: refs >= 1 */
    do {
        err = cache_scan_step(scan, cursor);
    } while (err == CELLAR_OK && *cursor != 0 && --left > 0 && !scan->stop && !cache_is_closed(c));
    if (err != CELLAR_OK) {
        (void)cache_fail(c, err, 0, err == CELLAR_E_BUSY ? "cellar_scan: the disk does not answer"
                                                         : "cellar_scan: no memory for a bucket");
    }
    cache_namespace_release(c);
    return err;
}

CELLAR_API cellar_err cellar_scan(cellar *c, uint64_t *cursor, const cellar_scan_opts *o,
                                  cellar_scan_fn fn, void *ctx)
{
    if (c == NULL || cursor == NULL || fn == NULL) {
        return cache_refuse(c, "cellar_scan: c, cursor and fn must not be NULL");
    }
    cellar_scan_opts full = cellar_scan_opts_default();
    const cellar_err err = o != NULL ? base_opts_in(&full, sizeof full, o) : CELLAR_OK;
    if (err == CELLAR_E_INVAL || err == CELLAR_E_ABI) {
        return cache_fail(c, err, 0, "cellar_scan: start from cellar_scan_opts_default()");
    }
    if (err != CELLAR_OK || (full.flags & ~CELLAR_SCAN_DISK) != 0 || full.reserved0 != 0) {
        return cache_fail_flags(c, "cellar_scan", full.flags & ~CELLAR_SCAN_DISK);
    }
    if (full.pattern != NULL ? full.pattern_len == 0 || full.pattern_len > CELLAR_PATTERN_MAX
                             : full.pattern_len != 0) {
        return cache_fail_size(c, "cellar_scan: pattern must have 1..1,024 bytes, or be NULL "
                                  "with pattern_len 0", full.pattern_len);
    }
    if (cache_is_closed(c)) { return cache_closed(c, __func__); }
    if (*cursor == 0 && (full.flags & CELLAR_SCAN_DISK) != 0 && cache_scan_disk(c) != NULL) {
        *cursor = (uint64_t)CACHE_SCAN_TIER << CACHE_SCAN_PHASE_SHIFT;
        if (full.place != NULL) { *full.place = 0; }
    }
    cache_scan scan = { c, 0, fn, ctx, full.pattern, full.pattern_len,
                        base_now_ms(&c->store->clock), full.place, false };
    return cache_scan_walk(c, cursor, &scan,
                           full.bucket_count != 0 ? full.bucket_count : CACHE_SCAN_BUCKETS);
}

BASE_SIZE_END
