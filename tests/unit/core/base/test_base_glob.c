/* SPDX-License-Identifier: MIT
 *
 * Aim:    patterns match as in Redis 7.0.15, in linear memory and bounded time.
 * Method: a table of results of that server, with a row for each branch of the matcher; patterns
 *         that are exponential for naive matchers, with a bound on the time. */
#include "tests/support/t.h"

#include "base/clock.h"
#include "base/glob.h"

static const struct {
    const char *pattern, *key;
    bool match;
} facts[] = {
    { "a*c", "ac", true }, { "a*c", "abbc", true }, { "a*c", "abb", false },
    { "a**c", "abc", true },
    { "h?llo", "hello", true }, { "h?llo", "h\xc3\xa9llo", false }, { "h?llo", "hllo", false },
    { "[abc]", "b", true }, { "[abc]", "d", false },
    { "[a-c]", "b", true }, { "[a-c]", "d", false },
    { "[z-x]", "y", true }, { "[x-z]", "y", true }, { "[z-x]", "w", false },
    { "[^x]", "a", true }, { "[^x]", "x", false },
    { "[!x]", "!", true }, { "[!x]", "x", true }, { "[!x]", "a", false },
    { "[]", "]", false }, { "[]", "a", false }, { "[]a]", "]", false }, { "[]", "[]", false },
    { "[^]", "x", true }, { "[^]", "]", true }, { "[^", "x", true }, { "[^", "]", true },
    { "[a-]", "a", true }, { "[a-]", "^", true }, { "[a-]", "b", false }, { "[a-]", "-", false },
    { "[a-]x", "a", true }, { "[a-]x", "ax", false },
    { "[a-", "a", true }, { "[a-", "-", true }, { "[a-", "b", false },
    { "a[b", "ab", true }, { "a[b", "aa", false }, { "a[", "a", false }, { "a[", "a[", false },
    { "a\\*", "a*", true }, { "a\\*", "ab", false }, { "[\\a-c]", "a", true },
    { "[\\a-c]", "-", true }, { "[\\a-c]", "c", true }, { "[\\a-c]", "b", false },
    { "[\\]]", "]", true }, { "[\\]]", "\\", false }, { "a\\", "a\\", true }, { "a\\", "a", false },
    { "\\", "\\", true },
    { "*", "", true }, { "**", "", false }, { "*?", "", false }, { "", "", true },
    { "", "a", false },
    { "a", "", false }, { "*", "x", true }, { "**", "x", true }, { "a*", "a", true },
    { "a***", "a", true }, { "?*", "x", true }, { "A", "a", false }, { "{a,b}", "a", false },
    { "[^x]", "^", true }, { "[a-c]", "a", true }, { "[xa-c]", "x", true }, { "[b\\a]", "b", true },
    { "[\\a", "\\", false }, { "a\\*b", "a*b", true }, { "a\\*b", "a*xb", false },
    { "?", "*", true }, { "ab*bx", "abx", false },
    { "user:*:name", "user:7:name", true }, { "user:*:name", "user:7:nam", false },
};

static bool match(const char *pattern, const char *key)
{
    return base_glob_match(pattern, strlen(pattern), key, strlen(key));
}

T_CASE(table_of_redis_results_matches)
{
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        if (match(facts[i].pattern, facts[i].key) == facts[i].match) { continue; }
        printf("# pattern \"%s\" key \"%s\"\n", facts[i].pattern, facts[i].key);
        T_CHECK(match(facts[i].pattern, facts[i].key) == facts[i].match);
    }
}

/* 500 stars and letters against 1,000 bytes: a recursive matcher would not return. */
T_CASE(exponential_patterns_end_in_bounded_time)
{
    char p[BASE_GLOB_MAX], k[1000];
    for (size_t i = 0; i + 2 <= sizeof p; i += 2) { memcpy(p + i, "a*", 2); }
    p[sizeof p - 1] = 'b';
    memset(k, 'a', sizeof k);
    uint64_t start = base_thread_cpu_ns();
    for (int i = 0; i < 10; i++) { T_CHECK(!base_glob_match(p, sizeof p, k, sizeof k)); }
    T_CHECK(!base_glob_match("**********************b", 23, k, sizeof k));
    T_CHECK(base_thread_cpu_ns() - start < UINT64_C(2000000000));
}

T_CASE(prefix_stops_at_the_first_special_byte)
{
    static const struct { const char *p; size_t len; bool literal; } c[] = {
        { "", 0, true }, { "abc", 3, true }, { "ab*", 2, false }, { "*a", 0, false },
        { "a?b", 1, false }, { "user:[ab]", 5, false }, { "a\\b", 1, false }, { "a]^-!", 5, true },
    };
    for (size_t i = 0; i < sizeof c / sizeof c[0]; i++) {
        bool literal = !c[i].literal;
        T_EQ_U64(base_glob_prefix(c[i].p, strlen(c[i].p), &literal), c[i].len);
        T_CHECK(literal == c[i].literal);
    }
}

T_MAIN("base_glob")
