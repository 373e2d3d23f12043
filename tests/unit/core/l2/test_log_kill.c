/* SPDX-License-Identifier: MIT
 *
 * Aim:    a process that dies, or power that fails, at any step of the log's protocols loses no
 *         change that was ensured, and brings no older value, also during an open. A change that
 *         runs between two steps of another call, or of a pass, holds.
 * Method: the sources of the tier are part of this program. At the n-th BASE_POINT the in-memory
 *         disk is copied: what a process death leaves, or a power cut. The copy is opened after the
 *         call, and dies again during that open. Some lives go on with the copy. In other lives a
 *         point outside of locks runs a change of its own. LOG_KILLS=n crashes of each kind. */
#include "base/check.h"

static void kill_point(const char *name);
#undef BASE_POINT
#define BASE_POINT(name) kill_point(name)
#include "l2/admission.c"
#include "l2/codec.c"
#include "l2/health.c"
#include "l2/invalidations.c"
#include "l2/namespaces.c"
#include "l2/part.c"
#include "l2/plan.c"
#include "l2/record.c"
#include "l2/value.c"
#include "l2/control.c"
#include "l2/geometry.c"
#include "l2/image.c"
#include "l2/index.c"
#include "l2/io.c"
#include "l2/live.c"
#include "l2/log.c"
#include "l2/open.c"
#include "l2/pass.c"
#include "l2/progress.c"
#include "l2/read.c"
#include "l2/recover.c"
#include "l2/resize.c"
#include "l2/reopen.c"
#include "l2/resync.c"
#include "l2/rows.c"
#include "l2/segment.c"
#include "l2/stall.c"
#include "l2/stat.c"
#include "l2/super.c"
#include "l2/visit.c"
#include "l2/worker.c"
#include "l2/write.c"

#define DEV_WRITES 800 /* a place is used again many writes after the copies of its records */
#include "tests/support/log_kit.h"

/* ---- crashes ---- */

static base_rng rng;
static uint64_t steps_left;   /* until the disk is copied; 0: never */
static uint64_t changes_left; /* points until a change of its own; 0: never */
static l2_dev *dies, third;
static l2_dev *copy;          /* where to */
static bool power_fails;
static const char *died_at;   /* the point; NULL: no crash */
static uint32_t died_changes, died_ensured;

static void change_between(void);

static void kill_point(const char *name)
{
    if (changes_left != 0 && --changes_left == 0) { change_between(); }
    if (steps_left == 0 || --steps_left != 0) { return; }
    l2_dev_clone(dies, copy, power_fails ? &rng : NULL);
    died_at = name;
    died_changes = changes;
    died_ensured = power_fails ? synced : ensured;
}

static void dies_at_step(l2_dev *which, l2_dev *to, uint64_t most)
{
    dies = which;
    copy = to;
    died_at = NULL;
    steps_left = 1 + base_rng_below(&rng, most);
}

/* Open a disk that a crash has left, and return its moment. What changed since is no part of it. */
static uint32_t opened_moment(l2_dev *on)
{
    const uint32_t now = changes;
    changes = died_changes;
    open_on(on);
    const uint32_t at = moment(died_ensured);
    changes = now;
    return at;
}

/* Look at the disk of a crash, also after a crash of that open. again: continue with it. */
static void look_at_crash(bool again)
{
    l2 *living = d;
    const char *where = died_at;
    const bool cut = power_fails, nested = base_rng_below(&rng, 4) == 0;
    if (nested) {
        power_fails = cut && base_rng_below(&rng, 2) == 0;
        const uint32_t changed = died_changes, kept = died_ensured;
        dies_at_step(&other, &third, 12);
        died_at = NULL;
        open_on(&other);
        steps_left = 0;
        died_changes = changed;
        died_ensured = kept;
        l2_discard(d);
        if (died_at != NULL) {
            T_CHECK(opened_moment(&third) != UINT32_MAX);
            l2_discard(d);
        }
        power_fails = cut;
    }
    const uint32_t at = opened_moment(&other);
    if (!T_CHECK(at != UINT32_MAX)) {
        printf("# point %s, power %d, level %d\n", where, power_fails, (int)cfg.level);
    }
    l2_discard(d);
    d = living;
    vfs = l2_dev_vfs(&dev);
    died_at = NULL;
    if (!again || at == UINT32_MAX) { return; }
    l2_discard(d);
    const l2_dev swap = dev;
    dev = other;
    other = swap;
    open_on(&dev);
    state_is(at);
}

/* ---- lives ---- */

/* Most keys are not changed for long, so that passes move their records. */
static uint32_t some_key(void)
{
    const bool few = base_rng_below(&rng, 100) != 0;
    return (uint32_t)base_rng_below(&rng, few ? KEYS / 4 : KEYS);
}

static void one_step(void)
{
    const uint32_t key = some_key();
    change_key(key, base_rng_below(&rng, 5) == 0, base_rng_below(&rng, 2) == 0);
    if (cfg.level == L2_ALWAYS && base_rng_below(&rng, 3) == 0) {
        T_EQ_I64(l2_commit(d), CELLAR_OK);
        synced = changes;
    }
    if (base_rng_below(&rng, 6) == 0) {
        ms += 40;
        (void)l2_tick(d, 0);
    }
    if (base_rng_below(&rng, cfg.sync_ms == 200 ? 400 : 4000) == 0) {
        T_EQ_I64(l2_sync(d), CELLAR_OK);
        synced = changes;
    }
}

static uint64_t crashes_of_test(void) { return t_env_u64("LOG_KILLS", t_share(1000)); }

static void crashes(l2_level level, bool power, bool sized)
{
    const uint64_t most = crashes_of_test();
    uint64_t met = 0;
    base_rng_seed(&rng, t_seed());
    power_fails = power;
    same_size = sized;
    while (met < most && !t_failed()) {
        begin(level);
        cfg.sync_ms = base_rng_below(&rng, 2) == 0 ? 200 : 1000000;
        l2_dev_init(&dev);
        dev.flat = !power;
        open_on(&dev);
        for (uint64_t n = base_rng_below(&rng, 3000); n > 0; n--) { one_step(); }
        for (uint64_t life = base_rng_below(&rng, 24); life > 0 && !t_failed(); life--) {
            dies_at_step(&dev, &other, base_rng_below(&rng, 4) == 0 ? 3000 : 60);
            for (int n = 0; died_at == NULL && changes < MOST_CHANGES && n < 4000; n++) {
                one_step();
            }
            steps_left = 0;
            if (died_at == NULL) { break; }
            look_at_crash(base_rng_below(&rng, 2) == 0);
            met++;
        }
        l2_close(d);
        l2_dev_fini(&dev);
        l2_dev_fini(&other);
        l2_dev_fini(&third);
    }
}

T_CASE(process_death_at_any_point_loses_no_ensured_change) { crashes(L2_DROP, false, false); }
T_CASE(the_same_with_periodic_syncs) { crashes(L2_KEEP, false, false); }
T_CASE(the_same_with_records_of_one_size) { crashes(L2_DROP, false, true); }
T_CASE(power_cut_at_any_point_shows_one_moment) { crashes(L2_KEEP, true, false); }
T_CASE(power_cut_at_any_point_loses_no_commit) { crashes(L2_ALWAYS, true, false); }
T_CASE(power_cuts_with_records_of_one_size) { crashes(L2_ALWAYS, true, true); }

/* ---- changes between two steps ---- */

static uint32_t busy_key; /* of the call that runs; KEYS: a tick */

/* Return a key that has its record in the oldest segment, or another. */
static uint32_t old_key(void)
{
    uint32_t found = some_key(), count = 0;
    for (uint32_t i = 0; i < KEYS; i++) {
        const uint64_t lsn = l2_word_now(d, l2_mix(key_of(&i).hash)).lsn;
        if (lsn == 0 || lsn >= base_load_rlx(&d->head) + 65536) { continue; }
        if (base_rng_below(&rng, ++count) == 0) { found = i; }
    }
    return found;
}

/* Change another key, outside of locks. In a tick the process may die soon after. */
static void change_between(void)
{
    const base_thread_record *self = base_thread_self();
    const uint32_t key = self->held_count == 0 && busy_key == KEYS ? old_key() : some_key();
    if (self->held_count != 0 || base_load_rlx(&d->writing) != 0 || key == busy_key ||
        base_load_rlx(&d->syncing) != 0 || changes == MOST_CHANGES) {
        changes_left = 1;
        return;
    }
    const bool ends = base_rng_below(&rng, 2) == 0;
    const uint32_t v = ends ? 0 : changes + 1;
    const l2_key k = key_of(&key);
    const bool replaces = last[key] != 0 && last[key] <= ensured;
    history[changes++] = (change){ key, v };
    if (ends) {
        l2_invalidate(d, &k);
    } else if (put_once(key, v, false) != CELLAR_OK) {
        changes--;
        return;
    }
    last[key] = v;
    if (replaces && busy_key == KEYS) { ensured = changes; }
    if (busy_key == KEYS && died_at == NULL && steps_left == 0 && base_rng_below(&rng, 2) == 0) {
        dies_at_step(&dev, &other, 3);
    }
    changes_left = 1 + base_rng_below(&rng, 6);
}

T_CASE(change_between_two_steps_of_another_holds)
{
    base_rng_seed(&rng, t_seed());
    power_fails = same_size = false;
    begin(L2_DROP);
    l2_dev_init(&dev);
    dev.flat = true;
    open_on(&dev);
    while (changes + 100 < MOST_CHANGES && !t_failed()) {
        busy_key = some_key();
        changes_left = base_rng_below(&rng, 10);
        change_key(busy_key, base_rng_below(&rng, 5) == 0, base_rng_below(&rng, 2) == 0);
        busy_key = KEYS;
        changes_left = 1 + base_rng_below(&rng, 6);
        (void)l2_tick(d, 0);
        changes_left = steps_left = 0;
        T_CHECK(moment(changes) == changes);
        if (died_at != NULL) { look_at_crash(false); }
    }
    l2_close(d);
    l2_dev_fini(&dev);
    l2_dev_fini(&other);
    l2_dev_fini(&third);
}

/* ---- a pass and a delete ---- */

/* A pass lets the records of its segments go. A delete of such a key finds no word and logs
 * nothing: the FLOOR alone says that the records are gone. */
T_CASE(entry_that_a_pass_let_go_stays_away_after_a_delete)
{
    uint32_t gone = 0;
    base_rng_seed(&rng, t_seed());
    power_fails = same_size = false;
    begin(L2_DROP);
    cfg.move_pct = 0; /* no copies */
    l2_dev_init(&dev);
    dev.flat = true;
    open_on(&dev);
    for (uint32_t i = 0; i < KEYS / 2; i++) { change_key(i, false, true); }
    while (gone == 0 && changes < MOST_CHANGES) {
        change_key(KEYS / 2 + (uint32_t)base_rng_below(&rng, KEYS / 2), false, true);
        ms += 40;
        (void)l2_tick(d, 0);
        for (uint32_t i = 0; i < KEYS / 2; i++) { gone += !l2_indexed(d, key_of(&i).hash); }
    }
    T_EQ_U64(gone, KEYS / 2);
    for (uint32_t i = 0; i < KEYS / 2; i++) { change_key(i, true, false); }
    l2_dev_clone(&dev, &other, NULL);
    l2_discard(d);
    open_on(&other);
    T_CHECK(moment(ensured) == changes);
    l2_discard(d);
    l2_dev_fini(&dev);
    l2_dev_fini(&other);
}

T_ONE_THREAD;
T_MAIN("log_kill")
