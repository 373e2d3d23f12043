/* SPDX-License-Identifier: MIT
 *
 * stats: exact counters without a shared write, sampled histograms, one registry of all metrics.
 *
 * CALL PATTERN
 *     stats_block *mine = stats_mine(st, slot);           once per call, with no ranked lock held
 *     stats_add(mine, STATS_HIT_L1, 1);                   plain add to this thread's block
 *     stats_count(st, STATS_TICK, 1);                     counters of the store; any lock held
 *     if (stats_sample(self)) { t = base_now_ns(); ...; stats_time(st, STATS_OP_SET, now - t); }
 *
 * INVARIANTS Gets have no counter: they are the sum of their outcomes (stats_gets). Each get adds
 *            to exactly one outcome. Names, kinds, units, labels and help texts stand only in the
 *            lists below; struct, text, JSON and tests are made from the lists. */
#ifndef STATS_STATS_H
#define STATS_STATS_H

#include "base/atomic.h"
#include "base/mem.h"
#include "base/port.h"
#include "base/sync.h"

typedef enum stats_unit {
    STATS_ONE, STATS_BYTES,
    STATS_NS, /* written as seconds */
    STATS_PPM /* written as a share of 1 */
} stats_unit;

/* Counters of a namespace: id, family, label name and value ("" for none), unit, help (of the
 * family). Lines of one family stand together. The outcomes of a get come first: they share the
 * first cache line of a block with its header. EVICT_* are in the order of CELLAR_CAUSES. */
#define STATS_NAMESPACE_COUNTERS(X) \
    X(HIT_L1, "cellar_hits_total", "tier", "l1", ONE, "Gets answered with a live value.") \
    X(HIT_L2, "cellar_hits_total", "tier", "l2", ONE, "Gets answered with a live value.") \
    X(STALE, "cellar_stale_hits_total", "", "", ONE, "Gets answered with an allowed stale value.") \
    X(NEGATIVE, "cellar_negative_hits_total", "", "", ONE, "Gets answered with a negative entry.") \
    X(MISS, "cellar_misses_total", "", "", ONE, "Gets without a usable entry.") \
    X(SET, "cellar_sets_total", "", "", ONE, "Values stored, by any call.") \
    X(DELETE, "cellar_deletes_total", "", "", ONE, "Entries removed by a delete.") \
    X(STORE_ERROR, "cellar_write_errors_total", "", "", ONE, "Failed writes.") \
    X(REFUSED_SPACE, "cellar_writes_rejected_total", "reason", "space", ONE, \
      "Failed writes, by reason.") \
    X(REFUSED_TOOBIG, "cellar_writes_rejected_total", "reason", "too_big", ONE, \
      "Failed writes, by reason.") \
    X(REFUSED_NOMEM, "cellar_writes_rejected_total", "reason", "no_memory", ONE, \
      "Failed writes, by reason.") \
    X(CONDITION, "cellar_conditions_unmet_total", "", "", ONE, \
      "Conditional writes with an unmet condition.") \
    X(EVICT_EXPIRED, "cellar_evictions_total", "cause", "expired", ONE, \
      "Entries removed, by cause.") \
    X(EVICT_CAPACITY, "cellar_evictions_total", "cause", "evicted", ONE, \
      "Entries removed, by cause.") \
    X(EVICT_REPLACED, "cellar_evictions_total", "cause", "replaced", ONE, \
      "Entries removed, by cause.") \
    X(EVICT_DELETED, "cellar_evictions_total", "cause", "deleted", ONE, \
      "Entries removed, by cause.") \
    X(EVICT_CLEARED, "cellar_evictions_total", "cause", "cleared", ONE, \
      "Entries removed, by cause.") \
    X(EVICT_BUMPED, "cellar_evictions_total", "cause", "version", ONE, \
      "Entries removed, by cause.") \
    X(EVICT_TAG, "cellar_evictions_total", "cause", "tag", ONE, \
      "Entries removed, by cause.") \
    X(EVICT_GLOB, "cellar_evictions_total", "cause", "pattern", ONE, \
      "Entries removed, by cause.") \
    X(EVICT_REJECTED, "cellar_evictions_total", "cause", "rejected", ONE, \
      "Entries removed, by cause.") \
    X(EVICT_NEGATIVE, "cellar_evictions_total", "cause", "negative", ONE, \
      "Entries removed, by cause.") \
    X(EVICT_DEPENDENCY, "cellar_evictions_total", "cause", "dependency", ONE, \
      "Entries removed, by cause.") \
    X(CLASS_FALLBACK, "cellar_ttl_class_fallbacks_total", "", "", ONE, \
      "Writes with an unknown TTL class.") \
    X(CLEAR, "cellar_clears_total", "", "", ONE, "Calls of cellar_clear.") \
    X(BUMP, "cellar_version_changes_total", "", "", ONE, \
      "Calls of cellar_version_increment and cellar_version_set.") \
    X(GLOB_DELETE, "cellar_pattern_deletes_total", "", "", ONE, \
      "Calls of cellar_delete_by_pattern.") \
    X(BLOOM_REJECT, "cellar_bloom_rejects_total", "", "", ONE, \
      "Lookups rejected by a Bloom filter.") \
    X(BLOOM_AUDIT, "cellar_bloom_check_loads_total", "", "", ONE, \
      "Loads of rejected keys that check a Bloom filter.") \
    X(BLOOM_WOULD_ERR, "cellar_bloom_unknown_keys_found_total", "", "", ONE, \
      "Values found for keys that a Bloom filter would reject.") \
    X(BLOOM_DOUBT, "cellar_bloom_doubts_total", "", "", ONE, \
      "Times a Bloom filter lost its authority.") \
    X(UPDATE_RETRY, "cellar_update_retries_total", "", "", ONE, \
      "Repeated runs of update functions after a concurrent change.") \
    X(LOAD, "cellar_loads_total", "", "", ONE, "Loader calls.") \
    X(LOAD_FAILED, "cellar_load_failures_total", "", "", ONE, "Loads without a result.") \
    X(LOAD_JOINED, "cellar_loads_joined_total", "", "", ONE, \
      "Gets answered by the load of another call.") \
    X(LOAD_NOT_STORED, "cellar_loads_not_stored_total", "", "", ONE, \
      "Loaded results delivered but not stored.") \
    X(LOAD_TAKEOVER, "cellar_load_takeovers_total", "", "", ONE, \
      "Loads handed over because their leader was lost or late.") \
    X(LOAD_TIMEOUT, "cellar_load_timeouts_total", "", "", ONE, \
      "Timed-out waits for the load of another call.") \
    X(LOAD_CYCLE, "cellar_load_deadlocks_total", "", "", ONE, \
      "Waits for a load refused because they would deadlock.") \
    X(LOAD_INSTEAD, "cellar_load_fallbacks_total", "", "", ONE, \
      "Loads answered by a fallback or a default value.") \
    X(LOAD_COST, "cellar_load_cost_us_total", "", "", ONE, \
      "Cost of loaded values as loaders report it, else their load time.") \
    X(LOAD_NS, "cellar_load_seconds_total", "", "", NS, "Time spent in loaders.") \
    X(REFRESH, "cellar_refreshes_total", "", "", ONE, "Background loads.") \
    X(REFRESH_DROPPED, "cellar_refreshes_dropped_total", "", "", ONE, \
      "Background loads dropped because the queue was full.")

/* Counters of the store: the same columns. */
#define STATS_STORE_COUNTERS(X) \
    X(LIMIT_PINS, "cellar_limit_reached_total", "limit", "pins", ONE, \
      "Calls rejected by a fixed limit.") \
    X(LIMIT_NAMESPACES, "cellar_limit_reached_total", "limit", "namespaces", ONE, \
      "Calls rejected by a fixed limit.") \
    X(LIMIT_LISTENERS, "cellar_limit_reached_total", "limit", "listeners", ONE, \
      "Calls rejected by a fixed limit.") \
    X(LIMIT_RETRIES, "cellar_limit_reached_total", "limit", "retries", ONE, \
      "Calls rejected by a fixed limit.") \
    X(LIMIT_FLIGHTS, "cellar_limit_reached_total", "limit", "loads", ONE, \
      "Calls rejected by a fixed limit.") \
    X(LIMIT_WAITERS, "cellar_limit_reached_total", "limit", "waiters", ONE, \
      "Calls rejected by a fixed limit.") \
    X(LIMIT_DEPTH, "cellar_limit_reached_total", "limit", "load_depth", ONE, \
      "Calls rejected by a fixed limit.") \
    X(LIMIT_DEPS, "cellar_limit_reached_total", "limit", "dependencies", ONE, \
      "Calls rejected by a fixed limit.") \
    X(TAG_DELETE, "cellar_tag_invalidations_total", "", "", ONE, "Calls of cellar_delete_by_tag.") \
    X(TAG_FOLD, "cellar_tag_folds_total", "", "", ONE, \
      "Times the table of invalidated tags was folded, with older tagged entries.") \
    X(BREAKER_OPENED, "cellar_breaker_opens_total", "", "", ONE, \
      "Times a circuit breaker opened.") \
    X(BREAKER_REJECT, "cellar_breaker_rejects_total", "", "", ONE, \
      "Calls rejected by an open circuit breaker.") \
    X(LISTENER_CALL, "cellar_listener_calls_total", "", "", ONE, \
      "Entries announced to listeners.") \
    X(LISTENER_SKIPPED, "cellar_listener_skipped_total", "", "", ONE, \
      "Entries not announced because listeners were nested too deeply.") \
    X(TICK, "cellar_ticks_total", "", "", ONE, "Rounds of background work.") \
    X(TICK_NS, "cellar_tick_seconds_total", "", "", NS, "Time spent in background work.") \
    X(CLOSED_CALL, "cellar_closed_calls_total", "", "", ONE, \
      "Calls on a namespace of a closed store.") \
    X(L2_KEPT_OUT, "cellar_l2_kept_out_total", "", "", ONE, \
      "Evicted entries of namespaces excluded from the disk tier.") \
    X(L2_NOT_THROUGH, "cellar_l2_not_through_total", "", "", ONE, \
      "Write-through and durable changes that the disk failed to store.")

/* Figures that other floors keep under their own locks; the caller of the writers passes them: id,
 * family, counter or gauge, unit, help. Not here: bytes, budget, peak, bytes by module and refused
 * charges are read from the budget; the hit ratio is computed. */
#define STATS_GIVEN(X) \
    X(ENTRIES, "cellar_entries", gauge, ONE, \
      "Entries in memory, including dead ones not yet reclaimed.") \
    X(NAMESPACES, "cellar_namespaces", gauge, ONE, "Open namespaces.") \
    X(SEGMENTS, "cellar_l1_segments", gauge, ONE, "Segments of the log.") \
    X(SEGMENTS_FREE, "cellar_l1_free_segments", gauge, ONE, "Free segments of the log.") \
    X(SEGMENTS_PARKED, "cellar_l1_parked_segments", gauge, ONE, \
      "Emptied segments still referenced by a pin.") \
    X(BUCKETS, "cellar_l1_buckets", gauge, ONE, "Index buckets without overflow buckets.") \
    X(OVERFLOW, "cellar_l1_overflow_buckets", gauge, ONE, "Overflow buckets in use.") \
    X(BIG_BLOCKS, "cellar_l1_big_values", gauge, ONE, "Values outside the log.") \
    X(RETIRED, "cellar_l1_retire_bytes", gauge, BYTES, \
      "Bytes of removed values that readers may still see.") \
    X(INSERTED, "cellar_l1_inserts_total", counter, ONE, "Records appended to the log.") \
    X(EVICTED, "cellar_l1_evicted_total", counter, ONE, "Records evicted to make room.") \
    X(EXPIRED, "cellar_l1_expired_total", counter, ONE, "Expired records reclaimed.") \
    X(CLEARED, "cellar_l1_cleared_total", counter, ONE, \
      "Records of cleared namespaces reclaimed.") \
    X(KEPT, "cellar_l1_kept_total", counter, ONE, "Records kept under the eviction cursor.") \
    X(FORCED, "cellar_l1_forced_evictions_total", counter, ONE, \
      "Records evicted regardless of their use, to bound the search.") \
    X(RULE, "cellar_l1_rule", gauge, ONE, \
      "Number of the eviction rule in force under the adaptive policy.") \
    X(RULE_SWITCHES, "cellar_l1_rule_switches_total", counter, ONE, \
      "Changes of the eviction rule.") \
    X(SHADOW_DROPPED, "cellar_shadow_dropped_total", counter, ONE, \
      "Sampled requests dropped because all shadow caches were busy.") \
    X(GHOST_HITS, "cellar_l1_ghost_hits_total", counter, ONE, \
      "Writes of recently evicted keys.") \
    X(SPLITS, "cellar_l1_splits_total", counter, ONE, "Index buckets split.") \
    X(MERGES, "cellar_l1_merges_total", counter, ONE, "Index buckets merged.") \
    X(NO_SPACE, "cellar_l1_no_space_total", counter, ONE, "Writes that found no room.") \
    X(CHAIN_FULL, "cellar_l1_chain_full_total", counter, ONE, \
      "Writes refused because a bucket chain was at its limit.") \
    X(PIN_LIMIT, "cellar_l1_pin_limit_total", counter, ONE, \
      "Pins refused because all slots were in use.") \
    X(LOCKED_READS, "cellar_l1_locked_reads_total", counter, ONE, \
      "Reads that took a bucket lock after optimistic tries.") \
    X(PARKED, "cellar_l1_parked_total", counter, ONE, "Segments set aside because of a pin.") \
    X(ABSENT, "cellar_absent_entries", gauge, ONE, \
      "Entries without value: negative entries and remembered errors.") \
    X(ABSENT_BYTES, "cellar_absent_bytes", gauge, BYTES, \
      "Bytes of entries without value.") \
    X(ABSENT_REFUSED, "cellar_absent_rejected_total", counter, ONE, \
      "Entries without value refused because their share was used up.") \
    X(DEPS_EDGES, "cellar_dependencies", gauge, ONE, \
      "Keys and namespaces on which loaded values depend.") \
    X(L2_BYTES, "cellar_l2_file_bytes", gauge, BYTES, "Bytes of the files of the disk tier.") \
    X(L2_ENTRIES, "cellar_l2_entries", gauge, ONE, "Entries in the index of the disk tier.") \
    X(L2_SEGMENTS, "cellar_l2_segments", gauge, ONE, "Segments on disk that hold records.") \
    X(L2_WARMING, "cellar_l2_index_rebuilding", gauge, ONE, \
      "1 while the index is rebuilt after an open, else 0.") \
    X(L2_READS, "cellar_l2_reads_total", counter, ONE, "Lookups in the disk tier.") \
    X(L2_HITS, "cellar_l2_hits_total", counter, ONE, "Lookups answered by the disk tier.") \
    X(L2_DAMAGE, "cellar_l2_damage_total", counter, ONE, "Damaged records found on disk.") \
    X(L2_ERRORS, "cellar_l2_errors_total", counter, ONE, "Failed calls to the disk.") \
    X(L2_PUTS, "cellar_l2_puts_total", counter, ONE, "Entries offered to the disk tier.") \
    X(L2_PUT_BYTES, "cellar_l2_put_bytes_total", counter, BYTES, \
      "Bytes of entries written to disk.") \
    X(L2_DROPPED, "cellar_l2_dropped_total", counter, ONE, \
      "Entries not written to disk: no room.") \
    X(L2_REFUSED, "cellar_l2_rejected_total", counter, ONE, "Entries rejected by disk admission.") \
    X(L2_REFUSED_SIZE, "cellar_l2_rejected_size_total", counter, ONE, \
      "Rejected entries larger than half a segment of the disk tier.") \
    X(L2_REFUSED_TTL, "cellar_l2_rejected_ttl_total", counter, ONE, \
      "Rejected entries with too little time to live left.") \
    X(L2_REFUSED_UNUSED, "cellar_l2_rejected_unused_total", counter, ONE, \
      "Rejected entries without a hit, evicted for the first time.") \
    X(L2_REFUSED_BUDGET, "cellar_l2_rejected_budget_total", counter, ONE, \
      "Rejected entries beyond the write budget of the second or the day.") \
    X(L2_REFUSED_CHANGED, "cellar_l2_rejected_changed_total", counter, ONE, \
      "Rejected entries that changed during their eviction.") \
    X(L2_REFUSED_SEAL, "cellar_l2_rejected_seal_total", counter, ONE, \
      "Rejected entries that the cipher failed to encrypt.") \
    X(L2_UNOPENED, "cellar_l2_unopened_total", counter, ONE, \
      "Lookups of entries that the present cipher setting cannot decrypt.") \
    X(L2_CUTS, "cellar_l2_cuts_total", counter, ONE, \
      "Times a mapped file was truncated; the disk tier is off until the next open.") \
    X(L2_REREADS, "cellar_l2_rereads_total", counter, ONE, \
      "Damaged records read again, past the page cache.") \
    X(L2_MAPPED_READS, "cellar_l2_mapped_reads_total", counter, ONE, \
      "Lookups answered from a mapping of the data file (l2_mmap_read).") \
    X(L2_MAPPED_BYTES, "cellar_l2_mapped_bytes", gauge, BYTES, \
      "Bytes of the mapping of the data file; 0 after a failure until the next open.") \
    X(L2_OPENED, "cellar_l2_opened", gauge, ONE, \
      "Origin of the disk index at this open: 0 empty store, 1 snapshot of the close; rebuilt: " \
      "2 no clean close, or a copy, 3 no snapshot, 4 snapshot does not fit; 5 old contents " \
      "discarded (power cut, or copy of a store in use).") \
    X(L2_SET_ASIDE, "cellar_l2_set_aside", gauge, ONE, \
      "1 if this open renamed a damaged directory (l2_on_bad), else 0.") \
    X(L2_PACKED, "cellar_l2_packed_total", counter, ONE, \
      "Entries written to disk compressed (l2_lz4).") \
    X(L2_PACKED_SAVED, "cellar_l2_packed_saved_bytes_total", counter, BYTES, \
      "Bytes saved by compression.") \
    X(L2_UNPACKED, "cellar_l2_unpackable_total", counter, ONE, \
      "Lookups of compressed entries that cannot be decompressed.") \
    X(L2_BYTES_TODAY, "cellar_l2_today_bytes", gauge, BYTES, \
      "Bytes of entries written since midnight UTC, with a daily budget.") \
    X(L2_IDENTICAL, "cellar_l2_identical_total", counter, ONE, \
      "Entries not written because unchanged on disk.") \
    X(L2_ENDED, "cellar_l2_invalidated_total", counter, ONE, \
      "Lookups that found an entry invalidated by tag or pattern.") \
    X(L2_TAGS, "cellar_l2_tags", gauge, ONE, "Invalidated tags that entries on disk may carry.") \
    X(L2_GLOBS, "cellar_l2_patterns", gauge, ONE, "Deleted patterns that keys on disk may match.") \
    X(L2_FOLDS, "cellar_l2_folds_total", counter, ONE, \
      "Times old entries were invalidated: too many tags or patterns.") \
    X(L2_KILLS, "cellar_l2_changes_total", counter, ONE, \
      "Changes of keys that the disk may hold.") \
    X(L2_TOMBSTONES, "cellar_l2_tombstones_total", counter, ONE, "Changes logged as tombstones.") \
    X(L2_SEALED_BYTES, "cellar_l2_sealed_bytes_total", counter, BYTES, \
      "Bytes of segments written to the data file.") \
    X(L2_RECLAIMED, "cellar_l2_reclaimed_total", counter, ONE, "Segments reclaimed for new ones.") \
    X(L2_EMPTIED, "cellar_l2_emptied_total", counter, ONE, \
      "Times the disk tier was emptied: no room for a delete, or a failed sync.") \
    X(L2_HOLES, "cellar_l2_holes_total", counter, ONE, \
      "Unreadable stretches of the log on disk.") \
    X(L2_INDEX_FULL, "cellar_l2_index_full_total", counter, ONE, \
      "Entries on disk without room in the index.") \
    X(L2_OFF, "cellar_l2_off", gauge, ONE, \
      "State of the disk tier: 0 on, 1 off after disk errors, 2 off until the next open.") \
    X(L2_BREAKER, "cellar_l2_breaker_state", gauge, ONE, \
      "Circuit breaker of the disk tier: 0 closed, 1 open, 2 half-open.") \
    X(L2_OFFS, "cellar_l2_offs_total", counter, ONE, "Times the disk tier was switched off.") \
    X(L2_CLOSINGS, "cellar_l2_closings_total", counter, ONE, \
      "Times the disk tier was emptied because a delete timed out.") \
    X(L2_STALLED, "cellar_l2_stalled_total", counter, ONE, \
      "Entries not written because the disk did not respond.") \
    X(L2_WAITS, "cellar_l2_waits_total", counter, ONE, "Deletes that waited for the disk.") \
    X(L2_COMMITS, "cellar_l2_commits_total", counter, ONE, "Syncs that changes waited for.")

/* Present figures of a namespace, which the source passes; a namespace without a figure has no
 * line: id, family, label name and value, kind, unit, help. */
#define STATS_NAMESPACE_GIVEN(X) \
    X(QUOTA_ENTRIES, "cellar_quota_entries", "", "", gauge, ONE, \
      "Entries of a namespace with a quota.") \
    X(QUOTA_BYTES, "cellar_quota_bytes", "", "", gauge, BYTES, \
      "Bytes of a namespace with a quota.") \
    X(QUOTA_FLOOR, "cellar_quota_floor_bytes", "", "", gauge, BYTES, \
      "Guaranteed bytes of a namespace with a quota.") \
    X(QUOTA_CEILING, "cellar_quota_ceiling_bytes", "", "", gauge, BYTES, \
      "Maximum bytes of a namespace with a quota; absent without a maximum.") \
    X(QUOTA_BORROWED, "cellar_quota_borrowed_bytes", "", "", gauge, BYTES, \
      "Bytes of a namespace above its guaranteed share.") \
    X(QUOTA_BREACHES, "cellar_quota_breaches_total", "", "", counter, ONE, \
      "Entries evicted from a namespace within its guaranteed share.") \
    X(BREAKER, "cellar_breaker_state", "", "", gauge, ONE, \
      "Circuit breaker of the loads: 0 closed, 1 open, 2 half-open.") \
    X(SAVED_NS, "cellar_saved_seconds", "", "", gauge, NS, \
      "Estimated load time saved: answered gets times the mean time of a load.") \
    X(SAVED_COST, "cellar_saved_cost", "", "", gauge, PPM, \
      "Estimated load cost saved, in millions of the loaders' unit.") \
    X(ADVICE_025, "cellar_advisor_hit_ratio", "scale", "0.25", gauge, PPM, \
      "Expected hit ratio at a multiple (scale) of the budget.") \
    X(ADVICE_050, "cellar_advisor_hit_ratio", "scale", "0.5", gauge, PPM, "") \
    X(ADVICE_071, "cellar_advisor_hit_ratio", "scale", "0.71", gauge, PPM, "") \
    X(ADVICE_100, "cellar_advisor_hit_ratio", "scale", "1", gauge, PPM, "") \
    X(ADVICE_141, "cellar_advisor_hit_ratio", "scale", "1.41", gauge, PPM, "") \
    X(ADVICE_200, "cellar_advisor_hit_ratio", "scale", "2", gauge, PPM, "") \
    X(ADVICE_400, "cellar_advisor_hit_ratio", "scale", "4", gauge, PPM, "") \
    X(ADVICE_800, "cellar_advisor_hit_ratio", "scale", "8", gauge, PPM, "")

/* Figures of a table of keyed locks, which belongs to no store and is kept by src/lock: id, family,
 * label name and value ("" for none), kind, unit, help. */
#define STATS_LOCKS(X) \
    X(ACQUIRED, "cellar_locks_acquired_total", "", "", counter, ONE, "Locks acquired.") \
    X(HANDED_OVER, "cellar_locks_handed_over_total", "", "", counter, ONE, \
      "Locks passed on to a waiter.") \
    X(WAIT, "cellar_locks_waits_total", "", "", counter, ONE, "Calls that waited.") \
    X(TIMEOUT, "cellar_locks_failed_total", "reason", "timeout", counter, ONE, \
      "Acquisitions that failed, by reason.") \
    X(BUSY, "cellar_locks_failed_total", "reason", "busy", counter, ONE, \
      "Acquisitions that failed, by reason.") \
    X(DEADLOCK, "cellar_locks_failed_total", "reason", "deadlock", counter, ONE, \
      "Acquisitions that failed, by reason.") \
    X(REJECTED_LIMIT, "cellar_locks_failed_total", "reason", "limit", counter, ONE, \
      "Acquisitions that failed, by reason.") \
    X(REJECTED_MEMORY, "cellar_locks_failed_total", "reason", "memory", counter, ONE, \
      "Acquisitions that failed, by reason.") \
    X(EXPIRED, "cellar_locks_lost_total", "cause", "expired", counter, ONE, \
      "Locks lost while held, by cause.") \
    X(OWNER_DIED, "cellar_locks_lost_total", "cause", "owner_died", counter, ONE, \
      "Locks lost while held, by cause.") \
    X(LOST, "cellar_locks_rejected_handles_total", "reason", "lost", counter, ONE, \
      "Rejected releases and extends, by reason.") \
    X(NOT_OWNER, "cellar_locks_rejected_handles_total", "reason", "not_owner", counter, ONE, \
      "Rejected releases and extends, by reason.") \
    X(RECORDS, "cellar_locks_keys", "", "", gauge, ONE, "Keys in the table.") \
    X(HELD, "cellar_locks_held", "", "", gauge, ONE, "Keys held.") \
    X(WAITING, "cellar_locks_waiting", "", "", gauge, ONE, "Threads that wait for a key.") \
    X(BYTES, "cellar_locks_bytes", "", "", gauge, BYTES, "Bytes charged to the table.") \
    X(FENCE, "cellar_locks_fence", "", "", gauge, ONE, "Upper bound of all fences so far.")

/* Timed operations: id, name, 1 if sampled (family cellar_op_sampled_seconds), 0 if all are
 * timed. */
#define STATS_OPS(X) \
    X(GET_HIT, "get_hit", 1) X(GET_MISS, "get_miss", 1) X(SET, "set", 1) X(DELETE, "delete", 1) \
    X(TICK, "tick", 0)

typedef enum stats_id {
#define STATS_X(id, family, label, value, unit, help) STATS_##id,
    STATS_NAMESPACE_COUNTERS(STATS_X) STATS_NAMESPACE_COUNT,
    STATS_FIRST_STORE_ = STATS_NAMESPACE_COUNT - 1, /* the next line continues from here */
    STATS_STORE_COUNTERS(STATS_X) STATS_COUNT
#undef STATS_X
} stats_id;
#define STATS_STORE_COUNT (STATS_COUNT - STATS_NAMESPACE_COUNT)

typedef enum stats_given {
#define STATS_X(id, family, kind, unit, help) STATS_GIVEN_##id,
    STATS_GIVEN(STATS_X) STATS_GIVEN_COUNT
#undef STATS_X
} stats_given;

typedef enum stats_namespace_given {
#define STATS_X(id, family, label, value, kind, unit, help) STATS_NAMESPACE_##id,
    STATS_NAMESPACE_GIVEN(STATS_X) STATS_NAMESPACE_GIVEN_COUNT
#undef STATS_X
} stats_namespace_given;

typedef enum stats_op {
#define STATS_X(id, name, sampled) STATS_OP_##id,
    STATS_OPS(STATS_X) STATS_OP_COUNT
#undef STATS_X
} stats_op;

typedef enum stats_lock {
#define STATS_X(id, family, label, value, kind, unit, help) STATS_LOCK_##id,
    STATS_LOCKS(STATS_X) STATS_LOCK_COUNT
#undef STATS_X
} stats_lock;

#define STATS_SLOTS_MAX 4096u /* namespace slots of a store */
#define STATS_NEAR_SLOTS 8u   /* slots found without a page */
#define STATS_FAR_SLOTS 256u  /* slots per page */
#define STATS_FAR_PAGES (STATS_SLOTS_MAX / STATS_FAR_SLOTS)
#define STATS_NEAR_ROWS 64u   /* thread indexes found without a page */
#define STATS_ROW_PAGES (BASE_THREAD_MAX / STATS_NEAR_ROWS)

/* Counters of one thread for one namespace, or of all threads without a block (shared). Starts at a
 * multiple of BASE_PAD, so two threads never write one line. Lives as long as the stats. */
typedef struct stats_block {
    void *raw;       /* block of base_alloc */
    uint32_t shared; /* 1: many threads add atomically; constant */
    uint32_t reserved;
    /* relaxed; written by the owner, read by any thread */
    _Atomic uint64_t cell[STATS_NAMESPACE_COUNT];
} stats_block;

typedef struct stats_page { /* blocks of 256 more slots */
    stats_block *_Atomic slot[STATS_FAR_SLOTS];
} stats_page;

/* All counters of one thread index. Row 0 is the shared row. */
typedef struct stats_row {
    void *raw;
    uint32_t shared;
    uint32_t reserved;
    stats_block *_Atomic near[STATS_NEAR_SLOTS]; /* release by the owner, acquire by readers */
    stats_page *_Atomic far[STATS_FAR_PAGES];    /* slots from STATS_NEAR_SLOTS on */
    _Atomic uint64_t cell[STATS_STORE_COUNT];    /* counters of the store */
} stats_row;

typedef struct stats_hist stats_hist;

typedef struct stats_row_page {
    stats_row *_Atomic row[STATS_NEAR_ROWS];
} stats_row_page;

typedef struct stats {
    base_account *account;             /* borrowed; outlives this struct */
    uint64_t id;                       /* unique in the process; a multiple of 4,096 */
    stats_row *_Atomic near[STATS_NEAR_ROWS]; /* rows of thread indexes 0..63; [0] is never NULL */
    stats_row_page *_Atomic far[STATS_ROW_PAGES]; /* other rows, 64 per page; [0] stays NULL */
    _Atomic uint64_t asking[BASE_THREAD_MAX / 64]; /* bit: this index is inside an allocation */
    _Atomic uint32_t row_top;          /* rows of indexes >= this do not exist */
    _Atomic uint32_t slot_top;         /* slots >= this were never opened */
    _Atomic uint32_t denied;           /* allocations refused since the last success */
    _Atomic uint32_t calls_denied;     /* calls of stats_ask since then */
    uint32_t stripes;                  /* of histograms; power of two; constant */
    stats_hist *_Atomic hist[STATS_OP_COUNT][8]; /* [op][stripe]; NULL until first used */
} stats;

/* Make the counters of a store and open slot 0. Charge to module STATS of `account`. NULL:
 * refused. */
CELLAR_PRIVATE stats *stats_create(base_account *account);
CELLAR_PRIVATE void stats_destroy(stats *st); /* NULL accepted; no thread may count during it */
/* Reset, in a forked child, the state of other threads that were allocating. Call before
 * counting. */
CELLAR_PRIVATE void stats_forked(stats *st);

/* Open `slot` for a namespace. Its figures start at 0; those of a former namespace stay in the
 * totals. False: refused, nothing changed. Hold no ranked lock. */
CELLAR_PRIVATE bool stats_slot_open(stats *st, uint32_t slot);

CELLAR_PRIVATE stats_block *stats_mine_slow(stats *st, uint32_t slot);

/* Return the block of this thread for an open slot, never NULL. The first call of a thread
 * allocates: hold no ranked lock. If the allocation is refused return the shared block; later calls
 * try again. */
BASE_INLINE stats_block *stats_mine(stats *st, uint32_t slot)
{
    const base_thread_record *self = base_thread_self();
    if (BASE_LIKELY(self->mine_tag == (st->id | slot))) { return (stats_block *)self->mine; }
    return stats_mine_slow(st, slot);
}

/* Return the key under which a thread remembers its block of an open slot, for stats_add_mine. */
BASE_INLINE uint64_t stats_tag(const stats *st, uint32_t slot) { return st->id | slot; }
/* Add to a counter of the namespace of `tag`, with the record of the calling thread. */
BASE_ALWAYS_INLINE void stats_add_mine(stats *st, uint64_t tag, const base_thread_record *self,
                                       stats_id id, uint64_t n);

/* Return the block of this thread if it exists, else the shared block. Never allocates; any lock
 * may be held. */
CELLAR_PRIVATE stats_block *stats_held(const stats *st, uint32_t slot);

/* Add to a counter of a namespace. */
BASE_INLINE void stats_add(stats_block *block, stats_id id, uint64_t n)
{
    BASE_ASSERT(id < STATS_NAMESPACE_COUNT);
    if (BASE_UNLIKELY(block->shared)) {
        (void)base_add_rlx(&block->cell[id], n);
    } else {
        base_store_rlx(&block->cell[id], base_load_rlx(&block->cell[id]) + n);
    }
}

BASE_ALWAYS_INLINE void stats_add_mine(stats *st, uint64_t tag, const base_thread_record *self,
                                       stats_id id, uint64_t n)
{
    BASE_ASSERT(id < STATS_NAMESPACE_COUNT);
    if (BASE_LIKELY(self->mine_tag == tag)) { /* `mine` is never a shared block: stats_mine_slow */
        _Atomic uint64_t *cell = &((stats_block *)self->mine)->cell[id];
        base_store_rlx(cell, base_load_rlx(cell) + n);
    } else {
        stats_add(stats_mine_slow(st, (uint32_t)tag & (STATS_SLOTS_MAX - 1)), id, n);
    }
}

/* Count one removed entry. cause: CELLAR_CAUSE_... 1..10; other causes are not counted here. */
BASE_INLINE void stats_add_end(stats_block *block, unsigned cause)
{
    if (cause < 1 || cause > STATS_EVICT_NEGATIVE - STATS_EVICT_EXPIRED + 1) { return; }
    stats_add(block, (stats_id)(STATS_EVICT_EXPIRED + (int)cause - 1), 1);
}

/* Add to a counter of the store. Never allocates; any lock may be held. */
CELLAR_PRIVATE void stats_count(stats *st, stats_id id, uint64_t n);

/* ---- reading: no lock, any thread; exact while no thread counts ---- */
CELLAR_PRIVATE uint64_t stats_read(const stats *st, uint32_t slot, stats_id id); /* of a slot */
CELLAR_PRIVATE void stats_read_slot(const stats *st, uint32_t slot,
                                    uint64_t out[STATS_NAMESPACE_COUNT]);
/* Sum the counters of all namespaces, dropped ones included. */
CELLAR_PRIVATE void stats_read_all(const stats *st, uint64_t out[STATS_NAMESPACE_COUNT]);
CELLAR_PRIVATE uint64_t stats_read_store(const stats *st, stats_id id);
BASE_INLINE uint64_t stats_gets(const uint64_t namespace[STATS_NAMESPACE_COUNT])
{
    return namespace[STATS_HIT_L1] + namespace[STATS_HIT_L2] + namespace[STATS_STALE] +
           namespace[STATS_NEGATIVE] + namespace[STATS_MISS];
}
/* Return the share of answered gets in millionths; 0 without gets. */
CELLAR_PRIVATE uint64_t stats_hit_ppm(const uint64_t namespace[STATS_NAMESPACE_COUNT]);

/* ---- histograms ---- */
#define STATS_BUCKETS 528u /* 16 of 1 ns, then 32 octaves of 16 */

CELLAR_PRIVATE uint32_t stats_sample_redraw(base_thread_record *self);

/* Return whether this call is sampled: one in 64 on average, the distance drawn from 1..127. */
BASE_INLINE bool stats_sample(base_thread_record *self)
{
    if (BASE_LIKELY(self->countdown > 1)) {
        self->countdown--;
        return false;
    }
    return stats_sample_redraw(self) != 0;
}

/* Record that `op` took `ns`. The first use allocates: hold no ranked lock. */
CELLAR_PRIVATE void stats_time(stats *st, stats_op op, uint64_t ns);

typedef struct stats_times {
    uint64_t count, sum_ns, max_ns; /* max is exact */
    uint64_t p50_ns, p90_ns, p99_ns, p999_ns; /* upper ends of buckets: within 6.25 % */
    bool saturated; /* a bucket reached 2^32 - 1 and stays there */
    bool sampled;
} stats_times;
CELLAR_PRIVATE void stats_read_times(const stats *st, stats_op op, stats_times *out);
/* Return the smallest bucket end that at least `ppm` millionths of the times do not exceed; 0
 * without times. */
CELLAR_PRIVATE uint64_t stats_quantile(const stats *st, stats_op op, uint64_t ppm);
/* Count the times <= limit_ns. limit_ns + 1 must be the lower end of a bucket: a power of two from
 * 16 on. */
CELLAR_PRIVATE uint64_t stats_times_below(const stats *st, stats_op op, uint64_t limit_ns);

/* ---- text ---- */
#define STATS_STORE_SLOT UINT32_MAX /* slot number for the whole store */

#ifndef CELLAR_OMIT_TEXT
#define STATS_NAMESPACES_SHOWN 256u /* of more namespaces: the 255 with most gets, and "other" */

typedef struct stats_namespace_name {
    const char *bytes; /* valid during the call of the writer */
    size_t len;
} stats_namespace_name;

typedef struct stats_source {
    /* Return the name of the namespace in `slot`; false: the slot is free. May be called several
     * times per slot. Takes no lock that the caller of the writer holds. */
    bool (*namespace_name)(void *ctx, uint32_t slot, stats_namespace_name *out);
    /* Store the known figures first..last - 1 of the namespace in `slot` and return them as bits
     * 0.. (bit 0 = first). Locks as in namespace_name. NULL: no figures. */
    uint32_t (*namespace_given)(void *ctx, uint32_t slot, int first, int last, uint64_t *out);
    void *ctx;
    uint64_t given[STATS_GIVEN_COUNT]; /* present values */
} stats_source;

/* Write all metrics as Prometheus text 0.0.4, or as JSON. Write at most `cap` bytes, the last of
 * them 0. Return the length of the whole text without that 0, like snprintf. No allocation, no
 * lock, no locale. */
CELLAR_PRIVATE size_t stats_write_prometheus(const stats *st, const stats_source *from, char *buf,
                                             size_t cap);
BASE_SPARE CELLAR_PRIVATE size_t stats_write_json(const stats *st, const stats_source *from,
                                                  char *buf, size_t cap);
/* Write the figures of a table of locks as Prometheus text, each with the label table="name". */
CELLAR_PRIVATE size_t stats_write_locks(const char *name, const uint64_t value[STATS_LOCK_COUNT],
                                        char *buf, size_t cap);
#endif

#endif
