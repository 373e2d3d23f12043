/* SPDX-License-Identifier: MIT
 *
 * l2: the disk tier compared with RocksDB, its BlobDB, LMDB and F2, and with one thread that writes
 *     the same bytes sequentially; and its cost for the tier above.
 *
 * ROWS       put      keys in random order into a new store, until all is synced: MB/s, bytes
 *                     written by the process a byte put, time of one put
 *            get      hot: all subjects open, data in the page cache, windows in turn. Cold: files
 *                     synced and dropped from the page cache, stores reopened.
 *            restart  of a closed store, out of the page cache, until it answers a get
 *            reopen   of a killed and of a closed store, until the index is complete, compared with
 *                     reading rows and trailers alone
 *            memory   index a key, at the load of the index's design; keys lost
 *            flips    one random bit a megabyte of a closed store: values left; wrong values
 *            there    foyer's hybrid cache, a process: put, reopen, cold get, keys lost
 *            L1       the whole cache with and without a disk tier, on / off in turn. More: l2_long.c
 * ROUNDS     Subjects of a round run one after another, in another order each round; ratios within
 *            a round. A store of a round is removed after it.
 * FAIRNESS   peers/disk.h. Ours is called below L1, which would answer first. Its puts are repeated
 *            until accepted; a cache would drop what the disk cannot take.
 * WRITTEN    write_bytes of /proc/self/io from open to close: also pages that the kernel writes
 *            later, without those dropped before (cancelled_write_bytes).
 * APART      Each in a process: a store that crashes, or hangs in one step, is a row, and this and
 *            later parts run without it. Ours is in every row: its crash ends the part, its hang
 *            the suite.
 * VARIABLE   BENCH_L2="get l1": only these of DISK_PARTS.
 * LIMITS     Reopen: 1 M keys, FULL=1 10 M. */
#include "bench/suites/l2.h"

#include "bench/harness/json.h"

#if BENCH_HAVE_CELLAR
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bench/harness/driver.h"
#include "bench/harness/hist.h"
#include "bench/harness/freeze.h"
#include "bench/harness/host.h"
#include "bench/harness/verify.h"
#include "bench/peers/disk.h"
#include "cellar.h"
#include "cellar_l2.h"

#define DISK_THERE_MS 120000
#define DISK_PARTS "put there get restart reopen flip long l1 frozen"

typedef struct disk_entry {
    const disk_subject *subject; /* NULL: `missing` says why */
    const char *name, *missing;
} disk_entry;

static const disk_entry disk_entries[DISK_SUBJECTS] = {
    { &disk_cellar, "cellar", NULL },
    { &disk_sequential, "sequential", NULL },
#if BENCH_HAVE_ROCKSDB
    { &disk_rocksdb, "rocksdb", NULL },
    { &disk_rocksblob, "rocksblob", NULL },
#else
    { NULL, "rocksdb", "rocksdb/c.h not found (librocksdb-dev)" },
    { NULL, "rocksblob", "rocksdb/c.h not found (librocksdb-dev)" },
#endif
#if BENCH_HAVE_LMDB
    { &disk_lmdb, "lmdb", NULL },
#else
    { NULL, "lmdb", "lmdb.h not found (liblmdb-dev)" },
#endif
#if BENCH_HAVE_F2
    { &disk_f2, "f2", NULL },
#else
    { NULL, "f2", "no FASTER=folder, or libaio-dev, libtbb-dev or uuid-dev missing" },
#endif
};

/* ---- folders ---- */

void disk_each_file(const char *dir, void (*fn)(const char *path))
{
    char path[600];
    DIR *d = opendir(dir);
    if (d == NULL) {
        return;
    }
    for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (e->d_name[0] != '.') {
            snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
            fn(path);
        }
    }
    closedir(d);
}

static int disk_remove(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    (void)remove(path);
    return 0;
}

void disk_drop_pages(const char *path)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fdatasync(fd);
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        (void)close(fd);
    }
}

void disk_clear(const char *dir)
{
    (void)nftw(dir, disk_remove, 8, FTW_DEPTH | FTW_PHYS);
    (void)mkdir(dir, 0700);
}

uint64_t disk_written(void)
{
    char line[128];
    uint64_t n = 0, cancelled = 0;
    FILE *f = fopen("/proc/self/io", "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, "write_bytes: ", 13) == 0) {
            n = strtoull(line + 13, NULL, 10);
        } else if (strncmp(line, "cancelled_write_bytes: ", 23) == 0) {
            cancelled = strtoull(line + 23, NULL, 10);
        }
    }
    if (f != NULL) {
        fclose(f);
    }
    return n - cancelled; /* modulo 2^64, relative to another `written` */
}

/* ---- one store ---- */

static bool disk_there_is(const disk_bench *b, uint32_t s)
{
    return disk_entries[s].subject != NULL && !b->gone[s];
}

static bool disk_can_get(const disk_bench *b, uint32_t s)
{
    return disk_there_is(b, s) && disk_entries[s].subject->get != NULL;
}

disk_cfg disk_config(const disk_bench *b, uint32_t s, uint64_t keys, uint32_t value_len)
{
    return (disk_cfg){ .dir = b->dir[s], .keys = keys, .bytes = keys * (value_len + DISK_KEY),
                       .memory_bytes = (uint64_t)256 << 20, .value_len = value_len };
}

bool disk_put_one(disk_bench *b, const disk_subject *s, void *store, uint64_t id,
                  uint32_t value_len)
{
    unsigned char key[VERIFY_KEY_MAX];
    verify_make_key(key, id, DISK_KEY);
    verify_stamp(b->value, value_len, id);
    return s->put(store, key, DISK_KEY, b->value, value_len);
}

int disk_get_one(disk_bench *b, const disk_subject *s, void *store, uint64_t id,
                 uint32_t value_len)
{
    unsigned char key[VERIFY_KEY_MAX];
    size_t len = 0;
    verify_make_key(key, id, DISK_KEY);
    const int hit = s->get(store, key, DISK_KEY, b->got, sizeof b->got, &len);
    return hit <= 0 ? hit : verify_value(b->got, len, id, value_len) ? 1 : -1;
}

void disk_wrong(disk_bench *b, const char *subject, const char *what)
{
    json_say("l2", subject, what, "crash", "an error or a wrong value");
    b->status = CELL_WRONG;
}

static char disk_peer_version[48]; /* of the process asked last */

/* NULL: ours, with the row's commit as its version. */
static const char *disk_version(const char *subject)
{
    if (strcmp(subject, "cellar") == 0) {
        return NULL;
    }
    if (strcmp(subject, DISK_DIRECT) == 0) {
        return "1";
    }
    for (uint32_t s = DISK_OURS + 1; s < DISK_SUBJECTS; s++) {
        if (disk_entries[s].subject != NULL && strcmp(disk_entries[s].name, subject) == 0) {
            return disk_entries[s].subject->version;
        }
    }
    return disk_peer_version;
}

void disk_row(const char *subject, const char *name, const char *metric, const char *vs,
              const double *values, const double *ratios, uint32_t rounds)
{
    double v[DISK_ROUNDS_MAX], r[DISK_ROUNDS_MAX];
    json_row row;
    json_row_init(&row);
    memcpy(v, values, rounds * sizeof *v);
    row.bench = "l2";
    row.subject = subject;
    row.version = disk_version(subject);
    row.workload = name;
    row.metric = metric;
    row.clock = "wall";
    row.regime = "cold";
    row.rounds = rounds;
    row.value = cell_quantile(v, rounds, 0.5);
    row.best = cell_quantile(v, rounds, json_metric_lower_is_better(metric) ? 0 : 1);
    row.p25 = cell_quantile(v, rounds, 0.25);
    row.p75 = cell_quantile(v, rounds, 0.75);
    printf("%-11s %-15s %-9s %11.4g %-7s", metric, name, subject, row.value,
           json_metric_unit(metric));
    if (vs != NULL) {
        memcpy(r, ratios, rounds * sizeof *r);
        row.vs = vs;
        row.ratio = cell_quantile(r, rounds, 0.5);
        row.p25 = cell_quantile(r, rounds, 0.25);
        row.p75 = cell_quantile(r, rounds, 0.75);
        printf(" %6.2f x %s", row.ratio, vs);
    }
    printf("  [%.4g %.4g]\n", row.p25, row.p75);
    fflush(stdout);
    json_write(&row);
}

/* Ours to each peer with figures, and each of those alone. */
static void disk_rows(const char *name, const char *metric,
                      double of[DISK_SUBJECTS][DISK_ROUNDS_MAX], const bool have[DISK_SUBJECTS],
                      uint32_t rounds)
{
    disk_row("cellar", name, metric, NULL, of[DISK_OURS], NULL, rounds);
    for (uint32_t s = DISK_OURS + 1; s < DISK_SUBJECTS; s++) {
        double ratio[DISK_ROUNDS_MAX];
        if (!have[s]) {
            continue;
        }
        for (uint32_t r = 0; r < rounds; r++) {
            ratio[r] = of[DISK_OURS][r] / of[s][r];
        }
        disk_row(disk_entries[s].name, name, metric, NULL, of[s], NULL, rounds);
        disk_row("cellar", name, metric, disk_entries[s].name, of[DISK_OURS], ratio, rounds);
    }
}

/* ---- put ---- */

typedef struct disk_put_figures { double mb_s, waf, p50, p99, p999; } disk_put_figures;

static double disk_percentile(const hist *h, double q)
{
    uint64_t sum = 0;
    const uint64_t want = (uint64_t)(q * (double)h->count);
    uint32_t i = 0;
    for (; i + 1 < HIST_SLOTS && sum + h->slot[i] <= want; i++) {
        sum += h->slot[i];
    }
    const uint32_t octave = i < 2 * HIST_STEPS ? 0 : i / HIST_STEPS - 1;
    const uint64_t low = octave == 0 ? i : (uint64_t)(i - octave * HIST_STEPS) << octave;
    return (double)low * host_ns_per_tick();
}

static bool disk_fill(disk_bench *b, uint32_t i, uint64_t keys, uint32_t value_len,
                      disk_put_figures *out)
{
    static hist h;
    const disk_subject *s = disk_entries[i].subject;
    const disk_cfg cfg = disk_config(b, i, keys, value_len);
    host_at(i);
    disk_clear(b->dir[i]);
    const uint64_t written = disk_written();
    void *store = s->open(&cfg);
    if (store == NULL) {
        return false;
    }
    memset(&h, 0, sizeof h);
    const uint64_t start = host_wall_ns();
    bool ok = true;
    for (uint64_t id = 0; id < keys && ok; id++) {
        const uint64_t t = host_ticks();
        ok = disk_put_one(b, s, store, id, value_len);
        h.slot[hist_slot(host_ticks() - t)]++;
        h.count++;
    }
    host_beat();
    ok = s->settle(store) && ok;
    const double ns = (double)(host_wall_ns() - start);
    s->close(store);
    out->mb_s = (double)cfg.bytes * 1e3 / ns;
    out->waf = (double)(disk_written() - written) / (double)cfg.bytes;
    out->p50 = disk_percentile(&h, 0.5);
    out->p99 = disk_percentile(&h, 0.99);
    out->p999 = disk_percentile(&h, 0.999);
    return ok;
}

static void disk_put_rows(disk_bench *b, const char *name, uint64_t keys, uint32_t value_len,
                          uint32_t rounds)
{
    static double mb_s[DISK_SUBJECTS][DISK_ROUNDS_MAX], waf[DISK_SUBJECTS][DISK_ROUNDS_MAX],
        p50[DISK_SUBJECTS][DISK_ROUNDS_MAX], p99[DISK_SUBJECTS][DISK_ROUNDS_MAX],
        p999[DISK_SUBJECTS][DISK_ROUNDS_MAX];
    bool have[DISK_SUBJECTS];
    for (uint32_t r = 0; r < rounds; r++) {
        for (uint32_t n = 0; n < DISK_SUBJECTS; n++) {
            const uint32_t s = (n + r) % DISK_SUBJECTS;
            disk_put_figures f = { 0, 0, 0, 0, 0 };
            have[s] = disk_there_is(b, s);
            if (have[s] && !disk_fill(b, s, keys, value_len, &f)) {
                disk_wrong(b, disk_entries[s].name, name);
            }
            mb_s[s][r] = f.mb_s;
            waf[s][r] = f.waf;
            p50[s][r] = f.p50;
            p99[s][r] = f.p99;
            p999[s][r] = f.p999;
        }
    }
    disk_rows(name, "l2_put", mb_s, have, rounds);
    disk_rows(name, "l2_written", waf, have, rounds);
    disk_rows(name, "l2_put_p50", p50, have, rounds);
    disk_rows(name, "l2_put_p99", p99, have, rounds);
    disk_rows(name, "l2_put_p999", p999, have, rounds);
}

/* ---- get ---- */

uint64_t disk_draw(disk_bench *b, uint64_t n)
{
    b->seed = verify_mix64(b->seed + UINT64_C(0x9e3779b97f4a7c15));
    return (uint64_t)(((b->seed >> 32) * n) >> 32);
}

/* Return gets a second for about `ms`; 0: a wrong value. */
static double disk_window(disk_bench *b, uint32_t i, void *store, uint64_t keys, uint32_t value_len,
                          uint32_t ms, uint64_t *missed)
{
    const uint64_t start = host_wall_ns(), end = start + ms * UINT64_C(1000000);
    uint64_t n = 0, now;
    do {
        for (int k = 0; k < 16; k++, n++) {
            const int hit = disk_get_one(b, disk_entries[i].subject, store, disk_draw(b, keys),
                                         value_len);
            *missed += hit == 0;
            if (hit < 0) {
                return 0;
            }
        }
        now = host_wall_ns();
    } while (now < end);
    return (double)n * 1e9 / (double)(now - start);
}

static void disk_get_rows(disk_bench *b, const char *name, uint64_t keys, uint32_t value_len,
                          uint32_t rounds, bool cold)
{
    static double of[DISK_SUBJECTS][DISK_ROUNDS_MAX];
    void *store[DISK_SUBJECTS];
    bool have[DISK_SUBJECTS];
    uint64_t missed = 0;
    disk_put_figures f;
    for (uint32_t s = 0; s < DISK_SUBJECTS; s++) {
        const disk_cfg cfg = disk_config(b, s, keys, value_len);
        have[s] = disk_can_get(b, s) && !(cold && disk_entries[s].subject->mapped) &&
                  disk_fill(b, s, keys, value_len, &f);
        store[s] = have[s] ? disk_entries[s].subject->open(&cfg) : NULL;
        have[s] = store[s] != NULL;
        for (uint64_t id = 0; have[s] && !cold && id < keys; id++) {
            (void)disk_get_one(b, disk_entries[s].subject, store[s], id, value_len);
        }
    }
    for (uint32_t r = 0; r < rounds; r++) {
        for (uint32_t n = 0; n < DISK_SUBJECTS; n++) {
            const uint32_t s = (n + r) % DISK_SUBJECTS;
            if (!have[s]) {
                continue;
            }
            host_at(s);
            if (cold) {
                const disk_cfg cfg = disk_config(b, s, keys, value_len);
                disk_entries[s].subject->close(store[s]);
                store[s] = disk_entries[s].subject->open(&cfg);
                disk_each_file(b->dir[s], disk_drop_pages);
            }
            of[s][r] = store[s] != NULL ? disk_window(b, s, store[s], keys, value_len,
                                                      cold ? 150 : b->o->window_ms, &missed) : 0;
            if (of[s][r] == 0) {
                disk_wrong(b, disk_entries[s].name, name);
            }
        }
    }
    for (uint32_t s = 0; s < DISK_SUBJECTS; s++) {
        if (store[s] != NULL) {
            disk_entries[s].subject->close(store[s]);
        }
        disk_clear(b->dir[s]);
    }
    if (missed > 0) {
        printf("%s: %" PRIu64 " gets missed (keys that share a word of the index)\n", name, missed);
    }
    disk_rows(name, cold ? "l2_get_cold" : "l2_get_hot", of, have, rounds);
}

/* ---- memory, reopen ---- */

/* In a process of its own, so that it can end by a kill. */
static bool disk_fill_apart(disk_bench *b, const disk_cfg *cfg, bool close_it, double *bytes_a_key,
                            double *lost)
{
    int pipe_fd[2];
    double figures[2] = { NAN, NAN };
    char why[256];
    host_at(DISK_OURS);
    if (pipe(pipe_fd) != 0) {
        return false;
    }
    const pid_t child = host_fork();
    if (child == 0) {
        void *store = disk_cellar.open(cfg);
        bool ok = store != NULL;
        uint64_t missed = 0;
        for (uint64_t id = 0; id < cfg->keys && ok; id++) {
            ok = disk_put_one(b, &disk_cellar, store, id, cfg->value_len);
        }
        for (uint64_t id = 0; id < cfg->keys && ok; id++) {
            const int hit = disk_get_one(b, &disk_cellar, store, id, cfg->value_len);
            missed += hit == 0;
            ok = hit >= 0;
        }
        if (ok) {
            disk_figures f;
            disk_cellar_figures(store, &f);
            figures[0] = (double)f.index_bytes / (double)cfg->keys;
            figures[1] = (double)missed / (double)cfg->keys;
            ok = write(pipe_fd[1], figures, sizeof figures) == (ssize_t)sizeof figures;
        }
        if (ok && close_it) {
            disk_cellar.close(store);
        }
        _exit(ok ? 0 : 1);
    }
    (void)close(pipe_fd[1]);
    const bool ok = host_wait(child, why, sizeof why) &&
                    read(pipe_fd[0], figures, sizeof figures) == (ssize_t)sizeof figures;
    (void)close(pipe_fd[0]);
    *bytes_a_key = figures[0];
    *lost = figures[1] * 100;
    return ok;
}

/* Rows and trailers of each place, in order, one thread: ns. */
static double disk_read_rows(const char *dir)
{
    static unsigned char page[(size_t)1 << 20];
    char path[600];
    uint32_t seg_bytes = 0, segs = 0;
    snprintf(path, sizeof path, "%s/SUPER", dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || pread(fd, page, 4096, 4096) != 4096) {
        return NAN;
    }
    (void)close(fd);
    memcpy(&seg_bytes, page + 196, 4); /* l2/segment.c, SUPER */
    memcpy(&segs, page + 200, 4);
    snprintf(path, sizeof path, "%s/data.seg", dir);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    const uint64_t start = host_wall_ns();
    for (uint64_t i = 0; i < segs && fd >= 0; i++) {
        const uint64_t end = (i + 1) * seg_bytes;
        uint32_t rows = 0;
        if (pread(fd, page, 4096, (off_t)(end - 4096)) != 4096) {
            break;
        }
        memcpy(&rows, page + 4096 - 36, 4); /* of the trailer; page 0 of the rows is read */
        uint32_t pages = rows > 200 ? (rows - 1) / 200 : 0;
        for (uint64_t at = end - 4096 - (uint64_t)pages * 4096; pages > 0 && pages < 4096;) {
            const size_t n = pages > 256 ? sizeof page : (size_t)pages * 4096;
            if (pread(fd, page, n, (off_t)at) != (ssize_t)n) {
                break;
            }
            at += n;
            pages -= (uint32_t)(n / 4096);
        }
    }
    const double ns = (double)(host_wall_ns() - start);
    if (fd >= 0) {
        (void)close(fd);
    }
    return ns;
}

static void disk_reopen_rows(disk_bench *b, uint64_t keys, uint32_t rounds)
{
    disk_cfg cfg = disk_config(b, DISK_OURS, keys, 100);
    double ratio[DISK_ROUNDS_MAX], ms[DISK_ROUNDS_MAX], bytes = NAN, lost = NAN;
    cfg.exact = true;
    cfg.bytes += keys * 64; /* records, rows, and some spare space: nothing is reclaimed */
    cfg.memory_bytes = keys * 48;
    for (int closed = 0; closed < 2; closed++) {
        disk_clear(cfg.dir);
        if (!disk_fill_apart(b, &cfg, closed != 0, &bytes, &lost)) {
            disk_wrong(b, "cellar", "reopen");
            return;
        }
        for (uint32_t r = 0; r < rounds; r++) {
            host_at(DISK_OURS);
            disk_each_file(cfg.dir, disk_drop_pages);
            const double rows = disk_read_rows(cfg.dir);
            disk_each_file(cfg.dir, disk_drop_pages);
            const uint64_t start = host_wall_ns();
            void *store = disk_cellar.open(&cfg);
            const double ns = (double)(host_wall_ns() - start);
            ms[r] = ns / 1e6;
            ratio[r] = ns / rows;
            if (store == NULL) {
                disk_wrong(b, "cellar", "reopen");
                return;
            }
            disk_cellar.close(store);
            if (closed == 0 && r + 1 < rounds) { /* killed again */
                disk_clear(cfg.dir);
                (void)disk_fill_apart(b, &cfg, false, &bytes, &lost);
            }
        }
        disk_row("cellar", closed != 0 ? "closed" : "killed", "l2_reopen_ms", NULL, ms, NULL,
                 rounds);
        disk_row("cellar", closed != 0 ? "closed" : "killed", "l2_reopen", NULL, ratio, NULL,
                 rounds);
    }
    disk_row("cellar", "keys100", "l2_key_bytes", NULL, &bytes, NULL, 1);
    disk_row("cellar", "keys100", "l2_keys_lost", NULL, &lost, NULL, 1);
    disk_clear(cfg.dir);
}

/* ---- a restart, compared with the others ---- */

/* Get a key that is there, unless the index lost it. */
static bool disk_answers(disk_bench *b, uint32_t s, void *store, uint64_t keys, uint32_t value_len)
{
    const uint64_t id = disk_draw(b, keys);
    return disk_get_one(b, disk_entries[s].subject, store, id, value_len) >= 0;
}

/* Closed, out of the page cache, opened until it answers. */
static void disk_restart_rows(disk_bench *b, const char *name, uint64_t keys, uint32_t value_len,
                              uint32_t rounds)
{
    static double ms[DISK_SUBJECTS][DISK_ROUNDS_MAX];
    bool have[DISK_SUBJECTS];
    disk_put_figures f;
    for (uint32_t s = 0; s < DISK_SUBJECTS; s++) {
        have[s] = disk_can_get(b, s);
        if (have[s] && !disk_fill(b, s, keys, value_len, &f)) {
            disk_wrong(b, disk_entries[s].name, name);
            have[s] = false;
        }
    }
    for (uint32_t i = 0; i < rounds * DISK_SUBJECTS; i++) {
        const uint32_t r = i / DISK_SUBJECTS, s = (i + r) % DISK_SUBJECTS;
        const disk_subject *subject = disk_entries[s].subject;
        const disk_cfg cfg = disk_config(b, s, keys, value_len);
        if (!have[s]) {
            continue;
        }
        host_at(s);
        disk_each_file(b->dir[s], disk_drop_pages);
        const uint64_t start = host_wall_ns();
        void *store = subject->open(&cfg);
        const bool ok = store != NULL && disk_answers(b, s, store, keys, value_len);
        ms[s][r] = (double)(host_wall_ns() - start) / 1e6;
        if (!ok) {
            disk_wrong(b, disk_entries[s].name, name);
        }
        if (store != NULL) {
            subject->close(store);
        }
    }
    disk_rows(name, "l2_reopen_ms", ms, have, rounds);
    for (uint32_t s = 0; s < DISK_SUBJECTS; s++) {
        disk_clear(b->dir[s]);
    }
}

/* ---- flipped bits ---- */

/* Count values and wrong values. The tier switches itself off for a while when more than one read
 * in a hundred is damaged: then the inspector, which reads every record, counts them. */
static uint64_t disk_found(disk_bench *b, const disk_cfg *cfg, uint64_t *wrong)
{
    const uint64_t live = disk_cellar_live(cfg->dir);
    void *store = disk_cellar.open(cfg);
    for (uint64_t id = 0; id < cfg->keys && store != NULL; id++) {
        *wrong += disk_get_one(b, &disk_cellar, store, id, cfg->value_len) < 0;
    }
    if (store != NULL) {
        disk_cellar.close(store);
    }
    return live;
}

static void disk_flip_rows(disk_bench *b, const char *name, uint64_t keys, uint32_t value_len)
{
    const disk_cfg cfg = disk_config(b, DISK_OURS, keys, value_len);
    disk_put_figures f;
    uint64_t wrong = 0;
    char path[600];
    if (!disk_fill(b, DISK_OURS, keys, value_len, &f)) {
        disk_wrong(b, "cellar", name);
        return;
    }
    const uint64_t before = disk_found(b, &cfg, &wrong);
    snprintf(path, sizeof path, "%s/data.seg", cfg.dir);
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    for (uint64_t n = 0; n < cfg.bytes >> 20 && fd >= 0; n++) {
        const uint64_t bit = disk_draw(b, UINT32_MAX) * 8 % (cfg.bytes * 8) + disk_draw(b, 8);
        unsigned char c = 0;
        if (pread(fd, &c, 1, (off_t)(bit / 8)) == 1) {
            c ^= (unsigned char)(1u << (bit % 8));
            (void)!pwrite(fd, &c, 1, (off_t)(bit / 8));
        }
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    const double left = 100.0 * (double)disk_found(b, &cfg, &wrong) / (double)before;
    const double bad = (double)wrong;
    disk_row("cellar", name, "l2_flip_left", NULL, &left, NULL, 1);
    disk_row("cellar", name, "l2_flip_wrong", NULL, &bad, NULL, 1);
    disk_clear(cfg.dir);
}

/* ---- cost for L1 ---- */

enum { DISK_HIT, DISK_SET, DISK_DEL, DISK_MISS, DISK_COSTS };
static const char *const disk_cost_name[DISK_COSTS] = { "l1_hit", "l1_set", "l1_del", "l1_miss" };

#define DISK_L1_KEYS 100000u
#define DISK_L1_BATCH 20000u

/* ns an operation. Keys from DISK_L1_KEYS on were never stored. */
static double disk_cost(disk_bench *b, cellar *c, int what)
{
    unsigned char key[VERIFY_KEY_MAX];
    size_t len;
    const uint64_t first = disk_draw(b, DISK_L1_KEYS - DISK_L1_BATCH);
    const uint64_t start = host_thread_cpu_ns();
    for (uint64_t i = 0; i < DISK_L1_BATCH; i++) {
        verify_make_key(key, what == DISK_MISS ? DISK_L1_KEYS + i : first + i, DISK_KEY);
        if (what == DISK_SET) {
            (void)cellar_set(c, key, DISK_KEY, b->value, 100, NULL);
        } else if (what == DISK_DEL) {
            (void)cellar_delete(c, key, DISK_KEY);
        } else {
            (void)cellar_get(c, key, DISK_KEY, b->got, sizeof b->got, &len);
        }
    }
    const double ns = (double)(host_thread_cpu_ns() - start) / DISK_L1_BATCH;
    for (uint64_t i = 0; what == DISK_DEL && i < DISK_L1_BATCH; i++) {
        verify_make_key(key, first + i, DISK_KEY);
        (void)cellar_set(c, key, DISK_KEY, b->value, 100, NULL);
    }
    return ns;
}

static cellar *disk_cache(const char *dir)
{
    cellar_config cfg = cellar_config_default();
    cellar *c = NULL;
    cfg.memory_bytes = (uint64_t)256 << 20;
    cfg.l2_path = dir;
    cfg.l2_bytes = dir != NULL ? (uint64_t)256 << 20 : 0;
    return cellar_open(&cfg, &c) == CELLAR_OK ? c : NULL;
}

static void disk_cost_rows(disk_bench *b)
{
    static double ratio[DISK_COSTS][DISK_ROUNDS_MAX], more[DISK_ROUNDS_MAX];
    unsigned char key[VERIFY_KEY_MAX];
    disk_clear(b->dir[DISK_OURS]);
    cellar *store[2] = { disk_cache(NULL), disk_cache(b->dir[DISK_OURS]) };
    if (store[0] == NULL || store[1] == NULL) {
        disk_wrong(b, "cellar", "l1_cost");
        return;
    }
    for (uint64_t id = 0; id < 2 * DISK_L1_KEYS; id++) {
        verify_make_key(key, id % DISK_L1_KEYS, DISK_KEY);
        (void)cellar_set(store[id / DISK_L1_KEYS], key, DISK_KEY, b->value, 100, NULL);
    }
    const uint32_t rounds = DISK_ROUNDS_MAX;
    for (uint32_t r = 0; r < rounds; r++) {
        for (int what = 0; what < DISK_COSTS; what++) {
            double ns[2];
            for (uint32_t n = 0; n < 2; n++) {
                ns[(n + r) % 2] = disk_cost(b, store[(n + r) % 2], what);
            }
            ratio[what][r] = ns[0] / ns[1];
            if (what == DISK_MISS) {
                more[r] = ns[1] - ns[0];
            }
        }
    }
    for (int what = 0; what < DISK_MISS; what++) {
        disk_row("cellar", disk_cost_name[what], "l2_l1_speed", NULL, ratio[what], NULL, rounds);
    }
    disk_row("cellar", disk_cost_name[DISK_MISS], "l2_l1_more_ns", NULL, more, NULL, rounds);
    (void)cellar_close(store[0]);
    (void)cellar_close(store[1]);
    disk_clear(b->dir[DISK_OURS]);
}

/* ---- a cache of memory and disk in another language ---- */

/* One round: puts into a new store until all is synced; then reopened and read, with its writes
 * dropped from the page cache. Figures by value: it takes no turns with the others. */
static void disk_there(disk_bench *b, const char *peer, const char *name, uint64_t keys,
                       uint32_t value_len)
{
    static const char *const of[3][2] = { { "p50", "l2_put_p50" }, { "p99", "l2_put_p99" },
                                          { "p999", "l2_put_p999" } };
    char dir[256], command[400], why[256];
    const double bytes = (double)keys * (DISK_KEY + value_len);
    snprintf(dir, sizeof dir, "%s/l2-%s", b->o->scratch, peer);
    disk_clear(dir);
    bench_driver *d = driver_start(peer, why, sizeof why);
    if (d == NULL) {
        json_say("l2", peer, name, "skip", why);
        (void)rmdir(dir);
        return;
    }
    snprintf(disk_peer_version, sizeof disk_peer_version, "%s", driver_version(d));
    snprintf(command, sizeof command, "put %s %" PRIu64 " %u", dir, keys, value_len);
    bool ok = driver_ask(d, driver_most(DISK_THERE_MS), command);
    if (ok) {
        const double mb_s = bytes * 1e3 / driver_number(d, "ns");
        const double waf = driver_number(d, "written") / bytes;
        disk_row(peer, name, "l2_put", NULL, &mb_s, NULL, 1);
        disk_row(peer, name, "l2_written", NULL, &waf, NULL, 1);
        for (int i = 0; i < 3; i++) {
            const double ns = driver_number(d, of[i][0]);
            disk_row(peer, name, of[i][1], NULL, &ns, NULL, 1);
        }
        disk_each_file(dir, disk_drop_pages);
        snprintf(command, sizeof command, "get %s %" PRIu64 " %u 150 5", dir, keys, value_len);
        ok = driver_ask(d, driver_most(DISK_THERE_MS), command);
    }
    if (ok) {
        double rate[5];
        const uint32_t n = driver_list(d, "gets", rate, 5);
        const double open_ms = driver_number(d, "open_ns") / 1e6;
        const double lost = driver_number(d, "misses") / 10; /* of a thousand: percent */
        disk_row(peer, value_len == 4096 ? "get4k" : name, "l2_get_cold", NULL, rate, NULL,
                 n < 5 ? n : 5);
        disk_row(peer, value_len == 256 ? "restart256" : name, "l2_reopen_ms", NULL, &open_ms, NULL,
                 1);
        disk_row(peer, name, "l2_keys_lost", NULL, &lost, NULL, 1);
        if (driver_number(d, "bad") > 0) {
            disk_wrong(b, peer, name);
        }
    } else {
        json_say("l2", peer, name, driver_alive(d) ? "skip" : driver_kind(driver_trouble(d)),
                 driver_trouble(d));
        b->status = driver_alive(d) ? b->status : CELL_WRONG;
    }
    driver_stop(d);
    disk_clear(dir);
    (void)rmdir(dir);
}

/* ---- a disk that hangs ---- */

typedef struct disk_reads { /* of another thread, which the frozen disk may block */
    cellar *c;
    _Atomic bool over;
} disk_reads;

static void *disk_reads_run(void *arg)
{
    disk_reads *r = arg;
    unsigned char key[VERIFY_KEY_MAX], got[256];
    size_t len;
    for (uint64_t i = 0; !atomic_load(&r->over); i++) {
        verify_make_key(key, DISK_L1_KEYS + i % DISK_L1_KEYS, DISK_KEY);
        (void)cellar_get(r->c, key, DISK_KEY, got, sizeof got, &len);
    }
    return NULL;
}

/* Calls of one thread for keys in memory: 80 % gets, 19 % sets, 1 % deletes. */
static void disk_calls(disk_bench *b, cellar *c, hist *h, uint64_t ms)
{
    unsigned char key[VERIFY_KEY_MAX];
    size_t len;
    const uint64_t end = host_ticks() + (uint64_t)((double)ms * 1e6 / host_ns_per_tick());
    for (uint64_t now = host_ticks(); now < end;) {
        const uint64_t how = disk_draw(b, 100);
        verify_make_key(key, disk_draw(b, DISK_L1_KEYS / 10), DISK_KEY);
        if (how == 0) {
            (void)cellar_delete(c, key, DISK_KEY);
        } else if (how < 20) {
            (void)cellar_set(c, key, DISK_KEY, b->value, 100, NULL);
        } else {
            (void)cellar_get(c, key, DISK_KEY, b->got, sizeof b->got, &len);
        }
        const uint64_t then = host_ticks();
        hist_add(h, then - now);
        now = then;
    }
}

/* p99.9 of L1's calls while the disk does not answer for ten seconds, and the same before and
 * after. Every set also goes to disk, and another thread reads keys that only the disk has. */
static void disk_frozen_row(disk_bench *b, bool quick)
{
    static hist well, frozen;
    unsigned char key[VERIFY_KEY_MAX];
    const uint64_t ms = quick ? 2000 : 10000;
    cellar_config cfg = cellar_config_default();
    cellar_namespace_config each = cellar_namespace_config_default();
    each.l2_write = CELLAR_L2_WRITE_ON_SET;
    cfg.root = &each;
    cfg.memory_bytes = (uint64_t)24 << 20;
    cfg.max_entries = DISK_L1_KEYS / 2;
    cfg.l2_path = b->dir[DISK_OURS];
    cfg.l2_bytes = (uint64_t)256 << 20;
    cellar_l2_config disk = cellar_l2_config_default();
    cfg.l2 = &disk;
    disk_clear(b->dir[DISK_OURS]);
    disk_reads r = { NULL, false };
    pthread_t beside;
    if (cellar_open(&cfg, &r.c) != CELLAR_OK) {
        disk_wrong(b, "cellar", "frozen");
        return;
    }
    for (uint64_t id = 2 * DISK_L1_KEYS; id-- > 0;) { /* the last ones stay in memory */
        verify_make_key(key, id, DISK_KEY);
        (void)cellar_set(r.c, key, DISK_KEY, b->value, 100, NULL);
    }
    (void)cellar_sync(r.c);
    hist_clear(&well);
    disk_calls(b, r.c, &well, ms / 4); /* its keys are in memory from here on */
    hist_clear(&well);
    hist_clear(&frozen);
    disk_calls(b, r.c, &well, ms / 2);
    freeze_disk(ms);
    const bool alone = pthread_create(&beside, NULL, disk_reads_run, &r) != 0;
    disk_calls(b, r.c, &frozen, ms);
    atomic_store(&r.over, true);
    if (!alone) {
        (void)pthread_join(beside, NULL);
    }
    disk_calls(b, r.c, &well, ms / 2);
    const double before = disk_percentile(&well, 0.999), during = disk_percentile(&frozen, 0.999);
    const double times = during / before, longest = (double)frozen.max * host_ns_per_tick();
    disk_row("cellar", "frozen", "l2_frozen_p999", NULL, &times, NULL, 1);
    disk_row("cellar", "frozen", "l2_frozen_max", NULL, &longest, NULL, 1);
    printf("  p99.9 %.0f ns of %" PRIu64 " calls, frozen %.0f ns of %" PRIu64 "\n", before,
           well.count, during, frozen.count);
    (void)cellar_close(r.c);
    disk_clear(b->dir[DISK_OURS]);
}

/* ---- all of it ---- */

uint32_t disk_rounds(const disk_bench *b, const disk_part *p)
{
    return p->rounds != 0 ? p->rounds : b->o->quick ? 3 : 5;
}
static void disk_part_put(disk_bench *b, const disk_part *p)
{
    disk_put_rows(b, p->name, p->keys, p->value_len, disk_rounds(b, p));
}
static void disk_part_get(disk_bench *b, const disk_part *p)
{
    disk_get_rows(b, p->name, p->keys, p->value_len, disk_rounds(b, p), p->cold);
}
static void disk_part_restart(disk_bench *b, const disk_part *p)
{
    disk_restart_rows(b, p->name, p->keys, p->value_len, disk_rounds(b, p));
}
static void disk_part_reopen(disk_bench *b, const disk_part *p)
{
    disk_reopen_rows(b, p->keys, disk_rounds(b, p));
}
static void disk_part_flip(disk_bench *b, const disk_part *p)
{
    disk_flip_rows(b, p->name, p->keys, p->value_len);
}
static void disk_part_cost(disk_bench *b, const disk_part *p) { (void)p; disk_cost_rows(b); }
static void disk_part_frozen(disk_bench *b, const disk_part *p)
{
    (void)p;
    disk_frozen_row(b, b->o->quick);
}

/* BENCH_L2="get l1": only these parts; empty: all. */
static const char *disk_only(void)
{
    const char *only = getenv("BENCH_L2");
    return only != NULL && only[strspn(only, " ,")] != '\0' ? only : NULL;
}

static bool disk_among(const char *list, const char *word, size_t n)
{
    for (const char *at = list + strspn(list, " ,"); *at != '\0'; at += strspn(at, " ,")) {
        const size_t len = strcspn(at, " ,");
        if (len == n && strncmp(at, word, n) == 0) {
            return true;
        }
        at += len;
    }
    return false;
}

static bool disk_wanted(const char *part)
{
    const char *only = disk_only();
    return only == NULL || disk_among(only, part, strlen(part));
}

/* Return the first word of BENCH_L2 that names no part; NULL if there is none. */
static const char *disk_unknown_part(void)
{
    const char *at = disk_only();
    for (at = at != NULL ? at : ""; *(at += strspn(at, " ,")) != '\0'; at += strcspn(at, " ,")) {
        if (!disk_among(DISK_PARTS, at, strcspn(at, " ,"))) {
            return at;
        }
    }
    return NULL;
}

typedef struct disk_part_call {
    disk_bench *b;
    const disk_part *part;
} disk_part_call;

static int disk_part_child(void *ctx)
{
    const disk_part_call *call = ctx;
    call->b->status = CELL_OK; /* the parent handles ours */
    call->part->run(call->b, call->part);
    return call->b->status;
}

/* Repeat until it reaches its end, each time without one more store. Return false if ours hangs. */
static bool disk_run_part(disk_bench *b, const disk_part *p)
{
    disk_part_call call = { b, p };
    char why[256] = "no process could be made";
    for (;;) {
        uint32_t at;
        const int status = host_guard(disk_part_child, &call, host_patience_now(), &at, why,
                                      sizeof why);
        if (status >= 0) {
            b->status = status > b->status ? status : b->status;
            return true;
        }
        const bool hangs = strcmp(driver_kind(why), "hang") == 0;
        json_say("l2", disk_entries[at].name, p->name, driver_kind(why), why);
        b->status = CELL_WRONG;
        if (at == DISK_OURS || b->gone[at]) {
            return !hangs;
        }
        b->gone[at] = true;
    }
}

static int disk_run_suite(const cell_options *o)
{
    static disk_bench b;
    const uint64_t scale = o->full ? 8 : 1;
    const uint32_t large = 65536 - 512;
    const disk_part puts[] = {
        { "put", "put256", disk_part_put, 400000 * scale, 256, 0, false },
        { "put", "put4k", disk_part_put, 40000 * scale, 4096, 0, false },
        { "put", "put64k", disk_part_put, 3000 * scale, large, 0, false },
    };
    const disk_part parts[] = {
        { "get", "get256", disk_part_get, 200000, 256, 15, false },
        { "get", "get4k", disk_part_get, 20000, 4096, 15, false },
        { "get", "get4k", disk_part_get, 20000 * scale, 4096, 0, true },
        { "restart", "restart256", disk_part_restart, 400000 * scale, 256, 0, false },
        { "reopen", "reopen", disk_part_reopen, o->full ? 10000000 : 1000000, 100, 0, false },
        { "flip", "flip256", disk_part_flip, 200000 * scale, 256, 0, false },
        { "flip", "flip64k", disk_part_flip, 3000 * scale, large, 0, false },
        { "long", "long1m", disk_part_long, 256, 1 << 20, 0, false },
        { "long", "long16m", disk_part_long, 16, 16 << 20, 0, false },
        { "long", "long64m", disk_part_long, 4, 64 << 20, 0, false },
        { "l1", "l1_cost", disk_part_cost, 0, 0, 0, false },
        { "frozen", "frozen", disk_part_frozen, 0, 0, 0, false },
    };
    const size_t put_count = sizeof puts / sizeof puts[0];
    const char *unknown = disk_unknown_part();
    bool moving = true;
    if (unknown != NULL) {
        fprintf(stderr, "cellar-bench: BENCH_L2: unknown part %.*s (of " DISK_PARTS ")\n",
                (int)strcspn(unknown, " ,"), unknown);
        return CELL_USAGE;
    }
    b.o = o;
    b.seed = 1;
    b.status = CELL_OK;
    memset(b.gone, 0, sizeof b.gone);
    verify_fill(b.value, sizeof b.value);
    printf("\nl2  (the disk tier and others; each figure until the data is synced)\n");
    for (uint32_t s = 0; s < DISK_SUBJECTS; s++) {
        snprintf(b.dir[s], sizeof b.dir[s], "%s/l2-%s", o->scratch, disk_entries[s].name);
        if (disk_entries[s].subject == NULL) {
            json_say("l2", disk_entries[s].name, "put", "skip", disk_entries[s].missing);
        }
    }
    for (size_t i = 0; i < put_count && moving && disk_wanted("put"); i++) {
        moving = disk_run_part(&b, &puts[i]);
    }
    /* has a time limit of its own */
    for (size_t i = 0; i < put_count && disk_wanted("there"); i++) {
        disk_there(&b, "foyer_hybrid", puts[i].name, puts[i].keys, puts[i].value_len);
    }
    for (size_t i = 0; i < sizeof parts / sizeof parts[0] && moving; i++) {
        if (disk_wanted(parts[i].word)) {
            moving = disk_run_part(&b, &parts[i]);
        }
    }
    for (uint32_t s = 0; s < DISK_SUBJECTS; s++) {
        disk_clear(b.dir[s]);
        (void)rmdir(b.dir[s]);
    }
    return b.status;
}
#endif

SUITE_OF_LIBRARY(l2, "the disk level beside RocksDB, BlobDB, LMDB and F2; its cost to L1",
                 disk_run_suite, true);
