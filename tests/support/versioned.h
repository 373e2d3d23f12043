/* SPDX-License-Identifier: MIT
 *
 * versioned: values of one length that tell their key and version. */
#ifndef SUPPORT_VERSIONED_H
#define SUPPORT_VERSIONED_H

#include "cellar.h"
#include "tests/support/t.h"

enum { VERSIONED_MOST = 7000 };

static inline void versioned_fill(unsigned char *value, size_t len, uint32_t key, uint32_t version)
{
    memset(value, (int)(key + version), len);
    memcpy(value, &version, sizeof version);
}

/* Return the version of the key in the store, and check its value; 0: a miss. */
static inline uint32_t versioned_look(cellar *c, uint32_t key, size_t len)
{
    unsigned char value[VERSIONED_MOST];
    size_t got = 0;
    uint32_t version = 0;
    if (cellar_get(c, &key, sizeof key, value, sizeof value, &got) != CELLAR_OK) { return 0; }
    memcpy(&version, value, sizeof version);
    T_CHECK(got == len && value[len - 1] == (unsigned char)(key + version));
    return version;
}

#endif
