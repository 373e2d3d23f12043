/* SPDX-License-Identifier: MIT
 *
 * tier_calls: functions of tier_calls.c for the files above it. */
#ifndef CACHE_TIER_CALLS_H
#define CACHE_TIER_CALLS_H

#include "cache/types.h"

/* Find the numbers of the namespace that the disk stored last. False: unknown, or no disk. */
CELLAR_PRIVATE bool cache_tier_namespace_find(const cellar *v, l2_namespace *out);
/* Tell the disk the state of the namespace. NULL: its present state. After the return a kill keeps
 * that state. If the disk takes no control (closed, broken, no memory), the next open finds no
 * entry of the namespace. The caller has raised `unreported`. No lock held. */
CELLAR_PRIVATE void cache_tier_namespace_tell(cellar *v, const l2_namespace *next);
/* Run background work of the tier. Return whether more work is left. */
CELLAR_PRIVATE bool cache_tier_tick(const cache_tier *t, uint64_t budget_us);
/* Call each tier of the store. Tick returns whether more work is left. */
CELLAR_PRIVATE bool cache_tiers_tick(cache_store *s, uint64_t budget_us);
CELLAR_PRIVATE void cache_tiers_close(cache_store *s, int64_t deadline_ms);
CELLAR_PRIVATE void cache_tiers_forked(cache_store *s); /* they close their files */
/* Add a tier; changes are observed from now on. One thread at a time. */
CELLAR_PRIVATE void cache_tiers_add(cache_store *s, const cache_tier *t);
#define CACHE_DISK_STANDS "the disk of l2_path does not answer (a stall): retry when it does"
/* Why the disk does not have an entry: name, and the text of E_IO behind "the change is in memory
 * only: ". */
#define CACHE_LACKS(X) \
    X(SIZE, "it is over a quarter of the data file, or its key over half a segment: raise " \
            "l2_bytes, or store it with CELLAR_NO_L2") \
    X(TTL, "less than l2.min_ttl_ms of its TTL is left: lower that, or leave out CELLAR_DURABLE") \
    X(BUDGET, "it is over what is left of l2.write_bytes_per_s or l2.write_bytes_per_day: raise " \
              "that, or retry later") \
    X(SEAL, "l2.cipher did not encrypt the value") \
    X(INDEX, "the index of the disk tier is full (metric cellar_l2_index_full_total): raise " \
             "l2_bytes, or open with l2.mean_entry_bytes as small as the entries") \
    X(STILL, CACHE_DISK_STANDS) \
    X(OFF, "the disk tier is off after errors of the disk (metric cellar_l2_breaker_state): " \
           "retry when the disk works") \
    X(ROOM, "no room on the disk for 1 s, or a delete by pattern of the key runs: retry") \
    X(GONE, "the entry was evicted before it was written: retry, or raise memory_bytes") \
    X(OTHER, "the disk tier refused it: retry")
typedef enum cache_lack {
#define CACHE_LACK_ENUM(name, text) CACHE_LACK_##name,
    CACHE_LACKS(CACHE_LACK_ENUM)
#undef CACHE_LACK_ENUM
    CACHE_LACK_COUNT
} cache_lack;
/* Code of a lack between cache_tier_store and cache_tier_code. No public code has this number. */
#define CACHE_LACKING(lack) ((cellar_err)(-1000 - (int)(lack)))

/* Return the code of `call` for `below`, the code of a tier, and record its error text. */
CELLAR_PRIVATE cellar_err cache_tier_code(cellar *c, const char *call, cellar_err below);
/* Return the code of a shared server; record an error text for an error. */
CELLAR_PRIVATE cellar_err cache_server_code(cellar *c, cellar_err said);
/* Make the changes on this tier safe against a power cut. Return err, or E_IO. */
CELLAR_PRIVATE cellar_err cache_tier_commit(cellar *c, const cache_tier *t, cellar_err err);

/* Commit the change before it is acknowledged, if the tier `t` commits each change. */
BASE_INLINE cellar_err cache_acked_by(cellar *c, const cache_tier *t, cellar_err err)
{
    return t == NULL || !t->commit_each ? err : cache_tier_commit(c, t, err);
}
BASE_INLINE cellar_err cache_acked(cellar *c, cellar_err err)
{
    return cache_acked_by(c, cache_tier_of(c), err);
}

#endif
