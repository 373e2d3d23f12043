/* SPDX-License-Identifier: MIT
 *
 * version: the text of the version. */
#include "cache/types.h"

#define CACHE_TEXT_OF(x) #x
#define CACHE_TEXT(x) CACHE_TEXT_OF(x)
#define CACHE_VERSION \
    CACHE_TEXT(CELLAR_VERSION_MAJOR) \
    "." CACHE_TEXT(CELLAR_VERSION_MINOR) "." CACHE_TEXT(CELLAR_VERSION_PATCH)

CELLAR_API const char *cellar_version(void)
{
    return CELLAR_VERSION_DEV ? CACHE_VERSION "-dev" : CACHE_VERSION;
}
