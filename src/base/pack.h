/* SPDX-License-Identifier: MIT
 *
 * pack: fewer bytes for the same value: LZ4, where the library was built with it. */
#ifndef BASE_PACK_H
#define BASE_PACK_H

#include "base/port.h"

/* False: nothing can be packed or unpacked here. */
BASE_SPARE CELLAR_PRIVATE bool base_pack_there(void);
/* Bytes of scratch memory that base_pack needs, aligned as base_alloc does. */
BASE_SPARE CELLAR_PRIVATE size_t base_pack_scratch(void);
/* Bytes written to out, 0: they are more than cap. */
BASE_SPARE CELLAR_PRIVATE size_t base_pack(const void *in, size_t n, void *scratch, void *out,
                                           size_t cap);
/* in may be any bytes. False: it is no packing of exactly n bytes; what lies in out is nothing. */
BASE_SPARE CELLAR_PRIVATE bool base_unpack(const void *in, size_t in_bytes, void *out, size_t n);

#endif
