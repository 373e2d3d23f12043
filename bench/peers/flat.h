/* SPDX-License-Identifier: MIT
 *
 * flat: common parts of the C++ tables: keys of 8 or 16 bytes as two words, values of fixed shape.
 *
 * Such tables want their types at compile time, so each is instantiated for the shapes 16/100,
 * 16/4096 and 8/8 (8-byte keys are padded); another shape cannot be opened. One virtual call picks
 * the shape: about a nanosecond, against them. The hash is our keyed one, as for every subject. */
#ifndef BENCH_PEERS_FLAT_H
#define BENCH_PEERS_FLAT_H

#include <array>
#include <cstring>
#include <memory>

extern "C" {
#include "bench/peers/peers.h"
}

struct flat_key {
    std::array<uint64_t, 2> word;
    bool operator==(const flat_key &o) const { return word == o.word; }
};

struct flat_source {
    const void *bytes;
    size_t len;
};

template <size_t N> struct flat_value {
    uint32_t len;
    unsigned char bytes[N];
    flat_value() = default;
    explicit flat_value(const flat_source &s) { *this = s; }
    flat_value &operator=(const flat_source &s) /* one copy: from the caller's memory into the table */
    {
        len = static_cast<uint32_t>(s.len);
        std::memcpy(bytes, s.bytes, s.len);
        return *this;
    }
};

struct flat_hash {
    size_t operator()(const flat_key &k) const { return peers_hash(k.word.data(), 16); }
};

inline flat_key flat_make(const void *key, size_t key_len)
{
    flat_key k{};
    std::memcpy(k.word.data(), key, key_len);
    return k;
}

struct flat_store {
    virtual ~flat_store() = default;
    virtual int get(const flat_key &k, void *buf, size_t cap, size_t *len) = 0;
    virtual int set(const flat_key &k, const void *value, size_t len) = 0;
    virtual int del(const flat_key &k) = 0;
    virtual uint64_t count() = 0;
};

/* Table<N>(entries) is a flat_store for values of up to N bytes. */
template <template <size_t> class Table> void *flat_open(const bench_cfg *cfg) noexcept
{
    if (cfg->capacity_entries != 0 || cfg->capacity_bytes != 0 || cfg->key_len > 16) {
        return nullptr;
    }
    try {
        switch (cfg->value_len) {
        case 8: return static_cast<flat_store *>(new Table<8>(cfg->hint_entries));
        case 100: return static_cast<flat_store *>(new Table<100>(cfg->hint_entries));
        case 4096: return static_cast<flat_store *>(new Table<4096>(cfg->hint_entries));
        default: return nullptr;
        }
    } catch (...) {
        return nullptr;
    }
}

inline int flat_get(void *store, const void *key, size_t key_len, void *buf, size_t cap,
                    size_t *value_len)
{
    return static_cast<flat_store *>(store)->get(flat_make(key, key_len), buf, cap, value_len);
}
inline int flat_set(void *store, const void *key, size_t key_len, const void *value,
                    size_t value_len, int64_t)
{
    return static_cast<flat_store *>(store)->set(flat_make(key, key_len), value, value_len);
}
inline int flat_del(void *store, const void *key, size_t key_len)
{
    return static_cast<flat_store *>(store)->del(flat_make(key, key_len));
}
inline uint64_t flat_count(void *store) { return static_cast<flat_store *>(store)->count(); }
inline void flat_close(void *store) { delete static_cast<flat_store *>(store); }

#endif
