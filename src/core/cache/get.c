/* SPDX-License-Identifier: MIT
 *
 * get: read one key.
 *
 * WALK       cellar_get -> arguments -> state word -> hash -> l1_get -> one counter. A hit takes no
 *            lock and makes no shared write; it reads the clock only for an entry with a deadline.
 *            A miss asks the tier, if there is one (lookup.c).
 *            Without tier and filter a miss needs no second look (l1_none).
 *            A hit of a namespace with a proof compares the clock with the earlier one of proof
 *            and deadline (l1_hit_before).
 * INVARIANTS Each get with valid arguments adds to exactly one outcome; E_BUFFER counts as a hit.
 * SEE ALSO   get_with.c, get_alloc.c, pin.c, many.c (many keys), loading/load.c (loading). */
#include "cache/bloom_guard.h"
#include "cache/call.h"
#include "cache/error.h"
#include "cache/lookup.h"
#include "cache/proof.h"
#include "cache/talk.h"
#include "l1/read.h"

BASE_COLD static cellar_err cache_get_refuse(cellar *c, const void *key, size_t key_len)
{
    return cache_fail_key(c, "cellar_get", key, key_len, "buf must not be NULL with buf_cap > 0");
}

/* Read a hashed key in all cases but the plain hit. tried: l1_hit has just failed. */
BASE_NOINLINE static cellar_err cache_get_rest(cellar *c, const l1_key *k, uint32_t state,
                                               bool sampled, bool tried, void *buf,
                                               size_t buf_cap, size_t *value_len)
{
    const uint64_t since_ns = BASE_UNLIKELY(sampled) ? base_now_ns() : 0;
    const bool off = BASE_UNLIKELY((state & CACHE_OFF) != 0);
    size_t len = 0;
    cellar_err err = off || cache_is_unproven(c) ? CELLAR_MISS
                     : tried ? l1_get_rest(c->l1, k, buf, buf_cap, &len, NULL, 0)
                             : l1_get(c->l1, k, buf, buf_cap, &len, 0);
    stats_id outcome = cache_outcome(err);
    if (err != CELLAR_OK && err != CELLAR_E_BUFFER) { len = 0; } /* L1 does not set it then */
    if (err == CELLAR_MISS && !off) { err = cache_get_below(c, k, buf, buf_cap, &len, &outcome); }
    if (value_len != NULL) { *value_len = len; }
    stats_add_mine(c->stats, c->stats_tag, base_thread_self(), outcome, 1);
    if (BASE_UNLIKELY((state & CACHE_TALK) != 0)) { cache_read_tell(c, "get", k, err); }
    if (BASE_UNLIKELY(sampled)) {
        const bool hit = err == CELLAR_OK || err == CELLAR_E_BUFFER;
        stats_time(c->stats, hit ? STATS_OP_GET_HIT : STATS_OP_GET_MISS, base_now_ns() - since_ns);
        cache_filter_note(c, k->bytes, k->len, err);
        cache_hot_note(c, k);
    }
    return err;
}

/* Read a key that is not hashed inline, or from a namespace that is closed, disabled, logged,
 * unproven, or asks its filter first because most reads of it end with "never". */
BASE_NOINLINE static cellar_err cache_get_any(cellar *c, const void *key, size_t key_len, void *buf,
                                              size_t buf_cap, size_t *value_len)
{
    const uint32_t state = base_load_acq(&c->state);
    if (BASE_UNLIKELY((state & (CACHE_CLOSED | CACHE_OBJECTS)) != 0)) {
        if (value_len != NULL) { *value_len = 0; }
        return cache_closed(c, "cellar_get");
    }
    const bool sampled = stats_sample(base_thread_self());
    if (state == CACHE_FILTER && !sampled && cache_filter_never(c, key, key_len)) {
        if (value_len != NULL) { *value_len = 0; }
        stats_add(cache_mine(c), STATS_MISS, 1);
        return CELLAR_MISS;
    }
    l1_key k;
    cache_key(c, &k, key, key_len);
    return cache_get_rest(c, &k, state, sampled, false, buf, buf_cap, value_len);
}

/* Read from a namespace with a state. While it needs a proof and is otherwise plain, a hit reads
 * one clock for the proof and the deadline of the entry, if the counter decides deadlines. */
BASE_ALWAYS_INLINE cellar_err cache_get_proven(cellar *c, uint32_t state, const void *key,
                                               size_t key_len, void *buf, size_t buf_cap,
                                               size_t *value_len)
{
    base_thread_record *const self = base_thread_self();
    const bool coarse = self->far_ms == INT64_MAX; /* then the hit would not read an exact clock */
    if (state != CACHE_PROOF || !base_hash_is_near(c->hash_key, key_len) ||
        BASE_UNLIKELY(coarse && cache_is_unproven(c))) {
        return cache_get_any(c, key, key_len, buf, buf_cap, value_len);
    }
    const uint32_t klen = (uint32_t)key_len, generation = base_load_acq(&c->generation);
    const uint64_t hash = base_hash_near(c->hash_key, generation, key, key_len);
    const bool sampled = stats_sample(self);
    size_t len;
    if (BASE_UNLIKELY(sampled) ||
        BASE_UNLIKELY(!l1_hit_before(c->l1, self, key, klen, generation, hash, buf, buf_cap, &len,
                                     base_load_rlx(&c->proven_ms)))) {
        const l1_key k = { key, klen, generation, hash };
        return cache_get_rest(c, &k, 0, sampled, !sampled, buf, buf_cap, value_len);
    }
    if (value_len != NULL) { *value_len = len; }
    stats_add_mine(c->stats, c->stats_tag, self, STATS_HIT_L1, 1);
    return CELLAR_OK;
}

/* Read a key that is no plain hit: an entry with tags, user flags or a copy on disk first. */
BASE_NOINLINE static cellar_err cache_get_marked(cellar *c, const base_thread_record *self,
                                                 const l1_key *k, const l1_found *at, void *buf,
                                                 size_t buf_cap, size_t *value_len)
{
    size_t len;
    if (BASE_UNLIKELY(!l1_hit_marked(c->l1, k, at, buf, buf_cap, &len))) {
        return cache_get_rest(c, k, 0, false, true, buf, buf_cap, value_len);
    }
    if (value_len != NULL) { *value_len = len; }
    stats_add_mine(c->stats, c->stats_tag, self, STATS_HIT_L1, 1);
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_get(cellar *c, const void *key, size_t key_len,
                                 void *buf, size_t buf_cap, size_t *value_len)
{
    if (BASE_UNLIKELY(c == NULL || cache_key_bad(key, key_len) || (buf == NULL && buf_cap != 0))) {
        return cache_get_refuse(c, key, key_len);
    }
    const uint32_t state = base_load_acq(&c->state);
    if (BASE_UNLIKELY(state != 0)) {
        return cache_get_proven(c, state, key, key_len, buf, buf_cap, value_len);
    }
    if (BASE_UNLIKELY(!base_hash_is_near(c->hash_key, key_len))) {
        return cache_get_any(c, key, key_len, buf, buf_cap, value_len);
    }
    base_thread_record *const self = base_thread_self();
    const uint32_t klen = (uint32_t)key_len;
    /* release in cache_generation_take */
    const uint32_t generation = base_load_acq(&c->generation);
    const uint64_t hash = base_hash_near(c->hash_key, generation, key, key_len);
    if (BASE_UNLIKELY(stats_sample(self))) {
        const l1_key k = { key, klen, generation, hash };
        return cache_get_rest(c, &k, 0, true, false, buf, buf_cap, value_len);
    }
    size_t len;
    l1_found at;
    if (BASE_UNLIKELY(!l1_hit(c->l1, self, key, klen, generation, hash, buf, buf_cap, &len, &at))) {
        const l1_key k = { key, klen, generation, hash };
        if (at.b != NULL) { return cache_get_marked(c, self, &k, &at, buf, buf_cap, value_len); }
        if (base_load_acq(&c->bloom) == NULL && cache_tier_of(c) == NULL && l1_none(c->l1, hash)) {
            if (value_len != NULL) { *value_len = 0; }
            stats_add_mine(c->stats, c->stats_tag, self, STATS_MISS, 1);
            return CELLAR_MISS;
        }
        return cache_get_rest(c, &k, 0, false, true, buf, buf_cap, value_len);
    }
    if (value_len != NULL) { *value_len = len; }
    stats_add_mine(c->stats, c->stats_tag, self, STATS_HIT_L1, 1);
    return CELLAR_OK;
}
