/* SPDX-License-Identifier: MIT
 *
 * Aim:    a scan passes each entry that exists during the whole scan at least once, during inserts,
 *         deletes, splits and merges. It passes existing entries only, and holds no lock in the
 *         callback.
 * Method: between any two steps of a scan, and inside the callback, insert or delete thousands of
 *         keys, shrink and grow the budget, contract the index by ticks. Then the same from
 *         threads. */
#include "tests/support/l1_kit.h"

enum { STAY = 600, OTHERS = 20000 };

typedef struct walk {
    kit *k;
    uint8_t *seen; /* times the scan passed each key */
    uint64_t told, foreign;
    kit_rng r;
    bool values, change_inside;
} walk;

/* Change keys from STAY on; keys below STAY never change. */
static void change(walk *w, unsigned n)
{
    static unsigned direction;
    if (kit_one_in(&w->r, 12)) { direction = (unsigned)kit_below(&w->r, 3); }
    for (unsigned i = 0; i < n; i++) {
        uint64_t id = STAY + kit_below(&w->r, OTHERS);
        if (direction == 0 || (direction == 2 && kit_one_in(&w->r, 2))) {
            T_EQ_I64(kit_put(w->k, id, id, 8), CELLAR_OK);
        } else {
            (void)kit_del(w->k, id);
        }
    }
    if (kit_one_in(&w->r, 4)) { (void)l1_tick(w->k->c, UINT64_MAX); }
}

static bool on_seen(void *ctx, const l1_seen *s)
{
    walk *w = ctx;
    uint64_t id = kit_id_of(s->key, s->key_len);
    if (!T_CHECK(id < STAY + OTHERS)) { return false; }
    if (s->info.generation != 0) { w->foreign++; }
    if (w->seen[id] < 255) { w->seen[id]++; }
    w->told++;
    T_EQ_U64(s->value_len, 8);
    T_CHECK((s->value != NULL) == w->values);
    if (s->value != NULL) { T_CHECK(kit_is(s->value, 8, id, id)); }
    sync_assert_none(); /* no lock is held here */
    if (w->change_inside && kit_one_in(&w->r, 40)) {
        /* The callback may set, delete and scan. */
        change(w, 30);
        uint64_t inner = 0, n = 0;
        walk other = {.k = w->k, .seen = w->seen, .r = w->r, .values = w->values};
        T_EQ_I64(l1_scan(w->k->c, &inner, 2, 0, w->values, on_seen, &other), CELLAR_OK);
        n = other.told;
        w->told += n;
    }
    return true;
}

static void scan_all(walk *w, size_t step, unsigned changes)
{
    uint64_t cursor = 0, steps = 0;
    memset(w->seen, 0, STAY + OTHERS);
    do {
        T_EQ_I64(l1_scan(w->k->c, &cursor, step, 0, w->values, on_seen, w), CELLAR_OK);
        if (changes != 0) { change(w, changes); }
        if (!T_CHECK(++steps < 10000000)) { break; } /* it must end */
    } while (cursor != 0);
    uint64_t missed = 0;
    for (uint64_t id = 0; id < STAY; id++) { missed += w->seen[id] == 0; }
    T_EQ_U64(missed, 0);
    T_EQ_U64(w->foreign, 0);
}

static void open_scan(kit *k, uint32_t stripes)
{
    l1_config cfg = {.stripes = stripes, .mean_entry_bytes = 64};
    kit_open(k, KIT_MIB(32), &cfg);
    for (uint64_t id = 0; id < STAY; id++) {
        T_EQ_I64(kit_put(k, id, id, 8), CELLAR_OK);
        T_EQ_I64(kit_put_until(k, 77, id, id, 8, BASE_NEVER_MS), CELLAR_OK); /* a generation */
    }
}

T_ALONE(present_throughout_is_seen)
{
    uint64_t splits = 0, merges = 0; /* of all rounds: late ones have few steps, so few changes */
    for (uint64_t round = 0; round < BASE_MAX(kit_scale(8), 2); round++) {
        kit k;
        walk w = {.k = &k, .seen = calloc(1, STAY + OTHERS), .r = {t_seed() + round},
                  .values = round % 2 == 0, .change_inside = round % 3 == 0};
        T_REQUIRE(w.seen != NULL);
        open_scan(&k, round % 2 == 0 ? 1 : 8);
        for (unsigned i = 0; i < 6; i++) {
            scan_all(&w, 1 + round, i == 0 ? 30 : BASE_MAX(1500 / KIT_SLOW, 200));
        }
        l1_stats s = kit_stats(&k);
        splits += s.splits, merges += s.merges;
        T_EQ_U64(s.evicted, 0);
        kit_close(&k);
        free(w.seen);
    }
    T_CHECK(splits > 500 && merges > (KIT_SLOW == 1 ? 100u : 10u));
}

static bool stop_at(void *ctx, const l1_seen *s) { (void)s; return ++*(uint64_t *)ctx % 10 != 0; }

/* A stopped scan continues after the bucket where it stopped. */
T_CASE(stopped_scan_continues)
{
    kit k;
    open_scan(&k, 2);
    uint64_t cursor = 0, told = 0, rounds = 0;
    do {
        T_EQ_I64(l1_scan(k.c, &cursor, SIZE_MAX, 0, false, stop_at, &told), CELLAR_OK);
    } while (cursor != 0 && ++rounds < STAY);
    T_CHECK(told > STAY / 2 && rounds > 10);
    kit_close(&k);
}

/* ---- threads --------------------------------------------------------------------------------- */
static struct {
    kit k;
    _Atomic uint32_t stop;
    _Atomic uint64_t scans;
} t;

static void changer(void *arg)
{
    kit_rng r = {t_seed() * 3 + (uint64_t)(uintptr_t)arg};
    while (atomic_load(&t.stop) == 0) {
        bool grow = kit_one_in(&r, 2);
        for (unsigned i = 0; i < 30000 && atomic_load(&t.stop) == 0; i++) {
            uint64_t id = STAY + kit_below(&r, OTHERS);
            if (grow) {
                T_EQ_I64(kit_put(&t.k, id, id, 8), CELLAR_OK);
            } else {
                (void)kit_del(&t.k, id);
            }
        }
        (void)l1_tick(t.k.c, 5000);
    }
}

static void scanner(void *arg)
{
    walk w = {.k = &t.k, .seen = calloc(1, STAY + OTHERS),
              .r = {t_seed() + (uint64_t)(uintptr_t)arg}, .values = true};
    T_REQUIRE(w.seen != NULL);
    uint64_t until = kit_deadline_ns(1200);
    do {
        scan_all(&w, 1 + kit_below(&w.r, 60), 0);
        atomic_fetch_add(&t.scans, 1);
    } while (kit_time_left(until) && t_failed() == 0);
    atomic_store(&t.stop, 1);
    free(w.seen);
}

T_CASE(present_throughout_is_seen_by_threads)
{
    memset(&t, 0, sizeof t);
    open_scan(&t.k, 2);
    kit_team team = {.n = 0};
    for (size_t i = 0; i < 2; i++) { kit_start(&team, changer, (void *)i); }
    for (size_t i = 0; i < 2; i++) { kit_start(&team, scanner, (void *)i); }
    kit_join(&team);
    T_CHECK(atomic_load(&t.scans) >= 2);
    T_EQ_U64(kit_stats(&t.k).evicted, 0);
    kit_close(&t.k);
}

T_MAIN("l1_scan")
