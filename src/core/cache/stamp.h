/* SPDX-License-Identifier: MIT
 *
 * stamp: functions of stamp.c for the files above it. */
#ifndef CACHE_STAMP_H
#define CACHE_STAMP_H

#include "cache/types.h"

#define CACHE_STAMP_ONE ((uint64_t)1 << 16)
#define CACHE_STAMP_WATCHED ((uint64_t)0x8000)
#define CACHE_STAMP_CHANGES(w) ((w) >> 16 & UINT32_MAX)
#define CACHE_STAMP_TAGS(w) ((w) >> 48)
#define CACHE_STAMP_PENDING(w) ((w) & 0x7fffu) /* changes on their way to the tier */
#define CACHE_STAMP_GLOBS 32 /* captured stamp: 32 bits of changes, 32 bits of glob_epoch above */

/* Return whether a tier was ever attached. */
BASE_INLINE bool cache_has_stamps(const cache_store *s)
{
    return CACHE_HAS_TIER && base_load_acq(&s->stamps) != NULL;
}

BASE_INLINE _Atomic uint64_t *cache_stamp(const cache_store *s, uint64_t hash)
{
    return &base_load_acq(&s->stamps)[base_mix64(hash) & s->stamp_mask];
}

/* Return what a change of the key adds to the word until its kill has returned. */
BASE_INLINE uint64_t cache_stamp_part(uint64_t hash)
{
    return base_mix64(hash) >> 48 << 48 | 1;
}

/* Return whether a change of this key may be pending in the word. */
BASE_INLINE bool cache_stamp_holds(uint64_t word, uint64_t hash)
{
    const uint64_t pending = CACHE_STAMP_PENDING(word);
    return pending > 1 ||
           (pending == 1 && CACHE_STAMP_TAGS(word) == CACHE_STAMP_TAGS(cache_stamp_part(hash)));
}

/* Return the stamp that an entry takes along to the tier. It wrongly stays valid only after exactly
 * 2^32 walks, or 2^32 changes of its stamp. */
BASE_INLINE uint64_t cache_captured(const cache_store *s, uint64_t word)
{
    return CACHE_STAMP_CHANGES(word) | base_load_acq(&s->glob_epoch) << CACHE_STAMP_GLOBS;
}

/* Watch the word: the next change of its keys raises it. Return its value. */
BASE_INLINE uint64_t cache_stamp_watch(_Atomic uint64_t *word)
{
    const uint64_t w = base_load_acq(word);
    return (w & CACHE_STAMP_WATCHED) != 0 ? w
                                          : base_or_sc(word, CACHE_STAMP_WATCHED) |
                                                CACHE_STAMP_WATCHED;
}

BASE_INLINE bool cache_nothing_below(const cache_tier *t, uint64_t hash)
{
    const l2 *d = cache_tier_disk(t);
    return d != NULL && l2_nothing(d, hash);
}

/* Raise the stamp for a change that the tier may have to know. `none`: nothing lies below, but a
 * thread watches the stamp. */
CELLAR_PRIVATE void cache_stamp_raise_noted(const cache_store *s, uint64_t hash,
                                            _Atomic uint64_t *word, cache_scope *scope,
                                            uint64_t *stamp, bool none);
CELLAR_PRIVATE bool cache_stamps_open(cache_store *s); /* false: no memory */
CELLAR_PRIVATE void cache_stamps_close(cache_store *s);
CELLAR_PRIVATE bool cache_stamp_is(void *ctx, uint64_t hash, uint64_t stamp); /* of l2_current */

/* Raise the stamp for a change by a call. If nothing lies below and no thread watches the stamp, it
 * may stay: README.md. */
BASE_ALWAYS_INLINE void cache_stamp_raise(const cache_store *s, uint64_t hash,
                                          _Atomic uint64_t *word, cache_scope *scope,
                                          uint64_t *stamp)
{
    const uint64_t w = base_load_sc(word);
    const bool none = scope->below == CACHE_BELOW_KILL && cache_nothing_below(scope->tier, hash);
    if (BASE_LIKELY(none && (w & CACHE_STAMP_WATCHED) == 0 && base_load_sc(word) == w)) {
        *stamp = cache_captured(s, w);
        return;
    }
    cache_stamp_raise_noted(s, hash, word, scope, stamp, none);
}

/* Begin and end a step in L1 that other parts of the store hear of. The scope describes it to the
 * hooks. */
BASE_INLINE void cache_scope_push(cache_scope *f, const cellar *c, bool stores, bool negative)
{
    base_thread_record *self = base_thread_self();
    f->outer = self->change_scopes;
    f->stores = stores;
    f->negative = negative;
    f->cause = 0;
    f->ordered.listed = false;
    f->below = CACHE_BELOW_KILL;
    f->tier = cache_tier_of(c);
    f->raised = 0;
    f->order = 0;
    self->change_scopes = f;
}
BASE_INLINE void cache_scope_pop(const cache_scope *f)
{
    BASE_ASSERT(base_thread_self()->change_scopes == f);
    base_thread_self()->change_scopes = f->outer;
}

#endif
