/* SPDX-License-Identifier: MIT
 *
 * l2_long: suite l2, long values and their ranges, moves of live records, memory with disk.
 *
 * ROWS       long     values of 1, 16 and 64 MiB, 256 MiB in all: put until all is synced, and each
 *                     read once, cold, beside one thread that writes and reads the same bytes with
 *                     O_DIRECT, one call a value. At the other sync levels: put of ours alone
 *            range    64 KiB of a value of 16 MiB, at any page: from the page cache beside pread,
 *                     cold beside pread with O_DIRECT
 *            moves    a store of 64 MiB of which 40 % live: bytes sealed a byte put, keys lost, when
 *                     all keys change and when 5 % of them change
 *            small    THROUGH sets of one thread of the whole cache in tiers of 64 to 512 MiB: MB/s,
 *                     bytes written a byte put, sleeps of the thread for each MB; 5 % or 40 % live
 *            mixed    the whole cache, ten times more data than memory, Zipf gets, set after a miss:
 *                     calls a second and hit ratio, with a disk tier and without
 * ROUNDS     Both sides of a round run one after another, in another order each round.
 * CHECKED    Each byte of each value and range, outside the times. A miss has no time and is a row.
 * LIMITS     A cold window is short, so that it seldom reads the pages of an earlier range. */
#include "bench/suites/l2.h"

#if BENCH_HAVE_CELLAR
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bench/harness/host.h"
#include "bench/harness/trace.h"
#include "bench/harness/verify.h"
#include "cellar.h"
#include "cellar_l2.h"

#define LONG_PAGE 4096u
#define LONG_RANGE ((uint32_t)64 << 10)
#define LONG_SIDES 2u /* DISK_OURS, then DISK_DIRECT */

/* ---- long values ---- */

typedef struct long_sides {
    disk_bench *b;
    const disk_part *part;
    unsigned char *value, *got; /* value_len bytes each, at a page */
    void *store;                /* ours */
    int direct, cached;         /* the same file, without and with the page cache */
    uint64_t ns, bytes;         /* of the gets that hit, since long_reset */
    uint64_t gets, missed;      /* ours, since long_begin */
} long_sides;

static void long_end(long_sides *l)
{
    free(l->value);
    free(l->got);
    disk_clear(l->b->dir[DISK_OURS]);
    disk_clear(l->b->dir[DISK_PLAIN]);
}

static bool long_begin(long_sides *l, disk_bench *b, const disk_part *p)
{
    *l = (long_sides){ .b = b, .part = p, .value = aligned_alloc(LONG_PAGE, p->value_len),
                       .got = aligned_alloc(LONG_PAGE, p->value_len), .direct = -1, .cached = -1 };
    if (l->value == NULL || l->got == NULL) {
        disk_wrong(b, "cellar", p->name);
        long_end(l);
        return false;
    }
    for (uint64_t at = 0; at < p->value_len; at += 8) { /* no two places are equal */
        const uint64_t word = verify_mix64(at + 1);
        memcpy(l->value + at, &word, 8);
    }
    memset(l->got, 0, p->value_len);
    return true;
}

static void long_close(long_sides *l, uint32_t side)
{
    if (side != DISK_OURS) {
        (void)close(l->direct);
        (void)close(l->cached);
        l->direct = l->cached = -1;
    } else if (l->store != NULL) {
        disk_cellar.close(l->store);
        l->store = NULL;
    }
}

static bool long_open(long_sides *l, uint32_t side)
{
    const disk_part *p = l->part;
    char path[600];
    host_at(DISK_OURS); /* a hang of either side ends the suite */
    if (side == DISK_OURS) {
        disk_cfg cfg = disk_config(l->b, DISK_OURS, p->keys, p->value_len);
        cfg.level = p->level;
        l->store = disk_cellar.open(&cfg);
        if (l->store != NULL) {
            disk_warm(l->store);
        }
        return l->store != NULL;
    }
    snprintf(path, sizeof path, "%s/data", l->b->dir[DISK_PLAIN]);
    const int how = O_RDWR | O_CREAT | O_CLOEXEC;
    l->cached = open(path, how, 0600);
    l->direct = open(path, how | O_DIRECT, 0600);
    l->direct = l->direct >= 0 ? l->direct : open(path, how, 0600);
    return l->cached >= 0 && l->direct >= 0 &&
           posix_fallocate(l->direct, 0, (off_t)(p->keys * p->value_len)) == 0;
}

static bool long_put(long_sides *l, uint32_t side, uint64_t id)
{
    const size_t len = l->part->value_len;
    unsigned char key[VERIFY_KEY_MAX];
    verify_make_key(key, id, DISK_KEY);
    verify_stamp(l->value, len, id);
    if (side == DISK_OURS) {
        return disk_cellar.put(l->store, key, DISK_KEY, l->value, len);
    }
    for (size_t done = 0; done < len;) {
        const ssize_t n = pwrite(l->direct, l->value + done, len - done, (off_t)(id * len + done));
        if (n <= 0) {
            return false;
        }
        done += (size_t)n;
    }
    return true;
}

/* Read a part of the value `id` with one call and compare each byte. Return false if it is wrong. A
 * miss is counted apart. */
static bool long_get(long_sides *l, uint32_t side, int fd, uint64_t id, uint64_t offset, size_t len)
{
    const size_t whole = l->part->value_len;
    unsigned char key[VERIFY_KEY_MAX];
    size_t got = len;
    int hit = 1;
    verify_make_key(key, id, DISK_KEY);
    const uint64_t start = host_wall_ns();
    if (side != DISK_OURS) {
        const ssize_t n = pread(fd, l->got, len, (off_t)(id * whole + offset));
        got = n > 0 ? (size_t)n : 0;
    } else if (len == whole) {
        hit = disk_cellar.get(l->store, key, DISK_KEY, l->got, len, &got);
    } else {
        hit = disk_cellar_range(l->store, key, DISK_KEY, offset, l->got, len);
    }
    const uint64_t ns = host_wall_ns() - start;
    host_beat();
    l->gets += side == DISK_OURS;
    if (hit == 0) {
        l->missed++;
        return true;
    }
    l->ns += ns;
    l->bytes += len;
    verify_stamp(l->value, whole, id);
    return hit == 1 && got == len && memcmp(l->got, l->value + offset, len) == 0;
}

static void long_reset(long_sides *l) { l->ns = l->bytes = 0; }

/* Return MB/s of the gets that hit; 0: none. */
static double long_speed(const long_sides *l)
{
    return l->bytes > 0 ? (double)l->bytes * 1e3 / (double)l->ns : 0;
}

/* Keys that share a word of the index are lost, and a value with each of its parts. */
static void long_lost_row(const long_sides *l)
{
    const double pct = 100.0 * (double)l->missed / (double)l->gets;
    disk_row("cellar", l->part->name, "l2_keys_lost", NULL, &pct, NULL, 1);
}

/* Put all values into an empty store until they are synced. Return MB/s; 0: an error. */
static double long_fill(long_sides *l, uint32_t side)
{
    const disk_part *p = l->part;
    disk_clear(l->b->dir[side == DISK_OURS ? DISK_OURS : DISK_PLAIN]);
    bool ok = long_open(l, side);
    const uint64_t start = host_wall_ns();
    for (uint64_t id = 0; id < p->keys && ok; id++) {
        ok = long_put(l, side, id);
        host_beat();
    }
    ok = ok && (side == DISK_OURS ? disk_cellar.settle(l->store) : fdatasync(l->direct) == 0);
    const double ns = (double)(host_wall_ns() - start);
    long_close(l, side);
    return ok ? (double)(p->keys * p->value_len) * 1e3 / ns : 0;
}

/* Read each value once, from the disk. Return MB/s; 0: an error or a wrong value. */
static double long_read(long_sides *l, uint32_t side)
{
    const disk_part *p = l->part;
    bool ok = long_open(l, side);
    disk_each_file(l->b->dir[side == DISK_OURS ? DISK_OURS : DISK_PLAIN], disk_drop_pages);
    long_reset(l);
    for (uint64_t i = 0; i < p->keys && ok; i++) { /* keys is a power of two: each id once */
        ok = long_get(l, side, l->direct, (i * 7 + 3) % p->keys, 0, p->value_len);
    }
    long_close(l, side);
    return ok ? long_speed(l) : 0;
}

static void long_rows(const char *name, const char *metric,
                      double of[LONG_SIDES][DISK_ROUNDS_MAX], uint32_t rounds)
{
    double ratio[DISK_ROUNDS_MAX];
    for (uint32_t r = 0; r < rounds; r++) {
        ratio[r] = of[DISK_OURS][r] / of[1][r];
    }
    disk_row("cellar", name, metric, NULL, of[DISK_OURS], NULL, rounds);
    disk_row(DISK_DIRECT, name, metric, NULL, of[1], NULL, rounds);
    disk_row("cellar", name, metric, DISK_DIRECT, of[DISK_OURS], ratio, rounds);
}

void disk_part_long(disk_bench *b, const disk_part *p)
{
    static double put[LONG_SIDES][DISK_ROUNDS_MAX], get[LONG_SIDES][DISK_ROUNDS_MAX];
    const uint32_t rounds = disk_rounds(b, p), sides = p->level == 0 ? LONG_SIDES : 1;
    long_sides l;
    bool ok = long_begin(&l, b, p);
    if (!ok) {
        return;
    }
    for (uint32_t i = 0; i < rounds * sides && ok; i++) {
        const uint32_t r = i / sides, side = (i + r) % sides;
        put[side][r] = long_fill(&l, side);
        get[side][r] = p->level == 0 ? long_read(&l, side) : 1;
        ok = put[side][r] > 0 && get[side][r] > 0;
    }
    long_end(&l);
    if (!ok) {
        disk_wrong(b, "cellar", p->name);
    } else if (sides == 1) {
        disk_row("cellar", p->name, "l2_put", NULL, put[DISK_OURS], NULL, rounds);
    } else {
        long_rows(p->name, "l2_put", put, rounds);
        long_rows(p->name, "l2_read_cold", get, rounds);
        long_lost_row(&l);
    }
}

/* ---- ranges ---- */

/* Return MB/s of `n` ranges; 0: an error or a wrong range. */
static double range_window(long_sides *l, uint32_t side, uint32_t n)
{
    const disk_part *p = l->part;
    const uint64_t pages = (p->value_len - LONG_RANGE) / LONG_PAGE + 1;
    long_reset(l);
    for (uint32_t i = 0; i < n; i++) {
        const uint64_t id = disk_draw(l->b, p->keys);
        if (!long_get(l, side, p->cold ? l->direct : l->cached, id,
                      disk_draw(l->b, pages) * LONG_PAGE, LONG_RANGE)) {
            return 0;
        }
    }
    return long_speed(l);
}

void disk_part_range(disk_bench *b, const disk_part *p)
{
    static double of[LONG_SIDES][DISK_ROUNDS_MAX];
    const uint32_t rounds = disk_rounds(b, p);
    long_sides l;
    if (!long_begin(&l, b, p)) {
        return;
    }
    bool ok = long_fill(&l, DISK_OURS) > 0 && long_fill(&l, 1) > 0;
    ok = long_open(&l, DISK_OURS) && long_open(&l, 1) && ok;
    for (uint64_t id = 0; id < p->keys && !p->cold && ok; id++) {
        ok = long_get(&l, DISK_OURS, -1, id, 0, p->value_len) &&
             long_get(&l, 1, l.cached, id, 0, p->value_len);
    }
    for (uint32_t i = 0; i < rounds * LONG_SIDES && ok; i++) {
        const uint32_t r = i / LONG_SIDES, side = (i + r) % LONG_SIDES;
        if (p->cold) {
            disk_each_file(b->dir[DISK_OURS], disk_drop_pages);
        }
        of[side][r] = range_window(&l, side, p->cold ? 64 : 1024);
        ok = of[side][r] > 0;
    }
    long_close(&l, DISK_OURS);
    long_close(&l, 1);
    long_end(&l);
    if (ok) {
        long_rows(p->name, p->cold ? "l2_read_cold" : "l2_read_hot", of, rounds);
    } else {
        disk_wrong(b, "cellar", p->name);
    }
}

/* ---- moves ---- */

#define MOVES_ROOM ((uint64_t)64 << 20)

/* Put new values of random keys below `keys`, `bytes` in all. */
static bool moves_put(disk_bench *b, void *store, const disk_part *p, uint64_t keys, uint64_t bytes)
{
    static uint64_t version;
    bool ok = true;
    for (uint64_t n = bytes / (p->value_len + DISK_KEY); n > 0 && ok; n--) {
        version++;
        memcpy(b->value + 8, &version, sizeof version); /* between the stamps */
        ok = disk_put_one(b, &disk_cellar, store, disk_draw(b, keys), p->value_len);
    }
    host_beat();
    return ok;
}

static void moves_row(disk_bench *b, const disk_part *p, const char *name, uint64_t changing)
{
    disk_cfg cfg = disk_config(b, DISK_OURS, p->keys, p->value_len);
    disk_figures before, after;
    uint64_t lost = 0, wrong = 0;
    cfg.room = MOVES_ROOM;
    cfg.move_pct = 55;
    host_at(DISK_OURS);
    disk_clear(cfg.dir);
    void *store = disk_cellar.open(&cfg);
    bool ok = store != NULL;
    for (uint64_t id = 0; id < p->keys && ok; id++) {
        ok = disk_put_one(b, &disk_cellar, store, id, p->value_len);
    }
    ok = ok && moves_put(b, store, p, changing, 2 * MOVES_ROOM); /* nothing moves in an empty store */
    if (ok) {
        disk_cellar_figures(store, &before);
        ok = moves_put(b, store, p, changing, 4 * MOVES_ROOM);
        disk_cellar_figures(store, &after);
    }
    for (uint64_t id = 0; id < p->keys && ok; id++) {
        const int hit = disk_get_one(b, &disk_cellar, store, id, p->value_len);
        lost += hit == 0;
        wrong += hit < 0;
    }
    if (store != NULL) {
        disk_cellar.close(store);
    }
    disk_clear(cfg.dir);
    verify_fill(b->value, sizeof b->value);
    if (!ok || wrong > 0) {
        disk_wrong(b, "cellar", name);
        return;
    }
    const double sealed = (double)(after.sealed_bytes - before.sealed_bytes) /
                          (double)(4 * MOVES_ROOM);
    const double lost_pct = 100.0 * (double)lost / (double)p->keys;
    disk_row("cellar", name, "l2_sealed", NULL, &sealed, NULL, 1);
    disk_row("cellar", name, "l2_keys_lost", NULL, &lost_pct, NULL, 1);
}

void disk_part_moves(disk_bench *b, const disk_part *p)
{
    moves_row(b, p, "moves_all", p->keys);
    moves_row(b, p, "moves_5pct", p->keys / 20);
}

/* ---- small tiers ---- */

typedef struct small_tier {
    const char *name;
    uint32_t disk_mib, memory_mib, value_len, live_pct;
    cellar_l2_sync sync;
} small_tier;

/* Set values of random keys below `keys`, `bytes` in all. */
static bool small_sets(disk_bench *b, cellar *c, const small_tier *t, uint64_t keys, uint64_t bytes)
{
    unsigned char key[VERIFY_KEY_MAX];
    bool ok = true;
    for (uint64_t n = bytes / (t->value_len + DISK_KEY); n > 0 && ok; n--) {
        const uint64_t id = disk_draw(b, keys);
        verify_make_key(key, id, DISK_KEY);
        verify_stamp(b->value, t->value_len, id);
        ok = cellar_set(c, key, DISK_KEY, b->value, t->value_len, NULL) == CELLAR_OK;
        if (n % 1024 == 0) {
            host_beat();
        }
    }
    return ok;
}

static long small_sleeps(void)
{
    struct rusage u;
    return getrusage(RUSAGE_THREAD, &u) == 0 ? u.ru_nvcsw : 0;
}

static void small_row(disk_bench *b, const small_tier *t)
{
    const uint64_t room = (uint64_t)t->disk_mib << 20;
    const uint64_t keys = room / 100 * t->live_pct / (t->value_len + DISK_KEY);
    cellar_config cfg = cellar_config_default();
    cellar_l2_config disk = cellar_l2_config_default();
    cellar *c = NULL;
    host_at(DISK_OURS);
    disk_clear(b->dir[DISK_OURS]);
    disk.write = CELLAR_L2_WRITE_THROUGH;
    disk.sync = t->sync;
    cfg.memory_bytes = (uint64_t)t->memory_mib << 20;
    cfg.l2 = &disk;
    cfg.l2_path = b->dir[DISK_OURS];
    cfg.l2_bytes = room;
    bool ok = cellar_open(&cfg, &c) == CELLAR_OK;
    ok = ok && small_sets(b, c, t, keys, room) && cellar_sync(c) == CELLAR_OK;
    const uint64_t written = disk_written(), start = host_wall_ns();
    const long slept = small_sleeps();
    ok = ok && small_sets(b, c, t, keys, 2 * room) && cellar_sync(c) == CELLAR_OK;
    const double mb = (double)(2 * room) / 1e6;
    const double rate = mb * 1e9 / (double)(host_wall_ns() - start);
    const double sleeps = (double)(small_sleeps() - slept) / mb;
    const double waf = (double)(disk_written() - written) / (double)(2 * room);
    if (c != NULL) {
        (void)cellar_close(c);
    }
    disk_clear(b->dir[DISK_OURS]);
    if (!ok) {
        disk_wrong(b, "cellar", t->name);
        return;
    }
    disk_row("cellar", t->name, "l2_put", NULL, &rate, NULL, 1);
    disk_row("cellar", t->name, "l2_written", NULL, &waf, NULL, 1);
    disk_row("cellar", t->name, "l2_sleeps", NULL, &sleeps, NULL, 1);
}

void disk_part_small(disk_bench *b, const disk_part *p)
{
    static const small_tier tier[] = {
        { "small64", 64, 16, 1000, 5, CELLAR_L2_SYNC_MANUAL },
        { "small64_periodic", 64, 16, 1000, 5, CELLAR_L2_SYNC_PERIODIC },
        { "small64_16k", 64, 16, 16384, 5, CELLAR_L2_SYNC_MANUAL },
        { "small64_live40", 64, 16, 1000, 40, CELLAR_L2_SYNC_MANUAL },
        { "small64_live40_periodic", 64, 16, 1000, 40, CELLAR_L2_SYNC_PERIODIC },
        { "small64_memory64", 64, 64, 1000, 5, CELLAR_L2_SYNC_MANUAL },
        { "small256", 256, 64, 1000, 5, CELLAR_L2_SYNC_MANUAL },
        { "small256_periodic", 256, 64, 1000, 5, CELLAR_L2_SYNC_PERIODIC },
        { "small512", 512, 128, 1000, 5, CELLAR_L2_SYNC_MANUAL },
    };
    (void)p;
    for (size_t i = 0; i < sizeof tier / sizeof tier[0]; i++) {
        small_row(b, &tier[i]);
    }
    verify_fill(b->value, sizeof b->value);
}

/* ---- memory and disk ---- */

#define MIXED_MEMORY ((uint64_t)32 << 20)

static cellar *mixed_open(const char *dir)
{
    cellar_config cfg = cellar_config_default();
    cellar_l2_config disk = cellar_l2_config_default();
    cellar *c = NULL;
    cfg.memory_bytes = MIXED_MEMORY;
    if (dir != NULL) {
        cfg.l2 = &disk;
        cfg.l2_path = dir;
        cfg.l2_bytes = 16 * MIXED_MEMORY;
    }
    return cellar_open(&cfg, &c) == CELLAR_OK ? c : NULL;
}

/* Get each id, set it after a miss. Return the hits. */
static uint64_t mixed_calls(disk_bench *b, cellar *c, const uint32_t *ids, uint64_t n,
                            uint32_t value_len, uint64_t *wrong)
{
    unsigned char key[VERIFY_KEY_MAX];
    uint64_t hits = 0;
    for (uint64_t i = 0; i < n; i++) {
        size_t len = 0;
        verify_make_key(key, ids[i], DISK_KEY);
        if (cellar_get(c, key, DISK_KEY, b->got, sizeof b->got, &len) == CELLAR_OK) {
            hits++;
            *wrong += !verify_value(b->got, len, ids[i], value_len);
        } else {
            verify_stamp(b->value, value_len, ids[i]);
            (void)cellar_set(c, key, DISK_KEY, b->value, value_len, NULL);
        }
        if (i % 1024 == 0) {
            host_beat();
        }
    }
    return hits;
}

static void mixed_rows(disk_bench *b, const disk_part *p, const char *name, const trace *t,
                       bool on_disk)
{
    double rate[DISK_ROUNDS_MAX], hit_pct[DISK_ROUNDS_MAX];
    const uint32_t rounds = disk_rounds(b, p);
    const uint64_t n = t->count / 2 / rounds;
    uint64_t wrong = 0;
    host_at(DISK_OURS);
    disk_clear(b->dir[DISK_OURS]);
    cellar *c = mixed_open(on_disk ? b->dir[DISK_OURS] : NULL);
    if (c == NULL) {
        disk_wrong(b, "cellar", name);
        return;
    }
    (void)mixed_calls(b, c, t->ids, t->count / 2, p->value_len, &wrong); /* fills both tiers */
    for (uint32_t r = 0; r < rounds; r++) {
        const uint32_t *ids = t->ids + t->count / 2 + r * n;
        const uint64_t start = host_wall_ns();
        const uint64_t hits = mixed_calls(b, c, ids, n, p->value_len, &wrong);
        rate[r] = (double)n * 1e9 / (double)(host_wall_ns() - start);
        hit_pct[r] = 100.0 * (double)hits / (double)n;
    }
    (void)cellar_close(c);
    disk_clear(b->dir[DISK_OURS]);
    disk_row("cellar", name, "l2_mixed", NULL, rate, NULL, rounds);
    disk_row("cellar", name, "l2_mixed_hit", NULL, hit_pct, NULL, rounds);
    if (wrong > 0) {
        disk_wrong(b, "cellar", name);
    }
}

void disk_part_mixed(disk_bench *b, const disk_part *p)
{
    trace_spec spec = { .kind = TRACE_ZIPF, .zipf_s = 0.99, .key_count = p->keys,
                        .op_count = b->o->quick ? 2000000 : 8000000, .seed = 1 };
    trace t = { 0 };
    char why[256];
    if (!trace_make(&spec, 0, &t, why, sizeof why)) {
        disk_wrong(b, "cellar", p->name);
        return;
    }
    mixed_rows(b, p, "mixed", &t, true);
    mixed_rows(b, p, "mixed_memory", &t, false);
    trace_free(&t);
}
#endif
