/* SPDX-License-Identifier: MIT
 *
 * cellar.hpp: C++17 wrapper of cellar, header only: handles close themselves, values have types.
 *
 * CALL PATTERN
 *     #include "cellar.hpp"                                  link as for C: -lcellar -pthread
 *     cellarpp::handle store(cellar_config_default());
 *     cellarpp::handle users(store, "users");                a namespace of the store
 *     users.set("user:7", std::string("Ada"), 60000);        one minute
 *     if (auto name = users.get("user:7")) { use(*name); }   std::optional<std::string>
 *     cellarpp::objects<Pattern> patterns(store, "patterns");  a namespace of objects
 *     auto pattern = patterns.get_or_load(text, compile);    held<const Pattern>: no copy
 *
 * OUTCOMES    A miss is an empty optional or false. An error throws cellarpp::error with its code.
 * VALUES      codec<T> turns a value into bytes and back. Bytes that do not decode are a miss.
 * OWNERSHIP   Each class is move-only and frees what it holds. A moved-from object is empty: only
 *             its destructor, move assignment and raw() may be used. Results that were copied and
 *             holds of objects outlive the store. A pin, a pinned result, a lease and a lock must
 *             not.
 * EXCEPTIONS  No exception crosses C. The wrapper stores what a callback throws and rethrows it in
 *             the calling thread. pthread_exit and cancellation must not end a callback.
 * THREADS     Like the C calls: any thread calls any const or non-const function of a handle at
 *             any time. Moving, closing and destroying an object must not overlap its other calls.
 * C CALLS     raw() returns the C handle for all calls without a wrapper here. */
#ifndef CELLAR_HPP
#define CELLAR_HPP

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

/* The header of either pair of the drop-in holds these headers, with their guards. */
#ifndef CELLAR_H
#include "cellar.h"
#endif
#ifndef CELLAR_ENTRY_H
#include "cellar_entry.h"
#endif
#ifndef CELLAR_LOAD_H
#include "cellar_load.h"
#endif
#ifndef CELLAR_INVALIDATE_H
#include "cellar_invalidate.h"
#endif
#ifndef CELLAR_OBJECT_H
#include "cellar_object.h"
#endif
#ifndef CELLAR_OMIT_LIMIT
#ifndef CELLAR_LIMIT_H
#include "cellar_limit.h"
#endif
#ifndef CELLAR_LOCK_H
#include "cellar_lock.h"
#endif
#endif

namespace cellarpp {

/* ---- Errors --------------------------------------------------------------------------------- */

/* An error of a C call; what() is the text of the handle for this error, else that of the code. The
 * wrapper throws it for each negative code. Only it, std::bad_alloc and what functions of the
 * program throw leave a call. It may be copied, and holds nothing of the store. */
class error : public std::runtime_error {
public:
    /* Make the error of a code, with the text of the code. */
    explicit error(cellar_err e) : std::runtime_error(text_of(e)), code(e) {}
    /* Make the error of a code with a text. A loader may throw it: its callers get the code. */
    error(cellar_err e, const char *text) : std::runtime_error(text), code(e) {}

    cellar_err code;             /* negative: E_TIMEOUT, E_CLOSED, .. */
    std::int32_t loader_err = 0; /* of a failed load: what its loader returned or reported, unless
                                  * the loader of this call threw */

private:
    static std::string text_of(cellar_err e)
    {
#ifdef CELLAR_OMIT_TEXT
        return "cellar: code " + std::to_string(static_cast<int>(e));
#else
        return cellar_strerror(e);
#endif
    }
};

/* Return a code that is no error. Throw cellarpp::error for a negative one. For C calls with raw()
 * handles. */
inline cellar_err check(cellar_err e)
{
    if (e < 0) { throw error(e); }
    return e;
}

/* Return a code that is no error. Throw cellarpp::error for a negative one, with the text of the
 * last error of `c`; NULL is the last failed open. */
inline cellar_err check(cellar_err e, cellar *c)
{
    if (e >= 0) { return e; }
    cellar_error_info info = cellar_error_info_default();
    if (cellar_last_error(c, &info) == CELLAR_OK && info.code == e && info.text[0] != '\0') {
        throw error(e, info.text);
    }
    throw error(e);
}

/* Return the code of a load if it is no error. Throw cellarpp::error for a negative one: with the
 * code of the loader, also in callers that joined its load; E_LOADER only if it has no code. */
inline cellar_err check(cellar_err e, cellar *c, const cellar_result &r)
{
    if (e != CELLAR_E_LOADER) { return check(e, c); }
    cellar_err code = e;
    switch (r.loader_err) {
#define CELLAR_CODE_CASE(name, number, text) case number: code = CELLAR_##name; break;
        CELLAR_CODES(CELLAR_CODE_CASE)
#undef CELLAR_CODE_CASE
    default: break;
    }
    error failed(code < 0 ? code : e);
    failed.loader_err = r.loader_err;
    throw failed;
}

/* ---- Values --------------------------------------------------------------------------------- */

/* Encode and decode values of type T, which needs a default constructor. Specialize it:
 *     static std::string_view encode(const T &value, std::string &room);  bytes, maybe in `room`
 *     static bool decode(std::string_view bytes, T &value);               false: damaged, a miss
 *     static constexpr std::size_t max_bytes = 8;                         optional: no encoding is
 *                                                       longer; reads then allocate nothing
 * `bytes` and `room` are valid until the function returns, the result of encode as long as `value`
 * and `room`. Several threads call the functions at the same time. What they throw leaves the call
 * of the wrapper; the entry is then unchanged. */
template <class T, class = void> struct codec;

/* Store a string as its bytes. */
template <> struct codec<std::string> {
    static std::string_view encode(std::string_view value, std::string &) { return value; }
    static bool decode(std::string_view bytes, std::string &value)
    {
        value.assign(bytes);
        return true;
    }
};

namespace detail {
template <class T>
inline constexpr bool is_text = std::is_convertible_v<const T &, std::string_view>;
template <class T>
inline constexpr bool is_plain = std::is_trivially_copyable_v<T> && !std::is_pointer_v<T> &&
                                 !std::is_array_v<T> && !std::is_null_pointer_v<T> && !is_text<T>;
} // namespace detail

/* Store a trivially copyable value as its memory, in the layout of this program. Pointers and
 * arrays have no codec. A struct must not contain pointers. Other bytes than those of true and
 * false are no bool. An enum, and a member of a struct, is not checked: specialize codec where
 * other programs write. */
template <class T> struct codec<T, std::enable_if_t<detail::is_plain<T>>> {
    static constexpr std::size_t max_bytes = sizeof(T);
    static std::string_view encode(const T &value, std::string &)
    {
        return {static_cast<const char *>(static_cast<const void *>(&value)), sizeof value};
    }
    static bool decode(std::string_view bytes, T &value)
    {
        if (bytes.size() != sizeof value) { return false; }
        if constexpr (std::is_same_v<T, bool>) {
            if (bytes[0] != 0 && bytes[0] != 1) { return false; }
        }
        std::memcpy(&value, bytes.data(), sizeof value);
        return true;
    }
};

namespace detail {

template <class T, class = void> struct has_codec : std::false_type {};
template <class T> struct has_codec<T, std::void_t<decltype(sizeof(codec<T>))>> : std::true_type {};
template <class T, class = void> inline constexpr std::size_t max_bytes = 0; /* not known */
template <class T>
inline constexpr std::size_t max_bytes<T, std::void_t<decltype(codec<T>::max_bytes)>> =
    codec<T>::max_bytes;
/* Texts without a codec are stored as std::string: literals, pointers to char, string_views. */
template <class T>
using stored = std::conditional_t<is_text<T> && !has_codec<T>::value, std::string, T>;

/* Stand in for a codec that does not exist, so that a compiler reports one error. */
template <class T> constexpr void codec_check() noexcept
{
    static_assert(has_codec<T>::value,
                  "this type has no codec: specialize cellarpp::codec for it, see cpp.md");
}
template <class T> struct no_codec {
    static std::string_view encode(const T &, std::string &)
    {
        codec_check<T>();
        return {};
    }
    static bool decode(std::string_view, T &)
    {
        codec_check<T>();
        return false;
    }
};
template <class T>
using codec_of = std::conditional_t<has_codec<T>::value, codec<T>, no_codec<T>>;

inline std::string_view view_of(const void *data, std::size_t len) noexcept
{
    return {static_cast<const char *>(data), len};
}

inline cellar_bytes bytes_of(std::string_view text) noexcept
{
    cellar_bytes b = cellar_bytes();
    b.data = text.data();
    b.len = text.size();
    return b;
}

template <class T> std::optional<T> decoded(std::string_view bytes)
{
    std::optional<T> value(std::in_place);
    if (!codec_of<T>::decode(bytes, *value)) { value.reset(); }
    return value;
}

/* Run a callback of C. Store what it throws in `*thrown`, unless NULL, and return a code instead:
 * that of a cellarpp::error, which tells the library more, else `otherwise`. */
template <class Body>
cellar_err guarded(std::exception_ptr *thrown, cellar_err otherwise, Body &&body) noexcept
{
    cellar_err code = otherwise;
    try {
        return body();
    } catch (const error &e) {
        if (e.code < 0) { code = e.code; }
        if (thrown != nullptr) { *thrown = std::current_exception(); }
    } catch (...) {
        if (thrown != nullptr) { *thrown = std::current_exception(); }
    }
    return code;
}

/* A loader takes the key, or the key and the load for calls like cellar_load_opts_set. */
template <class F>
inline constexpr bool takes_load = std::is_invocable_v<F &, std::string_view, cellar_load *>;
template <class F>
inline constexpr bool is_loader = takes_load<F> || std::is_invocable_v<F &, std::string_view>;

/* Run a loader. */
template <class F> auto loaded(F &fn, cellar_load *load, const void *key, std::size_t key_len)
{
    if constexpr (takes_load<F>) {
        return fn(view_of(key, key_len), load);
    } else {
        return fn(view_of(key, key_len));
    }
}

/* Run a loader and report its value as bytes, or that there is none. */
template <class T> struct bytes_loader {
    template <class F>
    static cellar_err run(F &fn, cellar_load *load, const void *key, std::size_t key_len)
    {
        const std::optional<T> value = loaded(fn, load, key, key_len);
        if (!value) { return cellar_load_absent(load); }
        std::string room;
        const std::string_view bytes = codec_of<T>::encode(*value, room);
        return cellar_load_value(load, bytes.data(), bytes.size());
    }
};

/* Return where the loader of a namespace stores its exception: a place of the running call of this
 * thread. NULL in background loads: they have no caller that could catch. */
inline std::exception_ptr *&thrown_here() noexcept
{
    static thread_local std::exception_ptr *place = nullptr;
    return place;
}

/* Set thrown_here while an object lives. */
class thrown_scope {
public:
    explicit thrown_scope(std::exception_ptr *place) noexcept
        : before_(std::exchange(thrown_here(), place)) {}
    thrown_scope(const thrown_scope &) = delete;
    thrown_scope &operator=(const thrown_scope &) = delete;
    ~thrown_scope() { thrown_here() = before_; }

private:
    std::exception_ptr *before_;
};

/* Loaders of the namespaces of one store. All handles of the store share the list. */
class loader_list {
public:
    void add(std::shared_ptr<void> loader)
    {
        const std::lock_guard<std::mutex> hold(mutex_);
        loaders_.push_back(std::move(loader));
    }
    void clear() noexcept
    {
        std::vector<std::shared_ptr<void>> gone;
        {
            const std::lock_guard<std::mutex> hold(mutex_);
            gone.swap(loaders_);
        }
    }

private:
    std::mutex mutex_;
    std::vector<std::shared_ptr<void>> loaders_;
};

} // namespace detail

/* ---- Pins, results, leases ------------------------------------------------------------------ */

/* A value read in place, from handle::get_pinned; see cellar_pin. Move-only: a move takes the pin
 * over, the destructor unpins. It must not outlive the store; while it lives, its bytes stay, also
 * after a delete of the entry. Any thread may read and destroy it. No function but as() throws. */
class pin {
public:
    /* Make an empty pin. */
    pin() = default;
    /* Take the pin of another object, which is empty afterwards. */
    pin(pin &&other) noexcept : p_(std::exchange(other.p_, cellar_pinned())) {}
    pin &operator=(pin &&other) noexcept
    {
        pin taken(std::move(other));
        std::swap(p_, taken.p_);
        return *this;
    }
    pin(const pin &) = delete;
    pin &operator=(const pin &) = delete;
    /* Unpin the value. */
    ~pin() { cellar_unpin(&p_); }

    /* Return the bytes; valid while the pin lives; empty for an empty pin. */
    std::string_view bytes() const noexcept { return detail::view_of(p_.value, p_.value_len); }
    /* Decode a copy of the value; empty if its bytes are damaged. */
    template <class T = std::string> std::optional<T> as() const
    {
        return detail::decoded<T>(bytes());
    }
    /* Return the C struct. */
    const cellar_pinned &raw() const noexcept { return p_; }

private:
    friend class handle;
    cellar_pinned p_ = cellar_pinned();
};

/* Result of a read-through with its details, from handle::load_result; see cellar_result. It is
 * move-only: a move takes the value over, the destructor frees it. It outlives the store unless
 * CELLAR_RESULT_PINNED is set in raw().flags. Any thread may read and destroy it. No function but
 * as() throws. */
class result {
public:
    /* Make an empty result: MISS. */
    result() = default;
    /* Take the value of another result, which is empty afterwards. */
    result(result &&other) noexcept
        : r_(std::exchange(other.r_, cellar_result_default())),
          code_(std::exchange(other.code_, CELLAR_MISS)) {}
    result &operator=(result &&other) noexcept
    {
        result taken(std::move(other));
        std::swap(r_, taken.r_);
        std::swap(code_, taken.code_);
        return *this;
    }
    result(const result &) = delete;
    result &operator=(const result &) = delete;
    /* Free the value. */
    ~result() { cellar_result_free(&r_); }

    /* Return true if there is a value, fresh or stale. */
    explicit operator bool() const noexcept { return code_ == CELLAR_OK || code_ == CELLAR_STALE; }
    /* Return the code of the call: OK, STALE, ABSENT, MISS or PENDING, for leases also LEASED. */
    cellar_err code() const noexcept { return code_; }
    /* Return the bytes; valid while the result lives; empty without a value. */
    std::string_view bytes() const noexcept { return detail::view_of(r_.value, r_.value_len); }
    /* Decode the value; empty without one, or if its bytes are damaged. */
    template <class T = std::string> std::optional<T> as() const
    {
        if (!*this) { return std::nullopt; }
        return detail::decoded<T>(bytes());
    }
    /* Return the C struct: source, age, TTL left, flags. */
    const cellar_result &raw() const noexcept { return r_; }

private:
    friend class handle;
    cellar_result r_ = cellar_result_default();
    cellar_err code_ = CELLAR_MISS;
};

/* Exclusive permission to load one key, from lease_acquire; see cellar_lease_acquire. Move-only: a
 * move takes the lease over, the destructor releases it, so that another caller may load. It must
 * not outlive the handle that acquired it. Any thread may use it, one at a time. */
class lease {
public:
    /* Make an empty lease. */
    lease() = default;
    /* Take the lease of another object, which is empty afterwards. */
    lease(lease &&other) noexcept
        : c_(std::exchange(other.c_, nullptr)), l_(std::exchange(other.l_, cellar_lease())) {}
    lease &operator=(lease &&other) noexcept
    {
        lease taken(std::move(other));
        std::swap(c_, taken.c_);
        std::swap(l_, taken.l_);
        return *this;
    }
    lease(const lease &) = delete;
    lease &operator=(const lease &) = delete;
    /* Release the lease, unless it was fulfilled or released. */
    ~lease()
    {
        if (*this) { cellar_lease_release(c_, &l_, 0); }
    }

    /* Return true from the acquire until the lease is fulfilled or released. */
    explicit operator bool() const noexcept { return cellar_lease_held(&l_); }
    /* Fulfill the lease: store the value and wake its waiters. Return OK, or why it is not stored:
     * INVALIDATED, DROPPED, DISABLED. Throw E_LEASE if it has expired or was fulfilled before. */
    template <class T> cellar_err fulfill(const T &value, const cellar_set_opts *o = nullptr)
    {
        std::string room;
        const std::string_view bytes = detail::codec_of<detail::stored<T>>::encode(value, room);
        return check(cellar_lease_fulfill(c_, &l_, bytes.data(), bytes.size(), o), c_);
    }
    /* Release the lease. loader_err 0: another caller may load; else the load failed with it. Throw
     * E_LEASE if it has expired or was released before. */
    void release(std::int32_t loader_err = 0)
    {
        check(cellar_lease_release(c_, &l_, loader_err), c_);
    }

private:
    friend class handle;
    template <class T> friend class objects;
    cellar *c_ = nullptr;
    cellar_lease l_ = cellar_lease();
};

/* ---- Stores and namespaces ------------------------------------------------------------------ */

/* A store, or a namespace of it. Move-only: a move takes the C handle over. The destructor of a
 * store waits until all its loads have ended. In one of these loads it would never return: it calls
 * std::terminate. Any thread calls any function but close(), moves and the destructor at any
 * time. */
class handle {
public:
    /* Open a store. Throw as cellar_open. */
    explicit handle(const cellar_config &cfg = cellar_config_default())
        : loaders_(std::make_shared<detail::loader_list>()), is_store_(true)
    {
        check(cellar_open(&cfg, &c_), nullptr);
    }
    /* Open a namespace, create it if it is new. It may outlive the store: calls then throw
     * E_CLOSED. Throw as cellar_namespace_open. */
    handle(const handle &store, const char *name, const cellar_namespace_config *o = nullptr)
        : loaders_(store.loaders_)
    {
        check(cellar_namespace_open(store.c_, name, o, &c_), store.c_);
    }
    /* Take the handle of another object: raw() of that one is NULL afterwards. */
    handle(handle &&other) noexcept
        : loaders_(std::move(other.loaders_)), c_(std::exchange(other.c_, nullptr)),
          is_store_(other.is_store_) {}
    handle &operator=(handle &&other) noexcept
    {
        handle taken(std::move(other));
        std::swap(loaders_, taken.loaders_);
        std::swap(c_, taken.c_);
        std::swap(is_store_, taken.is_store_);
        return *this;
    }
    handle(const handle &) = delete;
    handle &operator=(const handle &) = delete;
    /* Close the handle. A store waits until all its loads have ended. */
    ~handle()
    {
        cellar_err e = closed();
        while (e == CELLAR_E_BUSY) { e = closed(); }
        if (e == CELLAR_E_DEADLOCK) { std::terminate(); }
        if (c_ != nullptr && is_store_) { loaders_->clear(); }
    }

    /* Open a namespace with its own loader, fn(key) or fn(key, cellar_load *) -> std::optional<T>.
     * Background refreshes use the loader. It must be callable from several threads. The store owns
     * the loader and destroys it after all loads have ended, when the store closes: loads may still
     * run when the namespace handle is closed. */
    template <class T = std::string, class F>
    static handle with_loader(const handle &store, const char *name, F fn,
                              const cellar_namespace_config *o = nullptr)
    {
        const cellar_namespace_config with =
            loader_config<detail::bytes_loader<T>>(store, std::move(fn), o);
        return handle(store, name, &with);
    }

    /* Close the handle now; a second close does nothing. Throw with the store still open: E_BUSY if
     * its loads still run after close_timeout_ms, E_DEADLOCK in one of these loads. It must not
     * overlap other calls of the object. */
    void close()
    {
        if (c_ == nullptr) { return; }
        check(closed(), c_);
        c_ = nullptr;
        if (is_store_) { loaders_->clear(); }
    }
    /* Return the C handle; NULL after close() or a move. */
    cellar *raw() const noexcept { return c_; }

    /* Copy and decode the value of a key; empty: a miss, an absent key, or bytes that do not
     * decode. Such bytes are deleted and counted. */
    template <class T = std::string> std::optional<T> get(std::string_view key) const
    {
        std::size_t len = 0;
        if constexpr (detail::max_bytes<T> != 0) {
            char room[detail::max_bytes<T>];
            const cellar_err e = cellar_get(c_, key.data(), key.size(), room, sizeof room, &len);
            if (e != CELLAR_E_BUFFER) { /* longer: all of it decodes to nothing below */
                if (check(e, c_) != CELLAR_OK) { return std::nullopt; }
                return decoded<T>(key, detail::view_of(room, len));
            }
        }
        void *value = nullptr;
        if (check(cellar_get_alloc(c_, key.data(), key.size(), &value, &len), c_) != CELLAR_OK) {
            return std::nullopt;
        }
        const std::unique_ptr<void, free_value> owned(value);
        return decoded<T>(key, detail::view_of(value, len));
    }
    /* Copy and decode the values of many keys, in their order; empty as in get. Values over 256
     * bytes are read a second time. Throw if one key is refused: the others are lost with it. */
    template <class T = std::string>
    std::vector<std::optional<T>> get_many(const std::vector<std::string_view> &keys) const
    {
        constexpr std::size_t room_each = 256;
        std::vector<char> room(keys.size() * room_each);
        std::vector<cellar_get_item> items(keys.size());
        for (std::size_t i = 0; i < keys.size(); i++) {
            items[i].key = keys[i].data();
            items[i].key_len = keys[i].size();
            items[i].buf = &room[i * room_each];
            items[i].buf_cap = room_each;
        }
        check(cellar_get_many(c_, items.data(), items.size(), nullptr), c_);
        std::vector<std::optional<T>> values(keys.size());
        for (std::size_t i = 0; i < keys.size(); i++) {
            if (items[i].status == CELLAR_E_BUFFER) {
                values[i] = get<T>(keys[i]);
            } else if (check(items[i].status) == CELLAR_OK) {
                values[i] = decoded<T>(keys[i], detail::view_of(items[i].buf, items[i].value_len));
            }
        }
        return values;
    }
    /* Pin a value to read it in place, without a copy; empty: a miss or an absent key. Throw as
     * cellar_pin. */
    std::optional<pin> get_pinned(std::string_view key) const
    {
        pin p;
        if (check(cellar_pin(c_, key.data(), key.size(), &p.p_), c_) != CELLAR_OK) {
            return std::nullopt;
        }
        return p;
    }
    /* Check whether a live value exists; not a use of the entry. */
    bool contains(std::string_view key) const
    {
        return check(cellar_contains(c_, key.data(), key.size()), c_) == CELLAR_OK;
    }

    /* Store a copy of a value; ttl_ms 0: the default of the namespace. Return false if the
     * namespace is disabled, or for DEFERRED: see WRITES of cellar_remote.h. Throw as cellar_set. */
    template <class T> bool set(std::string_view key, const T &value, std::int64_t ttl_ms = 0)
    {
        cellar_set_opts o = cellar_set_opts_default();
        o.ttl_ms = ttl_ms;
        return set(key, value, o);
    }
    /* Store a value with tags for delete_by_tag. Throw E_INVAL over CELLAR_TAGS_MAX tags. */
    template <class T>
    bool set(std::string_view key, const T &value, std::int64_t ttl_ms,
             std::initializer_list<std::string_view> tags)
    {
        cellar_bytes all[CELLAR_TAGS_MAX];
        if (tags.size() > CELLAR_TAGS_MAX) { throw error(CELLAR_E_INVAL); }
        cellar_set_opts o = cellar_set_opts_default();
        o.ttl_ms = ttl_ms;
        o.tags = all;
        for (const std::string_view tag : tags) { all[o.tag_count++] = detail::bytes_of(tag); }
        return set(key, value, o);
    }
    /* Store a value with options. Return false if a condition of the options does not hold, the
     * namespace is disabled, or for DEFERRED. */
    template <class T> bool set(std::string_view key, const T &value, const cellar_set_opts &o)
    {
        std::string room;
        const std::string_view bytes = detail::codec_of<detail::stored<T>>::encode(value, room);
        return check(cellar_set(c_, key.data(), key.size(), bytes.data(), bytes.size(), &o), c_) ==
               CELLAR_OK;
    }
    /* Delete an entry. Return true if a live value was in memory; false also for DEFERRED. */
    bool erase(std::string_view key)
    {
        return check(cellar_delete(c_, key.data(), key.size()), c_) == CELLAR_OK;
    }
    /* Give a live entry a new TTL from now on. Return false if there is none, or for DEFERRED. */
    bool touch(std::string_view key, std::int64_t ttl_ms)
    {
        return check(cellar_touch(c_, key.data(), key.size(), ttl_ms), c_) == CELLAR_OK;
    }
    /* Add to a counter and return its value; a missing one begins at `init`. Empty: disabled. Throw
     * E_TYPE if the value is no counter, E_RANGE over the range of 64 bits. */
    std::optional<std::int64_t> increment(std::string_view key, std::int64_t delta = 1,
                                          std::int64_t init = 0, std::int64_t ttl_if_new_ms = 0)
    {
        std::int64_t now = 0;
        cellar_set_opts o = cellar_set_opts_default();
        o.ttl_ms = ttl_if_new_ms;
        if (check(cellar_increment(c_, key.data(), key.size(), delta, init, &o, &now), c_) !=
            CELLAR_OK) {
            return std::nullopt;
        }
        return now;
    }
    /* Update an entry atomically: fn(const std::optional<T> &old) -> std::optional<T>; an empty
     * result removes the entry. fn may run more than once. Rethrow what fn throws; the entry is
     * then unchanged. Return true if the entry has the new value. */
    template <class T = std::string, class F>
    bool update(std::string_view key, F &&fn, const cellar_set_opts *o = nullptr)
    {
        struct call {
            std::remove_reference_t<F> *fn;
            std::exception_ptr thrown;
        } ctx = {&fn, nullptr};
        const cellar_err e = cellar_update(c_, key.data(), key.size(), o,
            [](const void *old, std::size_t old_len, cellar_buf *out, void *p) -> cellar_err {
                call *const mine = static_cast<call *>(p);
                return detail::guarded(&mine->thrown, CELLAR_E_CANCELLED, [&]() -> cellar_err {
                    std::optional<T> before;
                    if (old != nullptr) {
                        before = detail::decoded<T>(detail::view_of(old, old_len));
                    }
                    const std::optional<T> after =
                        (*mine->fn)(static_cast<const std::optional<T> &>(before));
                    if (!after) { return CELLAR_REMOVED; }
                    std::string room;
                    const std::string_view bytes =
                        detail::codec_of<T>::encode(*after, room);
                    return cellar_buf_append(out, bytes.data(), bytes.size());
                });
            }, &ctx);
        if (ctx.thrown) { std::rethrow_exception(ctx.thrown); }
        return check(e, c_) == CELLAR_OK;
    }
    /* Delete all entries with a tag, in all namespaces of the store. SOFT makes them stale. Throw
     * as cellar_delete_by_tag. */
    void delete_by_tag(std::string_view tag, cellar_tag_mode mode = CELLAR_TAG_HARD)
    {
        check(cellar_delete_by_tag(c_, tag.data(), tag.size(), mode), c_);
    }
    /* Clear this namespace: no entry of before is read again. Throw as cellar_clear. */
    void clear() { check(cellar_clear(c_), c_); }

    /* Read through the cache: fn(key) or fn(key, cellar_load *) -> std::optional<T>; empty: the
     * source has no value. Loads of one key in several threads run one loader. fn runs in this
     * thread or not at all. Rethrow what fn throws, unless a stale or default value replaces it. A
     * call that joined the load of another one throws a cellarpp::error: `code` is that of a
     * cellarpp::error that the loader threw, else E_LOADER. */
    template <class T = std::string, class F, std::enable_if_t<detail::is_loader<F>, int> = 0>
    std::optional<T> get_or_load(std::string_view key, F &&fn, const cellar_load_opts *o = nullptr)
    {
        return load_value<T>(key, o, [&](const cellar_load_opts &with, result &r) {
            load_into<T>(r, key, fn, with);
        });
    }
    /* Read through the cache with the loader of the namespace; see with_loader. Rethrow what the
     * loader throws in this thread; a load in another thread throws a cellarpp::error here. */
    template <class T = std::string>
    std::optional<T> get_or_load(std::string_view key, const cellar_load_opts *o = nullptr)
    {
        return load_value<T>(key, o, [&](const cellar_load_opts &with, result &r) {
            load_into(r, key, with);
        });
    }
    /* Like get_or_load, but return the bytes and details. CELLAR_LOAD_PIN: no copy of a hit. */
    template <class T = std::string, class F, std::enable_if_t<detail::is_loader<F>, int> = 0>
    result load_result(std::string_view key, F &&fn, const cellar_load_opts *o = nullptr)
    {
        result r;
        load_into<T>(r, key, fn, o != nullptr ? *o : cellar_load_opts_default());
        return r;
    }
    /* Like get_or_load with the loader of the namespace, but return the bytes and details. */
    result load_result(std::string_view key, const cellar_load_opts *o = nullptr)
    {
        result r;
        load_into(r, key, o != nullptr ? *o : cellar_load_opts_default());
        return r;
    }
    /* Read through the cache without a loader. The result has a value, or its code is LEASED: bring
     * the value with the lease; or PENDING: another caller loads, call again. STALE may come with a
     * lease to refresh the value. */
    std::pair<result, lease> lease_acquire(std::string_view key,
                                           const cellar_load_opts *o = nullptr)
    {
        std::pair<result, lease> got;
        result &r = got.first;
        lease &l = got.second;
        l.c_ = c_;
        r.code_ = cellar_lease_acquire(c_, key.data(), key.size(), o, nullptr, &l.l_, &r.r_);
        check(r.code_, c_, r.r_);
        return got;
    }

private:
    template <class T> friend class objects;
    cellar_err closed() const noexcept
    {
        return is_store_ ? cellar_close(c_) : cellar_namespace_close(c_);
    }
    struct free_value {
        void operator()(void *value) const noexcept { cellar_free(value); }
    };

    /* Return options of a namespace with a loader. The store owns the loader. */
    template <class Loader, class F>
    static cellar_namespace_config loader_config(const handle &store, F fn,
                                                 const cellar_namespace_config *o)
    {
        static_assert(detail::is_loader<F>, "fn takes std::string_view, and maybe cellar_load *");
        auto owned = std::make_shared<F>(std::move(fn));
        cellar_namespace_config with = o != nullptr ? *o : cellar_namespace_config_default();
        with.loader_ctx = owned.get();
        with.loader = [](cellar_load *load, const void *key, std::size_t key_len,
                         void *ctx) -> cellar_err {
            std::exception_ptr *thrown = detail::thrown_here();
            const detail::thrown_scope inside(nullptr);
            return detail::guarded(thrown, CELLAR_E_LOADER, [&] {
                return Loader::run(*static_cast<F *>(ctx), load, key, key_len);
            });
        };
        store.loaders_->add(std::move(owned));
        return with;
    }
    /* Make call(options, loader, ctx) with a function of the caller. Rethrow what it throws if the
     * call fails. */
    template <class Loader, class F, class Call>
    static cellar_err load_with(F &fn, cellar_load_opts with, Call &&make)
    {
        struct call {
            F *fn;
            std::exception_ptr thrown;
        } ctx = {&fn, nullptr};
        /* ctx is on the stack: no background load may get it. */
        with.flags &= ~CELLAR_LOAD_CTX_STATIC;
        with.ctx_bytes = 0;
        with.ctx_retain = nullptr;
        with.ctx_release = nullptr;
        const cellar_err e = make(&with,
            [](cellar_load *load, const void *k, std::size_t k_len, void *p) -> cellar_err {
                call *const mine = static_cast<call *>(p);
                return detail::guarded(&mine->thrown, CELLAR_E_LOADER, [&] {
                    return Loader::run(*mine->fn, load, k, k_len);
                });
            }, &ctx);
        if (e < 0 && ctx.thrown) { std::rethrow_exception(ctx.thrown); }
        return e;
    }
    /* Make a call that may run the loader of the namespace. Rethrow what that throws here if the
     * call fails. */
    template <class Call> static cellar_err load_with_own(Call &&make)
    {
        std::exception_ptr thrown;
        cellar_err e;
        {
            const detail::thrown_scope inside(&thrown);
            e = make();
        }
        if (e < 0 && thrown) { std::rethrow_exception(thrown); }
        return e;
    }
    /* Load with a function of the caller. */
    template <class T, class F>
    void load_into(result &r, std::string_view key, F &fn, const cellar_load_opts &with)
    {
        r.code_ = load_with<detail::bytes_loader<T>>(
            fn, with, [&](const cellar_load_opts *o, cellar_loader_fn loader, void *ctx) {
                return cellar_get_or_load(c_, key.data(), key.size(), o, loader, ctx, &r.r_);
            });
        check(r.code_, c_, r.r_);
    }
    /* Load with the loader of the namespace. */
    void load_into(result &r, std::string_view key, const cellar_load_opts &with)
    {
        r.code_ = load_with_own([&] {
            return cellar_get_or_load(c_, key.data(), key.size(), &with, nullptr, nullptr, &r.r_);
        });
        check(r.code_, c_, r.r_);
    }
    /* Decode the value of a key. Remove and count bytes that do not decode. */
    template <class T> std::optional<T> decoded(std::string_view key, std::string_view bytes) const
    {
        std::optional<T> value = detail::decoded<T>(bytes);
        if (!value) {
            (void)cellar_value_damaged(c_, key.data(), key.size(), bytes.data(), bytes.size());
        }
        return value;
    }
    /* Decode what load(options, result) brings. Load again if a cached value does not decode. */
    template <class T, class Load>
    std::optional<T> load_value(std::string_view key, const cellar_load_opts *o, Load &&load) const
    {
        cellar_load_opts with = o != nullptr ? *o : cellar_load_opts_default();
        char room[512]; /* a hit that fits allocates nothing */
        result r;
        r.r_.buf = room;
        r.r_.buf_cap = sizeof room;
        load(with, r);
        if (!r) { return std::nullopt; }
        std::optional<T> value = decoded<T>(key, r.bytes());
        if (value || r.raw().source == CELLAR_SOURCE_LOADED ||
            (with.flags & CELLAR_LOAD_ONLY_IF_CACHED) != 0) {
            return value;
        }
        with.flags |= CELLAR_LOAD_REFRESH;
        result again;
        load(with, again);
        return again.template as<T>();
    }

    std::shared_ptr<detail::loader_list> loaders_; /* of the store; shared by all its handles */
    cellar *c_ = nullptr;                          /* NULL: closed or moved from */
    bool is_store_ = false;
};

/* ---- Objects -------------------------------------------------------------------------------- */

/* What an object of a type counts in memory_bytes, in bytes. Specialize it for types that own
 * memory. `of` must not throw, and several threads call it at the same time. */
template <class T> struct charge {
    static std::size_t of(const T &) noexcept { return sizeof(T); }
};

namespace detail {

/* Return the object that a loader made: a std::unique_ptr, a value, a std::optional. */
template <class T, class R> std::unique_ptr<T> owned(R &&made)
{
    if constexpr (std::is_convertible_v<R, std::unique_ptr<T>>) {
        return std::forward<R>(made);
    } else {
        std::optional<T> value(std::forward<R>(made));
        return value ? std::make_unique<T>(std::move(*value)) : nullptr;
    }
}

/* Run a loader and report its object, or that there is none. */
template <class T> struct object_loader {
    template <class F>
    static cellar_err run(F &fn, cellar_load *load, const void *key, std::size_t key_len)
    {
        std::unique_ptr<T> object = owned<T>(loaded(fn, load, key, key_len));
        if (!object) { return cellar_load_absent(load); }
        const std::size_t bytes = charge<T>::of(*object);
        return cellar_load_object(load, object.release(), bytes);
    }
};

} // namespace detail

/* A hold of an object, or empty; see cellar_held. Move-only: a move takes the hold over, the
 * destructor ends it. It may outlive the store. Any thread may use and destroy it. No function but
 * share() throws. */
template <class T> class held {
public:
    /* Make an empty hold: MISS. */
    held() = default;
    /* Take the hold of another object, which is empty afterwards. */
    held(held &&other) noexcept
        : h_(std::exchange(other.h_, cellar_held())),
          code_(std::exchange(other.code_, CELLAR_MISS)) {}
    held &operator=(held &&other) noexcept
    {
        held taken(std::move(other));
        std::swap(h_, taken.h_);
        std::swap(code_, taken.code_);
        return *this;
    }
    held(const held &) = delete;
    held &operator=(const held &) = delete;
    /* End the hold. */
    ~held() { cellar_object_release(&h_); }

    /* Return true if there is an object, fresh or stale. */
    explicit operator bool() const noexcept { return h_.object != nullptr; }
    /* Return the object; valid while the hold lives; NULL if it is empty. */
    T *get() const noexcept { return static_cast<T *>(h_.object); }
    /* Return the object. The hold must not be empty. */
    T &operator*() const noexcept { return *get(); }
    /* Return the object. The hold must not be empty. */
    T *operator->() const noexcept { return get(); }
    /* Return the code of the call: OK, STALE, ABSENT or MISS, for leases also LEASED, PENDING. */
    cellar_err code() const noexcept { return code_; }
    /* Hold the object once more, as long as the pointer and its copies live. Empty: NULL. */
    std::shared_ptr<T> share() const
    {
        if (!*this) { return nullptr; }
        auto more = std::make_shared<held>();
        check(cellar_object_retain(&h_, &more->h_));
        return std::shared_ptr<T>(std::move(more), get());
    }
    /* Return the C struct. */
    const cellar_held &raw() const noexcept { return h_; }

private:
    template <class U> friend class objects;
    cellar_held h_ = cellar_held();
    cellar_err code_ = CELLAR_MISS;
};

/* A namespace of objects of type T; see cellar_object.h. The store deletes each object when its
 * entry is gone and its last hold has ended, in the thread that ends it last. Readers share an
 * object: they hold it as const. The destructor of T must not throw and not close the store. It is
 * move-only, and its threads are those of handle. */
template <class T> class objects : private handle {
    static_assert(std::is_object_v<T> && !std::is_array_v<T> && !std::is_const_v<T>,
                  "T is the type behind a std::unique_ptr");

public:
    using handle::clear;
    using handle::close;
    using handle::contains;
    using handle::delete_by_tag;
    using handle::erase;
    using handle::raw;
    using handle::touch;

    /* Open a namespace, create it if it is new; o->object is set here. Throw E_TYPE if it holds
     * bytes or objects of another type. It may outlive the store: calls then throw E_CLOSED. */
    objects(const handle &store, const char *name, const cellar_namespace_config *o = nullptr)
        : handle(store, name, config(o).get()) {}
    /* Open a namespace with its own loader; see get_or_load, and handle::with_loader. */
    template <class F>
    static objects with_loader(const handle &store, const char *name, F fn,
                               const cellar_namespace_config *o = nullptr)
    {
        const cellar_namespace_config with =
            loader_config<detail::object_loader<T>>(store, std::move(fn), o);
        return objects(store, name, &with);
    }

    /* Hold the object of a key; empty: code() is MISS or ABSENT. Throw as
     * cellar_object_acquire. */
    held<const T> get(std::string_view key) const
    {
        held<const T> h;
        h.code_ = check(cellar_object_acquire(c_, key.data(), key.size(), &h.h_), c_);
        return h;
    }

    /* Store an object; ttl_ms 0: the default of the namespace. Return false if the namespace is
     * disabled. An object that is not stored stays in `object`. */
    bool set(std::string_view key, std::unique_ptr<T> &&object, std::int64_t ttl_ms = 0)
    {
        cellar_set_opts o = cellar_set_opts_default();
        o.ttl_ms = ttl_ms;
        return set(key, std::move(object), o);
    }
    /* Store an object with options. Return false also if a condition of them does not hold. */
    bool set(std::string_view key, std::unique_ptr<T> &&object, const cellar_set_opts &o)
    {
        if (!object) { throw error(CELLAR_E_INVAL); }
        if (check(cellar_object_set(c_, key.data(), key.size(), object.get(),
                                    charge<T>::of(*object), &o), c_) != CELLAR_OK) {
            return false;
        }
        static_cast<void>(object.release());
        return true;
    }
    /* Move a value into the store. Return false as above: the value is then lost. */
    bool set(std::string_view key, T &&value, std::int64_t ttl_ms = 0)
    {
        return set(key, std::make_unique<T>(std::move(value)), ttl_ms);
    }
    /* Move a value into the store with options. */
    bool set(std::string_view key, T &&value, const cellar_set_opts &o)
    {
        return set(key, std::make_unique<T>(std::move(value)), o);
    }

    /* Hold the object of a key; on a miss, load it: fn(key) or fn(key, cellar_load *) returns a
     * std::unique_ptr<T>, a T or a std::optional<T>; empty: the source has none. Loads of one key
     * in several threads run one loader, in one of them. Rethrow what fn throws, unless a stale
     * object replaces it. A call that joined the load of another one throws a cellarpp::error. */
    template <class F, std::enable_if_t<detail::is_loader<F>, int> = 0>
    held<const T> get_or_load(std::string_view key, F &&fn, const cellar_load_opts *o = nullptr)
    {
        held<const T> h;
        cellar_result r = cellar_result_default();
        const cellar_load_opts own = with_result(o, &r);
        h.code_ = check(load_with<detail::object_loader<T>>(
            fn, own,
            [&](const cellar_load_opts *with, cellar_loader_fn loader, void *ctx) {
                return cellar_object_get_or_load(c_, key.data(), key.size(), with, loader, ctx,
                                                 &h.h_);
            }), c_, *own.result);
        return h;
    }
    /* Hold the object of a key; on a miss, load it with the loader of the namespace. Rethrow what
     * that throws in this thread; a load in another thread throws a cellarpp::error here. */
    held<const T> get_or_load(std::string_view key, const cellar_load_opts *o = nullptr)
    {
        held<const T> h;
        cellar_result r = cellar_result_default();
        const cellar_load_opts with = with_result(o, &r);
        h.code_ = check(load_with_own([&] {
            return cellar_object_get_or_load(c_, key.data(), key.size(), &with, nullptr, nullptr,
                                             &h.h_);
        }), c_, *with.result);
        return h;
    }
    /* Read through the cache without a loader. The hold has an object, or its code is LEASED: bring
     * one with the lease; or PENDING: another caller loads, call again. STALE may come with a lease
     * to refresh the object. */
    std::pair<held<const T>, lease> lease_acquire(std::string_view key,
                                                  const cellar_load_opts *o = nullptr)
    {
        std::pair<held<const T>, lease> got;
        cellar_result r = cellar_result_default();
        const cellar_load_opts with = with_result(o, &r);
        got.second.c_ = c_;
        got.first.code_ = check(cellar_object_lease_acquire(c_, key.data(), key.size(), &with,
                                                            nullptr, &got.second.l_,
                                                            &got.first.h_), c_, *with.result);
        return got;
    }
    /* Fulfill a lease: store the object and wake the waiters. Return OK, or why it is not stored:
     * INVALIDATED, DROPPED, DISABLED; the store deletes it then. If the call throws, the object
     * stays in `object`. */
    cellar_err fulfill(lease &l, std::unique_ptr<T> &&object, const cellar_set_opts *o = nullptr)
    {
        if (!object) { throw error(CELLAR_E_INVAL); }
        const cellar_err e = check(cellar_object_lease_fulfill(c_, &l.l_, object.get(),
                                                               charge<T>::of(*object), o), c_);
        static_cast<void>(object.release());
        return e;
    }

private:
    /* Options of a load that also tells its result. */
    static cellar_load_opts with_result(const cellar_load_opts *o, cellar_result *r)
    {
        cellar_load_opts with = o != nullptr ? *o : cellar_load_opts_default();
        if (with.result == nullptr) { with.result = r; }
        return with;
    }
    /* Options of a namespace, with the objects. */
    class config {
    public:
        explicit config(const cellar_namespace_config *o)
            : with_(o != nullptr ? *o : cellar_namespace_config_default())
        {
            of_.free_fn = [](void *object, std::size_t, cellar_cause, void *) {
                delete static_cast<T *>(object);
            };
            with_.object = &of_;
        }
        const cellar_namespace_config *get() const noexcept { return &with_; }

    private:
        cellar_object_config of_ = cellar_object_config_default();
        cellar_namespace_config with_;
    };
};

#ifndef CELLAR_OMIT_LIMIT

/* ---- Limiters ------------------------------------------------------------------------------- */

/* A rate limiter with 1 to 7 rules; see cellar_limit.h. Move-only: a move takes the C handle over,
 * the destructor closes the limiter. Any thread calls any function at any time, but moves and the
 * destructor must not overlap them. */
class limiter {
public:
    /* Open a limiter: a call passes if every rule admits it. Throw as cellar_limiter_open. */
    explicit limiter(std::initializer_list<cellar_rule> rules,
                     const cellar_limiter_config *cfg = nullptr)
    {
        check(cellar_limiter_open(cfg, rules.begin(), static_cast<std::uint32_t>(rules.size()),
                                  &l_));
    }
    /* Take the limiter of another object: raw() of that one is NULL afterwards. */
    limiter(limiter &&other) noexcept : l_(std::exchange(other.l_, nullptr)) {}
    limiter &operator=(limiter &&other) noexcept
    {
        limiter taken(std::move(other));
        std::swap(l_, taken.l_);
        return *this;
    }
    limiter(const limiter &) = delete;
    limiter &operator=(const limiter &) = delete;
    /* Close the limiter. */
    ~limiter() { cellar_limiter_close(l_); }

    /* Return the C handle; NULL after a move. */
    cellar_limiter *raw() const noexcept { return l_; }
    /* Return true if `cost` units of the key are admitted, and charge them. Throw E_INVAL for a
     * limiter with a concurrency rule. */
    bool allow(std::string_view key, std::uint64_t cost = 1)
    {
        return check(cellar_limiter_check(l_, key.data(), key.size(), cost, nullptr)) == CELLAR_OK;
    }
    /* Like allow, but return the details: units left, time to wait. */
    cellar_limiter_result check_details(std::string_view key, std::uint64_t cost = 1)
    {
        cellar_limiter_result r = cellar_limiter_result();
        check(cellar_limiter_check(l_, key.data(), key.size(), cost, &r));
        return r;
    }
    /* Wait until the call is admitted. Return false immediately if that takes longer than
     * max_wait_ns; only a rule with CHARGE_DENIED charges then. Throw E_NEVER if no wait helps. */
    bool wait(std::string_view key, std::uint64_t max_wait_ns, std::uint64_t cost = 1)
    {
        const cellar_err e =
            cellar_limiter_wait(l_, key.data(), key.size(), cost, max_wait_ns, nullptr);
        return e != CELLAR_E_TIMEOUT && check(e) == CELLAR_OK;
    }

private:
    cellar_limiter *l_ = nullptr;
};

/* ---- Locks ---------------------------------------------------------------------------------- */

/* A lock held on one key, from locks::acquire. Move-only: a move takes the lock over, the
 * destructor releases it. It must not outlive its table. Any thread may use it, one at a time,
 * unless the lock is THREAD_BOUND. */
class lock {
public:
    /* Make an object without a lock. */
    lock() = default;
    /* Take the lock of another object, which has none afterwards. */
    lock(lock &&other) noexcept
        : t_(std::exchange(other.t_, nullptr)), l_(std::exchange(other.l_, cellar_lock())) {}
    lock &operator=(lock &&other) noexcept
    {
        lock taken(std::move(other));
        std::swap(t_, taken.t_);
        std::swap(l_, taken.l_);
        return *this;
    }
    lock(const lock &) = delete;
    lock &operator=(const lock &) = delete;
    /* Release the lock, unless it was released. */
    ~lock()
    {
        if (t_ != nullptr) { cellar_lock_release(t_, &l_); }
    }

    /* Return the fencing token: higher than that of each earlier owner of the key. */
    std::uint64_t fence() const noexcept { return l_.fence; }
    /* Test whether the lock is still held: its hold has not ended. */
    bool held() const noexcept { return t_ != nullptr && cellar_lock_check(t_, &l_) == CELLAR_OK; }
    /* Set the hold to end hold_ms from now. Return false if the lock is lost. Throw E_NOT_OWNER in
     * another thread than that of a THREAD_BOUND lock. */
    bool extend(std::int64_t hold_ms)
    {
        const cellar_err e = cellar_lock_extend(t_, &l_, hold_ms);
        return e != CELLAR_E_LOST && check(e) == CELLAR_OK;
    }
    /* Release the lock; the object has none afterwards. Return false if its hold had ended: undo
     * work done since. Throw E_INVAL without a lock; E_NOT_OWNER as extend, and keep the lock. */
    bool release()
    {
        const cellar_err e = cellar_lock_release(t_, &l_);
        if (e != CELLAR_E_NOT_OWNER) { t_ = nullptr; }
        return e != CELLAR_E_LOST && check(e) == CELLAR_OK;
    }
    /* Return the C struct. */
    const cellar_lock &raw() const noexcept { return l_; }

private:
    friend class locks;
    cellar_locks *t_ = nullptr; /* NULL: not an owner */
    cellar_lock l_ = cellar_lock();
};

/* A table of keyed locks; see cellar_lock.h. Move-only: a move takes the C handle over, the
 * destructor closes the table. It must outlive its locks. Any thread calls any function at any
 * time, but moves and the destructor must not overlap them. */
class locks {
public:
    /* Open a table; cfg NULL: all defaults. Throw as cellar_locks_open. */
    explicit locks(const cellar_locks_config *cfg = nullptr)
    {
        check(cellar_locks_open(cfg, &t_));
    }
    /* Take the table of another object: raw() of that one is NULL afterwards. */
    locks(locks &&other) noexcept : t_(std::exchange(other.t_, nullptr)) {}
    locks &operator=(locks &&other) noexcept
    {
        locks taken(std::move(other));
        std::swap(t_, taken.t_);
        return *this;
    }
    locks(const locks &) = delete;
    locks &operator=(const locks &) = delete;
    /* Close the table: locks that are still held end. */
    ~locks() { cellar_locks_close(t_); }

    /* Return the C handle; NULL after a move. */
    cellar_locks *raw() const noexcept { return t_; }
    /* Acquire the lock of a key, wait for its owner. Throw E_TIMEOUT after wait_timeout_ms, and as
     * cellar_lock_acquire. */
    lock acquire(std::string_view key, const cellar_lock_opts *o = nullptr)
    {
        lock l;
        check(cellar_lock_acquire(t_, key.data(), key.size(), o, &l.l_));
        l.t_ = t_;
        return l;
    }
    /* Acquire the lock of a key without a wait. Return empty if another owner holds it. Throw as
     * cellar_lock_acquire. */
    std::optional<lock> try_acquire(std::string_view key, const cellar_lock_opts *o = nullptr)
    {
        lock l;
        cellar_lock_opts no_wait = o != nullptr ? *o : cellar_lock_opts_default();
        no_wait.flags |= CELLAR_LOCK_NO_WAIT;
        const cellar_err e = cellar_lock_acquire(t_, key.data(), key.size(), &no_wait, &l.l_);
        if (e == CELLAR_E_BUSY) { return std::nullopt; }
        check(e);
        l.t_ = t_;
        return l;
    }

private:
    cellar_locks *t_ = nullptr;
};

#endif /* CELLAR_OMIT_LIMIT */

} // namespace cellarpp

#endif
