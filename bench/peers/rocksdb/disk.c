/* SPDX-License-Identifier: MIT
 *
 * rocksdb and rocksblob: RocksDB through its C interface, with and without blob files; a cache
 * needs no log of its own, so both run without. */
#include "bench/peers/disk.h"

#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DISK_ROCKS_MB ((size_t)1 << 20)

typedef struct disk_rocks {
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_block_based_table_options_t *table;
    rocksdb_cache_t *cache;
    rocksdb_writeoptions_t *write;
    rocksdb_readoptions_t *read;
    rocksdb_flushoptions_t *flush;
} disk_rocks;

static bool disk_rocks_ok(char *err)
{
    if (err == NULL) {
        return true;
    }
    fprintf(stderr, "rocksdb: %s\n", err);
    rocksdb_free(err);
    return false;
}

static void disk_rocks_free(disk_rocks *r)
{
    rocksdb_flushoptions_destroy(r->flush);
    rocksdb_readoptions_destroy(r->read);
    rocksdb_writeoptions_destroy(r->write);
    rocksdb_options_destroy(r->options);
    rocksdb_block_based_options_destroy(r->table);
    rocksdb_cache_destroy(r->cache);
    free(r);
}

static void *disk_rocks_open_as(const disk_cfg *cfg, bool blobs)
{
    disk_rocks *r = calloc(1, sizeof *r);
    char *err = NULL;
    if (r == NULL) {
        return NULL;
    }
    r->options = rocksdb_options_create();
    r->table = rocksdb_block_based_options_create();
    r->cache = rocksdb_cache_create_lru(128 * DISK_ROCKS_MB);
    r->write = rocksdb_writeoptions_create();
    r->read = rocksdb_readoptions_create();
    r->flush = rocksdb_flushoptions_create();
    rocksdb_block_based_options_set_filter_policy(r->table, rocksdb_filterpolicy_create_bloom_full(10));
    rocksdb_block_based_options_set_block_cache(r->table, r->cache);
    rocksdb_options_set_block_based_table_factory(r->options, r->table);
    rocksdb_options_set_create_if_missing(r->options, 1);
    rocksdb_options_set_compression(r->options, rocksdb_no_compression);
    rocksdb_options_set_write_buffer_size(r->options, 32 * DISK_ROCKS_MB);
    rocksdb_options_set_max_write_buffer_number(r->options, 4);
    rocksdb_options_set_max_background_jobs(r->options, 2);
    rocksdb_options_set_use_direct_io_for_flush_and_compaction(r->options, 1);
    if (blobs) {
        rocksdb_options_set_enable_blob_files(r->options, 1);
    }
    rocksdb_writeoptions_disable_WAL(r->write, 1);
    rocksdb_flushoptions_set_wait(r->flush, 1);
    r->db = rocksdb_open(r->options, cfg->dir, &err);
    if (!disk_rocks_ok(err)) {
        disk_rocks_free(r);
        return NULL;
    }
    return r;
}

static void *disk_rocks_open(const disk_cfg *cfg) { return disk_rocks_open_as(cfg, false); }
static void *disk_blob_open(const disk_cfg *cfg) { return disk_rocks_open_as(cfg, true); }

static void disk_rocks_close(void *store)
{
    disk_rocks *r = store;
    rocksdb_close(r->db);
    disk_rocks_free(r);
}

static bool disk_rocks_put(void *store, const void *key, size_t key_len, const void *value,
                           size_t value_len)
{
    disk_rocks *r = store;
    char *err = NULL;
    rocksdb_put(r->db, r->write, key, key_len, value, value_len, &err);
    return disk_rocks_ok(err);
}

static int disk_rocks_get(void *store, const void *key, size_t key_len, void *buf, size_t cap,
                          size_t *len)
{
    disk_rocks *r = store;
    char *err = NULL;
    rocksdb_pinnableslice_t *p = rocksdb_get_pinned(r->db, r->read, key, key_len, &err);
    if (!disk_rocks_ok(err)) {
        return -1;
    }
    if (p == NULL) {
        return 0;
    }
    const char *value = rocksdb_pinnableslice_value(p, len);
    memcpy(buf, value, *len < cap ? *len : cap);
    rocksdb_pinnableslice_destroy(p);
    return 1;
}

/* Flushed and synced; what it compacts later is not waited for, to its advantage. */
static bool disk_rocks_settle(void *store)
{
    disk_rocks *r = store;
    char *err = NULL;
    rocksdb_flush(r->db, r->flush, &err);
    return disk_rocks_ok(err);
}

const disk_subject disk_rocksdb = { "rocksdb", "7.8", false, disk_rocks_open, disk_rocks_close,
                                    disk_rocks_put, disk_rocks_get, disk_rocks_settle };
const disk_subject disk_rocksblob = { "rocksblob", "7.8", false, disk_blob_open, disk_rocks_close,
                                      disk_rocks_put, disk_rocks_get, disk_rocks_settle };
