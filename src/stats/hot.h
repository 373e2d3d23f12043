/* SPDX-License-Identifier: MIT
 *
 * hot: the keys with the most gets of the last minute. */
#ifndef STATS_HOT_H
#define STATS_HOT_H

#include "base/random.h"
#include "stats/types.h"

#define STATS_HOT_KEY_BYTES 46u /* bytes of a key that are kept */

typedef struct stats_hot stats_hot;

typedef struct stats_hot_key {
    uint64_t hash;
    uint32_t count;   /* sampled gets, halved every STATS_HOT_HALF_MS */
    uint32_t owner;   /* as passed to stats_hot_note */
    uint16_t key_len; /* of the whole key */
    char key[STATS_HOT_KEY_BYTES]; /* its first bytes */
} stats_hot_key;

_Static_assert(sizeof(stats_hot_key) == 64, "one line per key");

/* Make the table. NULL: no memory. Charged to module HOT. */
CELLAR_PRIVATE stats_hot *stats_hot_create(base_account *account, int64_t now_ms);
CELLAR_PRIVATE void stats_hot_destroy(stats_hot *h, base_account *account); /* NULL accepted */
CELLAR_PRIVATE void stats_hot_forked(stats_hot *h); /* in a forked child */
/* Count one sampled get. Drop it if another thread holds the table: no call waits. */
CELLAR_PRIVATE void stats_hot_note(stats_hot *h, uint64_t hash, uint32_t owner, const void *key,
                                   size_t key_len, int64_t now_ms, base_rng *rng);
/* Copy up to `cap` keys of `owner` (UINT32_MAX: of all), most gets first. Return their count.
 * *samples: sampled gets of all keys, halved alike; *window_ms: the time they stand for. */
CELLAR_PRIVATE size_t stats_hot_top(stats_hot *h, uint32_t owner, stats_hot_key *out, size_t cap,
                                    int64_t now_ms, double *samples, double *window_ms);

#endif
