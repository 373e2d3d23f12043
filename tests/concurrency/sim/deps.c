/* SPDX-License-Identifier: MIT
 *
 * Aim:    A value that depends on another key is never served to a call that began after a change
 *         of that key had returned, or after the thread had seen the change, in any order of
 *         loads, notes, joins and changes, also while another fiber clears the namespace or
 *         refreshes the key.
 * Method: "a" is in a namespace that is set, deleted and cleared. The loader of "b" reads "a", the
 *         loader of "c" loads "b". The source is a number that only rises. A set comes before its
 *         source changes, a delete and a clear after: as in flight.c. */
#include "tests/concurrency/sim/scenarios.h"

#include <string.h>

#include "base/check.h"
#include "cellar.h"
#include "cellar_load.h"
#include "cellar_observe.h"
#include "cellar_admin.h"
#include "tests/support/settings.h"

static struct soup {
    cellar *c, *v;
    uint64_t db, least; /* the source; the number that returned changes guarantee */
    uint32_t asked, answered;
    bool nested;        /* "a" is loaded, too, when it is absent */
    bool twice;         /* another fiber changes "a", too: the source is always first */
} soup;

static void soup_open(void)
{
    settings cfg = settings_default();
    cellar_namespace_opts o = cellar_namespace_opts_default();
    static const uint8_t secret[32] = { 5 };
    memset(&soup, 0, sizeof soup);
    soup.db = 1;
    o.track_dependencies = 1;
    cellar_load_opts load = cellar_load_opts_default();
    load.hard_timeout_ms = 86400000;
    load.wait_timeout_ms = CELLAR_TTL_NONE;
    o.load = &load;
    cfg.config.memory_bytes = 1u << 20;
    cfg.host.no_threads = 1;
    cfg.tuning.hash_key = secret;
    cfg.tuning.stripes = 1;
    cfg.tuning.track_dependencies = 1;
    cfg.config.root = &o;
    base_sim_calm(true);
    BASE_SIM_CHECK(settings_open(&cfg, &soup.c) == CELLAR_OK);
    o.track_dependencies = 0;
    BASE_SIM_CHECK(cellar_namespace_open(soup.c, "v", &o, &soup.v) == CELLAR_OK);
    soup.nested = base_sim_below(2) == 0;
    base_sim_calm(false);
}

static void soup_close(void)
{
    cellar_stats st = cellar_stats_default();
    base_sim_calm(true);
    while (cellar_tick(soup.c, 1000, NULL) == CELLAR_PENDING) {}
    BASE_SIM_CHECK(cellar_integrity_check(soup.c) == CELLAR_OK);
    BASE_SIM_CHECK(cellar_stats_get(soup.c, CELLAR_SCOPE_STORE, &st) == CELLAR_OK);
    BASE_SIM_CHECK(st.loads_running == 0);
    BASE_SIM_CHECK(cellar_close(soup.v) == CELLAR_OK);
    BASE_SIM_CHECK(cellar_close(soup.c) == CELLAR_OK);
    base_sim_calm(false);
}

static cellar_err soup_load_a(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    const uint64_t seen = soup.db;
    (void)key;
    (void)key_len;
    (void)ctx;
    BASE_POINT("soup.a");
    return cellar_load_value(ld, &seen, sizeof seen);
}

static cellar_err soup_load_b(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    uint64_t seen = 0;
    size_t len = 0;
    (void)key;
    (void)key_len;
    (void)ctx;
    if (soup.nested) {
        cellar_result r = cellar_result_default();
        r.buf = &seen;
        r.buf_cap = sizeof seen;
        const cellar_err err = cellar_get_or_load(soup.v, "a", 1, NULL, soup_load_a, NULL, &r);
        cellar_result_free(&r);
        if (err != CELLAR_OK) { return err; }
    } else if (cellar_get(soup.v, "a", 1, &seen, sizeof seen, &len) != CELLAR_OK) {
        seen = soup.db;
    }
    BASE_POINT("soup.b");
    return cellar_load_value(ld, &seen, sizeof seen);
}

static cellar_err soup_load_c(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    uint64_t seen = 0;
    cellar_result r = cellar_result_default();
    (void)key;
    (void)key_len;
    (void)ctx;
    r.buf = &seen;
    r.buf_cap = sizeof seen;
    const cellar_err err = cellar_get_or_load(soup.c, "b", 1, NULL, soup_load_b, NULL, &r);
    cellar_result_free(&r);
    if (err != CELLAR_OK) { return err; }
    BASE_POINT("soup.c");
    return cellar_load_value(ld, &seen, sizeof seen);
}

static void soup_reader(void *arg)
{
    (void)arg;
    for (uint64_t n = 1 + base_sim_below(3); n > 0; n--) {
        uint64_t got = 0;
        cellar_result r = cellar_result_default();
        const bool far = base_sim_below(2) == 0;
        uint64_t least = soup.least, a = 0;
        size_t len = 0;
        if (!soup.twice && base_sim_below(2) == 0 &&
            cellar_get(soup.v, "a", 1, &a, sizeof a, &len) == CELLAR_OK) {
            least = a > least ? a : least;
        }
        r.buf = &got;
        r.buf_cap = sizeof got;
        soup.asked++;
        const cellar_err err =
            cellar_get_or_load(soup.c, far ? "c" : "b", 1, NULL, far ? soup_load_c : soup_load_b,
                               NULL, &r);
        cellar_result_free(&r);
        if (err == CELLAR_E_TIMEOUT) { continue; }
        BASE_SIM_CHECK(err == CELLAR_OK);
        soup.answered++;
        if (got < least) {
            base_sim_fail("%s is %u, and %u was certain before", far ? "c" : "b", (unsigned)got,
                          (unsigned)least);
        }
    }
}

static cellar_err soup_load_spilt(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    const cellar_err err = soup_load_b(ld, key, key_len, ctx);
    return err == CELLAR_OK ? CELLAR_E_LOADER : err;
}

/* A failing load in place of "b": the entry stays, and its dependencies. */
static void soup_spiller(void *arg)
{
    cellar_load_opts o = cellar_load_opts_default();
    cellar_result r = cellar_result_default();
    (void)arg;
    o.flags = CELLAR_LOAD_REFRESH;
    BASE_SIM_CHECK(cellar_get_or_load(soup.c, "b", 1, &o, soup_load_spilt, NULL, &r) < 0);
    cellar_result_free(&r);
}

static void soup_look(void)
{
    uint64_t got = 0;
    size_t len = 0;
    base_sim_calm(true);
    const cellar_err err = cellar_get(soup.c, "b", 1, &got, sizeof got, &len);
    base_sim_calm(false);
    if (err == CELLAR_OK && got < soup.least) { base_sim_fail("a failed load kept the old"); }
}

static void soup_changer(void *arg)
{
    (void)arg;
    for (uint64_t n = 1 + base_sim_below(2); n > 0; n--) {
        const uint64_t value = soup.db + 1;
        switch (base_sim_below(4)) {
        case 0:
            if (soup.twice) { soup.db = value; }
            BASE_SIM_CHECK(cellar_set(soup.v, "a", 1, &value, sizeof value, NULL) == CELLAR_OK);
            BASE_POINT("soup.source");
            soup.db = value;
            break;
        case 1:
            soup.db = value;
            BASE_POINT("soup.source");
            BASE_SIM_CHECK(cellar_clear(soup.v) == CELLAR_OK);
            break;
        default:
            soup.db = value;
            BASE_POINT("soup.source");
            BASE_SIM_CHECK(cellar_delete(soup.v, "a", 1) >= 0);
            break;
        }
        soup.least = value;
    }
}

/* A clear for no reason: changes of "a" under the next number return meanwhile. */
static void soup_clearer(void *arg)
{
    (void)arg;
    BASE_SIM_CHECK(cellar_clear(soup.v) == CELLAR_OK);
}

/* A load that replaces "a" ends its dependants outside of a window. */
static void soup_refresher(void *arg)
{
    cellar_load_opts o = cellar_load_opts_default();
    cellar_result r = cellar_result_default();
    (void)arg;
    o.flags = CELLAR_LOAD_REFRESH;
    BASE_SIM_CHECK(cellar_get_or_load(soup.v, "a", 1, &o, soup_load_a, NULL, &r) == CELLAR_OK);
    cellar_result_free(&r);
}

static void deps_run(void)
{
    soup_open();
    const uint64_t mode = base_sim_below(6);
    if (mode < 2) {
        base_sim_spawn("reader1", soup_reader, NULL);
        base_sim_spawn("reader2", soup_reader, NULL);
    } else {
        base_sim_calm(true);
        soup_reader(NULL);
        base_sim_calm(false);
        base_sim_spawn(mode == 2 ? "spiller" : "reader", mode == 2 ? soup_spiller : soup_reader,
                       NULL);
    }
    if (mode >= 4) {
        soup.twice = true;
        base_sim_spawn(mode == 4 ? "clearer" : "refresher",
                       mode == 4 ? soup_clearer : soup_refresher, NULL);
    }
    base_sim_spawn("changer", soup_changer, NULL);
    base_sim_no_rescue();
    base_sim_join_all();
    BASE_SIM_CHECK(soup.answered == soup.asked);
    soup_look();
    soup_close();
}
const base_sim_scenario sim_deps = { "deps", "a dependency of a value changes", deps_run, 0 };
