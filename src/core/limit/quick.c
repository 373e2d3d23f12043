/* SPDX-License-Identifier: MIT
 *
 * quick: the commonest check: one token bucket and a known key, steps 1 to 6 of run.c. */
#include "limit/quick.h"

#include "limit/table.h"

/* Return a mask of the slots that match. A mask has no branch: the place of a key is random. */
BASE_ALWAYS_INLINE uint32_t limit_match(const limit_slot *s, uint64_t fp)
{
    uint32_t m = 0;
    for (uint32_t way = 0; way < LIMIT_WAYS; way++) {
        m |= (uint32_t)(base_load_acq(&s[way].fp) == fp) << way;
    }
    return m;
}

/* Tell whether a word changed. A denial writes nothing, so no exchange fails: the key may have lost
 * its slot and returned since, with a word of another key in between (model DENIES_UNCONFIRMED). */
BASE_ALWAYS_INLINE bool limit_moved_on(const limit_slot *s, uint64_t word)
{
    BASE_POINT("limit.confirm");
    return base_load_acq(&s->word) != word;
}

static void limit_quick_result(const limit_rule *r, const limit_at *at, uint64_t v,
                                      uint64_t retry_ns, bool yes, cellar_limiter_result *out)
{
    limit_verdict says;
    limit_show(r, at, v, &says);
    const cellar_limiter_result told = { yes, 0, 0, 0, r->limit, says.remaining, retry_ns,
                                    says.reset_ns, at->ns };
    *out = told;
}

CELLAR_PRIVATE bool limit_quick(cellar_limiter *l, uint64_t fp, uint64_t now_ns, uint64_t cost,
                                cellar_limiter_result *result, cellar_err *err)
{
    limit_place p;
    limit_place_of(l, fp, &p);
    BASE_POINT("limit.find");
    limit_slot *s = (limit_slot *)(void *)l->table + (size_t)p.bucket[0] * LIMIT_WAYS;
    uint32_t match = limit_match(s, fp);
    if (match == 0) {
        s = (limit_slot *)(void *)l->table + (size_t)p.bucket[1] * LIMIT_WAYS;
        match = limit_match(s, fp);
        if (BASE_UNLIKELY(match == 0)) { return false; }
    }
    s += __builtin_ctz(match);
    for (;;) {
        limit_rule r;
        BASE_POINT("limit.word");
        const uint64_t w = base_load_acq(&s->word); /* release in every rewriter */
        BASE_POINT("limit.rules");
        const uint64_t state = base_load_acq(&l->state);
        if (BASE_UNLIKELY(w == LIMIT_BUSY || p.region >= (uint32_t)state)) { return false; }
        const _Atomic uint64_t *set = l->set[state >> 32 & 1];
        limit_rule_load(set, 0, &r);
        const uint64_t units = limit_units_at(set, now_ns);
        base_fence_acq(); /* the rules are read before the state is asked again */
        BASE_POINT("limit.again");
        if (BASE_UNLIKELY(base_load_acq(&l->state) != state || units - 1 >= LIMIT_LATE - 1 ||
                          base_load_acq(&s->fp) != fp ||
                          (r.kind & ~(uint64_t)(CELLAR_RULE_STRICT << 8)) !=
                              CELLAR_RULE_TOKEN_BUCKET ||
                          r.ban != 0 || r.limit == 0 || cost > r.burst)) {
            return false;
        }
        const limit_at at = { units, now_ns, 0, 0, 0, NULL };
        const uint64_t v = w >> 2, t = limit_max_u64(v, units), next = t + cost * r.step;
        if (next - units > r.reach) {
            if (limit_moved_on(s, w)) { continue; }
            limit_count_denial(l, 0);
            *err = CELLAR_LIMITED;
            if (result != NULL) {
                limit_quick_result(&r, &at, v, limit_ns_of(next - units - r.reach), false,
                                          result);
            }
            return true;
        }
        BASE_POINT("limit.cas");
        if (cost != 0 && !base_cas_ar(&s->word, w, limit_word(next, w))) { continue; }
        limit_count_allowed(l);
        *err = CELLAR_OK;
        if (result != NULL) { limit_quick_result(&r, &at, next, 0, true, result); }
        return true;
    }
}
