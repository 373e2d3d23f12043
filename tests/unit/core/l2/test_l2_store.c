/* SPDX-License-Identifier: MIT
 *
 * Aim:    stored values are served byte by byte, from the stage, from disk and after a reopen.
 *         Changed ones are not, whatever happens to log, index and places.
 * Method: small stores on an in-memory disk, with the worker run by hand; and one on real files. */
#include "tests/support/folder.h"
#include "tests/support/l2_kit.h"

#include <sys/stat.h>

static l2_dev dev;
static l2_kit kit;

static void nothing_is_left(void) { T_EQ_U64(base_live_blocks(), 0); }
T_AFTER_EACH(nothing_is_left);

static void begin(void)
{
    l2_dev_init(&dev);
    l2_kit_init(&kit, &dev);
}

static void open_it(void)
{
    const cellar_err err = l2_kit_open(&kit);
    if (err != CELLAR_OK) { printf("# %d, errno %d\n", (int)err, kit.sys_errno); }
    T_REQUIRE(err == CELLAR_OK);
    l2_kit_warm(&kit);
}

static void end(void)
{
    if (kit.d != NULL) { l2_close(kit.d); }
    kit.d = NULL;
    T_EQ_U64(base_load_rlx(&kit.account.used), 0);
    l2_dev_fini(&dev);
}

static void fill(unsigned char *buf, size_t n, uint32_t key, uint32_t version)
{
    base_rng r;
    base_rng_seed(&r, (uint64_t)key << 32 | version);
    for (size_t i = 0; i < n; i++) { buf[i] = (unsigned char)base_rng_next(&r); }
}

static cellar_err put(uint32_t key, uint32_t version, size_t n)
{
    static unsigned char buf[1 << 20];
    l2_meta m = { .deadline_ms = BASE_NEVER_MS };
    fill(buf, n, key, version);
    const l2_key k = l2_kit_key(&kit, &key, sizeof key, 7);
    return l2_put(kit.d, &k, buf, n, &m, NULL);
}

static void kill_key(uint32_t key)
{
    const l2_key k = l2_kit_key(&kit, &key, sizeof key, 7);
    l2_invalidate(kit.d, &k);
}

/* Read a key. OK if it has this version; MISS. */
static cellar_err get(uint32_t key, uint32_t version, size_t n)
{
    static unsigned char buf[1 << 20], want[1 << 20];
    size_t len = 0;
    l2_meta m;
    const l2_key k = l2_kit_key(&kit, &key, sizeof key, 7);
    const cellar_err err = l2_get(kit.d, &k, buf, sizeof buf, &len, &m);
    if (err != CELLAR_OK) { return err; }
    fill(want, n, key, version);
    return len == n && memcmp(buf, want, n) == 0 ? CELLAR_OK : CELLAR_CONFLICT;
}

T_CASE(values_are_served_from_stage_from_disk_and_after_a_reopen)
{
    begin();
    kit.cfg.seg_count = 8;
    open_it();
    for (uint32_t i = 0; i < 40; i++) {
        T_EQ_I64(put(i, 1, i * 17), CELLAR_OK);
        if (i == 30) { while (l2_tick(kit.d, 1000)) {} }
    }
    for (uint32_t i = 0; i < 40; i++) { T_EQ_I64(get(i, 1, i * 17), CELLAR_OK); }
    while (l2_tick(kit.d, 1000)) {}
    l2_stats st;
    l2_stats_get(kit.d, &st);
    T_CHECK(st.sealed > 0);
    for (uint32_t i = 0; i < 40; i++) { T_EQ_I64(get(i, 1, i * 17), CELLAR_OK); }
    kill_key(3);
    T_EQ_I64(get(3, 1, 51), CELLAR_MISS);
    T_EQ_I64(put(4, 2, 100), CELLAR_OK);
    T_EQ_I64(get(4, 2, 100), CELLAR_OK);
    for (int round = 0; round < 3; round++) {
        l2_close(kit.d);
        open_it();
        for (uint32_t i = 0; i < 40; i++) {
            const cellar_err want = i == 3 ? CELLAR_MISS : CELLAR_OK;
            T_EQ_I64(i == 4 ? get(4, 2, 100) : get(i, 1, i * 17), want);
        }
    }
    l2_kit_kill(&kit);
    open_it();
    for (uint32_t i = 0; i < 40; i++) {
        const cellar_err want = i == 3 ? CELLAR_MISS : CELLAR_OK;
        T_EQ_I64(i == 4 ? get(4, 2, 100) : get(i, 1, i * 17), want);
    }
    end();
}

T_CASE(all_fields_are_restored)
{
    begin();
    open_it();
    l2_meta m = { .deadline_ms = kit.now_ms + 5000, .stale_ms = 1, .idle_ms = 2, .version = 3,
                  .user_flags = 5, .cost = 6 };
    l2_meta n;
    const l2_key k = l2_kit_key(&kit, "key", 3, 9);
    size_t len = 99;
    char buf[8];
    T_EQ_I64(l2_put(kit.d, &k, "value", 5, &m, NULL), CELLAR_OK);
    for (int round = 0; round < 2; round++) {
        T_EQ_I64(l2_get(kit.d, &k, buf, sizeof buf, &len, &n), CELLAR_OK);
        T_EQ_U64(len, 5);
        T_EQ_MEM(buf, "value", 5);
        T_EQ_I64(n.deadline_ms, m.deadline_ms);
        T_CHECK(n.stale_ms == 1 && n.idle_ms == 2 && n.version == 3);
        T_CHECK(n.user_flags == 5 && n.cost == 6 && n.kind == 0 && n.addr != 0);
        T_EQ_I64(l2_get(kit.d, &k, buf, 4, &len, &n), CELLAR_E_BUFFER);
        T_EQ_U64(len, 5);
        l2_close(kit.d);
        open_it();
    }
    m.kind = 1;
    T_EQ_I64(l2_put(kit.d, &k, "", 0, &m, NULL), CELLAR_OK);
    T_EQ_I64(l2_get(kit.d, &k, buf, sizeof buf, &len, &n), CELLAR_ABSENT);
    const l2_key other = { "key", 3, 8, k.hash }; /* another generation, the same position */
    T_EQ_I64(l2_get(kit.d, &other, buf, sizeof buf, &len, &n), CELLAR_MISS);
    const l2_key longer = { "key2", 4, 9, k.hash };
    T_EQ_I64(l2_get(kit.d, &longer, buf, sizeof buf, &len, &n), CELLAR_MISS);
    end();
}

T_CASE(deadlines_survive_clock_steps)
{
    begin();
    open_it();
    l2_meta m = { .deadline_ms = kit.now_ms + 60000 }, n;
    const l2_key k = l2_kit_key(&kit, "key", 3, 9);
    char buf[8];
    size_t len;
    T_EQ_I64(l2_put(kit.d, &k, "value", 5, &m, NULL), CELLAR_OK);
    const int64_t ten_years = INT64_C(315360000000);
    static const int64_t steps[] = { 1, -1 };
    for (int i = 0; i < 2; i++) { /* same boot: steps of the wall clock have no effect */
        l2_close(kit.d);
        kit.wall_ms += steps[i] * ten_years;
        open_it();
        T_EQ_I64(l2_get(kit.d, &k, buf, sizeof buf, &len, &n), CELLAR_OK);
        T_EQ_I64(n.deadline_ms, m.deadline_ms);
    }
    kit.now_ms += 59999;
    T_EQ_I64(l2_get(kit.d, &k, buf, sizeof buf, &len, &n), CELLAR_OK);
    kit.now_ms += 1;
    T_EQ_I64(l2_get(kit.d, &k, buf, sizeof buf, &len, &n), CELLAR_MISS);
    m.deadline_ms = kit.now_ms + 60000;
    T_EQ_I64(l2_put(kit.d, &k, "value", 5, &m, NULL), CELLAR_OK);
    l2_close(kit.d);
    dev.boot[0]++; /* another boot: the clock restarts, 20 s have passed */
    kit.wall_ms = INT64_C(1700000000000) + 60000 + 20000;
    kit.now_ms = 5000;
    open_it();
    T_EQ_I64(l2_get(kit.d, &k, buf, sizeof buf, &len, &n), CELLAR_OK);
    T_EQ_I64(n.deadline_ms, 5000 + 40000);
    l2_close(kit.d);
    dev.boot[0]++; /* a wall clock set back ten years does not make entries younger */
    kit.wall_ms -= ten_years;
    kit.now_ms = 100;
    open_it();
    T_EQ_I64(l2_get(kit.d, &k, buf, sizeof buf, &len, &n), CELLAR_OK);
    T_CHECK(n.deadline_ms <= 100 + 40000);
    l2_close(kit.d);
    dev.boot[0]++; /* ten years ahead: expired */
    kit.wall_ms += 3 * ten_years;
    open_it();
    T_EQ_I64(l2_get(kit.d, &k, buf, sizeof buf, &len, &n), CELLAR_MISS);
    m.deadline_ms = kit.now_ms + 60000;
    T_EQ_I64(l2_put(kit.d, &k, "value", 5, &m, NULL), CELLAR_OK);
    m.deadline_ms = BASE_NEVER_MS;
    const l2_key forever = l2_kit_key(&kit, "ever", 4, 9);
    T_EQ_I64(l2_put(kit.d, &forever, "value", 5, &m, NULL), CELLAR_OK);
    end();
}

T_CASE(refused_puts_count_their_reason)
{
    begin();
    kit.cfg.min_ttl_ms = 10000;
    open_it();
    l2_meta m = { .deadline_ms = kit.now_ms + 9999 };
    const l2_key k = l2_kit_key(&kit, "key", 3, 9);
    T_EQ_I64(l2_put(kit.d, &k, "v", 1, &m, NULL), L2_REFUSED);
    m.deadline_ms++;
    T_EQ_I64(l2_put(kit.d, &k, "v", 1, &m, NULL), CELLAR_OK);
    const size_t most = (size_t)kit.d->places * kit.d->form.seg_bytes / 4;
    T_EQ_I64(put(1, 1, most + 1), L2_REFUSED);
    T_EQ_I64(put(1, 1, 2 * most), L2_REFUSED);
    T_EQ_I64(put(1, 1, 5700), CELLAR_OK);
    l2_stats st;
    l2_stats_get(kit.d, &st);
    T_EQ_U64(st.refused_ttl, 1);
    T_EQ_U64(st.refused_size, 2);
    end();
}

T_CASE(write_budgets_hold_over_restarts)
{
    begin();
    kit.cfg.write_bps = 1000;
    kit.cfg.write_bpd = 2500;
    open_it();
    uint32_t stored = 0;
    for (uint32_t i = 0; i < 8; i++) { stored += put(i, 1, 270) == CELLAR_OK; }
    T_EQ_U64(stored, 3); /* about 300 bytes each, in one second */
    kit.now_ms += 1000;
    for (uint32_t i = 0; i < 8; i++) { stored += put(10 + i, 1, 270) == CELLAR_OK; }
    T_EQ_U64(stored, 6);
    l2_close(kit.d);
    kit.now_ms += 1000;
    open_it();
    for (uint32_t i = 0; i < 8; i++) { stored += put(20 + i, 1, 270) == CELLAR_OK; }
    T_EQ_U64(stored, 8); /* the budget of the day is used up */
    kit.now_ms += 1000;
    T_EQ_I64(put(30, 1, 270), L2_REFUSED);
    l2_stats st;
    l2_stats_get(kit.d, &st);
    T_CHECK(st.refused_budget >= 7 && st.bytes_today <= 2500 && st.bytes_today > 2300);
    kit.now_ms += 86400000;
    T_EQ_I64(put(30, 1, 270), CELLAR_OK);
    end();
}

static uint32_t midnight; /* number of clock reads until the next day begins */

static int64_t clock_at_midnight(void *ctx)
{
    if (midnight > 0 && --midnight == 0) {
        kit.now_ms += 86400000;
        (void)base_add_rlx(&kit.d->day.window, (uint64_t)1);
        base_store_rlx(&kit.d->day.used, (uint64_t)0);
    }
    return l2_kit_now(ctx);
}

T_CASE(a_dropped_put_at_midnight_refunds_the_right_day)
{
    begin();
    kit.cfg.seg_count = 6;
    kit.cfg.write_bpd = 1 << 20;
    open_it();
    T_EQ_I64(put(0, 1, 3000), CELLAR_OK);
    for (uint32_t i = 0; i < kit.d->nstage; i++) { /* the next slot: opened, but without a record */
        if (kit.d->slot[i].state == L2_SLOT_FREE) { kit.d->slot[i].armed_end = 1; }
    }
    kit.clock.precise_ms = clock_at_midnight;
    midnight = 2; /* the first read is the budget's, the second the new slot's */
    T_EQ_I64(put(1, 1, 5000), CELLAR_DROPPED);
    T_EQ_U64(midnight, 0);
    (void)l2_tick(kit.d, 100000);
    (void)l2_tick(kit.d, 100000);
    l2_stats st;
    l2_stats_get(kit.d, &st);
    T_EQ_U64(st.bytes_today, 0);
    T_EQ_I64(put(2, 1, 270), CELLAR_OK);
    end();
}

T_CASE(the_daily_budget_survives_process_deaths)
{
    uint32_t stored = 0;
    begin();
    kit.cfg.seg_count = 6;
    kit.cfg.write_bpd = 3000;
    for (uint32_t round = 0; round < 20; round++) {
        if (round == 10) { kit.now_ms += 86400000; }
        open_it();
        for (uint32_t i = 0; i < 2; i++) {
            stored += put(100 * round + i, 1, 270) == CELLAR_OK;
            (void)l2_tick(kit.d, 1000);
        }
        l2_kit_kill(&kit);
        dev.locked = false;
        T_CHECK(stored <= (round < 10 ? 10 : 20)); /* about 300 bytes each */
    }
    T_CHECK(stored > 16);
    open_it();
    end();
}

/* A host clock that restarts with each process. */
T_CASE(a_clock_set_back_does_not_stop_the_budget)
{
    begin();
    kit.cfg.write_bps = 1000;
    open_it();
    while (put(1, 1, 270) == CELLAR_OK) {}
    kit.now_ms -= 600000;
    T_EQ_I64(put(2, 1, 270), CELLAR_OK);
    end();
}

static cellar_err put_unused(uint32_t key)
{
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .unused = true };
    const l2_key k = l2_kit_key(&kit, &key, sizeof key, 7);
    return l2_put(kit.d, &k, "value", 5, &m, NULL);
}

T_CASE(unused_entries_are_stored_at_their_second_put)
{
    begin();
    kit.cfg.seg_count = 8;
    open_it();
    l2_stats st;
    const uint64_t share = (uint64_t)kit.d->places * kit.d->form.seg_bytes / 100 * 40;
    base_store_rlx(&kit.d->live_bytes, share + 1); /* more than 40 % of the size is alive */
    for (uint32_t i = 0; i < 40; i++) { T_EQ_I64(put_unused(i), L2_REFUSED); }
    l2_stats_get(kit.d, &st);
    T_EQ_U64(st.refused_unused, 40);
    T_EQ_U64(st.put_bytes, 0);
    for (uint32_t i = 0; i < 40; i++) { T_EQ_I64(put_unused(i), CELLAR_OK); }
    for (uint32_t i = 0; i < 40; i++) { T_EQ_I64(put_unused(i), CELLAR_OK); } /* and from then on */
    T_EQ_I64(put(100, 1, 50), CELLAR_OK); /* used: immediately */
    /* Too large, or due too soon: refused for that reason and not remembered. */
    l2_meta m = { .deadline_ms = kit.now_ms, .unused = true };
    const l2_key k = l2_kit_key(&kit, "due", 3, 7);
    T_EQ_I64(l2_put(kit.d, &k, "v", 1, &m, NULL), L2_REFUSED);
    m.deadline_ms = BASE_NEVER_MS;
    l2_stats_get(kit.d, &st);
    T_EQ_U64(st.refused_ttl, 1);
    T_EQ_U64(st.refused_unused, 40);
    T_EQ_I64(l2_put(kit.d, &k, "v", 1, &m, NULL), L2_REFUSED);
    /* An existing copy needs no second put. An address without a copy has no effect. */
    const l2_key other = l2_kit_key(&kit, "other", 5, 7);
    m.unused = false;
    m.where = &m.addr;
    T_EQ_I64(l2_put(kit.d, &other, "v", 1, &m, NULL), CELLAR_OK);
    m.unused = true;
    T_CHECK(m.addr != 0);
    T_EQ_I64(l2_put(kit.d, &other, "v", 1, &m, NULL), CELLAR_OK);
    l2_stats_get(kit.d, &st);
    T_EQ_U64(st.identical, 1);
    m.addr = 12345;
    T_EQ_I64(l2_put(kit.d, &other, "v", 1, &m, NULL), L2_REFUSED);
    /* With room each value is stored, and a negative entry after a use. */
    base_store_rlx(&kit.d->live_bytes, share);
    const l2_key third = l2_kit_key(&kit, "third", 5, 7), fourth = l2_kit_key(&kit, "fourth", 6, 7);
    T_EQ_I64(l2_put(kit.d, &third, "v", 1, &m, NULL), CELLAR_OK);
    m.kind = 1;
    T_EQ_I64(l2_put(kit.d, &fourth, NULL, 0, &m, NULL), L2_REFUSED);
    T_EQ_I64(l2_put(kit.d, &third, NULL, 0, &m, NULL), CELLAR_OK); /* noted by its value */
    end();
}

/* After four times as many other keys as words, few keys are remembered. After half as many as fit,
 * most are. */
T_CASE(unused_entries_are_forgotten_after_many_others)
{
    begin();
    open_it();
    const uint64_t words = kit.d->seen_words;
    uint32_t soon = 0, late = 0, strangers = 0;
    for (uint64_t i = 0; i < 2 * words; i++) { (void)l2_seen_again(kit.d, base_mix64(i) >> 16); }
    for (uint64_t i = 0; i < words; i++) { soon += l2_seen_again(kit.d, base_mix64(i) >> 16); }
    for (uint64_t i = 0; i < 12 * words; i++) {
        strangers += l2_seen_again(kit.d, base_mix64(1000000 + i) >> 16);
    }
    for (uint64_t i = 0; i < words; i++) { late += l2_seen_again(kit.d, base_mix64(i) >> 16); }
    T_CHECK(soon > words * 7 / 10);
    T_CHECK(late <= words / 32);
    T_CHECK(strangers <= words / 32);
    /* A repeated key stays in front: three others displace the older ones. */
    memset((void *)kit.d->seen, 0, sizeof *kit.d->seen * words);
    T_CHECK(!l2_seen_again(kit.d, 1));
    for (uint64_t i = 2; i < 20; i++) {
        T_CHECK(!l2_seen_again(kit.d, i));
        T_CHECK(l2_seen_again(kit.d, 1));
    }
    T_CHECK(l2_seen_again(kit.d, 19) && l2_seen_again(kit.d, 18) && l2_seen_again(kit.d, 17));
    T_CHECK(!l2_seen_again(kit.d, 16));
    T_CHECK(!l2_seen_again(kit.d, 0)); /* 0 means free */
    T_CHECK(l2_seen_again(kit.d, 0));
    end();
}

static bool never(void *ctx, uint64_t hash, uint64_t stamp)
{
    (void)ctx;
    (void)hash;
    return stamp == 42;
}

T_CASE(a_raised_stamp_refuses_the_put)
{
    begin();
    open_it();
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS };
    const l2_key k = l2_kit_key(&kit, "key", 3, 9);
    l2_current c = { never, NULL, 41 };
    T_EQ_I64(l2_put(kit.d, &k, "v", 1, &m, &c), L2_REFUSED);
    c.stamp = 42;
    T_EQ_I64(l2_put(kit.d, &k, "v", 1, &m, &c), CELLAR_OK);
    end();
}

T_CASE(an_unchanged_copy_is_not_written_again)
{
    begin();
    open_it();
    l2_meta m = { .deadline_ms = BASE_NEVER_MS }, n;
    const l2_key k = l2_kit_key(&kit, "key", 3, 9);
    char buf[8];
    size_t len;
    l2_stats st;
    T_EQ_I64(l2_put(kit.d, &k, "v", 1, &m, NULL), CELLAR_OK);
    T_EQ_I64(l2_get(kit.d, &k, buf, sizeof buf, &len, &n), CELLAR_OK);
    m.addr = n.addr;
    T_EQ_I64(l2_put(kit.d, &k, "v", 1, &m, NULL), CELLAR_OK);
    l2_stats_get(kit.d, &st);
    T_EQ_U64(st.identical, 1);
    l2_invalidate(kit.d, &k); /* changed since, so its copy does not count */
    T_EQ_I64(l2_put(kit.d, &k, "v", 1, &m, NULL), CELLAR_OK);
    l2_stats_get(kit.d, &st);
    T_EQ_U64(st.identical, 1);
    end();
}

T_CASE(only_keys_that_may_be_on_disk_log_tombstones)
{
    begin();
    kit.cfg.seg_count = 8;
    open_it();
    l2_stats st;
    for (uint32_t i = 0; i < 1000; i++) { kill_key(100000 + i); }
    l2_stats_get(kit.d, &st);
    T_EQ_U64(st.denied, 1000); /* an empty filter denies everything */
    for (uint32_t i = 0; i < 20; i++) { T_EQ_I64(put(i, 1, 50), CELLAR_OK); }
    for (uint32_t i = 0; i < 20; i++) { kill_key(i); }
    l2_stats_get(kit.d, &st);
    T_EQ_U64(st.tombstones, 20);
    for (uint32_t i = 15; i < 20; i++) { kill_key(i); }
    l2_stats_get(kit.d, &st);
    T_EQ_U64(st.remembered, 5); /* for the last ones the tombstone is still the newest record */
    T_EQ_I64(put(19, 2, 50), CELLAR_OK);
    kill_key(19);
    T_EQ_I64(get(19, 2, 50), CELLAR_MISS);
    l2_stats_get(kit.d, &st);
    T_EQ_U64(st.tombstones, 21);
    end();
}

/* The worker has not run yet, and the slots are full. Puts are dropped. Deletes let it work, and lose
 * no record of another key. */
T_CASE(deletes_without_room_wait_and_drop_nothing)
{
    for (int level = L2_DROP; level <= L2_ALWAYS; level++) {
        begin();
        kit.cfg.level = (l2_level)level;
        kit.cfg.seg_count = 20;
        open_it();
        uint32_t stored = 0, dropped = 0;
        for (uint32_t i = 0; i < 1000; i++) {
            if (put(i, 1, 100) == CELLAR_OK) { stored = i + 1; } else { dropped++; }
        }
        T_CHECK(stored > 50 && dropped > 100);
        for (uint32_t round = 0; round < 3; round++) {
            for (uint32_t i = 1; i < stored; i++) {
                if (i % 8 == 0) { continue; }
                if (round > 0 && put(i, 1, 10) != CELLAR_OK) { (void)l2_tick(kit.d, 0); }
                kill_key(i);
            }
        }
        l2_stats st;
        l2_stats_get(kit.d, &st);
        T_CHECK(st.waits > 0);
        T_EQ_U64(st.emptied, 0);
        for (int run = 0; run < 2; run++) {
            for (uint32_t i = 0; i < stored; i++) {
                T_EQ_I64(get(i, 1, 100), i % 8 == 0 ? CELLAR_OK : CELLAR_MISS);
            }
            l2_kit_kill(&kit);
            dev.locked = false;
            open_it();
        }
        end();
    }
}

/* The disk fails, so that no slot becomes free: deletes rely on the stall marker. */
T_ALONE(deletes_without_room_on_a_failing_disk_enter_the_list)
{
    begin();
    open_it();
    uint32_t stored = 0;
    for (uint32_t i = 0; i < 400; i++) {
        if (put(i, 1, 100) == CELLAR_OK) { stored = i + 1; }
    }
    dev.fail_site = DEV_PWRITE;
    dev.fail_errno = EIO;
    dev.fail_sticky = true;
    dev.fail_at = 1;
    uint32_t killed = 0;
    l2_stats st = { .relied = 0 };
    for (; killed < stored && st.relied < 10; killed++) {
        kill_key(killed);
        T_EQ_I64(get(killed, 1, 100), CELLAR_MISS);
        l2_stats_get(kit.d, &st);
    }
    T_CHECK(killed < stored && dev.bell);
    dev.fail_at = 0;
    dev.fail_sticky = false;
    for (int i = 0; i < 10; i++) { /* the disk is off for a while */
        kit.now_ms += 100000;
        (void)l2_tick(kit.d, 1000);
    }
    T_CHECK(!dev.bell);
    for (uint32_t i = 0; i < stored; i++) {
        T_EQ_I64(get(i, 1, 100), i < killed ? CELLAR_MISS : CELLAR_OK);
    }
    l2_stats_get(kit.d, &st);
    T_EQ_U64(st.emptied, 0);
    end();
}

/* The reserve of a slot is for changes without another slot. While one is ahead puts use it, and
 * the segment is sealed full. In the last slot they leave it. */
T_CASE(puts_leave_room_for_changes_only_in_the_last_slot)
{
    begin();
    kit.cfg.seg_bytes = 65536;
    kit.cfg.stage_count = 3;
    kit.cfg.seg_count = 8;
    open_it();
    const uint32_t reserve = kit.d->reserve;
    uint32_t stored = 0;
    while (put(stored, 1, 100) == CELLAR_OK) { stored++; }
    for (uint32_t i = 0; i < 3; i++) {
        const l2_slot *s = &kit.d->slot[i];
        const uint32_t left = l2_data_limit(kit.d, s->entries) - s->pos;
        if (s == kit.d->open_slot) {
            T_CHECK(left >= reserve);
        } else {
            T_CHECK(left < reserve / 4);
        }
    }
    const uint32_t changes = reserve / 2 / 40;
    for (uint32_t i = 0; i < changes; i++) { kill_key(i); }
    l2_stats st;
    l2_stats_get(kit.d, &st);
    T_EQ_U64(st.tombstones, changes);
    T_EQ_U64(st.emptied, 0);
    l2_kit_kill(&kit);
    dev.locked = false;
    open_it();
    for (uint32_t i = 0; i < stored; i++) {
        T_EQ_I64(get(i, 1, 100), i < changes ? CELLAR_MISS : CELLAR_OK);
    }
    T_EQ_STR(l2_audit(kit.d), NULL);
    end();
}

/* Return the stage pages that are not zero: at most these are written by the next sync. */
static uint32_t stage_pages(void)
{
    const l2_dev_file *f = l2_dev_find(&dev, "stage.buf");
    uint32_t n = 0;
    for (size_t at = 0; at < f->size; at += L2_PAGE) {
        bool zero = true;
        for (size_t i = 0; i < L2_PAGE && zero; i++) { zero = f->live[at + i] == 0; }
        n += !zero;
    }
    return n;
}

/* Open a store with slots that a few hundred puts fill. */
static void open_small_slots(void)
{
    begin();
    kit.cfg.seg_bytes = 65536;
    kit.cfg.stage_count = 4;
    kit.cfg.seg_count = 8;
    open_it();
}

/* Records in data.seg are not written in stage.buf again, neither at a sync nor when the store is
 * idle. All are found after a process death, and after a power cut that follows the sync. */
T_ALONE(sealed_records_are_zeroed_in_the_stage)
{
    for (int how = 0; how < 4; how++) { /* idle, sync; then a process death, a power cut */
        open_small_slots();
        uint32_t stored = 0;
        l2_stats st;
        do {
            T_EQ_I64(put(stored, 1, 100), CELLAR_OK);
            stored++;
            (void)l2_tick(kit.d, 1000);
            l2_stats_get(kit.d, &st);
        } while (st.sealed < 4);
        for (uint32_t i = 0; i < 20; i++) { T_EQ_I64(put(stored++, 1, 100), CELLAR_OK); }
        T_CHECK(stage_pages() > 18); /* two slots in turn */
        T_EQ_U64(st.trimmed_bytes, 0);
        if (how == 0 || how == 2) {
            kit.now_ms += 1100;
            (void)l2_tick(kit.d, 1000);
            T_CHECK(stage_pages() <= 16); /* the open slot */
        }
        if (how != 0) { T_EQ_I64(l2_sync(kit.d), CELLAR_OK); }
        l2_stats_get(kit.d, &st);
        T_CHECK(st.trimmed_bytes >= 3 * 65536);
        if (how != 0) { T_CHECK(stage_pages() < 6); } /* records, footer lines, trailer */
        if (how == 3) {
            static l2_dev cut;
            l2_dev_init(&cut);
            l2_kit_kill(&kit);
            base_rng r;
            base_rng_seed(&r, t_.seed);
            l2_dev_clone(&dev, &cut, &r);
            l2_dev_fini(&dev);
            dev = cut;
        } else {
            l2_kit_kill(&kit);
        }
        dev.locked = false;
        open_it();
        for (uint32_t i = 0; i < stored; i++) { T_EQ_I64(get(i, 1, 100), CELLAR_OK); }
        T_EQ_I64(put(stored, 1, 100), CELLAR_OK);
        T_EQ_STR(l2_audit(kit.d), NULL);
        end();
    }
}

/* A file system that cannot zero a range, at first or later, is not asked again. Nothing is
 * lost. */
T_CASE(a_file_system_that_cannot_zero_is_asked_once)
{
    begin();
    kit.cfg.seg_bytes = 65536;
    kit.cfg.seg_count = 8;
    open_it();
    dev.fail_site = DEV_ZERO;
    dev.fail_errno = EOPNOTSUPP;
    dev.fail_at = 1;
    dev.fail_sticky = true;
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < 600; i++) {
            kill_key(i);
            T_EQ_I64(put(i, round, 100), CELLAR_OK);
            (void)l2_tick(kit.d, 1000);
        }
        const uint32_t syncs = dev.calls[DEV_DATASYNC];
        T_EQ_I64(l2_sync(kit.d), CELLAR_OK); /* most of both files while appends continue */
        if (round > 0) { T_EQ_U64(dev.calls[DEV_DATASYNC] - syncs, 6); }
        T_EQ_I64(put(700, round, 100), CELLAR_DROPPED); /* the store is marked CLEAN */
        (void)l2_tick(kit.d, 1000);
        T_EQ_I64(put(700, round, 100), CELLAR_OK);
    }
    T_EQ_U64(dev.calls[DEV_ZERO], 1);
    l2_kit_kill(&kit);
    dev.locked = false;
    open_it();
    for (uint32_t i = 0; i < 600; i++) { T_EQ_I64(get(i, 2, 100), CELLAR_OK); }
    end();
}

static void then_there_are_no_blocks(void *ctx)
{
    l2_dev *v = ctx;
    if (v->calls[DEV_ZERO] != 0) { v->fail_site = DEV_PREALLOCATE; }
}

/* After an error blocks of the stage may be missing. They are allocated again. Without room no
 * thread stores into the stage any more, and the next open knows. */
T_CASE(blocks_lost_by_zeroing_are_allocated_again)
{
    for (int how = 0; how < 3; how++) { /* none missing; when idle; in a sync */
        open_small_slots();
        uint32_t stored = 0;
        l2_stats st;
        do {
            T_EQ_I64(put(stored++, 1, 100), CELLAR_OK);
            (void)l2_tick(kit.d, 1000);
            l2_stats_get(kit.d, &st);
        } while (st.sealed < 2);
        const uint32_t blocks = dev.calls[DEV_PREALLOCATE];
        dev.fail_site = DEV_ZERO;
        dev.fail_errno = ENOSPC;
        dev.fail_at = 1;
        dev.fail_sticky = true;
        dev.hook = how == 0 ? NULL : then_there_are_no_blocks;
        dev.hook_ctx = &dev;
        if (how < 2) {
            kit.now_ms += 1100;
            (void)l2_tick(kit.d, 1000);
        } else {
            T_EQ_I64(l2_sync(kit.d), CELLAR_E_IO);
        }
        T_EQ_U64(dev.calls[DEV_PREALLOCATE], blocks + 1);
        dev.fail_at = 0;
        dev.hook = NULL;
        l2_stats_get(kit.d, &st);
        T_EQ_U64(st.cuts, how > 0);
        T_EQ_U64(st.emptied, 0); /* no record is stored to say so */
        T_EQ_I64(put(stored, 1, 100), how == 0 ? CELLAR_OK : CELLAR_DROPPED);
        kill_key(0);
        l2_kit_kill(&kit);
        dev.locked = false;
        open_it();
        for (uint32_t i = 0; i < stored; i++) {
            T_EQ_I64(get(i, 1, 100), how == 0 && i > 0 ? CELLAR_OK : CELLAR_MISS);
        }
        T_EQ_STR(l2_audit(kit.d), NULL);
        end();
    }
}

T_CASE(reclaim_keeps_the_newest_records)
{
    begin();
    kit.cfg.seg_count = 6;
    open_it();
    uint32_t newest[32] = { 0 };
    l2_stats st;
    base_rng r;
    base_rng_seed(&r, t_.seed);
    for (uint32_t v = 1; v < 4000; v++) {
        const uint32_t key = (uint32_t)base_rng_below(&r, 32);
        kill_key(key);
        newest[key] = put(key, v, 20 + v % 300) == CELLAR_OK ? v : 0;
        while (l2_tick(kit.d, 1000)) {}
        const uint32_t look = (uint32_t)base_rng_below(&r, 32), at = newest[look];
        const cellar_err err = get(look, at, 20 + at % 300);
        T_CHECK(err == CELLAR_MISS || (err == CELLAR_OK && at != 0));
        if (look == key && at != 0) { T_EQ_I64(err, CELLAR_OK); }
        if (t_failed()) { break; }
    }
    l2_stats_get(kit.d, &st);
    T_CHECK(st.reclaimed > 20);
    T_EQ_STR(l2_audit(kit.d), NULL);
    end();
}

T_CASE(namespaces_and_generations_persist)
{
    begin();
    open_it();
    l2_namespace v = { 1, 10, 5 }, got;
    T_CHECK(!l2_namespace_find(kit.d, "sessions", 8, &got));
    T_EQ_I64(l2_namespace_set(kit.d, &v, "sessions", 8), CELLAR_OK);
    v = (l2_namespace){ 2, 11, 1 };
    T_EQ_I64(l2_namespace_set(kit.d, &v, "other", 5), CELLAR_OK);
    for (int round = 0; round < 4; round++) {
        v = (l2_namespace){ 1, 20 + (uint32_t)round, 6 + (uint32_t)round };
        T_EQ_I64(l2_namespace_set(kit.d, &v, NULL, 0), CELLAR_OK); /* a clear */
        if (round % 2 == 0) {
            l2_close(kit.d);
        } else {
            l2_kit_kill(&kit);
        }
        open_it();
        T_CHECK(l2_namespace_find(kit.d, "sessions", 8, &got));
        T_CHECK(got.id == 1 && got.generation == v.generation && got.version == v.version);
        T_CHECK(l2_next_generation(kit.d) > v.generation && l2_next_id(kit.d) == 3);
    }
    /* the low 32 bits begin again: the newest number counts, in whatever order they come */
    for (uint64_t n = UINT32_MAX - 3; n < (uint64_t)UINT32_MAX + 5; n++) {
        v = (l2_namespace){ 1, n, 9 };
        const l2_namespace late = { 1, n - 2, 8 };
        T_EQ_I64(l2_namespace_set(kit.d, &v, NULL, 0), CELLAR_OK);
        T_EQ_I64(l2_namespace_set(kit.d, &late, NULL, 0), CELLAR_OK);
        if (n % 2 == 0) {
            l2_close(kit.d);
        } else {
            l2_kit_kill(&kit);
        }
        open_it();
        T_CHECK(l2_namespace_find(kit.d, "sessions", 8, &got));
        T_CHECK(got.generation == n && got.version == 9);
        T_CHECK(l2_next_generation(kit.d) > n);
    }
    v = (l2_namespace){ 2, 0, 0 };
    T_EQ_I64(l2_namespace_set(kit.d, &v, NULL, 0), CELLAR_OK); /* dropped */
    l2_kit_kill(&kit);
    open_it();
    T_CHECK(!l2_namespace_find(kit.d, "other", 5, &got));
    for (uint32_t i = 0; i < 300; i++) { /* over many writes of META and many segments */
        v = (l2_namespace){ 3 + i, 100 + i, 1 };
        char name[16];
        T_EQ_I64(l2_namespace_set(kit.d, &v, name, (size_t)snprintf(name, 16, "v%u", i)),
                 CELLAR_OK);
        (void)put(i, 1, 200);
        while (l2_tick(kit.d, 1000)) {}
    }
    l2_kit_kill(&kit);
    open_it();
    for (uint32_t i = 0; i < 300; i++) {
        char name[16];
        T_CHECK(l2_namespace_find(kit.d, name, (size_t)snprintf(name, 16, "v%u", i), &got));
        T_EQ_U64(got.generation, 100 + i);
    }
    end();
}

/* The table of rows is full. A change that removes something finds its row in it. */
T_CASE(dropping_a_namespace_needs_no_memory)
{
    begin();
    open_it();
    l2_namespace v, got;
    char name[16];
    for (uint32_t i = 1; i <= 16; i++) {
        v = (l2_namespace){ i, 100 + i, 1 };
        T_EQ_I64(l2_namespace_set(kit.d, &v, name, (size_t)snprintf(name, 16, "v%u", i)),
                 CELLAR_OK);
    }
    (void)base_fault_alloc_arm(1, true);
    v = (l2_namespace){ 4, 200, 2 };
    T_EQ_I64(l2_namespace_set(kit.d, &v, "v4", 2), CELLAR_OK); /* cleared */
    v = (l2_namespace){ 50, 201, 1 };
    T_EQ_I64(l2_namespace_set(kit.d, &v, "new", 3), CELLAR_E_NOMEM);
    v = (l2_namespace){ 3, 0, 0 };
    T_EQ_I64(l2_namespace_set(kit.d, &v, NULL, 0), CELLAR_OK); /* dropped */
    (void)base_fault_alloc_arm(0, false);
    l2_kit_kill(&kit);
    open_it();
    T_CHECK(l2_namespace_find(kit.d, "v4", 2, &got) && got.generation == 200);
    T_CHECK(!l2_namespace_find(kit.d, "v3", 2, &got));
    T_CHECK(!l2_namespace_find(kit.d, "new", 3, &got));
    end();
}

T_CASE(values_survive_a_reopen_on_real_files)
{
    char path[T_FOLDER_MAX];
    t_folder(path);
    l2_kit_init(&kit, NULL);
    char dir[T_FOLDER_MAX + 8];
    snprintf(dir, sizeof dir, "%s/store", path);
    kit.cfg.path = dir;
    kit.cfg.bytes = L2_BYTES_MIN;
    kit.cfg.memory_bytes = 64 << 20;
    kit.cfg.seg_bytes = kit.cfg.seg_count = kit.cfg.stage_count = 0;
    kit.cfg.no_thread = false;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < 20000; i++) { kept += put(i, 1, 500) == CELLAR_OK; }
    T_CHECK(kept > 1000);
    l2_close(kit.d);
    struct stat st;
    char file[330];
    uint64_t bytes = 0;
    static const char *const names[] = { "LOCK", "SUPER", "META.0", "META.1", "stage.buf",
                                         "data.seg" };
    for (int i = 0; i < 6; i++) {
        snprintf(file, sizeof file, "%s/%s", dir, names[i]);
        T_CHECK(stat(file, &st) == 0 && (st.st_mode & 0777) == 0600);
        bytes += (uint64_t)st.st_size;
    }
    T_CHECK(bytes <= L2_BYTES_MIN);
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    while (base_load_acq(&kit.d->rebuilding) != 0) { base_yield(); }
    uint32_t hits = 0;
    for (uint32_t i = 0; i < 20000; i++) {
        cellar_err err;
        /* While the disk is slow, for the worker or an earlier read, no further read is sent. */
        while ((err = get(i, 1, 500)) == CELLAR_MISS &&
               (l2_stalled(kit.d) || base_load_rlx(&kit.d->reads_stuck) != 0)) {
            usleep(1000);
        }
        T_CHECK(err == CELLAR_OK || err == CELLAR_MISS);
        hits += err == CELLAR_OK;
    }
    T_CHECK(hits > 1000 && hits <= kept);
    l2_close(kit.d);
    t_wipe(dir);
    T_EQ_I64(rmdir(path), 0);
}

static bool count_visit(void *ctx, const l2_key *k, const void *value, size_t value_len,
                        const l2_meta *meta)
{
    (void)k, (void)value, (void)value_len, (void)meta;
    (*(uint32_t *)ctx)++;
    return true;
}

/* A scan must not end without the entries of a disk that answers later. */
T_CASE(a_visit_stops_at_a_disk_that_does_not_answer)
{
    begin();
    kit.cfg.seg_count = 8;
    open_it();
    uint32_t kept = 0, stopped = 0, all = 0;
    uint64_t at = 0;
    for (uint32_t i = 0; i < 60; i++) {
        kept += put(i, 1, 500) == CELLAR_OK;
        while (l2_tick(kit.d, 1000)) {}
    }
    T_EQ_U64(kept, 60);
    base_store_rlx(&kit.d->reads_stuck, 1u);
    T_EQ_I64(l2_visit(kit.d, 7, &at, UINT32_MAX, count_visit, &stopped), CELLAR_E_BUSY);
    const uint64_t there = at;
    T_EQ_I64(l2_visit(kit.d, 7, &at, UINT32_MAX, count_visit, &stopped), CELLAR_E_BUSY);
    T_EQ_U64(at, there);
    base_store_rlx(&kit.d->reads_stuck, 0u);
    while (l2_visit(kit.d, 7, &at, UINT32_MAX, count_visit, &stopped) == CELLAR_E_BUSY) {
        usleep(1000);
    }
    at = 0;
    while (l2_visit(kit.d, 7, &at, UINT32_MAX, count_visit, &all) == CELLAR_E_BUSY) {
        usleep(1000);
    }
    T_EQ_U64(all, 60);
    T_EQ_U64(stopped, 60);
    end();
}

#define MANY_KEYS 180000u

static uint32_t many_served_of(uint32_t keys)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < keys; i++) {
        unsigned char buf[8];
        size_t len;
        l2_meta m;
        const l2_key k = l2_kit_key(&kit, &i, sizeof i, 7);
        n += l2_get(kit.d, &k, buf, sizeof buf, &len, &m) == CELLAR_OK && m.user_flags == i;
    }
    return n;
}

static cellar_err many_put(uint32_t key)
{
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = key };
    const l2_key k = l2_kit_key(&kit, &key, sizeof key, 7);
    return l2_put(kit.d, &k, "value 8", 8, &m, NULL);
}

static void many_fill(void)
{
    for (uint32_t i = 0; i < MANY_KEYS; i++) {
        while (many_put(i) != CELLAR_OK) { (void)l2_tick(kit.d, 1000); }
    }
}

static uint32_t many_served(void) { return many_served_of(MANY_KEYS); }

/* Footers of a segment are read many at once, those of a large one in pieces. A piece that cannot
 * be read costs only calls. */
T_ALONE(many_footer_pages_take_few_reads)
{
    begin();
    dev.flat = true;
    kit.cfg.seg_bytes = 4u << 20;
    kit.cfg.seg_count = 4;
    kit.cfg.memory_bytes = 64u << 20;
    kit.cfg.avg_object_bytes = 64;
    open_it();
    many_fill();
    T_EQ_U64(many_served(), MANY_KEYS);
    for (int failing = 0; failing < 2; failing++) {
        l2_kit_kill(&kit); /* after a close no footer is read */
        dev.locked = false;
        T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
        uint32_t pages = 0, most = 0;
        for (uint32_t i = 0; i < kit.d->nseg; i++) {
            pages += kit.d->seg[i].footer_pages;
            most = BASE_MAX(most, kit.d->seg[i].footer_pages);
        }
        T_CHECK(most > 2 * L2_FOOTERS_BYTES / L2_PAGE);
        T_EQ_U64(kit.d->footers.room, L2_FOOTERS_BYTES);
        const uint32_t before = dev.calls[DEV_PREAD];
        dev.aheads = dev.ahead_reads = 0;
        if (failing != 0) { /* the second piece of the largest footer */
            dev.fail_site = DEV_PREAD;
            dev.fail_errno = EIO;
            dev.fail_at = 2;
            dev.fail_sticky = false;
        }
        l2_kit_warm(&kit);
        T_EQ_U64(dev.fail_at, 0);
        const uint32_t reads = dev.calls[DEV_PREAD] - before;
        if (failing == 0) {
            T_CHECK(reads < pages / 30);
            T_CHECK(dev.aheads > 0); /* all but the first, each before its read */
            T_EQ_U64(dev.ahead_reads, dev.aheads);
        } else {
            T_CHECK(reads > pages / 30);
        }
        T_EQ_U64(many_served(), MANY_KEYS); /* the index rebuild distinguishes them */
        T_EQ_U64(l2_kit_figures(&kit).holes, 0);
        T_EQ_STR(l2_audit(kit.d), NULL);
    }
    l2_close(kit.d);
    kit.d = NULL;
    end();
}

T_CASE(the_rebuild_needs_memory_only_for_the_longest_footer)
{
    begin();
    kit.cfg.seg_count = 8;
    open_it();
    for (uint32_t i = 0; i < 60; i++) {
        T_EQ_I64(put(i, 1, 500), CELLAR_OK);
        (void)l2_tick(kit.d, 1000);
    }
    l2_kit_kill(&kit);
    dev.locked = false;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    uint32_t most = 0;
    for (uint32_t i = 0; i < kit.d->nseg; i++) {
        most = BASE_MAX(most, kit.d->seg[i].footer_pages);
    }
    T_CHECK(most > 0 && kit.d->footers.buf != NULL);
    T_EQ_U64(kit.d->footers.room, most * L2_PAGE);
    l2_kit_warm(&kit);
    for (uint32_t i = 0; i < 60; i++) { T_EQ_I64(get(i, 1, 500), CELLAR_OK); }
    end();
}

/* ---- write sizes ---- */

static uint64_t write_takes_ns;
static size_t longest_write;

static int timed_pwrite(void *ctx, base_vfs_file *f, const void *buf, size_t n, uint64_t off,
                        size_t *done)
{
    const uint64_t until = base_now_ns() + write_takes_ns;
    while (base_now_ns() < until) {}
    longest_write = BASE_MAX(longest_write, n);
    return l2_dev_pwrite(ctx, f, buf, n, off, done);
}

/* Seal one more segment. Return its largest write. */
static size_t sealed_in_parts_of(uint32_t key)
{
    longest_write = 0;
    T_EQ_I64(put(key, 1, 1000), CELLAR_OK);
    sync_take(L2_LOG, &kit.d->log_lock);
    T_CHECK(l2_slot_open(kit.d));
    sync_drop(L2_LOG, &kit.d->log_lock);
    while (l2_tick(kit.d, 1000)) {}
    T_EQ_I64(get(key, 1, 1000), CELLAR_OK);
    return longest_write;
}

T_ALONE(a_fast_disk_gets_larger_writes_than_a_slow_one)
{
    begin();
    dev.flat = true;
    kit.vfs.pwrite = timed_pwrite;
    kit.cfg.seg_bytes = 4 << 20;
    kit.cfg.seg_count = 4;
    kit.cfg.memory_bytes = 64 << 20;
    write_takes_ns = 0;
    open_it();
    uint32_t key = 0;
    const uint64_t end_ns = base_now_ns() + UINT64_C(60000000000); /* a busy machine is slow, too */
    while (sealed_in_parts_of(key++) < 4 << 20) { T_REQUIRE(base_now_ns() < end_ns); }
    write_takes_ns = 21000000;
    (void)sealed_in_parts_of(key++);
    T_EQ_U64(sealed_in_parts_of(key++), 1 << 20); /* so that the worker reports progress */
    write_takes_ns = 6000000;
    T_EQ_U64(sealed_in_parts_of(key++), 1 << 20);
    end();
}

/* The oldest segment is reclaimed when some of its lines are in the tables and some are not. Its
 * place is reused before the others arrive. */
T_ALONE(segments_reclaimed_during_the_rebuild_leave_no_word)
{
    begin();
    dev.flat = true;
    kit.cfg.seg_bytes = 2u << 20;
    kit.cfg.seg_count = 6;
    kit.cfg.memory_bytes = 8u << 20; /* areas fill again and again */
    kit.cfg.avg_object_bytes = 64;
    open_it();
    many_fill();
    const uint32_t served = many_served();
    uint32_t keys = MANY_KEYS;
    l2_kit_kill(&kit);
    dev.locked = false;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    kit.d->sort.due_ns = UINT64_MAX; /* only full areas go into the tables */
    while (kit.d->order_at < kit.d->order_count) { T_CHECK(l2_rebuild_step(kit.d)); }
    const uint64_t some = l2_kit_figures(&kit).entries;
    T_CHECK(some > 0 && some < served);
    const l2_seg *oldest = &kit.d->seg[kit.d->order[kit.d->order_count - 1]];
    T_CHECK(oldest->unread);
    T_CHECK(l2_reclaim(kit.d));
    T_EQ_U64(L2_SEG_STATE(base_load_rlx(&oldest->word)), L2_SEG_FREE);
    T_CHECK(l2_kit_figures(&kit).entries < some); /* its words were removed again */
    sync_take(L2_LOG, &kit.d->log_lock);
    T_CHECK(l2_slot_open(kit.d)); /* uses the place that was freed last */
    sync_drop(L2_LOG, &kit.d->log_lock);
    for (cellar_err err = CELLAR_OK; err == CELLAR_OK; keys += err == CELLAR_OK) {
        err = many_put(keys);
    }
    T_CHECK(L2_SEG_STATE(base_load_rlx(&oldest->word)) == L2_SEG_STAGE);
    T_CHECK(base_load_rlx(&kit.d->rebuilding) != 0);
    l2_kit_warm(&kit);
    T_EQ_STR(l2_audit(kit.d), NULL);
    /* no word for reclaimed records */
    T_EQ_U64(many_served_of(keys), l2_kit_figures(&kit).entries);
    T_CHECK(many_served() < served && many_served() > served / 2);
    l2_close(kit.d);
    kit.d = NULL;
    end();
}

T_MAIN("l2_store")
