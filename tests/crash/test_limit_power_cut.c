/* SPDX-License-Identifier: MIT
 *
 * Aim:    A power cut at any call of the disk leaves a limiter a whole snapshot: that of the last
 *         save that returned OK, or a newer one. Debts and bans are those of one save. Before the
 *         first save the limiter starts empty. No snapshot is refused.
 * Method: The source of snapshot.c is part of this program, on the disk of l2_dev.h. A copy of the
 *         disk is taken before each change of it, as a cut leaves it: all of it, what was synced
 *         alone, or a random part of the rest. A rename is there or not: journals of file systems
 *         keep it whole. Save n has 2 n units of one key and the bans of n others. */
#include "base/vfs.h"
#include "tests/support/l2_dev.h"

static const base_vfs *cut_vfs(void);
#define base_vfs_system cut_vfs
#include "limit/snapshot.c"
#undef base_vfs_system

#include "tests/support/limit_kit.h"

#define SAVES 4u
#define UNITS 2u /* of a save */

typedef enum disk_cut { CUT_KEEPS_ALL, CUT_DROPS_ALL, CUT_KEEPS_SOME } disk_cut;

static l2_dev dev, crash;
static base_vfs vfs;
static base_rng rng;
static struct { uint32_t begun, done; } saves, at_cut;
static uint64_t changes, cut_at; /* 0: never */
static disk_cut how;

static const base_vfs *cut_vfs(void) { return &vfs; }

/* Copy the disk as a cut leaves it. */
static void cut(void)
{
    const bool names = how == CUT_KEEPS_ALL ||
                       (how == CUT_KEEPS_SOME && base_rng_below(&rng, 2) != 0);
    at_cut.begun = saves.begun;
    at_cut.done = saves.done;
    l2_dev_begin(&dev, &crash, false);
    for (int i = 0; i < DEV_FILES; i++) {
        const l2_dev_file *f = &dev.file[i];
        l2_dev_file *c = &crash.file[i];
        const size_t held = l2_dev_copy(f, c, how == CUT_KEEPS_ALL);
        if (names) { memcpy(c->name, f->name, sizeof c->name); }
        if (how == CUT_KEEPS_SOME && held > 0) {
            if (base_rng_below(&rng, 2) != 0) { c->size = f->size; }
            for (uint32_t n = 0; n < f->writes; n++) {
                l2_dev_apply(c->live, &f->write[n], l2_dev_mask(&rng));
            }
        }
        l2_dev_settle(&crash, c, held);
    }
}

static void at_change(void *ctx)
{
    (void)ctx;
    if (++changes == cut_at) { cut(); }
}

static cellar_limiter *open_on(l2_dev *d)
{
    const cellar_rule rule = cellar_rule_token_bucket(10, CELLAR_HOUR_NS, 10);
    cellar_limiter_config c = kit_config();
    cellar_limiter *l = NULL;
    vfs = l2_dev_vfs(d);
    c.snapshot_path = "snap";
    c.snapshot_interval_ms = 1000;
    T_REQUIRE(cellar_limiter_open(&c, &rule, 1, &l) == CELLAR_OK);
    return l;
}

/* Save SAVES times, the last time by the close. Return the number of changes of the disk. */
static uint64_t work(void)
{
    l2_dev_fini(&dev);
    l2_dev_init(&dev);
    dev.hook = at_change;
    changes = 0;
    memset(&saves, 0, sizeof saves);
    cellar_limiter *l = open_on(&dev);
    for (uint32_t n = 1; n <= SAVES; n++) {
        T_EQ_U64(kit_admit(l, "k", UNITS), UNITS);
        T_EQ_I64(cellar_limiter_ban(l, &n, sizeof n, CELLAR_HOUR_NS), CELLAR_OK);
        kit_pass(KIT_S);
        saves.begun = n;
        if (n == SAVES) { kit_close(l); } else { T_EQ_I64(cellar_tick(l, 0, NULL), CELLAR_OK); }
        saves.done = n;
    }
    return changes;
}

/* Open what the cut left: it is one save, from the last one done to the one begun. */
static void look(void)
{
    cellar_limiter_stats st = cellar_limiter_stats_default();
    cellar_limiter *l = open_on(&crash);
    T_EQ_I64(cellar_limiter_stats_get(l, &st), CELLAR_OK);
    T_EQ_U64(st.snapshots_refused, 0);
    const uint64_t left = kit_admit(l, "k", 40), saved = (10 - left) / UNITS;
    T_EQ_U64(left % UNITS, 0);
    T_CHECK(saved >= at_cut.done && saved <= at_cut.begun);
    for (uint32_t n = 1; n <= SAVES; n++) {
        T_EQ_I64(kit_look(l, &n, sizeof n, 1, NULL), n <= saved ? CELLAR_LIMITED : CELLAR_OK);
    }
    kit_close(l);
}

static void cut_each(disk_cut kept)
{
    how = kept;
    cut_at = 0;
    const uint64_t most = work();
    T_CHECK(most > 2 * SAVES);
    for (cut_at = 1; cut_at <= most && !t_failed(); cut_at++) {
        (void)work();
        look();
        if (t_failed()) { printf("# at change %" PRIu64 "\n", cut_at); }
    }
    l2_dev_fini(&dev);
    l2_dev_fini(&crash);
}

T_CASE(limiter_starts_from_a_whole_save_after_a_cut_that_keeps_all) { cut_each(CUT_KEEPS_ALL); }

T_CASE(limiter_starts_from_a_whole_save_after_a_cut_that_drops_all) { cut_each(CUT_DROPS_ALL); }

T_CASE(limiter_starts_from_a_whole_save_after_a_cut_that_keeps_some)
{
    base_rng_seed(&rng, t_seed());
    for (uint64_t i = 0; i < t_share(8); i++) { cut_each(CUT_KEEPS_SOME); }
}

T_ONE_THREAD;
T_MAIN("limit_power_cut")
