/* SPDX-License-Identifier: MIT
 *
 * policies: run the small budget of the tour under each eviction policy, and check the advice.
 *
 * WALK       names of the files -> keys -> for adaptive, s3fifo, lru, fifo: a store with room for
 *            an eighth of them, the same skewed gets, a set after each miss -> hits
 *            adaptive: read the advice for twice the room -> run a store with twice the room
 * INVARIANTS One thread, a fixed seed, a fixed hash key: a run repeats itself. Values are constant,
 *            not computed: the figures are ratios, not times.
 * LIMITS     8,192 to 65,536 keys. Fewer files get several keys each, because a store with less
 *            than 1,000 entries gives no advice. Of more files the first ones are taken. */
#include <stdio.h>
#include <string.h>

#include "cellar.h"
#include "cellar_observe.h"
#include "cellar_admin.h"
#include "cli/policies.h"

#define POLICIES_KEYS_LEAST 8192u
#define POLICIES_KEYS_MOST 65536u
#define POLICIES_GETS 8u                    /* of each key, on average */
#define POLICIES_MEMORY ((uint64_t)64 << 20) /* never the bound: max_entries is */
#define POLICIES_KEY 1024u                  /* most bytes of a key: end of a name, its number */
#define POLICIES_VALUE 56u                  /* bytes; as an answer of the tour */
#define POLICIES_TWICE 5u                   /* index of 200 % in the sizes of the advice */

static const uint32_t policies_of[POLICIES] = { CELLAR_EVICT_ADAPTIVE, CELLAR_EVICT_S3FIFO,
                                                CELLAR_EVICT_LRU, CELLAR_EVICT_FIFO };

/* Return the next number of splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t policies_draw(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static size_t policies_key(const cli_files *files, uint64_t rank, char key[POLICIES_KEY])
{
    const char *path = files->file[rank % files->count].path;
    const size_t len = strlen(path), take = len < POLICIES_KEY - 24 ? len : POLICIES_KEY - 24;
    memcpy(key, path + len - take, take);
    return take + (size_t)snprintf(key + take, 24, "#%llu", (unsigned long long)rank);
}

/* Run the gets and count the hits. Return false if a call returned a code that it must not. */
static bool policies_gets(cellar *store, const cli_files *files, const policies_result *r,
                          uint64_t *hits)
{
    static const unsigned char value[POLICIES_VALUE];
    unsigned char answer[POLICIES_VALUE];
    uint64_t state = 1;
    *hits = 0;
    for (uint64_t i = 0; i < r->gets; i++) {
        char key[POLICIES_KEY];
        size_t len;
        /* The cube of a uniform draw: half of the gets go to an eighth of the keys. */
        const double u = (double)(policies_draw(&state) >> 11) / 9007199254740992.0; /* 2^53 */
        const size_t key_len = policies_key(files, (uint64_t)(u * u * u * (double)r->keys), key);
        const cellar_err err = cellar_get(store, key, key_len, answer, sizeof answer, &len);
        if (err == CELLAR_OK) {
            ++*hits;
        } else if (err != CELLAR_MISS ||
                   cellar_set(store, key, key_len, value, sizeof value, NULL) != CELLAR_OK) {
            return false;
        }
    }
    return true;
}

static bool policies_one(const cli_files *files, policies_result *r, uint32_t eviction,
                         uint64_t room, uint64_t *hits, cellar_advice *advice, bool *advised)
{
    static const uint8_t secret[32] = { 3 };
    cellar_config cfg = cellar_config_default();
    cellar_stats st = cellar_stats_default();
    cellar *store = NULL;
    cfg.memory_bytes = POLICIES_MEMORY;
    cfg.max_entries = room;
    cfg.eviction = (cellar_eviction)eviction;
    cellar_host_opts host = cellar_host_opts_default();
    cellar_tuning_opts tuning = cellar_tuning_opts_default();
    host.no_threads = 1;
    tuning.hash_key = secret;
    cfg.host = &host;
    cfg.tuning = &tuning;
    if (cellar_open(&cfg, &store) != CELLAR_OK) { return false; }
    const bool fine = policies_gets(store, files, r, hits) &&
                cellar_stats_get(store, CELLAR_SCOPE_STORE, &st) == CELLAR_OK;
    if (st.gets != r->gets || st.gets - st.misses != *hits) { r->uncounted++; }
    if (advice != NULL) {
        *advised = cellar_advice_get(store, CELLAR_SCOPE_STORE, advice) == CELLAR_OK;
    }
    cellar_close(store);
    return fine;
}

bool policies_run(const cli_files *files, policies_result *r)
{
    cellar_advice advice = cellar_advice_default();
    *r = (policies_result){ .keys = files->count };
    if (r->keys < POLICIES_KEYS_LEAST) { r->keys = POLICIES_KEYS_LEAST; }
    if (r->keys > POLICIES_KEYS_MOST) { r->keys = POLICIES_KEYS_MOST; }
    r->room = r->keys / 8;
    r->gets = r->keys * POLICIES_GETS;
    for (unsigned p = 0; p < POLICIES; p++) {
        if (!policies_one(files, r, policies_of[p], r->room, &r->hits[p],
                          p == 0 ? &advice : NULL, &r->advised)) {
            return false;
        }
    }
    if (!r->advised) { return true; }
    uint64_t hits;
    if (!policies_one(files, r, CELLAR_EVICT_ADAPTIVE, 2 * r->room, &hits, NULL, NULL)) {
        return false;
    }
    r->now = advice.hit_ratio_now;
    r->said = advice.hit_ratio[POLICIES_TWICE];
    r->is = (double)hits / (double)r->gets;
    return true;
}
