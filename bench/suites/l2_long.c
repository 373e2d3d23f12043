/* SPDX-License-Identifier: MIT
 *
 * l2_long: suite l2, long values.
 *
 * ROWS       values of 1, 16 and 64 MiB, 256 MiB in all: put until all is synced, and each read once,
 *            cold, beside one thread that writes and reads the same bytes with O_DIRECT, one call a
 *            value
 * ROUNDS     Both sides of a round run one after another, in another order each round.
 * CHECKED    Each byte of each value, outside the times. A miss has no time and is a row. */
#include "bench/suites/l2.h"

#if BENCH_HAVE_CELLAR
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/harness/host.h"
#include "bench/harness/verify.h"

#define LONG_PAGE 4096u
#define LONG_SIDES 2u /* DISK_OURS, then DISK_DIRECT */

typedef struct long_sides {
    disk_bench *b;
    const disk_part *part;
    unsigned char *value, *got; /* value_len bytes each, at a page */
    void *store;                /* ours */
    int direct;                 /* the file of the other side */
    uint64_t ns, bytes;         /* of the gets that hit, since long_read began */
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
                       .got = aligned_alloc(LONG_PAGE, p->value_len), .direct = -1 };
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
        l->direct = -1;
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
        const disk_cfg cfg = disk_config(l->b, DISK_OURS, p->keys, p->value_len);
        l->store = disk_cellar.open(&cfg);
        return l->store != NULL;
    }
    snprintf(path, sizeof path, "%s/data", l->b->dir[DISK_PLAIN]);
    const int how = O_RDWR | O_CREAT | O_CLOEXEC;
    l->direct = open(path, how | O_DIRECT, 0600);
    l->direct = l->direct >= 0 ? l->direct : open(path, how, 0600);
    return l->direct >= 0 &&
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

/* Read the value `id` with one call and compare each byte. Return false if it is wrong. A miss is
 * counted apart. */
static bool long_get(long_sides *l, uint32_t side, uint64_t id)
{
    const size_t len = l->part->value_len;
    unsigned char key[VERIFY_KEY_MAX];
    size_t got = 0;
    int hit = 1;
    verify_make_key(key, id, DISK_KEY);
    const uint64_t start = host_wall_ns();
    if (side != DISK_OURS) {
        const ssize_t n = pread(l->direct, l->got, len, (off_t)(id * len));
        got = n > 0 ? (size_t)n : 0;
    } else {
        hit = disk_cellar.get(l->store, key, DISK_KEY, l->got, len, &got);
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
    verify_stamp(l->value, len, id);
    return hit == 1 && got == len && memcmp(l->got, l->value, len) == 0;
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
    l->ns = l->bytes = 0;
    for (uint64_t i = 0; i < p->keys && ok; i++) { /* keys is a power of two: each id once */
        ok = long_get(l, side, (i * 7 + 3) % p->keys);
    }
    long_close(l, side);
    return ok && l->bytes > 0 ? (double)l->bytes * 1e3 / (double)l->ns : 0;
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
    const uint32_t rounds = disk_rounds(b, p);
    long_sides l;
    bool ok = long_begin(&l, b, p);
    if (!ok) {
        return;
    }
    for (uint32_t i = 0; i < rounds * LONG_SIDES && ok; i++) {
        const uint32_t r = i / LONG_SIDES, side = (i + r) % LONG_SIDES;
        put[side][r] = long_fill(&l, side);
        get[side][r] = long_read(&l, side);
        ok = put[side][r] > 0 && get[side][r] > 0;
    }
    long_end(&l);
    if (!ok) {
        disk_wrong(b, "cellar", p->name);
        return;
    }
    /* Keys that share a word of the index are lost, and a value with each of its parts. */
    const double lost_pct = 100.0 * (double)l.missed / (double)l.gets;
    long_rows(p->name, "l2_put", put, rounds);
    long_rows(p->name, "l2_read_cold", get, rounds);
    disk_row("cellar", p->name, "l2_keys_lost", NULL, &lost_pct, NULL, 1);
}
#endif
