/* SPDX-License-Identifier: MIT
 *
 * metrics: the table of all figures, one line each.
 *
 * COLUMNS    id (or a field of a struct), family, label ("" for none), where it is shown:
 *                METRIC("help")   in the metrics: an operator acts on it
 *                DUMP             in the dump only
 *                SAME             as the line above it, with its family
 *            A family that ends in _total is a counter, any other a gauge. The figures of a family
 *            with _seconds are nanoseconds, written as seconds. Those of one that ends in _ratio
 *            are millionths, written as a share of 1.
 * INVARIANTS Enums, storage, texts and tests are made from these lists. The list of a kind of
 *            objects has the order of its public struct: one array of numbers fills the struct and
 *            the lines (stats_service in text.h). */
#ifndef STATS_METRICS_H
#define STATS_METRICS_H

/* Counters of a namespace. The outcomes of a get come first: they share the first cache line of a
 * block with its header. EVICT_* are in the order of CELLAR_CAUSES. The second column is the field
 * of cellar_stats that has the counter (store/stat.c). */
#define STATS_NAMESPACE_COUNTERS(X) \
    X(HIT_L1, FIELD(hits_l1), "cellar_hits_total", "tier=l1", \
      METRIC("Gets answered with a live value.")) \
    X(HIT_L2, FIELD(hits_l2), "", "tier=l2", SAME) \
    X(STALE, FIELD(stale_hits), "cellar_stale_hits_total", "", \
      METRIC("Gets answered with an allowed stale value.")) \
    X(NEGATIVE, FIELD(negative_hits), "cellar_negative_hits_total", "", \
      METRIC("Gets answered with a negative entry.")) \
    X(MISS, FIELD(misses), "cellar_misses_total", "", METRIC("Gets without a usable entry.")) \
    X(SET, FIELD(sets), "cellar_sets_total", "", \
      METRIC("Values stored by sets, updates and increments.")) \
    X(DELETE, FIELD(deletes), "cellar_deletes_total", "", \
      METRIC("Entries removed by a delete.")) \
    X(STORE_ERROR, FIELD(write_errors), "cellar_write_errors_total", "", \
      METRIC("Failed writes.")) \
    X(REFUSED_SPACE, NO_FIELD, "cellar_writes_rejected_total", "reason=space", \
      METRIC("Failed writes, by reason.")) \
    X(REFUSED_TOOBIG, NO_FIELD, "", "reason=too_big", SAME) \
    X(REFUSED_NOMEM, NO_FIELD, "", "reason=no_memory", SAME) \
    X(DECODE_ERROR, FIELD(decode_errors), "cellar_decode_errors_total", "", \
      METRIC("Entries removed because they did not decode.")) \
    X(DENIED, FIELD(denied), "cellar_denied_total", "", METRIC("Writes denied by a policy.")) \
    X(CONDITION, NO_FIELD, "cellar_conditions_unmet_total", "", DUMP) \
    X(EVICT_EXPIRED, FIELD(ended[CELLAR_CAUSE_EXPIRED]), \
      "cellar_evictions_total", "cause=expired", METRIC("Entries removed, by cause.")) \
    X(EVICT_CAPACITY, FIELD(ended[CELLAR_CAUSE_EVICTED]), "", "cause=evicted", SAME) \
    X(EVICT_REPLACED, FIELD(ended[CELLAR_CAUSE_REPLACED]), "", "cause=replaced", SAME) \
    X(EVICT_DELETED, FIELD(ended[CELLAR_CAUSE_DELETED]), "", "cause=deleted", SAME) \
    X(EVICT_CLEARED, FIELD(ended[CELLAR_CAUSE_CLEARED]), "", "cause=cleared", SAME) \
    X(EVICT_BUMPED, FIELD(ended[CELLAR_CAUSE_VERSION]), "", "cause=version", SAME) \
    X(EVICT_TAG, FIELD(ended[CELLAR_CAUSE_TAG]), "", "cause=tag", SAME) \
    X(EVICT_GLOB, FIELD(ended[CELLAR_CAUSE_PATTERN]), "", "cause=pattern", SAME) \
    X(EVICT_REJECTED, FIELD(ended[CELLAR_CAUSE_REJECTED]), "", "cause=rejected", SAME) \
    X(EVICT_NEGATIVE, FIELD(ended[CELLAR_CAUSE_NEGATIVE]), "", "cause=negative", SAME) \
    X(EVICT_REMOTE, FIELD(ended[CELLAR_CAUSE_REMOTE]), "", "cause=remote", SAME) \
    X(CLASS_FALLBACK, FIELD(ttl_class_fallbacks), \
      "cellar_ttl_class_fallbacks_total", "", DUMP) \
    X(CLEAR, FIELD(clears), "cellar_clears_total", "", DUMP) /* Calls of cellar_clear. */ \
    X(BUMP, FIELD(version_changes), "cellar_version_changes_total", "", DUMP) \
    X(GLOB_DELETE, NO_FIELD, "cellar_pattern_deletes_total", "", DUMP) \
    X(BLOOM_REJECT, NO_FIELD, "cellar_bloom_rejects_total", "", \
      METRIC("Lookups rejected by a Bloom filter.")) \
    X(BLOOM_AUDIT, NO_FIELD, "cellar_bloom_check_loads_total", "", DUMP) \
    X(BLOOM_WOULD_ERR, NO_FIELD, "cellar_bloom_unknown_keys_found_total", "", DUMP) \
    X(BLOOM_DOUBT, NO_FIELD, "cellar_bloom_doubts_total", "", \
      METRIC("Times a Bloom filter lost its authority.")) \
    X(UPDATE_RETRY, NO_FIELD, "cellar_update_retries_total", "", DUMP) \
    X(LOAD, FIELD(loads), "cellar_loads_total", "", METRIC("Loader calls.")) \
    X(LOAD_FAILED, FIELD(loads_failed), "cellar_load_failures_total", "", \
      METRIC("Loads without a result.")) \
    X(LOAD_JOINED, FIELD(loads_joined), "cellar_loads_joined_total", "", \
      METRIC("Gets answered by the load of another call.")) \
    X(LOAD_NOT_STORED, FIELD(loads_not_stored), "cellar_loads_not_stored_total", "", DUMP) \
    X(LOAD_TAKEOVER, FIELD(load_takeovers), "cellar_load_takeovers_total", "", DUMP) \
    X(LOAD_TIMEOUT, FIELD(load_timeouts), "cellar_load_timeouts_total", "", \
      METRIC("Timed-out waits for the load of another call.")) \
    X(LOAD_CYCLE, FIELD(load_deadlocks), "cellar_load_deadlocks_total", "", \
      METRIC("Waits for a load refused because they would deadlock.")) \
    X(LOAD_RECURSION, FIELD(load_recursions), "cellar_load_recursions_total", "", DUMP) \
    X(LOAD_INSTEAD, FIELD(load_fallbacks), "cellar_load_fallbacks_total", "", \
      METRIC("Loads answered by a fallback or a default value.")) \
    X(LOAD_COST, NO_FIELD, "cellar_load_cost_us_total", "", DUMP) \
    X(LOAD_NS, FIELD(load_ns), "cellar_load_seconds_total", "", \
      METRIC("Time spent in loaders.")) \
    X(REFRESH, FIELD(refreshes), "cellar_refreshes_total", "", METRIC("Background loads.")) \
    X(REFRESH_DROPPED, FIELD(refreshes_dropped), "cellar_refreshes_dropped_total", "", \
      METRIC("Background loads dropped because the queue was full."))

/* Present figures of a namespace: the first two are read from the counters, the source passes the
 * others. A namespace without a figure has no line. */
#define STATS_NAMESPACE_GIVEN(X) \
    X(HIT_RATIO, "cellar_hit_ratio", "", METRIC("Share of answered gets since the start.")) \
    X(ENTRIES, "cellar_namespace_entries", "", METRIC("Entries of a namespace in memory.")) \
    X(QUOTA_ENTRIES, "cellar_quota_entries", "", DUMP) /* Entries of a namespace with a quota. */ \
    X(QUOTA_BYTES, "cellar_quota_bytes", "", METRIC("Bytes of a namespace with a quota.")) \
    X(QUOTA_CEILING, "cellar_quota_ceiling_bytes", "", \
      METRIC("Maximum bytes of a namespace with a quota.")) \
    X(BREAKER, "cellar_breaker_state", "", \
      METRIC("Circuit breaker of the loads: 0 closed, 1 open, 2 half-open.")) \
    X(SAVED_NS, "cellar_saved_seconds", "", DUMP) \
    X(SAVED_COST, "cellar_saved_cost_us", "", DUMP)

/* Counters of the store. */
#define STATS_STORE_COUNTERS(X) \
    X(LIMIT_PINS, "cellar_limit_reached_total", "limit=pins", \
      METRIC("Calls rejected by a fixed limit.")) \
    X(LIMIT_NAMESPACES, "", "limit=namespaces", SAME) \
    X(LIMIT_LISTENERS, "", "limit=listeners", SAME) \
    X(LIMIT_RETRIES, "", "limit=retries", SAME) \
    X(LIMIT_FLIGHTS, "", "limit=loads", SAME) \
    X(LIMIT_WAITERS, "", "limit=waiters", SAME) \
    X(LIMIT_DEPTH, "", "limit=load_depth", SAME) \
    X(TAG_DELETE, "cellar_tag_invalidations_total", "", DUMP) /* Calls of cellar_delete_by_tag. */ \
    X(TAG_FOLD, "cellar_tag_folds_total", "", DUMP) \
    X(BREAKER_OPENED, "cellar_breaker_opens_total", "", METRIC("Times a circuit breaker opened.")) \
    X(BREAKER_REJECT, "cellar_breaker_rejects_total", "", \
      METRIC("Calls rejected by an open circuit breaker.")) \
    X(LISTENER_CALL, "cellar_listener_calls_total", "", DUMP) \
    X(LISTENER_SKIPPED, "cellar_listener_skipped_total", "", DUMP) \
    X(TICK, "cellar_ticks_total", "", DUMP) /* Rounds of background work. */ \
    X(TICK_NS, "cellar_tick_seconds_total", "", DUMP) /* Time spent in background work. */ \
    X(CLOSED_CALL, "cellar_closed_calls_total", "", DUMP) \
    X(POLICY_LOADED, "cellar_policy_reloads_total", "result=ok", \
      METRIC("Loads of policy rules at run time, by result.")) \
    X(POLICY_REJECTED, "", "result=error", SAME) \
    X(L2_KEPT_OUT, "cellar_l2_kept_out_total", "", DUMP) \
    X(L2_NOT_THROUGH, "cellar_l2_not_through_total", "", \
      METRIC("Write-through and durable changes that the disk failed to store."))

/* Figures that other floors keep under their own locks; the caller of the writers passes them. */
#define STATS_GIVEN(X) \
    X(BYTES, "cellar_bytes", "", METRIC("Bytes charged to the budget.")) \
    X(BUDGET, "cellar_budget_bytes", "", METRIC("Budget of the store in bytes.")) \
    X(NAMESPACES, "cellar_namespaces", "", DUMP) /* Open namespaces. */ \
    X(L2_REFUSED, "cellar_l2_rejected_total", "", METRIC("Entries rejected by disk admission.")) \
    X(L2_OFF, "cellar_l2_off", "", \
      METRIC("State of the disk tier: 0 on, 1 off after disk errors, 2 off until the next open.")) \
    X(L2_BREAKER, "cellar_l2_breaker_state", "", \
      METRIC("Circuit breaker of the disk tier: 0 closed, 1 open, 2 half-open."))

/* Fields of l1_stats. */
#define STATS_GIVEN_L1(X) \
    X(entries, "cellar_entries", "", \
      METRIC("Entries in memory, including dead ones not yet reclaimed.")) \
    X(segments, "cellar_l1_segments", "", DUMP) /* Segments of the log. */ \
    X(segments_free, "cellar_l1_free_segments", "", DUMP) /* Free segments of the log. */ \
    X(segments_parked, "cellar_l1_parked_segments", "", DUMP) \
    X(buckets, "cellar_l1_buckets", "", DUMP) /* Index buckets without overflow buckets. */ \
    X(overflow_halves, "cellar_l1_overflow_halves", "", DUMP) /* Overflow half buckets in use. */ \
    X(big_blocks, "cellar_l1_big_values", "", DUMP) /* Values outside the log. */ \
    X(retired_bytes, "cellar_l1_retire_bytes", "", DUMP) \
    X(inserts, "cellar_l1_inserts_total", "", DUMP) /* Records appended to the log. */ \
    X(evicted, "cellar_l1_evicted_total", "", DUMP) /* Records evicted to make room. */ \
    X(expired, "cellar_l1_expired_total", "", DUMP) /* Expired records reclaimed. */ \
    X(cleared, "cellar_l1_cleared_total", "", DUMP) /* Records of cleared namespaces reclaimed. */ \
    X(kept, "cellar_l1_kept_total", "", DUMP) /* Records kept under the eviction cursor. */ \
    X(forced, "cellar_l1_forced_evictions_total", "", DUMP) \
    X(rule, "cellar_l1_rule", "", DUMP) \
    X(rule_switches, "cellar_l1_rule_switches_total", "", DUMP) \
    X(sample_dropped, "cellar_shadow_dropped_total", "", DUMP) \
    X(ghost_hits, "cellar_l1_ghost_hits_total", "", DUMP) /* Writes of recently evicted keys. */ \
    X(splits, "cellar_l1_splits_total", "", DUMP) /* Index buckets split. */ \
    X(merges, "cellar_l1_merges_total", "", DUMP) /* Index buckets merged. */ \
    X(no_space, "cellar_l1_no_space_total", "", DUMP) /* Writes that found no room. */ \
    X(chain_full, "cellar_l1_chain_full_total", "", DUMP) \
    X(pin_limit, "cellar_l1_pin_limit_total", "", DUMP) \
    X(fallback_reads, "cellar_l1_locked_reads_total", "", DUMP) \
    X(parked_total, "cellar_l1_parked_total", "", DUMP) /* Segments set aside because of a pin. */ \
    X(absent, "cellar_absent_entries", "", DUMP) \
    X(absent_bytes, "cellar_absent_bytes", "", DUMP) /* Bytes of entries without value. */ \
    X(absent_refused, "cellar_absent_rejected_total", "", DUMP)

/* Fields of l2_stats. */
#define STATS_GIVEN_L2(X) \
    X(file_bytes, "cellar_l2_file_bytes", "", METRIC("Bytes of the files of the disk tier.")) \
    X(entries, "cellar_l2_entries", "", METRIC("Entries in the index of the disk tier.")) \
    X(segments_live, "cellar_l2_segments", "", DUMP) /* Segments on disk that hold records. */ \
    X(gets, "cellar_l2_reads_total", "", METRIC("Lookups in the disk tier.")) \
    X(hits, "cellar_l2_hits_total", "", METRIC("Lookups answered by the disk tier.")) \
    X(miss_damage, "cellar_l2_damage_total", "", METRIC("Damaged records found on disk.")) \
    X(io_errors, "cellar_l2_errors_total", "", METRIC("Failed calls to the disk.")) \
    X(puts, "cellar_l2_puts_total", "", DUMP) /* Entries offered to the disk tier. */ \
    X(put_bytes, "cellar_l2_put_bytes_total", "", METRIC("Bytes of entries written to disk.")) \
    X(dropped, "cellar_l2_dropped_total", "", METRIC("Entries not written to disk: no room.")) \
    X(refused_size, "cellar_l2_rejected_size_total", "", DUMP) \
    X(refused_ttl, "cellar_l2_rejected_ttl_total", "", DUMP) \
    X(refused_unused, "cellar_l2_rejected_unused_total", "", DUMP) \
    X(refused_budget, "cellar_l2_rejected_budget_total", "", DUMP) \
    X(refused_stamp, "cellar_l2_rejected_changed_total", "", DUMP) \
    X(refused_seal, "cellar_l2_rejected_seal_total", "", DUMP) \
    X(miss_sealed, "cellar_l2_unopened_total", "", \
      METRIC("Lookups of entries that the present cipher setting cannot decrypt.")) \
    X(opened, "cellar_l2_opened", "", \
      METRIC("Contents that this open found: 0 none, 1 those of a close, 2 those of a kill, " \
             "3 discarded ones (power cut, or copy of a store in use).")) \
    X(set_aside, "cellar_l2_set_aside", "", \
      METRIC("1 if this open renamed a damaged directory (on_damage), else 0.")) \
    X(packed, "cellar_l2_packed_total", "", DUMP) \
    X(packed_saved, "cellar_l2_packed_saved_bytes_total", "", DUMP) \
    X(miss_packed, "cellar_l2_unpackable_total", "", DUMP) \
    X(bytes_today, "cellar_l2_today_bytes", "", DUMP) \
    X(identical, "cellar_l2_identical_total", "", DUMP) \
    X(miss_invalid, "cellar_l2_invalidated_total", "", DUMP) \
    X(tags, "cellar_l2_tags", "", DUMP) /* Invalidated tags that entries on disk may carry. */ \
    X(globs, "cellar_l2_patterns", "", DUMP) /* Deleted patterns that keys on disk may match. */ \
    X(folds, "cellar_l2_folds_total", "", DUMP) \
    X(invalidated, "cellar_l2_changes_total", "", DUMP) /* Changes of keys that disk may hold. */ \
    X(tombstones, "cellar_l2_tombstones_total", "", DUMP) /* Changes logged as tombstones. */ \
    X(sealed_bytes, "cellar_l2_sealed_bytes_total", "", DUMP) \
    X(reclaimed, "cellar_l2_reclaimed_total", "", DUMP) /* Segments reclaimed for new ones. */ \
    X(live_bytes, "cellar_l2_live_bytes", "", \
      METRIC("Bytes of live entries on disk.")) \
    X(moved, "cellar_l2_moved_total", "", DUMP) /* Live entries written again to keep them. */ \
    X(moved_bytes, "cellar_l2_moved_bytes_total", "", \
      METRIC("Bytes of live entries that were written again because their segment was needed.")) \
    X(passed_bytes, "cellar_l2_passed_bytes_total", "", \
      METRIC("Bytes that were read of segments before their room was used again.")) \
    X(emptied, "cellar_l2_emptied_total", "", \
      METRIC("Times the disk tier was emptied: too many changes in a stall, or bytes lost.")) \
    X(lost_stall, "cellar_lost_entries_total", "reason=stall", \
      METRIC("Entries on disk that were lost in bulk, an estimate, by reason.")) \
    X(lost_sync, "", "reason=sync", SAME) \
    X(lost_pattern, "", "reason=pattern", SAME) \
    X(lost_numbers, "", "reason=numbers", SAME) \
    X(lost_damage, "", "reason=damage", SAME) \
    X(lost_open, "", "reason=open", SAME) \
    X(lost_files, "", "reason=files", SAME) \
    X(lost_unread, "", "reason=unread", SAME) \
    X(lost_room, "", "reason=room", SAME) \
    X(lost_index, "", "reason=index", SAME) \
    X(holes, "cellar_l2_holes_total", "", DUMP) /* Unreadable stretches of the log on disk. */ \
    X(index_full, "cellar_l2_index_full_total", "", \
      METRIC("Entries that found no place in the index of the disk tier.")) \
    X(offs, "cellar_l2_offs_total", "", METRIC("Times the disk tier was switched off.")) \
    X(closings, "cellar_l2_closings_total", "", DUMP) \
    X(stalled, "cellar_l2_stalled_total", "", \
      METRIC("Entries not written because the disk did not respond.")) \
    X(waits, "cellar_l2_waits_total", "", DUMP) /* Deletes that waited for the disk. */ \
    X(commits, "cellar_l2_commits_total", "", DUMP) /* Syncs that changes waited for. */

/* Figures of a table of keyed locks, in the order of cellar_locks_stats. */
#define STATS_LOCKS(X) \
    X(ACQUIRED, "cellar_locks_acquired_total", "", METRIC("Locks acquired.")) \
    X(HANDED_OVER, "cellar_locks_handed_over_total", "", METRIC("Locks passed on to a waiter.")) \
    X(WAIT, "cellar_locks_waits_total", "", METRIC("Calls that waited.")) \
    X(TIMEOUT, "cellar_locks_failed_total", "reason=timeout", \
      METRIC("Acquisitions that failed, by reason.")) \
    X(BUSY, "", "reason=busy", SAME) \
    X(DEADLOCK, "", "reason=deadlock", SAME) \
    X(REJECTED_LIMIT, "", "reason=limit", SAME) \
    X(REJECTED_MEMORY, "", "reason=memory", SAME) \
    X(EXPIRED, "cellar_locks_lost_total", "cause=expired", \
      METRIC("Locks lost while held, by cause.")) \
    X(OWNER_DIED, "", "cause=owner_died", SAME) \
    X(LOST, "cellar_locks_rejected_handles_total", "reason=lost", \
      METRIC("Rejected releases and extends, by reason.")) \
    X(NOT_OWNER, "", "reason=not_owner", SAME) \
    X(RECORDS, "cellar_locks_keys", "", METRIC("Keys in the table.")) \
    X(HELD, "cellar_locks_held", "", METRIC("Keys held.")) \
    X(WAITING, "cellar_locks_waiting", "", METRIC("Threads that wait for a key.")) \
    X(BYTES, "cellar_locks_bytes", "", METRIC("Bytes charged to the table.")) \
    X(FENCE, "cellar_locks_fence", "", METRIC("Upper bound of all fences so far."))

/* Figures of the messages and signals of a pool. */
#define STATS_BUSES(X) \
    X(PUBLISHED, "cellar_bus_published_total", "", METRIC("Messages accepted.")) \
    X(UNROUTED, "cellar_bus_unrouted_total", "", METRIC("Keys that matched no route.")) \
    X(REJECTED_LIMIT, "cellar_bus_rejected_total", "", METRIC("Calls refused by a limit.")) \
    X(SIGNALS, "cellar_bus_signals_total", "", METRIC("Signals emitted.")) \
    X(SIGNAL_CALLS, "cellar_bus_signal_calls_total", "", METRIC("Calls of subscribers.")) \
    X(THREAD_ENDS, "cellar_bus_thread_ends_total", "", \
      METRIC("Subscribers that ended their thread.")) \
    X(ROUTES, "cellar_bus_routes", "", METRIC("Routes.")) \
    X(SUBSCRIBERS, "cellar_bus_subscribers", "", METRIC("Subscribers of signals."))

/* Figures of a limiter: counters, then gauges, in the order of cellar_limiter_stats without its
 * last field. */
#define STATS_LIMITERS(X) \
    X(ALLOWED, "cellar_limiter_decisions_total", "result=allowed", \
      METRIC("Decisions by result.")) \
    X(DENIED, "", "result=denied", SAME) \
    X(WOULD_DENY, "cellar_limiter_would_deny_total", "", \
      METRIC("Admissions that a dry-run rule would have denied.")) \
    X(BANNED, "cellar_limiter_banned_total", "", METRIC("Denials of banned keys.")) \
    X(LIVE_EVICTED, "cellar_limiter_overflow_total", "action=live_evicted", \
      METRIC("New keys that met a full table, by action.")) \
    X(OVERFLOW_DENIED, "", "action=denied", SAME) \
    X(OVERFLOW_ALLOWED, "", "action=allowed", SAME) \
    X(DEAD_REPLACED, "cellar_limiter_reused_total", "", \
      METRIC("Slots of keys without debt given to new keys.")) \
    X(MOVED, "cellar_limiter_moved_total", "", METRIC("Keys moved to make room.")) \
    X(CHAIN_ROLLBACKS, "cellar_limiter_chain_rollbacks_total", "", \
      METRIC("Chains charged in part and taken back.")) \
    X(PERMITS_EXPIRED, "cellar_limiter_permits_expired_total", "", \
      METRIC("Permits that ended with their hold time.")) \
    X(PERMITS_FULL, "cellar_limiter_full_total", "table=permits", \
      METRIC("Calls rejected by a full table, by table.")) \
    X(OVERRIDES_FULL, "", "table=overrides", SAME) \
    X(SNAPSHOTS_REFUSED, "cellar_limiter_snapshots_refused_total", "", \
      METRIC("Snapshots not read: damaged, or of other rules.")) \
    X(KEYS, "cellar_limiter_keys", "", METRIC("Slots in use, including keys without debt.")) \
    X(SLOTS, "cellar_limiter_slots", "", METRIC("Slots of the table.")) \
    X(BYTES, "cellar_limiter_bytes", "", METRIC("Bytes of memory of the limiter.")) \
    X(OVERRIDES, "cellar_limiter_overrides", "", \
      METRIC("Keys with a plan or ban of their own.")) \
    X(PERMITS, "cellar_limiter_permits", "", METRIC("Permits that exist."))

/* Figures of the schedules of a pool. */
#define STATS_SCHEDULES(X) \
    X(STARTED, "cellar_schedule_runs_started_total", "", METRIC("Runs that began.")) \
    X(ENDED, "cellar_schedule_runs_ended_total", "", METRIC("Runs that ended.")) \
    X(FAILED, "cellar_schedule_runs_failed_total", "", METRIC("Runs that failed.")) \
    X(TRIGGERED, "cellar_schedule_triggered_total", "", METRIC("Runs triggered by a call.")) \
    X(MISSED, "cellar_schedule_missed_total", "", \
      METRIC("Firings that a later or earlier run stood for.")) \
    X(SKIPPED_OVERLAP, "cellar_schedule_skipped_total", "reason=overlap", \
      METRIC("Firings that did not run, by reason.")) \
    X(SKIPPED_GRACE, "", "reason=grace", SAME) \
    X(SKIPPED_CHANGE, "", "reason=change", SAME) \
    X(CLOCK_STEPS, "cellar_schedule_clock_steps_total", "", \
      METRIC("Steps of the wall clock by more than a second.")) \
    X(REJECTED_LIMIT, "cellar_schedule_rejected_total", "", \
      METRIC("Schedules rejected by max_rows.")) \
    X(CONTINUED, "cellar_schedule_continued_total", "", \
      METRIC("Schedules that continued from the due time in the journal.")) \
    X(JOURNAL_ERRORS, "cellar_schedule_journal_errors_total", "", \
      METRIC("Due times that could not be written into the journal.")) \
    X(SCHEDULES, "cellar_schedule_schedules", "", METRIC("Schedules.")) \
    X(RUNNING, "cellar_schedule_running", "", METRIC("Runs that began and have not ended.")) \
    X(WAITING, "cellar_schedule_waiting", "", METRIC("Runs that wait for a thread."))

/* Figures of a port for clients of Redis, in the order of cellar_resp_stats without its last two
 * fields. */
#define STATS_PORTS(X) \
    X(CONNECTIONS, "cellar_port_connections_total", "", METRIC("Connections accepted.")) \
    X(REJECTED, "cellar_port_rejected_total", "", METRIC("Connections closed when they came.")) \
    X(COMMANDS, "cellar_port_commands_total", "", METRIC("Requests executed.")) \
    X(REFUSED, "cellar_port_refused_total", "", METRIC("Requests refused before they ran.")) \
    X(PROTOCOL_ERRORS, "cellar_port_protocol_errors_total", "", \
      METRIC("Connections closed after a broken request.")) \
    X(FOREIGN, "cellar_port_foreign_total", "", \
      METRIC("Connections closed because they spoke another protocol.")) \
    X(AUTH_FAILURES, "cellar_port_auth_failures_total", "", METRIC("Wrong passwords.")) \
    X(IDLE_CLOSED, "cellar_port_clients_closed_total", "reason=idle", \
      METRIC("Clients closed by the port, by reason.")) \
    X(OUTPUT_CLOSED, "", "reason=output", SAME) X(MEMORY_CLOSED, "", "reason=memory", SAME) \
    X(ADMIN_REQUESTS, "cellar_port_admin_requests_total", "", \
      METRIC("Requests for admin pages.")) \
    X(ACCEPT_PAUSES, "cellar_port_accept_pauses_total", "", \
      METRIC("Pauses of accept without a free descriptor.")) \
    X(MESSAGES, "cellar_port_messages_total", "", METRIC("Messages sent to subscribers.")) \
    X(SIGNALS_DROPPED, "cellar_port_signals_dropped_total", "", \
      METRIC("Signals dropped because too many waited for the port.")) \
    X(BYTES_IN, "cellar_port_received_bytes_total", "", METRIC("Bytes read from clients.")) \
    X(BYTES_OUT, "cellar_port_sent_bytes_total", "", METRIC("Bytes sent to clients.")) \
    X(CLIENTS, "cellar_port_clients", "", METRIC("Connected clients.")) \
    X(BYTES, "cellar_port_bytes", "", METRIC("Bytes of memory of requests and replies."))

/* Figures of a batcher, in the order of cellar_batcher_stats. */
#define STATS_BATCHERS(X) \
    X(ADDED, "cellar_batcher_items_added_total", "", METRIC("Items added.")) \
    X(OK, "cellar_batcher_items_ended_total", "verdict=ok", \
      METRIC("Items that ended, by verdict.")) \
    X(FAILED, "", "verdict=failed", SAME) X(REPLACED, "", "verdict=replaced", SAME) \
    X(ABANDONED, "", "verdict=abandoned", SAME) \
    X(BY_ITEMS, "cellar_batcher_flushes_total", "trigger=items", METRIC("Batches, by trigger.")) \
    X(BY_BYTES, "", "trigger=bytes", SAME) X(BY_LINGER, "", "trigger=linger", SAME) \
    X(BY_GROUPS, "", "trigger=groups", SAME) X(BY_FLUSH, "", "trigger=flush", SAME) \
    X(BY_DRAIN, "", "trigger=drain", SAME) \
    X(CALLS, "cellar_batcher_calls_total", "", METRIC("Calls of the flush function.")) \
    X(CALLS_FAILED, "cellar_batcher_calls_failed_total", "", \
      METRIC("Failed calls of the flush function.")) \
    X(SPLITS, "cellar_batcher_splits_total", "", METRIC("Failed batches that were split.")) \
    X(RETRIES, "cellar_batcher_retries_total", "", METRIC("Failed batches tried again.")) \
    X(REJECTED, "cellar_batcher_rejected_total", "", \
      METRIC("Adds refused because the batcher was full.")) \
    X(BLOCKED, "cellar_batcher_blocked_total", "", \
      METRIC("Adds that waited because the batcher was full.")) \
    X(THREAD_ENDS, "cellar_batcher_thread_ends_total", "", \
      METRIC("Functions of the program that ended their thread.")) \
    X(ITEMS, "cellar_batcher_items", "", METRIC("Items that have not ended.")) \
    X(ITEM_BYTES, "cellar_batcher_item_bytes", "", METRIC("Bytes of items that have not ended.")) \
    X(GROUPS, "cellar_batcher_groups", "", METRIC("Groups with items.")) \
    X(BYTES, "cellar_batcher_bytes", "", METRIC("Bytes of memory of the batcher."))

/* Figures of the rows of a pool, in the order of cellar_refresh_stats. */
#define STATS_REFRESHERS(X) \
    X(OK, "cellar_refresh_jobs_total", "result=ok", METRIC("Scheduled refreshes, by result.")) \
    X(FAILED, "", "result=failed", SAME) X(SKIPPED, "", "result=skipped", SAME) \
    X(SKIPPED_BREAKER, "cellar_refresh_skipped_total", "reason=breaker", \
      METRIC("Scheduled refreshes that did not run, by reason.")) \
    X(SKIPPED_LIMITER, "", "reason=limiter", SAME) X(SKIPPED_BUSY, "", "reason=busy", SAME) \
    X(SKIPPED_OFF, "", "reason=off", SAME) X(SKIPPED_IDLE, "", "reason=idle", SAME) \
    X(SKIPPED_UNCOVERED, "", "reason=uncovered", SAME) \
    X(SUCCESS_PPM, "cellar_refresh_success_ratio", "", \
      METRIC("Share of scheduled refreshes that succeeded, of those that ran.")) \
    X(NOT_STORED, "cellar_refresh_not_stored_total", "", \
      METRIC("Refreshed values that were not stored.")) \
    X(DAYS, "cellar_refresh_days_total", "", METRIC("Runs of rows at their time of day.")) \
    X(MISSED, "cellar_refresh_missed_total", "", \
      METRIC("Intervals that passed while a row still ran.")) \
    X(LISTS_FAILED, "cellar_refresh_lists_failed_total", "", METRIC("Listers that failed.")) \
    X(LATE_MS, "cellar_refresh_late_milliseconds_total", "", \
      METRIC("Time from the due time of a run to its start, of all runs.")) \
    X(LATE_MAX_MS, "cellar_refresh_late_max_milliseconds", "", \
      METRIC("Longest time from the due time of a run to its start.")) \
    X(RUNS, "cellar_refresh_runs_total", "", METRIC("Runs of rows that began.")) \
    X(SHORT_TTLS, "cellar_refresh_short_ttls_total", "", \
      METRIC("Rows added with a TTL below twice their interval.")) \
    X(THREAD_ENDS, "cellar_refresh_thread_ends_total", "", \
      METRIC("Loaders and listers that ended their thread.")) \
    X(REJECTED_LIMIT, "cellar_refresh_rejected_total", "", \
      METRIC("Rows and keys rejected by a limit.")) \
    X(CLOCK_STEPS, "cellar_refresh_clock_steps_total", "", \
      METRIC("Steps of the wall clock by more than one second.")) \
    X(ROWS, "cellar_refresh_rows", "", METRIC("Rows.")) \
    X(UNCOVERED, "cellar_refresh_uncovered", "", \
      METRIC("Rows without a loader, a lister or a key.")) \
    X(DUE, "cellar_refresh_due", "", METRIC("Rows that wait for a thread.")) \
    X(RUNNING, "cellar_refresh_running", "", METRIC("Loaders and listers that run.")) \
    X(KEYS, "cellar_refresh_keys", "", METRIC("Keys of all rows.")) \
    X(BYTES, "cellar_refresh_bytes", "", METRIC("Bytes of memory of rows and loaders."))

/* Figures of a pool of tasks, in the order of cellar_pool_stats. */
#define STATS_TASKS(X) \
    X(SUBMITTED, "cellar_tasks_submitted_total", "", METRIC("Tasks accepted.")) \
    X(REQUEUED, "cellar_tasks_requeued_total", "", METRIC("Dead letters made live again.")) \
    X(RESTORED, "cellar_tasks_restored_total", "", \
      METRIC("Tasks and dead letters restored from the journal.")) \
    X(STARTED, "cellar_task_attempts_total", "", METRIC("Attempts that began.")) \
    X(OK, "cellar_tasks_ended_total", "state=succeeded", METRIC("Ends of tasks, by state.")) \
    X(FAILED, "", "state=failed", SAME) \
    X(CANCELLED, "", "state=cancelled", SAME) \
    X(EXPIRED, "", "state=expired", SAME) \
    X(RETRIED, "cellar_task_retries_total", "", METRIC("Attempts that another one follows.")) \
    X(SNOOZED, "cellar_task_snoozes_total", "", METRIC("Attempts put off by their function.")) \
    X(DROPPED, "cellar_tasks_dropped_total", "", \
      METRIC("Tasks cancelled because pool, name or group was full.")) \
    X(FILTERED, "cellar_tasks_filtered_total", "", \
      METRIC("Messages that did not pass the filters of their group.")) \
    X(DEBOUNCED, "cellar_tasks_debounced_total", "", \
      METRIC("Submits that gave their payload to a live task.")) \
    X(TIMEOUT, "cellar_task_timeouts_total", "", \
      METRIC("Attempts past their hard time-out or hold.")) \
    X(LATE, "cellar_task_late_verdicts_total", "", \
      METRIC("Verdicts discarded because their attempt had timed out.")) \
    X(THREAD_ENDS, "cellar_task_thread_ends_total", "", \
      METRIC("Attempts that ended their thread.")) \
    X(PARKED_RATE, "cellar_tasks_parked_total", "reason=rate", \
      METRIC("Tasks parked, by reason.")) \
    X(PARKED_RUNNING, "", "reason=running", SAME) \
    X(BREAKS, "cellar_task_breaks_total", "", \
      METRIC("Pauses of names after failed attempts in a row.")) \
    X(RESULT_LOST, "cellar_task_results_lost_total", "", \
      METRIC("Results that did not fit into their namespace.")) \
    X(DEAD_DROPPED, "cellar_task_dead_removed_total", "reason=limit", \
      METRIC("Dead letters removed, by reason.")) \
    X(DEAD_PURGED, "", "reason=purge", SAME) \
    X(REJECTED_FULL, "cellar_tasks_rejected_total", "reason=full", \
      METRIC("Calls rejected by a limit of the pool, by reason.")) \
    X(REJECTED_LIMIT, "", "reason=names", SAME) \
    X(THREAD_REFUSED, "cellar_pool_threads_refused_total", "", \
      METRIC("Threads that the system did not start.")) \
    X(JOURNAL_COMMITS, "cellar_pool_journal_commits_total", "", \
      METRIC("Transactions of the journal.")) \
    X(JOURNAL_ERRORS, "cellar_pool_journal_errors_total", "", \
      METRIC("Transactions of the journal that failed.")) \
    X(LIVE, "cellar_tasks_live", "", METRIC("Tasks without a final state.")) \
    X(RUNNING, "cellar_tasks_running", "", METRIC("Tasks that run.")) \
    X(PARKED, "cellar_tasks_parked", "", \
      METRIC("Tasks that wait for a limiter, a break or max_running.")) \
    X(DEAD, "cellar_tasks_dead", "", METRIC("Dead letters.")) \
    X(UNREGISTERED, "cellar_tasks_unregistered", "", \
      METRIC("Tasks from the journal with a name that is not registered yet.")) \
    X(JOURNAL_PENDING, "cellar_pool_journal_pending", "", \
      METRIC("Changes that the journal has not committed yet.")) \
    X(WORKERS, "cellar_pool_workers", "", METRIC("Threads of the pool, without stuck ones.")) \
    X(STUCK, "cellar_pool_stuck", "", \
      METRIC("Threads in an attempt past its hard time-out.")) \
    X(PAYLOAD_BYTES, "cellar_tasks_payload_bytes", "", METRIC("Payload bytes of live tasks.")) \
    X(BYTES, "cellar_pool_bytes", "", METRIC("Bytes of memory of the pool."))

/* Histograms of a pool of tasks: id, family, help. */
#define STATS_TASK_WAITS(X) \
    X(LATE, "cellar_task_late_seconds", "From the due time of a delayed task to its queueing.") \
    X(WAIT, "cellar_task_wait_seconds", "From the queueing of a task to its attempt.") \
    X(RUN, "cellar_task_run_seconds", "Durations of attempts; of quick ones in a row their mean.")

/* Timed operations: id, name, 1 if sampled (family cellar_op_sampled_seconds), 0 if all are
 * timed. */
#define STATS_OPS(X) \
    X(GET_HIT, "get_hit", 1) X(GET_MISS, "get_miss", 1) X(SET, "set", 1) X(DELETE, "delete", 1) \
    X(TICK, "tick", 0) X(LOAD, "load", 0) X(L2_READ, "l2_read", 0) X(L2_WRITE, "l2_write", 0)

typedef enum stats_id {
#define STATS_X(id, ...) STATS_##id,
    STATS_NAMESPACE_COUNTERS(STATS_X) STATS_NAMESPACE_COUNT,
    STATS_FIRST_STORE_ = STATS_NAMESPACE_COUNT - 1, /* the next line continues from here */
    STATS_STORE_COUNTERS(STATS_X) STATS_COUNT
#undef STATS_X
} stats_id;
#define STATS_STORE_COUNT (STATS_COUNT - STATS_NAMESPACE_COUNT)

typedef enum stats_given {
#define STATS_X(id, family, label, shown) STATS_GIVEN_##id,
    STATS_GIVEN(STATS_X)
#undef STATS_X
#define STATS_X(field, family, label, shown) STATS_GIVEN_L1_##field,
    STATS_GIVEN_L1(STATS_X)
#undef STATS_X
#define STATS_X(field, family, label, shown) STATS_GIVEN_L2_##field,
    STATS_GIVEN_L2(STATS_X)
#undef STATS_X
    STATS_GIVEN_COUNT
} stats_given;

typedef enum stats_namespace_given {
#define STATS_X(id, family, label, shown) STATS_NAMESPACE_##id,
    STATS_NAMESPACE_GIVEN(STATS_X) STATS_NAMESPACE_GIVEN_COUNT
#undef STATS_X
} stats_namespace_given;

typedef enum stats_op {
#define STATS_X(id, name, sampled) STATS_OP_##id,
    STATS_OPS(STATS_X) STATS_OP_COUNT
#undef STATS_X
} stats_op;

#define STATS_X(id, family, label, shown) STATS_LOCK_##id,
typedef enum stats_lock { STATS_LOCKS(STATS_X) STATS_LOCK_COUNT } stats_lock;
#undef STATS_X
#define STATS_X(id, family, label, shown) STATS_BUS_##id,
typedef enum stats_bus { STATS_BUSES(STATS_X) STATS_BUS_COUNT } stats_bus;
#undef STATS_X
#define STATS_X(id, family, label, shown) STATS_LIMITER_##id,
typedef enum stats_limiter { STATS_LIMITERS(STATS_X) STATS_LIMITER_COUNT } stats_limiter;
#undef STATS_X
#define STATS_X(id, family, label, shown) STATS_PORT_##id,
typedef enum stats_port { STATS_PORTS(STATS_X) STATS_PORT_COUNT } stats_port;
#undef STATS_X
#define STATS_X(id, family, label, shown) STATS_BATCHER_##id,
typedef enum stats_batcher { STATS_BATCHERS(STATS_X) STATS_BATCHER_COUNT } stats_batcher;
#undef STATS_X
#define STATS_X(id, family, label, shown) STATS_REFRESHER_##id,
typedef enum stats_refresher { STATS_REFRESHERS(STATS_X) STATS_REFRESHER_COUNT } stats_refresher;
#undef STATS_X
#define STATS_X(id, family, label, shown) STATS_SCHEDULE_##id,
typedef enum stats_schedule { STATS_SCHEDULES(STATS_X) STATS_SCHEDULE_COUNT } stats_schedule;
#undef STATS_X
#define STATS_X(id, family, label, shown) STATS_TASK_##id,
typedef enum stats_task { STATS_TASKS(STATS_X) STATS_TASK_COUNT } stats_task;
#undef STATS_X
#define STATS_X(id, family, help) STATS_TASK_WAIT_##id,
typedef enum stats_task_wait { STATS_TASK_WAITS(STATS_X) STATS_TASK_WAIT_COUNT } stats_task_wait;
#undef STATS_X

#endif
