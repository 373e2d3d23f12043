/* SPDX-License-Identifier: MIT
 *
 * change: what stands around the L1 step of every observed change.
 *
 * PICTURE    begin: frame of this thread -> L1 step; its window raises the stamp (hook.c) -> end:
 *            kill of the tier, or its put; pending back
 * INVARIANTS Each raise of a stamp is taken back once, by the call that made it: its frame has the
 *            sum.
 * SEE ALSO   README.md, "Stamps". */
#include "cache/change.h"

#include "cache/call.h"
#include "cache/tier_store.h"
#include "cache/turn.h"

CELLAR_PRIVATE void cache_change_begin(cache_frame *f, bool stores, bool negative)
{
    base_thread_record *self = base_thread_self();
    f->outer = self->load_frames;
    f->stores = stores;
    f->negative = negative;
    f->matched = f->below = f->turn.listed = false;
    f->raised = 0;
    self->load_frames = f;
}

/* Call the tier, under the turn of the change if it has one. */
BASE_NOINLINE static void cache_change_kill(cellar *c, cache_frame *f, const l1_key *k)
{
    cache_store *s = c->store;
    if (f->raised != 0 && s->tier != NULL && !c->no_disk && cache_turn_begin(s, &f->turn)) {
        const cache_tier_key key = cache_tier_key_of(c, k);
        s->tier->kill(s->tier->ctx, &key);
        cache_turn_done(s, &f->turn);
    }
    if (f->raised != 0) { (void)base_sub_ar(f->word, f->raised); }
    if (f->turn.listed) { cache_turn_leave(s, &f->turn); }
}

CELLAR_PRIVATE void cache_change_end(cellar *c, cache_frame *f, const l1_key *k)
{
    BASE_ASSERT(base_thread_self()->load_frames == f);
    base_thread_self()->load_frames = f->outer;
    if (BASE_UNLIKELY(f->raised != 0 || f->turn.listed)) { cache_change_kill(c, f, k); }
}

CELLAR_PRIVATE cellar_err cache_change_stored(cellar *c, cache_frame *f, const l1_key *k,
                                              const l1_put_spec *p, cache_urge urge)
{
    cache_store *s = c->store;
    cellar_err err = CELLAR_OK;
    BASE_ASSERT(base_thread_self()->load_frames == f);
    if (f->raised != 0 && s->tier != NULL && !c->no_disk) {
        err = cache_tier_store(c, k, p, urge, &f->turn);
    }
    base_thread_self()->load_frames = f->outer; /* until here for l1_clean */
    if (f->raised != 0) { (void)base_sub_ar(f->word, f->raised); }
    if (f->turn.listed) { cache_turn_leave(s, &f->turn); }
    return err;
}

CELLAR_PRIVATE void cache_count_refused(stats_block *mine, cellar_err err)
{
    stats_add(mine, STATS_STORE_ERROR, 1);
    if (err == CELLAR_E_TOOBIG) {
        stats_add(mine, STATS_REFUSED_TOOBIG, 1);
    } else {
        stats_add(mine, err == CELLAR_E_SPACE ? STATS_REFUSED_SPACE : STATS_REFUSED_NOMEM, 1);
    }
}

CELLAR_PRIVATE void cache_count_gone(cellar *c, l1_gone gone, stats_id cause)
{
    if (gone == L1_GONE_NOTHING) { return; }
    if (gone == L1_GONE_TAG) { cause = STATS_EVICT_TAG; }
    if (gone == L1_GONE_DEPENDENCY) { cause = STATS_EVICT_DEPENDENCY; }
    stats_add(cache_mine(c), gone == L1_GONE_EXPIRED ? STATS_EVICT_EXPIRED : cause, 1);
}
