/* SPDX-License-Identifier: MIT
 *
 * bytes: little-endian numbers in the values of answers and vectors. */
#ifndef KIT_BYTES_H
#define KIT_BYTES_H

#include "base/port.h"

BASE_INLINE uint32_t kit_r16(const unsigned char *p) { return p[0] | (uint32_t)p[1] << 8; }
BASE_INLINE uint32_t kit_r32(const unsigned char *p)
{
    return kit_r16(p) | kit_r16(p + 2) << 16;
}
BASE_INLINE uint64_t kit_r64(const unsigned char *p)
{
    return kit_r32(p) | (uint64_t)kit_r32(p + 4) << 32;
}
BASE_INLINE void kit_w16(unsigned char *p, uint32_t x)
{
    p[0] = (unsigned char)x;
    p[1] = (unsigned char)(x >> 8);
}
BASE_INLINE void kit_w32(unsigned char *p, uint32_t x)
{
    kit_w16(p, x);
    kit_w16(p + 2, x >> 16);
}
BASE_INLINE void kit_w64(unsigned char *p, uint64_t x)
{
    kit_w32(p, (uint32_t)x);
    kit_w32(p + 4, (uint32_t)(x >> 32));
}

#endif
