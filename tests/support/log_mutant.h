/* SPDX-License-Identifier: MIT
 *
 * log_mutant: choose one of the mistakes of tests/unit/core/l2/mutants at run time by
 * LOG_MUTANT=name. */
#ifndef TESTS_LOG_MUTANT_H
#define TESTS_LOG_MUTANT_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static inline bool log_mutant(const char *name)
{
    const char *chosen = getenv("LOG_MUTANT");
    return chosen != NULL && strcmp(chosen, name) == 0;
}
#define BASE_MUTANT(name) log_mutant(name)

#endif
