/* SPDX-License-Identifier: MIT
 *
 * large_value: store oversized values and keys in blocks, charged to the budget until they are
 * freed.
 *
 * PICTURE    The log holds header, key and a 16-byte descriptor {block, length}. For a key too long
 *            for the log (APART) the record holds block and hash. The bytes lie in a run of units
 *            (large_alloc.c) and never change in place.
 *                block |header|value, if BIG|key, if APART|
 * LIFE       A record over record_max (a quarter of a segment, or up to 8 KiB; in a small store
 *            one over 2 KiB while such records fill segments badly, too: l1_packs) gets a block
 *            before any lock. Eviction judges its small record, with the block's bytes as weight.
 *            The unlink hands the value to the tier (cache/events.c), then the block goes to the
 *            retire list until no pin names it. The tier has a limit of its own (cellar_l2.h,
 *            SIZES).
 * RESERVE    A caller may make the block first and fill it: it is pinned, and waits in the list of
 *            blocks in hand. The set of its bytes takes it in place of a copy.
 * LOCKING    None while a block is made: each step takes its own locks.
 * LIMITS     An allocation evicts in rounds without a lock between them; then E_SPACE.
 * SEE ALSO   large_list.c, retire.c. README.md: rejected allocators, measurements. */
#include <string.h>

#include "l1/evict.h"
#include "l1/index.h"
#include "l1/large.h"
#include "l1/pin_slots.h"
#include "l1/quota.h"
#include "l1/segment.h"

BASE_SIZE_BEGIN

/* Restore the segments that blocks leave to the log. Without them the evictor drops records that it
 * should keep. When the last of them is used up, each set with a block frees two. It does so in a
 * few rounds, until all are back. To free all in one call would evict thousands of entries. */
static void l1_log_refill(l1 *c)
{
    const uint64_t all = (uint64_t)base_load_rlx(&c->reserve) * c->seg_bytes;
    const uint64_t used = base_load_rlx(&c->account->used);
    const uint64_t limit = base_load_rlx(&c->account->limit);
    const uint64_t room = limit > used ? limit - used : 0;
    const uint64_t next = BASE_MIN(all, room + 2 * (uint64_t)c->seg_bytes);
    bool there = false, more = true;
    l1_round at = {0};
    for (unsigned round = 0; round < 4 && more && !there; round++) {
        l1_retired_for(c, next);
        there = l1_give_back(c, next, 0);
        more = there || (l1_may_fit(c, next) && l1_evict_round(c, c->seg_bytes, &at) != 0);
    }
    if (!more || (there && next == all)) { base_store_rlx(&c->refill, 0u); }
}

CELLAR_PRIVATE cellar_err l1_big_make(l1 *c, const l1_key *k, const void *value, uint64_t len,
                                      bool apart, l1_big **out)
{
    const uint64_t bytes = l1_run_bytes(c, L1_BIG_HEADER + len + (apart ? k->len : 0));
    uint64_t need = 0;
    if (base_fault_alloc("l1.big")) { return CELLAR_E_NOMEM; }
    l1_run got = L1_RUN_CHARGE;
    l1_round at = {0};
    for (unsigned round = 0; round <= 16 && got == L1_RUN_CHARGE; round++) {
        /* First take free segments beyond the reserve of the log. That evicts nothing, and blocks
         * that only replace blocks would never ask for them. */
        const bool given = round != 0 && l1_give_back(c, need, base_load_rlx(&c->reserve));
        /* Reuse the pages of a victim before the kernel gets them. Do not evict for a block that
         * cannot fit. */
        const bool evict = round != 0 && !given;
        if (evict && l1_may_fit(c, need)) { (void)l1_evict_round(c, c->seg_bytes, &at); }
        *out = given ? NULL : l1_retired_keep(c, bytes);
        if (*out != NULL) {
            l1_run_reuse(c, *out, bytes);
            got = L1_RUN_OK;
            break;
        }
        /* Another thread may take the room between the eviction and the charge: try again. */
        if (evict && !l1_make_room(c, need)) { break; }
        if (evict) {
            base_store_rlx(&c->refill, 1u);
            l1_full_of_blocks(c);
        }
        got = l1_run_take(c, bytes, out, &need);
    }
    if (got != L1_RUN_OK) { return got == L1_RUN_CHARGE ? CELLAR_E_SPACE : CELLAR_E_NOMEM; }
    /* A longer block cut to size frees room without the release of a segment, so `low` is out of
     * date. Without this the record would evict one more entry, and each later set the next. */
    const bool more = base_load_rlx(&c->account->used) >= base_load_rlx(&c->fit_at);
    if (base_load_rlx(&c->low) != 0 || more) { (void)l1_unpark(c, 0); }
    if (base_load_rlx(&c->refill) != 0) { l1_log_refill(c); }
    unsigned char *to = l1_big_bytes(*out);
    if (value != NULL) { memcpy(to, value, (size_t)len); }
    if (apart) { memcpy(to + len, k->bytes, k->len); }
    if (base_load_rlx(&c->wipes) != 0) { /* a reused block keeps its pages */
        const uint64_t used = L1_BIG_HEADER + len + (apart ? k->len : 0);
        base_wipe((unsigned char *)*out + used, (size_t)(bytes - used));
    }
    return CELLAR_OK;
}

CELLAR_PRIVATE void l1_cells_set(l1 *c, l1_cells *o) { base_store_rel(&c->cells, o); }

/* Charge bytes outside the log. Evict for them in rounds, as l1_big_make does. */
static bool l1_charge_rounds(l1 *c, uint64_t charge)
{
    l1_round at = {0};
    for (unsigned round = 0; round <= 16; round++) {
        if (base_charge(c->account, BASE_MOD_OBJECT, charge)) { return true; }
        if (l1_give_back(c, charge, base_load_rlx(&c->reserve))) { continue; }
        if (!l1_may_fit(c, charge)) { return false; }
        (void)l1_evict_round(c, c->seg_bytes, &at);
        if (!l1_make_room(c, charge)) { return false; }
        base_store_rlx(&c->refill, 1u);
        l1_full_of_blocks(c);
    }
    return false;
}

static cellar_err l1_charge_outside(l1 *c, uint64_t charge)
{
    if (charge > base_load_rlx(&c->account->limit) / 2) { return CELLAR_E_TOOBIG; }
    if (base_fault_alloc("l1.object")) { return CELLAR_E_NOMEM; }
    return l1_charge_rounds(c, charge) ? CELLAR_OK : CELLAR_E_SPACE;
}

/* Let the log follow what is charged outside it. */
static void l1_charged(l1 *c, uint64_t bytes)
{
    const uint64_t used = base_load_rlx(&c->account->used);
    if (used >= base_load_rlx(&c->fit_at)) { (void)l1_unpark(c, 0); }
    l1_used_moved(c, used - bytes);
    if (base_load_rlx(&c->refill) != 0) { l1_log_refill(c); }
}

CELLAR_PRIVATE cellar_err l1_charge(l1 *c, uint64_t bytes)
{
    const cellar_err err = l1_charge_outside(c, bytes);
    if (err != CELLAR_OK) { return err; }
    (void)base_add_rlx(&c->charges, bytes);
    l1_charged(c, bytes);
    return CELLAR_OK;
}

CELLAR_PRIVATE cellar_err l1_cell_new(l1 *c, uint32_t generation, uint32_t class_number,
                                      void *object, uint64_t charge, l1_cell **out)
{
    l1_cells *const o = base_load_acq(&c->cells);
    *out = NULL;
    if (BASE_UNLIKELY(base_load_rlx(&c->quotas) != NULL)) {
        l1_quota_room(c, generation, NULL, charge);
    }
    const cellar_err err = l1_charge_outside(c, charge);
    if (err != CELLAR_OK) { return err; }
    *out = l1_cell_take(o, class_number, object, charge);
    if (*out == NULL && l1_make_room(c, L1_CELLS_STEP)) {
        *out = l1_cell_take(o, class_number, object, charge);
    }
    if (*out == NULL) {
        base_uncharge(c->account, BASE_MOD_OBJECT, charge);
        return CELLAR_E_SPACE;
    }
    l1_charged(c, charge);
    return CELLAR_OK;
}

CELLAR_PRIVATE cellar_err l1_reserve(l1 *c, size_t len, l1_pin_ref *out)
{
    const l1_key none = {0};
    l1_big *b;
    *out = (l1_pin_ref){.slot = UINT32_MAX};
    const cellar_err err = l1_big_make(c, &none, NULL, len, false, &b);
    if (err != CELLAR_OK) { return err; }
    _Atomic uint64_t *pin = l1_pin_take(c, (uint64_t)(uintptr_t)b | L1_BIG_BIT, false);
    if (pin == NULL) {
        l1_run_give(c, b);
        return CELLAR_E_LIMIT;
    }
    *out = (l1_pin_ref){.value = l1_big_bytes(b), .value_len = len,
                        .slot = (uint32_t)(pin - &c->pin[0].slot[0])};
    l1_big_to(c, b, L1_RESERVED);
    return CELLAR_OK;
}

/* Move the reserved block of `bytes` bytes, 0: of any length, into the hand of this thread. NULL:
 * it is not there. The bytes before `value` may be those of any value, so the list alone says
 * whether they are a header. */
static l1_big *l1_reserved_take(l1 *c, const void *value, uint64_t bytes)
{
    l1_big *b;
    sync_take(L1_BIG, &c->big_lock);
    for (b = c->hand.first; b != NULL; b = b->next) {
        if (l1_big_bytes(b) == value && b->where == (uint32_t)L1_RESERVED) { break; }
    }
    if (b != NULL && bytes != 0 && b->bytes != bytes) { b = NULL; }
    if (b != NULL) { l1_bigs_move(c, b, L1_IN_HAND); }
    sync_drop(L1_BIG, &c->big_lock);
    return b;
}

CELLAR_PRIVATE l1_big *l1_big_adopt(l1 *c, const void *value, uint64_t len)
{
    const uintptr_t at = (uintptr_t)value - (uintptr_t)c->pages.region.base;
    if (at >= c->pages.region.reserved_bytes) { return NULL; }
    return l1_reserved_take(c, value, l1_run_bytes(c, L1_BIG_HEADER + len));
}

CELLAR_PRIVATE void l1_reserve_end(l1 *c, const void *value, uint32_t slot_index)
{
    if (c->forked) { return; }
    l1_big *const unused = l1_reserved_take(c, value, 0);
    l1_unpin_slot(c, slot_index);
    if (unused != NULL) { l1_run_give(c, unused); }
}

BASE_SIZE_END
