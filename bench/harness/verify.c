/* SPDX-License-Identifier: MIT
 *
 * verify: the slow half of the value check; the fast half is inline in verify.h.
 *
 * A timed window looks at both stamps and the length of each hit (three loads, equal for every
 * subject). Suites that are not timed, and the tests, compare every byte. */
#include "bench/harness/verify.h"

void verify_fill(unsigned char *value, size_t cap) { memset(value, VERIFY_FILL, cap); }

bool verify_value_full(const unsigned char *value, size_t len, uint64_t id)
{
    if (!verify_value(value, len, id, len)) {
        return false;
    }
    for (size_t i = 8; i + 1 < len; i++) {
        if (value[i] != VERIFY_FILL) {
            return false;
        }
    }
    return true;
}
