/* SPDX-License-Identifier: MIT
 *
 * registry: which subjects this binary holds; a peer that was not found says so by name. */
#include <string.h>

#include "bench/peers/peers.h"

const bench_entry bench_registry[] = {
    { "raw", &raw_subject, NULL },
    { "uthash1", &uthash1_subject, NULL },
    { "uthash16", &uthash16_subject, NULL },
    { "uthash64", &uthash64_subject, NULL },
    { "uthash64t", &uthash64t_subject, NULL },
#if BENCH_HAVE_GLIB
    { "glib1", &glib1_subject, NULL },
#else
    { "glib1", NULL, "glib.h not found (libglib2.0-dev)" },
#endif
#if BENCH_HAVE_CELLAR
    { "cellar", &cellar_subject, NULL },
#else
    { "cellar", NULL, "built without the library" },
#endif
};
const size_t bench_registry_count = sizeof bench_registry / sizeof bench_registry[0];

const bench_subject *bench_subject_find(const char *name)
{
    for (size_t i = 0; i < bench_registry_count; i++) {
        if (strcmp(bench_registry[i].name, name) == 0) {
            return bench_registry[i].subject;
        }
    }
    return NULL;
}
