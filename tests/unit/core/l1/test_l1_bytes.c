/* SPDX-License-Identifier: MIT
 *
 * Aim:    a store bounded by bytes misses what the same store bounded by entries misses, with as
 *         many entries; its tables fit the entries that it holds, whatever their size.
 * Method: loops and zipf by bytes, then by as many entries. Values of 20 bytes to 20 KB in stores
 *         that expect 256; then values of another length. */
#include "tests/support/l1_kit.h"

#include "l1/policy.h"

/* Skip long tests under MSan. */
static bool too_slow(void)
{
    if (KIT_SLOW > 8) { T_SKIP("one thread only"); }
    return KIT_SLOW > 8;
}

static kit z; /* the store of the running case */
static kit_zipf law;
static unsigned powers = 9;

/* Return the length of a value: from 128 bytes, up to 65,535 with 9 powers of two, each as often as
 * the others. */
static size_t mixed_len(uint64_t id)
{
    const uint64_t hash = kit_mix(id + 5), least = UINT64_C(128) << hash % powers;
    return (size_t)(least + kit_mix(hash) % least);
}

/* Return the share of requests that miss: a get, and on a miss a set. loop 0: by `law`;
 * len 0: of mixed lengths. */
static double misses(kit *k, uint64_t requests, uint64_t loop, size_t len)
{
    static unsigned char buf[65536];
    kit_rng r = {7};
    uint64_t missed = 0;
    for (uint64_t i = 0; i < requests; i++) {
        size_t got;
        const uint64_t id = loop == 0 ? kit_zipf_draw(&law, &r) : i % loop;
        if (kit_get(k, id, buf, sizeof buf, &got) == CELLAR_OK) { continue; }
        missed++;
        T_EQ_I64(kit_put(k, id, 1, len != 0 ? len : mixed_len(id)), CELLAR_OK);
    }
    return (double)missed / (double)requests;
}

static uint64_t held_by(uint64_t budget, size_t len)
{
    kit_open(&z, budget, &(l1_config){ .policy = L1_ADAPTIVE });
    const uint64_t most = budget / (len + 16);
    for (uint64_t id = 0; id < most; id++) { T_EQ_I64(kit_put(&z, id, 1, len), CELLAR_OK); }
    const uint64_t held = kit_stats(&z).entries;
    kit_close(&z);
    return held;
}

/* Return the share of misses: of a loop in a second run of the requests, else of the first one. */
static double ratio_of(uint64_t budget, uint64_t entries, uint64_t requests, uint64_t loop,
                       size_t len)
{
    kit_open(&z, budget, &(l1_config){ .policy = L1_ADAPTIVE, .max_entries = entries });
    double ratio = misses(&z, requests, loop, len);
    if (loop != 0) { ratio = misses(&z, requests, loop, len); }
    kit_close(&z);
    return ratio;
}

/* Plain loops over 1.5 times the store, and zipf. A third is the least for such a loop: what it
 * exceeds the store. */
T_CASE(store_by_bytes_misses_as_by_entries)
{
    static const struct { uint64_t budget; size_t len; bool loops; double more; } run[] = {
        { KIT_MIB(4), 100, true, .06 }, { KIT_KIB(1536), 1900, true, .06 },
        { KIT_MIB(2), 100, false, .01 } };
    if (too_slow()) { return; }
    kit_zipf_open(&law, 100000, .99);
    for (size_t i = 0; i < sizeof run / sizeof run[0]; i++) {
        const uint64_t held = held_by(run[i].budget, run[i].len);
        const uint64_t loop = run[i].loops ? held * 3 / 2 : 0;
        const uint64_t requests = run[i].loops ? 4 * loop : 600000;
        const double bytes = ratio_of(run[i].budget, 0, requests, loop, run[i].len);
        const double entries = ratio_of(run[i].budget * 2, held, requests, loop, run[i].len);
        printf("# %" PRIu64 " entries of %zu bytes: by bytes %.4f, by entries %.4f\n", held,
               run[i].len, bytes, entries);
        T_CHECK(!run[i].loops || bytes < .43);
        T_CHECK(bytes < entries + run[i].more);
    }
}

/* A long value puts small above its share. A main that then took all that leaves small was full of
 * values that no get returns to. */
T_CASE(mixed_lengths_miss_no_more_than_s3fifo)
{
    if (too_slow()) { return; }
    double ratio[2];
    kit_zipf_open(&law, 10000, .9);
    for (unsigned s3fifo = 0; s3fifo < 2; s3fifo++) {
        kit_open(&z, KIT_MIB(8), &(l1_config){ .policy = s3fifo ? L1_S3FIFO : L1_ADAPTIVE });
        ratio[s3fifo] = misses(&z, 100000, 0, 0);
        kit_close(&z);
    }
    printf("# adaptive %.4f, s3fifo %.4f\n", ratio[0], ratio[1]);
    T_CHECK(ratio[0] < ratio[1] + .012);
}

/* Short segments are full of records of mixed lengths, and the policy alone drops records, also where
 * blocks take the memory that the log has given up. */
T_CASE(mixed_lengths_fill_short_segments)
{
    static const struct { unsigned powers; double held, forced; } run[] = {
        { 5, .84, .01 }, { 9, .8, .02 } };
    if (too_slow()) { return; }
    for (size_t i = 0; i < sizeof run / sizeof run[0]; i++) {
            kit_zipf_open(&law, 40000, .9);
        kit_open(&z, KIT_MIB(4), &(l1_config){ .policy = L1_ADAPTIVE });
        T_EQ_U64(z.c->seg_bytes, 8192);
        powers = run[i].powers;
        const double missed = misses(&z, 60000, 0, 0);
        powers = 9;
        const l1_stats s = kit_stats(&z);
        const double held = (double)s.record_bytes / (double)KIT_MIB(4);
        const double forced = (double)s.forced / (double)s.evicted;
        printf("# below %u bytes: held %.3f, forced %.4f, misses %.4f\n", 128u << run[i].powers, held,
               forced, missed);
        T_CHECK(held > run[i].held);
        T_CHECK(forced < run[i].forced);
            kit_close(&z);
    }
}

/* Check that ghosts and sampled keys stand for the entries of the store, within a quarter. */
static void check_fit(kit *k, const char *what)
{
    const uint64_t entries = kit_stats(k).entries, stripes = k->c->stripe_count;
    const uint64_t lines = base_load_rlx(&k->c->stripe[0].ghost.lines);
    const double ghosts = (double)(lines * stripes * L1_GHOST_FPS) * 10 / L1_GHOST_TENTHS;
    const double fit = (double)base_load_rlx(&k->c->fit), have = (double)entries;
    printf("# %s: %" PRIu64 " entries, fit for %.0f, ghosts for %.0f\n", what, entries, fit,
           ghosts);
    T_CHECK(fit > have * .75 && fit < have * 1.3);
    T_CHECK(ghosts > have * .7 && ghosts < have * 1.35 + (double)(L1_GHOST_FPS * stripes));
}

T_CASE(tables_fit_the_entries_of_any_size)
{
    static const size_t len[] = { 20, 100, 2000, 20000 };
    for (size_t i = 0; i < sizeof len / sizeof len[0]; i++) {
        char what[32];
        kit_open(&z, KIT_MIB(4), &(l1_config){ .policy = L1_ADAPTIVE });
        const uint64_t many = KIT_MIB(4) / (len[i] + 24) * 2;
        for (uint64_t id = 0; id < many; id++) { T_EQ_I64(kit_put(&z, id, 1, len[i]), CELLAR_OK); }
        snprintf(what, sizeof what, "values of %zu", len[i]);
        check_fit(&z, what);
        for (uint64_t id = 0; id < 60000; id++) {
            T_EQ_I64(kit_put(&z, 1000000 + id, 1, len[i] == 100 ? 1500 : 100), CELLAR_OK);
        }
        check_fit(&z, "then of another length");
        kit_close(&z);
    }
}

/* A store of few long values expects many short ones. Shadow caches larger than the store judge the
 * rules by hits that it cannot have. */
T_CASE(shadow_caches_shrink_with_the_entries)
{
    kit_open(&z, KIT_KIB(1536), &(l1_config){ .policy = L1_ADAPTIVE });
    const uint64_t before = base_load_rlx(&z.account.by_module[BASE_MOD_SHADOW]);
    for (uint64_t id = 0; id < 200; id++) { T_EQ_I64(kit_put(&z, id, 1, 36000), CELLAR_OK); }
    const uint64_t after = base_load_rlx(&z.account.by_module[BASE_MOD_SHADOW]);
    const uint64_t held = kit_stats(&z).entries;
    printf("# %" PRIu64 " entries: shadow caches %" PRIu64 " -> %" PRIu64 " bytes\n", held, before,
           after);
    T_CHECK(held < 50 && after < before * 3 / 4);
    kit_close(&z);
}

/* A set evicts what its size demands also when the tables of a full store must grow. */
static uint64_t gone;
static void on_left(void *ctx, const l1_left *what) { (void)ctx, (void)what; gone++; }
T_CASE(growth_of_tables_evicts_little_a_set)
{
    uint64_t most = 0;
    kit_open(&z, KIT_MIB(4), &(l1_config){ .hooks = { .left = on_left } });
    l1_want_left(z.c, true);
    for (uint64_t id = 0; id < 3000; id++) { T_EQ_I64(kit_put(&z, id, 1, 4000), CELLAR_OK); }
    const size_t before = z.c->ghost_bytes;
    for (uint64_t id = 0; id < 100000; id++) {
        gone = 0;
        T_EQ_I64(kit_put(&z, 10000 + id, 1, 30), CELLAR_OK);
        most = BASE_MAX(most, gone);
    }
    printf("# ghosts %zu -> %zu bytes, evicted by one set at most %" PRIu64 "\n", before,
           z.c->ghost_bytes, most);
    T_CHECK(z.c->ghost_bytes > 8 * before);
    T_CHECK(most <= 64);
    kit_close(&z);
}

/* Most ghosts survive tables of another size. */
T_CASE(ghosts_go_along_into_another_table)
{
    static unsigned char from[100 * L1_GHOST_LINE], to[200 * L1_GHOST_LINE];
    static const struct { uint64_t lines, least; } run[] = {
        { 125, 1100 }, { 200, 1900 }, { 80, 1100 } };
    for (size_t i = 0; i < sizeof run / sizeof run[0]; i++) {
        memset(from, 0, sizeof from);
        memset(to, 0, sizeof to);
        l1_ghosts old = { from, 100 }, now = { to, run[i].lines };
        for (uint64_t id = 0; id < 2000; id++) { l1_ghost_add(&old, kit_mix(id), id % 2 == 0); }
        l1_ghosts_copy(&old, to, run[i].lines);
        uint64_t found = 0;
        for (uint64_t id = 0; id < 2000; id++) {
            const l1_ghost g = l1_ghost_take(&now, kit_mix(id));
            found += g.age != UINT64_MAX && g.from_main == (id % 2 == 0);
        }
        printf("# 100 -> %" PRIu64 " lines: %" PRIu64 " of 2000 ghosts found\n", run[i].lines,
               found);
        T_CHECK(found >= run[i].least);
    }
}

/* Return a sum over the answers of all calls. */
static uint64_t answers(size_t len, uint32_t stripes, bool by_entries)
{
    kit_rng r = {7};
    static unsigned char buf[65536];
    uint64_t sum = 0;
    const uint64_t fits = KIT_MIB(8) / (len + 30);
    kit_init(&z, KIT_MIB(8), 3);
    T_REQUIRE(kit_try_open(&z, &(l1_config){ .policy = L1_ADAPTIVE, .stripes = stripes,
                                             .max_entries = by_entries ? fits / 2 : 0 }) ==
              CELLAR_OK);
    for (uint64_t i = 0; i < BASE_MIN(3 * fits, 10000); i++) {
        size_t got;
        const uint64_t id = kit_below(&r, 3 * fits);
        cellar_err err = kit_get(&z, id, buf, sizeof buf, &got);
        if (err != CELLAR_OK) { err = kit_put(&z, id, 1, len / 2 + kit_below(&r, len / 2)); }
        sum = kit_mix(sum + (uint64_t)(int64_t)err);
    }
    sum += kit_stats(&z).entries;
    kit_close(&z);
    return sum;
}

/* One thread, one hash key: the same calls have the same answers. Choices of lanes by the generator
 * of the thread differed in each run. */
T_CASE(same_calls_have_the_same_answers)
{
    static const size_t len[] = { 10, 1000, 9000, 60000 };
    if (too_slow()) { return; }
    for (size_t i = 0; i < sizeof len / sizeof len[0]; i++) {
        for (unsigned run = 0; run < 4; run++) {
            const uint32_t stripes = run % 2 == 0 ? 64 : 4;
            const uint64_t first = answers(len[i], stripes, run / 2 == 1);
            T_EQ_U64(answers(len[i], stripes, run / 2 == 1), first);
        }
    }
}

/* Long values, then short ones. Return the share of the requests of short ones that hit. */
static double hits_after_long(uint64_t budget, l1_advice *a)
{
    kit_init(&z, budget, 7); /* the same sample each time */
    T_REQUIRE(kit_try_open(&z, &(l1_config){ .policy = L1_ADAPTIVE }) == CELLAR_OK);
    (void)misses(&z, 3000, 0, 60000);
    (void)misses(&z, 60000, 0, 4000);
    const double hit = 1 - misses(&z, 60000, 0, 4000);
    if (a != NULL) { T_EQ_I64(l1_advise(z.c, L1_NO_NAMESPACE, hit, a), CELLAR_OK); }
    kit_close(&z);
    return hit;
}

/* Few long values leave the shadow caches fewer nodes than the advisor has at its open. */
T_CASE(advice_fits_entries_that_were_long)
{
    static const uint32_t pct[L1_ADVICE] = L1_ADVICE_PCT;
    if (too_slow()) { return; }
    l1_advice a;
    kit_zipf_open(&law, 30000, .8);
    (void)hits_after_long(KIT_MIB(16), &a);
    for (unsigned i = 0; pct[i] < 100; i++) {
        const double is = hits_after_long(KIT_MIB(16) * pct[i] / 100, NULL);
        printf("# at %u %%: %.4f estimated, %.4f measured\n", pct[i], a.ratio[i], is);
        T_CHECK(a.ratio[i] < is + .03 && a.ratio[i] > is - .03);
    }
}

T_ONE_THREAD;
T_MAIN("l1_bytes")
