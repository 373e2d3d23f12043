/* SPDX-License-Identifier: MIT
 *
 * tier_request: equal reads of a shared tier are one request; late replies are not kept.
 *
 * PICTURE    first read of a key: {hash, changes} -> asks the tier -> end {answer, round + 1}
 *            reads meanwhile: sleep on the round -> the answer: look at memory, a miss, too long
 * INVARIANTS A read joins only if no change of the key was heard since the request began. So the
 *            answer is as good to it as an entry that memory had all the time.
 *            The tier numbers its replies, and a read notes its number before memory keeps the
 *            reply. Memory keeps no reply and no filled value that is older than a noted one, and
 *            no call takes one from a flight that it joined later: it would go backwards.
 *            A thread inside a call of a tier or of its host does not wait: the request may need
 *            that thread.
 * LOCKING    The lock of the set, a leaf. No lock is held while a read waits.
 * LIMITS     32 sets of 4 requests. A read that finds its set full asks for itself. Keys share the
 *            newest numbers by hash: a reply behind which D others were noted is late by chance in
 *            D of 2,048 cases. */
#include "cache/tier_request.h"

BASE_SIZE_BEGIN

static cache_tier_requests *cache_tier_requests_of(const cache_shared *h, uint64_t hash)
{
    return &h->requests[base_mix64(hash) % CACHE_TIER_REQUEST_SETS];
}

/* Return the equal request, else a free place, else NULL. The lock is held. */
static cache_tier_request *cache_tier_request_find(cache_tier_requests *set, uint64_t hash,
                                                   uint64_t changes)
{
    cache_tier_request *room = NULL;
    for (uint32_t i = 0; i < CACHE_TIER_REQUEST_WAYS; i++) {
        cache_tier_request *q = &set->way[i];
        if (q->hash == hash && q->changes == changes) { return q; }
        if (q->hash == 0) { room = q; }
    }
    return room;
}

/* Wait for the end of the request, and take its answer. */
static cellar_err cache_tier_request_wait(cache_tier_requests *set, cache_tier_request *q,
                                          uint32_t round, size_t *value_len, uint32_t *user_flags)
{
    while (base_load_acq(&q->round) == round) { (void)sync_wait(&q->round, round, UINT64_MAX); }
    sync_take(WRITE_ORDER, &set->lock);
    q->joined--;
    const bool last = base_load_rlx(&q->round) == round + 1;
    const cellar_err answer = last ? q->answer : CELLAR_PENDING;
    if (answer == CELLAR_E_BUFFER) {
        *value_len = q->value_len;
        *user_flags = q->user_flags;
    }
    sync_drop(WRITE_ORDER, &set->lock);
    return answer;
}

CELLAR_PRIVATE cellar_err cache_tier_request_begin(const cache_shared *h, uint64_t hash,
                                                   uint64_t changes, size_t *value_len,
                                                   uint32_t *user_flags, cache_tier_request **mine)
{
    cache_tier_requests *set = cache_tier_requests_of(h, hash);
    const base_thread_record *self = base_thread_self();
    uint32_t round = 0;
    *mine = NULL;
    if (self->in_tier != 0 || self->change_scopes != NULL || hash == 0) { return CELLAR_PENDING; }
    sync_take(WRITE_ORDER, &set->lock);
    cache_tier_request *q = cache_tier_request_find(set, hash, changes);
    const bool join = q != NULL && q->hash != 0;
    if (join) {
        round = base_load_rlx(&q->round);
        q->joined++;
    } else if (q != NULL) {
        q->hash = hash;
        q->changes = changes;
        *mine = q;
    }
    sync_drop(WRITE_ORDER, &set->lock);
    return join ? cache_tier_request_wait(set, q, round, value_len, user_flags) : CELLAR_PENDING;
}

CELLAR_PRIVATE void cache_tier_request_end(const cache_shared *h, cache_tier_request *mine,
                                           cellar_err answer, size_t value_len, uint32_t user_flags)
{
    cache_tier_requests *set = cache_tier_requests_of(h, mine->hash); /* no other thread writes the
                                                                       * hash */
    sync_take(WRITE_ORDER, &set->lock);
    mine->hash = 0;
    mine->answer = answer;
    mine->value_len = value_len;
    mine->user_flags = user_flags;
    base_store_rel(&mine->round, base_load_rlx(&mine->round) + 1);
    const bool wake = mine->joined != 0;
    sync_drop(WRITE_ORDER, &set->lock);
    if (wake) { sync_wake(&mine->round, INT32_MAX); }
}

/* ---- late replies ---- */

CELLAR_PRIVATE void cache_tier_reply_returned(cache_shared *h, uint64_t hash, uint64_t order)
{
    _Atomic uint64_t *newest = &h->returned[base_mix64(hash) % CACHE_TIER_RETURNED];
    uint64_t n = base_load_sc(newest);
    while (n < order && !base_cas_sc(newest, n, order)) { n = base_load_sc(newest); }
    base_fence_sc(); /* a back-fill sees the number, or the look waits for its window */
}

BASE_SIZE_END
