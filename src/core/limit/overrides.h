/* SPDX-License-Identifier: MIT
 *
 * overrides: state that few keys have: a plan, a ban outside the word, permits. The caller of each
 * function may hold any lock of the limiter. */
#ifndef LIMIT_OVERRIDES_H
#define LIMIT_OVERRIDES_H

#include "limit/types.h"

/* Get rules and ban of a key; return false if it has no record. */
CELLAR_PRIVATE bool limit_over_get(cellar_limiter *l, uint64_t fp, limit_rule *rules,
                                   bool *has_plan, uint64_t *until_ns);
/* Get the rules of the plan of a key; return false if it has none. */
CELLAR_PRIVATE bool limit_plan_of(cellar_limiter *l, uint64_t fp, limit_rule *rules);
#define LIMIT_LOOKS 256u /* records that a new one searches for an ended ban */
/* Give a key a plan (0: none; LIMIT_PLAN_SAME) and a ban (0: no new one). Make or drop its
 * record. */
#define LIMIT_PLAN_SAME UINT32_MAX
CELLAR_PRIVATE cellar_err limit_over_set(cellar_limiter *l, uint64_t fp, uint64_t now_ns,
                                         uint32_t plan, uint64_t until_ns);
/* Get the key and the end of the ban of record `i`, below over_max; return false if it has none. */
CELLAR_PRIVATE bool limit_over_ban(cellar_limiter *l, uint32_t i, uint64_t *fp,
                                   uint64_t *until_ns);
/* Drop the record of a key if it has no plan, its ban is over, and no save runs. `lifted`: a ban
 * ends in any case, and *lifted says whether there was one. Return true if no record is left. */
CELLAR_PRIVATE bool limit_over_trim(cellar_limiter *l, uint64_t fp, uint64_t now_ns,
                                    bool *lifted);
CELLAR_PRIVATE cellar_err limit_permit_new(cellar_limiter *l, uint64_t fp, uint64_t until_ns,
                                           uint64_t *value, uint64_t *token);
/* Return how many permits of a key an acquire ends: those with an expired hold, up to 8. *first_ns:
 * ns until the next one expires. The value may be out of date. */
CELLAR_PRIVATE uint64_t limit_permit_over(cellar_limiter *l, uint64_t fp, uint64_t now_ns,
                                          uint64_t value, uint64_t *first_ns);
/* End those permits, in the present value of the key; return *first_ns. */
CELLAR_PRIVATE uint64_t limit_permit_expire(cellar_limiter *l, uint64_t fp, uint64_t now_ns,
                                            uint64_t *value);
/* End the `count` permits that expire first. */
CELLAR_PRIVATE void limit_permit_drop(cellar_limiter *l, uint64_t *value, uint64_t count);
/* Set the end of the hold of a permit of this key; 0 ends the permit. */
CELLAR_PRIVATE cellar_err limit_permit_move(cellar_limiter *l, uint64_t fp, uint64_t token,
                                            uint64_t now_ns, uint64_t until_ns, uint64_t *value);
/* List keys that have expired permits: at most `most`, out of the next `looks` records. */
CELLAR_PRIVATE uint32_t limit_permit_stale(cellar_limiter *l, uint64_t now_ns, uint32_t looks,
                                           uint64_t *fp, uint32_t most);
/* Find or make a plan: by name, or (name "") by equal rules. Rules NULL: only find it. Count the
 * caller as its user. *plan: its number + 1. */
CELLAR_PRIVATE cellar_err limit_plan_make(cellar_limiter *l, const char *name,
                                          const limit_rule *rules, uint32_t *plan);
/* Remove one user of a plan. */
CELLAR_PRIVATE void limit_plan_drop(cellar_limiter *l, uint32_t plan);
/* Lift all bans. Return whether there was one. */
CELLAR_PRIVATE bool limit_side_clear_bans(cellar_limiter *l);

#endif
