/* SPDX-License-Identifier: MIT
 *
 * stamp: the words by which L1 and the tier agree, for the windows of L1 and for reads.
 *
 * FORMAT     {8 bits tags, 40 bits changes, watched, 15 bits pending}: hook.c */
#ifndef CACHE_STAMP_H
#define CACHE_STAMP_H

#include "cache/types.h"

#define CACHE_STAMP_ONE ((uint64_t)1 << 16)
#define CACHE_STAMP_WATCHED ((uint64_t)0x8000)
#define CACHE_STAMP_CHANGES(w) ((w) >> 16 & (((uint64_t)1 << 40) - 1))
#define CACHE_STAMP_TAGS(w) ((w) >> 56)
#define CACHE_STAMP_PENDING(w) ((w) & 0x7fffu) /* changes on their way to the tier */
#define CACHE_STAMP_NONE UINT64_MAX /* as a stamp: always valid; see turn.c */
#define CACHE_STAMP_GLOBS 40 /* captured stamp: 40 bits of changes, 24 bits of glob_epoch above */

BASE_INLINE _Atomic uint64_t *cache_stamp(const cache_store *s, uint64_t hash)
{
    return &s->stamps[base_mix64(hash) & s->stamp_mask];
}

/* Return what a change of the key adds to the word until its kill has returned. */
BASE_INLINE uint64_t cache_stamp_part(uint64_t hash)
{
    return base_mix64(hash) >> 56 << 56 | 1;
}

/* Return whether a change of this key may be pending in the word. */
BASE_INLINE bool cache_stamp_holds(uint64_t word, uint64_t hash)
{
    const uint64_t pending = CACHE_STAMP_PENDING(word);
    return pending > 1 ||
           (pending == 1 && CACHE_STAMP_TAGS(word) == CACHE_STAMP_TAGS(cache_stamp_part(hash)));
}

/* Return the stamp that an entry takes along to the tier. It wrongly stays valid only after exactly
 * 2^24 walks, or 2^40 changes of its class. */
BASE_INLINE uint64_t cache_captured(const cache_store *s, uint64_t word)
{
    return CACHE_STAMP_CHANGES(word) | base_load_acq(&s->glob_epoch) << CACHE_STAMP_GLOBS;
}

/* Watch the word: the next change of its class raises it. Return its value. */
BASE_INLINE uint64_t cache_stamp_watch(_Atomic uint64_t *word)
{
    const uint64_t w = base_load_acq(word);
    return (w & CACHE_STAMP_WATCHED) != 0 ? w
                                          : base_or_sc(word, CACHE_STAMP_WATCHED) |
                                                CACHE_STAMP_WATCHED;
}

BASE_INLINE bool cache_nothing_below(const cache_store *s, uint64_t hash)
{
    return s->tier->nothing != NULL && s->tier->nothing(s->tier->ctx, hash);
}

#endif
