/* SPDX-License-Identifier: MIT
 *
 * Aim:    sets go round all lanes of a store, whatever the lives and the other stores of a thread.
 *         A tick without time shrinks the index.
 * Method: threads of one set each, and one thread that sets in a small and a large store in turn;
 *         then the entries of each lane are counted. Ticks of 0 us after deletes. */
#include "tests/support/l1_kit.h"

#include "l1/types.h"

/* Return how many lanes hold at least a quarter of their share. */
static uint32_t lanes_used(kit *k)
{
    const uint64_t entries = kit_stats(k).entries;
    uint32_t used = 0;
    for (uint32_t i = 0; i < k->c->stripe_count; i++) {
        used += l1_lane_entries(&k->c->lane[i]) * 4 * k->c->stripe_count >= entries;
    }
    return used;
}

static kit z;

static void set_once(void *arg)
{
    T_EQ_I64(kit_put(&z, (uint64_t)(uintptr_t)arg, 1, 50), CELLAR_OK);
}

static void threads_of_one_set_use_all_lanes(void)
{
    const l1_config cfg = {.stripes = 16};
    kit_open(&z, KIT_MIB(32), &cfg);
    T_CHECK(z.c->stripe_count >= 8);
    for (uintptr_t id = 0; id < 8 * z.c->stripe_count; id++) {
        kit_team team = {.n = 0};
        kit_start(&team, set_once, (void *)id);
        kit_join(&team);
    }
    T_CHECK(lanes_used(&z) > z.c->stripe_count / 2);
    kit_close(&z);
}

static void stores_of_one_thread_use_all_their_lanes(void)
{
    kit few, many;
    const l1_config cfg = {.stripes = 2}, most = {.stripes = 16};
    kit_open(&few, KIT_MIB(32), &cfg);
    kit_open(&many, KIT_MIB(32), &most);
    T_CHECK(few.c->stripe_count == 2 && many.c->stripe_count >= 8);
    for (uint64_t id = 0; id < 20000; id++) {
        T_EQ_I64(kit_put(&few, id, 1, 50), CELLAR_OK);
        T_EQ_I64(kit_put(&many, id, 1, 50), CELLAR_OK);
    }
    T_EQ_U64(lanes_used(&few), 2);
    T_EQ_U64(lanes_used(&many), many.c->stripe_count);
    kit_close(&few);
    kit_close(&many);
}

static void tick_without_time_shrinks_the_index(void)
{
    kit k;
    const l1_config cfg = {.stripes = 4};
    kit_open(&k, KIT_MIB(32), &cfg);
    for (uint64_t id = 0; id < 50000; id++) { T_EQ_I64(kit_put(&k, id, 1, 50), CELLAR_OK); }
    for (uint64_t id = 0; id < 50000; id++) { T_EQ_I64(kit_del(&k, id), CELLAR_OK); }
    const uint64_t before = kit_stats(&k).buckets;
    for (unsigned i = 0; i < 10000; i++) { (void)l1_tick(k.c, 0); }
    T_CHECK(kit_stats(&k).buckets < before / 4);
    kit_close(&k);
}

T_MAIN("l1_lanes", T_CASE(threads_of_one_set_use_all_lanes),
       T_CASE(stores_of_one_thread_use_all_their_lanes),
       T_CASE(tick_without_time_shrinks_the_index))
