/* SPDX-License-Identifier: MIT
 *
 * memory_limit: the memory that the system lets this process have. */
#ifndef BASE_MEMORY_LIMIT_H
#define BASE_MEMORY_LIMIT_H

#include "base/port.h"

/* Return the least limit of the cgroups of this process, at most the memory of the machine; 0: not
 * known. root: folder of the system's files, "" for those of the machine. */
BASE_SPARE CELLAR_PRIVATE uint64_t base_memory_limit(const char *root);

#endif
