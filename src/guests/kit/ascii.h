/* SPDX-License-Identifier: MIT
 *
 * ascii: kinds of bytes, in every locale. */
#ifndef KIT_ASCII_H
#define KIT_ASCII_H

#include "base/port.h"

BASE_INLINE char kit_lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c; }
BASE_INLINE bool kit_digit(char c) { return c >= '0' && c <= '9'; }
BASE_INLINE bool kit_letter(char c) { return kit_lower(c) >= 'a' && kit_lower(c) <= 'z'; }
BASE_INLINE bool kit_is_blank(char c) { return c == ' ' || c == '\t'; }

#endif
