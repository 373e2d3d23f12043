/* SPDX-License-Identifier: MIT
 *
 * f2: the two-tier store of FASTER, from its sources in one object with this file.
 *
 * WALK       put -> hot log; settle -> checkpoint of both stores, then a sync of their files, which
 *            F2 leaves to the kernel; open -> recovery of the checkpoint that `token` names.
 * LIMITS     A value has its length at compile time: one of DISK_F2_LENGTHS. A get of a record of
 *            unknown length reads the disk twice. */
#define NDEBUG /* its release build: no messages, no assertions */
#include "core/f2.h"
#include "core/address.cc"
#include "core/lss_allocator.cc"
#include "core/thread.cc"
#include "environment/file_linux.cc"

#include <filesystem>
#include <fstream>
#include <memory>

extern "C" {
#include "bench/peers/disk.h"
}

#define DISK_F2_LENGTHS(X) X(256) X(4096) X(65024)

namespace {
using namespace FASTER::core;
using disk_f2_disk = FASTER::device::FileSystemDisk<FASTER::environment::QueueIoHandler, 1_GiB>;

constexpr uint64_t disk_f2_least = 192_MiB; /* of memory of a log: six pages of 32 MiB */

struct disk_f2_key {
    uint64_t word[2];
    static constexpr uint32_t size() { return sizeof(disk_f2_key); }
    bool operator==(const disk_f2_key &o) const { return word[0] == o.word[0] && word[1] == o.word[1]; }
    bool operator!=(const disk_f2_key &o) const { return !(*this == o); }
    KeyHash GetHash() const
    {
        return KeyHash{ FasterHashHelper<uint16_t>::compute(reinterpret_cast<const uint16_t *>(word),
                                                            sizeof word / 2) };
    }
};

template <uint32_t N> struct disk_f2_value {
    unsigned char bytes[N];
    static constexpr uint32_t size() { return N; }
};

/* One put or get. F2 continues a pending one with a copy of it, so results are in the caller's memory. */
template <uint32_t N> class disk_f2_call : public IAsyncContext {
public:
    using key_t = disk_f2_key;
    using value_t = disk_f2_value<N>;
    disk_f2_call(const void *key, const void *put, void *got, Status *result)
        : put_(put), got_(got), result_(result)
    {
        std::memcpy(&key_, key, sizeof key_);
    }
    const key_t &key() const { return key_; }
    static constexpr uint32_t value_size() { return N; }
    void Put(value_t &v) { std::memcpy(v.bytes, put_, N); }
    bool PutAtomic(value_t &v) { Put(v); return true; }
    void Get(const value_t &v) { std::memcpy(got_, v.bytes, N); }
    void GetAtomic(const value_t &v) { Get(v); }
    static void done(IAsyncContext *ctx, Status result)
    {
        CallbackContext<disk_f2_call> call{ ctx };
        *call->result_ = result;
    }

protected:
    Status DeepCopy_Internal(IAsyncContext *&copy) override
    {
        return IAsyncContext::DeepCopy_Internal(*this, copy);
    }

private:
    key_t key_;
    const void *put_;
    void *got_;
    Status *result_;
};

std::atomic<int> disk_f2_persisted; /* 0: not yet; 1, -1: the checkpoint is complete, failed */

struct disk_f2_store {
    virtual ~disk_f2_store() = default;
    virtual bool put(const void *key, const void *value) = 0;
    virtual int get(const void *key, void *value, size_t cap, size_t *len) = 0;
    virtual bool settle() = 0;
};

template <uint32_t N> struct disk_f2_of final : disk_f2_store {
    using f2 = F2Kv<disk_f2_key, disk_f2_value<N>, disk_f2_disk>;
    using call = disk_f2_call<N>;
    std::string dir;
    f2 store;

    static uint64_t buckets(uint64_t n)
    {
        uint64_t b = 2048;
        for (; b < n; b *= 2) {}
        return b;
    }
    static F2CompactionConfig compaction()
    {
        F2CompactionConfig c = DEFAULT_F2_COMPACTION_CONFIG;
        /* Its thread also begins checkpoints, and settle would wait for 250 ms. */
        c.hot_store.check_interval = c.cold_store.check_interval = std::chrono::milliseconds(1);
        return c;
    }
    explicit disk_f2_of(const disk_cfg *cfg)
        : dir(std::string(cfg->dir) + "/"),
          store(buckets(cfg->keys / 2), 256_MiB, dir + "hot_",
                typename f2::ColdIndexConfig(buckets(cfg->keys / 32), disk_f2_least, 0.4), disk_f2_least,
                dir + "cold_", 0.5, 0, ReadCacheConfig{ disk_f2_least, 0.5, false, true }, compaction())
    {
        std::string token;
        if (std::ifstream(dir + "token") >> token) {
            uint32_t version;
            std::vector<Guid> sessions;
            if (store.Recover(Guid::Parse(token), version, sessions) != Status::Ok) {
                throw std::runtime_error("no recovery");
            }
        }
        store.StartSession();
    }
    ~disk_f2_of() override { store.StopSession(); }

    bool put(const void *key, const void *value) override
    {
        Status result = Status::Pending;
        call c{ key, value, nullptr, &result };
        return finish(store.Upsert(c, call::done, 1), result) == Status::Ok;
    }
    int get(const void *key, void *value, size_t cap, size_t *len) override
    {
        if (cap < N) { return -1; }
        *len = N;
        Status result = Status::Pending;
        call c{ key, nullptr, value, &result };
        const Status s = finish(store.Read(c, call::done, 1), result);
        return s == Status::Ok ? 1 : s == Status::NotFound ? 0 : -1;
    }
    bool settle() override
    {
        Guid token;
        disk_f2_persisted = 0;
        /* Two of six stores of 1.6 GB lost keys where a checkpoint began beside a compaction. */
        store.CompletePendingCompactions();
        store.Checkpoint([](Status s, uint64_t) { disk_f2_persisted = s == Status::Ok ? 1 : -1; }, token,
                         false);
        while (disk_f2_persisted == 0) {
            store.CompletePending(false);
        }
        std::ofstream(dir + "token") << token.ToString();
        bool ok = disk_f2_persisted > 0;
        for (const auto &e : std::filesystem::recursive_directory_iterator(dir)) {
            ok = synced(e.path().c_str()) && ok;
        }
        return synced(dir.c_str()) && ok;
    }

private:
    Status finish(Status now, const Status &later)
    {
        return now == Status::Pending && store.CompletePending(true) ? later : now;
    }
    static bool synced(const char *path)
    {
        const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
        const bool ok = fd >= 0 && ::fsync(fd) == 0;
        if (fd >= 0) { (void)::close(fd); }
        return ok;
    }
};

void *disk_f2_open(const disk_cfg *cfg)
{
    try {
        switch (cfg->value_len) {
#define DISK_F2_CASE(n) \
    case n: return static_cast<disk_f2_store *>(new disk_f2_of<n>(cfg));
            DISK_F2_LENGTHS(DISK_F2_CASE)
        default: return nullptr;
        }
    } catch (const std::exception &e) {
        std::fprintf(stderr, "f2: %s\n", e.what());
        return nullptr;
    }
}
void disk_f2_close(void *store) { delete static_cast<disk_f2_store *>(store); }
bool disk_f2_put(void *store, const void *key, size_t, const void *value, size_t)
{
    return static_cast<disk_f2_store *>(store)->put(key, value);
}
int disk_f2_get(void *store, const void *key, size_t, void *buf, size_t cap, size_t *len)
{
    return static_cast<disk_f2_store *>(store)->get(key, buf, cap, len);
}
bool disk_f2_settle(void *store) { return static_cast<disk_f2_store *>(store)->settle(); }
} // namespace

extern "C" const disk_subject disk_f2 = {
    .name = "f2", .version = "main", .mapped = true, .open = disk_f2_open, .close = disk_f2_close,
    .put = disk_f2_put, .get = disk_f2_get, .settle = disk_f2_settle,
};
