/* SPDX-License-Identifier: MIT
 *
 * Aim:    The promises of L1 hold in every interleaving. A hit is the latest set, deletes win,
 *         values are whole and belong to their key, nothing is lost below the budget. Each removal
 *         is announced once, pinned bytes stay, the account is never over its limit. Some scenario
 *         here must catch each mistake that can be switched on in src/core/l1 ("l1.*").
 * Method: A few fibers with random operations on a few keys in one small store. Every value carries
 *         a number of its own. At the end the history of each key is checked by its rules, l1_audit walks
 *         the structure, and all memory must be returned. The store, its operations and the rules
 *         are in l1_world.c. */
#include "tests/concurrency/sim/l1_world.h"
#include "tests/concurrency/sim/scenarios.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "l1/evict.h"
#include "l1/large.h"
#include "l1/policy.h"
#include "l1/segment.h"

/* ---- kv: sets (in place and appended), gets, deletes on two keys ---- */

static void l1_kv_by(const world_mix *mix, bool want_left, bool filled)
{
    static const world_mix reader = { .get = 1, .ops = 4, .key_count = 2 };
    world_open(&(world_plan){ .budget = 64 << 10, .seg_bytes = 1024, .no_loss = true,
                              .commit_hook = true, .want_left = want_left });
    (void)world_key_with(15, 3);
    (void)world_key_with(15, base_sim_below(2) == 0 ? 3 : 4);
    if (filled) { (void)world_set(0, 24); }
    world_spawn_many(2, "mixer", mix);
    world_spawn("reader", &reader);
    world_close();
}

SIM_SCENARIO(l1_kv, "set, get, del: linearizable, whole, none lost")
{
    static const world_mix mix = { .set = 4, .get = 4, .del = 2, .ops = 4, .key_count = 2,
                                   .len = { 24, 24, 22, 90 } };
    l1_kv_by(&mix, base_sim_below(2) == 0, base_sim_below(2) == 0);
}

/* Tagged entries, which l1_get_marked reads. */
SIM_SCENARIO(l1_tags, "set with tags, get, del: as kv")
{
    static const world_mix mix = { .set = 4, .get = 4, .del = 1, .ops = 4, .key_count = 2,
                                   .len = { 24, 24, 22, 90 }, .tags = 2 };
    l1_kv_by(&mix, false, false);
}

/* ---- split: keys of the splitting bucket are read, deleted, set ---- */

enum { SPLIT_WATCHED = 6 };

/* Open a store with the keys that the split moves or leaves. */
static void split_open(uint32_t seg_bytes)
{
    world_open(&(world_plan){ .budget = 96 << 10, .seg_bytes = seg_bytes, .no_loss = true });
    for (uint32_t i = 0; i < SPLIT_WATCHED; i++) { (void)world_key_with(31, i % 2 == 0 ? 0 : 16); }
}

/* Return the entries that a fresh stripe takes before its first split: measured once, with a store
 * of its own. */
static uint32_t split_below(void)
{
    static uint32_t known;
    if (known != 0) { return known; }
    const base_rng rng = base_thread_self()->rng;
    base_sim_calm(true);
    base_account account;
    /* A secret that spreads keys: a crowded stripe splits earlier. */
    const base_hash_key key = { .secret = { UINT64_C(0x9e3779b97f4a7c15),
                                            UINT64_C(0xbf58476d1ce4e5b9),
                                            UINT64_C(0x94d049bb133111eb),
                                            UINT64_C(0xd6e8feb86659fd93) },
                                .algo = BASE_HASH_FOLD };
    static const base_clock system = { NULL, NULL, NULL };
    base_account_init(&account, 96 << 10, NULL);
    l1_config cfg = { .account = &account, .hash_key = &key, .clock = &system, .stripes = 1,
                      .seg_bytes = 1024 };
    l1 *c;
    BASE_SIM_CHECK(l1_open(&cfg, &c) == CELLAR_OK);
    uint32_t n = 0;
    for (; c->stripe[0].splits == 0 && n < 200; n++) {
        l1_put_spec p = { .value = &n, .value_len = 4, .deadline_ms = BASE_NEVER_MS };
        l1_key k = { .bytes = &n, .len = 4, .hash = base_hash(&key, 0, &n, 4) };
        BASE_SIM_CHECK(l1_put(c, &k, &p) == CELLAR_OK);
    }
    l1_close(c);
    base_sim_calm(false);
    base_thread_self()->rng = rng; /* the first run of a program is like all others */
    BASE_SIM_CHECK(n < 200);
    known = n - 1;
    return known;
}

static void world_preload(uint32_t count)
{
    base_sim_calm(true);
    while (world.key_count < count) { (void)world_key_with(0, 0); }
    for (uint32_t k = 0; k < count; k++) { (void)world_set(k, 8); }
    base_sim_calm(false);
}

SIM_FIBER(split_inserter)
{
    for (int i = 0; i < 4; i++) { (void)world_set(world_key_with(0, 0), 8); }
}

SIM_SCENARIO(l1_split, "keys survive the split of their bucket")
{
    split_open(1024);
    world_preload(split_below() - (uint32_t)base_sim_below(3));
    BASE_SIM_CHECK(world.c->stripe[0].splits == 0);
    static const world_mix mix = { .set = 1, .get = 3, .del = 2, .ops = 3,
                                   .key_count = SPLIT_WATCHED, .len = { 8, 8, 9, 20 } };
    static const world_mix reader = { .get = 1, .ops = 4, .key_count = SPLIT_WATCHED };
    base_sim_spawn("inserter", split_inserter, NULL);
    world_spawn("mixer", &mix);
    world_spawn("reader", &reader);
    base_sim_join_all();
    base_sim_calm(true);
    for (uint32_t k = 0; k < world.key_count; k++) { (void)world_get(k); }
    base_sim_calm(false);
    world_close();
}

/* ---- contract: buckets merge and come back while their keys are read and changed ---- */

enum { CONTRACT_LEFT = 34 }; /* of split_below() + 2: less than a quarter of the slots */

SIM_FIBER(contract_ticker)
{
    (void)l1_tick(world.c, 1000000);
    if (base_sim_below(4) != 0) { return; }
    for (uint32_t k = CONTRACT_LEFT; k < split_below() + 2; k++) { (void)world_set(k, 8); }
}

SIM_SCENARIO(l1_contract, "keys survive merging and splitting again")
{
    split_open(512);
    world_preload(split_below() + 2);
    BASE_SIM_CHECK(world.c->stripe[0].splits == 1);
    base_sim_calm(true);
    for (uint32_t k = CONTRACT_LEFT; k < split_below() + 2; k++) { world_del(k); }
    base_sim_calm(false);
    static const world_mix mix = { .set = 2, .get = 3, .del = 2, .ops = 3,
                                   .key_count = SPLIT_WATCHED, .len = { 8, 8, 9, 20 } };
    static const world_mix reader = { .get = 1, .ops = 3, .key_count = SPLIT_WATCHED };
    base_sim_spawn("ticker", contract_ticker, NULL);
    world_spawn("mixer", &mix);
    world_spawn("reader", &reader);
    base_sim_join_all();
    base_sim_calm(true);
    for (uint32_t k = 0; k < world.key_count; k++) { (void)world_get(k); }
    BASE_SIM_CHECK(world.c->stripe[0].merges >= 1);
    base_sim_calm(false);
    world_close();
}

/* ---- evict: a store of a few segments, every policy, forged records in the values ---- */

enum { EVICT_KEYS = 48, EVICT_FIXED = 17 << 10, EVICT_SEG = 512 };

/* Set until eviction has begun. The history begins with a set of each live value; earlier events
 * are not judged. */
static void world_fill_up(uint32_t keys, uint32_t len)
{
    base_sim_calm(true);
    uint64_t evicted = 0;
    for (uint32_t n = 0; n < 600 && evicted < 4; n++) {
        (void)world_set((uint32_t)base_sim_below(keys), len);
        (void)world_get((uint32_t)base_sim_below(keys));
        world.event_count = 0;
        evicted = 0;
        for (uint32_t i = 0; i < world.c->stripe_count; i++) {
            evicted += base_load_rlx(&world.c->lane[i].evicted);
        }
    }
    BASE_SIM_CHECK(evicted >= 4);
    for (uint32_t k = 0; k < keys; k++) {
        if (world_get(k)) { world.event[world.event_count - 1].what = WORLD_SET; }
    }
    base_sim_calm(false);
}

/* Open a store in which eviction has begun. */
static void evict_open(const world_plan *p)
{
    world_open(p);
    for (uint32_t i = 0; i < EVICT_KEYS; i++) { (void)world_key_with(3, i % 2); }
    world_fill_up(EVICT_KEYS, 100);
}

SIM_SCENARIO(l1_evict, "eviction: no stale, torn or forged value")
{
    evict_open(&(world_plan){ .budget = EVICT_FIXED + 9 * EVICT_SEG, .seg_bytes = EVICT_SEG,
                              .policy = (l1_policy)base_sim_below(3),
                              .want_left = base_sim_below(2) == 0 });
    static const world_mix mix = { .set = 5, .get = 3, .del = 1, .ops = 5, .key_count = EVICT_KEYS,
                                   .len = { 24, 60, 100, 100 } };
    static const world_mix reader = { .get = 3, .set = 1, .ops = 5, .key_count = EVICT_KEYS,
                                      .len = { 100, 100, 100, 60 } };
    world_spawn_many(2, "mixer", &mix);
    world_spawn("reader", &reader);
    world_close();
}

/* ---- sample: three readers share a ring and the shadows; every key is sampled ---- */

SIM_FIBER(sample_fiber)
{
    for (unsigned i = 0; i < 30; i++) {
        l1_sampled(world.c, UINT64_C(0x9e3779b97f4a7c15) * (1 + base_sim_below(200)), 0);
    }
}

SIM_SCENARIO(l1_sample, "sampled keys: rings and shadows stay whole")
{
    /* 64 entries share one ring, 96 have several, and the fibers race on the shadows. */
    world_open(&(world_plan){ .budget = (base_sim_below(2) == 0 ? 64u : 96u) << 10,
                              .seg_bytes = 1024,
                              .policy = L1_ADAPTIVE });
    BASE_SIM_CHECK(base_load_rlx(&world.c->sample_limit) != 0);
    base_sim_spawn_many(3, "reader", sample_fiber, NULL);
    base_sim_join_all();
    const char *wrong = l1_shadow_audit(world.c);
    if (wrong != NULL) { base_sim_fail("%s", wrong); }
    BASE_SIM_CHECK(base_load_rlx(&world.c->rule) < L1_EXPERTS);
    world_close();
}

/* ---- pin: bytes stay while the key is set in place, deleted, evicted, its segment needed ---- */

SIM_SCENARIO(l1_pin, "pinned bytes stay")
{
    evict_open(&(world_plan){ .budget = EVICT_FIXED + 9 * EVICT_SEG, .seg_bytes = EVICT_SEG,
                              .policy = L1_FIFO, .want_left = base_sim_below(4) == 0 });
    static const uint32_t lens[2] = { 24, 100 };
    const uint32_t len = lens[base_sim_below(2)];
    if (base_sim_below(2) == 0) { world.c->user_pin_lines = 1; } /* threads that share a line */
    (void)world_set(0, len);
    (void)world_set(1, len);
    const world_mix writer = { .set = 3, .del = 1, .ops = 4, .key_count = 2,
                               .len = { len, len, len, len } };
    static const world_mix pinner = { .pin = 1, .ops = 3, .key_count = 2 };
    static const world_mix churn = { .set = 1, .ops = 12, .key_first = 2,
                                     .key_count = EVICT_KEYS - 2, .len = { 100, 100, 100, 90 } };
    world_spawn("writer", &writer);
    world_spawn_many(2, "pinner", &pinner);
    world_spawn("churn", &churn);
    base_sim_join_all();
    for (uint32_t i = 0; i < world.c->pin_lines; i++) {
        for (unsigned j = 0; j < L1_PIN_SLOTS; j++) {
            BASE_SIM_CHECK(world.c->pin[i].slot[j] == 0);
        }
    }
    world_close();
}

/* ---- big: values outside the log, replaced and evicted during reads and pins ---- */

static void l1_big_by(const world_mix *writer, uint64_t budget, bool long_keys)
{
    static const world_mix reader = { .get = 3, .pin = 2, .tick = 1, .ops = 4, .key_count = 3 };
    world_open(&(world_plan){ .budget = EVICT_FIXED + budget, .seg_bytes = EVICT_SEG,
                              .want_left = base_sim_below(2) == 0, .long_keys = long_keys });
    for (uint32_t i = 0; i < 3; i++) { (void)world_key_with(3, i % 2); }
    if (long_keys) { world.key[1].hash = world.key[0].hash; } /* only the bytes differ */
    (void)world_set(0, writer->len[0]);
    world_spawn_many(2, "writer", writer);
    world_spawn_many(2, "reader", &reader);
    world_close();
}

SIM_SCENARIO(l1_big, "oversized values: retire list, pins, budget")
{
    static const world_mix writer = { .set = 5, .get = 1, .del = 1, .tick = 1, .ops = 5,
                                      .key_count = 3, .len = { 1500, 900, 2500, 60 } };
    l1_big_by(&writer, 10 << 10, false);
}

/* Keys in blocks, two of them with one hash, under the same operations. */
SIM_SCENARIO(l1_apart, "keys outside the log: all of them compared")
{
    static const world_mix writer = { .set = 5, .get = 1, .del = 1, .tick = 1, .ops = 5,
                                      .key_count = 3, .len = { 24, 24, 1500, 100 } };
    l1_big_by(&writer, 18 << 10, true);
}

/* ---- expire: deadlines of a few ms, touched, reclaimed; a hit is never late by a millisecond
 * ---- */

static void expire_hit_check(uint32_t key, uint32_t id, int64_t start_ms)
{
    int64_t until = world.id[id].until_ms;
    if (until <= start_ms) {
        base_sim_fail("value %u of key %u served at %lld, dead since %lld", id, key,
                      (long long)start_ms, (long long)until);
    }
}

/* A touch moves the deadline of the current value: of every number of the key, for this check. One
 * touch of a key at a time. */
static void expire_touch(uint32_t key, int64_t until_ms)
{
    if (world.touching_ms[key] != 0) { return; }
    world.touching_ms[key] = until_ms;
    for (uint32_t id = 1; id <= world.id_count; id++) {
        if (world.id[id].key == key && world.id[id].until_ms < until_ms) {
            world.id[id].until_ms = until_ms;
        }
    }
    l1_key k = world_l1_key(key);
    cellar_err err = l1_touch(world.c, &k, until_ms, -1, NULL);
    BASE_SIM_CHECK(err == CELLAR_OK || err == CELLAR_MISS);
    world.touching_ms[key] = 0;
    world.changes[key] += err == CELLAR_OK;
}

static void expire_reader(uint32_t key)
{
    int64_t now = base_sim_now_ms();
    if (world_get(key)) { expire_hit_check(key, world.event[world.event_count - 1].id, now); }
}

SIM_FIBER(expire_fiber)
{
    for (int i = 0; i < 5; i++) {
        uint32_t key = (uint32_t)base_sim_below(3);
        int64_t until = base_sim_now_ms() + 1 + (int64_t)base_sim_below(40);
        switch (base_sim_below(8)) {
        case 0: case 1: case 2: {
            l1_put_spec p = world_spec(NULL, 0);
            p.deadline_ms = base_sim_below(5) == 0 ? BASE_NEVER_MS : until;
            if (base_sim_below(4) == 0) { p.stale_ms = 15; }
            (void)world_put(key, base_sim_below(2) == 0 ? 24 : 60, &p);
            break;
        }
        case 3: expire_touch(key, until); break;
        case 4: (void)l1_tick(world.c, 1000000); break;
        case 5: base_sim_advance_ms(1 + (int64_t)base_sim_below(30)); break;
        default: expire_reader(key); break;
        }
        world_within_budget();
    }
}

SIM_SCENARIO(l1_expire, "deadlines are exact, the sweep is complete")
{
    world_open(&(world_plan){ .budget = EVICT_FIXED + 12 * EVICT_SEG, .seg_bytes = EVICT_SEG,
                              .commit_hook = true, .want_left = base_sim_below(2) == 0 });
    for (uint32_t i = 0; i < 3; i++) { (void)world_key_with(3, 1); }
    base_sim_spawn_many(3, "fiber", expire_fiber, NULL);
    base_sim_join_all();
    base_sim_calm(true);
    base_sim_advance_ms(100);
    for (uint32_t k = 0; k < 3; k++) { expire_reader(k); }
    /* Every due entry is reclaimed without a read; the remaining ones have no deadline. */
    for (int i = 0; i < 3; i++) { (void)l1_tick(world.c, 1000000); }
    l1_stats st;
    l1_stats_get(world.c, &st);
    uint64_t there = 0;
    for (uint32_t k = 0; k < 3; k++) { there += world_get(k); }
    if (st.entries != there) {
        base_sim_fail("%llu entries after the sweep, %llu of them alive",
                      (unsigned long long)st.entries, (unsigned long long)there);
    }
    base_sim_calm(false);
    world_close();
}

/* ---- nearer: a deadline comes nearer while a pass reads its record ---- */

SIM_FIBER(nearer_fiber)
{
    const int64_t until = base_sim_now_ms() + 5;
    if (base_sim_below(2) == 0) {
        expire_touch(0, until);
    } else {
        l1_put_spec p = world_spec(NULL, 0);
        p.deadline_ms = until;
        (void)world_put(0, 24, &p);
    }
}

SIM_FIBER(nearer_pass) { (void)l1_tick(world.c, 1000000); }

SIM_SCENARIO(l1_nearer, "a pass misses no deadline that comes nearer")
{
    world_open(&(world_plan){ .budget = EVICT_FIXED + 12 * EVICT_SEG, .seg_bytes = EVICT_SEG,
                              .commit_hook = true });
    for (uint32_t i = 0; i < 2; i++) { (void)world_key_with(3, 1); }
    (void)world_set(0, 24);
    l1_put_spec p = world_spec(NULL, 0);
    p.deadline_ms = base_sim_now_ms() + 1; /* the reason for the pass */
    (void)world_put(1, 24, &p);
    base_sim_advance_ms(2);
    base_sim_spawn("fiber", nearer_fiber, NULL);
    base_sim_spawn("pass", nearer_pass, NULL);
    base_sim_join_all();
    base_sim_advance_ms(100);
    (void)l1_tick(world.c, 1000000);
    l1_stats st;
    l1_stats_get(world.c, &st);
    if (st.entries != 0) { base_sim_fail("%llu entries after the sweep",
                                         (unsigned long long)st.entries); }
    world_close();
}

/* ---- idle: hits update last_use while the memory is reused ---- */

SIM_FIBER(idle_fiber)
{
    for (int i = 0; i < 5; i++) {
        if (base_sim_below(2) == 0) { base_sim_advance_ms(1 + (int64_t)base_sim_below(4)); }
        (void)world_get((uint32_t)base_sim_below(3));
    }
}

/* Set others until the segment of this key is the next one to be evicted. False: one set evicted
 * all of it. */
static bool world_age(uint32_t key)
{
    l1_info info;
    l1_key k = world_l1_key(key);
    for (uint32_t n = 0; n < 400; n++) {
        if (l1_inspect(world.c, &k, NULL, 0, &info, L1_PEEK) != CELLAR_OK) { return false; }
        if (world.c->lane[0].queue[0].tail == l1_seg_of(world.c, info.at)) { return true; }
        (void)world_set(3 + (uint32_t)base_sim_below(EVICT_KEYS - 3), 100);
    }
    base_sim_fail("a segment stays young over 400 sets");
    return true;
}

SIM_SCENARIO(l1_idle, "updates of last_use never touch other bytes")
{
    evict_open(&(world_plan){ .budget = EVICT_FIXED + 9 * EVICT_SEG, .seg_bytes = EVICT_SEG,
                              .policy = L1_FIFO });
    base_sim_calm(true);
    for (uint32_t k = 0; k < 3; k++) { world_del(k); }
    do {
        for (uint32_t k = 0; k < 3; k++) {
            l1_put_spec p = world_spec(NULL, 0);
            p.idle_ms = 1000;
            (void)world_put(k, 60, &p);
        }
    } while (!world_age(0));
    base_sim_calm(false);
    static const world_mix churn = { .set = 1, .ops = 14, .key_first = 3,
                                     .key_count = EVICT_KEYS - 3, .len = { 100, 100, 90, 60 } };
    base_sim_spawn_many(2, "idle", idle_fiber, NULL);
    world_spawn("churn", &churn);
    world_close();
}

/* ---- lanes: the records of a key lie in other lanes than the threads that change it ---- */

enum { LANES_KEYS = 240, LANES_SEG = 256, LANES_HOT = 6, LANES_MOST = 130 };

/* Move records to the lane of this thread: an idle time comes and goes. */
SIM_FIBER(lanes_rewriter)
{
    for (unsigned i = 0; i < 10; i++) {
        const l1_key k = world_l1_key((uint32_t)base_sim_below(LANES_HOT));
        const cellar_err err = l1_touch(world.c, &k, BASE_NEVER_MS, i % 2 * 1000000, NULL);
        BASE_SIM_CHECK(err == CELLAR_OK || err == CELLAR_MISS || err == CELLAR_E_SPACE);
    }
}

SIM_SCENARIO(l1_lanes, "keys move between lanes: none lost or twice")
{
    const bool bounded = base_sim_below(2) == 0;
    world_open(&(world_plan){ .budget = 34 << 10, .seg_bytes = LANES_SEG, .stripes = 2,
                              .max_entries = bounded ? LANES_MOST : 0,
                              .policy = (l1_policy)base_sim_below(3),
                              .want_left = base_sim_below(2) == 0 });
    BASE_SIM_CHECK(world.c->stripe_count == 2);
    for (uint32_t i = 0; i < LANES_KEYS; i++) { (void)world_key_with(0, 0); }
    world_fill_up(LANES_KEYS, 40);
    static const world_mix hot = { .set = 4, .get = 3, .del = 2, .pin = 2, .ops = 6,
                                   .key_count = LANES_HOT, .len = { 24, 30, 40, 400 } };
    static const world_mix wide = { .set = 6, .get = 1, .tick = 1, .ops = 6,
                                    .key_count = LANES_KEYS, .len = { 40, 40, 24, 30 } };
    world_spawn_many(2, "hot", &hot);
    world_spawn("wide", &wide);
    base_sim_spawn("rewriter", lanes_rewriter, NULL);
    base_sim_join_all();
    base_sim_calm(true); /* each lane uses the tickets that it has */
    for (uint32_t k = 0; bounded && k < LANES_KEYS; k++) {
        (void)world_set(k, 24);
        BASE_SIM_CHECK(l1_lane_entries(&world.c->lane[0]) + l1_lane_entries(&world.c->lane[1]) <=
                       LANES_MOST);
    }
    base_sim_calm(false);
    world_close();
}

/* ---- resize: the budget or the bound of entries shrinks and grows during operations ---- */

SIM_FIBER(resize_fiber)
{
    const uint64_t full = base_load_rlx(&world.account.limit);
    for (int i = 0; i < 2; i++) {
        if (base_load_rlx(&world.c->max_entries) != 0) {
            BASE_SIM_CHECK(l1_set_max_entries(world.c, 1 + base_sim_below(8)) == CELLAR_OK);
            continue;
        }
        uint64_t less = EVICT_FIXED + (5 + base_sim_below(3)) * EVICT_SEG;
        world.over = true;
        cellar_err err = l1_resize(world.c, less);
        if (err == CELLAR_OK) {
            world.over = false;
            world_within_budget();
        } else {
            BASE_SIM_CHECK(err == CELLAR_E_SPACE);
        }
        BASE_SIM_CHECK(l1_resize(world.c, full) == CELLAR_OK);
        world.over = false;
        world_within_budget();
    }
}

SIM_SCENARIO(l1_resize, "budget and bound hold when they shrink under load")
{
    evict_open(&(world_plan){ .budget = EVICT_FIXED + 12 * EVICT_SEG, .seg_bytes = EVICT_SEG,
                              .max_entries = base_sim_below(2) * EVICT_KEYS,
                              .want_left = base_sim_below(4) == 0 });
    static const world_mix mix = { .set = 4, .get = 3, .del = 1, .pin = 1, .tick = 1, .ops = 6,
                                   .key_count = EVICT_KEYS, .len = { 24, 60, 100, 600 } };
    base_sim_spawn("resizer", resize_fiber, NULL);
    world_spawn_many(2, "mixer", &mix);
    world_close();
}

/* ---- scan: a key present throughout is visited, through splits and deletes of others ---- */

static struct { unsigned char seen[WORLD_KEYS]; } scan;

static bool scan_see(void *ctx, const l1_seen *e)
{
    (void)ctx;
    uint32_t k = world_key_of(e->key, e->key_len);
    unsigned char copy[WORLD_VALUE_MAX];
    if (e->value != NULL) {
        memcpy(copy, e->value, e->value_len);
        (void)world_read(copy, e->value_len, k);
    }
    scan.seen[k] = 1;
    return true;
}

SIM_FIBER(scan_fiber)
{
    uint64_t cursor = 0;
    do {
        cellar_err err = l1_scan(world.c, &cursor, 1 + base_sim_below(5), 0, true, scan_see, NULL);
        BASE_SIM_CHECK(err == CELLAR_OK);
    } while (cursor != 0);
}

SIM_SCENARIO(l1_scan, "a scan visits each stable key")
{
    memset(&scan, 0, sizeof scan);
    split_open(512);
    const bool merging = base_sim_below(3) == 0;
    world_preload(merging ? split_below() + 2 : split_below() - (uint32_t)base_sim_below(3));
    const uint32_t stay = merging ? CONTRACT_LEFT : world.key_count;
    base_sim_calm(true);
    for (uint32_t k = stay; k < world.key_count; k++) { world_del(k); }
    base_sim_calm(false);
    static const world_mix mix = { .set = 1, .get = 1, .del = 2, .ops = 4, .key_count = 3,
                                   .len = { 8, 8, 9, 20 } };
    base_sim_spawn("scanner", scan_fiber, NULL);
    if (merging) {
        base_sim_spawn("ticker", contract_ticker, NULL);
    } else {
        base_sim_spawn("inserter", split_inserter, NULL);
    }
    world_spawn("mixer", &mix);
    base_sim_join_all();
    for (uint32_t k = 3; k < stay; k++) {
        if (!scan.seen[k]) { base_sim_fail("key %u was there throughout and not seen", k); }
    }
    world_close();
}

/* ---- incr and conditional sets: no change is lost ---- */

static struct { int64_t sum; uint32_t wins; } count;

SIM_FIBER(count_fiber)
{
    l1_key k = world_l1_key(0), v = world_l1_key(1);
    for (int i = 0; i < 3; i++) {
        int64_t now = 0, by = 1 + (int64_t)base_sim_below(5);
        l1_put_spec fresh = world_spec(NULL, 0);
        cellar_err err = l1_incr(world.c, &k, by, 0, &fresh, false, &now, NULL);
        BASE_SIM_CHECK(err == CELLAR_OK && now >= by);
        count.sum += by;
        /* Read, add one, store if the version is still the same. */
        l1_info info;
        int64_t n = 0;
        uint64_t version = 0;
        err = l1_version(world.c, &v, &version);
        BASE_SIM_CHECK(err == CELLAR_OK);
        err = l1_inspect(world.c, &v, &n, sizeof n, &info, 0);
        BASE_SIM_CHECK(err == CELLAR_OK && info.value_len == sizeof n);
        if (info.version != version) { continue; }
        n++;
        l1_put_spec p = world_spec(&n, sizeof n);
        p.flags = L1_IF_VERSION | L1_WANT_VERSION;
        p.if_version = version;
        err = l1_put(world.c, &v, &p);
        BASE_SIM_CHECK(err == CELLAR_OK || err == CELLAR_CONFLICT);
        count.wins += err == CELLAR_OK;
    }
}

SIM_SCENARIO(l1_count, "incr and version-checked sets lose nothing")
{
    memset(&count, 0, sizeof count);
    world_open(&(world_plan){ .budget = 64 << 10, .seg_bytes = 1024 });
    (void)world_key_with(15, 3);
    (void)world_key_with(15, base_sim_below(2) == 0 ? 3 : 4);
    int64_t n = 0;
    l1_key k = world_l1_key(0), v = world_l1_key(1);
    l1_put_spec p = world_spec(&n, sizeof n);
    BASE_SIM_CHECK(l1_put(world.c, &v, &p) == CELLAR_OK);
    base_sim_spawn_many(3, "counter", count_fiber, NULL);
    base_sim_join_all();
    base_sim_calm(true);
    size_t len;
    BASE_SIM_CHECK(l1_get(world.c, &k, &n, sizeof n, &len, 0) == CELLAR_OK && n == count.sum);
    BASE_SIM_CHECK(l1_get(world.c, &v, &n, sizeof n, &len, 0) == CELLAR_OK && n == count.wins);
    BASE_SIM_CHECK(count.wins >= 1);
    base_sim_calm(false);
    world_close();
}

/* ---- fault: some allocation fails, at open or later ---- */

SIM_SCENARIO(l1_fault, "any allocation may fail")
{
    const uint64_t nth = 1 + base_sim_below(40);
    const bool at_open = base_sim_below(2) == 0;
    const world_plan plan = { .budget = EVICT_FIXED + 12 * EVICT_SEG, .seg_bytes = EVICT_SEG };
    if (at_open) {
        static const base_clock system = { NULL, NULL, NULL };
        base_account account;
        base_hash_key key = { .algo = BASE_HASH_FOLD };
        l1_config cfg = { .account = &account, .hash_key = &key, .clock = &system, .stripes = 1,
                          .seg_bytes = EVICT_SEG };
        l1 *c;
        base_account_init(&account, 64 << 10, NULL);
        (void)base_fault_alloc_arm(nth, base_sim_below(2) == 0);
        cellar_err err = l1_open(&cfg, &c);
        (void)base_fault_alloc_arm(0, false);
        BASE_SIM_CHECK(err == CELLAR_OK || err == CELLAR_E_NOMEM);
        BASE_SIM_CHECK((err == CELLAR_OK) == (c != NULL));
        l1_close(c);
        BASE_SIM_CHECK(account.used == 0);
    }
    world_open(&plan);
    for (uint32_t i = 0; i < EVICT_KEYS; i++) { (void)world_key_with(3, i % 2); }
    static const world_mix mix = { .set = 6, .get = 2, .del = 1, .pin = 1, .tick = 1, .ops = 8,
                                   .key_count = EVICT_KEYS, .len = { 24, 100, 600, 1500 } };
    (void)base_fault_alloc_arm(1 + base_sim_below(12), base_sim_below(4) == 0);
    world_spawn_many(2, "mixer", &mix);
    base_sim_join_all();
    (void)base_fault_alloc_arm(0, false);
    world_close();
}

/* ---- forged: segments are reused so that images of records are where records were ---- */

SIM_SCENARIO(l1_forged, "images of records are never served")
{
    enum { HOT = 4 };
    world_open(&(world_plan){ .budget = EVICT_FIXED + 7 * EVICT_SEG, .seg_bytes = EVICT_SEG,
                              .policy = L1_FIFO });
    for (uint32_t i = 0; i < 2 * EVICT_KEYS; i++) { (void)world_key_with(3, i % 4); }
    world.victims = HOT;
    world_fill_up(2 * EVICT_KEYS, 17); /* records of 32 bytes; those of 49 take 64, image at 32 */
    base_sim_calm(true);
    for (uint32_t k = 0; k < HOT; k++) { world_del(k); }
    do {
        for (uint32_t k = 0; k < HOT; k++) { (void)world_set(k, 17); }
    } while (!world_age(0));
    base_sim_calm(false);
    static const world_mix churn = { .set = 1, .ops = 16, .key_first = HOT,
                                     .key_count = 2 * EVICT_KEYS - HOT, .len = { 49, 49, 49, 17 } };
    static const world_mix reader = { .get = 4, .pin = 1, .ops = 4, .key_count = HOT };
    world_spawn("churn", &churn);
    world_spawn_many(2, "reader", &reader);
    world_close();
}

/* ---- inspect: a dead key has no answer ---- */

SIM_FIBER(l1_inspect_deleter) { world_del(0); }

SIM_FIBER(l1_inspect_looker)
{
    for (int i = 0; i < 2; i++) {
        const l1_key k = world_l1_key(0);
        l1_info info;
        const cellar_err err = l1_inspect(world.c, &k, NULL, 0, &info, L1_PEEK | L1_STALE_OK);
        BASE_SIM_CHECK(err == CELLAR_OK || err == CELLAR_MISS);
        /* No deadline, so no expired entry exists: the thread that lost the round forgets it. */
        BASE_SIM_CHECK((err == CELLAR_OK) == (info.expires_ms != 0));
    }
}

SIM_SCENARIO(l1_inspect, "inspect of a dead key returns nothing")
{
    world_open(&(world_plan){ .budget = 64 << 10, .seg_bytes = 1024, .no_loss = true });
    (void)world_key_with(15, 3);
    (void)world_set(0, 24);
    base_sim_spawn("looker", l1_inspect_looker, NULL);
    base_sim_spawn("deleter", l1_inspect_deleter, NULL);
    world_close();
}

/* ---- pin_write: one key, written in place and pinned at the same time ---- */

SIM_SCENARIO(l1_pin_write, "pins against writes in place")
{
    world_open(&(world_plan){ .budget = 64 << 10, .seg_bytes = 1024, .no_loss = true });
    (void)world_key_with(15, 3);
    (void)world_set(0, 24);
    static const world_mix writer = { .set = 1, .ops = 2, .key_count = 1, .len = { 24, 24, 24, 24 },
                                      .hold = 100 };
    static const world_mix pinner = { .pin = 1, .ops = 2, .key_count = 1,
                                      .hold = 60 };
    world_spawn("writer", &writer);
    world_spawn("pinner-1", &pinner);
    if (base_sim_below(2) == 0) { world_spawn("pinner-2", &pinner); }
    world_close();
}

/* ---- split_read: without deletes each get must hit, whenever the bucket is split ---- */

SIM_FIBER(split_one) { (void)world_set(world_key_with(0, 0), 8); }

SIM_FIBER(split_reader)
{
    for (int i = 0; i < 4; i++) {
        uint32_t k = (uint32_t)base_sim_below(SPLIT_WATCHED);
        switch (base_sim_below(5)) {
        case 0: world_pin(k); break;
        case 1: BASE_SIM_CHECK(!l1_none(world.c, world_l1_key(k).hash)); break;
        default: (void)world_get(k);
        }
    }
}

SIM_SCENARIO(l1_split_read, "a get during a split hits")
{
    split_open(1024);
    world_preload(split_below());
    base_sim_spawn("inserter", split_one, NULL);
    base_sim_spawn_many(2, "reader", split_reader, NULL);
    base_sim_join_all();
    BASE_SIM_CHECK(world.c->stripe[0].splits == 1);
    world_close();
}

/* ---- regrow: a bucket merges away and comes back while a reader sleeps inside it ---- */

SIM_FIBER(regrow_actor)
{
    (void)l1_tick(world.c, 1000000);
    BASE_SIM_CHECK(world.c->stripe[0].merges == 1);
    (void)world_set(0, 20); /* leaves its old place, which is then reused */
    /* Deleted keys are set again; the last one makes the same split again. */
    for (uint32_t k = 1; k <= split_below() + 1 - CONTRACT_LEFT; k++) { (void)world_set(k, 8); }
    BASE_SIM_CHECK(world.c->stripe[0].splits == 2);
}

SIM_FIBER(regrow_reader)
{
    base_sim_hold(base_sim_below(50));
    (void)world_get(0);
}

SIM_SCENARIO(l1_regrow, "a version never comes back")
{
    world_open(&(world_plan){ .budget = 96 << 10, .seg_bytes = 512, .no_loss = true });
    (void)world_key_with(31, 16); /* the only one that will move */
    while (world.key_count < split_below() + 1) { (void)world_key_with(16, 0); }
    world_preload(split_below() + 1); /* the last one splits bucket 0: 16 is new and unchanged */
    BASE_SIM_CHECK(world.c->stripe[0].splits == 1);
    base_sim_calm(true);
    for (uint32_t i = 0; i < split_below() + 1 - CONTRACT_LEFT; i++) {
        world_del(1 + i); /* the neighbours of key 0 in the log */
    }
    base_sim_calm(false);
    base_sim_spawn("reader", regrow_reader, NULL);
    base_sim_spawn("actor", regrow_actor, NULL);
    world_close();
}

/* ---- absent: negative entries are counted, near their ceiling too ---- */

enum { ABSENT_KEYS = 8, ABSENT_MOST = 4 };

static void absent_put(uint32_t key, l1_kind kind, int64_t deadline_ms)
{
    l1_put_spec p = world_spec("value", kind == L1_VALUE ? 5 : 0);
    const l1_key k = world_l1_key(key);
    p.kind = (uint8_t)kind;
    p.deadline_ms = deadline_ms;
    const cellar_err err = l1_put(world.c, &k, &p);
    BASE_SIM_CHECK(err == CELLAR_OK || (err == CELLAR_E_SPACE && kind != L1_VALUE));
}

SIM_FIBER(absent_fiber)
{
    for (int i = 0; i < 5; i++) {
        const uint32_t key = (uint32_t)base_sim_below(ABSENT_KEYS);
        const l1_key k = world_l1_key(key);
        const int64_t soon = base_now_ms(world.c->clock) + 1 + (int64_t)base_sim_below(5);
        switch (base_sim_below(6)) {
        case 0: (void)l1_del(world.c, &k, NULL); break;
        case 1: absent_put(key, L1_VALUE, BASE_NEVER_MS); break;
        case 2: absent_put(key, L1_NEGATIVE, soon); break;
        case 3: base_sim_advance_ms(1 + (int64_t)base_sim_below(4)); break;
        default: absent_put(key, L1_NEGATIVE, BASE_NEVER_MS); break;
        }
    }
}

SIM_SCENARIO(l1_absent, "entries without value are counted exactly")
{
    world_open(&(world_plan){ .budget = EVICT_FIXED + 12 * EVICT_SEG, .seg_bytes = EVICT_SEG,
                              .max_entries = 8 * ABSENT_MOST });
    for (uint32_t i = 0; i < ABSENT_KEYS; i++) { (void)world_key_with(3, i % 2); }
    base_sim_calm(true);
    for (uint32_t i = 0; i < 2; i++) { absent_put(i, L1_NEGATIVE, BASE_NEVER_MS); }
    base_sim_calm(false);
    base_sim_spawn_many(3, "absent", absent_fiber, NULL);
    base_sim_join_all();
    base_sim_calm(true);
    base_sim_advance_ms(100);
    for (int i = 0; i < 3; i++) { (void)l1_tick(world.c, 1000000); } /* due entries are reclaimed */
    l1_stats st;
    l1_stats_get(world.c, &st);
    uint64_t there = 0;
    for (uint32_t i = 0; i < ABSENT_KEYS; i++) {
        const l1_key k = world_l1_key(i);
        l1_info info;
        there += l1_inspect(world.c, &k, NULL, 0, &info, L1_PEEK) == CELLAR_ABSENT;
    }
    if (st.absent != there || there > ABSENT_MOST || (st.absent_bytes != 0) != (there != 0)) {
        base_sim_fail("%llu without value counted, %llu bytes; %llu found",
                      (unsigned long long)st.absent, (unsigned long long)st.absent_bytes,
                      (unsigned long long)there);
    }
    base_sim_calm(false);
    world_close();
}
