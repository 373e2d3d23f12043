/* SPDX-License-Identifier: MIT
 *
 * typed_values: values of C++ types. A struct without pointers is stored as its bytes; an object
 * with a constructor and a destructor is shared by its readers and deleted after the last of them.
 *
 *     c++ -std=c++17 -O2 typed_values.cc -lcellar -pthread
 *     drop-in: cc -O2 -c dist/cellar.c -Idist/include
 *              c++ -std=c++17 -O2 typed_values.cc cellar.o -Idist -pthread */
#include <cstdio>
#include <memory>
#include <optional>
#include <regex>
#include <stdexcept>
#include <string>
#include <string_view>

#include "cellar.hpp"

namespace {

struct Price { /* on disk or in a new program: another version of the namespace with each change */
    int cents;
    char currency[4];
};

int questions; /* to the source of prices */

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
    std::printf(", %d questions\n", questions);
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
    /* Patterns of the program only: one of a user may take exponential time, or the stack. */
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
