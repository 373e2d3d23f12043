/* SPDX-License-Identifier: MIT
 *
 * Aim:    In every interleaving a namespace has at most max_entries entries in memory at each
 *         moment, while fibers set, delete and clear. The scenario must catch two mistakes
 *         ("cache.cleared_late", "l1.cap_without_ticket").
 * Method: Two fibers set and delete a few keys of a namespace with a bound of 2 entries, a third
 *         clears it. A fourth stops all others again and again, and counts the slots of the index
 *         that link an entry of a living generation. At the end the audit compares the list with
 *         the index. */
#include "tests/concurrency/sim/scenarios.h"

#include <string.h>

#include "base/check.h"
#include "cache/generation.h"
#include "cellar.h"
#include "cellar_admin.h"
#include "l1/index.h"
#include "l1/record.h"
#include "tests/support/settings.h"

#define BOUND_KEYS 4u
#define BOUND_MAX 2u

static struct {
    cellar *store, *v;
    uint32_t running; /* fibers that change something */
} bound;

SIM_FIBER(bound_writer)
{
    static const unsigned char value[40];
    for (uint64_t n = 2 + base_sim_below(3); n > 0; n--) {
        const uint64_t key = base_sim_below(BOUND_KEYS);
        if (base_sim_below(3) == 0) {
            (void)cellar_delete(bound.v, &key, sizeof key);
        } else {
            const size_t len = base_sim_below(2) == 0 ? 8 : 40;
            BASE_SIM_CHECK(cellar_set(bound.v, &key, sizeof key, value, len, NULL) == CELLAR_OK);
        }
    }
    bound.running--;
}

SIM_FIBER(bound_clearer)
{
    BASE_SIM_CHECK(cellar_clear(bound.v) == CELLAR_OK);
    bound.running--;
}

/* Count the linked entries of the namespace by generation. No fiber runs meanwhile. */
static uint64_t bound_linked(uint32_t generation)
{
    l1 *const c = bound.store->l1;
    uint64_t count = 0;
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        const l1_stripe *s = &c->stripe[i];
        for (uint64_t n = 0; n < s->bucket_count; n++) {
            l1_part p = l1_whole(l1_bucket_at(s, n));
            for (unsigned hop = 0; p.b != NULL && hop <= L1_CHAIN_MAX; hop++) {
                for (uint32_t m = l1_part_used(p); m != 0; m &= m - 1) {
                    l1_rec r;
                    const unsigned j = (unsigned)__builtin_ctz(m);
                    count += l1_decode(c, l1_pos(c, base_load_rlx(&p.b->off[j])), &r) &&
                             r.generation == generation;
                }
                p = l1_chain_next(s, n, p);
            }
        }
    }
    return count;
}

static void bound_watcher(void *arg)
{
    const uint32_t first = *(const uint32_t *)arg;
    while (bound.running != 0) {
        base_sim_calm(true);
        for (uint32_t g = first; g < first + 2; g++) { /* before and after the clear */
            if (cache_generation_alive(bound.store->store, g)) {
                BASE_SIM_CHECK(bound_linked(g) <= BOUND_MAX);
            }
        }
        base_sim_calm(false);
        base_yield();
    }
}

SIM_SCENARIO(bound, "entries of a namespace with a bound")
{
    static const uint8_t secret[32] = { 6 };
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 1u << 20, .host.no_threads = 1,
                     .tuning.hash_key = secret, .tuning.stripes = 2 };
    cellar_namespace_config o = { .struct_size = sizeof o, .max_entries = BOUND_MAX };
    base_sim_calm(true);
    BASE_SIM_CHECK(settings_open(&cfg, &bound.store) == CELLAR_OK);
    BASE_SIM_CHECK(cellar_namespace_open(bound.store, "v", &o, &bound.v) == CELLAR_OK);
    for (uint64_t key = 0; key < BOUND_MAX; key++) {
        BASE_SIM_CHECK(cellar_set(bound.v, &key, sizeof key, "12345678", 8, NULL) == CELLAR_OK);
    }
    uint32_t generation = base_load_rlx(&bound.v->generation);
    base_sim_calm(false);
    bound.running = 3;
    base_sim_spawn_many(2, "writer", bound_writer, NULL);
    base_sim_spawn("clearer", bound_clearer, NULL);
    base_sim_spawn("watcher", bound_watcher, &generation);
    base_sim_join_all();
    base_sim_calm(true);
    BASE_SIM_CHECK(cellar_integrity_check(bound.store) == CELLAR_OK);
    BASE_SIM_CHECK(bound_linked(base_load_rlx(&bound.v->generation)) <= BOUND_MAX);
    BASE_SIM_CHECK(cellar_namespace_close(bound.v) == CELLAR_OK);
    BASE_SIM_CHECK(cellar_close(bound.store) == CELLAR_OK);
    base_sim_calm(false);
}
