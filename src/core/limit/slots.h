/* SPDX-License-Identifier: MIT
 *
 * slots: the slots of the table: find a key, claim and rewrite a slot, make room for a new key. */
#ifndef LIMIT_SLOTS_H
#define LIMIT_SLOTS_H

#include "limit/ring.h"
#include "limit/table.h"

/* Find the slot of a key. *f: its fp, with bit 0. NULL: the key has no slot. */
BASE_INLINE limit_slot *limit_find(const cellar_limiter *l, const limit_place *p, uint64_t fp,
                                   uint64_t *f, uint32_t *bucket)
{
    for (uint32_t b = 0; b < 2; b++) {
        *bucket = p->bucket[b];
        limit_slot *s = limit_slot_at(l, *bucket, 0);
        for (uint32_t way = 0; way < LIMIT_WAYS; way++, s = limit_slot_next(l, s)) {
            *f = base_load_acq(&s->fp);
            if ((*f ^ fp) <= 1) { return s; }
        }
    }
    return NULL;
}

/* ---- keys with tickets ---- */

/* Find the record of a key that took tickets; NULL: the region has none. */
CELLAR_PRIVATE limit_taken *limit_taken_find(limit_head *h, uint64_t fp);
/* Make the record of a key, if needed in place of the one with the earliest take. */
CELLAR_PRIVATE void limit_taken_make(limit_head *h, uint64_t fp, uint64_t now_ns)
    SYNC_HOLDS(LIMIT);
/* End the tickets of a key that lost its charges. Its word was claimed before: a take that reads
 * the new life does not find the old word. Caller holds the region lock. */
CELLAR_PRIVATE void limit_lost(limit_head *h, uint64_t fp);
/* End the tickets of all keys of a region, or of those without a plan. */
CELLAR_PRIVATE void limit_lost_all(cellar_limiter *l, limit_head *h, bool plans)
    SYNC_HOLDS(LIMIT);

/* A slot to take over: its first word is BUSY and was `word`. */
typedef struct limit_room {
    limit_slot *slot;
    uint64_t word;
} limit_room;

/* Return the value of rule `i` of a slot, for a token bucket with what an ended ban left. */
CELLAR_PRIVATE uint64_t limit_value_of(const cellar_limiter *l, const limit_moment *m,
                                       limit_slot *s, uint32_t i);
/* Compute remaining and reset of rule `i` for its value `v`. `s`: the slot, for logs. */
CELLAR_PRIVATE void limit_show_rule(const cellar_limiter *l, const limit_moment *m, limit_slot *s,
                                    uint32_t i, uint64_t v, limit_verdict *out);
/* Compute the new value of word `i`, which was `v`. The word is BUSY, so no call charges it. */
typedef uint64_t (*limit_word_fn)(cellar_limiter *l, limit_slot *s, uint32_t i, uint64_t v,
                                  void *ctx);
/* Make the first word of a slot BUSY; return its former value. */
CELLAR_PRIVATE uint64_t limit_seize(limit_slot *s);
/* Rewrite all words of a slot, and its fp to `f`, while other calls charge it. Caller holds the
 * region lock and, if `multi`, the bucket lock. */
CELLAR_PRIVATE void limit_rewrite(cellar_limiter *l, limit_slot *s, uint64_t f, limit_word_fn fn,
                                  void *ctx);
/* Call `fn` for each key of a region, under the lock of its bucket. */
CELLAR_PRIVATE void limit_region_each(cellar_limiter *l, uint32_t region,
                                      void (*fn)(cellar_limiter *l, limit_slot *s, void *ctx),
                                      void *ctx) SYNC_HOLDS(LIMIT);
/* Take the locks under which the words of a bucket stay, and load its rules, or those of `own`, at
 * a reading of the clock. Return the present set of the rules. */
CELLAR_PRIVATE const _Atomic uint64_t *limit_bucket_open(cellar_limiter *l, uint32_t bucket,
                                                         const limit_rule *own, uint64_t now_ns,
                                                         limit_moment *m) SYNC_UNCHECKED;
CELLAR_PRIVATE void limit_bucket_close(cellar_limiter *l, uint32_t bucket) SYNC_UNCHECKED;
/* Return the loss of evicting the key of a slot with the first word `w`. 0: no loss; UINT64_MAX:
 * never evict. */
CELLAR_PRIVATE uint64_t limit_loss(const cellar_limiter *l, const limit_moment *m, limit_slot *s,
                                   uint64_t w);
/* Write a claimed slot: the fp `f`, the first value, and the other words of `from` (NULL: 0). */
CELLAR_PRIVATE void limit_fill(const cellar_limiter *l, const limit_room *to, uint64_t f,
                               uint64_t first, limit_slot *from);
/* Claim a slot for a new key, if needed that of a key with a loss below `most`. Return false if
 * there is none or the policy forbids it; out->slot is then the one with the least loss, or NULL.
 * Caller holds the region lock and, if `multi`, the locks of both buckets. */
CELLAR_PRIVATE bool limit_room_find(cellar_limiter *l, const limit_place *p, const limit_moment *m,
                                    uint64_t most, limit_room *out);
/* Insert a key of a snapshot, if needed in place of one with less debt. A paid key takes no slot. A
 * key without a place is counted. No other call runs yet. */
CELLAR_PRIVATE void limit_seat(cellar_limiter *l, limit_slot *image, const limit_moment *m)
    SYNC_UNCHECKED;

/* Take and drop the locks of both buckets of a key. Slots of one word have none. */
CELLAR_PRIVATE void limit_both_take(cellar_limiter *l, const limit_place *p) SYNC_UNCHECKED;
CELLAR_PRIVATE void limit_both_drop(cellar_limiter *l, const limit_place *p) SYNC_UNCHECKED;

#endif
