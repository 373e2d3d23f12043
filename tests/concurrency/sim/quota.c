/* SPDX-License-Identifier: MIT
 *
 * Aim:    The counts behind the quota of a namespace are exact in every interleaving of stores and
 *         deletes with the end of its generation. The scenario must catch two mistakes
 *         ("cache.share_after_generation", "l1.share_any_generation").
 * Method: Two fibers set and delete a few keys of a namespace with a quota, a third clears it. At
 *         the end the audit recounts all records, and the figure equals the keys that
 *         cellar_contains finds. */
#include "tests/concurrency/sim/scenarios.h"

#include <string.h>

#include "base/check.h"
#include "cellar.h"
#include "cellar_observe.h"
#include "cellar_admin.h"
#include "tests/support/settings.h"

#define SHARE_KEYS 4u

static struct { cellar *store, *v; } share;

SIM_FIBER(share_writer)
{
    for (uint64_t n = 1 + base_sim_below(3); n > 0; n--) {
        const uint64_t key = base_sim_below(SHARE_KEYS);
        if (base_sim_below(3) == 0) {
            (void)cellar_delete(share.v, &key, sizeof key);
        } else {
            const size_t len = base_sim_below(2) == 0 ? 8 : 40;
            static const unsigned char value[40];
            BASE_SIM_CHECK(cellar_set(share.v, &key, sizeof key, value, len, NULL) == CELLAR_OK);
        }
    }
}

SIM_FIBER(share_clearer)
{
    BASE_SIM_CHECK(cellar_clear(share.v) == CELLAR_OK);
}

SIM_SCENARIO(quota, "quota of a namespace while its generation ends")
{
    static const uint8_t secret[32] = { 5 };
    cellar_stats st = cellar_stats_default();
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 1u << 20, .host.no_threads = 1,
                     .tuning.hash_key = secret, .tuning.stripes = 1 };
    cellar_namespace_config o = { .struct_size = sizeof o, .quota_max_pct = 30 };
    base_sim_calm(true);
    BASE_SIM_CHECK(settings_open(&cfg, &share.store) == CELLAR_OK);
    BASE_SIM_CHECK(cellar_namespace_open(share.store, "v", &o, &share.v) == CELLAR_OK);
    for (uint64_t key = 0; key < 2; key++) {
        BASE_SIM_CHECK(cellar_set(share.v, &key, sizeof key, "12345678", 8, NULL) == CELLAR_OK);
    }
    base_sim_calm(false);
    base_sim_spawn_many(2, "writer", share_writer, NULL);
    base_sim_spawn("clearer", share_clearer, NULL);
    base_sim_join_all();
    base_sim_calm(true);
    BASE_SIM_CHECK(cellar_integrity_check(share.store) == CELLAR_OK);
    BASE_SIM_CHECK(cellar_stats_get(share.v, CELLAR_SCOPE_NAMESPACE, &st) == CELLAR_OK);
    uint64_t there = 0;
    for (uint64_t key = 0; key < SHARE_KEYS; key++) {
        there += cellar_contains(share.v, &key, sizeof key) == CELLAR_OK;
    }
    BASE_SIM_CHECK(st.quota_entries == there);
    BASE_SIM_CHECK((st.quota_bytes != 0) == (there != 0));
    BASE_SIM_CHECK(cellar_namespace_close(share.v) == CELLAR_OK);
    BASE_SIM_CHECK(cellar_close(share.store) == CELLAR_OK);
    base_sim_calm(false);
}
