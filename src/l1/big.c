/* SPDX-License-Identifier: MIT
 *
 * big: oversized values, one block each, charged to the budget until they are really freed.
 *
 * PICTURE    the log holds header, key and a 16-byte descriptor {block, length}; the bytes are one
 *            base_alloc block, never changed in place. Replaced or evicted (after its hand-over) a
 *            block waits in limbo until no pin slot names it.
 * INVARIANTS charge of BIG == big_bytes + limbo_bytes; a block is linked, or in exactly one victim
 *            note, or in limbo.
 * LOCKING    limbo under L1_BIG (leaf but for nothing: taken inside bucket windows); freed outside.
 * LIMITS     an allocation evicts in rounds with no lock between them, and gives up with E_SPACE. */
#include <string.h>

#include "l1/l1_int.h"

CELLAR_PRIVATE cellar_err l1_big_make(l1 *c, const void *value, uint64_t len, l1_big **out)
{
    const uint64_t bytes = L1_BIG_HEADER + len;
    const uint64_t charge = base_block_bytes(c->account, (size_t)bytes);
    bool refused = true;
    l1_big *b = NULL;
    (void)l1_limbo_sweep(c);
    for (unsigned round = 0; round < 16 && b == NULL && refused; round++) {
        /* Somebody else may take the room between our eviction and our charge: try again. */
        if (!l1_make_room(c, charge)) { break; }
        b = base_alloc(c->account, BASE_MOD_BIG, (size_t)bytes, &refused);
    }
    if (b == NULL) { return refused ? CELLAR_E_SPACE : CELLAR_E_NOMEM; }
    b->next = NULL;
    b->bytes = bytes;
    memcpy(l1_big_bytes(b), value, (size_t)len);
    base_add_rlx(&c->big_bytes, charge);
    base_add_rlx(&c->big_blocks, (uint64_t)1);
    *out = b;
    return CELLAR_OK;
}

static void l1_big_free(l1 *c, l1_big *b)
{
    base_free(c->account, BASE_MOD_BIG, b, (size_t)b->bytes);
}

CELLAR_PRIVATE void l1_big_drop(l1 *c, l1_big *b)
{
    base_sub_rlx(&c->big_bytes, base_block_bytes(c->account, (size_t)b->bytes));
    base_sub_rlx(&c->big_blocks, (uint64_t)1);
    l1_big_free(c, b);
}

CELLAR_PRIVATE void l1_big_limbo(l1 *c, l1_big *b)
{
    BASE_POINT("l1.big.limbo");
    const uint64_t charge = base_block_bytes(c->account, (size_t)b->bytes);
    base_sub_rlx(&c->big_bytes, charge);
    base_sub_rlx(&c->big_blocks, (uint64_t)1);
    if (BASE_MUTANT("l1.limbo_freed_early")) {
        l1_big_free(c, b);
        return;
    }
    base_add_rlx(&c->limbo_bytes, charge);
    sync_take(L1_BIG, &c->big_lock);
    b->next = c->limbo;
    c->limbo = b;
    sync_drop(L1_BIG, &c->big_lock);
}

CELLAR_PRIVATE uint64_t l1_limbo_sweep(l1 *c)
{
    if (base_load_rlx(&c->limbo_bytes) == 0) { return 0; }
    sync_take(L1_BIG, &c->big_lock);
    l1_big *list = c->limbo, *keep = NULL;
    c->limbo = NULL;
    sync_drop(L1_BIG, &c->big_lock);
    uint64_t freed = 0;
    while (list != NULL) {
        l1_big *next = list->next;
        if (l1_pinned(c, (uint64_t)(uintptr_t)list | L1_BIG_BIT)) {
            list->next = keep;
            keep = list;
        } else {
            uint64_t charge = base_block_bytes(c->account, (size_t)list->bytes);
            base_sub_rlx(&c->limbo_bytes, charge);
            l1_big_free(c, list);
            freed += charge;
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
    return freed;
}
