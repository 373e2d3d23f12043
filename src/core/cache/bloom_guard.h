/* SPDX-License-Identifier: MIT
 *
 * bloom_guard: functions of bloom_guard.c for the files above it. */
#ifndef CACHE_BLOOM_GUARD_H
#define CACHE_BLOOM_GUARD_H

#include "cache/types.h"

typedef struct cache_filter { /* one change that makes an entry visible; on the stack of the
                               * caller */
    bloom *b;
    uint64_t hash, desc;
} cache_filter;

CELLAR_PRIVATE void cache_filter_begin_slow(cellar *c, const l1_key *k, cache_filter *f);
CELLAR_PRIVATE void cache_filter_end_slow(cellar *c, const l1_key *k, cache_filter *f);

BASE_ALWAYS_INLINE void cache_filter_begin(cellar *c, const l1_key *k, cache_filter *f)
{
    f->b = base_load_acq(&c->bloom);
    if (BASE_UNLIKELY(f->b != NULL)) { cache_filter_begin_slow(c, k, f); }
}

BASE_ALWAYS_INLINE void cache_filter_end(cellar *c, const l1_key *k, cache_filter *f)
{
    /* seq_cst: after the CAS of the window; pairs with the store in cache_filter_made */
    if (BASE_UNLIKELY(base_load_sc(&c->bloom) != NULL)) { cache_filter_end_slow(c, k, f); }
}

/* Return whether an authoritative filter says that the source never had the key; count it. */
CELLAR_PRIVATE bool cache_filter_never(cellar *c, const void *key, size_t key_len);
CELLAR_PRIVATE bool cache_filter_is_never(const cellar *c, const void *key, size_t key_len);

/* Answer of the filter before a load. 1 in 1,024 of the loads it would stop is let through as an
 * audit. */
typedef enum cache_word { CACHE_WORD_MAYBE, CACHE_WORD_NEVER, CACHE_WORD_AUDIT } cache_word;

CELLAR_PRIVATE cache_word cache_filter_stops(cellar *c, const void *key, size_t key_len);
CELLAR_PRIVATE void cache_filter_found_slow(cellar *c, bloom *b, const void *key, size_t key_len);
/* Report that the source or the tier had a value, before the key is added: check the filter. */
BASE_ALWAYS_INLINE void cache_filter_found(cellar *c, const void *key, size_t key_len)
{
    bloom *b = base_load_acq(&c->bloom);
    if (BASE_UNLIKELY(b != NULL)) { cache_filter_found_slow(c, b, key, key_len); }
}
/* Record how a sampled read ended. */
CELLAR_PRIVATE void cache_filter_note(cellar *c, const void *key, size_t key_len, cellar_err got);
/* Set the size of the filter: open it if it is OFF, else for the next feed; 0 keys: drop it. */
CELLAR_PRIVATE cellar_err cache_filter_set(cellar *c, uint64_t keys, uint32_t fpr_ppm);
CELLAR_PRIVATE void cache_filter_tell(cellar *c, const bloom *b); /* logs each doubt once */
CELLAR_PRIVATE void cache_filters_close(cache_store *s);

#endif
