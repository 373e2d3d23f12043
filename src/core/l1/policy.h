/* SPDX-License-Identifier: MIT
 *
 * policy: rules of eviction; ghosts (ghost.c), shadow caches (policy_select.c), samples
 * (request_sample.c). */
#ifndef L1_POLICY_H
#define L1_POLICY_H

#include "l1/types.h"

/* ---- rules: policy_select.c chooses, evict.c applies ---- */
typedef struct l1_rule {
    uint16_t share;    /* of small, of 1024; `tuned`: not used */
    uint8_t keep_from; /* counter with which a record moves from small to main */
    uint8_t horizon;   /* of ghosts, in tenths of the entries */
    uint8_t nearer;    /* a ghost enters main if it was away for less than so many eighths of the
                        * age of main's oldest record; 0: however long it was away */
    bool fill;         /* a main below its share takes all that leaves small */
    bool gate;         /* a ghost enters main only over an unused record */
    bool clock;        /* all go into main, and the cursor clears counters there */
    bool tuned;        /* the share of small follows the ghosts */
    bool both;         /* what leaves main becomes a ghost, too */
} l1_rule;
enum {
    L1_EXPERTS = 4, L1_RULE_GUARD = 1,
    L1_RULE_S3FIFO = L1_EXPERTS, L1_RULE_SIZES, /* not among the competing rules */
    L1_RULES
};
#define L1_NEVER 4u /* keep_from: no record moves to main because it was used */
#define L1_LOOKS 32u /* records that the policy judges to make a place for one entry */

BASE_INLINE const l1_rule *l1_rule_at(unsigned i)
{
    static const l1_rule rule[L1_RULES] = {
        { .keep_from = 1, .horizon = 17, .tuned = true, .both = true }, /* near: at the start */
        { .share = 10, .keep_from = 2, .horizon = 17, .nearer = 6, .fill = true,
          .gate = true }, /* guard */
        { .share = 205, .keep_from = L1_NEVER, .horizon = 17, .nearer = 4, .fill = true },
        { .share = 102, .keep_from = 1, .horizon = 17, .clock = true }, /* recent */
        { .share = 102, .keep_from = 2, .horizon = 9 }, /* S3FIFO */
        { .share = 102, .keep_from = 1, .horizon = 9 }, /* SIZES: with favor_objects */
    };
    return &rule[i];
}
BASE_INLINE const l1_rule *l1_rule_now(const l1 *c) { return l1_rule_at(base_load_rlx(&c->rule)); }
BASE_INLINE uint64_t l1_rule_target(const l1_rule *r, const l1_learned *l, uint64_t total)
{
    const uint64_t part = r->tuned ? total * l->small >> L1_SMALL_BITS : total * r->share / 1024;
    return BASE_MAX(part, 1);
}
/* Return the queue that gives the next record, by their sizes; not both may be empty. */
BASE_INLINE unsigned l1_rule_queue(const l1_rule *r, const l1_learned *l, uint64_t small,
                                   uint64_t mainq)
{
    if (small == 0 || mainq == 0) { return small == 0 ? 1 : 0; }
    return r->clock || small >= l1_rule_target(r, l, small + mainq) ? 0 : 1;
}
/* Return whether a record with this counter moves from small to main. Sizes before the move. */
BASE_INLINE bool l1_rule_keeps(const l1_rule *r, const l1_learned *l, unsigned uses,
                               uint64_t small, uint64_t mainq)
{
    return uses >= r->keep_from || (r->fill && small > l1_rule_target(r, l, small + mainq));
}
/* Return the counter of a used record that stays in main. */
BASE_INLINE unsigned l1_rule_rest(const l1_rule *r, unsigned uses)
{
    return uses == 0 || r->clock ? 0 : uses - 1;
}
/* Count a set of a new key. Older sets and moves into main count half after two rounds of the
 * cache. */
BASE_INLINE void l1_learn_set(l1_learned *l, uint64_t entries)
{
    if (++l->sets > 2 * entries) {
        l->sets /= 2;
        l->moves /= 2;
    }
}

/* ---- ghost.c ---- */
#define L1_GHOST_LINE 64u
#define L1_GHOST_FPS 38u
#define L1_GHOST_TENTHS 17u /* ghosts per ten entries: the farthest horizon of a rule */
BASE_INLINE uint64_t l1_ghost_mix(uint64_t hash)
{
    return base_mix64(hash ^ UINT64_C(0xa24baed4963ee407));
}
/* Set the table. Its generation synchronizes all calls, except l1_ghost_prefetch: any time. */
CELLAR_PRIVATE void l1_ghosts_set(l1_ghosts *g, unsigned char *line, uint64_t lines);
/* Copy the ghosts of a table into one of another size. A line stands for a range of hashes: it
 * keeps the ghosts that lie in both ranges, and some that no key finds again. */
CELLAR_PRIVATE void l1_ghosts_copy(const l1_ghosts *from, unsigned char *line, uint64_t lines);
/* Note an evicted key. from_main: main held it, not small. */
CELLAR_PRIVATE void l1_ghost_add(l1_ghosts *g, uint64_t mixed, bool from_main);
BASE_INLINE void l1_ghost_prefetch(const l1_ghosts *g, uint64_t mixed)
{
    /* Without the lock the two values may belong to different tables, or to none. */
    const uint64_t number = ((mixed >> 32) * base_load_rlx(&g->lines)) >> 32;
    const uintptr_t line = (uintptr_t)base_load_rlx(&g->line);
    BASE_PREFETCH_W((const void *)(line + (uintptr_t)(number * L1_GHOST_LINE)));
}
typedef struct l1_ghost {
    uint64_t age; /* about how many ghosts are newer; UINT64_MAX: the key has none */
    bool from_main;
} l1_ghost;
/* Return the ghost of a key, and remove it. */
CELLAR_PRIVATE l1_ghost l1_ghost_take(l1_ghosts *g, uint64_t mixed);
/* Return whether a key with this ghost enters main, the gate aside; tune the share of small.
 * mainq: entries of main if the cache of `entries` is full, else 0. */
CELLAR_PRIVATE bool l1_ghost_earns(l1_ghost g, const l1_rule *r, l1_learned *l, uint64_t entries,
                                   uint64_t mainq);
CELLAR_PRIVATE uint64_t l1_entries_of(const l1 *c, uint64_t budget);
/* Return the bytes of the table for a budget. */
CELLAR_PRIVATE uint64_t l1_ghosts_bytes(const l1 *c, uint64_t budget);
/* Size the ghosts for a budget; false: no memory (the cache works without). */
CELLAR_PRIVATE bool l1_ghosts_open(l1 *c, uint64_t budget);
CELLAR_PRIVATE bool l1_ghosts_misfit(const l1 *c, uint64_t budget);
/* Size the ghosts for a budget within a short time, and keep what they remember. False: a thread
 * stays in a lane, or the budget has no *need bytes free. */
CELLAR_PRIVATE bool l1_ghosts_fit(l1 *c, uint64_t budget, uint64_t *need);
CELLAR_PRIVATE void l1_ghosts_close(l1 *c);

/* ---- policy_select.c ---- */
/* Open shadow caches for a store of so many entries. ring_bytes: what the rings take. False: no
 * memory. */
CELLAR_PRIVATE bool l1_shadow_open(l1 *c, uint64_t entries, uint64_t ring_bytes);
/* Make the shadow caches larger if the entries allow it, and no larger than the store. They keep
 * what fits of their content. */
CELLAR_PRIVATE void l1_shadow_resize(l1 *c, uint64_t entries, uint64_t ring_bytes);
/* Free shadow caches. NULL accepted. */
CELLAR_PRIVATE void l1_shadow_close(l1 *c, struct l1_shadow *w);
/* Adapt to a new bound or budget, or to entries of other sizes. */
CELLAR_PRIVATE void l1_shadow_refit(l1 *c);
/* Evict by one rule, and stop sampling. Samples on their way change neither. */
CELLAR_PRIVATE void l1_rule_fix(l1 *c, unsigned rule);
/* Forget the figures of the advisor: they are of another number of entries. */
CELLAR_PRIVATE void l1_advise_again(l1 *c);
#define L1_ASKED_KEYS 8u
typedef struct l1_asked { /* requests for sampled keys, in their order */
    uint32_t n;
    uint32_t key[L1_ASKED_KEYS];
    uint16_t namespace[L1_ASKED_KEYS]; /* as hooks.namespace_of returns */
    uint8_t count[L1_ASKED_KEYS]; /* 1..255 */
} l1_asked;
/* Take the sampled requests. False: busy, nothing taken. */
CELLAR_PRIVATE bool l1_shadow_feed(l1 *c, const l1_asked *a);
CELLAR_PRIVATE const char *l1_shadow_audit(l1 *c); /* NULL, or what is wrong */

/* ---- request_sample.c ---- */
/* Open rings and shadow caches. False: no memory, or too few entries to decide. */
CELLAR_PRIVATE bool l1_samples_open(l1 *c);
CELLAR_PRIVATE void l1_samples_close(l1 *c);
/* Fit the shadow caches, if there are any, to so many entries. */
CELLAR_PRIVATE void l1_samples_fit(l1 *c, uint64_t entries);
/* Count a request for a key with a hash below the limit. */
BASE_COLD CELLAR_PRIVATE void l1_sampled(l1 *c, uint64_t hash, uint32_t generation);

#endif
