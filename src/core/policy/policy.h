/* SPDX-License-Identifier: MIT
 *
 * policy: functions of policy.c for the files above it. */
#ifndef POLICY_POLICY_H
#define POLICY_POLICY_H

#include "cache/plan.h"
#include "cache/types.h"
#include "policy/policy_table.h"

/* A drop-in may leave rules of keys out: no store has any, and their code is unreachable. */
#ifdef CELLAR_OMIT_POLICY
#define POLICY_BUILT 0
#else
#define POLICY_BUILT 1
#endif

#define POLICY_STRIPES 8u

typedef struct policy_stripe { /* threads of this stripe inside policy_write, by turn */
    _Atomic uint32_t inside[2] BASE_ALIGNED(BASE_PAD);
} policy_stripe;

typedef struct cache_policies { /* rules of a store; made by the first set */
    policy_stripe stripe[POLICY_STRIPES];
    _Atomic uint32_t turn;    /* index of `inside` for calls that begin now */
    policy_table *table;      /* NULL: no rules; written under NAMESPACE by one set at a time */
    void *raw;                /* allocation that contains this struct */
} cache_policies;

/* Return the rules of a store; NULL: none yet, or this library has none. */
BASE_INLINE cache_policies *policy_of(const cache_store *s)
{
    return POLICY_BUILT ? base_load_acq(&s->policies) : NULL;
}

/* Make the index of a table. `key` hashes the tags. */
CELLAR_PRIVATE void policy_index(policy_table *t, const base_hash_key *key);
/* Find the first rule for a key. *disk_off: a no_l2 rule matches as well. NULL: none. */
CELLAR_PRIVATE const policy_rule *policy_find(const policy_section *s, const void *key, size_t len,
                                              bool *disk_off);
/* Apply the rules of the namespace to the plan of a write: a cache_policy_fn. E_DENIED: counted. */
CELLAR_PRIVATE cellar_err policy_write(cellar *c, const void *key, size_t key_len,
                                       cache_plan *plan);
/* Count a set of rules, by its result. */
CELLAR_PRIVATE void policy_count(cellar *c, cellar_err err);
/* Wait until no call uses sections that the namespaces have lost before. No lock held. */
CELLAR_PRIVATE void policy_wait(cache_policies *p);

#endif
