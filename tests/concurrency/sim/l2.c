/* SPDX-License-Identifier: MIT
 *
 * Aim:    The stamps, tombstone_locks and doorbell of the disk tier. After a change has returned,
 *         no read returns a value that the change made dead, and no process that opens the disk
 *         after a kill at that moment does. This holds also when the disk hangs meanwhile and returns.
 * Method: The shipped tier on a disk made of memory. Each key has one writer. Other fibers store
 *         captured values late, read, work, let the worker hang; one opens a copy of the disk as a
 *         kill at this moment leaves it. `l2_bunch`, `l2_bunch_warm`: the keys share a word of the
 *         index, and some puts are durable: while a put is current, each get finds it, and so does
 *         a process that opens the disk after a kill. `l2_ends`: the whole cache above such a disk;
 *         tags and patterns invalidate entries while these are written, read back, and the process
 *         is killed. No read returns an older version than a completed read. `l2_drop`: the same
 *         for a namespace that is dropped, cleared and opened. `l2_snap`:
 *         lives that end in a close and begin with the saved index, killed in both, resized in
 *         between, with failing calls. The saved index is used unless a call of the close failed or
 *         a resize prevents it: other tables, the open slot. */
#include "store/store.h"
#include "tests/concurrency/sim/scenarios.h"

#include "cache/types.h"
#include "tests/support/l2_kit.h"
#include "tests/support/settings.h"

#define SIM_L2_KEYS 2u
#define SIM_L2_GENERATION 3u

static struct {
    l2_dev dev, crash;
    l2_kit kit, again;
    _Atomic uint64_t stamp[SIM_L2_KEYS]; /* as in the cache, one for each key */
    uint32_t now[SIM_L2_KEYS];  /* current version, 0: none; moves with the stamp */
    uint32_t over[SIM_L2_KEYS]; /* dead versions up to it, acknowledged */
    uint32_t next;
    uint32_t mate; /* kept: the name of key 1 on disk; each other key has its number */
    uint32_t stored[SIM_L2_KEYS]; /* version that was promised and acknowledged; 0: none */
    bool pending[SIM_L2_KEYS];    /* a change has not written its tombstone yet: it stops any put */
    bool kept;    /* puts are found, and the keys are of one bunch */
    bool commits; /* changes are acknowledged when committed, and crashes are power cuts */
} disk;

static l2_key sim_l2_key(l2_kit *k, const uint32_t *key)
{
    return l2_kit_key(k, disk.kept && *key == 1 ? &disk.mate : key, sizeof *key, SIM_L2_GENERATION);
}

/* Find two names that share one word of the index: a set of one changes the other's. */
static void sim_l2_names(void)
{
    static uint32_t second; /* found once: all stores have one hash key, and tables of a size */
    l2 *d = disk.kit.d;
    if (!disk.kept) { return; }
    const uint64_t first = l2_h48(sim_l2_key(&disk.kit, &(uint32_t){ 0 }).hash);
    const uint64_t word = l2_word_make(d, 0, 4096, first, 64);
    l2_index_link(d, first, word, 0);
    for (uint32_t n = second != 0 ? second : 1;; n++) {
        disk.mate = n;
        const uint64_t h48 = l2_h48(sim_l2_key(&disk.kit, &(uint32_t){ 1 }).hash);
        if ((h48 & 0xffffu) == (first & 0xffffu) && l2_index_find(d, h48) == word) { break; }
    }
    second = disk.mate;
    l2_index_drop(d, first, L2_WORD_ADDR(word));
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
    return base_load_sc((_Atomic uint64_t *)ctx) == stamp;
}

static void sim_l2_writer(void *arg)
{
    const uint32_t key = *(const uint32_t *)arg;
    for (unsigned i = 0; i < 3; i++) {
        base_sim_calm(true); /* the step of L1, under its bucket */
        const uint32_t ended = disk.now[key];
        disk.pending[key] = true;
        (void)base_add_sc(&disk.stamp[key], (uint64_t)1);
        disk.now[key] = base_sim_below(4) == 0 ? 0 : ++disk.next;
        base_sim_calm(false);
        const l2_key id = sim_l2_key(&disk.kit, &key);
        l2_invalidate(disk.kit.d, &id);
        disk.pending[key] = false;
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
        const bool kept = disk.kept && !disk.pending[key];
        base_sim_calm(false);
        if (version == 0) { continue; }
        if (base_sim_below(3) == 0) { base_sim_hold(base_sim_below(40)); }
        memset(value, (int)version, sizeof value);
        const l2_key id = sim_l2_key(&disk.kit, &key);
        const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = version,
                            .durable = disk.kept && base_sim_below(2) != 0 };
        const l2_current current = { sim_l2_is, &disk.stamp[key], stamp };
        const cellar_err err = l2_put(disk.kit.d, &id, value, sizeof value, &m, &current);
        if (err == CELLAR_OK && kept && disk.now[key] == version) { disk.stored[key] = version; }
    }
}

static void sim_l2_reader(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 6; i++) {
        const uint32_t key = (uint32_t)base_sim_below(SIM_L2_KEYS), over = disk.over[key];
        const uint32_t kept = disk.stored[key];
        const bool warm = base_load_acq(&disk.kit.d->rebuilding) == 0;
        const uint32_t got = sim_l2_look(&disk.kit, key);
        BASE_SIM_CHECK(got == 0 || got > over);
        BASE_SIM_CHECK(got == kept || kept == 0 || kept != disk.now[key] || !warm);
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

/* A worker that hangs in a call, while no page can be written without waiting for it. */
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

/* Open the disk as a kill, or a power cut, at this moment leaves it. */
static void sim_l2_crash(void)
{
    base_sim_calm(true);
    base_sim_settle_all();
    base_rng r;
    base_rng_seed(&r, base_sim_below(UINT32_MAX));
    l2_dev_clone(&disk.dev, &disk.crash, disk.commits ? &r : NULL);
    l2_kit_init(&disk.again, &disk.crash);
    disk.again.cfg.seg_count = disk.kit.cfg.seg_count;
    BASE_SIM_CHECK(l2_kit_open(&disk.again) == CELLAR_OK);
    l2_kit_warm(&disk.again);
    BASE_SIM_CHECK(!disk.kept || l2_kit_figures(&disk.again).holes == 0);
    for (uint32_t key = 0; key < SIM_L2_KEYS; key++) {
        const uint32_t got = sim_l2_look(&disk.again, key);
        const uint32_t kept = disk.stored[key];
        BASE_SIM_CHECK(got == 0 || got > disk.over[key]);
        BASE_SIM_CHECK(got == kept || kept == 0 || kept != disk.now[key]);
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

/* Keys from `first` on are stored; the filter does not know the others. */
static void sim_l2_begin_as(uint32_t first, l2_level level, bool kept)
{
    static const unsigned char value[40];
    base_sim_calm(true);
    memset(&disk, 0, sizeof disk);
    disk.kept = kept;
    l2_dev_init(&disk.dev);
    l2_dev_init(&disk.crash);
    l2_kit_init(&disk.kit, &disk.dev);
    disk.commits = level != L2_DROP;
    disk.kit.cfg.level = level;
    if (kept) { disk.kit.cfg.seg_count = 8; } /* nothing is reclaimed */
    base_sim_advance_ms(10000);
    BASE_SIM_CHECK(l2_kit_open(&disk.kit) == CELLAR_OK);
    sim_l2_names();
    for (uint32_t key = 0; key < SIM_L2_KEYS; key++) {
        const l2_key id = sim_l2_key(&disk.kit, &key);
        disk.now[key] = ++disk.next;
        if (key < first) { continue; }
        const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = disk.next,
                            .durable = disk.kept && base_sim_below(2) != 0 };
        BASE_SIM_CHECK(l2_put(disk.kit.d, &id, value, sizeof value, &m, NULL) == CELLAR_OK);
        if (disk.kept) { disk.stored[key] = disk.next; }
    }
    base_sim_calm(false);
}

static void sim_l2_begin_at(uint32_t first, l2_level level)
{
    sim_l2_begin_as(first, level, false);
}

static void sim_l2_begin(uint32_t first) { sim_l2_begin_at(first, L2_DROP); }

static void sim_l2_end(void)
{
    base_sim_calm(true);
    for (int i = 0; i < 3; i++) { (void)l2_tick(disk.kit.d, 0); }
    BASE_SIM_CHECK(!disk.dev.bell); /* no thread relies on it, so the next open must not find it */
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

static void sim_l2_tombstone_locks_run(void)
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

/* Changes that wait for one another's syncs. At KEEP pages must be armed: some changes find the
 * tier closed, and are in no log. */
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

/* The index is read while keys change: later records of the replay are older. */
static void sim_l2_warm_run(void)
{
    sim_l2_begin(0);
    base_sim_calm(true);
    for (uint32_t n = 0; n < 120; n++) { /* the history of both fills more than one segment */
        const uint32_t key = n % SIM_L2_KEYS;
        static const unsigned char value[600];
        const l2_key id = sim_l2_key(&disk.kit, &key);
        disk.over[key] = disk.now[key];
        l2_invalidate(disk.kit.d, &id);
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
    BASE_SIM_CHECK(base_load_acq(&disk.kit.d->rebuilding) != 0);
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

/* ---- keys of one bunch ---- */

static void sim_l2_bunch_spawn(void)
{
    base_sim_spawn("writer-1", sim_l2_writer, (void *)(uintptr_t)&sim_l2_keys[0]);
    base_sim_spawn("writer-2", sim_l2_writer, (void *)(uintptr_t)&sim_l2_keys[1]);
    base_sim_spawn("demoter-1", sim_l2_demoter, NULL);
    base_sim_spawn("demoter-2", sim_l2_demoter, NULL);
    base_sim_spawn("reader", sim_l2_reader, NULL);
    base_sim_spawn("worker", sim_l2_worker, NULL);
    base_sim_spawn("killer", sim_l2_killer, NULL);
    base_sim_join_all();
    sim_l2_end();
}

static void sim_l2_bunch_run(void)
{
    sim_l2_begin_as(0, L2_DROP, true);
    sim_l2_bunch_spawn();
}

/* The index words are read back meanwhile. */
static void sim_l2_bunch_warm_run(void)
{
    sim_l2_begin_as(0, L2_DROP, true);
    base_sim_calm(true);
    for (uint32_t n = 0; n < 30; n++) { /* the history of both fills more than one segment */
        const uint32_t key = (uint32_t)base_sim_below(SIM_L2_KEYS);
        static const unsigned char value[600];
        const l2_key id = sim_l2_key(&disk.kit, &key);
        disk.over[key] = disk.now[key];
        l2_invalidate(disk.kit.d, &id);
        disk.now[key] = ++disk.next;
        const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = disk.next,
                            .durable = base_sim_below(2) != 0 };
        const cellar_err err = l2_put(disk.kit.d, &id, value, sizeof value, &m, NULL);
        disk.stored[key] = err == CELLAR_OK ? disk.next : 0;
        (void)l2_tick(disk.kit.d, 0);
    }
    l2_kit_kill(&disk.kit);
    disk.dev.locked = false;
    BASE_SIM_CHECK(l2_kit_open(&disk.kit) == CELLAR_OK);
    base_sim_calm(false);
    sim_l2_bunch_spawn();
}

/* ---- blocks for packing ---- */

/* A packer has one owner at a time, for any time. */
static void sim_l2_packer(void *arg)
{
    l2 *d = disk.kit.d;
    const unsigned char mine = (unsigned char)(1 + *(const uint32_t *)arg);
    BASE_SIM_CHECK(l2_pack_ready(d));
    for (unsigned i = 0; i < 4; i++) {
        l2_box box;
        l2_packer_take(d, &box, 64);
        BASE_SIM_CHECK(box.block != NULL);
        box.block[0] = box.block[63] = mine;
        for (uint64_t n = base_sim_below(4); n > 0; n--) { base_sim_point("sim.packing"); }
        BASE_SIM_CHECK(box.block[0] == mine && box.block[63] == mine);
        l2_box_free(d, &box);
    }
}

static void sim_l2_packers_run(void)
{
    static const uint32_t who[4] = { 0, 1, 2, 3 };
    sim_l2_begin(0);
    disk.kit.d->packs = true; /* the blocks exist with or without liblz4 */
    const uint64_t used = base_load_acq(&disk.kit.account.used);
    for (unsigned i = 0; i < 4; i++) {
        base_sim_spawn("packer", sim_l2_packer, (void *)(uintptr_t)&who[i]);
    }
    base_sim_join_all();
    base_sim_calm(true);
    /* it compresses nothing */
    BASE_SIM_CHECK(base_load_acq(&disk.kit.d->packers) == L2_PACKERS / 2);
    uint32_t there = 0;
    for (uint32_t i = 0; i < L2_PACKERS; i++) {
        there += base_load_acq(&disk.kit.d->packer[i]) != NULL;
    }
    BASE_SIM_CHECK(there == L2_PACKERS / 2);
    BASE_SIM_CHECK(base_load_acq(&disk.kit.account.used) > used);
    base_sim_calm(false);
    sim_l2_end();
}

/* ---- lives that end in a close, and begin with its saved index ---- */

#define SIM_SNAP_PLACES 9u
#define SIM_SNAP_LIVES 3u
#define SIM_SNAP_OLD 24u  /* keys stored once, so that older segments hold entries, too */
#define SIM_SNAP_STEP 12u /* one of them for so many puts: at most two in a segment */

static struct {
    uint32_t had[SIM_L2_KEYS]; /* version served when the last close began; 0: a miss */
    bool had_old[SIM_SNAP_OLD];
    bool over_old[SIM_SNAP_OLD]; /* deleted; a kill may restore a key that was only reclaimed */
    uint32_t olds;             /* stored so far */
    uint32_t buckets, lines;   /* of its tables: after a resize the next open may need others */
    bool whole;                /* no call failed, the open slot is where its header says */
} snap;

static bool sim_snap_old(l2_kit *k, uint32_t i) { return sim_l2_look(k, 100 + i) == 1; }

/* Of the keys stored once, an open may have given up those of the oldest segment. */
static void sim_snap_look_old(l2_kit *k, bool saved)
{
    uint32_t kept = 0, lost = 0;
    for (uint32_t i = 0; i < SIM_SNAP_OLD; i++) {
        const bool got = sim_snap_old(k, i);
        BASE_SIM_CHECK(!got || !snap.over_old[i]);
        BASE_SIM_CHECK(!saved || got || !snap.had_old[i] || kept == 0);
        kept += got;
        lost += snap.had_old[i] && !got;
    }
    BASE_SIM_CHECK(!saved || lost <= 3);
}

/* Open after a close: the disk itself or the disk that a kill leaves. */
static void sim_snap_look(l2_kit *k)
{
    const l2_stats st = l2_kit_figures(k);
    l2_kit_warm(k);
    for (uint32_t key = 0; key < SIM_L2_KEYS; key++) {
        const uint32_t got = sim_l2_look(k, key);
        BASE_SIM_CHECK(got == 0 || got > disk.over[key]);
        BASE_SIM_CHECK(st.opened != L2_OPENED_SAVED || got == snap.had[key]);
    }
    sim_snap_look_old(k, st.opened == L2_OPENED_SAVED);
    const char *wrong = l2_audit(k->d);
    if (wrong != NULL) { base_sim_fail("audit: %s", wrong); }
}

static void sim_snap_killer(void *arg)
{
    (void)arg;
    for (unsigned n = 0; n < 2; n++) {
        for (uint64_t i = base_sim_below(60); i > 0; i--) { base_sim_point("sim.alive"); }
        base_sim_calm(true);
        base_sim_settle_all();
        l2_dev_clone(&disk.dev, &disk.crash, NULL);
        l2_kit_init(&disk.again, &disk.crash);
        disk.again.cfg.seg_count = SIM_SNAP_PLACES;
        BASE_SIM_CHECK(l2_kit_open(&disk.again) == CELLAR_OK);
        sim_snap_look(&disk.again);
        l2_kit_kill(&disk.again);
        base_sim_calm(false);
    }
}

static void sim_snap_closer(void *arg)
{
    (void)arg;
    l2_close(disk.kit.d);
    disk.kit.d = NULL;
}

static void sim_snap_opener(void *arg)
{
    (void)arg;
    BASE_SIM_CHECK(l2_kit_open(&disk.kit) == CELLAR_OK);
}

/* Fewer places and, mostly, as many as before: then segments have places that are not their
 * indexes. */
static void sim_snap_resizer(void *arg)
{
    (void)arg;
    const uint32_t was = disk.kit.d->places, to = 6 + (uint32_t)base_sim_below(5);
    for (unsigned n = 0; n < 1 + (base_sim_below(4) != 0); n++) {
        const cellar_err err = l2_resize_to(disk.kit.d, n == 0 ? to : was, n + 1);
        BASE_SIM_CHECK(err == CELLAR_OK || err == CELLAR_E_BUSY);
    }
}

/* Values of many sizes, so that segments and eras of the filter are reused. */
static void sim_snap_history(uint32_t puts)
{
    static const unsigned char value[900];
    (void)l2_tick(disk.kit.d, 0); /* an open that continues in a slot reclaims no place itself */
    for (uint32_t n = 0; n < puts; n++) {
        const uint32_t key = n % SIM_L2_KEYS;
        const l2_key id = sim_l2_key(&disk.kit, &key);
        disk.over[key] = disk.now[key];
        l2_invalidate(disk.kit.d, &id);
        disk.now[key] = ++disk.next;
        const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = disk.next };
        BASE_SIM_CHECK(l2_put(disk.kit.d, &id, value, 400 + n % 500, &m, NULL) == CELLAR_OK);
        (void)l2_tick(disk.kit.d, 0);
        if (n % SIM_SNAP_STEP != 5 || snap.olds == SIM_SNAP_OLD) { continue; }
        const uint32_t old = 100 + snap.olds++;
        const l2_key once = sim_l2_key(&disk.kit, &old);
        const l2_meta first = { .deadline_ms = BASE_NEVER_MS, .user_flags = 1 };
        BASE_SIM_CHECK(l2_put(disk.kit.d, &once, value, 300, &first, NULL) == CELLAR_OK);
    }
}

static void sim_snap_life(void)
{
    base_sim_spawn("writer-1", sim_l2_writer, (void *)(uintptr_t)&sim_l2_keys[0]);
    base_sim_spawn("writer-2", sim_l2_writer, (void *)(uintptr_t)&sim_l2_keys[1]);
    base_sim_spawn("demoter", sim_l2_demoter, NULL);
    base_sim_spawn("reader", sim_l2_reader, NULL);
    base_sim_spawn("worker", sim_l2_worker, NULL);
    if (base_sim_below(2) == 0) { base_sim_spawn("resizer", sim_snap_resizer, NULL); }
    if (base_sim_below(3) == 0) { base_sim_spawn("killer", sim_l2_killer, NULL); }
    base_sim_join_all();
}

/* A resize may have moved the open slot, and its header states this only once it is sealed: the
 * next open may use yet another slot. */
static bool sim_snap_placed(const l2 *d)
{
    const l2_slot *s = d->open_slot;
    l2_head h;
    return s == NULL || s->entries == 0 ||
           (l2_head_read(&d->form, s->base, &h) && h.segid == base_load_rlx(&d->seg[s->seg].place));
}

/* After this open everything that the close knew is present, from the saved index. */
static void sim_snap_opened(void)
{
    base_sim_calm(true);
    const l2_stats st = l2_kit_figures(&disk.kit);
    const bool same = disk.kit.d->index.buckets == snap.buckets &&
                      disk.kit.d->line_count == snap.lines;
    BASE_SIM_CHECK(!snap.whole || (st.opened == L2_OPENED_SAVED) == same);
    sim_snap_look(&disk.kit);
    base_sim_calm(false);
}

static void sim_l2_snap_run(void)
{
    base_sim_calm(true);
    memset(&disk, 0, sizeof disk);
    memset(&snap, 0, sizeof snap);
    l2_dev_init(&disk.dev);
    l2_dev_init(&disk.crash);
    disk.dev.flat = disk.crash.flat = true;
    l2_kit_init(&disk.kit, &disk.dev);
    disk.kit.cfg.seg_count = SIM_SNAP_PLACES;
    base_sim_advance_ms(10000);
    BASE_SIM_CHECK(l2_kit_open(&disk.kit) == CELLAR_OK);
    sim_snap_history(20 + (uint32_t)base_sim_below(260));
    base_sim_calm(false);
    for (unsigned life = 0; life < SIM_SNAP_LIVES; life++) {
        disk.dev.fail_site = DEV_PWRITE; /* a segment moves to another place */
        disk.dev.fail_errno = EIO;
        disk.dev.fail_at = base_sim_below(2) == 0 ? 1 + base_sim_below(4) : 0;
        sim_snap_history(30 + (uint32_t)base_sim_below(120));
        disk.dev.fail_at = 0;
        for (uint32_t n = 0; n < 6; n++) { /* a change of keys that only older segments hold */
            const uint32_t i = (uint32_t)base_sim_below(SIM_SNAP_OLD), old = 100 + i;
            const l2_key once = sim_l2_key(&disk.kit, &old);
            l2_invalidate(disk.kit.d, &once);
            snap.over_old[i] = i < snap.olds;
        }
        sim_snap_life();
        base_sim_calm(true);
        for (uint32_t key = 0; key < SIM_L2_KEYS; key++) {
            snap.had[key] = sim_l2_look(&disk.kit, key);
        }
        for (uint32_t i = 0; i < SIM_SNAP_OLD; i++) {
            snap.had_old[i] = sim_snap_old(&disk.kit, i);
        }
        disk.dev.fail_site = -1; /* sometimes any call of the close fails, once */
        disk.dev.fail_errno = EIO;
        disk.dev.fail_at = base_sim_below(3) == 0 ? 1 + base_sim_below(80) : 0;
        snap.whole = disk.dev.fail_at == 0 && sim_snap_placed(disk.kit.d);
        snap.buckets = disk.kit.d->index.buckets;
        snap.lines = disk.kit.d->line_count;
        base_sim_calm(false);
        base_sim_spawn("closer", sim_snap_closer, NULL);
        base_sim_spawn("killer", sim_snap_killer, NULL);
        base_sim_join_all();
        disk.dev.fail_at = 0;
        base_sim_spawn("opener", sim_snap_opener, NULL);
        base_sim_spawn("killer", sim_snap_killer, NULL);
        base_sim_join_all();
        sim_snap_opened();
    }
    sim_snap_life();
    sim_l2_end();
}

/* ---- tags and patterns, through the whole cache ---- */

#define SIM_ENDS_KEYS 3u

static struct {
    base_vfs vfs;
    l2_config disk;
    cellar_l2_cipher cipher;
    cellar *c;
    uint32_t generation;
    uint32_t now[SIM_ENDS_KEYS];  /* version set last by a call that has returned; 0: none */
    uint32_t over[SIM_ENDS_KEYS]; /* dead versions up to it, acknowledged */
    uint32_t seen[SIM_ENDS_KEYS]; /* newest version that a completed read has returned */
    uint32_t next;
    bool calm;
} ends;

static const char *const sim_ends_key[SIM_ENDS_KEYS] = { "a1", "a2", "b1" };

/* Wait until no other fiber can run, or for some steps of others. */
static void sim_ends_linger(const char *point)
{
    const uint64_t how = base_sim_below(4);
    if (how == 0) { base_sim_hold(base_sim_below(60)); }
    for (uint64_t i = how == 1 ? base_sim_below(30) : 1; i > 0; i--) { base_sim_point(point); }
}

/* Read just before a walk by pattern begins; return inside that walk. */
static void sim_ends_await_walk(void)
{
    const cache_store *s = ends.c->store;
    const uint64_t walks = base_load_acq(&s->glob_epoch);
    for (unsigned i = 0; i < 400 && base_load_acq(&s->glob_epoch) == walks; i++) {
        base_sim_point("sim.read");
    }
}

/* Inside a put of the disk, before it asks for the stamp. */
static int sim_ends_seal(const unsigned char *nonce, const void *aad, size_t aad_len,
                         const void *in, size_t in_len, void *out, void *ctx)
{
    (void)nonce;
    (void)aad;
    (void)aad_len;
    (void)ctx;
    if (!ends.calm) { sim_ends_linger("sim.put"); }
    memcpy(out, in, in_len);
    return 0;
}

/* Inside a get of the disk, which has read the record. */
static int sim_ends_unseal(const unsigned char *nonce, const void *aad, size_t aad_len,
                           const void *in, size_t in_len, void *out, void *ctx)
{
    (void)nonce;
    (void)aad;
    (void)aad_len;
    (void)ctx;
    if (!ends.calm) {
        if (base_sim_below(4) == 0) { sim_ends_await_walk(); }
        else { sim_ends_linger("sim.read"); }
    }
    memcpy(out, in, in_len);
    return 0;
}

static void sim_ends_calm(bool on)
{
    ends.calm = on;
    base_sim_calm(on);
}

static bool sim_ends_ok(uint32_t key, uint32_t over, const void *value, size_t len)
{
    uint32_t version = 0;
    if (len != sizeof version) { return false; }
    memcpy(&version, value, sizeof version);
    return version > over && version <= ends.next && key < SIM_ENDS_KEYS;
}

static void sim_ends_over(uint32_t key, uint32_t version)
{
    if (version > ends.over[key]) { ends.over[key] = version; }
}

/* Each key has one setter, so that no read returns an older version than a read before it. */
static void sim_ends_look(uint32_t key)
{
    const uint32_t over = ends.over[key], seen = ends.seen[key];
    uint32_t got = 0;
    size_t len = 0;
    const cellar_err err = base_sim_below(6) == 0
        ? peek(ends.c, sim_ends_key[key], 2, &got, sizeof got, &len)
        : cellar_get(ends.c, sim_ends_key[key], 2, &got, sizeof got, &len);
    BASE_SIM_CHECK(err == CELLAR_MISS || (err == CELLAR_OK && sim_ends_ok(key, over, &got, len)));
    if (err != CELLAR_OK) { return; }
    BASE_SIM_CHECK(got >= seen);
    if (got > ends.seen[key]) { ends.seen[key] = got; }
}

/* Its own keys: 0 and 2, or 1. Memory holds one entry: the others are written to disk. */
static void sim_ends_setter(void *arg)
{
    const uint32_t first = *(const uint32_t *)arg;
    for (unsigned i = 0; i < 3; i++) {
        const uint32_t key = first == 1 ? 1 : 2 * (uint32_t)base_sim_below(2);
        const uint32_t version = ++ends.next, was = ends.now[key];
        const cellar_bytes tag = { sim_ends_key[key], 1 };
        cellar_set_opts o = { .struct_size = sizeof o, .tags = &tag, .tag_count = 1 };
        if (base_sim_below(2) == 0) { base_sim_hold(base_sim_below(250)); } /* pending meanwhile */
        BASE_SIM_CHECK(cellar_set(ends.c, sim_ends_key[key], 2, &version, sizeof version, &o) ==
                       CELLAR_OK);
        ends.generation = base_load_acq(&ends.c->generation);
        ends.now[key] = version;
        sim_ends_over(key, was);
        sim_ends_look(key); /* an entry without use is not written to the disk */
    }
}

static void sim_ends_reader(void *arg)
{
    (void)arg;
    for (uint64_t i = base_sim_below(2) == 0 ? 4 : 12; i > 0; i--) {
        sim_ends_look((uint32_t)base_sim_below(SIM_ENDS_KEYS));
    }
}

/* Delete all entries with 'a', by their tag or by a pattern. */
static void sim_ends_ender(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 2; i++) {
        const uint32_t was[2] = { ends.now[0], ends.now[1] };
        const bool by_tag = base_sim_below(3) == 0;
        if (by_tag) {
            BASE_SIM_CHECK(cellar_delete_by_tag(ends.c, "a", 1, CELLAR_TAG_HARD) == CELLAR_OK);
        } else {
            if (base_sim_below(2) == 0) { base_sim_hold(base_sim_below(500)); }
            BASE_SIM_CHECK(cellar_delete_by_pattern(ends.c, "a*", 2, NULL) == CELLAR_OK);
        }
        for (uint32_t key = 0; key < 2; key++) { sim_ends_over(key, was[key]); }
        for (uint32_t key = 0; key < 2; key++) { sim_ends_look(key); }
    }
}

/* Open a copy of the disk as a kill at this moment leaves it. */
static void sim_ends_copy(void)
{
    base_sim_settle_all();
    l2_dev_clone(&disk.dev, &disk.crash, NULL);
    l2_kit_init(&disk.again, &disk.crash);
    disk.again.cfg.seg_count = 6;
    disk.again.cfg.bytes = CELLAR_L2_BYTES_MIN;
    disk.again.cfg.crypt = &ends.cipher;
    BASE_SIM_CHECK(l2_kit_open(&disk.again) == CELLAR_OK);
    l2_kit_warm(&disk.again);
}

static void sim_ends_crash(void)
{
    sim_ends_calm(true);
    sim_ends_copy();
    for (uint32_t key = 0; key < SIM_ENDS_KEYS && ends.generation != 0; key++) {
        uint32_t got = 0;
        size_t len = 0;
        l2_meta m;
        const l2_key id = l2_kit_key(&disk.again, sim_ends_key[key], 2, ends.generation);
        const cellar_err err = l2_get(disk.again.d, &id, &got, sizeof got, &len, &m);
        BASE_SIM_CHECK(err == CELLAR_MISS || sim_ends_ok(key, ends.over[key], &got, len));
    }
    l2_kit_kill(&disk.again);
    sim_ends_calm(false);
}

static void sim_ends_killer(void *arg)
{
    (void)arg;
    for (uint64_t i = base_sim_below(100); i > 0; i--) { base_sim_point("sim.alive"); }
    sim_ends_crash();
}

/* Open a store on the disk made of memory, with one entry in memory. */
static void sim_ends_open(cellar_l2_write write)
{
    memset(&disk, 0, sizeof disk);
    memset(&ends, 0, sizeof ends);
    l2_dev_init(&disk.dev);
    l2_dev_init(&disk.crash);
    ends.vfs = l2_dev_vfs(&disk.dev);
    ends.disk = (l2_config){ .vfs = &ends.vfs, .seg_bytes = 16384, .seg_count = 6,
                             .stage_count = 2 };
    ends.cipher = cellar_l2_cipher_default();
    ends.cipher.seal = sim_ends_seal;
    ends.cipher.open = sim_ends_unseal;
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 1u << 20, .config.max_entries = 1,
                     .config.eviction = CELLAR_EVICT_FIFO, .config.l2_path = "d",
                     .config.l2_bytes = CELLAR_L2_BYTES_MIN, .l2.write = write,
                     .l2.cipher = &ends.cipher, .host.no_threads = 1, .tuning.stripes = 1,
                     .tuning.hash_key = l2_kit_secret };
    const cellar_config linked = settings_config(&cfg);
    BASE_SIM_CHECK(cache_open(&linked, &ends.disk, 0, &ends.c) == CELLAR_OK);
    disk.kit.d = ends.c->store->disk; /* of sim_l2_worker */
}

static void sim_ends_close(void)
{
    BASE_SIM_CHECK(cellar_integrity_check(ends.c) == CELLAR_OK);
    const char *wrong = l2_audit(disk.kit.d);
    if (wrong != NULL) { base_sim_fail("audit: %s", wrong); }
    BASE_SIM_CHECK(cellar_close(ends.c) == CELLAR_OK);
    l2_dev_fini(&disk.dev);
    l2_dev_fini(&disk.crash);
}

static void sim_l2_ends_run(void)
{
    static const uint32_t info[2] = { 0, 1 };
    base_sim_calm(true);
    sim_ends_open(CELLAR_L2_WRITE_ON_EVICTION);
    base_sim_calm(false);
    base_sim_spawn("setter-1", sim_ends_setter, (void *)(uintptr_t)&info[0]);
    if (base_sim_below(2) == 0) {
        base_sim_spawn("setter-2", sim_ends_setter, (void *)(uintptr_t)&info[1]);
    }
    base_sim_spawn("reader", sim_ends_reader, NULL);
    base_sim_spawn("ender", sim_ends_ender, NULL);
    if (base_sim_below(3) == 0) { base_sim_spawn("worker", sim_l2_worker, NULL); }
    if (base_sim_below(3) == 0) { base_sim_spawn("killer", sim_ends_killer, NULL); }
    base_sim_join_all();
    if (base_sim_below(3) == 0) { sim_ends_crash(); }
    sim_ends_reader(NULL);
    sim_ends_calm(true);
    sim_ends_close();
    base_sim_calm(false);
}

/* ---- a namespace that is dropped, cleared and opened meanwhile ---- */

static struct {
    uint32_t set;  /* bits of versions: the call that set it has returned */
    uint32_t over; /* versions that are dead, acknowledged */
    uint32_t next;
} names;

static bool sim_names_live(cellar_err err, uint32_t version, uint32_t over)
{
    return err == CELLAR_OK && version != 0 && version <= names.next && (over >> version & 1) == 0;
}

static void sim_names_look(cellar *v)
{
    const uint32_t over = names.over;
    uint32_t got = 0;
    size_t len = 0;
    const cellar_err err = cellar_get(v, "k", 1, &got, sizeof got, &len);
    BASE_SIM_CHECK(err == CELLAR_MISS || err == CELLAR_E_CLOSED ||
                   sim_names_live(err, got, over));
}

/* Open the namespace; set, read and perhaps clear it. */
static void sim_names_user(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 2; i++) {
        cellar *v = NULL;
        BASE_SIM_CHECK(cellar_namespace_open(ends.c, "v", NULL, &v) == CELLAR_OK);
        sim_names_look(v);
        const uint32_t version = ++names.next;
        if (cellar_set(v, "k", 1, &version, sizeof version, NULL) == CELLAR_OK) {
            names.set |= 1u << version;
        }
        sim_names_look(v);
        const uint32_t was = names.set;
        if (base_sim_below(2) == 0 && cellar_clear(v) == CELLAR_OK) { names.over |= was; }
        sim_names_look(v);
        BASE_SIM_CHECK(cellar_namespace_close(v) == CELLAR_OK);
    }
}

static void sim_names_dropper(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 2; i++) {
        const uint32_t was = names.set;
        if (base_sim_below(2) == 0) { base_sim_hold(base_sim_below(150)); } /* half dropped */
        if (cellar_namespace_drop(ends.c, "v") == CELLAR_OK) { names.over |= was; }
    }
}

/* A process that is killed now finds no dead value under the name. */
static void sim_names_crash(void)
{
    uint32_t got = 0;
    size_t len = 0;
    l2_namespace row;
    l2_meta m;
    sim_ends_calm(true);
    sim_ends_copy();
    if (l2_namespace_find(disk.again.d, "v", 1, &row)) {
        const l2_key id = l2_kit_key(&disk.again, "k", 1, (uint32_t)row.generation);
        const cellar_err err = l2_get(disk.again.d, &id, &got, sizeof got, &len, &m);
        BASE_SIM_CHECK(err == CELLAR_MISS || sim_names_live(err, got, names.over));
    }
    l2_kit_kill(&disk.again);
    sim_ends_calm(false);
}

static void sim_names_killer(void *arg)
{
    (void)arg;
    for (uint64_t i = base_sim_below(100); i > 0; i--) { base_sim_point("sim.alive"); }
    sim_names_crash();
}

static void sim_l2_drop_run(void)
{
    base_sim_calm(true);
    sim_ends_open(CELLAR_L2_WRITE_ON_SET);
    memset(&names, 0, sizeof names);
    base_sim_calm(false);
    base_sim_spawn("user-1", sim_names_user, NULL);
    base_sim_spawn("user-2", sim_names_user, NULL);
    base_sim_spawn("dropper", sim_names_dropper, NULL);
    if (base_sim_below(3) == 0) { base_sim_spawn("killer", sim_names_killer, NULL); }
    base_sim_join_all();
    sim_names_crash();
    sim_ends_calm(true);
    cellar *v = NULL;
    l2_namespace row;
    BASE_SIM_CHECK(cellar_namespace_open(ends.c, "v", NULL, &v) == CELLAR_OK);
    sim_names_look(v);
    BASE_SIM_CHECK(l2_namespace_find(disk.kit.d, "v", 1, &row) &&
                   row.generation == base_load_acq(&v->generation));
    BASE_SIM_CHECK(cellar_namespace_close(v) == CELLAR_OK);
    sim_ends_close();
    base_sim_calm(false);
}

/* ---- the same with one key and a flag as its memory ---- */

static struct { _Atomic uint64_t walks; uint64_t epoch; bool has; } meet;

static bool sim_meet_is(void *ctx, uint64_t hash, uint64_t stamp)
{
    (void)ctx;
    (void)hash;
    return base_load_acq(&meet.walks) == stamp;
}

static void sim_meet_demote(void *arg)
{
    const uint32_t key = 0;
    const uint64_t tag = 5;
    (void)arg;
    base_sim_calm(true);
    const bool had = meet.has;
    const uint64_t walks = base_load_acq(&meet.walks);
    meet.has = false;
    base_sim_calm(false);
    if (!had) { return; }
    base_sim_point("sim.captured");
    const l2_key id = sim_l2_key(&disk.kit, &key);
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = 1, .tag_count = 1,
                        .tag_born = meet.epoch, .tag_fps = &tag };
    const l2_current current = { sim_meet_is, NULL, walks };
    (void)l2_put(disk.kit.d, &id, "v", 1, &m, &current);
}

static void sim_meet_backfill(void *arg)
{
    (void)arg;
    const uint64_t walks = base_load_acq(&meet.walks);
    const bool found = sim_l2_look(&disk.kit, 0) != 0;
    base_sim_point("sim.found");
    base_sim_calm(true);
    if (found && !meet.has && base_load_acq(&meet.walks) == walks) { meet.has = true; }
    base_sim_calm(false);
}

static void sim_meet_end(void *arg)
{
    uint64_t walk = 0;
    if (*(const bool *)arg) {
        l2_tag_invalidate(disk.kit.d, 5, meet.epoch + 1, base_sim_below(2) == 0);
    } else {
        BASE_SIM_CHECK(l2_glob_begin(disk.kit.d, SIM_L2_GENERATION, "?*", 2, &walk) == CELLAR_OK);
        (void)base_add_sc(&meet.walks, (uint64_t)1);
        base_sim_point("sim.walk");
        meet.has = false;
        base_sim_point("sim.walked");
        (void)base_add_sc(&meet.walks, (uint64_t)1);
        l2_glob_end(disk.kit.d, walk);
    }
    BASE_SIM_CHECK(sim_l2_look(&disk.kit, 0) == 0);
}

static void sim_meet_no_tag(void *ctx, uint64_t fp, uint64_t hard, uint64_t soft)
{
    (void)ctx;
    (void)fp;
    (void)hard;
    (void)soft;
}

static void sim_l2_meet_run(void)
{
    static bool by_tag;
    uint64_t floor;
    memset(&meet, 0, sizeof meet);
    sim_l2_begin(0);
    by_tag = base_sim_below(2) == 0;
    base_sim_calm(true);
    meet.epoch = l2_tags_known(disk.kit.d, &floor, sim_meet_no_tag, NULL);
    const uint32_t key = 0;
    const l2_key id = sim_l2_key(&disk.kit, &key);
    l2_invalidate(disk.kit.d, &id);
    meet.has = true;
    base_sim_calm(false);
    base_sim_spawn("demote-1", sim_meet_demote, NULL);
    base_sim_spawn("demote-2", sim_meet_demote, NULL);
    base_sim_spawn("backfill", sim_meet_backfill, NULL);
    base_sim_spawn("end", sim_meet_end, &by_tag);
    base_sim_join_all();
    base_sim_calm(true);
    BASE_SIM_CHECK(by_tag || !meet.has);
    BASE_SIM_CHECK(sim_l2_look(&disk.kit, 0) == 0);
    l2_kit_kill(&disk.kit);
    disk.dev.locked = false;
    BASE_SIM_CHECK(l2_kit_open(&disk.kit) == CELLAR_OK);
    BASE_SIM_CHECK(sim_l2_look(&disk.kit, 0) == 0);
    l2_kit_kill(&disk.kit);
    l2_dev_fini(&disk.dev);
    l2_dev_fini(&disk.crash);
    base_sim_calm(false);
}

const base_sim_scenario sim_l2_tombstone_locks = {
    "l2_tombstone_locks", "no dead version is served, also after a kill",
    sim_l2_tombstone_locks_run, 0
};
const base_sim_scenario sim_l2_bunch = {
    "l2_bunch", "keys that share a word of the index are all found", sim_l2_bunch_run, 0
};
const base_sim_scenario sim_l2_bunch_warm = {
    "l2_bunch_warm", "the same while their words are read back", sim_l2_bunch_warm_run, 0
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
const base_sim_scenario sim_l2_meet = {
    "l2_meet", "an entry that goes down and comes back meets the end of its tag or a pattern",
    sim_l2_meet_run, 0
};
const base_sim_scenario sim_l2_drop = {
    "l2_drop", "an opened namespace has nothing from before a drop or a clear, also after a kill",
    sim_l2_drop_run, 0
};

const base_sim_scenario sim_l2_ends = {
    "l2_ends", "reads never go back; what a tag or a pattern ended stays so, also after a kill",
    sim_l2_ends_run, 0
};
const base_sim_scenario sim_l2_packers = {
    "l2_packers", "a block for packing belongs to one thread at a time", sim_l2_packers_run, 0
};
const base_sim_scenario sim_l2_snap = {
    "l2_snap", "an index that a close saved brings back nothing that was over",
    sim_l2_snap_run, 0
};
