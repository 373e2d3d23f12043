/* SPDX-License-Identifier: MIT
 *
 * cxx_caller: the C interface from C++11, wrapped as in an application: handles close themselves,
 * strings go in and out, and no exception leaves a callback.
 *
 *     c++ -O2 cxx_caller.cc -lcellar -pthread */
#include <cstdio>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>

#include "cellar.h"
#include "cellar_entry.h"
#include "cellar_kit.h"

namespace {

struct Close {
    void operator()(cellar *c) const { cellar_close(c); }
};
using Handle = std::unique_ptr<cellar, Close>;

class Cache {
public:
    explicit Cache(std::size_t memory_bytes)
    {
        cellar_config cfg = cellar_config_default();
        cfg.memory_bytes = memory_bytes;
        cellar *c = nullptr;
        const cellar_err err = cellar_open(&cfg, &c);
        if (err != CELLAR_OK) { throw std::runtime_error(cellar_strerror(err)); }
        handle_.reset(c);
    }

    /* Returns false on a miss. */
    bool get(const std::string &key, std::string *value) const
    {
        void *bytes = nullptr;
        std::size_t len = 0;
        if (cellar_get_alloc(handle_.get(), key.data(), key.size(), &bytes, &len) != CELLAR_OK) {
            return false;
        }
        const std::unique_ptr<void, void (*)(void *)> owned(bytes, cellar_free);
        value->assign(static_cast<const char *>(bytes), len);
        return true;
    }

    void set(const std::string &key, const std::string &value)
    {
        const cellar_err err = cellar_set(handle_.get(), key.data(), key.size(), value.data(),
                                          value.size(), nullptr);
        if (err != CELLAR_OK) { throw std::runtime_error(cellar_strerror(err)); }
    }

    /* fn(old or nullptr) -> new value; may run more than once. */
    template <typename Fn> void update(const std::string &key, Fn fn)
    {
        Call<Fn> call = { &fn, nullptr };
        const cellar_err err = cellar_update(handle_.get(), key.data(), key.size(), nullptr,
                                             &run<Fn>, &call);
        if (call.thrown) { std::rethrow_exception(call.thrown); }
        if (err != CELLAR_OK) { throw std::runtime_error(cellar_strerror(err)); }
    }

    cellar *get() const { return handle_.get(); }

private:
    template <typename Fn> struct Call {
        Fn *fn;
        std::exception_ptr thrown;
    };

    /* The library is C: an exception must not pass through it, so it is carried around the call. */
    template <typename Fn>
    static cellar_err run(const void *old, std::size_t old_len, cellar_buf *out, void *ctx)
    {
        Call<Fn> *call = static_cast<Call<Fn> *>(ctx);
        try {
            const std::string before(static_cast<const char *>(old ? old : ""), old_len);
            const std::string after = (*call->fn)(old ? &before : nullptr);
            return cellar_buf_append(out, after.data(), after.size());
        } catch (...) {
            call->thrown = std::current_exception();
            return CELLAR_E_CANCELLED;
        }
    }

    Handle handle_;
};

int passed, failed;

void check(bool ok, const char *what)
{
    if (ok) {
        passed++;
    } else {
        failed++;
        std::printf("not ok: %s\n", what);
    }
}

void run_checks()
{
    Cache cache(16u << 20);
    std::string value;
    check(!cache.get("log", &value), "a miss is false, not an exception");
    cache.set("log", "x");
    cache.update("log", [](const std::string *old) { return old ? *old + "y" : std::string(); });
    check(cache.get("log", &value) && value == "xy", "a lambda updates a value");

    bool caught = false;
    try {
        cache.update("log", [](const std::string *) -> std::string {
            throw std::logic_error("no");
        });
    } catch (const std::logic_error &) {
        caught = true;
    }
    check(caught, "an exception of the callback reaches the caller");
    check(cache.get("log", &value) && value == "xy", "and changes nothing");
}

/* Append a letter to the text of a task. */
cellar_err append_x(const void *old, std::size_t old_len, cellar_buf *out, void *)
{
    cellar_buf_append(out, old, old_len);
    return cellar_buf_append(out, "x", 1);
}

void run_kit_checks()
{
    Cache cache(16u << 20);
    cellar_status *opened = nullptr;
    if (cellar_status_open(cache.get(), nullptr, nullptr, &opened) != CELLAR_OK) {
        throw std::runtime_error("no status cache");
    }
    const std::unique_ptr<cellar_status, void (*)(cellar_status *)> tasks(opened,
                                                                          cellar_status_close);
    char key[CELLAR_KEY_BUILT_MAX];
    std::size_t len = 0;
    cellar_key_builder builder;
    cellar_key_begin(&builder);
    cellar_key_add(&builder, CELLAR_ARG("resize"));
    cellar_key_add(&builder, CELLAR_ARG(7));
    check(cellar_key_finish(&builder, key, sizeof key, &len) == CELLAR_OK, "parts make a key");
    cellar_status_set(tasks.get(), key, len, "", 0, "processing");
    cellar_status_update(tasks.get(), key, len, "success", append_x, nullptr);
    std::size_t value_len = 0;
    const char *state = "";
    check(cellar_status_get(tasks.get(), key, len, nullptr, 0, &value_len, &state) ==
                  CELLAR_E_BUFFER && value_len == 1 && std::string(state) == "success",
          "a merge changes value and state");
}

} // namespace

int main()
{
    try {
        run_checks();
        run_kit_checks();
    } catch (const std::exception &e) {
        check(false, e.what());
    }
    std::printf("cxx_caller: %d passed, %d failed, 0 skipped\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
