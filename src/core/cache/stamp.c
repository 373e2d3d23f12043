/* SPDX-License-Identifier: MIT
 *
 * stamp: the words by which L1 and a tier agree which copy of a key is current.
 *
 * PICTURE    change: L1 window {stamp + 1, pending + 1} -> tier kill or put -> pending - 1
 *            If the tier has nothing of the key, pending goes back in the window.
 *            eviction: L1 window {watch the stamp, capture it} -> tier put, which asks stamp_is
 * PROTOCOL   A stamp word is {16 bits tags, 32 bits changes, watched, 15 bits pending}.
 *            A thread that will compare a stamp sets `watched` first; each raise clears it.
 *            An unwatched stamp with nothing below need not rise: README.md, "Stamps".
 *            Else the stamp rises with pending, and the tier is asked again, as a kill asks it.
 * INVARIANTS pending counts changes with a kill or put that has not returned. tags is the sum of
 *            the tags of their keys, mod 2^16. Each raise is taken back once, by the call that made
 *            it: its scope has the sum.
 *            Words are shared by hash: a change of another key costs a back-fill, but stores
 *            nothing wrong.
 * LOCKING    Atomic words. The window orders its store to the stamp; the back-fill reads acquire,
 *            stamp_is seq_cst.
 * LIMITS     2^32 changes of a stamp until their count repeats; 32,767 changes of one stamp at a
 *            time between window and kill.
 * SEE ALSO   README.md, "Stamps" (proofs, reads, rejected designs); change.c, lookup.c. */
#include "cache/stamp.h"

BASE_NOINLINE CELLAR_PRIVATE void cache_stamp_raise_noted(const cache_store *s, uint64_t hash,
                                                          _Atomic uint64_t *word,
                                                          cache_scope *scope, uint64_t *stamp,
                                                          bool none)
{
    const uint64_t part = scope->below != CACHE_BELOW_KNOWS ? cache_stamp_part(hash) : 0;
    uint64_t w, next;
    do {
        w = base_load_sc(word);
        next = CACHE_STAMP_CHANGES(w + CACHE_STAMP_ONE) << 16 |
               CACHE_STAMP_TAGS(w) << 48 | CACHE_STAMP_PENDING(w);
        next += part;
        if (scope->below == CACHE_BELOW_CALL) { next |= CACHE_STAMP_WATCHED; }
    } while (!base_cas_sc(word, w, next));
    *stamp = cache_captured(s, next);
    if (none && cache_nothing_below(scope->tier, hash)) { /* nothing came, and nothing will */
        (void)base_sub_ar(word, part);
        return;
    }
    BASE_ASSERT(scope->raised == 0 || scope->word == word);
    scope->word = word;
    scope->raised += part;
}

CELLAR_PRIVATE bool cache_stamp_is(void *ctx, uint64_t hash, uint64_t stamp)
{
    const cache_store *s = ctx;
    return cache_has_stamps(s) &&
           (stamp == CACHE_STAMP_NONE ||
            cache_captured(s, base_load_sc(cache_stamp(s, hash))) == stamp);
}

CELLAR_PRIVATE bool cache_stamps_open(cache_store *s)
{
    const uint64_t count = base_clamp(base_pow2_floor(s->account.limit / 4096), 256, 16384);
    _Atomic uint64_t *all =
        base_alloc(&s->account, BASE_MOD_STAMP, (size_t)count * sizeof *all, NULL);
    if (all == NULL) { return false; }
    s->stamp_mask = count - 1;
    base_store_rel(&s->stamps, all);
    (void)base_or_sc(&s->windows, CACHE_WINDOW_STAMPS);
    return true;
}

CELLAR_PRIVATE void cache_stamps_close(cache_store *s)
{
    _Atomic uint64_t *all = base_load_rlx(&s->stamps);
    if (all == NULL) { return; }
    base_free(&s->account, BASE_MOD_STAMP, all, (size_t)(s->stamp_mask + 1) * sizeof *all);
    base_store_rlx(&s->stamps, (_Atomic uint64_t *)NULL);
}
