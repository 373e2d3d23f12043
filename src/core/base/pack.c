/* SPDX-License-Identifier: MIT
 *
 * pack: compress values with liblz4 (one block, no frame).
 *
 * INVARIANTS Without liblz4 the same functions exist and refuse. A value that another build has
 *            packed is then unreadable. CELLAR_WITH_LZ4 decides at compile time; nothing is probed
 *            at run time, and the program links liblz4 itself.
 * LIMITS     At most 2,113,929,216 bytes (LZ4_MAX_INPUT_SIZE); a longer value is not packed. A
 *            block does not contain its unpacked length: the caller passes it.
 * SEE ALSO   l2/codec.c: when a packed value is worth storing, and how a record marks it. */
#include "base/pack.h"

#if defined(CELLAR_WITH_LZ4)
#include <lz4.h>

CELLAR_PRIVATE bool base_pack_there(void) { return true; }

/* Return the size of the scratch memory. 16 KiB are too much for the stack of a small thread. */
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
