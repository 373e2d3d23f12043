/* SPDX-License-Identifier: MIT
 *
 * pin: functions of pin.c for the files above it. */
#ifndef CACHE_PIN_H
#define CACHE_PIN_H

#include "base/borrow.h"
#include "cache/types.h"

BASE_ALWAYS_INLINE void cache_pin_out(const cellar *c, const l1_pin_ref *ref, cellar_pinned *out)
{
    out->value = base_borrow(c->l1, ref->value, ref->value_len);
    out->value_len = ref->value_len;
    out->opaque[0] = (uint64_t)(uintptr_t)c->l1;
    out->opaque[1] = ref->slot;
    out->opaque[2] = (uint64_t)ref->deadline_ms;
    out->opaque[3] = ref->user_flags;
}

#endif
