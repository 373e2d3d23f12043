/* SPDX-License-Identifier: MIT
 *
 * bloom_kit: size and feed the Bloom filter of a namespace. */
#ifndef TESTS_SUPPORT_BLOOM_KIT_H
#define TESTS_SUPPORT_BLOOM_KIT_H

#include "cellar_admin.h"
#include "cellar_bloom.h"

/* Set the number of keys; 0 drops the filter. */
static inline cellar_err bloom_size(cellar *c, int64_t keys)
{
    return cellar_option_set(c, CELLAR_OPT_BLOOM_KEYS, keys);
}

static inline cellar_err bloom_no_key(cellar_bytes *key, void *ctx)
{
    (void)key, (void)ctx;
    return CELLAR_MISS;
}

/* Feed an empty source: the keys in the cache alone. */
static inline cellar_err bloom_feed_none(cellar *c)
{
    return cellar_bloom_feed(c, bloom_no_key, NULL, NULL);
}

#endif
