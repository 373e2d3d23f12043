/* SPDX-License-Identifier: MIT
 *
 * glob: patterns of Redis 7 over bytes; iterative, O(pattern x key). Grammar: glob.c. */
#ifndef BASE_GLOB_H
#define BASE_GLOB_H

#include "base/port.h"

#define BASE_GLOB_MAX 1024

BASE_SPARE CELLAR_PRIVATE bool base_glob_match(const void *pattern, size_t pattern_len,
                                               const void *key, size_t key_len);
/* Match with the ASCII capitals of the key in lower case. */
BASE_SPARE CELLAR_PRIVATE bool base_glob_match_lower(const void *pattern, size_t pattern_len,
                                                     const void *key, size_t key_len);
/* Return the length of the literal prefix of every match, 0 if there is none. *is_literal: the
 * pattern has no wildcard and no escape, so it is the key itself. */
BASE_SPARE CELLAR_PRIVATE size_t base_glob_prefix(const void *pattern, size_t pattern_len,
                                                  bool *is_literal);

#endif
