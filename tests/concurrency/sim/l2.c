/* SPDX-License-Identifier: MIT
 *
 * Aim:    The stamps, shard locks, roles and stall marker of the disk tier. After a change has
 *         returned, no read returns a value that the change made dead, and no process that opens
 *         the disk after a kill at that moment does. This holds also while segments are passed,
 *         and when the disk hangs meanwhile and returns.
 * Method: The shipped tier on a disk made of memory. Each key has one writer, and one that only
 *         deletes. Other fibers store captured values late, read, work, let a write hang; one opens
 *         a copy of the disk as a kill at this moment leaves it. `l2_pass`: places are used again,
 *         and live records move: a kill loses none that was durable. `l2_commit`: the same with
 *         power cuts. `l2_ends`: the whole cache above such a disk; tags and patterns invalidate
 *         entries while these are written, read back, and the process is killed. No read returns an
 *         older version than a completed read. `l2_drop`: the same for a namespace that is dropped,
 *         cleared and opened. `l2_clear`: the process is killed when a change beside a clear, a
 *         drop or an open has returned. `l2_kept`: changes that depend on an entry, in a memory of
 *         one entry. */
#include "store/store.h"
#include "tests/concurrency/sim/scenarios.h"

#include "cache/types.h"
#include "l2/codec.h"
#include "l2/l2.h"
#include "l2/log.h"
#include "l2/progress.h"
#include "l2/types.h"
#include "tests/support/l2_dev.h"
#include "tests/support/settings.h"

#define SIM_L2_KEYS 2u
#define SIM_L2_OLD 6u        /* keys stored once, so that there are records to move */
#define SIM_L2_GENERATION 3u
#define SIM_L2_SEGMENT 32768u
#define SIM_L2_LONG 4000u    /* bytes of a value that fills segments */

typedef struct sim_l2 { /* a store of 8 segments */
    base_account account;
    base_clock clock;
    base_log log;
    base_vfs vfs;
    l2_config cfg;
    l2 *d;
    int64_t now_ms;
} sim_l2;

static const unsigned char sim_l2_secret[32] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 };

static int64_t sim_l2_now(void *ctx) { return ((sim_l2 *)ctx)->now_ms; }

static int64_t sim_l2_wall(void *ctx) { (void)ctx; return INT64_C(1700000000000); }

static void sim_l2_init(sim_l2 *k, l2_dev *dev)
{
    memset(k, 0, sizeof *k);
    base_account_init(&k->account, UINT64_C(1) << 40, NULL);
    k->now_ms = 1000000;
    k->clock = (base_clock){ sim_l2_now, sim_l2_now, k };
    base_log_init(&k->log, &k->clock, NULL, NULL, BASE_LOG_OFF);
    k->vfs = l2_dev_vfs(dev);
    k->cfg = (l2_config){ .account = &k->account, .log = &k->log, .clock = &k->clock,
        .vfs = &k->vfs, .path = "d", .bytes = 8 * SIM_L2_SEGMENT, .memory_bytes = 1 << 20,
        .seg_bytes = SIM_L2_SEGMENT, .seg_count = 8, .secret = sim_l2_secret, .no_thread = true,
        .move_pct = 50, .wall_ms = sim_l2_wall, .off_damaged_pct = 100 };
}

static void sim_l2_open(sim_l2 *k)
{
    int e = 0;
    ((l2_dev *)k->vfs.ctx)->locked = false;
    BASE_SIM_CHECK(l2_open(&k->cfg, &k->d, &e) == CELLAR_OK);
}

static struct {
    l2_dev dev, crash;
    sim_l2 kit, again;
    _Atomic uint64_t stamp[SIM_L2_KEYS]; /* as in the cache, one for each key */
    uint32_t now[SIM_L2_KEYS];  /* current version, 0: none; moves with the stamp */
    uint32_t over[SIM_L2_KEYS]; /* dead versions up to it, acknowledged */
    uint32_t next;
    uint32_t stored[SIM_L2_KEYS]; /* durable version that was acknowledged; 0: none */
    uint32_t pending[SIM_L2_KEYS]; /* changes that have not written their tombstone yet */
    bool old[SIM_L2_OLD];   /* key stored once: its delete was not called */
    bool old_over[SIM_L2_OLD]; /* its delete has returned */
    bool passes;  /* places are used again */
    bool drops;   /* live records leave the index: a miss is right */
    bool commits; /* changes are acknowledged when committed, and crashes are power cuts */
} disk;

static l2_key sim_l2_key_in(const sim_l2 *k, const void *bytes, size_t len, uint32_t generation)
{
    return (l2_key){ bytes, (uint32_t)len, generation,
                     base_hash(l2_hash_key(k->d), generation, bytes, len) };
}

static l2_key sim_l2_key(const sim_l2 *k, const uint32_t *key)
{
    return sim_l2_key_in(k, key, sizeof *key, SIM_L2_GENERATION);
}

static uint32_t sim_l2_look(const sim_l2 *k, uint32_t key)
{
    unsigned char buf[SIM_L2_LONG];
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

/* Change a key as the cache does: the step of L1 under its bucket, then the tombstone. */
static void sim_l2_change(uint32_t key, bool deletes)
{
    base_sim_calm(true);
    const uint32_t ended = disk.now[key];
    disk.pending[key]++;
    (void)base_add_sc(&disk.stamp[key], (uint64_t)1);
    disk.now[key] = deletes ? 0 : ++disk.next;
    disk.stored[key] = 0;
    base_sim_calm(false);
    const l2_key id = sim_l2_key(&disk.kit, &key);
    l2_invalidate(disk.kit.d, &id);
    disk.pending[key]--;
    const bool ok = !disk.commits || l2_commit(disk.kit.d) == CELLAR_OK;
    if (ended > disk.over[key] && ok) { disk.over[key] = ended; }
}

static void sim_l2_writer(void *arg)
{
    const uint32_t key = *(const uint32_t *)arg;
    for (unsigned i = 0; i < 3; i++) { sim_l2_change(key, base_sim_below(4) == 0); }
}

static void sim_l2_crash(void);

/* Delete keys that others change, and keys that were stored once. The process may die then. */
SIM_FIBER(sim_l2_deleter)
{
    for (unsigned i = 0; i < 3; i++) {
        const uint32_t key = (uint32_t)base_sim_below(SIM_L2_KEYS + SIM_L2_OLD);
        if (key < SIM_L2_KEYS) {
            sim_l2_change(key, true);
            continue;
        }
        const uint32_t old = 100 + key - SIM_L2_KEYS;
        const l2_key id = sim_l2_key(&disk.kit, &old);
        disk.old[old - 100] = false;
        l2_invalidate(disk.kit.d, &id);
        if (!disk.commits || l2_commit(disk.kit.d) == CELLAR_OK) { disk.old_over[old - 100] = true; }
        if (base_sim_below(2) == 0) { sim_l2_crash(); }
    }
}

SIM_FIBER(sim_l2_demoter)
{
    for (unsigned i = 0; i < 4; i++) {
        const uint32_t key = (uint32_t)base_sim_below(SIM_L2_KEYS);
        unsigned char value[40];
        base_sim_calm(true);
        const uint64_t stamp = base_load_acq(&disk.stamp[key]);
        const uint32_t version = disk.now[key];
        const bool kept = disk.pending[key] == 0;
        base_sim_calm(false);
        if (version == 0) { continue; }
        if (base_sim_below(3) == 0) { base_sim_hold(base_sim_below(40)); }
        memset(value, (int)version, sizeof value);
        const l2_key id = sim_l2_key(&disk.kit, &key);
        const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = version,
                            .durable = base_sim_below(2) != 0 };
        const l2_current current = { sim_l2_is, &disk.stamp[key], stamp };
        cellar_err err = l2_put(disk.kit.d, &id, value, sizeof value, &m, &current);
        if (disk.commits && err == CELLAR_OK) { err = l2_commit(disk.kit.d); }
        const bool holds = kept && m.durable && disk.now[key] == version && disk.pending[key] == 0;
        if (err == CELLAR_OK && holds) { disk.stored[key] = version; }
    }
}

/* Put values of no interest: segments become full. */
static void sim_l2_filler(void *arg)
{
    static const unsigned char value[SIM_L2_LONG];
    for (uint32_t i = 0; i < *(const uint32_t *)arg; i++) {
        const uint32_t key = 200 + i % 3;
        const l2_key id = sim_l2_key(&disk.kit, &key);
        const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = 1, .durable = true };
        if (l2_put(disk.kit.d, &id, value, sizeof value, &m, NULL) == CELLAR_DROPPED) {
            (void)l2_tick(disk.kit.d, 0);
        }
    }
}

SIM_FIBER(sim_l2_reader)
{
    for (unsigned i = 0; i < 6; i++) {
        const uint32_t key = (uint32_t)base_sim_below(SIM_L2_KEYS), over = disk.over[key];
        const uint32_t kept = disk.stored[key];
        const uint32_t got = sim_l2_look(&disk.kit, key);
        BASE_SIM_CHECK(got == 0 || got > over);
        BASE_SIM_CHECK(got == kept || kept == 0 || kept != disk.stored[key] || disk.drops);
    }
}

SIM_FIBER(sim_l2_worker)
{
    for (unsigned i = 0; i < 6; i++) {
        (void)l2_tick(disk.kit.d, 0);
        disk.kit.now_ms += 200;
        base_sim_point("sim.worked");
    }
}

/* A write that hangs. */
SIM_FIBER(sim_l2_freezer)
{
    l2 *d = disk.kit.d;
    for (unsigned n = 0; n < 2; n++) {
        sync_role_take(&d->writing);
        base_store_rlx(&d->write_ns, base_now_ns());
        base_sim_advance_ms(base_sim_below(2) == 0 ? 0 : 1000);
        for (uint64_t i = base_sim_below(60); i > 0; i--) { base_sim_point("sim.frozen"); }
        base_store_rlx(&d->write_ns, (uint64_t)0);
        l2_writing_drop(d);
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
    const bool empty = disk.dev.bell; /* changes rely on the stall marker */
    l2_dev_clone(&disk.dev, &disk.crash, disk.commits ? &r : NULL);
    sim_l2_init(&disk.again, &disk.crash);
    disk.again.cfg.level = disk.kit.cfg.level;
    sim_l2_open(&disk.again);
    for (uint32_t key = 0; key < SIM_L2_KEYS; key++) {
        const uint32_t got = sim_l2_look(&disk.again, key);
        const uint32_t kept = disk.stored[key];
        BASE_SIM_CHECK(got == 0 || got > disk.over[key]);
        BASE_SIM_CHECK(got == kept || kept == 0 || kept != disk.now[key] || empty ||
                       disk.drops);
    }
    for (uint32_t i = 0; i < SIM_L2_OLD; i++) {
        const uint32_t got = sim_l2_look(&disk.again, 100 + i);
        BASE_SIM_CHECK(got == 0 || !disk.old_over[i]);
        BASE_SIM_CHECK(got != 0 || !disk.old[i] || empty);
    }
    l2_discard(disk.again.d);
    base_sim_calm(false);
}

SIM_FIBER(sim_l2_killer)
{
    for (unsigned n = 0; n < 3; n++) {
        for (uint64_t i = base_sim_below(40); i > 0; i--) { base_sim_point("sim.alive"); }
        sim_l2_crash();
    }
}

/* Store the keys that are stored once, and fill the log until places are used again. */
static void sim_l2_history(void)
{
    const uint32_t segments = 6 * (SIM_L2_SEGMENT / SIM_L2_LONG), some = 1;
    for (uint32_t i = 0; i < SIM_L2_OLD; i++) {
        const uint32_t old = 100 + i;
        const l2_key id = sim_l2_key(&disk.kit, &old);
        const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = 1, .durable = true };
        BASE_SIM_CHECK(l2_put(disk.kit.d, &id, "old", 3, &m, NULL) == CELLAR_OK);
        disk.old[i] = true;
        sim_l2_filler((void *)(uintptr_t)&some);
    }
    const uint32_t count = segments - 8 - (uint32_t)base_sim_below(16);
    sim_l2_filler((void *)(uintptr_t)&count);
}

/* Keys from `first` on are stored; the tier has nothing of the others. */
static void sim_l2_begin_at(uint32_t first, l2_level level, bool passes)
{
    static const unsigned char value[40];
    base_sim_calm(true);
    memset(&disk, 0, sizeof disk);
    l2_dev_init(&disk.dev);
    l2_dev_init(&disk.crash);
    sim_l2_init(&disk.kit, &disk.dev);
    disk.commits = level != L2_DROP;
    disk.passes = passes;
    disk.dev.flat = disk.crash.flat = !disk.commits;
    disk.kit.cfg.level = level;
    disk.kit.cfg.sync_ms = 100000;
    base_sim_advance_ms(10000);
    sim_l2_open(&disk.kit);
    const l2_namespace all = { .id = 1, .generation = SIM_L2_GENERATION };
    BASE_SIM_CHECK(l2_namespace_set(disk.kit.d, &all, "all", 3, NULL) == CELLAR_OK);
    if (passes) { sim_l2_history(); }
    for (uint32_t key = 0; key < SIM_L2_KEYS; key++) {
        const l2_key id = sim_l2_key(&disk.kit, &key);
        disk.now[key] = ++disk.next;
        if (key < first) { continue; }
        const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = disk.next,
                            .durable = true };
        BASE_SIM_CHECK(l2_put(disk.kit.d, &id, value, sizeof value, &m, NULL) == CELLAR_OK);
        disk.stored[key] = disk.next;
    }
    if (disk.commits) { BASE_SIM_CHECK(l2_commit(disk.kit.d) == CELLAR_OK); }
    base_sim_calm(false);
}

static void sim_l2_begin(uint32_t first) { sim_l2_begin_at(first, L2_DROP, false); }

static void sim_l2_over(void)
{
    l2_discard(disk.kit.d);
    l2_dev_fini(&disk.dev);
    l2_dev_fini(&disk.crash);
}

static void sim_l2_end(void)
{
    base_sim_calm(true);
    for (int i = 0; i < 3; i++) { (void)l2_tick(disk.kit.d, 0); }
    BASE_SIM_CHECK(!disk.dev.bell); /* no thread relies on it, so the next open must not find it */
    for (uint32_t key = 0; key < SIM_L2_KEYS; key++) {
        const uint32_t got = sim_l2_look(&disk.kit, key);
        BASE_SIM_CHECK(got == 0 || got == disk.now[key]);
    }
    base_sim_calm(false);
    sim_l2_crash();
    base_sim_calm(true);
    sim_l2_over();
    base_sim_calm(false);
}

static const uint32_t sim_l2_keys[SIM_L2_KEYS] = { 0, 1 };
static const uint32_t sim_l2_more = 24; /* puts of three segments */

static void sim_l2_spawn(void)
{
    base_sim_spawn("writer-1", sim_l2_writer, (void *)(uintptr_t)&sim_l2_keys[0]);
    base_sim_spawn("writer-2", sim_l2_writer, (void *)(uintptr_t)&sim_l2_keys[1]);
    base_sim_spawn("deleter", sim_l2_deleter, NULL);
    base_sim_spawn("demoter", sim_l2_demoter, NULL);
    base_sim_spawn("worker", sim_l2_worker, NULL);
    base_sim_spawn("killer", sim_l2_killer, NULL);
}

SIM_SCENARIO(l2_tombstone_locks, "no dead version is served, also after a kill")
{
    sim_l2_begin(1);
    sim_l2_spawn();
    base_sim_spawn("reader", sim_l2_reader, NULL);
    base_sim_join_all();
    sim_l2_end();
}

SIM_SCENARIO(l2_frozen, "the same while the disk stands still")
{
    sim_l2_begin(0);
    sim_l2_spawn();
    base_sim_spawn("freezer", sim_l2_freezer, NULL);
    base_sim_join_all();
    sim_l2_end();
}

/* Changes that wait for one another's syncs, while places are used again. */
SIM_SCENARIO(l2_commit, "what was committed outlives a power cut")
{
    const l2_level level = base_sim_below(2) == 0 ? L2_ALWAYS : L2_KEEP;
    sim_l2_begin_at(0, level, base_sim_below(2) == 0);
    sim_l2_spawn();
    if (disk.passes) { base_sim_spawn("filler", sim_l2_filler, (void *)(uintptr_t)&sim_l2_more); }
    base_sim_join_all();
    sim_l2_end();
}

SIM_SCENARIO(l2_pass, "the same while segments are passed, and no live record is lost")
{
    sim_l2_begin_at(0, L2_DROP, true);
    if (base_sim_below(2) == 0) { /* records leave the index */
        disk.kit.d->cfg.move_pct = 0;
        memset(disk.old, 0, sizeof disk.old);
        disk.drops = true;
    }
    sim_l2_spawn();
    base_sim_spawn("reader", sim_l2_reader, NULL);
    base_sim_spawn("filler", sim_l2_filler, (void *)(uintptr_t)&sim_l2_more);
    base_sim_join_all();
    sim_l2_end();
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

SIM_SCENARIO(l2_packers, "a block for packing belongs to one thread at a time")
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

static void sim_ends_calm(bool on) { ends.calm = on; base_sim_calm(on); }

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

SIM_FIBER(sim_ends_reader)
{
    for (uint64_t i = base_sim_below(2) == 0 ? 4 : 12; i > 0; i--) {
        sim_ends_look((uint32_t)base_sim_below(SIM_ENDS_KEYS));
    }
}

/* Delete all entries with 'a', by their tag or by a pattern. */
SIM_FIBER(sim_ends_ender)
{
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
    sim_l2_init(&disk.again, &disk.crash);
    disk.again.cfg.bytes = CELLAR_L2_BYTES_MIN;
    disk.again.cfg.crypt = &ends.cipher;
    sim_l2_open(&disk.again);
}

static void sim_ends_crash(void)
{
    sim_ends_calm(true);
    sim_ends_copy();
    for (uint32_t key = 0; key < SIM_ENDS_KEYS && ends.generation != 0; key++) {
        uint32_t got = 0;
        size_t len = 0;
        l2_meta m;
        const l2_key id = sim_l2_key_in(&disk.again, sim_ends_key[key], 2, ends.generation);
        const cellar_err err = l2_get(disk.again.d, &id, &got, sizeof got, &len, &m);
        BASE_SIM_CHECK(err == CELLAR_MISS || sim_ends_ok(key, ends.over[key], &got, len));
    }
    l2_discard(disk.again.d);
    sim_ends_calm(false);
}

SIM_FIBER(sim_ends_killer)
{
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
    ends.disk = (l2_config){ .vfs = &ends.vfs, .seg_bytes = SIM_L2_SEGMENT, .seg_count = 8 };
    ends.cipher = cellar_l2_cipher_default();
    ends.cipher.seal = sim_ends_seal;
    ends.cipher.open = sim_ends_unseal;
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 1u << 20, .config.max_entries = 1,
                     .config.eviction = CELLAR_EVICT_FIFO, .config.l2_path = "d",
                     .config.l2_bytes = CELLAR_L2_BYTES_MIN, .l2.write = write,
                     .l2.cipher = &ends.cipher, .host.no_threads = 1, .tuning.stripes = 1,
                     .tuning.hash_key = sim_l2_secret };
    const cellar_config linked = settings_config(&cfg);
    BASE_SIM_CHECK(cache_open(&linked, &ends.disk, 0, &ends.c) == CELLAR_OK);
    disk.kit.d = ends.c->store->disk; /* of sim_l2_worker */
}

static void sim_ends_close(void)
{
    BASE_SIM_CHECK(cellar_integrity_check(ends.c) == CELLAR_OK);
    BASE_SIM_CHECK(cellar_close(ends.c) == CELLAR_OK);
    l2_dev_fini(&disk.dev);
    l2_dev_fini(&disk.crash);
}

SIM_SCENARIO(l2_ends,
             "reads never go back; what a tag or a pattern ended stays so, also after a kill")
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
    uint32_t gone; /* versions from before a namespace of memory: none of them is on disk */
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

/* A process that is killed now finds no dead value under the name, and no version below `least` of
 * this namespace. */
static void sim_names_crash(const cellar *v, uint32_t least)
{
    uint32_t got = 0;
    size_t len = 0;
    l2_namespace row;
    l2_meta m;
    sim_ends_calm(true);
    sim_ends_copy();
    if (l2_namespace_find(disk.again.d, "v", 1, &row)) {
        const l2_key id = sim_l2_key_in(&disk.again, "k", 1, (uint32_t)row.generation);
        const cellar_err err = l2_get(disk.again.d, &id, &got, sizeof got, &len, &m);
        BASE_SIM_CHECK(err == CELLAR_MISS || sim_names_live(err, got, names.over | names.gone));
        BASE_SIM_CHECK(v == NULL || row.id != v->id || row.version >= least);
    }
    l2_discard(disk.again.d);
    sim_ends_calm(false);
}

/* Open the namespace, of memory alone if it is new; set, read and perhaps clear it. */
SIM_FIBER(sim_names_user)
{
    for (unsigned i = 0; i < 2; i++) {
        cellar *v = NULL;
        const uint32_t before = names.set;
        cellar_namespace_config o = { .struct_size = sizeof o };
        if (base_sim_below(3) == 0) { o.tier = CELLAR_TIER_L1; }
        BASE_SIM_CHECK(cellar_namespace_open(ends.c, "v", &o, &v) == CELLAR_OK);
        if (v->no_disk) {
            names.gone |= before;
            sim_names_crash(NULL, 0);
        }
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

SIM_FIBER(sim_names_dropper)
{
    for (unsigned i = 0; i < 2; i++) {
        const uint32_t was = names.set;
        if (base_sim_below(2) == 0) { base_sim_hold(base_sim_below(150)); } /* half dropped */
        if (cellar_namespace_drop(ends.c, "v") == CELLAR_OK) { names.over |= was; }
    }
}

SIM_FIBER(sim_names_killer)
{
    for (uint64_t i = base_sim_below(100); i > 0; i--) { base_sim_point("sim.alive"); }
    sim_names_crash(NULL, 0);
}

SIM_SCENARIO(l2_drop,
             "an opened namespace has nothing from before a drop or a clear, also after a kill")
{
    base_sim_calm(true);
    sim_ends_open(CELLAR_L2_WRITE_ON_SET);
    memset(&names, 0, sizeof names);
    base_sim_calm(false);
    base_sim_spawn_many(2, "user", sim_names_user, NULL);
    base_sim_spawn("dropper", sim_names_dropper, NULL);
    if (base_sim_below(3) == 0) { base_sim_spawn("killer", sim_names_killer, NULL); }
    base_sim_join_all();
    sim_names_crash(NULL, 0);
    sim_ends_calm(true);
    cellar *v = NULL;
    l2_namespace row;
    BASE_SIM_CHECK(cellar_namespace_open(ends.c, "v", NULL, &v) == CELLAR_OK);
    sim_names_look(v);
    BASE_SIM_CHECK(l2_namespace_find(disk.kit.d, "v", 1, &row)
                       ? row.generation == base_load_acq(&v->generation) : v->no_disk);
    BASE_SIM_CHECK(cellar_namespace_close(v) == CELLAR_OK);
    sim_ends_close();
    base_sim_calm(false);
}

/* Open the namespace, and change the key or the version once. The process dies when the call has
 * returned. */
SIM_FIBER(sim_names_changer)
{
    cellar *v = NULL;
    BASE_SIM_CHECK(cellar_namespace_open(ends.c, "v", NULL, &v) == CELLAR_OK);
    const uint32_t was = names.set, version = ++names.next;
    const uint64_t how = base_sim_below(3);
    uint32_t number = 0;
    const cellar_err err = how == 0 ? cellar_delete(v, "k", 1)
                         : how == 1 ? cellar_set(v, "k", 1, &version, sizeof version, NULL)
                                    : cellar_version_set(v, 0, &number);
    if (err == CELLAR_OK && how == 1) { names.set |= 1u << version; }
    if (err == CELLAR_OK || err == CELLAR_MISS) { names.over |= was; }
    sim_names_crash(v, number);
    BASE_SIM_CHECK(cellar_namespace_close(v) == CELLAR_OK);
}

SIM_FIBER(sim_names_ender)
{
    cellar *v = NULL;
    BASE_SIM_CHECK(cellar_namespace_open(ends.c, "v", NULL, &v) == CELLAR_OK);
    const uint32_t was = names.set;
    const cellar_err err = base_sim_below(3) == 0 ? cellar_namespace_drop(ends.c, "v")
                         : base_sim_below(2) == 0 ? cellar_version_set(v, 0, NULL)
                                                  : cellar_clear(v);
    if (err == CELLAR_OK) { names.over |= was; }
    BASE_SIM_CHECK(cellar_namespace_close(v) == CELLAR_OK);
}

SIM_SCENARIO(l2_clear, "a kill undoes no change beside a clear, a drop or an open")
{
    sim_ends_calm(true);
    sim_ends_open(CELLAR_L2_WRITE_THROUGH);
    cellar *v = NULL;
    const uint32_t version = 1;
    BASE_SIM_CHECK(cellar_namespace_open(ends.c, "v", NULL, &v) == CELLAR_OK);
    BASE_SIM_CHECK(cellar_set(v, "k", 1, &version, sizeof version, NULL) == CELLAR_OK);
    BASE_SIM_CHECK(cellar_namespace_close(v) == CELLAR_OK);
    memset(&names, 0, sizeof names);
    names.next = version;
    names.set = 1u << version;
    sim_ends_calm(false);
    base_sim_spawn("ender-1", sim_names_ender, NULL);
    if (base_sim_below(2) == 0) { base_sim_spawn("ender-2", sim_names_ender, NULL); }
    base_sim_spawn("changer-1", sim_names_changer, NULL);
    if (base_sim_below(2) == 0) { base_sim_spawn("changer-2", sim_names_changer, NULL); }
    base_sim_join_all();
    sim_names_crash(NULL, 0);
    sim_ends_calm(true);
    sim_ends_close();
    base_sim_calm(false);
}

/* Open the namespace with a version that it does not have yet. What is set then stays. */
static void sim_names_opener(void *arg)
{
    const char *key = arg;
    cellar_namespace_config o = { .struct_size = sizeof o, .version = 2 };
    uint32_t got = 0;
    size_t len = 0;
    cellar *v = NULL;
    BASE_SIM_CHECK(cellar_namespace_open(ends.c, "v", &o, &v) == CELLAR_OK);
    BASE_SIM_CHECK(cellar_set(v, key, 1, key, 1, NULL) == CELLAR_OK);
    base_sim_point("sim.alive");
    BASE_SIM_CHECK(cellar_get(v, key, 1, &got, sizeof got, &len) == CELLAR_OK);
    BASE_SIM_CHECK(cellar_namespace_close(v) == CELLAR_OK);
}

SIM_SCENARIO(l2_version, "threads that open a namespace with one version end its entries once")
{
    static char key[2][2] = { "a", "b" };
    cellar *v = NULL;
    sim_ends_calm(true);
    sim_ends_open(CELLAR_L2_WRITE_THROUGH);
    BASE_SIM_CHECK(cellar_namespace_open(ends.c, "v", NULL, &v) == CELLAR_OK);
    sim_ends_calm(false);
    base_sim_spawn("opener-1", sim_names_opener, key[0]);
    base_sim_spawn("opener-2", sim_names_opener, key[1]);
    base_sim_join_all();
    sim_ends_calm(true);
    BASE_SIM_CHECK(cellar_namespace_close(v) == CELLAR_OK);
    sim_ends_close();
    base_sim_calm(false);
}

/* ---- changes that depend on an entry which memory evicts ---- */

static struct {
    uint32_t told; /* bits of numbers that increments returned */
    bool wrong;
    bool lost;     /* memory evicted an entry before the disk had it: a call has said so */
} kept;

SIM_FIBER(sim_kept_adder)
{
    for (unsigned i = 0; i < 3; i++) {
        int64_t n = 0;
        const cellar_err err = cellar_increment(ends.c, "n", 1, 1, 0, NULL, &n);
        kept.lost = kept.lost || err == CELLAR_E_IO;
        if (err != CELLAR_OK) { continue; }
        kept.wrong = kept.wrong || (kept.told >> n & 1) != 0;
        kept.told |= 1u << n;
    }
}

/* Make changes of an entry that is there. */
SIM_FIBER(sim_kept_changer)
{
    for (unsigned i = 0; i < 3; i++) {
        const bool absent = base_sim_below(2) == 0, touches = base_sim_below(3) == 0;
        const cellar_set_opts o = { .struct_size = sizeof o,
                                    .flags = absent ? CELLAR_ONLY_IF_ABSENT
                                                    : CELLAR_ONLY_IF_PRESENT };
        const cellar_err err = touches ? cellar_touch(ends.c, "k", 1, 100000000)
                                       : cellar_set(ends.c, "k", 1, "v", 1, &o);
        kept.lost = kept.lost || err == CELLAR_E_IO || err == CELLAR_E_SPACE;
        kept.wrong = kept.wrong || err == CELLAR_MISS ||
                     (err == CELLAR_OK && absent && !touches);
    }
}

SIM_FIBER(sim_kept_evicter)
{
    for (unsigned i = 0; i < 6; i++) {
        (void)cellar_set(ends.c, i % 2 == 0 ? "x" : "y", 1, "v", 1, NULL);
    }
}

SIM_SCENARIO(l2_kept, "a change that depends on an entry finds it, also while memory evicts it")
{
    int64_t n = 0;
    sim_ends_calm(true);
    sim_ends_open(CELLAR_L2_WRITE_THROUGH);
    memset(&kept, 0, sizeof kept);
    BASE_SIM_CHECK(cellar_increment(ends.c, "n", 1, 1, 0, NULL, &n) == CELLAR_OK);
    BASE_SIM_CHECK(cellar_set(ends.c, "k", 1, "v", 1, NULL) == CELLAR_OK);
    kept.told = 1u << n;
    sim_ends_calm(false);
    base_sim_spawn_many(2, "adder", sim_kept_adder, NULL);
    base_sim_spawn("changer", sim_kept_changer, NULL);
    base_sim_spawn_many(1 + (unsigned)base_sim_below(2), "evicter", sim_kept_evicter, NULL);
    base_sim_join_all();
    BASE_SIM_CHECK(!kept.wrong || kept.lost);
    sim_ends_calm(true);
    sim_ends_close();
    sim_ends_calm(false);
}

/* ---- the same with one key and a flag as its memory ---- */

static struct { _Atomic uint64_t walks; uint64_t epoch; bool has; } meet;

static bool sim_meet_is(void *ctx, uint64_t hash, uint64_t stamp)
{
    (void)ctx;
    (void)hash;
    return base_load_acq(&meet.walks) == stamp;
}

SIM_FIBER(sim_meet_demote)
{
    const uint32_t key = 0;
    const uint64_t tag = 5;
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

SIM_FIBER(sim_meet_backfill)
{
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

SIM_SCENARIO(l2_meet,
             "an entry that goes down and comes back meets the end of its tag or a pattern")
{
    static bool by_tag;
    uint64_t floor;
    memset(&meet, 0, sizeof meet);
    sim_l2_begin(0);
    by_tag = base_sim_below(2) == 0;
    base_sim_calm(true);
    meet.epoch = l2_tags_known(disk.kit.d, &floor, l2_dev_no_tag, NULL);
    const uint32_t key = 0;
    const l2_key id = sim_l2_key(&disk.kit, &key);
    l2_invalidate(disk.kit.d, &id);
    meet.has = true;
    base_sim_calm(false);
    base_sim_spawn_many(2, "demote", sim_meet_demote, NULL);
    base_sim_spawn("backfill", sim_meet_backfill, NULL);
    base_sim_spawn("end", sim_meet_end, &by_tag);
    base_sim_join_all();
    base_sim_calm(true);
    BASE_SIM_CHECK(by_tag || !meet.has);
    BASE_SIM_CHECK(sim_l2_look(&disk.kit, 0) == 0);
    l2_discard(disk.kit.d);
    sim_l2_open(&disk.kit);
    BASE_SIM_CHECK(sim_l2_look(&disk.kit, 0) == 0);
    sim_l2_over();
    base_sim_calm(false);
}
