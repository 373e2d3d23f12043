/* SPDX-License-Identifier: MIT
 *
 * fit: size ghosts, shadow caches and epochs for the entries that the full store holds.
 *
 * PICTURE    A budget in bytes tells no number of entries. The tables begin with a guess
 *            (mean_entry_bytes).
 *              1/16, 1/8, 1/4, 1/2 of the budget used -> estimate by the entries so far
 *              first full; a quarter more or less than counted last -> count
 *            l1_judge_low notes that it is due; the set that sees the note does it (l1_after_set).
 *            Ghosts, shadow caches, scores and the rule go along. The figures of the advisor begin
 *            again.
 * INVARIANTS What was learned stays: ghosts, shadow caches, their scores, the rule.
 *            A full store has no room for larger tables: sets free it first, a little each
 *            (fit_segs).
 * LOCKING    One at a time: `fitting`. No lock is held between the steps.
 * LIMITS     If a thread stays in a lane for 20 ms, twice, the old tables stay until the number of
 *            entries changes by a quarter again. */
#include "l1/evict.h"
#include "l1/policy.h"
#include "l1/segment.h"

BASE_SIZE_BEGIN

#define L1_FIT_LEAST 16u /* fewer entries tell no mean */
#define L1_FIT_INDEX 13u /* bytes of the index for an entry */

/* Return the entries of the full store. Before it is full: as many as fit if the others are like
 * those so far; 0: too few so far. */
static uint64_t l1_fit_entries(const l1 *c, uint64_t limit)
{
    uint64_t bytes = 0, entries = 0;
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        bytes += l1_lane_bytes(&c->lane[i]);
        entries += l1_lane_entries(&c->lane[i]);
    }
    if (base_load_rlx(&c->full) != 0 || entries < L1_FIT_LEAST) {
        return base_load_rlx(&c->full) != 0 ? BASE_MAX(entries, 1) : 0;
    }
    const _Atomic uint64_t *const of = c->account->by_module;
    const uint64_t moving =
        base_load_rlx(&of[BASE_MOD_SEGMENT]) + base_load_rlx(&of[BASE_MOD_BIG]) +
        base_load_rlx(&of[BASE_MOD_OBJECT]) +
        base_load_rlx(&of[BASE_MOD_INDEX]) + base_load_rlx(&of[BASE_MOD_OVERFLOW]);
    const uint64_t used = base_load_rlx(&c->account->used);
    const uint64_t fixed = (used > moving ? used - moving : 0) +
                           (uint64_t)base_load_rlx(&c->reserve) * c->seg_bytes;
    const uint64_t fits = (limit > fixed ? limit - fixed : 0) / (bytes / entries + L1_FIT_INDEX);
    const uint64_t most = base_load_rlx(&c->max_entries);
    return BASE_MAX(most != 0 ? BASE_MIN(fits, most) : fits, 1);
}

CELLAR_PRIVATE void l1_fit(l1 *c)
{
    if (base_load_rlx(&c->resizing) != 0 || !base_cas_ar(&c->fitting, 0u, 1u)) { return; }
    const uint64_t limit = base_load_rlx(&c->account->limit);
    sync_take(L1_SEG, &c->seg_lock);
    base_store_rlx(&c->after, base_load_rlx(&c->after) & ~L1_AFTER_FIT);
    for (uint64_t at; base_load_rlx(&c->account->used) >= (at = base_load_rlx(&c->fit_at));) {
        base_store_rlx(&c->fit_at, at + c->fit_step);
        c->fit_step *= 2;
    }
    const bool again = c->fit_segs != 0;
    c->fit_segs = 0;
    sync_drop(L1_SEG, &c->seg_lock);
    const uint64_t entries = l1_fit_entries(c, limit);
    if (entries != 0) {
        const uint64_t before = l1_entries_of(c, limit);
        base_store_rlx(&c->fit, entries);
        base_store_rlx(&c->mean_bytes, (uint32_t)base_clamp(limit / entries, 16, UINT32_MAX));
        uint64_t need;
        if (!l1_ghosts_fit(c, limit, &need) && !again) {
            sync_take(L1_SEG, &c->seg_lock);
            c->fit_segs = (uint32_t)(need / c->seg_bytes + 1);
            sync_drop(L1_SEG, &c->seg_lock);
        }
        l1_samples_fit(c, entries);
        if (before > entries + entries / 4 || entries > before + before / 4) { l1_advise_again(c); }
    }
    base_store_rel(&c->fitting, 0u);
}

BASE_SIZE_END
