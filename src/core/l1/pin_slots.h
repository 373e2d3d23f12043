/* SPDX-License-Identifier: MIT
 *
 * pin_slots: slots that keep a segment or a block in place. */
#ifndef L1_PIN_SLOTS_H
#define L1_PIN_SLOTS_H

#include "l1/types.h"

BASE_ALWAYS_INLINE bool l1_pin_put(_Atomic uint64_t *slot, uint64_t what)
{
    if (base_load_rlx(slot) != 0) { return false; }
    return base_cas_sc(slot, (uint64_t)0, what);
}

/* Return the first line for pins of a thread. No two threads share a line until all are in use. */
BASE_ALWAYS_INLINE l1_pin_line *l1_pin_home(const l1 *c, const base_thread_record *self)
{
    const uint32_t t = self->index;
    return &c->pin[BASE_LIKELY(t < c->user_pin_lines) ? t : t % c->user_pin_lines];
}

CELLAR_PRIVATE bool l1_pins_open(l1 *c);
/* Publish an l1_pin_name, or a block | L1_BIG_BIT, in a free slot. NULL: no slot is free. */
CELLAR_PRIVATE _Atomic uint64_t *l1_pin_take(l1 *c, uint64_t what, bool internal);
CELLAR_PRIVATE bool l1_pinned(const l1 *c, uint64_t what);
/* Return whether a slot names a record of the segment. */
CELLAR_PRIVATE bool l1_seg_pinned(const l1 *c, uint32_t seg);

#endif
