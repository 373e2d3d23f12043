/* SPDX-License-Identifier: MIT
 *
 * pack: fewer bytes for the same value, through liblz4 (one block, no frame).
 *
 * LIMITS     2,113,929,216 bytes (LZ4_MAX_INPUT_SIZE); what is longer is not packed. A block does
 *            not say how long it was: the caller does.
 * NOT HERE   whether a packing is worth it, and what a record says about it (l2/codec.c). A library
 *            without liblz4 has the same functions, which refuse: what another one has packed is
 *            then no value. CELLAR_WITH_LZ4 decides when it is compiled; nothing is looked for at
 *            run time, and the program links liblz4 by itself. */
#include "base/pack.h"

#if defined(CELLAR_WITH_LZ4)
#include <lz4.h>

CELLAR_PRIVATE bool base_pack_there(void) { return true; }

/* Not on the stack: 16 KiB are much for a host's small threads. */
CELLAR_PRIVATE size_t base_pack_scratch(void) { return (size_t)LZ4_sizeofState(); }

CELLAR_PRIVATE size_t base_pack(const void *in, size_t n, void *scratch, void *out, size_t cap)
{
    if (n > LZ4_MAX_INPUT_SIZE || cap > LZ4_MAX_INPUT_SIZE) { return 0; }
    const int put = LZ4_compress_fast_extState(scratch, in, out, (int)n, (int)cap, 1);
    return put > 0 ? (size_t)put : 0;
}

CELLAR_PRIVATE bool base_unpack(const void *in, size_t in_bytes, void *out, size_t n)
{
    if (n > LZ4_MAX_INPUT_SIZE || in_bytes > LZ4_MAX_INPUT_SIZE) { return false; }
    const int got = LZ4_decompress_safe(in, out, (int)in_bytes, (int)n);
    return got >= 0 && (size_t)got == n;
}
#else
CELLAR_PRIVATE bool base_pack_there(void) { return false; }

CELLAR_PRIVATE size_t base_pack_scratch(void) { return 0; }

CELLAR_PRIVATE size_t base_pack(const void *in, size_t n, void *scratch, void *out, size_t cap)
{
    (void)in;
    (void)n;
    (void)scratch;
    (void)out;
    (void)cap;
    return 0;
}

CELLAR_PRIVATE bool base_unpack(const void *in, size_t in_bytes, void *out, size_t n)
{
    (void)in;
    (void)in_bytes;
    (void)out;
    (void)n;
    return false;
}
#endif
