/* SPDX-License-Identifier: MIT
 *
 * pack: compress values with LZ4, if the library was built with it. */
#ifndef BASE_PACK_H
#define BASE_PACK_H

#include "base/port.h"

/* Return whether this build can pack and unpack. */
BASE_SPARE CELLAR_PRIVATE bool base_pack_there(void);
/* Return the bytes of scratch memory for base_pack, aligned like a block of base_alloc. */
BASE_SPARE CELLAR_PRIVATE size_t base_pack_scratch(void);
/* Pack n bytes into out. Return the bytes written; 0: they would exceed cap. */
BASE_SPARE CELLAR_PRIVATE size_t base_pack(const void *in, size_t n, void *scratch, void *out,
                                           size_t cap);
/* Unpack exactly n bytes into out. `in` may be any bytes. False: `in` is not the packed form of n
 * bytes, and the contents of out are undefined. */
BASE_SPARE CELLAR_PRIVATE bool base_unpack(const void *in, size_t in_bytes, void *out, size_t n);

#endif
