/* SPDX-License-Identifier: MIT
 *
 * quota_count: what each namespace holds, and its ceiling. */
#ifndef L1_QUOTA_COUNT_H
#define L1_QUOTA_COUNT_H

#include "l1/cap.h"
#include "l1/record.h"
#include "l1/segment.h"

#define L1_QUOTA_UNIT 3u /* log2: granules are 8 bytes or more */

typedef struct l1_quota_words { _Atomic uint64_t bytes, entries; } l1_quota_words;

typedef struct l1_quota {
    _Atomic uint32_t most_pct; /* 0: no ceiling */
    _Atomic uint64_t bytes;    /* as last summed; a hint, relaxed, like the next one */
    _Atomic uint64_t ceiling;  /* UINT64_MAX: none */
} l1_quota;

struct l1_quotas {
    size_t block_bytes;
    _Atomic uint32_t high; /* numbers in use are below or equal */
    l1_quota of[L1_QUOTAS];
    l1_quota_words word[]; /* stripe x L1_QUOTAS */
};

BASE_INLINE l1_quota_words *l1_quota_at(struct l1_quotas *q, uint32_t stripe, unsigned number)
{
    return &q->word[(size_t)stripe * L1_QUOTAS + number - 1];
}

BASE_INLINE unsigned l1_quota_of(const l1 *c, uint32_t generation)
{
    return c->hooks.quota_of != NULL ? c->hooks.quota_of(c->hooks.ctx, generation) : 0;
}

/* Count next to each change of seg.live, in the same window; `quotas` must not be NULL. `t`: of a
 * new entry; NULL: it replaces one of this key. */
BASE_COLD CELLAR_PRIVATE void l1_quota_add(l1 *c, const l1_stripe *s, uint32_t generation,
                                           uint64_t weight, uint64_t hash, l1_toll *t);
/* Return whether a record has no value: negative entry, remembered error. */
BASE_INLINE bool l1_is_absent(const l1 *c, uint64_t pos, const l1_rec *r)
{
    return l1_kind_of(c, pos, r) != (unsigned)L1_VALUE;
}
/* Count next to l1_quota_add and l1_quota_sub. */
BASE_INLINE void l1_absent_count(l1_lane *n, int64_t weight, int entries)
{
    (void)base_add_rlx(&n->absent_bytes, weight);
    (void)base_add_rlx(&n->absent_count, (int64_t)entries);
}
/* Add a record to all counts, in the odd window of its bucket. `t` as for l1_quota_add. */
BASE_INLINE void l1_count_in(l1 *c, const l1_stripe *s, uint64_t pos, uint32_t generation,
                             uint64_t hash, uint64_t weight, bool absent, l1_toll *t)
{
    l1_live_add(c, pos, weight);
    if (BASE_UNLIKELY(base_load_rlx(&c->quotas) != NULL)) {
        l1_quota_add(c, s, generation, weight, hash, t);
    }
    if (BASE_UNLIKELY(absent)) { l1_absent_count(l1_lane_of(c, pos), (int64_t)weight, 1); }
}
/* Subtract a record from the counts of its namespace, and of entries without value. */
BASE_COLD CELLAR_PRIVATE void l1_count_out_rare(l1 *c, const l1_stripe *s, uint64_t pos,
                                                const l1_rec *r, uint64_t weight);
/* Subtract a record from all counts, inside the odd window of its bucket. After the last step its
 * segment may be free. tell: as for l1_live_sub. */
BASE_INLINE void l1_count_out(l1 *c, const l1_stripe *s, uint64_t pos, const l1_rec *r, bool tell)
{
    const uint64_t weight = BASE_LIKELY(l1_form_of(r) == 0) ? r->size : l1_weight(c, pos, r);
    if (BASE_UNLIKELY(base_load_rlx(&c->quotas) != NULL || (r->mask & L1_X_KIND) != 0)) {
        l1_count_out_rare(c, s, pos, r, weight);
    }
    l1_live_sub(c, pos, weight, r->size, tell);
}
/* Sum the shares once in as many looks as there are stripes: a line or two for each set. */
CELLAR_PRIVATE void l1_quota_look(l1 *c, l1_lane *n, struct l1_quotas *q) SYNC_HOLDS(L1_LANE);
/* Return the entries, or the bytes, of a number in all stripes. */
CELLAR_PRIVATE uint64_t l1_quota_total(struct l1_quotas *q, uint32_t stripes, unsigned number,
                                       bool entries);
CELLAR_PRIVATE void l1_quotas_close(l1 *c);

#endif
