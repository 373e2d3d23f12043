/* SPDX-License-Identifier: MIT
 *
 * opts: structs that callers pass and get, by the size rule.
 *
 * Their first field is struct_size, a size_t. Older callers: what they do not have counts as zero.
 * Newer callers: a non-zero byte we do not know is E_UNSUPPORTED. Impossible sizes are E_INVAL.
 */
#ifndef BASE_OPTS_H
#define BASE_OPTS_H

#include <string.h>

#include "base/num.h"
#include "cellar.h"

#define BASE_OPTS_BYTES_MAX 4096u /* no struct of options will ever be larger */

/* `dst` of `known` bytes becomes what the caller's struct says, struct_size our own. */
BASE_INLINE cellar_err base_opts_in(void *dst, size_t known, const void *src)
{
    size_t size;
    memcpy(&size, src, sizeof size);
    if (size < sizeof size || size > BASE_OPTS_BYTES_MAX) { return CELLAR_E_INVAL; }
    memset(dst, 0, known);
    memcpy(dst, src, BASE_MIN(size, known));
    memcpy(dst, &known, sizeof known);
    const unsigned char *bytes = (const unsigned char *)src;
    for (size_t i = known; i < size; i++) {
        if (bytes[i] != 0) { return CELLAR_E_UNSUPPORTED; }
    }
    return CELLAR_OK;
}

/* The caller's struct gets what it has room for; its struct_size stays. */
BASE_INLINE cellar_err base_opts_out(void *dst, const void *src, size_t known)
{
    size_t size;
    memcpy(&size, dst, sizeof size);
    if (size < sizeof size || size > BASE_OPTS_BYTES_MAX) { return CELLAR_E_INVAL; }
    unsigned char *to = (unsigned char *)dst;
    const unsigned char *from = (const unsigned char *)src;
    memcpy(to + sizeof size, from + sizeof size, BASE_MIN(size, known) - sizeof size);
    if (size > known) { memset(to + known, 0, size - known); }
    return CELLAR_OK;
}

#endif
