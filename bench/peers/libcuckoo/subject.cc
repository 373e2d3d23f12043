/* SPDX-License-Identifier: MIT
 *
 * libcuckoo: cuckoohash_map, fine-grained spin locks; no eviction, no deadlines. Sized when opened. */
#include <libcuckoo/cuckoohash_map.hh>

#include "bench/peers/flat.h"

namespace {
template <size_t N> struct cuckoo_store final : flat_store {
    libcuckoo::cuckoohash_map<flat_key, flat_value<N>, flat_hash> map;
    explicit cuckoo_store(uint64_t entries) : map(entries) { peers_hash_ready(); }
    int get(const flat_key &k, void *buf, size_t cap, size_t *len) override
    {
        int answer = 0;
        map.find_fn(k, [&](const flat_value<N> &v) {
            *len = v.len;
            answer = v.len <= cap ? 1 : -1;
            if (answer == 1) { std::memcpy(buf, v.bytes, v.len); }
        });
        return answer;
    }
    int set(const flat_key &k, const void *value, size_t len) override
    {
        if (len > N) { return -1; }
        const flat_source from{ value, len };
        map.upsert(k, [&](flat_value<N> &v) { v = from; }, from);
        return 0;
    }
    int del(const flat_key &k) override { return map.erase(k); }
    uint64_t count() override { return map.size(); }
};
} // namespace

extern "C" const bench_subject libcuckoo_subject = {
    .name = "libcuckoo", .version = "0.3.1", .semantics = "copy",
    .caps = BENCH_DEL | BENCH_FIXED_KV | BENCH_NO_EVICT, .threads_max = 0, .driver = nullptr,
    .open = flat_open<cuckoo_store>, .close = flat_close, .get = flat_get, .set = flat_set,
    .del = flat_del, .get_many = nullptr, .pin = nullptr, .unpin = nullptr, .load = nullptr, .count = flat_count,
    .accounted_bytes = nullptr, .settle = nullptr, .kept = nullptr,
};
