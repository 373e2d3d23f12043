/* SPDX-License-Identifier: MIT
 *
 * Aim:    an index that is full, or has no memory, brings no ended entry back: a change of a key
 *         without a place is found by the next open, an entry that gives its place up is a miss for
 *         all opens, durable entries keep theirs. Keys that share a word never show an older value
 *         of another.
 * Method: a store of 16 MiB on an in-memory disk with an index for MANY keys, or with the least
 *         one. A process death is l2_discard, which writes nothing. */
#include "base/fault.h"
#include "l2/control.h"
#include "l2/log.h"
#include "tests/support/log_kit.h"

#define MANY 6000u /* more keys than the least index has places */

/* Prepare a store with an index for each key. */
static void start(void)
{
    begin(L2_DROP);
    cfg.bytes = (uint64_t)16 << 20;
    cfg.memory_bytes = (uint64_t)16 << 20;
    cfg.seg_bytes = cfg.seg_count = 0;
    l2_dev_init(&dev);
    dev.flat = true;
}

static void open_it(void) { open_on(&dev); }

/* Open with an index that has no place for a part of the keys. */
static void open_small(void)
{
    cfg.avg_object_bytes = (uint64_t)1 << 20;
    open_it();
}

static void stop(void)
{
    l2_close(d);
    l2_dev_fini(&dev);
}

static void put_small(uint32_t i, bool durable)
{
    const l2_key k = key_of(&i);
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .durable = durable };
    cellar_err err = CELLAR_DROPPED;
    while (err == CELLAR_DROPPED) {
        err = l2_put(d, &k, "value", 5, &m, NULL);
        if (err == CELLAR_DROPPED) { (void)l2_tick(d, 0); }
    }
    T_EQ_I64(err, CELLAR_OK);
}

static void put_many(bool durable)
{
    for (uint32_t i = 0; i < MANY; i++) { put_small(i, durable); }
}

static l2_stats figures(void)
{
    l2_stats st;
    l2_stats_get(d, &st);
    return st;
}

/* Return how many of the keys from `from` on, each `step`-th, have a word. */
static uint32_t words(uint32_t from, uint32_t step)
{
    uint32_t n = 0;
    for (uint32_t i = from; i < MANY; i += step) {
        const l2_key k = key_of(&i);
        n += l2_indexed(d, k.hash);
    }
    return n;
}

static void end_many(void)
{
    for (uint32_t i = 0; i < MANY; i++) {
        const l2_key k = key_of(&i);
        l2_invalidate(d, &k);
    }
}

/* The index of the second open has no place for a part of the records. */
T_CASE(change_of_a_key_without_a_place_is_found_by_the_next_open)
{
    start();
    open_it();
    put_many(true);
    l2_close(d);
    open_small();
    T_CHECK(figures().index_full > 0);
    for (uint32_t i = 0; i < MANY; i++) {
        const l2_key k = key_of(&i);
        T_CHECK(!l2_nothing(d, k.hash));
        l2_invalidate(d, &k);
    }
    l2_discard(d);
    cfg.avg_object_bytes = 0;
    open_it();
    T_EQ_U64(words(0, 1), 0);
    stop();
}

/* The allocations behind the one that fails succeed. */
T_CASE(failed_allocation_of_an_open_brings_no_deleted_entry)
{
    uint32_t lacking = 0;
    bool more = true;
    start();
    open_it();
    put_many(true);
    end_many();
    l2_discard(d);
    cfg.avg_object_bytes = (uint64_t)1 << 20; /* a part of the tombstones finds no place */
    for (uint64_t nth = 1; more && !t_failed(); nth++) {
        int e = 0;
        dev.locked = false;
        (void)base_fault_alloc_arm(nth, false);
        const cellar_err err = l2_open(&cfg, &d, &e);
        more = base_fault_alloc_arm(0, false) >= nth;
        if (err != CELLAR_OK) {
            T_EQ_I64(err, CELLAR_E_NOMEM);
            continue;
        }
        T_EQ_U64(words(0, 1), 0);
        lacking += l2_lacks_words(d);
        l2_discard(d);
    }
    T_CHECK(lacking > 0);
    l2_dev_fini(&dev);
}

/* An ordinary entry gives its place up. It is a miss then, also for the next open. */
T_CASE(full_index_takes_new_keys_and_brings_no_old_value_back)
{
    start();
    open_small();
    put_many(false);
    const uint32_t there = words(0, 1);
    for (uint32_t i = 1; i < MANY; i += 2) {
        const l2_key k = key_of(&i);
        l2_invalidate(d, &k);
    }
    T_CHECK(there > 1000 && there < MANY);
    T_FIELDS(figures(), index_full, 0, lost_index, MANY - there);
    l2_discard(d);
    cfg.avg_object_bytes = 0;
    open_it();
    T_EQ_U64(words(1, 2), 0);
    stop();
}

/* The log has no room for the end of an entry that would give its place up. */
T_CASE(put_into_a_full_shard_waits_for_room_of_the_log)
{
    const unsigned char value[16] = { L2_CTL_FLOOR };
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS };
    uint64_t lsn, end;
    l2_took took;
    start();
    open_small();
    put_many(false);
    do {
        took = l2_control_try(d, L2_USE_KEEP, L2_KIND_CONTROL, 0, value, sizeof value, &lsn, &end);
    } while (took == L2_TOOK || l2_make_way(d, took, L2_NO_LIMIT_NS) == L2_TOOK);
    for (uint32_t i = MANY; i < MANY + 100; i++) {
        const l2_key k = key_of(&i);
        T_EQ_I64(l2_put(d, &k, "", 0, &m, NULL), CELLAR_DROPPED);
    }
    for (int i = 0; i < 3; i++) { (void)l2_tick(d, 0); }
    put_small(MANY, false);
    stop();
}

T_CASE(durable_entries_keep_their_places)
{
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .durable = true };
    uint32_t stored = 0;
    start();
    open_small();
    for (uint32_t i = 0; i < MANY; i++) {
        const l2_key k = key_of(&i);
        const cellar_err err = l2_put(d, &k, "value", 5, &m, NULL);
        T_CHECK(err == CELLAR_OK || err == L2_REFUSED);
        stored += err == CELLAR_OK;
    }
    T_CHECK(stored > 1000 && stored < MANY);
    T_EQ_U64(words(0, 1), stored);
    end_many(); /* makes room */
    for (uint32_t i = 0; i < stored / 4; i++) { put_small(MANY + i, true); }
    stop();
}

/* ---- keys that share a word ---- */

#define PAIRS 4u
#define PAIR_GENERATION 7u
/* Two keys of one row have the same upper 56 bits of l2_mix, with the secret of the kit and this
 * generation. All 2^32 keys were searched for those with five first bits. */
static const uint32_t pair[PAIRS][2] = { { 1942208957, 2568209154 }, { 2132671910, 2831927796 },
                                         { 2211692864, 4191557500 }, { 2861124810, 3192733765 } };

static void put_of_pair(uint32_t i, uint32_t v, bool durable)
{
    const l2_key k = key_of(&i);
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = v, .durable = durable };
    T_EQ_I64(l2_put(d, &k, &i, sizeof i, &m, NULL), CELLAR_OK);
}

/* Return the version that is served; 0: none. */
static uint32_t look_of_pair(uint32_t i)
{
    const l2_key k = key_of(&i);
    uint32_t value = 0;
    size_t n = 0;
    l2_meta m;
    if (l2_get(d, &k, &value, sizeof value, &n, &m) != CELLAR_OK) { return 0; }
    T_CHECK(n == sizeof value && value == i);
    return m.user_flags;
}

/* The records of other keys let the log come round. */
static void fill_a_segment(base_rng *r)
{
    generation_now = GENERATION;
    for (uint32_t n = 0; n < 300; n++) { put_small((uint32_t)base_rng_below(r, 1500), true); }
    (void)l2_tick(d, 0);
    generation_now = PAIR_GENERATION;
}

static void open_pairs(void)
{
    const l2_namespace ns = { .id = 2, .generation = PAIR_GENERATION };
    open_it();
    T_EQ_I64(l2_namespace_set(d, &ns, "pairs", 5), CELLAR_OK);
    generation_now = PAIR_GENERATION;
}

T_CASE(no_key_restores_an_older_value_of_another_with_its_bits)
{
    uint32_t now[PAIRS][2] = { { 0 } }, hits = 0;
    base_rng rng;
    base_rng_seed(&rng, t_seed());
    start();
    cfg.seg_bytes = 65536;
    cfg.seg_count = 12;
    cfg.bytes = 12 * 65536;
    open_pairs();
    for (uint32_t i = 0; i < PAIRS; i++) {
        const l2_key a = key_of(&pair[i][0]), b = key_of(&pair[i][1]);
        T_REQUIRE(base_mix64(a.hash) >> 8 == base_mix64(b.hash) >> 8);
    }
    for (uint32_t step = 1; step < 20000 && !t_failed(); step++) {
        const uint64_t r = base_rng_next(&rng), i = r % PAIRS, side = r >> 8 & 1;
        uint32_t *is = &now[i][side];
        if ((r >> 16) % 3 == 0) {
            const l2_key k = key_of(&pair[i][side]);
            l2_invalidate(d, &k);
            *is = 0;
        } else {
            put_of_pair(pair[i][side], *is = step, (r >> 24 & 1) != 0);
        }
        if ((r >> 32) % 100 == 0) { fill_a_segment(&rng); }
        if ((r >> 40) % 200 == 0) {
            l2_discard(d);
            open_pairs();
        }
        for (uint32_t k = 0; k < 2 * PAIRS; k++) {
            const uint32_t got = look_of_pair(pair[k / 2][k % 2]);
            T_CHECK(got == 0 || got == now[k / 2][k % 2]);
            hits += got != 0;
        }
    }
    T_CHECK(hits > 20000);
    stop();
}

T_ONE_THREAD;
T_MAIN("log_index")
