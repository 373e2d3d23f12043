/* SPDX-License-Identifier: MIT
 *
 * raw: the least any correct get must do; a yardstick, not a cache.
 *
 * PICTURE    key -> id (its last 8 bytes, so no hash) -> lines[id / 7].off[id % 7] -> item
 *            item  8-byte header with the value length | key | value | padding to 8
 * INVARIANTS a get touches two dependent places, compares the whole key and copies the value with
 *            memcpy; off is the item's position / 8, 0 = absent; items lie in order of first
 *            insertion. A set of a present key overwrites in place (the new value must fit).
 * LOCKING    none, on purpose: no version word, counter, expiry, eviction. Concurrent writers of a
 *            key write the same bytes (verify.h), so hits stay right. The place of a new item is
 *            taken by an atomic add; `off` is written after the item (release) and read acquire,
 *            which on x86-64 are plain moves.
 * LIMITS     no bound, no deadlines, no growth; sized when opened; 32 GiB of items. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench/harness/subject.h"
#include "bench/peers/peers.h"

#define RAW_SLOTS 7
#define RAW_HUGE ((size_t)2 << 20)

typedef struct raw_line {
    _Alignas(64) _Atomic uint32_t off[RAW_SLOTS]; /* position / 8; release in raw_set */
} raw_line;

typedef struct raw_item {
    uint64_t value_len;
    unsigned char bytes[]; /* key, value */
} raw_item;

typedef struct raw_store {
    raw_line *lines;       /* id / 7 */
    unsigned char *arena;
    size_t lines_bytes, arena_bytes;
    uint64_t id_limit;     /* ids at or above are refused */
    _Atomic uint64_t used; /* bytes of the arena, by atomic add */
    _Atomic uint64_t live; /* items */
} raw_store;

static void *raw_map(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    if (p == MAP_FAILED) {
        return NULL;
    }
    madvise(p, bytes, MADV_HUGEPAGE); /* where the system grants it */
    return p;
}

static void raw_close(void *store)
{
    raw_store *s = store;
    if (s == NULL) {
        return;
    }
    if (s->lines != NULL) {
        munmap(s->lines, s->lines_bytes);
    }
    if (s->arena != NULL) {
        munmap(s->arena, s->arena_bytes);
    }
    free(s);
}

static void *raw_open(const bench_cfg *cfg)
{
    if (cfg->key_count == 0) {
        return NULL;
    }
    raw_store *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return NULL;
    }
    const size_t item = (sizeof(raw_item) + cfg->key_len + cfg->value_len + 7) & ~(size_t)7;
    s->id_limit = cfg->key_count;
    s->lines_bytes = (cfg->key_count / RAW_SLOTS + 1) * sizeof(raw_line);
    s->lines_bytes = (s->lines_bytes + RAW_HUGE - 1) & ~(RAW_HUGE - 1);
    s->arena_bytes = (item * cfg->key_count + 64 + RAW_HUGE - 1) & ~(RAW_HUGE - 1);
    s->lines = raw_map(s->lines_bytes);
    s->arena = raw_map(s->arena_bytes);
    atomic_store(&s->used, 64); /* position 0 means absent; the first item starts a line */
    if (s->lines == NULL || s->arena == NULL || s->arena_bytes / 8 > UINT32_MAX) {
        raw_close(s);
        return NULL;
    }
    return s;
}

static _Atomic uint32_t *raw_slot(raw_store *s, const void *key, size_t key_len)
{
    uint64_t id;
    memcpy(&id, (const unsigned char *)key + key_len - 8, 8);
    if (id >= s->id_limit) {
        return NULL;
    }
    return &s->lines[id / RAW_SLOTS].off[id % RAW_SLOTS];
}

static int raw_get(void *store, const void *key, size_t key_len, void *buf, size_t buf_cap,
                   size_t *value_len)
{
    raw_store *s = store;
    const _Atomic uint32_t *slot = raw_slot(s, key, key_len);
    const uint32_t off = slot != NULL ? atomic_load_explicit(slot, memory_order_acquire) : 0;
    if (off == 0) {
        return 0;
    }
    const raw_item *item = (const raw_item *)(const void *)(s->arena + (size_t)off * 8);
    if (memcmp(item->bytes, key, key_len) != 0 || item->value_len > buf_cap) {
        return -1;
    }
    memcpy(buf, item->bytes + key_len, item->value_len);
    *value_len = item->value_len;
    return 1;
}

static int raw_set(void *store, const void *key, size_t key_len, const void *value,
                   size_t value_len, int64_t ttl_ms)
{
    raw_store *s = store;
    (void)ttl_ms;
    _Atomic uint32_t *slot = raw_slot(s, key, key_len);
    if (slot == NULL) {
        return -1;
    }
    uint32_t off = atomic_load_explicit(slot, memory_order_acquire);
    if (off != 0) {
        raw_item *item = (raw_item *)(void *)(s->arena + (size_t)off * 8);
        if (memcmp(item->bytes, key, key_len) != 0 || value_len > item->value_len) {
            return -1;
        }
        memcpy(item->bytes + key_len, value, value_len);
        item->value_len = value_len;
        return 0;
    }
    const uint64_t bytes = (sizeof(raw_item) + key_len + value_len + 7) & ~(uint64_t)7;
    const uint64_t at = atomic_fetch_add_explicit(&s->used, bytes, memory_order_relaxed);
    if (at + bytes > s->arena_bytes) {
        return -1;
    }
    raw_item *item = (raw_item *)(void *)(s->arena + at);
    item->value_len = value_len;
    memcpy(item->bytes, key, key_len);
    memcpy(item->bytes + key_len, value, value_len);
    atomic_fetch_add_explicit(&s->live, 1, memory_order_relaxed);
    atomic_store_explicit(slot, (uint32_t)(at / 8), memory_order_release);
    return 0;
}

static int raw_del(void *store, const void *key, size_t key_len)
{
    raw_store *s = store;
    _Atomic uint32_t *slot = raw_slot(s, key, key_len);
    if (slot == NULL || atomic_exchange_explicit(slot, 0, memory_order_acq_rel) == 0) {
        return 0;
    }
    atomic_fetch_sub_explicit(&s->live, 1, memory_order_relaxed);
    return 1;
}

static uint64_t raw_count(void *store)
{
    raw_store *s = store;
    return atomic_load(&s->live);
}

const bench_subject raw_subject = {
    .name = "raw",
    .version = "1",
    .semantics = "copy",
    .caps = BENCH_DEL | BENCH_FIXED_KV | BENCH_NO_EVICT,
    .open = raw_open,
    .close = raw_close,
    .get = raw_get,
    .set = raw_set,
    .del = raw_del,
    .count = raw_count,
};
