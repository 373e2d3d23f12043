/* SPDX-License-Identifier: MIT
 *
 * change: functions of change.c for the files above it. */
#ifndef CACHE_CHANGE_H
#define CACHE_CHANGE_H

#include "cache/lookup.h"
#include "cache/plan.h"
#include "cache/types.h"

typedef enum cache_change_kind {
    CACHE_PUT,       /* set, update, result of a load: `spec` */
    CACHE_DELETE,    /* of the entry that meets `spec`; NULL: of any */
    CACHE_INCREMENT, /* by `delta`; of a new counter, if `spec` is set */
    CACHE_TOUCH,     /* `deadline_ms` */
    CACHE_RENEW      /* of the value that a loader found not modified, or could not replace */
} cache_change_kind;

#define CACHE_DURABLE_SET 1u /* flags: the entry is on disk and committed before the return */
#define CACHE_BATCH 2u       /* the caller commits */
#define CACHE_MATCHED 4u     /* DELETE by a pattern; `by` is its number */
#define CACHE_FAILED 32u     /* with COPY: a set failed to replace the entry */
#define CACHE_OUTSIDE 16u    /* no tier hears of it: a DELETE it reports, a PUT of an error */
#define CACHE_JUDGED 128u    /* private: the policy has seen the plan */
#define CACHE_COUNTED 256u   /* private: cache_count_step has counted the entry */
#define CACHE_REMOTE 1024u   /* with OUTSIDE: another process made the change */
#define CACHE_ASKS 2048u     /* DELETE in memory: the shared tier makes the change `ask` */
#define CACHE_COPY 512u      /* DELETE of the copy in the cache: no write of the program */
#define CACHE_FOUND 64u      /* private: an earlier round removed an entry */
#define CACHE_STEPPED 4096u  /* private: the first step was made, and no part heard of it */
#define CACHE_WAS_ON_DISK 8u /* private: DELETE of an entry that only the disk had */

/* A change that a shared tier makes if a condition holds. Memory loses the entry first. */
typedef struct cache_ask {
    cellar_err (*fn)(struct cache_ask *q, void *shared, const l1_key *k);
    bool stores; /* true: it stores a value; false: it removes the key */
} cache_ask;

typedef struct cache_change { /* one change of one key; on the stack of its call */
    cellar *c;
    l1_key *k; /* gets the new generation if the namespace is cleared meanwhile */
    cache_change_kind kind;
    uint32_t flags, by;
    l1_put_spec *spec;
    cache_plan *plan; /* options of `spec`; NULL: a load with a final deadline. INCREMENT without
                       * `spec`: room for the options of a new counter; NULL: none is made */
    const cellar_set_opts *opts; /* INCREMENT: options of a new counter */
    const l1_renewal *renewal;
    cache_ask *ask;                /* with CACHE_ASKS */
    uint64_t order;                /* of a loaded value: of cache_shared_fill */
    int64_t delta, init, deadline_ms;
    cellar_err err;   /* result: this down to number */
    cellar_err below; /* not OK: the tier does not have what was promised */
    l1_gone gone;
    int64_t number;   /* INCREMENT: the counter */
    cache_wait wait;  /* private: of INCREMENT and TOUCH */
} cache_change;

/* Return whether changes are observed: by listeners or a tier. */
BASE_ALWAYS_INLINE bool cache_is_observed(const cache_store *s)
{
    return base_load_rlx(&s->observers) != 0;
}

/* Make the change, with retries if the namespace is cleared meanwhile, and inform all parts of the
 * store. Return the code of the public call; E_BUSY after CACHE_ROUNDS rounds. */
CELLAR_PRIVATE cellar_err cache_change_run(cache_change *ch);
/* Put the entry of the plan. */
CELLAR_PRIVATE cellar_err cache_put(cellar *c, l1_key *k, cache_plan *plan);
/* End a load that runs, for a change of a present entry that finds none: it may have read the
 * source before the caller wrote there. Return whether to look again: it may have come first. */
CELLAR_PRIVATE bool cache_older_load_ends(const cellar *c, const l1_key *k);
/* Add `delta` to a counter. `if_new`: options of a new one; NULL: none is made. OK, E_RANGE and
 * E_IO set *number. */
CELLAR_PRIVATE cellar_err cache_increment_key(cellar *c, l1_key *k, int64_t delta, int64_t init,
                                              const cellar_set_opts *if_new, int64_t *number);
/* Delete a key; `batch`: the caller commits. Or delete the entry that meets the L1_IF_ flags of
 * `only_if`; else change nothing and return their code. `copy`: see CACHE_COPY. */
CELLAR_PRIVATE cellar_err cache_delete(cellar *c, l1_key *k, bool batch);
CELLAR_PRIVATE cellar_err cache_delete_if(cellar *c, l1_key *k, l1_put_spec *only_if, bool copy);
/* Overwrite a plain entry of the same size, if only a tier observes the store. Return false in
 * doubt, with nothing done. */
CELLAR_PRIVATE bool cache_overwrite(cellar *c, const l1_key *k, const void *value,
                                    size_t value_len, int64_t deadline_ms);
/* Inform flights and stamps inside the window of a change. Return false: veto. */
CELLAR_PRIVATE bool cache_change_window(void *ctx, uint64_t hash, uint32_t generation,
                                        const void *key, size_t key_len, l1_change change,
                                        uint64_t *stamp);
CELLAR_PRIVATE void cache_count_refused(stats_block *mine, cellar_err err);

#endif
