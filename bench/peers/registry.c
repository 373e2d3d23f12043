/* SPDX-License-Identifier: MIT
 *
 * registry: the subjects that this binary holds or can start; a missing one is listed by name. */
#include <string.h>

#include "bench/harness/driver.h"
#include "bench/peers/peers.h"

/* Processes: their capabilities are listed here, so that a workload need not start them to know. */
#define REGISTRY_DRIVER(id, sem, most, more)                                                   \
    static const bench_subject id##_subject = {                                                \
        .name = #id, .version = "", .semantics = sem, .caps = more, .threads_max = most,       \
        .driver = #id, .open = driver_open, .close = driver_close }
#define REGISTRY_CACHE (BENCH_BOUNDED | BENCH_BYTES)
REGISTRY_DRIVER(moka, "copy", 0, REGISTRY_CACHE | BENCH_TTL | BENCH_LOAD);
REGISTRY_DRIVER(quick_cache, "copy", 0, REGISTRY_CACHE | BENCH_LOAD);
REGISTRY_DRIVER(foyer, "copy", 0, REGISTRY_CACHE);
/* The same with values inside the entries, not behind a count of references. */
REGISTRY_DRIVER(moka_value, "copy", 0, REGISTRY_CACHE | BENCH_TTL | BENCH_SMALL);
REGISTRY_DRIVER(quick_cache_value, "copy", 0, REGISTRY_CACHE | BENCH_SMALL);
REGISTRY_DRIVER(foyer_value, "copy", 0, REGISTRY_CACHE | BENCH_SMALL);
REGISTRY_DRIVER(dashmap, "copy", 0, BENCH_NO_EVICT);
REGISTRY_DRIVER(otter, "copy", 0, REGISTRY_CACHE | BENCH_TTL | BENCH_LOAD);
REGISTRY_DRIVER(ristretto, "copy", 0, REGISTRY_CACHE | BENCH_TTL);
REGISTRY_DRIVER(theine, "copy", 0, REGISTRY_CACHE | BENCH_TTL | BENCH_LOAD);
REGISTRY_DRIVER(caffeine, "copy", 0, REGISTRY_CACHE | BENCH_TTL | BENCH_LOAD | BENCH_JIT);
REGISTRY_DRIVER(caffeine_fresh, "copy", 0, REGISTRY_CACHE | BENCH_TTL | BENCH_LOAD | BENCH_JIT);
REGISTRY_DRIVER(jvm_chm, "copy", 0, BENCH_NO_EVICT | BENCH_LOAD | BENCH_JIT);
REGISTRY_DRIVER(cachetools, "ref", 1, REGISTRY_CACHE | BENCH_TTL);
REGISTRY_DRIVER(lru_cache, "ref", 1, REGISTRY_CACHE | BENCH_TTL | BENCH_LOAD | BENCH_JIT);
REGISTRY_DRIVER(node_map, "ref", 1, BENCH_NO_EVICT | BENCH_JIT);

#define REGISTRY_ROW(id) { #id, &id##_subject, NULL }
const bench_entry bench_registry[] = {
    { "raw", &raw_subject, NULL },
    { "uthash1", &uthash1_subject, NULL },
    { "uthash16", &uthash16_subject, NULL },
    { "uthash64", &uthash64_subject, NULL },
    { "uthash64t", &uthash64t_subject, NULL },
#if BENCH_HAVE_CUCKOO
    { "libcuckoo", &libcuckoo_subject, NULL },
#else
    { "libcuckoo", NULL, "libcuckoo/cuckoohash_map.hh not found (libcuckoo-dev), or no C++ compiler" },
#endif
#if BENCH_HAVE_TBB
    { "tbb_chm", &tbb_chm_subject, NULL },
#else
    { "tbb_chm", NULL, "tbb/concurrent_hash_map.h not found (libtbb-dev), or no C++ compiler" },
#endif
#if BENCH_HAVE_ROCKS_CACHE
    { "rocks_hyper", &rocks_hyper_subject, NULL },
    { "rocks_lru", &rocks_lru_subject, NULL },
#else
    { "rocks_hyper", NULL, "rocksdb/cache.h not found (librocksdb-dev), or no C++ compiler" },
    { "rocks_lru", NULL, "rocksdb/cache.h not found (librocksdb-dev), or no C++ compiler" },
#endif
    { "redis", &redis_subject, NULL },
    REGISTRY_ROW(moka), REGISTRY_ROW(quick_cache), REGISTRY_ROW(foyer), REGISTRY_ROW(dashmap),
    REGISTRY_ROW(moka_value), REGISTRY_ROW(quick_cache_value), REGISTRY_ROW(foyer_value),
    REGISTRY_ROW(otter), REGISTRY_ROW(ristretto), REGISTRY_ROW(theine), REGISTRY_ROW(caffeine),
    REGISTRY_ROW(caffeine_fresh), REGISTRY_ROW(jvm_chm),
    REGISTRY_ROW(cachetools), REGISTRY_ROW(lru_cache), REGISTRY_ROW(node_map),
#if BENCH_HAVE_CELLAR
    { "cellar", &cellar_subject, NULL },
    { "cellar_disk", &cellar_disk_subject, NULL },
    { "cellar_listener", &cellar_listener_subject, NULL },
    { "cellar_object", &cellar_object_subject, NULL },
    { "cellar_object_load", &cellar_object_load_subject, NULL },
#else
    { "cellar", NULL, "built without the library" },
    { "cellar_disk", NULL, "built without the library" },
    { "cellar_listener", NULL, "built without the library" },
    { "cellar_object", NULL, "built without the library" },
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
