/* SPDX-License-Identifier: MIT
 *
 * bloom_guard: the Bloom filter of a namespace: adds, look-ups, feed, doubts.
 *
 * PICTURE    set, increment, update, back-fill, load: begin -> [add] -> L1 -> end -> [again if
 *            changed]
 *            get:  L1 -> miss -> filter "never" -> MISS, the tier is not read
 *            load: L1 -> miss -> filter "never" -> ABSENT, no flight, no loader. 1 in 1,024 loads
 *            runs anyway: a value found then ends the authority of the filter
 *            OFF -bloom_keys-> OBSERVING -feed (scan of L1, then keys of the source)->
 *            AUTHORITATIVE
 * INVARIANTS c->bloom changes once, from NULL to a filter, and stays until the namespace is freed.
 *            OFF is a state of the filter. A namespace without a filter pays two loads per set and
 *            one per miss.
 * ORDER      If over half of the sampled look-ups end with "never", a sampled read sets
 *            CACHE_FILTER in the state word, and reads ask the filter before L1. Below 40 percent a
 *            sampled read clears the bit.
 * LOCKING    NAMESPACE for c->bloom and the state word; the filter has its own locks. One feed per
 *            namespace at a time (bloom_feeding).
 * SEE ALSO   bloom/ (the filter), loading/load_look.c (loads), store/bloom_persist.c (files). */
#include "cache/bloom_guard.h"

#include "cache/call.h"
#include "cache/error.h"
#include "cache/handle.h"
#include "cache/talk.h"

#define CACHE_SALT_BLOOM 0x626c6f6fu /* instead of the generation: the key belongs to the source */
#define CACHE_AUDIT_MASK 1023u
#define CACHE_HEAT_FULL 65536
#define CACHE_HEAT_ON 32768
#define CACHE_HEAT_OFF 26214

BASE_SIZE_BEGIN

BASE_NOINLINE static uint64_t cache_filter_hash(const cellar *c, const void *key, size_t len)
{
    return base_hash(c->hash_key, CACHE_SALT_BLOOM, key, len);
}

CELLAR_PRIVATE void cache_filter_tell(cellar *c, const bloom *b)
{
    static const char *const why[] = { "", "the source had a key that it denied",
                                       "it has too many keys", "",
                                       "its stored image was not clean" };
    const uint32_t doubts = bloom_doubts(b);
    uint32_t logged = base_load_rlx(&c->bloom_logged);
    if (BASE_LIKELY(doubts == logged)) { return; }
    if (!base_cas_ar(&c->bloom_logged, logged, doubts)) { return; } /* another thread logs it */
    cellar_bloom_info f;
    bloom_figures_get(b, &f);
    stats_add(cache_mine(c), STATS_BLOOM_DOUBT, doubts - logged);
    cache_log(c, BASE_LOG_WARNING, "bloom", (int)f.doubt,
              "Bloom filter of a namespace only observes now: %s", why[f.doubt]);
}

BASE_SIZE_END

/* ---- adding ---- */

CELLAR_PRIVATE void cache_filter_begin_slow(cellar *c, const l1_key *k, cache_filter *f)
{
    f->hash = cache_filter_hash(c, k->bytes, k->len);
    f->desc = bloom_add_begin(f->b, f->hash);
    cache_filter_tell(c, f->b);
}

CELLAR_PRIVATE void cache_filter_end_slow(cellar *c, const l1_key *k, cache_filter *f)
{
    bloom *b = base_load_acq(&c->bloom);
    if (f->b == NULL) { /* the filter was opened during the write */
        bloom_add(b, cache_filter_hash(c, k->bytes, k->len));
        return;
    }
    bloom_add_end(b, f->hash, f->desc);
}

BASE_SIZE_BEGIN

CELLAR_API cellar_err cellar_bloom_add(cellar *c, const void *key, size_t key_len)
{
    if (c == NULL || cache_key_bad(key, key_len)) {
        return cache_fail_key(c, "cellar_bloom_add", key, key_len, "");
    }
    if (cache_is_closed(c)) { return cache_closed(c, __func__); }
    bloom *b = base_load_acq(&c->bloom);
    if (b == NULL || bloom_state_of(b) == CELLAR_BLOOM_OFF) { return CELLAR_MISS; }
    bloom_add(b, cache_filter_hash(c, key, key_len));
    cache_filter_tell(c, b);
    return CELLAR_OK;
}

BASE_SIZE_END

/* ---- asking ---- */

CELLAR_PRIVATE bool cache_filter_is_never(const cellar *c, const void *key, size_t key_len)
{
    const bloom *b = base_load_acq(&c->bloom);
    return b != NULL && bloom_ask(b, cache_filter_hash(c, key, key_len)) == BLOOM_NEVER;
}

CELLAR_PRIVATE bool cache_filter_never(cellar *c, const void *key, size_t key_len)
{
    if (!cache_filter_is_never(c, key, key_len)) { return false; }
    stats_add(cache_mine(c), STATS_BLOOM_REJECT, 1);
    return true;
}

CELLAR_PRIVATE cache_word cache_filter_stops(cellar *c, const void *key, size_t key_len)
{
    const bloom *b = base_load_acq(&c->bloom);
    if (b == NULL || bloom_ask(b, cache_filter_hash(c, key, key_len)) != BLOOM_NEVER) {
        return CACHE_WORD_MAYBE;
    }
    if (BASE_UNLIKELY((base_rng_next(&base_thread_self()->rng) >> 32 & CACHE_AUDIT_MASK) == 0)) {
        stats_add(cache_mine(c), STATS_BLOOM_AUDIT, 1);
        return CACHE_WORD_AUDIT;
    }
    stats_add(cache_mine(c), STATS_BLOOM_REJECT, 1);
    return CACHE_WORD_NEVER;
}

BASE_SIZE_BEGIN

CELLAR_PRIVATE void cache_filter_found_slow(cellar *c, bloom *b, const void *key, size_t key_len)
{
    const uint64_t hash = cache_filter_hash(c, key, key_len);
    const bloom_answer said = bloom_ask(b, hash);
    if (said == BLOOM_MAYBE) { return; }
    stats_add(cache_mine(c), STATS_BLOOM_WOULD_ERR, 1);
    bloom_add(b, hash); /* values that are not stored are added, too */
    if (said == BLOOM_NEVER) { (void)bloom_distrust(b, CELLAR_BLOOM_DOUBT_FOUND); }
    cache_filter_tell(c, b);
}

CELLAR_PRIVATE void cache_filter_note(cellar *c, const void *key, size_t key_len, cellar_err got)
{
    const bloom *b = base_load_acq(&c->bloom);
    if (BASE_LIKELY(b == NULL)) { return; }
    const bool never = got == CELLAR_MISS &&
                       bloom_ask(b, cache_filter_hash(c, key, key_len)) == BLOOM_NEVER;
    const int32_t old = base_load_rlx(&c->bloom_heat);
    const int32_t heat = old + ((never ? CACHE_HEAT_FULL : 0) - old) / 16;
    base_store_rlx(&c->bloom_heat, heat); /* a lost update of another sample is harmless: it is a
                                           * hint */
    const bool first = (base_load_rlx(&c->state) & CACHE_FILTER) != 0;
    if (first ? heat >= CACHE_HEAT_OFF : heat <= CACHE_HEAT_ON) { return; }
    cache_store *s = c->store;
    sync_take(NAMESPACE, &s->namespace_lock);
    const uint32_t rest = base_load_rlx(&c->state) & ~CACHE_FILTER;
    base_store_rel(&c->state, rest | (first ? 0u : CACHE_FILTER));
    sync_drop(NAMESPACE, &s->namespace_lock);
}

CELLAR_API cellar_err cellar_bloom_check(cellar *c, const void *key, size_t key_len)
{
    if (c == NULL || cache_key_bad(key, key_len)) {
        return cache_fail_key(c, "cellar_bloom_check", key, key_len, "");
    }
    if (cache_is_closed(c)) { return cache_closed(c, __func__); }
    const bloom *b = base_load_acq(&c->bloom);
    if (b == NULL) { return CELLAR_OK; }
    const bloom_answer said = bloom_ask(b, cache_filter_hash(c, key, key_len));
    return said == BLOOM_MAYBE ? CELLAR_OK : said == BLOOM_NEVER ? CELLAR_ABSENT : CELLAR_MISS;
}

/* ---- open and drop ---- */

static cellar_err cache_filter_made(cellar *c, bloom **out)
{
    cache_store *s = c->store;
    *out = base_load_acq(&c->bloom);
    if (*out != NULL) { return CELLAR_OK; }
    bloom *fresh = bloom_create(&s->account);
    if (fresh == NULL) { return CELLAR_E_NOMEM; }
    sync_take(NAMESPACE, &s->namespace_lock);
    *out = base_load_rlx(&c->bloom);
    if (*out == NULL) {
        *out = fresh;
        /* Before any scan. A set that missed the filter looks again after its window (seq_cst
         * there). */
        base_store_sc(&c->bloom, fresh);
        fresh = NULL;
    }
    sync_drop(NAMESPACE, &s->namespace_lock);
    bloom_destroy(fresh);
    return CELLAR_OK;
}

#define CACHE_BLOOM_PPM 10000u

CELLAR_PRIVATE cellar_err cache_filter_set(cellar *c, uint64_t keys, uint32_t fpr_ppm)
{
    bloom *b = base_load_acq(&c->bloom);
    cellar_err err = CELLAR_OK;
    if (keys == 0) {
        if (b != NULL) { bloom_off(b); }
    } else {
        if (fpr_ppm == 0) { fpr_ppm = CACHE_BLOOM_PPM; }
        err = cache_filter_made(c, &b);
        if (err == CELLAR_OK) { err = bloom_open(b, keys, fpr_ppm / 1e6); }
    }
    if (err == CELLAR_OK) {
        base_store_rlx(&c->bloom_keys, keys);
        base_store_rlx(&c->bloom_fpr_ppm, fpr_ppm);
    }
    return err;
}

/* ---- feed ---- */

typedef struct cache_feed {
    cellar *c;
    bloom *b;
    uint64_t count;
} cache_feed;

static bool cache_feed_entry(void *ctx, const l1_seen *e)
{
    cache_feed *f = ctx;
    if (e->info.kind == (uint8_t)L1_VALUE) {
        bloom_add(f->b, cache_filter_hash(f->c, e->key, e->key_len));
        f->count++;
    }
    return true;
}

/* Add all cached keys of the namespace. Later sets add themselves. */
static cellar_err cache_feed_scan(cache_feed *f)
{
    uint64_t cursor = 0;
    cellar_err err;
    do {
        if (cache_is_closed(f->c)) { return CELLAR_E_CLOSED; }
        err = l1_scan(f->c->l1, &cursor, 64, base_load_acq(&f->c->generation), false,
                      cache_feed_entry, f);
    } while (err == CELLAR_OK && cursor != 0);
    return err;
}

static cellar_err cache_feed_source(cache_feed *f, cellar_next_key_fn next, void *ctx)
{
    for (;;) {
        cellar_bytes key = { NULL, 0 };
        const cellar_err err = next(&key, ctx);
        if (err == CELLAR_MISS) { return CELLAR_OK; } /* no more keys */
        if (err != CELLAR_OK) { return err < 0 ? err : CELLAR_E_INVAL; }
        if (cache_key_bad(key.data, key.len)) { return CELLAR_E_INVAL; }
        if (cache_is_closed(f->c)) { return CELLAR_E_CLOSED; }
        bloom_add(f->b, cache_filter_hash(f->c, key.data, key.len));
        f->count++;
    }
}

CELLAR_API cellar_err cellar_bloom_feed(cellar *c, cellar_next_key_fn next, void *ctx,
                                        uint64_t *count)
{
    if (count != NULL) { *count = 0; }
    if (c == NULL || next == NULL) {
        return cache_refuse(c, "cellar_bloom_feed: c and next must not be NULL");
    }
    if (cache_is_closed(c)) { return cache_closed(c, __func__); }
    cache_feed f = { c, base_load_acq(&c->bloom), 0 };
    if (f.b == NULL || bloom_state_of(f.b) == CELLAR_BLOOM_OFF) {
        return cache_refuse(c, "cellar_bloom_feed: no filter: set bloom_keys first");
    }
    if (!base_cas_ar(&c->bloom_feeding, 0u, 1u)) {
        return cache_fail(c, CELLAR_E_BUSY, 0, "cellar_bloom_feed: another feed runs");
    }
    uint64_t fill;
    cellar_err err = bloom_fill_begin(f.b, base_load_rlx(&c->bloom_keys),
                                      base_load_rlx(&c->bloom_fpr_ppm) / 1e6, &fill);
    if (err == CELLAR_OK) {
        err = cache_feed_scan(&f);
        if (err == CELLAR_OK) { err = cache_feed_source(&f, next, ctx); }
        err = bloom_fill_end(f.b, fill, err);
    }
    base_store_rel(&c->bloom_feeding, 0u);
    cache_filter_tell(c, f.b);
    if (count != NULL) { *count = f.count; }
    return cache_fail(c, err, 0, err == CELLAR_E_LIMIT
        ? "cellar_bloom_feed: too many keys: raise bloom_keys" : err == CELLAR_E_SPACE
        ? "cellar_bloom_feed: filter does not fit: raise memory_bytes"
        : "cellar_bloom_feed: ended early: feed all keys again");
}

CELLAR_API cellar_err cellar_bloom_info_get(cellar *c, cellar_bloom_info *out)
{
    if (c == NULL || out == NULL) {
        return cache_refuse(c, "cellar_bloom_info_get: c and out must not be NULL");
    }
    if (cache_is_closed(c)) { return cache_closed(c, __func__); }
    cellar_bloom_info i = cellar_bloom_info_default();
    const bloom *b = base_load_acq(&c->bloom);
    if (b != NULL) { bloom_figures_get(b, &i); }
    i.rejects = stats_read(c->stats, c->slot, STATS_BLOOM_REJECT);
    i.check_loads = stats_read(c->stats, c->slot, STATS_BLOOM_AUDIT);
    i.unknown_keys_found = stats_read(c->stats, c->slot, STATS_BLOOM_WOULD_ERR);
    i.doubts = stats_read(c->stats, c->slot, STATS_BLOOM_DOUBT);
    return cache_fail(c, base_opts_out(out, &i, sizeof i), 0,
                      "cellar_bloom_info_get: struct_size of out is wrong");
}

/* ---- for store/store.c ---- */

CELLAR_PRIVATE void cache_filters_close(cache_store *s)
{
    for (uint32_t slot = 0; slot < CACHE_NAMESPACES_MAX; slot++) {
        sync_take(NAMESPACE, &s->namespace_lock);
        cellar *v = cache_namespace_at(s, slot);
        bloom *b = v != NULL ? base_load_acq(&v->bloom) : NULL;
        if (v != NULL) { base_store_rlx(&v->bloom, (bloom *)NULL); }
        sync_drop(NAMESPACE, &s->namespace_lock);
        bloom_destroy(b);
    }
}

BASE_SIZE_END
