/* SPDX-License-Identifier: MIT
 *
 * lmdb: 100 puts a transaction, synced at settle; a get renews one read transaction. */
#include "bench/peers/disk.h"

#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DISK_LMDB_BATCH 100u

typedef struct disk_lm {
    MDB_env *env;
    MDB_dbi dbi;
    MDB_txn *write, *read; /* write NULL: none open. read: reset between gets */
    uint32_t in_batch;
} disk_lm;

static bool disk_lm_ok(int rc)
{
    if (rc != 0) {
        fprintf(stderr, "lmdb: %s\n", mdb_strerror(rc));
    }
    return rc == 0;
}

static void *disk_lm_open(const disk_cfg *cfg)
{
    disk_lm *l = calloc(1, sizeof *l);
    MDB_txn *txn = NULL;
    if (l == NULL) {
        return NULL;
    }
    bool ok = disk_lm_ok(mdb_env_create(&l->env)) &&
              disk_lm_ok(mdb_env_set_mapsize(l->env, 4 * cfg->bytes + ((size_t)256 << 20))) &&
              disk_lm_ok(mdb_env_open(l->env, cfg->dir, MDB_NOSYNC | MDB_NORDAHEAD, 0600)) &&
              disk_lm_ok(mdb_txn_begin(l->env, NULL, 0, &txn)) &&
              disk_lm_ok(mdb_dbi_open(txn, NULL, 0, &l->dbi)) && disk_lm_ok(mdb_txn_commit(txn)) &&
              disk_lm_ok(mdb_txn_begin(l->env, NULL, MDB_RDONLY, &l->read));
    if (!ok) {
        mdb_env_close(l->env);
        free(l);
        return NULL;
    }
    mdb_txn_reset(l->read);
    return l;
}

static bool disk_lm_commit(disk_lm *l)
{
    MDB_txn *w = l->write;
    l->write = NULL;
    l->in_batch = 0;
    return w == NULL || disk_lm_ok(mdb_txn_commit(w));
}

static void disk_lm_close(void *store)
{
    disk_lm *l = store;
    (void)disk_lm_commit(l);
    mdb_txn_abort(l->read);
    mdb_env_close(l->env);
    free(l);
}

static bool disk_lm_put(void *store, const void *key, size_t key_len, const void *value,
                        size_t value_len)
{
    disk_lm *l = store;
    MDB_val k = { key_len, (void *)(uintptr_t)key }, v = { value_len, (void *)(uintptr_t)value };
    if (l->write == NULL && !disk_lm_ok(mdb_txn_begin(l->env, NULL, 0, &l->write))) {
        return false;
    }
    if (!disk_lm_ok(mdb_put(l->write, l->dbi, &k, &v, 0))) {
        return false;
    }
    return ++l->in_batch < DISK_LMDB_BATCH || disk_lm_commit(l);
}

static int disk_lm_get(void *store, const void *key, size_t key_len, void *buf, size_t cap,
                       size_t *len)
{
    disk_lm *l = store;
    MDB_val k = { key_len, (void *)(uintptr_t)key }, v;
    if (mdb_txn_renew(l->read) != 0) {
        return -1;
    }
    const int rc = mdb_get(l->read, l->dbi, &k, &v);
    if (rc == 0) {
        *len = v.mv_size;
        memcpy(buf, v.mv_data, v.mv_size < cap ? v.mv_size : cap);
    }
    mdb_txn_reset(l->read);
    return rc == 0 ? 1 : rc == MDB_NOTFOUND ? 0 : -1;
}

static bool disk_lm_settle(void *store)
{
    disk_lm *l = store;
    return disk_lm_commit(l) && disk_lm_ok(mdb_env_sync(l->env, 1));
}

#define DISK_LM_TEXT2(x) #x
#define DISK_LM_TEXT(x) DISK_LM_TEXT2(x)
const disk_subject disk_lmdb = { "lmdb", DISK_LM_TEXT(MDB_VERSION_MAJOR) "." DISK_LM_TEXT(MDB_VERSION_MINOR) "."
                                 DISK_LM_TEXT(MDB_VERSION_PATCH), true, disk_lm_open, disk_lm_close, disk_lm_put,
                                 disk_lm_get, disk_lm_settle };
