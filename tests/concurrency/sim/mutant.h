/* SPDX-License-Identifier: MIT
 *
 * mutant: the switch of a seeded mistake, in scenarios and in patches of the sources.
 *
 * BASE_MUTANT("name") is true when the program runs with --mutant name. The sources of the library
 * have no such switch: build/sim-mutants is compiled from a patched copy of them, with this header
 * before everything else. */
#ifndef CELLAR_TESTS_SIM_MUTANT_H
#define CELLAR_TESTS_SIM_MUTANT_H

#include "tests/concurrency/sim/driver.h"

#define BASE_MUTANT(name) base_sim_mutant(name)

#endif
