/* SPDX-License-Identifier: MIT
 *
 * disk: the interface of every store on disk to suite l2; ours and the peers.
 *
 * INVARIANTS one thread calls at a time. What was put is found until the store is removed. After
 *            settle all of it outlives the process and a power cut: the same promise for all.
 * FAIRNESS   RocksDB without WAL and compression, bloom 10, cache 128 MB, 4 memtables of 32 MB, 2
 *            jobs, direct flush and compaction; LMDB NOSYNC, 100 puts a transaction; F2 with 128 MiB
 *            of mutable log and a read cache of 192 MiB; ours at level DROP. None writes a log of
 *            its own beside its data, none syncs before settle. */
#ifndef BENCH_PEERS_DISK_H
#define BENCH_PEERS_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct disk_cfg {
    const char *dir;        /* exists */
    uint64_t keys, bytes;   /* expected; keys and values, all together */
    uint64_t memory_bytes;  /* ours: the budget that index and buffer are sized for */
    uint32_t value_len;
    bool exact;             /* ours: the index for `keys` and no more */
} disk_cfg;

typedef struct disk_subject {
    const char *name, *version;
    bool mapped; /* while it is open, its pages are in memory: no cold figure */
    void *(*open)(const disk_cfg *cfg); /* opens the store in dir, or a new one; NULL: failed */
    void (*close)(void *store);
    /* Repeat until it is accepted; false: an error. */
    bool (*put)(void *store, const void *key, size_t key_len, const void *value, size_t value_len);
    /* NULL: nothing can be read, only figures of put. */
    int (*get)(void *store, const void *key, size_t key_len, void *buf, size_t cap, size_t *len);
    bool (*settle)(void *store);
} disk_subject;

extern const disk_subject disk_cellar, disk_sequential, disk_rocksdb, disk_rocksblob, disk_lmdb,
    disk_f2;

typedef struct disk_figures { /* ours only */
    uint64_t index_bytes;
} disk_figures;
void disk_cellar_figures(void *store, disk_figures *out);
/* Live records of a closed store, each of them read. */
uint64_t disk_cellar_live(const char *dir);

#endif
