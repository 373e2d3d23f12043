/* SPDX-License-Identifier: MIT
 *
 * Aim:    the disk level's stamps, gates and doorbell: whatever a change has ended is served by
 *         nobody who asks after the change has returned, and by no process that opens what a kill
 *         at that moment leaves, also when the disk stands still meanwhile and comes back.
 * Method: the shipped level on a disk made of memory. Each key has one writer; others store what
 *         they have captured, late, read, work, let the worker hang; one opens a copy of the disk
 *         as a kill now would leave it. */
#include "tests/sim/scenarios.h"

#include "tests/l2_kit.h"

#define SIM_L2_KEYS 2u
#define SIM_L2_VGEN 3u

static struct {
    l2_dev dev, crash;
    l2_kit kit, again;
    _Atomic uint64_t stamp[SIM_L2_KEYS]; /* as cache has it, one for each key */
    uint32_t now[SIM_L2_KEYS];  /* current version, 0: none; moves with the stamp */
    uint32_t over[SIM_L2_KEYS]; /* versions up to it are over, and that was acknowledged */
    uint32_t next;
    bool commits; /* changes are acknowledged when committed, and crashes are power cuts */
} disk;

static l2_key sim_l2_key(l2_kit *k, const uint32_t *key)
{
    return l2_kit_key(k, key, sizeof *key, SIM_L2_VGEN);
}

static uint32_t sim_l2_look(l2_kit *k, uint32_t key)
{
    unsigned char buf[600];
    size_t len;
    l2_meta m;
    const l2_key id = sim_l2_key(k, &key);
    return l2_get(k->d, &id, buf, sizeof buf, &len, &m) == CELLAR_OK ? m.user_flags : 0;
}

static bool sim_l2_is(void *ctx, uint64_t hash, uint64_t stamp)
{
    (void)hash;
    return base_load_acq((_Atomic uint64_t *)ctx) == stamp;
}

static void sim_l2_writer(void *arg)
{
    const uint32_t key = *(const uint32_t *)arg;
    for (unsigned i = 0; i < 3; i++) {
        base_sim_calm(true); /* L1's step, under its bucket */
        const uint32_t ended = disk.now[key];
        (void)base_add_sc(&disk.stamp[key], (uint64_t)1);
        disk.now[key] = base_sim_below(4) == 0 ? 0 : ++disk.next;
        base_sim_calm(false);
        const l2_key id = sim_l2_key(&disk.kit, &key);
        l2_kill(disk.kit.d, &id);
        const bool ok = !disk.commits || l2_commit(disk.kit.d) == CELLAR_OK;
        if (ended != 0 && ok) { disk.over[key] = ended; }
    }
}

static void sim_l2_demoter(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 4; i++) {
        const uint32_t key = (uint32_t)base_sim_below(SIM_L2_KEYS);
        unsigned char value[40];
        base_sim_calm(true);
        const uint64_t stamp = base_load_acq(&disk.stamp[key]);
        const uint32_t version = disk.now[key];
        base_sim_calm(false);
        if (version == 0) { continue; }
        if (base_sim_below(3) == 0) { base_sim_hold(base_sim_below(40)); }
        memset(value, (int)version, sizeof value);
        const l2_key id = sim_l2_key(&disk.kit, &key);
        const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = version };
        const l2_current current = { sim_l2_is, &disk.stamp[key], stamp };
        (void)l2_put(disk.kit.d, &id, value, sizeof value, &m, &current);
    }
}

static void sim_l2_reader(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 6; i++) {
        const uint32_t key = (uint32_t)base_sim_below(SIM_L2_KEYS), over = disk.over[key];
        const uint32_t got = sim_l2_look(&disk.kit, key);
        BASE_SIM_CHECK(got == 0 || got > over);
    }
}

static void sim_l2_worker(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 6; i++) {
        (void)l2_tick(disk.kit.d, 0);
        disk.kit.now_ms += 200;
        base_sim_point("sim.worked");
    }
}

/* A worker that hangs in a call, while no page can be stored into without waiting for it. */
static void sim_l2_freezer(void *arg)
{
    l2 *d = disk.kit.d;
    (void)arg;
    for (unsigned n = 0; n < 2; n++) {
        l2_worker_take(d);
        l2_disarm(d);
        base_store_rlx(&d->beat, (uint64_t)1);
        base_sim_advance_ms(1000);
        for (uint64_t i = base_sim_below(60); i > 0; i--) { base_sim_point("sim.frozen"); }
        l2_worker_drop(d);
        (void)l2_tick(d, 0);
    }
}

/* What a kill, or a power cut, at this moment leaves, opened. */
static void sim_l2_crash(void)
{
    base_sim_calm(true);
    base_rng r;
    base_rng_seed(&r, base_sim_below(UINT32_MAX));
    l2_dev_clone(&disk.dev, &disk.crash, disk.commits ? &r : NULL);
    l2_kit_init(&disk.again, &disk.crash);
    BASE_SIM_CHECK(l2_kit_open(&disk.again) == CELLAR_OK);
    l2_kit_warm(&disk.again);
    for (uint32_t key = 0; key < SIM_L2_KEYS; key++) {
        const uint32_t got = sim_l2_look(&disk.again, key);
        BASE_SIM_CHECK(got == 0 || got > disk.over[key]);
    }
    l2_kit_kill(&disk.again);
    base_sim_calm(false);
}

static void sim_l2_killer(void *arg)
{
    (void)arg;
    for (unsigned n = 0; n < 3; n++) {
        for (uint64_t i = base_sim_below(40); i > 0; i--) { base_sim_point("sim.alive"); }
        sim_l2_crash();
    }
}

/* Keys from `first` on are stored; the filter has never heard of the others. */
static void sim_l2_begin_at(uint32_t first, l2_level level)
{
    static const unsigned char value[40];
    base_sim_calm(true);
    memset(&disk, 0, sizeof disk);
    l2_dev_init(&disk.dev);
    l2_dev_init(&disk.crash);
    l2_kit_init(&disk.kit, &disk.dev);
    disk.commits = level != L2_DROP;
    disk.kit.cfg.level = level;
    base_sim_advance_ms(10000);
    BASE_SIM_CHECK(l2_kit_open(&disk.kit) == CELLAR_OK);
    for (uint32_t key = 0; key < SIM_L2_KEYS; key++) {
        const l2_key id = sim_l2_key(&disk.kit, &key);
        disk.now[key] = ++disk.next;
        if (key < first) { continue; }
        const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = disk.next };
        BASE_SIM_CHECK(l2_put(disk.kit.d, &id, value, sizeof value, &m, NULL) == CELLAR_OK);
    }
    base_sim_calm(false);
}

static void sim_l2_begin(uint32_t first) { sim_l2_begin_at(first, L2_DROP); }

static void sim_l2_end(void)
{
    base_sim_calm(true);
    for (int i = 0; i < 3; i++) { (void)l2_tick(disk.kit.d, 0); }
    BASE_SIM_CHECK(!disk.dev.bell); /* nobody relies on it, so the next open must not find it */
    const char *wrong = l2_audit(disk.kit.d);
    if (wrong != NULL) { base_sim_fail("audit: %s", wrong); }
    for (uint32_t key = 0; key < SIM_L2_KEYS; key++) {
        const uint32_t got = sim_l2_look(&disk.kit, key);
        BASE_SIM_CHECK(got == 0 || got == disk.now[key]);
    }
    base_sim_calm(false);
    sim_l2_crash();
    base_sim_calm(true);
    l2_kit_kill(&disk.kit);
    l2_dev_fini(&disk.dev);
    l2_dev_fini(&disk.crash);
    base_sim_calm(false);
}

static const uint32_t sim_l2_keys[SIM_L2_KEYS] = { 0, 1 };

static void sim_l2_gates_run(void)
{
    sim_l2_begin(1);
    base_sim_spawn("writer-1", sim_l2_writer, (void *)(uintptr_t)&sim_l2_keys[0]);
    base_sim_spawn("writer-2", sim_l2_writer, (void *)(uintptr_t)&sim_l2_keys[1]);
    base_sim_spawn("demoter", sim_l2_demoter, NULL);
    base_sim_spawn("reader", sim_l2_reader, NULL);
    base_sim_spawn("worker", sim_l2_worker, NULL);
    base_sim_spawn("killer", sim_l2_killer, NULL);
    base_sim_join_all();
    sim_l2_end();
}

static void sim_l2_frozen_run(void)
{
    sim_l2_begin(0);
    base_sim_spawn("writer-1", sim_l2_writer, (void *)(uintptr_t)&sim_l2_keys[0]);
    base_sim_spawn("writer-2", sim_l2_writer, (void *)(uintptr_t)&sim_l2_keys[1]);
    base_sim_spawn("demoter", sim_l2_demoter, NULL);
    base_sim_spawn("worker", sim_l2_worker, NULL);
    base_sim_spawn("freezer", sim_l2_freezer, NULL);
    base_sim_spawn("killer", sim_l2_killer, NULL);
    base_sim_join_all();
    sim_l2_end();
}

/* Changes that wait for one another's syncs; KEEP, whose pages must be armed: so some of them find
 * the tier closed, and are in no log. */
static void sim_l2_commit_run(void)
{
    sim_l2_begin_at(0, L2_KEEP);
    base_sim_calm(true);
    disk.kit.cfg.sync_ms = 100000;
    BASE_SIM_CHECK(l2_commit(disk.kit.d) == CELLAR_OK);
    base_sim_calm(false);
    base_sim_spawn("writer-1", sim_l2_writer, (void *)(uintptr_t)&sim_l2_keys[0]);
    base_sim_spawn("writer-2", sim_l2_writer, (void *)(uintptr_t)&sim_l2_keys[1]);
    base_sim_spawn("demoter", sim_l2_demoter, NULL);
    base_sim_spawn("worker", sim_l2_worker, NULL);
    base_sim_spawn("freezer", sim_l2_freezer, NULL);
    base_sim_spawn("cutter", sim_l2_killer, NULL);
    base_sim_join_all();
    sim_l2_end();
}

/* The index is read while keys change: what replay comes to later is older. */
static void sim_l2_warm_run(void)
{
    sim_l2_begin(0);
    base_sim_calm(true);
    for (uint32_t n = 0; n < 120; n++) { /* the history of both fills more than one segment */
        const uint32_t key = n % SIM_L2_KEYS;
        static const unsigned char value[600];
        const l2_key id = sim_l2_key(&disk.kit, &key);
        disk.over[key] = disk.now[key];
        l2_kill(disk.kit.d, &id);
        disk.now[key] = ++disk.next;
        const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = disk.next };
        if (l2_put(disk.kit.d, &id, value, 40 + n * 4, &m, NULL) != CELLAR_OK) {
            disk.over[key] = disk.now[key];
            disk.now[key] = 0;
        }
        (void)l2_tick(disk.kit.d, 0);
    }
    l2_kit_kill(&disk.kit);
    disk.dev.locked = false;
    BASE_SIM_CHECK(l2_kit_open(&disk.kit) == CELLAR_OK);
    BASE_SIM_CHECK(base_load_acq(&disk.kit.d->warming) != 0);
    base_sim_calm(false);
    base_sim_spawn("writer-1", sim_l2_writer, (void *)(uintptr_t)&sim_l2_keys[0]);
    base_sim_spawn("writer-2", sim_l2_writer, (void *)(uintptr_t)&sim_l2_keys[1]);
    base_sim_spawn("reader", sim_l2_reader, NULL);
    base_sim_spawn("demoter", sim_l2_demoter, NULL);
    base_sim_spawn("worker", sim_l2_worker, NULL);
    base_sim_spawn("killer", sim_l2_killer, NULL);
    base_sim_join_all();
    sim_l2_end();
}

const base_sim_scenario sim_l2_gates = {
    "l2_gates", "what a change ended is served by nobody, also after a kill", sim_l2_gates_run, 0
};
const base_sim_scenario sim_l2_frozen = {
    "l2_frozen", "the same while the disk stands still", sim_l2_frozen_run, 0
};
const base_sim_scenario sim_l2_warm = {
    "l2_warm", "the same while the index is read after an open", sim_l2_warm_run, 0
};
const base_sim_scenario sim_l2_commit = {
    "l2_commit", "what was committed outlives a power cut", sim_l2_commit_run, 0
};
