/* SPDX-License-Identifier: MIT
 *
 * shared_ptr64: std::unordered_map of std::shared_ptr in 64 parts with a mutex each. A get holds the
 * object and reads its first and last 8 bytes in place, as cellar_object does. */
#include <mutex>
#include <unordered_map>

#include "bench/peers/flat.h"

namespace {
template <size_t N> struct shared_store final : flat_store {
    using object = std::shared_ptr<const flat_value<N>>;
    struct alignas(64) part {
        std::mutex mutex;
        std::unordered_map<flat_key, object, flat_hash> map;
    };
    std::array<part, 64> parts;
    explicit shared_store(uint64_t entries)
    {
        peers_hash_ready();
        for (part &p : parts) { p.map.reserve(entries / parts.size()); }
    }
    part &part_of(const flat_key &k)
    {
        return parts[(k.word[0] ^ k.word[1]) * UINT64_C(0x9e3779b97f4a7c15) >> 58];
    }
    int get(const flat_key &k, void *buf, size_t cap, size_t *len) override
    {
        object held;
        part &p = part_of(k);
        {
            const std::lock_guard<std::mutex> lock(p.mutex);
            const auto at = p.map.find(k);
            if (at == p.map.end()) { return 0; }
            held = at->second;
        }
        *len = held->len;
        if (held->len > cap) { return -1; }
        const size_t end = held->len < 8 ? held->len : 8, last = held->len - end;
        std::memcpy(buf, held->bytes, end);
        std::memcpy(static_cast<unsigned char *>(buf) + last, held->bytes + last, end);
        return 1;
    }
    int set(const flat_key &k, const void *value, size_t len) override
    {
        if (len > N) { return -1; }
        object fresh = std::make_shared<const flat_value<N>>(flat_source{ value, len });
        part &p = part_of(k);
        const std::lock_guard<std::mutex> lock(p.mutex);
        p.map[k].swap(fresh);
        return 0;
    }
    int del(const flat_key &k) override
    {
        part &p = part_of(k);
        const std::lock_guard<std::mutex> lock(p.mutex);
        return p.map.erase(k) != 0;
    }
    uint64_t count() override
    {
        uint64_t sum = 0;
        for (part &p : parts) { sum += p.map.size(); }
        return sum;
    }
};
} // namespace

extern "C" const bench_subject shared_ptr64_subject = {
    .name = "shared_ptr64", .version = "C++17", .semantics = "ref",
    .caps = BENCH_DEL | BENCH_FIXED_KV | BENCH_NO_EVICT, .threads_max = 0, .driver = nullptr,
    .open = flat_open<shared_store>, .close = flat_close, .get = flat_get, .set = flat_set,
    .del = flat_del, .get_many = nullptr, .pin = nullptr, .unpin = nullptr, .load = nullptr,
    .count = flat_count, .accounted_bytes = nullptr, .settle = nullptr, .kept = nullptr,
};
