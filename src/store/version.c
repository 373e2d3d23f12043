/* SPDX-License-Identifier: MIT
 *
 * version: version and source id of the library; a separate file, because the build passes
 * CELLAR_SOURCE_ID. */
#include "cache/types.h"

#define CACHE_TEXT_OF(x) #x
#define CACHE_TEXT(x) CACHE_TEXT_OF(x)

CELLAR_API const char *cellar_version(void)
{
    return CACHE_TEXT(CELLAR_VERSION_MAJOR) "." CACHE_TEXT(CELLAR_VERSION_MINOR) "." CACHE_TEXT(
        CELLAR_VERSION_PATCH);
}

CELLAR_API const char *cellar_source_id(void) { return CELLAR_SOURCE_ID; }
