/* SPDX-License-Identifier: MIT
 *
 * freeze: a disk that does not answer, as the library sees it. Reads, writes and syncs, and
 * accesses to pages of a file, wait until the freeze is over.
 *
 * The linker redirects the calls of the linked code (--wrap in bench.mk); shared libraries of peers
 * are not redirected. */
#ifndef BENCH_FREEZE_H
#define BENCH_FREEZE_H

#include <stdint.h>

void freeze_disk(uint64_t ms); /* from now on, for this time */

#endif
