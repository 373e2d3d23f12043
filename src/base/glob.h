/* SPDX-License-Identifier: MIT
 *
 * glob: Redis 7's pattern grammar over bytes; iterative, O(pattern x key), no recursion. */
#ifndef BASE_GLOB_H
#define BASE_GLOB_H

#include "base/port.h"

#define BASE_GLOB_MAX 1024

BASE_SPARE CELLAR_PRIVATE bool base_glob_match(const void *pattern, size_t pattern_len,
                                               const void *key, size_t key_len);
/* Length of the literal prefix every match starts with (0 if none); *is_literal: no wildcard at all
 * and no escape, the pattern is the key itself. */
BASE_SPARE CELLAR_PRIVATE size_t base_glob_prefix(const void *pattern, size_t pattern_len,
                                                  bool *is_literal);

#endif
