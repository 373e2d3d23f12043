/* SPDX-License-Identifier: MIT
 *
 * convert: new rules and a new origin for all keys, or other rules for one. */
#ifndef LIMIT_CONVERT_H
#define LIMIT_CONVERT_H

#include "limit/types.h"

/* Write a set of rules that no call uses. */
CELLAR_PRIVATE void limit_set_write(_Atomic uint64_t *set, uint64_t origin, const limit_rule *rules,
                                    uint32_t count);
/* Return the distance of a new origin from the present reading, ns. Live stamps of a log are
 * younger than that. */
CELLAR_PRIVATE uint64_t limit_lead(const cellar_limiter *l, const limit_rule *rules);
/* Move the origin if the reading is far from it. */
CELLAR_PRIVATE void limit_rebase(cellar_limiter *l, uint64_t now_ns);
/* Compile rules of a call or plan. They must fit the slots of the limiter. `call`: the public
 * function, for the text of a refusal. */
CELLAR_PRIVATE cellar_err limit_own_rules(cellar_limiter *l, const char *call,
                                          const cellar_rule *rules, uint32_t count,
                                          limit_rule *out);
/* Replace the rules of the limiter by `rules`, which limit_own_rules compiled to `to`. */
CELLAR_PRIVATE void limit_rules_replace(cellar_limiter *l, const cellar_rule *rules,
                                        limit_rule *to);
/* Convert a slot that is written by origin and bases of `set`, and write its fp `f`. Counts with a
 * base that means the same in `to_set` stay (NULL: none do). */
CELLAR_PRIVATE void limit_slot_convert(cellar_limiter *l, const _Atomic uint64_t *set,
                                       const _Atomic uint64_t *to_set, limit_slot *s, uint64_t f,
                                       const limit_rule *from, const limit_rule *to);
/* Convert the slot of a key, if it has one, to other rules. `side`: its bit 0. */
CELLAR_PRIVATE void limit_key_convert(cellar_limiter *l, uint64_t fp, bool side,
                                      const limit_rule *from, const limit_rule *to)
    SYNC_HOLDS(LIMIT);

/* Give a key a plan (0: none; LIMIT_PLAN_SAME) and a ban (0 ns: no new one), and convert its words.
 * The caller is counted as a user of the plan, and holds no lock. */
CELLAR_PRIVATE cellar_err limit_assign(cellar_limiter *l, uint64_t fp, uint32_t plan,
                                       uint64_t ban_ns);

#endif
