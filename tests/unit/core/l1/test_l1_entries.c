/* SPDX-License-Identifier: MIT
 *
 * Aim:    an entry bound is exact: a bound of ten holds ten entries, never eleven, and never nine
 *         once the store was full. The same for one, for several stripes, policies and threads.
 * Method: sets one by one; check the count and the left hook after each. Updates, deletes and
 *         expiry in between. Then a bound over eight stripes, filled and churned. */
#include "l1/types.h"
#include "tests/support/l1_kit.h"

static struct {
    uint64_t left, last_id;
    l1_cause last_cause;
} told;

static void on_left(void *ctx, const l1_left *what)
{
    (void)ctx;
    told.left++;
    told.last_id = kit_id_of(what->key, what->key_len);
    told.last_cause = what->cause;
}

static uint64_t count(kit *k, uint64_t ids)
{
    uint64_t n = 0;
    for (uint64_t id = 0; id < ids; id++) { n += kit_has(k, id); }
    return n;
}

static void exactly(uint64_t max, l1_policy policy)
{
    kit k;
    l1_config cfg = {.max_entries = max, .policy = policy, .hooks = {.left = on_left}};
    kit_open(&k, KIT_MIB(4), &cfg);
    memset(&told, 0, sizeof told);
    l1_want_left(k.c, true);
    uint64_t buf;
    size_t len;
    for (uint64_t id = 0; id < 40 * max; id++) {
        T_EQ_I64(kit_put(&k, id, id, 8), CELLAR_OK);
        T_CHECK(kit_has(&k, id)); /* a set never evicts its own entry */
        uint64_t want = BASE_MIN(id + 1, max);
        T_EQ_U64(kit_stats(&k).entries, want);
        T_EQ_U64(told.left, id + 1 - want); /* the eleventh set evicts one entry */
        if (told.left != 0) { T_EQ_I64(told.last_cause, L1_LEFT_CAPACITY); }
        for (uint64_t i = 0; i < 3; i++) {
            (void)kit_get(&k, id - BASE_MIN(id, i * 3), &buf, 8, &len);
        }
        if (id % 7 == 0) { /* an update needs no new place */
            uint64_t before = told.left;
            T_EQ_I64(kit_put(&k, id, id + 1, 8), CELLAR_OK);
            T_EQ_I64(told.last_cause, L1_LEFT_REPLACED);
            T_EQ_I64(kit_put(&k, id, id, 300), CELLAR_OK);
            T_EQ_U64(told.left, before + 2);
            T_EQ_U64(told.last_id, id);
            told.left = before;
            T_EQ_U64(kit_stats(&k).entries, want);
            told.last_cause = L1_LEFT_CAPACITY;
        }
    }
    T_EQ_U64(count(&k, 40 * max), max);
    /* A delete leaves room for exactly one entry. */
    uint64_t gone = 0;
    for (uint64_t id = 0; id < 40 * max; id++) { gone += kit_del(&k, id) == CELLAR_OK; }
    T_EQ_U64(gone, max);
    uint64_t before = told.left;
    for (uint64_t id = 0; id < max; id++) { T_EQ_I64(kit_put(&k, 100000 + id, id, 8), CELLAR_OK); }
    if (kit_stats(&k).stripes == 1) {
        T_EQ_U64(told.left, before);
        T_EQ_U64(kit_stats(&k).entries, max);
    } else { /* room from a delete in another stripe is found later */
        T_CHECK(kit_stats(&k).entries <= max && kit_stats(&k).entries >= max * 9 / 10);
    }
    kit_close(&k);
}

T_CASE(bounds_from_1_to_500_are_exact)
{
    static const uint64_t bounds[] = {1, 10, 2, 3, 17, 63, 64, 65, 500};
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
        for (l1_policy p = L1_S3FIFO; p <= L1_FIFO; p++) {
            if (i < 2 || p == (l1_policy)(i % 3)) { exactly(bounds[i], p); }
        }
    }
}

/* A set evicts expired entries first: their places are not lost. */
T_CASE(set_evicts_expired_entries_first)
{
    kit k;
    l1_config cfg = {.max_entries = 10, .hooks = {.left = on_left}};
    kit_open(&k, KIT_MIB(4), &cfg);
    memset(&told, 0, sizeof told);
    l1_want_left(k.c, true);
    for (uint64_t id = 0; id < 10; id++) {
        T_EQ_I64(kit_put_until(&k, 0, id, id, 8, kit_now(&k) + 5), CELLAR_OK);
    }
    kit_forward(&k, 5);
    for (uint64_t id = 10; id < 20; id++) {
        T_EQ_I64(kit_put(&k, id, id, 8), CELLAR_OK);
        T_EQ_I64(told.last_cause, L1_LEFT_EXPIRED);
    }
    T_EQ_U64(told.left, 10);
    T_EQ_U64(count(&k, 20), 10);
    kit_close(&k);
}

T_CASE(bound_holds_over_many_stripes)
{
    kit k;
    const uint64_t max = 4000;
    l1_config cfg = {.max_entries = max, .stripes = 8};
    kit_open(&k, KIT_MIB(16), &cfg);
    T_CHECK(kit_stats(&k).stripes > 1);
    kit_rng r = {t_seed()};
    const uint64_t sets = BASE_MAX(kit_scale(200000), 3 * max);
    for (uint64_t i = 0; i < sets; i++) {
        T_EQ_I64(kit_put(&k, i, i, 8 + kit_below(&r, 30)), CELLAR_OK);
        if (i % 64 == 0) {
            uint64_t entries = kit_stats(&k).entries;
            T_CHECK(entries <= max);
            if (i > 2 * max) { T_CHECK(entries >= max - 64); }
        }
    }
    T_EQ_U64(kit_stats(&k).entries, max);
    kit_close(&k);
}

static struct { kit k; _Atomic uint64_t next; _Atomic uint32_t stop; } t;

static void setter(void *arg)
{
    kit_rng r = {t_seed() + (uint64_t)(uintptr_t)arg};
    while (atomic_load(&t.stop) == 0) {
        for (unsigned i = 0; i < 50; i++) {
            uint64_t id = kit_one_in(&r, 2) ? atomic_fetch_add(&t.next, 1) : kit_below(&r, 2000);
            T_EQ_I64(kit_put(&t.k, id, id, 8 + kit_below(&r, 60)), CELLAR_OK);
            if (kit_one_in(&r, 10)) { (void)kit_del(&t.k, kit_below(&r, 2000)); }
        }
    }
}

T_CASE(bound_holds_under_threads)
{
    memset(&t, 0, sizeof t);
    l1_config cfg = {.max_entries = 1000, .stripes = 8};
    kit_open(&t.k, KIT_MIB(8), &cfg);
    atomic_store(&t.next, 10000);
    kit_team team = {.n = 0};
    for (size_t i = 0; i < 4; i++) { kit_start(&team, setter, (void *)i); }
    base_sleep_ns(600000000);
    atomic_store(&t.stop, 1);
    kit_join(&team);
    T_CHECK(kit_stats(&t.k).entries <= 1000);
    for (uint64_t i = 0; i < 20000; i++) { T_EQ_I64(kit_put(&t.k, 50000000 + i, i, 8), CELLAR_OK); }
    /* No ticket is lost. Entries may be fewer: dead records of four writers can fill the budget,
     * and then sets evict some entries. */
    int64_t tickets = base_load_rlx(&t.k.c->tickets);
    for (uint32_t i = 0; i < t.k.c->stripe_count; i++) {
        tickets += base_load_rlx(&t.k.c->lane[i].granted);
    }
    T_EQ_I64(tickets, 1000);
    T_CHECK(kit_stats(&t.k).entries >= 800 && kit_stats(&t.k).entries <= 1000);
    kit_close(&t.k);
}

T_MAIN("l1_entries")
