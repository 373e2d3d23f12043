/* SPDX-License-Identifier: MIT
 *
 * rule: the algorithms of one word, as pure functions of (rule, moment, value). */
#ifndef LIMIT_RULE_H
#define LIMIT_RULE_H

#include "limit/types.h"

BASE_INLINE uint32_t limit_algo(const limit_rule *r) { return (uint32_t)(r->kind & 0xff); }
BASE_INLINE bool limit_flag(const limit_rule *r, uint32_t flag)
{
    return (r->kind >> 8 & flag) != 0;
}
BASE_INLINE uint32_t limit_base(const limit_rule *r) { return (uint32_t)(r->kind >> 32 & 3); }
/* Tell whether an algorithm counts units in windows. */
BASE_INLINE bool limit_counts_units(uint32_t algo)
{
    return algo == CELLAR_RULE_SLIDING_WINDOW || algo == CELLAR_RULE_FIXED_WINDOW;
}
/* Let a window count in units of `limit`, the one of `base`. Other rules stay. */
BASE_INLINE void limit_base_set(limit_rule *r, uint32_t base, uint64_t limit)
{
    if (!limit_counts_units(limit_algo(r))) { return; }
    r->kind = (r->kind & UINT32_MAX) | (uint64_t)base << 32;
    r->reach = limit;
}
/* Replace the rule of a key by that of its plan, or by that of a call, which counts in the units of
 * the rule that it replaces. */
BASE_INLINE void limit_rule_own(limit_rule *r, const limit_rule *own)
{
    const uint32_t base = limit_base(r);
    const uint64_t limit = r->reach;
    *r = *own;
    if (limit_base(own) != LIMIT_BASE_PLAN) { limit_base_set(r, base, limit); }
}
BASE_INLINE uint64_t limit_min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }
BASE_INLINE uint64_t limit_max_u64(uint64_t a, uint64_t b) { return a > b ? a : b; }
/* Convert units to ns, rounded up. */
BASE_INLINE uint64_t limit_ns_of(uint64_t units)
{
    return units / LIMIT_UNITS_NS + (units % LIMIT_UNITS_NS != 0);
}
/* Convert ns to units; saturate at LIMIT_DEBT_MAX. */
CELLAR_PRIVATE uint64_t limit_units_of(uint64_t ns);
BASE_INLINE uint64_t limit_permits_out(uint64_t value) { return value >> 32; }

/* Tell whether a name is printable ASCII of at most `most` bytes. */
CELLAR_PRIVATE bool limit_name_ok(const char *name, size_t most);
/* Check and compile a rule. A refusal sets *why to the broken rule and its remedy. */
CELLAR_PRIVATE cellar_err limit_compile(const cellar_rule *in, uint32_t number, limit_rule *out,
                                        const char **why);
/* Decide `cost` on the value `v`: fill next, deny, never, retry. Not for logs and permits. */
CELLAR_PRIVATE void limit_take_value(const limit_rule *r, const limit_at *at, uint64_t v,
                                     uint64_t cost, limit_verdict *out);
/* Compute remaining and reset of a value. */
CELLAR_PRIVATE void limit_show(const limit_rule *r, const limit_at *at, uint64_t v,
                               limit_verdict *out);
CELLAR_PRIVATE uint64_t limit_charge_value(const limit_rule *r, const limit_at *at, uint64_t v,
                                           uint64_t cost);
CELLAR_PRIVATE uint64_t limit_refund_value(const limit_rule *r, const limit_at *at, uint64_t v,
                                           uint64_t cost);
/* Return what a ticket has of the value after its take: that of a token bucket, the window and the
 * unit of counts. */
CELLAR_PRIVATE uint64_t limit_stamp(const limit_rule *r, uint64_t v);
/* Give back `units` of a ticket. `then`: its stamp; `given`: parts that other tickets gave back out
 * of order since. */
CELLAR_PRIVATE uint64_t limit_give_value(const limit_rule *r, const limit_at *at, uint64_t v,
                                         uint64_t units, uint64_t then, uint64_t given);
/* Return how far a token bucket went back from `v` to `next`, in LIMIT_PARTS of a unit, rounded up;
 * 0 for other algorithms. */
CELLAR_PRIVATE uint64_t limit_parts_back(const limit_rule *r, uint64_t v, uint64_t next);
/* Return the value that a denial with CHARGE_DENIED writes. */
CELLAR_PRIVATE uint64_t limit_denied_value(const limit_rule *r, const limit_at *at, uint64_t v,
                                           uint64_t cost);
/* Return the value of a token bucket after a ban that ended at `end`: it admitted one unit then. */
CELLAR_PRIVATE uint64_t limit_after_ban(const limit_rule *r, uint64_t end, uint64_t v);
/* Return the loss of dropping a value, comparable within one algorithm; 0: none. */
CELLAR_PRIVATE uint64_t limit_debt(const limit_rule *r, const limit_at *at, uint64_t v);
/* Convert a value of a token bucket to another rule; `shift`: units by which the origin moves
 * up. */
CELLAR_PRIVATE uint64_t limit_convert(const limit_rule *from, const limit_rule *to,
                                      const limit_at *at, uint64_t v, uint64_t shift);
/* Return the base of the counts of a window. */
CELLAR_PRIVATE uint32_t limit_value_base(uint32_t algo, uint64_t v);
/* Convert the counts of a window from units of the limit `units` to those of the rule. */
CELLAR_PRIVATE uint64_t limit_convert_counts(const limit_rule *to, uint64_t units, uint64_t v);
/* Return the shares of a limit, the unit of LIMIT_BASE_SHARE. */
CELLAR_PRIVATE uint64_t limit_shares(uint32_t algo);
/* Convert counts to shares, or to units of the rule if shares have no room. */
CELLAR_PRIVATE uint64_t limit_convert_shares(const limit_rule *to, uint64_t units, uint64_t v);
/* Convert the value of a sliding window from `from_ns` of one clock to `to_ns` of another. */
CELLAR_PRIVATE uint64_t limit_count_carry(const limit_rule *r, uint64_t from_ns, uint64_t to_ns,
                                          uint64_t v);
/* Return the value of a sliding window without its counts: the newer window of `v` and `at`. */
CELLAR_PRIVATE uint64_t limit_count_none(const limit_rule *r, const limit_at *at, uint64_t v);

#endif
