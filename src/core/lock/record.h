/* SPDX-License-Identifier: MIT
 *
 * record: the word of a lock, its record, the index of a stripe. */
#ifndef LOCK_RECORD_H
#define LOCK_RECORD_H

#include "lock/types.h"

BASE_INLINE uint64_t lock_fence(uint64_t word) { return word >> 2; }
BASE_INLINE uint64_t lock_word(uint64_t fence, uint64_t bits) { return fence << 2 | bits; }

BASE_INLINE lock_record *lock_at(const cellar_locks *t, uint32_t number)
{
    return (lock_record *)(void *)(t->records + ((size_t)(number >> 5) << 12) +
                                   sizeof(lock_chunk) +
                                   (size_t)(number & 31) * sizeof(lock_record));
}
BASE_INLINE lock_chunk *lock_chunk_of(const cellar_locks *t, const lock_record *r)
{
    const size_t at = (size_t)((const unsigned char *)r - t->records) & ~(size_t)(BASE_PAGE - 1);
    return (lock_chunk *)(void *)(t->records + at);
}
BASE_INLINE uint32_t lock_number(const cellar_locks *t, const lock_record *r)
{
    const size_t at = (size_t)((const unsigned char *)r - t->records);
    return (uint32_t)((at >> 12) << 5 |
                      ((at & (BASE_PAGE - 1)) - sizeof(lock_chunk)) / sizeof(lock_record));
}
/* Build the opaque part of a handle: number of the stripe above the number of the record. */
BASE_INLINE uint64_t lock_opaque(uint32_t stripe, uint32_t record)
{
    return (uint64_t)stripe << 32 | record;
}
BASE_INLINE uint32_t lock_handle_stripe(const cellar_lock *lk)
{
    return (uint32_t)(lk->opaque >> 32);
}
BASE_INLINE uint32_t lock_handle_record(const cellar_lock *lk) { return (uint32_t)lk->opaque; }
/* Tell whether a number from a caller's handle can be that of a record. */
BASE_INLINE bool lock_number_ok(const cellar_locks *t, uint32_t number)
{
    return (number >> 5) < t->chunk_max && (number & 31) < LOCK_PER_CHUNK;
}
BASE_INLINE lock_stripe *lock_stripe_of(cellar_locks *t, uint64_t hash)
{
    return &t->stripe[hash >> t->stripe_shift];
}
/* Return the head of the chain of this hash. Its neighbors in the line are of the same stripe. */
BASE_INLINE uint32_t *lock_head(const cellar_locks *t, uint64_t hash)
{
    const uint64_t chain = hash & ((UINT64_C(1) << t->head_bits) - 1);
    return &t->heads[(hash >> t->stripe_shift) << t->head_bits | chain];
}
BASE_INLINE uint32_t *lock_newest(lock_stripe *s, uint64_t hash)
{
    return &s->newest[hash / LOCK_LINE_HEADS % LOCK_PARTS];
}
/* Begin to read the record that an insert of this hash probably takes. */
BASE_INLINE void lock_prefetch(const cellar_locks *t, lock_stripe *s, uint64_t hash)
    SYNC_HOLDS(LOCK)
{
    const uint32_t n = *lock_newest(s, hash);
    if (n == 0) { return; }
    BASE_PREFETCH_W(lock_at(t, n - 1));
    BASE_PREFETCH_W(&lock_at(t, n - 1)->key);
}
/* Return the two hints that may name the record of this hash. */
BASE_INLINE _Atomic uint32_t *lock_near(lock_stripe *s, uint64_t hash)
{
    return &s->near[(hash >> 40) & (LOCK_NEAR - 2)];
}
BASE_INLINE uint32_t lock_tag(uint64_t hash) { return 64u | ((uint32_t)(hash >> 32) & 63u); }
BASE_INLINE uint32_t lock_hint(uint64_t hash, uint32_t number)
{
    return lock_tag(hash) << LOCK_HINT_BITS | (number + 1);
}
BASE_INLINE const unsigned char *lock_key(const lock_record *r)
{
    return r->key_len <= LOCK_KEY_INLINE ? r->key.in : r->key.out;
}
/* Tell whether the tenure fields are those of `fence`. Between its exchange and its last store they
 * are not yet. */
BASE_INLINE bool lock_is_announced(const lock_record *r, uint64_t fence)
{
    return base_load_acq(&r->hold_of) == fence;
}

/* Check options of `call`. */
CELLAR_PRIVATE cellar_err lock_opts_check(const char *call, const cellar_lock_opts *o);
/* Find the record of this key; NULL: not in the index. */
CELLAR_PRIVATE lock_record *lock_find(const cellar_locks *t, const lock_want *w) SYNC_HOLDS(LOCK);
/* Return the record of the stripe behind `r`; NULL: the first, or no other. */
CELLAR_PRIVATE lock_record *lock_behind(const cellar_locks *t, const lock_stripe *s,
                                        const lock_record *r) SYNC_HOLDS(LOCK);
/* Insert a new record, frozen and not held. Its fences begin above the floor. `block`: memory for a
 * key above LOCK_KEY_INLINE, owned by the record on success. NULL: *why is E_LIMIT or E_SPACE. */
CELLAR_PRIVATE lock_record *lock_insert(cellar_locks *t, lock_stripe *s, const lock_want *w,
                                        unsigned char *block, cellar_err *why)
    SYNC_HOLDS(LOCK);
/* Give `n` of the stripe's credits back to the table. */
CELLAR_PRIVATE void lock_credit_return(cellar_locks *t, lock_stripe *s, uint32_t n)
    SYNC_HOLDS(LOCK);
/* Set FROZEN and return the word: from now on only holders of the stripe lock change it. */
CELLAR_PRIVATE uint64_t lock_freeze(lock_record *r) SYNC_HOLDS(LOCK);
/* End the work that began with lock_freeze: store the last value of the word. Remove
 * an idle record if `drop` is set or its stripe has enough. */
CELLAR_PRIVATE void lock_settle(cellar_locks *t, lock_stripe *s, lock_record *r, uint64_t fence,
                                bool held, bool drop, lock_after *a) SYNC_HOLDS(LOCK);
/* Detach an empty page from its stripe; lock_leave returns it. */
CELLAR_PRIVATE void lock_chunk_detach(cellar_locks *t, lock_stripe *s, lock_chunk *c,
                                      lock_after *a) SYNC_HOLDS(LOCK);
/* Drop the stripe lock, then do the work in `a`. No lock is held while `watch` runs. */
CELLAR_PRIVATE void lock_leave(cellar_locks *t, lock_stripe *s, lock_after *a) SYNC_DROPS(LOCK);
/* Tell whether the tenure of `word` (frozen, held) is over; *cause is set then. */
CELLAR_PRIVATE bool lock_over(const lock_record *r, uint64_t word, int64_t now_ms,
                              cellar_lock_lost *cause);
/* Count a tenure that is over, and prepare its report. The caller passes the lock on. */
CELLAR_PRIVATE void lock_note_lost(lock_stripe *s, lock_record *r, uint64_t fence, int64_t now_ms,
                                   cellar_lock_lost cause, lock_after *a) SYNC_HOLDS(LOCK);

#endif
