/* SPDX-License-Identifier: MIT
 *
 * Aim:    a set of n bytes examines at most 16 + n/8 records, twice that when it must force, in
 *         full, dead, hot and skewed stores. Other calls evict a bounded number. A call frees a
 *         share of the retired blocks that does not grow with their number or length.
 * Method: the step counter of the engine (debug builds) and the commit hook, which sees each
 *         eviction, over difficult stores: all entries hot, all dead, one stripe with everything,
 *         mixed sizes, bounded entries, half of it pinned. */
#include "tests/support/l1_kit.h"

#include "l1/evict.h"
#include "l1/large.h"

static kit z;
static struct {
    uint64_t gone, gone_most; /* in the current call; most in any call */
    bool no_live_leaves;      /* dead records make all room */
} w;

static bool on_commit(void *ctx, uint64_t hash, uint32_t generation, const void *key,
                      size_t key_len, l1_change change, uint64_t *stamp)
{
    (void)ctx;
    (void)hash;
    (void)generation;
    (void)key;
    (void)key_len;
    *stamp = 0;
    if (change == L1_CHANGE_EVICT || change == L1_CHANGE_EXPIRE || change == L1_CHANGE_UNTAG) {
        w.gone++;
    }
    return true;
}

static cellar_err put(kit *k, uint64_t id, size_t len)
{
    w.gone = 0;
    cellar_err err = kit_put(k, id, id, len);
    w.gone_most = BASE_MAX(w.gone_most, w.gone);
    return err;
}

static void start(kit *k, uint64_t budget, l1_config cfg)
{
    memset(&w, 0, sizeof w);
    cfg.hooks.commit = on_commit;
    kit_open(k, budget, &cfg);
}

/* Check the bounds. n: record bytes of the longest set. */
static void finish(kit *k, const char *name, uint64_t n)
{
    l1_stats s = kit_stats(k);
    const uint64_t bound = 2 * (16 + n / 8);
    printf("# %s: examined at most %" PRIu64 ", evicted by one set at most %" PRIu64 ", bound %"
           PRIu64 " (forced %" PRIu64
           ", no room %" PRIu64 ")\n", name, s.examined_max, w.gone_most, bound, s.forced,
           s.no_space);
    T_CHECK(w.no_live_leaves ? s.evicted == 0 && s.kept > 100 : s.evicted + s.expired > 100);
    T_CHECK(s.examined_max <= bound);
    T_CHECK(w.gone_most <= bound);
    kit_close(k);
}

/* Take the last set out of the maxima if it dropped a tail. Return 1 then. */
static unsigned dropped_tail(kit *k, uint64_t n, uint64_t most_before)
{
    if (w.gone <= 2 * (16 + n / 8)) { return 0; }
    T_CHECK(w.gone <= l1_most_examined(k->c, (uint32_t)n));
    w.gone_most = most_before;
    for (uint32_t i = 0; i < k->c->stripe_count; i++) { k->c->lane[i].examined_max = 0; }
    return 1;
}

T_CASE(set_of_uniform_sizes_is_bounded)
{
    unsigned tails = 0;
    start(&z, KIT_MIB(4), (l1_config){.stripes = 8});
    for (uint64_t id = 0; id < kit_full(150000); id++) {
        const uint64_t most = w.gone_most;
        T_EQ_I64(put(&z, id, 100), CELLAR_OK);
        tails += dropped_tail(&z, 128, most);
    }
    /* When the store is full for the first time, both lanes may open all heads in the same set. */
    T_CHECK(tails <= 2);
    finish(&z, "uniform", 128);
}

/* Use every entry `uses` / 4 times before the cursor comes. near: entries that the uses reach back.
 * n: record bytes. */
typedef struct hot {
    const char *name;
    uint64_t budget;
    l1_config cfg;
    uint64_t sets, near, len, n;
    unsigned uses;
} hot;

T_CASE(set_into_hot_store_is_bounded)
{
    static const hot row[] = {
        {"2 MiB, 4 stripes", KIT_MIB(2), {.stripes = 4}, 100000, 10485, 100, 128, 12},
        {"1 MiB", KIT_MIB(1), {0}, 50000, 5242, 100, 128, 12},
        {"8 MiB, 64 stripes requested", KIT_MIB(8), {.stripes = 64, .seg_bytes = 4096}, 100000,
         41943, 100, 128, 12},
        {"1 MiB, lru", KIT_MIB(1), {.policy = L1_LRU}, 50000, 5242, 100, 128, 12},
        {"entries", KIT_MIB(8), {.max_entries = 2000, .stripes = 8}, 80000, 1500, 50, 80, 4},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        const hot *h = &row[i];
        kit_rng r = {t_seed()};
        uint64_t buf[16];
        size_t len;
        start(&z, h->budget, h->cfg);
        for (uint64_t id = 0; id < kit_full(h->sets) + h->near; id++) {
            T_EQ_I64(put(&z, id, h->len), CELLAR_OK);
            for (unsigned u = 0; u < h->uses; u++) {
                (void)kit_get(&z, id - kit_below(&r, BASE_MIN(id + 1, h->near)), buf, sizeof buf,
                              &len);
            }
        }
        finish(&z, h->name, h->n);
    }
}

T_CASE(set_into_dead_log_is_bounded)
{
    start(&z, KIT_MIB(2), (l1_config){.stripes = 4});
    for (uint64_t id = 0; id < kit_full(80000); id++) {
        T_EQ_I64(put(&z, id, 40 + id % 20), CELLAR_OK);
        if (id % 16 != 0) { (void)kit_del(&z, id); } /* dead records fill the log */
    }
    w.no_live_leaves = true; /* they are moved together */
    finish(&z, "all dead", 96);
}

T_CASE(set_of_mixed_sizes_is_bounded)
{
    kit_rng r = {t_seed()};
    start(&z, KIT_MIB(8), (l1_config){.stripes = 8});
    for (uint64_t i = 0; i < kit_full(80000); i++) {
        size_t len = kit_one_in(&r, 20) ? kit_below(&r, 7000) : kit_below(&r, 40);
        T_EQ_I64(put(&z, kit_below(&r, 400000), len), CELLAR_OK);
    }
    finish(&z, "mixed", 7168);
}

T_CASE(set_of_changing_sizes_is_bounded)
{
    static const size_t sizes[] = {10, 2000, 30, 6000, 100, 7900, 1};
    uint64_t id = 0;
    start(&z, KIT_MIB(4), (l1_config){.stripes = 8});
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (uint64_t n = 0; n < KIT_MIB(8) / (sizes[i] + 40); n++) {
            T_EQ_I64(put(&z, id++, sizes[i]), CELLAR_OK);
        }
    }
    finish(&z, "phases", 7936);
}

T_CASE(set_into_half_pinned_store_is_bounded)
{
    static l1_pin_ref ref[100];
    unsigned n = 0;
    start(&z, KIT_MIB(1), (l1_config){.stripes = 1, .seg_bytes = 8192});
    for (uint64_t id = 0; id < kit_full(50000); id++) {
        kit_key key;
        T_EQ_I64(put(&z, id, 100), CELLAR_OK);
        if (id % 100 == 0 && n < 60) {
            T_EQ_I64(kit_pin(z.c, kit_key_of(&z, &key, 0, id), &ref[n], 0), CELLAR_OK);
            n++;
        }
    }
    for (unsigned i = 0; i < n; i++) { l1_unpin(z.c, &ref[i]); }
    finish(&z, "half pinned", 128);
}

/* Every segment except the heads is pinned, and a listener exists: an eviction frees no room. A set
 * fails after a bounded number of steps and does not evict the whole store. */
static void on_left(void *ctx, const l1_left *what) { (void)ctx; (void)what; }

T_CASE(set_into_pinned_store_fails_bounded)
{
    static l1_pin_ref ref[4096];
    unsigned n = 0;
    uint64_t failed = 0, gone = 0, last_failed = 0;
    start(&z, KIT_MIB(1), (l1_config){.stripes = 2, .seg_bytes = 8192,
                                      .hooks = {.left = on_left}});
    l1_want_left(z.c, true);
    for (uint64_t id = 0; id < kit_full(60000); id++) {
        kit_key key;
        const cellar_err err = put(&z, id, 100);
        T_CHECK(err == CELLAR_OK || err == CELLAR_E_SPACE);
        failed += err == CELLAR_E_SPACE;
        if (err == CELLAR_E_SPACE) { last_failed = id; }
        gone = BASE_MAX(gone, w.gone);
        if (id % 60 == 0 &&
            kit_pin(z.c, kit_key_of(&z, &key, 0, id), &ref[n], 0) == CELLAR_OK) {
            n++;
        }
    }
    const l1_stats s = kit_stats(&z);
    const uint64_t most = l1_most_examined(z.c, 128) + 3 * L1_HOLD_MAX;
    printf("# all pinned: %u pins, %" PRIu64 " sets failed, examined at most %" PRIu64 " of %"
           PRIu64 ", evicted by one at most %" PRIu64 "\n", n, failed, s.examined_max, most, gone);
    T_CHECK(failed > 100);
    T_CHECK(s.examined_max <= most && gone <= most);
    T_CHECK(s.no_space > 0 && !kit_has(&z, last_failed)); /* nor is its old value returned */
    kit_audit(&z);
    for (unsigned i = 0; i < n; i++) { l1_unpin(z.c, &ref[i]); }
    for (uint64_t id = 0; id < 20000; id++) { T_EQ_I64(put(&z, id, 100), CELLAR_OK); }
    (void)l1_tick(z.c, UINT64_MAX);
    T_EQ_U64(kit_stats(&z).segments_parked, 0);
    kit_close(&z);
}

/* A pinned block cannot make room for its successor; the rest of the store stays. */
T_CASE(pinned_block_does_not_evict_the_store)
{
    kit_key key;
    l1_pin_ref ref;
    start(&z, KIT_MIB(64), (l1_config){0});
    T_EQ_I64(kit_put(&z, 1000000, 1, KIT_MIB(20)), CELLAR_OK);
    T_EQ_I64(kit_pin(z.c, kit_key_of(&z, &key, 0, 1000000), &ref, 0), CELLAR_OK);
    T_EQ_I64(kit_put(&z, 1000000, 2, KIT_MIB(20)), CELLAR_OK);
    l1_pin_ref second;
    T_EQ_I64(kit_pin(z.c, kit_key_of(&z, &key, 0, 1000000), &second, 0), CELLAR_OK);
    T_EQ_I64(kit_del(&z, 1000000), CELLAR_OK);
    for (uint64_t id = 0; id < 200000; id++) { T_EQ_I64(kit_put(&z, id, id, 100), CELLAR_OK); }
    const uint64_t before = kit_stats(&z).entries;
    T_EQ_I64(kit_put(&z, 1000001, 3, KIT_MIB(10)), CELLAR_OK);
    const uint64_t after = kit_stats(&z).entries;
    T_EQ_I64(kit_put(&z, 1000000, 3, KIT_MIB(30)), CELLAR_E_SPACE);
    printf("# %" PRIu64 " entries, %" PRIu64 " with 10 MiB, %" PRIu64
           " after 30 MiB found no room\n", before, after, kit_stats(&z).entries);
    T_CHECK(after > before / 3);
    T_EQ_U64(kit_stats(&z).entries, after);
    l1_unpin(z.c, &ref);
    l1_unpin(z.c, &second);
    kit_close(&z);
}

/* ---- blocks ---- */

/* Store the first long values in a store full of short ones. One call must not restore the whole
 * reserve of the log. With a listener a set hands over sixteen victims at a time, from one segment
 * until it is free. */
static void blocks_after(bool heard)
{
    start(&z, KIT_MIB(64), (l1_config){.hooks = {.left = on_left}});
    if (heard) { l1_want_left(z.c, true); }
    uint64_t id = 0;
    while (kit_stats(&z).evicted < 1000) { T_EQ_I64(put(&z, id++, 100), CELLAR_OK); }
    w.gone_most = 0;
    for (unsigned i = 0; i < 3000; i++) { T_EQ_I64(put(&z, id++, 9000), CELLAR_OK); }
    const uint64_t bound = 16 + 9000 / 8;
    printf("# blocks after records%s: evicted by one set at most %" PRIu64 ", bound %" PRIu64 "\n",
           heard ? ", with a listener" : "", w.gone_most, bound);
    T_CHECK(w.gone_most <= bound);
    kit_close(&z);
}

T_CASE(first_blocks_evict_a_bounded_number)
{
    blocks_after(false);
    blocks_after(true);
}

/* Fill a store with blocks and delete all. The first `pins` blocks are pinned. */
static unsigned all_dead(kit *k, uint64_t budget, size_t len, l1_pin_ref *pin, unsigned pins)
{
    unsigned pinned = 0;
    start(k, budget, (l1_config){0});
    const uint64_t count = budget * 7 / 8 / len;
    for (uint64_t id = 0; id < count; id++) {
        kit_key key;
        T_EQ_I64(kit_put(k, id, id, len), CELLAR_OK);
        const l1_key *const of = kit_key_of(k, &key, 0, id);
        if (pinned < pins && kit_pin(k->c, of, &pin[pinned], 0) == CELLAR_OK) { pinned++; }
    }
    for (uint64_t id = 0; id < count; id++) { (void)kit_del(k, id); }
    T_EQ_U64(kit_stats(k).big_blocks, 0);
    T_CHECK(kit_stats(k).retired_bytes > budget / 2);
    return pinned;
}

static uint32_t stuck(kit *k)
{
    uint32_t count = 0;
    for (const l1_big *b = k->c->retired.first; b != NULL; b = b->next) {
        count += b->where == L1_STUCK;
    }
    return count;
}

/* Set `small` bytes until the retired blocks are room again. A set evicts at most one or two
 * entries, when it reaches the last segments of the log. */
static void sets_after(uint64_t budget, size_t dead, size_t small)
{
    (void)all_dead(&z, budget, dead, NULL, 0);
    const uint64_t share = (uint64_t)L1_SWEEP_LOOKS * z.c->record_max + z.c->seg_bytes;
    uint64_t most = 0, before = kit_stats(&z).retired_bytes, put_bytes = 0, sets = 0;
    for (; put_bytes < budget * 6 / 10; put_bytes += small) {
        T_EQ_I64(put(&z, 1000000 + sets, small), CELLAR_OK);
        const uint64_t after = kit_stats(&z).retired_bytes;
        most = BASE_MAX(most, before - BASE_MIN(after, before));
        before = after;
        sets++;
    }
    const l1_stats s = kit_stats(&z);
    printf("# %zu after dead blocks of %zu: freed by one set at most %" PRIu64 " of %" PRIu64
           ", %" PRIu64 " of %" PRIu64 " entries are present\n", small, dead, most, share,
           s.entries, sets);
    /* A call may reclaim twice. A long set frees as much as it needs, and more where dead blocks
     * share pages. */
    T_CHECK(most <= 2 * (share + (small > z.c->record_max ? small : 0)));
    T_CHECK(s.entries >= sets - sets / 50 - 2);
    kit_close(&z);
}

T_CASE(set_reclaims_a_share_of_dead_blocks)
{
    sets_after(KIT_MIB(16), 9000, 100);
    sets_after(KIT_MIB(16), KIT_MIB(7), 100); /* piece by piece */
    sets_after(KIT_MIB(16), 9000, 4000);
    sets_after(KIT_MIB(16), 30000, 9000);
    sets_after(KIT_MIB(16), KIT_MIB(6), 9000);
    sets_after(KIT_MIB(4), 9000, KIT_MIB(1));
}

/* A tick without time frees a share and returns PENDING, until nothing is left. */
T_CASE(tick_reclaims_a_share_of_dead_blocks)
{
    static const size_t len[] = {9000, KIT_MIB(7)};
    for (unsigned i = 0; i < 2; i++) {
        (void)all_dead(&z, KIT_MIB(16), len[i], NULL, 0);
        const uint64_t share = (uint64_t)L1_SWEEP_LOOKS * z.c->record_max + z.c->seg_bytes;
        uint64_t removed, before = kit_stats(&z).retired_bytes, ticks = 0;
        while (before != 0 && ticks < 1000) {
            const cellar_err err = l1_upkeep(z.c, 0, &removed);
            const uint64_t after = kit_stats(&z).retired_bytes;
            T_CHECK(before - after <= share && after < before);
            T_CHECK(after == 0 || err == CELLAR_PENDING);
            before = after;
            ticks++;
        }
        T_EQ_U64(before, 0);
        T_CHECK(ticks >= KIT_MIB(14) / share);
        kit_close(&z);
    }
}

/* A call looks at 64 pinned blocks, and short sets look at each only once. */
T_CASE(pinned_dead_blocks_are_checked_in_turns)
{
    static l1_pin_ref pin[150];
    const unsigned pinned = all_dead(&z, KIT_MIB(16), 60000, pin, 150);
    T_EQ_U64(pinned, 150);
    uint32_t before = 0, most = 0;
    for (uint64_t id = 0; id < 10000; id++) {
        T_EQ_I64(put(&z, 1000000 + id, 1000), CELLAR_OK);
        const uint32_t now = stuck(&z);
        most = BASE_MAX(most, now - BASE_MIN(before, now));
        before = now;
    }
    printf("# %u of %u pinned blocks checked, by one set at most %u\n", before, pinned, most);
    T_EQ_U64(before, pinned);
    T_CHECK(most <= 2 * L1_SWEEP_LOOKS);
    T_CHECK(base_load_rlx(&z.c->retired_fresh) < z.c->seg_bytes); /* no set looks again */
    for (unsigned i = 0; i < pinned; i++) { l1_unpin(z.c, &pin[i]); }
    T_EQ_I64(kit_put(&z, 1, 1, KIT_MIB(6)), CELLAR_OK); /* a set that needs them finds them */
    while (l1_upkeep(z.c, 0, &(uint64_t){0}) == CELLAR_PENDING) { }
    T_EQ_U64(kit_stats(&z).retired_bytes, 0);
    kit_close(&z);
}

/* A tick also gives back unused segments, within its time. */
T_CASE(tick_gives_back_idle_segments_one_by_one)
{
    start(&z, KIT_MIB(16), (l1_config){0});
    for (uint64_t id = 0; id < 30000; id++) { T_EQ_I64(put(&z, id, 100), CELLAR_OK); }
    for (uint64_t id = 0; id < 30000; id++) { (void)kit_del(&z, id); }
    uint64_t removed, before = kit_stats(&z).arena_bytes, steps = 0;
    for (; before != 0; steps++) {
        (void)l1_upkeep(z.c, 0, &removed);
        const uint64_t after = kit_stats(&z).arena_bytes;
        T_CHECK(after <= before && before - after <= z.c->seg_bytes);
        before = after;
        T_REQUIRE(steps < 10000);
    }
    T_CHECK(steps > 100);
    kit_close(&z);
}

/* Reads, deletes and touches evict nothing. */
T_CASE(other_calls_evict_nothing)
{
    kit_rng r = {t_seed()};
    uint64_t buf[16];
    size_t len;
    start(&z, KIT_MIB(1), (l1_config){0});
    for (uint64_t id = 0; id < 20000; id++) { T_EQ_I64(put(&z, id, 100), CELLAR_OK); }
    w.gone = 0;
    for (uint64_t i = 0; i < 20000; i++) {
        kit_key key;
        (void)kit_get(&z, kit_below(&r, 20000), buf, sizeof buf, &len);
        (void)l1_touch(z.c, kit_key_of(&z, &key, 0, kit_below(&r, 20000)), kit_now(&z) + 1000, -1,
                       NULL);
        if (i % 50 == 0) { (void)kit_del(&z, kit_below(&r, 20000)); }
    }
    T_EQ_U64(w.gone, 0);
    w.gone_most = 0;
    finish(&z, "others", 128);
}

T_ONE_THREAD;
T_MAIN("l1_bounded_work")
