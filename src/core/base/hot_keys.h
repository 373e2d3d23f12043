/* SPDX-License-Identifier: MIT
 *
 * hot_keys: the keys that are read most, in a fixed number of bytes. */
#ifndef BASE_HOT_KEYS_H
#define BASE_HOT_KEYS_H

#include "base/atomic.h"
#include "base/random.h"

#define BASE_HOT_WAYS 4u
#define BASE_HOT_KEY_BYTES 46u /* bytes of a key that are kept */
#define BASE_HOT_HALF_MS 30000 /* all counts are halved after this time */

typedef struct base_hot_key { /* a copy */
    uint64_t hash;
    uint32_t count;   /* samples */
    uint32_t owner;   /* as passed to base_hot_note */
    uint16_t key_len; /* of the whole key */
    char key[BASE_HOT_KEY_BYTES]; /* its first bytes */
} base_hot_key;

typedef struct base_hot_slot {
    _Atomic uint64_t hash;  /* of owner and key; 0: empty, 1: being written */
    _Atomic uint32_t count;
    _Atomic uint32_t owner;
    _Atomic uint64_t key[6]; /* key_len and key of a base_hot_key */
} base_hot_slot;

typedef struct base_hot {
    uint32_t sets;             /* constant */
    _Atomic int64_t halve_ms;  /* when the counts are halved next */
    _Atomic int64_t older_ms;  /* the time before the last halving that the counts stand for */
    _Atomic uint64_t samples;  /* of all keys, halved alike */
    base_hot_slot slot[];      /* BASE_HOT_WAYS a set */
} base_hot;

/* Return the bytes of a table. */
BASE_INLINE size_t base_hot_bytes(uint32_t sets)
{
    return sizeof(base_hot) + (size_t)sets * BASE_HOT_WAYS * sizeof(base_hot_slot);
}

/* Begin without samples. */
CELLAR_PRIVATE void base_hot_init(base_hot *h, uint32_t sets, int64_t now_ms);
/* Add a sample of a key. Return its count; 0: the key has no slot. rng NULL: a sample never takes
 * the slot of another key. */
CELLAR_PRIVATE uint32_t base_hot_note(base_hot *h, uint64_t hash, uint32_t owner, const void *key,
                                      size_t key_len, int64_t now_ms, base_rng *rng);
/* Copy up to `cap` keys of `owner` (UINT32_MAX: of all), most samples first. Return their count.
 * *samples: of all keys; *window_ms: the time that they stand for. */
CELLAR_PRIVATE size_t base_hot_top(base_hot *h, uint32_t owner, base_hot_key *out, size_t cap,
                                   int64_t now_ms, uint64_t *samples, int64_t *window_ms);

#endif
