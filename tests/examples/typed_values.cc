/* SPDX-License-Identifier: MIT
 *
 * typed_values: keep values of C++ types, without casts and lengths.
 *
 * A type without pointers, such as Price, is stored as its bytes. A read returns a copy of it. A
 * type with a constructor and a destructor, such as std::regex, is stored as an object: all readers
 * share it, and it is deleted after the last of them. A miss is an empty std::optional, an error is
 * an exception of type cellarpp::error. An exception of a loader reaches the caller of the load.
 *
 * In the folder of this project, after `make`:
 *     c++ -std=c++17 -O2 tests/examples/typed_values.cc -Iinclude build/libcellar.a -pthread
 *     ./a.out
 * With the drop-in, after `make dist`:
 *     cc -O2 -c dist/cellar.c -Idist/include
 *     c++ -std=c++17 -O2 tests/examples/typed_values.cc cellar.o -Idist -pthread && ./a.out
 *
 * The program prints prices and how often it asked their source, then which names match a pattern
 * that is compiled once. In your program, give the namespace another version when a stored type
 * changes, if the store has a disk tier. Compile patterns of your own only: a std::regex of a user
 * may take exponential time or the whole stack (patterns.c has bounds). */
#include <atomic>
#include <cstdio>
#include <memory>
#include <optional>
#include <regex>
#include <stdexcept>
#include <string>
#include <string_view>

#include "cellar.hpp"

namespace {

struct Price {
    int cents;
    char currency[4];
};

std::atomic<int> questions; /* to the source of prices; loads may run in several threads */

std::optional<Price> price_of(std::string_view item) /* empty: there is no such item */
{
    questions++;
    if (item == "lost") { throw std::runtime_error("the source is down"); }
    return item == "tea" ? std::optional<Price>({350, "EUR"}) : std::nullopt;
}

void show(cellarpp::handle &prices, const char *item)
{
    try {
        const auto price = prices.get_or_load<Price>(item, price_of);
        std::printf("%s: %d %s", item, price ? price->cents : 0, price ? price->currency : "-");
    } catch (const std::exception &e) { /* what the loader threw, or a cellarpp::error */
        std::printf("%s: %s", item, e.what());
    }
    std::printf(", %d questions\n", questions.load());
}

} // namespace

int main()
try {
    cellarpp::handle store; /* 64 MiB */
    auto config = cellar_namespace_config_default();
    config.default_ttl_ms = 60000; /* of loaded prices; a set may name another */
    cellarpp::handle prices(store, "prices", &config);
    for (const char *item : {"tea", "tea", "ink", "ink", "lost"}) { show(prices, item); }
    prices.set("tea", Price{375, "EUR"}, 60000);
    show(prices, "tea");

    cellarpp::objects<std::regex> patterns(store, "patterns");
    for (const char *name : {"ada7", "ada"}) {
        const auto digits = patterns.get_or_load("[a-z]+[0-9]", [](std::string_view text) {
            return std::make_unique<std::regex>(std::string(text)); /* once */
        });
        std::printf("%s: %s\n", name, std::regex_match(name, *digits) ? "yes" : "no");
    }
} catch (const std::exception &e) { /* an open that failed: the text says why */
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
}
