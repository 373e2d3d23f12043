/* SPDX-License-Identifier: MIT
 *
 * pace: about how many schedules of each scenario run in a second of CPU time.
 *
 * With it `sim --work SECONDS` runs a number of schedules that depends on the tree alone. A machine
 * twice as fast does not run twice as far, to seeds that no run tried before the commit. Only the
 * shares of the time depend on the figures. build/sim --pace prints new ones. A scenario without a
 * line gets SIM_PACE_UNKNOWN. */
#ifndef CELLAR_TESTS_SIM_PACE_H
#define CELLAR_TESTS_SIM_PACE_H

#define SIM_PACE_UNKNOWN 1500
#define SIM_PACES(X) \
    X(litmus, 1800000) X(lock, 460000) X(event, 340000) X(account, 230000) X(seq, 440000) \
    X(threads, 760000) X(l1_kv, 12000) X(l1_split, 4300) X(l1_contract, 3500) X(l1_evict, 6100) \
    X(l1_pin, 5700) X(l1_big, 6000) X(l1_apart, 6700) X(l1_expire, 9500) X(l1_nearer, 14000) \
    X(l1_idle, 4800) \
    X(l1_resize, 3900) X(l1_scan, 3800) X(l1_count, 7800) X(l1_fault, 6900) X(l1_forged, 5500) \
    X(l1_pin_write, 12000) X(l1_split_read, 5200) X(l1_regrow, 2800) X(l1_sample, 10000) \
    X(bound, 1700) X(clear_change, 3300) X(objects, 2600) X(l1_tags, 8500) \
    X(quota, 3400) X(bloom, 1700) X(bloom_bits, 2800) X(breaker, 220000) \
    X(lock_schedules, 6100) X(lock_hold, 7100) X(lock_queue, 7900) X(lock_records, 4100) \
    X(lock_copies, 8600) X(limit_slot, 20000) X(limit_swap, 22000) X(limit_move, 14000) \
    X(limit_rules, 21000) X(limit_same, 18000) X(limit_ticket, 25000) X(limit_rate, 19000) \
    X(limit_tickets, 15000) X(limit_ticket_lost, 10000) \
    X(l1_absent, 6000) \
    X(limit_wide, 15000) X(limit_wide_two, 17000) X(limit_log, 22000) X(limit_permits, 22000) \
    X(limit_chain, 17000) X(limit_wide_move, 8800) X(limit_wide_back, 10000) \
    X(limit_calendar, 17000) X(flight, 3600) X(flight_once, 3700) X(flight_clear, 1800) \
    X(flight_lost, 3600) X(flight_hard, 3500) X(flight_job, 3300) X(flight_lease, 3400) \
    X(flight_cycle, 3500) X(flight_many, 3300) X(flight_tag, 3500) X(flight_pattern, 3300) \
    X(flight_table, 210000) SIM_PACES_OF_GUESTS(X)
#ifdef SIM_CORE /* make test-core */
#define SIM_PACES_OF_GUESTS(X)
#else
#define SIM_PACES_OF_GUESTS(X) \
    X(task_hand_off, 46000) X(task_wait, 29000) X(task_parked, 39000) X(task_cancel, 32000) \
    X(task_timeout, 33000) X(task_take, 48000) X(task_await, 40000) X(task_group, 45000) \
    X(task_drain, 91000) X(task_burst, 26000) \
    X(bus_rows, 27000) X(bus_groups, 27000) X(batch_done, 59000) \
    X(batch_block, 34000) X(sched_fire, 70000) X(sched_close, 170000)
#endif

#endif
