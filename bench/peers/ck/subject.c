/* SPDX-License-Identifier: MIT
 *
 * ck_ht: Concurrency Kit's hash table; gets without locks beside one writer at a time.
 *
 * PICTURE    key -> ck_ht (byte strings) -> item: length, key, value
 * LOCKING    writers take one mutex; readers nothing. A set makes a new item and swaps the pointer.
 * LEAKS      what was replaced may still be read and is never freed: the library leaves reclamation
 *            to its user (ck_epoch), so a user of the table alone gets this. Said in every row;
 *            past 2 GiB of it sets are refused, which counts as failed calls. */
#include <ck_ht.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "bench/peers/peers.h"

#define CK_LEAK_MAX (UINT64_C(2) << 30)

typedef struct ck_item {
    size_t value_len;
    unsigned char bytes[]; /* key, value */
} ck_item;

typedef struct ck_store {
    ck_ht_t table;
    _Alignas(128) pthread_mutex_t lock; /* one writer */
    uint64_t leaked;                    /* bytes, under lock */
} ck_store;

static void *ck_take(size_t bytes) { return malloc(bytes); }
/* A table that was outgrown may still be read too: it stays. */
static void ck_drop(void *p, size_t bytes, bool defer)
{
    (void)bytes;
    if (!defer) {
        free(p);
    }
}
static struct ck_malloc ck_memory = { .malloc = ck_take, .free = ck_drop };

static void ck_hash(ck_ht_hash_t *h, const void *key, size_t len, uint64_t seed)
{
    (void)seed;
    h->value = peers_hash(key, len);
}

static void *ck_open(const bench_cfg *cfg)
{
    ck_store *s = aligned_alloc(128, (sizeof *s + 127) & ~(size_t)127);
    if (s == NULL || cfg->capacity_entries != 0 || cfg->capacity_bytes != 0) {
        free(s);
        return NULL;
    }
    memset(s, 0, sizeof *s);
    peers_hash_ready();
    pthread_mutex_init(&s->lock, NULL);
    if (!ck_ht_init(&s->table, CK_HT_MODE_BYTESTRING, ck_hash, &ck_memory, 2 * cfg->hint_entries,
                    cfg->seed)) {
        free(s);
        return NULL;
    }
    return s;
}

static void ck_close(void *store)
{
    ck_store *s = store;
    ck_ht_iterator_t at = CK_HT_ITERATOR_INITIALIZER;
    ck_ht_entry_t *e;
    if (s == NULL) {
        return;
    }
    while (ck_ht_next(&s->table, &at, &e)) {
        free(ck_ht_entry_value(e));
    }
    ck_ht_destroy(&s->table);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static int ck_get(void *store, const void *key, size_t key_len, void *buf, size_t buf_cap,
                  size_t *value_len)
{
    ck_store *s = store;
    ck_ht_hash_t h;
    ck_ht_entry_t e;
    ck_ht_hash(&h, &s->table, key, (uint16_t)key_len);
    ck_ht_entry_key_set(&e, key, (uint16_t)key_len);
    if (!ck_ht_get_spmc(&s->table, h, &e)) {
        return 0;
    }
    const ck_item *item = ck_ht_entry_value(&e);
    *value_len = item->value_len;
    if (item->value_len > buf_cap) {
        return -1;
    }
    memcpy(buf, item->bytes + key_len, item->value_len);
    return 1;
}

static int ck_set(void *store, const void *key, size_t key_len, const void *value, size_t value_len,
                  int64_t ttl_ms)
{
    ck_store *s = store;
    ck_ht_hash_t h;
    ck_ht_entry_t e;
    ck_item *item = malloc(sizeof *item + key_len + value_len);
    (void)ttl_ms;
    if (item == NULL) {
        return -1;
    }
    item->value_len = value_len;
    memcpy(item->bytes, key, key_len);
    memcpy(item->bytes + key_len, value, value_len);
    ck_ht_hash(&h, &s->table, key, (uint16_t)key_len);
    ck_ht_entry_set(&e, h, item->bytes, (uint16_t)key_len, item);
    pthread_mutex_lock(&s->lock);
    const bool done = s->leaked < CK_LEAK_MAX && ck_ht_set_spmc(&s->table, h, &e);
    if (done && !ck_ht_entry_empty(&e)) { /* e is what was there before */
        s->leaked += sizeof *item + key_len + value_len;
    }
    pthread_mutex_unlock(&s->lock);
    if (!done) {
        free(item);
    }
    return done ? 0 : -1;
}

static uint64_t ck_count(void *store)
{
    ck_store *s = store;
    return ck_ht_count(&s->table);
}

const bench_subject ck_ht_subject = {
    .name = "ck_ht",
    .version = "0.7.1",
    .semantics = "copy",
    .caps = BENCH_SPMC | BENCH_LEAKS | BENCH_NO_EVICT,
    .open = ck_open,
    .close = ck_close,
    .get = ck_get,
    .set = ck_set,
    .count = ck_count,
};
