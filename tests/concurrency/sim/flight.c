/* SPDX-License-Identifier: MIT
 *
 * Aim:    The promises of loading hold in every interleaving of the whole cache. One load runs for
 *         each key and generation. No value loaded before a change is served after it. No call
 *         hangs and nothing is left. Some scenario here must catch each mistake that can be
 *         switched on ("flight.*").
 * Method: A few fibers read one key through the cache while others set, delete, clear, let time
 *         pass, run queued refreshes or hold leases. The source is a number that only rises. Each
 *         read is checked against the number that was guaranteed by writers that had returned
 *         before the read began. The driver detects a hang, audits at the end detect the rest.
 * ORDERS  A set comes before its source changes, a delete and a clear after: the two orders in
 *         which a load that no change invalidates would bring an old value back. */
#include "tests/concurrency/sim/scenarios.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/user_callback.h"
#include "cellar.h"
#include "cellar_load.h"
#include "cellar_invalidate.h"
#include "cellar_observe.h"
#include "cellar_admin.h"
#include "tests/support/loader.h"
#include "tests/support/settings.h"

static struct sky {
    cellar *c;
    uint64_t db, least;        /* the source; the number that returned writers guarantee */
    uint32_t loads, changes;
    uint32_t asked, answered, failed, late; /* late: E_TIMEOUT, when the driver let time jump */
    unsigned fail_in, leave_in, stall_in; /* one in so many loads; 0: never */
    cellar_load_opts o;
    uint32_t told;             /* waiters of leases called */
    bool tagged;               /* loaded and set values carry a tag */
} sky;

static const cellar_bytes sky_tag = { "red", 3 };

static void sky_open(void)
{
    static const uint8_t secret[32] = { 3 };
    const cellar_load_opts none = cellar_load_opts_default();
    memset(&sky, 0, sizeof sky);
    sky.o = none;
    sky.db = 1;
    sky.o.hard_timeout_ms = 86400000;
    sky.o.wait_timeout_ms = CELLAR_TTL_NONE;
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 1u << 20, .host.no_threads = 1,
                     .tuning.hash_key = secret, .tuning.stripes = 1 };
    base_sim_calm(true);
    BASE_SIM_CHECK(settings_open(&cfg, &sky.c) == CELLAR_OK);
    base_sim_calm(false);
}

static void sky_close(void)
{
    cellar_stats st = cellar_stats_default();
    base_sim_calm(true);
    while (cellar_tick(sky.c, 1000, NULL) == CELLAR_PENDING) {}
    BASE_SIM_CHECK(cellar_integrity_check(sky.c) == CELLAR_OK);
    BASE_SIM_CHECK(cellar_stats_get(sky.c, CELLAR_SCOPE_STORE, &st) == CELLAR_OK);
    BASE_SIM_CHECK(st.loads_running == 0);
    BASE_SIM_CHECK(st.gets == st.hits_l1 + st.stale_hits + st.negative_hits + st.misses);
    BASE_SIM_CHECK(cellar_close(sky.c) == CELLAR_OK);
    base_sim_calm(false);
}

static void sky_made_sure(uint64_t of) { sky.least = of > sky.least ? of : sky.least; }

static bool sky_one_in(unsigned n) { return n != 0 && base_sim_below(n) == 0; }

/* Check that the entry in L1 still equals the source. */
static bool sky_is_old(cellar_load *ld, uint64_t seen)
{
    const cellar_load_info i = loader_info(ld);
    return i.has_stale && memcmp(i.stale_value, &seen, i.stale_len) == 0;
}

static cellar_err sky_load(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    const uint64_t seen = sky.db;
    (void)key;
    (void)key_len;
    (void)ctx;
    sky.loads++;
    BASE_POINT("sky.load");
    if (sky_one_in(sky.leave_in)) { base_sim_leave(); }
    if (sky_one_in(sky.stall_in)) { base_sim_advance_ms(150); }
    BASE_POINT("sky.loaded");
    if (sky_one_in(sky.fail_in)) { return CELLAR_E_IO; }
    if (sky.tagged && sky_is_old(ld, seen)) { return cellar_load_not_modified(ld); }
    if (sky.tagged) { BASE_SIM_CHECK(loader_tags(ld, &sky_tag, 1) == CELLAR_OK); }
    return cellar_load_value(ld, &seen, sizeof seen);
}

static void sky_check(cellar_err err, const cellar_result *r, uint64_t least)
{
    if (err == CELLAR_OK || err == CELLAR_STALE) {
        uint64_t got;
        BASE_SIM_CHECK(r->value_len == sizeof got);
        memcpy(&got, r->value, sizeof got);
        if (err == CELLAR_OK && got < least) {
            base_sim_fail("a read got %u, and %u was certain before it began", (unsigned)got,
                          (unsigned)least);
        }
        sky.answered++;
    } else if (err == CELLAR_E_TIMEOUT) {
        sky.late++;
    } else {
        base_sim_note("read: %s", cellar_code_name(err));
        sky.failed++;
    }
}

static void sky_read(void *arg)
{
    cellar_load_opts o = sky.o;
    const uint64_t calls = 1 + base_sim_below(2);
    if (arg != NULL && base_sim_below(2) == 0) { o.wait_timeout_ms = 1 +
        (int64_t)base_sim_below(200); }
    for (uint64_t i = 0; i < calls; i++) {
        cellar_result r = cellar_result_default();
        const uint64_t least = sky.least;
        sky.asked++;
        const cellar_err err = cellar_get_or_load(sky.c, "k", 1, &o, sky_load, NULL, &r);
        sky_check(err, &r, least);
        cellar_result_free(&r);
    }
}

static void sky_nothing(void *arg) { (void)arg; }

/* A thread that may be lost inside a loader: its own frame is where it returns to. */
static void sky_reader(void *arg) { base_run_callback(sky_read, sky_nothing, arg, 0); }

static void sky_set(void)
{
    const uint64_t value = sky.db + 1;
    BASE_SIM_CHECK(cellar_set(sky.c, "k", 1, &value, sizeof value, NULL) == CELLAR_OK);
    sky_made_sure(value);
    BASE_POINT("sky.source");
    sky.db = value;
}

static void sky_del(void)
{
    const uint64_t value = ++sky.db;
    BASE_POINT("sky.source");
    (void)cellar_delete(sky.c, "k", 1);
    sky_made_sure(value);
}

static void sky_set_after(void)
{
    const uint64_t value = ++sky.db;
    BASE_POINT("sky.source");
    BASE_SIM_CHECK(cellar_set(sky.c, "k", 1, &value, sizeof value, NULL) == CELLAR_OK);
    sky_made_sure(value);
}

SIM_FIBER(sky_writer)
{
    for (uint64_t n = 1 + base_sim_below(2); n > 0; n--) {
        sky.changes++;
        if (base_sim_below(2) == 0) { sky_set(); } else { sky_del(); }
    }
}

SIM_FIBER(sky_deleter) { sky_del(); }

/* With another writer: only that writer knows the guaranteed number. */
SIM_FIBER(sky_clearer) { BASE_SIM_CHECK(cellar_clear(sky.c) == CELLAR_OK); }

SIM_FIBER(sky_setter) { sky_set_after(); }

/* Without another writer: the source's number from before the clear is dead. */
SIM_FIBER(sky_lone_clearer)
{
    const uint64_t value = ++sky.db;
    BASE_POINT("sky.source");
    BASE_SIM_CHECK(cellar_clear(sky.c) == CELLAR_OK);
    sky_made_sure(value);
}

/* ---- readers and a writer ---- */

SIM_SCENARIO(flight, "load through while the key is set and deleted")
{
    sky_open();
    base_sim_spawn_many(2 + base_sim_below(2), "reader", sky_reader, NULL);
    base_sim_spawn("writer", sky_writer, NULL);
    base_sim_no_rescue();
    base_sim_join_all();
    BASE_SIM_CHECK(sky.answered == sky.asked);
    /* A change invalidates the stored value and, in the same window, a load that another thread
     * began after a lookup before the store. */
    BASE_SIM_CHECK(sky.loads <= 1 + 2 * sky.changes);
    sky_close();
}

SIM_SCENARIO(flight_once, "many readers of one cold key: one load")
{
    sky_open();
    base_sim_spawn_many(2 + base_sim_below(3), "reader", sky_reader, NULL);
    base_sim_no_rescue();
    base_sim_join_all();
    BASE_SIM_CHECK(sky.loads == 1 && sky.answered == sky.asked);
    sky_close();
}

SIM_SCENARIO(flight_clear, "the namespace is cleared meanwhile")
{
    sky_open();
    base_sim_spawn_many(2, "reader", sky_reader, NULL);
    switch (base_sim_below(3)) {
    case 0: base_sim_spawn("clearer", sky_lone_clearer, NULL); break;
    case 1:
        base_sim_spawn("clearer", sky_clearer, NULL);
        base_sim_spawn("deleter", sky_deleter, NULL);
        break;
    default:
        base_sim_spawn("clearer", sky_clearer, NULL);
        base_sim_spawn("setter", sky_setter, NULL);
        break;
    }
    base_sim_no_rescue();
    base_sim_join_all();
    BASE_SIM_CHECK(sky.answered == sky.asked);
    sky_close();
}

/* ---- loaders that fail, leave or stall; waiters with short timeouts ---- */

SIM_SCENARIO(flight_lost, "loaders fail and leave, waits end")
{
    sky_open();
    sky.fail_in = 3;
    sky.leave_in = 4;
    base_sim_spawn_many(2 + base_sim_below(3), "reader", sky_reader, &sky);
    if (base_sim_below(2) == 0) { base_sim_spawn("deleter", sky_deleter, NULL); }
    base_sim_join_all();
    sky_close();
}

SIM_SCENARIO(flight_hard, "late loads are taken over")
{
    sky_open();
    sky.stall_in = 2;
    sky.o.hard_timeout_ms = 100;
    sky.o.wait_timeout_ms = 5000;
    base_sim_spawn_many(2 + base_sim_below(2), "reader", sky_reader, NULL);
    base_sim_spawn("writer", sky_writer, NULL);
    base_sim_join_all();
    sky_close();
}

/* ---- refreshes in the background ---- */

SIM_FIBER(sky_ticker)
{
    for (int i = 0; i < 3; i++) { (void)cellar_tick(sky.c, 1, NULL); }
}

SIM_SCENARIO(flight_job, "queued refreshes of a stale value")
{
    sky_open();
    sky.o.ttl_ms = 100;
    sky.o.stale_ms = 100000;
    sky.o.jitter_pct = CELLAR_OFF;
    sky.o.flags = CELLAR_LOAD_CTX_STATIC;
    if (base_sim_below(2) == 0) { sky.o.soft_timeout_ms = 50; }
    sky.o.hard_timeout_ms = 100000;
    base_sim_calm(true);
    cellar_result r = cellar_result_default();
    BASE_SIM_CHECK(cellar_get_or_load(sky.c, "k", 1, &sky.o, sky_load, NULL, &r) == CELLAR_OK);
    cellar_result_free(&r);
    base_sim_advance_ms(100);
    base_sim_calm(false);
    base_sim_spawn_many(2, "reader", sky_reader, NULL);
    base_sim_spawn("ticker", sky_ticker, NULL);
    base_sim_spawn("writer", sky_writer, NULL);
    base_sim_join_all();
    sky_close();
}

/* ---- leases ---- */

static void sky_tell(void *ctx) { (void)ctx; sky.told++; }

SIM_FIBER(sky_leaser)
{
    const cellar_subscriber w = { sky_tell, NULL };
    for (int round = 0; round < 2; round++) {
        cellar_lease lease;
        cellar_result r = cellar_result_default();
        const uint64_t least = sky.least;
        const cellar_err err = cellar_lease_acquire(sky.c, "k", 1, &sky.o, &w, &lease, &r);
        if (err == CELLAR_OK) { sky_check(err, &r, least); }
        cellar_result_free(&r);
        if (err == CELLAR_LEASED) {
            const uint64_t seen = sky.db;
            BASE_POINT("sky.lease");
            switch (base_sim_below(4)) {
            case 0: (void)cellar_lease_release(sky.c, &lease, 0); break;
            case 1: (void)cellar_lease_release(sky.c, &lease, 5); break;
            case 2:
                /* forgotten: past hard_timeout_ms another thread takes it over */
                if (sky.o.hard_timeout_ms < 1000) { break; }
                /* fall through */
            default: {
                const cellar_err end = cellar_lease_fulfill(sky.c, &lease, &seen, sizeof seen,
                                                            NULL);
                BASE_SIM_CHECK(end == CELLAR_OK || end == CELLAR_INVALIDATED ||
                               end == CELLAR_E_LEASE);
            }
            }
        } else if (err == CELLAR_PENDING && base_sim_below(2) == 0) {
            (void)cellar_lease_unsubscribe(sky.c, &lease);
        }
    }
}

SIM_SCENARIO(flight_lease, "leases and waiting threads")
{
    sky_open();
    sky.o.hard_timeout_ms = base_sim_below(2) == 0 ? 100 : 100000;
    sky.o.wait_timeout_ms = 10000;
    if (base_sim_below(2) == 0) { sky.o.fallback[0].fn = sky_load; } /* for a released lease */
    base_sim_spawn_many(2, "leaser", sky_leaser, NULL);
    base_sim_spawn("reader", sky_reader, NULL);
    base_sim_spawn("writer", sky_writer, NULL);
    base_sim_join_all();
    base_sim_calm(true);
    base_sim_advance_ms(200000);
    base_sim_calm(false);
    sky_close();
}

/* ---- loads inside loads ---- */

typedef struct sky_node { char key, needs; } sky_node;

static cellar_err sky_tied(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    const sky_node *n = ctx;
    static const sky_node next[3] = { { 'a', 'b' }, { 'b', 'c' }, { 'c', 'a' } };
    (void)key;
    (void)key_len;
    cellar_result r = cellar_result_default();
    const cellar_err err = cellar_get_or_load(sky.c, &n->needs, 1, &sky.o, sky_tied,
                                              (void *)(uintptr_t)&next[n->needs - 'a'], &r);
    cellar_result_free(&r);
    if (err == CELLAR_E_DEADLOCK) { sky.failed++; }
    BASE_SIM_CHECK(err == CELLAR_OK || err == CELLAR_E_DEADLOCK);
    return cellar_load_value(ld, &n->key, 1);
}

static void sky_tier(void *arg)
{
    static const sky_node node[3] = { { 'a', 'b' }, { 'b', 'c' }, { 'c', 'a' } };
    const sky_node *n = &node[(uintptr_t)arg];
    cellar_result r = cellar_result_default();
    BASE_SIM_CHECK(cellar_get_or_load(sky.c, &n->key, 1, &sky.o, sky_tied, (void *)(uintptr_t)n,
                                      &r) == CELLAR_OK);
    cellar_result_free(&r);
}

SIM_SCENARIO(flight_cycle, "three loaders that need each other")
{
    sky_open();
    for (uintptr_t i = 0; i < 3; i++) { base_sim_spawn("tied", sky_tier, (void *)i); }
    base_sim_no_rescue();
    base_sim_join_all();
    BASE_SIM_CHECK(sky.failed >= 1); /* the cycle breaks, and by a refusal */
    sky_close();
}

/* ---- bulk ---- */

static cellar_err sky_many(cellar_load *ld, const cellar_bytes *keys, size_t count, void *ctx)
{
    (void)ctx;
    (void)keys;
    for (size_t i = 0; i < count; i++) {
        const uint64_t seen = sky.db;
        if (sky.o.fallback[0].fn != NULL && base_sim_below(2) == 0) {
            BASE_SIM_CHECK(loader_fail(ld, i, 5) == CELLAR_OK);
            continue;
        }
        BASE_SIM_CHECK(loader_value(ld, i, &seen, sizeof seen) == CELLAR_OK);
    }
    BASE_POINT("sky.loaded");
    return CELLAR_OK;
}

static void sky_bulk(void *arg)
{
    const char *order = arg;
    cellar_load_item it[3];
    cellar_result r[3];
    uint64_t least = sky.least;
    for (int i = 0; i < 3; i++) {
        r[i] = cellar_result_default();
        it[i] = (cellar_load_item){ &order[i], 1, &r[i], CELLAR_OK, 0 };
    }
    BASE_SIM_CHECK(cellar_get_or_load_many(sky.c, it, 3, &sky.o, sky_many, NULL) == CELLAR_OK);
    for (int i = 0; i < 3; i++) {
        BASE_SIM_CHECK(it[i].status == CELLAR_OK);
        if (order[i] == 'k') { sky_check(it[i].status, it[i].result, least); }
        cellar_result_free(it[i].result);
    }
}

SIM_SCENARIO(flight_many, "bulk loads that lead each other's keys")
{
    static char first[] = "kab", second[] = "bak", third[] = "aak";
    sky_open();
    if (base_sim_below(2) == 0) { sky.o.fallback[0].fn = sky_load; }
    base_sim_spawn("bulk1", sky_bulk, first);
    base_sim_spawn("bulk2", sky_bulk, second);
    if (base_sim_below(2) == 0) { base_sim_spawn("bulk3", sky_bulk, third); }
    base_sim_spawn("writer", sky_writer, NULL);
    base_sim_no_rescue();
    base_sim_join_all();
    sky_close();
}

/* ---- invalidations of many keys by one call ---- */

static void sky_untag(void)
{
    const uint64_t value = ++sky.db;
    BASE_POINT("sky.source");
    BASE_SIM_CHECK(cellar_delete_by_tag(sky.c, "red", 3, CELLAR_TAG_HARD) == CELLAR_OK);
    sky_made_sure(value);
}

/* The source is unchanged: the next read shows this. */
SIM_FIBER(sky_softener)
{
    for (uint64_t n = 1 + base_sim_below(3); n > 0; n--) {
        BASE_POINT("sky.soften");
        BASE_SIM_CHECK(cellar_delete_by_tag(sky.c, "red", 3, CELLAR_TAG_SOFT) == CELLAR_OK);
    }
}

static void sky_unmatch(void)
{
    const uint64_t value = ++sky.db;
    BASE_POINT("sky.source");
    BASE_SIM_CHECK(cellar_delete_by_pattern(sky.c, "k*", 2, NULL) == CELLAR_OK);
    sky_made_sure(value);
}

static void sky_set_tagged(void)
{
    const uint64_t value = ++sky.db;
    cellar_set_opts o = { .struct_size = sizeof o, .tags = &sky_tag, .tag_count = 1 };
    BASE_POINT("sky.source");
    BASE_SIM_CHECK(cellar_set(sky.c, "k", 1, &value, sizeof value, &o) == CELLAR_OK);
    sky_made_sure(value);
}

SIM_FIBER(sky_untagger)
{
    for (uint64_t n = 1 + base_sim_below(2); n > 0; n--) {
        sky.changes++;
        switch (base_sim_below(4)) {
        case 0: sky_set_tagged(); break;
        case 1: sky_del(); break;
        default: sky_untag(); break;
        }
    }
}

SIM_FIBER(sky_unmatcher)
{
    for (uint64_t n = 1 + base_sim_below(2); n > 0; n--) {
        sky.changes++;
        if (base_sim_below(8) == 0) { sky_set_after(); } else { sky_unmatch(); }
    }
}

static void flight_swept(void (*changer)(void *), bool tagged)
{
    sky_open();
    sky.tagged = tagged;
    base_sim_spawn_many(2 + base_sim_below(2), "reader", sky_reader, NULL);
    if (tagged) { base_sim_spawn("softener", sky_softener, NULL); }
    base_sim_spawn("changer", changer, NULL);
    base_sim_no_rescue();
    base_sim_join_all();
    BASE_SIM_CHECK(sky.answered == sky.asked);
    sky_close();
}

SIM_SCENARIO(flight_tag, "a tag is deleted during its loads") { flight_swept(sky_untagger, true); }

SIM_SCENARIO(flight_pattern, "keys deleted by pattern") { flight_swept(sky_unmatcher, false); }
