/* SPDX-License-Identifier: MIT
 *
 * plan: functions of plan.c for the files above it. */
#ifndef CACHE_PLAN_H
#define CACHE_PLAN_H

#include <stddef.h>

#include "cache/types.h"

typedef struct cache_plan { /* result of the options of a write; one for a whole batch */
    l1_put_spec spec;
    int64_t ttl_ms;   /* time to live, ms; BASE_NEVER_MS: none; <= most_ms */
    int64_t most_ms;  /* maximum age, ms; jitter stays below it; BASE_NEVER_MS: none */
    int64_t asked_ms; /* with a policy: ttl_ms before most_ms bounds it */
    int64_t now_ms;   /* time of the call; read only if there is a time to live */
    uint32_t jitter_pct, jitter_mode;
    uint64_t *version_out;
    bool durable;      /* the entry is in the tier and committed before the call returns */
    bool commit_later; /* the caller commits the whole batch */
    bool policed;      /* made under a policy, which has not changed it yet */
    uint8_t given;     /* CACHE_GIVEN_...: options of the call, which no policy changes */
    uint64_t tag_born; /* tag epoch of the start of the call, with a policy */
    int64_t stale_ms;  /* with CACHE_GIVEN_STALE: stale window of the call */
    uint64_t until_ns; /* with a condition: of cache_disk_waits */
    uint64_t fps[CELLAR_TAGS_MAX];
    /* from here on only with tags of a policy, over a tier: their texts, and those of the call */
    cellar_bytes text[CELLAR_TAGS_MAX];
    char text_bytes[CELLAR_TAGS_MAX * CELLAR_TAG_MAX];
} cache_plan;
#define CACHE_PLAN_COPIED offsetof(cache_plan, text) /* bytes of a plan before its policy */

/* Return the stale window of set options in ms. */
BASE_INLINE int64_t cache_stale_of(int64_t stale_ms)
{
    return stale_ms == CELLAR_TTL_NONE ? 0 : stale_ms;
}

/* Return whether options ask for a negative entry, which a namespace of objects takes, too. */
BASE_INLINE bool cache_is_negative(const cellar_set_opts *o)
{
    return o != NULL && o->struct_size >= offsetof(cellar_set_opts, flags) + sizeof o->flags &&
           (o->flags & CELLAR_NEGATIVE) != 0;
}

#define CACHE_SET_FLAGS                                                                            \
    (CELLAR_ONLY_IF_ABSENT | CELLAR_ONLY_IF_PRESENT | CELLAR_ONLY_IF_VERSION |                     \
     CELLAR_KEEP_OLD_VALUE | CELLAR_KEEP_TTL | CELLAR_NEGATIVE | CELLAR_DURABLE | CELLAR_NO_L2 |   \
     CELLAR_REPLACE | CELLAR_NO_STORE)

/* The call that has the options, for the text of a refusal: above all flags in `banned`. */
#define CACHE_FOR_SHIFT     16
#define CACHE_FOR_SET       0u
#define CACHE_FOR_SET_MANY  (1u << CACHE_FOR_SHIFT)
#define CACHE_FOR_UPDATE    (2u << CACHE_FOR_SHIFT)
#define CACHE_FOR_INCREMENT (3u << CACHE_FOR_SHIFT)
#define CACHE_FOR_OBJECT    (4u << CACHE_FOR_SHIFT)
#define CACHE_FOR_FULFILL   (5u << CACHE_FOR_SHIFT)
#define CACHE_FOR_LOADER    (6u << CACHE_FOR_SHIFT)
#define CACHE_FOR_OBJECT_FULFILL (7u << CACHE_FOR_SHIFT)

/* Copy the options of a caller to *full and check them, without flags of `banned`, which also names
 * the call. */
CELLAR_PRIVATE cellar_err cache_set_opts_read(cellar *c, const cellar_set_opts *o, uint32_t banned,
                                              cellar_set_opts *full);
CELLAR_PRIVATE cellar_err cache_plan_make(cellar *c, const cellar_set_opts *o, uint32_t banned,
                                          cache_plan *plan);
CELLAR_PRIVATE cellar_err cache_plan_judge_slow(cellar *c, const l1_key *k, cache_plan *plan);
/* Let the policy of the namespace change the plan. Return its error: the write is refused. */
BASE_INLINE cellar_err cache_plan_judge(cellar *c, const l1_key *k, cache_plan *plan)
{
    return BASE_UNLIKELY((base_load_rlx(&c->carries) & CACHE_CARRIES_POLICY) != 0)
               ? cache_plan_judge_slow(c, k, plan) : CELLAR_OK;
}
CELLAR_PRIVATE uint8_t cache_cost_code(uint32_t us);
CELLAR_PRIVATE uint32_t cache_cost_us(uint8_t code);
/* Return a time uniform in [ttl - j, ttl], [ttl, ttl + j] or [ttl - j, ttl + j], by the mode,
 * folded at the maximum age; at least 1 ms. */
CELLAR_PRIVATE int64_t cache_jittered(const cellar *c, const cache_plan *plan, uint64_t hash);

BASE_INLINE int64_t cache_plan_deadline(const cellar *c, const cache_plan *plan, uint64_t hash)
{
    if (plan->ttl_ms == CELLAR_TTL_NONE) { return BASE_NEVER_MS; }
    const int64_t ttl = plan->jitter_pct == 0 ? plan->ttl_ms : cache_jittered(c, plan, hash);
    return base_add_sat(plan->now_ms, ttl);
}

#endif
