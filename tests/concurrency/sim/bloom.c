/* SPDX-License-Identifier: MIT
 *
 * Aim:    An authoritative filter never denies a key after its set has returned, whatever
 *         rebuilds, swaps, doubts and page returns happen meanwhile.
 * Method: Writers add a key, make it visible as L1 does (a window opened by a seq_cst CAS), add it
 *         again if the filter moved, and report done. A keeper rebuilds: begin a fill, scan the
 *         visible keys, end it. Readers probe for done keys. The second add is needed for visible keys
 *         that the source lacks, so the keeper feeds only its scan. */
#include "tests/concurrency/sim/scenarios.h"

#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "bloom/filter.h"

enum { BLOOM_SIM_KEYS = 6, BLOOM_SIM_WRITERS = 2 };

static struct {
    base_account account;
    bloom *b;
    _Atomic uint32_t window[BLOOM_SIM_KEYS]; /* odd: being written; 2: visible */
    _Atomic uint32_t done[BLOOM_SIM_KEYS];
} blooms;

static uint64_t blooms_hash(uint32_t key) { return base_mix64(key + 1); }

static void blooms_writer(void *arg)
{
    const uint32_t first = (uint32_t)(uintptr_t)arg;
    for (uint32_t key = first; key < BLOOM_SIM_KEYS; key += BLOOM_SIM_WRITERS) {
        const uint64_t hash = blooms_hash(key);
        const uint64_t desc = bloom_add_begin(blooms.b, hash);
        base_sim_point("sim.before_visible");
        BASE_SIM_CHECK(base_cas_sc(&blooms.window[key], 0u, 1u));
        base_store_rel(&blooms.window[key], 2u);
        bloom_add_end(blooms.b, hash, desc);
        base_store_rel(&blooms.done[key], 1u);
    }
}

static void blooms_scan(void)
{
    for (uint32_t key = 0; key < BLOOM_SIM_KEYS; key++) {
        uint32_t w;
        while (((w = base_load_acq(&blooms.window[key])) & 1u) != 0) { base_pause(); }
        if (w == 2) { bloom_add(blooms.b, blooms_hash(key)); }
    }
}

SIM_FIBER(blooms_keeper)
{
    for (unsigned round = 0; round < 3; round++) {
        /* the first round fills the open set; a set for one key is full with five of the six */
        const uint64_t keys = round == 0 ? 2 : round;
        uint64_t fill;
        BASE_SIM_CHECK(bloom_fill_begin(blooms.b, keys, 0.01, &fill) == CELLAR_OK);
        if (base_sim_below(8) == 0) { (void)bloom_distrust(blooms.b, CELLAR_BLOOM_DOUBT_FOUND); }
        blooms_scan();
        (void)bloom_fill_end(blooms.b, fill, CELLAR_OK);
    }
}

SIM_FIBER(blooms_reader)
{
    for (unsigned i = 0; i < 10; i++) {
        const uint32_t key = (uint32_t)base_sim_below(BLOOM_SIM_KEYS);
        if (base_load_acq(&blooms.done[key]) == 0) { continue; }
        BASE_SIM_CHECK(bloom_ask(blooms.b, blooms_hash(key)) != BLOOM_NEVER);
    }
}

SIM_SCENARIO(bloom, "no added key is ever denied")
{
    memset(&blooms, 0, sizeof blooms);
    base_account_init(&blooms.account, 1u << 20, NULL);
    base_sim_calm(true);
    blooms.b = bloom_create(&blooms.account);
    BASE_SIM_CHECK(blooms.b != NULL && bloom_open(blooms.b, 2, 0.01) == CELLAR_OK);
    base_sim_calm(false);
    for (uintptr_t i = 0; i < BLOOM_SIM_WRITERS; i++) {
        base_sim_spawn("writer", blooms_writer, (void *)i);
    }
    base_sim_spawn("keeper", blooms_keeper, NULL);
    base_sim_spawn_many(2, "reader", blooms_reader, NULL);
    base_sim_join_all();
    base_sim_calm(true);
    for (uint32_t key = 0; key < BLOOM_SIM_KEYS; key++) {
        BASE_SIM_CHECK(bloom_ask(blooms.b, blooms_hash(key)) == BLOOM_MAYBE);
    }
    BASE_SIM_CHECK(bloom_audit(blooms.b) == NULL);
    bloom_destroy(blooms.b);
    BASE_SIM_CHECK(base_load_rlx(&blooms.account.used) == 0);
}

/* ---- bits of one block, set by two adders at a time; a set given up during an add ---- */

static void bits_adder(void *arg)
{
    const uint32_t first = (uint32_t)(uintptr_t)arg;
    for (uint32_t key = first; key < 4; key += 2) {
        bloom_add(blooms.b, blooms_hash(key) >> 8); /* all in the first block */
        BASE_SIM_CHECK(bloom_ask(blooms.b, blooms_hash(key) >> 8) == BLOOM_MAYBE);
    }
}

SIM_FIBER(bits_keeper)
{
    for (unsigned round = 0; round < 2; round++) {
        uint64_t fill;
        BASE_SIM_CHECK(bloom_fill_begin(blooms.b, 20, 0.01, &fill) == CELLAR_OK);
        (void)bloom_fill_end(blooms.b, fill, CELLAR_E_IO);
    }
}

SIM_SCENARIO(bloom_bits, "no bit lost, none set in a freed filter")
{
    memset(&blooms, 0, sizeof blooms);
    base_account_init(&blooms.account, 1u << 20, NULL);
    base_sim_calm(true);
    blooms.b = bloom_create(&blooms.account);
    BASE_SIM_CHECK(blooms.b != NULL && bloom_open(blooms.b, 10, 0.01) == CELLAR_OK);
    base_sim_calm(false);
    base_sim_spawn("adder-1", bits_adder, (void *)0);
    base_sim_spawn("adder-2", bits_adder, (void *)1);
    base_sim_spawn("keeper", bits_keeper, NULL);
    base_sim_join_all();
    base_sim_calm(true);
    for (uint32_t key = 0; key < 4; key++) {
        BASE_SIM_CHECK(bloom_ask(blooms.b, blooms_hash(key) >> 8) == BLOOM_MAYBE);
    }
    const char *why = bloom_audit(blooms.b);
    if (why != NULL) { base_sim_fail("%s", why); }
    bloom_destroy(blooms.b);
    BASE_SIM_CHECK(base_load_rlx(&blooms.account.used) == 0);
}
