/* SPDX-License-Identifier: MIT
 *
 * lookup: functions of lookup.c for the files above it. */
#ifndef CACHE_LOOKUP_H
#define CACHE_LOOKUP_H

#include "cache/bloom_guard.h"
#include "cache/types.h"
#include "cellar_tier.h"

#define CACHE_LOOKS 4u /* looks of one read at L1 and at the tier, while its key changes */
/* Read the key from the tier after a miss, and back-fill L1. If a change of the key is on its way
 * to the tier, each look waits a while (lookup.c, PROTOCOL); then the read misses.
 * *user_flags: 0 without a value. */
CELLAR_PRIVATE cellar_err cache_tier_read(cellar *c, const l1_key *k, void *buf, size_t buf_cap,
                                          size_t *value_len, uint32_t *user_flags);
#define CACHE_ASK_MAX 128u /* keys of one request to a shared tier */
/* Read up to CACHE_ASK_MAX items like cache_tier_read, with one request to a shared tier. The
 * status of each item is PENDING before, and the result afterwards. Return false if the tier did
 * not answer the request in time. */
CELLAR_PRIVATE bool cache_tier_read_many(cellar *c, cellar_get_item *const *items, size_t count);
typedef struct cache_seen { /* before the tier was asked */
    uint64_t word;          /* stamp of the key */
    uint64_t globs;
} cache_seen;

/* Watch a key and describe it to a shared tier, for get_many. Return false if a change of the key
 * is on its way; `waits`: for a while. */
CELLAR_PRIVATE bool cache_tier_describe(const cellar *c, const l1_key *k, bool waits, void *buf,
                                        size_t buf_cap, cellar_tier_get *get, cache_seen *seen);
/* Take one answer of get_many, and back-fill L1. `born`: epoch of tags before the request. Return
 * as cache_tier_fetch. */
CELLAR_PRIVATE cellar_err cache_tier_got(cellar *c, const l1_key *k, const cache_seen *seen,
                                         cellar_tier_get *get, uint64_t born, cache_found *m);
/* Look once into the tier. CONFLICT: the key may have changed; ask L1 again. After OK and ABSENT *m
 * has the fields beside the value, *kept the result of the back-fill. */
CELLAR_PRIVATE cellar_err cache_tier_fetch(cellar *c, const l1_key *k, void *buf, size_t buf_cap,
                                           size_t *value_len, cache_found *m, cellar_err *kept);
/* Look once into the tier without a back-fill; *m is set after E_BUFFER, too. CONFLICT: ask L1
 * again. */
CELLAR_PRIVATE cellar_err cache_tier_peek(cellar *c, const l1_key *k, void *buf, size_t buf_cap,
                                          size_t *value_len, cache_found *m);
/* Look once into the disk of the namespace for a range, without a back-fill. CONFLICT: ask L1
 * again. */
CELLAR_PRIVATE cellar_err cache_disk_range(cellar *c, l2 *d, const l1_key *k, uint64_t offset,
                                           void *buf, size_t buf_cap, size_t *total);
/* Put an entry of the tier into L1, unless it is `passing`. Return OK; EXISTS: L1 has it; CONFLICT:
 * the key has changed since, or L1 had another entry, which is ended; INVALIDATED: L1 has a newer
 * entry, and the caller must not return the reply; an error. */
CELLAR_PRIVATE cellar_err cache_tier_keep(cellar *c, const l1_key *k, const void *value,
                                          size_t value_len, const cache_found *m,
                                          uint64_t expect, uint64_t globs);
/* Watch the key before the tier is asked. Return false if a change of it may be pending. */
CELLAR_PRIVATE bool cache_tier_watch(const cache_store *s, uint64_t hash, uint64_t *changes,
                                     uint64_t *globs);
/* Return whether the changes that are pending in the stamp are of other keys. Each change that a
 * tier without a disk has to know is listed by its key, before its window ends: the look waits for
 * that. With a disk: false. */
CELLAR_PRIVATE bool cache_others_pend(const cellar *c, const l1_key *k);
/* Copy the entry from the tier into L1. Return OK (L1 has it), ABSENT (it is negative), MISS (the
 * tier has none), CONFLICT (a change of the key is on its way to the tier, or was; the call waits a
 * few ms for it), E_TIMEOUT (the disk cannot read it now), or why L1 did not take it. */
CELLAR_PRIVATE cellar_err cache_tier_bring(cellar *c, const l1_key *k);
/* Wait for a disk that cannot read an entry now, until *until_ns; 0: for 1 s from now on. Return
 * false if a further look is in vain, or if this thread must not wait. */
CELLAR_PRIVATE bool cache_disk_waits(const cellar *c, uint64_t *until_ns);

typedef struct cache_wait { /* of a change that depends on the entry */
    const char *call;  /* its name */
    uint64_t until_ns; /* of cache_disk_waits */
    unsigned looks;    /* at L1 for what was brought */
    bool again;        /* L1 was asked behind a CONFLICT */
} cache_wait;

/* Bring the entry on which a change depends, before the change begins. Return OK (ask L1 again),
 * ABSENT (L1 has a negative one), MISS (there is none), E_TIMEOUT (unknown: the change must not
 * happen), or why L1 did not take it. */
CELLAR_PRIVATE cellar_err cache_bring(cellar *c, const l1_key *k, cache_wait *w);
/* Ask the tier after a miss in L1, and set the outcome. */
CELLAR_PRIVATE cellar_err cache_get_below(cellar *c, const l1_key *k, void *buf, size_t buf_cap,
                                          size_t *value_len, stats_id *outcome);

/* Return whether the tier may have the key, after a miss of L1. */
BASE_INLINE bool cache_may_lie_below(const cellar *c, const l1_key *k)
{
    return BASE_UNLIKELY(cache_tier_of(c) != NULL) &&
           (BASE_LIKELY(base_load_acq(&c->bloom) == NULL) ||
            !cache_filter_is_never(c, k->bytes, k->len));
}

/* Bring the key for a read, after a miss of L1. Return whether to ask L1 once more. */
BASE_INLINE bool cache_brought(cellar *c, const l1_key *k)
{
    if (!cache_may_lie_below(c, k)) { return false; }
    const cellar_err err = cache_tier_bring(c, k);
    return err == CELLAR_OK || err == CELLAR_ABSENT || err == CELLAR_CONFLICT;
}

BASE_ALWAYS_INLINE stats_id cache_outcome(cellar_err err)
{
    if (BASE_LIKELY(err == CELLAR_OK || err == CELLAR_E_BUFFER)) { return STATS_HIT_L1; }
    if (err == CELLAR_ABSENT) { return STATS_NEGATIVE; }
    return err == CELLAR_STALE ? STATS_STALE : STATS_MISS;
}

/* Return whether to ask the tier, after a miss in L1 that is counted. */
BASE_ALWAYS_INLINE bool cache_asks_below(cellar *c, const l1_key *k)
{
    return !(BASE_UNLIKELY(base_load_acq(&c->bloom) != NULL) &&
             cache_filter_never(c, k->bytes, k->len)) &&
           BASE_UNLIKELY(cache_tier_of(c) != NULL);
}

#endif
