/* SPDX-License-Identifier: MIT
 *
 * driver: the calls of the simulation driver for scenarios and for the program that runs them.
 *
 * Compiled under BASE_SIM only. Each simulated thread is a fiber of one OS thread; at every seam the
 * driver picks the fiber that continues. A run follows from (scenario, seed, mutant) alone: nothing
 * may depend on addresses, wall time or earlier runs. Design: driver.c. */
#ifndef CELLAR_TESTS_SIM_DRIVER_H
#define CELLAR_TESTS_SIM_DRIVER_H

#include "base/sim_hooks.h"

#define BASE_SIM_FIBERS 32

/* ---- for scenarios ---- */

/* Start a fiber. It runs when the driver picks it. name: static text. */
CELLAR_PRIVATE void base_sim_spawn(const char *name, void (*fn)(void *), void *arg);
/* Start so many fibers of one function. */
CELLAR_PRIVATE void base_sim_spawn_many(uint64_t count, const char *name, void (*fn)(void *),
                                        void *arg);
/* Wait until every spawned fiber has ended. Does not wait for threads of the library. */
CELLAR_PRIVATE void base_sim_join_all(void);
/* Draw a uniform number of [0, n) from the seed and the number of this fiber: the same in every
 * schedule. */
CELLAR_PRIVATE uint64_t base_sim_below(uint64_t n);
/* Switch calm on or off. While calm, this fiber runs alone: no step, no switch, no waiting store.
 * For filling before the others are spawned, and for checks after they were joined. */
CELLAR_PRIVATE void base_sim_calm(bool on);
/* Write the waiting stores of all fibers: what a kill of the process leaves in mapped files. */
CELLAR_PRIVATE void base_sim_settle_all(void);
/* Stop the current fiber after `steps` more steps of its own, until no other fiber can run: for a
 * thread that sleeps in the middle of a call while everything changes. */
CELLAR_PRIVATE void base_sim_hold(uint64_t steps);
/* Return the number of steps so far: a clock for histories. */
CELLAR_PRIVATE uint64_t base_sim_step(void);
CELLAR_PRIVATE void base_sim_advance_ms(int64_t ms); /* move the virtual clock forward */
/* Fail the run from now on if no fiber can continue without a time-out. For proofs that no thread
 * waits without end although every wait has a far limit. */
CELLAR_PRIVATE void base_sim_no_rescue(void);
/* Print a line of the trace; without --trace do nothing. */
CELLAR_PRIVATE void base_sim_note(const char *format, ...) BASE_PRINTF(1, 2);
#define BASE_SIM_CHECK(x) \
    (BASE_LIKELY(x) ? (void)0 : base_sim_fail("%s:%d: %s", __FILE__, __LINE__, #x))

/* ---- for the program that runs them ---- */

typedef struct base_sim_scenario {
    const char *name;
    const char *what;   /* one line for --list */
    void (*run)(void);  /* the first fiber; must end last */
    uint64_t max_steps; /* more is a livelock; 0: 200,000 */
} base_sim_scenario;

typedef enum base_sim_picker {
    BASE_SIM_UNIFORM, /* any fiber, at every step */
    BASE_SIM_PCT,     /* priorities with two random change points */
    BASE_SIM_FEW,     /* 0 to 3 preemptions */
    BASE_SIM_NAMED,   /* any fiber, at named points only */
    BASE_SIM_BURST,   /* any fiber, after a random number of steps */
    BASE_SIM_PICKERS
} base_sim_picker;

typedef struct base_sim_switch { /* at step `step` the driver continued fiber `to` */
    uint64_t step;
    uint32_t to;
} base_sim_switch;

typedef struct base_sim_options {
    uint64_t seed;
    const char *mutant;            /* NULL: none */
    bool trace;                    /* print each named point and switch */
    const base_sim_switch *replay; /* NULL: pick by seed; else these switches and no others */
    size_t replay_count;
} base_sim_options;

typedef struct base_sim_result {
    bool failed;
    char text[2048];       /* reason, and the position of each fiber */
    uint64_t steps, digest, mutant_hits, switch_count;
    base_sim_picker picker;
    bool buffered;         /* stores waited in buffers */
    const base_sim_switch *switches; /* until the next run; may be cut at switch_kept */
    size_t switch_kept;
} base_sim_result;

/* Run a scenario. False: failed; the memory of the fibers is then lost: end the process soon. */
CELLAR_PRIVATE bool base_sim_run(const base_sim_scenario *s, const base_sim_options *o,
                                 base_sim_result *out);
/* Write the position of each fiber as text; return out. For a handler of fatal signals. */
CELLAR_PRIVATE const char *base_sim_where(char *out, size_t cap);
CELLAR_PRIVATE const char *base_sim_picker_name(base_sim_picker p);
CELLAR_PRIVATE bool base_sim_mutant(const char *name); /* the run has this seeded mistake */

#endif
