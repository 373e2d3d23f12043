/* SPDX-License-Identifier: MIT
 *
 * manage: the calls that manage an open level: maintenance, budget, policy, shares, advice,
 * statistics, fork. l1.h includes this header. */
#ifndef L1_MANAGE_H
#define L1_MANAGE_H

#include "base/mem.h"
#include "base/port.h"
#include "cellar.h"

typedef struct l1 l1;
typedef enum l1_policy { L1_S3FIFO = 0, L1_LRU = 1, L1_FIFO = 2, L1_ADAPTIVE = 3 } l1_policy;

/* Reclaim expired entries, dead generations, parked segments, the retire list and idle pages;
 * shrink the index. Stop after budget_us, at most one piece later; each call completes a piece,
 * also with 0. *removed: number of removed entries. OK: no entry due at the call is left, but for
 * lanes that another thread keeps for 2 ms. PENDING: the time ran out. E_BUSY: another tick runs,
 * nothing was done. */
CELLAR_PRIVATE cellar_err l1_upkeep(l1 *c, uint64_t budget_us, uint64_t *removed);
/* Return when l1_upkeep next has work, in ms of the store clock; BASE_NEVER_MS: never. */
CELLAR_PRIVATE int64_t l1_next_due_ms(l1 *c);
/* Note that a generation with so many entries died (clear, version increment, drop). The next ticks
 * reclaim its entries, and evictions take them before live ones. */
CELLAR_PRIVATE void l1_generation_died(l1 *c, uint32_t generation, uint64_t entries);
/* Evict until the budget has `bytes` free. False: not possible. The caller holds no lock. */
CELLAR_PRIVATE bool l1_make_room(l1 *c, uint64_t bytes);
/* Return the smallest budget with which a store opened like this one reliably takes small sets. */
CELLAR_PRIVATE uint64_t l1_least_budget(const l1 *c);
/* Set a new budget; it holds before the return. E_RANGE: beyond the reservation or below the
 * minimum. */
CELLAR_PRIVATE cellar_err l1_resize(l1 *c, uint64_t budget_bytes);
/* Set a new bound; 0: none. E_BUSY: another change runs, or pins keep too many entries. */
CELLAR_PRIVATE cellar_err l1_set_max_entries(l1 *c, uint64_t max_entries);
CELLAR_PRIVATE void l1_set_policy(l1 *c, l1_policy policy);
/* Add or remove a listener: hand over entries that end while one exists. */
CELLAR_PRIVATE void l1_want_left(l1 *c, bool on);
/* Overwrite the bytes of each value that leaves, from now on, and keep the log and the blocks out
 * of core dumps. Call once. Each entry that ends is handed over, too. Return false if the kernel
 * refused to keep them out. */
CELLAR_PRIVATE bool l1_hide(l1 *c);
/* Add or remove a listener for L1_LEFT_CAPACITY only. Replaced or deleted entries cost nothing
 * more. */
CELLAR_PRIVATE void l1_want_evicted(l1 *c, bool on);
/* Shares of some namespaces (quota.c). The caller serializes calls for one number. */
#define L1_QUOTAS 63u
typedef struct l1_share {
    uint64_t bytes, entries; /* held now */
    uint64_t ceiling;        /* bytes; UINT64_MAX: none */
} l1_share;
CELLAR_PRIVATE bool l1_quotas_open(l1 *c); /* call before the first number; false: no memory */
/* Let the number count a new generation. The generation has no entry, and no call uses it yet. */
CELLAR_PRIVATE void l1_quota_generation(l1 *c, unsigned number, uint32_t generation);
CELLAR_PRIVATE void l1_quota_set(l1 *c, unsigned number, uint32_t most_pct);
CELLAR_PRIVATE void l1_quota_get(l1 *c, unsigned number, l1_share *out);

/* Bounds of entries of namespaces, by hooks.namespace_of (cap.c). */
#define L1_NAMESPACES 4096u
/* Allocate what a bound needs. OK; E_NOMEM, E_SPACE. Hold no lock. */
CELLAR_PRIVATE cellar_err l1_cap_open(l1 *c, uint32_t namespace);
/* Set a bound of 1 or more entries, after l1_cap_open. STARTED: the list may lack entries of the
 * generation, because there was no bound or another thread still fills it: call l1_cap_fill, unless
 * there is no entry. UNREADY: nothing was done; another thread removed the bound: open it again. */
typedef enum l1_cap_start_result {
    L1_CAP_UNREADY, L1_CAP_STARTED, L1_CAP_CHANGED
} l1_cap_start_result;
CELLAR_PRIVATE l1_cap_start_result l1_cap_start(l1 *c, uint32_t namespace, uint32_t generation,
                                                uint32_t max);
/* Put the entries of the generation that are not in the list there, older ones first, and evict
 * those beyond the bound. Return E_NOMEM or E_SPACE if no memory is left. Hold no lock. Any number
 * of threads may fill a list at once. */
CELLAR_PRIVATE cellar_err l1_cap_fill(l1 *c, uint32_t namespace, uint32_t generation);
/* Evict what is beyond the bound. Hold no lock. */
CELLAR_PRIVATE void l1_cap_trim(l1 *c, uint32_t namespace, uint32_t generation);
/* Remove the bound, and free its memory. */
CELLAR_PRIVATE void l1_cap_stop(l1 *c, uint32_t namespace);
/* Count a new generation from 0. It has no entry, and no call uses it yet. */
CELLAR_PRIVATE void l1_cap_generation(l1 *c, uint32_t namespace, uint32_t generation);
CELLAR_PRIVATE uint32_t l1_cap_get(const l1 *c, uint32_t namespace); /* 0: none */

/* Estimated hit ratios at other budgets, in percent of this budget, from a sample. */
#define L1_ADVICE 8
#define L1_ADVICE_PCT { 25, 50, 71, 100, 141, 200, 400, 800 }
#define L1_NO_NAMESPACE 0xffffu
typedef struct l1_advice {
    uint64_t requests; /* sampled requests behind the figures; older ones count less */
    double ratio[L1_ADVICE];
} l1_advice;
/* Estimate hit ratios at other budgets. OK; PENDING: too few requests, *out has `requests` only;
 * E_UNSUPPORTED: no advisor, or another policy. namespace: as hooks.namespace_of; L1_NO_NAMESPACE:
 * the whole store. measured: the counted hit ratio; its difference from the model moves all points;
 * negative: unknown. */
CELLAR_PRIVATE cellar_err l1_advise(l1 *c, uint32_t namespace, double measured, l1_advice *out);
/* Forget the figures of a number: another namespace has it now, or none. */
CELLAR_PRIVATE void l1_advise_anew(l1 *c, uint32_t namespace);

/* What each lane counts: stored, ended for room, by time, by a dead generation or tag; kept by the
 * policy, dropped against it; evicted keys that came back. */
#define L1_COUNTS(X) \
    X(inserts) X(evicted) X(expired) X(cleared) X(kept) X(forced) X(ghost_hits)
/* What the store counts: calls refused for lack of memory, and of absent entries at their ceiling;
 * full chains, pins without a slot, reads under the lock; adaptive: requests dropped, changes of
 * the rule. */
#define L1_STORE_COUNTS(X) \
    X(no_space) X(absent_refused) X(chain_full) X(pin_limit) X(fallback_reads) \
    X(sample_dropped) X(rule_switches)
typedef struct l1_stats {
#define L1_X(name) uint64_t name;
    L1_COUNTS(L1_X)
    L1_STORE_COUNTS(L1_X)
#undef L1_X
    uint64_t splits, merges; /* buckets */
    uint64_t entries, record_bytes, segments, segments_free, segments_parked;
    uint64_t buckets, overflow_halves, index_bytes, arena_bytes, big_blocks, big_bytes,
        retired_bytes;
    uint64_t parked_total, examined_max; /* examined: per set, BASE_DEBUG */
    uint64_t absent, absent_bytes; /* linked records without value, and their bytes */
    uint32_t rule;                 /* number of the current rule; see policy_select.c */
    uint32_t stripes, seg_bytes, granule;
} l1_stats;
CELLAR_PRIVATE void l1_stats_get(l1 *c, l1_stats *out);
/* Check all structures: NULL, or what is wrong (static text). Takes lane locks;
 * tests stop all writers first. */
CELLAR_PRIVATE const char *l1_audit(l1 *c);

/* Mark the level in a forked child: it has no log, and an unpin does nothing. */
CELLAR_PRIVATE void l1_forked(l1 *c);

#endif
