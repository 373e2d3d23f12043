/* SPDX-License-Identifier: MIT
 *
 * opts: copy structs in and out of callers by the size rule.
 *
 * INVARIANTS The first field is struct_size, a size_t. Fields that an older caller does not have
 *            count as zero. A non-zero byte of a newer caller that this library does not know is
 *            E_UNSUPPORTED. A size that belongs to no version of a struct is refused before any
 *            byte is read or written (base_opts_size). */
#ifndef BASE_OPTS_H
#define BASE_OPTS_H

#include "base/port.h"
#include "cellar.h"

#define BASE_OPTS_BYTES_MAX 4096u /* upper bound of every option struct, in any version */

/* Read the struct_size of the struct at `src` into `*size`. Return OK; E_INVAL (not set, or above
 * BASE_OPTS_BYTES_MAX); E_ABI (ends inside a field). A compiler rounds the size of a struct up to
 * its alignment, and no public struct has tail padding. So a size that is no multiple of
 * sizeof(size_t) ends inside a field. */
CELLAR_PRIVATE cellar_err base_opts_size(const void *src, size_t *size);
/* Copy the caller's struct `src` to `dst` of `known` bytes; set struct_size to `known`. */
CELLAR_PRIVATE cellar_err base_opts_in(void *dst, size_t known, const void *src);
/* Copy to the caller's struct `dst` the fields that fit. Its struct_size does not change. */
CELLAR_PRIVATE cellar_err base_opts_out(void *dst, const void *src, size_t known);

#endif
