/* SPDX-License-Identifier: MIT
 *
 * l2: what the two files of suite `l2` share: one part of the suite, its stores and its rows. */
#ifndef BENCH_SUITES_L2_H
#define BENCH_SUITES_L2_H

#include "bench/peers/disk.h"
#include "bench/suites/suite.h"

#define DISK_KEY 16u
#define DISK_VALUE_MAX ((size_t)64 << 10)
#define DISK_ROUNDS_MAX 32u
#define DISK_SUBJECTS 6u
#define DISK_OURS 0u
#define DISK_PLAIN 1u /* its folder also takes the file of DISK_DIRECT */
#define DISK_DIRECT "direct" /* subject: pread and pwrite without the page cache */

typedef struct disk_bench {
    const cell_options *o;
    char dir[DISK_SUBJECTS][256];
    unsigned char value[DISK_VALUE_MAX], got[DISK_VALUE_MAX];
    uint64_t seed;
    bool gone[DISK_SUBJECTS]; /* crashed or hung */
    int status;
} disk_bench;

typedef struct disk_part {
    const char *word; /* of BENCH_L2 */
    const char *name; /* of its rows */
    void (*run)(disk_bench *b, const struct disk_part *p);
    uint64_t keys;
    uint32_t value_len, rounds; /* rounds 0: those of the run */
    bool cold;
} disk_part;

/* Remove all that is in a folder, or make it. */
void disk_clear(const char *dir);
void disk_each_file(const char *dir, void (*fn)(const char *path));
/* Sync a file and drop its pages from the page cache. */
void disk_drop_pages(const char *path);

uint32_t disk_rounds(const disk_bench *b, const disk_part *p);
disk_cfg disk_config(const disk_bench *b, uint32_t s, uint64_t keys, uint32_t value_len);
bool disk_put_one(disk_bench *b, const disk_subject *s, void *store, uint64_t id,
                  uint32_t value_len);
/* Return 1, 0, -1: hit, miss, wrong. */
int disk_get_one(disk_bench *b, const disk_subject *s, void *store, uint64_t id,
                 uint32_t value_len);
/* Return the bytes that the process has written to disks. */
uint64_t disk_written(void);
/* Return a random number below `n`, which is below 2^32. */
uint64_t disk_draw(disk_bench *b, uint64_t n);

/* Write a row of failure; the suite ends with CELL_WRONG. */
void disk_wrong(disk_bench *b, const char *subject, const char *what);
/* Write a row of `rounds` values; with `vs` also their ratios to that subject. */
void disk_row(const char *subject, const char *name, const char *metric, const char *vs,
              const double *values, const double *ratios, uint32_t rounds);

/* l2_long.c */
void disk_part_long(disk_bench *b, const disk_part *p);

#endif
