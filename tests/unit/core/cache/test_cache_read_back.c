/* SPDX-License-Identifier: MIT
 *
 * Aim:    A change that stores what memory has (a touch, an increment) writes a long value in several
 *         rounds. If another change replaces the value between two rounds, the disk gets the new
 *         value whole.
 * Method: The source of tier_store.c is part of this program, so its point can change the key. No
 *         thread, a full log, and no tick but the waits of the store itself: a value that is longer
 *         than what one of them frees takes several rounds. */
#include "base/check.h"
#include "tests/support/t.h"

static void at_point(void);
static unsigned sleeps;
#undef BASE_POINT
#define BASE_POINT(name) at_point()
#include "base/sync.h"
#define base_sleep_ns(ns) ((void)(ns), sleeps++)
#include "cache/tier_store.c"
#undef base_sleep_ns

#include "cache/call.h"
#include "l2/types.h"
#include "tests/support/disk_store.h"
#include "tests/support/settings.h"

#define LONG ((size_t)3 << 20)

static unsigned char value[LONG], got[LONG];
static cellar *c;
static unsigned rounds, changes;

static void fill(unsigned version)
{
    for (size_t i = 0; i < LONG; i++) { value[i] = (unsigned char)(i * 7 + i / 251 + version * 3); }
}

static void set(unsigned version)
{
    fill(version);
    T_EQ_I64(cellar_set(c, "k", 1, value, LONG, NULL), CELLAR_OK);
}

static void at_point(void)
{
    rounds++;
    if (rounds == 2 || rounds == 3) { set(1 + ++changes); }
}

static void fill_the_log(void)
{
    cellar_err err = CELLAR_OK;
    for (uint32_t i = 0; err == CELLAR_OK; i++) {
        l1_key k;
        cache_key(c, &k, &i, sizeof i);
        const l2_key key = { k.bytes, k.len, k.generation, k.hash };
        const l2_meta m = { .deadline_ms = BASE_NEVER_MS };
        err = l2_put(c->store->disk, &key, value, 60000, &m, NULL);
    }
    T_EQ_I64(err, CELLAR_DROPPED);
}

T_CASE(value_replaced_between_rounds_is_stored_whole)
{
    store_begin();
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 32u << 20, .config.l2_path = store,
                     .config.l2_bytes = CELLAR_L2_BYTES_MIN, .host.clock = read_clock,
                     .host.no_threads = 1 };
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    fill_the_log();
    set(1);
    l1_key k;
    cache_ordered ordered = { .listed = false };
    cache_key(c, &k, "k", 1);
    T_EQ_I64(cache_tier_store(c, &k, NULL, CACHE_THROUGH, &ordered), CELLAR_OK);
    T_CHECK(rounds > 4);
    T_EQ_U64(changes, 2);
    const l2_key key = { k.bytes, k.len, k.generation, k.hash };
    l2_meta m;
    size_t len = 0;
    T_EQ_I64(l2_get(c->store->disk, &key, got, LONG, &len, &m), CELLAR_OK);
    T_EQ_U64(len, LONG);
    fill(1 + changes);
    T_CHECK(memcmp(got, value, LONG) == 0);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    store_end();
}

static void open_on_disk(void)
{
    store_begin();
    settings cfg = { SETTINGS_SIZES, .config.l2_path = store, .config.l2_bytes = 64u << 20,
                     .host.clock = read_clock, .host.no_threads = 1 };
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
}

/* A set that waits for a disk with a thread is woken by it. */
T_CASE(wait_for_room_on_disk_does_not_sleep)
{
    open_on_disk();
    cache_tier tier = *cache_tier_of(c);
    tier.ticks = false;
    uint64_t until_ns = 0;
    for (uint32_t waits = 0; waits < 2 * CACHE_STORE_YIELDS; waits++) {
        T_CHECK(cache_store_wait(&tier, waits, l2_room_seen(c->store->disk) - 1, &until_ns));
    }
    T_EQ_U64(sleeps, 0);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    store_end();
}

T_CASE(failed_write_of_a_stall_says_so)
{
    open_on_disk();
    for (uint64_t since = 0; since <= 1; since++) { /* 1 ns after the boot: it has not ended */
        base_store_rlx(&c->store->disk->write_ns, since);
        const cache_lack lack = cache_store_lack(c->store->disk, CACHE_REFUSED, L2_WHY_OTHER);
        T_EQ_I64(cache_tier_code(c, "cellar_set", CACHE_LACKING(lack)), CELLAR_E_IO);
        cellar_error_info e = cellar_error_info_default();
        T_EQ_I64(cellar_last_error(c, &e), CELLAR_OK);
        T_EQ_I64(strstr(e.text, "does not answer (a stall)") != NULL, since == 1);
    }
    base_store_rlx(&c->store->disk->write_ns, (uint64_t)0);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    store_end();
}

T_ONE_THREAD;
T_MAIN("cache_read_back")
