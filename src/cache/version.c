/* SPDX-License-Identifier: MIT
 *
 * version: which library this is; a file of its own, because the build hands in
 * CELLAR_SOURCE_ID. */
#include "cache/cache_int.h"

#define CACHE_TEXT_OF(x) #x
#define CACHE_TEXT(x) CACHE_TEXT_OF(x)

CELLAR_API const char *cellar_version(void)
{
    return CACHE_TEXT(CELLAR_VERSION_MAJOR) "." CACHE_TEXT(CELLAR_VERSION_MINOR) "." CACHE_TEXT(
        CELLAR_VERSION_PATCH);
}

CELLAR_API const char *cellar_source_id(void) { return CELLAR_SOURCE_ID; }
