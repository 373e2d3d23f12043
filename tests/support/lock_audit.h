/* SPDX-License-Identifier: MIT
 *
 * lock_audit: check the invariants of a table of locks by counting everything again.
 *
 * LOCKING    One stripe lock at a time. */
#ifndef TESTS_SUPPORT_LOCK_AUDIT_H
#define TESTS_SUPPORT_LOCK_AUDIT_H

#include "lock/record.h"

static inline bool lock_audit_record(cellar_locks *t, const lock_stripe *s, const lock_record *r)
{
    const uint64_t word = base_load_acq(&r->word);
    uint32_t waiters = 0;
    for (const lock_waiter *w = r->first; w != NULL; w = w->next != r->first ? w->next : NULL) {
        if (w->next->prev != w) { return false; }
        waiters++;
    }
    return (waiters == 0 || (word & LOCK_FROZEN) != 0) && r->key_len > 0 &&
           lock_stripe_of(t, base_load_rlx(&r->hash)) == s &&
           base_hash(&t->hash_key, 0, lock_key(r), r->key_len) == base_load_rlx(&r->hash) &&
           lock_chunk_of(t, r)->stripe == (uint32_t)(s - t->stripe) + 1;
}

static inline bool lock_audit_stripe(cellar_locks *t, lock_stripe *s)
{
    sync_take(LOCK, &s->lock);
    uint32_t records = 0, spare = 0;
    bool ok = true;
    for (const lock_record *r = NULL; (r = lock_behind(t, s, r)) != NULL;) {
        ok = ok && lock_audit_record(t, s, r);
        records++;
    }
    for (const lock_chunk *c = s->chunks; c != NULL; c = c->next) {
        uint32_t here = 0;
        for (const lock_record *r = c->spare; r != NULL; r = r->key.next_spare) {
            /* A record outside the index cannot be taken. */
            ok = ok && (base_load_rlx(&r->word) & LOCK_BITS) != LOCK_HELD;
            here++;
        }
        ok = ok && here == LOCK_PER_CHUNK - c->used && here > 0;
        spare += here;
    }
    ok = ok && spare == s->spare_count && records == base_load_rlx(&s->record_count);
    sync_drop(LOCK, &s->lock);
    return ok;
}

/* Walk and check counts, rings, hashes, pages. Return false if any is wrong. */
static inline bool lock_audit(cellar_locks *t)
{
    bool ok = true;
    uint64_t count = 0;
    for (uint32_t i = 0; i < t->stripe_count; i++) {
        ok = lock_audit_stripe(t, &t->stripe[i]) && ok;
        count += base_load_rlx(&t->stripe[i].record_count) + t->stripe[i].credit;
    }
    return ok && count == base_load_rlx(&t->count) && count <= t->max_locks;
}

#endif
