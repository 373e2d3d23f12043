/* SPDX-License-Identifier: MIT
 *
 * Aim:    all threads use all lanes of the log of a store, and it keeps its promises: the budget
 *         holds at each look, the bound of entries at the end, no value is torn or of another key, the
 *         structures agree afterwards, and the store still serves.
 * Method: writers set, get, touch, pin and delete values of 1 byte to 1 MiB; each byte of a value
 *         tells its key. Meanwhile one thread changes the budget, the bound, the policy
 *         and clears a namespace. STORM_ROUNDS=n: rounds; STORM_MIB=n: size of the store. */
#include "tests/support/many_threads.h"
#include "tests/support/settings.h"
#include "tests/support/t.h"

#include <pthread.h>

#include "base/futex.h"
#include "base/num.h"
#include "base/random.h"
#include "cellar.h"
#include "cellar_admin.h"
#include "cellar_entry.h"
#include "cellar_observe.h"

enum { WRITERS = 16, KEYS = 4000, LARGE = 1 << 20, PINS = 8, CALLS = 6000 / T_COST };
#define STORE_BYTES ((int64_t)t_env_u64("STORM_MIB", 8) << 20)
#define LEAST_BYTES (STORE_BYTES / 8)

static struct storm {
    cellar *root, *part;
    _Atomic int stop;
    _Atomic uint64_t hits, calls;
} storm;

static cellar *open_store(int64_t bytes)
{
    cellar *c = STORE_OF(.config.memory_bytes = (uint64_t)bytes);
    return c;
}

/* The bytes of a value are all equal: the low bits of its key. */
static unsigned char mark_of(uint32_t key) { return (unsigned char)(key * 167u >> 3); }

static void put(cellar *c, uint32_t key, size_t len)
{
    unsigned char small[600];
    unsigned char *v = small;
    if (len > sizeof small) { T_REQUIRE((v = malloc(len)) != NULL); }
    memset(v, mark_of(key), len);
    const cellar_err err = cellar_set(c, &key, sizeof key, v, len, NULL);
    T_CHECK(err == CELLAR_OK || err == CELLAR_E_SPACE || err == CELLAR_E_TOOBIG);
    if (v != small) { free(v); }
}

static void check_bytes(const unsigned char *v, size_t len, uint32_t key)
{
    const unsigned char want = mark_of(key);
    size_t wrong = 0;
    for (size_t i = 0; i < len; i++) { wrong += v[i] != want; }
    T_EQ_U64(wrong, 0);
}

static void look(cellar *c, uint32_t key)
{
    void *v = NULL;
    size_t len = 0;
    if (cellar_get_alloc(c, &key, sizeof key, &v, &len) != CELLAR_OK) { return; }
    check_bytes(v, len, key);
    atomic_fetch_add(&storm.hits, 1u);
    cellar_free(v);
}

static size_t length_of(base_rng *r)
{
    const uint64_t kind = base_rng_below(r, 100);
    return kind < 1 ? LARGE : kind < 4 ? 20000 + base_rng_below(r, 60000)
         : kind < 20 ? 1 : 50 + base_rng_below(r, 500);
}

static void *write_on(void *arg)
{
    base_rng r;
    base_rng_seed(&r, t_seed() + (uintptr_t)arg);
    cellar_pinned pin[PINS];
    uint32_t pinned[PINS];
    unsigned pins = 0;
    while (!atomic_load(&storm.stop)) {
        cellar *const c = base_rng_below(&r, 4) == 0 ? storm.part : storm.root;
        atomic_fetch_add(&storm.calls, 1u);
        const uint64_t a = base_rng_below(&r, KEYS), b = base_rng_below(&r, KEYS);
        const uint32_t key = (uint32_t)BASE_MIN(a, b);
        switch (base_rng_below(&r, 10)) {
        case 0: (void)cellar_delete(c, &key, sizeof key); break;
        case 1: (void)cellar_touch(c, &key, sizeof key, (int64_t)base_rng_below(&r, 2000)); break;
        case 2:
            if (pins < PINS && cellar_pin(c, &key, sizeof key, &pin[pins]) == CELLAR_OK) {
                pinned[pins++] = key;
            }
            break;
        case 3:
            if (pins != 0) {
                pins--;
                check_bytes(pin[pins].value, pin[pins].value_len, pinned[pins]);
                cellar_unpin(&pin[pins]);
            }
            break;
        case 4: case 5: case 6: look(c, key); break;
        default: put(c, key, length_of(&r));
        }
    }
    while (pins != 0) { cellar_unpin(&pin[--pins]); }
    return NULL;
}

static cellar_stats figures(void)
{
    cellar_stats s = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(storm.root, CELLAR_SCOPE_STORE, &s), CELLAR_OK);
    return s;
}

static void budget_holds(int64_t bytes)
{
    for (unsigned i = 0; i < 20; i++) { T_CHECK(figures().used_bytes <= (uint64_t)bytes); }
}

/* Wait until the writers have filled the store again. */
static void let_write(void)
{
    const uint64_t until = atomic_load(&storm.calls) + CALLS;
    while (atomic_load(&storm.calls) < until) { base_sleep_ns(200000); }
}

static void change_all(base_rng *r)
{
    let_write();
    const int64_t bytes = LEAST_BYTES + (int64_t)base_rng_below(r, (uint64_t)(STORE_BYTES - LEAST_BYTES));
    const int64_t entries = 50 + (int64_t)base_rng_below(r, KEYS);
    /* A pin may keep what does not fit: E_SPACE, and the bound holds after the unpin. */
    if (cellar_option_set(storm.root, CELLAR_OPT_MEMORY_BYTES, bytes) == CELLAR_OK) {
        budget_holds(bytes);
    }
    T_EQ_I64(cellar_clear(storm.part), CELLAR_OK);
    T_EQ_I64(cellar_option_set(storm.root, CELLAR_OPT_MEMORY_BYTES, STORE_BYTES), CELLAR_OK);
    let_write();
    set_entries_bound(storm.root, CELLAR_OPT_MAX_ENTRIES, entries);
    budget_holds(STORE_BYTES);
    T_EQ_I64(cellar_option_set(storm.root, CELLAR_OPT_EVICTION,
                               (int64_t)base_rng_below(r, 3)), CELLAR_OK);
    T_EQ_I64(cellar_option_set(storm.root, CELLAR_OPT_MAX_ENTRIES, 0), CELLAR_OK);
    while (cellar_tick(storm.root, 1000, NULL) == CELLAR_PENDING) {}
}

T_CASE(bounds_hold_beside_sixteen_writers)
{
    const uint64_t rounds = t_env_u64("STORM_ROUNDS", 1 + t_share(12) / T_COST);
    pthread_t t[WRITERS];
    base_rng r;
    base_rng_seed(&r, t_seed());
    storm.root = open_store(STORE_BYTES);
    T_REQUIRE(cellar_namespace_open(storm.root, "part", NULL, &storm.part) == CELLAR_OK);
    atomic_store(&storm.stop, 0);
    start_numbered(t, WRITERS, write_on, 1);
    for (uint64_t i = 0; i < rounds; i++) { change_all(&r); }
    set_entries_bound(storm.root, CELLAR_OPT_MAX_ENTRIES, 300);
    let_write();
    atomic_store(&storm.stop, 1);
    join_threads(t, WRITERS);
    T_CHECK(figures().entries <= 300);
    T_EQ_I64(cellar_integrity_check(storm.root), CELLAR_OK);
    T_EQ_I64(cellar_option_set(storm.root, CELLAR_OPT_MEMORY_BYTES, LEAST_BYTES), CELLAR_OK);
    budget_holds(LEAST_BYTES);
    T_CHECK(atomic_load(&storm.hits) != 0);
    printf("# %" PRIu64 " rounds, %" PRIu64 " hits\n", rounds, atomic_load(&storm.hits));
    T_EQ_I64(cellar_namespace_close(storm.part), CELLAR_OK);
    T_EQ_I64(cellar_close(storm.root), CELLAR_OK);
}

/* ---- threads that come and go ---- */

enum { LIVES = 10000, AT_ONCE = 16, SETS = 3 };

static void *live_shortly(void *arg)
{
    for (uint32_t i = 0; i < SETS; i++) { put(storm.root, (uint32_t)(uintptr_t)arg * SETS + i, 100); }
    return NULL;
}

T_CASE(threads_that_come_and_go_fill_the_store)
{
    const uint64_t lives = t_share(LIVES) / AT_ONCE / T_COST;
    pthread_t t[AT_ONCE];
    uint64_t found = 0;
    storm.root = open_store(STORE_BYTES);
    for (uint64_t i = 0; i < lives; i++) {
        start_numbered(t, AT_ONCE, live_shortly, (uintptr_t)i * AT_ONCE);
        join_threads(t, AT_ONCE);
    }
    const uint64_t stored = lives * AT_ONCE * SETS;
    for (uint32_t key = 0; key < stored; key++) {
        found += cellar_contains(storm.root, &key, sizeof key) == CELLAR_OK;
    }
    T_EQ_U64(found, stored); /* they fit */
    T_EQ_I64(cellar_integrity_check(storm.root), CELLAR_OK);
    T_EQ_I64(cellar_close(storm.root), CELLAR_OK);
}

/* ---- one key ---- */

enum { ONE_KEY_THREADS = 64 };

static void *set_one_key(void *arg)
{
    unsigned char v[200];
    const uint32_t key = 7;
    memset(v, (int)(uintptr_t)arg, sizeof v);
    for (uint32_t i = 0; i < 1 + t_share(1000) / T_COST; i++) {
        const size_t len = 1 + (i * 31 + (uintptr_t)arg) % sizeof v;
        T_EQ_I64(cellar_set(storm.root, &key, sizeof key, v, len, NULL), CELLAR_OK);
        unsigned char got[sizeof v];
        size_t n = 0;
        if (!T_EQ_I64(cellar_get(storm.root, &key, sizeof key, got, sizeof got, &n), CELLAR_OK)) {
            continue;
        }
        for (size_t j = 1; j < n; j++) { T_CHECK(got[j] == got[0]); }
    }
    return NULL;
}

T_CASE(key_set_by_sixty_four_threads_has_one_whole_value)
{
    pthread_t t[ONE_KEY_THREADS];
    storm.root = open_store(STORE_BYTES);
    start_numbered(t, ONE_KEY_THREADS, set_one_key, 1);
    join_threads(t, ONE_KEY_THREADS);
    T_EQ_U64(figures().entries, 1);
    T_EQ_I64(cellar_integrity_check(storm.root), CELLAR_OK);
    T_EQ_I64(cellar_close(storm.root), CELLAR_OK);
}

T_MAIN("lanes_storm")
