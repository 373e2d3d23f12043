/* SPDX-License-Identifier: MIT
 *
 * cpp_wrapper: the C++17 wrapper cellar.hpp in use. Each check states one fact that it promises.
 *
 *     c++ -std=c++17 -O2 cpp_wrapper.cc -lcellar -pthread */
#include "cellar.hpp"
#ifndef CELLAR_OBSERVE_H /* the header of the drop-in has it */
#include "cellar_observe.h"
#endif

#include <atomic>
#include <chrono>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

struct Quote {
    double price;
    std::int64_t at_ms;
};

struct Person {
    std::string name;
    unsigned age = 0;
};

/* An object of the program that counts how many live. It neither moves nor copies. */
struct Shape {
    explicit Shape(int of, std::size_t owns = 0) : corners(of), bytes(owns) { alive++; }
    Shape(const Shape &) = delete;
    Shape &operator=(const Shape &) = delete;
    virtual ~Shape() { alive--; }
    int corners;
    std::size_t bytes; /* that it owns */
    inline static std::atomic<int> alive{0};
};
struct Square : Shape {
    Square() : Shape(4) {}
};

struct down : std::runtime_error {
    down() : std::runtime_error("the source is down") {}
};

} // namespace

/* "age name": a codec of the program. */
template <> struct cellarpp::codec<Person> {
    static std::string_view encode(const Person &p, std::string &room)
    {
        room = std::to_string(p.age) + " " + p.name;
        return room;
    }
    static bool decode(std::string_view bytes, Person &p)
    {
        const std::size_t blank = bytes.find(' ');
        if (blank == std::string_view::npos || blank == 0) { return false; }
        p.age = 0;
        for (const char digit : bytes.substr(0, blank)) {
            if (digit < '0' || digit > '9') { return false; }
            p.age = p.age * 10 + static_cast<unsigned>(digit - '0');
        }
        p.name.assign(bytes.substr(blank + 1));
        return true;
    }
};

template <> struct cellarpp::charge<Shape> {
    static std::size_t of(const Shape &s) { return sizeof s + s.bytes; }
};

namespace {

using cellarpp::handle;

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

/* Return the code that `body` throws, OK if it throws nothing. */
template <class Body> cellar_err code_of(Body &&body)
{
    try {
        body();
    } catch (const cellarpp::error &e) {
        return e.code;
    }
    return CELLAR_OK;
}

/* Return whether `body` throws that its source is down. */
template <class Body> bool is_down(Body &&body)
{
    try {
        body();
    } catch (const down &e) {
        return std::string(e.what()) == "the source is down";
    }
    return false;
}

template <class Body> void in_threads(int count, Body &&body)
{
    std::vector<std::thread> threads;
    for (int i = 0; i < count; i++) { threads.emplace_back(body); }
    for (std::thread &t : threads) { t.join(); }
}

constexpr std::size_t store_bytes = 16u << 20;

handle open_store()
{
    cellar_config cfg = cellar_config_default();
    cfg.memory_bytes = store_bytes;
    return handle(cfg);
}

template <class T>
constexpr bool moves_only = std::is_nothrow_move_constructible_v<T> &&
                            std::is_nothrow_move_assignable_v<T> &&
                            !std::is_copy_constructible_v<T> && !std::is_copy_assignable_v<T>;
static_assert(moves_only<handle> && moves_only<cellarpp::pin> && moves_only<cellarpp::result> &&
              moves_only<cellarpp::lease> && moves_only<cellarpp::limiter> &&
              moves_only<cellarpp::lock> && moves_only<cellarpp::locks> &&
              moves_only<cellarpp::held<const Shape>> && moves_only<cellarpp::objects<Shape>>);

void values()
{
    handle store = open_store();
    check(!store.get("greeting"), "a miss is empty");
    store.set("greeting", std::string("h\0llo", 5));
    check(store.get("greeting") == std::string("h\0llo", 5), "a string holds any byte");
    store.set("literal", "text");
    store.set("view", std::string_view("part", 3));
    check(store.get("literal") == "text" && store.get("view") == "par",
          "a literal and a string_view are stored as strings");
    store.set("empty", "");
    check(store.get("empty") == "", "an empty value is a value");

    store.set("ACME", Quote{1.5, 7}, 60000);
    const std::optional<Quote> q = store.get<Quote>("ACME");
    check(q && q->price == 1.5 && q->at_ms == 7, "a struct comes back");
    store.set("ada", Person{"Ada L.", 36});
    const std::optional<Person> ada = store.get<Person>("ada");
    check(ada && ada->name == "Ada L." && ada->age == 36, "a codec of the program is used");
    store.set("longer", std::string(sizeof(Quote) + 1, 'x'));
    check(!store.get<Quote>("greeting") && !store.get<Quote>("longer") &&
              !store.get<Person>("greeting"),
          "bytes that do not decode are a miss");
    check(!store.contains("greeting") && !store.contains("longer"),
          "bytes that do not decode are deleted");

    store.set("yes", true);
    store.set("byte", "x");
    check(store.get<bool>("yes") == true && !store.get<bool>("byte"),
          "a byte that is no bool is a miss");

    const std::string large(1000, 'x');
    store.set("large", large);
    const auto many = store.get_many({"literal", "absent", "large"});
    check(many.size() == 3 && many[0] == "text" && !many[1] && many[2] == large,
          "get_many returns values in the order of the keys");

    check(store.contains("literal") && store.erase("literal") && !store.erase("literal"),
          "erase tells whether there was a value");
    check(!store.contains("literal") && !store.touch("literal", 1000) && store.touch("view", 1000),
          "touch tells whether there is a value");
    check(store.increment("visits") == 1 && store.increment("visits", 9) == 10,
          "increment returns the new count");

    cellar_set_opts once = cellar_set_opts_default();
    once.flags = CELLAR_ONLY_IF_ABSENT;
    check(store.set("once", 1, once) && !store.set("once", 2, once) && store.get<int>("once") == 1,
          "a condition that does not hold is false");
    store.set("short", "x", 1);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    check(!store.get("short"), "an entry expires after its TTL");
    store.clear();
    check(!store.contains("view"), "clear removes all");
}

void errors()
{
    handle store = open_store();
    check(code_of([&] { store.get(""); }) == CELLAR_E_INVAL, "an error has its code");
    cellar_config cfg = cellar_config_default();
    cfg.memory_bytes = 1;
    std::string text;
    try {
        const handle small(cfg);
    } catch (const cellarpp::error &e) {
        text = e.what();
    }
    check(text.find("memory_bytes") != std::string::npos, "an error of an open names the argument");
    check(code_of([&] {
              store.set("k", "v", 0, {"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12",
                                      "13", "14", "15", "16", "17"});
          }) == CELLAR_E_INVAL, "17 tags are an error");
}

void updates()
{
    handle store = open_store();
    const auto add_x = [](const std::optional<std::string> &old) {
        return std::optional<std::string>(old.value_or("") + "x");
    };
    in_threads(4, [&] {
        for (int n = 0; n < 10; n++) {
            while (code_of([&] { store.update("log", add_x); }) == CELLAR_E_BUSY) {}
        }
    });
    check(store.get("log") == std::string(40, 'x'), "40 updates of 4 threads, none lost");

    check(is_down([&] {
              store.update("log", [](const auto &) -> std::optional<std::string> { throw down(); });
          }) && store.get("log") == std::string(40, 'x'),
          "an exception of an update comes back and changes nothing");

    store.set("ACME", Quote{1.0, 1});
    check(store.update<Quote>("ACME", [](const std::optional<Quote> &old) {
              return old ? std::optional<Quote>(Quote{old->price + 1, old->at_ms}) : std::nullopt;
          }) && store.get<Quote>("ACME")->price == 2.0, "an update of a struct");
    bool was_empty = false;
    store.update<Quote>("log", [&](const std::optional<Quote> &old) {
        was_empty = !old;
        return Quote{3.0, 3};
    });
    check(was_empty && store.get<Quote>("log"), "an update sees no old value in damaged bytes");
    check(!store.update<Quote>("ACME", [](const auto &) { return std::optional<Quote>(); }) &&
              !store.contains("ACME"), "an update removes the entry with nullopt");
}

void loads()
{
    handle store = open_store();
    int runs = 0;
    const auto quote = [&](std::string_view key) {
        runs++;
        return Quote{static_cast<double>(key.size()), 8};
    };
    const std::optional<Quote> first = store.get_or_load<Quote>("ACME", quote);
    const std::optional<Quote> second = store.get_or_load<Quote>("ACME", quote);
    check(first && second && second->price == 4.0 && runs == 1, "two reads, one load");
    int absent = 0;
    const std::string large(2000, 'x');
    const auto make = [&](std::string_view) { return large; };
    check(store.get_or_load("large", make) == large && store.get_or_load("large", make) == large,
          "a value over the room on the stack is loaded and found");
    const auto none = [&](std::string_view) {
        absent++;
        return std::optional<Quote>();
    };
    check(!store.get_or_load<Quote>("none", none) && !store.get_or_load<Quote>("none", none) &&
              absent == 1, "a source without a value is asked once");

    check(is_down([&] {
              store.get_or_load("down", [](std::string_view) -> std::string { throw down(); });
          }), "an exception of the loader comes back");
    check(store.get_or_load("down", [](std::string_view) { return std::string("up"); }) == "up",
          "the next load works");
    store.get_or_load("closes", [&](std::string_view) {
        check(code_of([&] { store.close(); }) == CELLAR_E_DEADLOCK, "a loader cannot close its store");
        return std::string("open");
    });
    check(store.get("closes") == "open", "which stays open");
    check(code_of([&] {
              store.get_or_load("code", [](std::string_view) -> std::string {
                  throw cellarpp::error(CELLAR_E_DEADLOCK);
              });
          }) == CELLAR_E_DEADLOCK, "an error of the wrapper comes back with its code");

    cellar_load_opts stale = cellar_load_opts_default();
    stale.ttl_ms = 1;
    stale.jitter_pct = CELLAR_OFF;
    stale.stale_ms = 60000;
    stale.flags = CELLAR_LOAD_CTX_STATIC; /* the wrapper clears it: the lambda is on the stack */
    store.get_or_load("s", [](std::string_view) { return std::string("old"); }, &stale);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    std::thread::id ran_in;
    const auto fail = [&](std::string_view) -> std::string {
        ran_in = std::this_thread::get_id();
        throw down();
    };
    check(store.get_or_load("s", fail, &stale) == "old" && ran_in == std::this_thread::get_id(),
          "a stale value replaces an exception; the loader ran in this thread");

    store.set("bad", "no struct");
    check(store.get_or_load<Quote>("bad", quote) && store.get<Quote>("bad"),
          "a value that does not decode is loaded again");
    cellar_load_opts cached = cellar_load_opts_default();
    cached.flags = CELLAR_LOAD_ONLY_IF_CACHED;
    store.set("bad", "no struct");
    check(!store.get_or_load<Quote>("bad", quote, &cached), "unless it may not be loaded");

    store.get_or_load("tagged", [](std::string_view, cellar_load *load) {
        const cellar_bytes tag = {"t", 1};
        cellar_set_opts with = cellar_set_opts_default();
        with.tags = &tag;
        with.tag_count = 1;
        cellar_load_opts_set(load, &with);
        return std::string("v");
    });
    store.delete_by_tag("t");
    check(!store.contains("tagged"), "a loader sets tags through its load");

    std::atomic<int> inside{0};
    std::atomic<int> right{0};
    in_threads(4, [&] {
        right += store.get_or_load("shared", [&](std::string_view) {
            inside++;
            std::this_thread::sleep_for(std::chrono::milliseconds(50));
            return std::string("one");
        }) == "one";
    });
    check(inside == 1 && right == 4, "4 threads, one load");
}

/* 8 callers of one key: the leader waits for 7, then its loader fails. */
void failed_loads()
{
    handle store = open_store();
    cellar_load_opts o = cellar_load_opts_default();
    o.join_retries = CELLAR_OFF;
    for (const std::int32_t reported : {0, 503}) {
        std::atomic<int> runs{0}, codes{0};
        const cellar_err code = reported != 0 ? CELLAR_E_LOADER : CELLAR_E_DENIED;
        const auto fail = [&](std::string_view, cellar_load *load) -> std::string {
            cellar_stats figures = cellar_stats_default();
            while (figures.load_waiters < 7) {
                cellar_stats_get(store.raw(), CELLAR_SCOPE_STORE, &figures);
                std::this_thread::yield();
            }
            runs++;
            if (reported == 0) { throw cellarpp::error(code); }
            cellar_load_fail(load, reported, 0, 0);
            return "";
        };
        in_threads(8, [&] {
            try {
                store.get_or_load("down", fail, &o);
            } catch (const cellarpp::error &e) {
                codes += e.code == code && (reported == 0 || e.loader_err == reported);
            }
        });
        check(codes == 8 && runs == 1,
              "each caller of a failed load gets what its loader threw or reported");
    }
}

/* A loader that is counted, to see when it is destroyed. */
struct Source {
    std::shared_ptr<std::atomic<int>> runs;
    std::shared_ptr<std::atomic<bool>> fails;
    std::string operator()(std::string_view) const
    {
        if (*fails) { throw down(); }
        return "run " + std::to_string(++*runs);
    }
};

void background()
{
    const auto runs = std::make_shared<std::atomic<int>>(0);
    const auto fails = std::make_shared<std::atomic<bool>>(false);
    {
        handle store = open_store();
        cellar_load_opts eager = cellar_load_opts_default();
        eager.jitter_pct = CELLAR_OFF;
        cellar_namespace_config o = cellar_namespace_config_default();
        o.default_ttl_ms = 1;
        o.stale_ms = 600000;
        o.load = &eager;
        handle pages = handle::with_loader(store, "pages", Source{runs, fails}, &o);
        check(pages.get_or_load("/") == "run 1", "the loader of the namespace loads");
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        const cellarpp::result r = pages.load_result("/");
        check(r && r.code() == CELLAR_STALE && r.bytes() == "run 1" &&
                  (r.raw().flags & CELLAR_RESULT_REFRESHING) != 0,
              "a stale value is returned, and a refresh starts in the background");
        while (*runs < 2) {
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }

        *fails = true;
        check(is_down([&] { pages.get_or_load("/new"); }),
              "an exception of the loader of the namespace comes back");
        *fails = false;
        pages.close();
        handle again(store, "pages");
        check(again.get_or_load("/other").has_value() && runs.use_count() == 2,
              "the loader lives as long as the store, not as its handle");
        again.load_result("/"); /* a refresh may run while the handles close */
    }
    check(runs.use_count() == 1, "the loader is destroyed with the store");
}

void lifetimes()
{
    cellarpp::result copied;
    std::optional<handle> users;
    {
        handle store = open_store();
        users.emplace(store, "users");
        users->set("user:7", "Ada");
        check(users->get("user:7") == "Ada" && !store.get("user:7"),
              "a namespace has keys of its own");

        store.set("page", std::string(5000, 'p'));
        std::optional<cellarpp::pin> p = store.get_pinned("page");
        store.erase("page");
        check(p && p->bytes() == std::string(5000, 'p') && !store.get_pinned("page"),
              "a pinned value stays after a delete");
        cellarpp::pin moved(std::move(*p));
        check(p->bytes().empty() && moved.as<std::string>() == std::string(5000, 'p'),
              "a pin moves");
        moved = cellarpp::pin();
        check(moved.bytes().empty(), "assignment empties a pin");
        store.set("page", "p");
        check(code_of([&] {
                  for (int i = 0; i < 100000; i++) { moved = *store.get_pinned("page"); }
              }) == CELLAR_OK, "pins release their slots");

        copied = store.load_result("k", [](std::string_view) { return std::string("value"); });
        cellar_load_opts in_place = cellar_load_opts_default();
        in_place.flags = CELLAR_LOAD_PIN | CELLAR_LOAD_ONLY_IF_CACHED;
        cellarpp::result r = store.load_result("k", &in_place);
        cellarpp::result taken(std::move(r));
        check(!r && taken.bytes() == "value" && (taken.raw().flags & CELLAR_RESULT_PINNED) != 0,
              "a result points to the entry in place, and moves");
        const cellarpp::result missed = store.load_result("absent", &in_place);
        check(!missed && missed.code() == CELLAR_MISS && !missed.as<int>(), "a result of a miss");

        handle first = open_store(), second(std::move(first));
        second.set("k", "v");
        first = std::move(second);
        check(second.raw() == nullptr && first.get("k") == "v", "a handle moves there and back");
        first.close();
        first.close();
        check(first.raw() == nullptr, "a second close does nothing");
    }
    check(copied.bytes() == "value", "a copied result outlives the store");
    check(code_of([&] { users->get("user:7"); }) == CELLAR_E_CLOSED,
          "a namespace handle outlives the store, and its calls throw E_CLOSED");
}

void tags_and_leases()
{
    handle store = open_store();
    store.set("a", "1", 0, {"odd", "all"});
    store.set("b", "2", 60000, {"all"});
    store.delete_by_tag("odd");
    check(!store.get("a") && store.get("b") == "2", "delete_by_tag removes what has the tag");
    store.delete_by_tag("all");
    check(!store.get("b"), "and its other tags as well");

    auto [r, got] = store.lease_acquire("k");
    cellarpp::lease held = std::move(got);
    check(!r && r.code() == CELLAR_LEASED && held, "the first caller gets the lease");
    check(store.lease_acquire("k").first.code() == CELLAR_PENDING, "the second one waits");
    check(held.fulfill("value") == CELLAR_OK && !held && store.get("k") == "value",
          "fulfill stores the value");
    check(store.lease_acquire("k").first.as() == "value", "then there is a value and no lease");
    check(code_of([&] { held.fulfill("twice"); }) == CELLAR_E_LEASE, "a lease is used once");
    {
        const auto dropped = store.lease_acquire("other");
        check(static_cast<bool>(dropped.second), "a lease of another key");
    }
    auto next = store.lease_acquire("other").second;
    check(static_cast<bool>(next), "a destroyed lease is released");
    cellarpp::lease kept(std::move(next));
    check(!next && kept, "a lease moves");
    kept.release();
    check(!kept, "release ends it");
}

using shapes = cellarpp::objects<Shape>;

void objects()
{
    std::shared_ptr<const Shape> shared;
    cellarpp::held<const Shape> kept;
    std::optional<shapes> late;
    {
        handle store = open_store();
        shapes named(store, "shapes");
        check(!named.get("a") && named.get("a").code() == CELLAR_MISS, "a miss is an empty hold");
        check(named.set("a", std::make_unique<Shape>(3)) && named.get("a")->corners == 3,
              "an object is held in place");
        const Shape *const stored = named.get("a").get();
        check(&*named.get("a") == stored && named.get("a").share().get() == stored,
              "each hold is of the same object");
        kept = named.get("a");
        named.set("a", std::make_unique<Square>());
        check(Shape::alive == 2 && kept->corners == 3 && named.get("a")->corners == 4,
              "a hold keeps the replaced object");
        shared = kept.share();
        kept = {};
        check(!kept && !kept.share() && Shape::alive == 2 && shared->corners == 3,
              "a shared pointer keeps it without the hold");
        shared = named.get("a").share();
        check(Shape::alive == 1, "the last holder deletes it");
        check(named.contains("a") && named.touch("a", 60000) && named.erase("a") &&
                  !named.erase("a") && shared->corners == 4,
              "erase and touch work as for bytes");

        cellar_set_opts once = cellar_set_opts_default();
        once.flags = CELLAR_ONLY_IF_ABSENT;
        auto other = std::make_unique<Shape>(6);
        check(named.set("b", std::make_unique<Shape>(5), once) &&
                  !named.set("b", std::move(other), once) && other && other->corners == 6,
              "an object that is not stored stays with the caller");
        const auto large = [&] {
            named.set("c", std::make_unique<Shape>(7, store_bytes / 2));
        };
        check(code_of(large) == CELLAR_E_TOOBIG && Shape::alive == 3,
              "the charge of a type counts");
        check(named.get("b").raw().charge == sizeof(Shape), "and is told by the hold");
        check(code_of([&] { named.set("c", std::unique_ptr<Shape>()); }) == CELLAR_E_INVAL,
              "no object is an error");
        check(code_of([&] { handle(store, "shapes").get("b"); }) == CELLAR_E_TYPE,
              "calls of bytes are an error there");
        named.clear();
        cellarpp::objects<std::string> words(store, "words");
        check(words.set("w", "moved") && *words.get("w") == "moved", "a value moves into the store");

        kept = named.get_or_load("k", [](std::string_view) { return std::make_unique<Square>(); });
        late.emplace(std::move(named));
    }
    check(Shape::alive == 2 && kept->corners == 4 && shared->corners == 4,
          "holds outlive the store");
    check(code_of([&] { late->get("k"); }) == CELLAR_E_CLOSED, "a late call throws E_CLOSED");
    kept = {};
    shared.reset();
    check(Shape::alive == 0, "and delete their objects after it");
}

void loads_of_objects()
{
    handle store = open_store();
    shapes named(store, "shapes");
    int runs = 0;
    const auto square = [&](std::string_view) {
        runs++;
        return std::make_unique<Square>();
    };
    check(named.get_or_load("k", square)->corners == 4 &&
              named.get_or_load("k", square)->corners == 4 && runs == 1, "two reads, one load");
    const auto none = [&](std::string_view) {
        runs++;
        return std::unique_ptr<Shape>();
    };
    check(!named.get_or_load("none", none) && runs == 2 &&
              named.get_or_load("none", none).code() == CELLAR_ABSENT && runs == 2,
          "a source without an object is asked once");
    const auto fails = [](std::string_view) -> std::unique_ptr<Shape> { throw down(); };
    check(is_down([&] { named.get_or_load("down", fails); }) && named.get_or_load("down", square),
          "an exception of the loader comes back");
    check(code_of([&] {
              named.get_or_load("code", [](std::string_view) -> std::unique_ptr<Shape> {
                  throw cellarpp::error(CELLAR_E_DENIED);
              });
          }) == CELLAR_E_DENIED, "an error of the wrapper comes back with its code");

    cellar_load_opts stale = cellar_load_opts_default();
    stale.stale_ms = 60000;
    stale.jitter_pct = CELLAR_OFF;
    named.get_or_load("s", [&](std::string_view key, cellar_load *load) {
        cellar_set_opts with = cellar_set_opts_default();
        with.ttl_ms = 1;
        cellar_load_opts_set(load, &with);
        return square(key);
    }, &stale);
    while (named.get("s")) { std::this_thread::sleep_for(std::chrono::milliseconds(1)); }
    const auto old = named.get_or_load("s", fails, &stale);
    check(old && old.code() == CELLAR_STALE, "a stale object replaces an exception");

    stale.error_ttl_ms = 60000;
    check(code_of([&] {
              named.get_or_load("code", [](std::string_view) -> std::unique_ptr<Shape> {
                  throw cellarpp::error(CELLAR_E_DENIED);
              }, &stale);
          }) == CELLAR_E_DENIED && code_of([&] { named.lease_acquire("code"); }) == CELLAR_E_DENIED,
          "a remembered failure has its code, also for a lease");

    auto first = named.lease_acquire("l");
    cellarpp::lease got = std::move(first.second);
    check(!first.first && first.first.code() == CELLAR_LEASED && got &&
              named.lease_acquire("l").first.code() == CELLAR_PENDING,
          "the first caller gets the lease, the second one waits");
    check(named.fulfill(got, std::make_unique<Shape>(8)) == CELLAR_OK && !got &&
              named.lease_acquire("l").first->corners == 8, "fulfill stores the object");
    auto twice = std::make_unique<Shape>(9);
    check(code_of([&] { named.fulfill(got, std::move(twice)); }) == CELLAR_E_LEASE && twice,
          "a lease is used once, and the object stays");

    const auto words = cellarpp::objects<std::string>::with_loader(
        store, "words", [](std::string_view key) -> std::optional<std::string> {
            if (key == "down") { throw down(); }
            if (key == "none") { return std::nullopt; }
            return std::string(key);
        });
    auto again = cellarpp::objects<std::string>(store, "words");
    check(*again.get_or_load("w") == "w" && again.get_or_load("none").code() == CELLAR_ABSENT,
          "the loader of the namespace loads objects from values");
    check(is_down([&] { again.get_or_load("down"); }), "its exception comes back");

    std::atomic<int> inside{0}, right{0};
    in_threads(4, [&] {
        const auto mine = named.get_or_load("shared", [&](std::string_view) {
            inside++;
            return std::make_unique<Shape>(3);
        });
        named.erase("nothing");
        right += mine->corners == 3;
    });
    check(inside == 1 && right == 4, "4 threads, one load, one object");
}

void limiters()
{
    cellarpp::limiter calls({cellar_rule_sliding_log(3, CELLAR_HOUR_NS)});
    check(calls.allow("ip") && calls.allow("ip", 2) && !calls.allow("ip"),
          "the 4th of 3 calls is denied");
    const cellar_limiter_result r = calls.check_details("ip");
    check(r.allowed == 0 && r.limit == 3 && r.retry_after_ns > 0, "a denial has its details");
    check(calls.check_details("other").remaining == 2, "each key has its own limit");
    check(!calls.wait("ip", 1000000) && calls.wait("third", 0), "wait gives up in time");
    cellarpp::limiter moved(std::move(calls));
    check(calls.raw() == nullptr && !moved.allow("ip"), "a limiter moves");
    check(code_of([] { cellarpp::limiter none({}); }) == CELLAR_E_INVAL, "a limiter needs a rule");
}

void locks()
{
    cellarpp::locks table;
    cellarpp::lock held = table.acquire("order:7");
    check(held.held() && !table.try_acquire("order:7"), "a lock has one owner");
    const std::uint64_t fence = held.fence();
    cellarpp::lock moved(std::move(held));
    check(!held.held() && moved.held() && moved.extend(60000), "a lock moves");
    check(moved.release() && !moved.held(), "release tells that it was held");
    {
        const auto scoped = table.try_acquire("order:7");
        check(scoped && scoped->fence() > fence, "the next owner has a higher fence");
    }
    cellar_lock_opts bound = cellar_lock_opts_default();
    bound.flags = CELLAR_LOCK_THREAD_BOUND | CELLAR_LOCK_NO_END;
    cellarpp::lock mine = table.acquire("order:7", &bound);
    std::thread([&] {
        check(code_of([&] { mine.release(); }) == CELLAR_E_NOT_OWNER, "a bound lock is refused");
    }).join();
    check(mine.release() && table.try_acquire("order:7"), "a refused release keeps the lock");
    cellar_lock_opts brief = cellar_lock_opts_default();
    brief.hold_ms = 5;
    brief.wait_timeout_ms = 10;
    cellarpp::lock lost = table.acquire("order:7", &brief);
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    check(!lost.held() && !lost.extend(1000) && !lost.release(), "a lock is lost after its hold");
    cellarpp::locks other(std::move(table)); /* destroyed after the locks that follow */
    const cellarpp::lock owner = other.acquire("order:7");
    check(table.raw() == nullptr && owner.held(), "a table moves");
    check(code_of([&] { other.acquire("order:7", &brief); }) == CELLAR_E_TIMEOUT,
          "acquire throws E_TIMEOUT");
}

} // namespace

int main()
{
    try {
        values();
        errors();
        updates();
        loads();
        failed_loads();
        background();
        lifetimes();
        tags_and_leases();
        objects();
        loads_of_objects();
        limiters();
        locks();
    } catch (const std::exception &e) {
        check(false, e.what());
    }
    std::printf("cpp_wrapper: %d passed, %d failed, 0 skipped\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
