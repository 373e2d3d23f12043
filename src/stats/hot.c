/* SPDX-License-Identifier: MIT
 *
 * hot: the keys with the most gets of the last minute, from sampled gets.
 *
 * PICTURE    sampled get -> hash -> set of 4 keys: present: count + 1
 *                                                  free place: count = 1
 *                                                  full: the lowest count decays, and gives its
 *                                                  place at 0
 *            every 30 s: all counts / 2
 * INVARIANTS A key stands in one set. A count is at most the sampled gets of its key, so a rare key
 *            never seems hot.
 * LOCKING    One lock, rank HOT. A get only tries it, and drops its sample if the lock is held.
 * LIMITS     64 KiB of memory, less in a small store: budget / 128. Keys over 46 bytes are kept by
 *            their hash and first bytes.
 * SOURCE     Yang et al., HeavyKeeper, USENIX ATC 2018: decay with probability 1.08^-count. */
#include "stats/hot.h"

#include <string.h>

#include "base/num.h"
#include "base/random.h"

#define STATS_HOT_WAYS 4u
#define STATS_HOT_HALF_MS 30000
#define STATS_HOT_STEPS 256u /* counts above it do not decay */

struct stats_hot {
    sync_lock lock; /* rank HOT; guards everything below */
    uint32_t sets;  /* constant */
    int64_t halved_ms, begun_ms;
    double samples, older_ms; /* of the time before halved_ms */
    stats_hot_key key[];
};

static size_t stats_hot_bytes(uint32_t sets)
{
    return sizeof(stats_hot) + sizeof(stats_hot_key) * STATS_HOT_WAYS * sets;
}

CELLAR_PRIVATE stats_hot *stats_hot_create(base_account *account, int64_t now_ms)
{
    const uint64_t room = base_load_rlx(&account->limit) / 128;
    const uint64_t each = stats_hot_bytes(1) - sizeof(stats_hot);
    const uint32_t sets = (uint32_t)base_clamp(room / each, 17, 256) - 1; /* 1: for the header */
    stats_hot *h = base_alloc(account, BASE_MOD_HOT, stats_hot_bytes(sets), NULL);
    if (h == NULL) { return NULL; }
    memset(h, 0, stats_hot_bytes(sets));
    h->sets = sets;
    h->halved_ms = h->begun_ms = now_ms;
    return h;
}

CELLAR_PRIVATE void stats_hot_destroy(stats_hot *h, base_account *account)
{
    if (h != NULL) { base_free(account, BASE_MOD_HOT, h, stats_hot_bytes(h->sets)); }
}

CELLAR_PRIVATE void stats_hot_forked(stats_hot *h) { sync_reset(&h->lock); }

/* Halve all counts once for each half-life that has passed. */
static void stats_hot_age(stats_hot *h, int64_t now_ms) SYNC_HOLDS(HOT);
static void stats_hot_age(stats_hot *h, int64_t now_ms)
{
    int64_t halves = (now_ms - h->halved_ms) / STATS_HOT_HALF_MS;
    if (halves <= 0) { return; }
    h->halved_ms += halves * STATS_HOT_HALF_MS;
    for (; halves > 0 && h->samples > 0; halves--) {
        h->older_ms = (h->older_ms + STATS_HOT_HALF_MS) / 2;
        h->samples /= 2;
        for (uint32_t i = 0; i < h->sets * STATS_HOT_WAYS; i++) { h->key[i].count /= 2; }
        if (h->samples < 1) { h->samples = 0; }
    }
    if (h->samples == 0) { h->older_ms = STATS_HOT_HALF_MS; }
}

/* Return 2^32 x 1.08^-count, for counts below STATS_HOT_STEPS. */
static uint32_t stats_hot_decay(uint32_t count)
{
    static const uint32_t by[8] = { /* 2^32 x 1.08^-(2^bit) */
        3976821570, 3682242194, 3156929179, 2320437189, 1253660012,
        365931407, 31177372, 226318
    };
    uint64_t p = UINT32_MAX;
    for (unsigned bit = 0; count != 0; bit++, count /= 2) {
        if ((count & 1) != 0) { p = p * by[bit] >> 32; }
    }
    return (uint32_t)p;
}

/* Return the place for a key: its own, or one with count 0. NULL: all are taken. */
static stats_hot_key *stats_hot_place(stats_hot *h, uint64_t hash, uint32_t owner,
                                      size_t key_len, base_rng *rng) SYNC_HOLDS(HOT);
static stats_hot_key *stats_hot_place(stats_hot *h, uint64_t hash, uint32_t owner,
                                      size_t key_len, base_rng *rng)
{
    stats_hot_key *set = &h->key[((base_mix64(hash) >> 32) * h->sets >> 32) * STATS_HOT_WAYS];
    stats_hot_key *least = set;
    for (unsigned i = 0; i < STATS_HOT_WAYS; i++) {
        stats_hot_key *k = &set[i];
        if (k->count != 0 && k->hash == hash && k->owner == owner && k->key_len == key_len) {
            return k;
        }
        if (k->count < least->count) { least = k; }
    }
    if (least->count != 0) {
        const uint32_t p = least->count < STATS_HOT_STEPS ? stats_hot_decay(least->count) : 0;
        if ((uint32_t)base_rng_next(rng) > p || --least->count != 0) { return NULL; }
    }
    return least;
}

CELLAR_PRIVATE void stats_hot_note(stats_hot *h, uint64_t hash, uint32_t owner, const void *key,
                                   size_t key_len, int64_t now_ms, base_rng *rng)
{
    if (!sync_try(HOT, &h->lock)) { return; }
    stats_hot_age(h, now_ms);
    h->samples++;
    stats_hot_key *k = stats_hot_place(h, hash, owner, key_len, rng);
    if (k != NULL && k->count++ == 0) {
        k->hash = hash;
        k->owner = owner;
        k->key_len = (uint16_t)key_len;
        memcpy(k->key, key, BASE_MIN(key_len, (size_t)STATS_HOT_KEY_BYTES));
    }
    sync_drop(HOT, &h->lock);
}

CELLAR_PRIVATE size_t stats_hot_top(stats_hot *h, uint32_t owner, stats_hot_key *out, size_t cap,
                                    int64_t now_ms, double *samples, double *window_ms)
{
    size_t count = 0;
    sync_take(HOT, &h->lock);
    stats_hot_age(h, now_ms);
    *samples = h->samples;
    *window_ms = h->older_ms + (double)(now_ms - h->halved_ms);
    for (uint32_t i = 0; i < h->sets * STATS_HOT_WAYS; i++) {
        const stats_hot_key *k = &h->key[i];
        if (k->count == 0 || (owner != UINT32_MAX && k->owner != owner)) { continue; }
        size_t at = count;
        while (at > 0 && out[at - 1].count < k->count) { at--; }
        if (at == cap) { continue; }
        count = BASE_MIN(count + 1, cap);
        memmove(&out[at + 1], &out[at], (count - at - 1) * sizeof *out);
        out[at] = *k;
    }
    sync_drop(HOT, &h->lock);
    return count;
}
