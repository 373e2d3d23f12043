/* SPDX-License-Identifier: MIT
 *
 * table: place of a key, clock, present rules, counters.
 *
 * PICTURE    key --keyed hash--> fp --> region (one lock) --> two buckets of 4 slots
 * COUNTERS   One row for each of the first threads, written by that thread alone. All other threads
 *            share row 0, with atomic adds. All rows were allocated with the limiter.
 * LOCKING    none here
 * SEE ALSO   README.md in this folder: why two buckets, fill figures. */
#include "limit/table.h"

#include "base/open_error.h"

BASE_COLD CELLAR_PRIVATE cellar_err limit_call_refuse(const char *call, const cellar_limiter *l,
                                                      const void *key, size_t key_len)
{
    if (l == NULL || key == NULL) {
        return base_refuse(CELLAR_E_INVAL, call, "l and key must not be NULL");
    }
    if (key_len == 0 || key_len > CELLAR_KEY_MAX) {
        return base_open_fail(CELLAR_E_INVAL, 0, "%s: key must have 1..65,535 bytes (got %zu)",
                              call, key_len);
    }
    return base_refuse(CELLAR_E_INVAL, call, l->conc < 0
                       ? "the limiter has no concurrency rule: use cellar_limiter_check"
                       : "the limiter has a concurrency rule: use cellar_permit_acquire");
}

CELLAR_PRIVATE uint64_t limit_fp(const cellar_limiter *l, const void *key, size_t len)
{
    const uint64_t h = base_hash(&l->hash, 0, key, len) & ~(uint64_t)1;
    return h != 0 ? h : 2;
}

CELLAR_PRIVATE uint64_t limit_now(const cellar_limiter *l)
{
    if (BASE_UNLIKELY(l->clock != NULL)) { return l->clock(l->clock_ctx); }
    if (BASE_UNLIKELY(l->coarse)) {
        static const base_clock system = { NULL, NULL, NULL };
        return (uint64_t)base_coarse_ms(&system) * 1000000u;
    }
    return base_tsc_ns();
}

CELLAR_PRIVATE BASE_NOINLINE void limit_count(cellar_limiter *l, stats_limiter c, uint64_t n)
{
    bool shared;
    limit_row *row = limit_my_row(l, &shared);
    limit_add(&row->cell[c], shared, n);
}

CELLAR_PRIVATE void limit_count_denial(cellar_limiter *l, uint32_t rule)
{
    bool shared;
    limit_row *row = limit_my_row(l, &shared);
    limit_add(&row->cell[STATS_LIMITER_DENIED], shared, 1);
    if (rule < LIMIT_RULES) {
        limit_add(&row->cell[LIMIT_COUNTED + rule], shared, 1);
    } else {
        limit_add(&row->cell[STATS_LIMITER_BANNED], shared, 1);
    }
}
