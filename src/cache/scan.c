/* SPDX-License-Identifier: MIT
 *
 * scan: walk through a namespace, some buckets per call; code of the host runs outside all locks.
 *
 * WALK       cursor -> one bucket of L1 (copied out) -> glob -> fn for each entry -> next bucket
 * INVARIANTS An entry that exists from the first to the last call is seen at least once. The cursor
 *            of L1 counts buckets in reversed-bit order. A stop takes effect between buckets, so no
 *            entry of the last bucket is lost.
 * LOCKING    None; the call holds a ref of the namespace: fn may close or drop it. */
#include "cache/call.h"
#include "cache/error.h"
#include "cache/handle.h"

#include "base/glob.h"

#define CACHE_SCAN_BUCKETS 64u

typedef struct cache_scan {
    const cellar *namespace;
    uint32_t generation; /* generation of this bucket */
    cellar_scan_fn fn;
    void *ctx;
    const char *match; /* NULL: all keys */
    size_t match_len;
    int64_t now_ms;
    bool stop;
} cache_scan;

BASE_SIZE_BEGIN

static bool cache_scan_one(void *ctx, const l1_seen *e)
{
    cache_scan *scan = ctx;
    /* fn may have closed, dropped or cleared the namespace: the rest of the bucket is no longer its
     * own. */
    if (cache_is_closed(scan->namespace)) { scan->stop = true; }
    if (cache_is_closed(scan->namespace) ||
        base_load_acq(&scan->namespace->generation) != scan->generation) {
        return false;
    }
    if (scan->match != NULL &&
        !base_glob_match(scan->match, scan->match_len, e->key, e->key_len)) {
        return true;
    }
    const cellar_scan_entry entry = {
        .key = e->key, .key_len = e->key_len, .value = e->value, .value_len = e->value_len,
        .user_flags = e->info.user_flags, .kind = (cellar_kind)e->info.kind,
        .ttl_left_ms = e->info.expires_ms == BASE_NEVER_MS
                           ? CELLAR_TTL_NONE : BASE_MAX(e->info.expires_ms - scan->now_ms, 0),
    };
    sync_assert_none();
    if (!scan->fn(&entry, scan->ctx)) { scan->stop = true; }
    return true; /* the rest of the bucket follows in any case */
}

CELLAR_API cellar_err cellar_scan(cellar *c, uint64_t *cursor, const char *pattern,
                                  size_t pattern_len, size_t bucket_count, cellar_scan_fn fn,
                                  void *ctx)
{
    if (c == NULL || cursor == NULL || fn == NULL) {
        return cache_refuse(c, "cellar_scan: c, cursor and fn must not be NULL");
    }
    if (pattern != NULL ? pattern_len == 0 || pattern_len > CELLAR_PATTERN_MAX
                        : pattern_len != 0) {
        return cache_refuse(c, "cellar_scan: pattern must have 1..1,024 bytes");
    }
    if (cache_is_closed(c)) { return cache_closed(c); }
    cache_store *s = c->store;
    l1 *l1_of = c->l1;
    cache_scan scan = { c, 0, fn, ctx, pattern, pattern_len, base_now_ms(&s->clock), false };
    size_t left = bucket_count != 0 ? bucket_count : CACHE_SCAN_BUCKETS;
    cellar_err err = CELLAR_OK;
    (void)base_add_rlx(&c->refs, 1u); /* the handle of the caller is open: refs >= 1 */
    do {
        scan.generation = base_load_acq(&c->generation);
        err = l1_scan(l1_of, cursor, 1, scan.generation, true, cache_scan_one, &scan);
    } while (err == CELLAR_OK && *cursor != 0 && --left > 0 && !scan.stop && !cache_is_closed(c));
    if (err != CELLAR_OK) { (void)cache_fail(c, err, 0, "cellar_scan: no memory for a bucket"); }
    cache_namespace_release(c);
    return err;
}

BASE_SIZE_END
