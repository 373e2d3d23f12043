/* SPDX-License-Identifier: MIT
 *
 * opts: the size rule of public structs.
 *
 * INVARIANTS Sizes are read by memcpy, because the struct of a caller may have any type. */
#include "base/opts.h"

#include <string.h>

#include "base/num.h"

BASE_SIZE_BEGIN

CELLAR_PRIVATE cellar_err base_opts_size(const void *src, size_t *size)
{
    memcpy(size, src, sizeof *size);
    if (*size < sizeof *size || *size > BASE_OPTS_BYTES_MAX) { return CELLAR_E_INVAL; }
    return *size % _Alignof(size_t) == 0 ? CELLAR_OK : CELLAR_E_ABI;
}

CELLAR_PRIVATE cellar_err base_opts_in(void *dst, size_t known, const void *src)
{
    size_t size;
    const cellar_err err = base_opts_size(src, &size);
    if (err != CELLAR_OK) { return err; }
    memset(dst, 0, known);
    memcpy(dst, src, BASE_MIN(size, known));
    memcpy(dst, &known, sizeof known);
    const unsigned char *bytes = src;
    for (size_t i = known; i < size; i++) {
        if (bytes[i] != 0) { return CELLAR_E_UNSUPPORTED; }
    }
    return CELLAR_OK;
}

CELLAR_PRIVATE cellar_err base_opts_out(void *dst, const void *src, size_t known)
{
    size_t size;
    const cellar_err err = base_opts_size(dst, &size);
    if (err != CELLAR_OK) { return err; }
    unsigned char *to = dst;
    const unsigned char *from = src;
    memcpy(to + sizeof size, from + sizeof size, BASE_MIN(size, known) - sizeof size);
    if (size > known) { memset(to + known, 0, size - known); }
    return CELLAR_OK;
}

BASE_SIZE_END
