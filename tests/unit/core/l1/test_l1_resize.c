/* SPDX-License-Identifier: MIT
 *
 * Aim:    a new budget holds when l1_resize returns, under load and with pins held, down by a
 *         factor of 256 and up again. Entries that fit are kept. A lowered bound of entries
 *         holds, and tickets of deleted entries are used again.
 * Method: 1 GiB filled, writers and readers running, pins held: 4 MiB and back; read the charges
 *         at each return. A shrink to a quarter must keep about a quarter. */
#include "tests/support/l1_kit.h"

#include "l1/types.h"

enum { PINS = 6 };

static struct {
    kit k;
    _Atomic uint32_t stop;
    _Atomic uint64_t sets;
    uint64_t keys;
    size_t len;
} z;

static void load(void *arg)
{
    kit_rng r = {t_seed() + (uint64_t)(uintptr_t)arg};
    unsigned char *buf = malloc(z.len + 64);
    T_REQUIRE(buf != NULL);
    while (atomic_load(&z.stop) == 0) {
        for (unsigned i = 0; i < 20; i++) {
            uint64_t id = kit_below(&r, z.keys), seq;
            size_t len;
            cellar_err err =
                kit_put(&z.k, id, atomic_fetch_add(&z.sets, 1), 8 + kit_below(&r, z.len));
            T_CHECK(err == CELLAR_OK || err == CELLAR_E_SPACE);
            id = kit_below(&r, z.keys);
            if (kit_get(&z.k, id, buf, z.len + 64, &len) == CELLAR_OK) {
                T_CHECK(kit_whole(buf, len, id, &seq));
            }
        }
    }
    free(buf);
}

T_CASE(from_a_gigabyte_to_four_megabytes_and_back)
{
    memset(&z, 0, sizeof z);
    const uint64_t large = KIT_SLOW == 1 ? KIT_MIB(t_share(1024)) : KIT_MIB(32 + 512 / KIT_SLOW);
    const uint64_t small = KIT_MIB(4);
    kit_open(&z.k, large, NULL);
    z.len = 4000;
    z.keys = large / 2000;
    for (uint64_t id = 0; id < z.keys / 2; id++) {
        T_EQ_I64(kit_put(&z.k, id, id, z.len), CELLAR_OK);
    }
    T_CHECK(kit_used(&z.k) > large / 10 * 9);
    kit_team team = {.n = 0};
    for (size_t i = 0; i < 2; i++) { kit_start(&team, load, (void *)i); }
    for (unsigned round = 0; round < 2; round++) {
        l1_pin_ref pin[PINS];
        unsigned char copy[PINS][4096];
        unsigned pins = 0;
        for (uint64_t i = 0; pins < PINS && i < 1000 * z.keys; i++) {
            kit_key key;
            if (kit_pin(z.k.c, kit_key_of(&z.k, &key, 0, i % z.keys), &pin[pins], 0) != CELLAR_OK) {
                continue;
            }
            memcpy(copy[pins], pin[pins].value, pin[pins].value_len);
            pins++;
        }
        T_EQ_U64(pins, PINS);
        cellar_err err; /* E_SPACE: a loader that is stopped holds a lane */
        while ((err = l1_resize(z.k.c, small)) == CELLAR_E_SPACE) { (void)sched_yield(); }
        T_EQ_I64(err, CELLAR_OK);
        T_CHECK(kit_used(&z.k) <= small);
        for (unsigned i = 0; i < pins; i++) {
            T_EQ_MEM(pin[i].value, copy[i], pin[i].value_len);
            l1_unpin(z.k.c, &pin[i]);
        }
        for (unsigned i = 0; i < 200; i++) { T_CHECK(kit_used(&z.k) <= small); }
        /* The small store works: some sets are found afterwards. */
        uint64_t kept = 0;
        for (uint64_t i = 0; i < 200 || (kept <= 100 && i < 20000); i++) {
            if (kit_put(&z.k, z.keys + i, i, 100) == CELLAR_OK) {
                kept += kit_has(&z.k, z.keys + i);
            }
        }
        T_CHECK(kept > 100);
        T_EQ_I64(l1_resize(z.k.c, large), CELLAR_OK);
    }
    atomic_store(&z.stop, 1);
    kit_join(&team);
    kit_audit(&z.k);
    for (uint64_t id = 0; id < z.keys / 2; id++) {
        T_EQ_I64(kit_put(&z.k, id, id, z.len), CELLAR_OK);
    }
    T_CHECK(kit_used(&z.k) > large / 10 * 9); /* the room is usable again */
    kit_close(&z.k);
}

T_ALONE(shrink_keeps_what_fits)
{
    static const struct { uint64_t from, to; size_t len; } shrink[] = {
        {64, 32, 100}, {64, 16, 100}, {64, 4, 100}, {64, 16, 250}, {64, 16, 4000}, {64, 2, 1000},
        {8, 2, 40}};
    for (size_t i = 0; i < sizeof shrink / sizeof shrink[0]; i++) {
        kit k;
        const uint64_t from = KIT_MIB(shrink[i].from), to = KIT_MIB(shrink[i].to);
        const size_t len = shrink[i].len;
        uint64_t n = from / (len + 16), payload = 0;
        kit_open(&k, from, NULL);
        for (uint64_t id = 0; id < n; id++) { T_EQ_I64(kit_put(&k, id, id, len), CELLAR_OK); }
        T_EQ_I64(l1_resize(k.c, to), CELLAR_OK);
        T_CHECK(kit_used(&k) <= to);
        T_CHECK(base_load_rlx(&k.account.by_module[BASE_MOD_GHOST]) != 0);
        kit_audit(&k);
        for (uint64_t id = 0; id < n; id++) { payload += kit_has(&k, id) ? len + 16 : 0; }
        /* 29 +- 4 in the worst case: each stripe has an open segment of small and one of main */
        if (!T_CHECK(payload * 100 >= to * 22)) { printf("# row %zu\n", i); }
        kit_close(&k);
    }
}

enum { LOWERED = 512 * 1024 };
static l1_pin_ref pin[180];

/* Fill 2 MiB, pin every third entry and lower the budget. Return the number of pins. */
static unsigned lower_under_pins(kit *k, size_t len)
{
    kit_key key;
    l1_config cfg = {.stripes = 1, .seg_bytes = 16384};
    unsigned pins = 0;
    kit_open(k, KIT_MIB(2), &cfg);
    for (uint64_t id = 0; id < KIT_MIB(2) / 5 * 4 / len && pins < 180; id++) {
        T_EQ_I64(kit_put(k, id, id, len), CELLAR_OK);
        if (id % 3 == 0) {
            T_EQ_I64(l1_pin(k->c, kit_key_of(k, &key, 0, id), &pin[pins++], 0), CELLAR_OK);
        }
    }
    T_EQ_I64(l1_resize(k->c, LOWERED), CELLAR_E_SPACE);
    return pins;
}

static const size_t in_segments_and_in_blocks[] = {1500, 20000};

T_CASE(no_set_adds_an_entry_until_a_lowered_budget_holds)
{
    for (size_t i = 0; i < 2; i++) {
        kit k;
        const size_t len = in_segments_and_in_blocks[i];
        const unsigned pins = lower_under_pins(&k, len);
        unsigned refused = 0;
        for (unsigned n = 0; n < pins; n++) {
            l1_unpin(k.c, &pin[n]);
            for (size_t j = 0; j < 2; j++) {
                const cellar_err err =
                    kit_put(&k, 1000 + n * 2 + j, n, in_segments_and_in_blocks[j]);
                T_CHECK(err == CELLAR_OK || err == CELLAR_E_SPACE);
                T_CHECK(err != CELLAR_OK || kit_used(&k) <= LOWERED);
                refused += err != CELLAR_OK;
            }
        }
        T_CHECK(refused > 0);
        T_EQ_I64(kit_put(&k, 1, 1, len), CELLAR_OK);
        T_CHECK(kit_used(&k) <= LOWERED);
        kit_audit(&k);
        kit_close(&k);
    }
}

T_CASE(tick_after_unpins_gives_memory_above_a_lowered_budget_back)
{
    for (size_t i = 0; i < 2; i++) {
        kit k;
        const unsigned pins = lower_under_pins(&k, in_segments_and_in_blocks[i]);
        T_CHECK(kit_used(&k) > LOWERED);
        for (unsigned n = 0; n < pins; n++) { l1_unpin(k.c, &pin[n]); }
        (void)l1_tick(k.c, UINT64_MAX);
        T_CHECK(kit_used(&k) <= LOWERED);
        kit_audit(&k);
        kit_close(&k);
    }
}

T_ALONE(resize_beyond_limits_is_refused)
{
    kit k;
    kit_open(&k, KIT_MIB(4), NULL);
    T_EQ_I64(l1_resize(k.c, KIT_MIB(1) << 40), CELLAR_E_RANGE);
    T_EQ_I64(l1_resize(k.c, 100), CELLAR_E_RANGE);
    T_EQ_U64(base_load_rlx(&k.account.limit), KIT_MIB(4));
    T_EQ_I64(l1_resize(k.c, KIT_MIB(32)), CELLAR_OK);
    for (uint64_t id = 0; id < 150000; id++) { T_EQ_I64(kit_put(&k, id, id, 100), CELLAR_OK); }
    T_EQ_U64(kit_stats(&k).evicted, 0); /* the room is in use */
    kit_close(&k);
}

/* Tickets of deleted entries serve the next set, with a key in any stripe. */
T_CASE(tickets_of_deletes_reach_every_stripe)
{
    enum { MOST = 2000, DELETED = 1800 };
    for (unsigned ticks = 0; ticks < 2; ticks++) {
        kit k;
        const l1_config cfg = {.max_entries = MOST, .stripes = 16, .mean_entry_bytes = 64};
        kit_open(&k, KIT_MIB(32), &cfg);
        T_CHECK(k.c->stripe_count >= 8);
        for (uint64_t id = 0; id < MOST; id++) { T_EQ_I64(kit_put(&k, id, id, 50), CELLAR_OK); }
        T_EQ_U64(kit_stats(&k).entries, MOST);
        for (uint64_t id = 0; id < DELETED; id++) { T_EQ_I64(kit_del(&k, id), CELLAR_OK); }
        if (ticks != 0) { (void)l1_tick(k.c, UINT64_MAX); }
        for (uint64_t id = MOST; id < MOST + DELETED; id++) {
            T_EQ_I64(kit_put(&k, id, id, 50), CELLAR_OK);
        }
        if (ticks != 0) { T_EQ_U64(kit_stats(&k).evicted, 0); }
        for (uint64_t id = 0; id < 2 * MOST; id++) {
            T_EQ_I64(kit_put(&k, 100000 + id, id, 50), CELLAR_OK);
        }
        T_CHECK(kit_stats(&k).entries >= MOST * 99 / 100 && kit_stats(&k).entries <= MOST);
        kit_close(&k);
    }
}

static struct {
    kit k;
    uint64_t deleted;
} w;

/* Delete entries and tick while a shrink evicts. */
static void delete_and_tick(void *ctx, const l1_left *what)
{
    (void)ctx;
    if (what->cause != L1_LEFT_CAPACITY) { return; }
    for (uint64_t i = 0; i < 5; i++) { (void)kit_del(&w.k, 37 * w.deleted++ % 2000); }
    (void)l1_tick(w.k.c, UINT64_MAX);
}

/* Tickets that a tick takes from a stripe during a shrink are part of what the shrink removes. */
T_CASE(lowered_bound_holds_beside_deletes_and_ticks)
{
    const l1_config cfg = {.max_entries = 2000, .stripes = 8, .mean_entry_bytes = 64,
                           .hooks = {.left = delete_and_tick}};
    memset(&w, 0, sizeof w);
    kit_open(&w.k, KIT_MIB(8), &cfg);
    l1_want_left(w.k.c, true);
    for (uint64_t id = 0; id < 2000; id++) { T_EQ_I64(kit_put(&w.k, id, id, 20), CELLAR_OK); }
    T_EQ_U64(kit_stats(&w.k).evicted, 0);
    T_EQ_I64(l1_set_max_entries(w.k.c, 100), CELLAR_OK);
    T_CHECK(kit_stats(&w.k).entries <= 100);
    l1_want_left(w.k.c, false);
    for (uint64_t id = 0; id < 2000; id++) { T_EQ_I64(kit_put(&w.k, id, id, 20), CELLAR_OK); }
    T_EQ_U64(kit_stats(&w.k).entries, 100);
    kit_close(&w.k);
}

/* With writers a sum may differ: then the audit names it. Sets go on meanwhile, and the audit changes
 * nothing. Sanitizers check that it reads nothing that another thread changes, and nothing beyond
 * its table while the log grows. */
T_CASE(audit_beside_writers_is_safe)
{
    memset(&z, 0, sizeof z);
    const l1_config cfg = {.stripes = 4};
    kit_open(&z.k, KIT_MIB(8), &cfg);
    z.len = 300;
    z.keys = 20000;
    kit_team team = {.n = 0};
    for (size_t i = 0; i < 2; i++) { kit_start(&team, load, (void *)i); }
    uint64_t audits = 0, sets = 0;
    for (; audits < 20 || sets < 20000; audits++) {
        const char *wrong = l1_audit(z.k.c);
        T_CHECK(wrong == NULL || (strlen(wrong) > 10 && strlen(wrong) < 100));
        (void)l1_tick(z.k.c, 100);
        const uint64_t now = atomic_load(&z.sets);
        T_CHECK(now >= sets);
        sets = now;
    }
    atomic_store(&z.stop, 1);
    kit_join(&team);
    const l1_stats before = kit_stats(&z.k);
    const uint64_t used = kit_used(&z.k);
    T_CHECK(before.entries >= 1000);
    T_CHECK(kit_audit(&z.k)); /* no sum is wrong for good */
    T_EQ_U64(kit_used(&z.k), used);
    T_EQ_U64(kit_stats(&z.k).entries, before.entries);
    kit_close(&z.k);
}

T_MAIN("l1_resize")
