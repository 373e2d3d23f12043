/* SPDX-License-Identifier: MIT
 *
 * table: place of a key, clock, present rules, counters.
 *
 * PICTURE    key --keyed hash--> fp --> region (one lock) --> two buckets of 4 slots
 * COUNTERS   One row for each of the first threads, written by that thread alone. All other threads
 *            share row 0, with atomic adds. All rows were allocated with the limiter.
 * LOCKING    none here
 * SEE ALSO   README.md in this folder: why two buckets, fill figures. */
#include "limit/limit_int.h"

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
    return base_quick_ns();
}

CELLAR_PRIVATE bool limit_look(const cellar_limiter *l, uint64_t fp, limit_op *op)
{
    limit_place p;
    limit_place_of(l, fp, &p);
    op->seen_gives = base_load_acq(&l->head[p.region].gives);
    for (uint32_t i = 0; i < 2 * LIMIT_WAYS; i++) {
        limit_slot *s = limit_slot_at(l, p.bucket[i / LIMIT_WAYS], i % LIMIT_WAYS);
        if ((base_load_acq(&s->fp) ^ fp) > 1) { continue; }
        for (uint32_t k = 0; k < l->rule_count; k++) {
            op->seen[k] = base_load_acq(l->wide ? limit_word_at(s, k) : &s->word);
        }
        return true;
    }
    return false;
}

CELLAR_PRIVATE void limit_gives(limit_head *h, uint64_t fp, const limit_op *op, uint64_t back,
                                bool last)
{
    if (BASE_MUTANT("limit.give_alone") || back == 0) { return; }
    if (!last || op->given != 0) { (void)base_add_ar(limit_given(h, fp), back); }
}

/* Count a give after its words changed: a reader of the old words then reads the old count. */
CELLAR_PRIVATE void limit_gave(limit_head *h, const limit_op *op)
{
    if (op->kind == LIMIT_GIVE) { (void)base_add_ar(&h->gives, 1u); }
}

CELLAR_PRIVATE void limit_at_of(cellar_limiter *l, const limit_rule *r, uint64_t now_ns,
                                uint64_t units, limit_at *out)
{
    out->u = units;
    out->ns = now_ns;
    if (BASE_UNLIKELY(limit_algo(r) == CELLAR_RULE_FIXED_WINDOW)) {
        limit_calendar_at(l, r, now_ns, out);
    } else {
        out->start = out->left_ns = out->end_ns = 0;
    }
}

CELLAR_PRIVATE void limit_count_denial(cellar_limiter *l, uint32_t rule)
{
    bool shared;
    limit_row *row = limit_my_row(l, &shared);
    limit_add(&row->cell[LIMIT_DENIED], shared, 1);
    if (rule < LIMIT_RULES) {
        limit_add(&row->by_rule[rule], shared, 1);
    } else {
        limit_add(&row->cell[LIMIT_BANNED], shared, 1);
    }
}
