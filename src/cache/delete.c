/* SPDX-License-Identifier: MIT
 *
 * delete: delete one key, for its call, a pattern or an update.
 *
 * INVARIANTS A delete invalidates a running load of its key, also if it finds nothing. A namespace
 *            that was cleared meanwhile is asked again with its new generation: a load of it must
 *            not outlive the delete. */
#include "cache/delete.h"

#include "cache/call.h"
#include "cache/change.h"
#include "cache/error.h"
#include "cache/explain_record.h"
#include "cache/generation.h"
#include "cache/hook.h"
#include "cache/tier_calls.h"

BASE_ALWAYS_INLINE cellar_err cache_del_l1(cellar *c, const l1_key *k, const l1_put_spec *only_if,
                                           l1_gone *gone)
{
    return only_if == NULL ? l1_del_reported(c->l1, k, NULL, gone)
                           : l1_del_if(c->l1, k, only_if, gone);
}

BASE_ALWAYS_INLINE cellar_err cache_del_once(cellar *c, const l1_key *k, bool matched,
                                             const l1_put_spec *only_if, l1_gone *gone)
{
    if (BASE_LIKELY(!cache_is_observed(c->store))) { return cache_del_l1(c, k, only_if, gone); }
    cache_frame f;
    cache_change_begin(&f, false, false);
    f.matched = matched;
    const cellar_err err = cache_del_l1(c, k, only_if, gone);
    cache_change_end(c, &f, k);
    return err;
}

/* Delete again after a clear: a load of the new generation must not outlive this delete. */
BASE_COLD static cellar_err cache_del_again(cellar *c, l1_key *k, bool matched, cellar_err err)
{
    l1_gone gone;
    for (unsigned i = 0; i < CACHE_ROUNDS && !cache_is_closed(c); i++) {
        cache_rekey(c, k);
        const cellar_err now = cache_del_once(c, k, matched, NULL, &gone);
        if (now == CELLAR_OK) { err = now; }
        if (cache_generation_alive(c->store, k->generation)) { break; }
    }
    return err;
}

/* Delete one key. `by`: pattern number of cache_why_act, for a delete by pattern. */
BASE_ALWAYS_INLINE cellar_err cache_del_here(cellar *c, l1_key *k, bool matched, uint32_t by,
                                             const l1_put_spec *only_if)
{
    l1_gone gone;
    cellar_err err = cache_del_once(c, k, matched, only_if, &gone);
    const bool loads = only_if == NULL && base_load_sc(&c->store->flights) != NULL;
    /* Without flights no value was ever loaded. */
    if (BASE_UNLIKELY(loads) && BASE_UNLIKELY(!cache_generation_alive(c->store, k->generation))) {
        err = cache_del_again(c, k, matched, err);
    }
    const stats_id id = matched ? STATS_EVICT_GLOB : STATS_EVICT_DELETED;
    if (gone != L1_GONE_NOTHING || err == CELLAR_OK) {
        const cellar_cause cause = gone == L1_GONE_EXPIRED ? CELLAR_CAUSE_EXPIRED
                                   : gone == L1_GONE_TAG ? CELLAR_CAUSE_TAG
                                   : gone == L1_GONE_DEPENDENCY ? CELLAR_CAUSE_DEPENDENCY
                                   : matched ? CELLAR_CAUSE_PATTERN : CELLAR_CAUSE_DELETED;
        cache_why_note_by(c->store, k->hash, cause, by);
    }
    if (err == CELLAR_OK) {
        stats_block *mine = cache_mine(c);
        stats_add(mine, STATS_DELETE, 1);
        stats_add(mine, id, 1);
    } else {
        cache_count_gone(c, gone, id);
    }
    return err;
}

CELLAR_PRIVATE cellar_err cache_del(cellar *c, l1_key *k)
{
    return cache_del_here(c, k, false, 0, NULL);
}

CELLAR_PRIVATE cellar_err cache_del_if(cellar *c, l1_key *k, const l1_put_spec *only_if)
{
    return cache_del_here(c, k, false, 0, only_if);
}

CELLAR_PRIVATE cellar_err cache_del_matched(cellar *c, l1_key *k, uint32_t by)
{
    return cache_del_here(c, k, true, by, NULL);
}

CELLAR_API cellar_err cellar_delete(cellar *c, const void *key, size_t key_len)
{
    if (BASE_UNLIKELY(c == NULL || cache_key_bad(key, key_len))) {
        return cache_fail_key(c, "cellar_delete", key, key_len, "");
    }
    if (BASE_UNLIKELY((base_load_acq(&c->state) & CACHE_CLOSED) != 0)) { return cache_closed(c); }
    l1_key k;
    cache_key(c, &k, key, key_len);
    if (BASE_LIKELY(!stats_sample(base_thread_self()))) { return cache_acked(c, cache_del(c, &k)); }
    const uint64_t since_ns = base_now_ns();
    const cellar_err err = cache_acked(c, cache_del(c, &k));
    stats_time(c->stats, STATS_OP_DELETE, base_now_ns() - since_ns);
    return err;
}
