/* SPDX-License-Identifier: MIT
 *
 * cellar: a cache of libCacheSim (aa0fc40), by the name `cellar`; apply.sh adds it to the simulator.
 *
 * BOUND      The size of the simulator is a number of entries (--ignore-obj-size 1), each of one byte;
 *            with "bytes" in the parameter of the algorithm it is memory_bytes, and a set stores as
 *            many bytes as the object has.
 * REPEATS    No threads, the clock of the trace, a fixed hash key: two runs give the same hits.
 *            "seed=N" in the parameter is another key; the same keys as `cellar replay --seed=N`.
 * TICK       Once in each second of the trace, until nothing is left to do.
 * LIMITS     The simulator asks `get` alone. What it does through find, insert and evict is done
 *            here: a set evicts by itself. occupied_byte and n_obj come from the store. */
#include <stdlib.h>
#include <string.h>

#include "cellar.h"
#include "cellar_admin.h"
#include "cellar_observe.h"
#include "libCacheSim/evictionAlgo.h"

typedef struct cellar_lcs {
    cellar *store;
    int64_t now_s; /* of the request */
    bool bytes;
    char *value;   /* zeros, as many as the largest object */
    size_t value_cap;
} cellar_lcs;

static int64_t cellar_lcs_now_ms(void *ctx) { return ((cellar_lcs *)ctx)->now_s * 1000; }

static bool cellar_lcs_get(cache_t *cache, const request_t *req)
{
    cellar_lcs *p = cache->eviction_params;
    size_t len = p->bytes && req->obj_size > 0 ? (size_t)req->obj_size : 1;
    if (p->now_s != req->clock_time) {
        p->now_s = req->clock_time;
        while (cellar_tick(p->store, 1000, NULL) == CELLAR_PENDING) {}
    }
    cache->n_req++;
    if (cellar_get(p->store, &req->obj_id, sizeof req->obj_id, NULL, 0, &len) != CELLAR_MISS) {
        return true; /* E_BUFFER: there, and not copied */
    }
    if (len > p->value_cap) {
        char *larger = calloc(1, 2 * len);
        if (larger == NULL) { return false; }
        free(p->value);
        p->value = larger;
        p->value_cap = 2 * len;
    }
    (void)cellar_set(p->store, &req->obj_id, sizeof req->obj_id, p->value, len, NULL);
    return false;
}

static cellar_stats cellar_lcs_stats(const cache_t *cache)
{
    const cellar_lcs *p = cache->eviction_params;
    cellar_stats st = cellar_stats_default();
    (void)cellar_stats_get(p->store, CELLAR_SCOPE_STORE, &st);
    return st;
}
static int64_t cellar_lcs_count(const cache_t *cache)
{
    return (int64_t)cellar_lcs_stats(cache).entries;
}
static int64_t cellar_lcs_bytes(const cache_t *cache)
{
    const cellar_lcs *p = cache->eviction_params;
    const cellar_stats st = cellar_lcs_stats(cache);
    return (int64_t)(p->bytes ? st.used_bytes : st.entries);
}

static void cellar_lcs_free(cache_t *cache)
{
    cellar_lcs *p = cache->eviction_params;
    cellar_close(p->store);
    free(p->value);
    free(p);
    cache_struct_free(cache);
}

cache_t *cellar_lcs_init(const common_cache_params_t params, const char *specific);
cache_t *cellar_lcs_init(const common_cache_params_t params, const char *specific)
{
    unsigned char key[32] = { 7 };
    cache_t *cache = cache_struct_init("cellar", params, specific);
    cellar_lcs *p = calloc(1, sizeof *p);
    if (cache == NULL || p == NULL) { abort(); }
    p->bytes = specific != NULL && strstr(specific, "bytes") != NULL;
    const char *seed = specific != NULL ? strstr(specific, "seed=") : NULL;
    const unsigned long number = seed != NULL ? strtoul(seed + 5, NULL, 10) : 0;
    for (int i = 0; i < 4; i++) { key[1 + i] = (unsigned char)(number >> 8 * i); }
    cellar_config cfg = cellar_config_default();
    cellar_host_config host = cellar_host_config_default();
    cellar_tuning_config tuning = cellar_tuning_config_default();
    cfg.max_entries = p->bytes ? 0 : params.cache_size;
    const uint64_t need = params.cache_size * 96 + (16u << 20), usual = 64u << 20;
    cfg.memory_bytes = p->bytes ? params.cache_size : need > usual ? need : usual;
    host.no_threads = 1;
    host.clock = cellar_lcs_now_ms;
    host.clock_ctx = p;
    tuning.hash_key = key;
    cfg.host = &host;
    cfg.tuning = &tuning;
    if (cellar_open(&cfg, &p->store) != CELLAR_OK) { abort(); }
    cache->eviction_params = p;
    cache->cache_init = cellar_lcs_init;
    cache->cache_free = cellar_lcs_free;
    cache->get = cellar_lcs_get;
    cache->get_occupied_byte = cellar_lcs_bytes;
    cache->get_n_obj = cellar_lcs_count;
    cache->can_insert = cache_can_insert_default;
    return cache;
}
