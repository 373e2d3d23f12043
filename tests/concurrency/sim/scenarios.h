/* SPDX-License-Identifier: MIT
 *
 * scenarios: the table of all scenarios of the simulation program.
 *
 * A scenario is a function that runs as the first fiber, spawns others, joins them and checks. It
 * draws its choices from base_sim_below and must not depend on anything else. To add one: a line
 * here, and `SIM_SCENARIO(NAME, "what it shows") { .. }` in a file of tests/concurrency/sim. */
#ifndef CELLAR_TESTS_SIM_SCENARIOS_H
#define CELLAR_TESTS_SIM_SCENARIOS_H

#include "tests/concurrency/sim/driver.h"
#include "tests/concurrency/sim/mutant.h"

#define SIM_SCENARIOS(X) \
    X(litmus) X(lock) X(event) X(account) X(seq) X(threads) \
    X(l1_kv) X(l1_split) X(l1_contract) X(l1_evict) X(l1_pin) X(l1_big) X(l1_apart) \
    X(l1_expire) X(l1_nearer) X(l1_idle) X(l1_resize) X(l1_scan) X(l1_count) X(l1_fault) X(l1_forged) \
    X(l1_inspect) X(l1_pin_write) X(l1_split_read) X(l1_regrow) X(l1_sample) X(l1_absent) \
    X(l1_tags) X(l1_lanes) X(quota) X(bound) X(clear_change) X(objects) \
    X(bloom) X(bloom_bits) X(breaker) \
    X(lock_schedules) X(lock_hold) X(lock_queue) X(lock_records) X(lock_copies) \
    X(limit_slot) X(limit_swap) X(limit_move) X(limit_rules) X(limit_same) X(limit_ticket) \
    X(limit_tickets) X(limit_ticket_lost) \
    X(limit_rate) X(limit_wide) X(limit_wide_two) X(limit_log) X(limit_permits) X(limit_chain) \
    X(limit_wide_move) X(limit_wide_back) X(limit_calendar) \
    X(flight) X(flight_once) X(flight_clear) X(flight_lost) X(flight_hard) X(flight_job) \
    X(flight_lease) X(flight_cycle) X(flight_many) X(flight_tag) X(flight_pattern) \
    X(flight_table) \
    X(l2_tombstone_locks) X(l2_frozen) X(l2_pass) X(l2_commit) X(l2_meet) X(l2_ends) X(l2_drop) \
    X(l2_clear) X(l2_version) X(l2_kept) \
    X(l2_packers) SIM_OF_GUESTS(X)
#ifdef SIM_CORE /* make test-core */
#define SIM_OF_GUESTS(X)
#else
#define SIM_OF_GUESTS(X) \
    X(task_hand_off) X(task_wait) X(task_parked) X(task_cancel) X(task_timeout) X(task_take) \
    X(task_await) X(task_group) X(task_drain) X(task_burst) \
    X(bus_rows) X(bus_groups) X(batch_done) X(batch_tracks) X(batch_block) X(write_behind) \
    X(sched_fire) X(sched_close)
#endif

#define SIM_X(name) extern const base_sim_scenario sim_##name;
SIM_SCENARIOS(SIM_X)
#undef SIM_X

/* Define a scenario: the body is the function of the first fiber. SIM_SCENARIO_OF: with the most
 * steps. */
#define SIM_SCENARIO(name, what) SIM_SCENARIO_OF(name, what, 0)
#define SIM_SCENARIO_OF(name, what, max_steps)                                         \
    static void sim_##name##_first(void);                                              \
    const base_sim_scenario sim_##name = { #name, what, sim_##name##_first, max_steps }; \
    static void sim_##name##_first(void)
/* Define the function of a fiber that takes no argument. */
#define SIM_FIBER(fn) static void fn(__attribute__((unused)) void *arg)

#endif
