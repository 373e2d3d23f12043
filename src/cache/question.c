/* SPDX-License-Identifier: MIT
 *
 * question: equal reads of a shared tier are one question.
 *
 * PICTURE    first read of a key: row {hash, changes} -> asks the tier -> end {answer, round + 1}
 *            reads meanwhile: sleep on the round -> the answer: look at memory, a miss, too long
 * INVARIANTS A read joins only if no change of the key was heard since the question began. So the
 *            answer is as good to it as an entry that memory had all the time.
 *            A thread inside a call of a tier or of its host does not wait: the question may need
 *            that thread.
 * LOCKING    The lock of the row, a leaf. No lock is held while a read waits.
 * LIMITS     64 rows. If the row of a key is taken by another key, a read asks for itself. */
#include "cache/question.h"

BASE_SIZE_BEGIN

/* Wait for the end of the question, and take its answer. */
static cellar_err cache_question_wait(cache_question *q, uint32_t round, size_t *value_len,
                                  uint32_t *user_flags)
{
    while (base_load_acq(&q->round) == round) { (void)sync_wait(&q->round, round, UINT64_MAX); }
    sync_take(TURN, &q->lock);
    q->joined--;
    const bool last = base_load_rlx(&q->round) == round + 1;
    const cellar_err answer = last ? q->answer : CELLAR_PENDING;
    if (answer == CELLAR_E_BUFFER) {
        *value_len = q->value_len;
        *user_flags = q->user_flags;
    }
    sync_drop(TURN, &q->lock);
    return answer;
}

CELLAR_PRIVATE cellar_err cache_question_begin(const cache_shared *h, uint64_t hash,
                                               uint64_t changes, size_t *value_len,
                                               uint32_t *user_flags, cache_question **mine)
{
    cache_question *q = &h->questions[base_mix64(hash) % CACHE_QUESTION_ROWS];
    const base_thread_record *self = base_thread_self();
    *mine = NULL;
    if (self->in_tier != 0 || self->load_frames != NULL) { return CELLAR_PENDING; }
    sync_take(TURN, &q->lock);
    const uint32_t round = base_load_rlx(&q->round);
    const bool join = q->hash == hash && q->changes == changes;
    if (join) {
        q->joined++;
    } else if (q->hash == 0) {
        q->hash = hash;
        q->changes = changes;
        *mine = q;
    }
    sync_drop(TURN, &q->lock);
    return join ? cache_question_wait(q, round, value_len, user_flags) : CELLAR_PENDING;
}

CELLAR_PRIVATE void cache_question_end(cache_question *mine, cellar_err answer, size_t value_len,
                                       uint32_t user_flags)
{
    sync_take(TURN, &mine->lock);
    mine->hash = 0;
    mine->answer = answer;
    mine->value_len = value_len;
    mine->user_flags = user_flags;
    base_store_rel(&mine->round, base_load_rlx(&mine->round) + 1);
    const bool wake = mine->joined != 0;
    sync_drop(TURN, &mine->lock);
    if (wake) { sync_wake(&mine->round, INT32_MAX); }
}

BASE_SIZE_END
