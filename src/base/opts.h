/* SPDX-License-Identifier: MIT
 *
 * opts: structs that callers pass and get, by the size rule.
 *
 * Their first field is struct_size, a size_t. Older callers: what they do not have counts as zero.
 * Newer callers: a non-zero byte we do not know is E_UNSUPPORTED. Sizes that no version of a struct
 * has are refused before anything is read or written: base_opts_size. */
#ifndef BASE_OPTS_H
#define BASE_OPTS_H

#include "base/port.h"
#include "cellar.h"

#define BASE_OPTS_BYTES_MAX 4096u /* no struct of options will ever be larger */

/* Read the struct_size of the struct at `src` into `*size`. A compiler rounds the size of a struct
 * up to its alignment, and no public struct has tail padding. So a size that is no multiple of
 * sizeof(size_t) is the size of no version of a struct: it ends inside a field.
 * Returns OK; E_INVAL (not set, or above BASE_OPTS_BYTES_MAX); E_ABI (ends inside a field). */
CELLAR_PRIVATE cellar_err base_opts_size(const void *src, size_t *size);
/* `dst` of `known` bytes becomes what the caller's struct says, struct_size our own. */
CELLAR_PRIVATE cellar_err base_opts_in(void *dst, size_t known, const void *src);
/* The caller's struct gets what it has room for; its struct_size stays. */
CELLAR_PRIVATE cellar_err base_opts_out(void *dst, const void *src, size_t known);

#endif
