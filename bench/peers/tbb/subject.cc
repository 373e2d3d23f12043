/* SPDX-License-Identifier: MIT
 *
 * tbb_chm: oneTBB's concurrent_hash_map, a lock an element; no eviction, no deadlines. */
#include <tbb/concurrent_hash_map.h>
#include <tbb/version.h>

#include "bench/peers/flat.h"

namespace {
struct tbb_hash {
    static size_t hash(const flat_key &k) { return flat_hash{}(k); }
    static bool equal(const flat_key &a, const flat_key &b) { return a == b; }
};

template <size_t N> struct tbb_store final : flat_store {
    using table = tbb::concurrent_hash_map<flat_key, flat_value<N>, tbb_hash>;
    table map;
    explicit tbb_store(uint64_t entries) : map(entries) { peers_hash_ready(); }
    int get(const flat_key &k, void *buf, size_t cap, size_t *len) override
    {
        typename table::const_accessor at;
        if (!map.find(at, k)) { return 0; }
        *len = at->second.len;
        if (at->second.len > cap) { return -1; }
        std::memcpy(buf, at->second.bytes, at->second.len);
        return 1;
    }
    int set(const flat_key &k, const void *value, size_t len) override
    {
        typename table::accessor at;
        if (len > N) { return -1; }
        map.insert(at, k);
        at->second.len = static_cast<uint32_t>(len);
        std::memcpy(at->second.bytes, value, len);
        return 0;
    }
    int del(const flat_key &k) override { return map.erase(k); }
    uint64_t count() override { return map.size(); }
};
} // namespace

extern "C" const bench_subject tbb_chm_subject = {
    .name = "tbb_chm", .version = TBB_VERSION_STRING, .semantics = "copy",
    .caps = BENCH_DEL | BENCH_FIXED_KV | BENCH_NO_EVICT, .threads_max = 0, .driver = nullptr,
    .open = flat_open<tbb_store>, .close = flat_close, .get = flat_get, .set = flat_set,
    .del = flat_del, .get_many = nullptr, .pin = nullptr, .unpin = nullptr, .load = nullptr, .count = flat_count,
    .accounted_bytes = nullptr, .settle = nullptr, .kept = nullptr,
};
