/* SPDX-License-Identifier: MIT
 *
 * explain_record: the record of ended entries, for its writers and its reader. */
#ifndef CACHE_EXPLAIN_RECORD_H
#define CACHE_EXPLAIN_RECORD_H

#include "cache/types.h"

#define CACHE_WHY_MIX UINT64_C(0x9e3779b97f4a7c15) /* odd; uses other bits than L1 */
#define CACHE_WHY_UNIT 6 /* 64 ms */

typedef struct cache_why_place {
    _Atomic uint64_t a, b; /* {when, fingerprint}, {age, by, cause, hits}; a == 0: empty */
} cache_why_place;

typedef struct cache_why_end { /* NAMESPACE */
    uint32_t namespace_id, generation, when;
    uint8_t cause; /* 0: unused */
} cache_why_end;

typedef struct cache_why_act_at { /* NAMESPACE */
    uint64_t fp;      /* fingerprint of a tag */
    uint64_t epoch;   /* epoch of its end: it ended entries born before */
    uint32_t number;  /* from 1; 0: unused */
    uint8_t cause, len;
    char text[CELLAR_WHY_BY_MAX];
} cache_why_act_at;

struct cache_why {
    cache_why_place *place; /* 2^(64 - shift) places, 64-byte aligned */
    unsigned shift;
    int64_t born_ms;
    cache_why_end *ring;
    uint32_t ring_count, ring_next; /* ring_count: power of two; NAMESPACE */
    cache_why_act_at *act;          /* ring_count of them */
    uint32_t act_count;             /* tags and patterns deleted so far; NAMESPACE */
    size_t bytes;                   /* size of this block */
};

#define CACHE_WHY_WHEN(a) ((uint32_t)((a) >> 32))
#define CACHE_WHY_PRINT(a) ((uint32_t)(a))
#define CACHE_WHY_AGE(b) ((uint32_t)((b) >> 32))
#define CACHE_WHY_CAUSE(b) ((uint32_t)((b) >> 8) & 0xffu)
#define CACHE_WHY_HITS(b) ((uint32_t)(b) & 0xffu)
#define CACHE_WHY_BY(b) ((uint32_t)((b) >> 16) & 0xffffu)

BASE_INLINE int64_t cache_why_ms(uint32_t units) { return (int64_t)units << CACHE_WHY_UNIT; }

/* Find the place of a key. *print is never 0, the value of an empty word. */
BASE_INLINE cache_why_place *cache_why_at(const cache_why *w, uint64_t hash, uint32_t *print)
{
    const uint64_t mixed = hash * CACHE_WHY_MIX;
    *print = (uint32_t)hash | 1u;
    return &w->place[mixed >> w->shift];
}

CELLAR_PRIVATE cellar_err cache_why_open(cache_store *s, const cache_settings *cfg);
CELLAR_PRIVATE void cache_why_close(cache_store *s);
/* Record that a call removed an entry or refused a value. Any lock may be held. */
CELLAR_PRIVATE void cache_why_note(cache_store *s, uint64_t hash, cellar_cause cause);
CELLAR_PRIVATE void cache_why_note_by(cache_store *s, uint64_t hash, cellar_cause cause,
                                      uint32_t by);
/* Record a deleted tag or pattern. Return its number, which `by` of its victims names. No lock
 * held. */
CELLAR_PRIVATE uint32_t cache_why_act(cellar *c, cellar_cause cause, uint64_t fp, uint64_t epoch,
                                      const void *text, size_t len);
/* Prefetch the record of an entry that leaves: a hook of L1, in its window. */
CELLAR_PRIVATE void cache_why_soon(void *ctx, uint64_t hash);
CELLAR_PRIVATE void cache_why_ended(cache_store *s, uint64_t hash, cellar_cause cause,
                                    int64_t born_ms, unsigned uses);
CELLAR_PRIVATE void cache_why_generation(cache_store *s, const cellar *v, uint32_t generation,
                                         cellar_cause cause) SYNC_HOLDS(NAMESPACE);

#endif
