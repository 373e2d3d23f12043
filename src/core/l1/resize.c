/* SPDX-License-Identifier: MIT
 *
 * resize: change the budget, the bound of entries and the policy of an open level.
 *
 * STEPS      The new limit counts at once: charges above it fail. Then evict and give segments
 *            back until the limit holds. Pins may prevent that: then every other entry is evicted,
 *            and pinned segments (parked) and blocks (retired) stay charged.
 * AFTER      An unpin gives nothing back. The next tick or set gives freed segments back; a set
 *            that needs a segment fails with E_SPACE until the limit holds (l1_is_above_limit). A
 *            segment that a set took during the change stays open: entries in it take no memory.
 * LOCKING    One change at a time: `resizing`, a flag. Evictions run in rounds with own locks.
 * LIMITS     The caller checks l1_least_budget. Pinned memory stays; then growth is refused
 *            with E_SPACE, which option.c of the cache reports as E_BUSY. */
#include "l1/evict.h"
#include "l1/index.h"
#include "l1/large.h"
#include "l1/policy.h"
#include "l1/segment.h"

BASE_SIZE_BEGIN

#define L1_SEGS_LEAST 16u /* with 8, some of 1,000 sets fail; with 11, sometimes one */

static void l1_contract_all(l1 *c)
{
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        l1_lane *const n = &c->lane[i];
        if (!l1_lane_get(c, n)) { continue; } /* a thread stays in it */
        l1_lane_tell(c, n, 0);
        sync_drop(L1_LANE, &n->lock);
    }
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        l1_contract(c, &c->stripe[i], L1_SHRINK_PCT, UINT64_MAX);
    }
}

/* Evict down to the limit and shrink the index along with it. An index of the old size would
 * outlive its entries, and only an empty store would fit. */
static bool l1_shrink(l1 *c)
{
    unsigned idle = 0;
    l1_round at = {0};
    for (unsigned round = 0; idle < 4 * c->stripe_count + 16; round++) {
        l1_retired_for(c, 0);
        if (l1_give_back(c, 0, 0)) { return true; }
        if (round % 16 == 15) { l1_contract_all(c); }
        if (l1_evict_round(c, c->seg_bytes, &at) == 0) { idle++; } else { idle = 0; }
    }
    l1_contract_all(c);
    return l1_give_back(c, 0, 0);
}

/* Return the memory that a large store keeps when it shrinks. That is its tables, one index page
 * per stripe, and segments of the size chosen at open. With fewer segments sets begin to find no
 * room. */
CELLAR_PRIVATE uint64_t l1_least_budget(const l1 *c)
{
    const base_account *a = c->account;
    uint64_t gone = 0; /* what shrinking gives back, or makes again for the new budget */
    static const base_module of[] = {BASE_MOD_SEGMENT, BASE_MOD_INDEX, BASE_MOD_OVERFLOW,
                                     BASE_MOD_BIG, BASE_MOD_OBJECT, BASE_MOD_GHOST};
    for (unsigned i = 0; i < sizeof of / sizeof of[0]; i++) {
        gone += base_load_rlx(&a->by_module[of[i]]);
    }
    const uint64_t used = base_load_rlx(&a->used);
    return (used > gone ? used - gone : 0) + (uint64_t)c->stripe_count * BASE_PAGE +
           (uint64_t)c->seg_bytes * L1_SEGS_LEAST;
}

CELLAR_PRIVATE cellar_err l1_resize(l1 *c, uint64_t budget_bytes)
{
    if (budget_bytes > c->arena_region.reserved_bytes ||
        budget_bytes < (uint64_t)c->seg_bytes * 4) {
        return CELLAR_E_RANGE;
    }
    if (!base_cas_ar(&c->resizing, 0u, 1u)) { return CELLAR_E_BUSY; }
    const uint64_t old = base_load_rlx(&c->account->limit);
    bool other_ghosts = l1_ghosts_misfit(c, budget_bytes);
    base_account_limit(c->account, budget_bytes);
    sync_take(L1_SEG, &c->seg_lock);
    base_store_rlx(&c->reserve, l1_reserve_segs(c, budget_bytes));
    sync_drop(L1_SEG, &c->seg_lock);
    cellar_err err = CELLAR_OK;
    /* Also when an earlier call could not reach this same budget. */
    if (budget_bytes < old || base_load_rlx(&c->account->used) > budget_bytes) {
        if (other_ghosts) { l1_ghosts_close(c); }
        bool holds = l1_shrink(c);
        if (!holds && !other_ghosts) { /* l1_least_budget counts on their memory */
            other_ghosts = true;
            l1_ghosts_close(c);
            holds = l1_shrink(c);
        }
        /* Pinned memory or the tables prevent the shrink: the limit stays, growth is refused. */
        if (!holds) { err = CELLAR_E_SPACE; }
        if (other_ghosts) {
            const uint64_t bytes = l1_ghosts_bytes(c, budget_bytes);
            (void)l1_make_room(c, base_block_bytes(c->account, (size_t)bytes));
        }
    } else {
        (void)l1_unpark(c, 2); /* judges `low` again */
    }
    if (other_ghosts) { (void)l1_ghosts_open(c, budget_bytes); }
    l1_shadow_refit(c);
    const uint64_t used = base_load_rlx(&c->account->used);
    base_store_rlx(&c->excess_bytes, used > budget_bytes ? used - budget_bytes : (uint64_t)0);
    base_store_rel(&c->resizing, 0u);
    return err;
}

CELLAR_PRIVATE cellar_err l1_set_max_entries(l1 *c, uint64_t max_entries)
{
    if (!base_cas_ar(&c->resizing, 0u, 1u)) { return CELLAR_E_BUSY; }
    (void)l1_lanes_take(c, UINT64_MAX); /* tickets and grants change together */
    int64_t tickets = (int64_t)max_entries;
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        l1_lane *n = &c->lane[i];
        const uint32_t granted = max_entries != 0 ? (uint32_t)l1_lane_entries(n) : 0;
        base_store_rlx(&n->granted, granted);
        tickets -= granted;
    }
    base_store_rlx(&c->max_entries, max_entries);
    base_store_rlx(&c->tickets, tickets);
    l1_lanes_drop(c, c->stripe_count);
    uint64_t removed; /* entries that are over go first */
    if (base_load_rlx(&c->tickets) < 0) { (void)l1_upkeep(c, L1_LANES_WAIT_NS / 1000, &removed); }
    /* Tickets of entries evicted here, and of deleted ones, raise the pool to 0. */
    unsigned idle = 0;
    while (base_load_rlx(&c->tickets) < 0 && idle < 1000 + 16 * c->stripe_count) {
        idle = l1_evict_excess(c) ? 0 : idle + 1;
    }
    const cellar_err err = base_load_rlx(&c->tickets) < 0 ? CELLAR_E_BUSY : CELLAR_OK;
    l1_shadow_refit(c);
    base_store_rel(&c->resizing, 0u);
    return err;
}

CELLAR_PRIVATE void l1_set_policy(l1 *c, l1_policy policy)
{
    base_store_rlx(&c->policy, (uint32_t)policy);
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        l1_lane *n = &c->lane[i];
        if (!l1_lane_get(c, n)) { continue; }
        n->learned.sets = n->learned.moves = 0; /* the policies count different moves */
        sync_drop(L1_LANE, &n->lock);
    }
    if (policy != L1_ADAPTIVE) {
        l1_rule_fix(c, L1_RULE_S3FIFO);
    } else if (c->favor_objects) { /* the shadow caches know no sizes: their choice may not suit */
        l1_rule_fix(c, L1_RULE_SIZES);
    } else if (base_load_rlx(&c->rule) >= L1_EXPERTS || base_load_acq(&c->shadow) == NULL) {
        (void)l1_samples_open(c); /* without shadow caches the first rule stays */
        base_store_rlx(&c->rule, 0u);
    }
}

BASE_SIZE_END
