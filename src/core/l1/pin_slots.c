/* SPDX-License-Identifier: MIT
 *
 * pin_slots: publish that a thread reads a record or a block, so that its memory stays.
 *
 * PICTURE    Lines of 16 slots; slot = offset of the record + 1, or block | bit 63 for an oversized
 *            value.
 *                |thread 1|thread 2|thread 3|..|internal|internal|
 *            A thread starts at the line of its own number. The last quarter of the lines serves
 *            internal copies only, so that pins of users cannot starve a get.
 *            The recycler scans the lines where threads start. After the first pin that went on
 *            to another line it scans all of them.
 * INVARIANTS A segment with a record that a slot names is neither reused nor given back, and that
 *            record is not overwritten. A block named by a slot is not freed. The evictor still
 *            evicts entries of a pinned segment: a pin keeps memory.
 * LOCKING    The pinner publishes the slot (CAS seq_cst), then reads the version again. The
 *            recycler unlinks every record (each changes a version), then scans the slots.
 *            README.md has the proof.
 * LIMITS     16 x lines slots; without a free slot: CELLAR_E_LIMIT. */
#include "l1/pin_slots.h"

BASE_SIZE_BEGIN

CELLAR_PRIVATE bool l1_pins_open(l1 *c)
{
    c->pin_lines = (uint32_t)base_clamp(base_pow2_ceil(4u * (uint64_t)base_cpu_count()), 16, 256);
    c->user_pin_lines = c->pin_lines / 4 * 3;
    c->pin_bytes = (size_t)c->pin_lines * sizeof(l1_pin_line);
    c->pin = base_alloc(c->account, BASE_MOD_PIN, c->pin_bytes, NULL);
    return c->pin != NULL;
}

CELLAR_PRIVATE _Atomic uint64_t *l1_pin_take(l1 *c, uint64_t what, bool internal)
{
    const base_thread_record *self = base_thread_self();
    const uint32_t lines = internal ? c->pin_lines : c->user_pin_lines;
    /* Internal copies start in lines that pins of users never take. */
    uint32_t at = internal ? c->user_pin_lines + self->index % (c->pin_lines - c->user_pin_lines)
                           : (uint32_t)(l1_pin_home(c, self) - c->pin);
    for (uint32_t i = 0; i < lines; i++) {
        if (i != 0) { base_store_sc(&c->pin_spilled, 1u); } /* before the slot */
        for (unsigned j = 0; j < L1_PIN_SLOTS; j++) {
            if (l1_pin_put(&c->pin[at].slot[j], what)) { return &c->pin[at].slot[j]; }
        }
        at = at + 1 < lines ? at + 1 : 0;
    }
    base_add_rlx(&c->pin_limit, (uint64_t)1);
    return NULL;
}

/* Return whether a slot has a name that is `name` after the shift. 0 is no name. */
static bool l1_pin_named(const l1 *c, uint64_t name, unsigned shift)
{
    const uint32_t threads = base_thread_count(); /* of each group so many first lines are in use */
    const bool all = base_load_sc(&c->pin_spilled) != 0;
    for (uint32_t i = 0, end = c->user_pin_lines;; i = end, end = c->pin_lines) {
        const uint32_t to = all ? end : BASE_MIN(end, i + threads);
        for (; i < to; i++) {
            for (unsigned j = 0; j < L1_PIN_SLOTS; j++) {
                const uint64_t what = base_load_sc(&c->pin[i].slot[j]);
                if ((what - 1) >> shift == name) { return true; }
            }
        }
        if (end == c->pin_lines) { return false; }
    }
}

CELLAR_PRIVATE bool l1_pinned(const l1 *c, uint64_t what) { return l1_pin_named(c, what - 1, 0); }

CELLAR_PRIVATE bool l1_seg_pinned(const l1 *c, uint32_t seg)
{
    /* 0, and a block, are names of no segment */
    return l1_pin_named(c, seg, c->seg_shift - c->gshift);
}

BASE_SIZE_END
