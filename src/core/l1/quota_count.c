/* SPDX-License-Identifier: MIT
 *
 * quota_count: count what each namespace holds, and its ceiling.
 *
 * PICTURE    number 1..L1_QUOTAS (cache assigns one to a namespace) -> {share, sums of the store}
 *            stripe x number -> two words {generation, bytes / 8}, {generation, entries}
 *                sums = total over the stripes, taken from time to time; whole = live bytes
 *                ceiling = whole x greatest share
 * INVARIANTS A word counts the linked records of the generation it names and of no other. It starts
 *            at 0 before any set can use that generation. It changes inside the window that links
 *            or unlinks a record. No word counts what an older generation left.
 * LOCKING    Words: compare-exchange next to each change of seg.live; a plain store for a new
 *            generation, published after it (release in cache_generation_take, acquire in
 *            cache_key). Sums and ceilings are relaxed hints, at most one append per lane old.
 * LIMITS     L1_QUOTAS namespaces.
 * SEE ALSO   store/options.c: numbers of namespaces. quota.c: what enforces the shares. */
#include <string.h>

#include "l1/quota_count.h"
#include "l1/segment.h"

BASE_SIZE_BEGIN

#define L1_QUOTA_WORD(generation, n) ((uint64_t)(generation) << 32 | (uint64_t)(n))

/* Add `by` to the word if it counts this generation. The count stops at 0. */
static void l1_quota_move(_Atomic uint64_t *word, uint32_t generation, int64_t by)
{
    for (;;) {
        const uint64_t was = base_load_rlx(word);
        if ((uint32_t)(was >> 32) != generation) { return; }
        const int64_t n = (int64_t)(uint32_t)was + by;
        const uint64_t now = n < 0 ? 0 : BASE_MIN((uint64_t)n, (uint64_t)UINT32_MAX);
        BASE_POINT("l1.quota.moved");
        if (base_cas_ar(word, was, L1_QUOTA_WORD(was >> 32, now))) { return; }
    }
}

static void l1_quota_count(l1 *c, const l1_stripe *s, uint32_t generation, uint64_t weight,
                           int64_t sign)
{
    struct l1_quotas *q = base_load_acq(&c->quotas);
    const unsigned number = l1_quota_of(c, generation);
    if (q == NULL || number == 0) { return; }
    l1_quota_words *w = l1_quota_at(q, s->index_number, number);
    l1_quota_move(&w->bytes, generation, sign * (int64_t)((weight + 7) >> L1_QUOTA_UNIT));
    l1_quota_move(&w->entries, generation, sign);
}

BASE_COLD CELLAR_PRIVATE void l1_quota_add(l1 *c, const l1_stripe *s, uint32_t generation,
                                           uint64_t weight, uint64_t hash, l1_toll *t)
{
    l1_cap *m = l1_cap_of(c, generation);
    l1_quota_count(c, s, generation, weight, 1);
    if (m != NULL) { l1_cap_in(m, generation, hash, t); }
}

BASE_COLD CELLAR_PRIVATE void l1_count_out_rare(l1 *c, const l1_stripe *s, uint64_t pos,
                                                const l1_rec *r, uint64_t weight)
{
    if (l1_is_absent(c, pos, r)) { l1_absent_count(l1_lane_of(c, pos), -(int64_t)weight, -1); }
    if (base_load_rlx(&c->quotas) == NULL) { return; }
    l1_cap *m = l1_cap_of(c, r->generation);
    l1_quota_count(c, s, r->generation, weight, -1);
    if (m != NULL) { l1_cap_out(m, r->generation, l1_hash_of(c, pos, r)); }
}

/* ---- sums and shares ------------------------------------------------------------------------- */
/* Return the live bytes that the shares divide: those of the full store. Before the store is full,
 * return the live bytes expected then. */
static uint64_t l1_quota_whole(const l1 *c)
{
    uint64_t bytes = 0, entries = 0;
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        bytes += l1_lane_bytes(&c->lane[i]);
        entries += l1_lane_entries(&c->lane[i]);
    }
    const uint64_t max = base_load_rlx(&c->max_entries);
    if (base_load_rlx(&c->low) != 0) { return bytes; }
    if (max != 0) { return entries < max && entries != 0 ? bytes / entries * max : bytes; }
    return BASE_MAX(bytes, l1_log_limit(c) / 8 * 7);
}

CELLAR_PRIVATE uint64_t l1_quota_total(struct l1_quotas *q, uint32_t stripes, unsigned number,
                                       bool entries)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < stripes; i++) {
        const l1_quota_words *w = l1_quota_at(q, i, number);
        sum += (uint32_t)base_load_rlx(entries ? &w->entries : &w->bytes);
    }
    return entries ? sum : sum << L1_QUOTA_UNIT;
}

static void l1_quota_sum(l1 *c, struct l1_quotas *q)
{
    const uint64_t whole = l1_quota_whole(c);
    const uint32_t high = base_load_acq(&q->high);
    for (unsigned n = 1; n <= high; n++) {
        l1_quota *o = &q->of[n - 1];
        const uint32_t most = base_load_rlx(&o->most_pct);
        base_store_rlx(&o->bytes, l1_quota_total(q, c->stripe_count, n, false));
        base_store_rlx(&o->ceiling, most != 0 ? whole / 100 * most : UINT64_MAX);
    }
}

/* Sum the shares once in as many looks as there are stripes: a line or two for each set. */
CELLAR_PRIVATE void l1_quota_look(l1 *c, l1_lane *n, struct l1_quotas *q)
{
    if (++n->quota_due < c->stripe_count) { return; }
    n->quota_due = 0;
    l1_quota_sum(c, q);
}

CELLAR_PRIVATE bool l1_quotas_open(l1 *c)
{
    if (base_load_acq(&c->quotas) != NULL) { return true; }
    const size_t words = (size_t)c->stripe_count * L1_QUOTAS;
    const size_t bytes = sizeof(struct l1_quotas) + words * sizeof(l1_quota_words);
    struct l1_quotas *q = base_alloc(c->account, BASE_MOD_NAMESPACE, bytes, NULL);
    if (q == NULL) { return false; }
    q->block_bytes = bytes;
    if (!base_cas_ar(&c->quotas, (struct l1_quotas *)NULL, q)) {
        base_free(c->account, BASE_MOD_NAMESPACE, q, bytes);
    }
    return true;
}

CELLAR_PRIVATE void l1_quotas_close(l1 *c)
{
    struct l1_quotas *q = base_load_rlx(&c->quotas);
    if (q != NULL) { base_free(c->account, BASE_MOD_NAMESPACE, q, q->block_bytes); }
}

CELLAR_PRIVATE void l1_quota_generation(l1 *c, unsigned number, uint32_t generation)
{
    struct l1_quotas *q = base_load_acq(&c->quotas);
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        l1_quota_words *w = l1_quota_at(q, i, number);
        base_store_rel(&w->bytes, L1_QUOTA_WORD(generation, 0));
        BASE_POINT("l1.quota.generation");
        base_store_rel(&w->entries, L1_QUOTA_WORD(generation, 0));
    }
}

CELLAR_PRIVATE void l1_quota_set(l1 *c, unsigned number, uint32_t most_pct)
{
    struct l1_quotas *q = base_load_acq(&c->quotas);
    BASE_ASSERT(number >= 1 && number <= L1_QUOTAS);
    base_store_rlx(&q->of[number - 1].most_pct, most_pct);
    if (base_load_rlx(&q->high) < number) { base_store_rel(&q->high, number); }
    l1_quota_sum(c, q);
}

CELLAR_PRIVATE void l1_quota_get(l1 *c, unsigned number, l1_share *out)
{
    struct l1_quotas *q = base_load_acq(&c->quotas);
    memset(out, 0, sizeof *out);
    if (q == NULL || number == 0) { return; }
    l1_quota_sum(c, q);
    const l1_quota *o = &q->of[number - 1];
    out->bytes = base_load_rlx(&o->bytes);
    out->ceiling = base_load_rlx(&o->ceiling);
    out->entries = l1_quota_total(q, c->stripe_count, number, true);
}

BASE_SIZE_END
