/* SPDX-License-Identifier: MIT
 *
 * rocks_hyper, rocks_lru: the caches of RocksDB alone, HyperClockCache and LRUCache.
 *
 * INVARIANTS A value is a block of its own, [length][bytes]; a get copies it.
 * LIMITS     Keys of up to 16 bytes (HyperClockCache takes 16 alone); a bound of bytes alone.
 *            Without a bound HyperClockCache has room for 5/4 of the keys, metadata not charged.
 * NOT HERE   an atomic overwrite in HyperClockCache: its insert keeps an older value. A set erases
 *            the key first, except directly after a miss of it in the same thread. */
#include <rocksdb/cache.h>

#include <cstdlib>

#include "bench/peers/flat.h"

namespace {
struct rocks_store {
    std::shared_ptr<rocksdb::Cache> cache;
    bool hyper;
};
struct rocks_block {
    uint64_t len;
    unsigned char bytes[];
};
thread_local flat_key rocks_missed; /* by the last get of this thread */

rocksdb::Slice rocks_slice(const flat_key &k)
{
    return rocksdb::Slice(reinterpret_cast<const char *>(k.word.data()), 16);
}
void rocks_free(const rocksdb::Slice &, void *value) { std::free(value); }

void *rocks_open(const bench_cfg *cfg, bool hyper) noexcept
{
    const size_t one = sizeof(rocks_block) + 16 + cfg->value_len;
    const bool bound = cfg->capacity_bytes != 0;
    const size_t room = bound ? cfg->capacity_bytes : cfg->key_count * one / 4 * 5;
    if (cfg->key_len > 16 || cfg->capacity_entries != 0 || !(bound || hyper)) {
        return nullptr;
    }
    try {
        rocksdb::HyperClockCacheOptions clock(room, one);
        if (!bound) { clock.metadata_charge_policy = rocksdb::kDontChargeCacheMetadata; }
        auto made = hyper ? clock.MakeSharedCache() : rocksdb::NewLRUCache(room, 6);
        return made != nullptr ? new rocks_store{ made, hyper } : nullptr;
    } catch (...) {
        return nullptr;
    }
}
void *rocks_open_hyper(const bench_cfg *cfg) noexcept { return rocks_open(cfg, true); }
void *rocks_open_lru(const bench_cfg *cfg) noexcept { return rocks_open(cfg, false); }
void rocks_close(void *store) { delete static_cast<rocks_store *>(store); }

int rocks_get(void *store, const void *key, size_t key_len, void *buf, size_t cap, size_t *len)
{
    rocksdb::Cache &c = *static_cast<rocks_store *>(store)->cache;
    const flat_key k = flat_make(key, key_len);
    rocksdb::Cache::Handle *h = c.Lookup(rocks_slice(k));
    if (h == nullptr) {
        rocks_missed = k;
        return 0;
    }
    const rocks_block *b = static_cast<const rocks_block *>(c.Value(h));
    const bool fits = b->len <= cap;
    *len = b->len;
    if (fits) { std::memcpy(buf, b->bytes, b->len); }
    c.Release(h);
    return fits ? 1 : -1;
}
int rocks_set(void *store, const void *key, size_t key_len, const void *value, size_t len, int64_t)
{
    rocks_store *s = static_cast<rocks_store *>(store);
    const flat_key k = flat_make(key, key_len);
    rocks_block *b = static_cast<rocks_block *>(std::malloc(sizeof *b + len));
    if (b == nullptr) { return -1; }
    b->len = len;
    std::memcpy(b->bytes, value, len);
    if (s->hyper && !(rocks_missed == k)) { s->cache->Erase(rocks_slice(k)); }
    rocks_missed = flat_key{};
    return s->cache->Insert(rocks_slice(k), b, sizeof *b + 16 + len, rocks_free).ok() ? 0 : -1;
}
int rocks_del(void *store, const void *key, size_t key_len)
{
    static_cast<rocks_store *>(store)->cache->Erase(rocks_slice(flat_make(key, key_len)));
    return 1;
}
uint64_t rocks_bytes(void *store) { return static_cast<rocks_store *>(store)->cache->GetUsage(); }
} // namespace

#define ROCKS_SUBJECT(id, text, opener)                                                         \
    extern "C" const bench_subject id = {                                                       \
        .name = text, .version = "7.8", .semantics = "copy",                                    \
        .caps = BENCH_BOUNDED | BENCH_DEL | BENCH_BYTES, .threads_max = 0, .driver = nullptr,   \
        .open = opener, .close = rocks_close, .get = rocks_get, .set = rocks_set,               \
        .del = rocks_del, .get_many = nullptr, .pin = nullptr, .unpin = nullptr,                \
        .load = nullptr, .count = nullptr, .accounted_bytes = rocks_bytes,                  \
        .settle = nullptr, .kept = nullptr,                                                     \
    }
ROCKS_SUBJECT(rocks_hyper_subject, "rocks_hyper", rocks_open_hyper);
ROCKS_SUBJECT(rocks_lru_subject, "rocks_lru", rocks_open_lru);
