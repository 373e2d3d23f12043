/* SPDX-License-Identifier: MIT
 *
 * policy: functions of policy.c for the files above it. */
#ifndef CACHE_POLICY_H
#define CACHE_POLICY_H

#include "cache/plan.h"
#include "cache/policy_text.h"
#include "cache/types.h"

#define POLICY_STRIPES 8u

typedef struct policy_stripe { /* threads of this stripe inside policy_write, by turn */
    _Atomic uint32_t inside[2] BASE_ALIGNED(BASE_PAD);
} policy_stripe;

typedef struct cache_policies { /* rules of a store; made by the first load of a file */
    policy_stripe stripe[POLICY_STRIPES];
    _Atomic uint32_t turn;    /* index of `inside` for calls that begin now */
    policy_table *table;      /* NULL: no rules; written under NAMESPACE by one reload at a time */
    char *path;               /* for a reload; written by one reload at a time; NULL: none */
    size_t path_bytes;
    void *raw;                /* allocation that contains this struct */
} cache_policies;

/* Make the index of a table. `key`: hashes the tags; NULL: a table for the linter. */
CELLAR_PRIVATE void policy_index(policy_table *t, const base_hash_key *key);
/* Find the first rule for a key. *disk_off: a no_l2 rule matches as well. NULL: none. */
CELLAR_PRIVATE const policy_rule *policy_find(const policy_section *s, const void *key, size_t len,
                                              bool *disk_off);
/* Apply the rules of the namespace to the plan of a write: a cache_policy_fn. E_DENIED: counted. */
CELLAR_PRIVATE cellar_err policy_write(void *ctx, cellar *c, const void *key, size_t key_len,
                                       cache_plan *plan);
/* Wait until no call uses sections that the namespaces have lost before. No lock held. */
CELLAR_PRIVATE void policy_wait(cache_policies *p);

#endif
