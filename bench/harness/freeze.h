/* SPDX-License-Identifier: MIT
 *
 * freeze: a disk that does not answer, as the library sees it: its reads, writes and syncs, and the
 * touching of pages that a file backs, wait until it is over.
 *
 * The linker sends the calls of what is linked here through it (--wrap in bench.mk); shared
 * libraries of peers go past it. */
#ifndef BENCH_FREEZE_H
#define BENCH_FREEZE_H

#include <stdint.h>

void freeze_disk(uint64_t ms); /* from now on, for so long */

#endif
