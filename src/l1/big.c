/* SPDX-License-Identifier: MIT
 *
 * big: oversized values and keys: a block each, charged to the budget until it is really freed.
 *
 * PICTURE    the log holds header, key and a 16-byte descriptor {block, length}; of a key too long
 *            for it (APART) its block and hash. The bytes lie in a run of units (runs.c), never
 *            changed in place. Replaced or evicted (after its hand-over) a block waits in limbo
 *            until no pin slot names it.
 *                block |header|value, if BIG|key, if APART|
 * INVARIANTS big_bytes + limbo_bytes == units in use; a block is linked, or in exactly one victim
 *            note, or in limbo.
 * LOCKING    limbo under L1_BIG, taken inside bucket windows.
 * LIMITS     an allocation evicts in rounds with no lock between them, and gives up with E_SPACE.
 * TRIED      one block of the host's malloc each: with sizes that change, glibc's per-thread arenas
 *            held 1.9 x what was in use (make bench SUITE=churn, 16-64 KiB values).
 *            One mapping each: as exact, but the kernel allows 65,530 of them a process. */
#include <string.h>

#include "l1/l1_int.h"

CELLAR_PRIVATE cellar_err l1_big_make(l1 *c, const void *value, uint64_t len, const void *key,
                                      uint32_t key_len, l1_big **out)
{
    const uint64_t bytes = l1_run_bytes(c, L1_BIG_HEADER + len + key_len);
    unsigned char *at = NULL;
    uint64_t need = 0;
    if (base_fault_alloc("l1.big")) { return CELLAR_E_NOMEM; }
    l1_run got = l1_run_take(c, bytes, &at, &need);
    (void)l1_limbo_sweep(c);
    for (unsigned round = 0; round < 16 && got == L1_RUN_CHARGE; round++) {
        /* Somebody else may take the room between our eviction and our charge: try again. */
        if (!l1_make_room(c, need)) { break; }
        got = l1_run_take(c, bytes, &at, &need);
    }
    if (got != L1_RUN_OK) { return got == L1_RUN_CHARGE ? CELLAR_E_SPACE : CELLAR_E_NOMEM; }
    l1_big *b = (l1_big *)(void *)at;
    b->next = NULL;
    b->bytes = bytes;
    if (len != 0) { memcpy(l1_big_bytes(b), value, (size_t)len); }
    if (key_len != 0) { memcpy(l1_big_bytes(b) + len, key, key_len); }
    base_add_rlx(&c->big_bytes, bytes);
    base_add_rlx(&c->big_blocks, (uint64_t)1);
    *out = b;
    return CELLAR_OK;
}

CELLAR_PRIVATE l1_look l1_big_look(l1 *c, const l1_bucket *primary, uint32_t ver, uint64_t pos,
                                   const l1_rec *r, const l1_key *k)
{
    const l1_big *block = l1_block_of(c, pos, r);
    const unsigned char *key = l1_key_at(c, pos, r); /* not looked at yet: it may be anywhere */
    base_fence_acq();
    if (base_load_rlx(&primary->ver) != ver) { return L1_LOOK_AGAIN; }
    /* No slot: the reader comes back with the lock after some rounds. */
    _Atomic uint64_t *slot = l1_pin_take(c, (uint64_t)(uintptr_t)block | L1_BIG_BIT, true);
    if (slot == NULL) { return L1_LOOK_AGAIN; }
    BASE_POINT("l1.apart.published");
    l1_look look = L1_LOOK_AGAIN;
    if (base_load_sc(&primary->ver) == ver) {
        look = BASE_MUTANT("l1.apart_by_hash") || memcmp(key, k->bytes, k->len) == 0
                   ? L1_LOOK_FOUND : L1_LOOK_NONE;
    }
    base_store_rel(slot, (uint64_t)0);
    return look;
}

CELLAR_PRIVATE void l1_big_drop(l1 *c, l1_big *b)
{
    base_sub_rlx(&c->big_bytes, b->bytes);
    base_sub_rlx(&c->big_blocks, (uint64_t)1);
    l1_run_give(c, (unsigned char *)b, b->bytes);
}

CELLAR_PRIVATE void l1_big_limbo(l1 *c, l1_big *b)
{
    BASE_POINT("l1.big.limbo");
    if (BASE_MUTANT("l1.limbo_freed_early")) {
        l1_big_drop(c, b);
        return;
    }
    base_add_rlx(&c->limbo_bytes, b->bytes);
    base_sub_rlx(&c->big_bytes, b->bytes);
    base_sub_rlx(&c->big_blocks, (uint64_t)1);
    sync_take(L1_BIG, &c->big_lock);
    b->next = c->limbo;
    c->limbo = b;
    sync_drop(L1_BIG, &c->big_lock);
}

static bool l1_on_its_way(l1 *c)
{
    if (base_load_acq(&c->sweepers) != 0) { return true; }
    sync_take(L1_SEG, &c->seg_lock);
    const bool back = c->returning != 0;
    sync_drop(L1_SEG, &c->seg_lock);
    return back;
}

CELLAR_PRIVATE void l1_limbo_wait(l1 *c)
{
    for (unsigned i = 0; l1_on_its_way(c) && i < 1000; i++) {
        if (i < 128) {
            base_yield();
        } else {
            base_sleep_ns(50000);
        }
    }
}

CELLAR_PRIVATE uint64_t l1_limbo_sweep(l1 *c)
{
    if (base_load_rlx(&c->limbo_bytes) == 0) { return 0; }
    sync_take(L1_BIG, &c->big_lock);
    l1_big *list = c->limbo, *keep = NULL;
    c->limbo = NULL;
    base_add_rlx(&c->sweepers, 1u);
    sync_drop(L1_BIG, &c->big_lock);
    uint64_t freed = 0;
    while (list != NULL) {
        l1_big *next = list->next;
        if (l1_pinned(c, (uint64_t)(uintptr_t)list | L1_BIG_BIT)) {
            list->next = keep;
            keep = list;
        } else {
            freed += list->bytes;
            base_sub_rlx(&c->limbo_bytes, list->bytes);
            l1_run_give(c, (unsigned char *)list, list->bytes);
        }
        list = next;
    }
    while (keep != NULL) {
        l1_big *next = keep->next;
        sync_take(L1_BIG, &c->big_lock);
        keep->next = c->limbo;
        c->limbo = keep;
        sync_drop(L1_BIG, &c->big_lock);
        keep = next;
    }
    base_sub_ar(&c->sweepers, 1u); /* release here, acquire in l1_limbo_wait */
    /* Sets must not go on paying for a shortage that is over. */
    if (freed != 0) { (void)l1_unpark(c, 0); }
    return freed;
}
