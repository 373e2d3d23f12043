/* SPDX-License-Identifier: MIT
 *
 * glib1: GHashTable under one mutex; no eviction, no deadlines.
 *
 * PICTURE    key -> our keyed hash -> GHashTable (a set of items that carry their key) -> item
 * LOCKING    one mutex, held for the whole operation, copy included.
 * WHAT MAKES IT FAST
 *            hash kept in the item and in the probe, so that growing never hashes again; the item
 *            is key and value of the table (g_hash_table_add), one pointer array less; in place. */
#include <glib.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "bench/harness/verify.h"
#include "bench/peers/peers.h"

typedef struct glib_item {
    uint32_t hash;
    uint32_t key_len, value_len, value_room;
    unsigned char *key; /* key and value behind this struct; in a probe the caller's key */
} glib_item;

typedef struct glib_store {
    _Alignas(128) pthread_mutex_t lock; /* guards all below */
    GHashTable *table;
    uint64_t bytes;                     /* blocks as asked for, plus malloc's 16 */
    base_hash_key key;
} glib_store;

static guint glib_hash(gconstpointer item) { return ((const glib_item *)item)->hash; }

static gboolean glib_equal(gconstpointer a, gconstpointer b)
{
    const glib_item *x = a, *y = b;
    return x->hash == y->hash && x->key_len == y->key_len &&
           memcmp(x->key, y->key, x->key_len) == 0;
}

static void *glib_open(const bench_cfg *cfg)
{
    glib_store *s = aligned_alloc(128, sizeof *s);
    if (s == NULL || cfg->capacity_entries != 0 || cfg->capacity_bytes != 0) {
        free(s);
        return NULL;
    }
    memset(s, 0, sizeof *s);
    unsigned char secret[32];
    for (size_t i = 0; i < 4; i++) {
        const uint64_t word = verify_mix64(cfg->seed + i + 1);
        memcpy(secret + 8 * i, &word, 8);
    }
    base_hash_key_init(&s->key, BASE_HASH_FOLD, secret);
    pthread_mutex_init(&s->lock, NULL);
    s->table = g_hash_table_new_full(glib_hash, glib_equal, free, NULL);
    return s;
}

static void glib_close(void *store)
{
    glib_store *s = store;
    if (s != NULL) {
        g_hash_table_destroy(s->table);
        pthread_mutex_destroy(&s->lock);
        free(s);
    }
}

static glib_item glib_probe(const glib_store *s, const void *key, size_t key_len)
{
    return (glib_item){ .hash = (uint32_t)base_hash(&s->key, 0, key, key_len),
                        .key_len = (uint32_t)key_len,
                        .key = (unsigned char *)(uintptr_t)key }; /* a probe is only read */
}

static int glib_get(void *store, const void *key, size_t key_len, void *buf, size_t buf_cap,
                    size_t *value_len)
{
    glib_store *s = store;
    const glib_item probe = glib_probe(s, key, key_len);
    int answer = 0;
    pthread_mutex_lock(&s->lock);
    const glib_item *item = g_hash_table_lookup(s->table, &probe);
    if (item != NULL) {
        answer = item->value_len <= buf_cap ? 1 : -1;
        *value_len = item->value_len;
        if (answer == 1) {
            memcpy(buf, item->key + key_len, item->value_len);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return answer;
}

static glib_item *glib_make(const glib_item *probe, const void *value, size_t value_len)
{
    glib_item *item = malloc(sizeof *item + probe->key_len + value_len);
    if (item != NULL) {
        *item = *probe;
        item->value_len = item->value_room = (uint32_t)value_len;
        item->key = (unsigned char *)(item + 1);
        memcpy(item->key, probe->key, probe->key_len);
        memcpy(item->key + probe->key_len, value, value_len);
    }
    return item;
}

static int glib_set(void *store, const void *key, size_t key_len, const void *value,
                    size_t value_len, int64_t ttl_ms)
{
    glib_store *s = store;
    const glib_item probe = glib_probe(s, key, key_len);
    int answer = 0;
    (void)ttl_ms;
    pthread_mutex_lock(&s->lock);
    glib_item *item = g_hash_table_lookup(s->table, &probe);
    if (item != NULL && value_len <= item->value_room) {
        memcpy(item->key + key_len, value, value_len);
        item->value_len = (uint32_t)value_len;
    } else {
        glib_item *fresh = glib_make(&probe, value, value_len);
        if (fresh != NULL) {
            s->bytes += sizeof *fresh + key_len + value_len + 16;
            s->bytes -= item != NULL ? sizeof *item + key_len + item->value_room + 16 : 0;
            g_hash_table_replace(s->table, fresh, fresh);
        }
        answer = fresh != NULL ? 0 : -1;
    }
    pthread_mutex_unlock(&s->lock);
    return answer;
}

static int glib_del(void *store, const void *key, size_t key_len)
{
    glib_store *s = store;
    const glib_item probe = glib_probe(s, key, key_len);
    pthread_mutex_lock(&s->lock);
    const glib_item *item = g_hash_table_lookup(s->table, &probe);
    if (item != NULL) {
        s->bytes -= sizeof *item + key_len + item->value_room + 16;
        g_hash_table_remove(s->table, &probe);
    }
    pthread_mutex_unlock(&s->lock);
    return item != NULL;
}

static uint64_t glib_count(void *store)
{
    glib_store *s = store;
    pthread_mutex_lock(&s->lock);
    const uint64_t n = g_hash_table_size(s->table);
    pthread_mutex_unlock(&s->lock);
    return n;
}

static uint64_t glib_accounted(void *store)
{
    glib_store *s = store;
    pthread_mutex_lock(&s->lock);
    const uint64_t bytes = s->bytes;
    pthread_mutex_unlock(&s->lock);
    return bytes;
}

#define GLIB_TEXT2(x) #x
#define GLIB_TEXT(x) GLIB_TEXT2(x)
const bench_subject glib1_subject = {
    .name = "glib1",
    .version = GLIB_TEXT(GLIB_MAJOR_VERSION) "." GLIB_TEXT(GLIB_MINOR_VERSION) "."
               GLIB_TEXT(GLIB_MICRO_VERSION),
    .semantics = "copy",
    .caps = BENCH_DEL | BENCH_NO_EVICT,
    .open = glib_open,
    .close = glib_close,
    .get = glib_get,
    .set = glib_set,
    .del = glib_del,
    .count = glib_count,
    .accounted_bytes = glib_accounted,
};
