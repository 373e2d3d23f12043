/* SPDX-License-Identifier: MIT
 *
 * sqlite: a table of keys and values in a file, the way many cache on disk.
 *
 * CONFIGURATION  WITHOUT ROWID, journal_mode WAL, synchronous NORMAL, prepared statements, a
 *            connection a thread, busy_timeout; filled in one transaction. Its pages are in memory
 *            here; what a disk costs is in the suite l2.
 * LOCKING    a connection belongs to the thread that first used its place. */
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/peers/peers.h"

#define SQLITE_PLACES 64

typedef struct sqlite_place {
    sqlite3 *db;
    sqlite3_stmt *get, *set, *del;
} sqlite_place;

typedef struct sqlite_store {
    char path[400];
    sqlite_place place[SQLITE_PLACES]; /* one a thread */
} sqlite_store;

static _Thread_local unsigned sqlite_index; /* 1 + place of this thread */
static atomic_uint sqlite_next;

static bool sqlite_connect(const sqlite_store *s, sqlite_place *p)
{
    return sqlite3_open(s->path, &p->db) == SQLITE_OK &&
           sqlite3_busy_timeout(p->db, 10000) == SQLITE_OK &&
           sqlite3_exec(p->db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
                               "CREATE TABLE IF NOT EXISTS c(k BLOB PRIMARY KEY, v BLOB) WITHOUT ROWID",
                        NULL, NULL, NULL) == SQLITE_OK &&
           sqlite3_prepare_v2(p->db, "SELECT v FROM c WHERE k=?", -1, &p->get, NULL) == SQLITE_OK &&
           sqlite3_prepare_v2(p->db, "INSERT OR REPLACE INTO c VALUES(?,?)", -1, &p->set, NULL) ==
               SQLITE_OK &&
           sqlite3_prepare_v2(p->db, "DELETE FROM c WHERE k=?", -1, &p->del, NULL) == SQLITE_OK;
}

static sqlite_place *sqlite_mine(sqlite_store *s)
{
    if (sqlite_index == 0) {
        sqlite_index = 1 + atomic_fetch_add(&sqlite_next, 1) % SQLITE_PLACES;
    }
    sqlite_place *p = &s->place[sqlite_index - 1];
    return p->db != NULL || sqlite_connect(s, p) ? p : NULL;
}

static void sqlite_remove(const sqlite_store *s)
{
    static const char *const endings[] = { "", "-wal", "-shm" };
    char path[416];
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s%s", s->path, endings[i]);
        remove(path);
    }
}

static void sqlite_close(void *store)
{
    sqlite_store *s = store;
    for (size_t i = 0; s != NULL && i < SQLITE_PLACES; i++) {
        sqlite3_finalize(s->place[i].get);
        sqlite3_finalize(s->place[i].set);
        sqlite3_finalize(s->place[i].del);
        sqlite3_close(s->place[i].db);
    }
    if (s != NULL) {
        sqlite_remove(s);
        free(s);
    }
}

static void *sqlite_open(const bench_cfg *cfg)
{
    sqlite_store *s = calloc(1, sizeof *s);
    if (s == NULL || cfg->capacity_entries != 0 || cfg->capacity_bytes != 0) {
        free(s);
        return NULL;
    }
    snprintf(s->path, sizeof s->path, "%s/sqlite.%d.db", cfg->scratch != NULL ? cfg->scratch : "build/bench",
             (int)getpid());
    sqlite_remove(s);
    if (sqlite_mine(s) == NULL) {
        sqlite_close(s);
        return NULL;
    }
    return s;
}

static int sqlite_get(void *store, const void *key, size_t key_len, void *buf, size_t buf_cap,
                      size_t *value_len)
{
    sqlite_place *p = sqlite_mine(store);
    int answer = -1;
    if (p == NULL) {
        return -1;
    }
    sqlite3_bind_blob(p->get, 1, key, (int)key_len, SQLITE_STATIC);
    const int step = sqlite3_step(p->get);
    if (step == SQLITE_ROW) {
        *value_len = (size_t)sqlite3_column_bytes(p->get, 0);
        if (*value_len <= buf_cap) {
            memcpy(buf, sqlite3_column_blob(p->get, 0), *value_len);
            answer = 1;
        }
    } else if (step == SQLITE_DONE) {
        answer = 0;
    }
    sqlite3_reset(p->get);
    return answer;
}

static int sqlite_set(void *store, const void *key, size_t key_len, const void *value,
                      size_t value_len, int64_t ttl_ms)
{
    sqlite_place *p = sqlite_mine(store);
    (void)ttl_ms;
    if (p == NULL) {
        return -1;
    }
    sqlite3_bind_blob(p->set, 1, key, (int)key_len, SQLITE_STATIC);
    sqlite3_bind_blob(p->set, 2, value, (int)value_len, SQLITE_STATIC);
    const int step = sqlite3_step(p->set);
    sqlite3_reset(p->set);
    return step == SQLITE_DONE ? 0 : -1;
}

static int sqlite_del(void *store, const void *key, size_t key_len)
{
    sqlite_place *p = sqlite_mine(store);
    if (p == NULL) {
        return -1;
    }
    sqlite3_bind_blob(p->del, 1, key, (int)key_len, SQLITE_STATIC);
    const int step = sqlite3_step(p->del);
    sqlite3_reset(p->del);
    return step == SQLITE_DONE ? sqlite3_changes(p->db) > 0 : -1;
}

static uint64_t sqlite_count(void *store)
{
    sqlite_place *p = sqlite_mine(store);
    sqlite3_stmt *all = NULL;
    uint64_t n = 0;
    if (p != NULL && sqlite3_prepare_v2(p->db, "SELECT count(*) FROM c", -1, &all, NULL) == SQLITE_OK &&
        sqlite3_step(all) == SQLITE_ROW) {
        n = (uint64_t)sqlite3_column_int64(all, 0);
    }
    sqlite3_finalize(all);
    return n;
}

const bench_subject sqlite_subject = {
    .name = "sqlite",
    .version = SQLITE_VERSION,
    .semantics = "copy",
    .caps = BENCH_DEL | BENCH_PERSIST | BENCH_NO_EVICT | BENCH_SLOW,
    .open = sqlite_open,
    .close = sqlite_close,
    .get = sqlite_get,
    .set = sqlite_set,
    .del = sqlite_del,
    .count = sqlite_count,
};
