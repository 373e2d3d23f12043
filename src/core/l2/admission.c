/* SPDX-License-Identifier: MIT
 *
 * admission: write budgets, and the filter that keeps unused entries off a disk that is full.
 *
 * PICTURE    put -> size, TTL, wanted? (write.c) -> tombstone lock {current? copy there? budget?}
 *            wanted: the tier is 40 % alive at most, or a use: hit in memory, read from disk, or
 *            second put within a while. A negative entry always needs a use. `seen` remembers
 *            first puts: words of four 16-bit fingerprints, newest first. A hit moves to the front;
 *            a new fingerprint replaces the oldest.
 * INVARIANTS Only newer keys displace a fingerprint. With n words, a second put is a use if at most
 *            4n others, approximately, leave memory between the two.
 *            Budgets count bytes that are written. Bytes of a failed put are refunded.
 * LOCKING    None: atomic words. A thread that loses a race for a word leaves no fingerprint; the
 *            cost is one more refusal.
 * LIMITS     `seen`: 2 bytes per key, as many keys as the disk holds, at most 1/64 of the memory.
 *            A new key counts as seen once in 16,000 checks.
 * SEE ALSO   write.c for unchanged copies; README.md: why not the ghosts of L1. */
#include "l2/admission.h"

#define L2_SEEN_LEAST 64u /* words */

/* ---- seen ---- */

BASE_SIZE_BEGIN

CELLAR_PRIVATE uint32_t l2_seen_in(uint64_t memory_bytes, uint64_t objects)
{
    const uint64_t most = memory_bytes / 64 / sizeof(uint64_t);
    return (uint32_t)base_clamp(objects / 4, L2_SEEN_LEAST,
                                base_clamp(most, L2_SEEN_LEAST, UINT32_MAX));
}

CELLAR_PRIVATE bool l2_seen_open(l2 *d, uint64_t objects)
{
    d->seen_words = l2_seen_in(d->cfg.memory_bytes, objects);
    d->seen = base_alloc(d->cfg.account, BASE_MOD_L2, (size_t)d->seen_words * sizeof *d->seen,
                         NULL);
    return d->seen != NULL;
}

CELLAR_PRIVATE void l2_seen_close(l2 *d)
{
    base_free(d->cfg.account, BASE_MOD_L2, d->seen, (size_t)d->seen_words * sizeof *d->seen);
    d->seen = NULL;
}

BASE_SIZE_END

CELLAR_PRIVATE bool l2_seen_again(l2 *d, uint64_t h48)
{
    const uint64_t fp = (h48 & 0xffffu) != 0 ? h48 & 0xffffu : 1;
    _Atomic uint64_t *word = &d->seen[((h48 >> 16) * d->seen_words) >> 32];
    uint64_t was = base_load_rlx(word);
    unsigned at = 0;
    while (at < 4 && (was >> (16 * at) & 0xffffu) != fp) { at++; }
    /* Newer fingerprints move back by one; older ones stay. */
    const uint64_t newer = at < 4 ? ((uint64_t)1 << (16 * at)) - 1 : UINT64_MAX;
    const uint64_t older = at < 3 ? ~(uint64_t)0 << (16 * (at + 1)) : 0;
    const uint64_t now = (was & older) | (was & newer) << 16 | fp;
    BASE_POINT("l2.seen");
    (void)base_cas_ar(word, was, now); /* The CAS publishes nothing. */
    return at < 4;
}

BASE_SIZE_BEGIN

/* ---- budgets ---- */

/* Refund bytes of one window. `used` never falls below 0: a refund to a later window would wrap it
 * to almost 2^64, and no put would fit again. */
static void l2_budget_back(l2_budget *b, uint64_t window, uint64_t bytes)
{
    uint64_t used = base_load_acq(&b->used);
    while (base_load_acq(&b->window) == window &&
           !base_cas_ar(&b->used, used, used - BASE_MIN(used, bytes))) {
        used = base_load_acq(&b->used);
    }
}

/* Count `bytes` against one window. Return false, with nothing counted, if they exceed `most`. */
static bool l2_budget_take(l2_budget *b, uint64_t window, uint64_t bytes, uint64_t most)
{
    const uint64_t was = base_load_acq(&b->window);
    /* Only the winner of the CAS resets `used`. Bytes added in between are lost, which is harmless
     * because the window has just begun. A window back by one: a late thread. By more: the clock
     * went back. */
    if ((window > was || was - window > 1) && base_cas_ar(&b->window, was, window)) {
        base_store_rel(&b->used, (uint64_t)0);
    }
    const uint64_t used = base_add_ar(&b->used, bytes);
    if (most == 0 || (used <= most && bytes <= most - used)) { return true; }
    l2_budget_back(b, base_load_acq(&b->window), bytes);
    return false;
}

BASE_SIZE_END

static bool l2_has_budget(const l2 *d)
{
    return d->cfg.write_bps != 0 || d->cfg.write_bpd != 0;
}

CELLAR_PRIVATE bool l2_budget_allows(l2 *d, uint64_t bytes, l2_windows *w)
{
    *w = (l2_windows){ 0, 0 };
    if (!l2_has_budget(d)) { return true; }
    const int64_t now = base_now_ms(d->cfg.clock), wall = base_add_sat(now, d->wall_offset_ms);
    *w = (l2_windows){ (uint64_t)BASE_MAX(now, 0) / 1000, (uint64_t)BASE_MAX(wall, 0) / 86400000u };
    bool ok = l2_budget_take(&d->second, w->second, bytes, d->cfg.write_bps);
    if (ok && !l2_budget_take(&d->day, w->day, bytes, d->cfg.write_bpd)) {
        l2_budget_back(&d->second, w->second, bytes);
        ok = false;
    }
    if (!ok) { L2_COUNT(d, refused_budget); }
    return ok;
}

CELLAR_PRIVATE void l2_budgets_back(l2 *d, const l2_windows *w, uint64_t bytes)
{
    if (!l2_has_budget(d)) { return; }
    l2_budget_back(&d->second, w->second, bytes);
    l2_budget_back(&d->day, w->day, bytes);
}
