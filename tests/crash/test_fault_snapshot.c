/* SPDX-License-Identifier: MIT
 *
 * Aim:    A place for snapshots that finds no memory leaves nothing. A save without memory is
 *         complete or has no effect. A load without memory leaves the snapshot in the store.
 * Method: Each allocation of each call fails, alone and with all that follow (base_fault_alloc_arm).
 *         A store without threads, opened before the failure. It has a disk tier: a memory-only
 *         store would evict pieces where it finds no memory. */
#include "tests/support/api_kit.h"

#include "base/fault.h"
#include "tests/support/folder.h"
#include "cellar_kit.h"
#include "cellar_limit.h"

#include <unistd.h>

#define STORE_BYTES ((uint64_t)64 << 20)
#define KEYS 100000u /* 400 pieces: new segments of the store */

static char folder[T_FOLDER_MAX], path[T_FOLDER_MAX + 8];

static cellar *disk_store(void)
{
    /* The same segments are taken in each run: with some keys a save allocates nothing. */
    static const uint8_t hash_key[32] = { 1, 2, 3 };
    settings cfg = api_config(STORE_BYTES);
    cfg.tuning.hash_key = hash_key;
    t_folder(folder);
    snprintf(path, sizeof path, "%s/store", folder);
    cfg.config.l2_path = path;
    cfg.config.l2_bytes = (uint64_t)64 << 20;
    return api_open_with(&cfg);
}
static void store_shut(cellar *c)
{
    api_shut(c);
    t_wipe(path);
    T_EQ_I64(rmdir(folder), 0);
}

/* A clock of which each reading is later by the interval of the snapshots. */
static uint64_t one_ms_more(void *ctx)
{
    static uint64_t now_ns = CELLAR_DAY_NS;
    (void)ctx;
    return now_ns += 1000000;
}

typedef struct state { /* of one attempt */
    cellar *c;
    cellar_limiter_config cfg;
    cellar_limiter_snapshot *place;
    cellar_limiter *l;
} state;

static void place_open(state *st, const char *name)
{
    st->cfg = cellar_limiter_config_default();
    st->cfg.max_bytes = 4u << 20;
    st->cfg.clock_ns = one_ms_more;
    st->cfg.snapshot_interval_ms = 1;
    T_EQ_I64(cellar_limiter_snapshot_open(st->c, name, &st->cfg, &st->place), CELLAR_OK);
}
static void limiter_open(state *st)
{
    const cellar_rule rule = cellar_rule_token_bucket(10, CELLAR_DAY_NS, 10);
    T_REQUIRE(cellar_limiter_open(&st->cfg, &rule, 1, &st->l) == CELLAR_OK);
}
static void charge(state *st)
{
    for (uint32_t k = 0; k < KEYS; k++) {
        T_EQ_I64(cellar_limiter_check(st->l, &k, sizeof k, 5, NULL), CELLAR_OK);
    }
}
/* Return the units that the keys have left; 0 if they differ, or if a snapshot was refused. */
static uint64_t left(state *st)
{
    cellar_limiter_stats s = cellar_limiter_stats_default();
    cellar_limiter_result r = { 0 }, first = { 0 };
    cellar_check_opts peek = { .struct_size = sizeof peek, .flags = CELLAR_CHECK_PEEK };
    T_EQ_I64(cellar_limiter_stats_get(st->l, &s), CELLAR_OK);
    bool same = s.snapshots_refused == 0;
    for (uint32_t k = 0; k < KEYS; k++) {
        (void)cellar_limiter_check_with(st->l, &k, sizeof k, 0, &peek, k == 0 ? &first : &r);
        same = same && (k == 0 || r.remaining == first.remaining);
    }
    return same ? first.remaining : 0;
}
static void shut(state *st)
{
    cellar_limiter_close(st->l);
    cellar_limiter_snapshot_close(st->place);
    store_shut(st->c);
}

T_CASE(open_without_memory_leaves_nothing)
{
    uint64_t nth = 1, failures = 0;
    for (bool more = true, all = true; more && nth < 100; all = !all, nth += all) {
        cellar *c = disk_store();
        cellar_limiter_snapshot *s = NULL;
        cellar_limiter_config cfg = cellar_limiter_config_default();
        (void)base_fault_alloc_arm(nth, all);
        const cellar_err err = cellar_limiter_snapshot_open(c, "limits", &cfg, &s);
        more = base_fault_alloc_arm(0, false) >= nth || !all;
        T_CHECK(err == CELLAR_OK || err == CELLAR_E_NOMEM);
        T_CHECK((s != NULL) == (err == CELLAR_OK) && (cfg.snapshot_write != NULL) == (s != NULL));
        failures += err == CELLAR_E_NOMEM;
        cellar_limiter_snapshot_close(s);
        store_shut(c);
    }
    printf("# %" PRIu64 " allocations, %" PRIu64 " E_NOMEM\n", nth - 1, failures);
    T_CHECK(nth < 100 && failures >= 2);
}

T_CASE(save_without_memory_is_complete_or_has_no_effect)
{
    uint64_t nth = 1, failures = 0;
    /* The segments of the store are most of the allocations: of these some fail. */
    for (bool more = true, all = true; more && nth < 1000; all = !all, nth += all ? 1 + nth / 8 : 0) {
        state st;
        st.c = disk_store();
        place_open(&st, "limits");
        limiter_open(&st);
        const uint32_t k = 0;
        T_EQ_I64(cellar_limiter_check(st.l, &k, sizeof k, 5, NULL), CELLAR_OK);
        T_EQ_I64(cellar_tick(st.l, 0, NULL), CELLAR_OK); /* one key */
        cellar_limiter_reset(st.l, NULL, 0, NULL);
        charge(&st);
        (void)base_fault_alloc_arm(nth, all);
        const cellar_err err = cellar_tick(st.l, 0, NULL);
        more = base_fault_alloc_arm(0, false) >= nth || !all;
        T_CHECK(err == CELLAR_OK || err == CELLAR_E_IO);
        failures += err == CELLAR_E_IO;
        cellar_limiter *saver = st.l;
        cellar_limiter_snapshot *place = st.place;
        place_open(&st, "limits"); /* another limiter reads what the store has */
        limiter_open(&st);
        cellar_limiter_stats s = cellar_limiter_stats_default();
        T_EQ_I64(cellar_limiter_stats_get(st.l, &s), CELLAR_OK);
        T_EQ_U64(s.snapshots_refused, 0);
        T_EQ_U64(s.keys, err == CELLAR_OK ? KEYS : 1);
        cellar_limiter_close(saver);
        cellar_limiter_snapshot_close(place);
        shut(&st);
    }
    printf("# fewer than %" PRIu64 " allocations, %" PRIu64 " E_IO\n", nth, failures);
    T_CHECK(nth > 2 && nth < 1000);
}

T_CASE(limiter_open_without_memory_leaves_the_snapshot)
{
    const cellar_rule rule = cellar_rule_token_bucket(10, CELLAR_DAY_NS, 10);
    uint64_t nth = 1, failures = 0;
    for (bool more = true, all = true; more && nth < 100; all = !all, nth += all) {
        state st;
        st.c = disk_store();
        place_open(&st, "limits");
        limiter_open(&st);
        charge(&st);
        cellar_limiter_close(st.l);
        cellar_limiter_snapshot_close(st.place);
        place_open(&st, "limits");
        (void)base_fault_alloc_arm(nth, all);
        const cellar_err err = cellar_limiter_open(&st.cfg, &rule, 1, &st.l);
        more = base_fault_alloc_arm(0, false) >= nth || !all;
        T_CHECK(err == CELLAR_OK || err == CELLAR_E_NOMEM);
        failures += err == CELLAR_E_NOMEM;
        if (err != CELLAR_OK) { /* a new place, as cellar_limiter_snapshot_open says */
            cellar_limiter_snapshot_close(st.place);
            place_open(&st, "limits");
            limiter_open(&st);
        }
        T_EQ_U64(left(&st), 5);
        shut(&st);
    }
    printf("# %" PRIu64 " allocations, %" PRIu64 " E_NOMEM\n", nth - 1, failures);
    T_CHECK(nth < 100 && failures >= 2);
}

T_ONE_THREAD;
T_MAIN("fault_snapshot")
